//! From Striate's graph to ONNX's.
//!
//! Every operation is a few nodes of ONNX, in [`nodes`]; what a version of ONNX's operators cannot say is an error that
//! names it. What exists in training alone (dropout, auxiliary heads) is left out.

mod nodes;

use super::constant::FLOAT;
use super::proto::{self, Attribute, AttributeValue, Dim, Model, Node, ValueInfo};
use crate::Tensor;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use striate_graph::ops::Op;
use striate_graph::{DType, Graph, Type, Value};
use thiserror::Error;

/// The oldest version of ONNX's operators that is written.
pub const OLDEST_WRITTEN: i64 = 9;
/// The newest.
pub const NEWEST_WRITTEN: i64 = super::import::NEWEST;
/// The one that is written where none is asked for: every tool of the last years reads it.
pub const DEFAULT_OPSET: i64 = 18;

/// How a network is written.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The version of ONNX's operators.
    pub opset: i64,
    /// Text by key, such as the classes.
    pub metadata: BTreeMap<String, String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { opset: DEFAULT_OPSET, metadata: BTreeMap::new() }
    }
}

/// Why a network cannot be written.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ExportError {
    /// A version of ONNX's operators that is not written.
    #[error("opset {opset}; {OLDEST_WRITTEN} to {NEWEST_WRITTEN} can be written")]
    Opset {
        /// The version asked for.
        opset: i64,
    },
    /// Parameters without values.
    #[error("no values are given for {}", .0.join(", "))]
    Parameters(Vec<String>),
    /// The network has no output.
    #[error("the network has no output")]
    NoOutput,
    /// A model that is too long for the format.
    #[error("the model takes {bytes} bytes; a message of the format holds at most {limit}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The format's limit.
        limit: u64,
    },
    /// Operations that cannot be said: all of them.
    #[error("{}", Listed(.0))]
    Operations(Vec<Unwritten>),
}

/// An operation that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// The node.
    pub node: String,
    /// Its operation.
    pub op: &'static str,
    /// Why not.
    pub why: String,
}

struct Listed<'a>(&'a [Unwritten]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.0.iter().map(|Unwritten { node, op, why }| format!("{node} ({op}): {why}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Why one operation cannot be written.
type Why = String;

/// A message of the format is at most this long.
const MAX_MESSAGE: u64 = (1 << 31) - 1;

/// The model file of a network whose parameters `parameter` gives by name.
///
/// # Errors
/// All that cannot be written.
pub fn write<'p>(
    graph: &Graph,
    parameter: impl Fn(&str) -> Option<&'p Tensor>,
    options: &ExportOptions,
) -> Result<Vec<u8>, ExportError> {
    let opset = options.opset;
    if !(OLDEST_WRITTEN..=NEWEST_WRITTEN).contains(&opset) {
        return Err(ExportError::Opset { opset });
    }
    let output = graph.output().ok_or(ExportError::NoOutput)?;
    let graph = graph.clone().with_outputs([("main", output)]).inference();
    let missing: Vec<String> = graph
        .parameters()
        .filter(|(node, kind, _)| parameter(&node.name).is_none_or(|tensor| tensor.shape != kind.dims))
        .map(|(node, ..)| node.name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(ExportError::Parameters(missing));
    }
    let needed: u64 = graph.parameters().map(|(.., value)| 4 * graph.ty(value).elements() as u64).sum();
    let too_large = |bytes| ExportError::TooLarge { bytes, limit: MAX_MESSAGE };
    if needed > MAX_MESSAGE {
        return Err(too_large(needed));
    }
    let mut exporter = Exporter::new(&graph, opset);
    let mut unwritten = Vec::new();
    for (id, node) in graph.nodes() {
        if exporter.taken.contains(&id.index()) {
            continue;
        }
        if let Err(why) = exporter.node(id, node, &parameter) {
            unwritten.push(Unwritten { node: node.name.clone(), op: kind(&node.op), why });
            // What follows is written all the same, to find all that cannot be.
            for output in &node.outputs {
                exporter.names.insert(*output, node.name.clone());
            }
        }
    }
    if !unwritten.is_empty() {
        return Err(ExportError::Operations(unwritten));
    }
    let outputs = graph.outputs().iter().map(|output| exporter.info(output.value)).collect();
    let model = Model {
        ir_version: ir_version(opset),
        producer: "striate".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        opsets: vec![(String::new(), opset)],
        metadata: options.metadata.clone().into_iter().collect(),
        graph: Some(proto::Graph {
            name: graph.name.clone(),
            nodes: exporter.nodes,
            initializers: exporter.initializers,
            inputs: exporter.inputs,
            outputs,
            sparse: false,
        }),
    };
    let bytes = model.write();
    if bytes.len() as u64 > MAX_MESSAGE { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

fn kind(op: &Op) -> &'static str {
    striate_graph::ops::Operation::kind(op)
}

/// The version of the file format that came with a version of the operators.
fn ir_version(opset: i64) -> i64 {
    const SINCE: [(i64, i64); 10] =
        [(9, 4), (10, 5), (11, 6), (12, 7), (15, 8), (19, 9), (21, 10), (23, 11), (24, 12), (25, 13)];
    SINCE.iter().rev().find(|(since, _)| *since <= opset).map_or(3, |(_, ir)| *ir)
}

struct Exporter<'g> {
    graph: &'g Graph,
    opset: i64,
    nodes: Vec<Node<'g>>,
    initializers: Vec<proto::Tensor<'g>>,
    inputs: Vec<ValueInfo>,
    /// The names of values in the file.
    names: HashMap<Value, String>,
    /// All names given away.
    used: HashSet<String>,
    /// Nodes of the graph that another one has taken along.
    taken: HashSet<usize>,
    readers: Vec<Vec<striate_graph::NodeId>>,
}

impl<'g> Exporter<'g> {
    fn new(graph: &'g Graph, opset: i64) -> Self {
        Self {
            graph,
            opset,
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            names: HashMap::new(),
            used: graph.nodes().map(|(_, node)| node.name.clone()).collect(),
            taken: HashSet::new(),
            readers: graph.readers(),
        }
    }

    fn ty(&self, value: Value) -> &'g Type {
        self.graph.ty(value)
    }

    /// A value's name and type as ONNX declares inputs and outputs.
    fn info(&self, value: Value) -> ValueInfo {
        let ty = self.ty(value);
        let batch = ty.batched.then(|| Dim::Symbol("N".into()));
        let dims = batch.into_iter().chain(ty.dims.iter().map(|dim| Dim::Known(*dim as i64)));
        let data_type = if ty.dtype == DType::F32 { FLOAT } else { 7 };
        let name = self.names.get(&value).cloned().unwrap_or_default();
        ValueInfo { name, data_type: Some(data_type), shape: Some(dims.collect()) }
    }

    /// A name that is not used, from `base`.
    fn fresh(&mut self, base: &str) -> String {
        let numbered = (1..).map(|n| if n == 1 { base.to_string() } else { format!("{base}_{n}") });
        let name = numbered.into_iter().find(|name| !self.used.contains(name)).expect("some number is free");
        self.used.insert(name.clone());
        name
    }

    /// A tensor of floats in the file.
    fn floats(&mut self, name: String, dims: &[usize], data: &[f32]) -> String {
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, dims, FLOAT, bytes)
    }

    /// A vector of whole numbers in the file.
    fn ints(&mut self, base: &str, values: &[i64]) -> String {
        let name = self.fresh(base);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, &[values.len()], 7, bytes)
    }

    fn tensor(&mut self, name: String, dims: &[usize], data_type: i64, bytes: Vec<u8>) -> String {
        self.initializers.push(proto::Tensor {
            name: name.clone(),
            dims: dims.iter().map(|dim| *dim as i64).collect(),
            data_type,
            raw: Some(Cow::Owned(bytes)),
            ..proto::Tensor::default()
        });
        name
    }

    /// Appends a node whose one output has its own name.
    fn push(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<(&str, AttributeValue<'g>)>,
    ) -> String {
        let attributes = attributes.into_iter().map(|(name, value)| Attribute { name: name.into(), value });
        self.nodes.push(Node {
            inputs: inputs.iter().map(|input| input.to_string()).collect(),
            outputs: vec![name.into()],
            name: name.into(),
            op: op.into(),
            domain: String::new(),
            attributes: attributes.collect(),
        });
        name.into()
    }
}
