//! Functions of one element or one row at a time, applied to whole maps.

use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut, extent};

/// Elements of an operand that one task works on: 32 KiB, so that what a task costs to start is small
/// beside its work, and a map of a few thousand elements is one task.
pub(crate) const GRAIN: usize = 1 << 13;

/// As many rows of `channels` elements as make about [`GRAIN`] elements, at least one.
pub(crate) fn rows_per_task(channels: usize) -> usize {
    (GRAIN / channels.max(1)).max(1)
}

/// Asserts that `data` can hold `rows` × `channels` elements with rows `ld` apart.
#[track_caller]
pub(crate) fn assert_fits<E>(name: &str, data: &[E], rows: usize, channels: usize, ld: usize) {
    let needed = extent(rows, channels, ld);
    assert!(rows <= 1 || ld >= channels, "{name}: rows of {channels} lie only {ld} apart");
    assert!(data.len() >= needed, "{name}: {rows}×{channels} needs {needed} elements, has {}", data.len());
}

/// A function of one element of each of `N` operands.
pub(crate) trait Map<const N: usize>: Copy + Sync {
    /// The function, for a vector of elements. Implementations are `#[inline(always)]`.
    fn map<S: Simd>(self, s: S, operands: [S::F; N]) -> S::F;
}

/// A constant.
impl Map<0> for f32 {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, []: [S::F; 0]) -> S::F {
        s.splat(self)
    }
}

/// `dst` = `f` of the operands, for `rows` × `channels` elements. An operand `None` is what `dst` held before.
pub(crate) fn map<E: Element, const N: usize>(
    cx: &Context,
    f: impl Map<N>,
    operands: [Option<Pixels<E>>; N],
    dst: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    assert_fits("dst", dst.data, rows, channels, dst.ld);
    for src in operands.iter().flatten() {
        assert_fits("src", src.data, rows, channels, src.ld);
    }
    // Dense maps are one run of elements, which is cut anywhere; others are cut between rows.
    let dense =
        rows <= 1 || operands.iter().flatten().map(|src| src.ld).chain([dst.ld]).all(|ld| ld == channels);
    let (units, grain) = if dense { (rows * channels, GRAIN) } else { (rows, rows_per_task(channels)) };
    let step = |ld| if dense { 1 } else { ld };
    let operands = operands.map(|src| src.map(|src| Pixels::new(src.data, step(src.ld))));
    let (ld, data) = (step(dst.ld), SharedMut::new(dst.data));
    for_each_piece(cx.exec, units, grain, |start, count, _worker| {
        let (rows, len) = if dense { (1, count) } else { (count, channels) };
        dispatch(cx.isa, Strip { f, operands, data, ld, start, rows, len });
    });
}

/// `rows` runs of `len` elements; run r starts `(start + r) × ld` into an operand, and likewise into `data`.
struct Strip<'a, M, E, const N: usize> {
    f: M,
    operands: [Option<Pixels<'a, E>>; N],
    data: SharedMut<'a, E>,
    ld: usize,
    start: usize,
    rows: usize,
    len: usize,
}

impl<M: Map<N>, E: Element, const N: usize> Kernel for Strip<'_, M, E, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.start..self.start + self.rows {
            // SAFETY: `map` has asserted that all rows lie inside; no other task writes this strip's runs.
            unsafe {
                let dst = self.data.ptr_at(row * self.ld);
                let operands = self.operands.map(|operand| match operand {
                    Some(src) => src.data.as_ptr().add(row * src.ld),
                    None => dst.cast_const(),
                });
                let whole = self.len - self.len % S::LANES;
                let mut c = 0;
                while c < whole {
                    self.vector(s, operands, dst, c, S::LANES);
                    c += S::LANES;
                }
                if whole < self.len {
                    self.vector(s, operands, dst, whole, self.len - whole);
                }
            }
        }
    }
}

impl<M: Map<N>, E: Element, const N: usize> Strip<'_, M, E, N> {
    /// The function of `lanes` elements from `at` on.
    ///
    /// # Safety
    /// They are readable and writable through the pointers.
    #[inline(always)]
    unsafe fn vector<S: Simd>(&self, s: S, operands: [*const E; N], dst: *mut E, at: usize, lanes: usize) {
        // Loops, not closures: a closure that is not inlined loses the instruction set.
        let mut values = [s.zero(); N];
        // SAFETY: the caller's contract.
        unsafe {
            for operand in 0..N {
                values[operand] = s.load_up_to(operands[operand].add(at), lanes);
            }
            s.store_up_to(dst.add(at), self.f.map(s, values), lanes);
        }
    }
}

/// Rows to write, by several tasks at once.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows<'a> {
    data: SharedMut<'a, f32>,
    ld: usize,
}

impl<'a> SharedRows<'a> {
    pub(crate) fn new(pixels: PixelsMut<'a>) -> Self {
        Self { data: SharedMut::new(pixels.data), ld: pixels.ld }
    }

    /// The `channels` elements of row `row`.
    ///
    /// # Safety
    /// `channels` does not exceed the distance of rows, and no other live reference or concurrent task
    /// touches this row.
    #[inline(always)]
    pub(crate) unsafe fn row(&self, row: usize, channels: usize) -> &'a mut [f32] {
        // SAFETY: rows do not overlap, so the caller's contract makes this one exclusive.
        unsafe { self.data.range(row * self.ld, channels) }
    }
}

/// A function of whole rows.
pub(crate) trait Rows: Sync {
    /// Computes row `row`; called once for each. Implementations are `#[inline(always)]`.
    fn row<S: Simd>(&self, s: S, row: usize);
}

/// Calls `f` for `rows` rows, of `channels` elements each.
pub(crate) fn for_each_row(cx: &Context, rows: usize, channels: usize, f: &impl Rows) {
    for_each_piece(cx.exec, rows, rows_per_task(channels), |start, count, _worker| {
        dispatch(cx.isa, Piece { f, start, count });
    });
}

struct Piece<'a, R> {
    f: &'a R,
    start: usize,
    count: usize,
}

impl<R: Rows> Kernel for Piece<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.start..self.start + self.count {
            self.f.row(s, row);
        }
    }
}
