//! Training is a graph too: forward, loss, gradients and update in one.

use crate::autodiff::gradients;
use crate::error::{GraphErrors, NodeError, Problem};
use crate::ops::{
    BatchNorm, Binary, CrossEntropy, Dropout, GlobalPool, Input, MaxPool2d, Op, Parameter, PoolKind, Role,
    Scale, SgdUpdate,
};
use crate::{DType, Graph, Init, Type, Value, legalise};

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
/// The name of the output that holds the loss.
pub const LOSS: &str = "loss";
/// The name of the output that holds the class scores.
pub const LOGITS: &str = "logits";
/// What a velocity's name adds to its parameter's.
pub const VELOCITY: &str = ".velocity";

/// Stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Whether a velocity is kept; how much of it, the input [`MOMENTUM`] says at each step.
    pub momentum: bool,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// L2 penalty.
    pub weight_decay: f32,
    /// Whether the penalty also applies to biases and to normalisations' scales and shifts.
    pub decay_all: bool,
}

impl Default for Sgd {
    /// With momentum, no penalty.
    fn default() -> Self {
        Self { momentum: true, nesterov: false, weight_decay: 0.0, decay_all: true }
    }
}

/// How a classifier is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassifierTraining {
    /// The optimiser.
    pub sgd: Sgd,
    /// Label smoothing of the cross-entropy.
    pub smoothing: f32,
    /// Weight of each auxiliary head's loss (GoogLeNet: 0.3).
    pub auxiliary_weight: f32,
    /// Whether images are mixed, so that each has two classes: the loss is that of either, weighted (mixup, cutmix).
    pub mixed: bool,
}

impl Default for ClassifierTraining {
    fn default() -> Self {
        Self { sgd: Sgd::default(), smoothing: 0.0, auxiliary_weight: 0.3, mixed: false }
    }
}

/// The training graph of a classifier: one run is one step.
///
/// Inputs: the network's image, [`LABELS`], [`LEARNING_RATE`], [`MOMENTUM`] where velocities are kept, [`STEP`] where
/// there is dropout, [`OTHER_LABELS`] and [`MIX`] where images are mixed. Outputs: [`LOSS`], [`LOGITS`].
///
/// # Errors
/// Every node that cannot be trained.
pub fn classifier(net: &Graph, how: &ClassifierTraining) -> Result<Graph, GraphErrors> {
    reserve(net, if how.mixed { &[LABELS, OTHER_LABELS, MIX] } else { &[LABELS] })?;
    let mut graph = training_mode(net)?;
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
    append_updates(&mut graph, loss, &how.sgd)?;
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
    reserve(net, &[STEP])?;
    let mut step = None;
    let mut streams = 0;
    Ok(legalise(net).rewrite(|new, node, inputs| {
        let mut inputs = inputs.to_vec();
        let op: Op = match &node.op {
            Op::BatchNorm(norm) => BatchNorm { training: true, ..*norm }.into(),
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

/// Appends the gradients of `loss` and the update of every trained parameter.
///
/// # Errors
/// Every node between that is not differentiable.
pub fn append_updates(graph: &mut Graph, loss: Value, sgd: &Sgd) -> Result<(), GraphErrors> {
    reserve(graph, &[LEARNING_RATE, MOMENTUM])?;
    let trained: Vec<(String, Role, Value)> = graph
        .parameters()
        .filter(|(_, parameter, _)| parameter.role.is_trained())
        .map(|(node, parameter, value)| (node.name.clone(), parameter.role, value))
        .collect();
    let wrt: Vec<Value> = trained.iter().map(|(_, _, value)| *value).collect();
    let gradients = gradients(graph, loss, &wrt)?;
    let rate = input(graph, LEARNING_RATE, Type::scalar());
    let momentum = sgd.momentum.then(|| input(graph, MOMENTUM, Type::scalar()));
    for ((name, role, value), gradient) in trained.into_iter().zip(gradients) {
        let Some(gradient) = gradient else { continue };
        let decayed = sgd.decay_all || role == Role::Weight;
        let weight_decay = if decayed { sgd.weight_decay } else { 0.0 };
        let update = SgdUpdate { momentum: sgd.momentum, nesterov: sgd.nesterov, weight_decay };
        let mut inputs = vec![value, gradient, rate];
        if let Some(momentum) = momentum {
            let dims = graph.ty(value).dims.clone();
            let velocity = Parameter { dims, role: Role::OptimiserState, init: Init::ZEROS };
            inputs.push(append(graph, &format!("{name}{VELOCITY}"), velocity, &[])?[0]);
            inputs.push(momentum);
        }
        append(graph, &format!("{name}/update"), update, &inputs)?;
    }
    Ok(())
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
