//! Products of stacks of matrices, in any layout.
//!
//! A tile of the result stays in registers while a column of the left matrices and a row of the right ones pass by. The
//! right matrices' rows must lie dense for that, else they are copied so; and so must the result's.

use crate::axes::{AXES, Array, ArrayMut, Axes};
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::rearrange::copy;
use crate::simd::{Kernel, Simd, dispatch};

/// A product …×m×n of …×m×k and …×k×n.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    a: Axes,
    b: Axes,
    dst: Axes,
    /// The right matrices as they are read, in the first part of the workspace where they are copied.
    b_read: Axes,
    /// The result as it is computed, in the second.
    dst_written: Axes,
}

/// Rows and columns of the result that a task computes.
const ROWS: usize = 16;
const COLUMNS: usize = 256;
/// Multiplications that make a task.
const TASK: usize = 1 << 17;

impl MatMul {
    /// The product for arrays that lie so; stacks are repeated to that of `dst`.
    ///
    /// # Panics
    /// When the matrices do not multiply.
    pub fn new(a: Axes, b: Axes, dst: Axes) -> Self {
        let dims = |axes: Axes| -> [usize; 2] {
            let extents = axes.extents();
            extents[extents.len() - 2..].try_into().expect("two of them")
        };
        let ([m, k], [depth, n]) = (dims(a), dims(b));
        assert_eq!((k, dims(dst)), (depth, [m, n]), "{m}×{k} by {depth}×{n}");
        let as_rows = |axes: Axes| {
            let rank = axes.extents().len();
            let is_dense = axes.stride(rank - 1) == 1 || axes.extents()[rank - 1] == 1;
            if is_dense { axes } else { Axes::dense(axes.extents()) }
        };
        Self { a, b, dst, b_read: as_rows(b), dst_written: as_rows(dst) }
    }

    fn parts(&self) -> [usize; 2] {
        let len = |read: Axes, given: Axes| if read == given { 0 } else { given.elements() };
        [len(self.b_read, self.b), len(self.dst_written, self.dst)]
    }

    /// Floats of workspace that [`MatMul::run`] needs.
    pub fn workspace_len(&self) -> usize {
        self.parts().iter().sum()
    }

    /// `dst` = `a` · `b`, which lie as was said.
    pub fn run(&self, cx: &Context, a: &[f32], b: &[f32], dst: &mut [f32], workspace: &mut [f32]) {
        let a = Array::new(a, self.a);
        let b = Array::new(b, self.b);
        let [b_len, dst_len] = self.parts();
        let (b_rows, rest) = workspace.split_at_mut(b_len);
        let b = if b_len > 0 {
            copy(cx, b, ArrayMut::new(b_rows, self.b_read));
            Array::new(b_rows, self.b_read)
        } else {
            b
        };
        if dst_len == 0 {
            self.multiply(cx, a, b, ArrayMut::new(dst, self.dst));
        } else {
            let rows = &mut rest[..dst_len];
            self.multiply(cx, a, b, ArrayMut::new(rows, self.dst_written));
            copy(cx, Array::new(rows, self.dst_written), ArrayMut::new(dst, self.dst));
        }
    }

    fn multiply(&self, cx: &Context, a: Array, b: Array, dst: ArrayMut) {
        let (rank, extents) = (dst.axes.extents().len(), dst.axes);
        let extents = extents.extents();
        let (stack, [m, n]) = (&extents[..rank - 2], [extents[rank - 2], extents[rank - 1]]);
        let k = *a.axes.extents().last().expect("two at least");
        let spread = |axes: Axes, rows: usize, columns: usize| {
            let mut shape = [1; AXES];
            shape[..rank - 2].copy_from_slice(stack);
            [shape[rank - 2], shape[rank - 1]] = [rows, columns];
            axes.broadcast(&shape[..rank])
        };
        let (a_axes, b_axes) = (spread(a.axes, m, k), spread(b.axes, k, n));
        let stride = |axes: &Axes, from_last: usize| axes.stride(rank - from_last);
        let matrices = Matrices {
            a: a.data,
            a_strides: [stride(&a_axes, 2), stride(&a_axes, 1)],
            b: b.data,
            b_stride: stride(&b_axes, 2),
            dst: SharedMut::new(dst.data),
            dst_stride: stride(&dst.axes, 2),
            depth: k,
        };
        let offset = |axes: &Axes, index: usize| {
            let mut rest = index;
            let mut place = axes.first() as isize;
            for axis in (0..stack.len()).rev() {
                place += (rest % stack[axis]) as isize * axes.stride(axis);
                rest /= stack[axis];
            }
            place
        };
        let (bands, panels) = (m.div_ceil(ROWS), n.div_ceil(COLUMNS));
        let work = ROWS.min(m) * COLUMNS.min(n) * k.max(1);
        let count: usize = stack.iter().product();
        for_each_piece(cx.exec, count * bands * panels, (TASK / work.max(1)).max(1), |start, len, _| {
            for unit in start..start + len {
                let (index, band, panel) = (unit / (bands * panels), unit / panels % bands, unit % panels);
                let task = Block {
                    of: &matrices,
                    offsets: [offset(&a_axes, index), offset(&b_axes, index), offset(&dst.axes, index)],
                    rows: [band * ROWS, m.min((band + 1) * ROWS)],
                    columns: [panel * COLUMNS, n.min((panel + 1) * COLUMNS)],
                };
                dispatch(cx.isa, task);
            }
        });
    }
}

struct Matrices<'a> {
    a: &'a [f32],
    a_strides: [isize; 2],
    b: &'a [f32],
    b_stride: isize,
    dst: SharedMut<'a, f32>,
    dst_stride: isize,
    depth: usize,
}

/// Rows and columns, from and to, of the product of the matrices that begin at the offsets.
struct Block<'a> {
    of: &'a Matrices<'a>,
    offsets: [isize; 3],
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [first_column, last_column] = self.columns;
        let mut column = first_column;
        while column + 2 * S::LANES <= last_column {
            self.panel::<S, 2>(s, column, S::LANES);
            column += 2 * S::LANES;
        }
        while column < last_column {
            let lanes = S::LANES.min(last_column - column);
            self.panel::<S, 1>(s, column, lanes);
            column += lanes;
        }
    }
}

impl Block<'_> {
    /// All rows of `V` vectors of columns (the last of `lanes`).
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&self, s: S, column: usize, lanes: usize) {
        let [mut row, last] = self.rows;
        while row + 4 <= last {
            self.tile::<S, 4, V>(s, row, column, lanes);
            row += 4;
        }
        while row < last {
            self.tile::<S, 1, V>(s, row, column, lanes);
            row += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S, row: usize, column: usize, lanes: usize) {
        let Matrices { a, a_strides, b, b_stride, dst, dst_stride, depth } = *self.of;
        let mut sums = [[s.zero(); V]; R];
        // SAFETY: rows, columns and depth are those of matrices that lie in their slices; blocks are their task's own.
        unsafe {
            let a = a.as_ptr().offset(self.offsets[0] + row as isize * a_strides[0]);
            let b = b.as_ptr().offset(self.offsets[1]).add(column);
            for k in 0..depth as isize {
                let mut vectors = [s.zero(); V];
                for v in 0..V {
                    vectors[v] = s.load_up_to(b.offset(k * b_stride).add(v * S::LANES), lanes);
                }
                for r in 0..R {
                    let factor = s.splat(*a.offset(r as isize * a_strides[0] + k * a_strides[1]));
                    for v in 0..V {
                        sums[r][v] = s.mul_add(factor, vectors[v], sums[r][v]);
                    }
                }
            }
            let dst = dst.ptr_at(0).offset(self.offsets[2] + row as isize * dst_stride).add(column);
            for r in 0..R {
                for v in 0..V {
                    let dst = dst.offset(r as isize * dst_stride).add(v * S::LANES);
                    s.store_up_to(dst, sums[r][v], lanes);
                }
            }
        }
    }
}
