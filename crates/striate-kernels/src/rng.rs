//! Random numbers as a function of what they are for: Philox4x32-10 (Salmon et al. 2011, "Parallel Random
//! Numbers: As Easy as 1, 2, 3", section 3.3), a bijection that turns a counter into noise.
//!
//! A stream is named by (seed, purpose, a, b), such as (seed, `Augment`, epoch, sample). Streams need no
//! state to be carried from one use to the next, so work may be cut, ordered and resumed at will.

/// What random numbers are drawn for; streams of different purposes are independent.
///
/// The numbers are part of every result that a seed reproduces, so they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Initial values of parameters.
    Init = 1,
    /// The order of samples in an epoch.
    Shuffle = 2,
    /// Which samples belong to the training, validation and test sets.
    Split = 3,
    /// Crops, flips, colour noise: what happens to one sample.
    Augment = 4,
    /// What mixes samples of a batch with each other.
    Mix = 5,
    /// Which activations are dropped.
    Dropout = 6,
    /// Draws from a distribution that a network or a generator describes.
    Sample = 7,
}

/// One block of Philox4x32-10: the four words that belong to `counter` under `key`.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [[a], [b], [c], [d]] = philox4x32_lanes(counter.map(|word| [word]), key);
    [a, b, c, d]
}

/// `N` blocks at once, counters and results held word by word (`[word][lane]`) so that they vectorise.
#[inline(always)]
pub fn philox4x32_lanes<const N: usize>(counters: [[u32; N]; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let ([mut x0, mut x1, mut x2, mut x3], [mut k0, mut k1]) = (counters, key);
    for _round in 0..10 {
        for lane in 0..N {
            let product0 = MULTIPLIERS[0] * u64::from(x0[lane]);
            let product1 = MULTIPLIERS[1] * u64::from(x2[lane]);
            x0[lane] = (product1 >> 32) as u32 ^ x1[lane] ^ k0;
            x1[lane] = product1 as u32;
            x2[lane] = (product0 >> 32) as u32 ^ x3[lane] ^ k1;
            x3[lane] = product0 as u32;
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [x0, x1, x2, x3]
}

fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// A stream's name, reduced to what Philox takes: blocks can be asked for in any order.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    b: [u32; 2],
}

impl Stream {
    /// The stream of (`seed`, `purpose`, `a`, `b`).
    ///
    /// The counter has room for `b` and the block number; `purpose` and `a` enter through the key, which is
    /// itself Philox noise of them under the seed.
    pub fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let [a0, a1] = words(a);
        let [k0, k1, ..] = philox4x32([purpose as u32, 0, a0, a1], words(seed));
        Self { key: [k0, k1], b: words(b) }
    }

    /// The four words of block `block`.
    pub fn block(&self, block: u64) -> [u32; 4] {
        let [low, high] = words(block);
        philox4x32([low, high, self.b[0], self.b[1]], self.key)
    }

    /// The blocks `first .. first + N`, as `[word][block - first]`; `first` is a multiple of `N`, which is a
    /// power of two (so that no carry leaves the counter's lowest word).
    #[inline(always)]
    pub fn blocks<const N: usize>(&self, first: u64) -> [[u32; N]; 4] {
        const { assert!(N.is_power_of_two()) };
        debug_assert_eq!(first % N as u64, 0);
        let [low, high] = words(first);
        let counters = std::array::from_fn(|lane| low | lane as u32);
        philox4x32_lanes([counters, [high; N], [self.b[0]; N], [self.b[1]; N]], self.key)
    }
}

/// Draws from one stream, in order.
#[derive(Clone, Debug)]
pub struct Rng {
    stream: Stream,
    block: u64,
    words: [u32; 4],
    /// Words of the current block already given out.
    taken: usize,
    /// The second of a pair of normal draws.
    spare: Option<f32>,
}

impl Rng {
    /// The start of the stream (`seed`, `purpose`, `a`, `b`).
    pub fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        Self { stream: Stream::new(seed, purpose, a, b), block: 0, words: [0; 4], taken: 4, spare: None }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.taken == 4 {
            self.words = self.stream.block(self.block);
            self.block += 1;
            self.taken = 0;
        }
        self.taken += 1;
        self.words[self.taken - 1]
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A multiple of 2⁻²⁴, uniform in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// From the normal distribution of mean 0 and variance 1 (Box and Muller 1958, computed in f64).
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        let above_zero = ((self.next_u64() >> 11) + 1) as f64 * STEP;
        let turn = (self.next_u64() >> 11) as f64 * STEP;
        let radius = (-2.0 * above_zero.ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * turn).sin_cos();
        self.spare = Some((radius * sin) as f32);
        (radius * cos) as f32
    }

    /// Uniform in `0 .. n` without bias (Lemire 2019, "Fast Random Integer Generation in an Interval").
    ///
    /// # Panics
    /// When `n` is 0: an empty range has no member to return.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no number lies below 0");
        let n = n as u64;
        // Of the 2^64 draws, 2^64 mod n are turned down so that each result keeps the same number of them.
        let surplus = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= surplus {
                return (product >> 64) as usize;
            }
        }
    }

    /// Puts `items` in random order, each order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last + 1);
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers for `philox4x32 10` published with Random123 (`kat_vectors`).
    #[test]
    fn philox_gives_the_published_answers() {
        const PI: [u32; 6] = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0];
        for (input, expected) in [
            ([0; 6], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 6], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (PI, [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]),
        ] {
            let [c0, c1, c2, c3, k0, k1] = input;
            assert_eq!(philox4x32([c0, c1, c2, c3], [k0, k1]), expected);
        }
    }

    #[test]
    fn lanes_are_the_blocks_in_order() {
        let stream = Stream::new(7, Purpose::Dropout, 1 << 40, 3);
        for first in [0, 16, u64::from(u32::MAX) - 15, 1 << 32] {
            let lanes = stream.blocks::<16>(first);
            for lane in 0..16 {
                assert_eq!(lanes.map(|word| word[lane]), stream.block(first + lane as u64));
            }
        }
    }

    #[test]
    fn every_part_of_the_name_makes_another_stream() {
        let names = [
            (0, Purpose::Init, 0, 0),
            (1, Purpose::Init, 0, 0),
            (1 << 32, Purpose::Init, 0, 0),
            (0, Purpose::Shuffle, 0, 0),
            (0, Purpose::Init, 1, 0),
            (0, Purpose::Init, 1 << 32, 0),
            (0, Purpose::Init, 0, 1),
            (0, Purpose::Init, 0, 1 << 32),
        ];
        let starts = names.map(|(seed, purpose, a, b)| Rng::new(seed, purpose, a, b).next_u64());
        for (index, start) in starts.iter().enumerate() {
            assert!(!starts[..index].contains(start), "{:?} repeats a stream", names[index]);
        }
    }

    /// Mean, variance and fourth moment within five standard errors of their expectation.
    #[test]
    fn moments_are_those_of_the_distributions() {
        const N: usize = 100_000;
        let mut rng = Rng::new(42, Purpose::Sample, 0, 0);
        let moment = |draws: &[f64], power: i32| draws.iter().map(|x| x.powi(power)).sum::<f64>() / N as f64;
        let error = |variance: f64| 5.0 * (variance / N as f64).sqrt();

        let uniform: Vec<f64> = (0..N).map(|_| f64::from(rng.uniform())).collect();
        assert!(uniform.iter().all(|x| (0.0..1.0).contains(x)));
        assert!((moment(&uniform, 1) - 0.5).abs() < error(1.0 / 12.0));
        assert!((moment(&uniform, 2) - 1.0 / 3.0).abs() < error(4.0 / 45.0));

        let normal: Vec<f64> = (0..N).map(|_| f64::from(rng.normal())).collect();
        assert!(moment(&normal, 1).abs() < error(1.0));
        assert!((moment(&normal, 2) - 1.0).abs() < error(2.0));
        assert!((moment(&normal, 4) - 3.0).abs() < error(96.0));
        let neighbours = normal.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / N as f64;
        assert!(neighbours.abs() < error(1.0));
    }

    #[test]
    fn below_is_even_and_stays_below() {
        let mut rng = Rng::new(1, Purpose::Sample, 0, 0);
        for n in [1, 2, 3, 7, 10] {
            let mut counts = vec![0usize; n];
            (0..10_000).for_each(|_| counts[rng.below(n)] += 1);
            let share = 10_000.0 / n as f64;
            assert!(
                counts.iter().all(|&count| (count as f64 - share).abs() <= 5.0 * share.sqrt()),
                "{counts:?}"
            );
        }
        // Three quarters of the range: without turning draws down, half of it would come up twice as often.
        let n = 3 << (usize::BITS - 2);
        let low = (0..3000).filter(|_| rng.below(n) < n / 3).count();
        assert!((low as f64 - 1000.0).abs() < 5.0 * (3000.0f64 * 2.0 / 9.0).sqrt(), "{low} of 3000");
    }

    #[test]
    fn shuffling_permutes_and_reaches_every_order() {
        let mut rng = Rng::new(9, Purpose::Shuffle, 0, 0);
        let mut seen = std::collections::BTreeMap::<[u8; 3], usize>::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            rng.shuffle(&mut items);
            *seen.entry(items).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|&count| (count as f64 - 1000.0).abs() < 5.0 * 1000f64.sqrt()), "{seen:?}");
    }
}
