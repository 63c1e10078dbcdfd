//! `striate train … --find-lr`.

use console::style;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use striate::interop::atomic::write_atomic;
use striate::prelude::*;
use striate::train::finder::{self, Finding, Sweep, Trial};

use crate::failure::Result;
use crate::options::{Format, write_json};

/// Columns and rows of the plot.
const SIZE: [usize; 2] = [64, 14];

/// What `lr-finder.json` and `--format json` say.
#[derive(Serialize)]
struct Report<'a> {
    network: &'a str,
    data: &'a str,
    batch: usize,
    optimizer: String,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Sweeps the rate and tells what it has found; the curve goes to `run` too, where one is named.
pub(super) fn run(
    config: &TrainConfig,
    network: &Graph,
    data: [Arc<Dataset>; 2],
    given: Parameters,
    threads: usize,
    run: Option<&Path>,
    format: Format,
) -> Result<()> {
    let sweep = Sweep::default();
    let mut done = 0;
    let finding = finder::find(config, network, data, given, threads, sweep, &mut |trial: &Trial| {
        done += 1;
        let _ = write!(
            io::stderr().lock(),
            "\r{done:>4}/{}  lr {:.2e}  loss {:.4} ",
            sweep.steps,
            trial.lr,
            trial.loss
        );
    })?;
    let _ = writeln!(io::stderr().lock());
    let report = Report {
        network: &config.network,
        data: &config.data,
        batch: config.batch,
        optimizer: config.optimizer.to_string(),
        finding: &finding,
    };
    if let Some(folder) = run {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(&report)?;
        write_atomic(folder.join("lr-finder.json"), |file| file.write_all(text.as_bytes()))?;
    }
    match format {
        Format::Json => write_json(&report),
        Format::Table => tell(&finding),
    }
}

fn tell(finding: &Finding) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out)?;
    for line in plot(finding) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    let Some(lr) = finding.suggestion else {
        writeln!(out, "suggestion  none: the loss does not fall at any rate")?;
        return Ok(writeln!(
            out,
            "Look at the data (`striate eval`), or give --optimizer, --batch or --init something else to begin with."
        )?);
    };
    let steepest = finding.steepest.unwrap_or(lr);
    let bold = |lr: f64| style(format!("{lr:.1e}")).green().bold();
    writeln!(out, "suggestion  {}   a tenth of the rate of the least loss", bold(lr))?;
    writeln!(out, "  steepest  {}   where the loss falls fastest", bold(steepest))?;
    writeln!(out)?;
    writeln!(out, "{}", style("Try next").bold())?;
    writeln!(out, "  the same command with --lr {lr:.1e} in place of --find-lr")?;
    Ok(writeln!(out, "  with --schedule onecycle, whose rate is only its peak, up to three times as much")?)
}

/// The smoothed loss over the logarithm of the rate.
fn plot(finding: &Finding) -> Vec<String> {
    let [columns, rows] = SIZE;
    let trials = &finding.trials;
    let (Some(first), Some(last)) = (trials.first(), trials.last()) else { return Vec::new() };
    let losses = || trials.iter().map(|trial| trial.smoothed);
    let (low, start) = (losses().fold(f64::INFINITY, f64::min), first.smoothed);
    // The rise at the end would flatten all else.
    let high = losses().fold(f64::NEG_INFINITY, f64::max).min(start + 0.5 * (start - low).max(1e-3));
    let place = |value: f64, from: f64, to: f64, cells: usize| {
        let part = (value - from) / (to - from).max(f64::MIN_POSITIVE);
        (part.clamp(0.0, 1.0) * (cells - 1) as f64).round() as usize
    };
    let column = |lr: f64| place(lr.ln(), first.lr.ln(), last.lr.ln(), columns);
    let mut cells = vec![vec![' '; columns]; rows];
    if let Some(lr) = finding.suggestion {
        cells.iter_mut().for_each(|row| row[column(lr)] = '┊');
    }
    for trial in trials.iter().filter(|trial| trial.smoothed <= high) {
        cells[rows - 1 - place(trial.smoothed, low, high, rows)][column(trial.lr)] = '•';
    }
    let label = |row: usize| match row {
        0 => format!("{high:8.4}"),
        _ if row == rows - 1 => format!("{low:8.4}"),
        _ => " ".repeat(8),
    };
    let mut lines: Vec<String> = cells
        .iter()
        .enumerate()
        .map(|(row, cells)| format!("{} │{}", label(row), cells.iter().collect::<String>().trim_end()))
        .collect();
    lines.push(format!("{} └{}", " ".repeat(8), "─".repeat(columns)));
    let mut axis = vec![' '; columns + 8];
    let (from, to) = (first.lr.log10().ceil() as i32, last.lr.log10().floor() as i32);
    for power in from..=to {
        let at = column(10f64.powi(power));
        for (index, c) in format!("1e{power}").chars().enumerate() {
            axis[at + index] = c;
        }
    }
    lines.push(format!("{:>8}  {}", "lr", axis.iter().collect::<String>().trim_end()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_lies_within_the_frame() {
        let trial = |index: i32| {
            let lr = 10f64.powf(f64::from(index) / 10.0 - 6.0);
            let loss = 2.0 - f64::from(index) / 50.0 + (lr / 0.3).powi(3);
            Trial { lr, loss, smoothed: loss }
        };
        let trials: Vec<Trial> = (0..=65).map(trial).collect();
        let finding = Finding {
            trials,
            steepest: Some(0.01),
            tenth_of_least: Some(0.02),
            suggestion: Some(0.01),
            diverged: true,
        };
        let lines = plot(&finding);
        assert_eq!(lines.len(), SIZE[1] + 2);
        assert!(lines[..SIZE[1]].iter().all(|line| line.chars().count() <= 10 + SIZE[0]));
        assert!(lines[..SIZE[1]].iter().any(|line| line.contains('•') && line.contains('┊')), "{lines:#?}");
        assert!(lines[SIZE[1] + 1].contains("1e-6") && lines[SIZE[1] + 1].contains("1e-2"), "{lines:#?}");
    }
}
