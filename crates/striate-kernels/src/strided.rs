//! Loop nests over (n, h, w, c) with a stride per operand, flattened as far as the strides allow.

/// Four nested loops, outermost first, walking `K` operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Nest<const K: usize> {
    pub(crate) extents: [usize; 4],
    /// Elements from one iteration to the next, of each loop and operand; 0 repeats an operand.
    pub(crate) strides: [[usize; K]; 4],
}

impl<const K: usize> Nest<K> {
    /// The nest that visits the same elements in the same order with as few loops as possible: an outer loop
    /// whose step is the whole inner loop, for every operand, joins it. Unused outer loops have extent 1.
    pub(crate) fn new(extents: [usize; 4], strides: [[usize; K]; 4]) -> Self {
        let mut nest = Self { extents: [1; 4], strides: [[0; K]; 4] };
        (nest.extents[3], nest.strides[3]) = (extents[3], strides[3]);
        let mut inner = 3;
        for dim in (0..3).rev().filter(|dim| extents[*dim] != 1) {
            let single = nest.extents[inner] == 1;
            let steps_over = (0..K).all(|k| strides[dim][k] == nest.extents[inner] * nest.strides[inner][k]);
            // A loop of one iteration gives way, but the innermost must keep going element by element.
            if single && (inner < 3 || strides[dim].iter().all(|stride| *stride <= 1)) {
                nest.strides[inner] = strides[dim];
            } else if !steps_over {
                inner -= 1;
                nest.strides[inner] = strides[dim];
            }
            nest.extents[inner] *= extents[dim];
        }
        nest
    }

    /// Iterations of the three outer loops together.
    pub(crate) fn outer(&self) -> usize {
        self.extents[..3].iter().product()
    }

    /// Where each operand is in iteration `index` of the outer loops, counted over `extents` of them.
    #[inline(always)]
    pub(crate) fn offsets(&self, mut index: usize, extents: [usize; 3]) -> [usize; K] {
        let mut offsets = [0; K];
        for dim in (0..3).rev() {
            // Divisions only where there are loops further out.
            let at = if index < extents[dim] { index } else { index % extents[dim] };
            index = if index < extents[dim] { 0 } else { index / extents[dim] };
            for k in 0..K {
                offsets[k] += at * self.strides[dim][k];
            }
        }
        offsets
    }
}

/// The strides of (n, h, w, c) in a map of `shape` with pixel distance `ld`; 0 where the extent is 1.
pub(crate) fn strides([n, h, w, c]: [usize; 4], ld: usize) -> [usize; 4] {
    let stride = |extent: usize, stride: usize| if extent == 1 { 0 } else { stride };
    [stride(n, h * w * ld), stride(h, w * ld), stride(w, ld), stride(c, 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nest(extents: [usize; 4], ld: [usize; 2], other: [usize; 4]) -> Nest<2> {
        let [a, b] = [strides(extents, ld[0]), strides(other, ld[1])];
        Nest::new(extents, std::array::from_fn(|dim| [a[dim], b[dim]]))
    }

    #[test]
    fn loops_join_where_strides_allow() {
        let full = [2, 3, 4, 5];
        assert_eq!(
            nest(full, [5, 5], full),
            Nest { extents: [1, 1, 1, 120], strides: [[0; 2], [0; 2], [0; 2], [1; 2]] }
        );
        assert_eq!(nest(full, [5, 7], full).extents, [1, 1, 24, 5], "wide pixels join each other");
        assert_eq!(nest(full, [5, 5], [1, 1, 1, 5]).extents, [1, 1, 24, 5], "a parameter per channel");
        assert_eq!(nest(full, [5, 5], [1, 3, 4, 5]).extents, [1, 1, 2, 60], "a parameter per position");
        assert_eq!(nest(full, [5, 5], [2, 1, 1, 5]).extents, [1, 2, 12, 5], "a factor per image and channel");
        assert_eq!(nest(full, [5, 5], [2, 1, 4, 1]).extents, [2, 3, 4, 5], "nothing joins");
        assert_eq!(nest([2, 3, 4, 1], [1, 1], [2, 3, 4, 1]).extents, [1, 1, 1, 24], "one channel");
        assert_eq!(nest([2, 3, 4, 1], [3, 1], [2, 3, 4, 1]).extents, [1, 1, 24, 1], "one channel of three");
    }

    #[test]
    fn offsets_count_the_last_loop_fastest() {
        let nest = nest([2, 3, 4, 5], [6, 1], [2, 1, 4, 1]);
        let outer = [2, 3, 4];
        let offsets: Vec<_> = (0..nest.outer()).map(|i| nest.offsets(i, outer)).collect();
        assert_eq!(offsets[..5], [[0, 0], [6, 1], [12, 2], [18, 3], [24, 0]]);
        assert_eq!(offsets[23], [23 * 6, 7]);
    }
}
