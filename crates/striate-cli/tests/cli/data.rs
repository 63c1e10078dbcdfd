use crate::shapes::{self, BROKEN, CLASSES};
use crate::{assert_contains, fails, json, striate};
use std::fs;
use std::path::Path;

/// Three layers of convolution that tell shapes apart wherever they are.
const NET: &str = "input 3x32x32 - conv5-12 nobias - bn - relu - maxpool - conv3-24 nobias - bn - relu - maxpool \
                   - conv3-32 nobias - bn - relu - gap - FC-3 - softmax";

/// Writes 300 pictures and trains on them from a fresh start: one command.
#[test]
fn a_folder_of_pictures_is_learned_and_what_is_broken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    shapes::write(&dir.path().join("shapes"));
    let args = ["train", "--notation", NET, "--data", "shapes", "--augment", "flip,shift=3", "--run", "run"];
    let more = ["--epochs", "16", "--batch", "16", "--lr", "0.05", "--format", "json"];
    let done = striate(dir.path(), &[&args[..], &more].concat()).assert().success();
    let [out, err] =
        [&done.get_output().stdout, &done.get_output().stderr].map(|text| String::from_utf8_lossy(text));
    let outcome: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(outcome["best_accuracy"].as_f64().unwrap() > 0.95, "{outcome}\n{err}");
    assert_contains(&err, &BROKEN);
    assert_contains(
        &err,
        &[
            "5 pictures cannot be used",
            "20 % are, by the hash of their names",
            "pictures of any size",
            "3 classes",
        ],
    );

    // The model sees pictures as it did in training, and the index has made the second look quick.
    let eval = json(dir.path(), &["eval", "run/model.safetensors", "--data", "shapes"]);
    assert_eq!(eval["top1"], outcome["test_accuracy"]);
    json(dir.path(), &["train", "--resume", "--run", "run"]);
    let text = fails(dir.path(), 1, &["train", "--notation", NET, "--data", "shapes", "--strict"]);
    assert_contains(&text, &["5 of 305 pictures cannot be used", "cut.jpg: damaged: the file ends before"]);
    let answer =
        json(dir.path(), &["predict", "run/model.safetensors", "shapes/square/001.png", "--top", "1"]);
    assert_eq!(answer[0]["class"], "square");

    // Pictures that are changed meanwhile are other data.
    fs::copy(dir.path().join("shapes/square/001.png"), dir.path().join("shapes/square/301.png")).unwrap();
    let text = fails(dir.path(), 1, &["train", "--resume", "--run", "run"]);
    assert_contains(&text, &["latest.safetensors", "the data have changed"][..1]);
}

#[test]
fn data_sets_are_looked_into_shown_and_converted() {
    let dir = tempfile::tempdir().unwrap();
    shapes::write(&dir.path().join("shapes"));
    let info = json(dir.path(), &["data", "info", "shapes"]);
    assert_eq!((info["left_out"].as_array().unwrap().len(), &info["ignored"]), (5, &1.into()));
    assert_eq!(info["classes"].as_array().unwrap().len(), CLASSES.len());
    let counts = |part: &str| info[part]["pictures"].as_u64().unwrap();
    assert_eq!(counts("train") + counts("test"), 300);
    let done = striate(dir.path(), &["data", "info", "shapes?val=0.1"]).assert().success();
    let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert_contains(
        &text,
        &["triangle", "█", "PNG", "WebP", "mean", "5 pictures cannot be used", "bomb.png"],
    );

    for sheet in ["sheet.png", "sheet.svg"] {
        let args =
            ["data", "preview", "shapes", "--augment", "flip,rrc=0.3", "--count", "12", "--times", "3"];
        let drawn = json(dir.path(), &[&args[..], &["--input", "48", "-o", sheet]].concat());
        assert_eq!(drawn["images"], 12);
        assert!(fs::metadata(dir.path().join(sheet)).unwrap().len() > 5000);
    }
    assert_contains(&fails(dir.path(), 2, &["data", "preview", "shapes", "-o", "x.gif"]), &[".png"]);

    let done = json(dir.path(), &["data", "convert", "shapes", "-o", "shards:out", "--short-side", "32"]);
    assert_eq!(done["pictures"], 300);
    let again = json(dir.path(), &["data", "info", "out"]);
    assert_eq!(
        (&again["train"]["pictures"], &again["classes"]),
        (&info["train"]["pictures"], &info["classes"])
    );
    assert!(again["train"]["width"]["median"].as_u64().unwrap() < 45, "{again}");
    assert_contains(
        &fails(dir.path(), 1, &["data", "convert", "shapes", "-o", "idx:x"]),
        &["grey images of one size"],
    );
    assert_contains(&fails(dir.path(), 1, &["data", "convert", "shapes", "-o", "out"]), &["not empty"]);
    assert_contains(
        &fails(dir.path(), 2, &["data", "convert", "shapes", "-o", "tar:x"]),
        &["no form of a data set"],
    );
}

#[test]
fn names_that_are_nearly_right_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("photos")).unwrap();
    let text = fails(dir.path(), 1, &["data", "info", "fodler:photos"]);
    assert_contains(&text, &["did you mean folder?", "striate data --help"]);
    assert_contains(&fails(dir.path(), 1, &["data", "info", "potos"]), &["did you mean photos?"]);
    assert_contains(&fails(Path::new("."), 2, &["train", "mlp", "--cache", "much"]), &["500M or 4G"]);
    let text = fails(dir.path(), 1, &["train", "resnet20-cifar", "--data", "cifar10:photos"]);
    assert_contains(
        &text,
        &["cifar-10-binary.tar.gz", "md5 c32a1d4ab5d03f1284b67883e8d87530", "name cifar10:DIR"],
    );
    let text = fails(dir.path(), 1, &["train", "lenet5", "--data", "fashion-mnist"]);
    assert_contains(&text, &["fashion-mnist:DIR", "t10k-labels-idx1-ubyte.gz"]);
}
