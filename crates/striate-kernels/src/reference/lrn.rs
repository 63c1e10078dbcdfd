//! Local response normalisation by definition, over logical (NCHW) arrays.

use crate::lrn::LocalResponseNorm;

/// For each element its divisor's base, k + α/size · Σ x² over the window of channels.
fn bases(op: &LocalResponseNorm, [_, c, h, w]: [usize; 4], src: &[f64]) -> Vec<f64> {
    let plane = h * w;
    (0..src.len())
        .map(|i| {
            let (image, channel) = (i / (c * plane), i / plane % c);
            let squares =
                op.window(channel, c).map(|other| src[(image * c + other) * plane + i % plane].powi(2));
            op.k as f64 + op.alpha as f64 / op.size as f64 * squares.sum::<f64>()
        })
        .collect()
}

/// x / (k + α/size · Σ x²)^β, of `src` (n, c, h, w).
pub fn forward(op: &LocalResponseNorm, shape: [usize; 4], src: &[f64]) -> Vec<f64> {
    src.iter().zip(bases(op, shape, src)).map(|(x, base)| x / base.powf(op.beta as f64)).collect()
}

/// ∂x from x and ∂y, both (n, c, h, w): each y is differentiated by every x of its window.
pub fn backward(op: &LocalResponseNorm, shape: [usize; 4], src: &[f64], d_dst: &[f64]) -> Vec<f64> {
    let [_, c, h, w] = shape;
    let plane = h * w;
    let (alpha, beta) = (op.alpha as f64 / op.size as f64, op.beta as f64);
    let mut d_src = vec![0.0; src.len()];
    for (i, base) in bases(op, shape, src).into_iter().enumerate() {
        let (image, channel) = (i / (c * plane), i / plane % c);
        d_src[i] += d_dst[i] / base.powf(beta);
        for other in op.window(channel, c) {
            let j = (image * c + other) * plane + i % plane;
            d_src[j] -= d_dst[i] * src[i] * beta * base.powf(-beta - 1.0) * alpha * 2.0 * src[j];
        }
    }
    d_src
}
