//! What there is in a data set, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Dataset, Samples, Split};

/// What there is in a data set.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Channels of its pictures as a network sees them.
    pub channels: usize,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Per channel, the mean of the pixels to learn from on a scale from 0 to 1.
    pub mean: Vec<f32>,
    /// Per channel, their standard deviation.
    pub std: Vec<f32>,
    /// What is learned from.
    pub train: PartInfo,
    /// What is measured on.
    pub test: PartInfo,
    /// Files that are no pictures.
    pub ignored: u64,
    /// Pictures that cannot be used.
    pub left_out: Vec<Refused>,
    /// Titles of pictures to test on whose very bytes are learned from as well.
    pub in_both: Vec<String>,
    /// What should be known of how it was read.
    pub notes: Vec<String>,
}

/// A picture that cannot be used.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Its file.
    pub file: String,
    /// Why.
    pub problem: String,
}

/// What there is in a part of a data set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PartInfo {
    /// Its pictures.
    pub pictures: u64,
    /// Those of each class.
    pub per_class: Vec<u64>,
    /// Bytes of their files, or of their pixels where they are in memory.
    pub bytes: u64,
    /// Widths.
    pub width: Spread,
    /// Heights.
    pub height: Spread,
    /// Pictures of each kind of file.
    pub formats: BTreeMap<String, u64>,
}

/// The least, the middle and the greatest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: u32,
    /// As many are less as are greater.
    pub median: u32,
    /// The greatest.
    pub max: u32,
}

impl Spread {
    fn of(mut numbers: Vec<u32>) -> Self {
        numbers.sort_unstable();
        match (numbers.first(), numbers.last()) {
            (Some(&min), Some(&max)) => Self { min, median: numbers[(numbers.len() - 1) / 2], max },
            _ => Self::default(),
        }
    }
}

impl Info {
    /// Counts what is in both parts of a data set.
    pub fn of([train, test]: [&Dataset; 2]) -> Self {
        let survey = train.survey().cloned().unwrap_or_default();
        let refused = survey
            .left_out
            .iter()
            .map(|out| Refused { file: out.file.clone(), problem: out.problem.clone() });
        Self {
            name: train.name().into(),
            channels: train.channels(),
            classes: train.classes().to_vec(),
            mean: train.mean().to_vec(),
            std: train.std().to_vec(),
            train: PartInfo::of(train),
            test: PartInfo::of(test),
            ignored: survey.ignored,
            left_out: refused.collect(),
            in_both: survey.shared().into_iter().map(String::from).collect(),
            notes: survey.notes,
        }
    }
}

impl PartInfo {
    fn of(data: &Dataset) -> Self {
        let mut per_class = vec![0; data.classes().len()];
        for label in data.labels() {
            per_class[*label as usize] += 1;
        }
        let mut info = Self { pictures: data.len() as u64, per_class, ..Self::default() };
        match (data.survey(), data.images()) {
            (Some(survey), _) => info.files(survey, data.split()),
            (None, Some(images)) => {
                let [_, height, width] = images.shape().map(|side| side as u32);
                info.bytes = images.pixels().len() as u64;
                info.width = Spread::of(vec![width]);
                info.height = Spread::of(vec![height]);
            }
            (None, None) => {}
        }
        info
    }

    fn files(&mut self, survey: &super::pictures::Survey, split: Split) {
        let own = || survey.seen.iter().filter(|seen| seen.split == split);
        self.bytes = own().map(|seen| seen.bytes).sum();
        self.height = Spread::of(own().map(|seen| seen.size[0]).collect());
        self.width = Spread::of(own().map(|seen| seen.size[1]).collect());
        for seen in own() {
            *self.formats.entry(seen.format.clone()).or_default() += 1;
        }
    }
}
