//! A plan's convolutions: what there is to choose for each, and choices made by measuring.

use crate::buffer::Buffer;
use crate::options::PlanOptions;
use crate::plan::Plan;
use crate::threads;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use striate_kernels::conv::{
    Algorithm, BackwardData, BackwardWeights, Candidate, Conv2dGeometry, Epilogue, Forward, Options,
};
use striate_kernels::{Bf16, Context, Element, ElementType, Executor, Isa};

/// Which of a convolution's three computations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The destination from the source.
    Forward,
    /// The source's gradient from the destination's.
    BackwardData,
    /// The weights' gradient from source and the destination's gradient.
    BackwardWeights,
}

/// A convolution as a step computes it.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Which computation.
    pub pass: Pass,
    /// Its geometry; a fully connected layer is one over 1×1 maps.
    pub geometry: Conv2dGeometry,
    /// The distances of pixels, source and destination as the forward pass names them.
    pub lds: [usize; 2],
    /// What source and destination consist of, as the forward pass names them.
    pub elements: [ElementType; 2],
    /// Whether weights are packed anew at each run.
    pub packs: bool,
    /// The algorithms considered.
    pub candidates: Vec<Candidate>,
}

impl Convolution {
    /// How a kernel is asked to compute it.
    pub(crate) fn options(&self, algorithm: Algorithm) -> Options {
        let [src, dst] = self.elements;
        Options { algorithm, src, dst }
    }

    /// What its speed depends on besides the processor.
    fn key(&self, options: &PlanOptions) -> String {
        let pass = match self.pass {
            Pass::Forward => "forward",
            Pass::BackwardData => "backward-data",
            Pass::BackwardWeights => "backward-weights",
        };
        let PlanOptions { threads, isa, .. } = options;
        let ([src_ld, dst_ld], [src, dst]) = (self.lds, self.elements);
        let packs = if self.packs { " packs" } else { "" };
        format!("{pass} {} ld{src_ld},{dst_ld}{packs} {src},{dst} {isa} t{threads}", self.geometry)
    }
}

/// Algorithms chosen by measuring, for plans made with [`Plan::tuned`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    choices: BTreeMap<String, Algorithm>,
}

impl Tuning {
    /// The choices, each under a text that names all its speed depends on but the processor.
    pub fn choices(&self) -> impl ExactSizeIterator<Item = (&str, Algorithm)> {
        self.choices.iter().map(|(key, algorithm)| (key.as_str(), *algorithm))
    }

    /// Adds a choice, as [`Tuning::choices`] gave it.
    pub fn insert(&mut self, key: impl Into<String>, algorithm: Algorithm) {
        self.choices.insert(key.into(), algorithm);
    }

    /// The algorithm for a convolution: the one chosen, or else what the options say.
    pub(crate) fn algorithm(&self, convolution: &Convolution, options: &PlanOptions) -> Algorithm {
        self.choices.get(&convolution.key(options)).copied().unwrap_or(options.algorithm)
    }

    /// Measures the convolutions of `plan` that have a choice and are not decided yet; `report` hears of each with how
    /// many are left. Random data, weights as cold or warm as a loop leaves them.
    ///
    /// # Errors
    /// Without the threads.
    pub fn measure(&mut self, plan: &Plan, mut report: impl FnMut(&str, usize)) -> Result<(), String> {
        let exec = threads::executor(plan.options().threads)?;
        let open: BTreeMap<String, (&str, &Convolution)> = plan
            .steps()
            .filter_map(|step| Some((step.name, step.convolution?)))
            .filter(|(_, c)| c.candidates.iter().filter(|candidate| candidate.cycles.is_ok()).count() > 1)
            .map(|(name, c)| (c.key(&plan.options()), (name, c)))
            .filter(|(key, _)| !self.choices.contains_key(key))
            .collect();
        let count = open.len();
        for (index, (key, (name, convolution))) in open.into_iter().enumerate() {
            report(name, count - index);
            let admissible = convolution.candidates.iter().filter(|candidate| candidate.cycles.is_ok());
            let timed = admissible.filter_map(|candidate| {
                let time = time(convolution, candidate.algorithm, plan.options().isa, &*exec)?;
                Some((time, candidate.algorithm))
            });
            if let Some((_, fastest)) = timed.min_by_key(|(time, _)| *time) {
                self.choices.insert(key, fastest);
            }
        }
        Ok(())
    }
}

/// How long a convolution takes with an algorithm: the median of a few runs. `None` where it cannot be computed so, or
/// there is no memory to try it.
fn time(convolution: &Convolution, algorithm: Algorithm, isa: Isa, exec: &dyn Executor) -> Option<Duration> {
    let cx = Context { isa, exec };
    match convolution.elements {
        [ElementType::F32, ElementType::F32] => typed::<f32, f32>(convolution, algorithm, &cx),
        [ElementType::F32, ElementType::Bf16] => typed::<f32, Bf16>(convolution, algorithm, &cx),
        [ElementType::Bf16, ElementType::F32] => typed::<Bf16, f32>(convolution, algorithm, &cx),
        [ElementType::Bf16, ElementType::Bf16] => typed::<Bf16, Bf16>(convolution, algorithm, &cx),
    }
}

/// The same, for elements `A` of the source and `B` of the destination.
fn typed<A: Element, B: Element>(
    convolution: &Convolution,
    algorithm: Algorithm,
    cx: &Context,
) -> Option<Duration> {
    let Convolution { pass, geometry: g, lds: [src_ld, dst_ld], packs, .. } = convolution;
    let (isa, options, workers) = (cx.isa, convolution.options(algorithm), cx.exec.workers());
    let mut src = ramp::<A>(g.n * g.ih * g.iw * src_ld)?;
    let mut dst = ramp::<B>(g.n * g.oh() * g.ow() * dst_ld)?;
    let mut weights = ramp::<f32>(g.weights_len())?;
    macro_rules! gather {
        ($name:ident, $from:expr, $to:expr) => {{
            let plan = $name::with(isa, g, *src_ld, *dst_ld, options).ok()?;
            let mut packed = Buffer::zeros(plan.packed_len())?;
            let mut workspace = Buffer::zeros(plan.workspace_len(workers))?;
            plan.pack(cx, &weights, None, &mut packed);
            Some(median(|| {
                if *packs {
                    plan.pack(cx, &weights, None, &mut packed);
                }
                plan.run(cx, $from, &packed, &Epilogue::default(), $to, &mut workspace);
            }))
        }};
    }
    match pass {
        Pass::Forward => gather!(Forward, &src, &mut dst),
        Pass::BackwardData => gather!(BackwardData, &dst, &mut src),
        Pass::BackwardWeights => {
            let plan = BackwardWeights::with(isa, g, *src_ld, *dst_ld, options).ok()?;
            let mut workspace = Buffer::zeros(plan.workspace_len(workers))?;
            Some(median(|| plan.run(cx, &src, &dst, &mut weights, None, &mut workspace)))
        }
    }
}

/// Made-up numbers.
fn ramp<E: Element>(len: usize) -> Option<Buffer<E>> {
    let mut numbers = Buffer::zeros(len)?;
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = E::from_f32((i % 251) as f32 / 251.0 - 0.5);
    }
    Some(numbers)
}

/// The median time of runs that together take about 30 ms, of at least 3.
fn median(mut run: impl FnMut()) -> Duration {
    run();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || begin.elapsed() < Duration::from_millis(30) {
        let start = Instant::now();
        run();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}
