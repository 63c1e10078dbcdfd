//! Images of a batch mixed with each other: mixup and cutmix.

use striate_kernels::rng::{Purpose, Rng};

use super::Augment;

/// How the images of one batch are mixed, each with its partner: the first with the last, the second with the last but
/// one, and so on, which in shuffled batches is anyone. (An image in the middle keeps to itself.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// Each image keeps this part of itself and takes the rest of its partner, in all pixels.
    Blend(f32),
    /// Partners exchange a rectangle.
    Exchange {
        /// Its first row.
        top: usize,
        /// Its first column.
        left: usize,
        /// Its rows.
        height: usize,
        /// Its columns.
        width: usize,
    },
}

impl Augment {
    /// How the images of batch `batch` of epoch `epoch`, of height and width `size`, are mixed; where both ways are asked
    /// for, each half of the time.
    pub fn mix(&self, seed: u64, epoch: u64, batch: u64, size: [usize; 2]) -> Option<Mix> {
        if !self.mixes() {
            return None;
        }
        let mut rng = Rng::new(seed, Purpose::Mix, epoch, batch);
        let blend = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => rng.uniform() < 0.5,
            (mixup, _) => mixup,
        };
        let kept = beta(&mut rng, f64::from(if blend { self.mixup } else { self.cutmix }));
        Some(if blend { Mix::Blend(kept as f32) } else { exchange(&mut rng, kept, size) })
    }
}

/// A rectangle of 1 − `kept` of the area, in proportion to the image, its middle anywhere, as far as it is inside (Yun et
/// al. 2019, equation 2).
fn exchange(rng: &mut Rng, kept: f64, size: [usize; 2]) -> Mix {
    let part = (1.0 - kept).sqrt();
    let [rows, columns] = size.map(|length| {
        let side = (length as f64 * part) as usize;
        let middle = rng.below(length.max(1));
        middle.saturating_sub(side / 2)..(middle + side / 2).min(length)
    });
    Mix::Exchange { top: rows.start, left: columns.start, height: rows.len(), width: columns.len() }
}

/// From the distribution Beta(`a`, `a`): of two draws from Gamma(`a`) the first's part of the sum.
fn beta(rng: &mut Rng, a: f64) -> f64 {
    let [x, y] = [log_gamma_draw(rng, a), log_gamma_draw(rng, a)];
    1.0 / (1.0 + (y - x).exp())
}

/// The logarithm of a draw from Gamma(`a`, 1), which for small `a` is too near 0 to be told from it (Marsaglia and Tsang
/// 2000; below 1 by way of `a` + 1).
fn log_gamma_draw(rng: &mut Rng, a: f64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    let above_zero = |rng: &mut Rng| ((rng.next_u64() >> 11) + 1) as f64 * STEP;
    if a < 1.0 {
        let power = above_zero(rng).ln() / a;
        return log_gamma_draw(rng, a + 1.0) + power;
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(rng.normal());
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && above_zero(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

/// The labels of a mixed batch.
#[derive(Debug)]
pub struct Labels<'a> {
    /// The class that counts most of each image.
    pub first: &'a mut [u32],
    /// The other one; the same where an image is itself only.
    pub second: &'a mut [u32],
}

impl Mix {
    /// Mixes `images`, each `width` pixels wide with `channels` channels, and says how much the first labels count: 1/2 at
    /// least, because where the partner counts more its label is put first. The rest of 1 is the second labels'.
    pub fn apply(self, images: &mut [f32], [channels, width]: [usize; 2], labels: Labels<'_>) -> f32 {
        let Labels { first, second } = labels;
        let count = first.len();
        let len = images.len() / count.max(1);
        for at in 0..count / 2 {
            let (head, tail) = images.split_at_mut((count - 1 - at) * len);
            self.mix(&mut head[at * len..][..len], &mut tail[..len], [channels, width]);
        }
        second.copy_from_slice(first);
        second.reverse();
        let kept = match self {
            Mix::Blend(kept) => kept,
            Mix::Exchange { height, width, .. } => {
                1.0 - (height * width * channels) as f32 / len.max(1) as f32
            }
        };
        if kept >= 0.5 {
            return kept;
        }
        first.swap_with_slice(second);
        1.0 - kept
    }

    fn mix(self, one: &mut [f32], other: &mut [f32], [channels, columns]: [usize; 2]) {
        match self {
            Mix::Blend(kept) => {
                for (a, b) in one.iter_mut().zip(other) {
                    (*a, *b) = (*b + kept * (*a - *b), *a + kept * (*b - *a));
                }
            }
            Mix::Exchange { top, left, height, width } => {
                let rows =
                    one.chunks_exact_mut(columns * channels).zip(other.chunks_exact_mut(columns * channels));
                for (one, other) in rows.skip(top).take(height) {
                    let part = left * channels..(left + width) * channels;
                    one[part.clone()].swap_with_slice(&mut other[part]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_blended() {
        let mut images = vec![1.0, 2.0, 10.0, 20.0, 5.0, 6.0];
        let (mut first, mut second) = ([0, 1, 2], [9; 3]);
        let labels = Labels { first: &mut first, second: &mut second };
        let kept = Mix::Blend(0.75).apply(&mut images, [2, 1], labels);
        assert_eq!(images, [2.0, 3.0, 10.0, 20.0, 4.0, 5.0], "the one in the middle keeps to itself");
        assert_eq!((kept, first, second), (0.75, [0, 1, 2], [2, 1, 0]));
    }

    #[test]
    fn the_label_that_counts_more_is_first() {
        let mut images = vec![1.0, 2.0];
        let (mut first, mut second) = ([4, 7], [0; 2]);
        let labels = Labels { first: &mut first, second: &mut second };
        let kept = Mix::Blend(0.25).apply(&mut images, [1, 1], labels);
        assert_eq!((kept, first, second), (0.75, [7, 4], [4, 7]));
        assert_eq!(images, [1.75, 1.25], "three quarters of the partner");
    }

    #[test]
    fn rectangles_are_exchanged_and_labels_follow_the_area() {
        let mut images: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let (mut first, mut second) = ([4, 7], [0; 2]);
        let labels = Labels { first: &mut first, second: &mut second };
        // Two images of 3 rows, 2 columns, 2 channels.
        let mix = Mix::Exchange { top: 1, left: 1, height: 2, width: 1 };
        let kept = mix.apply(&mut images, [2, 2], labels);
        assert!((kept - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(images[..12], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 18.0, 19.0, 8.0, 9.0, 22.0, 23.0]);
        assert_eq!(images[12..], [12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 6.0, 7.0, 20.0, 21.0, 10.0, 11.0]);
        let labels = Labels { first: &mut first, second: &mut second };
        let most = Mix::Exchange { top: 0, left: 0, height: 3, width: 2 };
        assert_eq!(most.apply(&mut images, [2, 2], labels), 1.0);
        assert_eq!((first, second), ([7, 4], [4, 7]));
    }

    /// Mean and variance of Beta(a, a) are 1/2 and 1/(4(2a + 1)); its fourth moment tells its shape.
    #[test]
    fn weights_are_betas() {
        for a in [0.2, 0.4, 1.0, 3.0] {
            let mut rng = Rng::new(1, Purpose::Mix, 0, 0);
            let draws: Vec<f64> = (0..40_000).map(|_| beta(&mut rng, a)).collect();
            assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
            let moment = |power: i32| draws.iter().map(|draw| (draw - 0.5).powi(power)).sum::<f64>() / 4e4;
            let variance = 1.0 / (4.0 * (2.0 * a + 1.0));
            let fourth = 3.0 * (2.0 * a + 1.0) / (2.0 * a + 3.0) * variance * variance;
            assert!(moment(1).abs() < 5.0 * (variance / 4e4).sqrt(), "{a}: {}", moment(1));
            assert!((moment(2) / variance - 1.0).abs() < 0.03, "{a}: {} {variance}", moment(2));
            assert!((moment(4) / fourth - 1.0).abs() < 0.05, "{a}: {} {fourth}", moment(4));
        }
        let mut rng = Rng::new(2, Purpose::Mix, 0, 0);
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&beta(&mut rng, 1e-3))));
    }

    #[test]
    fn draws_repeat_and_both_ways_come() {
        let augment = Augment { mixup: 0.2, cutmix: 1.0, ..Augment::NONE };
        let draw = |seed, epoch, batch| augment.mix(seed, epoch, batch, [32, 40]);
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert!(
            draw(1, 2, 3) != draw(2, 2, 3)
                && draw(1, 2, 3) != draw(1, 3, 3)
                && draw(1, 2, 3) != draw(1, 2, 4)
        );
        let blends = (0..2000).filter(|batch| matches!(draw(0, 0, *batch), Some(Mix::Blend(_)))).count();
        assert!((900..1100).contains(&blends), "{blends}");
        assert_eq!(Augment::NONE.mix(0, 0, 0, [1, 1]), None);
    }

    #[test]
    fn exchanged_areas_are_as_drawn_where_they_are_inside() {
        let augment = Augment { cutmix: 1.0, ..Augment::NONE };
        let (mut area, mut most) = (0.0, 0.0f64);
        for batch in 0..4000 {
            let Some(Mix::Exchange { top, left, height, width }) = augment.mix(3, 0, batch, [64, 48]) else {
                panic!("only cutmix was asked for");
            };
            assert!(top + height <= 64 && left + width <= 48);
            let part = (height * width) as f64 / (64.0 * 48.0);
            (area, most) = (area + part / 4000.0, most.max(part));
        }
        // Of a rectangle with sides s, its middle anywhere, (s − s²/4)² is inside: 0.321 where s² is spread evenly, and
        // somewhat less because sides are rounded down.
        assert!((0.28..0.325).contains(&area) && most > 0.9, "{area} {most}");
    }
}
