//! Labelled images: what a data set is, where it comes from, and how part of it is held out.

pub mod cifar;
mod dataset;
mod error;
pub mod idx;
pub mod mnist;

use std::path::Path;

pub use self::dataset::{
    Dataset, DatasetParts, Images, Samples, Scale, SourceParts, Split, hold_out, statistics,
};
pub use self::error::DataError;
use crate::augment::Augment;
use crate::text;

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

    fn in_dir(self, dir: &str, split: Split) -> Result<Dataset, DataError> {
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
        (Some(named), Some(dir)) => named.in_dir(dir, split),
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
}
