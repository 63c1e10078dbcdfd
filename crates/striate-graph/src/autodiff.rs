//! Differentiation, from graph to graph: the gradient's computation is appended as nodes of its own.

use crate::error::{GraphErrors, Problem};
use crate::ops::{Binary, Constant, Op, Operation};
use crate::{Graph, Node, Type, Value};

/// How nodes pass gradients back; override it to swap rules (guided backpropagation, deconvnet).
pub trait Rules {
    /// Appends the gradients of a node's inputs, one entry per input.
    ///
    /// # Errors
    /// [`Problem::NoGradient`] where the operation is not differentiable.
    fn gradient(&self, cx: &mut Backprop<'_>) -> Result<Vec<Option<Value>>, Problem> {
        let op = cx.node.op.clone();
        op.gradient(cx)
    }
}

/// The mathematical gradient.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrueGradient;

impl Rules for TrueGradient {}

/// What a gradient rule sees of the node it differentiates, and how it appends nodes.
pub struct Backprop<'a> {
    graph: &'a mut Graph,
    node: Node,
    d_outputs: Vec<Option<Value>>,
    needs: Vec<bool>,
}

impl Backprop<'_> {
    /// The node being differentiated.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its inputs.
    pub fn inputs(&self) -> &[Value] {
        &self.node.inputs
    }

    /// One of its inputs.
    pub fn input(&self, index: usize) -> Value {
        self.node.inputs[index]
    }

    /// One of its outputs.
    pub fn output(&self, index: usize) -> Value {
        self.node.outputs[index]
    }

    /// The gradient of one of its outputs.
    ///
    /// # Panics
    /// When that output has none; output 0 always has.
    pub fn d_output(&self, index: usize) -> Value {
        self.d_outputs[index].expect("rules run only where output 0 has a gradient")
    }

    /// Whether the gradient of an input is asked for.
    pub fn needs(&self, input: usize) -> bool {
        self.needs[input]
    }

    /// A value's type.
    pub fn ty(&self, value: Value) -> &Type {
        self.graph.ty(value)
    }

    /// `[C, H, W]` of a feature map.
    ///
    /// # Panics
    /// When the value is none; forward shape rules have seen to it.
    pub fn dims(&self, value: Value) -> [usize; 3] {
        self.ty(value).chw().expect("the forward rule takes feature maps")
    }

    /// Appends a node and returns its outputs.
    ///
    /// # Panics
    /// When the operation is not valid on these inputs, which would be a wrong gradient rule.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Vec<Value> {
        let op = op.into();
        let name = self.graph.unique_name(&format!("{}/{}", self.node.name, op.kind()));
        self.graph.push(name, op, inputs).unwrap_or_else(|errors| {
            panic!("the gradient rule of {} is wrong: {}", self.node.op.kind(), errors[0])
        })
    }
}

/// Appends the computation of the gradients of the scalar `of` with respect to each value of `wrt`; `None` where it does
/// not depend on the value.
///
/// # Errors
/// Every node on the way that is not differentiable.
pub fn gradients(graph: &mut Graph, of: Value, wrt: &[Value]) -> Result<Vec<Option<Value>>, GraphErrors> {
    let seed = graph.unique_name("one");
    let one = graph.push(seed, Constant { value: 1.0 }, &[]).expect("a constant is always valid")[0];
    gradients_from(graph, &[(of, one)], wrt, &TrueGradient)
}

/// Like [`gradients`], from given gradients of any values, with rules of choice.
///
/// # Errors
/// Every node on the way that is not differentiable.
pub fn gradients_from(
    graph: &mut Graph,
    seeds: &[(Value, Value)],
    wrt: &[Value],
    rules: &dyn Rules,
) -> Result<Vec<Option<Value>>, GraphErrors> {
    let forward: Vec<Node> = graph.nodes().map(|(_, node)| node.clone()).collect();
    let mut depends = vec![false; graph.value_count()];
    for value in wrt {
        depends[value.index()] = true;
    }
    for node in &forward {
        if node.inputs.iter().any(|input| depends[input.index()]) {
            for output in &node.outputs {
                depends[output.index()] = true;
            }
        }
    }
    let mut gradient: Vec<Option<Value>> = vec![None; depends.len()];
    for (value, seed) in seeds {
        gradient[value.index()] = Some(match gradient[value.index()] {
            Some(sum) => {
                let name = graph.unique_name("seeds");
                graph.push(name, Binary::ADD, &[sum, *seed]).map_err(GraphErrors)?[0]
            }
            None => *seed,
        });
    }
    let mut errors = Vec::new();
    for node in forward.iter().rev() {
        let needs: Vec<bool> = node.inputs.iter().map(|input| depends[input.index()]).collect();
        let d_outputs: Vec<Option<Value>> =
            node.outputs.iter().map(|output| gradient[output.index()]).collect();
        if !needs.contains(&true) || d_outputs.iter().all(Option::is_none) {
            continue;
        }
        if d_outputs[1..].iter().any(Option::is_some) {
            let problem = Problem::NoGradient { op: "an output other than an operation's first" };
            errors.push(graph.error(&node.name, &node.op, &node.inputs, problem));
            continue;
        }
        let mut cx = Backprop { graph, node: node.clone(), d_outputs, needs };
        match rules.gradient(&mut cx) {
            Ok(d_inputs) => {
                for (index, d_input) in d_inputs.into_iter().enumerate() {
                    let input = node.inputs[index];
                    let (true, Some(d_input)) = (cx.needs(index), d_input) else { continue };
                    gradient[input.index()] = Some(match gradient[input.index()] {
                        Some(sum) => cx.emit(Binary::ADD, &[sum, d_input])[0],
                        None => d_input,
                    });
                }
            }
            Err(problem) => errors.push(graph.error(&node.name, &node.op, &node.inputs, problem)),
        }
    }
    if errors.is_empty() {
        Ok(wrt.iter().map(|value| gradient[value.index()]).collect())
    } else {
        Err(GraphErrors(errors))
    }
}
