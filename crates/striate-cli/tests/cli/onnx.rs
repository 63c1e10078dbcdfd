use crate::{assert_contains, fails, json, striate};
use std::fs;
use striate::interop::{Tensor, npy};

#[test]
fn networks_go_out_as_onnx_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let written = json(here, &["export", "lenet5", "--random", "-o", "lenet5.onnx"]);
    assert_eq!(written["params"], 61_706);
    let [own, file] = ["lenet5", "lenet5.onnx"].map(|net| json(here, &["summary", net]));
    assert_eq!(own["total"]["macs"], file["total"]["macs"]);
    assert_eq!(own["total"]["params"], file["total"]["params"]);

    json(here, &["import", "lenet5.onnx", "-o", "lenet5.safetensors"]);
    let image: Vec<f32> = (0..2 * 32 * 32).map(|at| (at % 17) as f32 / 17.0).collect();
    npy::write(here.join("x.npy"), &Tensor::new([2, 1, 32, 32], image)).unwrap();
    let outputs = ["lenet5.onnx", "lenet5.safetensors"].map(|net| {
        json(here, &["run", net, "--input", "x.npy", "--output", "y.npy"]);
        npy::read(here.join("y.npy")).unwrap()
    });
    assert_eq!(outputs[0].shape, [2, 10]);
    assert_eq!(outputs[0], outputs[1]);

    // A model's classes and preparation travel along.
    json(here, &["export", "lenet5.safetensors", "-o", "again.onnx", "--opset", "9"]);
    striate(here, &["bench", "infer", "again.onnx"]).assert().success();
    striate(here, &["plan", "again.onnx", "--input", "1x32x32"]).assert().success();
}

#[test]
fn what_is_wrong_with_an_onnx_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    fs::write(here.join("broken.onnx"), b"\x89PNG\r\n\x1a\n").unwrap();
    assert_contains(&fails(here, 1, &["summary", "broken.onnx"]), &["broken.onnx", "a PNG image"]);
    assert_contains(&fails(here, 1, &["summary", "absent.onnx"]), &["absent.onnx", "cannot read"]);
    let unsure = &["export", "lenet5", "-o", "x.onnx"];
    assert_contains(&fails(here, 2, unsure), &["no parameters", "--random"]);
    let old = &["export", "googlenet", "--random", "-o", "x.onnx", "--opset", "9"];
    assert_contains(&fails(here, 1, old), &["max_pool2d", "opset 9 cannot say", "opset 10 and later can"]);
    assert!(!here.join("x.onnx").exists());
    let far = &["export", "lenet5", "--random", "-o", "x.onnx", "--opset", "99"];
    assert_contains(&fails(here, 1, far), &["opset 99", "can be written"]);
}
