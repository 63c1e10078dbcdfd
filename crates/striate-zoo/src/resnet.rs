//! Residual networks (He et al. 2015): blocks that add what they compute to what they got.
//!
//! Where a block changes the shape, its shortcut is a 1×1 projection (option B of section 4.1, the networks that were
//! published) or, on CIFAR-10, every second pixel with channels of zeros behind (option A, no parameters). The `plain`
//! networks are the same without shortcuts, which is what shows that deeper is not better by itself.
//!
//! The paper halves the image in the first convolution of a bottleneck, the 1×1; `-v1.5` halves it in the 3×3, as the
//! networks do whose weights torchvision publishes (they are `resnet50-v1.5`, …, and `resnet18`, `resnet34`, where
//! there is no difference). Parameters carry torchvision's names.
//!
//! Convolutions start He-normal by fan-out and batch norms at 1 and 0, as in the code published with the paper; the
//! fully connected layer uniform in ±1/√fan-in.

use crate::entry::{Task, classify};
use crate::{Entry, IMAGENET};
use striate_graph::ops::{BatchNorm, Conv2d, Linear, MaxPool2d, Pad, PadMode, Padding, Slice};
use striate_graph::{Builder, Fan, Init, Value};

/// A column of table 1, or a row of section 4.2.
struct Residual {
    stem: Stem,
    block: Block,
    /// Blocks in each stage; a stage after the first begins by halving the image and doubling the width.
    blocks: &'static [usize],
    shortcut: Shortcut,
}

enum Stem {
    /// 7×7, 64, stride 2; 3×3 maximum pool, stride 2.
    ImageNet,
    /// 3×3, 16.
    Cifar,
}

#[derive(Clone, Copy)]
enum Block {
    /// 3×3, 3×3.
    Basic,
    /// 1×1, 3×3, 1×1 to four times the width; stride in the first.
    Bottleneck,
    /// The same with the stride in the 3×3.
    BottleneckV15,
}

enum Shortcut {
    /// Option B: a 1×1 convolution where the shape changes.
    Projection,
    /// Option A: every second pixel, channels of zeros.
    Zeros,
    /// None: a plain network.
    Plain,
}

use Block::{Basic, Bottleneck, BottleneckV15};

const R18: Residual =
    Residual { stem: Stem::ImageNet, block: Basic, blocks: &[2, 2, 2, 2], shortcut: Shortcut::Projection };
const R34: Residual = Residual { blocks: &[3, 4, 6, 3], ..R18 };
const R50: Residual = Residual { block: Bottleneck, blocks: &[3, 4, 6, 3], ..R18 };
const R101: Residual = Residual { blocks: &[3, 4, 23, 3], ..R50 };
const R152: Residual = Residual { blocks: &[3, 8, 36, 3], ..R50 };

/// Depth 6n + 2: three stages of n blocks.
const fn cifar(blocks: &'static [usize; 3]) -> Residual {
    Residual { stem: Stem::Cifar, block: Basic, blocks, shortcut: Shortcut::Zeros }
}
const CIFAR20: Residual = cifar(&[3; 3]);
const CIFAR32: Residual = cifar(&[5; 3]);
const CIFAR44: Residual = cifar(&[7; 3]);
const CIFAR56: Residual = cifar(&[9; 3]);
const CIFAR110: Residual = cifar(&[18; 3]);

const RESNET18: Entry = Entry {
    name: "resnet18",
    family: "ResNet",
    summary: "18 layers, basic blocks",
    paper: "He, Zhang, Ren and Sun 2015, arXiv:1512.03385, table 1",
    input: IMAGENET,
    classes: 1000,
    params: 11_689_512,
    auxiliary_params: 0,
    macs: 1_814_073_344,
    network: |net, x, task| residual(net, x, task, &R18),
};
const RESNET34: Entry = Entry {
    name: "resnet34",
    summary: "34 layers, basic blocks",
    params: 21_797_672,
    macs: 3_663_761_408,
    network: |net, x, task| residual(net, x, task, &R34),
    ..RESNET18
};
const RESNET50: Entry = Entry {
    name: "resnet50",
    summary: "50 layers, bottlenecks, stride in the first 1×1",
    params: 25_557_032,
    macs: 3_857_973_248,
    network: |net, x, task| residual(net, x, task, &R50),
    ..RESNET18
};
const RESNET101: Entry = Entry {
    name: "resnet101",
    summary: "101 layers, bottlenecks, stride in the first 1×1",
    params: 44_549_160,
    macs: 7_570_194_432,
    network: |net, x, task| residual(net, x, task, &R101),
    ..RESNET18
};
const RESNET152: Entry = Entry {
    name: "resnet152",
    summary: "152 layers, bottlenecks, stride in the first 1×1",
    params: 60_192_808,
    macs: 11_282_415_616,
    network: |net, x, task| residual(net, x, task, &R152),
    ..RESNET18
};
const RESNET20_CIFAR: Entry = Entry {
    name: "resnet20-cifar",
    summary: "20 layers for CIFAR-10, shortcuts without parameters",
    paper: "He, Zhang, Ren and Sun 2015, arXiv:1512.03385, section 4.2",
    input: [3, 32, 32],
    classes: 10,
    params: 269_722,
    macs: 40_551_040,
    network: |net, x, task| residual(net, x, task, &CIFAR20),
    ..RESNET18
};
const RESNET32_CIFAR: Entry = Entry {
    name: "resnet32-cifar",
    summary: "32 layers for CIFAR-10, shortcuts without parameters",
    params: 464_154,
    macs: 68_862_592,
    network: |net, x, task| residual(net, x, task, &CIFAR32),
    ..RESNET20_CIFAR
};
const RESNET44_CIFAR: Entry = Entry {
    name: "resnet44-cifar",
    summary: "44 layers for CIFAR-10, shortcuts without parameters",
    params: 658_586,
    macs: 97_174_144,
    network: |net, x, task| residual(net, x, task, &CIFAR44),
    ..RESNET20_CIFAR
};
const RESNET56_CIFAR: Entry = Entry {
    name: "resnet56-cifar",
    summary: "56 layers for CIFAR-10, shortcuts without parameters",
    params: 853_018,
    macs: 125_485_696,
    network: |net, x, task| residual(net, x, task, &CIFAR56),
    ..RESNET20_CIFAR
};

pub(crate) static ENTRIES: [Entry; 19] = [
    RESNET18,
    RESNET34,
    RESNET50,
    RESNET101,
    RESNET152,
    Entry {
        name: "resnet50-v1.5",
        summary: "50 layers, bottlenecks, stride in the 3×3; torchvision's resnet50",
        macs: 4_089_184_256,
        network: |net, x, task| residual(net, x, task, &Residual { block: BottleneckV15, ..R50 }),
        ..RESNET50
    },
    Entry {
        name: "resnet101-v1.5",
        summary: "101 layers, bottlenecks, stride in the 3×3; torchvision's resnet101",
        macs: 7_801_405_440,
        network: |net, x, task| residual(net, x, task, &Residual { block: BottleneckV15, ..R101 }),
        ..RESNET101
    },
    Entry {
        name: "resnet152-v1.5",
        summary: "152 layers, bottlenecks, stride in the 3×3; torchvision's resnet152",
        macs: 11_513_626_624,
        network: |net, x, task| residual(net, x, task, &Residual { block: BottleneckV15, ..R152 }),
        ..RESNET152
    },
    Entry {
        name: "plain18",
        summary: "18 layers without shortcuts",
        params: 11_515_688,
        macs: 1_794_805_760,
        network: |net, x, task| residual(net, x, task, &Residual { shortcut: Shortcut::Plain, ..R18 }),
        ..RESNET18
    },
    Entry {
        name: "plain34",
        summary: "34 layers without shortcuts",
        params: 21_623_848,
        macs: 3_644_493_824,
        network: |net, x, task| residual(net, x, task, &Residual { shortcut: Shortcut::Plain, ..R34 }),
        ..RESNET34
    },
    RESNET20_CIFAR,
    RESNET32_CIFAR,
    RESNET44_CIFAR,
    RESNET56_CIFAR,
    Entry {
        name: "resnet110-cifar",
        summary: "110 layers for CIFAR-10, shortcuts without parameters",
        params: 1_727_962,
        macs: 252_887_680,
        network: |net, x, task| residual(net, x, task, &CIFAR110),
        ..RESNET20_CIFAR
    },
    Entry {
        name: "plain20-cifar",
        summary: "20 layers for CIFAR-10 without shortcuts",
        network: |net, x, task| residual(net, x, task, &Residual { shortcut: Shortcut::Plain, ..CIFAR20 }),
        ..RESNET20_CIFAR
    },
    Entry {
        name: "plain32-cifar",
        summary: "32 layers for CIFAR-10 without shortcuts",
        network: |net, x, task| residual(net, x, task, &Residual { shortcut: Shortcut::Plain, ..CIFAR32 }),
        ..RESNET32_CIFAR
    },
    Entry {
        name: "plain44-cifar",
        summary: "44 layers for CIFAR-10 without shortcuts",
        network: |net, x, task| residual(net, x, task, &Residual { shortcut: Shortcut::Plain, ..CIFAR44 }),
        ..RESNET44_CIFAR
    },
    Entry {
        name: "plain56-cifar",
        summary: "56 layers for CIFAR-10 without shortcuts",
        network: |net, x, task| residual(net, x, task, &Residual { shortcut: Shortcut::Plain, ..CIFAR56 }),
        ..RESNET56_CIFAR
    },
];

fn residual(net: &mut Builder, image: Value, task: &Task, column: &Residual) {
    net.weight_init(Init::HeNormal(Fan::Out));
    let (stem, mut width) = match column.stem {
        Stem::ImageNet => (Conv2d::new(64, 7).stride(2).padding(3), 64),
        Stem::Cifar => (Conv2d::new(16, 3).padding(1), 16),
    };
    let mut x = conv_bn(net, ["conv1", "bn1"], image, stem);
    x = net.relu(x);
    if let Stem::ImageNet = column.stem {
        x = net.max_pool2d(x, MaxPool2d::new(3).stride(2).padding(1));
    }
    for (stage, &blocks) in column.blocks.iter().enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let scope = format!("layer{}.{index}", stage + 1);
            x = net.scope(scope, |net| column.block(net, x, width, stride));
        }
        width *= 2;
    }
    x = net.global_avg_pool(x);
    net.weight_init(Init::LecunUniform);
    let scores = net.linear("fc", x, Linear::new(task.classes));
    classify(net, scores);
}

impl Block {
    fn convolutions(self, width: usize, stride: usize) -> Vec<Conv2d> {
        let one = |channels| Conv2d::new(channels, 1).no_bias();
        let three = |channels| Conv2d::new(channels, 3).padding(1).no_bias();
        match self {
            Basic => vec![three(width).stride(stride), three(width)],
            Bottleneck => vec![one(width).stride(stride), three(width), one(4 * width)],
            BottleneckV15 => vec![one(width), three(width).stride(stride), one(4 * width)],
        }
    }
}

impl Residual {
    fn block(&self, net: &mut Builder, x: Value, width: usize, stride: usize) -> Value {
        let mut y = x;
        for (index, conv) in self.block.convolutions(width, stride).into_iter().enumerate() {
            if index > 0 {
                y = net.relu(y);
            }
            let names = ["conv", "bn"].map(|kind| format!("{kind}{}", index + 1));
            y = conv_bn(net, names.each_ref().map(String::as_str), y, conv);
        }
        if let Some(shortcut) = self.shortcut(net, x, y, stride) {
            y = net.add(y, shortcut);
        }
        net.relu(y)
    }

    /// The block's input `x` in the shape of its residual `y`.
    fn shortcut(&self, net: &mut Builder, x: Value, y: Value, stride: usize) -> Option<Value> {
        if let Shortcut::Plain = self.shortcut {
            return None;
        }
        if net.ty(x) == net.ty(y) {
            return Some(x);
        }
        let [channels, height, width] = net.ty(x).chw().unwrap_or([1; 3]);
        let out = net.ty(y).dims[0];
        Some(if let Shortcut::Zeros = self.shortcut {
            let rows = net.apply(Slice { axis: 1, start: 0, end: height, step: stride }, &[x]);
            let pixels = net.apply(Slice { axis: 2, start: 0, end: width, step: stride }, &[rows]);
            let zeros = Pad {
                padding: Padding::NONE,
                mode: PadMode::Zeros,
                channels: [0, out.saturating_sub(channels)],
            };
            net.apply(zeros, &[pixels])
        } else {
            let projection = Conv2d::new(out, 1).stride(stride).no_bias();
            conv_bn(net, ["downsample.0", "downsample.1"], x, projection)
        })
    }
}

/// A convolution without bias and its batch norm.
fn conv_bn(net: &mut Builder, [conv, bn]: [&str; 2], x: Value, filters: Conv2d) -> Value {
    let x = net.conv2d(conv, x, filters.no_bias());
    net.batch_norm(bn, x, BatchNorm::default())
}
