//! Functions of one element, and of several values element by element.

use super::super::attributes::wrong;
use super::super::constant::{Kind, kind};
use super::super::error::Problem;
use super::call::{Call, Read};
use super::{Batch, Known, Tensor};
use striate_graph::Value;
use striate_graph::ops::{Activation, ActivationKind, Binary, BinaryKind, Constant, Op, Scale, Where};

fn activation(call: &mut Call<'_, '_>, kind: ActivationKind) -> Read {
    let src = call.tensor(0)?;
    let value = call.push(Activation { kind }, &[src.value])?;
    call.give(value, src)
}

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident = $kind:expr;)*) => {
        $($(#[$doc])* pub(super) fn $name(call: &mut Call<'_, '_>) -> Read {
            activation(call, $kind)
        })*
    };
}

activations! {
    relu = ActivationKind::Relu;
    sigmoid = ActivationKind::Sigmoid;
    tanh = ActivationKind::Tanh;
    hard_swish = ActivationKind::HardSwish;
    softplus = ActivationKind::Softplus;
    softsign = ActivationKind::Softsign;
    mish = ActivationKind::Mish;
    exp = ActivationKind::Exp;
    log = ActivationKind::Log;
    sqrt = ActivationKind::Sqrt;
    reciprocal = ActivationKind::Reciprocal;
    abs = ActivationKind::Abs;
    erf = ActivationKind::Erf;
    sign = ActivationKind::Sign;
    floor = ActivationKind::Floor;
    ceil = ActivationKind::Ceil;
    round = ActivationKind::Round;
}

pub(super) fn leaky_relu(call: &mut Call<'_, '_>) -> Read {
    let slope = call.attributes().float("alpha", 0.01)?;
    if slope > 0.0 && slope <= 1.0 {
        return activation(call, ActivationKind::LeakyRelu { slope });
    }
    let src = call.tensor(0)?;
    let slope = call.scalar(slope)?;
    let value = call.push(Binary { kind: BinaryKind::Prelu }, &[src.value, slope])?;
    call.give(value, src)
}

pub(super) fn hard_sigmoid(call: &mut Call<'_, '_>) -> Read {
    let attributes = call.attributes();
    let (alpha, beta) = (attributes.float("alpha", 0.2)?, attributes.float("beta", 0.5)?);
    activation(call, ActivationKind::HardSigmoid { alpha, beta })
}

pub(super) fn elu(call: &mut Call<'_, '_>) -> Read {
    let alpha = call.attributes().float("alpha", 1.0)?;
    activation(call, ActivationKind::Elu { alpha })
}

pub(super) fn selu(call: &mut Call<'_, '_>) -> Read {
    let attributes = call.attributes();
    let alpha = attributes.float("alpha", 1.673_263_2)?;
    let gamma = attributes.float("gamma", 1.050_701)?;
    activation(call, ActivationKind::Selu { alpha, gamma })
}

pub(super) fn celu(call: &mut Call<'_, '_>) -> Read {
    let alpha = call.attributes().float("alpha", 1.0)?;
    activation(call, ActivationKind::Celu { alpha })
}

pub(super) fn thresholded_relu(call: &mut Call<'_, '_>) -> Read {
    let alpha = call.attributes().float("alpha", 1.0)?;
    activation(call, ActivationKind::ThresholdedRelu { alpha })
}

pub(super) fn swish(call: &mut Call<'_, '_>) -> Read {
    let alpha = call.attributes().float("alpha", 1.0)?;
    activation(call, ActivationKind::Swish { alpha })
}

pub(super) fn gelu(call: &mut Call<'_, '_>) -> Read {
    match call.attributes().text("approximate", "none")? {
        "none" => activation(call, ActivationKind::Gelu),
        "tanh" => activation(call, ActivationKind::GeluTanh),
        other => Err(wrong("approximate", format!("is {other}"))),
    }
}

pub(super) fn neg(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let value = call.push(Scale { factor: -1.0 }, &[src.value])?;
    call.give(value, src)
}

/// Bounds are attributes before version 11, inputs since.
pub(super) fn clip(call: &mut Call<'_, '_>) -> Read {
    let mut bounds = [0.0; 2];
    let rows = [("min", 1, f32::NEG_INFINITY), ("max", 2, f32::INFINITY)];
    for (bound, (name, index, default)) in bounds.iter_mut().zip(rows) {
        *bound = match call.floats(index, "the bounds")? {
            Some(bound) => bound.first().copied().unwrap_or(default),
            None => call.attributes().float(name, default)?,
        };
    }
    // The ends of float32 stand for no bound in files from before there was a way to leave one out.
    let [min, max] = bounds;
    let (min, max) = (
        if min <= f32::MIN { f32::NEG_INFINITY } else { min },
        if max >= f32::MAX { f32::INFINITY } else { max },
    );
    match (min, max) {
        (f32::NEG_INFINITY, f32::INFINITY) => identity(call),
        (0.0, f32::INFINITY) => activation(call, ActivationKind::Relu),
        _ => activation(call, ActivationKind::Clip { min, max }),
    }
}

pub(super) fn identity(call: &mut Call<'_, '_>) -> Read {
    Ok(vec![call.known(0)?])
}

/// Floats stay floats, of whatever width.
pub(super) fn cast(call: &mut Call<'_, '_>) -> Read {
    if !call.attributes().has("to") {
        return Err(Problem::NoAttribute { name: "to" });
    }
    let src = call.tensor(0)?;
    let to = kind(call.attributes().int("to", 0)?)?;
    match (src.kind, to) {
        (Kind::Float | Kind::Bool, Kind::Float) => Ok(vec![Known::Tensor(Tensor { kind: to, ..src })]),
        (from, to) if from == to => Ok(vec![Known::Tensor(src)]),
        (Kind::Float, Kind::Bool) => {
            let zero = call.scalar(0.0)?;
            let equal = call.push(Binary::EQUAL, &[src.value, zero])?;
            let value = negate(call, equal)?;
            call.give(value, Tensor { kind: Kind::Bool, ..src })
        }
        (Kind::Int { bits: 8 | 16, .. }, Kind::Float) => Ok(vec![Known::Tensor(Tensor { kind: to, ..src })]),
        (Kind::Bool, Kind::Int { .. }) => Ok(vec![Known::Tensor(Tensor { kind: to, ..src })]),
        _ => Err(Problem::Unsupported("making whole numbers of floats while the network runs".into())),
    }
}

/// 1 − x: not.
fn negate(call: &mut Call<'_, '_>, value: Value) -> Result<Value, Problem> {
    let one = call.scalar(1.0)?;
    call.push(Binary::SUBTRACT, &[one, value])
}

/// Several operands as values that combine element by element: `indices` are the inputs they come from.
pub(super) fn align(
    call: &mut Call<'_, '_>,
    operands: Vec<Known>,
    indices: &[usize],
) -> Result<Vec<Tensor>, Problem> {
    let computed: Vec<Tensor> = operands
        .iter()
        .filter_map(|operand| if let Known::Tensor(tensor) = operand { Some(*tensor) } else { None })
        .collect();
    let batched = |tensor: &Tensor| call.importer.graph.ty(tensor.value).batched;
    let mut has_batch = computed.iter().any(|tensor| tensor.has_batch);
    let rank = computed.iter().filter(|tensor| tensor.has_batch).map(|tensor| call.rank(*tensor)).max();
    let mixed = computed.iter().any(|tensor| {
        if tensor.has_batch { Some(call.rank(*tensor)) != rank } else { has_batch && batched(tensor) }
    });
    if mixed {
        if call.importer.batch != Batch::Absent {
            return Err(Problem::MixesImages);
        }
        has_batch = false;
    }
    let mut tensors = Vec::new();
    for (operand, index) in operands.into_iter().zip(indices) {
        let below = rank.filter(|_| has_batch).map(|rank| rank - 1);
        let drop_batch = |dims: Vec<usize>| match below {
            Some(below) if dims.len() == below + 1 && dims[0] == 1 => Ok(dims[1..].to_vec()),
            Some(below) if dims.len() > below => Err(Problem::MixesImages),
            _ => Ok(dims),
        };
        tensors.push(match operand {
            Known::Tensor(tensor) if has_batch && !tensor.has_batch => {
                let dims = drop_batch(call.own_dims(tensor))?;
                Tensor { value: call.reshape(tensor.value, dims)?, ..tensor }
            }
            Known::Tensor(tensor) if !has_batch => call.without_batch(tensor)?,
            Known::Tensor(tensor) => tensor,
            Known::Constant(constant) if constant.len() == 1 && !computed.is_empty() => {
                let longest = computed.iter().map(|tensor| call.rank(*tensor)).max().unwrap_or(0);
                if constant.dims.len() > longest {
                    call.constant_tensor(*index, &constant, constant.dims.clone(), super::call::SHIFT)?
                } else {
                    call.constant_tensor(*index, &constant, vec![], super::call::SHIFT)?
                }
            }
            Known::Constant(constant) => {
                let dims = drop_batch(constant.dims.clone())?;
                call.constant_tensor(*index, &constant, dims, super::call::SHIFT)?
            }
        });
    }
    let kind = computed.first().map_or(Kind::Float, |tensor| tensor.kind);
    Ok(tensors.into_iter().map(|tensor| Tensor { has_batch, kind, ..tensor }).collect())
}

/// The operands of a node of two inputs. Before version 7, the second could be placed along the first by its `axis`.
fn two(call: &mut Call<'_, '_>) -> Result<[Tensor; 2], Problem> {
    if call.version() < 7
        && call.attributes().int("broadcast", 0)? != 0
        && call.attributes().has("axis")
        && let (Known::Tensor(a), Known::Constant(b)) = (call.known(0)?, call.known(1)?)
    {
        let axis = super::super::fold::axis(call.attributes().int("axis", 0)?, call.rank(a))?;
        let behind = call.rank(a).saturating_sub(axis + b.dims.len());
        let dims = [b.dims.clone(), vec![1; behind]].concat();
        call.inputs[1] = Some(Known::Constant(b.reshaped(dims).into()));
    }
    let operands = vec![call.known(0)?, call.known(1)?];
    let aligned = align(call, operands, &[0, 1])?;
    Ok([aligned[0], aligned[1]])
}

fn binary(call: &mut Call<'_, '_>, kind: BinaryKind) -> Read {
    let [a, b] = two(call)?;
    if matches!(a.kind, Kind::Int { .. }) {
        // Sums would have to wrap and quotients to be cut.
        return Err(Problem::Unsupported("arithmetic on whole numbers while the network runs".into()));
    }
    let value = call.push(Binary { kind }, &[a.value, b.value])?;
    call.give(value, a)
}

/// The factor that an input is, where it is one number.
fn factor(call: &Call<'_, '_>, index: usize) -> Option<f32> {
    match call.known(index) {
        Ok(Known::Constant(constant)) if constant.len() == 1 && constant.dims.len() <= 1 => {
            constant.uniform()
        }
        _ => None,
    }
}

pub(super) fn add(call: &mut Call<'_, '_>) -> Read {
    binary(call, BinaryKind::Add)
}

pub(super) fn sub(call: &mut Call<'_, '_>) -> Read {
    binary(call, BinaryKind::Subtract)
}

pub(super) fn mul(call: &mut Call<'_, '_>) -> Read {
    for (index, other) in [(0, 1), (1, 0)] {
        if let (Some(factor), Known::Tensor(src)) = (factor(call, index), call.known(other)?) {
            return scaled(call, src, factor);
        }
    }
    if let (Known::Tensor(a), Known::Tensor(b)) = (call.known(0)?, call.known(1)?) {
        for (src, gate) in [(a, b), (b, a)] {
            if let Some(kind) = gated(call, src.value, gate.value) {
                let value = call.push(Activation { kind }, &[src.value])?;
                return call.give(value, src);
            }
        }
    }
    binary(call, BinaryKind::Multiply)
}

/// The activation that x times a gate computed from x is.
fn gated(call: &Call<'_, '_>, src: Value, gate: Value) -> Option<ActivationKind> {
    let node = call.producer(gate);
    let (Op::Activation(Activation { kind }), [input]) = (&node.op, node.inputs.as_slice()) else {
        return None;
    };
    match *kind {
        ActivationKind::Sigmoid if *input == src => Some(ActivationKind::Swish { alpha: 1.0 }),
        ActivationKind::Sigmoid => {
            let scale = call.producer(*input);
            match scale.op {
                Op::Scale(Scale { factor }) if scale.inputs[0] == src => {
                    Some(ActivationKind::Swish { alpha: factor })
                }
                _ => None,
            }
        }
        ActivationKind::HardSigmoid { alpha, beta } if *input == src => {
            ((alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5).then_some(ActivationKind::HardSwish)
        }
        ActivationKind::Tanh => {
            let inner = call.producer(*input);
            let softplus = Op::Activation(Activation { kind: ActivationKind::Softplus });
            (inner.op == softplus && inner.inputs[0] == src).then_some(ActivationKind::Mish)
        }
        _ => None,
    }
}

/// x times a number; x · min(max(x + 3, 0), 6) / 6 is one activation.
fn scaled(call: &mut Call<'_, '_>, src: Tensor, factor: f32) -> Read {
    if (factor - 1.0 / 6.0).abs() < 1e-6
        && let Some(input) = hard_swish_product(call, src.value)
    {
        let value = call.push(Activation { kind: ActivationKind::HardSwish }, &[input])?;
        return call.give(value, src);
    }
    let value = call.push(Scale { factor }, &[src.value])?;
    call.give(value, src)
}

/// x, where the value is x · min(max(x + 3, 0), 6).
fn hard_swish_product(call: &Call<'_, '_>, value: Value) -> Option<Value> {
    let product = call.producer(value);
    let (Op::Binary(Binary::MULTIPLY), [a, b]) = (&product.op, product.inputs.as_slice()) else {
        return None;
    };
    let clipped = |gate: Value| {
        let clip = call.producer(gate);
        let six = Op::Activation(Activation { kind: ActivationKind::Clip { min: 0.0, max: 6.0 } });
        let sum = (clip.op == six).then(|| call.producer(clip.inputs[0]))?;
        let (Op::Binary(Binary::ADD), [x, three]) = (&sum.op, sum.inputs.as_slice()) else { return None };
        (call.producer(*three).op == Op::Constant(Constant { value: 3.0 })).then_some(*x)
    };
    [(*a, *b), (*b, *a)].into_iter().find(|(x, gate)| clipped(*gate) == Some(*x)).map(|(x, _)| x)
}

pub(super) fn div(call: &mut Call<'_, '_>) -> Read {
    if let (Known::Tensor(src), Some(divisor)) = (call.known(0)?, factor(call, 1))
        && divisor != 0.0
        && (1.0 / divisor).is_finite()
    {
        return scaled(call, src, 1.0 / divisor);
    }
    binary(call, BinaryKind::Divide)
}

pub(super) fn pow(call: &mut Call<'_, '_>) -> Read {
    if let (Known::Tensor(src), Some(exponent)) = (call.known(0)?, factor(call, 1)) {
        let value = if exponent == 2.0 {
            Some(call.push(Binary::MULTIPLY, &[src.value, src.value])?)
        } else if exponent == 0.5 {
            Some(call.push(Activation { kind: ActivationKind::Sqrt }, &[src.value])?)
        } else {
            None
        };
        if let Some(value) = value {
            return call.give(value, src);
        }
    }
    if let Known::Constant(exponents) = call.known(1)? {
        let floats = super::super::fold::cast_to(&exponents, Kind::Float)?;
        call.inputs[1] = Some(Known::Constant(floats.into()));
    }
    binary(call, BinaryKind::Power)
}

pub(super) fn prelu(call: &mut Call<'_, '_>) -> Read {
    // Before version 7, a slope for each channel.
    if let (Known::Tensor(src), Known::Constant(slopes)) = (call.known(0)?, call.known(1)?)
        && call.version() < 7
        && slopes.len() > 1
    {
        let behind = call.rank(src).saturating_sub(2);
        let dims = [vec![slopes.len()], vec![1; behind]].concat();
        call.inputs[1] = Some(Known::Constant(slopes.reshaped(dims).into()));
    }
    binary(call, BinaryKind::Prelu)
}

fn of_booleans(call: &mut Call<'_, '_>, kind: BinaryKind) -> Read {
    let [a, b] = two(call)?;
    let value = call.push(Binary { kind }, &[a.value, b.value])?;
    call.give(value, Tensor { kind: Kind::Bool, ..a })
}

pub(super) fn equal(call: &mut Call<'_, '_>) -> Read {
    of_booleans(call, BinaryKind::Equal)
}

pub(super) fn less(call: &mut Call<'_, '_>) -> Read {
    of_booleans(call, BinaryKind::Less)
}

pub(super) fn greater(call: &mut Call<'_, '_>) -> Read {
    of_booleans(call, BinaryKind::Greater)
}

pub(super) fn and(call: &mut Call<'_, '_>) -> Read {
    of_booleans(call, BinaryKind::Multiply)
}

pub(super) fn or(call: &mut Call<'_, '_>) -> Read {
    of_booleans(call, BinaryKind::Maximum)
}

pub(super) fn not(call: &mut Call<'_, '_>) -> Read {
    let src = call.tensor(0)?;
    let value = negate(call, src.value)?;
    call.give(value, src)
}

/// Any number of operands, in pairs.
fn several(call: &mut Call<'_, '_>, kind: BinaryKind) -> Result<(Value, Tensor), Problem> {
    let count = call.node.inputs.len();
    if count == 0 {
        return Err(Problem::Inputs { expected: "1 or more", found: 0 });
    }
    let operands = (0..count).map(|index| call.known(index)).collect::<Result<Vec<_>, _>>()?;
    let indices: Vec<usize> = (0..count).collect();
    let aligned = align(call, operands, &indices)?;
    let mut value = aligned[0].value;
    for tensor in &aligned[1..] {
        value = call.push(Binary { kind }, &[value, tensor.value])?;
    }
    Ok((value, aligned[0]))
}

pub(super) fn minimum(call: &mut Call<'_, '_>) -> Read {
    let (value, like) = several(call, BinaryKind::Minimum)?;
    call.give(value, like)
}

pub(super) fn maximum(call: &mut Call<'_, '_>) -> Read {
    let (value, like) = several(call, BinaryKind::Maximum)?;
    call.give(value, like)
}

pub(super) fn sum(call: &mut Call<'_, '_>) -> Read {
    let (value, like) = several(call, BinaryKind::Add)?;
    call.give(value, like)
}

pub(super) fn mean(call: &mut Call<'_, '_>) -> Read {
    let (value, like) = several(call, BinaryKind::Add)?;
    let value = call.push(Scale { factor: 1.0 / call.node.inputs.len() as f32 }, &[value])?;
    call.give(value, like)
}

pub(super) fn select(call: &mut Call<'_, '_>) -> Read {
    let operands = (0..3).map(|index| call.known(index)).collect::<Result<Vec<_>, _>>()?;
    let aligned = align(call, operands, &[0, 1, 2])?;
    let values: Vec<Value> = aligned.iter().map(|tensor| tensor.value).collect();
    let value = call.push(Where, &values)?;
    call.give(value, Tensor { kind: Kind::Float, ..aligned[1] })
}
