//! `striate data info`.

use clap::Args;
use console::style;
use std::io::{self, Write};
use striate::train::data::info::{self, PartInfo, Spread};

use crate::failure::Result;
use crate::options::{Format, write_json};
use crate::sources::{self, Reading};
use crate::table::{Table, left, right};
use crate::text::{bar, bytes, percent, plural, thousands};

/// Count what is in a data set: pictures of each class, sizes, kinds of files, what cannot be used.
///
/// Every picture is decoded once; what is found out is kept beside the pictures (or in the user's cache, where their folder
/// cannot be written), so that the next look is quick.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct Info {
    /// The data set, see below
    #[arg(value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  striate data info photos
  striate data info list.csv?val=0.1 --format json

";

fn after_help() -> String {
    EXAMPLES.to_string() + &sources::help()
}

/// Classes that are shown; of more, those with the fewest and the most pictures.
const SHOWN: usize = 40;
/// Columns of the longest bar.
const BAR: usize = 30;

impl Info {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let [train, test] = self.reading.parts(&self.source)?;
        let info = info::Info::of([&train, &test]);
        match format {
            Format::Json => write_json(&info),
            Format::Table => Ok(write(&info)?),
        }
    }
}

fn write(info: &info::Info) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}  {} to learn from, {} to test on · {} · {}",
        style(&info.name).bold(),
        plural(info.train.pictures as usize, "picture"),
        thousands(info.test.pictures),
        plural(info.classes.len(), "class"),
        if info.channels == 1 { "grey" } else { "colours" },
    )?;
    writeln!(out)?;
    parts(info).write(&mut out)?;
    writeln!(out)?;
    classes(info, &mut out)?;
    let numbers = |values: &[f32]| values.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(" / ");
    writeln!(out, "\nmean       {}", numbers(&info.mean))?;
    writeln!(out, "deviation  {}", numbers(&info.std))?;
    for text in &info.notes {
        writeln!(out, "\n{text}")?;
    }
    if info.ignored > 0 {
        writeln!(out, "\n{} no pictures: passed over", plural(info.ignored as usize, "other file") + " are")?;
    }
    list(&mut out, &info.left_out, "cannot be used", |out| format!("{}: {}", out.file, out.problem))?;
    list(&mut out, &info.in_both, "to test on are learned from as well", Clone::clone)
}

fn parts(info: &info::Info) -> Table {
    let mut table = Table::new([
        left("part"),
        right("pictures"),
        right("bytes"),
        left("width"),
        left("height"),
        left("files").dispensable(1),
    ]);
    for (name, part) in [("train", &info.train), ("test", &info.test)] {
        let spread = |Spread { min, median, max }: Spread| match min == max {
            true => thousands(min),
            false => format!("{min} … {median} … {max}"),
        };
        let PartInfo { pictures, bytes: size, width, height, formats, .. } = part;
        let formats: Vec<String> =
            formats.iter().map(|(format, count)| format!("{} {format}", thousands(*count))).collect();
        table.row([
            name.to_string(),
            thousands(*pictures),
            bytes(*size),
            spread(*width),
            spread(*height),
            formats.join(", "),
        ]);
    }
    table
}

fn classes(info: &info::Info, out: &mut impl Write) -> io::Result<()> {
    let counts = |class: usize| [info.train.per_class[class], info.test.per_class[class]];
    let mut shown: Vec<usize> = (0..info.classes.len()).collect();
    let hidden = shown.len().saturating_sub(SHOWN);
    if hidden > 0 {
        shown.sort_by_key(|class| counts(*class)[0]);
        shown.drain(SHOWN / 2..SHOWN / 2 + hidden);
    }
    let most = info.train.per_class.iter().chain(&info.test.per_class).max().copied().unwrap_or(0).max(1);
    let mut table = Table::new([left("class"), right("train"), right("test"), right("share"), left("")]);
    for class in shown {
        let [train, test] = counts(class);
        let share = train as f64 / info.train.pictures.max(1) as f64;
        table.row([
            info.classes[class].clone(),
            thousands(train),
            thousands(test),
            percent(share),
            style(bar(train as f32 / most as f32, BAR)).cyan().to_string(),
        ]);
    }
    table.write(out)?;
    match hidden {
        0 => Ok(()),
        hidden => writeln!(out, "and {} between these", plural(hidden, "class")),
    }
}

fn list<T>(out: &mut impl Write, all: &[T], what: &str, line: impl Fn(&T) -> String) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style(format!("{} {what}", plural(all.len(), "picture"))).yellow())?;
    all.iter().try_for_each(|one| writeln!(out, "  {}", line(one)))
}
