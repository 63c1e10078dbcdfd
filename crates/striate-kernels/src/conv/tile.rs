//! The register tile: a few pixels × a few vectors of channels, accumulated over taps and source channels.
//!
//! `pixels` rows and `vectors` columns of accumulators stay in registers for the whole reduction; each step loads
//! `vectors` vectors of packed weights and broadcasts one word of source values per pixel: a float, or a pair of
//! bfloat16. Source rows come through pointers, one per pixel and tap, so that padding, strides, dilation and batch are
//! the caller's affair.

use super::Bounds;
use crate::element::{Bf16, Element, ElementType};
use crate::simd::{Isa, Kernel, Simd, dispatch, dispatch_dot};
use std::mem::MaybeUninit;

/// The most pixels of any tile; also keeps rows that lie 4 KiB apart from crowding one set of the L1 cache.
pub(crate) const MAX_PIXELS: usize = 12;
/// The most floats of any vector.
pub(crate) const MAX_LANES: usize = 16;
/// The most vectors of any tile.
pub(crate) const MAX_VECTORS: usize = 4;

/// The instance of a kernel, generic over some types, rows and vectors, for numbers known at run time.
macro_rules! instance {
    ($kernel:ident $types:tt, $rows:expr, $vectors:expr) => {
        match $vectors {
            1 => instance!(row $kernel $types, $rows, 1, 1 2 3 4 5 6 7 8 9 10 11 12),
            2 => instance!(row $kernel $types, $rows, 2, 1 2 3 4 5 6 7 8 9 10 11 12),
            3 => instance!(row $kernel $types, $rows, 3, 1 2 3 4 5 6 7 8 9 10 11 12),
            _ => instance!(row $kernel $types, $rows, 4, 1 2 3 4 5 6 7 8 9 10 11 12),
        }
    };
    (row $kernel:ident $types:tt, $rows:expr, $vectors:literal, $($n:literal)*) => {
        [$(instance!(one $kernel $types, $n, $vectors)),*][$rows - 1]
    };
    (one $kernel:ident [$($type:ident),*], $n:literal, $vectors:literal) => {
        $kernel::<$($type,)* $n, $vectors>
    };
}
pub(crate) use instance;

/// An element that tiles multiply, word by word.
pub(crate) trait Factor: Element {
    /// Values of a word.
    const PACK: usize;
    /// A word of ones.
    const ONES: f32;

    /// Runs a kernel that multiplies such words.
    fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output;
    /// The word at `src` in all lanes.
    ///
    /// # Safety
    /// `src` must be readable for a word.
    unsafe fn splat<S: Simd>(s: S, src: *const Self) -> S::F;
    /// The first value at `src` in all lanes, the others of the word zero.
    ///
    /// # Safety
    /// `src` must be readable for a value.
    unsafe fn splat_first<S: Simd>(s: S, src: *const Self) -> S::F;
    /// `len <= LANES` words whose first values are those of `first`, and the second, where words have one, those of
    /// `second`.
    ///
    /// # Safety
    /// What is taken must be readable for `len` values.
    unsafe fn weave<S: Simd>(s: S, first: *const Self, second: *const Self, len: usize) -> S::F;
    /// `sum` + Σ of the products of the words' values.
    fn mul_add<S: Simd>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F;
}

impl Factor for f32 {
    const PACK: usize = 1;
    const ONES: f32 = 1.0;

    #[inline(always)]
    fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
        dispatch(isa, kernel)
    }
    #[inline(always)]
    unsafe fn splat<S: Simd>(s: S, src: *const f32) -> S::F {
        // SAFETY: the caller's contract.
        s.splat(unsafe { *src })
    }
    #[inline(always)]
    unsafe fn splat_first<S: Simd>(s: S, src: *const f32) -> S::F {
        // SAFETY: the caller's contract.
        s.splat(unsafe { *src })
    }
    #[inline(always)]
    unsafe fn weave<S: Simd>(s: S, first: *const f32, _: *const f32, len: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_up_to(first, len) }
    }
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.mul_add(a, b, sum)
    }
}

impl Factor for Bf16 {
    const PACK: usize = 2;
    const ONES: f32 = f32::from_bits(0x3F80_3F80);

    #[inline(always)]
    fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
        dispatch_dot(isa, kernel)
    }
    #[inline(always)]
    unsafe fn splat<S: Simd>(s: S, src: *const Bf16) -> S::F {
        // SAFETY: the caller's contract.
        s.splat(unsafe { src.cast::<f32>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn splat_first<S: Simd>(s: S, src: *const Bf16) -> S::F {
        // SAFETY: the caller's contract.
        s.splat(bytemuck::cast([unsafe { *src }, Bf16::ZERO]))
    }
    #[inline(always)]
    unsafe fn weave<S: Simd>(s: S, first: *const Bf16, second: *const Bf16, len: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.pair_bf16(s.load_up_to(first, len), s.load_up_to(second, len)) }
    }
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.dot_bf16(sum, a, b)
    }
}

/// What an instruction set offers to tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// The instruction set, present on this processor.
    pub(crate) isa: Isa,
    /// Floats in a vector.
    pub(crate) lanes: usize,
    /// What tiles multiply.
    pub(super) factors: ElementType,
    registers: usize,
    /// Registers, and multiply-adds, that a word takes.
    pub(super) parts: usize,
}

impl Machine {
    /// That of the strongest instruction set present which does not exceed `cap`, to multiply floats.
    pub(crate) fn up_to(cap: Isa) -> Self {
        Self::multiplying(ElementType::F32, cap)
    }

    /// As [`up_to`](Self::up_to), to multiply such elements.
    pub(super) fn multiplying(factors: ElementType, cap: Isa) -> Self {
        struct Properties<T>(std::marker::PhantomData<T>);
        impl<T: Factor> Kernel for Properties<T> {
            type Output = Machine;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> Machine {
                const { assert!(S::LANES <= MAX_LANES) };
                let parts = parts::<S, T>();
                Machine { isa: S::ISA, lanes: S::LANES, factors: T::TYPE, registers: S::REGISTERS, parts }
            }
        }
        match factors {
            ElementType::F32 => f32::dispatch(cap, Properties::<f32>(std::marker::PhantomData)),
            ElementType::Bf16 => Bf16::dispatch(cap, Properties::<Bf16>(std::marker::PhantomData)),
        }
    }

    /// Values of a word that tiles multiply.
    pub(super) fn pack(self) -> usize {
        ElementType::F32.size() / self.factors.size()
    }

    /// Vectors of the widest tile: where broadcasts and loads keep pace with the multiply-adds.
    pub(crate) fn max_vectors(self) -> usize {
        if self.registers >= 32 { MAX_VECTORS } else { 2 }
    }

    /// Pixels of the tallest tile `vectors` wide.
    pub(crate) fn max_pixels(self, vectors: usize) -> usize {
        max_pixels(self.registers, self.parts, vectors)
    }
}

/// Registers, and multiply-adds, that a word takes: two where pairs are taken apart.
const fn parts<S: Simd, T: Factor>() -> usize {
    if T::PACK == 1 || S::HAS_DOT { 1 } else { T::PACK }
}

/// Accumulators, the vectors of weights and one broadcast must fit the registers.
const fn max_pixels(registers: usize, parts: usize, vectors: usize) -> usize {
    let fit = (registers - parts * (vectors + 1)) / vectors;
    if fit < MAX_PIXELS { fit } else { MAX_PIXELS }
}

/// Whether a tile fits the registers.
pub(crate) const fn fits<S: Simd, T: Factor>(pixels: usize, vectors: usize) -> bool {
    pixels <= max_pixels(S::REGISTERS, parts::<S, T>(), vectors)
}

/// What a tile accumulates: `taps` runs of `run` source values per pixel, and the panel of weights for them.
#[derive(Clone, Copy)]
pub(super) struct Reduction<T> {
    /// `rows[tap * next_tap + pixel]`, moved by `offsets[tap]` values: the values of that tap.
    pub(super) rows: *const *const T,
    /// From a tap's rows to the next one's: `pixels`, or 0 where all taps share them.
    pub(super) next_tap: usize,
    /// `offsets[tap]`: where a tap's values lie from its rows.
    pub(super) offsets: *const isize,
    /// `steps[tap]`: which step of the reduction the tap's run begins at.
    pub(super) steps: *const usize,
    /// How many taps.
    pub(super) taps: usize,
    /// Where behind that the run begins.
    pub(super) first: usize,
    /// Values of a run.
    pub(super) run: usize,
    /// The panel, `vectors` vectors of words a step.
    pub(super) weights: *const f32,
    /// `ahead[pixel]`: values that are read after this tile, to be fetched meanwhile as far as the run goes; null for
    /// none.
    pub(super) ahead: *const *const T,
}

impl<T> Reduction<T> {
    /// Where the values of a tap begin, for each pixel.
    ///
    /// # Safety
    /// There must be such a tap, and rows of as many pixels.
    #[inline(always)]
    pub(super) unsafe fn rows_of<const PIXELS: usize>(&self, tap: usize) -> [*const T; PIXELS] {
        let mut rows = [std::ptr::null::<T>(); PIXELS];
        // SAFETY: the caller's contract.
        unsafe {
            let by = *self.offsets.add(tap) + self.first as isize;
            for p in 0..PIXELS {
                rows[p] = (*self.rows.add(tap * self.next_tap + p)).wrapping_offset(by);
            }
        }
        rows
    }
}

/// Where a tile's sums begin and end.
#[derive(Clone, Copy)]
pub(super) struct Sink<D> {
    /// Indices of the tile's pixels in `dst` and `residual`.
    pub(super) pixels: *const usize,
    /// The panel's first channel of pixel 0.
    pub(super) dst: *mut D,
    /// Pixel distance of `dst`.
    pub(super) dst_ld: usize,
    /// Lanes of the last vector, at least 1.
    pub(super) tail: usize,
    /// What the sums begin with, whole vectors for each pixel of the tile; null for `bias`.
    pub(super) before: *const f32,
    /// The panel's bias; null for zeros.
    pub(super) bias: *const f32,
    /// Added at the end, laid out as `dst`; null for none.
    pub(super) residual: *const D,
    /// Pixel distance of `residual`.
    pub(super) residual_ld: usize,
    /// What the values are held within.
    pub(super) bounds: Bounds,
    /// Whether destination and residual are fetched while the sums are made.
    pub(super) fetch: bool,
}

/// Computes one tile with the given vectors.
///
/// # Safety
/// All rows, weights, `dst` pixels and, unless null, sums before, bias and residual pixels must be valid for the tile's
/// extent.
pub(super) type TileFn<S, T, D> = unsafe fn(S, &Reduction<T>, &Sink<D>);

/// The kernel for a tile of `pixels` × `vectors`, within the machine's limits.
pub(super) fn tile_fn<S: Simd, T: Factor, D: Element>(pixels: usize, vectors: usize) -> TileFn<S, T, D> {
    debug_assert!(pixels >= 1 && fits::<S, T>(pixels, vectors), "{pixels}x{vectors}");
    instance!(tile [S, T, D], pixels, vectors)
}

/// # Safety
/// As [`TileFn`].
unsafe fn tile<S: Simd, T: Factor, D: Element, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    r: &Reduction<T>,
    sink: &Sink<D>,
) {
    // Tiles that do not fit the registers have no caller; they are not worth their code.
    if const { fits::<S, T>(PIXELS, VECTORS) } {
        s.vectorize(
            #[inline(always)]
            // SAFETY: the caller's contract.
            || unsafe { accumulate::<S, T, D, PIXELS, VECTORS>(s, r, sink) },
        )
    }
}

/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn accumulate<S: Simd, T: Factor, D: Element, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    r: &Reduction<T>,
    sink: &Sink<D>,
) {
    // SAFETY: the rows hold `first + run` values and the panel `vectors` vectors for each step, by the caller's
    // contract.
    unsafe {
        let fetches = !r.ahead.is_null() || sink.fetch;
        let mut sums = begin::<S, D, PIXELS, VECTORS>(s, sink);
        for tap in 0..r.taps {
            let rows: [*const T; PIXELS] = r.rows_of(tap);
            let weights = r.weights.add(*r.steps.add(tap) * VECTORS * S::LANES);
            let steps = r.run / T::PACK;
            let step_of = |step: usize| weights.add(step * VECTORS * S::LANES);
            if fetches {
                for first in (0..steps).step_by(LINE) {
                    fetch::<S, T, D, PIXELS, VECTORS>(s, r, sink, tap * steps + first);
                    for step in first..steps.min(first + LINE) {
                        multiply::<S, T, PIXELS, VECTORS>(s, &rows, step, step_of(step), &mut sums);
                    }
                }
            } else {
                for step in 0..steps {
                    multiply::<S, T, PIXELS, VECTORS>(s, &rows, step, step_of(step), &mut sums);
                }
            }
            let weights = step_of(steps);
            // What lies beyond an odd run may be anything: it is not read.
            if T::PACK > 1 && !r.run.is_multiple_of(T::PACK) {
                let columns = load_row::<S, f32, VECTORS>(s, weights, S::LANES);
                for p in 0..PIXELS {
                    let value = T::splat_first(s, rows[p].add(r.run - 1));
                    for v in 0..VECTORS {
                        sums[p][v] = T::mul_add(s, value, columns[v], sums[p][v]);
                    }
                }
            }
        }
        finish(s, sink, sums);
    }
}

/// One step of the reduction: a word of each row times a row of weights.
///
/// # Safety
/// Both must be readable.
#[inline(always)]
unsafe fn multiply<S: Simd, T: Factor, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    rows: &[*const T; PIXELS],
    step: usize,
    weights: *const f32,
    sums: &mut [[S::F; VECTORS]; PIXELS],
) {
    // SAFETY: the caller's contract.
    unsafe {
        let columns = load_row::<S, f32, VECTORS>(s, weights, S::LANES);
        for p in 0..PIXELS {
            let value = T::splat(s, rows[p].add(step * T::PACK));
            for v in 0..VECTORS {
                sums[p][v] = T::mul_add(s, value, columns[v], sums[p][v]);
            }
        }
    }
}

/// Words of a cache line.
const LINE: usize = 16;
/// Pixels whose destination is fetched with a line of the source.
const FETCHED: usize = 2;

/// Fetches what is read or written after the line of the source at step `step` of the reduction: the caches then bring
/// it piece by piece while the sums are made. All at once it would hold up the loads of the sums themselves.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn fetch<S: Simd, T: Factor, D: Element, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    r: &Reduction<T>,
    sink: &Sink<D>,
    step: usize,
) {
    if !r.ahead.is_null() {
        for p in 0..PIXELS {
            // SAFETY: a pointer for each pixel, by the caller's contract.
            s.prefetch(unsafe { *r.ahead.add(p) }.wrapping_add(r.first + step * T::PACK).cast());
        }
    }
    if sink.fetch {
        for p in (step / LINE * FETCHED..PIXELS).take(FETCHED) {
            // SAFETY: the tile's pixels have indices, by the caller's contract.
            let pixel = unsafe { *sink.pixels.add(p) };
            for at in (0..VECTORS * S::LANES).step_by(LINE * size_of::<f32>() / size_of::<D>()) {
                s.prefetch_to_write(sink.dst.wrapping_add(pixel * sink.dst_ld + at).cast());
                if !sink.residual.is_null() {
                    s.prefetch(sink.residual.wrapping_add(pixel * sink.residual_ld + at).cast());
                }
            }
        }
    }
}

/// What the sums begin with.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(super) unsafe fn begin<S: Simd, D: Element, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    sink: &Sink<D>,
) -> [[S::F; VECTORS]; PIXELS] {
    // SAFETY: the bias holds `VECTORS - 1` vectors and `tail` lanes, the sums before whole vectors, by the caller's
    // contract.
    unsafe {
        let mut sums = [[s.zero(); VECTORS]; PIXELS];
        if !sink.before.is_null() {
            for p in 0..PIXELS {
                let before = sink.before.add(p * VECTORS * S::LANES);
                sums[p] = load_row::<S, f32, VECTORS>(s, before, S::LANES);
            }
        } else if !sink.bias.is_null() {
            sums = [load_row::<S, f32, VECTORS>(s, sink.bias, sink.tail); PIXELS];
        }
        sums
    }
}

/// Adds the residual, bounds from below, and writes.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, D: Element, const PIXELS: usize, const VECTORS: usize>(
    s: S,
    sink: &Sink<D>,
    mut sums: [[S::F; VECTORS]; PIXELS],
) {
    // Rounding is too much code to repeat for each vector: such sums are finished in a loop, and would be kept in
    // memory throughout if it took them from their registers.
    if const { !matches!(D::TYPE, ElementType::F32) } {
        let mut held = MaybeUninit::<[[S::F; VECTORS]; PIXELS]>::uninit();
        let held = held.as_mut_ptr().cast::<S::F>();
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                // SAFETY: element v of row p.
                unsafe { held.add(p * VECTORS + v).write(sums[p][v]) };
            }
        }
        for p in 0..PIXELS {
            for v in 0..VECTORS {
                let len = if v + 1 < VECTORS { S::LANES } else { sink.tail };
                // SAFETY: written above; the destination and the residual hold `len` elements there, by the caller's
                // contract.
                unsafe {
                    let pixel = *sink.pixels.add(p);
                    let mut value = *held.add(p * VECTORS + v);
                    if !sink.residual.is_null() {
                        let residual = sink.residual.add(pixel * sink.residual_ld + v * S::LANES);
                        value = s.add(value, s.load_up_to(residual, len));
                    }
                    let value = sink.bounds.hold(s, value);
                    s.store_up_to(sink.dst.add(pixel * sink.dst_ld + v * S::LANES), value, len);
                }
            }
        }
        return;
    }
    // SAFETY: the destination and the residual hold `VECTORS - 1` vectors and `tail` lanes, by the caller's contract.
    unsafe {
        if !sink.residual.is_null() {
            for p in 0..PIXELS {
                let residual = sink.residual.add(*sink.pixels.add(p) * sink.residual_ld);
                let residual = load_row::<S, D, VECTORS>(s, residual, sink.tail);
                for v in 0..VECTORS {
                    sums[p][v] = s.add(sums[p][v], residual[v]);
                }
            }
        }
        // Few are capped: the others do not wait for it. The sum comes second: where it is NaN it stays.
        if let Some(cap) = sink.bounds.cap() {
            for p in 0..PIXELS {
                for v in 0..VECTORS {
                    sums[p][v] = s.min(s.splat(cap), sums[p][v]);
                }
            }
        }
        let floor = s.splat(sink.bounds.floor);
        for p in 0..PIXELS {
            let dst = sink.dst.add(*sink.pixels.add(p) * sink.dst_ld);
            for v in 0..VECTORS {
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
pub(super) unsafe fn load_row<S: Simd, E: Element, const VECTORS: usize>(
    s: S,
    src: *const E,
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
