//! Pictures of what a classifier does: its confusion matrix, and the images that it is wrong about.

use crate::curves::{CurvesError, write_scene};
use crate::data::{DataError, Dataset, Samples, Scale};
use crate::evaluate::{Examination, Wrong};
use crate::picture::Picture;
use std::path::Path;
use striate_draw::{Cell, DrawError, Image, Matrix, Sheet};

/// Pixels of the shorter side of an image on a sheet, where it can be decoded smaller.
const SIDE: usize = 192;

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A sample cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] CurvesError),
}

/// Writes which classes were taken for which, as SVG or PNG by the file's name, under a title and a subtitle.
///
/// # Errors
/// When there are more classes than are drawn, or the file cannot be written.
pub fn confusion(
    examined: &Examination,
    classes: &[String],
    [title, subtitle]: [&str; 2],
    path: &Path,
) -> Result<(), PictureError> {
    let entry = |(class, taken_for, count)| (class as usize, taken_for as usize, count);
    let entries: Vec<_> = examined.confusion.entries().map(entry).collect();
    let (title, subtitle) = (title.into(), subtitle.into());
    let scene = Matrix { title, subtitle, classes, entries: &entries }.draw()?;
    Ok(write_scene(&scene, path)?)
}

/// Writes a sheet of the wrong answers that were kept, as SVG or PNG by the file's name: what each image is, what it was
/// taken for, and with which probability.
///
/// # Errors
/// When a sample cannot be read, or the file cannot be written.
pub fn wrong(examined: &Examination, data: &Dataset, title: &str, path: &Path) -> Result<(), PictureError> {
    let name = |class: u32| data.classes()[class as usize].as_str();
    let mut scratch = Vec::new();
    let mut cell = |wrong: &Wrong| {
        let picture = data.picture(wrong.id as usize, Scale::AtLeast(SIDE), &mut scratch)?;
        let answer = format!("{} → {}", name(wrong.label), name(wrong.taken_for));
        Ok(Cell::new(image(&picture)?, [answer, format!("{:.1} %", 100.0 * wrong.probability)]))
    };
    let cells = examined.wrong.iter().map(&mut cell).collect::<Result<Vec<_>, PictureError>>()?;
    let (count, all) = (examined.tally.samples - examined.tally.top1, examined.tally.samples);
    let shown = if cells.len() as u64 == count { "all of them" } else { "the surest of them" };
    let subtitle = format!("{count} of {all} answers are wrong; {shown}: what it is → what it was taken for");
    let scene = Sheet::new(title).subtitle(subtitle).draw(&cells)?;
    Ok(write_scene(&scene, path)?)
}

/// A picture as it is drawn; of one that is neither grey nor coloured, the first channel.
pub fn image(picture: &Picture) -> Result<Image, DrawError> {
    let Picture { height, width, channels, pixels } = *picture;
    if channels <= 4 {
        return Image::from_channels(pixels, [channels, height, width]);
    }
    let first: Vec<u8> = pixels.iter().step_by(channels).copied().collect();
    Image::from_channels(&first, [1, height, width])
}
