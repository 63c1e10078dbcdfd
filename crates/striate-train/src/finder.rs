//! The learning-rate finder: a short run in which the rate rises exponentially, and what its loss says (Smith 2015, "Cyclical
//! learning rates for training neural networks", section 3.3; smoothed as fastai does).

use crate::data::{Dataset, Samples};
use crate::evaluate::UseError;
use crate::loader::{Loader, LoaderError};
use crate::trainer::learner::{At, Learner};
use crate::trainer::{TrainConfig, TrainError, check_data, loader_options};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use striate_engine::{Parameters, RunError};
use striate_graph::Graph;

/// The rates to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sweep {
    /// The first.
    pub from: f64,
    /// The last, unless the loss has risen far before.
    pub to: f64,
    /// How many steps lie between.
    pub steps: u64,
}

impl Default for Sweep {
    /// From 10⁻⁶ to 10 in 100 steps.
    fn default() -> Self {
        Self { from: 1e-6, to: 10.0, steps: 100 }
    }
}

/// A step of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The learning rate.
    pub lr: f64,
    /// The step's loss.
    pub loss: f64,
    /// The losses up to it, averaged with a weight that falls by 0.98 a step.
    pub smoothed: f64,
}

/// What the sweep has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// In order.
    pub trials: Vec<Trial>,
    /// The rate at which the smoothed loss falls fastest; none where it does not fall.
    pub steepest: Option<f64>,
    /// A tenth of the rate at which the smoothed loss is least; none where it does not fall.
    pub tenth_of_least: Option<f64>,
    /// The rate to use: the steepest.
    pub suggestion: Option<f64>,
    /// Whether the loss broke the sweep off before its end.
    pub diverged: bool,
}

/// How the smoothed loss remembers: fastai's 0.98.
const SMOOTHING: f64 = 0.98;

/// The sweep ends where the smoothed loss exceeds the least so far by this factor.
const TOO_FAR: f64 = 4.0;

/// Trains a fresh network as `config` says but for the learning rate, which rises, and keeps nothing of it; `observe` hears
/// each step.
///
/// # Errors
/// As [`Trainer::new`](crate::trainer::Trainer::new); a loss that is no number ends the sweep but is no error.
pub fn find(
    config: &TrainConfig,
    network: &Graph,
    [train, test]: [Arc<Dataset>; 2],
    given: Parameters,
    threads: usize,
    sweep: Sweep,
    observe: &mut dyn FnMut(&Trial),
) -> Result<Finding, TrainError> {
    config.check()?;
    check_data(network, [&train, &test]).map_err(|error: UseError| error)?;
    let batches = (train.len() / config.batch) as u64;
    if batches == 0 {
        return Err(LoaderError::NoBatch { samples: train.len(), batch: config.batch }.into());
    }
    let mut learner = Learner::new(config, network, threads)?;
    learner.start(given, config.seed)?;
    let mut options = loader_options(config, network, &train)?;
    options.epochs = 0..sweep.steps.div_ceil(batches);
    let mut loader = Loader::new(train, None, options)?;
    let mut curve = Curve::default();
    for step in 0..sweep.steps {
        let Some(batch) = loader.next_batch()? else { break };
        let part = step as f64 / (sweep.steps.max(2) - 1) as f64;
        let lr = sweep.from * (sweep.to / sweep.from).powf(part);
        let loss = match learner.step(&batch, At { step, lr, momentum: None }) {
            Ok(loss) => loss,
            Err(RunError::NotFinite(_)) => {
                curve.diverged = true;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        observe(&curve.add(lr, loss));
        if curve.diverged {
            break;
        }
    }
    Ok(curve.finding())
}

/// The slope is taken over a tenth of the sweep; its first tenth, where the average is of few losses, does not count.
const STRETCHES: usize = 10;

/// The losses of a sweep under way.
#[derive(Default)]
struct Curve {
    trials: Vec<Trial>,
    average: f64,
    least: f64,
    diverged: bool,
}

impl Curve {
    fn add(&mut self, lr: f64, loss: f64) -> Trial {
        let count = self.trials.len() as i32 + 1;
        self.average = SMOOTHING * self.average + (1.0 - SMOOTHING) * loss;
        // Without the zero that the average began with.
        let smoothed = self.average / (1.0 - SMOOTHING.powi(count));
        self.least = if count == 1 { smoothed } else { self.least.min(smoothed) };
        self.diverged = smoothed > TOO_FAR * self.least;
        let trial = Trial { lr, loss, smoothed };
        self.trials.push(trial);
        trial
    }

    fn finding(self) -> Finding {
        let Self { trials, diverged, .. } = self;
        let least = trials.iter().enumerate().min_by(|(_, a), (_, b)| a.smoothed.total_cmp(&b.smoothed));
        let least = least.map_or(0, |(index, _)| index);
        let descent = &trials[..(least + 1).min(trials.len())];
        let falls =
            descent.first().zip(descent.last()).is_some_and(|(first, last)| last.smoothed < first.smoothed);
        // Over a stretch, or noise would be steepest.
        let stretch = (trials.len() / STRETCHES).max(1);
        let fall = |span: &[Trial]| span[stretch].smoothed - span[0].smoothed;
        let behind = trials.len() / STRETCHES;
        let spans = descent.get(behind.min(descent.len())..).unwrap_or_default().windows(stretch + 1);
        let steepest = spans.min_by(|a, b| fall(a).total_cmp(&fall(b))).map(|span| span[stretch / 2].lr);
        let steepest = steepest.filter(|_| falls);
        let tenth_of_least = falls.then(|| trials[least].lr / 10.0);
        Finding { suggestion: steepest, steepest, tenth_of_least, diverged, trials }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that falls between 10⁻³ and 10⁻¹, fastest at 10⁻², and rises from 1 on.
    fn sweep(loss: impl Fn(f64) -> f64) -> Finding {
        let mut curve = Curve::default();
        for index in 0..=140 {
            let lr = 10f64.powf(-6.0 + f64::from(index) / 20.0);
            curve.add(lr, loss(lr));
            if curve.diverged {
                break;
            }
        }
        curve.finding()
    }

    #[test]
    fn the_rate_of_the_steepest_fall_is_suggested() {
        let finding = sweep(|lr| 2.3 - 2.0 / (1.0 + (-4.0 * (lr.log10() + 2.0)).exp()) + (lr / 0.5).powi(4));
        let suggestion = finding.suggestion.unwrap();
        // The average lags behind by some steps.
        assert!((0.005..0.1).contains(&suggestion), "{suggestion}");
        assert!(finding.diverged && finding.trials.len() < 141, "{} steps", finding.trials.len());
        assert!(finding.tenth_of_least.unwrap() < 0.1);
    }

    #[test]
    fn a_loss_that_does_not_fall_suggests_nothing() {
        let finding = sweep(|lr| 2.3 + lr);
        assert_eq!((finding.suggestion, finding.tenth_of_least), (None, None));
    }
}
