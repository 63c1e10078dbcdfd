//! Sums and products of two maps, of which either may repeat along any axis.

use crate::channelwise::for_each_vector;
use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits};
use crate::simd::{Kernel, Simd, dispatch};
use crate::strided::{Nest, strides};
use crate::view::{Pixels, PixelsMut, volume};

/// How two elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a · b
    Mul,
}

/// A map that may repeat: where an extent of its shape is 1 and the destination's is not, along that axis.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a, E = f32> {
    /// (n, h, w, c)
    pub shape: [usize; 4],
    /// The elements.
    pub pixels: Pixels<'a, E>,
}

/// `dst` = `a` op `b`, then a ReLU where `relu` says so. `shape` is the destination's (n, h, w, c).
pub fn binary<E: Element>(
    cx: &Context,
    op: Binary,
    [a, b]: [Operand<E>; 2],
    relu: bool,
    shape: [usize; 4],
    dst: PixelsMut<E>,
) {
    run(cx, op, Some(a), b, relu, shape, dst);
}

/// `dst` = `dst` op `b`, then a ReLU where `relu` says so. `shape` is the destination's (n, h, w, c).
pub fn binary_in_place<E: Element>(
    cx: &Context,
    op: Binary,
    b: Operand<E>,
    relu: bool,
    shape: [usize; 4],
    dst: PixelsMut<E>,
) {
    run(cx, op, None, b, relu, shape, dst);
}

fn run<E: Element>(
    cx: &Context,
    op: Binary,
    a: Option<Operand<E>>,
    b: Operand<E>,
    relu: bool,
    shape @ [n, h, w, c]: [usize; 4],
    dst: PixelsMut<E>,
) {
    assert_fits("dst", dst.data, volume([n, h, w]), c, dst.ld);
    let operand_strides = |operand: Operand<E>| {
        let repeats = |dim: usize| operand.shape[dim] == 1 || operand.shape[dim] == shape[dim];
        assert!((0..4).all(repeats), "{:?} does not repeat to {shape:?}", operand.shape);
        let [n, h, w, c] = operand.shape;
        assert_fits("src", operand.pixels.data, volume([n, h, w]), c, operand.pixels.ld);
        strides(operand.shape, operand.pixels.ld)
    };
    let own = strides(shape, dst.ld);
    let (a_strides, b_strides) = (a.map_or(own, operand_strides), operand_strides(b));
    let nest = Nest::new(shape, std::array::from_fn(|dim| [a_strides[dim], b_strides[dim], own[dim]]));
    // Long inner loops are cut, short ones gathered to tasks.
    let inner = nest.extents[3];
    let cuts = inner.div_ceil(GRAIN);
    let grain = (GRAIN / inner.max(1)).max(1);
    let (a, b, dst) = (a.map(|a| a.pixels.data), b.pixels.data, SharedMut::new(dst.data));
    for_each_piece(cx.exec, nest.outer() * cuts, grain, |start, len, _| {
        for unit in if cuts == 1 { start..start + 1 } else { start..start + len } {
            let (index, lines, at) =
                if cuts == 1 { (unit, len, 0) } else { (unit / cuts, 1, unit % cuts * GRAIN) };
            let len = if cuts == 1 { inner } else { GRAIN.min(inner - at) };
            dispatch(cx.isa, Lines { op, relu, nest: &nest, index, lines, at, len, a, b, dst });
        }
    });
}

/// Elements `at .. at + len` of the inner loop, in `lines` iterations of the outer loops from `index` on.
struct Lines<'a, E> {
    op: Binary,
    relu: bool,
    nest: &'a Nest<3>,
    index: usize,
    lines: usize,
    at: usize,
    len: usize,
    /// `None` is `dst` itself, before.
    a: Option<&'a [E]>,
    b: &'a [E],
    dst: SharedMut<'a, E>,
}

impl<E: Element> Kernel for Lines<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.op, self.relu) {
            (Binary::Add, false) => self.each(
                s,
                #[inline(always)]
                |a, b| s.add(a, b),
            ),
            (Binary::Mul, false) => self.each(
                s,
                #[inline(always)]
                |a, b| s.mul(a, b),
            ),
            (Binary::Add, true) => self.each(
                s,
                #[inline(always)]
                |a, b| relu(s, s.add(a, b)),
            ),
            (Binary::Mul, true) => self.each(
                s,
                #[inline(always)]
                |a, b| relu(s, s.mul(a, b)),
            ),
        }
    }
}

/// x where positive or NaN, else 0.
#[inline(always)]
fn relu<S: Simd>(s: S, x: S::F) -> S::F {
    s.select_gt(s.zero(), x, s.zero(), x)
}

impl<E: Element> Lines<'_, E> {
    #[inline(always)]
    fn each<S: Simd>(&self, s: S, f: impl Fn(S::F, S::F) -> S::F + Copy) {
        let [a_step, b_step, _] = self.nest.strides[3];
        let outer = [self.nest.extents[0], self.nest.extents[1], self.nest.extents[2]];
        for index in self.index..self.index + self.lines {
            let offsets = self.nest.offsets(index, outer);
            let offset = |k: usize| offsets[k] + self.at * self.nest.strides[3][k];
            // SAFETY: `run` checked that the operands hold all the nest reaches; lines are their task's own.
            unsafe {
                let dst = self.dst.ptr_at(offset(2));
                let a = self.a.map_or(dst.cast_const(), |a| a.as_ptr().add(offset(0)));
                let b = self.b.as_ptr().add(offset(1));
                match (a_step, b_step) {
                    (1, 1) => line::<S, E, true, true>(s, a, b, dst, self.len, f),
                    (1, _) => line::<S, E, true, false>(s, a, b, dst, self.len, f),
                    (_, 1) => line::<S, E, false, true>(s, a, b, dst, self.len, f),
                    _ => line::<S, E, false, false>(s, a, b, dst, self.len, f),
                }
            }
        }
    }
}

/// One line; an operand that does not run (`A`, `B`) is one element, repeated.
///
/// # Safety
/// Operands that run must be readable, and `dst` writable, for `len` elements; the others for one.
#[inline(always)]
unsafe fn line<S: Simd, E: Element, const A: bool, const B: bool>(
    s: S,
    a: *const E,
    b: *const E,
    dst: *mut E,
    len: usize,
    f: impl Fn(S::F, S::F) -> S::F,
) {
    // SAFETY: the caller's contract.
    let (a0, b0) = unsafe { (s.splat((*a).to_f32()), s.splat((*b).to_f32())) };
    for_each_vector(
        s,
        len,
        #[inline(always)]
        // SAFETY: the caller's contract.
        |at, lanes| unsafe {
            let a = if A { s.load_up_to(a.add(at), lanes) } else { a0 };
            let b = if B { s.load_up_to(b.add(at), lanes) } else { b0 };
            s.store_up_to(dst.add(at), f(a, b), lanes);
        },
    );
}
