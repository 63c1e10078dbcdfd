//! Resizing along an axis by definition, over arrays in row-major order.

use super::elementwise::{element, index};
use super::rearrange::resized;
use crate::resample::{Interpolation, Resize, Rounding};

/// The weight of place `from`, within the source or beyond its ends, in an element at `position`.
fn weight(interpolation: Interpolation, position: f64, from: i64) -> f64 {
    let t = (position - from as f64).abs();
    match interpolation {
        Interpolation::Nearest(rounding) => {
            let nearest = match rounding {
                Rounding::HalfDown => (position - 0.5).ceil(),
                Rounding::HalfUp => (position + 0.5).floor(),
                Rounding::Down => position.floor(),
                Rounding::Up => position.ceil(),
            };
            if nearest == from as f64 { 1.0 } else { 0.0 }
        }
        Interpolation::Linear => (1.0 - t).max(0.0),
        Interpolation::Cubic { a, .. } => {
            let a = f64::from(a);
            match t {
                t if t <= 1.0 => (a + 2.0) * t.powi(3) - (a + 3.0) * t.powi(2) + 1.0,
                t if t < 2.0 => a * t.powi(3) - 5.0 * a * t.powi(2) + 8.0 * a * t - 4.0 * a,
                _ => 0.0,
            }
        }
    }
}

/// The weight of each of the source's elements in element `at` of the result.
fn weights(resize: &Resize, at: usize) -> Vec<f64> {
    let (position, size) = (resize.position(at), resize.input as i64);
    let mut weights = vec![0.0; resize.input];
    let exclude = matches!(resize.interpolation, Interpolation::Cubic { exclude_outside: true, .. });
    let around = position.floor() as i64 - 2..=position.floor() as i64 + 3;
    for from in around.filter(|from| !exclude || (0..size).contains(from)) {
        weights[from.clamp(0, size - 1) as usize] += weight(resize.interpolation, position, from);
    }
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// `src` resized along an axis.
pub fn forward(resize: &Resize, shape: &[usize], axis: usize, src: &[f64]) -> Vec<f64> {
    let dst_shape = resized(shape, axis, resize.output);
    let table: Vec<Vec<f64>> = (0..resize.output).map(|at| weights(resize, at)).collect();
    let mut dst = vec![0.0; dst_shape.iter().product()];
    for (to, sum) in dst.iter_mut().enumerate() {
        let mut index = index(&dst_shape, to);
        let row = &table[index[axis]];
        for (from, weight) in row.iter().enumerate() {
            index[axis] = from;
            *sum += weight * src[element(shape, &index)];
        }
    }
    dst
}

/// The gradient of the source.
pub fn backward(resize: &Resize, shape: &[usize], axis: usize, d_dst: &[f64]) -> Vec<f64> {
    let dst_shape = resized(shape, axis, resize.output);
    let table: Vec<Vec<f64>> = (0..resize.output).map(|at| weights(resize, at)).collect();
    let mut d_src = vec![0.0; shape.iter().product()];
    for (to, d) in d_dst.iter().enumerate() {
        let mut index = index(&dst_shape, to);
        let row = &table[index[axis]];
        for (from, weight) in row.iter().enumerate() {
            index[axis] = from;
            d_src[element(shape, &index)] += weight * d;
        }
    }
    d_src
}
