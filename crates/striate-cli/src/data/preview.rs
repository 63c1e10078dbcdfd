//! `striate data preview`.

use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use striate::interop::atomic::write_atomic;
use striate::prelude::*;
use striate::train::data::preview;

use crate::failure::{Failure, Result};
use crate::options::{Format, positive, write_json};
use crate::sources::{self, Reading};
use crate::text::plural;

/// Draw pictures as a network sees them, changed at random, on a contact sheet.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Preview {
    /// The data set, see below
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The sheet: a .png or .svg file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Random changes of the images, as `striate train --augment` takes them [default: none]
    #[arg(long, value_name = "CHANGES", default_value_t = Augment::NONE, hide_default_value = true)]
    augment: Augment,
    /// Height and width of the network's input, such as 224x224 [default: that of the images, or 224x224]
    #[arg(long, value_name = "HxW", value_parser = size)]
    input: Option<[usize; 2]>,
    /// Images on the sheet
    #[arg(long, value_name = "N", default_value = "32", value_parser = positive)]
    count: usize,
    /// How often each picture is shown, changed anew
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    times: usize,
    /// Which pictures are shown, and how they are changed
    #[arg(long, default_value = "0")]
    seed: u64,
    /// Show pictures to test on, not those to learn from
    #[arg(long)]
    test: bool,
    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  striate data preview photos -o sheet.png
  striate data preview mnist --augment digits --times 8 --count 64 -o digits.svg

";

fn after_help() -> String {
    EXAMPLES.to_string() + &sources::help()
}

#[derive(Serialize)]
struct Outcome<'a> {
    sheet: &'a Path,
    images: usize,
}

impl Preview {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let ending = self.output.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !["png", "svg"].contains(&ending) {
            let text = format!("{} is neither a .png nor a .svg file", self.output.display());
            return Err(Failure::usage(text));
        }
        let part = if self.test { Split::Test } else { Split::Train };
        let data = self.reading.part(&self.source, part)?;
        let Self { augment, input, seed, times, .. } = self;
        let count = self.count.min(striate::draw::MAX_CELLS).min(data.len() * times);
        let scene = preview::Preview { augment, input, count, seed, times }.draw(&data)?;
        let bytes = if ending == "svg" { scene.svg()?.into_bytes() } else { scene.png(1.0)? };
        write_atomic(&self.output, |out| out.write_all(&bytes))?;
        match format {
            Format::Json => write_json(&Outcome { sheet: &self.output, images: count }),
            Format::Table => {
                let images = plural(count, "image");
                Ok(writeln!(io::stdout().lock(), "{images} in {}", self.output.display())?)
            }
        }
    }
}

/// `224x224`, or `224` for a square.
fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let sides: Option<Vec<usize>> =
        text.split(['x', 'X', '×']).map(|side| side.trim().parse().ok().filter(|side| *side > 0)).collect();
    match sides.as_deref() {
        Some([side]) => Ok([*side; 2]),
        Some([height, width]) => Ok([*height, *width]),
        _ => Err("write height x width, as in 224x224".into()),
    }
}
