//! The algorithms a gather has to choose from, and why one is not taken.

use super::geometry::GeometryError;
use std::fmt;
use std::str::FromStr;

/// Which algorithm a pass is to use. They differ in speed, memory and rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The one estimated to be fastest.
    #[default]
    Auto,
    /// Every product of the definition, any geometry.
    Direct,
    /// Winograd's F(4×4, 3×3) and F(2×2, 5×5): a quarter of the multiplications and four times the weights, or 36 % and
    /// 1.4 times; rounds a little more. 3×3 and 5×5 kernels of stride 1, dilation 1 and one group.
    Winograd,
}

impl Algorithm {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Auto => "auto",
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Auto, Self::Direct, Self::Winograd]
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| format!("unknown algorithm '{text}': choose auto, direct or winograd"))
    }
}

/// Why an algorithm is not considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another one is asked for.
    #[error("{asked} is asked for")]
    Asked {
        /// The one asked for.
        asked: Algorithm,
    },
    /// The kernel is not the one the algorithm is for.
    #[error("the kernel is {kh}x{kw}, not 3x3 or 5x5")]
    Kernel {
        /// Kernel height.
        kh: usize,
        /// Kernel width.
        kw: usize,
    },
    /// The stride is not 1.
    #[error("the stride is {sh}x{sw}, not 1")]
    Stride {
        /// Vertical stride.
        sh: usize,
        /// Horizontal stride.
        sw: usize,
    },
    /// The dilation is not 1.
    #[error("the dilation is {dh}x{dw}, not 1")]
    Dilation {
        /// Vertical dilation.
        dh: usize,
        /// Horizontal dilation.
        dw: usize,
    },
    /// There are groups.
    #[error("there are {groups} groups, not 1")]
    Groups {
        /// How many.
        groups: usize,
    },
}

/// An algorithm as a pass considered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Cycles that one thread is estimated to take; or why the algorithm is out of the question.
    pub cycles: Result<f64, Refusal>,
}

/// Why a pass cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The geometry makes no convolution.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The algorithm asked for does not fit the geometry.
    #[error("{algorithm} does not fit: {refusal}")]
    Refused {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// Why not.
        refusal: Refusal,
    },
}

impl PlanError {
    /// The only error there can be where the algorithm is [`Algorithm::Auto`].
    pub(super) fn into_geometry(self) -> GeometryError {
        match self {
            PlanError::Geometry(error) => error,
            PlanError::Refused { .. } => unreachable!("direct fits every geometry"),
        }
    }
}

/// The plan of least estimated cycles among those that `algorithm` admits, and what was considered. `plan` makes an
/// algorithm's plan with its estimate.
pub(super) fn choose<P>(
    algorithm: Algorithm,
    plan: impl Fn(Algorithm) -> Result<(f64, P), Refusal>,
) -> Result<(P, Vec<Candidate>), PlanError> {
    let mut candidates = Vec::new();
    let mut best: Option<(f64, P)> = None;
    for candidate in [Algorithm::Direct, Algorithm::Winograd] {
        let asked = algorithm == Algorithm::Auto || algorithm == candidate;
        let plan = if asked { plan(candidate) } else { Err(Refusal::Asked { asked: algorithm }) };
        let cycles = plan.as_ref().map(|(cycles, _)| *cycles).map_err(|refusal| *refusal);
        candidates.push(Candidate { algorithm: candidate, cycles });
        if let Ok((cycles, plan)) = plan
            && best.as_ref().is_none_or(|(least, _)| cycles < *least)
        {
            best = Some((cycles, plan));
        }
    }
    match best {
        Some((_, plan)) => Ok((plan, candidates)),
        None => {
            let of_asked = |c: &Candidate| c.cycles.err().filter(|_| c.algorithm == algorithm);
            let refusal = candidates.iter().find_map(of_asked).unwrap_or(Refusal::Asked { asked: algorithm });
            Err(PlanError::Refused { algorithm, refusal })
        }
    }
}
