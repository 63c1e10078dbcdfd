//! Pictures in files: folders, lists and shards of them, looked into once, decoded when they are needed.

pub mod catalog;
pub(crate) mod folder;
pub(crate) mod index;
pub mod list;
pub mod shards;
pub mod tar;
mod verify;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use image::DynamicImage;
use thiserror::Error;

pub use self::catalog::LeftOut;
use self::catalog::{Catalogue, Entry};
use self::index::Facts;
use super::dataset::{hash, hash_bytes};
use super::source::{Norm, PictureOptions};
use super::{DataError, Dataset, Opening, Samples, Scale, SourceParts, Split};
use crate::image_file;
use crate::picture::Picture;

/// What can be wrong with pictures in files.
#[derive(Debug, Error)]
pub enum PicturesError {
    /// A folder or file that cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Pictures without classes.
    #[error(
        "{} holds {pictures} pictures, but no folders: make one for each class and put its pictures there", path.display()
    )]
    NoClasses {
        /// The folder.
        path: PathBuf,
        /// The pictures that lie in it.
        pictures: u64,
    },
    /// No picture at all.
    #[error("{}: no pictures to use among {ignored} other files{}", path.display(), listed(left_out))]
    NoPictures {
        /// The folder, list or shard.
        path: PathBuf,
        /// Files that are no pictures.
        ignored: u64,
        /// Pictures that cannot be used.
        left_out: Vec<LeftOut>,
    },
    /// A part that there is not.
    #[error("{} has no folder '{name}' to measure on; it has {}", path.display(), found.join(", "))]
    NoPart {
        /// The data set's folder.
        path: PathBuf,
        /// The folder asked for.
        name: String,
        /// The folders there are.
        found: Vec<String>,
    },
    /// A part without pictures.
    #[error(
        "{}: no pictures to {}; of {all} none was put there{}", path.display(),
        if *split == Split::Train { "learn from" } else { "test on" },
        if *split == Split::Train { "" } else { ": hold out a larger part with ?val=0.3, or name them" },
    )]
    EmptyPart {
        /// The data set.
        path: PathBuf,
        /// The part.
        split: Split,
        /// Pictures there are.
        all: usize,
    },
    /// Classes that cannot be.
    #[error("{}: {what}", path.display())]
    Classes {
        /// The data set, or the file that lists its classes.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A list that cannot be read.
    #[error("{}:{line}: {problem}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A shard that cannot be read.
    #[error("{}: {problem}", path.display())]
    Tar {
        /// The shard.
        path: PathBuf,
        /// What is wrong with it.
        problem: tar::TarError,
    },
    /// A pattern that stands for nothing.
    #[error("'{pattern}' names no shards: {what}; write for example train-{{000..012}}.tar")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        what: String,
    },
    /// Pictures that cannot be used, where all are to be.
    #[error("{}: {} of {all} pictures cannot be used{}", path.display(), left_out.len(), listed(left_out))]
    Strict {
        /// The data set.
        path: PathBuf,
        /// Pictures there are.
        all: usize,
        /// Which cannot be used, and why.
        left_out: Vec<LeftOut>,
    },
    /// A picture that could be decoded once and now cannot.
    #[error("{title}: {problem}; it was a picture when the data set was opened")]
    Broken {
        /// The picture.
        title: String,
        /// What is wrong with it.
        problem: image_file::Problem,
    },
    /// A picture that has been changed.
    #[error("{title}: its bytes are not those it had when the data set was opened; open it again")]
    Changed {
        /// The picture.
        title: String,
    },
}

/// The first of the files, a line each.
fn listed(files: &[LeftOut]) -> String {
    const MOST: usize = 10;
    let mut text = String::new();
    for LeftOut { file, problem } in files.iter().take(MOST) {
        text += &format!("\n  {file}: {problem}");
    }
    if files.len() > MOST {
        text += &format!("\n  and {} more", files.len() - MOST);
    }
    text
}

/// A picture of a data set, as it is told in a survey.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it is called.
    pub title: String,
    /// Its part.
    pub split: Split,
    /// Its class.
    pub label: u32,
    /// Bytes of its file.
    pub bytes: u64,
    /// Height and width.
    pub size: [u32; 2],
    /// The kind of its file.
    pub format: String,
    /// A hash of its bytes.
    pub hash: u64,
}

/// What was found when a data set was opened, of both its parts.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The pictures that are used.
    pub seen: Vec<Seen>,
    /// Those that are not, and why.
    pub left_out: Vec<LeftOut>,
    /// Files that are no pictures.
    pub ignored: u64,
    /// What a user should know of how the data set was read.
    pub notes: Vec<String>,
}

impl Survey {
    /// Titles of pictures to test on whose very bytes are learned from as well.
    pub fn shared(&self) -> Vec<&str> {
        let of = |split| self.seen.iter().filter(move |seen| seen.split == split);
        let learned: HashSet<u64> = of(Split::Train).map(|seen| seen.hash).collect();
        of(Split::Test).filter(|seen| learned.contains(&seen.hash)).map(|seen| &*seen.title).collect()
    }
}

/// A catalogue looked into: both parts of a data set.
pub(crate) struct Collection {
    name: String,
    path: PathBuf,
    classes: Vec<String>,
    pictures: Vec<(Entry, Facts)>,
    survey: Arc<Survey>,
    channels: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
    cache: u64,
}

impl Collection {
    /// Looks into all pictures; those that cannot be used are left out, or refused as `opening` says.
    pub(crate) fn new(
        catalogue: Catalogue,
        options: &PictureOptions,
        opening: &mut Opening,
    ) -> Result<Self, DataError> {
        let verified = verify::verify(&catalogue, opening);
        let Catalogue { name, folder: path, classes, entries, ignored, mut left_out, notes, .. } = catalogue;
        let all = entries.len();
        let mut pictures = Vec::with_capacity(all);
        for (entry, verified) in entries.into_iter().zip(verified) {
            match (verified.facts, verified.problem) {
                (Some(facts), None) => pictures.push((entry, facts)),
                (_, problem) => {
                    let problem = problem.unwrap_or_else(|| "cannot be read".into());
                    left_out.push(LeftOut { file: entry.title(), problem });
                }
            }
        }
        if opening.strict && !left_out.is_empty() {
            return Err(PicturesError::Strict { path, all, left_out }.into());
        }
        if pictures.is_empty() {
            return Err(PicturesError::NoPictures { path, ignored, left_out }.into());
        }
        let grey = pictures.iter().all(|(_, facts)| facts.grey);
        let channels = options.channels.unwrap_or(if grey { 1 } else { 3 });
        let seen = pictures.iter().map(|(entry, facts)| Seen {
            title: entry.title(),
            split: entry.split,
            label: entry.label,
            bytes: entry.len,
            size: facts.size,
            format: facts.format.clone(),
            hash: facts.hash,
        });
        let survey = Arc::new(Survey { seen: seen.collect(), left_out, ignored, notes });
        let (mean, std) = match &options.norm {
            Some(norm) => norm.for_channels(channels),
            None => measured(&pictures, channels),
        };
        let cache = opening.cache;
        Ok(Self { name, path, classes, pictures, survey, channels, mean, std, cache })
    }

    /// The part `split`.
    pub(crate) fn part(&self, split: Split) -> Result<Dataset, DataError> {
        let own = self.pictures.iter().filter(|(entry, _)| entry.split == split);
        let (entries, hashes): (Vec<Entry>, Vec<u64>) =
            own.map(|(entry, facts)| (entry.clone(), facts.hash)).unzip();
        if entries.is_empty() {
            let (path, all) = (self.path.clone(), self.pictures.len());
            return Err(PicturesError::EmptyPart { path, split, all }.into());
        }
        let names = entries.iter().map(|entry| hash_bytes(entry.name.as_bytes()));
        let contents = hash(names.zip(&hashes).flat_map(|(name, hash)| [name, *hash]));
        let kept = (0..entries.len()).map(|_| OnceLock::new()).collect();
        let room = AtomicU64::new(self.cache);
        let pictures = Pictures { entries, hashes, channels: self.channels, kept, room };
        let parts = SourceParts {
            name: self.name.clone(),
            split,
            classes: self.classes.clone(),
            mean: self.mean.clone(),
            std: self.std.clone(),
            contents,
        };
        Ok(Dataset::from_source(Arc::new(pictures), parts)?.with_survey(self.survey.clone()))
    }
}

/// Mean and deviation of each channel over the pictures to learn from, or all where there are none; each picture counts
/// the same.
fn measured(pictures: &[(Entry, Facts)], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let of = |split: Option<Split>| {
        pictures.iter().filter(move |(entry, _)| split.is_none_or(|split| entry.split == split))
    };
    let split = of(Some(Split::Train)).next().map(|_| Split::Train);
    let count = of(split).count() as f64;
    let channel = |channel: usize| {
        let sum = |power: usize| {
            of(split).map(|(_, facts)| moment(&facts.moments, channel, channels)[power]).sum::<f64>()
        };
        let mean = sum(0) / count;
        let std = (sum(1) / count - mean * mean).max(0.0).sqrt() as f32;
        (mean as f32, if std > 0.0 { std } else { 1.0 })
    };
    (0..channels).map(channel).unzip()
}

/// Mean and mean square of a channel; a picture that is seen in grey is taken for the mean of its colours.
fn moment(moments: &[[f64; 2]], channel: usize, channels: usize) -> [f64; 2] {
    match (moments, channels) {
        ([grey], _) => *grey,
        (colours, 1) => {
            [0, 1].map(|power| colours.iter().map(|m| m[power]).sum::<f64>() / colours.len() as f64)
        }
        (colours, _) => colours[channel],
    }
}

/// A picture in memory, at one scale.
struct Kept {
    scale: Scale,
    size: [usize; 2],
    pixels: Box<[u8]>,
}

/// Pictures in files, some of which stay in memory once they have been decoded.
struct Pictures {
    entries: Vec<Entry>,
    /// Of the bytes that were looked into.
    hashes: Vec<u64>,
    channels: usize,
    kept: Vec<OnceLock<Kept>>,
    /// Bytes that may still be kept.
    room: AtomicU64,
}

impl Pictures {
    /// The bytes of a picture, which are those that were looked into.
    fn read(&self, id: usize) -> Result<Vec<u8>, PicturesError> {
        let entry = &self.entries[id];
        let bytes =
            entry.read().map_err(|problem| PicturesError::Broken { title: entry.title(), problem })?;
        match hash_bytes(&bytes) == self.hashes[id] {
            true => Ok(bytes),
            false => Err(PicturesError::Changed { title: entry.title() }),
        }
    }

    fn decode(&self, id: usize, scale: Scale) -> Result<DynamicImage, PicturesError> {
        let bytes = self.read(id)?;
        let broken = |problem| PicturesError::Broken { title: self.entries[id].title(), problem };
        let picture = image_file::decode(&bytes).map_err(broken)?;
        let picture = match self.channels {
            1 => DynamicImage::from(picture.into_luma8()),
            _ => DynamicImage::from(picture.into_rgb8()),
        };
        Ok(image_file::reduced(picture, scale))
    }
}

impl Samples for Pictures {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn size(&self) -> Option<[usize; 2]> {
        None
    }

    fn label(&self, id: usize) -> u32 {
        self.entries[id].label
    }

    fn picture<'a>(
        &'a self,
        id: usize,
        scale: Scale,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Picture<'a>, DataError> {
        let channels = self.channels;
        let kept = |kept: &'a Kept| {
            let [height, width] = kept.size;
            Picture { height, width, channels, pixels: &kept.pixels }
        };
        if let Some(found) = self.kept[id].get().filter(|kept| kept.scale == scale) {
            return Ok(kept(found));
        }
        let picture = self.decode(id, scale)?;
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let pixels = picture.into_bytes();
        let len = pixels.len() as u64;
        let fits = |room: u64| room.checked_sub(len);
        if self.kept[id].get().is_none()
            && self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
        {
            let new = Kept { scale, size: [height, width], pixels: pixels.into_boxed_slice() };
            if let Err(spare) = self.kept[id].set(new) {
                // Another thread was faster.
                self.room.fetch_add(len, Ordering::Relaxed);
                *scratch = spare.pixels.into_vec();
                return Ok(Picture { height, width, channels, pixels: scratch });
            }
            return Ok(kept(self.kept[id].get().expect("it has been set")));
        }
        *scratch = pixels;
        Ok(Picture { height, width, channels, pixels: scratch })
    }

    fn file(&self, id: usize) -> Result<Option<Vec<u8>>, DataError> {
        Ok(Some(self.read(id)?))
    }

    fn title(&self, id: usize) -> String {
        self.entries[id].title()
    }

    fn is_slow(&self) -> bool {
        true
    }
}

impl Norm {
    /// Mean and deviation for so many channels: of one where three are given, their means.
    fn for_channels(&self, channels: usize) -> (Vec<f32>, Vec<f32>) {
        let fit = |values: &[f32]| match (values.len(), channels) {
            (given, wanted) if given == wanted => values.to_vec(),
            (_, 1) => vec![values.iter().sum::<f32>() / values.len().max(1) as f32],
            (1, wanted) => vec![values[0]; wanted],
            _ => values.to_vec(),
        };
        (fit(&self.mean), fit(&self.std))
    }
}
