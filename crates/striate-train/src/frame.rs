//! From the bytes of an image to a network's input: centred in the input's frame, perhaps changed by an affine
//! map, normalised to float32. Channels last throughout.

use striate_kernels::Isa;
use striate_kernels::simd::{Kernel, Simd, dispatch};
use thiserror::Error;

use crate::augment::Affine;

/// An image that does not go into a network's input.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FrameError {
    /// The image is larger than the input.
    #[error("images of {}x{} do not fit into an input of {}x{} (height x width)", image[0], image[1], input[0], input[1])]
    TooLarge {
        /// Height and width of the images.
        image: [usize; 2],
        /// Height and width of the input.
        input: [usize; 2],
    },
    /// Nothing to see.
    #[error("images of shape {shape:?} (channels, height, width) have no pixels")]
    Empty {
        /// Channels, height, width.
        shape: [usize; 3],
    },
    /// More elements than are counted here.
    #[error("images of shape {image:?} or inputs of {}x{} (height x width) have 2^31 elements or more", input[0], input[1])]
    Huge {
        /// Channels, height, width of the images.
        image: [usize; 3],
        /// Height and width of the inputs.
        input: [usize; 2],
    },
    /// Mean and deviation that do not go with the channels.
    #[error("{mean} means and {std} deviations for {channels} channels; each needs one, deviations above 0")]
    Statistics {
        /// The number of means.
        mean: usize,
        /// The number of deviations.
        std: usize,
        /// The number of channels.
        channels: usize,
    },
}

/// Puts images of one shape into inputs of one size.
///
/// Where the input is larger than the image, the image lies in the middle (half a pixel up and left where the
/// difference is odd) and the rest is background: byte 0, normalised like every pixel. A network that pads by
/// itself puts the *normalised* value 0 there, a grey; to have that, keep the input at the image's size.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Channels, height, width of the images.
    image: [usize; 3],
    /// Height and width of the inputs.
    input: [usize; 2],
    /// Rows above and columns to the left of the image.
    offset: [usize; 2],
    /// The normalised value of each byte in each channel.
    table: Vec<[f32; 256]>,
    /// A row of an input without image: normalised background.
    background: Vec<f32>,
    /// The normalised image in a border of background: one pixel above and to the left, two below and to the
    /// right, so that the four neighbours of any point clamped to the border exist.
    plane: Vec<f32>,
}

impl Frame {
    /// For images of `image` (channels, height, width) and inputs of `input` (height, width). `mean` and `std`
    /// are per channel, on a scale from 0 to 1: a byte v becomes (v / 255 − mean) / std.
    pub fn new(image: [usize; 3], input: [usize; 2], mean: &[f32], std: &[f32]) -> Result<Self, FrameError> {
        let [channels, height, width] = image;
        if image.contains(&0) {
            return Err(FrameError::Empty { shape: image });
        }
        if height > input[0] || width > input[1] {
            return Err(FrameError::TooLarge { image: [height, width], input });
        }
        let elements = |[height, width]: [usize; 2]| {
            let sides = height.checked_add(3)?.checked_mul(width.checked_add(3)?);
            sides?.checked_mul(channels).filter(|elements| *elements <= i32::MAX as usize)
        };
        // An input is no smaller than its image.
        if elements(input).is_none() {
            return Err(FrameError::Huge { image, input });
        }
        let positive = std.iter().all(|std| *std > 0.0);
        if mean.len() != channels || std.len() != channels || !positive {
            return Err(FrameError::Statistics { mean: mean.len(), std: std.len(), channels });
        }
        let row = |(mean, std): (&f32, &f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
        let table: Vec<[f32; 256]> = mean.iter().zip(std).map(row).collect();
        let background = |pixels| table.iter().map(|row| row[0]).cycle().take(pixels * channels).collect();
        Ok(Self {
            image,
            input,
            offset: [(input[0] - height) / 2, (input[1] - width) / 2],
            background: background(input[1]),
            plane: background((height + 3) * (width + 3)),
            table,
        })
    }

    /// The number of elements of an input.
    pub fn len(&self) -> usize {
        self.image[0] * self.input[0] * self.input[1]
    }

    /// Whether inputs have no elements; they always have some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height and width of an input.
    pub fn shape(&self) -> [usize; 3] {
        [self.image[0], self.input[0], self.input[1]]
    }

    /// The rows above and the columns to the left of the image in its input.
    pub(crate) fn offset(&self) -> [usize; 2] {
        self.offset
    }

    /// Writes the input for the image `pixels` to `dst`; both of the sizes this frame was made for. Without a
    /// map the pixels are copied exactly, with one they are interpolated bilinearly.
    pub fn put(&mut self, pixels: &[u8], map: Option<&Affine>, dst: &mut [f32]) {
        match map {
            None => self.copy(pixels, (false, [0, 0]), dst),
            Some(map) => match (map.whole(), self.image[0]) {
                (Some(whole), _) => self.copy(pixels, whole, dst),
                (None, 1) => dispatch(Isa::best(), Warp::<1> { frame: self, pixels, map, dst }),
                (None, 3) => dispatch(Isa::best(), Warp::<3> { frame: self, pixels, map, dst }),
                (None, _) => dispatch(Isa::best(), Warp::<0> { frame: self, pixels, map, dst }),
            },
        }
    }

    /// Copies the image, perhaps mirrored, moved right and down by whole pixels.
    fn copy(&self, pixels: &[u8], (mirrored, [right, down]): (bool, [i32; 2]), dst: &mut [f32]) {
        let [channels, height, width] = self.image;
        // Where the image begins in the input, and which part of it is seen there.
        let begin = [self.offset[0] as i64 + i64::from(down), self.offset[1] as i64 + i64::from(right)];
        let seen = |at: usize, length: usize| {
            let within = |place: i64| place.clamp(0, self.input[at] as i64);
            within(begin[at])..within(begin[at] + length as i64)
        };
        let columns = seen(1, width);
        let (begin_at, count) = (columns.start as usize, (columns.end - columns.start) as usize);
        let rows = if count > 0 { seen(0, height) } else { 0..0 };
        let first = (columns.start - begin[1]) as usize;
        for (row, dst) in (0..).zip(dst.chunks_exact_mut(self.input[1] * channels)) {
            if count < self.input[1] || !rows.contains(&row) {
                dst.copy_from_slice(&self.background);
            }
            if rows.contains(&row) {
                let source = &pixels[(row - begin[0]) as usize * width * channels..][..width * channels];
                let dst = &mut dst[begin_at * channels..][..count * channels];
                if mirrored {
                    let source = &source[(width - first - count) * channels..][..count * channels];
                    normalise_mirrored(&self.table, source, dst);
                } else {
                    normalise(&self.table, &source[first * channels..][..count * channels], dst);
                }
            }
        }
    }

    /// `CHANNELS` of the image, or 0 for any number.
    #[inline(always)]
    fn warp<const CHANNELS: usize>(&mut self, pixels: &[u8], map: &Affine, dst: &mut [f32]) {
        let [channels, height, width] = self.image;
        let channels = if CHANNELS == 0 { channels } else { CHANNELS };
        let pitch = (width + 3) * channels;
        for (row, source) in pixels.chunks_exact(width * channels).enumerate() {
            let plane = &mut self.plane[(row + 1) * pitch + channels..][..width * channels];
            normalise(&self.table, source, plane);
        }
        let middle = [(width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0];
        let centre = [middle[0] + self.offset[1] as f32, middle[1] + self.offset[0] as f32];
        for (row, dst) in dst.chunks_exact_mut(self.input[1] * channels).enumerate() {
            let y = row as f32 - centre[1];
            for (chunk, dst) in dst.chunks_mut(LANES * channels).enumerate() {
                // First where all pixels of a chunk come from, in vector registers; then the pixels.
                let (mut at, mut parts) = ([0; LANES], [[0.0; LANES]; 2]);
                for lane in 0..LANES {
                    let x = (chunk * LANES + lane) as f32 - centre[0];
                    let [x, y] = map.source([x, y]);
                    // Positions in the plane: one further than in the image, and not negative.
                    let x = (x + middle[0] + 1.0).clamp(0.0, width as f32 + 1.0);
                    let y = (y + middle[1] + 1.0).clamp(0.0, height as f32 + 1.0);
                    let (left, top) = (x as i32, y as i32);
                    at[lane] = top * pitch as i32 + left * channels as i32;
                    (parts[0][lane], parts[1][lane]) = (x - left as f32, y - top as f32);
                }
                for (lane, pixel) in dst.chunks_exact_mut(channels).enumerate() {
                    let upper = &self.plane[at[lane] as usize..][..2 * channels];
                    let lower = &self.plane[at[lane] as usize + pitch..][..2 * channels];
                    let (right_part, lower_part) = (parts[0][lane], parts[1][lane]);
                    for channel in 0..channels {
                        let [a, b] = [upper[channel], upper[channel + channels]];
                        let [c, d] = [lower[channel], lower[channel + channels]];
                        let (above, below) = (a + right_part * (b - a), c + right_part * (d - c));
                        pixel[channel] = above + lower_part * (below - above);
                    }
                }
            }
        }
    }
}

/// [`Frame::warp`] with any instruction set: none of its operations is rounded differently by another.
struct Warp<'a, const CHANNELS: usize> {
    frame: &'a mut Frame,
    pixels: &'a [u8],
    map: &'a Affine,
    dst: &'a mut [f32],
}

impl<const CHANNELS: usize> Kernel for Warp<'_, CHANNELS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.frame.warp::<CHANNELS>(self.pixels, self.map, self.dst);
    }
}

/// Pixels whose sources are computed together.
const LANES: usize = 16;

fn normalise(table: &[[f32; 256]], bytes: &[u8], dst: &mut [f32]) {
    if let [table] = table {
        for (value, byte) in dst.iter_mut().zip(bytes) {
            *value = table[usize::from(*byte)];
        }
        return;
    }
    if let [red, green, blue] = table {
        for (pixel, [r, g, b]) in dst.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
            *pixel = [red[usize::from(*r)], green[usize::from(*g)], blue[usize::from(*b)]];
        }
        return;
    }
    for (pixel, bytes) in dst.chunks_exact_mut(table.len()).zip(bytes.chunks_exact(table.len())) {
        for ((value, byte), table) in pixel.iter_mut().zip(bytes).zip(table) {
            *value = table[usize::from(*byte)];
        }
    }
}

/// The last pixel first.
fn normalise_mirrored(table: &[[f32; 256]], bytes: &[u8], dst: &mut [f32]) {
    if let [red, green, blue] = table {
        for (pixel, [r, g, b]) in dst.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0.iter().rev()) {
            *pixel = [red[usize::from(*r)], green[usize::from(*g)], blue[usize::from(*b)]];
        }
        return;
    }
    let channels = table.len();
    for (pixel, bytes) in dst.chunks_exact_mut(channels).zip(bytes.chunks_exact(channels).rev()) {
        for ((value, byte), table) in pixel.iter_mut().zip(bytes).zip(table) {
            *value = table[usize::from(*byte)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean 0 and deviation 1/255: inputs hold the bytes' values.
    fn plain(image: [usize; 3], input: [usize; 2]) -> Frame {
        Frame::new(image, input, &vec![0.0; image[0]], &vec![1.0 / 255.0; image[0]]).unwrap()
    }

    fn put(frame: &mut Frame, pixels: &[u8], map: Option<&Affine>) -> Vec<f32> {
        let mut dst = vec![f32::NAN; frame.len()];
        frame.put(pixels, map, &mut dst);
        dst.iter().map(|value| (value * 1e3).round() / 1e3).collect()
    }

    #[test]
    fn without_a_map_pixels_are_copied_exactly() {
        let pixels: Vec<u8> = (0..=255).collect();
        let mut frame = Frame::new([1, 16, 16], [16, 16], &[0.1307], &[0.3081]).unwrap();
        let (mut copied, mut mapped) = (vec![0.0; 256], vec![0.0; 256]);
        frame.put(&pixels, None, &mut copied);
        for (byte, value) in pixels.iter().zip(&copied) {
            assert_eq!(*value, (f32::from(*byte) / 255.0 - 0.1307) / 0.3081);
        }
        frame.put(&pixels, Some(&Affine::IDENTITY), &mut mapped);
        assert_eq!(copied, mapped, "a map that changes nothing must change no bit");
    }

    #[test]
    fn a_larger_input_is_filled_with_background() {
        let mut frame = plain([2, 1, 2], [2, 5]);
        let expected = [[0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0], [0.0; 10]].concat();
        assert_eq!(put(&mut frame, &[1, 2, 3, 4], None), expected);
        assert_eq!(put(&mut frame, &[1, 2, 3, 4], Some(&Affine::IDENTITY)), expected);
        let mut dark = Frame::new([1, 1, 1], [1, 3], &[0.5], &[0.5]).unwrap();
        assert_eq!(put(&mut dark, &[255], None), [-1.0, 1.0, -1.0]);
    }

    #[test]
    fn maps_shift_turn_scale_and_interpolate() {
        let image = [10, 20, 30, 40, 50, 60, 70, 80, 90];
        let mut frame = plain([1, 3, 3], [3, 3]);
        let right = Affine::new([1.0, 0.0], 0.0, 1.0);
        assert_eq!(
            put(&mut frame, &image, Some(&right)),
            [0.0, 10.0, 20.0, 0.0, 40.0, 50.0, 0.0, 70.0, 80.0]
        );
        let half = Affine::new([0.5, 0.0], 0.0, 1.0);
        assert_eq!(
            put(&mut frame, &image, Some(&half)),
            [5.0, 15.0, 25.0, 20.0, 45.0, 55.0, 35.0, 75.0, 85.0]
        );
        let quarter = Affine::new([0.0, 0.0], 90.0, 1.0);
        assert_eq!(
            put(&mut frame, &image, Some(&quarter)),
            [70.0, 40.0, 10.0, 80.0, 50.0, 20.0, 90.0, 60.0, 30.0]
        );
        let twice = Affine::new([0.0, 0.0], 0.0, 2.0);
        assert_eq!(
            put(&mut frame, &image, Some(&twice)),
            [30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0]
        );
        let away = Affine::new([1e9, -1e9], 45.0, 0.1);
        assert_eq!(put(&mut frame, &image, Some(&away)), [0.0; 9]);
    }

    /// Whole moves are copied; to the bit what interpolating gives.
    #[test]
    fn copies_are_what_interpolation_gives() {
        for image in [[1, 5, 7], [3, 6, 4], [2, 3, 3]] {
            let pixels: Vec<u8> =
                (0..image.iter().product::<usize>()).map(|at| (at * 37 + 11) as u8).collect();
            let (mean, std) = (vec![0.4; image[0]], vec![0.2; image[0]]);
            for input in [[image[1], image[2]], [9, 12]] {
                let mut frame = Frame::new(image, input, &mean, &std).unwrap();
                for shift in [[0.0, 0.0], [2.0, -1.0], [-3.0, 4.0], [100.0, 0.0], [-7.0, -9.0]] {
                    for map in [Affine::new(shift, 0.0, 1.0), Affine::new(shift, 0.0, 1.0).mirrored()] {
                        let (mut copied, mut warped) =
                            (vec![f32::NAN; frame.len()], vec![f32::NAN; frame.len()]);
                        frame.copy(&pixels, map.whole().unwrap(), &mut copied);
                        frame.warp::<0>(&pixels, &map, &mut warped);
                        assert_eq!(copied, warped, "{image:?} in {input:?}, {map:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_of_the_image_before_is_left() {
        let mut frame = plain([1, 2, 2], [2, 2]);
        put(&mut frame, &[9; 4], Some(&Affine::IDENTITY));
        assert_eq!(put(&mut frame, &[1, 0, 0, 0], Some(&Affine::IDENTITY)), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = Frame::new([1, 28, 28], [32, 24], &[0.0], &[1.0]).unwrap_err().to_string();
        assert_eq!(text, "images of 28x28 do not fit into an input of 32x24 (height x width)");
        assert!(matches!(Frame::new([3, 2, 2], [2, 2], &[0.0], &[1.0]), Err(FrameError::Statistics { .. })));
        assert!(matches!(Frame::new([1, 2, 2], [2, 2], &[0.0], &[0.0]), Err(FrameError::Statistics { .. })));
        for (image, input) in [([1, 2, 2], [usize::MAX; 2]), ([1, 1 << 16, 1 << 16], [1 << 16; 2])] {
            assert!(matches!(Frame::new(image, input, &[0.0], &[1.0]), Err(FrameError::Huge { .. })));
        }
        assert!(matches!(Frame::new([1, 0, 2], [2, 2], &[0.0], &[1.0]), Err(FrameError::Empty { .. })));
    }
}
