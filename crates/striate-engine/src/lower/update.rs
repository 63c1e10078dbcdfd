//! Optimisers, and what lies between a gradient and an update.

use super::{Frame, Lowered, Site};
use crate::place::Place;
use striate_graph::Node;
use striate_graph::ops::{Accumulate, AdamUpdate, ClipFactor, RmsPropUpdate, SgdUpdate};
use striate_kernels::optim::{self, Adam, RmsProp, Sgd};
use striate_kernels::survey;

/// An update of a parameter within a step, alone or behind the kernel that computes the gradient.
pub(super) struct Step {
    op: SgdUpdate,
    /// Where its places begin among those that the step reads: the learning rate, the momentum.
    reads: usize,
    /// And among those that it writes: the parameter, the velocity.
    writes: usize,
}

impl Step {
    /// That of `node`, its places appended to those of the step; all but the gradient's.
    pub(super) fn new(
        site: &Site,
        node: &Node,
        op: &SgdUpdate,
        reads: &mut Vec<Place>,
        writes: &mut Vec<Place>,
    ) -> Self {
        let step = Self { op: *op, reads: reads.len(), writes: writes.len() };
        let (read, written): (&[usize], &[usize]) =
            if op.momentum { (&[2, 4], &[0, 3]) } else { (&[2], &[0]) };
        reads.extend(read.iter().map(|index| (site.place)(node.inputs[*index])));
        writes.extend(written.iter().map(|index| (site.place)(node.inputs[*index])));
        step
    }

    /// What this run's step is, the parameter and its velocity.
    pub(super) fn state<'a>(&self, f: &Frame<'a>) -> (Sgd, &'a mut [f32], Option<&'a mut [f32]>) {
        let SgdUpdate { momentum: has_velocity, nesterov, weight_decay } = self.op;
        let lr = f64::from(f.scalar(self.reads));
        let momentum = if has_velocity { f64::from(f.scalar(self.reads + 1)) } else { 0.0 };
        let hyper = Sgd { lr, momentum, weight_decay: f64::from(weight_decay), nesterov };
        let velocity = has_velocity.then(|| f.dst_slice(self.writes + 1));
        (hyper, f.dst_slice(self.writes), velocity)
    }
}

pub(super) fn sgd(site: &Site, op: &SgdUpdate) -> Result<Lowered, String> {
    let (mut reads, mut writes) = (vec![site.input(1)], Vec::new());
    let step = Step::new(site, site.node, op, &mut reads, &mut writes);
    Ok(Lowered::new("one pass", reads, writes, move |f| {
        let (hyper, param, velocity) = step.state(f);
        optim::sgd(&f.cx, hyper, param, f.src_slice(0), velocity);
    }))
}

/// A kernel in one pass that reads and writes these inputs.
fn one_pass(
    site: &Site,
    [reads, writes]: [&[usize]; 2],
    kernel: impl Fn(&Frame) + Send + Sync + 'static,
) -> Lowered {
    let places = |inputs: &[usize]| inputs.iter().map(|index| site.input(*index)).collect();
    Lowered::new("one pass", places(reads), places(writes), kernel)
}

pub(super) fn adam(site: &Site, op: &AdamUpdate) -> Result<Lowered, String> {
    let AdamUpdate { beta1, beta2, eps, weight_decay, decoupled } = *op;
    Ok(one_pass(site, [&[1, 2, 5], &[0, 3, 4]], move |f| {
        let (lr, weight_decay) = (f64::from(f.scalar(1)), f64::from(weight_decay));
        let hyper = Adam { lr, beta1, beta2, eps, weight_decay, decoupled };
        let step = u64::from(f.read::<u32>(2)[0]) + 1;
        let [param, mean, square] = [0, 1, 2].map(|index| f.dst_slice(index));
        optim::adam(&f.cx, hyper, step, param, f.src_slice(0), mean, square);
    }))
}

pub(super) fn rmsprop(site: &Site, op: &RmsPropUpdate) -> Result<Lowered, String> {
    let RmsPropUpdate { alpha, eps, weight_decay, momentum: has_velocity } = *op;
    let places: [&[usize]; 2] = if has_velocity { [&[1, 2, 5], &[0, 3, 4]] } else { [&[1, 2], &[0, 3]] };
    Ok(one_pass(site, places, move |f| {
        let momentum = if has_velocity { f64::from(f.scalar(2)) } else { 0.0 };
        let (lr, weight_decay) = (f64::from(f.scalar(1)), f64::from(weight_decay));
        let hyper = RmsProp { lr, alpha, eps, weight_decay, momentum };
        let velocity = has_velocity.then(|| f.dst_slice(2));
        optim::rmsprop(&f.cx, hyper, f.dst_slice(0), f.src_slice(0), f.dst_slice(1), velocity);
    }))
}

pub(super) fn average(site: &Site) -> Result<Lowered, String> {
    Ok(one_pass(site, [&[1, 2], &[0]], move |f| {
        let keep = f.scalar(1);
        optim::blend(&f.cx, keep, 1.0 - keep, f.dst_slice(0), f.src_slice(0));
    }))
}

pub(super) fn accumulate(site: &Site, op: &Accumulate) -> Result<Lowered, String> {
    let factor = op.factor;
    Ok(one_pass(site, [&[1, 2], &[0]], move |f| {
        optim::blend(&f.cx, f.scalar(1), factor, f.dst_slice(0), f.src_slice(0));
    }))
}

pub(super) fn clip_factor(site: &Site, op: &ClipFactor) -> Result<Lowered, String> {
    let (bound, gradients) = (f64::from(op.max_norm), site.node.inputs.len());
    Ok(Lowered::new("squares summed", site.inputs(), vec![site.output(0)], move |f| {
        let squares = (0..gradients).map(|index| survey::square_sum(&f.cx, f.src_slice(index)));
        let norm = squares.sum::<f64>().sqrt();
        // An infinite norm bounds nothing: it must show in what it multiplies.
        let factor = if norm.is_finite() { (bound / (norm + 1e-6)).min(1.0) } else { f64::NAN };
        f.dst_slice(0)[0] = factor as f32;
    }))
}
