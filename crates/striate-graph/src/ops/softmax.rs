//! Softmax along an axis: y_i = e^{x_i} / Σ_j e^{x_j}; log-softmax is its logarithm.
//!
//! Backward, from the output: d_x = y·(d_y − Σ_j d_y_j·y_j); for log-softmax d_x = d_y − e^y·Σ_j d_y_j.

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Softmax or log-softmax over the features of a vector, the channels at each position of a map, or any other axis.
///
/// # Shapes
/// Any, same shape out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The logarithm of the probabilities.
    pub log: bool,
    /// The axis along which they add up to 1 (0 = features or channels).
    pub axis: usize,
}

impl Softmax {
    /// Probabilities of features or channels.
    pub const LINEAR: Self = Self { log: false, axis: 0 };
    /// Their logarithms.
    pub const LOG: Self = Self { log: true, axis: 0 };
}

/// The gradient of [`Softmax`], from its output: inputs y and d_y, output d_x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxBackward {
    /// Of log-softmax.
    pub log: bool,
    /// The axis.
    pub axis: usize,
}

impl Operation for Softmax {
    fn kind(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        expect::axis(self.axis, src, problems)?;
        Some(vec![src.clone()])
    }
    fn reach(&self, input: &Type) -> Reach {
        if self.axis == 0 && input.chw().is_some() { Reach::Point } else { Reach::Everything }
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (y, d_y) = (cx.output(0), cx.d_output(0));
        Ok(vec![Some(cx.emit(SoftmaxBackward { log: self.log, axis: self.axis }, &[y, d_y])[0])])
    }
}

impl Operation for SoftmaxBackward {
    fn kind(&self) -> &'static str {
        "softmax_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [y, d_y] = expect::inputs(inputs, "the output and its gradient", problems)?;
        expect::axis(self.axis, y, problems)?;
        expect::ty("the output's gradient", d_y, y.clone(), problems);
        Some(vec![d_y.clone()])
    }
}
