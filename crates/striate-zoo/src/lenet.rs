//! LeNet-5: \[CONV-POOL-CONV-POOL-CONV-FC\] for handwritten digits of 28×28 pixels, padded to 32×32.
//!
//! `lenet5` is the network as it is taught: ReLU, maximum pooling, every map connected to every map, softmax. It starts
//! He-normal, which suits ReLU.
//!
//! `lenet5-1998` is the paper's network up to its output: tanh, subsampling with a trainable coefficient and bias for
//! each map, the partial connections of table I. Its parameters are the paper's, layer by layer: C1 156, S2 12,
//! C3 1,516, S4 32, C5 48,120, F6 10,164; ten fully connected outputs with softmax (850) stand in for the 10 radial
//! basis functions with 840 fixed weights. Weights start uniform in ±1/√fan-in, coefficients at 1.

use crate::Entry;
use crate::entry::{Task, classify};
use striate_graph::ops::{ActivationKind, AvgPool2d, Conv2d, Linear, MaxPool2d, Slice};
use striate_graph::{Builder, Init, Value};

const LENET5: Entry = Entry {
    name: "lenet5",
    family: "LeNet",
    summary: "LeNet-5 with ReLU and maximum pooling, all maps connected",
    paper: "LeCun, Bottou, Bengio and Haffner 1998, Proceedings of the IEEE 86(11), figure 2",
    input: [1, 32, 32],
    classes: 10,
    params: 61_706,
    auxiliary_params: 0,
    macs: 416_520,
    network: lenet5,
};

pub(crate) static ENTRIES: [Entry; 2] = [
    LENET5,
    Entry {
        name: "lenet5-1998",
        summary: "LeNet-5 of 1998: tanh, trainable subsampling, the partial connections of table I",
        params: 60_850,
        macs: 328_096,
        network: lenet5_1998,
        ..LENET5
    },
];

fn lenet5(net: &mut Builder, mut x: Value, task: &Task) {
    for (name, maps) in [("conv1", 6), ("conv2", 16)] {
        x = net.conv2d(name, x, Conv2d::new(maps, 5));
        x = net.relu(x);
        x = net.max_pool2d(x, MaxPool2d::new(2));
    }
    x = net.conv2d("conv3", x, Conv2d::new(120, 5));
    x = net.relu(x);
    x = net.linear("fc1", x, Linear::new(84));
    x = net.relu(x);
    let scores = net.linear("fc2", x, Linear::new(task.classes));
    classify(net, scores);
}

/// The maps of S2 that each map of C3 sees (table I), by the number it sees.
const THREE: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 0], [5, 0, 1]];
const FOUR: [[usize; 4]; 9] = [
    [0, 1, 2, 3],
    [1, 2, 3, 4],
    [2, 3, 4, 5],
    [3, 4, 5, 0],
    [4, 5, 0, 1],
    [5, 0, 1, 2],
    [0, 1, 3, 4],
    [1, 2, 4, 5],
    [0, 2, 3, 5],
];

fn lenet5_1998(net: &mut Builder, x: Value, task: &Task) {
    net.weight_init(Init::LecunUniform);
    let c1 = net.conv2d("conv1", x, Conv2d::new(6, 5));
    let c1 = tanh(net, c1);
    let s2 = subsample(net, "subsample1", c1, 6);

    let maps: Vec<Value> = (0..6).map(|map| net.apply(Slice::axis(0, map, map + 1), &[s2])).collect();
    let c3 = [
        connect(net, "conv2.three", &maps, &THREE),
        connect(net, "conv2.four", &maps, &FOUR),
        net.conv2d("conv2.six", s2, Conv2d::new(1, 5)),
    ];
    let c3 = net.concat(&c3);
    let c3 = tanh(net, c3);
    let s4 = subsample(net, "subsample2", c3, 16);

    let c5 = net.conv2d("conv3", s4, Conv2d::new(120, 5));
    let c5 = tanh(net, c5);
    let f6 = net.linear("fc1", c5, Linear::new(84));
    let f6 = tanh(net, f6);
    let scores = net.linear("fc2", f6, Linear::new(task.classes));
    classify(net, scores);
}

/// One map for each row of `table`, that sees the `N` maps the row lists: a group of a grouped convolution.
fn connect<const N: usize>(net: &mut Builder, name: &str, maps: &[Value], table: &[[usize; N]]) -> Value {
    let seen: Vec<Value> = table.iter().flatten().map(|map| maps[*map]).collect();
    let seen = net.concat(&seen);
    net.conv2d(name, seen, Conv2d::new(table.len(), 5).groups(table.len()))
}

/// The mean of each 2×2 window times a coefficient plus a bias of its map (a 1×1 convolution map by map), squashed.
fn subsample(net: &mut Builder, name: &str, x: Value, maps: usize) -> Value {
    let mean = net.avg_pool2d(x, AvgPool2d::new(2));
    net.weight_init(Init::ONES);
    let scaled = net.conv2d(name, mean, Conv2d::new(maps, 1).groups(maps));
    net.weight_init(Init::LecunUniform);
    tanh(net, scaled)
}

fn tanh(net: &mut Builder, x: Value) -> Value {
    net.activation(x, ActivationKind::Tanh)
}
