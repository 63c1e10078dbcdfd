//! Why training stopped.

use crate::config::ConfigError;
use crate::data::DataError;
use crate::evaluate::UseError;
use crate::loader::LoaderError;
use crate::model::ModelError;
use crate::run_folder::RunError as FolderError;
use crate::schedule::ScheduleError;
use crate::transfer::TransferError;
use std::path::PathBuf;
use striate_engine::{Origin, PlanError, RunError};
use striate_graph::GraphErrors;
use striate_graph::notation::NotationErrors;
use striate_interop::tensor_file::TensorFileError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The network cannot be trained.
    #[error("{0}")]
    Graph(#[from] GraphErrors),
    /// The network cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The model cannot be evaluated.
    #[error(transparent)]
    Use(#[from] UseError),
    /// Images cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoaderError),
    /// The schedule does not fit the run.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The run's folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] TensorFileError),
    /// A checkpoint that is no place to go on from.
    #[error("{}: cannot be resumed from: {problem}; restore what it was made with, or delete it to start over", path.display())]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The model cannot be saved.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The configuration contradicts itself or this machine.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run's data cannot be opened.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network in the run's configuration cannot be read.
    #[error("{}: the network in the run's configuration cannot be read; restore the file, or begin a new run\n{errors}", path.display())]
    Notation {
        /// The run's folder.
        path: PathBuf,
        /// What is wrong with it.
        errors: NotationErrors,
    },
    /// More steps than numbers in a log can count.
    #[error(
        "{epochs} epochs of {steps_per_epoch} steps are more than the 2^53 steps that can be counted; ask for fewer epochs"
    )]
    TooLong {
        /// Epochs asked for.
        epochs: u64,
        /// Steps of an epoch.
        steps_per_epoch: u64,
    },
    /// A loss or parameter is no number any more; nothing of it has been written to the run's folder.
    #[error(
        "{what} became {value} at step {step} (epoch {epoch}), where the learning rate was {lr:.3e}: {}",
        cause(origin)
    )]
    Diverged {
        /// The loss, the test loss, a parameter, or a parameter's gradient.
        what: String,
        /// NaN or infinite.
        value: f64,
        /// The step, from 0.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// The learning rate of that step.
        lr: f64,
        /// Where the first value was that is no number, as far as it could be found.
        origin: Option<Origin>,
    },
    /// It was asked to, by the flag of [`Trainer::stop_when`](super::Trainer::stop_when); where it stands is saved.
    #[error("stopped at step {step} of {steps}, as asked; what was learned is saved")]
    Stopped {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
    /// A run without the parameters it starts from.
    #[error("the run is to start from {init}, but was stopped before it had read it; begin it anew")]
    NoInitial {
        /// The file.
        init: String,
    },
    /// The run cannot start from the file it names.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// What made a run diverge.
fn cause(origin: &Option<Origin>) -> String {
    match origin {
        Some(Origin::Input { .. }) => format!("{}; the data are broken", shown(origin)),
        Some(Origin::Parameter { .. }) => format!("{}; the steps before were too long", shown(origin)),
        Some(Origin::Step { .. }) => format!("{}; the learning rate is too high", shown(origin)),
        None => "it is too high".into(),
    }
}

fn shown(origin: &Option<Origin>) -> String {
    origin.as_ref().map(Origin::to_string).unwrap_or_default()
}
