//! Recomputation (gradient checkpointing; Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): values of
//! the forward pass are computed again right before the backward pass first reads them, so that they need no memory
//! between.
//!
//! A training graph's outputs are computed by its forward part; all other nodes, gradients and updates, are its
//! backward part. Copies of forward nodes are put into the backward part, and what reads the originals there reads the
//! copies. A copy computes what its original computed, from the same bits: dropout draws the same mask, and a training
//! batch norm becomes a [`Normalize`] by the statistics it took, which are kept and updated once.

use crate::ops::{BatchNorm, Binary, BinaryKind, Normalize, Op};
use crate::{Graph, Node, NodeId, Value};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

/// What is computed again in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Nothing: what the backward pass reads is kept.
    #[default]
    None,
    /// Normalisations, activations, additions, concatenations and dropout, where what they are computed from is kept in any
    /// case.
    Cheap,
    /// All but fully connected layers, from values kept at the bounds of blocks; the bounds are those of least memory.
    Blocks,
}

impl Recompute {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Recompute::None => "none",
            Recompute::Cheap => "cheap",
            Recompute::Blocks => "blocks",
        }
    }
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Recompute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::None, Self::Cheap, Self::Blocks]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| format!("unknown recomputation '{text}': choose none, cheap or blocks"))
    }
}

/// The same training step with values of the forward pass computed again for the backward pass. Outputs, gradients,
/// updates and running statistics are the same bits.
pub fn recompute(training: &Graph, level: Recompute) -> Graph {
    let step = Step::new(training);
    match level {
        Recompute::None => training.clone(),
        Recompute::Cheap => step.with_copies(&step.cheap()),
        Recompute::Blocks => step.with_copies(&step.blocks()),
    }
}

/// A training graph, divided.
struct Step<'a> {
    graph: &'a Graph,
    /// For each node, whether it belongs to the forward part.
    forward: Vec<bool>,
    /// For each value, whether the forward part makes it and the backward part reads it.
    saved: Vec<bool>,
}

impl<'a> Step<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut forward = vec![false; graph.nodes().len()];
        for output in graph.outputs() {
            forward[graph.producer(output.value).index()] = true;
        }
        for (id, node) in graph.nodes().rev() {
            if forward[id.index()] {
                node.inputs.iter().for_each(|value| forward[graph.producer(*value).index()] = true);
            }
        }
        let mut saved = vec![false; graph.value_count()];
        for (_, node) in graph.nodes().filter(|(id, _)| !forward[id.index()]) {
            for value in node.inputs.iter().filter(|value| forward[graph.producer(**value).index()]) {
                saved[value.index()] = true;
            }
        }
        Self { graph, forward, saved }
    }

    /// The nodes of the forward part, leaves apart.
    fn forward(&self) -> impl Iterator<Item = (NodeId, &'a Node)> {
        self.graph.nodes().filter(|(id, node)| self.forward[id.index()] && !node.op.is_leaf())
    }

    /// For each node, whether it is computed again at [`Recompute::Cheap`].
    ///
    /// A node is where its operands are leaves, kept for the backward pass in any case, or computed again themselves. Of a
    /// chain of additions or concatenations every other one is kept: else the first use of the last would bring all
    /// back at once. A concatenation of kept parts is kept too, since the parts lie in it.
    fn cheap(&self) -> Vec<bool> {
        // For a node computed again, the additions and concatenations from what is kept up to its result.
        let mut joins: Vec<Option<usize>> = vec![None; self.forward.len()];
        for (id, node) in self.forward().filter(|(_, node)| is_cheap(&node.op)) {
            let operands = node.inputs.iter().filter(|value| !self.is_leaf(**value));
            let before = operands.map(|value| {
                let again = joins[self.graph.producer(*value).index()];
                let is_kept = self.saved[value.index()] && !matches!(node.op, Op::Concat(_));
                again.or(is_kept.then_some(0))
            });
            let before: Option<Vec<usize>> = before.collect();
            let is_join = matches!(node.op, Op::Concat(_) | Op::Binary(Binary { kind: BinaryKind::Add }));
            joins[id.index()] = before
                .map(|before| before.into_iter().max().unwrap_or(0) + usize::from(is_join))
                .filter(|joins| *joins <= 1);
        }
        joins.iter().map(Option::is_some).collect()
    }

    /// For each node, whether it is computed again at [`Recompute::Blocks`]: all it can be before the last checkpoint, the
    /// checkpoints apart, and what is cheap behind it.
    fn blocks(&self) -> Vec<bool> {
        let mut again = self.cheap();
        let checkpoints = self.checkpoints();
        let Some(last) = checkpoints.last() else { return again };
        for (id, node) in self.forward().take_while(|(id, _)| id <= last) {
            again[id.index()] = !checkpoints.contains(&id) && !stays(&node.op);
        }
        again
    }

    /// The nodes whose results bound the blocks, so that what is kept, with what the block in work computes again, is
    /// least at its most.
    fn checkpoints(&self) -> Vec<NodeId> {
        let bounds = self.bounds();
        // Bytes an image that the backward part reads, of all nodes before each.
        let mut before = vec![0];
        for (id, node) in self.graph.nodes() {
            let saved =
                node.outputs.iter().filter(|value| self.forward[id.index()] && self.saved[value.index()]);
            before.push(before[id.index()] + saved.map(|value| self.bytes(*value)).sum::<u64>());
        }
        let (mut enough, mut too_little) = (before[self.forward.len()], 0);
        let mut best = Vec::new();
        while too_little < enough {
            let limit = too_little + (enough - too_little) / 2;
            match self.within(limit, &bounds, &before) {
                Some(checkpoints) => (best, enough) = (checkpoints, limit),
                None => too_little = limit + 1,
            }
        }
        best
    }

    /// The fewest bytes of checkpoints among `bounds` with which no block needs more than `limit` bytes, earlier
    /// checkpoints and its own included; `None` where there is no way.
    fn within(&self, limit: u64, bounds: &[NodeId], before: &[u64]) -> Option<Vec<NodeId>> {
        /// Checkpoints up to a bound, which is the last of them: their bytes, and the one before.
        struct Prefix {
            bytes: u64,
            previous: Option<usize>,
        }
        let mut prefixes: Vec<Option<Prefix>> = Vec::new();
        // The least that is kept where a block ends before `end` and `kept` bytes at its end stay, over the places where
        // it begins.
        let reach = |prefixes: &[Option<Prefix>], end: usize, kept: u64| {
            let starts = prefixes.iter().enumerate().filter_map(|(index, prefix)| {
                let prefix = prefix.as_ref()?;
                Some((prefix.bytes, before[bounds[index].index() + 1], Some(index)))
            });
            starts
                .chain([(0, 0, None)])
                .filter(|(bytes, start, _)| bytes + (before[end] - start) + kept <= limit)
                .min_by_key(|(bytes, ..)| *bytes)
                .map(|(bytes, _, previous)| Prefix { bytes: bytes + kept, previous })
        };
        for bound in bounds {
            let kept = self.graph.node(*bound).outputs.iter().map(|value| self.bytes(*value)).sum();
            prefixes.push(reach(&prefixes, bound.index(), kept));
        }
        let mut previous = reach(&prefixes, self.forward.len(), 0)?.previous;
        let mut checkpoints = Vec::new();
        while let Some(index) = previous {
            checkpoints.push(bounds[index]);
            previous = prefixes[index].as_ref().expect("it was reached").previous;
        }
        checkpoints.reverse();
        Some(checkpoints)
    }

    /// The nodes through whose first result alone the forward pass goes on: behind each, no other value is read that could
    /// be computed again. Results that one cheap node alone reads are none: that node's result serves as well.
    fn bounds(&self) -> Vec<NodeId> {
        let mut last_reader = vec![None; self.graph.value_count()];
        let mut readers = vec![Vec::new(); self.graph.value_count()];
        for (id, node) in self.forward() {
            for value in &node.inputs {
                last_reader[value.index()] = Some(id);
                readers[value.index()].push(&node.op);
            }
        }
        let mut open: BTreeSet<Value> = BTreeSet::new();
        let mut bounds = Vec::new();
        for (id, node) in self.forward() {
            open.retain(|value| last_reader[value.index()] > Some(id));
            if !stays(&node.op) {
                open.extend(node.outputs.iter().filter(|value| last_reader[value.index()].is_some()));
            }
            let alone = node.outputs.first().is_some_and(|value| {
                let passes = matches!(readers[value.index()].as_slice(), [op] if is_cheap(op));
                !passes && open.len() == 1 && open.contains(value)
            });
            if alone {
                bounds.push(id);
            }
        }
        bounds
    }

    /// The graph with copies of the nodes marked in `again`, each before the first node of the backward part that
    /// needs it.
    fn with_copies(&self, again: &[bool]) -> Graph {
        let mut new = Graph::new(self.graph.name.clone());
        let mut originals: HashMap<Value, Value> = HashMap::new();
        let mut copies: HashMap<Value, Value> = HashMap::new();
        for (id, node) in self.graph.nodes() {
            let backward = !self.forward[id.index()];
            if backward {
                for needed in self.needed(node, again, &copies) {
                    self.copy(needed, &mut new, &originals, &mut copies);
                }
            }
            let new_value = |value: &Value| {
                let copy = copies.get(value).filter(|_| backward);
                *copy.unwrap_or_else(|| &originals[value])
            };
            let inputs: Vec<Value> = node.inputs.iter().map(new_value).collect();
            let outputs = new.copy_node(node, &inputs);
            originals.extend(node.outputs.iter().copied().zip(outputs));
        }
        for output in self.graph.outputs() {
            new.add_output(output.name.clone(), originals[&output.value]);
        }
        new
    }

    /// The nodes to be computed again for `reader`, in order.
    fn needed(&self, reader: &Node, again: &[bool], copies: &HashMap<Value, Value>) -> BTreeSet<NodeId> {
        let mut needed = BTreeSet::new();
        let mut values = reader.inputs.clone();
        while let Some(value) = values.pop() {
            let id = self.graph.producer(value);
            let node = self.graph.node(id);
            let is_lost = again[id.index()] && !is_statistic(node, value) && !copies.contains_key(&value);
            if is_lost && needed.insert(id) {
                values.extend(&node.inputs);
            }
        }
        needed
    }

    fn copy(
        &self,
        id: NodeId,
        new: &mut Graph,
        originals: &HashMap<Value, Value>,
        copies: &mut HashMap<Value, Value>,
    ) {
        let node = self.graph.node(id);
        let value = |value: &Value| *copies.get(value).unwrap_or_else(|| &originals[value]);
        let mut inputs: Vec<Value> = node.inputs.iter().map(value).collect();
        let mut op = node.op.clone();
        if let Op::BatchNorm(BatchNorm { training: true, .. }) = op {
            inputs.truncate(3);
            inputs.extend(node.outputs[1..].iter().map(|statistic| originals[statistic]));
            op = Normalize.into();
        }
        let name = new.unique_name(&format!("{}/again", node.name));
        let outputs = new
            .push(name, op, &inputs)
            .unwrap_or_else(|errors| panic!("{} cannot be computed again: {}", node.name, errors[0]));
        copies.extend(node.outputs.iter().copied().zip(outputs));
    }

    fn is_leaf(&self, value: Value) -> bool {
        self.graph.node(self.graph.producer(value)).op.is_leaf()
    }

    /// Bytes an image; what all images share counts nothing.
    fn bytes(&self, value: Value) -> u64 {
        let ty = self.graph.ty(value);
        if ty.batched { (ty.elements() * ty.dtype.bytes()) as u64 } else { 0 }
    }
}

/// Whether an operation's time is that of reading and writing its maps once.
fn is_cheap(op: &Op) -> bool {
    matches!(
        op,
        Op::Activation(_)
            | Op::BatchNorm(_)
            | Op::LocalResponseNorm(_)
            | Op::Dropout(_)
            | Op::Scale(_)
            | Op::Binary(_)
            | Op::Where(_)
            | Op::Concat(_)
            | Op::Reshape(_)
    )
}

/// Whether an operation is never computed again: losses, and layers whose results are few beside the weights they would
/// have to read.
fn stays(op: &Op) -> bool {
    let is_loss = matches!(op, Op::CrossEntropy(_) | Op::BceWithLogits(_) | Op::MeanSquaredError(_));
    let changes = op.updates().next().is_some() && !matches!(op, Op::BatchNorm(_));
    is_loss || changes || op.is_leaf() || matches!(op, Op::Linear(_) | Op::LocallyConnected2d(_))
}

/// Whether a value is one of the batch's statistics, which a batch norm computed again does not compute.
fn is_statistic(node: &Node, value: Value) -> bool {
    matches!(node.op, Op::BatchNorm(_)) && node.outputs.first() != Some(&value)
}
