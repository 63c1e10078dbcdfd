//! Convolutions and fully connected layers (1×1 convolutions whose pixels are the images), forward and backward.

use super::{Frame, Lowered, Prepare, Site};
use crate::parameters::Parameters;
use crate::place::Place;
use striate_graph::ops::{
    BatchNorm, Conv2d, Conv2dBackwardData, Conv2dBackwardWeights, ConvTranspose2d, Linear,
    LinearBackwardWeights, LocallyConnected2d, LocallyConnected2dBackwardData,
    LocallyConnected2dBackwardWeights, Op,
};
use striate_kernels::conv::{Activation, BackwardData, BackwardWeights, Conv2dGeometry, Epilogue, Forward};
use striate_kernels::{Context, Pixels, batch_norm, local};

/// The geometry of a convolution from `src` to `dst` (both as forward names them).
fn geometry(conv: &Conv2d, src: Place, dst: Place) -> Result<Conv2dGeometry, String> {
    let ([n, ih, iw, ic], [.., oc]) = (src.shape, dst.shape);
    let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
    let p = conv.padding;
    let (pt, pb, pl, pr, groups) = (p.top, p.bottom, p.left, p.right, conv.groups);
    let g = Conv2dGeometry { n, groups, ic, ih, iw, oc, kh, kw, sh, sw, dh, dw, pt, pb, pl, pr };
    g.validate().map_err(|error| error.to_string())?;
    Ok(g)
}

/// A fully connected layer as a 1×1 convolution over the images.
fn pixelwise(src: Place, dst: Place) -> Result<Conv2dGeometry, String> {
    geometry(&Conv2d::new(dst.channels(), 1), src, dst)
}

/// A pass over packed weights: forward and backward data have the same face.
trait Pass: Send + Sync + 'static {
    fn packed_len(&self) -> usize;
    fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]);
    fn workspace_len(&self, workers: usize) -> usize;
    fn run(&self, cx: &Context, src: &[f32], packed: &[f32], e: &Epilogue, dst: &mut [f32], ws: &mut [f32]);
    fn describe(&self) -> String;
}

macro_rules! pass {
    ($name:ident) => {
        impl Pass for $name {
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
    pass: impl Fn() -> Result<P, String>,
    bias: bool,
) -> Result<Lowered, String> {
    let pass_now = pass()?;
    let residual = site.unit.chain.residual.map(|value| (site.place)(value));
    let activation = if site.unit.chain.relu { Activation::Relu } else { Activation::None };
    let (packed_len, scratch_len) = (pass_now.packed_len(), pass_now.workspace_len(site.options.threads));
    let mut describe = pass_now.describe();
    for (part, there) in [
        (" + batch norm", site.unit.chain.norm.is_some()),
        (" + add", residual.is_some()),
        (" + relu", site.unit.chain.relu),
    ] {
        describe += if there { part } else { "" };
    }
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
        let pass_then = pass()?;
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
        return Ok(Lowered { prepare: Some(prepare), ..lowered }.with_workspace(scratch_len));
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
    Ok(Lowered::new(describe, reads, vec![dst], kernel).with_workspace(packed_len + scratch_len))
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

fn forward(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    let (isa, src_ld, dst_ld) = (site.options.isa, site.input(0).ld, site.result().ld);
    with_weights(site, || Forward::new(isa, &g, src_ld, dst_ld).map_err(|e| e.to_string()), bias)
}

/// The adjoint of the convolution `g`: it reads what the convolution writes.
fn backward_data(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    let (isa, src_ld, dst_ld) = (site.options.isa, site.result().ld, site.input(0).ld);
    with_weights(site, || BackwardData::new(isa, &g, src_ld, dst_ld).map_err(|e| e.to_string()), bias)
}

pub(super) fn conv2d(site: &Site, op: &Conv2d) -> Result<Lowered, String> {
    forward(site, geometry(op, site.input(0), site.result())?, op.bias)
}

pub(super) fn linear(site: &Site, op: &Linear) -> Result<Lowered, String> {
    forward(site, pixelwise(site.input(0), site.result())?, op.bias)
}

pub(super) fn conv_transpose2d(site: &Site, op: &ConvTranspose2d) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.result());
    backward_data(site, geometry(&op.adjoint(src.channels()), dst, src)?, op.bias)
}

pub(super) fn conv2d_backward_data(site: &Site, op: &Conv2dBackwardData) -> Result<Lowered, String> {
    backward_data(site, geometry(&op.conv, site.result(), site.input(0))?, false)
}

pub(super) fn linear_backward_data(site: &Site) -> Result<Lowered, String> {
    backward_data(site, pixelwise(site.result(), site.input(0))?, false)
}

fn backward_weights(site: &Site, g: Conv2dGeometry, bias: bool) -> Result<Lowered, String> {
    let (isa, src_ld, dst_ld) = (site.options.isa, site.input(0).ld, site.input(1).ld);
    let pass = BackwardWeights::new(isa, &g, src_ld, dst_ld).map_err(|e| e.to_string())?;
    let writes = (0..1 + bias as usize).map(|index| site.output(index)).collect();
    let (describe, workspace) = (pass.describe(), pass.workspace_len(site.options.threads));
    Ok(Lowered::new(describe, site.inputs(), writes, move |f| {
        let d_bias = bias.then(|| f.dst_slice(1));
        pass.run(&f.cx, f.src_slice(0), f.src_slice(1), f.dst_slice(0), d_bias, f.workspace());
    })
    .with_workspace(workspace))
}

pub(super) fn conv2d_backward_weights(site: &Site, op: &Conv2dBackwardWeights) -> Result<Lowered, String> {
    backward_weights(site, geometry(&op.conv, site.input(0), site.input(1))?, op.conv.bias)
}

pub(super) fn linear_backward_weights(site: &Site, op: &LinearBackwardWeights) -> Result<Lowered, String> {
    backward_weights(site, pixelwise(site.input(0), site.input(1))?, op.bias)
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
