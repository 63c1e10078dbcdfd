//! A network made ready to run on made-up data: what is measured and what is explained.

use clap::Args;
use serde::Serialize;
use std::time::Instant;
use striate::engine::Buffer;
use striate::graph::training::{self, LEARNING_RATE, MOMENTUM, Optimiser};
use striate::graph::{DType, recompute};
use striate::kernels::Element;
use striate::kernels::rng::{Purpose, Rng};
use striate::prelude::*;
use striate::train::evaluate::classifier_shape;

use crate::failure::{Failure, Result};
use crate::network::{NetworkArgs, Wish};
use crate::options::{Machine, Memory, chw, positive};
use crate::tuning;

/// A network, how it is run, and on what.
#[derive(Args, Debug)]
pub(crate) struct Workload {
    #[command(flatten)]
    network: NetworkArgs,
    /// Images of a step
    #[arg(long, value_name = "B", default_value = "1", value_parser = positive)]
    pub(crate) batch: usize,
    /// The input in place of the network's own, or where an .onnx file leaves it open: channels x height x width
    #[arg(long, value_name = "CxHxW", value_parser = chw)]
    input: Option<[usize; 3]>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(flatten)]
    memory: Memory,
    /// Measure the algorithms that each convolution can choose from and take the fastest; choices are kept for the next
    /// time. Results then depend, in their last bits, on what was measured
    #[arg(long, help_heading = "Machine")]
    autotune: bool,
}

/// What is done with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The forward pass: no dropout, batch normalisation folded in, no auxiliary heads.
    Infer,
    /// A training step, auxiliary heads included: SGD with momentum and weight decay.
    Train,
}

impl Task {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Task::Infer => "infer",
            Task::Train => "train",
        }
    }
}

/// A network that has run once.
pub(crate) struct Ready {
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) start: Start,
}

/// What lies between a file, or a name, and the first output, in milliseconds.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Start {
    /// Reading a model file, or building a network.
    pub(crate) read_ms: f64,
    /// Making the plan.
    pub(crate) plan_ms: f64,
    /// Getting memory and threads, and packing the weights.
    pub(crate) load_ms: f64,
    /// The first step.
    pub(crate) first_step_ms: f64,
}

impl Start {
    /// All of it.
    pub(crate) fn ms(self) -> f64 {
        self.read_ms + self.plan_ms + self.load_ms + self.first_step_ms
    }
}

impl Workload {
    /// The network, with a model's own parameters or random ones, which do not count as part of the start.
    pub(crate) fn ready(&self, task: Task) -> Result<Ready> {
        let begin = Instant::now();
        let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
        let (graph, parameters) = match self.network.model(self.input)? {
            Some(model) => (model.graph, Some(model.parameters)),
            None => (self.build()?, None),
        };
        let read_ms = ms(begin);
        let begin = Instant::now();
        let (name, plan) = self.plan_of(graph, task)?;
        let plan_ms = ms(begin);
        let parameters = parameters.unwrap_or_else(|| Parameters::init(plan.graph(), 0));
        let begin = Instant::now();
        let mut session = Session::new(plan)?;
        session.load(&parameters)?;
        let load_ms = ms(begin);
        fill(&mut session)?;
        let begin = Instant::now();
        session.run()?;
        let start = Start { read_ms, plan_ms, load_ms, first_step_ms: ms(begin) };
        Ok(Ready { name, session, start })
    }

    /// The network's name and a plan of the task.
    pub(crate) fn plan(&self, task: Task) -> Result<(String, Plan)> {
        self.plan_of(self.build()?, task)
    }

    fn build(&self) -> Result<Graph> {
        self.network.build(Wish { input: self.input, auxiliary: true, ..Wish::default() })
    }

    fn plan_of(&self, graph: Graph, task: Task) -> Result<(String, Plan)> {
        let work = match task {
            Task::Infer if self.memory.recompute.is_some() => {
                let failure = Failure::usage("--recompute spares memory in training alone");
                return Err(
                    failure.advise("leave it out, or measure training: `bench train`, `plan --train`")
                );
            }
            Task::Infer => graph.inference(),
            Task::Train => {
                classifier_shape(&graph)?;
                let sgd = Optimiser { weight_decay: 5e-4, ..Optimiser::default() };
                let step = training::classifier(&graph, &sgd.into())?;
                recompute(&step, self.memory.recompute.unwrap_or_default())
            }
        };
        let options = self.machine.plan(self.batch);
        let plan = if self.autotune { tuning::plan(&work, options)? } else { Plan::new(&work, options)? };
        Ok((graph.name, plan))
    }
}

/// Gives every input of a session something to compute with.
fn fill(session: &mut Session) -> Result<()> {
    let graph = session.plan().graph();
    let inputs: Vec<(String, DType)> =
        graph.inputs().map(|(node, value)| (node.name.clone(), graph.ty(value).dtype)).collect();
    for (name, dtype) in inputs {
        match (name.as_str(), dtype) {
            // Small enough that random images never make the weights overflow.
            (LEARNING_RATE, _) => session.input(&name)?.fill(1e-3),
            (MOMENTUM, _) => session.input(&name)?.fill(0.9),
            // Labels cycle through two classes, which every classifier has; a step may be any number.
            (_, DType::U32) => session
                .input_u32(&name)?
                .iter_mut()
                .zip([0, 1].into_iter().cycle())
                .for_each(|(to, value)| *to = value),
            _ => {
                let data = random(session.input(&name)?.len())?;
                session.input(&name)?.copy_from_slice(&data);
            }
        }
    }
    Ok(())
}

/// Numbers from −1 to 1 in memory of their own, or why there is no such memory.
pub(crate) fn random<E: Element>(len: usize) -> Result<Buffer<E>> {
    let mut elements = zeros(len)?;
    let mut rng = Rng::new(0, Purpose::Init, 0, 0);
    elements.fill_with(|| E::from_f32(2.0 * rng.uniform() - 1.0));
    Ok(elements)
}

/// Zeros in memory of their own, or why there is no such memory.
pub(crate) fn zeros<E: Element>(len: usize) -> Result<Buffer<E>> {
    Buffer::zeros(len)
        .ok_or_else(|| Failure::new(format!("no memory for {len} numbers")).advise("use a smaller batch"))
}
