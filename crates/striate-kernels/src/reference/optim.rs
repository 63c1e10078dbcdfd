//! The optimisers' steps, by their formulas.

use crate::optim::{Adam, RmsProp, Sgd};

/// One step of SGD: updates `param` and `velocity`, which is all zeros before the first.
pub fn sgd(hyper: Sgd, param: &mut [f64], grad: &[f64], velocity: &mut [f64]) {
    let Sgd { lr, momentum, weight_decay: decay, nesterov } = hyper;
    for ((p, g), v) in param.iter_mut().zip(grad).zip(velocity) {
        let g = g + decay * *p;
        *v = momentum * *v + g;
        *p -= lr * if nesterov { g + momentum * *v } else { *v };
    }
}

/// Step `step`, counted from 1, of Adam or AdamW: updates `param`, `mean` and `variance`.
pub fn adam(hyper: Adam, step: i32, param: &mut [f64], grad: &[f64], mean: &mut [f64], variance: &mut [f64]) {
    let Adam { lr, beta1, beta2, eps, weight_decay: decay, decoupled } = hyper;
    for (((p, g), m), v) in param.iter_mut().zip(grad).zip(mean).zip(variance) {
        let g = if decoupled { *g } else { g + decay * *p };
        if decoupled {
            *p -= lr * decay * *p;
        }
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        let (m, v) = (*m / (1.0 - beta1.powi(step)), *v / (1.0 - beta2.powi(step)));
        *p -= lr * m / (v.sqrt() + eps);
    }
}

/// One step of RMSProp: updates `param`, `square` and `velocity`.
pub fn rmsprop(hyper: RmsProp, param: &mut [f64], grad: &[f64], square: &mut [f64], velocity: &mut [f64]) {
    let RmsProp { lr, alpha, eps, weight_decay: decay, momentum } = hyper;
    for (((p, g), s), v) in param.iter_mut().zip(grad).zip(square).zip(velocity) {
        let g = g + decay * *p;
        *s = alpha * *s + (1.0 - alpha) * g * g;
        *v = momentum * *v + g / (s.sqrt() + eps);
        *p -= lr * *v;
    }
}

/// `dst` ← `keep`·dst + `factor`·src.
pub fn blend(keep: f64, factor: f64, dst: &mut [f64], src: &[f64]) {
    for (d, s) in dst.iter_mut().zip(src) {
        *d = keep * *d + factor * s;
    }
}

/// Σ x².
pub fn square_sum(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum()
}
