//! The register tile: a few pixels × a few vectors of channels, accumulated over taps and source channels.
//!
//! `pixels` rows and `vectors` columns of accumulators stay in registers for the whole reduction; each step loads
//! `vectors` vectors of packed weights and broadcasts one source value per pixel. Source rows come through
//! pointers, one per pixel and tap, so that padding, strides, dilation and batch are the caller's affair.

use crate::simd::{Isa, Kernel, Simd, dispatch};

/// The most pixels of any tile; also keeps rows that lie 4 KiB apart from crowding one set of the L1 cache.
pub(crate) const MAX_PIXELS: usize = 12;
/// The most floats of any vector.
pub(crate) const MAX_LANES: usize = 16;
/// The most vectors of any tile.
pub(crate) const MAX_VECTORS: usize = 4;

/// The instance of a kernel generic over the instruction set, rows and vectors for numbers known at run time.
macro_rules! instance {
    ($kernel:ident::<$s:ident>, $rows:expr, $vectors:expr) => {
        match $vectors {
            1 => instance!(row $kernel::<$s>, $rows, 1, 1 2 3 4 5 6 7 8 9 10 11 12),
            2 => instance!(row $kernel::<$s>, $rows, 2, 1 2 3 4 5 6 7 8 9 10 11 12),
            3 => instance!(row $kernel::<$s>, $rows, 3, 1 2 3 4 5 6 7 8 9 10 11 12),
            _ => instance!(row $kernel::<$s>, $rows, 4, 1 2 3 4 5 6 7 8 9 10 11 12),
        }
    };
    (row $kernel:ident::<$s:ident>, $rows:expr, $vectors:literal, $($n:literal)*) => {
        [$($kernel::<$s, $n, $vectors>),*][$rows - 1]
    };
}
pub(crate) use instance;

/// What an instruction set offers to tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// The instruction set, present on this processor.
    pub(crate) isa: Isa,
    /// Floats in a vector.
    pub(crate) lanes: usize,
    registers: usize,
}

impl Machine {
    /// That of the strongest instruction set present which does not exceed `cap`.
    pub(crate) fn up_to(cap: Isa) -> Self {
        struct Properties;
        impl Kernel for Properties {
            type Output = Machine;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> Machine {
                const { assert!(S::LANES <= MAX_LANES) };
                Machine { isa: S::ISA, lanes: S::LANES, registers: S::REGISTERS }
            }
        }
        dispatch(cap, Properties)
    }

    /// Vectors of the widest tile: where broadcasts and loads keep pace with the multiply-adds.
    pub(crate) fn max_vectors(self) -> usize {
        if self.registers >= 32 { MAX_VECTORS } else { 2 }
    }

    /// Pixels of the tallest tile `vectors` wide.
    pub(crate) fn max_pixels(self, vectors: usize) -> usize {
        max_pixels(self.registers, vectors)
    }
}

/// Accumulators, the vectors of weights and one broadcast must fit the registers.
pub(crate) const fn max_pixels(registers: usize, vectors: usize) -> usize {
    let fit = (registers - vectors - 1) / vectors;
    if fit < MAX_PIXELS { fit } else { MAX_PIXELS }
}

/// What a tile accumulates: `taps` runs of `run` source values per pixel, and the panel of weights for them.
#[derive(Clone, Copy)]
pub(super) struct Reduction {
    /// `rows[tap * pixels + pixel]`: the values of that tap.
    pub(super) rows: *const *const f32,
    /// `steps[tap]`: which step of the reduction the tap's run begins at.
    pub(super) steps: *const usize,
    /// How many taps.
    pub(super) taps: usize,
    /// Where in each row the run begins.
    pub(super) first: usize,
    /// Values of a run.
    pub(super) run: usize,
    /// The panel, `vectors` vectors a step.
    pub(super) weights: *const f32,
}

/// Where a tile's sums begin and end.
#[derive(Clone, Copy)]
pub(super) struct Sink {
    /// Indices of the tile's pixels in `dst` and `residual`.
    pub(super) pixels: *const usize,
    /// The panel's first channel of pixel 0.
    pub(super) dst: *mut f32,
    /// Pixel distance of `dst`.
    pub(super) dst_ld: usize,
    /// Lanes of the last vector, at least 1.
    pub(super) tail: usize,
    /// Sums begin with what `dst` holds; else with `bias`.
    pub(super) resume: bool,
    /// The panel's bias; null for zeros.
    pub(super) bias: *const f32,
    /// Added at the end, laid out as `dst`; null for none.
    pub(super) residual: *const f32,
    /// Pixel distance of `residual`.
    pub(super) residual_ld: usize,
    /// The least value to leave: 0 rectifies, −∞ leaves all.
    pub(super) floor: f32,
}

/// Computes one tile with the given vectors.
///
/// # Safety
/// All rows, weights, `dst` pixels and, unless null, bias and residual pixels must be valid for the tile's extent.
pub(super) type TileFn<S> = unsafe fn(S, &Reduction, &Sink);

/// The kernel for a tile of `pixels` × `vectors`, within the machine's limits.
pub(super) fn tile_fn<S: Simd>(pixels: usize, vectors: usize) -> TileFn<S> {
    debug_assert!((1..=max_pixels(S::REGISTERS, vectors)).contains(&pixels), "{pixels}x{vectors}");
    instance!(tile::<S>, pixels, vectors)
}

/// # Safety
/// As [`TileFn`].
unsafe fn tile<S: Simd, const PIXELS: usize, const VECTORS: usize>(s: S, r: &Reduction, sink: &Sink) {
    // Tiles that do not fit the registers have no caller; they are not worth their code.
    if const { PIXELS <= max_pixels(S::REGISTERS, VECTORS) } {
        s.vectorize(
            #[inline(always)]
            // SAFETY: the caller's contract.
            || unsafe { accumulate::<S, PIXELS, VECTORS>(s, r, sink) },
        )
    }
}

/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn accumulate<S: Simd, const PIXELS: usize, const VECTORS: usize>(s: S, r: &Reduction, sink: &Sink) {
    // SAFETY: the rows hold `first + run` values and the panel `vectors` vectors for each step, by the caller's
    // contract.
    unsafe {
        let mut sums = begin::<S, PIXELS, VECTORS>(s, sink);
        for tap in 0..r.taps {
            let mut rows = [std::ptr::null::<f32>(); PIXELS];
            for p in 0..PIXELS {
                rows[p] = (*r.rows.add(tap * PIXELS + p)).add(r.first);
            }
            let mut weights = r.weights.add(*r.steps.add(tap) * VECTORS * S::LANES);
            for step in 0..r.run {
                let mut columns = [s.zero(); VECTORS];
                for v in 0..VECTORS {
                    columns[v] = s.load(weights.add(v * S::LANES));
                }
                for p in 0..PIXELS {
                    let value = s.splat(*rows[p].add(step));
                    for v in 0..VECTORS {
                        sums[p][v] = s.mul_add(value, columns[v], sums[p][v]);
                    }
                }
                weights = weights.add(VECTORS * S::LANES);
            }
        }
        finish(s, sink, sums);
    }
}

/// What the sums begin with.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(super) unsafe fn begin<S: Simd, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    sink: &Sink,
) -> [[S::F; VECTORS]; PIXELS] {
    // SAFETY: the destination and the bias hold `VECTORS - 1` vectors and `tail` lanes, by the caller's contract.
    unsafe {
        let mut sums = [[s.zero(); VECTORS]; PIXELS];
        if sink.resume {
            for p in 0..PIXELS {
                let dst = sink.dst.add(*sink.pixels.add(p) * sink.dst_ld);
                sums[p] = load_row::<S, VECTORS>(s, dst, sink.tail);
            }
        } else if !sink.bias.is_null() {
            sums = [load_row::<S, VECTORS>(s, sink.bias, sink.tail); PIXELS];
        }
        sums
    }
}

/// Adds the residual, bounds from below, and writes.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    sink: &Sink,
    mut sums: [[S::F; VECTORS]; PIXELS],
) {
    // SAFETY: the destination and the residual hold `VECTORS - 1` vectors and `tail` lanes, by the caller's contract.
    unsafe {
        if !sink.residual.is_null() {
            for p in 0..PIXELS {
                let residual = sink.residual.add(*sink.pixels.add(p) * sink.residual_ld);
                let residual = load_row::<S, VECTORS>(s, residual, sink.tail);
                for v in 0..VECTORS {
                    sums[p][v] = s.add(sums[p][v], residual[v]);
                }
            }
        }
        let floor = s.splat(sink.floor);
        for p in 0..PIXELS {
            let dst = sink.dst.add(*sink.pixels.add(p) * sink.dst_ld);
            for v in 0..VECTORS {
                // The sum comes second: where it is NaN it stays.
                let value = s.max(floor, sums[p][v]);
                if v + 1 < VECTORS || sink.tail == S::LANES {
                    s.store(dst.add(v * S::LANES), value);
                } else {
                    s.store_partial(dst.add(v * S::LANES), value, sink.tail);
                }
            }
        }
    }
}

/// `VECTORS - 1` vectors and `tail` lanes of another.
///
/// # Safety
/// `src` must be readable that far.
#[inline(always)]
pub(super) unsafe fn load_row<S: Simd, const VECTORS: usize>(
    s: S,
    src: *const f32,
    tail: usize,
) -> [S::F; VECTORS] {
    let mut row = [s.zero(); VECTORS];
    for v in 0..VECTORS {
        // SAFETY: the caller's contract.
        row[v] = unsafe {
            let src = src.add(v * S::LANES);
            if v + 1 < VECTORS || tail == S::LANES { s.load(src) } else { s.load_partial(src, tail) }
        };
    }
    row
}
