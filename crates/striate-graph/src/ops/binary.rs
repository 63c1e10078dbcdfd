//! Functions of two values, element by element: arithmetic, extremes, comparisons, PReLU; and scaling by a constant.
//!
//! Dimensions are aligned at the last; one that is 1 or missing on one side is repeated, and a value without batch is
//! repeated over it. (Residual connections; AlphaGo's bias per position; gates; losses of several heads.)
//!
//! | kind | f(a, b) | ∂f/∂a | ∂f/∂b |
//! |---|---|---|---|
//! | add, subtract | a ± b | 1 | ±1 |
//! | multiply | a·b | b | a |
//! | divide | a/b | 1/b | −a/b² |
//! | power | a^b | b·a^(b − 1) | a^b·ln a |
//! | minimum, maximum | the lesser, the greater | 1 where it is a | 1 where it is b |
//! | equal, less, greater | 1 where it holds, else 0 | 0 | 0 |
//! | PReLU | a where a > 0, else b·a (He et al. 2015) | 1 where a > 0, else b | min(a, 0) |

use super::{Activation, ActivationKind, Constant, Operation, Reduce, Reshape, Where, expect};
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
    /// a − b
    Subtract,
    /// a ÷ b
    Divide,
    /// a to the power of b, as C's `pow`.
    Power,
    /// The lesser; NaN where either is.
    Minimum,
    /// The greater; NaN where either is.
    Maximum,
    /// 1 where a = b, else 0.
    Equal,
    /// 1 where a < b, else 0.
    Less,
    /// 1 where a > b, else 0.
    Greater,
    /// a where positive, else b·a: ReLU with learnt slopes.
    Prelu,
}

impl BinaryKind {
    /// All kinds.
    pub const ALL: [BinaryKind; 11] = [
        Self::Add,
        Self::Multiply,
        Self::Subtract,
        Self::Divide,
        Self::Power,
        Self::Minimum,
        Self::Maximum,
        Self::Equal,
        Self::Less,
        Self::Greater,
        Self::Prelu,
    ];

    /// Its name in messages and in the notation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Subtract => "subtract",
            Self::Divide => "divide",
            Self::Power => "power",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Equal => "equal",
            Self::Less => "less",
            Self::Greater => "greater",
            Self::Prelu => "prelu",
        }
    }
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
    /// a − b
    pub const SUBTRACT: Self = Self { kind: BinaryKind::Subtract };
    /// a ÷ b
    pub const DIVIDE: Self = Self { kind: BinaryKind::Divide };
    /// 1 where a > b, else 0
    pub const GREATER: Self = Self { kind: BinaryKind::Greater };
    /// 1 where a = b, else 0
    pub const EQUAL: Self = Self { kind: BinaryKind::Equal };
}

/// Multiplication by a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The constant.
    pub factor: f32,
}

/// The type of an elementwise combination; `None` where the two do not combine.
pub fn broadcast(lhs: &Type, rhs: &Type) -> Option<Type> {
    if lhs.dtype != rhs.dtype {
        return None;
    }
    let rank = lhs.dims.len().max(rhs.dims.len());
    let dim = |axis: usize| match (dim_of(lhs, rank, axis), dim_of(rhs, rank, axis)) {
        (a, b) if a == b => Some(a),
        (1, d) | (d, 1) => Some(d),
        _ => None,
    };
    let dims: Option<Vec<usize>> = (0..rank).map(dim).collect();
    Some(Type { batched: lhs.batched || rhs.batched, dims: dims?, dtype: lhs.dtype })
}

/// A dimension of a type seen with `rank` dimensions, those missing in front being 1.
fn dim_of(ty: &Type, rank: usize, axis: usize) -> usize {
    (axis + ty.dims.len()).checked_sub(rank).map_or(1, |own| ty.dims[own])
}

/// The sum of `value` over what `target` was repeated along: the gradient of an operand that was broadcast.
pub(super) fn unbroadcast(cx: &mut Backprop<'_>, value: Value, target: Value) -> Value {
    let (full, target) = (cx.ty(value).clone(), cx.ty(target).clone());
    let rank = full.dims.len();
    let padded = target.with_dims((0..rank).map(|axis| dim_of(&target, rank, axis)).collect::<Vec<_>>());
    let sum = if full == padded { value } else { cx.emit(Reduce::sum_to(padded.clone()), &[value])[0] };
    match (padded == target, target.dims.as_slice()) {
        (true, _) => sum,
        // Empty dimensions of a reshape mean one.
        (false, []) => cx.emit(Reduce::sum_to(target), &[sum])[0],
        (false, dims) => cx.emit(Reshape { dims: dims.to_vec() }, &[sum])[0],
    }
}

impl Operation for Binary {
    fn kind(&self) -> &'static str {
        self.kind.name()
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [lhs, rhs] = expect::inputs(inputs, "two inputs", problems)?;
        let combined = broadcast(lhs, rhs);
        if combined.is_none() {
            problems.push(Problem::Combine { lhs: lhs.clone(), rhs: rhs.clone() });
        }
        combined.map(|ty| vec![ty])
    }
    /// By the table above; a side that was repeated gets the sum.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let mut side = |index: usize| {
            let full = if cx.needs(index) { self.partial(cx, index) } else { None };
            full.map(|full| unbroadcast(cx, full, cx.input(index)))
        };
        Ok(vec![side(0), side(1)])
    }
}

impl Binary {
    /// The gradient of a side before it is summed up over repetitions; `None` of comparisons.
    fn partial(&self, cx: &mut Backprop<'_>, index: usize) -> Option<Value> {
        let (a, b, y, d) = (cx.input(0), cx.input(1), cx.output(0), cx.d_output(0));
        let mut emit = |kind, lhs, rhs| cx.emit(Binary { kind }, &[lhs, rhs])[0];
        use BinaryKind::*;
        Some(match (self.kind, index) {
            (Add, _) | (Subtract, 0) => d,
            (Subtract, _) => cx.emit(Scale { factor: -1.0 }, &[d])[0],
            (Multiply, 0) => emit(Multiply, d, b),
            (Multiply, _) => emit(Multiply, d, a),
            (Divide, 0) => emit(Divide, d, b),
            (Divide, _) => {
                let by_b = emit(Divide, y, b);
                let product = emit(Multiply, d, by_b);
                cx.emit(Scale { factor: -1.0 }, &[product])[0]
            }
            (Power, 0) => {
                let one = cx.emit(Constant { value: 1.0 }, &[])[0];
                let mut emit = |kind, lhs, rhs| cx.emit(Binary { kind }, &[lhs, rhs])[0];
                let less = emit(Subtract, b, one);
                let power = emit(Power, a, less);
                let slope = emit(Multiply, power, b);
                emit(Multiply, d, slope)
            }
            (Power, _) => {
                let log = cx.emit(Activation { kind: ActivationKind::Log }, &[a])[0];
                let mut emit = |kind, lhs, rhs| cx.emit(Binary { kind }, &[lhs, rhs])[0];
                let slope = emit(Multiply, y, log);
                emit(Multiply, d, slope)
            }
            // Of two equals it is a.
            (Minimum | Maximum, _) => {
                let (less, more) = if self.kind == Maximum { (a, b) } else { (b, a) };
                let is_b = emit(Less, less, more);
                let zero = cx.emit(Constant { value: 0.0 }, &[])[0];
                let [of_a, of_b] = if index == 0 { [zero, d] } else { [d, zero] };
                cx.emit(Where, &[is_b, of_a, of_b])[0]
            }
            (Equal | Less | Greater, _) => return None,
            (Prelu, 0) => {
                let sloped = emit(Multiply, d, b);
                let zero = cx.emit(Constant { value: 0.0 }, &[])[0];
                let is_positive = cx.emit(Binary::GREATER, &[a, zero])[0];
                cx.emit(Where, &[is_positive, d, sloped])[0]
            }
            (Prelu, _) => {
                let kind = ActivationKind::Clip { min: f32::NEG_INFINITY, max: 0.0 };
                let negative = cx.emit(Activation { kind }, &[a])[0];
                cx.emit(Binary::MULTIPLY, &[d, negative])[0]
            }
        })
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
