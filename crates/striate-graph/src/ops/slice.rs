//! A regular part of a value along one axis: start, end, step.

use super::{Operation, Reach, Window, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Elements `start`, `start + step`, … below `end` of one axis (0 = channels, 1 = rows, 2 = columns).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// First element.
    pub start: usize,
    /// One behind the last element considered.
    pub end: usize,
    /// Distance between elements taken.
    pub step: usize,
}

impl Slice {
    /// Elements `start..end` of an axis.
    pub const fn axis(axis: usize, start: usize, end: usize) -> Self {
        Self { axis, start, end, step: 1 }
    }

    /// The number of elements taken.
    pub fn len(&self) -> usize {
        (self.end.saturating_sub(self.start)).div_ceil(self.step.max(1))
    }

    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn of(&self, src: &Type, problems: &mut Vec<Problem>) -> Option<Type> {
        let Slice { axis, start, end, step } = *self;
        let size = src.dims.get(axis).copied().unwrap_or(0);
        if start >= end || end > size || step == 0 {
            problems.push(Problem::Slice { axis, start, end, step, size });
            return None;
        }
        let mut dims = src.dims.clone();
        dims[axis] = self.len();
        Some(src.with_dims(dims))
    }
}

/// The gradient of a slice: the slice's gradient in its place, zeros elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceBackward {
    /// The slice.
    pub slice: Slice,
    /// Dimensions of its input.
    pub dims: Vec<usize>,
}

impl Operation for Slice {
    fn kind(&self) -> &'static str {
        "slice"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        Some(vec![self.of(src, problems)?])
    }
    fn reach(&self, input: &Type) -> Reach {
        let mut windows =
            [1, 2].map(|_| Window { size: 1, stride: 1, dilation: 1, pad: [0; 2], ceil: false });
        if input.dims.len() != 3 || self.axis == 0 {
            return Reach::Point;
        }
        if self.start > 0 {
            return Reach::Irregular;
        }
        windows[self.axis - 1].stride = self.step;
        Reach::Window(windows)
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let op = SliceBackward { slice: *self, dims: cx.ty(cx.input(0)).dims.clone() };
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(op, &[d_dst])[0])])
    }
}

impl Operation for SliceBackward {
    fn kind(&self) -> &'static str {
        "slice_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst] = expect::inputs(inputs, "the output's gradient", problems)?;
        let full = d_dst.with_dims(self.dims.clone());
        let expected = self.slice.of(&full, problems)?;
        expect::ty("the output's gradient", d_dst, expected, problems);
        Some(vec![full])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d = cx.d_output(0);
        Ok(vec![Some(cx.emit(self.slice, &[d])[0])])
    }
}
