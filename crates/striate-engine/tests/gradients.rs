//! Gradients computed in a session equal central differences of the interpreter's forward pass, and no operation is left
//! out.

mod common;

use common::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use striate_engine::reference;
use striate_engine::{Isa, Parameters, Plan, PlanOptions};
use striate_graph::autodiff::gradients;
use striate_graph::ops::*;
use striate_graph::training::{self, LEARNING_RATE, Optimiser, Rule, Updates, training_mode};
use striate_graph::{DType, Graph, Type, Value};
use striate_kernels::rng::{Purpose, Rng};

const BATCH: usize = 2;

/// What a cotangent's name begins with: the random direction in which an output is summed up.
const ALONG: &str = "along_";

/// A scalar of `graph`, and what it is differentiated by.
struct Differentiable {
    graph: Graph,
    of: Value,
    wrt: Vec<(String, Value)>,
}

impl Differentiable {
    /// Σ of all outputs, each along a random direction, which is an input of the graph.
    fn new(case: &Case) -> Self {
        let mut graph = training_mode(&case.graph).unwrap();
        let outputs: Vec<Value> = graph.outputs().iter().map(|output| output.value).collect();
        let along = outputs.into_iter().enumerate().map(|(index, output)| {
            let name = format!("{ALONG}{index}");
            let direction = input_like(&mut graph, &name, output);
            inner(&mut graph, output, direction)
        });
        let along: Vec<Value> = along.collect();
        let of = along.into_iter().reduce(|a, b| push(&mut graph, "sum", Binary::ADD, &[a, b])).unwrap();
        let inputs = graph.inputs().map(|(node, value)| (node.name.clone(), value));
        let trained = graph.parameters().filter(|(_, parameter, _)| parameter.role.is_trained());
        let wrt = inputs.chain(trained.map(|(node, _, value)| (node.name.clone(), value)));
        let wrt = wrt.filter(|(name, value)| graph.ty(*value).dtype == DType::F32 && name != PROBABILITY);
        Self { wrt: wrt.collect(), of, graph }
    }

    /// The graph that computes the gradients, as outputs of the names they belong to.
    fn gradient_graph(&self) -> Graph {
        let mut graph = self.graph.clone();
        let wrt: Vec<Value> = self.wrt.iter().map(|(_, value)| *value).collect();
        let gradients = gradients(&mut graph, self.of, &wrt).unwrap_or_else(|errors| panic!("{errors}"));
        let outputs = self.wrt.iter().zip(gradients).map(|((name, value), gradient)| {
            let gradient = gradient.unwrap_or_else(|| panic!("no gradient reaches {name}"));
            assert_eq!(graph.ty(gradient), graph.ty(*value), "the gradient of {name}");
            (name.as_str(), gradient)
        });
        let outputs: Vec<_> = outputs.collect();
        graph.with_outputs(outputs)
    }

    /// The differences by every array that it is differentiated by.
    fn differences(&self, data: &Data) -> BTreeMap<String, Differences> {
        self.wrt.iter().map(|(name, _)| (name.clone(), self.differences_by(data, name))).collect()
    }

    /// (f(x + h) − f(x − h)) / 2h for elements of the array `name`: all of them, or of a large one a sample.
    fn differences_by(&self, data: &Data, name: &str) -> Differences {
        const STEP: f64 = 1e-5;
        const SAMPLE: usize = 40;
        let mut moved = data.clone();
        let len = array(&mut moved, name).len();
        let mut elements: Vec<usize> = (0..len).collect();
        Rng::new(5, Purpose::Init, 0, 0).shuffle(&mut elements);
        elements.truncate(SAMPLE);
        let mut difference = |index: usize| {
            let mut at = |step: f64| {
                let element = array(&mut moved, name)[index];
                array(&mut moved, name)[index] = element + step;
                let values = reference::run(&self.graph, BATCH, &moved.inputs, &moved.parameters);
                array(&mut moved, name)[index] = element;
                values.unwrap()[self.of][0]
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        };
        let values = elements.iter().map(|index| difference(*index)).collect();
        Differences { elements, values }
    }
}

/// The derivatives by some elements of an array.
struct Differences {
    elements: Vec<usize>,
    values: Vec<f64>,
}

fn array<'a>(data: &'a mut Data, name: &str) -> &'a mut Vec<f64> {
    data.inputs.get_mut(name).or(data.parameters.get_mut(name)).expect("it is an input or a parameter")
}

fn push(graph: &mut Graph, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
    let name = graph.unique_name(name);
    graph.push(name, op, inputs).unwrap_or_else(|errors| panic!("{}", errors[0]))[0]
}

fn input_like(graph: &mut Graph, name: &str, value: Value) -> Value {
    let ty = graph.ty(value).clone();
    push(graph, name, Input { ty }, &[])
}

/// Σ a·b
fn inner(graph: &mut Graph, a: Value, b: Value) -> Value {
    let product = push(graph, "product", Binary::MULTIPLY, &[a, b]);
    push(graph, "inner", Reduce::sum_to(Type::scalar()), &[product])
}

/// Runs `graph`, of whose outputs each is a gradient, on every instruction set and compares with what is expected by
/// name; `magnitude` is that of the forward pass.
fn gradients_are(
    graph: &Graph,
    data: &Data,
    expected: &BTreeMap<String, Differences>,
    magnitude: f64,
) -> Result<(), String> {
    let derivatives = greatest(expected.values().map(|differences| differences.values.as_slice()));
    let tolerance = tolerance(graph, BATCH, derivatives.max(magnitude));
    for isa in Isa::present() {
        let mut session = session(graph, BATCH, 2, isa, data);
        session.run().map_err(|error| error.to_string())?;
        for (name, expected) in expected {
            let found = session.output(name).map_err(|error| error.to_string())?;
            let found: Vec<f32> = expected.elements.iter().map(|index| found.data[*index]).collect();
            compare(&format!("the gradient of {name} on {isa}"), &found, &expected.values, tolerance)?;
        }
    }
    Ok(())
}

/// The greatest number that the forward pass meets.
fn greatest_value(graph: &Graph, data: &Data) -> f64 {
    let values = reference::run(graph, BATCH, &data.inputs, &data.parameters).unwrap();
    greatest(graph.nodes().flat_map(|(_, node)| &node.outputs).map(|value| &values[*value]))
}

#[test]
fn gradients_equal_central_differences() {
    check_all(cases(), |case| {
        let differentiable = Differentiable::new(case);
        let graph = differentiable.gradient_graph();
        let data = draw(&graph, BATCH, 2);
        let expected = differentiable.differences(&data);
        gradients_are(&graph, &data, &expected, greatest_value(&differentiable.graph, &data))
    });
}

/// For f(x, w) linear in x, φ = ⟨s, f(x, w)⟩ has ∂φ/∂x = f*(s, w), which does not depend on x; and
/// ψ = ⟨t, f*(s, w)⟩ is φ at x = t. So the derivatives of ψ by s and w, for which the gradients' own gradients are
/// needed, are differences of φ.
struct SecondOrder {
    first: Differentiable,
    /// Computes the derivatives of ψ.
    graph: Graph,
}

/// The name of t.
const POINT: &str = "point";

impl SecondOrder {
    fn new(case: &Case) -> Self {
        let mut first = Differentiable::new(case);
        let mut graph = first.graph.clone();
        let x = graph.find("x").unwrap().1.outputs[0];
        first.wrt.retain(|(_, value)| *value != x);
        let d_x = gradients(&mut graph, first.of, &[x]).unwrap_or_else(|errors| panic!("{errors}"));
        let t = input_like(&mut graph, POINT, x);
        let of = inner(&mut graph, d_x[0].expect("the output depends on x"), t);
        let wrt = first.wrt.clone();
        let graph = Differentiable { graph, of, wrt }.gradient_graph();
        Self { first, graph }
    }
}

#[test]
fn gradients_of_gradients_equal_central_differences() {
    check_all(linear_cases(), |case| {
        let SecondOrder { first, graph } = SecondOrder::new(case);
        let data = draw(&graph, BATCH, 3);
        let mut at_point = data.clone();
        *array(&mut at_point, "x") = data.inputs[POINT].clone();
        let expected = first.differences(&at_point);
        gradients_are(&graph, &data, &expected, greatest_value(&first.graph, &at_point))
    });
}

#[test]
fn gradients_of_relus_and_their_sums_need_no_steps_of_their_own() {
    let case = compositions().into_iter().find(|case| case.name == RESIDUAL_BLOCKS).unwrap();
    let graph = Differentiable::new(&case).gradient_graph();
    let plan = Plan::new(&graph, PlanOptions::new(BATCH)).unwrap();
    let count = |op: &str| plan.steps().filter(|step| step.op == op).count();
    assert_eq!([count("batch_norm_backward"), count("activation_backward"), count("add")], [5, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where every value is an output, none shares memory with another and nothing is computed together.
    #[test]
    fn what_plans_share_and_fuse_changes_no_gradient(case in networks(), seed: u64) {
        let graph = Differentiable::new(&case).gradient_graph();
        let mut apart = graph.clone();
        for (id, node) in graph.nodes() {
            for value in node.outputs.iter().filter(|value| graph.ty(**value).dtype == DType::F32) {
                apart.add_output(format!("{} {}", id.index(), value.index()), *value);
            }
        }
        let data = draw(&graph, BATCH, seed);
        let run = |graph: &Graph| {
            let mut session = session(graph, BATCH, 1, Isa::best(), &data);
            session.run().unwrap();
            session.run().unwrap();
            session
        };
        let (found, expected) = (run(&graph), run(&apart));
        let all = apart.outputs().iter().map(|output| expected.output(&output.name).unwrap().data);
        let magnitude = all.flatten().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
        let tolerance = tolerance(&graph, BATCH, magnitude.into());
        for output in graph.outputs() {
            let [found, expected] = [&found, &expected].map(|s| s.output(&output.name).unwrap().data);
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            compare(&output.name, &found, &expected, tolerance).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn updates_of_any_network_wait(case in networks(), seed: u64) {
        all_parameters_step_at_once(&case, seed).map_err(TestCaseError::fail)?;
    }
}

/// Updates run as early as they can; still each takes the gradient at the parameters as they were before the step.
fn all_parameters_step_at_once(case: &Case, seed: u64) -> Result<(), String> {
    const RATE: f32 = 0.25;
    let differentiable = Differentiable::new(case);
    let graph = differentiable.gradient_graph();
    let mut training = differentiable.graph.clone();
    let rule = Rule::Sgd { momentum: false, nesterov: false };
    let plain = Updates { optimiser: Optimiser { rule, ..Optimiser::default() }, ..Updates::default() };
    training::append_updates(&mut training, differentiable.of, &plain).map_err(|error| error.to_string())?;
    let mut data = draw(&graph, BATCH, seed);
    data.inputs.insert(LEARNING_RATE.into(), vec![RATE.into()]);

    let mut gradients = session(&graph, BATCH, 1, Isa::best(), &data);
    let mut step = session(&training, BATCH, 1, Isa::best(), &data);
    gradients.run().map_err(|error| error.to_string())?;
    step.run().map_err(|error| error.to_string())?;
    let mut stepped = Parameters::default();
    step.store(&mut stepped);
    for (node, _, _) in training.parameters().filter(|(_, parameter, _)| parameter.role.is_trained()) {
        let gradient = gradients.output(&node.name).map_err(|error| error.to_string())?.data;
        let before = &data.parameters[&node.name];
        let expected: Vec<f64> = before.iter().zip(&gradient).map(|(w, g)| w - f64::from(RATE * g)).collect();
        let tolerance = tolerance(&graph, BATCH, greatest([&expected[..], before]));
        compare(&node.name, &stepped.get(&node.name).unwrap().data, &expected, tolerance)?;
    }
    Ok(())
}

#[test]
fn updates_wait_for_what_still_reads_the_parameter() {
    check_all(cases(), |case| all_parameters_step_at_once(case, 6));
}

#[test]
fn no_operation_is_left_out() {
    let mut graphs: Vec<Graph> = cases().into_iter().map(|case| case.graph).collect();
    graphs.extend(cases().iter().map(|case| Differentiable::new(case).gradient_graph()));
    graphs.extend(linear_cases().iter().map(|case| SecondOrder::new(case).graph));
    graphs.extend(normalizations().into_iter().map(|case| case.graph));
    graphs.extend(arrays::flat().into_iter().map(|case| case.graph));
    graphs.extend(updates::cases().into_iter().map(|(op, ..)| updates::graph(op)));
    let covered: BTreeSet<&str> =
        graphs.iter().flat_map(|graph| graph.nodes()).map(|(_, node)| node.op.variant()).collect();
    let missing: Vec<&&str> = Op::NAMES.iter().filter(|name| !covered.contains(**name)).collect();
    assert!(missing.is_empty(), "no case of tests/common computes {missing:?}");
}
