use crate::{assert_contains, fails, json, striate};
use serde_json::Value;
use std::path::Path;

const HERE: &str = ".";

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

#[test]
fn networks_are_timed() {
    for task in ["infer", "train"] {
        let args = ["bench", task, "lenet5", "--batch", "4", "--threads", "1", "--seconds", "0.01"];
        let outcome = json(Path::new(HERE), &args);
        for key in ["median_ms", "images_per_s", "gflops", "arena_mib"] {
            assert!(positive(&outcome[key]), "{key}: {outcome}");
        }
        assert!(!cfg!(target_os = "linux") || positive(&outcome["peak_rss_mib"]));
        let [ms, speed] = ["median_ms", "images_per_s"].map(|key| outcome[key].as_f64().unwrap());
        assert!((speed * ms / 4000.0 - 1.0).abs() < 1e-6);
        assert_eq!((&outcome["batch"], &outcome["task"]), (&4.into(), &task.into()));
        assert_eq!(outcome["layers"], Value::Null);
    }
}

#[test]
fn steps_are_timed_one_by_one() {
    let args =
        ["bench", "train", "lenet5", "--batch", "4", "--threads", "1", "--seconds", "0.01", "--layers"];
    let outcome = json(Path::new(HERE), &args);
    let layers = outcome["layers"].as_array().unwrap();
    let share: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-6, "{share}");
    let conv = layers.iter().find(|layer| layer["op"] == "conv2d").unwrap();
    assert!(positive(&conv["gflops"]) && positive(&conv["peak_fraction"]) && conv["algorithm"].is_string());
    let done = striate(Path::new(HERE), &args).assert().success();
    assert_contains(
        &String::from_utf8_lossy(&done.get_output().stdout),
        &["algorithm", "conv1", "of peak", "median"],
    );
}

#[test]
fn a_convolution_is_timed_in_three_passes() {
    let args = ["bench", "conv", "n2 ic8 ih6 oc16 kh3 ph1", "--threads", "1", "--seconds", "0.01"];
    let outcome = json(Path::new(HERE), &args);
    assert_eq!(outcome["macs"], 2 * 16 * 36 * 8 * 9);
    let passes = outcome["passes"].as_array().unwrap();
    let names: Vec<&str> = passes.iter().map(|pass| pass["pass"].as_str().unwrap()).collect();
    assert_eq!(names, ["forward", "backward data", "backward weights"]);
    assert!(passes.iter().all(|pass| positive(&pass["ms"]) && positive(&pass["gflops"])));
    let words = ["bench", "conv", "ic4", "ih5", "oc4", "kh3", "--seconds", "0", "--threads", "1"];
    let done = striate(Path::new(HERE), &words).assert().success();
    assert_contains(&String::from_utf8_lossy(&done.get_output().stdout), &["ic4 ih5 oc4 kh3", "of peak"]);
}

#[test]
fn what_cannot_be_timed_is_told() {
    let here = Path::new(HERE);
    assert_contains(
        &fails(here, 2, &["bench", "infer", "lenet5", "--precision", "f16"]),
        &["f16", "choose f32 or bf16"],
    );
    assert_contains(&fails(here, 2, &["bench", "conv", "n2 ic8"]), &["ih is missing", "--help"]);
    assert_contains(
        &fails(here, 2, &["bench", "conv", "ic3 ih8 oc4 kh3 g2"]),
        &["groups 2 does not divide 3"],
    );
    assert_contains(&fails(here, 2, &["bench", "infer", "nonet"]), &["no network is called 'nonet'"]);
    assert_contains(
        &fails(here, 1, &["bench", "train", "lenet5", "--batch", "99999999999999"]),
        &["smaller batch"],
    );
}
