//! `striate predict`.

use clap::Args;
use console::{measure_text_width, style};
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use striate::prelude::*;

use crate::failure::{Failure, Result};
use crate::network::open_model;
use crate::options::{Format, Looks, Machine, Preparation, positive, write_json};
use crate::text::{bar, percent};

/// Ask a model what pictures show.
///
/// PNG, JPEG, WebP and BMP files of any size are brought to the model's input as its training images were. A picture that cannot
/// be read is told on standard error; the others are answered all the same, and the exit code is 1.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Predict {
    /// The model: a .safetensors file that `striate train` or `striate import` made
    model: PathBuf,
    /// The pictures: PNG, JPEG, WebP or BMP
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Classes to show for each picture, the most probable first
    #[arg(long, value_name = "K", default_value = "5", value_parser = positive)]
    top: usize,
    #[command(flatten)]
    preparation: Preparation,
    #[command(flatten)]
    looks: Looks,
    #[command(flatten)]
    machine: Machine,
}

const EXAMPLES: &str = "\
Examples:
  striate predict runs/lenet5-mnist-1/model.safetensors digit.png
  striate predict model.safetensors photos/*.jpg --top 1 --format json";

/// A class and how probable it is, from 0 to 1.
#[derive(Serialize)]
struct Answer {
    class: String,
    probability: f32,
}

/// The answers for one of several pictures.
#[derive(Serialize)]
struct Answered<'a> {
    image: &'a Path,
    classes: Vec<Answer>,
}

impl Predict {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let mut model = open_model(&self.model)?;
        self.preparation.apply(&mut model)?;
        let mut predictor = Predictor::new(&model, self.machine.plan(1))?;
        let mut answered = Vec::new();
        let mut failed = false;
        for image in &self.images {
            match self.answer(&model, &mut predictor, image) {
                Ok(classes) => {
                    if let Format::Table = format {
                        self.write(image, &classes, answered.is_empty())?;
                    }
                    answered.push(Answered { image, classes });
                }
                Err(failure) => {
                    failed = true;
                    failure.tell();
                }
            }
        }
        if let Format::Json = format {
            match &answered[..] {
                [one] if self.images.len() == 1 => write_json(&one.classes)?,
                [] if self.images.len() == 1 => {}
                all => write_json(&all)?,
            }
        }
        if failed { Err(Failure::Told) } else { Ok(()) }
    }

    fn answer(&self, model: &Model, predictor: &mut Predictor, image: &Path) -> Result<Vec<Answer>> {
        let inputs = model.info.preprocess.read_views(image, &self.looks.views())?;
        let ranked = predictor.predict_views(&inputs)?.into_iter().take(self.top);
        Ok(ranked.map(|(class, probability)| Answer { class: class.into(), probability }).collect())
    }

    fn write(&self, image: &Path, classes: &[Answer], first: bool) -> io::Result<()> {
        const BAR: usize = 30;
        let mut out = io::stdout().lock();
        if self.images.len() > 1 {
            let space = if first { "" } else { "\n" };
            writeln!(out, "{space}{}", style(image.display()).bold())?;
        }
        let width = classes.iter().map(|answer| measure_text_width(&answer.class)).max().unwrap_or(0);
        for (index, Answer { class, probability }) in classes.iter().enumerate() {
            let space = " ".repeat(width - measure_text_width(class));
            let bar = match bar(*probability, BAR) {
                bar if bar.is_empty() => bar,
                bar => format!("  {bar}"),
            };
            let name = format!("{class}{space}");
            let (bar, name) = match index {
                0 => (style(bar).green(), style(name).bold()),
                _ => (style(bar).cyan(), style(name)),
            };
            writeln!(out, "  {name}  {:>8}{bar}", percent(*probability as f64))?;
        }
        Ok(())
    }
}
