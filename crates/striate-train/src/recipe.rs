//! Recipes: how a paper trained its network, as a small file that says what is not as usual.
//!
//! ```toml
//! network = "lenet5"
//! data = "mnist"
//! epochs = 20
//! lr = 0.02
//! schedule = "multistep:2,5,8,12,factor=0.4"
//! ```
//!
//! Keys are the command line's options, with `_` or `-`; values have its text forms.

use crate::augment::Augment;
use crate::config::{Normalization, TrainConfig};
use crate::optimizer::{Decay, Optimizer, Patience};
use crate::schedule::Schedule;
use crate::text::nearest;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::{Table, Value};

/// The recipes that are built in: name, file.
const BUILT_IN: [(&str, &str); 6] = [
    ("lenet5", include_str!("../recipes/lenet5.toml")),
    ("alexnet", include_str!("../recipes/alexnet.toml")),
    ("vgg16", include_str!("../recipes/vgg16.toml")),
    ("googlenet", include_str!("../recipes/googlenet.toml")),
    ("resnet50", include_str!("../recipes/resnet50.toml")),
    ("resnet-cifar", include_str!("../recipes/resnet-cifar.toml")),
];

/// The most bytes that a recipe's file may have.
const MAX_BYTES: u64 = 1 << 20;

/// What is given of a run's configuration; everything else is as usual.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // each field is documented at `TrainConfig`
pub struct Recipe {
    /// A name of the zoo, or a file.
    pub network: Option<String>,
    pub data: Option<String>,
    pub epochs: Option<u64>,
    pub iterations: Option<u64>,
    pub batch: Option<usize>,
    pub accumulate: Option<usize>,
    pub optimizer: Option<Optimizer>,
    pub lr: Option<f64>,
    pub schedule: Option<Schedule>,
    pub momentum: Option<f32>,
    pub nesterov: Option<bool>,
    pub weight_decay: Option<f32>,
    pub decay: Option<Decay>,
    pub clip: Option<f32>,
    pub ema: Option<f64>,
    pub label_smoothing: Option<f32>,
    pub auxiliary_weight: Option<f32>,
    pub patience: Option<Patience>,
    /// As text: what it says is read when the recipe is applied.
    pub augment: Option<String>,
    pub seed: Option<u64>,
    pub precision: Option<String>,
    pub algorithm: Option<String>,
    pub recompute: Option<String>,
    pub init: Option<String>,
    pub freeze: Vec<String>,
    /// What images are normalised by.
    pub normalization: Option<Normalization>,
}

/// Why there is no recipe.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// Neither a name nor a file.
    #[error("there is no recipe '{name}'{}; there are {}, or name a file that ends in .toml", hint(near), names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        near: Option<&'static str>,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file is no TOML.
    #[error("{origin}: {problem}")]
    Toml {
        /// The recipe.
        origin: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A key that means nothing.
    #[error("{origin}: there is no setting '{key}'{}; there are {}", hint(near), keys().collect::<Vec<_>>().join(", "))]
    Key {
        /// The recipe.
        origin: String,
        /// The key.
        key: String,
        /// What may have been meant.
        near: Option<&'static str>,
    },
    /// A value that a setting cannot have.
    #[error("{origin}: {key} = {value}: {problem}")]
    Value {
        /// The recipe.
        origin: String,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: String,
    },
}

fn hint(near: &Option<&'static str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The names of the recipes that are built in.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The recipe of a name, as text.
pub fn text(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

type Put = fn(&mut Recipe, &Value) -> Result<(), String>;

/// Rows of the table of settings: a key, and how its value is read.
macro_rules! settings {
    ($($key:ident),* $(,)?) => {
        const SETTINGS: &[(&str, Put)] = &[
            $((stringify!($key), |recipe, value| { recipe.$key = Some(parse(value)?); Ok(()) }),)*
            ("freeze", |recipe, value| { recipe.freeze = list(value)?; Ok(()) }),
        ];
    };
}

settings! {
    network, data, epochs, iterations, batch, accumulate, optimizer, lr, schedule, momentum, nesterov, weight_decay,
    decay, clip, ema, label_smoothing, auxiliary_weight, patience, augment, seed, precision, algorithm, recompute, init,
}

fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|(key, _)| *key)
}

/// A value by its text form: numbers and truths may be written without quotes.
fn parse<T: FromStr>(value: &Value) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        _ => return Err("a text, a number, true or false is wanted".into()),
    };
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// One text, or a list of them.
fn list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) => values.iter().map(parse).collect(),
        value => Ok(vec![parse(value)?]),
    }
}

impl Recipe {
    /// The recipe of a name, or in a file that ends in `.toml`.
    ///
    /// # Errors
    /// When there is none, or what is wrong with it.
    pub fn open(name: &str) -> Result<Self, RecipeError> {
        if let Some(text) = text(name) {
            return Self::read(text, &format!("recipe {name}"));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            let name = name.to_string();
            let near = nearest(&name, names());
            return Err(RecipeError::Unknown { near, name });
        }
        let fail = |problem: String| RecipeError::File { path: path.into(), problem };
        let length = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
        if length > MAX_BYTES {
            return Err(fail(format!("it has {length} bytes, a recipe has at most {MAX_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        Self::read(&text, name)
    }

    /// Reads a recipe, which errors call `origin`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str, origin: &str) -> Result<Self, RecipeError> {
        let toml = |error: toml::de::Error| RecipeError::Toml {
            origin: origin.into(),
            problem: error.to_string().trim_end().to_string(),
        };
        let table: Table = text.parse().map_err(toml)?;
        let mut recipe = Self::default();
        for (given, value) in &table {
            let key = given.replace('-', "_");
            let Some((_, put)) = SETTINGS.iter().find(|(known, _)| *known == key) else {
                let near = nearest(&key, keys());
                return Err(RecipeError::Key { origin: origin.into(), key: given.clone(), near });
            };
            put(&mut recipe, value).map_err(|problem| RecipeError::Value {
                origin: origin.into(),
                key,
                value: value.to_string(),
                problem,
            })?;
        }
        Ok(recipe)
    }

    /// What this recipe says, and where it is silent what `other` says.
    pub fn or(self, other: Self) -> Self {
        macro_rules! merge {
            ($($key:ident),*) => {
                Self {
                    // Either says how long the run is.
                    epochs: self.epochs.or(if self.iterations.is_some() { None } else { other.epochs }),
                    iterations: self.iterations.or(if self.epochs.is_some() { None } else { other.iterations }),
                    freeze: if self.freeze.is_empty() { other.freeze } else { self.freeze },
                    $($key: self.$key.or(other.$key)),*
                }
            };
        }
        merge!(
            network,
            data,
            batch,
            accumulate,
            optimizer,
            lr,
            schedule,
            momentum,
            nesterov,
            weight_decay,
            decay,
            clip,
            ema,
            label_smoothing,
            auxiliary_weight,
            patience,
            augment,
            seed,
            precision,
            algorithm,
            recompute,
            init,
            normalization
        )
    }

    /// Puts what it says in place of what `config` says; network and data excepted, which a configuration has in full.
    /// The learning rate follows the optimiser where the recipe is silent on it.
    ///
    /// # Errors
    /// When its augmentation cannot be read.
    pub fn apply(&self, config: &mut TrainConfig) -> Result<(), String> {
        macro_rules! put {
            ($($key:ident),*) => {
                $(if let Some(value) = &self.$key { config.$key.clone_from(value); })*
            };
        }
        macro_rules! put_optional {
            ($($key:ident),*) => {
                $(if self.$key.is_some() { config.$key.clone_from(&self.$key); })*
            };
        }
        if let Some(optimizer) = self.optimizer
            && self.lr.is_none()
            && optimizer != config.optimizer
        {
            config.lr = optimizer.usual_lr();
        }
        put!(
            epochs,
            batch,
            accumulate,
            optimizer,
            lr,
            schedule,
            momentum,
            nesterov,
            weight_decay,
            decay,
            label_smoothing,
            auxiliary_weight,
            seed,
            precision,
            algorithm,
            recompute
        );
        put_optional!(iterations, clip, ema, patience, init, normalization);
        if self.epochs.is_some() && self.iterations.is_none() {
            config.iterations = None;
        }
        if !self.freeze.is_empty() {
            config.freeze.clone_from(&self.freeze);
        }
        if let Some(augment) = &self.augment {
            config.augment = augment.parse::<Augment>().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
