//! The multi-layer perceptron: D inputs, hidden layers of M units, K outputs, every unit with a bias.

use crate::entry::{assemble, classify};
use crate::{Entry, Options, ZooError};
use striate_graph::ops::Linear;
use striate_graph::{Builder, Graph, Value};

pub(crate) static ENTRIES: [Entry; 1] = [Entry {
    name: "mlp",
    family: "MLP",
    summary: "784-100-10 with ReLU; mlp-D-M-K (or more hidden layers) for other widths",
    paper: "Rumelhart, Hinton and Williams 1986, Nature 323",
    input: [1, 28, 28],
    classes: 10,
    params: 79_510,
    auxiliary_params: 0,
    macs: 79_400,
    network: |net, x, task| perceptron(net, x, &[100], task.classes),
}];

/// The widths D, M, …, K of a name `mlp-D-M-K`.
pub(crate) fn widths(name: &str) -> Option<Vec<usize>> {
    let widths: Result<Vec<usize>, _> = name.strip_prefix("mlp-")?.split('-').map(str::parse).collect();
    widths.ok().filter(|widths| widths.len() >= 2)
}

/// The network called `mlp-D-M-K`, on D features or, where the options say so, on an image of D values.
pub(crate) fn build(name: &str, widths: &[usize], options: &Options) -> Result<Graph, ZooError> {
    let [features, hidden @ .., classes] = widths else { return Err(ZooError::unknown(name)) };
    let input = match options.input {
        Some(image) => {
            let values = image.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
            if values != Some(*features) {
                return Err(ZooError::Features { network: name.into(), features: *features, input: image });
            }
            image.to_vec()
        }
        None => vec![*features],
    };
    assemble(name, input, *classes, options, |net, x, _| perceptron(net, x, hidden, *classes))
}

/// Weights start He-normal, as ReLU asks; parameters are `fc1`, `fc2`, ….
fn perceptron(net: &mut Builder, mut x: Value, hidden: &[usize], classes: usize) {
    for (index, units) in hidden.iter().enumerate() {
        x = net.linear(&format!("fc{}", index + 1), x, Linear::new(*units));
        x = net.relu(x);
    }
    let scores = net.linear(&format!("fc{}", hidden.len() + 1), x, Linear::new(classes));
    classify(net, scores);
}
