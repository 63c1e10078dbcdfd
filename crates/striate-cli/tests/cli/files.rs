//! What the tests train on and ask about: small enough that everything takes a moment.

use crate::striate;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A network that learns the images of [`data`] in a moment.
pub(crate) const TINY: &str = "conv3-8 - relu - maxpool - FC-32 - relu - FC-3 - softmax";

/// The side of an image.
const SIDE: usize = 8;

/// An image of a class: a bright row in the upper, middle or lower part, at a place that differs.
pub(crate) fn image(class: u8, number: usize) -> Vec<u8> {
    let row = 3 * class as usize + number % 2;
    (0..SIDE * SIDE)
        .map(|at| if at / SIDE == row { 200 } else { (at * 7 + number * 13) as u8 % 30 })
        .collect()
}

/// Writes a data set of three classes into a folder: 96 images to learn from and 30 to test on.
pub(crate) fn data(dir: &Path) -> PathBuf {
    let dir = dir.join("data");
    fs::create_dir_all(&dir).unwrap();
    for (part, count) in [("train", 96), ("t10k", 30)] {
        let labels: Vec<u8> = (0..count).map(|n| (n % 3) as u8).collect();
        let pixels = labels.iter().enumerate().flat_map(|(n, class)| image(*class, n));
        let [count, side] = [count, SIDE].map(|n| (n as u32).to_be_bytes());
        let images = [&[0, 0, 8, 3], &count[..], &side, &side].concat();
        fs::write(dir.join(format!("{part}-images-idx3-ubyte")), [images, pixels.collect()].concat())
            .unwrap();
        let head = [&[0, 0, 8, 1], &count[..]].concat();
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), [head, labels].concat()).unwrap();
    }
    dir
}

/// The options of a run of [`TINY`] on [`data`] of two epochs in batches of 16, and `more` in place of these.
pub(crate) fn tiny_run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut run = vec!["train", "--notation", TINY, "--data", "data", "--threads", "1"];
    for (option, default) in [("--epochs", "2"), ("--batch", "16")] {
        if !more.contains(&option) {
            run.extend([option, default]);
        }
    }
    run.extend(more);
    run
}

/// A folder with the data set and a finished run in `run`.
pub(crate) fn trained() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    striate(dir.path(), &tiny_run(&["--run", "run"])).assert().success();
    dir
}

/// Writes a PNG file that shows an image of the class.
pub(crate) fn picture(path: &Path, class: u8) {
    let picture = image::GrayImage::from_raw(SIDE as u32, SIDE as u32, image(class, 0)).unwrap();
    picture.save(path).unwrap();
}

/// Cuts a file in half.
pub(crate) fn halve(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Writes parameters of a network of the zoo as another program would, names changed by `rename`.
pub(crate) fn weights(path: &Path, network: &str, classes: usize, rename: impl Fn(&str) -> String) {
    use striate::interop::{Tensor, TensorFile};
    let options = striate::zoo::Options { classes: Some(classes), ..Default::default() };
    let graph = striate::zoo::build_with(network, &options).unwrap();
    let mut file = TensorFile::default();
    for (name, tensor) in striate::engine::Parameters::init(&graph, 1).0 {
        file.tensors.insert(rename(&name), Tensor::new(tensor.dims, tensor.data));
    }
    file.tensors.insert(rename("bn1.num_batches_tracked"), Tensor::new([], [0.0]));
    file.write(path).unwrap();
}
