//! Forward and backward-data: sizes checked, and an algorithm chosen.

use super::algorithm::{Algorithm, Candidate, PlanError, choose};
use super::axis::Axis;
use super::direct::Direct;
use super::gather::Call;
use super::geometry::{Conv2dGeometry, GeometryError, MAX_PHASES};
use super::panels::WeightStrides;
use super::tile::{Factor, Machine};
use super::winograd::{Filtering, Winograd};
use super::{Bounds, Epilogue, Options};
use crate::element::{Elements, ElementsMut};
use crate::exec::SharedMut;
use crate::{Bf16, Context, Element, ElementType, Isa, Pixels, view::extent};

/// Floats of packed weights that are likely still in a cache when the pass runs again.
const WARM_WEIGHTS: usize = 1 << 20;
/// Cycles of one thread that a float of colder weights takes to arrive.
const COLD_CYCLES: f64 = 0.8;

/// One side of a pass: a map of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub(super) pixels: usize,
    pub(super) channels: usize,
    pub(super) ld: usize,
    pub(super) element: ElementType,
}

impl Map {
    /// Source and destination of a convolution.
    pub(super) fn of(
        g: &Conv2dGeometry,
        src_ld: usize,
        dst_ld: usize,
        options: Options,
    ) -> Result<(Self, Self), GeometryError> {
        g.validate_views(src_ld, dst_ld)?;
        let src = Self { pixels: g.n * g.ih * g.iw, channels: g.ic, ld: src_ld, element: options.src };
        let dst = Self { pixels: g.n * g.oh() * g.ow(), channels: g.oc, ld: dst_ld, element: options.dst };
        Ok((src, dst))
    }
}

/// The algorithm chosen, planned.
#[derive(Clone, Debug)]
enum Plan {
    Direct(Direct),
    Winograd(Box<Winograd>),
}

/// The same of either plan.
macro_rules! either {
    ($plan:expr, $name:ident => $value:expr) => {
        match $plan {
            Plan::Direct($name) => $value,
            Plan::Winograd($name) => $value,
        }
    };
}

impl Plan {
    /// Estimated cycles of one thread.
    fn cycles(&self) -> f64 {
        let (cycles, weights) = either!(self, plan => (plan.cycles(), plan.packed_len()));
        cycles + COLD_CYCLES * weights.saturating_sub(WARM_WEIGHTS) as f64
    }
}

/// What both passes are.
#[derive(Clone, Debug)]
struct Pass {
    plan: Plan,
    candidates: Vec<Candidate>,
    src: Map,
    dst: Map,
    weights_len: usize,
}

impl Pass {
    /// Every pair of `rows` and `cols` is a phase.
    fn new(
        isa: Isa,
        options: Options,
        g: &Conv2dGeometry,
        (src, dst): (Map, Map),
        (rows, cols): (&[Axis], &[Axis]),
        strides: WeightStrides,
    ) -> Result<Self, PlanError> {
        let plan = |algorithm| {
            let plan = match algorithm {
                Algorithm::Winograd => {
                    let filtering = Filtering::of(g)?;
                    let axes = (rows[0].clone(), cols[0].clone());
                    let channels = (src.channels, dst.channels);
                    let machine = Machine::up_to(isa);
                    let plan = Winograd::new(machine, filtering, g.n, axes, src.ld, channels, strides);
                    Plan::Winograd(Box::new(plan))
                }
                _ => {
                    let machine = Machine::multiplying(options.factors(), isa);
                    Plan::Direct(Direct::new(machine, g, (src, dst), (rows, cols), strides))
                }
            };
            Ok((plan.cycles(), plan))
        };
        let (plan, candidates) = choose(options.algorithm, plan)?;
        Ok(Self { plan, candidates, src, dst, weights_len: g.weights_len() })
    }

    fn packed_len(&self) -> usize {
        either!(&self.plan, plan => plan.packed_len())
    }

    fn workspace_len(&self, workers: usize) -> usize {
        either!(&self.plan, plan => plan.workspace_len(workers))
    }

    fn describe(&self) -> String {
        either!(&self.plan, plan => plan.describe())
    }

    fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(weights.len(), self.weights_len, "weights");
        assert_eq!(packed.len(), self.packed_len(), "packed weights");
        if let Some(scale) = scale {
            assert_eq!(scale.len(), self.dst.channels, "one scale for each channel written");
        }
        either!(&self.plan, plan => plan.pack(cx, weights, scale, packed));
    }

    fn run(&self, cx: &Context, operands: Operands, workspace: &mut [f32]) {
        let Operands { src, dst, rest } = operands;
        match (src, dst) {
            (Elements::F32(src), ElementsMut::F32(dst)) => {
                self.compute::<f32, f32, f32>(cx, src, rest, dst, workspace);
            }
            (Elements::F32(src), ElementsMut::Bf16(dst)) => {
                self.compute::<f32, Bf16, Bf16>(cx, src, rest, dst, workspace);
            }
            (Elements::Bf16(src), ElementsMut::F32(dst)) => {
                self.compute::<Bf16, Bf16, f32>(cx, src, rest, dst, workspace);
            }
            (Elements::Bf16(src), ElementsMut::Bf16(dst)) => {
                self.compute::<Bf16, Bf16, Bf16>(cx, src, rest, dst, workspace);
            }
        }
    }

    /// Checks a run and computes it, of products of `T`.
    fn compute<A: Element, T: Factor, D: Element>(
        &self,
        cx: &Context,
        src: &[A],
        rest: Rest,
        dst: &mut [D],
        workspace: &mut [f32],
    ) {
        let (from, to) = (self.src, self.dst);
        let (read, written) = (A::TYPE, D::TYPE);
        assert_eq!((read, written), (from.element, to.element), "elements of source and destination");
        assert!(src.len() >= extent(from.pixels, from.channels, from.ld), "source");
        assert!(dst.len() >= extent(to.pixels, to.channels, to.ld), "destination");
        assert!(workspace.len() >= self.workspace_len(cx.exec.workers()), "workspace");
        let Rest { packed, bias, residual, bounds } = rest;
        assert_eq!(packed.len(), self.packed_len(), "packed weights");
        assert!(bias.is_none_or(|bias| bias.len() == to.channels), "bias");
        let residual = residual.map(|(data, ld)| Pixels::new(data.get::<D>(), ld));
        if let Some(residual) = residual {
            assert!(residual.ld >= to.channels, "residual pixel distance");
            assert!(residual.data.len() >= extent(to.pixels, to.channels, residual.ld), "residual");
        }
        let (dst, dst_ld) = (SharedMut::new(dst), to.ld);
        let call = Call { src, packed, bias, residual, bounds, dst, dst_ld, zeros: &[] };
        match &self.plan {
            Plan::Direct(plan) => plan.run::<A, T, D>(cx, &call, workspace),
            Plan::Winograd(plan) => plan.run(cx, &call, workspace),
        }
    }
}

/// What a run is given, of whatever elements.
struct Operands<'a> {
    src: Elements<'a>,
    dst: ElementsMut<'a>,
    rest: Rest<'a>,
}

/// What a run is given beside source and destination.
struct Rest<'a> {
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    /// With its pixel distance.
    residual: Option<(Elements<'a>, usize)>,
    bounds: Bounds,
}

/// The pass's public face, once for each.
macro_rules! pass {
    ($(#[$doc:meta])* $name:ident: $src:literal -> $dst:literal, $new:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Pass);

        impl $name {
            /// Plans the pass for source pixels `src_ld` and destination pixels `dst_ld` elements apart, on the
            /// strongest instruction set present that does not exceed `isa`. All that is ever allocated is
            /// allocated here.
            /// Takes the algorithm estimated to be fastest.
            pub fn new(
                isa: Isa,
                g: &Conv2dGeometry,
                src_ld: usize,
                dst_ld: usize,
            ) -> Result<Self, GeometryError> {
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
                let new: fn(Isa, Options, &Conv2dGeometry, Map, Map) -> Result<Pass, PlanError> = $new;
                Ok(Self(new(isa, options, g, src, dst)?))
            }

            /// Length of the packed weights, in floats, whatever they hold.
            pub fn packed_len(&self) -> usize {
                self.0.packed_len()
            }

            /// Packs `weights`, (oc, ic / groups, kh, kw), for [`run`](Self::run). With `scale`, one number for
            /// each channel that the pass writes, those of a channel are multiplied with it: so a batch
            /// normalisation is folded in.
            ///
            /// # Panics
            /// Where a length differs from the geometry's.
            pub fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
                self.0.pack(cx, weights, scale, packed);
            }

            /// Length of the workspace, in floats. What it holds before and after a run means nothing.
            pub fn workspace_len(&self, workers: usize) -> usize {
                self.0.workspace_len(workers)
            }

            #[doc = concat!("Computes `", $dst, "` from `", $src, "`.")]
            #[doc = ""]
            #[doc = "Both are views that begin with pixel 0's first channel; every channel of every written pixel"]
            #[doc = "is overwritten, what lies between pixels is left alone."]
            #[doc = ""]
            #[doc = "# Panics"]
            #[doc = "Where a slice is too short for the geometry, or consists of other elements than were planned."]
            pub fn run<A: Element, D: Element>(
                &self,
                cx: &Context,
                src: &[A],
                packed: &[f32],
                epilogue: &Epilogue<D>,
                dst: &mut [D],
                workspace: &mut [f32],
            ) {
                let residual = epilogue.residual.map(|map| (Elements::of(map.data), map.ld));
                let (bias, bounds) = (epilogue.bias, epilogue.activation.bounds());
                let rest = Rest { packed, bias, residual, bounds };
                let operands = Operands { src: Elements::of(src), dst: ElementsMut::of(dst), rest };
                self.0.run(cx, operands, workspace);
            }

            /// Algorithm and tile (pixels × channels), in words.
            pub fn describe(&self) -> String {
                self.0.describe()
            }

            /// The algorithms considered, each with its estimate or the reason against it.
            pub fn candidates(&self) -> &[Candidate] {
                &self.0.candidates
            }
        }
    };
}

pass! {
    /// The forward pass of a convolution: (n, ic, ih, iw) to (n, oc, oh, ow).
    Forward: "src" -> "dst",
    |isa, options, g, src, dst| {
        let (rows, cols) = Axis::forward_pair(g);
        Pass::new(isa, options, g, (src, dst), (&[rows], &[cols]), WeightStrides::forward(g))
    }
}

pass! {
    /// The gradient of a convolution's source from that of its destination, (n, oc, oh, ow) to (n, ic, ih, iw);
    /// as a forward pass of its own, the transposed convolution.
    ///
    /// Source lines that are congruent modulo the stride see the same taps: each such phase is a convolution of
    /// stride 1. `src_ld` and `dst_ld` are those of the convolution's source and destination, though the pass
    /// reads the latter and writes the former.
    BackwardData: "d_dst" -> "d_src",
    |isa, options, g, src, dst| {
        let phases = g.sh.min(g.ih).saturating_mul(g.sw.min(g.iw));
        if phases > MAX_PHASES {
            return Err(GeometryError::Phases { sh: g.sh, sw: g.sw, phases }.into());
        }
        let rows = Axis::backward_phases((g.ih, g.oh()), g.kh, g.sh, g.dh, g.pt);
        let cols = Axis::backward_phases((g.iw, g.ow()), g.kw, g.sw, g.dw, g.pl);
        let strides = WeightStrides::forward(g).transposed();
        Pass::new(isa, options, g, (dst, src), (&rows, &cols), strides)
    }
}
