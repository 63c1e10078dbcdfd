//! Labelled images: what a data set is, where it comes from, and how part of it is held out.

pub mod cifar;
pub mod idx;
pub mod mnist;

use std::path::{Path, PathBuf};

use striate_kernels::rng::{Purpose, Rng};
use thiserror::Error;

use crate::augment::Augment;
use crate::image_file::Fit;
use crate::text;

/// Which part of a data set: what is learned from, or what is only measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure on.
    Test,
}

/// What can be wrong with a data set or the way it was asked for.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file of the data set.
    #[error(transparent)]
    Idx(#[from] idx::IdxError),
    /// A file of CIFAR.
    #[error(transparent)]
    Cifar(#[from] cifar::CifarError),
    /// A name that is neither a data set nor a folder.
    #[error(
        "no data set or folder '{asked}'{}; known are mnist, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR and a folder of IDX files",
        nearest.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
    )]
    Unknown {
        /// What was asked for.
        asked: String,
        /// The known name closest to it.
        nearest: Option<&'static str>,
    },
    /// A data set that is not inside the program.
    #[error("{name} is not built in; give the folder of its files as {name}:DIR")]
    NotEmbedded {
        /// Its name.
        name: &'static str,
    },
    /// A folder that lacks files.
    #[error("{} lacks {} (each with or without .gz)", dir.display(), missing.join(", "))]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The files it lacks.
        missing: Vec<String>,
    },
    /// Pixels, labels and shape that do not go together.
    #[error("{name}: {pixels} pixel values and {labels} labels do not go with images of shape {shape:?}")]
    Shape {
        /// The data set.
        name: String,
        /// The number of pixel values.
        pixels: usize,
        /// The number of labels.
        labels: usize,
        /// Channels, height, width.
        shape: [usize; 3],
    },
    /// Mean and deviation that do not go with the channels.
    #[error(
        "{name}: mean {mean:?} and deviation {std:?} for {channels} channels; each needs one (deviations > 0)"
    )]
    Statistics {
        /// The data set.
        name: String,
        /// The means.
        mean: Vec<f32>,
        /// The deviations.
        std: Vec<f32>,
        /// The number of channels.
        channels: usize,
    },
    /// A label that names no class.
    #[error("{name}: sample {index} has label {label}, but there are {classes} classes")]
    Label {
        /// The data set.
        name: String,
        /// Which sample.
        index: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// A part to hold out that leaves one side empty.
    #[error(
        "holding out {fraction} of {samples} samples leaves a side empty; choose a fraction between 0 and 1"
    )]
    HoldOut {
        /// The fraction asked for.
        fraction: f64,
        /// The number of samples.
        samples: usize,
    },
}

/// Where labelled images come from, one by one.
pub trait Samples: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height and width of every image.
    fn shape(&self) -> [usize; 3];

    /// The class of sample `id < len()`.
    fn label(&self, id: usize) -> u32;

    /// The image of sample `id < len()`: bytes, row by row, channels last. A source that has to decode it
    /// does so into `scratch`.
    fn pixels<'a>(&'a self, id: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], DataError>;
}

/// Labelled images in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    split: Split,
    shape: [usize; 3],
    pixels: Vec<u8>,
    labels: Vec<u32>,
    classes: Vec<String>,
    mean: Vec<f32>,
    std: Vec<f32>,
    fit: Fit,
}

/// The fields of a [`Dataset`] under construction.
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
        let positive = std.iter().all(|std| *std > 0.0);
        if mean.len() != shape[0] || std.len() != shape[0] || !positive {
            return Err(DataError::Statistics { name, mean, std, channels: shape[0] });
        }
        if let Some(index) = labels.iter().position(|label| *label as usize >= classes.len()) {
            return Err(DataError::Label { name, index, label: labels[index], classes: classes.len() });
        }
        let fit = Fit::crop(shape[1].max(shape[2]));
        Ok(Self { name, split, shape, pixels, labels, classes, mean, std, fit })
    }
}

impl Dataset {
    fn from_idx(
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

    /// The images one after the other, each row by row, channels last.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The image of sample `id`; panics when there is none.
    pub fn image(&self, id: usize) -> &[u8] {
        let size: usize = self.shape.iter().product();
        &self.pixels[id * size..][..size]
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The name of each class.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// A number that other images, labels or statistics almost surely do not have; the same on every machine.
    pub fn fingerprint(&self) -> u64 {
        let statistics = self.mean.iter().chain(&self.std).map(|value| value.to_bits());
        let shape = self.shape.into_iter().map(|size| size as u32);
        let words = shape.chain(statistics).chain(self.labels.iter().copied());
        hash([self.pixels.len() as u64, self.classes.len() as u64].into_iter().chain(words.map(u64::from)))
            ^ hash_bytes(&self.pixels)
    }

    /// How a picture from elsewhere is made like these images; the middle of it, unless told otherwise.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// The same images, with another way to make pictures from elsewhere like them.
    pub fn with_fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
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

impl Samples for Dataset {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn label(&self, id: usize) -> u32 {
        self.labels[id]
    }

    fn pixels<'a>(&'a self, id: usize, _scratch: &'a mut Vec<u8>) -> Result<&'a [u8], DataError> {
        Ok(self.image(id))
    }
}

/// A data set with a name.
#[derive(Clone, Copy)]
enum Named {
    Mnist(&'static mnist::Family),
    Cifar(&'static cifar::Family),
}

impl Named {
    fn all() -> impl Iterator<Item = Self> {
        mnist::FAMILIES.map(Self::Mnist).into_iter().chain(cifar::FAMILIES.map(Self::Cifar))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mnist(family) => family.name,
            Self::Cifar(family) => family.name,
        }
    }

    fn augment(self) -> Augment {
        match self {
            Self::Mnist(family) => family.augment,
            Self::Cifar(_) => cifar::AUGMENT,
        }
    }

    fn is_embedded(self) -> bool {
        matches!(self, Self::Mnist(family) if family.is_embedded())
    }

    fn from_dir(self, dir: &str, split: Split) -> Result<Dataset, DataError> {
        match self {
            Self::Mnist(family) => family.from_dir(dir, split),
            Self::Cifar(family) => family.from_dir(dir, split),
        }
    }
}

/// Name and folder in `source`, and the data set of that name.
fn parse(source: &str) -> (&str, Option<&str>, Option<Named>) {
    let (name, dir) = source.split_once(':').map_or((source, None), |(name, dir)| (name, Some(dir)));
    (name, dir, Named::all().find(|named| named.name() == name))
}

/// The random changes that leave the images of `source`, as [`open`] takes it, what they are; none where nothing is
/// known of them, as in a folder, whatever it is called.
pub fn augment(source: &str) -> Augment {
    match parse(source) {
        (_, Some(_), Some(named)) => named.augment(),
        (_, None, Some(named)) if named.is_embedded() => named.augment(),
        _ => Augment::NONE,
    }
}

/// The data set `source`: `mnist` (built in), `mnist:DIR`, `fashion-mnist:DIR`, `cifar10:DIR` or `cifar100:DIR`, or a
/// folder of IDX files.
pub fn open(source: &str, split: Split) -> Result<Dataset, DataError> {
    let (name, dir, named) = parse(source);
    match (named, dir) {
        (Some(named), Some(dir)) => named.from_dir(dir, split),
        #[cfg(feature = "mnist")]
        (Some(named), None) if named.is_embedded() => mnist::embedded(split),
        _ if Path::new(source).is_dir() => mnist::from_dir(source, split),
        (Some(named), None) => Err(DataError::NotEmbedded { name: named.name() }),
        (None, _) => {
            let nearest = text::nearest(name, Named::all().map(Named::name));
            Err(DataError::Unknown { asked: source.into(), nearest })
        }
    }
}

/// FNV-1a over words, turned after each so that high bits reach low ones.
fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(29))
}

/// [`hash`] of four interleaved streams of words, whose multiplications overlap.
fn hash_bytes(bytes: &[u8]) -> u64 {
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
    fn unknown_names_are_answered_with_the_nearest() {
        let text = open("mnits", Split::Test).unwrap_err().to_string();
        assert!(text.contains("did you mean mnist?"), "{text}");
        let text = open("fashion_mnist:somewhere", Split::Test).unwrap_err().to_string();
        assert!(text.contains("did you mean fashion-mnist?"), "{text}");
        let text = open("/no/such/folder", Split::Test).unwrap_err().to_string();
        assert!(text.contains("no data set or folder '/no/such/folder';"), "{text}");
        let text = open("fashion-mnist", Split::Test).unwrap_err().to_string();
        assert!(text.contains("fashion-mnist:DIR"), "{text}");
        let text = open("mnist:/no/such/folder", Split::Test).unwrap_err().to_string();
        assert!(
            text.contains("/no/such/folder lacks t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"),
            "{text}"
        );
        match open("mnist", Split::Test) {
            Ok(digits) => assert_eq!(digits.len(), 10_000),
            Err(error) => assert!(!cfg!(feature = "mnist") && matches!(error, DataError::NotEmbedded { .. })),
        }
    }

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
        assert_eq!(Dataset::try_from(parts.clone()).unwrap().image(1).len(), 6);
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
