//! Arrays of any number of axes, wherever their elements lie, and loops over several of them at once.
//!
//! What only changes the order of elements is a change of [`Axes`]: a slice, a permutation or a repetition of an array
//! is the same memory with other extents and strides, and costs no more than the copy that reads it.

use std::cmp::Reverse;

/// The most axes of an array: those of a value, the batch, and what operations split off.
pub const AXES: usize = 12;

/// The most arrays that are walked together.
pub(crate) const ARRAYS: usize = 4;

/// Where the elements of an array lie in a slice: `first`, and from there `strides[i]` elements on for each step along
/// axis i. A stride of 0 repeats elements, a negative one goes backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    rank: usize,
    extents: [usize; AXES],
    strides: [isize; AXES],
    first: usize,
}

impl Axes {
    /// An array of these extents and strides, outermost first.
    ///
    /// # Panics
    /// With more than [`AXES`] axes, or as many strides as not.
    pub fn new(extents: &[usize], strides: &[usize]) -> Self {
        assert_eq!(extents.len(), strides.len(), "extents and strides");
        let mut axes = Self { rank: 0, extents: [1; AXES], strides: [0; AXES], first: 0 };
        for (extent, stride) in extents.iter().zip(strides) {
            axes = axes.with(axes.rank, *extent, *stride as isize);
        }
        axes
    }

    /// One element after another, in row-major order.
    pub fn dense(extents: &[usize]) -> Self {
        assert!(extents.len() <= AXES, "more than {AXES} axes");
        let mut strides = [1; AXES];
        for axis in (1..extents.len()).rev() {
            strides[axis - 1] = strides[axis] * extents[axis];
        }
        Self::new(extents, &strides[..extents.len()])
    }

    /// The extents, outermost first.
    pub fn extents(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    /// The elements, repetitions included.
    pub fn elements(&self) -> usize {
        self.extents().iter().product()
    }

    /// With one more axis in front of axis `axis`.
    fn with(mut self, axis: usize, extent: usize, stride: isize) -> Self {
        assert!(self.rank < AXES, "more than {AXES} axes");
        self.extents.copy_within(axis..self.rank, axis + 1);
        self.strides.copy_within(axis..self.rank, axis + 1);
        (self.extents[axis], self.strides[axis]) = (extent, stride);
        self.rank += 1;
        self
    }

    /// `times` copies along a new axis in front of axis `axis`.
    pub fn repeated(self, axis: usize, times: usize) -> Self {
        self.with(axis, times, 0)
    }

    /// The one element of an axis, `times` over.
    pub fn stretched(mut self, axis: usize, times: usize) -> Self {
        assert_eq!(self.extents[axis], 1, "an axis of one element");
        (self.extents[axis], self.strides[axis]) = (times, 0);
        self
    }

    /// The axes in another order: axis i of the result is axis `order[i]`.
    pub fn permuted(self, order: &[usize]) -> Self {
        assert_eq!(order.len(), self.rank, "{order:?} of {} axes", self.rank);
        let mut axes = Self { extents: [1; AXES], strides: [0; AXES], ..self };
        for (to, from) in order.iter().enumerate() {
            (axes.extents[to], axes.strides[to]) = (self.extents[*from], self.strides[*from]);
        }
        axes
    }

    /// `len` elements of an axis, from `start` on, `step` apart.
    pub fn sliced(mut self, axis: usize, start: usize, len: usize, step: usize) -> Self {
        let end = len.checked_sub(1).map_or(start, |last| start + last * step + 1);
        assert!(end <= self.extents[axis], "{start} to {end} of {}", self.extents[axis]);
        self.first = place(self.first, start as isize * self.strides[axis]);
        self.extents[axis] = len;
        self.strides[axis] *= step as isize;
        self
    }

    /// An axis in reverse.
    pub fn flipped(mut self, axis: usize) -> Self {
        let last = self.extents[axis].saturating_sub(1) as isize;
        self.first = place(self.first, last * self.strides[axis]);
        self.strides[axis] = -self.strides[axis];
        self
    }

    /// An axis as two: blocks of `inner` elements, and the elements of a block.
    pub fn split(mut self, axis: usize, inner: usize) -> Self {
        assert!(self.extents[axis].is_multiple_of(inner), "{} by {inner}", self.extents[axis]);
        let stride = self.strides[axis];
        self.extents[axis] /= inner;
        self.strides[axis] = stride * inner as isize;
        self.with(axis + 1, inner, stride)
    }

    /// Repeated to larger extents: axes are aligned at the last, those that are missing or 1 are repeated.
    pub fn broadcast(self, extents: &[usize]) -> Self {
        let missing = extents.len().checked_sub(self.rank);
        let missing = missing.unwrap_or_else(|| panic!("{:?} to {extents:?}", self.extents()));
        let mut axes = Self::new(extents, &[0; AXES][..extents.len()]);
        axes.first = self.first;
        for axis in 0..self.rank {
            let extent = self.extents[axis];
            assert!(extent == 1 || extent == extents[missing + axis], "{:?} to {extents:?}", self.extents());
            axes.strides[missing + axis] = if extent == 1 { 0 } else { self.strides[axis] };
        }
        axes
    }

    /// Where the first element lies.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// The stride of an axis.
    pub(crate) fn stride(&self, axis: usize) -> isize {
        self.strides[axis]
    }

    /// Asserts that all elements lie in a slice of `len`.
    #[track_caller]
    fn assert_inside(&self, len: usize) {
        if self.extents().contains(&0) {
            return;
        }
        let (mut low, mut high) = (self.first as isize, self.first as isize);
        for axis in 0..self.rank {
            let reach = (self.extents[axis] - 1) as isize * self.strides[axis];
            low += reach.min(0);
            high += reach.max(0);
        }
        assert!(low >= 0 && high < len as isize, "{low} to {high} of {len}");
    }

    /// Asserts that no two elements share a place.
    #[track_caller]
    fn assert_apart(&self) {
        let mut axes: [usize; AXES] = std::array::from_fn(|axis| axis);
        axes[..self.rank].sort_unstable_by_key(|axis| self.strides[*axis].unsigned_abs());
        let mut span = 1;
        for axis in axes.into_iter().take(self.rank).filter(|axis| self.extents[*axis] > 1) {
            let stride = self.strides[axis].unsigned_abs();
            assert!(stride >= span, "{:?} by {:?} has an element twice", self.extents(), self.strides);
            span += (self.extents[axis] - 1) * stride;
        }
    }
}

/// The place `offset` elements on from `first`.
fn place(first: usize, offset: isize) -> usize {
    first.checked_add_signed(offset).expect("elements lie in a slice")
}

/// An array to read.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a, T = f32> {
    /// What it lies in.
    pub data: &'a [T],
    /// Where.
    pub axes: Axes,
}

/// An array to write.
#[derive(Debug)]
pub struct ArrayMut<'a, T = f32> {
    /// What it lies in.
    pub data: &'a mut [T],
    /// Where.
    pub axes: Axes,
}

impl<'a, T> Array<'a, T> {
    /// An array in a slice.
    ///
    /// # Panics
    /// When it exceeds the slice.
    #[track_caller]
    pub fn new(data: &'a [T], axes: Axes) -> Self {
        axes.assert_inside(data.len());
        Self { data, axes }
    }
}

impl<'a, T> ArrayMut<'a, T> {
    /// An array in a slice.
    ///
    /// # Panics
    /// When it exceeds the slice, or repeats elements.
    #[track_caller]
    pub fn new(data: &'a mut [T], axes: Axes) -> Self {
        axes.assert_inside(data.len());
        axes.assert_apart();
        Self { data, axes }
    }
}

/// Nested loops over the common axes of some arrays, as few as their strides allow; the innermost are those along which
/// the elements of the first array lie closest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// Loops, at least one.
    pub(crate) rank: usize,
    pub(crate) extents: [usize; AXES],
    /// Of each loop, the strides of all arrays.
    pub(crate) strides: [[isize; ARRAYS]; AXES],
    firsts: [isize; ARRAYS],
}

/// The outer loops at one point.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    at: [usize; AXES],
    /// Where each array is.
    pub(crate) offsets: [isize; ARRAYS],
}

impl Walk {
    /// The loops over arrays of equal extents.
    #[track_caller]
    pub(crate) fn new(arrays: &[Axes]) -> Self {
        assert!(arrays.len() <= ARRAYS, "{} arrays", arrays.len());
        let extents = arrays[0].extents();
        assert!(arrays.iter().all(|axes| axes.extents() == extents), "{arrays:?}");
        let strides_of =
            |axis: usize| std::array::from_fn(|k: usize| arrays.get(k).map_or(0, |axes| axes.strides[axis]));
        let mut order: [usize; AXES] = std::array::from_fn(|axis| axis);
        let order = &mut order[..extents.len()];
        order.sort_unstable_by_key(|axis| (Reverse(strides_of(*axis)[0].unsigned_abs()), *axis));
        let mut walk = Self {
            rank: 0,
            extents: [1; AXES],
            strides: [[0; ARRAYS]; AXES],
            firsts: std::array::from_fn(|k| arrays.get(k).map_or(0, |axes| axes.first as isize)),
        };
        for axis in order.iter().copied().filter(|axis| extents[*axis] != 1) {
            let (extent, strides) = (extents[axis], strides_of(axis));
            let last = walk.rank.wrapping_sub(1);
            let joins =
                walk.rank > 0 && (0..ARRAYS).all(|k| walk.strides[last][k] == extent as isize * strides[k]);
            if joins {
                walk.extents[last] *= extent;
                walk.strides[last] = strides;
            } else {
                (walk.extents[walk.rank], walk.strides[walk.rank]) = (extent, strides);
                walk.rank += 1;
            }
        }
        walk.rank = walk.rank.max(1);
        walk
    }

    /// The innermost loop.
    pub(crate) fn inner(&self) -> (usize, [isize; ARRAYS]) {
        (self.extents[self.rank - 1], self.strides[self.rank - 1])
    }

    /// Iterations of the `loops` outermost loops.
    pub(crate) fn iterations(&self, loops: usize) -> usize {
        self.extents[..loops].iter().product()
    }

    /// Iterations of all but the innermost loop.
    pub(crate) fn lines(&self) -> usize {
        self.iterations(self.rank - 1)
    }

    /// Iteration `index` of the `loops` outermost loops.
    pub(crate) fn cursor(&self, loops: usize, mut index: usize) -> Cursor {
        let mut cursor = Cursor { at: [0; AXES], offsets: self.firsts };
        for axis in (0..loops).rev() {
            cursor.at[axis] = index % self.extents[axis];
            index /= self.extents[axis];
            for k in 0..ARRAYS {
                cursor.offsets[k] += cursor.at[axis] as isize * self.strides[axis][k];
            }
        }
        cursor
    }

    /// The next iteration of the `loops` outermost loops; behind the last it is the first again.
    #[inline(always)]
    pub(crate) fn advance(&self, loops: usize, cursor: &mut Cursor) {
        for axis in (0..loops).rev() {
            cursor.at[axis] += 1;
            for k in 0..ARRAYS {
                cursor.offsets[k] += self.strides[axis][k];
            }
            if cursor.at[axis] < self.extents[axis] {
                return;
            }
            for k in 0..ARRAYS {
                cursor.offsets[k] -= self.extents[axis] as isize * self.strides[axis][k];
            }
            cursor.at[axis] = 0;
        }
    }

    /// Makes the loop along which array `k` lies closest the second from inside, where it is not the innermost.
    pub(crate) fn bring_in(&mut self, k: usize) {
        let outer = self.rank - 1;
        let Some(closest) = (0..outer).min_by_key(|axis| self.strides[*axis][k].unsigned_abs()) else {
            return;
        };
        self.extents[closest..outer].rotate_left(1);
        self.strides[closest..outer].rotate_left(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of all elements, in row-major order.
    fn places(axes: Axes) -> Vec<usize> {
        let mut places = vec![axes.first as isize];
        for axis in 0..axes.rank {
            places = places
                .iter()
                .flat_map(|place| {
                    (0..axes.extents[axis]).map(move |i| place + i as isize * axes.strides[axis])
                })
                .collect();
        }
        places.into_iter().map(|place| place as usize).collect()
    }

    #[test]
    fn views_show_the_elements_they_say() {
        let axes = Axes::dense(&[2, 3]);
        assert_eq!(places(axes), [0, 1, 2, 3, 4, 5]);
        assert_eq!(places(axes.permuted(&[1, 0])), [0, 3, 1, 4, 2, 5]);
        assert_eq!(places(axes.flipped(1)), [2, 1, 0, 5, 4, 3]);
        assert_eq!(places(axes.sliced(1, 0, 2, 2)), [0, 2, 3, 5]);
        assert_eq!(places(axes.flipped(1).sliced(1, 1, 2, 1)), [1, 0, 4, 3]);
        assert_eq!(places(axes.repeated(0, 2)), [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]);
        assert_eq!(places(axes.sliced(0, 0, 1, 1).broadcast(&[2, 1, 3])), [0, 1, 2, 0, 1, 2]);
        let blocks = Axes::dense(&[6]).split(0, 2);
        assert_eq!((blocks.extents(), places(blocks)), (&[3, 2][..], vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(places(blocks.permuted(&[1, 0])), [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn loops_join_where_all_strides_allow() {
        let dense = Axes::dense(&[2, 3, 4]);
        let walk = Walk::new(&[dense, dense]);
        assert_eq!((walk.rank, walk.inner().0, walk.lines()), (1, 24, 1));
        let row = Axes::dense(&[4]).broadcast(&[2, 3, 4]);
        let walk = Walk::new(&[dense, row]);
        assert_eq!((walk.rank, walk.inner(), walk.lines()), (2, (4, [1, 1, 0, 0]), 6));
        let turned = dense.permuted(&[2, 1, 0]);
        let walk = Walk::new(&[turned, turned]);
        assert_eq!((walk.rank, walk.inner().0), (1, 24), "the order of axes does not matter");
        assert_eq!(Walk::new(&[Axes::dense(&[1, 1])]).inner().0, 1);
        assert_eq!(Walk::new(&[Axes::dense(&[])]).lines(), 1);
    }

    #[test]
    fn cursors_count_the_last_loop_fastest() {
        let axes = Axes::new(&[2, 3, 4], &[100, 10, 1]);
        let walk = Walk::new(&[axes]);
        let mut cursor = walk.cursor(2, 0);
        for index in 0..6 {
            let expected = [0, 10, 20, 100, 110, 120][index];
            assert_eq!(cursor.offsets[0], expected);
            assert_eq!(walk.cursor(2, index).offsets[0], expected);
            walk.advance(2, &mut cursor);
        }
        assert_eq!(cursor.offsets[0], 0);
    }

    #[test]
    #[should_panic(expected = "has an element twice")]
    fn what_is_written_may_not_repeat() {
        ArrayMut::new(&mut [0.0; 4], Axes::dense(&[1, 4]).sliced(0, 0, 1, 1).broadcast(&[2, 4]));
    }

    #[test]
    #[should_panic(expected = "0 to 5 of 5")]
    fn an_array_lies_in_its_slice() {
        Array::new(&[0.0; 5], Axes::dense(&[2, 3]));
    }
}
