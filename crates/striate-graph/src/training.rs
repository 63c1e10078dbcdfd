//! Training is a graph too: forward, loss, gradients and update in one.

mod optimiser;
mod updates;

pub use optimiser::{Optimiser, Rule};
pub use updates::{Updates, append_updates};

use crate::error::{GraphErrors, NodeError, Problem};
use crate::ops::{
    BatchNorm, Binary, CrossEntropy, Dropout, GlobalPool, Input, MaxPool2d, Op, PoolKind, Scale,
};
use crate::{DType, Graph, Type, Value, legalise};
use std::collections::BTreeSet;

/// The name of the input that holds the class labels.
pub const LABELS: &str = "labels";
/// The name of the input that holds the other class of mixed images; present where they are.
pub const OTHER_LABELS: &str = "other_labels";
/// The name of the input that says how much [`LABELS`] count of 1, the rest being [`OTHER_LABELS`]'; present with them.
pub const MIX: &str = "mix";
/// The name of the input that holds the learning rate.
pub const LEARNING_RATE: &str = "learning_rate";
/// The name of the input that holds the momentum; present where velocities are kept.
pub const MOMENTUM: &str = "momentum";
/// The name of the input that counts training steps; present where something is random.
pub const STEP: &str = "step";
/// The name of the input that counts updates, from 0; present where the optimiser's rule depends on it.
pub const UPDATES: &str = "updates";
/// The name of the input that says what part of the gradients' sum is kept: 0 in the first run of a step, then 1; present
/// where a step has several.
pub const KEEP: &str = "keep";
/// The name of the input that says what part of the parameters' moving average is kept; present where there is one.
pub const AVERAGE_DECAY: &str = "average_decay";
/// The name of the output that holds the loss.
pub const LOSS: &str = "loss";
/// The name of the output that holds the class scores.
pub const LOGITS: &str = "logits";
/// What a velocity's name adds to its parameter's.
pub const VELOCITY: &str = ".velocity";
/// What the name of a gradient's sum adds to its parameter's.
pub const SUM: &str = ".sum";
/// What the name of a moving average adds to its parameter's.
pub const AVERAGE: &str = ".average";

/// How a classifier is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierTraining {
    /// What becomes of the gradients.
    pub updates: Updates,
    /// Label smoothing of the cross-entropy.
    pub smoothing: f32,
    /// Weight of each auxiliary head's loss (GoogLeNet: 0.3).
    pub auxiliary_weight: f32,
    /// Whether images are mixed, so that each has two classes: the loss is that of either, weighted (mixup, cutmix).
    pub mixed: bool,
}

impl Default for ClassifierTraining {
    fn default() -> Self {
        let updates = Updates::default();
        Self { updates, smoothing: 0.0, auxiliary_weight: 0.3, mixed: false }
    }
}

impl From<Optimiser> for ClassifierTraining {
    /// With this optimiser and nothing else out of the ordinary.
    fn from(optimiser: Optimiser) -> Self {
        Self { updates: Updates { optimiser, ..Updates::default() }, ..Self::default() }
    }
}

/// The training graph of a classifier: one run is one step, or the last of those that make one.
///
/// Inputs: the network's image, [`LABELS`], [`LEARNING_RATE`], [`MOMENTUM`] where velocities are kept, [`STEP`] where
/// there is dropout, [`OTHER_LABELS`] and [`MIX`] where images are mixed, and [`UPDATES`], [`KEEP`] and [`AVERAGE_DECAY`]
/// where [`Updates`] asks for what reads them. Outputs: [`LOSS`], [`LOGITS`].
///
/// # Errors
/// Every node that cannot be trained.
pub fn classifier(net: &Graph, how: &ClassifierTraining) -> Result<Graph, GraphErrors> {
    reserve(net, if how.mixed { &[LABELS, OTHER_LABELS, MIX] } else { &[LABELS] })?;
    let mut graph = partly_in_training_mode(net, &how.updates.frozen)?;
    let heads: Vec<Value> = graph.outputs().iter().map(|o| graph.before_softmax(o.value)).collect();
    let labels = input(&mut graph, LABELS, Type::batched([]).of(DType::U32));
    let other = how.mixed.then(|| {
        let labels = input(&mut graph, OTHER_LABELS, Type::batched([]).of(DType::U32));
        (labels, input(&mut graph, MIX, Type::scalar()))
    });
    let mut total: Option<Value> = None;
    for (index, head) in heads.iter().enumerate() {
        let op = CrossEntropy { smoothing: how.smoothing };
        let mut loss = append(&mut graph, "cross_entropy", op, &[*head, labels])?[0];
        if let Some((labels, weight)) = other {
            let second = append(&mut graph, "cross_entropy", op, &[*head, labels])?[0];
            loss = weighted_mean(&mut graph, [loss, second], weight)?;
        }
        if index > 0 {
            loss = append(&mut graph, "weighted", Scale { factor: how.auxiliary_weight }, &[loss])?[0];
        }
        total = Some(match total {
            Some(sum) => append(&mut graph, "total", Binary::ADD, &[sum, loss])?[0],
            None => loss,
        });
    }
    let Some(loss) = total else {
        return Err(GraphErrors(vec![NodeError {
            node: graph.name.clone(),
            op: "network",
            inputs: Vec::new(),
            problem: Problem::NoOutput,
        }]));
    };
    let logits = heads[0];
    append_updates(&mut graph, loss, &how.updates)?;
    // Without what only the network's own output needs, such as the final softmax.
    let mut graph = graph.with_outputs([(LOSS, loss), (LOGITS, logits)]).prune(|_| true);
    graph.name = format!("{} (training)", net.name);
    Ok(graph)
}

/// The network in training mode: batch norm by the batch's statistics, dropout active (with the input [`STEP`]),
/// maximum pools keeping their indices; conveniences spelled out.
///
/// # Errors
/// Where a node is named [`STEP`].
pub fn training_mode(net: &Graph) -> Result<Graph, GraphErrors> {
    partly_in_training_mode(net, &BTreeSet::new())
}

/// [`training_mode`], but a batch norm whose scale and shift are both among the parameters `frozen` goes by its running
/// statistics and leaves them alone.
fn partly_in_training_mode(net: &Graph, frozen: &BTreeSet<String>) -> Result<Graph, GraphErrors> {
    reserve(net, &[STEP])?;
    let mut step = None;
    let mut streams = 0;
    Ok(legalise(net).rewrite(|new, node, inputs| {
        let mut inputs = inputs.to_vec();
        let op: Op = match &node.op {
            Op::BatchNorm(norm) => {
                let is_frozen = |value: &Value| frozen.contains(&new.node(new.producer(*value)).name);
                BatchNorm { training: !inputs[1..3].iter().all(is_frozen), ..*norm }.into()
            }
            Op::MaxPool2d(pool) => MaxPool2d { save_indices: true, ..*pool }.into(),
            Op::GlobalPool(pool) => GlobalPool { save_indices: pool.kind == PoolKind::Max, ..*pool }.into(),
            Op::Dropout(dropout) if dropout.p > 0.0 => {
                inputs.truncate(1);
                inputs.push(*step.get_or_insert_with(|| input(new, STEP, Type::scalar().of(DType::U32))));
                streams += 1;
                Dropout { p: dropout.p, stream: Some(streams - 1) }.into()
            }
            other => other.clone(),
        };
        new.push(node.name.clone(), op, &inputs).expect("training mode keeps types")
    }))
}

/// `weight` of the first value and the rest of the second.
fn weighted_mean(
    graph: &mut Graph,
    [first, second]: [Value; 2],
    weight: Value,
) -> Result<Value, GraphErrors> {
    let apart = append(graph, "apart", Binary::SUBTRACT, &[first, second])?[0];
    let part = append(graph, "part", Binary::MULTIPLY, &[apart, weight])?[0];
    Ok(append(graph, "mixed", Binary::ADD, &[second, part])?[0])
}

fn append(
    graph: &mut Graph,
    name: &str,
    op: impl Into<Op>,
    inputs: &[Value],
) -> Result<Vec<Value>, GraphErrors> {
    let name = graph.unique_name(name);
    graph.push(name, op, inputs).map_err(GraphErrors)
}

fn input(graph: &mut Graph, name: &str, ty: Type) -> Value {
    graph.push(name, Input { ty }, &[]).expect("the names of training's own inputs are free")[0]
}

/// Refuses a network with a node that has the name of one of training's own inputs.
fn reserve(net: &Graph, names: &[&str]) -> Result<(), GraphErrors> {
    let taken = names.iter().filter_map(|name| net.find(name));
    let errors: Vec<NodeError> = taken
        .map(|(_, node)| net.error(&node.name, &node.op, &node.inputs, Problem::Reserved(node.name.clone())))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(GraphErrors(errors)) }
}
