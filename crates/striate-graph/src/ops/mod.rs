//! The operations: one file each, with attributes, shape rule, cost, gradient rule and the maths.
//!
//! An operation is a row in the `operations!` table below. Everything that differs between operations is a method of
//! [`Operation`]; nothing else in the crate matches on them.

use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

pub mod activation;
pub mod batch_norm;
pub mod binary;
pub mod concat;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod depth_to_space;
pub mod dropout;
pub mod fold;
pub mod leaf;
pub mod linear;
pub mod local_response_norm;
pub mod locally_connected2d;
pub mod loss;
pub mod matmul;
pub mod optim;
pub mod pad;
pub mod pad_axis;
pub mod permute;
pub mod pool;
pub mod reduce;
pub mod reshape;
pub mod resize;
pub mod select;
pub mod slice;
pub mod softmax;
pub mod standardize;
pub mod upsample;
pub mod window;

pub use activation::{Activation, ActivationBackward, ActivationKind, Slope};
pub use batch_norm::{BatchNorm, BatchNormBackward, Normalize};
pub use binary::{Binary, BinaryKind, Scale};
pub use concat::Concat;
pub use conv_transpose2d::ConvTranspose2d;
pub use conv2d::{Conv2d, Conv2dBackwardData, Conv2dBackwardWeights};
pub use depth_to_space::{DepthToSpace, SpaceToDepth};
pub use dropout::Dropout;
pub use fold::{ArgMax, Fold, FoldKind};
pub use leaf::{Constant, Input, Parameter, Role};
pub use linear::{Linear, LinearBackwardData, LinearBackwardWeights};
pub use local_response_norm::{LocalResponseNorm, LocalResponseNormBackward};
pub use locally_connected2d::{
    LocallyConnected2d, LocallyConnected2dBackwardData, LocallyConnected2dBackwardWeights,
};
pub use loss::{
    BceWithLogits, BceWithLogitsBackward, CrossEntropy, CrossEntropyBackward, MeanSquaredError,
    MeanSquaredErrorBackward,
};
pub use matmul::MatMul;
pub use optim::{Accumulate, AdamUpdate, AverageUpdate, ClipFactor, RmsPropUpdate, SgdUpdate};
pub use pad::{Pad, PadBackward, PadMode};
pub use pad_axis::{PadAxis, PadAxisBackward, Tile};
pub use permute::{Flip, Permute};
pub use pool::{
    AvgPool2d, AvgPool2dBackward, GlobalPool, GlobalPoolBackward, MaxPool2d, MaxPool2dBackward, PoolKind,
};
pub use reduce::{Expand, Reduce};
pub use reshape::Reshape;
pub use resize::{Coordinates, Resize, ResizeBackward, ResizeMode, Rounding};
pub use select::Where;
pub use slice::{Slice, SliceBackward};
pub use softmax::{Softmax, SoftmaxBackward};
pub use standardize::{Standardize, StandardizeBackward};
pub use upsample::{Upsample, UpsampleBackward, UpsampleMode};
pub use window::{Padding, Window};

/// How a value's place in the image follows from its input's: for receptive fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// Each element depends on the same position (and any channel).
    Point,
    /// Each element depends on a window, per axis (rows, columns).
    Window([Window; 2]),
    /// Each element depends on the whole input.
    Everything,
    /// Positions do not follow a regular grid (transposed convolution, resizing, other orders): not tracked.
    Irregular,
}

/// What an operation is, apart from computing it.
pub trait Operation {
    /// Its name in messages, listings and files: `conv2d`.
    fn kind(&self) -> &'static str;

    /// The types of its outputs on inputs of these types. Problems are appended to `problems`; the result may be
    /// `Some` despite them where the output shape is clear all the same, so that later layers are checked too.
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>>;

    /// Multiply-accumulates for one image.
    fn macs(&self, _inputs: &[&Type], _outputs: &[&Type]) -> u64 {
        0
    }

    /// How positions of the output relate to positions of input 0.
    fn reach(&self, _input: &Type) -> Reach {
        Reach::Point
    }

    /// Whether it can overwrite its input (elementwise) or only renames it: it then needs no memory of its own.
    fn is_in_place(&self) -> bool {
        false
    }

    /// Which inputs (by position) it changes in place: running statistics, updated parameters.
    fn updated_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Appends the computation of the inputs' gradients from the outputs'; one entry per input, `None` where
    /// no gradient exists (labels) or none was asked for.
    ///
    /// # Errors
    /// [`Problem::NoGradient`] where the operation is not differentiable.
    fn gradient(&self, _cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        Err(Problem::NoGradient { op: self.kind() })
    }
}

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// An operation with its attributes.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // each variant is documented at its type
        pub enum Op { $($name($name)),* }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op { Op::$name(op) }
        })*

        impl Op {
            fn operation(&self) -> &dyn Operation {
                match self { $(Op::$name(op) => op),* }
            }

            /// The names of all operations, for tests that every one is handled everywhere.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The name of the variant.
            pub fn variant(&self) -> &'static str {
                match self { $(Op::$name(_) => stringify!($name)),* }
            }
        }
    };
}

operations! {
    // leaves
    Input, Parameter, Constant,
    // layers
    Conv2d, ConvTranspose2d, LocallyConnected2d, Linear,
    MaxPool2d, AvgPool2d, GlobalPool,
    Activation, Softmax, BatchNorm, LocalResponseNorm, Dropout,
    Reshape, Binary, Scale, Concat, Slice, Pad, Upsample, Reduce, Expand,
    Where, MatMul, Standardize, Fold, ArgMax,
    Permute, Flip, PadAxis, Tile, Resize, DepthToSpace, SpaceToDepth,
    // layers computed again
    Normalize,
    // losses
    CrossEntropy, BceWithLogits, MeanSquaredError,
    // gradients
    Conv2dBackwardData, Conv2dBackwardWeights,
    LocallyConnected2dBackwardData, LocallyConnected2dBackwardWeights,
    LinearBackwardData, LinearBackwardWeights,
    MaxPool2dBackward, AvgPool2dBackward, GlobalPoolBackward,
    ActivationBackward, SoftmaxBackward, BatchNormBackward, LocalResponseNormBackward,
    SliceBackward, PadBackward, UpsampleBackward, PadAxisBackward, ResizeBackward, StandardizeBackward,
    CrossEntropyBackward, BceWithLogitsBackward, MeanSquaredErrorBackward,
    // updates
    Accumulate, ClipFactor, SgdUpdate, AdamUpdate, RmsPropUpdate, AverageUpdate,
}

impl Operation for Op {
    fn kind(&self) -> &'static str {
        self.operation().kind()
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        self.operation().infer(inputs, problems)
    }
    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        self.operation().macs(inputs, outputs)
    }
    fn reach(&self, input: &Type) -> Reach {
        self.operation().reach(input)
    }
    fn is_in_place(&self) -> bool {
        self.operation().is_in_place()
    }
    fn updated_inputs(&self) -> &'static [usize] {
        self.operation().updated_inputs()
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        self.operation().gradient(cx)
    }
}

/// The checks that shape rules share.
pub(crate) mod expect {
    use super::*;

    /// Exactly `N` inputs.
    pub(crate) fn inputs<'a, const N: usize>(
        inputs: &[&'a Type],
        names: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<[&'a Type; N]> {
        let found = inputs.len();
        <[&Type; N]>::try_from(inputs.to_vec())
            .map_err(|_| problems.push(Problem::InputCount { expected: names.to_string(), found }))
            .ok()
    }

    /// A batched `[C, H, W]`.
    pub(crate) fn map(what: &'static str, ty: &Type, problems: &mut Vec<Problem>) -> Option<[usize; 3]> {
        let chw = ty.chw().filter(|_| ty.batched);
        if chw.is_none() {
            problems.push(Problem::Kind { what, expected: "a feature map", found: ty.clone() });
        }
        chw
    }

    /// A batched `[F]`.
    pub(crate) fn features(what: &'static str, ty: &Type, problems: &mut Vec<Problem>) -> Option<usize> {
        match ty.dims.as_slice() {
            [features] if ty.batched => Some(*features),
            _ => {
                problems.push(Problem::Kind { what, expected: "a feature vector", found: ty.clone() });
                None
            }
        }
    }

    /// A tensor of exactly the type `expected`.
    pub(crate) fn ty(what: &'static str, found: &Type, expected: Type, problems: &mut Vec<Problem>) {
        if *found != expected {
            problems.push(Problem::Shape { what, expected, found: found.clone() });
        }
    }

    /// The size of an axis.
    pub(crate) fn axis(axis: usize, ty: &Type, problems: &mut Vec<Problem>) -> Option<usize> {
        let size = ty.dims.get(axis).copied();
        if size.is_none() {
            problems.push(Problem::Axis { axis, found: ty.clone() });
        }
        size
    }

    /// At least 1.
    pub(crate) fn positive(what: &'static str, value: usize, problems: &mut Vec<Problem>) -> bool {
        if value == 0 {
            problems.push(Problem::Zero { what });
        }
        value > 0
    }
}
