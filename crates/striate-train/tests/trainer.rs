//! Runs: the same bytes for any number of threads and any interruption; errors that say what is wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use striate_engine::PlanOptions;
use striate_graph::ops::{Conv2d, Linear, MaxPool2d};
use striate_graph::{Builder, Graph};
use striate_train::data::Samples;
use striate_train::data::{Dataset, DatasetParts, Split};
use striate_train::evaluate::{Evaluator, UseError};
use striate_train::model::{Model, ModelError};
use striate_train::run_folder::{RunFolder, read_log};
use striate_train::trainer::{
    ConfigError, EpochRecord, Event, TrainConfig, TrainError, TrainReport, Trainer,
};

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

#[test]
fn mixed_images_train_the_same_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let config = || TrainConfig {
        augment: "flip,cutout=2,mixup=0.4,cutmix=1".parse().unwrap(),
        label_smoothing: 0.1,
        ..config()
    };
    let train = |threads: usize| {
        let run = RunFolder::create(folder.path().join(threads.to_string()), &config()).unwrap();
        bytes(&trainer(config(), run, threads).unwrap().run(&mut |_| {}).unwrap())
    };
    assert!(train(1) == train(2));
}

#[test]
fn recomputation_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let kept = train(&folder.path().join("none"), 1);
    for level in ["cheap", "blocks"] {
        let config = || TrainConfig { recompute: level.into(), ..config() };
        let run = RunFolder::create(folder.path().join(level), &config()).unwrap();
        let report = trainer(config(), run, 2).unwrap().run(&mut |_| {}).unwrap();
        assert!(bytes(&report) == bytes(&kept), "{level}: the model differs");
    }
    let unknown = TrainConfig { recompute: "everything".into(), ..config() };
    assert!(unknown.check().unwrap_err().to_string().contains("none, cheap or blocks"));
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
    let mut half = model.clone();
    half.parameters.0.remove("fc.bias").unwrap();
    let path = folder.path().join("half.safetensors");
    let error = half.save(&path).unwrap_err();
    assert!(matches!(error, ModelError::Parameters { .. }) && error.to_string().contains("fc.bias: missing"));
    assert!(!path.exists());
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

/// `bars` with other values in its parts.
fn changed(split: Split, count: usize, change: impl Fn(&mut DatasetParts)) -> Arc<Dataset> {
    let bars = bars(split, count);
    let mut parts = DatasetParts {
        name: "bars".into(),
        split,
        shape: [1, 8, 8],
        pixels: bars.images().unwrap().pixels().to_vec(),
        labels: bars.labels().to_vec(),
        classes: bars.classes().to_vec(),
        mean: bars.mean().to_vec(),
        std: bars.std().to_vec(),
    };
    change(&mut parts);
    Arc::new(Dataset::try_from(parts).unwrap())
}

#[test]
fn other_data_than_before_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    train(&path, 1);
    let latest = path.join("checkpoints/latest.safetensors");
    let before = std::fs::read(&latest).unwrap();
    let resume = |config: TrainConfig, data: [Arc<Dataset>; 2]| {
        let mut trainer = Trainer::new(config, network(), data, RunFolder::open(&path).unwrap(), 1).unwrap();
        trainer.run(&mut |_| {}).unwrap_err().to_string()
    };
    let [train, test] = [bars(Split::Train, 100), bars(Split::Test, 50)];
    let one_pixel = |parts: &mut DatasetParts| parts.pixels[1234] ^= 1;
    for (config, data, expected) in [
        (
            config(),
            [changed(Split::Train, 100, one_pixel), test.clone()],
            "the training images are not those",
        ),
        (config(), [train.clone(), changed(Split::Test, 50, one_pixel)], "the test images are not those"),
        (config(), [bars(Split::Train, 120), test.clone()], "its epochs had 6 steps, now they have 7"),
        (
            TrainConfig { epochs: 2, ..config() },
            [train.clone(), test.clone()],
            "it is at step 18, the run ends at step 12",
        ),
    ] {
        let error = resume(config, data);
        assert!(error.contains("latest.safetensors") && error.contains(expected), "{error}");
        assert!(std::fs::read(&latest).unwrap() == before);
    }
}

#[test]
fn what_does_not_go_together_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run"), &config()).unwrap();
    let path = run.path().to_path_buf();
    drop(run);
    let new = |config: TrainConfig, network: Graph, data: [Arc<Dataset>; 2]| {
        Trainer::new(config, network, data, RunFolder::open(&path).unwrap(), 1).err().expect("refused")
    };
    let fit = |input: [usize; 3]| {
        let mut net = Builder::new("other");
        let x = net.input("image", input);
        let x = net.linear("fc", x, Linear::new(3));
        net.output(x);
        net.finish().unwrap()
    };
    let [train, test] = [bars(Split::Train, 100), bars(Split::Test, 50)];
    let data = || [train.clone(), test.clone()];
    let flat = |parts: &mut DatasetParts| parts.shape = [1, 4, 16];
    let more = |parts: &mut DatasetParts| parts.classes.push("ring".into());
    for (network, data, wanted) in [
        (fit([3, 8, 8]), data(), "UseError::Channels"),
        (fit([1, 8, 7]), data(), "UseError::TooLarge"),
        (network(), [train.clone(), changed(Split::Test, 50, flat)], "UseError::Parts"),
        (network(), [train.clone(), changed(Split::Test, 50, more)], "UseError::Parts"),
        (network(), [bars(Split::Train, 0), test.clone()], "UseError::Empty"),
        (network(), [train.clone(), bars(Split::Test, 0)], "UseError::Empty"),
    ] {
        let TrainError::Use(error) = new(config(), network, data) else { panic!("{wanted}") };
        let found = match error {
            UseError::Channels { data: 1, network: 3 } => "UseError::Channels",
            UseError::TooLarge { image: [8, 8], input: [8, 7] } => "UseError::TooLarge",
            UseError::Parts { .. } => "UseError::Parts",
            UseError::Empty { .. } => "UseError::Empty",
            other => panic!("{other}"),
        };
        assert_eq!(found, wanted);
    }
    let config_error = |config: TrainConfig| match new(config, network(), data()) {
        TrainError::Config(error) => error,
        other => panic!("{other}"),
    };
    let error = config_error(TrainConfig { momentum: 0.8, ..config() });
    assert!(matches!(error, ConfigError::MovedMomentum { .. }) && error.to_string().contains("0.95 → 0.85"));
    let constant = || TrainConfig { schedule: "constant".parse().unwrap(), ..config() };
    assert_eq!(
        config_error(TrainConfig { momentum: 0.0, nesterov: true, ..constant() }),
        ConfigError::Nesterov
    );
    assert!(matches!(
        config_error(TrainConfig { momentum: 1.0, ..constant() }),
        ConfigError::Momentum { .. }
    ));
    assert_eq!(TrainConfig { momentum: 0.8, nesterov: true, ..constant() }.check(), Ok(()));
    assert_eq!(TrainConfig { momentum: 0.0, ..config() }.check(), Ok(()));
    let error = config_error(TrainConfig { isa: "sse9".into(), ..config() });
    assert!(error.to_string().contains("sse9") && error.to_string().contains("scalar"), "{error}");
    for epochs in [u64::MAX, 1 << 51] {
        let error = new(TrainConfig { epochs, ..config() }, network(), data());
        assert!(matches!(error, TrainError::TooLong { steps_per_epoch: STEPS_PER_EPOCH, .. }), "{error}");
    }
}

#[test]
fn the_evaluator_refuses_what_the_network_does_not_score() {
    let new = |data: Arc<Dataset>| {
        let preprocess = data.preprocess([8, 8]);
        Evaluator::new(&network(), data, &preprocess, PlanOptions::new(8)).err().unwrap()
    };
    assert!(matches!(new(bars(Split::Test, 0)), UseError::Empty { part: "test" }));
    let fourth = changed(Split::Test, 50, |parts| {
        parts.classes.push("ring".into());
        parts.labels[7] = 3;
    });
    assert!(matches!(new(fourth), UseError::Label { id: 7, label: 3, classes: 3 }));
    let tall = changed(Split::Test, 50, |parts| parts.shape = [1, 16, 4]);
    assert!(matches!(new(tall), UseError::TooLarge { image: [16, 4], input: [8, 8] }));
}

#[test]
fn a_plateau_of_accuracies_is_told_accuracies() {
    let folder = tempfile::tempdir().unwrap();
    let schedule = "plateau:0.5,patience=0,threshold=0,goal=max".parse().unwrap();
    let config = TrainConfig { epochs: 12, schedule, lr: 0.02, ..config() };
    let run = RunFolder::create(folder.path().join("run"), &config).unwrap();
    trainer(config, run, 1).unwrap().run(&mut |_| {}).unwrap();
    let log: Vec<EpochRecord> = read_log(folder.path().join("run")).unwrap();
    let (mut lr, mut best, mut rises) = (0.02, f64::NEG_INFINITY, 0);
    for record in &log {
        assert!((record.lr - lr).abs() < 1e-12, "epoch {}: {} where {lr} was due", record.epoch, record.lr);
        if record.test_accuracy > best {
            best = record.test_accuracy;
            rises += 1;
        } else {
            lr /= 2.0;
        }
    }
    assert!((2..log.len()).contains(&rises), "accuracy has to rise and to stall: {rises} of {}", log.len());
}

#[test]
fn a_run_that_diverges_leaves_its_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let broken = changed(Split::Train, 16, |parts| parts.mean[0] = 0.2);
    // One step an epoch: its loss is a number, the parameters it leaves are not.
    let config = TrainConfig { lr: 1e38, schedule: "constant".parse().unwrap(), ..config() };
    let run = RunFolder::create(&path, &config).unwrap();
    let mut trainer = Trainer::new(config, network(), [broken, bars(Split::Test, 50)], run, 1).unwrap();
    let error = trainer.run(&mut |_| {}).unwrap_err();
    let TrainError::Diverged { step, what, .. } = error else { panic!("{error}") };
    assert_eq!(step, 0, "{what}");
    assert_ne!(what, "the loss");
    assert!(read_log::<EpochRecord>(&path).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(path.join("checkpoints")).unwrap().count(), 0);
}

#[cfg(feature = "mnist")]
#[test]
fn a_folder_says_enough_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut net = Builder::new("linear");
    let x = net.input("image", [1, 28, 28]);
    let x = net.linear("fc", x, Linear::new(10));
    net.output(x);
    let net = net.finish().unwrap();
    let config = TrainConfig { epochs: 1, batch: 1000, ..TrainConfig::new(&net, "mnist").unwrap() };
    drop(RunFolder::create(&path, &config).unwrap());
    let resumed = Trainer::resume(RunFolder::open(&path).unwrap(), 1).unwrap();
    assert_eq!((resumed.config(), resumed.network()), (&config, &net));
    assert_eq!(resumed.data().map(|data| data.len()), [60_000, 10_000]);
    drop(resumed);
    let elsewhere = folder.path().join("elsewhere");
    let foreign = TrainConfig { isa: "sse9".into(), ..config };
    let error = Trainer::resume(RunFolder::create(elsewhere, &foreign).unwrap(), 1).err().unwrap();
    assert!(matches!(error, TrainError::Config(ConfigError::Isa { .. })), "{error}");
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
