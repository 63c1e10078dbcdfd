//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their official binary files: records of one or two label bytes and
//! 3×32×32 pixels, plane by plane (<https://www.cs.toronto.edu/~kriz/cifar.html>, "binary version").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{DataError, Dataset, DatasetParts, Split};
use crate::augment::Augment;

/// Pixels of an image's plane.
const PLANE: usize = 32 * 32;
/// Channels, height, width of every image.
const SHAPE: [usize; 3] = [3, 32, 32];

/// One of the two data sets: where its files are, how its records begin, what its classes are called.
#[derive(Debug)]
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// The files of the training images, in order.
    pub train: &'static [&'static str],
    /// The file of the test images.
    pub test: &'static str,
    /// The folder that the official archive unpacks to.
    pub folder: &'static str,
    /// Bytes before the pixels of a record; the last of them is the label.
    label_bytes: usize,
    /// The names of the classes, in order.
    pub classes: &'static [&'static str],
    /// Mean of each channel of the training images on a scale from 0 to 1, as the field rounds it.
    pub mean: [f32; 3],
    /// Their standard deviation.
    pub std: [f32; 3],
}

/// Ten classes, 50,000 + 10,000 images.
pub const CIFAR10: Family = Family {
    name: "cifar10",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    folder: "cifar-10-batches-bin",
    label_bytes: 1,
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2470, 0.2435, 0.2616],
};

/// A hundred classes, 50,000 + 10,000 images; the fine label of the two.
pub const CIFAR100: Family = Family {
    name: "cifar100",
    train: &["train.bin"],
    test: "test.bin",
    folder: "cifar-100-binary",
    label_bytes: 2,
    classes: &FINE_LABELS,
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
};

/// The data sets that [`super::open`] knows by name.
pub const FAMILIES: [&Family; 2] = [&CIFAR10, &CIFAR100];

/// Random changes that leave small photographs what they are: padded by four and cropped, mirrored (He et al. 2015,
/// section 4.2).
pub const AUGMENT: Augment = Augment { crop: 4, flip: true, ..Augment::NONE };

/// What is wrong with a file of CIFAR, and with which.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct CifarError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a file of CIFAR.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// Bytes that make no whole records.
    #[error(
        "{bytes} bytes are not a whole number of records of {record} bytes: the file is cut off or another"
    )]
    Size {
        /// The size of the file.
        bytes: u64,
        /// The size of a record.
        record: usize,
    },
    /// More than such a file ever held.
    #[error("{bytes} bytes: a file of this data set holds at most {most}")]
    TooLarge {
        /// The size of the file.
        bytes: u64,
        /// The most that is read.
        most: u64,
    },
    /// A label that names no class.
    #[error("record {index} has label {label}, but there are {classes} classes; is this another file?")]
    Label {
        /// Which record, from 0.
        index: usize,
        /// Its label.
        label: u8,
        /// The number of classes.
        classes: usize,
    },
}

/// The most records of a file: ten times those of the largest official one.
const MAX_RECORDS: u64 = 500_000;

impl Family {
    /// The data set in the files of `dir`, or of the folder in it that the official archive unpacks to.
    ///
    /// # Errors
    /// Names every file that is missing, or the first that is damaged.
    pub fn from_dir(&self, dir: impl AsRef<Path>, split: Split) -> Result<Dataset, DataError> {
        let mut dir = dir.as_ref().to_path_buf();
        if !dir.join(self.test).exists() && dir.join(self.folder).is_dir() {
            dir.push(self.folder);
        }
        let files = match split {
            Split::Train => self.train,
            Split::Test => &[self.test],
        };
        let missing: Vec<String> =
            files.iter().filter(|file| !dir.join(file).is_file()).map(|file| (*file).into()).collect();
        if !missing.is_empty() {
            return Err(DataError::Missing { dir, missing });
        }
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for file in files {
            let path = dir.join(file);
            let read = self.read(&path, &mut pixels, &mut labels);
            read.map_err(|problem| CifarError { path, problem })?;
        }
        let classes = self.classes.iter().map(|name| (*name).into()).collect();
        let (mean, std) = (self.mean.to_vec(), self.std.to_vec());
        DatasetParts { name: self.name.into(), split, shape: SHAPE, pixels, labels, classes, mean, std }
            .try_into()
    }

    /// Appends the images and labels of a file.
    fn read(&self, path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<(), Problem> {
        let record = self.label_bytes + 3 * PLANE;
        let bytes = fs::metadata(path).map_err(Problem::Read)?.len();
        let most = MAX_RECORDS * record as u64;
        if bytes > most {
            return Err(Problem::TooLarge { bytes, most });
        }
        let contents = fs::read(path).map_err(Problem::Read)?;
        if contents.is_empty() || !contents.len().is_multiple_of(record) {
            return Err(Problem::Size { bytes: contents.len() as u64, record });
        }
        pixels.reserve(contents.len() / record * 3 * PLANE);
        for (index, record) in contents.chunks_exact(record).enumerate() {
            let (label, planes) = record.split_at(self.label_bytes);
            let label = label[self.label_bytes - 1];
            if usize::from(label) >= self.classes.len() {
                return Err(Problem::Label { index, label, classes: self.classes.len() });
            }
            labels.push(label.into());
            let [red, green, blue] = [0, 1, 2].map(|plane| &planes[plane * PLANE..][..PLANE]);
            for ((red, green), blue) in red.iter().zip(green).zip(blue) {
                pixels.extend([red, green, blue]);
            }
        }
        Ok(())
    }
}

const FINE_LABELS: [&str; 100] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A record whose planes are 1, 2 and 3 everywhere.
    fn record(labels: &[u8]) -> Vec<u8> {
        let planes = [1u8, 2, 3].into_iter().flat_map(|level| [level; PLANE]);
        labels.iter().copied().chain(planes).collect()
    }

    #[test]
    fn records_become_images_channels_last() {
        let dir = tempfile::tempdir().unwrap();
        for file in CIFAR10.train {
            fs::write(dir.path().join(file), [record(&[3]), record(&[9])].concat()).unwrap();
        }
        let train = CIFAR10.from_dir(dir.path(), Split::Train).unwrap();
        assert_eq!((train.labels().len(), &train.labels()[..2]), (10, &[3, 9][..]));
        assert_eq!(train.image(9)[..6], [1, 2, 3, 1, 2, 3]);
        assert_eq!(train.classes()[9], "truck");
        let text = CIFAR10.from_dir(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(text.contains("lacks test_batch.bin"), "{text}");

        let inner = dir.path().join(CIFAR100.folder);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("test.bin"), record(&[19, 99])).unwrap();
        let test = CIFAR100.from_dir(dir.path(), Split::Test).unwrap();
        assert_eq!((test.labels(), &test.classes()[99]), (&[99][..], &"worm".to_string()));
    }

    #[test]
    fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = |bytes: &[u8]| {
            fs::write(dir.path().join("test_batch.bin"), bytes).unwrap();
            CIFAR10.from_dir(dir.path(), Split::Test).unwrap_err().to_string()
        };
        assert!(text(&record(&[3])[1..]).contains("3072 bytes are not a whole number of records of 3073"));
        assert!(text(&[]).contains("test_batch.bin: 0 bytes"));
        assert!(text(&record(&[10])).contains("record 0 has label 10, but there are 10 classes"));
    }
}
