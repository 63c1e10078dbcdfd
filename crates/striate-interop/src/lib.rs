//! Model files and arrays in and out: ONNX, safetensors, PyTorch's `.pth` and NumPy's `.npy` and `.npz`, written so that
//! an interrupted write leaves the old file.
#![forbid(unsafe_code)]

pub mod atomic;
mod elements;
pub mod npy;
pub mod npz;
pub mod onnx;
mod pickle;
mod protobuf;
pub mod pth;
pub mod sniff;
pub mod tensor_file;
pub mod tfevents;
pub mod timm;
pub mod weights;
mod zip;

pub use atomic::{WriteError, write_atomic};
pub use npy::NpyError;
pub use npz::NpzError;
pub use pickle::PickleProblem;
pub use pth::PthError;
pub use tensor_file::{Tensor, TensorFile, TensorFileError};
pub use timm::{TimmConfig, TimmError};
pub use weights::WeightsError;
pub use zip::ZipProblem;
