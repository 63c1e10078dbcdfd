//! The classic convolutional networks, each defined once, variants as rows.
//!
//! A family is a file that reads like its paper's table; a network is a row, an [`Entry`], with its paper, its input
//! and its exact size. Parameters carry their published names and start as the paper says.
//!
//! ```
//! use striate_zoo::{Options, build, build_with};
//!
//! let vgg = build("vgg16")?;
//! assert_eq!(vgg.parameter_count(), 138_357_544);
//!
//! let small = Options { input: Some([3, 64, 64]), classes: Some(10), ..Options::default() };
//! assert_eq!(build_with("resnet18", &small)?.parameter_count(), 11_181_642);
//! # Ok::<(), striate_zoo::ZooError>(())
//! ```
//!
//! # Where published figures differ from what the networks are
//!
//! A multiply-accumulate (MAC) counts once. Tables often print thousands of 1024 ("K") and leave biases out.
//!
//! | network | published | here |
//! |---|---|---|
//! | `lenet5` | 60,000 trainable parameters | 61,706: all 6 maps feed all 16, no trainable subsampling, a fully connected output. `lenet5-1998` has the paper's 60,000 and the 850 of a fully connected output in place of 840 fixed ones |
//! | `alexnet` | "60 million" (2012), two towers | 62,378,344 without groups; `alexnet-grouped` 60,965,224 |
//! | `alexnet` | pooling after normalisation (2012) | normalisation after pooling, as the lecture lists it; `alexnet-grouped` keeps the paper's order |
//! | `vgg16` | 24 M values, 93 MB an image (CS231n's listing) | its rows sum to 15,237,608 values, 58.1 MiB |
//! | `googlenet` | "only 5 million parameters", "12× less than AlexNet" | 6,998,552, 9 times less than `alexnet`; 13,378,280 while training with both auxiliary heads |
//! | `resnet34`, `resnet50` | 3.6×10⁹, 3.8×10⁹ | 3,663,761,408 and 3,857,973,248 MACs: the paper cuts off where it rounds 101 and 152 layers |
//! | `resnet50`, … | torchvision: 4.09×10⁹ | the paper has the stride in a block's first 1×1; torchvision's networks are `resnet50-v1.5`, … |
//!
//! GoogLeNet's table 1 row by row, weights without biases (K = 1024, M = 10⁶). Its operations follow from its filters
//! except in the first row and in 5a; several of its parameter counts do not:
//!
//! | row | printed | weights | in K | MACs |
//! |---|---|---|---|---|
//! | convolution 7×7 | 2.7K, 34M | 9,408 | 9.2K | 118.0M |
//! | convolution 3×3 with its reduction | 112K, 360M | 114,688 | 112.0K | 359.7M |
//! | inception 3a | 159K, 128M | 163,328 | 159.5K | 128.0M |
//! | inception 3b | 380K, 304M | 388,096 | 379.0K | 304.3M |
//! | inception 4a | 364K, 73M | 375,552 | 366.8K | 73.6M |
//! | inception 4b | 437K, 88M | 448,512 | 438.0K | 87.9M |
//! | inception 4c | 463K, 100M | 509,440 | 497.5K | 99.9M |
//! | inception 4d | 580K, 119M | 604,672 | 590.5K | 118.5M |
//! | inception 4e | 840K, 170M | 867,328 | 847.0K | 170.0M |
//! | inception 5a | 1072K, 54M | 1,042,432 | 1018.0K | 51.1M |
//! | inception 5b | 1388K, 71M | 1,442,816 | 1409.0K | 70.7M |
//! | linear | 1000K, 1M | 1,024,000 | 1000.0K | 1.0M |

#![forbid(unsafe_code)]

mod alexnet;
mod alphago;
mod entry;
mod error;
mod googlenet;
mod lenet;
mod mlp;
mod modules;
mod published;
mod resnet;
mod vgg;

pub use entry::{Entry, Options};
pub use error::ZooError;
pub use published::{Published, published};

use striate_graph::Graph;

/// An ImageNet image: colours, rows, columns.
const IMAGENET: [usize; 3] = [3, 224, 224];

static FAMILIES: [&[Entry]; 7] = [
    &mlp::ENTRIES,
    &lenet::ENTRIES,
    &alexnet::ENTRIES,
    &vgg::ENTRIES,
    &googlenet::ENTRIES,
    &resnet::ENTRIES,
    &alphago::ENTRIES,
];

/// Every network, in the order of the families' years.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// The names that [`build`] knows; `mlp-D-M-K` with numbers of choice besides.
pub fn names() -> impl Iterator<Item = &'static str> {
    entries().map(|entry| entry.name)
}

/// The row of a network.
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.name == name)
}

/// The network as published.
///
/// # Errors
/// [`ZooError::Unknown`] with the nearest names.
pub fn build(name: &str) -> Result<Graph, ZooError> {
    build_with(name, &Options::default())
}

/// The network for another input or other classes.
///
/// # Errors
/// [`ZooError::Unknown`] with the nearest names; otherwise what the network and the options do not agree on.
pub fn build_with(name: &str, options: &Options) -> Result<Graph, ZooError> {
    match find(name) {
        Some(entry) => entry.build(options),
        None => match mlp::widths(name) {
            Some(widths) => mlp::build(name, &widths, options),
            None => Err(ZooError::unknown(name)),
        },
    }
}
