use crate::files::{data, tiny_run, trained};
use crate::{assert_contains, fails, json, striate};
use std::fs;
use std::path::Path;

fn out(dir: &Path, args: &[&str]) -> String {
    let done = striate(dir, args).assert().success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

#[test]
fn runs_are_listed_compared_and_drawn() {
    let dir = trained();
    let other = tiny_run(&["--run", "runs/other", "--epochs", "3", "--lr", "0.02"]);
    striate(dir.path(), &other).assert().success();
    fs::rename(dir.path().join("run"), dir.path().join("runs/first")).unwrap();
    fs::create_dir_all(dir.path().join("runs/broken/checkpoints")).unwrap();
    fs::write(dir.path().join("runs/broken/config.json"), "{\"epochs\":").unwrap();

    let listed = striate(dir.path(), &["runs", "--sort", "name"]).assert().success();
    let text = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    assert_contains(&text, &["first", "other", "2/2", "3/3", "finished"]);
    assert!(text.find("first").unwrap() < text.find("other").unwrap(), "{text}");
    let told = String::from_utf8_lossy(&listed.get_output().stderr).into_owned();
    assert_contains(&told, &["left out", "broken/config.json"]);
    let list = json(dir.path(), &["runs", "runs"]);
    let broken: Vec<_> = list.as_array().unwrap().iter().filter(|run| !run["problem"].is_null()).collect();
    assert_eq!((list.as_array().unwrap().len(), broken.len()), (3, 1));

    let text = out(dir.path(), &["runs", "compare", "runs/first", "runs/other"]);
    assert_contains(&text, &["lr ", "0.02", "epochs ", "best test accuracy", "first", "other"]);
    assert!(!text.contains("batch"), "what is the same is left out: {text}");
    let rows = json(dir.path(), &["runs", "compare", "runs/first", "runs/other"]);
    assert_eq!((&rows[1]["settings"]["epochs"], &rows[0]["epochs_done"]), (&"3".into(), &2.into()));
    assert_contains(&fails(dir.path(), 1, &["runs", "compare", "runs/none"]), &["runs/none", "no run"]);

    let plot = ["runs", "plot", "runs/first", "runs/other", "--x", "step", "--title", "Two of them"];
    for (file, head) in [("two.svg", &b"<svg"[..]), ("two.png", b"\x89PNG")] {
        assert_eq!(out(dir.path(), &[&plot[..], &["-o", file]].concat()).trim(), file);
        assert!(fs::read(dir.path().join(file)).unwrap().starts_with(head));
    }
    let svg = fs::read_to_string(dir.path().join("two.svg")).unwrap();
    assert_contains(&svg, &["Two of them", ">first<", ">other<", "iteration"]);
    let wrong = [&plot[..], &["-o", "two.jpg"]].concat();
    assert_contains(&fails(dir.path(), 1, &wrong), &["two.jpg", ".png or .svg"]);
    let wrong = [&plot[..], &["-o", "two.svg", "--y", "los"]].concat();
    assert_contains(&fails(dir.path(), 2, &wrong), &["did you mean loss?"]);
    let wrong = [&plot[..], &["-o", "two.svg", "--names", "one"]].concat();
    assert_contains(&fails(dir.path(), 2, &wrong), &["1 name", "2 runs"]);
}

#[test]
fn where_nothing_was_trained_the_next_step_is_told() {
    let dir = tempfile::tempdir().unwrap();
    assert_contains(&fails(dir.path(), 1, &["runs"]), &["no folder `runs`", "striate train lenet5"]);
    assert_contains(&fails(dir.path(), 1, &["runs", "elsewhere"]), &["elsewhere"]);
}

#[test]
fn a_run_draws_its_curves_and_tells_tensorboard() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    striate(dir.path(), &tiny_run(&["--run", "run", "--tensorboard"])).assert().success();
    let svg = fs::read_to_string(dir.path().join("run/curves.svg")).unwrap();
    assert_contains(&svg, &["Loss", "Error", "Learning rate", "2 epochs"]);
    assert!(fs::read(dir.path().join("run/curves.png")).unwrap().starts_with(b"\x89PNG"));
    let events = |folder: &str| {
        let names = fs::read_dir(dir.path().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("events.out.tfevents.")).count()
    };
    assert_eq!(events("run"), 1);
    striate(dir.path(), &tiny_run(&["--run", "other", "--tensorboard", "tb"])).assert().success();
    assert_eq!((events("other"), events("tb")), (0, 1));
}

#[test]
fn an_evaluation_draws_what_it_counts() {
    let dir = trained();
    let args =
        ["eval", "run/model.safetensors", "--data", "data", "--confusion", "c.svg", "--wrong", "w.png"];
    let text = out(dir.path(), &args);
    assert_contains(&text, &["precision", "recall", "F1", "taken for", "confusion: c.svg", "wrong: w.png"]);
    assert!(fs::read_to_string(dir.path().join("c.svg")).unwrap().contains("was taken for"));
    assert!(fs::read(dir.path().join("w.png")).unwrap().starts_with(b"\x89PNG"));
    let outcome =
        json(dir.path(), &["eval", "run/model.safetensors", "--data", "data", "--wrong-count", "1"]);
    let rows: Vec<Vec<u64>> = serde_json::from_value(outcome["confusion"].clone()).unwrap();
    assert_eq!(rows.iter().flatten().sum::<u64>(), 30);
    let right: u64 = (0..3).map(|class| rows[class][class]).sum();
    assert!((outcome["top1"].as_f64().unwrap() - right as f64 / 30.0).abs() < 1e-12);
    assert_eq!(outcome["classes"][0]["support"], 10);
    assert_eq!(outcome["wrong"].as_array().unwrap().len() as u64, (30 - right).min(1));
}

#[cfg(unix)]
mod signals {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn spawn(dir: &Path, args: &[&str]) -> Child {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("striate"));
        let command = command.current_dir(dir).args(args);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn signal(child: &Child, name: &str) {
        let done =
            Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until something holds, a minute at most.
    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_signal_saves_says_how_to_go_on_and_leaves_no_trace_in_the_result() {
        let dir = tempfile::tempdir().unwrap();
        data(dir.path());
        let epochs = ["--epochs", "300"];
        let whole = tiny_run(&[&epochs[..], &["--run", "whole"]].concat());
        striate(dir.path(), &whole).assert().success();
        let args = tiny_run(&[&epochs[..], &["--run", "run"]].concat());
        for (round, name) in ["INT", "TERM"].into_iter().enumerate() {
            let resume = ["train", "--resume", "--run", "run", "--threads", "1"];
            let child = spawn(dir.path(), if round == 0 { &args } else { &resume });
            let lines =
                || fs::read_to_string(dir.path().join("run/log.jsonl")).map_or(0, |log| log.lines().count());
            let before = lines();
            until("no epoch is done", || lines() > before + 3);
            signal(&child, name);
            let done = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(done.status.code(), Some(130), "{told}");
            assert_contains(
                &told,
                &["stopped at step", "striate train --resume --run run", "stopping after"],
            );
            assert!(!dir.path().join("run/model.safetensors").exists());
        }
        striate(dir.path(), &["train", "--resume", "--run", "run"]).assert().success();
        let model = |run: &str| fs::read(dir.path().join(run).join("model.safetensors")).unwrap();
        assert!(model("whole") == model("run"), "the interruptions left a trace");
    }

    /// With files of a limited size, a disk that fills up: the checkpoint of a network that has grown no longer fits.
    #[test]
    fn a_full_disk_is_an_error_that_leaves_the_last_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        data(dir.path());
        let args = tiny_run(&["--epochs", "2", "--run", "run"]);
        striate(dir.path(), &args).assert().success();
        let latest = dir.path().join("run/checkpoints/latest.safetensors");
        let before = fs::read(&latest).unwrap();
        fs::remove_file(dir.path().join("run/model.safetensors")).unwrap();
        let config = dir.path().join("run/config.json");
        let longer = fs::read_to_string(&config).unwrap().replace("\"epochs\": 2", "\"epochs\": 4");
        fs::write(&config, longer).unwrap();
        let program = assert_cmd::cargo::cargo_bin("striate");
        // Blocks of 512 or 1024 bytes: either is less than a checkpoint and more than a log. The signal that tells of the
        // limit is ignored, so that writing fails as on a full disk.
        let blocks = before.len() / 2048;
        let script =
            format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" train --resume --run run --threads 1");
        let done =
            Command::new("sh").arg("-c").arg(script).arg(program).current_dir(dir.path()).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert_contains(&told, &["error:", "cannot write"]);
        assert!(fs::read(&latest).unwrap() == before, "the checkpoint is what it was");
        striate(dir.path(), &["train", "--resume", "--run", "run"]).assert().success();
    }
}
