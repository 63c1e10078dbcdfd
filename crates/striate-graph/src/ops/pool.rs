//! Pooling: one number for each window of each channel.
//!
//! Maximum: dst\[n, c, y, x\] = max over the window of src; in the forward pass the index that took the maximum is
//! stored, and backward the gradient goes to the input at that index.
//!
//! Average: the mean over the window; backward every input of the window gets its share.

use super::window::{AXES, Padding, Window};
use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{DType, Type, Value};

/// Maximum pooling. Padding never wins.
///
/// # Shapes
/// Input: N×C×H×W. Outputs: N×C×H'×W', and with `save_indices` the tap that took the maximum, same shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool2d {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding on the four sides, less than the window: none lies on padding alone.
    pub padding: Padding,
    /// Round the output size up instead of down.
    pub ceil: bool,
    /// Keep the index of each maximum for the backward pass.
    pub save_indices: bool,
}

/// Average pooling.
///
/// # Shapes
/// Input: N×C×H×W. Output: N×C×H'×W'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool2d {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding on the four sides, less than the window: none lies on padding alone.
    pub padding: Padding,
    /// Round the output size up instead of down.
    pub ceil: bool,
    /// Whether the zeros of the padding count in the mean.
    pub count_include_pad: bool,
}

/// What a global pool takes of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The greatest value.
    Max,
    /// The mean.
    Avg,
}

/// Pooling over the whole map.
///
/// # Shapes
/// Input: N×C×H×W. Output: N×C×1×1 (for Max with `save_indices` also the indices).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalPool {
    /// Maximum or mean.
    pub kind: PoolKind,
    /// Keep the index of each maximum for the backward pass.
    pub save_indices: bool,
}

impl MaxPool2d {
    /// A square window with its own size as stride.
    pub const fn new(kernel: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [kernel; 2],
            padding: Padding::NONE,
            ceil: false,
            save_indices: false,
        }
    }
    /// With the same stride on both axes.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }
    /// With the same padding on all sides.
    pub const fn padding(self, pad: usize) -> Self {
        Self { padding: Padding::all(pad), ..self }
    }
    /// Rounding the output size up.
    pub const fn ceil(self) -> Self {
        Self { ceil: true, ..self }
    }
    /// The sliding window of an axis.
    pub fn window(&self, axis: usize) -> Window {
        pool_window(self.kernel, self.stride, self.padding, self.ceil, axis)
    }
    /// The type of its indices: the tap number within the window.
    pub fn index_type(&self) -> DType {
        index_type(self.kernel[0].saturating_mul(self.kernel[1]))
    }
}

impl AvgPool2d {
    /// A square window with its own size as stride.
    pub const fn new(kernel: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [kernel; 2],
            padding: Padding::NONE,
            ceil: false,
            count_include_pad: true,
        }
    }
    /// With the same stride on both axes.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }
    /// With the same padding on all sides.
    pub const fn padding(self, pad: usize) -> Self {
        Self { padding: Padding::all(pad), ..self }
    }
    /// The sliding window of an axis.
    pub fn window(&self, axis: usize) -> Window {
        pool_window(self.kernel, self.stride, self.padding, self.ceil, axis)
    }
}

impl GlobalPool {
    /// The greatest value of each channel.
    pub const MAX: Self = Self { kind: PoolKind::Max, save_indices: false };
    /// The mean of each channel.
    pub const AVG: Self = Self { kind: PoolKind::Avg, save_indices: false };
}

fn pool_window(kernel: [usize; 2], stride: [usize; 2], padding: Padding, ceil: bool, axis: usize) -> Window {
    Window { size: kernel[axis], stride: stride[axis], dilation: 1, pad: padding.axis(axis), ceil }
}

fn index_type(taps: usize) -> DType {
    if taps <= 256 { DType::U8 } else { DType::U32 }
}

/// `[C, H', W']` of pooling with these windows.
fn pooled(windows: [Window; 2], src: &Type, problems: &mut Vec<Problem>) -> Option<[usize; 3]> {
    let [channels, height, width] = expect::map("the input", src, problems)?;
    for (axis, window) in windows.iter().enumerate() {
        for pad in window.pad {
            if pad >= window.size.max(1) {
                problems.push(Problem::PaddingTooLarge {
                    axis: AXES[axis],
                    padding: pad,
                    window: window.size,
                });
            }
        }
    }
    let rows = windows[0].check(0, height, problems);
    let columns = windows[1].check(1, width, problems);
    Some([channels, rows?, columns?])
}

fn with_indices(dims: [usize; 3], save: bool, dtype: DType) -> Vec<Type> {
    let mut types = vec![Type::batched(dims)];
    if save {
        types.push(Type::batched(dims).of(dtype));
    }
    types
}

impl Operation for MaxPool2d {
    fn kind(&self) -> &'static str {
        "max_pool2d"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        let dims = pooled([self.window(0), self.window(1)], src, problems)?;
        Some(with_indices(dims, self.save_indices, self.index_type()))
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Window([self.window(0), self.window(1)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        if !self.save_indices {
            return Err(Problem::NoGradient { op: "max_pool2d without saved indices" });
        }
        let op = MaxPool2dBackward { pool: *self, dims: cx.dims(cx.input(0)) };
        let (d_dst, indices) = (cx.d_output(0), cx.output(1));
        Ok(vec![Some(cx.emit(op, &[d_dst, indices])[0])])
    }
}

impl Operation for AvgPool2d {
    fn kind(&self) -> &'static str {
        "avg_pool2d"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        Some(vec![Type::batched(pooled([self.window(0), self.window(1)], src, problems)?)])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Window([self.window(0), self.window(1)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let op = AvgPool2dBackward { pool: *self, dims: cx.dims(cx.input(0)) };
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(op, &[d_dst])[0])])
    }
}

impl Operation for GlobalPool {
    fn kind(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "global_max_pool",
            PoolKind::Avg => "global_avg_pool",
        }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        let [channels, height, width] = expect::map("the input", src, problems)?;
        Some(with_indices([channels, 1, 1], self.save_indices, index_type(height.saturating_mul(width))))
    }
    fn reach(&self, input: &Type) -> Reach {
        let window = |axis: usize| Window {
            size: input.dims.get(1 + axis).copied().unwrap_or(1),
            stride: 1,
            dilation: 1,
            pad: [0; 2],
            ceil: false,
        };
        Reach::Window([window(0), window(1)])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let op = GlobalPoolBackward { kind: self.kind, dims: cx.dims(cx.input(0)) };
        let d_dst = cx.d_output(0);
        let inputs = match self.kind {
            PoolKind::Avg => vec![d_dst],
            PoolKind::Max if self.save_indices => vec![d_dst, cx.output(1)],
            PoolKind::Max => {
                return Err(Problem::NoGradient { op: "global_max_pool without saved indices" });
            }
        };
        Ok(vec![Some(cx.emit(op, &inputs)[0])])
    }
}

/// The gradient of a maximum pool: each output's goes to the input at the saved index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool2dBackward {
    /// The pool.
    pub pool: MaxPool2d,
    /// Dimensions `[C, H, W]` of its input.
    pub dims: [usize; 3],
}

/// The gradient of an average pool: each output's is spread over its window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool2dBackward {
    /// The pool.
    pub pool: AvgPool2d,
    /// Dimensions `[C, H, W]` of its input.
    pub dims: [usize; 3],
}

/// The gradient of a global pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalPoolBackward {
    /// Maximum (with indices as second input) or mean.
    pub kind: PoolKind,
    /// Dimensions `[C, H, W]` of its input.
    pub dims: [usize; 3],
}

impl Operation for MaxPool2dBackward {
    fn kind(&self) -> &'static str {
        "max_pool2d_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [d_dst, indices] = expect::inputs(inputs, "the output's gradient and the indices", problems)?;
        expect::ty("indices", indices, d_dst.clone().of(self.pool.index_type()), problems);
        Some(vec![Type::batched(self.dims)])
    }
}

impl Operation for AvgPool2dBackward {
    fn kind(&self) -> &'static str {
        "avg_pool2d_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [_d_dst] = expect::inputs(inputs, "the output's gradient", problems)?;
        Some(vec![Type::batched(self.dims)])
    }
}

impl Operation for GlobalPoolBackward {
    fn kind(&self) -> &'static str {
        "global_pool_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let expected = 1 + (self.kind == PoolKind::Max) as usize;
        if inputs.len() != expected {
            let names = "the output's gradient, and the indices of a maximum".to_string();
            problems.push(Problem::InputCount { expected: names, found: inputs.len() });
        }
        Some(vec![Type::batched(self.dims)])
    }
}
