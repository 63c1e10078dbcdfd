//! Pictures of bytes made larger or smaller, to the bit as Pillow does it and with it torchvision.
//!
//! Each output pixel is the mean of the input pixels around its centre, weighted by a filter that is as wide as the
//! scale where the picture shrinks (so nothing is skipped: "antialiased"). Rows first, then columns, each rounded to
//! bytes; weights are whole multiples of 2⁻²².

use std::ops::Range;

use serde::{Deserialize, Serialize};
use striate_kernels::Isa;
use striate_kernels::simd::{Kernel, Simd, dispatch};

use crate::picture::Picture;

/// The weights of the pixels around a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// A triangle, two pixels wide.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −1/2, four pixels wide.
    Bicubic,
}

impl Filter {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Half its width in pixels.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// The weight at a distance in pixels.
    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// Fractional bits of a weight.
const BITS: u32 = 22;

/// For a run of places along an axis, what each is the mean of.
#[derive(Clone, Debug, Default)]
struct Taps {
    /// For each place the first pixel that is read.
    firsts: Vec<usize>,
    /// How many pixels are read for each place: as many as count for any.
    count: usize,
    /// Their weights, place by place; 0 for those that do not count.
    weights: Vec<i32>,
    /// The weights of one place before they are rounded.
    exact: Vec<f64>,
}

impl Taps {
    /// Of `from` pixels made `to`, the places `window`.
    fn set(&mut self, from: usize, to: usize, window: Range<usize>, filter: Filter) {
        let scale = from as f64 / to as f64;
        let width = scale.max(1.0);
        let support = filter.support() * width;
        let reach = |at: usize| {
            let centre = (at as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            (centre, first..((centre + support + 0.5) as usize).min(from))
        };
        self.firsts.clear();
        self.weights.clear();
        self.count = window.clone().map(|at| reach(at).1.len()).max().unwrap_or(0);
        for at in window {
            let (centre, pixels) = reach(at);
            let weight = |x: usize| filter.weight((x as f64 - centre + 0.5) * (1.0 / width));
            self.exact.clear();
            self.exact.extend(pixels.clone().map(weight));
            let sum: f64 = self.exact.iter().sum();
            let fixed = |weight: &f64| {
                let scaled = weight / sum * f64::from(1 << BITS);
                (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
            };
            let first = pixels.start.min(from - self.count);
            let end = self.weights.len() + self.count;
            self.weights.resize(self.weights.len() + (pixels.start - first), 0);
            self.weights.extend(self.exact.iter().map(fixed));
            self.weights.resize(end, 0);
            self.firsts.push(first);
        }
    }

    /// The first pixel of each place, and the weights from there on.
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.firsts.iter().copied().zip(self.weights.chunks_exact(self.count.max(1)))
    }

    /// The pixels that are read for any place; there is one.
    fn reach(&self) -> Range<usize> {
        let [first, last] = [self.firsts.first(), self.firsts.last()].map(|first| *first.unwrap_or(&0));
        first..last + self.count
    }
}

/// Half of the last bit that is kept.
const HALF: i32 = 1 << (BITS - 1);

/// A weighted sum with [`HALF`] in it, rounded and clipped to a byte.
#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// A rectangle of pixels or places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Rect {
    /// All of something of `height` and `width`.
    pub(crate) fn whole([height, width]: [usize; 2]) -> Self {
        Self { top: 0, left: 0, height, width }
    }
}

/// Resizes pictures one after the other, in memory that it keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resampler {
    columns: Taps,
    rows: Taps,
    /// The rows that count, already as narrow as the result.
    narrowed: Vec<u8>,
    sums: Vec<i32>,
}

impl Resampler {
    /// The part `part` of `picture` in height and width `to`, of that the part `window`: (height, width, channels) bytes
    /// into `dst`. What lies outside `part` counts for nothing. All sides are at least 1, parts lie inside.
    pub(crate) fn resize(
        &mut self,
        picture: Picture<'_>,
        part: Rect,
        to: [usize; 2],
        window: Rect,
        filter: Filter,
        dst: &mut Vec<u8>,
    ) {
        self.rows.set(part.height, to[0], window.top..window.top + window.height, filter);
        self.columns.set(part.width, to[1], window.left..window.left + window.width, filter);
        dst.clear();
        dispatch(Isa::best(), Resize { resampler: self, picture, part, to, window, dst });
    }
}

/// [`Resampler::resize`] with its weights set. In whole numbers, so that every instruction set gives the same.
struct Resize<'a, 'p> {
    resampler: &'a mut Resampler,
    picture: Picture<'p>,
    part: Rect,
    to: [usize; 2],
    window: Rect,
    dst: &'a mut Vec<u8>,
}

impl Kernel for Resize<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { resampler, picture: Picture { width, channels, pixels, .. }, part, to, window, dst } =
            self;
        let Resampler { columns, rows, narrowed, sums } = resampler;
        let stride = window.width * channels;
        let (tall, wide) = (to[0] == part.height, to[1] == part.width);
        let needed = if tall { window.top..window.top + window.height } else { rows.reach() };
        let row = |y: usize| {
            let start = ((part.top + y) * width + part.left) * channels;
            &pixels[start..]
        };
        if !wide {
            narrowed.resize(needed.len() * stride, 0);
            for (y, narrowed) in needed.clone().zip(narrowed.chunks_exact_mut(stride)) {
                let row = row(y);
                match channels {
                    1 => narrow::<1>(row, columns, narrowed),
                    // Pixels are read with the byte behind them, which all but the picture's last have.
                    3 if row.len() > part.width * 3 => narrow_wider(row, columns, narrowed),
                    3 => narrow::<3>(row, columns, narrowed),
                    _ => narrow_any(row, channels, columns, narrowed),
                }
            }
        }
        let source = |y: usize| {
            let from = if wide { row(y) } else { &narrowed[(y - needed.start) * stride..] };
            let skipped = if wide { window.left * channels } else { 0 };
            &from[skipped..][..stride]
        };
        if tall {
            needed.clone().for_each(|y| dst.extend_from_slice(source(y)));
            return;
        }
        sums.resize(stride, 0);
        for (first, weights) in rows.iter() {
            sums.fill(HALF);
            for (y, weight) in (first..).zip(weights) {
                for (sum, level) in sums.iter_mut().zip(source(y)) {
                    *sum += i32::from(*level) * weight;
                }
            }
            let start = dst.len();
            dst.resize(start + stride, 0);
            for (level, sum) in dst[start..].iter_mut().zip(&*sums) {
                *level = byte(*sum);
            }
        }
    }
}

#[inline(always)]
fn narrow<const CHANNELS: usize>(row: &[u8], columns: &Taps, dst: &mut [u8]) {
    let pixels = row.as_chunks::<CHANNELS>().0;
    for (pixel, (first, weights)) in dst.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(columns.iter()) {
        let mut sums = [HALF; CHANNELS];
        for (levels, weight) in pixels[first..].iter().zip(weights) {
            for channel in 0..CHANNELS {
                sums[channel] += i32::from(levels[channel]) * weight;
            }
        }
        for channel in 0..CHANNELS {
            pixel[channel] = byte(sums[channel]);
        }
    }
}

/// [`narrow`] of three channels, four at a time: what comes of the fourth is dropped.
#[inline(always)]
fn narrow_wider(row: &[u8], columns: &Taps, dst: &mut [u8]) {
    match columns.count {
        2 => narrow_by::<2>(row, columns, dst),
        3 => narrow_by::<3>(row, columns, dst),
        4 => narrow_by::<4>(row, columns, dst),
        5 => narrow_by::<5>(row, columns, dst),
        6 => narrow_by::<6>(row, columns, dst),
        _ => {
            for (pixel, (first, weights)) in dst.as_chunks_mut::<3>().0.iter_mut().zip(columns.iter()) {
                let levels = &row[first * 3..][..weights.len() * 3 + 1];
                *pixel = mean_of_wider(levels, weights);
            }
        }
    }
}

/// [`narrow_wider`] by so many weights.
#[inline(always)]
fn narrow_by<const COUNT: usize>(row: &[u8], columns: &Taps, dst: &mut [u8]) {
    let places = columns.firsts.iter().zip(columns.weights.as_chunks::<COUNT>().0);
    for (pixel, (first, weights)) in dst.as_chunks_mut::<3>().0.iter_mut().zip(places) {
        *pixel = mean_of_wider(&row[first * 3..][..COUNT * 3 + 1], weights);
    }
}

#[inline(always)]
fn mean_of_wider(levels: &[u8], weights: &[i32]) -> [u8; 3] {
    // Without closures: they would be compiled for any processor, and called.
    let mut sums = [HALF; 4];
    for at in 0..weights.len() {
        let levels = &levels[at * 3..at * 3 + 4];
        for lane in 0..4 {
            sums[lane] += levels[lane] as i32 * weights[at];
        }
    }
    let [r, g, b, _] = sums;
    [byte(r), byte(g), byte(b)]
}

#[inline(always)]
fn narrow_any(row: &[u8], channels: usize, columns: &Taps, dst: &mut [u8]) {
    for (pixel, (first, weights)) in dst.chunks_exact_mut(channels).zip(columns.iter()) {
        for (channel, value) in pixel.iter_mut().enumerate() {
            let levels = row[first * channels + channel..].iter().step_by(channels);
            let sum: i32 = levels.zip(weights).map(|(level, weight)| i32::from(*level) * weight).sum();
            *value = byte(sum + HALF);
        }
    }
}

/// The picture `pixels`, (height, width, channels) of size `from`, in height and width `to`. Sides are at least 1.
pub(crate) fn resize(
    pixels: Vec<u8>,
    channels: usize,
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
) -> Vec<u8> {
    let [height, width] = from;
    let picture = Picture { height, width, channels, pixels: &pixels };
    let mut resized = Vec::with_capacity(to[0] * to[1] * channels);
    Resampler::default().resize(picture, Rect::whole(from), to, Rect::whole(to), filter, &mut resized);
    resized
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture with edges and slopes that differ between channels.
    pub(crate) fn picture([height, width]: [usize; 2], channels: usize) -> Vec<u8> {
        let level = |at: usize| {
            let (y, x, channel) = (at / channels / width, at / channels % width, at % channels);
            (x * x * 7 + y * y * 5 + x * y * 3 + channel * 50) as u8
        };
        (0..height * width * channels).map(level).collect()
    }

    /// Sum of bytes, and the sum of each byte times its place, modulo 2³²: what `tests/goldens/pillow.py` prints.
    pub(crate) fn digest(bytes: &[u8]) -> (u32, u32) {
        let sum = bytes.iter().map(|byte| u32::from(*byte)).sum();
        let places = bytes.iter().zip(1u32..);
        (sum, places.fold(0, |sum: u32, (byte, place)| sum.wrapping_add(place.wrapping_mul((*byte).into()))))
    }

    #[test]
    fn the_bytes_are_pillows() {
        for (filter, from, to, channels, expected) in GOLDENS {
            let resized = resize(picture(from, channels), channels, from, to, filter);
            assert_eq!(resized.len(), to[0] * to[1] * channels);
            assert_eq!(digest(&resized), expected, "{filter:?} {from:?} to {to:?}");
        }
    }

    #[test]
    fn a_part_and_a_window_are_those_of_the_whole() {
        let mut resampler = Resampler::default();
        let mut found = Vec::new();
        for (channels, filter) in [(1, Filter::Bilinear), (2, Filter::Bicubic), (3, Filter::Bilinear)] {
            let [height, width] = [37, 53];
            let pixels = picture([height, width], channels);
            let whole = Picture { height, width, channels, pixels: &pixels };
            let part = Rect { top: 4, left: 7, height: 30, width: 40 };
            let cut = |pixels: &[u8], width: usize, part: Rect| -> Vec<u8> {
                let rows = pixels.chunks_exact(width * channels).skip(part.top).take(part.height);
                rows.flat_map(|row| row[part.left * channels..][..part.width * channels].to_vec()).collect()
            };
            for to in [[19, 23], [30, 40], [61, 23], [30, 17], [12, 40]] {
                let alone = resize(cut(&pixels, width, part), channels, [30, 40], to, filter);
                let window = Rect { top: 3, left: 5, height: 8, width: 11 };
                resampler.resize(whole, part, to, window, filter, &mut found);
                assert_eq!(found, cut(&alone, to[1], window), "{to:?}");
            }
        }
    }

    /// Filter, size before and after, channels, digest.
    type Golden = (Filter, [usize; 2], [usize; 2], usize, (u32, u32));

    // Pillow 13.0.0
    #[rustfmt::skip]
    const GOLDENS: [Golden; 28] = [
        (Filter::Bilinear, [40, 30], [20, 15], 1, (38538, 5868394)),
        (Filter::Bilinear, [40, 30], [20, 15], 3, (115836, 52275111)),
        (Filter::Bilinear, [37, 53], [16, 23], 1, (46636, 8739649)),
        (Filter::Bilinear, [37, 53], [16, 23], 3, (141227, 78260984)),
        (Filter::Bilinear, [37, 53], [37, 20], 1, (93814, 35300005)),
        (Filter::Bilinear, [37, 53], [37, 20], 3, (283985, 316433730)),
        (Filter::Bilinear, [64, 48], [17, 48], 1, (104244, 42792649)),
        (Filter::Bilinear, [64, 48], [17, 48], 3, (313648, 384419406)),
        (Filter::Bilinear, [9, 7], [31, 25], 1, (85523, 36082588)),
        (Filter::Bilinear, [9, 7], [31, 25], 3, (290899, 355773962)),
        (Filter::Bilinear, [300, 200], [24, 16], 1, (48994, 9433999)),
        (Filter::Bilinear, [300, 200], [24, 16], 3, (146887, 84687718)),
        (Filter::Bilinear, [5, 5], [1, 1], 1, (80, 80)),
        (Filter::Bilinear, [5, 5], [1, 1], 3, (350, 766)),
        (Filter::Bicubic, [40, 30], [20, 15], 1, (38464, 5857925)),
        (Filter::Bicubic, [40, 30], [20, 15], 3, (115613, 52168557)),
        (Filter::Bicubic, [37, 53], [16, 23], 1, (46626, 8738207)),
        (Filter::Bicubic, [37, 53], [16, 23], 3, (141172, 78228387)),
        (Filter::Bicubic, [37, 53], [37, 20], 1, (93837, 35310315)),
        (Filter::Bicubic, [37, 53], [37, 20], 3, (284024, 316490284)),
        (Filter::Bicubic, [64, 48], [17, 48], 1, (104242, 42785292)),
        (Filter::Bicubic, [64, 48], [17, 48], 3, (313623, 384368013)),
        (Filter::Bicubic, [9, 7], [31, 25], 1, (85434, 36102322)),
        (Filter::Bicubic, [9, 7], [31, 25], 3, (290683, 355731780)),
        (Filter::Bicubic, [300, 200], [24, 16], 1, (49015, 9437255)),
        (Filter::Bicubic, [300, 200], [24, 16], 3, (146919, 84698359)),
        (Filter::Bicubic, [5, 5], [1, 1], 1, (81, 81)),
        (Filter::Bicubic, [5, 5], [1, 1], 3, (351, 767)),
    ];
}
