//! Max and average pooling; global pooling is pooling with a window as large as the map.

mod backward;
mod forward;
mod index;

use crate::element::Element;
use crate::exec::{Context, SharedMut};
use crate::pixelwise::{GRAIN, assert_fits};
use crate::simd::{Isa, Simd};
use crate::view::{Pixels, PixelsMut, volume};
use backward::{TakenTap, backward};
use forward::{IndexedMax, Max, forward};
use std::ops::Range;

pub use index::Index;

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

/// Pooling by means.
#[derive(Clone, Copy)]
struct Average {
    count_include_pad: bool,
}

/// Rows of `len` elements that make a task: many, since neighbouring tasks read the rows between them twice.
fn rows_of_task(len: usize) -> usize {
    (8 * GRAIN / len.max(1)).max(1)
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
