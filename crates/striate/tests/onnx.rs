//! Networks of the zoo through ONNX and back: the same structure, cost and outputs.

use std::collections::BTreeMap;
use striate::graph::ops::{Op, Operation};
use striate::interop::Tensor as FileTensor;
use striate::interop::onnx::{self, ExportOptions, ImportOptions};
use striate::prelude::*;
use striate::zoo::{Options, entries};

/// Larger networks differ in their numbers alone; a script beside this file compares them too.
const MOST_PARAMETERS: usize = 13_000_000;

fn write(graph: &Graph, parameters: &Parameters, opset: i64) -> Vec<u8> {
    let tensor = |name: &str| {
        let tensor = parameters.get(name)?;
        Some(FileTensor::new(tensor.dims.clone(), tensor.data.clone()))
    };
    let tensors: BTreeMap<String, FileTensor> =
        graph.parameters().filter_map(|(node, ..)| Some((node.name.clone(), tensor(&node.name)?))).collect();
    let options = ExportOptions { opset, ..ExportOptions::default() };
    onnx::write(graph, |name| tensors.get(name), &options)
        .unwrap_or_else(|error| panic!("{}: {error}", graph.name))
}

fn read(bytes: &[u8]) -> (Graph, Parameters) {
    let imported = onnx::parse(bytes, None, &ImportOptions::default()).unwrap();
    let tensors =
        imported.parameters.into_iter().map(|(name, tensor)| (name, Tensor::new(tensor.shape, tensor.data)));
    (imported.graph, Parameters(tensors.collect()))
}

/// Operations in order, without what is not there in use.
fn operations(graph: &Graph) -> Vec<&'static str> {
    let used = graph.nodes().filter(|(_, node)| !matches!(node.op, Op::Dropout(_)));
    used.map(|(_, node)| node.op.kind()).collect()
}

fn names(graph: &Graph) -> Vec<String> {
    graph.parameters().map(|(node, ..)| node.name.clone()).collect()
}

fn run(graph: &Graph, parameters: &Parameters) -> Vec<f32> {
    let graph = graph.inference();
    let mut session = Session::new(Plan::new(&graph, PlanOptions::new(2)).unwrap()).unwrap();
    session.load(parameters).unwrap();
    let (input, value) = graph.inputs().next().unwrap();
    let len = 2 * graph.ty(value).elements();
    let image: Vec<f32> = (0..len).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect();
    session.set_input(&input.name, &image).unwrap();
    session.run().unwrap();
    session.output("main").unwrap().data
}

#[test]
fn the_zoo_is_the_same_after_a_journey() {
    let mut seen = 0;
    for entry in entries().filter(|entry| entry.params < MOST_PARAMETERS) {
        let options = Options { auxiliary: false, ..Options::default() };
        let graph = zoo::build_with(entry.name, &options).unwrap().inference();
        let parameters = Parameters::init(&graph, 0);
        for opset in [11, onnx::DEFAULT_OPSET] {
            let (again, values) = read(&write(&graph, &parameters, opset));
            assert_eq!(names(&again), names(&graph), "{}", entry.name);
            let [before, after] = [&graph, &again].map(operations);
            let position = before.iter().zip(&after).position(|(a, b)| a != b);
            assert_eq!(before, after, "{}, opset {opset}, first at {position:?}", entry.name);
            let [before, after] = [&graph, &again].map(|graph| analysis::summarise(graph).total);
            assert_eq!((before.params, before.macs), (after.params, after.macs), "{}", entry.name);
            for (name, value) in &values.0 {
                assert!(parameters.get(name) == Some(value), "{}: {name} differs", entry.name);
            }
        }
        seen += 1;
    }
    assert!(seen > 5, "only {seen} networks");
}

#[test]
fn outputs_are_the_same_bits_after_a_journey() {
    for name in ["lenet5", "lenet5-1998", "resnet20-cifar"] {
        let graph = zoo::build(name).unwrap();
        let parameters = Parameters::init(&graph, 0);
        let (again, values) = read(&write(&graph, &parameters, onnx::DEFAULT_OPSET));
        assert_eq!(run(&again, &values), run(&graph, &parameters), "{name}");
        // What was read can be written as text, and trained.
        let text = notation::print(&again).unwrap();
        assert_eq!(notation::parse(&text).unwrap(), again, "{name}");
    }
}
