//! From a graph to a list of steps on one arena, for one batch size and one machine.
//!
//! `crate::units` has grouped the nodes that one kernel computes together and ordered them; `homes` decides which values share
//! memory (concatenations, views, in-place operations); `memory` lays the homes into the arena by lifetime;
//! `crate::lower` makes a step of each unit.

mod homes;
mod memory;

use crate::error::PlanError;
use crate::lower::{self, Kernel, Lowered, Prepare, Site};
use crate::options::PlanOptions;
use crate::place::{Place, shape4};
use crate::units::{self, Unit};
use striate_graph::ops::Op;
use striate_graph::{DType, Graph, Type, Value, legalise};

/// One kernel call: what it reads and writes, and its scratch memory.
pub(crate) struct Step {
    pub name: String,
    pub op: &'static str,
    pub describe: String,
    pub macs: u64,
    pub reads: Vec<Place>,
    pub writes: Vec<Place>,
    pub workspace: [usize; 2],
    pub prepared: [usize; 2],
    pub kernel: Kernel,
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
    pub(crate) arena_len: usize,
    pub(crate) persistent_len: usize,
}

impl Plan {
    /// Plans `graph`.
    ///
    /// # Errors
    /// Where an operation has no kernel for its attributes, or the memory cannot be addressed.
    pub fn new(graph: &Graph, options: PlanOptions) -> Result<Self, PlanError> {
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
        let homes = homes::assign(&graph, &units, options.batch);

        // First lowering pass: with homes one behind the other, to learn what scratch memory is needed.
        let mut apart: Vec<usize> = homes.sizes.clone();
        apart.iter_mut().fold(0, |start, size| start + std::mem::replace(size, start));
        let relative = |value: Value| homes.place(value, |home| apart[home]);
        let mut demands = Vec::new();
        for unit in &units {
            let lowered = lower_unit(&graph, unit, options, &relative)?;
            demands.push((lowered.workspace, lowered.prepare.as_ref().map_or(0, |p| p.len)));
        }
        let layout = memory::lay_out(&graph, &units, &homes, &demands).ok_or(too_large)?;

        // Second pass: with the final places.
        let place = |value: Value| homes.place(value, |home| layout.homes[home]);
        let mut steps = Vec::new();
        let mut prepares = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            let Lowered { reads, writes, workspace, prepare, describe, kernel } =
                lower_unit(&graph, unit, options, &place)?;
            let node = graph.node(unit.root);
            debug_assert_eq!(
                demands[index],
                (workspace, prepare.as_ref().map_or(0, |p| p.len)),
                "{}",
                node.name
            );
            let prepared = [layout.prepared[index], demands[index].1];
            if let Some(prepare) = prepare {
                prepares.push((prepared[0], prepare));
            }
            let step = Step {
                name: unit.name(&graph),
                op: striate_graph::ops::Operation::kind(&node.op),
                describe,
                macs: macs(&graph, unit),
                reads,
                writes,
                workspace: [layout.workspaces[index], workspace],
                prepared,
                kernel,
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
            arena_len: layout.len,
            persistent_len: layout.persistent,
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
        4 * self.arena_len
    }

    /// Bytes of the arena that last from run to run: parameters, packed weights, optimiser state, inputs.
    pub fn persistent_bytes(&self) -> usize {
        4 * self.persistent_len
    }

    /// The steps in order: name, operation, algorithm, multiply-accumulates of the whole batch.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        self.steps.iter().map(|step| StepInfo {
            name: &step.name,
            op: step.op,
            algorithm: &step.describe,
            macs: step.macs.saturating_mul(self.options.batch as u64),
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

fn lower_unit(
    graph: &Graph,
    unit: &Unit,
    options: PlanOptions,
    place: &dyn Fn(Value) -> Place,
) -> Result<Lowered, PlanError> {
    let node = graph.node(unit.root);
    lower::lower(&Site { graph, node, unit, options, place }).map_err(|problem| PlanError::Node {
        node: node.name.clone(),
        op: striate_graph::ops::Operation::kind(&node.op),
        problem,
    })
}

/// The invariant the arena's safety rests on: what a step writes, nothing else of the step touches.
fn check(step: &Step) -> Result<(), PlanError> {
    let scratch =
        |[offset, len]: [usize; 2]| Place { offset, shape: [1, 1, 1, len], ld: len, dtype: DType::F32 };
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

/// The place of each value that has one, for a batch.
pub(crate) fn dense(ty: &Type, batch: usize, offset: usize) -> Place {
    let shape = shape4(ty, batch);
    Place { offset, shape, ld: shape[3], dtype: ty.dtype }
}
