//! `striate run`.

use clap::Args;
use console::style;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use striate::graph::training::LOGITS;
use striate::interop::npy;
use striate::prelude::*;

use crate::failure::{Failure, Result};
use crate::network::NetworkArgs;
use crate::options::{Format, Machine, write_json};
use crate::text::shape;

/// Run a network on numbers: arrays in, arrays out.
///
/// The input holds images (N, C, H, W), or one (C, H, W), as the network takes them: nothing is scaled. All are computed
/// together. What comes out is the network's output for each image, as in inference.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    network: NetworkArgs,
    /// The network's parameters under their published names, where NET is no model [.safetensors]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The images [.npy]
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the outputs go [.npy]
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Write the scores before a final softmax
    #[arg(long)]
    logits: bool,
    #[command(flatten)]
    machine: Machine,
}

const EXAMPLES: &str = "\
Examples:
  striate run runs/lenet5-mnist-1/model.safetensors --input x.npy --output y.npy
  striate run resnet18 --weights resnet18.safetensors --input x.npy --output y.npy --logits";

/// What has been computed, as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    network: &'a str,
    input: &'a [usize],
    output: &'a [usize],
}

impl Run {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let images = npy::read(&self.input)?;
        let (network, parameters) = self.network.build_with_parameters(self.weights.as_deref())?;
        let (batch, image) = match network.image().map(|value| network.ty(value).dims.as_slice()) {
            Some(wanted) if images.shape == wanted => (1, wanted),
            Some(wanted) if images.shape.get(1..) == Some(wanted) && images.shape[0] > 0 => {
                (images.shape[0], wanted)
            }
            wanted => {
                let wanted = shape(wanted.unwrap_or_default());
                let text = format!("{}: an array of {}", self.input.display(), shape(&images.shape));
                return Err(Failure::new(text).advise(format!("{} takes N×{wanted}", network.name)));
            }
        };

        let graph = network.inference();
        let output = if self.logits { graph.logits() } else { graph.output() };
        let output = output.ok_or_else(|| Failure::new(format!("{} has no output", network.name)))?;
        let graph = graph.with_outputs([(LOGITS, output)]);
        let name = graph.inputs().next().map(|(node, _)| node.name.clone()).unwrap_or_default();
        let mut session = Session::new(Plan::new(&graph, self.machine.plan(batch))?)?;
        session.load(&parameters)?;
        session.set_input(&name, &images.data)?;
        session.run()?;
        let Tensor { dims, data } = session.output(LOGITS)?;
        npy::write(&self.output, &striate::interop::Tensor::new(dims.clone(), data))?;

        let input = [&[batch], image].concat();
        let outcome = Outcome { network: &network.name, input: &input, output: &dims };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write(&self.output)?),
        }
    }
}

impl Outcome<'_> {
    fn write(&self, path: &std::path::Path) -> io::Result<()> {
        let Self { network, input, output } = self;
        let name = style(path.display()).bold();
        writeln!(io::stdout(), "{name}  {}, {network} of {}", shape(output), shape(input))
    }
}
