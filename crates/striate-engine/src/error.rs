//! Why a graph cannot be planned or a plan cannot run.

use crate::parameters::ParameterMismatch;
use striate_graph::DType;
use striate_kernels::loss::LossError;

/// Why a graph cannot be planned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The batch has no images.
    #[error("the batch size is 0; it must be at least 1")]
    EmptyBatch,
    /// A node cannot be computed by this engine.
    #[error("{node} ({op}): {problem}")]
    Node {
        /// Its name.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The values need more memory than can be addressed.
    #[error("the plan needs more memory than this machine can address; use a smaller batch than {batch}")]
    TooLarge {
        /// The batch size.
        batch: usize,
    },
}

/// Why a session cannot start or run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The arena does not fit into memory.
    #[error("cannot get {bytes} bytes of memory for a batch of {batch}; use a smaller batch")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// The batch size.
        batch: usize,
    },
    /// Threads could not be started.
    #[error("{0}")]
    Threads(String),
    /// Parameters do not fit the network.
    #[error(transparent)]
    Parameters(#[from] ParameterMismatch),
    /// There is no input, output or parameter of this name.
    #[error("there is no {what} named '{name}'; there are: {known}")]
    Unknown {
        /// `input`, `output`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A value of other elements.
    #[error("{name} has elements of type {has:?}, not {asked:?}")]
    Elements {
        /// The value.
        name: String,
        /// What it has.
        has: DType,
        /// What was asked for.
        asked: DType,
    },
    /// A tensor of the wrong size.
    #[error("{name} takes {expected} elements, but got {found}")]
    Size {
        /// The input.
        name: String,
        /// Elements it has.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// A loss refused its labels.
    #[error(transparent)]
    Loss(#[from] LossError),
}
