//! Every network that torchvision publishes weights for, with weights that follow from a formula, against torchvision's
//! logits (`published/published.py goldens` writes them; `published.py compare` goes further).

use indexmap::IndexMap;
use serde::Deserialize;
use std::collections::BTreeMap;
use striate::engine::{Plan, PlanOptions, Session};
use striate::graph::training::LOGITS;
use striate::interop::Tensor;
use striate::train::weights::adopt;
use striate::zoo::{Options, Published, build_with, published};

/// Largest difference, relative to the largest logit.
const TOLERANCE: f32 = 1e-4;
/// Logits from one that the goldens keep to the next.
const KEPT: usize = 50;

#[derive(Deserialize)]
struct Goldens {
    networks: BTreeMap<String, Golden>,
}

#[derive(Deserialize)]
struct Golden {
    /// Height and width of the image.
    side: usize,
    /// The largest logit's magnitude.
    peak: f32,
    logits: Vec<f32>,
}

/// Numbers from −1 to 1 that follow from a name and their place.
fn noise(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let seed =
        name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..count as u32).map(move |at| {
        let mut x = at.wrapping_mul(2_654_435_761).wrapping_add(seed);
        x ^= x >> 15;
        x = x.wrapping_mul(0x2c1b_3c6d);
        x ^= x >> 12;
        x = x.wrapping_mul(0x297a_2d39);
        x ^= x >> 15;
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// A parameter's elements: scales around 1, shifts around 0, weights that keep the size of activations.
fn fill(name: &str, dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    let last = name.rsplit('.').next().unwrap();
    let (offset, scale) = match dims {
        [_] if last == "running_var" || last == "weight" => (1.0, 0.5),
        [_] => (0.0, 0.25),
        dims => (0.0, (6.0 / (count as f64 / dims[0] as f64)).sqrt() as f32),
    };
    Tensor::new(dims, noise(name, count).map(|value| offset + scale * value).collect::<Vec<_>>())
}

/// The logits of torchvision's network `name`.
fn logits(row: &Published, side: usize) -> Vec<f32> {
    let options = Options { input: Some([3, side, side]), auxiliary: false, ..Options::default() };
    let graph = build_with(row.network, &options).unwrap().inference();
    let tensors: IndexMap<String, Tensor> = graph
        .parameters()
        .map(|(node, parameter, _)| (node.name.clone(), fill(&node.name, &parameter.dims)))
        .collect();
    let (parameters, report) = adopt(&graph, tensors, |theirs| row.ours(theirs));
    assert!(report.is_complete(), "{report}");
    let logits = graph.logits().unwrap();
    let graph = graph.with_outputs([(LOGITS, logits)]);
    let mut session = Session::new(Plan::new(&graph, PlanOptions::new(1)).unwrap()).unwrap();
    session.load(&parameters).unwrap();
    session.set_input("image", &noise("image", 3 * side * side).collect::<Vec<_>>()).unwrap();
    session.run().unwrap();
    session.output(LOGITS).unwrap().data
}

fn check(networks: impl Fn(&str) -> bool) {
    let goldens: Goldens = serde_json::from_str(include_str!("published/goldens.json")).unwrap();
    let mut checked = 0;
    for (name, golden) in goldens.networks.iter().filter(|(name, _)| networks(name)) {
        let row = Published::find("torchvision", name).unwrap_or_else(|| panic!("{name} has no row"));
        let found = logits(row, golden.side);
        let kept: Vec<f32> = found.iter().step_by(KEPT).copied().collect();
        assert_eq!(kept.len(), golden.logits.len(), "{name}");
        let peak = found.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let pairs = kept.iter().zip(&golden.logits).chain([(&peak, &golden.peak)]);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= TOLERANCE * golden.peak, "{name}: off by {worst:e}, largest {}", golden.peak);
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn resnets_are_torchvisions() {
    check(|name| name.starts_with("resnet"));
}

#[test]
fn googlenet_is_torchvisions() {
    check(|name| name == "googlenet");
}

#[test]
fn alexnet_and_vgg_are_torchvisions() {
    check(|name| name == "alexnet" || name.starts_with("vgg"));
}

#[test]
fn every_network_of_torchvisions_has_a_golden() {
    let goldens: Goldens = serde_json::from_str(include_str!("published/goldens.json")).unwrap();
    let rows = published().filter(|row| row.source == "torchvision").map(|row| row.network);
    let tested: Vec<_> =
        goldens.networks.keys().map(|name| Published::find("torchvision", name).unwrap().network).collect();
    for network in rows {
        assert!(tested.contains(&network), "{network} has no golden");
    }
}
