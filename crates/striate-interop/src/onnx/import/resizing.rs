//! Resize and Upsample.

use super::super::attributes::wrong;
use super::super::constant::{Constant, Data, Int};
use super::super::error::Problem;
use super::super::fold;
use super::Tensor;
use super::call::{Call, Read};
use super::shapes::told;
use striate_graph::Value;
use striate_graph::ops::{Binary, Coordinates, MatMul, Resize, ResizeMode, Rounding, Upsample, UpsampleMode};

/// What an axis is resized to: its size, and the factor where that is what the file gives.
type Target = (usize, Option<f32>);

/// Sizes from factors: rounded down.
fn by_factors(factors: &[f32], dims: &[Int], sizes: &[usize]) -> Result<Vec<Target>, Problem> {
    if factors.len() != dims.len() {
        return Err(wrong("scales", format!("has {} numbers for {}", factors.len(), told(dims))));
    }
    let target = |(factor, size): (&f32, &usize)| {
        let to = (f64::from(*factor) * *size as f64).floor();
        (to as usize, (*factor != 1.0).then_some(*factor))
    };
    Ok(factors.iter().zip(sizes).map(target).collect())
}

pub(super) fn resize(call: &mut Call<'_, '_>) -> Read {
    let attributes = call.attributes();
    let old = call.version() < 11;
    let (scales_at, sizes_at) = if old { (1, usize::MAX) } else { (2, 3) };
    let linear = matches!(attributes.text("mode", "nearest")?, "linear" | "bilinear");
    let coordinates = match attributes.text("coordinate_transformation_mode", "half_pixel")? {
        _ if old => Coordinates::Asymmetric,
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        // Of the window that the region is; replaced below.
        "tf_crop_and_resize" => Coordinates::HalfPixel,
        other => return Err(wrong("coordinate_transformation_mode", format!("is {other}"))),
    };
    let mode = match attributes.text("mode", "nearest")? {
        "nearest" => ResizeMode::Nearest(match attributes.text("nearest_mode", "round_prefer_floor")? {
            _ if old => Rounding::Down,
            "round_prefer_floor" => Rounding::HalfDown,
            "round_prefer_ceil" => Rounding::HalfUp,
            "floor" => Rounding::Down,
            "ceil" => Rounding::Up,
            other => return Err(wrong("nearest_mode", format!("is {other}"))),
        }),
        "cubic" => ResizeMode::Cubic {
            a: attributes.float("cubic_coeff_a", -0.75)?,
            exclude_outside: attributes.int("exclude_outside", 0)? != 0,
        },
        _ if linear => ResizeMode::Linear,
        other => return Err(wrong("mode", format!("is {other}"))),
    };
    let src = call.tensor(0)?;
    let src = if src.has_batch { src } else { call.with_batch(src).unwrap_or(src) };
    let rank = call.rank(src);
    let dims = call.dims(src);
    // The batch counts as one: it keeps its size.
    let sizes: Vec<usize> =
        dims.iter().map(|dim| dim.known().and_then(|n| usize::try_from(n).ok()).unwrap_or(1)).collect();
    let axes = match attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|axis| fold::axis(*axis, rank)).collect::<Result<Vec<usize>, _>>()?,
        None => (0..rank).collect(),
    };
    let of_axes: Vec<usize> = axes.iter().map(|axis| sizes[*axis]).collect();
    let named: Vec<Int> = axes.iter().map(|axis| dims[*axis]).collect();
    let scales = match attributes.floats("scales")? {
        Some(scales) => Some(scales.to_vec()),
        None => call.floats(scales_at, "the scales")?.filter(|scales| !scales.is_empty()),
    };
    let targets = match (scales, call.constant(sizes_at, "the sizes")?) {
        (Some(scales), _) => by_factors(&scales, &named, &of_axes)?,
        (None, Some(wanted)) => by_sizes(call, &wanted.data, &of_axes)?,
        (None, None) => return Err(Problem::NoAttribute { name: "scales" }),
    };
    let mut changes = Vec::new();
    for (axis, (size, scale)) in axes.iter().zip(targets) {
        let changed = size != sizes[*axis] || scale.is_some();
        match axis.checked_sub(usize::from(src.has_batch)) {
            Some(axis) if changed => changes.push((axis, size, scale)),
            None if changed => return Err(Problem::MixesImages),
            _ => {}
        }
    }
    let region = match attributes.text("coordinate_transformation_mode", "")? {
        "tf_crop_and_resize" => Some(region(call, &axes, src)?),
        _ => None,
    };
    if region.is_none() && attributes.int("antialias", 0)? == 0 {
        let value = resized(call, src, mode, coordinates, &changes)?;
        return call.give(value, src);
    }
    let mut value = src.value;
    for (axis, size, scale) in changes {
        let from = sizes[axis + usize::from(src.has_batch)];
        let window = region.as_ref().map(|region| region[axis]);
        let sampling = Sampling { from, size, scale, coordinates, window, mode };
        value = sampling.apply(call, value, axis)?;
    }
    call.give(value, src)
}

/// The part of each axis that is resized, from 0 to 1, and all of those that are not named.
fn region(call: &Call<'_, '_>, axes: &[usize], src: Tensor) -> Result<Vec<[f32; 2]>, Problem> {
    let given = call.floats(1, "the region")?.unwrap_or_default();
    if given.len() != 2 * axes.len() {
        return Err(Problem::Unsupported(format!(
            "a region of {} numbers for {} axes",
            given.len(),
            axes.len()
        )));
    }
    let mut region = vec![[0.0, 1.0]; call.own_dims(src).len()];
    for (index, axis) in axes.iter().enumerate() {
        if let Some(axis) = axis.checked_sub(usize::from(src.has_batch)) {
            region[axis] = [given[index], given[axes.len() + index]];
        }
    }
    Ok(region)
}

/// Resizing along an axis for which there is no kernel, as a matrix.
struct Sampling {
    from: usize,
    size: usize,
    scale: Option<f32>,
    coordinates: Coordinates,
    /// The part of the axis that is resized.
    window: Option<[f32; 2]>,
    mode: ResizeMode,
}

/// The most elements of such a matrix.
const MAX_MATRIX: usize = 1 << 22;

impl Sampling {
    /// Where an element of the result lies, and the factor.
    fn place(&self, output: usize) -> (f64, f64) {
        let (from, size, at) = (self.from as f64, self.size as f64, output as f64);
        let factor = self.scale.map_or(size / from, f64::from);
        if let Some([start, end]) = self.window.map(|window| window.map(f64::from)) {
            let reach = (end - start) * (from - 1.0);
            let offset = if self.size > 1 { at * reach / (size - 1.0) } else { reach / 2.0 };
            return (start * (from - 1.0) + offset, factor);
        }
        let half_pixel = (at + 0.5) / factor - 0.5;
        let place = match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::PytorchHalfPixel => {
                if self.size > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            Coordinates::HalfPixelSymmetric => half_pixel + from / 2.0 * (1.0 - size / (factor * from)),
            Coordinates::AlignCorners => {
                if self.size > 1 {
                    at * (from - 1.0) / (size - 1.0)
                } else {
                    0.0
                }
            }
            Coordinates::Asymmetric => at / factor,
        };
        (place, factor)
    }

    /// The weights of the input's elements in one of the result; `None` where it lies outside the input.
    fn weights(&self, output: usize, antialias: bool) -> Option<Vec<f32>> {
        let (place, factor) = self.place(output);
        let last = self.from as f64 - 1.0;
        if self.window.is_some() && !(0.0..=last).contains(&place) {
            return None;
        }
        let stretch = if antialias { factor.min(1.0) } else { 1.0 };
        let (reach, exclude) = match self.mode {
            ResizeMode::Cubic { exclude_outside, .. } => (2.0, exclude_outside),
            _ => (1.0, false),
        };
        let base = place.ceil() - 1.0;
        let first = (-reach / stretch).floor() + 1.0;
        let mut weights = vec![0.0f64; self.from];
        let taps = (2.0 - 2.0 * first) as i64;
        for tap in 0..taps.min(8 * self.from as i64 + 16) {
            let at = base + first + tap as f64;
            let weight = self.kernel((at - place) * stretch);
            if !exclude || (0.0..=last).contains(&at) {
                weights[at.clamp(0.0, last) as usize] += weight;
            }
        }
        let sum: f64 = weights.iter().sum();
        Some(weights.into_iter().map(|weight| (weight / sum) as f32).collect())
    }

    /// How much an element counts at this distance.
    fn kernel(&self, distance: f64) -> f64 {
        let t = distance.abs();
        match self.mode {
            ResizeMode::Cubic { a, .. } => {
                let a = f64::from(a);
                if t <= 1.0 {
                    ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
                } else if t < 2.0 {
                    ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
                } else {
                    0.0
                }
            }
            _ => (1.0 - t).max(0.0),
        }
    }

    fn apply(&self, call: &mut Call<'_, '_>, value: Value, axis: usize) -> Result<Value, Problem> {
        let rank = call.importer.graph.ty(value).dims.len();
        if matches!(self.mode, ResizeMode::Nearest(_)) || axis + 2 < rank || rank < 2 {
            let text = "resizing so other axes than rows and columns, or to the nearest element";
            return Err(Problem::Unsupported(text.into()));
        }
        if self.size.checked_mul(self.from).is_none_or(|len| len > MAX_MATRIX) {
            return Err(Problem::TooMuch { limit: MAX_MATRIX });
        }
        let antialias = call.attributes().int("antialias", 0)? != 0;
        let outside = call.attributes().float("extrapolation_value", 0.0)?;
        let rows: Vec<Option<Vec<f32>>> =
            (0..self.size).map(|output| self.weights(output, antialias)).collect();
        let beyond: Vec<f32> = rows.iter().map(|row| if row.is_none() { outside } else { 0.0 }).collect();
        let zeros = vec![0.0; self.from];
        let matrix: Vec<f32> =
            rows.iter().flat_map(|row| row.as_ref().unwrap_or(&zeros).iter().copied()).collect();
        let matrix = call.buffer("samples", Constant::floats([self.size, self.from], matrix))?;
        let columns = axis + 1 == rank;
        let mut value = if columns {
            call.push(MatMul { transposed: [false, true] }, &[value, matrix])?
        } else {
            call.push(MatMul::default(), &[matrix, value])?
        };
        if beyond.iter().any(|value| *value != 0.0) {
            let dims = if columns { vec![1, self.size] } else { vec![self.size, 1] };
            let beyond = call.buffer("beyond", Constant::floats(dims, beyond))?;
            value = call.push(Binary::ADD, &[value, beyond])?;
        }
        Ok(value)
    }
}

/// The targets that sizes are, under the policy of how their ratio is kept.
fn by_sizes(call: &Call<'_, '_>, wanted: &Data, sizes: &[usize]) -> Result<Vec<Target>, Problem> {
    let Data::Ints(wanted) = wanted else { return Err(Problem::NotInt { what: "the sizes" }) };
    if wanted.len() != sizes.len() {
        return Err(wrong("sizes", format!("has {} numbers for {} axes", wanted.len(), sizes.len())));
    }
    let target = |(int, size): (&Int, &usize)| match int {
        Int::Batch(1) => Ok(*size),
        Int::Known(size) => usize::try_from(*size).map_err(|_| wrong("sizes", format!("is {size}"))),
        Int::Batch(_) => Err(Problem::MixesImages),
    };
    let wanted = wanted.iter().zip(sizes).map(target).collect::<Result<Vec<usize>, _>>()?;
    let ratios = wanted.iter().zip(sizes).map(|(to, from)| *to as f64 / *from as f64);
    let ratio = match call.attributes().text("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => None,
        "not_larger" => ratios.reduce(f64::min),
        "not_smaller" => ratios.reduce(f64::max),
        other => return Err(wrong("keep_aspect_ratio_policy", format!("is {other}"))),
    };
    let Some(ratio) = ratio else { return Ok(wanted.into_iter().map(|size| (size, None)).collect()) };
    let size = |from: &usize| ((ratio * *from as f64).round() as usize, Some(ratio as f32));
    Ok(sizes.iter().map(size).collect())
}

/// Resizes axes one after another; maps for which there is one kernel at once.
fn resized(
    call: &mut Call<'_, '_>,
    src: Tensor,
    mode: ResizeMode,
    coordinates: Coordinates,
    changes: &[(usize, usize, Option<f32>)],
) -> Result<Value, Problem> {
    let own = call.own_dims(src);
    let exact = changes
        .iter()
        .all(|(axis, size, scale)| scale.is_none_or(|scale| scale * own[*axis] as f32 == *size as f32));
    let at_once = match (mode, coordinates) {
        (ResizeMode::Nearest(Rounding::Down), Coordinates::Asymmetric) => Some(UpsampleMode::Nearest),
        (ResizeMode::Linear, Coordinates::HalfPixel) => Some(UpsampleMode::Bilinear { align_corners: false }),
        (ResizeMode::Linear, Coordinates::AlignCorners) => {
            Some(UpsampleMode::Bilinear { align_corners: true })
        }
        _ => None,
    };
    if let (Some(mode), [_, height, width], true) = (at_once, own.as_slice(), src.has_batch)
        && exact
        && !changes.is_empty()
        && changes.iter().all(|(axis, ..)| *axis > 0)
    {
        let size = |axis, own| changes.iter().find(|(at, ..)| *at == axis).map_or(own, |(_, size, _)| *size);
        let size = [size(1, *height), size(2, *width)];
        return call.push(Upsample { size, mode }, &[src.value]);
    }
    let mut value = src.value;
    for (axis, size, scale) in changes {
        let resize = Resize { axis: *axis, size: *size, scale: *scale, mode, coordinates };
        value = call.push(resize, &[value])?;
    }
    Ok(value)
}

/// Upsampling by factors, in versions 7 to 9: as Resize of version 10.
pub(super) fn upsample(call: &mut Call<'_, '_>) -> Read {
    resize(call)
}
