//! The networks against their published tables, layer by layer, and against the names of published weights.

use striate_graph::analysis::{Layer, Summary, summarise};
use striate_graph::ops::{Op, Role};
use striate_graph::{Fan, Graph, Init};
use striate_zoo::build;

fn summary(name: &str) -> Summary {
    summarise(&build(name).unwrap().inference())
}

/// Layers with memory of their own: `(output, elements)`, the input first.
fn volumes(summary: &Summary) -> Vec<&Layer> {
    summary.layers.iter().filter(|layer| layer.activations > 0).collect()
}

#[test]
fn vgg16_row_by_row() {
    let summary = summary("vgg16");
    let rows: [(&[usize], usize); 22] = [
        (&[3, 224, 224], 0),
        (&[64, 224, 224], 1_728),
        (&[64, 224, 224], 36_864),
        (&[64, 112, 112], 0),
        (&[128, 112, 112], 73_728),
        (&[128, 112, 112], 147_456),
        (&[128, 56, 56], 0),
        (&[256, 56, 56], 294_912),
        (&[256, 56, 56], 589_824),
        (&[256, 56, 56], 589_824),
        (&[256, 28, 28], 0),
        (&[512, 28, 28], 1_179_648),
        (&[512, 28, 28], 2_359_296),
        (&[512, 28, 28], 2_359_296),
        (&[512, 14, 14], 0),
        (&[512, 14, 14], 2_359_296),
        (&[512, 14, 14], 2_359_296),
        (&[512, 14, 14], 2_359_296),
        (&[512, 7, 7], 0),
        (&[4096], 102_760_448),
        (&[4096], 16_777_216),
        (&[1000], 4_096_000),
    ];
    let layers = volumes(&summary);
    assert_eq!(layers.len(), rows.len());
    for (layer, (output, weights)) in layers.into_iter().zip(rows) {
        let biases = if weights > 0 { output[0] } else { 0 };
        assert_eq!((layer.output.as_slice(), layer.params), (output, weights + biases), "{}", layer.name);
        assert_eq!(layer.activations, output.iter().product::<usize>(), "{}", layer.name);
    }
    assert_eq!(summary.total.activations, 15_237_608);
    assert_eq!(format!("{:.1}", summary.total.forward_bytes(1) as f64 / 1024.0 / 1024.0), "58.1");
}

#[test]
fn alexnet_volumes_of_the_lecture() {
    let summary = summary("alexnet");
    let volumes: Vec<(&str, &[usize])> =
        volumes(&summary).into_iter().map(|layer| (layer.name.as_str(), layer.output.as_slice())).collect();
    let expected: [(&str, &[usize]); 14] = [
        ("image", &[3, 227, 227]),
        ("conv1", &[96, 55, 55]),
        ("pool1", &[96, 27, 27]),
        ("norm1", &[96, 27, 27]),
        ("conv2", &[256, 27, 27]),
        ("pool2", &[256, 13, 13]),
        ("norm2", &[256, 13, 13]),
        ("conv3", &[384, 13, 13]),
        ("conv4", &[384, 13, 13]),
        ("conv5", &[256, 13, 13]),
        ("pool3", &[256, 6, 6]),
        ("fc6", &[4096]),
        ("fc7", &[4096]),
        ("fc8", &[1000]),
    ];
    assert_eq!(volumes, expected);
    let conv1 = &summary.layers[1];
    assert_eq!((conv1.params, conv1.unread), (34_848 + 96, [0, 0]));
}

#[test]
fn googlenet_row_by_row() {
    let graph = build("googlenet").unwrap().inference();
    let summary = summarise(&graph);
    for (prefixes, output, weights, macs) in [
        (&["conv1"][..], [64, 112, 112], 9_408, 118_013_952),
        (&["conv2", "conv3"], [192, 56, 56], 114_688, 359_661_568),
        (&["inception3a"], [256, 28, 28], 163_328, 128_049_152),
        (&["inception3b"], [480, 28, 28], 388_096, 304_267_264),
        (&["inception4a"], [512, 14, 14], 375_552, 73_608_192),
        (&["inception4b"], [512, 14, 14], 448_512, 87_908_352),
        (&["inception4c"], [512, 14, 14], 509_440, 99_850_240),
        (&["inception4d"], [528, 14, 14], 604_672, 118_515_712),
        (&["inception4e"], [832, 14, 14], 867_328, 169_996_288),
        (&["inception5a"], [832, 7, 7], 1_042_432, 51_079_168),
        (&["inception5b"], [1024, 7, 7], 1_442_816, 70_697_984),
        (&["fc"], [1000, 1, 1], 1_024_000, 1_024_000),
    ] {
        let row = |name: &str| prefixes.iter().any(|prefix| name.split('.').next() == Some(prefix));
        let layers: Vec<&Layer> = summary.layers.iter().filter(|layer| row(&layer.name)).collect();
        let found: usize = graph
            .parameters()
            .filter(|(node, parameter, _)| row(&node.name) && parameter.role == Role::Weight)
            .map(|(_, _, value)| graph.ty(value).elements())
            .sum();
        assert_eq!(found, weights, "{prefixes:?}");
        assert_eq!(layers.iter().map(|layer| layer.macs).sum::<u64>(), macs, "{prefixes:?}");
        let elements: usize = output.iter().product();
        assert_eq!(layers.last().unwrap().output.iter().product::<usize>(), elements, "{prefixes:?}");
        assert_eq!(layers.last().unwrap().output[0], output[0], "{prefixes:?}");
    }
}

#[test]
fn lenet5_of_1998_layer_by_layer() {
    let summary = summary("lenet5-1998");
    let params = |prefix: &str| -> usize {
        summary.layers.iter().filter(|l| l.name.starts_with(prefix)).map(|l| l.params).sum()
    };
    let layers = ["conv1", "subsample1", "conv2", "subsample2", "conv3", "fc1", "fc2"].map(params);
    assert_eq!(layers, [156, 12, 1_516, 32, 48_120, 10_164, 850]);
}

/// Table I of LeCun et al. 1998, read off the graph: rows are the maps of S2, columns those of C3.
#[test]
fn lenet5_of_1998_connects_as_table_1() {
    let graph = build("lenet5-1998").unwrap();
    let mut columns: Vec<Vec<usize>> = Vec::new();
    for name in ["conv2.three", "conv2.four", "conv2.six"] {
        let (_, conv) = graph.find(name).unwrap();
        let (Op::Conv2d(filters), source) = (&conv.op, graph.node(graph.producer(conv.inputs[0]))) else {
            panic!("{name} is no convolution")
        };
        let seen: Vec<usize> = match source.op {
            Op::Concat(_) => {
                let slices = source.inputs.iter().map(|map| &graph.node(graph.producer(*map)).op);
                slices.map(|op| if let Op::Slice(slice) = op { slice.start } else { panic!() }).collect()
            }
            _ => (0..6).collect(),
        };
        columns.extend(seen.chunks(seen.len() / filters.groups).map(<[usize]>::to_vec));
    }
    let row = |map| columns.iter().map(|seen| if seen.contains(&map) { 'X' } else { '.' }).collect();
    let table: Vec<String> = (0..6).map(row).collect();
    assert_eq!(
        table,
        [
            "X...XXX..XXXX.XX",
            "XX...XXX..XXXX.X",
            "XXX...XXX..X.XXX",
            ".XXX..XXXX..X.XX",
            "..XXX..XXXX.XX.X",
            "...XXX..XXXX.XXX",
        ]
    );
}

/// Square maps' rows and columns after each stage of table 1.
#[test]
fn resnet_stages() {
    for name in ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50-v1.5", "plain34"] {
        let summary = summary(name);
        for (stage, size) in [("conv1", 112), ("layer1", 56), ("layer2", 28), ("layer3", 14), ("layer4", 7)] {
            let last = summary.layers.iter().rfind(|layer| layer.name.starts_with(stage)).unwrap();
            assert_eq!(last.output[1..], [size, size], "{name} {stage}");
        }
    }
}

#[test]
fn receptive_fields() {
    for (network, layer, size, stride) in [
        ("vgg16", "features.28", 196, 16), // conv5_3
        ("vgg16", "features.30", 212, 32), // pool5
        ("alexnet", "pool3", 195, 32),
        ("resnet18", "layer4.1.conv2", 435, 32),
        ("resnet50", "layer4.2.conv3", 483, 32),
        ("resnet101", "layer4.2.conv3", 1027, 32),
        ("resnet152", "layer4.2.conv3", 1507, 32),
        ("resnet50-v1.5", "layer4.2.conv3", 427, 32),
        ("resnet20-cifar", "layer3.2.conv2", 3 + 6 * 2 + (2 + 5 * 4) + (4 + 5 * 8), 4),
        ("alphago-policy", "conv12", 27, 1),
    ] {
        let summary = summary(network);
        let layer = summary.layers.iter().find(|l| l.name == layer).unwrap();
        let field = layer.receptive_field.unwrap_or_else(|| panic!("{network}: none"));
        assert_eq!((field.size, field.stride), ([size; 2], [stride; 2]), "{network} {}", layer.name);
    }
}

fn parameter_names(graph: &Graph) -> Vec<&str> {
    graph.parameters().map(|(node, _, _)| node.name.as_str()).collect()
}

/// All names of the weights that torchvision publishes, in its order, without `num_batches_tracked`.
#[test]
fn published_names_in_full() {
    let both = |layer: String| [format!("{layer}.weight"), format!("{layer}.bias")];
    let bn = |layer: String| {
        ["weight", "bias", "running_mean", "running_var"].map(|suffix| format!("{layer}.{suffix}"))
    };
    let stack = |features: &[usize], classifier: &[usize]| -> Vec<String> {
        let features = features.iter().map(|n| format!("features.{n}"));
        features.chain(classifier.iter().map(|n| format!("classifier.{n}"))).flat_map(both).collect()
    };
    let mut resnet18 = vec!["conv1.weight".to_string()];
    resnet18.extend(bn("bn1".into()));
    for (stage, block) in [1, 2, 3, 4].into_iter().flat_map(|stage| [(stage, 0), (stage, 1)]) {
        for index in [1, 2] {
            resnet18.push(format!("layer{stage}.{block}.conv{index}.weight"));
            resnet18.extend(bn(format!("layer{stage}.{block}.bn{index}")));
        }
        if stage > 1 && block == 0 {
            resnet18.push(format!("layer{stage}.0.downsample.0.weight"));
            resnet18.extend(bn(format!("layer{stage}.0.downsample.1")));
        }
    }
    resnet18.extend(both("fc".into()));

    for (name, expected) in [
        ("alexnet-owt", stack(&[0, 3, 6, 8, 10], &[1, 4, 6])),
        ("vgg16", stack(&[0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], &[0, 3, 6])),
        ("vgg11", stack(&[0, 3, 6, 8, 11, 13, 16, 18], &[0, 3, 6])),
        ("resnet18", resnet18),
    ] {
        assert_eq!(parameter_names(&build(name).unwrap()), expected, "{name}");
    }
}

#[test]
fn published_names_in_part() {
    for (network, count, some) in [
        ("vgg11-bn", 6 * 8 + 6, &["features.0.weight", "features.1.running_var", "features.26.bias"][..]),
        ("vgg16-bn", 6 * 13 + 6, &["features.40.weight", "features.41.running_mean", "classifier.6.bias"]),
        (
            "resnet50-v1.5",
            5 * 53 + 2,
            &["layer1.0.downsample.0.weight", "layer4.2.conv3.weight", "layer4.2.bn3.running_var"],
        ),
        (
            "googlenet-bn",
            5 * 59 + 10,
            &[
                "conv1.conv.weight",
                "conv1.bn.running_mean",
                "inception3a.branch1.conv.weight",
                "inception3a.branch2.0.bn.weight",
                "inception4e.branch3.1.conv.weight",
                "inception5b.branch4.1.bn.running_var",
                "aux1.conv.conv.weight",
                "aux1.conv.bn.bias",
                "aux2.fc1.weight",
                "aux2.fc2.bias",
                "fc.weight",
            ],
        ),
    ] {
        let graph = build(network).unwrap();
        let names = parameter_names(&graph);
        assert_eq!(names.len(), count, "{network}");
        for name in some {
            assert!(names.contains(name), "{network} lacks {name}");
        }
    }
}

fn init(graph: &Graph, parameter: &str) -> Init {
    match &graph.find(parameter).unwrap_or_else(|| panic!("no {parameter}")).1.op {
        Op::Parameter(parameter) => parameter.init,
        other => panic!("{other:?}"),
    }
}

#[test]
fn alexnet_starts_as_its_paper_says() {
    let graph = build("alexnet-grouped").unwrap();
    for (layer, bias) in [
        ("conv1", 0.0),
        ("conv2", 1.0),
        ("conv3", 0.0),
        ("conv4", 1.0),
        ("conv5", 1.0),
        ("fc6", 1.0),
        ("fc7", 1.0),
        ("fc8", 0.0),
    ] {
        assert_eq!(init(&graph, &format!("{layer}.weight")), Init::Normal { std: 0.01 }, "{layer}");
        assert_eq!(init(&graph, &format!("{layer}.bias")), Init::Constant(bias), "{layer}");
    }
}

#[test]
fn the_other_families_start_as_documented() {
    for (network, parameter, expected) in [
        ("vgg16", "features.0.weight", Init::XavierUniform),
        ("vgg16", "features.0.bias", Init::ZEROS),
        ("alexnet-owt", "features.3.bias", Init::ONES),
        ("alexnet-owt", "classifier.6.bias", Init::ZEROS),
        ("googlenet", "inception4c.branch3.1.bias", Init::Constant(0.2)),
        ("googlenet", "aux1.fc1.bias", Init::Constant(0.2)),
        ("googlenet", "aux1.fc2.bias", Init::ZEROS),
        ("googlenet", "inception4b.branch1.bias", Init::Constant(0.2)),
        ("googlenet", "fc.bias", Init::ZEROS),
        ("resnet50", "layer1.0.downsample.0.weight", Init::HeNormal(Fan::Out)),
        ("resnet50", "layer4.2.bn3.weight", Init::ONES),
        ("resnet50", "fc.weight", Init::LecunUniform),
        ("lenet5", "conv1.weight", Init::HeNormal(Fan::In)),
        ("lenet5-1998", "subsample1.weight", Init::ONES),
        ("lenet5-1998", "conv2.four.weight", Init::LecunUniform),
        ("alphago-policy", "conv13.bias", Init::ZEROS),
    ] {
        assert_eq!(init(&build(network).unwrap(), parameter), expected, "{network} {parameter}");
    }
}
