//! Arithmetic on what is known while a network is read: the computation of shapes, mostly, and of constants.
//!
//! Whole numbers keep their width (sums wrap as ONNX's do); floats are float32. The batch size takes part as a number
//! that is not known: it can be multiplied, divided and passed on.

use super::attributes::{Attributes, wrong};
use super::constant::{Constant, Data, INT64, Int, Kind, kind, offsets, strides};
use super::error::Problem;
use std::path::Path;
use std::rc::Rc;

/// An operator whose inputs are all known.
pub(crate) struct Fold<'c> {
    pub(crate) attributes: Attributes<'c>,
    pub(crate) inputs: &'c [Option<Rc<Constant>>],
    /// Where tensors in files of their own lie.
    pub(crate) folder: Option<&'c Path>,
    /// The most elements the result may have.
    pub(crate) limit: usize,
}

/// What a rule gives.
pub(crate) type Folded = Result<Vec<Constant>, Problem>;

impl<'c> Fold<'c> {
    pub(crate) fn input(&self, index: usize) -> Result<&'c Constant, Problem> {
        self.optional(index)
            .ok_or(Problem::Inputs { expected: "more", found: self.inputs.iter().flatten().count() })
    }

    fn optional(&self, index: usize) -> Option<&'c Constant> {
        self.inputs.get(index).and_then(|input| input.as_deref())
    }

    /// Whole numbers that older versions have as an attribute and newer ones as an input.
    fn ints(&self, attribute: &'static str, index: usize) -> Result<Option<Vec<i64>>, Problem> {
        if let Some(values) = self.attributes.ints(attribute)? {
            return Ok(Some(values.to_vec()));
        }
        self.optional(index).map(|input| known(input, attribute)).transpose()
    }

    /// The number of elements of a result, if it may be computed.
    fn room(&self, dims: &[usize]) -> Result<(), Problem> {
        let len = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
        match len {
            Some(len) if len <= self.limit => Ok(()),
            _ => Err(Problem::TooMuch { limit: self.limit }),
        }
    }
}

/// Whole numbers that must be known.
pub(crate) fn known(input: &Constant, what: &'static str) -> Result<Vec<i64>, Problem> {
    match &input.data {
        Data::Ints(_) => input.known_ints().ok_or(Problem::NotConstant { what }),
        Data::Floats(_) => Err(Problem::NotInt { what }),
    }
}

/// `axis`, counted from the end where it is negative.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, Problem> {
    let from_end = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_end
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|axis| *axis < rank)
        .ok_or(Problem::Axis { axis, rank })
}

/// The dimensions of two shapes combined, aligned at their ends.
pub(crate) fn broadcast(lhs: &[usize], rhs: &[usize]) -> Result<Vec<usize>, Problem> {
    let rank = lhs.len().max(rhs.len());
    let at = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    let combine = |axis| match (at(lhs, axis), at(rhs, axis)) {
        (a, b) if a == b => Some(a),
        (1, d) | (d, 1) => Some(d),
        _ => None,
    };
    let dims: Option<Vec<usize>> = (0..rank).map(combine).collect();
    dims.ok_or_else(|| Problem::Combine { lhs: format!("{lhs:?}"), rhs: format!("{rhs:?}") })
}

/// For each element of `dims`, the offset in a tensor of shape `from` that is repeated to it.
pub(crate) fn repeated(from: &[usize], dims: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let own = strides(from);
    let missing = dims.len() - from.len();
    let step =
        |axis: usize| if axis < missing || from[axis - missing] == 1 { 0 } else { own[axis - missing] };
    let steps: Vec<usize> = (0..dims.len()).map(step).collect();
    offsets(dims, &steps)
}

fn expand(input: &Constant, dims: &[usize]) -> Constant {
    input.pick(dims.to_vec(), repeated(&input.dims, dims))
}

/// The value that a whole number of the kind has: wrapped to its bits.
fn wrap(value: i64, kind: Kind) -> i64 {
    match kind {
        Kind::Int { bits: 8, signed: true } => i64::from(value as i8),
        Kind::Int { bits: 8, signed: false } => i64::from(value as u8),
        Kind::Int { bits: 16, signed: true } => i64::from(value as i16),
        Kind::Int { bits: 16, signed: false } => i64::from(value as u16),
        Kind::Int { bits: 32, signed: true } => i64::from(value as i32),
        Kind::Int { bits: 32, signed: false } => i64::from(value as u32),
        Kind::Bool => i64::from(value != 0),
        _ => value,
    }
}

const BATCH: Problem = Problem::NotConstant { what: "the batch size" };

/// An operation of two numbers.
struct Arithmetic {
    float: fn(f32, f32) -> f32,
    int: fn(i64, i64, Kind) -> Option<i64>,
    batch: fn(Int, Int) -> Option<Int>,
}

fn arithmetic(fold: &Fold<'_>, op: Arithmetic) -> Folded {
    let (lhs, rhs) = (fold.input(0)?, fold.input(1)?);
    let dims = broadcast(&lhs.dims, &rhs.dims)?;
    fold.room(&dims)?;
    let pairs = repeated(&lhs.dims, &dims).zip(repeated(&rhs.dims, &dims));
    let data = match (&lhs.data, &rhs.data) {
        (Data::Floats(a), Data::Floats(b)) => {
            Data::Floats(pairs.map(|(i, j)| (op.float)(a[i], b[j])).collect())
        }
        (Data::Ints(a), Data::Ints(b)) => {
            let combine = |(i, j): (usize, usize)| match (a[i], b[j]) {
                (Int::Known(a), Int::Known(b)) => {
                    let value = (op.int)(a, b, lhs.kind);
                    value.map(|value| Int::Known(wrap(value, lhs.kind))).ok_or_else(|| {
                        Problem::Unsupported(format!("{a} and {b} have no result: a division by zero"))
                    })
                }
                (a, b) => (op.batch)(a, b).ok_or(BATCH),
            };
            Data::Ints(pairs.map(combine).collect::<Result<_, _>>()?)
        }
        _ => return Err(Problem::NotInt { what: "both inputs, where one holds whole numbers," }),
    };
    Ok(vec![Constant { kind: lhs.kind, dims, data }])
}

pub(crate) fn add(fold: &Fold<'_>) -> Folded {
    arithmetic(
        fold,
        Arithmetic {
            float: |a, b| a + b,
            int: |a, b, _| Some(a.wrapping_add(b)),
            batch: |a, b| match (a, b) {
                (Int::Batch(a), Int::Batch(b)) => Some(Int::Batch(a.checked_add(b)?)),
                (batch, Int::Known(0)) | (Int::Known(0), batch) => Some(batch),
                _ => None,
            },
        },
    )
}

pub(crate) fn sub(fold: &Fold<'_>) -> Folded {
    arithmetic(
        fold,
        Arithmetic {
            float: |a, b| a - b,
            int: |a, b, _| Some(a.wrapping_sub(b)),
            batch: |a, b| match (a, b) {
                (Int::Batch(a), Int::Batch(b)) if a == b => Some(Int::Known(0)),
                (Int::Batch(a), Int::Batch(b)) => Some(Int::Batch(a.checked_sub(b)?)),
                (batch, Int::Known(0)) => Some(batch),
                _ => None,
            },
        },
    )
}

pub(crate) fn mul(fold: &Fold<'_>) -> Folded {
    arithmetic(
        fold,
        Arithmetic {
            float: |a, b| a * b,
            int: |a, b, _| Some(a.wrapping_mul(b)),
            batch: |a, b| match (a, b) {
                (Int::Batch(_), Int::Known(0)) | (Int::Known(0), Int::Batch(_)) => Some(Int::Known(0)),
                (Int::Batch(a), Int::Known(b)) | (Int::Known(a), Int::Batch(b)) => {
                    Some(Int::Batch(a.checked_mul(b)?))
                }
                _ => None,
            },
        },
    )
}

pub(crate) fn div(fold: &Fold<'_>) -> Folded {
    arithmetic(
        fold,
        Arithmetic {
            float: |a, b| a / b,
            int: |a, b, kind| match kind {
                Kind::Int { bits: 64, signed: false } => (a as u64).checked_div(b as u64).map(|q| q as i64),
                _ => (b != 0).then(|| a.wrapping_div(b)),
            },
            batch: |a, b| match (a, b) {
                (Int::Batch(a), Int::Known(b)) if b != 0 && a % b == 0 => Some(Int::Batch(a / b)),
                (Int::Batch(a), Int::Batch(b)) if b != 0 && a % b == 0 => Some(Int::Known(a / b)),
                _ => None,
            },
        },
    )
}

pub(crate) fn pow(fold: &Fold<'_>) -> Folded {
    let float = |a: f32, b: f32| a.powf(b);
    let int = |a: i64, b: i64, _| u32::try_from(b).ok().map(|b| a.wrapping_pow(b));
    arithmetic(fold, Arithmetic { float, int, batch: |_, _| None })
}

pub(crate) fn minimum(fold: &Fold<'_>) -> Folded {
    extreme(fold, |a, b| a.min(b), |a, b| a.min(b))
}

pub(crate) fn maximum(fold: &Fold<'_>) -> Folded {
    extreme(fold, |a, b| a.max(b), |a, b| a.max(b))
}

fn extreme(fold: &Fold<'_>, float: fn(f32, f32) -> f32, int: fn(i64, i64) -> i64) -> Folded {
    let mut result = fold.input(0)?.clone();
    for index in 1..fold.inputs.len() {
        result = combine(fold, &result, fold.input(index)?, float, int)?;
    }
    Ok(vec![result])
}

/// Element by element, of known numbers.
fn combine(
    fold: &Fold<'_>,
    lhs: &Constant,
    rhs: &Constant,
    float: impl Fn(f32, f32) -> f32,
    int: impl Fn(i64, i64) -> i64,
) -> Result<Constant, Problem> {
    let dims = broadcast(&lhs.dims, &rhs.dims)?;
    fold.room(&dims)?;
    let pairs = repeated(&lhs.dims, &dims).zip(repeated(&rhs.dims, &dims));
    let data = match (&lhs.data, &rhs.data) {
        (Data::Floats(a), Data::Floats(b)) => Data::Floats(pairs.map(|(i, j)| float(a[i], b[j])).collect()),
        (Data::Ints(_), Data::Ints(_)) => {
            let (a, b) = (known(lhs, "an operand")?, known(rhs, "an operand")?);
            Data::Ints(pairs.map(|(i, j)| Int::Known(int(a[i], b[j]))).collect())
        }
        _ => return Err(Problem::NotInt { what: "both inputs, where one holds whole numbers," }),
    };
    Ok(Constant { kind: lhs.kind, dims, data })
}

/// A comparison: the result is true or false.
fn compare(fold: &Fold<'_>, float: fn(f32, f32) -> bool, int: fn(i64, i64) -> bool) -> Folded {
    let (lhs, rhs) = (fold.input(0)?, fold.input(1)?);
    let one = |yes: bool| if yes { 1.0 } else { 0.0 };
    let result = combine(fold, lhs, rhs, |a, b| one(float(a, b)), |a, b| i64::from(int(a, b)))?;
    Ok(vec![cast_to(&result, Kind::Bool)?])
}

pub(crate) fn equal(fold: &Fold<'_>) -> Folded {
    compare(fold, |a, b| a == b, |a, b| a == b)
}

pub(crate) fn less(fold: &Fold<'_>) -> Folded {
    compare(fold, |a, b| a < b, |a, b| a < b)
}

pub(crate) fn greater(fold: &Fold<'_>) -> Folded {
    compare(fold, |a, b| a > b, |a, b| a > b)
}

pub(crate) fn and(fold: &Fold<'_>) -> Folded {
    compare(fold, |_, _| false, |a, b| a != 0 && b != 0)
}

pub(crate) fn or(fold: &Fold<'_>) -> Folded {
    compare(fold, |_, _| false, |a, b| a != 0 || b != 0)
}

pub(crate) fn not(fold: &Fold<'_>) -> Folded {
    each(fold, |_| 0.0, |value| i64::from(value == 0))
}

/// Element by element, of known numbers.
fn each(fold: &Fold<'_>, float: impl Fn(f32) -> f32, int: impl Fn(i64) -> i64) -> Folded {
    let input = fold.input(0)?;
    let data = match &input.data {
        Data::Floats(data) => Data::Floats(data.iter().map(|value| float(*value)).collect()),
        Data::Ints(_) => {
            let data = known(input, "the input")?;
            Data::Ints(data.iter().map(|value| Int::Known(wrap(int(*value), input.kind))).collect())
        }
    };
    Ok(vec![Constant { kind: input.kind, dims: input.dims.clone(), data }])
}

pub(crate) fn neg(fold: &Fold<'_>) -> Folded {
    each(fold, |value| -value, i64::wrapping_neg)
}

pub(crate) fn abs(fold: &Fold<'_>) -> Folded {
    each(fold, f32::abs, i64::wrapping_abs)
}

pub(crate) fn floor(fold: &Fold<'_>) -> Folded {
    each(fold, f32::floor, |value| value)
}

pub(crate) fn ceil(fold: &Fold<'_>) -> Folded {
    each(fold, f32::ceil, |value| value)
}

/// A function of floats alone.
fn of_floats(fold: &Fold<'_>, function: impl Fn(f32) -> f32) -> Folded {
    if fold.input(0)?.kind != Kind::Float {
        return Err(Problem::NotFloat { what: "the input" });
    }
    each(fold, function, |value| value)
}

pub(crate) fn sqrt(fold: &Fold<'_>) -> Folded {
    of_floats(fold, f32::sqrt)
}

pub(crate) fn exp(fold: &Fold<'_>) -> Folded {
    of_floats(fold, f32::exp)
}

pub(crate) fn reciprocal(fold: &Fold<'_>) -> Folded {
    of_floats(fold, |value| 1.0 / value)
}

pub(crate) fn relu(fold: &Fold<'_>) -> Folded {
    each(fold, |value| value.max(0.0), |value| value.max(0))
}

pub(crate) fn clip(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    match &input.data {
        Data::Floats(_) => {
            let bound = |attribute, index, default: f32| match fold.optional(index) {
                Some(bound) => bound
                    .as_floats()
                    .and_then(<[f32]>::first)
                    .copied()
                    .ok_or(Problem::NotFloat { what: "the bounds" }),
                None => fold.attributes.float(attribute, default),
            };
            let (low, high) = (bound("min", 1, f32::NEG_INFINITY)?, bound("max", 2, f32::INFINITY)?);
            each(fold, |value| value.max(low).min(high), |value| value)
        }
        Data::Ints(_) => {
            let bound = |index, default: i64| match fold.optional(index) {
                Some(bound) => Ok(known(bound, "the bounds")?.first().copied().unwrap_or(default)),
                None => Ok(default),
            };
            let (low, high) = (bound(1, i64::MIN)?, bound(2, i64::MAX)?);
            each(fold, |value| value, |value| value.max(low).min(high))
        }
    }
}

/// The same elements as another type; halves keep the precision of float32.
pub(crate) fn cast_to(input: &Constant, to: Kind) -> Result<Constant, Problem> {
    let data = match (&input.data, to) {
        (Data::Floats(data), Kind::Float) => Data::Floats(data.clone()),
        (Data::Floats(data), Kind::Bool) => {
            Data::Ints(data.iter().map(|value| Int::Known(i64::from(*value != 0.0))).collect())
        }
        (Data::Floats(data), Kind::Int { .. }) => {
            Data::Ints(data.iter().map(|value| Int::Known(wrap(*value as i64, to))).collect())
        }
        (Data::Ints(_), Kind::Float) => {
            let data = known(input, "the batch size as a float")?;
            let unsigned = matches!(input.kind, Kind::Int { bits: 64, signed: false });
            let float = |value: &i64| if unsigned { *value as u64 as f32 } else { *value as f32 };
            Data::Floats(data.iter().map(float).collect())
        }
        (Data::Ints(data), _) => Data::Ints(
            data.iter()
                .map(|int| match int {
                    Int::Known(value) => Int::Known(wrap(*value, to)),
                    Int::Batch(_) if to == Kind::Bool => Int::Known(1),
                    batch => *batch,
                })
                .collect(),
        ),
    };
    Ok(Constant { kind: to, dims: input.dims.clone(), data })
}

pub(crate) fn cast(fold: &Fold<'_>) -> Folded {
    if !fold.attributes.has("to") {
        return Err(Problem::NoAttribute { name: "to" });
    }
    Ok(vec![cast_to(fold.input(0)?, kind(fold.attributes.int("to", 0)?)?)?])
}

pub(crate) fn identity(fold: &Fold<'_>) -> Folded {
    Ok(vec![fold.input(0)?.clone()])
}

pub(crate) fn constant(fold: &Fold<'_>) -> Folded {
    let Fold { attributes, folder, .. } = fold;
    let value = if let Some(tensor) = attributes.tensor("value")? {
        Constant::read(tensor, *folder)?
    } else if attributes.has("value_float") {
        Constant::floats([], vec![attributes.float("value_float", 0.0)?])
    } else if let Some(values) = attributes.floats("value_floats")? {
        Constant::floats([values.len()], values.to_vec())
    } else if attributes.has("value_int") {
        let value = Int::Known(attributes.int("value_int", 0)?);
        Constant { kind: INT64, dims: vec![], data: Data::Ints(vec![value]) }
    } else if let Some(values) = attributes.ints("value_ints")? {
        Constant::sizes(values.iter().map(|value| Int::Known(*value)).collect())
    } else {
        return Err(Problem::NoAttribute { name: "value" });
    };
    Ok(vec![value])
}

/// Dimensions given as whole numbers.
fn dims_of(values: &[i64]) -> Result<Vec<usize>, Problem> {
    let dims: Option<Vec<usize>> = values.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    dims.ok_or_else(|| Problem::Dims { dims: values.to_vec() })
}

pub(crate) fn constant_of_shape(fold: &Fold<'_>) -> Folded {
    let dims = dims_of(&known(fold.input(0)?, "the shape")?)?;
    fold.room(&dims)?;
    let value = match fold.attributes.tensor("value")? {
        Some(tensor) => Constant::read(tensor, fold.folder)?,
        None => Constant::floats([1], vec![0.0]),
    };
    if value.len() != 1 {
        return Err(wrong("value", format!("has {} elements in place of one", value.len())));
    }
    let count = dims.iter().product();
    Ok(vec![value.pick(dims, std::iter::repeat_n(0, count))])
}

pub(crate) fn expand_to(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let dims = broadcast(&input.dims, &dims_of(&known(fold.input(1)?, "the shape")?)?)?;
    fold.room(&dims)?;
    Ok(vec![expand(input, &dims)])
}

pub(crate) fn range(fold: &Fold<'_>) -> Folded {
    let part = |index| Ok::<_, Problem>(known(fold.input(index)?, "a bound")?.first().copied().unwrap_or(0));
    let (start, limit, step) = (part(0)?, part(1)?, part(2)?);
    if step == 0 {
        return Err(Problem::Unsupported("a step of 0".into()));
    }
    let span = i128::from(limit) - i128::from(start);
    let step = i128::from(step);
    let count = usize::try_from((span / step + i128::from(span % step != 0)).max(0)).unwrap_or(usize::MAX);
    let count = if span.signum() == step.signum() { count } else { 0 };
    fold.room(&[count])?;
    let values =
        (0..count).map(|index| Int::Known((i128::from(start) + step * index as i128) as i64)).collect();
    Ok(vec![Constant { kind: fold.input(0)?.kind, dims: vec![count], data: Data::Ints(values) }])
}

pub(crate) fn gather(fold: &Fold<'_>) -> Folded {
    let (input, indices) = (fold.input(0)?, fold.input(1)?);
    let axis = axis(fold.attributes.int("axis", 0)?, input.dims.len())?;
    let size = input.dims[axis];
    let places = known(indices, "the indices")?;
    let places: Result<Vec<usize>, Problem> = places.iter().map(|place| self::axis(*place, size)).collect();
    let places = places?;
    let dims = [&input.dims[..axis], &indices.dims, &input.dims[axis + 1..]].concat();
    fold.room(&dims)?;
    let inner: usize = input.dims[axis + 1..].iter().product();
    let outer: usize = input.dims[..axis].iter().product();
    let picked = (0..outer).flat_map(|outer| {
        places.iter().flat_map(move |place| {
            let from = (outer * size + place) * inner;
            from..from + inner
        })
    });
    Ok(vec![input.pick(dims.clone(), picked)])
}

pub(crate) fn concat(fold: &Fold<'_>) -> Folded {
    let first = fold.input(0)?;
    let axis = axis(fold.attributes.int("axis", 1)?, first.dims.len())?;
    let mut parts = Vec::new();
    for index in 0..fold.inputs.len() {
        let part = fold.input(index)?;
        let same = |(at, (a, b)): (usize, (&usize, &usize))| at == axis || a == b;
        let fits = part.dims.len() == first.dims.len() && part.kind == first.kind;
        if !fits || !part.dims.iter().zip(&first.dims).enumerate().all(same) {
            let (lhs, rhs) = (format!("{:?}", first.dims), format!("{:?}", part.dims));
            return Err(Problem::Combine { lhs, rhs });
        }
        parts.push(part);
    }
    let mut dims = first.dims.clone();
    dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
    fold.room(&dims)?;
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let rows = (0..outer).flat_map(|outer| {
        parts.iter().map(move |part| {
            let len = part.dims[axis] * inner;
            (*part, outer * len..(outer + 1) * len)
        })
    });
    let data = match first.data {
        Data::Floats(_) => Data::Floats(
            rows.flat_map(|(part, row)| part.as_floats().unwrap_or_default()[row].iter().copied()).collect(),
        ),
        Data::Ints(_) => Data::Ints(
            rows.flat_map(|(part, row)| match &part.data {
                Data::Ints(data) => data[row].to_vec(),
                Data::Floats(_) => Vec::new(),
            })
            .collect(),
        ),
    };
    Ok(vec![Constant { kind: first.kind, dims, data }])
}

/// The dimensions with ones inserted at `axes` of the result.
pub(crate) fn unsqueezed<T: Copy>(dims: &[T], axes: &[i64], one: T) -> Result<Vec<T>, Problem> {
    let rank = dims.len() + axes.len();
    let mut places = axes.iter().map(|place| axis(*place, rank)).collect::<Result<Vec<usize>, _>>()?;
    places.sort_unstable();
    if let Some(pair) = places.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong("axes", format!("names axis {} twice", pair[0])));
    }
    let mut dims = dims.to_vec();
    places.into_iter().for_each(|place| dims.insert(place, one));
    Ok(dims)
}

/// The axes that squeezing `dims` removes: those named, or all of size 1.
pub(crate) fn squeezed(is_one: &[bool], axes: Option<&[i64]>) -> Result<Vec<usize>, Problem> {
    let Some(axes) = axes else {
        return Ok((0..is_one.len()).filter(|axis| is_one[*axis]).collect());
    };
    let places = axes.iter().map(|place| axis(*place, is_one.len())).collect::<Result<Vec<usize>, _>>()?;
    match places.iter().find(|place| !is_one[**place]) {
        Some(place) => Err(wrong("axes", format!("names axis {place}, whose size is not 1"))),
        None => Ok(places),
    }
}

pub(crate) fn unsqueeze(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let axes = fold.ints("axes", 1)?.ok_or(Problem::NoAttribute { name: "axes" })?;
    Ok(vec![input.reshaped(unsqueezed(&input.dims, &axes, 1)?)])
}

pub(crate) fn squeeze(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let ones: Vec<bool> = input.dims.iter().map(|dim| *dim == 1).collect();
    let gone = squeezed(&ones, fold.ints("axes", 1)?.as_deref())?;
    let left = (0..input.dims.len()).filter(|axis| !gone.contains(axis)).map(|axis| input.dims[axis]);
    Ok(vec![input.reshaped(left.collect())])
}

pub(crate) fn flatten(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let rank = input.dims.len();
    let at = fold.attributes.int("axis", 1)?;
    let at = if at == rank as i64 { rank } else { axis(at, rank)? };
    let (outer, inner) = input.dims.split_at(at);
    Ok(vec![input.reshaped(vec![outer.iter().product(), inner.iter().product()])])
}

/// What a reshape of `have` elements in `dims` makes of `target`, where 0 keeps a dimension and −1 takes the rest.
pub(crate) fn reshape_target(
    dims: &[usize],
    target: &[i64],
    zero_is_zero: bool,
) -> Result<Vec<usize>, Problem> {
    let fail = || Problem::Reshape { from: format!("{dims:?}"), to: format!("{target:?}") };
    let have = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim)).ok_or_else(fail)?;
    let mut result = Vec::with_capacity(target.len());
    let mut open = None;
    for (index, size) in target.iter().enumerate() {
        result.push(match size {
            0 if !zero_is_zero => *dims.get(index).ok_or_else(fail)?,
            -1 if open.is_none() => {
                open = Some(index);
                1
            }
            size => usize::try_from(*size).map_err(|_| fail())?,
        });
    }
    let product = result.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim)).ok_or_else(fail)?;
    if let Some(open) = open {
        if product == 0 || have % product != 0 {
            return Err(fail());
        }
        result[open] = have / product;
        return Ok(result);
    }
    if product == have { Ok(result) } else { Err(fail()) }
}

pub(crate) fn reshape(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let target = fold.ints("shape", 1)?.ok_or(Problem::NoAttribute { name: "shape" })?;
    let dims = reshape_target(&input.dims, &target, fold.attributes.int("allowzero", 0)? != 0)?;
    Ok(vec![input.reshaped(dims)])
}

/// The order of axes of a transposition; reversed where none is given.
pub(crate) fn permutation(given: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, Problem> {
    let Some(given) = given else { return Ok((0..rank).rev().collect()) };
    let order = given.iter().map(|place| axis(*place, rank)).collect::<Result<Vec<usize>, _>>()?;
    let all = (0..rank).all(|axis| order.contains(&axis));
    if order.len() == rank && all {
        Ok(order)
    } else {
        Err(wrong("perm", format!("is {given:?}, no order of {rank} axes")))
    }
}

pub(crate) fn transpose(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let order = permutation(fold.attributes.ints("perm")?, input.dims.len())?;
    Ok(vec![input.transposed(&order)])
}

/// A slice of one axis: begin, number of elements and step (which may be negative).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) axis: usize,
    pub(crate) begin: usize,
    pub(crate) len: usize,
    pub(crate) step: i64,
}

/// The slice from `start` to `end` (which count from the end where negative, and are brought inside).
pub(crate) fn cut(axis: usize, size: usize, start: i64, end: i64, step: i64) -> Result<Cut, Problem> {
    if step == 0 {
        return Err(Problem::Unsupported("a slice with a step of 0".into()));
    }
    let size = size as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let begin = from_end(start).clamp(low.max(0), high.max(0));
    let end = from_end(end).clamp(low, high);
    let span = if step > 0 { end - begin } else { begin - end };
    let len = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as usize };
    Ok(Cut { axis, begin: begin as usize, len, step })
}

/// Start, end, axis and step of every slice.
pub(crate) type Cuts = Vec<(i64, i64, i64, i64)>;

pub(crate) fn cuts(
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Cuts, Problem> {
    let count = starts.len();
    let fits = |list: Option<&[i64]>| list.is_none_or(|list| list.len() == count);
    if ends.len() != count || !fits(axes) || !fits(steps) {
        return Err(Problem::Unsupported("starts, ends, axes and steps that are not equally many".into()));
    }
    let axis = |index: usize| axes.map_or(index as i64, |axes| axes[index]);
    let step = |index: usize| steps.map_or(1, |steps| steps[index]);
    Ok((0..count).map(|index| (starts[index], ends[index], axis(index), step(index))).collect())
}

pub(crate) fn slice(fold: &Fold<'_>) -> Folded {
    let mut result = fold.input(0)?.clone();
    let missing = |name| Problem::NoAttribute { name };
    let starts = fold.ints("starts", 1)?.ok_or(missing("starts"))?;
    let ends = fold.ints("ends", 2)?.ok_or(missing("ends"))?;
    let (axes, steps) =
        (fold.ints("axes", 3)?, fold.optional(4).map(|steps| known(steps, "steps")).transpose()?);
    for (start, end, at, step) in cuts(&starts, &ends, axes.as_deref(), steps.as_deref())? {
        let at = axis(at, result.dims.len())?;
        let Cut { begin, len, .. } = cut(at, result.dims[at], start, end, step)?;
        let own = strides(&result.dims);
        let mut dims = result.dims.clone();
        dims[at] = len;
        let place = |index: usize| (begin as i64 + step * index as i64) as usize * own[at];
        let outer: Vec<usize> = result.dims[..at].to_vec();
        let inner: usize = result.dims[at + 1..].iter().product();
        let picked = offsets(&outer, &own[..at]).flat_map(move |from| {
            (0..len).flat_map(move |index| {
                let from = from + place(index);
                from..from + inner
            })
        });
        result = result.pick(dims, picked);
    }
    Ok(vec![result])
}

/// The sizes of the parts of a split.
pub(crate) fn parts(size: usize, given: Option<&[i64]>, outputs: usize) -> Result<Vec<usize>, Problem> {
    let parts = match given {
        Some(given) => dims_of(given)?,
        None => {
            let part = size.div_ceil(outputs.max(1));
            (0..outputs).map(|index| part.min(size.saturating_sub(index * part))).collect()
        }
    };
    if parts.len() != outputs
        || parts.iter().try_fold(0usize, |sum, part| sum.checked_add(*part)) != Some(size)
    {
        return Err(Problem::Unsupported(format!("{parts:?} are no {outputs} parts of {size}")));
    }
    Ok(parts)
}

pub(crate) fn split(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let axis = axis(fold.attributes.int("axis", 0)?, input.dims.len())?;
    let size = input.dims[axis];
    let sizes = parts(size, fold.ints("split", 1)?.as_deref(), fold.attributes.0.outputs.len())?;
    let inner: usize = input.dims[axis + 1..].iter().product();
    let outer: usize = input.dims[..axis].iter().product();
    let mut begin = 0;
    let part = |len: usize| {
        let mut dims = input.dims.clone();
        dims[axis] = len;
        let at = begin;
        begin += len;
        let rows = (0..outer).flat_map(move |outer| {
            let from = (outer * size + at) * inner;
            from..from + len * inner
        });
        input.pick(dims, rows)
    };
    Ok(sizes.into_iter().map(part).collect())
}

pub(crate) fn select(fold: &Fold<'_>) -> Folded {
    let (condition, yes, no) = (fold.input(0)?, fold.input(1)?, fold.input(2)?);
    let dims = broadcast(&broadcast(&condition.dims, &yes.dims)?, &no.dims)?;
    fold.room(&dims)?;
    let choose = known(&expand(condition, &dims), "the condition")?;
    let (yes, no) = (expand(yes, &dims), expand(no, &dims));
    let data = match (yes.data, no.data) {
        (Data::Floats(a), Data::Floats(b)) => Data::Floats(
            choose.iter().zip(a.iter().zip(b)).map(|(c, (a, b))| if *c != 0 { *a } else { b }).collect(),
        ),
        (Data::Ints(a), Data::Ints(b)) => Data::Ints(
            choose.iter().zip(a.iter().zip(b)).map(|(c, (a, b))| if *c != 0 { *a } else { b }).collect(),
        ),
        _ => return Err(Problem::NotInt { what: "both inputs, where one holds whole numbers," }),
    };
    Ok(vec![Constant { kind: yes.kind, dims, data }])
}

/// How a reduction combines numbers: what it starts from, and what becomes of the result.
struct Reduction {
    float: (f32, fn(f32, f32) -> f32),
    int: (i64, fn(i64, i64) -> i64),
    mean: bool,
}

fn reduce(fold: &Fold<'_>, reduction: Reduction) -> Folded {
    let input = fold.input(0)?;
    let rank = input.dims.len();
    let axes = fold.ints("axes", 1)?.unwrap_or_default();
    if axes.is_empty() && fold.attributes.int("noop_with_empty_axes", 0)? != 0 {
        return identity(fold);
    }
    let mut gone = axes.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<usize>, _>>()?;
    if gone.is_empty() {
        gone = (0..rank).collect();
    }
    let size = |axis: usize| if gone.contains(&axis) { 1 } else { input.dims[axis] };
    let kept: Vec<usize> = (0..rank).map(size).collect();
    fold.room(&kept)?;
    let targets = repeated(&kept, &input.dims);
    let count: usize = kept.iter().product();
    let share = input.len() / count.max(1);
    let data = match &input.data {
        Data::Floats(data) => {
            let mut sums = vec![reduction.float.0; count];
            targets.zip(data).for_each(|(to, value)| sums[to] = (reduction.float.1)(sums[to], *value));
            if reduction.mean {
                sums.iter_mut().for_each(|sum| *sum /= share as f32);
            }
            Data::Floats(sums)
        }
        Data::Ints(_) => {
            let data = known(input, "the input")?;
            let mut sums = vec![reduction.int.0; count];
            targets.zip(data).for_each(|(to, value)| sums[to] = (reduction.int.1)(sums[to], value));
            if reduction.mean {
                sums.iter_mut().for_each(|sum| *sum /= share.max(1) as i64);
            }
            Data::Ints(sums.into_iter().map(|sum| Int::Known(wrap(sum, input.kind))).collect())
        }
    };
    let dims = if fold.attributes.int("keepdims", 1)? != 0 {
        kept
    } else {
        (0..rank).filter(|axis| !gone.contains(axis)).map(|axis| input.dims[axis]).collect()
    };
    Ok(vec![Constant { kind: input.kind, dims, data }])
}

pub(crate) fn reduce_sum(fold: &Fold<'_>) -> Folded {
    reduce(fold, Reduction { float: (0.0, |a, b| a + b), int: (0, i64::wrapping_add), mean: false })
}

pub(crate) fn reduce_mean(fold: &Fold<'_>) -> Folded {
    reduce(fold, Reduction { float: (0.0, |a, b| a + b), int: (0, i64::wrapping_add), mean: true })
}

pub(crate) fn reduce_prod(fold: &Fold<'_>) -> Folded {
    reduce(fold, Reduction { float: (1.0, |a, b| a * b), int: (1, i64::wrapping_mul), mean: false })
}

pub(crate) fn reduce_max(fold: &Fold<'_>) -> Folded {
    reduce(fold, Reduction { float: (f32::NEG_INFINITY, f32::max), int: (i64::MIN, i64::max), mean: false })
}

pub(crate) fn reduce_min(fold: &Fold<'_>) -> Folded {
    reduce(fold, Reduction { float: (f32::INFINITY, f32::min), int: (i64::MAX, i64::min), mean: false })
}

/// Before and behind each axis, from the form in which ONNX gives them: all begins, then all ends.
pub(crate) fn pads(given: &[i64], axes: Option<&[i64]>, rank: usize) -> Result<Vec<[i64; 2]>, Problem> {
    let named = axes.map_or(rank, <[i64]>::len);
    if given.len() != 2 * named {
        return Err(wrong("pads", format!("has {} numbers where {} belong", given.len(), 2 * named)));
    }
    let mut pads = vec![[0; 2]; rank];
    for index in 0..named {
        let at = match axes {
            Some(axes) => axis(axes[index], rank)?,
            None => index,
        };
        pads[at] = [given[index], given[named + index]];
    }
    Ok(pads)
}

/// The index that padding of the mode reads for index `at` of an axis of `size`; `None`: the constant.
fn padded_from(mode: &str, at: i64, size: i64) -> Option<i64> {
    if (0..size).contains(&at) {
        return Some(at);
    }
    match mode {
        "edge" => Some(at.clamp(0, size - 1)),
        "wrap" => Some(at.rem_euclid(size)),
        "reflect" if size > 1 => {
            let place = at.rem_euclid(2 * (size - 1));
            Some(place.min(2 * (size - 1) - place))
        }
        "reflect" => Some(0),
        _ => None,
    }
}

pub(crate) fn pad(fold: &Fold<'_>) -> Folded {
    let input = fold.input(0)?;
    let rank = input.dims.len();
    let mode = fold.attributes.text("mode", "constant")?;
    let given = match fold.attributes.ints("paddings")? {
        Some(given) => Some(given.to_vec()),
        None => fold.ints("pads", 1)?,
    };
    let given = given.ok_or(Problem::NoAttribute { name: "pads" })?;
    let axes = fold.optional(3).map(|axes| known(axes, "axes")).transpose()?;
    let pads = pads(&given, axes.as_deref(), rank)?;
    let mut dims = Vec::new();
    for (size, [before, behind]) in input.dims.iter().zip(&pads) {
        let size = i64::try_from(*size).ok().and_then(|n| n.checked_add(*before)?.checked_add(*behind));
        let size = size.and_then(|size| usize::try_from(size).ok());
        dims.push(size.ok_or_else(|| wrong("pads", format!("is {given:?} for {:?}", input.dims)))?);
    }
    fold.room(&dims)?;
    if input.len() == 0 && mode != "constant" {
        return Err(wrong("mode", format!("is {mode}, but there is nothing to repeat")));
    }
    let own = strides(&input.dims);
    let (mut sources, mut index) = (Vec::new(), vec![0usize; rank]);
    for _ in 0..dims.iter().product::<usize>() {
        let mut from = Some(0usize);
        for axis in 0..rank {
            let at = padded_from(mode, index[axis] as i64 - pads[axis][0], input.dims[axis] as i64);
            from = from.zip(at).map(|(from, at)| from + at as usize * own[axis]);
        }
        sources.push(from);
        for axis in (0..rank).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    let value = fold.optional(2);
    let data = match &input.data {
        Data::Floats(data) => {
            let value = match value {
                Some(value) => value.as_floats().and_then(<[f32]>::first).copied().unwrap_or(0.0),
                None => fold.attributes.float("value", 0.0)?,
            };
            Data::Floats(sources.iter().map(|from| from.map_or(value, |from| data[from])).collect())
        }
        Data::Ints(data) => {
            let value = value.map(|value| known(value, "the value")).transpose()?;
            let value = Int::Known(value.and_then(|value| value.first().copied()).unwrap_or(0));
            Data::Ints(sources.iter().map(|from| from.map_or(value, |from| data[from])).collect())
        }
    };
    Ok(vec![Constant { kind: input.kind, dims, data }])
}

pub(crate) fn shape(fold: &Fold<'_>) -> Folded {
    let dims = fold.input(0)?.dims.iter().map(|dim| Int::Known(*dim as i64)).collect();
    Ok(vec![Constant::sizes(shape_part(dims, fold.attributes)?)])
}

/// The part of a shape that `start` and `end` choose.
pub(crate) fn shape_part(dims: Vec<Int>, attributes: Attributes<'_>) -> Result<Vec<Int>, Problem> {
    let rank = dims.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(attributes.int("start", 0)?), place(attributes.int("end", rank)?));
    Ok(dims.get(start..end).unwrap_or_default().to_vec())
}

pub(crate) fn size(fold: &Fold<'_>) -> Folded {
    let size = Int::Known(fold.input(0)?.len() as i64);
    Ok(vec![Constant { kind: INT64, dims: vec![], data: Data::Ints(vec![size]) }])
}
