//! What becomes of gradients in a run: optimisers, decay, bounds, parts, averages, auxiliary heads; how long it goes on; and
//! where it stops. With everything at once, threads and interruptions leave no trace.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use striate_engine::{Origin, Parameters};
use striate_graph::ops::{BatchNorm, Conv2d, Linear};
use striate_graph::{Builder, Graph};
use striate_train::data::{Dataset, DatasetParts, Split};
use striate_train::finder::{self, Sweep};
use striate_train::model::Model;
use striate_train::run_folder::{RunFolder, read_log};
use striate_train::trainer::{
    ConfigError, EpochRecord, Event, TrainConfig, TrainError, TrainReport, Trainer,
};

const STEPS_PER_EPOCH: u64 = 6;

/// Bars in three orientations with noise: learnable within a few steps.
fn bars(split: Split, count: usize) -> Arc<Dataset> {
    bars_with(split, count, |_| {})
}

fn bars_with(split: Split, count: usize, change: impl Fn(&mut DatasetParts)) -> Arc<Dataset> {
    let mut pixels = Vec::new();
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
    for (i, label) in labels.iter().enumerate() {
        for (y, x) in (0..8usize).flat_map(|y| (0..8usize).map(move |x| (y, x))) {
            let at = i / 3 % 8;
            let ink = [y == at, x == at, (x + y) % 8 == at][*label as usize];
            pixels.push(if ink { 220 } else { ((i * 31 + x * 7 + y * 13) % 40) as u8 });
        }
    }
    let classes = ["row", "column", "diagonal"].map(String::from).to_vec();
    let (shape, mean, std) = ([1, 8, 8], vec![0.2], vec![0.3]);
    let mut parts = DatasetParts { name: "bars".into(), split, shape, pixels, labels, classes, mean, std };
    change(&mut parts);
    Arc::new(Dataset::try_from(parts).unwrap())
}

/// With a batch norm, dropout and an auxiliary head.
fn network() -> Graph {
    let mut net = Builder::new("tiny");
    let x = net.input("image", [1, 8, 8]);
    let x = net.conv2d("conv1", x, Conv2d::new(6, 3).padding(1));
    let x = net.batch_norm("bn1", x, BatchNorm::default());
    let x = net.relu(x);
    let head = net.linear("aux", x, Linear::new(3));
    let x = net.conv2d("conv2", x, Conv2d::new(6, 3).stride(2).padding(1));
    let x = net.relu(x);
    let x = net.dropout(x, 0.1);
    let x = net.linear("fc", x, Linear::new(3));
    let x = net.softmax(x);
    net.output(x);
    net.auxiliary("aux1", head);
    net.finish().unwrap()
}

fn config() -> TrainConfig {
    let schedule = "constant".parse().unwrap();
    TrainConfig {
        epochs: 3,
        batch: 16,
        seed: 5,
        lr: 0.02,
        schedule,
        ..TrainConfig::new(&network(), "bars").unwrap()
    }
}

fn everything() -> TrainConfig {
    TrainConfig {
        optimizer: "adamw".parse().unwrap(),
        lr: 0.02,
        decay: "weights".parse().unwrap(),
        clip: Some(1.0),
        accumulate: 4,
        ema: Some(0.9),
        auxiliary_weight: 0.4,
        patience: Some("3,goal=max".parse().unwrap()),
        iterations: Some(4 * STEPS_PER_EPOCH + 3),
        ..config()
    }
}

fn trainer(config: &TrainConfig, folder: RunFolder, threads: usize) -> Trainer {
    let data = [bars(Split::Train, 100), bars(Split::Test, 50)];
    Trainer::new(config.clone(), network(), data, folder, threads).unwrap()
}

fn train(config: &TrainConfig, folder: &Path, threads: usize) -> TrainReport {
    let run = RunFolder::create(folder, config).unwrap();
    trainer(config, run, threads).run(&mut |_| {}).unwrap()
}

fn bytes(report: &TrainReport) -> Vec<u8> {
    std::fs::read(&report.model).unwrap()
}

#[test]
fn with_everything_at_once_threads_and_interruptions_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let config = everything();
    let whole = train(&config, &folder.path().join("whole"), 1);
    let expected = bytes(&whole);
    assert!(whole.last.test_accuracy > 0.6, "it learns: {whole:?}");
    assert!(bytes(&train(&config, &folder.path().join("threads"), 2)) == expected);
    for stop in [1, 5, 6, 7, 25, 26, 27] {
        let path = folder.path().join(format!("stopped-{stop}"));
        let mut first = trainer(&config, RunFolder::create(&path, &config).unwrap(), 1);
        first.checkpoint_every(Duration::ZERO);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            first.run(&mut |event| match event {
                Event::Step(record) if record.step == stop => std::panic::resume_unwind(Box::new("stop")),
                _ => {}
            })
        }));
        assert!(outcome.is_err(), "step {stop} is within the run");
        drop(first);
        let report = trainer(&config, RunFolder::open(&path).unwrap(), 2).run(&mut |_| {}).unwrap();
        assert!(bytes(&report) == expected, "stopped at step {stop}, the model differs");
    }
}

#[test]
fn the_last_epoch_may_be_a_part_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let config = TrainConfig { iterations: Some(8), ..config() };
    let report = train(&config, &path, 1);
    let log: Vec<EpochRecord> = read_log(&path).unwrap();
    assert_eq!(log.iter().map(|record| (record.step, record.epoch)).collect::<Vec<_>>(), [(6, 1), (8, 2)]);
    assert_eq!(report.last.step, 8);
    let epochs = train(&TrainConfig { epochs: 2, ..config.clone() }, &folder.path().join("epochs"), 1);
    assert_eq!(epochs.last.step, 8, "iterations count in place of epochs");
}

#[test]
fn every_optimizer_learns() {
    let folder = tempfile::tempdir().unwrap();
    for (index, (text, lr)) in
        [("sgd", 0.02), ("adam", 0.01), ("adamw", 0.01), ("rmsprop", 5e-3), ("rmsprop:momentum=0.9", 1e-3)]
            .into_iter()
            .enumerate()
    {
        let config = TrainConfig { optimizer: text.parse().unwrap(), lr, epochs: 10, ..config() };
        let report = train(&config, &folder.path().join(index.to_string()), 2);
        assert!(report.last.test_accuracy > 0.8, "{text}: {report:?}");
    }
}

/// The model after some steps, by name.
fn model_of(config: &TrainConfig) -> Parameters {
    let folder = tempfile::tempdir().unwrap();
    Model::open(train(config, &folder.path().join("run"), 1).model).unwrap().parameters
}

#[test]
fn decay_leaves_biases_and_norms_alone_on_request() {
    // A learning rate at which decay alone shows: gradients are bounded to almost nothing.
    let config = |decay: &str| TrainConfig {
        clip: Some(1e-12),
        momentum: 0.0,
        lr: 1.0,
        weight_decay: 0.1,
        decay: decay.parse().unwrap(),
        iterations: Some(1),
        ..config()
    };
    let (all, weights) = (model_of(&config("all")), model_of(&config("weights")));
    let scale = |parameters: &Parameters| parameters.get("bn1.weight").unwrap().data[0];
    assert!((scale(&all) - 0.9).abs() < 1e-6, "{}", scale(&all));
    assert!((scale(&weights) - 1.0).abs() < 1e-6, "{}", scale(&weights));
    assert_eq!(all.get("conv1.weight"), weights.get("conv1.weight"));
}

#[test]
fn the_average_is_what_is_tested_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    // So long that nothing but the beginning and a little of each step remain.
    let config = TrainConfig { ema: Some(0.9), ..config() };
    let plain = TrainConfig { ema: None, ..config.clone() };
    let paths = ["averaged", "plain"].map(|name| folder.path().join(name));
    let averaged = train(&config, &paths[0], 1);
    let report = train(&plain, &paths[1], 1);
    assert_ne!(bytes(&averaged), bytes(&report));
    assert_ne!(averaged.last.test_loss, report.last.test_loss);
    assert_eq!(averaged.last.train_loss, report.last.train_loss, "training goes on as without");
    let checkpoint =
        |path: &Path| striate_interop::weights::read(path.join("checkpoints/latest.safetensors")).unwrap();
    let (with, without) = (checkpoint(&paths[0]), checkpoint(&paths[1]));
    assert_eq!(with["fc.weight"], without["fc.weight"], "the checkpoint keeps both");
    let model = Model::open(&averaged.model).unwrap();
    assert_eq!(model.parameters.get("fc.weight").unwrap().data, with["fc.weight.average"].data);
}

#[test]
fn the_weight_of_auxiliary_heads_counts() {
    let config = |auxiliary_weight| TrainConfig { auxiliary_weight, iterations: Some(2), ..config() };
    let [none, some] = [0.0, 0.5].map(|weight| model_of(&config(weight)));
    assert_ne!(none.get("conv1.weight"), some.get("conv1.weight"));
    assert!(some.get("aux.weight").is_none(), "the head is for training alone");
}

#[test]
fn a_run_without_progress_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let config = TrainConfig { lr: 0.0, epochs: 50, patience: Some("2".parse().unwrap()), ..config() };
    let report = train(&config, &path, 1);
    // Running statistics move still, so the loss may fall for a while.
    assert!(report.stopped && report.last.epoch < 50, "{report:?}");
    let resumed = trainer(&config, RunFolder::open(&path).unwrap(), 1).run(&mut |_| {}).unwrap();
    assert!(resumed.stopped);
    assert_eq!(resumed.last, report.last, "it does not go on");
    let log: Vec<EpochRecord> = read_log(&path).unwrap();
    let least = log.iter().min_by(|a, b| a.test_loss.total_cmp(&b.test_loss)).unwrap();
    assert_eq!(least.epoch + 2, report.last.epoch);
}

#[test]
fn a_broken_image_is_told_from_a_rate_that_is_too_high() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, config: &TrainConfig, train: Arc<Dataset>| {
        let run = RunFolder::create(folder.path().join(name), config).unwrap();
        let mut trainer =
            Trainer::new(config.clone(), network(), [train, bars(Split::Test, 50)], run, 1).unwrap();
        trainer.run(&mut |_| {}).unwrap_err()
    };
    let broken = bars_with(Split::Train, 100, |parts| parts.std = vec![1e-39]);
    let error = run("data", &config(), broken);
    let TrainError::Diverged { origin: Some(Origin::Input { ref name, .. }), step: 0, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(name, "image");
    assert!(error.to_string().contains("the data are broken"), "{error}");

    let error = run("rate", &TrainConfig { lr: 1e12, ..config() }, bars(Split::Train, 100));
    let TrainError::Diverged { origin: Some(_), .. } = error else { panic!("{error}") };
    assert!(error.to_string().contains("the learning rate"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let text = |config: TrainConfig| config.check().unwrap_err().to_string();
    assert!(text(TrainConfig { accumulate: 3, ..config() }).contains("16 images does not divide into 3"));
    assert!(text(TrainConfig { clip: Some(0.0), ..config() }).contains("clip is 0; it is above 0"));
    assert!(text(TrainConfig { ema: Some(1.0), ..config() }).contains("from 0 to below 1"));
    assert!(text(TrainConfig { auxiliary_weight: -1.0, ..config() }).contains("at least 0"));
    let adam = TrainConfig { optimizer: "adam".parse().unwrap(), nesterov: true, ..config() };
    assert!(matches!(adam.check(), Err(ConfigError::OthersMomentum { .. })));
}

#[test]
fn configurations_of_earlier_versions_are_read() {
    let mut old = serde_json::to_value(config()).unwrap();
    let newer = [
        "iterations",
        "optimizer",
        "decay",
        "clip",
        "accumulate",
        "ema",
        "auxiliary_weight",
        "patience",
        "init",
        "freeze",
        "normalization",
    ];
    for key in newer {
        assert!(old.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    assert_eq!(serde_json::from_value::<TrainConfig>(old).unwrap(), config());
}

#[test]
fn the_finder_finds_a_rate_that_trains() {
    let data = || [bars(Split::Train, 100), bars(Split::Test, 50)];
    let sweep = Sweep { from: 1e-5, to: 1e4, steps: 150 };
    let mut heard = 0;
    let find = |threads, heard: &mut usize| {
        let given = Parameters::default();
        finder::find(&config(), &network(), data(), given, threads, sweep, &mut |_| *heard += 1).unwrap()
    };
    let finding = find(1, &mut heard);
    assert_eq!(heard, finding.trials.len());
    assert!(finding.diverged && finding.trials.len() < 150, "{} steps", finding.trials.len());
    assert_eq!(find(2, &mut heard), finding);
    let lr = finding.suggestion.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let report = train(&TrainConfig { lr, epochs: 10, ..config() }, &folder.path().join("run"), 2);
    assert!(report.last.test_accuracy > 0.8, "{lr}: {report:?}");
}
