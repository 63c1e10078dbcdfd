//! Convolutional networks as data.
//!
//! A [`Graph`] is nodes and typed values; everything else is derived from it: shapes, parameters,
//! multiplications, memory and receptive fields ([`analysis`]), gradients ([`autodiff`]), training
//! ([`training`]). Networks are written with a [`Builder`] or as text.
//!
//! No files, no threads, no kernels: this crate says what a network is, not how it is computed.

#![forbid(unsafe_code)]

pub mod analysis;
pub mod autodiff;
mod builder;
mod error;
mod graph;
mod init;
mod legalise;
pub mod notation;
pub mod ops;
mod recompute;
pub mod training;
mod types;

pub use builder::Builder;
pub use error::{GraphErrors, MAX_ELEMENTS, MAX_RANK, MAX_SIDE, NodeError, Problem};
pub use graph::{Graph, Node, NodeId, Output, Value};
pub use init::{Fan, Init, fans};
pub use legalise::legalise;
pub use recompute::{Recompute, recompute};
pub use types::{DType, Type};
