//! Whole networks of the zoo, as planned (fused, by whatever algorithms the plan chooses), against the naive
//! interpreter in float64.

use std::collections::BTreeMap;
use striate::engine::reference;
use striate::prelude::*;
use striate::zoo::{Options, build_with};

/// Largest difference of the class scores, relative to the largest score.
const TOLERANCE: f64 = 1e-4;

fn check(name: &str, input: Option<[usize; 3]>, batch: usize) {
    let options = Options { input, ..Options::default() };
    let graph = build_with(name, &options).unwrap().inference();
    let logits = graph.logits().unwrap();
    let graph = graph.with_outputs([("logits", logits)]).prune(|_| true);
    let logits = graph.output().unwrap();
    let parameters = Parameters::init(&graph, 11);
    let image = graph.image().unwrap();
    let len = batch * graph.ty(image).elements();
    let data: Vec<f32> = (0..len).map(|i| ((i * 7919 % 2003) as f32) / 1001.0 - 1.0).collect();

    let mut session = Session::new(Plan::new(&graph, PlanOptions::new(batch)).unwrap()).unwrap();
    session.load(&parameters).unwrap();
    session.set_input("image", &data).unwrap();
    session.run().unwrap();
    let found = session.output("logits").unwrap().data;

    let wide = |data: &[f32]| data.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let inputs = BTreeMap::from([("image".to_string(), wide(&data))]);
    let weights = parameters.0.iter().map(|(name, tensor)| (name.clone(), wide(&tensor.data))).collect();
    let values = reference::run(&graph, batch, &inputs, &weights).unwrap();
    let expected = &values[logits];
    let greatest = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    assert!(greatest.is_finite() && greatest > 0.0, "{name}: scores up to {greatest}");
    let worst = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst <= TOLERANCE * greatest, "{name}: off by {:e} of the largest score", worst / greatest);
}

#[test]
fn residual_networks() {
    check("resnet20-cifar", None, 3);
    check("resnet18", Some([3, 64, 64]), 2);
    check("resnet50-v1.5", Some([3, 64, 64]), 1);
}

#[test]
fn plain_networks() {
    check("lenet5", None, 5);
    check("lenet5-1998", None, 2);
    check("vgg11-bn", Some([3, 32, 32]), 2);
    check("mlp", None, 3);
}

#[test]
fn inception_networks() {
    check("googlenet-bn", Some([3, 96, 96]), 1);
}
