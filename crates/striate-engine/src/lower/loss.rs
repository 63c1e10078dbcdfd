//! Losses.

use super::{Lowered, Site};
use crate::place::Place;
use striate_kernels::loss::{self, Size};

fn size(place: Place) -> Size {
    Size { rows: place.rows(), channels: place.channels() }
}

pub(super) fn cross_entropy(site: &Site, smoothing: f32) -> Result<Lowered, String> {
    let size = size(site.input(0));
    let dst = vec![site.output(0), site.output(1)];
    Ok(Lowered::fallible("softmax + cross-entropy", site.inputs(), dst, move |f| {
        let loss = loss::cross_entropy(&f.cx, size, f.src(0), f.read(1), smoothing, f.dst(1))?;
        f.dst_slice(0)[0] = loss;
        Ok(())
    }))
}

pub(super) fn cross_entropy_backward(site: &Site, smoothing: f32) -> Result<Lowered, String> {
    let size = size(site.input(0));
    Ok(Lowered::fallible("elementwise", site.inputs(), vec![site.output(0)], move |f| {
        let (probs, labels, d_loss) = (f.src(0), f.read(1), f.scalar(2));
        Ok(loss::cross_entropy_backward(&f.cx, size, probs, labels, smoothing, d_loss, f.dst(0))?)
    }))
}

pub(super) fn bce(site: &Site) -> Result<Lowered, String> {
    let size = size(site.input(0));
    Ok(Lowered::new("sum", site.inputs(), vec![site.output(0)], move |f| {
        f.dst_slice(0)[0] = loss::bce_with_logits(&f.cx, size, f.src(0), f.src(1));
    }))
}

pub(super) fn bce_backward(site: &Site) -> Result<Lowered, String> {
    let size = size(site.input(0));
    Ok(Lowered::new("elementwise", site.inputs(), vec![site.output(0)], move |f| {
        loss::bce_with_logits_backward(&f.cx, size, f.src(0), f.src(1), f.scalar(2), f.dst(0));
    }))
}

pub(super) fn mse(site: &Site) -> Result<Lowered, String> {
    let size = size(site.input(0));
    Ok(Lowered::new("sum", site.inputs(), vec![site.output(0)], move |f| {
        f.dst_slice(0)[0] = loss::mse(&f.cx, size, f.src(0), f.src(1));
    }))
}

pub(super) fn mse_backward(site: &Site) -> Result<Lowered, String> {
    let size = size(site.input(0));
    Ok(Lowered::new("elementwise", site.inputs(), vec![site.output(0)], move |f| {
        loss::mse_backward(&f.cx, size, f.src(0), f.src(1), f.scalar(2), f.dst(0));
    }))
}
