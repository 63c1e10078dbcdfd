//! Padding of one axis of any value, and repetition along one.
//!
//! Backward: each input element gets the sum of the gradients of its copies.

use super::{Operation, PadMode, Reach, Reduce, Reshape, Slice, Window, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Elements before and behind those of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadAxis {
    /// The axis (0 = channels, 1 = rows, 2 = columns).
    pub axis: usize,
    /// Elements before and behind.
    pub pads: [usize; 2],
    /// What they are.
    pub mode: PadMode,
    /// What stands in place of zeros where the mode is [`PadMode::Zeros`]; else without effect, and 0.
    pub value: f32,
}

/// The gradient of a [`PadAxis`] that repeats elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadAxisBackward {
    /// The padding.
    pub pad: PadAxis,
}

/// An axis, several times over: a b | a b | a b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The axis.
    pub axis: usize,
    /// How often.
    pub times: usize,
}

impl PadAxis {
    /// Zeros before and behind.
    pub const fn zeros(axis: usize, pads: [usize; 2]) -> Self {
        Self { axis, pads, mode: PadMode::Zeros, value: 0.0 }
    }

    fn check(&self, size: usize, problems: &mut Vec<Problem>) {
        let padding = self.pads[0].max(self.pads[1]);
        let needed = match self.mode {
            PadMode::Zeros | PadMode::Replicate => 0,
            PadMode::Reflect => padding.saturating_add(1),
            PadMode::Circular => padding,
        };
        if padding > 0 && size < needed {
            let (axis, mode) = ("element", self.mode.name());
            problems.push(Problem::PaddingMode { axis, mode, padding, needed, input: size });
        }
        let value = self.value;
        if !value.is_finite() || self.mode != PadMode::Zeros && value != 0.0 {
            let range = "the finite numbers where the mode is zeros, else 0";
            problems.push(Problem::Range { what: "value", value: value.to_string(), range });
        }
    }
}

impl Operation for PadAxis {
    fn kind(&self) -> &'static str {
        "pad_axis"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        let size = expect::axis(self.axis, src, problems)?;
        self.check(size, problems);
        let mut dims = src.dims.clone();
        dims[self.axis] = size.saturating_add(self.pads[0]).saturating_add(self.pads[1]);
        Some(vec![src.with_dims(dims)])
    }
    fn reach(&self, input: &Type) -> Reach {
        if input.chw().is_none() || self.axis == 0 {
            return Reach::Point;
        }
        let mut windows =
            [0; 2].map(|_| Window { size: 1, stride: 1, dilation: 1, pad: [0; 2], ceil: false });
        windows[self.axis - 1].pad = self.pads;
        Reach::Window(windows)
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        let size = cx.ty(cx.input(0)).dims[self.axis];
        Ok(vec![Some(match self.mode {
            PadMode::Zeros => cx.emit(Slice::axis(self.axis, self.pads[0], self.pads[0] + size), &[d_dst])[0],
            _ => cx.emit(PadAxisBackward { pad: *self }, &[d_dst])[0],
        })])
    }
}

impl Operation for PadAxisBackward {
    fn kind(&self) -> &'static str {
        "pad_axis_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst] = expect::inputs(inputs, "the output's gradient", problems)?;
        let PadAxis { axis, pads: [before, behind], .. } = self.pad;
        let padded = expect::axis(axis, d_dst, problems)?;
        let mut dims = d_dst.dims.clone();
        dims[axis] = padded.checked_sub(before)?.checked_sub(behind)?;
        self.pad.check(dims[axis], problems);
        Some(vec![d_dst.with_dims(dims)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d = cx.d_output(0);
        Ok(vec![Some(cx.emit(self.pad, &[d])[0])])
    }
}

impl Operation for Tile {
    fn kind(&self) -> &'static str {
        "tile"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        let size = expect::axis(self.axis, src, problems)?;
        expect::positive("times", self.times, problems);
        let mut dims = src.dims.clone();
        dims[self.axis] = size.saturating_mul(self.times);
        Some(vec![src.with_dims(dims)])
    }
    fn reach(&self, _: &Type) -> Reach {
        if self.axis == 0 { Reach::Point } else { Reach::Irregular }
    }
    /// The sum of the copies' gradients, seen as \[what lies outside, copies, axis and inside, 1\].
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let src = cx.ty(cx.input(0)).clone();
        let d_dst = cx.d_output(0);
        let (outside, inside) = src.dims.split_at(self.axis);
        let [outside, inside]: [usize; 2] = [outside, inside].map(|dims| dims.iter().product());
        let copies = cx.emit(Reshape { dims: vec![outside, self.times, inside, 1] }, &[d_dst])[0];
        let sum = Reduce::sum_to(src.with_dims([outside, 1, inside, 1]));
        let sum = cx.emit(sum, &[copies])[0];
        Ok(vec![Some(cx.emit(Reshape { dims: src.dims }, &[sum])[0])])
    }
}
