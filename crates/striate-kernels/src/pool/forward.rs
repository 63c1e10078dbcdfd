//! Pooling: windows become values.

use super::{Average, Axis, Index, Pool2dGeometry, each_vector, rows_of_task};
use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut};
use std::ops::Range;

/// How a window becomes one value, a vector of channels at a time: element by element in reading order; or, where windows
/// share columns, first each of the columns, then these from left to right.
pub(super) trait Pooling: Copy + Sync {
    /// What is known of the elements seen so far.
    type State<S: Simd>: Copy;
    /// Of none, the first of which would be `tap`.
    fn start<S: Simd>(self, s: S, tap: usize) -> Self::State<S>;
    /// Of one element alone.
    fn first<S: Simd>(self, s: S, x: S::F, tap: usize) -> Self::State<S>;
    /// Of one more, further down a column or on in reading order.
    fn take<S: Simd>(self, s: S, state: Self::State<S>, x: S::F, tap: usize) -> Self::State<S>;
    /// Of a window's first columns and of the one that follows them, `column`, whose taps were counted as if it were
    /// column 0.
    fn join<S: Simd>(
        self,
        s: S,
        first: Self::State<S>,
        next: Self::State<S>,
        column: usize,
    ) -> Self::State<S>;
    /// What the window's value is multiplied with.
    fn scale(self, g: &Pool2dGeometry, oy: usize, ox: usize) -> f32;
    /// The value. `at` is the first channel's place among all outputs, `len` how many lanes are written.
    ///
    /// # Safety
    /// No other task writes those outputs.
    unsafe fn finish<S: Simd>(self, s: S, state: Self::State<S>, scale: f32, at: usize, len: usize) -> S::F;
}

#[derive(Clone, Copy)]
pub(super) struct Max;

impl Pooling for Max {
    type State<S: Simd> = S::F;

    #[inline(always)]
    fn start<S: Simd>(self, s: S, _: usize) -> S::F {
        s.splat(f32::NEG_INFINITY)
    }
    #[inline(always)]
    fn first<S: Simd>(self, _: S, x: S::F, _: usize) -> S::F {
        x
    }
    #[inline(always)]
    fn take<S: Simd>(self, s: S, max: S::F, x: S::F, _: usize) -> S::F {
        s.select_gt_or_nan(x, max, x, max)
    }
    #[inline(always)]
    fn join<S: Simd>(self, s: S, first: S::F, next: S::F, _: usize) -> S::F {
        s.select_gt_or_nan(next, first, next, first)
    }
    #[inline(always)]
    fn scale(self, _: &Pool2dGeometry, _: usize, _: usize) -> f32 {
        1.0
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(self, _: S, max: S::F, _: f32, _: usize, _: usize) -> S::F {
        max
    }
}

#[derive(Clone, Copy)]
pub(super) struct IndexedMax<'a, I>(pub(super) SharedMut<'a, I>);

impl<I: Index> Pooling for IndexedMax<'_, I> {
    /// The maximum and its tap.
    type State<S: Simd> = (S::F, S::F);

    #[inline(always)]
    fn start<S: Simd>(self, s: S, tap: usize) -> (S::F, S::F) {
        (s.splat(f32::NEG_INFINITY), s.splat(tap as i32 as f32))
    }
    #[inline(always)]
    fn first<S: Simd>(self, s: S, x: S::F, tap: usize) -> (S::F, S::F) {
        (x, s.splat(tap as i32 as f32))
    }
    #[inline(always)]
    fn take<S: Simd>(self, s: S, (max, index): (S::F, S::F), x: S::F, tap: usize) -> (S::F, S::F) {
        let tap = s.splat(tap as i32 as f32);
        (s.select_gt_or_nan(x, max, x, max), s.select_gt_or_nan(x, max, tap, index))
    }
    #[inline(always)]
    fn join<S: Simd>(
        self,
        s: S,
        (max, index): (S::F, S::F),
        (x, tap): (S::F, S::F),
        column: usize,
    ) -> (S::F, S::F) {
        let tap = s.add(tap, s.splat(column as i32 as f32));
        // Of equals the first in reading order, which may be one further right in a row above.
        let first = s.select_eq(x, max, s.min(tap, index), index);
        (s.select_gt_or_nan(x, max, x, max), s.select_gt_or_nan(x, max, tap, first))
    }
    #[inline(always)]
    fn scale(self, _: &Pool2dGeometry, _: usize, _: usize) -> f32 {
        1.0
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(self, s: S, (max, index): (S::F, S::F), _: f32, at: usize, len: usize) -> S::F {
        // SAFETY: the caller owns those outputs, of which there are as many as indices.
        unsafe { I::store(s, self.0.ptr_at(at), index, len) };
        max
    }
}

impl Pooling for Average {
    type State<S: Simd> = S::F;

    #[inline(always)]
    fn start<S: Simd>(self, s: S, _: usize) -> S::F {
        s.zero()
    }
    #[inline(always)]
    fn first<S: Simd>(self, _: S, x: S::F, _: usize) -> S::F {
        x
    }
    #[inline(always)]
    fn take<S: Simd>(self, s: S, sum: S::F, x: S::F, _: usize) -> S::F {
        s.add(sum, x)
    }
    #[inline(always)]
    fn join<S: Simd>(self, s: S, first: S::F, next: S::F, _: usize) -> S::F {
        s.add(first, next)
    }
    #[inline(always)]
    fn scale(self, g: &Pool2dGeometry, oy: usize, ox: usize) -> f32 {
        let count =
            |axis: Axis, o| if self.count_include_pad { axis.padded_len(o) } else { axis.taps(o).len() };
        // At least 1: an empty window's sum is 0 and stays it.
        1.0 / (count(g.vertical(), oy) * count(g.horizontal(), ox)).max(1) as f32
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(self, s: S, sum: S::F, scale: f32, _: usize, _: usize) -> S::F {
        s.mul(sum, s.splat(scale))
    }
}

pub(super) fn forward<E: Element>(
    cx: &Context,
    g: &Pool2dGeometry,
    pooling: impl Pooling,
    src: Pixels<E>,
    dst: PixelsMut<E>,
) {
    g.assert_fit(src.data, src.ld, dst.data, dst.ld);
    let (dst_ld, dst) = (dst.ld, SharedMut::new(dst.data));
    for_each_piece(cx.exec, g.n * g.oh, rows_of_task(g.sh * g.iw * g.c), |start, count, _worker| {
        dispatch(g.isa(cx), Forward { g, pooling, src, dst, dst_ld, rows: start..start + count });
    });
}

/// Output rows `rows`, counted through all images.
struct Forward<'a, P, E> {
    g: &'a Pool2dGeometry,
    pooling: P,
    src: Pixels<'a, E>,
    dst: SharedMut<'a, E>,
    dst_ld: usize,
    rows: Range<usize>,
}

impl<P: Pooling, E: Element> Kernel for Forward<'_, P, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let g = self.g;
        for row in self.rows.clone() {
            let (image, oy) = (row / g.oh, row % g.oh);
            let ys = g.vertical().taps(oy);
            let top = if ys.is_empty() { 0 } else { oy * g.sh + ys.start - g.pt };
            let windows = WindowRow { row, oy, ys, first: (image * g.ih + top) * g.iw * self.src.ld };
            for c in (0..g.c).step_by(BLOCK * S::LANES) {
                let channels = c..g.c.min(c + BLOCK * S::LANES);
                if g.kw == RING && g.sw < RING {
                    self.overlapping(s, &windows, channels);
                } else {
                    self.apart(s, &windows, channels);
                }
            }
        }
    }
}

/// Columns whose states are kept from window to window: the width of the windows that overlap in networks.
const RING: usize = 3;
/// The most vectors of channels whose states are kept at a time.
const BLOCK: usize = 16;

/// A row of windows.
struct WindowRow {
    /// The row, counted through all images, and within its image.
    row: usize,
    oy: usize,
    /// The windows' rows that lie on the map, and the place of the first of them in the input.
    ys: Range<usize>,
    first: usize,
}

impl<P: Pooling, E: Element> Forward<'_, P, E> {
    /// The taps of output column `ox` that lie on the map, and their columns there.
    #[inline(always)]
    fn columns(&self, ox: usize) -> (Range<usize>, Range<usize>) {
        let taps = self.g.horizontal().taps(ox);
        let first = (ox * self.g.sw + taps.start).saturating_sub(self.g.pl);
        (taps.clone(), first..first + taps.len())
    }

    /// Pools some channels of windows `RING` columns wide that overlap: each column once, for all its windows.
    #[inline(always)]
    fn overlapping<S: Simd>(&self, s: S, windows: &WindowRow, channels: Range<usize>) {
        let (g, pooling, top) = (self.g, self.pooling, windows.ys.start * self.g.kw);
        let mut columns = [[pooling.start(s, top); BLOCK]; RING];
        let mut done = 0;
        for ox in 0..g.ow {
            let (taps, xs) = self.columns(ox);
            for x in xs.start.max(done)..xs.end {
                let column = &mut columns[x % RING];
                match windows.ys.len() {
                    // Unrolled: the windows of networks, inside and on the map's edge.
                    3 => self.stack(s, windows, 3, x, &channels, column),
                    2 => self.stack(s, windows, 2, x, &channels, column),
                    rows => self.stack(s, windows, rows, x, &channels, column),
                }
            }
            done = done.max(xs.end);
            let scale = pooling.scale(g, windows.oy, ox);
            let pixel = (windows.row, ox);
            match taps.len() {
                3 => {
                    let [left, middle, right] = [0, 1, 2].map(|k| &columns[(xs.start + k) % RING]);
                    each_vector::<S>(
                        &channels,
                        #[inline(always)]
                        |index, c, len| {
                            let state = pooling.join(s, left[index], middle[index], 1);
                            self.write(s, pixel, (c, len), pooling.join(s, state, right[index], 2), scale);
                        },
                    );
                }
                _ => each_vector::<S>(
                    &channels,
                    #[inline(always)]
                    |index, c, len| {
                        let mut state = pooling.start(s, top + taps.start);
                        for (k, x) in taps.clone().zip(xs.clone()) {
                            state = pooling.join(s, state, columns[x % RING][index], k);
                        }
                        self.write(s, pixel, (c, len), state, scale);
                    },
                ),
            }
        }
    }

    /// The states of some channels after the windows' `rows` rows of column `x`.
    #[inline(always)]
    fn stack<S: Simd>(
        &self,
        s: S,
        windows: &WindowRow,
        rows: usize,
        x: usize,
        channels: &Range<usize>,
        states: &mut [P::State<S>; BLOCK],
    ) {
        let (kw, pitch) = (self.g.kw, self.g.iw * self.src.ld);
        // SAFETY: a pixel of the map.
        let column = unsafe { self.src.data.as_ptr().add(windows.first + x * self.src.ld) };
        let (pooling, top) = (self.pooling, windows.ys.start * kw);
        each_vector::<S>(
            channels,
            #[inline(always)]
            |index, c, len| {
                let mut state = pooling.start(s, top);
                for row in 0..rows {
                    // SAFETY: elements of the map.
                    let value = unsafe { s.load_up_to(column.add(row * pitch + c), len) };
                    state = if row == 0 {
                        pooling.first(s, value, top)
                    } else {
                        pooling.take(s, state, value, top + row * kw)
                    };
                }
                states[index] = state;
            },
        );
    }

    /// Pools some channels of any windows, each element as it comes in reading order.
    #[inline(always)]
    fn apart<S: Simd>(&self, s: S, windows: &WindowRow, channels: Range<usize>) {
        let whole = self.g.whole_windows::<S>(self.src.ld == self.g.c && self.dst_ld == self.g.c);
        for ox in 0..whole {
            for c in channels.clone().step_by(S::LANES) {
                self.pool(s, windows, ox, (c, S::LANES));
            }
        }
        for ox in whole..self.g.ow {
            each_vector::<S>(
                &channels,
                #[inline(always)]
                |_, c, len| self.pool(s, windows, ox, (c, len)),
            );
        }
    }

    /// Pools `len` channels from `c` on of one window.
    #[inline(always)]
    fn pool<S: Simd>(&self, s: S, windows: &WindowRow, ox: usize, channels: (usize, usize)) {
        let (taps, xs) = self.columns(ox);
        let scale = self.pooling.scale(self.g, windows.oy, ox);
        let state = match (windows.ys.len(), taps.len()) {
            // Unrolled: the window of most networks.
            (2, 2) => self.window(s, windows, [2, 2], (xs.start, taps.start), channels),
            (rows, columns) => self.window(s, windows, [rows, columns], (xs.start, taps.start), channels),
        };
        self.write(s, (windows.row, ox), channels, state, scale);
    }

    /// The state of `len` channels from `c` on after some rows and columns of a window, the first of the latter at
    /// column `x` of the map and `tap` of the window.
    #[inline(always)]
    fn window<S: Simd>(
        &self,
        s: S,
        windows: &WindowRow,
        [rows, columns]: [usize; 2],
        (x, tap): (usize, usize),
        (c, len): (usize, usize),
    ) -> P::State<S> {
        let first = windows.ys.start * self.g.kw + tap;
        let mut state = self.pooling.start(s, first);
        for row in 0..rows {
            for column in 0..columns {
                let at = windows.first + (row * self.g.iw + x + column) * self.src.ld + c;
                // SAFETY: elements of the map.
                let value = unsafe { s.load_up_to(self.src.data.as_ptr().add(at), len) };
                state = self.pooling.take(s, state, value, first + row * self.g.kw + column);
            }
        }
        state
    }

    /// Writes `len` channels from `c` on of output column `ox` of row `row`; from left to right where `len` is more than
    /// there are.
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        s: S,
        (row, ox): (usize, usize),
        (c, len): (usize, usize),
        state: P::State<S>,
        scale: f32,
    ) {
        let g = self.g;
        let pixel = row * g.ow + ox;
        // SAFETY: the task's own output.
        unsafe {
            let value = self.pooling.finish(s, state, scale, pixel * g.c + c, len);
            s.store_up_to(self.dst.ptr_at(pixel * self.dst_ld + c), value, len);
        }
    }
}
