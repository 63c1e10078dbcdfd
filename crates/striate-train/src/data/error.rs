//! What can be wrong with a data set or the way it was asked for.

use std::path::PathBuf;

use thiserror::Error;

use super::{cifar, idx};

/// What can be wrong with a data set or the way it was asked for.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file of the data set.
    #[error(transparent)]
    Idx(#[from] idx::IdxError),
    /// A file of CIFAR.
    #[error(transparent)]
    Cifar(#[from] cifar::CifarError),
    /// A name that is neither a data set nor a folder.
    #[error(
        "no data set or folder '{asked}'{}; known are mnist, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR and a folder of IDX files",
        nearest.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
    )]
    Unknown {
        /// What was asked for.
        asked: String,
        /// The known name closest to it.
        nearest: Option<&'static str>,
    },
    /// A data set that is not inside the program.
    #[error("{name} is not built in; give the folder of its files as {name}:DIR")]
    NotEmbedded {
        /// Its name.
        name: &'static str,
    },
    /// A folder that lacks files.
    #[error("{} lacks {} (each with or without .gz)", dir.display(), missing.join(", "))]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The files it lacks.
        missing: Vec<String>,
    },
    /// Pixels, labels and shape that do not go together.
    #[error("{name}: {pixels} pixel values and {labels} labels do not go with images of shape {shape:?}")]
    Shape {
        /// The data set.
        name: String,
        /// The number of pixel values.
        pixels: usize,
        /// The number of labels.
        labels: usize,
        /// Channels, height, width.
        shape: [usize; 3],
    },
    /// Mean and deviation that do not go with the channels.
    #[error(
        "{name}: mean {mean:?} and deviation {std:?} for {channels} channels; each needs one (deviations > 0)"
    )]
    Statistics {
        /// The data set.
        name: String,
        /// The means.
        mean: Vec<f32>,
        /// The deviations.
        std: Vec<f32>,
        /// The number of channels.
        channels: usize,
    },
    /// A label that names no class.
    #[error("{name}: sample {index} has label {label}, but there are {classes} classes")]
    Label {
        /// The data set.
        name: String,
        /// Which sample.
        index: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// A part to hold out that leaves one side empty.
    #[error(
        "holding out {fraction} of {samples} samples leaves a side empty; choose a fraction between 0 and 1"
    )]
    HoldOut {
        /// The fraction asked for.
        fraction: f64,
        /// The number of samples.
        samples: usize,
    },
}
