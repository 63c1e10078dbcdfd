//! The learning-rate finder: a short run in which the rate rises exponentially, and what its loss says (Smith 2015, "Cyclical
//! learning rates for training neural networks", section 3.3).

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
    /// From 10⁻⁶ to 10 in 140 steps.
    fn default() -> Self {
        Self { from: 1e-6, to: 10.0, steps: 140 }
    }
}

/// A step of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The learning rate.
    pub lr: f64,
    /// The step's loss.
    pub loss: f64,
    /// While the sweep goes on, the losses up to it, averaged with a weight that falls by 0.9 a step; in the finding, the
    /// mean of the losses around it.
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
    /// The rate to use: a tenth of the one with the least loss. The steepest fall is often that of a bad beginning.
    pub suggestion: Option<f64>,
    /// Whether the loss broke the sweep off before its end.
    pub diverged: bool,
}

/// How the average under way remembers.
const SMOOTHING: f64 = 0.9;

/// Steps on either side of one that its smoothed loss is the mean of.
const AROUND: usize = 5;

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
        let loss = match learner.step(batch, At { step, lr, momentum: None }) {
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
        let Self { mut trials, diverged, .. } = self;
        // Centred: an average of what came before lies behind the loss, and with it the rates.
        let losses: Vec<f64> = trials.iter().map(|trial| trial.loss).collect();
        for (index, trial) in trials.iter_mut().enumerate() {
            let around = &losses[index.saturating_sub(AROUND)..losses.len().min(index + AROUND + 1)];
            trial.smoothed = around.iter().sum::<f64>() / around.len() as f64;
        }
        let least = trials.iter().enumerate().min_by(|(_, a), (_, b)| a.smoothed.total_cmp(&b.smoothed));
        let least = least.map_or(0, |(index, _)| index);
        let descent = &trials[..(least + 1).min(trials.len())];
        let falls = descent.len() > AROUND && descent[least].smoothed < descent[0].smoothed;
        let slope = |pair: &&[Trial]| pair[1].smoothed - pair[0].smoothed;
        let pairs = descent.windows(2);
        let steepest = pairs.min_by(|a, b| slope(a).total_cmp(&slope(b))).map(|pair| pair[1].lr);
        let steepest = steepest.filter(|_| falls);
        let tenth_of_least = falls.then(|| trials[least].lr / 10.0);
        Finding { suggestion: tenth_of_least, steepest, tenth_of_least, diverged, trials }
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
    fn the_rates_of_the_steepest_fall_and_of_the_least_loss_are_found() {
        let finding = sweep(|lr| 2.3 - 2.0 / (1.0 + (-4.0 * (lr.log10() + 2.0)).exp()) + (lr / 0.5).powi(4));
        let suggestion = finding.suggestion.unwrap();
        assert!((0.01..0.05).contains(&suggestion), "{suggestion}");
        let steepest = finding.steepest.unwrap();
        assert!((0.007..0.015).contains(&steepest), "{steepest}");
        assert!(finding.diverged && finding.trials.len() < 141, "{} steps", finding.trials.len());
    }

    #[test]
    fn a_loss_that_does_not_fall_suggests_nothing() {
        let finding = sweep(|lr| 2.3 + lr);
        assert_eq!((finding.suggestion, finding.tenth_of_least), (None, None));
    }
}
