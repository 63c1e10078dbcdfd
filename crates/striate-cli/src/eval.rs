//! `striate eval`.

use clap::Args;
use console::{Term, style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use striate::draw::MAX_CELLS;
use striate::prelude::*;
use striate::train::confusion::{ClassScore, Mistake};
use striate::train::evaluate::{Examination, UseError, Wrong, classifier_shape};
use striate::train::pictures;

use crate::failure::Result;
use crate::network::open_model;
use crate::options::{Format, Looks, Machine, Preparation, positive, write_json};
use crate::sources::{self, Reading};
use crate::table::{Table, left, right};
use crate::text::{duration, percent, thousands};

/// Measure a model on labelled images it has not learned from.
///
/// Says how many are answered right, how well each class is told from the others, and which are mistaken for which.
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
    /// Draw which classes were taken for which, .png or .svg
    #[arg(long, value_name = "FILE", help_heading = "Pictures to write")]
    confusion: Option<PathBuf>,
    /// Draw the wrong answers given with the greatest probability, .png or .svg
    #[arg(long, value_name = "FILE", help_heading = "Pictures to write")]
    wrong: Option<PathBuf>,
    /// So many of them
    #[arg(long, value_name = "N", default_value = "36", help_heading = "Pictures to write")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=MAX_CELLS as i64))]
    wrong_count: u16,
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
  striate eval model.safetensors --data ~/my-images --format json
  striate eval model.safetensors --confusion confusion.png --wrong wrong.png

What is told of a class: precision, the part of those taken for it that are of it; recall, the part of
it that was taken for it; F1, their harmonic mean.";

/// Of more classes than these, only the worst are listed.
const LISTED: usize = 20;
/// Of more classes than these, JSON has no matrix.
const MATRIX: usize = 1000;
/// So many pairs are listed that are mistaken for one another.
const PAIRS: usize = 8;

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", sources::help())
}

/// The result, as programs read it; fractions from 0 to 1.
#[derive(Serialize)]
struct Outcome<'a> {
    top1: f64,
    top5: f64,
    loss: f64,
    count: u64,
    seconds: f64,
    images_per_s: f64,
    /// Precision, recall and F1, means over the classes.
    macro_precision: f64,
    macro_recall: f64,
    macro_f1: f64,
    /// Samples whose scores were no numbers.
    unanswered: u64,
    classes: Vec<Class<'a>>,
    /// Rows are what samples are, columns what they were taken for; left out for more than a thousand classes.
    confusion: Option<Vec<Vec<u64>>>,
    /// The most frequent first.
    mistakes: Vec<Confused<'a>>,
    /// The surest first.
    wrong: Vec<WrongAnswer<'a>>,
}

#[derive(Serialize)]
struct Class<'a> {
    name: &'a str,
    precision: f64,
    recall: f64,
    f1: f64,
    support: u64,
}

#[derive(Serialize)]
struct Confused<'a> {
    class: &'a str,
    taken_for: &'a str,
    count: u64,
    /// Of the class's samples.
    part: f64,
}

#[derive(Serialize)]
struct WrongAnswer<'a> {
    sample: u32,
    title: String,
    class: &'a str,
    taken_for: &'a str,
    probability: f64,
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
        let worst = self.wrong_count as usize;
        let examined = evaluator.examine(&model.parameters, worst, |done| bar.set_position(done))?;
        let seconds = start.elapsed().as_secs_f64();
        bar.finish_and_clear();

        let title = format!("{} on {}", model.graph.name, self.data);
        if let Some(path) = &self.confusion {
            let tally = &examined.tally;
            let subtitle = format!("{} of {} right", thousands(tally.top1), thousands(tally.samples));
            pictures::confusion(&examined, data.classes(), [&title, &subtitle], path)?;
        }
        if let Some(path) = &self.wrong {
            pictures::wrong(&examined, &data, &title, path)?;
        }
        let outcome = Outcome::new(&examined, &data, seconds);
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => {
                outcome.write()?;
                let written = [("confusion", &self.confusion), ("wrong", &self.wrong)];
                for (name, path) in written {
                    if let Some(path) = path {
                        writeln!(io::stdout().lock(), "\n{name}: {}", path.display())?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl<'a> Outcome<'a> {
    fn new(examined: &Examination, data: &'a Dataset, seconds: f64) -> Self {
        let Examination { tally, confusion, wrong } = examined;
        let name = |class: u32| data.classes()[class as usize].as_str();
        let scores = confusion.scores();
        let class = |(name, score): (&'a String, &ClassScore)| {
            let (precision, recall, f1) = (score.precision(), score.recall(), score.f1());
            Class { name, precision, recall, f1, support: score.support }
        };
        let mistake = |mistake: Mistake| {
            let Mistake { class, taken_for, count } = mistake;
            let part = count as f64 / scores[class as usize].support.max(1) as f64;
            Confused { class: name(class), taken_for: name(taken_for), count, part }
        };
        let answer = |wrong: &Wrong| WrongAnswer {
            sample: wrong.id,
            title: data.title(wrong.id as usize),
            class: name(wrong.label),
            taken_for: name(wrong.taken_for),
            probability: wrong.probability,
        };
        let [macro_precision, macro_recall, macro_f1] = confusion.means();
        Self {
            top1: tally.accuracy(),
            top5: tally.top5_accuracy(),
            loss: tally.mean_loss(),
            count: tally.samples,
            seconds,
            images_per_s: tally.samples as f64 / seconds.max(1e-9),
            macro_precision,
            macro_recall,
            macro_f1,
            unanswered: confusion.unanswered(),
            classes: data.classes().iter().zip(&scores).map(class).collect(),
            confusion: (confusion.classes() <= MATRIX).then(|| confusion.matrix()),
            mistakes: confusion.mistakes().into_iter().map(mistake).collect(),
            wrong: wrong.iter().map(answer).collect(),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let Self { top1, top5, loss, count, seconds, .. } = *self;
        writeln!(out, "top-1   {}   error {}", style(percent(top1)).green().bold(), percent(1.0 - top1))?;
        writeln!(out, "top-5   {}   error {}", percent(top5), percent(1.0 - top5))?;
        writeln!(out, "loss    {loss:.4}")?;
        let (images, time) = (thousands(count), duration(Duration::from_secs_f64(seconds)));
        let speed = thousands(self.images_per_s as u64);
        writeln!(out, "images  {images} in {time}, {speed} images/s")?;
        if self.unanswered > 0 {
            writeln!(out, "no answer to {}: the scores are no numbers", thousands(self.unanswered))?;
        }
        self.write_classes(&mut out)?;
        self.write_matrix(&mut out)?;
        self.write_mistakes(&mut out)
    }

    fn write_classes(&self, out: &mut impl Write) -> io::Result<()> {
        let mut shown: Vec<&Class> = self.classes.iter().collect();
        if shown.len() > LISTED {
            shown.retain(|class| class.support > 0);
            shown.sort_by(|a, b| a.f1.total_cmp(&b.f1));
            shown.truncate(LISTED);
            let all = thousands(self.classes.len());
            writeln!(out, "\n{}", style(format!("the worst {} of {all} classes", shown.len())).dim())?;
        } else {
            writeln!(out)?;
        }
        let heads = [left("class"), right("precision"), right("recall"), right("F1"), right("images")];
        let mut table = Table::new(heads);
        for class in shown {
            let parts = [class.precision, class.recall, class.f1].map(percent);
            let [precision, recall, f1] = parts;
            table.row([class.name.into(), precision, recall, f1, thousands(class.support)]);
        }
        table.line();
        let [precision, recall, f1] = [self.macro_precision, self.macro_recall, self.macro_f1].map(percent);
        table.row(["mean".into(), precision, recall, f1, thousands(self.count)]);
        table.write(out)
    }

    /// What was taken for what, where it fits on a screen.
    fn write_matrix(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(matrix) = self.confusion.as_ref().filter(|matrix| matrix.len() <= LISTED) else {
            return Ok(());
        };
        let widest = matrix.iter().flatten().max().map_or(1, |most| thousands(*most).len());
        let short = |name: &str| name.chars().take(widest.max(4)).collect::<String>();
        let columns = [left("")].into_iter().chain(matrix.iter().map(|_| right("")));
        let heads = ["is ↓  taken for →".to_string()].into_iter();
        let heads = heads.chain(self.classes.iter().map(|class| short(class.name)));
        let mut table = Table::new(columns.collect::<Vec<_>>()).heads(heads.collect());
        for (row, (class, counts)) in self.classes.iter().zip(matrix).enumerate() {
            let cell = |(column, count): (usize, &u64)| match count {
                0 => style("·".to_string()).dim().to_string(),
                count if column == row => style(thousands(*count)).green().to_string(),
                count => thousands(*count),
            };
            let cells = counts.iter().enumerate().map(cell);
            table.row([class.name.to_string()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        writeln!(out)?;
        table.write(out)
    }

    fn write_mistakes(&self, out: &mut impl Write) -> io::Result<()> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let mut table =
            Table::new([left("most confused"), left("taken for"), right("images"), right("of the class")]);
        for pair in self.mistakes.iter().take(PAIRS) {
            table.row([pair.class.into(), pair.taken_for.into(), thousands(pair.count), percent(pair.part)]);
        }
        table.write(out)
    }
}
