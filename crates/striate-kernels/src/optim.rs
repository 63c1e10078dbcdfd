//! Optimisers: each a single pass over a parameter, its gradient and the optimiser's state.

use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::GRAIN;
use crate::simd::{Kernel, Simd, dispatch};

/// Floats of a cache line.
const LINE: usize = 16;

// Hyperparameters are f64: in f32 the usual 1 − β₂ = 0.001 would be off in its fifth digit.

/// Stochastic gradient descent with momentum, as PyTorch's `SGD` defines it:
/// g ← g + λp;  v ← μv + g;  p ← p − η v, or p ← p − η (g + μv) with Nesterov's momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate η.
    pub lr: f64,
    /// Momentum μ; 0 for plain descent.
    pub momentum: f64,
    /// Weight decay λ, the factor of an L2 penalty's gradient.
    pub weight_decay: f64,
    /// Whether the step looks ahead (Sutskever et al. 2013).
    pub nesterov: bool,
}

/// Adam (Kingma and Ba 2015), or AdamW where `decoupled` (Loshchilov and Hutter 2019), as PyTorch has them:
/// m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  p ← p − η m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and
/// v̂ = v / (1 − β₂ᵗ).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate η.
    pub lr: f64,
    /// Decay β₁ of the mean gradient.
    pub beta1: f64,
    /// Decay β₂ of the mean squared gradient.
    pub beta2: f64,
    /// ε, which bounds the step where gradients vanish.
    pub eps: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Whether weights decay by themselves (p ← p − ηλp, AdamW) rather than through g ← g + λp (Adam).
    pub decoupled: bool,
}

/// RMSProp (Tieleman and Hinton 2012), as PyTorch has it: g ← g + λp;  s ← αs + (1 − α)g²;  v ← μv + g / (√s + ε);
/// p ← p − η v. TensorFlow's has ε within the root and η within v.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Learning rate η.
    pub lr: f64,
    /// Decay α of the mean squared gradient.
    pub alpha: f64,
    /// ε, which bounds the step where gradients vanish.
    pub eps: f64,
    /// Weight decay λ.
    pub weight_decay: f64,
    /// Momentum μ; 0 for none.
    pub momentum: f64,
}

/// One step of plain or momentum descent; `velocity` starts as zeros and exists where momentum is not 0.
///
/// All slices are of one length.
pub fn sgd(cx: &Context, hyper: Sgd, param: &mut [f32], grad: &[f32], velocity: Option<&mut [f32]>) {
    match velocity {
        Some(velocity) => update(cx, hyper, grad, [param, velocity]),
        None => {
            assert_eq!(hyper.momentum, 0.0, "momentum needs a velocity");
            update(cx, hyper, grad, [param]);
        }
    }
}

/// Step number `step` (the first is 1) of Adam; `mean` and `variance` start as zeros.
///
/// All slices are of one length.
pub fn adam(
    cx: &Context,
    hyper: Adam,
    step: u64,
    param: &mut [f32],
    grad: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    assert!(step > 0, "steps count from 1");
    update(cx, AdamStep::new(hyper, step), grad, [param, mean, variance]);
}

/// One step of RMSProp; `square` and `velocity` start as zeros, and the latter exists where momentum is not 0.
///
/// All slices are of one length.
pub fn rmsprop(
    cx: &Context,
    hyper: RmsProp,
    param: &mut [f32],
    grad: &[f32],
    square: &mut [f32],
    velocity: Option<&mut [f32]>,
) {
    match velocity {
        Some(velocity) => update(cx, hyper, grad, [param, square, velocity]),
        None => {
            assert_eq!(hyper.momentum, 0.0, "momentum needs a velocity");
            update(cx, hyper, grad, [param, square]);
        }
    }
}

/// `dst` ← `keep`·dst + `factor`·src; where `keep` is 0, factor·src whatever was there. (Sums of gradients, moving
/// averages of parameters.)
///
/// # Panics
/// Where the slices have other lengths.
pub fn blend(cx: &Context, keep: f32, factor: f32, dst: &mut [f32], src: &[f32]) {
    update(cx, Blend { keep, factor }, src, [dst]);
}

/// Where a gradient goes.
#[derive(Debug)]
pub enum Target<'a> {
    /// To memory, in place of what is there.
    Gradient(&'a mut [f32]),
    /// Into a step of [`sgd`], the bits of which are the same; the gradient itself is kept nowhere.
    Sgd {
        /// What the step is.
        hyper: Sgd,
        /// The parameter that the gradient is of.
        param: &'a mut [f32],
        /// Its velocity; `None` without momentum.
        velocity: Option<&'a mut [f32]>,
    },
}

/// A [`Target`] for tasks to share.
#[derive(Clone, Copy)]
pub(crate) enum SharedTarget<'a> {
    Gradient(SharedMut<'a, f32>),
    Plain(Sgd, SharedMut<'a, f32>),
    Momentum(Sgd, [SharedMut<'a, f32>; 2]),
}

impl<'a> Target<'a> {
    /// For a gradient of `len` elements.
    ///
    /// # Panics
    /// Where a slice has another length, or there is momentum without a velocity.
    pub(crate) fn share(self, len: usize) -> SharedTarget<'a> {
        let share = |array: &'a mut [f32]| {
            assert_eq!(array.len(), len, "elements of a gradient's target");
            SharedMut::new(array)
        };
        match self {
            Target::Gradient(gradient) => SharedTarget::Gradient(share(gradient)),
            Target::Sgd { hyper, param, velocity: Some(velocity) } => {
                SharedTarget::Momentum(hyper, [share(param), share(velocity)])
            }
            Target::Sgd { hyper, param, velocity: None } => {
                assert_eq!(hyper.momentum, 0.0, "momentum needs a velocity");
                SharedTarget::Plain(hyper, share(param))
            }
        }
    }
}

impl<'a> SharedTarget<'a> {
    /// Takes the gradient of the elements from `start`.
    ///
    /// # Safety
    /// No other task may touch those elements.
    #[inline(always)]
    pub(crate) unsafe fn take<S: Simd>(&self, s: S, start: usize, grad: &[f32]) {
        // SAFETY: the caller's contract; the arrays are distinct.
        let part = |array: SharedMut<'a, f32>| unsafe { array.range(start, grad.len()) };
        match *self {
            Self::Gradient(array) => Piece { f: Replace, grad, state: [part(array)] }.run(s),
            Self::Plain(hyper, param) => Piece { f: hyper, grad, state: [part(param)] }.run(s),
            Self::Momentum(hyper, arrays) => Piece { f: hyper, grad, state: arrays.map(part) }.run(s),
        }
    }

    /// Fetches what [`take`](Self::take) will touch for `len` elements, or hints at what lies beyond the end.
    #[inline(always)]
    pub(crate) fn prefetch<S: Simd>(&self, s: S, start: usize, len: usize) {
        let arrays: &[SharedMut<'a, f32>] = match self {
            Self::Gradient(array) | Self::Plain(_, array) => std::slice::from_ref(array),
            Self::Momentum(_, arrays) => arrays,
        };
        for array in arrays {
            for at in (start..start + len).step_by(LINE) {
                s.prefetch(array.start().wrapping_add(at));
            }
        }
    }
}

/// What a step makes of a gradient and the `N` arrays it updates, element by element.
trait Update<const N: usize>: Copy + Sync {
    /// The new state. Implementations are `#[inline(always)]`.
    fn update<S: Simd>(self, s: S, grad: S::F, state: [S::F; N]) -> [S::F; N];
}

/// The gradient as it is.
#[derive(Clone, Copy)]
struct Replace;

impl Update<1> for Replace {
    #[inline(always)]
    fn update<S: Simd>(self, _: S, grad: S::F, _: [S::F; 1]) -> [S::F; 1] {
        [grad]
    }
}

#[derive(Clone, Copy)]
struct Blend {
    keep: f32,
    factor: f32,
}

impl Update<1> for Blend {
    #[inline(always)]
    fn update<S: Simd>(self, s: S, src: S::F, [dst]: [S::F; 1]) -> [S::F; 1] {
        let added = s.mul(s.splat(self.factor), src);
        [if self.keep == 0.0 { added } else { s.mul_add(s.splat(self.keep), dst, added) }]
    }
}

impl Update<1> for Sgd {
    #[inline(always)]
    fn update<S: Simd>(self, s: S, grad: S::F, [p]: [S::F; 1]) -> [S::F; 1] {
        let g = s.mul_add(s.splat(self.weight_decay as f32), p, grad);
        [s.mul_add(s.splat(-self.lr as f32), g, p)]
    }
}

impl Update<2> for Sgd {
    #[inline(always)]
    fn update<S: Simd>(self, s: S, grad: S::F, [p, v]: [S::F; 2]) -> [S::F; 2] {
        let momentum = s.splat(self.momentum as f32);
        let g = s.mul_add(s.splat(self.weight_decay as f32), p, grad);
        let v = s.mul_add(momentum, v, g);
        let direction = if self.nesterov { s.mul_add(momentum, v, g) } else { v };
        [s.mul_add(s.splat(-self.lr as f32), direction, p), v]
    }
}

/// Adam's constants at one step, computed in f64 as 1 − β₂ᵗ and 1 − β₂ cancel.
#[derive(Clone, Copy)]
struct AdamStep {
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    /// λ where decay goes through the gradient, else 0.
    penalty: f32,
    /// 1 − ηλ where decay is decoupled, else 1.
    shrink: f32,
    /// η / (1 − β₁ᵗ)
    rate: f32,
    /// 1 / √(1 − β₂ᵗ)
    deviation_scale: f32,
    eps: f32,
}

impl AdamStep {
    fn new(hyper: Adam, step: u64) -> Self {
        let Adam { lr, beta1, beta2, eps, weight_decay, decoupled } = hyper;
        let unbias = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            beta2: beta2 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            penalty: if decoupled { 0.0 } else { weight_decay as f32 },
            shrink: if decoupled { (1.0 - lr * weight_decay) as f32 } else { 1.0 },
            rate: (lr / unbias(beta1)) as f32,
            deviation_scale: (1.0 / unbias(beta2).sqrt()) as f32,
            eps: eps as f32,
        }
    }
}

impl Update<3> for AdamStep {
    #[inline(always)]
    fn update<S: Simd>(self, s: S, grad: S::F, [p, m, v]: [S::F; 3]) -> [S::F; 3] {
        let g = s.mul_add(s.splat(self.penalty), p, grad);
        let p = s.mul(s.splat(self.shrink), p);
        let m = s.mul_add(s.splat(self.one_minus_beta1), s.sub(g, m), m);
        let v = s.mul_add(s.splat(self.one_minus_beta2), s.mul(g, g), s.mul(s.splat(self.beta2), v));
        let deviation = s.mul_add(s.sqrt(v), s.splat(self.deviation_scale), s.splat(self.eps));
        [s.mul_add(s.splat(-self.rate), s.div(m, deviation), p), m, v]
    }
}

impl RmsProp {
    /// The gradient over its deviation, and the mean square.
    #[inline(always)]
    fn scaled<S: Simd>(self, s: S, grad: S::F, p: S::F, square: S::F) -> [S::F; 2] {
        let g = s.mul_add(s.splat(self.weight_decay as f32), p, grad);
        let kept = s.mul(s.splat(self.alpha as f32), square);
        let square = s.mul_add(s.splat((1.0 - self.alpha) as f32), s.mul(g, g), kept);
        [s.div(g, s.add(s.sqrt(square), s.splat(self.eps as f32))), square]
    }
}

impl Update<2> for RmsProp {
    #[inline(always)]
    fn update<S: Simd>(self, s: S, grad: S::F, [p, square]: [S::F; 2]) -> [S::F; 2] {
        let [direction, square] = self.scaled(s, grad, p, square);
        [s.mul_add(s.splat(-self.lr as f32), direction, p), square]
    }
}

impl Update<3> for RmsProp {
    #[inline(always)]
    fn update<S: Simd>(self, s: S, grad: S::F, [p, square, v]: [S::F; 3]) -> [S::F; 3] {
        let [direction, square] = self.scaled(s, grad, p, square);
        let v = s.mul_add(s.splat(self.momentum as f32), v, direction);
        [s.mul_add(s.splat(-self.lr as f32), v, p), square, v]
    }
}

fn update<const N: usize>(cx: &Context, f: impl Update<N>, grad: &[f32], state: [&mut [f32]; N]) {
    for array in &state {
        assert_eq!(array.len(), grad.len(), "the optimiser's arrays are of one length");
    }
    let state = state.map(SharedMut::new);
    for_each_piece(cx.exec, grad.len(), GRAIN, |start, len, _worker| {
        let grad = &grad[start..start + len];
        // SAFETY: pieces do not overlap, and the arrays are distinct.
        let state = state.map(|array| unsafe { array.range(start, len) });
        dispatch(cx.isa, Piece { f, grad, state });
    });
}

struct Piece<'a, U, const N: usize> {
    f: U,
    grad: &'a [f32],
    state: [&'a mut [f32]; N],
}

impl<U: Update<N>, const N: usize> Kernel for Piece<'_, U, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let state = self.state.map(<[f32]>::as_mut_ptr);
        let len = self.grad.len();
        let mut at = 0;
        while at < len {
            let lanes = S::LANES.min(len - at);
            // SAFETY: all slices are as long as `grad`, so `lanes` elements follow `at` in each.
            unsafe {
                let grad = s.load_up_to(self.grad.as_ptr().add(at), lanes);
                let mut values = [s.zero(); N];
                for array in 0..N {
                    values[array] = s.load_up_to(state[array].add(at), lanes);
                }
                let updated = self.f.update(s, grad, values);
                for array in 0..N {
                    s.store_up_to(state[array].add(at), updated[array], lanes);
                }
            }
            at += lanes;
        }
    }
}
