//! Max and average pooling; global pooling is pooling with a window as large as the map.

use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{assert_fits, rows_per_task};
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

    fn assert_fit(&self, src: &[f32], src_ld: usize, dst: &[f32], dst_ld: usize) {
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

    /// The outputs, of `outputs`, whose windows lie entirely on the input.
    fn whole(&self, outputs: usize) -> Range<usize> {
        let first = self.before.div_ceil(self.stride);
        let room = (self.before + self.input).checked_sub(self.kernel);
        first..room.map_or(0, |room| room / self.stride + 1).min(outputs)
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
}

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
pub fn max_forward(cx: &Context, g: &Pool2dGeometry, src: Pixels, dst: PixelsMut) {
    forward(cx, g, Max, src, dst);
}

/// As [`max_forward`], and in `indices` (n·oh·ow × c, dense) the tap of the first greatest element, for
/// [`max_backward`]; of the last NaN where there is one.
///
/// # Panics
/// When the window has more than [`Index::MAX_TAPS`] taps.
pub fn max_forward_indexed<I: Index>(
    cx: &Context,
    g: &Pool2dGeometry,
    src: Pixels,
    dst: PixelsMut,
    indices: &mut [I],
) {
    assert!(volume([g.kh, g.kw]) <= I::MAX_TAPS, "{}×{} taps exceed the index's {}", g.kh, g.kw, I::MAX_TAPS);
    assert_eq!(indices.len(), volume([g.n, g.oh, g.ow, g.c]), "one index for each output");
    forward(cx, g, IndexedMax(SharedMut::new(indices)), src, dst);
}

/// `d_src` = for each element the sum of `d_dst` over the windows that took it, by their `indices`.
pub fn max_backward<I: Index>(
    cx: &Context,
    g: &Pool2dGeometry,
    d_dst: Pixels,
    indices: &[I],
    d_src: PixelsMut,
) {
    assert_eq!(indices.len(), volume([g.n, g.oh, g.ow, g.c]), "one index for each output");
    backward(cx, g, TakenTap { indices }, d_dst, d_src);
}

/// The mean of each window: of its elements, or with `count_include_pad` of them and the zeros of the
/// padding (what lies beyond the padding, as in ceil mode, is never counted); 0 where it has no element.
pub fn average_forward(
    cx: &Context,
    g: &Pool2dGeometry,
    count_include_pad: bool,
    src: Pixels,
    dst: PixelsMut,
) {
    forward(cx, g, Average { count_include_pad }, src, dst);
}

/// The gradient of [`average_forward`]: each element's share of the windows it is in.
pub fn average_backward(
    cx: &Context,
    g: &Pool2dGeometry,
    count_include_pad: bool,
    d_dst: Pixels,
    d_src: PixelsMut,
) {
    backward(cx, g, Average { count_include_pad }, d_dst, d_src);
}

/// How a window becomes one value, a vector of channels at a time.
trait Pooling: Copy + Sync {
    /// What is known of the elements seen so far.
    type State<S: Simd>: Copy;
    /// Of none.
    fn start<S: Simd>(self, s: S, first_tap: usize) -> Self::State<S>;
    /// Of one more.
    fn take<S: Simd>(self, s: S, state: Self::State<S>, x: S::F, tap: usize) -> Self::State<S>;
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
    fn take<S: Simd>(self, s: S, max: S::F, x: S::F, _: usize) -> S::F {
        s.select_gt_or_nan(x, max, x, max)
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
    fn start<S: Simd>(self, s: S, first_tap: usize) -> (S::F, S::F) {
        (s.splat(f32::NEG_INFINITY), s.splat(first_tap as f32))
    }
    #[inline(always)]
    fn take<S: Simd>(self, s: S, (max, index): (S::F, S::F), x: S::F, tap: usize) -> (S::F, S::F) {
        let tap = s.splat(tap as i32 as f32);
        (s.select_gt_or_nan(x, max, x, max), s.select_gt_or_nan(x, max, tap, index))
    }
    #[inline(always)]
    fn scale(self, _: &Pool2dGeometry, _: usize, _: usize) -> f32 {
        1.0
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(self, s: S, (max, index): (S::F, S::F), _: f32, at: usize, len: usize) -> S::F {
        let mut taps = [0.0; MAX_LANES];
        // SAFETY: a vector fits, and the caller owns those outputs.
        let indices = unsafe {
            s.store(taps.as_mut_ptr(), index);
            self.0.range(at, len)
        };
        if len == S::LANES {
            // A length known to the compiler, so that the conversion is vector code.
            for lane in 0..S::LANES {
                indices[lane] = I::from_tap(taps[lane]);
            }
        } else {
            for lane in 0..len {
                indices[lane] = I::from_tap(taps[lane]);
            }
        }
        max
    }
}

/// Lanes of the widest instruction set.
const MAX_LANES: usize = 16;

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
    fn take<S: Simd>(self, s: S, sum: S::F, x: S::F, _: usize) -> S::F {
        s.add(sum, x)
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

fn forward(cx: &Context, g: &Pool2dGeometry, pooling: impl Pooling, src: Pixels, dst: PixelsMut) {
    g.assert_fit(src.data, src.ld, dst.data, dst.ld);
    let (dst_ld, dst) = (dst.ld, SharedMut::new(dst.data));
    // A task's grain counts what it reads.
    let grain = rows_per_task(g.ow * g.c * g.kh * g.kw);
    for_each_piece(cx.exec, g.n * g.oh, grain, |start, count, _worker| {
        dispatch(g.isa(cx), Forward { g, pooling, src, dst, dst_ld, rows: start..start + count });
    });
}

/// Output rows `rows`, counted through all images.
struct Forward<'a, P> {
    g: &'a Pool2dGeometry,
    pooling: P,
    src: Pixels<'a>,
    dst: SharedMut<'a, f32>,
    dst_ld: usize,
    rows: Range<usize>,
}

impl<P: Pooling> Kernel for Forward<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let g = self.g;
        for row in self.rows.clone() {
            let (image, oy) = (row / g.oh, row % g.oh);
            let ys = g.vertical().taps(oy);
            let top = if ys.is_empty() { 0 } else { oy * g.sh + ys.start - g.pt };
            let outputs = OutputRow { row, oy, first: (image * g.ih + top) * g.iw * self.src.ld };
            match g.kw {
                2 => self.row::<S, 2>(s, &outputs, ys),
                3 => self.row::<S, 3>(s, &outputs, ys),
                _ => self.row::<S, 0>(s, &outputs, ys),
            }
        }
    }
}

/// A row of the output.
struct OutputRow {
    /// The row, counted through all images.
    row: usize,
    /// The row within its image.
    oy: usize,
    /// The place in the input of the first row under its windows.
    first: usize,
}

impl<P: Pooling> Forward<'_, P> {
    /// Pools windows with the rows `ys`; of windows K columns wide, K > 0, the loop is unrolled where they lie
    /// on the map.
    #[inline(always)]
    fn row<S: Simd, const K: usize>(&self, s: S, outputs: &OutputRow, ys: Range<usize>) {
        let horizontal = self.g.horizontal();
        let whole = if K > 0 { horizontal.whole(self.g.ow) } else { 0..0 };
        for ox in 0..self.g.ow {
            if whole.contains(&ox) {
                self.pixel(s, outputs, ox, ys.clone(), 0..K);
            } else {
                self.pixel(s, outputs, ox, ys.clone(), horizontal.taps(ox));
            }
        }
    }

    /// Pools the window of column `ox`, of which the taps `ys` × `xs` lie on the map.
    #[inline(always)]
    fn pixel<S: Simd>(&self, s: S, outputs: &OutputRow, ox: usize, ys: Range<usize>, xs: Range<usize>) {
        let (g, ld) = (self.g, self.src.ld);
        // Places of the window's first and last tap on the map.
        let (first, last) = if ys.is_empty() || xs.is_empty() {
            (0, 0)
        } else {
            let first = outputs.first + (ox * g.sw + xs.start - g.pl) * ld;
            (first, first + ((ys.len() - 1) * g.iw + xs.len() - 1) * ld)
        };
        let (row, oy) = (outputs.row, outputs.oy);
        let window = Window { first, ys, xs, scale: self.pooling.scale(g, oy, ox) };
        let (pixel, row_end) = (row * g.ow + ox, (row + 1) * g.ow * g.c);
        let mut c = 0;
        while c + 4 * S::LANES <= g.c {
            // SAFETY: the window's taps lie inside `src`, and this task owns the output pixel.
            unsafe { self.channels::<S, 4>(s, &window, pixel, c, S::LANES) };
            c += 4 * S::LANES;
        }
        while c < g.c {
            let len = S::LANES.min(g.c - c);
            // Where the row goes on, lanes beyond the channels may be written: with what the next pixel's
            // channels will overwrite. This spares narrow maps the masks.
            let spill = self.dst_ld == g.c
                && pixel * g.c + c + S::LANES <= row_end
                && last + c + S::LANES <= self.src.data.len();
            // SAFETY: as above; lanes that spill stay inside `src` and this task's output row.
            unsafe { self.channels::<S, 1>(s, &window, pixel, c, if spill { S::LANES } else { len }) };
            c += len;
        }
    }

    /// Pools `V` vectors of channels from `c` on, the last one (where `V` is 1) of `len` lanes.
    ///
    /// # Safety
    /// Those lanes of all taps lie inside `src`, those of output pixel `pixel` in what this task owns.
    #[inline(always)]
    unsafe fn channels<S: Simd, const V: usize>(
        &self,
        s: S,
        window: &Window,
        pixel: usize,
        c: usize,
        len: usize,
    ) {
        let (g, ld, pooling) = (self.g, self.src.ld, self.pooling);
        let mut state = [pooling.start(s, window.ys.start * g.kw + window.xs.start); V];
        for (down, y) in window.ys.clone().enumerate() {
            for (right, x) in window.xs.clone().enumerate() {
                let at = window.first + (down * g.iw + right) * ld + c;
                for v in 0..V {
                    // SAFETY: a tap on the map, by the caller's contract.
                    let value = unsafe { s.load_up_to(self.src.data.as_ptr().add(at + v * S::LANES), len) };
                    state[v] = pooling.take(s, state[v], value, y * g.kw + x);
                }
            }
        }
        for v in 0..V {
            let c = c + v * S::LANES;
            // SAFETY: the task's own output, by the caller's contract.
            unsafe {
                let value = pooling.finish(s, state[v], window.scale, pixel * g.c + c, len);
                s.store_up_to(self.dst.ptr_at(pixel * self.dst_ld + c), value, len);
            }
        }
    }
}

/// What of a window lies on the map.
struct Window {
    /// The place of the first tap's first channel in the input.
    first: usize,
    ys: Range<usize>,
    xs: Range<usize>,
    scale: f32,
}

/// How a window's gradient is shared among its elements.
trait Unpooling: Copy + Sync {
    /// What a vector of the window's gradient is turned into, once for all its taps.
    type Share<S: Simd>: Copy;
    /// `at` is the first channel's place among all outputs, `len` how many lanes count.
    fn share<S: Simd>(self, s: S, gradient: S::F, scale: f32, at: usize, len: usize) -> Self::Share<S>;
    /// What the element under `tap` gets.
    fn part<S: Simd>(self, s: S, share: Self::Share<S>, tap: usize) -> S::F;
    /// What the window's gradient is multiplied with.
    fn scale(self, g: &Pool2dGeometry, oy: usize, ox: usize) -> f32;
}

#[derive(Clone, Copy)]
struct TakenTap<'a, I> {
    indices: &'a [I],
}

impl<I: Index> Unpooling for TakenTap<'_, I> {
    /// The gradient and the tap that gets it.
    type Share<S: Simd> = (S::F, S::F);

    #[inline(always)]
    fn share<S: Simd>(self, s: S, gradient: S::F, _: f32, at: usize, len: usize) -> (S::F, S::F) {
        let mut taps = [0.0; MAX_LANES];
        let indices = &self.indices[at..];
        if let Some(indices) = indices.get(..S::LANES) {
            // Lanes beyond `len` have no gradient, so their taps do not matter.
            for lane in 0..S::LANES {
                taps[lane] = indices[lane].tap();
            }
        } else {
            for lane in 0..len {
                taps[lane] = indices[lane].tap();
            }
        }
        // SAFETY: a vector fits.
        (gradient, unsafe { s.load(taps.as_ptr()) })
    }
    #[inline(always)]
    fn part<S: Simd>(self, s: S, (gradient, taken): (S::F, S::F), tap: usize) -> S::F {
        s.select_eq(taken, s.splat(tap as i32 as f32), gradient, s.zero())
    }
    #[inline(always)]
    fn scale(self, _: &Pool2dGeometry, _: usize, _: usize) -> f32 {
        1.0
    }
}

impl Unpooling for Average {
    type Share<S: Simd> = S::F;

    #[inline(always)]
    fn share<S: Simd>(self, s: S, gradient: S::F, scale: f32, _: usize, _: usize) -> S::F {
        s.mul(gradient, s.splat(scale))
    }
    #[inline(always)]
    fn part<S: Simd>(self, _: S, share: S::F, _: usize) -> S::F {
        share
    }
    #[inline(always)]
    fn scale(self, g: &Pool2dGeometry, oy: usize, ox: usize) -> f32 {
        Pooling::scale(self, g, oy, ox)
    }
}

fn backward(cx: &Context, g: &Pool2dGeometry, unpooling: impl Unpooling, d_dst: Pixels, d_src: PixelsMut) {
    g.assert_fit(d_src.data, d_src.ld, d_dst.data, d_dst.ld);
    let (src_ld, d_src) = (d_src.ld, SharedMut::new(d_src.data));
    // Each task owns rows of the input and gathers from all windows over them, in reading order.
    for_each_piece(cx.exec, g.n * g.ih, rows_per_task(g.iw * g.c), |start, count, _worker| {
        dispatch(g.isa(cx), Backward { g, unpooling, d_dst, d_src, src_ld, rows: start..start + count });
    });
}

/// Input rows `rows`, counted through all images.
struct Backward<'a, U> {
    g: &'a Pool2dGeometry,
    unpooling: U,
    d_dst: Pixels<'a>,
    d_src: SharedMut<'a, f32>,
    src_ld: usize,
    rows: Range<usize>,
}

impl<U: Unpooling> Kernel for Backward<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let g = self.g;
        for row in self.rows.clone() {
            let (image, iy) = (row / g.ih, row % g.ih);
            let (runs, len) = if self.src_ld == g.c { (1, g.iw * g.c) } else { (g.iw, g.c) };
            for run in 0..runs {
                // SAFETY: this task owns the row.
                unsafe { self.d_src.range((row * g.iw + run) * self.src_ld, len) }.fill(0.0);
            }
            for oy in g.vertical().windows(iy, g.oh) {
                let outputs = Outputs { row: image * g.oh + oy, oy, tap_row: (iy + g.pt - oy * g.sh) * g.kw };
                // SAFETY: as above.
                unsafe {
                    match g.kw {
                        2 => self.row::<S, 2>(s, row, &outputs),
                        3 => self.row::<S, 3>(s, row, &outputs),
                        _ => self.row::<S, 0>(s, row, &outputs),
                    }
                }
            }
        }
    }
}

/// A row of windows over an input row.
struct Outputs {
    /// The row, counted through all images, and within its image.
    row: usize,
    oy: usize,
    /// The first tap of the windows' row that lies on the input row.
    tap_row: usize,
}

impl<U: Unpooling> Backward<'_, U> {
    /// Adds to input row `row` what it gets from a row of windows; of windows K columns wide, K > 0, the loop
    /// is unrolled where they lie on the map.
    ///
    /// # Safety
    /// This task owns the input row.
    #[inline(always)]
    unsafe fn row<S: Simd, const K: usize>(&self, s: S, row: usize, outputs: &Outputs) {
        let horizontal = self.g.horizontal();
        let whole = if K > 0 { horizontal.whole(self.g.ow) } else { 0..0 };
        for ox in 0..self.g.ow {
            // SAFETY: the caller's contract.
            unsafe {
                if whole.contains(&ox) {
                    self.pixel(s, row, outputs, ox, 0..K);
                } else {
                    self.pixel(s, row, outputs, ox, horizontal.taps(ox));
                }
            }
        }
    }

    /// Adds what comes from output pixel `ox`, to the columns `xs` of its window.
    ///
    /// # Safety
    /// This task owns the input row.
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, s: S, row: usize, outputs: &Outputs, ox: usize, xs: Range<usize>) {
        let g = self.g;
        let pixel = outputs.row * g.ow + ox;
        let scale = self.unpooling.scale(g, outputs.oy, ox);
        // Where windows do not overlap, an element gets its gradient once, and adding is spared.
        let overlap = g.kh > g.sh || g.kw > g.sw;
        let row_end = (row + 1) * g.iw * g.c;
        let mut c = 0;
        while c < g.c {
            let len = S::LANES.min(g.c - c);
            // SAFETY: the output pixel's channels lie inside `d_dst`.
            let gradient =
                unsafe { s.load_up_to(self.d_dst.data.as_ptr().add(pixel * self.d_dst.ld + c), len) };
            let share = self.unpooling.share(s, gradient, scale, pixel * g.c + c, len);
            for x in xs.clone() {
                let place = (row * g.iw + ox * g.sw + x - g.pl) * self.src_ld + c;
                let part = self.unpooling.part(s, share, outputs.tap_row + x);
                // Lanes beyond the channels hold zeros: right for the pixels that follow until their own turn
                // comes, which it has not where all channels fit a vector. This spares narrow maps the masks.
                let spill = !overlap && g.c <= S::LANES && self.src_ld == g.c && place + S::LANES <= row_end;
                // SAFETY: elements of this task's row.
                unsafe {
                    let place = self.d_src.ptr_at(place);
                    if spill {
                        s.store(place, part);
                    } else if overlap {
                        s.store_up_to(place, s.add(s.load_up_to(place, len), part), len);
                    } else {
                        s.store_up_to(place, part, len);
                    }
                }
            }
            c += len;
        }
    }
}
