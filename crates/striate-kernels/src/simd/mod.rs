//! Instruction sets, as values: a token that exists only where the processor has the instructions.

use crate::element::{Bf16, Element};
use std::fmt;
use std::str::FromStr;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;

/// An instruction set that kernels exist for, weakest first: shortest vectors first, also across architectures, so
/// that a cap names the best of any processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Whatever the compiler makes of plain Rust for the target's baseline.
    Scalar,
    /// 64-bit ARM with NEON: 4 floats a vector, 32 vectors.
    Neon,
    /// x86-64 with AVX2 and FMA: 8 floats a vector, 16 vectors.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 floats a vector, 32 vectors.
    Avx512,
    /// AVX-512 with the dot product of bfloat16 pairs. Float32 alone is computed as by [`Avx512`](Self::Avx512), to the
    /// same bits; products of bfloat16 take subnormal numbers for zeros and may be added in another order.
    Avx512Bf16,
}

impl Isa {
    /// All instruction sets, weakest first.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

    /// Whether this processor has it.
    pub fn is_present(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Neon::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::<false>::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Avx512::<true>::detect().is_some(),
            // Those of other architectures.
            _ => false,
        }
    }

    /// Those this processor has, weakest first.
    pub fn present() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_present())
    }

    /// The strongest this processor has.
    pub fn best() -> Isa {
        Self::present().last().unwrap_or(Isa::Scalar)
    }

    /// The strongest this processor has that does not exceed `cap`.
    pub fn best_up_to(cap: Isa) -> Isa {
        Self::present().filter(|isa| *isa <= cap).last().unwrap_or(Isa::Scalar)
    }

    /// Floating-point operations of a cycle with two multiply-add units, as cost estimates assume.
    pub fn flops_per_cycle(self) -> f64 {
        match self {
            Isa::Scalar | Isa::Neon => 16.0,
            Isa::Avx2 => 32.0,
            Isa::Avx512 | Isa::Avx512Bf16 => 64.0,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|isa| isa.name() == text).ok_or_else(|| {
            format!("unknown instruction set '{text}': choose scalar, neon, avx2, avx512 or avx512bf16")
        })
    }
}

/// Vector operations of one instruction set; holding a value proves that the processor has it.
///
/// Every operation works element by element and rounds once, with one exception: [`Portable`]'s `mul_add`, where
/// the target has no fused multiply-add, rounds to f64 before it rounds to f32. That differs from rounding once
/// only where the first rounding lands on the middle between two f32, or in subnormal results; beside it, and beside
/// [`dot_bf16`](Self::dot_bf16), instruction sets differ in the order of sums alone.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Floats in a vector.
    const LANES: usize;
    /// Vector registers the instruction set has.
    const REGISTERS: usize;
    /// The instruction set.
    const ISA: Isa;
    /// Whether [`dot_bf16`](Self::dot_bf16) is an instruction.
    const HAS_DOT: bool = false;
    /// A vector of `LANES` floats.
    type F: Copy;

    /// Calls `f` with the instruction set enabled, so that what is inlined into it compiles to vector code.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// All lanes `value`.
    fn splat(self, value: f32) -> Self::F;
    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
    /// Reads `LANES` floats; see [`load`](Self::load).
    ///
    /// # Safety
    /// As there.
    unsafe fn load_f32(self, src: *const f32) -> Self::F;
    /// Writes `LANES` floats; see [`store`](Self::store).
    ///
    /// # Safety
    /// As there.
    unsafe fn store_f32(self, dst: *mut f32, value: Self::F);
    /// Reads `len < LANES` floats; see [`load_partial`](Self::load_partial).
    ///
    /// # Safety
    /// As there.
    unsafe fn load_f32_partial(self, src: *const f32, len: usize) -> Self::F;
    /// Reads `len < LANES` floats; see [`load_partial_or`](Self::load_partial_or).
    ///
    /// # Safety
    /// As there.
    unsafe fn load_f32_partial_or(self, src: *const f32, len: usize, fill: Self::F) -> Self::F;
    /// Writes `len < LANES` floats; see [`store_partial`](Self::store_partial).
    ///
    /// # Safety
    /// As there.
    unsafe fn store_f32_partial(self, dst: *mut f32, value: Self::F, len: usize);
    /// Reads and widens `LANES` bfloat16; see [`load`](Self::load).
    ///
    /// # Safety
    /// As there.
    unsafe fn load_bf16(self, src: *const Bf16) -> Self::F;
    /// Rounds as [`Bf16::from_f32`] and writes `LANES` bfloat16; see [`store`](Self::store).
    ///
    /// # Safety
    /// As there.
    unsafe fn store_bf16(self, dst: *mut Bf16, value: Self::F);
    /// Reads and widens `len < LANES` bfloat16; see [`load_partial`](Self::load_partial).
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn load_bf16_partial(self, src: *const Bf16, len: usize) -> Self::F {
        // SAFETY: the caller's contract.
        unsafe { self.load_bf16_partial_or(src, len, self.zero()) }
    }
    /// Reads and widens `len < LANES` bfloat16; see [`load_partial_or`](Self::load_partial_or).
    ///
    /// # Safety
    /// As there.
    unsafe fn load_bf16_partial_or(self, src: *const Bf16, len: usize, fill: Self::F) -> Self::F;
    /// Rounds as [`Bf16::from_f32`] and writes `len < LANES` bfloat16; see [`store_partial`](Self::store_partial).
    ///
    /// # Safety
    /// As there.
    unsafe fn store_bf16_partial(self, dst: *mut Bf16, value: Self::F, len: usize);

    /// Reads `LANES` elements.
    ///
    /// # Safety
    /// `src` must be readable for `LANES` elements; no alignment needed.
    #[inline(always)]
    unsafe fn load<E: Element>(self, src: *const E) -> Self::F {
        // SAFETY: the caller's contract.
        unsafe { E::load(self, src) }
    }
    /// Writes `LANES` elements, rounded to their type.
    ///
    /// # Safety
    /// `dst` must be writable for `LANES` elements; no alignment needed.
    #[inline(always)]
    unsafe fn store<E: Element>(self, dst: *mut E, value: Self::F) {
        // SAFETY: the caller's contract.
        unsafe { E::store(self, dst, value) }
    }
    /// Reads `len < LANES` elements, the other lanes zero.
    ///
    /// # Safety
    /// `src` must be readable for `len` elements.
    #[inline(always)]
    unsafe fn load_partial<E: Element>(self, src: *const E, len: usize) -> Self::F {
        // SAFETY: the caller's contract.
        unsafe { E::load_partial(self, src, len) }
    }
    /// Reads `len < LANES` elements, the other lanes from `fill`.
    ///
    /// # Safety
    /// `src` must be readable for `len` elements.
    #[inline(always)]
    unsafe fn load_partial_or<E: Element>(self, src: *const E, len: usize, fill: Self::F) -> Self::F {
        // SAFETY: the caller's contract.
        unsafe { E::load_partial_or(self, src, len, fill) }
    }
    /// Writes the first `len < LANES` lanes, rounded to the type of the elements.
    ///
    /// # Safety
    /// `dst` must be writable for `len` elements.
    #[inline(always)]
    unsafe fn store_partial<E: Element>(self, dst: *mut E, value: Self::F, len: usize) {
        // SAFETY: the caller's contract.
        unsafe { E::store_partial(self, dst, value, len) }
    }
    /// Reads `len <= LANES` elements, the other lanes zero.
    ///
    /// # Safety
    /// `src` must be readable for `len` elements.
    #[inline(always)]
    unsafe fn load_up_to<E: Element>(self, src: *const E, len: usize) -> Self::F {
        // SAFETY: the caller's contract.
        unsafe { if len == Self::LANES { self.load(src) } else { self.load_partial(src, len) } }
    }
    /// Writes the first `len <= LANES` lanes, rounded to the type of the elements.
    ///
    /// # Safety
    /// `dst` must be writable for `len` elements.
    #[inline(always)]
    unsafe fn store_up_to<E: Element>(self, dst: *mut E, value: Self::F, len: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            if len == Self::LANES { self.store(dst, value) } else { self.store_partial(dst, value, len) }
        }
    }

    /// Writes the first `len <= LANES` lanes, whole numbers of 0 ..= 255, as bytes; what others become is open.
    ///
    /// # Safety
    /// `dst` must be writable for `len` bytes.
    unsafe fn store_u8(self, dst: *mut u8, value: Self::F, len: usize);
    /// Reads `len <= LANES` bytes as numbers, the other lanes zero.
    ///
    /// # Safety
    /// `src` must be readable for `len` bytes.
    unsafe fn load_u8(self, src: *const u8, len: usize) -> Self::F;

    /// `x`, read whatever is done with it. Else a compiler may read what is selected under the mask of the selection,
    /// which waits for what the mask depends on: two journeys to memory one after the other.
    #[inline(always)]
    fn loaded(self, x: Self::F) -> Self::F {
        x
    }

    /// Each lane's lower half, a bfloat16, widened: of a vector that was read from pairs of bfloat16, the first of
    /// each.
    fn low_bf16(self, a: Self::F) -> Self::F;
    /// Each lane's upper half, a bfloat16, widened: of pairs, the second.
    fn high_bf16(self, a: Self::F) -> Self::F;
    /// The inverse of both: pairs of lanes that are bfloat16 widened.
    fn pair_bf16(self, low: Self::F, high: Self::F) -> Self::F;
    /// `sum` + Σ of the products of each lane's two pairs of bfloat16.
    ///
    /// Two multiply-adds; by [`Isa::Avx512Bf16`] one instruction, which takes subnormal numbers for zeros.
    #[inline(always)]
    fn dot_bf16(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
        dot_of_halves(self, sum, a, b)
    }

    /// Asks for the cache line at `address` to be brought into the L2 cache. Any address will do; a hint where the
    /// instruction set has none.
    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        let _ = address;
    }

    /// As [`prefetch`](Self::prefetch), into the L1 cache, to be written: the line is this core's own when it comes.
    #[inline(always)]
    fn prefetch_to_write(self, address: *const f32) {
        let _ = address;
    }

    /// Transposes a block of 8 × 8: `dst[j · dst_ld + i]` = `src[i · src_ld + j]`.
    ///
    /// # Safety
    /// `src` must be readable, and `dst` writable, for 8 rows of 8 floats at their distances.
    #[inline(always)]
    unsafe fn transpose8(self, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller's contract.
                unsafe { *dst.add(j * dst_ld + i) = *src.add(i * src_ld + j) };
            }
        }
    }

    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a × b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a ÷ b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a × b + c`, rounded once but for [`Portable`]; see [`Simd`].
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The greater; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The lesser; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The square root.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `x` where `a > b`, else `y` (`y` where either is NaN).
    fn select_gt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// `x` where `a > b` or `a` is NaN, else `y`.
    fn select_gt_or_nan(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// `x` where `a = b`, else `y` (`y` where either is NaN).
    fn select_eq(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// 2 to the power of each lane's nearest integer; lanes must lie in −126 ..= 127.
    fn exp2_int(self, a: Self::F) -> Self::F;
    /// Each lane rounded to the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// The sum of the lanes, added pairwise (lane i with lane i + LANES/2, and so on).
    fn sum(self, a: Self::F) -> f32;
    /// The greatest lane.
    fn max_lane(self, a: Self::F) -> f32;
}

/// [`Simd::dot_bf16`] by two multiply-adds.
#[inline(always)]
fn dot_of_halves<S: Simd>(s: S, sum: S::F, a: S::F, b: S::F) -> S::F {
    let high = s.mul_add(s.high_bf16(a), s.high_bf16(b), sum);
    s.mul_add(s.low_bf16(a), s.low_bf16(b), high)
}

/// A computation written once for all instruction sets; run it with [`dispatch`].
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Runs with `simd`'s vectors. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel`, of float32 arithmetic, with the instruction set `isa` or the strongest below it that the processor
/// has.
pub fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if isa >= Isa::Avx512
            && let Some(simd) = Avx512::<false>::detect()
        {
            return simd.vectorize(
                #[inline(always)]
                || kernel.run(simd),
            );
        }
        if isa >= Isa::Avx2
            && let Some(simd) = Avx2::detect()
        {
            return simd.vectorize(
                #[inline(always)]
                || kernel.run(simd),
            );
        }
    }
    #[cfg(target_arch = "aarch64")]
    if isa >= Isa::Neon
        && let Some(simd) = Neon::detect()
    {
        return simd.vectorize(
            #[inline(always)]
            || kernel.run(simd),
        );
    }
    let _ = isa;
    kernel.run(Portable)
}

/// As [`dispatch`], of a kernel that takes dot products of bfloat16: of its own instance where these are an instruction.
pub fn dispatch_dot<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512Bf16
        && let Some(simd) = Avx512::<true>::detect()
    {
        return simd.vectorize(
            #[inline(always)]
            || kernel.run(simd),
        );
    }
    dispatch(isa, kernel)
}

#[cfg(test)]
mod tests;
