//! Padding as an operation of its own: rows and columns around a map, zero channels before and behind.
//!
//! Zeros; reflect (c b | a b c | b a, without the edge); replicate (a a | a b c | c c); circular (b c | a b c | a b).
//! Backward: each input element gets the sum of the gradients of its copies.

use super::window::{AXES, Padding};
use super::{Operation, Reach, Window, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// What padding holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its edge pixels.
    Reflect,
    /// The edge pixels repeated.
    Replicate,
    /// The opposite side.
    Circular,
}

impl PadMode {
    /// All modes.
    pub const ALL: [PadMode; 4] = [PadMode::Zeros, PadMode::Reflect, PadMode::Replicate, PadMode::Circular];

    /// Its name in notation and messages.
    pub fn name(self) -> &'static str {
        match self {
            PadMode::Zeros => "zeros",
            PadMode::Reflect => "reflect",
            PadMode::Replicate => "replicate",
            PadMode::Circular => "circular",
        }
    }

    /// Whether the image is large enough for the mode.
    pub(crate) fn check(self, padding: Padding, size: [usize; 2], problems: &mut Vec<Problem>) {
        for axis in 0..2 {
            let padding = padding.axis(axis)[0].max(padding.axis(axis)[1]);
            let needed = match self {
                PadMode::Zeros | PadMode::Replicate => 0,
                PadMode::Reflect => padding.saturating_add(1),
                PadMode::Circular => padding,
            };
            if padding > 0 && size[axis] < needed {
                problems.push(Problem::PaddingMode {
                    axis: AXES[axis],
                    mode: self.name(),
                    padding,
                    needed,
                    input: size[axis],
                });
            }
        }
    }
}

/// Padding of a feature map.
///
/// # Shapes
/// Input: N×C×H×W. Output: N×(C + channels)×(H + top + bottom)×(W + left + right).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad {
    /// Rows and columns around the image.
    pub padding: Padding,
    /// What they hold.
    pub mode: PadMode,
    /// Channels of zeros before and behind (ResNet's shortcut without parameters).
    pub channels: [usize; 2],
}

/// The gradient of [`Pad`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadBackward {
    /// The padding.
    pub pad: Pad,
}

impl Pad {
    fn output(&self, chw: [usize; 3]) -> Option<[usize; 3]> {
        let Padding { top, bottom, left, right } = self.padding;
        let around = [self.channels, [top, bottom], [left, right]];
        let mut dims = chw;
        for (dim, [before, behind]) in dims.iter_mut().zip(around) {
            *dim = dim.checked_add(before)?.checked_add(behind)?;
        }
        Some(dims)
    }
}

impl Operation for Pad {
    fn kind(&self) -> &'static str {
        "pad"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        let chw = expect::map("the input", src, problems)?;
        self.mode.check(self.padding, [chw[1], chw[2]], problems);
        let output = self.output(chw);
        if output.is_none() {
            problems.push(Problem::TooLarge);
        }
        Some(vec![Type::batched(output?)])
    }
    fn reach(&self, _: &Type) -> Reach {
        let window =
            |axis| Window { size: 1, stride: 1, dilation: 1, pad: self.padding.axis(axis), ceil: false };
        Reach::Window([window(0), window(1)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(PadBackward { pad: *self }, &[d_dst])[0])])
    }
}

impl Operation for PadBackward {
    fn kind(&self) -> &'static str {
        "pad_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst] = expect::inputs(inputs, "the output's gradient", problems)?;
        let chw = expect::map("the output's gradient", d_dst, problems)?;
        let Padding { top, bottom, left, right } = self.pad.padding;
        let around = [self.pad.channels, [top, bottom], [left, right]];
        let mut dims = chw;
        for (dim, [before, behind]) in dims.iter_mut().zip(around) {
            *dim = dim.checked_sub(before)?.checked_sub(behind)?;
        }
        Some(vec![Type::batched(dims)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d = cx.d_output(0);
        Ok(vec![Some(cx.emit(self.pad, &[d])[0])])
    }
}
