//! What can be read off a network without running it: sizes, parameters, multiplications, memory, receptive
//! fields.

mod receptive_field;

pub use receptive_field::ReceptiveField;

use crate::ops::{Op, Operation, Reach};
use crate::{Graph, NodeId, Type};

/// One layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its operation: `conv2d`.
    pub op: &'static str,
    /// The operation with its attributes, in a few words: `3×3, 64, stride 2`.
    pub detail: String,
    /// Dimensions of its output for one image: `[C, H, W]` or `[features]`.
    pub output: Vec<usize>,
    /// Trainable parameters; a parameter that several layers share counts at the first.
    pub params: usize,
    /// Multiply-accumulates for one image, of convolutions and fully connected layers.
    pub macs: u64,
    /// Elements of the output that need memory of their own for one image; 0 for what runs in place or only
    /// renames (activation, dropout, batch norm after a convolution, flatten, concatenation, softmax).
    pub activations: usize,
    /// What the output sees of the input image, where it follows a grid.
    pub receptive_field: Option<ReceptiveField>,
    /// Rows and columns of its input that no output reads.
    pub unread: [usize; 2],
}

/// Sums over the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Trainable parameters.
    pub params: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Elements of memory for one image, forward.
    pub activations: usize,
}

/// A network, layer by layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The layers in order, the input first.
    pub layers: Vec<Layer>,
    /// Their sums.
    pub total: Total,
}

impl Total {
    /// Bytes of activations for a forward pass of `batch` images in float32.
    pub fn forward_bytes(&self, batch: usize) -> u64 {
        (4 * self.activations as u64).saturating_mul(batch as u64)
    }

    /// Bytes of activations and their gradients for a training step: twice the forward pass.
    pub fn training_bytes(&self, batch: usize) -> u64 {
        self.forward_bytes(batch).saturating_mul(2)
    }
}

/// Reads off everything.
pub fn summarise(graph: &Graph) -> Summary {
    let fields = receptive_field::receptive_fields(graph);
    let mut counted = vec![false; graph.value_count()];
    let mut layers = Vec::new();
    for (id, node) in graph.nodes() {
        if matches!(node.op, Op::Parameter(_) | Op::Constant(_)) || node.outputs.is_empty() {
            continue;
        }
        let mut params = 0;
        for (_, parameter, value) in graph.parameters_of(id) {
            if parameter.role.is_trained() && !std::mem::replace(&mut counted[value.index()], true) {
                params += graph.ty(value).elements();
            }
        }
        let inputs: Vec<&Type> = node.inputs.iter().map(|v| graph.ty(*v)).collect();
        let outputs: Vec<&Type> = node.outputs.iter().map(|v| graph.ty(*v)).collect();
        layers.push(Layer {
            id,
            name: node.name.clone(),
            op: node.op.kind(),
            detail: node.op.detail(),
            output: outputs[0].dims.clone(),
            params,
            macs: node.op.macs(&inputs, &outputs),
            activations: if node.op.is_in_place() { 0 } else { outputs[0].elements() },
            receptive_field: fields[node.outputs[0].index()],
            unread: unread(&node.op, &inputs),
        });
    }
    let mut total = Total::default();
    for layer in &layers {
        total.params = total.params.saturating_add(layer.params);
        total.macs = total.macs.saturating_add(layer.macs);
        total.activations = total.activations.saturating_add(layer.activations);
    }
    Summary { layers, total }
}

fn unread(op: &Op, inputs: &[&Type]) -> [usize; 2] {
    let Some((src, Reach::Window(windows))) = inputs.first().map(|src| (src, op.reach(src))) else {
        return [0; 2];
    };
    match src.chw() {
        Some([_, height, width]) if !op.is_in_place() => {
            [windows[0].unread(height), windows[1].unread(width)]
        }
        _ => [0; 2],
    }
}

impl Op {
    /// The attributes in a few words, for tables.
    pub fn detail(&self) -> String {
        let window = |kernel: [usize; 2], stride: [usize; 2], padding: crate::ops::Padding| {
            let mut text = format!("{}×{}", kernel[0], kernel[1]);
            match stride {
                [1, 1] => {}
                [v, h] if v == h => text += &format!(", stride {v}"),
                [v, h] => text += &format!(", stride {v}×{h}"),
            }
            let crate::ops::Padding { top, bottom, left, right } = padding;
            if top == bottom && left == right && top == left {
                if top > 0 {
                    text += &format!(", pad {top}");
                }
            } else {
                text += &format!(", pad {top}/{bottom}/{left}/{right}");
            }
            text
        };
        let conv = |c: &crate::ops::Conv2d| {
            let mut text = window(c.kernel, c.stride, c.padding);
            if c.dilation != [1, 1] {
                text += &format!(", dilation {}×{}", c.dilation[0], c.dilation[1]);
            }
            if c.groups > 1 {
                text += &format!(", {} groups", c.groups);
            }
            text
        };
        match self {
            Op::Conv2d(c) => conv(c),
            Op::LocallyConnected2d(l) => conv(&l.conv),
            Op::ConvTranspose2d(c) => window(c.kernel, c.stride, c.padding),
            Op::MaxPool2d(p) => window(p.kernel, p.stride, p.padding),
            Op::AvgPool2d(p) => window(p.kernel, p.stride, p.padding),
            Op::LocalResponseNorm(n) => format!("{} channels", n.size),
            Op::Dropout(d) => format!("p {}", d.p),
            Op::Slice(s) => format!("axis {} from {} to {} step {}", s.axis, s.start, s.end, s.step),
            _ => String::new(),
        }
    }
}
