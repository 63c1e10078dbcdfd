//! Loads weights that torchvision would load, and computes what it would compute: the logits, and with `--gradients` every
//! parameter's gradient. `tests/published/published.py` drives it and compares.
//!
//!     cargo run --release -p striate --example published -- NETWORK WEIGHTS DATA OUT [--gradients]
//!
//! DATA holds `image` (N, 3, H, W) and `labels` (N); OUT gets `logits` and `grad.NAME`. Batch norms use their running
//! statistics in both, and nothing is dropped out.

use std::error::Error;
use striate::graph::ops::{CrossEntropy, Input};
use striate::graph::training::{LABELS, LOGITS};
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
    let options = Options { auxiliary: false, ..Options::default() };
    let mut graph = build_with(row.network, &options)?;
    let (parameters, report) = adopt(&graph, weights::read(weights)?, |theirs| row.ours(theirs));
    if !report.is_complete() {
        return Err(report.to_string().into());
    }

    let logits = graph.logits().ok_or("no output")?;
    let mut wanted = vec![(LOGITS.to_string(), logits)];
    if more == ["--gradients"] {
        let labels = Input { ty: Type::batched([]).of(DType::U32) };
        let labels = graph.push(LABELS, labels, &[]).map_err(GraphErrors)?[0];
        let loss = graph.push("loss", CrossEntropy { smoothing: 0.0 }, &[logits, labels]);
        let loss = loss.map_err(GraphErrors)?[0];
        let trained = graph.parameters().filter(|(_, parameter, _)| parameter.role.is_trained());
        let (names, values): (Vec<String>, Vec<Value>) =
            trained.map(|(node, _, value)| (format!("grad.{}", node.name), value)).unzip();
        let gradients = autodiff::gradients(&mut graph, loss, &values)?;
        for (name, gradient) in names.into_iter().zip(gradients) {
            wanted.push((name, gradient.ok_or("a parameter without gradient")?));
        }
    }
    let graph = graph.with_outputs(wanted.iter().map(|(name, value)| (name.as_str(), *value)));
    let graph = graph.prune(|_| true);

    let data = TensorFile::read(data)?.tensors;
    let (image, labels) = (&data["image"], &data["labels"]);
    let mut session = Session::new(Plan::new(&graph, PlanOptions::new(image.shape[0]))?)?;
    session.load(&parameters)?;
    session.set_input("image", &image.data)?;
    if session.has_input(LABELS) {
        let slot = session.input_u32(LABELS)?;
        slot.iter_mut().zip(&labels.data).for_each(|(to, label)| *to = *label as u32);
    }
    session.run()?;
    let mut file = TensorFile::default();
    for (name, _) in wanted {
        let Tensor { dims, data } = session.output(&name)?;
        file.tensors.insert(name, FileTensor::new(dims, data));
    }
    Ok(file.write(out)?)
}
