//! Channels to blocks of pixels, and back (Shi et al. 2016: sub-pixel convolution).
//!
//! Pixel (y, x) of block (i, j) with channel c is channel (y·b + x)·C + c (depth, column, row: DCR) or
//! c·b² + y·b + x (column, row, depth: CRD, PyTorch's pixel shuffle) at position (i, j).

use super::{Operation, Reach, Window, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Channels to blocks of `block` × `block` pixels.
///
/// # Shapes
/// Input: N×(C·b²)×H×W. Output: N×C×(H·b)×(W·b).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// b, the side of a block.
    pub block: usize,
    /// Whether the pixels of one channel lie side by side (CRD), else the channels of one pixel (DCR).
    pub crd: bool,
}

/// Blocks of pixels to channels: the inverse of [`DepthToSpace`].
///
/// # Shapes
/// Input: N×C×(H·b)×(W·b). Output: N×(C·b²)×H×W.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// b, the side of a block.
    pub block: usize,
    /// As in [`DepthToSpace`].
    pub crd: bool,
}

/// The side of a block, and its pixels.
fn area(block: usize, problems: &mut Vec<Problem>) -> Option<[usize; 2]> {
    expect::positive("block", block, problems).then(|| [block, block.saturating_mul(block)])
}

fn divides(what: &'static str, of: usize, by: usize, problems: &mut Vec<Problem>) -> Option<usize> {
    if !of.is_multiple_of(by) {
        problems.push(Problem::Blocks { what, of, by });
        return None;
    }
    Some(of / by)
}

impl Operation for DepthToSpace {
    fn kind(&self) -> &'static str {
        "depth_to_space"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        let [channels, height, width] = expect::map("the input", src, problems)?;
        let [block, area] = area(self.block, problems)?;
        let channels = divides("channels", channels, area, problems)?;
        Some(vec![Type::batched([channels, height.saturating_mul(block), width.saturating_mul(block)])])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Irregular
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(SpaceToDepth { block: self.block, crd: self.crd }, &[d_dst])[0])])
    }
}

impl Operation for SpaceToDepth {
    fn kind(&self) -> &'static str {
        "space_to_depth"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        let [channels, height, width] = expect::map("the input", src, problems)?;
        let [block, area] = area(self.block, problems)?;
        let height = divides("rows", height, block, problems);
        let width = divides("columns", width, block, problems);
        Some(vec![Type::batched([channels.saturating_mul(area), height?, width?])])
    }
    fn reach(&self, _: &Type) -> Reach {
        let window = Window { size: self.block, stride: self.block, dilation: 1, pad: [0; 2], ceil: false };
        Reach::Window([window; 2])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(DepthToSpace { block: self.block, crd: self.crd }, &[d_dst])[0])])
    }
}
