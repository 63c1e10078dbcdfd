//! The text form of an [`Augment`]: a table of words, what they mean and how far they go.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Augment, randaugment};
use crate::text;

/// A word of the text form, and the numbers it stands for.
struct Word {
    name: &'static str,
    values: Values,
    get: fn(&Augment) -> [f32; 2],
    set: fn(&mut Augment, [f32; 2]),
    /// How it is written, in an example.
    example: &'static str,
    help: &'static str,
}

/// What follows a word; 0 means that it is not there.
#[derive(Clone, Copy)]
enum Values {
    /// Nothing.
    None,
    /// An amount from 0 to this.
    Amount(f32),
    /// A whole number from 0 to this.
    Whole(u32),
    /// Two whole numbers to these, with a sign between them; the second may be left out and is then this, or the first.
    Two { most: [u32; 2], between: char, second: Option<u32> },
}

const fn word(
    name: &'static str,
    values: Values,
    get: fn(&Augment) -> [f32; 2],
    set: fn(&mut Augment, [f32; 2]),
    example: &'static str,
    help: &'static str,
) -> Word {
    Word { name, values, get, set, example, help }
}

/// All words, in the order in which they are written.
#[rustfmt::skip]
const WORDS: [Word; 15] = {
    use Values::{Amount, None, Two, Whole};
    [
        word("shift", Amount(1000.0), |a| [a.shift, 0.0], |a, [v, _]| a.shift = v,
            "shift=2", "moved by up to 2 pixels along each axis"),
        word("rotate", Amount(180.0), |a| [a.rotate, 0.0], |a, [v, _]| a.rotate = v,
            "rotate=10", "turned by up to 10 degrees either way"),
        word("scale", Amount(0.9), |a| [a.scale, 0.0], |a, [v, _]| a.scale = v,
            "scale=0.1", "up to a tenth larger or smaller"),
        word("crop", Whole(1000), |a| [a.crop as f32, 0.0], |a, [v, _]| a.crop = v as u32,
            "crop=4", "padded by 4 pixels and cropped back at random"),
        word("rrc", Amount(1.0), |a| [a.rrc, 0.0], |a, [v, _]| a.rrc = v,
            "rrc=0.08", "a random part of at least 8 % of the picture, resized"),
        word("resize", Two { most: [16_384; 2], between: '-', second: Option::None },
            |a| a.resize.map(|v| v as f32), |a, v| a.resize = v.map(|v| v as u32),
            "resize=256-480", "shorter side drawn from 256 to 480, then a random crop"),
        word("flip", None, |a| [f32::from(u8::from(a.flip)), 0.0], |a, [v, _]| a.flip = v > 0.0,
            "flip", "half of the images mirrored"),
        word("randaugment", Two { most: [randaugment::OPERATIONS as u32, randaugment::MOST], between: '/', second: Some(9) },
            |a| a.randaugment.map(|v| v as f32), |a, [n, m]| a.randaugment = if n > 0.0 { [n as u32, m as u32] } else { [0, 0] },
            "randaugment=2/9", "2 of RandAugment's 14 operations, magnitude 9 of 30"),
        word("jitter", Amount(1.0), |a| [a.jitter, 0.0], |a, [v, _]| a.jitter = v,
            "jitter=0.4", "brightness, contrast and saturation times 0.6 to 1.4"),
        word("hue", Amount(0.5), |a| [a.hue, 0.0], |a, [v, _]| a.hue = v,
            "hue=0.1", "hue turned by up to a tenth of the circle"),
        word("lighting", Amount(10.0), |a| [a.lighting, 0.0], |a, [v, _]| a.lighting = v,
            "lighting=0.1", "AlexNet's noise along ImageNet's principal colours"),
        word("cutout", Whole(1000), |a| [a.cutout as f32, 0.0], |a, [v, _]| a.cutout = v as u32,
            "cutout=8", "a square of 8 pixels blanked"),
        word("erase", Amount(1.0), |a| [a.erase, 0.0], |a, [v, _]| a.erase = v,
            "erase=0.25", "a random rectangle blanked in a quarter of the images"),
        word("mixup", Amount(100.0), |a| [a.mixup, 0.0], |a, [v, _]| a.mixup = v,
            "mixup=0.2", "pairs of images blended, weights from Beta(0.2, 0.2)"),
        word("cutmix", Amount(100.0), |a| [a.cutmix, 0.0], |a, [v, _]| a.cutmix = v,
            "cutmix=1", "rectangles exchanged within pairs, sizes from Beta(1, 1)"),
    ]
};

/// Lists with a name.
const PRESETS: [(&str, Augment, &str); 7] = [
    ("none", Augment::NONE, "no change"),
    ("digits", Augment::DIGITS, "shift=2,rotate=10,scale=0.1"),
    ("cifar", Augment::CIFAR, "crop=4,flip"),
    ("alexnet", Augment::ALEXNET, "resize=256,flip,lighting=0.1"),
    ("vgg", Augment::VGG, "resize=256-512,flip,lighting=0.1"),
    ("googlenet", Augment::GOOGLENET, "rrc=0.08,flip,jitter=0.4"),
    ("resnet", Augment::RESNET, "resize=256-480,flip,lighting=0.1"),
];

impl Augment {
    /// Every word of the text form as it is written, with what it means; then the presets.
    pub fn vocabulary() -> impl Iterator<Item = (&'static str, &'static str)> {
        let words = WORDS.iter().map(|word| (word.example, word.help));
        words.chain(PRESETS.iter().map(|(name, _, text)| (*name, *text)))
    }
}

/// A text that names no augmentation.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("augmentation '{text}': {what}")]
pub struct AugmentError {
    /// The text.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl FromStr for Augment {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Self, AugmentError> {
        let read = || {
            let mut augment = Self::NONE;
            let mut seen = Vec::new();
            for part in text.split(',').map(str::trim) {
                let (name, value) = part
                    .split_once('=')
                    .map_or((part, None), |(name, value)| (name.trim(), Some(value.trim())));
                if seen.contains(&name) {
                    return Err(format!("{name} is there twice"));
                }
                match PRESETS.iter().find(|(preset, ..)| *preset == name && value.is_none()) {
                    Some((_, preset, _)) if seen.is_empty() => augment = *preset,
                    Some(_) => return Err(format!("{name} stands for a whole list; write it first")),
                    None => {
                        let word =
                            WORDS.iter().find(|word| word.name == name).ok_or_else(|| unknown(name))?;
                        (word.set)(&mut augment, word.read(value)?);
                    }
                }
                seen.push(name);
            }
            augment.check().map(|()| augment)
        };
        read().map_err(|what| AugmentError { text: text.into(), what })
    }
}

/// What there is instead of the word `name`.
fn unknown(name: &str) -> String {
    let names = || WORDS.iter().map(|word| word.name).chain(PRESETS.iter().map(|(name, ..)| *name));
    if name.is_empty() {
        return "a word is missing; write none, or changes such as crop=4,flip".into();
    }
    match text::nearest(name, names()) {
        Some(nearest) => format!("'{name}' is unknown, did you mean {nearest}?"),
        None => format!("'{name}' is unknown; there are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

impl Word {
    /// The numbers behind the word.
    fn read(&self, value: Option<&str>) -> Result<[f32; 2], String> {
        let Self { name, example, .. } = self;
        let value = match (self.values, value) {
            (Values::None, None) => return Ok([1.0, 0.0]),
            (Values::None, Some(_)) => return Err(format!("{name} takes no value")),
            (_, None) => return Err(format!("{name} needs a value, as in {example}")),
            (_, Some(value)) => value,
        };
        let broken = |value: &str| format!("'{value}' does not do as '{name}'; write it as in {example}");
        let within = |value: &str, most: f32, whole: bool| {
            let number: f32 = value.parse().map_err(|_| broken(value))?;
            if !(0.0..=most).contains(&number) {
                return Err(format!("{name} is {number}, it goes from 0 to {most}"));
            }
            if whole && number.fract() != 0.0 { Err(broken(value)) } else { Ok(number) }
        };
        Ok(match self.values {
            Values::None => [1.0, 0.0],
            Values::Amount(most) => [within(value, most, false)?, 0.0],
            Values::Whole(most) => [within(value, most as f32, true)?, 0.0],
            Values::Two { most, between, second } => {
                let (first, given) =
                    value.split_once(between).map_or((value, None), |(first, second)| (first, Some(second)));
                let first = within(first.trim(), most[0] as f32, true)?;
                let second = match given {
                    Some(given) => within(given.trim(), most[1] as f32, true)?,
                    None => second.map_or(first, |second| second as f32),
                };
                [first, second]
            }
        })
    }

    /// The word with its numbers, where it is there at all.
    fn write(&self, augment: &Augment) -> Option<String> {
        let Self { name, .. } = self;
        let [first, second] = (self.get)(augment);
        (first > 0.0).then(|| match self.values {
            Values::None => name.to_string(),
            Values::Amount(_) | Values::Whole(_) => format!("{name}={first}"),
            Values::Two { second: None, .. } if first == second => format!("{name}={first}"),
            Values::Two { between, .. } => format!("{name}={first}{between}{second}"),
        })
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the presets those that were written by their names from the first version on.
        match PRESETS.iter().take(2).find(|(_, preset, _)| preset == self) {
            Some((name, ..)) => f.pad(name),
            None => f.pad(&WORDS.iter().filter_map(|word| word.write(self)).collect::<Vec<_>>().join(",")),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_forms() {
        assert_eq!("none".parse(), Ok(Augment::NONE));
        assert_eq!("digits".parse(), Ok(Augment::DIGITS));
        let own = Augment { shift: 1.5, scale: 0.2, ..Augment::NONE };
        assert_eq!("crop=4,flip".parse(), Ok(Augment::CIFAR));
        assert_eq!("flip".parse(), Ok(Augment { crop: 0, ..Augment::CIFAR }));
        assert_eq!("scale=0.2, shift=1.5".parse(), Ok(own));
        assert_eq!("digits,cutout=4".parse(), Ok(Augment { cutout: 4, ..Augment::DIGITS }));
        let one = Augment { resize: [256, 256], randaugment: [2, 9], ..Augment::NONE };
        assert_eq!("resize=256,randaugment=2".parse(), Ok(one));
        assert_eq!(one.to_string(), "resize=256,randaugment=2/9");
        assert_eq!(Augment::CIFAR.to_string(), "crop=4,flip");
        assert_eq!(Augment::DIGITS.to_string(), "digits");
    }

    #[test]
    fn presets_are_what_their_help_says_and_every_example_is_read() {
        for (name, preset, text) in PRESETS.iter().skip(1) {
            assert_eq!(text.parse(), Ok(*preset), "{name}");
            assert_eq!(name.parse(), Ok(*preset));
        }
        for word in &WORDS {
            let augment: Augment = word.example.parse().unwrap();
            assert_eq!(augment.to_string(), word.example);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            ("digit", "did you mean digits?"),
            ("jiter=0.4", "'jiter' is unknown, did you mean jitter?"),
            ("crop=4,filp", "did you mean flip?"),
            ("", "a word is missing"),
            ("crop=4,,flip", "a word is missing"),
            ("shift=x", "'x' does not do as 'shift'; write it as in shift=2"),
            ("scale=1", "scale is 1, it goes from 0 to 0.9"),
            ("rotate=-5", "rotate is -5"),
            ("shift=NaN", "shift is NaN"),
            ("crop=4.5", "'4.5' does not do as 'crop'"),
            ("zoom=3", "'zoom' is unknown; there are shift, rotate, scale, crop, rrc"),
            ("shift", "shift needs a value, as in shift=2"),
            ("flip=1", "flip takes no value"),
            ("flip,crop=1,flip", "flip is there twice"),
            ("flip,digits", "digits stands for a whole list; write it first"),
            ("resize=480-256", "resize goes from 480 to 256"),
            ("resize=256,rrc=0.1", "rrc and resize"),
            ("randaugment=9/2", "randaugment is 9, it goes from 0 to 8"),
            ("randaugment=2/31", "randaugment is 31, it goes from 0 to 30"),
        ] {
            let error = text.parse::<Augment>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_read_back(values: [u16; 20], given: [bool; 15]) {
            let mut augment = Augment::NONE;
            for ((word, raw), given) in WORDS.iter().zip(values.windows(2)).zip(given) {
                let part = |most: f32, at: usize| f32::from(raw[at]) / 65535.0 * most;
                let values = match word.values {
                    Values::None => [1.0, 0.0],
                    Values::Amount(most) => [part(most, 0), 0.0],
                    Values::Whole(most) => [part(most as f32, 0).floor(), 0.0],
                    Values::Two { most, .. } => {
                        let first = part(most[0] as f32, 0).floor().max(1.0);
                        [first, part(most[1] as f32, 1).floor().max(first)]
                    }
                };
                if given && (word.name != "resize" || augment.rrc == 0.0) {
                    (word.set)(&mut augment, values);
                }
            }
            prop_assert_eq!(augment.to_string().parse(), Ok(augment));
            let json = serde_json::to_string(&augment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Augment>(&json).unwrap(), augment);
        }
    }
}
