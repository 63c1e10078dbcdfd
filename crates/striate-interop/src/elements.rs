//! Elements as files hold them, little-endian, and as float32 in memory.

use std::io::{self, Read, Write};

/// Bytes that are converted at a time; a multiple of every element's size.
const CHUNK: usize = 1 << 16;

/// A type of elements that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    /// A byte that is 0 or not.
    Bool,
}

impl Dtype {
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 | Dtype::U16 => 2,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
        }
    }

    /// Reads `len` elements; the caller has seen that the source holds as many. What float32 cannot hold exactly is
    /// rounded to nearest.
    pub(crate) fn read(self, source: &mut impl Read, len: usize) -> io::Result<Vec<f32>> {
        let mut data = Vec::with_capacity(len);
        let mut chunk = vec![0; CHUNK.min(len * self.size())];
        let mut left = len * self.size();
        while left > 0 {
            let part = &mut chunk[..left.min(CHUNK)];
            source.read_exact(part)?;
            self.decode(part, &mut data);
            left -= part.len();
        }
        Ok(data)
    }

    /// Appends the elements in `bytes`, a whole number of them.
    pub(crate) fn decode(self, bytes: &[u8], data: &mut Vec<f32>) {
        fn each<const N: usize>(bytes: &[u8], data: &mut Vec<f32>, convert: impl Fn([u8; N]) -> f32) {
            data.extend(bytes.as_chunks().0.iter().map(|element| convert(*element)));
        }
        match self {
            Dtype::F32 => each(bytes, data, f32::from_le_bytes),
            Dtype::F16 => each(bytes, data, |element| f16_to_f32(u16::from_le_bytes(element))),
            Dtype::Bf16 => each(bytes, data, |[low, high]| f32::from_le_bytes([0, 0, low, high])),
            Dtype::F64 => each(bytes, data, |element| f64::from_le_bytes(element) as f32),
            Dtype::I8 => each(bytes, data, |element| i8::from_le_bytes(element).into()),
            Dtype::U8 => each(bytes, data, |element| u8::from_le_bytes(element).into()),
            Dtype::I16 => each(bytes, data, |element| i16::from_le_bytes(element).into()),
            Dtype::U16 => each(bytes, data, |element| u16::from_le_bytes(element).into()),
            Dtype::I32 => each(bytes, data, |element| i32::from_le_bytes(element) as f32),
            Dtype::U32 => each(bytes, data, |element| u32::from_le_bytes(element) as f32),
            Dtype::I64 => each(bytes, data, |element| i64::from_le_bytes(element) as f32),
            Dtype::U64 => each(bytes, data, |element| u64::from_le_bytes(element) as f32),
            Dtype::Bool => each(bytes, data, |[byte]| f32::from(byte != 0)),
        }
    }
}

/// Writes elements as float32.
pub(crate) fn write(data: &[f32], target: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK.min(4 * data.len()));
    for part in data.chunks(CHUNK / 4) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|element| element.to_le_bytes()));
        target.write_all(&bytes)?;
    }
    Ok(())
}

/// How many elements a shape has, unless they are more than can be counted.
pub(crate) fn count(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size as u64))
}

/// The value of an IEEE 754 binary16, exactly.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let magnitude = u32::from(bits & 0x7fff);
    if magnitude >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | (magnitude & 0x3ff) << 13);
    }
    // With its exponent field read as binary32's, the value comes out 2^(127 - 15) too small; the product is
    // exact and makes normal numbers of subnormal ones.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 127 - 15) << 23);
    f32::from_bits(scaled.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_the_nearest_float() {
        let read =
            |dtype: Dtype, bytes: &[u8]| dtype.read(&mut &bytes[..], bytes.len() / dtype.size()).unwrap();
        assert_eq!(read(Dtype::I8, &[0xff, 5]), [-1.0, 5.0]);
        assert_eq!(read(Dtype::U8, &[0xff]), [255.0]);
        assert_eq!(read(Dtype::Bool, &[0, 1, 7]), [0.0, 1.0, 1.0]);
        assert_eq!(read(Dtype::I16, &(-2i16).to_le_bytes()), [-2.0]);
        assert_eq!(read(Dtype::U16, &u16::MAX.to_le_bytes()), [65535.0]);
        assert_eq!(read(Dtype::I32, &16_777_217i32.to_le_bytes()), [16_777_216.0]);
        assert_eq!(read(Dtype::U32, &u32::MAX.to_le_bytes()), [4_294_967_296.0]);
        assert_eq!(read(Dtype::I64, &(-3i64).to_le_bytes()), [-3.0]);
        assert_eq!(read(Dtype::U64, &u64::MAX.to_le_bytes()), [18_446_744_073_709_551_616.0]);
    }

    #[test]
    fn every_half_has_its_value() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
            let magnitude = match exponent {
                0 => fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
            };
            let expected = if bits >> 15 == 1 { -magnitude } else { magnitude };
            let got = f64::from(f16_to_f32(bits));
            assert!(
                got == expected || (got.is_nan() && expected.is_nan()),
                "{bits:#06x}: {got} != {expected}"
            );
            assert_eq!(got.is_sign_negative(), bits >> 15 == 1, "{bits:#06x}");
        }
    }
}
