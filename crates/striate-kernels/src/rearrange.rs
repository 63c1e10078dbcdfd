//! Moving elements between arrays of any layout: permutations, slices, repetitions, paddings are a copy each.

use crate::axes::{Array, ArrayMut, Axes, Walk};
use crate::elementwise::{Binary, binary};
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pad::PadMode;
use crate::pixelwise::GRAIN;

/// The side of the blocks in which axes change places: two of them fit the nearest cache.
const BLOCK: usize = 16;

/// `dst` = `src`, of equal extents.
pub fn copy<T: Copy + Send + Sync>(cx: &Context, src: Array<T>, dst: ArrayMut<T>) {
    assert_eq!(src.axes.extents(), dst.axes.extents(), "extents");
    if dst.axes.elements() == 0 {
        return;
    }
    let mut walk = Walk::new(&[dst.axes, src.axes]);
    let (inner, [to, from, ..]) = walk.inner();
    if walk.rank == 1 {
        let copy = Copying { src: src.data, dst: SharedMut::new(dst.data), steps: [to, from] };
        let [to_first, from_first, ..] = walk.cursor(0, 0).offsets;
        for_each_piece(cx.exec, inner, GRAIN, |start, len, _| {
            let start = start as isize;
            // SAFETY: the arrays lie in their slices, and no element is written twice.
            unsafe { copy.run([to_first + start * to, from_first + start * from], len) };
        });
        return;
    }
    walk.bring_in(1);
    // A strip: some rows of the two innermost loops.
    let loops = walk.rank - 2;
    let (rows, row) = (walk.extents[loops], walk.strides[loops]);
    // Along rows where the source's elements follow one another too, else in blocks.
    let (block, width) = if from.abs() <= 1 { (1, inner) } else { (BLOCK, BLOCK) };
    let height = (GRAIN / inner).max(1).next_multiple_of(block);
    let strips = rows.div_ceil(height);
    let grain = (GRAIN / (inner * height.min(rows))).max(1);
    let copy = Copying { src: src.data, dst: SharedMut::new(dst.data), steps: [to, from] };
    for_each_piece(cx.exec, walk.iterations(loops) * strips, grain, |start, len, _| {
        for strip in start..start + len {
            let [to_plane, from_plane, ..] = walk.cursor(loops, strip / strips).offsets;
            let first = strip % strips * height;
            let last = rows.min(first + height);
            let place = |i: usize, at: usize| {
                let (i, at) = (i as isize, at as isize);
                [to_plane + i * row[0] + at * to, from_plane + i * row[1] + at * from]
            };
            for top in (first..last).step_by(block) {
                for left in (0..inner).step_by(width) {
                    for i in top..last.min(top + block) {
                        // SAFETY: as above; strips are their task's own.
                        unsafe { copy.run(place(i, left), width.min(inner - left)) };
                    }
                }
            }
        }
    });
}

struct Copying<'a, T> {
    src: &'a [T],
    dst: SharedMut<'a, T>,
    /// Between elements of `dst` and of `src`.
    steps: [isize; 2],
}

impl<T: Copy> Copying<'_, T> {
    /// Copies `len` elements.
    ///
    /// # Safety
    /// They lie inside the slices, and no other task writes them.
    unsafe fn run(&self, [to, from]: [isize; 2], len: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let (dst, src) = (self.dst.ptr_at(0).offset(to), self.src.as_ptr().offset(from));
            match self.steps {
                [1, 1] => std::ptr::copy_nonoverlapping(src, dst, len),
                [1, 0] => std::slice::from_raw_parts_mut(dst, len).fill(*src),
                [to, from] => {
                    for i in 0..len as isize {
                        *dst.offset(i * to) = *src.offset(i * from);
                    }
                }
            }
        }
    }
}

/// `dst` = `value`.
pub fn fill(cx: &Context, value: f32, dst: ArrayMut) {
    let everywhere = Axes::dense(&[]).broadcast(dst.axes.extents());
    copy(cx, Array::new(&[value], everywhere), dst);
}

/// Elements before and behind those of one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PadAxis {
    /// The axis.
    pub axis: usize,
    /// Elements before and behind.
    pub pads: [usize; 2],
    /// What they are.
    pub mode: PadMode,
}

/// A run of padding: where it begins in the padded axis, its length, and which elements of the axis it holds.
struct Region {
    start: usize,
    len: usize,
    /// Its first element, and whether it goes on backwards; `None` where all are one.
    from: (usize, Option<bool>),
}

impl PadAxis {
    /// The two runs of an axis of `size`; none of constants.
    fn regions(&self, size: usize) -> Option<[Region; 2]> {
        let [before, behind] = self.pads;
        let from = match self.mode {
            PadMode::Constant(_) => return None,
            PadMode::Reflect => {
                assert!(before.max(behind) < size, "{:?} of {size} reflected", self.pads);
                [(1, Some(true)), (size - 1 - behind, Some(true))]
            }
            PadMode::Replicate => [(0, None), (size - 1, None)],
            PadMode::Circular => {
                assert!(before.max(behind) <= size, "{:?} of {size} around", self.pads);
                [(size - before, Some(false)), (0, Some(false))]
            }
        };
        let region = |start, len, from| Region { start, len, from };
        Some([region(0, before, from[0]), region(before + size, behind, from[1])])
    }

    /// `dst` = the padded `src`.
    pub fn forward(&self, cx: &Context, src: Array, dst: ArrayMut) {
        let Self { axis, pads: [before, behind], mode } = *self;
        let size = src.axes.extents()[axis];
        let axes = dst.axes;
        let data = dst.data;
        copy(cx, src, ArrayMut::new(data, axes.sliced(axis, before, size, 1)));
        let Some(regions) = self.regions(size) else {
            let PadMode::Constant(value) = mode else { unreachable!("only constants have no regions") };
            for (start, len) in [(0, before), (before + size, behind)] {
                fill(cx, value, ArrayMut::new(data, axes.sliced(axis, start, len, 1)));
            }
            return;
        };
        for Region { start, len, from } in regions {
            let part = match from {
                (_, _) if len == 0 => continue,
                (first, None) => src.axes.sliced(axis, first, 1, 1).stretched(axis, len),
                (first, Some(backwards)) => {
                    let part = src.axes.sliced(axis, first, len, 1);
                    if backwards { part.flipped(axis) } else { part }
                }
            };
            copy(cx, Array { axes: part, ..src }, ArrayMut::new(data, axes.sliced(axis, start, len, 1)));
        }
    }

    /// `d_src` = for each element the sum of `d_dst` over its copies.
    pub fn backward(&self, cx: &Context, d_dst: Array, d_src: ArrayMut) {
        let Self { axis, pads: [before, _], .. } = *self;
        let size = d_src.axes.extents()[axis];
        let axes = d_src.axes;
        let data = d_src.data;
        let part = |start, len| Array { axes: d_dst.axes.sliced(axis, start, len, 1), ..d_dst };
        copy(cx, part(before, size), ArrayMut::new(data, axes));
        for Region { start, len, from: (first, order) } in self.regions(size).into_iter().flatten() {
            // One by one where all are copies of one element.
            let (step, count) = if order.is_none() { (1, len) } else { (len, usize::from(len > 0)) };
            for index in 0..count {
                let mut to = axes.sliced(axis, first, step, 1);
                if order == Some(true) {
                    to = to.flipped(axis);
                }
                let add = [None, Some(part(start + index * step, step))];
                binary(cx, Binary::Add, add, ArrayMut::new(data, to));
            }
        }
    }
}
