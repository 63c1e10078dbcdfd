//! The gradients of weights and bias: sizes checked, and an algorithm chosen.

use super::Options;
use super::algorithm::{Algorithm, Candidate, PlanError, choose};
use super::geometry::{Conv2dGeometry, GeometryError};
use super::pass::Map;
use super::products::OuterProducts;
use super::tile::{Factor, Machine};
use super::winograd::{Filtering, Gradient};
use crate::element::Elements;
use crate::{Bf16, Context, Element, Isa, view::extent};

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
    src: Map,
    dst: Map,
    weights_len: usize,
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
        Self::with(isa, g, src_ld, dst_ld, Options { algorithm, ..Options::default() })
    }

    /// As [`new`](Self::new), with the algorithm and the elements asked for.
    pub fn with(
        isa: Isa,
        g: &Conv2dGeometry,
        src_ld: usize,
        dst_ld: usize,
        options: Options,
    ) -> Result<Self, PlanError> {
        let (src, dst) = Map::of(g, src_ld, dst_ld, options)?;
        let plan = |algorithm| match algorithm {
            Algorithm::Winograd => {
                let plan = Gradient::new(Machine::up_to(isa), Filtering::of(g)?, g, src_ld, dst_ld);
                Ok((plan.cycles(), Plan::Winograd(Box::new(plan))))
            }
            _ => {
                let machine = Machine::multiplying(options.factors(), isa);
                let plan = OuterProducts::new(machine, g, src, dst);
                Ok((plan.cycles(), Plan::Direct(Box::new(plan))))
            }
        };
        let (plan, candidates) = choose(options.algorithm, plan)?;
        Ok(Self { plan, candidates, src, dst, weights_len: g.weights_len() })
    }

    /// Length of the workspace, in floats. What it holds before and after a run means nothing.
    pub fn workspace_len(&self, workers: usize) -> usize {
        match &self.plan {
            Plan::Direct(plan) => plan.workspace_len(workers),
            Plan::Winograd(plan) => plan.workspace_len(workers),
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
    /// Where a slice is too short for the geometry, or consists of other elements than were planned.
    pub fn run<A: Element, B: Element>(
        &self,
        cx: &Context,
        src: &[A],
        d_dst: &[B],
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        self.run_any(cx, Elements::of(src), Elements::of(d_dst), d_weights, d_bias, workspace);
    }

    /// As [`run`](Self::run), here rather than where that is called: of the two kinds of elements on each side.
    fn run_any(
        &self,
        cx: &Context,
        src: Elements,
        d_dst: Elements,
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        match (src, d_dst) {
            (Elements::F32(src), Elements::F32(d_dst)) => {
                self.compute::<f32, f32, f32>(cx, src, d_dst, d_weights, d_bias, workspace);
            }
            (Elements::F32(src), Elements::Bf16(d_dst)) => {
                self.compute::<f32, Bf16, Bf16>(cx, src, d_dst, d_weights, d_bias, workspace);
            }
            (Elements::Bf16(src), Elements::F32(d_dst)) => {
                self.compute::<Bf16, f32, Bf16>(cx, src, d_dst, d_weights, d_bias, workspace);
            }
            (Elements::Bf16(src), Elements::Bf16(d_dst)) => {
                self.compute::<Bf16, Bf16, Bf16>(cx, src, d_dst, d_weights, d_bias, workspace);
            }
        }
    }

    /// Checks a run and computes it, of products of `T`.
    fn compute<A: Element, B: Element, T: Factor>(
        &self,
        cx: &Context,
        src: &[A],
        d_dst: &[B],
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        let (from, to) = (&self.src, &self.dst);
        assert_eq!((A::TYPE, B::TYPE), (from.element, to.element), "elements of source and destination");
        assert!(src.len() >= extent(from.pixels, from.channels, from.ld), "source");
        assert!(d_dst.len() >= extent(to.pixels, to.channels, to.ld), "destination gradient");
        assert_eq!(d_weights.len(), self.weights_len, "weight gradient");
        assert!(d_bias.as_ref().is_none_or(|d_bias| d_bias.len() == to.channels), "bias gradient");
        assert!(workspace.len() >= self.workspace_len(cx.exec.workers()), "workspace");
        match &self.plan {
            Plan::Direct(plan) => plan.run::<A, B, T>(cx, src, d_dst, d_weights, d_bias, workspace),
            Plan::Winograd(plan) => plan.run(cx, src, d_dst, d_weights, d_bias, workspace),
        }
    }
}
