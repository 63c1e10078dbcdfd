//! Every row of the registry against the network it builds.

use std::collections::HashSet;
use striate_graph::analysis::summarise;
use striate_graph::ops::Op;
use striate_graph::training::{self, ClassifierTraining};
use striate_graph::{Graph, Problem};
use striate_zoo::{Options, ZooError, build, build_with, entries, find, names};

#[test]
fn every_row_states_its_network() {
    for entry in entries() {
        let graph = build(entry.name).unwrap();
        let used = summarise(&graph.inference()).total;
        assert_eq!((used.params, used.macs), (entry.params, entry.macs), "{}", entry.name);
        let trained = graph.parameter_count();
        assert_eq!(trained, entry.params + entry.auxiliary_params, "{}", entry.name);
        assert_eq!(summarise(&graph).total.params, trained, "{}", entry.name);

        assert_eq!(graph.name, entry.name);
        assert_eq!(graph.ty(graph.image().unwrap()).dims, entry.input, "{}", entry.name);
        let heads = if entry.auxiliary_params > 0 { 3 } else { 1 };
        assert_eq!(graph.outputs().len(), heads, "{}", entry.name);
        for output in graph.outputs() {
            assert_eq!(graph.ty(output.value).dims, [entry.classes], "{} {}", entry.name, output.name);
        }
        assert_ne!(graph.logits(), graph.output(), "{} ends in a softmax", entry.name);
    }
}

/// The sizes that networks of other implementations and the papers' own counts lead to, one row a network.
#[test]
fn published_sizes() {
    for (name, params, macs) in [
        ("mlp", (784 + 1) * 100 + (100 + 1) * 10, 784 * 100 + 100 * 10),
        ("lenet5", 61_706, 416_520),
        ("lenet5-1998", 60_000 + 850, 117_600 + 1_176 + 150_000 + 400 + 48_000 + 10_080 + 840),
        ("alexnet", 62_378_344, 1_135_256_096),
        ("alexnet-grouped", 60_965_224, 724_406_816),
        ("alexnet-owt", 61_100_840, 714_188_480),
        ("vgg11", 132_863_336, 7_609_090_048),
        ("vgg11-lrn", 132_863_336, 7_609_090_048),
        ("vgg11-bn", 132_868_840, 7_609_090_048),
        ("vgg13", 133_047_848, 11_308_466_176),
        ("vgg13-bn", 133_053_736, 11_308_466_176),
        ("vgg16-c", 133_638_952, 11_770_888_192),
        ("vgg16", 138_357_544, 15_470_264_320),
        ("vgg16-bn", 138_365_992, 15_470_264_320),
        ("vgg19", 143_667_240, 19_632_062_464),
        ("vgg19-bn", 143_678_248, 19_632_062_464),
        ("googlenet", 6_998_552, 1_582_671_872),
        // 3×3 in place of 5×5 saves 16 taps
        ("googlenet-bn", 6_624_904, 1_582_671_872 - 16 * (784 * 3_584 + 196 * 9_984 + 49 * 10_240)),
        ("resnet18", 11_689_512, 1_814_073_344),
        ("resnet34", 21_797_672, 3_663_761_408),
        ("resnet50", 25_557_032, 3_857_973_248),
        ("resnet101", 44_549_160, 7_570_194_432),
        ("resnet152", 60_192_808, 11_282_415_616),
        ("resnet50-v1.5", 25_557_032, 4_089_184_256),
        ("resnet101-v1.5", 44_549_160, 7_801_405_440),
        ("resnet152-v1.5", 60_192_808, 11_513_626_624),
        // without the three projections: weights, two batch norm vectors each
        ("plain18", 11_689_512 - (172_032 + 2 * 896), 1_814_073_344 - 3 * 6_422_528),
        ("plain34", 21_797_672 - (172_032 + 2 * 896), 3_663_761_408 - 3 * 6_422_528),
        ("resnet20-cifar", 269_722, 40_551_040),
        ("resnet32-cifar", 464_154, 68_862_592),
        ("resnet44-cifar", 658_586, 97_174_144),
        ("resnet56-cifar", 853_018, 125_485_696),
        ("resnet110-cifar", 1_727_962, 252_887_680),
        ("plain20-cifar", 269_722, 40_551_040),
        ("plain32-cifar", 464_154, 68_862_592),
        ("plain44-cifar", 658_586, 97_174_144),
        ("plain56-cifar", 853_018, 125_485_696),
        ("alphago-policy", 3_882_793, 1_400_726_208),
        ("alphago-policy-128", 99 * 128 * 128 + 1213 * 128 + 361, 361 * (99 * 128 * 128 + 1201 * 128)),
        ("alphago-policy-256", 99 * 256 * 256 + 1213 * 256 + 361, 361 * (99 * 256 * 256 + 1201 * 256)),
        ("alphago-policy-384", 99 * 384 * 384 + 1213 * 384 + 361, 361 * (99 * 384 * 384 + 1201 * 384)),
    ] {
        let entry = find(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!((entry.params, entry.macs), (params, macs), "{name}");
    }
    assert_eq!(6_998_552 + find("googlenet").unwrap().auxiliary_params, 13_378_280);
    assert_eq!(6_624_904 + find("googlenet-bn").unwrap().auxiliary_params, 13_004_888);
}

#[test]
fn every_network_can_be_trained() {
    for entry in entries() {
        let graph = build(entry.name).unwrap();
        let step = training::classifier(&graph, &ClassifierTraining::default()).unwrap();
        let updates = step.nodes().filter(|(_, node)| matches!(node.op, Op::SgdUpdate(_))).count();
        let trained = graph.parameters().filter(|(_, parameter, _)| parameter.role.is_trained()).count();
        assert_eq!(updates, trained, "{}", entry.name);
    }
}

#[test]
fn names_are_unique_and_rows_complete() {
    let mut seen = HashSet::new();
    for entry in entries() {
        assert!(seen.insert(entry.name), "{} twice", entry.name);
        for text in [entry.family, entry.summary, entry.paper] {
            assert!(!text.is_empty() && !text.contains('\n'), "{}", entry.name);
        }
    }
    assert_eq!(seen.len(), names().count());
}

#[test]
fn unknown_names_get_the_nearest() {
    for (wrong, nearest) in [("ResNet-50", "resnet50"), ("vgg-16", "vgg16"), ("lenet", "lenet5"), ("", "mlp")]
    {
        match build(wrong) {
            Err(ZooError::Unknown { name, nearest: found }) => {
                assert_eq!((name.as_str(), found[0]), (wrong, nearest));
            }
            other => panic!("{wrong}: {other:?}"),
        }
    }
    let text = build("resnet19").unwrap_err().to_string();
    assert!(text.starts_with("no network is called 'resnet19'; nearest: resnet"), "{text}");
    for name in ["mlp-", "mlp-784", "mlp-784-x-10", "mlp-784--10", "mlp-99999999999999999999-10"] {
        assert!(matches!(build(name), Err(ZooError::Unknown { .. })), "{name}");
    }
}

fn dims(graph: &Graph) -> &[usize] {
    &graph.ty(graph.output().unwrap()).dims
}

#[test]
fn other_inputs_and_classes() {
    let with = |input, classes| Options { input: Some(input), classes: Some(classes), ..Options::default() };
    for (name, input, classes, params) in [
        ("resnet18", [3, 64, 64], 10, 11_689_512 - 990 * 513),
        ("resnet50-v1.5", [1, 33, 47], 2, 25_557_032 - 998 * 2049 - 2 * 64 * 49),
        ("resnet20-cifar", [3, 33, 45], 100, 269_722 + 90 * 65),
        ("vgg16", [3, 32, 32], 10, 138_357_544 - 48 * 512 * 4096 - 990 * 4097),
        ("alexnet-owt", [3, 63, 63], 1000, 61_100_840 - 35 * 256 * 4096),
        ("lenet5", [3, 36, 36], 26, 61_706 + 2 * 6 * 25 + 3 * 120 * 84 + 16 * 85),
        ("alphago-policy", [17, 9, 9], 81, 3_882_793 - 31 * 25 * 192 - 280),
    ] {
        let graph = build_with(name, &with(input, classes)).unwrap();
        assert_eq!((dims(&graph), graph.parameter_count()), ([classes].as_slice(), params), "{name}");
    }
}

#[test]
fn what_an_architecture_cannot_do_is_an_error() {
    let small = Options { input: Some([3, 31, 32]), ..Options::default() };
    let ZooError::Graph { network, errors } = build_with("vgg16", &small).unwrap_err() else { panic!() };
    assert_eq!((network.as_str(), errors.0[0].node.as_str()), ("vgg16", "features.30"));

    let absurd = Options { input: Some([3, usize::MAX, usize::MAX]), ..Options::default() };
    let empty = Options { input: Some([0, 0, 0]), ..Options::default() };
    let classes = Options { classes: Some(usize::MAX), ..Options::default() };
    for entry in entries() {
        for options in [&absurd, &empty, &classes] {
            assert!(entry.build(options).is_err(), "{} {options:?}", entry.name);
        }
    }
    let ZooError::Graph { errors, .. } = build_with("resnet18", &absurd).unwrap_err() else { panic!() };
    assert!(errors.0.iter().any(|error| error.problem == Problem::TooLarge), "{errors}");

    let classes = Options { classes: Some(10), ..Options::default() };
    assert_eq!(
        build_with("alphago-policy", &classes).unwrap_err(),
        ZooError::Classes { network: "alphago-policy".into(), outputs: 361, classes: 10 }
    );
}

#[test]
fn dropout_is_set_where_there_is_some() {
    let half = Options { dropout: Some(0.25), ..Options::default() };
    let graph = build_with("googlenet", &half).unwrap();
    let dropouts: Vec<f32> = graph
        .nodes()
        .filter_map(|(_, node)| match node.op {
            Op::Dropout(dropout) => Some(dropout.p),
            _ => None,
        })
        .collect();
    assert_eq!(dropouts, [0.25; 3]);
    assert_eq!(
        build_with("resnet18", &half).unwrap_err(),
        ZooError::NoDropout { network: "resnet18".into() }
    );
    let certain = Options { dropout: Some(1.0), ..Options::default() };
    assert!(matches!(build_with("vgg11", &certain), Err(ZooError::Graph { .. })));
}

#[test]
fn auxiliary_heads_can_be_left_away() {
    let at = |size, auxiliary| Options { input: Some([3, size, size]), auxiliary, ..Options::default() };
    assert!(build_with("googlenet", &at(79, true)).is_ok());
    assert!(build_with("googlenet", &at(78, true)).is_err());
    let graph = build_with("googlenet", &at(64, false)).unwrap();
    assert_eq!((graph.outputs().len(), graph.parameter_count()), (1, 6_998_552));
}

#[test]
fn perceptrons_of_any_width() {
    let (d, m, k) = (3072, 500, 7);
    let graph = build("mlp-3072-500-7").unwrap();
    assert_eq!(graph.parameter_count(), (d + 1) * m + (m + 1) * k);
    assert_eq!(graph.ty(graph.image().unwrap()).dims, [3072]);
    assert_eq!(summarise(&graph).total.macs as usize, d * m + m * k);

    let image = Options { input: Some([3, 32, 32]), ..Options::default() };
    assert_eq!(build_with("mlp-3072-500-7", &image).unwrap().parameter_count(), graph.parameter_count());
    assert_eq!(build("mlp-10-8-6-4").unwrap().parameter_count(), 11 * 8 + 9 * 6 + 7 * 4);

    let other = Options { input: Some([1, 28, 28]), ..Options::default() };
    assert!(matches!(build_with("mlp-3072-500-7", &other), Err(ZooError::Features { features: 3072, .. })));
    let classes = Options { classes: Some(8), ..Options::default() };
    assert!(matches!(build_with("mlp-3072-500-7", &classes), Err(ZooError::Classes { outputs: 7, .. })));
    assert!(matches!(build("mlp-0-5-2"), Err(ZooError::Graph { .. })));
    assert!(matches!(build("mlp-9999999999-9999999999-2"), Err(ZooError::Graph { .. })));
}
