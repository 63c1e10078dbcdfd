//! The update of a parameter by its gradient, as a node of the training graph.
//!
//! g ← d + weight_decay·p; v ← momentum·v + g; p ← p − lr·v, or with Nesterov p ← p − lr·(g + momentum·v).
//! Without momentum p ← p − lr·g and no velocity is kept.

use super::{Operation, expect};
use crate::Type;
use crate::error::Problem;

/// Stochastic gradient descent with momentum and weight decay.
///
/// Inputs: the parameter, its gradient, the learning rate (scalar), and with `momentum` the velocity and μ (scalar). No
/// outputs: the parameter and the velocity change in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate {
    /// Whether a velocity is kept.
    pub momentum: bool,
    /// Nesterov's form: the gradient is looked up ahead.
    pub nesterov: bool,
    /// λ, the L2 penalty's gradient per parameter.
    pub weight_decay: f32,
}

impl Operation for SgdUpdate {
    fn kind(&self) -> &'static str {
        "sgd_update"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let expected = if self.momentum { 5 } else { 3 };
        if inputs.len() != expected {
            let names =
                "a parameter, its gradient, the learning rate, and for momentum a velocity and μ".to_string();
            problems.push(Problem::InputCount { expected: names, found: inputs.len() });
            return None;
        }
        expect::ty("the gradient", inputs[1], inputs[0].clone(), problems);
        expect::ty("the learning rate", inputs[2], Type::scalar(), problems);
        if let [_, _, _, velocity, momentum] = inputs {
            expect::ty("the velocity", velocity, inputs[0].clone(), problems);
            expect::ty("the momentum", momentum, Type::scalar(), problems);
        }
        Some(Vec::new())
    }
    fn updated_inputs(&self) -> &'static [usize] {
        if self.momentum { &[0, 3] } else { &[0] }
    }
}
