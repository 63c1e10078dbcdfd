//! Locally connected layer: a window as in convolution, but its own weights at each position.
//!
//! dst\[n, oc, y, x\] = bias\[oc, y, x\] + Σ_{ic, i, j} weights\[y, x, oc, ic, i, j\] · src\[n, ic, y·sh + i·dh − top, x·sw + j·dw − left\]
//!
//! The step between fully connected (every input) and convolution (shared weights).

use super::conv2d::weighted_inputs;
use super::{Conv2d, Operation, PadMode, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Two-dimensional locally connected layer.
///
/// # Shapes
/// Inputs: src N×C×H×W, weights (H'·W', out, C, kh, kw), bias (out, H', W') where there is one. Output:
/// N×out×H'×W' as for a convolution with the same window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocallyConnected2d {
    /// The window, as a convolution with one group and zero padding.
    pub conv: Conv2d,
}

/// The gradient of a locally connected layer's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocallyConnected2dBackwardData {
    /// The window.
    pub conv: Conv2d,
    /// Dimensions `[C, H, W]` of the layer's input.
    pub dims: [usize; 3],
}

/// The gradient of a locally connected layer's weights, and of its bias where it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocallyConnected2dBackwardWeights {
    /// The window.
    pub conv: Conv2d,
}

impl LocallyConnected2d {
    /// A layer with the window, the number of outputs and the bias of `conv`.
    pub const fn new(conv: Conv2d) -> Self {
        Self { conv }
    }

    fn output(&self, chw: [usize; 3], problems: &mut Vec<Problem>) -> Option<[usize; 3]> {
        if self.conv.groups != 1 {
            problems.push(Problem::Range {
                what: "groups of a locally connected layer",
                value: self.conv.groups.to_string(),
                range: "1..=1",
            });
        }
        if self.conv.padding_mode != PadMode::Zeros {
            problems.push(Problem::Range {
                what: "padding mode of a locally connected layer",
                value: self.conv.padding_mode.name().into(),
                range: "zeros (pad before it instead)",
            });
        }
        self.conv.output(chw, problems)
    }

    /// Dimensions of the weights for an input `[C, H, W]`; `None` where the window does not fit.
    pub fn weight_dims(&self, chw: [usize; 3]) -> Option<[usize; 5]> {
        let [out, rows, columns] = self.output(chw, &mut Vec::new())?;
        let [kh, kw] = self.conv.kernel;
        Some([rows.checked_mul(columns)?, out, chw[0], kh, kw])
    }

    /// Dimensions of the bias.
    pub fn bias_dims(&self, chw: [usize; 3]) -> Option<[usize; 3]> {
        self.output(chw, &mut Vec::new())
    }
}

impl Operation for LocallyConnected2d {
    fn kind(&self) -> &'static str {
        "locally_connected2d"
    }

    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let (src, weights, bias) = weighted_inputs(inputs, self.conv.bias, problems)?;
        let chw = expect::map("the input", src, problems)?;
        let output = self.output(chw, problems)?;
        if let Some(dims) = self.weight_dims(chw) {
            expect::ty("weights", weights, Type::single(dims), problems);
        }
        if let Some(bias) = bias {
            expect::ty("bias", bias, Type::single(output), problems);
        }
        Some(vec![Type::batched(output)])
    }

    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        self.conv.macs(inputs, outputs)
    }

    fn reach(&self, input: &Type) -> Reach {
        self.conv.reach(input)
    }

    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (src, weights, d_dst) = (cx.input(0), cx.input(1), cx.d_output(0));
        let conv = self.conv;
        let mut gradients = vec![None; 2 + conv.bias as usize];
        if cx.needs(0) {
            let dims = cx.dims(src);
            gradients[0] = Some(cx.emit(LocallyConnected2dBackwardData { conv, dims }, &[d_dst, weights])[0]);
        }
        if cx.needs(1) || (conv.bias && cx.needs(2)) {
            let outputs = cx.emit(LocallyConnected2dBackwardWeights { conv }, &[src, d_dst]);
            for (index, output) in outputs.into_iter().enumerate() {
                gradients[1 + index] = Some(output);
            }
        }
        Ok(gradients)
    }
}

impl Operation for LocallyConnected2dBackwardData {
    fn kind(&self) -> &'static str {
        "locally_connected2d_backward_data"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst, _weights] = expect::inputs(inputs, "the output's gradient and weights", problems)?;
        let output = self.conv.output(self.dims, problems)?;
        expect::ty("the output's gradient", d_dst, Type::batched(output), problems);
        Some(vec![Type::batched(self.dims)])
    }
    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        self.conv.macs(outputs, inputs)
    }
}

impl Operation for LocallyConnected2dBackwardWeights {
    fn kind(&self) -> &'static str {
        "locally_connected2d_backward_weights"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, d_dst] = expect::inputs(inputs, "the input and the output's gradient", problems)?;
        let chw = expect::map("the input", src, problems)?;
        let layer = LocallyConnected2d { conv: self.conv };
        let output = layer.output(chw, problems)?;
        expect::ty("the output's gradient", d_dst, Type::batched(output), problems);
        let mut types = vec![Type::single(layer.weight_dims(chw)?)];
        if self.conv.bias {
            types.push(Type::single(output));
        }
        Some(types)
    }
    fn macs(&self, inputs: &[&Type], _: &[&Type]) -> u64 {
        self.conv.macs(&inputs[..1], &inputs[1..])
    }
}
