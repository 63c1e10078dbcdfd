//! Pictures of bytes made larger or smaller, to the bit as Pillow does it and with it torchvision.
//!
//! Each output pixel is the mean of the input pixels around its centre, weighted by a filter that is as wide as the
//! scale where the picture shrinks (so nothing is skipped: "antialiased"). Rows first, then columns, each rounded to
//! bytes; weights are whole multiples of 2⁻²².

use serde::{Deserialize, Serialize};

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

/// For each place along an axis of `to` pixels: the first of `from` pixels that counts, and the weights from there on.
fn weights(from: usize, to: usize, filter: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let width = scale.max(1.0);
    let support = filter.support() * width;
    let place = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |x: usize| filter.weight((x as f64 - centre + 0.5) * (1.0 / width));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let scaled = weight / sum * f64::from(1 << BITS);
            (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        (first, weights.into_iter().map(fixed).collect())
    };
    (0..to).map(place).collect()
}

/// A weighted sum, rounded and clipped to a byte.
fn byte(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The picture `pixels`, (height, width, channels) of size `from`, in height and width `to`. Sides are at least 1.
pub(crate) fn resize(
    pixels: Vec<u8>,
    channels: usize,
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
) -> Vec<u8> {
    let ([height, width], [to_height, to_width]) = (from, to);
    let mut rows = pixels;
    if to_width != width {
        let places = weights(width, to_width, filter);
        let mut narrowed = Vec::with_capacity(height * to_width * channels);
        for row in rows.chunks_exact(width * channels) {
            for (first, weights) in &places {
                let window = &row[first * channels..][..weights.len() * channels];
                narrowed.extend((0..channels).map(|channel| {
                    let levels = window[channel..].iter().step_by(channels);
                    byte(levels.zip(weights).map(|(level, weight)| i32::from(*level) * weight).sum())
                }));
            }
        }
        rows = narrowed;
    }
    if to_height == height {
        return rows;
    }
    let stride = to_width * channels;
    let mut resized = Vec::with_capacity(to_height * stride);
    let mut sums = vec![0; stride];
    for (first, weights) in weights(height, to_height, filter) {
        sums.fill(0);
        for (row, weight) in rows[first * stride..].chunks_exact(stride).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, level)| *sum += i32::from(*level) * weight);
        }
        resized.extend(sums.iter().map(|sum| byte(*sum)));
    }
    resized
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture with edges and slopes that differ between channels.
    fn picture([height, width]: [usize; 2], channels: usize) -> Vec<u8> {
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
