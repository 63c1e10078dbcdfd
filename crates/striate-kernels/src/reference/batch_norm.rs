//! Batch normalisation by definition, over logical (NCHW) arrays.

/// For each channel the elements of `src` (n, c, h, w) that belong to it, as indices.
fn channel(index: usize, [n, c, h, w]: [usize; 4]) -> impl Iterator<Item = usize> + Clone {
    (0..n).flat_map(move |image| (0..h * w).map(move |p| (image * c + index) * h * w + p))
}

/// The mean and the biased variance of each channel of `src` (n, c, h, w).
pub fn statistics(shape: [usize; 4], src: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let count = (shape[0] * shape[2] * shape[3]) as f64;
    (0..shape[1])
        .map(|c| {
            let mean = channel(c, shape).map(|i| src[i]).sum::<f64>() / count;
            let variance = channel(c, shape).map(|i| (src[i] - mean).powi(2)).sum::<f64>() / count;
            (mean, variance)
        })
        .unzip()
}

/// y = γ(x − μ)/√(σ² + ε) + β with the given statistics, a channel each; `src` and the result are (n, c, h, w).
pub fn normalize(
    shape: [usize; 4],
    src: &[f64],
    [mean, variance, scale, bias]: [&[f64]; 4],
    epsilon: f64,
) -> Vec<f64> {
    let mut dst = vec![0.0; src.len()];
    for c in 0..shape[1] {
        for i in channel(c, shape) {
            dst[i] = scale[c] * (src[i] - mean[c]) / (variance[c] + epsilon).sqrt() + bias[c];
        }
    }
    dst
}

/// (∂x, ∂γ, ∂β) from x and ∂y, both (n, c, h, w), through the batch's own statistics.
pub fn backward(
    shape: [usize; 4],
    src: &[f64],
    d_dst: &[f64],
    scale: &[f64],
    epsilon: f64,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mean, variance) = statistics(shape, src);
    let count = (shape[0] * shape[2] * shape[3]) as f64;
    let (mut d_src, mut d_scale, mut d_bias) =
        (vec![0.0; src.len()], vec![0.0; shape[1]], vec![0.0; shape[1]]);
    for c in 0..shape[1] {
        let std = (variance[c] + epsilon).sqrt();
        let normal = |i: usize| (src[i] - mean[c]) / std;
        d_bias[c] = channel(c, shape).map(|i| d_dst[i]).sum();
        d_scale[c] = channel(c, shape).map(|i| d_dst[i] * normal(i)).sum();
        for i in channel(c, shape) {
            d_src[i] = scale[c] / std * (d_dst[i] - d_bias[c] / count - normal(i) * d_scale[c] / count);
        }
    }
    (d_src, d_scale, d_bias)
}

/// The running averages after a batch: (1 − momentum)·old + momentum·new, with the unbiased variance.
pub fn update_running(
    [old_mean, old_variance]: [&[f64]; 2],
    [mean, variance]: [&[f64]; 2],
    count: usize,
    momentum: f64,
) -> (Vec<f64>, Vec<f64>) {
    let unbiased = if count > 1 { count as f64 / (count as f64 - 1.0) } else { 1.0 };
    (0..mean.len())
        .map(|c| {
            (
                (1.0 - momentum) * old_mean[c] + momentum * mean[c],
                (1.0 - momentum) * old_variance[c] + momentum * variance[c] * unbiased,
            )
        })
        .unzip()
}
