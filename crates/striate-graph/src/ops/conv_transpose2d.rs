//! Transposed convolution: the gradient of a convolution's input, used as a layer that enlarges a map.
//!
//! Each input pixel stamps its value times the kernel onto the output, `stride` apart:
//! dst\[n, oc, y·sh + i·dh − top, x·sw + j·dw − left\] += src\[n, ic, y, x\] · weights\[ic, oc, i, j\].

use super::conv2d::weighted_inputs;
use super::window::{AXES, Padding};
use super::{Conv2d, Conv2dBackwardData, Conv2dBackwardWeights, Operation, PadMode, Reach, Reduce, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Two-dimensional transposed convolution.
///
/// # Shapes
/// Inputs: src N×C×H×W, weights (C, out/groups, kh, kw), bias (out) where `bias`. Output: N×out×H'×W' with
/// H' = (H−1)·stride − pads + dilation·(kh−1) + 1 + output_padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvTranspose2d {
    /// Output channels.
    pub out: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Distance between the stamps of neighbouring input pixels.
    pub stride: [usize; 2],
    /// Cropped from the four sides of the output.
    pub padding: Padding,
    /// Rows and columns added at the bottom and the right, to choose among the sizes that a strided
    /// convolution maps to the same one; less than the stride.
    pub output_padding: [usize; 2],
    /// Distance between taps; 1 = dense.
    pub dilation: [usize; 2],
    /// Channel groups that do not see one another.
    pub groups: usize,
    /// Whether a bias per output channel is added.
    pub bias: bool,
}

impl ConvTranspose2d {
    /// `out` filters of `kernel` × `kernel`, `stride` apart, no cropping, with bias.
    pub const fn new(out: usize, kernel: usize, stride: usize) -> Self {
        Self {
            out,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding::NONE,
            output_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            bias: true,
        }
    }

    /// With the same cropping on all sides.
    pub const fn padding(self, pad: usize) -> Self {
        Self { padding: Padding::all(pad), ..self }
    }

    /// The convolution whose input gradient this is: from the output's channels to `channels`, the input's.
    pub fn adjoint(&self, channels: usize) -> Conv2d {
        Conv2d {
            out: channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            padding_mode: PadMode::Zeros,
            dilation: self.dilation,
            groups: self.groups,
            bias: false,
        }
    }

    fn output(&self, chw: [usize; 3], problems: &mut Vec<Problem>) -> Option<[usize; 3]> {
        let before = problems.len();
        for (what, value) in [
            ("output channels", self.out),
            ("groups", self.groups),
            ("kernel", self.kernel[0].min(self.kernel[1])),
            ("stride", self.stride[0].min(self.stride[1])),
            ("dilation", self.dilation[0].min(self.dilation[1])),
        ] {
            expect::positive(what, value, problems);
        }
        if problems.len() > before {
            return None;
        }
        for (side, channels) in [("input", chw[0]), ("output", self.out)] {
            if channels % self.groups != 0 {
                problems.push(Problem::Groups { groups: self.groups, channels, side });
            }
        }
        let mut size = [0; 2];
        for axis in 0..2 {
            let window = self.adjoint(chw[0]).window(axis);
            let [begin, end] = window.pad;
            let full = (chw[1 + axis] - 1)
                .checked_mul(window.stride)
                .and_then(|n| n.checked_add(window.span()))
                .and_then(|n| n.checked_add(self.output_padding[axis]));
            match full.and_then(|n| n.checked_sub(begin.saturating_add(end))).filter(|n| *n > 0) {
                Some(n) if self.output_padding[axis] < window.stride => size[axis] = n,
                Some(_) => problems.push(Problem::Range {
                    what: "output padding",
                    value: self.output_padding[axis].to_string(),
                    range: "less than the stride",
                }),
                None => problems.push(Problem::WindowTooLarge {
                    axis: AXES[axis],
                    window: begin.saturating_add(end),
                    input: full.unwrap_or(usize::MAX),
                    padding: 0,
                }),
            }
        }
        (problems.len() == before).then_some([self.out, size[0], size[1]])
    }

    /// Dimensions of the weights on `channels` input channels: (channels, out/groups, kh, kw).
    pub fn weight_dims(&self, channels: usize) -> [usize; 4] {
        [channels, self.out / self.groups.max(1), self.kernel[0], self.kernel[1]]
    }
}

impl Operation for ConvTranspose2d {
    fn kind(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let (src, weights, bias) = weighted_inputs(inputs, self.bias, problems)?;
        let chw = expect::map("the input", src, problems)?;
        let output = self.output(chw, problems)?;
        expect::ty("weights", weights, Type::single(self.weight_dims(chw[0])), problems);
        if let Some(bias) = bias {
            expect::ty("bias", bias, Type::single([self.out]), problems);
        }
        Some(vec![Type::batched(output)])
    }

    fn macs(&self, inputs: &[&Type], _: &[&Type]) -> u64 {
        let taps = self.kernel[0] * self.kernel[1];
        (inputs[0].elements() as u64).saturating_mul((self.out / self.groups * taps) as u64)
    }

    fn reach(&self, _: &Type) -> Reach {
        Reach::Irregular
    }

    /// The adjoint's passes with the roles of input and output exchanged.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (src, weights, d_dst) = (cx.input(0), cx.input(1), cx.d_output(0));
        let conv = self.adjoint(cx.dims(src)[0]);
        let mut gradients = vec![
            cx.needs(0).then(|| cx.emit(conv, &[d_dst, weights])[0]),
            cx.needs(1).then(|| cx.emit(Conv2dBackwardWeights { conv }, &[d_dst, src])[0]),
        ];
        if self.bias {
            let sum = Reduce::sum_to(Type::single([self.out]));
            gradients.push(cx.needs(2).then(|| cx.emit(sum, &[d_dst])[0]));
        }
        Ok(gradients)
    }
}

impl ConvTranspose2d {
    /// The same computation as the convolution pass that it is, for an input `[C, H, W]` and an output.
    pub fn as_backward_data(&self, channels: usize, output: [usize; 3]) -> Conv2dBackwardData {
        Conv2dBackwardData { conv: self.adjoint(channels), dims: output }
    }
}
