//! Data sets as verbs open them: with a bar while pictures are looked into, and word of those that are left out.

use clap::Args;
use console::Term;
use etcetera::BaseStrategy;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use striate::prelude::*;
use striate::train::data::source::{OPTIONS, SCHEMES};
use striate::train::data::{DataError, Opening, archives};

use crate::failure::{Failure, Result, note};
use crate::text::{plural, thousands};

/// Files that are told one by one; the rest are counted.
const TOLD: usize = 20;

/// How pictures in files are read.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct Reading {
    /// Refuse a data set with pictures that cannot be used, instead of leaving them out with a warning
    #[arg(long)]
    strict: bool,
    /// Memory for decoded pictures, such as 500M or 4G; 0 decodes each anew every time [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    cache: Option<u64>,
}

impl Reading {
    /// Both parts of a data set, what is left out told.
    pub(crate) fn both(&self, source: &str) -> Result<[Arc<Dataset>; 2]> {
        let parts = self.parts(source)?;
        tell(&parts[0]);
        Ok(parts)
    }

    /// Both parts of a data set, in silence.
    pub(crate) fn parts(&self, source: &str) -> Result<[Arc<Dataset>; 2]> {
        Ok(self
            .open(|opening| data::open_both(source, opening))
            .map_err(|error| advised(source, error))?
            .map(Arc::new))
    }

    /// A part of a data set, what is left out told.
    pub(crate) fn part(&self, source: &str, split: Split) -> Result<Arc<Dataset>> {
        let part = self
            .open(|opening| data::open_with(source, split, opening))
            .map_err(|error| advised(source, error))?;
        tell(&part);
        Ok(Arc::new(part))
    }

    /// Both parts, for a run that is resumed.
    pub(crate) fn again(&self, source: &str) -> std::result::Result<[Arc<Dataset>; 2], DataError> {
        let parts = self.open(|opening| data::open_both(source, opening))?.map(Arc::new);
        tell(&parts[0]);
        Ok(parts)
    }

    fn open<T>(
        &self,
        open: impl FnOnce(&mut Opening) -> std::result::Result<T, DataError>,
    ) -> std::result::Result<T, DataError> {
        let bar = bar("looking into", "pictures");
        let mut opening = Opening {
            strict: self.strict,
            cache: self.cache.unwrap_or(Opening::CACHE),
            cache_folder: etcetera::choose_base_strategy()
                .ok()
                .map(|base| base.cache_dir().join("striate").join("pictures")),
            progress: Box::new(|done, of| {
                bar.set_length(of);
                bar.set_position(done);
            }),
        };
        let opened = open(&mut opening);
        drop(opening);
        bar.finish_and_clear();
        opened
    }
}

/// A bar on standard error, where that is a terminal.
pub(crate) fn bar(verb: &str, things: &str) -> ProgressBar {
    if !Term::stderr().is_term() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let line = format!("{verb}  {{bar:20.cyan/238}}  {{pos}} of {{len}} {things}  {{eta}} left");
    let style = ProgressStyle::with_template(&line).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸─"));
    bar
}

fn advised(source: &str, error: DataError) -> Failure {
    let next = match &error {
        DataError::NotEmbedded { .. } | DataError::Missing { .. } => {
            let name = source.split(':').next().unwrap_or_default();
            let files = archives::of(name);
            if files.is_empty() {
                return error.into();
            }
            let rows: String =
                files.iter().map(|file| format!("\n  {}  (md5 {})", file.url, file.md5)).collect();
            let unpack = if files[0].url.contains(".tar") { " and unpack it there" } else { "" };
            format!("fetch into a folder DIR{unpack}, then name {name}:DIR{rows}")
        }
        DataError::Unknown { .. } => "`striate data --help` lists what can be read".into(),
        _ => return error.into(),
    };
    Failure::from(error).advise(next)
}

/// Tells what was left out of a data set, and what else should be known.
fn tell(data: &Dataset) {
    let Some(survey) = data.survey() else { return };
    for text in &survey.notes {
        note(text);
    }
    if survey.left_out.is_empty() {
        return;
    }
    let mut text = format!("{} cannot be used:", plural(survey.left_out.len(), "picture"));
    for out in survey.left_out.iter().take(TOLD) {
        text += &format!("\n  {}: {}", out.file, out.problem);
    }
    if survey.left_out.len() > TOLD {
        let rest = thousands(survey.left_out.len() - TOLD);
        text += &format!("\n  and {rest} more; `striate data info` lists them all");
    }
    note(&text);
}

/// The data sets that there are, for help.
pub(crate) fn help() -> String {
    let rows = SCHEMES.iter().map(|scheme| (scheme.form.to_string(), scheme.what));
    let alone = [("DIR, FILE.csv, *.tar".to_string(), "any of the last four, told apart by what lies there")];
    let options = OPTIONS.iter().map(|(form, what)| (format!("…?{form}"), *what));
    let mut text = "Data:".to_string();
    for (form, what) in rows.chain(alone).chain(options) {
        text += &lines(&form, what);
    }
    text
}

/// A row of help: a form of 28 columns, then words in lines.
fn lines(form: &str, what: &str) -> String {
    const LEFT: usize = 28;
    const RIGHT: usize = 60;
    let mut text = format!("\n  {form:<LEFT$}");
    if form.chars().count() >= LEFT {
        text += &format!("\n  {:LEFT$}", "");
    }
    let mut column = 0;
    for word in what.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > RIGHT {
            text += &format!("\n  {:LEFT$}", "");
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += length;
    }
    text
}

/// A number of bytes, such as `500M`.
fn size(text: &str) -> std::result::Result<u64, String> {
    let units = [('K', 1u64 << 10), ('M', 1 << 20), ('G', 1 << 30), ('T', 1 << 40)];
    let plain = text.trim_end_matches(['b', 'B']).trim_end_matches(['i', 'I']).trim_end();
    let unit = units.into_iter().find(|(unit, _)| plain.ends_with([*unit, unit.to_ascii_lowercase()]));
    let number = if unit.is_some() { &plain[..plain.len() - 1] } else { plain };
    let number: f64 = number.trim().parse().map_err(|_| "write a number of bytes, such as 500M or 4G")?;
    let bytes = number * unit.map_or(1.0, |(_, unit)| unit as f64);
    if (0.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err("no such memory is to be had".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("0", 0), ("10", 10), ("1k", 1024), ("500M", 500 << 20), ("1.5 GiB", 3 << 29), ("2TB", 2 << 40)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "x", "1e30"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn help_names_every_source() {
        let text = help();
        for scheme in &SCHEMES {
            assert!(text.contains(scheme.name), "{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 92), "{text}");
    }
}
