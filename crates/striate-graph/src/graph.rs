//! A network as data: nodes in the order they are computed, and the values between them.

use crate::Type;
use crate::error::{NodeError, Problem};
use crate::ops::{Op, Operation, Parameter, Role};
use std::collections::HashMap;

/// One output of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

/// A node's place in the order of computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl Value {
    /// Its index among the graph's values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// Its index among the graph's nodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operation applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph; a parameter's is its published name (`layer1.0.conv1.weight`).
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// What it is computed from.
    pub inputs: Vec<Value>,
    /// What it produces, in the operation's order.
    pub outputs: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
struct ValueInfo {
    ty: Type,
    node: NodeId,
}

/// A value the graph is computed for.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `main`, `aux1`, `loss`, …
    pub name: String,
    /// The value.
    pub value: Value,
}

/// A network: portable, with typed shapes, the source of everything derived from it.
///
/// Nodes are appended after the nodes they read from, so their order is an order of computation and there are
/// no cycles.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// The network's name.
    pub name: String,
    nodes: Vec<Node>,
    values: Vec<ValueInfo>,
    outputs: Vec<Output>,
    names: HashMap<String, NodeId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Appends a node; its output types follow from the operation and the inputs.
    ///
    /// # Errors
    /// All that is wrong with the operation on these inputs; nothing is appended then.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[Value],
    ) -> Result<Vec<Value>, Vec<NodeError>> {
        let (name, op) = (name.into(), op.into());
        let mut problems = Vec::new();
        if self.names.contains_key(&name) {
            problems.push(Problem::NameTaken(name.clone()));
        }
        match self.infer(&op, inputs, &mut problems) {
            Some(types) if problems.is_empty() => Ok(self.push_typed(name, op, inputs, types)),
            _ => Err(problems.into_iter().map(|problem| self.error(&name, &op, inputs, problem)).collect()),
        }
    }

    /// Output types of `op` on `inputs`; `Some` despite problems where the rule can tell the shape all the same.
    pub(crate) fn infer(&self, op: &Op, inputs: &[Value], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let inputs: Vec<&Type> = inputs.iter().map(|v| self.ty(*v)).collect();
        let types = op.infer(&inputs, problems)?;
        if !types.iter().all(Type::is_sane) {
            problems.push(Problem::TooLarge);
            return None;
        }
        Some(types)
    }

    pub(crate) fn error(&self, name: &str, op: &Op, inputs: &[Value], problem: Problem) -> NodeError {
        let inputs = inputs.iter().filter(|v| self.parameter(**v).is_none()).map(|v| self.ty(*v).clone());
        NodeError { node: name.to_string(), op: op.kind(), inputs: inputs.collect(), problem }
    }

    pub(crate) fn push_typed(
        &mut self,
        name: String,
        op: Op,
        inputs: &[Value],
        types: Vec<Type>,
    ) -> Vec<Value> {
        let node = NodeId(self.nodes.len() as u32);
        let outputs: Vec<Value> = types
            .into_iter()
            .map(|ty| {
                self.values.push(ValueInfo { ty, node });
                Value(self.values.len() as u32 - 1)
            })
            .collect();
        self.names.insert(name.clone(), node);
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), outputs: outputs.clone() });
        outputs
    }

    /// Declares `value` an output.
    pub fn add_output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push(Output { name: name.into(), value });
    }

    /// The same graph with other outputs.
    pub fn with_outputs<'a>(mut self, outputs: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        self.outputs.clear();
        for (name, value) in outputs {
            self.add_output(name, value);
        }
        self
    }

    /// The nodes, each after those it reads from.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> + DoubleEndedIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<(NodeId, &Node)> {
        self.names.get(name).map(|id| (*id, self.node(*id)))
    }

    /// The number of values.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// A value's type.
    pub fn ty(&self, value: Value) -> &Type {
        &self.values[value.index()].ty
    }

    /// The node that produces a value.
    pub fn producer(&self, value: Value) -> NodeId {
        self.values[value.index()].node
    }

    /// What the graph is computed for; the first is the network's main output.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The main output.
    pub fn output(&self) -> Option<Value> {
        self.outputs.first().map(|output| output.value)
    }

    /// The inputs a caller must give (images, labels, learning rate), in order.
    pub fn inputs(&self) -> impl Iterator<Item = (&Node, Value)> {
        self.nodes.iter().filter(|node| matches!(node.op, Op::Input(_))).map(|node| (node, node.outputs[0]))
    }

    /// The network's image input: the first input.
    pub fn image(&self) -> Option<Value> {
        self.inputs().next().map(|(_, value)| value)
    }

    /// The parameters (and buffers: running statistics, optimiser state), in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&Node, &Parameter, Value)> {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Parameter(parameter) => Some((node, parameter, node.outputs[0])),
            _ => None,
        })
    }

    /// The parameter behind a value, where it is one.
    pub fn parameter(&self, value: Value) -> Option<&Parameter> {
        match &self.node(self.producer(value)).op {
            Op::Parameter(parameter) => Some(parameter),
            _ => None,
        }
    }

    /// The number of trainable elements: weights, biases, scales and shifts, without running statistics.
    pub fn parameter_count(&self) -> usize {
        self.parameters()
            .filter(|(_, parameter, _)| parameter.role.is_trained())
            .map(|(_, _, value)| self.ty(value).elements())
            .sum()
    }

    /// For each value, the nodes that read it.
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes() {
            for input in &node.inputs {
                if readers[input.index()].last() != Some(&id) {
                    readers[input.index()].push(id);
                }
            }
        }
        readers
    }

    /// A copy with every node rewritten by `rewrite`, which appends its replacement to the new graph and
    /// returns the replacement's outputs; it gets the node and its inputs in the new graph.
    pub fn rewrite(&self, mut rewrite: impl FnMut(&mut Graph, &Node, &[Value]) -> Vec<Value>) -> Graph {
        let mut new = Graph::new(self.name.clone());
        let mut map: HashMap<Value, Value> = HashMap::new();
        for node in &self.nodes {
            let inputs: Vec<Value> = node.inputs.iter().map(|v| map[v]).collect();
            let outputs = rewrite(&mut new, node, &inputs);
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
        for output in &self.outputs {
            new.add_output(output.name.clone(), map[&output.value]);
        }
        new
    }

    /// Appends a copy of `node` reading `inputs`; for use in [`Graph::rewrite`].
    ///
    /// # Panics
    /// When the node is not valid on these inputs: a rewrite must keep types.
    pub fn copy_node(&mut self, node: &Node, inputs: &[Value]) -> Vec<Value> {
        self.push(node.name.clone(), node.op.clone(), inputs)
            .unwrap_or_else(|errors| panic!("a rewrite broke {}: {}", node.name, errors[0]))
    }

    /// A copy with only the outputs that `keep` accepts, and only the nodes they are computed from. Nodes that
    /// change parameters in place stay.
    pub fn prune(&self, keep: impl Fn(&Output) -> bool) -> Graph {
        let mut needed = vec![false; self.nodes.len()];
        for output in self.outputs.iter().filter(|o| keep(o)) {
            needed[self.producer(output.value).index()] = true;
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            needed[index] |= node.op.updates().next().is_some() || matches!(node.op, Op::Input(_));
            if needed[index] {
                for input in &node.inputs {
                    needed[self.producer(*input).index()] = true;
                }
            }
        }
        let mut new = Graph::new(self.name.clone());
        let mut map: HashMap<Value, Value> = HashMap::new();
        for (_, node) in self.nodes().filter(|(id, _)| needed[id.index()]) {
            let inputs: Vec<Value> = node.inputs.iter().map(|v| map[v]).collect();
            let outputs = new.copy_node(node, &inputs);
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
        for output in self.outputs.iter().filter(|o| keep(o)) {
            new.add_output(output.name.clone(), map[&output.value]);
        }
        new
    }

    /// The graph as it is used after training: the main output alone, nothing random, nothing updated.
    pub fn inference(&self) -> Graph {
        let main = self.output();
        self.prune(|output| Some(output.value) == main)
    }

    /// The scores before the final softmax, where the main output is one, else the main output.
    pub fn logits(&self) -> Option<Value> {
        self.output().map(|value| self.before_softmax(value))
    }

    /// The input of the softmax that produces `value`, or `value` itself.
    pub fn before_softmax(&self, value: Value) -> Value {
        let node = self.node(self.producer(value));
        if matches!(node.op, Op::Softmax(_)) { node.inputs[0] } else { value }
    }

    /// `base`, or `base` with the first number that makes it unique.
    pub fn unique_name(&self, base: &str) -> String {
        if !self.names.contains_key(base) {
            return base.to_string();
        }
        (2..)
            .map(|n| format!("{base}_{n}"))
            .find(|name| !self.names.contains_key(name))
            .expect("some number is free")
    }

    /// The nodes' parameters: for a node, the parameters that it alone reads first.
    pub fn parameters_of(&self, id: NodeId) -> impl Iterator<Item = (&Node, &Parameter, Value)> {
        self.node(id).inputs.iter().filter_map(|value| {
            let node = self.node(self.producer(*value));
            match &node.op {
                Op::Parameter(parameter) => Some((node, parameter, *value)),
                _ => None,
            }
        })
    }
}

impl Role {
    /// Whether training changes it by gradient.
    pub fn is_trained(self) -> bool {
        matches!(self, Role::Weight | Role::Bias | Role::Scale | Role::Shift)
    }
}
