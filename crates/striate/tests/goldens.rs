//! Networks against PyTorch: outputs, gradients, ten training steps (files and tolerances: `goldens/README.md`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use striate_engine::{Parameters, Plan, PlanOptions, Session, Tensor};
use striate_graph::ops::*;
use striate_graph::training::{self, LABELS, LEARNING_RATE, LOGITS, LOSS, MOMENTUM, Optimiser};
use striate_graph::{Builder, Graph, Value, autodiff};
use striate_interop::TensorFile;

/// Largest difference, relative to the largest element of the reference.
const TOLERANCE: f32 = 1e-4;

struct Golden {
    name: &'static str,
    file: TensorFile,
    settings: serde_json::Value,
}

impl Golden {
    fn open(name: &'static str) -> Self {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.safetensors"));
        let file = TensorFile::read(&path).unwrap();
        let settings = serde_json::from_str(&file.metadata["golden"]).unwrap();
        Self { name, file, settings }
    }

    fn setting(&self, key: &str) -> f32 {
        self.settings[key].as_f64().unwrap() as f32
    }

    fn data(&self, name: &str) -> &[f32] {
        &self.file.tensors[name].data
    }

    fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [f32])> + 'a {
        self.file.tensors.iter().filter_map(move |(name, tensor)| {
            name.strip_prefix(prefix).map(|name| (name, tensor.data.as_slice()))
        })
    }

    /// The initial parameters, completed by zero velocities where the graph has them.
    fn parameters(&self, graph: &Graph) -> Parameters {
        let mut parameters = Parameters::init(graph, 0);
        let mut given = BTreeMap::new();
        for (name, tensor) in &self.file.tensors {
            if let Some(name) = name.strip_prefix("param.") {
                given.insert(name.to_string(), Tensor::new(tensor.shape.clone(), tensor.data.clone()));
            }
        }
        for (node, parameter, _) in graph.parameters().filter(|(_, p, _)| p.role != Role::OptimiserState) {
            assert!(
                given.contains_key(&node.name),
                "{}: {} {parameter:?} is not in the golden",
                self.name,
                node.name
            );
        }
        parameters.0.extend(given);
        parameters
    }

    fn session(&self, graph: &Graph) -> Session {
        let batch = self.file.tensors["input"].shape[0];
        let mut session = Session::new(Plan::new(graph, PlanOptions::new(batch)).unwrap()).unwrap();
        session.load(&self.parameters(graph)).unwrap();
        session.set_input("image", self.data("input")).unwrap();
        if session.has_input(LABELS) {
            for (to, from) in session.input_u32(LABELS).unwrap().iter_mut().zip(self.data("labels")) {
                *to = *from as u32;
            }
        }
        session
    }

    fn compare(&self, what: &str, found: &[f32], expected: &[f32], scale: f32) {
        assert_eq!(found.len(), expected.len(), "{} {what}", self.name);
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let limit = TOLERANCE * scale;
        assert!(worst <= limit, "{} {what}: off by {worst:e}, allowed {limit:e}", self.name);
    }

    fn check(&self, net: &Graph) {
        let greatest = |data: &[f32]| data.iter().fold(0.0f32, |max, x| max.max(x.abs()));

        let mut eval = self.session(&net.inference());
        eval.run().unwrap();
        let expected = self.data("eval.output");
        self.compare("eval output", &eval.output("main").unwrap().data, expected, greatest(expected));

        // The first step's gradients, the image's included.
        let mut graph = training::training_mode(net).unwrap();
        let labels = Input { ty: striate_graph::Type::batched([]).of(striate_graph::DType::U32) };
        let labels = graph.push(LABELS, labels, &[]).unwrap()[0];
        let logits = graph.output().unwrap();
        let loss = graph.push("loss", CrossEntropy { smoothing: 0.0 }, &[logits, labels]).unwrap()[0];
        let wanted: Vec<(String, Value)> = graph
            .parameters()
            .filter(|(_, parameter, _)| parameter.role.is_trained())
            .map(|(node, _, value)| (node.name.clone(), value))
            .chain(graph.image().map(|value| ("input".to_string(), value)))
            .collect();
        let values: Vec<Value> = wanted.iter().map(|(_, value)| *value).collect();
        let gradients = autodiff::gradients(&mut graph, loss, &values).unwrap();
        let mut graph = graph.with_outputs([(LOSS, loss), (LOGITS, logits)]);
        for ((name, _), gradient) in wanted.iter().zip(gradients) {
            graph.add_output(name.clone(), gradient.unwrap());
        }
        let mut step = self.session(&graph);
        step.run().unwrap();
        let expected = self.data("train.output");
        self.compare("train output", &step.output(LOGITS).unwrap().data, expected, greatest(expected));
        // Some gradients vanish (a bias before a batch norm), so parameters' are measured by the largest of all.
        let all = self.with_prefix("grad.").filter(|(name, _)| *name != "input");
        let scale = all.map(|(_, data)| greatest(data)).fold(0.0, f32::max);
        let mut compared = 0;
        for (name, expected) in self.with_prefix("grad.") {
            let scale = if name == "input" { greatest(expected) } else { scale };
            self.compare(&format!("gradient of {name}"), &step.output(name).unwrap().data, expected, scale);
            compared += 1;
        }
        assert_eq!(compared, wanted.len(), "{}: every gradient has its golden", self.name);

        // Ten steps of training on the same batch.
        let sgd = Optimiser { weight_decay: self.setting("weight_decay"), ..Optimiser::default() };
        let graph = training::classifier(net, &sgd.into()).unwrap();
        let mut session = self.session(&graph);
        session.input(LEARNING_RATE).unwrap()[0] = self.setting("lr");
        session.input(MOMENTUM).unwrap()[0] = self.setting("momentum");
        let losses: Vec<f32> = (0..10)
            .map(|_| {
                session.run().unwrap();
                session.scalar(LOSS).unwrap()
            })
            .collect();
        let expected = self.data("losses");
        self.compare("losses of ten steps", &losses, expected, greatest(expected));
        let mut parameters = Parameters::default();
        session.store(&mut parameters);
        for (name, expected) in self.with_prefix("final.") {
            let found = &parameters.get(name).unwrap_or_else(|| panic!("{name} is no parameter")).data;
            self.compare(&format!("final {name}"), found, expected, greatest(expected).max(0.1));
        }
    }
}

fn finish(mut net: Builder, x: Value) -> Graph {
    net.output(x);
    net.finish().unwrap()
}

/// Global average pool and a fully connected layer of ten classes.
fn head(net: &mut Builder, name: &str, x: Value) -> Value {
    let x = net.global_avg_pool(x);
    net.linear(name, x, Linear::new(10))
}

/// Convolution without bias, batch norm and, where `relu`, ReLU.
fn conv_bn(net: &mut Builder, [conv, bn]: [&str; 2], x: Value, op: Conv2d, eps: f32, relu: bool) -> Value {
    let x = net.conv2d(conv, x, op.no_bias());
    let x = net.batch_norm(bn, x, BatchNorm::eps(eps));
    if relu { net.relu(x) } else { x }
}

#[test]
fn lenet5() {
    let mut net = Builder::new("lenet5");
    let mut x = net.input("image", [1, 28, 28]);
    for (name, conv) in [("conv1", Conv2d::new(6, 5).padding(2)), ("conv2", Conv2d::new(16, 5))] {
        x = net.conv2d(name, x, conv);
        x = net.relu(x);
        x = net.max_pool2d(x, MaxPool2d::new(2));
    }
    x = net.conv2d("conv3", x, Conv2d::new(120, 5));
    x = net.relu(x);
    x = net.linear("fc1", x, Linear::new(84));
    x = net.relu(x);
    x = net.linear("fc2", x, Linear::new(10));
    Golden::open("lenet5").check(&finish(net, x));
}

#[test]
fn alexnet_bits() {
    let mut net = Builder::new("alexnet_bits");
    let x = net.input("image", [3, 43, 43]);
    let x = net.conv2d("features.0", x, Conv2d::new(12, 11).stride(4));
    let x = net.relu(x);
    let x = net.local_response_norm(x, LocalResponseNorm { size: 5, alpha: 0.5, beta: 0.75, k: 2.0 });
    let x = net.max_pool2d(x, MaxPool2d::new(3).stride(2));
    let x = net.conv2d("features.4", x, Conv2d::new(16, 5).padding(2).groups(2));
    let x = net.relu(x);
    let x = net.linear("classifier.0", x, Linear::new(10));
    Golden::open("alexnet_bits").check(&finish(net, x));
}

#[test]
fn vgg_block() {
    let mut net = Builder::new("vgg_block");
    let mut x = net.input("image", [3, 12, 12]);
    for [conv, bn] in [["features.0", "features.1"], ["features.3", "features.4"]] {
        x = net.conv2d(conv, x, Conv2d::new(12, 3).padding(1));
        x = net.batch_norm(bn, x, BatchNorm::default());
        x = net.relu(x);
    }
    x = net.max_pool2d(x, MaxPool2d::new(2));
    x = head(&mut net, "classifier.0", x);
    Golden::open("vgg_block").check(&finish(net, x));
}

#[test]
fn googlenet_stem() {
    let mut net = Builder::new("googlenet_stem");
    let x = net.input("image", [3, 32, 32]);
    let x =
        conv_bn(&mut net, ["conv1.conv", "conv1.bn"], x, Conv2d::new(12, 7).stride(2).padding(3), 1e-3, true);
    let x = net.max_pool2d(x, MaxPool2d::new(3).stride(2).ceil());
    let x = head(&mut net, "fc", x);
    Golden::open("googlenet_stem").check(&finish(net, x));
}

#[test]
fn inception_block() {
    let mut net = Builder::new("inception_block");
    let x = net.input("image", [10, 7, 7]);
    let unit = |net: &mut Builder, name: &str, x, op| {
        conv_bn(net, [&format!("{name}.conv"), &format!("{name}.bn")], x, op, 1e-3, true)
    };
    let one = unit(&mut net, "branch1", x, Conv2d::new(8, 1));
    let three = unit(&mut net, "branch2.0", x, Conv2d::new(6, 1));
    let three = unit(&mut net, "branch2.1", three, Conv2d::new(12, 3).padding(1));
    let five = unit(&mut net, "branch3.0", x, Conv2d::new(4, 1));
    let five = unit(&mut net, "branch3.1", five, Conv2d::new(6, 3).padding(1));
    let pool = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
    let pool = unit(&mut net, "branch4.1", pool, Conv2d::new(4, 1));
    let x = net.concat(&[one, three, five, pool]);
    let x = head(&mut net, "fc", x);
    Golden::open("inception_block").check(&finish(net, x));
}

#[test]
fn basic_block() {
    let mut net = Builder::new("basic_block");
    let x = net.input("image", [8, 8, 8]);
    let y = conv_bn(&mut net, ["conv1", "bn1"], x, Conv2d::new(12, 3).stride(2).padding(1), 1e-5, true);
    let y = conv_bn(&mut net, ["conv2", "bn2"], y, Conv2d::new(12, 3).padding(1), 1e-5, false);
    let shortcut =
        conv_bn(&mut net, ["downsample.0", "downsample.1"], x, Conv2d::new(12, 1).stride(2), 1e-5, false);
    let x = net.add(y, shortcut);
    let x = net.relu(x);
    let x = head(&mut net, "fc", x);
    Golden::open("basic_block").check(&finish(net, x));
}

#[test]
fn bottleneck_block() {
    let mut net = Builder::new("bottleneck_block");
    let x = net.input("image", [16, 7, 7]);
    let y = conv_bn(&mut net, ["conv1", "bn1"], x, Conv2d::new(6, 1), 1e-5, true);
    let y = conv_bn(&mut net, ["conv2", "bn2"], y, Conv2d::new(6, 3).stride(2).padding(1), 1e-5, true);
    let y = conv_bn(&mut net, ["conv3", "bn3"], y, Conv2d::new(24, 1), 1e-5, false);
    let shortcut =
        conv_bn(&mut net, ["downsample.0", "downsample.1"], x, Conv2d::new(24, 1).stride(2), 1e-5, false);
    let x = net.add(y, shortcut);
    let x = net.relu(x);
    let x = head(&mut net, "fc", x);
    Golden::open("bottleneck_block").check(&finish(net, x));
}
