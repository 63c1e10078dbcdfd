//! Optimisers.

use super::{Lowered, Site};
use striate_graph::ops::SgdUpdate;
use striate_kernels::optim::{self, Sgd};

/// An f32 setting as the decimal number it was written as: 0.9 rather than 0.899999976.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a printed number parses")
}

pub(super) fn sgd(site: &Site, op: &SgdUpdate) -> Result<Lowered, String> {
    let [momentum, weight_decay] = [op.momentum, op.weight_decay].map(decimal);
    let nesterov = op.nesterov;
    let reads = vec![site.input(1), site.input(2)];
    let mut writes = vec![site.input(0)];
    writes.extend(site.node.inputs.get(3).map(|velocity| (site.place)(*velocity)));
    Ok(Lowered::new("one pass", reads, writes, move |f| {
        let lr = decimal(f.scalar(1));
        let velocity = (f.writes.len() > 1).then(|| f.dst_slice(1));
        optim::sgd(
            &f.cx,
            Sgd { lr, momentum, weight_decay, nesterov },
            f.dst_slice(0),
            f.src_slice(0),
            velocity,
        );
    }))
}
