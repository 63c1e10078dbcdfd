//! A network's row, and building from it.

use crate::ZooError;
use striate_graph::ops::Op;
use striate_graph::{Builder, Graph, Value};

/// A network of the zoo: where it comes from and how large it is.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What [`crate::build`] calls it.
    pub name: &'static str,
    /// The family: one file, one paper or line of papers.
    pub family: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Its published input `[C, H, W]`.
    pub input: [usize; 3],
    /// Its published number of outputs.
    pub classes: usize,
    /// Trainable parameters, without heads that exist in training only.
    pub params: usize,
    /// Trainable parameters of heads that exist in training only.
    pub auxiliary_params: usize,
    /// Multiply-accumulates of convolutions and fully connected layers for one image, without those heads.
    pub macs: u64,
    pub(crate) network: Network,
}

/// Appends a network to its image input, up to and including its outputs.
pub(crate) type Network = fn(&mut Builder, Value, &Task);

/// What may differ from the published network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Input `[C, H, W]` in place of the published one.
    pub input: Option<[usize; 3]>,
    /// Number of classes in place of the published one.
    pub classes: Option<usize>,
    /// Probability of every dropout in place of the published ones.
    pub dropout: Option<f32>,
    /// Whether GoogLeNet has its auxiliary heads; they need images of at least 79×79.
    pub auxiliary: bool,
}

impl Default for Options {
    /// As published.
    fn default() -> Self {
        Self { input: None, classes: None, dropout: None, auxiliary: true }
    }
}

/// What a network is built for.
pub(crate) struct Task {
    pub(crate) classes: usize,
    pub(crate) auxiliary: bool,
    dropout: Option<f32>,
}

impl Task {
    /// The probability to use where `published` was.
    pub(crate) fn dropout(&self, published: f32) -> f32 {
        self.dropout.unwrap_or(published)
    }
}

impl Entry {
    /// The network.
    ///
    /// # Errors
    /// What it and the options do not agree on.
    pub fn build(&self, options: &Options) -> Result<Graph, ZooError> {
        let input = options.input.unwrap_or(self.input);
        assemble(self.name, input.to_vec(), self.classes, options, self.network)
    }
}

/// Builds `network` on an image of dimensions `input`.
pub(crate) fn assemble(
    name: &str,
    input: Vec<usize>,
    classes: usize,
    options: &Options,
    network: impl FnOnce(&mut Builder, Value, &Task),
) -> Result<Graph, ZooError> {
    let mut net = Builder::new(name);
    let image = net.input("image", input);
    let Options { dropout, auxiliary, .. } = *options;
    network(&mut net, image, &Task { classes: options.classes.unwrap_or(classes), auxiliary, dropout });
    let graph = net.finish().map_err(|errors| ZooError::Graph { network: name.into(), errors })?;

    let outputs = graph.output().map_or(0, |scores| graph.ty(scores).elements());
    if let Some(classes) = options.classes.filter(|classes| *classes != outputs) {
        return Err(ZooError::Classes { network: name.into(), outputs, classes });
    }
    if dropout.is_some() && !graph.nodes().any(|(_, node)| matches!(node.op, Op::Dropout(_))) {
        return Err(ZooError::NoDropout { network: name.into() });
    }
    Ok(graph)
}

/// Ends a network: the probabilities of its scores are its main output.
pub(crate) fn classify(net: &mut Builder, scores: Value) {
    let probabilities = net.softmax(scores);
    net.output(probabilities);
}
