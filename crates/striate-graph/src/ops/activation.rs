//! Functions of one element: activations and elementary functions, rows of one table.
//!
//! | kind | f(x) | f'(x) |
//! |---|---|---|
//! | ReLU | max(x, 0) | 1 where y > 0 |
//! | leaky ReLU | x where x > 0, else slope·x | 1 where y > 0, else slope |
//! | sigmoid | 1/(1 + e^−x) | y·(1 − y) |
//! | tanh | tanh x | 1 − y² |
//! | clip | min(max(x, min), max) | 1 where min < y < max |
//! | hard sigmoid | max(0, min(1, α·x + β)) | α where 0 < y < 1 |
//! | hard swish | x·max(0, min(1, x/6 + ½)) | 0 below −3, 1 above 3, else x/3 + ½ |
//! | swish | x·σ(α·x) | σ(α·x)·(1 + α·x·(1 − σ(α·x))) |
//! | ELU | x where x > 0, else α·(e^x − 1) | 1 where y > 0, else y + α |
//! | SELU | γ·ELU | γ where y > 0, else y + γ·α |
//! | CELU | x where x > 0, else α·(e^(x/α) − 1) | 1 where y > 0, else y/α + 1 |
//! | softplus | ln(1 + e^x) | 1 − e^−y |
//! | softsign | x/(1 + \|x\|) | (1 − \|y\|)² |
//! | Mish | x·t, t = tanh(softplus x) | t + x·(1 − t²)·σ(x) |
//! | GELU | x·Φ(x) | Φ(x) + x·φ(x) |
//! | GELU by tanh | ½x·(1 + tanh u), u = √(2/π)·(x + 0.044715·x³) | by the product rule |
//! | thresholded ReLU | x where x > α, else 0 | 1 where x > α |
//! | exp, ln, √, 1/x | | y, 1/x, 1/(2y), −y² |
//! | \|x\|, erf | | sign x, 2/√π·e^−x² |
//! | sign, floor, ceil, round (halves to even) | | none: constant between jumps |

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
    /// min(max(x, `min`), `max`): everything is `max` where it is the lesser. ReLU6 is 0 to 6.
    Clip {
        /// The least result; may be −∞.
        min: f32,
        /// The greatest result; may be ∞.
        max: f32,
    },
    /// max(0, min(1, `alpha`·x + `beta`)) (Courbariaux et al. 2015).
    HardSigmoid {
        /// The slope between.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x·max(0, min(1, x/6 + ½)) (Howard et al. 2019).
    HardSwish,
    /// x·σ(`alpha`·x); SiLU where α is 1 (Ramachandran et al. 2017).
    Swish {
        /// Factor within the sigmoid.
        alpha: f32,
    },
    /// x where positive, else `alpha`·(e^x − 1), α ≥ 0 (Clevert et al. 2016).
    Elu {
        /// The limit at −∞ is −α.
        alpha: f32,
    },
    /// `gamma` · ELU, α ≥ 0, γ > 0 (Klambauer et al. 2017).
    Selu {
        /// α of the ELU.
        alpha: f32,
        /// Factor on it.
        gamma: f32,
    },
    /// x where positive, else `alpha`·(e^(x/α) − 1), α > 0 (Barron 2017).
    Celu {
        /// The limit at −∞ is −α.
        alpha: f32,
    },
    /// ln(1 + e^x)
    Softplus,
    /// x/(1 + |x|)
    Softsign,
    /// x·tanh(ln(1 + e^x)) (Misra 2020).
    Mish,
    /// x·Φ(x), Φ the normal distribution's (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same by its approximation with tanh.
    GeluTanh,
    /// x where x > `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// e^x
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// 1/x
    Reciprocal,
    /// |x|
    Abs,
    /// 2/√π · ∫₀ˣ e^−t² dt
    Erf,
    /// −1, 0 or 1.
    Sign,
    /// The greatest integer that is not greater.
    Floor,
    /// The least integer that is not less.
    Ceil,
    /// The nearest integer, the even one of two.
    Round,
}

/// What a derivative is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slope {
    /// From the result: the operand need not be kept.
    OfOutput,
    /// From the operand.
    OfInput,
    /// It is zero wherever there is one.
    Zero,
}

impl ActivationKind {
    /// Its name, and what its derivative is computed from.
    fn row(self) -> (&'static str, Slope) {
        use Slope::*;
        match self {
            Self::Relu => ("relu", OfOutput),
            Self::LeakyRelu { .. } => ("leaky_relu", OfOutput),
            Self::Sigmoid => ("sigmoid", OfOutput),
            Self::Tanh => ("tanh", OfOutput),
            Self::Clip { .. } => ("clip", OfOutput),
            Self::HardSigmoid { .. } => ("hard_sigmoid", OfOutput),
            Self::HardSwish => ("hard_swish", OfInput),
            Self::Swish { .. } => ("swish", OfInput),
            Self::Elu { .. } => ("elu", OfOutput),
            Self::Selu { .. } => ("selu", OfOutput),
            Self::Celu { .. } => ("celu", OfOutput),
            Self::Softplus => ("softplus", OfOutput),
            Self::Softsign => ("softsign", OfOutput),
            Self::Mish => ("mish", OfInput),
            Self::Gelu => ("gelu", OfInput),
            Self::GeluTanh => ("gelu_tanh", OfInput),
            Self::ThresholdedRelu { .. } => ("thresholded_relu", OfInput),
            Self::Exp => ("exp", OfOutput),
            Self::Log => ("log", OfInput),
            Self::Sqrt => ("sqrt", OfOutput),
            Self::Reciprocal => ("reciprocal", OfOutput),
            Self::Abs => ("abs", OfInput),
            Self::Erf => ("erf", OfInput),
            Self::Sign => ("sign", Zero),
            Self::Floor => ("floor", Zero),
            Self::Ceil => ("ceil", Zero),
            Self::Round => ("round", Zero),
        }
    }

    /// What its derivative is computed from.
    pub fn slope(self) -> Slope {
        self.row().1
    }

    /// Whether its constants lie where they must.
    fn check(self, problems: &mut Vec<Problem>) {
        let mut require = |what, value: f32, fits: bool, range| {
            if !fits {
                problems.push(Problem::Range { what, value: value.to_string(), range });
            }
        };
        match self {
            Self::LeakyRelu { slope } => {
                require("slope", slope, slope > 0.0 && slope <= 1.0, "0 < slope ≤ 1");
            }
            Self::Clip { min, max } => {
                require("min", min, min < f32::INFINITY, "−∞ ≤ min < ∞");
                require("max", max, max > f32::NEG_INFINITY, "−∞ < max ≤ ∞");
            }
            Self::HardSigmoid { alpha, beta } => {
                require("alpha", alpha, alpha.is_finite(), FINITE);
                require("beta", beta, beta.is_finite(), FINITE);
            }
            Self::Elu { alpha } => {
                require("alpha", alpha, (0.0..f32::INFINITY).contains(&alpha), "0 ≤ alpha < ∞");
            }
            Self::Celu { alpha } => {
                require("alpha", alpha, alpha > 0.0 && alpha.is_normal(), "0 < alpha < ∞, not subnormal");
            }
            Self::Selu { alpha, gamma } => {
                require("alpha", alpha, (0.0..f32::INFINITY).contains(&alpha), "0 ≤ alpha < ∞");
                require("gamma", gamma, gamma > 0.0 && gamma.is_finite(), "0 < gamma < ∞");
            }
            Self::Swish { alpha } | Self::ThresholdedRelu { alpha } => {
                require("alpha", alpha, alpha.is_finite(), FINITE);
            }
            _ => {}
        }
    }
}

const FINITE: &str = "the finite numbers";

/// An activation function: any shape, same shape out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// The function.
    pub kind: ActivationKind,
}

/// The gradient of an activation: inputs y or x, as [`ActivationKind::slope`] says, and d_y; output d_x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationBackward {
    /// The function.
    pub kind: ActivationKind,
}

impl Operation for Activation {
    fn kind(&self) -> &'static str {
        self.kind.row().0
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        self.kind.check(problems);
        Some(vec![src.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let of = match self.kind.slope() {
            Slope::OfOutput => cx.output(0),
            Slope::OfInput => cx.input(0),
            Slope::Zero => return Ok(vec![None]),
        };
        let d_y = cx.d_output(0);
        Ok(vec![Some(cx.emit(ActivationBackward { kind: self.kind }, &[of, d_y])[0])])
    }
}

impl Operation for ActivationBackward {
    fn kind(&self) -> &'static str {
        "activation_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let names = "the output or the input, and the output's gradient";
        let [of, d_y] = expect::inputs(inputs, names, problems)?;
        if self.kind.slope() == Slope::Zero {
            problems.push(Problem::NoGradient { op: self.kind.row().0 });
        }
        expect::ty("the output's gradient", d_y, of.clone(), problems);
        Some(vec![d_y.clone()])
    }
    fn is_in_place(&self) -> bool {
        true
    }
}
