//! `striate export`.

use clap::Args;
use console::style;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use striate::interop::onnx::DEFAULT_OPSET;
use striate::prelude::*;
use striate::train::model::{ModelInfo, read_parameters};
use striate::train::onnx;

use crate::failure::{Failure, Result};
use crate::network::{NetworkArgs, Wish};
use crate::options::{Format, chw, positive, write_json};
use crate::text::{plural, shape};

/// Write a network as an ONNX file, which other programs open.
///
/// The file holds the network as it is used after training, for any number of images; classes and how pictures are
/// prepared are in its metadata.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    #[command(flatten)]
    network: NetworkArgs,
    /// The network's parameters under their published names, where NET is no model [.safetensors, .pth]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Parameters as training starts with them, where there are none
    #[arg(long, conflicts_with = "weights")]
    random: bool,
    /// The file [.onnx]
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The version of ONNX's operators
    #[arg(long, value_name = "N", default_value_t = DEFAULT_OPSET)]
    opset: i64,
    /// The input in place of the network's own: channels x height x width
    #[arg(long, value_name = "CxHxW", value_parser = chw)]
    input: Option<[usize; 3]>,
    /// The number of classes in place of the network's own
    #[arg(long, value_name = "K", value_parser = positive)]
    classes: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  striate export runs/lenet5-mnist-1/model.safetensors -o lenet5.onnx
  striate export resnet18 --weights resnet18.safetensors -o resnet18.onnx --opset 13
  striate export mobile.onnx --opset 17 -o older.onnx";

/// What has been written, as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    network: &'a str,
    file: &'a Path,
    opset: i64,
    input: &'a [usize],
    params: usize,
}

impl Export {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let model = self.model()?;
        onnx::write(&model, &self.output, self.opset)?;
        let graph = &model.graph;
        let input = graph.image().map(|image| graph.ty(image).dims.as_slice()).unwrap_or_default();
        let outcome = Outcome {
            network: &graph.name,
            file: &self.output,
            opset: self.opset,
            input,
            params: graph.parameter_count(),
        };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write()?),
        }
    }

    fn model(&self) -> Result<Model> {
        let wish = Wish { input: self.input, classes: self.classes, auxiliary: false };
        let (weights, random) = (self.weights.as_deref(), self.random);
        if weights.is_none()
            && !random
            && let Some(model) = self.network.model(self.input)?
        {
            return Ok(model);
        }
        let graph = self.network.build(wish)?;
        let parameters = match weights {
            Some(weights) => read_parameters(weights, &graph)?,
            None if random => Parameters::init(&graph, 0),
            None => {
                let failure = Failure::usage("the network has no parameters");
                return Err(failure.advise("give --weights FILE, a model that was trained, or --random"));
            }
        };
        let outputs = graph.output().map_or(0, |output| graph.ty(output).elements());
        let classes = (0..outputs).map(|class| class.to_string()).collect();
        let info = ModelInfo { classes, preprocess: onnx::plain(&graph) };
        Ok(Model { graph, parameters, info })
    }
}

impl Outcome<'_> {
    fn write(&self) -> io::Result<()> {
        let Self { network, file, opset, input, params } = self;
        let facts = format!(
            "{network} · input N×{} · {} · opset {opset}",
            shape(input),
            plural(*params, "parameter")
        );
        writeln!(io::stdout(), "{}  {facts}", style(file.display()).bold())
    }
}
