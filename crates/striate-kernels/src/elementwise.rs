//! Functions of one element of each of some arrays, of which any may repeat along any axis.
//!
//! Whole maps of equal shape are one run of vectors; where an operand lies in another order, its elements are gathered.

use crate::axes::{ARRAYS, Array, ArrayMut, Walk};
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, Map};
use crate::simd::{Kernel, Simd, dispatch, math};

/// How two elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a · b
    Multiply,
    /// max(a + b, 0)
    AddRelu,
    /// max(a · b, 0)
    MultiplyRelu,
    /// a − b
    Subtract,
    /// a ÷ b
    Divide,
    /// a to the power of b, as C's `powf`.
    Power,
    /// The lesser; NaN where either is.
    Minimum,
    /// The greater; NaN where either is.
    Maximum,
    /// 1 where a = b, else 0.
    Equal,
    /// 1 where a < b, else 0.
    Less,
    /// 1 where a > b, else 0.
    Greater,
    /// a where positive or NaN, else b·a.
    Prelu,
}

/// `dst` = `a` op `b`, repeated to the extents of `dst`. An operand `None` is what `dst` held before.
pub fn binary(cx: &Context, op: Binary, operands: [Option<Array>; 2], dst: ArrayMut) {
    match op {
        Binary::Add => map(cx, Add, operands, dst),
        Binary::Multiply => map(cx, Multiply, operands, dst),
        Binary::AddRelu => map(cx, ThenRelu(Add), operands, dst),
        Binary::MultiplyRelu => map(cx, ThenRelu(Multiply), operands, dst),
        Binary::Subtract => map(cx, Subtract, operands, dst),
        Binary::Divide => map(cx, Divide, operands, dst),
        Binary::Power => map(cx, Power, operands, dst),
        Binary::Minimum => map(cx, Minimum, operands, dst),
        Binary::Maximum => map(cx, Maximum, operands, dst),
        Binary::Equal => map(cx, Equal, operands, dst),
        Binary::Less => map(cx, Less, operands, dst),
        Binary::Greater => map(cx, Greater, operands, dst),
        Binary::Prelu => map(cx, Prelu, operands, dst),
    }
}

/// `dst` = `a` where `condition` is not 0, else `b`; all repeated to the extents of `dst`.
pub fn choose(cx: &Context, [condition, a, b]: [Array; 3], dst: ArrayMut) {
    map(cx, Choose, [Some(condition), Some(a), Some(b)], dst);
}

/// `dst` = `factor` · `src`, repeated to the extents of `dst`.
pub fn scale(cx: &Context, factor: f32, src: Array, dst: ArrayMut) {
    map(cx, Scale(factor), [Some(src)], dst);
}

/// `dst` = (`a` + `factor` · `b`) · `c`, all repeated to the extents of `dst`; `None` is what `dst` held before.
pub fn add_scaled_times(cx: &Context, factor: f32, operands: [Option<Array>; 3], dst: ArrayMut) {
    map(cx, AddScaledTimes(factor), operands, dst);
}

/// `data` = 1/√(`factor` · `data` + `epsilon`).
pub fn inverse_roots(cx: &Context, factor: f32, epsilon: f32, data: ArrayMut) {
    map(cx, InverseRoot { factor, epsilon }, [None], data);
}

/// `dst` = `f` of the operands, repeated to the extents of `dst`; `None` is what `dst` held before.
pub(crate) fn map<const N: usize>(cx: &Context, f: impl Map<N>, operands: [Option<Array>; N], dst: ArrayMut) {
    if dst.axes.elements() == 0 {
        return;
    }
    let mut arrays = [dst.axes; ARRAYS];
    for (axes, operand) in arrays[1..].iter_mut().zip(&operands) {
        *axes = operand.map_or(dst.axes, |array| array.axes.broadcast(dst.axes.extents()));
    }
    let walk = Walk::new(&arrays[..=N]);
    let operands = operands.map(|operand| operand.map(|array| array.data));
    let dst = SharedMut::new(dst.data);
    // Long lines are cut, short ones gathered to tasks.
    let (inner, _) = walk.inner();
    let cuts = inner.div_ceil(GRAIN);
    let grain = (GRAIN / inner).max(1);
    for_each_piece(cx.exec, walk.lines() * cuts, grain, |start, len, _| {
        if cuts == 1 {
            let (lines, at) = (len, 0);
            dispatch(cx.isa, Lines { f, walk: &walk, start, lines, at, len: inner, operands, dst });
            return;
        }
        for unit in start..start + len {
            let (start, at) = (unit / cuts, unit % cuts * GRAIN);
            let len = GRAIN.min(inner - at);
            dispatch(cx.isa, Lines { f, walk: &walk, start, lines: 1, at, len, operands, dst });
        }
    });
}

/// Elements `at .. at + len` of `lines` lines from `start` on.
struct Lines<'a, M, const N: usize> {
    f: M,
    walk: &'a Walk,
    start: usize,
    lines: usize,
    at: usize,
    len: usize,
    operands: [Option<&'a [f32]>; N],
    dst: SharedMut<'a, f32>,
}

impl<M: Map<N>, const N: usize> Kernel for Lines<'_, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (rank, at) = (self.walk.rank, self.at as isize);
        let (_, steps) = self.walk.inner();
        // Lines that follow one another in the loop next to the innermost.
        let (rows, to_next) = match rank {
            1 => (1, [0; ARRAYS]),
            _ => (self.walk.extents[rank - 2], self.walk.strides[rank - 2]),
        };
        let (mut runs, mut is_plain) = (steps[0] == 1, steps[0] == 1);
        for n in 0..N {
            let step = if self.operands[n].is_some() { steps[n + 1] } else { steps[0] };
            runs &= step == 1;
            is_plain &= step == 1 || step == 0;
        }
        let mut line = self.start;
        while line < self.start + self.lines {
            let offsets = self.walk.cursor(rank - 1, line).offsets;
            let count = (rows - line % rows).min(self.start + self.lines - line);
            line += count;
            // SAFETY: arrays lie in their slices (`Array::new`), and so do those that repeat them; no element of `dst`
            // is written twice (`ArrayMut::new`), and lines are their task's own.
            unsafe {
                let mut dst = self.dst.ptr_at(0).offset(offsets[0] + at * steps[0]);
                let mut operands = [(dst.cast_const(), steps[0]); N];
                let mut next = [to_next[0]; N];
                for n in 0..N {
                    if let Some(data) = self.operands[n] {
                        let offset = offsets[n + 1] + at * steps[n + 1];
                        operands[n] = (data.as_ptr().offset(offset), steps[n + 1]);
                        next[n] = to_next[n + 1];
                    }
                }
                for _ in 0..count {
                    if runs {
                        self.line::<S, RUNS>(s, operands, (dst, 1));
                    } else if is_plain {
                        self.line::<S, PLAIN>(s, operands, (dst, 1));
                    } else {
                        self.line::<S, GATHERED>(s, operands, (dst, steps[0]));
                    }
                    dst = dst.wrapping_offset(to_next[0]);
                    for n in 0..N {
                        operands[n].0 = operands[n].0.wrapping_offset(next[n]);
                    }
                }
            }
        }
    }
}

impl<M: Map<N>, const N: usize> Lines<'_, M, N> {
    /// One line, whose elements lie as `HOW` says.
    ///
    /// # Safety
    /// `len` elements can be read and written through the pointers, steps apart.
    #[inline(always)]
    unsafe fn line<S: Simd, const HOW: u8>(
        &self,
        s: S,
        operands: [(*const f32, isize); N],
        (dst, dst_step): (*mut f32, isize),
    ) {
        let whole = self.len - self.len % S::LANES;
        let mut at = 0;
        // SAFETY: the caller's contract.
        unsafe {
            while at < whole {
                vector::<S, M, N, HOW>(s, self.f, operands, (dst, dst_step), at, S::LANES);
                at += S::LANES;
            }
            if whole < self.len {
                vector::<S, M, N, HOW>(s, self.f, operands, (dst, dst_step), whole, self.len - whole);
            }
        }
    }
}

/// Of a line, all elements lie side by side,
const RUNS: u8 = 0;
/// or those of some operands are one,
const PLAIN: u8 = 1;
/// or they lie further apart.
const GATHERED: u8 = 2;

/// The function of `lanes` elements from `at` on; steps lie between elements.
///
/// # Safety
/// They can be read and written through the pointers.
#[inline(always)]
unsafe fn vector<S: Simd, M: Map<N>, const N: usize, const HOW: u8>(
    s: S,
    f: M,
    operands: [(*const f32, isize); N],
    (dst, dst_step): (*mut f32, isize),
    at: usize,
    lanes: usize,
) {
    const MOST: usize = 16;
    const { assert!(S::LANES <= MOST) };
    let mut values = [s.zero(); N];
    // SAFETY: the caller's contract.
    unsafe {
        for n in 0..N {
            let (src, step) = operands[n];
            values[n] = if HOW == RUNS || step == 1 {
                s.load_up_to(src.add(at), lanes)
            } else if HOW == PLAIN || step == 0 {
                s.splat(*src)
            } else {
                let mut gathered = [0.0; MOST];
                for lane in 0..lanes {
                    gathered[lane] = *src.offset((at + lane) as isize * step);
                }
                s.load_f32(gathered.as_ptr())
            };
        }
        let value = f.map(s, values);
        if HOW != GATHERED || dst_step == 1 {
            s.store_up_to(dst.add(at), value, lanes);
        } else {
            let mut scattered = [0.0; MOST];
            s.store_f32(scattered.as_mut_ptr(), value);
            for lane in 0..lanes {
                *dst.offset((at + lane) as isize * dst_step) = scattered[lane];
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Add;

impl Map<2> for Add {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.add(a, b)
    }
}

#[derive(Clone, Copy)]
struct Multiply;

impl Map<2> for Multiply {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.mul(a, b)
    }
}

/// What is positive or NaN of another function's results, else 0.
#[derive(Clone, Copy)]
struct ThenRelu<M>(M);

impl<M: Map<2>> Map<2> for ThenRelu<M> {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, operands: [S::F; 2]) -> S::F {
        s.max(s.zero(), self.0.map(s, operands))
    }
}

#[derive(Clone, Copy)]
struct Subtract;

impl Map<2> for Subtract {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.sub(a, b)
    }
}

#[derive(Clone, Copy)]
struct Divide;

impl Map<2> for Divide {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.div(a, b)
    }
}

#[derive(Clone, Copy)]
struct Power;

impl Map<2> for Power {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, operands: [S::F; 2]) -> S::F {
        math::by_lanes(s, operands, |[a, b]| a.powf(b))
    }
}

#[derive(Clone, Copy)]
struct Minimum;

impl Map<2> for Minimum {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        least(s, a, b)
    }
}

#[derive(Clone, Copy)]
struct Maximum;

impl Map<2> for Maximum {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        greatest(s, a, b)
    }
}

/// The greater; NaN where either is.
#[inline(always)]
pub(crate) fn greatest<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    s.select_gt_or_nan(a, b, a, b)
}

/// The lesser; NaN where either is.
#[inline(always)]
pub(crate) fn least<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    let lesser = s.select_gt(a, b, b, a);
    s.select_eq(b, b, lesser, b)
}

#[derive(Clone, Copy)]
struct Equal;

impl Map<2> for Equal {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.select_eq(a, b, s.splat(1.0), s.zero())
    }
}

#[derive(Clone, Copy)]
struct Less;

impl Map<2> for Less {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.select_gt(b, a, s.splat(1.0), s.zero())
    }
}

#[derive(Clone, Copy)]
struct Greater;

impl Map<2> for Greater {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.select_gt(a, b, s.splat(1.0), s.zero())
    }
}

#[derive(Clone, Copy)]
struct Prelu;

impl Map<2> for Prelu {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b]: [S::F; 2]) -> S::F {
        s.select_gt(a, s.zero(), a, s.mul(a, b))
    }
}

#[derive(Clone, Copy)]
struct Choose;

impl Map<3> for Choose {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [condition, a, b]: [S::F; 3]) -> S::F {
        s.select_eq(condition, s.zero(), b, a)
    }
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Map<1> for Scale {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        s.mul(x, s.splat(self.0))
    }
}

#[derive(Clone, Copy)]
struct AddScaledTimes(f32);

impl Map<3> for AddScaledTimes {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [a, b, c]: [S::F; 3]) -> S::F {
        s.mul(s.mul_add(b, s.splat(self.0), a), c)
    }
}

#[derive(Clone, Copy)]
struct InverseRoot {
    factor: f32,
    epsilon: f32,
}

impl Map<1> for InverseRoot {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        let sum = s.mul_add(x, s.splat(self.factor), s.splat(self.epsilon));
        s.div(s.splat(1.0), s.sqrt(sum))
    }
}
