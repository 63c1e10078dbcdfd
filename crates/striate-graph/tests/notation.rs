//! The notation: what it reads, that what it prints reads back exactly, and what it says when a text is wrong.

use proptest::prelude::*;
use std::collections::BTreeSet;
use striate_graph::analysis::summarise;
use striate_graph::notation::{self, Defaults, PrintError, parse, parse_with, print};
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining};
use striate_graph::{Builder, DType, Fan, Graph, Init, Type, Value};

/// The graph of a text over `input`, which must be right.
fn read(input: &[usize], text: &str) -> Graph {
    let defaults = Defaults { input: input.to_vec(), ..Defaults::default() };
    parse_with(text, &defaults).unwrap_or_else(|errors| panic!("{}", errors.render("test", text)))
}

/// Prints and reads back.
fn round_trip(graph: &Graph) -> String {
    let text = print(graph).unwrap_or_else(|error| panic!("{error}"));
    let read = parse(&text).unwrap_or_else(|errors| panic!("{}", errors.render("print", &text)));
    assert_eq!(read, *graph, "{text}");
    text
}

/// The operations of a graph, without leaves.
fn ops(graph: &Graph) -> Vec<Op> {
    graph.nodes().map(|(_, node)| node.op.clone()).filter(|op| !op.is_leaf()).collect()
}

/// The only operation of a text over an 8-channel 8×8 map.
fn op(text: &str) -> Op {
    let ops = ops(&read(&[8, 8, 8], text));
    assert_eq!(ops.len(), 1, "{text}: {ops:?}");
    ops[0].clone()
}

#[test]
fn every_word_means_its_operation() {
    let conv = Conv2d::new(64, 3).padding(1);
    let around = |top, bottom, left, right| Padding { top, bottom, left, right };
    let batched = Type::batched;
    use ActivationKind::*;
    let function = |kind| Op::from(Activation { kind });
    let resize =
        |size, mode| Resize { axis: 1, size, scale: None, mode, coordinates: Coordinates::HalfPixel };
    let cubic = |exclude_outside| ResizeMode::Cubic { a: -0.75, exclude_outside };
    let rows: Vec<(&str, Op)> = vec![
        ("conv3-64", conv.into()),
        ("CONV", conv.into()),
        ("Conv2d", conv.into()),
        ("conv-16", Conv2d { out: 16, ..conv }.into()),
        ("conv 16", Conv2d { out: 16, ..conv }.into()),
        ("conv5", Conv2d { kernel: [5; 2], ..conv }.padding(2).into()),
        ("conv7-64/2", Conv2d::new(64, 7).padding(3).stride(2).into()),
        ("conv3x5-64", Conv2d { kernel: [3, 5], padding: around(1, 1, 2, 2), ..conv }.into()),
        ("conv3×5-64", Conv2d { kernel: [3, 5], padding: around(1, 1, 2, 2), ..conv }.into()),
        ("conv3-64/2x1", Conv2d { stride: [2, 1], ..conv }.into()),
        ("conv4-64", Conv2d::new(64, 4).into()),
        ("conv3-64 pad 0", Conv2d::new(64, 3).into()),
        ("conv3-64 valid", Conv2d::new(64, 3).into()),
        ("conv3-64 same", conv.into()),
        ("conv3-64 pad 1x2", Conv2d { padding: around(1, 1, 2, 2), ..conv }.into()),
        ("conv3-64 pad 0+1x2+3", Conv2d { padding: around(0, 1, 2, 3), ..conv }.into()),
        ("conv3-64 dilation 2", conv.dilation(2).padding(2).into()),
        ("conv3-64 groups 2 nobias", conv.groups(2).no_bias().into()),
        ("conv3-64 reflect", Conv2d { padding_mode: PadMode::Reflect, ..conv }.into()),
        ("conv3-64 circular", Conv2d { padding_mode: PadMode::Circular, ..conv }.into()),
        ("conv3-64 replicate", Conv2d { padding_mode: PadMode::Replicate, ..conv }.into()),
        ("deconv4-16/2 pad 1", ConvTranspose2d::new(16, 4, 2).padding(1).into()),
        (
            "deconv3-16/2 output-pad 1",
            ConvTranspose2d { output_padding: [1; 2], ..ConvTranspose2d::new(16, 3, 2).padding(1) }.into(),
        ),
        ("local3-4", LocallyConnected2d::new(Conv2d::new(4, 3).padding(1)).into()),
        ("maxpool", MaxPool2d::new(2).into()),
        ("POOL2", MaxPool2d::new(2).into()),
        ("max-pool3/2", MaxPool2d::new(3).stride(2).into()),
        ("maxpool 3/2 pad 1", MaxPool2d::new(3).stride(2).padding(1).into()),
        ("maxpool3 ceil", MaxPool2d::new(3).ceil().into()),
        ("avgpool7/1", AvgPool2d::new(7).stride(1).into()),
        (
            "avgpool3 pad 1 exclude-pad",
            AvgPool2d { count_include_pad: false, ..AvgPool2d::new(3).padding(1) }.into(),
        ),
        ("gap", GlobalPool::AVG.into()),
        ("gmp", GlobalPool::MAX.into()),
        ("lrn", LocalResponseNorm::ALEXNET.into()),
        (
            "norm size 3 alpha 1e-4 beta 0.5 k 1",
            LocalResponseNorm { size: 3, alpha: 1e-4, beta: 0.5, k: 1.0 }.into(),
        ),
        ("bn", BatchNorm::default().into()),
        ("batch-norm eps 1e-3 momentum .01", BatchNorm { eps: 1e-3, momentum: 0.01, training: false }.into()),
        ("relu", Activation { kind: ActivationKind::Relu }.into()),
        ("leaky 0.1", Activation { kind: ActivationKind::LeakyRelu { slope: 0.1 } }.into()),
        ("leaky", Activation { kind: ActivationKind::LeakyRelu { slope: 0.01 } }.into()),
        ("sigmoid", Activation { kind: ActivationKind::Sigmoid }.into()),
        ("tanh", Activation { kind: ActivationKind::Tanh }.into()),
        ("relu6", function(Clip { min: 0.0, max: 6.0 })),
        ("clip min -1 max 2.5", function(Clip { min: -1.0, max: 2.5 })),
        ("clamp max 1", function(Clip { min: f32::NEG_INFINITY, max: 1.0 })),
        ("elu", function(Elu { alpha: 1.0 })),
        ("elu 0.5", function(Elu { alpha: 0.5 })),
        ("celu 2", function(Celu { alpha: 2.0 })),
        ("selu", function(Selu { alpha: 1.673_263_2, gamma: 1.050_701 })),
        ("selu alpha 2 gamma 3", function(Selu { alpha: 2.0, gamma: 3.0 })),
        ("thresholdedrelu 0.25", function(ThresholdedRelu { alpha: 0.25 })),
        ("hardsigmoid", function(HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 })),
        ("hardsigmoid alpha 0.2 beta 0.4", function(HardSigmoid { alpha: 0.2, beta: 0.4 })),
        ("hardswish", function(HardSwish)),
        ("silu", function(Swish { alpha: 1.0 })),
        ("swish alpha 1.702", function(Swish { alpha: 1.702 })),
        ("mish", function(Mish)),
        ("gelu", function(Gelu)),
        ("gelu-tanh", function(GeluTanh)),
        ("softplus", function(Softplus)),
        ("softsign", function(Softsign)),
        ("exp", function(Exp)),
        ("ln", function(Log)),
        ("sqrt", function(Sqrt)),
        ("reciprocal", function(Reciprocal)),
        ("abs", function(Abs)),
        ("erf", function(Erf)),
        ("sign", function(Sign)),
        ("floor", function(Floor)),
        ("ceil", function(Ceil)),
        ("round", function(Round)),
        ("dropout", Dropout::new(0.5).into()),
        ("dropout-0.4", Dropout::new(0.4).into()),
        ("flatten", Reshape::flatten().into()),
        ("reshape 2x4x64", Reshape { dims: vec![2, 4, 64] }.into()),
        ("scale 0.5", Scale { factor: 0.5 }.into()),
        ("scale -2", Scale { factor: -2.0 }.into()),
        ("slice 0..4", Slice::axis(0, 0, 4).into()),
        ("slice 1..7 rows step 2", Slice { axis: 1, start: 1, end: 7, step: 2 }.into()),
        ("slice 0..8 columns", Slice::axis(2, 0, 8).into()),
        ("slice 0..8 axis 2", Slice::axis(2, 0, 8).into()),
        ("pad 1 reflect", Pad { padding: Padding::all(1), mode: PadMode::Reflect, channels: [0; 2] }.into()),
        ("pad channels 4+8", Pad { padding: Padding::NONE, mode: PadMode::Zeros, channels: [4, 8] }.into()),
        ("upsample", Upsample { size: [16; 2], mode: UpsampleMode::Nearest }.into()),
        (
            "upsample 9x10 bilinear",
            Upsample { size: [9, 10], mode: UpsampleMode::Bilinear { align_corners: false } }.into(),
        ),
        (
            "upsample 9 align-corners",
            Upsample { size: [9, 9], mode: UpsampleMode::Bilinear { align_corners: true } }.into(),
        ),
        ("sum 8x1x1", Reduce::sum_to(batched([8, 1, 1].as_slice())).into()),
        ("mean 8 single times 2", Reduce { to: Type::single([8]), scale: 2.0, mean: true }.into()),
        ("mean scalar single", Reduce::mean_to(Type::scalar()).into()),
        ("expand 8x8x8 shared", Expand { to: batched([8, 8, 8].as_slice()), scale: 1.0, mean: true }.into()),
        ("multiply( identity | )", Binary::MULTIPLY.into()),
        ("concat( | | )", Concat::CHANNELS.into()),
        ("concat( | ) rows", Concat { axis: 1 }.into()),
        ("subtract( | )", Binary::SUBTRACT.into()),
        ("div( | )", Binary::DIVIDE.into()),
        ("pow( | )", Binary { kind: BinaryKind::Power }.into()),
        ("minimum( | )", Binary { kind: BinaryKind::Minimum }.into()),
        ("maximum( | )", Binary { kind: BinaryKind::Maximum }.into()),
        ("equal( | )", Binary::EQUAL.into()),
        ("less( | )", Binary { kind: BinaryKind::Less }.into()),
        ("greater( | )", Binary::GREATER.into()),
        ("prelu( | )", Binary { kind: BinaryKind::Prelu }.into()),
        ("where( | | )", Where.into()),
        ("matmul( | )", MatMul::default().into()),
        ("matmul( | ) left-transposed right-transposed", MatMul { transposed: [true, true] }.into()),
        ("softmax alone", Softmax::LINEAR.into()),
        ("logsoftmax alone columns", Softmax { log: true, axis: 2 }.into()),
        ("flip", Flip { axis: 0 }.into()),
        ("flip columns", Flip { axis: 2 }.into()),
        ("transpose 2x0x1", Permute { axes: vec![2, 0, 1] }.into()),
        ("tile-3 rows", Tile { axis: 1, times: 3 }.into()),
        ("pad-axis 1+2 columns value -0.5", PadAxis { value: -0.5, ..PadAxis::zeros(2, [1, 2]) }.into()),
        ("pad-axis 1+0 reflect", PadAxis { mode: PadMode::Reflect, ..PadAxis::zeros(0, [1, 0]) }.into()),
        ("depthtospace-2", DepthToSpace { block: 2, crd: false }.into()),
        ("depthtospace-2 crd", DepthToSpace { block: 2, crd: true }.into()),
        ("spacetodepth 4", SpaceToDepth { block: 4, crd: false }.into()),
        ("max axes 1x2", Fold { kind: FoldKind::Max, axes: vec![1, 2] }.into()),
        ("min", Fold { kind: FoldKind::Min, axes: vec![0, 1, 2] }.into()),
        ("product axes 0", Fold { kind: FoldKind::Product, axes: vec![0] }.into()),
        ("argmax", ArgMax { axis: 0, least: false, last: false }.into()),
        ("argmin rows last", ArgMax { axis: 1, least: true, last: true }.into()),
        ("standardize", Standardize { axes: vec![1, 2], eps: 1e-5 }.into()),
        ("standardize axes 0x1x2 eps 1e-3", Standardize { axes: vec![0, 1, 2], eps: 1e-3 }.into()),
        ("resize-13 rows", resize(13, ResizeMode::Nearest(Rounding::HalfDown)).into()),
        ("resize-13 rows half-up", resize(13, ResizeMode::Nearest(Rounding::HalfUp)).into()),
        (
            "resize-13 rows down asymmetric",
            Resize {
                coordinates: Coordinates::Asymmetric,
                ..resize(13, ResizeMode::Nearest(Rounding::Down))
            }
            .into(),
        ),
        ("resize-13 rows up", resize(13, ResizeMode::Nearest(Rounding::Up)).into()),
        ("resize-4 rows by 0.6 linear", Resize { scale: Some(0.6), ..resize(4, ResizeMode::Linear) }.into()),
        (
            "resize-4 rows linear align-corners",
            Resize { coordinates: Coordinates::AlignCorners, ..resize(4, ResizeMode::Linear) }.into(),
        ),
        (
            "resize-4 rows linear pytorch",
            Resize { coordinates: Coordinates::PytorchHalfPixel, ..resize(4, ResizeMode::Linear) }.into(),
        ),
        (
            "resize-4 rows cubic -0.75 symmetric",
            Resize { coordinates: Coordinates::HalfPixelSymmetric, ..resize(4, cubic(false)) }.into(),
        ),
        ("resize-4 rows cubic -0.75 exclude-outside", resize(4, cubic(true)).into()),
    ];
    for (text, expected) in rows {
        assert_eq!(op(text), expected, "{text}");
        round_trip(&read(&[8, 8, 8], text));
    }
    for (text, expected) in [
        ("softmax", Op::from(Softmax::LINEAR)),
        ("soft-max", Softmax::LINEAR.into()),
        ("log-softmax", Softmax::LOG.into()),
        ("FC-10 nobias", Linear::new(10).no_bias().into()),
        ("fc", Linear::new(4096).into()),
    ] {
        assert_eq!(ops(&read(&[64], text)), [expected], "{text}");
    }
}

/// Operations on values of any rank, one after another: a map in, a map out.
fn rearranged(net: &mut Builder, x: Value) -> Value {
    let [channels, rows, columns] = net.ty(x).chw().unwrap();
    let deep = net.apply(SpaceToDepth { block: 1, crd: true }, &[x]);
    let flat = net.apply(DepthToSpace { block: 1, crd: false }, &[deep]);
    let turned = net.apply(Permute { axes: vec![2, 0, 1] }, &[flat]);
    let tokens = net.apply(Reshape { dims: vec![columns, channels * rows] }, &[turned]);
    let scores = net.apply(MatMul { transposed: [false, true] }, &[tokens, tokens]);
    let mixed = net.apply(MatMul::default(), &[scores, tokens]);
    let normal = net.apply(Standardize { axes: vec![1], eps: 1e-6 }, &[mixed]);
    let chosen = net.apply(Where, &[tokens, normal, mixed]);
    let turned = net.apply(Reshape { dims: vec![columns, channels, rows] }, &[chosen]);
    let map = net.apply(Permute { axes: vec![1, 2, 0] }, &[turned]);
    let map = net.apply(Flip { axis: 2 }, &[map]);
    let tiled = net.apply(Tile { axis: 0, times: 2 }, &[map]);
    let padded = net.apply(PadAxis { mode: PadMode::Circular, ..PadAxis::zeros(1, [1, 0]) }, &[tiled]);
    let (mode, coordinates) = (ResizeMode::Linear, Coordinates::Asymmetric);
    let resized =
        net.apply(Resize { axis: 0, size: channels, scale: Some(0.5), mode, coordinates }, &[padded]);
    let slope = net.parameter("slope", [channels, 1, 1], Role::Weight, Init::Constant(0.25));
    let bent = net.apply(Binary { kind: BinaryKind::Prelu }, &[resized, slope]);
    let most = net.apply(Fold { kind: FoldKind::Max, axes: vec![1, 2] }, &[bent]);
    let place = net.apply(ArgMax { axis: 1, least: true, last: false }, &[most]);
    net.auxiliary("place", place);
    net.apply(Binary::SUBTRACT, &[bent, most])
}

/// A graph with every operation that is a layer, and shared parameters, odd names, several inputs and outputs.
fn all_layers() -> Graph {
    let mut net = Builder::new("all of \"them\"");
    net.weight_init(Init::XavierUniform).bias_init(Init::Constant(0.1));
    let x = net.input("image", [4, 16, 16]);
    let kernel = net.parameter("shared", [4, 4, 3, 3], Role::Weight, Init::Normal { std: 0.02 });
    let shared = Conv2d::new(4, 3).padding(1).no_bias();
    let a = net.apply(shared, &[x, kernel]);
    let b = net.apply(shared, &[a, kernel]);
    let own = net.conv2d("a first-layer, with spaces", b, Conv2d { dilation: [1, 2], ..Conv2d::new(8, 3) });
    net.weight_init(Init::HeNormal(Fan::Out)).bias_init(Init::ZEROS);
    let local = net
        .scope("local", |net| net.locally_connected2d("0", own, LocallyConnected2d::new(Conv2d::new(2, 3))));
    let up = net.conv_transpose2d("up", local, ConvTranspose2d::new(4, 4, 2));
    let up = net.activation(up, ActivationKind::LeakyRelu { slope: 0.3 });
    let up = net.batch_norm_from("bn", up, BatchNorm::eps(1e-3), Init::ZEROS, Init::Constant(-1e-7));
    let pool = net.max_pool2d(up, MaxPool2d { kernel: [3, 2], stride: [2, 1], ..MaxPool2d::new(2).ceil() });
    let norm = net.local_response_norm(pool, LocalResponseNorm { size: 3, ..LocalResponseNorm::ALEXNET });
    let avg = net.avg_pool2d(norm, AvgPool2d { count_include_pad: false, ..AvgPool2d::new(3).padding(1) });
    let [_, rows, columns] = net.ty(avg).chw().unwrap();
    let slice = net.apply(Slice { axis: 1, start: 1, end: rows, step: 2 }, &[avg]);
    let rest = net.ty(slice).chw().unwrap()[1];
    let padding = Padding { top: 1, bottom: 0, left: 0, right: 2 };
    let pad = net.apply(Pad { padding, mode: PadMode::Replicate, channels: [1, 3] }, &[slice]);
    let size = [rest * 2, columns];
    let big = net.apply(Upsample { size, mode: UpsampleMode::Bilinear { align_corners: true } }, &[pad]);
    let small = net.apply(Reduce { to: Type::batched([8, 1, 1]), scale: 0.5, mean: true }, &[big]);
    let dims: Vec<usize> = net.ty(big).dims.clone();
    let wide = net.apply(Expand { to: Type::batched(dims), scale: 1.5, mean: true }, &[small]);
    let product = net.apply(Binary::MULTIPLY, &[big, wide]);
    let constant = net.apply(Constant { value: -1.5 }, &[]);
    let scaled = net.apply(Scale { factor: 1e-9 }, &[constant]);
    let second = net.input("a scale", [8, 1, 1]);
    let sum = net.add(product, second);
    let both = net.concat(&[sum, big, sum]);
    let both = rearranged(&mut net, both);
    let global = net.apply(GlobalPool::MAX, &[both]);
    let average = net.global_avg_pool(both);
    let joined = net.concat(&[global, average]);
    let joined = net.apply(Reshape { dims: vec![4, 3, 4] }, &[joined]);
    let fc = net.linear("fc", joined, Linear::new(10).no_bias());
    let drop = net.dropout(fc, 0.25);
    let soft = net.softmax(drop);
    let counter = net.apply(Input { ty: Type::scalar().of(DType::U32) }, &[]);
    net.output(soft);
    net.output(counter);
    net.auxiliary("x y", scaled);
    net.auxiliary("again", soft);
    net.finish().unwrap()
}

#[test]
fn every_layer_operation_is_printed_and_reads_back() {
    let graph = all_layers();
    round_trip(&graph);
    let covered: BTreeSet<&str> = graph.nodes().map(|(_, node)| node.op.variant()).collect();
    let losses = ["CrossEntropy", "BceWithLogits", "MeanSquaredError"];
    let training = ["Normalize", "Accumulate", "ClipFactor"];
    let layers: BTreeSet<&str> = Op::NAMES
        .iter()
        .copied()
        .filter(|name| !name.contains("Backward") && !name.ends_with("Update"))
        .filter(|name| !losses.contains(name) && !training.contains(name))
        .collect();
    assert_eq!(covered, layers);
}

#[test]
fn training_graphs_are_no_networks() {
    let graph = parse("input 1x8x8 - conv3-4 - relu - FC-10 - softmax").unwrap();
    let training = training::classifier(&graph, &ClassifierTraining::default()).unwrap();
    assert!(matches!(print(&training), Err(PrintError::NotALayer { .. })));
    assert_eq!(print(&Graph::new("empty")), Err(PrintError::NoOutput));
}

#[test]
fn the_lectures_pattern_with_any_numbers() {
    for n in 0..=3 {
        for m in 0..=6 {
            for k in 0..=2 {
                let text = format!("classes 10, [(CONV-RELU)*{n}-POOL?]*{m}-(FC-RELU)*{k},SOFTMAX");
                let graph = read(&[3, 32, 32], &text);
                let ops = ops(&graph);
                let count = |variant: &str| ops.iter().filter(|op| op.variant() == variant).count();
                let pools = m.min(5); // 32 pixels halve five times
                assert_eq!(
                    (count("Conv2d"), count("MaxPool2d"), count("Linear")),
                    (n * m, pools, k + 1),
                    "{text}"
                );
                let channels: Vec<usize> = ops
                    .iter()
                    .filter_map(|op| if let Op::Conv2d(conv) = op { Some(conv.out) } else { None })
                    .collect();
                let expected: Vec<usize> =
                    (0..m).flat_map(|block: usize| vec![64 << block.min(3); n]).collect();
                assert_eq!(channels, expected, "{text}");
                assert_eq!(graph.ty(graph.output().unwrap()).dims, [10], "{text}");
                assert!(training::classifier(&graph, &ClassifierTraining::default()).is_ok(), "{text}");
                round_trip(&graph);
            }
        }
    }
}

#[test]
fn softmax_brings_scores_only_where_there_are_none() {
    let linear = |text: &str| {
        let ops = ops(&read(&[3, 8, 8], text));
        ops.iter().filter(|op| matches!(op, Op::Linear(_))).count()
    };
    assert_eq!(linear("FC-10 - softmax"), 1);
    assert_eq!(linear("FC-10 - relu - softmax"), 2);
    assert_eq!(linear("FC-10 - relu - softmax alone"), 1);
    assert_eq!(linear("conv1-10 - gap - softmax"), 1);
    assert_eq!(linear("conv1-1 nobias - add( | bias: param 1x8x8 bias ) - flatten - softmax"), 0);
}

#[test]
fn the_table_of_vgg_as_the_lecture_prints_it() {
    let vgg16 = parse(
        "input 3x224x224  # RGB image
         [conv3-64 - relu]*2, maxpool
         [conv3-128 - relu]*2, maxpool
         [[conv3-256 - relu]*3, maxpool]
         [[conv3-512 - relu]*3 -> maxpool]*2
         FC-4096 - relu
         FC-4096 - relu
         FC-1000
         soft-max",
    )
    .unwrap();
    let total = summarise(&vgg16).total;
    assert_eq!((total.params, total.macs), (138_357_544, 15_470_264_320));
}

#[test]
fn a_residual_network_with_published_names() {
    let resnet18 = parse(
        "network resnet18
         init he-out
         conv7-64/2 nobias - bn - relu - maxpool3/2 pad 1
         layer1: [add( conv3-64 nobias - bn - relu - conv3-64 nobias - bn | ) - relu]*2
         layer2.0: [
           add(
               conv3-128/2 nobias - bn - relu - conv3-128 nobias - bn
             | downsample: [0: conv1-128/2 nobias - 1: bn]
           )
           relu
         ]
         layer2.1: [add( conv3-128 nobias - bn - relu - conv3-128 nobias - bn | identity ) - relu]
         gap - fc: FC-1000 - softmax",
    )
    .unwrap();
    let names: Vec<&str> = resnet18.parameters().map(|(node, ..)| node.name.as_str()).collect();
    for name in [
        "conv1.weight",
        "layer1.1.bn2.running_var",
        "layer2.0.downsample.0.weight",
        "layer2.1.conv2.weight",
        "fc.bias",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert_eq!(
        round_trip(&resnet18),
        "\
network resnet18
init he-out
input 3x224x224
conv7-64/2 nobias - bn - relu - maxpool3/2 pad 1
layer1: [add( conv3-64 nobias - bn - relu - conv3-64 nobias - bn | identity ) - relu]*2
layer2: [
  0: [
    add(
        conv3-128/2 nobias - bn - relu - conv3-128 nobias - bn
      | downsample: [0: conv1-128/2 nobias - 1: bn]
    ) - relu
  ]
  1: [add( conv3-128 nobias - bn - relu - conv3-128 nobias - bn | identity ) - relu]
] - gap
fc: FC-1000 - softmax
"
    );
}

#[test]
fn heads_references_and_outputs() {
    let text = "\
network heads
input 3x16x16
conv3-8 - relu
aux side: [gap - FC-10 - softmax]
concat( conv1-4 | conv3-4 - relu | identity ) - relu
@relu1 - conv3-16
add( identity | @relu3 )
FC-10 - softmax
";
    let graph = read(&[3, 16, 16], text);
    let outputs: Vec<&str> = graph.outputs().iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["main", "side"]);
    assert_eq!(round_trip(&graph), text);

    let two = parse("input 3x8x8 - a: conv3-4 - output left - @image - conv3-2 - output right").unwrap();
    let outputs: Vec<&str> = two.outputs().iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["left", "right"]);
    round_trip(&two);

    let dense = "x: conv3-8\nc: concat( @image | @x )\nd: [x: conv3-8 - concat( @x | @c | @image )]";
    let graph = read(&[3, 8, 8], dense);
    assert_eq!(graph.ty(graph.output().unwrap()).dims, [8 + 11 + 3, 8, 8]);
    round_trip(&graph);
}

#[test]
fn initialisations() {
    let graph = parse(
        "input 3x8x8 - init normal 0.01, bias-init 1, conv3-4 - conv3-4 init 0 bias-init -0.5
         init lecun - bn init 0 - FC-2 - FC-2 init he-in - FC-2 init xavier",
    )
    .unwrap();
    let inits: Vec<Init> = graph
        .parameters()
        .filter(|(_, parameter, _)| parameter.role != Role::Statistic)
        .map(|(_, parameter, _)| parameter.init)
        .collect();
    let one = Init::ONES;
    let expected = [
        [Init::Normal { std: 0.01 }, one],
        [Init::ZEROS, Init::Constant(-0.5)],
        [Init::ZEROS, Init::ZEROS],
        [Init::LecunUniform, one],
        [Init::HeNormal(Fan::In), one],
        [Init::XavierUniform, one],
    ];
    assert_eq!(inits, expected.concat());
    round_trip(&graph);
}

#[test]
fn three_mistakes_are_three_underlines() {
    let text = "input 64x8x8
covn3-64 - relu
@image - conv3-96 groups 3 - maxpool
    dropout 0.5 - FC-10 nobais";
    let errors = parse(text).unwrap_err();
    assert_eq!(
        errors.render("three.net", text),
        "\
error: unknown layer 'covn3'
  --> three.net:2:1
  |
2 | covn3-64 - relu
  | ^^^^^
  = did you mean 'conv3'?

error: conv2 (conv2d on N×64×8×8): groups 3 does not divide 64 input channels
  --> three.net:3:10
  |
3 | @image - conv3-96 groups 3 - maxpool
  |          ^^^^^^^^^^^^^^^^^
  = choose groups that divide 64: 1, 2, 4, 8, 16, 32 …

error: unknown attribute 'nobais' of FC
  --> three.net:4:25
  |
4 |     dropout 0.5 - FC-10 nobais
  |                         ^^^^^^
  = did you mean 'nobias'?
"
    );
    assert!(
        errors.to_string().starts_with("line 2, column 1: unknown layer 'covn3'; did you mean 'conv3'?\n")
    );
}

#[test]
fn each_mistake_is_named_with_a_remedy() {
    for (text, place, message, help) in [
        ("", "", "there is no layer here", "write a network such as"),
        ("conv3 - 64", "64", "expected a layer, found '64'", "join a number to its layer"),
        ("relu3", "relu3", "relu has no window", "relu"),
        ("relu-3", "relu-3", "relu takes no number", "relu"),
        ("conv3-64 relu", "relu", "unknown attribute 'relu' of conv", "write - or a new line before relu"),
        ("conv3-64 pad", "", "pad takes a padding like", "write for example 1"),
        ("conv3-64 pad x", "x", "found 'x'", "1 or 0+1"),
        ("conv3-64 pad 1 same", "same", "same after pad", "keep one"),
        ("conv3-64 groups 2 groups 2", "groups 2", "groups after groups", "keep one"),
        ("conv4-64 same", "conv4-64 same", "same padding of an even kernel", "odd kernel"),
        ("relu/2", "relu/2", "a stride that relu cannot have", "conv3-64/2"),
        ("relu?", "?", "expected - or a new line before '?'", "pool?"),
        ("relu*2", "*", "expected - or a new line before '*'", "[ … ]*2"),
        ("[relu]*N", "N", "expected a number, found 'N'", "say how often"),
        ("[relu", "[", "'[' is never closed", "']'"),
        ("[relu)", ")", "')' closes '['", "']'"),
        ("relu]", "]", "']' without an opening bracket", "take it out"),
        ("[relu | tanh]", "|", "branches outside add", "concat("),
        ("relu - - tanh", "-", "a layer is missing before this", "write the layer"),
        ("reshape", "reshape", "reshape needs dimensions", "reshape 64x7x7"),
        ("add relu", "add", "add needs its branches", "identity"),
        ("add( relu )", "add", "takes two inputs, but got 1", "two inputs"),
        ("@relu9", "@relu9", "nothing before this is named 'relu9'", "name the layer"),
        ("first: relu - @frist", "@frist", "nothing before this is named 'frist'", "'@first'"),
        ("a: relu - a: tanh", "a: tanh", "the name 'a' is taken", "rename"),
        ("[a: relu]*2", "a: relu", "the name 'a' is taken", "block.0"),
        ("a: @image", "a", "this cannot be named", "names go before"),
        ("\"a\" - relu", "\"a\"", "a name without its layer", "colon"),
        ("\"a", "\"a", "a quoted name that does not end well", "close it"),
        ("conv3-64 % relu", "%", "'%' means nothing here", "take it out"),
        ("conv3-99999999999999999999", "99999999999999999999", "found '99999", "up to 68719476736"),
        ("scale 1e99", "1e99", "scale takes a number, found '1e99'", ""),
        ("network a, network b, relu", "network b", "a second name", "keep one"),
        ("conv11-8 valid - maxpool9", "maxpool9", "does not fit", "smaller window"),
        ("softmax - maxpool", "maxpool", "the input must be a feature map", "before the map is flattened"),
        ("permute 1x1x0", "permute", "do not name each axis of N×3×16×16 once", "are 0 to 2"),
        ("flip axis 3", "flip", "axis 3 is not one of N×3×16×16", "are 0 to 2"),
        ("max axes 1x0", "max", "[1, 0] are not axes of N×3×16×16 in ascending order", "are 0 to 2"),
        (
            "matmul( | ) right-transposed - matmul( | flatten )",
            "matmul",
            "must be a matrix",
            "feed it a matrix",
        ),
        (
            "matmul( slice 0..2 columns | )",
            "matmul",
            "N×3×16×2 and N×3×16×16 do not multiply",
            "as many columns",
        ),
        ("depthtospace-2", "depthtospace", "3 channels are not a multiple of 4", "give channels by the 4"),
        ("spacetodepth-0", "spacetodepth", "block is 0", "at least 1"),
        ("pad-axis 3+0 reflect", "pad-axis", "reflect padding of 3 elements needs", "use zeros"),
        ("pad-axis 1+0 reflect value 1", "pad-axis", "value 1 is outside", "else 0"),
        ("flatten - resize-2000000", "resize", "more than 1048576 rows or columns", "reduce"),
        ("resize-4 by 0", "resize", "scale 0 is outside 0 < scale", "choose scale"),
        ("resize-4 linear cubic -1", "cubic", "cubic after linear", "keep one"),
        ("elu -1", "elu", "alpha -1 is outside 0 ≤ alpha", "choose alpha"),
        ("concat( | tanh ) rows - reshape 1x2x3x4x2x2x2x2x2", "reshape", "more than 8 dimensions", "reduce"),
        ("subtract( | reshape 4x3x64 )", "subtract", "do not combine", "make the dimensions equal"),
        ("concat( | slice 0..2 ) rows", "concat", "do not combine", "make the dimensions equal"),
        ("[[relu]*20000]*20000", "[", "grows beyond 20000 layers", "repeat less often"),
    ] {
        let defaults = Defaults { input: vec![3, 16, 16], ..Defaults::default() };
        let errors = parse_with(text, &defaults).expect_err(text);
        let error = errors.0.iter().find(|error| error.message.contains(message));
        let error = error
            .unwrap_or_else(|| panic!("{text}: {message:?} is not in:\n{}", errors.render("test", text)));
        assert!(text[error.span.clone()].starts_with(place), "{text}: at {:?}", &text[error.span.clone()]);
        assert!(error.help.contains(help), "{text}: {}", error.help);
    }
}

#[test]
fn absurd_texts_end_with_an_error() {
    let deep = ["[", "add(", "x: [", "aux a(", "("].map(|open| open.repeat(50_000));
    let many = ["[", "[[", "[[["].map(|open| open.to_string() + &"init he]*68719476736".repeat(open.len()));
    let wide = [
        format!("[concat({})]*20000", "|".repeat(50_000)),
        format!("[param {}1]*20000", "1x".repeat(50_000)),
        format!("[{}: [relu]]*20000", "n".repeat(100_000)),
        format!("{}relu", "a: [".repeat(80)) + &"]*2".repeat(80),
        "@nothing - ".repeat(100_000),
        "%".repeat(100_000),
        "% ".repeat(100_000),
        "conv1-68719476731 - conv1-3 groups 3".into(),
        "conv68719476736-68719476736/68719476736 pad 68719476736 dilation 68719476736".into(),
        "deconv68719476735-1/68719476736 pad 1 dilation 68719476736".into(),
        "maxpool68719476736/68719476736 pad 68719476736 ceil".into(),
        "input 68719476736x68719476736 - relu".into(),
        "input 68719476731x1x1 - conv1-3 groups 2".into(), // a prime number of channels
        "upsample 68719476736 - upsample".into(),
    ];
    for text in deep.iter().chain(&many).chain(&wide) {
        let head: String = text.chars().take(60).collect();
        let errors = parse(text).expect_err(&head);
        assert!(errors.0.len() <= 100, "{head}");
        assert!(errors.render("absurd", text).len() < 100_000, "{head}");
    }
}

#[test]
fn the_reference_names_every_word() {
    let text = notation::reference();
    for word in [
        "conv7-64/2",
        "FC-4096",
        "add( conv3-64 - bn | identity )",
        "bias-init",
        "align-corners",
        "aux aux1(",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

/// A network of layers in series and in parallel, from a stream of numbers.
struct Random<'a> {
    net: Builder,
    numbers: std::slice::Iter<'a, u16>,
    values: Vec<Value>,
}

impl Random<'_> {
    fn next(&mut self, below: usize) -> usize {
        self.numbers.next().map_or(0, |number| *number as usize % below)
    }

    fn name(&mut self, kind: &str) {
        const SCOPES: [&str; 6] = ["", "", "a.", "a.b.", "a.0.", "a.1."];
        let (scope, number) = (SCOPES[self.next(6)], self.next(40));
        let name = match self.next(12) {
            0..=7 => return,
            8 => format!("{scope}{kind} {number}"),
            9 => format!("{scope}{kind}{number}"),
            10 => format!("{scope}{number}"),
            _ => format!("{scope}{kind}-{number}.\"\\\n.é"),
        };
        if self.net.graph().find(&name).is_none() {
            self.net.named(name);
        }
    }

    /// A layer that keeps the shape 4×8×8.
    fn layer(&mut self, x: Value) -> Value {
        let weights = self.values.len();
        let kinds = [ActivationKind::Relu, ActivationKind::Tanh, ActivationKind::Sigmoid];
        let y = match self.next(8) {
            0 => self.net.conv2d(&format!("conv{weights}"), x, Conv2d::new(4, 3).padding(1)),
            1 => self.net.scope("a", |net| net.batch_norm(&format!("bn{weights}"), x, BatchNorm::default())),
            2 => {
                self.name("param");
                let p = self
                    .net
                    .apply(Parameter { dims: vec![4, 1, 1], role: Role::Bias, init: Init::ONES }, &[]);
                self.name("add");
                self.net.add(x, p)
            }
            3 => {
                // From anywhere: no tree of series and parallel parts.
                let any = self.next(self.values.len());
                let other = self.values[any];
                self.name("multiply");
                self.net.apply(Binary::MULTIPLY, &[x, other])
            }
            kind => {
                self.name("act");
                self.net.activation(x, kinds[kind % 3])
            }
        };
        self.values.push(y);
        y
    }

    fn series(&mut self, mut x: Value, depth: usize) -> Value {
        for _ in 0..1 + self.next(4) {
            x = if depth > 0 && self.next(3) == 0 { self.parallel(x, depth - 1) } else { self.layer(x) };
            if self.next(12) == 0 {
                let mut y = x;
                for _ in 0..self.next(3) {
                    y = self.layer(y);
                }
                self.net.auxiliary(&format!("aux{}", self.values.len()), y);
            }
        }
        x
    }

    fn parallel(&mut self, x: Value, depth: usize) -> Value {
        let branches: Vec<Value> = (0..2 + self.next(2))
            .map(|_| if self.next(3) == 0 { x } else { self.series(x, depth) })
            .collect();
        let y = if branches.len() == 2 {
            self.name("add");
            self.net.add(branches[0], branches[1])
        } else {
            let y = self.net.concat(&branches);
            let channels = self.net.ty(y).chw().map_or(4, |[channels, ..]| channels);
            self.name("slice");
            self.net.apply(Slice::axis(0, channels - 4, channels), &[y])
        };
        self.values.push(y);
        y
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_networks_read_back(numbers in prop::collection::vec(any::<u16>(), 0..200)) {
        let mut random = Random { net: Builder::new("random"), numbers: numbers.iter(), values: Vec::new() };
        let x = random.net.input("image", [4, 8, 8]);
        random.values.push(x);
        let y = random.series(x, 4);
        if random.next(2) == 0 {
            random.net.output(y);
        } else {
            let y = random.layer(y);
            random.net.output(y);
        }
        let graph = random.net.finish().unwrap();
        // Outputs in the order of the builder's users: the main one first.
        let (main, heads) = graph.outputs().split_last().unwrap();
        let named = [("main", main.value)].into_iter().chain(heads.iter().map(|o| (o.name.as_str(), o.value)));
        let ordered = graph.clone().with_outputs(named);
        for graph in [graph.clone(), ordered] {
            let text = print(&graph).map_err(|error| TestCaseError::fail(format!("{error}\n{graph:#?}")))?;
            prop_assert_eq!(parse(&text).unwrap(), graph);
        }
    }

    #[test]
    fn random_tokens_never_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "conv", "conv3-8", "FC", "FC-4", "pool", "pool?", "maxpool3/2", "relu", "bn", "softmax", "add(", "concat(",
            "multiply(", "|", ")", "(", "[", "]", "*", "*2", "*0", "-", "-", " - ", ",", "\n", ":", "a:", "a.0:", "@a", "@",
            "image", "@image", "aux x(", "output", "output y", "input", "input 3x8x8", "param 8x1x1", "constant 1", "pad 1",
            " pad 1", " same", " groups 2", " with @a", " with @a @b", "init", "init he-out", "bias-init -1", "network n",
            "classes 3", "slice 0..2", " rows", "sum 3x1x1", "expand", "upsample", "\"", "\"q\"", "\"\\u{41}\":", "1e", "-5",
            "1e-5", "0..", "/", "/2", "?", "×", "8+8", "68719476736", "99999999999999999999999", "#", " ", "é", "\u{0}",
            "reshape 8", "gap", "flatten", "dropout", "local3-2", "deconv4-2/2", "lrn k 2", "identity", "scale 2",
            "subtract(", "where(", "matmul(", " rows", "argmax", "permute 1x2x0", "tile-2", "resize-5", " cubic -1", "max",
            " axes 0x1", "standardize", "clip", " min -1", "pad-axis 1+1", "depthtospace-2", "ceil", " by 0.5",
        ]), 0..40),
    ) {
        let text = tokens.concat();
        let defaults = Defaults { input: vec![3, 8, 8], ..Defaults::default() };
        match parse_with(&text, &defaults) {
            Ok(graph) => {
                let printed = print(&graph).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
                prop_assert_eq!(parse(&printed).unwrap(), graph, "{}", printed);
            }
            Err(errors) => {
                prop_assert!(!errors.0.is_empty());
                for error in &errors.0 {
                    prop_assert!(text.get(error.span.clone()).is_some());
                }
                errors.render("random", &text);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        for text in [String::from_utf8_lossy(&bytes).into_owned(), text] {
            if let Err(errors) = parse(&text) {
                errors.render("random", &text);
            }
        }
    }
}
