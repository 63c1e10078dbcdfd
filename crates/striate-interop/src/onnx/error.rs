//! What can be wrong with an ONNX file: all of it at once, with numbers.

use crate::protobuf::WireError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use striate_graph::NodeError;
use thiserror::Error;

/// What is wrong with an ONNX file, and with which.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct OnnxFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: OnnxError,
}

/// What can be wrong with an ONNX model.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the fields are the numbers of the message
pub enum OnnxError {
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    #[error("not a regular file; give the .onnx file itself")]
    NotAFile,
    #[error(
        "{size} bytes long; at most {limit} are read, and ONNX keeps larger models' weights in files of their own"
    )]
    TooLarge { size: u64, limit: u64 },
    #[error("not an ONNX file: it looks like {found}")]
    NotOnnx { found: &'static str },
    #[error("not an ONNX file, or a damaged one: {0}")]
    Wire(#[from] WireError),
    #[error("not an ONNX file, or an empty one: it holds no graph")]
    NoGraph,
    #[error("it does not say what version of ONNX's operators it means (opset)")]
    NoOpset,
    #[error(
        "operators of version {version} (opset); {oldest} to {newest} are read: convert it with onnx.version_converter"
    )]
    Opset { version: i64, oldest: i64, newest: i64 },
    #[error("{0}")]
    Import(#[from] ImportErrors),
}

/// An operator that is not read, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The operator, with its domain where that is not ONNX's own.
    pub op: String,
    /// The names of the nodes, the first few of them.
    pub nodes: Vec<String>,
    /// How many nodes there are.
    pub count: usize,
}

/// The most nodes that are named for an unsupported operator.
pub(crate) const NAMED: usize = 4;
/// The most problems that a message lists.
const LISTED: usize = 20;

/// Everything that is wrong with the network of an ONNX file.
#[derive(Debug, Default, Error)]
pub struct ImportErrors {
    /// Operators that are not read, in the order of their first node.
    pub unsupported: Vec<Unsupported>,
    /// What is wrong with nodes, and with the model's inputs and outputs.
    pub problems: Vec<NodeProblem>,
}

/// What is wrong with one node.
#[derive(Debug, Error)]
#[error("{place}: {problem}")]
pub struct NodeProblem {
    /// The node, with its operator, or the input, output or tensor.
    pub place: String,
    /// What is wrong.
    pub problem: Problem,
}

impl ImportErrors {
    pub(crate) fn is_empty(&self) -> bool {
        self.unsupported.is_empty() && self.problems.is_empty()
    }
}

impl fmt::Display for ImportErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if !self.unsupported.is_empty() {
            let nodes: usize = self.unsupported.iter().map(|one| one.count).sum();
            let kinds = match self.unsupported.len() {
                1 => "an operator".into(),
                n => format!("{n} operators"),
            };
            lines.push(format!("{kinds} of {nodes} nodes that Striate does not know"));
            for Unsupported { op, nodes, count } in &self.unsupported {
                let more = if *count > nodes.len() { ", …" } else { "" };
                lines.push(format!("  {op} ×{count}: {}{more}", nodes.join(", ")));
            }
        }
        lines.extend(self.problems.iter().take(LISTED).map(NodeProblem::to_string));
        if self.problems.len() > LISTED {
            lines.push(format!("and {} more", self.problems.len() - LISTED));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// What can be wrong with a node, an input, an output or a tensor.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the fields are the numbers of the message
pub enum Problem {
    #[error(
        "elements of type {data_type} in ONNX's numbering; floats, whole numbers of 8 to 64 bits and bool are read"
    )]
    ElementType { data_type: i64 },
    #[error("dimensions {dims:?} are not those of a tensor that can be held")]
    Dims { dims: Vec<i64> },
    #[error("dimensions {dims:?} of {kind} take {needed} bytes, but there are {present}")]
    Bytes { dims: Vec<usize>, kind: &'static str, needed: usize, present: usize },
    #[error("dimensions {dims:?} have {needed} elements, but there are {present}")]
    Elements { dims: Vec<usize>, needed: usize, present: usize },
    #[error(
        "its elements lie at '{location}', outside the model's folder; external data must lie beside the model or below it"
    )]
    Outside { location: String },
    #[error("its elements lie in the file '{location}', but the model was not read from a file")]
    NoFolder { location: String },
    #[error("its elements lie in the file '{location}': {source}")]
    External { location: String, source: io::Error },
    #[error("its external data's {key} is '{value}', where a number of bytes should be")]
    ExternalEntry { key: &'static str, value: String },
    #[error(
        "its elements take {needed} bytes, but bytes {offset} to {offset} + {length} of '{location}' are said to hold them, which has {size}"
    )]
    ExternalRange { location: String, offset: u64, length: u64, needed: usize, size: u64 },
    #[error("'{0}' is given twice")]
    Duplicate(String),
    #[error("reads '{name}', which nothing gives: the nodes form a cycle, or the file lacks a part")]
    Missing { name: String },
    #[error("reads '{name}', which a later node gives: nodes must come after what they read")]
    Order { name: String },
    #[error("{0}")]
    Graph(Box<NodeError>),
    #[error("the attribute {name} is missing")]
    NoAttribute { name: &'static str },
    #[error("the attribute {name} {problem}")]
    Attribute { name: &'static str, problem: String },
    #[error("takes {expected} inputs, but has {found}")]
    Inputs { expected: &'static str, found: usize },
    #[error("{what} must be known when the network is read, but is computed from its input")]
    NotConstant { what: &'static str },
    #[error("{what} must be floats")]
    NotFloat { what: &'static str },
    #[error("{what} must be whole numbers")]
    NotInt { what: &'static str },
    #[error("axis {axis} does not exist in {rank} dimensions")]
    Axis { axis: i64, rank: usize },
    #[error("works on the first axis, the batch: images would mix")]
    MixesImages,
    #[error("shapes {lhs} and {rhs} do not combine")]
    Combine { lhs: String, rhs: String },
    #[error("cannot view {from} as {to}")]
    Reshape { from: String, to: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("the result would have more than {limit} elements, which are not computed while reading")]
    TooMuch { limit: usize },
    #[error("the input's dimensions {unknown} are not known; say them, as in --input 3x224x224")]
    DynamicInput { unknown: String },
    #[error("takes {expected}, not {found}")]
    InputShape { expected: String, found: String },
    #[error("has no dimensions")]
    NoShape,
    #[error("is of a type that is no tensor")]
    NoTensor,
    #[error("the model has no {0}")]
    No(&'static str),
    #[error("is the same for every input")]
    ConstantOutput,
}
