//! Addition and multiplication, element by element, and scaling by a constant.
//!
//! Dimensions must be equal or 1 on one side, which is then repeated; a value without batch is repeated over
//! it. (Residual connections; AlphaGo's bias per position; losses of several heads.)

use super::{Operation, Reduce, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryKind {
    /// a + b
    Add,
    /// a · b
    Multiply,
}

/// An elementwise operation of two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub kind: BinaryKind,
}

impl Binary {
    /// a + b
    pub const ADD: Self = Self { kind: BinaryKind::Add };
    /// a · b
    pub const MULTIPLY: Self = Self { kind: BinaryKind::Multiply };
}

/// Multiplication by a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The constant.
    pub factor: f32,
}

/// The type of an elementwise combination; `None` where the two do not combine.
pub fn broadcast(lhs: &Type, rhs: &Type) -> Option<Type> {
    if lhs.dims.len() != rhs.dims.len() || lhs.dtype != rhs.dtype {
        return None;
    }
    let dim = |(a, b): (&usize, &usize)| match (*a, *b) {
        (a, b) if a == b => Some(a),
        (1, d) | (d, 1) => Some(d),
        _ => None,
    };
    let dims: Option<Vec<usize>> = lhs.dims.iter().zip(&rhs.dims).map(dim).collect();
    Some(Type { batched: lhs.batched || rhs.batched, dims: dims?, dtype: lhs.dtype })
}

impl Operation for Binary {
    fn kind(&self) -> &'static str {
        match self.kind {
            BinaryKind::Add => "add",
            BinaryKind::Multiply => "multiply",
        }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [lhs, rhs] = expect::inputs(inputs, "two inputs", problems)?;
        let combined = broadcast(lhs, rhs);
        if combined.is_none() {
            problems.push(Problem::Combine { lhs: lhs.clone(), rhs: rhs.clone() });
        }
        combined.map(|ty| vec![ty])
    }
    /// Addition passes the gradient on; multiplication passes it on times the other side; a side that was repeated
    /// gets the sum.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        let mut side = |index: usize| {
            if !cx.needs(index) {
                return None;
            }
            let full = match self.kind {
                BinaryKind::Add => d_dst,
                BinaryKind::Multiply => {
                    let other = cx.input(1 - index);
                    cx.emit(Binary::MULTIPLY, &[d_dst, other])[0]
                }
            };
            let target = cx.ty(cx.input(index)).clone();
            Some(if *cx.ty(full) == target { full } else { cx.emit(Reduce::sum_to(target), &[full])[0] })
        };
        Ok(vec![side(0), side(1)])
    }
}

impl Operation for Scale {
    fn kind(&self) -> &'static str {
        "scale"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        Some(vec![src.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        Ok(vec![Some(cx.emit(*self, &[d_dst])[0])])
    }
}
