//! Depthwise convolution: each channel by itself, a vector of channels at a time. Bfloat16 is widened: there are no pairs
//! to sum.

use super::outer::Products;
use super::tile::{Factor, Reduction, Sink, TileFn, begin, finish, instance, load_row};
use crate::element::Element;
use crate::simd::Simd;

/// Pixels of a full tile.
pub(super) const PIXELS: usize = 6;
/// Vectors of channels of a full tile.
pub(super) const VECTORS: usize = 2;

/// The kernel for a tile of `pixels` × `vectors` whose rows hold one value for each lane, runs of one step.
pub(super) fn tile_fn<S: Simd, T: Factor, D: Element>(pixels: usize, vectors: usize) -> TileFn<S, T, D> {
    instance!(tile [S, T, D], pixels, vectors)
}

/// # Safety
/// As [`TileFn`].
unsafe fn tile<S: Simd, T: Factor, D: Element, const P: usize, const V: usize>(
    s: S,
    r: &Reduction<T>,
    sink: &Sink<D>,
) {
    // Larger tiles have no caller; they are not worth their code.
    if const { P > PIXELS || V > VECTORS } {
        return;
    }
    s.vectorize(
        #[inline(always)]
        // SAFETY: the rows hold `V - 1` vectors and `tail` lanes from `first`, the panel `V` vectors for each
        // tap, by the caller's contract.
        || unsafe {
            let mut sums = begin::<S, D, P, V>(s, sink);
            for tap in 0..r.taps {
                let weights = r.weights.add(*r.steps.add(tap) * V * S::LANES);
                let weights = load_row::<S, f32, V>(s, weights, S::LANES);
                let rows: [*const T; P] = r.rows_of(tap);
                for p in 0..P {
                    let values = load_row::<S, T, V>(s, rows[p], sink.tail);
                    for v in 0..V {
                        sums[p][v] = s.mul_add(values[v], weights[v], sums[p][v]);
                    }
                }
            }
            finish(s, sink, sums);
        },
    )
}

/// The kernel of the weights' gradient for `vectors` of channels under one tap.
pub(super) fn gradient_fn<S: Simd, T: Factor>(vectors: usize) -> super::outer::TileFn<S, T> {
    match vectors {
        1 => gradient::<S, T, 1>,
        _ => gradient::<S, T, VECTORS>,
    }
}

/// # Safety
/// As [`TileFn`](super::outer::TileFn), of values instead of words, the source pointers valid for the destination's
/// channels.
unsafe fn gradient<S: Simd, T: Factor, const V: usize>(s: S, products: &Products<T>) {
    /// Sums kept apart, so that each multiply-add need not wait for the one before.
    const APART: usize = 4;
    s.vectorize(
        #[inline(always)]
        // SAFETY: the caller's contract.
        || unsafe {
            let mut sums = [[s.zero(); V]; APART];
            if products.resume {
                sums[0] = load_row::<S, f32, V>(s, products.sums, S::LANES);
            }
            let mut add = |apart: usize, index: usize| {
                let [src, dst] = *products.pairs.add(index);
                let src = load_row::<S, T, V>(s, src.wrapping_offset(products.src), products.tail);
                let dst = load_row::<S, T, V>(s, dst.add(products.dst), products.tail);
                for v in 0..V {
                    sums[apart][v] = s.mul_add(src[v], dst[v], sums[apart][v]);
                }
            };
            let whole = products.len / APART * APART;
            for first in (0..whole).step_by(APART) {
                for apart in 0..APART {
                    add(apart, first + apart);
                }
            }
            for index in whole..products.len {
                add(0, index);
            }
            for v in 0..V {
                let sum = s.add(s.add(sums[0][v], sums[1][v]), s.add(sums[2][v], sums[3][v]));
                s.store(products.sums.add(v * S::LANES), sum);
            }
        },
    )
}
