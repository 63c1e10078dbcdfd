//! `striate plan`: how a network will be computed, and why so.

use clap::Args;
use console::style;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use striate::engine::{Candidate, Layout, StepInfo};
use striate::prelude::*;

use crate::bench::{Length, bandwidth, gflops, peak_gflops};
use crate::failure::Result;
use crate::options::{Format, write_json};
use crate::table::{Table, left, right};
use crate::text::{bytes, count, percent, plural};
use crate::workload::{Ready, Task, Workload};

/// Show how a network is computed on this machine: its steps, their algorithms, tiles and layouts, and the memory.
///
/// A step is one kernel call; it computes the nodes joined by +. With --explain the plan runs, and each step is held
/// against the two limits it has, the processor's arithmetic and the memory's bandwidth; and beneath it stand the
/// algorithms that were not taken, each with its estimate or the reason against it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  striate plan resnet18
  striate plan resnet18 --batch 32 --explain
  striate plan vgg16 --train --batch 8 --explain --format json
  striate plan googlenet-bn --autotune")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    workload: Workload,
    /// The plan of a training step, in place of inference
    #[arg(long)]
    train: bool,
    /// Run the plan: estimated and measured times, shares of the limits, what was not chosen and why
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    length: Length,
}

/// The plan, as programs read it.
#[derive(Serialize)]
struct Outline {
    network: String,
    task: &'static str,
    batch: usize,
    threads: usize,
    isa: &'static str,
    precision: &'static str,
    /// What a session allocates, and the part of it that lasts from step to step.
    arena_bytes: usize,
    persistent_bytes: usize,
    /// What the threads reach together, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    steps: Vec<Row>,
}

/// What bounds every kernel.
#[derive(Clone, Copy, Serialize)]
struct Limits {
    peak_gflops: f64,
    bandwidth_gb_per_s: f64,
}

/// A step of the plan.
#[derive(Serialize)]
struct Row {
    name: String,
    op: &'static str,
    algorithm: String,
    layout: String,
    macs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    convolution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    /// Of the arithmetic peak, by the products of the definition: algorithms with fewer pass 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_fraction: Option<f64>,
    /// Of the memory's bandwidth, each operand moved once: what stays in a cache passes 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth_fraction: Option<f64>,
    /// Algorithms that were not taken, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    algorithm: &'static str,
    reason: String,
}

impl PlanArgs {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let task = if self.train { Task::Train } else { Task::Infer };
        if self.explain {
            let Ready { name, mut session, .. } = self.workload.ready(task)?;
            let mut outline = self.outline(name, task, session.plan());
            self.explain(&mut session, &mut outline)?;
            return outline.tell(format);
        }
        let (name, plan) = self.workload.plan(task)?;
        let mut outline = self.outline(name, task, &plan);
        outline.steps = plan.steps().map(|step| row(&step)).collect();
        outline.tell(format)
    }

    /// The plan as a whole, without its steps.
    fn outline(&self, network: String, task: Task, plan: &Plan) -> Outline {
        let machine = &self.workload.machine;
        Outline {
            network,
            task: task.name(),
            batch: self.workload.batch,
            threads: machine.threads(),
            isa: machine.isa().name(),
            precision: machine.precision().name(),
            arena_bytes: plan.arena_bytes(),
            persistent_bytes: plan.persistent_bytes(),
            limits: None,
            steps: Vec::new(),
        }
    }

    /// Runs the plan and fills in what that tells.
    fn explain(&self, session: &mut Session, outline: &mut Outline) -> Result<()> {
        let machine = &self.workload.machine;
        self.length.warm_up(|| Ok(session.run()?))?;
        let times = self.length.steps(session)?;
        let limits = Limits {
            peak_gflops: peak_gflops(machine, machine.precision()),
            bandwidth_gb_per_s: bandwidth(machine),
        };
        outline.limits = Some(limits);
        // Estimates are in cycles of one thread; a cycle has a fixed number of operations of float32.
        let per_ms = 1e6 * peak_gflops(machine, Precision::F32) / machine.isa().flops_per_cycle();
        let to_ms = |cycles: f64| cycles / per_ms;
        for (step, ms) in session.plan().steps().zip(times) {
            let mut row = row(&step);
            row.ms = Some(ms);
            row.bandwidth_fraction =
                Some(step.bytes as f64 / (ms.max(1e-9) * 1e6) / limits.bandwidth_gb_per_s);
            row.peak_fraction = (step.macs > 0).then(|| gflops(step.macs, ms) / limits.peak_gflops);
            let candidates = step.convolution.map_or(&[][..], |convolution| &convolution.candidates);
            let taken = candidates.iter().find(|candidate| is_taken(candidate, step.algorithm));
            row.estimated_ms = taken.and_then(|candidate| candidate.cycles.ok()).map(to_ms);
            row.refused = refused(candidates, step.algorithm, to_ms);
            outline.steps.push(row);
        }
        Ok(())
    }
}

fn is_taken(candidate: &Candidate, algorithm: &str) -> bool {
    let is_winograd = algorithm.starts_with(Algorithm::Winograd.name());
    is_winograd == (candidate.algorithm == Algorithm::Winograd)
}

/// What was considered beside the algorithm taken.
fn refused(candidates: &[Candidate], algorithm: &str, to_ms: impl Fn(f64) -> f64) -> Vec<Refused> {
    let others = candidates.iter().filter(|candidate| !is_taken(candidate, algorithm));
    others
        .map(|candidate| Refused {
            algorithm: candidate.algorithm.name(),
            reason: match &candidate.cycles {
                Ok(cycles) => format!("estimated {:.3} ms", to_ms(*cycles)),
                Err(refusal) => refusal.to_string(),
            },
        })
        .collect()
}

fn row(step: &StepInfo) -> Row {
    Row {
        name: step.name.into(),
        op: step.op,
        algorithm: step.algorithm.into(),
        layout: layout(step.layout),
        macs: step.macs,
        bytes: step.bytes,
        convolution: step.convolution.map(|convolution| convolution.geometry.to_string()),
        estimated_ms: None,
        ms: None,
        peak_fraction: None,
        bandwidth_fraction: None,
        refused: Vec::new(),
    }
}

/// `NHWC f32`, `NHWC bf16, 64 of 256 channels`.
fn layout(layout: Layout) -> String {
    let Layout { is_bf16, channels, ld } = layout;
    let element = if is_bf16 { "bf16" } else { "f32" };
    match channels {
        0 => String::new(),
        _ if ld > channels => format!("NHWC {element}, {channels} of {ld} channels"),
        _ => format!("NHWC {element}"),
    }
}

impl Outline {
    fn tell(&self, format: Format) -> Result<()> {
        match format {
            Format::Json => write_json(self),
            Format::Table => Ok(self.write()?),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut table = Table::new([
            left("step"),
            left("operation").dispensable(3),
            right("MACs").dispensable(4),
            right("moved").dispensable(5),
            right("estimated").dispensable(1),
            right("ms"),
            right("of peak"),
            right("of bandwidth").dispensable(2),
            left("layout").dispensable(6),
            left("algorithm"),
        ]);
        for step in &self.steps {
            let ms = |time: Option<f64>| time.map_or_else(String::new, |ms| format!("{ms:.3}"));
            let share = |share: Option<f64>| share.map_or_else(String::new, percent);
            table.row([
                step.name.clone(),
                step.op.into(),
                if step.macs > 0 { count(step.macs) } else { String::new() },
                bytes(step.bytes),
                ms(step.estimated_ms),
                ms(step.ms),
                share(step.peak_fraction),
                share(step.bandwidth_fraction),
                step.layout.clone(),
                step.algorithm.clone(),
            ]);
            for refused in &step.refused {
                let mut cells = [const { String::new() }; 10];
                cells[0] =
                    style(format!("  not {}: {}", refused.algorithm, refused.reason)).dim().to_string();
                table.row(cells);
            }
        }
        table.write(&mut out)?;
        let Self { network, task, isa, precision, .. } = self;
        let (images, threads) = (plural(self.batch, "image"), plural(self.threads, "thread"));
        writeln!(
            out,
            "\n{}  {network}, {task}, {images} a step, {threads}, {isa}, {precision}: {}",
            style("plan  ").bold(),
            plural(self.steps.len(), "step")
        )?;
        if let Some(limits) = self.limits {
            let total: f64 = self.steps.iter().filter_map(|step| step.ms).sum();
            writeln!(out, "time    {total:.3} ms, the sum of its steps")?;
            writeln!(
                out,
                "limits  {:.0} GFLOP/s and {:.0} GB/s measured for {threads}",
                limits.peak_gflops, limits.bandwidth_gb_per_s
            )?;
        }
        writeln!(
            out,
            "memory  {} in one arena, {} of it for parameters, packed weights and inputs",
            bytes(self.arena_bytes as u64),
            bytes(self.persistent_bytes as u64)
        )?;
        out.flush()
    }
}
