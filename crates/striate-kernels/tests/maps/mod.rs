//! What the tests of kernels over maps share: random maps, layouts, contexts, comparison.
#![allow(dead_code, unreachable_pub)] // each test file uses a part

use striate_kernels::{Context, Executor, Isa, Pixels, PixelsMut, Serial};

/// Tasks on rayon threads.
pub struct Pool(rayon::ThreadPool);

impl Pool {
    pub fn new(workers: usize) -> Self {
        Self(rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap())
    }
}

// SAFETY: rayon visits each index once and returns when all are done; tasks do not yield, so a thread of the pool runs
// one at a time.
unsafe impl Executor for Pool {
    fn workers(&self) -> usize {
        self.0.current_num_threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        use rayon::prelude::*;
        // `with_max_len(1)` makes tasks run in no particular order.
        self.0.install(|| {
            (0..tasks)
                .into_par_iter()
                .with_max_len(1)
                .for_each(|i| task(i, rayon::current_thread_index().unwrap()))
        });
    }
}

/// Runs `compute` with every instruction set present and with 1, 2 and 3 workers, whose bits must agree;
/// gives `check` the results of each instruction set.
pub fn for_each_context(compute: impl Fn(&Context) -> Vec<Vec<f32>>, check: impl Fn(Isa, Vec<Vec<f32>>)) {
    let pools = [2, 3].map(Pool::new);
    for isa in Isa::present() {
        let bits = |results: &[Vec<f32>]| -> Vec<Vec<u32>> {
            results.iter().map(|result| result.iter().map(|x| x.to_bits()).collect()).collect()
        };
        let serial = compute(&Context { isa, exec: &Serial });
        for pool in &pools {
            let parallel = compute(&Context { isa, exec: pool });
            assert!(bits(&serial) == bits(&parallel), "{isa}: other bits with {} workers", pool.workers());
        }
        check(isa, serial);
    }
}

/// A stream of numbers, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// In −1 .. 1, exact in f32.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 29) as f64 / (1u64 << 23) as f64 - 1.0
    }

    /// One of `low ..= high`.
    pub fn int(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    /// `len` numbers `offset + scale · unit`, rounded to f32.
    pub fn vec(&mut self, len: usize, scale: f64, offset: f64) -> Vec<f64> {
        (0..len).map(|_| (offset + scale * self.unit()) as f32 as f64).collect()
    }
}

/// `values` as f32.
pub fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

/// The position in NHWC memory with pixel distance `ld` of each element of an NCHW array, in order.
fn positions([n, c, h, w]: [usize; 4], ld: usize) -> impl Iterator<Item = usize> {
    (0..n).flat_map(move |i| (0..c).flat_map(move |ch| (0..h * w).map(move |p| (i * h * w + p) * ld + ch)))
}

/// What lies between pixels: read, it spoils a result; written, it is noticed.
pub const GAP: f32 = f32::INFINITY;

/// An NHWC buffer with pixels `ld` apart, its elements [`GAP`].
pub fn blank([n, c, h, w]: [usize; 4], ld: usize) -> Vec<f32> {
    vec![GAP; (n * h * w).max(1) * ld - ld + c]
}

/// The logical NCHW array `values` in NHWC memory with pixels `ld` apart.
pub fn to_nhwc(shape: [usize; 4], values: &[f64], ld: usize) -> Vec<f32> {
    let mut map = blank(shape, ld);
    positions(shape, ld).zip(values).for_each(|(at, x)| map[at] = *x as f32);
    map
}

/// The logical NCHW array of an NHWC buffer, whose gaps must be untouched.
pub fn to_nchw(shape: [usize; 4], map: &[f32], ld: usize) -> Vec<f32> {
    for (at, x) in map.iter().enumerate() {
        assert!(at % ld < shape[1] || *x == GAP, "the gap at {at} was written: {x}");
    }
    positions(shape, ld).map(|at| map[at]).collect()
}

/// Runs `kernel` on a blank NHWC buffer and returns what it wrote, as NCHW.
pub fn written(shape: [usize; 4], ld: usize, kernel: impl FnOnce(PixelsMut)) -> Vec<f32> {
    let mut map = blank(shape, ld);
    kernel(PixelsMut::new(&mut map, ld));
    to_nchw(shape, &map, ld)
}

/// A view of `map`.
pub fn view(map: &[f32], ld: usize) -> Pixels<'_> {
    Pixels::new(map, ld)
}

/// Asserts |actual − expected| ≤ `tolerance`·(1 + |expected|) for each element.
#[track_caller]
pub fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_within(what, actual, expected, |i| tolerance * (1.0 + expected[i].abs()));
}

/// Asserts |actual − expected| ≤ `bound` of each element's index.
#[track_caller]
pub fn assert_within(what: &str, actual: &[f32], expected: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let (error, bound) = ((*a as f64 - e).abs(), bound(i));
        assert!(error <= bound, "{what}[{i}]: {a} for {e}, off by {error:.1e}, of at most {bound:.1e}");
    }
}
