//! What a value is: its logical shape and the type of its elements.

use crate::error::{MAX_ELEMENTS, MAX_RANK, MAX_SIDE};
use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: activations, parameters, gradients.
    F32,
    /// 32-bit unsigned integer: labels, counters, indices into large windows.
    U32,
    /// 8-bit unsigned integer: indices into pooling windows of at most 256 positions.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::U8 => 1,
        }
    }
}

/// The type of a value: logical dimensions without the batch, and whether there is one for each image.
///
/// A feature map is batched with dimensions `[C, H, W]`, a feature vector batched with `[F]`, a class label
/// batched with `[]`; parameters and scalars are not batched. The batch size N is chosen when a plan is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// One for each image of the batch?
    pub batched: bool,
    /// Logical dimensions, outermost first, without the batch.
    pub dims: Vec<usize>,
    /// The type of the elements.
    pub dtype: DType,
}

impl Type {
    /// A float tensor for each image.
    pub fn batched(dims: impl Into<Vec<usize>>) -> Self {
        Self { batched: true, dims: dims.into(), dtype: DType::F32 }
    }

    /// One float tensor, whatever the batch.
    pub fn single(dims: impl Into<Vec<usize>>) -> Self {
        Self { batched: false, dims: dims.into(), dtype: DType::F32 }
    }

    /// One float.
    pub fn scalar() -> Self {
        Self::single([])
    }

    /// The same with elements of type `dtype`.
    pub fn of(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The same shape and batching with other dimensions.
    pub fn with_dims(&self, dims: impl Into<Vec<usize>>) -> Self {
        Self { dims: dims.into(), ..self.clone() }
    }

    /// Elements per image (batched) or in all.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it is of a size that a network can have: at most [`MAX_ELEMENTS`] elements, sides of maps at most
    /// [`MAX_SIDE`], at most [`MAX_RANK`] dimensions.
    pub fn is_sane(&self) -> bool {
        let elements = self.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let sides = self.chw().map_or(0, |[_, height, width]| height.max(width));
        elements.is_some_and(|n| n <= MAX_ELEMENTS) && sides <= MAX_SIDE && self.dims.len() <= MAX_RANK
    }

    /// `[C, H, W]` of a feature map.
    pub fn chw(&self) -> Option<[usize; 3]> {
        <[usize; 3]>::try_from(self.dims.as_slice()).ok()
    }
}

impl fmt::Display for Type {
    /// `N×64×56×56`, `4096`, `scalar`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.dims.iter().map(usize::to_string).collect();
        if self.batched {
            parts.insert(0, "N".into());
        }
        if parts.is_empty() { f.write_str("scalar") } else { f.write_str(&parts.join("×")) }
    }
}
