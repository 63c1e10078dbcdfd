//! `striate import`.

mod onnx;
mod published;

use clap::Args;
use console::style;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use striate::prelude::*;
use striate::train::weights::Report;

use crate::failure::{Failure, Result, note};
use crate::options::{Format, chw, write_json};
use crate::text::{plural, shape};

/// The longest list of classes that is read, in bytes.
const MAX_CLASSES: u64 = 16 << 20;

/// Make a model of weights that others have published.
///
/// The model is one file with the network, its parameters, its classes and how pictures are prepared: `predict`, `eval`,
/// `run` and the others take it like one that was trained here.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// Whose network: torchvision:NAME or timm:NAME, timm alone where a config.json beside the weights names it; or an
    /// .onnx file, which has its weights itself
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Its weights: .safetensors, or what torch.save wrote (.pth, .pt, .bin); of timm also the folder with both files
    #[arg(value_name = "WEIGHTS")]
    weights: Option<PathBuf>,
    /// Where the model goes [.safetensors]
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The classes' names, one a line in the order of the outputs [default: what config.json says, or numbers]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// An image's dimensions where an .onnx file leaves them open: channels x height x width
    #[arg(long, value_name = "CxHxW", value_parser = chw)]
    input: Option<[usize; 3]>,
    /// Take what fits and start the rest anew: other classes, a part of the weights
    #[arg(long)]
    partial: bool,
}

const EXAMPLES: &str = "\
Examples:
  striate import torchvision:resnet50 resnet50.pth -o resnet50.safetensors
  striate import torchvision:vgg16-bn vgg16_bn.safetensors -o vgg16.safetensors --classes imagenet.txt
  striate import timm ~/models/resnet18.a1_in1k -o resnet18.safetensors
  striate import torchvision:resnet18 resnet18.pth -o mine.safetensors --classes mine.txt --partial
  striate import mobilenet.onnx -o mobilenet.safetensors --input 3x224x224

torchvision:
  alexnet, vgg11, vgg13, vgg16, vgg19 (each also with _bn), googlenet, resnet18, resnet34, resnet50, resnet101, resnet152;
  resnet50_v2, resnet101_v2, resnet152_v2 for the weights called IMAGENET1K_V2
timm:
  vgg11 … vgg19 (each also with _bn), resnet18 … resnet152";

/// A model from elsewhere.
struct Imported {
    /// What it was called there.
    source: String,
    model: Model,
    /// How its weights fit.
    report: Report,
}

/// What has been imported, as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    source: &'a str,
    network: &'a str,
    model: &'a Path,
    input: Vec<usize>,
    classes: usize,
    matched: usize,
    missing: &'a [String],
    mismatched: Vec<&'a str>,
    unexpected: &'a [String],
    unused: &'a [String],
}

impl Import {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let imported =
            if onnx::is_onnx(&self.source) { onnx::import(&self)? } else { published::import(&self)? };
        let Imported { source, model, report } = &imported;
        if report.matched.is_empty() {
            let text = format!("the weights are of another network than {source}\n{report}");
            return Err(Failure::new(text));
        }
        if !report.is_complete() {
            if !self.partial {
                let next = "choose the network that the weights are of, or take what fits with --partial";
                return Err(Failure::new(format!("the weights do not fit {source}\n{report}")).advise(next));
            }
            note(&report.to_string());
        }
        model.save(&self.output)?;
        let outcome = Outcome {
            source,
            network: &model.graph.name,
            model: &self.output,
            input: model.graph.image().map(|image| model.graph.ty(image).dims.clone()).unwrap_or_default(),
            classes: model.info.classes.len(),
            matched: report.matched.len(),
            missing: &report.missing,
            mismatched: report.mismatched.iter().map(|mismatch| mismatch.name.as_str()).collect(),
            unexpected: &report.unexpected,
            unused: &report.unused,
        };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write()?),
        }
    }

    /// The names that `--classes` lists.
    fn class_names(&self) -> Result<Option<Vec<String>>> {
        let Some(path) = &self.classes else { return Ok(None) };
        let fail = |problem: &dyn std::fmt::Display| Failure::new(format!("{}: {problem}", path.display()));
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| fail(&error))?;
        file.take(MAX_CLASSES + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
        if bytes.len() as u64 > MAX_CLASSES {
            return Err(fail(&format!("longer than {} MiB, no list of classes is", MAX_CLASSES >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|_| fail(&"not a text (UTF-8)"))?;
        let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
        match names.iter().position(String::is_empty) {
            _ if names.is_empty() => Err(fail(&"names no class; write one a line")),
            Some(line) => Err(fail(&format!("line {} is empty; each line names a class", line + 1))),
            None => Ok(Some(names)),
        }
    }
}

impl Outcome<'_> {
    fn write(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let Self { source, network, model, input, classes, matched, .. } = self;
        let facts = format!("{network} of {source} · {} · {}", shape(input), plural(*classes, "class"));
        writeln!(out, "{}  {facts}", style(model.display()).bold())?;
        let all = matched + self.missing.len() + self.mismatched.len();
        let unused = match self.unused.len() {
            0 => String::new(),
            count => format!(", {} of training left out", plural(count, "tensor")),
        };
        writeln!(out, "{matched} of {all} parameters match{unused}")
    }
}
