//! From maps to points: what the products take of a map.

use super::transform::{POINTS, Transform};
use crate::element::Element;
use crate::simd::Simd;
use std::ops::Range;

/// Floats of a cache line.
pub(super) const LINE: usize = 16;
/// Floats of a row that lies as far from the next as L1 caches are long, or a part of that.
const ALIASING: usize = 256;

/// From tile to tile at a point, of so many channels: whole lines.
pub(super) fn tile_len(channels: usize) -> usize {
    let len = channels.next_multiple_of(LINE);
    if len.is_multiple_of(ALIASING) { len + LINE } else { len }
}

/// From point to point of so many tiles of so many channels; the odd line keeps the points of a tile apart in the caches.
pub(super) fn point_len(tiles: usize, channels: usize) -> usize {
    tiles * tile_len(channels) + LINE
}

/// A batch of maps of the same extent, cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    rows: usize,
    cols: usize,
    /// Lines of a tile.
    out: usize,
}

impl Grid {
    /// Tiles of `out` × `out` that cover `rows` × `cols` pixels.
    pub(super) fn new(rows: usize, cols: usize, out: usize) -> Self {
        Self { rows: rows.div_ceil(out), cols: cols.div_ceil(out), out }
    }

    /// Tiles of an image.
    pub(super) fn tiles(self) -> usize {
        self.rows * self.cols
    }

    /// The image, row and column of a tile's first pixel.
    #[inline(always)]
    pub(super) fn place(self, tile: usize) -> [usize; 3] {
        [tile / self.tiles(), tile / self.cols % self.rows * self.out, tile % self.cols * self.out]
    }
}

/// A map that products are taken of.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) grid: Grid,
    /// The line of the map that a tile begins at, from that of its place, and how many lines there are; outside are
    /// zeros.
    pub(super) rows: (isize, usize),
    pub(super) cols: (isize, usize),
    /// Pixel distance.
    pub(super) ld: usize,
    /// A pixel outside, of whatever element.
    pub(super) zeros: Vec<f32>,
}

impl Side {
    /// Channels of a pixel.
    pub(super) fn channels(&self) -> usize {
        self.zeros.len()
    }

    /// Writes the transform of some channels of `tile`, of N × N pixels of `data`, OUT on from those of the tile before:
    /// whole lines of channels, points `far` apart.
    ///
    /// # Safety
    /// `data` must hold the map, and `points` be writable for every point's [`tile_len`] of the channels.
    #[inline(always)]
    pub(super) unsafe fn lift<
        S: Simd,
        E: Element,
        T: Transform<N, POINTS>,
        const N: usize,
        const OUT: usize,
    >(
        &self,
        s: S,
        data: &[E],
        tile: usize,
        channels: Range<usize>,
        (points, far): (*mut f32, usize),
    ) {
        let [image, row, col] = self.grid.place(tile);
        let (top, left) = (row as isize + self.rows.0, col as isize + self.cols.0);
        let mut pixels = [[self.zeros.as_ptr().cast::<E>(); N]; N];
        for y in 0..N {
            let row = top + y as isize;
            if !(0..self.rows.1 as isize).contains(&row) {
                continue;
            }
            let first = ((image * self.rows.1 + row as usize) * self.cols.1) as isize + left;
            let first = data.as_ptr().wrapping_offset(first * self.ld as isize);
            for x in 0..N {
                if (0..self.cols.1 as isize).contains(&(left + x as isize)) {
                    pixels[y][x] = first.wrapping_add(x * self.ld);
                }
            }
        }
        for channel in channels.clone().step_by(S::LANES) {
            let len = S::LANES.min(channels.end - channel);
            // SAFETY: pixels inside and the zeros hold all channels; the rest is the caller's contract.
            unsafe {
                let mut values = [[s.zero(); N]; N];
                for y in 0..N {
                    for x in 0..N {
                        values[y][x] = s.load_up_to(pixels[y][x].add(channel), len);
                    }
                }
                // The next tile's own pixels: rows are too short for the processor to see where they begin.
                for y in N - OUT..N {
                    for x in N - OUT..N {
                        s.prefetch(pixels[y][x].wrapping_add(OUT * self.ld + channel).cast());
                    }
                }
                let columns = T::columns(s, values);
                let mut point = points.add(channel - channels.start);
                for y in 0..POINTS {
                    let line = T::line(s, columns[y]);
                    for x in 0..POINTS {
                        s.store(point.wrapping_add(x * far), line[x]);
                    }
                    point = point.wrapping_add(POINTS * far);
                }
            }
        }
    }
}
