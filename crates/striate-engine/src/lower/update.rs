//! Optimisers.

use super::{Frame, Lowered, Site};
use crate::place::Place;
use striate_graph::Node;
use striate_graph::ops::SgdUpdate;
use striate_kernels::optim::{self, Sgd};

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
