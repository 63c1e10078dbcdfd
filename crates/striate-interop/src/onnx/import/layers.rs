//! Layers with weights, and normalisations.

use super::super::attributes::wrong;
use super::super::constant::{Constant, Int};
use super::super::error::Problem;
use super::call::{BIAS, Call, Read, SCALE, SHIFT, WEIGHT, exchanged};
use super::pooling::{Spatial, lift, lower};
use super::{Known, Node, Tensor};
use std::rc::Rc;
use striate_graph::ops::{
    BatchNorm, Binary, Conv2d, ConvTranspose2d, Dropout, Linear, LocalResponseNorm, MatMul, Op, PadMode,
    Padding, Role, Scale, Standardize,
};
use striate_graph::{Init, Value};

/// An addition behind a layer that becomes its bias.
type Absorbed<'a> = (usize, &'a Node<'a>);

/// The bias of a layer of `out` outputs: its input `index`, or what the next node adds. `shape` says which dimensions,
/// seen with those of the output, a bias has.
fn bias<'a>(
    call: &mut Call<'_, 'a>,
    index: usize,
    out: usize,
    behind: usize,
) -> Result<(Option<Value>, Option<Absorbed<'a>>), Problem> {
    if call.has(index) {
        let value = call.weight(index, "bias", BIAS, |bias| vector(bias, out))?;
        return Ok((Some(value), None));
    }
    let Some((reader, node, source, term)) = call.term() else { return Ok((None, None)) };
    // The channels' axis, followed by as many of size 1.
    let fits = term.len() == out
        && term.dims.len() > behind
        && term.dims.len() <= behind + 2
        && term.dims[term.dims.len() - 1 - behind] == out
        && term.dims[term.dims.len() - behind..].iter().all(|dim| *dim == 1);
    if !fits {
        return Ok((None, None));
    }
    let value = call.importer.parameter(source, "bias", BIAS, || vector(&term, out))?;
    Ok((Some(value), Some((reader, node))))
}

/// The elements as a vector of `len`; one is repeated, and any other number left for the layer to refuse.
fn vector(constant: &Constant, len: usize) -> Constant {
    match constant.len() {
        1 => constant.pick(vec![len], std::iter::repeat_n(0, len)),
        _ => constant.reshaped(vec![len]),
    }
}

/// The result of a layer, also as the output of an addition that it took along.
fn finish<'a>(call: &mut Call<'_, 'a>, tensor: Tensor, absorbed: Option<Absorbed<'a>>) -> Read {
    if let Some((index, node)) = absorbed {
        call.take_along(index, node, Known::Tensor(tensor));
    }
    Ok(vec![Known::Tensor(tensor)])
}

/// The weights' dimensions: constants with `spatial` axes behind the channels'.
fn weights(call: &Call<'_, '_>) -> Result<Rc<Constant>, Problem> {
    let weights = call.constant(1, "weights")?.ok_or(Problem::Inputs { expected: "2 or 3", found: 1 })?;
    if weights.as_floats().is_none() {
        return Err(Problem::NotFloat { what: "weights" });
    }
    match weights.dims.len() {
        3..=5 if weights.len() > 0 => Ok(weights),
        _ => Err(wrong("kernel_shape", format!("does not go with weights {:?}", weights.dims))),
    }
}

/// Weights with a kernel of two dimensions.
fn flat(weights: &Constant) -> Constant {
    match weights.dims.as_slice() {
        [a, b, k] => weights.reshaped(vec![*a, *b, 1, *k]),
        _ => weights.clone(),
    }
}

pub(super) fn square(padding: &[[usize; 2]]) -> Padding {
    Padding { top: padding[0][0], bottom: padding[0][1], left: padding[1][0], right: padding[1][1] }
}

pub(super) fn pair(values: &[usize]) -> [usize; 2] {
    [values[0], values[1]]
}

pub(super) fn conv(call: &mut Call<'_, '_>) -> Read {
    let weights = weights(call)?;
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    if weights.dims.len() == 5 {
        return super::deep::conv(call, src, &weights);
    }
    let (map, spatial_rank) = lift(call, src)?;
    if spatial_rank != weights.dims.len() - 2 {
        let dims = call.own_dims(src);
        return Err(Problem::Combine { lhs: format!("{dims:?}"), rhs: format!("{:?}", weights.dims) });
    }
    let sizes = &call.own_dims(src)[1..].to_vec();
    let spatial = Spatial::read(call, Some(&weights.dims[2..]), sizes)?.two();
    let out = weights.dims[0];
    let groups = group(call)?;
    let weight = call.weight(1, "flat", WEIGHT, flat)?;
    let (bias, absorbed) = bias(call, 2, out, spatial_rank)?;
    let mut conv = Conv2d {
        out,
        kernel: pair(&spatial.kernel),
        stride: pair(&spatial.strides),
        padding: square(&spatial.pads),
        padding_mode: PadMode::Zeros,
        dilation: pair(&spatial.dilations),
        groups,
        bias: bias.is_some(),
    };
    let mut input = map;
    if conv.padding.is_none()
        && let Some((before, padding, mode)) = own_padding(call, map)
    {
        (input, conv.padding, conv.padding_mode) = (before, padding, mode);
    }
    let inputs: Vec<Value> = [input, weight].into_iter().chain(bias).collect();
    let value = call.push_layer(conv, &inputs)?;
    let value = lower(call, value, spatial_rank)?;
    finish(call, Tensor { value, ..src }, absorbed)
}

/// The padding of a map that this node alone reads.
fn own_padding(call: &Call<'_, '_>, map: Value) -> Option<(Value, Padding, PadMode)> {
    let Op::Pad(pad) = call.producer(map).op else { return None };
    let source = call.source(0);
    let alone = call.importer.readers.get(source).is_some_and(|readers| readers.len() == 1)
        && !call.importer.outputs.contains(source);
    (alone && pad.channels == [0; 2]).then(|| (call.producer(map).inputs[0], pad.padding, pad.mode))
}

pub(super) fn group(call: &Call<'_, '_>) -> Result<usize, Problem> {
    let group = call.attributes().int("group", 1)?;
    usize::try_from(group).map_err(|_| wrong("group", format!("is {group}")))
}

pub(super) fn conv_transpose(call: &mut Call<'_, '_>) -> Read {
    let weights = weights(call)?;
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    if weights.dims.len() == 5 {
        return super::deep::conv_transpose(call, src, &weights);
    }
    let (map, spatial_rank) = lift(call, src)?;
    let sizes = call.own_dims(src)[1..].to_vec();
    if spatial_rank != weights.dims.len() - 2 {
        let dims = call.own_dims(src);
        return Err(Problem::Combine { lhs: format!("{dims:?}"), rhs: format!("{:?}", weights.dims) });
    }
    let mut spatial = Spatial::read(call, Some(&weights.dims[2..]), &sizes)?;
    let attributes = call.attributes();
    let list = |name| {
        let values = attributes.ints(name)?.map(|values| Spatial::list(name, values, spatial_rank));
        values.transpose()
    };
    let mut output_padding = list("output_padding")?.unwrap_or(vec![0; spatial_rank]);
    let same = matches!(attributes.text("auto_pad", "NOTSET")?, "SAME_UPPER" | "SAME_LOWER");
    let wanted = match list("output_shape")? {
        Some(wanted) => Some(wanted),
        None if same => {
            Some(sizes.iter().zip(&spatial.strides).map(|(n, stride)| n.saturating_mul(*stride)).collect())
        }
        None => None,
    };
    if let Some(wanted) = wanted {
        let upper = attributes.text("auto_pad", "NOTSET")? == "SAME_UPPER";
        for axis in 0..spatial_rank {
            let full = (sizes[axis] - 1)
                .saturating_mul(spatial.strides[axis])
                .saturating_add(output_padding[axis])
                .saturating_add(spatial.span(axis));
            let total = full.saturating_sub(wanted[axis]);
            let (less, more) = (total / 2, total - total / 2);
            spatial.pads[axis] = if upper { [less, more] } else { [more, less] };
            output_padding[axis] += wanted[axis].saturating_sub(full);
        }
    }
    let output_padding = if spatial_rank == 1 { vec![0, output_padding[0]] } else { output_padding };
    let spatial = spatial.two();
    let groups = group(call)?;
    let out = weights.dims[1].saturating_mul(groups);
    let weight = call.weight(1, "flat", WEIGHT, flat)?;
    let (bias, absorbed) = bias(call, 2, out, spatial_rank)?;
    let conv = ConvTranspose2d {
        out,
        kernel: pair(&spatial.kernel),
        stride: pair(&spatial.strides),
        padding: square(&spatial.pads),
        output_padding: pair(&output_padding),
        dilation: pair(&spatial.dilations),
        groups,
        bias: bias.is_some(),
    };
    let inputs: Vec<Value> = [map, weight].into_iter().chain(bias).collect();
    let value = call.push_layer(conv, &inputs)?;
    let value = lower(call, value, spatial_rank)?;
    finish(call, Tensor { value, ..src }, absorbed)
}

pub(super) fn gemm(call: &mut Call<'_, '_>) -> Read {
    let attributes = call.attributes();
    let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
    let transposed = [attributes.int("transA", 0)? != 0, attributes.int("transB", 0)? != 0];
    let src = call.tensor(0)?;
    let own = call.own_dims(src);
    let weights = match call.known(1)? {
        Known::Constant(weights) if src.has_batch && own.len() == 1 && !transposed[0] => Some(weights),
        _ => None,
    };
    let Some(weights) = weights.filter(|weights| weights.dims.len() == 2) else {
        return general_gemm(call, src, alpha, beta, transposed);
    };
    let out = weights.dims[usize::from(!transposed[1])];
    let scaled = |weights: &Constant, factor: f32| match weights.as_floats() {
        Some(data) if factor != 1.0 => {
            Constant::floats(weights.dims.clone(), data.iter().map(|value| value * factor).collect())
        }
        _ => weights.clone(),
    };
    let form = if transposed[1] { "linear" } else { "transposed" };
    let weight = call.weight(1, form, WEIGHT, |weights| {
        let weights = scaled(weights, alpha);
        if transposed[1] { weights } else { exchanged(&weights) }
    })?;
    let is_bias = |term: &Constant| term.len() == 1 || term.len() == out && term.dims.last() == Some(&out);
    match call.inputs.get(2).cloned().flatten() {
        Some(Known::Constant(term)) if beta != 0.0 && is_bias(&term) => {
            let bias = call.weight(2, "bias", BIAS, |term| scaled(&vector(term, out), beta))?;
            let value = call.push_layer(Linear { out, bias: true }, &[src.value, weight, bias])?;
            call.give(value, src)
        }
        Some(_) if beta != 0.0 => {
            let value = call.push_layer(Linear { out, bias: false }, &[src.value, weight])?;
            add_term(call, Tensor { value, ..src }, beta)
        }
        _ => {
            let (bias, absorbed) = bias(call, 2, out, 0)?;
            let inputs: Vec<Value> = [src.value, weight].into_iter().chain(bias).collect();
            let value = call.push_layer(Linear { out, bias: bias.is_some() }, &inputs)?;
            finish(call, Tensor { value, ..src }, absorbed)
        }
    }
}

/// Adds `beta` times input 2.
fn add_term(call: &mut Call<'_, '_>, product: Tensor, beta: f32) -> Read {
    let term = call.known(2)?;
    let operands = vec![Known::Tensor(product), term];
    let aligned = super::elementwise::align(call, operands, &[0, 2])?;
    let mut term = aligned[1].value;
    if beta != 1.0 {
        term = call.push(Scale { factor: beta }, &[term])?;
    }
    let value = call.push(Binary::ADD, &[aligned[0].value, term])?;
    call.give(value, aligned[0])
}

/// Any product of two matrices, plus a term.
fn general_gemm(call: &mut Call<'_, '_>, src: Tensor, alpha: f32, beta: f32, transposed: [bool; 2]) -> Read {
    let other = call.tensor(1)?;
    let (src, other) = (call.without_batch(src)?, call.without_batch(other)?);
    let mut value = call.push(MatMul { transposed }, &[src.value, other.value])?;
    if alpha != 1.0 {
        value = call.push(Scale { factor: alpha }, &[value])?;
    }
    let product = Tensor { value, ..src };
    if call.has(2) && beta != 0.0 { add_term(call, product, beta) } else { call.give(value, product) }
}

pub(super) fn mat_mul(call: &mut Call<'_, '_>) -> Read {
    if let (Known::Tensor(src), Known::Constant(weights)) = (call.known(0)?, call.known(1)?)
        && src.has_batch
        && call.own_dims(src).len() == 1
        && weights.dims.len() == 2
    {
        let out = weights.dims[1];
        let weight = call.weight(1, "transposed", WEIGHT, exchanged)?;
        let (bias, absorbed) = bias(call, 2, out, 0)?;
        let inputs: Vec<Value> = [src.value, weight].into_iter().chain(bias).collect();
        let value = call.push_layer(Linear { out, bias: bias.is_some() }, &inputs)?;
        return finish(call, Tensor { value, ..src }, absorbed);
    }
    let side = |call: &mut Call<'_, '_>, index: usize| match call.known(index)? {
        Known::Tensor(tensor) => Ok(tensor),
        Known::Constant(constant) => call.constant_tensor(index, &constant, constant.dims.clone(), WEIGHT),
    };
    let (mut a, mut b) = (side(call, 0)?, side(call, 1)?);
    let single = |call: &Call<'_, '_>, tensor: Tensor| !call.importer.graph.ty(tensor.value).batched;
    // Where both have a batch, the stacks stand below it; where one has, the other's stack does.
    if a.has_batch != b.has_batch {
        let others = [b, a];
        for (own, other) in [&mut a, &mut b].into_iter().zip(others) {
            let too_long = !own.has_batch && call.rank(*own) >= call.rank(other);
            if too_long && single(call, *own) {
                let dims = call.own_dims(*own);
                let [1, rest @ ..] = dims.as_slice() else { return Err(Problem::MixesImages) };
                own.value = call.reshape(own.value, rest.to_vec())?;
            } else if !own.has_batch && !single(call, *own) {
                return Err(Problem::MixesImages);
            }
        }
    } else if a.has_batch && call.rank(a) != call.rank(b) {
        return Err(Problem::MixesImages);
    }
    let (left, right) = (call.own_dims(a), call.own_dims(b));
    // A vector of one image, or on its own, is a matrix of one row (left) or column (right).
    let row = left.len() == 1;
    let column = right.len() == 1 && !b.has_batch;
    let a_value = if row { call.reshape(a.value, vec![1, left[0]])? } else { a.value };
    let b_value = if column { call.reshape(b.value, vec![right[0], 1])? } else { b.value };
    let mut value = call.push(MatMul::default(), &[a_value, b_value])?;
    if row || column {
        let mut dims = call.importer.graph.ty(value).dims.clone();
        if column {
            dims.pop();
        }
        if row {
            dims.remove(dims.len() - usize::from(!column) - 1);
        }
        value = call.reshape(value, dims)?;
    }
    call.give(value, Tensor { has_batch: a.has_batch || b.has_batch, ..a })
}

/// What is left to one: 0.1 of 0.9, although neither is a sum of powers of two.
pub(crate) fn complement(value: f32) -> f32 {
    let decimal: f64 = value.to_string().parse().unwrap_or(f64::from(value));
    (1.0 - decimal) as f32
}

pub(super) fn batch_norm(call: &mut Call<'_, '_>) -> Read {
    let attributes = call.attributes();
    if attributes.int("training_mode", 0)? != 0 {
        return batch_norm_of_batch(call);
    }
    if attributes.int("spatial", 1)? != 1 {
        return Err(Problem::Unsupported(
            "a batch norm with statistics for each position (spatial 0)".into(),
        ));
    }
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let eps = attributes.float("epsilon", 1e-5)?;
    let momentum = complement(attributes.float("momentum", 0.9)?);
    let own = call.own_dims(src);
    let value = match own.as_slice() {
        [channels, length] => call.reshape(src.value, vec![*channels, 1, *length])?,
        [channels, depth, height, width] => {
            call.reshape(src.value, vec![*channels, depth * height, *width])?
        }
        _ => src.value,
    };
    let channels = own.first().copied().unwrap_or(0);
    let mut inputs = vec![value];
    let statistic = |init| (Role::Statistic, init);
    let kinds = [SCALE, SHIFT, statistic(Init::ZEROS), statistic(Init::ONES)];
    for (index, kind) in kinds.into_iter().enumerate() {
        inputs.push(call.weight(1 + index, "vector", kind, |constant| vector(constant, channels))?);
    }
    let value = call.push_layer(BatchNorm { eps, momentum, training: false }, &inputs)?;
    let value = call.reshape(value, own)?;
    call.give(value, src)
}

/// A batch norm that normalises by its own batch, which is then part of the values: y, and the running mean and
/// variance moved towards the batch's.
fn batch_norm_of_batch(call: &mut Call<'_, '_>) -> Read {
    let (eps, kept) = (call.attributes().float("epsilon", 1e-5)?, call.attributes().float("momentum", 0.9)?);
    let src = call.tensor(0)?;
    let src = call.without_batch(src)?;
    let ty = call.importer.graph.ty(src.value).clone();
    if ty.dims.len() < 2 {
        return Err(Problem::Unsupported("a batch norm without channels".into()));
    }
    let axes: Vec<usize> = (0..ty.dims.len()).filter(|axis| *axis != 1).collect();
    let mut dims = vec![1; ty.dims.len()];
    dims[1] = ty.dims[1];
    let seen = |call: &mut Call<'_, '_>, index, kind| {
        call.weight(index, "channels", kind, |constant| constant.reshaped(dims.clone()))
    };
    let (scale, shift) = (seen(call, 1, SCALE)?, seen(call, 2, SHIFT)?);
    let normal = call.push(Standardize { axes, eps }, &[src.value])?;
    let scaled = call.push(Binary::MULTIPLY, &[normal, scale])?;
    let y = call.push(Binary::ADD, &[scaled, shift])?;
    let mut outputs = vec![Known::Tensor(Tensor { value: y, ..src })];
    if call.node.outputs.len() > 1 {
        let mean_to = |call: &mut Call<'_, '_>, value| {
            call.push(striate_graph::ops::Reduce::mean_to(ty.with_dims(dims.clone())), &[value])
        };
        let mean = mean_to(call, src.value)?;
        let centred = call.push(Binary::SUBTRACT, &[src.value, mean])?;
        let square = call.push(Binary::MULTIPLY, &[centred, centred])?;
        let variance = mean_to(call, square)?;
        for (index, of_batch, init) in [(3, mean, Init::ZEROS), (4, variance, Init::ONES)] {
            let running = seen(call, index, (Role::Statistic, init))?;
            let running = call.push(Scale { factor: kept }, &[running])?;
            let moved = call.push(Scale { factor: complement(kept) }, &[of_batch])?;
            let sum = call.push(Binary::ADD, &[running, moved])?;
            let value = call.reshape(sum, vec![ty.dims[1]])?;
            outputs.push(Known::Tensor(Tensor { value, ..src }));
        }
    }
    Ok(outputs)
}

/// A vector for the channels, seen with dimensions of 1 behind it.
fn per_channel(
    call: &mut Call<'_, '_>,
    index: usize,
    rank: usize,
    kind: (Role, Init),
) -> Result<Value, Problem> {
    const FORMS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];
    call.weight(index, FORMS[rank.min(5)], kind, |constant| {
        let mut dims = vec![1; rank];
        dims[0] = constant.len();
        constant.reshaped(dims)
    })
}

pub(super) fn instance_norm(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let rank = call.own_dims(src).len();
    if rank < 2 {
        return Err(Problem::Unsupported("instance normalisation without a map".into()));
    }
    let eps = call.attributes().float("epsilon", 1e-5)?;
    let (scale, shift) = (per_channel(call, 1, rank, SCALE)?, per_channel(call, 2, rank, SHIFT)?);
    let value = call.push(Standardize { axes: (1..rank).collect(), eps }, &[src.value])?;
    let value = call.push(Binary::MULTIPLY, &[value, scale])?;
    let value = call.push(Binary::ADD, &[value, shift])?;
    call.give(value, src)
}

pub(super) fn layer_norm(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let (src, first) = call.for_axis(src, call.attributes().int("axis", -1)?)?;
    let rank = call.own_dims(src).len();
    let eps = call.attributes().float("epsilon", 1e-5)?;
    let mut value = call.push(Standardize { axes: (first..rank).collect(), eps }, &[src.value])?;
    let scale = call.tensor(1)?;
    value = call.push(Binary::MULTIPLY, &[value, scale.value])?;
    if call.has(2) {
        let shift = call.tensor(2)?;
        value = call.push(Binary::ADD, &[value, shift.value])?;
    }
    call.give(value, src)
}

pub(super) fn lrn(call: &mut Call<'_, '_>) -> Read {
    let attributes = call.attributes();
    let size = attributes.int("size", 0)?;
    let size = usize::try_from(size).map_err(|_| wrong("size", format!("is {size}")))?;
    if size % 2 == 0 {
        // ONNX's window then reaches farther behind than before, Striate's the other way round.
        return Err(Problem::Unsupported(format!(
            "local response normalisation over {size} channels, an even number"
        )));
    }
    let norm = LocalResponseNorm {
        size,
        alpha: attributes.float("alpha", 1e-4)?,
        beta: attributes.float("beta", 0.75)?,
        k: attributes.float("bias", 1.0)?,
    };
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let value = call.push(norm, &[src.value])?;
    call.give(value, src)
}

pub(super) fn dropout(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let ratio = match call.floats(1, "the ratio")? {
        Some(ratio) => ratio.first().copied().unwrap_or(0.5),
        None => call.attributes().float("ratio", 0.5)?,
    };
    let training = call.constant(2, "training_mode")?.and_then(|mode| mode.known_ints());
    let batched = call.importer.graph.ty(src.value).batched;
    if training.is_some_and(|mode| mode.first().is_some_and(|on| *on != 0)) && ratio != 0.0 {
        return Err(Problem::Unsupported("dropout that is random in use (training_mode)".into()));
    }
    let value = if batched && ratio > 0.0 && ratio < 1.0 {
        call.push(Dropout::new(ratio), &[src.value])?
    } else {
        src.value
    };
    let mut outputs = vec![Known::Tensor(Tensor { value, ..src })];
    // The mask of what is kept: all.
    let dims: Option<Vec<usize>> =
        call.dims(src).into_iter().map(|dim| dim.known().and_then(|dim| usize::try_from(dim).ok())).collect();
    if let Some(dims) = dims.filter(|dims| {
        let len = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        call.node.outputs.len() > 1 && len.is_some_and(|len| len <= super::FOLD_LIMIT)
    }) {
        let len = dims.iter().product();
        let data = super::Data::Ints(vec![Int::Known(1); len]);
        outputs.push(Known::Constant(Rc::new(Constant { kind: super::Kind::Bool, dims, data })));
    }
    Ok(outputs)
}
