//! Tensors whose elements are known: initialisers, and what is computed from shapes and from them.

use super::error::Problem;
use super::proto;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The most elements that a tensor may have: 256 GiB of floats is beyond any network.
const MAX_ELEMENTS: usize = 1 << 36;

/// The type of a tensor's elements. Floats of any width are float32 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Floats.
    Float,
    /// 0 or 1.
    Bool,
    /// Whole numbers.
    Int {
        /// 8, 16, 32 or 64.
        bits: u8,
        /// Whether there are negative ones.
        signed: bool,
    },
}

/// Sizes, indices, axes.
pub(crate) const INT64: Kind = Kind::Int { bits: 64, signed: true };

/// ONNX's numbers of element types that are read: number, name, kind, bytes.
const TYPES: [(i64, &str, Kind, usize); 13] = [
    (1, "float", Kind::Float, 4),
    (2, "uint8", Kind::Int { bits: 8, signed: false }, 1),
    (3, "int8", Kind::Int { bits: 8, signed: true }, 1),
    (4, "uint16", Kind::Int { bits: 16, signed: false }, 2),
    (5, "int16", Kind::Int { bits: 16, signed: true }, 2),
    (6, "int32", Kind::Int { bits: 32, signed: true }, 4),
    (7, "int64", INT64, 8),
    (9, "bool", Kind::Bool, 1),
    (FLOAT16, "float16", Kind::Float, 2),
    (11, "double", Kind::Float, 8),
    (12, "uint32", Kind::Int { bits: 32, signed: false }, 4),
    (13, "uint64", Kind::Int { bits: 64, signed: false }, 8),
    (BFLOAT16, "bfloat16", Kind::Float, 2),
];

const FLOAT16: i64 = 10;
const BFLOAT16: i64 = 16;
/// ONNX's number of float32.
pub(crate) const FLOAT: i64 = 1;

/// What ONNX's number of an element type means.
pub(crate) fn kind(data_type: i64) -> Result<Kind, Problem> {
    row(data_type).map(|(_, _, kind, _)| *kind)
}

fn row(data_type: i64) -> Result<&'static (i64, &'static str, Kind, usize), Problem> {
    TYPES.iter().find(|(number, ..)| *number == data_type).ok_or(Problem::ElementType { data_type })
}

/// A whole number, or a multiple of the batch size, which is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int {
    /// The number; of 64 bits without sign, its bits.
    Known(i64),
    /// So many times the batch size.
    Batch(i64),
}

impl Int {
    /// Its value, where it is known.
    pub(crate) fn known(self) -> Option<i64> {
        match self {
            Int::Known(value) => Some(value),
            Int::Batch(_) => None,
        }
    }
}

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Floats.
    Floats(Vec<f32>),
    /// Whole numbers, or 0 and 1.
    Ints(Vec<Int>),
}

/// A tensor whose elements are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The type of its elements.
    pub kind: Kind,
    /// Its dimensions, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
    /// As many elements as the product of the dimensions.
    pub data: Data,
}

impl Constant {
    /// Floats.
    pub(crate) fn floats(dims: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        Self { kind: Kind::Float, dims: dims.into(), data: Data::Floats(data) }
    }

    /// A vector of sizes.
    pub(crate) fn sizes(data: Vec<Int>) -> Self {
        Self { kind: INT64, dims: vec![data.len()], data: Data::Ints(data) }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The floats, where it holds such.
    pub(crate) fn as_floats(&self) -> Option<&[f32]> {
        match &self.data {
            Data::Floats(data) => Some(data),
            Data::Ints(_) => None,
        }
    }

    /// The whole numbers, where it holds such and all are known.
    pub(crate) fn known_ints(&self) -> Option<Vec<i64>> {
        match &self.data {
            Data::Ints(data) => data.iter().map(|int| int.known()).collect(),
            Data::Floats(_) => None,
        }
    }

    /// The one float, where all elements are the same.
    pub(crate) fn uniform(&self) -> Option<f32> {
        let data = self.as_floats()?;
        let first = *data.first()?;
        data.iter().all(|value| *value == first).then_some(first)
    }

    /// Elements by their index, in another shape of as many elements as there are indices.
    pub(crate) fn pick(&self, dims: Vec<usize>, indices: impl Iterator<Item = usize>) -> Self {
        let data = match &self.data {
            Data::Floats(data) => Data::Floats(indices.map(|index| data[index]).collect()),
            Data::Ints(data) => Data::Ints(indices.map(|index| data[index]).collect()),
        };
        Self { kind: self.kind, dims, data }
    }

    /// The same elements in another shape of as many; as it is where that has more or fewer.
    pub(crate) fn reshaped(&self, dims: Vec<usize>) -> Self {
        if dims.iter().product::<usize>() != self.len() {
            return self.clone();
        }
        Self { dims, ..self.clone() }
    }

    /// The elements with axes in another order: axis `i` of the result is axis `order[i]`.
    pub(crate) fn transposed(&self, order: &[usize]) -> Self {
        let from = strides(&self.dims);
        let dims: Vec<usize> = order.iter().map(|axis| self.dims[*axis]).collect();
        let steps: Vec<usize> = order.iter().map(|axis| from[*axis]).collect();
        self.pick(dims.clone(), offsets(&dims, &steps))
    }

    /// Reads the tensor; elements in another file are looked for in `folder`.
    pub(crate) fn read(tensor: &proto::Tensor<'_>, folder: Option<&Path>) -> Result<Self, Problem> {
        let (_, name, kind, size) = row(tensor.data_type)?;
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let dims = dims.ok_or_else(|| Problem::Dims { dims: tensor.dims.clone() })?;
        let len = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
        let len = len
            .filter(|len| *len <= MAX_ELEMENTS)
            .ok_or_else(|| Problem::Dims { dims: tensor.dims.clone() })?;
        let needed = len * size;
        let wrong = |present: usize| Problem::Bytes { dims: dims.clone(), kind: name, needed, present };
        let data = if let Some(entries) = &tensor.external {
            decode(tensor.data_type, &external(entries, folder, needed)?)
        } else if let Some(raw) = &tensor.raw {
            if raw.len() != needed {
                return Err(wrong(raw.len()));
            }
            decode(tensor.data_type, raw)
        } else {
            let data = typed(tensor, *kind);
            let present = match &data {
                Data::Floats(data) => data.len(),
                Data::Ints(data) => data.len(),
            };
            if present != len {
                return Err(Problem::Elements { dims, needed: len, present });
            }
            data
        };
        Ok(Self { kind: *kind, dims, data })
    }
}

/// Elements as bytes of the type.
fn decode(data_type: i64, bytes: &[u8]) -> Data {
    fn each<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|element| convert(*element)).collect()
    }
    use crate::elements::f16_to_f32;
    match data_type {
        FLOAT => Data::Floats(each(bytes, f32::from_le_bytes)),
        FLOAT16 => Data::Floats(each(bytes, |element| f16_to_f32(u16::from_le_bytes(element)))),
        11 => Data::Floats(each(bytes, |element| f64::from_le_bytes(element) as f32)),
        BFLOAT16 => Data::Floats(each(bytes, |[low, high]| f32::from_le_bytes([0, 0, low, high]))),
        2 | 9 => Data::Ints(each(bytes, |[byte]| Int::Known(i64::from(byte)))),
        3 => Data::Ints(each(bytes, |[byte]| Int::Known(i64::from(byte as i8)))),
        4 => Data::Ints(each(bytes, |element| Int::Known(i64::from(u16::from_le_bytes(element))))),
        5 => Data::Ints(each(bytes, |element| Int::Known(i64::from(i16::from_le_bytes(element))))),
        6 => Data::Ints(each(bytes, |element| Int::Known(i64::from(i32::from_le_bytes(element))))),
        12 => Data::Ints(each(bytes, |element| Int::Known(i64::from(u32::from_le_bytes(element))))),
        _ => Data::Ints(each(bytes, |element| Int::Known(i64::from_le_bytes(element)))),
    }
}

/// Elements in typed fields; halves are kept there as whole numbers.
fn typed(tensor: &proto::Tensor<'_>, kind: Kind) -> Data {
    let halves = |convert: fn(u16) -> f32| {
        Data::Floats(tensor.ints.iter().map(|bits| convert(*bits as u16)).collect())
    };
    match (tensor.data_type, kind) {
        (FLOAT16, _) => halves(crate::elements::f16_to_f32),
        (BFLOAT16, _) => halves(|bits| f32::from_bits(u32::from(bits) << 16)),
        (_, Kind::Float) => Data::Floats(tensor.floats.clone()),
        _ => Data::Ints(tensor.ints.iter().map(|int| Int::Known(*int)).collect()),
    }
}

/// The bytes of a tensor in another file, which must lie in `folder` or below it.
fn external(entries: &[(String, String)], folder: Option<&Path>, needed: usize) -> Result<Vec<u8>, Problem> {
    let entry = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let location = entry("location").unwrap_or_default();
    let outside = || Problem::Outside { location: location.into() };
    let relative = Path::new(location);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let folder = folder.ok_or_else(|| Problem::NoFolder { location: location.into() })?;
    if location.is_empty() || !inside {
        return Err(outside());
    }
    let read = |source| Problem::External { location: location.into(), source };
    let path: PathBuf = folder.join(relative).canonicalize().map_err(read)?;
    // A link could lead elsewhere.
    if !path.starts_with(folder.canonicalize().map_err(read)?) {
        return Err(outside());
    }
    let number = |key, default| match entry(key) {
        None => Ok(default),
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| Problem::ExternalEntry { key, value: text.chars().take(40).collect() }),
    };
    let (offset, length) = (number("offset", 0)?, number("length", needed as u64)?);
    let mut file = File::open(&path).map_err(read)?;
    let meta = file.metadata().map_err(read)?;
    let size = if meta.is_file() { meta.len() } else { 0 };
    if length != needed as u64 || offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(Problem::ExternalRange { location: location.into(), offset, length, needed, size });
    }
    file.seek(SeekFrom::Start(offset)).map_err(read)?;
    let mut bytes = vec![0; needed];
    file.read_exact(&mut bytes).map_err(read)?;
    Ok(bytes)
}

/// The distance between neighbours along each axis of a row-major tensor.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The offset of every element of a tensor of `dims` whose neighbours along axis `i` are `steps[i]` apart, in row-major
/// order.
pub(crate) fn offsets(dims: &[usize], steps: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let count: usize = dims.iter().product();
    let mut index = vec![0; dims.len()];
    let mut offset = 0;
    let (dims, steps) = (dims.to_vec(), steps.to_vec());
    (0..count).map(move |_| {
        let now = offset;
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            offset += steps[axis];
            if index[axis] < dims[axis] {
                break;
            }
            offset -= steps[axis] * dims[axis];
            index[axis] = 0;
        }
        now
    })
}
