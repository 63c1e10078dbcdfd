//! `striate bench infer` and `striate bench train`.

use clap::{Args, ValueEnum};
use console::style;
use serde::Serialize;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::time::Duration;
use striate::graph::DType;
use striate::graph::training::{self, ClassifierTraining, LEARNING_RATE, MOMENTUM, Sgd};
use striate::prelude::*;
use striate::train::evaluate::classifier_shape;

use super::{Length, gflops, median_ms, peak_gflops, random};
use crate::failure::{Failure, Result};
use crate::network::{NetworkArgs, Wish};
use crate::options::{Format, Machine, positive, write_json};
use crate::table::{Table, left, right};
use crate::text::{bytes, percent, plural, thousands};

/// Time a network's forward pass.
///
/// Inference: no dropout, batch normalisation folded in, no auxiliary heads; random weights and images.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  striate bench infer lenet5
  striate bench infer resnet18 --batch 32 --layers
  striate bench infer vgg16 --threads 1 --format json")]
pub(crate) struct Infer {
    #[command(flatten)]
    options: Options,
}

/// Time a network's training step: forward, loss, gradients, update.
///
/// SGD with momentum 0.9 and weight decay 5e-4 on one random batch that stays the same; auxiliary heads included.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  striate bench train lenet5 --batch 128
  striate bench train googlenet --batch 16 --layers --seconds 10")]
pub(crate) struct Train {
    #[command(flatten)]
    options: Options,
}

#[derive(Args, Debug)]
struct Options {
    #[command(flatten)]
    network: NetworkArgs,
    /// Images of a step
    #[arg(long, value_name = "B", default_value = "1", value_parser = positive)]
    batch: usize,
    /// What numbers are computed with
    #[arg(long, value_enum, default_value = "f32", hide_possible_values = true, value_name = "f32|bf16")]
    precision: Precision,
    /// Tell each step's share, speed and algorithm
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    machine: Machine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

/// The result, as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    network: &'a str,
    task: &'static str,
    batch: usize,
    threads: usize,
    isa: &'static str,
    precision: &'static str,
    steps: usize,
    median_ms: f64,
    images_per_s: f64,
    gflops: f64,
    /// The most memory the process has had, where the system tells.
    peak_rss_mib: Option<f64>,
    /// What the session allocated: parameters, activations, gradients, scratch.
    arena_mib: f64,
    /// What the threads can reach together, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
}

/// A step of the plan.
#[derive(Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    algorithm: String,
    ms: f64,
    /// Of the sum of all steps.
    share: f64,
    gflops: Option<f64>,
    /// Of the measured peak.
    peak_fraction: Option<f64>,
}

impl Infer {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let graph = self.options.build()?;
        let inference = graph.inference();
        self.options.measure(&graph.name, "infer", &inference, format)
    }
}

impl Train {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let graph = self.options.build()?;
        classifier_shape(&graph)?;
        let sgd = Sgd { weight_decay: 5e-4, ..Sgd::default() };
        let training = training::classifier(&graph, &ClassifierTraining { sgd, ..Default::default() })?;
        self.options.measure(&graph.name, "train", &training, format)
    }
}

impl Options {
    fn build(&self) -> Result<Graph> {
        if let Precision::Bf16 = self.precision {
            let text = "--precision bf16: this build computes in float32 only";
            return Err(Failure::usage(text).advise("leave it out, or give f32"));
        }
        self.network.build(Wish { auxiliary: true, ..Wish::default() })
    }

    fn measure(&self, name: &str, task: &'static str, graph: &Graph, format: Format) -> Result<()> {
        let plan = Plan::new(graph, self.machine.plan(self.batch))?;
        let mut session = Session::new(plan)?;
        session.load(&Parameters::init(graph, 0))?;
        fill(&mut session)?;

        let mut step = || Ok(session.run()?);
        self.length.warm_up(&mut step)?;
        let mut times = self.length.times(step)?;
        let median_ms = median_ms(&mut times);
        let macs: u64 = session.plan().steps().map(|step| step.macs).sum();
        let (threads, isa) = (self.machine.threads(), self.machine.isa());
        let peak = self.layers.then(|| peak_gflops(&self.machine));
        let layers = peak.map(|peak| self.layers(&mut session, peak)).transpose()?;
        let outcome = Outcome {
            network: name,
            task,
            batch: self.batch,
            threads,
            isa: isa.name(),
            precision: "f32",
            steps: times.len(),
            median_ms,
            images_per_s: self.batch as f64 / (median_ms / 1e3).max(1e-12),
            gflops: gflops(macs, median_ms),
            peak_rss_mib: peak_rss_mib(),
            arena_mib: mib(session.arena_bytes() as f64),
            peak_gflops: peak,
            layers,
        };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write()?),
        }
    }

    /// The median time of each step.
    fn layers(&self, session: &mut Session, peak: f64) -> Result<Vec<Layer>> {
        let mut times = vec![Vec::<Duration>::new(); session.plan().steps().len()];
        self.length.times(|| Ok(session.run_timed(|step, time| times[step].push(time))?))?;
        let medians: Vec<f64> = times.iter_mut().map(|times| median_ms(times)).collect();
        let sum: f64 = medians.iter().sum();
        let steps = session.plan().steps().zip(medians);
        let layers = steps.map(|(step, ms)| {
            let gflops = (step.macs > 0).then(|| gflops(step.macs, ms));
            Layer {
                name: step.name.into(),
                op: step.op,
                algorithm: step.algorithm.into(),
                ms,
                share: ms / sum.max(f64::MIN_POSITIVE),
                gflops,
                peak_fraction: gflops.map(|gflops| gflops / peak),
            }
        });
        Ok(layers.collect())
    }
}

/// Gives every input of a session something to compute with.
fn fill(session: &mut Session) -> Result<()> {
    let graph = session.plan().graph();
    let inputs: Vec<(String, DType)> =
        graph.inputs().map(|(node, value)| (node.name.clone(), graph.ty(value).dtype)).collect();
    for (name, dtype) in inputs {
        match (name.as_str(), dtype) {
            // Small enough that random images never make the weights overflow.
            (LEARNING_RATE, _) => session.input(&name)?.fill(1e-3),
            (MOMENTUM, _) => session.input(&name)?.fill(0.9),
            // Labels cycle through two classes, which every classifier has; a step may be any number.
            (_, DType::U32) => session
                .input_u32(&name)?
                .iter_mut()
                .zip([0, 1].into_iter().cycle())
                .for_each(|(to, value)| *to = value),
            _ => {
                let data = random(session.input(&name)?.len())?;
                session.input(&name)?.copy_from_slice(&data);
            }
        }
    }
    Ok(())
}

impl Outcome<'_> {
    fn write(&self) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        let Self { network, task, batch, threads, isa, precision, .. } = self;
        if let (Some(layers), Some(peak)) = (&self.layers, self.peak_gflops) {
            write_layers(layers, &mut out)?;
            writeln!(out, "\npeak    {peak:.0} GFLOP/s measured for {}", plural(*threads, "thread"))?;
        }
        let (images, threads) = (plural(*batch, "image"), plural(*threads, "thread"));
        writeln!(
            out,
            "{}  {network}, batch {batch}, {threads}, {isa}, {precision}",
            style(format!("{task:<6}")).bold()
        )?;
        let median = style(format!("{:.3} ms", self.median_ms)).green().bold();
        writeln!(out, "median  {median} for {images} (of {} steps)", thousands(self.steps))?;
        writeln!(out, "speed   {} images/s, {:.1} GFLOP/s", speed(self.images_per_s), self.gflops)?;
        let mebibytes = |mib: f64| bytes((mib * 1_048_576.0) as u64);
        let resident =
            self.peak_rss_mib.map_or_else(String::new, |mib| format!(", process at most {}", mebibytes(mib)));
        writeln!(out, "memory  {} session{resident}", mebibytes(self.arena_mib))?;
        out.flush()
    }
}

fn write_layers(layers: &[Layer], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new([
        left("step"),
        left("operation").dispensable(2),
        right("ms"),
        right("share"),
        right("GFLOP/s"),
        right("of peak").dispensable(1),
        left("algorithm").dispensable(3),
    ]);
    for layer in layers {
        let some = |number: Option<f64>, form: fn(f64) -> String| number.map_or_else(String::new, form);
        table.row([
            layer.name.clone(),
            layer.op.into(),
            format!("{:.3}", layer.ms),
            percent(layer.share),
            some(layer.gflops, |gflops| format!("{gflops:.1}")),
            some(layer.peak_fraction, percent),
            layer.algorithm.clone(),
        ]);
    }
    table.write(out)
}

/// `12,345`, and with decimals where it is small.
fn speed(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.2}") } else { thousands(per_second as u64) }
}

fn mib(bytes: f64) -> f64 {
    bytes / 1_048_576.0
}

/// The most resident memory of this process so far, from Linux's /proc.
fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
