//! Words and operations, in both directions.

use super::build::needs_scores;
use super::parser::Layer;
use super::words::{
    Argument, Attribute, BINARIES, COORDINATES, DTYPES, FOLDS, FUNCTIONS, Kind, MODES, ROLES, ROUNDINGS,
};
use crate::ops::*;
use crate::{DType, Graph, Init, Node, Type};

/// The padding of a window of odd taps that keeps the size at stride 1; none for even taps.
pub(super) fn same_padding(kernel: [usize; 2], dilation: [usize; 2]) -> Padding {
    let [rows, columns] =
        [0, 1].map(
            |axis| {
                if kernel[axis] % 2 == 1 { (kernel[axis] / 2).saturating_mul(dilation[axis]) } else { 0 }
            },
        );
    Padding { top: rows, bottom: rows, left: columns, right: columns }
}

/// The slope of a bare `leaky`.
pub(super) const LEAKY_SLOPE: f32 = 0.01;
/// α and β of a bare `hardsigmoid`: PyTorch's.
const HARD_SIGMOID: [f32; 2] = [1.0 / 6.0, 0.5];
/// α and γ of a bare `selu`: those that keep mean 0 and variance 1.
const SELU: [f32; 2] = [1.673_263_2, 1.050_701];
/// ε and the axes of a bare `standardize`.
const STANDARDIZE_EPS: f32 = 1e-5;
const SPATIAL: [usize; 2] = [1, 2];
/// The probability of a bare `dropout`.
pub(super) const DROPOUT: f32 = 0.5;

/// What a word takes from its surroundings where it does not say.
pub(super) struct Context<'a> {
    /// Channels of a bare convolution.
    pub(super) channels: usize,
    /// Dimensions of a bare input.
    pub(super) input: &'a [usize],
    /// The type of the value that flows in.
    pub(super) flow: Option<&'a Type>,
}

impl Layer {
    /// The operation that the word stands for.
    pub(super) fn operation(&self, context: &Context<'_>) -> Op {
        let attribute = |attribute, default| match self.get(attribute) {
            Some(Argument::Number(value)) => *value,
            _ => default,
        };
        let integer = |attribute, default| match self.get(attribute) {
            Some(Argument::Integer(value)) => *value,
            _ => default,
        };
        let activation = |kind| Activation { kind }.into();
        match self.kind {
            Kind::Input => Input { ty: self.ty(self.dims().unwrap_or(context.input)) }.into(),
            Kind::Param => {
                let role = ROLES.iter().find(|(attribute, _)| self.has(*attribute));
                let init = match self.get(Attribute::Init) {
                    Some(Argument::Init(init)) => *init,
                    _ => Init::ZEROS,
                };
                let dims = self.dims().unwrap_or_default().to_vec();
                Parameter { dims, role: role.map_or(Role::Weight, |(_, role)| *role), init }.into()
            }
            Kind::Constant => Constant { value: self.number().unwrap_or(0.0) }.into(),
            Kind::Conv | Kind::Local => {
                let conv = self.convolution(context.channels);
                if self.kind == Kind::Conv { conv.into() } else { LocallyConnected2d::new(conv).into() }
            }
            Kind::Deconv => {
                let Conv2d { out, kernel, stride, padding, dilation, groups, bias, .. } =
                    self.convolution(context.channels);
                let output_padding = self.pair(Attribute::OutputPad, 0);
                ConvTranspose2d { out, kernel, stride, padding, output_padding, dilation, groups, bias }
                    .into()
            }
            Kind::Fc => {
                Linear { out: self.integer().unwrap_or(4096), bias: !self.has(Attribute::NoBias) }.into()
            }
            Kind::MaxPool | Kind::AvgPool => {
                let kernel = self.kernel.unwrap_or([2; 2]);
                let stride = self.stride.unwrap_or(kernel);
                let (padding, ceil) = (self.pads().unwrap_or_default(), self.has(Attribute::Ceil));
                if self.kind == Kind::MaxPool {
                    MaxPool2d { kernel, stride, padding, ceil, save_indices: false }.into()
                } else {
                    let count_include_pad = !self.has(Attribute::ExcludePad);
                    AvgPool2d { kernel, stride, padding, ceil, count_include_pad }.into()
                }
            }
            Kind::GlobalAvg => GlobalPool::AVG.into(),
            Kind::GlobalMax => GlobalPool::MAX.into(),
            Kind::Lrn => {
                let LocalResponseNorm { size, alpha, beta, k } = LocalResponseNorm::ALEXNET;
                LocalResponseNorm {
                    size: integer(Attribute::Size, size),
                    alpha: attribute(Attribute::Alpha, alpha),
                    beta: attribute(Attribute::Beta, beta),
                    k: attribute(Attribute::K, k),
                }
                .into()
            }
            Kind::Bn => {
                let BatchNorm { eps, momentum, training } = BatchNorm::default();
                let (eps, momentum) =
                    (attribute(Attribute::Eps, eps), attribute(Attribute::Momentum, momentum));
                BatchNorm { eps, momentum, training }.into()
            }
            Kind::Leaky => {
                activation(ActivationKind::LeakyRelu { slope: self.number().unwrap_or(LEAKY_SLOPE) })
            }
            Kind::Clip => activation(ActivationKind::Clip {
                min: attribute(Attribute::Least, f32::NEG_INFINITY),
                max: attribute(Attribute::Greatest, f32::INFINITY),
            }),
            Kind::HardSigmoid => activation(ActivationKind::HardSigmoid {
                alpha: attribute(Attribute::Alpha, HARD_SIGMOID[0]),
                beta: attribute(Attribute::Beta, HARD_SIGMOID[1]),
            }),
            Kind::Swish => activation(ActivationKind::Swish { alpha: attribute(Attribute::Alpha, 1.0) }),
            Kind::Elu => activation(ActivationKind::Elu { alpha: self.number().unwrap_or(1.0) }),
            Kind::Celu => activation(ActivationKind::Celu { alpha: self.number().unwrap_or(1.0) }),
            Kind::Selu => activation(ActivationKind::Selu {
                alpha: attribute(Attribute::Alpha, SELU[0]),
                gamma: attribute(Attribute::Factor, SELU[1]),
            }),
            Kind::Thresholded => {
                activation(ActivationKind::ThresholdedRelu { alpha: self.number().unwrap_or(1.0) })
            }
            Kind::Softmax => Softmax { log: false, axis: self.axis() }.into(),
            Kind::LogSoftmax => Softmax { log: true, axis: self.axis() }.into(),
            Kind::Dropout => Dropout::new(self.number().unwrap_or(DROPOUT)).into(),
            Kind::Flatten => Reshape::flatten().into(),
            Kind::Reshape => Reshape { dims: self.dims().unwrap_or_default().to_vec() }.into(),
            Kind::Scale => Scale { factor: self.number().unwrap_or(1.0) }.into(),
            Kind::Slice => {
                let [start, end] = match self.argument {
                    Some(Argument::Range(range)) => range,
                    _ => [0, 0],
                };
                Slice { axis: self.axis(), start, end, step: integer(Attribute::Step, 1) }.into()
            }
            Kind::Pad => {
                let padding = match self.argument {
                    Some(Argument::Pads(padding)) => padding,
                    _ => Padding::NONE,
                };
                let channels = match self.get(Attribute::Channels) {
                    Some(Argument::Counts(counts)) => *counts,
                    _ => [0; 2],
                };
                Pad { padding, mode: self.mode(), channels }.into()
            }
            Kind::PadAxis => {
                let pads = match self.argument {
                    Some(Argument::Counts(counts)) => counts,
                    _ => [0; 2],
                };
                let value = attribute(Attribute::Value, 0.0);
                PadAxis { axis: self.axis(), pads, mode: self.mode(), value }.into()
            }
            Kind::Flip => Flip { axis: self.axis() }.into(),
            Kind::Permute => Permute { axes: self.dims().unwrap_or_default().to_vec() }.into(),
            Kind::Tile => Tile { axis: self.axis(), times: self.integer().unwrap_or(1) }.into(),
            Kind::DepthToSpace => {
                DepthToSpace { block: self.integer().unwrap_or(1), crd: self.has(Attribute::Crd) }.into()
            }
            Kind::SpaceToDepth => {
                SpaceToDepth { block: self.integer().unwrap_or(1), crd: self.has(Attribute::Crd) }.into()
            }
            Kind::Resize => self.resize().into(),
            Kind::Max | Kind::Min | Kind::Product => {
                let kind = FOLDS.iter().find(|(kind, _)| *kind == self.kind);
                let all = || (0..context.flow.map_or(1, |ty| ty.dims.len())).collect();
                let axes = self.axes().unwrap_or_else(all);
                Fold { kind: kind.map_or(FoldKind::Max, |(_, kind)| *kind), axes }.into()
            }
            Kind::ArgMax | Kind::ArgMin => ArgMax {
                axis: self.axis(),
                least: self.kind == Kind::ArgMin,
                last: self.has(Attribute::Last),
            }
            .into(),
            Kind::Standardize => Standardize {
                axes: self.axes().unwrap_or_else(|| SPATIAL.to_vec()),
                eps: attribute(Attribute::Eps, STANDARDIZE_EPS),
            }
            .into(),
            Kind::Upsample => {
                let [_, rows, columns] = context.flow.and_then(Type::chw).unwrap_or([1; 3]);
                let size = match self.argument {
                    Some(Argument::Pair(size)) => size,
                    _ => [rows.saturating_mul(2), columns.saturating_mul(2)],
                };
                let align_corners = self.has(Attribute::AlignCorners);
                let bilinear = align_corners || self.has(Attribute::Bilinear);
                let mode =
                    if bilinear { UpsampleMode::Bilinear { align_corners } } else { UpsampleMode::Nearest };
                Upsample { size, mode }.into()
            }
            Kind::Sum | Kind::Mean => {
                let (to, scale) =
                    (self.ty(self.dims().unwrap_or_default()), attribute(Attribute::Times, 1.0));
                Reduce { to, scale, mean: self.kind == Kind::Mean }.into()
            }
            Kind::Expand => {
                let (to, scale) =
                    (self.ty(self.dims().unwrap_or_default()), attribute(Attribute::Times, 1.0));
                Expand { to, scale, mean: self.has(Attribute::Shared) }.into()
            }
            Kind::Concat => Concat { axis: self.axis() }.into(),
            Kind::Where => Where.into(),
            Kind::MatMul => {
                let sides = [Attribute::LeftTransposed, Attribute::RightTransposed];
                MatMul { transposed: sides.map(|side| self.has(side)) }.into()
            }
            kind => {
                let binary = BINARIES.iter().find(|(word, _)| *word == kind);
                let function = FUNCTIONS.iter().find(|(word, _)| *word == kind);
                match (binary, function) {
                    (Some((_, kind)), _) => Binary { kind: *kind }.into(),
                    (_, Some((_, kind))) => activation(*kind),
                    // Statements stand for no operation.
                    _ => activation(ActivationKind::Relu),
                }
            }
        }
    }

    fn axis(&self) -> usize {
        match (self.has(Attribute::Rows), self.has(Attribute::Columns), self.get(Attribute::Axis)) {
            (true, ..) => 1,
            (_, true, _) => 2,
            (_, _, Some(Argument::Integer(axis))) => *axis,
            _ => 0,
        }
    }

    fn axes(&self) -> Option<Vec<usize>> {
        match self.get(Attribute::Axes) {
            Some(Argument::Dims(axes)) => Some(axes.clone()),
            _ => None,
        }
    }

    fn resize(&self) -> Resize {
        let number = |attribute| match self.get(attribute) {
            Some(Argument::Number(value)) => Some(*value),
            _ => None,
        };
        let rounding = ROUNDINGS.iter().find(|(attribute, _)| self.has(*attribute));
        let coordinates = COORDINATES.iter().find(|(attribute, _)| self.has(*attribute));
        let exclude_outside = self.has(Attribute::ExcludeOutside);
        let mode = match (number(Attribute::Cubic), self.has(Attribute::Linear)) {
            (Some(a), _) => ResizeMode::Cubic { a, exclude_outside },
            (_, true) => ResizeMode::Linear,
            _ => ResizeMode::Nearest(rounding.map_or(Rounding::HalfDown, |(_, rounding)| *rounding)),
        };
        Resize {
            axis: self.axis(),
            size: self.integer().unwrap_or(1),
            scale: number(Attribute::By),
            mode,
            coordinates: coordinates.map_or(Coordinates::HalfPixel, |(_, coordinates)| *coordinates),
        }
    }

    fn convolution(&self, channels: usize) -> Conv2d {
        let kernel = self.kernel.unwrap_or([3; 2]);
        let dilation = self.pair(Attribute::Dilation, 1);
        let groups = match self.get(Attribute::Groups) {
            Some(Argument::Integer(groups)) => *groups,
            _ => 1,
        };
        Conv2d {
            out: self.integer().unwrap_or(channels),
            kernel,
            stride: self.stride.unwrap_or([1; 2]),
            padding: self.pads().unwrap_or_else(|| same_padding(kernel, dilation)),
            padding_mode: self.mode(),
            dilation,
            groups,
            bias: !self.has(Attribute::NoBias),
        }
    }

    fn integer(&self) -> Option<usize> {
        match self.argument {
            Some(Argument::Integer(value)) => Some(value),
            _ => None,
        }
    }

    fn number(&self) -> Option<f32> {
        match self.argument {
            Some(Argument::Number(value)) => Some(value),
            _ => None,
        }
    }

    fn dims(&self) -> Option<&[usize]> {
        match &self.argument {
            Some(Argument::Dims(dims)) => Some(dims),
            _ => None,
        }
    }

    fn pair(&self, attribute: Attribute, default: usize) -> [usize; 2] {
        match self.get(attribute) {
            Some(Argument::Pair(pair)) => *pair,
            _ => [default; 2],
        }
    }

    /// The padding where it is given in numbers.
    fn pads(&self) -> Option<Padding> {
        match self.get(Attribute::Pad) {
            Some(Argument::Pads(padding)) => Some(*padding),
            _ => self.has(Attribute::Valid).then_some(Padding::NONE),
        }
    }

    fn mode(&self) -> PadMode {
        MODES.iter().find(|(attribute, _)| self.has(*attribute)).map_or(PadMode::Zeros, |(_, mode)| *mode)
    }

    fn ty(&self, dims: &[usize]) -> Type {
        let dtype = DTYPES.iter().find(|(attribute, _)| self.has(*attribute));
        Type {
            batched: !self.has(Attribute::Single),
            dims: dims.to_vec(),
            dtype: dtype.map_or(DType::F32, |(_, dtype)| *dtype),
        }
    }
}

/// A node's word with its attributes; `None` where it is no layer.
pub(super) fn layer(graph: &Graph, node: &Node) -> Option<Layer> {
    let mut attributes = Vec::new();
    let mut flag = |attribute, set: bool| {
        if set {
            attributes.push((attribute, Argument::Flag));
        }
    };
    let (kind, kernel, argument, stride) = match &node.op {
        Op::Input(Input { ty }) => {
            type_attributes(ty, &mut attributes);
            (Kind::Input, None, Some(Argument::Dims(ty.dims.clone())), None)
        }
        Op::Parameter(Parameter { dims, role, init }) => {
            let word = ROLES.iter().find(|(_, r)| r == role).map(|(attribute, _)| *attribute)?;
            flag(word, word != Attribute::Weight);
            if *init != Init::ZEROS {
                attributes.push((Attribute::Init, Argument::Init(*init)));
            }
            (Kind::Param, None, Some(Argument::Dims(dims.clone())), None)
        }
        Op::Constant(Constant { value }) => (Kind::Constant, None, Some(Argument::Number(*value)), None),
        Op::Conv2d(conv) => return Some(convolution(Kind::Conv, conv, [0; 2])),
        Op::LocallyConnected2d(LocallyConnected2d { conv }) => {
            return Some(convolution(Kind::Local, conv, [0; 2]));
        }
        Op::ConvTranspose2d(op) => {
            let ConvTranspose2d { out, kernel, stride, padding, output_padding, dilation, groups, bias } =
                *op;
            let padding_mode = PadMode::Zeros;
            let conv = Conv2d { out, kernel, stride, padding, padding_mode, dilation, groups, bias };
            return Some(convolution(Kind::Deconv, &conv, output_padding));
        }
        Op::Linear(Linear { out, bias }) => {
            flag(Attribute::NoBias, !bias);
            (Kind::Fc, None, Some(Argument::Integer(*out)), None)
        }
        Op::MaxPool2d(MaxPool2d { kernel, stride, padding, ceil, save_indices: false }) => {
            flag(Attribute::Ceil, *ceil);
            pool_padding(*padding, &mut attributes);
            (Kind::MaxPool, Some(*kernel), None, Some(*stride))
        }
        Op::AvgPool2d(AvgPool2d { kernel, stride, padding, ceil, count_include_pad }) => {
            flag(Attribute::Ceil, *ceil);
            flag(Attribute::ExcludePad, !count_include_pad);
            pool_padding(*padding, &mut attributes);
            (Kind::AvgPool, Some(*kernel), None, Some(*stride))
        }
        Op::GlobalPool(GlobalPool { kind, save_indices: false }) => {
            (if *kind == PoolKind::Avg { Kind::GlobalAvg } else { Kind::GlobalMax }, None, None, None)
        }
        Op::Activation(Activation { kind }) => {
            let (word, argument) = function(*kind, &mut attributes)?;
            (word, None, argument, None)
        }
        Op::Softmax(Softmax { log, axis }) => {
            let input = node.inputs[0];
            let producer = &graph.node(graph.producer(input)).op;
            flag(Attribute::Alone, needs_scores(producer, graph.ty(input)));
            axis_attribute(*axis, &mut attributes);
            (if *log { Kind::LogSoftmax } else { Kind::Softmax }, None, None, None)
        }
        Op::BatchNorm(BatchNorm { eps, momentum, training: false }) => {
            let usual = BatchNorm::default();
            differing(Attribute::Eps, *eps, usual.eps, &mut attributes);
            differing(Attribute::Momentum, *momentum, usual.momentum, &mut attributes);
            (Kind::Bn, None, None, None)
        }
        Op::LocalResponseNorm(LocalResponseNorm { size, alpha, beta, k }) => {
            let usual = LocalResponseNorm::ALEXNET;
            if *size != usual.size {
                attributes.push((Attribute::Size, Argument::Integer(*size)));
            }
            differing(Attribute::Alpha, *alpha, usual.alpha, &mut attributes);
            differing(Attribute::Beta, *beta, usual.beta, &mut attributes);
            differing(Attribute::K, *k, usual.k, &mut attributes);
            (Kind::Lrn, None, None, None)
        }
        Op::Dropout(Dropout { p, stream: None }) => {
            (Kind::Dropout, None, (*p != DROPOUT).then_some(Argument::Number(*p)), None)
        }
        Op::Reshape(Reshape { dims }) if dims.is_empty() => (Kind::Flatten, None, None, None),
        Op::Reshape(Reshape { dims }) => (Kind::Reshape, None, Some(Argument::Dims(dims.clone())), None),
        Op::Binary(Binary { kind }) => {
            (BINARIES.iter().find(|(_, binary)| binary == kind)?.0, None, None, None)
        }
        Op::Where(Where) => (Kind::Where, None, None, None),
        Op::MatMul(MatMul { transposed: [left, right] }) => {
            flag(Attribute::LeftTransposed, *left);
            flag(Attribute::RightTransposed, *right);
            (Kind::MatMul, None, None, None)
        }
        Op::Concat(Concat { axis }) => {
            axis_attribute(*axis, &mut attributes);
            (Kind::Concat, None, None, None)
        }
        Op::Scale(Scale { factor }) => (Kind::Scale, None, Some(Argument::Number(*factor)), None),
        Op::Slice(Slice { axis, start, end, step }) => {
            axis_attribute(*axis, &mut attributes);
            if *step != 1 {
                attributes.push((Attribute::Step, Argument::Integer(*step)));
            }
            (Kind::Slice, None, Some(Argument::Range([*start, *end])), None)
        }
        Op::Pad(Pad { padding, mode, channels }) => {
            mode_attribute(*mode, &mut attributes);
            if *channels != [0; 2] {
                attributes.push((Attribute::Channels, Argument::Counts(*channels)));
            }
            (Kind::Pad, None, (!padding.is_none()).then_some(Argument::Pads(*padding)), None)
        }
        Op::PadAxis(PadAxis { axis, pads, mode, value }) => {
            axis_attribute(*axis, &mut attributes);
            mode_attribute(*mode, &mut attributes);
            differing(Attribute::Value, *value, 0.0, &mut attributes);
            (Kind::PadAxis, None, Some(Argument::Counts(*pads)), None)
        }
        Op::Flip(Flip { axis }) => {
            axis_attribute(*axis, &mut attributes);
            (Kind::Flip, None, None, None)
        }
        Op::Permute(Permute { axes }) => (Kind::Permute, None, Some(Argument::Dims(axes.clone())), None),
        Op::Tile(Tile { axis, times }) => {
            axis_attribute(*axis, &mut attributes);
            (Kind::Tile, None, Some(Argument::Integer(*times)), None)
        }
        Op::Resize(resize) => return Some(resizing(resize)),
        Op::DepthToSpace(DepthToSpace { block, crd }) => {
            flag(Attribute::Crd, *crd);
            (Kind::DepthToSpace, None, Some(Argument::Integer(*block)), None)
        }
        Op::SpaceToDepth(SpaceToDepth { block, crd }) => {
            flag(Attribute::Crd, *crd);
            (Kind::SpaceToDepth, None, Some(Argument::Integer(*block)), None)
        }
        Op::Fold(Fold { kind, axes }) => {
            if !axes.iter().copied().eq(0..graph.ty(node.inputs[0]).dims.len()) {
                attributes.push((Attribute::Axes, Argument::Dims(axes.clone())));
            }
            (FOLDS.iter().find(|(_, fold)| fold == kind)?.0, None, None, None)
        }
        Op::ArgMax(ArgMax { axis, least, last }) => {
            axis_attribute(*axis, &mut attributes);
            if *last {
                attributes.push((Attribute::Last, Argument::Flag));
            }
            (if *least { Kind::ArgMin } else { Kind::ArgMax }, None, None, None)
        }
        Op::Standardize(Standardize { axes, eps }) => {
            if axes[..] != SPATIAL {
                attributes.push((Attribute::Axes, Argument::Dims(axes.clone())));
            }
            differing(Attribute::Eps, *eps, STANDARDIZE_EPS, &mut attributes);
            (Kind::Standardize, None, None, None)
        }
        Op::Upsample(Upsample { size, mode }) => {
            flag(Attribute::Bilinear, *mode == UpsampleMode::Bilinear { align_corners: false });
            flag(Attribute::AlignCorners, *mode == UpsampleMode::Bilinear { align_corners: true });
            (Kind::Upsample, None, Some(Argument::Pair(*size)), None)
        }
        Op::Reduce(Reduce { to, scale, mean }) => {
            differing(Attribute::Times, *scale, 1.0, &mut attributes);
            type_attributes(to, &mut attributes);
            let kind = if *mean { Kind::Mean } else { Kind::Sum };
            (kind, None, Some(Argument::Dims(to.dims.clone())), None)
        }
        Op::Expand(Expand { to, scale, mean }) => {
            flag(Attribute::Shared, *mean);
            differing(Attribute::Times, *scale, 1.0, &mut attributes);
            type_attributes(to, &mut attributes);
            (Kind::Expand, None, Some(Argument::Dims(to.dims.clone())), None)
        }
        _ => return None,
    };
    let stride = stride.filter(|stride| Some(*stride) != kernel);
    let kernel = kernel.filter(|kernel| *kernel != [2; 2] || stride.is_some());
    Some(Layer { kernel, argument, stride, attributes, ..Layer::new(kind) })
}

/// The word of a function of one element, with its argument.
fn function(
    kind: ActivationKind,
    attributes: &mut Vec<(Attribute, Argument)>,
) -> Option<(Kind, Option<Argument>)> {
    if let Some((word, _)) = FUNCTIONS.iter().find(|(_, function)| *function == kind) {
        return Some((*word, None));
    }
    let number = |value: f32, usual: f32| (value != usual).then_some(Argument::Number(value));
    let mut attribute = |attribute, value, usual| differing(attribute, value, usual, attributes);
    Some(match kind {
        ActivationKind::LeakyRelu { slope } => (Kind::Leaky, number(slope, LEAKY_SLOPE)),
        ActivationKind::Elu { alpha } => (Kind::Elu, number(alpha, 1.0)),
        ActivationKind::Celu { alpha } => (Kind::Celu, number(alpha, 1.0)),
        ActivationKind::ThresholdedRelu { alpha } => (Kind::Thresholded, number(alpha, 1.0)),
        ActivationKind::Clip { min, max } => {
            attribute(Attribute::Least, min, f32::NEG_INFINITY);
            attribute(Attribute::Greatest, max, f32::INFINITY);
            (Kind::Clip, None)
        }
        ActivationKind::HardSigmoid { alpha, beta } => {
            attribute(Attribute::Alpha, alpha, HARD_SIGMOID[0]);
            attribute(Attribute::Beta, beta, HARD_SIGMOID[1]);
            (Kind::HardSigmoid, None)
        }
        ActivationKind::Swish { alpha } => {
            attribute(Attribute::Alpha, alpha, 1.0);
            (Kind::Swish, None)
        }
        ActivationKind::Selu { alpha, gamma } => {
            attribute(Attribute::Alpha, alpha, SELU[0]);
            attribute(Attribute::Factor, gamma, SELU[1]);
            (Kind::Selu, None)
        }
        _ => return None,
    })
}

/// The word of a resizing.
fn resizing(resize: &Resize) -> Layer {
    let Resize { axis, size, scale, mode, coordinates } = *resize;
    let mut attributes = Vec::new();
    axis_attribute(axis, &mut attributes);
    attributes.extend(scale.map(|scale| (Attribute::By, Argument::Number(scale))));
    match mode {
        ResizeMode::Nearest(rounding) => {
            let word = ROUNDINGS.iter().find(|(_, other)| *other == rounding);
            attributes.extend(word.map(|(attribute, _)| (*attribute, Argument::Flag)));
        }
        ResizeMode::Linear => attributes.push((Attribute::Linear, Argument::Flag)),
        ResizeMode::Cubic { a, exclude_outside } => {
            attributes.push((Attribute::Cubic, Argument::Number(a)));
            attributes.extend(exclude_outside.then_some((Attribute::ExcludeOutside, Argument::Flag)));
        }
    }
    let word = COORDINATES.iter().find(|(_, other)| *other == coordinates);
    attributes.extend(word.map(|(attribute, _)| (*attribute, Argument::Flag)));
    Layer { argument: Some(Argument::Integer(size)), attributes, ..Layer::new(Kind::Resize) }
}

/// `rows`, `columns` or `axis 3`; channels go without saying.
fn axis_attribute(axis: usize, attributes: &mut Vec<(Attribute, Argument)>) {
    attributes.extend(match axis {
        0 => None,
        1 => Some((Attribute::Rows, Argument::Flag)),
        2 => Some((Attribute::Columns, Argument::Flag)),
        axis => Some((Attribute::Axis, Argument::Integer(axis))),
    });
}

fn differing(attribute: Attribute, value: f32, usual: f32, attributes: &mut Vec<(Attribute, Argument)>) {
    if value != usual {
        attributes.push((attribute, Argument::Number(value)));
    }
}

fn type_attributes(ty: &Type, attributes: &mut Vec<(Attribute, Argument)>) {
    if !ty.batched {
        attributes.push((Attribute::Single, Argument::Flag));
    }
    if ty.dtype != DType::F32 {
        attributes.extend(DTYPES.iter().find(|(_, d)| *d == ty.dtype).map(|(a, _)| (*a, Argument::Flag)));
    }
}

fn mode_attribute(mode: PadMode, attributes: &mut Vec<(Attribute, Argument)>) {
    attributes.extend(MODES.iter().find(|(_, m)| *m == mode).map(|(a, _)| (*a, Argument::Flag)));
}

fn pool_padding(padding: Padding, attributes: &mut Vec<(Attribute, Argument)>) {
    if !padding.is_none() {
        attributes.push((Attribute::Pad, Argument::Pads(padding)));
    }
}

/// The word of a layer with a convolution's window.
fn convolution(kind: Kind, conv: &Conv2d, output_padding: [usize; 2]) -> Layer {
    let Conv2d { out, kernel, stride, padding, padding_mode, dilation, groups, bias } = *conv;
    let mut attributes = Vec::new();
    if padding != same_padding(kernel, dilation) {
        attributes.push((Attribute::Pad, Argument::Pads(padding)));
    }
    mode_attribute(padding_mode, &mut attributes);
    if output_padding != [0; 2] {
        attributes.push((Attribute::OutputPad, Argument::Pair(output_padding)));
    }
    if dilation != [1; 2] {
        attributes.push((Attribute::Dilation, Argument::Pair(dilation)));
    }
    if groups != 1 {
        attributes.push((Attribute::Groups, Argument::Integer(groups)));
    }
    if !bias {
        attributes.push((Attribute::NoBias, Argument::Flag));
    }
    Layer {
        kernel: Some(kernel),
        argument: Some(Argument::Integer(out)),
        stride: (stride != [1; 2]).then_some(stride),
        attributes,
        ..Layer::new(kind)
    }
}
