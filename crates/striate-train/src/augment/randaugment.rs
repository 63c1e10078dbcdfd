//! RandAugment (Cubuk et al. 2019): some of fourteen operations, drawn at random, all of one magnitude.
//!
//! Magnitudes go from 0 to 30 as in torchvision, whose ranges these are: 9 is three tenths of an operation's range.
//! (The paper's own code ends at 10, so its 9 is nine tenths.) Moves of pixels are put together with all others and
//! interpolated once; what comes in from outside is background.

use striate_kernels::rng::Rng;

use super::colour;
use super::{Affine, Augment};

/// The greatest magnitude.
pub(super) const MOST: u32 = 30;
/// The most operations on one image.
pub(super) const OPERATIONS: usize = 8;

/// One of the operations.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    /// As the paper calls it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a row says which it is"))]
    name: &'static str,
    /// Its strength at magnitude 0 and at the greatest.
    range: [f32; 2],
    /// Whether half of the strengths are taken with the opposite sign.
    signed: bool,
    effect: Effect,
}

#[derive(Clone, Copy)]
enum Effect {
    Nothing,
    /// By the strength and the image's height and width.
    Moves(fn(f32, [usize; 2]) -> Affine),
    Colours(fn(f32, &mut Canvas<'_>)),
}

/// An image that is being changed.
pub(super) struct Canvas<'a> {
    pub(super) pixels: &'a mut [u8],
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    /// Memory to be used at will.
    pub(super) scratch: &'a mut Vec<u8>,
}

/// Rows of the paper's table 6 of AutoAugment (Cubuk et al. 2018), which RandAugment takes over.
pub(super) const TABLE: [Operation; 14] = {
    use Effect::{Colours, Moves, Nothing};
    const fn row(name: &'static str, range: [f32; 2], signed: bool, effect: Effect) -> Operation {
        Operation { name, range, signed, effect }
    }
    [
        row("identity", [0.0, 0.0], false, Nothing),
        row(
            "auto-contrast",
            [0.0, 0.0],
            false,
            Colours(|_, on| colour::autocontrast(on.pixels, on.channels)),
        ),
        row("equalize", [0.0, 0.0], false, Colours(|_, on| colour::equalize(on.pixels, on.channels))),
        row("rotate", [0.0, 30.0], true, Moves(|degrees, _| Affine::new([0.0, 0.0], degrees, 1.0))),
        row("solarize", [255.0, 0.0], false, Colours(|from, on| colour::solarize(on.pixels, from))),
        row(
            "colour",
            [0.0, 0.9],
            true,
            Colours(|by, on| colour::saturation(on.pixels, on.channels, 1.0 + by)),
        ),
        row(
            "posterize",
            [8.0, 4.0],
            false,
            Colours(|bits, on| colour::posterize(on.pixels, bits.round() as u32)),
        ),
        row(
            "contrast",
            [0.0, 0.9],
            true,
            Colours(|by, on| colour::contrast(on.pixels, on.channels, 1.0 + by)),
        ),
        row("brightness", [0.0, 0.9], true, Colours(|by, on| colour::brightness(on.pixels, 1.0 + by))),
        row(
            "sharpness",
            [0.0, 0.9],
            true,
            Colours(|by, on| colour::sharpness(on.pixels, on.size, on.channels, 1.0 + by, on.scratch)),
        ),
        row(
            "shear-x",
            [0.0, 0.3],
            true,
            Moves(|by, [height, _]| shear([[1.0, by], [0.0, 1.0]], [by * height as f32 / 2.0, 0.0])),
        ),
        row(
            "shear-y",
            [0.0, 0.3],
            true,
            Moves(|by, [_, width]| shear([[1.0, 0.0], [by, 1.0]], [0.0, by * width as f32 / 2.0])),
        ),
        row("translate-x", [0.0, FURTHEST], true, Moves(|by, [_, width]| moved([by * width as f32, 0.0]))),
        row("translate-y", [0.0, FURTHEST], true, Moves(|by, [height, _]| moved([0.0, by * height as f32]))),
    ]
};

/// The part of its side that an image is moved by at most: the paper's 150 pixels of 331.
const FURTHEST: f32 = 150.0 / 331.0;

/// Sheared, with the upper left corner of the image in its place; `corner` is how far that moves the centre's source.
fn shear(matrix: [[f32; 2]; 2], corner: [f32; 2]) -> Affine {
    Affine { matrix, shift: corner.map(|by| -by) }
}

/// By whole pixels, as everyone does it.
fn moved(by: [f32; 2]) -> Affine {
    Affine::new(by.map(f32::trunc), 0.0, 1.0)
}

/// The operations on one image, each with its strength.
pub(super) type Drawn = [Option<(usize, f32)>; OPERATIONS];

impl Augment {
    /// Draws the operations, each out of all.
    pub(super) fn draw_operations(&self, rng: &mut Rng) -> Drawn {
        let [count, magnitude] = self.randaugment;
        std::array::from_fn(|at| {
            (at < count as usize).then(|| {
                let which = rng.below(TABLE.len());
                let Operation { range: [from, to], signed, .. } = TABLE[which];
                let strength = from + (to - from) * magnitude as f32 / MOST as f32;
                let opposite = signed && rng.uniform() < 0.5;
                (which, if opposite { -strength } else { strength })
            })
        })
    }
}

/// `map` and behind it what moves pixels among the operations, for an image of height and width `size`.
pub(super) fn moves(drawn: &Drawn, map: Affine, size: [usize; 2]) -> Affine {
    drawn.iter().flatten().fold(map, |map, (which, strength)| match TABLE[*which].effect {
        Effect::Moves(made) => map.then(made(*strength, size)),
        Effect::Nothing | Effect::Colours(_) => map,
    })
}

/// Whether an operation changes colours.
pub(super) fn colours_change(drawn: &Drawn) -> bool {
    drawn.iter().flatten().any(|(which, _)| matches!(TABLE[*which].effect, Effect::Colours(_)))
}

/// Does what changes colours among the operations.
pub(super) fn colours(drawn: &Drawn, mut canvas: Canvas<'_>) {
    for (which, strength) in drawn.iter().flatten() {
        if let Effect::Colours(change) = TABLE[*which].effect {
            change(*strength, &mut canvas);
        }
    }
}

#[cfg(test)]
mod tests {
    use striate_kernels::rng::Purpose;

    use super::*;

    fn row(name: &str) -> &'static Operation {
        TABLE.iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn operations_are_drawn_evenly_with_their_strength() {
        let augment = Augment { randaugment: [2, 9], ..Augment::NONE };
        let mut rng = Rng::new(8, Purpose::Augment, 0, 0);
        let (mut counts, mut negative) = ([0; TABLE.len()], 0);
        for _ in 0..7000 {
            let drawn = augment.draw_operations(&mut rng);
            assert_eq!(drawn.iter().flatten().count(), 2);
            for (which, strength) in drawn.iter().flatten() {
                counts[*which] += 1;
                negative += i32::from(*strength < 0.0);
                let [from, to] = TABLE[*which].range;
                let wanted = from + (to - from) * 0.3;
                assert!((strength.abs() - wanted).abs() < 1e-4, "{} {strength}", TABLE[*which].name);
            }
        }
        assert!(counts.iter().all(|count| (860..1140).contains(count)), "{counts:?}");
        // Nine of the fourteen have a sign.
        assert!((4270..4730).contains(&negative), "{negative}");
    }

    #[test]
    fn moves_come_from_where_the_papers_do() {
        let map = |name: &str, strength: f32| {
            let Effect::Moves(made) = row(name).effect else { panic!("{name} moves nothing") };
            made(strength, [100, 200])
        };
        // The centre of the pixel in the upper left corner lies at (-99.5, -49.5).
        let sheared = map("shear-x", 0.2).source([10.0, 20.0]);
        assert!((sheared[0] - (10.0 + 0.2 * (20.0 + 50.0))).abs() < 1e-4 && sheared[1] == 20.0);
        let sheared = map("shear-y", -0.1).source([10.0, 20.0]);
        assert!((sheared[1] - (20.0 - 0.1 * (10.0 + 100.0))).abs() < 1e-4 && sheared[0] == 10.0);
        assert_eq!(map("translate-x", 0.1).source([0.0, 0.0]), [-20.0, 0.0]);
        assert_eq!(map("translate-y", -0.1).source([0.0, 0.0]), [0.0, 10.0]);
        assert_eq!(map("rotate", 30.0), Affine::new([0.0, 0.0], 30.0, 1.0));
    }

    #[test]
    fn the_ends_of_the_ranges_are_those_of_the_papers() {
        let ends = |name: &str| row(name).range;
        assert_eq!((ends("rotate"), ends("shear-x"), ends("colour")), ([0.0, 30.0], [0.0, 0.3], [0.0, 0.9]));
        assert_eq!((ends("posterize"), ends("solarize")), ([8.0, 4.0], [255.0, 0.0]));
        assert_eq!(TABLE.iter().filter(|row| row.signed).count(), 9);
    }
}
