//! Resizing of maps: nearest neighbour and bilinear, to any size.

use crate::channelwise::for_each_vector;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{assert_fits, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut, volume};
use std::ops::Range;

/// How the source is read between its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel at ⌊o · in/out⌋, in exact arithmetic.
    Nearest,
    /// Linear between neighbours, along both axes.
    Bilinear {
        /// Whether the centres of the corner pixels coincide (positions o·(in−1)/(out−1)) or the corners of
        /// the maps ((o + ½)·in/out − ½, not below 0). PyTorch's default is the latter.
        align_corners: bool,
    },
}

/// A resizing of maps, up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize2d {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Height of the source.
    pub ih: usize,
    /// Width of the source.
    pub iw: usize,
    /// Height of the destination.
    pub oh: usize,
    /// Width of the destination.
    pub ow: usize,
    /// How the source is read.
    pub interpolation: Interpolation,
}

/// The two source positions along an axis that a destination position mixes, ascending, with their weights.
type Taps = [(usize, f32); 2];

impl Interpolation {
    /// The taps of position `at` of `out` along an axis whose source has `size`.
    pub fn taps(self, at: usize, size: usize, out: usize) -> [(usize, f32); 2] {
        let position = match self {
            Self::Nearest => {
                let nearest = at * size / out;
                return [(nearest, 1.0), (nearest, 0.0)];
            }
            Self::Bilinear { align_corners: true } if out == 1 => 0.0,
            Self::Bilinear { align_corners: true } => at as f64 * (size - 1) as f64 / (out - 1) as f64,
            Self::Bilinear { align_corners: false } => {
                ((at as f64 + 0.5) * size as f64 / out as f64 - 0.5).max(0.0)
            }
        };
        let low = (position as usize).min(size - 1);
        let weight = position - low as f64;
        [(low, (1.0 - weight) as f32), ((low + 1).min(size - 1), weight as f32)]
    }

    /// The positions of `out` that may mix source position `at`.
    fn readers(self, at: usize, size: usize, out: usize) -> Range<usize> {
        // Taps ascend with the position, so the readers are found by halving.
        let first = |is_reached: &dyn Fn(Taps) -> bool| {
            let (mut low, mut high) = (0, out);
            while low < high {
                let middle = (low + high) / 2;
                if is_reached(self.taps(middle, size, out)) { high = middle } else { low = middle + 1 }
            }
            low
        };
        first(&|[_, (last, _)]| last >= at)..first(&|[(start, _), _]| start > at)
    }
}

impl Resize2d {
    fn assert_fit(&self, src: &[f32], src_ld: usize, dst: &[f32], dst_ld: usize) {
        let Self { n, c, ih, iw, oh, ow, .. } = *self;
        assert_fits("src", src, volume([n, ih, iw]), c, src_ld);
        assert_fits("dst", dst, volume([n, oh, ow]), c, dst_ld);
        assert!([n, oh, ow].contains(&0) || ![ih, iw].contains(&0), "nothing to resize to {oh}×{ow}");
    }

    /// `dst` = the resized `src`.
    pub fn forward(&self, cx: &Context, src: Pixels, dst: PixelsMut) {
        self.assert_fit(src.data, src.ld, dst.data, dst.ld);
        let (ld, dst) = (dst.ld, SharedMut::new(dst.data));
        for_each_piece(cx.exec, self.n * self.oh, rows_per_task(self.ow * self.c), |start, len, _| {
            dispatch(cx.isa, Mix { op: self, lines: start..start + len, src, dst, ld });
        });
    }

    /// `d_src` = for each source element the sum of `d_dst` over all that mixed it, weighted.
    pub fn backward(&self, cx: &Context, d_dst: Pixels, d_src: PixelsMut) {
        self.assert_fit(d_src.data, d_src.ld, d_dst.data, d_dst.ld);
        let (ld, d_src) = (d_src.ld, SharedMut::new(d_src.data));
        for_each_piece(cx.exec, self.n * self.ih, rows_per_task(self.iw * self.c), |start, len, _| {
            dispatch(cx.isa, Gather { op: self, lines: start..start + len, d_dst, d_src, ld });
        });
    }
}

/// Lines of the destination, from the source.
struct Mix<'a> {
    op: &'a Resize2d,
    lines: Range<usize>,
    src: Pixels<'a>,
    dst: SharedMut<'a, f32>,
    ld: usize,
}

impl Kernel for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Resize2d { c, ih, iw, oh, ow, interpolation, .. } = *self.op;
        for line in self.lines.clone() {
            let rows =
                interpolation.taps(line % oh, ih, oh).map(|(y, weight)| ((line / oh * ih + y) * iw, weight));
            for x in 0..ow {
                // SAFETY: lines are their task's own.
                let dst = unsafe { self.dst.range((line * ow + x) * self.ld, c) };
                let columns = interpolation.taps(x, iw, ow);
                if interpolation == Interpolation::Nearest {
                    dst.copy_from_slice(self.src.row(rows[0].0 + columns[0].0, c));
                    continue;
                }
                let corners: [(&[f32], f32); 4] = std::array::from_fn(|k| {
                    let ((row, down), (column, across)) = (rows[k / 2], columns[k % 2]);
                    (self.src.row(row + column, c), down * across)
                });
                for_each_vector(
                    s,
                    c,
                    #[inline(always)]
                    |at, lanes| {
                        let mut sum = s.zero();
                        for (corner, weight) in corners {
                            // SAFETY: the corners hold the channels.
                            let corner = unsafe { s.load_up_to(corner.as_ptr().add(at), lanes) };
                            sum = s.mul_add(corner, s.splat(weight), sum);
                        }
                        // SAFETY: and so does the destination.
                        unsafe { s.store_up_to(dst.as_mut_ptr().add(at), sum, lanes) };
                    },
                );
            }
        }
    }
}

/// Lines of the source's gradient, from all lines of the destination's that read them.
struct Gather<'a> {
    op: &'a Resize2d,
    lines: Range<usize>,
    d_dst: Pixels<'a>,
    d_src: SharedMut<'a, f32>,
    ld: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Resize2d { c, ih, iw, oh, ow, interpolation, .. } = *self.op;
        for line in self.lines.clone() {
            let (image, y) = (line / ih, line % ih);
            // SAFETY: lines are their task's own, and one pixel is borrowed at a time.
            let pixel = |x: usize| unsafe { self.d_src.range((line * iw + x) * self.ld, c) };
            (0..iw).for_each(|x| pixel(x).fill(0.0));
            for row in interpolation.readers(y, ih, oh) {
                let taps = interpolation.taps(row, ih, oh);
                let down: f32 = taps.iter().filter(|(at, _)| *at == y).map(|(_, weight)| weight).sum();
                for x in 0..ow {
                    let d_dst = self.d_dst.row((image * oh + row) * ow + x, c);
                    for (column, across) in interpolation.taps(x, iw, ow) {
                        let weight = down * across;
                        if weight == 0.0 {
                            continue;
                        }
                        let d_src = pixel(column).as_mut_ptr();
                        for_each_vector(
                            s,
                            c,
                            #[inline(always)]
                            // SAFETY: both hold the channels.
                            |at, lanes| unsafe {
                                let sum = s.load_up_to(d_src.add(at), lanes);
                                let d = s.load_up_to(d_dst.as_ptr().add(at), lanes);
                                s.store_up_to(d_src.add(at), s.mul_add(d, s.splat(weight), sum), lanes);
                            },
                        );
                    }
                }
            }
        }
    }
}
