//! Where the pixels of a changed image come from: a part of the picture, resized, then moved, turned and mirrored.

use striate_kernels::rng::Rng;

use super::Augment;
use crate::resample::Rect;

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
    #[inline(always)]
    pub fn source(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (x, y) = (x - self.shift[0], y - self.shift[1]);
        let [[a, b], [c, d]] = self.matrix;
        [a * x + b * y, c * x + d * y]
    }

    /// This change and then `next`, as one. `next` can be undone: the determinant of its matrix is not 0.
    pub fn then(self, next: Self) -> Self {
        let [[a, b], [c, d]] = next.matrix;
        let matrix = self.matrix.map(|[x, y]| [x * a + y * c, x * b + y * d]);
        let [x, y] = self.shift;
        let scale = 1.0 / (a * d - b * c);
        let moved = [(d * x - b * y) * scale, (a * y - c * x) * scale];
        Self { matrix, shift: [next.shift[0] + moved[0], next.shift[1] + moved[1]] }
    }

    /// Where this moves by whole pixels and at most mirrors: whether it mirrors, and how far right and down it moves.
    pub(crate) fn whole(&self) -> Option<(bool, [i32; 2])> {
        let mirrored = self.matrix == [[-1.0, 0.0], [0.0, 1.0]];
        let exact = self.shift.iter().all(|by| by.fract() == 0.0 && by.abs() < 1e6);
        let upright = mirrored || self.matrix == Self::IDENTITY.matrix;
        (exact && upright).then(|| (mirrored, self.shift.map(|by| by as i32)))
    }
}

impl Augment {
    /// Shift, rotation, scale, crop and mirroring. What is drawn for them, in this order, never changes: runs begun
    /// with an earlier version go on as they would have.
    pub(super) fn draw_affine(&self, rng: &mut Rng) -> Affine {
        let mut within = |amount: f32| amount * (2.0 * rng.uniform() - 1.0);
        let (right, down) = (within(self.shift), within(self.shift));
        let (degrees, scale) = (within(self.rotate), 1.0 + within(self.scale));
        let mut whole = || (rng.uniform() * (2 * self.crop + 1) as f32).floor() - self.crop as f32;
        let (right, down) = (right + whole(), down + whole());
        let map = Affine::new([right, down], degrees, scale);
        if self.flip && rng.uniform() < 0.5 { map.mirrored() } else { map }
    }

    /// Which part of a picture of height and width `picture` becomes an image of height and width `image`, where that
    /// is random.
    pub(super) fn draw_placement(
        &self,
        rng: &mut Rng,
        picture: [usize; 2],
        image: [usize; 2],
    ) -> Option<Placement> {
        if self.rrc > 0.0 {
            let part = random_part(rng, self.rrc, picture);
            return Some(Placement { part, to: image, window: Rect::whole(image) });
        }
        let [from, to] = self.resize.map(|side| side as usize);
        if to == 0 {
            return None;
        }
        let short_side = from + rng.below(to - from + 1);
        Some(Placement::resized(picture, short_side, image, |room| room.map(|room| rng.below(room + 1))))
    }
}

/// The part of a picture that an image shows, and at which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The part of the picture that counts.
    pub(crate) part: Rect,
    /// The height and width that it is resized to.
    pub(crate) to: [usize; 2],
    /// The image within that.
    pub(crate) window: Rect,
}

impl Placement {
    /// The whole picture, its shorter side made `short_side`, which is at least the longer side of the image; `corner`
    /// says where in the room above and to the left the image begins.
    pub(crate) fn resized(
        picture: [usize; 2],
        short_side: usize,
        image: [usize; 2],
        corner: impl FnOnce([usize; 2]) -> [usize; 2],
    ) -> Self {
        // As torchvision's `Resize`: the longer side is rounded down.
        let shorter = picture[0].min(picture[1]).max(1);
        let to = picture.map(|side| (side as u64 * short_side as u64 / shorter as u64) as usize);
        let [top, left] = corner([to[0] - image[0], to[1] - image[1]]);
        let window = Rect { top, left, ..Rect::whole(image) };
        Self { part: Rect::whole(picture), to, window }
    }
}

/// Where an image begins in the middle of something larger by `room` pixels; half a pixel is rounded to even, as in
/// torchvision's `center_crop`.
pub(crate) fn middle(room: [usize; 2]) -> [usize; 2] {
    room.map(|room| (room as f64 / 2.0).round_ties_even() as usize)
}

/// A part of a picture with at least the fraction `least` of its area, and sides in a proportion from 3:4 to 4:3
/// (Szegedy et al. 2014, section 6; drawn as torchvision's `RandomResizedCrop` does it: ten times at most, then the
/// middle).
fn random_part(rng: &mut Rng, least: f32, [height, width]: [usize; 2]) -> Rect {
    let least = f64::from(least);
    let fits = |side: f64, most: usize| (1.0..=most as f64).contains(&side).then_some(side as usize);
    for _ in 0..10 {
        let area = (height * width) as f64 * (least + (1.0 - least) * f64::from(rng.uniform()));
        let proportion = (WIDEST.ln() * (2.0 * f64::from(rng.uniform()) - 1.0)).exp();
        let sides = [(area / proportion).sqrt(), (area * proportion).sqrt()].map(f64::round_ties_even);
        if let (Some(h), Some(w)) = (fits(sides[0], height), fits(sides[1], width)) {
            return Rect {
                top: rng.below(height - h + 1),
                left: rng.below(width - w + 1),
                height: h,
                width: w,
            };
        }
    }
    let proportion = width as f64 / height as f64;
    let round = |side: f64| side.round_ties_even() as usize;
    let (h, w) = match proportion {
        narrow if narrow < 1.0 / WIDEST => (round(width as f64 * WIDEST).clamp(1, height), width),
        wide if wide > WIDEST => (height, round(height as f64 * WIDEST).clamp(1, width)),
        _ => (height, width),
    };
    Rect { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

/// The greatest width of a random part, as a multiple of its height, and the other way round.
const WIDEST: f64 = 4.0 / 3.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use striate_kernels::rng::{Purpose, Rng};

    use super::*;

    fn near(found: [f32; 2], wanted: [f32; 2]) -> bool {
        found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-4 * (1.0 + b.abs()))
    }

    #[test]
    fn the_map_turns_scales_and_shifts() {
        // A quarter turn clockwise brings what was on top (0, -1) to the right (1, 0).
        assert!(near(Affine::new([0.0, 0.0], 90.0, 1.0).source([1.0, 0.0]), [0.0, -1.0]));
        assert!(near(Affine::new([0.0, 0.0], 0.0, 2.0).source([4.0, -2.0]), [2.0, -1.0]));
        assert!(near(Affine::new([3.0, 1.0], 0.0, 1.0).source([3.0, 1.0]), [0.0, 0.0]));
        assert_eq!(Affine::new([0.0, 0.0], 0.0, 1.0), Affine::IDENTITY);
    }

    #[test]
    fn two_changes_are_one() {
        let first = Affine::new([3.0, -2.0], 30.0, 1.5).mirrored();
        let next = Affine { matrix: [[1.0, 0.3], [0.0, 1.0]], shift: [-4.0, 0.5] };
        for point in [[0.0, 0.0], [10.0, -7.0], [-3.5, 12.0]] {
            assert!(near(first.then(next).source(point), first.source(next.source(point))), "{point:?}");
        }
        assert_eq!(first.then(Affine::IDENTITY), first);
    }

    #[test]
    fn whole_moves_are_told_from_others() {
        let whole = |shift, degrees, scale| Affine::new(shift, degrees, scale).whole();
        assert_eq!(whole([3.0, -4.0], 0.0, 1.0), Some((false, [3, -4])));
        assert_eq!(Affine::new([1.0, 0.0], 0.0, 1.0).mirrored().whole(), Some((true, [1, 0])));
        for other in [whole([0.5, 0.0], 0.0, 1.0), whole([0.0; 2], 1.0, 1.0), whole([0.0; 2], 0.0, 1.1)] {
            assert_eq!(other, None);
        }
        assert_eq!(whole([f32::INFINITY, f32::NAN], 0.0, 1.0), None);
    }

    #[test]
    fn a_shorter_side_is_made_as_torchvision_makes_it() {
        let placed = Placement::resized([375, 500], 256, [224, 224], middle);
        assert_eq!((placed.to, placed.window.top, placed.window.left), ([256, 341], 16, 58));
        let tall = Placement::resized([53, 37], 28, [23, 21], middle);
        assert_eq!((tall.to, tall.window.top, tall.window.left), ([40, 28], 8, 4));
    }

    /// Of 20,000 parts: areas, proportions and places spread as they should.
    #[test]
    fn random_parts_are_spread_evenly() {
        let mut rng = Rng::new(3, Purpose::Augment, 0, 0);
        let (mut areas, mut logs, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let part = random_part(&mut rng, 0.1, [1000, 1000]);
            areas.push((part.height * part.width) as f64 / 1e6);
            logs.push((part.width as f64 / part.height as f64).ln());
            if part.width < 900 {
                places.push(part.left as f64 / (1000 - part.width) as f64);
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!(areas.iter().all(|area| (0.098..=1.0).contains(area)));
        assert!(logs.iter().all(|log| log.abs() <= WIDEST.ln() + 0.01));
        // Parts that are too wide or high are drawn again, so large ones are rarer than small ones.
        assert!((0.48..0.55).contains(&mean(&areas)), "{}", mean(&areas));
        let small: Vec<f64> = areas.iter().copied().filter(|area| *area < 0.5).collect();
        assert!((mean(&small) - 0.3).abs() < 0.005, "{}", mean(&small));
        assert!(mean(&logs).abs() < 0.005, "{}", mean(&logs));
        assert!((mean(&places) - 0.5).abs() < 0.01, "{}", mean(&places));
    }

    #[test]
    fn the_shorter_side_is_drawn_from_its_range_and_the_place_from_all() {
        let augment = Augment { resize: [8, 10], ..Augment::NONE };
        let mut rng = Rng::new(5, Purpose::Augment, 0, 0);
        let (mut sides, mut corners) = ([0; 3], [0; 3]);
        for _ in 0..3000 {
            let placed = augment.draw_placement(&mut rng, [20, 30], [8, 8]).unwrap();
            sides[placed.to[0] - 8] += 1;
            if placed.to[0] == 10 {
                corners[placed.window.top] += 1;
            }
        }
        assert!(sides.iter().all(|count| (900..1100).contains(count)), "{sides:?}");
        assert!(corners.iter().all(|count| (270..400).contains(count)), "{corners:?}");
    }

    proptest! {
        #[test]
        fn placements_lie_inside(
            height in 1usize..700, width in 1usize..700, side in 1usize..40, more in 0usize..40,
            least in 0.001f32..=1.0, seed: u64,
        ) {
            let mut rng = Rng::new(seed, Purpose::Augment, 0, 0);
            let part = random_part(&mut rng, least, [height, width]);
            prop_assert!(part.height >= 1 && part.top + part.height <= height);
            prop_assert!(part.width >= 1 && part.left + part.width <= width);
            let augment = Augment { resize: [side as u32, (side + more) as u32], ..Augment::NONE };
            let placed = augment.draw_placement(&mut rng, [height, width], [side, side.div_ceil(2)]).unwrap();
            prop_assert!(placed.window.top + placed.window.height <= placed.to[0]);
            prop_assert!(placed.window.left + placed.window.width <= placed.to[1]);
        }
    }
}
