//! What is known of a run while it goes on and afterwards.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use striate_engine::Parameters;

/// What is known after an epoch; a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Steps done since the beginning.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// The last step's learning rate.
    pub lr: f64,
    /// Mean training loss of the epoch.
    pub train_loss: f64,
    /// Fraction of training images answered right, while learning; of mixed images the class with the greater part counts.
    pub train_accuracy: f64,
    /// Mean cross-entropy on the test images.
    pub test_loss: f64,
    /// Fraction of test images answered right.
    pub test_accuracy: f64,
    /// Fraction of test images whose class is among the five most probable.
    pub test_top5: f64,
    /// Training images per second, evaluation apart.
    pub images_per_s: f64,
    /// The part of the training time spent waiting for images.
    pub input_share: f64,
    /// Seconds since the run began, evaluation included; of a resumed run, all its parts together.
    pub seconds: f64,
}

/// What a caller may show while a run goes on.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The run starts, or goes on at a step.
    Start {
        /// Steps done before.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Bytes of memory of the training session.
        memory: usize,
    },
    /// The first batch that this process trains on, as it goes into the network: channels last, normalised.
    Images {
        /// One after the other.
        images: &'a [f32],
        /// The class of each.
        labels: &'a [u32],
    },
    /// A step is done.
    Step(StepRecord),
    /// The test images are being answered: how many are.
    Evaluating {
        /// Done.
        done: u64,
        /// In all.
        of: u64,
    },
    /// The parameters at the end of an epoch, before it is logged.
    Parameters {
        /// Steps done.
        step: u64,
        /// All of them, with the optimiser's state.
        parameters: &'a Parameters,
    },
    /// An epoch is done.
    Epoch(&'a EpochRecord),
}

/// A step as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// Steps done in all.
    pub step: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps of this epoch done.
    pub batch: u64,
    /// Steps of an epoch.
    pub batches: u64,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Fraction answered right in the epoch so far.
    pub accuracy: f64,
    /// Images per second of the epoch so far.
    pub images_per_s: f64,
    /// The part of the epoch's training time so far spent waiting for images.
    pub input_share: f64,
    /// The loss of this step alone.
    pub step_loss: f64,
    /// The learning rate of this step.
    pub lr: f64,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct TrainReport {
    /// The last epoch.
    pub last: EpochRecord,
    /// The highest test accuracy of any epoch.
    pub best_accuracy: f64,
    /// Training images per second over the whole run (this process's part of it), evaluation apart.
    pub images_per_s: f64,
    /// Where the model was saved.
    pub model: PathBuf,
    /// Whether it stopped before its end, for want of progress.
    pub stopped: bool,
}

/// Time and images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    pub(super) images: usize,
    time: Duration,
    waited: Duration,
}

impl Clock {
    pub(super) fn add(&mut self, images: usize, time: Duration, waited: Duration) {
        self.images += images;
        self.time += time;
        self.waited += waited;
    }

    pub(super) fn images_per_s(&self) -> f64 {
        self.images as f64 / self.time.as_secs_f64().max(1e-9)
    }

    pub(super) fn input_share(&self) -> f64 {
        self.waited.as_secs_f64() / self.time.as_secs_f64().max(1e-9)
    }
}
