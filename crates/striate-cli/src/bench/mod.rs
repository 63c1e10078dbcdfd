//! `striate bench`.

mod conv;
mod network;

use clap::{Args, Subcommand};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use striate::kernels::{bandwidth, peak};
use striate::prelude::{Isa, Precision, Session};

use crate::failure::Result;
use crate::options::{Format, Machine};

/// Measure how fast networks and convolutions run on this machine.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Infer(network::Infer),
    Train(network::Train),
    Conv(conv::Conv),
}

const EXAMPLES: &str = "\
Examples:
  striate bench infer resnet18 --batch 32 --layers
  striate bench train lenet5 --batch 128 --threads 1 --format json
  striate bench conv 'n16 ic64 ih56 oc64 kh3 ph1'

A measurement is the median time of a step after warm-up.";

impl Bench {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        match self.what {
            What::Infer(infer) => infer.run(format),
            What::Train(train) => train.run(format),
            What::Conv(conv) => conv.run(format),
        }
    }
}

/// Steps before the clock counts.
const WARM_UP: usize = 2;
/// Steps that are timed however long they take.
const LEAST_STEPS: usize = 5;

/// How long to measure.
#[derive(Args, Debug)]
pub(crate) struct Length {
    /// Seconds to measure for; at least five steps are timed
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: f64,
}

impl Length {
    /// Runs `step` until caches, clocks and branches have settled: a tenth of the length, at least twice.
    pub(crate) fn warm_up(&self, step: impl FnMut() -> Result<()>) -> Result<()> {
        times(WARM_UP, self.seconds / 10.0, step).map(|_| ())
    }

    /// The median times of a session's steps, in milliseconds.
    pub(crate) fn steps(&self, session: &mut Session) -> Result<Vec<f64>> {
        let mut times = vec![Vec::<Duration>::new(); session.plan().steps().len()];
        self.times(|| Ok(session.run_timed(|step, time| times[step].push(time))?))?;
        Ok(times.iter_mut().map(|times| median_ms(times)).collect())
    }

    /// The times that `step` takes.
    fn times(&self, step: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
        times(LEAST_STEPS, self.seconds, step)
    }
}

/// The times of at least so many steps, in at least so many seconds.
fn times(least: usize, seconds: f64, mut step: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < least || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        step()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("write seconds from 0 to 86400".into()),
    }
}

/// The middle of `times`, in milliseconds; 0 where there are none.
fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let middle = |at: usize| times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3;
    (middle(times.len() / 2) + middle(times.len().saturating_sub(1) / 2)) / 2.0
}

/// Multiply-add throughput of so many threads at the same time, in GFLOP/s, measured: threads that share a core reach
/// no more together than one.
pub(crate) fn peak_gflops(machine: &Machine, precision: Precision) -> f64 {
    together(machine, |isa| peak::gflops_of(isa, precision))
}

/// The rate at which so many threads read memory at the same time, in GB/s, measured.
pub(crate) fn bandwidth(machine: &Machine) -> f64 {
    together(machine, |_| bandwidth::gb_per_s())
}

/// The sum of what each of the machine's threads measures at the same time.
fn together(machine: &Machine, measure: impl Fn(Isa) -> f64 + Sync) -> f64 {
    let (isa, threads) = (machine.isa(), machine.threads());
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let measure = || {
            start.wait();
            measure(isa)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    })
}

/// GFLOP/s of so many multiply-accumulates, each two operations.
pub(crate) fn gflops(macs: u64, ms: f64) -> f64 {
    2.0 * macs as f64 / (ms.max(1e-9) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let ms = |times: &[u64]| {
            median_ms(&mut times.iter().map(|t| Duration::from_millis(*t)).collect::<Vec<_>>())
        };
        assert_eq!([ms(&[3, 1, 9]), ms(&[4, 1, 9, 2]), ms(&[])], [3.0, 3.0, 0.0]);
        assert_eq!(gflops(500_000_000, 10.0), 100.0);
    }

    #[test]
    fn a_measurement_takes_at_least_five_steps_and_stops_at_a_failure() {
        let length = Length { seconds: 0.0 };
        assert_eq!(length.times(|| Ok(())).unwrap().len(), LEAST_STEPS);
        let mut steps = 0;
        let failing = || {
            steps += 1;
            Err(crate::failure::Failure::Told)
        };
        assert!(length.warm_up(failing).is_err());
        assert_eq!(steps, 1);
    }
}
