//! Functions with a parameter per channel, and sums per channel over pixels.

use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{assert_fits, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut};
use std::ops::Range;

/// Calls `body(at, lanes)` for each vector of `len` elements; only the last may have fewer than all lanes.
#[inline(always)]
pub(crate) fn for_each_vector<S: Simd>(_: S, len: usize, mut body: impl FnMut(usize, usize)) {
    let mut at = 0;
    while at + S::LANES <= len {
        body(at, S::LANES);
        at += S::LANES;
    }
    if at < len {
        body(at, len - at);
    }
}

/// Where an operand's elements are.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a, E> {
    /// In a map of their own.
    Of(Pixels<'a, E>),
    /// In a destination, before it is written.
    Dst(usize),
}

/// `N` maps to read and `D` to write, of the same rows and channels; several tasks write, each rows of its own.
pub(crate) struct Maps<'a, E, const N: usize, const D: usize> {
    operands: [Source<'a, E>; N],
    dsts: [(SharedMut<'a, E>, usize); D],
    rows: usize,
    channels: usize,
}

impl<'a, E: Element, const N: usize, const D: usize> Maps<'a, E, N, D> {
    /// Asserts that all hold `rows` × `channels` elements.
    pub(crate) fn new(
        operands: [Source<'a, E>; N],
        dsts: [PixelsMut<'a, E>; D],
        [rows, channels]: [usize; 2],
    ) -> Self {
        for operand in &operands {
            match operand {
                Source::Of(src) => assert_fits("src", src.data, rows, channels, src.ld),
                Source::Dst(index) => assert!(*index < D, "destination {index} of {D}"),
            }
        }
        let dsts = dsts.map(|dst| {
            assert_fits("dst", dst.data, rows, channels, dst.ld);
            (SharedMut::new(dst.data), dst.ld)
        });
        Self { operands, dsts, rows, channels }
    }

    /// The pointers, for a task's own use: as values, which no store through them can change.
    #[inline(always)]
    fn pointers(&self) -> Pointers<E, N, D> {
        // SAFETY: index 0 is no further than the end.
        let dsts = self.dsts.map(|(dst, ld)| (unsafe { dst.ptr_at(0) }, ld));
        let operands = self.operands.map(|operand| match operand {
            Source::Of(src) => (src.data.as_ptr(), src.ld),
            Source::Dst(index) => (dsts[index].0.cast_const(), dsts[index].1),
        });
        Pointers { operands, dsts }
    }
}

/// The first elements of [`Maps`], and the distances of their rows.
#[derive(Clone, Copy)]
struct Pointers<E, const N: usize, const D: usize> {
    operands: [(*const E, usize); N],
    dsts: [(*mut E, usize); D],
}

impl<E: Element, const N: usize, const D: usize> Pointers<E, N, D> {
    /// `lanes` elements of each operand.
    ///
    /// # Safety
    /// Row and channels exist; no other task writes the row.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, row: usize, at: usize, lanes: usize) -> [S::F; N] {
        // Plain loops: closures that hold vectors may be compiled without the instruction set.
        let mut elements = [s.zero(); N];
        for n in 0..N {
            let (src, ld) = self.operands[n];
            // SAFETY: `Maps::new` checked that the maps hold all rows and channels.
            elements[n] = unsafe { s.load_up_to(src.add(row * ld + at), lanes) };
        }
        elements
    }

    /// Writes `lanes` elements of each destination.
    ///
    /// # Safety
    /// As [`Pointers::load`].
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, values: [S::F; D], row: usize, at: usize, lanes: usize) {
        for d in 0..D {
            let (dst, ld) = self.dsts[d];
            // SAFETY: as in `load`.
            unsafe { s.store_up_to(dst.add(row * ld + at), values[d], lanes) };
        }
    }
}

/// `D` results from an element of each of `N` operands and `P` parameters of its channel.
pub(crate) trait ChannelMap<const D: usize, const N: usize, const P: usize>: Sync {
    /// The function, for a vector of channels. Implementations are `#[inline(always)]`.
    fn map<S: Simd>(&self, s: S, operands: [S::F; N], params: [S::F; P]) -> [S::F; D];
}

/// The destinations of `maps` = `f` of the operands.
pub(crate) fn map<E: Element, const D: usize, const N: usize, const P: usize>(
    cx: &Context,
    f: &impl ChannelMap<D, N, P>,
    maps: Maps<E, N, D>,
    params: [&[f32]; P],
) {
    params.iter().for_each(|param| assert_eq!(param.len(), maps.channels, "parameters, one a channel"));
    for_each_piece(cx.exec, maps.rows, rows_per_task(maps.channels), |start, len, _| {
        dispatch(cx.isa, MapRows { f, rows: start..start + len, maps: &maps, params });
    });
}

struct MapRows<'a, M, E, const D: usize, const N: usize, const P: usize> {
    f: &'a M,
    rows: Range<usize>,
    maps: &'a Maps<'a, E, N, D>,
    params: [&'a [f32]; P],
}

impl<E: Element, M: ChannelMap<D, N, P>, const D: usize, const N: usize, const P: usize> Kernel
    for MapRows<'_, M, E, D, N, P>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (maps, channels) = (self.maps.pointers(), self.maps.channels);
        for row in self.rows.clone() {
            for_each_vector(
                s,
                channels,
                #[inline(always)]
                |at, lanes| {
                    let mut params = [s.zero(); P];
                    for p in 0..P {
                        // SAFETY: `map` checked that there is one for each channel.
                        params[p] = unsafe { s.load_up_to(self.params[p].as_ptr().add(at), lanes) };
                    }
                    // SAFETY: within the rows and channels; rows are this task's own.
                    unsafe {
                        let operands = maps.load(s, row, at, lanes);
                        maps.store(s, self.f.map(s, operands, params), row, at, lanes);
                    }
                },
            );
        }
    }
}

/// `K` sums per channel, of terms made from an element of each of `N` operands and `P` parameters; on the way `D`
/// results for each element.
pub(crate) trait ChannelSum<const K: usize, const N: usize, const P: usize, const D: usize>:
    Sync
{
    /// The sums with the terms of one more pixel, and its results. Implementations are `#[inline(always)]`.
    fn add<S: Simd>(
        &self,
        s: S,
        sums: [S::F; K],
        operands: [S::F; N],
        params: [S::F; P],
    ) -> ([S::F; K], [S::F; D]);
}

/// The plain sum.
pub(crate) struct Sum;

impl ChannelSum<1, 1, 0, 0> for Sum {
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, [sum]: [S::F; 1], [x]: [S::F; 1], []: [S::F; 0]) -> ([S::F; 1], [S::F; 0]) {
        ([s.add(sum, x)], [])
    }
}

/// Rows added in registers before they join a longer sum, which keeps the rounding error of long sums small.
const SEGMENT: usize = 64;
/// The same where rows are longer than the registers hold sums for: no more rows than a processor follows as streams.
const STREAMS: usize = 8;

/// Rows whose per-channel sums make a task and one partial result: enough that the partial results are few
/// beside the rows, and few enough that a float sums them well.
pub(crate) fn rows_per_sum(channels: usize) -> usize {
    (8 * rows_per_task(channels)).clamp(SEGMENT, 64 * SEGMENT)
}

/// Channels whose partial sums one task combines.
pub(crate) const COMBINE: usize = 64;

/// Sums the columns of `partials`, rows of `width`; gives `emit` the totals of the columns from `start` on.
pub(crate) fn combine(cx: &Context, partials: &[f32], width: usize, emit: impl Fn(usize, &[f64]) + Sync) {
    for_each_piece(cx.exec, width, COMBINE, |start, len, _| {
        let mut totals = [0.0; COMBINE];
        for row in partials.chunks_exact(width) {
            for (total, partial) in totals.iter_mut().zip(&row[start..start + len]) {
                *total += *partial as f64;
            }
        }
        emit(start, &totals[..len]);
    });
}

/// Adds the sums of `rows` to `sums`, each one float a channel, and writes these rows of the destinations, which are
/// the task's own. Runs in one task.
pub(crate) struct AddSums<'a, F, E, const K: usize, const N: usize, const P: usize, const D: usize> {
    pub(crate) f: &'a F,
    pub(crate) rows: Range<usize>,
    pub(crate) maps: &'a Maps<'a, E, N, D>,
    pub(crate) params: [&'a [f32]; P],
    pub(crate) sums: [&'a mut [f32]; K],
}

impl<E: Element, F, const K: usize, const N: usize, const P: usize, const D: usize> Kernel
    for AddSums<'_, F, E, K, N, P, D>
where
    F: ChannelSum<K, N, P, D>,
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.maps.channels;
        assert!(self.sums.iter().all(|sum| sum.len() == channels), "sums, one a channel");
        assert!(self.params.iter().all(|param| param.len() == channels), "parameters, one a channel");
        assert!(self.rows.end <= self.maps.rows, "{:?} of {} rows", self.rows, self.maps.rows);
        let segment = if channels <= 4 * S::LANES { SEGMENT } else { STREAMS };
        let mut start = self.rows.start;
        while start < self.rows.end {
            let rows = start..self.rows.end.min(start + segment);
            start = rows.end;
            let mut at = 0;
            // Independent sums in flight hide the latency of additions; they must all fit the registers.
            if S::REGISTERS >= 32 {
                while at + 4 * S::LANES <= channels {
                    self.panel::<S, 4, 1>(s, rows.clone(), at, S::LANES);
                    at += 4 * S::LANES;
                }
            }
            while at + S::LANES <= channels {
                self.panel::<S, 1, 4>(s, rows.clone(), at, S::LANES);
                at += S::LANES;
            }
            if at < channels {
                self.panel::<S, 1, 4>(s, rows, at, channels - at);
            }
        }
    }
}

impl<E: Element, F, const K: usize, const N: usize, const P: usize, const D: usize>
    AddSums<'_, F, E, K, N, P, D>
where
    F: ChannelSum<K, N, P, D>,
{
    /// `V` vectors of channels from `at` on (the last of `lanes`), `U` rows at a time. The caller checked
    /// that rows and channels exist.
    #[inline(always)]
    fn panel<S: Simd, const V: usize, const U: usize>(
        &mut self,
        s: S,
        rows: Range<usize>,
        at: usize,
        lanes: usize,
    ) {
        let maps = self.maps.pointers();
        let mut params = [[s.zero(); P]; V];
        for v in 0..V {
            for p in 0..P {
                let param = self.params[p].as_ptr();
                // SAFETY: within the channels.
                params[v][p] = unsafe { s.load_up_to(param.add(at + v * S::LANES), lanes) };
            }
        }
        let mut sums = [[[s.zero(); K]; V]; U];
        let mut row = rows.start;
        while row + U <= rows.end {
            for u in 0..U {
                sums[u] = self.add_row(s, maps, sums[u], row + u, (at, lanes), params);
            }
            row += U;
        }
        while row < rows.end {
            sums[0] = self.add_row(s, maps, sums[0], row, (at, lanes), params);
            row += 1;
        }
        for v in 0..V {
            for k in 0..K {
                let mut total = sums[0][v][k];
                for u in 1..U {
                    total = s.add(total, sums[u][v][k]);
                }
                let sum = self.sums[k][at + v * S::LANES..].as_mut_ptr();
                // SAFETY: within the channels.
                unsafe { s.store_up_to(sum, s.add(s.load_up_to(sum, lanes), total), lanes) };
            }
        }
    }

    /// `sums` with the terms of a row's `V` vectors from `at` on (the last of `lanes`), whose results it writes. The
    /// caller checked that they exist.
    #[inline(always)]
    fn add_row<S: Simd, const V: usize>(
        &self,
        s: S,
        maps: Pointers<E, N, D>,
        mut sums: [[S::F; K]; V],
        row: usize,
        (at, lanes): (usize, usize),
        params: [[S::F; P]; V],
    ) -> [[S::F; K]; V] {
        for v in 0..V {
            let at = at + v * S::LANES;
            // SAFETY: within the rows and channels; rows are this task's own.
            unsafe {
                let operands = maps.load(s, row, at, lanes);
                let results;
                (sums[v], results) = self.f.add(s, sums[v], operands, params[v]);
                maps.store(s, results, row, at, lanes);
            }
        }
        sums
    }
}
