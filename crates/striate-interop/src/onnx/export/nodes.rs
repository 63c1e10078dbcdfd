//! Each operation as nodes of ONNX.

use super::{Exporter, Why};
use crate::Tensor;
use crate::onnx::import::complement;
use crate::onnx::proto::AttributeValue as A;
use striate_graph::ops::*;
use striate_graph::{Node, NodeId, Value};

/// A node being written: the names of its inputs, and its own.
struct Site<'s> {
    name: &'s str,
    inputs: Vec<String>,
}

fn ints(values: impl IntoIterator<Item = usize>) -> A<'static> {
    A::Ints(values.into_iter().map(|value| value as i64).collect())
}

/// ONNX's order: all begins, then all ends.
fn pads(padding: Padding) -> A<'static> {
    ints([padding.top, padding.left, padding.bottom, padding.right])
}

/// The names of padding modes.
fn pad_mode(mode: PadMode) -> &'static str {
    match mode {
        PadMode::Zeros => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Replicate => "edge",
        PadMode::Circular => "wrap",
    }
}

impl<'g> Exporter<'g> {
    /// Writes a node of the graph.
    pub(super) fn node<'p>(
        &mut self,
        id: NodeId,
        node: &'g Node,
        parameter: &impl Fn(&str) -> Option<&'p Tensor>,
    ) -> Result<(), Why> {
        let inputs =
            node.inputs.iter().map(|value| self.names.get(value).cloned().unwrap_or_default()).collect();
        let site = Site { name: &node.name, inputs };
        let name = match &node.op {
            Op::Input(_) => {
                self.names.insert(node.outputs[0], node.name.clone());
                let info = self.info(node.outputs[0]);
                self.inputs.push(info);
                return Ok(());
            }
            Op::Parameter(_) => {
                let tensor = parameter(&node.name).ok_or("it has no values")?;
                self.floats(node.name.clone(), &tensor.shape, &tensor.data)
            }
            Op::Constant(op) => self.floats(node.name.clone(), &[], &[op.value]),
            Op::Dropout(_) => site.inputs[0].clone(),
            op => self.operation(&site, id, node, op)?,
        };
        self.names.insert(node.outputs[0], name);
        Ok(())
    }

    fn operation(&mut self, site: &Site<'_>, id: NodeId, node: &'g Node, op: &'g Op) -> Result<String, Why> {
        let src = node.inputs.first().map(|value| self.ty(*value));
        let src = src.ok_or("it reads nothing")?;
        // ONNX counts the batch as an axis.
        let first = usize::from(src.batched);
        let axis = |axis: usize| A::Int((axis + first) as i64);
        match op {
            Op::Conv2d(op) => self.conv(site, op),
            Op::ConvTranspose2d(op) => Ok(self.one(
                "ConvTranspose",
                site,
                vec![
                    ("kernel_shape", ints(op.kernel)),
                    ("strides", ints(op.stride)),
                    ("pads", pads(op.padding)),
                    ("output_padding", ints(op.output_padding)),
                    ("dilations", ints(op.dilation)),
                    ("group", A::Int(op.groups as i64)),
                ],
            )),
            Op::Linear(op) => self.linear(site, op),
            Op::MaxPool2d(op) => self.max_pool(site, op),
            Op::AvgPool2d(op) => self.avg_pool(site, op),
            Op::GlobalPool(op) => Ok(match op.kind {
                PoolKind::Max => self.one("GlobalMaxPool", site, vec![]),
                PoolKind::Avg => self.one("GlobalAveragePool", site, vec![]),
            }),
            Op::Activation(op) => self.activation(site, op.kind),
            Op::Softmax(op) => {
                if self.opset < 13 && src.dims.len() != op.axis + 1 {
                    return self.refuse("softmax along an axis that is not the last", 13);
                }
                let kind = if op.log { "LogSoftmax" } else { "Softmax" };
                Ok(self.one(kind, site, vec![("axis", axis(op.axis))]))
            }
            Op::BatchNorm(op) if !op.training => Ok(self.one(
                "BatchNormalization",
                site,
                vec![("epsilon", A::Float(op.eps)), ("momentum", A::Float(complement(op.momentum)))],
            )),
            Op::LocalResponseNorm(op) => {
                if op.size % 2 == 0 {
                    let size = op.size;
                    return Err(format!(
                        "a window of {size} channels, an even number, lies elsewhere in ONNX"
                    ));
                }
                let attributes = vec![
                    ("size", A::Int(op.size as i64)),
                    ("alpha", A::Float(op.alpha)),
                    ("beta", A::Float(op.beta)),
                    ("bias", A::Float(op.k)),
                ];
                Ok(self.one("LRN", site, attributes))
            }
            Op::Reshape(op) => self.reshape(site, src, &self.ty(node.outputs[0]).dims, op.dims.is_empty()),
            Op::Binary(op) => self.binary(site, node, op.kind),
            Op::Where(_) => {
                let inputs = self.aligned(site, node);
                Ok(self.push("Where", site.name, &borrowed(&inputs), vec![]))
            }
            Op::Scale(op) => {
                let factor = self.fresh(&format!("{}/factor", site.name));
                let factor = self.floats(factor, &[], &[op.factor]);
                Ok(self.push("Mul", site.name, &[&site.inputs[0], &factor], vec![]))
            }
            Op::Concat(op) => {
                let mixed = node.inputs.iter().any(|value| self.ty(*value).batched != src.batched);
                if mixed {
                    return Err("it joins what all images share with what each has".into());
                }
                Ok(self.one("Concat", site, vec![("axis", axis(op.axis))]))
            }
            Op::Slice(op) => Ok(self.slice(site, op.axis + first, [op.start, op.end], op.step as i64)),
            Op::Flip(op) => self.flip(site, op.axis + first),
            Op::Pad(op) => {
                let Padding { top, bottom, left, right } = op.padding;
                let [before, behind] = op.channels;
                if op.mode != PadMode::Zeros && op.channels != [0; 2] {
                    return Err("channels of zeros beside a border of pixels".into());
                }
                self.pad(site, &[0, before, top, left, 0, behind, bottom, right], op.mode, 0.0)
            }
            Op::PadAxis(op) => {
                let rank = src.dims.len() + first;
                let mut all = vec![0; 2 * rank];
                (all[op.axis + first], all[rank + op.axis + first]) = (op.pads[0], op.pads[1]);
                self.pad(site, &all, op.mode, op.value)
            }
            Op::Tile(op) => {
                let mut repeats = vec![1; src.dims.len() + first];
                repeats[op.axis + first] = op.times as i64;
                let repeats = self.ints(&format!("{}/repeats", site.name), &repeats);
                Ok(self.push("Tile", site.name, &[&site.inputs[0], &repeats], vec![]))
            }
            Op::Upsample(op) => self.upsample(site, src.chw().unwrap_or([1; 3]), op),
            Op::Resize(op) => {
                self.resize(site, src.dims[op.axis], op.axis + first, src.dims.len() + first, op)
            }
            Op::Reduce(op) => self.reduce(site, src, op),
            Op::Fold(op) => {
                let kind = match op.kind {
                    FoldKind::Max => "ReduceMax",
                    FoldKind::Min => "ReduceMin",
                    FoldKind::Product => "ReduceProd",
                };
                let axes: Vec<usize> = op.axes.iter().map(|axis| axis + first).collect();
                Ok(self.reduction(kind, site.name, &site.inputs[0], &axes, true))
            }
            Op::ArgMax(op) => {
                if op.last && self.opset < 12 {
                    return self.refuse("the last of equal extremes", 12);
                }
                let kind = if op.least { "ArgMin" } else { "ArgMax" };
                let mut attributes = vec![("axis", axis(op.axis)), ("keepdims", A::Int(0))];
                if op.last {
                    attributes.push(("select_last_index", A::Int(1)));
                }
                Ok(self.one(kind, site, attributes))
            }
            Op::Expand(op) => self.expand(site, src, op),
            Op::Permute(op) => {
                let batch = (first == 1).then_some(0);
                let order = batch.into_iter().chain(op.axes.iter().map(|axis| axis + first));
                Ok(self.one("Transpose", site, vec![("perm", ints(order))]))
            }
            Op::MatMul(op) => self.mat_mul(site, node, op),
            Op::DepthToSpace(op) => {
                let mut attributes = vec![("blocksize", A::Int(op.block as i64))];
                match (op.crd, self.opset < 11) {
                    (true, true) => return self.refuse("depth to space in the order CRD", 11),
                    (_, false) => {
                        attributes.push(("mode", A::Text(if op.crd { "CRD" } else { "DCR" }.into())))
                    }
                    _ => {}
                }
                Ok(self.one("DepthToSpace", site, attributes))
            }
            Op::SpaceToDepth(op) if !op.crd => {
                Ok(self.one("SpaceToDepth", site, vec![("blocksize", A::Int(op.block as i64))]))
            }
            Op::SpaceToDepth(_) => Err("ONNX has no space to depth in the order CRD".into()),
            Op::Standardize(op) => self.standardize(site, id, node, src, op),
            Op::LocallyConnected2d(_) => Err("ONNX has no locally connected layers".into()),
            _ => Err("it belongs to training".into()),
        }
    }

    /// One node of ONNX with the same inputs.
    fn one(&mut self, op: &str, site: &Site<'_>, attributes: Vec<(&str, A<'g>)>) -> String {
        self.push(op, site.name, &borrowed(&site.inputs), attributes)
    }

    /// An error: the version asked for does not have it.
    fn refuse<T>(&self, what: &str, since: i64) -> Result<T, Why> {
        Err(format!("opset {} cannot say {what}; opset {since} and later can", self.opset))
    }

    /// A name for a part of a node.
    fn part(&mut self, site: &Site<'_>, part: &str) -> String {
        self.fresh(&format!("{}/{part}", site.name))
    }

    fn scalar(&mut self, site: &Site<'_>, part: &str, value: f32) -> String {
        let name = self.part(site, part);
        self.floats(name, &[], &[value])
    }

    fn conv(&mut self, site: &Site<'_>, op: &Conv2d) -> Result<String, Why> {
        let mut inputs = site.inputs.clone();
        let mut padding = op.padding;
        if op.padding_mode != PadMode::Zeros && !padding.is_none() {
            let name = self.part(site, "pad");
            let Padding { top, bottom, left, right } = padding;
            let before = Site { name: &name, inputs: vec![inputs[0].clone()] };
            inputs[0] = self.pad(&before, &[0, 0, top, left, 0, 0, bottom, right], op.padding_mode, 0.0)?;
            padding = Padding::NONE;
        }
        let attributes = vec![
            ("kernel_shape", ints(op.kernel)),
            ("strides", ints(op.stride)),
            ("pads", pads(padding)),
            ("dilations", ints(op.dilation)),
            ("group", A::Int(op.groups as i64)),
        ];
        Ok(self.push("Conv", site.name, &borrowed(&inputs), attributes))
    }

    fn linear(&mut self, site: &Site<'_>, op: &Linear) -> Result<String, Why> {
        if !op.bias && self.opset < 11 {
            // Before version 11, Gemm had to have a term.
            let name = self.part(site, "weight");
            let weight = self.push("Transpose", &name, &[&site.inputs[1]], vec![("perm", ints([1, 0]))]);
            return Ok(self.push("MatMul", site.name, &[&site.inputs[0], &weight], vec![]));
        }
        Ok(self.one("Gemm", site, vec![("transB", A::Int(1))]))
    }

    fn max_pool(&mut self, site: &Site<'_>, op: &MaxPool2d) -> Result<String, Why> {
        let mut attributes =
            vec![("kernel_shape", ints(op.kernel)), ("strides", ints(op.stride)), ("pads", pads(op.padding))];
        if op.ceil {
            if self.opset < 10 {
                return self.refuse("pooling that rounds sizes up", 10);
            }
            attributes.push(("ceil_mode", A::Int(1)));
        }
        Ok(self.one("MaxPool", site, attributes))
    }

    fn avg_pool(&mut self, site: &Site<'_>, op: &AvgPool2d) -> Result<String, Why> {
        let mut attributes =
            vec![("kernel_shape", ints(op.kernel)), ("strides", ints(op.stride)), ("pads", pads(op.padding))];
        if op.ceil {
            if self.opset < 10 {
                return self.refuse("pooling that rounds sizes up", 10);
            }
            attributes.push(("ceil_mode", A::Int(1)));
        }
        if op.count_include_pad && !op.padding.is_none() {
            attributes.push(("count_include_pad", A::Int(1)));
        }
        Ok(self.one("AveragePool", site, attributes))
    }

    fn activation(&mut self, site: &Site<'_>, kind: ActivationKind) -> Result<String, Why> {
        use ActivationKind as K;
        let x = site.inputs[0].clone();
        let plain = |this: &mut Self, op: &str| Ok(this.one(op, site, vec![]));
        let alpha =
            |this: &mut Self, op: &str, alpha: f32| Ok(this.one(op, site, vec![("alpha", A::Float(alpha))]));
        match kind {
            K::Relu => plain(self, "Relu"),
            K::LeakyRelu { slope } => alpha(self, "LeakyRelu", slope),
            K::Sigmoid => plain(self, "Sigmoid"),
            K::Tanh => plain(self, "Tanh"),
            K::Clip { min, max } => self.clip(site, min, max),
            K::HardSigmoid { alpha, beta } => {
                Ok(self.one("HardSigmoid", site, vec![("alpha", A::Float(alpha)), ("beta", A::Float(beta))]))
            }
            K::HardSwish if self.opset >= 14 => plain(self, "HardSwish"),
            K::HardSwish => {
                let gate = self.part(site, "gate");
                let attributes = vec![("alpha", A::Float(1.0 / 6.0)), ("beta", A::Float(0.5))];
                let gate = self.push("HardSigmoid", &gate, &[&x], attributes);
                Ok(self.push("Mul", site.name, &[&x, &gate], vec![]))
            }
            K::Swish { alpha } => {
                let mut inner = x.clone();
                if alpha != 1.0 {
                    let factor = self.scalar(site, "alpha", alpha);
                    let name = self.part(site, "scaled");
                    inner = self.push("Mul", &name, &[&x, &factor], vec![]);
                }
                let gate = self.part(site, "gate");
                let gate = self.push("Sigmoid", &gate, &[&inner], vec![]);
                Ok(self.push("Mul", site.name, &[&x, &gate], vec![]))
            }
            K::Elu { alpha: value } => alpha(self, "Elu", value),
            K::Selu { alpha, gamma } => {
                Ok(self.one("Selu", site, vec![("alpha", A::Float(alpha)), ("gamma", A::Float(gamma))]))
            }
            K::Celu { alpha: value } if self.opset >= 12 => alpha(self, "Celu", value),
            K::Celu { .. } => self.refuse("CELU", 12),
            K::Softplus => plain(self, "Softplus"),
            K::Softsign => plain(self, "Softsign"),
            K::Mish if self.opset >= 18 => plain(self, "Mish"),
            K::Mish => {
                let name = self.part(site, "softplus");
                let inner = self.push("Softplus", &name, &[&x], vec![]);
                let name = self.part(site, "tanh");
                let gate = self.push("Tanh", &name, &[&inner], vec![]);
                Ok(self.push("Mul", site.name, &[&x, &gate], vec![]))
            }
            K::Gelu if self.opset >= 20 => plain(self, "Gelu"),
            K::GeluTanh if self.opset >= 20 => {
                Ok(self.one("Gelu", site, vec![("approximate", A::Text("tanh".into()))]))
            }
            K::Gelu => {
                // ½x·(1 + erf(x/√2))
                let inner = self.times(site, "scaled", &x, std::f32::consts::FRAC_1_SQRT_2);
                let name = self.part(site, "erf");
                let erf = self.push("Erf", &name, &[&inner], vec![]);
                self.half_gate(site, &x, &erf)
            }
            K::GeluTanh => {
                // ½x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
                let name = self.part(site, "square");
                let square = self.push("Mul", &name, &[&x, &x], vec![]);
                let name = self.part(site, "cube");
                let cube = self.push("Mul", &name, &[&square, &x], vec![]);
                let term = self.times(site, "term", &cube, 0.044_715);
                let name = self.part(site, "sum");
                let sum = self.push("Add", &name, &[&x, &term], vec![]);
                let inner = self.times(site, "scaled", &sum, (2.0 / std::f32::consts::PI).sqrt());
                let name = self.part(site, "tanh");
                let tanh = self.push("Tanh", &name, &[&inner], vec![]);
                self.half_gate(site, &x, &tanh)
            }
            K::ThresholdedRelu { alpha: value } if self.opset >= 10 => alpha(self, "ThresholdedRelu", value),
            K::ThresholdedRelu { .. } => self.refuse("thresholded ReLU", 10),
            K::Exp => plain(self, "Exp"),
            K::Log => plain(self, "Log"),
            K::Sqrt => plain(self, "Sqrt"),
            K::Reciprocal => plain(self, "Reciprocal"),
            K::Abs => plain(self, "Abs"),
            K::Erf => plain(self, "Erf"),
            K::Sign => plain(self, "Sign"),
            K::Floor => plain(self, "Floor"),
            K::Ceil => plain(self, "Ceil"),
            K::Round if self.opset >= 11 => plain(self, "Round"),
            K::Round => self.refuse("rounding", 11),
        }
    }

    /// A value times a constant.
    fn times(&mut self, site: &Site<'_>, part: &str, x: &str, factor: f32) -> String {
        let factor = self.scalar(site, &format!("{part}_by"), factor);
        let name = self.part(site, part);
        self.push("Mul", &name, &[x, &factor], vec![])
    }

    /// ½x·(1 + y)
    fn half_gate(&mut self, site: &Site<'_>, x: &str, y: &str) -> Result<String, Why> {
        let one = self.scalar(site, "one", 1.0);
        let name = self.part(site, "gate");
        let gate = self.push("Add", &name, &[y, &one], vec![]);
        let half = self.times(site, "half", x, 0.5);
        Ok(self.push("Mul", site.name, &[&half, &gate], vec![]))
    }

    fn clip(&mut self, site: &Site<'_>, min: f32, max: f32) -> Result<String, Why> {
        if self.opset < 11 {
            let bounds = vec![("min", A::Float(min.max(f32::MIN))), ("max", A::Float(max.min(f32::MAX)))];
            return Ok(self.one("Clip", site, bounds));
        }
        let bound = |this: &mut Self, part, value: f32| {
            if value.is_finite() { this.scalar(site, part, value) } else { String::new() }
        };
        let (min, max) = (bound(self, "min", min), bound(self, "max", max));
        let inputs: &[&str] =
            if max.is_empty() { &[&site.inputs[0], &min] } else { &[&site.inputs[0], &min, &max] };
        Ok(self.push("Clip", site.name, inputs, vec![]))
    }

    fn reshape(
        &mut self,
        site: &Site<'_>,
        src: &striate_graph::Type,
        dims: &[usize],
        flat: bool,
    ) -> Result<String, Why> {
        if flat && src.batched {
            return Ok(self.one("Flatten", site, vec![("axis", A::Int(1))]));
        }
        // 0 keeps the batch.
        let batch = src.batched.then_some(0);
        let shape: Vec<i64> = batch.into_iter().chain(dims.iter().map(|dim| *dim as i64)).collect();
        let shape = self.ints(&format!("{}/shape", site.name), &shape);
        Ok(self.push("Reshape", site.name, &[&site.inputs[0], &shape], vec![]))
    }

    /// The inputs with dimensions that ONNX aligns as Striate does: where one that has a batch has fewer others, ones are
    /// put behind the batch.
    fn aligned(&mut self, site: &Site<'_>, node: &Node) -> Vec<String> {
        let rank = node.inputs.iter().map(|value| self.ty(*value).dims.len()).max().unwrap_or(0);
        let mut names = site.inputs.clone();
        for (name, value) in names.iter_mut().zip(&node.inputs) {
            let ty = self.ty(*value);
            if ty.batched && ty.dims.len() < rank {
                let ones = vec![1; rank - ty.dims.len()];
                let own = ty.dims.iter().map(|dim| *dim as i64);
                let shape: Vec<i64> = [0].into_iter().chain(ones).chain(own).collect();
                let shape = self.ints(&format!("{}/shape", site.name), &shape);
                let part = self.part(site, "aligned");
                *name = self.push("Reshape", &part, &[name, &shape], vec![]);
            }
        }
        names
    }

    fn binary(&mut self, site: &Site<'_>, node: &Node, kind: BinaryKind) -> Result<String, Why> {
        let op = match kind {
            BinaryKind::Add => "Add",
            BinaryKind::Multiply => "Mul",
            BinaryKind::Subtract => "Sub",
            BinaryKind::Divide => "Div",
            BinaryKind::Power => "Pow",
            BinaryKind::Minimum => "Min",
            BinaryKind::Maximum => "Max",
            BinaryKind::Prelu => "PRelu",
            BinaryKind::Equal if self.opset < 11 => return self.refuse("the equality of floats", 11),
            BinaryKind::Equal => "Equal",
            BinaryKind::Less => "Less",
            BinaryKind::Greater => "Greater",
        };
        let inputs = self.aligned(site, node);
        if !matches!(kind, BinaryKind::Equal | BinaryKind::Less | BinaryKind::Greater) {
            return Ok(self.push(op, site.name, &borrowed(&inputs), vec![]));
        }
        // Booleans are 0 and 1 here.
        let part = self.part(site, "holds");
        let holds = self.push(op, &part, &borrowed(&inputs), vec![]);
        Ok(self.push("Cast", site.name, &[&holds], vec![("to", A::Int(super::FLOAT))]))
    }

    fn slice(&mut self, site: &Site<'_>, axis: usize, range: [usize; 2], step: i64) -> String {
        let [start, end] = range.map(|at| at as i64);
        if self.opset < 10 && step == 1 {
            let one = |value| A::Ints(vec![value]);
            let attributes = vec![("starts", one(start)), ("ends", one(end)), ("axes", one(axis as i64))];
            return self.one("Slice", site, attributes);
        }
        let mut list = |part: &str, value| self.ints(&format!("{}/{part}", site.name), &[value]);
        let (starts, ends) = (list("start", start), list("end", end));
        let (axes, steps) = (list("axis", axis as i64), list("step", step));
        self.push("Slice", site.name, &[&site.inputs[0], &starts, &ends, &axes, &steps], vec![])
    }

    fn flip(&mut self, site: &Site<'_>, axis: usize) -> Result<String, Why> {
        if self.opset < 10 {
            return self.refuse("an axis in reverse", 10);
        }
        let mut list = |part: &str, value| self.ints(&format!("{}/{part}", site.name), &[value]);
        let (starts, ends) = (list("start", -1), list("end", i64::MIN + 1));
        let (axes, steps) = (list("axis", axis as i64), list("step", -1));
        Ok(self.push("Slice", site.name, &[&site.inputs[0], &starts, &ends, &axes, &steps], vec![]))
    }

    fn pad(&mut self, site: &Site<'_>, all: &[usize], mode: PadMode, value: f32) -> Result<String, Why> {
        if mode == PadMode::Circular && self.opset < 19 {
            return self.refuse("circular padding", 19);
        }
        let mode = ("mode", A::Text(pad_mode(mode).into()));
        if self.opset < 11 {
            let attributes = vec![mode, ("pads", ints(all.iter().copied())), ("value", A::Float(value))];
            return Ok(self.push("Pad", site.name, &[&site.inputs[0]], attributes));
        }
        let all: Vec<i64> = all.iter().map(|pad| *pad as i64).collect();
        let pads = self.ints(&format!("{}/pads", site.name), &all);
        if value == 0.0 {
            return Ok(self.push("Pad", site.name, &[&site.inputs[0], &pads], vec![mode]));
        }
        let value = self.scalar(site, "value", value);
        Ok(self.push("Pad", site.name, &[&site.inputs[0], &pads, &value], vec![mode]))
    }

    fn upsample(
        &mut self,
        site: &Site<'_>,
        [_, height, width]: [usize; 3],
        op: &Upsample,
    ) -> Result<String, Why> {
        let (mode, coordinates) = match op.mode {
            UpsampleMode::Nearest => ("nearest", "asymmetric"),
            UpsampleMode::Bilinear { align_corners: false } => ("linear", "half_pixel"),
            UpsampleMode::Bilinear { align_corners: true } => ("linear", "align_corners"),
        };
        let from = [height, width];
        let factors = [0, 1].map(|axis| factor(from[axis], op.size[axis]));
        let mode = ("mode", A::Text(mode.into()));
        if self.opset < 11 {
            if op.mode != UpsampleMode::Nearest {
                return self.refuse("bilinear resizing", 11);
            }
            let scales = self.part(site, "scales");
            let scales = self.floats(scales, &[4], &[1.0, 1.0, factors[0], factors[1]]);
            let kind = if self.opset < 10 { "Upsample" } else { "Resize" };
            return Ok(self.push(kind, site.name, &[&site.inputs[0], &scales], vec![mode]));
        }
        let mut attributes = vec![mode, ("coordinate_transformation_mode", A::Text(coordinates.into()))];
        if op.mode == UpsampleMode::Nearest {
            attributes.push(("nearest_mode", A::Text("floor".into())));
        }
        Ok(self.resize_to(
            site,
            4,
            &[(2, op.size[0], factors[0]), (3, op.size[1], factors[1])],
            None,
            attributes,
        ))
    }

    /// A Resize of axes to sizes, by factors where the version cannot name axes.
    fn resize_to(
        &mut self,
        site: &Site<'_>,
        rank: usize,
        axes: &[(usize, usize, f32)],
        scale: Option<f32>,
        mut attributes: Vec<(&str, A<'g>)>,
    ) -> String {
        if self.opset >= 18 && scale.is_none() {
            let sizes: Vec<i64> = axes.iter().map(|(_, size, _)| *size as i64).collect();
            let sizes = self.ints(&format!("{}/sizes", site.name), &sizes);
            attributes.push(("axes", ints(axes.iter().map(|(axis, ..)| *axis))));
            return self.push("Resize", site.name, &[&site.inputs[0], "", "", &sizes], attributes);
        }
        let mut factors = vec![1.0; rank];
        for (axis, _, factor) in axes {
            factors[*axis] = scale.unwrap_or(*factor);
        }
        let scales = self.part(site, "scales");
        let scales = self.floats(scales, &[rank], &factors);
        // Before version 13 the region had to be there.
        let region = if self.opset < 13 {
            let name = self.part(site, "region");
            self.floats(name, &[0], &[])
        } else {
            String::new()
        };
        self.push("Resize", site.name, &[&site.inputs[0], &region, &scales], attributes)
    }

    fn resize(
        &mut self,
        site: &Site<'_>,
        from: usize,
        axis: usize,
        rank: usize,
        op: &Resize,
    ) -> Result<String, Why> {
        if self.opset < 11 {
            return self.refuse("resizing one axis in this way", 11);
        }
        let coordinates = match op.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::HalfPixelSymmetric if self.opset < 19 => {
                return self.refuse("resizing about the middle (half_pixel_symmetric)", 19);
            }
            Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
        };
        let mut attributes = vec![("coordinate_transformation_mode", A::Text(coordinates.into()))];
        match op.mode {
            ResizeMode::Nearest(rounding) => {
                let rounding = match rounding {
                    Rounding::HalfDown => "round_prefer_floor",
                    Rounding::HalfUp => "round_prefer_ceil",
                    Rounding::Down => "floor",
                    Rounding::Up => "ceil",
                };
                attributes.extend([
                    ("mode", A::Text("nearest".into())),
                    ("nearest_mode", A::Text(rounding.into())),
                ]);
            }
            ResizeMode::Linear => attributes.push(("mode", A::Text("linear".into()))),
            ResizeMode::Cubic { a, exclude_outside } => attributes.extend([
                ("mode", A::Text("cubic".into())),
                ("cubic_coeff_a", A::Float(a)),
                ("exclude_outside", A::Int(i64::from(exclude_outside))),
            ]),
        }
        Ok(self.resize_to(site, rank, &[(axis, op.size, factor(from, op.size))], op.scale, attributes))
    }

    fn reduction(&mut self, op: &str, name: &str, src: &str, axes: &[usize], keep: bool) -> String {
        let mut attributes = vec![("keepdims", A::Int(i64::from(keep)))];
        let since = if op == "ReduceSum" { 13 } else { 18 };
        if self.opset < since {
            attributes.push(("axes", ints(axes.iter().copied())));
            return self.push(op, name, &[src], attributes);
        }
        let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
        let axes = self.ints(&format!("{name}/axes"), &axes);
        self.push(op, name, &[src, &axes], attributes)
    }

    fn reduce(&mut self, site: &Site<'_>, src: &striate_graph::Type, op: &Reduce) -> Result<String, Why> {
        if src.batched && !op.to.batched {
            return Err("it sums over the images of a batch".into());
        }
        let first = usize::from(src.batched);
        let aligned = reduce::aligned_dims(&op.to, src).ok_or("its shapes do not go together")?;
        let axes: Vec<usize> = (0..src.dims.len())
            .filter(|axis| aligned[*axis] != src.dims[*axis])
            .map(|axis| axis + first)
            .collect();
        let kind = if op.mean { "ReduceMean" } else { "ReduceSum" };
        let mut names = vec![site.name.to_string()];
        let reshaped = aligned != op.to.dims;
        if reshaped {
            names.insert(0, self.part(site, "kept"));
        }
        if op.scale != 1.0 {
            names.insert(0, self.part(site, "sum"));
        }
        let mut names = names.into_iter();
        let mut next = || names.next().expect("a name for each step");
        let mut value = match axes.is_empty() {
            true => self.push("Identity", &next(), &[&site.inputs[0]], vec![]),
            false => self.reduction(kind, &next(), &site.inputs[0], &axes, true),
        };
        if op.scale != 1.0 {
            let factor = self.scalar(site, "factor", op.scale);
            value = self.push("Mul", &next(), &[&value, &factor], vec![]);
        }
        if reshaped {
            let batch = src.batched.then_some(0);
            let shape: Vec<i64> = batch.into_iter().chain(op.to.dims.iter().map(|dim| *dim as i64)).collect();
            let shape = self.ints(&format!("{}/shape", site.name), &shape);
            value = self.push("Reshape", &next(), &[&value, &shape], vec![]);
        }
        Ok(value)
    }

    fn expand(&mut self, site: &Site<'_>, src: &striate_graph::Type, op: &Expand) -> Result<String, Why> {
        if op.scale != 1.0 || op.mean || src.batched != op.to.batched || src.dims.len() != op.to.dims.len() {
            return Err("only a plain repetition along an image's own axes can be written".into());
        }
        // 1 leaves the batch as it is.
        let batch = src.batched.then_some(1);
        let shape: Vec<i64> = batch.into_iter().chain(op.to.dims.iter().map(|dim| *dim as i64)).collect();
        let shape = self.ints(&format!("{}/shape", site.name), &shape);
        Ok(self.push("Expand", site.name, &[&site.inputs[0], &shape], vec![]))
    }

    fn mat_mul(&mut self, site: &Site<'_>, node: &Node, op: &MatMul) -> Result<String, Why> {
        let mut inputs = self.aligned(site, node);
        for (index, part) in
            ["left", "right"].into_iter().enumerate().filter(|(index, _)| op.transposed[*index])
        {
            let ty = self.ty(node.inputs[index]);
            let rank = inputs_rank(self, node, index) + usize::from(ty.batched);
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(rank - 2, rank - 1);
            let name = self.part(site, part);
            inputs[index] = self.push("Transpose", &name, &[&inputs[index]], vec![("perm", ints(order))]);
        }
        Ok(self.push("MatMul", site.name, &borrowed(&inputs), vec![]))
    }

    /// Over rows and columns, with the factor and the term that follow, one node; else step by step.
    fn standardize(
        &mut self,
        site: &Site<'_>,
        id: NodeId,
        node: &'g Node,
        src: &striate_graph::Type,
        op: &Standardize,
    ) -> Result<String, Why> {
        let x = site.inputs[0].clone();
        let is_map = src.batched && src.dims.len() >= 2;
        let channels = src.dims.first().copied().unwrap_or(1);
        if is_map && op.axes.iter().copied().eq(1..src.dims.len()) {
            let vectors = self.affine(id, node, src);
            let (name, scale, shift) = match vectors {
                Some((multiply, add)) => {
                    let name = self.graph.node(add.0).name.as_str();
                    self.taken.extend([multiply.0.index(), add.0.index()]);
                    self.names.insert(self.graph.node(add.0).outputs[0], name.into());
                    (name, self.vector(site, "scale", multiply.1), self.vector(site, "shift", add.1))
                }
                None => {
                    let scale = self.part(site, "scale");
                    let scale = self.floats(scale, &[channels], &vec![1.0; channels]);
                    let shift = self.part(site, "shift");
                    (site.name, scale, self.floats(shift, &[channels], &vec![0.0; channels]))
                }
            };
            let attributes = vec![("epsilon", A::Float(op.eps))];
            return Ok(self.push("InstanceNormalization", name, &[&x, &scale, &shift], attributes));
        }
        let axes: Vec<usize> = op.axes.iter().map(|axis| axis + usize::from(src.batched)).collect();
        let name = self.part(site, "mean");
        let mean = self.reduction("ReduceMean", &name, &x, &axes, true);
        let name = self.part(site, "centred");
        let centred = self.push("Sub", &name, &[&x, &mean], vec![]);
        let name = self.part(site, "square");
        let square = self.push("Mul", &name, &[&centred, &centred], vec![]);
        let name = self.part(site, "variance");
        let variance = self.reduction("ReduceMean", &name, &square, &axes, true);
        let eps = self.scalar(site, "epsilon", op.eps);
        let name = self.part(site, "sum");
        let sum = self.push("Add", &name, &[&variance, &eps], vec![]);
        let name = self.part(site, "std");
        let std = self.push("Sqrt", &name, &[&sum], vec![]);
        Ok(self.push("Div", site.name, &[&centred, &std], vec![]))
    }

    /// The factor and the term, one for each channel, that alone follow a node.
    fn affine(
        &self,
        id: NodeId,
        node: &Node,
        src: &striate_graph::Type,
    ) -> Option<((NodeId, Value), (NodeId, Value))> {
        let mut per_channel = vec![1; src.dims.len()];
        per_channel[0] = src.dims[0];
        let follow = |id: NodeId, value: Value, kind: BinaryKind| {
            let [reader] = self.readers[value.index()].as_slice() else { return None };
            let next = self.graph.node(*reader);
            let [a, b] = next.inputs.as_slice() else { return None };
            let is_output = self.graph.outputs().iter().any(|output| output.value == value);
            let vector = *a == value && self.graph.parameter(*b).is_some_and(|p| p.dims == per_channel);
            // The parameter must have been written before the node.
            let before = self.graph.producer(*b) < id;
            (vector && before && !is_output && next.op == Op::Binary(Binary { kind }))
                .then_some((*reader, *b))
        };
        let multiply = follow(id, node.outputs[0], BinaryKind::Multiply)?;
        let add = follow(id, self.graph.node(multiply.0).outputs[0], BinaryKind::Add)?;
        Some((multiply, add))
    }

    /// A parameter (C, 1, 1) as a vector: its initialiser is written anew in that shape.
    fn vector(&mut self, site: &Site<'_>, part: &str, value: Value) -> String {
        let name = self.names[&value].clone();
        let len = self.ty(value).elements();
        if self.readers[value.index()].len() == 1
            && let Some(tensor) = self.initializers.iter_mut().find(|tensor| tensor.name == name)
        {
            tensor.dims = vec![len as i64];
            return name;
        }
        let shape = self.ints(&format!("{}/shape", site.name), &[len as i64]);
        let part = self.part(site, part);
        self.push("Reshape", &part, &[&name, &shape], vec![])
    }
}

/// The dimensions of an operand after [`Exporter::aligned`], without the batch.
fn inputs_rank(exporter: &Exporter<'_>, node: &Node, index: usize) -> usize {
    let ty = exporter.ty(node.inputs[index]);
    let longest = node.inputs.iter().map(|value| exporter.ty(*value).dims.len()).max().unwrap_or(0);
    if ty.batched { longest } else { ty.dims.len() }
}

/// The factor that takes `from` elements to `to`: of those that a rounding down of their product leaves at `to`, the
/// nearest to the quotient.
fn factor(from: usize, to: usize) -> f32 {
    let mut factor = to as f32 / from as f32;
    while (f64::from(factor) * from as f64) < to as f64 {
        factor = factor.next_up();
    }
    factor
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
