//! Losses and their gradients, by their formulas.

/// The target distribution of a row: 1 − ε on the label, plus ε / classes everywhere.
fn target(label: u32, class: usize, classes: usize, smoothing: f64) -> f64 {
    let on_label = if label as usize == class { 1.0 - smoothing } else { 0.0 };
    on_label + smoothing / classes as f64
}

/// −Σ target · ln softmax(logits), averaged over the rows, of `classes` logits each.
pub fn cross_entropy(logits: &[f64], labels: &[u32], classes: usize, smoothing: f64) -> f64 {
    let log_probs = super::softmax::forward(crate::softmax::Space::Log, logits, classes);
    let row = |(log_probs, &label): (&[f64], &u32)| -> f64 {
        (0..classes).map(|class| -target(label, class, classes, smoothing) * log_probs[class]).sum()
    };
    log_probs.chunks(classes).zip(labels).map(row).sum::<f64>() / labels.len() as f64
}

/// (softmax − target) / rows: the derivative of [`cross_entropy`] by each logit.
pub fn cross_entropy_backward(logits: &[f64], labels: &[u32], classes: usize, smoothing: f64) -> Vec<f64> {
    let probs = super::softmax::forward(crate::softmax::Space::Linear, logits, classes);
    let slope = |(index, p): (usize, &f64)| {
        let label = labels[index / classes];
        (p - target(label, index % classes, classes, smoothing)) / labels.len() as f64
    };
    probs.iter().enumerate().map(slope).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// −(t ln σ(x) + (1 − t) ln (1 − σ(x))), averaged over the elements.
pub fn bce_with_logits(logits: &[f64], targets: &[f64]) -> f64 {
    let element = |(x, t): (&f64, &f64)| -(t * sigmoid(*x).ln() + (1.0 - t) * sigmoid(-x).ln());
    logits.iter().zip(targets).map(element).sum::<f64>() / logits.len() as f64
}

/// The derivative of [`bce_with_logits`] by each logit.
pub fn bce_with_logits_backward(logits: &[f64], targets: &[f64]) -> Vec<f64> {
    logits.iter().zip(targets).map(|(x, t)| (sigmoid(*x) - t) / logits.len() as f64).collect()
}

/// (x − t)², averaged over the elements.
pub fn mse(src: &[f64], targets: &[f64]) -> f64 {
    src.iter().zip(targets).map(|(x, t)| (x - t) * (x - t)).sum::<f64>() / src.len() as f64
}

/// The derivative of [`mse`] by each element.
pub fn mse_backward(src: &[f64], targets: &[f64]) -> Vec<f64> {
    src.iter().zip(targets).map(|(x, t)| 2.0 * (x - t) / src.len() as f64).collect()
}
