//! Optimisers.

use super::{Lowered, Site};
use striate_graph::ops::SgdUpdate;
use striate_kernels::optim::{self, Sgd};

pub(super) fn sgd(site: &Site, op: &SgdUpdate) -> Result<Lowered, String> {
    let weight_decay = f64::from(op.weight_decay);
    let (nesterov, has_velocity) = (op.nesterov, op.momentum);
    let mut reads = vec![site.input(1), site.input(2)];
    let mut writes = vec![site.input(0)];
    if has_velocity {
        reads.push(site.input(4));
        writes.push(site.input(3));
    }
    Ok(Lowered::new("one pass", reads, writes, move |f| {
        let lr = f64::from(f.scalar(1));
        let momentum = if has_velocity { f64::from(f.scalar(2)) } else { 0.0 };
        let velocity = has_velocity.then(|| f.dst_slice(1));
        optim::sgd(
            &f.cx,
            Sgd { lr, momentum, weight_decay, nesterov },
            f.dst_slice(0),
            f.src_slice(0),
            velocity,
        );
    }))
}
