//! What works element by element, and softmax.

use super::array;
use super::{Lowered, Site};
use crate::functions;
use crate::place::Place;
use striate_graph::ops::{ActivationKind, BinaryKind, Dropout, Softmax};
use striate_kernels::activation;
use striate_kernels::broadcast::{self, Binary, Operand};
use striate_kernels::copy;
use striate_kernels::dropout;
use striate_kernels::softmax::{self, Space};
use striate_kernels::{Element, Pixels, PixelsMut};

pub(super) fn activation<E: Element>(site: &Site, kind: ActivationKind) -> Result<Lowered, String> {
    let (src, dst, function) = (site.input(0), site.output(0), functions::activation(kind));
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
    let (of, d_y, dst) = (site.input(0), site.input(1), site.output(0));
    let function = functions::activation(kind);
    let [rows, channels] = [dst.rows(), dst.channels()];
    Ok(if d_y == dst {
        Lowered::new("elementwise, in place", vec![of], vec![dst], move |f| {
            activation::backward_in_place(&f.cx, function, f.src::<E>(0), f.dst(0), rows, channels);
        })
    } else {
        Lowered::new("elementwise", vec![of, d_y], vec![dst], move |f| {
            activation::backward(&f.cx, function, f.src::<E>(0), f.src(1), f.dst(0), rows, channels);
        })
    })
}

fn space(log: bool) -> Space {
    if log { Space::Log } else { Space::Linear }
}

/// Softmax, or with two inputs its gradient.
pub(super) fn softmax(site: &Site, op: Softmax) -> Result<Lowered, String> {
    let (dst, space) = (site.output(0), space(op.log));
    let places = site.inputs().into_iter().chain([dst]);
    let rows: Option<Vec<_>> = places.map(|place| array::rows_of(place, site.input_ty(0), op.axis)).collect();
    let Some([rows, channels]) = rows.and_then(|rows| rows.first().copied()) else {
        return array::softmax(site, space, op.axis);
    };
    // Several rows of an image lie dense, rows that are pixels at the distance of pixels.
    let ld = move |place: Place| if channels == place.channels() { place.ld } else { channels };
    let (places, dst_ld) = (site.inputs(), ld(dst));
    let is_forward = places.len() == 1;
    Ok(Lowered::new("row by row", places.clone(), vec![dst], move |f| {
        let src = |index: usize| Pixels::new(f.src_slice(index), ld(places[index]));
        let dst = PixelsMut::new(f.dst_slice(0), dst_ld);
        if is_forward {
            softmax::forward(&f.cx, space, src(0), dst, rows, channels);
        } else {
            softmax::backward(&f.cx, space, src(0), src(1), dst, rows, channels);
        }
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
        _ => return Err(format!("no kernel of maps computes {}", kind.name())),
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
