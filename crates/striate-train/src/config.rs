//! What a run's result depends on, and whether it can be.

use crate::augment::Augment;
use crate::data;
use crate::optimizer::{Decay, Optimizer, Patience};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use striate_engine::{Algorithm, Isa, PlanOptions, Precision};
use striate_graph::notation::{self, PrintError};
use striate_graph::{Graph, Recompute};

/// Everything a run's result depends on; saved in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// What the network is called.
    pub network: String,
    /// The network in full, in Striate's notation.
    pub notation: String,
    /// The data set, as [`crate::data::open`] takes it.
    pub data: String,
    /// Passes over the training images.
    pub epochs: u64,
    /// Steps in all, in place of the epochs; the last epoch may be a part of one then.
    #[serde(default)]
    pub iterations: Option<u64>,
    /// Images of a step.
    pub batch: usize,
    /// The base learning rate.
    pub lr: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// How parameters follow their gradients.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Fraction of the velocity kept, where the schedule does not prescribe it.
    pub momentum: f32,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// L2 penalty, or AdamW's decay.
    pub weight_decay: f32,
    /// What it applies to.
    #[serde(default)]
    pub decay: Decay,
    /// The bound of the norm of all gradients together.
    #[serde(default)]
    pub clip: Option<f32>,
    /// Parts in which a step's images go through the network, one after another.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// The part of a moving average of the parameters that each step keeps; what is evaluated and saved is the average
    /// then.
    #[serde(default)]
    pub ema: Option<f64>,
    /// The weight of the loss of each auxiliary head.
    #[serde(default = "googlenets")]
    pub auxiliary_weight: f32,
    /// When the run stops before its end.
    #[serde(default)]
    pub patience: Option<Patience>,
    /// The file whose parameters it starts from; the first checkpoint holds them.
    #[serde(default)]
    pub init: Option<String>,
    /// The layers and parameters that stay as they are, as regular expressions.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// What images are normalised by, where it is not what the data set says.
    #[serde(default)]
    pub normalization: Option<Normalization>,
    /// Label smoothing.
    pub label_smoothing: f32,
    /// Random changes of the images.
    pub augment: Augment,
    /// The seed of everything random.
    pub seed: u64,
    /// The instruction set, by name: another one rounds differently.
    pub isa: String,
    /// What activations are stored and multiplied in, by name.
    #[serde(default = "full_precision")]
    pub precision: String,
    /// The algorithm of convolutions, by name.
    #[serde(default = "any_algorithm")]
    pub algorithm: String,
    /// What is computed again instead of being kept, by name; it changes no result.
    #[serde(default = "no_recomputation")]
    pub recompute: String,
}

/// What images are normalised by, on a scale from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel.
    pub std: Vec<f32>,
}

fn one() -> usize {
    1
}

/// Szegedy et al. 2015, section 5.
fn googlenets() -> f32 {
    0.3
}

fn full_precision() -> String {
    Precision::F32.name().into()
}

fn no_recomputation() -> String {
    Recompute::None.name().into()
}

fn any_algorithm() -> String {
    Algorithm::Auto.name().into()
}

impl TrainConfig {
    /// What trains a small classifier well: five epochs of one-cycle SGD in batches of 128, with the images shifted and
    /// turned a little where they are those of MNIST.
    ///
    /// # Errors
    /// When the network cannot be written as text.
    pub fn new(network: &Graph, data: &str) -> Result<Self, PrintError> {
        Ok(Self {
            network: network.name.clone(),
            notation: notation::print(network)?,
            data: data.to_string(),
            epochs: 5,
            iterations: None,
            batch: 128,
            lr: 0.1,
            schedule: "onecycle".parse().expect("a schedule's name"),
            optimizer: Optimizer::Sgd,
            momentum: Self::MOMENTUM,
            nesterov: false,
            weight_decay: 5e-4,
            decay: Decay::All,
            clip: None,
            accumulate: one(),
            ema: None,
            auxiliary_weight: googlenets(),
            patience: None,
            init: None,
            freeze: Vec::new(),
            normalization: None,
            label_smoothing: 0.0,
            augment: data::augment(data),
            seed: 0,
            isa: Isa::best().name().to_string(),
            precision: full_precision(),
            algorithm: any_algorithm(),
            recompute: no_recomputation(),
        })
    }
}

impl TrainConfig {
    /// The fraction of the velocity kept unless told otherwise.
    pub const MOMENTUM: f32 = 0.9;

    /// Checks what can be told without network and data.
    ///
    /// # Errors
    /// The first setting that contradicts another or that this machine cannot keep.
    pub fn check(&self) -> Result<(), ConfigError> {
        let &Self { momentum, nesterov, .. } = self;
        if !(0.0..1.0).contains(&momentum) {
            return Err(ConfigError::Momentum { momentum });
        }
        if let Some([from, peak, to]) = self.schedule.momentum()
            && momentum != 0.0
            && momentum != Self::MOMENTUM
        {
            return Err(ConfigError::MovedMomentum { momentum, from, peak, to });
        }
        if nesterov && momentum == 0.0 {
            return Err(ConfigError::Nesterov);
        }
        if self.optimizer != Optimizer::Sgd && (nesterov || momentum != 0.0 && momentum != Self::MOMENTUM) {
            return Err(ConfigError::OthersMomentum { optimizer: self.optimizer.to_string() });
        }
        self.check_steps()?;
        self.recompute()?;
        self.plan(1).map(|_| ())
    }

    /// Checks what becomes of the gradients.
    fn check_steps(&self) -> Result<(), ConfigError> {
        let &Self { batch, accumulate, auxiliary_weight, iterations, .. } = self;
        let range = |what, value: f64, range| Err(ConfigError::Range { what, value, range });
        if accumulate == 0 || !batch.is_multiple_of(accumulate) {
            return Err(ConfigError::Parts { batch, accumulate });
        }
        if let Some(clip) = self.clip.filter(|clip| !(clip.is_finite() && *clip > 0.0)) {
            return range("clip", clip.into(), "above 0");
        }
        if let Some(ema) = self.ema.filter(|ema| !(0.0..1.0).contains(ema)) {
            return range("ema", ema, "from 0 to below 1");
        }
        if !(auxiliary_weight.is_finite() && auxiliary_weight >= 0.0) {
            return range("auxiliary_weight", auxiliary_weight.into(), "at least 0");
        }
        match iterations {
            Some(0) => range("iterations", 0.0, "at least 1"),
            _ => Ok(()),
        }
    }

    /// Steps of the whole run, where an epoch has `steps_per_epoch`.
    pub fn steps(&self, steps_per_epoch: u64) -> u64 {
        self.iterations.unwrap_or_else(|| self.epochs.saturating_mul(steps_per_epoch))
    }

    /// What its steps are planned with.
    pub(crate) fn plan(&self, threads: usize) -> Result<PlanOptions, ConfigError> {
        let unknown = |text: String| ConfigError::Unknown { text };
        Ok(PlanOptions {
            batch: self.batch,
            threads,
            isa: self.isa_here()?,
            precision: self.precision.parse().map_err(unknown)?,
            algorithm: self.algorithm.parse().map_err(unknown)?,
        })
    }

    /// What is computed again.
    pub(crate) fn recompute(&self) -> Result<Recompute, ConfigError> {
        self.recompute.parse().map_err(|text| ConfigError::Unknown { text })
    }

    /// The instruction set, where this processor has it.
    fn isa_here(&self) -> Result<Isa, ConfigError> {
        let isa = self.isa.parse().ok().filter(|isa: &Isa| isa.is_present());
        isa.ok_or_else(|| ConfigError::Isa {
            isa: self.isa.clone(),
            present: Isa::present().map(Isa::name).collect::<Vec<_>>().join(", "),
        })
    }
}

/// A configuration that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A fraction that is none.
    #[error("momentum is {momentum}; it lies from 0 to below 1")]
    Momentum {
        /// What was asked for.
        momentum: f32,
    },
    /// A momentum that would have no effect.
    #[error(
        "momentum is {momentum}, but onecycle moves it by itself: {from} → {peak} → {to}; leave it out, set it to 0 for none, \
         or choose another schedule"
    )]
    MovedMomentum {
        /// What was asked for.
        momentum: f32,
        /// At the beginning.
        from: f64,
        /// At the peak of the learning rate.
        peak: f64,
        /// At the end.
        to: f64,
    },
    /// A momentum that its optimiser does not have.
    #[error(
        "{optimizer} takes no momentum of SGD's; leave momentum and Nesterov out: adam and adamw have beta1, and \
         rmsprop its own, as in rmsprop:momentum=0.9"
    )]
    OthersMomentum {
        /// The optimiser.
        optimizer: String,
    },
    /// A step that cannot be divided.
    #[error(
        "a step of {batch} images does not divide into {accumulate} equal parts; choose a batch that is a multiple of \
         accumulate"
    )]
    Parts {
        /// Images of a step.
        batch: usize,
        /// Parts.
        accumulate: usize,
    },
    /// Means and deviations that are none of these images.
    #[error(
        "mean and std of the normalisation take {channels} finite numbers, one for each channel, std none of 0"
    )]
    Normalization {
        /// Of the images.
        channels: usize,
    },
    /// A number out of range.
    #[error("{what} is {value}; it is {range}")]
    Range {
        /// Which setting.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it can be.
        range: &'static str,
    },
    /// A form of nothing.
    #[error(
        "Nesterov's form of momentum is asked for, but momentum is 0; set it above 0, or leave Nesterov out"
    )]
    Nesterov,
    /// A precision, an algorithm or a recomputation that there is not.
    #[error("{text}")]
    Unknown {
        /// Which, and what there is.
        text: String,
    },
    /// An instruction set that is unknown or not in this processor.
    #[error(
        "the run is to compute with {isa}, which this processor does not have ({present}) and others round differently: \
         go on where it was begun, or begin a new run"
    )]
    Isa {
        /// Asked for.
        isa: String,
        /// What there is.
        present: String,
    },
}
