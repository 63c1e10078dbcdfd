//! Measures one of the peers written in Rust: `rust-peers PEER JOB`.
//!
//! A job is a JSON object that names the network, the task, the batch, the threads, the seconds, and the folder with the
//! exported network. One JSON object comes out: the median time of a step, the most resident memory, and the first images'
//! logits, computed before the clock ran.

mod burn_peer;
mod candle_peer;
mod rten_peer;
mod tract_peer;

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

const WARM_UP_STEPS: usize = 1;
const LEAST_STEPS: usize = 3;

/// What to measure.
#[derive(serde::Deserialize)]
struct Job {
    network: String,
    task: String,
    batch: usize,
    threads: usize,
    seconds: f64,
    folder: PathBuf,
    /// Images whose logits are told.
    compared: usize,
}

impl Job {
    fn model(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    fn weights(&self) -> PathBuf {
        self.folder.join("weights.safetensors")
    }

    /// The images and their shape (N, C, H, W), from a `.npy` file of float32 in C order.
    fn images(&self) -> Result<([usize; 4], Vec<f32>)> {
        let bytes = fs::read(self.folder.join(format!("x{}.npy", self.batch)))?;
        let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = std::str::from_utf8(&bytes[10..end])?;
        let shape = header.split(['(', ')']).nth(1).context("no shape")?;
        let shape: Vec<usize> = shape.split(',').filter_map(|size| size.trim().parse().ok()).collect();
        let elements = bytes[end..].as_chunks().0.iter().map(|element| f32::from_le_bytes(*element));
        Ok((shape.try_into().ok().context("images have four dimensions")?, elements.collect()))
    }

    /// Times `step`, which returns logits or nothing, and prints the result.
    fn measure(&self, mut step: impl FnMut() -> Result<Vec<f32>>) -> Result<()> {
        let logits = step()?;
        let told = logits.len() / self.batch * self.compared.min(self.batch);
        repeat(WARM_UP_STEPS, self.seconds / 10.0, &mut step)?;
        let mut times = repeat(LEAST_STEPS, self.seconds, &mut step)?;
        times.sort_by(f64::total_cmp);
        let median = (times[times.len() / 2] + times[(times.len() - 1) / 2]) / 2.0;
        let result = serde_json::json!({
            "median_ms": median * 1e3,
            "steps": times.len(),
            "peak_rss_mib": peak_rss_mib(),
            "logits": &logits[..told],
        });
        println!("{result}");
        Ok(())
    }
}

/// The times in seconds of at least so many steps, in at least so many seconds.
fn repeat(least: usize, seconds: f64, step: &mut impl FnMut() -> Result<Vec<f32>>) -> Result<Vec<f64>> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < least || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        step()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// The most resident memory of this process so far, from Linux's /proc.
fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [peer, job] = arguments.as_slice() else { bail!("give a peer and a job") };
    let job: Job = serde_json::from_str(job)?;
    match (peer.as_str(), job.task.as_str()) {
        ("tract", "infer") => tract_peer::infer(&job),
        ("rten", "infer") => rten_peer::infer(&job),
        ("candle", "infer") => candle_peer::infer(&job),
        ("burn", "infer") => burn_peer::infer(&job),
        ("burn", "train") => burn_peer::train(&job),
        _ => bail!("{peer} does not {}", job.task),
    }
}
