//! What can be wrong with a data set or the way it was asked for.

use std::path::PathBuf;

use thiserror::Error;

use super::{cifar, idx, pictures, sheets, source};

/// What can be wrong with a data set or the way it was asked for.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file of the data set.
    #[error(transparent)]
    Idx(#[from] idx::IdxError),
    /// A file of CIFAR.
    #[error(transparent)]
    Cifar(#[from] cifar::CifarError),
    /// A sheet of CIFAR.
    #[error(transparent)]
    Sheet(#[from] sheets::SheetError),
    /// Pictures in files.
    #[error(transparent)]
    Pictures(#[from] pictures::PicturesError),
    /// A name that is neither a data set nor a folder.
    #[error(
        "no data set or folder '{asked}'{}; known are {} and a folder of pictures or of IDX files",
        nearest.as_ref().map(|name| format!(", did you mean {name}?")).unwrap_or_default(),
        source::SCHEMES.map(|scheme| scheme.form).join(", ")
    )]
    Unknown {
        /// What was asked for.
        asked: String,
        /// The known name, or that of the file or folder beside it, closest to it.
        nearest: Option<String>,
    },
    /// Options behind `?` that cannot be.
    #[error("{asked}: {what}; options are {}", source::OPTIONS.map(|(form, _)| form).join(", "))]
    Options {
        /// The data set with its options.
        asked: String,
        /// What is wrong with them.
        what: String,
    },
    /// A data set that is not inside the program.
    #[error("{name} is not built in; say where it is as {name}:DIR")]
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
