//! Arrays of bytes in IDX files, the format of MNIST, plain or gzipped
//! (<http://yann.lecun.com/exdb/mnist/>, "The IDX file format").
//!
//! Two zero bytes, the element type, the number of dimensions, each dimension as a big-endian u32, the elements.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use striate_interop::sniff;
use thiserror::Error;

/// The most elements a file may declare.
pub const MAX_ELEMENTS: u64 = 1 << 32;

/// No gzip file grows by more than this when it is expanded: a deflate symbol of two bits stands for at most
/// 258 bytes.
const MAX_EXPANSION: u64 = 1032;

const UNSIGNED_BYTE: u8 = 0x08;

/// An array of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The sizes, outermost first.
    pub dims: Vec<usize>,
    /// The elements in row-major order.
    pub data: Vec<u8>,
}

/// What is wrong with an IDX file, and with which.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct IdxError {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with an IDX file.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read, or its gzip stream is damaged.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file")]
    NotAFile,
    /// The file does not begin as IDX does.
    #[error(
        "not an IDX file: it begins with {first:02x?}{}, IDX with two zero bytes, the type and the rank",
        kind.map(|kind| format!(" ({kind})")).unwrap_or_default()
    )]
    Magic {
        /// The first bytes.
        first: [u8; 4],
        /// What kind of file begins so.
        kind: Option<&'static str>,
    },
    /// Elements that are not unsigned bytes.
    #[error("elements of type {found:#04x} ({}); only unsigned bytes (0x08) can be read", type_name(*found))]
    Type {
        /// The type that the file declares.
        found: u8,
    },
    /// Labels in place of images, or something else again.
    #[error(
        "{found} dimensions, where {expected} are needed: images have 3 (count, height, width), labels have 1; \
         were the two files swapped?"
    )]
    Rank {
        /// The number of dimensions the file declares.
        found: u8,
        /// The number needed.
        expected: u8,
    },
    /// More elements than anyone has images.
    #[error("dimensions {dims:?} are more than {MAX_ELEMENTS} elements")]
    TooLarge {
        /// The sizes that the file declares.
        dims: Vec<usize>,
    },
    /// The file ends inside its header.
    #[error("cut off inside the header, after {present} of {needed} bytes")]
    HeaderCut {
        /// The bytes there are.
        present: u64,
        /// The bytes of a header of this rank.
        needed: u64,
    },
    /// The file ends before its last element.
    #[error("dimensions {dims:?} ask for {needed} bytes, the file holds {present}: it is cut off")]
    DataCut {
        /// The sizes that the file declares.
        dims: Vec<usize>,
        /// Their product.
        needed: u64,
        /// The bytes there are; of a gzipped file at most so many.
        present: u64,
    },
    /// The file goes on behind its last element.
    #[error("dimensions {dims:?} ask for {needed} bytes, but the file goes on behind them")]
    DataLeft {
        /// The sizes that the file declares.
        dims: Vec<usize>,
        /// Their product.
        needed: u64,
    },
    /// A data set of nothing, or of images without pixels.
    #[error("dimensions {dims:?}: there is nothing in it")]
    Empty {
        /// The sizes that the file declares.
        dims: Vec<usize>,
    },
    /// As many labels as images are needed.
    #[error("{labels} labels, but {images} images in {images_file}")]
    Count {
        /// The number of labels.
        labels: usize,
        /// The number of images.
        images: usize,
        /// The file of the images.
        images_file: String,
    },
    /// A label that names no class.
    #[error("label {index} is {value}, but there are {classes} classes (0 to {})", classes - 1)]
    Label {
        /// Which label, from 0.
        index: usize,
        /// Its value.
        value: u8,
        /// The number of classes.
        classes: usize,
    },
}

fn type_name(code: u8) -> &'static str {
    match code {
        0x09 => "signed bytes",
        0x0B => "16-bit integers",
        0x0C => "32-bit integers",
        0x0D => "float32",
        0x0E => "float64",
        _ => "unknown",
    }
}

/// Where an IDX file comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file on disk.
    Path(&'a Path),
    /// Bytes with a name for errors.
    Bytes(&'a str, &'a [u8]),
}

impl Source<'_> {
    /// Its name in errors.
    pub fn name(&self) -> String {
        match self {
            Source::Path(path) => path.display().to_string(),
            Source::Bytes(name, _) => (*name).to_string(),
        }
    }

    /// Reads an array of `rank` dimensions; what begins like gzip is expanded.
    pub fn read(&self, rank: u8) -> Result<Idx, IdxError> {
        let idx = match self {
            Source::Path(path) => open(path).and_then(|(file, size)| expand(file, size, rank)),
            Source::Bytes(_, bytes) => expand(*bytes, bytes.len() as u64, rank),
        };
        idx.map_err(|problem| self.error(problem))
    }

    fn error(&self, problem: Problem) -> IdxError {
        IdxError { file: self.name(), problem }
    }
}

/// Images (count, height, width) and their labels, each less than `classes` if that is given.
pub fn read_pair(images: Source, labels: Source, classes: Option<usize>) -> Result<(Idx, Vec<u8>), IdxError> {
    let pictures = images.read(3)?;
    if pictures.data.is_empty() {
        return Err(images.error(Problem::Empty { dims: pictures.dims }));
    }
    let values = labels.read(1)?.data;
    let count = pictures.dims[0];
    if values.len() != count {
        let images_file = images.name();
        return Err(labels.error(Problem::Count { labels: values.len(), images: count, images_file }));
    }
    let outside = |value: &u8| classes.is_some_and(|classes| usize::from(*value) >= classes);
    if let (Some(index), Some(classes)) = (values.iter().position(outside), classes) {
        return Err(labels.error(Problem::Label { index, value: values[index], classes }));
    }
    Ok((pictures, values))
}

fn open(path: &Path) -> Result<(BufReader<File>, u64), Problem> {
    let file = File::open(path).map_err(Problem::Read)?;
    let meta = file.metadata().map_err(Problem::Read)?;
    if !meta.is_file() {
        return Err(Problem::NotAFile);
    }
    Ok((BufReader::with_capacity(1 << 16, file), meta.len()))
}

fn expand(mut source: impl BufRead, size: u64, rank: u8) -> Result<Idx, Problem> {
    if source.fill_buf().map_err(Problem::Read)?.starts_with(&[0x1f, 0x8b]) {
        // Sixteen-fold is more than pictures shrink; what grows beyond it is paid for as it arrives.
        parse(MultiGzDecoder::new(source), size.saturating_mul(MAX_EXPANSION), size.saturating_mul(16), rank)
    } else {
        parse(source, size, size, rank)
    }
}

/// Reads at most `bound` bytes, asking for memory for `likely` before they have arrived.
fn parse(mut source: impl Read, bound: u64, likely: u64, rank: u8) -> Result<Idx, Problem> {
    let mut header = Vec::with_capacity(16);
    let needed = 4 + 4 * u64::from(rank);
    read_up_to(&mut source, needed, &mut header)?;
    if let Some(&first) = header.first_chunk::<4>() {
        if first[..2] != [0, 0] {
            return Err(Problem::Magic { first, kind: sniff::content(&header) });
        }
        if first[2] != UNSIGNED_BYTE {
            return Err(Problem::Type { found: first[2] });
        }
        if first[3] != rank {
            return Err(Problem::Rank { found: first[3], expected: rank });
        }
    }
    if (header.len() as u64) < needed {
        return Err(Problem::HeaderCut { present: header.len() as u64, needed });
    }
    let sizes = header[4..].as_chunks().0.iter().map(|size| u32::from_be_bytes(*size));
    let dims: Vec<usize> = sizes.clone().map(|size| size as usize).collect();
    let elements = sizes.map(u64::from).try_fold(1, u64::checked_mul);
    let Some(needed) = elements.filter(|elements| *elements <= MAX_ELEMENTS) else {
        return Err(Problem::TooLarge { dims });
    };
    let bound = bound.saturating_sub(header.len() as u64);
    if needed > bound {
        return Err(Problem::DataCut { dims, needed, present: bound });
    }
    let mut data = Vec::with_capacity(needed.min(likely) as usize);
    read_up_to(&mut source, needed, &mut data)?;
    if (data.len() as u64) < needed {
        return Err(Problem::DataCut { dims, needed, present: data.len() as u64 });
    }
    // Reading on to the end also has gzip compare its checksum, and notice if that is missing.
    let mut behind = Vec::new();
    source.take(1).read_to_end(&mut behind).map_err(Problem::Read)?;
    if !behind.is_empty() {
        return Err(Problem::DataLeft { dims, needed });
    }
    Ok(Idx { dims, data })
}

/// Appends what `source` gives, at most `limit` bytes; an end that comes too soon is no error here.
fn read_up_to(source: &mut impl Read, limit: u64, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    match source.take(limit).read_to_end(bytes) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(Problem::Read(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], rank: u8) -> Result<Idx, Problem> {
        Source::Bytes("x", bytes).read(rank).map_err(|error| error.problem)
    }

    fn images() -> Vec<u8> {
        idx(8, &[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    }

    #[test]
    fn reads_plain_and_gzipped() {
        for bytes in [images(), gzip(&images())] {
            let idx = read(&bytes, 3).unwrap();
            assert_eq!((idx.dims, idx.data), (vec![2, 2, 3], (1..=12).collect::<Vec<u8>>()));
        }
        // gzip allows several members in one file.
        let members = [gzip(&images()[..9]), gzip(&images()[9..])];
        assert_eq!(read(&members.concat(), 3).unwrap().data.len(), 12);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for whole in [images(), gzip(&images())] {
            for cut in 0..whole.len() {
                read(&whole[..cut], 3).expect_err("a truncated file was accepted");
            }
        }
        assert!(matches!(read(&images()[..9], 3), Err(Problem::HeaderCut { present: 9, needed: 16 })));
        assert!(matches!(read(&images()[..20], 3), Err(Problem::DataCut { needed: 12, present: 4, .. })));
        assert!(matches!(read(&[images(), vec![0]].concat(), 3), Err(Problem::DataLeft { needed: 12, .. })));
        assert!(matches!(read(&[], 3), Err(Problem::HeaderCut { present: 0, needed: 16 })));
    }

    #[test]
    fn a_damaged_gzip_stream_is_noticed() {
        let mut bytes = gzip(&images());
        let crc = bytes.len() - 8;
        bytes[crc] ^= 1;
        assert!(matches!(read(&bytes, 3), Err(Problem::Read(_))));
    }

    #[test]
    fn errors_say_what_was_found() {
        for (bytes, rank, expected) in [
            (b"\x89PNG\r\n\x1a\n and more than that".to_vec(), 3, "(a PNG image)"),
            (gzip(b"<!DOCTYPE html> not found"), 3, "HTML"),
            (idx(0x0d, &[1], &[0; 4]), 1, "type 0x0d (float32)"),
            (idx(8, &[3], &[0; 3]), 3, "1 dimensions, where 3 are needed"),
            (idx(8, &[u32::MAX; 3], &[]), 3, "more than 4294967296 elements"),
            (idx(8, &[1000, 1000, 1000], &[]), 3, "ask for 1000000000 bytes, the file holds 0"),
        ] {
            let text = read(&bytes, rank).unwrap_err().to_string();
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_gzip_file_cannot_promise_more_than_gzip_can_hold() {
        let bytes = gzip(&idx(8, &[4000, 1000, 1000], &[]));
        assert!(matches!(read(&bytes, 3), Err(Problem::DataCut { present: 0..100_000, .. })));
        // What a bomb expands to behind the declared size is not read.
        let bomb = gzip(&[idx(8, &[1, 1, 1], &[5]), vec![0; 1 << 24]].concat());
        assert!(matches!(read(&bomb, 3), Err(Problem::DataLeft { needed: 1, .. })));
    }

    #[test]
    fn pairs_must_go_together() {
        let images = images();
        let pair = |labels: &[u8], classes| {
            let labels = idx(8, &[labels.len() as u32], labels);
            read_pair(Source::Bytes("images", &images), Source::Bytes("labels", &labels), classes)
        };
        assert_eq!(pair(&[3, 9], Some(10)).unwrap().1, [3, 9]);
        assert_eq!(pair(&[3, 200], None).unwrap().1, [3, 200]);
        let text = pair(&[3], Some(10)).unwrap_err().to_string();
        assert_eq!(text, "labels: 1 labels, but 2 images in images");
        let text = pair(&[3, 10], Some(10)).unwrap_err().to_string();
        assert_eq!(text, "labels: label 1 is 10, but there are 10 classes (0 to 9)");
        let empty = idx(8, &[0, 28, 28], &[]);
        let error = read_pair(Source::Bytes("images", &empty), Source::Bytes("labels", &empty), None);
        assert!(matches!(error.unwrap_err().problem, Problem::Empty { .. }));
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(gz: bool, at: prop::sample::Index, value: u8) {
            let mut bytes = if gz { gzip(&images()) } else { images() };
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Ok(idx) = read(&bytes, 3) {
                prop_assert_eq!(idx.dims.iter().product::<usize>(), idx.data.len());
            }
        }
    }
}
