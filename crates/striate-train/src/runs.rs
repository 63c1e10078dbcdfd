//! Runs as they lie in their folders, also while another process trains them.

use crate::run_folder::{self, RunError};
use crate::trainer::EpochRecord;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// How deep runs are looked for below a folder.
const DEPTH: usize = 4;
/// So many folders are looked into.
const MAX_FOLDERS: usize = 100_000;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A process trains it.
    Running,
    /// It is at its end.
    Finished,
    /// It ended before its end; it can be resumed.
    Interrupted,
}

impl RunState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Finished => "finished",
            RunState::Interrupted => "interrupted",
        }
    }
}

/// A run as its folder tells it.
#[derive(Clone, Debug)]
pub struct Run {
    /// The folder.
    pub path: PathBuf,
    /// What it was asked to do, as it was written: runs of other versions are read as well.
    pub config: Map<String, Value>,
    /// Its epochs so far.
    pub log: Vec<EpochRecord>,
    /// What became of it.
    pub state: RunState,
}

impl Run {
    /// Reads the run in `path`.
    ///
    /// # Errors
    /// When there is none, or its configuration or log cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RunError> {
        let path = path.as_ref();
        let config: Map<String, Value> = run_folder::read_config(path)?;
        let log: Vec<EpochRecord> = run_folder::read_log(path)?;
        let state = if run_folder::in_use(path) {
            RunState::Running
        } else if run_folder::model_path(path).is_file() {
            RunState::Finished
        } else {
            RunState::Interrupted
        };
        Ok(Self { path: path.to_path_buf(), config, log, state })
    }

    /// What it is called: the last part of its folder.
    pub fn name(&self) -> String {
        let full = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        full.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// A text of its configuration; empty where there is none of this name.
    pub fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Epochs it was asked for.
    pub fn epochs(&self) -> u64 {
        self.config.get("epochs").and_then(Value::as_u64).unwrap_or_default()
    }

    /// Its last epoch.
    pub fn last(&self) -> Option<&EpochRecord> {
        self.log.last()
    }

    /// The first epoch of those with the highest test accuracy.
    pub fn best(&self) -> Option<&EpochRecord> {
        let better = |a: &&EpochRecord, b: &&EpochRecord| {
            a.test_accuracy.total_cmp(&b.test_accuracy).then(b.epoch.cmp(&a.epoch))
        };
        self.log.iter().max_by(better)
    }

    /// Its configuration as names and values, those of inner objects with their path: `schedule.cosine.min`. The
    /// network's text is left out: its name stands for it.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        for (name, value) in self.config.iter().filter(|(name, _)| *name != "notation") {
            flatten(name, value, &mut settings);
        }
        settings
    }
}

fn flatten(name: &str, value: &Value, to: &mut Vec<(String, String)>) {
    match value {
        // The depth is bounded by the reader of JSON.
        Value::Object(inner) => {
            inner.iter().for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, to));
        }
        Value::String(text) => to.push((name.into(), text.clone())),
        Value::Null => {}
        other => to.push((name.into(), other.to_string())),
    }
}

/// What lies in a folder: each run, or why it cannot be read.
pub type Found = (PathBuf, Result<Run, RunError>);

/// The runs in `folder` and below it (or the one that it is), the one last written to at the end.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: impl AsRef<Path>) -> Result<Vec<Found>, RunError> {
    let folder = folder.as_ref();
    let listing = fs::read_dir(folder);
    listing.map_err(|source| RunError::Io { path: folder.to_path_buf(), step: "list runs in", source })?;
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    let mut next = 0;
    while let Some((path, depth)) = folders.get(next).cloned() {
        next += 1;
        if run_folder::looks_like_one(&path) {
            found.push(path);
            continue;
        }
        let inner = fs::read_dir(&path).into_iter().flatten().flatten();
        // Links are not followed: they may lead in circles.
        let inner = inner.filter(|entry| depth < DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(inner.map(|entry| (entry.path(), depth + 1)).take(MAX_FOLDERS - folders.len()));
    }
    let written = |path: &PathBuf| {
        ["log.jsonl", "config.json"]
            .iter()
            .find_map(|file| fs::metadata(path.join(file)).ok()?.modified().ok())
    };
    found.sort_by_cached_key(|path| (written(path), path.clone()));
    Ok(found.into_iter().map(|path| (path.clone(), Run::open(&path))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::RunFolder;
    use serde_json::json;

    /// An epoch of a log.
    pub(crate) fn record(epoch: u64, test_accuracy: f64) -> EpochRecord {
        EpochRecord {
            step: epoch * 10,
            epoch,
            lr: 0.1,
            train_loss: 1.0 / epoch as f64,
            train_accuracy: test_accuracy,
            test_loss: 1.1 / epoch as f64,
            test_accuracy,
            test_top5: 1.0,
            images_per_s: 100.0,
            input_share: 0.1,
            seconds: epoch as f64,
        }
    }

    #[test]
    fn a_folder_tells_its_runs_and_names_the_broken_ones() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            json!({"network": "lenet5", "epochs": 3, "notation": "…", "schedule": {"step": {"every": 2}}});
        let mut going = RunFolder::create(dir.path().join("a/going"), &config).unwrap();
        for (epoch, accuracy) in [(1, 0.5), (2, 0.75), (3, 0.75)] {
            going.append(&record(epoch, accuracy)).unwrap();
        }
        drop(RunFolder::create(dir.path().join("broken"), &json!([1])).unwrap());
        fs::create_dir_all(dir.path().join("no run/at all")).unwrap();
        let runs = list(dir.path()).unwrap();
        assert_eq!(runs.len(), 2);
        let of = |name: &str| runs.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.as_ref();
        let run = of("going").unwrap();
        assert_eq!((run.state, run.epochs(), run.name().as_str()), (RunState::Running, 3, "going"));
        assert_eq!((run.best().unwrap().epoch, run.last().unwrap().epoch), (2, 3));
        let settings: Vec<(String, String)> = run.settings();
        assert!(settings.contains(&("schedule.step.every".into(), "2".into())), "{settings:?}");
        assert!(of("broken").unwrap_err().to_string().contains("config.json"));
        drop(going);
        assert_eq!(Run::open(dir.path().join("a/going")).unwrap().state, RunState::Interrupted);
        fs::write(dir.path().join("a/going/model.safetensors"), "").unwrap();
        assert_eq!(
            list(dir.path().join("a/going")).unwrap()[0].1.as_ref().unwrap().state,
            RunState::Finished
        );
        assert!(list(dir.path().join("nowhere")).unwrap_err().to_string().contains("cannot list runs in"));
    }
}
