//! What moves, repeats and sums elements.

use super::pointwise::scaled;
use super::{Lowered, Site};
use crate::functions;
use crate::place::{Place, Storage};
use bytemuck::Pod;
use striate_graph::ops::{self, Expand, Pad, Reduce, Slice, UpsampleMode};
use striate_kernels::copy::{copy_box, fill};
use striate_kernels::pad::{Margins, Pad2d};
use striate_kernels::reduce::Reduction;
use striate_kernels::upsample::{Interpolation, Resize2d};
use striate_kernels::{Element, PixelsMut};

/// Elements between neighbours along (n, h, w, c) of a place.
fn strides(place: Place) -> [usize; 4] {
    let [_, h, w, _] = place.shape;
    [h * w * place.ld, w * place.ld, place.ld, 1]
}

/// Strides along (n, c, h, w) of a place, or, of a feature vector, of its elements seen as that.
fn logical(place: Place, [_, h, w, _]: [usize; 4], is_map: bool) -> [usize; 4] {
    if is_map {
        let [n, h, w, c] = strides(place);
        [n, c, h, w]
    } else {
        [place.ld, h * w, w, 1]
    }
}

/// Elements keep their (C, H, W) order; between maps they pass through scratch memory in that order.
pub(super) fn reshape(site: &Site) -> Result<Lowered, String> {
    match site.input(0).storage {
        Storage::F32 => reshape_of::<f32>(site),
        Storage::U32 => reshape_of::<u32>(site),
        storage => Err(format!("{storage:?} is not reshaped")),
    }
}

fn reshape_of<T: Pod + Send + Sync>(site: &Site) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.output(0));
    let is_map = |ty: &striate_graph::Type| ty.dims.len() == 3;
    let (from_map, to_map) = (is_map(site.input_ty(0)), is_map(site.ty(site.node.outputs[0])));
    let nchw = |[n, h, w, c]: [usize; 4]| [n, c, h, w];
    let lowered = Lowered::new("copy", vec![src], vec![dst], move |f| {
        let to_logical = |map: Place, src: &[T], out: &mut [T], out_ld: usize| {
            let [_, h, w, _] = map.shape;
            copy_box(&f.cx, nchw(map.shape), src, logical(map, map.shape, true), out, [out_ld, h * w, w, 1]);
        };
        let from_logical = |map: Place, src: &[T], src_ld: usize, out: &mut [T]| {
            let [_, h, w, _] = map.shape;
            copy_box(&f.cx, nchw(map.shape), src, [src_ld, h * w, w, 1], out, logical(map, map.shape, true));
        };
        match (from_map, to_map) {
            (true, false) => to_logical(src, f.read(0), f.write(0), dst.ld),
            (false, true) => from_logical(dst, f.read(0), src.ld, f.write(0)),
            (true, true) => {
                let plain = bytemuck::cast_slice_mut(f.workspace());
                let per_image = src.elements() / src.shape[0];
                to_logical(src, f.read(0), plain, per_image);
                from_logical(dst, plain, per_image, f.write(0));
            }
            (false, false) => {
                copy_box(&f.cx, src.shape, f.read::<T>(0), strides(src), f.write(0), strides(dst));
            }
        }
    });
    Ok(if from_map && to_map { lowered.with_workspace(src.elements()) } else { lowered })
}

/// Copies the parts whose producers could not write into the concatenation themselves.
pub(super) fn concat<E: Element>(site: &Site) -> Result<Lowered, String> {
    let dst = site.output(0);
    let mut channel = 0;
    let mut copies = Vec::new();
    for part in site.inputs() {
        let there = Place { offset: dst.offset + channel * dst.storage.bytes(), ld: dst.ld, ..part };
        if part != there {
            copies.push((part, channel));
        }
        channel += part.channels();
    }
    let describe = match copies.len() {
        0 => "no copy".to_string(),
        count => format!("{count} copied"),
    };
    let reads = copies.iter().map(|(part, _)| *part).collect();
    Ok(Lowered::new(describe, reads, if copies.is_empty() { Vec::new() } else { vec![dst] }, move |f| {
        if copies.is_empty() {
            return;
        }
        let whole = f.write::<E>(0);
        for (index, (part, channel)) in copies.iter().enumerate() {
            copy_box(
                &f.cx,
                part.shape,
                f.read::<E>(index),
                strides(*part),
                &mut whole[*channel..],
                strides(dst),
            );
        }
    }))
}

/// The slice's part of a whole: its first element and its strides.
fn part_of(whole: Place, slice: &Slice, is_map: bool) -> (usize, [usize; 4]) {
    let mut strides = strides(whole);
    let axis = if is_map { [3, 1, 2][slice.axis] } else { 3 };
    let start = slice.start * strides[axis];
    strides[axis] *= slice.step;
    (start, strides)
}

pub(super) fn slice<E: Element>(site: &Site, op: &Slice) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.output(0));
    let (start, part) = part_of(src, op, site.input_ty(0).dims.len() == 3);
    Ok(Lowered::new("copy", vec![src], vec![dst], move |f| {
        copy_box(&f.cx, dst.shape, &f.read::<E>(0)[start..], part, f.write(0), strides(dst));
    }))
}

pub(super) fn slice_backward<E: Element>(site: &Site, op: &Slice) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.output(0));
    let (start, part) = part_of(dst, op, site.input_ty(0).dims.len() == 3);
    Ok(Lowered::new("copy into zeros", vec![src], vec![dst], move |f| {
        let whole = f.write::<E>(0);
        fill(&f.cx, 0.0, PixelsMut::new(&mut *whole, dst.ld), dst.rows(), dst.channels());
        copy_box(&f.cx, src.shape, f.read(0), strides(src), &mut whole[start..], part);
    }))
}

fn padding(shape: [usize; 4], op: &Pad) -> Result<Pad2d, String> {
    let ops::Padding { top, bottom, left, right } = op.padding;
    let [channels_before, channels_after] = op.channels;
    let mode = functions::pad_mode(op.mode, 0.0);
    let margins = Margins { top, bottom, left, right, channels_before, channels_after };
    Pad2d::new(shape, margins, mode).map_err(|error| error.to_string())
}

pub(super) fn pad<E: Element>(site: &Site, op: &Pad) -> Result<Lowered, String> {
    let pad = padding(site.input(0).shape, op)?;
    Ok(Lowered::new("copy", site.inputs(), vec![site.output(0)], move |f| {
        pad.forward(&f.cx, f.src::<E>(0), f.dst(0));
    }))
}

pub(super) fn pad_backward<E: Element>(site: &Site, op: &Pad) -> Result<Lowered, String> {
    let pad = padding(site.output(0).shape, op)?;
    Ok(Lowered::new("gather", site.inputs(), vec![site.output(0)], move |f| {
        pad.backward(&f.cx, f.src::<E>(0), f.dst(0));
    }))
}

/// The resizing from a small or large source to a destination, as the forward pass names them.
fn resize(src: Place, dst: Place, mode: UpsampleMode) -> Resize2d {
    let ([n, ih, iw, c], [_, oh, ow, _]) = (src.shape, dst.shape);
    let interpolation = match mode {
        UpsampleMode::Nearest => Interpolation::Nearest,
        UpsampleMode::Bilinear { align_corners } => Interpolation::Bilinear { align_corners },
    };
    Resize2d { n, c, ih, iw, oh, ow, interpolation }
}

pub(super) fn upsample(site: &Site, mode: UpsampleMode) -> Result<Lowered, String> {
    let resize = resize(site.input(0), site.output(0), mode);
    Ok(Lowered::new("row by row", site.inputs(), vec![site.output(0)], move |f| {
        resize.forward(&f.cx, f.src(0), f.dst(0));
    }))
}

pub(super) fn upsample_backward(site: &Site, mode: UpsampleMode) -> Result<Lowered, String> {
    let resize = resize(site.output(0), site.input(0), mode);
    Ok(Lowered::new("gather", site.inputs(), vec![site.output(0)], move |f| {
        resize.backward(&f.cx, f.src(0), f.dst(0));
    }))
}

/// Which axes differ between a larger and a smaller shape, and the product of their extents.
fn summed_axes(large: [usize; 4], small: [usize; 4]) -> ([bool; 4], usize) {
    let axes: [bool; 4] = std::array::from_fn(|dim| large[dim] != small[dim]);
    (axes, (0..4).filter(|dim| axes[*dim]).map(|dim| large[dim]).product())
}

pub(super) fn reduce(site: &Site, op: &Reduce) -> Result<Lowered, String> {
    let (src, dst) = (site.input(0), site.output(0));
    let (axes, count) = summed_axes(src.shape, dst.shape);
    let factor = if op.mean { op.scale / count as f32 } else { op.scale };
    let reduction = Reduction { shape: src.shape, axes, ld: [src.ld, dst.ld] };
    Ok(Lowered::new("fixed tree", vec![src], vec![dst], move |f| {
        reduction.run(&f.cx, f.src(0), factor, f.dst(0), f.workspace());
    })
    .with_workspace(reduction.workspace_len()))
}

pub(super) fn expand(site: &Site, op: &Expand) -> Result<Lowered, String> {
    let (_, count) = summed_axes(site.output(0).shape, site.input(0).shape);
    Ok(scaled(site, if op.mean { op.scale / count as f32 } else { op.scale }))
}
