//! Functions with a parameter per channel, and sums per channel over pixels.

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

/// `D` results from an element of each of `N` operands and `P` parameters of its channel.
pub(crate) trait ChannelMap<const D: usize, const N: usize, const P: usize>: Sync {
    /// The function, for a vector of channels. Implementations are `#[inline(always)]`.
    fn map<S: Simd>(&self, s: S, operands: [S::F; N], params: [S::F; P]) -> [S::F; D];
}

/// `dsts` = `f` of the operands, for `rows` × `channels` elements.
pub(crate) fn map<const D: usize, const N: usize, const P: usize>(
    cx: &Context,
    f: &impl ChannelMap<D, N, P>,
    operands: [Pixels; N],
    params: [&[f32]; P],
    dsts: [PixelsMut; D],
    [rows, channels]: [usize; 2],
) {
    operands.iter().for_each(|src| assert_fits("src", src.data, rows, channels, src.ld));
    params.iter().for_each(|param| assert_eq!(param.len(), channels, "parameters, one a channel"));
    let dsts = dsts.map(|dst| {
        assert_fits("dst", dst.data, rows, channels, dst.ld);
        (SharedMut::new(dst.data), dst.ld)
    });
    for_each_piece(cx.exec, rows, rows_per_task(channels), |start, len, _| {
        dispatch(cx.isa, MapRows { f, rows: start..start + len, channels, operands, params, dsts });
    });
}

struct MapRows<'a, M, const D: usize, const N: usize, const P: usize> {
    f: &'a M,
    rows: Range<usize>,
    channels: usize,
    operands: [Pixels<'a>; N],
    params: [&'a [f32]; P],
    dsts: [(SharedMut<'a, f32>, usize); D],
}

impl<M: ChannelMap<D, N, P>, const D: usize, const N: usize, const P: usize> Kernel
    for MapRows<'_, M, D, N, P>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.clone() {
            for_each_vector(
                s,
                self.channels,
                #[inline(always)]
                |at, lanes| {
                    // Plain loops: closures that hold vectors may be compiled without the instruction set.
                    let (mut operands, mut params) = ([s.zero(); N], [s.zero(); P]);
                    for n in 0..N {
                        let src = self.operands[n];
                        // SAFETY: `map` checked that operands and parameters hold these elements.
                        operands[n] =
                            unsafe { s.load_up_to(src.data.as_ptr().add(row * src.ld + at), lanes) };
                    }
                    for p in 0..P {
                        // SAFETY: as above.
                        params[p] = unsafe { s.load_up_to(self.params[p].as_ptr().add(at), lanes) };
                    }
                    let values = self.f.map(s, operands, params);
                    for d in 0..D {
                        let (dst, ld) = self.dsts[d];
                        // SAFETY: checked as above; rows are this task's own.
                        unsafe { s.store_up_to(dst.ptr_at(row * ld + at), values[d], lanes) };
                    }
                },
            );
        }
    }
}

/// `K` sums per channel, of terms made from an element of each of `N` operands and `P` parameters.
pub(crate) trait ChannelSum<const K: usize, const N: usize, const P: usize>: Sync {
    /// The sums with the terms of one more pixel. Implementations are `#[inline(always)]`.
    fn add<S: Simd>(&self, s: S, sums: [S::F; K], operands: [S::F; N], params: [S::F; P]) -> [S::F; K];
}

/// The plain sum.
pub(crate) struct Sum;

impl ChannelSum<1, 1, 0> for Sum {
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, [sum]: [S::F; 1], [x]: [S::F; 1], []: [S::F; 0]) -> [S::F; 1] {
        [s.add(sum, x)]
    }
}

/// Rows added in registers before they join a longer sum, which keeps the rounding error of long sums small.
const SEGMENT: usize = 64;

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

/// Adds the sums of `rows` to `sums`, each one float a channel. Runs in one task.
pub(crate) struct AddSums<'a, F, const K: usize, const N: usize, const P: usize> {
    pub(crate) f: &'a F,
    pub(crate) rows: Range<usize>,
    pub(crate) operands: [Pixels<'a>; N],
    pub(crate) params: [&'a [f32]; P],
    pub(crate) sums: [&'a mut [f32]; K],
}

impl<F: ChannelSum<K, N, P>, const K: usize, const N: usize, const P: usize> Kernel
    for AddSums<'_, F, K, N, P>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.sums[0].len();
        assert!(self.sums.iter().all(|sum| sum.len() == channels));
        assert!(self.params.iter().all(|param| param.len() == channels));
        self.operands.iter().for_each(|src| assert_fits("src", src.data, self.rows.end, channels, src.ld));
        let mut start = self.rows.start;
        while start < self.rows.end {
            let rows = start..self.rows.end.min(start + SEGMENT);
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

impl<F: ChannelSum<K, N, P>, const K: usize, const N: usize, const P: usize> AddSums<'_, F, K, N, P> {
    /// A vector of each operand. The caller checked that row and channels exist.
    #[inline(always)]
    fn elements<S: Simd>(&self, s: S, row: usize, at: usize, lanes: usize) -> [S::F; N] {
        let mut elements = [s.zero(); N];
        for n in 0..N {
            let src = self.operands[n];
            // SAFETY: within the rows and channels.
            elements[n] = unsafe { s.load_up_to(src.data.as_ptr().add(row * src.ld + at), lanes) };
        }
        elements
    }

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
                for v in 0..V {
                    let elements = self.elements(s, row + u, at + v * S::LANES, lanes);
                    sums[u][v] = self.f.add(s, sums[u][v], elements, params[v]);
                }
            }
            row += U;
        }
        while row < rows.end {
            for v in 0..V {
                let elements = self.elements(s, row, at + v * S::LANES, lanes);
                sums[0][v] = self.f.add(s, sums[0][v], elements, params[v]);
            }
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
}
