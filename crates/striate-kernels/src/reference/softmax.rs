//! Softmax over the channels of each row, by its formula.

use crate::softmax::Space;

/// exp xᵢ / Σ exp xⱼ of each row of `channels`, or its logarithm.
pub fn forward(space: Space, src: &[f64], channels: usize) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
        match space {
            Space::Linear => x.iter().map(|x| (x - max).exp() / sum).collect(),
            Space::Log => x.iter().map(|x| x - max - sum.ln()).collect(),
        }
    };
    src.chunks(channels).flat_map(row).collect()
}

/// Σᵢ dyᵢ · ∂yᵢ/∂xⱼ of each row, from y.
pub fn backward(space: Space, dst: &[f64], d_dst: &[f64], channels: usize) -> Vec<f64> {
    let row = |(y, dy): (&[f64], &[f64])| -> Vec<f64> {
        let jacobian = |i: usize, j: usize| {
            let one = if i == j { 1.0 } else { 0.0 };
            match space {
                Space::Linear => y[i] * (one - y[j]),
                Space::Log => one - y[j].exp(),
            }
        };
        (0..channels).map(|j| (0..channels).map(|i| dy[i] * jacobian(i, j)).sum()).collect()
    };
    dst.chunks(channels).zip(d_dst.chunks(channels)).flat_map(row).collect()
}
