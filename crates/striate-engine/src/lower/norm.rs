//! Normalisations.

use super::{Lowered, Site};
use crate::place::Place;
use crate::units::GatedBy;
use striate_graph::ops::{BatchNorm, LocalResponseNorm};
use striate_kernels::Element;
use striate_kernels::batch_norm::{self, Epilogue, Gate, Gradients, Normalizer, Running};
use striate_kernels::lrn;

/// Normalisation by running statistics, where no convolution took it along.
pub(super) fn batch_norm<E: Element>(site: &Site, op: &BatchNorm) -> Result<Lowered, String> {
    let (dst, epsilon) = (site.output(0), op.eps);
    let channels = dst.channels();
    Ok(Lowered::new("scale and shift", site.inputs(), vec![dst], move |f| {
        let (scale, shift) = f.workspace().split_at_mut(channels);
        let norm = [1, 2, 3, 4].map(|index| f.src_slice(index));
        batch_norm::fold(norm, epsilon, scale, shift);
        batch_norm::scale_shift(&f.cx, dst.rows(), f.src::<E>(0), scale, shift, f.dst(0));
    })
    .with_workspace(2 * channels))
}

/// Normalisation by the batch's own statistics, with an addition and a ReLU where they follow.
pub(super) fn batch_norm_training<E: Element>(site: &Site, op: &BatchNorm) -> Result<Lowered, String> {
    let (src, dst, momentum) = (site.input(0), site.result(), op.momentum);
    let norm = batch_norm::BatchNorm { pixels: src.rows(), channels: src.channels(), epsilon: op.eps };
    let residual = site.unit.chain.residual.map(|value| (site.place)(value));
    let relu = site.unit.chain.relu;
    let mut reads = vec![src, site.input(1), site.input(2)];
    reads.extend(residual);
    let writes = vec![dst, site.output(1), site.output(2), site.input(3), site.input(4)];
    let mut describe = "batch statistics".to_string();
    describe += if residual.is_some() { " + add" } else { "" };
    describe += if relu { " + relu" } else { "" };
    let workspace = norm.workspace_len();
    Ok(Lowered::new(describe, reads, writes, move |f| {
        let (workspace, mean, inv_std) = (f.workspace(), f.dst_slice(1), f.dst_slice(2));
        let running = Running { mean: f.dst_slice(3), variance: f.dst_slice(4), momentum };
        norm.statistics(&f.cx, f.src::<E>(0), mean, inv_std, Some(running), workspace);
        let by = Normalizer { mean, inv_std, scale: f.src_slice(1), bias: f.src_slice(2) };
        let epilogue = Epilogue { residual: residual.map(|_| f.src::<E>(3)), relu };
        norm.normalize(&f.cx, f.src(0), by, epilogue, f.dst(0), workspace);
    })
    .with_workspace(workspace))
}

/// Normalisation by given statistics, with an addition and a ReLU where they follow: the second half of
/// [`batch_norm_training`], by the same kernel, so that the results are the same bits.
pub(super) fn normalize<E: Element>(site: &Site) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.result());
    let norm = batch_norm::BatchNorm { pixels: src.rows(), channels: src.channels(), epsilon: 0.0 };
    let residual = site.unit.chain.residual.map(|value| (site.place)(value));
    let relu = site.unit.chain.relu;
    let mut reads = site.inputs();
    reads.extend(residual);
    let describe = site.with_chain("kept statistics".into());
    Ok(Lowered::new(describe, reads, vec![dst], move |f| {
        let [scale, bias, mean, inv_std] = [1, 2, 3, 4].map(|index| f.src_slice(index));
        let by = Normalizer { mean, inv_std, scale, bias };
        let epilogue = Epilogue { residual: residual.map(|_| f.src::<E>(5)), relu };
        norm.normalize(&f.cx, f.src(0), by, epilogue, f.dst(0), f.workspace());
    })
    .with_workspace(src.channels()))
}

/// The gradients of a normalisation, and before it of the ReLU behind it where the unit takes that along.
pub(super) fn batch_norm_backward<E: Element>(site: &Site) -> Result<Lowered, String> {
    let place = site.place;
    let gate = site.unit.chain.gate;
    let (src, d_src) = (site.input(0), site.output(0));
    let d_dst = gate.map_or_else(|| site.input(4), |gate| place(gate.d_dst));
    let kept = gate.and_then(|gate| gate.kept).map(place);
    let channels = src.channels();
    // ε is part of inv_std already.
    let norm = batch_norm::BatchNorm { pixels: src.rows(), channels, epsilon: 0.0 };
    let mut reads = vec![site.input(1), site.input(2), site.input(3)];
    let mut read = |place: Place| {
        reads.push(place);
        reads.len() - 1
    };
    let by = gate.map(|gate| (gate.by, read(place(gate.by.value()))));
    let maps = [(src, Some(d_src)), (d_dst, kept)];
    let maps = maps.map(|(operand, result)| (Some(operand) != result).then(|| read(operand)));
    let writes = [Some(d_src), Some(site.output(1)), Some(site.output(2)), kept];
    let mut describe = "two passes".to_string();
    describe += if gate.is_some() { " from behind relu" } else { "" };
    describe += if maps[0].is_none() { ", in place" } else { "" };
    let workspace = norm.workspace_len() + channels;
    let writes = writes.into_iter().flatten().collect();
    Ok(Lowered::new(describe, reads, writes, move |f| {
        let (zeros, workspace) = f.workspace().split_at_mut(channels);
        zeros.fill(0.0);
        let [scale, mean, inv_std] = [0, 1, 2].map(|index| f.src_slice(index));
        let (gate, bias) = match by {
            None => (Gate::<E>::Open, &*zeros),
            Some((GatedBy::Norm(_), bias)) => (Gate::Relu, f.src_slice(bias)),
            Some((GatedBy::Relu(_), y)) => (Gate::ReluOf(f.src(y)), &*zeros),
        };
        let by = Normalizer { mean, inv_std, scale, bias };
        let (d_src, d_scale, d_bias) = (f.dst(0), f.dst_slice(1), f.dst_slice(2));
        let d_residual = kept.map(|_| f.dst(3));
        let gradients = Gradients { d_src, d_residual, d_scale, d_bias };
        let maps = maps.map(|index| index.map(|index| f.src(index)));
        norm.backward(&f.cx, maps, gate, by, gradients, workspace);
    })
    .with_workspace(workspace))
}

fn constants(op: &LocalResponseNorm) -> lrn::LocalResponseNorm {
    lrn::LocalResponseNorm { size: op.size, alpha: op.alpha, beta: op.beta, k: op.k }
}

pub(super) fn lrn(site: &Site, op: &LocalResponseNorm) -> Result<Lowered, String> {
    let (dst, norm) = (site.output(0), constants(op));
    let shape = [dst.rows(), dst.channels()];
    Ok(Lowered::new("across channels", site.inputs(), vec![dst], move |f| {
        norm.forward(&f.cx, shape, f.src(0), f.dst(0), f.workspace());
    })
    .with_workspace(norm.workspace_len(dst.channels(), site.options.threads)))
}

pub(super) fn lrn_backward(site: &Site, op: &LocalResponseNorm) -> Result<Lowered, String> {
    let (dst, norm) = (site.output(0), constants(op));
    let shape = [dst.rows(), dst.channels()];
    Ok(Lowered::new("across channels", site.inputs(), vec![dst], move |f| {
        norm.backward(&f.cx, shape, [f.src(0), f.src(1)], f.dst(0), f.workspace());
    })
    .with_workspace(norm.workspace_len(dst.channels(), site.options.threads)))
}
