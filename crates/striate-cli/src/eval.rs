//! `striate eval`.

use clap::Args;
use console::{Term, style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use striate::prelude::*;
use striate::train::evaluate::{UseError, classifier_shape};

use crate::failure::Result;
use crate::network::open_model;
use crate::options::{Format, Looks, Machine, Preparation, positive, write_json};
use crate::sources::{self, Reading};
use crate::text::{duration, percent, thousands};

/// Measure a model on labelled images it has not learned from.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Eval {
    /// The model: a .safetensors file that `striate train` or `striate import` made
    model: PathBuf,
    /// The labelled images, of which the test part is used: a name, a folder, a list or shards, see below
    #[arg(long, value_name = "SOURCE", default_value = "mnist")]
    data: String,
    /// Images that are computed together
    #[arg(long, value_name = "B", default_value = "256", value_parser = positive)]
    batch: usize,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    preparation: Preparation,
    #[command(flatten)]
    looks: Looks,
    #[command(flatten)]
    machine: Machine,
}

const EXAMPLES: &str = "\
Examples:
  striate eval runs/lenet5-mnist-1/model.safetensors
  striate eval model.safetensors --data ~/my-images --format json";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", sources::help())
}

/// The result, as programs read it; fractions from 0 to 1.
#[derive(Serialize)]
struct Outcome {
    top1: f64,
    top5: f64,
    loss: f64,
    count: u64,
    seconds: f64,
}

impl Eval {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let mut model = open_model(&self.model)?;
        self.preparation.apply(&mut model)?;
        let data = self.reading.part(&self.data, Split::Test)?;
        let (_, classes) = classifier_shape(&model.graph)?;
        if data.classes().len() != classes {
            return Err(UseError::Classes { data: data.classes().len(), network: classes }.into());
        }
        let batch = self.batch.min(data.len().max(1));
        let preprocess = &model.info.preprocess;
        let mut evaluator = Evaluator::new(&model.graph, data.clone(), preprocess, self.machine.plan(batch))?
            .with_views(&self.looks.views())?;

        let bar = if Term::stderr().is_term() {
            ProgressBar::new(data.len() as u64)
        } else {
            ProgressBar::hidden()
        };
        let line = "{bar:20.cyan/238}  {pos} of {len} images  {eta} left";
        bar.set_style(ProgressStyle::with_template(line)?.progress_chars("━╸─"));
        let start = Instant::now();
        let tally = evaluator.run(&model.parameters, |done| bar.set_position(done))?;
        let seconds = start.elapsed().as_secs_f64();
        bar.finish_and_clear();

        let (top1, top5) = (tally.accuracy(), tally.top5_accuracy());
        let outcome = Outcome { top1, top5, loss: tally.mean_loss(), count: tally.samples, seconds };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write()?),
        }
    }
}

impl Outcome {
    fn write(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let Self { top1, top5, loss, count, seconds } = *self;
        writeln!(out, "top-1   {}   error {}", style(percent(top1)).green().bold(), percent(1.0 - top1))?;
        writeln!(out, "top-5   {}   error {}", percent(top5), percent(1.0 - top5))?;
        writeln!(out, "loss    {loss:.4}")?;
        let (images, time) = (thousands(count), duration(Duration::from_secs_f64(seconds)));
        let speed = thousands((count as f64 / seconds.max(1e-9)) as u64);
        writeln!(out, "images  {images} in {time}, {speed} images/s")
    }
}
