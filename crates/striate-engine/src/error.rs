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
    /// A value of training is infinite or no number.
    #[error(transparent)]
    NotFinite(#[from] Box<NotFinite>),
}

/// A value of training that is infinite or no number, and the first of those it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// What it was seen at.
    pub seen: Seen,
    /// What it is there.
    pub value: f32,
    /// The first in the order of computation; none where it could not be found again.
    pub origin: Option<Origin>,
}

/// Where a value that is no number is seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The loss.
    Loss,
    /// What a parameter would be changed by, though the loss is a number.
    Gradient {
        /// The parameter.
        of: String,
    },
}

/// Where the first value that is no number is.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// An input had it.
    Input {
        /// Which.
        name: String,
        /// What it has.
        value: f32,
    },
    /// A parameter had it before.
    Parameter {
        /// Which.
        name: String,
        /// What it has.
        value: f32,
    },
    /// A step computed it from numbers.
    Step {
        /// The nodes it computes, joined by `+`.
        name: String,
        /// The first node's operation.
        op: &'static str,
        /// What it computed.
        value: f32,
    },
}

impl std::error::Error for NotFinite {}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Loss => f.write_str("the loss"),
            Seen::Gradient { of } => write!(f, "the gradient of {of}"),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Input { name, value } => write!(f, "the input {name} has {value}"),
            Origin::Parameter { name, value } => write!(f, "the parameter {name} was {value} before"),
            Origin::Step { name, op, value } => write!(f, "the first was {value}, out of {name} ({op})"),
        }
    }
}

impl std::fmt::Display for NotFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seen, value, origin } = self;
        write!(f, "{seen} became {value}")?;
        match origin {
            Some(origin) => write!(f, ": {origin}"),
            None => Ok(()),
        }
    }
}
