//! Sums and means over the dimensions in which a target is smaller, and their opposite, repetition.

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// A sum, scaled: dst = scale · Σ src over the batch where the target has none, and over each dimension that the
/// target lacks or has as 1.
///
/// # Shapes
/// Target dimensions: as many as the input's, each equal or 1; or `[C]` of an input `[C, H, W]`; or `[]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// The type of the result.
    pub to: Type,
    /// Factor on the sum.
    pub scale: f32,
    /// Divide by the number of elements summed for each result (over the batch too where it is summed): a mean.
    pub mean: bool,
}

impl Reduce {
    /// The sum to a type.
    pub fn sum_to(to: Type) -> Self {
        Self { to, scale: 1.0, mean: false }
    }

    /// The mean to a type.
    pub fn mean_to(to: Type) -> Self {
        Self { to, scale: 1.0, mean: true }
    }
}

/// Repetition to a larger type, scaled; the opposite of [`Reduce`].
#[derive(Clone, Debug, PartialEq)]
pub struct Expand {
    /// The type of the result.
    pub to: Type,
    /// Factor on each element.
    pub scale: f32,
    /// Divide by the number of copies of each element.
    pub mean: bool,
}

/// The dimensions of `small` seen with the rank of `large`, or `None` where it is no reduction of it.
pub fn aligned_dims(small: &Type, large: &Type) -> Option<Vec<usize>> {
    if small.batched && !large.batched || small.dtype != large.dtype {
        return None;
    }
    let rank = large.dims.len();
    let dims = match small.dims.len() {
        n if n == rank => small.dims.clone(),
        0 => vec![1; rank],
        1 if rank == 3 => vec![small.dims[0], 1, 1],
        _ => return None,
    };
    dims.iter().zip(&large.dims).all(|(s, l)| s == l || *s == 1).then_some(dims)
}

impl Operation for Reduce {
    fn kind(&self) -> &'static str {
        if self.mean { "mean" } else { "sum" }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        if aligned_dims(&self.to, src).is_none() {
            problems.push(Problem::Combine { lhs: src.clone(), rhs: self.to.clone() });
        }
        Some(vec![self.to.clone()])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let to = cx.ty(cx.input(0)).clone();
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(Expand { to, scale: self.scale, mean: self.mean }, &[d_dst])[0])])
    }
}

impl Operation for Expand {
    fn kind(&self) -> &'static str {
        "expand"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        if aligned_dims(src, &self.to).is_none() {
            problems.push(Problem::Combine { lhs: src.clone(), rhs: self.to.clone() });
        }
        Some(vec![self.to.clone()])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let to = cx.ty(cx.input(0)).clone();
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(Reduce { to, scale: self.scale, mean: self.mean }, &[d_dst])[0])])
    }
}
