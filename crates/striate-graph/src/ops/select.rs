//! Choice between two values, element by element: a where the condition is not 0, else b.
//!
//! All three are repeated to one shape as by [`Binary`](super::Binary). Backward: the gradient goes to what was chosen.

use super::binary::{broadcast, unbroadcast};
use super::{Constant, Operation, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Choice by a condition: inputs condition, a and b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Where;

impl Operation for Where {
    fn kind(&self) -> &'static str {
        "where"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [condition, a, b] = expect::inputs(inputs, "a condition and two inputs", problems)?;
        let mut combine = |lhs: &Type, rhs: &Type| {
            let combined = broadcast(lhs, rhs);
            if combined.is_none() {
                problems.push(Problem::Combine { lhs: lhs.clone(), rhs: rhs.clone() });
            }
            combined
        };
        let chosen = combine(a, b)?;
        Some(vec![combine(condition, &chosen)?])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (condition, d) = (cx.input(0), cx.d_output(0));
        let zero = cx.emit(Constant { value: 0.0 }, &[])[0];
        let mut side = |index: usize, [of_true, of_false]: [Value; 2]| {
            let chosen = cx.needs(index).then(|| cx.emit(Where, &[condition, of_true, of_false])[0]);
            chosen.map(|chosen| unbroadcast(cx, chosen, cx.input(index)))
        };
        Ok(vec![None, side(1, [d, zero]), side(2, [zero, d])])
    }
}
