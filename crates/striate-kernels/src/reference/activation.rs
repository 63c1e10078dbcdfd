//! Functions of one element, by their formulas.

use crate::activation::Activation;
use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

/// The error function: by its series, or by the continued fraction of its complement.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    if t > 2.5 {
        let fraction = (1..=60).rev().fold(t, |f, k| t + f64::from(k) / 2.0 / f);
        return x.signum() * (1.0 - (-t * t).exp() / (PI.sqrt() * fraction));
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..60 {
        term *= -x * x / f64::from(k);
        sum += term / f64::from(2 * k + 1);
    }
    sum * FRAC_2_SQRT_PI
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// f(x) of every element.
pub fn forward(f: Activation, src: &[f64]) -> Vec<f64> {
    src.iter().map(|&x| value(f, x)).collect()
}

fn value(f: Activation, x: f64) -> f64 {
    match f {
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } if x < 0.0 => x * f64::from(slope),
        Activation::LeakyRelu { .. } => x,
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Clip { min, max } => x.max(min.into()).min(max.into()),
        Activation::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Swish { alpha } => x * sigmoid(f64::from(alpha) * x),
        Activation::Elu { gamma, .. } if x > 0.0 => f64::from(gamma) * x,
        Activation::Elu { alpha, gamma, rate } => {
            f64::from(gamma) * f64::from(alpha) * (f64::from(rate) * x).exp_m1()
        }
        Activation::Softplus => softplus(x),
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Gelu => x * 0.5 * (1.0 + erf(x / SQRT_2)),
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        Activation::ThresholdedRelu { alpha } if x <= f64::from(alpha) => 0.0,
        Activation::ThresholdedRelu { .. } => x,
        Activation::Exp => x.exp(),
        Activation::Log => x.ln(),
        Activation::Sqrt => x.sqrt(),
        Activation::Reciprocal => 1.0 / x,
        Activation::Abs => x.abs(),
        Activation::Erf => erf(x),
        Activation::Sign if x == 0.0 => 0.0,
        Activation::Sign => x.signum(),
        Activation::Floor => x.floor(),
        Activation::Ceil => x.ceil(),
        Activation::Round => x.round_ties_even(),
    }
}

/// dy · f′(x) of every element, with f′(x) from the output or the input, as [`Activation::slopes_from_input`] says.
pub fn backward(f: Activation, of: &[f64], d_dst: &[f64]) -> Vec<f64> {
    of.iter().zip(d_dst).map(|(&of, &dy)| dy * slope(f, of)).collect()
}

/// f′ from the output y, or the input x.
fn slope(f: Activation, of: f64) -> f64 {
    let (x, y) = (of, of);
    let within = |inside: bool, slope: f64| if inside { slope } else { 0.0 };
    match f {
        Activation::Relu => within(y > 0.0, 1.0),
        Activation::LeakyRelu { .. } if y > 0.0 => 1.0,
        Activation::LeakyRelu { slope } => f64::from(slope),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
        Activation::Clip { min, max } => within(f64::from(min) < y && y < f64::from(max), 1.0),
        Activation::HardSigmoid { alpha, .. } => within(0.0 < y && y < 1.0, alpha.into()),
        Activation::HardSwish if x <= -3.0 => 0.0,
        Activation::HardSwish if x >= 3.0 => 1.0,
        Activation::HardSwish => x / 3.0 + 0.5,
        Activation::Swish { alpha } => {
            let inner = f64::from(alpha) * x;
            sigmoid(inner) * (1.0 + inner * (1.0 - sigmoid(inner)))
        }
        Activation::Elu { gamma, .. } if y > 0.0 => gamma.into(),
        Activation::Elu { alpha, gamma, rate } => f64::from(rate) * (y + f64::from(gamma) * f64::from(alpha)),
        Activation::Softplus => 1.0 - (-y).exp(),
        Activation::Softsign => (1.0 - y.abs()).powi(2),
        Activation::Mish => {
            let t = softplus(x).tanh();
            t + x * (1.0 - t * t) * sigmoid(x)
        }
        Activation::Gelu => 0.5 * (1.0 + erf(x / SQRT_2)) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt(),
        Activation::GeluTanh => {
            let root = (2.0 / PI).sqrt();
            let t = (root * (x + 0.044715 * x.powi(3))).tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044715 * x * x)
        }
        Activation::ThresholdedRelu { alpha } => within(x > f64::from(alpha), 1.0),
        Activation::Exp => y,
        Activation::Log => 1.0 / x,
        Activation::Sqrt => 0.5 / y,
        Activation::Reciprocal => -y * y,
        Activation::Abs => within(x != 0.0, x.signum()),
        Activation::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
        Activation::Sign | Activation::Floor | Activation::Ceil | Activation::Round => 0.0,
    }
}
