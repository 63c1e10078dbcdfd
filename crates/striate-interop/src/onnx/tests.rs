//! Files made by hand: what they become, and what is said of broken ones.

use super::proto::{Attribute, AttributeValue as A, Dim, Graph, Model, Node, Tensor, ValueInfo};
use super::*;
use std::borrow::Cow;
use std::fs;
use striate_graph::Graph as Network;

/// A model being put together.
struct File {
    graph: Graph<'static>,
    opset: i64,
}

impl File {
    /// With an input `x` of these dimensions; a negative one is open.
    fn new(dims: &[i64]) -> Self {
        let dim = |size: &i64| if *size < 0 { Dim::Symbol("s".into()) } else { Dim::Known(*size) };
        let input =
            ValueInfo { name: "x".into(), data_type: Some(1), shape: Some(dims.iter().map(dim).collect()) };
        let graph = Graph { name: "net".into(), inputs: vec![input], ..Graph::default() };
        Self { graph, opset: 17 }
    }

    fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    fn floats(mut self, name: &str, dims: &[i64], value: f32) -> Self {
        let len = dims.iter().product::<i64>() as usize;
        let bytes: Vec<u8> = (0..len).flat_map(|_| value.to_le_bytes()).collect();
        self.graph.initializers.push(tensor(name, 1, dims, bytes));
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.graph.initializers.push(tensor(name, 7, &[values.len() as i64], bytes));
        self
    }

    fn tensor(mut self, tensor: Tensor<'static>) -> Self {
        self.graph.initializers.push(tensor);
        self
    }

    fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.with(op, inputs, output, vec![])
    }

    fn with(mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<(&str, A<'static>)>) -> Self {
        let attributes = attributes.into_iter().map(|(name, value)| Attribute { name: name.into(), value });
        self.graph.nodes.push(Node {
            inputs: inputs.iter().map(|name| name.to_string()).collect(),
            outputs: vec![output.into()],
            name: format!("node_{output}"),
            op: op.into(),
            domain: String::new(),
            attributes: attributes.collect(),
        });
        self
    }

    /// The file, whose output is `y`.
    fn bytes(mut self) -> Vec<u8> {
        let shape = Some(vec![]);
        self.graph.outputs.push(ValueInfo { name: "y".into(), data_type: Some(1), shape });
        let opsets = vec![(String::new(), self.opset)];
        Model { ir_version: 8, graph: Some(self.graph), opsets, ..Model::default() }.write()
    }

    fn read(self) -> Imported {
        parse(&self.bytes(), None, &ImportOptions::default()).unwrap()
    }

    /// What is wrong with it.
    fn error(self) -> String {
        parse(&self.bytes(), None, &ImportOptions::default()).unwrap_err().to_string()
    }
}

fn tensor(name: &str, data_type: i64, dims: &[i64], bytes: Vec<u8>) -> Tensor<'static> {
    Tensor {
        name: name.into(),
        dims: dims.to_vec(),
        data_type,
        raw: Some(Cow::Owned(bytes)),
        ..Tensor::default()
    }
}

fn ints(values: &[i64]) -> A<'static> {
    A::Ints(values.to_vec())
}

/// The operations of a network but inputs, parameters and constants.
fn kinds(network: &Network) -> Vec<&'static str> {
    let computed = network.nodes().filter(|(_, node)| !node.op.is_leaf());
    computed.map(|(_, node)| striate_graph::ops::Operation::kind(&node.op)).collect()
}

fn names(network: &Network) -> Vec<&str> {
    network.parameters().map(|(node, ..)| node.name.as_str()).collect()
}

fn convnet() -> File {
    File::new(&[-1, 3, 8, 8])
        .floats("conv1.weight", &[4, 3, 3, 3], 0.1)
        .floats("conv1.bias", &[4], 0.0)
        .floats("bn1.weight", &[4], 1.0)
        .floats("bn1.bias", &[4], 0.0)
        .floats("bn1.running_mean", &[4], 0.5)
        .floats("bn1.running_var", &[4], 2.0)
        .floats("fc.weight", &[2, 64], 0.1)
        .floats("fc.bias", &[2], 0.0)
        .with("Conv", &["x", "conv1.weight", "conv1.bias"], "a", vec![("pads", ints(&[1, 1, 1, 1]))])
        .node(
            "BatchNormalization",
            &["a", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"],
            "b",
        )
        .node("Relu", &["b"], "c")
        .with("MaxPool", &["c"], "d", vec![("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))])
        .node("Flatten", &["d"], "e")
        .with("Gemm", &["e", "fc.weight", "fc.bias"], "y", vec![("transB", A::Int(1))])
}

#[test]
fn layers_keep_their_names() {
    let Imported { graph, parameters, .. } = convnet().read();
    assert_eq!(kinds(&graph), ["conv2d", "batch_norm", "relu", "max_pool2d", "flatten", "linear"]);
    let expected = [
        "conv1.weight",
        "conv1.bias",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "fc.weight",
        "fc.bias",
    ];
    assert_eq!(names(&graph), expected);
    assert!(["conv1", "bn1", "fc"].iter().all(|layer| graph.find(layer).is_some()));
    assert_eq!(parameters["bn1.running_var"].data, [2.0; 4]);
    assert_eq!(graph.parameter_count(), 4 * 27 + 4 + 8 + 128 + 2);
    let text = striate_graph::notation::print(&graph).unwrap();
    assert!(text.contains("conv3"), "{text}");
}

#[test]
fn what_is_several_nodes_there_is_one_operation_here() {
    let gated = |gate: &str| File::new(&[-1, 4]).node(gate, &["x"], "g").node("Mul", &["x", "g"], "y");
    let bounds = vec![("min", A::Float(0.0)), ("max", A::Float(6.0))];
    let clip = || File::new(&[-1, 4]).opset(9).with("Clip", &["x"], "y", bounds.clone());
    let mean = |keep| {
        let attributes = vec![("axes", ints(&[2, 3])), ("keepdims", A::Int(keep))];
        File::new(&[-1, 4, 5, 5]).with("ReduceMean", &["x"], "y", attributes)
    };
    let product = File::new(&[-1, 4])
        .floats("w", &[4, 3], 1.0)
        .floats("b", &[3], 1.0)
        .node("MatMul", &["x", "w"], "p")
        .node("Add", &["p", "b"], "y");
    let six = File::new(&[-1, 4])
        .floats("three", &[], 3.0)
        .floats("zero", &[], 0.0)
        .floats("six", &[], 6.0)
        .node("Add", &["x", "three"], "a")
        .node("Clip", &["a", "zero", "six"], "b")
        .node("Mul", &["x", "b"], "c")
        .node("Div", &["c", "six"], "y");
    let padded = File::new(&[-1, 1, 5, 5])
        .floats("w", &[1, 1, 3, 3], 1.0)
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .with("Pad", &["x", "pads"], "p", vec![("mode", A::Text("reflect".into()))])
        .node("Conv", &["p", "w"], "y");
    let gate = File::new(&[-1, 4]).node("Softplus", &["x"], "s").node("Tanh", &["s"], "g");
    for (file, expected) in [
        (gated("Sigmoid"), &["swish"][..]),
        (gate.node("Mul", &["x", "g"], "y"), &["mish"]),
        (clip(), &["clip"]),
        (mean(1), &["global_avg_pool"]),
        (mean(0), &["global_avg_pool", "flatten"]),
        (product, &["linear"]),
        (six, &["hard_swish"]),
        (padded, &["conv2d"]),
    ] {
        assert_eq!(kinds(&file.read().graph), expected);
    }
}

#[test]
fn shapes_are_computed_with_an_open_batch() {
    let flat = File::new(&[-1, 3, 4, 5])
        .ints("0", &[0])
        .ints("-1", &[-1])
        .node("Shape", &["x"], "s")
        .with("Gather", &["s", "0"], "n", vec![("axis", A::Int(0))])
        .with("Concat", &["n", "-1"], "t", vec![("axis", A::Int(0))])
        .node("Reshape", &["x", "t"], "y");
    let Imported { graph, outputs, .. } = flat.read();
    assert_eq!(kinds(&graph), ["flatten"]);
    assert_eq!(graph.ty(graph.output().unwrap()).to_string(), "N×60");
    assert!(matches!(outputs[0].source, OutputSource::Computed { has_batch: true, .. }));
    // 2·N·60 / 120 = N
    let halves = File::new(&[-1, 60])
        .ints("120", &[120])
        .ints("-1", &[-1])
        .ints("one", &[1])
        .node("Shape", &["x"], "s")
        .with("Slice", &["s", "zero", "one"], "n", vec![])
        .ints("zero", &[0])
        .node("Mul", &["n", "120"], "m")
        .node("Div", &["m", "120"], "again")
        .with("Concat", &["again", "-1"], "t", vec![("axis", A::Int(0))])
        .node("Reshape", &["x", "t"], "y");
    assert_eq!(halves.read().graph.output().map(|y| y.index()), Some(0));
}

#[test]
fn open_sizes_are_asked_for() {
    let net = || File::new(&[-1, 3, -1, -1]).node("Relu", &["x"], "y").bytes();
    let read =
        |input: Option<Vec<usize>>| parse(&net(), None, &ImportOptions { input, ..Default::default() });
    let error = read(None).unwrap_err().to_string();
    assert!(error.contains("3×?×?") && error.contains("--input 3x224x224"), "{error}");
    let graph = read(Some(vec![3, 6, 7])).unwrap().graph;
    assert_eq!(graph.ty(graph.output().unwrap()).to_string(), "N×3×6×7");
    let error = read(Some(vec![1, 6, 7])).unwrap_err().to_string();
    assert!(error.contains("takes 3×?×?, not 1×6×7"), "{error}");
}

#[test]
fn all_unsupported_operators_are_told_at_once() {
    let file = File::new(&[-1, 4])
        .node("Einsum", &["x"], "a")
        .node("LSTM", &["a"], "b")
        .node("Einsum", &["b"], "c")
        .node("Relu", &["c"], "y");
    let error = file.error();
    for part in ["2 operators of 3 nodes", "Einsum ×2: node_a, node_c", "LSTM ×1: node_b"] {
        assert!(error.contains(part), "no '{part}' in:\n{error}");
    }
}

#[test]
fn broken_graphs_are_told() {
    let cycle =
        File::new(&[-1, 4]).node("Add", &["x", "b"], "a").node("Relu", &["a"], "b").node("Relu", &["a"], "y");
    let missing = File::new(&[-1, 4]).node("Add", &["x", "nothing"], "y");
    let twice = File::new(&[-1, 4]).node("Relu", &["x"], "y").node("Tanh", &["x"], "y");
    let weights = File::new(&[-1, 4]).floats("w", &[2], 1.0).floats("w", &[2], 1.0).node("Relu", &["x"], "y");
    let nothing = File::new(&[-1, 4]);
    let groups = File::new(&[-1, 4, 5, 5]).floats("w", &[3, 4, 3, 3], 1.0).with(
        "Conv",
        &["x", "w"],
        "y",
        vec![("group", A::Int(3))],
    );
    for (file, parts) in [
        (cycle, &["node_a (Add)", "'b'", "later node"][..]),
        (missing, &["node_y (Add)", "'nothing'", "nothing gives"]),
        (twice, &["'y' is given twice"]),
        (weights, &["'w' is given twice"]),
        (nothing, &["'y'", "nothing gives"]),
        (groups, &["groups 3 does not divide 4 input channels"]),
        (File::new(&[-1, 4]).opset(3).node("Relu", &["x"], "y"), &["version 3", "6 to"]),
        (File::new(&[-1, 4]).opset(999).node("Relu", &["x"], "y"), &["version 999"]),
    ] {
        let error = file.error();
        assert!(parts.iter().all(|part| error.contains(part)), "not {parts:?} in:\n{error}");
    }
}

#[test]
fn sizes_are_checked_before_memory_is_asked_for() {
    let huge = |dims: &[i64]| {
        File::new(&[-1, 4]).tensor(tensor("w", 1, dims, vec![0; 4])).node("Add", &["x", "w"], "y").error()
    };
    assert!(huge(&[1 << 40, 1 << 40]).contains("dimensions"), "{}", huge(&[1 << 40, 1 << 40]));
    assert!(huge(&[1 << 30]).contains("take 4294967296 bytes, but there are 4"));
    assert!(huge(&[-1]).contains("dimensions [-1]"));
    let bomb = File::new(&[-1, 4])
        .ints("shape", &[1 << 40])
        .node("ConstantOfShape", &["shape"], "w")
        .node("Add", &["x", "w"], "y")
        .error();
    assert!(bomb.contains("more than"), "{bomb}");
    // Each doubles the one before.
    let mut doubled = File::new(&[-1, 4]).ints("0", &[7; 64]);
    for step in 0..40 {
        let (from, to) = (step.to_string(), (step + 1).to_string());
        doubled = doubled.with("Concat", &[&from, &from], &to, vec![("axis", A::Int(0))]);
    }
    let bomb = doubled.node("Reshape", &["x", "40"], "y").error();
    assert!(bomb.contains("more than"), "{bomb}");
    let pool =
        File::new(&[-1, 1, 4, 4]).with("MaxPool", &["x"], "y", vec![("kernel_shape", ints(&[1 << 40, 2]))]);
    assert!(pool.error().contains("kernel_shape"));
}

#[test]
fn damaged_files_are_errors() {
    let bytes = convnet().bytes();
    for end in 0..bytes.len() {
        let _ = parse(&bytes[..end], None, &ImportOptions::default());
    }
    assert!(parse(&bytes[..bytes.len() / 2], None, &ImportOptions::default()).is_err());
    for at in 0..bytes.len() {
        for change in [1, 0x40, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            let _ = parse(&damaged, None, &ImportOptions::default());
        }
    }
    let error = |bytes: &[u8]| parse(bytes, None, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error(b"").contains("no graph"));
    assert!(error(b"PK\x03\x04abcdefgh").contains("a ZIP archive"));
    assert!(error(b"\x0a\xff\xff\xff\xff\x0f").contains("cut off"));
}

#[test]
fn floats_of_any_width_are_read() {
    let typed = |data_type, floats: &[f32], ints: &[i64]| Tensor {
        name: "w".into(),
        dims: vec![2],
        data_type,
        floats: floats.to_vec(),
        ints: ints.to_vec(),
        ..Tensor::default()
    };
    let doubles: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    for tensor in [
        tensor("w", 10, &[2], vec![0x00, 0x3e, 0x00, 0xc0]),
        tensor("w", 16, &[2], vec![0xc0, 0x3f, 0x00, 0xc0]),
        tensor("w", 11, &[2], doubles),
        typed(1, &[1.5, -2.0], &[]),
        typed(11, &[1.5, -2.0], &[]),
        typed(10, &[], &[0x3e00, 0xc000]),
        typed(16, &[], &[0x3fc0, 0xc000]),
    ] {
        let read = Constant::read(&tensor, None).unwrap();
        assert_eq!(read.as_floats(), Some(&[1.5, -2.0][..]), "type {}", tensor.data_type);
    }
    assert!(Constant::read(&typed(1, &[1.0], &[]), None).is_err());
    assert!(Constant::read(&tensor("w", 17, &[2], vec![0, 0]), None).is_err());
}

#[test]
fn external_data_lie_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("model");
    fs::create_dir(&inside).unwrap();
    let floats: Vec<u8> = [7.0f32, 1.0, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(inside.join("weights.bin"), &floats).unwrap();
    fs::write(folder.path().join("secret.bin"), &floats).unwrap();
    let external = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let tensor = Tensor { data_type: 1, dims: vec![2], external: Some(entries), ..Tensor::default() };
        Constant::read(&tensor, Some(&inside)).map_err(|error| error.to_string())
    };
    let read = external(&[("location", "weights.bin"), ("offset", "4"), ("length", "8")]).unwrap();
    assert_eq!(read.as_floats(), Some(&[1.0, 2.0][..]));
    let absolute = folder.path().join("secret.bin");
    for (entries, why) in [
        (&[("location", "../secret.bin")][..], "outside the model's folder"),
        (&[("location", absolute.to_str().unwrap())], "outside the model's folder"),
        (&[("location", "")], "outside the model's folder"),
        (&[("location", "absent.bin")], "absent.bin"),
        (&[("location", "weights.bin"), ("offset", "8")], "which has 12"),
        (&[("location", "weights.bin"), ("offset", "18446744073709551615")], "which has 12"),
        (&[("location", "weights.bin"), ("offset", "-4")], "offset is '-4'"),
        (&[("location", "weights.bin"), ("length", "4")], "take 8 bytes"),
    ] {
        let error = external(entries).unwrap_err();
        assert!(error.contains(why), "no '{why}' in: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret.bin"), inside.join("link.bin")).unwrap();
        assert!(external(&[("location", "link.bin")]).unwrap_err().contains("outside"));
    }
    let unfiled = Tensor { data_type: 1, dims: vec![2], external: Some(vec![]), ..Tensor::default() };
    assert!(Constant::read(&unfiled, None).unwrap_err().to_string().contains("not read from a file"));
}

/// A network of one operation behind an input of these dimensions.
fn one(dims: &[usize], op: impl Into<striate_graph::ops::Op>) -> Network {
    let mut network = Network::new("one");
    let input = striate_graph::ops::Input { ty: striate_graph::Type::batched(dims) };
    let x = network.push("x", input, &[]).unwrap();
    let y = network.push("op", op, &x).unwrap();
    network.add_output("main", y[0]);
    network
}

#[test]
fn what_is_written_is_read_as_the_same() {
    use striate_graph::ops::*;
    let activation = |kind| Op::from(Activation { kind });
    let window = MaxPool2d::new(3).stride(2).padding(1);
    let ops: Vec<Op> = vec![
        activation(ActivationKind::HardSwish),
        activation(ActivationKind::Swish { alpha: 1.0 }),
        activation(ActivationKind::Swish { alpha: 2.0 }),
        activation(ActivationKind::Mish),
        activation(ActivationKind::Clip { min: 0.0, max: 6.0 }),
        activation(ActivationKind::Clip { min: f32::NEG_INFINITY, max: 1.0 }),
        activation(ActivationKind::LeakyRelu { slope: 0.25 }),
        window.into(),
        window.ceil().into(),
        AvgPool2d::new(3).padding(1).into(),
        AvgPool2d { count_include_pad: false, ..AvgPool2d::new(3).padding(1) }.into(),
        GlobalPool::AVG.into(),
        Softmax { log: true, axis: 2 }.into(),
        LocalResponseNorm::ALEXNET.into(),
        Reshape::flatten().into(),
        Reshape { dims: vec![8, 12] }.into(),
        Scale { factor: 0.5 }.into(),
        Slice { axis: 1, start: 1, end: 6, step: 2 }.into(),
        Flip { axis: 2 }.into(),
        Pad { padding: Padding::all(1), mode: PadMode::Reflect, channels: [0; 2] }.into(),
        Pad { padding: Padding::NONE, mode: PadMode::Zeros, channels: [1, 2] }.into(),
        PadAxis { axis: 2, pads: [1, 0], mode: PadMode::Zeros, value: 3.0 }.into(),
        Tile { axis: 0, times: 2 }.into(),
        Upsample { size: [12, 8], mode: UpsampleMode::Nearest }.into(),
        Upsample { size: [11, 9], mode: UpsampleMode::Bilinear { align_corners: true } }.into(),
        Permute { axes: vec![1, 2, 0] }.into(),
        Fold { kind: FoldKind::Min, axes: vec![1] }.into(),
        DepthToSpace { block: 2, crd: true }.into(),
        SpaceToDepth { block: 2, crd: false }.into(),
    ];
    for op in ops {
        let network = one(&[4, 6, 4], op);
        for opset in [11, 13, DEFAULT_OPSET, 22] {
            let options = ExportOptions { opset, ..ExportOptions::default() };
            let bytes = match write(&network, |_| None, &options) {
                Ok(bytes) => bytes,
                Err(ExportError::Operations(why)) if opset < 13 => {
                    assert!(why[0].why.contains("opset 13 and later can"), "{why:?}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let read = parse(&bytes, None, &ImportOptions::default()).unwrap().graph;
            let ops = |network: &Network| {
                let nodes = network.nodes().filter(|(_, node)| !node.op.is_leaf());
                nodes.map(|(_, node)| node.op.clone()).collect::<Vec<_>>()
            };
            assert_eq!(ops(&read), ops(&network), "opset {opset}");
        }
    }
}

#[test]
fn all_that_cannot_be_written_is_told_at_once() {
    use striate_graph::ops::*;
    let mut network = one(&[4, 6, 4], MaxPool2d::new(2).ceil());
    let last = network.output().unwrap();
    let even = LocalResponseNorm { size: 4, ..LocalResponseNorm::ALEXNET };
    let last = network.push("norm", even, &[last]).unwrap();
    let network = network.with_outputs([("main", last[0])]);
    let write = |opset| write(&network, |_| None, &ExportOptions { opset, ..ExportOptions::default() });
    let error = write(9).unwrap_err().to_string();
    for part in
        ["op (max_pool2d): opset 9 cannot say", "opset 10 and later can", "norm (local_response_norm)"]
    {
        assert!(error.contains(part), "no '{part}' in:\n{error}");
    }
    assert!(write(8).unwrap_err().to_string().contains("opset 8; 9 to"));
    assert!(write(1000).is_err());
}
