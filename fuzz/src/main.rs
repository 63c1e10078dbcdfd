//! `striate-fuzz [TARGET…] [--seconds S] [--seed N]`: mutates each target's corpus for so long and runs it on every result.
//!
//! A panic, a file that takes longer than [`TIME`], or one for which more memory is held than the target's bound ends the
//! run: the file is written to `crashes/` and the exit code is 1. `striate-fuzz TARGET FILE…` runs the target on files.

use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use striate_fuzz::allocation::{self, Counting};
use striate_fuzz::mutate::{Rng, mutate};
use striate_fuzz::targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The longest time that a file may take; files are at most 64 KiB.
const TIME: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<String>) -> Result<(), String> {
    let (mut seconds, mut seed) = (10, 0);
    let mut targets: Vec<&'static Target> = Vec::new();
    let mut files = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|value| value.parse().ok()).ok_or(format!("{arg} needs a number"));
        match arg.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            name => match TARGETS.iter().find(|target| target.name == name) {
                Some(target) => targets.push(target),
                None if targets.len() == 1 => files.push(PathBuf::from(name)),
                None => return Err(format!("no target is called '{name}'; there are {}", names())),
            },
        }
    }
    if targets.is_empty() {
        targets.extend(&TARGETS);
    }
    for target in targets {
        let corpus = if files.is_empty() { seeds(target)? } else { read(&files)? };
        let time = if files.is_empty() { Duration::from_secs(seconds) } else { Duration::ZERO };
        fuzz(target, corpus, time, seed)?;
    }
    Ok(())
}

fn names() -> String {
    TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ")
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    files.iter().map(read).collect()
}

/// The committed files of a target, in the order of their names.
fn seeds(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: no files to begin with", folder.display()));
    }
    read(&files)
}

/// What is being read, and since when.
type Watched = Mutex<Option<(Instant, Vec<u8>)>>;

/// Tells of a reader that hangs: it cannot do so itself.
fn watch(target: &'static Target, watched: &'static Watched) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(TIME / 20);
            let reading = watched.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, file)) = reading.as_ref().filter(|(since, _)| since.elapsed() > TIME) {
                let path = keep(target, file);
                eprintln!("error: {}: longer than {} s on {}", target.name, TIME.as_secs(), path.display());
                std::process::exit(1);
            }
        }
    });
}

fn fuzz(target: &'static Target, corpus: Vec<Vec<u8>>, time: Duration, seed: u64) -> Result<(), String> {
    let watched: &'static Watched = Box::leak(Box::default());
    let note = |what| *watched.lock().unwrap_or_else(PoisonError::into_inner) = what;
    watch(target, watched);
    panic::set_hook(Box::new(|_| {}));
    let mut rng = Rng(seed);
    let (begin, mut count, mut most) = (Instant::now(), 0u64, 0);
    let mut slowest = Duration::ZERO;
    let mut next = corpus.clone().into_iter();
    loop {
        let file = match next.next() {
            Some(seed) => seed,
            None if begin.elapsed() >= time => break,
            None => {
                let mut file = corpus[rng.below(corpus.len())].clone();
                mutate(&mut file, &corpus, target.words, &mut rng);
                file
            }
        };
        let start = Instant::now();
        note(Some((start, file.clone())));
        let bound = (target.bound)(file.len());
        // Twice the bound is given, so that exceeding it is told as such and does not abort.
        let held = allocation::reset(bound.saturating_mul(2));
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&file)));
        let peak = allocation::peak_since(held);
        allocation::reset(usize::MAX);
        slowest = slowest.max(start.elapsed());
        note(None);
        let what = match outcome {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
                format!("panicked: {}", text.unwrap_or_default())
            }
            Ok(()) if peak > bound => format!("held {peak} bytes, its bound for {} is {bound}", file.len()),
            Ok(()) => {
                most = most.max(peak);
                count += 1;
                continue;
            }
        };
        return Err(format!("{}: {what}; the file is {}", target.name, keep(target, &file).display()));
    }
    let speed = count as f64 / begin.elapsed().as_secs_f64().max(1e-9);
    println!(
        "{:<12} {count:>9} files in {:>4} s ({speed:>6.0}/s), seed {seed}; slowest {:>6.1} ms, most memory {:.2} MiB",
        target.name,
        begin.elapsed().as_secs(),
        slowest.as_secs_f64() * 1e3,
        most as f64 / f64::from(1 << 20),
    );
    let _ = std::io::stdout().flush();
    Ok(())
}

/// Writes a file that broke a target.
fn keep(target: &Target, file: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashes");
    let hash = file
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let path = folder.join(format!("{}-{hash:016x}", target.name));
    let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, file));
    path
}
