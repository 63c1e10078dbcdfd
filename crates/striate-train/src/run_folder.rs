//! The folder of a run: what it was asked to do, its log, its checkpoints and the model it made.
//!
//! | path | content |
//! |---|---|
//! | `config.json` | what the run was asked to do |
//! | `log.jsonl` | a JSON object a line, each with its `step` |
//! | `checkpoints/latest.safetensors` | where to go on |
//! | `checkpoints/best.safetensors` | the model of the epoch with the highest test accuracy so far |
//! | `model.safetensors` | the finished model |
//! | `curves.svg`, `curves.png` | loss, error and learning rate of each epoch, drawn |
//! | `events.out.tfevents.*` | the same and more for TensorBoard, on request |
//! | `.striate-lock` | the number of the process that writes here, locked as long as it lives |
//!
//! Checkpoints and models are written with [`TensorFile::write`](striate_interop::TensorFile::write), so that a
//! process killed at any moment leaves whole files; of the log it may leave half a line, which is cut off when the
//! folder is opened again.
//!
//! The best model is chosen by the test images, so that its accuracy on them flatters it a little. Where that matters,
//! train on one part that [`hold_out`](crate::data::hold_out) leaves, give the other as the test set, and measure on
//! images that have decided nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use striate_interop::atomic::{WriteError, remedy, write_atomic};
use thiserror::Error;

const CONFIG: &str = "config.json";
const LOG: &str = "log.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".striate-lock";

/// What can go wrong with the folder of a run.
#[derive(Debug, Error)]
pub enum RunError {
    /// A file or folder cannot be used.
    #[error("{}: cannot {step}: {source}{}", path.display(), remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        step: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be written; what stood there is untouched.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder holds a run already.
    #[error("{} holds a run (or a log) already; resume it, or choose another folder", .0.display())]
    Exists(PathBuf),
    /// The folder holds no run.
    #[error("{} holds no run: there is no {CONFIG} in it; give the folder of a run, or begin one", .0.display())]
    NoRun(PathBuf),
    /// Another process is at it.
    #[error("{} is in use by {}; wait for it or stop it first", path.display(),
        pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}")))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, where it has told its number.
        pid: Option<u32>,
    },
    /// A file does not hold what it should.
    #[error(
        "{}{}: {source}; restore the file, or begin a new run in another folder",
        path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Which line of the log, from 1.
        line: Option<usize>,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Which checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Where to go on.
    Latest,
    /// The best by test accuracy so far.
    Best,
}

/// A run's folder, held by this process alone as long as the value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    log: File,
    /// Locked; the system lets go of it however the process ends.
    _lock: File,
}

impl RunFolder {
    /// Makes a new run in `path`, a folder that holds none yet, with its configuration.
    pub fn create(path: impl AsRef<Path>, config: &impl Serialize) -> Result<Self, RunError> {
        let path = path.as_ref();
        let config_path = path.join(CONFIG);
        // A run that was killed while it was made has neither a configuration nor anything in its log.
        let free = || {
            let logged = fs::metadata(path.join(LOG)).is_ok_and(|log| log.len() > 0);
            if logged || config_path.exists() { Err(RunError::Exists(path.to_path_buf())) } else { Ok(()) }
        };
        // Before anything is touched, and again when no other process can make a run here any more.
        free()?;
        make_folder(path)?;
        let lock = lock(path)?;
        free()?;
        make_folder(&path.join(CHECKPOINTS))?;
        let log = open_log(&path.join(LOG))?;
        // Last: a folder with a configuration is a run.
        let json = serde_json::to_string_pretty(config);
        let json =
            json.map_err(|source| RunError::Content { path: config_path.clone(), line: None, source })?;
        write_atomic(&config_path, |file| writeln!(file, "{json}"))?;
        Ok(Self { path: path.to_path_buf(), log, _lock: lock })
    }

    /// Opens the run in `path` to go on with it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RunError> {
        let path = path.as_ref();
        if !path.join(CONFIG).is_file() {
            return Err(RunError::NoRun(path.to_path_buf()));
        }
        let lock = lock(path)?;
        make_folder(&path.join(CHECKPOINTS))?;
        let log_path = path.join(LOG);
        let log = open_log(&log_path)?;
        let whole = whole_lines(&log).map_err(fail(&log_path, "read"))?;
        log.set_len(whole).map_err(fail(&log_path, "cut off a half-written line of"))?;
        Ok(Self { path: path.to_path_buf(), log, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the run was asked to do.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, RunError> {
        read_config(&self.path)
    }

    /// The file of a checkpoint, whether it exists or not.
    pub fn checkpoint(&self, which: Checkpoint) -> PathBuf {
        checkpoint_path(&self.path, which)
    }

    /// The file of the finished model.
    pub fn model(&self) -> PathBuf {
        model_path(&self.path)
    }

    /// Appends a line to the log: an object with the field `step`, a number.
    pub fn append(&mut self, entry: &impl Serialize) -> Result<(), RunError> {
        let path = self.path.join(LOG);
        let content = |source| RunError::Content { path: path.clone(), line: None, source };
        let mut line = serde_json::to_string(entry).map_err(content)?;
        serde_json::from_str::<Step>(&line).map_err(content)?;
        line.push('\n');
        let end = self.log.metadata().map_err(fail(&path, "append to"))?.len();
        self.log.write_all(line.as_bytes()).map_err(|error| {
            // On a full disk half a line may have gone out; the next one must not continue it.
            let _ = self.log.set_len(end);
            fail(&path, "append to")(error)
        })
    }

    /// Removes the entries of steps behind `step`, as a run needs that goes on from a checkpoint of that step.
    pub fn truncate_after(&mut self, step: u64) -> Result<(), RunError> {
        let path = self.path.join(LOG);
        let mut kept = String::new();
        for_each_line(&path, |line, number| {
            if parse::<Step>(&path, line, number)?.step <= step {
                kept.push_str(line);
                kept.push('\n');
            }
            Ok(())
        })?;
        write_atomic(&path, |file| file.write_all(kept.as_bytes()))?;
        self.log = open_log(&path)?;
        Ok(())
    }

    /// The log so far.
    pub fn log<T: DeserializeOwned>(&self) -> Result<Vec<T>, RunError> {
        read_log(&self.path)
    }
}

/// What every entry of a log has.
#[derive(Deserialize)]
struct Step {
    step: u64,
}

/// The configuration of the run in `folder`, which another process may be at.
pub fn read_config<T: DeserializeOwned>(folder: impl AsRef<Path>) -> Result<T, RunError> {
    let path = folder.as_ref().join(CONFIG);
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => RunError::NoRun(folder.as_ref().to_path_buf()),
        _ => fail(&path, "read")(error),
    })?;
    serde_json::from_str(&text).map_err(|source| RunError::Content { path, line: None, source })
}

/// The log of the run in `folder`, which another process may be writing: half a line at its end is left out.
pub fn read_log<T: DeserializeOwned>(folder: impl AsRef<Path>) -> Result<Vec<T>, RunError> {
    let path = folder.as_ref().join(LOG);
    let mut entries = Vec::new();
    for_each_line(&path, |line, number| {
        entries.push(parse(&path, line, number)?);
        Ok(())
    })?;
    Ok(entries)
}

/// The file of a checkpoint of the run in `folder`.
pub fn checkpoint_path(folder: impl AsRef<Path>, which: Checkpoint) -> PathBuf {
    let name = match which {
        Checkpoint::Latest => "latest.safetensors",
        Checkpoint::Best => "best.safetensors",
    };
    folder.as_ref().join(CHECKPOINTS).join(name)
}

/// The file of the finished model of the run in `folder`.
pub fn model_path(folder: impl AsRef<Path>) -> PathBuf {
    folder.as_ref().join("model.safetensors")
}

/// Whether a process is at the run in `folder`.
pub fn in_use(folder: impl AsRef<Path>) -> bool {
    let lock = File::open(folder.as_ref().join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Whether `folder` holds a run, be it a broken one.
pub(crate) fn looks_like_one(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).exists();
    has(CONFIG) && (has(LOG) || has(CHECKPOINTS)) || has(LOG) && has(CHECKPOINTS)
}

fn fail<'a>(path: &'a Path, step: &'static str) -> impl Fn(io::Error) -> RunError + 'a {
    move |source| RunError::Io { path: path.to_path_buf(), step, source }
}

fn make_folder(path: &Path) -> Result<(), RunError> {
    fs::create_dir_all(path).map_err(fail(path, "create the folder"))
}

fn open_log(path: &Path) -> Result<File, RunError> {
    OpenOptions::new().read(true).append(true).create(true).open(path).map_err(fail(path, "open"))
}

/// Locks the folder for this process. The lock goes with the process, so one left by a dead process does not
/// hold; its file stays, for removing it would let two processes each lock a file of their own.
fn lock(folder: &Path) -> Result<File, RunError> {
    let path = folder.join(LOCK);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(fail(&path, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(RunError::InUse { path: folder.to_path_buf(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(fail(&path, "lock")(error)),
    }
    let write = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(fail(&path, "write"))?;
    Ok(file)
}

/// The length of `log` up to and with its last line end.
fn whole_lines(mut log: &File) -> io::Result<u64> {
    let mut block = [0; 4096];
    let mut end = log.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        log.seek(SeekFrom::Start(start))?;
        log.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Calls `body` with every whole line and its number, from 1.
fn for_each_line(
    path: &Path,
    mut body: impl FnMut(&str, usize) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let mut reader = BufReader::new(File::open(path).map_err(fail(path, "read"))?);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(_) if line.ends_with('\n') => body(line.trim_end(), number)?,
            Ok(_) => break,
            // Half a line may end inside a character; anything behind it is damage.
            Err(error) if error.kind() == ErrorKind::InvalidData && at_end(&mut reader) => break,
            Err(error) => return Err(fail(path, "read")(error)),
        }
    }
    Ok(())
}

fn at_end(reader: &mut impl BufRead) -> bool {
    reader.fill_buf().is_ok_and(<[u8]>::is_empty)
}

fn parse<T: DeserializeOwned>(path: &Path, line: &str, number: usize) -> Result<T, RunError> {
    let content = |source| RunError::Content { path: path.to_path_buf(), line: Some(number), source };
    serde_json::from_str(line).map_err(content)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn steps(folder: &Path) -> Vec<u64> {
        read_log::<Step>(folder).unwrap().into_iter().map(|entry| entry.step).collect()
    }

    #[test]
    fn a_run_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/first");
        let mut run = RunFolder::create(&path, &json!({"network": "lenet5"})).unwrap();
        for step in [1, 2, 3] {
            run.append(&json!({"step": step, "loss": 0.5})).unwrap();
        }
        assert!(run.checkpoint(Checkpoint::Latest).parent().unwrap().is_dir());
        drop(run);
        assert!(matches!(RunFolder::create(&path, &json!({})), Err(RunError::Exists(_))));
        fs::write(folder.path().join(LOG), "of something else\n").unwrap();
        assert!(matches!(RunFolder::create(folder.path(), &json!({})), Err(RunError::Exists(_))));
        assert!(!folder.path().join(LOCK).exists() && !folder.path().join(CHECKPOINTS).exists());
        let mut run = RunFolder::open(&path).unwrap();
        assert_eq!(run.config::<Value>().unwrap()["network"], "lenet5");
        run.append(&json!({"step": 4})).unwrap();
        assert_eq!(run.log::<Value>().unwrap()[0]["loss"], 0.5);
        assert_eq!(steps(&path), [1, 2, 3, 4]);
        assert!(matches!(RunFolder::open(folder.path()), Err(RunError::NoRun(_))));
        assert!(matches!(read_config::<Value>(folder.path()), Err(RunError::NoRun(_))));
    }

    #[test]
    fn half_a_line_is_left_out_and_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        drop(RunFolder::create(path, &json!({})).unwrap());
        let whole = "{\"step\":1}\n{\"step\":2,\"note\":\"ä\"}\n";
        let first = whole.find('\n').unwrap() + 1;
        for cut in 0..=whole.len() {
            fs::write(path.join(LOG), &whole.as_bytes()[..cut]).unwrap();
            let kept = if cut == whole.len() { 2 } else { usize::from(cut >= first) };
            assert_eq!(steps(path).len(), kept, "cut at {cut}");
            let mut run = RunFolder::open(path).unwrap();
            run.append(&json!({"step": 7})).unwrap();
            assert_eq!(steps(path), [&[1, 2][..kept], &[7]].concat(), "cut at {cut}");
        }
        let long = format!("{{\"step\":1}}\n{}", "x".repeat(10_000));
        fs::write(path.join(LOG), long).unwrap();
        drop(RunFolder::open(path).unwrap());
        assert_eq!(fs::read_to_string(path.join(LOG)).unwrap(), "{\"step\":1}\n");
    }

    #[test]
    fn damage_inside_the_log_is_an_error_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunFolder::create(folder.path(), &json!({})).unwrap());
        for damaged in [&b"{\"step\":1}\nhello\n{\"step\":2}\n"[..], b"{\"step\":1}\n{\"loss\":2}\n"] {
            fs::write(folder.path().join(LOG), damaged).unwrap();
            let text = read_log::<Step>(folder.path()).err().unwrap().to_string();
            assert!(text.contains("log.jsonl, line 2"), "{text}");
        }
        fs::write(folder.path().join(LOG), b"\xff\xff\n{\"step\":1}\n").unwrap();
        assert!(matches!(read_log::<Step>(folder.path()), Err(RunError::Io { .. })));
    }

    #[test]
    fn steps_behind_the_checkpoint_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), &json!({})).unwrap();
        for step in [0, 5, 10, 15] {
            run.append(&json!({"step": step})).unwrap();
        }
        run.truncate_after(10).unwrap();
        assert_eq!(steps(folder.path()), [0, 5, 10]);
        run.append(&json!({"step": 11})).unwrap();
        assert_eq!(steps(folder.path()), [0, 5, 10, 11]);
    }

    #[test]
    fn entries_without_a_step_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), &json!({})).unwrap();
        assert!(matches!(run.append(&json!({"loss": 1})), Err(RunError::Content { .. })));
        assert!(matches!(run.append(&json!("text")), Err(RunError::Content { .. })));
        assert!(steps(folder.path()).is_empty());
    }

    #[test]
    fn a_second_holder_is_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path(), &json!({})).unwrap();
        let text = RunFolder::open(folder.path()).unwrap_err().to_string();
        assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
        drop(run);
        RunFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn the_lock_of_a_dead_process_does_not_hold() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunFolder::create(folder.path(), &json!({})).unwrap());
        fs::write(folder.path().join(LOCK), "4000000000\n").unwrap();
        let _run = RunFolder::open(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join(LOCK)).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
    }

    #[test]
    fn places_that_cannot_hold_a_run_are_told_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let text = RunFolder::create(file.join("run"), &json!({})).unwrap_err().to_string();
        assert!(text.contains("file") && text.contains("choose another folder"), "{text}");
        if cfg!(target_os = "linux") {
            let text = RunFolder::create("/proc/striate/run", &json!({})).unwrap_err().to_string();
            assert!(text.contains("/proc/striate/run: cannot create the folder"), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), &json!({})).unwrap();
        run.log = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let text = run.append(&json!({"step": 1})).unwrap_err().to_string();
        assert!(text.contains("log.jsonl: cannot append to") && text.contains("free some space"), "{text}");
    }
}
