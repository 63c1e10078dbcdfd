//! Cases of functions of elements, and of what works on values of any rank axis by axis.

use super::{Case, ConcatCases, POSITIVE, net, on_input};
use striate_graph::ops::*;
use striate_graph::{Builder, Init, Type, Value};

fn batched(dims: &[usize]) -> Type {
    Type::batched(dims)
}

fn single(dims: &[usize]) -> Type {
    Type::single(dims)
}

fn input(net: &mut Builder, name: &str, ty: &Type) -> Value {
    net.named(name).apply(Input { ty: ty.clone() }, &[])
}

/// Functions with a derivative, of arguments of both signs, and their kinks between these.
const SMOOTH: [ActivationKind; 16] = [
    ActivationKind::Clip { min: -2.013, max: 3.017 },
    ActivationKind::Clip { min: f32::NEG_INFINITY, max: 1.013 },
    ActivationKind::HardSigmoid { alpha: 0.31, beta: 0.47 },
    ActivationKind::HardSwish,
    ActivationKind::Swish { alpha: 1.0 },
    ActivationKind::Swish { alpha: 1.7 },
    ActivationKind::Elu { alpha: 0.7 },
    ActivationKind::Selu { alpha: 1.6, gamma: 1.1 },
    ActivationKind::Celu { alpha: 0.6 },
    ActivationKind::Softplus,
    ActivationKind::Softsign,
    ActivationKind::Mish,
    ActivationKind::Gelu,
    ActivationKind::GeluTanh,
    ActivationKind::ThresholdedRelu { alpha: 0.513 },
    ActivationKind::Abs,
];

fn functions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, kind) in SMOOTH.into_iter().enumerate() {
        for dims in [&[3usize, 4, 5] as &[usize], &[2, 3, 2, 5]] {
            // To both sides of the kinks of hard functions.
            let factor = if dims.len() == 3 { 3.0 } else { 1.0 };
            cases.push(net(format!("function {index} of {} dimensions", dims.len()), |net| {
                let x = net.input("x", dims);
                let x = net.apply(Scale { factor }, &[x]);
                [net.activation(x, kind)]
            }));
        }
    }
    use ActivationKind::{Erf, Exp, Log, Reciprocal, Sqrt};
    for kind in [Exp, Erf, Log, Sqrt, Reciprocal] {
        cases.push(net(format!("{kind:?}"), |net| {
            let x = net.input(POSITIVE, [19]);
            [net.activation(x, kind)]
        }));
    }
    cases
}

/// Operands of each number of dimensions, repeated along any.
fn pairs() -> Vec<(Type, Type)> {
    vec![
        (batched(&[3, 2, 4]), batched(&[3, 1, 4])),
        (batched(&[2, 3]), single(&[3])),
        (batched(&[3, 2, 4]), single(&[4])),
        (single(&[2, 1]), batched(&[3, 2, 4])),
        (single(&[2, 3, 4, 5]), single(&[4, 1])),
        (batched(&[2, 1, 3, 2]), batched(&[4, 1, 2])),
        (single(&[]), batched(&[2, 3])),
        (batched(&[]), batched(&[4])),
        (single(&[2, 2, 1, 2, 1, 3]), batched(&[2, 1, 1, 2, 1])),
        (single(&[3, 2, 4]), single(&[4])),
    ]
}

/// Operands of which neither equals the other anywhere, and the right one is positive.
fn operands(net: &mut Builder, (a, b): &(Type, Type)) -> [Value; 2] {
    let x = input(net, "x", a);
    let y = input(net, POSITIVE, b);
    [x, net.apply(Scale { factor: 0.913 }, &[y])]
}

fn combinations() -> Vec<Case> {
    use BinaryKind::{Add, Divide, Maximum, Minimum, Multiply, Power, Prelu, Subtract};
    let mut cases = Vec::new();
    for (index, pair) in pairs().iter().enumerate() {
        for kind in [Add, Multiply, Subtract, Divide, Minimum, Maximum, Prelu] {
            cases.push(net(format!("{kind:?} {index}"), |net| {
                let [x, y] = operands(net, pair);
                [net.apply(Binary { kind }, &[x, y])]
            }));
        }
        cases.push(net(format!("where {index}"), |net| {
            let [x, y] = operands(net, pair);
            let condition = net.apply(Binary::GREATER, &[x, y]);
            [net.apply(Where, &[condition, y, x])]
        }));
        cases.push(net(format!("power {index}"), |net| {
            let x = input(net, POSITIVE, &pair.0);
            let y = input(net, "y", &pair.1);
            [net.apply(Binary { kind: Power }, &[x, y])]
        }));
    }
    cases
}

fn products() -> Vec<Case> {
    let rows: [(Type, Type, [bool; 2]); 8] = [
        (batched(&[3, 4]), batched(&[4, 5]), [false, false]),
        (batched(&[3, 4]), single(&[4, 5]), [false, false]),
        (single(&[3, 4]), batched(&[5, 4]), [false, true]),
        (single(&[4, 3]), single(&[4, 1]), [true, false]),
        (batched(&[2, 4, 3]), batched(&[2, 5, 4]), [true, true]),
        (batched(&[2, 3, 4]), single(&[4, 18]), [false, false]),
        (batched(&[2, 1, 3, 4]), single(&[3, 4, 2]), [false, false]),
        (single(&[2, 3, 19, 2]), single(&[1, 5, 2]), [false, true]),
    ];
    let case = |(index, (a, b, transposed)): (usize, (Type, Type, [bool; 2]))| {
        net(format!("matmul {index}"), |net| {
            let (x, y) = (input(net, "x", &a), input(net, "y", &b));
            [net.apply(MatMul { transposed }, &[x, y])]
        })
    };
    rows.into_iter().enumerate().map(case).collect()
}

fn along_axes() -> Vec<Case> {
    let normalized: [(&[usize], &[usize]); 5] = [
        (&[3, 4, 5], &[1, 2]),
        (&[3, 4, 5], &[0, 1, 2]),
        (&[6, 4], &[1]),
        (&[2, 3, 2, 4], &[1, 3]),
        (&[7], &[0]),
    ];
    let folded: [(&[usize], &[usize]); 6] = [
        (&[3, 4, 5], &[0]),
        (&[3, 4, 5], &[1, 2]),
        (&[3, 4, 5], &[0, 1, 2]),
        (&[6, 4], &[0]),
        (&[2, 3, 2, 4], &[1, 3]),
        (&[7], &[0]),
    ];
    let softmaxes: [(&[usize], Softmax); 7] = [
        (&[5, 3, 2], Softmax::LINEAR),
        (&[5, 3, 2], Softmax::LOG),
        (&[3, 5, 2], Softmax { log: false, axis: 1 }),
        (&[3, 2, 5], Softmax { log: true, axis: 2 }),
        (&[4, 6], Softmax { log: false, axis: 1 }),
        (&[6, 4], Softmax { log: true, axis: 0 }),
        (&[2, 3, 2, 4], Softmax { log: false, axis: 1 }),
    ];
    let mut cases = [
        on_input("standardize", &normalized, |net, x, axes| {
            net.apply(Standardize { axes: axes.to_vec(), eps: 1e-2 }, &[x])
        }),
        on_input("softmax of any axis", &softmaxes, |net, x, softmax| net.apply(softmax, &[x])),
    ]
    .concat_cases();
    for kind in [FoldKind::Max, FoldKind::Min] {
        cases.extend(on_input(&format!("{kind:?}"), &folded, |net, x, axes| {
            net.apply(Fold { kind, axes: axes.to_vec() }, &[x])
        }));
    }
    for (index, (dims, axes)) in folded.into_iter().enumerate() {
        cases.push(net(format!("product {index}"), |net| {
            let x = net.input(POSITIVE, dims);
            [net.apply(Fold { kind: FoldKind::Product, axes: axes.to_vec() }, &[x])]
        }));
    }
    cases
}

/// What moves elements, repeats them or adds them up: linear in its input.
pub(crate) fn moving() -> Vec<Case> {
    let permutations: [(&[usize], &[usize]); 5] = [
        (&[3, 4, 5], &[1, 2, 0]),
        (&[3, 4], &[1, 0]),
        (&[2, 3, 4, 5], &[3, 1, 0, 2]),
        (&[6], &[0]),
        (&[2, 3, 4], &[0, 2, 1]),
    ];
    let flips: [(&[usize], usize); 4] = [(&[3, 4, 5], 0), (&[3, 4, 5], 2), (&[3, 4], 1), (&[2, 3, 2, 4], 2)];
    let tiles: [(&[usize], [usize; 2]); 4] =
        [(&[3, 4, 5], [0, 2]), (&[3, 2, 5], [2, 3]), (&[3, 4], [1, 2]), (&[2, 3, 2, 4], [1, 1])];
    let stepped = |axis, start, end, step| Slice { axis, start, end, step };
    let slices: [(&[usize], Slice); 4] = [
        (&[5, 4], stepped(0, 1, 4, 2)),
        (&[5, 4], stepped(1, 1, 3, 1)),
        (&[2, 3, 4, 5], stepped(2, 0, 4, 3)),
        (&[2, 3, 4, 5], stepped(3, 2, 5, 2)),
    ];
    let pad = |axis, pads, mode| PadAxis { axis, pads, mode, value: 0.0 };
    let mut pads: Vec<(&[usize], PadAxis)> = Vec::new();
    for mode in PadMode::ALL {
        pads.extend([
            (&[3usize, 4, 5] as &[usize], pad(0, [2, 1], mode)),
            (&[3, 4, 5], pad(2, [0, 3], mode)),
            (&[4, 3], pad(0, [3, 2], mode)),
            (&[2, 3, 4, 2], pad(2, [1, 0], mode)),
        ]);
    }
    let resize = |axis, size, mode, coordinates| Resize { axis, size, scale: None, mode, coordinates };
    let cubic = |exclude_outside| ResizeMode::Cubic { a: -0.75, exclude_outside };
    let mut resizings: Vec<(&[usize], Resize)> = Vec::new();
    for coordinates in Coordinates::ALL {
        resizings.extend([
            (&[2usize, 4, 3] as &[usize], resize(1, 7, ResizeMode::Linear, coordinates)),
            (&[2, 4, 5], resize(2, 3, cubic(false), coordinates)),
            (&[2, 4, 5], resize(2, 9, ResizeMode::Nearest(Rounding::HalfDown), coordinates)),
        ]);
    }
    let scaled = Resize { scale: Some(0.6), ..resize(0, 2, ResizeMode::Linear, Coordinates::HalfPixel) };
    resizings.extend([
        (&[4usize, 3] as &[usize], scaled),
        (&[3, 4], resize(1, 9, ResizeMode::Nearest(Rounding::HalfUp), Coordinates::HalfPixel)),
        (&[3, 4], resize(0, 5, ResizeMode::Nearest(Rounding::Up), Coordinates::Asymmetric)),
        (&[2, 3, 4, 5], resize(2, 7, ResizeMode::Nearest(Rounding::Down), Coordinates::Asymmetric)),
        (&[2, 4, 5], resize(1, 8, cubic(true), Coordinates::HalfPixel)),
    ]);
    let blocks: [(&[usize], DepthToSpace); 3] = [
        (&[8, 2, 3], DepthToSpace { block: 2, crd: false }),
        (&[8, 2, 3], DepthToSpace { block: 2, crd: true }),
        (&[9, 1, 2], DepthToSpace { block: 3, crd: false }),
    ];
    let depths: [(&[usize], SpaceToDepth); 3] = [
        (&[2, 4, 6], SpaceToDepth { block: 2, crd: false }),
        (&[2, 4, 6], SpaceToDepth { block: 2, crd: true }),
        (&[1, 3, 6], SpaceToDepth { block: 3, crd: false }),
    ];
    let joined: [(&[usize], usize); 5] =
        [(&[2, 3, 4], 1), (&[2, 3, 4], 2), (&[3, 4], 1), (&[3, 4], 0), (&[2, 3, 2, 4], 2)];
    let reshapes: [(&[usize], &[usize]); 3] =
        [(&[2, 3, 4], &[3, 8]), (&[2, 3, 4, 5], &[6, 4, 5]), (&[4, 6], &[2, 2, 3, 2])];
    [
        on_input("permute", &permutations, |net, x, axes| net.apply(Permute { axes: axes.to_vec() }, &[x])),
        on_input("flip", &flips, |net, x, axis| net.apply(Flip { axis }, &[x])),
        on_input("tile", &tiles, |net, x, [axis, times]| net.apply(Tile { axis, times }, &[x])),
        on_input("slice of any axis", &slices, |net, x, slice| net.apply(slice, &[x])),
        on_input("pad of any axis", &pads, |net, x, pad| net.apply(pad, &[x])),
        on_input("resize", &resizings, |net, x, resize| net.apply(resize, &[x])),
        on_input("depth to space", &blocks, |net, x, blocks| net.apply(blocks, &[x])),
        on_input("space to depth", &depths, |net, x, depths| net.apply(depths, &[x])),
        on_input("concat of any axis", &joined, |net, x, axis| {
            let part = net.apply(Slice::axis(axis, 1, 2), &[x]);
            net.apply(Concat { axis }, &[x, part, x])
        }),
        on_input("reshape of any rank", &reshapes, |net, x, dims| {
            net.apply(Reshape { dims: dims.to_vec() }, &[x])
        }),
        sums(),
    ]
    .concat_cases()
}

fn sums() -> Vec<Case> {
    let pairs = [
        (batched(&[1, 3]), batched(&[2, 3])),
        (single(&[2, 1]), batched(&[2, 3])),
        (single(&[4, 1, 1, 3]), single(&[4, 2, 5, 3])),
        (batched(&[]), batched(&[2, 3, 2, 2])),
        (single(&[]), batched(&[2, 3, 2, 2])),
    ];
    let mut cases = Vec::new();
    for (index, (small, large)) in pairs.into_iter().enumerate() {
        for mean in [false, true] {
            cases.push(net(format!("reduce of any rank {index} mean {mean}"), |net| {
                let x = input(net, "x", &large);
                [net.apply(Reduce { to: small.clone(), scale: 1.5, mean }, &[x])]
            }));
            cases.push(net(format!("expand of any rank {index} mean {mean}"), |net| {
                let x = input(net, "x", &small);
                [net.apply(Expand { to: large.clone(), scale: -0.5, mean }, &[x])]
            }));
        }
    }
    cases
}

/// Products that are linear in their left side.
pub(crate) fn linear() -> Vec<Case> {
    [moving(), products()].concat_cases()
}

/// Functions of elements, and layers of values of any rank, alone and in company.
pub(crate) fn layers() -> Vec<Case> {
    [functions(), combinations(), products(), along_axes(), moving(), compositions()].concat_cases()
}

/// What has no gradient, or none everywhere.
pub(crate) fn flat() -> Vec<Case> {
    use ActivationKind::{Ceil, Floor, Round, Sign};
    let mut cases = Vec::new();
    for kind in [Sign, Floor, Ceil, Round] {
        cases.push(net(format!("{kind:?}"), |net| {
            let x = net.input("x", [3, 4, 5]);
            [net.activation(x, kind)]
        }));
    }
    for (index, pair) in pairs().iter().enumerate() {
        for kind in [BinaryKind::Equal, BinaryKind::Less, BinaryKind::Greater] {
            cases.push(net(format!("{kind:?} {index}"), |net| {
                let (x, y) = (input(net, "x", &pair.0), input(net, "y", &pair.1));
                [net.apply(Binary { kind }, &[x, y])]
            }));
        }
    }
    let places: [(&[usize], usize); 6] =
        [(&[5, 3, 4], 0), (&[5, 3, 4], 1), (&[5, 3, 4], 2), (&[7], 0), (&[4, 6], 1), (&[2, 3, 2, 4], 2)];
    for (least, last) in [(false, false), (true, false), (false, true), (true, true)] {
        cases.extend(on_input(&format!("places, least {least}, last {last}"), &places, |net, x, axis| {
            // With equals.
            let x = net.activation(x, Round);
            net.apply(ArgMax { axis, least, last }, &[x])
        }));
    }
    cases.push(net("places of a kept axis", |net| {
        let x = net.input("x", [5, 3, 4]);
        let places = net.apply(ArgMax { axis: 0, least: false, last: false }, &[x]);
        [net.apply(Reshape { dims: vec![1, 3, 4] }, &[places]), places]
    }));
    cases.push(net("pad with a value", |net| {
        let x = net.input("x", [3, 4]);
        [net.apply(PadAxis { value: 1.5, ..PadAxis::zeros(1, [2, 1]) }, &[x])]
    }));
    cases.push(net("everything is the greatest", |net| {
        let x = net.input("x", [3, 4]);
        [net.activation(x, ActivationKind::Clip { min: 2.0, max: 1.0 })]
    }));
    cases
}

/// In the company in which plans compute them together or let them share memory.
fn compositions() -> Vec<Case> {
    vec![
        net("add of any rank in place, relu", |net| {
            let x = net.input("x", [4, 6]);
            let y = net.activation(x, ActivationKind::Tanh);
            let bias = net.parameter("bias", [6], Role::Bias, Init::ZEROS);
            let y = net.add(y, bias);
            [net.relu(y)]
        }),
        net("convs held within bounds", |net| {
            let x = net.input("x", [3, 5, 5]);
            let y = net.conv2d("a", x, Conv2d::new(3, 3).padding(1).no_bias());
            let y = net.batch_norm("bn", y, BatchNorm::eps(1e-3));
            let y = net.add(y, x);
            let y = net.activation(y, ActivationKind::Clip { min: -0.517, max: 1.013 });
            let y = net.conv2d("b", y, Conv2d::new(3, 3).groups(3).padding(1));
            let y = net.activation(y, ActivationKind::Clip { min: 0.0, max: 2.0 });
            let y = net.linear("fc", y, Linear::new(4));
            [net.activation(y, ActivationKind::Clip { min: 0.0, max: 6.0 })]
        }),
        net("difference in place, relu", |net| {
            let x = net.input("x", [3, 4, 5]);
            let y = net.activation(x, ActivationKind::Sigmoid);
            let mean = net.global_avg_pool(x);
            let y = net.apply(Binary::SUBTRACT, &[y, mean]);
            [net.relu(y)]
        }),
        net("instance norm with factors and terms", |net| {
            let x = net.input("x", [3, 4, 5]);
            let y = net.conv2d("conv", x, Conv2d::new(4, 3).padding(1));
            let y = net.apply(Standardize { axes: vec![1, 2], eps: 1e-3 }, &[y]);
            let scale = net.parameter("scale", [4, 1, 1], Role::Scale, Init::ONES);
            let shift = net.parameter("shift", [4, 1, 1], Role::Shift, Init::ZEROS);
            let y = net.apply(Binary::MULTIPLY, &[y, scale]);
            let y = net.add(y, shift);
            [net.activation(y, ActivationKind::Swish { alpha: 1.0 })]
        }),
        net("rows of convs joined", |net| {
            let x = net.input("x", [3, 4, 5]);
            let a = net.conv2d("a", x, Conv2d::new(2, 1));
            let b = net.conv2d("b", x, Conv2d::new(2, 1));
            let both = net.apply(Concat { axis: 1 }, &[a, b]);
            let channels = net.concat(&[both, both]);
            [net.relu(channels), a]
        }),
        net("attention", |net| {
            let x = net.input("x", [4, 2, 3]);
            let tokens = net.apply(Reshape { dims: vec![4, 6] }, &[x]);
            let tokens = net.apply(Permute { axes: vec![1, 0] }, &[tokens]);
            let weights = net.parameter("weights", [4, 4], Role::Weight, Init::ZEROS);
            let queries = net.apply(MatMul::default(), &[tokens, weights]);
            let scores = net.apply(MatMul { transposed: [false, true] }, &[queries, tokens]);
            let scores = net.apply(Softmax { log: false, axis: 1 }, &[scores]);
            let mixed = net.apply(MatMul::default(), &[scores, tokens]);
            [net.apply(Standardize { axes: vec![1], eps: 1e-3 }, &[mixed])]
        }),
        net("a slice of channels, rearranged", |net| {
            let x = net.input("x", [3, 4, 5]);
            let y = net.conv2d("conv", x, Conv2d::new(6, 1));
            let part = net.apply(Slice::axis(0, 1, 5), &[y]);
            let turned = net.apply(Permute { axes: vec![2, 1, 0] }, &[part]);
            let soft = net.apply(Softmax { log: false, axis: 2 }, &[turned]);
            let pixels = net.apply(DepthToSpace { block: 2, crd: true }, &[part]);
            let greatest = net.apply(Fold { kind: FoldKind::Max, axes: vec![0] }, &[part]);
            [soft, pixels, greatest, net.apply(Softmax::LINEAR, &[part])]
        }),
    ]
}
