//! Locally connected layers: a convolution's connections with weights of their own at each position.
//!
//! Geometry is a convolution's with one group. With p = y·ow + x counting the destination's positions, weights
//! lie as (oh·ow, kh, kw, ic, oc) and the bias as (oh·ow, oc): all that a position multiplies is together, in
//! the order in which it is read. [`pack`] and [`unpack`] change from and to (oh·ow, oc, ic, kh, kw).

use crate::channelwise::{AddSums, Maps, Source, Sum};
use crate::conv::Conv2dGeometry;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut, volume};
use std::ops::Range;

/// Weights of all positions.
pub fn weights_len(g: &Conv2dGeometry) -> usize {
    volume([positions(g), position_len(g)])
}

/// Biases of all positions.
pub fn bias_len(g: &Conv2dGeometry) -> usize {
    volume([positions(g), g.oc])
}

/// Positions of the destination.
fn positions(g: &Conv2dGeometry) -> usize {
    volume([g.oh(), g.ow()])
}

/// Weights of a position.
fn position_len(g: &Conv2dGeometry) -> usize {
    volume([g.kh, g.kw, g.ic, g.oc])
}

/// Positions that make a task.
fn grain(g: &Conv2dGeometry) -> usize {
    (GRAIN / (position_len(g) + g.n * (g.ic + g.oc)).max(1)).max(1)
}

/// `dst` (oh·ow, kh, kw, ic, oc) = `src` (oh·ow, oc, ic, kh, kw).
pub fn pack(g: &Conv2dGeometry, src: &[f32], dst: &mut [f32]) {
    for_each_weight(g, |packed, logical| dst[packed] = src[logical]);
}

/// `dst` (oh·ow, oc, ic, kh, kw) = `src` (oh·ow, kh, kw, ic, oc).
pub fn unpack(g: &Conv2dGeometry, src: &[f32], dst: &mut [f32]) {
    for_each_weight(g, |packed, logical| dst[logical] = src[packed]);
}

/// Calls `visit(packed, logical)` with the two indices of each weight.
fn for_each_weight(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize)) {
    let (taps, inputs) = (g.kh * g.kw, g.kh * g.kw * g.ic);
    for packed in 0..weights_len(g) {
        let (position, tap, i, o) =
            (packed / (inputs * g.oc), packed / (g.ic * g.oc) % taps, packed / g.oc % g.ic, packed % g.oc);
        visit(packed, ((position * g.oc + o) * g.ic + i) * taps + tap);
    }
}

/// The tap's index and the pixel it reads, within an image, of each tap of `position` that is not on padding.
#[inline(always)]
fn taps(g: &Conv2dGeometry, position: usize) -> impl Iterator<Item = (usize, usize)> {
    let g = *g;
    let (y, x) = (position / g.ow(), position % g.ow());
    (0..g.kh * g.kw).filter_map(move |tap| {
        let row = (y * g.sh + tap / g.kw * g.dh).checked_sub(g.pt).filter(|row| *row < g.ih)?;
        let column = (x * g.sw + tap % g.kw * g.dw).checked_sub(g.pl).filter(|column| *column < g.iw)?;
        Some((tap, row * g.iw + column))
    })
}

/// The tap's index and the position of each tap, of all positions, that reads `pixel`.
#[inline(always)]
fn readers(g: &Conv2dGeometry, pixel: usize) -> impl Iterator<Item = (usize, usize)> {
    let (g, oh, ow) = (*g, g.oh(), g.ow());
    let (row, column) = (pixel / g.iw + g.pt, pixel % g.iw + g.pl);
    let along = |at: usize, offset: usize, stride: usize, out: usize| {
        let ahead = at.checked_sub(offset)?;
        let position = if stride == 1 { ahead } else { ahead / stride };
        (position * stride == ahead && position < out).then_some(position)
    };
    (0..g.kh).filter_map(move |ky| Some((ky, along(row, ky * g.dh, g.sh, oh)?))).flat_map(move |(ky, y)| {
        (0..g.kw).filter_map(move |kx| Some((ky * g.kw + kx, y * ow + along(column, kx * g.dw, g.sw, ow)?)))
    })
}

fn assert_geometry(g: &Conv2dGeometry, src: (&[f32], usize), weights: Option<&[f32]>, dst: (&[f32], usize)) {
    assert_eq!(g.groups, 1, "a locally connected layer has one group");
    assert_fits("src", src.0, volume([g.n, g.ih, g.iw]), g.ic, src.1);
    assert_fits("dst", dst.0, volume([g.n, positions(g)]), g.oc, dst.1);
    if let Some(weights) = weights {
        assert_eq!(weights.len(), weights_len(g), "weights");
    }
}

/// dst\[n, o, p\] = bias\[p, o\] + Σ weights\[p, ky, kx, i, o\] · src\[n, i, …\], as a convolution's at p.
pub fn forward(
    cx: &Context,
    g: &Conv2dGeometry,
    src: Pixels,
    weights: &[f32],
    bias: Option<&[f32]>,
    dst: PixelsMut,
) {
    assert_geometry(g, (src.data, src.ld), Some(weights), (dst.data, dst.ld));
    assert!(bias.is_none_or(|bias| bias.len() == bias_len(g)), "biases, one a position and channel");
    let (dst, dst_ld) = (SharedMut::new(dst.data), dst.ld);
    for_each_piece(cx.exec, positions(g), grain(g), |start, len, _| {
        dispatch(cx.isa, Forward { g, positions: start..start + len, src, weights, bias, dst, dst_ld });
    });
}

/// `d_src` = the gradient of the source.
pub fn backward_data(cx: &Context, g: &Conv2dGeometry, d_dst: Pixels, weights: &[f32], d_src: PixelsMut) {
    assert_geometry(g, (d_src.data, d_src.ld), Some(weights), (d_dst.data, d_dst.ld));
    let (d_src, d_src_ld) = (SharedMut::new(d_src.data), d_src.ld);
    for_each_piece(cx.exec, g.ih * g.iw, grain(g), |start, len, _| {
        dispatch(cx.isa, BackwardData { g, pixels: start..start + len, d_dst, weights, d_src, d_src_ld });
    });
}

/// `d_weights` = the gradient of the weights, in their layout.
pub fn backward_weights(cx: &Context, g: &Conv2dGeometry, src: Pixels, d_dst: Pixels, d_weights: &mut [f32]) {
    assert_geometry(g, (src.data, src.ld), Some(d_weights), (d_dst.data, d_dst.ld));
    let d_weights = SharedMut::new(d_weights);
    for_each_piece(cx.exec, positions(g), grain(g), |start, len, _| {
        dispatch(cx.isa, BackwardWeights { g, positions: start..start + len, src, d_dst, d_weights });
    });
}

/// `d_bias` = the gradient of the bias, in its layout: the sum over the images.
pub fn backward_bias(cx: &Context, g: &Conv2dGeometry, d_dst: Pixels, d_bias: &mut [f32]) {
    let Conv2dGeometry { n, oc, .. } = *g;
    assert_fits("d_dst", d_dst.data, volume([n, positions(g)]), oc, d_dst.ld);
    assert_eq!(d_bias.len(), bias_len(g), "biases, one a position and channel");
    d_bias.fill(0.0);
    let d_bias = SharedMut::new(d_bias);
    for_each_piece(cx.exec, positions(g), (GRAIN / (n * oc).max(1)).max(1), |start, len, _| {
        for position in start..start + len {
            // SAFETY: a position's biases are its task's own.
            let sums = [unsafe { d_bias.range(position * oc, oc) }];
            let images = d_dst.data.get(position * d_dst.ld..).unwrap_or_default();
            let operands = [Source::Of(Pixels::new(images, positions(g) * d_dst.ld))];
            let maps = Maps::new(operands, [], [n, oc]);
            dispatch(cx.isa, AddSums { f: &Sum, rows: 0..n, maps: &maps, params: [], sums });
        }
    });
}

/// Calls `body(is_wide, at, lanes)` for panels of `wide` vectors of `channels`, then for single vectors, of which
/// the last may have fewer than all lanes.
#[inline(always)]
fn for_each_panel<S: Simd>(_: S, channels: usize, wide: usize, mut body: impl FnMut(bool, usize, usize)) {
    let mut at = 0;
    while at + wide * S::LANES <= channels {
        body(true, at, S::LANES);
        at += wide * S::LANES;
    }
    while at < channels {
        let lanes = S::LANES.min(channels - at);
        body(false, at, lanes);
        at += lanes;
    }
}

/// Calls `body(is_full, start)` for tiles of `rows` of `total`, then for single rows.
#[inline(always)]
fn for_each_tile(total: usize, rows: usize, mut body: impl FnMut(bool, usize)) {
    let mut start = 0;
    while start < total {
        let full = start + rows <= total;
        body(full, start);
        start += if full { rows } else { 1 };
    }
}

/// Rows of a register tile: images, or source channels.
const ROWS: usize = 4;

struct Forward<'a> {
    g: &'a Conv2dGeometry,
    positions: Range<usize>,
    src: Pixels<'a>,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    dst: SharedMut<'a, f32>,
    dst_ld: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for position in self.positions.clone() {
            for_each_panel(
                s,
                self.g.oc,
                2,
                #[inline(always)]
                |wide, at, lanes| {
                    for_each_tile(
                        self.g.n,
                        ROWS,
                        #[inline(always)]
                        |full, image| match (full, wide) {
                            (true, true) => self.tile::<S, ROWS, 2>(s, position, image, at, lanes),
                            (true, false) => self.tile::<S, ROWS, 1>(s, position, image, at, lanes),
                            (false, true) => self.tile::<S, 1, 2>(s, position, image, at, lanes),
                            (false, false) => self.tile::<S, 1, 1>(s, position, image, at, lanes),
                        },
                    );
                },
            );
        }
    }
}

impl Forward<'_> {
    /// `M` images, `V` vectors of channels from `at` on, the last of `lanes`, at one position.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        p: usize,
        image: usize,
        at: usize,
        lanes: usize,
    ) {
        let g = self.g;
        let mut bias = [s.zero(); V];
        if let Some(values) = self.bias {
            for (v, bias) in bias.iter_mut().enumerate() {
                // SAFETY: `forward` checked that there is a bias for each channel of each position.
                *bias = unsafe { s.load_up_to(values.as_ptr().add(p * g.oc + at + v * S::LANES), lanes) };
            }
        }
        let mut sums = [bias; M];
        for (tap, pixel) in taps(g, p) {
            let weights = &self.weights[p * position_len(g) + tap * g.ic * g.oc..][..g.ic * g.oc];
            let src: [&[f32]; M] =
                std::array::from_fn(|m| self.src.row((image + m) * g.ih * g.iw + pixel, g.ic));
            for i in 0..g.ic {
                for v in 0..V {
                    let at = i * g.oc + at + v * S::LANES;
                    // SAFETY: `at + lanes` stays within the tap's ic·oc weights.
                    let weight = unsafe { s.load_up_to(weights.as_ptr().add(at), lanes) };
                    for m in 0..M {
                        // SAFETY: each row of `src` has ic elements.
                        let x = unsafe { *src[m].as_ptr().add(i) };
                        sums[m][v] = s.mul_add(s.splat(x), weight, sums[m][v]);
                    }
                }
            }
        }
        for m in 0..M {
            let pixel = (image + m) * positions(g) + p;
            for v in 0..V {
                let at = pixel * self.dst_ld + at + v * S::LANES;
                // SAFETY: `assert_geometry` checked the destination; its pixels at `p` are this task's own.
                unsafe { s.store_up_to(self.dst.ptr_at(at), sums[m][v], lanes) };
            }
        }
    }
}

struct BackwardWeights<'a> {
    g: &'a Conv2dGeometry,
    positions: Range<usize>,
    src: Pixels<'a>,
    d_dst: Pixels<'a>,
    d_weights: SharedMut<'a, f32>,
}

impl Kernel for BackwardWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let g = self.g;
        for position in self.positions.clone() {
            let start = position * position_len(g);
            // SAFETY: a position's weights are its task's own. Taps on padding have no gradient.
            unsafe { self.d_weights.range(start, position_len(g)) }.fill(0.0);
            for (tap, pixel) in taps(g, position) {
                let start = start + tap * g.ic * g.oc;
                for_each_panel(
                    s,
                    g.oc,
                    2,
                    #[inline(always)]
                    |wide, at, lanes| {
                        for_each_tile(
                            g.ic,
                            ROWS,
                            #[inline(always)]
                            |full, i| {
                                let from = [position, pixel, i];
                                let to = start + i * g.oc + at;
                                match (full, wide) {
                                    (true, true) => self.tile::<S, ROWS, 2>(s, from, at, to, lanes),
                                    (true, false) => self.tile::<S, ROWS, 1>(s, from, at, to, lanes),
                                    (false, true) => self.tile::<S, 1, 2>(s, from, at, to, lanes),
                                    (false, false) => self.tile::<S, 1, 1>(s, from, at, to, lanes),
                                }
                            },
                        );
                    },
                );
            }
        }
    }
}

impl BackwardWeights<'_> {
    /// `M` source channels from `i` on, of `pixel`, times `V` vectors of channels of the gradient from `at` on,
    /// at `position`, summed over the images; written from `to` on.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        [position, pixel, i]: [usize; 3],
        at: usize,
        to: usize,
        lanes: usize,
    ) {
        let g = self.g;
        let mut sums = [[s.zero(); V]; M];
        for image in 0..g.n {
            let src = self.src.row(image * g.ih * g.iw + pixel, g.ic);
            let d_dst = self.d_dst.row(image * positions(g) + position, g.oc);
            for v in 0..V {
                // SAFETY: the panel lies within the oc channels, the tile within the ic below.
                let d_dst = unsafe { s.load_up_to(d_dst.as_ptr().add(at + v * S::LANES), lanes) };
                for m in 0..M {
                    // SAFETY: as above.
                    let x = unsafe { *src.as_ptr().add(i + m) };
                    sums[m][v] = s.mul_add(s.splat(x), d_dst, sums[m][v]);
                }
            }
        }
        for m in 0..M {
            for v in 0..V {
                let at = to + m * g.oc + v * S::LANES;
                // SAFETY: `assert_geometry` checked the weights; those of this position are this task's own.
                unsafe { s.store_up_to(self.d_weights.ptr_at(at), sums[m][v], lanes) };
            }
        }
    }
}

struct BackwardData<'a> {
    g: &'a Conv2dGeometry,
    pixels: Range<usize>,
    d_dst: Pixels<'a>,
    weights: &'a [f32],
    d_src: SharedMut<'a, f32>,
    d_src_ld: usize,
}

impl Kernel for BackwardData<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // As many sums in flight as the registers hold.
        if S::REGISTERS >= 32 { self.sweep::<S, 4>(s) } else { self.sweep::<S, 2>(s) }
    }
}

impl BackwardData<'_> {
    /// All pixels, `M` images at a time.
    #[inline(always)]
    fn sweep<S: Simd, const M: usize>(&self, s: S) {
        for pixel in self.pixels.clone() {
            for_each_tile(
                self.g.ic,
                ROWS,
                #[inline(always)]
                |full_channels, i| {
                    for_each_tile(
                        self.g.n,
                        M,
                        #[inline(always)]
                        |full_images, image| match (full_images, full_channels) {
                            (true, true) => self.tile::<S, M, ROWS>(s, pixel, image, i),
                            (true, false) => self.tile::<S, M, 1>(s, pixel, image, i),
                            (false, true) => self.tile::<S, 1, ROWS>(s, pixel, image, i),
                            (false, false) => self.tile::<S, 1, 1>(s, pixel, image, i),
                        },
                    );
                },
            );
        }
    }

    /// `M` images and `I` source channels at one pixel: products summed by lane over all that read the pixel,
    /// and the lanes last.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const I: usize>(&self, s: S, pixel: usize, image: usize, i: usize) {
        let g = self.g;
        let mut sums = [[s.zero(); I]; M];
        for (tap, position) in readers(g, pixel) {
            let start = position * position_len(g) + (tap * g.ic + i) * g.oc;
            let weights = &self.weights[start..][..I * g.oc];
            let d_dst: [&[f32]; M] =
                std::array::from_fn(|m| self.d_dst.row((image + m) * positions(g) + position, g.oc));
            for_each_panel(
                s,
                g.oc,
                1,
                #[inline(always)]
                |_, at, lanes| {
                    let mut gradients = [s.zero(); M];
                    for m in 0..M {
                        // SAFETY: the rows have oc channels, and `weights` as many for each of the `I`.
                        gradients[m] = unsafe { s.load_up_to(d_dst[m].as_ptr().add(at), lanes) };
                    }
                    for k in 0..I {
                        // SAFETY: as above.
                        let weight = unsafe { s.load_up_to(weights.as_ptr().add(k * g.oc + at), lanes) };
                        for m in 0..M {
                            sums[m][k] = s.mul_add(gradients[m], weight, sums[m][k]);
                        }
                    }
                },
            );
        }
        for m in 0..M {
            let pixel = (image + m) * g.ih * g.iw + pixel;
            for k in 0..I {
                // SAFETY: `assert_geometry` checked the source; this pixel of all images is this task's own.
                unsafe { *self.d_src.ptr_at(pixel * self.d_src_ld + i + k) = s.sum(sums[m][k]) };
            }
        }
    }
}
