//! What is known of the run on the screen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use striate::prelude::*;
use striate::train::trainer::{EpochRecord, StepRecord};

use crate::text::percent;

/// Points of a curve of steps; when there are twice as many, each two become one.
const POINTS: usize = 1024;
/// Messages that are kept.
const MESSAGES: usize = 100;

/// A chart of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Loss,
    Error,
    Rate,
    Speed,
}

impl Shown {
    pub(super) const ALL: [Shown; 4] = [Shown::Loss, Shown::Error, Shown::Rate, Shown::Speed];

    pub(super) fn title(self) -> &'static str {
        match self {
            Shown::Loss => "loss",
            Shown::Error => "error",
            Shown::Rate => "learning rate",
            Shown::Speed => "images/s",
        }
    }
}

/// A curve that grows without end in a bounded number of points: each the mean of as many values.
#[derive(Default)]
pub(super) struct Curve {
    pub(super) points: Vec<(f64, f64)>,
    /// Values of a point.
    each: u32,
    sum: (f64, f64),
    count: u32,
}

impl Curve {
    pub(super) fn push(&mut self, x: f64, y: f64) {
        self.each = self.each.max(1);
        self.sum = (self.sum.0 + x, self.sum.1 + y);
        self.count += 1;
        if self.count < self.each {
            return;
        }
        let count = f64::from(self.count);
        self.points.push((self.sum.0 / count, self.sum.1 / count));
        (self.sum, self.count) = ((0.0, 0.0), 0);
        if self.points.len() >= 2 * POINTS {
            let mean = |pair: &[(f64, f64)]| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0);
            self.points = self.points.chunks_exact(2).map(mean).collect();
            self.each *= 2;
        }
    }
}

/// What is known of the run.
pub(super) struct State {
    pub(super) title: String,
    pub(super) epochs: u64,
    pub(super) facts: Vec<(String, String)>,
    pub(super) messages: VecDeque<(Duration, String)>,
    pub(super) start: Instant,
    /// The last step.
    pub(super) step: Option<StepRecord>,
    pub(super) steps: u64,
    resumed_at: u64,
    pub(super) left: Duration,
    /// Test images answered, and how many there are.
    pub(super) evaluating: Option<(u64, u64)>,
    pub(super) log: Vec<EpochRecord>,
    pub(super) best: Option<(u64, f64)>,
    pub(super) step_loss: Curve,
    pub(super) step_error: Curve,
    pub(super) rate: Curve,
    pub(super) speed: Curve,
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<u64>,
    pub(super) paused: bool,
    pub(super) stopping: bool,
    /// The first chart that is shown.
    pub(super) first: usize,
}

impl State {
    pub(super) fn new(title: String, epochs: u64, facts: Vec<(String, String)>) -> Self {
        Self {
            title,
            epochs,
            facts,
            messages: VecDeque::new(),
            start: Instant::now(),
            step: None,
            steps: 0,
            resumed_at: 0,
            left: Duration::ZERO,
            evaluating: None,
            log: Vec::new(),
            best: None,
            step_loss: Curve::default(),
            step_error: Curve::default(),
            rate: Curve::default(),
            speed: Curve::default(),
            cpu: None,
            memory: None,
            paused: false,
            stopping: false,
            first: 0,
        }
    }

    pub(super) fn say(&mut self, line: &str) {
        let line = console::strip_ansi_codes(line).trim().to_string();
        if !line.is_empty() {
            self.messages.push_back((self.start.elapsed(), line));
            if self.messages.len() >= MESSAGES {
                self.messages.pop_front();
            }
        }
    }

    /// The next charts, or those before.
    pub(super) fn turn(&mut self, by: isize) {
        self.first = (self.first as isize + by).rem_euclid(Shown::ALL.len() as isize) as usize;
    }

    pub(super) fn observe(&mut self, event: Event) {
        match event {
            Event::Start { step, steps, .. } => {
                (self.steps, self.resumed_at, self.start) = (steps, step, Instant::now());
            }
            Event::Step(step) => self.step(step),
            Event::Evaluating { done, of } => self.evaluating = Some((done, of)),
            Event::Epoch(epoch) => self.epoch(epoch),
            Event::Images { .. } | Event::Parameters { .. } => {}
        }
    }

    fn step(&mut self, step: StepRecord) {
        let done = step.step.saturating_sub(self.resumed_at).max(1);
        self.left =
            self.start.elapsed().div_f64(done as f64).mul_f64(self.steps.saturating_sub(step.step) as f64);
        self.evaluating = None;
        let x = step.step as f64 / step.batches.max(1) as f64;
        self.step_loss.push(x, step.step_loss);
        self.step_error.push(x, 1.0 - step.accuracy);
        self.rate.push(x, step.lr);
        self.speed.push(x, step.images_per_s);
        self.step = Some(step);
    }

    fn epoch(&mut self, epoch: &EpochRecord) {
        self.evaluating = None;
        let better = self.best.is_none_or(|(_, best)| epoch.test_accuracy > best);
        if better {
            self.best = Some((epoch.epoch, epoch.test_accuracy));
        }
        let (loss, accuracy) = (epoch.test_loss, percent(epoch.test_accuracy));
        let mark = if better { " · best" } else { "" };
        self.say(&format!("epoch {}  {accuracy} · loss {loss:.4}{mark}", epoch.epoch));
        self.log.push(*epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_bounded_and_keeps_its_mean() {
        let mut curve = Curve::default();
        for at in 0..100_000 {
            curve.push(f64::from(at), f64::from(at % 2));
        }
        assert!((POINTS..2 * POINTS).contains(&curve.points.len()), "{}", curve.points.len());
        assert!(curve.points[10..].iter().all(|(_, y)| *y == 0.5));
        assert!(curve.points.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn messages_are_kept_to_a_number() {
        let mut state = State::new("t".into(), 1, vec![]);
        (0..1000).for_each(|at| state.say(&format!("message {at}")));
        state.say("   ");
        assert!(state.messages.len() < MESSAGES && state.messages.back().unwrap().1 == "message 999");
        state.turn(-1);
        assert_eq!(state.first, 3);
    }
}
