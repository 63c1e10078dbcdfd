//! Parts of an image blanked out: cutout and random erasing. What is blanked is 0 after normalisation: the mean.

use striate_kernels::rng::Rng;

use super::Augment;
use crate::resample::Rect;

impl Augment {
    /// The squares and rectangles of an image of height and width `image` that are blanked.
    pub(super) fn draw_blanks(&self, rng: &mut Rng, image: [usize; 2]) -> [Option<Rect>; 2] {
        let cutout = (self.cutout > 0).then(|| square(rng, self.cutout as usize, image));
        let erase = self.erase > 0.0 && rng.uniform() < self.erase;
        [cutout, if erase { rectangle(rng, image) } else { None }]
    }
}

/// A square whose middle lies anywhere in the image, as far as it is inside (DeVries and Taylor 2017, section 3.2).
fn square(rng: &mut Rng, side: usize, image: [usize; 2]) -> Rect {
    let [rows, columns] = image.map(|length| {
        let middle = rng.below(length);
        middle.saturating_sub(side / 2)..(middle + side.div_ceil(2)).min(length)
    });
    Rect { top: rows.start, left: columns.start, height: rows.len(), width: columns.len() }
}

/// A rectangle of 2 to 33 % of the area, its sides in a proportion from 3:10 to 10:3 (Zhong et al. 2017, with the
/// ranges of torchvision's `RandomErasing`); `None` where ten draws do not fit.
fn rectangle(rng: &mut Rng, [height, width]: [usize; 2]) -> Option<Rect> {
    const AREA: [f64; 2] = [0.02, 0.33];
    const PROPORTION: [f64; 2] = [0.3, 3.3];
    let between = |[from, to]: [f64; 2], rng: &mut Rng| from + (to - from) * f64::from(rng.uniform());
    for _ in 0..10 {
        let area = (height * width) as f64 * between(AREA, rng);
        let proportion = between(PROPORTION.map(f64::ln), rng).exp();
        let [h, w] = [(area * proportion).sqrt(), (area / proportion).sqrt()].map(f64::round_ties_even);
        let (h, w) = (h as usize, w as usize);
        if h < height && w < width {
            return Some(Rect {
                top: rng.below(height - h + 1),
                left: rng.below(width - w + 1),
                height: h,
                width: w,
            });
        }
    }
    None
}

/// Sets the pixels of `rect` in an image `width` pixels wide to 0.
pub(super) fn blank(image: &mut [f32], width: usize, channels: usize, rect: Rect) {
    for row in image.chunks_exact_mut(width * channels).skip(rect.top).take(rect.height) {
        row[rect.left * channels..][..rect.width * channels].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use striate_kernels::rng::{Purpose, Rng};

    use super::*;

    #[test]
    fn squares_are_as_large_as_the_border_lets_them() {
        let mut rng = Rng::new(1, Purpose::Augment, 0, 0);
        let (mut whole, mut covered) = (0, vec![0.0; 32 * 32]);
        for _ in 0..4000 {
            let rect = square(&mut rng, 8, [32, 32]);
            assert!((4..=8).contains(&rect.height) && (4..=8).contains(&rect.width), "{rect:?}");
            whole += usize::from(rect.height == 8 && rect.width == 8);
            let mut image = vec![1.0; 32 * 32];
            blank(&mut image, 32, 1, rect);
            assert_eq!(image.iter().filter(|value| **value == 0.0).count(), rect.height * rect.width);
            covered.iter_mut().zip(&image).for_each(|(count, value)| *count += 1.0 - value);
        }
        // 25 of 32 places along each axis leave the square whole.
        assert!((whole as f64 / 4000.0 - (25.0f64 / 32.0).powi(2)).abs() < 0.03, "{whole}");
        let inner: f32 = covered[16 * 32 + 16] / 4000.0;
        assert!((inner - 64.0 / 1024.0).abs() < 0.015, "{inner}");
    }

    #[test]
    fn rectangles_have_their_area_and_come_as_often_as_asked() {
        let augment = Augment { erase: 0.25, ..Augment::NONE };
        let mut rng = Rng::new(2, Purpose::Augment, 0, 0);
        let draws = (0..8000).map(|_| augment.draw_blanks(&mut rng, [100, 100]));
        let rects: Vec<Rect> = draws.filter_map(|[none, rect]| none.or(rect)).collect();
        assert!((1880..2120).contains(&rects.len()), "{}", rects.len());
        let areas = rects.iter().map(|rect| (rect.height * rect.width) as f64 / 1e4);
        let (least, sum, most) =
            areas.fold((1.0f64, 0.0, 0.0f64), |(least, sum, most), a| (least.min(a), sum + a, most.max(a)));
        assert!(least > 0.018 && most < 0.34, "{least} {most}");
        assert!((sum / rects.len() as f64 - 0.175).abs() < 0.01, "{}", sum / rects.len() as f64);
    }

    #[test]
    fn one_channel_after_the_other_is_blanked() {
        let mut image: Vec<f32> = (1..=18).map(|value| value as f32).collect();
        blank(&mut image, 3, 2, Rect { top: 1, left: 2, height: 2, width: 1 });
        let zeros: Vec<usize> = (0..18).filter(|at| image[*at] == 0.0).collect();
        assert_eq!(zeros, [10, 11, 16, 17]);
    }

    proptest! {
        #[test]
        fn blanks_lie_inside(height in 1usize..50, width in 1usize..50, cutout in 0u32..1000, seed: u64) {
            let augment = Augment { cutout, erase: 1.0, ..Augment::NONE };
            let mut rng = Rng::new(seed, Purpose::Augment, 0, 0);
            for rect in augment.draw_blanks(&mut rng, [height, width]).into_iter().flatten() {
                prop_assert!(rect.top + rect.height <= height && rect.left + rect.width <= width);
            }
        }
    }
}
