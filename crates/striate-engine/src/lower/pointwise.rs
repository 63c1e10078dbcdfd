//! What works element by element, and softmax.

use super::{Lowered, Site};
use striate_graph::ops::{ActivationKind, BinaryKind, Dropout};
use striate_kernels::activation::{self, Activation};
use striate_kernels::broadcast::{self, Binary, Operand};
use striate_kernels::copy;
use striate_kernels::dropout;
use striate_kernels::softmax::{self, Space};
use striate_kernels::{Element, Pixels};

fn function(kind: ActivationKind) -> Activation {
    match kind {
        ActivationKind::Relu => Activation::Relu,
        ActivationKind::LeakyRelu { slope } => Activation::LeakyRelu { slope },
        ActivationKind::Sigmoid => Activation::Sigmoid,
        ActivationKind::Tanh => Activation::Tanh,
    }
}

pub(super) fn activation<E: Element>(site: &Site, kind: ActivationKind) -> Result<Lowered, String> {
    let (src, dst, function) = (site.input(0), site.output(0), function(kind));
    let [rows, channels] = [dst.rows(), dst.channels()];
    Ok(if src == dst {
        Lowered::new("elementwise, in place", Vec::new(), vec![dst], move |f| {
            activation::forward_in_place(&f.cx, function, f.dst::<E>(0), rows, channels);
        })
    } else {
        Lowered::new("elementwise", vec![src], vec![dst], move |f| {
            activation::forward(&f.cx, function, f.src::<E>(0), f.dst(0), rows, channels);
        })
    })
}

pub(super) fn activation_backward<E: Element>(site: &Site, kind: ActivationKind) -> Result<Lowered, String> {
    let (y, d_y, dst, function) = (site.input(0), site.input(1), site.output(0), function(kind));
    let [rows, channels] = [dst.rows(), dst.channels()];
    Ok(if d_y == dst {
        Lowered::new("elementwise, in place", vec![y], vec![dst], move |f| {
            activation::backward_in_place(&f.cx, function, f.src::<E>(0), f.dst(0), rows, channels);
        })
    } else {
        Lowered::new("elementwise", vec![y, d_y], vec![dst], move |f| {
            activation::backward(&f.cx, function, f.src::<E>(0), f.src(1), f.dst(0), rows, channels);
        })
    })
}

fn space(log: bool) -> Space {
    if log { Space::Log } else { Space::Linear }
}

pub(super) fn softmax(site: &Site, log: bool) -> Result<Lowered, String> {
    let dst = site.output(0);
    Ok(Lowered::new("row by row", site.inputs(), vec![dst], move |f| {
        softmax::forward(&f.cx, space(log), f.src(0), f.dst(0), dst.rows(), dst.channels());
    }))
}

pub(super) fn softmax_backward(site: &Site, log: bool) -> Result<Lowered, String> {
    let dst = site.output(0);
    Ok(Lowered::new("row by row", site.inputs(), vec![dst], move |f| {
        softmax::backward(&f.cx, space(log), f.src(0), f.src(1), f.dst(0), dst.rows(), dst.channels());
    }))
}

pub(super) fn dropout(site: &Site, op: &Dropout) -> Result<Lowered, String> {
    let dst = site.output(0);
    let (p, node) = (op.p, op.stream.expect("without a stream it is a view") as u64);
    Ok(Lowered::new("mask recomputed", site.inputs(), vec![dst], move |f| {
        let step = f.read::<u32>(1)[0] as u64;
        let mask = dropout::Dropout { seed: f.seed, step, node, p };
        dropout::apply(&f.cx, mask, f.src(0), f.dst(0), dst.rows(), dst.channels());
    }))
}

pub(super) fn binary<E: Element>(site: &Site, kind: BinaryKind) -> Result<Lowered, String> {
    let op = match kind {
        BinaryKind::Add => Binary::Add,
        BinaryKind::Multiply => Binary::Mul,
    };
    let (a, b, dst, relu) = (site.input(0), site.input(1), site.result(), site.unit.chain.relu);
    let describe = if relu { "elementwise + relu" } else { "elementwise" };
    Ok(if a == dst {
        Lowered::new(format!("{describe}, in place"), vec![b], vec![dst], move |f| {
            let b = Operand { shape: b.shape, pixels: f.src::<E>(0) };
            broadcast::binary_in_place(&f.cx, op, b, relu, dst.shape, f.dst(0));
        })
    } else {
        Lowered::new(describe, vec![a, b], vec![dst], move |f| {
            let operand = |shape, index| Operand { shape, pixels: f.src::<E>(index) };
            let operands = [operand(a.shape, 0), operand(b.shape, 1)];
            broadcast::binary(&f.cx, op, operands, relu, dst.shape, f.dst(0));
        })
    })
}

pub(super) fn scale(site: &Site, factor: f32) -> Result<Lowered, String> {
    Ok(scaled(site, factor))
}

/// dst = factor · src, src repeated where it is smaller.
pub(super) fn scaled(site: &Site, factor: f32) -> Lowered {
    let (src, dst) = (site.input(0), site.output(0));
    let src_shape = aligned(src.shape, dst.shape);
    if factor == 1.0 {
        return Lowered::new("copy", vec![src], vec![dst], move |f| {
            let strides = |shape: [usize; 4], ld: usize| {
                let [_, h, w, _] = shape;
                let full = [h * w * ld, w * ld, ld, 1];
                std::array::from_fn(|dim| if shape[dim] == 1 { 0 } else { full[dim] })
            };
            let dense: [usize; 4] = strides(dst.shape, dst.ld);
            copy::copy_box(
                &f.cx,
                dst.shape,
                f.src_slice(0),
                strides(src_shape, src.ld),
                f.dst_slice(0),
                dense,
            );
        });
    }
    Lowered::new("elementwise", vec![src], vec![dst], move |f| {
        let scalar = f.workspace();
        scalar[0] = factor;
        let operands = [
            Operand { shape: src_shape, pixels: f.src(0) },
            Operand { shape: [1; 4], pixels: Pixels::new(scalar, 1) },
        ];
        broadcast::binary(&f.cx, Binary::Mul, operands, false, dst.shape, f.dst(0));
    })
    .with_workspace(1)
}

/// The shape of a smaller value seen beside a larger one: a scalar has one element in every dimension.
fn aligned(small: [usize; 4], large: [usize; 4]) -> [usize; 4] {
    debug_assert!(small.iter().zip(large).all(|(s, l)| *s == 1 || *s == l), "{small:?} in {large:?}");
    small
}
