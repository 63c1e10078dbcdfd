//! ONNX, in and out: <https://onnx.ai>.
//!
//! [`read`] makes a network of a file, [`write()`] a file of a network; what a file may hold is the table in `import/rules.rs`. The wire format is read by
//! our own code: a tensor's bytes are borrowed from the file, every length is compared with what is there before memory is
//! asked for, and nothing recurses with the file's depth.

mod attributes;
mod constant;
mod error;
mod export;
mod fold;
mod import;
mod proto;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use crate::protobuf::WireError;
pub use constant::{Constant, Data, Int, Kind};
pub use error::{ImportErrors, NodeProblem, OnnxError, OnnxFileError, Problem, Unsupported};
pub use export::{
    DEFAULT_OPSET, ExportError, ExportOptions, NEWEST_WRITTEN, OLDEST_WRITTEN, Unwritten, write,
};
pub use import::{ImportOptions, Imported, ImportedOutput, NEWEST, OLDEST, OutputSource};

/// The most bytes of a model: the format's own limit is 2 GiB.
pub const MAX_BYTES: u64 = 1 << 31;

/// The network in the file at `path`; weights in files of their own must lie beside it or below.
///
/// # Errors
/// What is wrong with the file: all of it at once.
pub fn read(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Imported, OnnxFileError> {
    let path = path.as_ref();
    let read = || {
        let file = File::open(path).map_err(OnnxError::Read)?;
        let meta = file.metadata().map_err(OnnxError::Read)?;
        if !meta.is_file() {
            return Err(OnnxError::NotAFile);
        }
        if meta.len() > MAX_BYTES {
            return Err(OnnxError::TooLarge { size: meta.len(), limit: MAX_BYTES });
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(OnnxError::Read)?;
        // A bare name lies in the folder that is current.
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = if options.name.is_empty() { name.unwrap_or_default() } else { options.name.clone() };
        parse(&bytes, Some(folder), &ImportOptions { name, ..options.clone() })
    };
    read().map_err(|problem| OnnxFileError { path: path.into(), problem })
}

/// The network in `bytes`; weights in files of their own are looked for in `folder`.
///
/// # Errors
/// What is wrong with them: all of it at once.
pub fn parse(bytes: &[u8], folder: Option<&Path>, options: &ImportOptions) -> Result<Imported, OnnxError> {
    let looks_like = || crate::sniff::content(bytes.get(..8).unwrap_or(bytes));
    let model = match proto::Model::read(bytes) {
        Ok(model) if model.graph.is_some() => model,
        Ok(_) => return Err(looks_like().map_or(OnnxError::NoGraph, |found| OnnxError::NotOnnx { found })),
        Err(error) => {
            return Err(looks_like().map_or(OnnxError::Wire(error), |found| OnnxError::NotOnnx { found }));
        }
    };
    import::import(&model, folder, options)
}

/// A tensor in a file of its own, as ONNX's tests keep inputs and outputs.
///
/// # Errors
/// What is wrong with it.
pub fn parse_tensor(bytes: &[u8]) -> Result<Constant, NodeProblem> {
    let wrong = |problem| NodeProblem { place: "the tensor".into(), problem };
    let tensor =
        proto::Tensor::read(bytes).map_err(|error| wrong(Problem::Unsupported(error.to_string())))?;
    Constant::read(&tensor, None).map_err(wrong)
}

/// What the inputs of a model are called, in order, without those that the file gives itself.
///
/// # Errors
/// When the bytes are no model.
pub fn input_names(bytes: &[u8]) -> Result<Vec<String>, OnnxError> {
    let graph = proto::Model::read(bytes)?.graph.ok_or(OnnxError::NoGraph)?;
    let given: std::collections::HashSet<&str> =
        graph.initializers.iter().map(|tensor| tensor.name.as_str()).collect();
    let names = graph.inputs.iter().map(|input| &input.name);
    Ok(names.filter(|name| !given.contains(name.as_str())).cloned().collect())
}
