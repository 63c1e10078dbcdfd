//! How well a model does on a data set, and what it makes of one picture.

use crate::data::Samples;
use crate::loader::{Loader, LoaderError, LoaderOptions};
use crate::metrics::Tally;
use crate::model::Model;
use std::sync::Arc;
use striate_engine::{Parameters, Plan, PlanError, PlanOptions, RunError, Session};
use striate_graph::Graph;
use striate_graph::training::LOGITS;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// The network cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan cannot run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The data cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoaderError),
    /// The network is no classifier of images.
    #[error("the network {0}")]
    Network(String),
    /// The data set's classes are not the network's.
    #[error("the data set has {data} classes, the network tells {network} apart")]
    Classes {
        /// Of the data set.
        data: usize,
        /// Outputs of the network.
        network: usize,
    },
}

/// The input `[C, H, W]` and the number of classes of a classifier.
///
/// # Errors
/// When the network does not take one image or does not score classes.
pub fn classifier_shape(graph: &Graph) -> Result<([usize; 3], usize), UseError> {
    let input = graph.image().map(|value| graph.ty(value));
    let Some(input) = input.and_then(|ty| ty.chw()) else {
        return Err(UseError::Network("takes no image".into()));
    };
    let output = graph.output().map(|value| graph.ty(value));
    match output.map(|ty| ty.dims.as_slice()) {
        Some([classes]) => Ok((input, *classes)),
        _ => Err(UseError::Network("does not end in scores of classes".into())),
    }
}

/// A classifier being measured on a data set, again and again with other parameters.
pub struct Evaluator {
    session: Session,
    image: String,
    samples: Arc<dyn Samples>,
    options: LoaderOptions,
    classes: usize,
    logits: Vec<f32>,
}

impl Evaluator {
    /// Plans the network's inference for batches of `plan.batch`; the images are normalised by `mean` and `std`.
    ///
    /// # Errors
    /// When the network is no classifier of such images, or cannot be planned.
    pub fn new(
        graph: &Graph,
        samples: Arc<dyn Samples>,
        [mean, std]: [&[f32]; 2],
        plan: PlanOptions,
    ) -> Result<Self, UseError> {
        let (input, classes) = classifier_shape(graph)?;
        let graph = graph.inference();
        let logits = graph.logits().expect("a classifier has an output");
        let graph = graph.with_outputs([(LOGITS, logits)]);
        let image = image_name(&graph);
        let session = Session::new(Plan::new(&graph, plan)?)?;
        let mut options = LoaderOptions::evaluation(plan.batch, mean, std);
        options.input = Some([input[1], input[2]]);
        Ok(Self { session, image, samples, options, classes, logits: vec![0.0; plan.batch * classes] })
    }

    /// Counts right answers and averages the cross-entropy over all samples; `progress` hears how many are done.
    ///
    /// # Errors
    /// When the parameters do not fit or a sample cannot be read.
    pub fn run(&mut self, parameters: &Parameters, mut progress: impl FnMut(u64)) -> Result<Tally, UseError> {
        self.session.load(parameters)?;
        let mut loader = Loader::new(self.samples.clone(), None, self.options.clone())?;
        let mut tally = Tally::default();
        while let Some(batch) = loader.next_batch()? {
            self.session.input(&self.image)?.copy_from_slice(&batch.images);
            self.session.run()?;
            for (to, row) in self.logits.chunks_mut(self.classes).zip(self.session.rows(LOGITS)?) {
                to.copy_from_slice(row);
            }
            let logits = &self.logits[..batch.count * self.classes];
            let labels = &batch.labels[..batch.count];
            tally.add(logits, self.classes, labels, mean_cross_entropy(logits, self.classes, labels));
            progress(tally.samples);
        }
        Ok(tally)
    }
}

/// The name of the network's image input.
pub(crate) fn image_name(graph: &Graph) -> String {
    let name = graph.inputs().next().map(|(node, _)| node.name.clone());
    name.expect("a classifier has an input")
}

/// The mean of −log softmax(logits) at the labels.
fn mean_cross_entropy(logits: &[f32], classes: usize, labels: &[u32]) -> f64 {
    let loss = |(row, label): (&[f32], &u32)| {
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let sum: f64 = row.iter().map(|x| (*x as f64 - greatest).exp()).sum();
        greatest + sum.ln() - row[*label as usize] as f64
    };
    logits.chunks(classes).zip(labels).map(loss).sum::<f64>() / labels.len().max(1) as f64
}

/// A model that answers for one picture at a time.
pub struct Predictor {
    session: Session,
    image: String,
    classes: Vec<String>,
}

impl Predictor {
    /// Plans the model for single pictures.
    ///
    /// # Errors
    /// When the network is no classifier, or cannot be planned.
    pub fn new(model: &Model, plan: PlanOptions) -> Result<Self, UseError> {
        let (_, outputs) = classifier_shape(&model.graph)?;
        let classes = model.info.classes.clone();
        if classes.len() != outputs {
            return Err(UseError::Classes { data: classes.len(), network: outputs });
        }
        let graph = model.graph.inference();
        let image = image_name(&graph);
        let mut session = Session::new(Plan::new(&graph, PlanOptions { batch: 1, ..plan })?)?;
        session.load(&model.parameters)?;
        Ok(Self { session, image, classes })
    }

    /// The classes of one input (channels-last, prepared as the model wants it), most probable first.
    ///
    /// # Errors
    /// When the input has the wrong size.
    pub fn predict(&mut self, input: &[f32]) -> Result<Vec<(&str, f32)>, UseError> {
        let slot = self.session.input(&self.image)?;
        if slot.len() != input.len() {
            let (expected, found) = (slot.len(), input.len());
            return Err(RunError::Size { name: self.image.clone(), expected, found }.into());
        }
        slot.copy_from_slice(input);
        self.session.run()?;
        let scores = self.session.rows("main")?.next().unwrap_or_default();
        let mut ranked: Vec<(&str, f32)> =
            self.classes.iter().map(String::as_str).zip(scores.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(ranked)
    }
}
