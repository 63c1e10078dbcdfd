//! MNIST, inside the program or from a folder, and the data sets that share its four files.

use std::path::{Path, PathBuf};

use super::idx::{self, Source};
use super::{DataError, Dataset, Split};
use crate::augment::Augment;
use crate::image_file::Fit;

/// A data set of ten classes in the four files of MNIST.
#[derive(Debug)]
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its classes.
    pub classes: [&'static str; 10],
    /// Mean of the training pixels, as the field rounds it.
    pub mean: f32,
    /// Standard deviation of the training pixels, as the field rounds it.
    pub std: f32,
    /// How a picture from elsewhere becomes one of its images of 28×28; the middle of it where there is no special way.
    pub fit: Option<Fit>,
    /// Random changes that leave its images what they are.
    pub augment: Augment,
}

/// The handwritten digits of LeCun, Cortes and Burges (1998).
pub const MNIST: Family = Family {
    name: "mnist",
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    mean: 0.1307,
    std: 0.3081,
    fit: Some(Fit::Digit { ink: 20 }),
    augment: Augment::DIGITS,
};

/// The articles of clothing of Xiao, Rasul and Vollgraf (2017).
pub const FASHION_MNIST: Family = Family {
    name: "fashion-mnist",
    classes: [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    mean: 0.2860,
    std: 0.3530,
    fit: None,
    augment: Augment::NONE,
};

/// The data sets that [`super::open`] knows by name.
pub const FAMILIES: [&Family; 2] = [&MNIST, &FASHION_MNIST];

impl Family {
    /// The data set in the four files of `dir`: `train-images`, `train-labels`, `t10k-images` and
    /// `t10k-labels`, each ending in `-idx3-ubyte` or `.idx3-ubyte` (labels: `idx1`), with or without `.gz`.
    pub fn from_dir(&self, dir: impl AsRef<Path>, split: Split) -> Result<Dataset, DataError> {
        let [images, labels] = find_files(dir.as_ref(), &[split])?[0].clone();
        self.read(Source::Path(&images), Source::Path(&labels), split)
    }

    /// Whether its files are inside the program.
    pub(super) fn is_embedded(&self) -> bool {
        cfg!(feature = "mnist") && self.name == MNIST.name
    }

    fn read(&self, images: Source, labels: Source, split: Split) -> Result<Dataset, DataError> {
        let (images, labels) = idx::read_pair(images, labels, Some(self.classes.len()))?;
        let classes = self.classes.map(String::from).to_vec();
        let (mean, std) = (vec![self.mean], vec![self.std]);
        let data = Dataset::from_idx(self.name, split, images, &labels, classes, mean, std)?;
        Ok(match self.fit {
            Some(fit) if data.shape() == Some([1, 28, 28]) => data.with_fit(fit),
            _ => data,
        })
    }
}

/// MNIST as it is inside the program (feature `mnist`).
#[cfg(feature = "mnist")]
pub fn embedded(split: Split) -> Result<Dataset, DataError> {
    let [images, labels] = match split {
        Split::Train => [TRAIN_IMAGES, TRAIN_LABELS],
        Split::Test => [TEST_IMAGES, TEST_LABELS],
    };
    MNIST.read(images, labels, split)
}

macro_rules! asset {
    ($name:ident, $file:literal) => {
        #[cfg(feature = "mnist")]
        const $name: Source =
            Source::Bytes($file, include_bytes!(concat!("../../assets/mnist/", $file)).as_slice());
    };
}
asset!(TRAIN_IMAGES, "train-images-idx3-ubyte.gz");
asset!(TRAIN_LABELS, "train-labels-idx1-ubyte.gz");
asset!(TEST_IMAGES, "t10k-images-idx3-ubyte.gz");
asset!(TEST_LABELS, "t10k-labels-idx1-ubyte.gz");

/// A data set of unnamed classes in the files of `dir` (see [`Family::from_dir`]): classes are numbered up to
/// the greatest label, mean and deviation are those of the training images.
pub fn from_dir(dir: impl AsRef<Path>, split: Split) -> Result<Dataset, DataError> {
    let dir = dir.as_ref();
    let splits = find_files(dir, &[Split::Train, Split::Test])?;
    let read = |at: usize| {
        let [images, labels]: &[PathBuf; 2] = &splits[at];
        idx::read_pair(Source::Path(images), Source::Path(labels), None)
    };
    let (train, test) = (read(0)?, read(1)?);
    let (mean, std) = super::statistics(&train.0.data, 1);
    let greatest = train.1.iter().chain(&test.1).max().map_or(0, |label| usize::from(*label));
    let classes = (0..=greatest).map(|class| class.to_string()).collect();
    let name =
        dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned());
    let (images, labels) = if split == Split::Train { train } else { test };
    Dataset::from_idx(&name, split, images, &labels, classes, mean, std)
}

/// Images and labels of each split, or the names of all that are missing.
fn find_files(dir: &Path, splits: &[Split]) -> Result<Vec<[PathBuf; 2]>, DataError> {
    let mut missing = Vec::new();
    let mut find = |stem: &str, kind: &str| {
        let names = ["-", "."].map(|dash| format!("{stem}{dash}{kind}-ubyte"));
        let gzipped = names.clone().map(|name| name + ".gz");
        let found = names.iter().chain(&gzipped).map(|name| dir.join(name)).find(|path| path.is_file());
        found.unwrap_or_else(|| {
            missing.push(names[0].clone());
            PathBuf::new()
        })
    };
    let files = splits.iter().map(|split| {
        let stem = if *split == Split::Train { "train" } else { "t10k" };
        [find(&format!("{stem}-images"), "idx3"), find(&format!("{stem}-labels"), "idx1")]
    });
    let files = files.collect();
    if missing.is_empty() { Ok(files) } else { Err(DataError::Missing { dir: dir.to_path_buf(), missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;

    #[cfg(feature = "mnist")]
    #[test]
    fn the_embedded_files_are_the_originals() {
        use sha2::{Digest, Sha256};
        let hex = |bytes: &[u8]| -> String {
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let readme = include_str!("../../assets/mnist/README.md");
        for (source, rank) in [(TRAIN_IMAGES, 3), (TRAIN_LABELS, 1), (TEST_IMAGES, 3), (TEST_LABELS, 1)] {
            let Source::Bytes(name, packed) = source else { unreachable!() };
            let idx = source.read(rank).unwrap();
            let mut raw = vec![0, 0, 8, rank];
            raw.extend(idx.dims.iter().flat_map(|size| (*size as u32).to_be_bytes()));
            raw.extend(idx.data);
            for (name, bytes) in [(name, packed), (name.trim_end_matches(".gz"), &raw[..])] {
                let row = format!("| {name} | {} | {} |", bytes.len(), hex(bytes));
                assert!(readme.contains(&row), "README lacks {row}");
            }
        }
    }

    #[cfg(feature = "mnist")]
    #[test]
    fn the_embedded_digits_are_mnist() {
        let train = embedded(Split::Train).unwrap();
        let test = embedded(Split::Test).unwrap();
        assert_eq!((train.len(), test.len(), train.shape()), (60_000, 10_000, Some([1, 28, 28])));
        assert_eq!(train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
        assert_eq!(test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
        let (mean, std) = crate::data::statistics(train.images().unwrap().pixels(), 1);
        assert!((mean[0] - MNIST.mean).abs() < 5e-5 && (std[0] - MNIST.std).abs() < 5e-5, "{mean:?} {std:?}");
    }

    fn write_idx(dir: &Path, name: &str, dims: &[u32], data: &[u8]) {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(data);
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    #[test]
    fn only_the_family_makes_digits_of_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("mnist");
        std::fs::create_dir(&named).unwrap();
        for part in ["train", "t10k"] {
            write_idx(&named, &format!("{part}-images-idx3-ubyte"), &[1, 28, 28], &[9; 784]);
            write_idx(&named, &format!("{part}-labels-idx1-ubyte"), &[1], &[3]);
        }
        let path = named.to_str().unwrap();
        let expect = |source: &str, fit, augment| {
            let data = crate::data::open(source, Split::Test).unwrap();
            let used = data.preprocess([28, 28]).fit;
            assert_eq!((used, crate::data::augment(source)), (fit, augment), "{source}");
        };
        expect(path, Fit::crop(28), Augment::NONE);
        expect(&format!("mnist:{path}"), Fit::Digit { ink: 20 }, Augment::DIGITS);
        expect(&format!("fashion-mnist:{path}"), Fit::crop(28), Augment::NONE);
        if cfg!(feature = "mnist") {
            expect("mnist", Fit::Digit { ink: 20 }, Augment::DIGITS);
        }
        assert_eq!(crate::data::augment("mnist-like"), Augment::NONE);
    }

    #[test]
    fn folders_may_use_either_spelling_and_are_told_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = from_dir(dir.path(), Split::Train).unwrap_err();
        let DataError::Missing { missing, .. } = &error else { panic!("{error}") };
        assert_eq!(missing.len(), 4);

        write_idx(dir.path(), "train-images.idx3-ubyte", &[2, 1, 2], &[0, 255, 0, 255]);
        write_idx(dir.path(), "train-labels-idx1-ubyte", &[2], &[0, 2]);
        write_idx(dir.path(), "t10k-images-idx3-ubyte", &[1, 1, 2], &[7, 7]);
        let text = from_dir(dir.path(), Split::Train).unwrap_err().to_string();
        assert!(text.contains("t10k-labels-idx1-ubyte") && !text.contains("train-images"), "{text}");
        assert_eq!(MNIST.from_dir(dir.path(), Split::Train).unwrap().len(), 2);

        write_idx(dir.path(), "t10k-labels-idx1-ubyte", &[1], &[3]);
        let test = from_dir(dir.path(), Split::Test).unwrap();
        assert_eq!((test.classes().len(), test.len(), test.shape()), (4, 1, Some([1, 1, 2])));
        assert_eq!((test.mean(), test.std()), (&[0.5][..], &[0.5][..]));

        write_idx(dir.path(), "t10k-labels-idx1-ubyte", &[1], &[10]);
        let text = FASHION_MNIST.from_dir(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(text.contains("t10k-labels-idx1-ubyte: label 0 is 10"), "{text}");
    }
}
