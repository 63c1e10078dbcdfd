//! Where a run stands: written into its checkpoints, and taken up from them.

use super::{TrainError, Trainer};
use crate::metrics::Tally;
use crate::model::{from_file, to_file};
use crate::optimizer::Waiting;
use crate::run_folder::Checkpoint;
use crate::schedule::PlateauState;
use serde::{Deserialize, Serialize};
use striate_engine::Parameters;
use striate_interop::tensor_file::TensorFile;

/// Where a run stands, apart from its parameters; in a checkpoint's metadata.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) step: u64,
    pub(super) steps_per_epoch: u64,
    /// The fingerprints of training and test images.
    pub(super) data: [u64; 2],
    pub(super) best_accuracy: f64,
    pub(super) seconds: f64,
    pub(super) plateau: PlateauState,
    /// Of the epoch under way.
    pub(super) tally: Tally,
    #[serde(default)]
    pub(super) waiting: Waiting,
    /// Whether patience was at an end.
    #[serde(default)]
    pub(super) stopped: bool,
}

const POSITION: &str = "striate.position";

impl Trainer {
    pub(super) fn save(&self, position: &Position, parameters: &Parameters) -> Result<(), TrainError> {
        let mut file = TensorFile::default();
        let position = Position { plateau: self.rate.state(), ..position.clone() };
        let text = serde_json::to_string(&position).expect("numbers can be written");
        file.metadata.insert(POSITION.into(), text);
        for (name, tensor) in &parameters.0 {
            file.tensors.insert(name.clone(), to_file(tensor));
        }
        Ok(file.write(self.folder.checkpoint(Checkpoint::Latest))?)
    }

    /// Takes up the folder's last checkpoint, or initial parameters where there is none; with the parameters.
    pub(super) fn restore(&mut self) -> Result<(Position, Parameters), TrainError> {
        let path = self.folder.checkpoint(Checkpoint::Latest);
        if !path.exists() {
            let given = self.initial.take();
            let is_given = given.is_some();
            let parameters = self.learner.start(given.unwrap_or_default(), self.config.seed)?;
            self.folder.truncate_after(0)?;
            let plateau = self.rate.state();
            let position = Position {
                step: 0,
                steps_per_epoch: self.steps_per_epoch,
                data: self.fingerprints,
                best_accuracy: 0.0,
                seconds: 0.0,
                plateau,
                tally: Tally::default(),
                waiting: Waiting::default(),
                stopped: false,
            };
            if is_given {
                // The file they came from is not needed again.
                self.save(&position, &parameters)?;
            } else if let Some(init) = &self.config.init {
                return Err(TrainError::NoInitial { init: init.clone() });
            }
            return Ok((position, parameters));
        }
        let file = TensorFile::read(&path)?;
        let resume = |problem: String| TrainError::Resume { path: path.clone(), problem };
        let text = file
            .metadata
            .get(POSITION)
            .ok_or_else(|| resume("it does not say at which step it was".into()))?;
        let position: Position = serde_json::from_str(text).map_err(|error| resume(error.to_string()))?;
        if position.steps_per_epoch != self.steps_per_epoch {
            let (was, is) = (position.steps_per_epoch, self.steps_per_epoch);
            return Err(resume(format!(
                "its epochs had {was} steps, now they have {is}; the data have changed"
            )));
        }
        for ((part, was), is) in ["training", "test"].into_iter().zip(position.data).zip(self.fingerprints) {
            if was != is {
                return Err(resume(format!(
                    "the {part} images are not those it has seen (fingerprint {is:016x}, then {was:016x})"
                )));
            }
        }
        if position.step > self.total {
            let (step, total) = (position.step, self.total);
            return Err(resume(format!("it is at step {step}, the run ends at step {total}")));
        }
        let parameters = from_file(file.tensors);
        self.learner.session.load(&parameters).map_err(|error| resume(error.to_string()))?;
        self.rate.restore(position.plateau);
        self.folder.truncate_after(position.step)?;
        Ok((position, parameters))
    }
}
