//! A data set: samples with their classes and statistics, in memory or read when they are needed.

use std::fmt;
use std::sync::Arc;

use striate_kernels::rng::{Purpose, Rng};

use super::pictures::Survey;
use super::{DataError, idx};
use crate::image_file::{Fit, Preprocess};
use crate::picture::Picture;

/// Which part of a data set: what is learned from, or what is only measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure on.
    Test,
}

/// How large a picture is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    #[default]
    Full,
    /// Perhaps a half, a quarter or an eighth of it, the smallest whose shorter side has at least so many pixels: less
    /// to decode and to keep.
    AtLeast(usize),
}

/// Where labelled pictures come from, one by one.
pub trait Samples: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The channels of every picture.
    fn channels(&self) -> usize;

    /// Height and width of every picture, where they are the same and belong to the data set; `None` where pictures are
    /// of any size.
    fn size(&self) -> Option<[usize; 2]>;

    /// The class of sample `id < len()`.
    fn label(&self, id: usize) -> u32;

    /// The picture of sample `id < len()`. A source that has to decode it does so into `scratch`. The same arguments
    /// give the same bytes.
    fn picture<'a>(
        &'a self,
        id: usize,
        scale: Scale,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Picture<'a>, DataError>;

    /// The bytes of the file of sample `id < len()`, where it has one.
    fn file(&self, _id: usize) -> Result<Option<Vec<u8>>, DataError> {
        Ok(None)
    }

    /// What sample `id < len()` is called: its file, where it has one.
    fn title(&self, id: usize) -> String {
        format!("sample {id}")
    }

    /// Whether pictures are read and decoded when they are asked for, which takes long.
    fn is_slow(&self) -> bool {
        false
    }
}

/// Images of one shape in memory.
#[derive(Clone, Debug)]
pub struct Images {
    shape: [usize; 3],
    pixels: Vec<u8>,
}

impl Images {
    /// Channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The images one after the other, each row by row, channels last.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The image of sample `id`; panics when there is none.
    pub fn image(&self, id: usize) -> &[u8] {
        let size: usize = self.shape.iter().product();
        &self.pixels[id * size..][..size]
    }
}

/// Where a data set's pictures are.
#[derive(Clone)]
enum Store {
    Images(Images),
    Source(Arc<dyn Samples>),
}

/// Labelled pictures with the names of their classes and what normalises them.
#[derive(Clone)]
pub struct Dataset {
    name: String,
    split: Split,
    store: Store,
    labels: Vec<u32>,
    classes: Vec<String>,
    mean: Vec<f32>,
    std: Vec<f32>,
    fit: Option<Fit>,
    /// What is known of the contents of pictures that are not in memory.
    contents: u64,
    survey: Option<Arc<Survey>>,
}

/// The fields of a [`Dataset`] in memory under construction.
#[derive(Clone, Debug)]
pub struct DatasetParts {
    /// Its name.
    pub name: String,
    /// Which part this is.
    pub split: Split,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// The images one after the other, each row by row, channels last.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The name of each class.
    pub classes: Vec<String>,
    /// Per channel, the mean of the training pixels on a scale from 0 to 1.
    pub mean: Vec<f32>,
    /// Per channel, their standard deviation.
    pub std: Vec<f32>,
}

impl TryFrom<DatasetParts> for Dataset {
    type Error = DataError;

    fn try_from(parts: DatasetParts) -> Result<Self, DataError> {
        let DatasetParts { name, split, shape, pixels, labels, classes, mean, std } = parts;
        let size = shape.iter().try_fold(1usize, |size, extent| size.checked_mul(*extent));
        if size.and_then(|size| size.checked_mul(labels.len())) != Some(pixels.len()) {
            return Err(DataError::Shape { name, pixels: pixels.len(), labels: labels.len(), shape });
        }
        let store = Store::Images(Images { shape, pixels });
        Self { name, split, store, labels, classes, mean, std, fit: None, contents: 0, survey: None }
            .checked()
    }
}

/// The fields of a [`Dataset`] that is read when it is needed.
#[derive(Clone, Debug)]
pub struct SourceParts {
    /// Its name.
    pub name: String,
    /// Which part this is.
    pub split: Split,
    /// The name of each class.
    pub classes: Vec<String>,
    /// Per channel, the mean of the training pixels on a scale from 0 to 1.
    pub mean: Vec<f32>,
    /// Per channel, their standard deviation.
    pub std: Vec<f32>,
    /// A number that other pictures almost surely do not have.
    pub contents: u64,
}

impl Dataset {
    /// The data set of the pictures that `samples` reads.
    ///
    /// # Errors
    /// When labels name no class, or mean and deviation do not go with the channels.
    pub fn from_source(samples: Arc<dyn Samples>, parts: SourceParts) -> Result<Self, DataError> {
        let SourceParts { name, split, classes, mean, std, contents } = parts;
        let labels = (0..samples.len()).map(|id| samples.label(id)).collect();
        let store = Store::Source(samples);
        Self { name, split, store, labels, classes, mean, std, fit: None, contents, survey: None }.checked()
    }

    fn checked(self) -> Result<Self, DataError> {
        let Self { name, labels, classes, mean, std, .. } = &self;
        let (name, channels) = (name.clone(), self.channels());
        let positive = std.iter().all(|std| *std > 0.0);
        if mean.len() != channels || std.len() != channels || !positive {
            return Err(DataError::Statistics { name, mean: mean.clone(), std: std.clone(), channels });
        }
        if let Some(index) = labels.iter().position(|label| *label as usize >= classes.len()) {
            return Err(DataError::Label { name, index, label: labels[index], classes: classes.len() });
        }
        Ok(self)
    }

    pub(super) fn from_idx(
        name: &str,
        split: Split,
        images: idx::Idx,
        labels: &[u8],
        classes: Vec<String>,
        mean: Vec<f32>,
        std: Vec<f32>,
    ) -> Result<Self, DataError> {
        let (shape, pixels) = ([1, images.dims[1], images.dims[2]], images.data);
        let labels = labels.iter().map(|label| u32::from(*label)).collect();
        DatasetParts { name: name.into(), split, shape, pixels, labels, classes, mean, std }.try_into()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which part of the data set this is.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Its images, where they are in memory and of one shape.
    pub fn images(&self) -> Option<&Images> {
        match &self.store {
            Store::Images(images) => Some(images),
            Store::Source(_) => None,
        }
    }

    /// Channels, height and width of every picture, where they are the same ([`Samples::size`]).
    pub fn shape(&self) -> Option<[usize; 3]> {
        self.size().map(|[height, width]| [self.channels(), height, width])
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The name of each class.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// A number that other pictures, labels or statistics almost surely do not have; the same on every machine.
    pub fn fingerprint(&self) -> u64 {
        let statistics = self.mean.iter().chain(&self.std).map(|value| value.to_bits());
        let [shape, pixels] = match &self.store {
            Store::Images(Images { shape, pixels }) => [&shape[..], &[pixels.len()]],
            Store::Source(samples) => [&[samples.channels()][..], &[]],
        };
        let (shape, pixels) = (shape.iter().map(|size| *size as u32), pixels.iter().map(|len| *len as u64));
        let words = shape.chain(statistics).chain(self.labels.iter().copied());
        let counts = pixels.chain([self.classes.len() as u64]);
        let contents = self.images().map_or(self.contents, |images| hash_bytes(&images.pixels));
        hash(counts.chain(words.map(u64::from))) ^ contents
    }

    /// How a picture from elsewhere is made like these; `None` where there is no special way, and the middle of it is
    /// taken.
    pub fn fit(&self) -> Option<Fit> {
        self.fit
    }

    /// The same pictures, with another way to make pictures from elsewhere like them.
    pub fn with_fit(self, fit: Fit) -> Self {
        Self { fit: Some(fit), ..self }
    }

    /// What was found when it was opened, where its pictures are files: those of both parts.
    pub fn survey(&self) -> Option<&Survey> {
        self.survey.as_deref()
    }

    /// The same with what was found when it was opened.
    pub fn with_survey(self, survey: Arc<Survey>) -> Self {
        Self { survey: Some(survey), ..self }
    }

    /// How pictures become the inputs of a network that sees images of `input` (height, width): those of this data set as
    /// they are where they have a size of their own.
    pub fn preprocess(&self, input: [usize; 2]) -> Preprocess {
        let image = self.size().unwrap_or(input);
        let [height, width] = image;
        Preprocess {
            shape: [self.channels(), input[0], input[1]],
            image: Some(image),
            mean: self.mean.clone(),
            std: self.std.clone(),
            fit: self.fit.unwrap_or(Fit::crop(height.max(width))),
        }
    }

    /// Per channel, the mean of the training pixels on a scale from 0 to 1.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Per channel, the standard deviation of the training pixels.
    pub fn std(&self) -> &[f32] {
        &self.std
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Dataset");
        text.field("name", &self.name).field("split", &self.split).field("len", &self.len());
        text.field("shape", &self.shape()).field("classes", &self.classes).finish_non_exhaustive()
    }
}

impl Samples for Dataset {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn channels(&self) -> usize {
        match &self.store {
            Store::Images(images) => images.shape[0],
            Store::Source(samples) => samples.channels(),
        }
    }

    fn size(&self) -> Option<[usize; 2]> {
        match &self.store {
            Store::Images(images) => Some([images.shape[1], images.shape[2]]),
            Store::Source(samples) => samples.size(),
        }
    }

    fn label(&self, id: usize) -> u32 {
        self.labels[id]
    }

    fn picture<'a>(
        &'a self,
        id: usize,
        scale: Scale,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Picture<'a>, DataError> {
        match &self.store {
            Store::Images(images) => {
                let [channels, height, width] = images.shape;
                Ok(Picture { height, width, channels, pixels: images.image(id) })
            }
            Store::Source(samples) => samples.picture(id, scale, scratch),
        }
    }

    fn file(&self, id: usize) -> Result<Option<Vec<u8>>, DataError> {
        match &self.store {
            Store::Images(_) => Ok(None),
            Store::Source(samples) => samples.file(id),
        }
    }

    fn title(&self, id: usize) -> String {
        match &self.store {
            Store::Images(_) => format!("sample {id}"),
            Store::Source(samples) => samples.title(id),
        }
    }

    fn is_slow(&self) -> bool {
        matches!(&self.store, Store::Source(samples) if samples.is_slow())
    }
}

/// FNV-1a over words, turned after each so that high bits reach low ones.
pub(super) fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(29))
}

/// [`hash`] of four interleaved streams of words, whose multiplications overlap.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut lanes = [1, 2, 3, 4].map(|lane| hash([lane].into_iter()));
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    for block in blocks.iter().chain([&last]) {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(0x100_0000_01b3).rotate_left(29);
        }
    }
    hash(lanes.into_iter())
}

/// The sample numbers to learn from and those held out, `fraction` of all, each in ascending order.
///
/// Which ones are held out depends on `seed` and `samples` only.
pub fn hold_out(samples: usize, fraction: f64, seed: u64) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    let held = (samples as f64 * fraction).round();
    if !(held >= 1.0 && held < samples as f64) {
        return Err(DataError::HoldOut { fraction, samples });
    }
    let mut kept: Vec<u32> = (0..samples as u32).collect();
    Rng::new(seed, Purpose::Split, 0, 0).shuffle(&mut kept);
    let mut held = kept.split_off(samples - held as usize);
    kept.sort_unstable();
    held.sort_unstable();
    Ok((kept, held))
}

/// Mean and standard deviation of each channel on a scale from 0 to 1; channels last.
///
/// A channel that is the same everywhere gets deviation 1, so that one can divide by it.
pub fn statistics(pixels: &[u8], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let mut counts = vec![[0u64; 256]; channels];
    for pixel in pixels.chunks_exact(channels) {
        for (counts, value) in counts.iter_mut().zip(pixel) {
            counts[usize::from(*value)] += 1;
        }
    }
    let moments = counts.iter().map(|counts| {
        let sum = |power: i32| -> f64 {
            (0u32..).zip(counts).map(|(value, count)| f64::from(value).powi(power) * *count as f64).sum()
        };
        let (n, mean) = (sum(0), sum(1) / sum(0));
        let std = (sum(2) / n - mean * mean).max(0.0).sqrt();
        ((mean / 255.0) as f32, if std > 0.0 { (std / 255.0) as f32 } else { 1.0 })
    });
    moments.unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_is_disjoint_and_repeats() {
        let (kept, held) = hold_out(1000, 0.1, 7).unwrap();
        assert_eq!((kept.len(), held.len()), (900, 100));
        let mut all = [kept.clone(), held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert_eq!(hold_out(1000, 0.1, 7).unwrap(), (kept, held.clone()));
        assert_ne!(hold_out(1000, 0.1, 8).unwrap().1, held);
        for fraction in [0.0, 1.0, -0.5, 2.0, f64::NAN, 1e-9] {
            assert!(matches!(hold_out(1000, fraction, 0), Err(DataError::HoldOut { .. })), "{fraction}");
        }
        assert!(hold_out(0, 0.5, 0).is_err());
    }

    #[test]
    fn statistics_are_per_channel() {
        let (mean, std) = statistics(&[0, 51, 255, 51], 2);
        assert_eq!((mean, std), (vec![0.5, 0.2], vec![0.5, 1.0]));
        assert_eq!(statistics(&[10; 30], 1).1, [1.0]);
    }

    /// Two images of 2×1×3.
    fn parts() -> DatasetParts {
        DatasetParts {
            name: "x".into(),
            split: Split::Train,
            shape: [2, 1, 3],
            pixels: vec![0; 12],
            labels: vec![0, 1],
            classes: vec!["a".into(), "b".into()],
            mean: vec![0.0; 2],
            std: vec![1.0; 2],
        }
    }

    #[test]
    fn every_change_changes_the_fingerprint() {
        let plain = DatasetParts {
            shape: [1, 5, 17],
            pixels: vec![7; 170],
            mean: vec![0.5],
            std: vec![1.0],
            ..parts()
        };
        let of = |parts: &DatasetParts| Dataset::try_from(parts.clone()).unwrap().fingerprint();
        let mut seen = std::collections::HashSet::from([of(&plain)]);
        for at in 0..plain.pixels.len() {
            for bit in [1, 128] {
                let mut changed = plain.clone();
                changed.pixels[at] ^= bit;
                assert!(seen.insert(of(&changed)), "pixel {at}");
            }
        }
        for change in [
            |p: &mut DatasetParts| p.labels.swap(0, 1),
            |p: &mut DatasetParts| p.mean[0] = 0.25,
            |p: &mut DatasetParts| p.shape = [1, 17, 5],
            |p: &mut DatasetParts| p.classes.push("c".into()),
        ] {
            let mut changed = plain.clone();
            change(&mut changed);
            assert!(seen.insert(of(&changed)), "{changed:?}");
        }
        assert_eq!(of(&DatasetParts { name: "y".into(), split: Split::Test, ..plain.clone() }), of(&plain));
    }

    #[test]
    fn parts_must_go_together() {
        let parts = parts();
        assert_eq!(Dataset::try_from(parts.clone()).unwrap().images().unwrap().image(1).len(), 6);
        let wrong = |change: fn(&mut DatasetParts)| {
            let mut parts = parts.clone();
            change(&mut parts);
            Dataset::try_from(parts).unwrap_err()
        };
        assert!(matches!(
            wrong(|p| p.labels[1] = 2),
            DataError::Label { index: 1, label: 2, classes: 2, .. }
        ));
        assert!(matches!(wrong(|p| p.pixels.truncate(11)), DataError::Shape { pixels: 11, .. }));
        assert!(matches!(wrong(|p| p.shape = [usize::MAX; 3]), DataError::Shape { .. }));
        assert!(matches!(wrong(|p| p.std[0] = 0.0), DataError::Statistics { .. }));
        assert!(matches!(wrong(|p| p.mean.truncate(1)), DataError::Statistics { .. }));
    }
}
