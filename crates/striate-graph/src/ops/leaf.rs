//! Values that are given: inputs, parameters, constants.

use super::{Op, Operation};
use crate::error::Problem;
use crate::{Init, Type};

/// What a caller supplies for each run: images, labels, the learning rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its type.
    pub ty: Type,
}

/// What a parameter is for; decides whether and how training changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weights of a convolution or a fully connected layer.
    Weight,
    /// Bias of one.
    Bias,
    /// A normalisation's γ.
    Scale,
    /// A normalisation's β.
    Shift,
    /// Running mean or variance: changed by the forward pass of training, not by gradient.
    Statistic,
    /// An optimiser's memory: not part of a model.
    OptimiserState,
}

/// A tensor that lasts from run to run; the node's name is its published name.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Dimensions: (out, in, kh, kw) for convolutions, (out, in) for fully connected layers.
    pub dims: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// What it starts as.
    pub init: Init,
}

/// A scalar known when the plan is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its value.
    pub value: f32,
}

impl Operation for Input {
    fn kind(&self) -> &'static str {
        "input"
    }
    fn infer(&self, _: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        for dim in &self.ty.dims {
            super::expect::positive("input dimension", *dim, problems);
        }
        Some(vec![self.ty.clone()])
    }
}

impl Operation for Parameter {
    fn kind(&self) -> &'static str {
        "parameter"
    }
    fn infer(&self, _: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        for dim in &self.dims {
            super::expect::positive("parameter dimension", *dim, problems);
        }
        Some(vec![Type::single(self.dims.clone())])
    }
}

impl Operation for Constant {
    fn kind(&self) -> &'static str {
        "constant"
    }
    fn infer(&self, _: &[&Type], _: &mut Vec<Problem>) -> Option<Vec<Type>> {
        Some(vec![Type::scalar()])
    }
}

impl Op {
    /// Whether it is given rather than computed.
    pub fn is_leaf(&self) -> bool {
        matches!(self, Op::Input(_) | Op::Parameter(_) | Op::Constant(_))
    }

    /// The inputs (by position) that it changes in place.
    pub fn updates(&self) -> impl Iterator<Item = usize> {
        self.updated_inputs().iter().copied()
    }
}
