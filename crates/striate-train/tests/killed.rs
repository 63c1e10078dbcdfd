//! A process killed in the middle of its writing leaves whole files, a readable log and a lock that gives way.
//!
//! Not under the usual harness: the test starts its own program again as the process to be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use striate_interop::atomic::TEMP_SUFFIX;
use striate_interop::{Tensor, TensorFile};
use striate_train::run_folder::{Checkpoint, RunError, RunFolder, read_log};

const ELEMENTS: usize = 1 << 17;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("write") => write(Path::new(&std::env::args().nth(2).unwrap())),
        _ => kill(),
    }
}

/// Writes one checkpoint after the other, each of equal elements, and logs them; tells when the first is done.
fn write(folder: &Path) {
    let mut run = RunFolder::open(folder).unwrap();
    for step in 1.. {
        let mut file = TensorFile::default();
        file.tensors.insert("weight".into(), Tensor::new([ELEMENTS], vec![step as f32; ELEMENTS]));
        file.write(run.checkpoint(Checkpoint::Latest)).unwrap();
        run.append(&json!({"step": step, "note": "x".repeat(1000)})).unwrap();
        if step == 1 {
            println!("ready");
        }
    }
}

fn kill() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let run = RunFolder::create(folder, &json!({})).unwrap();
    let checkpoint = run.checkpoint(Checkpoint::Latest);
    drop(run);
    for round in 0..12 {
        let program = std::env::current_exe().unwrap();
        let mut writer =
            Command::new(program).arg("write").arg(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(writer.stdout.take().unwrap()).read_line(&mut told).unwrap();
        assert_eq!(told, "ready\n");
        match RunFolder::open(folder) {
            Err(RunError::InUse { pid, .. }) => assert_eq!(pid, Some(writer.id())),
            other => panic!("a folder in use was opened: {other:?}"),
        }
        std::thread::sleep(Duration::from_micros(3_000 + 1_713 * round));
        assert!(!read_log::<Value>(folder).unwrap().is_empty());
        assert!(writer.try_wait().unwrap().is_none(), "it is to be killed while it writes");
        writer.kill().unwrap();
        writer.wait().unwrap();

        let data = &TensorFile::read(&checkpoint).unwrap().tensors["weight"].data;
        assert!(data.len() == ELEMENTS && data[0] >= 1.0 && data.iter().all(|element| *element == data[0]));
        let mut run = RunFolder::open(folder).unwrap();
        run.append(&json!({"step": 0})).unwrap();
        assert_eq!(run.log::<Value>().unwrap().last().unwrap()["step"], 0);
    }
    TensorFile::default().write(&checkpoint).unwrap();
    for entry in checkpoint.parent().unwrap().read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(TEMP_SUFFIX), "{name} was left behind");
    }
}
