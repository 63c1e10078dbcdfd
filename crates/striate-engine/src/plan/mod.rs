//! From a graph to a list of steps on one arena, for one batch size and one machine.
//!
//! `crate::units` has grouped the nodes that one kernel computes together and ordered them; `homes` decides which values share
//! memory (concatenations, views, in-place operations); `memory` lays the homes into the arena by lifetime;
//! `crate::lower` makes a step of each unit.

mod homes;
mod memory;

use crate::convolution::{Convolution, Tuning};
use crate::error::PlanError;
use crate::lower::{self, Kernel, Lowered, Prepare, Site};
use crate::options::PlanOptions;
use crate::place::{Place, Storage};
use crate::precision;
use crate::units::{self, Unit};
use striate_graph::ops::{Op, Role};
use striate_graph::{DType, Graph, Type, Value, legalise};

/// One kernel call: what it reads and writes, and its scratch memory.
pub(crate) struct Step {
    pub name: String,
    pub op: &'static str,
    pub describe: String,
    pub convolution: Option<Convolution>,
    pub macs: u64,
    pub reads: Vec<Place>,
    pub writes: Vec<Place>,
    /// First byte and floats.
    pub workspace: [usize; 2],
    /// First byte and floats.
    pub prepared: [usize; 2],
    pub kernel: Kernel,
    /// Floats that it writes, parameters apart.
    pub results: Vec<Place>,
    /// Whether it changes parameters by training's rule, and which.
    pub is_update: bool,
    pub updates: String,
    /// What it changes them by.
    pub gradients: Vec<Place>,
}

/// A value that callers set or read: its name, type and place.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub name: String,
    pub ty: Type,
    pub place: Place,
}

/// Steps and memory for a graph: what a [`Session`](crate::Session) runs.
pub struct Plan {
    pub(crate) options: PlanOptions,
    pub(crate) steps: Vec<Step>,
    pub(crate) prepares: Vec<(usize, Prepare)>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) parameters: Vec<Port>,
    pub(crate) constants: Vec<(Place, f32)>,
    pub(crate) graph: Graph,
    pub(crate) arena_bytes: usize,
    pub(crate) persistent_bytes: usize,
}

impl Plan {
    /// Plans `graph`.
    ///
    /// # Errors
    /// Where an operation has no kernel for its attributes, or the memory cannot be addressed.
    pub fn new(graph: &Graph, options: PlanOptions) -> Result<Self, PlanError> {
        Self::tuned(graph, options, &Tuning::default())
    }

    /// Plans `graph`, convolutions with the algorithms of `tuning` where it knows them.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn tuned(graph: &Graph, options: PlanOptions, tuning: &Tuning) -> Result<Self, PlanError> {
        let options = PlanOptions { threads: options.threads.max(1), ..options };
        if options.batch == 0 {
            return Err(PlanError::EmptyBatch);
        }
        let graph = legalise(graph);
        let too_large = PlanError::TooLarge { batch: options.batch };
        if !fits(&graph, options.batch) {
            return Err(too_large);
        }
        let units = units::units(&graph);
        let homes =
            homes::assign(&graph, &units, options.batch, &precision::storages(&graph, options.precision));

        // First lowering pass: with homes one behind the other, to learn what scratch memory is needed.
        let mut apart: Vec<usize> = homes.sizes.clone();
        apart.iter_mut().fold(0, |start, size| start + std::mem::replace(size, start));
        let relative = |value: Value| homes.place(value, |home| apart[home]);
        let behind: usize = homes.sizes.iter().sum();
        let lower = |unit: &Unit, place: &dyn Fn(Value) -> Place, workspace: usize| {
            let node = graph.node(unit.root);
            let site = Site { graph: &graph, node, unit, options, tuning, place, workspace };
            lower::lower(&site).map_err(|problem| PlanError::Node {
                node: node.name.clone(),
                op: striate_graph::ops::Operation::kind(&node.op),
                problem,
            })
        };
        let floats = |lowered: &Lowered| [lowered.workspace, lowered.prepare.as_ref().map_or(0, |p| p.len)];
        let mut demands = Vec::new();
        for unit in &units {
            demands.push(floats(&lower(unit, &relative, behind)?));
        }
        let layout = memory::lay_out(&graph, &units, &homes, &demands).ok_or(too_large)?;

        // Second pass: with the final places.
        let place = |value: Value| homes.place(value, |home| layout.homes[home]);
        let mut steps = Vec::new();
        let mut prepares = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            let lowered = lower(unit, &place, layout.workspaces[index])?;
            let node = graph.node(unit.root);
            debug_assert_eq!(demands[index], floats(&lowered), "{}", node.name);
            let Lowered { reads, writes, workspace, prepare, describe, convolution, kernel } = lowered;
            let prepared = [layout.prepared[index], demands[index][1]];
            if let Some(prepare) = prepare {
                prepares.push((prepared[0], prepare));
            }
            let step = Step {
                name: unit.name(&graph),
                op: striate_graph::ops::Operation::kind(&node.op),
                describe,
                convolution,
                macs: macs(&graph, unit),
                reads,
                writes,
                workspace: [layout.workspaces[index], workspace],
                prepared,
                kernel,
                results: results(&graph, unit).map(&place).collect(),
                is_update: units::is_update(&graph, unit),
                updates: updated(&graph, unit),
                gradients: gradients(&graph, unit).map(&place).collect(),
            };
            check(&step)?;
            steps.push(step);
        }
        let port = |name: &str, value: Value| Port {
            name: name.to_string(),
            ty: graph.ty(value).clone(),
            place: place(value),
        };
        let inputs = graph.inputs().map(|(node, value)| port(&node.name, value)).collect();
        let outputs = graph.outputs().iter().map(|output| port(&output.name, output.value)).collect();
        let parameters = graph
            .parameters()
            .filter(|(_, _, value)| homes.contains(*value))
            .map(|(node, _, value)| port(&node.name, value))
            .collect();
        let constants = graph.nodes().filter_map(|(_, node)| match &node.op {
            Op::Constant(constant) if homes.contains(node.outputs[0]) => {
                Some((place(node.outputs[0]), constant.value))
            }
            _ => None,
        });
        Ok(Self {
            constants: constants.collect(),
            options,
            steps,
            prepares,
            inputs,
            outputs,
            parameters,
            arena_bytes: layout.bytes,
            persistent_bytes: layout.persistent,
            graph,
        })
    }

    /// What it was made for.
    pub fn options(&self) -> PlanOptions {
        self.options
    }

    /// The graph it computes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Bytes of the arena: everything a session allocates.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Bytes of the arena that last from run to run: parameters, packed weights, optimiser state, inputs.
    pub fn persistent_bytes(&self) -> usize {
        self.persistent_bytes
    }

    /// The steps in order: name, operation, algorithm, multiply-accumulates of the whole batch.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        self.steps.iter().map(|step| StepInfo {
            name: &step.name,
            op: step.op,
            algorithm: &step.describe,
            macs: step.macs.saturating_mul(self.options.batch as u64),
            bytes: step.bytes(),
            layout: step.layout(),
            convolution: step.convolution.as_ref(),
        })
    }
}

/// A step as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct StepInfo<'a> {
    /// The nodes it computes, joined by `+`.
    pub name: &'a str,
    /// The first node's operation.
    pub op: &'static str,
    /// The kernel, in words.
    pub algorithm: &'a str,
    /// Multiply-accumulates for the whole batch.
    pub macs: u64,
    /// Bytes read and written: operands, results and packed weights, each once.
    pub bytes: u64,
    /// How the largest result lies in memory.
    pub layout: Layout,
    /// The convolution it is, with the algorithms it had to choose from.
    pub convolution: Option<&'a Convolution>,
}

/// How a value lies in memory: always channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whether its elements are bfloat16.
    pub is_bf16: bool,
    /// Its channels.
    pub channels: usize,
    /// Elements from pixel to pixel: more than its channels where it is a slice of a concatenation.
    pub ld: usize,
}

impl Step {
    /// Bytes of what it reads and writes, without those between the pixels of slices.
    fn bytes(&self) -> u64 {
        let places = self.reads.iter().chain(&self.writes);
        let values: usize = places.map(|place| place.elements() * place.storage.bytes()).sum();
        (values + self.prepared[1] * size_of::<f32>()) as u64
    }

    fn layout(&self) -> Layout {
        let largest = self.writes.iter().max_by_key(|place| place.elements());
        let layout = largest.map(|place| Layout {
            is_bf16: place.storage == Storage::Bf16,
            channels: place.channels(),
            ld: place.ld,
        });
        layout.unwrap_or(Layout { is_bf16: false, channels: 0, ld: 0 })
    }
}

/// Whether every value's bytes for this batch, summed, can be addressed with room to spare.
fn fits(graph: &Graph, batch: usize) -> bool {
    let values = graph.nodes().flat_map(|(_, node)| &node.outputs);
    let total = values.map(|v| graph.ty(*v)).try_fold(0usize, |sum, ty| {
        let n = if ty.batched { batch } else { 1 };
        sum.checked_add(ty.elements().checked_mul(n)?.checked_add(16)?)
    });
    total.is_some_and(|floats| floats <= isize::MAX as usize / 64)
}

fn macs(graph: &Graph, unit: &Unit) -> u64 {
    let node = graph.node(unit.root);
    let inputs: Vec<&Type> = node.inputs.iter().map(|v| graph.ty(*v)).collect();
    let outputs: Vec<&Type> = node.outputs.iter().map(|v| graph.ty(*v)).collect();
    striate_graph::ops::Operation::macs(&node.op, &inputs, &outputs)
}

/// The floats that a unit writes, parameters apart.
fn results<'a>(graph: &'a Graph, unit: &'a Unit) -> impl Iterator<Item = Value> + 'a {
    let floats = unit.writes.iter().copied().filter(|value| graph.ty(*value).dtype == DType::F32);
    floats.filter(|value| graph.parameter(*value).is_none())
}

/// The names of the parameters that a unit updates.
fn updated(graph: &Graph, unit: &Unit) -> String {
    let trained = |value: &&Value| graph.parameter(**value).is_some_and(|it| it.role.is_trained());
    let values = unit.writes.iter().filter(trained);
    let names: Vec<&str> = values.map(|value| graph.node(graph.producer(*value)).name.as_str()).collect();
    if units::is_update(graph, unit) { names.join(" and ") } else { String::new() }
}

/// What gets into the parameters that a unit updates: gradients, or what they are computed from in the same step.
fn gradients<'a>(graph: &'a Graph, unit: &'a Unit) -> impl Iterator<Item = Value> + 'a {
    let floats = unit.reads.iter().copied().filter(|value| graph.ty(*value).dtype == DType::F32);
    let is_update = units::is_update(graph, unit);
    floats.filter(move |value| {
        let is_own = graph.parameter(*value).is_none_or(|it| it.role == Role::OptimiserState);
        is_update && is_own
    })
}

/// The invariant the arena's safety rests on: what a step writes, nothing else of the step touches.
fn check(step: &Step) -> Result<(), PlanError> {
    let scratch =
        |[offset, len]: [usize; 2]| Place { offset, shape: [1, 1, 1, len], ld: len, storage: Storage::F32 };
    let mut exclusive = step.writes.clone();
    exclusive.push(scratch(step.workspace));
    let mut shared = step.reads.clone();
    shared.push(scratch(step.prepared));
    for (index, write) in exclusive.iter().enumerate().filter(|(_, place)| place.elements() > 0) {
        let others = exclusive[index + 1..].iter().chain(&shared).filter(|place| place.elements() > 0);
        if others.into_iter().any(|other| write.overlaps(other)) {
            return Err(PlanError::Node {
                node: step.name.clone(),
                op: step.op,
                problem: "the plan lets it write what it reads".into(),
            });
        }
    }
    Ok(())
}
