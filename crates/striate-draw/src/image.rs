//! Images as they are put into a scene.

use crate::error::DrawError;

/// An image of red, green and blue bytes, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Image {
    /// The image in `pixels`, row by row, channels last, of the shape channels, height, width: grey, grey and alpha,
    /// RGB or RGBA, what is transparent on white.
    ///
    /// # Errors
    /// When the pixels are not those of the shape, or have no colours.
    pub fn from_channels(pixels: &[u8], [channels, height, width]: [usize; 3]) -> Result<Self, DrawError> {
        let size = height.checked_mul(width).and_then(|size| size.checked_mul(channels));
        if size != Some(pixels.len()) || pixels.is_empty() {
            let expected = size.unwrap_or(usize::MAX);
            return Err(DrawError::Pixels { channels, height, width, found: pixels.len(), expected });
        }
        if channels > 4 {
            return Err(DrawError::Channels(channels));
        }
        let on_white = |level: u8, alpha: u8| {
            ((level as u32 * alpha as u32 + 255 * (255 - alpha as u32) + 127) / 255) as u8
        };
        let rgb = pixels.chunks_exact(channels).flat_map(|pixel| match *pixel {
            [grey] => [grey; 3],
            [grey, alpha] => [on_white(grey, alpha); 3],
            [r, g, b] => [r, g, b],
            [r, g, b, alpha] => [r, g, b].map(|level| on_white(level, alpha)),
            _ => unreachable!("one to four channels"),
        });
        Ok(Self { width, height, rgb: rgb.collect() })
    }

    /// The image in `values`, channels last, as a network takes it: each channel less its mean and divided by its
    /// deviation, on a scale from 0 to 1.
    ///
    /// # Errors
    /// As [`from_channels`](Self::from_channels); also when `mean` and `std` are not of each channel.
    pub fn from_normalised(
        values: &[f32],
        shape: [usize; 3],
        [mean, std]: [&[f32]; 2],
    ) -> Result<Self, DrawError> {
        let [channels, height, width] = shape;
        if mean.len() != channels || std.len() != channels {
            let found = mean.len().min(std.len());
            return Err(DrawError::Pixels { channels, height, width, found, expected: channels });
        }
        let level = |(at, value): (usize, &f32)| {
            let channel = at % channels;
            ((value * std[channel] + mean[channel]) * 255.0).round().clamp(0.0, 255.0) as u8
        };
        let pixels: Vec<u8> = values.iter().enumerate().map(level).collect();
        Self::from_channels(&pixels, shape)
    }

    /// Pixels across.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green and blue of each pixel, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The image in `width`×`height` pixels: each the mean of those it covers, or the one it lies in.
    pub(crate) fn resized(&self, width: usize, height: usize) -> Image {
        let columns = spans(self.width, width);
        let rows = spans(self.height, height);
        let mut rgb = Vec::with_capacity(3 * width * height);
        for &(top, bottom) in &rows {
            for &(left, right) in &columns {
                let mut sums = [0u64; 3];
                for y in top..bottom {
                    for pixel in self.rgb[3 * (y * self.width + left)..3 * (y * self.width + right)].chunks(3)
                    {
                        for (sum, level) in sums.iter_mut().zip(pixel) {
                            *sum += *level as u64;
                        }
                    }
                }
                let count = ((bottom - top) * (right - left)) as u64;
                rgb.extend(sums.map(|sum| ((sum + count / 2) / count) as u8));
            }
        }
        Image { width, height, rgb }
    }
}

/// Of each of `to` pixels, the first and the end of those of `from` that it shows; at least one.
fn spans(from: usize, to: usize) -> Vec<(usize, usize)> {
    let span = |at: usize| {
        let first = at * from / to;
        (first, ((at + 1) * from / to).max(first + 1))
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_colours() {
        let image = |pixels: &[u8], channels| Image::from_channels(pixels, [channels, 1, 1]).unwrap().rgb;
        assert_eq!(image(&[7], 1), [7; 3]);
        assert_eq!(image(&[7, 0], 2), [255; 3]);
        assert_eq!(image(&[1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(image(&[0, 255, 0, 51], 4), [204, 255, 204]);
        assert_eq!(Image::from_channels(&[0; 5], [5, 1, 1]), Err(DrawError::Channels(5)));
        let error = Image::from_channels(&[0; 5], [1, 2, 3]).unwrap_err().to_string();
        assert!(error.starts_with("5 values are no image of 1 channels, height 2 and width 3"), "{error}");
        assert!(Image::from_channels(&[], [1, usize::MAX, usize::MAX]).is_err());
        assert!(Image::from_channels(&[], [1, 0, 4]).is_err());
    }

    #[test]
    fn what_was_normalised_comes_back() {
        let values: Vec<f32> =
            [0u8, 128, 255].iter().map(|level| (*level as f32 / 255.0 - 0.4) / 0.2).collect();
        let image = Image::from_normalised(&values, [1, 1, 3], [&[0.4], &[0.2]]).unwrap();
        assert_eq!(image.rgb, [0, 0, 0, 128, 128, 128, 255, 255, 255]);
        assert!(Image::from_normalised(&values, [3, 1, 1], [&[0.4], &[0.2]]).is_err());
    }

    #[test]
    fn resizing_repeats_or_averages() {
        let image = Image::from_channels(&[0, 100, 200, 50], [1, 2, 2]).unwrap();
        let grey = |image: Image| -> Vec<u8> { image.rgb.chunks(3).map(|pixel| pixel[0]).collect() };
        assert_eq!(grey(image.resized(4, 2)), [0, 0, 100, 100, 200, 200, 50, 50]);
        assert_eq!(grey(image.resized(1, 1)), [88]);
        assert_eq!(grey(image.resized(1, 2)), [50, 125]);
    }
}
