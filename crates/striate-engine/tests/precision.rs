//! Plans in bfloat16: close to float32, the same bits for any number of threads, and learning alike.

mod common;

use common::*;
use striate_engine::{Algorithm, Isa, Parameters, Plan, PlanOptions, Precision, Session, reference};
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining, LABELS, LEARNING_RATE, LOSS, MOMENTUM};
use striate_graph::{Builder, DType, Graph};

/// Every kind of layer between an image and its classes, channel counts odd and even, slices of a concatenation.
fn network() -> Graph {
    let mut net = Builder::new("mixture");
    let x = net.input("image", [3, 20, 20]);
    let x = net.conv2d("stem", x, Conv2d::new(18, 5).stride(2).padding(2));
    let x = net.relu(x);
    let x = net.local_response_norm(x, LocalResponseNorm::ALEXNET);
    let x = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
    let y = net.conv2d("conv1", x, Conv2d::new(18, 3).padding(1).no_bias());
    let y = net.batch_norm("bn1", y, BatchNorm::default());
    let x = net.add(y, x);
    let x = net.relu(x);
    let a = net.conv2d("a", x, Conv2d::new(15, 3).padding(1).groups(3));
    let b = net.avg_pool2d(x, AvgPool2d::new(3).stride(1).padding(1));
    let c = net.conv2d("c", x, Conv2d::new(7, 1));
    let x = net.concat(&[a, b, c]);
    let x = net.activation(x, ActivationKind::Tanh);
    let x = net.conv2d("down", x, Conv2d::new(32, 3).stride(2).padding(1));
    let x = net.relu(x);
    let x = net.flatten(x);
    let x = net.dropout(x, 0.2);
    let x = net.linear("fc1", x, Linear::new(40));
    let x = net.relu(x);
    let x = net.linear("fc2", x, Linear::new(10));
    net.output(x);
    net.finish().unwrap()
}

const BATCH: usize = 4;

fn options(precision: Precision, isa: Isa, threads: usize) -> PlanOptions {
    PlanOptions { precision, isa, threads, ..PlanOptions::new(BATCH) }
}

fn ready(graph: &Graph, options: PlanOptions) -> Session {
    let mut session = Session::new(Plan::new(graph, options).unwrap()).unwrap();
    session.load(&Parameters::init(graph, 7)).unwrap();
    let image = session.input("image").unwrap();
    image.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * 0.37).sin());
    session
}

/// The largest difference relative to the largest element.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let largest = |it: &mut dyn Iterator<Item = f32>| it.fold(0.0f32, |most, x| most.max(x.abs()));
    largest(&mut a.iter().zip(b).map(|(a, b)| a - b)) / largest(&mut b.iter().copied())
}

#[test]
fn inference_is_close_to_float32_and_independent_of_threads() {
    let graph = network().inference();
    for isa in Isa::present() {
        let run = |precision, threads| {
            let mut session = ready(&graph, options(precision, isa, threads));
            session.run().unwrap();
            session.output("main").unwrap().data
        };
        let (full, narrow) = (run(Precision::F32, 1), run(Precision::Bf16, 1));
        let error = distance(&narrow, &full);
        // An activation keeps 8 bits: a relative rounding of 1/256 a layer, of random sign.
        assert!((1e-5..0.03).contains(&error), "{isa}: {error}");
        assert_eq!(narrow, run(Precision::Bf16, 2), "{isa}");
    }
}

/// Each layer where its input is stored in bfloat16: behind a sigmoid, which neither is an input nor an output.
#[test]
fn every_layer_reads_and_writes_what_is_stored_narrow() {
    check_all(arrays::layers().into_iter().chain(layers()), |case| {
        let (batch, data) = (3, draw(&case.graph, 3, 4));
        let expected = reference::run(&case.graph, batch, &data.inputs, &data.parameters)
            .map_err(|error| error.to_string())?;
        let values = case.graph.nodes().flat_map(|(_, node)| &node.outputs);
        let greatest = greatest(values.map(|value| &expected[*value])).max(1.0);
        let mut graph = striate_graph::Graph::new("narrow");
        let mut map = std::collections::HashMap::new();
        // A copy of each input, and of each output, is stored narrow.
        for (_, node) in case.graph.nodes() {
            let inputs: Vec<_> = node.inputs.iter().map(|value| map[value]).collect();
            let mut outputs = graph.copy_node(node, &inputs);
            let is_float = graph.ty(outputs[0]).dtype == DType::F32;
            if matches!(node.op, Op::Input(_)) && is_float {
                let name = graph.unique_name("narrow");
                let kind = ActivationKind::Clip { min: f32::NEG_INFINITY, max: f32::INFINITY };
                outputs = graph.push(name, Activation { kind }, &outputs).unwrap();
            }
            map.extend(node.outputs.iter().copied().zip(outputs));
        }
        for output in case.graph.outputs() {
            let name = graph.unique_name("wide");
            let wide = graph.push(name, Scale { factor: 1.0 }, &[map[&output.value]]).unwrap()[0];
            graph.add_output(output.name.clone(), wide);
        }
        let narrow = PlanOptions { precision: Precision::Bf16, threads: 2, ..PlanOptions::new(batch) };
        let mut session = session_of(&graph, narrow, &data);
        session.run().map_err(|error| error.to_string())?;
        for output in case.graph.outputs() {
            let found = session.output(&output.name).map_err(|error| error.to_string())?.data;
            // An operand and a result are off by 1/256 of their size, and slopes are up to about 10.
            compare(&output.name, &found, &expected[output.value], 0.1 * greatest)?;
        }
        Ok(())
    });
}

#[test]
fn activations_take_half_the_memory() {
    let mut net = Builder::new("maps");
    let x = net.input("image", [16, 32, 32]);
    let x = (0..4).fold(x, |x, i| net.conv2d(&format!("conv{i}"), x, Conv2d::new(64, 1)));
    let x = net.conv2d("last", x, Conv2d::new(1, 1));
    net.output(x);
    let graph = net.finish().unwrap();
    let bytes = |precision| {
        let options =
            PlanOptions { batch: 64, algorithm: Algorithm::Direct, ..options(precision, Isa::best(), 1) };
        let plan = Plan::new(&graph, options).unwrap();
        plan.arena_bytes() - plan.persistent_bytes()
    };
    assert!(10 * bytes(Precision::Bf16) < 6 * bytes(Precision::F32));
}

#[test]
fn training_follows_float32() {
    let graph = training::classifier(&network(), &ClassifierTraining::default()).unwrap();
    let losses = |precision, threads| {
        let mut session = ready(&graph, options(precision, Isa::best(), threads));
        session.input(LEARNING_RATE).unwrap()[0] = 0.02;
        session.input(MOMENTUM).unwrap()[0] = 0.9;
        session.input_u32(LABELS).unwrap().copy_from_slice(&[3, 1, 4, 1]);
        let mut step = || {
            session.run().unwrap();
            session.scalar(LOSS).unwrap()
        };
        (0..12).map(|_| step()).collect::<Vec<f32>>()
    };
    let (full, narrow) = (losses(Precision::F32, 1), losses(Precision::Bf16, 1));
    assert_eq!(narrow, losses(Precision::Bf16, 2));
    assert!(full[11] < 0.5 * full[0], "float32 learns: {full:?}");
    for (step, (full, narrow)) in full.iter().zip(&narrow).enumerate() {
        assert!((full - narrow).abs() < 0.08 * full.max(0.5), "step {step}: {full} and {narrow}");
    }
}
