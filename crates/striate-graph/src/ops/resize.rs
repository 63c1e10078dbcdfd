//! Resizing along one axis to any size; two of them resize a map.
//!
//! Element o of `size` lies at x = (o + ½)/s − ½ of the input (half pixel), with s = `scale`, or size/input without it.
//! It is a weighted mean of the input's elements near x:
//!
//! - nearest: the one that x is rounded to;
//! - linear: ⌊x⌋ and ⌊x⌋ + 1, weighted by nearness;
//! - cubic: the four around, weighted by the convolution kernel of Keys (1981): at distance t
//!   (a+2)t³ − (a+3)t² + 1 where t ≤ 1, else a·t³ − 5a·t² + 8a·t − 4a.
//!
//! Beyond the ends lie copies of the first and the last element. This is ONNX's Resize (opset 19) without antialiasing.

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::{MAX_SIDE, Problem};
use crate::{Type, Value};

/// Where a position that is asked for lies between two elements: which of them is nearest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Half-way, the lesser.
    #[default]
    HalfDown,
    /// Half-way, the greater.
    HalfUp,
    /// Always the lesser.
    Down,
    /// Always the greater.
    Up,
}

/// How values between elements are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizeMode {
    /// The nearest element.
    Nearest(Rounding),
    /// The two around.
    Linear,
    /// The four around.
    Cubic {
        /// The kernel's constant: −0.75, or −0.5 for Catmull and Rom's.
        a: f32,
        /// Leave out what lies beyond the ends, and weight the others more.
        exclude_outside: bool,
    },
}

/// Where element o of the result, of n, lies in an input of m, scaled by s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// (o + ½)/s − ½
    #[default]
    HalfPixel,
    /// As half pixel, but 0 where n = 1.
    PytorchHalfPixel,
    /// As half pixel, with the middles in one place: m/2·(1 − n/(s·m)) more.
    HalfPixelSymmetric,
    /// o·(m − 1)/(s·m − 1), where s·m is n without a scale; 0 where s·m = 1
    AlignCorners,
    /// o/s
    Asymmetric,
}

impl Coordinates {
    /// All of them.
    pub const ALL: [Coordinates; 5] = [
        Self::HalfPixel,
        Self::PytorchHalfPixel,
        Self::HalfPixelSymmetric,
        Self::AlignCorners,
        Self::Asymmetric,
    ];
}

/// Resizing along an axis, of at most [`MAX_SIDE`] elements before and behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    /// The axis (0 = channels, 1 = rows, 2 = columns).
    pub axis: usize,
    /// Elements of the result along it.
    pub size: usize,
    /// The factor that positions are divided by, where it is not just size/input.
    pub scale: Option<f32>,
    /// How values between elements are found.
    pub mode: ResizeMode,
    /// Where elements lie.
    pub coordinates: Coordinates,
}

/// The gradient of [`Resize`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizeBackward {
    /// The resizing.
    pub resize: Resize,
    /// Elements of its input along the axis.
    pub input: usize,
}

impl Resize {
    /// `input` is the number of elements that are resized.
    fn check(&self, input: usize, problems: &mut Vec<Problem>) {
        expect::positive("input size", input, problems);
        expect::positive("output size", self.size, problems);
        if input.max(self.size) > MAX_SIDE {
            problems.push(Problem::TooLarge);
        }
        if let Some(scale) = self.scale
            && !(scale > 0.0 && scale.is_finite())
        {
            let range = "0 < scale < ∞";
            problems.push(Problem::Range { what: "scale", value: scale.to_string(), range });
        }
        if let ResizeMode::Cubic { a, .. } = self.mode
            && !a.is_finite()
        {
            let range = "the finite numbers";
            problems.push(Problem::Range { what: "a", value: a.to_string(), range });
        }
    }
}

impl Operation for Resize {
    fn kind(&self) -> &'static str {
        match self.mode {
            ResizeMode::Nearest(_) => "resize_nearest",
            ResizeMode::Linear => "resize_linear",
            ResizeMode::Cubic { .. } => "resize_cubic",
        }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        self.check(expect::axis(self.axis, src, problems)?, problems);
        let mut dims = src.dims.clone();
        dims[self.axis] = self.size;
        Some(vec![src.with_dims(dims)])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Irregular
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let input = cx.ty(cx.input(0)).dims[self.axis];
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(ResizeBackward { resize: *self, input }, &[d_dst])[0])])
    }
}

impl Operation for ResizeBackward {
    fn kind(&self) -> &'static str {
        "resize_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst] = expect::inputs(inputs, "the output's gradient", problems)?;
        let Resize { axis, size, .. } = self.resize;
        expect::axis(axis, d_dst, problems)?;
        self.resize.check(self.input, problems);
        let with = |size: usize| {
            let mut dims = d_dst.dims.clone();
            dims[axis] = size;
            d_dst.with_dims(dims)
        };
        expect::ty("the output's gradient", d_dst, with(size), problems);
        Some(vec![with(self.input)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d = cx.d_output(0);
        Ok(vec![Some(cx.emit(self.resize, &[d])[0])])
    }
}
