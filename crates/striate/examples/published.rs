//! Loads weights that torchvision would load, and computes what it would compute: the logits, and with `--gradients` every
//! parameter's gradient. `tests/published/published.py` drives it and compares.
//!
//!     cargo run --release -p striate --example published -- NETWORK WEIGHTS DATA OUT [--gradients]
//!
//! DATA holds `image` (N, 3, H, W) and `labels` (N); OUT gets `logits`, as in inference, and `grad.NAME`, as in training: of
//! the mean cross-entropy, batch norms with the images' own statistics, nothing dropped out.

use indexmap::IndexMap;
use std::error::Error;
use striate::graph::ops::{CrossEntropy, Input};
use striate::graph::training::{LABELS, LOGITS, training_mode};
use striate::graph::{DType, GraphErrors, Type, autodiff};
use striate::interop::{Tensor as FileTensor, TensorFile, weights};
use striate::prelude::*;
use striate::train::weights::adopt;
use striate::zoo::{Options, Published, build_with};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, weights, data, out, more @ ..] = args.as_slice() else {
        return Err("usage: published NETWORK WEIGHTS DATA OUT [--gradients]".into());
    };
    let row = Published::find("torchvision", name).ok_or("torchvision has no such network")?;
    let data = TensorFile::read(data)?.tensors;
    let [_, channels, height, width] = data["image"].shape[..] else {
        return Err("image is not (N, C, H, W)".into());
    };
    let options = Options { input: Some([channels, height, width]), auxiliary: false, ..Options::default() };
    // Dropout is random; some networks have none to turn off.
    let graph = build_with(row.network, &Options { dropout: Some(0.0), ..options });
    let graph = graph.or_else(|_| build_with(row.network, &options))?;
    let (parameters, report) = adopt(&graph, weights::read(weights)?, |theirs| row.ours(theirs));
    if !report.is_complete() {
        return Err(report.to_string().into());
    }
    let mut file = TensorFile::default();

    let inference = graph.inference();
    let logits = inference.logits().ok_or("no output")?;
    run(inference.with_outputs([(LOGITS, logits)]), Algorithm::Auto, &parameters, &data, &mut file)?;
    if more == ["--gradients"] {
        // Winograd's rounding would switch more ReLUs than PyTorch's, and each moves the gradients behind it.
        run(gradients(&graph)?, Algorithm::Direct, &parameters, &data, &mut file)?;
    }
    Ok(file.write(out)?)
}

/// The network in training, with the gradient of the mean cross-entropy for each parameter as its output.
fn gradients(network: &Graph) -> Result<Graph, Box<dyn Error>> {
    let mut graph = training_mode(network)?;
    let logits = graph.logits().ok_or("no output")?;
    let labels = Input { ty: Type::batched([]).of(DType::U32) };
    let labels = graph.push(LABELS, labels, &[]).map_err(GraphErrors)?[0];
    let loss = graph.push("loss", CrossEntropy { smoothing: 0.0 }, &[logits, labels]);
    let loss = loss.map_err(GraphErrors)?[0];
    let trained = graph.parameters().filter(|(_, parameter, _)| parameter.role.is_trained());
    let (names, values): (Vec<String>, Vec<Value>) =
        trained.map(|(node, _, value)| (format!("grad.{}", node.name), value)).unzip();
    let gradients = autodiff::gradients(&mut graph, loss, &values)?;
    let gradients: Option<Vec<Value>> = gradients.into_iter().collect();
    let gradients = gradients.ok_or("a parameter without gradient")?;
    Ok(graph.with_outputs(names.iter().map(String::as_str).zip(gradients)))
}

/// Runs the graph once and puts its outputs into `file`.
fn run(
    graph: Graph,
    algorithm: Algorithm,
    parameters: &Parameters,
    data: &IndexMap<String, FileTensor>,
    file: &mut TensorFile,
) -> Result<(), Box<dyn Error>> {
    let graph = graph.prune(|_| true);
    let (image, labels) = (&data["image"], &data["labels"]);
    let options = PlanOptions { algorithm, ..PlanOptions::new(image.shape[0]) };
    let mut session = Session::new(Plan::new(&graph, options)?)?;
    session.load(parameters)?;
    session.set_input("image", &image.data)?;
    if session.has_input(LABELS) {
        let slot = session.input_u32(LABELS)?;
        slot.iter_mut().zip(&labels.data).for_each(|(to, label)| *to = *label as u32);
    }
    session.run()?;
    for output in graph.outputs() {
        let Tensor { dims, data } = session.output(&output.name)?;
        file.tensors.insert(output.name.clone(), FileTensor::new(dims, data));
    }
    Ok(())
}
