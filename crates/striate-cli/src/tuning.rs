//! Measured choices of algorithms, kept from run to run in the user's cache.

use etcetera::BaseStrategy;
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use striate::interop::atomic::write_atomic;
use striate::prelude::*;

use crate::failure::{Failure, Result, note};

/// Choices by processor, then by convolution.
type Kept = BTreeMap<String, BTreeMap<String, String>>;

/// Plans a graph with measured algorithms, measuring those not known yet.
pub(crate) fn plan(graph: &Graph, options: PlanOptions) -> Result<Plan> {
    // Asking for one algorithm leaves nothing to choose.
    if options.algorithm != Algorithm::Auto {
        let text =
            format!("--autotune chooses among algorithms, --algorithm {} leaves one", options.algorithm);
        return Err(Failure::usage(text).advise("leave one of the two out"));
    }
    let path = path()?;
    let mut kept = read(&path)?;
    let known = kept.entry(processor()).or_default();
    let mut tuning = Tuning::default();
    for (convolution, algorithm) in known.iter() {
        if let Ok(algorithm) = algorithm.parse() {
            tuning.insert(convolution, algorithm);
        }
    }
    let before = tuning.choices().len();
    let bar = ProgressBar::new_spinner();
    let untuned = Plan::new(graph, options)?;
    tuning
        .measure(&untuned, |name, left| bar.set_message(format!("measuring {name}, {left} to go")))
        .map_err(Failure::new)?;
    bar.finish_and_clear();
    drop(untuned);
    let plan = Plan::tuned(graph, options, &tuning)?;
    if tuning.choices().len() > before {
        *known = tuning.choices().map(|(key, algorithm)| (key.into(), algorithm.name().into())).collect();
        write(&path, &kept)?;
        note(&format!("choices kept in {}", path.display()));
    }
    Ok(plan)
}

/// Where choices are kept.
fn path() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().map_err(|error| {
        Failure::new(format!("there is no place to keep measured choices: {error}")).advise("set HOME")
    })?;
    Ok(base.cache_dir().join("striate").join("tuning.json"))
}

/// What is kept there; nothing where the file does not exist or is not ours any more.
fn read(path: &Path) -> Result<Kept> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
            note(&format!("{} is replaced: {error}", path.display()));
            Kept::new()
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kept::new()),
        Err(error) => Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
    }
}

fn write(path: &Path, kept: &Kept) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!("cannot keep the choices: {error}")).advise("leave --autotune out")
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    }
    let text = serde_json::to_vec_pretty(kept)?;
    write_atomic(path, |file| file.write_all(&text)).map_err(|error| failed(&error))
}

/// The processor's name, family and model, where the system tells.
fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).map(str::trim).unwrap_or_default().to_string()
    };
    // The first three on x86, the last two on ARM.
    let keys = ["model name", "cpu family", "model", "CPU implementer", "CPU part"];
    let known: Vec<String> = keys.map(of).into_iter().filter(|value| !value.is_empty()).collect();
    if known.is_empty() { std::env::consts::ARCH.into() } else { known.join(" ") }
}
