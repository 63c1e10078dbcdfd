//! What a run's result depends on besides network and data, as the command line gives it.

use clap::Args;
use striate::prelude::*;
use striate::train::optimizer::{Decay, Optimizer, Patience};
use striate::train::recipe::Recipe;
use striate::train::schedule::Schedule;

use crate::failure::{Failure, Result};
use crate::options::positive;

/// How it is trained.
#[derive(Args, Debug)]
#[command(next_help_heading = "Recipe")]
pub(super) struct Settings {
    /// A paper's recipe, below the options given here: lenet5, alexnet, vgg16, googlenet, resnet50, resnet-cifar, or a .toml file
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub(super) recipe: Option<String>,
    /// The labelled images: a name, a folder, a list or shards, see below [default: mnist]
    #[arg(long, value_name = "SOURCE")]
    pub(super) data: Option<String>,
    #[arg(long, value_name = "E", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(help = with_default("Passes over the training images", |c| c.epochs.to_string()))]
    epochs: Option<u64>,
    /// Steps in all, in place of --epochs; the last epoch may be a part of one then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "epochs")]
    iterations: Option<u64>,
    #[arg(long, value_name = "B", value_parser = positive)]
    #[arg(help = with_default("Images of a step", |c| c.batch.to_string()))]
    batch: Option<usize>,
    #[arg(long, value_name = "PART", value_parser = below_one)]
    #[arg(help = with_default(
        "The part of each target that all classes share",
        |c| c.label_smoothing.to_string()
    ))]
    label_smoothing: Option<f32>,
    #[arg(long, value_name = "W", value_parser = at_least_zero::<f32>)]
    #[arg(help = with_default(
        "The weight of each auxiliary head's loss, where the network has such heads",
        |c| c.auxiliary_weight.to_string()
    ))]
    auxiliary_weight: Option<f32>,
    /// Random changes of the images, such as crop=4,flip or resnet, see below
    /// [default: digits for mnist, crop=4,flip for cifar]
    #[arg(long, value_name = "CHANGES")]
    augment: Option<Augment>,
    /// Stop after so many epochs without a lower test loss, or with 5,goal=max a higher test accuracy
    #[arg(long, value_name = "E")]
    patience: Option<Patience>,
    #[arg(long)]
    #[arg(help = with_default("The seed of everything random", |c| c.seed.to_string()))]
    seed: Option<u64>,

    #[arg(long, value_name = "RULE", help_heading = "Optimiser")]
    #[arg(help = with_default(
        "sgd, adam, adamw or rmsprop, with arguments as in adamw:beta1=0.9,beta2=0.999,eps=1e-8",
        |c| c.optimizer.to_string()
    ))]
    optimizer: Option<Optimizer>,
    #[arg(long, value_parser = at_least_zero::<f64>, help_heading = "Optimiser")]
    #[arg(help = with_default(
        "The base learning rate, unless given 0.001 where the optimizer is not sgd; of onecycle the highest",
        |c| c.lr.to_string()
    ))]
    lr: Option<f64>,
    #[arg(long, help_heading = "Optimiser")]
    #[arg(help = with_default("How the learning rate changes, see below", |c| c.schedule.to_string()))]
    schedule: Option<Schedule>,
    #[arg(long, value_parser = below_one, help_heading = "Optimiser")]
    #[arg(help = with_default(
        "The part of the velocity that a step of sgd keeps; onecycle moves it itself",
        |c| c.momentum.to_string()
    ))]
    momentum: Option<f32>,
    /// Nesterov's form of momentum
    #[arg(long, help_heading = "Optimiser")]
    nesterov: bool,
    #[arg(long, value_name = "PENALTY", value_parser = at_least_zero::<f32>, help_heading = "Optimiser")]
    #[arg(help = with_default("L2 penalty; of adamw the decay", |c| c.weight_decay.to_string()))]
    weight_decay: Option<f32>,
    #[arg(long, value_name = "all|weights", help_heading = "Optimiser")]
    #[arg(help = with_default(
        "What decays: every parameter, or weights without biases and normalisations",
        |c| c.decay.to_string()
    ))]
    decay: Option<Decay>,
    /// The greatest norm of all gradients together; longer ones are shortened to it
    #[arg(long, value_name = "NORM", help_heading = "Optimiser")]
    clip: Option<f32>,
    /// Divide a step's images into K parts that go through the network one after another, for less memory; a batch norm
    /// sees the parts [default: 1]
    #[arg(long, value_name = "K", value_parser = positive, help_heading = "Optimiser")]
    accumulate: Option<usize>,
    /// Test and save a moving average of the weights that keeps this part of itself at each step, less at the beginning
    #[arg(long, value_name = "DECAY", help_heading = "Optimiser")]
    ema: Option<f64>,

    /// Start from the parameters in a model (.safetensors, .onnx) or a file of weights (.safetensors, .pth); layers of
    /// another shape, such as the head, start anew. Without NET the model's network is trained
    #[arg(long, value_name = "MODEL", help_heading = "Transfer")]
    pub(super) init: Option<String>,
    /// Leave layers or parameters as they are: a regular expression of whole names, as in 'layer[1-3].*'; may be repeated
    #[arg(long, value_name = "NAMES", help_heading = "Transfer")]
    freeze: Vec<String>,
}

/// Help that ends in the library's default.
fn with_default(help: &str, field: fn(&TrainConfig) -> String) -> String {
    let config = zoo::build("mlp").ok().and_then(|network| TrainConfig::new(&network, "mnist").ok());
    config.map_or_else(|| help.into(), |config| format!("{help} [default: {}]", field(&config)))
}

impl Settings {
    /// What is given, and below it what its recipe says.
    pub(super) fn wanted(&self) -> Result<Recipe> {
        let recipe = match &self.recipe {
            Some(name) => Recipe::open(name).map_err(|error| Failure::from(error).of_usage())?,
            None => Recipe::default(),
        };
        Ok(self.given().or(recipe))
    }

    fn given(&self) -> Recipe {
        Recipe {
            data: self.data.clone(),
            epochs: self.epochs,
            iterations: self.iterations,
            batch: self.batch,
            accumulate: self.accumulate,
            optimizer: self.optimizer,
            lr: self.lr,
            schedule: self.schedule.clone(),
            momentum: self.momentum,
            nesterov: self.nesterov.then_some(true),
            weight_decay: self.weight_decay,
            decay: self.decay,
            clip: self.clip,
            ema: self.ema,
            label_smoothing: self.label_smoothing,
            auxiliary_weight: self.auxiliary_weight,
            patience: self.patience,
            augment: self.augment.as_ref().map(Augment::to_string),
            seed: self.seed,
            init: self.init.clone(),
            freeze: self.freeze.clone(),
            ..Recipe::default()
        }
    }
}

fn at_least_zero<T: std::str::FromStr + PartialOrd + Default + Into<f64> + Copy>(
    text: &str,
) -> std::result::Result<T, String> {
    let number: T = text.parse().map_err(|_| "it is no number")?;
    if number >= T::default() && number.into().is_finite() {
        Ok(number)
    } else {
        Err("it must be at least 0".into())
    }
}

fn below_one(text: &str) -> std::result::Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "it is no number")?;
    if (0.0..1.0).contains(&number) { Ok(number) } else { Err("it must lie from 0 to below 1".into()) }
}
