//! The training loop of an image classifier: steps, evaluation, log, checkpoints.
//!
//! A run's parameters follow from its configuration alone: interrupted at any point and resumed, it ends with the
//! same bytes as without the interruption, for any number of threads.

mod error;
mod position;
mod record;

pub use crate::config::{ConfigError, TrainConfig};
pub use error::TrainError;
pub use record::{EpochRecord, Event, StepRecord, TrainReport};

use crate::data::{self, DataError, Dataset, Opening, Samples, Scale};
use crate::evaluate::{Evaluator, UseError, check_images, classifier_shape, image_name};
use crate::loader::{Loader, LoaderError, LoaderOptions};
use crate::metrics::Tally;
use crate::model::{Model, ModelInfo, without_optimiser_state};
use crate::run_folder::{Checkpoint, RunFolder};
use crate::schedule::{Goal, LearningRate};
use record::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use striate_engine::{Parameters, Plan, Session};
use striate_graph::notation;
use striate_graph::training::{
    self, ClassifierTraining, LABELS, LEARNING_RATE, LOGITS, LOSS, MIX, MOMENTUM, OTHER_LABELS, STEP, Sgd,
};
use striate_graph::{Graph, recompute};

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
    stop: Arc<AtomicBool>,
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
        let mixed = config.augment.mixes();
        let how = ClassifierTraining { sgd, smoothing: config.label_smoothing, mixed, ..Default::default() };
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
            stop: Arc::default(),
        })
    }

    /// Prepares to go on with the run in `folder`: network, data and instruction set are those of its configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read, or what it names is not on this machine.
    pub fn resume(folder: RunFolder, threads: usize) -> Result<Self, TrainError> {
        let open = |source: &str| data::open_both(source, &mut Opening::default());
        Self::resume_with(folder, threads, |source| Ok(open(source)?.map(Arc::new)))
    }

    /// The same, its data opened by `open`.
    ///
    /// # Errors
    /// As of [`resume`](Self::resume).
    pub fn resume_with(
        folder: RunFolder,
        threads: usize,
        open: impl FnOnce(&str) -> Result<[Arc<Dataset>; 2], DataError>,
    ) -> Result<Self, TrainError> {
        let config: TrainConfig = folder.config()?;
        config.check()?;
        let network = notation::parse(&config.notation)
            .map_err(|errors| TrainError::Notation { path: folder.path().into(), errors })?;
        let data = open(&config.data)?;
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

    /// Once `stop` is true, the run ends after the step under way: with a checkpoint and [`TrainError::Stopped`]. At the
    /// end of an epoch the test images are answered first.
    pub fn stop_when(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
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
            if self.session.has_input(OTHER_LABELS) {
                self.session.input_u32(OTHER_LABELS)?.copy_from_slice(&batch.other_labels);
                self.session.input(MIX)?[0] = batch.mix;
            }
            self.session.input(LEARNING_RATE)?[0] = lr as f32;
            if self.session.has_input(MOMENTUM) {
                let momentum = self.rate.momentum_at(position.step).unwrap_or(self.config.momentum as f64);
                self.session.input(MOMENTUM)?[0] = momentum as f32;
            }
            if self.session.has_input(STEP) {
                self.session.input_u32(STEP)?[0] = position.step as u32;
            }
            if whole_clock.images == 0 {
                observe(Event::Images { images: &batch.images, labels: &batch.labels });
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
                input_share: epoch_clock.input_share(),
                step_loss: loss as f64,
                lr,
            }));
            let stopping = self.stop.load(Ordering::Relaxed) && position.step < self.total;
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
                observe(Event::Parameters { step: position.step, parameters: &parameters });
                observe(Event::Epoch(&record));
                if tested.accuracy() > position.best_accuracy {
                    position.best_accuracy = tested.accuracy();
                    self.model(&parameters).save(self.folder.checkpoint(Checkpoint::Best))?;
                }
                last = Some(record);
            }
            if ends_epoch || stopping || saved.elapsed() >= self.checkpoint_every {
                if !ends_epoch {
                    self.session.store(&mut parameters);
                    self.check_parameters(&parameters, position.step - 1)?;
                }
                position.seconds = seconds_before + start.elapsed().as_secs_f64();
                self.save(&position, &parameters)?;
                saved = Instant::now();
            }
            if stopping {
                return Err(TrainError::Stopped { step: position.step, steps });
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
            // Room for the closest random crop that is worth its pixels, and for all that `resize` asks for.
            scale: Scale::AtLeast(
                (input[1].max(input[2]) * 5 / 2).max(self.config.augment.resize[1] as usize),
            ),
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
