//! Writing a network down in Rust.

use crate::error::{GraphErrors, NodeError, Problem};
use crate::ops::*;
use crate::{Graph, Init, Type, Value};
use std::collections::{HashMap, HashSet};

/// Builds a [`Graph`] layer by layer; what is wrong is collected and returned all at once by [`Builder::finish`].
///
/// Layers with parameters take a name, under which the parameters are published (`conv1.weight`, `conv1.bias`);
/// the others are numbered by kind (`relu1`) unless [`Builder::named`] says otherwise.
///
/// ```
/// use striate_graph::{Builder, ops::{Conv2d, Linear, MaxPool2d}};
///
/// let mut net = Builder::new("small");
/// let x = net.input("image", [1, 28, 28]);
/// let x = net.conv2d("conv1", x, Conv2d::new(8, 3).padding(1));
/// let x = net.relu(x);
/// let x = net.max_pool2d(x, MaxPool2d::new(2));
/// let x = net.linear("fc", x, Linear::new(10));
/// let x = net.softmax(x);
/// net.output(x);
/// let graph = net.finish().unwrap();
/// assert_eq!(graph.parameter_count(), 80 + 8 * 14 * 14 * 10 + 10);
/// ```
pub struct Builder {
    graph: Graph,
    errors: Vec<NodeError>,
    /// Values whose type is not known because of an error before them.
    unknown: HashSet<Value>,
    scope: String,
    next_name: Option<String>,
    names: AutoNames,
    weight_init: Init,
    bias_init: Init,
}

impl Builder {
    /// An empty network. Weights start He-normal (fan in), biases 0, until told otherwise.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            graph: Graph::new(name),
            errors: Vec::new(),
            unknown: HashSet::new(),
            scope: String::new(),
            next_name: None,
            names: AutoNames::default(),
            weight_init: Init::HeNormal(crate::Fan::In),
            bias_init: Init::ZEROS,
        }
    }

    /// How the weights of the layers from here on start.
    pub fn weight_init(&mut self, init: Init) -> &mut Self {
        self.weight_init = init;
        self
    }

    /// How the biases of the layers from here on start.
    pub fn bias_init(&mut self, init: Init) -> &mut Self {
        self.bias_init = init;
        self
    }

    /// Names the next layer (within the scope).
    pub fn named(&mut self, name: impl Into<String>) -> &mut Self {
        self.next_name = Some(name.into());
        self
    }

    /// Builds a part whose names begin with `prefix` and a dot.
    pub fn scope<R>(&mut self, prefix: impl std::fmt::Display, part: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.scope.len();
        self.scope += &format!("{prefix}.");
        let result = part(self);
        self.scope.truncate(outer);
        result
    }

    /// An image input `[C, H, W]`, or a feature input `[F]`.
    pub fn input(&mut self, name: &str, dims: impl Into<Vec<usize>>) -> Value {
        self.named(name).apply(Input { ty: Type::batched(dims) }, &[])
    }

    /// A convolution with parameters `name.weight` and, where it has one, `name.bias`.
    pub fn conv2d(&mut self, name: &str, x: Value, conv: Conv2d) -> Value {
        let channels = self.ty(x).dims.first().copied().unwrap_or(0);
        let weights = conv.weight_dims(channels).to_vec();
        self.weighted(name, conv.into(), x, weights, conv.bias.then(|| vec![conv.out]))
    }

    /// A transposed convolution with parameters `name.weight` and, where it has one, `name.bias`.
    pub fn conv_transpose2d(&mut self, name: &str, x: Value, conv: ConvTranspose2d) -> Value {
        let channels = self.ty(x).dims.first().copied().unwrap_or(0);
        let weights = conv.weight_dims(channels).to_vec();
        self.weighted(name, conv.into(), x, weights, conv.bias.then(|| vec![conv.out]))
    }

    /// A locally connected layer with parameters `name.weight` and, where it has one, `name.bias`.
    pub fn locally_connected2d(&mut self, name: &str, x: Value, layer: LocallyConnected2d) -> Value {
        let chw = self.ty(x).chw().unwrap_or([1; 3]);
        let weights = layer.weight_dims(chw).map_or(vec![1; 5], |dims| dims.to_vec());
        let bias = layer.conv.bias.then(|| layer.bias_dims(chw).map_or(vec![1; 3], |dims| dims.to_vec()));
        self.weighted(name, layer.into(), x, weights, bias)
    }

    /// A fully connected layer with parameters `name.weight` and, where it has one, `name.bias`; a feature map is
    /// flattened first.
    pub fn linear(&mut self, name: &str, x: Value, linear: Linear) -> Value {
        let x = if self.ty(x).dims.len() == 1 { x } else { self.flatten(x) };
        let weights = vec![linear.out, self.ty(x).elements()];
        self.weighted(name, linear.into(), x, weights, linear.bias.then(|| vec![linear.out]))
    }

    /// Batch normalisation with parameters `name.weight` (γ), `name.bias` (β), `name.running_mean`,
    /// `name.running_var`.
    pub fn batch_norm(&mut self, name: &str, x: Value, norm: BatchNorm) -> Value {
        self.batch_norm_from(name, x, norm, Init::ONES, Init::ZEROS)
    }

    /// Batch normalisation whose γ and β start as told (a γ of 0 lets a residual block start as the identity).
    pub fn batch_norm_from(
        &mut self,
        name: &str,
        x: Value,
        norm: BatchNorm,
        scale: Init,
        shift: Init,
    ) -> Value {
        let dims = vec![self.ty(x).dims.first().copied().unwrap_or(0)];
        let rows = [
            ("weight", Role::Scale, scale),
            ("bias", Role::Shift, shift),
            ("running_mean", Role::Statistic, Init::ZEROS),
            ("running_var", Role::Statistic, Init::ONES),
        ];
        let parameters =
            rows.map(|(suffix, role, init)| (suffix, Parameter { dims: dims.clone(), role, init }));
        self.named(name).layer(norm.into(), &[x], parameters.into())
    }

    /// A parameter of its own, e.g. a bias for each position.
    pub fn parameter(&mut self, name: &str, dims: impl Into<Vec<usize>>, role: Role, init: Init) -> Value {
        self.named(name).apply(Parameter { dims: dims.into(), role, init }, &[])
    }

    /// max(x, 0)
    pub fn relu(&mut self, x: Value) -> Value {
        self.activation(x, ActivationKind::Relu)
    }

    /// Any activation function.
    pub fn activation(&mut self, x: Value, kind: ActivationKind) -> Value {
        self.apply(Activation { kind }, &[x])
    }

    /// Maximum pooling.
    pub fn max_pool2d(&mut self, x: Value, pool: MaxPool2d) -> Value {
        self.apply(pool, &[x])
    }

    /// Average pooling.
    pub fn avg_pool2d(&mut self, x: Value, pool: AvgPool2d) -> Value {
        self.apply(pool, &[x])
    }

    /// The mean of each channel, as a 1×1 map.
    pub fn global_avg_pool(&mut self, x: Value) -> Value {
        self.apply(GlobalPool::AVG, &[x])
    }

    /// Local response normalisation.
    pub fn local_response_norm(&mut self, x: Value, norm: LocalResponseNorm) -> Value {
        self.apply(norm, &[x])
    }

    /// Dropout with probability `p`.
    pub fn dropout(&mut self, x: Value, p: f32) -> Value {
        self.apply(Dropout::new(p), &[x])
    }

    /// All elements of an image in one dimension.
    pub fn flatten(&mut self, x: Value) -> Value {
        self.apply(Reshape::flatten(), &[x])
    }

    /// a + b, broadcast where a dimension is 1.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.apply(Binary::ADD, &[a, b])
    }

    /// Channels of all parts, one after another.
    pub fn concat(&mut self, parts: &[Value]) -> Value {
        self.apply(Concat::CHANNELS, parts)
    }

    /// Probabilities from class scores.
    pub fn softmax(&mut self, x: Value) -> Value {
        self.apply(Softmax::LINEAR, &[x])
    }

    /// Declares the network's output (the first call), or a further one.
    pub fn output(&mut self, x: Value) {
        let name = if self.graph.outputs().is_empty() {
            "main".into()
        } else {
            format!("output{}", self.graph.outputs().len() + 1)
        };
        self.graph.add_output(name, x);
    }

    /// Declares a head that exists in training only. Declare the main output first.
    pub fn auxiliary(&mut self, name: &str, x: Value) {
        self.graph.add_output(name, x);
    }

    /// A value's type; of a value behind an error, a placeholder.
    pub fn ty(&self, x: Value) -> &Type {
        self.graph.ty(x)
    }

    /// Whether a value's type is known, that is, nothing before it is wrong.
    pub fn is_known(&self, x: Value) -> bool {
        !self.unknown.contains(&x)
    }

    /// What is wrong so far.
    pub fn errors(&self) -> &[NodeError] {
        &self.errors
    }

    /// The nodes so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Any operation on given values, without parameters of its own; returns its first output.
    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.layer(op.into(), inputs, Vec::new())
    }

    /// The network.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn finish(mut self) -> Result<Graph, GraphErrors> {
        if self.graph.outputs().is_empty() {
            let (node, op) = (self.graph.name.clone(), "network");
            self.errors.push(NodeError { node, op, inputs: Vec::new(), problem: Problem::NoOutput });
        }
        if self.errors.is_empty() { Ok(self.graph) } else { Err(GraphErrors(self.errors)) }
    }

    fn weighted(
        &mut self,
        name: &str,
        op: Op,
        x: Value,
        weights: Vec<usize>,
        bias: Option<Vec<usize>>,
    ) -> Value {
        let weight = Parameter { dims: weights, role: Role::Weight, init: self.weight_init };
        let mut parameters = vec![("weight", weight)];
        if let Some(dims) = bias {
            parameters.push(("bias", Parameter { dims, role: Role::Bias, init: self.bias_init }));
        }
        self.named(name).layer(op, &[x], parameters)
    }

    /// Appends an operation whose inputs are `inputs` and then parameters of its own.
    fn layer(&mut self, op: Op, inputs: &[Value], parameters: Vec<(&str, Parameter)>) -> Value {
        let name = self.take_name(&op);
        if inputs.iter().any(|input| !self.is_known(*input)) {
            return self.unknown_value(name, op);
        }
        let own: Vec<Type> = parameters.iter().map(|(_, p)| Type::single(p.dims.clone())).collect();
        let types: Vec<&Type> = inputs.iter().map(|v| self.graph.ty(*v)).chain(&own).collect();
        let mut problems = Vec::new();
        if self.graph.find(&name).is_some() {
            problems.push(Problem::NameTaken(name.clone()));
        }
        let outputs = op.infer(&types, &mut problems);
        let outputs = match outputs {
            Some(types) if !types.iter().chain(&own).all(Type::is_sane) => {
                problems.push(Problem::TooLarge);
                None
            }
            outputs => outputs,
        };
        let failed = !problems.is_empty();
        for problem in problems {
            let error = self.graph.error(&name, &op, inputs, problem);
            self.errors.push(error);
        }
        let Some(outputs) = outputs else { return self.unknown_value(name, op) };
        let mut all = inputs.to_vec();
        if !failed {
            for (suffix, parameter) in parameters {
                let ty = Type::single(parameter.dims.clone());
                let parameter_name = format!("{name}.{suffix}");
                all.extend(self.graph.push_typed(parameter_name, parameter.into(), &[], vec![ty]));
            }
        }
        self.graph.push_typed(name, op, &all, outputs)[0]
    }

    /// A value in place of one that could not be written down; nothing behind it is reported.
    pub(crate) fn placeholder(&mut self, name: String) -> Value {
        self.unknown_value(name, Input { ty: Type::batched([1]) }.into())
    }

    fn unknown_value(&mut self, name: String, op: Op) -> Value {
        let value = self.graph.push_typed(name, op, &[], vec![Type::batched([1])])[0];
        self.unknown.insert(value);
        value
    }

    fn take_name(&mut self, op: &Op) -> String {
        if let Some(name) = self.next_name.take() {
            return format!("{}{name}", self.scope);
        }
        let base = format!("{}{}", self.scope, op.short_name());
        let number = self.names.next(&base, |name| self.graph.find(name).is_some());
        let name = format!("{base}{number}");
        self.names.take(base, number);
        name
    }
}

/// The numbers of nodes that are given no name: `relu1`, `relu2`, … in each scope.
#[derive(Default)]
pub(crate) struct AutoNames {
    counts: HashMap<String, usize>,
}

impl AutoNames {
    /// The number of the next node called `base`: the first free one behind those taken before.
    pub(crate) fn next(&self, base: &str, is_taken: impl Fn(&str) -> bool) -> usize {
        let last = self.counts.get(base).copied().unwrap_or(0);
        (last + 1..).find(|number| !is_taken(&format!("{base}{number}"))).expect("some number is free")
    }

    /// Gives the number away.
    pub(crate) fn take(&mut self, base: String, number: usize) {
        self.counts.insert(base, number);
    }
}

impl Op {
    /// What unnamed nodes of this kind are called, before their number.
    pub fn short_name(&self) -> &'static str {
        match self {
            Op::Conv2d(_) => "conv",
            Op::ConvTranspose2d(_) => "deconv",
            Op::LocallyConnected2d(_) => "local",
            Op::Linear(_) => "fc",
            Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::GlobalPool(_) => "pool",
            Op::BatchNorm(_) => "bn",
            Op::LocalResponseNorm(_) => "norm",
            Op::Dropout(_) => "drop",
            Op::Upsample(_) => "upsample",
            other => other.kind(),
        }
    }
}
