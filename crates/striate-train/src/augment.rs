//! Random changes of training images: shift, rotation, scale, crop and mirroring, drawn together as one affine map.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use striate_kernels::rng::{Purpose, Rng};
use thiserror::Error;

use crate::text::{self, Args};

/// How far an image may be changed; each amount is drawn uniformly from both sides of no change.
///
/// The text form is `none`, `digits`, or amounts such as `shift=2,rotate=10,scale=0.1` or `crop=4,flip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Augment {
    /// Up to so many pixels of the source image, right or left and down or up.
    pub shift: f32,
    /// Up to so many degrees, either way.
    pub rotate: f32,
    /// Up to this part larger or smaller: 0.1 gives 0.9 to 1.1.
    pub scale: f32,
    /// Padded by so many pixels on every side and cropped back at random: moved by whole pixels.
    pub crop: u32,
    /// Whether half of the images are mirrored.
    pub flip: bool,
}

impl Augment {
    /// No change: images pass as they are.
    pub const NONE: Self = Self { shift: 0.0, rotate: 0.0, scale: 0.0, crop: 0, flip: false };
    /// What leaves a handwritten digit the same digit.
    pub const DIGITS: Self = Self { shift: 2.0, rotate: 10.0, scale: 0.1, ..Self::NONE };

    const PRESETS: [(&str, Self); 2] = [("none", Self::NONE), ("digits", Self::DIGITS)];

    /// The change of sample `sample` in epoch `epoch`: the same for the same arguments. `None` is none at all.
    pub fn draw(&self, seed: u64, epoch: u64, sample: u32) -> Option<Affine> {
        if *self == Self::NONE {
            return None;
        }
        let mut rng = Rng::new(seed, Purpose::Augment, epoch, u64::from(sample));
        let mut within = |amount: f32| amount * (2.0 * rng.uniform() - 1.0);
        let (right, down) = (within(self.shift), within(self.shift));
        let (degrees, scale) = (within(self.rotate), 1.0 + within(self.scale));
        let mut whole = || (rng.uniform() * (2 * self.crop + 1) as f32).floor() - self.crop as f32;
        let (right, down) = (right + whole(), down + whole());
        let map = Affine::new([right, down], degrees, scale);
        Some(if self.flip && rng.uniform() < 0.5 { map.mirrored() } else { map })
    }
}

/// A text that names no augmentation.
#[derive(Clone, Debug, PartialEq, Error)]
#[error(
    "augmentation '{text}': {what}; write none, digits or amounts as in shift=2,rotate=10,scale=0.1 or crop=4,flip"
)]
pub struct AugmentError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub what: String,
}

impl FromStr for Augment {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Self, AugmentError> {
        if let Some((_, preset)) = Self::PRESETS.iter().find(|(name, _)| *name == text) {
            return Ok(*preset);
        }
        let fail = |what| AugmentError { text: text.into(), what };
        if !text.contains('=') && text != "flip" {
            let nearest = text::nearest(text, Self::PRESETS.map(|(name, _)| name));
            return Err(fail(nearest.map_or("unknown".into(), |name| format!("did you mean {name}?"))));
        }
        let list = format!("augment:{text}");
        let mut args = Args::split(&list);
        let flip = args.take_flag("flip");
        let mut amount = |key, most: f32| match args.take_key(key)?.unwrap_or(0.0) {
            amount if (0.0..=most).contains(&amount) => Ok(amount),
            amount => Err(format!("{key} is {amount}, it goes from 0 to {most}")),
        };
        let read = amount("shift", 1000.0).and_then(|shift| {
            let (rotate, scale) = (amount("rotate", 180.0)?, amount("scale", 0.9)?);
            Ok(Self { shift, rotate, scale, crop: amount("crop", 1000.0)? as u32, flip })
        });
        let augment = read.map_err(fail)?;
        args.finish().map_err(fail)?;
        Ok(augment)
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::PRESETS.iter().find(|(_, preset)| preset == self) {
            Some((name, _)) => f.pad(name),
            None => {
                let amounts = [("shift", self.shift), ("rotate", self.rotate), ("scale", self.scale)];
                let amounts = amounts.into_iter().chain([("crop", self.crop as f32)]);
                let given = amounts.filter(|(_, amount)| *amount > 0.0);
                let mut parts: Vec<String> = given.map(|(name, amount)| format!("{name}={amount}")).collect();
                parts.extend(self.flip.then(|| "flip".into()));
                f.pad(&parts.join(","))
            }
        }
    }
}

impl TryFrom<String> for Augment {
    type Error = AugmentError;

    fn try_from(text: String) -> Result<Self, AugmentError> {
        text.parse()
    }
}

impl From<Augment> for String {
    fn from(augment: Augment) -> String {
        augment.to_string()
    }
}

/// Where each pixel of the changed image comes from, as offsets (x right, y down) from the image's centre:
/// source = `matrix` · (destination − `shift`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Rows for the source's x and y.
    pub matrix: [[f32; 2]; 2],
    /// How far the image moves, in pixels.
    pub shift: [f32; 2],
}

impl Affine {
    /// No change.
    pub const IDENTITY: Self = Self { matrix: [[1.0, 0.0], [0.0, 1.0]], shift: [0.0, 0.0] };

    /// Scales about the centre, turns clockwise by `degrees`, then moves by `shift` pixels (right, down).
    pub fn new(shift: [f32; 2], degrees: f32, scale: f32) -> Self {
        let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
        let (sin, cos) = ((sin / f64::from(scale)) as f32, (cos / f64::from(scale)) as f32);
        Self { matrix: [[cos, sin], [-sin, cos]], shift }
    }

    /// The same of the mirrored image: what was left is right.
    pub fn mirrored(self) -> Self {
        let [[a, b], [c, d]] = self.matrix;
        Self { matrix: [[-a, -b], [c, d]], ..self }
    }

    /// The source of the destination `[x, y]`.
    #[inline]
    pub fn source(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (x, y) = (x - self.shift[0], y - self.shift[1]);
        self.matrix.map(|[by_x, by_y]| by_x * x + by_y * y)
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
    fn the_map_turns_scales_and_shifts() {
        let near = |[x, y]: [f32; 2], [u, v]: [f32; 2]| (x - u).abs() < 1e-6 && (y - v).abs() < 1e-6;
        // A quarter turn clockwise brings what was on top (0, -1) to the right (1, 0).
        assert!(near(Affine::new([0.0, 0.0], 90.0, 1.0).source([1.0, 0.0]), [0.0, -1.0]));
        assert!(near(Affine::new([0.0, 0.0], 0.0, 2.0).source([4.0, -2.0]), [2.0, -1.0]));
        assert!(near(Affine::new([3.0, 1.0], 0.0, 1.0).source([3.0, 1.0]), [0.0, 0.0]));
        assert_eq!(Affine::new([0.0, 0.0], 0.0, 1.0), Affine::IDENTITY);
    }

    #[test]
    fn crops_move_by_whole_pixels_and_half_are_mirrored() {
        let photo = Augment { crop: 4, flip: true, ..Augment::NONE };
        let maps: Vec<Affine> = (0..4000).map(|id| photo.draw(7, 0, id).unwrap()).collect();
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

    #[test]
    fn text_forms() {
        assert_eq!("none".parse(), Ok(Augment::NONE));
        assert_eq!("digits".parse(), Ok(Augment::DIGITS));
        let own = Augment { shift: 1.5, scale: 0.2, ..Augment::NONE };
        let photo = Augment { crop: 4, flip: true, ..Augment::NONE };
        assert_eq!("crop=4,flip".parse(), Ok(photo));
        assert_eq!("flip".parse(), Ok(Augment { crop: 0, ..photo }));
        assert_eq!("scale=0.2, shift=1.5".parse(), Ok(own));
        for augment in [Augment::NONE, Augment::DIGITS, own, photo] {
            assert_eq!(augment.to_string().parse(), Ok(augment));
            let json = serde_json::to_string(&augment).unwrap();
            assert_eq!(serde_json::from_str::<Augment>(&json).unwrap(), augment);
        }
        for (text, expected) in [
            ("digit", "did you mean digits?"),
            ("", "unknown"),
            ("shift=x", "'x' does not do as 'shift'"),
            ("scale=1", "scale is 1, it goes from 0 to 0.9"),
            ("rotate=-5", "rotate is -5"),
            ("shift=NaN", "shift is NaN"),
            ("turn=3", "does not know 'turn'; it takes flip, shift, rotate, scale, crop"),
            ("shift=1,2", "argument '2'"),
        ] {
            let error = text.parse::<Augment>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
