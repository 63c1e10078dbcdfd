//! Losses: one number for the batch, the mean over images (and elements).
//!
//! Cross-entropy with softmax: L = −mean_n Σ_k q_k·log softmax(x_n)_k, where q is 1 − smoothing at the label plus
//! smoothing/K everywhere; d_x = (softmax(x) − q)/N. Binary cross-entropy with logits: mean of
//! max(x,0) − x·t + log(1 + e^−|x|); d_x = (sigmoid(x) − t)/count. Mean squared error: mean of (x − t)²;
//! d_x = 2(x − t)/count.

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{DType, Type, Value};

/// Softmax and cross-entropy against class labels.
///
/// # Shapes
/// Inputs: logits N×K, labels N (`U32`). Outputs: the loss (scalar), the probabilities N×K.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Weight spread evenly over all classes, 0 ≤ smoothing < 1.
    pub smoothing: f32,
}

/// The gradient of [`CrossEntropy`]: inputs probabilities, labels, d_loss; output d_logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyBackward {
    /// Label smoothing.
    pub smoothing: f32,
}

/// Binary cross-entropy of logits against targets in 0..=1: inputs of one shape, output the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BceWithLogits;

/// The gradient of [`BceWithLogits`]: inputs logits, targets, d_loss; output d_logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BceWithLogitsBackward;

/// Mean squared error of two values of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanSquaredError;

/// The gradient of [`MeanSquaredError`] for its first input: inputs a, b, d_loss; output d_a.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanSquaredErrorBackward;

impl Operation for CrossEntropy {
    fn kind(&self) -> &'static str {
        "cross_entropy"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [logits, labels] = expect::inputs(inputs, "logits and labels", problems)?;
        expect::ty("labels", labels, Type::batched([]).of(DType::U32), problems);
        if !(0.0..1.0).contains(&self.smoothing) {
            let value = self.smoothing.to_string();
            problems.push(Problem::Range { what: "label smoothing", value, range: "0 ≤ smoothing < 1" });
        }
        expect::features("logits", logits, problems)?;
        Some(vec![Type::scalar(), logits.clone()])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let inputs = [cx.output(1), cx.input(1), cx.d_output(0)];
        let op = CrossEntropyBackward { smoothing: self.smoothing };
        Ok(vec![Some(cx.emit(op, &inputs)[0]), None])
    }
}

impl Operation for CrossEntropyBackward {
    fn kind(&self) -> &'static str {
        "cross_entropy_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [probabilities, _labels, d_loss] =
            expect::inputs(inputs, "probabilities, labels and the loss's gradient", problems)?;
        expect::ty("the loss's gradient", d_loss, Type::scalar(), problems);
        Some(vec![probabilities.clone()])
    }
}

/// The type rule of a loss that compares two values element by element.
fn compared(inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
    let [predicted, target] = expect::inputs(inputs, "a prediction and a target", problems)?;
    expect::ty("the target", target, predicted.clone(), problems);
    Some(vec![Type::scalar()])
}

/// The type rule of such a loss's gradient.
fn compared_backward(inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
    let [predicted, target, d_loss] =
        expect::inputs(inputs, "a prediction, a target and the loss's gradient", problems)?;
    expect::ty("the target", target, predicted.clone(), problems);
    expect::ty("the loss's gradient", d_loss, Type::scalar(), problems);
    Some(vec![predicted.clone()])
}

impl Operation for BceWithLogits {
    fn kind(&self) -> &'static str {
        "bce_with_logits"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        compared(inputs, problems)
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        if cx.needs(1) {
            return Err(Problem::NoGradient { op: "the targets of bce_with_logits" });
        }
        let inputs = [cx.input(0), cx.input(1), cx.d_output(0)];
        Ok(vec![Some(cx.emit(BceWithLogitsBackward, &inputs)[0]), None])
    }
}

impl Operation for BceWithLogitsBackward {
    fn kind(&self) -> &'static str {
        "bce_with_logits_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        compared_backward(inputs, problems)
    }
}

impl Operation for MeanSquaredError {
    fn kind(&self) -> &'static str {
        "mean_squared_error"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        compared(inputs, problems)
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
    /// Symmetric: the target's gradient is the prediction's with the two exchanged.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (a, b, d) = (cx.input(0), cx.input(1), cx.d_output(0));
        let mut towards =
            |index: usize, a, b| cx.needs(index).then(|| cx.emit(MeanSquaredErrorBackward, &[a, b, d])[0]);
        Ok(vec![towards(0, a, b), towards(1, b, a)])
    }
}

impl Operation for MeanSquaredErrorBackward {
    fn kind(&self) -> &'static str {
        "mean_squared_error_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        compared_backward(inputs, problems)
    }
}
