//! Colours changed: brightness, contrast, saturation and hue as torchvision's `ColorJitter` does it to Pillow's pictures, to
//! the bit; AlexNet's lighting noise; and what else RandAugment does to pixels.
//!
//! Pictures are bytes, (height, width, channels), grey (1 channel) or red, green, blue (3). What there is no
//! difference between greys in (saturation, hue) leaves grey pictures as they are.

use striate_kernels::Isa;
use striate_kernels::rng::Rng;
use striate_kernels::simd::{Kernel, Simd, dispatch};

use super::Augment;

/// What is done to the colours of one picture, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Jitter {
    /// `None` where a change is not asked for.
    steps: [Option<Step>; 4],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    Hue(f32),
}

impl Augment {
    /// Draws order and amounts.
    pub(super) fn draw_jitter(&self, rng: &mut Rng) -> Jitter {
        if self.jitter == 0.0 && self.hue == 0.0 {
            return Jitter::default();
        }
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        let factor = |rng: &mut Rng| 1.0 + self.jitter * (2.0 * rng.uniform() - 1.0);
        let (brightness, contrast, saturation) = (factor(rng), factor(rng), factor(rng));
        let turn = self.hue * (2.0 * rng.uniform() - 1.0);
        let steps = [
            (self.jitter > 0.0).then_some(Step::Brightness(brightness)),
            (self.jitter > 0.0).then_some(Step::Contrast(contrast)),
            (self.jitter > 0.0).then_some(Step::Saturation(saturation)),
            (self.hue > 0.0).then_some(Step::Hue(turn)),
        ];
        Jitter { steps: order.map(|at| steps[at]) }
    }

    /// What is added to each colour, on a scale from 0 to 1.
    pub(super) fn draw_lighting(&self, rng: &mut Rng) -> Option<[f32; 3]> {
        (self.lighting > 0.0).then(|| {
            let amounts: [f32; 3] = std::array::from_fn(|_| self.lighting * rng.normal());
            lighting(amounts)
        })
    }
}

impl Jitter {
    /// Whether nothing is done.
    pub(super) fn is_none(&self) -> bool {
        self.steps.iter().all(Option::is_none)
    }

    pub(super) fn apply(&self, pixels: &mut [u8], channels: usize) {
        for step in self.steps.into_iter().flatten() {
            match step {
                Step::Brightness(factor) => brightness(pixels, factor),
                Step::Contrast(factor) => contrast(pixels, channels, factor),
                Step::Saturation(factor) => saturation(pixels, channels, factor),
                Step::Hue(turn) => hue(pixels, channels, turn),
            }
        }
    }
}

/// The square roots of the variances of the training pixels of ImageNet along their principal axes, on a scale from 0
/// to 1, and the axes as columns: red, green, blue. Krizhevsky et al. 2012 (section 4.1) describe the noise and do not
/// print them; these are the numbers of `fb.resnet.torch` (Facebook 2016, `datasets/imagenet.lua`), which everyone
/// has taken since.
const SPREADS: [f32; 3] = [0.2175, 0.0188, 0.0045];
const AXES: [[f32; 3]; 3] =
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]];

/// So much of each principal component of ImageNet's colours: red, green, blue.
fn lighting(amounts: [f32; 3]) -> [f32; 3] {
    AXES.map(|axis| (0..3).map(|k| axis[k] * SPREADS[k] * amounts[k]).sum())
}

/// From `from` (at 0) past `to` (at 1), as Pillow's `Image.blend` rounds: down, and within a byte.
#[inline(always)]
fn blend(from: i32, to: i32, factor: f32) -> u8 {
    (from as f32 + factor * (to - from) as f32) as u8
}

/// Every level of `pixels` blended with `from`.
struct BlendAll<'a> {
    pixels: &'a mut [u8],
    from: i32,
    factor: f32,
}

impl Kernel for BlendAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { pixels, from, factor } = self;
        for level in pixels {
            *level = blend(from, i32::from(*level), factor);
        }
    }
}

/// Every byte by a table.
fn map(pixels: &mut [u8], table: &[u8; 256]) {
    pixels.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
}

fn table(of: impl Fn(i32) -> u8) -> [u8; 256] {
    std::array::from_fn(|level| of(level as i32))
}

/// From black at 0 to the picture at 1, and beyond.
pub(super) fn brightness(pixels: &mut [u8], factor: f32) {
    dispatch(Isa::best(), BlendAll { pixels, from: 0, factor });
}

/// The grey of a colour, as Pillow weighs it (ITU-R 601-2).
#[inline(always)]
fn grey([r, g, b]: [u8; 3]) -> i32 {
    (i32::from(r) * 19595 + i32::from(g) * 38470 + i32::from(b) * 7471 + 0x8000) >> 16
}

/// From its mean grey at 0 to the picture at 1, and beyond.
pub(super) fn contrast(pixels: &mut [u8], channels: usize, factor: f32) {
    let sum: u64 = match channels {
        3 => dispatch(Isa::best(), GreySum(pixels.as_chunks().0)),
        _ => pixels.iter().map(|level| u64::from(*level)).sum(),
    };
    let count = (pixels.len() / channels).max(1);
    let mean = (sum as f64 / count as f64 + 0.5) as i32;
    dispatch(Isa::best(), BlendAll { pixels, from: mean, factor });
}

/// The sum of the greys of all pixels.
struct GreySum<'a>(&'a [[u8; 3]]);

impl Kernel for GreySum<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u64 {
        let mut sum = 0;
        // Of so many pixels the sum fits 32 bits, which are added faster.
        for part in self.0.chunks(1 << 16) {
            let mut of_part = 0;
            for pixel in part {
                of_part += grey(*pixel) as u32;
            }
            sum += u64::from(of_part);
        }
        sum
    }
}

/// From greys at 0 to the picture at 1, and beyond.
pub(super) fn saturation(pixels: &mut [u8], channels: usize, factor: f32) {
    if channels == 3 {
        dispatch(Isa::best(), Saturate { pixels: pixels.as_chunks_mut().0, factor });
    }
}

struct Saturate<'a> {
    pixels: &'a mut [[u8; 3]],
    factor: f32,
}

impl Kernel for Saturate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        // All greys of a block, then all blends: the latter are computed many at a time.
        const BLOCK: usize = 256;
        let mut greys = [[0; 3]; BLOCK];
        for block in self.pixels.chunks_mut(BLOCK) {
            for (greys, pixel) in greys.iter_mut().zip(&*block) {
                *greys = [grey(*pixel) as u8; 3];
            }
            for (level, grey) in block.as_flattened_mut().iter_mut().zip(greys.as_flattened()) {
                *level = blend(i32::from(*grey), i32::from(*level), self.factor);
            }
        }
    }
}

/// Hues turned by a part of the circle, −0.5 to 0.5; by way of Pillow's HSV of bytes.
pub(super) fn hue(pixels: &mut [u8], channels: usize, turn: f32) {
    let by = (f64::from(turn) * 255.0) as i32 as u8;
    if channels == 3 {
        for pixel in pixels.as_chunks_mut().0 {
            let [hue, saturation, value] = to_hsv(*pixel);
            *pixel = from_hsv([hue.wrapping_add(by), saturation, value]);
        }
    }
}

/// Hue, saturation and value, each of 256 levels (Smith 1978, as Pillow rounds).
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let below = |level: u8| f32::from(most - level) / range;
    let sixths = match most {
        most if most == r => f64::from(below(b) - below(g)),
        most if most == g => 2.0 + f64::from(below(r)) - f64::from(below(b)),
        _ => 4.0 + f64::from(below(g)) - f64::from(below(r)),
    };
    let turned = f64::from(sixths as f32) / 6.0 + 1.0;
    let hue = if turned >= 1.0 { turned - 1.0 } else { turned };
    let saturation = range / f32::from(most);
    [(f64::from(hue as f32) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixths = f64::from(hue) * 6.0 / 255.0;
    let part = f64::from((sixths - f64::from(sixths as u32)) as f32);
    let saturation = f64::from(f32::from(saturation) / 255.0);
    let level = |away: f64| (f64::from(value) * (1.0 - away) + 0.5) as u8;
    let (low, falling, rising) =
        (level(saturation), level(saturation * part), level(saturation * (1.0 - part)));
    match sixths as u32 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// From smoothed at 0 to the picture at 1, and beyond. The smoothed picture is the mean of each pixel (5 of 13 parts)
/// and its eight neighbours; the outermost pixels stay. `before` is memory for the picture as it was.
pub(super) fn sharpness(
    pixels: &mut [u8],
    [height, width]: [usize; 2],
    channels: usize,
    factor: f32,
    before: &mut Vec<u8>,
) {
    before.clear();
    before.extend_from_slice(pixels);
    let stride = width * channels;
    for y in 1..height.saturating_sub(1) {
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &before[y * stride..][..stride]);
        for at in channels..stride.saturating_sub(channels) {
            let three = |row: &[u8]| {
                i32::from(row[at - channels]) + i32::from(row[at]) + i32::from(row[at + channels])
            };
            let level = i32::from(here[at]);
            let smooth = (2 * (three(above) + three(here) + three(below) + 4 * level) + 13) / 26;
            pixels[y * stride + at] = blend(smooth, level, factor);
        }
    }
}

/// Levels from `from` on are inverted.
pub(super) fn solarize(pixels: &mut [u8], from: f32) {
    map(pixels, &table(|level| (if (level as f32) < from { level } else { 255 - level }) as u8));
}

/// Only the `bits` highest bits stay.
pub(super) fn posterize(pixels: &mut [u8], bits: u32) {
    let mask = !(0xff_u32 >> bits.min(8)) as u8;
    map(pixels, &table(|level| level as u8 & mask));
}

/// Each channel stretched until its darkest level is 0 and its brightest 255.
pub(super) fn autocontrast(pixels: &mut [u8], channels: usize) {
    by_histogram(pixels, channels, |counts| {
        let low = counts.iter().position(|count| *count > 0)?;
        let high = counts.iter().rposition(|count| *count > 0).filter(|high| *high > low)?;
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        Some(table(|level| (f64::from(level) * scale + offset) as u8))
    });
}

/// Each channel's levels spread until they are equally frequent.
pub(super) fn equalize(pixels: &mut [u8], channels: usize) {
    by_histogram(pixels, channels, |counts| {
        let last = counts.iter().rfind(|count| **count > 0)?;
        let step = (counts.iter().sum::<u32>() - last) / 255;
        let mut below = step / 2;
        (step > 0).then(|| {
            counts.map(|count| {
                let level = (below / step).min(255) as u8;
                below += count;
                level
            })
        })
    });
}

/// Each channel by a table that follows from how often each level occurs in it.
fn by_histogram(pixels: &mut [u8], channels: usize, table: impl Fn(&[u32; 256]) -> Option<[u8; 256]>) {
    for channel in 0..channels {
        let mut counts = [0; 256];
        for level in pixels[channel..].iter().step_by(channels) {
            counts[usize::from(*level)] += 1;
        }
        if let Some(table) = table(&counts) {
            for level in pixels[channel..].iter_mut().step_by(channels) {
                *level = table[usize::from(*level)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use striate_kernels::rng::Purpose;

    use super::*;
    use crate::resample::tests::{digest, picture};

    const SIZE: [usize; 2] = [37, 53];

    /// What is done, grey or coloured, digest.
    type Golden = (&'static str, fn(&mut [u8], usize), usize, (u32, u32));

    #[test]
    fn the_bytes_are_pillows() {
        for (name, change, channels, expected) in GOLDENS {
            let mut pixels = picture(SIZE, channels);
            change(&mut pixels, channels);
            assert_eq!(digest(&pixels), expected, "{name} of {channels} channels");
        }
    }

    /// Every 13th colour, its hue turned both ways.
    #[test]
    fn hues_are_turned_as_torchvision_turns_them() {
        for (turn, expected) in HUES {
            let colours = (0..1u32 << 24).step_by(13);
            let mut pixels: Vec<u8> =
                colours.flat_map(|rgb| [rgb as u8, (rgb >> 8) as u8, (rgb >> 16) as u8]).collect();
            hue(&mut pixels, 3, turn);
            assert_eq!(digest(&pixels), expected, "{turn}");
        }
    }

    #[test]
    fn lighting_is_along_the_principal_axes() {
        let near = |found: [f32; 3], wanted: [f32; 3]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?} {wanted:?}");
        };
        near(lighting([1.0, 0.0, 0.0]), [-0.5675 * 0.2175, -0.5808 * 0.2175, -0.5836 * 0.2175]);
        near(lighting([0.0, 2.0, 0.0]), [0.7192 * 0.0376, -0.0045 * 0.0376, -0.6948 * 0.0376]);
        // The axes are of length 1 and at right angles, as far as four digits tell.
        for (a, b) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] {
            let product: f32 = AXES.iter().map(|axis| axis[a] * axis[b]).sum();
            assert!((product - f32::from(u8::from(a == b))).abs() < 2e-4, "{a} {b}: {product}");
        }
        let augment = Augment { lighting: 0.1, ..Augment::NONE };
        let mut rng = Rng::new(4, Purpose::Augment, 0, 0);
        let draws: Vec<[f32; 3]> = (0..10_000).filter_map(|_| augment.draw_lighting(&mut rng)).collect();
        let moment = |power: i32| draws.iter().map(|rgb| f64::from(rgb[0]).powi(power)).sum::<f64>() / 1e4;
        let variance: f64 = (0..3).map(|k| f64::from(AXES[0][k] * SPREADS[k] * 0.1).powi(2)).sum();
        assert!(moment(1).abs() < 5.0 * (variance / 1e4).sqrt(), "{}", moment(1));
        assert!((moment(2) / variance - 1.0).abs() < 0.08, "{} {variance}", moment(2));
    }

    #[test]
    fn jitter_draws_every_order_and_all_amounts() {
        let augment = Augment { jitter: 0.4, hue: 0.1, ..Augment::NONE };
        let mut rng = Rng::new(6, Purpose::Augment, 0, 0);
        let mut firsts = [0; 4];
        let mut range = [[f32::INFINITY, f32::NEG_INFINITY]; 4];
        for _ in 0..4000 {
            let jitter = augment.draw_jitter(&mut rng);
            for (at, step) in jitter.steps.into_iter().flatten().enumerate() {
                let (kind, amount) = match step {
                    Step::Brightness(factor) => (0, factor),
                    Step::Contrast(factor) => (1, factor),
                    Step::Saturation(factor) => (2, factor),
                    Step::Hue(turn) => (3, turn),
                };
                firsts[kind] += usize::from(at == 0);
                let [low, high] = &mut range[kind];
                (*low, *high) = (low.min(amount), high.max(amount));
            }
        }
        assert!(firsts.iter().all(|count| (850..1150).contains(count)), "{firsts:?}");
        for ([low, high], [from, to]) in
            range.into_iter().zip([[0.6, 1.4], [0.6, 1.4], [0.6, 1.4], [-0.1, 0.1]])
        {
            let slack = (to - from) * 0.01;
            assert!(from <= low && low < from + slack && to - slack < high && high <= to, "{low} {high}");
        }
        let only = Augment { hue: 0.1, ..Augment::NONE }.draw_jitter(&mut rng);
        assert!(only.steps.iter().flatten().all(|step| matches!(step, Step::Hue(_))) && !only.is_none());
        assert!(Augment::NONE.draw_jitter(&mut rng).is_none());
    }

    #[test]
    fn greys_have_neither_saturation_nor_hue() {
        let mut pixels = picture(SIZE, 1);
        saturation(&mut pixels, 1, 0.3);
        hue(&mut pixels, 1, 0.3);
        assert_eq!(pixels, picture(SIZE, 1));
    }

    #[test]
    fn no_picture_is_too_small() {
        for (size, channels) in [([1, 1], 1), ([1, 1], 3), ([2, 1], 3), ([1, 3], 3), ([2, 2], 1)] {
            let mut pixels = picture(size, channels);
            let before = pixels.clone();
            sharpness(&mut pixels, size, channels, 1.9, &mut Vec::new());
            assert_eq!(pixels, before, "the outermost pixels stay");
            contrast(&mut pixels, channels, 0.0);
            assert!(pixels.iter().all(|level| *level == pixels[0]));
            autocontrast(&mut pixels, channels);
            equalize(&mut pixels, channels);
        }
    }

    // Pillow 13.0.0, torchvision 0.29.2
    #[rustfmt::skip]
    const GOLDENS: [Golden; 24] = [
        ("darker", |p, _| brightness(p, 0.3), 1, (73627, 73332684)),
        ("darker", |p, _| brightness(p, 0.3), 3, (222937, 658303368)),
        ("brighter", |p, _| brightness(p, 1.7), 1, (350371, 347886663)),
        ("brighter", |p, _| brightness(p, 1.7), 3, (1059222, 3120374387)),
        ("flatter", |p, c| contrast(p, c, 0.3), 1, (248044, 244436807)),
        ("flatter", |p, c| contrast(p, c, 0.3), 3, (750076, 2209158901)),
        ("harder", |p, c| contrast(p, c, 1.7), 1, (247874, 247901682)),
        ("harder", |p, c| contrast(p, c, 1.7), 3, (749172, 2214633641)),
        ("paler", |p, c| saturation(p, c, 0.3), 3, (747819, 2211452474)),
        ("gaudier", |p, c| saturation(p, c, 1.7), 3, (760388, 2242408051)),
        ("smoother", |p, c| sharpness(p, SIZE, c, 0.3, &mut vec![7; 3]), 1, (247900, 246681016)),
        ("smoother", |p, c| sharpness(p, SIZE, c, 0.3, &mut vec![7; 3]), 3, (750774, 2217413919)),
        ("sharper", |p, c| sharpness(p, SIZE, c, 1.9, &mut Vec::new()), 1, (247735, 246288691)),
        ("sharper", |p, c| sharpness(p, SIZE, c, 1.9, &mut Vec::new()), 3, (749552, 2211953408)),
        ("solarized", |p, _| solarize(p, 178.5), 1, (143285, 141202197)),
        ("solarized", |p, _| solarize(p, 178.5), 3, (433169, 1269826355)),
        ("wholly solarized", |p, _| solarize(p, 0.0), 1, (251531, 243083295)),
        ("posterized", |p, _| posterize(p, 3), 1, (217760, 217569408)),
        ("posterized", |p, _| posterize(p, 3), 3, (661376, 1954369888)),
        ("not posterized", |p, _| posterize(p, 8), 1, (248524, 247470660)),
        ("stretched", |p, c| { contrast(p, c, 0.4); autocontrast(p, c) }, 1, (246966, 245977986)),
        ("stretched", |p, c| { contrast(p, c, 0.4); autocontrast(p, c) }, 3, (754183, 2226759197)),
        ("equalized", |p, c| { brightness(p, 1.7); equalize(p, c) }, 1, (368588, 365521034)),
        ("equalized", |p, c| { brightness(p, 1.7); equalize(p, c) }, 3, (1105797, 3255490453)),
    ];

    const HUES: [(f32, (u32, u32)); 4] = [
        (0.0, (494219097, 152260085)),
        (0.1, (493864452, 1520030327)),
        (-0.37, (494096380, 1716016040)),
        (0.5, (493669675, 3370353499)),
    ];
}
