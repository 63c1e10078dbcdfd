//! `striate summary`.

use clap::Args;
use console::style;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use striate::graph::analysis::{Layer, ReceptiveField, Total};
use striate::prelude::*;

use crate::failure::{Failure, Result};
use crate::network::{NetworkArgs, Wish};
use crate::options::{Format, chw, positive, write_json};
use crate::table::{Table, left, right};
use crate::text::{bytes, count, percent, plural, shape, thousands};

/// Show a network layer by layer: shapes, parameters, multiplications, memory, receptive fields.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SummaryArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// List the networks of the zoo
    #[arg(long, conflicts_with_all = ["net", "notation", "input", "batch", "classes", "auxiliary", "print"])]
    list: bool,
    /// The input in place of the network's own: channels x height x width
    #[arg(long, value_name = "CxHxW", value_parser = chw)]
    input: Option<[usize; 3]>,
    /// Images for which the memory is told
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    batch: usize,
    /// The number of classes in place of the network's own
    #[arg(long, value_name = "K", value_parser = positive)]
    classes: Option<usize>,
    /// Show heads that exist in training only, too (GoogLeNet)
    #[arg(long)]
    auxiliary: bool,
    /// Print the network as text in the notation, for a .net file
    #[arg(long, conflicts_with = "format")]
    print: bool,
}

const EXAMPLES: &str = "\
Examples:
  striate summary --list
  striate summary vgg16 --batch 32
  striate summary resnet18 --input 3x64x64 --classes 10
  striate summary --notation '[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1,SOFTMAX' --input 3x32x32 --classes 10
  striate summary googlenet --print > my.net      then edit it, and: striate summary my.net
  striate summary resnet50 --format json | jq .total

One multiply-accumulate (MAC) counts once; convolutions and fully connected layers are counted. Activations are the
values that need memory of their own: what runs in place or only renames costs nothing. A receptive field is what an
output sees of the input image: rows × columns, /the step to its neighbour's, @where the first one begins.";

/// A layer, as programs read it.
#[derive(Serialize)]
struct LayerRecord<'a> {
    name: &'a str,
    op: &'a str,
    detail: &'a str,
    output: &'a [usize],
    params: usize,
    macs: u64,
    activations: usize,
    receptive_field: Option<FieldRecord>,
    /// Rows and columns of the input that no output reads.
    unread: [usize; 2],
}

#[derive(Serialize)]
struct FieldRecord {
    size: [usize; 2],
    stride: [usize; 2],
    offset: [i64; 2],
}

#[derive(Serialize)]
struct TotalRecord {
    params: usize,
    macs: u64,
    activations: usize,
    forward_bytes: u64,
    training_bytes: u64,
}

#[derive(Serialize)]
struct Record<'a> {
    network: &'a str,
    input: &'a [usize],
    batch: usize,
    layers: Vec<LayerRecord<'a>>,
    total: TotalRecord,
}

#[derive(Serialize)]
struct EntryRecord {
    name: &'static str,
    family: &'static str,
    input: [usize; 3],
    classes: usize,
    params: usize,
    macs: u64,
    summary: &'static str,
    paper: &'static str,
}

impl SummaryArgs {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        if self.list {
            return list(format);
        }
        let wish = Wish { input: self.input, classes: self.classes, auxiliary: true };
        let graph = self.network.build(wish)?;
        self.check(&graph)?;
        if self.print {
            let text = notation::print(&graph)?;
            return Ok(io::stdout().lock().write_all(text.trim_end().as_bytes()).and_then(|()| println())?);
        }
        let inference = graph.inference();
        let shown = if self.auxiliary { &graph } else { &inference };
        let summary = analysis::summarise(shown);
        let input = shown.image().map_or_else(Vec::new, |value| shown.ty(value).dims.clone());
        match format {
            Format::Json => write_json(&record(&graph.name, &input, self.batch, &summary)),
            Format::Table => {
                let heads = Heads::of(&graph, &inference);
                Ok(self.write(&graph.name, &input, &summary, heads)?)
            }
        }
    }

    /// Whether a text or a model could be given the input and the classes that were asked for.
    fn check(&self, graph: &Graph) -> Result<()> {
        let have = graph.image().map_or_else(Vec::new, |value| graph.ty(value).dims.clone());
        if let Some(input) = self.input.filter(|input| have != *input) {
            let text = format!("{} says itself that its input is {}", graph.name, shape(&have));
            let next = format!("change it there to have {}", shape(&input));
            return Err(Failure::new(text).advise(next));
        }
        let have = graph.output().map_or(0, |value| graph.ty(value).elements());
        match self.classes.filter(|classes| have != *classes) {
            Some(classes) => Err(Failure::new(format!("{} has {have} outputs by itself", graph.name))
                .advise(format!("change its last layer to have {classes}"))),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        name: &str,
        input: &[usize],
        summary: &analysis::Summary,
        heads: Heads,
    ) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        writeln!(out, "{}  input {}\n", style(name).bold(), shape(input))?;
        let mut table = Table::new([
            left("layer"),
            left("operation"),
            right("output"),
            right("parameters"),
            right("MACs").dispensable(1),
            right("activations").dispensable(3),
            right("field").dispensable(2),
            right("step").dispensable(4),
            right("begins").dispensable(5),
            left("note"),
        ]);
        for layer in &summary.layers {
            table.row(cells(layer));
        }
        let total = &summary.total;
        table.line();
        let mut last = vec![String::new(); 10];
        last[0] = "total".into();
        last[3] = thousands(total.params);
        last[4] = thousands(total.macs);
        last[5] = thousands(total.activations);
        table.row(last);
        table.write(&mut out)?;
        writeln!(out)?;
        self.write_totals(total, &mut out)?;
        writeln!(out)?;
        most(&summary.layers, "activation memory", |layer| layer.activations as u64, &mut out)?;
        most(&summary.layers, "parameters", |layer| layer.params as u64, &mut out)?;
        most(&summary.layers, "MACs", |layer| layer.macs, &mut out)?;
        if heads.params > 0 {
            let Heads { number, params, macs } = heads;
            let verb = if self.auxiliary { "included above" } else { "not shown; --auxiliary shows them" };
            let (heads, params, macs) = (plural(number, "head"), thousands(params), count(macs));
            writeln!(out, "{heads} for training alone: {params} parameters, {macs} MACs more ({verb})")?;
        }
        let skips = |layer: &&Layer| layer.unread != [0; 2];
        let unread: Vec<&str> =
            summary.layers.iter().filter(skips).map(|layer| layer.name.as_str()).collect();
        if !unread.is_empty() {
            writeln!(out, "strides of {} skip rows or columns: see the notes", some_of(&unread))?;
        }
        out.flush()
    }

    fn write_totals(&self, total: &Total, out: &mut impl Write) -> io::Result<()> {
        let images = plural(self.batch, "image");
        let mut line =
            |name: &str, value: String| writeln!(out, "{}  {value}", style(format!("{name:<11}")).bold());
        line("parameters", format!("{} ({})", thousands(total.params), bytes(4 * total.params as u64)))?;
        line("MACs", format!("{} an image", thousands(total.macs)))?;
        line("activations", format!("{} an image", thousands(total.activations)))?;
        let (forward, training) = (total.forward_bytes(self.batch), total.training_bytes(self.batch));
        line(
            "memory",
            format!("{} forward, {} with gradients, for {images}", bytes(forward), bytes(training)),
        )?;
        line("", "in float32, without parameters".into())
    }
}

fn println() -> io::Result<()> {
    io::stdout().lock().write_all(b"\n")
}

/// What heads that exist in training only add.
struct Heads {
    number: usize,
    params: usize,
    macs: u64,
}

impl Heads {
    fn of(graph: &Graph, inference: &Graph) -> Self {
        let [all, main] = [graph, inference].map(|graph| analysis::summarise(graph).total);
        Self {
            number: graph.outputs().len().saturating_sub(inference.outputs().len()),
            params: all.params - main.params,
            macs: all.macs - main.macs,
        }
    }
}

fn cells(layer: &Layer) -> Vec<String> {
    let number = |value: u64| if value == 0 { String::new() } else { thousands(value) };
    let operation = match layer.detail.as_str() {
        "" => layer.op.to_string(),
        detail => format!("{} {detail}", layer.op),
    };
    let [field, step, begins] = layer.receptive_field.map_or_else(Default::default, |field| {
        let ReceptiveField { size, stride, offset } = field;
        [shape(&size), format!("/{}", pair(stride)), format!("@{}", pair(offset))]
    });
    let note = match layer.unread {
        [0, 0] => String::new(),
        [rows, 0] => format!("{rows} rows never read"),
        [0, columns] => format!("{columns} columns never read"),
        [rows, columns] => format!("{rows} rows, {columns} columns never read"),
    };
    vec![
        layer.name.clone(),
        operation,
        shape(&layer.output),
        number(layer.params as u64),
        number(layer.macs),
        number(layer.activations as u64),
        field,
        step,
        begins,
        note,
    ]
}

/// One number where both are the same.
fn pair<T: PartialEq + std::fmt::Display>([rows, columns]: [T; 2]) -> String {
    if rows == columns { rows.to_string() } else { format!("{rows},{columns}") }
}

/// Says where most of something is: the third of the network and the operation that have most of it together, and
/// their largest layers.
fn most(layers: &[Layer], what: &str, of: impl Fn(&Layer) -> u64, out: &mut impl Write) -> io::Result<()> {
    const THIRDS: [&str; 3] = ["early", "middle", "late"];
    let total: u64 = layers.iter().map(&of).sum();
    let mut groups: Vec<((usize, &str), Vec<&Layer>)> = Vec::new();
    for (index, layer) in layers.iter().enumerate().filter(|(_, layer)| of(layer) > 0) {
        let key = (3 * index / layers.len(), layer.op);
        match groups.iter_mut().find(|(group, _)| *group == key) {
            Some((_, members)) => members.push(layer),
            None => groups.push((key, vec![layer])),
        }
    }
    let sum = |members: &[&Layer]| members.iter().map(|layer| of(layer)).sum::<u64>();
    let Some(((third, op), mut members)) = groups.into_iter().max_by_key(|(_, members)| sum(members)) else {
        return Ok(());
    };
    let share = percent(sum(&members) as f64 / total as f64);
    members.sort_by_key(|layer| std::cmp::Reverse(of(layer)));
    let names: Vec<&str> = members.iter().map(|layer| layer.name.as_str()).collect();
    let what = format!("most {what}");
    writeln!(out, "{what:<26}{share:>7} in {} {op}: {}", THIRDS[third], some_of(&names))
}

/// `a, b, c and 4 more`.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [some @ .., last] if names.len() <= SHOWN => format!("{} and {last}", some.join(", ")),
        _ => format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
    }
}

fn record<'a>(name: &'a str, input: &'a [usize], batch: usize, summary: &'a analysis::Summary) -> Record<'a> {
    let layers =
        summary.layers.iter().map(|layer| LayerRecord {
            name: &layer.name,
            op: layer.op,
            detail: &layer.detail,
            output: &layer.output,
            params: layer.params,
            macs: layer.macs,
            activations: layer.activations,
            receptive_field: layer
                .receptive_field
                .map(|ReceptiveField { size, stride, offset }| FieldRecord { size, stride, offset }),
            unread: layer.unread,
        });
    let total = &summary.total;
    let total = TotalRecord {
        params: total.params,
        macs: total.macs,
        activations: total.activations,
        forward_bytes: total.forward_bytes(batch),
        training_bytes: total.training_bytes(batch),
    };
    Record { network: name, input, batch, layers: layers.collect(), total }
}

fn list(format: Format) -> Result<()> {
    if let Format::Json = format {
        let entries = zoo::entries().map(|entry| EntryRecord {
            name: entry.name,
            family: entry.family,
            input: entry.input,
            classes: entry.classes,
            params: entry.params,
            macs: entry.macs,
            summary: entry.summary,
            paper: entry.paper,
        });
        return write_json(&entries.collect::<Vec<_>>());
    }
    let mut table = Table::new([
        left("network"),
        right("input"),
        right("parameters"),
        right("MACs"),
        left("what").dispensable(1),
    ]);
    let mut family = None;
    for entry in zoo::entries() {
        if family.replace(entry.family).is_some_and(|before| before != entry.family) {
            table.line();
        }
        table.row([
            entry.name.to_string(),
            shape(&entry.input),
            thousands(entry.params),
            count(entry.macs),
            entry.summary.to_string(),
        ]);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    table.write(&mut out)?;
    Ok(out.flush()?)
}
