//! Concatenation along an axis; of channels (or features) it costs nothing where producers can write into one buffer.

use super::{Operation, Reach, Slice, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Concatenation of values along an axis.
///
/// # Shapes
/// Inputs: N×Cᵢ×H×W along axis 0. Output: N×ΣCᵢ×H×W. Along any axis of any values alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis (0 = channels).
    pub axis: usize,
}

impl Concat {
    /// Of channels, or features.
    pub const CHANNELS: Self = Self { axis: 0 };
}

impl Operation for Concat {
    fn kind(&self) -> &'static str {
        "concat"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [first, ..] = inputs else {
            expect::inputs::<1>(inputs, "at least one input", problems);
            return None;
        };
        let axis = self.axis;
        expect::axis(axis, first, problems)?;
        let others = |ty: &Type| {
            let mut dims = ty.dims.clone();
            dims[axis] = 1;
            Type { dims, ..ty.clone() }
        };
        let mut result = (*first).clone();
        for other in &inputs[1..] {
            if other.dims.len() != first.dims.len() || others(other) != others(first) {
                problems.push(Problem::Combine { lhs: (*first).clone(), rhs: (*other).clone() });
            } else {
                result.dims[axis] = result.dims[axis].saturating_add(other.dims[axis]);
            }
        }
        Some(vec![result])
    }
    fn reach(&self, _: &Type) -> Reach {
        if self.axis == 0 { Reach::Point } else { Reach::Irregular }
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        let mut start = 0;
        let mut gradients = Vec::new();
        for index in 0..cx.inputs().len() {
            let size = cx.ty(cx.input(index)).dims[self.axis];
            let slice = Slice::axis(self.axis, start, start + size);
            gradients.push(cx.needs(index).then(|| cx.emit(slice, &[d_dst])[0]));
            start += size;
        }
        Ok(gradients)
    }
}
