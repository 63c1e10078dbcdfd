//! Items to lines of text.

use super::parser::{Form, Item, Layer, Sequence};
use super::words::{Argument, Kind, Name, Pair, Takes, is_bare, quote};

/// Columns of a line.
const WIDTH: usize = 100;

/// The text of a sequence.
pub(super) fn text(items: &Sequence) -> String {
    let mut lines = Lines::default();
    lines.sequence(items, 0);
    lines.lines.join("\n") + "\n"
}

/// Lines of at most [`WIDTH`] columns where the layers allow.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    /// Whether the next item may go behind the last line's.
    open: bool,
}

impl Lines {
    fn push(&mut self, indent: usize, text: &str) {
        self.lines.push(format!("{:indent$}{text}", ""));
    }

    /// Items of a sequence: a line begins with each layer that has weights, and with what does not fit behind.
    fn sequence(&mut self, items: &Sequence, indent: usize) {
        self.open = false;
        let mut led = false;
        for item in items {
            let text = inline(item);
            let last = self.lines.last().map_or(0, |line| line.chars().count());
            if self.open && (led || is_follower(item)) && last + 3 + text.chars().count() <= WIDTH {
                if let Some(line) = self.lines.last_mut() {
                    *line += " - ";
                    *line += &text;
                }
            } else if indent + text.chars().count() <= WIDTH {
                self.push(indent, &text);
            } else {
                self.broken(item, &text, indent);
            }
            self.open = !is_heading(item);
            // What goes on from a reference stands behind it.
            led = matches!(item.form, Form::Reference(_));
        }
    }

    /// An item whose brackets hold more than a line.
    fn broken(&mut self, item: &Item, text: &str, indent: usize) {
        let (head, tail) = around(item);
        let bodies: Vec<&Sequence> = match &item.form {
            Form::Layer(layer) => layer.branches.iter().collect(),
            Form::Group { body, .. } => vec![body],
            Form::Aux { .. } => aux_parts(item).map(|(_, body, _)| body).into_iter().collect(),
            _ => Vec::new(),
        };
        if bodies.is_empty() {
            return self.push(indent, text);
        }
        self.push(indent, &head);
        let branches: Vec<String> = bodies.iter().map(|body| branch_text(body)).collect();
        if matches!(item.form, Form::Layer(_))
            && branches.iter().all(|text| indent + 4 + text.chars().count() <= WIDTH)
        {
            self.branches(&branches, indent + 2);
        } else {
            for (index, body) in bodies.into_iter().enumerate() {
                if index > 0 {
                    self.push(indent, "|");
                }
                if body.is_empty() {
                    self.push(indent + 2, &branches[index]);
                }
                self.sequence(body, indent + 2);
            }
        }
        self.push(indent, &tail);
    }

    /// Branches of a line each, short ones side by side.
    fn branches(&mut self, branches: &[String], indent: usize) {
        const SHORT: usize = 12;
        let mut side_by_side = false;
        for (index, text) in branches.iter().enumerate() {
            let short = text.chars().count() <= SHORT;
            match self.lines.last_mut() {
                Some(line) if side_by_side && short && line.chars().count() + 3 + text.len() <= WIDTH => {
                    *line += " | ";
                    *line += text;
                }
                _ => self.push(indent, &format!("{} {text}", if index == 0 { " " } else { "|" })),
            }
            side_by_side = short;
        }
    }
}

/// Whether an item may stand behind others in a line.
pub(super) fn is_follower(item: &Item) -> bool {
    let weighty = matches!(&item.form, Form::Layer(layer) if layer.kind.word().takes == Takes::Integer
        || layer.kind == Kind::Input || layer.kind.word().is_join());
    matches!(item.form, Form::Layer(_) | Form::Output(_)) && !weighty
}

/// Whether an item has its line to itself.
fn is_heading(item: &Item) -> bool {
    match &item.form {
        Form::Layer(layer) => layer.kind == Kind::Input,
        Form::Group { .. } | Form::Reference(_) => false,
        _ => true,
    }
}

/// The head of an auxiliary head, its body and its end: `aux name: [ … ]` where the body is one scope of that name.
fn aux_parts(item: &Item) -> Option<(String, &Sequence, &'static str)> {
    let Form::Aux { head, body } = &item.form else { return None };
    let name = Name::of(head.clone());
    match body.as_slice() {
        [Item { name: Some(scope), form: Form::Group { body, times: None }, .. }] if *scope == name => {
            Some((format!("aux {name}: ["), body, "]"))
        }
        _ => Some((format!("aux {name}("), body, ")")),
    }
}

/// What stands before and behind an item's brackets.
fn around(item: &Item) -> (String, String) {
    let name = item.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
    match &item.form {
        Form::Layer(layer) => {
            (format!("{name}{}(", layer.kind.word().names[0]), format!("){}", attributes_text(layer)))
        }
        Form::Group { times, .. } => {
            (format!("{name}["), times.map_or("]".into(), |times| format!("]*{times}")))
        }
        _ => aux_parts(item).map_or_else(Default::default, |(head, _, tail)| (head, tail.into())),
    }
}

/// A sequence in one line.
fn sequence_text(items: &Sequence) -> String {
    items.iter().map(inline).collect::<Vec<_>>().join(" - ")
}

/// A branch in one line.
fn branch_text(items: &Sequence) -> String {
    if items.is_empty() { Kind::Identity.word().names[0].into() } else { sequence_text(items) }
}

/// An item in one line.
fn inline(item: &Item) -> String {
    match &item.form {
        Form::Layer(layer) if layer.kind.word().is_join() => {
            let branches: Vec<String> = layer.branches.iter().map(branch_text).collect();
            let (head, tail) = around(item);
            format!("{head} {} {tail}", branches.join(" | "))
        }
        Form::Layer(layer) => {
            let name = item.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
            name + &layer_text(layer)
        }
        Form::Group { body, .. } => {
            let (head, tail) = around(item);
            format!("{head}{}{tail}", sequence_text(body))
        }
        Form::Aux { .. } => aux_parts(item).map_or(String::new(), |(head, body, tail)| {
            let space = if tail == "]" { "" } else { " " };
            format!("{head}{space}{}{space}{tail}", sequence_text(body))
        }),
        Form::Reference(name) => format!("@{name}"),
        Form::Output(name) => match name {
            Some(name) => format!("output {}", Name::of(name.clone())),
            None => "output".into(),
        },
        Form::Network(name) => {
            let bare = !name.is_empty() && name.split('-').all(is_bare);
            format!("network {}", if bare { name.clone() } else { quote(name) })
        }
        Form::Classes(classes) => format!("classes {classes}"),
        Form::Init(init) => format!("init {}", Argument::Init(*init)),
        Form::BiasInit(init) => format!("bias-init {}", Argument::Init(*init)),
        Form::Broken => String::new(),
    }
}

/// A layer without its name and branches: `conv7-64/2 nobias`.
fn layer_text(layer: &Layer) -> String {
    let word = layer.kind.word();
    let mut text = word.names[0].to_string();
    if let Some(kernel) = layer.kernel {
        text += &Pair(kernel).to_string();
    }
    if let Some(argument) = &layer.argument {
        text.push(if word.takes == Takes::Integer { '-' } else { ' ' });
        text += &argument.to_string();
    }
    if let Some(stride) = layer.stride {
        text += &format!("/{}", Pair(stride));
    }
    if layer.optional {
        text.push('?');
    }
    text + &attributes_text(layer)
}

/// What stands behind a layer: ` pad 1 nobias`.
fn attributes_text(layer: &Layer) -> String {
    let mut text = String::new();
    for (attribute, argument) in &layer.attributes {
        text += &format!(" {} {argument}", attribute.row().0);
        text.truncate(text.trim_end().len());
    }
    text
}
