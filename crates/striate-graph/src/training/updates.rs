//! From a loss to the update of every trained parameter.

use super::{AVERAGE, AVERAGE_DECAY, KEEP, LEARNING_RATE, MOMENTUM, Optimiser, SUM, UPDATES};
use super::{append, input, reserve};
use crate::autodiff::gradients;
use crate::error::GraphErrors;
use crate::ops::{Accumulate, AverageUpdate, Binary, ClipFactor, Parameter, Role};
use crate::{DType, Graph, Init, Type, Value};
use std::collections::BTreeSet;

/// What becomes of the gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Updates {
    /// How parameters follow them.
    pub optimiser: Optimiser,
    /// The bound of the norm of all gradients together.
    pub clip: Option<f32>,
    /// Runs of the graph that make one step: the gradient is the mean of theirs.
    pub accumulate: usize,
    /// Whether a moving average of the parameters and running statistics is kept.
    pub average: bool,
    /// Parameters, by name, that stay as they are.
    pub frozen: BTreeSet<String>,
}

impl Default for Updates {
    /// Stochastic gradient descent with momentum, of everything, after each run.
    fn default() -> Self {
        let (optimiser, frozen) = (Optimiser::default(), BTreeSet::new());
        Self { optimiser, clip: None, accumulate: 1, average: false, frozen }
    }
}

/// A parameter on its way to its update.
struct Trained {
    name: String,
    role: Role,
    value: Value,
    gradient: Value,
}

/// Appends the gradients of `loss` and the update of every parameter that is trained, in the order sum, bound, update,
/// average. What no trained parameter depends on is not differentiated.
///
/// # Errors
/// Every node between that is not differentiable.
pub fn append_updates(graph: &mut Graph, loss: Value, how: &Updates) -> Result<(), GraphErrors> {
    reserve(graph, &[LEARNING_RATE, MOMENTUM, UPDATES, KEEP, AVERAGE_DECAY])?;
    let parameters: Vec<(String, Role, Value)> = graph
        .parameters()
        .filter(|(node, parameter, _)| parameter.role.is_trained() && !how.frozen.contains(&node.name))
        .map(|(node, parameter, value)| (node.name.clone(), parameter.role, value))
        .collect();
    let wrt: Vec<Value> = parameters.iter().map(|(_, _, value)| *value).collect();
    let gradients = gradients(graph, loss, &wrt)?;
    let mut trained: Vec<Trained> = parameters
        .into_iter()
        .zip(gradients)
        .filter_map(|((name, role, value), gradient)| {
            Some(Trained { name, role, value, gradient: gradient? })
        })
        .collect();
    let rate = input(graph, LEARNING_RATE, Type::scalar());
    if how.accumulate > 1 {
        sum(graph, &mut trained, how.accumulate)?;
    }
    if let Some(max_norm) = how.clip {
        clip(graph, &mut trained, max_norm)?;
    }
    update(graph, &trained, rate, &how.optimiser)?;
    if how.average { average(graph, &how.frozen) } else { Ok(()) }
}

/// State of the optimiser for `value`, which it is like.
fn state(graph: &mut Graph, name: &str, value: Value) -> Result<Value, GraphErrors> {
    let dims = graph.ty(value).dims.clone();
    let state = Parameter { dims, role: Role::OptimiserState, init: Init::ZEROS };
    Ok(append(graph, name, state, &[])?[0])
}

/// In place of each gradient, its mean over `parts` runs.
fn sum(graph: &mut Graph, trained: &mut [Trained], parts: usize) -> Result<(), GraphErrors> {
    let keep = input(graph, KEEP, Type::scalar());
    let factor = 1.0 / parts as f32;
    for Trained { name, value, gradient, .. } in trained {
        let sum = state(graph, &format!("{name}{SUM}"), *value)?;
        append(graph, &format!("{name}/sum"), Accumulate { factor }, &[sum, *gradient, keep])?;
        *gradient = sum;
    }
    Ok(())
}

/// In place of each gradient, its bounded one.
fn clip(graph: &mut Graph, trained: &mut [Trained], max_norm: f32) -> Result<(), GraphErrors> {
    let all: Vec<Value> = trained.iter().map(|parameter| parameter.gradient).collect();
    if all.is_empty() {
        return Ok(());
    }
    let factor = append(graph, "clip_factor", ClipFactor { max_norm }, &all)?[0];
    for Trained { name, gradient, .. } in trained {
        *gradient = append(graph, &format!("{name}/clipped"), Binary::MULTIPLY, &[*gradient, factor])?[0];
    }
    Ok(())
}

fn update(
    graph: &mut Graph,
    trained: &[Trained],
    rate: Value,
    optimiser: &Optimiser,
) -> Result<(), GraphErrors> {
    let Optimiser { rule, weight_decay, decay_all } = optimiser;
    let momentum = rule.has_momentum().then(|| input(graph, MOMENTUM, Type::scalar()));
    let count = rule.counts().then(|| input(graph, UPDATES, Type::scalar().of(DType::U32)));
    for Trained { name, role, value, gradient } in trained {
        let decayed = *decay_all || *role == Role::Weight;
        let op = rule.update(if decayed { *weight_decay } else { 0.0 });
        let mut inputs = vec![*value, *gradient, rate];
        for suffix in rule.state() {
            inputs.push(state(graph, &format!("{name}{suffix}"), *value)?);
        }
        inputs.extend(momentum);
        inputs.extend(count);
        append(graph, &format!("{name}/update"), op, &inputs)?;
    }
    Ok(())
}

/// A moving average of everything that training changes.
fn average(graph: &mut Graph, frozen: &BTreeSet<String>) -> Result<(), GraphErrors> {
    let decay = input(graph, AVERAGE_DECAY, Type::scalar());
    let changing: BTreeSet<Value> = graph
        .nodes()
        .flat_map(|(_, node)| node.op.updates().map(|index| node.inputs[index]).collect::<Vec<_>>())
        .collect();
    let averaged: Vec<(String, Value)> = graph
        .parameters()
        .filter(|(node, parameter, value)| {
            let is_model = parameter.role != Role::OptimiserState && !frozen.contains(&node.name);
            is_model && changing.contains(value)
        })
        .map(|(node, _, value)| (node.name.clone(), value))
        .collect();
    for (name, value) in averaged {
        let average = state(graph, &format!("{name}{AVERAGE}"), value)?;
        append(graph, &format!("{name}/average"), AverageUpdate, &[average, value, decay])?;
    }
    Ok(())
}
