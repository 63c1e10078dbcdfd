//! From ONNX's graph to Striate's.
//!
//! Nodes are taken in order. What is known while the file is read (shapes, constants) is computed at once ([`super::fold`]);
//! the rest becomes operations, by the rules of one table ([`rules`]). Everything that is wrong is collected.
//!
//! ONNX's first axis is the batch, which Striate's types leave out: a value is [`Tensor`], with or without it.

mod call;
mod deep;
mod elementwise;
mod layers;
mod pooling;
mod resizing;
mod rules;
mod shapes;

use super::constant::{Constant, Data, Int, Kind, kind};
use super::error::{ImportErrors, NAMED, NodeProblem, OnnxError, Problem, Unsupported};
use super::fold::Fold;
use super::proto::{self, Dim, Model, Node, ValueInfo};
use crate::Tensor as NamedTensor;
use call::Call;
use indexmap::IndexMap;
use rules::Row;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use striate_graph::ops::{Input, Op, Parameter, Role};
use striate_graph::{Graph, Init, Type, Value};

pub(crate) use layers::complement;
pub use rules::{NEWEST, OLDEST};

/// What is known about the network beside its file.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The network's name, where the file has none.
    pub name: String,
    /// The dimensions of an image, without the batch, where the file leaves some open: `[3, 224, 224]`.
    pub input: Option<Vec<usize>>,
    /// Inputs that are given now, once and for all.
    pub bound: BTreeMap<String, Constant>,
}

/// What an ONNX file holds.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Its parameters, under the names of the graph.
    pub parameters: IndexMap<String, NamedTensor>,
    /// Text by key: what whoever wrote the file knew of the network.
    pub metadata: BTreeMap<String, String>,
    /// The file's outputs in order, as the graph has them.
    pub outputs: Vec<ImportedOutput>,
}

/// An output of the file.
#[derive(Clone, Debug)]
pub struct ImportedOutput {
    /// Its name in the file.
    pub name: String,
    /// What the graph has for it.
    pub source: OutputSource,
}

/// What a graph has for an output of a file.
#[derive(Clone, Debug)]
pub enum OutputSource {
    /// The output of this name; `has_batch` where ONNX's first dimension is the batch, else the batch must be 1 and does
    /// not count.
    Computed {
        /// The output of the graph.
        name: String,
        /// Whether ONNX's first dimension is the batch.
        has_batch: bool,
    },
    /// The same for every input.
    Known(Constant),
}

/// A value that the network computes.
#[derive(Clone, Copy, Debug)]
struct Tensor {
    value: Value,
    /// Whether ONNX's first dimension is the batch. Otherwise the value's dimensions are ONNX's.
    has_batch: bool,
    /// The type that ONNX gives its elements; they are computed as floats all the same.
    kind: Kind,
}

/// What a name of the file stands for.
#[derive(Clone, Debug)]
enum Known {
    Constant(Rc<Constant>),
    Tensor(Tensor),
}

/// What is known of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// ONNX's first axis, of any size.
    Open,
    /// ONNX's first axis, of this size.
    Fixed(usize),
    /// There is none: all axes are the image's.
    Absent,
}

struct Importer<'a> {
    model: &'a proto::Graph<'a>,
    version: i64,
    folder: Option<&'a Path>,
    options: &'a ImportOptions,
    batch: Batch,
    graph: Graph,
    parameters: IndexMap<String, NamedTensor>,
    /// Parameters by the constant that they hold and the form they hold it in.
    made: HashMap<(String, &'static str), Value>,
    known: HashMap<&'a str, Known>,
    initializers: HashMap<&'a str, &'a proto::Tensor<'a>>,
    /// The nodes that read a name, and one more where it is an output.
    readers: HashMap<&'a str, Vec<usize>>,
    outputs: HashSet<&'a str>,
    /// Nodes that another one has taken along.
    taken: HashSet<usize>,
    /// How often a base of names was numbered.
    numbers: HashMap<String, usize>,
    /// Elements that may still be computed while reading.
    room: usize,
    errors: ImportErrors,
}

/// The most elements of one computed constant, unless its inputs have more.
const FOLD_LIMIT: usize = 1 << 20;
/// The most elements of all computed constants, beside four times those of the initialisers.
const FOLD_TOTAL: usize = 1 << 26;

/// The graph of a model; tensors in files of their own are looked for in `folder`.
pub(crate) fn import(
    model: &Model<'_>,
    folder: Option<&Path>,
    options: &ImportOptions,
) -> Result<Imported, OnnxError> {
    let graph = model.graph.as_ref().ok_or(OnnxError::NoGraph)?;
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let version = model.opsets.iter().find(|(domain, _)| own(domain)).map(|(_, version)| *version);
    let version = match version {
        Some(version) if (OLDEST..=NEWEST).contains(&version) => version,
        Some(version) => return Err(OnnxError::Opset { version, oldest: OLDEST, newest: NEWEST }),
        // A model without nodes of ONNX's own needs none.
        None if graph.nodes.iter().all(|node| !own(&node.domain)) => NEWEST,
        None => return Err(OnnxError::NoOpset),
    };
    let metadata: BTreeMap<String, String> = model.metadata.iter().cloned().collect();
    let run = |batch| Importer::new(graph, version, folder, options, batch).run();
    let first = run(Batch::Open);
    let mixes = |problem: &NodeProblem| matches!(problem.problem, Problem::MixesImages);
    let imported = match first {
        // Then it is read for the batch size that it says, or one image, as if that were all axes of an image.
        Err(errors) if errors.problems.iter().any(mixes) => run(Batch::Absent).map_err(|_| errors),
        other => other,
    };
    Ok(Imported { metadata, ..imported? })
}

impl<'a> Importer<'a> {
    fn new(
        model: &'a proto::Graph<'a>,
        version: i64,
        folder: Option<&'a Path>,
        options: &'a ImportOptions,
        batch: Batch,
    ) -> Self {
        let name = if options.name.is_empty() { &model.name } else { &options.name };
        Self {
            model,
            version,
            folder,
            options,
            batch,
            graph: Graph::new(if name.is_empty() { "network" } else { name }),
            parameters: IndexMap::new(),
            made: HashMap::new(),
            known: HashMap::new(),
            initializers: HashMap::new(),
            readers: HashMap::new(),
            outputs: HashSet::new(),
            taken: HashSet::new(),
            numbers: HashMap::new(),
            room: FOLD_TOTAL,
            errors: ImportErrors::default(),
        }
    }

    fn problem(&mut self, place: impl Into<String>, problem: Problem) {
        self.errors.problems.push(NodeProblem { place: place.into(), problem });
    }

    fn run(mut self) -> Result<Imported, ImportErrors> {
        let needed = self.survey();
        self.list_unsupported(&needed);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        self.give_inputs(&needed);
        // Constants first: a layer looks ahead for its bias.
        let model = self.model;
        let is_constant = |index: &usize| model.nodes[*index].op == "Constant";
        let (constants, others): (Vec<usize>, Vec<usize>) = needed.into_iter().partition(is_constant);
        for index in constants.into_iter().chain(others) {
            if !self.taken.contains(&index) {
                self.node(index);
            }
        }
        let outputs = self.give_outputs();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let graph = self.graph.prune(|_| true);
        self.parameters.retain(|name, _| graph.find(name).is_some());
        Ok(Imported { graph, parameters: self.parameters, metadata: BTreeMap::new(), outputs })
    }

    /// Who gives and who reads each name; the nodes that the outputs need, in order.
    fn survey(&mut self) -> Vec<usize> {
        let model = self.model;
        let mut givers: HashMap<&str, usize> = HashMap::new();
        for tensor in &model.initializers {
            if self.initializers.insert(&tensor.name, tensor).is_some() {
                self.problem("an initializer", Problem::Duplicate(tensor.name.clone()));
            }
            let len =
                tensor.dims.iter().try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?));
            let held = tensor.raw.as_ref().map_or(usize::MAX, |raw| raw.len());
            self.room = self.room.saturating_add(len.unwrap_or(0).min(held).saturating_mul(4));
        }
        for (index, node) in model.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                let again = givers.insert(output, index).is_some();
                let is_input = model.inputs.iter().any(|input| input.name == *output);
                if again || is_input || self.initializers.contains_key(output.as_str()) {
                    self.problem(place(node), Problem::Duplicate(output.clone()));
                }
            }
            for input in node.inputs.iter().filter(|name| !name.is_empty()) {
                self.readers.entry(input).or_default().push(index);
            }
        }
        if model.sparse {
            self.problem("the graph", Problem::Unsupported("sparse tensors are not read".into()));
        }
        let mut needed = vec![false; model.nodes.len()];
        for output in &model.outputs {
            self.outputs.insert(&output.name);
            if let Some(giver) = givers.get(output.name.as_str()) {
                needed[*giver] = true;
            }
        }
        for index in (0..model.nodes.len()).rev().collect::<Vec<_>>() {
            if !needed[index] {
                continue;
            }
            let node = &model.nodes[index];
            for input in node.inputs.iter().filter(|name| !name.is_empty()) {
                match givers.get(input.as_str()) {
                    Some(giver) if *giver >= index => {
                        self.problem(place(node), Problem::Order { name: input.clone() });
                    }
                    Some(giver) => needed[*giver] = true,
                    None => {
                        let given = self.initializers.contains_key(input.as_str())
                            || model.inputs.iter().any(|info| info.name == *input);
                        if !given {
                            self.problem(place(node), Problem::Missing { name: input.clone() });
                        }
                    }
                }
            }
        }
        (0..model.nodes.len()).filter(|index| needed[*index]).collect()
    }

    fn list_unsupported(&mut self, needed: &[usize]) {
        let mut found: IndexMap<String, Unsupported> = IndexMap::new();
        for index in needed {
            let node = &self.model.nodes[*index];
            if self.row(node).is_none() {
                let op = match node.domain.as_str() {
                    "" | "ai.onnx" => node.op.clone(),
                    domain => format!("{domain}.{}", node.op),
                };
                let entry =
                    found.entry(op.clone()).or_insert(Unsupported { op, nodes: Vec::new(), count: 0 });
                entry.count += 1;
                if entry.nodes.len() < NAMED {
                    entry.nodes.push(node_name(node).to_string());
                }
            }
        }
        self.errors.unsupported = found.into_values().collect();
    }

    fn row(&self, node: &Node<'_>) -> Option<&'static Row> {
        match node.domain.as_str() {
            "" | "ai.onnx" => rules::find(&node.op, self.version),
            _ => None,
        }
    }

    /// Makes inputs of the network of those of the file; the first is the image.
    fn give_inputs(&mut self, needed: &[usize]) {
        let model = self.model;
        let needed: HashSet<usize> = needed.iter().copied().collect();
        let mut first = true;
        for info in &model.inputs {
            let read = self
                .readers
                .get(info.name.as_str())
                .is_some_and(|all| all.iter().any(|n| needed.contains(n)));
            if let Some(constant) = self.options.bound.get(&info.name) {
                self.known.insert(&info.name, Known::Constant(Rc::new(constant.clone())));
            } else if !self.initializers.contains_key(info.name.as_str())
                && (read || self.outputs.contains(info.name.as_str()))
            {
                match self.input(info, first) {
                    Ok(tensor) => drop(self.known.insert(&info.name, Known::Tensor(tensor))),
                    Err(problem) => self.problem(format!("input '{}'", info.name), problem),
                }
                first = false;
            }
        }
    }

    fn input(&mut self, info: &ValueInfo, first: bool) -> Result<Tensor, Problem> {
        let kind = kind(info.data_type.ok_or(Problem::NoTensor)?)?;
        // Whole numbers that floats hold exactly, as pictures have them.
        if !matches!(kind, Kind::Float | Kind::Bool | Kind::Int { bits: 8 | 16, .. }) {
            return Err(Problem::NotFloat { what: "the elements of an input" });
        }
        let shape = info.shape.as_ref().ok_or(Problem::NoShape)?;
        let size = |dim: &Dim| match dim {
            Dim::Known(size) => usize::try_from(*size).ok().filter(|size| *size > 0),
            Dim::Symbol(_) => None,
        };
        let mut sizes: Vec<Option<usize>> = shape.iter().map(size).collect();
        // A vector is one image's features, and there is no image without dimensions.
        let has_batch = self.batch != Batch::Absent && sizes.len() > 1;
        if let (Batch::Absent, Some(first @ None)) = (self.batch, sizes.first_mut()) {
            *first = Some(1);
        }
        let own = if has_batch { &sizes[1..] } else { &sizes[..] };
        let wish = if first { self.options.input.clone() } else { None };
        // One image of a network that would mix several.
        let wish = wish.map(|wish| if wish.len() + 1 == own.len() { [vec![1], wish].concat() } else { wish });
        let told = |dims: &[Option<usize>]| {
            let text = |dim: &Option<usize>| dim.map_or("?".into(), |size| size.to_string());
            dims.iter().map(text).collect::<Vec<_>>().join("×")
        };
        let dims: Vec<usize> = match wish {
            Some(wish) => {
                let fits = wish.len() == own.len()
                    && own.iter().zip(&wish).all(|(own, wish)| own.is_none_or(|own| own == *wish));
                let found = told(&wish.iter().copied().map(Some).collect::<Vec<_>>());
                if !fits {
                    return Err(Problem::InputShape { expected: told(own), found });
                }
                wish
            }
            None => own
                .iter()
                .copied()
                .collect::<Option<_>>()
                .ok_or_else(|| Problem::DynamicInput { unknown: told(own) })?,
        };
        let mut ty = Type::batched(dims);
        if has_batch {
            let batch = sizes[0].map_or(Batch::Open, Batch::Fixed);
            if first {
                self.batch = batch;
            } else if batch != self.batch {
                // A further input of another size belongs to all images alike.
                let whole: Option<Vec<usize>> = sizes.iter().copied().collect();
                let unknown = || Problem::DynamicInput { unknown: told(&sizes) };
                ty = Type::single(whole.ok_or_else(unknown)?);
            }
        } else if !first {
            ty.batched = self.batch == Batch::Absent;
        }
        let has_batch = has_batch && ty.batched;
        let name = self.name(&info.name);
        let value = self.push(&name, Input { ty }.into(), &[])?;
        Ok(Tensor { value, has_batch, kind })
    }

    /// A name that is not taken, from one of the file.
    fn name(&mut self, base: &str) -> String {
        let base = if base.is_empty() { "value" } else { base };
        let mut name = base.to_string();
        while self.graph.find(&name).is_some() {
            let number = self.numbers.entry(base.to_string()).or_insert(1);
            *number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    /// Appends an operation; returns its first output.
    fn push(&mut self, name: &str, op: Op, inputs: &[Value]) -> Result<Value, Problem> {
        let outputs = self.graph.push(name, op, inputs);
        outputs
            .map(|outputs| outputs[0])
            .map_err(|mut errors| Problem::Graph(Box::new(errors.swap_remove(0))))
    }

    /// A parameter that holds `data`; `form` tells apart the forms that one constant is needed in.
    fn parameter(
        &mut self,
        source: &str,
        form: &'static str,
        (role, init): (Role, Init),
        constant: impl FnOnce() -> Constant,
    ) -> Result<Value, Problem> {
        if let Some(value) = self.made.get(&(source.to_string(), form)) {
            return Ok(*value);
        }
        let Constant { dims, data: Data::Floats(data), .. } = constant() else {
            return Err(Problem::NotFloat { what: "a parameter" });
        };
        let name = self.name(source);
        let value = self.push(&name, Parameter { dims: dims.clone(), role, init }.into(), &[])?;
        self.parameters.insert(name, NamedTensor::new(dims, data));
        self.made.insert((source.to_string(), form), value);
        Ok(value)
    }

    /// What a name stands for; `None` behind something that is wrong.
    fn look_up(&mut self, name: &'a str) -> Result<Option<Known>, Problem> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(tensor) = self.initializers.get(name) else { return Ok(None) };
        let constant = Known::Constant(Rc::new(Constant::read(tensor, self.folder)?));
        self.known.insert(name, constant.clone());
        Ok(Some(constant))
    }

    fn node(&mut self, index: usize) {
        let node = &self.model.nodes[index];
        if let Err(problem) = self.try_node(index) {
            self.problem(place(node), problem);
        }
    }

    fn try_node(&mut self, index: usize) -> Result<(), Problem> {
        let node: &'a Node<'a> = &self.model.nodes[index];
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            match self.look_up(name)? {
                Some(known) => inputs.push(Some(known)),
                // What it reads is wrong itself, and has been told.
                None => return Ok(()),
            }
        }
        let row = self.row(node).expect("unsupported operators were listed before");
        let constants: Option<Vec<Option<Rc<Constant>>>> = inputs
            .iter()
            .map(|input| match input {
                None => Some(None),
                Some(Known::Constant(constant)) => Some(Some(constant.clone())),
                Some(Known::Tensor(_)) => None,
            })
            .collect();
        let results = match (row.fold, constants) {
            (Some(fold), Some(constants)) => self.fold(node, fold, &constants)?,
            _ => match row.rule {
                Some(rule) => rule(&mut Call { importer: self, node, inputs })?,
                None => return Err(Problem::NotConstant { what: "its input" }),
            },
        };
        for (name, known) in node.outputs.iter().zip(results) {
            if !name.is_empty() {
                self.known.insert(name, known);
            }
        }
        match node.outputs.iter().find(|name| !name.is_empty() && !self.known.contains_key(name.as_str())) {
            Some(name) => Err(Problem::Unsupported(format!("its output '{name}' is not computed"))),
            None => Ok(()),
        }
    }

    fn fold(
        &mut self,
        node: &'a Node<'a>,
        fold: rules::FoldRule,
        inputs: &[Option<Rc<Constant>>],
    ) -> Result<Vec<Known>, Problem> {
        let given: usize = inputs.iter().flatten().map(|input| input.len()).sum();
        let attributes = super::attributes::Attributes(node);
        let limit = FOLD_LIMIT.max(given).min(self.room);
        let call = Fold { attributes, inputs, folder: self.folder, limit };
        let results = fold(&call)?;
        let made: usize = results.iter().map(Constant::len).sum();
        self.room = self.room.checked_sub(made).ok_or(Problem::TooMuch { limit: self.room })?;
        Ok(results.into_iter().map(|result| Known::Constant(Rc::new(result))).collect())
    }

    fn give_outputs(&mut self) -> Vec<ImportedOutput> {
        let mut outputs = Vec::new();
        let mut names = HashSet::new();
        for info in &self.model.outputs {
            let known = match self.look_up(&info.name) {
                Ok(Some(known)) => known,
                Ok(None) if self.errors.is_empty() => {
                    self.problem("the graph", Problem::Missing { name: info.name.clone() });
                    continue;
                }
                Ok(None) => continue,
                Err(problem) => {
                    self.problem(format!("output '{}'", info.name), problem);
                    continue;
                }
            };
            let source = match known {
                Known::Constant(constant) => OutputSource::Known((*constant).clone()),
                Known::Tensor(tensor) => {
                    let wanted = if names.is_empty() { "main" } else { &info.name };
                    let name = if names.contains(wanted) {
                        format!("{wanted}#{}", names.len())
                    } else {
                        wanted.into()
                    };
                    names.insert(name.clone());
                    self.graph.add_output(name.clone(), tensor.value);
                    OutputSource::Computed { name, has_batch: tensor.has_batch }
                }
            };
            outputs.push(ImportedOutput { name: info.name.clone(), source });
        }
        outputs
    }
}

/// The name that messages call a node by.
fn node_name<'n>(node: &'n Node<'_>) -> &'n str {
    let given = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
    given.map_or("a node without name", String::as_str)
}

fn place(node: &Node<'_>) -> String {
    format!("{} ({})", node_name(node), node.op)
}

/// ONNX's dimensions of a value.
fn onnx_dims(graph: &Graph, tensor: Tensor, batch: Batch) -> Vec<Int> {
    let own = graph.ty(tensor.value).dims.iter().map(|dim| Int::Known(*dim as i64));
    let first = tensor.has_batch.then_some(match batch {
        Batch::Open => Int::Batch(1),
        Batch::Fixed(size) => Int::Known(size as i64),
        Batch::Absent => Int::Known(1),
    });
    first.into_iter().chain(own).collect()
}
