//! Convolutions, forward and backward.

use super::{Frame, Lowered, Prepare, Site};
use crate::convolution::{self, Convolution};
use crate::parameters::Parameters;
use crate::place::Place;
use striate_graph::ops::{
    BatchNorm, Conv2d, Conv2dBackwardData, Conv2dBackwardWeights, ConvTranspose2d, LocallyConnected2d,
    LocallyConnected2dBackwardData, LocallyConnected2dBackwardWeights, Op,
};
use striate_kernels::conv::{
    Algorithm, BackwardData, BackwardWeights, Candidate, Conv2dGeometry, Epilogue, Forward, PlanError,
};
use striate_kernels::{Context, Isa, Pixels, batch_norm, local};

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
    fn with_algorithm(isa: Isa, g: &Conv2dGeometry, lds: [usize; 2], a: Algorithm)
    -> Result<Self, PlanError>;
    fn candidates(&self) -> &[Candidate];
    fn packed_len(&self) -> usize;
    fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]);
    fn workspace_len(&self, workers: usize) -> usize;
    fn run(&self, cx: &Context, src: &[f32], packed: &[f32], e: &Epilogue, dst: &mut [f32], ws: &mut [f32]);
    fn describe(&self) -> String;
}

macro_rules! pass {
    ($name:ident) => {
        impl Pass for $name {
            const PASS: convolution::Pass = convolution::Pass::$name;
            fn with_algorithm(
                isa: Isa,
                g: &Conv2dGeometry,
                [src_ld, dst_ld]: [usize; 2],
                algorithm: Algorithm,
            ) -> Result<Self, PlanError> {
                $name::with_algorithm(isa, g, src_ld, dst_ld, algorithm)
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
            fn run(
                &self,
                cx: &Context,
                src: &[f32],
                packed: &[f32],
                e: &Epilogue,
                dst: &mut [f32],
                ws: &mut [f32],
            ) {
                self.run(cx, src, packed, e, dst, ws);
            }
            fn describe(&self) -> String {
                self.describe()
            }
        }
    };
}
pass!(Forward);
pass!(BackwardData);

/// Lowers a pass with its bias and what the unit takes along: weights packed once where nothing changes them, at each
/// run otherwise.
fn with_weights<P: Pass>(
    site: &Site,
    g: Conv2dGeometry,
    lds: [usize; 2],
    bias: bool,
) -> Result<Lowered, String> {
    let mut convolution =
        Convolution { pass: P::PASS, geometry: g, lds, packs: !site.unit.prepared, candidates: Vec::new() };
    let pass_now =
        planned(site, &convolution, |algorithm| P::with_algorithm(site.options.isa, &g, lds, algorithm))?;
    convolution.candidates = pass_now.candidates().to_vec();
    let residual = site.unit.chain.residual.map(|value| (site.place)(value));
    let activation = site.activation();
    let (packed_len, scratch_len) = (pass_now.packed_len(), pass_now.workspace_len(site.options.threads));
    let describe = site.with_chain(pass_now.describe());
    let (src, dst) = (site.input(0), site.result());
    let channels = dst.channels();
    let run = move |pass: &P,
                    f: &Frame,
                    packed: &[f32],
                    bias: Option<&[f32]>,
                    residual: Option<Pixels>,
                    scratch: &mut [f32]| {
        let epilogue = Epilogue { bias, residual, activation };
        pass.run(&f.cx, f.src_slice(0), packed, &epilogue, f.dst_slice(0), scratch);
    };
    if site.unit.prepared {
        let source = Prepared::new(site, bias);
        let has_bias = source.bias.is_some() || source.norm.is_some();
        let bias_len = if has_bias { channels } else { 0 };
        let pass_then = pass_now.clone();
        let fill = move |parameters: &Parameters, cx: &Context, prepared: &mut [f32]| {
            let (packed, folded_bias) = prepared.split_at_mut(packed_len);
            source.fill(parameters, |weights, scale| pass_then.pack(cx, weights, scale, packed), folded_bias);
        };
        let prepare = Prepare { len: packed_len + bias_len, fill: Box::new(fill) };
        let mut reads = vec![src];
        reads.extend(residual);
        let lowered = Lowered::new(describe, reads, vec![dst], move |f| {
            let (packed, bias) = f.prepared().split_at(packed_len);
            let residual = residual.map(|_| f.src(1));
            run(&pass_now, f, packed, has_bias.then_some(bias), residual, f.workspace());
        });
        let lowered = Lowered { prepare: Some(prepare), convolution: Some(convolution), ..lowered };
        return Ok(lowered.with_workspace(scratch_len));
    }
    let mut reads = site.inputs();
    let residual_index = reads.len();
    reads.extend(residual);
    let kernel = move |f: &Frame| {
        let (packed, scratch) = f.workspace().split_at_mut(packed_len);
        pass_now.pack(&f.cx, f.src_slice(1), None, packed);
        let residual = residual.map(|_| f.src(residual_index));
        run(&pass_now, f, packed, bias.then(|| f.src_slice(2)), residual, scratch);
    };
    let lowered = Lowered::new(describe, reads, vec![dst], kernel).with_workspace(packed_len + scratch_len);
    Ok(Lowered { convolution: Some(convolution), ..lowered })
}

/// A pass by the algorithm that was chosen for it; a direct one where that does not fit.
fn planned<P>(
    site: &Site,
    convolution: &Convolution,
    pass: impl Fn(Algorithm) -> Result<P, PlanError>,
) -> Result<P, String> {
    let chosen = pass(site.tuning.algorithm(convolution, &site.options));
    let pass = match chosen {
        Err(PlanError::Refused { .. }) => pass(Algorithm::Direct),
        chosen => chosen,
    };
    pass.map_err(|error| error.to_string())
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
    with_weights::<Forward>(site, g, [site.input(0).ld, site.result().ld], bias)
}

/// The adjoint of the convolution `g`: it reads what the convolution writes.
pub(super) fn backward_data(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    with_weights::<BackwardData>(site, g, [site.result().ld, site.input(0).ld], bias)
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

fn backward_weights(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    let lds @ [src_ld, dst_ld] = [0, 1].map(|index| site.input(index).ld);
    let pass = convolution::Pass::BackwardWeights;
    let mut convolution = Convolution { pass, geometry: g, lds, packs: false, candidates: Vec::new() };
    let pass = planned(site, &convolution, |algorithm| {
        BackwardWeights::with_algorithm(site.options.isa, &g, src_ld, dst_ld, algorithm)
    })?;
    convolution.candidates = pass.candidates().to_vec();
    let writes = (0..1 + bias as usize).map(|index| site.output(index)).collect();
    let (describe, workspace) = (pass.describe(), pass.workspace_len(site.options.threads));
    let lowered = Lowered::new(describe, site.inputs(), writes, move |f| {
        let d_bias = bias.then(|| f.dst_slice(1));
        pass.run(&f.cx, f.src_slice(0), f.src_slice(1), f.dst_slice(0), d_bias, f.workspace());
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
