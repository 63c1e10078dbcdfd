//! Named tensors in a `.safetensors` file, the format of <https://github.com/huggingface/safetensors>:
//! eight bytes of header length (little-endian), a JSON header, then the elements of all tensors end to end.
//!
//! The header is read and written here rather than by the `safetensors` crate, for two properties that crate
//! does not have: the same content always gives the same bytes, and an error names the tensor, the numbers
//! found and the numbers that would be right. The crate is the other side of the tests.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::atomic::{WriteError, remedy, write_atomic};
use crate::elements::{self, Dtype};

/// The longest header the format allows, in bytes.
pub const MAX_HEADER: u64 = 100_000_000;

const METADATA: &str = "__metadata__";

/// Elements in row-major order with their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many elements as the product of the sizes.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` with elements `data`.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Vec<f32>>) -> Self {
        Self { shape: shape.into(), data: data.into() }
    }
}

/// What one `.safetensors` file holds: text by key, and tensors by name in the order of the file.
///
/// Elements are float32 in memory and in files that are written; other floats, integers and booleans are converted
/// on reading, to nearest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Text by key, such as the notation of the network.
    pub metadata: BTreeMap<String, String>,
    /// The tensors by name; written in this order, and read in the order of their data.
    pub tensors: IndexMap<String, Tensor>,
}

/// What is wrong with a file, and with which.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct TensorFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a `.safetensors` file; all lengths and offsets in bytes.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be opened or read.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// The file cannot be written.
    #[error("{}{}", .0, remedy(.0))]
    Stream(#[source] io::Error),
    /// The file cannot be written; the error tells its path itself.
    #[error("cannot {}: {}{}", .0.step, .0.source, remedy(&.0.source))]
    Write(#[source] WriteError),
    /// A folder, pipe or device.
    #[error("not a regular file; give the .safetensors file itself")]
    NotAFile,
    /// Shorter than the length of the header.
    #[error("only {size} bytes long; a .safetensors file starts with the 8-byte length of its header")]
    TooShort {
        /// The length of the file.
        size: u64,
    },
    /// The first bytes are not those of a header.
    #[error("not a .safetensors file: {found}, where the header's JSON should begin with '{{'")]
    NotSafetensors {
        /// What was found instead.
        found: String,
    },
    /// The header ends behind the end of the file.
    #[error(
        "the header should be {length} bytes long, but only {present} follow: the file is cut off or not a \
         .safetensors file"
    )]
    HeaderCut {
        /// The length the file declares.
        length: u64,
        /// The bytes behind the length.
        present: u64,
    },
    /// The header is longer than the format allows.
    #[error("a header of {length} bytes; the format allows {MAX_HEADER}")]
    HeaderTooLong {
        /// The length of the header.
        length: u64,
    },
    /// The header is no JSON of the right form.
    #[error("the header is not what the format asks for: {0}")]
    Header(#[source] serde_json::Error),
    /// A tensor of elements that float32 cannot stand for.
    #[error(
        "{tensor}: elements of type {dtype}; floats of 16 bits and more, integers and booleans can be read, convert the \
         tensor first"
    )]
    Type {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: String,
    },
    /// The number of elements exceeds what can be addressed.
    #[error("{tensor}: shape {shape:?} has more elements than can be addressed")]
    TooManyElements {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The length of a tensor's data is not what shape and type ask for.
    #[error(
        "{tensor}: shape {shape:?} of {dtype} takes {needed} bytes, its offsets {begin}..{end} do not span them"
    )]
    Span {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its element type.
        dtype: &'static str,
        /// The bytes that shape and type ask for.
        needed: u64,
        /// Where its data begin.
        begin: u64,
        /// Where its data end.
        end: u64,
    },
    /// Two tensors share bytes.
    #[error("{tensor} begins at {begin}, inside {previous}, which ends at {expected}: they must not overlap")]
    Overlap {
        /// The tensor.
        tensor: String,
        /// The tensor before it.
        previous: String,
        /// Where the tensor begins.
        begin: u64,
        /// Where it should.
        expected: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("{tensor} begins at {begin}, but the data before it end at {expected}: there must be no gap")]
    Gap {
        /// The tensor.
        tensor: String,
        /// Where the tensor begins.
        begin: u64,
        /// Where it should.
        expected: u64,
    },
    /// The data end too early.
    #[error("the tensors take {needed} bytes, but only {present} follow the header: the file is cut off")]
    DataCut {
        /// The bytes all tensors take.
        needed: u64,
        /// The bytes behind the header.
        present: u64,
    },
    /// The data go on behind the last tensor.
    #[error(
        "{present} bytes follow the header, but the tensors take only {needed}: the file was changed or joined"
    )]
    DataLeft {
        /// The bytes all tensors take.
        needed: u64,
        /// The bytes behind the header.
        present: u64,
    },
    /// A tensor to be written has a name that the format keeps for itself.
    #[error("a tensor cannot be named '{METADATA}': the format keeps that name for its metadata")]
    ReservedName,
    /// A tensor to be written whose data and shape disagree.
    #[error("{tensor}: shape {shape:?} does not go with {len} elements")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of its elements.
        len: usize,
    },
}

impl TensorFile {
    /// Reads the file at `path`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TensorFileError> {
        let path = path.as_ref();
        let read = || {
            let file = File::open(path).map_err(Problem::Read)?;
            let meta = file.metadata().map_err(Problem::Read)?;
            if !meta.is_file() {
                return Err(Problem::NotAFile);
            }
            Self::read_from(BufReader::with_capacity(1 << 16, file), meta.len())
        };
        read().map_err(|problem| TensorFileError { path: path.to_path_buf(), problem })
    }

    /// Reads a file of `size` bytes from `source`. Memory is asked for only after the lengths that the file
    /// declares have been compared with `size`.
    pub fn read_from(mut source: impl Read, size: u64) -> Result<Self, Problem> {
        let (metadata, layout) = read_header(&mut source, size)?;
        let mut tensors = IndexMap::with_capacity(layout.len());
        for entry in layout {
            let data = entry.dtype.read(&mut source, entry.len).map_err(Problem::Read)?;
            tensors.insert(entry.name, Tensor { shape: entry.shape, data });
        }
        Ok(Self { metadata, tensors })
    }

    /// Writes the file at `path`, beside what stands there until it is complete ([`write_atomic`]).
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), TensorFileError> {
        let path = path.as_ref();
        let write = || {
            let header = self.header()?;
            write_atomic(path, |file| self.write_body(&header, file)).map_err(Problem::Write)
        };
        write().map_err(|problem| TensorFileError { path: path.to_path_buf(), problem })
    }

    /// Writes the bytes of the file to `target`.
    pub fn write_to(&self, target: &mut dyn Write) -> Result<(), Problem> {
        self.write_body(&self.header()?, target).map_err(Problem::Stream)
    }

    fn write_body(&self, header: &[u8], target: &mut dyn Write) -> io::Result<()> {
        target.write_all(header)?;
        self.tensors.values().try_for_each(|tensor| elements::write(&tensor.data, target))
    }

    /// The header with its length, padded with spaces so that the data begin at a multiple of eight.
    fn header(&self) -> Result<Vec<u8>, Problem> {
        let mut header = vec![0; 8];
        let mut json = serde_json::Serializer::new(&mut header);
        let mut map = json.serialize_map(None).map_err(Problem::Header)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, &self.metadata).map_err(Problem::Header)?;
        }
        let mut begin = 0;
        for (name, Tensor { shape, data }) in &self.tensors {
            if name == METADATA {
                return Err(Problem::ReservedName);
            }
            if elements::count(shape) != Some(data.len() as u64) {
                return Err(Problem::Shape { tensor: name.clone(), shape: shape.clone(), len: data.len() });
            }
            let end = begin + 4 * data.len() as u64;
            let info = Info { dtype: "F32".into(), shape: shape.clone(), data_offsets: [begin, end] };
            map.serialize_entry(name, &info).map_err(Problem::Header)?;
            begin = end;
        }
        map.end().map_err(Problem::Header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let length = header.len() as u64 - 8;
        if length > MAX_HEADER {
            return Err(Problem::HeaderTooLong { length });
        }
        header[..8].copy_from_slice(&length.to_le_bytes());
        Ok(header)
    }
}

/// The element types that can be read, by their names in the header.
const DTYPES: [(&str, Dtype); 13] = [
    ("F32", Dtype::F32),
    ("F16", Dtype::F16),
    ("BF16", Dtype::Bf16),
    ("F64", Dtype::F64),
    ("I8", Dtype::I8),
    ("U8", Dtype::U8),
    ("I16", Dtype::I16),
    ("U16", Dtype::U16),
    ("I32", Dtype::I32),
    ("U32", Dtype::U32),
    ("I64", Dtype::I64),
    ("U64", Dtype::U64),
    ("BOOL", Dtype::Bool),
];

/// A tensor as the header describes it.
#[derive(Deserialize, Serialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Info)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry for each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("'{name}' appears twice")));
                    }
                    if name == METADATA {
                        header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                    } else {
                        let info = map
                            .next_value()
                            .map_err(|error| A::Error::custom(format_args!("tensor '{name}': {error}")))?;
                        header.tensors.push((name, info));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// One tensor, checked against the file: its data follow those of the tensor before it.
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    /// Number of elements.
    len: usize,
}

fn read_header(source: &mut impl Read, size: u64) -> Result<(BTreeMap<String, String>, Vec<Entry>), Problem> {
    let Some(behind) = size.checked_sub(8) else {
        return Err(Problem::TooShort { size });
    };
    let mut length = [0; 8];
    source.read_exact(&mut length).map_err(Problem::Read)?;
    let mut first = [0];
    if behind > 0 {
        source.read_exact(&mut first).map_err(Problem::Read)?;
        if first != *b"{" {
            let found = crate::sniff::content(&length).map_or_else(
                || format!("byte {:#04x} at offset 8", first[0]),
                |kind| format!("it looks like {kind}"),
            );
            return Err(Problem::NotSafetensors { found });
        }
    }
    let length = u64::from_le_bytes(length);
    if length > behind || length == 0 {
        return Err(Problem::HeaderCut { length, present: behind });
    }
    if length > MAX_HEADER {
        return Err(Problem::HeaderTooLong { length });
    }
    let mut json = vec![0; length as usize];
    json[0] = first[0];
    source.read_exact(&mut json[1..]).map_err(Problem::Read)?;
    let header: Header = serde_json::from_slice(&json).map_err(Problem::Header)?;
    Ok((header.metadata, lay_out(header.tensors, behind - length)?))
}

/// Puts the tensors in the order of their data, which must fill the `present` bytes without gap or overlap.
fn lay_out(mut tensors: Vec<(String, Info)>, present: u64) -> Result<Vec<Entry>, Problem> {
    // Stable, so that empty tensors stay where they are in the header.
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut layout: Vec<Entry> = Vec::with_capacity(tensors.len());
    let mut expected = 0;
    for (tensor, Info { dtype, shape, data_offsets: [begin, end] }) in tensors {
        let Some(&(dtype, kind)) = DTYPES.iter().find(|(name, _)| *name == dtype) else {
            return Err(Problem::Type { tensor, dtype });
        };
        let bytes = |len: u64| Some((len, len.checked_mul(kind.size() as u64)?));
        let Some((len, needed)) = elements::count(&shape).and_then(bytes) else {
            return Err(Problem::TooManyElements { tensor, shape });
        };
        if end.checked_sub(begin) != Some(needed) {
            return Err(Problem::Span { tensor, shape, dtype, needed, begin, end });
        }
        if begin > expected {
            return Err(Problem::Gap { tensor, begin, expected });
        }
        if begin < expected {
            let previous = layout.last().map(|entry| entry.name.clone()).unwrap_or_default();
            return Err(Problem::Overlap { tensor, previous, begin, expected });
        }
        expected = end;
        layout.push(Entry { name: tensor, shape, dtype: kind, len: len as usize });
    }
    match expected {
        needed if needed > present => Err(Problem::DataCut { needed, present }),
        needed if needed < present => Err(Problem::DataLeft { needed, present }),
        _ => Ok(layout),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype as TheirDtype, TensorView};

    use super::*;

    fn sample() -> TensorFile {
        let mut file = TensorFile::default();
        for (key, value) in
            [("notation", "CONV-RELU \"quoted\"\n"), ("classes", "ä,b"), ("a", ""), ("z", "1")]
        {
            file.metadata.insert(key.into(), value.into());
        }
        for (name, shape, data) in [
            ("fc.weight", vec![2, 3], vec![1.0, -2.5, f32::MIN_POSITIVE, f32::INFINITY, -0.0, 1e-40]),
            ("none", vec![0, 3], vec![]),
            ("conv1.bias", vec![2], vec![0.1, 0.2]),
            ("scalar", vec![], vec![7.0]),
        ] {
            file.tensors.insert(name.into(), Tensor::new(shape, data));
        }
        file
    }

    fn bytes(file: &TensorFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.write_to(&mut bytes).unwrap();
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<TensorFile, Problem> {
        TensorFile::read_from(bytes, bytes.len() as u64)
    }

    /// A file of this header with `data` zero bytes behind it.
    fn with_header(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn reads_back_what_was_written_in_order() {
        let file = sample();
        let back = parse(&bytes(&file)).unwrap();
        assert_eq!(back, file);
        assert_eq!(back.tensors.keys().collect::<Vec<_>>(), file.tensors.keys().collect::<Vec<_>>());
        assert_eq!(back.tensors["fc.weight"].data[4].to_bits(), (-0.0f32).to_bits());
        assert_eq!(bytes(&back), bytes(&file), "the same content must give the same bytes");
        assert_eq!(parse(&bytes(&TensorFile::default())).unwrap(), TensorFile::default());
    }

    #[test]
    fn the_published_crate_reads_what_is_written() {
        let file = sample();
        let bytes = bytes(&file);
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.len(), file.tensors.len());
        for (name, tensor) in &file.tensors {
            let view = theirs.tensor(name).unwrap();
            assert_eq!((view.dtype(), view.shape()), (TheirDtype::F32, &tensor.shape[..]));
            let expected: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(view.data(), expected);
            assert_eq!(view.data().as_ptr() as usize % 4, bytes.as_ptr() as usize % 4);
        }
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata: BTreeMap<_, _> = metadata.metadata().clone().unwrap().into_iter().collect();
        assert_eq!(metadata, file.metadata);
    }

    #[test]
    fn reads_the_types_the_published_crate_writes() {
        let raw: [(&str, TheirDtype, Vec<u8>); 6] = [
            ("f16", TheirDtype::F16, [0x3c00u16, 0xc500].iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("bf16", TheirDtype::BF16, [0x3f80u16, 0xc0a0].iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("f32", TheirDtype::F32, [1.0f32, -5.0].iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("f64", TheirDtype::F64, [1.0f64, -5.0].iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("i64", TheirDtype::I64, [1i64, -5].iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("i8", TheirDtype::I8, vec![1, 0xfb]),
        ];
        let views =
            raw.iter().map(|(name, dtype, data)| (*name, TensorView::new(*dtype, vec![2], data).unwrap()));
        let info = HashMap::from([("key".to_string(), "value".to_string())]);
        let file = parse(&safetensors::serialize(views, Some(info)).unwrap()).unwrap();
        assert_eq!(file.metadata["key"], "value");
        assert_eq!(file.tensors.len(), 6);
        for (name, tensor) in &file.tensors {
            assert_eq!(*tensor, Tensor::new([2], [1.0, -5.0]), "{name}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = bytes(&sample());
        for cut in 0..whole.len() {
            let problem = parse(&whole[..cut]).expect_err("a truncated file was accepted");
            let expected = match cut {
                0..8 => matches!(problem, Problem::TooShort { .. }),
                _ => matches!(problem, Problem::HeaderCut { .. } | Problem::DataCut { .. }),
            };
            assert!(expected, "{cut}: {problem}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(matches!(parse(&longer), Err(Problem::DataLeft { .. })));
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_would_be_right() {
        let f32_at = |name: &str, shape: &str, begin: u64, end: u64| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
        };
        let two = |a: String, b: String| format!("{{{a},{b}}}");
        let one = |a: String| format!("{{{a}}}");
        for (json, data, expected) in [
            (
                two(f32_at("a", "[2]", 0, 8), f32_at("b", "[2]", 4, 12)),
                12,
                "b begins at 4, inside a, which ends at 8",
            ),
            (
                two(f32_at("a", "[2]", 0, 8), f32_at("b", "[1]", 12, 16)),
                16,
                "b begins at 12, but the data before it end at 8",
            ),
            (one(f32_at("a", "[1]", 4, 8)), 8, "end at 0"),
            (one(f32_at("a", "[2,3]", 0, 20)), 20, "shape [2, 3] of F32 takes 24 bytes, its offsets 0..20"),
            (one(f32_at("a", "[1]", 8, 4)), 8, "offsets 8..4"),
            (one(f32_at("a", "[4294967296,4294967296]", 0, 0)), 0, "more elements"),
            (one(f32_at("a", "[4611686018427387904]", 0, 0)), 0, "more elements"),
            (
                one(f32_at("a", "[1000000000000]", 0, 4000000000000)),
                4,
                "take 4000000000000 bytes, but only 4 follow",
            ),
            (one(f32_at("a", "[-1]", 0, 4)), 4, "tensor 'a': invalid value"),
            (two(f32_at("a", "[1]", 0, 4), f32_at("a", "[1]", 0, 4)), 4, "'a' appears twice"),
            (one(r#""a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}"#.into()), 8, "type C64; floats of"),
            (one(r#""a":{"shape":[1],"data_offsets":[0,8]}"#.into()), 8, "missing field `dtype`"),
            (one(r#""__metadata__":{"a":1}"#.into()), 0, "expected a string"),
            ("{".repeat(100_000), 0, "header is not what"),
            (format!(r#"{{"a":{}"#, "[".repeat(100_000)), 0, "header is not what"),
            ("[]".into(), 0, "offset 8"),
        ] {
            let text = parse(&with_header(&json, data)).expect_err(&json).to_string();
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_declared_length_asks_for_no_memory() {
        for length in [u64::MAX, 1 << 62, 1 << 40, 101_000_000] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(b"{\"a\":1}");
            assert!(matches!(parse(&bytes), Err(Problem::HeaderCut { present: 7, .. })));
        }
        let size = MAX_HEADER * 2;
        let source = (MAX_HEADER + 1).to_le_bytes().into_iter().chain(*b"{").collect::<Vec<_>>();
        assert!(matches!(TensorFile::read_from(&source[..], size), Err(Problem::HeaderTooLong { .. })));
    }

    #[test]
    fn other_kinds_of_file_are_named() {
        for (head, kind) in [
            (&b"\x89PNG\r\n\x1a\n rest of an image"[..], "a PNG image"),
            (b"PK\x03\x04 an archive of some kind", "a ZIP archive"),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        ] {
            let text = parse(head).unwrap_err().to_string();
            assert!(text.contains(kind), "{text}");
        }
    }

    #[test]
    fn files_are_read_and_written_with_their_path_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        sample().write(&path).unwrap();
        assert_eq!(TensorFile::read(&path).unwrap(), sample());

        let mut bad = sample();
        bad.tensors.insert("bad".into(), Tensor::new([3], [1.0]));
        let text = bad.write(&path).unwrap_err().to_string();
        assert!(text.contains("net.safetensors: bad: shape [3] does not go with 1 elements"), "{text}");
        bad.tensors.shift_remove("bad");
        bad.tensors.insert(METADATA.into(), Tensor::new([0], []));
        assert!(matches!(bad.write(&path).unwrap_err().problem, Problem::ReservedName));
        assert_eq!(TensorFile::read(&path).unwrap(), sample(), "a refused write must leave the old file");

        let text = TensorFile::read(folder.path()).unwrap_err().to_string();
        assert!(text.contains("not a regular file"), "{text}");
        let text = TensorFile::read(folder.path().join("no")).unwrap_err().to_string();
        assert!(text.contains("no: cannot read"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_as_one() {
        let text = sample().write("/dev/full").unwrap_err().to_string();
        assert!(text.starts_with("/dev/full: cannot write") && text.contains("free some space"), "{text}");
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(matches!(sample().write_to(&mut full), Err(Problem::Stream(_))));
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut bytes = bytes(&sample());
            for (index, value) in edits {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(file) = parse(&bytes) {
                prop_assert!(file.tensors.values().all(|t| elements::count(&t.shape) == Some(t.data.len() as u64)));
            }
        }

        #[test]
        fn mutated_headers_never_panic(at in 0usize..60, len in 0usize..8, text in "[\\[\\]{}\",:0-9a-z]{0,6}") {
            let mut json = r#"{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}    "#.to_string();
            json.replace_range(at..(at + len).min(json.len()), &text);
            if let Ok(file) = parse(&with_header(&json, 8)) {
                prop_assert!(file.tensors.values().all(|t| elements::count(&t.shape) == Some(t.data.len() as u64)));
            }
        }

        #[test]
        fn any_content_comes_back(
            metadata in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
            tensors in prop::collection::btree_map("[a-z.\"\\\\]{1,8}", prop::collection::vec(any::<f32>(), 0..40), 0..5),
        ) {
            let tensors = tensors.into_iter().map(|(name, data)| (name, Tensor::new([data.len()], data)));
            let file = TensorFile { metadata, tensors: tensors.collect() };
            let once = bytes(&file);
            let back = parse(&once).unwrap();
            prop_assert_eq!(&back.metadata, &file.metadata);
            prop_assert_eq!(bytes(&back), once);
        }
    }
}
