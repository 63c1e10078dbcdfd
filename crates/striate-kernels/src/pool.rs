//! Max and average pooling; global pooling is pooling with a window as large as the map.

use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits};
use crate::simd::{Isa, Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut, volume};
use std::ops::Range;

/// What a pooling works on. The output's size is given, not computed: in ceil mode a last window may begin
/// inside the map and end beyond its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Rows of the input.
    pub ih: usize,
    /// Columns of the input.
    pub iw: usize,
    /// Rows of the output.
    pub oh: usize,
    /// Columns of the output.
    pub ow: usize,
    /// Rows of the window.
    pub kh: usize,
    /// Columns of the window.
    pub kw: usize,
    /// Vertical stride.
    pub sh: usize,
    /// Horizontal stride.
    pub sw: usize,
    /// Padding above the input.
    pub pt: usize,
    /// Padding left of the input.
    pub pl: usize,
    /// Padding below the input.
    pub pb: usize,
    /// Padding right of the input.
    pub pr: usize,
}

impl Pool2dGeometry {
    /// The whole map in one window: `oh` = `ow` = 1.
    pub fn global(n: usize, c: usize, ih: usize, iw: usize) -> Self {
        let [pt, pl, pb, pr] = [0; 4];
        Self { n, c, ih, iw, oh: 1, ow: 1, kh: ih, kw: iw, sh: 1, sw: 1, pt, pl, pb, pr }
    }

    fn vertical(&self) -> Axis {
        Axis { input: self.ih, kernel: self.kh, stride: self.sh, before: self.pt, after: self.pb }
    }

    fn horizontal(&self) -> Axis {
        Axis { input: self.iw, kernel: self.kw, stride: self.sw, before: self.pl, after: self.pr }
    }

    /// The instruction set whose vectors fit the channels: of 16 lanes, a few channels would use few.
    fn isa(&self, cx: &Context) -> Isa {
        if self.c <= 8 { cx.isa.min(Isa::Avx2) } else { cx.isa }
    }

    /// The windows of a row, from the left, whose vectors of channels can be read and written in whole, of maps that are
    /// dense or not: lanes beyond few channels are then the next pixels', which are written later. This spares narrow maps
    /// the masks, which are slow.
    fn whole_windows<S: Simd>(&self, dense: bool) -> usize {
        if self.c.is_multiple_of(S::LANES) {
            return self.ow;
        }
        if self.c > S::LANES || !dense {
            return 0;
        }
        let pixels = S::LANES.div_ceil(self.c);
        let inside =
            (self.iw + self.pl + 1).checked_sub(pixels + self.kw).map_or(0, |room| room / self.sw + 1);
        (self.ow + 1).saturating_sub(pixels).min(inside)
    }

    fn assert_fit<E>(&self, src: &[E], src_ld: usize, dst: &[E], dst_ld: usize) {
        assert_fits("src", src, volume([self.n, self.ih, self.iw]), self.c, src_ld);
        assert_fits("dst", dst, volume([self.n, self.oh, self.ow]), self.c, dst_ld);
    }
}

/// One dimension of a pooling.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    before: usize,
    after: usize,
}

impl Axis {
    /// The window's positions that fall on the input, for output `o`, counted within the window.
    #[inline(always)]
    fn taps(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        let first = self.before.saturating_sub(start).min(self.kernel);
        let last = (self.input + self.before).saturating_sub(start).min(self.kernel);
        first..last.max(first)
    }

    /// How many of the window's positions fall on the input or its padding.
    #[inline(always)]
    fn padded_len(&self, o: usize) -> usize {
        (self.before + self.input + self.after).saturating_sub(o * self.stride).min(self.kernel)
    }

    /// The outputs, of `outputs`, whose windows include input `i`.
    #[inline(always)]
    fn windows(&self, i: usize, outputs: usize) -> Range<usize> {
        let position = i + self.before;
        let first = (position + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..(position / self.stride + 1).min(outputs)
    }
}

/// Remembers which tap of a window held the maximum: tap kh·KW + kw, in reading order.
pub trait Index: Copy + Send + Sync + 'static {
    /// The largest window, in taps, whose taps it can tell apart.
    const MAX_TAPS: usize;
    /// From a tap number below `MAX_TAPS`; any other number becomes some tap.
    fn from_tap(tap: f32) -> Self;
    /// The tap number.
    fn tap(self) -> f32;

    /// Writes the first `len <= LANES` tap numbers.
    ///
    /// # Safety
    /// `dst` must be writable for `len` indices.
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, dst: *mut Self, taps: S::F, len: usize) {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: a vector fits the lanes; else the caller's contract.
        unsafe {
            s.store(lanes.as_mut_ptr(), taps);
            for lane in 0..len {
                *dst.add(lane) = Self::from_tap(lanes[lane]);
            }
        }
    }

    /// Reads `len <= LANES` tap numbers; what the other lanes hold is open.
    ///
    /// # Safety
    /// `src` must be readable for `len` indices.
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, src: *const Self, len: usize) -> S::F {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: as in `store`.
        unsafe {
            for lane in 0..len {
                lanes[lane] = (*src.add(lane)).tap();
            }
            s.load(lanes.as_ptr())
        }
    }
}

/// Lanes of the widest instruction set.
const MAX_LANES: usize = 16;

impl Index for u8 {
    const MAX_TAPS: usize = 1 << 8;
    #[inline(always)]
    fn from_tap(tap: f32) -> Self {
        tap as u8
    }
    #[inline(always)]
    fn tap(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, dst: *mut u8, taps: S::F, len: usize) {
        // SAFETY: the caller's contract.
        unsafe { s.store_u8(dst, taps, len) }
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, src: *const u8, len: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_u8(src, len) }
    }
}

impl Index for u32 {
    /// As many as the mantissa of f32, in which vector lanes count, tells apart.
    const MAX_TAPS: usize = 1 << 23;
    #[inline(always)]
    fn from_tap(tap: f32) -> Self {
        // The mantissa, beside 2²³; `as`, which must check its range, takes a third of the time of small windows.
        (tap + Self::MAX_TAPS as f32).to_bits() & (Self::MAX_TAPS as u32 - 1)
    }
    #[inline(always)]
    fn tap(self) -> f32 {
        self as i32 as f32
    }
}

/// The greatest element of each window, padding left out; NaN where the window has one, −∞ where it is empty.
pub fn max_forward<E: Element>(cx: &Context, g: &Pool2dGeometry, src: Pixels<E>, dst: PixelsMut<E>) {
    forward(cx, g, Max, src, dst);
}

/// As [`max_forward`], and in `indices` (n·oh·ow × c, dense) the tap of the first greatest element, for
/// [`max_backward`]; of a NaN where there is one.
///
/// # Panics
/// When the window has more than [`Index::MAX_TAPS`] taps.
pub fn max_forward_indexed<E: Element, I: Index>(
    cx: &Context,
    g: &Pool2dGeometry,
    src: Pixels<E>,
    dst: PixelsMut<E>,
    indices: &mut [I],
) {
    assert!(volume([g.kh, g.kw]) <= I::MAX_TAPS, "{}×{} taps exceed the index's {}", g.kh, g.kw, I::MAX_TAPS);
    assert_eq!(indices.len(), volume([g.n, g.oh, g.ow, g.c]), "one index for each output");
    forward(cx, g, IndexedMax(SharedMut::new(indices)), src, dst);
}

/// `d_src` = for each element the sum of `d_dst` over the windows that took it, by their `indices`.
pub fn max_backward<E: Element, I: Index>(
    cx: &Context,
    g: &Pool2dGeometry,
    d_dst: Pixels<E>,
    indices: &[I],
    d_src: PixelsMut<E>,
) {
    assert_eq!(indices.len(), volume([g.n, g.oh, g.ow, g.c]), "one index for each output");
    backward(cx, g, TakenTap { indices }, d_dst, d_src);
}

/// The mean of each window: of its elements, or with `count_include_pad` of them and the zeros of the
/// padding (what lies beyond the padding, as in ceil mode, is never counted); 0 where it has no element.
pub fn average_forward<E: Element>(
    cx: &Context,
    g: &Pool2dGeometry,
    count_include_pad: bool,
    src: Pixels<E>,
    dst: PixelsMut<E>,
) {
    forward(cx, g, Average { count_include_pad }, src, dst);
}

/// The gradient of [`average_forward`]: each element's share of the windows it is in.
pub fn average_backward<E: Element>(
    cx: &Context,
    g: &Pool2dGeometry,
    count_include_pad: bool,
    d_dst: Pixels<E>,
    d_src: PixelsMut<E>,
) {
    backward(cx, g, Average { count_include_pad }, d_dst, d_src);
}

/// How a window becomes one value, a vector of channels at a time: element by element in reading order; or, where windows
/// share columns, first each of the columns, then these from left to right.
trait Pooling: Copy + Sync {
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
struct Max;

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
struct IndexedMax<'a, I>(SharedMut<'a, I>);

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

#[derive(Clone, Copy)]
struct Average {
    count_include_pad: bool,
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

/// Rows of `len` elements that make a task: many, since neighbouring tasks read the rows between them twice.
fn rows_of_task(len: usize) -> usize {
    (8 * GRAIN / len.max(1)).max(1)
}

fn forward<E: Element>(
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

/// Calls `f` with the index, the first channel and the lanes of each vector of some channels. The whole ones come in a
/// loop of their own, where the compiler knows how many lanes they have.
#[inline(always)]
fn each_vector<S: Simd>(channels: &Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
    let Range { start, end } = *channels;
    let whole = (end - start) / S::LANES;
    for index in 0..whole {
        f(index, start + index * S::LANES, S::LANES);
    }
    let rest = start + whole * S::LANES;
    if rest < end {
        f(whole, rest, end - rest);
    }
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

/// How a window's gradient is shared among its elements.
trait Unpooling: Copy + Sync {
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
struct TakenTap<'a, I> {
    indices: &'a [I],
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

fn backward<E: Element>(
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
