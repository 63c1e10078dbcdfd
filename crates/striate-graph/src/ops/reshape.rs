//! Other dimensions for the same elements, in row-major (C, H, W) order; flatten is a reshape to one.

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Reshape of each image's elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// New dimensions; empty flattens to one.
    pub dims: Vec<usize>,
}

impl Reshape {
    /// To one dimension.
    pub const fn flatten() -> Self {
        Self { dims: Vec::new() }
    }
}

impl Operation for Reshape {
    fn kind(&self) -> &'static str {
        if self.dims.is_empty() { "flatten" } else { "reshape" }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        let dims = if self.dims.is_empty() { vec![src.elements()] } else { self.dims.clone() };
        let to = src.with_dims(dims);
        let want = to.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
        if want != src.elements() {
            problems.push(Problem::Reshape { from: src.clone(), have: src.elements(), to: to.clone(), want });
        }
        Some(vec![to])
    }
    fn reach(&self, input: &Type) -> Reach {
        match input.dims.as_slice() {
            [_, 1, 1] | [_] => Reach::Point,
            _ => Reach::Everything,
        }
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let dims = cx.ty(cx.input(0)).dims.clone();
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(Reshape { dims }, &[d_dst])[0])])
    }
}
