//! The same network in fewer kinds of operations: what is only a convenience is spelled out.

use crate::Graph;
use crate::ops::{Op, Pad, PadMode, Padding};

/// Spells out convolutions whose padding is not zeros as a padding followed by an unpadded convolution.
pub fn legalise(graph: &Graph) -> Graph {
    graph.rewrite(|new, node, inputs| match &node.op {
        Op::Conv2d(conv) if conv.padding_mode != PadMode::Zeros => {
            let mut conv = *conv;
            let mut inputs = inputs.to_vec();
            if !conv.padding.is_none() {
                let pad = Pad { padding: conv.padding, mode: conv.padding_mode, channels: [0; 2] };
                let name = graph.unique_name(&format!("{}/pad", node.name));
                inputs[0] =
                    new.push(name, pad, &inputs[..1]).expect("the convolution checked its padding")[0];
            }
            conv.padding = Padding::NONE;
            conv.padding_mode = PadMode::Zeros;
            new.push(node.name.clone(), conv, &inputs).expect("the same convolution on its padded input")
        }
        _ => new.copy_node(node, inputs),
    })
}
