//! Windows over maps, and pooling. Maps of one or three dimensions are seen as maps of two.

use super::super::attributes::wrong;
use super::super::constant::Constant;
use super::super::error::Problem;
use super::Tensor;
use super::call::{Call, Read};
use striate_graph::Value;
use striate_graph::ops::{
    Activation, ActivationKind, AvgPool2d, Binary, BinaryKind, GlobalPool, MaxPool2d, PadAxis, PadMode,
    Padding, PoolKind, Scale, Slice, Window,
};

/// The longest side of a window or of padding: longer ones are mistakes.
const MAX_EXTENT: usize = 1 << 20;

/// A window's attributes, an entry for each axis of a map.
#[derive(Clone, Debug)]
pub(super) struct Spatial {
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    pub(super) pads: Vec<[usize; 2]>,
    pub(super) ceil: bool,
}

impl Spatial {
    /// Whole numbers of an attribute, as many as `rank`, none negative.
    pub(super) fn list(name: &'static str, values: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
        let sizes: Option<Vec<usize>> = values
            .iter()
            .map(|value| usize::try_from(*value).ok().filter(|value| *value <= MAX_EXTENT))
            .collect();
        sizes
            .filter(|sizes| sizes.len() == rank)
            .ok_or_else(|| wrong(name, format!("is {values:?}, not {rank} sizes of at most {MAX_EXTENT}")))
    }

    /// The window of a node over a map of `sizes`; its kernel is that of the weights, where there are such.
    pub(super) fn read(
        call: &Call<'_, '_>,
        weights: Option<&[usize]>,
        sizes: &[usize],
    ) -> Result<Self, Problem> {
        let attributes = call.attributes();
        let rank = sizes.len();
        let list = |name| attributes.ints(name)?.map(|values| Self::list(name, values, rank)).transpose();
        let kernel = match (list("kernel_shape")?, weights) {
            (Some(kernel), None) => kernel,
            (None, Some(weights)) => weights.to_vec(),
            (Some(kernel), Some(weights)) if kernel == weights => kernel,
            (Some(kernel), Some(weights)) => {
                return Err(wrong("kernel_shape", format!("is {kernel:?}, but the weights' is {weights:?}")));
            }
            (None, None) => return Err(Problem::NoAttribute { name: "kernel_shape" }),
        };
        let strides = list("strides")?.unwrap_or(vec![1; rank]);
        let dilations = list("dilations")?.unwrap_or(vec![1; rank]);
        let ceil = attributes.int("ceil_mode", 0)? != 0;
        let mut spatial = Self { kernel, strides, dilations, pads: vec![[0; 2]; rank], ceil };
        match attributes.text("auto_pad", "NOTSET")? {
            "NOTSET" => {
                if let Some(values) = attributes.ints("pads")? {
                    let values = Self::list("pads", values, 2 * rank)?;
                    spatial.pads = (0..rank).map(|axis| [values[axis], values[rank + axis]]).collect();
                }
            }
            "VALID" => {}
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..rank {
                    let stride = spatial.strides[axis].max(1);
                    let reach = (sizes[axis].div_ceil(stride) - 1) * stride + spatial.span(axis);
                    let total = reach.saturating_sub(sizes[axis]);
                    let (less, more) = (total / 2, total - total / 2);
                    spatial.pads[axis] = if mode == "SAME_UPPER" { [less, more] } else { [more, less] };
                }
            }
            other => return Err(wrong("auto_pad", format!("is {other}"))),
        }
        Ok(spatial)
    }

    /// Inputs from the first tap to the last along an axis.
    pub(super) fn span(&self, axis: usize) -> usize {
        self.kernel[axis].saturating_sub(1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    /// The same for a map of two dimensions: one of one dimension lies in a single row.
    pub(super) fn two(self) -> Self {
        if self.kernel.len() != 1 {
            return self;
        }
        let before = |list: Vec<usize>| [vec![1], list].concat();
        Self {
            kernel: before(self.kernel),
            strides: before(self.strides),
            dilations: before(self.dilations),
            pads: [vec![[0; 2]], self.pads].concat(),
            ..self
        }
    }

    /// Whether there is no kernel for it: taps that are apart, or more padding than half the window.
    fn is_unusual(&self) -> bool {
        self.dilations.iter().any(|dilation| *dilation != 1)
            || self.pads.iter().zip(&self.kernel).any(|(pads, size)| pads[0].max(pads[1]) > size / 2)
    }

    fn axes(&self, axes: [usize; 2]) -> Self {
        let pick = |list: &[usize]| axes.map(|axis| list[axis]).to_vec();
        Self {
            kernel: pick(&self.kernel),
            strides: pick(&self.strides),
            dilations: pick(&self.dilations),
            pads: axes.map(|axis| self.pads[axis]).to_vec(),
            ceil: self.ceil,
        }
    }
}

/// A value `[C, L]` or `[C, H, W]` as a map, and the number of its axes behind the channels.
pub(super) fn lift(call: &mut Call<'_, '_>, tensor: Tensor) -> Result<(Value, usize), Problem> {
    match call.own_dims(tensor).as_slice() {
        [channels, length] => Ok((call.reshape(tensor.value, vec![*channels, 1, *length])?, 1)),
        [_, _, _] => Ok((tensor.value, 2)),
        dims => Err(Problem::Unsupported(format!(
            "a map of {} dimensions; those of one and two are supported",
            dims.len().saturating_sub(1)
        ))),
    }
}

/// A map as [`lift`] found it.
pub(super) fn lower(call: &mut Call<'_, '_>, value: Value, rank: usize) -> Result<Value, Problem> {
    let dims = call.importer.graph.ty(value).dims.clone();
    if rank == 1 { call.reshape(value, vec![dims[0], dims[2]]) } else { Ok(value) }
}

/// Pools a map of one, two or three dimensions: the third is pooled on its own, which for maxima and means comes to the
/// same.
fn pool(
    call: &mut Call<'_, '_>,
    src: Tensor,
    apply: impl Fn(&mut Call<'_, '_>, Value, &Spatial) -> Result<Value, Problem>,
) -> Result<Value, Problem> {
    let dims = call.own_dims(src);
    let spatial = Spatial::read(call, None, dims.get(1..).unwrap_or_default())?;
    if let [channels, depth, height, width] = *dims.as_slice() {
        let value = call.reshape(src.value, vec![channels * depth, height, width])?;
        let value = apply(call, value, &spatial.axes([1, 2]))?;
        let [_, height, width] = call.importer.graph.ty(value).chw().unwrap_or([0; 3]);
        let value = call.reshape(value, vec![channels, depth, height * width])?;
        let mut deep = spatial.axes([0, 1]);
        (deep.kernel[1], deep.strides[1], deep.dilations[1], deep.pads[1]) = (1, 1, 1, [0; 2]);
        let value = apply(call, value, &deep)?;
        let depth = call.importer.graph.ty(value).chw().unwrap_or([0; 3])[1];
        return call.reshape(value, vec![channels, depth, height, width]);
    }
    let (map, rank) = lift(call, src)?;
    let value = apply(call, map, &spatial.two())?;
    lower(call, value, rank)
}

/// What is taken of a window.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Maximum,
    Mean { count_include_pad: bool },
}

/// The most taps of a window that is pooled slice by slice.
const MAX_TAPS: usize = 256;

/// Pools a map axis by axis: the slices that each tap of the window reads are combined.
fn by_slices(call: &mut Call<'_, '_>, map: Value, spatial: &Spatial, of: Of) -> Result<Value, Problem> {
    let mut value = map;
    for at in 0..2 {
        let axis = at + 1;
        let (size, stride, dilation, pad) =
            (spatial.kernel[at], spatial.strides[at], spatial.dilations[at], spatial.pads[at]);
        let window = Window { size, stride, dilation, pad, ceil: spatial.ceil };
        let from = call.importer.graph.ty(value).dims[axis];
        let possible = size > 0 && size <= MAX_TAPS && stride > 0 && dilation > 0;
        let outputs = if possible { window.output(from) } else { None }.filter(|outputs| *outputs > 0);
        let Some(outputs) = outputs else {
            let text =
                format!("pooling {from} elements by a window of {size}, {dilation} apart, padded by {pad:?}");
            return Err(Problem::Unsupported(text));
        };
        if (size, stride, pad) == (1, 1, [0; 2]) {
            continue;
        }
        let last = (outputs - 1) * stride + window.span();
        let pads = [pad[0], last.saturating_sub(from + pad[0])];
        if pads != [0; 2] {
            let border = if of == Of::Maximum { f32::MIN } else { 0.0 };
            let op = PadAxis { axis, pads, mode: PadMode::Zeros, value: border };
            value = call.push(op, &[value])?;
        }
        let mut combined = None;
        for tap in 0..size {
            let start = tap * dilation;
            let end = start + (outputs - 1) * stride + 1;
            let slice = call.push(Slice { axis, start, end, step: stride }, &[value])?;
            let kind = if of == Of::Maximum { BinaryKind::Maximum } else { BinaryKind::Add };
            combined = Some(match combined {
                None => slice,
                Some(before) => call.push(Binary { kind }, &[before, slice])?,
            });
        }
        value = combined.unwrap_or(value);
        if let Of::Mean { count_include_pad } = of {
            value = shares(call, value, axis, window, from, outputs, count_include_pad)?;
        }
    }
    Ok(value)
}

/// Divides sums by how many of a window's taps count.
fn shares(
    call: &mut Call<'_, '_>,
    sums: Value,
    axis: usize,
    window: Window,
    from: usize,
    outputs: usize,
    count_include_pad: bool,
) -> Result<Value, Problem> {
    let [before, behind] = window.pad;
    let counted = if count_include_pad { 0..before + from + behind } else { before..before + from };
    let count = |output: usize| {
        let taps = (0..window.size).map(|tap| output * window.stride + tap * window.dilation);
        taps.filter(|at| counted.contains(at)).count().max(1) as f32
    };
    let counts: Vec<f32> = (0..outputs).map(count).collect();
    if counts.iter().all(|count| *count == counts[0]) {
        return call.push(Scale { factor: 1.0 / counts[0] }, &[sums]);
    }
    let mut dims = vec![1; 3];
    dims[axis] = outputs;
    let shares = counts.into_iter().map(|count| 1.0 / count).collect();
    let shares = call.buffer("share", Constant::floats(dims, shares))?;
    call.push(Binary::MULTIPLY, &[sums, shares])
}

fn padding(pads: &[[usize; 2]]) -> Padding {
    Padding { top: pads[0][0], bottom: pads[0][1], left: pads[1][0], right: pads[1][1] }
}

fn pair(list: &[usize]) -> [usize; 2] {
    [list[0], list[1]]
}

pub(super) fn max_pool(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let value = pool(call, src, |call, map, spatial| {
        if spatial.is_unusual() {
            return by_slices(call, map, spatial, Of::Maximum);
        }
        let pool = MaxPool2d {
            kernel: pair(&spatial.kernel),
            stride: pair(&spatial.strides),
            padding: padding(&spatial.pads),
            ceil: spatial.ceil,
            save_indices: false,
        };
        call.push(pool, &[map])
    })?;
    call.give(value, src)
}

fn average(
    call: &mut Call<'_, '_>,
    map: Value,
    spatial: &Spatial,
    count_include_pad: bool,
) -> Result<Value, Problem> {
    if spatial.is_unusual() {
        return by_slices(call, map, spatial, Of::Mean { count_include_pad });
    }
    let pool = AvgPool2d {
        kernel: pair(&spatial.kernel),
        stride: pair(&spatial.strides),
        padding: padding(&spatial.pads),
        ceil: spatial.ceil,
        count_include_pad: count_include_pad || spatial.pads.iter().all(|pads| *pads == [0; 2]),
    };
    call.push(pool, &[map])
}

pub(super) fn average_pool(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let include = call.attributes().int("count_include_pad", 0)? != 0;
    let value = pool(call, src, |call, map, spatial| average(call, map, spatial, include))?;
    call.give(value, src)
}

/// (Σ |x|^p)^(1/p) over a window: a mean, scaled, between powers.
pub(super) fn lp_pool(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let p = call.attributes().int("p", 2)?;
    if p < 1 {
        return Err(wrong("p", format!("is {p}")));
    }
    let mut value = match p {
        2 => call.push(Binary::MULTIPLY, &[src.value, src.value])?,
        _ => call.push(Activation { kind: ActivationKind::Abs }, &[src.value])?,
    };
    if p > 2 {
        let exponent = call.scalar(p as f32)?;
        value = call.push(Binary { kind: BinaryKind::Power }, &[value, exponent])?;
    }
    let value = pool(call, Tensor { value, ..src }, |call, map, spatial| {
        if spatial.ceil {
            return Err(Problem::Unsupported(
                "LpPool whose last window hangs over the edge (ceil_mode)".into(),
            ));
        }
        let mean = average(call, map, spatial, true)?;
        let taps = spatial.kernel.iter().product::<usize>() as f32;
        call.push(Scale { factor: taps }, &[mean])
    })?;
    let value = match p {
        1 => value,
        2 => call.push(Activation { kind: ActivationKind::Sqrt }, &[value])?,
        _ => {
            let exponent = call.scalar(1.0 / p as f32)?;
            call.push(Binary { kind: BinaryKind::Power }, &[value, exponent])?
        }
    };
    call.give(value, src)
}

fn global(call: &mut Call<'_, '_>, kind: PoolKind) -> Read {
    let src = call.tensor(0)?;
    let src = call.with_batch(src)?;
    let dims = call.own_dims(src);
    let [channels, ref space @ ..] = *dims.as_slice() else {
        return Err(Problem::Unsupported("pooling without a map".into()));
    };
    let map = match space {
        [_, _] => src.value,
        space => {
            let width = space.last().copied().unwrap_or(1);
            let height = space.iter().rev().skip(1).product();
            call.reshape(src.value, vec![channels, height, width])?
        }
    };
    let value = call.push(GlobalPool { kind, save_indices: false }, &[map])?;
    let value = call.reshape(value, [vec![channels], vec![1; space.len()]].concat())?;
    call.give(value, src)
}

pub(super) fn global_average_pool(call: &mut Call<'_, '_>) -> Read {
    global(call, PoolKind::Avg)
}

pub(super) fn global_max_pool(call: &mut Call<'_, '_>) -> Read {
    global(call, PoolKind::Max)
}
