//! Fully connected layer: every output depends on every input.
//!
//! dst\[n, o\] = bias\[o\] + Σ_i weights\[o, i\] · src\[n, i\]

use super::conv2d::weighted_inputs;
use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Fully connected layer.
///
/// # Shapes
/// Inputs: src N×F, weights (out, F), bias (out) where `bias`. Output: N×out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Output features.
    pub out: usize,
    /// Whether a bias per output is added.
    pub bias: bool,
}

impl Linear {
    /// `out` outputs, with bias.
    pub const fn new(out: usize) -> Self {
        Self { out, bias: true }
    }

    /// Without bias.
    pub const fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

/// The gradient of a fully connected layer's input: d_src = d_dst · weights.
///
/// # Shapes
/// Inputs: d_dst N×out, weights (out, F). Output: N×F.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearBackwardData;

/// The gradient of a fully connected layer's weights and, with `bias`, of its bias.
///
/// # Shapes
/// Inputs: src N×F, d_dst N×out. Outputs: (out, F), (out).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearBackwardWeights {
    /// Whether the bias's gradient is computed too.
    pub bias: bool,
}

impl Operation for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let (src, weights, bias) = weighted_inputs(inputs, self.bias, problems)?;
        expect::positive("output features", self.out, problems);
        if let Some(features) = expect::features("the input", src, problems) {
            expect::ty("weights", weights, Type::single([self.out, features]), problems);
        }
        if let Some(bias) = bias {
            expect::ty("bias", bias, Type::single([self.out]), problems);
        }
        Some(vec![Type::batched([self.out])])
    }

    fn macs(&self, inputs: &[&Type], _: &[&Type]) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(self.out as u64)
    }

    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }

    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (src, weights, d_dst) = (cx.input(0), cx.input(1), cx.d_output(0));
        let mut gradients = vec![None; 2 + self.bias as usize];
        if cx.needs(0) {
            gradients[0] = Some(cx.emit(LinearBackwardData, &[d_dst, weights])[0]);
        }
        if cx.needs(1) || (self.bias && cx.needs(2)) {
            let outputs = cx.emit(LinearBackwardWeights { bias: self.bias }, &[src, d_dst]);
            for (index, output) in outputs.into_iter().enumerate() {
                gradients[1 + index] = Some(output);
            }
        }
        Ok(gradients)
    }
}

impl Operation for LinearBackwardData {
    fn kind(&self) -> &'static str {
        "linear_backward_data"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst, weights] = expect::inputs(inputs, "the output's gradient and weights", problems)?;
        let out = expect::features("the output's gradient", d_dst, problems)?;
        match weights.dims.as_slice() {
            [rows, features] if *rows == out => Some(vec![Type::batched([*features])]),
            _ => {
                problems.push(Problem::Combine { lhs: d_dst.clone(), rhs: weights.clone() });
                None
            }
        }
    }
    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(outputs[0].elements() as u64)
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (d_dst, weights, d) = (cx.input(0), cx.input(1), cx.d_output(0));
        let out = cx.ty(d_dst).elements();
        let through_data = cx.needs(0).then(|| cx.emit(Linear::new(out).no_bias(), &[d, weights])[0]);
        let through_weights =
            cx.needs(1).then(|| cx.emit(LinearBackwardWeights { bias: false }, &[d, d_dst])[0]);
        Ok(vec![through_data, through_weights])
    }
}

impl Operation for LinearBackwardWeights {
    fn kind(&self) -> &'static str {
        "linear_backward_weights"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, d_dst] = expect::inputs(inputs, "the input and the output's gradient", problems)?;
        let features = expect::features("the input", src, problems)?;
        let out = expect::features("the output's gradient", d_dst, problems)?;
        let mut types = vec![Type::single([out, features])];
        if self.bias {
            types.push(Type::single([out]));
        }
        Some(types)
    }
    fn macs(&self, inputs: &[&Type], _: &[&Type]) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(inputs[1].elements() as u64)
    }
}
