//! Batch normalisation (Ioffe and Szegedy 2015, algorithm 1): each channel to mean 0 and variance 1 over the
//! mini-batch, then a learned scale and shift.
//!
//! Training: μ = mean of x over N, H, W; σ² = mean of (x − μ)²; y = γ·(x − μ)/√(σ² + ε) + β; running mean and
//! variance move by `momentum` towards μ and the unbiased σ². Inference: y = γ·(x − running mean)/√(running
//! variance + ε) + β.
//!
//! Backward, with x̂ = (x − μ)/√(σ² + ε) and m = N·H·W: d_β = Σ d_y, d_γ = Σ d_y·x̂,
//! d_x = γ/√(σ² + ε) · (d_y − d_β/m − x̂·d_γ/m). By running statistics, which do not depend on x, d_x = γ/√(σ² + ε) · d_y.

use super::{Binary, Operation, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Batch normalisation of a feature map's channels.
///
/// # Shapes
/// Inputs: src N×C×H×W (or N×C), γ, β, running mean, running variance (C each). Outputs: N×C×H×W; in training also
/// the batch's mean and 1/√(σ² + ε) (C each), kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// ε, added to the variance.
    pub eps: f32,
    /// How far the running statistics move towards the batch's at each step.
    pub momentum: f32,
    /// Normalise with the batch's own statistics and update the running ones.
    pub training: bool,
}

impl Default for BatchNorm {
    /// ε = 1e-5, momentum 0.1.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1, training: false }
    }
}

impl BatchNorm {
    /// With another ε.
    pub const fn eps(eps: f32) -> Self {
        Self { eps, momentum: 0.1, training: false }
    }
}

/// The gradients of a training batch norm: inputs src, γ, mean, inv_std, d_dst; outputs d_src, d_γ, d_β.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormBackward;

/// Normalisation by given statistics, which changes nothing else: a training batch norm computed again.
///
/// # Shapes
/// Inputs: src N×C×H×W (or N×C), γ, β, mean, inv_std = 1/√(σ² + ε) (C each). Output: as src.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalize;

impl Operation for BatchNorm {
    fn kind(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, rest @ ..] =
            expect::inputs::<5>(inputs, "an input, γ, β, running mean and variance", problems)?;
        if !src.batched || ![1, 3].contains(&src.dims.len()) {
            problems.push(Problem::Kind {
                what: "the input",
                expected: "a feature map or vector",
                found: src.clone(),
            });
            return None;
        }
        if self.eps.is_nan() || self.eps <= 0.0 {
            problems.push(Problem::Range { what: "eps", value: self.eps.to_string(), range: "eps > 0" });
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            let value = self.momentum.to_string();
            problems.push(Problem::Range { what: "momentum", value, range: "0 ≤ momentum ≤ 1" });
        }
        let channel = Type::single([src.dims[0]]);
        for (what, ty) in ["scale", "shift", "running mean", "running variance"].into_iter().zip(rest) {
            expect::ty(what, ty, channel.clone(), problems);
        }
        let mut types = vec![src.clone()];
        if self.training {
            types.extend([channel.clone(), channel]);
        }
        Some(types)
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn updated_inputs(&self) -> &'static [usize] {
        if self.training { &[3, 4] } else { &[] }
    }

    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        if !self.training {
            if cx.needs(1) || cx.needs(2) {
                let op = "scale and shift of a batch_norm of inference (make a training graph)";
                return Err(Problem::NoGradient { op });
            }
            // The same scale, without mean and shift.
            let (scale, mean, variance) = (cx.input(1), cx.input(3), cx.input(4));
            let zeros = cx.emit(Binary::SUBTRACT, &[mean, mean])[0];
            let d_src = cx.emit(*self, &[cx.d_output(0), scale, zeros, zeros, variance])[0];
            return Ok(vec![Some(d_src), None, None, None, None]);
        }
        let inputs = [cx.input(0), cx.input(1), cx.output(1), cx.output(2), cx.d_output(0)];
        let outputs = cx.emit(BatchNormBackward, &inputs);
        Ok(vec![Some(outputs[0]), Some(outputs[1]), Some(outputs[2]), None, None])
    }
}

impl Operation for Normalize {
    fn kind(&self) -> &'static str {
        "normalize"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, rest @ ..] = expect::inputs::<5>(inputs, "an input, γ, β, mean and inv_std", problems)?;
        let channel = Type::single([*src.dims.first()?]);
        for (what, ty) in ["scale", "shift", "mean", "inv_std"].into_iter().zip(rest) {
            expect::ty(what, ty, channel.clone(), problems);
        }
        Some(vec![src.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
}

impl Operation for BatchNormBackward {
    fn kind(&self) -> &'static str {
        "batch_norm_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, scale, mean, inv_std, d_dst] =
            expect::inputs(inputs, "the input, γ, mean, inv_std and the output's gradient", problems)?;
        expect::ty("the output's gradient", d_dst, src.clone(), problems);
        let channel = Type::single([*src.dims.first()?]);
        for (what, ty) in [("scale", scale), ("mean", mean), ("inv_std", inv_std)] {
            expect::ty(what, ty, channel.clone(), problems);
        }
        Some(vec![src.clone(), channel.clone(), channel])
    }
}
