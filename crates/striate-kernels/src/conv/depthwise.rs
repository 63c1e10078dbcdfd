//! Depthwise convolution: each channel by itself, a vector of channels at a time.

use super::tile::{Reduction, Sink, TileFn, begin, finish, load_row};
use crate::simd::Simd;

/// Pixels of a full tile.
pub(super) const PIXELS: usize = 6;
/// Vectors of channels of a full tile.
pub(super) const VECTORS: usize = 2;

/// The kernel for a tile of `pixels` × `vectors` whose rows hold one value for each lane, runs of one step.
pub(super) fn tile_fn<S: Simd>(pixels: usize, vectors: usize) -> TileFn<S> {
    macro_rules! column {
        ($vectors:literal: $($pixels:literal)*) => {{
            const { assert!([$($pixels),*].len() == PIXELS) };
            [$(tile::<S, $pixels, $vectors>),*][pixels - 1]
        }};
    }
    match vectors {
        1 => column!(1: 1 2 3 4 5 6),
        _ => column!(2: 1 2 3 4 5 6),
    }
}

/// # Safety
/// As [`TileFn`].
unsafe fn tile<S: Simd, const P: usize, const V: usize>(s: S, r: &Reduction, sink: &Sink) {
    s.vectorize(
        #[inline(always)]
        // SAFETY: the rows hold `V - 1` vectors and `tail` lanes from `first`, the panel `V` vectors for each
        // tap, by the caller's contract.
        || unsafe {
            let mut sums = begin::<S, P, V>(s, sink);
            for tap in 0..r.taps {
                let weights = r.weights.add(*r.steps.add(tap) * V * S::LANES);
                let weights = load_row::<S, V>(s, weights, S::LANES);
                for p in 0..P {
                    let row = (*r.rows.add(tap * P + p)).add(r.first);
                    let values = load_row::<S, V>(s, row, sink.tail);
                    for v in 0..V {
                        sums[p][v] = s.mul_add(values[v], weights[v], sums[p][v]);
                    }
                }
            }
            finish(s, sink, sums);
        },
    )
}
