//! Upsampling: a larger map by repetition (nearest) or by weighting the four nearest pixels (bilinear).
//!
//! Output row y lies at input row (y + ½)·H/H' − ½, or with `align_corners` at y·(H − 1)/(H' − 1).

use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsampleMode {
    /// The pixel ⌊y·H/H'⌋.
    Nearest,
    /// The four pixels around, weighted by nearness.
    Bilinear {
        /// Corner pixels keep their values.
        align_corners: bool,
    },
}

/// Upsampling to a given size.
///
/// # Shapes
/// Input: N×C×H×W. Output: N×C×size\[0\]×size\[1\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Upsample {
    /// Output height and width.
    pub size: [usize; 2],
    /// How.
    pub mode: UpsampleMode,
}

/// The gradient of [`Upsample`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpsampleBackward {
    /// How.
    pub mode: UpsampleMode,
    /// Dimensions `[C, H, W]` of its input.
    pub dims: [usize; 3],
}

impl Operation for Upsample {
    fn kind(&self) -> &'static str {
        match self.mode {
            UpsampleMode::Nearest => "upsample_nearest",
            UpsampleMode::Bilinear { .. } => "upsample_bilinear",
        }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        let [channels, ..] = expect::map("the input", src, problems)?;
        for size in self.size {
            expect::positive("output size", size, problems);
        }
        Some(vec![Type::batched([channels, self.size[0], self.size[1]])])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Irregular
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let op = UpsampleBackward { mode: self.mode, dims: cx.dims(cx.input(0)) };
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(op, &[d_dst])[0])])
    }
}

impl Operation for UpsampleBackward {
    fn kind(&self) -> &'static str {
        "upsample_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst] = expect::inputs(inputs, "the output's gradient", problems)?;
        expect::map("the output's gradient", d_dst, problems)?;
        Some(vec![Type::batched(self.dims)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let [_, height, width] = cx.dims(cx.input(0));
        let d = cx.d_output(0);
        Ok(vec![Some(cx.emit(Upsample { size: [height, width], mode: self.mode }, &[d])[0])])
    }
}
