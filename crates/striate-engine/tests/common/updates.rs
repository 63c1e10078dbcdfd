//! Updates on their own: a parameter, and a gradient that is an input; with the formula of each in float64.

use std::collections::BTreeMap;
use striate_graph::ops::*;
use striate_graph::{DType, Graph, Init, Type, Value};
use striate_kernels::optim::{Adam, RmsProp, Sgd};
use striate_kernels::reference::optim::{adam, blend, rmsprop, sgd};

fn push(graph: &mut Graph, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
    graph.push(name, op, inputs).unwrap_or_else(|errors| panic!("{}", errors[0]))[0]
}

pub(crate) const DIMS: [usize; 2] = [7, 5];

/// The scalars of a step: the learning rate, momentum, the part that is kept, and the number of steps before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalars {
    pub(crate) rate: f32,
    pub(crate) momentum: f32,
    pub(crate) keep: f32,
    pub(crate) updates: u32,
}

/// Arrays by name.
pub(crate) type Arrays = BTreeMap<&'static str, Vec<f64>>;

/// What an update makes of the arrays by a gradient.
pub(crate) type Formula = Box<dyn Fn(&mut Arrays, &[f64], Scalars)>;

/// Each update with its arrays, which start as zeros behind the first, and its formula.
pub(crate) fn cases() -> Vec<(Op, &'static [&'static str], Formula)> {
    let mut cases: Vec<(Op, &'static [&'static str], Formula)> = Vec::new();
    for (momentum, nesterov, weight_decay) in
        [(false, false, 0.01), (true, false, 0.0), (true, false, 5e-2), (true, true, 5e-2)]
    {
        let op = SgdUpdate { momentum, nesterov, weight_decay };
        let formula = move |arrays: &mut Arrays, gradient: &[f64], at: Scalars| {
            let kept = if momentum { f64::from(at.momentum) } else { 0.0 };
            let hyper =
                Sgd { lr: at.rate.into(), momentum: kept, weight_decay: weight_decay.into(), nesterov };
            let [w, velocity] = two(arrays, ["w", "velocity"]);
            sgd(hyper, w, gradient, velocity);
        };
        let names: &[_] = if momentum { &["w", "velocity"] } else { &["w"] };
        cases.push((op.into(), names, Box::new(formula)));
    }
    for (weight_decay, decoupled) in [(0.0, false), (0.05, false), (0.05, true)] {
        let op = AdamUpdate { beta1: 0.9, beta2: 0.99, eps: 1e-3, weight_decay, decoupled };
        let formula = move |arrays: &mut Arrays, gradient: &[f64], at: Scalars| {
            let AdamUpdate { beta1, beta2, eps, .. } = op;
            let (lr, weight_decay) = (f64::from(at.rate), f64::from(weight_decay));
            let hyper = Adam { lr, beta1, beta2, eps, weight_decay, decoupled };
            let [w, mean, square] = three(arrays, ["w", "mean", "square"]);
            adam(hyper, at.updates as i32 + 1, w, gradient, mean, square);
        };
        cases.push((op.into(), &["w", "mean", "square"], Box::new(formula)));
    }
    for (momentum, weight_decay) in [(false, 0.05), (true, 0.0)] {
        let op = RmsPropUpdate { alpha: 0.9, eps: 1e-2, weight_decay, momentum };
        let formula = move |arrays: &mut Arrays, gradient: &[f64], at: Scalars| {
            let kept = if momentum { f64::from(at.momentum) } else { 0.0 };
            let (lr, weight_decay) = (f64::from(at.rate), f64::from(weight_decay));
            let hyper = RmsProp { lr, alpha: op.alpha, eps: op.eps, weight_decay, momentum: kept };
            let [w, square, velocity] = three(arrays, ["w", "square", "velocity"]);
            rmsprop(hyper, w, gradient, square, velocity);
        };
        let names: &[_] = if momentum { &["w", "square", "velocity"] } else { &["w", "square"] };
        cases.push((op.into(), names, Box::new(formula)));
    }
    let average = |arrays: &mut Arrays, gradient: &[f64], at: Scalars| {
        let keep = f64::from(at.keep);
        blend(keep, 1.0 - keep, arrays.get_mut("w").unwrap(), gradient);
    };
    cases.push((AverageUpdate.into(), &["w"], Box::new(average)));
    let sum = |arrays: &mut Arrays, gradient: &[f64], at: Scalars| {
        blend(at.keep.into(), 0.25, arrays.get_mut("w").unwrap(), gradient);
    };
    cases.push((Accumulate { factor: 0.25 }.into(), &["w"], Box::new(sum)));
    let clip = |arrays: &mut Arrays, gradient: &[f64], _: Scalars| {
        let squares = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
        let norm = (squares(gradient) + squares(&arrays["w"])).sqrt();
        arrays.insert("factor", vec![(1.5 / (norm + 1e-6)).min(1.0)]);
    };
    cases.push((ClipFactor { max_norm: 1.5 }.into(), &["w"], Box::new(clip)));
    cases
}

fn two<'a>(arrays: &'a mut Arrays, names: [&'static str; 2]) -> [&'a mut Vec<f64>; 2] {
    let [first, second, _] = three(arrays, [names[0], names[1], "none"]);
    [first, second]
}

/// The arrays of these names, zeros where there are none.
fn three<'a>(arrays: &'a mut Arrays, names: [&'static str; 3]) -> [&'a mut Vec<f64>; 3] {
    let len = arrays["w"].len();
    for name in names {
        arrays.entry(name).or_insert_with(|| vec![0.0; len]);
    }
    let mut found: Vec<(&str, &mut Vec<f64>)> = arrays
        .iter_mut()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, array)| (*name, array))
        .collect();
    found.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
    let mut found = found.into_iter().map(|(_, array)| array);
    std::array::from_fn(|_| found.next().unwrap())
}

/// The update as a graph: parameters and scalars by the names above, `gradient` an input.
pub(crate) fn graph(op: Op) -> Graph {
    let mut graph = Graph::new("update");
    let parameter = |graph: &mut Graph, name: &str, role| {
        push(graph, name, Parameter { dims: DIMS.to_vec(), role, init: Init::ZEROS }, &[])
    };
    let scalar =
        |graph: &mut Graph, name: &str, dtype| push(graph, name, Input { ty: Type::scalar().of(dtype) }, &[]);
    let w = parameter(&mut graph, "w", Role::Weight);
    let gradient = push(&mut graph, "gradient", Input { ty: Type::single(DIMS) }, &[]);
    let mut inputs = vec![w, gradient];
    let state = |graph: &mut Graph, inputs: &mut Vec<Value>, names: &[&str]| {
        inputs.push(scalar(graph, "rate", DType::F32));
        inputs.extend(names.iter().map(|name| parameter(graph, name, Role::OptimiserState)));
    };
    match &op {
        Op::SgdUpdate(sgd) => {
            state(&mut graph, &mut inputs, if sgd.momentum { &["velocity"] } else { &[] });
            inputs.extend(sgd.momentum.then(|| scalar(&mut graph, "momentum", DType::F32)));
        }
        Op::AdamUpdate(_) => {
            state(&mut graph, &mut inputs, &["mean", "square"]);
            inputs.push(scalar(&mut graph, "updates", DType::U32));
        }
        Op::RmsPropUpdate(rmsprop) => {
            let names: &[&str] = if rmsprop.momentum { &["square", "velocity"] } else { &["square"] };
            state(&mut graph, &mut inputs, names);
            inputs.extend(rmsprop.momentum.then(|| scalar(&mut graph, "momentum", DType::F32)));
        }
        Op::AverageUpdate(_) | Op::Accumulate(_) => inputs.push(scalar(&mut graph, "keep", DType::F32)),
        _ => {}
    }
    let outputs = graph.push("update", op, &inputs).unwrap();
    if let [factor] = outputs[..] {
        graph.add_output("factor", factor);
    }
    graph
}
