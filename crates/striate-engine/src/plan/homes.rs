//! Which values share memory: producers write into the concatenation that reads them, views rename, elementwise
//! operations overwrite what nobody reads afterwards.
//!
//! A home is a piece of memory; each value lives in one, perhaps in a slice of its channels. Values are settled
//! from the last unit to the first, so that what is produced goes directly to where it will be needed.

use crate::place::{Place, Storage, shape4};
use crate::units::{Unit, is_view, regroups, viewed_values};
use std::collections::{HashMap, HashSet};
use striate_graph::ops::{Concat, Op};
use striate_graph::{Graph, Node, NodeId, Value};

/// A value's slice of a home.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spot {
    home: usize,
    /// Elements before the value's first, and between its pixels.
    channel: usize,
    ld: usize,
}

/// The homes of all values that have memory.
pub(crate) struct Homes {
    spots: HashMap<Value, Spot>,
    /// Bytes of each home.
    pub(crate) sizes: Vec<usize>,
    shapes: HashMap<Value, Place>,
}

impl Homes {
    /// The value's place, given the byte offset of each home.
    ///
    /// # Panics
    /// When the value has no home: no unit declared that it reads or writes it.
    pub(crate) fn place(&self, value: Value, offset: impl Fn(usize) -> usize) -> Place {
        let spot = self.spots.get(&value).expect("a unit names what it reads and writes");
        let place = self.shapes[&value];
        let offset = offset(spot.home) + spot.channel * place.storage.bytes();
        Place { offset, ld: spot.ld, ..place }
    }

    /// The value's home, where it has one.
    pub(crate) fn home(&self, value: Value) -> Option<usize> {
        self.spots.get(&value).map(|spot| spot.home)
    }

    /// Gives the value a home of its own, unless it has one.
    fn settle_new(&mut self, value: Value) {
        if !self.spots.contains_key(&value) {
            let place = self.shapes[&value];
            self.sizes.push(place.bytes());
            self.spots.insert(value, Spot { home: self.sizes.len() - 1, channel: 0, ld: place.ld });
        }
    }

    /// Whether the value lives in the arena.
    pub(crate) fn contains(&self, value: Value) -> bool {
        self.spots.contains_key(&value)
    }
}

/// Settles all values. Where sharing would let a step write what it reads, the value concerned is settled apart.
pub(crate) fn assign(graph: &Graph, units: &[Unit], batch: usize, storages: &[Storage]) -> Homes {
    let mut apart = HashSet::new();
    loop {
        let homes = settle(graph, units, batch, storages, &apart);
        let Some(value) = conflict(graph, units, &homes, &apart) else { return homes };
        apart.insert(value);
    }
}

/// A value whose slice shares a home, overlapping, with something else that the same unit touches.
fn conflict(graph: &Graph, units: &[Unit], homes: &Homes, apart: &HashSet<Value>) -> Option<Value> {
    let place = |value: Value| homes.place(value, |_| 0);
    let viewed = viewed_values(graph);
    for unit in units {
        for write in &unit.writes {
            for other in unit.reads.iter().chain(&unit.writes) {
                let same_home = homes.home(*write).is_some() && homes.home(*write) == homes.home(*other);
                let in_place =
                    place(*write) == place(*other) && overwrites(graph, unit).contains(&(*other, *write));
                let untouched = in_place || is_slice(graph, unit, homes, *other);
                if other != write && same_home && !untouched && place(*write).overlaps(&place(*other)) {
                    let joins = matches!(graph.node(unit.root).op, Op::Concat(Concat::CHANNELS));
                    let candidates = if joins { [*other, *write] } else { [*write, *other] };
                    let sliced =
                        candidates.map(|v| viewed[v.index()]).into_iter().find(|v| !apart.contains(v));
                    return Some(sliced.expect("values settled apart share nothing"));
                }
            }
        }
    }
    None
}

/// Whether a value lies in the concatenation that reads it, wherever it is a part: nothing copies it then.
fn is_slice(graph: &Graph, unit: &Unit, homes: &Homes, value: Value) -> bool {
    let node = graph.node(unit.root);
    let Op::Concat(Concat::CHANNELS) = node.op else { return false };
    let place = |value: Value| homes.place(value, |_| 0);
    let whole = place(node.outputs[0]);
    let mut channel = 0;
    node.inputs.iter().all(|part| {
        let there = Place { offset: whole.offset + channel, ld: whole.ld, ..place(*part) };
        channel += there.channels() * whole.storage.bytes();
        *part != value || place(value) == there
    })
}

/// Pairs of an operand and a result that a unit's kernel can write over it.
fn overwrites(graph: &Graph, unit: &Unit) -> Vec<(Value, Value)> {
    let node = graph.node(unit.root);
    let Some(output) = unit.output else { return Vec::new() };
    let operand = match node.op {
        Op::Activation(_) | Op::BatchNormBackward(_) => node.inputs[0],
        Op::ActivationBackward(_) => node.inputs[1],
        Op::Binary(_) if graph.ty(output) == graph.ty(node.inputs[0]) => node.inputs[0],
        _ => return Vec::new(),
    };
    let gated = unit.chain.gate.and_then(|gate| Some((gate.d_dst, gate.kept?)));
    [(operand, output)].into_iter().chain(gated).collect()
}

fn settle(
    graph: &Graph,
    units: &[Unit],
    batch: usize,
    storages: &[Storage],
    apart: &HashSet<Value>,
) -> Homes {
    let mut homes = Homes { spots: HashMap::new(), sizes: Vec::new(), shapes: HashMap::new() };
    for (_, node) in graph.nodes() {
        for value in &node.outputs {
            let place = Place::dense(graph.ty(*value), batch, storages[value.index()], 0);
            homes.shapes.insert(*value, place);
        }
    }
    let by_root: HashMap<NodeId, usize> =
        units.iter().enumerate().map(|(index, unit)| (unit.root, index)).collect();
    let viewed = viewed_values(graph);
    let touched = |index: usize| {
        let values = units[index].reads.iter().chain(&units[index].writes);
        values.map(|value| viewed[value.index()]).collect::<Vec<_>>()
    };
    let last_unit: HashMap<Value, usize> = (0..units.len())
        .flat_map(|index| touched(index).into_iter().map(move |value| (value, index)))
        .collect();
    let used: HashSet<Value> = units
        .iter()
        .flat_map(|unit| unit.reads.iter().chain(&unit.writes).copied())
        .chain(graph.outputs().iter().map(|output| output.value))
        .chain(graph.inputs().map(|(_, value)| value))
        .map(|value| viewed[value.index()])
        .collect();
    let made_by_kernel = |value: Value| {
        let node = graph.node(graph.producer(value));
        !node.op.is_leaf() && !is_view(graph, node) && !matches!(node.op, Op::Concat(Concat::CHANNELS))
    };
    let outputs: HashSet<Value> = graph.outputs().iter().map(|output| viewed[output.value.index()]).collect();
    let regrouped: HashSet<Value> = graph
        .nodes()
        .filter(|(_, node)| is_view(graph, node) && regroups(graph, node))
        .map(|(_, node)| viewed[node.inputs[0].index()])
        .collect();
    let sliceable = |value: Value| made_by_kernel(value) && !regrouped.contains(&value);

    for (id, node) in graph.nodes().rev().filter(|(_, node)| !is_view(graph, node)) {
        for value in node.outputs.iter().filter(|v| used.contains(v)) {
            homes.settle_new(*value);
        }
        if let Op::Concat(Concat::CHANNELS) = node.op {
            settle_slices(graph, &mut homes, node, batch, apart, &sliceable);
        }
        let Some(index) = by_root.get(&id).copied() else { continue };
        units[index].writes.iter().for_each(|value| homes.settle_new(*value));
        for (operand, result) in overwrites(graph, &units[index]) {
            let free = made_by_kernel(operand)
                && !homes.contains(operand)
                && !apart.contains(&operand)
                && !outputs.contains(&operand)
                && last_unit[&operand] == index
                && touched(index).iter().filter(|value| **value == operand).count() == 1
                && homes.shapes[&operand] == homes.shapes[&result];
            if free {
                let spot = homes.spots[&result];
                homes.spots.insert(operand, spot);
            }
        }
    }
    for (_, node) in graph.nodes().filter(|(_, node)| is_view(graph, node)) {
        let (from, to) = (node.inputs[0], node.outputs[0]);
        if let Some(spot) = homes.spots.get(&from).copied() {
            let ld = if regroups(graph, node) { homes.shapes[&to].channels() } else { spot.ld };
            let first = if let Op::Slice(slice) = &node.op { slice.start } else { 0 };
            homes.spots.insert(to, Spot { ld, channel: spot.channel + first, ..spot });
        }
    }
    homes
}

/// Lets the producers of a concatenation's parts write into it.
fn settle_slices(
    graph: &Graph,
    homes: &mut Homes,
    node: &Node,
    batch: usize,
    apart: &HashSet<Value>,
    sliceable: &dyn Fn(Value) -> bool,
) {
    let Some(whole) = homes.spots.get(&node.outputs[0]).copied() else { return };
    let mut channel = 0;
    for (index, part) in node.inputs.iter().enumerate() {
        let channels = shape4(graph.ty(*part), batch)[3];
        let free = sliceable(*part)
            && homes.shapes[part].storage == homes.shapes[&node.outputs[0]].storage
            && !homes.contains(*part)
            && !apart.contains(part)
            && !node.inputs[..index].contains(part);
        if free {
            homes.spots.insert(*part, Spot { channel: whole.channel + channel, ..whole });
        }
        channel += channels;
    }
}
