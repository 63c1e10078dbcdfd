//! What one thread of this processor can reach: the measure that kernels are held against.

use crate::simd::{Isa, Kernel, Simd, dispatch};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Measured multiply-add throughput of one thread with the instruction set `isa` (or the strongest below it that
/// is present), in GFLOP/s: the best of about 20 ms of independent fused multiply-adds held in registers.
pub fn gflops(isa: Isa) -> f64 {
    let lanes = dispatch(isa, Lanes);
    let mut steps = 1000;
    let mut best = 0.0_f64;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(20) {
        let begin = Instant::now();
        black_box(dispatch(isa, Chains { steps: black_box(steps) }));
        let elapsed = begin.elapsed();
        if elapsed < Duration::from_millis(1) {
            steps *= 2;
            continue;
        }
        best = best.max((2 * steps * CHAINS * lanes) as f64 / elapsed.as_secs_f64() / 1e9);
    }
    best
}

/// Independent sums: enough to hide the latency of a multiply-add, and to fit 16 registers.
const CHAINS: usize = 12;

struct Lanes;

impl Kernel for Lanes {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::LANES
    }
}

struct Chains {
    steps: usize,
}

impl Kernel for Chains {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (scale, offset) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        let mut sums = [s.zero(); CHAINS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, scale, offset);
            }
        }
        let mut total = s.zero();
        for sum in sums {
            total = s.add(total, sum);
        }
        s.sum(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_vectors_compute_no_slower() {
        // Portable code without a fused instruction is far slower than either; others may share the machine.
        assert!(gflops(Isa::best()) > gflops(Isa::Scalar) * 0.5);
        assert!(gflops(Isa::Scalar) > 0.01);
    }
}
