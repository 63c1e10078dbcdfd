//! What this process takes of the machine.

use std::fs;
use std::time::Instant;

/// Ticks of a second in `/proc`: what every Linux tells programs.
const TICKS: f64 = 100.0;
/// Seconds between two measurements.
const EVERY: f64 = 1.0;

/// Measures, at most once a second.
#[derive(Default)]
pub(super) struct Process {
    last: Option<(Instant, f64)>,
    cpu: Option<f64>,
    memory: Option<u64>,
}

impl Process {
    /// Processors kept busy since the last measurement, and bytes of memory; where the system does not say, `None`.
    pub(super) fn measure(&mut self) -> (Option<f64>, Option<u64>) {
        let now = Instant::now();
        let since = self.last.map(|(then, busy)| ((now - then).as_secs_f64(), busy));
        if since.is_none_or(|(seconds, _)| seconds >= EVERY) {
            let busy = busy_seconds();
            self.cpu = since.zip(busy).map(|((seconds, before), busy)| (busy - before) / seconds);
            self.memory = resident();
            self.last = busy.map(|busy| (now, busy));
        }
        (self.cpu, self.memory)
    }
}

/// Seconds of processors used by this process.
fn busy_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name, which may hold anything: state, then numbers, of which user and system time are the
    // 12th and 13th.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Bytes of memory in use.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
