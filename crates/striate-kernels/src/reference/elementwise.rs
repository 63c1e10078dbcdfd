//! Functions of elements of arrays that repeat, by definition, over arrays in row-major order.

use crate::elementwise::Binary;

/// The extents that all shapes repeat to, aligned at the last axis.
pub fn common(shapes: &[&[usize]]) -> Vec<usize> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let dim =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
    (0..rank).map(|axis| shapes.iter().map(|shape| dim(shape, axis)).max().unwrap_or(1)).collect()
}

/// The index along each axis of element `at` of an array.
pub fn index(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = at % shape[axis];
        at /= shape[axis];
    }
    index
}

/// The element at an index, of an array that is repeated to the rank and the extents of the index.
pub fn element(shape: &[usize], index: &[usize]) -> usize {
    let missing = index.len() - shape.len();
    (0..shape.len()).fold(0, |at, axis| at * shape[axis] + index[missing + axis] % shape[axis])
}

/// f of an element of each array, for each element of the extents that all repeat to.
pub fn map(f: impl Fn(&[f64]) -> f64, arrays: &[(&[usize], &[f64])]) -> Vec<f64> {
    let shape = common(&arrays.iter().map(|(shape, _)| *shape).collect::<Vec<_>>());
    let elements = 0..shape.iter().product();
    let value = |at| {
        let index = index(&shape, at);
        let operands: Vec<f64> = arrays.iter().map(|(shape, data)| data[element(shape, &index)]).collect();
        f(&operands)
    };
    elements.map(value).collect()
}

/// a op b.
pub fn binary(op: Binary, a: f64, b: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        Binary::Add => a + b,
        Binary::Multiply => a * b,
        Binary::AddRelu => (a + b).max(0.0),
        Binary::MultiplyRelu => (a * b).max(0.0),
        Binary::Subtract => a - b,
        Binary::Divide => a / b,
        Binary::Power => a.powf(b),
        Binary::Minimum => a.min(b),
        Binary::Maximum => a.max(b),
        Binary::Equal => truth(a == b),
        Binary::Less => truth(a < b),
        Binary::Greater => truth(a > b),
        Binary::Prelu if a > 0.0 => a,
        Binary::Prelu => a * b,
    }
}
