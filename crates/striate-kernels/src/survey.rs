//! What is to be known of all elements together: the sum of their squares, and whether all are numbers.

use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::Pixels;
use std::sync::atomic::{AtomicBool, Ordering};

/// Partial sums of an array; a constant, so that none has to be allocated.
const PARTS: usize = 64;

/// Σ x²: blocks of a set size are summed in float32, their sums in order in float64.
pub fn square_sum(cx: &Context, values: &[f32]) -> f64 {
    let mut sums = [0.0f64; PARTS];
    let part = values.len().div_ceil(PARTS).next_multiple_of(GRAIN);
    let shared = SharedMut::new(&mut sums);
    for_each_piece(cx.exec, values.len(), part, |start, len, _worker| {
        let blocks = values[start..start + len].chunks(GRAIN);
        // SAFETY: each piece is another part.
        let sum = unsafe { shared.range(start / part, 1) };
        sum[0] = blocks.map(|block| f64::from(dispatch(cx.isa, SquareSum(block)))).sum();
    });
    sums.iter().sum()
}

struct SquareSum<'a>(&'a [f32]);

impl Kernel for SquareSum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        s.vectorize(|| {
            let mut sum = s.zero();
            for vector in self.0.chunks(S::LANES) {
                // SAFETY: as many elements are read as the chunk has.
                let x = unsafe { s.load_up_to(vector.as_ptr(), vector.len()) };
                sum = s.mul_add(x, x, sum);
            }
            s.sum(sum)
        })
    }
}

/// Whether none of `rows` × `channels` elements is infinite or no number.
pub fn all_finite<E: Element>(cx: &Context, src: Pixels<E>, rows: usize, channels: usize) -> bool {
    assert_fits("src", src.data, rows, channels, src.ld);
    let dense = rows <= 1 || src.ld == channels;
    let (units, grain) = if dense { (rows * channels, GRAIN) } else { (rows, rows_per_task(channels)) };
    let found = AtomicBool::new(false);
    for_each_piece(cx.exec, units, grain, |start, count, _worker| {
        let (ld, len) = if dense { (1, count) } else { (src.ld, channels) };
        let rows = if dense { start..start + 1 } else { start..start + count };
        let is_finite = |row: usize| dispatch(cx.isa, Finite(&src.data[row * ld..row * ld + len]));
        if !rows.into_iter().all(is_finite) {
            found.store(true, Ordering::Relaxed);
        }
    });
    !found.into_inner()
}

struct Finite<'a, E>(&'a [E]);

impl<E: Element> Kernel for Finite<'_, E> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        s.vectorize(|| {
            // 0·x is 0 for numbers and none else.
            let mut zeros = s.zero();
            for vector in self.0.chunks(S::LANES) {
                // SAFETY: as many elements are read as the chunk has.
                let x = unsafe { s.load_up_to(vector.as_ptr(), vector.len()) };
                zeros = s.mul_add(x, s.zero(), zeros);
            }
            s.sum(zeros).is_finite()
        })
    }
}
