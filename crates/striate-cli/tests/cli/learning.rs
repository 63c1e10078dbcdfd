//! Recipes, the learning-rate finder, and starting from another's parameters.

use crate::files::{data, tiny_run, trained};
use crate::{assert_contains, fails, json, striate};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn config(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("config.json")).unwrap()).unwrap()
}

#[test]
fn a_recipe_is_overridden_option_by_option_and_saved_with_the_run() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let recipe =
        "data = 'data'\nepochs = 2\nbatch = 8\nlr = 0.5\nschedule = 'cosine'\ndecay = 'weights'\nclip = 1\n";
    fs::write(dir.path().join("mine.toml"), recipe).unwrap();
    let network = "conv3-4 - relu - maxpool - FC-3 - softmax";
    let args = ["train", "--notation", network, "--recipe", "mine.toml", "--lr", "0.05", "--run", "run"];
    json(dir.path(), &args);
    let config = config(&dir.path().join("run"));
    assert_eq!((&config["lr"], &config["batch"], &config["clip"]), (&0.05.into(), &8.into(), &1.0.into()));
    assert_eq!((&config["decay"], &config["schedule"]), (&"weights".into(), &"cosine:min=0".into()));
    json(dir.path(), &["train", "--resume", "--run", "run", "--recipe", "mine.toml", "--lr", "0.05"]);
    let text = fails(dir.path(), 2, &["train", "--resume", "--run", "run", "--clip", "2", "--ema", "0.9"]);
    assert_contains(&text, &["--clip is 2", "begun with 1", "--ema is 0.9, the run was begun with null"]);
}

#[test]
fn recipes_that_are_none_and_data_that_are_missing_are_told() {
    let here = Path::new(".");
    let unknown = fails(here, 2, &["train", "--recipe", "lenet"]);
    assert_contains(
        &unknown,
        &["no recipe 'lenet'", "did you mean lenet5?", "alexnet, vgg16", "ends in .toml"],
    );
    let without = fails(here, 2, &["train", "--recipe", "resnet-cifar"]);
    assert_contains(&without, &["resnet-cifar does not bring its images along", "--data"]);
    assert_contains(&fails(here, 2, &["train"]), &["--recipe lenet5, alexnet"]);
    let both = fails(here, 2, &["train", "lenet5", "--epochs", "1", "--iterations", "5"]);
    assert_contains(&both, &["--iterations"]);
    for (option, value, why) in [
        ("--optimizer", "adm", "did you mean adam?"),
        ("--decay", "biases", "all nor weights"),
        ("--patience", "0", "at least 1"),
        ("--accumulate", "0", "at least 1"),
        ("--accumulate", "3", "does not divide into 3 equal parts"),
        ("--ema", "1", "from 0 to below 1"),
        ("--clip", "-1", "above 0"),
        ("--freeze", "conv7", "did you mean 'conv1'?"),
    ] {
        let text = fails(here, 2, &["train", "lenet5", &format!("{option}={value}")]);
        assert_contains(&text, &[why]);
    }
}

#[test]
fn the_finder_plots_suggests_and_leaves_no_run_behind() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let done = striate(dir.path(), &tiny_run(&["--find-lr"])).assert().success();
    let out = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert_contains(&out, &["suggestion", "•", "┊", "1e-4", "--lr"]);
    assert!(!dir.path().join("runs").exists());
    let found = json(dir.path(), &tiny_run(&["--find-lr", "--run", "found"]));
    let lr = found["suggestion"].as_f64().unwrap();
    assert!(lr > 1e-6 && lr < 10.0, "{lr}");
    let files: Vec<_> =
        fs::read_dir(dir.path().join("found")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["lr-finder.json"]);
    let saved = fs::read(dir.path().join("found/lr-finder.json")).unwrap();
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    assert_eq!(saved["trials"].as_array().unwrap().len(), found["trials"].as_array().unwrap().len());
}

#[test]
fn a_run_starts_from_a_models_parameters_without_naming_the_network() {
    let dir = trained();
    let args =
        ["train", "--init", "run/model.safetensors", "--data", "data", "--freeze", "conv1", "--batch", "16"];
    let done = striate(dir.path(), &args).args(["--run", "tuned"]).assert().success();
    let err = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert_contains(&err, &["init  run/model.safetensors", "parameters match", "frozen conv1"]);
    let config = config(&dir.path().join("tuned"));
    assert_eq!(config["init"], "run/model.safetensors");
    let weights =
        |path: &str| striate::interop::weights::read(dir.path().join(path)).unwrap()["conv1.weight"].clone();
    assert_eq!(weights("tuned/model.safetensors"), weights("run/model.safetensors"));
    let none = fails(dir.path(), 1, &["train", "lenet5", "--init", "none.safetensors"]);
    assert_contains(&none, &["none.safetensors"]);
    assert!(!dir.path().join("runs").exists());
}
