//! Other orders: of the axes, and of the elements along one.

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// The axes in another order: axis i of the result is axis `axes[i]` of the input.
///
/// # Shapes
/// Input: d₀×d₁×…. Output: d\[axes\[0\]\]×d\[axes\[1\]\]×…; the batch stays in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permute {
    /// Each axis of the input once.
    pub axes: Vec<usize>,
}

/// The elements along an axis in reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The axis.
    pub axis: usize,
}

impl Permute {
    /// The permutation that undoes this one.
    pub fn inverse(&self) -> Self {
        let mut axes = vec![0; self.axes.len()];
        for (to, from) in self.axes.iter().enumerate() {
            axes[*from] = to;
        }
        Self { axes }
    }
}

impl Operation for Permute {
    fn kind(&self) -> &'static str {
        "permute"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..src.dims.len()) {
            problems.push(Problem::Permutation { axes: self.axes.clone(), found: src.clone() });
            return None;
        }
        let dims: Vec<usize> = self.axes.iter().map(|axis| src.dims[*axis]).collect();
        Some(vec![src.with_dims(dims)])
    }
    fn reach(&self, _: &Type) -> Reach {
        if self.axes.iter().copied().eq(0..self.axes.len()) { Reach::Point } else { Reach::Irregular }
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(self.inverse(), &[d_dst])[0])])
    }
}

impl Operation for Flip {
    fn kind(&self) -> &'static str {
        "flip"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        expect::axis(self.axis, src, problems)?;
        Some(vec![src.clone()])
    }
    fn reach(&self, _: &Type) -> Reach {
        if self.axis == 0 { Reach::Point } else { Reach::Irregular }
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(*self, &[d_dst])[0])])
    }
}
