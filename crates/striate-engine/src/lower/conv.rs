//! Convolutions, forward and backward.

use super::{Frame, Lowered, Prepare, Site};
use crate::convolution::{self, Convolution};
use crate::parameters::Parameters;
use crate::place::{Place, Storage};
use striate_graph::ops::{
    BatchNorm, Conv2d, Conv2dBackwardData, Conv2dBackwardWeights, ConvTranspose2d, LocallyConnected2d,
    LocallyConnected2dBackwardData, LocallyConnected2dBackwardWeights, Op,
};
use striate_kernels::conv::{
    Activation, Algorithm, BackwardData, BackwardWeights, Candidate, Conv2dGeometry, Epilogue, Forward,
    Options, PlanError,
};
use striate_kernels::{Bf16, Context, Element, Isa, batch_norm, local};

/// The geometry of a convolution from `src` to `dst` (both as forward names them).
pub(super) fn geometry(conv: &Conv2d, src: Place, dst: Place) -> Result<Conv2dGeometry, String> {
    let ([n, ih, iw, ic], [.., oc]) = (src.shape, dst.shape);
    let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
    let p = conv.padding;
    let (pt, pb, pl, pr, groups) = (p.top, p.bottom, p.left, p.right, conv.groups);
    let g = Conv2dGeometry { n, groups, ic, ih, iw, oc, kh, kw, sh, sw, dh, dw, pt, pb, pl, pr };
    g.validate().map_err(|error| error.to_string())?;
    Ok(g)
}

/// A pass over packed weights: forward and backward data have the same face.
trait Pass: Clone + Send + Sync + 'static {
    const PASS: convolution::Pass;
    fn with(isa: Isa, g: &Conv2dGeometry, lds: [usize; 2], options: Options) -> Result<Self, PlanError>;
    fn candidates(&self) -> &[Candidate];
    fn packed_len(&self) -> usize;
    fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]);
    fn workspace_len(&self, workers: usize) -> usize;
    fn run<A: Element, D: Element>(
        &self,
        cx: &Context,
        src: &[A],
        packed: &[f32],
        epilogue: &Epilogue<D>,
        dst: &mut [D],
        workspace: &mut [f32],
    );
    fn describe(&self) -> String;
}

macro_rules! pass {
    ($name:ident) => {
        impl Pass for $name {
            const PASS: convolution::Pass = convolution::Pass::$name;
            fn with(
                isa: Isa,
                g: &Conv2dGeometry,
                [src_ld, dst_ld]: [usize; 2],
                options: Options,
            ) -> Result<Self, PlanError> {
                $name::with(isa, g, src_ld, dst_ld, options)
            }
            fn candidates(&self) -> &[Candidate] {
                self.candidates()
            }
            fn packed_len(&self) -> usize {
                self.packed_len()
            }
            fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
                self.pack(cx, weights, scale, packed);
            }
            fn workspace_len(&self, workers: usize) -> usize {
                self.workspace_len(workers)
            }
            fn run<A: Element, D: Element>(
                &self,
                cx: &Context,
                src: &[A],
                packed: &[f32],
                epilogue: &Epilogue<D>,
                dst: &mut [D],
                workspace: &mut [f32],
            ) {
                self.run(cx, src, packed, epilogue, dst, workspace);
            }
            fn describe(&self) -> String {
                self.describe()
            }
        }
    };
}
pass!(Forward);
pass!(BackwardData);

/// A pass with what it does to its sums; source and destination are the frame's first.
struct Gather<P> {
    pass: P,
    activation: Activation,
    /// Which of the frame's sources is added.
    residual: Option<usize>,
}

impl<P: Pass> Gather<P> {
    fn run(&self, f: &Frame, packed: &[f32], bias: Option<&[f32]>, workspace: &mut [f32]) {
        match [f.reads[0].storage, f.writes[0].storage].map(|storage| storage == Storage::Bf16) {
            [false, false] => self.typed::<f32, f32>(f, packed, bias, workspace),
            [false, true] => self.typed::<f32, Bf16>(f, packed, bias, workspace),
            [true, false] => self.typed::<Bf16, f32>(f, packed, bias, workspace),
            [true, true] => self.typed::<Bf16, Bf16>(f, packed, bias, workspace),
        }
    }

    fn typed<A: Element, D: Element>(
        &self,
        f: &Frame,
        packed: &[f32],
        bias: Option<&[f32]>,
        workspace: &mut [f32],
    ) {
        let residual = self.residual.map(|index| f.src::<D>(index));
        let epilogue = Epilogue { bias, residual, activation: self.activation };
        self.pass.run(&f.cx, f.read::<A>(0), packed, &epilogue, f.write::<D>(0), workspace);
    }
}

/// Lowers a pass with its bias and what the unit takes along: weights packed once where nothing changes them, at each
/// run otherwise. `lds` and `elements` are those of the convolution's source and destination.
fn with_weights<P: Pass>(
    site: &Site,
    g: Conv2dGeometry,
    sides: [Place; 2],
    bias: bool,
) -> Result<Lowered, String> {
    let (mut convolution, pass) =
        planned(site, P::PASS, g, sides, |lds, options| P::with(site.options.isa, &g, lds, options))?;
    convolution.candidates = pass.candidates().to_vec();
    let residual = site.unit.chain.residual.map(|value| (site.place)(value));
    let activation = site.activation();
    let (packed_len, scratch_len) = (pass.packed_len(), pass.workspace_len(site.options.threads));
    let describe = site.with_chain(pass.describe());
    let dst = site.result();
    let mut reads = if site.unit.prepared { vec![site.input(0)] } else { site.inputs() };
    let gather = Gather { pass, activation, residual: residual.map(|_| reads.len()) };
    reads.extend(residual);
    if !site.unit.prepared {
        let lowered = Lowered::new(describe, reads, vec![dst], move |f| {
            let (packed, scratch) = f.workspace().split_at_mut(packed_len);
            gather.pass.pack(&f.cx, f.src_slice(1), None, packed);
            gather.run(f, packed, bias.then(|| f.src_slice(2)), scratch);
        });
        let lowered = Lowered { convolution: Some(convolution), ..lowered };
        return Ok(lowered.with_workspace(packed_len + scratch_len));
    }
    let source = Prepared::new(site, bias);
    let has_bias = source.bias.is_some() || source.norm.is_some();
    let bias_len = if has_bias { dst.channels() } else { 0 };
    let packing = gather.pass.clone();
    let fill = move |parameters: &Parameters, cx: &Context, prepared: &mut [f32]| {
        let (packed, folded_bias) = prepared.split_at_mut(packed_len);
        source.fill(parameters, |weights, scale| packing.pack(cx, weights, scale, packed), folded_bias);
    };
    let prepare = Prepare { len: packed_len + bias_len, fill: Box::new(fill) };
    let lowered = Lowered::new(describe, reads, vec![dst], move |f| {
        let (packed, bias) = f.prepared().split_at(packed_len);
        gather.run(f, packed, has_bias.then_some(bias), f.workspace());
    });
    let lowered = Lowered { prepare: Some(prepare), convolution: Some(convolution), ..lowered };
    Ok(lowered.with_workspace(scratch_len))
}

/// A pass by the algorithm that was chosen for it; a direct one where that does not fit. `sides` are the convolution's
/// source and destination.
fn planned<P>(
    site: &Site,
    pass: convolution::Pass,
    geometry: Conv2dGeometry,
    sides: [Place; 2],
    plan: impl Fn([usize; 2], Options) -> Result<P, PlanError>,
) -> Result<(Convolution, P), String> {
    let (lds, elements) = (sides.map(|side| side.ld), sides.map(|side| side.storage.element()));
    let packs = pass != convolution::Pass::BackwardWeights && !site.unit.prepared;
    let convolution = Convolution { pass, geometry, lds, elements, packs, candidates: Vec::new() };
    let plan = |algorithm| plan(lds, convolution.options(algorithm));
    let planned = match plan(site.tuning.algorithm(&convolution, &site.options)) {
        Err(PlanError::Refused { .. }) => plan(Algorithm::Direct),
        chosen => chosen,
    };
    let planned = planned.map_err(|error| error.to_string())?;
    Ok((convolution, planned))
}

/// Where a layer's weights come from, and the batch norm folded into them.
struct Prepared {
    weights: String,
    bias: Option<String>,
    norm: Option<([String; 4], f32)>,
}

impl Prepared {
    fn new(site: &Site, bias: bool) -> Self {
        let name = |index: usize| site.parameter_name(site.node.inputs[index]);
        let norm = site.unit.chain.norm.map(|id| {
            let node = site.graph.node(id);
            let Op::BatchNorm(BatchNorm { eps, .. }) = node.op else {
                unreachable!("units fold batch norms alone")
            };
            ([1, 2, 3, 4].map(|index| site.parameter_name(node.inputs[index])), eps)
        });
        Self { weights: name(1), bias: bias.then(|| name(2)), norm }
    }

    /// Packs the weights, times the norm's scale a channel, and writes the bias that goes with them.
    fn fill(&self, parameters: &Parameters, pack: impl FnOnce(&[f32], Option<&[f32]>), dst_bias: &mut [f32]) {
        let data = |name: &String| parameters.get(name).expect("parameters were checked").data.as_slice();
        let bias = self.bias.as_ref().map(data);
        let Some((names, epsilon)) = &self.norm else {
            pack(data(&self.weights), None);
            if let Some(bias) = bias {
                dst_bias.copy_from_slice(bias);
            }
            return;
        };
        let norm: [&[f32]; 4] = std::array::from_fn(|index| data(&names[index]));
        let mut scale = vec![0.0; dst_bias.len()];
        batch_norm::fold(norm, *epsilon, &mut scale, dst_bias);
        if let Some(bias) = bias {
            for (shift, (bias, scale)) in dst_bias.iter_mut().zip(bias.iter().zip(&scale)) {
                *shift += bias * scale;
            }
        }
        pack(data(&self.weights), Some(&scale));
    }
}

pub(super) fn forward(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    with_weights::<Forward>(site, g, [site.input(0), site.result()], bias)
}

/// The adjoint of the convolution `g`: it reads what the convolution writes.
pub(super) fn backward_data(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    with_weights::<BackwardData>(site, g, [site.result(), site.input(0)], bias)
}

pub(super) fn conv2d(site: &Site, op: &Conv2d) -> Result<Lowered, String> {
    forward(site, geometry(op, site.input(0), site.result())?, op.bias)
}

pub(super) fn conv_transpose2d(site: &Site, op: &ConvTranspose2d) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.result());
    backward_data(site, geometry(&op.adjoint(src.channels()), dst, src)?, op.bias)
}

pub(super) fn conv2d_backward_data(site: &Site, op: &Conv2dBackwardData) -> Result<Lowered, String> {
    backward_data(site, geometry(&op.conv, site.result(), site.input(0))?, false)
}

/// The gradients of weights and bias from a source of `A` and a destination's gradient of `B`.
fn weights_of<A: Element, B: Element>(pass: &BackwardWeights, f: &Frame, bias: bool) {
    let (d_weights, d_bias) = (f.dst_slice(0), bias.then(|| f.dst_slice(1)));
    pass.run(&f.cx, f.read::<A>(0), f.read::<B>(1), d_weights, d_bias, f.workspace());
}

fn backward_weights(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    let sides @ [src, d_dst] = [0, 1].map(|index| site.input(index));
    let kind = convolution::Pass::BackwardWeights;
    let (mut convolution, pass) = planned(site, kind, g, sides, |[src_ld, dst_ld], options| {
        BackwardWeights::with(site.options.isa, &g, src_ld, dst_ld, options)
    })?;
    convolution.candidates = pass.candidates().to_vec();
    let writes = (0..1 + bias as usize).map(|index| site.output(index)).collect();
    let (describe, workspace) = (pass.describe(), pass.workspace_len(site.options.threads));
    let lowered = Lowered::new(describe, vec![src, d_dst], writes, move |f| {
        match [f.reads[0].storage, f.reads[1].storage].map(|storage| storage == Storage::Bf16) {
            [false, false] => weights_of::<f32, f32>(&pass, f, bias),
            [false, true] => weights_of::<f32, Bf16>(&pass, f, bias),
            [true, false] => weights_of::<Bf16, f32>(&pass, f, bias),
            [true, true] => weights_of::<Bf16, Bf16>(&pass, f, bias),
        }
    });
    Ok(Lowered { convolution: Some(convolution), ..lowered }.with_workspace(workspace))
}

pub(super) fn conv2d_backward_weights(site: &Site, op: &Conv2dBackwardWeights) -> Result<Lowered, String> {
    backward_weights(site, geometry(&op.conv, site.input(0), site.input(1))?, op.conv.bias)
}

/// Locally connected weights lie position by position in an order of their own; the logical order is converted
/// where it is read or written.
pub(super) fn local(site: &Site, op: &LocallyConnected2d) -> Result<Lowered, String> {
    let g = geometry(&op.conv, site.input(0), site.output(0))?;
    let bias = op.conv.bias;
    Ok(Lowered::new("own weights at each position", site.inputs(), vec![site.output(0)], move |f| {
        let weights = f.workspace();
        local::pack(&g, f.src_slice(1), weights);
        local::forward(&f.cx, &g, f.src(0), weights, bias.then(|| f.src_slice(2)), f.dst(0));
    })
    .with_workspace(local::weights_len(&g)))
}

pub(super) fn local_backward_data(
    site: &Site,
    op: &LocallyConnected2dBackwardData,
) -> Result<Lowered, String> {
    let g = geometry(&op.conv, site.output(0), site.input(0))?;
    Ok(Lowered::new("own weights at each position", site.inputs(), vec![site.output(0)], move |f| {
        let weights = f.workspace();
        local::pack(&g, f.src_slice(1), weights);
        local::backward_data(&f.cx, &g, f.src(0), weights, f.dst(0));
    })
    .with_workspace(local::weights_len(&g)))
}

pub(super) fn local_backward_weights(
    site: &Site,
    op: &LocallyConnected2dBackwardWeights,
) -> Result<Lowered, String> {
    let g = geometry(&op.conv, site.input(0), site.input(1))?;
    let writes = (0..1 + op.conv.bias as usize).map(|index| site.output(index)).collect();
    let bias = op.conv.bias;
    Ok(Lowered::new("own weights at each position", site.inputs(), writes, move |f| {
        let d_weights = f.workspace();
        local::backward_weights(&f.cx, &g, f.src(0), f.src(1), d_weights);
        local::unpack(&g, d_weights, f.dst_slice(0));
        if bias {
            local::backward_bias(&f.cx, &g, f.src(1), f.dst_slice(1));
        }
    })
    .with_workspace(local::weights_len(&g)))
}
