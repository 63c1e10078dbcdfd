//! Padding: margins around a map, constant or continued from the map itself.

use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{assert_fits, rows_per_task};
use crate::view::{Pixels, PixelsMut, volume};

/// What a margin continues the map with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// This value.
    Constant(f32),
    /// The map mirrored at its border pixels, which are not repeated: c b | a b c | b a.
    Reflect,
    /// The border pixels: a a | a b c | c c.
    Replicate,
    /// The map again: b c | a b c | a b.
    Circular,
}

/// How many rows, columns and channels are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margins {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on the left.
    pub left: usize,
    /// Columns on the right.
    pub right: usize,
    /// Channels before; always constant, zero in the modes that continue the map.
    pub channels_before: usize,
    /// Channels after, likewise.
    pub channels_after: usize,
}

/// Why a padding is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PadError {
    /// A mirror has no pixel for the outermost margin.
    #[error("a margin of {margin} {lines} cannot reflect {size}: it must be smaller than the map")]
    Reflect {
        /// `rows` or `columns`.
        lines: &'static str,
        /// Rows or columns to add.
        margin: usize,
        /// Rows or columns of the map.
        size: usize,
    },
    /// The margin would need the map more than once.
    #[error("a circular margin of {margin} {lines} exceeds the {size} of the map")]
    Circular {
        /// `rows` or `columns`.
        lines: &'static str,
        /// Rows or columns to add.
        margin: usize,
        /// Rows or columns of the map.
        size: usize,
    },
    /// There is nothing to continue.
    #[error("a map without {lines} cannot be continued by {margin}")]
    Empty {
        /// `rows` or `columns`.
        lines: &'static str,
        /// Rows or columns to add.
        margin: usize,
    },
    /// The sum is no number of elements.
    #[error("the padded map {shape:?} with margins {margins:?} is too large")]
    TooLarge {
        /// (n, h, w, c)
        shape: [usize; 4],
        /// The margins.
        margins: Margins,
    },
}

/// A padding that is possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad2d {
    shape: [usize; 4],
    margins: Margins,
    mode: PadMode,
}

impl Pad2d {
    /// The padding of a map (n, h, w, c) by `margins`.
    pub fn new(shape: [usize; 4], margins: Margins, mode: PadMode) -> Result<Self, PadError> {
        let Margins { top, bottom, left, right, channels_before, channels_after } = margins;
        let axes = [("rows", shape[1], [top, bottom]), ("columns", shape[2], [left, right])];
        for (lines, size, [before, after]) in axes {
            let margin = before.max(after);
            match mode {
                PadMode::Constant(_) => {}
                _ if margin > 0 && size == 0 => return Err(PadError::Empty { lines, margin }),
                PadMode::Reflect if margin > 0 && margin >= size => {
                    return Err(PadError::Reflect { lines, margin, size });
                }
                PadMode::Circular if margin > size => return Err(PadError::Circular { lines, margin, size }),
                _ => {}
            }
        }
        let added = [[0, 0], [top, bottom], [left, right], [channels_before, channels_after]];
        shape
            .iter()
            .zip(added)
            .try_fold(1usize, |len, (size, [before, after])| {
                len.checked_mul(size.checked_add(before)?.checked_add(after)?)
            })
            .filter(|len| *len <= isize::MAX as usize)
            .ok_or(PadError::TooLarge { shape, margins })?;
        Ok(Self { shape, margins, mode })
    }

    /// (n, h, w, c) of the padded map.
    pub fn dst_shape(&self) -> [usize; 4] {
        let ([n, h, w, c], m) = (self.shape, self.margins);
        [n, h + m.top + m.bottom, w + m.left + m.right, c + m.channels_before + m.channels_after]
    }

    /// Where row or column `at` of the padded map, with `before` added before the `size` of the source, comes
    /// from; `None` is the constant.
    fn origin(&self, at: usize, before: usize, size: usize) -> Option<usize> {
        let inside = (before..before + size).contains(&at);
        match self.mode {
            _ if inside => Some(at - before),
            PadMode::Constant(_) => None,
            PadMode::Reflect if at < before => Some(before - at),
            PadMode::Reflect => Some(2 * (size - 1) + before - at),
            PadMode::Replicate => Some(at.saturating_sub(before).min(size - 1)),
            PadMode::Circular => Some((at + size - before) % size),
        }
    }

    fn assert_fit<E>(&self, src: &[E], src_ld: usize, dst: &[E], dst_ld: usize) {
        let ([n, h, w, c], [_, oh, ow, oc]) = (self.shape, self.dst_shape());
        assert_fits("src", src, volume([n, h, w]), c, src_ld);
        assert_fits("dst", dst, volume([n, oh, ow]), oc, dst_ld);
    }

    /// `dst` = the padded `src`.
    pub fn forward<E: Element>(&self, cx: &Context, src: Pixels<E>, dst: PixelsMut<E>) {
        self.assert_fit(src.data, src.ld, dst.data, dst.ld);
        let ([n, h, w, c], [_, oh, ow, oc], m) = (self.shape, self.dst_shape(), self.margins);
        let constant = E::from_f32(if let PadMode::Constant(value) = self.mode { value } else { 0.0 });
        let packed = src.ld == c && dst.ld == c && oc == c;
        let (ld, dst) = (dst.ld, SharedMut::new(dst.data));
        for_each_piece(cx.exec, n * oh, rows_per_task(ow * oc), |start, len, _| {
            for line in start..start + len {
                let origin = self.origin(line % oh, m.top, h).map(|y| (line / oh * h + y) * w);
                // SAFETY: the pixels of a line are its task's own; what lies between them stays untouched.
                let pixel = |x: usize, count: usize| unsafe { dst.range((line * ow + x) * ld, count) };
                let Some(origin) = origin else {
                    (0..ow).for_each(|x| pixel(x, oc).fill(constant));
                    continue;
                };
                let mut x = 0;
                while x < ow {
                    if packed && x == m.left && w > 0 {
                        pixel(x, w * c).copy_from_slice(&src.data[origin * c..][..w * c]);
                        x += w;
                        continue;
                    }
                    match self.origin(x, m.left, w) {
                        None => pixel(x, oc).fill(constant),
                        Some(from) => {
                            let (before, rest) = pixel(x, oc).split_at_mut(m.channels_before);
                            let (inside, after) = rest.split_at_mut(c);
                            before.fill(constant);
                            inside.copy_from_slice(src.row(origin + from, c));
                            after.fill(constant);
                        }
                    }
                    x += 1;
                }
            }
        });
    }

    /// `d_src` = for each element the sum of `d_dst` over all places it was copied to, each partial sum rounded to the
    /// element's type.
    pub fn backward<E: Element>(&self, cx: &Context, d_dst: Pixels<E>, d_src: PixelsMut<E>) {
        self.assert_fit(d_src.data, d_src.ld, d_dst.data, d_dst.ld);
        let ([n, h, w, c], [_, oh, ow, _], m) = (self.shape, self.dst_shape(), self.margins);
        let packed = d_src.ld == c && d_dst.ld == c;
        let (ld, d_src) = (d_src.ld, SharedMut::new(d_src.data));
        for_each_piece(cx.exec, n * h, rows_per_task(w * c), |start, len, _| {
            for line in start..start + len {
                let (image, y) = (line / h, line % h);
                // SAFETY: the pixels of a line are its task's own; what lies between them stays untouched.
                let pixel = |x: usize, count: usize| unsafe { d_src.range((line * w + x) * ld, count) };
                (0..w).for_each(|x| pixel(x, c).fill(E::default()));
                for row in (0..oh).filter(|row| self.origin(*row, m.top, h) == Some(y)) {
                    let first = (image * oh + row) * ow;
                    let mut x = 0;
                    while x < ow {
                        let run = if packed && x == m.left && w > 0 { w } else { 1 };
                        if let Some(to) = self.origin(x, m.left, w) {
                            let from = &d_dst.data[(first + x) * d_dst.ld + m.channels_before..][..run * c];
                            for (sum, d) in pixel(to, run * c).iter_mut().zip(from) {
                                *sum = E::from_f32(sum.to_f32() + d.to_f32());
                            }
                        }
                        x += run;
                    }
                }
            }
        });
    }
}
