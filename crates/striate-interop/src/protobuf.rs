//! Protocol Buffers' wire format: fields of a number and a value, end to end.
//!
//! Reading borrows: the bytes of a tensor stay where the file lies in memory. A message within a message is a slice of
//! it, read by whoever knows its kind, so that nothing recurses but what the kinds themselves nest (four deep).

use thiserror::Error;

/// What is wrong with the bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end within a field.
    #[error("{message} is cut off: a field of {wanted} bytes where {present} are left")]
    Cut {
        /// The kind of message.
        message: &'static str,
        /// The length the field declares, in bytes.
        wanted: u64,
        /// The bytes that are left.
        present: usize,
    },
    /// A number that does not end.
    #[error("{message} holds a number of more than 64 bits")]
    Number {
        /// The kind of message.
        message: &'static str,
    },
    /// A kind of field that does not exist, or no longer.
    #[error(
        "{message} has a field of wire type {kind}, which ONNX does not use: not an ONNX file, or a damaged one"
    )]
    Kind {
        /// The kind of message.
        message: &'static str,
        /// Its wire type.
        kind: u8,
    },
    /// A field of another type than ONNX gives it.
    #[error("{message}: field {field} is not {expected}")]
    Type {
        /// The kind of message.
        message: &'static str,
        /// The number of the field.
        field: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// More parts than any network has.
    #[error("{message} has more than {limit} {what}")]
    Many {
        /// The kind of message.
        message: &'static str,
        /// What there is too much of.
        what: &'static str,
        /// The most that are read.
        limit: usize,
    },
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    message: &'static str,
    pub(crate) number: u32,
    content: Content<'a>,
}

/// The fields of a message, in order.
pub(crate) struct Fields<'a> {
    message: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `bytes`, a message of the kind `message`.
    pub(crate) fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, bytes }
    }

    /// The next field.
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let message = self.message;
        let key = varint(message, &mut self.bytes)?;
        let content = match (key & 7) as u8 {
            0 => Content::Varint(varint(message, &mut self.bytes)?),
            1 => Content::Fixed64(*self.take(8)?.first_chunk().expect("eight bytes")),
            2 => {
                let length = varint(message, &mut self.bytes)?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Fixed32(*self.take(4)?.first_chunk().expect("four bytes")),
            kind => return Err(WireError::Kind { message, kind }),
        };
        let number = u32::try_from(key >> 3).map_err(|_| WireError::Number { message })?;
        Ok(Some(Field { message, number, content }))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let present = self.bytes.len();
        let split = usize::try_from(length).ok().and_then(|length| self.bytes.split_at_checked(length));
        let (taken, left) = split.ok_or(WireError::Cut { message: self.message, wanted: length, present })?;
        self.bytes = left;
        Ok(taken)
    }
}

/// A number in groups of seven bits, the lowest first.
fn varint(message: &'static str, bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(WireError::Cut { message, wanted: 1, present: 0 })?;
        *bytes = rest;
        if shift == 63 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::Number { message })
}

impl<'a> Field<'a> {
    fn wrong(&self, expected: &'static str) -> WireError {
        WireError::Type { message: self.message, field: self.number, expected }
    }

    /// A signed whole number.
    pub(crate) fn int(&self) -> Result<i64, WireError> {
        match self.content {
            Content::Varint(value) => Ok(value as i64),
            _ => Err(self.wrong("a whole number")),
        }
    }

    /// A float of 32 bits.
    pub(crate) fn float(&self) -> Result<f32, WireError> {
        match self.content {
            Content::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong("a float")),
        }
    }

    /// Bytes, or a message.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.content {
            Content::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong("a run of bytes")),
        }
    }

    /// Text; bytes that are no UTF-8 are replaced.
    pub(crate) fn text(&self) -> Result<String, WireError> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    /// Appends whole numbers, one or a packed run.
    pub(crate) fn ints(&self, to: &mut Vec<i64>) -> Result<(), WireError> {
        match self.content {
            Content::Varint(value) => to.push(value as i64),
            Content::Bytes(mut packed) => {
                while !packed.is_empty() {
                    to.push(varint(self.message, &mut packed)? as i64);
                }
            }
            _ => return Err(self.wrong("whole numbers")),
        }
        Ok(())
    }

    /// Appends floats of 32 bits, one or a packed run.
    pub(crate) fn floats(&self, to: &mut Vec<f32>) -> Result<(), WireError> {
        match self.content {
            Content::Fixed32(bytes) => to.push(f32::from_le_bytes(bytes)),
            Content::Bytes(packed) if packed.len().is_multiple_of(4) => {
                to.extend(packed.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            _ => return Err(self.wrong("floats")),
        }
        Ok(())
    }

    /// Appends floats of 64 bits, one or a packed run, rounded to 32.
    pub(crate) fn doubles(&self, to: &mut Vec<f32>) -> Result<(), WireError> {
        match self.content {
            Content::Fixed64(bytes) => to.push(f64::from_le_bytes(bytes) as f32),
            Content::Bytes(packed) if packed.len().is_multiple_of(8) => {
                to.extend(packed.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32));
            }
            _ => return Err(self.wrong("doubles")),
        }
        Ok(())
    }
}

/// A message being written.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, number: u32, kind: u8) {
        self.varint(u64::from(number) << 3 | u64::from(kind));
    }

    /// A whole number.
    pub(crate) fn int(&mut self, number: u32, value: i64) {
        self.key(number, 0);
        self.varint(value as u64);
    }

    /// A float.
    pub(crate) fn float(&mut self, number: u32, value: f32) {
        self.key(number, 5);
        self.0.extend(value.to_le_bytes());
    }

    /// A float of 64 bits.
    pub(crate) fn double(&mut self, number: u32, value: f64) {
        self.key(number, 1);
        self.0.extend(value.to_le_bytes());
    }

    /// Floats of 64 bits, packed.
    pub(crate) fn doubles(&mut self, number: u32, values: &[f64]) {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(number, &packed);
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// Text, unless there is none.
    pub(crate) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// Whole numbers, packed.
    pub(crate) fn ints(&mut self, number: u32, values: &[i64]) {
        let mut packed = Writer::default();
        values.iter().for_each(|value| packed.varint(*value as u64));
        self.bytes(number, &packed.0);
    }

    /// A message.
    pub(crate) fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<Field<'_>>, WireError> {
        Fields::new("a test", bytes).next()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.int(1, -5);
        writer.float(2, 0.5);
        writer.text(3, "α");
        writer.ints(4, &[0, 300, i64::MIN]);
        writer.double(5, -0.25);
        writer.doubles(6, &[1.5, 2.5]);
        let mut fields = Fields::new("a test", &writer.0);
        let mut next = || fields.next().unwrap().unwrap();
        assert_eq!(next().int(), Ok(-5));
        assert_eq!(next().float(), Ok(0.5));
        assert_eq!(next().text(), Ok("α".into()));
        let mut ints = Vec::new();
        next().ints(&mut ints).unwrap();
        assert_eq!(ints, [0, 300, i64::MIN]);
        let mut doubles = Vec::new();
        next().doubles(&mut doubles).unwrap();
        next().doubles(&mut doubles).unwrap();
        assert_eq!(doubles, [-0.25, 1.5, 2.5]);
        assert!(fields.next().unwrap().is_none());
    }

    #[test]
    fn broken_bytes_are_told() {
        let message = "a test";
        assert_eq!(first(&[0x0a, 5, 1]).unwrap_err(), WireError::Cut { message, wanted: 5, present: 1 });
        assert_eq!(first(&[0x80]).unwrap_err(), WireError::Cut { message, wanted: 1, present: 0 });
        assert_eq!(first(&[0x0b]).unwrap_err(), WireError::Kind { message, kind: 3 });
        assert_eq!(first(&[0xff; 11]).unwrap_err(), WireError::Number { message });
        // A length near 2^64 is compared, not asked for.
        let huge = [&[0x0a][..], &[0xff; 9], &[1]].concat();
        assert!(matches!(first(&huge), Err(WireError::Cut { wanted: u64::MAX, .. })));
        let field = first(&[0x08, 1]).unwrap().unwrap();
        assert_eq!(field.bytes(), Err(WireError::Type { message, field: 1, expected: "a run of bytes" }));
    }
}
