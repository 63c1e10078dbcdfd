use crate::{assert_contains, fails, striate};
use std::io::pipe;
use std::path::Path;
use std::process::Command;

const VERBS: [&[&str]; 19] = [
    &[],
    &["summary"],
    &["train"],
    &["eval"],
    &["predict"],
    &["data"],
    &["data", "info"],
    &["data", "preview"],
    &["data", "convert"],
    &["import"],
    &["export"],
    &["plan"],
    &["run"],
    &["runs"],
    &["runs", "compare"],
    &["runs", "plot"],
    &["bench"],
    &["bench", "infer"],
    &["bench", "conv"],
];

#[test]
fn every_verb_explains_itself_with_examples() {
    for verb in VERBS {
        for flag in ["--help", "-h"] {
            let done = striate(Path::new("."), verb).arg(flag).assert().success();
            let text = String::from_utf8(done.get_output().stdout.clone()).unwrap();
            assert_contains(&text, &["Usage: striate", "Examples:", &format!("striate {}", verb.join(" "))]);
        }
    }
}

#[test]
fn defaults_in_help_are_the_librarys() {
    let done = striate(Path::new("."), &["train", "--help"]).assert().success();
    let words =
        String::from_utf8_lossy(&done.get_output().stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let network = striate::zoo::build("mlp").unwrap();
    let config = striate::train::trainer::TrainConfig::new(&network, "mnist").unwrap();
    let lr = format!("highest [default: {}]", config.lr);
    let epochs = format!("Passes over the training images [default: {}]", config.epochs);
    assert_contains(&words, &[&lr, &epochs, &format!("[default: {}]", config.schedule)]);
}

#[test]
fn every_change_of_images_is_in_the_help() {
    let done = striate(Path::new("."), &["train", "--help"]).assert().success();
    let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    for (word, help) in striate::train::augment::Augment::vocabulary() {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{word} ")));
        assert!(
            line.is_some_and(|line| line.ends_with(help) && line.chars().count() <= 100),
            "{word}: {line:?}"
        );
    }
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    let here = Path::new(".");
    assert_contains(&fails(here, 2, &["trian"]), &["trian", "train"]);
    assert_contains(&fails(here, 2, &["train"]), &["no network is named", "striate train lenet5"]);
    assert_contains(&fails(here, 2, &["train", "mlp", "--resume"]), &["--resume needs --run DIR"]);
    for (option, value, why) in [
        ("--epochs", "0", "0"),
        ("--batch", "0", "at least 1"),
        ("--lr", "fast", "no number"),
        ("--lr", "-1", "at least 0"),
        ("--lr", "NaN", "at least 0"),
        ("--momentum", "1", "below 1"),
        ("--schedule", "cosin", "did you mean cosine?"),
        ("--augment", "digit", "did you mean digits?"),
        ("--augment", "crop=4,jiter=0.4", "did you mean jitter?"),
        ("--isa", "sse", "scalar, neon, avx2, avx512 or avx512bf16"),
        ("--threads", "0", "0"),
    ] {
        let text = fails(here, 2, &["train", "mlp", &format!("{option}={value}")]);
        assert_contains(&text, &[option, why]);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [&["summary", "--list"][..], &["summary", "resnet50"], &["summary", "lenet5", "--print"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let program = assert_cmd::cargo::cargo_bin("striate");
        let output = Command::new(program).args(args).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn nothing_is_coloured_where_nobody_sees_it() {
    let done = striate(Path::new("."), &["summary", "lenet5"]).assert().success();
    assert!(!done.get_output().stdout.contains(&0x1b));
}
