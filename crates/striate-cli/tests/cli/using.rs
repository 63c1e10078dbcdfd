use crate::files::{TINY, data, halve, image, picture, trained};
use crate::{assert_contains, fails, json, striate};
use serde_json::Value;
use std::fs;
use std::path::Path;

const MODEL: &str = "run/model.safetensors";

#[test]
fn eval_measures_what_training_measured() {
    let dir = trained();
    let outcome = json(dir.path(), &["eval", MODEL, "--data", "data"]);
    let log = fs::read_to_string(dir.path().join("run/log.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&outcome["top1"], &outcome["top5"]), (&last["test_accuracy"], &last["test_top5"]));
    let [ours, theirs] = [&outcome["loss"], &last["test_loss"]].map(|loss| loss.as_f64().unwrap());
    assert!((ours - theirs).abs() < 1e-6 * theirs.abs().max(1.0), "{ours} {theirs}");
    assert_eq!(outcome["count"], 30);
    assert!(outcome["seconds"].is_f64());
    let done = striate(dir.path(), &["eval", MODEL, "--data", "data", "--batch", "7"]).assert().success();
    assert_contains(
        &String::from_utf8_lossy(&done.get_output().stdout),
        &["top-1", "top-5", "loss", "30 in"],
    );
}

#[test]
fn pictures_are_looked_at_several_times() {
    let dir = trained();
    let count = |args: &[&str]| {
        let outcome = json(dir.path(), &[&["eval", MODEL, "--data", "data", "--batch", "7"], args].concat());
        (outcome["count"].as_u64().unwrap(), outcome["loss"].as_f64().unwrap())
    };
    let plain = count(&[]);
    let flipped = count(&["--views", "flip"]);
    assert!(flipped.0 == 30 && flipped.1 != plain.1, "{plain:?} {flipped:?}");
    assert_eq!(count(&["--views", "ten-crop", "--scales", "36,40"]).0, 30);
    let tight = fails(dir.path(), 1, &["eval", MODEL, "--data", "data", "--views", "ten-crop"]);
    assert_contains(&tight, &["leaves nothing around images", "resize to more"]);
    picture(&dir.path().join("0.png"), 0);
    let answers = json(dir.path(), &["predict", MODEL, "0.png", "--views", "ten-crop", "--resize", "36"]);
    let sum: f64 =
        answers.as_array().unwrap().iter().map(|answer| answer["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{answers}");
    assert_contains(
        &fails(dir.path(), 2, &["predict", MODEL, "0.png", "--views", "tencrop"]),
        &["did you mean ten-crop?"],
    );
}

#[test]
fn eval_refuses_other_data() {
    let dir = trained();
    assert_contains(&fails(dir.path(), 1, &["eval", MODEL]), &["10 classes", "3"]);
    assert_contains(&fails(dir.path(), 1, &["eval", MODEL, "--data", "nowhere"]), &["nowhere"]);
}

#[test]
fn predict_answers_for_one_picture_or_several() {
    let dir = trained();
    for class in 0..3 {
        picture(&dir.path().join(format!("{class}.png")), class);
    }
    let one = json(dir.path(), &["predict", MODEL, "0.png"]);
    let answers = one.as_array().unwrap();
    assert_eq!(answers.len(), 3);
    let probabilities: Vec<f64> =
        answers.iter().map(|answer| answer["probability"].as_f64().unwrap()).collect();
    assert!(
        (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5 && probabilities.is_sorted_by(|a, b| a >= b)
    );
    assert!(answers[0]["class"].is_string());

    let both = json(dir.path(), &["predict", MODEL, "0.png", "1.png", "--top", "1"]);
    assert_eq!((&both[0]["image"], &both[1]["image"]), (&"0.png".into(), &"1.png".into()));
    assert_eq!(both[0]["classes"][0], answers[0]);
    assert_eq!(both[1]["classes"].as_array().unwrap().len(), 1);

    let done = striate(dir.path(), &["predict", MODEL, "0.png", "2.png"]).assert().success();
    assert_contains(&String::from_utf8_lossy(&done.get_output().stdout), &["0.png", "2.png", "%", "█"]);
}

/// A picture of the data set is prepared as in training though the input is larger, and scores become probabilities
/// though the network ends without a softmax: it answers what `eval` counts.
#[test]
fn predict_prepares_pictures_as_training_did() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let net = "input 1x12x12, conv3-8 - relu - maxpool - FC-3";
    let args =
        ["train", "--notation", net, "--data", "data", "--epochs", "8", "--batch", "16", "--lr", "0.05"];
    let outcome = json(dir.path(), &[&args[..], &["--run", "run"]].concat());
    assert_eq!(outcome["test_accuracy"], 1.0, "{outcome}");
    for class in 0..3 {
        let name = format!("{class}.png");
        picture(&dir.path().join(&name), class);
        let answers = json(dir.path(), &["predict", MODEL, &name]);
        assert_eq!(answers[0]["class"], class.to_string(), "{answers}");
        let sum: f64 = answers.as_array().unwrap().iter().map(|a| a["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5 && answers[2]["probability"].as_f64().unwrap() >= 0.0, "{answers}");
    }
}

#[test]
fn pictures_that_cannot_be_read_are_told_and_the_others_answered() {
    let dir = trained();
    picture(&dir.path().join("0.png"), 0);
    fs::write(dir.path().join("text.png"), "just words").unwrap();
    let text = fails(dir.path(), 1, &["predict", MODEL, "text.png"]);
    assert_contains(&text, &["text.png", "it is text", "PNG, JPEG, WebP and BMP can"]);

    let args = ["predict", MODEL, "text.png", "none.png", "0.png", "--format", "json"];
    let done = striate(dir.path(), &args).assert().code(1);
    let err = String::from_utf8_lossy(&done.get_output().stderr);
    assert_contains(&err, &["text.png", "none.png", "No such file"]);
    let answers: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 1);
    assert_eq!(answers[0]["image"], "0.png");

    halve(&dir.path().join("0.png"));
    assert_contains(&fails(dir.path(), 1, &["predict", MODEL, "0.png"]), &["0.png", "damaged"]);
}

#[test]
fn half_a_model_is_told() {
    let dir = trained();
    picture(&dir.path().join("0.png"), 0);
    halve(&dir.path().join(MODEL));
    for args in [&["eval", MODEL, "--data", "data"][..], &["predict", MODEL, "0.png"], &["summary", MODEL]] {
        assert_contains(&fails(dir.path(), 1, args), &["model.safetensors", "cut off"]);
    }
    fs::write(dir.path().join(MODEL), "no model").unwrap();
    assert_contains(&fails(dir.path(), 1, &["predict", MODEL, "0.png"]), &["model.safetensors"]);
    // A checkpoint is no model: it lacks what a model says of itself.
    let checkpoint = ["eval", "run/checkpoints/latest.safetensors", "--data", "data"];
    assert_contains(&fails(dir.path(), 1, &checkpoint), &["holds tensors but no network"]);
}

#[test]
fn a_model_is_a_network() {
    let dir = trained();
    let summary = json(dir.path(), &["summary", MODEL]);
    assert_eq!(summary["input"], serde_json::json!([1, 8, 8]));
    assert_eq!(summary["layers"][1]["op"], "conv2d");
}

/// Writes an array as `numpy.save` does.
fn save(path: &Path, shape: &str, elements: impl IntoIterator<Item = f32>) {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let mut bytes = [b"\x93NUMPY\x01\0\x76\0", format!("{text:<117}\n").as_bytes()].concat();
    bytes.extend(elements.into_iter().flat_map(f32::to_le_bytes));
    fs::write(path, bytes).unwrap();
}

/// The elements of an array.
fn load(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    bytes[128..].as_chunks().0.iter().map(|element| f32::from_le_bytes(*element)).collect()
}

#[test]
fn arrays_go_in_and_out() {
    let dir = trained();
    let [x, one, y, z] = ["x.npy", "one.npy", "y.npy", "z.npy"].map(|name| dir.path().join(name));
    let pixels = |class| image(class, 1).into_iter().map(|pixel| f32::from(pixel) / 255.0);
    save(&x, "2, 1, 8, 8", pixels(0).chain(pixels(2)));
    save(&one, "1, 8, 8", pixels(2));

    let outcome = json(dir.path(), &["run", MODEL, "--input", "x.npy", "--output", "y.npy"]);
    assert_eq!(outcome["input"], serde_json::json!([2, 1, 8, 8]));
    assert_eq!(outcome["output"], serde_json::json!([2, 3]));
    let probabilities = load(&y);
    for row in probabilities.chunks(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
    }

    // The parameters alone, in the network as text, give the scores of one image.
    let net = format!("input 1x8x8, {TINY}");
    let weights = ["run", "--notation", &net, "--weights", MODEL, "--logits"];
    striate(dir.path(), &[&weights[..], &["--input", "one.npy", "--output", "z.npy"]].concat())
        .assert()
        .success();
    let scores = load(&z);
    let sum: f32 = scores.iter().map(|score| score.exp()).sum();
    for (score, probability) in scores.iter().zip(&probabilities[3..]) {
        assert!((score.exp() / sum - probability).abs() < 1e-5, "{scores:?} {probabilities:?}");
    }
}

#[test]
fn arrays_and_parameters_that_do_not_fit_are_told() {
    let dir = trained();
    save(&dir.path().join("x.npy"), "2, 1, 8, 7", [0.0; 112]);
    let files = ["--input", "x.npy", "--output", "y.npy"];
    let fails = |code, args: &[&str]| fails(dir.path(), code, &[&["run"], args, &files].concat());
    assert_contains(&fails(1, &[MODEL]), &["x.npy: an array of 2×1×8×7", "N×1×8×8"]);
    assert_contains(&fails(2, &["lenet5"]), &["no parameters", "--weights"]);
    assert_contains(
        &fails(1, &["lenet5", "--weights", MODEL]),
        &["model.safetensors", "conv2.weight: missing"],
    );
    fs::write(dir.path().join("x.npy"), "1 2 3").unwrap();
    assert_contains(&fails(1, &[MODEL]), &["not a .npy file but text", "numpy.save"]);
    assert!(!dir.path().join("y.npy").exists());
}

#[test]
fn archives_go_in_and_out_by_name() {
    use striate::interop::{Tensor, npz};
    let dir = trained();
    let pixels: Vec<f32> = image(1, 1).into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
    let x = Tensor::new([1, 1, 8, 8], pixels.clone());
    save(&dir.path().join("x.npy"), "1, 1, 8, 8", pixels);
    let [named, two] = ["x.npz", "two.npz"].map(|name| dir.path().join(name));
    npz::write(&named, [("anything", &x)]).unwrap();
    npz::write(&two, [("image", &x), ("more", &x)]).unwrap();
    let outcome = json(dir.path(), &["run", MODEL, "--input", "x.npz", "--output", "y.npz"]);
    assert_eq!(outcome["outputs"], serde_json::json!({"main": [1, 3]}));
    let archive = npz::read(dir.path().join("y.npz")).unwrap();
    json(dir.path(), &["run", MODEL, "--input", "x.npy", "--output", "y.npy"]);
    assert_eq!((archive.len(), &archive["main"].data), (1, &load(&dir.path().join("y.npy"))));

    let run = |input: &str| fails(dir.path(), 1, &["run", MODEL, "--input", input, "--output", "z.npz"]);
    assert_contains(&run("two.npz"), &["two.npz", "takes no 'more'"]);
    npz::write(&two, [("a", &x), ("b", &x)]).unwrap();
    assert_contains(&run("two.npz"), &["no array 'image'", "this one has a, b"]);
}
