//! Parameters by name, from whichever kind of file holds them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use thiserror::Error;

use crate::pth::{self, PthError};
use crate::tensor_file::{Tensor, TensorFile, TensorFileError};

/// What is wrong with a file of parameters.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// A `.safetensors` file, or one of no known kind.
    #[error(transparent)]
    Safetensors(#[from] TensorFileError),
    /// A file of PyTorch's.
    #[error(transparent)]
    Pth(#[from] PthError),
}

/// Reads the parameters in a `.safetensors` file or in one that `torch.save` wrote (`.pth`, `.pt`, `.bin`): the content
/// tells which.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: impl AsRef<Path>) -> Result<IndexMap<String, Tensor>, WeightsError> {
    let path = path.as_ref();
    let mut head = Vec::new();
    // What cannot be opened is told by the reader.
    if let Ok(file) = File::open(path) {
        let _ = file.take(9).read_to_end(&mut head);
    }
    match head.as_slice() {
        [b'P', b'K', 3, 4, ..] => Ok(pth::read(path)?),
        // A pickle, unless these are the eight bytes of a header's length and the header's first.
        [0x80, 2..=5, rest @ ..] if rest.get(6) != Some(&b'{') => Ok(pth::read(path)?),
        _ => Ok(TensorFile::read(path)?.tensors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_tells_the_kind() {
        let dir = tempfile::tempdir().unwrap();
        let read_as = |bytes: &[u8]| {
            // A wrong ending misleads nobody.
            let path = dir.path().join("weights.safetensors");
            std::fs::write(&path, bytes).unwrap();
            read(&path)
        };
        let mut file = TensorFile::default();
        // A header of 0x280 bytes begins like a pickle of protocol 2.
        file.tensors.insert("x".repeat(0x280 - 57), Tensor::new([1], [1.0]));
        let mut bytes = Vec::new();
        file.write_to(&mut bytes).unwrap();
        assert_eq!(bytes[..8], 0x280u64.to_le_bytes());
        assert_eq!(read_as(&bytes).unwrap(), file.tensors);
        let pth = include_bytes!("../tests/pth/state_dict.pth");
        assert_eq!(read_as(pth).unwrap().len(), 17);
        assert!(matches!(read_as(include_bytes!("../tests/pth/legacy.pth")), Err(WeightsError::Pth(_))));
        assert!(matches!(read_as(b"text"), Err(WeightsError::Safetensors(_))));
        assert!(matches!(read(dir.path().join("no")), Err(WeightsError::Safetensors(_))));
    }
}
