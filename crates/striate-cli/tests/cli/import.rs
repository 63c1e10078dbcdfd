use crate::files::weights;
use crate::{assert_contains, fails, json, striate};
use std::fs;

const MODEL: &str = "model.safetensors";

#[test]
fn weights_of_torchvision_become_a_model() {
    let dir = tempfile::tempdir().unwrap();
    weights(&dir.path().join("resnet18.safetensors"), "resnet18", 3, |name| format!("module.{name}"));
    fs::write(dir.path().join("classes.txt"), "cat\ndog\nelk\n").unwrap();
    let import = ["import", "torchvision:resnet18", "resnet18.safetensors", "-o", MODEL];
    let outcome = json(dir.path(), &[&import[..], &["--classes", "classes.txt"]].concat());
    assert_eq!((&outcome["network"], &outcome["classes"]), (&"resnet18".into(), &3.into()));
    assert_eq!(
        (&outcome["matched"], &outcome["unused"][0]),
        (&102.into(), &"bn1.num_batches_tracked".into())
    );

    let picture = image::RgbImage::from_fn(90, 70, |x, y| image::Rgb([x as u8, y as u8, 9]));
    picture.save(dir.path().join("x.png")).unwrap();
    let answers = json(dir.path(), &["predict", MODEL, "x.png"]);
    let mut names: Vec<_> =
        answers.as_array().unwrap().iter().map(|a| a["class"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cat", "dog", "elk"]);
    let summary = json(dir.path(), &["summary", MODEL]);
    assert_eq!(summary["input"], serde_json::json!([3, 224, 224]));

    let model = striate::prelude::Model::open(dir.path().join(MODEL)).unwrap();
    let preprocess = model.info.preprocess;
    assert_eq!(preprocess.fit, striate::train::image_file::Fit::crop(256));
    assert_eq!((preprocess.mean, preprocess.std), (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]));

    // Without names the classes are numbers, as many as the file has.
    let outcome = json(dir.path(), &import);
    assert_eq!(outcome["classes"], 3);
    let answers = json(dir.path(), &["predict", MODEL, "x.png", "--top", "1"]);
    assert!(["0", "1", "2"].contains(&answers[0]["class"].as_str().unwrap()));
}

#[test]
fn what_does_not_fit_is_listed_and_taken_in_part_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let renamed = |name: &str| name.replace("layer4.1.bn2.bias", "layer4.1.bn2.shift");
    weights(&dir.path().join("w.safetensors"), "resnet18", 5, renamed);
    fs::write(dir.path().join("two.txt"), "a\nb\n").unwrap();
    let import = ["import", "torchvision:resnet18", "w.safetensors", "-o", MODEL, "--classes", "two.txt"];
    let text = fails(dir.path(), 1, &import);
    assert_contains(
        &text,
        &[
            "99 of 102 parameters match",
            "fc.weight: has dimensions [5, 512], the network needs [2, 512]",
            "layer4.1.bn2.bias: missing in the file",
            "layer4.1.bn2.shift: not in the network",
            "--partial",
        ],
    );
    assert!(!dir.path().join(MODEL).exists());
    let outcome = json(dir.path(), &[&import[..], &["--partial"]].concat());
    assert_eq!(outcome["mismatched"], serde_json::json!(["fc.weight", "fc.bias"]));
    assert_eq!(outcome["missing"], serde_json::json!(["layer4.1.bn2.bias"]));
    assert_eq!(outcome["unexpected"], serde_json::json!(["layer4.1.bn2.shift"]));
    assert_eq!(outcome["classes"], 2);

    // Nothing in common is refused all the same.
    let other = ["import", "torchvision:vgg11", "w.safetensors", "-o", "vgg.safetensors", "--partial"];
    assert_contains(&fails(dir.path(), 1, &other), &["of another network than torchvision:vgg11", "0 of 22"]);
}

#[test]
fn a_folder_of_timms_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("resnet18.test");
    fs::create_dir(&folder).unwrap();
    weights(&folder.join("model.safetensors"), "resnet18", 2, str::to_string);
    fs::write(
        folder.join("config.json"),
        r#"{"architecture": "resnet18", "num_classes": 2, "label_names": ["no", "yes"], "pretrained_cfg":
        {"input_size": [3, 64, 64], "interpolation": "bicubic", "crop_pct": 0.95, "mean": [0.5, 0.5, 0.5]}}"#,
    )
    .unwrap();
    for source in ["timm", "timm:resnet18.a1_in1k"] {
        let outcome = json(dir.path(), &["import", source, "resnet18.test", "-o", MODEL]);
        assert_eq!((&outcome["input"], &outcome["classes"]), (&serde_json::json!([3, 64, 64]), &2.into()));
    }
    let model = striate::prelude::Model::open(dir.path().join(MODEL)).unwrap();
    assert_eq!(model.info.classes, ["no", "yes"]);
    let text = serde_json::to_string(&model.info.preprocess.fit).unwrap();
    assert_eq!(text, r#"{"crop":{"short_side":67,"filter":"bicubic"}}"#);
}

#[test]
fn files_that_are_no_weights_are_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.pth"), b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
    fs::write(dir.path().join("x.txt"), "a\n\nb\n").unwrap();
    let import =
        |source: &str, file: &str, code| fails(dir.path(), code, &["import", source, file, "-o", MODEL]);
    assert_contains(
        &import("torchvision:resnet50", "x.pth", 1),
        &["x.pth", "old format", "torch.save(torch.load("],
    );
    assert_contains(&import("torchvision:resnet50", "no.pth", 1), &["no.pth", "No such file"]);
    assert_contains(&import("torchvision:resnet51", "x.pth", 2), &["'resnet51'", "resnet50, resnet50_v2"]);
    assert_contains(&import("torchvision", "x.pth", 2), &["none is named", "torchvision:resnet50"]);
    assert_contains(&import("caffe:vgg16", "x.pth", 2), &["'caffe'"]);
    assert_contains(
        &fails(dir.path(), 2, &["import", "timm:resnet18", "-o", MODEL]),
        &["no weights are named"],
    );
    weights(&dir.path().join("w.safetensors"), "resnet18", 2, str::to_string);
    let classes = ["import", "torchvision:resnet18", "w.safetensors", "-o", MODEL, "--classes", "x.txt"];
    assert_contains(&fails(dir.path(), 1, &classes), &["x.txt: line 2 is empty"]);
    striate(dir.path(), &classes[..5]).assert().success();
}
