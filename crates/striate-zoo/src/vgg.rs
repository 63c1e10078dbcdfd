//! VGG (Simonyan and Zisserman 2014, table 1): 3×3 convolutions, maximum pooling by 2, three fully connected layers.
//!
//! Parameters are named as in the weights that torchvision publishes; its `-bn` variants normalise every convolution's
//! output. Weights start Xavier-uniform and biases 0: the paper trained column A first and initialised the deeper ones
//! with it, then noted (section 3.1) that Glorot and Bengio's initialisation makes this unnecessary.

use crate::entry::{Task, classify};
use crate::modules::Modules;
use crate::{Entry, IMAGENET};
use striate_graph::ops::{Conv2d, LocalResponseNorm, MaxPool2d};
use striate_graph::{Builder, Init, Value};

/// `Conv3(64)` is the paper's conv3-64: 64 filters of 3×3, pad 1, and a ReLU.
enum Layer {
    Conv3(usize),
    Conv1(usize),
    Lrn,
}
use Layer::{Conv1, Conv3, Lrn};

/// Five blocks, each followed by maxpool; then FC-4096, FC-4096, FC-1000 and soft-max.
type Configuration = [&'static [Layer]; 5];

const A: Configuration = [
    &[Conv3(64)],
    &[Conv3(128)],
    &[Conv3(256), Conv3(256)],
    &[Conv3(512), Conv3(512)],
    &[Conv3(512), Conv3(512)],
];
const A_LRN: Configuration = [&[Conv3(64), Lrn], A[1], A[2], A[3], A[4]];
const B: Configuration = [&[Conv3(64), Conv3(64)], &[Conv3(128), Conv3(128)], A[2], A[3], A[4]];
const C: Configuration = [
    B[0],
    B[1],
    &[Conv3(256), Conv3(256), Conv1(256)],
    &[Conv3(512), Conv3(512), Conv1(512)],
    &[Conv3(512), Conv3(512), Conv1(512)],
];
const D: Configuration = [
    B[0],
    B[1],
    &[Conv3(256), Conv3(256), Conv3(256)],
    &[Conv3(512), Conv3(512), Conv3(512)],
    &[Conv3(512), Conv3(512), Conv3(512)],
];
const E: Configuration = [
    B[0],
    B[1],
    &[Conv3(256), Conv3(256), Conv3(256), Conv3(256)],
    &[Conv3(512), Conv3(512), Conv3(512), Conv3(512)],
    &[Conv3(512), Conv3(512), Conv3(512), Conv3(512)],
];

const VGG11: Entry = Entry {
    name: "vgg11",
    family: "VGG",
    summary: "column A: 11 weight layers",
    paper: "Simonyan and Zisserman 2014, arXiv:1409.1556, table 1",
    input: IMAGENET,
    classes: 1000,
    params: 132_863_336,
    auxiliary_params: 0,
    macs: 7_609_090_048,
    network: |net, x, task| vgg(net, x, task, &A, false),
};
const VGG11_LRN: Entry = Entry {
    name: "vgg11-lrn",
    summary: "column A-LRN: 11 weight layers, local response normalisation after the first",
    network: |net, x, task| vgg(net, x, task, &A_LRN, false),
    ..VGG11
};
const VGG13: Entry = Entry {
    name: "vgg13",
    summary: "column B: 13 weight layers",
    params: 133_047_848,
    macs: 11_308_466_176,
    network: |net, x, task| vgg(net, x, task, &B, false),
    ..VGG11
};
const VGG16_C: Entry = Entry {
    name: "vgg16-c",
    summary: "column C: 16 weight layers, the third of blocks 3 to 5 a 1×1 convolution",
    params: 133_638_952,
    macs: 11_770_888_192,
    network: |net, x, task| vgg(net, x, task, &C, false),
    ..VGG11
};
const VGG16: Entry = Entry {
    name: "vgg16",
    summary: "column D: 16 weight layers",
    params: 138_357_544,
    macs: 15_470_264_320,
    network: |net, x, task| vgg(net, x, task, &D, false),
    ..VGG11
};
const VGG19: Entry = Entry {
    name: "vgg19",
    summary: "column E: 19 weight layers",
    params: 143_667_240,
    macs: 19_632_062_464,
    network: |net, x, task| vgg(net, x, task, &E, false),
    ..VGG11
};

pub(crate) static ENTRIES: [Entry; 10] = [
    VGG11,
    VGG11_LRN,
    VGG13,
    VGG16_C,
    VGG16,
    VGG19,
    Entry {
        name: "vgg11-bn",
        summary: "column A with batch normalisation; torchvision's vgg11_bn",
        params: 132_868_840,
        network: |net, x, task| vgg(net, x, task, &A, true),
        ..VGG11
    },
    Entry {
        name: "vgg13-bn",
        summary: "column B with batch normalisation; torchvision's vgg13_bn",
        params: 133_053_736,
        network: |net, x, task| vgg(net, x, task, &B, true),
        ..VGG13
    },
    Entry {
        name: "vgg16-bn",
        summary: "column D with batch normalisation; torchvision's vgg16_bn",
        params: 138_365_992,
        network: |net, x, task| vgg(net, x, task, &D, true),
        ..VGG16
    },
    Entry {
        name: "vgg19-bn",
        summary: "column E with batch normalisation; torchvision's vgg19_bn",
        params: 143_678_248,
        network: |net, x, task| vgg(net, x, task, &E, true),
        ..VGG19
    },
];

fn vgg(net: &mut Builder, x: Value, task: &Task, blocks: &Configuration, normalised: bool) {
    net.weight_init(Init::XavierUniform);
    let mut features = Modules::new(net, "features", x);
    for block in blocks {
        for layer in *block {
            let conv = match layer {
                Conv3(channels) => Conv2d::new(*channels, 3).padding(1),
                Conv1(channels) => Conv2d::new(*channels, 1),
                Lrn => {
                    features.local_response_norm(LocalResponseNorm::ALEXNET);
                    continue;
                }
            };
            features.conv(conv);
            if normalised {
                features.batch_norm();
            }
            features.relu();
        }
        features.max_pool(MaxPool2d::new(2));
    }
    let x = features.x;
    let mut classifier = Modules::new(net, "classifier", x);
    for _ in 0..2 {
        classifier.fc(4096);
        classifier.relu();
        classifier.dropout(task.dropout(0.5));
    }
    classifier.fc(task.classes);
    let scores = classifier.x;
    classify(net, scores);
}
