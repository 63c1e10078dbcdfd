use crate::files::{TINY, data, halve, tiny_run, trained};
use crate::{assert_contains, fails, json, striate};
use serde_json::Value;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MODEL: &str = "run/model.safetensors";
const LATEST: &str = "run/checkpoints/latest.safetensors";

#[test]
fn a_run_tells_each_epoch_and_its_result() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let done = striate(dir.path(), &tiny_run(&[])).assert().success();
    let [out, err] =
        [&done.get_output().stdout, &done.get_output().stderr].map(|text| String::from_utf8_lossy(text));
    assert_contains(&err, &["96 images to learn from, 30 to test on", "1/2", "2/2", "runs/network-data-1"]);
    assert_contains(
        &out,
        &["test accuracy", "runs/network-data-1/model.safetensors", "striate predict", "--data data"],
    );
    assert!(!err.contains('\x1b') && !err.contains('\r'), "{err}");
    striate(dir.path(), &tiny_run(&[])).assert().success();
    assert!(dir.path().join("runs/network-data-2/config.json").exists());
}

#[test]
fn json_is_the_last_line() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let outcome = json(dir.path(), &tiny_run(&["--epochs", "8", "--lr", "0.05", "--run", "run"]));
    assert!(outcome["test_accuracy"].as_f64().unwrap() > 0.9, "{outcome}");
    assert_eq!(outcome["test_top5"], 1.0);
    assert!(outcome["seconds"].as_f64().unwrap() > 0.0 && outcome["images_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!((&outcome["epochs"], &outcome["run"]), (&8.into(), &"run".into()));
    assert!(dir.path().join(outcome["model"].as_str().unwrap()).exists());
}

#[test]
fn a_folder_with_a_run_is_left_alone() {
    let dir = trained();
    let before = fs::read(dir.path().join(MODEL)).unwrap();
    let text = fails(dir.path(), 1, &tiny_run(&["--run", "run"]));
    assert_contains(&text, &["run holds a run", "--resume --run run"]);
    assert_eq!(fs::read(dir.path().join(MODEL)).unwrap(), before);
}

#[test]
fn resuming_takes_the_configuration_of_the_run() {
    let dir = trained();
    let model = fs::read(dir.path().join(MODEL)).unwrap();
    fs::remove_file(dir.path().join(MODEL)).unwrap();
    let outcome = json(dir.path(), &["train", "--resume", "--run", "run"]);
    assert_eq!(outcome["epochs"], 2);
    assert_eq!(fs::read(dir.path().join(MODEL)).unwrap(), model);

    let config = fs::read(dir.path().join("run/config.json")).unwrap();
    let lr = serde_json::from_slice::<Value>(&config).unwrap()["lr"].to_string();
    json(dir.path(), &["train", "--resume", "--run", "run", "--lr", &lr, "--batch", "16"]);
}

#[test]
fn resuming_with_other_options_names_both_values() {
    let dir = trained();
    let args = ["train", "--resume", "--run", "run", "--epochs", "3", "--schedule", "cosine", "--nesterov"];
    let text = fails(dir.path(), 2, &args);
    assert_contains(
        &text,
        &["--epochs is 3, the run was begun with 2", "--schedule is \"cosine", "onecycle", "--nesterov"],
    );
    let other = ["train", "--resume", "--run", "run", "--notation", "FC-3 - softmax"];
    assert_contains(&fails(dir.path(), 2, &other), &["another", "begun with"]);
    json(dir.path(), &["train", "--resume", "--run", "run", "--notation", TINY]);
}

#[test]
fn an_empty_folder_cannot_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    let text = fails(dir.path(), 1, &["train", "--resume", "--run", "run"]);
    assert_contains(&text, &["run holds no run", "without --resume"]);
}

#[test]
fn half_a_checkpoint_is_told() {
    let dir = trained();
    halve(&dir.path().join(LATEST));
    let text = fails(dir.path(), 1, &["train", "--resume", "--run", "run"]);
    assert_contains(&text, &["latest.safetensors", "cut off"]);
}

#[test]
fn broken_data_is_told_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let files = data(dir.path());
    let labels = files.join("train-labels-idx1-ubyte");
    let good = fs::read(&labels).unwrap();

    let mut bad = good.clone();
    bad[8] = 77;
    fs::write(&labels, bad).unwrap();
    let text = fails(dir.path(), 1, &["train", "mlp-64-8-10", "--data", "mnist:data"]);
    assert_contains(&text, &["77", "train-labels"]);

    fs::write(&labels, &good[..50]).unwrap();
    assert_contains(&fails(dir.path(), 1, &tiny_run(&[])), &["train-labels-idx1-ubyte", "cut off"]);
    fs::write(&labels, &good).unwrap();
    halve(&files.join("t10k-images-idx3-ubyte"));
    assert_contains(&fails(dir.path(), 1, &tiny_run(&[])), &["t10k-images-idx3-ubyte", "cut off"]);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn what_does_not_fit_leaves_no_run_behind() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let args = ["train", "--notation", "FC-4 - softmax", "--data", "data", "--run", "run"];
    assert_contains(&fails(dir.path(), 1, &args), &["3 classes", "4"]);
    assert_contains(
        &fails(dir.path(), 1, &tiny_run(&["--batch", "97", "--run", "run"])),
        &["96 samples", "97"],
    );
    assert!(!dir.path().join("run").exists());
    assert_contains(&fails(dir.path(), 1, &["train", "alexnet", "--data", "data"]), &["alexnet", "1×8×8"]);
    assert_contains(&fails(dir.path(), 1, &["train", "mlp", "--data", "nowhere"]), &["nowhere", "mnist"]);
    let file = ["train", "mlp", "--data", "data", "--run", "data/t10k-labels-idx1-ubyte"];
    assert_contains(&fails(dir.path(), 1, &file), &["t10k-labels-idx1-ubyte"]);
}

#[test]
fn a_learning_rate_too_high_is_told() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let text = fails(dir.path(), 1, &tiny_run(&["--lr=1e30", "--schedule=constant", "--run=run"]));
    assert_contains(
        &text,
        &["the loss became", "where the learning rate was", "--lr well below 1e30", "--schedule"],
    );
    // This penalty makes the weights a fifth larger in each step: they outgrow float32 behind the first checkpoint,
    // and from there on the same steps would do the same.
    let args = ["--lr=0.1", "--weight-decay=22", "--momentum=0", "--schedule=constant", "--epochs", "200"];
    let text = fails(dir.path(), 1, &tiny_run(&[&args[..], &["--run", "late"]].concat()));
    assert_contains(&text, &["became", "--lr well below 0.1"]);
    assert!(!text.contains("--resume"), "{text}");
    let checkpoint = fs::read(dir.path().join("late/checkpoints/latest.safetensors")).unwrap();
    let text = fails(dir.path(), 1, &["train", "--resume", "--run", "late"]);
    assert_contains(&text, &["became", "--lr well below 0.1"]);
    assert!(fs::read(dir.path().join("late/checkpoints/latest.safetensors")).unwrap() == checkpoint);
}

#[test]
fn momentum_is_told_as_it_is_and_refused_where_it_has_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let told = |more: &[&str]| {
        let done = striate(dir.path(), &tiny_run(more)).assert().success();
        String::from_utf8(done.get_output().stderr.clone()).unwrap()
    };
    assert_contains(&told(&[]), &["momentum 0.95 → 0.85 → 0.95"]);
    assert_contains(
        &told(&["--schedule=cosine", "--momentum=0.8", "--nesterov"]),
        &["momentum 0.8 (Nesterov)"],
    );
    assert_contains(&told(&["--momentum=0"]), &["no momentum"]);
    for (more, expected) in
        [(["--momentum", "0.8"], "onecycle moves it"), (["--momentum=0", "--nesterov"], "Nesterov")]
    {
        assert_contains(
            &fails(dir.path(), 2, &tiny_run(&[&more[..], &["--run", "none"]].concat())),
            &[expected],
        );
        assert!(!dir.path().join("none").exists());
    }
}

#[test]
fn changed_data_and_endless_runs_are_refused() {
    let dir = trained();
    let endless = u64::MAX.to_string();
    let text = fails(dir.path(), 1, &tiny_run(&["--epochs", &endless, "--run", "endless"]));
    assert_contains(&text, &["2^53 steps", "fewer epochs"]);
    assert!(!dir.path().join("endless").exists());
    let labels = dir.path().join("data/train-labels-idx1-ubyte");
    let mut changed = fs::read(&labels).unwrap();
    changed[8] = (changed[8] + 1) % 3;
    fs::write(&labels, changed).unwrap();
    let text = fails(dir.path(), 1, &["train", "--resume", "--run", "run"]);
    assert_contains(&text, &["latest.safetensors", "the training images are not those"]);
}

/// A process whose files cannot grow beyond some KiB meets what one on a full disk meets.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_files() {
    let dir = trained();
    let program = assert_cmd::cargo::cargo_bin("striate");
    let limited = |blocks: u32, args: &[&str]| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let mut command = assert_cmd::Command::new("sh");
        command.current_dir(dir.path()).args(["-c", &script, "sh"]).arg(&program).args(args);
        let done = command.assert().code(1);
        String::from_utf8(done.get_output().stderr.clone()).unwrap()
    };
    let before = [MODEL, LATEST].map(|file| fs::read(dir.path().join(file)).unwrap());
    let text = limited(4, &["train", "--resume", "--run", "run", "--threads", "1"]);
    assert_contains(&text, &["error:", "model.safetensors", "cannot write"]);
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!([MODEL, LATEST].map(|file| fs::read(dir.path().join(file)).unwrap()), before);

    let text = limited(4, &tiny_run(&["--run", "second"]));
    assert_contains(&text, &["error:", "second/checkpoints"]);
    json(dir.path(), &["train", "--resume", "--run", "second"]);
}

/// A process that ends with the test, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let program = assert_cmd::cargo::cargo_bin("striate");
    let args = tiny_run(&["--epochs", "1000000", "--run", "run"]);
    let first =
        Command::new(program).current_dir(dir.path()).args(&args).stderr(Stdio::null()).spawn().unwrap();
    let mut first = Running(first);
    let log = dir.path().join("run/log.jsonl");
    let start = Instant::now();
    while !fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        assert!(start.elapsed() < Duration::from_secs(60) && first.0.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let in_use = format!("in use by process {}", first.0.id());
    assert_contains(&fails(dir.path(), 1, &["train", "--resume", "--run", "run"]), &[&in_use]);
    assert_contains(&fails(dir.path(), 1, &args), &["run holds a run"]);
    drop(first);
    let text = fails(dir.path(), 2, &["train", "--resume", "--run", "run", "--epochs", "1"]);
    assert_contains(&text, &["--epochs is 1, the run was begun with 1000000"]);
}

#[test]
fn networks_take_the_size_of_the_images() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let input = |args: &[&str]| {
        let more = ["--data", "data", "--epochs", "1", "--batch", "16", "--threads", "1"];
        let done = striate(dir.path(), &[&["train"], args, &more].concat()).assert().success();
        let text = String::from_utf8(done.get_output().stderr.clone()).unwrap();
        text.split("input ").nth(1).unwrap().split(' ').next().unwrap().to_string()
    };
    assert_eq!(input(&["lenet5"]), "1×32×32");
    assert_eq!(input(&["mlp-64-8-3"]), "1×8×8");
    assert_eq!(input(&["plain20-cifar"]), "1×8×8");
    assert_eq!(input(&["--notation", "input 1x12x12, FC-3, softmax"]), "1×12×12");
    fs::write(dir.path().join("small.net"), "input 1x4x4\nFC-3 - softmax").unwrap();
    let text = fails(dir.path(), 1, &["train", "small.net", "--data", "data"]);
    assert_contains(&text, &["small takes images of 1×4×4, the data set has 1×8×8"]);
}
