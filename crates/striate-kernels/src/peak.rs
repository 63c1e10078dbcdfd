//! What one thread of this processor can reach: the measure that kernels are held against.

use crate::ElementType;
use crate::simd::{Isa, Kernel, Simd, dispatch, dispatch_dot};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Measured multiply-add throughput of one thread with the instruction set `isa` (or the strongest below it that
/// is present), in GFLOP/s: the best of about 20 ms of independent fused multiply-adds held in registers.
pub fn gflops(isa: Isa) -> f64 {
    gflops_of(isa, ElementType::F32)
}

/// As [`gflops`], of products of such elements: of bfloat16, dot products of pairs, each of four operations.
pub fn gflops_of(isa: Isa, element: ElementType) -> f64 {
    let chains = |steps| match element {
        ElementType::F32 => dispatch(isa, Chains::<false> { steps }),
        ElementType::Bf16 => dispatch_dot(isa, Chains::<true> { steps }),
    };
    let operations = 2 * CHAINS * dispatch(isa, Lanes) * (4 / element.size());
    let mut steps = 1000;
    let mut best = 0.0_f64;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(20) {
        let begin = Instant::now();
        black_box(chains(black_box(steps)));
        let elapsed = begin.elapsed();
        if elapsed < Duration::from_millis(1) {
            steps *= 2;
            continue;
        }
        best = best.max((steps * operations) as f64 / elapsed.as_secs_f64() / 1e9);
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

struct Chains<const DOT: bool> {
    steps: usize,
}

impl<const DOT: bool> Kernel for Chains<DOT> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (scale, offset) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        let mut sums = [s.zero(); CHAINS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = if DOT { s.dot_bf16(*sum, scale, offset) } else { s.mul_add(*sum, scale, offset) };
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
        assert!(gflops_of(Isa::best(), ElementType::Bf16) > 0.01);
    }
}
