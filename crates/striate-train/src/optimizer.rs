//! Optimisers, decay and early stopping as data with text forms: `sgd`, `adamw:beta2=0.95`, `weights`, `5,goal=max`.

use crate::schedule::Goal;
use crate::text::{Args, nearest};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use striate_graph::training::Rule;

/// How parameters follow their gradients, all as PyTorch defines it; the learning rate, and of SGD the momentum, are
/// settings of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Optimizer {
    /// `sgd`: stochastic gradient descent.
    #[default]
    Sgd,
    /// `adam:beta1=…,beta2=…,eps=…`, 0.9, 0.999 and 10⁻⁸ unless given; the decay is an L2 penalty.
    Adam(Moments),
    /// `adamw:…`: the same, but weights decay by themselves.
    AdamW(Moments),
    /// `rmsprop:alpha=…,eps=…,momentum=…`, 0.99, 10⁻⁸ and 0 unless given.
    RmsProp {
        /// The part of the mean squared gradient that is kept.
        alpha: f64,
        /// Bounds the step where gradients vanish.
        eps: f64,
        /// The part of the velocity that is kept.
        momentum: f64,
    },
}

/// Adam's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The part of the mean gradient that is kept.
    pub beta1: f64,
    /// The part of the mean squared gradient that is kept.
    pub beta2: f64,
    /// Bounds the step where gradients vanish.
    pub eps: f64,
}

const NAMES: [&str; 4] = ["sgd", "adam", "adamw", "rmsprop"];

impl Optimizer {
    /// The learning rate that fits it where nobody says another.
    pub fn usual_lr(&self) -> f64 {
        match self {
            Self::Sgd => 0.1,
            _ => 1e-3,
        }
    }

    /// Its rule in a training graph, with SGD's form of momentum.
    pub(crate) fn rule(&self, momentum: f32, nesterov: bool) -> Rule {
        let adam =
            |Moments { beta1, beta2, eps }: Moments, decoupled| Rule::Adam { beta1, beta2, eps, decoupled };
        match *self {
            Self::Sgd => Rule::Sgd { momentum: momentum > 0.0, nesterov },
            Self::Adam(moments) => adam(moments, false),
            Self::AdamW(moments) => adam(moments, true),
            Self::RmsProp { alpha, eps, momentum } => Rule::RmsProp { alpha, eps, momentum: momentum > 0.0 },
        }
    }
}

/// A fraction from 0 to below 1.
fn fraction(args: &mut Args, key: &'static str, usual: f64) -> Result<f64, String> {
    let value = args.take_key(key)?.unwrap_or(usual);
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{key} is {value}, it goes from 0 to below 1"))
    }
}

fn eps(args: &mut Args) -> Result<f64, String> {
    let value: f64 = args.take_key("eps")?.unwrap_or(1e-8);
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err(format!("eps is {value}, it is above 0")) }
}

impl FromStr for Optimizer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut args = Args::split(text);
        let moments = |args: &mut Args| -> Result<Moments, String> {
            let [beta1, beta2] = [fraction(args, "beta1", 0.9)?, fraction(args, "beta2", 0.999)?];
            Ok(Moments { beta1, beta2, eps: eps(args)? })
        };
        let optimizer = match args.name {
            "sgd" => Self::Sgd,
            "adam" => Self::Adam(moments(&mut args)?),
            "adamw" => Self::AdamW(moments(&mut args)?),
            "rmsprop" => Self::RmsProp {
                alpha: fraction(&mut args, "alpha", 0.99)?,
                eps: eps(&mut args)?,
                momentum: fraction(&mut args, "momentum", 0.0)?,
            },
            name => {
                let hint =
                    nearest(name, NAMES).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
                return Err(format!("there is no optimizer '{name}'; {hint}there are {}", NAMES.join(", ")));
            }
        };
        args.finish()?;
        Ok(optimizer)
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sgd => f.write_str("sgd"),
            Self::Adam(Moments { beta1, beta2, eps }) => {
                write!(f, "adam:beta1={beta1},beta2={beta2},eps={eps}")
            }
            Self::AdamW(Moments { beta1, beta2, eps }) => {
                write!(f, "adamw:beta1={beta1},beta2={beta2},eps={eps}")
            }
            Self::RmsProp { alpha, eps, momentum } => {
                write!(f, "rmsprop:alpha={alpha},eps={eps},momentum={momentum}")
            }
        }
    }
}

/// What the weight decay applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Decay {
    /// Every parameter.
    #[default]
    All,
    /// Weights alone: not biases, not normalisations' scales and shifts (He et al. 2019, bag of tricks, section 3.1).
    Weights,
}

impl FromStr for Decay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "weights" => Ok(Self::Weights),
            _ => Err(format!("'{text}' is neither all nor weights")),
        }
    }
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::All { "all" } else { "weights" })
    }
}

/// When a run stops before its end: `5`, or `5,goal=max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Patience {
    /// Epochs without a better result that are suffered.
    pub epochs: u64,
    /// The test loss that no longer falls, or the test accuracy that no longer rises.
    pub goal: Goal,
}

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = format!("patience:{text}");
        let mut args = Args::split(&whole);
        let goal = args.take_key("goal")?.unwrap_or(Goal::Min);
        let epochs = args.take("epochs")?.ok_or("how many epochs? write 5, or 5,goal=max")?;
        args.finish()?;
        if epochs == 0 { Err("it is at least 1 epoch".into()) } else { Ok(Self { epochs, goal }) }
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},goal={}", self.epochs, self.goal)
    }
}

/// The best result so far, and how long ago it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// None before the first.
    pub best: Option<f64>,
    /// Epochs since.
    pub stalled: u64,
}

impl Waiting {
    /// Takes in an epoch's result; whether patience is at an end.
    pub fn observe(&mut self, patience: Patience, measure: f64) -> bool {
        let is_better = self.best.is_none_or(|best| match patience.goal {
            Goal::Min => measure < best,
            Goal::Max => measure > best,
        });
        if is_better {
            *self = Self { best: Some(measure), stalled: 0 };
        } else {
            self.stalled += 1;
        }
        self.stalled >= patience.epochs
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> String {
                value.to_string()
            }
        }
    )*};
}
as_text!(Optimizer, Decay, Patience);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back() {
        for text in [
            "sgd",
            "adam:beta1=0.9,beta2=0.999,eps=0.00000001",
            "adamw:beta1=0.8,beta2=0.95,eps=0.001",
            "rmsprop:alpha=0.9,eps=1,momentum=0.9",
        ] {
            assert_eq!(text.parse::<Optimizer>().unwrap().to_string(), text);
        }
        let short: Optimizer = "adamw:beta2=0.95".parse().unwrap();
        assert_eq!(short, Optimizer::AdamW(Moments { beta1: 0.9, beta2: 0.95, eps: 1e-8 }));
        assert_eq!("5".parse::<Patience>().unwrap().to_string(), "5,goal=min");
        assert_eq!("7,goal=max".parse::<Patience>().unwrap(), Patience { epochs: 7, goal: Goal::Max });
        assert_eq!("weights".parse::<Decay>().unwrap().to_string(), "weights");
    }

    #[test]
    fn other_texts_say_what_would_be_right() {
        for (text, part) in [
            ("adm", "did you mean adam?"),
            ("lamb", "there are sgd, adam, adamw, rmsprop"),
            ("adam:beta1=1", "beta1 is 1, it goes from 0 to below 1"),
            ("adam:gamma=1", "it takes beta1, beta2, eps"),
            ("sgd:0.9", "takes no arguments"),
            ("rmsprop:eps=0", "above 0"),
        ] {
            let error = text.parse::<Optimizer>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!("0".parse::<Patience>().is_err() && "goal=max".parse::<Patience>().is_err());
        assert!("biases".parse::<Decay>().unwrap_err().contains("all nor weights"));
    }

    #[test]
    fn patience_ends_after_so_many_epochs_without_progress() {
        let patience: Patience = "2,goal=max".parse().unwrap();
        let mut waiting = Waiting::default();
        let ends: Vec<bool> = [0.5, 0.6, 0.6, 0.7, 0.7, 0.6]
            .iter()
            .map(|measure| waiting.observe(patience, *measure))
            .collect();
        assert_eq!(ends, [false, false, false, false, false, true]);
    }
}
