//! Moving elements as they are: boxes between maps of any layout, and constants.
//!
//! A slice (with step), a concatenation and their gradients are each a copy of a box, into zeros where the
//! box does not cover the map.

use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{self, GRAIN, rows_per_task};
use crate::strided::Nest;
use crate::view::PixelsMut;
use std::cmp::Reverse;

/// `dst` = `value`, `rows` × `channels`.
pub fn fill<E: Element>(cx: &Context, value: f32, dst: PixelsMut<E>, rows: usize, channels: usize) {
    pixelwise::map(cx, value, [], dst, rows, channels);
}

/// Copies the box of `shape` that starts at `src[0]` to the one that starts at `dst[0]`.
///
/// `src_strides` and `dst_strides` are the elements from one index to the next of each dimension, in any
/// order of size; a stride of 0 in the source repeats it.
///
/// # Panics
/// When a box reaches beyond its slice, or two of its elements would land on one place in `dst`.
pub fn copy_box<T: Copy + Send + Sync>(
    cx: &Context,
    shape: [usize; 4],
    src: &[T],
    src_strides: [usize; 4],
    dst: &mut [T],
    dst_strides: [usize; 4],
) {
    if shape.contains(&0) {
        return;
    }
    let last = |strides: [usize; 4]| {
        let place = |at: usize, dim: usize| at.checked_add((shape[dim] - 1).checked_mul(strides[dim])?);
        (0..4).try_fold(0, place).unwrap_or_else(|| panic!("{shape:?} by {strides:?} overflow"))
    };
    assert!(last(src_strides) < src.len(), "{shape:?} by {src_strides:?} exceeds {} elements", src.len());
    assert!(last(dst_strides) < dst.len(), "{shape:?} by {dst_strides:?} exceeds {} elements", dst.len());

    // The dimension that lies closest in `dst` goes innermost.
    let mut order = [0, 1, 2, 3];
    order.sort_by_key(|&dim| (shape[dim] > 1, Reverse(dst_strides[dim])));
    let extents = order.map(|dim| shape[dim]);
    let strides = order.map(|dim| [dst_strides[dim], src_strides[dim]]);
    let mut span = 1;
    for dim in (0..4).rev().filter(|&dim| extents[dim] > 1) {
        assert!(strides[dim][0] >= span, "{shape:?} by {dst_strides:?} would write an element twice");
        span += (extents[dim] - 1) * strides[dim][0];
    }

    let nest = Nest::new(extents, strides);
    let [.., rows, run] = nest.extents;
    let copy = Boxes { src, dst: SharedMut::new(dst), strides: nest.strides[3] };
    if nest.outer() == 1 {
        let [to, from] = nest.strides[3];
        for_each_piece(cx.exec, run, GRAIN, |start, len, _worker| {
            // SAFETY: boxes lie inside the slices, and no element is written twice (asserted).
            unsafe { copy.run([start * to, start * from], len) };
        });
        return;
    }
    for_each_piece(cx.exec, nest.outer(), rows_per_task(run), |start, count, _worker| {
        let mut index = start;
        while index < start + count {
            // As many iterations of the third loop as lie in the piece.
            let here = (rows - index % rows).min(start + count - index);
            let outer = [0, 1, 2].map(|dim| nest.extents[dim]);
            let [to, from] = nest.offsets(index, outer);
            let [to_step, from_step] = nest.strides[2];
            for row in 0..here {
                // SAFETY: as above.
                unsafe { copy.run([to + row * to_step, from + row * from_step], run) };
            }
            index += here;
        }
    });
}

struct Boxes<'a, T> {
    src: &'a [T],
    dst: SharedMut<'a, T>,
    /// Steps in `dst` and in `src`.
    strides: [usize; 2],
}

impl<T: Copy> Boxes<'_, T> {
    /// Copies `len` elements.
    ///
    /// # Safety
    /// They lie inside the slices, and no other task writes them.
    unsafe fn run(&self, [to, from]: [usize; 2], len: usize) {
        if self.strides == [1, 1] {
            // SAFETY: the caller's contract.
            unsafe { self.dst.range(to, len) }.copy_from_slice(&self.src[from..from + len]);
            return;
        }
        let [to_step, from_step] = self.strides;
        for i in 0..len {
            // SAFETY: the caller's contract.
            unsafe { *self.dst.ptr_at(to + i * to_step) = self.src[from + i * from_step] };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, Serial};

    fn copied(shape: [usize; 4], src: &[f32], from: [usize; 4], len: usize, to: [usize; 4]) -> Vec<f32> {
        let mut dst = vec![-1.0; len];
        copy_box(&Context { isa: Isa::best(), exec: &Serial }, shape, src, from, &mut dst, to);
        dst
    }

    /// The definition, index by index.
    fn expected(shape: [usize; 4], src: &[f32], from: [usize; 4], len: usize, to: [usize; 4]) -> Vec<f32> {
        let mut dst = vec![-1.0; len];
        for index in 0..shape.iter().product() {
            let (mut rest, mut place, mut origin) = (index, 0, 0);
            for dim in (0..4).rev() {
                place += rest % shape[dim] * to[dim];
                origin += rest % shape[dim] * from[dim];
                rest /= shape[dim];
            }
            dst[place] = src[origin];
        }
        dst
    }

    #[test]
    fn boxes_arrive_in_any_layout() {
        let src: Vec<f32> = (0..200_000).map(|i| i as f32).collect();
        for (what, shape, from, to) in [
            ("dense", [2, 30, 30, 20], [18000, 600, 20, 1], [18000, 600, 20, 1]),
            ("channel slice", [2, 30, 30, 7], [18000, 600, 20, 1], [6300, 210, 7, 1]),
            ("into a concatenation", [3, 10, 20, 7], [1400, 140, 7, 1], [1800, 180, 9, 1]),
            ("every second row, third column", [2, 15, 10, 20], [18000, 1200, 60, 1], [3000, 200, 20, 1]),
            ("every second channel", [2, 3, 5, 10], [300, 100, 20, 2], [150, 50, 10, 1]),
            ("to channels first", [2, 7, 5, 12], [420, 60, 12, 1], [420, 5, 1, 35]),
            ("repeated", [4, 3, 5, 6], [0, 30, 6, 1], [90, 30, 6, 1]),
            ("one channel", [2, 3, 5, 1], [45, 15, 3, 1], [15, 5, 1, 1]),
            ("one element", [1, 1, 1, 1], [9, 9, 9, 9], [0, 0, 0, 0]),
            ("nothing", [2, 0, 5, 1], [45, 15, 3, 1], [15, 5, 1, 1]),
        ] {
            let len = 100_000;
            assert_eq!(copied(shape, &src, from, len, to), expected(shape, &src, from, len, to), "{what}");
        }
    }

    #[test]
    #[should_panic(expected = "would write an element twice")]
    fn a_box_may_not_land_on_itself() {
        copied([1, 1, 4, 3], &[0.0; 12], [12, 12, 3, 1], 12, [12, 12, 2, 1]);
    }

    #[test]
    #[should_panic(expected = "exceeds 11 elements")]
    fn a_box_must_lie_inside() {
        copied([1, 1, 4, 3], &[0.0; 12], [12, 12, 3, 1], 11, [12, 12, 3, 1]);
    }

    #[test]
    fn filling_leaves_gaps_alone() {
        for isa in Isa::present() {
            let mut dst = vec![-1.0; 5 * 21];
            fill(&Context { isa, exec: &Serial }, 0.5, PixelsMut::new(&mut dst, 21), 5, 19);
            assert!(dst.iter().enumerate().all(|(i, x)| *x == if i % 21 < 19 { 0.5 } else { -1.0 }));
        }
    }
}
