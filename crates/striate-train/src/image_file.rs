//! Pictures from PNG, JPEG, WebP and BMP files, brought to a network's input.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageReader, RgbImage};
use serde::{Deserialize, Serialize};
use striate_interop::sniff;
use thiserror::Error;

use crate::augment::{Augment, Pipeline, PipelineError};
use crate::data::Scale;
use crate::frame::{Frame, FrameError};
use crate::picture::Picture;
use crate::resample::{self, Filter};
use crate::views::{Views, ViewsError};

/// The longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 16_384;
/// The most bytes a file may have, and the most that a decoder may ask for.
pub const MAX_BYTES: u64 = 512 << 20;
/// The most pixels a resized picture may have.
const MAX_RESIZED: u64 = 1 << 24;

/// How a picture becomes a network's input; kept with the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Channels (1 or 3), height and width of the input.
    pub shape: [usize; 3],
    /// Height and width of the images that the network has learned from, which lie in the middle of a larger input with
    /// background around them ([`Frame`]); those of the input where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<[usize; 2]>,
    /// Mean of each channel, on a scale from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// How the picture is brought to the images' size.
    pub fit: Fit,
}

/// How a picture is brought to the size of the images that a network has learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Resized until its shorter side has `short_side` pixels, then cropped about its centre: `Resize` and `CenterCrop`
    /// of torchvision, whose bytes it gives for the same pixels.
    Crop {
        /// Pixels of the shorter side; at least the longer side of the images.
        short_side: usize,
        /// The filter that resizes.
        #[serde(default, skip_serializing_if = "Filter::is_default")]
        filter: Filter,
    },
    /// Made like a digit of MNIST: light on dark, its longer side `ink` pixels, its centre of mass in the middle.
    ///
    /// The background is the median of the picture's outermost pixels. Where it is brighter than the mean of
    /// all pixels, the ink is darker than it and the picture is inverted. What lies on the background's side is
    /// then set to 0 and the strongest ink to 255. A picture of the images' very size on a dark background is taken
    /// as it is.
    Digit {
        /// Pixels of the longer side of what is drawn; 20 for MNIST.
        ink: usize,
    },
}

impl Fit {
    /// The middle of the picture when its shorter side has `short_side` pixels, resized bilinearly.
    pub const fn crop(short_side: usize) -> Self {
        Fit::Crop { short_side, filter: Filter::Bilinear }
    }
}

/// A picture that cannot be used, and why.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct ImageFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a picture.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file")]
    NotAFile,
    /// Another kind of file.
    #[error("not a picture that can be read: it is {}; PNG, JPEG, WebP and BMP can", found.unwrap_or("of an unknown kind"))]
    Kind {
        /// What it is, if that can be told.
        found: Option<&'static str>,
    },
    /// The file is damaged.
    #[error("damaged: {0}")]
    Damaged(#[source] ImageError),
    /// A JPEG or WebP file without its end.
    #[error("damaged: the file ends before its picture does; it was cut off")]
    Cut,
    /// A picture larger than anyone needs.
    #[error("too large: a side may have {MAX_SIDE} pixels, the whole {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// A picture so narrow that it would be huge when resized.
    #[error(
        "{width}x{height} pixels are too narrow a picture to be resized to a shorter side of {short_side}"
    )]
    TooNarrow {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The shorter side asked for.
        short_side: usize,
    },
    /// A way to preprocess that cannot be.
    #[error("the network's preprocessing cannot be: {fit:?} for images of shape {shape:?} (1 or 3 channels)")]
    Fit {
        /// How to fit.
        fit: Fit,
        /// Channels, height, width.
        shape: [usize; 3],
    },
    /// The statistics do not go with the channels.
    #[error("the network's preprocessing cannot be: {0}")]
    Frame(#[from] FrameError),
    /// The same, where there are several views.
    #[error("the network's preprocessing cannot be: {0}")]
    Pipeline(#[from] PipelineError),
    /// Views that there cannot be of such pictures.
    #[error(transparent)]
    Views(#[from] ViewsError),
}

impl Preprocess {
    /// Reads the picture at `path` into an input: float32, (height, width, channels).
    ///
    /// Transparent parts show white. Deeper pictures are reduced to 8 bits, coloured ones to grey where the
    /// input has one channel. The orientation noted by a camera (EXIF) is applied.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<f32>, ImageFileError> {
        let path = path.as_ref();
        let read = || self.decode(&read_bounded(path)?);
        read().map_err(|problem| ImageFileError { path: path.to_path_buf(), problem })
    }

    /// The same for the bytes of a file.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, Problem> {
        self.apply(decode(bytes)?)
    }

    /// Reads the picture at `path` into one input for each of `views`.
    pub fn read_views(&self, path: impl AsRef<Path>, views: &Views) -> Result<Vec<Vec<f32>>, ImageFileError> {
        let path = path.as_ref();
        let read = || self.decode_views(&read_bounded(path)?, views);
        read().map_err(|problem| ImageFileError { path: path.to_path_buf(), problem })
    }

    /// The same for the bytes of a file.
    pub fn decode_views(&self, bytes: &[u8], views: &Views) -> Result<Vec<Vec<f32>>, Problem> {
        if views.is_center() {
            return Ok(vec![self.decode(bytes)?]);
        }
        let [channels, height, width] = self.shape;
        let image = self.image.unwrap_or([height, width]);
        let views = views.list(self.fit, image)?;
        let (shape, by) = ([channels, image[0], image[1]], [self.mean.as_slice(), &self.std]);
        let mut pipeline = Pipeline::new(&Augment::NONE, shape, [height, width], by, self.fit)?;
        let picture = decode(bytes)?;
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let channels = usize::from(picture.color().channel_count());
        let picture = Picture { height, width, channels, pixels: picture.as_bytes() };
        let input = |view| {
            let mut input = vec![0.0; pipeline.len()];
            pipeline.view(picture, view, &mut input).map(|()| input)
        };
        Ok(views.into_iter().map(input).collect::<Result<_, _>>()?)
    }

    fn apply(&self, picture: DynamicImage) -> Result<Vec<f32>, Problem> {
        let [channels, height, width] = self.shape;
        let input = [height, width];
        let [height, width] = self.image.unwrap_or(input);
        let shape = [channels, height, width];
        let mut frame = Frame::new(shape, input, &self.mean, &self.std)?;
        let pixels = self.fit.apply(picture, shape)?;
        let mut input = vec![0.0; frame.len()];
        frame.put(&pixels, None, &mut input);
        Ok(input)
    }
}

impl Fit {
    /// The picture as an image of `shape` (channels, height, width), channels last.
    fn apply(self, picture: DynamicImage, shape: [usize; 3]) -> Result<Vec<u8>, Problem> {
        let [channels, height, width] = shape;
        let longer = height.max(width);
        match (self, channels) {
            _ if longer > MAX_SIDE as usize => Err(Problem::Fit { fit: self, shape }),
            (Fit::Crop { short_side, filter }, 1 | 3) if short_side >= longer => {
                let picture = crop(picture, short_side, filter, [height, width])?;
                Ok(if channels == 1 {
                    picture.into_luma8().into_raw()
                } else {
                    picture.into_rgb8().into_raw()
                })
            }
            (Fit::Digit { ink }, 1) if (1..=height.min(width)).contains(&ink) => {
                Ok(digit(picture.into_luma8(), ink, [height, width]).into_raw())
            }
            _ => Err(Problem::Fit { fit: self, shape }),
        }
    }
}

/// The bytes of a regular file, at most [`MAX_BYTES`].
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, Problem> {
    let file = File::open(path).map_err(Problem::Read)?;
    let meta = file.metadata().map_err(Problem::Read)?;
    if !meta.is_file() {
        return Err(Problem::NotAFile);
    }
    if meta.len() > MAX_BYTES {
        return Err(Problem::TooLarge);
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Problem::Read)?;
    Ok(bytes)
}

/// First bytes and what kind of picture they begin.
const KINDS: [(&[u8], &str); 3] = [(JPEG, "JPEG"), (b"\x89PNG", "PNG"), (b"BM", "BMP")];
const JPEG: &[u8] = b"\xff\xd8\xff";

/// What kind of picture the bytes of a file begin as, if it is one that can be read.
pub(crate) fn kind(bytes: &[u8]) -> Option<&'static str> {
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let known = KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| *kind);
    known.or(webp.then_some("WebP"))
}

/// The picture upright, of 8 bits, without transparency.
pub(crate) fn decode(bytes: &[u8]) -> Result<DynamicImage, Problem> {
    if kind(bytes).is_none() {
        let found =
            if bytes.is_empty() { Some("empty") } else { sniff::content(&bytes[..bytes.len().min(16)]) };
        return Err(Problem::Kind { found });
    }
    if bytes.starts_with(JPEG) && !jpeg_ends(bytes) || bytes.starts_with(b"RIFF") && !riff_ends(bytes) {
        return Err(Problem::Cut);
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(Problem::Read)?;
    reader.limits(limits.clone());
    let read = move || {
        let mut decoder = reader.into_decoder()?;
        limits.reserve(decoder.total_bytes())?;
        decoder.set_limits(limits)?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    let picture = read().map_err(|error| match error {
        ImageError::Limits(_) => Problem::TooLarge,
        error => Problem::Damaged(error),
    })?;
    Ok(match picture {
        picture if picture.color().has_alpha() => over_white(&picture),
        picture if picture.color().has_color() => picture.into_rgb8().into(),
        picture => picture.into_luma8().into(),
    })
}

/// A half, a quarter or an eighth of a picture of 8 bits, as `scale` allows: each pixel the mean of those it stands for.
pub(crate) fn reduced(picture: DynamicImage, scale: Scale) -> DynamicImage {
    let Scale::AtLeast(least) = scale else { return picture };
    let short = picture.width().min(picture.height()) as usize;
    let Some(factor) = [8, 4, 2].into_iter().find(|factor| short / factor >= least.max(1)) else {
        return picture;
    };
    match picture {
        DynamicImage::ImageLuma8(grey) => {
            let (size, levels) = boxes::<1>(grey.width() as usize, grey.as_raw(), factor);
            GrayImage::from_raw(size[0], size[1], levels)
                .map_or_else(DynamicImage::default, DynamicImage::from)
        }
        picture => {
            let picture = picture.into_rgb8();
            let (size, levels) = boxes::<3>(picture.width() as usize, picture.as_raw(), factor);
            RgbImage::from_raw(size[0], size[1], levels)
                .map_or_else(DynamicImage::default, DynamicImage::from)
        }
    }
}

/// Width, height and pixels where `factor` by `factor` pixels are one; what is left at the right and below is cut off.
fn boxes<const CHANNELS: usize>(width: usize, pixels: &[u8], factor: usize) -> ([u32; 2], Vec<u8>) {
    let (to, rows) = (width / factor, pixels.len() / (width * CHANNELS) / factor);
    let (mut levels, mut sums) = (Vec::with_capacity(to * rows * CHANNELS), vec![[0u32; CHANNELS]; to]);
    let shift = 2 * factor.trailing_zeros();
    for block in pixels.chunks_exact(factor * width * CHANNELS) {
        sums.fill([0; CHANNELS]);
        for row in block.chunks_exact(width * CHANNELS) {
            for (sum, group) in sums.iter_mut().zip(row.as_chunks::<CHANNELS>().0.chunks_exact(factor)) {
                for pixel in group {
                    sum.iter_mut().zip(pixel).for_each(|(sum, level)| *sum += u32::from(*level));
                }
            }
        }
        let half = 1 << (shift - 1);
        levels.extend(sums.as_flattened().iter().map(|sum| ((sum + half) >> shift) as u8));
    }
    ([to as u32, rows as u32], levels)
}

/// Whether the last scan of a JPEG file is followed by the end of the picture. Decoders make up what is missing,
/// which a network would take for part of the picture.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.array_windows().rposition(|pair| *pair == [0xff, marker]);
    last(0xd9) > last(0xda)
}

/// Whether a RIFF file has as many bytes as it says.
fn riff_ends(bytes: &[u8]) -> bool {
    let size = bytes.get(4..8).and_then(|size| size.try_into().ok()).map_or(u32::MAX, u32::from_le_bytes);
    bytes.len() as u64 >= 8 + u64::from(size)
}

fn over_white(picture: &DynamicImage) -> DynamicImage {
    let source = picture.to_rgba8();
    let mut flat = RgbImage::new(source.width(), source.height());
    for (to, from) in flat.pixels_mut().zip(source.pixels()) {
        let [r, g, b, alpha] = from.0.map(u32::from);
        to.0 = [r, g, b].map(|level| ((level * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
    }
    flat.into()
}

fn crop(
    picture: DynamicImage,
    short_side: usize,
    filter: Filter,
    [height, width]: [usize; 2],
) -> Result<DynamicImage, Problem> {
    let (w, h) = (picture.width(), picture.height());
    let short = u64::from(w.min(h)).max(1);
    let resized = |side: u32| u64::from(side) * short_side as u64 / short;
    if resized(w).saturating_mul(resized(h)) > MAX_RESIZED {
        return Err(Problem::TooNarrow { width: w, height: h, short_side });
    }
    let (w, h) = (resized(w) as u32, resized(h) as u32);
    let picture =
        if [w, h] == [picture.width(), picture.height()] { picture } else { resize(picture, [w, h], filter) };
    // Half a pixel is rounded to even, as in torchvision's `center_crop`.
    let start = |have: u32, want: usize| (f64::from(have - want as u32) / 2.0).round_ties_even() as u32;
    Ok(picture.crop_imm(start(w, width), start(h, height), width as u32, height as u32))
}

/// A picture of 8 bits, grey or coloured, in this width and height.
fn resize(picture: DynamicImage, [w, h]: [u32; 2], filter: Filter) -> DynamicImage {
    let from = [picture.height(), picture.width()].map(|side| side as usize);
    let to = [h as usize, w as usize];
    match picture {
        DynamicImage::ImageLuma8(grey) => {
            let levels = resample::resize(grey.into_raw(), 1, from, to, filter);
            GrayImage::from_raw(w, h, levels).map_or_else(DynamicImage::default, DynamicImage::from)
        }
        picture => {
            let levels = resample::resize(picture.into_rgb8().into_raw(), 3, from, to, filter);
            RgbImage::from_raw(w, h, levels).map_or_else(DynamicImage::default, DynamicImage::from)
        }
    }
}

pub(crate) fn digit(mut picture: GrayImage, ink: usize, [height, width]: [usize; 2]) -> GrayImage {
    let background = background(&picture);
    let mean = picture.iter().map(|level| f64::from(*level)).sum::<f64>() / picture.len().max(1) as f64;
    let dark_on_light = f64::from(background) > mean;
    if !dark_on_light && [picture.height() as usize, picture.width() as usize] == [height, width] {
        return picture;
    }
    let strength = |level: u8| {
        if dark_on_light { background.saturating_sub(level) } else { level.saturating_sub(background) }
    };
    let strongest = picture.iter().map(|level| strength(*level)).max().unwrap_or(0);
    let mut input = GrayImage::new(width as u32, height as u32);
    // Fainter than that is the grain of paper and camera.
    if strongest < 16 {
        return input;
    }
    for level in picture.iter_mut() {
        *level = (u32::from(strength(*level)) * 255 / u32::from(strongest)) as u8;
    }
    let [x, y, w, h] = bounds(&picture, 26);
    let scale = ink as f64 / f64::from(w.max(h));
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let drawn = imageops::crop_imm(&picture, x, y, w, h).to_image();
    let drawn = if scale == 1.0 {
        drawn
    } else {
        imageops::resize(&drawn, scaled(w), scaled(h), FilterType::Triangle)
    };

    let [mut mass, mut moment_x, mut moment_y] = [0.0; 3];
    for (x, y, level) in drawn.enumerate_pixels() {
        let level = f64::from(level.0[0]);
        mass += level;
        moment_x += level * f64::from(x);
        moment_y += level * f64::from(y);
    }
    let place = |moment: f64, side: usize, drawn: u32| {
        let centre = (side - 1) as f64 / 2.0;
        (centre - moment / mass).round().clamp(0.0, side as f64 - f64::from(drawn)) as i64
    };
    let left = place(moment_x, width, drawn.width());
    let top = place(moment_y, height, drawn.height());
    imageops::replace(&mut input, &drawn, left, top);
    input
}

/// The median of the outermost pixels.
fn background(picture: &GrayImage) -> u8 {
    let (right, bottom) = (picture.width().saturating_sub(1), picture.height().saturating_sub(1));
    let on_edge = |x: u32, y: u32| x == 0 || y == 0 || x == right || y == bottom;
    let edge = picture.enumerate_pixels().filter(|(x, y, _)| on_edge(*x, *y));
    let mut levels: Vec<u8> = edge.map(|(_, _, level)| level.0[0]).collect();
    levels.sort_unstable();
    levels.get(levels.len() / 2).copied().unwrap_or(0)
}

/// Left, top, width and height of what is at least as bright as `least`, of which there is some.
fn bounds(picture: &GrayImage, least: u8) -> [u32; 4] {
    let [mut left, mut top, mut right, mut bottom] = [u32::MAX, u32::MAX, 0, 0];
    for (x, y, _) in picture.enumerate_pixels().filter(|(_, _, level)| level.0[0] >= least) {
        (left, right) = (left.min(x), right.max(x));
        (top, bottom) = (top.min(y), bottom.max(y));
    }
    [left, top, right - left + 1, bottom - top + 1]
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Luma, LumaA, Rgb, Rgba};
    use proptest::prelude::*;

    use super::*;
    use crate::views::Crops;

    fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        encode(picture, ImageFormat::Png)
    }

    /// Inputs hold the bytes' values.
    fn plain(shape: [usize; 3], fit: Fit) -> Preprocess {
        Preprocess { shape, image: None, mean: vec![0.0; shape[0]], std: vec![1.0 / 255.0; shape[0]], fit }
    }

    fn crop_to(shape: [usize; 3], short_side: usize) -> Preprocess {
        plain(shape, Fit::crop(short_side))
    }

    fn levels(input: Vec<f32>) -> Vec<u8> {
        input.into_iter().map(|level| level.round() as u8).collect()
    }

    fn ramp(width: u32, height: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| Luma([(x * 10 + y) as u8]))
    }

    #[test]
    fn a_picture_of_the_right_size_passes_unchanged() {
        let input = crop_to([1, 3, 4], 4).decode(&png(ramp(4, 4))).unwrap();
        assert_eq!(levels(input), ramp(4, 4).into_raw()[..12], "half a pixel rounds to even");
        let colour = RgbImage::from_fn(2, 2, |x, y| Rgb([x as u8, y as u8, 200]));
        let input = crop_to([3, 2, 2], 2).decode(&png(colour.clone())).unwrap();
        assert_eq!(levels(input), colour.into_raw());
        let normalised = Preprocess { mean: vec![0.5], std: vec![0.25], ..crop_to([1, 1, 1], 1) };
        assert_eq!(normalised.decode(&png(GrayImage::from_pixel(1, 1, Luma([255])))).unwrap(), [2.0]);
    }

    #[test]
    fn the_short_side_is_resized_and_the_middle_kept() {
        let wide = GrayImage::from_fn(40, 20, |x, _| Luma([if x < 20 { 0 } else { 200 }]));
        let input = levels(crop_to([1, 8, 8], 10).decode(&png(wide)).unwrap());
        for row in input.chunks(8) {
            assert!(row[..3].iter().all(|level| *level == 0) && row[5..].iter().all(|level| *level == 200));
        }
    }

    #[test]
    fn a_larger_input_frames_the_picture_as_it_framed_the_images() {
        let picture = ramp(4, 3);
        let framed = Preprocess { image: Some([3, 4]), ..crop_to([1, 6, 6], 4) };
        let larger = imageops::resize(&picture, 8, 6, FilterType::Nearest);
        let mut frame = Frame::new([1, 3, 4], [6, 6], &framed.mean, &framed.std).unwrap();
        for picture in [picture, larger] {
            let alone = levels(crop_to([1, 3, 4], 4).decode(&png(picture.clone())).unwrap());
            let mut expected = vec![0.0; 36];
            frame.put(&alone, None, &mut expected);
            assert_eq!(framed.decode(&png(picture)).unwrap(), expected);
            assert_eq!(
                expected.iter().filter(|level| **level > 0.0).count(),
                11,
                "all but pixel 0 and the frame"
            );
        }
        let json = serde_json::to_string(&framed).unwrap();
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), framed);
        let digit = Preprocess { image: Some([28, 28]), ..plain([1, 32, 32], Fit::Digit { ink: 20 }) };
        let drawn = GrayImage::from_fn(28, 28, |x, y| Luma([if x == 9 && y > 3 { 250 } else { 0 }]));
        let input = levels(digit.decode(&png(drawn)).unwrap());
        assert!((0..1024).all(|at| (input[at] == 250) == (at % 32 == 11 && (6..30).contains(&(at / 32)))));
    }

    /// Filter, size, shorter side, crop, digest.
    type Golden = (Filter, [u32; 2], usize, [usize; 2], (u32, u32));

    /// Sums of the bytes that torchvision 0.29 makes of a PNG file, by `tests/goldens/pillow.py`.
    #[test]
    fn a_crop_is_torchvisions() {
        #[rustfmt::skip]
        let goldens: [Golden; 6] = [
            (Filter::Bilinear, [37, 53], 28, [24, 24], (221300, 191665842)),
            (Filter::Bilinear, [53, 37], 28, [23, 21], (186256, 133907623)),
            (Filter::Bilinear, [20, 21], 64, [33, 56], (718842, 2009391578)),
            (Filter::Bicubic, [37, 53], 28, [24, 24], (221254, 191675293)),
            (Filter::Bicubic, [53, 37], 28, [23, 21], (186387, 134022098)),
            (Filter::Bicubic, [20, 21], 64, [33, 56], (719759, 2014086983)),
        ];
        for (filter, [height, width], short_side, [h, w], expected) in goldens {
            let level =
                |x: u32, y: u32, channel: u32| (x * x * 7 + y * y * 5 + x * y * 3 + channel * 50) as u8;
            let picture =
                RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|channel| level(x, y, channel))));
            let input = plain([3, h, w], Fit::Crop { short_side, filter }).decode(&png(picture)).unwrap();
            assert_eq!(
                crate::resample::tests::digest(&levels(input)),
                expected,
                "{filter:?} {height}x{width}"
            );
        }
    }

    #[test]
    fn every_kind_of_pixel_is_understood() {
        let one = |bytes: Vec<u8>, channels| levels(crop_to([channels, 1, 1], 1).decode(&bytes).unwrap());
        let deep = image::ImageBuffer::from_pixel(1, 1, Luma([0x8080u16]));
        assert_eq!(one(png(deep), 1), [128]);
        assert_eq!(one(png(GrayImage::from_pixel(1, 1, Luma([9]))), 3), [9, 9, 9]);
        assert_eq!(one(png(RgbImage::from_pixel(1, 1, Rgb([77, 77, 77]))), 1), [77]);
        let clear = image::RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        assert_eq!(one(png(clear), 3), [255, 255, 255], "transparent is white");
        let half = image::RgbaImage::from_pixel(1, 1, Rgba([0, 100, 255, 51]));
        assert_eq!(one(png(half), 3), [204, 224, 255]);
        let grey = image::ImageBuffer::from_pixel(1, 1, LumaA([0u8, 255]));
        assert_eq!(one(png(grey), 1), [0]);
    }

    /// `jpeg` with an EXIF block that notes `orientation`.
    fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn a_cameras_orientation_is_applied() {
        // Bright on top; a camera turned a quarter writes it with the bright part to the left (orientation 6).
        let upright = GrayImage::from_fn(16, 16, |_, y| Luma([if y < 8 { 250 } else { 5 }]));
        let stored = imageops::rotate270(&upright);
        let jpeg = oriented(&encode(stored.clone(), ImageFormat::Jpeg), 6);
        let input = levels(crop_to([1, 16, 16], 16).decode(&jpeg).unwrap());
        assert!(
            input[..112].iter().all(|level| *level > 200) && input[144..].iter().all(|level| *level < 50)
        );
        let plain =
            crop_to([1, 16, 16], 16).decode(&oriented(&encode(stored, ImageFormat::Jpeg), 1)).unwrap();
        assert_ne!(levels(plain), input);
    }

    #[test]
    fn other_files_are_named() {
        let decode = |bytes: &[u8]| crop_to([1, 1, 1], 1).decode(bytes).unwrap_err().to_string();
        for (bytes, expected) in [
            (&b"GIF89a and so on"[..], "it is a GIF image; PNG, JPEG, WebP and BMP can"),
            (b"RIFF____WAVE", "it is a RIFF file (WebP"),
            (b"%PDF-1.7", "a PDF document"),
            (b"hello, I am a text", "it is text"),
            (b"", "it is empty"),
            (b"\x00\x01\x02\x03", "of an unknown kind"),
        ] {
            assert!(decode(bytes).contains(expected), "{}", decode(bytes));
        }
        let folder = tempfile::tempdir().unwrap();
        let text = crop_to([1, 1, 1], 1).read(folder.path()).unwrap_err().to_string();
        assert!(text.contains("not a regular file"), "{text}");
        let text = crop_to([1, 1, 1], 1).read(folder.path().join("no.png")).unwrap_err().to_string();
        assert!(text.contains("no.png: cannot read"), "{text}");
    }

    #[test]
    fn views_are_mirrored_and_the_first_is_the_middle() {
        let picture =
            png(RgbImage::from_fn(50, 40, |x, y| Rgb([(x * 5) as u8, (y * 6) as u8, (x * y) as u8])));
        let fit = crop_to([3, 24, 24], 30);
        let flip = Views { crops: Crops::Flip, scales: vec![] };
        let views = fit.decode_views(&picture, &flip).unwrap();
        assert_eq!(views[0], fit.decode(&picture).unwrap());
        let mirrored: Vec<f32> = views[0]
            .chunks(72)
            .flat_map(|row| row.rchunks(3).flatten().copied().collect::<Vec<_>>())
            .collect();
        assert_eq!(views[1], mirrored);
        let scales = Views { crops: Crops::Center, scales: vec![30, 40] };
        let scaled = fit.decode_views(&picture, &scales).unwrap();
        assert_eq!((scaled.len(), &scaled[0]), (2, &views[0]));
        assert_eq!(scaled[1], crop_to([3, 24, 24], 40).decode(&picture).unwrap());
        let corners = Views { crops: Crops::TenCrop, scales: vec![] };
        assert_eq!(fit.decode_views(&picture, &corners).unwrap().len(), 10);
        let tight = crop_to([3, 24, 24], 24).decode_views(&picture, &corners).unwrap_err();
        assert!(matches!(tight, Problem::Views(ViewsError::NoCorners { .. })), "{tight}");
    }

    #[test]
    fn pictures_are_reduced_by_whole_factors() {
        let picture = RgbImage::from_fn(67, 35, |x, y| Rgb([(x * 3) as u8, (y * 7) as u8, (x ^ y) as u8]));
        let size = |least| {
            let small = reduced(picture.clone().into(), Scale::AtLeast(least));
            [small.width(), small.height()]
        };
        assert_eq!(
            [4, 5, 8, 9, 17, 18, 99].map(size),
            [[8, 4], [16, 8], [16, 8], [33, 17], [33, 17], [67, 35], [67, 35]]
        );
        assert_eq!(size(0), [8, 4]);
        let half = reduced(picture.clone().into(), Scale::AtLeast(10)).into_rgb8();
        let mean = |x: u32, y: u32, channel: usize| {
            let of = |dx, dy| u32::from(picture.get_pixel(2 * x + dx, 2 * y + dy).0[channel]);
            ((of(0, 0) + of(1, 0) + of(0, 1) + of(1, 1) + 2) / 4) as u8
        };
        assert!(half.enumerate_pixels().all(|(x, y, pixel)| (0..3).all(|c| pixel.0[c] == mean(x, y, c))));
        let grey = reduced(ramp(16, 16).into(), Scale::AtLeast(8)).into_luma8();
        assert_eq!(grey.get_pixel(0, 0).0, [(10 + 1 + 11 + 2) / 4]);
        assert_eq!(reduced(picture.clone().into(), Scale::Full).into_rgb8(), picture);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let picture = RgbImage::from_fn(24, 24, |x, y| Rgb([(x * 7) as u8, (y * 9) as u8, (x * y) as u8]));
        let formats =
            [(ImageFormat::Png, 12), (ImageFormat::Jpeg, 0), (ImageFormat::WebP, 0), (ImageFormat::Bmp, 0)];
        for (format, slack) in formats {
            let whole = encode(picture.clone(), format);
            crop_to([3, 24, 24], 24).decode(&whole).unwrap();
            // A PNG file that lacks nothing but its end mark has its whole picture.
            for cut in 0..whole.len() - slack {
                let decoded = crop_to([3, 24, 24], 24).decode(&whole[..cut]);
                assert!(decoded.is_err(), "{format:?} cut at {cut} of {} was accepted", whole.len());
            }
        }
    }

    #[test]
    fn pictures_of_monstrous_size_are_refused_early() {
        // The header of a PNG file of 2^31 - 1 by 2^31 - 1 pixels.
        let mut bytes = png(ramp(1, 1));
        bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        assert!(matches!(crop_to([1, 1, 1], 1).decode(&bytes), Err(Problem::TooLarge)));
        let narrow = png(GrayImage::new(1, 4000));
        assert!(matches!(crop_to([1, 224, 224], 256).decode(&narrow), Err(Problem::TooNarrow { .. })));
    }

    #[test]
    fn preprocessing_that_cannot_be_is_refused() {
        let picture = png(ramp(4, 4));
        for (shape, fit) in [
            ([1, 4, 4], Fit::crop(3)),
            ([2, 4, 4], Fit::crop(4)),
            ([3, 4, 4], Fit::Digit { ink: 3 }),
            ([1, 4, 4], Fit::Digit { ink: 5 }),
            ([1, 4, 4], Fit::Digit { ink: 0 }),
        ] {
            let error = plain(shape, fit).decode(&picture).unwrap_err();
            assert!(matches!(error, Problem::Fit { .. }), "{error}");
        }
        let error = Preprocess { std: vec![0.0], ..crop_to([1, 4, 4], 4) }.decode(&picture).unwrap_err();
        assert!(matches!(error, Problem::Frame(_)), "{error}");
        assert!(crop_to([1, 1 << 20, 1], 1 << 20).decode(&picture).is_err());
    }

    #[test]
    fn preprocessing_is_kept_as_json() {
        let crops = [Fit::crop(256), Fit::Crop { short_side: 235, filter: Filter::Bicubic }];
        let texts = [r#"{"crop":{"short_side":256}}"#, r#"{"crop":{"short_side":235,"filter":"bicubic"}}"#];
        for (fit, text) in crops.into_iter().zip(texts) {
            assert_eq!(serde_json::to_string(&fit).unwrap(), text);
            assert_eq!(serde_json::from_str::<Fit>(text).unwrap(), fit);
        }
        let preprocess = plain([1, 28, 28], Fit::Digit { ink: 20 });
        let json = serde_json::to_string(&preprocess).unwrap();
        assert!(json.contains(r#""fit":{"digit":{"ink":20}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess);
    }

    #[test]
    fn digits_on_paper_become_digits_of_mnist() {
        let fit = plain([1, 28, 28], Fit::Digit { ink: 20 });
        // A dark bar on grey paper, far from the middle.
        let paper = GrayImage::from_fn(300, 200, |x, y| {
            Luma([if (20..60).contains(&x) && (30..130).contains(&y) { 40 } else { 180 }])
        });
        let input = levels(fit.decode(&png(paper.clone())).unwrap());
        let expected = GrayImage::from_fn(28, 28, |x, y| {
            Luma([if (10..18).contains(&x) && (4..24).contains(&y) { 255 } else { 0 }])
        });
        assert_eq!(input, expected.into_raw());
        let mut blackboard = paper;
        imageops::invert(&mut blackboard);
        assert_eq!(levels(fit.decode(&png(blackboard)).unwrap()), input);
        for level in [0, 128, 255] {
            let blank = fit.decode(&png(GrayImage::from_pixel(50, 50, Luma([level])))).unwrap();
            assert_eq!(levels(blank), [0; 28 * 28], "a blank sheet of {level}");
        }
    }

    #[cfg(feature = "mnist")]
    #[test]
    fn digits_of_mnist_stay_what_they_are() {
        let test = crate::data::open("mnist", crate::data::Split::Test).unwrap();
        let images = test.images().unwrap();
        let fit = plain([1, 28, 28], Fit::Digit { ink: 20 });
        for id in 0..100 {
            let original = GrayImage::from_raw(28, 28, images.image(id).to_vec()).unwrap();
            assert_eq!(levels(fit.decode(&png(original.clone())).unwrap()), images.image(id));
            // Inverted it has to be found, cut out and centred anew; that may move it by a pixel or smooth it.
            let mut inverted = original.clone();
            imageops::invert(&mut inverted);
            let input = levels(fit.decode(&png(inverted)).unwrap());
            let ink = |image: &[u8]| image.iter().map(|level| f64::from(*level)).sum::<f64>();
            let ratio = ink(&input) / ink(images.image(id));
            assert!((0.75..1.35).contains(&ratio), "digit {id}: ink changed by {ratio}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn mutated_pictures_never_panic(
            jpeg: bool,
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let format = if jpeg { ImageFormat::Jpeg } else { ImageFormat::Png };
            let mut bytes = encode(ramp(9, 7), format);
            for (index, value) in edits {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(input) = plain([1, 8, 8], Fit::Digit { ink: 6 }).decode(&bytes) {
                prop_assert_eq!(input.len(), 64);
            }
        }
    }
}
