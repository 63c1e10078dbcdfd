//! Combinations along axes, by definition, over arrays in row-major order.

use super::elementwise::{element, index};
use super::rearrange::resized;
use crate::fold::{ArgMax, Fold};

/// The combination of `src` (with `by`, for products) along the axes whose extent in `dst_shape` is 1.
pub fn fold(op: Fold, shape: &[usize], dst_shape: &[usize], src: &[f64], by: &[f64]) -> Vec<f64> {
    let start = match op {
        Fold::Sum | Fold::SumOfSquares | Fold::SumOfProducts => 0.0,
        Fold::Product => 1.0,
        Fold::Max => f64::NEG_INFINITY,
        Fold::Min => f64::INFINITY,
    };
    let mut dst = vec![start; dst_shape.iter().product()];
    for (at, x) in src.iter().enumerate() {
        let result = &mut dst[element(dst_shape, &index(shape, at))];
        match op {
            Fold::Sum => *result += x,
            Fold::SumOfSquares => *result += x * x,
            Fold::SumOfProducts => *result += x * by[at],
            Fold::Product => *result *= x,
            Fold::Max => *result = result.max(*x),
            Fold::Min => *result = result.min(*x),
        }
    }
    dst
}

/// Where along the axis the extremes are.
pub fn arg_max(op: ArgMax, shape: &[usize], src: &[f64]) -> Vec<usize> {
    let dst_shape = resized(shape, op.axis, 1);
    let mut best: Vec<Option<(f64, usize)>> = vec![None; dst_shape.iter().product()];
    for (at, x) in src.iter().enumerate() {
        let (index, x) = (index(shape, at), if op.least { -x } else { *x });
        let best = &mut best[element(&dst_shape, &index)];
        if best.is_none_or(|(greatest, _)| x > greatest || op.last && x == greatest) {
            *best = Some((x, index[op.axis]));
        }
    }
    best.into_iter().map(|best| best.expect("an axis has elements").1).collect()
}
