//! Sessions: a network trains, results are the same bits for any number of threads.

use striate_engine::{Isa, Parameters, Plan, PlanOptions, Session};
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining, LABELS, LEARNING_RATE, LOSS};
use striate_graph::{Builder, Graph};

/// Convolution, batch norm, a residual block, an inception block, dropout: everything that plans fuse or alias.
fn network() -> Graph {
    let mut net = Builder::new("mixed");
    let x = net.input("image", [3, 12, 12]);
    let x = net.conv2d("conv1", x, Conv2d::new(8, 3).padding(1).no_bias());
    let x = net.batch_norm("bn1", x, BatchNorm::default());
    let x = net.relu(x);
    let y = net.conv2d("conv2", x, Conv2d::new(8, 3).padding(1));
    let y = net.add(y, x);
    let x = net.relu(y);
    let x = net.max_pool2d(x, MaxPool2d::new(3).stride(2).padding(1));
    let a = net.conv2d("a", x, Conv2d::new(4, 1));
    let a = net.relu(a);
    let b = net.conv2d("b", x, Conv2d::new(6, 3).padding(1));
    let b = net.relu(b);
    let c = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
    let x = net.concat(&[a, b, c, a]);
    let x = net.conv2d("conv3", x, Conv2d::new(6, 3).stride(2).padding(1));
    let x = net.flatten(x);
    let x = net.dropout(x, 0.25);
    let x = net.linear("fc", x, Linear::new(5));
    let x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

fn train(steps: usize, threads: usize, isa: Isa) -> (Vec<f32>, Parameters) {
    let graph = training::classifier(&network(), &ClassifierTraining::default()).unwrap();
    let mut session =
        Session::new(Plan::new(&graph, PlanOptions { batch: 8, threads, isa }).unwrap()).unwrap();
    let mut parameters = Parameters::init(&graph, 7);
    session.load(&parameters).unwrap();
    let mut losses = Vec::new();
    for step in 0..steps {
        let image: Vec<f32> = (0..8 * 3 * 144).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect();
        session.set_input("image", &image).unwrap();
        for (index, label) in session.input_u32(LABELS).unwrap().iter_mut().enumerate() {
            *label = (index % 5) as u32;
        }
        session.input(LEARNING_RATE).unwrap()[0] = 0.003;
        session.input(training::MOMENTUM).unwrap()[0] = 0.9;
        session.input_u32(training::STEP).unwrap()[0] = step as u32;
        session.run().unwrap();
        losses.push(session.scalar(LOSS).unwrap());
    }
    session.store(&mut parameters);
    (losses, parameters)
}

#[test]
fn training_lowers_the_loss() {
    let (losses, _) = train(30, 2, Isa::best());
    assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    for isa in Isa::present() {
        let one = train(4, 1, isa);
        for threads in [2, 3] {
            assert!(train(4, threads, isa) == one, "{threads} threads differ from one on {isa}");
        }
    }
}

#[test]
fn inference_agrees_for_every_batch_size() {
    let graph = network().inference();
    let parameters = Parameters::init(&graph, 3);
    let image: Vec<f32> = (0..4 * 3 * 144).map(|i| ((i * 61 % 103) as f32) / 51.0 - 1.0).collect();
    let run = |batch: usize, data: &[f32]| {
        let mut session = Session::new(Plan::new(&graph, PlanOptions::new(batch)).unwrap()).unwrap();
        session.load(&parameters).unwrap();
        session.set_input("image", data).unwrap();
        session.run().unwrap();
        let first = session.output("main").unwrap();
        session.run().unwrap();
        assert_eq!(first, session.output("main").unwrap(), "a second run gives the same");
        first
    };
    let whole = run(4, &image);
    assert_eq!(whole.dims, [4, 5]);
    for index in 0..4 {
        let one = run(1, &image[index * 3 * 144..][..3 * 144]);
        for (a, b) in one.data.iter().zip(&whole.data[index * 5..]) {
            assert!((a - b).abs() < 1e-5, "image {index}: {a} alone, {b} in a batch");
        }
    }
}
