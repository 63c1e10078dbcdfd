//! What learns: a training graph with its session, fed a step at a time.

use super::{TrainConfig, TrainError};
use crate::evaluate::{classifier_shape, image_name};
use crate::loader::Batch;
use crate::optimizer::{Decay, Optimizer};
use striate_engine::{Extent, Parameters, Plan, PlanOptions, RunError, Session};
use striate_graph::training::{
    self, AVERAGE, AVERAGE_DECAY, ClassifierTraining, KEEP, LABELS, LEARNING_RATE, LOGITS, LOSS, MIX,
    MOMENTUM, OTHER_LABELS, Optimiser, STEP, UPDATES, Updates,
};
use striate_graph::{Graph, recompute};

/// A network under training.
pub(crate) struct Learner {
    pub(crate) graph: Graph,
    pub(crate) session: Session,
    image: String,
    classes: usize,
    /// Runs of the graph that make a step.
    parts: usize,
    /// The part of the velocity kept where the schedule does not say it.
    momentum: f32,
    ema: Option<f64>,
    /// The scores of the last step's images.
    pub(crate) logits: Vec<f32>,
}

/// A step's place in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// Counted from 0.
    pub(crate) step: u64,
    pub(crate) lr: f64,
    /// What the schedule says of it.
    pub(crate) momentum: Option<f64>,
}

impl Learner {
    /// Plans `config`'s training of `network`; its parameters are zeros yet.
    pub(crate) fn new(config: &TrainConfig, network: &Graph, threads: usize) -> Result<Self, TrainError> {
        let graph = recompute(&training::classifier(network, &how(config, network)?)?, config.recompute()?);
        let plan = PlanOptions { batch: config.batch / config.accumulate, ..config.plan(threads)? };
        let mut session = Session::new(Plan::new(&graph, plan)?)?;
        session.set_seed(config.seed);
        let (_, classes) = classifier_shape(network)?;
        let momentum = match config.optimizer {
            Optimizer::RmsProp { momentum, .. } => momentum as f32,
            _ => config.momentum,
        };
        let image = image_name(&graph);
        let (parts, ema, logits) = (config.accumulate, config.ema, vec![0.0; config.batch * classes]);
        Ok(Self { graph, session, image, classes, parts, momentum, ema, logits })
    }

    /// What the network starts from: `given`, and what that lacks drawn by `seed`.
    pub(crate) fn start(&mut self, given: Parameters, seed: u64) -> Result<Parameters, RunError> {
        let mut parameters = given;
        parameters.complete(&self.graph, seed);
        let averages: Vec<String> = self
            .graph
            .parameters()
            .filter_map(|(node, ..)| node.name.strip_suffix(AVERAGE).map(Into::into))
            .collect();
        for name in averages {
            if let Some(tensor) = parameters.get(&name).cloned() {
                parameters.0.insert(format!("{name}{AVERAGE}"), tensor);
            }
        }
        self.session.load(&parameters)?;
        Ok(parameters)
    }

    /// One step on a batch; its mean loss.
    pub(crate) fn step(&mut self, batch: &Batch, at: At) -> Result<f64, RunError> {
        let Self { session, parts, .. } = self;
        session.input(LEARNING_RATE)?[0] = at.lr as f32;
        if session.has_input(MOMENTUM) {
            session.input(MOMENTUM)?[0] = at.momentum.map_or(self.momentum, |momentum| momentum as f32);
        }
        if session.has_input(UPDATES) {
            session.input_u32(UPDATES)?[0] = at.step as u32;
        }
        if let Some(ema) = self.ema {
            session.input(AVERAGE_DECAY)?[0] = warmed_up(ema, at.step) as f32;
        }
        let parts = *parts;
        let (images, labels) = (batch.images.len() / parts, batch.labels.len() / parts);
        let mut loss = 0.0;
        for part in 0..parts {
            let session = &mut self.session;
            session.input(&self.image)?.copy_from_slice(&batch.images[part * images..][..images]);
            session.input_u32(LABELS)?.copy_from_slice(&batch.labels[part * labels..][..labels]);
            if session.has_input(OTHER_LABELS) {
                let others = &batch.other_labels[part * labels..][..labels];
                session.input_u32(OTHER_LABELS)?.copy_from_slice(others);
                session.input(MIX)?[0] = batch.mix;
            }
            if session.has_input(STEP) {
                session.input_u32(STEP)?[0] = (at.step * parts as u64 + part as u64) as u32;
            }
            if session.has_input(KEEP) {
                session.input(KEEP)?[0] = if part == 0 { 0.0 } else { 1.0 };
            }
            let extent = if part + 1 == parts { Extent::Step } else { Extent::Gradients };
            session.run_guarded(LOSS, extent)?;
            loss += f64::from(session.scalar(LOSS)?);
            let rows = self.logits.chunks_mut(self.classes).skip(part * labels);
            for (to, row) in rows.zip(session.rows(LOGITS)?) {
                to.copy_from_slice(row);
            }
        }
        Ok(loss / parts as f64)
    }
}

/// The part of a moving average that is kept, less at the beginning, so that what the network started as is soon
/// forgotten: as TensorFlow's `ExponentialMovingAverage` with `num_updates`.
fn warmed_up(decay: f64, updates: u64) -> f64 {
    decay.min((1.0 + updates as f64) / (10.0 + updates as f64))
}

/// The parameters as they are evaluated and saved: their moving averages where those are kept.
pub(crate) fn averaged(parameters: &Parameters) -> Parameters {
    let mut averaged = parameters.clone();
    for (name, tensor) in &parameters.0 {
        if let Some(of) = name.strip_suffix(AVERAGE)
            && averaged.0.contains_key(of)
        {
            averaged.0.insert(of.into(), tensor.clone());
        }
    }
    averaged
}

/// The configuration in the terms of training graphs.
fn how(config: &TrainConfig, network: &Graph) -> Result<ClassifierTraining, TrainError> {
    let optimiser = Optimiser {
        rule: config.optimizer.rule(config.momentum, config.nesterov),
        weight_decay: config.weight_decay,
        decay_all: config.decay == Decay::All,
    };
    let updates = Updates {
        optimiser,
        clip: config.clip,
        accumulate: config.accumulate,
        average: config.ema.is_some(),
        frozen: crate::transfer::frozen(network, &config.freeze)?,
    };
    let (smoothing, auxiliary_weight) = (config.label_smoothing, config.auxiliary_weight);
    let mixed = config.augment.mixes();
    Ok(ClassifierTraining { updates, smoothing, auxiliary_weight, mixed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_forgets_its_beginning() {
        assert_eq!(warmed_up(0.999, 0), 0.1);
        assert_eq!(warmed_up(0.999, 90), 0.91);
        assert_eq!(warmed_up(0.999, 1_000_000), 0.999);
        assert_eq!(warmed_up(0.0, 5), 0.0);
    }
}
