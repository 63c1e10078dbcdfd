//! What one thread reads from memory: the other measure that kernels are held against.

use crate::simd::{Isa, Kernel, Simd, dispatch};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Floats read at a time: 128 MiB, more than caches hold.
const FLOATS: usize = 32 << 20;

/// Measured rate at which one thread reads memory that is in no cache, in GB/s (10⁹ bytes): the best of about 100 ms.
/// 0 where there is no memory to measure with.
pub fn gb_per_s() -> f64 {
    let mut floats: Vec<f32> = Vec::new();
    if floats.try_reserve_exact(FLOATS).is_err() {
        return 0.0;
    }
    // Written once, so that every page is there.
    floats.resize(FLOATS, 1.0);
    let mut best = 0.0_f64;
    let started = Instant::now();
    while best == 0.0 || started.elapsed() < Duration::from_millis(100) {
        let begin = Instant::now();
        black_box(dispatch(Isa::best(), Sum(black_box(&floats))));
        best = best.max(size_of_val(&*floats) as f64 / begin.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// Independent sums: enough to keep loads, not additions, the limit.
const CHAINS: usize = 8;

struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.zero(); CHAINS];
        for block in self.0.chunks_exact(CHAINS * S::LANES) {
            for chain in 0..CHAINS {
                // SAFETY: the block holds a vector for each chain.
                let values = unsafe { s.load(block.as_ptr().add(chain * S::LANES)) };
                sums[chain] = s.add(sums[chain], values);
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
    fn memory_is_neither_still_nor_faster_than_any() {
        let measured = gb_per_s();
        assert!(measured > 0.05 && measured < 10_000.0, "{measured} GB/s");
    }
}
