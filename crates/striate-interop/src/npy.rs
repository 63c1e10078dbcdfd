//! An array in a `.npy` file, [NumPy's format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html):
//! a signature, a header that is a Python dictionary of element type, order and shape, then the elements.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::atomic::{WriteError, write_atomic};
use crate::elements::{self, Dtype};
use crate::{Tensor, sniff};

const SIGNATURE: &[u8] = b"\x93NUMPY";
/// The header and all before it end at a multiple of this.
const ALIGNMENT: usize = 64;
/// The longest header that is read, in bytes; one takes about a hundred.
const MAX_HEADER: usize = 1 << 16;
/// The element types that can be read, by their names in the header.
const DTYPES: [(&str, Dtype); 12] = [
    ("<f4", Dtype::F32),
    ("<f2", Dtype::F16),
    ("<f8", Dtype::F64),
    ("|i1", Dtype::I8),
    ("|u1", Dtype::U8),
    ("<i2", Dtype::I16),
    ("<u2", Dtype::U16),
    ("<i4", Dtype::I32),
    ("<u4", Dtype::U32),
    ("<i8", Dtype::I64),
    ("<u8", Dtype::U64),
    ("|b1", Dtype::Bool),
];

/// What is wrong with a file, and with which.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct NpyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: NpyProblem,
}

/// What can be wrong with a `.npy` file; lengths in bytes.
#[derive(Debug, Error)]
pub enum NpyProblem {
    /// The file cannot be opened or read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file; give the .npy file itself")]
    NotAFile,
    /// The first bytes are not those of the format.
    #[error("not a .npy file{}; save one array with numpy.save", .found.map_or(String::new(), |kind| format!(" but {kind}")))]
    NotNpy {
        /// What it seems to be.
        found: Option<&'static str>,
    },
    /// A version of the format that came later.
    #[error(".npy format {major}; only 1, 2 and 3 are known")]
    Version {
        /// The version.
        major: u8,
    },
    /// The header is longer than a description of an array can be.
    #[error("a header of {length} bytes; at most {MAX_HEADER} are read")]
    HeaderTooLong {
        /// The length of the header.
        length: u32,
    },
    /// The header lacks something or has it in another form.
    #[error("no {what} in the header {header:?}")]
    Header {
        /// What is missing.
        what: &'static str,
        /// The header.
        header: String,
    },
    /// Elements of another type.
    #[error(
        "elements of type {dtype}; only little-endian floats, integers and booleans can be read: convert with \
         x.astype('<f4')"
    )]
    Type {
        /// The type.
        dtype: String,
    },
    /// The first index runs fastest.
    #[error("elements in Fortran's order; save numpy.ascontiguousarray(x)")]
    Fortran,
    /// The elements are not as many as the shape says.
    #[error("shape {shape:?} of {dtype} does not go with the {present} bytes that follow the header")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// The type of the elements.
        dtype: &'static str,
        /// The bytes behind the header.
        present: u64,
    },
}

/// Reads the array in the file at `path`; its elements are little-endian numbers in C order, and become float32.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor, NpyError> {
    let path = path.as_ref();
    let open = || {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(NpyProblem::NotAFile);
        }
        read_from(BufReader::with_capacity(1 << 16, file), meta.len())
    };
    open().map_err(|problem| NpyError { path: path.into(), problem })
}

/// Reads a file of `size` bytes from `source`. Memory is asked for only after the shape has been compared with `size`.
///
/// # Errors
/// What is wrong with the file.
pub fn read_from(mut source: impl Read, size: u64) -> Result<Tensor, NpyProblem> {
    let mut head = Vec::with_capacity(12);
    source.by_ref().take(8).read_to_end(&mut head)?;
    let Some([major, _]) = head.strip_prefix(SIGNATURE) else {
        return Err(NpyProblem::NotNpy { found: sniff::content(&head) });
    };
    let mut length = [0; 4];
    let wide = match major {
        1 => 2,
        2 | 3 => 4,
        major => return Err(NpyProblem::Version { major: *major }),
    };
    source.read_exact(&mut length[..wide])?;
    let length = u32::from_le_bytes(length);
    if length as usize > MAX_HEADER {
        return Err(NpyProblem::HeaderTooLong { length });
    }
    let mut header = vec![0; length as usize];
    source.read_exact(&mut header)?;
    let (dtype, shape) = describe(&String::from_utf8_lossy(&header))?;
    let present = size.saturating_sub(8 + wide as u64 + u64::from(length));
    let (name, dtype) = dtype;
    let len = elements::count(&shape).filter(|len| len.checked_mul(dtype.size() as u64) == Some(present));
    let Some(len) = len else {
        return Err(NpyProblem::Length { shape, dtype: name, present });
    };
    Ok(Tensor { data: dtype.read(&mut source, len as usize)?, shape })
}

/// Writes `array` at `path` as float32, beside what stands there until it is complete ([`write_atomic`]).
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// When the array's shape does not go with its elements.
pub fn write(path: impl AsRef<Path>, array: &Tensor) -> Result<(), WriteError> {
    assert!(is_whole(array), "shape {:?}", array.shape);
    write_atomic(path, |file| write_to(array, file))
}

/// Writes the bytes of a file; the array's shape goes with its elements.
pub(crate) fn write_to(array: &Tensor, target: &mut dyn io::Write) -> io::Result<()> {
    target.write_all(&header(&array.shape))?;
    elements::write(&array.data, target)
}

/// Whether an array has as many elements as its shape says.
pub(crate) fn is_whole(array: &Tensor) -> bool {
    elements::count(&array.shape) == Some(array.data.len() as u64)
}

/// Everything before the elements.
fn header(shape: &[usize]) -> Vec<u8> {
    // A tuple of one needs its comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    let before = SIGNATURE.len() + 4;
    let padded = (before + text.len() + 1).next_multiple_of(ALIGNMENT) - before;
    let [low, high, ..] = padded.to_le_bytes();
    let mut header = [SIGNATURE, &[1, 0, low, high]].concat();
    header.extend(format!("{text:<width$}\n", width = padded - 1).bytes());
    header
}

/// The type and the shape in a header such as `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn describe(header: &str) -> Result<((&'static str, Dtype), Vec<usize>), NpyProblem> {
    let missing = |what| move || NpyProblem::Header { what, header: header.trim_end().into() };
    let value = |key| header.split_once(key).map(|(_, rest)| rest.trim_start());
    let descr = value("'descr':").ok_or_else(missing("'descr'"))?;
    let name = descr.split('\'').nth(1).filter(|_| descr.starts_with('\'')).unwrap_or(descr);
    let dtype = DTYPES.into_iter().find(|(known, _)| *known == name);
    let dtype = dtype.ok_or_else(|| NpyProblem::Type { dtype: name.trim_end().into() })?;
    if value("'fortran_order':").ok_or_else(missing("'fortran_order'"))?.starts_with("True") {
        return Err(NpyProblem::Fortran);
    }
    let sizes = value("'shape':").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let (sizes, _) = sizes.ok_or_else(missing("'shape'"))?;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes.map(|size| size.parse().ok()).collect::<Option<Vec<usize>>>();
    Ok((dtype, shape.ok_or_else(missing("'shape' of whole numbers"))?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(array: &Tensor) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_to(array, &mut bytes).unwrap();
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Tensor, NpyProblem> {
        read_from(bytes, bytes.len() as u64)
    }

    /// A file of format 1 with this header and `data` behind it.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [SIGNATURE, &[1, 0], &len, header.as_bytes(), data].concat()
    }

    #[test]
    fn reads_what_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        for shape in [vec![], vec![3], vec![2, 0], vec![2, 3, 4]] {
            let len: usize = shape.iter().product();
            let array = Tensor::new(shape, (0..len).map(|at| at as f32 - 0.5).collect::<Vec<_>>());
            let path = dir.path().join("x.npy");
            write(&path, &array).unwrap();
            assert_eq!(read(&path).unwrap(), array);
            assert_eq!(header(&array.shape).len() % ALIGNMENT, 0);
        }
    }

    /// The bytes that `numpy.save` of version 2.4 writes for the float64 array `[[1.0, -2.5]]`.
    #[test]
    fn reads_what_numpy_writes() {
        let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }";
        let header = format!("{text:<117}\n");
        let data = [1.0f64, -2.5].map(f64::to_le_bytes).concat();
        assert_eq!(parse(&file(&header, &data)).unwrap(), Tensor::new([1, 2], [1.0, -2.5]));
        let mine = String::from_utf8(super::header(&[1, 2])[10..].to_vec()).unwrap();
        assert_eq!(mine, header.replace("f8", "f4"));
        assert!(String::from_utf8_lossy(&super::header(&[7])).contains("'shape': (7,), }"));
    }

    #[test]
    fn tells_what_is_wrong() {
        let dict = |descr: &str, fortran: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), &[0; 8])
        };
        for (bytes, what) in [
            (b"\x89PNG\r\n\x1a\n".to_vec(), "not a .npy file but a PNG image"),
            (b"\x93NUM".to_vec(), "not a .npy file"),
            (b"\x93NUMPY\x04\0\0\0".to_vec(), "format 4"),
            (b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(), "a header of 4294967295 bytes"),
            (file("{}", &[]), "no 'descr' in the header \"{}\""),
            (dict("'<c8'", "False", "(1,)"), "type <c8"),
            (dict("'>f4'", "False", "(1,)"), "type >f4"),
            (dict("[('a', '<f4')]", "False", "(1,)"), "type [('a'"),
            (dict("'<f4'", "True", "(2,)"), "Fortran"),
            (dict("'<f4'", "False", "(3,)"), "shape [3] of <f4 does not go with the 8 bytes"),
            (dict("'<f4'", "False", "(9223372036854775807, 4)"), "does not go with"),
            (dict("'<f4'", "False", "(-2,)"), "no 'shape' of whole numbers"),
            (dict("'<f4'", "False", "2"), "no 'shape'"),
        ] {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
        assert!(parse(&dict("'<f4'", "False", "(2,)")).is_ok());
    }

    proptest! {
        #[test]
        fn broken_files_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = bytes(&Tensor::new([2, 3], [1.0; 6]));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(array) = parse(&bytes) {
                prop_assert_eq!(elements::count(&array.shape), Some(array.data.len() as u64));
            }
        }
    }
}
