//! The gradient of pooling: each window's is shared among its elements.

use super::forward::Pooling;
use super::{Average, Index, Pool2dGeometry, each_vector, rows_of_task};
use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut};
use std::ops::Range;

/// How a window's gradient is shared among its elements.
pub(super) trait Unpooling: Copy + Sync {
    /// What a window remembers, for `len` channels from place `at` among all outputs on.
    ///
    /// # Safety
    /// There are so many outputs.
    unsafe fn memory<S: Simd>(self, s: S, at: usize, len: usize) -> S::F;
    /// What the element under `tap` gets of a window's gradient, times the window's `scale`.
    fn part<S: Simd>(self, s: S, gradient: S::F, memory: S::F, scale: f32, tap: usize) -> S::F;
    /// What the window's gradient is multiplied with.
    fn scale(self, g: &Pool2dGeometry, oy: usize, ox: usize) -> f32;
}

#[derive(Clone, Copy)]
pub(super) struct TakenTap<'a, I> {
    pub(super) indices: &'a [I],
}

impl<I: Index> Unpooling for TakenTap<'_, I> {
    #[inline(always)]
    unsafe fn memory<S: Simd>(self, s: S, at: usize, len: usize) -> S::F {
        // SAFETY: there is an index for each output.
        unsafe { I::load(s, self.indices.as_ptr().add(at), len) }
    }
    #[inline(always)]
    fn part<S: Simd>(self, s: S, gradient: S::F, taken: S::F, _: f32, tap: usize) -> S::F {
        s.select_eq(taken, s.splat(tap as i32 as f32), s.loaded(gradient), s.zero())
    }
    #[inline(always)]
    fn scale(self, _: &Pool2dGeometry, _: usize, _: usize) -> f32 {
        1.0
    }
}

impl Unpooling for Average {
    #[inline(always)]
    unsafe fn memory<S: Simd>(self, s: S, _: usize, _: usize) -> S::F {
        s.zero()
    }
    #[inline(always)]
    fn part<S: Simd>(self, s: S, gradient: S::F, _: S::F, scale: f32, _: usize) -> S::F {
        s.mul(gradient, s.splat(scale))
    }
    #[inline(always)]
    fn scale(self, g: &Pool2dGeometry, oy: usize, ox: usize) -> f32 {
        Pooling::scale(self, g, oy, ox)
    }
}

pub(super) fn backward<E: Element>(
    cx: &Context,
    g: &Pool2dGeometry,
    unpooling: impl Unpooling,
    d_dst: Pixels<E>,
    d_src: PixelsMut<E>,
) {
    g.assert_fit(d_src.data, d_src.ld, d_dst.data, d_dst.ld);
    let (src_ld, d_src) = (d_src.ld, SharedMut::new(d_src.data));
    let pass = Backward { g, unpooling, d_dst, d_src, src_ld };
    if (g.kh, g.kw, g.pt, g.pl) == (g.sh, g.sw, 0, 0) {
        // Each task owns rows of windows and hands on to the elements under them.
        for_each_piece(cx.exec, g.n * g.oh, rows_of_task(g.sh * g.iw * g.c), |start, count, _worker| {
            dispatch(g.isa(cx), Scatter { pass, rows: start..start + count });
        });
    } else {
        // Each task owns rows of the input and gathers from all windows over them.
        for_each_piece(cx.exec, g.n * g.ih, rows_of_task(g.iw * g.c), |start, count, _worker| {
            dispatch(g.isa(cx), Gather { pass, rows: start..start + count });
        });
    }
}

/// A pass from the windows' gradients to those of the input.
#[derive(Clone, Copy)]
struct Backward<'a, U, E> {
    g: &'a Pool2dGeometry,
    unpooling: U,
    d_dst: Pixels<'a, E>,
    d_src: SharedMut<'a, E>,
    src_ld: usize,
}

impl<U: Unpooling, E: Element> Backward<'_, U, E> {
    /// The gradient of window `pixel`, counted through all images, and what it remembers, for `len` channels from `c`.
    #[inline(always)]
    fn window<S: Simd>(&self, s: S, pixel: usize, (c, len): (usize, usize)) -> [S::F; 2] {
        // SAFETY: the output pixel has these channels, or others follow it.
        unsafe {
            let gradient = s.load_up_to(self.d_dst.data.as_ptr().add(pixel * self.d_dst.ld + c), len);
            [gradient, self.unpooling.memory(s, pixel * self.g.c + c, len)]
        }
    }

    /// The windows of a row whose vectors are whole.
    #[inline(always)]
    fn whole_windows<S: Simd>(&self) -> usize {
        self.g.whole_windows::<S>(self.src_ld == self.g.c && self.d_dst.ld == self.g.c)
    }

    /// Writes `len` channels from `c` of column `x` of input row `row`, counted through all images; from left to right
    /// where `len` is more than there are.
    ///
    /// # Safety
    /// No other task may touch the row.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, s: S, row: usize, x: usize, (c, len): (usize, usize), gradient: S::F) {
        // SAFETY: an element of the input; else the caller's contract.
        unsafe {
            s.store_up_to(self.d_src.ptr_at((row * self.g.iw + x) * self.src_ld + c), gradient, len);
        }
    }
}

/// The input under the windows of output rows `rows`, counted through all images, where every element is in one window
/// at most: those that follow the last window of a row or a column, in none.
struct Scatter<'a, U, E> {
    pass: Backward<'a, U, E>,
    rows: Range<usize>,
}

impl<U: Unpooling, E: Element> Kernel for Scatter<'_, U, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let g = self.pass.g;
        for row in self.rows.clone() {
            let (image, oy) = (row / g.oh, row % g.oh);
            let top = (oy * g.kh).min(g.ih);
            let end = (top + g.kh).min(g.ih);
            let first = image * g.ih;
            if end - top == 2 && g.kw == 2 {
                // Unrolled: the window of most networks.
                self.windows(s, (row, oy), first + top, [2, 2]);
            } else {
                self.windows(s, (row, oy), first + top, [end - top, g.kw]);
            }
            if oy + 1 == g.oh {
                for rest in end..g.ih {
                    self.clear(s, first + rest, 0);
                }
            }
        }
    }
}

impl<U: Unpooling, E: Element> Scatter<'_, U, E> {
    /// Hands on from the windows of output row `row`, `oy` in its image, to so many rows from input row `top` on, so many
    /// columns a window.
    #[inline(always)]
    fn windows<S: Simd>(&self, s: S, (row, oy): (usize, usize), top: usize, size: [usize; 2]) {
        let (pass, g) = (&self.pass, self.pass.g);
        let whole = pass.whole_windows::<S>();
        for ox in 0..whole {
            for c in (0..g.c).step_by(S::LANES) {
                self.window(s, (row, oy, ox), top, size, (c, S::LANES));
            }
        }
        for ox in whole..g.ow {
            each_vector::<S>(
                &(0..g.c),
                #[inline(always)]
                |_, c, len| self.window(s, (row, oy, ox), top, size, (c, len)),
            );
        }
        for y in top..top + size[0] {
            self.clear(s, y, g.ow * size[1]);
        }
    }

    /// Hands on from one window, `len` channels from `c`.
    #[inline(always)]
    fn window<S: Simd>(
        &self,
        s: S,
        (row, oy, ox): (usize, usize, usize),
        top: usize,
        [rows, columns]: [usize; 2],
        channels: (usize, usize),
    ) {
        let (pass, g) = (&self.pass, self.pass.g);
        let left = (ox * columns).min(g.iw);
        let scale = pass.unpooling.scale(g, oy, ox);
        let [gradient, memory] = pass.window(s, row * g.ow + ox, channels);
        for y in 0..rows {
            for x in 0..columns {
                // The last window of a row may exceed it.
                if left + x < g.iw {
                    let part = pass.unpooling.part(s, gradient, memory, scale, y * columns + x);
                    // SAFETY: the rows under the task's windows are its own.
                    unsafe { pass.write(s, top + y, left + x, channels, part) };
                }
            }
        }
    }

    /// Zeros from column `x` of input row `row` on, which belongs to the task.
    #[inline(always)]
    fn clear<S: Simd>(&self, s: S, row: usize, x: usize) {
        for x in x..self.pass.g.iw {
            each_vector::<S>(
                &(0..self.pass.g.c),
                #[inline(always)]
                // SAFETY: the caller's row is the task's own.
                |_, c, len| unsafe { self.pass.write(s, row, x, (c, len), s.zero()) },
            );
        }
    }
}

/// Input rows `rows`, counted through all images, of any windows.
struct Gather<'a, U, E> {
    pass: Backward<'a, U, E>,
    rows: Range<usize>,
}

impl<U: Unpooling, E: Element> Kernel for Gather<'_, U, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pass, g) = (&self.pass, self.pass.g);
        for row in self.rows.clone() {
            let (image, iy) = (row / g.ih, row % g.ih);
            let oys = g.vertical().windows(iy, g.oh);
            let (whole, mut oxs) = (pass.whole_windows::<S>(), 0..0);
            for x in 0..g.iw {
                let position = x + g.pl;
                while oxs.end < g.ow && oxs.end * g.sw <= position {
                    oxs.end += 1;
                }
                while oxs.start < oxs.end && oxs.start * g.sw + g.kw <= position {
                    oxs.start += 1;
                }
                let is_whole = (1..=whole).contains(&oxs.end) && (g.iw - x) * g.c >= S::LANES;
                each_vector::<S>(
                    &(0..g.c),
                    #[inline(always)]
                    |_, c, len| {
                        let len = if is_whole { S::LANES } else { len };
                        let mut sum = s.zero();
                        for oy in oys.clone() {
                            let (tap, first) = ((iy + g.pt - oy * g.sh) * g.kw, (image * g.oh + oy) * g.ow);
                            for ox in oxs.clone() {
                                let [gradient, memory] = pass.window(s, first + ox, (c, len));
                                let (scale, tap) =
                                    (pass.unpooling.scale(g, oy, ox), tap + position - ox * g.sw);
                                sum = s.add(sum, pass.unpooling.part(s, gradient, memory, scale, tap));
                            }
                        }
                        // SAFETY: the task's own row.
                        unsafe { pass.write(s, row, x, (c, len), sum) };
                    },
                );
            }
        }
    }
}
