//! Curves of runs: what is drawn of an epoch's record, for one run or for several in one chart.

use crate::runs::Run;
use crate::trainer::EpochRecord;
use std::path::Path;
use std::str::FromStr;
use striate_draw::{Axis, Chart, Color, DrawError, Figure, PALETTE, Series, Stroke};
use striate_interop::atomic::{WriteError, write_atomic};

use crate::text;

/// One of the numbers of an epoch.
type Number = fn(&EpochRecord) -> f64;

/// What a chart shows: the numbers of training and test, or one of them.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its name on a command line.
    pub name: &'static str,
    /// Its name on a chart.
    pub title: &'static str,
    percent: bool,
    /// While training, a thin line.
    train: Option<Number>,
    /// On the test images, a bold line; also what has no such sides.
    test: Option<Number>,
}

const fn both(
    name: &'static str,
    title: &'static str,
    percent: bool,
    train: Number,
    test: Number,
) -> Measure {
    Measure { name, title, percent, train: Some(train), test: Some(test) }
}

const fn one(name: &'static str, title: &'static str, percent: bool, number: Number) -> Measure {
    Measure { name, title, percent, train: None, test: Some(number) }
}

impl Measure {
    /// All there are.
    pub const ALL: [Measure; 13] = [
        both("error", "Error", true, |e| 1.0 - e.train_accuracy, |e| 1.0 - e.test_accuracy),
        both("accuracy", "Accuracy", true, |e| e.train_accuracy, |e| e.test_accuracy),
        both("loss", "Loss", false, |e| e.train_loss, |e| e.test_loss),
        one("test_error", "Test error", true, |e| 1.0 - e.test_accuracy),
        one("train_error", "Training error", true, |e| 1.0 - e.train_accuracy),
        one("test_accuracy", "Test accuracy", true, |e| e.test_accuracy),
        one("train_accuracy", "Training accuracy", true, |e| e.train_accuracy),
        one("test_loss", "Test loss", false, |e| e.test_loss),
        one("train_loss", "Training loss", false, |e| e.train_loss),
        one("top5_error", "Top-5 test error", true, |e| 1.0 - e.test_top5),
        one("lr", "Learning rate", false, |e| e.lr),
        one("images_per_s", "Images per second", false, |e| e.images_per_s),
        one("input_share", "Time spent waiting for images", true, |e| e.input_share),
    ];

    fn named(name: &str) -> Measure {
        name.parse().expect("a row of the table")
    }
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|measure| measure.name == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|measure| measure.name);
            let nearest = text::nearest(name, names).map(|name| format!(", did you mean {name}?"));
            format!("there is no '{name}'{}; there are {}", nearest.unwrap_or_default(), names.join(", "))
        })
    }
}

/// What a chart shows it over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// Passes over the training images.
    #[default]
    Epoch,
    /// Steps, which papers call iterations.
    Step,
    /// Hours, minutes or seconds of the run, whichever gives the shortest numbers.
    Time,
}

impl FromStr for Over {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "epoch" => Ok(Over::Epoch),
            "step" => Ok(Over::Step),
            "time" => Ok(Over::Time),
            _ => Err(format!("there is no '{name}'; there are epoch, step, time")),
        }
    }
}

impl Over {
    /// The axis's words, and how a record becomes a number on it, for runs of up to `seconds`.
    fn axis(self, seconds: f64) -> (&'static str, fn(&EpochRecord) -> f64) {
        match self {
            Over::Epoch => ("epoch", |e| e.epoch as f64),
            Over::Step => ("iteration", |e| e.step as f64),
            Over::Time if seconds >= 7200.0 => ("hours", |e| e.seconds / 3600.0),
            Over::Time if seconds >= 120.0 => ("minutes", |e| e.seconds / 60.0),
            Over::Time => ("seconds", |e| e.seconds),
        }
    }
}

/// How runs are drawn in one chart.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Over the chart.
    pub title: String,
    /// What is drawn.
    pub y: Measure,
    /// Over what.
    pub x: Over,
    /// Whether equal ratios of y take equal room.
    pub log: bool,
    /// The least and greatest y shown.
    pub range: Option<[f64; 2]>,
}

impl Comparison {
    /// The runs, with the names they are to have, in one chart: each in a colour, training in thin lines, the test in
    /// bold ones.
    pub fn draw(&self, runs: &[(String, &Run)]) -> Figure {
        let seconds = runs.iter().filter_map(|(_, run)| run.last()).map(|last| last.seconds);
        let (label, x) = self.x.axis(seconds.fold(0.0, f64::max));
        let of = |number: Option<Number>, stroke: Stroke, named: bool| {
            let series = move |(index, (name, run)): (usize, &(String, &Run))| Series {
                name: if named { name.clone() } else { String::new() },
                points: number.map_or_else(Vec::new, |y| points(&run.log, x, y)),
                color: color(index),
                stroke,
            };
            runs.iter().enumerate().map(series).collect::<Vec<_>>()
        };
        // Bold lines lie on thin ones.
        let mut series = if self.y.train.is_some() { of(self.y.train, Stroke::Thin, false) } else { vec![] };
        series.extend(of(self.y.test, Stroke::Bold, true));
        let y = Axis::new(self.y.title.to_lowercase()).log(self.log).range(self.range);
        let y = if self.y.percent { y.percent() } else { y };
        let chart = Chart {
            title: String::new(),
            x: if self.x == Over::Time { Axis::new(label) } else { Axis::new(label).whole() },
            y,
            series,
        };
        let sides = "thin lines: training, bold lines: test";
        let subtitle = if self.y.train.is_some() { sides.into() } else { String::new() };
        Figure { title: self.title.clone(), subtitle, rows: vec![(460.0, vec![chart])] }
    }
}

/// The colour of the run of this number; when all have been given, they come again, darker.
fn color(index: usize) -> Color {
    let color = PALETTE[index % PALETTE.len()];
    color.mix(Color::INK, 0.3 * (index / PALETTE.len()) as f32)
}

fn points(log: &[EpochRecord], x: impl Fn(&EpochRecord) -> f64, y: Number) -> Vec<[f64; 2]> {
    log.iter().map(|record| [x(record), y(record)]).collect()
}

/// Loss, error and learning rate of a run.
pub fn figure(run: &Run) -> Figure {
    let chart = |name: &str, test: String| {
        let measure = Measure::named(name);
        let values = |number: Option<Number>| {
            number.map_or_else(Vec::new, |y| points(&run.log, |e| e.epoch as f64, y))
        };
        let (train, tested) = (values(measure.train), values(measure.test));
        let spread = |least: f64| {
            let all = || train.iter().chain(&tested).map(|point| point[1]);
            let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
            low > 0.0 && high > least * low && high < 1e4 * low
        };
        let y = Axis::new("").log(spread(if measure.percent { 40.0 } else { 12.0 }));
        let y = if measure.percent { y.percent() } else { y };
        let mut series =
            vec![Series { name: test, points: tested.clone(), color: PALETTE[1], stroke: Stroke::Bold }];
        if measure.train.is_some() {
            let points = train.clone();
            series.insert(
                0,
                Series { name: "training".into(), points, color: PALETTE[0], stroke: Stroke::Thin },
            );
        } else {
            series[0].color = PALETTE[2];
        }
        Chart { title: measure.title.into(), x: Axis::new("epoch").whole(), y, series }
    };
    let percent = |fraction: f64| format!("{:.2} %", 100.0 * fraction);
    let tested = match (run.best(), run.last()) {
        (Some(best), Some(last)) => {
            let (least, now) = (percent(1.0 - best.test_accuracy), percent(1.0 - last.test_accuracy));
            format!("test: best {least} in epoch {}, last {now}", best.epoch)
        }
        _ => "test".into(),
    };
    let done = run.last().map_or(0, |last| last.epoch);
    let epochs = match run.epochs() {
        0 => format!("{done} epochs"),
        of if of == done => format!("{of} epochs"),
        of => format!("{done} of {of} epochs"),
    };
    let facts = [run.text("data").to_string(), epochs, run.name()];
    let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    let rows = vec![
        (280.0, vec![chart("loss", "test".into()), chart("error", tested)]),
        (150.0, vec![chart("lr", String::new())]),
    ];
    Figure { title: run.text("network").into(), subtitle: facts.join(" · "), rows }
}

/// Why curves could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// They cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file of a kind that is not drawn.
    #[error("{0}: pictures are written as .png or .svg; end the name in one of them")]
    Kind(String),
}

/// Writes a scene as SVG or PNG, by the end of the file's name.
///
/// # Errors
/// When the name ends in neither, or the file cannot be written.
pub fn write_scene(scene: &striate_draw::Scene, path: &Path) -> Result<(), CurvesError> {
    let kind = path.extension().map(|kind| kind.to_ascii_lowercase());
    let bytes = match kind.as_ref().and_then(|kind| kind.to_str()) {
        Some("svg") => scene.svg()?.into_bytes(),
        Some("png") => scene.png(2.0)?,
        _ => return Err(CurvesError::Kind(path.display().to_string())),
    };
    Ok(write_atomic(path, |file| file.write_all(&bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::RunState;
    use serde_json::json;

    fn run(name: &str, errors: &[f64]) -> Run {
        let log = errors.iter().enumerate().map(|(index, error)| EpochRecord {
            step: 100 * (index as u64 + 1),
            epoch: index as u64 + 1,
            lr: 0.1,
            train_loss: 2.0 * error,
            train_accuracy: 1.0 - 0.9 * error,
            test_loss: 2.1 * error,
            test_accuracy: 1.0 - error,
            test_top5: 1.0,
            images_per_s: 1000.0,
            input_share: 0.0,
            seconds: 60.0 * (index as f64 + 1.0),
        });
        let config = json!({"network": name, "data": "cifar10", "epochs": 5});
        let config = config.as_object().unwrap().clone();
        Run { path: name.into(), config, log: log.collect(), state: RunState::Interrupted }
    }

    #[test]
    fn a_figure_tells_the_best_and_how_far_the_run_is() {
        let figure = figure(&run("plain", &[0.5, 0.2, 0.3]));
        assert_eq!(figure.title, "plain");
        assert!(figure.subtitle.starts_with("cifar10 · 3 of 5 epochs"), "{}", figure.subtitle);
        let error = &figure.rows[0].1[1];
        assert_eq!(error.series[1].name, "test: best 20.00 % in epoch 2, last 30.00 %");
        let (train, test) = (error.series[0].points[2], error.series[1].points[2]);
        assert_eq!((train[0], test[0]), (3.0, 3.0));
        assert!((train[1] - 0.27).abs() < 1e-12 && (test[1] - 0.3).abs() < 1e-12);
        let empty = super::figure(&run("new", &[])).draw();
        assert!(empty.png(1.0).unwrap().len() > 1000);
    }

    #[test]
    fn runs_lie_in_one_chart_each_in_its_colour() {
        let runs = [run("plain", &[0.5, 0.2]), run("res", &[0.4, 0.1])];
        let named: Vec<(String, &Run)> = runs.iter().map(|run| (run.name(), run)).collect();
        let comparison = |y: &str| Comparison {
            title: "t".into(),
            y: y.parse().unwrap(),
            x: Over::Step,
            log: false,
            range: None,
        };
        let figure = comparison("error").draw(&named);
        let series = &figure.rows[0].1[0].series;
        assert_eq!(series.len(), 4);
        assert_eq!((series[0].color, series[2].color), (PALETTE[0], PALETTE[0]));
        assert_eq!((series[1].stroke, series[3].stroke), (Stroke::Thin, Stroke::Bold));
        assert_eq!(series[3].points, [[100.0, 0.4], [200.0, 0.09999999999999998]]);
        assert_eq!(comparison("test_error").draw(&named).rows[0].1[0].series.len(), 2);
        assert!("eror".parse::<Measure>().unwrap_err().contains("did you mean error?"));
        assert_ne!(color(0), color(7));
    }
}
