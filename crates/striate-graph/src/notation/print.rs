//! A graph to text that reads back as the same graph.
//!
//! Nodes are written in their order. Where a join's inputs are chains that lie one behind the other and begin at one
//! value, they become its branches; every other edge becomes an `@name`. Names are left out where the reader gives
//! the same; common prefixes become scopes, and equal neighbours repetitions.

use super::build::{BIAS_INIT, WEIGHT_INIT, auto_name, enclosing};
use super::parser::{Form, Item, Layer, MAX_DEPTH, Sequence};
use super::repeat::compress;
use super::words::{Argument, Attribute, Kind, Name, is_bare};
use super::{layer, layout};
use crate::builder::AutoNames;
use crate::ops::*;
use crate::{Graph, Init, Node, Value};
use std::collections::{HashMap, HashSet};
use thiserror::Error;

/// Why a graph cannot be written as text.
#[derive(Clone, Debug, PartialEq, Error)]
#[allow(missing_docs)] // the fields are the numbers of the message
pub enum PrintError {
    #[error(
        "{node} ({op}) is not a layer of a network: gradients, losses and training graphs have no notation"
    )]
    NotALayer { node: String, op: &'static str },
    #[error("the network has no output")]
    NoOutput,
    #[error("the text would not read back as the same network: {0}")]
    Inexact(String),
}

/// The text of a network: `parse(&print(graph)?)? == graph`.
///
/// # Errors
/// Where the graph has no output, holds operations of training, or exceeds what a text may hold (layers, the length of
/// names, numbers that are not finite).
pub fn print(graph: &Graph) -> Result<String, PrintError> {
    if graph.outputs().is_empty() {
        return Err(PrintError::NoOutput);
    }
    let text = Printer::new(graph)?.text();
    match super::parse(&text) {
        Ok(read) if read == *graph => Ok(text),
        Ok(_) => Err(PrintError::Inexact("a name, a number or the order differs".into())),
        Err(errors) => Err(PrintError::Inexact(errors.0[0].to_string())),
    }
}

/// The deepest nesting of joins, and of scopes and joins, that is written as such: with a repetition at each level
/// still within the reader's.
const JOIN_DEPTH: usize = MAX_DEPTH / 6;
const SCOPE_DEPTH: usize = MAX_DEPTH / 5;
/// The most inputs of a join whose values are tried as the point where its branches part.
const FORK_CANDIDATES: usize = 16;

/// A node with the parameters that it alone brings: what one word stands for.
struct Unit<'g> {
    node: &'g Node,
    layer: Layer,
    /// What flows in: one value, several of a join, none of a source.
    inputs: Vec<Value>,
    /// Values read through `with`.
    with: Vec<Value>,
    /// The parameters it brings.
    parameters: &'static [&'static str],
}

/// A stretch of the main path: a unit, with the branches that it joins.
struct Piece {
    /// What flows in; `None` of a source.
    input: Option<Value>,
    /// The first value computed in it, and the last.
    first: Value,
    output: Value,
    unit: usize,
    branches: Vec<Branch>,
    depth: usize,
}

enum Branch {
    /// Pieces that begin at the fork; none is the identity.
    Chain(Vec<Piece>),
    Reference(Value),
}

/// The tree before it has names.
enum Shape {
    Unit(usize, Vec<Vec<Shape>>),
    Reference(Value),
    Aux(String, Vec<Shape>),
    Output(String),
    Scope(String, Vec<Shape>),
}

struct Printer<'g> {
    graph: &'g Graph,
    units: Vec<Unit<'g>>,
    weight_init: Init,
    bias_init: Init,
}

/// The names that the reader knows at a point of the text.
#[derive(Default)]
struct Known {
    names: AutoNames,
    taken: HashSet<String>,
}

impl<'g> Printer<'g> {
    fn new(graph: &'g Graph) -> Result<Self, PrintError> {
        let mut printer = Self {
            graph,
            units: Vec::new(),
            weight_init: usual_init(graph, Role::Weight).unwrap_or(WEIGHT_INIT),
            bias_init: usual_init(graph, Role::Bias).unwrap_or(BIAS_INIT),
        };
        for (_, node) in graph.nodes() {
            printer.push(node)?;
        }
        Ok(printer)
    }

    /// Appends a node's unit, which takes in the parameters just before it where they are its own.
    fn push(&mut self, node: &'g Node) -> Result<(), PrintError> {
        let unsupported = || PrintError::NotALayer { node: node.name.clone(), op: node.op.kind() };
        let mut layer = layer::layer(self.graph, node).ok_or_else(unsupported)?;
        let suffixes: &'static [&'static str] = match &node.op {
            Op::BatchNorm(_) => &["weight", "bias", "running_mean", "running_var"],
            Op::Conv2d(Conv2d { bias, .. })
            | Op::ConvTranspose2d(ConvTranspose2d { bias, .. })
            | Op::LocallyConnected2d(LocallyConnected2d { conv: Conv2d { bias, .. } })
            | Op::Linear(Linear { bias, .. }) => {
                if *bias {
                    &["weight", "bias"]
                } else {
                    &["weight"]
                }
            }
            _ => &[],
        };
        let (mut inputs, mut with) = (node.inputs.clone(), Vec::new());
        let mut parameters: &'static [&'static str] = &[];
        if !suffixes.is_empty() {
            with = inputs.split_off(1);
            if let Some(inits) = self.own_parameters(node, suffixes, &with) {
                self.units.truncate(self.units.len() - suffixes.len());
                let defaults = match &node.op {
                    Op::BatchNorm(_) => [Init::ONES, Init::ZEROS],
                    _ => [self.weight_init, self.bias_init],
                };
                for ((attribute, init), default) in
                    [Attribute::Init, Attribute::BiasInit].into_iter().zip(inits).zip(defaults)
                {
                    if init != default {
                        layer.attributes.push((attribute, Argument::Init(init)));
                    }
                }
                parameters = suffixes;
                with.clear();
            }
        }
        self.units.push(Unit { node, layer, inputs, with, parameters });
        Ok(())
    }

    /// The initialisations of the last units, where they are exactly the parameters that the reader would make.
    fn own_parameters(&self, node: &Node, suffixes: &[&str], values: &[Value]) -> Option<Vec<Init>> {
        let batch_norm = matches!(node.op, Op::BatchNorm(_));
        let first = self.units.len().checked_sub(suffixes.len())?;
        let mut inits = Vec::new();
        for ((unit, suffix), value) in self.units[first..].iter().zip(suffixes).zip(values) {
            let Op::Parameter(parameter) = &unit.node.op else { return None };
            let (role, fixed) = match (batch_norm, *suffix) {
                (true, "weight") => (Role::Scale, None),
                (true, "bias") => (Role::Shift, None),
                (true, "running_mean") => (Role::Statistic, Some(Init::ZEROS)),
                (true, _) => (Role::Statistic, Some(Init::ONES)),
                (false, "weight") => (Role::Weight, None),
                (false, _) => (Role::Bias, None),
            };
            let name = unit.node.name.strip_prefix(&node.name)?.strip_prefix('.')?;
            if unit.node.outputs[0] != *value
                || name != *suffix
                || parameter.role != role
                || fixed.is_some_and(|init| init != parameter.init)
            {
                return None;
            }
            inits.push(parameter.init);
        }
        Some(inits)
    }

    fn text(&self) -> String {
        let mut items = vec![statement(Form::Network(self.graph.name.clone()))];
        let inits = [
            (self.weight_init, WEIGHT_INIT, Form::Init as fn(Init) -> Form),
            (self.bias_init, BIAS_INIT, Form::BiasInit),
        ];
        for (init, default, form) in inits {
            if init != default {
                items.push(statement(form(init)));
            }
        }
        let shapes = self.scopes(self.shapes(), "", 0);
        items.extend(compress(self.items(shapes, "", &mut Known::default())));
        layout::text(&items)
    }

    /// The units as shapes, with the outputs: heads beside the main path where the last value is the main output,
    /// else one by one.
    fn shapes(&self) -> Vec<Shape> {
        let outputs = self.graph.outputs();
        let mut readers = vec![0usize; self.graph.value_count()];
        for value in self.graph.nodes().flat_map(|(_, node)| &node.inputs) {
            readers[value.index()] += 1;
        }
        let mut heads = HashMap::new();
        for output in &outputs[1..] {
            let alone = outputs.iter().filter(|other| other.value == output.value).count() == 1;
            if alone && readers[output.value.index()] == 0 {
                heads.insert(output.value, output.name.as_str());
            }
        }
        let (shapes, last) = self.emit(self.pieces(), None, &heads);
        let mut declared = vec!["main"];
        aux_names(&shapes, &mut declared);
        let wanted: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        if last == Some(outputs[0].value) && declared == wanted {
            return shapes;
        }
        let (mut shapes, mut last) = self.emit(self.pieces(), None, &HashMap::new());
        for output in outputs {
            if last != Some(output.value) {
                shapes.push(Shape::Reference(output.value));
            }
            shapes.push(Shape::Output(output.name.clone()));
            last = Some(output.value);
        }
        shapes
    }

    /// The units in their order, each join with the stretches that lead to it.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            let output = unit.node.outputs[0];
            let plain = Piece {
                input: unit.inputs.first().copied(),
                first: output,
                output,
                unit: index,
                branches: Vec::new(),
                depth: 0,
            };
            let piece = if unit.layer.kind.word().is_join() {
                branches(&mut pieces, &unit.inputs, plain)
            } else {
                plain
            };
            pieces.push(piece);
        }
        pieces
    }

    /// Pieces as shapes, with references where one does not read the value before it; and the last value.
    fn emit(
        &self,
        pieces: Vec<Piece>,
        entry: Option<Value>,
        heads: &HashMap<Value, &str>,
    ) -> (Vec<Shape>, Option<Value>) {
        let mut head_ends = head_ends(&pieces, heads);
        let (mut shapes, mut flow) = (Vec::new(), entry);
        let mut main_path: Option<(usize, Vec<Shape>, Option<Value>)> = None;
        for (index, piece) in pieces.into_iter().enumerate() {
            if let Some(end) = head_ends.remove(&index) {
                main_path = Some((end, std::mem::take(&mut shapes), flow));
            }
            if piece.input.is_some() && piece.input != flow {
                shapes.extend(piece.input.map(Shape::Reference));
            }
            let fork = piece.input;
            let branches = piece.branches.into_iter().map(|branch| match branch {
                Branch::Chain(pieces) => self.emit(pieces, fork, heads).0,
                Branch::Reference(value) => vec![Shape::Reference(value)],
            });
            shapes.push(Shape::Unit(piece.unit, branches.collect()));
            flow = Some(piece.output);
            if let Some((_, main, before)) = main_path.take_if(|(end, ..)| *end == index) {
                let head = std::mem::replace(&mut shapes, main);
                shapes.push(Shape::Aux(heads[&piece.output].to_string(), head));
                flow = before;
            }
        }
        (shapes, flow)
    }

    /// Gathers neighbours whose names share their first segment into scopes.
    fn scopes(&self, shapes: Vec<Shape>, prefix: &str, depth: usize) -> Vec<Shape> {
        let inside = |shape, depth| match shape {
            Shape::Unit(unit, branches) => {
                let branches = branches.into_iter().map(|branch| self.scopes(branch, prefix, depth + 1));
                Shape::Unit(unit, branches.collect())
            }
            Shape::Aux(name, body) => Shape::Aux(name, self.scopes(body, prefix, depth + 1)),
            shape => shape,
        };
        let mut result = Vec::new();
        let mut shapes = shapes.into_iter().peekable();
        while let Some(shape) = shapes.next() {
            let segment = match &shape {
                // A reference belongs to what reads it.
                Shape::Reference(_) => shapes.peek().and_then(|next| self.segment(next, prefix)),
                shape => self.segment(shape, prefix),
            };
            let Some(segment) = segment.filter(|_| depth < SCOPE_DEPTH) else {
                result.push(inside(shape, depth));
                continue;
            };
            let mut run = vec![shape];
            while let Some(next) = shapes.peek() {
                let reference = matches!(next, Shape::Reference(_));
                // What follows a reference is seen only once the reference is taken: it closes the run.
                if reference && !matches!(run.last(), Some(Shape::Reference(_))) {
                    break;
                }
                if reference || self.segment(next, prefix) != Some(segment) {
                    break;
                }
                run.extend(shapes.next());
            }
            if run.iter().map(unit_count).sum::<usize>() < 2 {
                result.extend(run.into_iter().map(|shape| inside(shape, depth)));
                continue;
            }
            let mut name = segment.to_string();
            let mut body = self.scopes(run, &format!("{prefix}{segment}."), depth + 1);
            if let [Shape::Scope(..)] = body.as_slice()
                && let Some(Shape::Scope(inner, inner_body)) = body.pop()
            {
                name = format!("{name}.{inner}");
                body = inner_body;
            }
            result.push(Shape::Scope(name, body));
        }
        result
    }

    /// The segment behind `prefix` with which all names in a shape begin.
    fn segment(&self, shape: &Shape, prefix: &str) -> Option<&'g str> {
        let Shape::Unit(unit, branches) = shape else { return None };
        let (segment, rest) = self.units[*unit].node.name.strip_prefix(prefix)?.split_once('.')?;
        let own = Some(segment).filter(|_| is_bare(segment) && is_bare(rest));
        let shared = branches.iter().flatten().filter(|shape| !matches!(shape, Shape::Reference(_)));
        own.filter(|_| shared.into_iter().all(|shape| self.segment(shape, prefix) == own))
    }

    /// Shapes as items: names where the reader would not give the same, references as short as they can be.
    fn items(&self, shapes: Vec<Shape>, scope: &str, known: &mut Known) -> Sequence {
        let mut items = Vec::new();
        let mut shapes = shapes.into_iter().peekable();
        while let Some(shape) = shapes.next() {
            let (name, form) = match shape {
                Shape::Reference(value) => (None, Form::Reference(self.reference(value, scope, known))),
                Shape::Output(name) => (None, Form::Output(Some(name))),
                Shape::Aux(head, body) => (None, Form::Aux { head, body: self.items(body, scope, known) }),
                Shape::Scope(name, body) => {
                    let body = self.items(body, &format!("{scope}{name}."), known);
                    (Some(Name::of(name)), Form::Group { body, times: None })
                }
                Shape::Unit(index, branches) => {
                    let unit = &self.units[index];
                    let branches =
                        branches.into_iter().map(|branch| self.items(branch, scope, known)).collect();
                    let mut attributes = unit.layer.attributes.clone();
                    if !unit.with.is_empty() {
                        let names = unit.with.iter().map(|value| self.reference(*value, scope, known));
                        attributes.push((Attribute::With, Argument::References(names.collect())));
                    }
                    let name = self.name(unit, scope, known);
                    let next = match shapes.peek() {
                        Some(Shape::Unit(next, _)) => Some(&self.units[*next]),
                        _ => None,
                    };
                    if name.is_none() && self.is_implied(unit, next) {
                        continue;
                    }
                    (name, Form::Layer(Layer { attributes, branches, ..unit.layer.clone() }))
                }
            };
            items.push(Item { name, form, span: 0..0 });
        }
        items
    }

    /// Whether `next` brings this flatten along.
    fn is_implied(&self, unit: &Unit<'_>, next: Option<&Unit<'_>>) -> bool {
        unit.layer.kind == Kind::Flatten
            && self.graph.ty(unit.inputs[0]).dims.len() != 1
            && next.is_some_and(|next| next.layer.kind == Kind::Fc && next.inputs[0] == unit.node.outputs[0])
    }

    /// A unit's name within `scope`, unless the reader gives it the same; it is known from here on.
    fn name(&self, unit: &Unit<'_>, scope: &str, known: &mut Known) -> Option<Name> {
        let Known { names, taken } = known;
        let full = &unit.node.name;
        let auto = auto_name(names, scope, &unit.node.op, |name| taken.contains(name), Some(full));
        taken.extend(unit.parameters.iter().map(|suffix| format!("{full}.{suffix}")));
        taken.insert(full.clone());
        match auto {
            Some(_) => None,
            None => Some(Name::of(full.strip_prefix(scope).unwrap_or(full))),
        }
    }

    /// The shortest reference that the reader, in `scope`, takes for this value.
    fn reference(&self, value: Value, scope: &str, known: &Known) -> Name {
        let full = &self.graph.node(self.graph.producer(value)).name;
        for outer in enclosing(scope) {
            let Some(short) = full.strip_prefix(outer).filter(|short| is_bare(short)) else { continue };
            let hidden = enclosing(scope)
                .take_while(|inner| inner.len() > outer.len())
                .any(|inner| known.taken.contains(&format!("{inner}{short}")));
            if !hidden {
                return Name { text: short.to_string(), quoted: false };
            }
        }
        Name { text: full.clone(), quoted: true }
    }
}

/// The commonest initialisation of the parameters with this role.
fn usual_init(graph: &Graph, role: Role) -> Option<Init> {
    let mut counts: Vec<(Init, usize)> = Vec::new();
    for (_, parameter, _) in graph.parameters().filter(|(_, parameter, _)| parameter.role == role) {
        match counts.iter_mut().find(|(init, _)| *init == parameter.init) {
            Some((_, count)) => *count += 1,
            None => counts.push((parameter.init, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(init, _)| init)
}

/// A join with its branches: the stretches at the end of `pieces` that lead to its inputs, taken from there, or
/// references where they do not lie one behind the other.
fn branches(pieces: &mut Vec<Piece>, inputs: &[Value], plain: Piece) -> Piece {
    let identities = inputs.iter().take(FORK_CANDIDATES).map(|value| Some(*value));
    let forks = identities.chain([chain_start(pieces), None]);
    let Some((fork, starts)) = forks.filter_map(|fork| Some((fork, partition(pieces, inputs, fork)?))).next()
    else {
        let flow = pieces.last().map(|piece| piece.output);
        let branches = inputs.iter().map(|value| {
            if Some(*value) == flow { Branch::Chain(Vec::new()) } else { Branch::Reference(*value) }
        });
        let input = flow.filter(|flow| inputs.contains(flow));
        return Piece { input, branches: branches.collect(), ..plain };
    };
    let mut branches: Vec<Branch> =
        starts.iter().rev().map(|start| Branch::Chain(pieces.split_off(*start))).collect();
    branches.reverse();
    let chains = branches.iter().map(|branch| match branch {
        Branch::Chain(chain) => chain.as_slice(),
        Branch::Reference(_) => &[],
    });
    let depth = 1 + chains.clone().flatten().map(|piece| piece.depth).max().unwrap_or(0);
    let first = chains.flatten().next().map_or(plain.first, |piece| piece.first);
    Piece { input: fork, first, branches, depth, ..plain }
}

/// What the chain at the end of `pieces` begins from.
fn chain_start(pieces: &[Piece]) -> Option<Value> {
    let breaks = pieces.windows(2).rev().find(|pair| pair[1].input != Some(pair[0].output));
    breaks.map_or(pieces.first(), |pair| Some(&pair[1]))?.input
}

/// Where the branches begin that end in `inputs`, one behind the other to the end of `pieces`, each from `fork` (or
/// from a source); `None` where they do not.
fn partition(pieces: &[Piece], inputs: &[Value], fork: Option<Value>) -> Option<Vec<usize>> {
    let mut starts = vec![0; inputs.len()];
    let mut end = pieces.len();
    for (start, value) in starts.iter_mut().zip(inputs).rev() {
        if Some(*value) != fork {
            let last = pieces[..end].last().filter(|piece| piece.output == *value)?;
            let mut next = last;
            end -= 1;
            while next.depth < JOIN_DEPTH
                && let Some(input) = next.input.filter(|input| Some(*input) != fork)
            {
                next = pieces[..end].last().filter(|piece| piece.output == input)?;
                end -= 1;
            }
            if next.depth >= JOIN_DEPTH {
                return None;
            }
        }
        *start = end;
    }
    // A branch that begins with a source may reach back behind the fork, which must come before all of them.
    let in_order = |fork| pieces.get(end).is_none_or(|piece| fork < piece.first);
    fork.is_none_or(in_order).then_some(starts)
}

/// For each piece that begins a head beside the main path, the piece that ends it.
fn head_ends(pieces: &[Piece], heads: &HashMap<Value, &str>) -> HashMap<usize, usize> {
    let mut ends = HashMap::new();
    let mut chain = 0;
    for (end, piece) in pieces.iter().enumerate() {
        let next = pieces.get(end + 1).map(|next| next.input);
        if next == Some(Some(piece.output)) {
            continue;
        }
        if heads.contains_key(&piece.output) {
            let resumed = next.flatten();
            let fork = (chain..=end).find(|at| resumed.is_some() && pieces[*at].input == resumed);
            ends.extend(fork.or((chain > 0).then_some(chain)).map(|start| (start, end)));
        }
        chain = end + 1;
    }
    ends
}

fn aux_names<'s>(shapes: &'s [Shape], names: &mut Vec<&'s str>) {
    for shape in shapes {
        match shape {
            Shape::Aux(name, body) => {
                aux_names(body, names);
                names.push(name);
            }
            Shape::Unit(_, branches) => branches.iter().for_each(|branch| aux_names(branch, names)),
            _ => {}
        }
    }
}

fn unit_count(shape: &Shape) -> usize {
    match shape {
        Shape::Unit(_, branches) => 1 + branches.iter().flatten().map(unit_count).sum::<usize>(),
        Shape::Aux(_, body) | Shape::Scope(_, body) => body.iter().map(unit_count).sum(),
        Shape::Reference(_) | Shape::Output(_) => 0,
    }
}

pub(super) fn statement(form: Form) -> Item {
    Item { name: None, form, span: 0..0 }
}
