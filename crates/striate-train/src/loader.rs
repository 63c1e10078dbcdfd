//! Batches made ahead of time by threads of their own.

use std::any::Any;
use std::collections::{BTreeMap, TryReserveError};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use striate_engine::available_threads;
use striate_kernels::rng::{Purpose, Rng};
use thiserror::Error;

use crate::augment::mix::Labels;
use crate::augment::{Augment, Pipeline, PipelineError};
use crate::data::{DataError, Samples, Scale};
use crate::frame::FrameError;
use crate::image_file::Fit;
use crate::picture::Picture;
use crate::views::View;

/// What batches are made of and in what order.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Samples in a batch.
    pub batch: usize,
    /// The seed of order and augmentation.
    pub seed: u64,
    /// A new random order in each epoch, or the order of the sample numbers.
    pub shuffle: bool,
    /// Leaves out the samples at the end of an epoch that do not fill a batch.
    pub drop_last: bool,
    /// Random changes of the images.
    pub augment: Augment,
    /// Height and width of the images that the network sees. `None` is the pictures' own size, and that of the input where
    /// they have none.
    pub image: Option<[usize; 2]>,
    /// Height and width of the network's input; larger than the images, they get a margin of background
    /// ([`Frame`](crate::frame::Frame)). `None` is the images' size.
    pub input: Option<[usize; 2]>,
    /// How a picture of another size becomes an image. `None` is its middle.
    pub fit: Option<Fit>,
    /// Looks at each picture instead of random changes: so many inputs for each sample, one after the other, in the order
    /// of the samples.
    pub views: Vec<View>,
    /// How large pictures are asked for.
    pub scale: Scale,
    /// Mean of each channel, on a scale from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// The epochs to go through, numbered from 0.
    pub epochs: Range<u64>,
    /// The batch of the first epoch to begin with: the number of batches already seen in it.
    pub first_batch: u64,
    /// Batches made ahead, 1 to 64.
    pub prefetch: usize,
    /// Threads that make batches, each one batch at a time, 1 to 64; they change no batch. 0 is one, and where pictures
    /// have to be decoded as many as there are processors.
    pub workers: usize,
}

impl LoaderOptions {
    /// For training from the beginning: shuffled full batches, not augmented.
    pub fn training(batch: usize, seed: u64, epochs: u64, mean: &[f32], std: &[f32]) -> Self {
        Self {
            batch,
            seed,
            shuffle: true,
            drop_last: true,
            augment: Augment::NONE,
            image: None,
            input: None,
            fit: None,
            views: Vec::new(),
            scale: Scale::Full,
            mean: mean.to_vec(),
            std: std.to_vec(),
            epochs: 0..epochs,
            first_batch: 0,
            prefetch: 3,
            workers: 0,
        }
    }

    /// For one pass over all samples in order.
    pub fn evaluation(batch: usize, mean: &[f32], std: &[f32]) -> Self {
        Self { shuffle: false, drop_last: false, ..Self::training(batch, 0, 1, mean, std) }
    }
}

/// One batch of network inputs.
#[derive(Debug)]
pub struct Batch {
    /// float32, (batch, height, width, channels); what lies behind the last sample of a partial batch is 0.
    pub images: Vec<f32>,
    /// The class of each sample, 0 behind the last; of mixed images the one that counts most.
    pub labels: Vec<u32>,
    /// The other class of mixed images; otherwise the same as `labels`.
    pub other_labels: Vec<u32>,
    /// How much `labels` count of 1, the rest being `other_labels`'; 1/2 at least.
    pub mix: f32,
    /// Which sample of the data set each is, [`Batch::NO_SAMPLE`] behind the last.
    pub ids: Vec<u32>,
    /// The number of samples, less than the batch size in a partial batch.
    pub count: usize,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The batch within the epoch, from 0.
    pub index: u64,
    /// Whether it is the last one of its epoch.
    pub ends_epoch: bool,
}

impl Batch {
    /// Stands in `ids` where there is no sample.
    pub const NO_SAMPLE: u32 = u32::MAX;
}

/// Why there are no (more) batches.
#[derive(Debug, Error)]
pub enum LoaderError {
    /// A sample cannot be read.
    #[error("sample {id}: {source}")]
    Sample {
        /// Which sample.
        id: u32,
        /// Why.
        source: DataError,
    },
    /// A picture cannot be brought to the size of the images.
    #[error("{title}: {source}")]
    Fit {
        /// What the sample is called.
        title: String,
        /// Why.
        source: PipelineError,
    },
    /// What is asked for does not go together.
    #[error(transparent)]
    Pipeline(PipelineError),
    /// Pictures of any size for a network of any size.
    #[error("the pictures have no size of their own, and none is given that they should be brought to")]
    NoSize,
    /// A sample is not of the shape that all have.
    #[error(
        "sample {id} has {found} bytes, which are no picture of shape {shape:?} (channels, height, width): it has {}",
        shape.iter().product::<usize>()
    )]
    SampleSize {
        /// Which sample.
        id: u32,
        /// Its size in bytes.
        found: usize,
        /// Channels, height, width.
        shape: [usize; 3],
    },
    /// The images do not go into the network's input.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Batches so large that there is no memory for them.
    #[error("no memory for {buffers} batches of {batch} inputs of {len} elements each; use a smaller batch")]
    Memory {
        /// The number of batches made ahead, and one.
        buffers: usize,
        /// The batch size.
        batch: usize,
        /// The elements of an input.
        len: usize,
    },
    /// A sample that does not exist.
    #[error("sample {id} was asked for, there are {samples}")]
    NoSample {
        /// Which sample.
        id: u32,
        /// The number of samples.
        samples: usize,
    },
    /// Not even one batch.
    #[error("{samples} samples make no batch of {batch}; a batch has at least one sample and at most all")]
    NoBatch {
        /// The number of samples.
        samples: usize,
        /// The batch size.
        batch: usize,
    },
    /// A place to begin that lies behind the end of the epoch.
    #[error("cannot begin behind batch {first} of an epoch of {batches} batches")]
    Position {
        /// The number of batches to skip.
        first: u64,
        /// The number of batches in an epoch.
        batches: u64,
    },
    /// The system refused a thread.
    #[error("cannot start a thread that makes batches: {0}")]
    Thread(#[source] std::io::Error),
    /// A thread broke down.
    #[error("a thread that makes batches broke down: {0}")]
    Panic(String),
    /// The error was reported before.
    #[error("the loader has stopped after an error")]
    Stopped,
}

/// A batch, or why there is none, with its number in the order of delivery.
type Delivery = (u64, Result<Batch, LoaderError>);

/// Hands out batches that threads make ahead of time, in buffers that go round: none is allocated after the
/// first. Which thread made a batch leaves no trace in it. Dropping the loader ends the threads.
#[derive(Debug)]
pub struct Loader {
    /// Batches ready; `None` only while the loader is dropped.
    ready: Option<Receiver<Delivery>>,
    /// Those that came before their turn.
    early: BTreeMap<u64, Result<Batch, LoaderError>>,
    /// Batches to be filled anew.
    spent: Option<SyncSender<Batch>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    current: Option<Batch>,
    batches_per_epoch: u64,
    /// The number of the next batch.
    next: u64,
    /// Batches in all.
    total: u64,
    shape: [usize; 3],
    started: Option<Instant>,
    waited: Duration,
}

impl Loader {
    /// Batches of all samples, or of those in `ids`.
    pub fn new(
        samples: Arc<dyn Samples>,
        ids: Option<Vec<u32>>,
        options: LoaderOptions,
    ) -> Result<Self, LoaderError> {
        let mut ids = ids.unwrap_or_else(|| (0..samples.len() as u32).collect());
        if let Some(&id) = ids.iter().find(|id| **id as usize >= samples.len()) {
            return Err(LoaderError::NoSample { id, samples: samples.len() });
        }
        let views = options.views.len();
        if views > 0 {
            ids = ids.into_iter().flat_map(|id| std::iter::repeat_n(id, views)).collect();
        }
        let (batch, prefetch) = (options.batch, options.prefetch.clamp(1, 64));
        let batches = match ids.len().checked_div(batch) {
            Some(full) if options.drop_last => full,
            Some(_) => ids.len().div_ceil(batch),
            None => 0,
        };
        if batches == 0 {
            return Err(LoaderError::NoBatch { samples: ids.len(), batch });
        }
        let batches_per_epoch = batches as u64;
        if options.first_batch > batches_per_epoch {
            return Err(LoaderError::Position { first: options.first_batch, batches: batches_per_epoch });
        }
        let image = options.image.or(samples.size()).or(options.input).ok_or(LoaderError::NoSize)?;
        let input = options.input.unwrap_or(image);
        // Images of a size of their own are taken as they are, but for other looks at them.
        let whole = Fit::crop(image[0].max(image[1]));
        let own = samples.size() == Some(image) && options.views.iter().all(|view| *view == View::CENTER);
        let fit = if own { whole } else { options.fit.unwrap_or(whole) };
        let image = [samples.channels(), image[0], image[1]];
        let pipeline = Pipeline::new(&options.augment, image, input, [&options.mean, &options.std], fit)?;
        let shape = pipeline.shape();
        let epochs = options.epochs.end.saturating_sub(options.epochs.start);
        let total = epochs.saturating_mul(batches_per_epoch).saturating_sub(options.first_batch);

        let workers = match options.workers {
            0 if samples.is_slow() => available_threads(),
            workers => workers,
        };
        let workers = workers.clamp(1, 64).min(total.max(1).try_into().unwrap_or(usize::MAX));
        // One is with the caller, and each worker fills one.
        let buffers = prefetch.max(workers) + 1;
        let (to_ready, ready) = sync_channel(buffers + workers);
        let (spent, from_spent) = sync_channel(buffers);
        for _ in 0..buffers {
            let len = pipeline.len();
            let memory = |_| LoaderError::Memory { buffers, batch, len };
            let buffer = Batch {
                images: filled(batch.saturating_mul(len), 0.0).map_err(memory)?,
                labels: filled(batch, 0).map_err(memory)?,
                other_labels: filled(batch, 0).map_err(memory)?,
                mix: 1.0,
                ids: filled(batch, Batch::NO_SAMPLE).map_err(memory)?,
                count: 0,
                epoch: 0,
                index: 0,
                ends_epoch: false,
            };
            // The queue has room for all buffers, and its other end is alive.
            let _ = spent.send(buffer);
        }
        let start = options.epochs.start;
        let (epoch, index) = match options.first_batch {
            first if first == batches_per_epoch => (start + 1, 0),
            first => (start, first),
        };
        let tickets =
            Tickets { spent: from_spent, number: 0, total, epoch, index, shuffled: None, order: [].into() };
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            samples,
            ids: ids.into(),
            options,
            batches_per_epoch,
            tickets: Mutex::new(tickets),
            stop: stop.clone(),
        });
        let mut loader = Self {
            ready: Some(ready),
            early: BTreeMap::new(),
            spent: Some(spent),
            threads: Vec::new(),
            stop,
            current: None,
            batches_per_epoch,
            next: 0,
            total,
            shape,
            started: None,
            waited: Duration::ZERO,
        };
        for _ in 0..workers {
            let mut worker =
                Worker { shared: shared.clone(), pipeline: pipeline.clone(), scratch: Vec::new() };
            let ready = to_ready.clone();
            let thread = std::thread::Builder::new().name("striate-loader".into());
            loader.threads.push(thread.spawn(move || worker.run(&ready)).map_err(LoaderError::Thread)?);
        }
        Ok(loader)
    }

    /// The next batch, or `None` behind the last epoch. The batch before it is given back to be filled anew.
    pub fn next_batch(&mut self) -> Result<Option<&Batch>, LoaderError> {
        if let (Some(batch), Some(spent)) = (self.current.take(), &self.spent) {
            // Threads that have made the last batch take no more buffers.
            let _ = spent.send(batch);
        }
        if self.next == self.total {
            return Ok(None);
        }
        let now = Instant::now();
        self.started.get_or_insert(now);
        let mut waits = false;
        let delivery = loop {
            let Some(ready) = &self.ready else { break None };
            let received = match self.early.remove(&self.next) {
                Some(batch) => break Some(batch),
                None => match ready.try_recv() {
                    Err(TryRecvError::Empty) => {
                        waits = true;
                        ready.recv().ok()
                    }
                    other => other.ok(),
                },
            };
            let Some((number, batch)) = received else { break None };
            self.early.insert(number, batch);
        };
        if waits {
            self.waited += now.elapsed();
        }
        match delivery.unwrap_or(Err(LoaderError::Stopped)) {
            Ok(batch) => self.current = Some(batch),
            Err(error) => {
                self.stop();
                return Err(error);
            }
        }
        self.next += 1;
        Ok(self.current.as_ref())
    }

    /// The number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch
    }

    /// Channels, height and width of the inputs.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// How long the caller has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The part of the time since the first batch was asked for that went into waiting, from 0 to 1.
    pub fn input_share(&self) -> f64 {
        let total = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        if total.is_zero() { 0.0 } else { self.waited.as_secs_f64() / total.as_secs_f64() }
    }

    /// Ends the threads: with the queues closed at their next batch, with the flag at their next sample.
    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        (self.ready, self.spent) = (None, None);
        self.early.clear();
        for thread in self.threads.drain(..) {
            // Its panics were caught and sent.
            let _ = thread.join();
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>, TryReserveError> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len)?;
    buffer.resize(len, value);
    Ok(buffer)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message").into()
}

/// What all workers know.
struct Shared {
    samples: Arc<dyn Samples>,
    /// The sample numbers as they were given: what each epoch shuffles.
    ids: Arc<[u32]>,
    options: LoaderOptions,
    batches_per_epoch: u64,
    tickets: Mutex<Tickets>,
    stop: Arc<AtomicBool>,
}

/// Which batch is to be made next, and buffers to make it in.
struct Tickets {
    spent: Receiver<Batch>,
    number: u64,
    total: u64,
    epoch: u64,
    index: u64,
    /// The epoch that `order` belongs to.
    shuffled: Option<u64>,
    /// The sample numbers in the order of the epoch.
    order: Arc<[u32]>,
}

/// A batch to be made.
struct Ticket {
    number: u64,
    epoch: u64,
    index: u64,
    order: Arc<[u32]>,
    batch: Batch,
}

impl Shared {
    /// The next batch to be made, as soon as there is a buffer for it; `None` where there is none any more.
    fn ticket(&self) -> Option<Ticket> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.number == tickets.total {
            return None;
        }
        let batch = tickets.spent.recv().ok()?;
        let (number, epoch, index) = (tickets.number, tickets.epoch, tickets.index);
        if tickets.shuffled != Some(epoch) {
            tickets.order = self.order(epoch);
            tickets.shuffled = Some(epoch);
        }
        tickets.number += 1;
        (tickets.epoch, tickets.index) =
            if index + 1 == self.batches_per_epoch { (epoch + 1, 0) } else { (epoch, index + 1) };
        Some(Ticket { number, epoch, index, order: tickets.order.clone(), batch })
    }

    fn order(&self, epoch: u64) -> Arc<[u32]> {
        if !self.options.shuffle || !self.options.views.is_empty() {
            return self.ids.clone();
        }
        let mut order = self.ids.to_vec();
        Rng::new(self.options.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        order.into()
    }
}

struct Worker {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    scratch: Vec<u8>,
}

impl Worker {
    /// Makes batches until there are no more to make, or the other side has gone.
    fn run(&mut self, ready: &SyncSender<Delivery>) {
        while let Some(ticket) = self.shared.ticket() {
            let number = ticket.number;
            let filled = catch_unwind(AssertUnwindSafe(|| self.fill(ticket)));
            let filled = match filled {
                Ok(Ok(None)) => return,
                Ok(Ok(Some(batch))) => Ok(batch),
                Ok(Err(error)) => Err(error),
                Err(panic) => Err(LoaderError::Panic(message(&*panic))),
            };
            let failed = filled.is_err();
            if ready.send((number, filled)).is_err() || failed {
                return;
            }
        }
    }

    /// Fills a batch; `None` when the loader has been stopped meanwhile.
    fn fill(&mut self, ticket: Ticket) -> Result<Option<Batch>, LoaderError> {
        let Ticket { epoch, index, order, mut batch, .. } = ticket;
        let Self { shared, pipeline, scratch } = self;
        let options = &shared.options;
        let start = index as usize * options.batch;
        let ids = &order[start..order.len().min(start + options.batch)];
        let inputs = batch.images.chunks_exact_mut(pipeline.len());
        for (at, (&id, input)) in ids.iter().zip(inputs).enumerate() {
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let picture = shared.samples.picture(id as usize, options.scale, scratch);
            let picture = picture.map_err(|source| LoaderError::Sample { id, source })?;
            let Picture { height, width, channels, pixels } = picture;
            let shape = [channels, height, width];
            if pixels.len() != shape.iter().product::<usize>() {
                return Err(LoaderError::SampleSize { id, found: pixels.len(), shape });
            }
            let made = match options.views.len() {
                0 => pipeline.apply(picture, options.seed, epoch, id, input),
                views => pipeline.view(picture, options.views[(start + at) % views], input),
            };
            made.map_err(|source| LoaderError::Fit { title: shared.samples.title(id as usize), source })?;
            batch.labels[at] = shared.samples.label(id as usize);
            batch.ids[at] = id;
        }
        let (used, [channels, height, width]) = (ids.len() * pipeline.len(), pipeline.shape());
        batch.images[used..].fill(0.0);
        batch.labels[ids.len()..].fill(0);
        batch.other_labels.copy_from_slice(&batch.labels);
        batch.mix = match options.augment.mix(options.seed, epoch, index, [height, width]) {
            Some(mix) => {
                let (first, second) = (&mut batch.labels[..ids.len()], &mut batch.other_labels[..ids.len()]);
                mix.apply(&mut batch.images[..used], [channels, width], Labels { first, second })
            }
            None => 1.0,
        };
        batch.ids[ids.len()..].fill(Batch::NO_SAMPLE);
        batch.count = ids.len();
        (batch.epoch, batch.index, batch.ends_epoch) = (epoch, index, index + 1 == shared.batches_per_epoch);
        Ok(Some(batch))
    }
}

impl From<PipelineError> for LoaderError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Frame(error) => Self::Frame(error),
            error => Self::Pipeline(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Images of one pixel with two channels: twice the sample's number, and 7; some samples misbehave.
    #[derive(Default)]
    struct Counting {
        len: usize,
        fails: Option<usize>,
        panics: Option<usize>,
        short: Option<usize>,
        delay: Duration,
        read: AtomicUsize,
    }

    impl Samples for Counting {
        fn len(&self) -> usize {
            self.len
        }

        fn channels(&self) -> usize {
            2
        }

        fn size(&self) -> Option<[usize; 2]> {
            Some([1, 1])
        }

        fn label(&self, id: usize) -> u32 {
            id as u32 % 10
        }

        fn picture<'a>(
            &'a self,
            id: usize,
            _: Scale,
            scratch: &'a mut Vec<u8>,
        ) -> Result<Picture<'a>, DataError> {
            self.read.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.delay);
            assert_ne!(self.panics, Some(id), "on purpose");
            if self.fails == Some(id) {
                return Err(DataError::HoldOut { fraction: 0.0, samples: 0 });
            }
            scratch.clear();
            scratch.extend([(2 * id) as u8, 7]);
            let pixels = if self.short == Some(id) { &scratch[..1] } else { &scratch[..] };
            Ok(Picture { height: 1, width: 1, channels: 2, pixels })
        }
    }

    fn counting(len: usize) -> Counting {
        Counting { len, ..Counting::default() }
    }

    fn training(batch: usize, epochs: u64) -> LoaderOptions {
        LoaderOptions::training(batch, 5, epochs, &[0.0; 2], &[1.0 / 255.0; 2])
    }

    fn evaluation(batch: usize) -> LoaderOptions {
        LoaderOptions::evaluation(batch, &[0.0; 2], &[1.0 / 255.0; 2])
    }

    /// Epoch, index, sample numbers and images (as bits) of all batches.
    fn all(mut loader: Loader) -> Vec<(u64, u64, Vec<u32>, Vec<u32>)> {
        let mut seen = Vec::new();
        while let Some(batch) = loader.next_batch().unwrap() {
            let bits = batch.images.iter().map(|value| value.to_bits()).collect();
            seen.push((batch.epoch, batch.index, batch.ids.clone(), bits));
        }
        assert!(loader.next_batch().unwrap().is_none());
        seen
    }

    #[test]
    fn evaluation_sees_every_sample_once_in_order() {
        let mut loader = Loader::new(Arc::new(counting(10)), None, evaluation(4)).unwrap();
        assert_eq!((loader.batches_per_epoch(), loader.shape()), (3, [2, 1, 1]));
        for (index, count) in [4, 4, 2].into_iter().enumerate() {
            let batch = loader.next_batch().unwrap().unwrap();
            assert_eq!((batch.count, batch.index, batch.ends_epoch), (count, index as u64, index == 2));
            for at in 0..count {
                let id = (4 * index + at) as u32;
                assert_eq!((batch.ids[at], batch.labels[at]), (id, id % 10));
                assert!((batch.images[2 * at] - 2.0 * id as f32).abs() < 1e-4);
                assert!((batch.images[2 * at + 1] - 7.0).abs() < 1e-4);
            }
            assert!(batch.images[2 * count..].iter().all(|value| *value == 0.0));
            assert!(batch.ids[count..].iter().all(|id| *id == Batch::NO_SAMPLE));
        }
        assert!(loader.next_batch().unwrap().is_none());
    }

    #[test]
    fn training_shuffles_anew_in_each_epoch_and_drops_the_partial_batch() {
        let seen = all(Loader::new(Arc::new(counting(103)), None, training(10, 3)).unwrap());
        assert_eq!(seen.len(), 30);
        let epoch = |epoch: u64| -> Vec<u32> {
            seen.iter().filter(|batch| batch.0 == epoch).flat_map(|batch| batch.2.clone()).collect()
        };
        let orders = [epoch(0), epoch(1), epoch(2)];
        for order in &orders {
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), 100);
        }
        assert!(orders[0] != orders[1] && orders[1] != orders[2]);
        assert!(!orders[0].is_sorted());
        assert_eq!(seen, all(Loader::new(Arc::new(counting(103)), None, training(10, 3)).unwrap()));
    }

    #[test]
    fn a_run_resumed_anywhere_sees_the_same_batches() {
        let options = LoaderOptions { augment: Augment::DIGITS, input: Some([3, 2]), ..training(4, 3) };
        let whole = all(Loader::new(Arc::new(counting(13)), None, options.clone()).unwrap());
        for (epoch, first_batch) in [(0, 0), (0, 1), (1, 2), (1, 3), (2, 0), (2, 3)] {
            let options = LoaderOptions { epochs: epoch..3, first_batch, ..options.clone() };
            let rest = all(Loader::new(Arc::new(counting(13)), None, options).unwrap());
            assert_eq!(rest, whole[(epoch * 3 + first_batch) as usize..]);
        }
    }

    #[test]
    fn mixed_batches_are_the_same_for_any_number_of_workers_and_say_how_they_are_mixed() {
        let augment = "mixup=0.4,cutmix=1".parse().unwrap();
        let options = LoaderOptions { augment, input: Some([3, 2]), ..training(4, 5) };
        let with = |workers| {
            let options = LoaderOptions { workers, ..options.clone() };
            let mut loader = Loader::new(Arc::new(counting(23)), None, options).unwrap();
            let mut seen = Vec::new();
            while let Some(batch) = loader.next_batch().unwrap() {
                let bits: Vec<u32> = batch.images.iter().map(|value| value.to_bits()).collect();
                seen.push((batch.labels.clone(), batch.other_labels.clone(), batch.mix.to_bits(), bits));
                // Partners have each other's labels.
                let mirrored: Vec<u32> = batch.labels.iter().rev().copied().collect();
                assert_eq!(batch.other_labels, mirrored);
                assert!((0.5..=1.0).contains(&batch.mix));
                let mut classes: Vec<u32> = batch.ids.iter().map(|id| id % 10).collect();
                let mut labels = batch.labels.clone();
                classes.sort_unstable();
                labels.sort_unstable();
                assert_eq!(labels, classes);
            }
            seen
        };
        let one = with(1);
        assert_eq!(one.len(), 25);
        assert!(one.iter().any(|batch| batch.2 != one[0].2));
        for workers in [2, 5] {
            assert_eq!(with(workers), one, "{workers} workers");
        }
    }

    #[test]
    fn every_view_of_a_sample_is_an_input() {
        let views = crate::views::Views { crops: crate::views::Crops::Flip, scales: vec![] };
        let views = views.list(Fit::crop(1), [1, 1]).unwrap();
        let options = LoaderOptions { views, input: Some([1, 2]), ..evaluation(3) };
        let mut loader = Loader::new(Arc::new(counting(4)), None, options).unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = loader.next_batch().unwrap() {
            seen.extend(batch.ids[..batch.count].iter().copied());
        }
        assert_eq!(seen, [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn any_number_of_workers_makes_the_same_batches() {
        let options = LoaderOptions { augment: Augment::DIGITS, input: Some([3, 2]), ..training(4, 5) };
        let with = |workers| {
            let samples = Counting { delay: Duration::from_micros(50), ..counting(23) };
            all(Loader::new(Arc::new(samples), None, LoaderOptions { workers, ..options.clone() }).unwrap())
        };
        let one = with(1);
        assert_eq!(one.len(), 25);
        for workers in [2, 3, 4, 64] {
            assert_eq!(with(workers), one, "{workers} workers");
        }
    }

    #[test]
    fn an_error_comes_in_its_turn_whoever_meets_it() {
        for workers in 1..5 {
            let samples = Counting { fails: Some(5), delay: Duration::from_micros(50), ..counting(80) };
            let options = LoaderOptions { workers, ..evaluation(2) };
            let mut loader = Loader::new(Arc::new(samples), None, options).unwrap();
            assert_eq!(loader.next_batch().unwrap().unwrap().ids, [0, 1]);
            assert_eq!(loader.next_batch().unwrap().unwrap().ids, [2, 3]);
            let error = loader.next_batch().unwrap_err();
            assert!(matches!(error, LoaderError::Sample { id: 5, .. }), "{error}");
            assert!(matches!(loader.next_batch(), Err(LoaderError::Stopped)));
        }
    }

    /// Grey pictures that are four times as wide as high, from one row up.
    struct Wide;

    impl Samples for Wide {
        fn len(&self) -> usize {
            6
        }

        fn channels(&self) -> usize {
            1
        }

        fn size(&self) -> Option<[usize; 2]> {
            None
        }

        fn label(&self, _: usize) -> u32 {
            0
        }

        fn picture<'a>(
            &'a self,
            id: usize,
            _: Scale,
            scratch: &'a mut Vec<u8>,
        ) -> Result<Picture<'a>, DataError> {
            let (height, width) = (id + 1, 4 * (id + 1));
            scratch.clear();
            scratch.extend((0..height * width).map(|at| if at % width < width / 2 { 0 } else { 200 }));
            Ok(Picture { height, width, channels: 1, pixels: scratch })
        }
    }

    #[test]
    fn pictures_of_any_size_are_brought_to_the_inputs() {
        let plain = LoaderOptions::evaluation(6, &[0.0], &[1.0 / 255.0]);
        let none = Loader::new(Arc::new(Wide), None, plain.clone()).err().unwrap();
        assert!(matches!(none, LoaderError::NoSize), "{none}");
        let options = LoaderOptions { input: Some([4, 4]), ..plain.clone() };
        let mut loader = Loader::new(Arc::new(Wide), None, options).unwrap();
        assert_eq!(loader.shape(), [1, 4, 4]);
        let batch = loader.next_batch().unwrap().unwrap();
        for row in batch.images.chunks(4) {
            assert!(row[0] < row[3] && row[0] < 100.0 && row[3] > 100.0, "{row:?}");
        }
        let fit = Some(Fit::crop(3));
        let options = LoaderOptions { image: Some([4, 4]), fit, ..plain };
        let error = Loader::new(Arc::new(Wide), None, options).err().unwrap();
        assert!(error.to_string().contains("shorter side of 3, images of 4x4"), "{error}");
    }

    #[test]
    fn a_subset_is_all_that_is_seen() {
        let ids = vec![3, 1, 8];
        let seen = all(Loader::new(Arc::new(counting(9)), Some(ids), evaluation(2)).unwrap());
        assert_eq!((&seen[0].2[..], &seen[1].2[..]), (&[3, 1][..], &[8, Batch::NO_SAMPLE][..]));
    }

    #[test]
    fn buffers_go_round() {
        let options = LoaderOptions { prefetch: 2, ..training(10, 20) };
        let mut loader = Loader::new(Arc::new(counting(100)), None, options).unwrap();
        let mut buffers = HashSet::new();
        while let Some(batch) = loader.next_batch().unwrap() {
            buffers.insert([batch.images.as_ptr() as usize, batch.ids.as_ptr() as usize]);
        }
        assert_eq!(buffers.len(), 3);
    }

    #[test]
    fn the_thread_runs_ahead_by_the_prefetch_and_no_further() {
        let samples = Arc::new(counting(100));
        let options = LoaderOptions { prefetch: 2, ..evaluation(10) };
        let mut loader = Loader::new(samples.clone(), None, options).unwrap();
        loader.next_batch().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while samples.read.load(Ordering::Relaxed) < 30 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(samples.read.load(Ordering::Relaxed), 30);
    }

    #[test]
    fn errors_and_panics_reach_the_caller_and_stay() {
        let broken = [
            (Counting { fails: Some(5), ..counting(8) }, "sample 5: holding out"),
            (Counting { panics: Some(5), ..counting(8) }, "broke down"),
            (Counting { short: Some(5), ..counting(8) }, "sample 5 has 1 bytes"),
        ];
        for (samples, expected) in broken {
            let mut loader = Loader::new(Arc::new(samples), None, evaluation(2)).unwrap();
            assert_eq!(loader.next_batch().unwrap().unwrap().ids, [0, 1]);
            assert_eq!(loader.next_batch().unwrap().unwrap().ids, [2, 3]);
            let text = loader.next_batch().unwrap_err().to_string();
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
            assert!(matches!(loader.next_batch(), Err(LoaderError::Stopped)));
        }
    }

    #[test]
    fn dropping_a_loader_ends_its_thread() {
        let samples = Arc::new(counting(1000));
        for taken in 0..4 {
            let mut loader = Loader::new(samples.clone(), None, training(10, u64::MAX / 1000)).unwrap();
            for _ in 0..taken {
                loader.next_batch().unwrap();
            }
            drop(loader);
            assert_eq!(Arc::strong_count(&samples), 1, "the thread still holds the samples");
        }
    }

    #[test]
    fn waiting_is_measured() {
        let slow = Counting { delay: Duration::from_millis(5), ..counting(4) };
        let mut loader = Loader::new(Arc::new(slow), None, evaluation(2)).unwrap();
        assert_eq!(loader.input_share(), 0.0);
        while loader.next_batch().unwrap().is_some() {}
        assert!(loader.waited() >= Duration::from_millis(10), "{:?}", loader.waited());
        assert!((0.1..=1.0).contains(&loader.input_share()), "{}", loader.input_share());
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        let new = |samples: usize, ids: Option<Vec<u32>>, options| {
            Loader::new(Arc::new(counting(samples)), ids, options).map(|_| ()).unwrap_err()
        };
        assert!(matches!(new(9, None, training(10, 1)), LoaderError::NoBatch { samples: 9, batch: 10 }));
        assert!(matches!(new(9, None, evaluation(0)), LoaderError::NoBatch { .. }));
        assert!(matches!(new(0, None, evaluation(1)), LoaderError::NoBatch { .. }));
        assert!(matches!(new(9, Some(vec![9]), evaluation(1)), LoaderError::NoSample { id: 9, samples: 9 }));
        let late = LoaderOptions { first_batch: 4, ..training(3, 1) };
        assert!(matches!(new(9, None, late), LoaderError::Position { first: 4, batches: 3 }));
        let huge = LoaderOptions { batch: usize::MAX / 2, ..evaluation(1) };
        assert!(matches!(new(9, None, huge), LoaderError::Memory { len: 2, buffers: 4, .. }));
        let small = LoaderOptions { input: Some([0, 1]), ..training(3, 1) };
        assert!(matches!(new(9, None, small), LoaderError::Frame(FrameError::TooLarge { .. })));
    }
}
