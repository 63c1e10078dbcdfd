//! Tokens to the syntax tree.

use super::error::Report;
use super::lexer::{Token, TokenKind};
use super::words::{self, Argument, Attribute, EXCLUSIVE, Kind, Name, Takes, Word};
use crate::ops::Padding;
use crate::{Fan, Init, MAX_ELEMENTS};
use std::ops::Range;

/// The deepest nesting of brackets and parentheses.
pub(super) const MAX_DEPTH: usize = 96;

/// Layers one after another.
pub(super) type Sequence = Vec<Item>;

/// One step of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) name: Option<Name>,
    pub(super) form: Form,
    /// Its head, without what stands in brackets.
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Layer(Layer),
    /// A sequence in brackets; with a name, a scope.
    Group {
        body: Sequence,
        times: Option<usize>,
    },
    /// `@name`: go on from a value.
    Reference(Name),
    Aux {
        head: String,
        body: Sequence,
    },
    Output(Option<String>),
    Network(String),
    Classes(usize),
    Init(Init),
    BiasInit(Init),
    /// Something misspelt: whatever it was, a value comes out.
    Broken,
}

/// A word with all that is written behind it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) kind: Kind,
    pub(super) kernel: Option<[usize; 2]>,
    pub(super) argument: Option<Argument>,
    pub(super) stride: Option<[usize; 2]>,
    /// `pool?`
    pub(super) optional: bool,
    pub(super) attributes: Vec<(Attribute, Argument)>,
    pub(super) branches: Vec<Sequence>,
}

impl Layer {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            kernel: None,
            argument: None,
            stride: None,
            optional: false,
            attributes: Vec::new(),
            branches: Vec::new(),
        }
    }

    pub(super) fn get(&self, attribute: Attribute) -> Option<&Argument> {
        self.attributes.iter().find(|(a, _)| *a == attribute).map(|(_, argument)| argument)
    }

    pub(super) fn has(&self, attribute: Attribute) -> bool {
        self.get(attribute).is_some()
    }
}

/// The tree of a text; what is wrong is reported, and reading goes on at the next layer.
pub(super) fn parse(text: &str, tokens: &[Token], report: &mut Report<'_>) -> Sequence {
    Parser { text, tokens, at: 0, depth: 0, report }.sequence()
}

struct Parser<'a, 'r, 't> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    report: &'r mut Report<'t>,
}

impl Parser<'_, '_, '_> {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn kind(&self, ahead: usize) -> Option<&TokenKind> {
        self.token(ahead).map(|token| &token.kind)
    }

    fn is(&self, ahead: usize, kind: TokenKind) -> bool {
        self.kind(ahead) == Some(&kind)
    }

    /// Whether the token `ahead` is an atom that begins like a number.
    fn is_number(&self, ahead: usize) -> bool {
        self.is(ahead, TokenKind::Atom)
            && self.text[self.tokens[self.at + ahead].span.clone()]
                .starts_with(|c: char| c.is_ascii_digit() || c == '.')
    }

    /// Whether the token `ahead` touches the one before it.
    fn joined(&self, ahead: usize) -> bool {
        self.token(ahead).is_some_and(|token| !token.spaced)
    }

    fn span(&self, ahead: usize) -> Range<usize> {
        self.token(ahead).map_or(self.text.len()..self.text.len(), |token| token.span.clone())
    }

    /// From the token `start` to the one just read.
    fn since(&self, start: usize) -> Range<usize> {
        self.tokens[start].span.start..self.tokens[self.at.max(start + 1) - 1].span.end
    }

    /// The text of the token `ahead`, or what to call its absence.
    fn shown(&self, ahead: usize) -> &str {
        match self.token(ahead) {
            Some(Token { kind: TokenKind::Newline, .. }) => "the end of the line",
            Some(token) => &self.text[token.span.clone()],
            None => "the end of the text",
        }
    }

    fn error<T>(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.report.error(span, message, help);
        None
    }

    /// Layers up to a closing bracket, a bar or the end.
    fn sequence(&mut self) -> Sequence {
        let mut items = Vec::new();
        loop {
            self.separators();
            match self.kind(0) {
                None => return items,
                Some(TokenKind::Close | TokenKind::Pipe) if self.depth > 0 => return items,
                Some(TokenKind::Close | TokenKind::Pipe) => {
                    let message = format!("'{}' without an opening bracket", self.shown(0));
                    let _: Option<()> =
                        self.error(self.span(0), message, "take it out, or open a bracket before it");
                    self.at += 1;
                    continue;
                }
                Some(_) => {}
            }
            let start = self.at;
            match self.item() {
                Some(Item { form: Form::Layer(Layer { kind: Kind::Identity, .. }), .. }) => {}
                Some(item) => items.push(item),
                None => {
                    self.recover(start);
                    items.push(Item { name: None, form: Form::Broken, span: self.since(start) });
                }
            }
            if !self.at_boundary() {
                let message = format!("expected - or a new line before '{}'", self.shown(0));
                let _: Option<()> = self.error(self.span(0), message, self.boundary_help());
                self.recover(self.at);
            }
        }
    }

    fn boundary_help(&self) -> String {
        match self.kind(0) {
            Some(TokenKind::Star) => "only what stands in brackets is repeated: [ … ]*2".into(),
            Some(TokenKind::Question) => "only pooling can be optional: pool?".into(),
            _ => "write layers with - between them, one a line, or with commas".into(),
        }
    }

    /// Skips what separates layers: new lines, and at most one dash or comma.
    fn separators(&mut self) {
        let mut seen = false;
        while let Some(kind @ (TokenKind::Newline | TokenKind::Comma | TokenKind::Dash)) = self.kind(0) {
            let mark = *kind != TokenKind::Newline;
            if mark && seen {
                let _: Option<()> = self.error(
                    self.span(0),
                    "a layer is missing before this",
                    "write the layer, or take one separator out",
                );
            }
            seen |= mark;
            self.at += 1;
        }
    }

    fn at_boundary(&self) -> bool {
        match self.kind(0) {
            None => true,
            Some(TokenKind::Dash) => !(self.joined(0) && self.joined(1) && self.is_number(1)),
            Some(kind) => {
                matches!(kind, TokenKind::Newline | TokenKind::Comma | TokenKind::Close | TokenKind::Pipe)
            }
        }
    }

    /// Goes on to the next place where a layer may end, at least one token behind `start`, past whole brackets.
    fn recover(&mut self, start: usize) {
        let mut open = 0usize;
        while let Some(kind) = self.kind(0) {
            if self.at > start && open == 0 && self.at_boundary() {
                return;
            }
            match kind {
                TokenKind::Open => open += 1,
                TokenKind::Close if open > 0 => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn item(&mut self) -> Option<Item> {
        let start = self.at;
        let named = matches!(self.kind(0), Some(TokenKind::Atom | TokenKind::Quoted(_)))
            && self.is(1, TokenKind::Colon);
        let name = if named { Some(self.name()?) } else { None };
        self.at += named as usize;
        match self.kind(0) {
            Some(TokenKind::Open) => {
                let (body, times) = self.group()?;
                Some(Item { name, form: Form::Group { body, times }, span: self.tokens[start].span.clone() })
            }
            Some(TokenKind::At) => {
                let reference = self.reference()?;
                self.unnamed(&name, start)?;
                Some(Item { name: None, form: Form::Reference(reference), span: self.since(start) })
            }
            Some(TokenKind::Atom) => self.word(name, start),
            Some(TokenKind::Quoted(_)) => self.error(
                self.span(0),
                "a name without its layer",
                "write a colon and the layer behind it: \"my name\": relu",
            ),
            _ => {
                let message = format!("expected a layer, found {}", tick(self.shown(0)));
                self.error(self.span(0), message, "write a layer such as conv3-64, maxpool or FC-10")
            }
        }
    }

    fn unnamed(&mut self, name: &Option<Name>, start: usize) -> Option<()> {
        match name {
            None => Some(()),
            Some(_) => self.error(
                self.tokens[start].span.clone(),
                "this cannot be named",
                "names go before layers and brackets",
            ),
        }
    }

    fn name(&mut self) -> Option<Name> {
        let name = match self.kind(0) {
            Some(TokenKind::Quoted(name)) => Name { text: name.clone(), quoted: true },
            Some(TokenKind::Atom) => Name { text: self.shown(0).to_string(), quoted: false },
            _ => {
                let message = format!("expected a name, found {}", tick(self.shown(0)));
                return self.error(
                    self.span(0),
                    message,
                    "write a name of letters, digits, _ and dots, or any in \"quotes\"",
                );
            }
        };
        self.at += 1;
        Some(name)
    }

    fn reference(&mut self) -> Option<Name> {
        self.at += 1;
        self.name()
    }

    /// `[ … ]*3`
    fn group(&mut self) -> Option<(Sequence, Option<usize>)> {
        let body = self.parts(false)?.pop()?;
        if !self.is(0, TokenKind::Star) {
            return Some((body, None));
        }
        self.at += 1;
        if !self.is_number(0) {
            let message = format!("expected a number, found {}", tick(self.shown(0)));
            return self.error(self.span(0), message, "say how often: [ … ]*2");
        }
        match self.argument(Takes::Integer, "a repetition")? {
            Argument::Integer(times) => Some((body, Some(times))),
            _ => None,
        }
    }

    /// What stands between an opening bracket and its closing one, cut at bars.
    fn parts(&mut self, branches: bool) -> Option<Vec<Sequence>> {
        let open = self.at;
        let open_text = self.shown(0).to_string();
        let close_text = if open_text == "[" { "]" } else { ")" };
        if self.depth == MAX_DEPTH {
            self.at = self.tokens.len();
            return self.error(
                self.tokens[open].span.clone(),
                format!("brackets are nested more than {MAX_DEPTH} deep"),
                "use fewer brackets",
            );
        }
        self.at += 1;
        self.depth += 1;
        let mut parts = vec![self.sequence()];
        while self.is(0, TokenKind::Pipe) {
            if !branches {
                let _: Option<()> = self.error(
                    self.span(0),
                    "branches outside add, concat and their like",
                    "write add( … | … ) or concat( … | … )",
                );
            }
            self.at += 1;
            parts.push(self.sequence());
        }
        self.depth -= 1;
        if !self.is(0, TokenKind::Close) {
            let message = format!("'{open_text}' is never closed");
            let help = format!("close it with '{close_text}'");
            let _: Option<()> = self.error(self.tokens[open].span.clone(), message, help);
            return Some(parts);
        }
        if self.shown(0) != close_text {
            let message = format!("'{}' closes '{open_text}'", self.shown(0));
            let _: Option<()> = self.error(self.span(0), message, format!("close it with '{close_text}'"));
        }
        self.at += 1;
        Some(parts)
    }

    /// A layer or a statement: a word and what belongs to it.
    fn word(&mut self, name: Option<Name>, start: usize) -> Option<Item> {
        let (word, kernel) = self.head()?;
        match word.kind {
            Kind::Network | Kind::Classes | Kind::Init | Kind::BiasInit | Kind::Output | Kind::Aux => {
                self.unnamed(&name, start)?;
                let form = self.statement(word)?;
                Some(Item { name: None, form, span: self.since(start) })
            }
            _ => {
                let layer = self.layer(word, kernel, start)?;
                let end = if word.is_join() { self.tokens[start].span.end } else { self.since(start).end };
                Some(Item { name, form: Form::Layer(layer), span: self.tokens[start].span.start..end })
            }
        }
    }

    /// A word and the kernel joined to it: `conv3x5`.
    fn head(&mut self) -> Option<(&'static Word, Option<[usize; 2]>)> {
        let span = self.span(0);
        let atom = self.shown(0).to_lowercase().replace('×', "x");
        self.at += 1;
        if let Some(word) = words::find(&atom) {
            return Some((word, None));
        }
        let digits = atom.find(|c: char| c.is_ascii_digit()).unwrap_or(atom.len());
        let (letters, size) = atom.split_at(digits);
        if let (Some(word), Some(kernel)) = (words::find(letters), pair(size)) {
            if word.sized {
                return Some((word, Some(kernel)));
            }
            let message = format!("{} has no window to give a size", word.names[0]);
            return self.error(span, message, format!("write it as in: {}", word.example));
        }
        if letters.is_empty() {
            let message = format!("expected a layer, found '{}'", shorten(&atom));
            return self.error(span, message, "join a number to its layer: conv3-64, FC-10, dropout 0.5");
        }
        let known = words::WORDS.iter().flat_map(|word| word.names).copied();
        let near = words::nearest(letters, known);
        let help = match near {
            Some(near) => format!("did you mean '{near}{size}'?"),
            None => "known layers: conv, FC, maxpool, avgpool, gap, lrn, bn, relu, dropout, softmax, add( | ), concat( | ) and others".into(),
        };
        let unknown: Option<()> = self.error(span, format!("unknown layer '{}'", shorten(&atom)), help);
        debug_assert!(unknown.is_none());
        // Read on as if the nearest word stood there, so that what is wrong behind it is found as well.
        let word = near.and_then(words::find)?;
        Some((word, pair(size).filter(|_| word.sized)))
    }

    fn statement(&mut self, word: &'static Word) -> Option<Form> {
        match word.kind {
            Kind::Network => self.network().map(Form::Network),
            Kind::Output => {
                let named = matches!(self.kind(0), Some(TokenKind::Atom | TokenKind::Quoted(_)));
                Some(Form::Output(if named { Some(self.name()?.text) } else { None }))
            }
            Kind::Aux => {
                let head = self.name()?;
                let scoped = self.is(0, TokenKind::Colon);
                self.at += scoped as usize;
                if !self.is(0, TokenKind::Open) {
                    let message = format!("expected a bracket, found {}", tick(self.shown(0)));
                    return self.error(
                        self.span(0),
                        message,
                        format!("write the head as in: {}", word.example),
                    );
                }
                let span = self.span(0);
                let mut body = self.parts(false)?.pop()?;
                let text = head.text.clone();
                if scoped {
                    body = vec![Item { name: Some(head), form: Form::Group { body, times: None }, span }];
                }
                Some(Form::Aux { head: text, body })
            }
            _ => {
                if !self.is(0, TokenKind::Atom) && !self.is_negative(0) {
                    return self.missing(word);
                }
                match (word.kind, self.argument(word.takes, word.names[0])?) {
                    (Kind::Classes, Argument::Integer(classes)) => Some(Form::Classes(classes)),
                    (Kind::Init, Argument::Init(init)) => Some(Form::Init(init)),
                    (Kind::BiasInit, Argument::Init(init)) => Some(Form::BiasInit(init)),
                    _ => None,
                }
            }
        }
    }

    /// A network's name: quoted, or all up to the next white space or comma.
    fn network(&mut self) -> Option<String> {
        if let Some(TokenKind::Quoted(name)) = self.kind(0) {
            let name = name.clone();
            self.at += 1;
            return Some(name);
        }
        let start = self.at;
        while self.kind(0).is_some_and(|kind| !matches!(kind, TokenKind::Newline | TokenKind::Comma))
            && (self.at == start || self.joined(0))
        {
            self.at += 1;
        }
        if self.at == start {
            return self.missing(words::find("network")?);
        }
        Some(self.text[self.since(start)].to_string())
    }

    fn missing<T>(&mut self, word: &'static Word) -> Option<T> {
        let message = format!("{} needs {}", word.names[0], word.takes.describe());
        self.error(self.since(self.at - 1), message, format!("write it as in: {}", word.example))
    }

    /// What follows the word of a layer.
    fn layer(&mut self, word: &'static Word, kernel: Option<[usize; 2]>, start: usize) -> Option<Layer> {
        let mut layer = Layer { kernel, ..Layer::new(word.kind) };
        let dashed = self.is(0, TokenKind::Dash) && self.joined(0) && self.joined(1) && self.is_number(1);
        if word.takes != Takes::Nothing && (dashed || self.has_argument(word.takes)) {
            self.at += dashed as usize;
            layer.argument = Some(self.argument(word.takes, word.names[0])?);
        } else if word.sized && kernel.is_none() && self.is_number(0) {
            match self.argument(Takes::Pair, word.names[0])? {
                Argument::Pair(size) => layer.kernel = Some(size),
                _ => return None,
            }
        } else if dashed {
            self.at += 2;
            let message = format!("{} takes no number", word.names[0]);
            return self.error(self.since(start), message, format!("write it as in: {}", word.example));
        } else if word.needs {
            return self.missing(word);
        }
        if self.is(0, TokenKind::Slash) {
            self.at += 1;
            if !word.strided || !self.is_number(0) {
                self.at += self.is_number(0) as usize;
                let message = format!("a stride that {} cannot have", word.names[0]);
                return self.error(
                    self.since(start),
                    message,
                    "strides are whole numbers behind a kernel: conv3-64/2, maxpool3/2",
                );
            }
            match self.argument(Takes::Pair, "a stride")? {
                Argument::Pair(stride) => layer.stride = Some(stride),
                _ => return None,
            }
        }
        if self.is(0, TokenKind::Question) && matches!(word.kind, Kind::MaxPool | Kind::AvgPool) {
            self.at += 1;
            layer.optional = true;
        }
        if word.is_join() {
            if !self.is(0, TokenKind::Open) {
                let message = format!("{} needs its branches", word.names[0]);
                return self.error(self.since(start), message, format!("write it as in: {}", word.example));
            }
            layer.branches = self.parts(true)?;
            if word.attributes.is_empty() {
                return Some(layer);
            }
        }
        while self.is(0, TokenKind::Atom) {
            match self.attribute(word, &layer) {
                Some(attribute) => layer.attributes.push(attribute),
                // The layer is clear without it: what follows is checked too.
                None => self.recover(self.at),
            }
        }
        Some(layer)
    }

    fn is_negative(&self, ahead: usize) -> bool {
        self.is(ahead, TokenKind::Dash)
            && !self.joined(ahead)
            && self.joined(ahead + 1)
            && self.is_number(ahead + 1)
    }

    /// Whether an argument follows behind a space.
    fn has_argument(&self, takes: Takes) -> bool {
        match takes {
            Takes::Nothing => false,
            Takes::Number => self.is_number(0) || self.is_negative(0),
            Takes::Dims => {
                self.is_number(0)
                    || self.is(0, TokenKind::Atom) && self.shown(0).eq_ignore_ascii_case("scalar")
            }
            _ => self.is_number(0),
        }
    }

    fn attribute(&mut self, word: &'static Word, layer: &Layer) -> Option<(Attribute, Argument)> {
        let start = self.at;
        let text = self.shown(0).to_lowercase();
        let owner = word.names[0];
        let Some(attribute) = word.attributes.iter().copied().find(|a| a.row().0 == text) else {
            let names: Vec<&str> = word.attributes.iter().map(|a| a.row().0).collect();
            let letters = text.trim_end_matches(|c: char| c.is_ascii_digit());
            let help = match words::nearest(&text, names.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None if words::find(letters).is_some() => {
                    format!("write - or a new line before {}", shorten(&text))
                }
                None if names.is_empty() => format!("{owner} takes nothing more"),
                None => format!("{owner} takes {}", names.join(", ")),
            };
            return self.error(
                self.span(0),
                format!("unknown attribute '{}' of {owner}", shorten(&text)),
                help,
            );
        };
        self.at += 1;
        let takes = attribute.row().1;
        let argument = if takes == Takes::Nothing { Argument::Flag } else { self.argument(takes, &text)? };
        let rival = |(other, _): &&(Attribute, Argument)| {
            *other == attribute
                || EXCLUSIVE.iter().any(|group| group.contains(other) && group.contains(&attribute))
        };
        if let Some((other, _)) = layer.attributes.iter().find(rival) {
            let message = format!("{text} after {}", other.row().0);
            return self.error(self.since(start), message, "keep one of the two");
        }
        Some((attribute, argument))
    }

    /// Reads an argument; `owner` is what takes it.
    fn argument(&mut self, takes: Takes, owner: &str) -> Option<Argument> {
        let start = self.at;
        let negative = matches!(takes, Takes::Number | Takes::Init) && self.is_negative(0);
        self.at += negative as usize;
        if takes == Takes::References {
            let mut names = Vec::new();
            while self.is(0, TokenKind::At) {
                names.push(self.reference()?);
            }
            if !names.is_empty() {
                return Some(Argument::References(names));
            }
        }
        let expected = format!("{owner} takes {}", takes.describe());
        if !self.is(0, TokenKind::Atom) {
            let message = format!("{expected}, found {}", tick(self.shown(0)));
            return self.error(self.span(0), message, format!("write for example {}", takes.example()));
        }
        let atom = self.shown(0).to_lowercase().replace('×', "x");
        self.at += 1;
        let sign = if negative { -1.0 } else { 1.0 };
        let read = match takes {
            Takes::Integer => integer(&atom).map(Argument::Integer),
            Takes::Pair => pair(&atom).map(Argument::Pair),
            Takes::Number => number(&atom).map(|value| Argument::Number(sign * value)),
            Takes::Dims if atom == "scalar" => Some(Argument::Dims(Vec::new())),
            Takes::Dims => atom.split('x').map(integer).collect::<Option<_>>().map(Argument::Dims),
            Takes::Pads => pads(&atom).map(Argument::Pads),
            Takes::Counts => counts(&atom).map(Argument::Counts),
            Takes::Range => atom
                .split_once("..")
                .and_then(|(start, end)| Some(Argument::Range([integer(start)?, integer(end)?]))),
            Takes::Init => self.init(&atom, sign).map(Argument::Init),
            Takes::Nothing | Takes::References | Takes::Name => None,
        };
        if read.is_none() {
            let found = shorten(&atom);
            let large = atom.bytes().filter(u8::is_ascii_digit).count() > 9;
            let help = if large {
                format!("whole numbers go up to {MAX_ELEMENTS}, others to 3.4e38")
            } else {
                format!("write for example {}", takes.example())
            };
            return self.error(self.since(start), format!("{expected}, found '{found}'"), help);
        }
        read
    }

    fn init(&mut self, atom: &str, sign: f32) -> Option<Init> {
        Some(match atom {
            "he" | "he-in" => Init::HeNormal(Fan::In),
            "he-out" => Init::HeNormal(Fan::Out),
            "xavier" => Init::XavierUniform,
            "lecun" => Init::LecunUniform,
            "normal" => {
                let std =
                    number(self.token(0).filter(|_| self.is_number(0)).map(|t| &self.text[t.span.clone()])?)?;
                self.at += 1;
                Init::Normal { std }
            }
            constant => Init::Constant(sign * number(constant)?),
        })
    }
}

/// The first characters of what was written.
fn shorten(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

/// A token in quotes; the end of a line or of the text as it is.
fn tick(shown: &str) -> String {
    if shown.starts_with("the end") { shown.to_string() } else { format!("'{}'", shorten(shown)) }
}

fn integer(text: &str) -> Option<usize> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|value| plain && *value <= MAX_ELEMENTS)
}

fn number(text: &str) -> Option<f32> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|value: &f32| plain && value.is_finite())
}

/// `2` or `2x3`
fn pair(text: &str) -> Option<[usize; 2]> {
    match text.split_once('x') {
        Some((rows, columns)) => Some([integer(rows)?, integer(columns)?]),
        None => integer(text).map(|size| [size; 2]),
    }
}

/// `8+8`
fn counts(text: &str) -> Option<[usize; 2]> {
    let (before, behind) = text.split_once('+')?;
    Some([integer(before)?, integer(behind)?])
}

/// `1`, `1x2`, `0+1x2+3`
fn pads(text: &str) -> Option<Padding> {
    let sides = |text: &str| integer(text).map(|pad| [pad; 2]).or_else(|| counts(text));
    let (rows, columns) = text.split_once('x').unwrap_or((text, text));
    let ([top, bottom], [left, right]) = (sides(rows)?, sides(columns)?);
    Some(Padding { top, bottom, left, right })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::lexer::lex;
    use crate::notation::words::WORDS;

    #[test]
    fn every_example_of_the_table_is_right() {
        for word in WORDS {
            let mut report = Report::new(word.example);
            let tokens = lex(word.example, &mut report);
            let tree = parse(word.example, &tokens, &mut report);
            assert!(report.finish().is_ok(), "{}", word.example);
            assert_eq!(tree.len(), (word.kind != Kind::Identity) as usize, "{}", word.example);
        }
    }

    #[test]
    fn every_spelling_is_read_as_one_word() {
        for (word, name) in WORDS.iter().flat_map(|word| word.names.iter().map(move |name| (word, name))) {
            let mut report = Report::new(name);
            assert_eq!(lex(name, &mut report).len(), 1, "{name}");
            assert!(words::find(name).is_some_and(|found| found.kind == word.kind), "{name}");
        }
    }
}
