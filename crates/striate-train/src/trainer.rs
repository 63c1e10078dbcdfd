//! The training loop of an image classifier: steps, evaluation, log, checkpoints.
//!
//! A run's parameters follow from its configuration alone: interrupted at any point and resumed, it ends with the
//! same bytes as without the interruption, for any number of threads.

mod error;
pub(crate) mod learner;
mod position;
mod record;

pub use crate::config::{ConfigError, Normalization, TrainConfig};
pub use error::TrainError;
pub use record::{EpochRecord, Event, StepRecord, TrainReport};

use crate::data::{self, DataError, Dataset, Opening, Samples, Scale};
use crate::evaluate::{Evaluator, UseError, check_images, classifier_shape};
use crate::image_file::Preprocess;
use crate::loader::{Loader, LoaderError, LoaderOptions};
use crate::metrics::Tally;
use crate::model::{Model, ModelInfo, without_optimiser_state};
use crate::run_folder::{Checkpoint, RunFolder};
use crate::schedule::{Goal, LearningRate};
use learner::{At, Learner, averaged};
use record::Clock;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use striate_engine::{NotFinite, Origin, Parameters, RunError};
use striate_graph::{Graph, notation};

/// A run of training.
pub struct Trainer {
    config: TrainConfig,
    network: Graph,
    train: Arc<Dataset>,
    test: Arc<Dataset>,
    folder: RunFolder,
    learner: Learner,
    /// Parameters to start from, where they are not drawn.
    initial: Option<Parameters>,
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
        let total = config.steps(steps_per_epoch);
        if total > MAX_STEPS {
            return Err(TrainError::TooLong { epochs: config.epochs, steps_per_epoch });
        }
        let rate = LearningRate::new(config.schedule.clone(), config.lr, total, steps_per_epoch)?;
        let learner = Learner::new(&config, &network, threads)?;
        let preprocess = preprocess(&config, &network, &train)?;
        let plan = learner.session.plan().options();
        let evaluator = Evaluator::new(&network, test.clone(), &preprocess, plan)?;
        let fingerprints = [train.fingerprint(), test.fingerprint()];
        Ok(Self {
            config,
            network,
            train,
            test,
            folder,
            learner,
            initial: None,
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

    /// Epochs of the whole run, the last perhaps a part of one.
    pub fn epochs(&self) -> u64 {
        self.total.div_ceil(self.steps_per_epoch)
    }

    /// Starts from these parameters (those of them that the network has; the others are drawn) where the run has no
    /// checkpoint yet.
    pub fn start_from(&mut self, parameters: Parameters) {
        self.initial = Some(parameters);
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
        let (mut position, mut parameters) = self.restore()?;
        let steps = self.total;
        let start = Instant::now();
        let seconds_before = position.seconds;
        observe(Event::Start { step: position.step, steps, memory: self.learner.session.arena_bytes() });

        let (_, classes) = classifier_shape(&self.network)?;
        let mut loader = self.loader(position.step)?;
        let mut epoch_clock = Clock::default();
        let mut whole_clock = Clock::default();
        let mut saved = Instant::now();
        let mut last = None;
        while position.step < steps && !position.stopped {
            let step_start = Instant::now();
            let Some(batch) = loader.next_batch()? else { break };
            let waited = step_start.elapsed();
            let lr = self.rate.at(position.step);
            if whole_clock.images == 0 {
                observe(Event::Images { images: &batch.images, labels: &batch.labels });
            }
            let at = At { step: position.step, lr, momentum: self.rate.momentum_at(position.step) };
            let loss = self.learner.step(batch, at).map_err(|error| self.diverged(error, at.step))?;
            let epoch = position.step / self.steps_per_epoch + 1;
            position.tally.add(&self.learner.logits, classes, &batch.labels, loss);
            position.step += 1;
            for clock in [&mut epoch_clock, &mut whole_clock] {
                clock.add(batch.count, step_start.elapsed(), waited);
            }
            let ends_epoch = position.step.is_multiple_of(self.steps_per_epoch) || position.step == steps;
            observe(Event::Step(StepRecord {
                step: position.step,
                epoch,
                batch: (position.step - 1) % self.steps_per_epoch + 1,
                batches: self.steps_per_epoch,
                loss: position.tally.mean_loss(),
                accuracy: position.tally.accuracy(),
                images_per_s: epoch_clock.images_per_s(),
                input_share: epoch_clock.input_share(),
                step_loss: loss,
                lr,
            }));
            let stopping = self.stop.load(Ordering::Relaxed) && position.step < steps;
            if ends_epoch {
                self.learner.session.store(&mut parameters);
                let of = self.test.len() as u64;
                let tried = self.tried(&parameters);
                let tested = self.evaluator.run(&tried, |done| observe(Event::Evaluating { done, of }))?;
                self.finite("the test loss", tested.mean_loss(), position.step - 1)?;
                self.check_parameters(&parameters, position.step - 1)?;
                let measure = |goal| match goal {
                    Goal::Min => tested.mean_loss(),
                    Goal::Max => tested.accuracy(),
                };
                self.rate.observe(measure(self.rate.goal()));
                if let Some(patience) = self.config.patience {
                    position.stopped = position.waiting.observe(patience, measure(patience.goal));
                }
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
                    self.model(&tried).save(self.folder.checkpoint(Checkpoint::Best))?;
                }
                last = Some(record);
            }
            if ends_epoch || stopping || saved.elapsed() >= self.checkpoint_every {
                if !ends_epoch {
                    self.learner.session.store(&mut parameters);
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
        let last = match last {
            Some(record) => record,
            None => self.last_record()?,
        };
        let model = self.folder.model();
        self.model(&self.tried(&parameters)).save(&model)?;
        let images_per_s =
            if whole_clock.images > 0 { whole_clock.images_per_s() } else { last.images_per_s };
        let (best_accuracy, stopped) = (position.best_accuracy, position.stopped);
        Ok(TrainReport { last, best_accuracy, images_per_s, model, stopped })
    }

    /// The parameters that are evaluated and saved.
    fn tried<'a>(&self, parameters: &'a Parameters) -> Cow<'a, Parameters> {
        match self.config.ema {
            Some(_) => Cow::Owned(averaged(parameters)),
            None => Cow::Borrowed(parameters),
        }
    }

    /// An error of step `step`, as one of the run.
    fn diverged(&self, error: RunError, step: u64) -> TrainError {
        let RunError::NotFinite(found) = error else { return error.into() };
        let NotFinite { seen, value, origin } = *found;
        self.broken(seen.to_string(), value.into(), step, origin)
    }

    fn broken(&self, what: String, value: f64, step: u64, origin: Option<Origin>) -> TrainError {
        let (epoch, lr) = (step / self.steps_per_epoch + 1, self.rate.at(step));
        TrainError::Diverged { what, value, step, epoch, lr, origin }
    }

    /// Refuses a measurement of step `step` that is no number.
    fn finite(&self, what: &'static str, value: f64, step: u64) -> Result<(), TrainError> {
        if value.is_finite() { Ok(()) } else { Err(self.broken(what.into(), value, step, None)) }
    }

    /// Refuses parameters that step `step` has left broken, though its loss, taken before them, was a number.
    fn check_parameters(&self, parameters: &Parameters, step: u64) -> Result<(), TrainError> {
        for (name, tensor) in &parameters.0 {
            if let Some(broken) = tensor.data.iter().find(|element| !element.is_finite()) {
                return Err(self.broken(format!("the parameter {name}"), (*broken).into(), step, None));
            }
        }
        Ok(())
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
        let mut options = loader_options(&self.config, &self.network, &self.train)?;
        options.epochs = step / self.steps_per_epoch..self.epochs();
        options.first_batch = step % self.steps_per_epoch;
        Ok(Loader::new(self.train.clone(), None, options)?)
    }

    /// The model with these parameters.
    fn model(&self, parameters: &Parameters) -> Model {
        let preprocess = preprocess(&self.config, &self.network, &self.train).expect("it was checked");
        let info = ModelInfo { classes: self.train.classes().to_vec(), preprocess };
        let graph = self.network.inference();
        let parameters = without_optimiser_state(&graph, parameters);
        Model { graph, parameters, info }
    }
}

/// Mean and standard deviation of each channel.
type Normalizers<'a> = (&'a [f32], &'a [f32]);

/// What the images are normalised by: the configuration's, or the data set's own.
pub(crate) fn normalization<'a>(
    config: &'a TrainConfig,
    data: &'a Dataset,
) -> Result<Normalizers<'a>, ConfigError> {
    let Some(Normalization { mean, std }) = &config.normalization else {
        return Ok((data.mean(), data.std()));
    };
    let channels = data.channels();
    let is_sound = |values: &[f32]| values.len() == channels && values.iter().all(|x| x.is_finite());
    if is_sound(mean) && is_sound(std) && !std.contains(&0.0) {
        Ok((mean, std))
    } else {
        Err(ConfigError::Normalization { channels })
    }
}

/// How a picture becomes an input, when nothing is changed at random.
pub(crate) fn preprocess(
    config: &TrainConfig,
    network: &Graph,
    data: &Dataset,
) -> Result<Preprocess, TrainError> {
    let (input, _) = classifier_shape(network)?;
    let (mean, std) = normalization(config, data)?;
    let (mean, std) = (mean.to_vec(), std.to_vec());
    Ok(Preprocess { mean, std, ..data.preprocess([input[1], input[2]]) })
}

/// What batches of the first epoch are made of.
pub(crate) fn loader_options(
    config: &TrainConfig,
    network: &Graph,
    data: &Dataset,
) -> Result<LoaderOptions, TrainError> {
    let (mean, std) = normalization(config, data)?;
    let (input, _) = classifier_shape(network)?;
    Ok(LoaderOptions {
        augment: config.augment,
        input: Some([input[1], input[2]]),
        fit: data.fit(),
        // Room for the closest random crop that is worth its pixels, and for all that `resize` asks for.
        scale: Scale::AtLeast((input[1].max(input[2]) * 5 / 2).max(config.augment.resize[1] as usize)),
        ..LoaderOptions::training(config.batch, config.seed, 1, mean, std)
    })
}

/// Checks that the network can learn from `train` and be measured on `test`.
pub(crate) fn check_data(network: &Graph, [train, test]: [&Dataset; 2]) -> Result<(), UseError> {
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
