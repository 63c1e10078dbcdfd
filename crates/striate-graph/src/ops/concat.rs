//! Concatenation along channels (or features): costs nothing where producers can write into one buffer.

use super::{Operation, Slice, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Concatenation of feature maps along channels, or of feature vectors.
///
/// # Shapes
/// Inputs: N×Cᵢ×H×W. Output: N×ΣCᵢ×H×W.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Concat;

impl Operation for Concat {
    fn kind(&self) -> &'static str {
        "concat"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [first, ..] = inputs else {
            expect::inputs::<1>(inputs, "at least one input", problems);
            return None;
        };
        if first.dims.is_empty() {
            problems.push(Problem::Kind {
                what: "an input",
                expected: "a feature map or vector",
                found: (*first).clone(),
            });
            return None;
        }
        let mut result = (*first).clone();
        for other in &inputs[1..] {
            if other.batched != first.batched
                || other.dims.len() != first.dims.len()
                || other.dims[1..] != first.dims[1..]
            {
                problems.push(Problem::Combine { lhs: (*first).clone(), rhs: (*other).clone() });
            } else {
                result.dims[0] = result.dims[0].saturating_add(other.dims[0]);
            }
        }
        Some(vec![result])
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        let mut start = 0;
        let mut gradients = Vec::new();
        for index in 0..cx.inputs().len() {
            let channels = cx.ty(cx.input(index)).dims[0];
            let slice = Slice::axis(0, start, start + channels);
            gradients.push(cx.needs(index).then(|| cx.emit(slice, &[d_dst])[0]));
            start += channels;
        }
        Ok(gradients)
    }
}
