//! Runs: the same bytes for any number of threads and any interruption; errors that say what is wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use striate_graph::ops::{Conv2d, Linear, MaxPool2d};
use striate_graph::{Builder, Graph};
use striate_train::data::{Dataset, DatasetParts, Split};
use striate_train::evaluate::UseError;
use striate_train::model::Model;
use striate_train::run_folder::{RunFolder, read_log};
use striate_train::trainer::{Event, TrainConfig, TrainError, TrainReport, Trainer};

const EPOCHS: u64 = 3;
const STEPS_PER_EPOCH: u64 = 6;

/// Bars in three orientations with noise: learnable within a few steps.
fn bars(split: Split, count: usize) -> Arc<Dataset> {
    let mut pixels = Vec::new();
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
    for (i, label) in labels.iter().enumerate() {
        for y in 0..8usize {
            for x in 0..8usize {
                let at = i / 3 % 8;
                let ink = match label {
                    0 => y == at,
                    1 => x == at,
                    _ => (x + y) % 8 == at,
                };
                pixels.push(if ink { 220 } else { ((i * 31 + x * 7 + y * 13) % 40) as u8 });
            }
        }
    }
    let classes = ["row", "column", "diagonal"].map(String::from).to_vec();
    let (shape, mean, std) = ([1, 8, 8], vec![0.2], vec![0.3]);
    let parts = DatasetParts { name: "bars".into(), split, shape, pixels, labels, classes, mean, std };
    Arc::new(Dataset::try_from(parts).unwrap())
}

fn network() -> Graph {
    let mut net = Builder::new("tiny");
    let x = net.input("image", [1, 8, 8]);
    let x = net.conv2d("conv", x, Conv2d::new(6, 3).padding(1));
    let x = net.relu(x);
    let x = net.max_pool2d(x, MaxPool2d::new(2));
    let x = net.dropout(x, 0.1);
    let x = net.linear("fc", x, Linear::new(3));
    let x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

fn config() -> TrainConfig {
    let augment = "shift=1,rotate=5".parse().unwrap();
    TrainConfig {
        epochs: EPOCHS,
        batch: 16,
        seed: 5,
        augment,
        ..TrainConfig::new(&network(), "bars").unwrap()
    }
}

fn trainer(config: TrainConfig, folder: RunFolder, threads: usize) -> Result<Trainer, TrainError> {
    let data = [bars(Split::Train, 100), bars(Split::Test, 50)];
    Trainer::new(config, network(), data, folder, threads)
}

fn train(folder: &Path, threads: usize) -> TrainReport {
    let folder = RunFolder::create(folder, &config()).unwrap();
    trainer(config(), folder, threads).unwrap().run(&mut |_| {}).unwrap()
}

fn bytes(report: &TrainReport) -> Vec<u8> {
    std::fs::read(&report.model).unwrap()
}

#[test]
fn threads_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let one = train(&folder.path().join("one"), 1);
    let two = train(&folder.path().join("two"), 2);
    assert!(one.last.test_accuracy > 0.6, "it learns: {one:?}");
    assert_eq!(bytes(&one), bytes(&two));
}

/// Stops a run as a kill does, without any farewell, after `step`: a panic out of the observer, caught here.
fn interrupt(folder: RunFolder, step: u64) {
    let mut trainer = trainer(config(), folder, 1).unwrap();
    trainer.checkpoint_every(Duration::ZERO);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trainer.run(&mut |event| {
            if let Event::Step(record) = event
                && record.step == step
            {
                std::panic::resume_unwind(Box::new("stop"));
            }
        })
    }));
    assert!(outcome.is_err(), "step {step} is within the run");
}

/// The log without what a clock has measured.
fn timeless_log(folder: &Path) -> Vec<serde_json::Value> {
    let mut log: Vec<serde_json::Value> = read_log(folder).unwrap();
    for line in &mut log {
        let line = line.as_object_mut().unwrap();
        for clocked in ["seconds", "images_per_s", "input_share"] {
            assert!(line.remove(clocked).is_some(), "{clocked}");
        }
    }
    log
}

fn best(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("checkpoints/best.safetensors")).unwrap()
}

#[test]
fn interruptions_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let uninterrupted = folder.path().join("whole");
    let whole = bytes(&train(&uninterrupted, 1));
    for first in 1..=EPOCHS * STEPS_PER_EPOCH {
        let path = folder.path().join(format!("stopped-{first}"));
        interrupt(RunFolder::create(&path, &config()).unwrap(), first);
        let mut resumed = trainer(config(), RunFolder::open(&path).unwrap(), 2).unwrap();
        let report = resumed.run(&mut |_| {}).unwrap();
        assert!(bytes(&report) == whole, "stopped at step {first}, the model differs");
        assert_eq!(timeless_log(&path), timeless_log(&uninterrupted), "stopped at step {first}");
        assert!(best(&path) == best(&uninterrupted), "stopped at step {first}, the best checkpoint differs");
    }
}

#[test]
fn a_finished_run_resumes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let first = train(&path, 1);
    let before = bytes(&first);
    let again = trainer(config(), RunFolder::open(&path).unwrap(), 1).unwrap().run(&mut |_| {}).unwrap();
    assert_eq!(again.last, first.last);
    assert_eq!(bytes(&again), before);
}

#[test]
fn the_saved_model_is_the_network_with_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(train(&folder.path().join("run"), 1).model).unwrap();
    assert_eq!(model.graph, network());
    assert_eq!(model.info.classes, ["row", "column", "diagonal"]);
    assert_eq!(model.info.preprocess.shape, [1, 8, 8]);
}

#[test]
fn a_half_checkpoint_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    train(&path, 1);
    let checkpoint = path.join("checkpoints/latest.safetensors");
    let whole = std::fs::read(&checkpoint).unwrap();
    for cut in [0, 4, 9, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&checkpoint, &whole[..cut]).unwrap();
        let mut resumed = trainer(config(), RunFolder::open(&path).unwrap(), 1).unwrap();
        let error = resumed.run(&mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("latest.safetensors"), "{error}");
        assert_eq!(std::fs::read(&checkpoint).unwrap().len(), cut);
    }
}

#[test]
fn divergence_names_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { lr: 1e30, ..config() };
    let run = RunFolder::create(folder.path().join("run"), &config).unwrap();
    let error = trainer(config, run, 1).unwrap().run(&mut |_| {}).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn classes_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run"), &config()).unwrap();
    let mut net = Builder::new("five");
    let x = net.input("image", [1, 8, 8]);
    let x = net.linear("fc", x, Linear::new(5));
    net.output(x);
    let data = [bars(Split::Train, 100), bars(Split::Test, 50)];
    let error = Trainer::new(config(), net.finish().unwrap(), data, run, 1).err().unwrap();
    assert!(matches!(error, TrainError::Use(UseError::Classes { data: 3, network: 5 })), "{error}");
}
