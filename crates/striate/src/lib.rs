//! Convolutional networks in Rust: define one, understand it, train it, look inside it, ship it.
//!
//! This crate is Striate's face: it re-exports the crates behind it. `use striate::prelude::*` brings what most
//! programs need; the modules hold the rest.
//!
//! | module | what |
//! |---|---|
//! | [`graph`] | networks as data: builder, notation, shapes, costs, gradients |
//! | [`zoo`] | the classic networks |
//! | [`engine`] | plans and sessions: running networks |
//! | [`train`] | data sets, the training loop, models |
//! | [`draw`] | charts, sheets of images, matrices |
//! | [`interop`] | model files |
//! | [`kernels`] | convolution and its relatives on slices |

#![forbid(unsafe_code)]

pub use striate_draw as draw;
pub use striate_engine as engine;
pub use striate_graph as graph;
pub use striate_interop as interop;
pub use striate_kernels as kernels;
pub use striate_train as train;
pub use striate_zoo as zoo;

/// What most programs need.
pub mod prelude {
    pub use striate_engine::{
        Algorithm, Isa, Parameters, Plan, PlanOptions, Precision, Session, Tensor, Tuning, available_threads,
    };
    pub use striate_graph::ops::{
        ActivationKind, AvgPool2d, BatchNorm, Conv2d, ConvTranspose2d, Linear, LocalResponseNorm, MaxPool2d,
    };
    pub use striate_graph::{Builder, Fan, Graph, Init, Recompute, Value, analysis, notation};
    pub use striate_train::augment::Augment;
    pub use striate_train::data::{self, Dataset, Samples, Split};
    pub use striate_train::evaluate::{Evaluator, Predictor};
    pub use striate_train::model::Model;
    pub use striate_train::run_folder::RunFolder;
    pub use striate_train::trainer::{Event, TrainConfig, TrainReport, Trainer};
    pub use striate_zoo as zoo;
}
