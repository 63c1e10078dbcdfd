//! Views of activations in memory: channels last, pixels at a fixed distance, elements of float32 or bfloat16.

/// Pixels to read: pixel `p` is `data[p * ld .. p * ld + channels]`.
///
/// `ld` (the leading dimension, in elements) exceeds the number of channels when the map is a channel slice
/// of a wider buffer, as the inputs of a zero-copy concatenation are.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a, E = f32> {
    /// The elements, starting with pixel 0's first channel.
    pub data: &'a [E],
    /// Distance between pixels, in elements.
    pub ld: usize,
}

/// Pixels to write; see [`Pixels`]. What lies between the channels of neighbouring pixels is left alone.
#[derive(Debug)]
pub struct PixelsMut<'a, E = f32> {
    /// The elements, starting with pixel 0's first channel.
    pub data: &'a mut [E],
    /// Distance between pixels, in elements.
    pub ld: usize,
}

impl<'a, E> Pixels<'a, E> {
    /// A view of `data` with pixels `ld` elements apart.
    pub fn new(data: &'a [E], ld: usize) -> Self {
        Self { data, ld }
    }

    /// The first `channels` elements of pixel `pixel`.
    #[inline(always)]
    pub fn row(&self, pixel: usize, channels: usize) -> &'a [E] {
        &self.data[pixel * self.ld..][..channels]
    }
}

impl<'a, E> PixelsMut<'a, E> {
    /// A view of `data` with pixels `ld` elements apart.
    pub fn new(data: &'a mut [E], ld: usize) -> Self {
        Self { data, ld }
    }
}

/// The least number of elements a view of `pixels` × `channels` with distance `ld` needs.
///
/// # Panics
/// When it exceeds a `usize`.
#[track_caller]
pub fn extent(pixels: usize, channels: usize, ld: usize) -> usize {
    let Some(gaps) = pixels.checked_sub(1) else { return 0 };
    let extent = gaps.checked_mul(ld).and_then(|last| last.checked_add(channels));
    extent.unwrap_or_else(|| panic!("{pixels} pixels of {channels}, {ld} apart, overflow"))
}

/// How many there are of what `extents` count along each axis; panics when it exceeds a `usize`.
#[track_caller]
pub(crate) fn volume<const N: usize>(extents: [usize; N]) -> usize {
    let volume = extents.into_iter().try_fold(1, usize::checked_mul);
    volume.unwrap_or_else(|| panic!("{extents:?} elements overflow"))
}
