//! Model files and arrays in and out: ONNX, safetensors and NumPy's `.npy`, written so that an interrupted write leaves the
//! old file.
#![forbid(unsafe_code)]

pub mod atomic;
mod elements;
pub mod npy;
pub mod onnx;
pub mod sniff;
pub mod tensor_file;

pub use atomic::{WriteError, write_atomic};
pub use npy::NpyError;
pub use tensor_file::{Tensor, TensorFile, TensorFileError};
