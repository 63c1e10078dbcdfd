//! Dropout (Srivastava et al. 2014), inverted: what is kept is scaled up, so that inference does nothing.
//!
//! The mask is a function of (seed, step, node, element) and is never stored: backward computes it again.

use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits};
use crate::rng::{Purpose, Stream};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut};

/// Where a mask belongs.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The seed of the run.
    pub seed: u64,
    /// The training step.
    pub step: u64,
    /// Which of the network's dropout layers it is.
    pub node: u64,
    /// The probability that an element is dropped, in 0 ..= 1.
    pub p: f32,
}

/// `dst` = `src` · mask / (1 − p), `rows` × `channels`. The gradient is the same function of the gradient.
pub fn apply(cx: &Context, dropout: Dropout, src: Pixels, dst: PixelsMut, rows: usize, channels: usize) {
    assert_fits("src", src.data, rows, channels, src.ld);
    assert_fits("dst", dst.data, rows, channels, dst.ld);
    let Dropout { seed, step, node, p } = dropout;
    let stream = Stream::new(seed, Purpose::Dropout, step, node);
    let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    // A word is dropped with probability ⌊2³²·p⌋ / 2³²; the cast saturates.
    let threshold = (f64::from(p) * 2f64.powi(32)) as u32;
    let dense = rows <= 1 || (src.ld == channels && dst.ld == channels);
    let (dst_ld, dst) = (dst.ld, SharedMut::new(dst.data));
    let run = Run { stream, threshold, scale, src, dst, dst_ld, channels, dense, start: 0, len: 0 };
    // Elements count through the rows; pieces start at multiples of `GRAIN`, which `GROUP` divides.
    for_each_piece(cx.exec, rows * channels, GRAIN, |start, len, _worker| {
        dispatch(cx.isa, Run { start, len, ..run });
    });
}

/// Counters that are encrypted together.
const LANES: usize = 16;
/// Elements that one call of the generator serves: four words a counter. Word w of counter l is for element
/// 16·w + l of the group, so that words need not be transposed.
const GROUP: usize = 4 * LANES;

/// The elements `start .. start + len`, counted through the rows.
#[derive(Clone, Copy)]
struct Run<'a> {
    stream: Stream,
    threshold: u32,
    scale: f32,
    src: Pixels<'a>,
    dst: SharedMut<'a, f32>,
    dst_ld: usize,
    channels: usize,
    dense: bool,
    start: usize,
    len: usize,
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for group in (self.start..self.start + self.len).step_by(GROUP) {
            let len = GROUP.min(self.start + self.len - group);
            let words = self.stream.blocks::<LANES>((group / 4) as u64);
            let mut factors = [0.0; GROUP];
            for (factors, words) in factors.chunks_exact_mut(LANES).zip(words) {
                for lane in 0..LANES {
                    factors[lane] = if words[lane] >= self.threshold { self.scale } else { 0.0 };
                }
            }
            if self.dense {
                self.multiply(group, group, &factors[..len]);
            } else {
                // The group's elements row by row: each run ends with its row or with the group.
                let mut done = 0;
                while done < len {
                    let (row, c) = ((group + done) / self.channels, (group + done) % self.channels);
                    let count = (self.channels - c).min(len - done);
                    self.multiply(row * self.src.ld + c, row * self.dst_ld + c, &factors[done..done + count]);
                    done += count;
                }
            }
        }
    }
}

impl Run<'_> {
    /// Multiplies elements at `from` of `src` into `to` of `dst`.
    #[inline(always)]
    fn multiply(&self, from: usize, to: usize, factors: &[f32]) {
        let src = &self.src.data[from..from + factors.len()];
        // SAFETY: elements of this piece, which no other task touches.
        let dst = unsafe { self.dst.range(to, factors.len()) };
        for ((dst, src), factor) in dst.iter_mut().zip(src).zip(factors) {
            *dst = src * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, Serial};

    fn dropped(dropout: Dropout, isa: Isa, src: &[f32]) -> Vec<f32> {
        let cx = Context { isa, exec: &Serial };
        let mut dst = vec![f32::NAN; src.len()];
        let len = src.len();
        apply(&cx, dropout, Pixels::new(src, len), PixelsMut::new(&mut dst, len), 1, len);
        dst
    }

    const EXAMPLE: Dropout = Dropout { seed: 3, step: 10, node: 2, p: 0.3 };

    #[test]
    fn drops_the_given_share_and_keeps_the_mean() {
        let n = 100_003;
        for p in [0.1, 0.5, 0.9] {
            let values = dropped(Dropout { p, ..EXAMPLE }, Isa::best(), &vec![1.0; n]);
            let zeros = values.iter().filter(|y| **y == 0.0).count() as f64;
            assert!(values.iter().all(|y| *y == 0.0 || *y == 1.0 / (1.0 - p)));
            let p = f64::from(p);
            assert!((zeros - n as f64 * p).abs() < 5.0 * (n as f64 * p * (1.0 - p)).sqrt(), "{zeros} of {n}");
        }
    }

    #[test]
    fn nothing_and_everything() {
        let src: Vec<f32> = (0..1000).map(|i| i as f32 - 500.5).collect();
        assert_eq!(dropped(Dropout { p: 0.0, ..EXAMPLE }, Isa::best(), &src), src);
        assert!(dropped(Dropout { p: 1.0, ..EXAMPLE }, Isa::best(), &src).iter().all(|y| *y == 0.0));
    }

    #[test]
    fn every_part_of_the_name_changes_the_mask() {
        let ones = [1.0; 200];
        let mask = dropped(EXAMPLE, Isa::best(), &ones);
        for other in
            [Dropout { seed: 4, ..EXAMPLE }, Dropout { step: 11, ..EXAMPLE }, Dropout { node: 3, ..EXAMPLE }]
        {
            assert_ne!(dropped(other, Isa::best(), &ones), mask, "{other:?}");
        }
    }

    /// The definition, one element at a time; also: a mask does not depend on how rows lie in memory.
    #[test]
    fn agrees_with_the_definition_for_any_layout() {
        for isa in Isa::present() {
            let cx = Context { isa, exec: &Serial };
            for (rows, channels, src_ld, dst_ld) in
                [(1, 5, 5, 5), (37, 6, 9, 6), (300, 70, 70, 71), (3, 9000, 9001, 9000)]
            {
                let src: Vec<f32> = (0..rows * src_ld).map(|i| i as f32 + 1.0).collect();
                let mut dst = vec![-1.0; rows * dst_ld];
                let (from, to) = (Pixels::new(&src, src_ld), PixelsMut::new(&mut dst, dst_ld));
                apply(&cx, EXAMPLE, from, to, rows, channels);
                let stream = Stream::new(EXAMPLE.seed, Purpose::Dropout, EXAMPLE.step, EXAMPLE.node);
                for row in 0..rows {
                    for c in 0..channels {
                        let element = row * channels + c;
                        let block = element / 64 * 16 + element % 16;
                        let word = stream.block(block as u64)[element / 16 % 4];
                        let kept = f64::from(word) >= f64::from(EXAMPLE.p) * 4294967296.0 - 1.0;
                        let expected =
                            if kept { src[row * src_ld + c] * (1.0 / (1.0 - EXAMPLE.p)) } else { 0.0 };
                        assert_eq!(dst[row * dst_ld + c], expected);
                    }
                    assert!(dst[row * dst_ld + channels..(row + 1) * dst_ld].iter().all(|gap| *gap == -1.0));
                }
            }
        }
    }
}
