//! Where a value lies in the arena.

use striate_graph::{DType, Type};

/// A value's place: `shape` = (n, h, w, c) elements, pixels `ld` elements apart, beginning at float `offset`.
///
/// Feature maps are channels-last; a feature vector is one pixel for each image; parameters of more than three
/// dimensions, or two, are one long pixel in their logical order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub offset: usize,
    pub shape: [usize; 4],
    pub ld: usize,
    pub dtype: DType,
}

impl Place {
    pub(crate) fn rows(&self) -> usize {
        self.shape[0] * self.shape[1] * self.shape[2]
    }

    pub(crate) fn channels(&self) -> usize {
        self.shape[3]
    }

    pub(crate) fn elements(&self) -> usize {
        self.rows() * self.channels()
    }

    /// Floats of the arena from the first element to the last.
    pub(crate) fn extent(&self) -> usize {
        let elements = striate_kernels::view::extent(self.rows(), self.channels(), self.ld);
        (elements * self.dtype.bytes()).div_ceil(size_of::<f32>())
    }

    pub(crate) fn overlaps(&self, other: &Place) -> bool {
        self.offset < other.offset + other.extent() && other.offset < self.offset + self.extent()
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
