//! `striate bench infer` and `striate bench train`.

use clap::Args;
use console::style;
use serde::Serialize;
use std::fs;
use std::io::{self, BufWriter, Write};
use striate::prelude::*;

use super::{Length, gflops, median_ms, peak_gflops};
use crate::failure::Result;
use crate::options::{Format, write_json};
use crate::table::{Table, left, right};
use crate::text::{bytes, percent, plural, thousands};
use crate::workload::{Ready, Start, Task, Workload};

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
    workload: Workload,
    /// Tell each step's share, speed and algorithm
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    length: Length,
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
    start: Start,
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
        self.options.measure(Task::Infer, format)
    }
}

impl Train {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        self.options.measure(Task::Train, format)
    }
}

impl Options {
    fn measure(&self, task: Task, format: Format) -> Result<()> {
        let Ready { name, mut session, start } = self.workload.ready(task)?;

        let mut step = || Ok(session.run()?);
        self.length.warm_up(&mut step)?;
        let mut times = self.length.times(step)?;
        let median_ms = median_ms(&mut times);
        let Workload { batch, machine, .. } = &self.workload;
        let macs: u64 = session.plan().steps().map(|step| step.macs).sum();
        let (threads, isa) = (machine.threads(), machine.isa());
        let peak = self.layers.then(|| peak_gflops(machine, machine.precision()));
        let layers = peak.map(|peak| self.layers(&mut session, peak)).transpose()?;
        let outcome = Outcome {
            network: &name,
            task: task.name(),
            batch: *batch,
            threads,
            isa: isa.name(),
            precision: machine.precision().name(),
            steps: times.len(),
            median_ms,
            images_per_s: *batch as f64 / (median_ms / 1e3).max(1e-12),
            gflops: gflops(macs, median_ms),
            start,
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
        let medians = self.length.steps(session)?;
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
        let Start { read_ms, plan_ms, load_ms, first_step_ms } = self.start;
        writeln!(
            out,
            "start   {:.1} ms to the first result: reading {read_ms:.1}, planning {plan_ms:.1}, packing {load_ms:.1}, first \
             step {first_step_ms:.1}",
            self.start.ms()
        )?;
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
