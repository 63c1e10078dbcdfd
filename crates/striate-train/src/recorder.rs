//! What is kept of a run for those who look at it: curves in its folder, and events for TensorBoard.

use crate::curves::{self, CurvesError};
use crate::run_folder::RunError;
use crate::runs::Run;
use crate::trainer::{EpochRecord, Event, StepRecord, Trainer};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use striate_draw::{Cell, DrawError, Image, Sheet};
use striate_engine::Parameters;
use striate_graph::Graph;
use striate_interop::atomic::WriteError;
use striate_interop::tfevents::EventWriter;

/// Curves are drawn again when this many times as long has passed as drawing takes.
const PATIENCE: u32 = 50;
/// TensorBoard hears of every step of this number.
const STEPS: u64 = 10;
/// Images of the sheet for TensorBoard.
const IMAGES: usize = 40;

/// Why something could not be kept. The run does not depend on it.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The run's own log cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The curves cannot be drawn or written.
    #[error(transparent)]
    Curves(#[from] CurvesError),
    /// The images cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The events cannot be written.
    #[error(transparent)]
    Events(#[from] WriteError),
}

/// Keeps what a run's events tell.
pub struct Recorder {
    folder: PathBuf,
    curves: Curves,
    tensorboard: Option<TensorBoard>,
}

/// When curves are drawn.
struct Curves {
    drawn: Instant,
    took: Duration,
    stale: bool,
}

/// What TensorBoard hears.
struct TensorBoard {
    folder: PathBuf,
    writer: Option<EventWriter>,
    network: Graph,
    classes: Vec<String>,
    /// Of the network's input: channels, height, width, and what its values were divided by and less.
    input: [usize; 3],
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Recorder {
    /// Keeps curves in the folder of the trainer's run.
    pub fn new(trainer: &Trainer) -> Self {
        let curves = Curves { drawn: Instant::now(), took: Duration::ZERO, stale: false };
        Self { folder: trainer.folder().path().to_path_buf(), curves, tensorboard: None }
    }

    /// The same, and events for TensorBoard in `folder`.
    pub fn tensorboard(self, trainer: &Trainer, folder: impl AsRef<Path>) -> Self {
        let network = trainer.network().inference();
        let input = network.image().and_then(|image| network.ty(image).chw()).unwrap_or_default();
        let [train, _] = trainer.data();
        let tensorboard = TensorBoard {
            folder: folder.as_ref().to_path_buf(),
            writer: None,
            classes: train.classes().to_vec(),
            input,
            mean: train.mean().to_vec(),
            std: train.std().to_vec(),
            network,
        };
        Self { tensorboard: Some(tensorboard), ..self }
    }

    /// Keeps what an event tells.
    ///
    /// # Errors
    /// When something cannot be written. What failed once fails again: whoever goes on, does so without this.
    pub fn observe(&mut self, event: &Event) -> Result<(), RecordError> {
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.observe(event)?;
        }
        if let Event::Epoch(_) = event {
            self.curves.stale = true;
            if self.curves.took.is_zero() || self.curves.drawn.elapsed() > self.curves.took * PATIENCE {
                self.draw()?;
            }
        }
        Ok(())
    }

    /// Draws what has not been drawn yet; to be called at the end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> Result<(), RecordError> {
        if let Some(writer) = self.tensorboard.as_mut().and_then(|tensorboard| tensorboard.writer.as_mut()) {
            writer.flush()?;
        }
        if self.curves.stale { self.draw() } else { Ok(()) }
    }

    fn draw(&mut self) -> Result<(), RecordError> {
        let start = Instant::now();
        draw_curves(&self.folder)?;
        self.curves = Curves { drawn: Instant::now(), took: start.elapsed(), stale: false };
        Ok(())
    }
}

/// Writes `curves.svg` and `curves.png` into the folder of a run.
///
/// # Errors
/// When the run cannot be read, or they cannot be written.
pub fn draw_curves(folder: &Path) -> Result<(), RecordError> {
    let scene = curves::figure(&Run::open(folder)?).draw();
    for name in ["curves.svg", "curves.png"] {
        curves::write_scene(&scene, &folder.join(name))?;
    }
    Ok(())
}

impl TensorBoard {
    fn observe(&mut self, event: &Event) -> Result<(), RecordError> {
        if let Event::Start { step, .. } = event {
            // What is done is what steps up to this one have done; a step tells when it is.
            let mut writer = EventWriter::create(&self.folder, if *step == 0 { 0 } else { step + 1 })?;
            if *step == 0 {
                writer.graph(&self.network)?;
            }
            writer.flush()?;
            self.writer = Some(writer);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match event {
            Event::Images { images, labels } => {
                let sheet = sheet(images, labels, self.input, [&self.mean, &self.std], &self.classes)?;
                writer.image(
                    0,
                    "images as they are learned from",
                    [sheet.width(), sheet.height()],
                    &sheet.png()?,
                )?;
            }
            Event::Step(step) => steps(writer, step)?,
            Event::Parameters { step, parameters } => histograms(writer, &self.network, *step, parameters)?,
            Event::Epoch(record) => epoch(writer, record)?,
            Event::Start { .. } | Event::Evaluating { .. } => {}
        }
        Ok(())
    }
}

fn steps(writer: &mut EventWriter, step: &StepRecord) -> Result<(), WriteError> {
    if !step.step.is_multiple_of(STEPS) {
        return Ok(());
    }
    writer.scalars(step.step, &[("loss/step", step.step_loss), ("schedule/lr", step.lr)])
}

fn histograms(
    writer: &mut EventWriter,
    network: &Graph,
    step: u64,
    parameters: &Parameters,
) -> Result<(), WriteError> {
    for (node, _, _) in network.parameters() {
        if let Some(tensor) = parameters.get(&node.name) {
            writer.histogram(step, &node.name.replace('.', "/"), &tensor.data)?;
        }
    }
    Ok(())
}

fn epoch(writer: &mut EventWriter, record: &EpochRecord) -> Result<(), WriteError> {
    let values = [
        ("loss/train", record.train_loss),
        ("loss/test", record.test_loss),
        ("accuracy/train", record.train_accuracy),
        ("accuracy/test", record.test_accuracy),
        ("accuracy/test_top5", record.test_top5),
        ("speed/images_per_s", record.images_per_s),
        ("speed/input_share", record.input_share),
    ];
    writer.scalars(record.step, &values)?;
    writer.flush()
}

/// The first images of a batch, as the network sees them, with the names of their classes.
fn sheet(
    images: &[f32],
    labels: &[u32],
    shape: [usize; 3],
    statistics: [&[f32]; 2],
    classes: &[String],
) -> Result<Image, DrawError> {
    let [channels, ..] = shape;
    let size = shape.iter().product::<usize>().max(1);
    let cell = |(image, label): (&[f32], &u32)| {
        let name = classes.get(*label as usize).map_or("", String::as_str);
        // What is neither grey nor coloured is shown by its first channel.
        let image = match channels {
            1..=4 => Image::from_normalised(image, shape, statistics)?,
            _ => {
                let first: Vec<f32> = image.iter().step_by(channels.max(1)).copied().collect();
                Image::from_normalised(
                    &first,
                    [1, shape[1], shape[2]],
                    statistics.map(|values| &values[..1]),
                )?
            }
        };
        Ok(Cell::new(image, [name]))
    };
    let cells: Vec<Cell> =
        images.chunks(size).zip(labels).take(IMAGES).map(cell).collect::<Result<_, DrawError>>()?;
    Sheet::new("").side(64.0).draw(&cells)?.image(1.5)
}
