//! A padded copy of a part of an image, where taps of a row lie side by side.

use crate::cast::convert;
use crate::element::Element;
use crate::simd::Simd;

/// An image in memory.
#[derive(Clone, Copy)]
pub(super) struct Image<'a, A> {
    pub(super) data: &'a [A],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) channels: usize,
    /// Pixel distance.
    pub(super) ld: usize,
}

/// A rectangle of pixels, in part or whole outside the image.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) first_row: isize,
    pub(super) rows: usize,
    pub(super) first_col: isize,
    pub(super) cols: usize,
}

impl Window {
    /// Copies the window's pixels to `out`, without gaps; those outside the image are zeros.
    #[inline(always)]
    pub(super) fn copy<S: Simd, A: Element, T: Element>(&self, s: S, image: &Image<A>, out: &mut [T]) {
        let zero = T::default();
        let channels = image.channels;
        let first = self.first_col.clamp(0, image.cols as isize);
        let last = (self.first_col + self.cols as isize).clamp(first, image.cols as isize);
        let before = (first - self.first_col).clamp(0, self.cols as isize) as usize;
        let inside = (last - first) as usize;
        for (index, copy) in out.chunks_exact_mut(self.cols * channels).take(self.rows).enumerate() {
            let row = self.first_row + index as isize;
            if !(0..image.rows as isize).contains(&row) || inside == 0 {
                copy.fill(zero);
                continue;
            }
            let (left, rest) = copy.split_at_mut(before * channels);
            let (middle, right) = rest.split_at_mut(inside * channels);
            left.fill(zero);
            right.fill(zero);
            let row = &image.data[(row as usize * image.cols + first as usize) * image.ld..];
            if image.ld == channels {
                convert(s, &row[..middle.len()], middle);
            } else {
                for (pixel, copy) in row.chunks(image.ld).zip(middle.chunks_exact_mut(channels)) {
                    convert(s, &pixel[..channels], copy);
                }
            }
        }
    }
}
