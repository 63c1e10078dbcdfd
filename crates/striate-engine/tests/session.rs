//! Sessions: a network trains, results are the same bits for any number of threads.

use striate_engine::{Isa, Parameters, Plan, PlanOptions, Session};
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining, LABELS, LEARNING_RATE, LOSS, Optimiser, Rule};
use striate_graph::{Builder, Graph, Type};

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
    train_graph(&graph, steps, threads, isa)
}

fn train_graph(graph: &Graph, steps: usize, threads: usize, isa: Isa) -> (Vec<f32>, Parameters) {
    let options = PlanOptions { threads, isa, ..PlanOptions::new(8) };
    let mut session = Session::new(Plan::new(graph, options).unwrap()).unwrap();
    let mut parameters = Parameters::init(graph, 7);
    session.load(&parameters).unwrap();
    let mut losses = Vec::new();
    for step in 0..steps {
        let image: Vec<f32> = (0..8 * 3 * 144).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect();
        session.set_input("image", &image).unwrap();
        for (index, label) in session.input_u32(LABELS).unwrap().iter_mut().enumerate() {
            *label = (index % 5) as u32;
        }
        session.input(LEARNING_RATE).unwrap()[0] = 0.003;
        if session.has_input(training::MOMENTUM) {
            session.input(training::MOMENTUM).unwrap()[0] = 0.9;
        }
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

/// The layer's gradients are only for the updates: they are taken where they are computed. As further outputs of the
/// graph they are in memory, and the updates steps of their own.
#[test]
fn an_update_within_the_gradients_kernel_has_the_bits_of_one_behind_it() {
    for sgd in [
        Optimiser {
            rule: Rule::Sgd { momentum: false, nesterov: false },
            weight_decay: 1e-2,
            ..Optimiser::default()
        },
        Optimiser { weight_decay: 1e-2, decay_all: false, ..Optimiser::default() },
        Optimiser { rule: Rule::Sgd { momentum: true, nesterov: true }, ..Optimiser::default() },
    ] {
        let within = training::classifier(&network(), &sgd.into()).unwrap();
        let is_gradient = |node: &&striate_graph::Node| matches!(node.op, Op::LinearBackwardWeights(_));
        let gradients = within.nodes().map(|(_, node)| node).find(is_gradient).unwrap().outputs.clone();
        let mut behind = within.clone();
        for (name, gradient) in ["d_weights", "d_bias"].into_iter().zip(gradients) {
            behind.add_output(name, gradient);
        }
        let plan = |graph: &Graph| Plan::new(graph, PlanOptions::new(8)).unwrap();
        let updates = |plan: &Plan| plan.steps().filter(|step| step.name.starts_with("fc.")).count();
        let taken = |plan: &Plan| plan.steps().filter(|step| step.algorithm.ends_with("+ sgd")).count();
        let [one, two] = [&within, &behind].map(plan);
        assert_eq!([updates(&one), taken(&one)], [0, 1]);
        assert_eq!([updates(&two), taken(&two)], [2, 0]);
        for isa in Isa::present() {
            let expected = train_graph(&behind, 3, 1, isa);
            for threads in [1, 2] {
                assert!(train_graph(&within, 3, threads, isa) == expected, "{sgd:?} on {isa}");
            }
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

#[test]
fn a_batch_norm_behind_a_bias_that_changes_is_not_lost() {
    let mut graph = Graph::new("bias");
    let input = |graph: &mut Graph, name: &str, ty| graph.push(name, Input { ty }, &[]).unwrap()[0];
    let image = input(&mut graph, "image", Type::batched([1, 2, 2]));
    let bias = input(&mut graph, "bias", Type::single([1]));
    let parameter = |graph: &mut Graph, name: &str, dims: &[usize], value| {
        let init = striate_graph::Init::Constant(value);
        graph.push(name, Parameter { dims: dims.to_vec(), role: Role::Statistic, init }, &[]).unwrap()[0]
    };
    let weights = parameter(&mut graph, "w", &[1, 1, 1, 1], 1.0);
    let norm = [("gamma", 3.0), ("beta", 0.5), ("mean", 1.0), ("var", 4.0)]
        .map(|(name, value)| parameter(&mut graph, name, &[1], value));
    let x = graph.push("conv", Conv2d::new(1, 1), &[image, weights, bias]).unwrap()[0];
    let inputs = [&[x][..], &norm].concat();
    let y = graph.push("bn", BatchNorm::default(), &inputs).unwrap()[0];
    graph.add_output("main", y);
    let mut session = Session::new(Plan::new(&graph, PlanOptions::new(1)).unwrap()).unwrap();
    session.load(&Parameters::init(&graph, 0)).unwrap();
    session.set_input("image", &[0.0, 1.0, 2.0, 3.0]).unwrap();
    session.set_input("bias", &[1.0]).unwrap();
    session.run().unwrap();
    for (x, y) in [0.0f32, 1.0, 2.0, 3.0].iter().zip(session.output("main").unwrap().data) {
        assert!((y - (3.0 * x / 2.0 + 0.5)).abs() < 1e-4, "{x} became {y}");
    }
}

#[test]
fn values_are_asked_for_as_what_they_are() {
    let graph = training::classifier(&network(), &ClassifierTraining::default()).unwrap();
    let options = PlanOptions { threads: 0, ..PlanOptions::new(2) };
    let mut session = Session::new(Plan::new(&graph, options).unwrap()).unwrap();
    assert!(session.set_input(LABELS, &[0.0, 1.0]).unwrap_err().to_string().contains("U32"));
    assert!(session.input_u32("image").unwrap_err().to_string().contains("F32"));
    assert!(session.input("imgae").unwrap_err().to_string().contains("there are: image"));
    assert!(session.scalar(training::LOGITS).is_err());
    let mut short = Parameters::init(&graph, 0);
    short.0.get_mut("fc.bias").unwrap().data.pop();
    assert!(session.load(&short).unwrap_err().to_string().contains("fc.bias"));
}
