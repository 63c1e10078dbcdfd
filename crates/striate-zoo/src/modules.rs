//! Stacks whose published weights are named by a layer's number: `features.0.weight`, `classifier.6.bias`.

use striate_graph::ops::{BatchNorm, Conv2d, Linear, LocalResponseNorm, MaxPool2d};
use striate_graph::{Builder, Value};

/// A stack of layers called `section.0`, `section.1`, …; every layer counts, with parameters or without.
pub(crate) struct Modules<'a> {
    pub(crate) net: &'a mut Builder,
    /// The output of the last layer.
    pub(crate) x: Value,
    section: &'static str,
    count: usize,
}

impl<'a> Modules<'a> {
    pub(crate) fn new(net: &'a mut Builder, section: &'static str, x: Value) -> Self {
        Self { net, x, section, count: 0 }
    }

    pub(crate) fn conv(&mut self, conv: Conv2d) {
        self.layer(|net, name, x| net.conv2d(name, x, conv));
    }

    pub(crate) fn fc(&mut self, out: usize) {
        self.layer(|net, name, x| net.linear(name, x, Linear::new(out)));
    }

    pub(crate) fn batch_norm(&mut self) {
        self.layer(|net, name, x| net.batch_norm(name, x, BatchNorm::default()));
    }

    pub(crate) fn relu(&mut self) {
        self.layer(|net, name, x| net.named(name).relu(x));
    }

    pub(crate) fn max_pool(&mut self, pool: MaxPool2d) {
        self.layer(|net, name, x| net.named(name).max_pool2d(x, pool));
    }

    pub(crate) fn local_response_norm(&mut self, norm: LocalResponseNorm) {
        self.layer(|net, name, x| net.named(name).local_response_norm(x, norm));
    }

    pub(crate) fn dropout(&mut self, p: f32) {
        self.layer(|net, name, x| net.named(name).dropout(x, p));
    }

    fn layer(&mut self, append: impl FnOnce(&mut Builder, &str, Value) -> Value) {
        let name = format!("{}.{}", self.section, self.count);
        self.count += 1;
        self.x = append(self.net, &name, self.x);
    }
}
