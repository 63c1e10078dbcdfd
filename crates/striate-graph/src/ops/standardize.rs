//! Standardisation: elements along some axes get mean 0 and variance 1.
//!
//! y = (x − μ)/√(σ² + ε), with μ and σ² (not corrected for bias) over the axes, for each image and each other index on
//! their own. Over rows and columns this is instance normalisation (Ulyanov et al. 2016), over the last axes layer
//! normalisation (Ba et al. 2016), and over groups of channels, seen as an axis, group normalisation (Wu and He 2018);
//! factors and terms are multiplied and added behind it.
//!
//! Backward: d_x = (d_y − mean(d_y) − y·mean(d_y·y))/√(σ² + ε).

use super::fold::{check_axes, folded};
use super::{Operation, Reach, expect};
use crate::autodiff::Backprop;
use crate::error::Problem;
use crate::{Type, Value};

/// Standardisation over some axes.
///
/// # Shapes
/// Outputs: y as the input; 1/√(σ² + ε), with extent 1 along the axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardize {
    /// The axes, ascending (0 = channels, 1 = rows, 2 = columns).
    pub axes: Vec<usize>,
    /// ε, added to the variance.
    pub eps: f32,
}

/// The gradient of [`Standardize`]: inputs y, 1/√(σ² + ε) and d_y, output d_x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandardizeBackward {
    /// The axes.
    pub axes: Vec<usize>,
}

impl Operation for Standardize {
    fn kind(&self) -> &'static str {
        "standardize"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let [src] = expect::inputs(inputs, "one input", problems)?;
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            let range = "0 ≤ eps < ∞";
            problems.push(Problem::Range { what: "eps", value: self.eps.to_string(), range });
        }
        check_axes(&self.axes, src, problems)?;
        Some(vec![src.clone(), folded(src, &self.axes)])
    }
    fn reach(&self, _: &Type) -> Reach {
        Reach::Everything
    }
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let inputs = [cx.output(0), cx.output(1), cx.d_output(0)];
        let op = StandardizeBackward { axes: self.axes.clone() };
        Ok(vec![Some(cx.emit(op, &inputs)[0])])
    }
}

impl Operation for StandardizeBackward {
    fn kind(&self) -> &'static str {
        "standardize_backward"
    }
    fn infer(&self, inputs: &[&Type], problems: &mut Vec<Problem>) -> Option<Vec<Type>> {
        let names = "the output, 1/√(σ² + ε) and the output's gradient";
        let [y, inv_std, d_y] = expect::inputs(inputs, names, problems)?;
        check_axes(&self.axes, y, problems)?;
        expect::ty("1/√(σ² + ε)", inv_std, folded(y, &self.axes), problems);
        expect::ty("the output's gradient", d_y, y.clone(), problems);
        Some(vec![y.clone()])
    }
}
