//! The training loop of an image classifier: steps, evaluation, log, checkpoints.
//!
//! A run's parameters follow from its configuration alone: interrupted at any point and resumed, it ends with the
//! same bytes as without the interruption, for any number of threads.

use crate::augment::Augment;
use crate::data::{self, DataError, Dataset, Samples, Split};
use crate::evaluate::{Evaluator, UseError, check_images, classifier_shape, image_name};
use crate::loader::{Loader, LoaderError, LoaderOptions};
use crate::metrics::Tally;
use crate::model::{Model, ModelError, ModelInfo, from_file, to_file, without_optimiser_state};
use crate::run_folder::{Checkpoint, RunError as FolderError, RunFolder};
use crate::schedule::{Goal, LearningRate, PlateauState, Schedule, ScheduleError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use striate_engine::{
    Algorithm, Isa, Parameters, Plan, PlanError, PlanOptions, Precision, RunError, Session,
};
use striate_graph::notation::{self, NotationErrors, PrintError};
use striate_graph::training::{
    self, ClassifierTraining, LABELS, LEARNING_RATE, LOGITS, LOSS, MOMENTUM, STEP, Sgd,
};
use striate_graph::{Graph, GraphErrors, Recompute, recompute};
use striate_interop::tensor_file::{TensorFile, TensorFileError};

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
    /// Images of a step.
    pub batch: usize,
    /// The base learning rate.
    pub lr: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Fraction of the velocity kept, where the schedule does not prescribe it.
    pub momentum: f32,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// L2 penalty.
    pub weight_decay: f32,
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
            batch: 128,
            lr: 0.1,
            schedule: "onecycle".parse().expect("a schedule's name"),
            momentum: Self::MOMENTUM,
            nesterov: false,
            weight_decay: 5e-4,
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
        self.recompute()?;
        self.plan(1).map(|_| ())
    }

    /// What its steps are planned with.
    fn plan(&self, threads: usize) -> Result<PlanOptions, ConfigError> {
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
    fn recompute(&self) -> Result<Recompute, ConfigError> {
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
        "{what} became {value} at step {step} (epoch {epoch}), where the learning rate was {lr:.3e}: it is too high"
    )]
    Diverged {
        /// The loss, the test loss, or a parameter.
        what: &'static str,
        /// NaN or infinite.
        value: f64,
        /// The step, from 0.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// The learning rate of that step.
        lr: f64,
    },
}

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
    /// Fraction of training images answered right, while learning.
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
    /// A step is done.
    Step(StepRecord),
    /// The test images are being answered: how many are.
    Evaluating {
        /// Done.
        done: u64,
        /// In all.
        of: u64,
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
}

/// Where a run stands, apart from its parameters; in a checkpoint's metadata.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    step: u64,
    steps_per_epoch: u64,
    /// The fingerprints of training and test images.
    data: [u64; 2],
    best_accuracy: f64,
    seconds: f64,
    plateau: PlateauState,
    /// Of the epoch under way.
    tally: Tally,
}

const POSITION: &str = "striate.position";

/// A run of training.
pub struct Trainer {
    config: TrainConfig,
    network: Graph,
    training: Graph,
    train: Arc<Dataset>,
    test: Arc<Dataset>,
    folder: RunFolder,
    session: Session,
    evaluator: Evaluator,
    rate: LearningRate,
    steps_per_epoch: u64,
    /// Steps of the whole run.
    total: u64,
    fingerprints: [u64; 2],
    checkpoint_every: Duration,
}

/// More steps than this are not counted: behind it a float64, as readers of JSON have it, skips numbers.
const MAX_STEPS: u64 = 1 << 53;

impl Trainer {
    /// Prepares a run of `config` on `network`, with its folder.
    ///
    /// # Errors
    /// When network, data and configuration do not fit together.
    pub fn new(
        config: TrainConfig,
        network: Graph,
        [train, test]: [Arc<Dataset>; 2],
        folder: RunFolder,
        threads: usize,
    ) -> Result<Self, TrainError> {
        config.check()?;
        check_data(&network, [&train, &test])?;
        let steps_per_epoch = train.len().checked_div(config.batch).unwrap_or(0) as u64;
        if steps_per_epoch == 0 {
            return Err(LoaderError::NoBatch { samples: train.len(), batch: config.batch }.into());
        }
        let total = config.epochs.saturating_mul(steps_per_epoch);
        if total > MAX_STEPS {
            return Err(TrainError::TooLong { epochs: config.epochs, steps_per_epoch });
        }
        let rate = LearningRate::new(config.schedule.clone(), config.lr, total, steps_per_epoch)?;
        let sgd = Sgd {
            momentum: config.momentum > 0.0,
            nesterov: config.nesterov,
            weight_decay: config.weight_decay,
            decay_all: true,
        };
        let how = ClassifierTraining { sgd, smoothing: config.label_smoothing, ..Default::default() };
        let training = recompute(&training::classifier(&network, &how)?, config.recompute()?);
        let plan = config.plan(threads)?;
        let mut session = Session::new(Plan::new(&training, plan)?)?;
        session.set_seed(config.seed);
        let (input, _) = classifier_shape(&network)?;
        let preprocess = train.preprocess([input[1], input[2]]);
        let evaluator = Evaluator::new(&network, test.clone(), &preprocess, plan)?;
        let fingerprints = [train.fingerprint(), test.fingerprint()];
        Ok(Self {
            config,
            network,
            training,
            train,
            test,
            folder,
            session,
            evaluator,
            rate,
            steps_per_epoch,
            total,
            fingerprints,
            checkpoint_every: Duration::from_secs(60),
        })
    }

    /// Prepares to go on with the run in `folder`: network, data and instruction set are those of its configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read, or what it names is not on this machine.
    pub fn resume(folder: RunFolder, threads: usize) -> Result<Self, TrainError> {
        let config: TrainConfig = folder.config()?;
        config.check()?;
        let network = notation::parse(&config.notation)
            .map_err(|errors| TrainError::Notation { path: folder.path().into(), errors })?;
        let open = |split| data::open(&config.data, split).map(Arc::new);
        let data = [open(Split::Train)?, open(Split::Test)?];
        Self::new(config, network, data, folder, threads)
    }

    /// What the run is asked to do.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The network in training.
    pub fn network(&self) -> &Graph {
        &self.network
    }

    /// The images to learn from and those to test on.
    pub fn data(&self) -> [&Dataset; 2] {
        [&self.train, &self.test]
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// How often a checkpoint is written within an epoch (at its end it always is); a minute unless told otherwise.
    pub fn checkpoint_every(&mut self, interval: Duration) {
        self.checkpoint_every = interval;
    }

    /// Trains to the end, from the last checkpoint where the folder has one, and saves the model.
    ///
    /// # Errors
    /// Where a step, a file or the loss fails; checkpoints written before stay.
    pub fn run(&mut self, observe: &mut dyn FnMut(Event)) -> Result<TrainReport, TrainError> {
        let mut position = self.restore()?;
        let steps = self.total;
        let start = Instant::now();
        let seconds_before = position.seconds;
        observe(Event::Start { step: position.step, steps, memory: self.session.arena_bytes() });

        let image = image_name(&self.training);
        let (_, classes) = classifier_shape(&self.network)?;
        let mut logits = vec![0.0; self.config.batch * classes];
        let mut loader = self.loader(position.step)?;
        let mut epoch_clock = Clock::default();
        let mut whole_clock = Clock::default();
        let mut saved = Instant::now();
        let mut last = None;
        let mut parameters = Parameters::default();
        loop {
            let step_start = Instant::now();
            let Some(batch) = loader.next_batch()? else { break };
            let waited = step_start.elapsed();
            let lr = self.rate.at(position.step);
            self.session.input(&image)?.copy_from_slice(&batch.images);
            self.session.input_u32(LABELS)?.copy_from_slice(&batch.labels);
            self.session.input(LEARNING_RATE)?[0] = lr as f32;
            if self.session.has_input(MOMENTUM) {
                let momentum = self.rate.momentum_at(position.step).unwrap_or(self.config.momentum as f64);
                self.session.input(MOMENTUM)?[0] = momentum as f32;
            }
            if self.session.has_input(STEP) {
                self.session.input_u32(STEP)?[0] = position.step as u32;
            }
            self.session.run()?;
            let loss = self.session.scalar(LOSS)?;
            let epoch = position.step / self.steps_per_epoch + 1;
            self.finite("the loss", loss as f64, position.step)?;
            for (to, row) in logits.chunks_mut(classes).zip(self.session.rows(LOGITS)?) {
                to.copy_from_slice(row);
            }
            position.tally.add(&logits, classes, &batch.labels, loss as f64);
            position.step += 1;
            for clock in [&mut epoch_clock, &mut whole_clock] {
                clock.add(batch.count, step_start.elapsed(), waited);
            }
            let ends_epoch = position.step.is_multiple_of(self.steps_per_epoch);
            observe(Event::Step(StepRecord {
                step: position.step,
                epoch,
                batch: (position.step - 1) % self.steps_per_epoch + 1,
                batches: self.steps_per_epoch,
                loss: position.tally.mean_loss(),
                accuracy: position.tally.accuracy(),
                images_per_s: epoch_clock.images_per_s(),
            }));
            if ends_epoch {
                self.session.store(&mut parameters);
                let of = self.test.len() as u64;
                let tested =
                    self.evaluator.run(&parameters, |done| observe(Event::Evaluating { done, of }))?;
                self.finite("the test loss", tested.mean_loss(), position.step - 1)?;
                self.check_parameters(&parameters, position.step - 1)?;
                self.rate.observe(match self.rate.goal() {
                    Goal::Min => tested.mean_loss(),
                    Goal::Max => tested.accuracy(),
                });
                let record = EpochRecord {
                    step: position.step,
                    epoch,
                    lr,
                    train_loss: position.tally.mean_loss(),
                    train_accuracy: position.tally.accuracy(),
                    test_loss: tested.mean_loss(),
                    test_accuracy: tested.accuracy(),
                    test_top5: tested.top5_accuracy(),
                    images_per_s: epoch_clock.images_per_s(),
                    input_share: epoch_clock.input_share(),
                    seconds: seconds_before + start.elapsed().as_secs_f64(),
                };
                position.tally = Tally::default();
                epoch_clock = Clock::default();
                self.folder.append(&record)?;
                observe(Event::Epoch(&record));
                if tested.accuracy() > position.best_accuracy {
                    position.best_accuracy = tested.accuracy();
                    self.model(&parameters).save(self.folder.checkpoint(Checkpoint::Best))?;
                }
                last = Some(record);
            }
            if ends_epoch || saved.elapsed() >= self.checkpoint_every {
                if !ends_epoch {
                    self.session.store(&mut parameters);
                    self.check_parameters(&parameters, position.step - 1)?;
                }
                position.seconds = seconds_before + start.elapsed().as_secs_f64();
                self.save(&position, &parameters)?;
                saved = Instant::now();
            }
        }
        self.session.store(&mut parameters);
        let last = match last {
            Some(record) => record,
            None => self.last_record()?,
        };
        let model = self.folder.model();
        self.model(&parameters).save(&model)?;
        let images_per_s =
            if whole_clock.images > 0 { whole_clock.images_per_s() } else { last.images_per_s };
        Ok(TrainReport { last, best_accuracy: position.best_accuracy, images_per_s, model })
    }

    /// Refuses a measurement of step `step` that is no number.
    fn finite(&self, what: &'static str, value: f64, step: u64) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let (epoch, lr) = (step / self.steps_per_epoch + 1, self.rate.at(step));
        Err(TrainError::Diverged { what, value, step, epoch, lr })
    }

    /// Refuses parameters that step `step` has left broken, though its loss, taken before them, was a number.
    fn check_parameters(&self, parameters: &Parameters, step: u64) -> Result<(), TrainError> {
        let mut elements = parameters.0.values().flat_map(|tensor| &tensor.data);
        match elements.find(|element| !element.is_finite()) {
            Some(broken) => self.finite("a parameter", *broken as f64, step),
            None => Ok(()),
        }
    }

    /// The last epoch of a run that was already at its end.
    fn last_record(&self) -> Result<EpochRecord, TrainError> {
        let log: Vec<EpochRecord> = self.folder.log()?;
        log.last().copied().ok_or_else(|| TrainError::Resume {
            path: self.folder.path().into(),
            problem: "the log is empty though the run is at its end".into(),
        })
    }

    fn loader(&self, step: u64) -> Result<Loader, TrainError> {
        let TrainConfig { batch, seed, epochs, .. } = self.config;
        let (mean, std) = (self.train.mean(), self.train.std());
        let (input, _) = classifier_shape(&self.network)?;
        let options = LoaderOptions {
            augment: self.config.augment,
            input: Some([input[1], input[2]]),
            fit: self.train.fit(),
            epochs: step / self.steps_per_epoch..epochs,
            first_batch: step % self.steps_per_epoch,
            ..LoaderOptions::training(batch, seed, epochs, mean, std)
        };
        Ok(Loader::new(self.train.clone(), None, options)?)
    }

    /// The model with these parameters.
    fn model(&self, parameters: &Parameters) -> Model {
        let (input, _) = classifier_shape(&self.network).expect("it has been trained");
        let preprocess = self.train.preprocess([input[1], input[2]]);
        let info = ModelInfo { classes: self.train.classes().to_vec(), preprocess };
        let graph = self.network.inference();
        let parameters = without_optimiser_state(&graph, parameters);
        Model { graph, parameters, info }
    }

    fn save(&self, position: &Position, parameters: &Parameters) -> Result<(), TrainError> {
        let mut file = TensorFile::default();
        let position = Position { plateau: self.rate.state(), ..position.clone() };
        let text = serde_json::to_string(&position).expect("numbers can be written");
        file.metadata.insert(POSITION.into(), text);
        for (name, tensor) in &parameters.0 {
            file.tensors.insert(name.clone(), to_file(tensor));
        }
        Ok(file.write(self.folder.checkpoint(Checkpoint::Latest))?)
    }

    /// Takes up the folder's last checkpoint, or initial parameters where there is none.
    fn restore(&mut self) -> Result<Position, TrainError> {
        let path = self.folder.checkpoint(Checkpoint::Latest);
        if !path.exists() {
            self.session.load(&Parameters::init(&self.training, self.config.seed))?;
            self.folder.truncate_after(0)?;
            let plateau = self.rate.state();
            return Ok(Position {
                step: 0,
                steps_per_epoch: self.steps_per_epoch,
                data: self.fingerprints,
                best_accuracy: 0.0,
                seconds: 0.0,
                plateau,
                tally: Tally::default(),
            });
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
        self.session.load(&parameters).map_err(|error| resume(error.to_string()))?;
        self.rate.restore(position.plateau);
        self.folder.truncate_after(position.step)?;
        Ok(position)
    }
}

/// Checks that the network can learn from `train` and be measured on `test`.
fn check_data(network: &Graph, [train, test]: [&Dataset; 2]) -> Result<(), UseError> {
    let (input, outputs) = classifier_shape(network)?;
    for (data, part) in [(train, "training"), (test, "test")] {
        if data.is_empty() {
            return Err(UseError::Empty { part });
        }
    }
    let (train_classes, test_classes) = (train.classes().len(), test.classes().len());
    if (train.shape(), train_classes) != (test.shape(), test_classes) {
        let (train, test) = (train.shape(), test.shape());
        return Err(UseError::Parts { train, train_classes, test, test_classes });
    }
    if train_classes != outputs {
        return Err(UseError::Classes { data: train_classes, network: outputs });
    }
    check_images(train, input)
}

/// Time and images.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    images: usize,
    time: Duration,
    waited: Duration,
}

impl Clock {
    fn add(&mut self, images: usize, time: Duration, waited: Duration) {
        self.images += images;
        self.time += time;
        self.waited += waited;
    }

    fn images_per_s(&self) -> f64 {
        self.images as f64 / self.time.as_secs_f64().max(1e-9)
    }

    fn input_share(&self) -> f64 {
        self.waited.as_secs_f64() / self.time.as_secs_f64().max(1e-9)
    }
}
