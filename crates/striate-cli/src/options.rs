//! Options that several verbs share, and how their values are read.

use clap::{Args, ValueEnum};
use std::io::{self, Write};
use striate::prelude::*;
use striate::train::image_file::Fit;
use striate::train::views::{Crops, Views};

use crate::failure::{Failure, Result};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The form of the output.
#[derive(Args, Debug)]
pub(crate) struct Output {
    /// How results are written to standard output
    #[arg(long, value_enum, default_value_t, value_name = "table|json", global = true)]
    #[arg(hide_possible_values = true, help_heading = "Output", display_order = 1000)]
    pub(crate) format: Format,
}

/// What computes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct Machine {
    /// Threads that compute; they change the time a result takes, never the result [default: all processors]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The strongest instruction set to use: scalar, neon, avx2, avx512 or avx512bf16 [default: the best this processor has]
    #[arg(long, value_parser = isa)]
    pub(crate) isa: Option<Isa>,
    /// What activations are stored and multiplied in: f32, or bf16 for half the memory and, where the processor has
    /// the instruction, up to twice the speed; sums, weights and updates stay float32 [default: f32]
    #[arg(long, value_name = "f32|bf16", value_parser = str::parse::<Precision>)]
    pub(crate) precision: Option<Precision>,
    /// The algorithm of convolutions: direct, winograd (fewer products, rounds a little more; only where it fits), or
    /// auto, the one estimated to be fastest [default: auto]
    #[arg(long, value_name = "auto|direct|winograd", value_parser = str::parse::<Algorithm>)]
    pub(crate) algorithm: Option<Algorithm>,
}

/// What training trades time for memory with.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What training computes again instead of keeping it until the gradients need it: nothing; what is cheap
    /// (normalisations, activations, sums); or whole blocks between a few kept maps, convolutions included: the least
    /// memory, at the price of some time. Results are the same to the last bit [default: none]
    #[arg(
        long,
        value_name = "none|cheap|blocks",
        value_parser = str::parse::<Recompute>,
        help_heading = "Machine"
    )]
    pub(crate) recompute: Option<Recompute>,
}

impl Machine {
    /// The number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(available_threads, usize::from)
    }

    /// The instruction set.
    pub(crate) fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(Isa::best)
    }

    /// The precision.
    pub(crate) fn precision(&self) -> Precision {
        self.precision.unwrap_or_default()
    }

    /// A plan's options for a batch.
    pub(crate) fn plan(&self, batch: usize) -> PlanOptions {
        PlanOptions {
            batch,
            threads: self.threads(),
            isa: self.isa(),
            precision: self.precision(),
            algorithm: self.algorithm.unwrap_or_default(),
        }
    }
}

/// How pictures become numbers, where a model does not say it or says it wrongly.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct Preparation {
    /// Mean of each channel from 0 to 1, taken off before anything else: 0.485,0.456,0.406 [default: the model's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    mean: Vec<f32>,
    /// Standard deviation of each channel, divided by: 0.229,0.224,0.225 [default: the model's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    std: Vec<f32>,
    /// Pixels of the shorter side that a picture is resized to before its middle is cut out [default: the model's]
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    resize: Option<usize>,
}

impl Preparation {
    /// Changes what the model says of it.
    pub(crate) fn apply(&self, model: &mut Model) -> Result<()> {
        let preprocess = &mut model.info.preprocess;
        let channels = preprocess.shape[0];
        let rows = [("--mean", &self.mean, &mut preprocess.mean), ("--std", &self.std, &mut preprocess.std)];
        for (option, given, own) in rows {
            if given.is_empty() {
                continue;
            }
            let fits = given.len() == channels && given.iter().all(|value| value.is_finite());
            if !fits || option == "--std" && given.contains(&0.0) {
                let text = format!(
                    "{option} takes {channels} finite numbers, one for each channel, none of --std 0"
                );
                return Err(Failure::usage(text));
            }
            own.clone_from(given);
        }
        if let Some(short_side) = self.resize {
            preprocess.fit = Fit::crop(short_side);
        }
        Ok(())
    }
}

/// How often, and where, a picture is looked at.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct Looks {
    /// What is looked at, the probabilities averaged: center, flip (also mirrored) or ten-crop (four corners and the middle,
    /// also mirrored) [default: center]
    #[arg(long, value_name = "VIEWS")]
    views: Option<Crops>,
    /// Shorter sides that pictures are resized to, each with all views: 256,288,320 [default: the model's]
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', value_parser = positive)]
    scales: Vec<usize>,
}

impl Looks {
    /// All that is looked at.
    pub(crate) fn views(&self) -> Views {
        Views { crops: self.views.unwrap_or_default(), scales: self.scales.clone() }
    }
}

/// An instruction set of this processor.
fn isa(text: &str) -> std::result::Result<Isa, String> {
    let isa: Isa = text.parse()?;
    if isa.is_present() {
        return Ok(isa);
    }
    let present: Vec<&str> = Isa::present().map(Isa::name).collect();
    Err(format!("this processor does not have it; it has {}", present.join(", ")))
}

/// A whole number of at least 1.
pub(crate) fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("it is no whole number".into()),
    }
}

/// `1x28x28`, also with ×: channels, height, width.
pub(crate) fn chw(text: &str) -> std::result::Result<[usize; 3], String> {
    let numbers: Option<Vec<usize>> =
        text.split(['x', 'X', '×']).map(|part| part.trim().parse().ok().filter(|n| *n > 0)).collect();
    let dims = numbers.and_then(|numbers| numbers.try_into().ok());
    dims.ok_or_else(|| "write channels x height x width, as in 3x224x224".into())
}

/// Writes a value as one line of JSON.
pub(crate) fn write_json(value: &impl serde::Serialize) -> Result<()> {
    let line = serde_json::to_string(value)?;
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}
