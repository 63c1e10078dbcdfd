//! AlexNet (Krizhevsky et al. 2012): eight weighted layers, ReLU, local response normalisation, dropout.
//!
//! `alexnet` is the simplified network of the lecture (Stanford's CS231n): one tower, normalisation after pooling.
//! `alexnet-grouped` is the paper's: two towers (conv 2, 4 and 5 see only their own half of the maps), normalisation
//! before pooling. `alexnet-owt` is the one tower of Krizhevsky's "One weird trick" with the names of the weights that
//! torchvision publishes.
//!
//! All start as section 5 of the 2012 paper says: weights normal with standard deviation 0.01, biases 1 in conv 2, 4, 5
//! and the hidden fully connected layers, 0 elsewhere.

use crate::entry::{Task, classify};
use crate::modules::Modules;
use crate::{Entry, IMAGENET};
use striate_graph::ops::{Conv2d, Linear, LocalResponseNorm, MaxPool2d};
use striate_graph::{Builder, Init, Value};

const ALEXNET: Entry = Entry {
    name: "alexnet",
    family: "AlexNet",
    summary: "AlexNet as the lecture lists it: one tower, normalisation after pooling",
    paper: "Krizhevsky, Sutskever and Hinton 2012, NIPS 25; simplified as in CS231n",
    input: [3, 227, 227],
    classes: 1000,
    params: 62_378_344,
    auxiliary_params: 0,
    macs: 1_135_256_096,
    network: |net, x, task| alexnet(net, x, task, 1, norm_after_pool),
};

pub(crate) static ENTRIES: [Entry; 3] = [
    ALEXNET,
    Entry {
        name: "alexnet-grouped",
        summary: "AlexNet of 2012: two towers (conv 2, 4, 5 in 2 groups), normalisation before pooling",
        paper: "Krizhevsky, Sutskever and Hinton 2012, NIPS 25, figure 2",
        params: 60_965_224,
        macs: 724_406_816,
        network: |net, x, task| alexnet(net, x, task, 2, norm_before_pool),
        ..ALEXNET
    },
    Entry {
        name: "alexnet-owt",
        summary: "One tower of 64-192-384-256-256 maps, no normalisation; torchvision's alexnet",
        paper: "Krizhevsky 2014, arXiv:1404.5997",
        input: IMAGENET,
        params: 61_100_840,
        macs: 714_188_480,
        network: one_weird_trick,
        ..ALEXNET
    },
];

const POOL: MaxPool2d = MaxPool2d::new(3).stride(2);
const WEIGHTS: Init = Init::Normal { std: 0.01 };
/// Keeps ReLUs alive at first: their inputs start positive.
const POSITIVE: Init = Init::ONES;

fn alexnet(
    net: &mut Builder,
    x: Value,
    task: &Task,
    towers: usize,
    shrink: fn(&mut Builder, Value) -> Value,
) {
    net.weight_init(WEIGHTS);
    let x = conv(net, "conv1", x, Conv2d::new(96, 11).stride(4), Init::ZEROS); // 96×55×55
    let x = shrink(net, x); // 96×27×27
    let x = conv(net, "conv2", x, Conv2d::new(256, 5).padding(2).groups(towers), POSITIVE);
    let x = shrink(net, x); // 256×13×13
    let x = conv(net, "conv3", x, Conv2d::new(384, 3).padding(1), Init::ZEROS);
    let x = conv(net, "conv4", x, Conv2d::new(384, 3).padding(1).groups(towers), POSITIVE);
    let x = conv(net, "conv5", x, Conv2d::new(256, 3).padding(1).groups(towers), POSITIVE);
    let mut x = net.max_pool2d(x, POOL); // 256×6×6
    net.bias_init(POSITIVE);
    for name in ["fc6", "fc7"] {
        x = net.linear(name, x, Linear::new(4096));
        x = net.relu(x);
        x = net.dropout(x, task.dropout(0.5));
    }
    net.bias_init(Init::ZEROS);
    let scores = net.linear("fc8", x, Linear::new(task.classes));
    classify(net, scores);
}

fn conv(net: &mut Builder, name: &str, x: Value, conv: Conv2d, bias: Init) -> Value {
    net.bias_init(bias);
    let x = net.conv2d(name, x, conv);
    net.relu(x)
}

fn norm_after_pool(net: &mut Builder, x: Value) -> Value {
    let x = net.max_pool2d(x, POOL);
    net.local_response_norm(x, LocalResponseNorm::ALEXNET)
}

fn norm_before_pool(net: &mut Builder, x: Value) -> Value {
    let x = net.local_response_norm(x, LocalResponseNorm::ALEXNET);
    net.max_pool2d(x, POOL)
}

fn one_weird_trick(net: &mut Builder, x: Value, task: &Task) {
    net.weight_init(WEIGHTS);
    let mut features = Modules::new(net, "features", x);
    for (conv, bias, pooled) in [
        (Conv2d::new(64, 11).stride(4).padding(2), Init::ZEROS, true), // 64×27×27
        (Conv2d::new(192, 5).padding(2), POSITIVE, true),              // 192×13×13
        (Conv2d::new(384, 3).padding(1), Init::ZEROS, false),
        (Conv2d::new(256, 3).padding(1), POSITIVE, false),
        (Conv2d::new(256, 3).padding(1), POSITIVE, true), // 256×6×6
    ] {
        features.net.bias_init(bias);
        features.conv(conv);
        features.relu();
        if pooled {
            features.max_pool(POOL);
        }
    }
    let x = features.x;
    let mut classifier = Modules::new(net, "classifier", x);
    classifier.net.bias_init(POSITIVE);
    for _ in 0..2 {
        classifier.dropout(task.dropout(0.5));
        classifier.fc(4096);
        classifier.relu();
    }
    classifier.net.bias_init(Init::ZEROS);
    classifier.fc(task.classes);
    let scores = classifier.x;
    classify(net, scores);
}
