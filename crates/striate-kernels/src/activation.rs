//! Functions of one element. Gradients are taken from the output where that tells the slope, so that the input need not
//! be kept; else from the input.

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
    /// min(max(x, `min`), `max`).
    Clip {
        /// The least result.
        min: f32,
        /// The greatest result, also where it is less than the least.
        max: f32,
    },
    /// max(0, min(1, `alpha`·x + `beta`)).
    HardSigmoid {
        /// The slope between 0 and 1.
        alpha: f32,
        /// The result at 0.
        beta: f32,
    },
    /// x · max(0, min(1, x/6 + ½)). Its gradient is taken from the input.
    HardSwish,
    /// x / (1 + e^(−`alpha`·x)). Its gradient is taken from the input.
    Swish {
        /// The factor within.
        alpha: f32,
    },
    /// `gamma` · (x where positive, else `alpha`·(e^(`rate`·x) − 1)): ELU, SELU and CELU.
    Elu {
        /// The limit at −∞, over −γ; not negative, so that the output's sign tells the input's.
        alpha: f32,
        /// The factor on all; positive.
        gamma: f32,
        /// The factor in the exponent; positive.
        rate: f32,
    },
    /// ln(1 + eˣ).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
    /// x · tanh(ln(1 + eˣ)). Its gradient is taken from the input.
    Mish,
    /// x · Φ(x), Φ the normal distribution's. Its gradient is taken from the input.
    Gelu,
    /// The same, approximated by tanh. Its gradient is taken from the input.
    GeluTanh,
    /// x where greater than `alpha`, else 0. Its gradient is taken from the input.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// eˣ.
    Exp,
    /// The natural logarithm. Its gradient is taken from the input.
    Log,
    /// The square root.
    Sqrt,
    /// 1 / x.
    Reciprocal,
    /// |x|. Its gradient is taken from the input.
    Abs,
    /// The error function. Its gradient is taken from the input.
    Erf,
    /// −1, 0 or 1. Its gradient is 0.
    Sign,
    /// The greatest integer that is not greater. Its gradient is 0.
    Floor,
    /// The least integer that is not less. Its gradient is 0.
    Ceil,
    /// The nearest integer, the even one of two. Its gradient is 0.
    Round,
}

impl Activation {
    /// Whether its gradient is taken from the input instead of the output.
    pub fn slopes_from_input(self) -> bool {
        use Activation::*;
        matches!(
            self,
            HardSwish | Swish { .. } | Mish | Gelu | GeluTanh | ThresholdedRelu { .. } | Log | Abs | Erf
        )
    }
}

/// An expression with a name for what it is of.
macro_rules! with {
    ($struct:expr, $function:ident => $expression:expr) => {{
        let $function = $struct;
        $expression
    }};
}

/// Evaluates an expression with the struct of a function.
macro_rules! each {
    ($f:expr, $function:ident => $expression:expr) => {
        match $f {
            Activation::Relu => with!(Relu, $function => $expression),
            Activation::LeakyRelu { slope } => with!(LeakyRelu(slope), $function => $expression),
            Activation::Sigmoid => with!(Sigmoid, $function => $expression),
            Activation::Tanh => with!(Tanh, $function => $expression),
            Activation::Clip { min, max } => with!(Clip { min, max }, $function => $expression),
            Activation::HardSigmoid { alpha, beta } => {
                with!(HardSigmoid { alpha, beta }, $function => $expression)
            }
            Activation::HardSwish => with!(HardSwish, $function => $expression),
            Activation::Swish { alpha } => with!(Swish(alpha), $function => $expression),
            Activation::Elu { alpha, gamma, rate } => {
                with!(Elu { alpha, gamma, rate }, $function => $expression)
            }
            Activation::Softplus => with!(Softplus, $function => $expression),
            Activation::Softsign => with!(Softsign, $function => $expression),
            Activation::Mish => with!(Mish, $function => $expression),
            Activation::Gelu => with!(Gelu, $function => $expression),
            Activation::GeluTanh => with!(GeluTanh, $function => $expression),
            Activation::ThresholdedRelu { alpha } => with!(ThresholdedRelu(alpha), $function => $expression),
            Activation::Exp => with!(Exp, $function => $expression),
            Activation::Log => with!(Log, $function => $expression),
            Activation::Sqrt => with!(Sqrt, $function => $expression),
            Activation::Reciprocal => with!(Reciprocal, $function => $expression),
            Activation::Abs => with!(Abs, $function => $expression),
            Activation::Erf => with!(Erf, $function => $expression),
            Activation::Sign => with!(Sign, $function => $expression),
            Activation::Floor => with!(Floor, $function => $expression),
            Activation::Ceil => with!(Ceil, $function => $expression),
            Activation::Round => with!(Round, $function => $expression),
        }
    };
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
    each!(f, function => pixelwise::map(cx, Value(function), [Some(src)], dst, rows, channels));
}

/// `data` = f(`data`), `rows` × `channels`.
pub fn forward_in_place<E: Element>(
    cx: &Context,
    f: Activation,
    data: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    each!(f, function => pixelwise::map(cx, Value(function), [None], data, rows, channels));
}

/// `d_src` = `d_dst` · f′, where f′ is computed from `of`, the output, or the input where the function says so; all
/// `rows` × `channels`.
pub fn backward<E: Element>(
    cx: &Context,
    f: Activation,
    of: Pixels<E>,
    d_dst: Pixels<E>,
    d_src: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    each!(f, function => pixelwise::map(cx, Slope(function), [Some(of), Some(d_dst)], d_src, rows, channels));
}

/// `gradient` = `gradient` · f′, as [`backward`] does it.
pub fn backward_in_place<E: Element>(
    cx: &Context,
    f: Activation,
    of: Pixels<E>,
    gradient: PixelsMut<E>,
    rows: usize,
    channels: usize,
) {
    each!(f, function => pixelwise::map(cx, Slope(function), [Some(of), None], gradient, rows, channels));
}

/// A function of one element.
trait Function: Copy + Sync {
    /// f(x). Implementations are `#[inline(always)]`.
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F;
    /// dy · f′, from the output or the input. Implementations are `#[inline(always)]`.
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, _of: S::F, _dy: S::F) -> S::F {
        s.zero()
    }
}

/// A function, to be applied.
#[derive(Clone, Copy)]
struct Value<F>(F);

impl<F: Function> Map<1> for Value<F> {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x]: [S::F; 1]) -> S::F {
        self.0.value(s, x)
    }
}

/// A function's gradient.
#[derive(Clone, Copy)]
struct Slope<F>(F);

impl<F: Function> Map<2> for Slope<F> {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [of, dy]: [S::F; 2]) -> S::F {
        self.0.slope(s, of, dy)
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl Function for Relu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.max(s.zero(), x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        s.select_gt_or_nan(y, s.zero(), s.loaded(dy), s.zero())
    }
}

#[derive(Clone, Copy)]
struct LeakyRelu(f32);

impl Function for LeakyRelu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.select_gt(x, s.zero(), x, s.mul(x, s.splat(self.0)))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        s.select_gt(y, s.zero(), dy, s.mul(dy, s.splat(self.0)))
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::sigmoid(s, x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        s.mul(dy, s.mul(y, s.sub(s.splat(1.0), y)))
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::tanh(s, x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        let one = s.splat(1.0);
        s.mul(dy, s.mul(s.sub(one, y), s.add(one, y)))
    }
}

#[derive(Clone, Copy)]
struct Clip {
    min: f32,
    max: f32,
}

impl Function for Clip {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.min(s.splat(self.max), s.max(s.splat(self.min), x))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        let below = s.select_gt(s.splat(self.max), y, dy, s.zero());
        s.select_gt(y, s.splat(self.min), below, s.zero())
    }
}

#[derive(Clone, Copy)]
struct HardSigmoid {
    alpha: f32,
    beta: f32,
}

impl Function for HardSigmoid {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        let line = s.mul_add(x, s.splat(self.alpha), s.splat(self.beta));
        s.max(s.zero(), s.min(s.splat(1.0), line))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        let below = s.select_gt(s.splat(1.0), y, s.mul(dy, s.splat(self.alpha)), s.zero());
        s.select_gt(y, s.zero(), below, s.zero())
    }
}

#[derive(Clone, Copy)]
struct HardSwish;

impl Function for HardSwish {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        let line = s.mul_add(x, s.splat(1.0 / 6.0), s.splat(0.5));
        s.mul(x, s.max(s.zero(), s.min(s.splat(1.0), line)))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        let line = s.mul(dy, s.mul_add(x, s.splat(1.0 / 3.0), s.splat(0.5)));
        let below = s.select_gt(s.splat(3.0), x, line, dy);
        s.select_gt(x, s.splat(-3.0), below, s.zero())
    }
}

/// x · σ(α·x), α the field.
#[derive(Clone, Copy)]
struct Swish(f32);

impl Function for Swish {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.mul(x, math::sigmoid(s, s.mul(x, s.splat(self.0))))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        let (one, inner) = (s.splat(1.0), s.mul(x, s.splat(self.0)));
        let y = math::sigmoid(s, inner);
        s.mul(dy, s.mul(y, s.mul_add(inner, s.sub(one, y), one)))
    }
}

#[derive(Clone, Copy)]
struct Elu {
    alpha: f32,
    gamma: f32,
    rate: f32,
}

impl Function for Elu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        let negative = s.mul(math::exp_m1(s, s.mul(x, s.splat(self.rate))), s.splat(self.alpha));
        s.mul(s.splat(self.gamma), s.select_gt(x, s.zero(), x, negative))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        let limit = s.splat(self.gamma * self.alpha);
        let negative = s.mul(s.add(y, limit), s.splat(self.rate));
        s.mul(dy, s.select_gt(y, s.zero(), s.splat(self.gamma), negative))
    }
}

#[derive(Clone, Copy)]
struct Softplus;

impl Function for Softplus {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::softplus(s, x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        let negative = math::exp_m1(s, s.sub(s.zero(), y));
        s.mul(dy, s.sub(s.zero(), negative))
    }
}

#[derive(Clone, Copy)]
struct Softsign;

impl Function for Softsign {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.div(x, s.add(s.splat(1.0), math::abs(s, x)))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        let rest = s.sub(s.splat(1.0), math::abs(s, y));
        s.mul(dy, s.mul(rest, rest))
    }
}

/// tanh(ln(1 + eˣ)) = n/(n + 2) with n = eˣ·(eˣ + 2); beyond 20 it rounds to 1.
#[inline(always)]
fn tanh_softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let (two, e) = (s.splat(2.0), math::exp(s, s.min(s.splat(20.0), x)));
    let n = s.mul(e, s.add(e, two));
    s.div(n, s.add(n, two))
}

#[derive(Clone, Copy)]
struct Mish;

impl Function for Mish {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.mul(x, tanh_softplus(s, x))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        let (one, t) = (s.splat(1.0), tanh_softplus(s, x));
        let rest = s.mul(s.mul(s.sub(one, t), s.add(one, t)), math::sigmoid(s, x));
        s.mul(dy, s.mul_add(x, rest, t))
    }
}

/// Φ(x), the normal distribution's share below x.
#[inline(always)]
fn normal_share<S: Simd>(s: S, x: S::F) -> S::F {
    let (half, root) = (s.splat(0.5), s.splat(std::f32::consts::FRAC_1_SQRT_2));
    s.mul_add(math::erf(s, s.mul(x, root)), half, half)
}

#[derive(Clone, Copy)]
struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.mul(x, normal_share(s, x))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
        let density = s.mul(s.splat(DENSITY), math::exp(s, s.mul(s.mul(x, x), s.splat(-0.5))));
        s.mul(dy, s.mul_add(x, density, normal_share(s, x)))
    }
}

/// √(2/π) and the factor of x³ of GELU's approximation.
const GELU: [f32; 2] = [0.797_884_6, 0.044_715];

#[derive(Clone, Copy)]
struct GeluTanh;

impl Function for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        let cubic = s.mul_add(s.mul(x, x), s.splat(GELU[0] * GELU[1]), s.splat(GELU[0]));
        let t = math::tanh(s, s.mul(x, cubic));
        s.mul(s.mul(x, s.splat(0.5)), s.add(s.splat(1.0), t))
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        let (one, half, square) = (s.splat(1.0), s.splat(0.5), s.mul(x, x));
        let t = math::tanh(s, s.mul(x, s.mul_add(square, s.splat(GELU[0] * GELU[1]), s.splat(GELU[0]))));
        let inner = s.mul_add(square, s.splat(3.0 * GELU[0] * GELU[1]), s.splat(GELU[0]));
        let rest = s.mul(s.mul(s.sub(one, t), s.add(one, t)), s.mul(x, inner));
        s.mul(dy, s.mul(half, s.add(s.add(one, t), rest)))
    }
}

/// x where greater than the field, else 0.
#[derive(Clone, Copy)]
struct ThresholdedRelu(f32);

impl Function for ThresholdedRelu {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.select_gt_or_nan(x, s.splat(self.0), x, s.zero())
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        s.select_gt_or_nan(x, s.splat(self.0), dy, s.zero())
    }
}

#[derive(Clone, Copy)]
struct Exp;

impl Function for Exp {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::exp(s, x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        s.mul(dy, y)
    }
}

#[derive(Clone, Copy)]
struct Log;

impl Function for Log {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::by_lanes(s, [x], |[x]| x.ln())
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        s.div(dy, x)
    }
}

#[derive(Clone, Copy)]
struct Sqrt;

impl Function for Sqrt {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.sqrt(x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        s.div(dy, s.add(y, y))
    }
}

#[derive(Clone, Copy)]
struct Reciprocal;

impl Function for Reciprocal {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.div(s.splat(1.0), x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, y: S::F, dy: S::F) -> S::F {
        s.mul(dy, s.sub(s.zero(), s.mul(y, y)))
    }
}

#[derive(Clone, Copy)]
struct Abs;

impl Function for Abs {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::abs(s, x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        let negative = s.select_gt(s.zero(), x, s.sub(s.zero(), dy), s.zero());
        s.select_gt(x, s.zero(), dy, negative)
    }
}

#[derive(Clone, Copy)]
struct Erf;

impl Function for Erf {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::erf(s, x)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, dy: S::F) -> S::F {
        let bell = math::exp(s, s.sub(s.zero(), s.mul(x, x)));
        s.mul(dy, s.mul(bell, s.splat(std::f32::consts::FRAC_2_SQRT_PI)))
    }
}

#[derive(Clone, Copy)]
struct Sign;

impl Function for Sign {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        let negative = s.select_gt(s.zero(), x, s.splat(-1.0), x);
        s.select_gt(x, s.zero(), s.splat(1.0), negative)
    }
}

#[derive(Clone, Copy)]
struct Floor;

impl Function for Floor {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        math::floor(s, x)
    }
}

#[derive(Clone, Copy)]
struct Ceil;

impl Function for Ceil {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        let negative = math::floor(s, s.sub(s.zero(), x));
        s.sub(s.zero(), negative)
    }
}

#[derive(Clone, Copy)]
struct Round;

impl Function for Round {
    #[inline(always)]
    fn value<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.round(x)
    }
}
