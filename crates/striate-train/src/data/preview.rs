//! Pictures as a network sees them, on a contact sheet.

use striate_draw::{Cell, DrawError, Image, MAX_CELLS, Scene, Sheet};
use striate_kernels::rng::{Purpose, Rng};
use thiserror::Error;

use super::{DataError, Dataset, Samples, Scale};
use crate::augment::{Augment, Pipeline, PipelineError};

/// Why there is no sheet.
#[derive(Debug, Error)]
pub enum PreviewError {
    /// A picture cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A picture cannot be changed so.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The sheet cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
}

/// What is shown, and how.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Random changes.
    pub augment: Augment,
    /// Height and width of the network's input; the images' own, or 224×224 where they have none.
    pub input: Option<[usize; 2]>,
    /// Pictures shown.
    pub count: usize,
    /// Which pictures, and how they are changed.
    pub seed: u64,
    /// How often each is shown, changed anew.
    pub times: usize,
}

impl Preview {
    /// Draws the sheet of pictures of `data` taken at random.
    ///
    /// # Errors
    /// When a picture cannot be read, or the changes do not go with the pictures.
    pub fn draw(&self, data: &Dataset) -> Result<Scene, PreviewError> {
        let input = self.input.or(data.size()).unwrap_or([224, 224]);
        let preprocess = data.preprocess(input);
        let [channels, ..] = preprocess.shape;
        let [height, width] = preprocess.image.unwrap_or(input);
        let by = [data.mean(), data.std()];
        let mut pipeline =
            Pipeline::new(&self.augment, [channels, height, width], input, by, preprocess.fit)?;
        let mut ids: Vec<u32> = (0..data.len() as u32).collect();
        Rng::new(self.seed, Purpose::Shuffle, 0, 0).shuffle(&mut ids);
        let times = self.times.max(1);
        ids.truncate((self.count / times).max(1));
        let mut cells = Vec::new();
        let (mut scratch, mut values) = (Vec::new(), vec![0.0; pipeline.len()]);
        for id in ids.into_iter().take(MAX_CELLS) {
            for time in 0..times as u64 {
                let picture = data.picture(id as usize, Scale::Full, &mut scratch)?;
                pipeline.apply(picture, self.seed, time, id, &mut values)?;
                let image = Image::from_normalised(&values, [channels, input[0], input[1]], by)?;
                let class = &data.classes()[data.label(id as usize) as usize];
                let title = data.title(id as usize);
                let file = title.rsplit(['/', ':']).next().unwrap_or(&title).to_string();
                cells.push(Cell::new(image, [class.clone(), file]));
            }
        }
        let subtitle = format!("{} pictures · augment {} · seed {}", data.len(), self.augment, self.seed);
        Ok(Sheet::new(data.name()).subtitle(subtitle).draw(&cells)?)
    }
}
