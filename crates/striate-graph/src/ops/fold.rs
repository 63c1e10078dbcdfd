//! Extremes and products along axes, and where extremes lie. Sums and means are [`Reduce`]'s.
//!
//! Backward: of a maximum or minimum y, elements equal to y share its gradient; of a product, d_x = d_y·y/x, which
//! holds where no element is 0.

use super::{Binary, Expand, Operation, Reach, Reduce, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{DType, Type, Value};

/// What elements are combined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FoldKind {
    /// The greatest; NaN where there is one.
    Max,
    /// The least; NaN where there is one.
    Min,
    /// The product.
    Product,
}

impl FoldKind {
    /// All kinds.
    pub const ALL: [FoldKind; 3] = [Self::Max, Self::Min, Self::Product];
}

/// The extremes or products of elements along some axes.
///
/// # Shapes
/// Any; the axes have extent 1 in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// What elements are combined to.
    pub kind: FoldKind,
    /// The axes, ascending (0 = channels).
    pub axes: Vec<usize>,
}

/// The index of the greatest or least element along an axis; the first of equals, or the last.
///
/// # Shapes
/// Any; the result lacks the axis, and holds 32-bit unsigned integers. NaN counts as greater and less than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgMax {
    /// The axis (0 = channels).
    pub axis: usize,
    /// Of the least instead of the greatest.
    pub least: bool,
    /// The last of equals instead of the first.
    pub last: bool,
}

/// The axes that some layers treat as one: ascending, each of the value.
pub(super) fn check_axes(axes: &[usize], ty: &Type, problems: &mut Vec<Problem>) -> Option<()> {
    if axes.is_empty() || !axes.is_sorted_by(|a, b| a < b) || axes.last() >= Some(&ty.dims.len()) {
        problems.push(Problem::Axes { axes: axes.to_vec(), found: ty.clone() });
        return None;
    }
    Some(())
}

/// The type with extent 1 along the axes.
pub(super) fn folded(ty: &Type, axes: &[usize]) -> Type {
    let mut dims = ty.dims.clone();
    axes.iter().for_each(|axis| dims[*axis] = 1);
    ty.with_dims(dims)
}

impl Operation for Fold {
    fn kind(&self) -> &'static str {
        match self.kind {
            FoldKind::Max => "max",
            FoldKind::Min => "min",
            FoldKind::Product => "product",
        }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        check_axes(&self.axes, src, problems)?;
        Some(vec![folded(src, &self.axes)])
    }
    fn reach(&self, input: &Type) -> Reach {
        if self.axes == [0] && input.chw().is_some() { Reach::Point } else { Reach::Everything }
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (x, y, d_y) = (cx.input(0), cx.output(0), cx.d_output(0));
        if self.kind == FoldKind::Product {
            let product = cx.emit(Binary::MULTIPLY, &[d_y, y])[0];
            return Ok(vec![Some(cx.emit(Binary::DIVIDE, &[product, x])[0])]);
        }
        let (full, folded) = (cx.ty(x).clone(), cx.ty(y).clone());
        let extreme = cx.emit(Binary::EQUAL, &[x, y])[0];
        let count = cx.emit(Reduce::sum_to(folded), &[extreme])[0];
        let share = cx.emit(Binary::DIVIDE, &[d_y, count])[0];
        let shares = cx.emit(Expand { to: full, scale: 1.0, mean: false }, &[share])[0];
        Ok(vec![Some(cx.emit(Binary::MULTIPLY, &[shares, extreme])[0])])
    }
}

impl Operation for ArgMax {
    fn kind(&self) -> &'static str {
        if self.least { "argmin" } else { "argmax" }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        expect::axis(self.axis, src, problems)?;
        let mut dims = src.dims.clone();
        dims.remove(self.axis);
        Some(vec![src.with_dims(dims).of(DType::U32)])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
}
