//! What the graph's functions are called by the kernels.

use striate_graph::ops::{
    ActivationKind, BinaryKind, Coordinates, FoldKind, PadMode, Resize, ResizeMode, Rounding,
};
use striate_kernels::activation::Activation;
use striate_kernels::elementwise::Binary;
use striate_kernels::fold::Fold;
use striate_kernels::{pad, resample};

pub(crate) fn activation(kind: ActivationKind) -> Activation {
    match kind {
        ActivationKind::Relu => Activation::Relu,
        ActivationKind::LeakyRelu { slope } => Activation::LeakyRelu { slope },
        ActivationKind::Sigmoid => Activation::Sigmoid,
        ActivationKind::Tanh => Activation::Tanh,
        ActivationKind::Clip { min, max } => Activation::Clip { min, max },
        ActivationKind::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
        ActivationKind::HardSwish => Activation::HardSwish,
        ActivationKind::Swish { alpha } => Activation::Swish { alpha },
        ActivationKind::Elu { alpha } => Activation::Elu { alpha, gamma: 1.0, rate: 1.0 },
        ActivationKind::Selu { alpha, gamma } => Activation::Elu { alpha, gamma, rate: 1.0 },
        ActivationKind::Celu { alpha } => Activation::Elu { alpha, gamma: 1.0, rate: 1.0 / alpha },
        ActivationKind::Softplus => Activation::Softplus,
        ActivationKind::Softsign => Activation::Softsign,
        ActivationKind::Mish => Activation::Mish,
        ActivationKind::Gelu => Activation::Gelu,
        ActivationKind::GeluTanh => Activation::GeluTanh,
        ActivationKind::ThresholdedRelu { alpha } => Activation::ThresholdedRelu { alpha },
        ActivationKind::Exp => Activation::Exp,
        ActivationKind::Log => Activation::Log,
        ActivationKind::Sqrt => Activation::Sqrt,
        ActivationKind::Reciprocal => Activation::Reciprocal,
        ActivationKind::Abs => Activation::Abs,
        ActivationKind::Erf => Activation::Erf,
        ActivationKind::Sign => Activation::Sign,
        ActivationKind::Floor => Activation::Floor,
        ActivationKind::Ceil => Activation::Ceil,
        ActivationKind::Round => Activation::Round,
    }
}

pub(crate) fn binary(kind: BinaryKind) -> Binary {
    match kind {
        BinaryKind::Add => Binary::Add,
        BinaryKind::Multiply => Binary::Multiply,
        BinaryKind::Subtract => Binary::Subtract,
        BinaryKind::Divide => Binary::Divide,
        BinaryKind::Power => Binary::Power,
        BinaryKind::Minimum => Binary::Minimum,
        BinaryKind::Maximum => Binary::Maximum,
        BinaryKind::Equal => Binary::Equal,
        BinaryKind::Less => Binary::Less,
        BinaryKind::Greater => Binary::Greater,
        BinaryKind::Prelu => Binary::Prelu,
    }
}

pub(crate) fn fold(kind: FoldKind) -> Fold {
    match kind {
        FoldKind::Max => Fold::Max,
        FoldKind::Min => Fold::Min,
        FoldKind::Product => Fold::Product,
    }
}

/// A padding's mode; `value` is what stands for zeros.
pub(crate) fn pad_mode(mode: PadMode, value: f32) -> pad::PadMode {
    match mode {
        PadMode::Zeros => pad::PadMode::Constant(value),
        PadMode::Reflect => pad::PadMode::Reflect,
        PadMode::Replicate => pad::PadMode::Replicate,
        PadMode::Circular => pad::PadMode::Circular,
    }
}

/// A resizing of `input` elements.
pub(crate) fn resize(resize: &Resize, input: usize) -> resample::Resize {
    let interpolation = match resize.mode {
        ResizeMode::Nearest(rounding) => resample::Interpolation::Nearest(match rounding {
            Rounding::HalfDown => resample::Rounding::HalfDown,
            Rounding::HalfUp => resample::Rounding::HalfUp,
            Rounding::Down => resample::Rounding::Down,
            Rounding::Up => resample::Rounding::Up,
        }),
        ResizeMode::Linear => resample::Interpolation::Linear,
        ResizeMode::Cubic { a, exclude_outside } => resample::Interpolation::Cubic { a, exclude_outside },
    };
    let coordinates = match resize.coordinates {
        Coordinates::HalfPixel => resample::Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel => resample::Coordinates::PytorchHalfPixel,
        Coordinates::HalfPixelSymmetric => resample::Coordinates::HalfPixelSymmetric,
        Coordinates::AlignCorners => resample::Coordinates::AlignCorners,
        Coordinates::Asymmetric => resample::Coordinates::Asymmetric,
    };
    resample::Resize { input, output: resize.size, scale: resize.scale, interpolation, coordinates }
}
