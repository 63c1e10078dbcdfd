//! `striate runs`.

use clap::{Args, Subcommand, ValueEnum};
use console::style;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use std::cmp::Ordering;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use striate::train::curves::{self, Comparison, Measure, Over};
use striate::train::runs::{self, Run, RunState};
use striate::train::trainer::EpochRecord;

use crate::failure::{Failure, Result, note};
use crate::options::{Format, write_json};
use crate::table::{Table, left, right};
use crate::text::{duration, percent, plural, thousands};

/// List runs, compare them, and draw their curves.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Runs {
    #[command(subcommand)]
    what: Option<What>,
    /// The folder with the runs
    #[arg(value_name = "DIR", default_value = "runs")]
    folder: PathBuf,
    /// What they are sorted by: when they were last written to, their name, best accuracy or time
    #[arg(long, value_enum, default_value_t, value_name = "date|name|accuracy|time")]
    #[arg(hide_possible_values = true)]
    sort: Sort,
}

const EXAMPLES: &str = "\
Examples:
  striate runs
  striate runs ~/experiments --sort accuracy
  striate runs compare runs/plain20-cifar10-1 runs/resnet20-cifar10-1
  striate runs plot runs/plain20-cifar10-1 runs/resnet20-cifar10-1 -o curves.svg";

#[derive(Subcommand, Debug)]
enum What {
    Compare(Compare),
    Plot(Plot),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Sort {
    #[default]
    Date,
    Name,
    Accuracy,
    Time,
}

/// What runs were asked to do, where they differ, and how they did, side by side.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  striate runs compare runs/lenet5-mnist-1 runs/lenet5-mnist-2
  striate runs compare runs/* --format json")]
struct Compare {
    /// The runs' folders
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// The curves of runs in one chart: training in thin lines, the test in bold ones.
#[derive(Args, Debug)]
#[command(after_help = PLOT_EXAMPLES, allow_negative_numbers = true)]
struct Plot {
    /// The runs' folders
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The picture to write, .svg or .png
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What is drawn, see below
    #[arg(long, value_name = "MEASURE", default_value = "error", value_parser = str::parse::<Measure>)]
    y: Measure,
    /// Over what: epoch, step or time
    #[arg(long, value_name = "epoch|step|time", default_value = "epoch", value_parser = str::parse::<Over>)]
    x: Over,
    /// Equal ratios of y take equal room
    #[arg(long)]
    log: bool,
    /// The least and greatest y shown; fractions, also of error and accuracy: 0:0.2
    #[arg(long, value_name = "LOW:HIGH", value_parser = range)]
    y_range: Option<[f64; 2]>,
    /// The words over the chart [default: the measure and the data set]
    #[arg(long)]
    title: Option<String>,
    /// What the runs are called, in their order: plain-20,ResNet-20 [default: their folders' names]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    names: Vec<String>,
}

const PLOT_EXAMPLES: &str = "\
Examples:
  striate runs plot runs/lenet5-mnist-1 -o lenet5.png
  striate runs plot runs/plain20 runs/plain56 -o plain.svg --x step --y-range 0:0.2 --title 'Plain nets'
  striate runs plot runs/* -o losses.svg --y test_loss --log

Measures:
  error, accuracy, loss             training (thin) and test (bold)
  test_error, train_error, test_accuracy, train_accuracy, test_loss, train_loss, top5_error
  lr, images_per_s, input_share";

impl Runs {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        match self.what {
            Some(What::Compare(compare)) => compare.run(format),
            Some(What::Plot(plot)) => plot.run(),
            None => self.list(format),
        }
    }

    fn list(&self, format: Format) -> Result<()> {
        if !self.folder.exists() && self.folder == Path::new("runs") {
            let next = "`striate train lenet5` makes the first one; or name the folder: striate runs DIR";
            return Err(Failure::new("there is no folder `runs` here").advise(next));
        }
        let mut found = runs::list(&self.folder)?;
        let readable = |run: &runs::Found| run.1.as_ref().ok().cloned();
        let by = |key: fn(&Run) -> f64| {
            move |a: &runs::Found, b: &runs::Found| {
                let value = |found: &runs::Found| readable(found).map_or(f64::NEG_INFINITY, |run| key(&run));
                value(a).total_cmp(&value(b))
            }
        };
        match self.sort {
            Sort::Date => {}
            Sort::Name => found.sort_by(|a, b| natural(&a.0, &b.0)),
            Sort::Accuracy => found.sort_by(by(|run| run.best().map_or(-1.0, |best| best.test_accuracy))),
            Sort::Time => found.sort_by(by(|run| run.last().map_or(-1.0, |last| last.seconds))),
        }
        match format {
            Format::Json => {
                let row = |(path, run): &runs::Found| match run {
                    Ok(run) => summary(run),
                    Err(error) => json!({"run": path, "problem": error.to_string()}),
                };
                write_json(&found.iter().map(row).collect::<Vec<Json>>())
            }
            Format::Table => self.table(&found),
        }
    }

    fn table(&self, found: &[runs::Found]) -> Result<()> {
        let mut table = Table::new([
            left("run"),
            left("network").dispensable(4),
            left("data").dispensable(3),
            right("epochs"),
            right("best test acc."),
            right("last").dispensable(2),
            right("test loss").dispensable(5),
            right("time").dispensable(1),
            left("state"),
        ]);
        for (path, run) in found {
            let Ok(run) = run else { continue };
            let last = run.last();
            let cell = |of: fn(&EpochRecord) -> String| last.map_or_else(String::new, of);
            let state = match run.state {
                RunState::Running => style(run.state.name()).cyan(),
                RunState::Finished => style(run.state.name()).green(),
                RunState::Interrupted => style(run.state.name()).yellow(),
            };
            table.row([
                self.place(path),
                run.text("network").into(),
                run.text("data").into(),
                format!("{}/{}", last.map_or(0, |last| last.epoch), run.epochs()),
                run.best().map_or_else(String::new, |best| percent(best.test_accuracy)),
                cell(|last| percent(last.test_accuracy)),
                cell(|last| format!("{:.4}", last.test_loss)),
                cell(|last| duration(Duration::from_secs_f64(last.seconds.max(0.0)))),
                state.to_string(),
            ]);
        }
        let mut out = io::stdout().lock();
        if found.iter().any(|(_, run)| run.is_ok()) {
            table.write(&mut out)?;
        }
        for error in found.iter().filter_map(|(_, run)| run.as_ref().err()) {
            note(&format!("left out: {error}"));
        }
        if found.is_empty() {
            note(&format!("there are no runs in {}", self.folder.display()));
        }
        Ok(())
    }

    /// A run's folder as it is named within the listed one.
    fn place(&self, path: &Path) -> String {
        let inner = path.strip_prefix(&self.folder).ok().filter(|inner| !inner.as_os_str().is_empty());
        inner.unwrap_or(path).display().to_string()
    }
}

/// `run-2` before `run-10`.
fn natural(a: &Path, b: &Path) -> Ordering {
    let split = |path: &Path| -> (String, u64) {
        let text = path.to_string_lossy().into_owned();
        let head = text.trim_end_matches(|c: char| c.is_ascii_digit());
        (head.to_string(), text[head.len()..].parse().unwrap_or(0))
    };
    split(a).cmp(&split(b))
}

/// A run, as programs read it; fractions from 0 to 1.
#[derive(Serialize)]
struct Summary<'a> {
    run: &'a Path,
    network: &'a str,
    data: &'a str,
    state: &'a str,
    epochs_done: u64,
    epochs: u64,
    best_accuracy: Option<f64>,
    best_epoch: Option<u64>,
    last: Option<&'a EpochRecord>,
}

fn summary(run: &Run) -> Json {
    let best = run.best();
    let summary = Summary {
        run: &run.path,
        network: run.text("network"),
        data: run.text("data"),
        state: run.state.name(),
        epochs_done: run.last().map_or(0, |last| last.epoch),
        epochs: run.epochs(),
        best_accuracy: best.map(|best| best.test_accuracy),
        best_epoch: best.map(|best| best.epoch),
        last: run.last(),
    };
    json!(summary)
}

/// The runs in these folders.
fn open(paths: &[PathBuf]) -> Result<Vec<Run>> {
    Ok(paths.iter().map(Run::open).collect::<std::result::Result<_, _>>()?)
}

/// A name for each run that no other has: the folder's, or its whole path.
fn names(runs: &[Run]) -> Vec<String> {
    let short: Vec<String> = runs.iter().map(Run::name).collect();
    let unique = |index: usize| short.iter().filter(|name| **name == short[index]).count() == 1;
    let name = |(index, run): (usize, &Run)| {
        if unique(index) { short[index].clone() } else { run.path.display().to_string() }
    };
    runs.iter().enumerate().map(name).collect()
}

/// A figure of a run.
type Figure = (&'static str, fn(&Run) -> Option<String>);

const FIGURES: [Figure; 8] = [
    ("state", |run| Some(run.state.name().into())),
    ("epochs done", |run| Some(format!("{}/{}", run.last()?.epoch, run.epochs()))),
    ("best test accuracy", |run| {
        Some(format!("{} (epoch {})", percent(run.best()?.test_accuracy), run.best()?.epoch))
    }),
    ("last test accuracy", |run| Some(percent(run.last()?.test_accuracy))),
    ("last test loss", |run| Some(format!("{:.4}", run.last()?.test_loss))),
    ("last training loss", |run| Some(format!("{:.4}", run.last()?.train_loss))),
    ("time", |run| Some(duration(Duration::from_secs_f64(run.last()?.seconds.max(0.0))))),
    ("images/s in training", |run| Some(thousands(run.last()?.images_per_s as u64))),
];

impl Compare {
    fn run(&self, format: Format) -> Result<()> {
        let runs = open(&self.runs)?;
        let settings: Vec<Vec<(String, String)>> = runs.iter().map(Run::settings).collect();
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in settings.iter().flatten() {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        let value = |run: usize, key: &str| -> Option<&str> {
            settings[run].iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
        };
        let differs = |key: &&str| (1..runs.len()).any(|run| value(run, key) != value(0, key));
        let differing: Vec<&str> = keys.into_iter().filter(differs).collect();
        if format == Format::Json {
            let row = |(index, run): (usize, &Run)| {
                let own = differing.iter().map(|key| (key.to_string(), json!(value(index, key))));
                let mut row = summary(run);
                row["settings"] = own.collect::<Map<String, Json>>().into();
                row
            };
            return write_json(&runs.iter().enumerate().map(row).collect::<Vec<Json>>());
        }
        let mut columns = vec![left("")];
        columns.extend(runs.iter().map(|_| right("")));
        let heads = [String::new()].into_iter().chain(names(&runs)).collect();
        let mut table = Table::new(columns).heads(heads);
        for key in &differing {
            let cells = (0..runs.len()).map(|run| value(run, key).unwrap_or("–").to_string());
            table.row([key.to_string()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        if !differing.is_empty() {
            table.line();
        }
        for (name, of) in FIGURES {
            let cells = runs.iter().map(|run| of(run).unwrap_or_else(|| "–".into()));
            table.row([name.to_string()].into_iter().chain(cells).collect::<Vec<_>>());
        }
        if differing.is_empty() && runs.len() > 1 {
            note("they were asked to do the same");
        }
        Ok(table.write(&mut io::stdout().lock())?)
    }
}

impl Plot {
    fn run(self) -> Result<()> {
        let runs = open(&self.runs)?;
        if !self.names.is_empty() && self.names.len() != runs.len() {
            let (names, runs) = (plural(self.names.len(), "name"), plural(runs.len(), "run"));
            return Err(Failure::usage(format!("--names gives {names} to {runs}")));
        }
        for run in runs.iter().filter(|run| run.log.is_empty()) {
            note(&format!("{} has no epoch yet and no curve", run.path.display()));
        }
        let called = if self.names.is_empty() { names(&runs) } else { self.names };
        let data = runs[0].text("data");
        let same = runs.iter().all(|run| run.text("data") == data);
        let title = self.title.unwrap_or_else(|| match same && !data.is_empty() {
            true => format!("{} on {data}", self.y.title),
            false => self.y.title.into(),
        });
        let comparison = Comparison { title, y: self.y, x: self.x, log: self.log, range: self.y_range };
        let named: Vec<(String, &Run)> = called.into_iter().zip(&runs).collect();
        curves::write_scene(&comparison.draw(&named).draw(), &self.output)?;
        Ok(writeln!(io::stdout().lock(), "{}", self.output.display())?)
    }
}

/// `LOW:HIGH`.
fn range(text: &str) -> std::result::Result<[f64; 2], String> {
    let parts = text.split_once(':').and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    let range: Option<[f64; 2]> =
        parts.filter(|[low, high]: &[f64; 2]| low < high && (high - low).is_finite());
    range.ok_or_else(|| "write the least and the greatest number, as in 0:0.2".into())
}
