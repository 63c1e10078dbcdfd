//! AlphaGo's policy network (Silver et al. 2016, Methods): 48 feature planes of a 19×19 board to a probability for each
//! point. One 5×5 and eleven 3×3 convolutions of k filters with ReLU, then one 1×1 filter "with a different bias for
//! each position" and a softmax over the board.
//!
//! The match version has k = 192; extended data table 3 also gives k = 128, 256 and 384. Weights start He-normal.
//! Parameters: 99·k² + 1213·k + 361.

use crate::Entry;
use crate::entry::classify;
use striate_graph::ops::{Conv2d, Role};
use striate_graph::{Builder, Init, Value};

const POLICY: Entry = Entry {
    name: "alphago-policy",
    family: "AlphaGo",
    summary: "AlphaGo's policy network of the match, 192 filters",
    paper: "Silver et al. 2016, Nature 529, Methods, extended data table 3",
    input: [48, 19, 19],
    classes: 361,
    params: 3_882_793,
    auxiliary_params: 0,
    macs: 1_400_726_208,
    network: |net, x, _| policy(net, x, 192),
};

pub(crate) static ENTRIES: [Entry; 4] = [
    POLICY,
    Entry {
        name: "alphago-policy-128",
        summary: "AlphaGo's policy network with 128 filters",
        params: 1_777_641,
        macs: 641_043_584,
        network: |net, x, _| policy(net, x, 128),
        ..POLICY
    },
    Entry {
        name: "alphago-policy-256",
        summary: "AlphaGo's policy network with 256 filters",
        params: 6_798_953,
        macs: 2_453_182_720,
        network: |net, x, _| policy(net, x, 256),
        ..POLICY
    },
    Entry {
        name: "alphago-policy-384",
        summary: "AlphaGo's policy network with 384 filters",
        params: 15_064_297,
        macs: 5_436_417_408,
        network: |net, x, _| policy(net, x, 384),
        ..POLICY
    },
];

fn policy(net: &mut Builder, mut x: Value, filters: usize) {
    for layer in 1..=12 {
        let conv = match layer {
            1 => Conv2d::new(filters, 5).padding(2),
            _ => Conv2d::new(filters, 3).padding(1),
        };
        x = net.conv2d(&format!("conv{layer}"), x, conv);
        x = net.relu(x);
    }
    x = net.conv2d("conv13", x, Conv2d::new(1, 1).no_bias());
    let board = net.ty(x).dims.clone();
    let bias = net.parameter("conv13.bias", board, Role::Bias, Init::ZEROS);
    x = net.add(x, bias);
    let scores = net.flatten(x);
    classify(net, scores);
}
