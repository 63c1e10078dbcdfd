//! How well a model does on a data set, and what it makes of one picture.

use crate::confusion::Confusion;
use crate::data::{Dataset, Samples};
use crate::image_file::{Fit, Preprocess};
use crate::loader::{Loader, LoaderError, LoaderOptions};
use crate::metrics::{Tally, argmax};
use crate::model::Model;
use crate::views::{Answers, Views, ViewsError};
use std::cmp::Ordering;
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
    /// The views cannot be had.
    #[error(transparent)]
    Views(#[from] ViewsError),
    /// The network is no classifier of images.
    #[error("the network {0}; a classifier takes one image and ends in one score for each class")]
    Network(String),
    /// The data set's classes are not the network's.
    #[error(
        "the data set has {data} classes, the network tells {network} apart; build it for {data}, or choose the data it \
         was built for"
    )]
    Classes {
        /// Of the data set.
        data: usize,
        /// Outputs of the network.
        network: usize,
    },
    /// A sample whose class the network does not know.
    #[error(
        "sample {id} is of class {label}, the network scores {classes} classes from 0; choose the data it was built for"
    )]
    Label {
        /// Which sample.
        id: usize,
        /// Its class.
        label: u32,
        /// Outputs of the network.
        classes: usize,
    },
    /// A model whose names of classes are not its outputs.
    #[error("the model names {names} classes and scores {network}; give it one name for each output")]
    Names {
        /// The number of names.
        names: usize,
        /// Outputs of the network.
        network: usize,
    },
    /// Images of other channels than the network takes.
    #[error(
        "the images have {data} channels, the network takes {network}; build it for {data}, or choose other images"
    )]
    Channels {
        /// Of the images.
        data: usize,
        /// Of the network's input.
        network: usize,
    },
    /// Images that do not go into the network's input.
    #[error(
        "images of {}x{} are larger than the network's input of {}x{} (height x width); build it for that size, or make \
         the images smaller", image[0], image[1], input[0], input[1]
    )]
    TooLarge {
        /// Height and width of the images.
        image: [usize; 2],
        /// Height and width of the input.
        input: [usize; 2],
    },
    /// Training and test images that differ in kind.
    #[error(
        "the training images have shape {} (channels, height, width) and {train_classes} classes, the test images {} and \
         {test_classes}; both must be parts of one data set",
        shape_text(train),
        shape_text(test)
    )]
    Parts {
        /// Channels, height, width of the training images, where they are the same.
        train: Option<[usize; 3]>,
        /// Classes of the training images.
        train_classes: usize,
        /// Channels, height, width of the test images, where they are the same.
        test: Option<[usize; 3]>,
        /// Classes of the test images.
        test_classes: usize,
    },
    /// No images at all.
    #[error("there are no {part} images; choose a data set that has some")]
    Empty {
        /// What they were needed for.
        part: &'static str,
    },
    /// Scores that cannot be ranked.
    #[error(
        "the network's scores are no finite numbers; it was broken in training: train it anew with a lower learning rate"
    )]
    NotANumber,
}

fn shape_text(shape: &Option<[usize; 3]>) -> String {
    shape.map_or_else(|| "of any size".into(), |shape| format!("{shape:?}"))
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

/// Checks that the images of a data set go into an input `[C, H, W]`, in a frame where it is larger; those that have no
/// size of their own go into any.
pub(crate) fn check_images(data: &Dataset, input: [usize; 3]) -> Result<(), UseError> {
    let [network, h, w] = input;
    if data.channels() != network {
        return Err(UseError::Channels { data: data.channels(), network });
    }
    match data.size() {
        Some(image @ [height, width]) if height > h || width > w => {
            Err(UseError::TooLarge { image, input: [h, w] })
        }
        _ => Ok(()),
    }
}

/// A classifier being measured on a data set, again and again with other parameters.
pub struct Evaluator {
    session: Session,
    image: String,
    samples: Arc<Dataset>,
    options: LoaderOptions,
    classes: usize,
    logits: Vec<f32>,
}

impl Evaluator {
    /// Plans the network's inference for batches of `plan.batch`; pictures become inputs as `preprocess` says, and those
    /// of a size of their own that fits into the input lie in it as they are.
    ///
    /// # Errors
    /// When the network is no classifier of such images, or cannot be planned.
    pub fn new(
        graph: &Graph,
        samples: Arc<Dataset>,
        preprocess: &Preprocess,
        plan: PlanOptions,
    ) -> Result<Self, UseError> {
        let (input, classes) = classifier_shape(graph)?;
        check_images(&samples, input)?;
        if samples.is_empty() {
            return Err(UseError::Empty { part: "test" });
        }
        if let Some(id) = (0..samples.len()).find(|id| samples.label(*id) as usize >= classes) {
            return Err(UseError::Label { id, label: samples.label(id), classes });
        }
        let graph = scoring(graph);
        let image = image_name(&graph);
        let session = Session::new(Plan::new(&graph, plan)?)?;
        let options = LoaderOptions {
            image: samples.size().or(preprocess.image),
            input: Some([input[1], input[2]]),
            fit: Some(preprocess.fit),
            ..LoaderOptions::evaluation(plan.batch, &preprocess.mean, &preprocess.std)
        };
        Ok(Self { session, image, samples, options, classes, logits: vec![0.0; plan.batch * classes] })
    }

    /// Looks at each picture several times; the answer is the mean of the probabilities.
    ///
    /// # Errors
    /// When there are no such views of such pictures.
    pub fn with_views(mut self, views: &Views) -> Result<Self, UseError> {
        if !views.is_center() {
            let image = self.options.image.or(self.options.input).unwrap_or_default();
            self.options.views = views.list(self.options.fit.unwrap_or(Fit::crop(1)), image)?;
        }
        Ok(self)
    }

    /// Counts right answers and averages the cross-entropy over all samples; `progress` hears how many are done.
    ///
    /// # Errors
    /// When the parameters do not fit or a sample cannot be read.
    pub fn run(&mut self, parameters: &Parameters, mut progress: impl FnMut(u64)) -> Result<Tally, UseError> {
        let mut tally = Tally::default();
        self.scores(parameters, |scores| {
            tally.add(scores.logits, scores.classes, scores.labels, scores.mean_loss());
            progress(tally.samples);
        })?;
        Ok(tally)
    }

    /// Counts as [`run`](Self::run) does, and which classes are taken for which; keeps the `worst` wrong answers that
    /// were given with the greatest probability.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn examine(
        &mut self,
        parameters: &Parameters,
        worst: usize,
        mut progress: impl FnMut(u64),
    ) -> Result<Examination, UseError> {
        let mut tally = Tally::default();
        let mut confusion = Confusion::new(self.classes);
        let mut wrong = Vec::new();
        self.scores(parameters, |scores| {
            tally.add(scores.logits, scores.classes, scores.labels, scores.mean_loss());
            let rows = scores.logits.chunks(scores.classes);
            for ((row, label), id) in rows.zip(scores.labels).zip(scores.ids) {
                let answer = argmax(row);
                confusion.add(*label, answer);
                if let Some(taken_for) = answer.filter(|answer| answer != label) {
                    let probability = probability(row, taken_for);
                    wrong.push(Wrong { id: *id, label: *label, taken_for, probability });
                }
            }
            if wrong.len() > 2 * worst + 1024 {
                keep_worst(&mut wrong, worst);
            }
            progress(tally.samples);
        })?;
        keep_worst(&mut wrong, worst);
        Ok(Examination { tally, confusion, wrong })
    }

    /// Calls `each` with the scores of every batch's samples, several views of a picture made one.
    fn scores(&mut self, parameters: &Parameters, mut each: impl FnMut(Scores)) -> Result<(), UseError> {
        self.session.load(parameters)?;
        let mut loader = Loader::new(self.samples.clone(), None, self.options.clone())?;
        let mut views = Answers::new(self.options.views.len(), self.classes);
        while let Some(batch) = loader.next_batch()? {
            self.session.input(&self.image)?.copy_from_slice(&batch.images);
            self.session.run()?;
            for (to, row) in self.logits.chunks_mut(self.classes).zip(self.session.rows(LOGITS)?) {
                to.copy_from_slice(row);
            }
            let logits = &self.logits[..batch.count * self.classes];
            let (labels, ids) = (&batch.labels[..batch.count], &batch.ids[..batch.count]);
            let (logits, labels, ids) = views.add(logits, labels, ids);
            each(Scores { classes: self.classes, logits, labels, ids });
        }
        Ok(())
    }
}

/// The scores of samples.
struct Scores<'a> {
    classes: usize,
    /// (samples, classes).
    logits: &'a [f32],
    labels: &'a [u32],
    ids: &'a [u32],
}

impl Scores<'_> {
    fn mean_loss(&self) -> f64 {
        mean_cross_entropy(self.logits, self.classes, self.labels)
    }
}

/// A classifier's answers to a data set, looked at closely.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Right answers and loss.
    pub tally: Tally,
    /// Which classes were taken for which.
    pub confusion: Confusion,
    /// Wrong answers, those of the greatest probability first.
    pub wrong: Vec<Wrong>,
}

/// A wrong answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wrong {
    /// The sample.
    pub id: u32,
    /// Its class.
    pub label: u32,
    /// What it was taken for.
    pub taken_for: u32,
    /// The probability that the classifier gave this answer.
    pub probability: f64,
}

/// Of all wrong answers the most probable ones; equally probable ones by their samples.
fn keep_worst(wrong: &mut Vec<Wrong>, count: usize) {
    wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.id.cmp(&b.id)));
    wrong.truncate(count);
}

/// The softmax of `logits` at `class`.
fn probability(logits: &[f32], class: u32) -> f64 {
    let own = logits[class as usize] as f64;
    1.0 / logits.iter().map(|logit| (*logit as f64 - own).exp()).sum::<f64>()
}

/// The classifier for inference, computing its scores before any softmax.
fn scoring(graph: &Graph) -> Graph {
    let graph = graph.inference();
    let logits = graph.logits().expect("a classifier has an output");
    graph.with_outputs([(LOGITS, logits)])
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
            return Err(UseError::Names { names: classes.len(), network: outputs });
        }
        let graph = scoring(&model.graph);
        let image = image_name(&graph);
        let mut session = Session::new(Plan::new(&graph, PlanOptions { batch: 1, ..plan })?)?;
        session.load(&model.parameters)?;
        Ok(Self { session, image, classes })
    }

    /// The classes of one input (channels-last, prepared as the model wants it), most probable first and in their own
    /// order where they are equally so. The probabilities are the softmax of the scores, whether the network ends in
    /// one or not.
    ///
    /// # Errors
    /// When the input has the wrong size, or the scores are no numbers.
    pub fn predict(&mut self, input: &[f32]) -> Result<Vec<(&str, f32)>, UseError> {
        self.predict_views(&[input])
    }

    /// The same of several views of one picture: the means of their probabilities.
    ///
    /// # Errors
    /// When an input has the wrong size, or the scores are no numbers.
    pub fn predict_views(&mut self, inputs: &[impl AsRef<[f32]>]) -> Result<Vec<(&str, f32)>, UseError> {
        let mut answers = Answers::new(inputs.len(), self.classes.len());
        let mut ranked = None;
        for input in inputs {
            let logits = self.logits(input.as_ref())?;
            ranked = ranked_softmax(answers.add(&logits, &[0], &[0]).0);
            if logits.iter().any(|logit| logit.is_nan()) {
                return Err(UseError::NotANumber);
            }
        }
        let ranked = ranked.ok_or(UseError::NotANumber)?;
        Ok(ranked
            .into_iter()
            .map(|(class, probability)| (self.classes[class].as_str(), probability))
            .collect())
    }

    /// The scores of one input.
    fn logits(&mut self, input: &[f32]) -> Result<Vec<f32>, UseError> {
        let slot = self.session.input(&self.image)?;
        if slot.len() != input.len() {
            let (expected, found) = (slot.len(), input.len());
            return Err(RunError::Size { name: self.image.clone(), expected, found }.into());
        }
        slot.copy_from_slice(input);
        self.session.run()?;
        Ok(self.session.rows(LOGITS)?.next().unwrap_or_default().to_vec())
    }
}

/// Class and probability, most probable first; a tie keeps the order of the classes. `None` where the logits have no
/// softmax: with NaN or +∞ among them, or nothing above −∞.
fn ranked_softmax(logits: &[f32]) -> Option<Vec<(usize, f32)>> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let weights: Vec<f64> = logits.iter().map(|logit| (*logit as f64 - greatest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    if !sum.is_finite() {
        return None;
    }
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    // By logit: small probabilities may be rounded to the same number. No NaN is left that could not be compared.
    classes.sort_by(|a, b| logits[*b].partial_cmp(&logits[*a]).unwrap_or(Ordering::Equal));
    Some(classes.into_iter().map(|class| (class, (weights[class] / sum) as f32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelInfo;
    use striate_engine::Tensor;
    use striate_graph::Builder;
    use striate_graph::ops::Linear;

    #[test]
    fn probabilities_are_ranked_and_ties_keep_their_order() {
        let ranked = ranked_softmax(&[0.0, 1000.0, -1000.0, 1000.0, -0.0, f32::NEG_INFINITY]).unwrap();
        let (classes, probabilities): (Vec<usize>, Vec<f32>) = ranked.into_iter().unzip();
        assert_eq!(classes, [1, 3, 0, 4, 2, 5]);
        assert_eq!(probabilities, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
        for broken in [f32::NAN, f32::INFINITY] {
            assert_eq!(ranked_softmax(&[0.0, broken]), None);
        }
        assert_eq!(ranked_softmax(&[f32::NEG_INFINITY; 2]), None);
    }

    /// Scores twice the pixels of a 1×1×2 image, with or without a softmax behind them.
    fn doubler(softmax: bool) -> Model {
        let mut net = Builder::new("doubler");
        let image = net.input("image", [1, 1, 2]);
        let scores = net.linear("fc", image, Linear::new(2));
        let output = if softmax { net.softmax(scores) } else { scores };
        net.output(output);
        let graph = net.finish().unwrap();
        let mut parameters = Parameters::init(&graph, 0);
        for (name, tensor) in &mut parameters.0 {
            let data = if name.ends_with("weight") { vec![2.0, 0.0, 0.0, 2.0] } else { vec![0.0; 2] };
            *tensor = Tensor::new(tensor.dims.clone(), data);
        }
        let fit = Fit::crop(2);
        let preprocess = Preprocess { shape: [1, 1, 2], image: None, mean: vec![0.0], std: vec![1.0], fit };
        Model { graph, parameters, info: ModelInfo { classes: vec!["a".into(), "b".into()], preprocess } }
    }

    #[test]
    fn an_examination_tells_the_surest_mistakes_first() {
        let model = doubler(false);
        // Pixels from 0 to 1 become scores from 0 to 2; the brighter one is the answer, the left one where they are equal.
        let pixels = vec![255, 0, 0, 255, 255, 204, 0, 0, 0, 255, 255, 0];
        let parts = crate::data::DatasetParts {
            name: "pairs".into(),
            split: crate::data::Split::Test,
            shape: [1, 1, 2],
            pixels,
            labels: vec![0, 0, 1, 1, 1, 1],
            classes: model.info.classes.clone(),
            mean: vec![0.0],
            std: vec![1.0],
        };
        let data = Arc::new(Dataset::try_from(parts).unwrap());
        for batch in [1, 4, 6] {
            let plan = PlanOptions::new(batch);
            let mut evaluator =
                Evaluator::new(&model.graph, data.clone(), &model.info.preprocess, plan).unwrap();
            let examined = evaluator.examine(&model.parameters, 3, |_| {}).unwrap();
            assert_eq!(examined.tally, evaluator.run(&model.parameters, |_| {}).unwrap());
            assert_eq!(examined.confusion.matrix(), [[1, 1], [3, 1]]);
            let told: Vec<_> = examined.wrong.iter().map(|wrong| (wrong.id, wrong.taken_for)).collect();
            assert_eq!(told, [(1, 1), (5, 0), (2, 0)], "sample 3, an even guess, is the fourth");
            let sure = 1.0 / (1.0 + (-2.0f64).exp());
            assert!((examined.wrong[0].probability - sure).abs() < 1e-6);
            assert!((examined.wrong[2].probability - 1.0 / (1.0 + (-0.4f64).exp())).abs() < 1e-6);
        }
    }

    #[test]
    fn answers_are_probabilities_with_and_without_a_final_softmax() {
        let wanted = 1.0 / (1.0 + (-2.0f32).exp());
        for softmax in [false, true] {
            let mut predictor = Predictor::new(&doubler(softmax), PlanOptions::new(1)).unwrap();
            let answer = predictor.predict(&[0.5, 1.5]).unwrap();
            assert_eq!((answer[0].0, answer[1].0), ("b", "a"));
            assert!((answer[0].1 - wanted).abs() < 1e-6 && (answer[1].1 - (1.0 - wanted)).abs() < 1e-6);
            assert!(matches!(predictor.predict(&[f32::NAN, 0.0]), Err(UseError::NotANumber)));
            assert!(matches!(predictor.predict(&[0.0]), Err(UseError::Run(RunError::Size { .. }))));
        }
        let mut unnamed = doubler(true);
        unnamed.info.classes.pop();
        let error = Predictor::new(&unnamed, PlanOptions::new(1)).err().unwrap();
        assert!(matches!(error, UseError::Names { names: 1, network: 2 }), "{error}");
    }
}
