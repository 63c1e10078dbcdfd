//! Products of stacks of matrices, by definition, over arrays in row-major order.

use super::elementwise::{common, element, index};

/// dst\[…, i, j\] = Σ_k a\[…, i, k\] · b\[…, k, j\]; stacks repeat.
pub fn matmul((a_shape, a): (&[usize], &[f64]), (b_shape, b): (&[usize], &[f64])) -> Vec<f64> {
    let split = |shape: &'_ [usize]| {
        let (stack, matrix) = shape.split_at(shape.len() - 2);
        (stack.to_vec(), [matrix[0], matrix[1]])
    };
    let ((a_stack, [m, depth]), (b_stack, [_, n])) = (split(a_shape), split(b_shape));
    let mut shape = common(&[&a_stack, &b_stack]);
    shape.extend([m, n]);
    let rank = shape.len();
    let value = |at: usize| -> f64 {
        let index = index(&shape, at);
        let term = |k: usize| {
            let (mut left, mut right) = (index.clone(), index.clone());
            left[rank - 1] = k;
            right[rank - 2] = k;
            a[element(a_shape, &left)] * b[element(b_shape, &right)]
        };
        (0..depth).map(term).sum()
    };
    (0..shape.iter().product()).map(value).collect()
}
