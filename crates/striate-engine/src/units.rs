//! Which nodes are computed together by one kernel, and in which order.

use crate::place::shape4;
use std::collections::HashMap;
use striate_graph::ops::{Activation, ActivationBackward, ActivationKind, BatchNorm, Binary, BinaryKind, Op};
use striate_graph::{Graph, Node, NodeId, Type, Value};

/// What surrounds a unit's root within the same kernel: what follows a convolution or a batch norm, in this order, or
/// what comes before a batch norm's gradient.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// A batch norm of inference, folded into the weights.
    pub norm: Option<NodeId>,
    /// The other side of an addition.
    pub residual: Option<Value>,
    /// A ReLU.
    pub relu: bool,
    /// The least and the greatest value, where values are held within bounds instead.
    pub clip: Option<[f32; 2]>,
    /// The gradient of the ReLU before, through which a batch norm's gradient comes.
    pub gate: Option<Gate>,
}

/// A ReLU's gradient, computed with that of the batch norm before the ReLU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// What tells which elements the ReLU passed.
    pub by: GatedBy,
    /// The gradient before it is gated.
    pub d_dst: Value,
    /// The gated gradient, where others read it too.
    pub kept: Option<Value>,
}

/// What tells which elements a ReLU passed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GatedBy {
    /// Its input, computed again from the batch norm's input, with this bias.
    Norm(Value),
    /// Its result.
    Relu(Value),
}

impl GatedBy {
    /// The value read for it.
    pub(crate) fn value(self) -> Value {
        let (Self::Norm(value) | Self::Relu(value)) = self;
        value
    }
}

/// Nodes that one kernel computes.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The node whose kernel it is.
    pub root: NodeId,
    /// The nodes it takes along, in order.
    pub absorbed: Vec<NodeId>,
    /// What they are.
    pub chain: Chain,
    /// The result of the last of them (where the root has a result).
    pub output: Option<Value>,
    /// Values read when it runs.
    pub reads: Vec<Value>,
    /// Values written, parameters changed in place included.
    pub writes: Vec<Value>,
    /// Whether the weights are packed once and kept.
    pub prepared: bool,
}

impl Unit {
    /// The names of its nodes; of those taken along, what the scope they share with the first leaves.
    pub(crate) fn name(&self, graph: &Graph) -> String {
        let root = &graph.node(self.root).name;
        let mut name = root.clone();
        for id in &self.absorbed {
            let taken = &graph.node(*id).name;
            let shared = root.bytes().zip(taken.bytes()).take_while(|(a, b)| a == b).count();
            let scope = root.as_bytes()[..shared].iter().rposition(|byte| b"./".contains(byte));
            name += "+";
            name += &taken[scope.map_or(0, |last| last + 1)..];
        }
        name
    }
}

/// The units of a graph in the order they run. Leaves and views have none.
pub(crate) fn units(graph: &Graph) -> Vec<Unit> {
    let readers = graph.readers();
    let is_output = |value: Value| graph.outputs().iter().any(|output| output.value == value);
    let sole_reader = |value: Value| match readers[value.index()].as_slice() {
        [reader] if !is_output(value) => Some(*reader),
        _ => None,
    };
    let mut statics = HashMap::new();
    let gates = gates(graph, &readers);
    // The node whose unit computes a value.
    let made_by = |value: Value| {
        let producer = graph.producer(value);
        gates.iter().find(|(_, (relu, _))| *relu == producer).map_or(producer, |(norm, _)| *norm)
    };
    let mut absorbed = vec![false; graph.nodes().len()];
    gates.values().for_each(|(relu, _)| absorbed[relu.index()] = true);
    let mut placed: Vec<(NodeId, Unit)> = Vec::new();
    for (id, node) in graph.nodes() {
        if absorbed[id.index()] || node.op.is_leaf() || is_view(graph, node) {
            continue;
        }
        let mut unit = Unit {
            root: id,
            absorbed: Vec::new(),
            chain: Chain::default(),
            output: node.outputs.first().copied(),
            reads: Vec::new(),
            writes: Vec::new(),
            prepared: false,
        };
        if let Some((relu, gate)) = gates.get(&id) {
            unit.absorbed.push(*relu);
            unit.chain.gate = Some(*gate);
        }
        extend(graph, node, &mut unit, &sole_reader, &made_by, &mut statics);
        absorb_updates(graph, node, &mut unit, &sole_reader);
        for taken in &unit.absorbed {
            absorbed[taken.index()] = true;
        }
        touch(graph, node, &mut unit, &mut statics);
        // All that a chain reads is there when its root is; what else the root computes may be read before the end
        // of the chain.
        placed.push((id, unit));
    }
    place_updates(graph, &mut placed, &made_by);
    without_unread(graph, placed.into_iter().map(|(_, unit)| unit).collect())
}

/// Leaves out the units whose results nobody reads: a gate computes again what it would else have read.
fn without_unread(graph: &Graph, mut units: Vec<Unit>) -> Vec<Unit> {
    let viewed = viewed_values(graph);
    let mut wanted: Vec<bool> = vec![false; graph.value_count()];
    for output in graph.outputs() {
        wanted[viewed[output.value.index()].index()] = true;
    }
    for (_, node) in graph.nodes().filter(|(_, node)| node.op.is_leaf()) {
        node.outputs.iter().for_each(|value| wanted[value.index()] = true);
    }
    let mut is_read: Vec<bool> = Vec::new();
    for unit in units.iter().rev() {
        let read = unit.writes.iter().any(|value| wanted[viewed[value.index()].index()]);
        is_read.push(read);
        for value in unit.reads.iter().filter(|_| read) {
            wanted[viewed[value.index()].index()] = true;
        }
    }
    units.retain(|_| is_read.pop().expect("one for each unit"));
    units
}

/// Whether an operation's kernel can take a normalisation, an addition, a ReLU and bounds along.
fn takes_chain(op: &Op) -> [bool; 4] {
    match op {
        Op::Conv2d(_) | Op::Linear(_) => [true, true, true, true],
        Op::Conv2dBackwardData(_) => [false, true, false, false],
        Op::BatchNorm(BatchNorm { training: true, .. }) | Op::Normalize(_) => [false, true, true, false],
        Op::Binary(Binary { kind: BinaryKind::Add | BinaryKind::Multiply }) => [false, false, true, false],
        _ => [false; 4],
    }
}

/// Takes along what follows the root, as far as the root's kernel can and nothing else reads what lies between.
fn extend(
    graph: &Graph,
    root: &Node,
    unit: &mut Unit,
    sole_reader: &dyn Fn(Value) -> Option<NodeId>,
    made_by: &dyn Fn(Value) -> NodeId,
    statics: &mut HashMap<Value, bool>,
) {
    let [norm, addition, relu, clip] = takes_chain(&root.op);
    let foldable = root.inputs.len() > 1 && root.inputs[1..].iter().all(|v| is_static(graph, *v, statics));
    while let Some(reader) = unit.output.and_then(sole_reader) {
        let (node, value) = (graph.node(reader), unit.output.expect("it has a reader"));
        let chain = &mut unit.chain;
        match &node.op {
            Op::BatchNorm(BatchNorm { training: false, .. })
                if norm
                    && foldable
                    && chain.norm.is_none()
                    && chain.residual.is_none()
                    && node.inputs[0] == value
                    && node.inputs[1..].iter().all(|v| is_static(graph, *v, statics)) =>
            {
                chain.norm = Some(reader);
            }
            Op::Binary(binary) if addition && binary.kind == BinaryKind::Add && chain.residual.is_none() => {
                let other = if node.inputs[0] == value { node.inputs[1] } else { node.inputs[0] };
                let ready = made_by(other) < unit.root;
                if other == value || !ready || graph.ty(other) != graph.ty(value) {
                    return;
                }
                chain.residual = Some(other);
            }
            Op::Activation(activation) => {
                match activation.kind {
                    ActivationKind::Relu if relu => chain.relu = true,
                    ActivationKind::Clip { min, max } if clip => chain.clip = Some([min, max]),
                    _ => return,
                }
                unit.absorbed.push(reader);
                unit.output = Some(node.outputs[0]);
                return;
            }
            _ => return,
        }
        unit.absorbed.push(reader);
        unit.output = Some(node.outputs[0]);
    }
}

/// Takes along the updates that a fully connected layer's gradients are for, if that is all that becomes of them: then
/// they need no memory.
fn absorb_updates(
    graph: &Graph,
    root: &Node,
    unit: &mut Unit,
    sole_reader: &dyn Fn(Value) -> Option<NodeId>,
) {
    let Op::LinearBackwardWeights(_) = root.op else { return };
    let update = |gradient: &Value| {
        sole_reader(*gradient).filter(|reader| matches!(graph.node(*reader).op, Op::SgdUpdate(_)))
    };
    if let Some(updates) = root.outputs.iter().map(update).collect::<Option<Vec<NodeId>>>() {
        unit.absorbed = updates;
        unit.output = None;
    }
}

/// Whether a unit does nothing but update parameters.
pub(crate) fn is_update(graph: &Graph, unit: &Unit) -> bool {
    let mut nodes = unit.absorbed.iter().chain([&unit.root]).map(|id| graph.node(*id));
    nodes.any(|node| node.op.is_update())
}

/// The gradients of ReLUs that are computed with a batch norm's, by the norm's gradient: the first to read them.
fn gates(graph: &Graph, readers: &[Vec<NodeId>]) -> HashMap<NodeId, (NodeId, Gate)> {
    let kind = ActivationKind::Relu;
    let [relu, relu_gradient] = [Op::from(Activation { kind }), Op::from(ActivationBackward { kind })];
    let gate = |(id, node): (NodeId, &Node)| {
        let gradient = *node.outputs.first().filter(|_| node.op == relu_gradient)?;
        let (first, others) = readers[gradient.index()].split_first()?;
        let Node { op: Op::BatchNormBackward(_), inputs, .. } = graph.node(*first) else { return None };
        let [x, scale, mean, inv_std, d_dst] = inputs[..] else { return None };
        if d_dst != gradient || x == gradient {
            return None;
        }
        let y = node.inputs[0];
        let norm_bias = || {
            let Node { op, inputs, .. } = graph.node(graph.producer(y));
            let z = *inputs.first().filter(|_| *op == relu)?;
            let Node { op, inputs, outputs, .. } = graph.node(graph.producer(z));
            let statistics = match op {
                Op::BatchNorm(_) => outputs.get(1..),
                Op::Normalize(_) => inputs.get(3..),
                _ => None,
            };
            let is_same = outputs[0] == z
                && inputs[..2] == [x, scale]
                && statistics == Some([mean, inv_std].as_slice());
            is_same.then(|| inputs[2])
        };
        let by = norm_bias().map_or(GatedBy::Relu(y), GatedBy::Norm);
        let is_output = graph.outputs().iter().any(|output| output.value == gradient);
        let kept = (!others.is_empty() || is_output).then_some(gradient);
        Some((*first, (id, Gate { by, d_dst: node.inputs[1], kept })))
    };
    graph.nodes().filter_map(gate).collect()
}

/// What the unit reads and writes when it runs.
fn touch(graph: &Graph, root: &Node, unit: &mut Unit, statics: &mut HashMap<Value, bool>) {
    let updates = if is_update(graph, unit) { unit.absorbed.as_slice() } else { &[] };
    let updates: Vec<&Node> = updates.iter().map(|id| graph.node(*id)).collect();
    let changing = updates.iter().copied().chain([root]);
    let updated: Vec<Value> =
        changing.flat_map(|node| node.op.updates().map(|index| node.inputs[index])).collect();
    let has_weights = matches!(
        root.op,
        Op::Conv2d(_)
            | Op::Linear(_)
            | Op::ConvTranspose2d(_)
            | Op::Conv2dBackwardData(_)
            | Op::LinearBackwardData(_)
    );
    unit.prepared = has_weights && root.inputs[1..].iter().all(|v| is_static(graph, *v, statics));
    let reads = if unit.prepared { &root.inputs[..1] } else { &root.inputs[..] };
    let reads = reads.iter().chain(updates.iter().flat_map(|node| &node.inputs)).copied();
    unit.reads = reads.filter(|v| !updated.contains(v) && !root.outputs.contains(v)).collect();
    unit.reads.extend(unit.chain.residual);
    let first_further = if updates.is_empty() { 1 } else { root.outputs.len() };
    let further = root.outputs.iter().skip(first_further).copied();
    unit.writes = unit.output.into_iter().chain(further).chain(updated).collect();
    if let Some(Gate { by, d_dst, kept }) = unit.chain.gate {
        unit.reads.pop();
        unit.reads.extend([d_dst, by.value()]);
        unit.writes.extend(kept);
    }
}

/// Sorts the units into an order of computation in which each parameter's update runs as soon as what it takes is there
/// and nobody else needs the old value, so that the gradient's memory is free again. What another unit changes in place is
/// there behind that unit.
fn place_updates(graph: &Graph, placed: &mut [(NodeId, Unit)], made_by: &dyn Fn(Value) -> NodeId) {
    let viewed = viewed_values(graph);
    let mut last_touch: HashMap<Value, NodeId> = HashMap::new();
    let mut last_write: HashMap<Value, NodeId> = HashMap::new();
    for (position, unit) in placed.iter().filter(|(_, unit)| !is_update(graph, unit)) {
        for value in unit.reads.iter().chain(&unit.writes) {
            let last = last_touch.entry(viewed[value.index()]).or_insert(*position);
            *last = (*last).max(*position);
        }
        for value in &unit.writes {
            let last = last_write.entry(viewed[value.index()]).or_insert(*position);
            *last = (*last).max(*position);
        }
    }
    for (position, unit) in placed.iter_mut().filter(|(_, unit)| is_update(graph, unit)) {
        let made = unit.reads.iter().map(|value| made_by(viewed[value.index()]));
        let free = unit.writes.iter().filter_map(|value| last_touch.get(&viewed[value.index()]).copied());
        let changed = unit.reads.iter().filter_map(|value| last_write.get(&viewed[value.index()]).copied());
        *position = made.chain(free).chain(changed).max().unwrap_or(*position);
        for value in &unit.writes {
            last_write.insert(viewed[value.index()], *position);
        }
    }
    placed.sort_by_key(|(position, unit)| (*position, is_update(graph, unit)));
}

/// Whether nothing in the graph changes this parameter, so that what is derived from it (packed weights) can be
/// kept from run to run.
pub(crate) fn is_static(graph: &Graph, value: Value, cache: &mut HashMap<Value, bool>) -> bool {
    *cache.entry(value).or_insert_with(|| {
        graph.parameter(value).is_some()
            && !graph.nodes().any(|(_, node)| node.op.updates().any(|index| node.inputs[index] == value))
    })
}

/// Whether a node only gives another name to what is in memory, for this graph's layouts: no kernel runs.
pub(crate) fn is_view(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Dropout(dropout) => dropout.stream.is_none(),
        Op::Slice(slice) => {
            let has_channels = matches!(graph.ty(node.inputs[0]).dims.len(), 1 | 3);
            has_channels && slice.axis == 0 && slice.step == 1
        }
        Op::Reshape(_) => {
            let (from, to) = (graph.ty(node.inputs[0]), graph.ty(node.outputs[0]));
            let plain = |ty: &Type| match ty.dims.as_slice() {
                [c, h, w] => *c == 1 || h * w == 1,
                _ => true,
            };
            plain(from) && plain(to) && !(regroups(graph, node) && is_slice(graph, node.inputs[0]))
        }
        _ => false,
    }
}

/// Whether a reshaping groups the elements into other pixels; seen as they lie, they must be dense then.
pub(crate) fn regroups(graph: &Graph, node: &Node) -> bool {
    let channels = |value: Value| shape4(graph.ty(value), 1)[3];
    matches!(node.op, Op::Reshape(_)) && channels(node.inputs[0]) != channels(node.outputs[0])
}

/// Whether a value is a view of some channels of another.
fn is_slice(graph: &Graph, value: Value) -> bool {
    let node = graph.node(graph.producer(value));
    is_view(graph, node) && (matches!(node.op, Op::Slice(_)) || is_slice(graph, node.inputs[0]))
}

/// For each value, by index, the value that it is a view of, itself where it is none.
pub(crate) fn viewed_values(graph: &Graph) -> Vec<Value> {
    let mut viewed = vec![None; graph.value_count()];
    for (_, node) in graph.nodes() {
        let view = is_view(graph, node);
        for output in &node.outputs {
            viewed[output.index()] = if view { viewed[node.inputs[0].index()] } else { Some(*output) };
        }
    }
    viewed.into_iter().map(|value| value.expect("every value has a producer")).collect()
}
