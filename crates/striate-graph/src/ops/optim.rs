//! The updates of parameters by their gradients, as nodes of the training graph, and what lies between a gradient and an
//! update: its bound and its mean over several passes. p is the parameter, d its gradient, η the learning rate, λ the
//! weight decay; all as PyTorch defines them.
//!
//! | operation | g ← d + λp, then |
//! |---|---|
//! | SGD | v ← μv + g; p ← p − ηv, with Nesterov p ← p − η(g + μv); without momentum p ← p − ηg |
//! | Adam | m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; p ← p − η m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ) |
//! | AdamW | as Adam with g = d, and first p ← p − ηλp |
//! | RMSProp | s ← αs + (1 − α)g²; v ← μv + g/(√s + ε); p ← p − ηv; without momentum p ← p − η g/(√s + ε) |

use super::{Operation, expect};
use crate::error::Problem;
use crate::{DType, Type};

/// Stochastic gradient descent with momentum and weight decay.
///
/// Inputs: the parameter, its gradient, the learning rate (scalar), and with `momentum` the velocity and μ (scalar). No
/// outputs: the parameter and the velocity change in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate {
    /// Whether a velocity is kept.
    pub momentum: bool,
    /// Nesterov's form: the gradient is looked up ahead.
    pub nesterov: bool,
    /// λ, the L2 penalty's gradient per parameter.
    pub weight_decay: f32,
}

/// Adam (Kingma and Ba 2015, algorithm 1), or AdamW (Loshchilov and Hutter 2019, algorithm 2).
///
/// Inputs: the parameter, its gradient, the learning rate (scalar), the means of the gradient and of its square, and the
/// number of updates before this one (scalar, u32). No outputs: the parameter and the means change in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamUpdate {
    /// β₁, the part of the mean gradient that is kept.
    pub beta1: f64,
    /// β₂, the part of the mean squared gradient that is kept.
    pub beta2: f64,
    /// ε, which bounds the step where gradients vanish.
    pub eps: f64,
    /// λ.
    pub weight_decay: f32,
    /// Whether the decay is AdamW's.
    pub decoupled: bool,
}

/// RMSProp (Tieleman and Hinton 2012, lecture 6e), as PyTorch has it: ε outside the root, the learning rate outside the
/// velocity.
///
/// Inputs: the parameter, its gradient, the learning rate (scalar), the mean squared gradient, and with `momentum` the
/// velocity and μ (scalar). No outputs: the parameter and its state change in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropUpdate {
    /// α, the part of the mean squared gradient that is kept.
    pub alpha: f64,
    /// ε.
    pub eps: f64,
    /// λ.
    pub weight_decay: f32,
    /// Whether a velocity is kept.
    pub momentum: bool,
}

/// A moving average of a parameter, a ← k·a + (1 − k)·p.
///
/// Inputs: the average, the parameter, k (scalar). No outputs: the average changes in place, after the parameter has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AverageUpdate;

/// The sum of gradients over several runs of the graph, s ← k·s + f·d; where k is 0, s ← f·d whatever s was.
///
/// Inputs: the sum, the gradient, k (scalar). No outputs: the sum changes in place. Unlike the updates it is part of every
/// run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accumulate {
    /// f: one part's share of the mean.
    pub factor: f32,
}

/// The factor that bounds the norm of all gradients together, min(1, bound / (‖d‖ + 10⁻⁶)) (Pascanu et al. 2013,
/// algorithm 1; PyTorch's `clip_grad_norm_`).
///
/// Inputs: the gradients, one at least. Output: a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipFactor {
    /// The largest norm that stays as it is.
    pub max_norm: f32,
}

/// An update's inputs: the parameter, its gradient and the learning rate, then what `rest` names; those like the parameter,
/// then scalars.
fn check(inputs: &[&Type], like: &[&'static str], scalars: &[&'static str], problems: &mut Vec<Problem>) {
    let expected = 3 + like.len() + scalars.len();
    if inputs.len() != expected {
        let names = ["a parameter", "its gradient", "the learning rate"];
        let names: Vec<&str> = names.iter().chain(like).chain(scalars).copied().collect();
        problems.push(Problem::InputCount { expected: names.join(", "), found: inputs.len() });
        return;
    }
    expect::ty("the gradient", inputs[1], inputs[0].clone(), problems);
    expect::ty("the learning rate", inputs[2], Type::scalar(), problems);
    for (what, ty) in like.iter().zip(&inputs[3..]) {
        expect::ty(what, ty, inputs[0].clone(), problems);
    }
    for (what, ty) in scalars.iter().zip(&inputs[3 + like.len()..]) {
        let dtype = if *what == UPDATES { DType::U32 } else { DType::F32 };
        expect::ty(what, ty, Type::scalar().of(dtype), problems);
    }
}

const UPDATES: &str = "the number of updates";

impl Operation for SgdUpdate {
    fn kind(&self) -> &'static str {
        "sgd_update"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let (like, scalars): (&[_], &[_]) =
            if self.momentum { (&["the velocity"], &["the momentum"]) } else { (&[], &[]) };
        check(inputs, like, scalars, problems);
        Some(Vec::new())
    }
    fn updated_inputs(&self) -> &'static [usize] {
        if self.momentum { &[0, 3] } else { &[0] }
    }
}

impl Operation for AdamUpdate {
    fn kind(&self) -> &'static str {
        "adam_update"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        check(inputs, &["the mean", "the mean square"], &[UPDATES], problems);
        Some(Vec::new())
    }
    fn updated_inputs(&self) -> &'static [usize] {
        &[0, 3, 4]
    }
}

impl Operation for RmsPropUpdate {
    fn kind(&self) -> &'static str {
        "rmsprop_update"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let (like, scalars): (&[_], &[_]) = if self.momentum {
            (&["the mean square", "the velocity"], &["the momentum"])
        } else {
            (&["the mean square"], &[])
        };
        check(inputs, like, scalars, problems);
        Some(Vec::new())
    }
    fn updated_inputs(&self) -> &'static [usize] {
        if self.momentum { &[0, 3, 4] } else { &[0, 3] }
    }
}

/// The inputs of an average or a sum.
fn check_blend(inputs: &[&Type], names: [&'static str; 2], problems: &mut Vec<Problem>) {
    let [to, from] = names;
    let expected = format!("{to}, {from}, the part that is kept");
    if let Some([into, value, keep]) = expect::inputs(inputs, &expected, problems) {
        expect::ty(from, value, into.clone(), problems);
        expect::ty("the part that is kept", keep, Type::scalar(), problems);
    }
}

impl Operation for AverageUpdate {
    fn kind(&self) -> &'static str {
        "average_update"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        check_blend(inputs, ["an average", "a parameter"], problems);
        Some(Vec::new())
    }
    fn updated_inputs(&self) -> &'static [usize] {
        &[0]
    }
}

impl Operation for Accumulate {
    fn kind(&self) -> &'static str {
        "accumulate"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        check_blend(inputs, ["a sum", "a gradient"], problems);
        Some(Vec::new())
    }
    fn updated_inputs(&self) -> &'static [usize] {
        &[0]
    }
}

impl Operation for ClipFactor {
    fn kind(&self) -> &'static str {
        "clip_factor"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        if inputs.is_empty() {
            problems.push(Problem::InputCount { expected: "a gradient at least".into(), found: 0 });
        }
        if self.max_norm.is_nan() || self.max_norm <= 0.0 {
            let value = self.max_norm.to_string();
            problems.push(Problem::Range { what: "max_norm", value, range: "max_norm > 0" });
        }
        for gradient in inputs.iter().filter(|ty| ty.batched || ty.dtype != DType::F32) {
            let (what, expected) = ("a gradient", "floats without a batch");
            problems.push(Problem::Kind { what, expected, found: (*gradient).clone() });
        }
        Some(vec![Type::scalar()])
    }
}

impl super::Op {
    /// Whether it changes a parameter by training's rule: what a run leaves out that only gathers gradients.
    pub fn is_update(&self) -> bool {
        use super::Op;
        matches!(self, Op::SgdUpdate(_) | Op::AdamUpdate(_) | Op::RmsPropUpdate(_) | Op::AverageUpdate(_))
    }
}
