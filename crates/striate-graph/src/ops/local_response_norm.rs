//! Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).
//!
//! y_c = x_c / s_c^β with s_c = k + α/size · Σ x_j², j over `size` channels around c: size/2 before to (size−1)/2
//! after. (The paper does not divide α by the size: its α = 1e-4 with size 5 is 5e-4 here.)
//!
//! Backward: d_x_c = d_y_c·s_c^−β − 2αβ/size · x_c · Σ_j d_y_j·x_j·s_j^(−β−1), j over the channels whose window holds c.

use super::{Operation, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Local response normalisation.
///
/// # Shapes
/// N×C×H×W in and out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    /// Channels in a window.
    pub size: usize,
    /// α, divided by `size`.
    pub alpha: f32,
    /// β, the exponent.
    pub beta: f32,
    /// k, added to the sum.
    pub k: f32,
}

impl LocalResponseNorm {
    /// AlexNet's constants: size 5, α = 1e-4 a term (5e-4 in this scale), β = 0.75, k = 2.
    pub const ALEXNET: Self = Self { size: 5, alpha: 5e-4, beta: 0.75, k: 2.0 };
}

/// The gradient of [`LocalResponseNorm`]: inputs src and d_dst, output d_src.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNormBackward {
    /// The normalisation.
    pub norm: LocalResponseNorm,
}

impl Operation for LocalResponseNorm {
    fn kind(&self) -> &'static str {
        "local_response_norm"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one feature map", problems)?;
        expect::map("the input", src, problems)?;
        expect::positive("size", self.size, problems);
        for (what, value, ok, range) in [
            ("k", self.k, self.k > 0.0, "k > 0"),
            ("alpha", self.alpha, self.alpha >= 0.0, "alpha ≥ 0"),
            ("beta", self.beta, self.beta >= 0.0, "beta ≥ 0"),
        ] {
            if !ok {
                problems.push(Problem::Range { what, value: value.to_string(), range });
            }
        }
        Some(vec![src.clone()])
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let (src, d_dst) = (cx.input(0), cx.d_output(0));
        Ok(vec![Some(cx.emit(LocalResponseNormBackward { norm: *self }, &[src, d_dst])[0])])
    }
}

impl Operation for LocalResponseNormBackward {
    fn kind(&self) -> &'static str {
        "local_response_norm_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src, d_dst] = expect::inputs(inputs, "the input and the output's gradient", problems)?;
        expect::ty("the output's gradient", d_dst, src.clone(), problems);
        Some(vec![src.clone()])
    }
}
