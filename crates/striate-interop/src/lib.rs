//! Model files in and out: safetensors, written so that an interrupted write leaves the old file.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod sniff;
pub mod tensor_file;

pub use atomic::{WriteError, write_atomic};
pub use tensor_file::{Tensor, TensorFile, TensorFileError};
