//! Activation functions, by their formulas.

use crate::activation::Activation;

/// f(x) of every element.
pub fn forward(f: Activation, src: &[f64]) -> Vec<f64> {
    let value = |x: f64| match f {
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu { slope } if x < 0.0 => x * f64::from(slope),
        Activation::LeakyRelu { .. } => x,
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    };
    src.iter().map(|&x| value(x)).collect()
}

/// dy · f′(x), with f′(x) from y = f(x).
pub fn backward(f: Activation, dst: &[f64], d_dst: &[f64]) -> Vec<f64> {
    let slope = |y: f64| match f {
        Activation::Relu if y > 0.0 => 1.0,
        Activation::Relu => 0.0,
        Activation::LeakyRelu { .. } if y > 0.0 => 1.0,
        Activation::LeakyRelu { slope } => f64::from(slope),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
    };
    dst.iter().zip(d_dst).map(|(&y, &dy)| dy * slope(y)).collect()
}
