//! Softmax and its logarithm over the channels of each row.

use crate::exec::Context;
use crate::pixelwise::{Rows, SharedRows, assert_fits, for_each_row};
use crate::simd::{Simd, math};
use crate::view::{Pixels, PixelsMut};

/// Whether probabilities or their logarithms are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// yᵢ = exp xᵢ / Σ exp xⱼ
    Linear,
    /// yᵢ = xᵢ − ln Σ exp xⱼ
    Log,
}

/// `dst` = softmax of `src`, or its logarithm, row by row; both `rows` × `channels`.
pub fn forward(cx: &Context, space: Space, src: Pixels, dst: PixelsMut, rows: usize, channels: usize) {
    assert_fits("src", src.data, rows, channels, src.ld);
    assert_fits("dst", dst.data, rows, channels, dst.ld);
    for_each_row(cx, rows, channels, &Forward { space, src, dst: SharedRows::new(dst), channels });
}

/// The gradient from the output `dst`, row by row: dxᵢ = yᵢ (dyᵢ − Σ yⱼ dyⱼ), or dyᵢ − exp yᵢ Σ dyⱼ of the
/// logarithm; all `rows` × `channels`.
pub fn backward(
    cx: &Context,
    space: Space,
    dst: Pixels,
    d_dst: Pixels,
    d_src: PixelsMut,
    rows: usize,
    channels: usize,
) {
    assert_fits("dst", dst.data, rows, channels, dst.ld);
    assert_fits("d_dst", d_dst.data, rows, channels, d_dst.ld);
    assert_fits("d_src", d_src.data, rows, channels, d_src.ld);
    let d_src = SharedRows::new(d_src);
    for_each_row(cx, rows, channels, &Backward { space, dst, d_dst, d_src, channels });
}

/// What a row's normalisation found on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normaliser {
    /// The greatest element.
    pub(crate) max: f32,
    /// Σ exp(xⱼ − max)
    pub(crate) sum: f32,
}

/// `dst` = exp(`src` − max) and what it sums to; both of one length. A NaN makes the sum NaN.
#[inline(always)]
pub(crate) fn exponentials<S: Simd>(s: S, src: &[f32], dst: &mut [f32]) -> Normaliser {
    let lowest = s.splat(f32::NEG_INFINITY);
    let mut max = lowest;
    for chunk in src.chunks(S::LANES) {
        max = s.max(load_or(s, chunk, lowest), max);
    }
    let max = s.max_lane(max);
    let mut sum = s.zero();
    for (src, dst) in src.chunks(S::LANES).zip(dst.chunks_mut(S::LANES)) {
        let e = math::exp(s, s.sub(load_or(s, src, lowest), s.splat(max)));
        sum = s.add(sum, e);
        store(s, dst, e);
    }
    Normaliser { max, sum: s.sum(sum) }
}

/// A chunk of at most a vector, the lanes beyond it from `fill`.
#[inline(always)]
pub(crate) fn load_or<S: Simd>(s: S, chunk: &[f32], fill: S::F) -> S::F {
    // SAFETY: the chunk is as long as said.
    unsafe {
        if chunk.len() >= S::LANES {
            s.load(chunk.as_ptr())
        } else {
            s.load_partial_or(chunk.as_ptr(), chunk.len(), fill)
        }
    }
}

/// Writes as many lanes as the chunk, of at most a vector, has.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, chunk: &mut [f32], value: S::F) {
    // SAFETY: the chunk is as long as said.
    unsafe { s.store_up_to(chunk.as_mut_ptr(), value, chunk.len()) }
}

/// `row` · `factor`.
#[inline(always)]
pub(crate) fn scale<S: Simd>(s: S, row: &mut [f32], factor: f32) {
    for chunk in row.chunks_mut(S::LANES) {
        let x = load_or(s, chunk, s.zero());
        store(s, chunk, s.mul(x, s.splat(factor)));
    }
}

struct Forward<'a> {
    space: Space,
    src: Pixels<'a>,
    dst: SharedRows<'a>,
    channels: usize,
}

impl Rows for Forward<'_> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: usize) {
        let src = self.src.row(row, self.channels);
        // SAFETY: each row is computed once, and no longer than the rows' distance (asserted).
        let dst = unsafe { self.dst.row(row, self.channels) };
        let Normaliser { max, sum } = exponentials(s, src, dst);
        match self.space {
            Space::Linear => scale(s, dst, 1.0 / sum),
            Space::Log => {
                // Two subtractions: max + ln sum would round away the difference between near classes.
                let (max, log_sum) = (s.splat(max), s.splat(sum.ln()));
                for (src, dst) in src.chunks(S::LANES).zip(dst.chunks_mut(S::LANES)) {
                    let x = load_or(s, src, s.zero());
                    store(s, dst, s.sub(s.sub(x, max), log_sum));
                }
            }
        }
    }
}

struct Backward<'a> {
    space: Space,
    dst: Pixels<'a>,
    d_dst: Pixels<'a>,
    d_src: SharedRows<'a>,
    channels: usize,
}

impl Rows for Backward<'_> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: usize) {
        let (dst, d_dst) = (self.dst.row(row, self.channels), self.d_dst.row(row, self.channels));
        // SAFETY: each row is computed once, and no longer than the rows' distance (asserted).
        let d_src = unsafe { self.d_src.row(row, self.channels) };
        let mut dot = s.zero();
        for (y, dy) in dst.chunks(S::LANES).zip(d_dst.chunks(S::LANES)) {
            let dy = load_or(s, dy, s.zero());
            dot = match self.space {
                Space::Linear => s.mul_add(load_or(s, y, s.zero()), dy, dot),
                Space::Log => s.add(dot, dy),
            };
        }
        let dot = s.splat(s.sum(dot));
        let rows = dst.chunks(S::LANES).zip(d_dst.chunks(S::LANES));
        for ((y, dy), dx) in rows.zip(d_src.chunks_mut(S::LANES)) {
            let (y, dy) = (load_or(s, y, s.zero()), load_or(s, dy, s.zero()));
            let value = match self.space {
                Space::Linear => s.mul(y, s.sub(dy, dot)),
                Space::Log => s.sub(dy, s.mul(math::exp(s, y), dot)),
            };
            store(s, dx, value);
        }
    }
}
