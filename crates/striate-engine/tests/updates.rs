//! Updates equal their formulas; sums, bounds, updates and averages come in this order; broken values stop a guarded run.

mod common;

use common::updates::{self, Arrays, DIMS, Scalars};
use common::*;
use std::collections::BTreeSet;
use striate_engine::{Extent, Isa, Origin, Parameters, Plan, PlanOptions, RunError, Seen, Session};
use striate_graph::ops::*;
use striate_graph::training::{self, *};
use striate_graph::{Builder, Graph};

const STEPS: [Scalars; 3] = [
    Scalars { rate: 0.5, momentum: 0.9, keep: 0.0, updates: 0 },
    Scalars { rate: 0.5, momentum: 0.5, keep: 1.0, updates: 1 },
    Scalars { rate: 0.02, momentum: 0.9, keep: 0.75, updates: 2 },
];

#[test]
fn updates_equal_their_formulas() {
    for (op, names, formula) in updates::cases() {
        let graph = updates::graph(op.clone());
        let mut data = draw(&graph, 1, 4);
        let len = DIMS.iter().product();
        for name in &names[1..] {
            data.parameters.insert(name.to_string(), vec![0.0; len]);
        }
        let mut expected = Arrays::from([("w", data.parameters["w"].clone())]);
        let mut session = session(&graph, 1, 1, Isa::best(), &data);
        for (step, at) in STEPS.into_iter().enumerate() {
            let gradient = draw(&graph, 1, 10 + step as u64).inputs["gradient"].clone();
            session.set_input("gradient", &single(&gradient)).unwrap();
            for (name, value) in [("rate", at.rate), ("momentum", at.momentum), ("keep", at.keep)] {
                if session.has_input(name) {
                    session.set_input(name, &[value]).unwrap();
                }
            }
            if session.has_input("updates") {
                session.input_u32("updates").unwrap()[0] = at.updates;
            }
            session.run().unwrap();
            formula(&mut expected, &gradient, at);
        }
        let mut stored = Parameters::default();
        session.store(&mut stored);
        if !graph.outputs().is_empty() {
            stored.0.insert("factor".into(), session.output("factor").unwrap());
        }
        for name in names.iter().chain(expected.contains_key("factor").then_some(&"factor")) {
            let expected = &expected[name];
            let tolerance = 3.0 * 16.0 * f64::from(f32::EPSILON) * greatest([&expected[..]]).max(1.0);
            compare(&format!("{name} ({op:?})"), &stored.get(name).unwrap().data, expected, tolerance)
                .unwrap();
        }
    }
}

/// Convolutions, a batch norm, fully connected layers.
fn network() -> Graph {
    let mut net = Builder::new("small");
    let x = net.input("image", [2, 6, 6]);
    let x = net.conv2d("conv1", x, Conv2d::new(4, 3).padding(1));
    let x = net.batch_norm("bn1", x, BatchNorm::default());
    let x = net.relu(x);
    let x = net.conv2d("conv2", x, Conv2d::new(3, 3));
    let x = net.relu(x);
    let x = net.linear("fc1", x, Linear::new(6));
    let x = net.relu(x);
    let x = net.linear("fc2", x, Linear::new(3));
    net.output(x);
    net.finish().unwrap()
}

const BATCH: usize = 6;

fn image(from: usize, count: usize) -> Vec<f32> {
    (from * 72..(from + count) * 72).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect()
}

fn trained(updates: Updates, batch: usize, threads: usize) -> Session {
    let how = ClassifierTraining { updates, ..Default::default() };
    let graph = training::classifier(&network(), &how).unwrap();
    let options = PlanOptions { threads, ..PlanOptions::new(batch) };
    let mut session = Session::new(Plan::new(&graph, options).unwrap()).unwrap();
    let mut parameters = Parameters::init(&graph, 7);
    for name in parameters.0.keys().cloned().collect::<Vec<_>>() {
        if let Some(of) = name.strip_suffix(AVERAGE) {
            let tensor = parameters.0[of].clone();
            parameters.0.insert(name, tensor);
        }
    }
    session.load(&parameters).unwrap();
    give(&mut session, 0, batch);
    session
}

/// Images from number `from` on, and all scalars.
fn give(session: &mut Session, from: usize, count: usize) {
    session.set_input("image", &image(from, count)).unwrap();
    for (index, label) in session.input_u32(LABELS).unwrap().iter_mut().enumerate() {
        *label = ((from + index) % 3) as u32;
    }
    for (name, value) in [(LEARNING_RATE, 0.1), (MOMENTUM, 0.9), (AVERAGE_DECAY, 0.75)] {
        if session.has_input(name) {
            session.input(name).unwrap()[0] = value;
        }
    }
    if session.has_input(UPDATES) {
        session.input_u32(UPDATES).unwrap()[0] = 0;
    }
}

fn stored(session: &Session) -> Parameters {
    let mut parameters = Parameters::default();
    session.store(&mut parameters);
    parameters
}

fn adam() -> Updates {
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: true };
    let optimiser = Optimiser { rule, weight_decay: 0.1, ..Optimiser::default() };
    Updates { optimiser, clip: Some(0.5), accumulate: 2, average: true, ..Updates::default() }
}

#[test]
fn everything_together_has_the_same_bits_for_any_number_of_threads() {
    let run = |threads| {
        let mut session = trained(adam(), BATCH, threads);
        for step in 0..4 {
            session.input(KEEP).unwrap()[0] = (step % 2) as f32;
            session.input_u32(UPDATES).unwrap()[0] = step / 2;
            let extent = if step % 2 == 0 { Extent::Gradients } else { Extent::Step };
            session.run_guarded(LOSS, extent).unwrap();
        }
        stored(&session)
    };
    let one = run(1);
    assert!(one.0.values().all(|tensor| tensor.data.iter().all(|x| x.is_finite())));
    for threads in [2, 3] {
        assert!(run(threads) == one, "{threads} threads differ from one");
    }
}

/// Without a batch norm, a step of two halves is the step of the whole.
#[test]
fn gradients_of_parts_add_up_to_those_of_the_whole() {
    let frozen = BTreeSet::from(["bn1.weight".to_string(), "bn1.bias".to_string()]);
    let updates = |accumulate| Updates { accumulate, frozen: frozen.clone(), ..Updates::default() };
    let mut whole = trained(updates(1), BATCH, 1);
    whole.run_guarded(LOSS, Extent::Step).unwrap();
    let mut parts = trained(updates(2), BATCH / 2, 1);
    let before = stored(&parts);
    // What is left over from another step must not count.
    parts.input(KEEP).unwrap()[0] = 0.0;
    parts.run_guarded(LOSS, Extent::Gradients).unwrap();
    for (name, tensor) in stored(&parts).0.iter().filter(|(name, _)| !name.ends_with(SUM)) {
        assert_eq!(*tensor, before.0[name], "{name} changed before the step was whole");
    }
    for (keep, from, extent) in [(0.0, 0, Extent::Gradients), (1.0, BATCH / 2, Extent::Step)] {
        give(&mut parts, from, BATCH / 2);
        parts.input(KEEP).unwrap()[0] = keep;
        parts.run_guarded(LOSS, extent).unwrap();
    }
    let (whole, parts) = (stored(&whole), stored(&parts));
    for (name, tensor) in &whole.0 {
        let expected: Vec<f64> = tensor.data.iter().map(|x| f64::from(*x)).collect();
        let tolerance = 1e-6 * greatest([&expected[..]]).max(1.0);
        compare(name, &parts.0[name].data, &expected, tolerance).unwrap();
        let is_frozen = name.starts_with("bn1.");
        assert_eq!(*tensor == before.0[name], is_frozen, "{name}");
    }
}

#[test]
fn the_bound_is_on_the_norm_of_all_gradients_together() {
    let rule = Rule::Sgd { momentum: false, nesterov: false };
    let optimiser = Optimiser { rule, ..Optimiser::default() };
    let gradients = |clip| {
        let updates = Updates { optimiser, clip, ..Updates::default() };
        let mut session = trained(updates, BATCH, 1);
        let before = stored(&session);
        session.run_guarded(LOSS, Extent::Step).unwrap();
        let after = stored(&session);
        let trained = before.0.iter().filter(|(name, _)| !name.contains("running"));
        let change = trained.flat_map(|(name, tensor)| {
            tensor.data.iter().zip(&after.0[name].data).map(|(a, b)| f64::from(a - b) / 0.1)
        });
        change.collect::<Vec<f64>>()
    };
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let free = gradients(None);
    let bounded = gradients(Some(0.25));
    assert!(norm(&free) > 0.5, "there is something to bound: {}", norm(&free));
    assert!((norm(&bounded) - 0.25).abs() < 1e-4, "{}", norm(&bounded));
    let factor = 0.25 / norm(&free);
    for (free, bounded) in free.iter().zip(&bounded) {
        assert!((free * factor - bounded).abs() < 1e-5, "{free} became {bounded}");
    }
    assert_eq!(gradients(Some(1e3)), free, "a bound that is not reached changes nothing");
}

#[test]
fn averages_follow_what_a_step_has_made_of_the_parameters() {
    let updates = Updates { average: true, ..Updates::default() };
    let mut session = trained(updates, BATCH, 1);
    let before = stored(&session);
    session.run_guarded(LOSS, Extent::Step).unwrap();
    let after = stored(&session);
    let mut averaged = 0;
    for (name, average) in &after.0 {
        let Some(of) = name.strip_suffix(AVERAGE) else { continue };
        averaged += 1;
        let parameters = before.0[of].data.iter().zip(&after.0[of].data);
        let expected: Vec<f64> =
            parameters.map(|(a, b)| 0.75 * f64::from(*a) + 0.25 * f64::from(*b)).collect();
        assert_ne!(after.0[of], before.0[of], "{of} changes");
        compare(name, &average.data, &expected, 1e-6).unwrap();
    }
    assert_eq!(averaged, 12, "weights, biases and running statistics");
}

/// What a guarded run says, and whether it left the parameters as numbers.
fn broken(change: impl Fn(&mut Session, &mut Parameters)) -> (Seen, Option<Origin>, bool) {
    let mut session = trained(Updates::default(), BATCH, 2);
    let mut parameters = stored(&session);
    change(&mut session, &mut parameters);
    session.load(&parameters).unwrap();
    let Err(RunError::NotFinite(found)) = session.run_guarded(LOSS, Extent::Step) else {
        panic!("it went on")
    };
    assert!(!found.value.is_finite());
    let after = stored(&session);
    let mut trained = after.0.iter().filter(|(name, _)| !name.contains("running"));
    let numbers = trained.all(|(_, tensor)| tensor.data.iter().all(|x| x.is_finite()));
    (found.seen, found.origin, numbers)
}

#[test]
fn a_broken_value_stops_the_run_and_is_traced() {
    let (seen, origin, numbers) = broken(|session, _| session.input("image").unwrap()[5] = f32::INFINITY);
    assert_eq!((seen, numbers), (Seen::Loss, true));
    assert_eq!(origin, Some(Origin::Input { name: "image".into(), value: f32::INFINITY }));

    let set = |name: &'static str, value: f32| {
        move |_: &mut Session, parameters: &mut Parameters| {
            parameters.0.get_mut(name).unwrap().data.fill(value);
        }
    };
    let (seen, origin, numbers) = broken(set("fc1.bias", f32::INFINITY));
    assert_eq!((seen, numbers), (Seen::Loss, false), "it was broken before");
    assert_eq!(origin, Some(Origin::Parameter { name: "fc1.bias".into(), value: f32::INFINITY }));

    let (seen, origin, numbers) = broken(set("conv2.weight", 3e38));
    assert_eq!((seen, numbers), (Seen::Loss, true));
    let Some(Origin::Step { name, op: "conv2d", .. }) = origin else { panic!("{origin:?}") };
    assert!(name.starts_with("conv2"), "{name}");

    // The network's result does not depend on how a factor is divided among its layers; the gradients do.
    let (seen, origin, numbers) = broken(|_, parameters| {
        for (name, factor) in [
            ("conv2.weight", 1e-35),
            ("conv2.bias", 0.0),
            ("fc1.weight", 1e18),
            ("fc1.bias", 0.0),
            ("fc2.weight", 1e24),
        ] {
            parameters.0.get_mut(name).unwrap().data.iter_mut().for_each(|x| *x *= factor);
        }
    });
    let Seen::Gradient { of } = seen else { panic!("{seen:?}, {origin:?}") };
    assert!(of.starts_with("conv") && numbers, "{of}: parameters stay numbers");
    assert_eq!(origin, None, "layers above have been updated, so that the step cannot be gone through again");
}

#[test]
fn nothing_is_differentiated_below_the_lowest_trained_parameter() {
    let names = network();
    let parameters = || names.parameters().map(|(node, ..)| node.name.clone());
    let frozen =
        |but: &str| -> BTreeSet<String> { parameters().filter(|name| !name.starts_with(but)).collect() };
    let graph = |frozen| {
        let updates = Updates { frozen, ..Updates::default() };
        training::classifier(&network(), &ClassifierTraining { updates, ..Default::default() }).unwrap()
    };
    let head = graph(frozen("fc2"));
    let backward: Vec<&str> =
        head.nodes().map(|(_, node)| node.op.variant()).filter(|name| name.contains("Backward")).collect();
    assert_eq!(backward, ["CrossEntropyBackward", "LinearBackwardWeights"]);
    assert!(head.nodes().any(|(_, node)| matches!(&node.op, Op::BatchNorm(norm) if !norm.training)));
    assert_eq!(head.nodes().filter(|(_, node)| node.op.is_update()).count(), 2);

    // Through a batch norm that stays as it is.
    let first = graph(frozen("conv1"));
    assert!(first.nodes().any(|(_, node)| matches!(node.op, Op::Conv2dBackwardWeights(_))));
    let updated: Vec<&str> =
        first.nodes().filter(|(_, node)| node.op.is_update()).map(|(_, node)| node.name.as_str()).collect();
    assert_eq!(updated, ["conv1.weight/update", "conv1.bias/update"]);
}
