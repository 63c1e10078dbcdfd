//! A picture as its source decoded it.

/// Bytes row by row, channels last, borrowed from whoever decoded them; of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Bytes of a pixel: 1 is grey, 3 is red, green, blue.
    pub channels: usize,
    /// `height * width * channels` bytes.
    pub pixels: &'a [u8],
}
