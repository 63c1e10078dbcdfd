//! Models as ONNX files: the network with its parameters, and in the file's metadata the classes and how pictures are
//! prepared, under the keys `classes` and `preprocess`.

use crate::image_file::{Fit, Preprocess};
use crate::model::{Model, ModelInfo};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use striate_engine::{ParameterMismatch, Parameters, Tensor};
use striate_graph::Graph;
use striate_interop::onnx::{self, ExportError, ExportOptions, ImportOptions, OnnxFileError, OutputSource};
use striate_interop::{WriteError, write_atomic};
use thiserror::Error;

const CLASSES: &str = "classes";
const PREPROCESS: &str = "preprocess";

/// Why a model cannot be read from an ONNX file or written to one.
#[derive(Debug, Error)]
pub enum OnnxModelError {
    /// The file is none, or holds what is not known.
    #[error(transparent)]
    Read(#[from] OnnxFileError),
    /// A network whose first output does not depend on its input.
    #[error("{}: its output '{name}' is the same for every input", path.display())]
    Constant {
        /// The file.
        path: PathBuf,
        /// The output.
        name: String,
    },
    /// Metadata under Striate's keys that is not what Striate writes.
    #[error("{}: its {key} cannot be read: {why}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Parameters that are missing or of other shapes.
    #[error(transparent)]
    Parameters(#[from] ParameterMismatch),
    /// What the format cannot say.
    #[error("{network} cannot be written as ONNX\n{source}")]
    Export {
        /// The network.
        network: String,
        /// All that cannot be written.
        source: ExportError,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The model in the ONNX file at `path`; `input` fixes an image's dimensions where the file leaves them open.
///
/// Where the file does not name classes, they are numbers; where it does not say how pictures are prepared, they are
/// cropped and scaled to 0 to 1.
///
/// # Errors
/// What is wrong with the file, all at once.
pub fn read(path: impl AsRef<Path>, input: Option<&[usize]>) -> Result<Model, OnnxModelError> {
    let path = path.as_ref();
    let options = ImportOptions { input: input.map(<[usize]>::to_vec), ..ImportOptions::default() };
    let imported = onnx::read(path, &options)?;
    if let Some(first) = imported.outputs.first()
        && matches!(first.source, OutputSource::Known(_))
    {
        return Err(OnnxModelError::Constant { path: path.into(), name: first.name.clone() });
    }
    let wrong = |key, why: String| OnnxModelError::Metadata { path: path.into(), key, why };
    let graph = imported.graph;
    let outputs = graph.output().map_or(0, |output| graph.ty(output).elements());
    let classes: Option<Vec<String>> = match imported.metadata.get(CLASSES) {
        Some(text) => Some(serde_json::from_str(text).map_err(|error| wrong(CLASSES, error.to_string()))?),
        None => None,
    };
    let numbers = || (0..outputs).map(|class| class.to_string()).collect();
    let classes = classes.filter(|classes| classes.len() == outputs).unwrap_or_else(numbers);
    let preprocess = match imported.metadata.get(PREPROCESS) {
        Some(text) => serde_json::from_str(text).map_err(|error| wrong(PREPROCESS, error.to_string()))?,
        None => plain(&graph),
    };
    let tensors =
        imported.parameters.into_iter().map(|(name, tensor)| (name, Tensor::new(tensor.shape, tensor.data)));
    let parameters = Parameters(tensors.collect::<BTreeMap<_, _>>());
    Ok(Model { graph, parameters, info: ModelInfo { classes, preprocess } })
}

/// Pictures cropped to the network's input, from 0 to 1.
pub fn plain(graph: &Graph) -> Preprocess {
    let shape = graph.image().and_then(|image| graph.ty(image).chw()).unwrap_or([1; 3]);
    let [channels, height, width] = shape;
    let (mean, std) = (vec![0.0; channels], vec![1.0; channels]);
    Preprocess { shape, image: None, mean, std, fit: Fit::crop(height.max(width)) }
}

/// Writes a model at `path` for the version `opset` of ONNX's operators; a failed write leaves the old file.
///
/// # Errors
/// All that cannot be written, or why the file cannot.
pub fn write(model: &Model, path: impl AsRef<Path>, opset: i64) -> Result<(), OnnxModelError> {
    let Model { graph, parameters, info } = model;
    parameters.check(graph)?;
    let tensors: BTreeMap<String, striate_interop::Tensor> = graph
        .parameters()
        .filter_map(|(node, ..)| {
            Some((node.name.clone(), crate::model::to_file(parameters.get(&node.name)?)))
        })
        .collect();
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let metadata = BTreeMap::from([
        (CLASSES.to_string(), json(serde_json::to_string(&info.classes))),
        (PREPROCESS.to_string(), json(serde_json::to_string(&info.preprocess))),
    ]);
    let options = ExportOptions { opset, metadata };
    let bytes = onnx::write(graph, |name| tensors.get(name), &options)
        .map_err(|source| OnnxModelError::Export { network: graph.name.clone(), source })?;
    Ok(write_atomic(path, |file| std::io::Write::write_all(file, &bytes))?)
}
