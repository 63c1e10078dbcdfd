//! Training as it is watched: a bar for each epoch on a terminal, a line for each epoch otherwise.

use console::{Term, style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use striate::prelude::*;
use striate::train::trainer::{EpochRecord, StepRecord};

use crate::text::{duration, percent, thousands};

/// The line of the epoch under way; the bar stands where the test's results will.
const LINE: &str = "{prefix}  {bar:20.cyan/238}  {wide_msg}";

/// Watches a run.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    epochs: u64,
    steps: u64,
    /// Steps that were done before this process began.
    resumed_at: u64,
    start: Instant,
    last_epoch: Instant,
    left: Duration,
    best: f64,
}

impl Progress {
    pub(crate) fn new(epochs: u64) -> Self {
        let bar = Term::stderr().is_term().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(12));
            let style = ProgressStyle::with_template(LINE).expect("a fixed template");
            bar.set_style(style.progress_chars("━╸─"));
            bar
        });
        let now = Instant::now();
        let left = Duration::ZERO;
        Self { bar, epochs, steps: 0, resumed_at: 0, start: now, last_epoch: now, left, best: 0.0 }
    }

    /// A line above the bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write_line(line)),
            None => write_line(line),
        }
    }

    pub(crate) fn observe(&mut self, event: Event) {
        match event {
            Event::Start { step, steps, .. } => {
                (self.steps, self.resumed_at) = (steps, step);
                (self.start, self.last_epoch) = (Instant::now(), Instant::now());
                if step < steps {
                    let heads = format!(
                        "{:>7}  {:>8}  {:>9}  {:>9}  {:>9}  {:>9}  {:>7}",
                        "epoch", "loss", "accuracy", "test loss", "test acc.", "images/s", "time"
                    );
                    self.say(&style(heads).dim().for_stderr().to_string());
                }
            }
            Event::Step(step) => self.step(&step),
            Event::Evaluating { done, of } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(of);
                    bar.set_position(done);
                    bar.set_message(format!("{:>9}  {} left", "testing", duration(self.left)));
                }
            }
            Event::Epoch(epoch) => self.epoch(epoch),
            Event::Images { .. } | Event::Parameters { .. } => {}
        }
    }

    fn step(&mut self, step: &StepRecord) {
        let Some(bar) = &self.bar else { return };
        let done = step.step - self.resumed_at;
        let each = self.start.elapsed().div_f64(done.max(1) as f64);
        self.left = each.mul_f64((self.steps - step.step) as f64);
        bar.set_length(step.batches);
        bar.set_position(step.batch);
        let at = format!("{}/{}", step.epoch, self.epochs);
        bar.set_prefix(format!("{at:>7}  {:>8.4}  {:>9}", step.loss, percent(step.accuracy)));
        let speed = thousands(step.images_per_s as u64);
        bar.set_message(format!("{speed:>9}  {} left", duration(self.left)));
    }

    fn epoch(&mut self, epoch: &EpochRecord) {
        let took = std::mem::replace(&mut self.last_epoch, Instant::now()).elapsed();
        let tested = format!("{:>9}", percent(epoch.test_accuracy));
        let tested = match epoch.test_accuracy > self.best {
            true => style(tested).green().for_stderr().to_string(),
            false => tested,
        };
        self.best = self.best.max(epoch.test_accuracy);
        self.say(&format!(
            "{:>7}  {:>8.4}  {:>9}  {:>9.4}  {tested}  {:>9}  {:>7}",
            format!("{}/{}", epoch.epoch, self.epochs),
            epoch.train_loss,
            percent(epoch.train_accuracy),
            epoch.test_loss,
            thousands(epoch.images_per_s as u64),
            duration(took),
        ));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn write_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
