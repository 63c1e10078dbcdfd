use crate::{assert_contains, fails, json, striate};
use serde_json::Value;
use std::path::Path;
use tempfile::tempdir;

const HERE: &str = ".";

fn steps(outline: &Value) -> &[Value] {
    outline["steps"].as_array().unwrap()
}

#[test]
fn a_plan_names_steps_algorithms_and_memory() {
    let outline = json(Path::new(HERE), &["plan", "resnet20-cifar"]);
    let first = &steps(&outline)[0];
    assert_eq!((&first["name"], &first["op"]), (&"conv1+bn1+relu1".into(), &"conv2d".into()));
    assert_eq!(first["layout"], "NHWC f32");
    assert!(outline["arena_bytes"].as_u64() > outline["persistent_bytes"].as_u64());
    let text = striate(Path::new(HERE), &["plan", "lenet5"]).assert().success();
    let text = String::from_utf8_lossy(&text.get_output().stdout).into_owned();
    assert_contains(&text, &["algorithm", "conv1+relu1", "in one arena"]);
}

#[test]
fn an_explained_plan_holds_each_step_against_its_limits() {
    let args = ["plan", "resnet20-cifar", "--explain", "--seconds", "0", "--threads", "1"];
    let outline = json(Path::new(HERE), &args);
    assert!(outline["limits"]["peak_gflops"].as_f64() > Some(0.0));
    for step in steps(&outline) {
        assert!(step["ms"].as_f64() > Some(0.0) && step["bandwidth_fraction"].as_f64() > Some(0.0), "{step}");
    }
    let strided =
        steps(&outline).iter().find(|step| step["name"].as_str().unwrap().starts_with("layer2.0.conv1"));
    let refused = &strided.unwrap()["refused"][0];
    assert_eq!(
        (&refused["algorithm"], &refused["reason"]),
        (&"winograd".into(), &"the stride is 2x2, not 1".into())
    );
}

#[test]
fn winograd_can_be_turned_off() {
    let algorithms = |choice: &str| -> Vec<String> {
        let outline = json(Path::new(HERE), &["plan", "vgg11", "--algorithm", choice]);
        steps(&outline).iter().map(|step| step["algorithm"].as_str().unwrap().to_string()).collect()
    };
    let winograd = |choice| algorithms(choice).iter().filter(|text| text.contains("winograd")).count();
    assert_eq!(winograd("direct"), 0);
    // All eight convolutions are 3x3 with stride 1.
    assert_eq!(winograd("winograd"), 8);
}

#[test]
fn recomputation_spares_memory_in_training_alone() {
    let arena = |level: &str| {
        let args = ["plan", "resnet20-cifar", "--train", "--batch", "8", "--recompute", level];
        json(Path::new(HERE), &args)["arena_bytes"].as_u64().unwrap()
    };
    assert!(arena("blocks") < arena("cheap") && arena("cheap") < arena("none"));
    let refused = fails(Path::new(HERE), 2, &["plan", "lenet5", "--recompute", "cheap"]);
    assert_contains(&refused, &["--recompute", "plan --train"]);
}

#[test]
fn measured_choices_are_kept() {
    let cache = tempdir().unwrap();
    let plan = || {
        let mut command =
            striate(Path::new(HERE), &["plan", "resnet20-cifar", "--autotune", "--format", "json"]);
        command.env("XDG_CACHE_HOME", cache.path()).env("HOME", cache.path()).assert().success()
    };
    let first = plan();
    let told = String::from_utf8_lossy(&first.get_output().stderr).into_owned();
    assert_contains(&told, &["choices kept in"]);
    let second = plan();
    assert_eq!(first.get_output().stdout, second.get_output().stdout);
    assert!(second.get_output().stderr.is_empty(), "nothing is left to measure");
}

#[test]
fn what_leaves_no_choice_is_refused() {
    let args = ["plan", "lenet5", "--autotune", "--algorithm", "direct"];
    assert_contains(&fails(Path::new(HERE), 2, &args), &["--autotune", "--algorithm direct"]);
    assert_contains(
        &fails(Path::new(HERE), 2, &["plan", "lenet5", "--algorithm", "fft"]),
        &["auto, direct or winograd"],
    );
}
