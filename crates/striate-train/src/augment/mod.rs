//! Random changes of training images: what may happen to one, and all that does.
//!
//! | file | what it changes |
//! |---|---|
//! | `geometry.rs` | which part of the picture is seen, and where: crops, shift, rotation, scale, mirroring |
//! | `colour.rs` | brightness, contrast, saturation, hue, lighting |
//! | `randaugment.rs` | some of fourteen operations of both kinds |
//! | `erase.rs` | what is blanked out: cutout, random erasing |
//! | `mix.rs` | pairs of images: mixup, cutmix |
//! | `words.rs` | nothing: the text form |
//!
//! [`Pipeline`] does it, from a decoded picture to a network's input. What is drawn depends on (seed, epoch, sample), of
//! what mixes images on (seed, epoch, batch), whoever draws and when.

mod colour;
mod erase;
mod geometry;
pub mod mix;
mod pipeline;
mod randaugment;
mod words;

use serde::{Deserialize, Serialize};
use striate_kernels::rng::{Purpose, Rng};

pub use self::geometry::Affine;
pub(crate) use self::geometry::{Placement, middle};
pub use self::pipeline::{Pipeline, PipelineError};
pub use self::words::AugmentError;

/// How far an image may be changed; each amount is drawn uniformly from both sides of no change, unless it says
/// otherwise. 0 is none of it.
///
/// The text form is a list such as `crop=4,flip`, or a preset; [`Augment::vocabulary`] has all words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Augment {
    /// Up to so many pixels of the image, right or left and down or up.
    pub shift: f32,
    /// Up to so many degrees, either way.
    pub rotate: f32,
    /// Up to this part larger or smaller: 0.1 gives 0.9 to 1.1.
    pub scale: f32,
    /// Padded by so many pixels on every side and cropped back at random: moved by whole pixels.
    pub crop: u32,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// A random part of the picture of at least this fraction of its area, its sides in a proportion from 3:4 to 4:3,
    /// resized to the image (Szegedy et al. 2014).
    pub rrc: f32,
    /// The shorter side of the picture is resized to a length drawn from this range, both ends included, and the image
    /// cropped at random (Simonyan and Zisserman 2014, section 3.1).
    pub resize: [u32; 2],
    /// Brightness, contrast and saturation times 1 ± this, in random order.
    pub jitter: f32,
    /// Hue turned by up to this part of the circle, either way.
    pub hue: f32,
    /// Standard deviation of the amounts of the principal components of ImageNet's colours that are added (Krizhevsky
    /// et al. 2012, section 4.1).
    pub lighting: f32,
    /// RandAugment (Cubuk et al. 2019): so many operations of this magnitude (of 30).
    pub randaugment: [u32; 2],
    /// The side of a square that is blanked (DeVries and Taylor 2017).
    pub cutout: u32,
    /// The probability that a rectangle is blanked (Zhong et al. 2017).
    pub erase: f32,
    /// Both parameters of the Beta distribution of blended pairs' weights (Zhang et al. 2017).
    pub mixup: f32,
    /// Both parameters of the Beta distribution of the areas that pairs keep (Yun et al. 2019).
    pub cutmix: f32,
}

impl Augment {
    /// No change: images pass as they are.
    pub const NONE: Self = Self {
        shift: 0.0,
        rotate: 0.0,
        scale: 0.0,
        crop: 0,
        flip: false,
        rrc: 0.0,
        resize: [0, 0],
        jitter: 0.0,
        hue: 0.0,
        lighting: 0.0,
        randaugment: [0, 0],
        cutout: 0,
        erase: 0.0,
        mixup: 0.0,
        cutmix: 0.0,
    };
    /// What leaves a handwritten digit the same digit.
    pub const DIGITS: Self = Self { shift: 2.0, rotate: 10.0, scale: 0.1, ..Self::NONE };
    /// For images of 32×32 (He et al. 2015, section 4.2).
    pub const CIFAR: Self = Self { crop: 4, flip: true, ..Self::NONE };
    /// AlexNet's (Krizhevsky et al. 2012, section 4.1).
    pub const ALEXNET: Self = Self { resize: [256, 256], flip: true, lighting: 0.1, ..Self::NONE };
    /// VGG's, with scales drawn anew for each picture (Simonyan and Zisserman 2014, section 3.1).
    pub const VGG: Self = Self { resize: [256, 512], ..Self::ALEXNET };
    /// GoogLeNet's (Szegedy et al. 2014, section 6); its photometric distortions are those of torchvision.
    pub const GOOGLENET: Self = Self { rrc: 0.08, flip: true, jitter: 0.4, ..Self::NONE };
    /// ResNet's on ImageNet (He et al. 2015, section 3.4).
    pub const RESNET: Self = Self { resize: [256, 480], ..Self::ALEXNET };

    /// Checks that the changes go together.
    fn check(&self) -> Result<(), String> {
        let [from, to] = self.resize;
        if from == 0 && to > 0 {
            return Err(format!("resize goes from 0 to {to}; a side has pixels"));
        }
        if from > to {
            return Err(format!("resize goes from {from} to {to}; write the lesser first"));
        }
        if to > 0 && self.rrc > 0.0 {
            return Err("rrc and resize both choose the part of the picture; leave one out".into());
        }
        Ok(())
    }

    /// Whether images are mixed with others of their batch.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// The move of sample `sample` in epoch `epoch` by shift, rotation, scale, crop and mirroring: the same for the same
    /// arguments. `None` is none at all.
    pub fn draw(&self, seed: u64, epoch: u64, sample: u32) -> Option<Affine> {
        (*self != Self::NONE).then(|| self.draw_affine(&mut Self::rng(seed, epoch, sample)))
    }

    fn rng(seed: u64, epoch: u64, sample: u32) -> Rng {
        Rng::new(seed, Purpose::Augment, epoch, u64::from(sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_differ_by_every_part_of_their_name() {
        let draw = |seed, epoch, sample| Augment::DIGITS.draw(seed, epoch, sample).unwrap();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
        assert_eq!(Augment::NONE.draw(1, 2, 3), None);
    }

    /// Runs that were begun before there were other changes go on with the same images.
    #[test]
    fn draws_are_those_of_the_first_version() {
        let Affine { matrix: [[cos, sin], _], shift: [right, down] } =
            Augment::DIGITS.draw(7, 3, 11).unwrap();
        let bits = [cos, sin, right, down].map(f32::to_bits);
        assert_eq!(bits, [0x3f6b8b53, 0x3b3ff129, 0x3fe7ddfc, 0xbef08bb0]);
        let Affine { matrix: [[a, _], _], shift } = Augment::CIFAR.draw(7, 3, 11).unwrap();
        assert_eq!((a, shift), (1.0, [3.0, -1.0]));
    }

    #[test]
    fn draws_fill_their_range_and_keep_to_it() {
        let mut seen = [[f32::INFINITY, f32::NEG_INFINITY]; 4];
        for sample in 0..2000 {
            let Affine { matrix: [[cos, sin], _], shift } = Augment::DIGITS.draw(0, 0, sample).unwrap();
            let values = [shift[0], shift[1], sin.atan2(cos).to_degrees(), 1.0 / cos.hypot(sin)];
            for ([low, high], value) in seen.iter_mut().zip(values) {
                (*low, *high) = (low.min(value), high.max(value));
            }
        }
        for ([low, high], (from, to)) in
            seen.into_iter().zip([(-2.0, 2.0), (-2.0, 2.0), (-10.0, 10.0), (0.9, 1.1)])
        {
            let slack = (to - from) * 0.01;
            assert!(from - 1e-4 <= low && low < from + slack, "{low} is not just above {from}");
            assert!(to - slack < high && high <= to + 1e-4, "{high} is not just below {to}");
        }
    }

    #[test]
    fn crops_move_by_whole_pixels_and_half_are_mirrored() {
        let maps: Vec<Affine> = (0..4000).map(|id| Augment::CIFAR.draw(7, 0, id).unwrap()).collect();
        let mut counts = [0; 9];
        for map in &maps {
            assert!(map.shift.iter().all(|by| by.fract() == 0.0 && by.abs() <= 4.0), "{map:?}");
            assert_eq!(map.matrix.map(|row| row.map(f32::abs)), Affine::IDENTITY.matrix);
            counts[(map.shift[0] + 4.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (350..550).contains(count)), "{counts:?}");
        let mirrored = maps.iter().filter(|map| map.matrix[0][0] < 0.0).count();
        assert!((1850..2150).contains(&mirrored), "{mirrored}");
        let map = Affine::new([3.0, 0.0], 0.0, 1.0).mirrored();
        assert_eq!(map.source([3.0 + 2.0, 1.0]), [-2.0, 1.0]);
    }
}
