//! Activation functions, element by element.
//!
//! | kind | f(x) | f'(x) from y = f(x) |
//! |---|---|---|
//! | ReLU | max(x, 0) | 1 where y > 0 |
//! | leaky ReLU | x where x > 0, else slope·x | 1 where y > 0, else slope |
//! | sigmoid | 1/(1 + e^−x) | y·(1 − y) |
//! | tanh | tanh x | 1 − y² |

use super::{Operation, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActivationKind {
    /// max(x, 0)
    Relu,
    /// x where positive, else `slope` · x, 0 < slope ≤ 1.
    LeakyRelu {
        /// Slope of the negative side.
        slope: f32,
    },
    /// 1/(1 + e^−x)
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

/// An activation function: any shape, same shape out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// The function.
    pub kind: ActivationKind,
}

/// The gradient of an activation, from its output: inputs y and d_y, output d_x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationBackward {
    /// The function.
    pub kind: ActivationKind,
}

impl Operation for Activation {
    fn kind(&self) -> &'static str {
        match self.kind {
            ActivationKind::Relu => "relu",
            ActivationKind::LeakyRelu { .. } => "leaky_relu",
            ActivationKind::Sigmoid => "sigmoid",
            ActivationKind::Tanh => "tanh",
        }
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        if let ActivationKind::LeakyRelu { slope } = self.kind
            && !(slope > 0.0 && slope <= 1.0)
        {
            problems
                .push(Problem::Range { what: "slope", value: slope.to_string(), range: "0 < slope ≤ 1" });
        }
        Some(vec![src.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (y, d_y) = (cx.output(0), cx.d_output(0));
        Ok(vec![Some(cx.emit(ActivationBackward { kind: self.kind }, &[y, d_y])[0])])
    }
}

impl Operation for ActivationBackward {
    fn kind(&self) -> &'static str {
        "activation_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [y, d_y] = expect::inputs(inputs, "the output and its gradient", problems)?;
        expect::ty("the output's gradient", d_y, y.clone(), problems);
        Some(vec![d_y.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
}
