//! The register tile of the weights' gradient: a few source channels × a few vectors of destination channels,
//! summed over pixels, or over pairs of pixels whose bfloat16 are woven into words.

use super::tile::{Factor, fits, instance, load_row};
use crate::simd::Simd;

/// A pixel's source under one tap, and its destination.
pub(crate) type Pair<T = f32> = [*const T; 2];

/// Pixels whose outer products (source channels × destination channels) a tile sums.
#[derive(Clone, Copy)]
pub(crate) struct Products<T = f32> {
    pub(crate) pairs: *const Pair<T>,
    pub(crate) len: usize,
    /// Added to the source pointers, in words.
    pub(crate) src: isize,
    /// Added to the destination pointers, in words.
    pub(crate) dst: usize,
    /// Destination channels in the last vector, at least 1.
    pub(crate) tail: usize,
    /// The sums, whole vectors, one row for each source channel.
    pub(crate) sums: *mut f32,
    /// Whether what the sums hold is added in the end, so that long sums are sums of shorter ones.
    pub(crate) resume: bool,
}

/// Computes one tile with the given vectors.
///
/// # Safety
/// All pairs must be valid for the tile's rows and destination channels, the sums for its rows × vectors.
pub(crate) type TileFn<S, T> = unsafe fn(S, &Products<T>);

/// The kernel for `rows` source channels × `vectors` of destination channels.
pub(crate) fn tile_fn<S: Simd, T: Factor>(rows: usize, vectors: usize) -> TileFn<S, T> {
    instance!(tile[S, T], rows, vectors)
}

/// # Safety
/// As [`TileFn`].
unsafe fn tile<S: Simd, T: Factor, const ROWS: usize, const VECTORS: usize>(s: S, products: &Products<T>) {
    // Tiles that do not fit the registers have no caller; they are not worth their code.
    if const { !fits::<S, T>(ROWS, VECTORS) } {
        return;
    }
    s.vectorize(
        #[inline(always)]
        // SAFETY: the caller's contract.
        || unsafe {
            let mut sums = [[s.zero(); VECTORS]; ROWS];
            for index in 0..products.len {
                let [src, dst] = *products.pairs.add(index);
                let (src, dst) = (src.cast::<f32>().wrapping_offset(products.src), dst.cast::<f32>());
                let columns = load_row::<S, f32, VECTORS>(s, dst.add(products.dst), products.tail);
                for r in 0..ROWS {
                    let value = s.splat(*src.add(r));
                    for v in 0..VECTORS {
                        sums[r][v] = T::mul_add(s, value, columns[v], sums[r][v]);
                    }
                }
            }
            if products.resume {
                for r in 0..ROWS {
                    let row = products.sums.add(r * VECTORS * S::LANES);
                    let before = load_row::<S, f32, VECTORS>(s, row, S::LANES);
                    for v in 0..VECTORS {
                        sums[r][v] = s.add(before[v], sums[r][v]);
                    }
                }
            }
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    s.store(products.sums.add((r * VECTORS + v) * S::LANES), sums[r][v]);
                }
            }
        },
    )
}
