//! Arrays by name in a `.npz` file: a ZIP archive of `.npy` files, as `numpy.savez` and `numpy.savez_compressed` write it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use thiserror::Error;

use crate::atomic::{WriteError, write_atomic};
use crate::npy::{self, NpyProblem};
use crate::zip::{Archive, Writer, ZipProblem};
use crate::{Tensor, sniff};

const EXTENSION: &str = ".npy";

/// What is wrong with a file, and with which.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct NpzError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: NpzProblem,
}

/// What can be wrong with a `.npz` file.
#[derive(Debug, Error)]
pub enum NpzProblem {
    /// The file cannot be opened or read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file; give the .npz file itself")]
    NotAFile,
    /// The first bytes are not those of an archive.
    #[error("not a .npz file{}; save arrays with numpy.savez", .found.map_or(String::new(), |kind| format!(" but {kind}")))]
    NotNpz {
        /// What it seems to be.
        found: Option<&'static str>,
    },
    /// The archive is damaged.
    #[error(transparent)]
    Archive(#[from] ZipProblem),
    /// An entry that is no array.
    #[error("{entry}: not an array; the entries of a .npz file end in .npy")]
    NotAnArray {
        /// The entry.
        entry: String,
    },
    /// An array that cannot be read.
    #[error("{array}: {problem}")]
    Array {
        /// Its name.
        array: String,
        /// What is wrong with it.
        problem: NpyProblem,
    },
}

/// Reads the arrays in the file at `path`, in the order of the archive.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: impl AsRef<Path>) -> Result<IndexMap<String, Tensor>, NpzError> {
    let path = path.as_ref();
    let open = || {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(NpzProblem::NotAFile);
        }
        read_from(BufReader::with_capacity(1 << 16, file), meta.len())
    };
    open().map_err(|problem| NpzError { path: path.into(), problem })
}

/// Reads a file of `size` bytes from `source`. An array takes at most the memory that its entry stands for: as many bytes
/// as in the file where it is stored, at most 1032 times as many where it is compressed, four times that for bytes that
/// become float32.
///
/// # Errors
/// What is wrong with the file.
pub fn read_from(mut source: impl Read + Seek, size: u64) -> Result<IndexMap<String, Tensor>, NpzProblem> {
    let mut head = Vec::with_capacity(8);
    source.by_ref().take(8).read_to_end(&mut head)?;
    if !head.starts_with(b"PK") {
        return Err(NpzProblem::NotNpz { found: sniff::content(&head) });
    }
    let mut archive = Archive::open(source, size)?;
    let entries: Vec<String> = archive.names().map(String::from).collect();
    let mut arrays = IndexMap::with_capacity(entries.len());
    for entry in entries {
        let Some(name) = entry.strip_suffix(EXTENSION) else {
            return Err(NpzProblem::NotAnArray { entry });
        };
        let content = archive.read(&entry)?;
        let array = npy::read_from(&content[..], content.len() as u64)
            .map_err(|problem| NpzProblem::Array { array: name.into(), problem })?;
        arrays.insert(name.into(), array);
    }
    Ok(arrays)
}

/// Writes `arrays` by name at `path` as float32, not compressed, beside what stands there until it is complete
/// ([`write_atomic`]).
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// When an array's shape does not go with its elements.
pub fn write<'a>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), WriteError> {
    write_atomic(path, |file| {
        let mut writer = Writer::new(file);
        for (name, array) in arrays {
            assert!(npy::is_whole(array), "{name}: shape {:?}", array.shape);
            writer.entry(&format!("{name}{EXTENSION}"), |target| npy::write_to(array, target))?;
        }
        writer.finish()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::zip::tests::archive;

    fn parse(bytes: &[u8]) -> Result<IndexMap<String, Tensor>, NpzProblem> {
        read_from(Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn reads_what_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npz");
        let arrays = [("image", Tensor::new([2, 1], [1.0, -2.5])), ("b", Tensor::new([], [3.0]))];
        write(&path, arrays.iter().map(|(name, array)| (*name, array))).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(
            back.iter().map(|(name, array)| (name.as_str(), array)).collect::<Vec<_>>(),
            [("image", &arrays[0].1), ("b", &arrays[1].1)]
        );
        write(&path, []).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }

    /// `numpy.savez("two.npz", x=numpy.float32([[1, -2.5]]), n=numpy.arange(3))` and the same with
    /// `savez_compressed`, both of NumPy 2.4.6.
    #[test]
    fn reads_what_numpy_writes() {
        for bytes in
            [&include_bytes!("../tests/npz/two.npz")[..], include_bytes!("../tests/npz/compressed.npz")]
        {
            let arrays = parse(bytes).unwrap();
            assert_eq!(arrays.len(), 2);
            assert_eq!(arrays["x"], Tensor::new([1, 2], [1.0, -2.5]));
            assert_eq!(arrays["n"], Tensor::new([3], [0.0, 1.0, 2.0]));
        }
    }

    #[test]
    fn tells_what_is_wrong() {
        for (bytes, what) in [
            (b"\x93NUMPY\x01\0".to_vec(), "not a .npz file but a NumPy array"),
            (b"PK\x03\x04 cut off".to_vec(), "no directory"),
            (archive(&[("x.txt", b"text")]), "x.txt: not an array"),
            (archive(&[("x.npy", b"text")]), "x: not a .npy file but text"),
        ] {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }
}
