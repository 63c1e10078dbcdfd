//! What a rule sees of the node that it reads.

use super::super::attributes::Attributes;
use super::super::constant::{Constant, INT64, Int, Kind, strides};
use super::super::error::Problem;
use super::super::fold;
use super::{Batch, Importer, Known, Tensor, onnx_dims};
use std::rc::Rc;
use striate_graph::ops::{Op, Reshape, Role};
use striate_graph::{Fan, Init, Node as GraphNode, Value};

/// A node being read.
pub(super) struct Call<'i, 'a> {
    pub(super) importer: &'i mut Importer<'a>,
    pub(super) node: &'a super::Node<'a>,
    pub(super) inputs: Vec<Option<Known>>,
}

/// What a rule gives: the values of the node's outputs.
pub(super) type Read = Result<Vec<Known>, Problem>;

/// How weights start when they are trained anew.
pub(super) const WEIGHT: (Role, Init) = (Role::Weight, Init::HeNormal(Fan::In));
/// How biases start.
pub(super) const BIAS: (Role, Init) = (Role::Bias, Init::ZEROS);
/// How factors start.
pub(super) const SCALE: (Role, Init) = (Role::Scale, Init::ONES);
/// How terms start.
pub(super) const SHIFT: (Role, Init) = (Role::Shift, Init::ZEROS);

impl<'a> Call<'_, 'a> {
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.node)
    }

    pub(super) fn version(&self) -> i64 {
        self.importer.version
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }

    pub(super) fn known(&self, index: usize) -> Result<Known, Problem> {
        let found = self.inputs.iter().flatten().count();
        self.inputs.get(index).cloned().flatten().ok_or(Problem::Inputs { expected: "more", found })
    }

    /// An input that is known, where it is there.
    pub(super) fn constant(&self, index: usize, what: &'static str) -> Result<Option<Rc<Constant>>, Problem> {
        match self.inputs.get(index) {
            None | Some(None) => Ok(None),
            Some(Some(Known::Constant(constant))) => Ok(Some(constant.clone())),
            Some(Some(Known::Tensor(_))) => Err(Problem::NotConstant { what }),
        }
    }

    /// Floats that are known.
    pub(super) fn floats(&self, index: usize, what: &'static str) -> Result<Option<Vec<f32>>, Problem> {
        let constant = self.constant(index, what)?;
        constant.map(|c| c.as_floats().map(<[f32]>::to_vec).ok_or(Problem::NotFloat { what })).transpose()
    }

    /// Whole numbers that older versions have as an attribute and newer ones as an input.
    pub(super) fn ints(&self, attribute: &'static str, index: usize) -> Result<Option<Vec<i64>>, Problem> {
        if let Some(values) = self.attributes().ints(attribute)? {
            return Ok(Some(values.to_vec()));
        }
        self.constant(index, attribute)?.map(|constant| fold::known(&constant, attribute)).transpose()
    }

    /// The name under which an input is known in the file.
    pub(super) fn source(&self, index: usize) -> &'a str {
        self.node.inputs.get(index).map_or("", String::as_str)
    }

    /// An input as a value of the network; a constant becomes a parameter.
    pub(super) fn tensor(&mut self, index: usize) -> Result<Tensor, Problem> {
        match self.known(index)? {
            Known::Tensor(tensor) => Ok(tensor),
            Known::Constant(constant) => self.constant_tensor(index, &constant, constant.dims.clone(), SHIFT),
        }
    }

    /// A constant input as a parameter, seen with other dimensions.
    pub(super) fn constant_tensor(
        &mut self,
        index: usize,
        constant: &Constant,
        dims: Vec<usize>,
        kind: (Role, Init),
    ) -> Result<Tensor, Problem> {
        let floats = fold::cast_to(constant, Kind::Float)?;
        let value = if dims.is_empty() {
            let value = floats.as_floats().and_then(<[f32]>::first).copied().unwrap_or_default();
            self.scalar(value)?
        } else {
            let form = if dims == constant.dims { "" } else { FORMS[dims.len().min(FORMS.len() - 1)] };
            self.importer.parameter(self.source(index), form, kind, || floats.reshaped(dims))?
        };
        Ok(Tensor { value, has_batch: false, kind: constant.kind })
    }

    /// A weight that must be known, in the form that `convert` makes of it.
    pub(super) fn weight(
        &mut self,
        index: usize,
        form: &'static str,
        kind: (Role, Init),
        convert: impl FnOnce(&Constant) -> Constant,
    ) -> Result<Value, Problem> {
        let constant =
            self.constant(index, "weights")?.ok_or(Problem::Inputs { expected: "more", found: index })?;
        let source = self.source(index);
        self.importer.parameter(source, form, kind, || convert(&constant))
    }

    /// Numbers that follow from the network's shapes: a parameter that training leaves alone.
    pub(super) fn buffer(&mut self, part: &str, constant: Constant) -> Result<Value, Problem> {
        let base = self.base();
        let base = if base.is_empty() { part.to_string() } else { format!("{base}.{part}") };
        let name = self.importer.name(&base);
        self.importer.parameter(&name, "", (Role::Statistic, Init::ZEROS), || constant)
    }

    /// A scalar that never changes.
    pub(super) fn scalar(&mut self, value: f32) -> Result<Value, Problem> {
        self.push(striate_graph::ops::Constant { value }, &[])
    }

    /// ONNX's dimensions of a value.
    pub(super) fn dims(&self, tensor: Tensor) -> Vec<Int> {
        onnx_dims(&self.importer.graph, tensor, self.importer.batch)
    }

    /// The dimensions of a value without the batch.
    pub(super) fn own_dims(&self, tensor: Tensor) -> Vec<usize> {
        self.importer.graph.ty(tensor.value).dims.clone()
    }

    /// The number of ONNX's dimensions of a value.
    pub(super) fn rank(&self, tensor: Tensor) -> usize {
        self.importer.graph.ty(tensor.value).dims.len() + usize::from(tensor.has_batch)
    }

    /// ONNX's axis as one of the value's; the batch is none.
    pub(super) fn axis(&self, tensor: Tensor, axis: i64) -> Result<usize, Problem> {
        let axis = fold::axis(axis, self.rank(tensor))?;
        if tensor.has_batch { axis.checked_sub(1).ok_or(Problem::MixesImages) } else { Ok(axis) }
    }

    /// A value with ONNX's first dimension as the batch: layers work on nothing else.
    pub(super) fn with_batch(&mut self, tensor: Tensor) -> Result<Tensor, Problem> {
        if tensor.has_batch {
            return Ok(tensor);
        }
        let dims = self.own_dims(tensor);
        let batched = self.importer.graph.ty(tensor.value).batched;
        match dims.split_first() {
            Some((1, rest)) if batched && !rest.is_empty() => {
                let value = self.reshape(tensor.value, rest.to_vec())?;
                Ok(Tensor { value, has_batch: true, ..tensor })
            }
            _ => Err(Problem::MixesImages),
        }
    }

    /// A value with all of ONNX's dimensions as its own, which is possible for one image.
    pub(super) fn without_batch(&mut self, tensor: Tensor) -> Result<Tensor, Problem> {
        if !tensor.has_batch {
            return Ok(tensor);
        }
        if self.importer.batch != Batch::Absent {
            return Err(Problem::MixesImages);
        }
        let dims = [&[1][..], &self.own_dims(tensor)].concat();
        let value = self.reshape(tensor.value, dims)?;
        Ok(Tensor { value, has_batch: false, ..tensor })
    }

    /// A value that works with ONNX's `axis`: without the batch where that is the first.
    pub(super) fn for_axis(&mut self, tensor: Tensor, axis: i64) -> Result<(Tensor, usize), Problem> {
        let tensor = match self.axis(tensor, axis) {
            Err(Problem::MixesImages) => self.without_batch(tensor)?,
            _ => tensor,
        };
        Ok((tensor, self.axis(tensor, axis)?))
    }

    /// The same elements in other dimensions.
    pub(super) fn reshape(&mut self, value: Value, dims: Vec<usize>) -> Result<Value, Problem> {
        let own = &self.importer.graph.ty(value).dims;
        if *own == dims {
            return Ok(value);
        }
        let op = match dims.as_slice() {
            [_] => Reshape::flatten(),
            _ => Reshape { dims },
        };
        self.push(op, &[value])
    }

    /// Appends an operation of this node.
    pub(super) fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Problem> {
        let base = self.base();
        self.push_named(&base, op, inputs)
    }

    /// Appends an operation under a name.
    pub(super) fn push_named(
        &mut self,
        base: &str,
        op: impl Into<Op>,
        inputs: &[Value],
    ) -> Result<Value, Problem> {
        let op = op.into();
        let base = if base.is_empty() { op.short_name() } else { base };
        let name = self.importer.name(base);
        self.importer.push(&name, op, inputs)
    }

    /// The name of the node's operations: its own, in the characters that need no quotes.
    fn base(&self) -> String {
        let name = self.node.name.trim_matches('/');
        name.split('/').map(tidy).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// Appends a layer that has weights: it takes the name that they begin with, where they do.
    pub(super) fn push_layer(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Problem> {
        let graph = &self.importer.graph;
        let names: Vec<&str> =
            inputs[1..].iter().map(|value| graph.node(graph.producer(*value)).name.as_str()).collect();
        let stem = names.first().and_then(|name| name.rsplit_once('.')).map(|(stem, _)| stem);
        let all = |stem: &&str| {
            names.iter().all(|name| name.rsplit_once('.').is_some_and(|(other, _)| other == *stem))
        };
        let base = match stem.filter(all) {
            Some(stem) if !stem.is_empty() => stem.to_string(),
            _ => self.base(),
        };
        self.push_named(&base, op, inputs)
    }

    /// The node behind a value of the network.
    pub(super) fn producer(&self, value: Value) -> &GraphNode {
        self.importer.graph.node(self.importer.graph.producer(value))
    }

    /// A value as this node's only output.
    pub(super) fn give(&self, value: Value, like: Tensor) -> Read {
        Ok(vec![Known::Tensor(Tensor { value, ..like })])
    }

    /// The node that alone reads this one's output, where it is `op`, with its index.
    pub(super) fn only_reader(&self, op: &str) -> Option<(usize, &'a super::Node<'a>)> {
        let output = self.node.outputs.first()?.as_str();
        if self.importer.outputs.contains(output) {
            return None;
        }
        match self.importer.readers.get(output)?.as_slice() {
            [index] => {
                let node = &self.importer.model.nodes[*index];
                let own = matches!(node.domain.as_str(), "" | "ai.onnx");
                (own && node.op == op).then_some((*index, node))
            }
            _ => None,
        }
    }

    /// A constant that the only reader, an addition, adds to this node's output: its name and itself.
    pub(super) fn term(&mut self) -> Option<(usize, &'a super::Node<'a>, &'a str, Rc<Constant>)> {
        let (index, node) = self.only_reader("Add")?;
        let [a, b] = node.inputs.as_slice() else { return None };
        let output = self.node.outputs.first()?;
        let other: &'a str = if a == output { b } else { a };
        if other == output || !node.attributes.is_empty() {
            return None;
        }
        match self.importer.look_up(other) {
            Ok(Some(Known::Constant(constant))) if constant.kind == Kind::Float => {
                Some((index, node, other, constant))
            }
            _ => None,
        }
    }

    /// Gives this node's result to the output of a reader that it has taken along.
    pub(super) fn take_along(&mut self, index: usize, node: &'a super::Node<'a>, known: Known) {
        self.importer.taken.insert(index);
        if let Some(name) = node.outputs.first() {
            self.importer.known.insert(name, known);
        }
    }

    /// A vector of sizes as this node's output.
    pub(super) fn sizes(&self, sizes: Vec<Int>) -> Read {
        Ok(vec![Known::Constant(Rc::new(Constant::sizes(sizes)))])
    }
}

/// Marks of the forms that one constant is seen in, by the number of dimensions.
const FORMS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "more"];

/// Letters, digits and underscores of a name.
fn tidy(part: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    part.chars().map(keep).collect::<String>().trim_matches('.').to_string()
}

/// The kind of sizes and indices.
pub(super) const INDEX: Kind = INT64;

/// The elements of a matrix with its axes exchanged.
pub(super) fn exchanged(matrix: &Constant) -> Constant {
    debug_assert_eq!(strides(&matrix.dims).len(), 2);
    matrix.transposed(&[1, 0])
}
