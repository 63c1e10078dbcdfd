//! Products of matrices: dst\[…, i, j\] = Σ_k a\[…, i, k\] · b\[…, k, j\].

use super::binary::{broadcast, unbroadcast};
use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// The product of two stacks of matrices; an operand may be transposed.
///
/// # Shapes
/// Inputs: …×m×k and …×k×n. Output: …×m×n. What stands before the matrices is repeated as by
/// [`Binary`](super::Binary).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatMul {
    /// Whether each operand's matrices are given transposed: …×k×m, …×n×k.
    pub transposed: [bool; 2],
}

/// The rows and columns of a stack's matrices, and the stack.
fn matrices(what: &'static str, ty: &Type, problems: &mut Vec<Problem>) -> Option<([usize; 2], Type)> {
    match ty.dims.as_slice() {
        [stack @ .., rows, columns] => Some(([*rows, *columns], ty.with_dims(stack))),
        _ => {
            let expected = "a matrix, or a stack of them";
            problems.push(Problem::Kind { what, expected, found: ty.clone() });
            None
        }
    }
}

impl MatMul {
    /// m, k and n of a product of these operands; `None` where they do not fit.
    pub fn extents(&self, a: &Type, b: &Type) -> Option<[usize; 3]> {
        let mut problems = Vec::new();
        let [mut m, mut k] = matrices("", a, &mut problems)?.0;
        let [mut depth, mut n] = matrices("", b, &mut problems)?.0;
        if self.transposed[0] {
            std::mem::swap(&mut m, &mut k);
        }
        if self.transposed[1] {
            std::mem::swap(&mut depth, &mut n);
        }
        (k == depth).then_some([m, k, n])
    }
}

impl Operation for MatMul {
    fn kind(&self) -> &'static str {
        "matmul"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [a, b] = expect::inputs(inputs, "two stacks of matrices", problems)?;
        let (_, a_stack) = matrices("the left side", a, problems)?;
        let (_, b_stack) = matrices("the right side", b, problems)?;
        let (Some([m, _, n]), Some(mut ty)) = (self.extents(a, b), broadcast(&a_stack, &b_stack)) else {
            problems.push(Problem::Multiply { lhs: a.clone(), rhs: b.clone(), transposed: self.transposed });
            return None;
        };
        ty.dims.extend([m, n]);
        Some(vec![ty])
    }
    fn macs(&self, inputs: &[&Type], outputs: &[&Type]) -> u64 {
        let depth = self.extents(inputs[0], inputs[1]).map_or(0, |[_, k, _]| k);
        (outputs[0].elements() as u64).saturating_mul(depth as u64)
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
    /// d_a = d·bᵀ and d_b = aᵀ·d, transposed where the operand is; a stack that was repeated gets the sum.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (a, b, d) = (cx.input(0), cx.input(1), cx.d_output(0));
        let [a_turned, b_turned] = self.transposed;
        let product = |lhs, rhs, transposed| (MatMul { transposed }, [lhs, rhs]);
        let sides = [
            if a_turned { product(b, d, [b_turned, true]) } else { product(d, b, [false, !b_turned]) },
            if b_turned { product(d, a, [true, a_turned]) } else { product(a, d, [!a_turned, false]) },
        ];
        let mut gradients = Vec::new();
        for (index, (op, operands)) in sides.into_iter().enumerate() {
            let full = cx.needs(index).then(|| cx.emit(op, &operands)[0]);
            gradients.push(full.map(|full| unbroadcast(cx, full, cx.input(index))));
        }
        Ok(gradients)
    }
}
