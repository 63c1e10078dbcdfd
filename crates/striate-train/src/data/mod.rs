//! Labelled images: what a data set is, where it comes from, and how part of it is held out.

pub mod archives;
pub mod cifar;
pub mod convert;
mod dataset;
mod error;
pub mod idx;
pub mod info;
pub mod mnist;
pub mod pictures;
pub mod preview;
pub mod sheets;
pub mod source;

use std::path::PathBuf;

pub use self::dataset::{
    Dataset, DatasetParts, Images, Samples, Scale, SourceParts, Split, hold_out, statistics,
};
pub use self::error::DataError;
pub use self::source::augment;

/// How a data set is opened, besides what its source says.
pub struct Opening<'a> {
    /// Refuses a data set of which a picture cannot be used, instead of leaving the picture out.
    pub strict: bool,
    /// The most bytes of decoded pictures that a part keeps in memory.
    pub cache: u64,
    /// A folder for what is found out about pictures whose own folder cannot be written.
    pub cache_folder: Option<PathBuf>,
    /// Hears how many of the pictures that nobody has looked into before are done, and how many they are.
    pub progress: Box<dyn FnMut(u64, u64) + 'a>,
}

impl Opening<'_> {
    /// The bytes of decoded pictures that a part keeps in memory, unless told otherwise.
    pub const CACHE: u64 = 1 << 30;
}

impl Default for Opening<'_> {
    fn default() -> Self {
        Self { strict: false, cache: Self::CACHE, cache_folder: None, progress: Box::new(|_, _| {}) }
    }
}

/// The data set `source`: a scheme and a place ([`source::SCHEMES`]) or a place alone, and options behind `?`
/// ([`source::OPTIONS`]): `mnist`, `cifar10:DIR`, `folder:photos?val=0.1`, `list.csv`.
///
/// # Errors
/// When there is no such thing or it is damaged. Pictures in files that cannot be used are left out and noted
/// ([`Dataset::survey`]).
pub fn open(source: &str, split: Split) -> Result<Dataset, DataError> {
    open_with(source, split, &mut Opening::default())
}

/// The same, opened as `opening` says.
///
/// # Errors
/// As of [`open`].
pub fn open_with(source: &str, split: Split, opening: &mut Opening) -> Result<Dataset, DataError> {
    Ok(source::open(source, &[split], opening)?.swap_remove(0))
}

/// Both parts, what is to learn from and what is to test on, looked into once.
///
/// # Errors
/// As of [`open`].
pub fn open_both(source: &str, opening: &mut Opening) -> Result<[Dataset; 2], DataError> {
    let mut parts = source::open(source, &[Split::Train, Split::Test], opening)?;
    let test = parts.swap_remove(1);
    Ok([parts.swap_remove(0), test])
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
