//! Convolution: the same filters at every position.
//!
//! dst\[n, oc, y, x\] = bias\[oc\] + Σ_{ic, i, j} weights\[oc, ic, i, j\] · src\[n, ic, y·sh + i·dh − top, x·sw + j·dw − left\]
//!
//! where src outside the image is what the padding mode says. With `groups` g, output channel oc sees only the
//! ic/g input channels of its group. (A cross-correlation: the kernel is not flipped.)

use super::window::{Padding, Window};
use super::{Operation, PadMode, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Two-dimensional convolution.
///
/// # Shapes
/// Inputs: src N×C×H×W, weights (out, C/groups, kh, kw), bias (out) where `bias`. Output: N×out×H'×W' with
/// H' = ⌊(H + pads − dilation·(kh−1) − 1)/stride⌋ + 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Output channels.
    pub out: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding on the four sides.
    pub padding: Padding,
    /// What the padding holds.
    pub padding_mode: PadMode,
    /// Distance between taps; 1 = dense.
    pub dilation: [usize; 2],
    /// Channel groups that do not see one another.
    pub groups: usize,
    /// Whether a bias per output channel is added.
    pub bias: bool,
}

impl Conv2d {
    /// `out` filters of `kernel` × `kernel`, stride 1, no padding, one group, with bias.
    pub const fn new(out: usize, kernel: usize) -> Self {
        Self {
            out,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: Padding::NONE,
            padding_mode: PadMode::Zeros,
            dilation: [1; 2],
            groups: 1,
            bias: true,
        }
    }

    /// With the same stride on both axes.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }

    /// With the same padding on all sides.
    pub const fn padding(self, pad: usize) -> Self {
        Self { padding: Padding::all(pad), ..self }
    }

    /// With the same distance between taps on both axes.
    pub const fn dilation(self, dilation: usize) -> Self {
        Self { dilation: [dilation; 2], ..self }
    }

    /// With channel groups.
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Without bias (a batch norm that follows has one).
    pub const fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// The sliding window of an axis (0 = rows, 1 = columns).
    pub fn window(&self, axis: usize) -> Window {
        Window {
            size: self.kernel[axis],
            stride: self.stride[axis],
            dilation: self.dilation[axis],
            pad: self.padding.axis(axis),
            ceil: false,
        }
    }

    /// Dimensions of the weights on `channels` input channels.
    pub fn weight_dims(&self, channels: usize) -> [usize; 4] {
        [self.out, channels / self.groups.max(1), self.kernel[0], self.kernel[1]]
    }

    /// Dimensions `[C, H, W]` of the output; problems are appended, and the result is `Some` where they do not
    /// touch the shape.
    pub(crate) fn output(&self, chw: [usize; 3], problems: &mut Vec<Problem>) -> Option<[usize; 3]> {
        let [channels, height, width] = chw;
        if expect::positive("groups", self.groups, problems) {
            for (side, count) in [("input", channels), ("output", self.out)] {
                if count % self.groups != 0 {
                    problems.push(Problem::Groups { groups: self.groups, channels: count, side });
                }
            }
        }
        let some = expect::positive("output channels", self.out, problems);
        let rows = self.window(0).check(0, height, problems);
        let columns = self.window(1).check(1, width, problems);
        self.padding_mode.check(self.padding, [height, width], problems);
        some.then_some([self.out, rows?, columns?])
    }
}

impl Operation for Conv2d {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let (src, weights, bias) = weighted_inputs(inputs, self.bias, problems)?;
        let chw = expect::map("the input", src, problems)?;
        let before = problems.len();
        let output = self.output(chw, problems)?;
        if problems.len() == before {
            expect::ty("weights", weights, Type::single(self.weight_dims(chw[0])), problems);
        }
        if let Some(bias) = bias {
            expect::ty("bias", bias, Type::single([self.out]), problems);
        }
        Some(vec![Type::batched(output)])
    }

    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        let channels = inputs[0].dims[0] / self.groups;
        let window = (channels * self.kernel[0] * self.kernel[1]) as u64;
        (outputs[0].elements() as u64).saturating_mul(window)
    }

    fn reach(&self, _: &Type) -> Reach {
        Reach::Window([self.window(0), self.window(1)])
    }

    /// d_src correlates d_dst with the flipped filters, d_weights correlates src with d_dst, d_bias sums d_dst.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (src, weights, d_dst) = (cx.input(0), cx.input(1), cx.d_output(0));
        if self.padding_mode != PadMode::Zeros && !self.padding.is_none() {
            return Err(Problem::NoGradient { op: "conv2d with a padding mode (legalise the graph first)" });
        }
        let mut gradients = vec![None; 2 + self.bias as usize];
        if cx.needs(0) {
            let op = Conv2dBackwardData { conv: *self, dims: cx.dims(src) };
            gradients[0] = Some(cx.emit(op, &[d_dst, weights])[0]);
        }
        if cx.needs(1) || (self.bias && cx.needs(2)) {
            let op = Conv2dBackwardWeights { conv: *self };
            let outputs = cx.emit(op, &[src, d_dst]);
            for (index, output) in outputs.into_iter().enumerate() {
                gradients[1 + index] = Some(output);
            }
        }
        Ok(gradients)
    }
}

/// Splits the inputs of a layer with weights: (src, weights, bias if `bias`).
pub(crate) fn weighted_inputs<'a>(
    inputs: &[&'a Type],
    bias: bool,
    problems: &mut Vec<Problem>,
) -> Option<(&'a Type, &'a Type, Option<&'a Type>)> {
    if bias {
        let [src, weights, bias] = expect::inputs(inputs, "an input, weights and a bias", problems)?;
        Some((src, weights, Some(bias)))
    } else {
        let [src, weights] = expect::inputs(inputs, "an input and weights", problems)?;
        Some((src, weights, None))
    }
}

/// The gradient of a convolution's input.
///
/// # Shapes
/// Inputs: d_dst N×out×H'×W', weights (out, C/groups, kh, kw). Output: d_src N×C×H×W.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBackwardData {
    /// The convolution.
    pub conv: Conv2d,
    /// Dimensions `[C, H, W]` of its input.
    pub dims: [usize; 3],
}

/// The gradient of a convolution's weights, and of its bias where it has one.
///
/// # Shapes
/// Inputs: src N×C×H×W, d_dst N×out×H'×W'. Outputs: d_weights (out, C/groups, kh, kw), d_bias (out).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dBackwardWeights {
    /// The convolution.
    pub conv: Conv2d,
}

impl Operation for Conv2dBackwardData {
    fn kind(&self) -> &'static str {
        "conv2d_backward_data"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst, weights] = expect::inputs(inputs, "the output's gradient and weights", problems)?;
        let output = self.conv.output(self.dims, problems)?;
        expect::ty("the output's gradient", d_dst, Type::batched(output), problems);
        expect::ty("weights", weights, Type::single(self.conv.weight_dims(self.dims[0])), problems);
        Some(vec![Type::batched(self.dims)])
    }
    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        self.conv.macs(outputs, inputs)
    }
    /// Linear in both inputs: the gradient's gradient is a convolution again.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (d_dst, weights, d) = (cx.input(0), cx.input(1), cx.d_output(0));
        let conv = self.conv.no_bias();
        let through_data = cx.needs(0).then(|| cx.emit(conv, &[d, weights])[0]);
        let through_weights = cx.needs(1).then(|| cx.emit(Conv2dBackwardWeights { conv }, &[d, d_dst])[0]);
        Ok(vec![through_data, through_weights])
    }
}

impl Operation for Conv2dBackwardWeights {
    fn kind(&self) -> &'static str {
        "conv2d_backward_weights"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, d_dst] = expect::inputs(inputs, "the input and the output's gradient", problems)?;
        let chw = expect::map("the input", src, problems)?;
        let output = self.conv.output(chw, problems)?;
        expect::ty("the output's gradient", d_dst, Type::batched(output), problems);
        let mut types = vec![Type::single(self.conv.weight_dims(chw[0]))];
        if self.conv.bias {
            types.push(Type::single([self.conv.out]));
        }
        Some(types)
    }
    fn macs(&self, inputs: &[&Type], _: &[&Type]) -> u64 {
        self.conv.macs(&inputs[..1], &inputs[1..])
    }
}
