//! Fully connected layers: with weights that stay, 1×1 convolutions whose pixels are the images; with weights that a
//! step changes, kernels that read them as they lie.

use super::update::Step;
use super::{Frame, Lowered, Site, conv};
use crate::place::Place;
use striate_graph::ops::{Conv2d, Linear, LinearBackwardWeights, Op};
use striate_kernels::conv::Epilogue;
use striate_kernels::linear::{BackwardData, BackwardWeights, Forward, Layer};
use striate_kernels::optim::Target;

/// The layer from `src` to `dst`, both as forward names them.
fn layer(src: Place, dst: Place) -> Layer {
    Layer { n: src.shape[0], ic: src.channels(), oc: dst.channels(), src_ld: src.ld, dst_ld: dst.ld }
}

pub(super) fn forward(site: &Site, op: &Linear) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.result());
    if site.unit.prepared {
        return conv::forward(site, conv::geometry(&Conv2d::new(op.out, 1), src, dst)?, op.bias);
    }
    let pass = Forward::new(site.options.isa, &layer(src, dst)).map_err(|error| error.to_string())?;
    let (bias, activation) = (op.bias, site.activation());
    let mut reads = site.inputs();
    let residual = site.unit.chain.residual.map(|value| {
        reads.push((site.place)(value));
        reads.len() - 1
    });
    let (describe, workspace) = (site.with_chain(pass.describe()), pass.workspace_len(site.options.threads));
    let kernel = move |f: &Frame| {
        let (bias, residual) = (bias.then(|| f.src_slice(2)), residual.map(|index| f.src(index)));
        let epilogue = Epilogue { bias, residual, activation };
        pass.run(&f.cx, f.src_slice(0), f.src_slice(1), &epilogue, f.dst_slice(0), f.workspace());
    };
    Ok(Lowered::new(describe, reads, vec![dst], kernel).with_workspace(workspace))
}

pub(super) fn backward_data(site: &Site) -> Result<Lowered, String> {
    let (d_dst, d_src) = (site.input(0), site.result());
    if site.unit.prepared {
        let g = conv::geometry(&Conv2d::new(d_dst.channels(), 1), d_src, d_dst)?;
        return conv::backward_data(site, g, false);
    }
    let pass =
        BackwardData::new(site.options.isa, &layer(d_src, d_dst)).map_err(|error| error.to_string())?;
    let (describe, workspace) = (pass.describe(), pass.workspace_len(site.options.threads));
    let kernel = move |f: &Frame| {
        pass.run(&f.cx, f.src_slice(0), f.src_slice(1), f.dst_slice(0), f.workspace());
    };
    Ok(Lowered::new(describe, site.inputs(), vec![d_src], kernel).with_workspace(workspace))
}

/// Where a gradient goes: to a destination of the step, or into an update that the unit takes along.
enum Sink {
    Destination(usize),
    Update(Step),
}

impl Sink {
    /// That of the root's output `index`, its places appended to those of the step.
    fn new(site: &Site, index: usize, reads: &mut Vec<Place>, writes: &mut Vec<Place>) -> Self {
        let gradient = site.node.outputs[index];
        let taken = site.unit.absorbed.iter().map(|id| site.graph.node(*id));
        let update = taken.filter(|node| node.inputs[1] == gradient).find_map(|node| match &node.op {
            Op::SgdUpdate(op) => Some(Step::new(site, node, op, reads, writes)),
            _ => None,
        });
        update.map_or_else(
            || {
                writes.push((site.place)(gradient));
                Sink::Destination(writes.len() - 1)
            },
            Sink::Update,
        )
    }

    fn target<'a>(&self, f: &Frame<'a>) -> Target<'a> {
        match self {
            Sink::Destination(index) => Target::Gradient(f.dst_slice(*index)),
            Sink::Update(step) => {
                let (hyper, param, velocity) = step.state(f);
                Target::Sgd { hyper, param, velocity }
            }
        }
    }
}

pub(super) fn backward_weights(site: &Site, op: &LinearBackwardWeights) -> Result<Lowered, String> {
    let layer = layer(site.input(0), site.input(1));
    let pass = BackwardWeights::new(site.options.isa, &layer).map_err(|error| error.to_string())?;
    let (mut reads, mut writes) = (site.inputs(), Vec::new());
    let weights = Sink::new(site, 0, &mut reads, &mut writes);
    let bias = op.bias.then(|| Sink::new(site, 1, &mut reads, &mut writes));
    let mut describe = pass.describe();
    if let Sink::Update(_) = weights {
        describe += " + sgd";
    }
    let workspace = pass.workspace_len(site.options.threads);
    let kernel = move |f: &Frame| {
        let bias = bias.as_ref().map(|bias| bias.target(f));
        pass.run(&f.cx, f.src_slice(0), f.src_slice(1), weights.target(f), bias, f.workspace());
    };
    Ok(Lowered::new(describe, reads, writes, kernel).with_workspace(workspace))
}
