//! Every operation, alone and in company, computes in a session what the interpreter computes.

mod common;

use common::*;
use proptest::prelude::*;
use striate_engine::reference::{self, ReferenceError};
use striate_engine::{Isa, Parameters, Plan, PlanOptions, Session};
use striate_graph::ops::*;
use striate_graph::training::training_mode;
use striate_graph::{Builder, Graph, Type};

/// Compares outputs and running statistics after one run, and outputs after a second.
fn equals_the_interpreter(
    case: &Case,
    batch: usize,
    machines: &[(Isa, usize)],
    seed: u64,
) -> Result<(), String> {
    let graph = &case.graph;
    let data = draw(graph, batch, seed);
    let expected =
        reference::run(graph, batch, &data.inputs, &data.parameters).map_err(|error| error.to_string())?;
    let values = graph.nodes().flat_map(|(_, node)| &node.outputs);
    let tolerance = tolerance(graph, batch, greatest(values.map(|value| &expected[*value])));
    for &(isa, threads) in machines {
        let mut session = session(graph, batch, threads, isa, &data);
        let outputs = |session: &Session, run: &str| {
            for output in graph.outputs() {
                let what = format!("{} ({run} run, batch {batch}, {isa}, {threads} threads)", output.name);
                let found = output_of(session, graph, output)?;
                compare(&what, &found, &expected[output.value], tolerance)?;
            }
            Ok::<(), String>(())
        };
        session.run().map_err(|error| error.to_string())?;
        outputs(&session, "first")?;
        let mut stored = Parameters::default();
        session.store(&mut stored);
        for (node, _, value) in graph.parameters() {
            if let Some(found) = stored.get(&node.name) {
                let what = format!("{} (batch {batch}, {isa}, {threads} threads)", node.name);
                compare(&what, &found.data, &expected[value], tolerance)?;
            }
        }
        session.run().map_err(|error| error.to_string())?;
        outputs(&session, "second")?;
    }
    Ok(())
}

fn everywhere(case: &Case) -> Result<(), String> {
    let machines: Vec<(Isa, usize)> = Isa::present().flat_map(|isa| [(isa, 1), (isa, 2)]).collect();
    [1, 3].into_iter().try_for_each(|batch| equals_the_interpreter(case, batch, &machines, 1))
}

/// The cases as they are, and in training mode where that differs.
fn in_both_modes(cases: Vec<Case>) -> impl Iterator<Item = Case> {
    cases.into_iter().flat_map(|case| {
        let training = case.training();
        [Some(case), training].into_iter().flatten()
    })
}

#[test]
fn layers_equal_the_interpreter() {
    check_all(in_both_modes(layers()), everywhere);
}

#[test]
fn values_of_any_rank_equal_the_interpreter() {
    check_all(arrays::layers(), everywhere);
}

#[test]
fn functions_without_gradient_equal_the_interpreter() {
    check_all(arrays::flat(), everywhere);
}

#[test]
fn normalizations_equal_the_interpreter() {
    check_all(normalizations(), everywhere);
}

#[test]
fn fused_and_shared_values_equal_the_interpreter() {
    check_all(in_both_modes(compositions()), everywhere);
}

/// The statistics of a batch norm are read by a node that comes before the ReLU computed with it.
#[test]
fn all_outputs_of_a_fused_node_are_there_for_the_next() {
    let case = net("statistics", |net| {
        let x = net.input("x", [3, 2, 2]);
        [net.batch_norm("bn", x, BatchNorm::default())]
    });
    let mut graph = training_mode(&case.graph).unwrap();
    let [y, mean, _] = graph.find("bn").unwrap().1.outputs[..] else { unreachable!("it is in training") };
    let doubled = graph.push("doubled", Scale { factor: 2.0 }, &[mean]).unwrap()[0];
    let relu = Activation { kind: ActivationKind::Relu };
    let y = graph.push("relu", relu, &[y]).unwrap()[0];
    let graph = graph.with_outputs([("main", y), ("doubled", doubled)]);
    everywhere(&Case { name: "statistics".into(), graph }).unwrap();
}

/// The algorithm of the first step whose operation is `op`.
fn algorithm(graph: &Graph, op: &str) -> String {
    let plan = Plan::new(graph, PlanOptions { threads: 1, ..PlanOptions::new(2) }).unwrap();
    let step = plan.steps().find(|step| step.op == op);
    step.unwrap_or_else(|| panic!("no {op} in the plan")).algorithm.to_string()
}

#[test]
fn convolutions_write_into_the_concatenation() {
    let case = |name: &str| compositions().into_iter().find(|case| case.name == name).unwrap().graph;
    assert_eq!(algorithm(&case("concat of convs"), "concat"), "no copy");
    assert_eq!(algorithm(&case("concat of one twice"), "concat"), "2 copied");
}

#[test]
fn what_follows_a_convolution_is_computed_with_it() {
    let case = compositions().into_iter().find(|case| case.name == "conv, norm, add, relu").unwrap();
    let described = algorithm(&case.graph, "conv2d");
    assert!(described.ends_with("+ batch norm + add + relu"), "{described}");
    let plan = Plan::new(&case.graph, PlanOptions::new(1)).unwrap();
    assert_eq!(plan.steps().len(), 1);
    let clipped = arrays::layers().into_iter().find(|case| case.name == "convs held within bounds").unwrap();
    // The two convolutions, the flattening, the fully connected layer.
    assert_eq!(Plan::new(&clipped.graph, PlanOptions::new(1)).unwrap().steps().len(), 4);
    let described = algorithm(&clipped.graph, "conv2d");
    assert!(described.ends_with("+ batch norm + add + clip"), "{described}");
}

/// Strategies for attributes; what does not fit its input is left out.
mod any {
    use super::*;

    fn dims() -> impl Strategy<Value = [usize; 3]> {
        (1..=20usize, 1..=9usize, 1..=9usize).prop_map(|(c, h, w)| [c, h, w])
    }

    fn pair(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = [usize; 2]> {
        [range.clone(), range]
    }

    fn padding(most: usize) -> impl Strategy<Value = Padding> {
        [0..=most, 0..=most, 0..=most, 0..=most].prop_map(|[top, bottom, left, right]| Padding {
            top,
            bottom,
            left,
            right,
        })
    }

    fn fitting(
        name: &'static str,
        dims: [usize; 3],
        layer: impl FnOnce(&mut Builder, striate_graph::Value) -> striate_graph::Value,
    ) -> Option<Case> {
        let mut net = Builder::new(name);
        let x = net.input("x", dims);
        let y = layer(&mut net, x);
        net.output(y);
        Some(Case { name: name.into(), graph: net.finish().ok()? })
    }

    pub(super) fn conv2d() -> impl Strategy<Value = Case> {
        let attributes =
            (1..=20usize, pair(1..=5), pair(1..=3), pair(1..=2), padding(3), 1..=4usize, any::<bool>());
        let mode = prop::sample::select(PadMode::ALL.to_vec());
        (dims(), attributes, mode, any::<[bool; 2]>()).prop_filter_map(
            "fits",
            |(dims, attributes, mode, after)| {
                let (out, kernel, stride, dilation, padding, groups, bias) = attributes;
                let out = out.next_multiple_of(groups);
                let [channels, h, w] = dims;
                let dims = [channels.next_multiple_of(groups), h, w];
                let conv =
                    Conv2d { out, kernel, stride, padding, padding_mode: mode, dilation, groups, bias };
                fitting("conv2d", dims, |net, x| {
                    let mut y = net.conv2d("conv", x, conv);
                    if after[0] {
                        y = net.batch_norm("bn", y, BatchNorm::default());
                    }
                    if after[1] { net.relu(y) } else { y }
                })
            },
        )
    }

    pub(super) fn conv_transpose2d() -> impl Strategy<Value = Case> {
        let attributes =
            (1..=9usize, pair(1..=4), pair(1..=3), pair(1..=2), padding(2), pair(0..=2), 1..=3usize);
        (dims(), attributes, any::<bool>()).prop_filter_map("fits", |(dims, attributes, bias)| {
            let (out, kernel, stride, dilation, padding, output_padding, groups) = attributes;
            let out = out.next_multiple_of(groups);
            let dims = [dims[0].next_multiple_of(groups), dims[1], dims[2]];
            let conv =
                ConvTranspose2d { out, kernel, stride, padding, output_padding, dilation, groups, bias };
            fitting("conv_transpose2d", dims, |net, x| net.conv_transpose2d("conv", x, conv))
        })
    }

    pub(super) fn pool() -> impl Strategy<Value = Case> {
        let attributes = (pair(1..=4), pair(1..=3), padding(2), any::<[bool; 3]>());
        (dims(), attributes).prop_filter_map("fits", |(dims, (kernel, stride, padding, flags))| {
            let [max, ceil, count_include_pad] = flags;
            fitting("pool", dims, |net, x| {
                if max {
                    net.max_pool2d(x, MaxPool2d { kernel, stride, padding, ceil, save_indices: false })
                } else {
                    net.avg_pool2d(x, AvgPool2d { kernel, stride, padding, ceil, count_include_pad })
                }
            })
        })
    }

    pub(super) fn moved() -> impl Strategy<Value = Case> {
        let slice = (0..3usize, 0..9usize, 1..=9usize, 1..=3usize);
        let pad = (padding(4), prop::sample::select(PadMode::ALL.to_vec()), pair(0..=3));
        (dims(), slice, pad, 0..3usize).prop_filter_map("fits", |(dims, slice, pad, order)| {
            let (axis, start, end, step) = slice;
            let (slice, (padding, mode, channels)) = (Slice { axis, start, end, step }, pad);
            fitting("slice and pad", dims, |net, x| {
                let x = net.apply(slice, &[x]);
                let x = net.apply(Pad { padding, mode, channels }, &[x]);
                let mut dims = net.ty(x).dims.clone();
                dims.rotate_left(order % net.ty(x).dims.len());
                let x = net.apply(Reshape { dims }, &[x]);
                net.activation(x, ActivationKind::Tanh)
            })
        })
    }

    /// Two maps, dimensions of either or both replaced by 1.
    pub(super) fn binary() -> impl Strategy<Value = Case> {
        let ones = || any::<[bool; 3]>();
        (dims(), ones(), ones(), any::<[bool; 4]>()).prop_map(
            |(dims, a, b, [product, relu, single_a, single_b])| {
                let operand = |ones: [bool; 3], single| {
                    let dims: [usize; 3] = std::array::from_fn(|i| if ones[i] { 1 } else { dims[i] });
                    Input { ty: if single { Type::single(dims) } else { Type::batched(dims) } }
                };
                net("binary", |net| {
                    let a = net.named("a").apply(operand(a, single_a), &[]);
                    let b = net.named("b").apply(operand(b, single_b), &[]);
                    let y = net.apply(if product { Binary::MULTIPLY } else { Binary::ADD }, &[a, b]);
                    [if relu { net.relu(y) } else { y }]
                })
            },
        )
    }

    pub(super) fn upsample() -> impl Strategy<Value = Case> {
        let modes = [
            UpsampleMode::Nearest,
            UpsampleMode::Bilinear { align_corners: false },
            UpsampleMode::Bilinear { align_corners: true },
        ];
        (dims(), pair(1..=13), prop::sample::select(modes.to_vec())).prop_map(|(dims, size, mode)| {
            net("upsample", |net| {
                let x = net.input("x", dims);
                [net.apply(Upsample { size, mode }, &[x])]
            })
        })
    }
}

fn holds(case: &Case, batch: usize, seed: u64) -> Result<(), TestCaseError> {
    let machines: Vec<(Isa, usize)> = Isa::present().map(|isa| (isa, 2)).collect();
    equals_the_interpreter(case, batch, &machines, seed).map_err(|problem| {
        let ops: Vec<&Op> = case.graph.nodes().map(|(_, node)| &node.op).filter(|op| !op.is_leaf()).collect();
        TestCaseError::fail(format!("{problem}\nof {ops:?}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution(case in any::conv2d(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
    }

    #[test]
    fn any_transposed_convolution(case in any::conv_transpose2d(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
    }

    #[test]
    fn any_pool(case in any::pool(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
    }

    #[test]
    fn any_slice_padding_and_reshape(case in any::moved(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
    }

    #[test]
    fn any_broadcast(case in any::binary(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
    }

    #[test]
    fn any_upsampling(case in any::upsample(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
    }

    #[test]
    fn any_network(case in networks(), batch in 1..4usize, seed: u64) {
        holds(&case, batch, seed)?;
        if let Some(training) = case.training() {
            holds(&training, batch, seed)?;
        }
    }
}

/// Float operations on indices are refused by name, not computed on their bits.
#[test]
fn operations_on_floats_refuse_integers() {
    let case = net("places", |net| {
        let x = net.input("x", [3, 4]);
        let places = net.apply(ArgMax { axis: 0, least: false, last: false }, &[x]);
        [net.apply(Flip { axis: 0 }, &[places])]
    });
    let error = Plan::new(&case.graph, PlanOptions::new(1)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("N×4 holds U32, but it works on floats alone"), "{error}");
}

#[test]
fn the_interpreter_names_what_it_cannot_compute() {
    let case = net("fc", |net| {
        let x = net.input("x", [3]);
        [net.linear("fc", x, Linear::new(2))]
    });
    let data = draw(&case.graph, 2, 0);
    let run = |graph: &Graph, data: &Data| reference::run(graph, 2, &data.inputs, &data.parameters);
    let mut missing = data.clone();
    missing.parameters.remove("fc.bias");
    let error = run(&case.graph, &missing).unwrap_err();
    assert_eq!(error, ReferenceError::Missing { what: "parameter", name: "fc.bias".into(), expected: 2 });
    let mut short = data.clone();
    short.inputs.get_mut("x").unwrap().pop();
    let error = run(&case.graph, &short).unwrap_err();
    assert_eq!(error, ReferenceError::Size { what: "input", name: "x".into(), expected: 6, found: 5 });

    let mut graph = case.graph.clone();
    let weights = graph.find("fc.weight").unwrap().1.outputs[0];
    let rate = graph.push("rate", Constant { value: 0.1 }, &[]).unwrap()[0];
    let update = SgdUpdate { momentum: false, nesterov: false, weight_decay: 0.0 };
    graph.push("step", update, &[weights, weights, rate]).unwrap();
    let error = run(&graph, &data).unwrap_err();
    assert_eq!(error, ReferenceError::NotInterpreted { node: "step".into(), op: "sgd_update" });
}
