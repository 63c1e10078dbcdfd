//! Activation functions. Gradients are taken from the output, so that the input need not be kept.

use crate::element::Element;
use crate::exec::Context;
use crate::pixelwise::{self, Map};
use crate::simd::{Simd, math};
use crate::view::{Pixels, PixelsMut};

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0) (Nair and Hinton 2010).
    Relu,
    /// x where positive, else `slope`·x (Maas et al. 2013).
    LeakyRelu {
        /// The factor for negative elements; positive, so that the output's sign tells the input's.
        slope: f32,
    },
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// `dst` = f(`src`), both `rows` × `channels`; NaN stays NaN.
pub fn forward<E: Element>(
    cx: &Context,
    f: Activation,
    src: Pixels<E>,
    dst: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    apply(cx, f, [Some(src)], dst, rows, channels);
}

/// `data` = f(`data`), `rows` × `channels`.
pub fn forward_in_place<E: Element>(
    cx: &Context,
    f: Activation,
    data: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    apply(cx, f, [None], data, rows, channels);
}

/// `d_src` = `d_dst` · f′, where f′ is computed from the output `dst`; all `rows` × `channels`.
pub fn backward<E: Element>(
    cx: &Context,
    f: Activation,
    dst: Pixels<E>,
    d_dst: Pixels<E>,
    d_src: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    apply(cx, f, [Some(dst), Some(d_dst)], d_src, rows, channels);
}

/// `gradient` = `gradient` · f′, as [`backward`] does it.
pub fn backward_in_place<E: Element>(
    cx: &Context,
    f: Activation,
    dst: Pixels<E>,
    gradient: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    apply(cx, f, [Some(dst), None], gradient, rows, channels);
}

/// The function where there is one operand, x; its gradient dy · f′(x) where there are two, y = f(x) and dy.
fn apply<E: Element, const N: usize>(
    cx: &Context,
    f: Activation,
    operands: [Option<Pixels<E>>; N],
    dst: PixelsMut<E>,
    rows: usize,
    channels: usize,
) where
    Relu: Map<N>,
    LeakyRelu: Map<N>,
    Sigmoid: Map<N>,
    Tanh: Map<N>,
{
    match f {
        Activation::Relu => pixelwise::map(cx, Relu, operands, dst, rows, channels),
        Activation::LeakyRelu { slope } => {
            pixelwise::map(cx, LeakyRelu(slope), operands, dst, rows, channels)
        }
        Activation::Sigmoid => pixelwise::map(cx, Sigmoid, operands, dst, rows, channels),
        Activation::Tanh => pixelwise::map(cx, Tanh, operands, dst, rows, channels),
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl Map<1> for Relu {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        s.max(s.zero(), x)
    }
}

impl Map<2> for Relu {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [y, dy]: [S::F; 2]) -> S::F {
        s.select_gt_or_nan(y, s.zero(), s.loaded(dy), s.zero())
    }
}

#[derive(Clone, Copy)]
struct LeakyRelu(f32);

impl Map<1> for LeakyRelu {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        s.select_gt(x, s.zero(), x, s.mul(x, s.splat(self.0)))
    }
}

impl Map<2> for LeakyRelu {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [y, dy]: [S::F; 2]) -> S::F {
        s.select_gt(y, s.zero(), dy, s.mul(dy, s.splat(self.0)))
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl Map<1> for Sigmoid {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        math::sigmoid(s, x)
    }
}

impl Map<2> for Sigmoid {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [y, dy]: [S::F; 2]) -> S::F {
        s.mul(dy, s.mul(y, s.sub(s.splat(1.0), y)))
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl Map<1> for Tanh {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        math::tanh(s, x)
    }
}

impl Map<2> for Tanh {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [y, dy]: [S::F; 2]) -> S::F {
        let one = s.splat(1.0);
        s.mul(dy, s.mul(s.sub(one, y), s.add(one, y)))
    }
}
