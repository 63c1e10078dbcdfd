//! All the way from a decoded picture to a network's input.

use image::{DynamicImage, GrayImage, RgbImage};
use striate_kernels::rng::Rng;
use thiserror::Error;

use super::colour::Jitter;
use super::erase::blank;
use super::randaugment::{self, Canvas, Drawn};
use super::{Affine, Augment, Placement, middle};
use crate::frame::{Frame, FrameError};
use crate::image_file::{Fit, digit};
use crate::picture::Picture;
use crate::resample::{Filter, Rect, Resampler};
use crate::views::View;

/// Pictures, images or changes that do not go together.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PipelineError {
    /// Images that do not go into the network's input.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A picture without pixels, or with others than its size says.
    #[error(
        "a picture of {height}x{width} (height x width) with {channels} channels comes with {found} bytes"
    )]
    Picture {
        /// Its rows.
        height: usize,
        /// Its columns.
        width: usize,
        /// Its channels.
        channels: usize,
        /// Its bytes.
        found: usize,
    },
    /// Channels that are not to be had from the picture's.
    #[error(
        "pictures of {picture} channels make no images of {image}; grey (1) and coloured (3) make each other"
    )]
    Channels {
        /// Of the picture.
        picture: usize,
        /// Of the images.
        image: usize,
    },
    /// Changes of colours that are not there.
    #[error("{words} cannot change images of {channels} channels: {needed}; leave it out")]
    Colours {
        /// The changes.
        words: String,
        /// Of the images.
        channels: usize,
        /// What they need.
        needed: &'static str,
    },
    /// A shorter side that is not long enough.
    #[error(
        "pictures are resized to a shorter side of {short_side}, images of {}x{} (height x width) need {} at least",
        image[0], image[1], image[0].max(image[1])
    )]
    ShortSide {
        /// Pixels of the shorter side.
        short_side: usize,
        /// Height and width of the images.
        image: [usize; 2],
    },
    /// Drawings that are too large, or of images that are no drawings.
    #[error(
        "drawings of {ink} pixels do not go into images of {}x{} (height x width) with {} channels; they are grey and at \
         least that large", image[1], image[2], image[0]
    )]
    Digit {
        /// Pixels of the longer side of what is drawn.
        ink: usize,
        /// Channels, height, width of the images.
        image: [usize; 3],
    },
}

/// Makes network inputs of pictures, one after the other, in memory that it keeps: nothing is allocated once the largest
/// picture has been seen (but for coloured pictures made grey, and drawings of digits cut out).
///
/// A picture is brought to the images' size by one antialiased resampling: a random part of it (`rrc`), its random or
/// fixed size (`resize`, or the [`Fit`]); a picture of that very size is taken as it is. Colours are changed then, as bytes.
/// All moves (shift, rotation, scale, crop, mirroring, RandAugment's) are one map: whole pixels are copied, others
/// interpolated once while the image is put into the input and normalised ([`Frame`]). Lighting is added to the result,
/// and what is to be blanked is set to 0.
#[derive(Clone, Debug)]
pub struct Pipeline {
    augment: Augment,
    /// Channels, height, width of the images.
    image: [usize; 3],
    fit: Fit,
    frame: Frame,
    std: Vec<f32>,
    resampler: Resampler,
    /// The image, where it is not the picture itself.
    levels: Vec<u8>,
    /// The image before its channels or its sharpness change.
    spare: Vec<u8>,
}

/// What happens to one picture after it has been brought to size.
struct Changes {
    map: Affine,
    operations: Drawn,
    jitter: Jitter,
    lighting: Option<[f32; 3]>,
    blanks: [Option<Rect>; 2],
}

impl Changes {
    fn none() -> Self {
        Self {
            map: Affine::IDENTITY,
            operations: Drawn::default(),
            jitter: Jitter::default(),
            lighting: None,
            blanks: [None; 2],
        }
    }
}

impl Pipeline {
    /// For images of `image` (channels, height, width) in inputs of `input` (height, width), as [`Frame::new`] takes
    /// them with `mean` and `std`. `fit` brings pictures of other sizes to that of the images.
    ///
    /// # Errors
    /// When images, input, statistics, changes and `fit` do not go together.
    pub fn new(
        augment: &Augment,
        image: [usize; 3],
        input: [usize; 2],
        [mean, std]: [&[f32]; 2],
        fit: Fit,
    ) -> Result<Self, PipelineError> {
        let frame = Frame::new(image, input, mean, std)?;
        let [channels, height, width] = image;
        let size = [height, width];
        let short_sides = match fit {
            Fit::Crop { short_side, .. } => [short_side, augment.resize[0] as usize],
            Fit::Digit { ink } if channels == 1 && (1..=height.min(width)).contains(&ink) => {
                [height.max(width), augment.resize[0] as usize]
            }
            Fit::Digit { ink } => return Err(PipelineError::Digit { ink, image }),
        };
        let small = |(at, side): (usize, usize)| (at == 0 || side > 0) && side < height.max(width);
        if let Some((_, short_side)) = short_sides.into_iter().enumerate().find(|side| small(*side)) {
            return Err(PipelineError::ShortSide { short_side, image: size });
        }
        check_colours(augment, channels)?;
        Ok(Self {
            augment: *augment,
            image,
            fit,
            frame,
            std: std.to_vec(),
            resampler: Resampler::default(),
            levels: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// The number of elements of an input.
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether inputs have no elements; they always have some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height and width of an input.
    pub fn shape(&self) -> [usize; 3] {
        self.frame.shape()
    }

    /// Writes the input for `picture`, which is sample `sample`, to `dst`, changed as (`seed`, `epoch`, `sample`) says.
    ///
    /// # Errors
    /// When the picture is broken or has no channels to make the images' of; the input is then undefined.
    ///
    /// # Panics
    /// When `dst` has another length than [`Self::len`].
    pub fn apply(
        &mut self,
        picture: Picture<'_>,
        seed: u64,
        epoch: u64,
        sample: u32,
        dst: &mut [f32],
    ) -> Result<(), PipelineError> {
        let changes_nothing = Augment { mixup: 0.0, cutmix: 0.0, ..self.augment } == Augment::NONE;
        if changes_nothing {
            return self.view(picture, View::CENTER, dst);
        }
        self.check(picture)?;
        let mut rng = Augment::rng(seed, epoch, sample);
        let map = self.augment.draw_affine(&mut rng);
        let placement = self.augment.draw_placement(&mut rng, [picture.height, picture.width], self.size());
        let changes = self.draw(map, &mut rng);
        let placement = placement.or_else(|| self.fitted(picture, View::CENTER));
        self.make(picture, placement, &changes, dst);
        Ok(())
    }

    /// Writes the input for one look at `picture` to `dst`, as the images' [`Fit`] says and otherwise unchanged.
    ///
    /// # Errors
    /// When the picture is broken or has no channels to make the images' of.
    ///
    /// # Panics
    /// When `dst` has another length than [`Self::len`].
    pub fn view(&mut self, picture: Picture<'_>, view: View, dst: &mut [f32]) -> Result<(), PipelineError> {
        self.check(picture)?;
        let placement = self.fitted(picture, view);
        let map = if view.mirrored { Affine::IDENTITY.mirrored() } else { Affine::IDENTITY };
        self.make(picture, placement, &Changes { map, ..Changes::none() }, dst);
        Ok(())
    }

    fn size(&self) -> [usize; 2] {
        [self.image[1], self.image[2]]
    }

    fn check(&self, picture: Picture<'_>) -> Result<(), PipelineError> {
        let Picture { height, width, channels, pixels } = picture;
        let found = pixels.len();
        let sized = height.checked_mul(width).and_then(|size| size.checked_mul(channels)) == Some(found);
        if !sized || found == 0 {
            return Err(PipelineError::Picture { height, width, channels, found });
        }
        match (channels, self.image[0]) {
            (picture, image) if picture == image => Ok(()),
            (1, 3) | (3, 1) => Ok(()),
            (picture, image) => Err(PipelineError::Channels { picture, image }),
        }
    }

    /// Draws what happens behind the map and the placement.
    fn draw(&self, map: Affine, rng: &mut Rng) -> Changes {
        let operations = self.augment.draw_operations(rng);
        Changes {
            map: randaugment::moves(&operations, map, self.size()),
            operations,
            jitter: self.augment.draw_jitter(rng),
            lighting: self.augment.draw_lighting(rng),
            blanks: self.augment.draw_blanks(rng, self.size()),
        }
    }

    /// Where the image lies in a picture that is not changed at random; `None` where the picture is the image, or is to
    /// be made like a drawing.
    fn fitted(&self, picture: Picture<'_>, view: View) -> Option<Placement> {
        let Fit::Crop { short_side: own, .. } = self.fit else { return None };
        let (size, short_side) = (self.size(), view.short_side.unwrap_or(own));
        let found = [picture.height, picture.width];
        if found == size && short_side == size[0].max(size[1]) {
            return None;
        }
        Some(Placement::resized(found, short_side, size, |room| match view.corner {
            None => middle(room),
            Some(far) => {
                // Of the square in the middle, whose sides are as long as the shorter side.
                let square = middle([0, 1].map(|axis| room[axis] + size[axis] - short_side));
                [0, 1].map(|axis| square[axis] + if far[axis] { short_side - size[axis] } else { 0 })
            }
        }))
    }

    fn make(
        &mut self,
        picture: Picture<'_>,
        placement: Option<Placement>,
        changes: &Changes,
        dst: &mut [f32],
    ) {
        let [channels, height, width] = self.image;
        let mut own = self.bring(picture, placement);
        if !changes.jitter.is_none() || randaugment::colours_change(&changes.operations) {
            if !own {
                self.levels.clear();
                self.levels.extend_from_slice(picture.pixels);
                own = true;
            }
            let (pixels, scratch) = (&mut self.levels[..], &mut self.spare);
            let canvas = Canvas { pixels, size: [height, width], channels, scratch };
            randaugment::colours(&changes.operations, canvas);
            changes.jitter.apply(&mut self.levels, channels);
        }
        self.frame.put(if own { &self.levels } else { picture.pixels }, Some(&changes.map), dst);
        if let Some(by) = changes.lighting
            && let Some(std) = self.std.first_chunk::<3>()
        {
            for pixel in dst.as_chunks_mut::<3>().0 {
                for channel in 0..3 {
                    pixel[channel] += by[channel] / std[channel];
                }
            }
        }
        let [top, left] = self.frame.offset();
        for rect in changes.blanks.into_iter().flatten() {
            let rect = Rect { top: rect.top + top, left: rect.left + left, ..rect };
            blank(dst, self.frame.shape()[2], channels, rect);
        }
    }

    /// Brings a picture to the images' size and channels, in `levels`; `false` where it has both already.
    fn bring(&mut self, picture: Picture<'_>, placement: Option<Placement>) -> bool {
        let [channels, height, width] = self.image;
        match (placement, self.fit) {
            (Some(Placement { part, to, window }), fit) => {
                let filter = match fit {
                    Fit::Crop { filter, .. } => filter,
                    Fit::Digit { .. } => Filter::default(),
                };
                self.resampler.resize(picture, part, to, window, filter, &mut self.levels);
            }
            (None, Fit::Digit { ink }) if [picture.height, picture.width] != [height, width] => {
                self.levels.clear();
                self.levels.extend_from_slice(picture.pixels);
                let size = [picture.height, picture.width];
                regrey([picture.channels, 1], size, &mut self.levels, &mut self.spare);
                let [picture_width, picture_height] = [picture.width, picture.height].map(|side| side as u32);
                let grey =
                    GrayImage::from_raw(picture_width, picture_height, std::mem::take(&mut self.levels));
                self.levels = digit(grey.unwrap_or_default(), ink, [height, width]).into_raw();
                return true;
            }
            (None, _) if picture.channels == channels => return false,
            (None, _) => {
                self.levels.clear();
                self.levels.extend_from_slice(picture.pixels);
            }
        }
        regrey([picture.channels, channels], [height, width], &mut self.levels, &mut self.spare);
        true
    }
}

/// Makes grey pixels coloured, or coloured ones grey, where `from` and `to` channels differ.
fn regrey([from, to]: [usize; 2], [height, width]: [usize; 2], levels: &mut Vec<u8>, spare: &mut Vec<u8>) {
    match (from, to) {
        (1, 3) => {
            spare.clear();
            spare.extend(levels.iter().flat_map(|level| [*level; 3]));
            std::mem::swap(levels, spare);
        }
        (3, 1) => {
            let picture = RgbImage::from_raw(width as u32, height as u32, std::mem::take(levels));
            *levels = DynamicImage::from(picture.unwrap_or_default()).into_luma8().into_raw();
        }
        _ => {}
    }
}

/// Refuses changes of colours that images of so many channels do not have.
fn check_colours(augment: &Augment, channels: usize) -> Result<(), PipelineError> {
    let [jitter, hue, lighting] =
        [("jitter", augment.jitter), ("hue", augment.hue), ("lighting", augment.lighting)];
    let randaugment = ("randaugment", augment.randaugment[0] as f32);
    let (words, needed): (&[(&str, f32)], _) = match channels {
        3 => return Ok(()),
        1 => (&[hue, lighting], "they have no colours"),
        _ => (&[jitter, hue, lighting, randaugment], "it takes grey (1) or red, green and blue (3)"),
    };
    let asked: Vec<&str> = words.iter().filter(|(_, amount)| *amount > 0.0).map(|(name, _)| *name).collect();
    if asked.is_empty() {
        return Ok(());
    }
    Err(PipelineError::Colours { words: asked.join(" and "), channels, needed })
}
