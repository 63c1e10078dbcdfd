//! Convolution over three dimensions, as one over two: depth becomes part of the channels, and the weights a band of what
//! each depth of the output takes of each depth of the input.
//!
//! The band repeats the weights as often as there are depths, and holds zeros beside them: right for small networks.

use super::super::constant::Constant;
use super::super::error::Problem;
use super::Tensor;
use super::call::{BIAS, Call, Read, WEIGHT};
use super::layers::{group, pair, square};
use super::pooling::Spatial;
use striate_graph::Value;
use striate_graph::ops::{Conv2d, ConvTranspose2d, PadMode, Window};

/// The most elements of a band of weights.
const MAX_BAND: usize = 1 << 24;

/// Which depth of the output takes which tap of which depth of the input, if any: its tap.
type Tap<'f> = &'f dyn Fn(usize, usize) -> Option<usize>;

/// Weights (a, b, kd, kh, kw) as (a·`rows`, b·`columns`, kh, kw): element (a·rows + r, b·columns + c) is that of tap(r, c).
fn band(weights: &Constant, rows: usize, columns: usize, tap: Tap<'_>) -> Constant {
    let [a, b, depth, kh, kw] = [0, 1, 2, 3, 4].map(|axis| weights.dims[axis]);
    // Every kernel has an element: it was checked that the weights have some.
    let (data, plane) = (weights.as_floats().unwrap_or_default(), kh * kw);
    let mut banded = vec![0.0; a * rows * b * columns * plane];
    for (place, to) in banded.chunks_mut(plane).enumerate() {
        let (row, column) = (place / (b * columns), place % (b * columns));
        if let Some(tap) = tap(row % rows, column % columns) {
            let from = ((row / rows * b + column / columns) * depth + tap) * plane;
            to.copy_from_slice(&data[from..from + plane]);
        }
    }
    Constant::floats([a * rows, b * columns, kh, kw], banded)
}

/// The map with its depth among the channels, and its sizes.
fn flat(call: &mut Call<'_, '_>, src: Tensor) -> Result<(Value, [usize; 3]), Problem> {
    let dims = call.own_dims(src);
    let [channels, depth, height, width] = *dims.as_slice() else {
        return Err(Problem::Combine { lhs: format!("{dims:?}"), rhs: "three-dimensional weights".into() });
    };
    let map = call.reshape(src.value, vec![channels * depth, height, width])?;
    Ok((map, [depth, height, width]))
}

fn check(weights: &Constant, from: usize, to: usize) -> Result<(), Problem> {
    let band = weights.len().checked_mul(from).and_then(|n| n.checked_mul(to));
    match band {
        Some(len) if len / weights.dims[2].max(1) <= MAX_BAND => Ok(()),
        _ => Err(Problem::Unsupported(format!(
            "three-dimensional convolution of {from} by {to} depths, whose weights would take more than {MAX_BAND} \
             elements"
        ))),
    }
}

/// A bias for each depth.
fn bias(call: &mut Call<'_, '_>, depths: usize) -> Result<Option<Value>, Problem> {
    if !call.has(2) {
        return Ok(None);
    }
    let repeat = |bias: &Constant| {
        let len = bias.len() * depths;
        bias.pick(vec![len], (0..len).map(|index| index / depths))
    };
    Ok(Some(call.weight(2, "deep", BIAS, repeat)?))
}

/// The result with its depth apart from the channels.
fn give(call: &mut Call<'_, '_>, value: Value, depth: usize, like: Tensor) -> Read {
    let [channels, height, width] = call.importer.graph.ty(value).chw().unwrap_or([depth, 1, 1]);
    let value = call.reshape(value, vec![channels / depth, depth, height, width])?;
    call.give(value, like)
}

fn window(spatial: &Spatial) -> Window {
    let [size, stride, dilation] = [spatial.kernel[0], spatial.strides[0], spatial.dilations[0]];
    Window { size, stride, dilation, pad: spatial.pads[0], ceil: false }
}

pub(super) fn conv(call: &mut Call<'_, '_>, src: Tensor, weights: &Constant) -> Read {
    let (map, sizes) = flat(call, src)?;
    let spatial = Spatial::read(call, Some(&weights.dims[2..]), &sizes)?;
    let window = window(&spatial);
    let positive = window.size > 0 && window.stride > 0 && window.dilation > 0;
    let depths = if positive { window.output(sizes[0]) } else { None };
    let depths =
        depths.ok_or_else(|| Problem::Unsupported(format!("{window:?} over {} depths", sizes[0])))?;
    check(weights, sizes[0], depths)?;
    let tap = |to: usize, from: usize| {
        let offset = (from + window.pad[0]).checked_sub(to * window.stride)?;
        (offset % window.dilation == 0).then_some(offset / window.dilation).filter(|tap| *tap < window.size)
    };
    let weight = call.weight(1, "deep", WEIGHT, |weights| band(weights, depths, sizes[0], &tap))?;
    let bias = bias(call, depths)?;
    let conv = Conv2d {
        out: weights.dims[0] * depths,
        kernel: pair(&spatial.kernel[1..]),
        stride: pair(&spatial.strides[1..]),
        padding: square(&spatial.pads[1..]),
        padding_mode: PadMode::Zeros,
        dilation: pair(&spatial.dilations[1..]),
        groups: group(call)?,
        bias: bias.is_some(),
    };
    let inputs: Vec<Value> = [map, weight].into_iter().chain(bias).collect();
    let value = call.push_layer(conv, &inputs)?;
    give(call, value, depths, src)
}

pub(super) fn conv_transpose(call: &mut Call<'_, '_>, src: Tensor, weights: &Constant) -> Read {
    let (map, sizes) = flat(call, src)?;
    let attributes = call.attributes();
    if attributes.has("output_shape") || attributes.text("auto_pad", "NOTSET")? != "NOTSET" {
        return Err(Problem::Unsupported(
            "a three-dimensional transposed convolution to a given size".into(),
        ));
    }
    let spatial = Spatial::read(call, Some(&weights.dims[2..]), &sizes)?;
    let list = attributes.ints("output_padding")?.map(|values| Spatial::list("output_padding", values, 3));
    let output_padding = list.transpose()?.unwrap_or(vec![0; 3]);
    let window = window(&spatial);
    let full = (sizes[0] - 1)
        .saturating_mul(window.stride)
        .saturating_add(window.span())
        .saturating_add(output_padding[0]);
    let depths = full.checked_sub(window.pad[0] + window.pad[1]).filter(|depths| *depths > 0);
    let depths =
        depths.ok_or_else(|| Problem::Unsupported(format!("{window:?} over {} depths", sizes[0])))?;
    check(weights, sizes[0], depths)?;
    let tap = |from: usize, to: usize| {
        let offset = (to + window.pad[0]).checked_sub(from * window.stride)?;
        let dilation = window.dilation.max(1);
        (offset % dilation == 0).then_some(offset / dilation).filter(|tap| *tap < window.size)
    };
    let groups = group(call)?;
    let weight = call.weight(1, "deep", WEIGHT, |weights| band(weights, sizes[0], depths, &tap))?;
    let bias = bias(call, depths)?;
    let conv = ConvTranspose2d {
        out: weights.dims[1].saturating_mul(groups).saturating_mul(depths),
        kernel: pair(&spatial.kernel[1..]),
        stride: pair(&spatial.strides[1..]),
        padding: square(&spatial.pads[1..]),
        output_padding: pair(&output_padding[1..]),
        dilation: pair(&spatial.dilations[1..]),
        groups,
        bias: bias.is_some(),
    };
    let inputs: Vec<Value> = [map, weight].into_iter().chain(bias).collect();
    let value = call.push_layer(conv, &inputs)?;
    give(call, value, depths, src)
}
