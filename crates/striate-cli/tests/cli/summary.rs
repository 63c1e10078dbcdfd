use crate::{assert_contains, fails, json, striate};
use std::fs;
use std::path::Path;

fn text(args: &[&str]) -> String {
    let done = striate(Path::new("."), args).assert().success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

#[test]
fn totals_are_the_published_ones() {
    for (network, params, macs) in [
        ("lenet5", 61_706, 416_520u64),
        ("alexnet", 62_378_344, 1_135_256_096),
        ("vgg16", 138_357_544, 15_470_264_320),
        ("googlenet", 6_998_552, 1_582_671_872),
        ("resnet50-v1.5", 25_557_032, 4_089_184_256),
        ("alphago-policy", 3_882_793, 1_400_726_208),
    ] {
        let total = &json(Path::new("."), &["summary", network])["total"];
        assert_eq!(total["params"], params, "{network}");
        assert_eq!(total["macs"], macs, "{network}");
    }
    let vgg = json(Path::new("."), &["summary", "vgg16"]);
    assert_eq!(vgg["total"]["activations"], 15_237_608);
}

#[test]
fn json_tells_each_layer() {
    let summary = json(Path::new("."), &["summary", "alexnet"]);
    assert_eq!(summary["network"], "alexnet");
    assert_eq!(summary["input"], serde_json::json!([3, 227, 227]));
    let layers = summary["layers"].as_array().unwrap();
    let layer = |name: &str| layers.iter().find(|layer| layer["name"] == name).unwrap();
    let conv = layer("conv1");
    assert_eq!((&conv["op"], &conv["params"]), (&"conv2d".into(), &34_944.into()));
    assert_eq!(conv["output"], serde_json::json!([96, 55, 55]));
    assert_eq!(conv["activations"], 96 * 55 * 55);
    let field = serde_json::json!({"size": [11, 11], "stride": [4, 4], "offset": [0, 0]});
    assert_eq!(conv["receptive_field"], field);
    assert_eq!(conv["unread"], serde_json::json!([0, 0]));
    assert_eq!(layer("fc8")["output"], serde_json::json!([1000]));
}

#[test]
fn the_table_says_where_memory_and_parameters_are() {
    let vgg = text(&["summary", "vgg16", "--batch", "32"]);
    assert_contains(
        &vgg,
        &["138,357,544", "15,470,264,320", "1.82 GiB forward", "3.63 GiB with gradients", "32 images"],
    );
    let line = |start: &str| vgg.lines().find(|line| line.starts_with(start)).unwrap().to_string();
    assert_contains(&line("most activation memory"), &["73.76 % in early conv2d"]);
    assert_contains(&line("most parameters"), &["89.36 % in late linear: classifier.0"]);
}

#[test]
fn heads_for_training_are_told_and_shown_on_demand() {
    let inference = text(&["summary", "googlenet"]);
    assert_contains(&inference, &["2 heads for training alone: 6,379,728 parameters"]);
    assert_contains(&text(&["summary", "googlenet", "--auxiliary"]), &["13,378,280", "included above"]);
    let total = json(Path::new("."), &["summary", "googlenet", "--auxiliary"]);
    assert_eq!(total["total"]["params"], 13_378_280);
    let small = striate(Path::new("."), &["summary", "googlenet", "--input", "3x64x64"]).assert().success();
    assert_contains(&String::from_utf8_lossy(&small.get_output().stderr), &["auxiliary heads", "left out"]);
}

#[test]
fn pixels_that_no_stride_reaches_are_told() {
    let notation = ["summary", "--notation", "conv2-4/4 valid", "--input", "1x8x11"];
    assert_contains(&text(&notation), &["4 rows, 5 columns never read", "strides of conv1 skip"]);
    assert_eq!(json(Path::new("."), &notation)["layers"][1]["unread"], serde_json::json!([4, 5]));
}

#[test]
fn input_and_classes_can_be_chosen() {
    let summary = json(Path::new("."), &["summary", "resnet18", "--input", "3x64x64", "--classes", "10"]);
    assert_eq!(summary["total"]["params"], 11_181_642);
    let here = Path::new(".");
    assert_contains(&fails(here, 2, &["summary", "resnet18", "--input", "64x64"]), &["3x224x224"]);
    assert_contains(&fails(here, 1, &["summary", "alexnet", "--input", "3x20x20"]), &["pool", "window"]);
    let fixed = ["summary", "--notation", "input 1x8x8, FC-3", "--input", "1x9x9"];
    assert_contains(&fails(here, 1, &fixed), &["input is 1×8×8"]);
    let fixed = ["summary", "--notation", "input 1x8x8, FC-3", "--classes", "4"];
    assert_contains(&fails(here, 1, &fixed), &["3 outputs"]);
}

#[test]
fn what_is_printed_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    for network in ["lenet5", "googlenet", "resnet50"] {
        fs::write(dir.path().join("my.net"), text(&["summary", network, "--print"])).unwrap();
        let [ours, theirs] = ["my.net", network].map(|net| json(dir.path(), &["summary", net]));
        assert_eq!(ours["layers"], theirs["layers"], "{network}");
    }
}

#[test]
fn the_zoo_is_listed() {
    assert_contains(&text(&["summary", "--list"]), &["lenet5", "resnet152-v1.5", "alphago-policy", "61,706"]);
    let list = json(Path::new("."), &["summary", "--list"]);
    let entries = list.as_array().unwrap();
    assert_eq!(entries.len(), striate::zoo::names().count());
    assert!(entries.iter().any(|entry| entry["name"] == "vgg16" && entry["params"] == 138_357_544));
}

#[test]
fn an_unknown_network_is_answered_with_the_nearest() {
    let text = fails(Path::new("."), 2, &["summary", "resnet19"]);
    assert_contains(&text, &["no network is called 'resnet19'", "resnet18", "striate summary --list"]);
}

#[test]
fn every_mistake_in_a_text_is_underlined() {
    let text =
        fails(Path::new("."), 2, &["summary", "--notation", "covn3-64 - relu strid 2 - FC-10 - sofmax"]);
    assert_eq!(text.lines().filter(|line| line.contains("| ") && line.contains('^')).count(), 3, "{text}");
    assert_eq!(text.matches("error: ").count(), 3, "{text}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.net"), "conv3-64\nrleu\n").unwrap();
    assert_contains(&fails(dir.path(), 1, &["summary", "bad.net"]), &["bad.net:2:1", "did you mean 'relu'?"]);
    fs::write(dir.path().join("bad.net"), [0xff, 0xfe, 0, 1]).unwrap();
    assert_contains(&fails(dir.path(), 1, &["summary", "bad.net"]), &["bad.net: not a text"]);
    assert_contains(&fails(dir.path(), 1, &["summary", "none.net"]), &["none.net: No such file"]);
}
