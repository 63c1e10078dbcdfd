//! Elements in other orders, by definition, over arrays in row-major order.

use super::elementwise::{element, index};
use crate::pad::PadMode;

/// For each index of an array of extents `shape`, the element that `from` names, or its value.
pub fn gather(shape: &[usize], from: impl Fn(&[usize]) -> Result<usize, f64>, src: &[f64]) -> Vec<f64> {
    let elements = 0..shape.iter().product();
    elements.map(|at| from(&index(shape, at)).map_or_else(|value| value, |from| src[from])).collect()
}

/// The extents with another along an axis.
pub fn resized(shape: &[usize], axis: usize, extent: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = extent;
    shape
}

/// As [`gather`], where the source's index differs along one axis alone.
pub fn along(
    src_shape: &[usize],
    axis: usize,
    extent: usize,
    from: impl Fn(usize) -> Result<usize, f64>,
    src: &[f64],
) -> Vec<f64> {
    let place = |to: &[usize]| {
        let mut index = to.to_vec();
        index[axis] = from(to[axis])?;
        Ok(element(src_shape, &index))
    };
    gather(&resized(src_shape, axis, extent), place, src)
}

/// The axes in another order: axis i of the result is axis `axes[i]`.
pub fn permute(src_shape: &[usize], axes: &[usize], src: &[f64]) -> Vec<f64> {
    let shape: Vec<usize> = axes.iter().map(|axis| src_shape[*axis]).collect();
    let place = |to: &[usize]| {
        let mut index = vec![0; to.len()];
        axes.iter().zip(to).for_each(|(axis, at)| index[*axis] = *at);
        Ok(element(src_shape, &index))
    };
    gather(&shape, place, src)
}

/// Elements before and behind those of an axis.
pub fn pad(
    src_shape: &[usize],
    axis: usize,
    [before, behind]: [usize; 2],
    mode: PadMode,
    src: &[f64],
) -> Vec<f64> {
    let size = src_shape[axis] as isize;
    let from = |at: usize| {
        let at = at as isize - before as isize;
        let inside = (0..size).contains(&at);
        let place = match mode {
            PadMode::Constant(value) if !inside => return Err(f64::from(value)),
            PadMode::Reflect if at < 0 => -at,
            PadMode::Reflect if at >= size => 2 * (size - 1) - at,
            PadMode::Replicate => at.clamp(0, size - 1),
            PadMode::Circular => at.rem_euclid(size),
            _ => at,
        };
        Ok(place as usize)
    };
    along(src_shape, axis, before + src_shape[axis] + behind, from, src)
}

/// For each element of the source of [`pad`], the sum over its copies.
pub fn pad_backward(
    src_shape: &[usize],
    axis: usize,
    pads: [usize; 2],
    mode: PadMode,
    d_dst: &[f64],
) -> Vec<f64> {
    let count: usize = src_shape.iter().product();
    // Which element each copy is of: elements padded tell their numbers.
    let numbers: Vec<f64> = (0..count).map(|number| number as f64).collect();
    let mode = if let PadMode::Constant(_) = mode { PadMode::Constant(-1.0) } else { mode };
    let mut d_src = vec![0.0; count];
    for (number, d) in pad(src_shape, axis, pads, mode, &numbers).into_iter().zip(d_dst) {
        if number >= 0.0 {
            d_src[number as usize] += d;
        }
    }
    d_src
}
