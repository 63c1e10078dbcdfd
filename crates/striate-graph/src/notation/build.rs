//! The syntax tree to a graph.

use super::error::Report;
use super::layer::Context;
use super::parser::{Form, Item, Layer, Sequence};
use super::words::{self, Argument, Attribute, Kind, Name, WORDS};
use super::{Defaults, MAX_LAYERS, NotationErrors};
use crate::builder::AutoNames;
use crate::ops::*;
use crate::{Builder, Fan, Graph, Init, Type, Value};
use std::ops::Range;

/// The longest name of a node, in bytes, with its scopes.
const MAX_NAME: usize = 1000;
/// The most input types that a message lists.
const SHOWN_INPUTS: usize = 4;
/// Steps allowed for each layer: brackets, references, branches and dimensions are steps too.
const STEPS_PER_LAYER: usize = 10;

/// How weights start without `init`.
pub(super) const WEIGHT_INIT: Init = Init::HeNormal(Fan::In);
/// How biases start without `bias-init`.
pub(super) const BIAS_INIT: Init = Init::ZEROS;

/// The name of an unnamed node within its scope: the input `image`, the others by kind and number.
pub(super) fn auto_name(
    names: &mut AutoNames,
    scope: &str,
    op: &Op,
    is_taken: impl Fn(&str) -> bool,
    wanted: Option<&str>,
) -> Option<String> {
    let image = format!("{scope}image");
    let base = format!("{scope}{}", op.short_name());
    let first_input = matches!(op, Op::Input(_)) && !is_taken(&image);
    let number = names.next(&base, is_taken);
    let name = if first_input { image } else { format!("{base}{number}") };
    if wanted.is_some_and(|wanted| wanted != name) {
        return None;
    }
    if !first_input {
        names.take(base, number);
    }
    Some(name)
}

/// `scope` and the scopes around it, the innermost first: `a.b.`, `a.`, and the root.
pub(super) fn enclosing(scope: &str) -> impl Iterator<Item = &str> {
    let inner = scope.strip_suffix('.').unwrap_or("");
    let around = inner.rmatch_indices('.').map(|(dot, _)| &scope[..=dot]);
    [scope].into_iter().chain(around).chain((!scope.is_empty()).then_some(""))
}

/// Whether a softmax behind this node brings a fully connected layer of its own: what has no weights of its own
/// behind it is not class scores.
pub(super) fn needs_scores(producer: &Op, ty: &Type) -> bool {
    ty.dims.len() != 1 || matches!(producer, Op::Activation(_) | Op::Dropout(_))
}

/// The graph of a text; syntax errors are in `report` already.
pub(super) fn build(
    tree: &Sequence,
    defaults: &Defaults,
    mut report: Report<'_>,
) -> Result<Graph, NotationErrors> {
    let mut elaborator = Elaborator {
        net: Builder::new(defaults.name.clone()),
        report: &mut report,
        defaults,
        name: None,
        classes: defaults.classes,
        weight_init: WEIGHT_INIT,
        bias_init: BIAS_INIT,
        scope: String::new(),
        names: AutoNames::default(),
        pools: 0,
        layers: 0,
        steps: 0,
        halted: false,
        repetition: None,
        seen: 0,
        outputs: Vec::new(),
        explicit: false,
    };
    let last = elaborator.sequence(tree, None);
    let Elaborator { mut net, name, mut outputs, explicit, .. } = elaborator;
    match last {
        Some(value) if !explicit => outputs.insert(0, (Some("main".into()), value)),
        None if outputs.is_empty() && !report.has_errors() => {
            report.error(
                0..0,
                "there is no layer here",
                "write a network such as: conv3-16 - relu - maxpool - FC-10 - softmax",
            );
        }
        _ => {}
    }
    report.finish()?;
    for (name, value) in outputs {
        match name {
            Some(name) => net.auxiliary(&name, value),
            None => net.output(value),
        }
    }
    let mut graph = net.finish().expect("a text without errors makes a graph without errors");
    if let Some(name) = name {
        graph.name = name;
    }
    Ok(graph)
}

struct Elaborator<'a, 'r, 't> {
    net: Builder,
    report: &'r mut Report<'t>,
    defaults: &'a Defaults,
    name: Option<String>,
    classes: usize,
    weight_init: Init,
    bias_init: Init,
    scope: String,
    names: AutoNames,
    /// Pooling layers so far: a bare convolution doubles its channels with each.
    pools: usize,
    layers: usize,
    steps: usize,
    halted: bool,
    /// The outermost repetition around the current place.
    repetition: Option<Range<usize>>,
    /// Errors of the builder that are reported already.
    seen: usize,
    outputs: Vec<(Option<String>, Value)>,
    /// Whether the text names its outputs itself.
    explicit: bool,
}

impl Elaborator<'_, '_, '_> {
    fn sequence(&mut self, items: &Sequence, mut flow: Option<Value>) -> Option<Value> {
        for item in items {
            if !self.spend(1, &item.span) {
                break;
            }
            flow = self.item(item, flow);
        }
        flow
    }

    /// Counts steps; false when the text has used up its share.
    fn spend(&mut self, steps: usize, span: &Range<usize>) -> bool {
        self.steps = self.steps.saturating_add(steps);
        let over = self.layers > MAX_LAYERS || self.steps > STEPS_PER_LAYER * MAX_LAYERS;
        if over && !self.halted {
            self.halted = true;
            let message = format!("the network grows beyond {MAX_LAYERS} layers");
            let span = self.repetition.as_ref().unwrap_or(span).clone();
            self.report.error(span, message, "repeat less often");
        }
        !self.halted
    }

    fn item(&mut self, item: &Item, flow: Option<Value>) -> Option<Value> {
        match &item.form {
            Form::Layer(layer) => return self.layer(item, layer, flow),
            Form::Group { body, times } => return self.group(item, body, *times, flow),
            Form::Reference(name) => {
                let value = self.resolve(name, &item.span);
                return Some(value.unwrap_or_else(|| self.placeholder()));
            }
            Form::Broken => return Some(self.placeholder()),
            Form::Aux { head, body } => {
                let flow = self.source(flow, !starts_itself(body), &item.span);
                let value = self.sequence(body, flow);
                self.outputs.extend(value.map(|value| (Some(head.clone()), value)));
                return flow;
            }
            Form::Output(name) => {
                let flow = self.source(flow, true, &item.span);
                self.explicit = true;
                self.outputs.extend(flow.map(|value| (name.clone(), value)));
                return flow;
            }
            Form::Network(name) => {
                if self.name.replace(name.clone()).is_some() {
                    self.report.error(
                        item.span.clone(),
                        "a second name for the network",
                        "keep one of the two",
                    );
                }
            }
            Form::Classes(classes) => self.classes = *classes,
            Form::Init(init) => self.weight_init = *init,
            Form::BiasInit(init) => self.bias_init = *init,
        }
        flow
    }

    /// A group, as often as it says. A named one is a scope; repeated, `name: […]*2` makes `name.0` and `name.1`, and
    /// `name.3: […]*2` makes `name.3` and `name.4`.
    fn group(
        &mut self,
        item: &Item,
        body: &Sequence,
        times: Option<usize>,
        mut flow: Option<Value>,
    ) -> Option<Value> {
        let (outer, repetition) = (self.scope.len(), self.repetition.clone());
        if times.is_some() {
            self.repetition.get_or_insert(item.span.clone());
        }
        for copy in 0..times.unwrap_or(1) {
            if !self.spend(1, &item.span) {
                break;
            }
            if let Some(name) = &item.name {
                self.scope += &match (times, numbered(&name.text)) {
                    (None, _) => format!("{}.", name.text),
                    (Some(_), Some((base, first))) => format!("{base}{}.", first.saturating_add(copy)),
                    (Some(_), None) => format!("{}.{copy}.", name.text),
                };
            }
            if self.scope.len() > MAX_NAME {
                self.report.error(
                    item.span.clone(),
                    format!("a scope of more than {MAX_NAME} letters"),
                    "shorten its name",
                );
                self.halted = true;
            } else {
                flow = self.sequence(body, flow);
            }
            self.scope.truncate(outer);
        }
        self.repetition = repetition;
        flow
    }

    /// The value that flows in; where there is none yet and one is `needed`, the default input.
    fn source(&mut self, flow: Option<Value>, needed: bool, span: &Range<usize>) -> Option<Value> {
        if flow.is_some() || !needed {
            return flow;
        }
        let input = Input { ty: Type::batched(self.defaults.input.clone()) };
        self.apply(None, input.into(), &[], span)
    }

    fn placeholder(&mut self) -> Value {
        let name = format!("?{}", self.net.graph().nodes().len());
        self.net.placeholder(name)
    }

    fn resolve(&mut self, name: &Name, span: &Range<usize>) -> Option<Value> {
        let graph = self.net.graph();
        let scopes = if name.quoted { "" } else { self.scope.as_str() };
        let found = enclosing(scopes).find_map(|scope| graph.find(&format!("{scope}{}", name.text)));
        if let Some((_, node)) = found {
            return Some(node.outputs[0]);
        }
        if !self.report.covers(span) {
            let near = words::nearest(&name.text, graph.nodes().map(|(_, node)| node.name.as_str()));
            let help = near.map_or("name the layer before it: name: conv3-64".into(), |near| {
                format!("did you mean '@{near}'?")
            });
            self.report.error(span.clone(), format!("nothing before this is named '{name}'"), help);
        }
        None
    }

    /// Reports what the builder has found wrong since the last time; copies of one place are reported once.
    fn report_graph(&mut self, span: &Range<usize>) {
        let fresh = &self.net.errors()[self.seen..];
        if !fresh.is_empty() && !self.report.covers(span) {
            for error in fresh {
                let inputs: Vec<String> =
                    error.inputs.iter().take(SHOWN_INPUTS).map(Type::to_string).collect();
                let more = if error.inputs.len() > SHOWN_INPUTS { ", …" } else { "" };
                let on = if inputs.is_empty() {
                    String::new()
                } else {
                    format!(" on {}{more}", inputs.join(", "))
                };
                let message = format!("{} ({}{on}): {}", error.node, error.op, error.problem);
                let help = match &error.problem {
                    crate::Problem::NameTaken(_) => {
                        "rename one of the two, or name the repetition: block: [ … ]*2 makes block.0 and block.1".into()
                    }
                    problem => problem.remedy(),
                };
                self.report.error(span.clone(), message, help);
            }
        }
        self.seen = self.net.errors().len();
    }

    /// The full name of a node: as written, or by kind and number.
    fn full_name(&mut self, name: Option<&Name>, op: &Op, span: &Range<usize>) -> String {
        let graph = self.net.graph();
        let full = match name {
            Some(name) => format!("{}{}", self.scope, name.text),
            None => auto_name(&mut self.names, &self.scope, op, |name| graph.find(name).is_some(), None)
                .expect("any name is wanted"),
        };
        if full.len() > MAX_NAME {
            self.report.error(span.clone(), format!("a name of more than {MAX_NAME} letters"), "shorten it");
            self.halted = true;
        }
        full
    }

    fn apply(&mut self, name: Option<&Name>, op: Op, inputs: &[Value], span: &Range<usize>) -> Option<Value> {
        let full = self.full_name(name, &op, span);
        let value = self.net.named(full).apply(op, inputs);
        self.report_graph(span);
        Some(value)
    }

    fn layer(&mut self, item: &Item, layer: &Layer, flow: Option<Value>) -> Option<Value> {
        let (name, span) = (item.name.as_ref(), &item.span);
        self.layers += 1;
        let dims = match &layer.argument {
            Some(Argument::Dims(dims)) => dims.len(),
            _ => 0,
        };
        if !self.spend(dims + layer.branches.len(), span) {
            return flow;
        }
        if layer.kind.word().is_join() {
            return self.join(item, layer, flow);
        }
        if is_source(layer.kind) {
            return self.apply(name, self.operation(layer, None), &[], span);
        }
        let mut x = self.source(flow, true, span)?;
        match layer.kind {
            Kind::MaxPool | Kind::AvgPool => {
                if layer.optional && !self.pool_fits(layer, x) {
                    return Some(x);
                }
                self.pools += 1;
            }
            Kind::Softmax | Kind::LogSoftmax if !layer.has(Attribute::Alone) => {
                let graph = self.net.graph();
                if self.net.is_known(x) && needs_scores(&graph.node(graph.producer(x)).op, graph.ty(x)) {
                    let fc =
                        Layer { argument: Some(Argument::Integer(self.classes)), ..Layer::new(Kind::Fc) };
                    x = self.flattened(x, span)?;
                    x = self.weighted(None, &fc, self.operation(&fc, Some(x)), x, span)?;
                }
            }
            Kind::Conv | Kind::Local | Kind::Deconv
                if layer.has(Attribute::Same)
                    && layer.kernel.is_some_and(|[h, w]| h % 2 == 0 || w % 2 == 0) =>
            {
                let help = "choose an odd kernel, or pad one side more: pad 0+1";
                self.report.error(span.clone(), "same padding of an even kernel", help);
            }
            Kind::Fc => x = self.flattened(x, span)?,
            _ => {}
        }
        let op = self.operation(layer, Some(x));
        self.weighted(name, layer, op, x, span)
    }

    /// The operation of a layer that `flow` flows into.
    fn operation(&self, layer: &Layer, flow: Option<Value>) -> Op {
        let flow = flow.map(|value| self.net.ty(value));
        // VGG's rule: 64 channels, doubled with each pooling up to 512.
        layer.operation(&Context { channels: 64 << self.pools.min(3), input: &self.defaults.input, flow })
    }

    /// A value as a vector, for a fully connected layer.
    fn flattened(&mut self, x: Value, span: &Range<usize>) -> Option<Value> {
        match self.net.ty(x).dims.len() {
            1 => Some(x),
            _ => self.apply(None, Reshape::flatten().into(), &[x], span),
        }
    }

    /// An operation with parameters of its own where its kind has them.
    fn weighted(
        &mut self,
        name: Option<&Name>,
        layer: &Layer,
        op: Op,
        x: Value,
        span: &Range<usize>,
    ) -> Option<Value> {
        if let Some(Argument::References(references)) = layer.get(Attribute::With) {
            if !self.spend(references.len(), span) {
                return Some(x);
            }
            let mut inputs = vec![x];
            for reference in references {
                let value = self.resolve(reference, span);
                inputs.push(value.unwrap_or_else(|| self.placeholder()));
            }
            return self.apply(name, op, &inputs, span);
        }
        let init = |attribute, default| match layer.get(attribute) {
            Some(Argument::Init(init)) => *init,
            _ => default,
        };
        let weights = init(Attribute::Init, self.weight_init);
        let biases = init(Attribute::BiasInit, self.bias_init);
        let full = self.full_name(name, &op, span);
        self.net.weight_init(weights).bias_init(biases);
        let value = match op {
            Op::Conv2d(op) => self.net.conv2d(&full, x, op),
            Op::ConvTranspose2d(op) => self.net.conv_transpose2d(&full, x, op),
            Op::LocallyConnected2d(op) => self.net.locally_connected2d(&full, x, op),
            Op::Linear(op) => self.net.linear(&full, x, op),
            Op::BatchNorm(op) => {
                let (scale, shift) =
                    (init(Attribute::Init, Init::ONES), init(Attribute::BiasInit, Init::ZEROS));
                self.net.batch_norm_from(&full, x, op, scale, shift)
            }
            op => self.net.named(full).apply(op, &[x]),
        };
        self.report_graph(span);
        Some(value)
    }

    fn join(&mut self, item: &Item, layer: &Layer, flow: Option<Value>) -> Option<Value> {
        let span = &item.span;
        let flow = self.source(flow, !layer.branches.iter().all(starts_itself), span);
        let mut inputs = Vec::new();
        for branch in &layer.branches {
            let value = self.sequence(branch, flow);
            inputs.push(value.unwrap_or_else(|| self.placeholder()));
        }
        let op = self.operation(layer, None);
        self.apply(item.name.as_ref(), op, &inputs, span)
    }

    /// Whether a pooling window fits the map: what `pool?` asks.
    fn pool_fits(&self, layer: &Layer, x: Value) -> bool {
        let kernel = layer.kernel.unwrap_or([2; 2]);
        self.net.ty(x).chw().is_some_and(|[_, rows, columns]| rows >= kernel[0] && columns >= kernel[1])
    }
}

/// `layer2.3` as `layer2.` and 3, and `3` as nothing and 3.
pub(super) fn numbered(name: &str) -> Option<(&str, usize)> {
    let (base, number) = name.split_at(name.rfind('.').map_or(0, |dot| dot + 1));
    let plain = number == "0" || !number.starts_with('0');
    let number = number.parse().ok().filter(|_| plain && number.bytes().all(|b| b.is_ascii_digit()))?;
    Some((base, number))
}

fn is_source(kind: Kind) -> bool {
    matches!(kind, Kind::Input | Kind::Param | Kind::Constant)
}

/// Whether a sequence needs no value to flow in.
fn starts_itself(items: &Sequence) -> bool {
    let first = items.iter().find(|item| {
        !matches!(item.form, Form::Network(_) | Form::Classes(_) | Form::Init(_) | Form::BiasInit(_))
    });
    match first.map(|item| &item.form) {
        Some(Form::Layer(layer)) if layer.kind.word().is_join() => layer.branches.iter().all(starts_itself),
        Some(Form::Layer(layer)) => is_source(layer.kind),
        Some(Form::Group { body, times }) => *times != Some(0) && starts_itself(body),
        Some(Form::Reference(_) | Form::Broken) => true,
        _ => false,
    }
}

/// The words, attributes and rules of the notation, for reading.
pub(super) fn reference() -> String {
    let mut text = String::from(super::RULES);
    let mut row = |left: &str, right: String| text += &format!("  {left:<36} {right}\n");
    for word in WORDS {
        let others = &word.names[1..];
        let also = if others.is_empty() { String::new() } else { format!(" (also {})", others.join(", ")) };
        row(word.example, format!("{}{also}", word.meaning));
    }
    text += "\nAttributes, behind their layer\n";
    for attribute in Attribute::ALL {
        let (name, takes, meaning) = attribute.row();
        let of: Vec<&str> =
            WORDS.iter().filter(|w| w.attributes.contains(attribute)).map(|w| w.names[0]).collect();
        let what =
            if takes == words::Takes::Nothing { String::new() } else { format!("; {}", takes.describe()) };
        text += &format!("  {name:<14} {meaning} ({}{what})\n", of.join(", "));
    }
    text
}
