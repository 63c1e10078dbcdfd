//! The register tile of dot products: a few rows of the source × a few rows of the weights, both read along their
//! features.

use crate::conv::tile::{fits, instance};
use crate::simd::Simd;

/// Rows whose dot products a tile takes.
#[derive(Clone, Copy)]
pub(super) struct Dots {
    /// The first row of the source, and from one to the next.
    pub(super) src: *const f32,
    pub(super) src_ld: usize,
    /// The first row of the weights, and from one to the next.
    pub(super) weights: *const f32,
    pub(super) weights_ld: usize,
    /// Features of each row.
    pub(super) len: usize,
    /// The dot products, one for each row of the weights, and from one row of the source to the next.
    pub(super) sums: *mut f32,
    pub(super) sums_ld: usize,
    /// Whether they are added to what is there.
    pub(super) resume: bool,
    /// How many elements on in the weights' rows is fetched ahead.
    pub(super) ahead: usize,
}

/// Computes one tile with the given vectors.
///
/// # Safety
/// All rows must be readable for `len` floats, the sums writable for the tile.
pub(super) type TileFn<S> = unsafe fn(S, &Dots);

/// The kernel for `images` rows of the source × `rows` of the weights.
pub(super) fn tile_fn<S: Simd>(images: usize, rows: usize) -> TileFn<S> {
    debug_assert!(images >= 1 && fits::<S, f32>(images, rows), "{images}x{rows}");
    instance!(tile[S], images, rows)
}

/// # Safety
/// As [`TileFn`].
unsafe fn tile<S: Simd, const IMAGES: usize, const ROWS: usize>(s: S, dots: &Dots) {
    // Tiles that do not fit the registers have no caller; they are not worth their code.
    if const { !fits::<S, f32>(IMAGES, ROWS) } {
        return;
    }
    s.vectorize(
        #[inline(always)]
        // SAFETY: the caller's contract.
        || unsafe {
            let mut sums = [[s.zero(); ROWS]; IMAGES];
            let whole = dots.len / S::LANES * S::LANES;
            let mut at = 0;
            while at < whole {
                add::<S, IMAGES, ROWS>(s, dots, at, S::LANES, &mut sums);
                at += S::LANES;
            }
            if at < dots.len {
                add::<S, IMAGES, ROWS>(s, dots, at, dots.len - at, &mut sums);
            }
            for i in 0..IMAGES {
                for r in 0..ROWS {
                    let sum = dots.sums.add(i * dots.sums_ld + r);
                    let before = if dots.resume { *sum } else { 0.0 };
                    *sum = before + s.sum(sums[i][r]);
                }
            }
        },
    )
}

/// Adds the products of `len` features from `at`, a vector at most.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn add<S: Simd, const IMAGES: usize, const ROWS: usize>(
    s: S,
    dots: &Dots,
    at: usize,
    len: usize,
    sums: &mut [[S::F; ROWS]; IMAGES],
) {
    // SAFETY: `at + len` floats of every row, by the caller's contract.
    unsafe {
        let mut weights = [s.zero(); ROWS];
        for r in 0..ROWS {
            let row = dots.weights.add(r * dots.weights_ld + at);
            weights[r] = s.load_up_to(row, len);
            s.prefetch(row.wrapping_add(dots.ahead));
        }
        for i in 0..IMAGES {
            let src = s.load_up_to(dots.src.add(i * dots.src_ld + at), len);
            for r in 0..ROWS {
                sums[i][r] = s.mul_add(src, weights[r], sums[i][r]);
            }
        }
    }
}
