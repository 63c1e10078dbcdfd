//! Starting from a file: what matches is taken, what does not starts anew, what is frozen stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use striate_engine::Parameters;
use striate_graph::ops::{BatchNorm, Conv2d, Linear};
use striate_graph::{Builder, Graph};
use striate_interop::{Tensor, TensorFile};
use striate_train::data::{Dataset, DatasetParts, Split};
use striate_train::image_file::{Fit, Preprocess};
use striate_train::model::{Model, ModelInfo};
use striate_train::run_folder::RunFolder;
use striate_train::trainer::{TrainConfig, TrainError, Trainer};
use striate_train::transfer::{self, Source, TransferError};

fn network(classes: usize) -> Graph {
    let mut net = Builder::new("tiny");
    let x = net.input("image", [1, 8, 8]);
    let mut x = x;
    for layer in ["layer1", "layer2"] {
        x = net.conv2d(&format!("{layer}.conv"), x, Conv2d::new(4, 3).padding(1).no_bias());
        x = net.batch_norm(&format!("{layer}.bn"), x, BatchNorm::default());
        x = net.relu(x);
    }
    let x = net.linear("fc", x, Linear::new(classes));
    let x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

/// A model of five classes in a file.
fn model(folder: &Path) -> (PathBuf, Model) {
    let graph = network(5);
    let preprocess =
        Preprocess { shape: [1, 8, 8], image: None, mean: vec![0.25], std: vec![0.5], fit: Fit::crop(8) };
    let info = ModelInfo { classes: (0..5).map(|class| class.to_string()).collect(), preprocess };
    let model = Model { parameters: Parameters::init(&graph, 42), graph, info };
    let path = folder.join("model.safetensors");
    model.save(&path).unwrap();
    (path, model)
}

fn noise(split: Split, count: usize) -> Arc<Dataset> {
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
    let pixels = (0..count * 64).map(|i| (i * 37 % 251) as u8).collect();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let (shape, mean, std) = ([1, 8, 8], vec![0.2], vec![0.3]);
    let parts = DatasetParts { name: "noise".into(), split, shape, pixels, labels, classes, mean, std };
    Arc::new(Dataset::try_from(parts).unwrap())
}

#[test]
fn another_head_starts_anew_and_the_rest_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (path, model) = model(folder.path());
    let source = Source::open(&path, None).unwrap();
    let wanted = transfer::with_classes(source.graph.as_ref().unwrap(), 3).unwrap();
    assert_eq!(wanted, network(3), "only the head differs");
    let (parameters, report) = source.fit(&wanted).unwrap();
    assert_eq!(parameters.get("layer1.conv.weight"), model.parameters.get("layer1.conv.weight"));
    assert!(parameters.get("fc.weight").is_none());
    let text = report.to_string();
    assert!(text.starts_with("10 of 12 parameters match"), "{text}");
    assert!(text.contains("fc.weight: has dimensions [5, 256], the network needs [3, 256]"), "{text}");

    // The same tensors without a network, some missing, some left over.
    let mut file = TensorFile::default();
    for (name, tensor) in model.parameters.0.iter().filter(|(name, _)| !name.starts_with("layer2")) {
        file.tensors.insert(format!("module.{name}"), Tensor::new(tensor.dims.clone(), tensor.data.clone()));
    }
    file.tensors.insert("module.extra".into(), Tensor::new([1], [0.0]));
    let plain = folder.path().join("plain.safetensors");
    file.write(&plain).unwrap();
    let source = Source::open(&plain, None).unwrap();
    assert!(source.graph.is_none() && source.preprocess.is_none());
    let text = source.fit(&wanted).unwrap().1.to_string();
    assert!(text.contains("layer2.conv.weight: missing in the file"), "{text}");
    assert!(text.contains("extra: not in the network"), "{text}");

    let mut other = TensorFile::default();
    other.tensors.insert("encoder.0.weight".into(), Tensor::new([1], [0.0]));
    other.write(&plain).unwrap();
    let error = Source::open(&plain, None).unwrap().fit(&wanted).unwrap_err();
    assert!(
        error.to_string().contains("has encoder.0.weight, the network needs layer1.conv.weight"),
        "{error}"
    );
    assert!(Source::open(folder.path().join("none.pth"), None).is_err());
}

#[test]
fn frozen_layers_stay_to_the_last_bit_and_are_not_differentiated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, model) = model(folder.path());
    let network = network(3);
    let config = TrainConfig {
        epochs: 2,
        batch: 8,
        lr: 0.05,
        init: Some(path.display().to_string()),
        freeze: vec!["layer1.*".into(), "layer2\\.bn".into()],
        ..TrainConfig::new(&network, "noise").unwrap()
    };
    let run = folder.path().join("run");
    let begin = || {
        let folder = RunFolder::create(&run, &config).unwrap();
        let data = [noise(Split::Train, 40), noise(Split::Test, 20)];
        Trainer::new(config.clone(), network.clone(), data, folder, 1).unwrap()
    };
    let error = begin().run(&mut |_| {}).unwrap_err();
    assert!(matches!(error, TrainError::NoInitial { .. }), "{error}");
    std::fs::remove_dir_all(&run).unwrap();

    let mut trainer = begin();
    trainer.start_from(Source::open(&path, None).unwrap().fit(&network).unwrap().0);
    let report = trainer.run(&mut |_| {}).unwrap();
    let trained = Model::open(report.model).unwrap().parameters;
    for (name, tensor) in &trained.0 {
        let is_frozen = name.starts_with("layer1") || name.starts_with("layer2.bn");
        let before = model.parameters.get(name);
        assert_eq!(before == Some(tensor), is_frozen, "{name}");
    }
}

#[test]
fn a_run_killed_before_its_first_step_goes_on_from_the_same_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = model(folder.path());
    let network = network(3);
    let init = Some(path.display().to_string());
    let config = TrainConfig { epochs: 1, batch: 8, init, ..TrainConfig::new(&network, "noise").unwrap() };
    let data = || [noise(Split::Train, 40), noise(Split::Test, 20)];
    let make = |folder| Trainer::new(config.clone(), network.clone(), data(), folder, 1).unwrap();
    let given = Source::open(&path, None).unwrap().fit(&network).unwrap().0;
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let mut trainer = make(RunFolder::create(&whole, &config).unwrap());
    trainer.start_from(given.clone());
    let expected = std::fs::read(trainer.run(&mut |_| {}).unwrap().model).unwrap();

    let mut trainer = make(RunFolder::create(&cut, &config).unwrap());
    trainer.start_from(given);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trainer.run(&mut |_| std::panic::resume_unwind(Box::new("stop")))
    }));
    assert!(outcome.is_err());
    drop(trainer);
    std::fs::remove_file(&path).unwrap();
    let report = make(RunFolder::open(&cut).unwrap()).run(&mut |_| {}).unwrap();
    assert!(std::fs::read(report.model).unwrap() == expected);
}

#[test]
fn patterns_name_layers_and_parameters() {
    let network = network(3);
    let frozen = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| pattern.to_string()).collect();
        transfer::frozen(&network, &patterns)
    };
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(frozen(&["layer1.conv"]).unwrap(), names(&["layer1.conv.weight"]));
    assert_eq!(frozen(&["fc.bias"]).unwrap(), names(&["fc.bias"]));
    assert_eq!(frozen(&["layer[12].*"]).unwrap().len(), 10);
    assert_eq!(frozen(&[]).unwrap().len(), 0);
    let text = |patterns: &[&str]| frozen(patterns).unwrap_err().to_string();
    assert!(text(&["layer1.cnv"]).contains("did you mean 'layer1.conv'?"), "{}", text(&["layer1.cnv"]));
    assert!(text(&["layr1.*"]).contains("did you mean 'layer1.*'?"), "{}", text(&["layr1.*"]));
    assert!(text(&["stem"]).contains("begin with layer1, layer2, fc"), "{}", text(&["stem"]));
    assert!(text(&["layer["]).contains("no regular expression"), "{}", text(&["layer["]));
    assert!(matches!(frozen(&[".*"]), Err(TransferError::AllFrozen { .. })));
}

#[test]
fn a_head_that_is_no_fully_connected_layer_is_not_replaced() {
    let mut net = Builder::new("pooled");
    let x = net.input("image", [1, 8, 8]);
    let x = net.conv2d("conv", x, Conv2d::new(5, 3));
    let x = net.global_avg_pool(x);
    net.output(x);
    let network = net.finish().unwrap();
    assert_eq!(transfer::with_classes(&network, 5).unwrap(), network);
    let error = transfer::with_classes(&network, 3).unwrap_err().to_string();
    assert!(error.contains("pooled tells 5 classes apart, the data set has 3"), "{error}");
}
