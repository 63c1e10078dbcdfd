//! Dropout (Srivastava et al. 2014): in training each element is zeroed with probability p and the others are
//! scaled by 1/(1 − p), so that nothing changes at inference.
//!
//! The mask is a function of (seed, step, stream, element): the backward pass recomputes it, nothing is stored.

use super::{Operation, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{DType, Type, Value};

/// Dropout: any batched shape, same shape out.
///
/// Inputs: src; in training also the step counter (a `U32` scalar).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of zeroing an element, 0 ≤ p < 1.
    pub p: f32,
    /// In training: which stream of random numbers. `None` at inference, where it changes nothing.
    pub stream: Option<u32>,
}

impl Dropout {
    /// Dropout with probability `p`.
    pub const fn new(p: f32) -> Self {
        Self { p, stream: None }
    }
}

impl Operation for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let src = if self.stream.is_some() {
            let [src, step] = expect::inputs(inputs, "an input and the step counter", problems)?;
            expect::ty("the step counter", step, Type::scalar().of(DType::U32), problems);
            src
        } else {
            let [src] = expect::inputs(inputs, "one input", problems)?;
            src
        };
        if !(0.0..1.0).contains(&self.p) {
            problems.push(Problem::Range { what: "p", value: self.p.to_string(), range: "0 ≤ p < 1" });
        }
        Some(vec![src.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
    /// The same mask on the gradient.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let d_dst = cx.d_output(0);
        if self.stream.is_none() {
            return Ok(vec![Some(d_dst)]);
        }
        let step = cx.input(1);
        Ok(vec![Some(cx.emit(*self, &[d_dst, step])[0]), None])
    }
}
