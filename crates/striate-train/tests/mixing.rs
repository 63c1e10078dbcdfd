//! The training graph of mixed images: loss and update are the weighted means of those of either class.

use striate_engine::{Parameters, Plan, PlanOptions, Session};
use striate_graph::ops::Linear;
use striate_graph::training::{
    self, ClassifierTraining, LABELS, LEARNING_RATE, LOSS, MIX, OTHER_LABELS, Optimiser, Rule,
};
use striate_graph::{Builder, Graph};

/// Two heads, the second an auxiliary one.
fn network() -> Graph {
    let mut net = Builder::new("two heads");
    let image = net.input("image", [1, 2, 2]);
    let main = net.linear("main", image, Linear::new(3));
    let auxiliary = net.linear("auxiliary", image, Linear::new(3));
    let (main, auxiliary) = (net.softmax(main), net.softmax(auxiliary));
    net.output(main);
    net.output(auxiliary);
    net.finish().unwrap()
}

const IMAGES: [f32; 8] = [0.1, -0.4, 0.8, 0.3, -0.7, 0.2, 0.5, -0.9];

/// Loss and parameters after a step; of two classes the first counts `weight`.
fn step(labels: [u32; 2], other: Option<([u32; 2], f32)>) -> (f64, Vec<f64>) {
    let rule = Rule::Sgd { momentum: false, nesterov: false };
    let plain = ClassifierTraining::from(Optimiser { rule, ..Optimiser::default() });
    let how = ClassifierTraining { smoothing: 0.1, mixed: other.is_some(), ..plain };
    let graph = training::classifier(&network(), &how).unwrap();
    let mut session = Session::new(Plan::new(&graph, PlanOptions::new(2)).unwrap()).unwrap();
    session.load(&Parameters::init(&graph, 3)).unwrap();
    session.input("image").unwrap().copy_from_slice(&IMAGES);
    session.input_u32(LABELS).unwrap().copy_from_slice(&labels);
    session.input(LEARNING_RATE).unwrap()[0] = 0.5;
    assert_eq!(session.has_input(OTHER_LABELS) && session.has_input(MIX), other.is_some());
    if let Some((other, weight)) = other {
        session.input_u32(OTHER_LABELS).unwrap().copy_from_slice(&other);
        session.input(MIX).unwrap()[0] = weight;
    }
    session.run().unwrap();
    let mut parameters = Parameters::default();
    session.store(&mut parameters);
    let values = parameters.0.values().flat_map(|tensor| &tensor.data).map(|value| f64::from(*value));
    (f64::from(session.scalar(LOSS).unwrap()), values.collect())
}

#[test]
fn loss_and_update_are_weighted_means() {
    let (first, second) = (step([0, 2], None), step([1, 0], None));
    assert!((first.0 - second.0).abs() > 0.01);
    for weight in [0.0, 0.3, 0.75, 1.0] {
        let (loss, parameters) = step([0, 2], Some(([1, 0], weight)));
        let weight = f64::from(weight);
        let mean = |a: f64, b: f64| weight * a + (1.0 - weight) * b;
        assert!((loss - mean(first.0, second.0)).abs() < 1e-5, "{loss} {first:?} {second:?}");
        for ((value, a), b) in parameters.iter().zip(&first.1).zip(&second.1) {
            assert!((value - mean(*a, *b)).abs() < 1e-5, "{value} {a} {b}");
        }
    }
}

#[test]
fn names_of_inputs_are_reserved_only_where_they_are_needed() {
    let mut net = Builder::new("taken");
    let image = net.input("image", [1, 2, 2]);
    let scores = net.linear(MIX, image, Linear::new(3));
    net.output(scores);
    let network = net.finish().unwrap();
    training::classifier(&network, &ClassifierTraining::default()).unwrap();
    let mixed = ClassifierTraining { mixed: true, ..Default::default() };
    assert!(training::classifier(&network, &mixed).unwrap_err().to_string().contains(MIX));
}
