use crate::files::{data, tiny_run};
use crate::{json, striate};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const EPOCHS: &str = "60";

/// SIGKILL again and again, at other moments each time, until a resumed run gets through: the same bytes as
/// without.
#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let whole = json(dir.path(), &tiny_run(&["--epochs", EPOCHS, "--run", "whole"]));
    let model = |run: &str| fs::read(dir.path().join(run).join("model.safetensors")).unwrap();

    let spawn = |args: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("striate"));
        command
            .current_dir(dir.path())
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let first = tiny_run(&["--epochs", EPOCHS, "--run", "killed"]);
    let mut kills = 0;
    for round in 0u64.. {
        let begun = dir.path().join("killed/config.json").exists();
        let resume = ["train", "--resume", "--run", "killed", "--threads", "2"];
        let mut process = spawn(if begun { &resume } else { &first });
        std::thread::sleep(Duration::from_millis(2 + round * 7 % 61 + round));
        if process.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        // On Unix this is SIGKILL: no destructor runs, nothing is flushed.
        process.kill().unwrap();
        process.wait().unwrap();
        kills += 1;
        assert!(kills < 500, "the run never gets through");
    }
    assert!(kills >= 3, "only {kills} kills: the run is too short for the test");
    assert!(model("killed") == model("whole"), "after {kills} kills the model differs");
    let log = |run: &str| -> Vec<f64> {
        let text = fs::read_to_string(dir.path().join(run).join("log.jsonl")).unwrap();
        let line =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["train_loss"].as_f64();
        text.lines().map(|text| line(text).unwrap()).collect()
    };
    assert_eq!(log("killed"), log("whole"));
    assert_eq!(log("whole").len(), whole["epochs"].as_u64().unwrap() as usize);
}

#[test]
fn one_thread_and_two_save_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let saved = ["1", "2"].map(|threads| {
        let mut args = tiny_run(&["--seed", "7", "--run", threads]);
        args.extend(["--threads", threads]);
        args.remove(args.iter().position(|arg| *arg == "--threads").unwrap() + 1);
        args.remove(args.iter().position(|arg| *arg == "--threads").unwrap());
        striate(dir.path(), &args).assert().success();
        fs::read(dir.path().join(threads).join("model.safetensors")).unwrap()
    });
    assert!(saved[0] == saved[1]);
}
