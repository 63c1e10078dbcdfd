//! Pooling.

use super::{Lowered, Site};
use crate::place::{Place, Storage};
use striate_graph::ops::{
    AvgPool2d, AvgPool2dBackward, GlobalPool, GlobalPoolBackward, MaxPool2d, MaxPool2dBackward, Padding,
    PoolKind,
};
use striate_kernels::Element;
use striate_kernels::pool::{self, Index, Pool2dGeometry};

fn geometry(
    src: Place,
    dst: Place,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> Pool2dGeometry {
    let ([n, ih, iw, c], [_, oh, ow, _]) = (src.shape, dst.shape);
    let ([kh, kw], [sh, sw]) = (kernel, stride);
    let Padding { top: pt, bottom: pb, left: pl, right: pr } = padding;
    Pool2dGeometry { n, c, ih, iw, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr }
}

fn whole(map: Place) -> Pool2dGeometry {
    let [n, h, w, c] = map.shape;
    Pool2dGeometry::global(n, c, h, w)
}

pub(super) fn max<E: Element>(site: &Site, op: &MaxPool2d) -> Result<Lowered, String> {
    let g = geometry(site.input(0), site.output(0), op.kernel, op.stride, op.padding);
    max_with::<E>(site, g, op.save_indices.then(|| Storage::of(op.index_type())))
}

pub(super) fn global<E: Element>(site: &Site, op: &GlobalPool) -> Result<Lowered, String> {
    let g = whole(site.input(0));
    match op.kind {
        PoolKind::Max => max_with::<E>(site, g, op.save_indices.then(|| site.output(1).storage)),
        PoolKind::Avg => Ok(avg_with::<E>(site, g, true)),
    }
}

fn max_with<E: Element>(site: &Site, g: Pool2dGeometry, indices: Option<Storage>) -> Result<Lowered, String> {
    let src = vec![site.input(0)];
    let Some(storage) = indices else {
        return Ok(Lowered::new("max pool", src, vec![site.output(0)], move |f| {
            pool::max_forward(&f.cx, &g, f.src::<E>(0), f.dst(0));
        }));
    };
    let taps = g.kh.saturating_mul(g.kw);
    if taps > <u32 as Index>::MAX_TAPS {
        let most = <u32 as Index>::MAX_TAPS;
        return Err(format!(
            "a window of {taps} positions is too large to keep indices of; the most is {most}"
        ));
    }
    let dst = vec![site.output(0), site.output(1)];
    Ok(Lowered::new("max pool, indices kept", src, dst, move |f| match storage {
        Storage::U8 => pool::max_forward_indexed(&f.cx, &g, f.src::<E>(0), f.dst(0), f.write::<u8>(1)),
        _ => pool::max_forward_indexed(&f.cx, &g, f.src::<E>(0), f.dst(0), f.write::<u32>(1)),
    }))
}

pub(super) fn max_backward<E: Element>(site: &Site, op: &MaxPool2dBackward) -> Result<Lowered, String> {
    let g = geometry(site.output(0), site.input(0), op.pool.kernel, op.pool.stride, op.pool.padding);
    Ok(max_backward_with::<E>(site, g))
}

fn max_backward_with<E: Element>(site: &Site, g: Pool2dGeometry) -> Lowered {
    let storage = site.input(1).storage;
    Lowered::new("max pool backward", site.inputs(), vec![site.output(0)], move |f| match storage {
        Storage::U8 => pool::max_backward(&f.cx, &g, f.src::<E>(0), f.read::<u8>(1), f.dst(0)),
        _ => pool::max_backward(&f.cx, &g, f.src::<E>(0), f.read::<u32>(1), f.dst(0)),
    })
}

pub(super) fn avg<E: Element>(site: &Site, op: &AvgPool2d) -> Result<Lowered, String> {
    let g = geometry(site.input(0), site.output(0), op.kernel, op.stride, op.padding);
    Ok(avg_with::<E>(site, g, op.count_include_pad))
}

fn avg_with<E: Element>(site: &Site, g: Pool2dGeometry, count_include_pad: bool) -> Lowered {
    Lowered::new("average pool", vec![site.input(0)], vec![site.output(0)], move |f| {
        pool::average_forward(&f.cx, &g, count_include_pad, f.src::<E>(0), f.dst(0));
    })
}

pub(super) fn avg_backward<E: Element>(site: &Site, op: &AvgPool2dBackward) -> Result<Lowered, String> {
    let g = geometry(site.output(0), site.input(0), op.pool.kernel, op.pool.stride, op.pool.padding);
    Ok(avg_backward_with::<E>(site, g, op.pool.count_include_pad))
}

fn avg_backward_with<E: Element>(site: &Site, g: Pool2dGeometry, count_include_pad: bool) -> Lowered {
    Lowered::new("average pool backward", vec![site.input(0)], vec![site.output(0)], move |f| {
        pool::average_backward(&f.cx, &g, count_include_pad, f.src::<E>(0), f.dst(0));
    })
}

pub(super) fn global_backward<E: Element>(site: &Site, op: &GlobalPoolBackward) -> Result<Lowered, String> {
    let g = whole(site.output(0));
    Ok(match op.kind {
        PoolKind::Max => max_backward_with::<E>(site, g),
        PoolKind::Avg => avg_backward_with::<E>(site, g, true),
    })
}
