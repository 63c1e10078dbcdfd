//! Fully connected layers whose weights change from run to run, as in training: forward and both gradients, on
//! weights as they lie, (oc, ic).
//!
//! Each pass reads the weights once, in long runs, and keeps nothing of their size, so that small batches wait for
//! memory alone and large ones for arithmetic. [`Forward`] takes dot products of rows, [`BackwardData`] adds up rows,
//! [`BackwardWeights`] sums outer products and hands each piece of the gradient to where it belongs while it is in
//! cache: to memory, or straight into the optimiser's step. Weights that stay as they are, are better packed once:
//! [`conv::Forward`](crate::conv::Forward) with a 1×1 kernel.
//!
//! Work is cut by the layer's sizes alone; results are the same bits for any number of workers.

mod backward_data;
mod backward_weights;
mod dot;
mod forward;

pub use backward_data::BackwardData;
pub use backward_weights::BackwardWeights;
pub use forward::Forward;

use crate::conv::tile::Machine;
use crate::conv::{Conv2dGeometry, GeometryError};
use std::ops::Range;

/// Floats that stay in the L2 cache beside the weights that stream through it.
const CACHED: usize = 64 * 1024;
/// Floats of a cache line.
const LINE: usize = 16;

/// A fully connected layer's sizes: dst (n, oc) = src (n, ic) · weightsᵀ (ic, oc).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Images.
    pub n: usize,
    /// Features of an image's source.
    pub ic: usize,
    /// Features of an image's destination.
    pub oc: usize,
    /// From one image's source to the next, in elements.
    pub src_ld: usize,
    /// From one image's destination to the next, in elements.
    pub dst_ld: usize,
}

impl Layer {
    /// The layer as a convolution of 1×1 pixels.
    pub fn geometry(&self) -> Conv2dGeometry {
        let Self { n, ic, oc, .. } = *self;
        let (groups, [ih, iw], [kh, kw], [sh, sw], [dh, dw]) = (1, [1; 2], [1; 2], [1; 2], [1; 2]);
        let [pt, pb, pl, pr] = [0; 4];
        Conv2dGeometry { n, groups, ic, ih, iw, oc, kh, kw, sh, sw, dh, dw, pt, pb, pl, pr }
    }

    /// Whether the numbers make a layer, of a size that can be computed with.
    ///
    /// # Errors
    /// As its [`geometry`](Self::geometry).
    pub fn validate(&self) -> Result<(), GeometryError> {
        self.geometry().validate_views(self.src_ld, self.dst_ld)
    }
}

/// Part `index` when `total` is cut into `parts` as equal as can be.
fn cut(total: usize, parts: usize, index: usize) -> Range<usize> {
    index * total / parts..(index + 1) * total / parts
}

/// Rows and at most `most` vectors of the register tile that has the most products for each load, for `rows` rows cut
/// into tiles.
fn tile(machine: Machine, rows: usize, most: usize) -> [usize; 2] {
    let shape = |vectors| [rows.div_ceil(rows.div_ceil(machine.max_pixels(vectors))), vectors];
    let products_per_load = |[rows, vectors]: [usize; 2]| (rows * vectors) as f64 / (rows + vectors) as f64;
    (1..=machine.max_vectors().min(most))
        .map(shape)
        .max_by(|a, b| products_per_load(*a).total_cmp(&products_per_load(*b)))
        .expect("there is a tile of one vector")
}
