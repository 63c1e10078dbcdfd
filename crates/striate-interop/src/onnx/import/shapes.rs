//! What moves, picks, repeats and sums elements.

use super::super::attributes::wrong;
use super::super::constant::{Data, Int};
use super::super::error::Problem;
use super::super::fold::{self, Cut};
use super::call::{Call, INDEX, Read};
use super::{Batch, Known, Tensor};
use std::rc::Rc;
use striate_graph::Value;
use striate_graph::ops::{
    ArgMax, Concat, DepthToSpace, Expand, Flip, Fold, FoldKind, GlobalPool, Pad, PadAxis, PadMode, Padding,
    Permute, Reduce, Slice, Softmax, SpaceToDepth, Tile,
};

/// Dimensions as messages tell them.
pub(super) fn told(dims: &[Int]) -> String {
    let text = |dim: &Int| match dim {
        Int::Known(size) => size.to_string(),
        Int::Batch(1) => "N".into(),
        Int::Batch(times) => format!("{times}N"),
    };
    dims.iter().map(text).collect::<Vec<_>>().join("×")
}

pub(super) fn reshape(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let target: Vec<Int> = match call.attributes().ints("shape")? {
        Some(shape) => shape.iter().map(|size| Int::Known(*size)).collect(),
        None => match call.constant(1, "the shape")?.map(|shape| shape.data.clone()) {
            Some(Data::Ints(shape)) => shape,
            _ => return Err(Problem::NotInt { what: "the shape" }),
        },
    };
    let zero_is_zero = call.attributes().int("allowzero", 0)? != 0;
    let src = if src.has_batch && !keeps_batch(call, src, &target) { call.without_batch(src)? } else { src };
    let dims = call.dims(src);
    let fail = || Problem::Reshape { from: told(&dims), to: told(&target) };
    let own = call.own_dims(src);
    let rest = if src.has_batch { &target[1..] } else { &target[..] };
    let rest: Option<Vec<i64>> = rest.iter().map(|int| int.known()).collect();
    let mut rest = rest.ok_or_else(fail)?;
    // A zero keeps the dimension at its place, which counts the batch.
    for (at, size) in rest.iter_mut().enumerate().filter(|(_, size)| **size == 0) {
        if !zero_is_zero {
            *size = *own.get(at).ok_or_else(fail)? as i64;
        }
    }
    let dims = fold::reshape_target(&own, &rest, true).map_err(|_| fail())?;
    if dims.is_empty() {
        return Err(Problem::Unsupported("a reshape to a scalar".into()));
    }
    let value = call.reshape(src.value, dims)?;
    call.give(value, src)
}

/// Whether a reshape leaves the images of a batch apart, as its first dimension.
fn keeps_batch(call: &Call<'_, '_>, src: Tensor, target: &[Int]) -> bool {
    let own = call.own_dims(src);
    let Some((first, rest)) = target.split_first() else { return false };
    let elements: usize = own.iter().product();
    // The rest, if it says what an image has.
    let rest: Option<Vec<i64>> = rest
        .iter()
        .enumerate()
        .map(|(at, int)| match int.known()? {
            0 => own.get(at).map(|size| *size as i64),
            size => Some(size),
        })
        .collect();
    let Some(rest) = rest else { return false };
    let product = rest.iter().try_fold(1i64, |n, size| n.checked_mul(*size));
    let whole = product == Some(elements as i64) && !rest.contains(&-1);
    match first {
        Int::Batch(1) | Int::Known(0) => true,
        Int::Known(-1) => whole,
        Int::Known(size) => match call.importer.batch {
            Batch::Fixed(batch) => *size == batch as i64 && (whole || rest.contains(&-1)),
            // Files that say 1 although the batch is open were made for one image.
            Batch::Open => *size == 1 && (whole || rest.contains(&-1)),
            Batch::Absent => *size == 1 && whole,
        },
        Int::Batch(_) => false,
    }
}

pub(super) fn flatten(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let rank = call.rank(src);
    let axis = call.attributes().int("axis", 1)?;
    let axis = if axis == rank as i64 { rank } else { fold::axis(axis, rank)? };
    if src.has_batch && axis == 1 {
        let len = call.own_dims(src).iter().product();
        let value = call.reshape(src.value, vec![len])?;
        return call.give(value, src);
    }
    let src = call.without_batch(src)?;
    let dims = call.own_dims(src);
    let (outer, inner) = dims.split_at(axis);
    let value = call.reshape(src.value, vec![outer.iter().product(), inner.iter().product()])?;
    call.give(value, src)
}

pub(super) fn transpose(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let order = fold::permutation(call.attributes().ints("perm")?, call.rank(src))?;
    let (src, axes) = match (src.has_batch, order.split_first()) {
        (true, Some((0, rest))) => (src, rest.iter().map(|axis| axis - 1).collect()),
        _ => (call.without_batch(src)?, order),
    };
    if axes.is_sorted() {
        return call.give(src.value, src);
    }
    let value = call.push(Permute { axes }, &[src.value])?;
    call.give(value, src)
}

pub(super) fn unsqueeze(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let axes = call.ints("axes", 1)?.ok_or(Problem::NoAttribute { name: "axes" })?;
    let dims = fold::unsqueezed(&call.dims(src), &axes, Int::Known(1))?;
    let new_first = axes.iter().any(|axis| *axis == 0 || *axis == -(dims.len() as i64));
    let src = if new_first { call.without_batch(src)? } else { src };
    redimension(call, src, &dims)
}

pub(super) fn squeeze(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let dims = call.dims(src);
    let ones: Vec<bool> = dims.iter().map(|dim| *dim == Int::Known(1)).collect();
    let axes = call.ints("axes", 1)?;
    let gone = fold::squeezed(&ones, axes.as_deref())?;
    // Unless it is asked for, the batch stays: an image more does not change the network.
    let gone: Vec<usize> =
        gone.into_iter().filter(|axis| axes.is_some() || *axis > 0 || !src.has_batch).collect();
    let src = if gone.contains(&0) { call.without_batch(src)? } else { src };
    let left: Vec<Int> = (0..dims.len()).filter(|axis| !gone.contains(axis)).map(|axis| dims[axis]).collect();
    redimension(call, src, &left)
}

/// The value in ONNX's dimensions, of which the first is the batch where it has one.
fn redimension(call: &mut Call<'_, '_>, src: Tensor, dims: &[Int]) -> Read {
    let own = if src.has_batch { dims.get(1..).unwrap_or_default() } else { dims };
    let own: Option<Vec<usize>> = own.iter().map(|dim| usize::try_from(dim.known()?).ok()).collect();
    let own = own.ok_or(Problem::MixesImages)?;
    if own.is_empty() {
        let to = call.importer.graph.ty(src.value).with_dims([]);
        let value = call.push(Reduce::sum_to(to), &[src.value])?;
        return call.give(value, src);
    }
    let value = call.reshape(src.value, own)?;
    call.give(value, src)
}

/// Part of a value along one of its axes.
fn cut(call: &mut Call<'_, '_>, value: Value, cut: Cut) -> Result<Value, Problem> {
    let size = call.importer.graph.ty(value).dims[cut.axis];
    let Cut { axis, begin, len, step } = cut;
    if len == 0 {
        return Err(Problem::Unsupported("a slice that takes nothing".into()));
    }
    let forward = step > 0;
    let step = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX).min(size.max(1));
    let span = (len - 1) * step;
    let (start, end) = if forward { (begin, begin + span + 1) } else { (begin - span, begin + 1) };
    let mut value = value;
    if (start, end, step) != (0, size, 1) {
        value = call.push(Slice { axis, start, end, step }, &[value])?;
    }
    if forward || len == 1 { Ok(value) } else { call.push(Flip { axis }, &[value]) }
}

pub(super) fn slice(call: &mut Call<'_, '_>) -> Read {
    let missing = |name| Problem::NoAttribute { name };
    let (starts, ends) = (call.constant(1, "the starts")?, call.constant(2, "the ends")?);
    let list = |given: Option<Rc<super::Constant>>, name: &'static str, call: &Call<'_, '_>| match given {
        Some(given) => fold::known(&given, name),
        None => Ok(call.attributes().ints(name)?.ok_or(missing(name))?.to_vec()),
    };
    let (starts, ends) = (list(starts, "starts", call)?, list(ends, "ends", call)?);
    let axes = call.ints("axes", 3)?;
    let steps = call.constant(4, "the steps")?.map(|steps| fold::known(&steps, "steps")).transpose()?;
    let mut src = call.tensor(0)?;
    for (start, end, axis, step) in fold::cuts(&starts, &ends, axes.as_deref(), steps.as_deref())? {
        if src.has_batch && fold::axis(axis, call.rank(src))? == 0 && takes_all(call, start, end, step) {
            continue;
        }
        let (tensor, axis) = call.for_axis(src, axis)?;
        let size = call.own_dims(tensor)[axis];
        let value = cut(call, tensor.value, fold::cut(axis, size, start, end, step)?)?;
        src = Tensor { value, ..tensor };
    }
    call.give(src.value, src)
}

/// Whether a slice of the batch takes all of it.
fn takes_all(call: &Call<'_, '_>, start: i64, end: i64, step: i64) -> bool {
    let all = match call.importer.batch {
        Batch::Fixed(size) => end >= size as i64,
        _ => end >= i64::from(i32::MAX),
    };
    start == 0 && step == 1 && all
}

pub(super) fn split(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let given = call.ints("split", 1)?;
    let (src, axis) = call.for_axis(src, call.attributes().int("axis", 0)?)?;
    let size = call.own_dims(src)[axis];
    let parts = fold::parts(size, given.as_deref(), call.node.outputs.len())?;
    let mut begin = 0;
    let mut outputs = Vec::new();
    for len in parts {
        let value = cut(call, src.value, Cut { axis, begin, len, step: 1 })?;
        outputs.push(Known::Tensor(Tensor { value, ..src }));
        begin += len;
    }
    Ok(outputs)
}

pub(super) fn concat(call: &mut Call<'_, '_>) -> Read {
    let axis = call.attributes().int("axis", 1)?;
    let count = call.node.inputs.len();
    if count == 0 {
        return Err(Problem::Inputs { expected: "1 or more", found: 0 });
    }
    let mut tensors = (0..count).map(|index| call.tensor(index)).collect::<Result<Vec<_>, _>>()?;
    if let [only] = tensors[..] {
        return call.give(only.value, only);
    }
    let has_batch = tensors.iter().any(|tensor| tensor.has_batch);
    let first = tensors.iter().find(|tensor| tensor.has_batch).copied().unwrap_or(tensors[0]);
    let apart = has_batch
        && (tensors.iter().any(|tensor| !tensor.has_batch)
            || matches!(call.axis(first, axis), Err(Problem::MixesImages)));
    if apart {
        for tensor in &mut tensors {
            *tensor = call.without_batch(*tensor)?;
        }
    }
    // What is the same for all images is repeated to each.
    let batched = tensors.iter().any(|tensor| call.importer.graph.ty(tensor.value).batched);
    for tensor in &mut tensors {
        let ty = call.importer.graph.ty(tensor.value).clone();
        if batched && !ty.batched {
            let to = striate_graph::Type { batched: true, ..ty };
            tensor.value = call.push(Expand { to, scale: 1.0, mean: false }, &[tensor.value])?;
        }
    }
    let axis = call.axis(tensors[0], axis)?;
    let values: Vec<Value> = tensors.iter().map(|tensor| tensor.value).collect();
    let value = call.push(Concat { axis }, &values)?;
    call.give(value, tensors[0])
}

/// The most slices that one node may become.
const MAX_PARTS: usize = 1 << 10;

/// Elements of an axis by known indices: runs of them are slices.
pub(super) fn gather(call: &mut Call<'_, '_>) -> Read {
    let indices = call.constant(1, "the indices")?.ok_or(Problem::Inputs { expected: "2", found: 1 })?;
    let src = call.tensor(0)?;
    let (src, axis) = call.for_axis(src, call.attributes().int("axis", 0)?)?;
    let own = call.own_dims(src);
    let places = fold::known(&indices, "the indices")?;
    let places = places.iter().map(|at| fold::axis(*at, own[axis])).collect::<Result<Vec<usize>, _>>()?;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for place in places {
        match runs.last_mut() {
            Some((begin, len)) if *begin + *len == place => *len += 1,
            _ => runs.push((place, 1)),
        }
    }
    if runs.is_empty() || runs.len() > MAX_PARTS {
        return Err(Problem::Unsupported(format!(
            "{} runs of indices; 1 to {MAX_PARTS} are supported",
            runs.len()
        )));
    }
    let mut parts = Vec::new();
    for (begin, len) in runs {
        parts.push(cut(call, src.value, Cut { axis, begin, len, step: 1 })?);
    }
    let value = if parts.len() > 1 { call.push(Concat { axis }, &parts)? } else { parts[0] };
    let dims = [&own[..axis], &indices.dims, &own[axis + 1..]].concat();
    if dims.is_empty() {
        let to = call.importer.graph.ty(value).with_dims([]);
        let value = call.push(Reduce::sum_to(to), &[value])?;
        return call.give(value, src);
    }
    let value = call.reshape(value, dims)?;
    call.give(value, src)
}

pub(super) fn expand(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let shape = call.constant(1, "the shape")?.ok_or(Problem::Inputs { expected: "2", found: 1 })?;
    let Data::Ints(shape) = &shape.data else { return Err(Problem::NotInt { what: "the shape" }) };
    let first_is_batch = match shape.first() {
        Some(Int::Batch(1) | Int::Known(1)) => true,
        Some(Int::Known(size)) => call.importer.batch == Batch::Fixed(usize::try_from(*size).unwrap_or(0)),
        _ => false,
    };
    let rank = call.rank(src);
    let (src, shape) = match shape.len().cmp(&rank) {
        _ if !src.has_batch => (src, &shape[..]),
        std::cmp::Ordering::Less => (src, &shape[..]),
        std::cmp::Ordering::Equal if first_is_batch => (src, &shape[1..]),
        _ => (call.without_batch(src)?, &shape[..]),
    };
    let shape: Option<Vec<usize>> = shape.iter().map(|int| usize::try_from(int.known()?).ok()).collect();
    let shape = shape.ok_or(Problem::MixesImages)?;
    let own = call.own_dims(src);
    let dims = fold::broadcast(&own, &shape)?;
    let padded = [vec![1; dims.len() - own.len()], own].concat();
    let value = call.reshape(src.value, padded)?;
    let to = call.importer.graph.ty(value).with_dims(dims);
    if *call.importer.graph.ty(value) == to {
        return call.give(value, src);
    }
    let value = call.push(Expand { to, scale: 1.0, mean: false }, &[value])?;
    call.give(value, src)
}

pub(super) fn tile(call: &mut Call<'_, '_>) -> Read {
    let mut src = call.tensor(0)?;
    let repeats = call.ints("repeats", 1)?.ok_or(Problem::NoAttribute { name: "repeats" })?;
    if repeats.len() != call.rank(src) {
        return Err(wrong("repeats", format!("is {repeats:?} for {}", told(&call.dims(src)))));
    }
    for (axis, times) in repeats.iter().enumerate().filter(|(_, times)| **times != 1) {
        let (tensor, axis) = call.for_axis(src, axis as i64)?;
        let times = usize::try_from(*times).unwrap_or(0);
        src = Tensor { value: call.push(Tile { axis, times }, &[tensor.value])?, ..tensor };
    }
    call.give(src.value, src)
}

pub(super) fn pad(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let given = match call.attributes().ints("paddings")? {
        Some(given) => given.to_vec(),
        None => call.ints("pads", 1)?.ok_or(Problem::NoAttribute { name: "pads" })?,
    };
    let axes = call.constant(3, "the axes")?.map(|axes| fold::known(&axes, "axes")).transpose()?;
    let value = match call.floats(2, "the value")? {
        Some(value) => value.first().copied().unwrap_or(0.0),
        None => call.attributes().float("value", 0.0)?,
    };
    let mode = match call.attributes().text("mode", "constant")? {
        "constant" => PadMode::Zeros,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Replicate,
        "wrap" => PadMode::Circular,
        other => return Err(wrong("mode", format!("is {other}"))),
    };
    let pads = fold::pads(&given, axes.as_deref(), call.rank(src))?;
    let (mut src, pads) = match pads.split_first() {
        Some(([0, 0], rest)) if src.has_batch => (src, rest.to_vec()),
        _ => (call.without_batch(src)?, pads),
    };
    let sizes: Option<Vec<[usize; 2]>> = pads
        .iter()
        .map(|[before, behind]| Some([usize::try_from(*before).ok()?, usize::try_from(*behind).ok()?]))
        .collect();
    if let Some([channels, rows, columns]) = sizes.as_deref()
        && value == 0.0
        && src.has_batch
        && (mode == PadMode::Zeros || *channels == [0; 2])
    {
        let padding = Padding { top: rows[0], bottom: rows[1], left: columns[0], right: columns[1] };
        let pad = Pad { padding, mode, channels: *channels };
        let value =
            if padding.is_none() && *channels == [0; 2] { src.value } else { call.push(pad, &[src.value])? };
        return call.give(value, src);
    }
    for (axis, [before, behind]) in pads.into_iter().enumerate() {
        // A negative padding takes away.
        let size = call.own_dims(src)[axis];
        let less = |pad: i64| usize::try_from(pad.saturating_neg()).unwrap_or(0);
        if before < 0 || behind < 0 {
            let len = size.saturating_sub(less(before)).saturating_sub(less(behind));
            src.value = cut(call, src.value, Cut { axis, begin: less(before), len, step: 1 })?;
        }
        let more = |pad: i64| usize::try_from(pad).unwrap_or(0);
        if before > 0 || behind > 0 {
            let pads = [more(before), more(behind)];
            src.value = call.push(PadAxis { axis, pads, mode, value }, &[src.value])?;
        }
    }
    call.give(src.value, src)
}

pub(super) fn depth_to_space(call: &mut Call<'_, '_>) -> Read {
    let block = block(call)?;
    let crd = match call.attributes().text("mode", "DCR")? {
        "DCR" => false,
        "CRD" => true,
        other => return Err(wrong("mode", format!("is {other}"))),
    };
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let value = call.push(DepthToSpace { block, crd }, &[src.value])?;
    call.give(value, src)
}

pub(super) fn space_to_depth(call: &mut Call<'_, '_>) -> Read {
    let block = block(call)?;
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let value = call.push(SpaceToDepth { block, crd: false }, &[src.value])?;
    call.give(value, src)
}

fn block(call: &Call<'_, '_>) -> Result<usize, Problem> {
    let block = call.attributes().int("blocksize", 0)?;
    usize::try_from(block).map_err(|_| wrong("blocksize", format!("is {block}")))
}

pub(super) fn shape(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    call.sizes(fold::shape_part(call.dims(src), call.attributes())?)
}

pub(super) fn size(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let elements = call.own_dims(src).iter().product::<usize>() as i64;
    let size = match call.dims(src).first() {
        Some(Int::Batch(_)) => Int::Batch(elements),
        Some(Int::Known(batch)) if src.has_batch => Int::Known(batch * elements),
        _ => Int::Known(elements),
    };
    let constant = super::Constant { kind: INDEX, dims: vec![], data: Data::Ints(vec![size]) };
    Ok(vec![Known::Constant(Rc::new(constant))])
}

fn softmax_along(call: &mut Call<'_, '_>, log: bool) -> Read {
    let src = call.tensor(0)?;
    let (src, axis) = call.for_axis(src, call.attributes().int("axis", -1)?)?;
    let value = call.push(Softmax { log, axis }, &[src.value])?;
    call.give(value, src)
}

pub(super) fn softmax(call: &mut Call<'_, '_>) -> Read {
    softmax_along(call, false)
}

pub(super) fn log_softmax(call: &mut Call<'_, '_>) -> Read {
    softmax_along(call, true)
}

/// Before version 13: over all axes from `axis` on.
fn softmax_behind(call: &mut Call<'_, '_>, log: bool) -> Read {
    let src = call.tensor(0)?;
    let (src, axis) = call.for_axis(src, call.attributes().int("axis", 1)?)?;
    let own = call.own_dims(src);
    if own[axis + 1..].iter().all(|dim| *dim == 1) {
        let value = call.push(Softmax { log, axis }, &[src.value])?;
        return call.give(value, src);
    }
    let inner: usize = own[axis..].iter().product();
    let flat = [&own[..axis], &[inner]].concat();
    let value = call.reshape(src.value, flat)?;
    let value = call.push(Softmax { log, axis }, &[value])?;
    let value = call.reshape(value, own)?;
    call.give(value, src)
}

pub(super) fn softmax_from(call: &mut Call<'_, '_>) -> Read {
    softmax_behind(call, false)
}

pub(super) fn log_softmax_from(call: &mut Call<'_, '_>) -> Read {
    softmax_behind(call, true)
}

/// What a reduction does with the elements along axes.
enum Reduction {
    Sum,
    Mean,
    Fold(FoldKind),
}

fn reduce(call: &mut Call<'_, '_>, reduction: Reduction) -> Read {
    let src = call.tensor(0)?;
    let rank = call.rank(src);
    let axes = call.ints("axes", 1)?.unwrap_or_default();
    if axes.is_empty() && call.attributes().int("noop_with_empty_axes", 0)? != 0 {
        return call.give(src.value, src);
    }
    let mut axes = axes.iter().map(|axis| fold::axis(*axis, rank)).collect::<Result<Vec<usize>, _>>()?;
    if axes.is_empty() {
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    let src = if axes.first() == Some(&0) { call.without_batch(src)? } else { src };
    let axes: Vec<usize> = axes.into_iter().map(|axis| axis - usize::from(src.has_batch)).collect();
    let ty = call.importer.graph.ty(src.value).clone();
    let keep = call.attributes().int("keepdims", 1)? != 0;
    let mut dims = ty.dims.clone();
    axes.iter().for_each(|axis| dims[*axis] = 1);
    let to = ty.with_dims(dims);
    let is_map = src.has_batch && ty.chw().is_some() && axes == [1, 2];
    let value = match reduction {
        Reduction::Mean if is_map => call.push(GlobalPool::AVG, &[src.value])?,
        Reduction::Fold(FoldKind::Max) if is_map => call.push(GlobalPool::MAX, &[src.value])?,
        Reduction::Sum => call.push(Reduce::sum_to(to), &[src.value])?,
        Reduction::Mean => call.push(Reduce::mean_to(to), &[src.value])?,
        Reduction::Fold(kind) => call.push(Fold { kind, axes: axes.clone() }, &[src.value])?,
    };
    if keep {
        return call.give(value, src);
    }
    let left: Vec<usize> =
        (0..ty.dims.len()).filter(|axis| !axes.contains(axis)).map(|axis| ty.dims[axis]).collect();
    let value = if left.is_empty() {
        let to = ty.with_dims([]);
        call.push(Reduce::sum_to(to), &[value])?
    } else {
        call.reshape(value, left)?
    };
    call.give(value, src)
}

pub(super) fn reduce_sum(call: &mut Call<'_, '_>) -> Read {
    reduce(call, Reduction::Sum)
}

pub(super) fn reduce_mean(call: &mut Call<'_, '_>) -> Read {
    reduce(call, Reduction::Mean)
}

pub(super) fn reduce_max(call: &mut Call<'_, '_>) -> Read {
    reduce(call, Reduction::Fold(FoldKind::Max))
}

pub(super) fn reduce_min(call: &mut Call<'_, '_>) -> Read {
    reduce(call, Reduction::Fold(FoldKind::Min))
}

pub(super) fn reduce_prod(call: &mut Call<'_, '_>) -> Read {
    reduce(call, Reduction::Fold(FoldKind::Product))
}

fn arg(call: &mut Call<'_, '_>, least: bool) -> Read {
    let src = call.tensor(0)?;
    let (src, axis) = call.for_axis(src, call.attributes().int("axis", 0)?)?;
    let last = call.attributes().int("select_last_index", 0)? != 0;
    let mut dims = call.own_dims(src);
    let mut value = call.push(ArgMax { axis, least, last }, &[src.value])?;
    if call.attributes().int("keepdims", 1)? != 0 {
        dims[axis] = 1;
        value = call.reshape(value, dims)?;
    }
    call.give(value, Tensor { kind: INDEX, ..src })
}

pub(super) fn arg_max(call: &mut Call<'_, '_>) -> Read {
    arg(call, false)
}

pub(super) fn arg_min(call: &mut Call<'_, '_>) -> Read {
    arg(call, true)
}
