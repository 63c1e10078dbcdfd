//! Small graphs that between them use every operation, alone and in the company that plans fuse or let share memory,
//! and what all tests do with them: draw their data, run them in a session, say how far rounding may go.

#![allow(dead_code)] // each test binary uses its part

pub(crate) mod arrays;
pub(crate) mod updates;

use proptest::prelude::*;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use striate_engine::reference::Arrays;
use striate_engine::{Isa, Parameters, Plan, PlanOptions, Session, Tensor};
use striate_graph::ops::*;
use striate_graph::training::{self, STEP};
use striate_graph::{Builder, DType, Graph, Init, NodeId, Output, Type, Value};
use striate_kernels::rng::{Purpose, Rng};

/// A graph of which every output is checked.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) graph: Graph,
}

impl Case {
    /// The same in training mode, where that differs.
    pub(crate) fn training(&self) -> Option<Case> {
        let graph = training::training_mode(&self.graph).unwrap();
        let changed =
            !graph.nodes().map(|(_, node)| &node.op).eq(self.graph.nodes().map(|(_, node)| &node.op));
        changed.then(|| Case { name: format!("{} (training)", self.name), graph })
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (_, node) in self.graph.nodes() {
            let inputs: Vec<usize> = node.inputs.iter().map(|v| v.index()).collect();
            let outputs: Vec<String> =
                node.outputs.iter().map(|v| format!("{}: {}", v.index(), self.graph.ty(*v))).collect();
            writeln!(f, "{} {:?} of {inputs:?} gives {outputs:?}", node.name, node.op)?;
        }
        let outputs: Vec<usize> = self.graph.outputs().iter().map(|o| o.value.index()).collect();
        write!(f, "outputs {outputs:?}")
    }
}

/// The graph that `build` makes, which returns its outputs.
pub(crate) fn net<const N: usize>(
    name: impl Into<String>,
    build: impl FnOnce(&mut Builder) -> [Value; N],
) -> Case {
    let name = name.into();
    let mut net = Builder::new(name.clone());
    for value in build(&mut net) {
        net.output(value);
    }
    let graph = net.finish().unwrap_or_else(|errors| panic!("{name}: {errors}"));
    Case { name, graph }
}

/// One layer on the input x; the name says which, and counts.
fn on_input<T: Copy>(
    what: &str,
    rows: &[(&[usize], T)],
    layer: impl Fn(&mut Builder, Value, T) -> Value,
) -> Vec<Case> {
    let case = |(index, (dims, row)): (usize, &(&[usize], T))| {
        net(format!("{what} {index}"), |net| {
            let x = net.input("x", dims.to_vec());
            [layer(net, x, *row)]
        })
    };
    rows.iter().enumerate().map(case).collect()
}

const ASYMMETRIC: Padding = Padding { top: 2, bottom: 0, left: 1, right: 3 };

/// Convolutions on `[C, H, W]`.
fn convolutions() -> [(&'static [usize], Conv2d); 12] {
    let conv = Conv2d::new;
    [
        (&[3, 5, 4], conv(5, 1)),
        (&[2, 6, 7], conv(3, 3).padding(1)),
        (&[2, 7, 6], conv(4, 3).stride(2).padding(1).no_bias()),
        (&[3, 6, 6], Conv2d { padding: ASYMMETRIC, ..conv(2, 5) }),
        (&[2, 7, 8], conv(3, 3).dilation(2).padding(2)),
        (&[4, 5, 5], conv(6, 3).groups(2).padding(1)),
        (&[3, 6, 5], conv(3, 3).groups(3).padding(1).no_bias()),
        (&[2, 6, 8], Conv2d { kernel: [3, 1], stride: [1, 2], ..conv(3, 1) }),
        (&[20, 4, 3], conv(18, 3).padding(1)),
        (&[2, 5, 6], Conv2d { padding_mode: PadMode::Reflect, ..conv(3, 3).padding(2) }),
        (&[2, 5, 6], Conv2d { padding_mode: PadMode::Replicate, padding: ASYMMETRIC, ..conv(3, 3) }),
        (&[2, 5, 6], Conv2d { padding_mode: PadMode::Circular, ..conv(3, 3).padding(1).stride(2) }),
    ]
}

fn transposed_convolutions() -> [(&'static [usize], ConvTranspose2d); 6] {
    let conv = ConvTranspose2d::new;
    [
        (&[3, 4, 3], conv(2, 3, 2).padding(1)),
        (&[2, 4, 5], ConvTranspose2d { output_padding: [1, 0], ..conv(3, 3, 2).padding(1) }),
        (&[4, 3, 4], ConvTranspose2d { groups: 2, bias: false, ..conv(6, 4, 2).padding(1) }),
        (&[2, 4, 4], ConvTranspose2d { dilation: [2, 1], ..conv(2, 3, 1) }),
        (&[2, 3, 3], ConvTranspose2d { output_padding: [2, 1], ..conv(3, 2, 3) }),
        (&[2, 5, 5], ConvTranspose2d { padding: ASYMMETRIC, bias: false, ..conv(2, 4, 2) }),
    ]
}

fn weighted_layers() -> Vec<Case> {
    let local = |conv| LocallyConnected2d::new(conv);
    let locals: [(&[usize], _); 3] = [
        (&[2, 4, 5], local(Conv2d::new(3, 3))),
        (&[3, 5, 4], local(Conv2d::new(2, 3).stride(2).padding(1))),
        (&[1, 4, 4], local(Conv2d { padding: ASYMMETRIC, ..Conv2d::new(2, 2).no_bias() })),
    ];
    let linears: [(&[usize], _); 3] =
        [(&[7], Linear::new(5)), (&[33], Linear::new(17).no_bias()), (&[2, 3, 4], Linear::new(3))];
    [
        on_input("conv2d", &convolutions(), |net, x, conv| net.conv2d("conv", x, conv)),
        on_input("conv_transpose2d", &transposed_convolutions(), |net, x, conv| {
            net.conv_transpose2d("conv", x, conv)
        }),
        on_input("locally_connected2d", &locals, |net, x, layer| net.locally_connected2d("local", x, layer)),
        on_input("linear", &linears, |net, x, linear| net.linear("fc", x, linear)),
    ]
    .concat_cases()
}

fn pools() -> Vec<Case> {
    let (max, avg) = (MaxPool2d::new, AvgPool2d::new);
    let narrow = Padding { top: 1, bottom: 0, left: 0, right: 1 };
    let maxima: [(&[usize], _); 7] = [
        (&[3, 6, 4], max(2)),
        (&[2, 7, 6], max(3).stride(2).padding(1)),
        (&[5, 4, 5], max(3).stride(1).padding(1)),
        (&[2, 6, 6], max(3).stride(2).ceil()),
        (&[2, 5, 6], MaxPool2d { kernel: [2, 3], stride: [1, 2], padding: narrow, ..max(2) }),
        (&[2, 4, 5], max(3).stride(1).padding(2)),
        // More taps than eight bits can number.
        (&[1, 17, 18], max(17).stride(1)),
    ];
    let without_pad = |pool| AvgPool2d { count_include_pad: false, ..pool };
    let means: [(&[usize], _); 8] = [
        (&[3, 6, 4], avg(2)),
        (&[2, 7, 6], avg(3).stride(2).padding(1)),
        (&[2, 7, 6], without_pad(avg(3).stride(2).padding(1))),
        (&[2, 6, 6], AvgPool2d { ceil: true, ..avg(3).stride(2) }),
        (&[2, 4, 5], avg(3).stride(1).padding(2)),
        (&[2, 4, 5], without_pad(AvgPool2d { ceil: true, ..avg(3).stride(2).padding(2) })),
        (&[2, 6, 6], without_pad(AvgPool2d { ceil: true, ..avg(3).stride(2).padding(1) })),
        (&[2, 5, 6], AvgPool2d { kernel: [2, 3], stride: [1, 2], padding: narrow, ..avg(2) }),
    ];
    let wholes: [(&[usize], _); 4] = [
        (&[3, 4, 5], GlobalPool::AVG),
        (&[3, 4, 5], GlobalPool::MAX),
        (&[1, 17, 17], GlobalPool::MAX),
        (&[4, 1, 1], GlobalPool::AVG),
    ];
    [
        on_input("max_pool2d", &maxima, |net, x, pool| net.max_pool2d(x, pool)),
        on_input("avg_pool2d", &means, |net, x, pool| net.avg_pool2d(x, pool)),
        on_input("global_pool", &wholes, |net, x, pool| net.apply(pool, &[x])),
    ]
    .concat_cases()
}

fn pointwise() -> Vec<Case> {
    use ActivationKind::*;
    let functions: [(&[usize], _); 5] = [
        (&[3, 4, 5], Relu),
        (&[19], LeakyRelu { slope: 0.1 }),
        (&[3, 4, 5], Sigmoid),
        (&[3, 4, 5], Tanh),
        (&[19], Relu),
    ];
    let softmaxes: [(&[usize], _); 3] =
        [(&[5], Softmax::LINEAR), (&[19], Softmax::LOG), (&[1], Softmax::LINEAR)];
    let norms: [(&[usize], _); 3] = [
        (&[3, 4, 5], BatchNorm::default()),
        (&[6], BatchNorm::eps(1e-2)),
        (&[17, 2, 3], BatchNorm::eps(1e-3)),
    ];
    let strong = |size| LocalResponseNorm { size, alpha: 0.9, beta: 0.75, k: 1.5 };
    let responses: [(&[usize], _); 4] = [
        (&[7, 2, 3], LocalResponseNorm::ALEXNET),
        (&[7, 2, 3], strong(5)),
        (&[5, 3, 2], strong(4)),
        (&[2, 2, 2], LocalResponseNorm { beta: 0.5, ..strong(3) }),
    ];
    let dropouts: [(&[usize], _); 3] = [(&[3, 4, 5], 0.5), (&[70], 0.25), (&[3], 0.0)];
    let factors: [(&[usize], _); 2] = [(&[3, 4, 5], -0.3), (&[7], 1.0)];
    [
        on_input("activation", &functions, |net, x, kind| net.activation(x, kind)),
        on_input("softmax", &softmaxes, |net, x, softmax| net.apply(softmax, &[x])),
        on_input("batch_norm", &norms, |net, x, norm| net.batch_norm("bn", x, norm)),
        on_input("local_response_norm", &responses, |net, x, norm| net.local_response_norm(x, norm)),
        on_input("dropout", &dropouts, |net, x, p| net.dropout(x, p)),
        on_input("scale", &factors, |net, x, factor| net.apply(Scale { factor }, &[x])),
    ]
    .concat_cases()
}

/// Normalisations by given statistics, alone and with what one kernel computes with them; they have no gradient.
pub(crate) fn normalizations() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, dims) in [&[3usize, 4, 5] as &[usize], &[6], &[17, 2, 3]].into_iter().enumerate() {
        for chain in ["alone", "relu", "add, relu"] {
            cases.push(net(format!("normalize {index}, {chain}"), |net| {
                let x = net.input("x", dims);
                let mut inputs = vec![x];
                for name in ["scale", "shift", "mean", "inv_std"] {
                    inputs.push(net.parameter(name, [dims[0]], Role::Bias, Init::ZEROS));
                }
                let y = net.apply(Normalize, &inputs);
                [match chain {
                    "relu" => net.relu(y),
                    "add, relu" => {
                        let sum = net.add(y, x);
                        net.relu(sum)
                    }
                    _ => y,
                }]
            }));
        }
    }
    cases
}

fn moving() -> Vec<Case> {
    let reshapes: [(&[usize], &[usize]); 7] = [
        (&[3, 2, 4], &[]),
        (&[24], &[3, 2, 4]),
        (&[3, 2, 4], &[4, 3, 2]),
        (&[1, 2, 4], &[8]),
        (&[8], &[8, 1, 1]),
        (&[8, 1, 1], &[1, 2, 4]),
        (&[6], &[2, 3]),
    ];
    let slice = Slice::axis;
    let stepped = |slice, step| Slice { step, ..slice };
    let slices: [(&[usize], _); 6] = [
        (&[5, 3, 4], slice(0, 1, 4)),
        (&[5, 3, 4], slice(1, 0, 2)),
        (&[2, 3, 5], stepped(slice(2, 1, 5), 2)),
        (&[5, 3, 4], stepped(slice(0, 0, 5), 2)),
        (&[9], stepped(slice(0, 2, 9), 3)),
        (&[2, 5, 4], stepped(slice(1, 4, 5), 7)),
    ];
    let pads: Vec<(&[usize], Pad)> = PadMode::ALL
        .into_iter()
        .flat_map(|mode| {
            let narrow = Padding { top: 1, bottom: 2, left: 0, right: 3 };
            [
                (&[2usize, 4, 5] as &[usize], Pad { padding: narrow, mode, channels: [0, 0] }),
                (&[2, 4, 5], Pad { padding: narrow, mode, channels: [1, 2] }),
            ]
        })
        .collect();
    let upsamples: Vec<(&[usize], Upsample)> = [
        UpsampleMode::Nearest,
        UpsampleMode::Bilinear { align_corners: false },
        UpsampleMode::Bilinear { align_corners: true },
    ]
    .into_iter()
    .flat_map(|mode| {
        [[6, 8], [5, 7], [2, 1], [3, 4]].map(|size| (&[2usize, 3, 4] as &[usize], Upsample { size, mode }))
    })
    .collect();
    [
        on_input("reshape", &reshapes, |net, x, dims| net.apply(Reshape { dims: dims.to_vec() }, &[x])),
        on_input("slice", &slices, |net, x, slice| net.apply(slice, &[x])),
        on_input("pad", &pads, |net, x, pad| net.apply(pad, &[x])),
        on_input("upsample", &upsamples, |net, x, upsample| net.apply(upsample, &[x])),
        sums(),
    ]
    .concat_cases()
}

/// Sums and repetitions between a map or a vector and what is smaller.
fn sums() -> Vec<Case> {
    let batched = |dims: &[usize]| Type::batched(dims);
    let single = |dims: &[usize]| Type::single(dims);
    let map = batched(&[3, 2, 4]);
    let pairs = [
        (single(&[]), map.clone()),
        (batched(&[]), map.clone()),
        (single(&[3]), map.clone()),
        (batched(&[3]), map.clone()),
        (batched(&[3, 1, 1]), map.clone()),
        (batched(&[1, 2, 4]), map.clone()),
        (single(&[1, 2, 1]), map.clone()),
        (single(&[3, 2, 4]), map),
        (single(&[]), batched(&[5])),
        (single(&[5]), batched(&[5])),
        (batched(&[1]), batched(&[5])),
        (single(&[]), single(&[4, 3])),
    ];
    let mut cases = Vec::new();
    for (index, (small, large)) in pairs.into_iter().enumerate() {
        for mean in [false, true] {
            let reduce = Reduce { to: small.clone(), scale: 1.5, mean };
            cases.push(net(format!("reduce {index} mean {mean}"), |net| {
                let x = net.named("x").apply(Input { ty: large.clone() }, &[]);
                [net.apply(reduce, &[x])]
            }));
            let expand = Expand { to: large.clone(), scale: if mean { 1.0 } else { -0.5 }, mean };
            cases.push(net(format!("expand {index} mean {mean}"), |net| {
                let x = net.named("x").apply(Input { ty: small.clone() }, &[]);
                [net.apply(expand, &[x])]
            }));
        }
    }
    cases
}

/// Sums and products of values that repeat along some dimensions.
fn binaries() -> Vec<Case> {
    let batched = |dims: &[usize]| Type::batched(dims);
    let single = |dims: &[usize]| Type::single(dims);
    let map = batched(&[3, 2, 4]);
    let pairs = [
        (map.clone(), map.clone()),
        (map.clone(), batched(&[3, 1, 1])),
        (batched(&[1, 2, 4]), map.clone()),
        (batched(&[3, 1, 4]), batched(&[1, 2, 1])),
        (map.clone(), single(&[3, 2, 4])),
        (single(&[1, 1, 1]), map.clone()),
        (map, single(&[1, 2, 1])),
        (batched(&[5]), single(&[5])),
        (batched(&[1]), batched(&[5])),
        (single(&[]), single(&[])),
    ];
    let mut cases = Vec::new();
    for (index, (a, b)) in pairs.into_iter().enumerate() {
        for op in [Binary::ADD, Binary::MULTIPLY] {
            cases.push(net(format!("binary {index} {:?}", op.kind), |net| {
                let x = net.named("x").apply(Input { ty: a.clone() }, &[]);
                let y = net.named("y").apply(Input { ty: b.clone() }, &[]);
                [net.apply(op, &[x, y])]
            }));
        }
    }
    cases
}

fn losses() -> Vec<Case> {
    let cross_entropy = |smoothing: f32| {
        net(format!("cross_entropy {smoothing}"), move |net| {
            let x = net.input("x", [7]);
            let labels = net.named("labels").apply(Input { ty: Type::batched([]).of(DType::U32) }, &[]);
            [net.apply(CrossEntropy { smoothing }, &[x, labels])]
        })
    };
    let compared = |name: &str, dims: &[usize], op: Op, target: &str| {
        net(format!("{name} {}", dims.len()), |net| {
            let (x, target) = (net.input("x", dims), net.input(target, dims));
            [net.apply(op, &[x, target])]
        })
    };
    let mut cases = vec![cross_entropy(0.0), cross_entropy(0.1)];
    for dims in [&[3usize, 2, 4] as &[usize], &[7]] {
        cases.push(compared("bce_with_logits", dims, BceWithLogits.into(), PROBABILITY));
        cases.push(compared("mean_squared_error", dims, MeanSquaredError.into(), "target"));
    }
    cases.push(net("constant", |net| {
        let (x, target) = (net.input("x", [4]), net.input("target", [4]));
        let loss = net.apply(MeanSquaredError, &[x, target]);
        let constant = net.apply(Constant { value: 0.75 }, &[]);
        [net.apply(Binary::MULTIPLY, &[loss, constant])]
    }));
    cases
}

/// Each operation alone.
pub(crate) fn layers() -> Vec<Case> {
    [weighted_layers(), pools(), pointwise(), moving(), binaries(), losses()].concat_cases()
}

fn conv(net: &mut Builder, name: &str, x: Value, out: usize) -> Value {
    net.conv2d(name, x, Conv2d::new(out, 3).padding(1))
}

fn position_bias(net: &mut Builder, dims: &[usize]) -> Value {
    net.parameter("per_position", dims, Role::Bias, Init::ZEROS)
}

/// The name of two residual blocks, with and without a projection.
pub(crate) const RESIDUAL_BLOCKS: &str = "residual blocks";

/// Operations in the company in which plans compute them together or let them share memory.
pub(crate) fn compositions() -> Vec<Case> {
    const IMAGE: [usize; 3] = [3, 5, 6];
    let mut cases = vec![
        net("conv, norm, add, relu", |net| {
            let x = net.input("x", IMAGE);
            let y = net.conv2d("conv", x, Conv2d::new(3, 3).padding(1).no_bias());
            let y = net.batch_norm("bn", y, BatchNorm::eps(1e-3));
            let y = net.add(y, x);
            [net.relu(y)]
        }),
        net("conv with bias, norm", |net| {
            let x = net.input("x", IMAGE);
            let y = net.conv2d("conv", x, Conv2d::new(4, 3).groups(1).stride(2));
            [net.batch_norm("bn", y, BatchNorm::default())]
        }),
        net("grouped conv, norm, relu", |net| {
            let x = net.input("x", [4, 5, 6]);
            let y = net.conv2d("conv", x, Conv2d::new(6, 3).groups(2).padding(1));
            let y = net.batch_norm("bn", y, BatchNorm::default());
            [net.relu(y)]
        }),
        net("conv, add on the other side, relu", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", x, 4);
            let y = net.add(b, a);
            [net.relu(y)]
        }),
        net("conv, relu", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 5);
            [net.relu(y)]
        }),
        net("conv, leaky relu", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 5);
            [net.activation(y, ActivationKind::LeakyRelu { slope: 0.2 })]
        }),
        net("linear, norm, relu", |net| {
            let x = net.input("x", [9]);
            let y = net.linear("fc", x, Linear::new(7));
            let y = net.batch_norm("bn", y, BatchNorm::default());
            [net.relu(y)]
        }),
        net("linear, add, relu", |net| {
            let x = net.input("x", [9]);
            let y = net.linear("fc", x, Linear::new(9));
            let y = net.add(x, y);
            [net.relu(y)]
        }),
        net("norm, add, relu", |net| {
            let x = net.input("x", IMAGE);
            let y = net.batch_norm("bn", x, BatchNorm::default());
            let y = net.add(y, x);
            [net.relu(y)]
        }),
        net(RESIDUAL_BLOCKS, |net| {
            let x = net.input("x", IMAGE);
            let mut y = conv(net, "stem", x, 4);
            for (name, channels) in [("a", 4), ("b", 6)] {
                let z = conv(net, &format!("{name}1"), y, channels);
                let z = net.batch_norm(&format!("{name}1.bn"), z, BatchNorm::default());
                let z = net.relu(z);
                let z = conv(net, &format!("{name}2"), z, channels);
                let z = net.batch_norm(&format!("{name}2.bn"), z, BatchNorm::default());
                let mut shortcut = y;
                if net.ty(y) != net.ty(z) {
                    shortcut = net.conv2d(&format!("{name}3"), y, Conv2d::new(channels, 1).no_bias());
                    shortcut = net.batch_norm(&format!("{name}3.bn"), shortcut, BatchNorm::default());
                }
                let z = net.add(z, shortcut);
                y = net.relu(z);
            }
            [y]
        }),
        net("inception of norms", |net| {
            let x = net.input("x", IMAGE);
            let branches = ["a", "b", "c"].map(|name| {
                let y = conv(net, name, x, 3);
                let y = net.batch_norm(&format!("{name}.bn"), y, BatchNorm::default());
                net.relu(y)
            });
            let pooled = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
            [net.concat(&[&branches[..], &[pooled]].concat())]
        }),
        net("relu of another activation's norm", |net| {
            let x = net.input("x", IMAGE);
            let y = net.batch_norm("bn", x, BatchNorm::default());
            let y = net.activation(y, ActivationKind::Tanh);
            let z = net.relu(y);
            [net.batch_norm("next", z, BatchNorm::default())]
        }),
        net("norm read twice", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 3);
            let y = net.batch_norm("bn", y, BatchNorm::default());
            let z = net.relu(y);
            [net.add(y, z)]
        }),
        net("transposed conv, relu", |net| {
            let x = net.input("x", [4, 3, 4]);
            let conv = ConvTranspose2d {
                groups: 2,
                output_padding: [1, 1],
                ..ConvTranspose2d::new(6, 3, 2).padding(1)
            };
            let y = net.conv_transpose2d("up", x, conv);
            [net.relu(y)]
        }),
        net("two convs with the same weights", |net| {
            let x = net.input("x", IMAGE);
            let weights = net.parameter("shared", [3, 3, 3, 3], Role::Weight, Init::ZEROS);
            let op = Conv2d::new(3, 3).padding(1).no_bias();
            let y = net.apply(op, &[x, weights]);
            let y = net.relu(y);
            [net.apply(op, &[y, weights])]
        }),
    ];
    cases.extend(sharing());
    cases
}

/// Where values may share memory.
fn sharing() -> Vec<Case> {
    const IMAGE: [usize; 3] = [3, 4, 5];
    vec![
        net("concat of convs", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", x, 2);
            let b = net.relu(b);
            [net.concat(&[a, b])]
        }),
        net("concat of one twice", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", x, 2);
            [net.concat(&[a, b, a])]
        }),
        net("concat of an input and a parameter's sum", |net| {
            let x = net.input("x", IMAGE);
            let bias = position_bias(net, &IMAGE);
            let y = net.add(x, bias);
            [net.concat(&[x, y])]
        }),
        net("dense block", |net| {
            let mut x = net.input("x", IMAGE);
            for name in ["a", "b", "c"] {
                let y = conv(net, name, x, 2);
                let y = net.relu(y);
                x = net.concat(&[x, y]);
            }
            [x]
        }),
        net("concat of a conv and of the conv on it", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", a, 4);
            [net.concat(&[a, b])]
        }),
        net("concat of a value and its relu", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = net.relu(a);
            [net.concat(&[a, b])]
        }),
        net("nested concats", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", x, 2);
            let inner = net.concat(&[a, b]);
            let c = conv(net, "c", inner, 3);
            let outer = net.concat(&[inner, c, x]);
            [outer, inner]
        }),
        net("one value in two concats", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", x, 2);
            let (first, second) = (net.concat(&[a, b]), net.concat(&[b, a]));
            [net.add(first, second)]
        }),
        net("concat, pooled and flattened", |net| {
            let x = net.input("x", IMAGE);
            let (a, b) = (conv(net, "a", x, 4), conv(net, "b", x, 2));
            let y = net.concat(&[a, b]);
            let y = net.global_avg_pool(y);
            let y = net.flatten(y);
            [net.linear("fc", y, Linear::new(3))]
        }),
        net("concat of flattened maps", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 4);
            let b = conv(net, "b", x, 1);
            let (a, b) = (net.flatten(a), net.flatten(b));
            let c = net.linear("c", b, Linear::new(5));
            [net.concat(&[a, b, c])]
        }),
        net("a part of a concat, flattened through dropout", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 1);
            let b = conv(net, "b", x, 2);
            let dropped = net.dropout(a, 0.5);
            let flat = net.flatten(dropped);
            let both = net.concat(&[a, b]);
            [net.linear("fc", flat, Linear::new(3)), both]
        }),
        net("a part of a concat, pooled to a pixel and flattened", |net| {
            let x = net.input("x", IMAGE);
            let a = net.global_avg_pool(x);
            let b = net.apply(GlobalPool::MAX, &[x]);
            let flat = net.flatten(a);
            let both = net.concat(&[a, b]);
            [flat, both]
        }),
        net("views of views", |net| {
            let x = net.input("x", [8]);
            let y = net.linear("fc", x, Linear::new(8));
            let y = net.apply(Reshape { dims: vec![8, 1, 1] }, &[y]);
            let y = net.dropout(y, 0.5);
            let y = net.relu(y);
            [net.flatten(y)]
        }),
        net("reshaped map, convolved", |net| {
            let x = net.input("x", [24]);
            let y = net.apply(Reshape { dims: vec![2, 3, 4] }, &[x]);
            let y = conv(net, "conv", y, 4);
            [net.apply(Reshape { dims: vec![3, 4, 4] }, &[y])]
        }),
        net("activations in a row", |net| {
            let x = net.input("x", IMAGE);
            let mut y = net.max_pool2d(x, MaxPool2d::new(2).stride(1));
            for kind in
                [ActivationKind::LeakyRelu { slope: 0.5 }, ActivationKind::Tanh, ActivationKind::Sigmoid]
            {
                y = net.activation(y, kind);
            }
            [y]
        }),
        net("activation of an input", |net| {
            let x = net.input("x", IMAGE);
            let y = net.relu(x);
            [net.add(y, x)]
        }),
        net("a value added to itself", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 3);
            let y = net.add(y, y);
            [net.relu(y)]
        }),
        net("a value multiplied by itself", |net| {
            let x = net.input("x", IMAGE);
            let y = net.max_pool2d(x, MaxPool2d::new(2).stride(1));
            [net.apply(Binary::MULTIPLY, &[y, y])]
        }),
        net("a sum over a value still read", |net| {
            let x = net.input("x", IMAGE);
            let a = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
            let b = net.avg_pool2d(x, AvgPool2d::new(3).stride(1).padding(1));
            let sum = net.add(a, b);
            let product = net.apply(Binary::MULTIPLY, &[sum, a]);
            [net.add(product, sum)]
        }),
        net("intermediate values as outputs", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 3);
            let b = net.batch_norm("bn", a, BatchNorm::default());
            let c = net.add(b, x);
            let d = net.relu(c);
            let e = net.activation(d, ActivationKind::Tanh);
            [e, a, b, c, d]
        }),
        net("an output that is read on", |net| {
            let x = net.input("x", IMAGE);
            let a = conv(net, "a", x, 3);
            let a = net.relu(a);
            let b = conv(net, "b", a, 2);
            [a, net.activation(b, ActivationKind::Sigmoid)]
        }),
        net("the input as an output", |net| {
            let x = net.input("x", IMAGE);
            [net.relu(x), x]
        }),
        net("one output under two names", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "a", x, 2);
            let flat = net.flatten(y);
            [y, y, flat]
        }),
        net("a bias per position", |net| {
            let x = net.input("x", IMAGE);
            let y = net.conv2d("conv", x, Conv2d::new(1, 1).no_bias());
            let bias = position_bias(net, &[1, 4, 5]);
            let y = net.add(y, bias);
            let y = net.flatten(y);
            [net.softmax(y)]
        }),
        net("a bias per position and channel", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 3);
            let bias = position_bias(net, &IMAGE);
            let y = net.add(y, bias);
            [net.relu(y)]
        }),
        net("a scale per channel, from a vector", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 4);
            let scale = net.parameter("scale", [4], Role::Scale, Init::ONES);
            let scale = net.apply(Reshape { dims: vec![4, 1, 1] }, &[scale]);
            [net.apply(Binary::MULTIPLY, &[scale, y])]
        }),
        net("shortcut without parameters", |net| {
            let x = net.input("x", [2, 6, 6]);
            let y = net.conv2d("conv", x, Conv2d::new(4, 3).stride(2).padding(1));
            let rows = net.apply(Slice { axis: 1, start: 0, end: 6, step: 2 }, &[x]);
            let pixels = net.apply(Slice { axis: 2, start: 0, end: 6, step: 2 }, &[rows]);
            let pad = Pad { padding: Padding::NONE, mode: PadMode::Zeros, channels: [1, 1] };
            let shortcut = net.apply(pad, &[pixels]);
            let y = net.add(y, shortcut);
            [net.relu(y)]
        }),
        net("a slice of a slice, flattened", |net| {
            let x = net.input("x", [4, 2, 3]);
            let y = conv(net, "conv", x, 5);
            let part = net.apply(Slice::axis(0, 1, 4), &[y]);
            let one = net.apply(Slice::axis(0, 1, 2), &[part]);
            let flat = net.flatten(one);
            let whole = net.flatten(y);
            [flat, net.global_avg_pool(part), net.linear("fc", whole, Linear::new(2)), one]
        }),
        net("channels split, worked on and joined", |net| {
            let x = net.input("x", [4, 3, 3]);
            let y = conv(net, "conv", x, 4);
            let a = net.apply(Slice::axis(0, 0, 2), &[y]);
            let b = net.apply(Slice::axis(0, 2, 4), &[y]);
            let a = net.relu(a);
            [net.concat(&[b, a])]
        }),
        net("gate", |net| {
            let x = net.input("x", IMAGE);
            let y = conv(net, "conv", x, 4);
            let gate = net.global_avg_pool(y);
            let gate = net.conv2d("fc", gate, Conv2d::new(4, 1));
            let gate = net.activation(gate, ActivationKind::Sigmoid);
            [net.apply(Binary::MULTIPLY, &[y, gate])]
        }),
    ]
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    [layers(), compositions(), arrays::layers()].concat_cases()
}

/// Cases whose one output is linear in their input x.
pub(crate) fn linear_cases() -> Vec<Case> {
    let unbiased: Vec<_> = convolutions().into_iter().map(|(dims, conv)| (dims, conv.no_bias())).collect();
    let unbiased_transposed: Vec<_> = transposed_convolutions()
        .into_iter()
        .map(|(dims, conv)| (dims, ConvTranspose2d { bias: false, ..conv }))
        .collect();
    let products = binaries().into_iter().filter(|case| case.name.ends_with("Multiply"));
    let mut cases = [
        on_input("conv2d", &unbiased, |net, x, conv| net.conv2d("conv", x, conv)),
        on_input("conv_transpose2d", &unbiased_transposed, |net, x, conv| {
            net.conv_transpose2d("conv", x, conv)
        }),
        on_input("linear", &[(&[6], ())], |net, x, ()| net.linear("fc", x, Linear::new(4).no_bias())),
        on_input("scale", &[(&[6], ())], |net, x, ()| net.apply(Scale { factor: -0.7 }, &[x])),
        on_input("concat", &[(&[2, 3, 4], ())], |net, x, ()| net.concat(&[x, x])),
        moving(),
        arrays::linear(),
    ]
    .concat_cases();
    cases.extend(products);
    cases
}

trait ConcatCases {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> ConcatCases for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

/// Networks of layers on maps of 3×4 pixels, each layer on any values before it; what no layer reads is an output.
pub(crate) fn networks() -> impl Strategy<Value = Case> {
    let layer = (0..KINDS, prop::collection::vec(any::<prop::sample::Index>(), 1..4));
    prop::collection::vec(layer, 2..10).prop_map(|layers| {
        let mut net = Builder::new("network");
        let mut values = vec![net.input("x", [3, 3, 4])];
        for (index, (kind, operands)) in layers.into_iter().enumerate() {
            let operands: Vec<Value> = operands.iter().map(|operand| *operand.get(&values)).collect();
            values.push(layer_of_network(&mut net, index, kind, &operands));
        }
        let read: HashSet<Value> =
            net.graph().nodes().flat_map(|(_, node)| node.inputs.iter().copied()).collect();
        values.iter().filter(|value| !read.contains(*value)).for_each(|value| net.output(*value));
        Case { name: "network".into(), graph: net.finish().unwrap() }
    })
}

const KINDS: usize = 19;

/// A layer of one of `KINDS` kinds on one, two or all of `operands`; it keeps the pixels.
fn layer_of_network(net: &mut Builder, index: usize, kind: usize, operands: &[Value]) -> Value {
    let (first, last) = (operands[0], operands[operands.len() - 1]);
    let name = format!("layer{index}");
    match kind {
        0 => net.conv2d(&name, last, Conv2d::new(2 + index % 3, 1)),
        1 => net.conv2d(&name, last, Conv2d::new(3, 3).padding(1).no_bias()),
        2 => net.batch_norm(&name, last, BatchNorm::default()),
        3 => net.relu(last),
        4 => net.activation(last, ActivationKind::Sigmoid),
        5 => net.dropout(last, 0.25),
        6 => net.max_pool2d(last, MaxPool2d::new(3).stride(1).padding(1)),
        7 => net.avg_pool2d(last, AvgPool2d::new(3).stride(1).padding(1)),
        8 => net.apply(Slice::axis(0, 0, net.ty(last).dims[0].div_ceil(2)), &[last]),
        9 => {
            let gate = net.global_avg_pool(last);
            net.apply(Binary::MULTIPLY, &[last, gate])
        }
        10 => {
            let flat = net.flatten(last);
            let dims = net.ty(last).dims.clone();
            net.apply(Reshape { dims }, &[flat])
        }
        11 | 12 if net.ty(first) == net.ty(last) => net.add(first, last),
        14 => net.activation(last, ActivationKind::Swish { alpha: 1.0 }),
        15 => net.apply(Standardize { axes: vec![1, 2], eps: 0.1 }, &[last]),
        16 => {
            let kind = ActivationKind::Clip { min: -0.5, max: 1.0 };
            let bounded = net.activation(last, kind);
            net.apply(Binary::SUBTRACT, &[last, bounded])
        }
        17 => {
            let turned = net.apply(Permute { axes: vec![1, 0, 2] }, &[last]);
            let joined = net.apply(Concat { axis: 1 }, &[turned, turned]);
            net.apply(Permute { axes: vec![1, 0, 2] }, &[joined])
        }
        _ => net.concat(operands),
    }
}

/// The name of inputs that hold numbers in 0 ..= 1.
pub(crate) const PROBABILITY: &str = "probability";

/// The name of inputs that hold numbers above 0, and differentiable.
pub(crate) const POSITIVE: &str = "positive";

/// What a graph is computed from. All numbers are float32.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) inputs: Arrays,
    pub(crate) parameters: Arrays,
}

/// Random data. Floats are apart from each other and from 0, so that a small step changes no maximum and no sign:
/// a shuffled grid.
pub(crate) fn draw(graph: &Graph, batch: usize, seed: u64) -> Data {
    let array = |name: &str, value: Value, rng: &mut Rng| -> Vec<f64> {
        let ty = graph.ty(value);
        let len = ty.elements() * if ty.batched { batch } else { 1 };
        match (ty.dtype, name) {
            (DType::U32, STEP) => vec![3.0],
            (DType::U32, _) => (0..len).map(|_| rng.below(classes(graph, value)) as f64).collect(),
            _ => {
                let mut grid: Vec<f32> = (0..len).map(|i| (i as f32 + 0.5) / len as f32).collect();
                rng.shuffle(&mut grid);
                let scale = |x: f32| match name {
                    PROBABILITY => x,
                    POSITIVE => 0.3 + 2.0 * x,
                    _ if name.ends_with("running_var") => x,
                    _ => 3.0 * x - 1.4,
                };
                grid.into_iter().map(|x| f64::from(scale(x + 0.01))).collect()
            }
        }
    };
    let mut rng = Rng::new(seed, Purpose::Init, 0, 0);
    let inputs =
        graph.inputs().map(|(node, v)| (node.name.clone(), array(&node.name, v, &mut rng))).collect();
    let parameters =
        graph.parameters().map(|(node, _, v)| (node.name.clone(), array(&node.name, v, &mut rng))).collect();
    Data { inputs, parameters }
}

/// How many classes the loss has that reads these labels.
fn classes(graph: &Graph, labels: Value) -> usize {
    let reads = |(_, node): &(NodeId, &striate_graph::Node)| node.inputs.contains(&labels);
    let (_, loss) = graph.nodes().find(reads).expect("a loss reads the labels");
    graph.ty(loss.inputs[0]).elements()
}

pub(crate) fn single(data: &[f64]) -> Vec<f32> {
    data.iter().map(|x| *x as f32).collect()
}

/// A session that has its parameters and inputs.
pub(crate) fn session(graph: &Graph, batch: usize, threads: usize, isa: Isa, data: &Data) -> Session {
    session_of(graph, PlanOptions { threads, isa, ..PlanOptions::new(batch) }, data)
}

/// The same with any options.
pub(crate) fn session_of(graph: &Graph, options: PlanOptions, data: &Data) -> Session {
    let plan = Plan::new(graph, options).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::new(plan).unwrap();
    let tensor = |(node, parameter, _): (&striate_graph::Node, &Parameter, Value)| {
        (node.name.clone(), Tensor::new(parameter.dims.clone(), single(&data.parameters[&node.name])))
    };
    session.load(&Parameters(graph.parameters().map(tensor).collect())).unwrap();
    for (node, value) in graph.inputs() {
        let given = &data.inputs[&node.name];
        match graph.ty(value).dtype {
            DType::F32 => session.set_input(&node.name, &single(given)).unwrap(),
            _ => {
                let place = session.input_u32(&node.name).unwrap();
                place.iter_mut().zip(given).for_each(|(to, from)| *to = *from as u32);
            }
        }
    }
    session
}

/// An output's elements as numbers, in logical order.
pub(crate) fn output_of(session: &Session, graph: &Graph, output: &Output) -> Result<Vec<f32>, String> {
    if graph.ty(output.value).dtype == DType::U32 {
        let places = session.output_u32(&output.name).map_err(|error| error.to_string())?;
        return Ok(places.into_iter().map(|place| place as f32).collect());
    }
    Ok(session.output(&output.name).map_err(|error| error.to_string())?.data)
}

/// How far float32 may be off on a graph whose values are up to `greatest`. Each term of the sums that lead to a value
/// is rounded by up to ε, up or down: together by about the root of their number.
pub(crate) fn tolerance(graph: &Graph, batch: usize, greatest: f64) -> f64 {
    assert!(greatest.is_finite(), "a reference that is not finite would allow anything");
    let terms: f64 = graph.nodes().map(|(_, node)| terms(graph, &node.op, node, batch)).sum();
    4.0 * f64::from(f32::EPSILON) * terms.sqrt() * greatest.max(1.0)
}

/// Terms that are summed for an element of a node's smallest output.
fn terms(graph: &Graph, op: &Op, node: &striate_graph::Node, batch: usize) -> f64 {
    /// Operations within a kernel that is no sum: an exponential and what surrounds it.
    const POINTWISE: f64 = 8.0;
    if op.is_leaf() || node.outputs.is_empty() {
        return 0.0;
    }
    let len = |ty: &Type| (ty.elements() * if ty.batched { batch } else { 1 }) as f64;
    let types = |values: &[Value]| values.iter().map(|v| graph.ty(*v)).collect::<Vec<_>>();
    let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
    let smallest = outputs.iter().map(|ty| len(ty)).fold(f64::INFINITY, f64::min);
    let largest = inputs.iter().map(|ty| len(ty)).fold(0.0, f64::max);
    let macs = (op.macs(&inputs, &outputs) * batch as u64) as f64;
    POINTWISE + (macs / smallest).max(if macs > 0.0 { 0.0 } else { largest / smallest })
}

/// The element that is furthest off, if further than the tolerance.
pub(crate) fn compare(what: &str, found: &[f32], expected: &[f64], tolerance: f64) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{what} has {} elements instead of {}", found.len(), expected.len()));
    }
    let off = |index: &usize| {
        let off = (f64::from(found[*index]) - expected[*index]).abs();
        if off.is_nan() { f64::INFINITY } else { off }
    };
    match (0..found.len()).max_by(|a, b| off(a).total_cmp(&off(b))) {
        Some(worst) if off(&worst) > tolerance => Err(format!(
            "{what}[{worst}] of {} is {} instead of {}, off by {:.1e} of at most {tolerance:.1e}",
            found.len(),
            found[worst],
            expected[worst],
            off(&worst)
        )),
        _ => Ok(()),
    }
}

pub(crate) fn greatest<'a>(arrays: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    arrays.into_iter().flatten().fold(0.0, |greatest, x| greatest.max(x.abs()))
}

/// Checks all cases and reports every one that fails, panics included.
pub(crate) fn check_all(cases: impl IntoIterator<Item = Case>, check: impl Fn(&Case) -> Result<(), String>) {
    let mut failures = Vec::new();
    for case in cases {
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default())
        });
        if let Err(problem) = outcome {
            failures.push(format!("{}: {problem}", case.name));
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}
