//! Where a value lies in the arena, and as what.

use striate_graph::{DType, Type};
use striate_kernels::{Bf16, ElementType};

/// How the elements of a value are stored. A graph's floats may be float32 or bfloat16 in memory: that is the plan's
/// affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    Bf16,
    U32,
    U8,
}

impl Storage {
    /// That of a type at full precision.
    pub(crate) fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::U32 => Self::U32,
            DType::U8 => Self::U8,
        }
    }

    /// What kernels read and write a float as.
    pub(crate) fn element(self) -> ElementType {
        if self == Self::Bf16 { ElementType::Bf16 } else { ElementType::F32 }
    }

    /// Bytes of an element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<Bf16>(),
            Self::U32 => size_of::<u32>(),
            Self::U8 => size_of::<u8>(),
        }
    }
}

/// A value's place: `shape` = (n, h, w, c) elements, pixels `ld` elements apart, beginning at byte `offset`.
///
/// Feature maps are channels-last; a feature vector is one pixel for each image; parameters of more than three
/// dimensions, or two, are one long pixel in their logical order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub offset: usize,
    pub shape: [usize; 4],
    pub ld: usize,
    pub storage: Storage,
}

impl Place {
    /// Pixels of a type for a batch, one behind the other.
    pub(crate) fn dense(ty: &Type, batch: usize, storage: Storage, offset: usize) -> Self {
        let shape = shape4(ty, batch);
        Self { offset, shape, ld: shape[3], storage }
    }

    pub(crate) fn rows(&self) -> usize {
        self.shape[0] * self.shape[1] * self.shape[2]
    }

    pub(crate) fn channels(&self) -> usize {
        self.shape[3]
    }

    pub(crate) fn elements(&self) -> usize {
        self.rows() * self.channels()
    }

    /// Elements from the first to the last, those between pixels included.
    pub(crate) fn span(&self) -> usize {
        striate_kernels::view::extent(self.rows(), self.channels(), self.ld)
    }

    /// Bytes from the first element to the last.
    pub(crate) fn bytes(&self) -> usize {
        self.span() * self.storage.bytes()
    }

    pub(crate) fn overlaps(&self, other: &Place) -> bool {
        self.offset < other.offset + other.bytes() && other.offset < self.offset + self.bytes()
    }
}

/// (n, h, w, c) of a type for a batch.
pub(crate) fn shape4(ty: &Type, batch: usize) -> [usize; 4] {
    let n = if ty.batched { batch } else { 1 };
    match ty.dims.as_slice() {
        [c, h, w] => [n, *h, *w, *c],
        _ => [n, 1, 1, ty.elements()],
    }
}
