//! GoogLeNet (Szegedy et al. 2014): nine inception modules, each four branches side by side, and no hidden fully
//! connected layer.
//!
//! `googlenet` is the paper's table 1: biases, local response normalisation, 5×5 branches, 40 % dropout, and two
//! auxiliary heads in training (weight 0.3). What the paper leaves open is as in the replication published with Caffe
//! (BVLC): weights start Xavier-uniform, biases 0.2 but 0 for the class scores; normalisation over 5 channels with
//! α = 1e-4, β = 0.75, k = 1; pools that round up.
//!
//! `googlenet-bn` is the network whose weights torchvision publishes: batch normalisation (Ioffe and Szegedy 2015,
//! ε = 1e-3) in place of biases and local response normalisation, 3×3 in place of 5×5, 2×2 in the last maximum pool,
//! 20 % dropout. Those weights expect each colour scaled to −1 … 1 (mean and standard deviation 0.5). Its auxiliary
//! heads pool as the paper's do (5×5, stride 3), over the same 4×4 positions but other windows than torchvision's.

use crate::entry::{Task, classify};
use crate::{Entry, IMAGENET};
use striate_graph::ops::{AvgPool2d, BatchNorm, Conv2d, Linear, LocalResponseNorm, MaxPool2d};
use striate_graph::{Builder, Init, Value};

const GOOGLENET: Entry = Entry {
    name: "googlenet",
    family: "GoogLeNet",
    summary: "GoogLeNet as published: biases, local response normalisation, 5×5 branches",
    paper: "Szegedy et al. 2014, arXiv:1409.4842, table 1",
    input: IMAGENET,
    classes: 1000,
    params: 6_998_552,
    auxiliary_params: 6_379_728,
    macs: 1_582_671_872,
    network: |net, x, task| googlenet(net, x, task, &PUBLISHED),
};

pub(crate) static ENTRIES: [Entry; 2] = [
    GOOGLENET,
    Entry {
        name: "googlenet-bn",
        summary: "GoogLeNet with batch normalisation, 3×3 in place of 5×5; torchvision's googlenet",
        params: 6_624_904,
        auxiliary_params: 6_379_984,
        macs: 1_498_376_192,
        network: |net, x, task| googlenet(net, x, task, &BATCH_NORM),
        ..GOOGLENET
    },
];

enum Row {
    /// #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj.
    Inception(&'static str, [usize; 6]),
    MaxPool,
    LastMaxPool,
    /// A head that exists in training only.
    Auxiliary(&'static str),
}
use Row::{Auxiliary, Inception, LastMaxPool, MaxPool};

#[rustfmt::skip]
const TABLE: [Row; 13] = [
    Inception("3a", [ 64,  96, 128, 16,  32,  32]),
    Inception("3b", [128, 128, 192, 32,  96,  64]),
    MaxPool,
    Inception("4a", [192,  96, 208, 16,  48,  64]),
    Auxiliary("aux1"),
    Inception("4b", [160, 112, 224, 24,  64,  64]),
    Inception("4c", [128, 128, 256, 24,  64,  64]),
    Inception("4d", [112, 144, 288, 32,  64,  64]),
    Auxiliary("aux2"),
    Inception("4e", [256, 160, 320, 32, 128, 128]),
    LastMaxPool,
    Inception("5a", [256, 160, 320, 32, 128, 128]),
    Inception("5b", [384, 192, 384, 48, 128, 128]),
];

struct Variant {
    batch_norm: bool,
    /// The filter size of the branch that the table calls 5×5.
    five: usize,
    last_pool: usize,
    dropout: f32,
}

const PUBLISHED: Variant = Variant { batch_norm: false, five: 5, last_pool: 3, dropout: 0.4 };
const BATCH_NORM: Variant = Variant { batch_norm: true, five: 3, last_pool: 2, dropout: 0.2 };

const HIDDEN_BIAS: Init = Init::Constant(0.2);
const LRN: LocalResponseNorm = LocalResponseNorm { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 };

fn googlenet(net: &mut Builder, x: Value, task: &Task, variant: &Variant) {
    net.weight_init(Init::XavierUniform).bias_init(HIDDEN_BIAS);
    let mut x = variant.conv(net, "conv1", x, Conv2d::new(64, 7).stride(2).padding(3)); // 64×112×112
    x = shrink(net, x, 3); // 64×56×56
    x = variant.local_response_norm(net, x);
    x = variant.conv(net, "conv2", x, Conv2d::new(64, 1));
    x = variant.conv(net, "conv3", x, Conv2d::new(192, 3).padding(1));
    x = variant.local_response_norm(net, x);
    x = shrink(net, x, 3); // 192×28×28

    let mut heads = Vec::new();
    for row in &TABLE {
        match row {
            Inception(name, filters) => {
                x = net.scope(format!("inception{name}"), |net| variant.inception(net, x, *filters));
            }
            MaxPool => x = shrink(net, x, 3),
            LastMaxPool => x = shrink(net, x, variant.last_pool),
            Auxiliary(name) if task.auxiliary => {
                heads.push((*name, net.scope(name, |net| variant.auxiliary(net, x, task))));
            }
            Auxiliary(_) => {}
        }
    }
    x = net.global_avg_pool(x);
    x = net.dropout(x, task.dropout(variant.dropout));
    let scores = scores(net, "fc", x, task);
    classify(net, scores);
    for (name, head) in heads {
        net.auxiliary(name, head);
    }
}

impl Variant {
    fn inception(&self, net: &mut Builder, x: Value, filters: [usize; 6]) -> Value {
        let [one, three_reduce, three, five_reduce, five, pool_proj] = filters;
        let branch1 = self.conv(net, "branch1", x, Conv2d::new(one, 1));
        let reduced = self.conv(net, "branch2.0", x, Conv2d::new(three_reduce, 1));
        let branch2 = self.conv(net, "branch2.1", reduced, Conv2d::new(three, 3).padding(1));
        let reduced = self.conv(net, "branch3.0", x, Conv2d::new(five_reduce, 1));
        let wide = Conv2d::new(five, self.five).padding(self.five / 2);
        let branch3 = self.conv(net, "branch3.1", reduced, wide);
        let pooled = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
        let branch4 = self.conv(net, "branch4.1", pooled, Conv2d::new(pool_proj, 1));
        net.concat(&[branch1, branch2, branch3, branch4])
    }

    /// The probabilities of a head on an inner module's output (section 5 of the paper).
    fn auxiliary(&self, net: &mut Builder, x: Value, task: &Task) -> Value {
        let x = net.avg_pool2d(x, AvgPool2d::new(5).stride(3));
        let x = self.conv(net, "conv", x, Conv2d::new(128, 1));
        let x = net.linear("fc1", x, Linear::new(1024));
        let x = net.relu(x);
        let x = net.dropout(x, task.dropout(0.7));
        let scores = scores(net, "fc2", x, task);
        net.softmax(scores)
    }

    /// A convolution, normalised or with bias, and its ReLU.
    fn conv(&self, net: &mut Builder, name: &str, x: Value, conv: Conv2d) -> Value {
        let x = if self.batch_norm {
            net.scope(name, |net| {
                let x = net.conv2d("conv", x, conv.no_bias());
                net.batch_norm("bn", x, BatchNorm::eps(1e-3))
            })
        } else {
            net.conv2d(name, x, conv)
        };
        net.relu(x)
    }

    fn local_response_norm(&self, net: &mut Builder, x: Value) -> Value {
        if self.batch_norm { x } else { net.local_response_norm(x, LRN) }
    }
}

fn scores(net: &mut Builder, name: &str, x: Value, task: &Task) -> Value {
    net.bias_init(Init::ZEROS);
    let scores = net.linear(name, x, Linear::new(task.classes));
    net.bias_init(HIDDEN_BIAS);
    scores
}

/// Half the rows and columns, rounded up.
fn shrink(net: &mut Builder, x: Value, window: usize) -> Value {
    net.max_pool2d(x, MaxPool2d::new(window).stride(2).ceil())
}
