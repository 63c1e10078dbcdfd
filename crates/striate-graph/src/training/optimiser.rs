//! Optimisers as data: what becomes of a parameter and its gradient.

use crate::ops::{AdamUpdate, Op, RmsPropUpdate, SgdUpdate};

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimiser {
    /// The rule.
    pub rule: Rule,
    /// λ: an L2 penalty's factor, or of AdamW the part by which weights shrink at a learning rate of 1.
    pub weight_decay: f32,
    /// Whether the decay also applies to biases and to normalisations' scales and shifts.
    pub decay_all: bool,
}

/// An optimiser's rule; the maths is at its operation in [`ops::optim`](crate::ops::optim).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// Whether a velocity is kept; how much of it, the input [`MOMENTUM`](super::MOMENTUM) says at each step.
        momentum: bool,
        /// Nesterov's form of momentum.
        nesterov: bool,
    },
    /// Adam, or AdamW.
    Adam {
        /// β₁, the part of the mean gradient that is kept.
        beta1: f64,
        /// β₂, the part of the mean squared gradient that is kept.
        beta2: f64,
        /// ε, which bounds the step where gradients vanish.
        eps: f64,
        /// Whether weights decay by themselves (AdamW) rather than through the gradient (Adam).
        decoupled: bool,
    },
    /// RMSProp.
    RmsProp {
        /// α, the part of the mean squared gradient that is kept.
        alpha: f64,
        /// ε.
        eps: f64,
        /// Whether a velocity is kept.
        momentum: bool,
    },
}

impl Default for Optimiser {
    /// Stochastic gradient descent with momentum, no decay.
    fn default() -> Self {
        Self { rule: Rule::Sgd { momentum: true, nesterov: false }, weight_decay: 0.0, decay_all: true }
    }
}

impl Rule {
    /// Whether the input [`MOMENTUM`](super::MOMENTUM) is read.
    pub fn has_momentum(&self) -> bool {
        matches!(self, Self::Sgd { momentum: true, .. } | Self::RmsProp { momentum: true, .. })
    }

    /// Whether the input [`UPDATES`](super::UPDATES) is read.
    pub fn counts(&self) -> bool {
        matches!(self, Self::Adam { .. })
    }

    /// What the names of its state add to a parameter's, in the order of the update's inputs.
    pub fn state(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: false, .. } => &[],
            Self::Sgd { momentum: true, .. } => &[super::VELOCITY],
            Self::Adam { .. } => &[".mean", ".square"],
            Self::RmsProp { momentum: false, .. } => &[".square"],
            Self::RmsProp { momentum: true, .. } => &[".square", super::VELOCITY],
        }
    }

    /// The update of a parameter with this decay.
    pub(super) fn update(&self, weight_decay: f32) -> Op {
        match *self {
            Self::Sgd { momentum, nesterov } => SgdUpdate { momentum, nesterov, weight_decay }.into(),
            Self::Adam { beta1, beta2, eps, decoupled } => {
                AdamUpdate { beta1, beta2, eps, weight_decay, decoupled }.into()
            }
            Self::RmsProp { alpha, eps, momentum } => {
                RmsPropUpdate { alpha, eps, weight_decay, momentum }.into()
            }
        }
    }
}
