//! Two-dimensional convolution and its gradients, any stride, padding, dilation and groups. A fully connected
//! layer is the case of a 1×1 source and kernel, with n the batch.
//!
//! A pass is an object planned once for a [`Conv2dGeometry`]; running it allocates nothing and gives the same
//! bits for any number of workers. All rest on register tiles over activations as they lie in memory; nothing is
//! unfolded into columns.
//!
//! [`Forward`] and [`BackwardData`] are gathers: each written pixel sums source pixels at the distances of its
//! taps, times packed weights. A tile is a few pixels × a few vectors of written channels; it reads source rows
//! through one pointer per pixel and tap, so that padding is a pointer to zeros, and strides, dilation, the order
//! of pixels, and the phases of a strided backward pass are a matter of which pointers. [`BackwardWeights`] sums
//! outer products over pixels. Where 3×3 or 5×5 kernels move by one pixel, Winograd's algorithm runs the same tiles on
//! transformed maps, with a quarter or 36 % of the products.
//!
//! Source and destination consist each of float32 or [bfloat16](crate::Bf16). Where one of them is bfloat16, direct
//! tiles multiply pairs of it, weights rounded likewise, and sum them in float32; see [`Simd::dot_bf16`] for what that
//! means on each instruction set. Winograd's algorithm, whose transformed maps bear no such rounding, and depthwise tiles
//! widen it. Weights, bias and their gradients are float32 to the caller.
//!
//! [`Simd::dot_bf16`]: crate::simd::Simd::dot_bf16
//!
//! Passes take the [`Algorithm`] estimated to be fastest, or the one asked for. What one sees of a plan's choices is
//! its `describe` and its `candidates`.

mod algorithm;
mod axis;
mod depthwise;
mod direct;
mod gather;
mod geometry;
pub(crate) mod outer;
pub(crate) mod panels;
mod pass;
mod products;
pub(crate) mod tile;
mod weights;
mod window;
mod winograd;

pub use algorithm::{Algorithm, Candidate, PlanError, Refusal};
pub use geometry::{Conv2dGeometry, GeometryError, MAX_ELEMENTS, MAX_EXTENT, MAX_PHASES, ParseGeometryError};
pub use pass::{BackwardData, Forward};
pub use weights::BackwardWeights;

use crate::simd::Simd;
use crate::{ElementType, Pixels};

/// How a pass is to be planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which algorithm it is to use.
    pub algorithm: Algorithm,
    /// What the convolution's source consists of, and its gradient.
    pub src: ElementType,
    /// What the convolution's destination consists of, and its gradient.
    pub dst: ElementType,
}

impl Options {
    /// What tiles multiply: float32 only where neither side is bfloat16.
    fn factors(self) -> ElementType {
        if self.src == self.dst { self.src } else { ElementType::Bf16 }
    }
}

/// What is done to a pass's sums before they are written: `activation(sums + bias + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a, D = f32> {
    /// One number for each channel written.
    pub bias: Option<&'a [f32]>,
    /// A map of the shape written.
    pub residual: Option<Pixels<'a, D>>,
    /// Applied last.
    pub activation: Activation,
}

/// A nonlinearity that a pass applies to what it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// None.
    #[default]
    None,
    /// max(0, x); NaN stays NaN.
    Relu,
    /// min(max(x, `min`), `max`); NaN stays NaN.
    Clip {
        /// The least value it leaves.
        min: f32,
        /// The greatest, also where it is less than the least.
        max: f32,
    },
}

/// What values are held within.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    floor: f32,
    ceiling: f32,
}

impl Bounds {
    /// All values as they are.
    const NONE: Self = Self { floor: f32::NEG_INFINITY, ceiling: f32::INFINITY };

    /// A vector of values, held; where a value is NaN it stays.
    #[inline(always)]
    pub(crate) fn hold<S: Simd>(self, s: S, value: S::F) -> S::F {
        s.min(s.splat(self.ceiling), s.max(s.splat(self.floor), value))
    }
}

impl Activation {
    /// The least and the greatest value it leaves.
    pub(crate) fn bounds(self) -> Bounds {
        match self {
            Activation::None => Bounds::NONE,
            Activation::Relu => Bounds { floor: 0.0, ..Bounds::NONE },
            Activation::Clip { min, max } => Bounds { floor: min, ceiling: max },
        }
    }
}
