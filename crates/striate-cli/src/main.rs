//! The command `striate`: define, understand, train, look inside and ship convolutional networks.
//!
//! A file a verb; results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed,
//! 2 wrong usage.

#![forbid(unsafe_code)]

mod bench;
mod eval;
mod export;
mod failure;
mod import;
mod network;
mod options;
mod plan;
mod predict;
mod progress;
mod run;
mod summary;
mod table;
mod text;
mod train;
mod tuning;
mod workload;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Convolutional networks: define one, understand it, train it, look inside it, ship it.
#[derive(Parser, Debug)]
#[command(name = "striate", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    output: options::Output,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  striate train lenet5                                             learn to read digits
  striate eval runs/lenet5-mnist-1/model.safetensors               how many are read right
  striate predict runs/lenet5-mnist-1/model.safetensors digit.png  read one
  striate import torchvision:resnet50 resnet50.pth -o r50.safetensors  use published weights
  striate summary resnet50                                         a network, layer by layer
  striate plan resnet18 --explain                                  how it is computed, and why so
  striate bench infer resnet18 --layers                            how fast it runs, and where

`striate VERB --help` tells more. Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Subcommand, Debug)]
enum Verb {
    Summary(summary::SummaryArgs),
    Train(Box<train::Train>),
    Eval(eval::Eval),
    Predict(predict::Predict),
    Import(import::Import),
    Export(export::Export),
    Plan(plan::PlanArgs),
    Run(run::Run),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let Cli { output, verb } = Cli::parse();
    let done = match verb {
        Verb::Summary(summary) => summary.run(output.format),
        Verb::Train(train) => train.run(output.format),
        Verb::Eval(eval) => eval.run(output.format),
        Verb::Predict(predict) => predict.run(output.format),
        Verb::Import(import) => import.run(output.format),
        Verb::Export(export) => export.run(output.format),
        Verb::Plan(plan) => plan.run(output.format),
        Verb::Run(run) => run.run(output.format),
        Verb::Bench(bench) => bench.run(output.format),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
