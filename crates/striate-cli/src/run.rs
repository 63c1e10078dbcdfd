//! `striate run`.

use clap::Args;
use console::style;
use indexmap::IndexMap;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use striate::interop::{npy, npz};
use striate::prelude::*;

use crate::failure::{Failure, Result};
use crate::network::NetworkArgs;
use crate::options::{Format, Machine, write_json};
use crate::text::shape;

/// Run a network on numbers: arrays in, arrays out.
///
/// An input holds images (N, C, H, W), or one (C, H, W), as the network takes them: nothing is scaled. All are computed
/// together. What comes out is the network's output for each image, as in inference. A .npz file holds several inputs or
/// outputs, by their names in the network; where there is only one, its name in the file does not matter.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    network: NetworkArgs,
    /// The network's parameters under their published names, where NET is no model [.safetensors, .pth]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The images [.npy, .npz]
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the outputs go [.npy, .npz]
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
  striate run resnet18 --weights resnet18.safetensors --input x.npy --output y.npy --logits
  striate run resnet50-v1.5 --weights resnet50.pth --input x.npz --output y.npz
  striate run mobilenet.onnx --input x.npy --output y.npy";

/// What has been computed, as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    network: &'a str,
    input: &'a [usize],
    output: &'a [usize],
    outputs: IndexMap<&'a str, &'a [usize]>,
}

impl Run {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let arrays = read(&self.input)?;
        let (network, parameters) = {
            let images = arrays.values().next().map_or(&[][..], |array| &array.shape);
            self.network.build_with_parameters(self.weights.as_deref(), images)?
        };
        let archive = is_archive(&self.output);
        let graph = if archive { network.prune(|_| true) } else { network.inference() };
        let mut outputs: Vec<_> = graph.outputs().iter().map(|o| (o.name.clone(), o.value)).collect();
        let Some(main) = outputs.first_mut() else {
            return Err(Failure::new(format!("{} has no output", network.name)));
        };
        if self.logits {
            main.1 = graph.before_softmax(main.1);
        }
        let graph = graph.with_outputs(outputs.iter().map(|(name, value)| (name.as_str(), *value)));

        let inputs = self.assign(&graph, arrays)?;
        let batch = inputs.first().map_or(1, |input| input.batch);
        let mut session = Session::new(Plan::new(&graph, self.machine.plan(batch))?)?;
        session.load(&parameters)?;
        for Input { name, array, .. } in &inputs {
            session.set_input(name, &array.data)?;
        }
        session.run()?;
        let computed = outputs.iter().map(|(name, _)| {
            let Tensor { dims, data } = session.output(name)?;
            Ok((name.as_str(), striate::interop::Tensor::new(dims, data)))
        });
        let computed = computed.collect::<Result<Vec<_>>>()?;
        let [(_, first), ..] = computed.as_slice() else { return Ok(()) };
        if archive {
            npz::write(&self.output, computed.iter().map(|(name, array)| (*name, array)))?;
        } else {
            npy::write(&self.output, first)?;
        }

        let input =
            inputs.first().map(|input| [&[batch], input.dims.as_slice()].concat()).unwrap_or_default();
        let all = computed.iter().map(|(name, array)| (*name, array.shape.as_slice())).collect();
        let outcome = Outcome { network: &network.name, input: &input, output: &first.shape, outputs: all };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write(&self.output)?),
        }
    }

    /// The arrays that the network's inputs take, all for as many images.
    fn assign(&self, graph: &Graph, mut arrays: IndexMap<String, Array>) -> Result<Vec<Input>> {
        let path = self.input.display();
        let wanted: Vec<_> =
            graph.inputs().map(|(node, value)| (node.name.clone(), graph.ty(value))).collect();
        if let ([(name, _)], 1) = (wanted.as_slice(), arrays.len())
            && let Some((_, only)) = arrays.pop()
        {
            arrays.insert(name.clone(), only);
        }
        let mut inputs: Vec<Input> = Vec::with_capacity(wanted.len());
        for (name, ty) in wanted {
            let dims = &ty.dims;
            let Some(array) = arrays.shift_remove(&name) else {
                let found: Vec<_> = arrays.keys().map(String::as_str).collect();
                let text = format!("{path}: no array '{name}', which {} takes", graph.name);
                let next = format!("a .npz file holds its inputs by name; this one has {}", found.join(", "));
                return Err(Failure::new(text).advise(next));
            };
            let batch = match array.shape.as_slice() {
                shape if shape == dims.as_slice() => 1,
                [batch, image @ ..] if image == dims.as_slice() && *batch > 0 => *batch,
                found => {
                    let text = format!("{path}: an array of {}", shape(found));
                    return Err(Failure::new(text).advise(format!("{} takes N×{}", graph.name, shape(dims))));
                }
            };
            if let Some(other) = inputs.first().filter(|other| other.batch != batch) {
                let text = format!("{path}: {batch} in '{name}', but {} in '{}'", other.batch, other.name);
                return Err(Failure::new(text).advise("give as many of each"));
            }
            inputs.push(Input { name, batch, dims: dims.clone(), array });
        }
        match arrays.keys().next() {
            Some(name) => Err(Failure::new(format!("{path}: {} takes no '{name}'", graph.name))),
            None => Ok(inputs),
        }
    }
}

/// An array on its way into the network.
struct Input {
    name: String,
    batch: usize,
    /// One image's dimensions.
    dims: Vec<usize>,
    array: Array,
}

type Array = striate::interop::Tensor;

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}

/// The arrays of a file; one of a .npy file has no name.
fn read(path: &Path) -> Result<IndexMap<String, Array>> {
    match is_archive(path) {
        true => Ok(npz::read(path)?),
        false => Ok(IndexMap::from([(String::new(), npy::read(path)?)])),
    }
}

impl Outcome<'_> {
    fn write(&self, path: &Path) -> io::Result<()> {
        let Self { network, input, output, .. } = self;
        let name = style(path.display()).bold();
        writeln!(io::stdout(), "{name}  {}, {network} of {}", shape(output), shape(input))
    }
}
