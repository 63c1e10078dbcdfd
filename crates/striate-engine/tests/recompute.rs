//! Recomputation: a training step that computes values again has the same bits, and takes less memory.

use striate_engine::{Isa, Parameters, Plan, PlanOptions, Precision, Session};
use striate_graph::ops::*;
use striate_graph::training::{
    self, ClassifierTraining, LABELS, LEARNING_RATE, LOGITS, LOSS, MOMENTUM, STEP,
};
use striate_graph::{Builder, Graph, Init, Recompute, Value, recompute};

const LEVELS: [Recompute; 3] = [Recompute::None, Recompute::Cheap, Recompute::Blocks];

const BATCH: usize = 4;

fn norm_relu(net: &mut Builder, name: &str, x: Value, conv: Conv2d) -> Value {
    let x = net.conv2d(name, x, conv.no_bias());
    let x = net.batch_norm(&format!("{name}.bn"), x, BatchNorm::default());
    net.relu(x)
}

fn classify(mut net: Builder, x: Value) -> Graph {
    let x = net.apply(GlobalPool::AVG, &[x]);
    let x = net.flatten(x);
    let x = net.dropout(x, 0.25);
    let x = net.linear("fc", x, Linear::new(5));
    let x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

/// Residual blocks with and without a projection.
fn residual() -> Graph {
    let mut net = Builder::new("residual");
    let x = net.input("image", [3, 12, 12]);
    let mut x = norm_relu(&mut net, "stem", x, Conv2d::new(8, 3).padding(1));
    for (block, (out, stride)) in
        [(8, 1), (12, 2), (12, 1), (12, 1), (16, 2), (16, 1)].into_iter().enumerate()
    {
        let first = Conv2d::new(out, 3).padding(1).stride(stride);
        let y = norm_relu(&mut net, &format!("{block}.a"), x, first);
        let y = net.conv2d(&format!("{block}.b"), y, Conv2d::new(out, 3).padding(1).no_bias());
        let y = net.batch_norm(&format!("{block}.b.bn"), y, BatchNorm::default());
        if stride == 2 {
            let projection = Conv2d::new(out, 1).stride(stride).no_bias();
            x = net.conv2d(&format!("{block}.c"), x, projection);
            x = net.batch_norm(&format!("{block}.c.bn"), x, BatchNorm::default());
        }
        let y = net.add(y, x);
        x = net.relu(y);
    }
    classify(net, x)
}

/// Inception modules, normalised or with biases, with maximum pools, dropout and local response normalisation between.
fn inception(normalised: bool) -> Graph {
    let mut net = Builder::new("inception");
    let image = net.input("image", [3, 12, 12]);
    let layer = |net: &mut Builder, name: String, x: Value, conv: Conv2d| {
        if normalised {
            return norm_relu(net, &name, x, conv);
        }
        let x = net.conv2d(&name, x, conv);
        net.relu(x)
    };
    let mut x = layer(&mut net, "stem".into(), image, Conv2d::new(8, 3).padding(1));
    x = net.local_response_norm(x, LocalResponseNorm::ALEXNET);
    for module in 0..3 {
        let a = layer(&mut net, format!("{module}.a"), x, Conv2d::new(4, 1));
        let b = layer(&mut net, format!("{module}.b1"), x, Conv2d::new(3, 1));
        let b = layer(&mut net, format!("{module}.b2"), b, Conv2d::new(6, 3).padding(1));
        let c = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
        let c = layer(&mut net, format!("{module}.c"), c, Conv2d::new(5, 1));
        x = net.concat(&[a, b, c]);
        x = net.dropout(x, 0.1);
        x = net.max_pool2d(x, MaxPool2d::new(3).stride(2).padding(1));
    }
    classify(net, x)
}

/// Instance norms and gates, whose gradients read what they computed on the way.
fn gated() -> Graph {
    let mut net = Builder::new("gated");
    let mut x = net.input("image", [3, 12, 12]);
    for block in 0..4 {
        let y = net.conv2d(&format!("{block}.a"), x, Conv2d::new(8, 3).padding(1));
        let y = net.apply(Standardize { axes: vec![1, 2], eps: 1e-3 }, &[y]);
        let scale = net.parameter(&format!("{block}.scale"), [8, 1, 1], Role::Scale, Init::ONES);
        let y = net.apply(Binary::MULTIPLY, &[y, scale]);
        let y = net.activation(y, ActivationKind::Swish { alpha: 1.0 });
        let gate = net.global_avg_pool(y);
        let gate = net.activation(gate, ActivationKind::HardSigmoid { alpha: 0.2, beta: 0.5 });
        let y = net.apply(Binary::MULTIPLY, &[y, gate]);
        x = if block > 0 { net.apply(Binary::SUBTRACT, &[x, y]) } else { y };
        x = net.activation(x, ActivationKind::HardSwish);
    }
    classify(net, x)
}

fn networks() -> [Graph; 4] {
    [residual(), inception(true), inception(false), gated()]
}

fn step_of(network: &Graph, level: Recompute) -> Graph {
    recompute(&training::classifier(network, &ClassifierTraining::default()).unwrap(), level)
}

/// Losses and scores of each step, and all that is learned and averaged.
fn train(graph: &Graph, options: PlanOptions) -> (Vec<Vec<f32>>, Parameters) {
    let mut session = Session::new(Plan::new(graph, options).unwrap()).unwrap();
    session.set_seed(5);
    let mut parameters = Parameters::init(graph, 7);
    session.load(&parameters).unwrap();
    let mut results = Vec::new();
    for step in 0..3 {
        let image = (0..BATCH * 3 * 144).map(|i| ((i * 37 + step * 11) % 101) as f32 / 50.0 - 1.0);
        session.set_input("image", &image.collect::<Vec<f32>>()).unwrap();
        for (index, label) in session.input_u32(LABELS).unwrap().iter_mut().enumerate() {
            *label = (index % 5) as u32;
        }
        session.input(LEARNING_RATE).unwrap()[0] = 0.05;
        session.input(MOMENTUM).unwrap()[0] = 0.9;
        session.input_u32(STEP).unwrap()[0] = step as u32;
        session.run().unwrap();
        results.push(vec![session.scalar(LOSS).unwrap()]);
        results.push(session.output(LOGITS).unwrap().data);
    }
    session.store(&mut parameters);
    assert!(results.iter().flatten().all(|x| x.is_finite()), "numbers that are none tell nothing");
    (results, parameters)
}

#[test]
fn what_is_computed_again_has_the_same_bits() {
    for network in networks() {
        for isa in Isa::present() {
            for precision in [Precision::F32, Precision::Bf16] {
                let options = PlanOptions { threads: 2, isa, precision, ..PlanOptions::new(BATCH) };
                let expected = train(&step_of(&network, Recompute::None), options);
                for level in [Recompute::Cheap, Recompute::Blocks] {
                    let found = train(&step_of(&network, level), options);
                    assert!(
                        found == expected,
                        "{} with {level} differs on {isa} in {precision}",
                        network.name
                    );
                }
            }
        }
    }
}

fn copies(graph: &Graph, is_meant: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().filter(|(_, node)| node.name.contains("/again") && is_meant(&node.op)).count()
}

#[test]
fn blocks_compute_convolutions_again_and_cheap_does_not() {
    let [none, cheap, blocks] = LEVELS.map(|level| step_of(&residual(), level));
    let is_conv = |op: &Op| matches!(op, Op::Conv2d(_));
    let is_norm = |op: &Op| matches!(op, Op::Normalize(_));
    assert_eq!(copies(&none, |_| true), 0);
    assert!(copies(&cheap, is_norm) > 0 && copies(&cheap, is_conv) == 0);
    assert!(copies(&blocks, is_conv) > 0);
    // Statistics are taken once at each level.
    for graph in [&none, &cheap, &blocks] {
        let norms = graph.nodes().filter(|(_, node)| matches!(node.op, Op::BatchNorm(_))).count();
        assert_eq!(norms, 15);
    }
}

#[test]
fn without_a_backward_part_nothing_is_computed_again() {
    let graph = training::training_mode(&residual()).unwrap();
    for level in LEVELS {
        assert_eq!(recompute(&graph, level), graph);
    }
}

#[test]
fn names_read_back() {
    for level in LEVELS {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
    assert!("some".parse::<Recompute>().unwrap_err().contains("none, cheap or blocks"));
}
