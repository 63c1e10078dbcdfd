//! Arrays combined along any of their axes: sums, products, extremes, and where extremes are.
//!
//! The order of combination is fixed by the problem: each result is one task's, which goes through its elements as they
//! lie. Sums are gathered in float64 after every few elements.

use crate::axes::{Array, ArrayMut, Axes, Cursor, Walk};
use crate::elementwise::{greatest, least};
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::GRAIN;
use crate::simd::{Kernel, Simd, dispatch};

/// What elements are combined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The sum.
    Sum,
    /// The sum of squares.
    SumOfSquares,
    /// The sum of products with the elements of a second array.
    SumOfProducts,
    /// The product.
    Product,
    /// The greatest; NaN where there is one.
    Max,
    /// The least; NaN where there is one.
    Min,
}

impl Fold {
    fn start(self) -> f32 {
        match self {
            Fold::Sum | Fold::SumOfSquares | Fold::SumOfProducts => 0.0,
            Fold::Product => 1.0,
            Fold::Max => f32::NEG_INFINITY,
            Fold::Min => f32::INFINITY,
        }
    }

    #[inline(always)]
    fn add<S: Simd>(self, s: S, so_far: S::F, x: S::F, y: S::F) -> S::F {
        match self {
            Fold::Sum => s.add(so_far, x),
            Fold::SumOfSquares => s.mul_add(x, x, so_far),
            Fold::SumOfProducts => s.mul_add(x, y, so_far),
            Fold::Product => s.mul(so_far, x),
            Fold::Max => greatest(s, so_far, x),
            Fold::Min => least(s, so_far, x),
        }
    }

    /// The combination of two partial results.
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Fold::Sum | Fold::SumOfSquares | Fold::SumOfProducts => a + b,
            Fold::Product => a * b,
            Fold::Max if a > b || a.is_nan() => a,
            Fold::Max => b,
            Fold::Min if a < b || a.is_nan() => a,
            Fold::Min => b,
        }
    }
}

/// Vectors that are combined in float32 before they join the result so far.
const SEGMENT: usize = 64;
/// Columns of a task.
const COLUMNS: usize = 64;

/// `dst` = `scale` · the combination of `src` (and of products with `by`, of the extents of `src`) along the axes whose
/// extent in `dst` is 1.
pub fn fold(cx: &Context, op: Fold, src: Array, by: Option<Array>, scale: f32, dst: ArrayMut) {
    assert_eq!(by.is_some(), op == Fold::SumOfProducts, "{op:?} of one array or two");
    let by = by.unwrap_or(src);
    let folds = |axis: usize| is_folded(src.axes, dst.axes, axis);
    let kept = |axes| select(axes, |axis| !folds(axis));
    let outputs = Walk::new(&[dst.axes, kept(src.axes), kept(by.axes)]);
    let terms = Walk::new(&[select(src.axes, folds), select(by.axes, folds)]);
    if dst.axes.elements() == 0 {
        return;
    }
    let (width, steps) = outputs.inner();
    let columns = steps[1] == 1 && steps[2] == 1 && (terms.inner().1[0] != 1 || terms.inner().0 < 4);
    let width = if columns { width } else { 1 };
    let loops = if columns { outputs.rank - 1 } else { outputs.rank };
    let blocks = width.div_ceil(COLUMNS);
    let elements: usize = terms.iterations(terms.rank) * width.min(COLUMNS);
    let grain = (GRAIN / elements.max(1)).max(1);
    let firsts = [src.axes, by.axes].map(|axes| axes.first() as isize);
    let dst = SharedMut::new(dst.data);
    for_each_piece(cx.exec, outputs.iterations(loops) * blocks, grain, |start, len, _| {
        for unit in start..start + len {
            let cursor = outputs.cursor(loops, unit / blocks);
            let at = unit % blocks * COLUMNS;
            let len = COLUMNS.min(width - at);
            let task = Terms { op, walk: &terms, src: [src.data, by.data], cursor, at, len, columns, firsts };
            let results = dispatch(cx.isa, task);
            for (column, result) in results[..len].iter().enumerate() {
                let place = cursor.offsets[0] + (at + column) as isize * steps[0];
                // SAFETY: results are their task's own, and lie in the slice.
                unsafe { *dst.ptr_at(0).offset(place) = (result * f64::from(scale)) as f32 };
            }
        }
    });
}

fn is_folded(src: Axes, dst: Axes, axis: usize) -> bool {
    let (from, to) = (src.extents()[axis], dst.extents()[axis]);
    assert!(from == to || to == 1, "{:?} folded to {:?}", src.extents(), dst.extents());
    from != to
}

/// Some axes of an array, the others at 0.
fn select(mut axes: Axes, is_chosen: impl Fn(usize) -> bool) -> Axes {
    for axis in (0..axes.extents().len()).filter(|axis| !is_chosen(*axis)) {
        axes = axes.sliced(axis, 0, 1, 1);
    }
    axes
}

/// The terms of one result, or of `len` columns from `at` on.
struct Terms<'a> {
    op: Fold,
    walk: &'a Walk,
    src: [&'a [f32]; 2],
    /// The results' place; arrays 1 and 2 are the sources.
    cursor: Cursor,
    at: usize,
    len: usize,
    columns: bool,
    /// Where the sources begin: both walks count from there.
    firsts: [isize; 2],
}

impl Kernel for Terms<'_> {
    type Output = [f64; COLUMNS];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; COLUMNS] {
        match self.op {
            Fold::Sum => self.all::<S>(s, Fold::Sum),
            Fold::SumOfSquares => self.all::<S>(s, Fold::SumOfSquares),
            Fold::SumOfProducts => self.all::<S>(s, Fold::SumOfProducts),
            Fold::Product => self.all::<S>(s, Fold::Product),
            Fold::Max => self.all::<S>(s, Fold::Max),
            Fold::Min => self.all::<S>(s, Fold::Min),
        }
    }
}

impl Terms<'_> {
    #[inline(always)]
    fn all<S: Simd>(&self, s: S, op: Fold) -> [f64; COLUMNS] {
        if self.columns { self.by_columns(s, op) } else { self.by_rows(s, op) }
    }

    /// Where the sources are at a point of the walk over terms.
    #[inline(always)]
    fn places(&self, terms: &Cursor) -> [*const f32; 2] {
        std::array::from_fn(|k| {
            let offset = self.cursor.offsets[k + 1] - self.firsts[k] + terms.offsets[k];
            // SAFETY: the sum of a kept and a folded place is an element of the array, which lies in its slice.
            unsafe { self.src[k].as_ptr().offset(offset) }
        })
    }

    /// A vector of results at a time, whose elements lie side by side.
    #[inline(always)]
    fn by_columns<S: Simd>(&self, s: S, op: Fold) -> [f64; COLUMNS] {
        let mut results = [f64::from(op.start()); COLUMNS];
        let walk = self.walk;
        let total = walk.iterations(walk.rank);
        let mut column = 0;
        while column < self.len {
            let lanes = S::LANES.min(self.len - column);
            let mut cursor = walk.cursor(walk.rank, 0);
            let mut term = 0;
            while term < total {
                let mut partial = s.splat(op.start());
                let segment = SEGMENT.min(total - term);
                for _ in 0..segment {
                    let [x, y] = self.places(&cursor);
                    // SAFETY: within the columns, which lie side by side.
                    unsafe {
                        let x = s.load_up_to(x.add(self.at + column), lanes);
                        let y = if op == Fold::SumOfProducts {
                            s.load_up_to(y.add(self.at + column), lanes)
                        } else {
                            x
                        };
                        partial = op.add(s, partial, x, y);
                    }
                    walk.advance(walk.rank, &mut cursor);
                }
                term += segment;
                join(s, op, &mut results[column..column + lanes], partial);
            }
            column += lanes;
        }
        results
    }

    /// One result, a vector of terms at a time.
    #[inline(always)]
    fn by_rows<S: Simd>(&self, s: S, op: Fold) -> [f64; COLUMNS] {
        const MOST: usize = 16;
        const { assert!(S::LANES <= MOST) };
        let mut lanes = [f64::from(op.start()); MOST];
        let mut result = f64::from(op.start());
        let walk = self.walk;
        let (inner, [x_step, y_step, ..]) = walk.inner();
        let loops = walk.rank - 1;
        let mut cursor = walk.cursor(loops, 0);
        for _ in 0..walk.lines() {
            let [x, y] = self.places(&cursor);
            let mut at = 0;
            if x_step == 1 && y_step == 1 {
                while at + S::LANES <= inner {
                    let mut partial = s.splat(op.start());
                    let segment = SEGMENT.min((inner - at) / S::LANES);
                    for _ in 0..segment {
                        // SAFETY: within the line.
                        unsafe { partial = op.add(s, partial, s.load(x.add(at)), s.load(y.add(at))) };
                        at += S::LANES;
                    }
                    join(s, op, &mut lanes[..S::LANES], partial);
                }
            }
            for i in at as isize..inner as isize {
                // SAFETY: within the line.
                let (x, y) = unsafe { (f64::from(*x.offset(i * x_step)), f64::from(*y.offset(i * y_step))) };
                let term = match op {
                    Fold::SumOfSquares => x * x,
                    Fold::SumOfProducts => x * y,
                    _ => x,
                };
                result = op.join(result, term);
            }
            walk.advance(loops, &mut cursor);
        }
        for lane in &lanes[..S::LANES] {
            result = op.join(result, *lane);
        }
        let mut results = [0.0; COLUMNS];
        results[0] = result;
        results
    }
}

/// Joins the lanes of a vector to as many results.
#[inline(always)]
fn join<S: Simd>(s: S, op: Fold, results: &mut [f64], partial: S::F) {
    const MOST: usize = 16;
    let mut values = [0.0; MOST];
    // SAFETY: there is room for all lanes.
    unsafe { s.store_f32(values.as_mut_ptr(), partial) };
    for (result, value) in results.iter_mut().zip(values) {
        *result = op.join(*result, f64::from(value));
    }
}

/// Which element of an axis is the extreme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgMax {
    /// The axis.
    pub axis: usize,
    /// The least instead of the greatest.
    pub least: bool,
    /// The last of equals instead of the first.
    pub last: bool,
}

impl ArgMax {
    /// `dst`, which lacks the axis, = where along it the extremes of `src` are; NaN is more extreme than all.
    pub fn run(&self, cx: &Context, src: Array, dst: ArrayMut<u32>) {
        let (size, step) = (src.axes.extents()[self.axis], src.axes.stride(self.axis));
        let places = src.axes.sliced(self.axis, 0, 1, 1);
        let lines = Walk::new(&[dst.axes.repeated(self.axis, 1), places]);
        if dst.axes.elements() == 0 {
            return;
        }
        let (loops, dst) = (lines.rank, SharedMut::new(dst.data));
        let grain = (GRAIN / size.max(1)).max(1);
        for_each_piece(cx.exec, lines.iterations(loops), grain, |start, len, _| {
            let mut cursor = lines.cursor(loops, start);
            for _ in 0..len {
                let [to, from, ..] = cursor.offsets;
                // SAFETY: both lie in their slices, and results are their task's own.
                unsafe {
                    let src = src.data.as_ptr().offset(from);
                    *dst.ptr_at(0).offset(to) = self.of(size, |i| *src.offset(i as isize * step));
                }
                lines.advance(loops, &mut cursor);
            }
        });
    }

    #[inline(always)]
    fn of(&self, size: usize, element: impl Fn(usize) -> f32) -> u32 {
        let (mut best, mut index) = (element(0), 0);
        for i in 1..size {
            let x = element(i);
            let better = if self.least { x < best } else { x > best };
            let equal = x == best || x.is_nan() && best.is_nan();
            if better || x.is_nan() && !best.is_nan() || self.last && equal {
                (best, index) = (x, i);
            }
        }
        index as u32
    }
}
