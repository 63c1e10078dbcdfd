//! The command as a user runs it: what it writes, where, with which exit code.

mod bench;
mod data;
mod files;
mod help;
mod import;
mod killed;
mod learning;
mod onnx;
mod plan;
mod runs;
mod shapes;
mod summary;
mod train;
mod using;

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use std::path::Path;

/// `striate ARGS` in `dir`.
fn striate(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("striate").unwrap();
    command.current_dir(dir).args(args).env_remove("NO_COLOR");
    command
}

/// Runs `striate ARGS --format json`, which must succeed, and returns the last line it writes.
fn json(dir: &Path, args: &[&str]) -> Value {
    let done = striate(dir, args).args(["--format", "json"]).assert().success();
    let text = String::from_utf8(done.get_output().stdout.clone()).unwrap();
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

/// Runs `striate ARGS`, which must fail with this exit code without panicking, and returns its standard error.
fn fails(dir: &Path, code: i32, args: &[&str]) -> String {
    let done = striate(dir, args).assert().code(code).stderr(predicate::str::contains("panicked").not());
    let text = String::from_utf8(done.get_output().stderr.clone()).unwrap();
    assert!(text.contains("error"), "{text}");
    text
}

/// Whether `text` contains all `parts`.
#[track_caller]
fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in:\n{text}");
    }
}
