//! The gradients of weights and bias: sizes checked, and an algorithm chosen.

use super::algorithm::{Algorithm, Candidate, PlanError, choose};
use super::geometry::{Conv2dGeometry, GeometryError};
use super::products::OuterProducts;
use super::tile::Machine;
use super::winograd::{Filtering, Gradient};
use crate::{Context, Isa, view::extent};

/// The algorithm chosen, planned.
#[derive(Clone, Debug)]
enum Plan {
    Direct(Box<OuterProducts>),
    Winograd(Box<Gradient>),
}

/// The gradients of a convolution's weights and bias from its source, (n, ic, ih, iw), and the gradient of its
/// destination, (n, oc, oh, ow).
#[derive(Clone, Debug)]
pub struct BackwardWeights {
    plan: Plan,
    candidates: Vec<Candidate>,
    g: Conv2dGeometry,
    src_ld: usize,
    dst_ld: usize,
}

impl BackwardWeights {
    /// Plans the pass for source pixels `src_ld` and destination pixels `dst_ld` elements apart, on the strongest
    /// instruction set present that does not exceed `isa`. All that is ever allocated is allocated here. Takes the
    /// algorithm estimated to be fastest.
    pub fn new(isa: Isa, g: &Conv2dGeometry, src_ld: usize, dst_ld: usize) -> Result<Self, GeometryError> {
        Self::with_algorithm(isa, g, src_ld, dst_ld, Algorithm::Auto).map_err(PlanError::into_geometry)
    }

    /// As [`new`](Self::new), with the algorithm asked for.
    pub fn with_algorithm(
        isa: Isa,
        g: &Conv2dGeometry,
        src_ld: usize,
        dst_ld: usize,
        algorithm: Algorithm,
    ) -> Result<Self, PlanError> {
        g.validate_views(src_ld, dst_ld)?;
        let machine = Machine::up_to(isa);
        let plan = |algorithm| match algorithm {
            Algorithm::Winograd => {
                let plan = Gradient::new(machine, Filtering::of(g)?, g, src_ld, dst_ld);
                Ok((plan.cycles(), Plan::Winograd(Box::new(plan))))
            }
            _ => {
                let plan = OuterProducts::new(machine, g, src_ld, dst_ld);
                Ok((plan.cycles(), Plan::Direct(Box::new(plan))))
            }
        };
        let (plan, candidates) = choose(algorithm, plan)?;
        Ok(Self { plan, candidates, g: *g, src_ld, dst_ld })
    }

    /// Length of the workspace, in floats. What it holds before and after a run means nothing.
    pub fn workspace_len(&self, workers: usize) -> usize {
        match &self.plan {
            Plan::Direct(plan) => plan.workspace_len(workers),
            Plan::Winograd(plan) => plan.workspace_len(),
        }
    }

    /// Algorithm and tile (source channels × destination channels), in words.
    pub fn describe(&self) -> String {
        match &self.plan {
            Plan::Direct(plan) => plan.describe(),
            Plan::Winograd(plan) => plan.describe(),
        }
    }

    /// The algorithms considered, each with its estimate or the reason against it.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Computes `d_weights`, (oc, ic / groups, kh, kw), and `d_bias`, (oc); both are overwritten. `src` and
    /// `d_dst` are views that begin with pixel 0's first channel.
    ///
    /// # Panics
    /// Where a slice is too short for the geometry.
    pub fn run(
        &self,
        cx: &Context,
        src: &[f32],
        d_dst: &[f32],
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        let g = &self.g;
        assert!(src.len() >= extent(g.n * g.ih * g.iw, g.ic, self.src_ld), "source");
        assert!(d_dst.len() >= extent(g.n * g.oh() * g.ow(), g.oc, self.dst_ld), "destination gradient");
        assert_eq!(d_weights.len(), g.weights_len(), "weight gradient");
        assert!(d_bias.as_ref().is_none_or(|d_bias| d_bias.len() == g.oc), "bias gradient");
        assert!(workspace.len() >= self.workspace_len(cx.exec.workers()), "workspace");
        match &self.plan {
            Plan::Direct(plan) => plan.run(cx, src, d_dst, d_weights, d_bias, workspace),
            Plan::Winograd(plan) => plan.run(cx, src, d_dst, d_weights, d_bias, workspace),
        }
    }
}
