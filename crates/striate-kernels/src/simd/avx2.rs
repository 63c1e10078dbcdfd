//! AVX2 and FMA.

use super::{Isa, Simd};
use crate::element::Bf16;
use std::arch::asm;
use std::arch::x86_64::*;

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// All bits set in the first `len` lanes.
#[inline(always)]
fn first(len: usize) -> __m256i {
    debug_assert!(len < 8);
    const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: 8 - len + 8 <= 16 elements; callers hold the token.
    unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(8 - len).cast()) }
}

/// See [`Simd::transpose8`].
///
/// # Safety
/// The processor must have AVX2; pointers as in the trait.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose8(src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
    let row = |i: usize| {
        // SAFETY: the caller's contract.
        unsafe { _mm256_loadu_ps(src.add(i * src_ld)) }
    };
    // Pairs of rows, then fours of them, then both halves: each step doubles the run of one column.
    let mut quads = [[_mm256_setzero_ps(); 4]; 2];
    for half in 0..2 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| row(4 * half + i));
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (low2, high2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        quads[half] = [
            _mm256_shuffle_ps::<0x44>(low, low2),
            _mm256_shuffle_ps::<0xEE>(low, low2),
            _mm256_shuffle_ps::<0x44>(high, high2),
            _mm256_shuffle_ps::<0xEE>(high, high2),
        ];
    }
    for j in 0..4 {
        let (upper, lower) = (quads[0][j], quads[1][j]);
        // SAFETY: the caller's contract.
        unsafe {
            _mm256_storeu_ps(dst.add(j * dst_ld), _mm256_permute2f128_ps::<0x20>(upper, lower));
            _mm256_storeu_ps(dst.add((j + 4) * dst_ld), _mm256_permute2f128_ps::<0x31>(upper, lower));
        }
    }
}

/// 8 bfloat16 as floats.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn widen(halves: __m128i) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))) }
}

/// The inverse of [`widen`], rounding as [`Bf16::from_f32`].
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn narrow(value: __m256) -> __m128i {
    // SAFETY: the caller's contract.
    unsafe {
        let bits = _mm256_castps_si256(value);
        let cut = _mm256_srli_epi32::<16>(bits);
        let half = _mm256_add_epi32(_mm256_and_si256(cut, _mm256_set1_epi32(1)), _mm256_set1_epi32(0x7FFF));
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
        let quiet = _mm256_or_si256(cut, _mm256_set1_epi32(0x40));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
        let halves = _mm256_blendv_epi8(rounded, quiet, nan);
        // Packing works within the halves of the vector.
        let packed = _mm256_packus_epi32(halves, halves);
        _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
    }
}

// SAFETY of every block below: `self` exists only where `detect` found the instructions; pointers are valid
// by the trait's contracts.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const ISA: Isa = Isa::Avx2;
    type F = __m256;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma")]
        #[inline]
        unsafe fn enabled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        unsafe { enabled(f) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_f32(self, src: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn store_f32(self, dst: *mut f32, value: __m256) {
        unsafe { _mm256_storeu_ps(dst, value) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, src: *const f32, len: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(src, first(len)) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial_or(self, src: *const f32, len: usize, fill: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(fill, self.load_f32_partial(src, len), _mm256_castsi256_ps(first(len))) }
    }
    #[inline(always)]
    unsafe fn store_f32_partial(self, dst: *mut f32, value: __m256, len: usize) {
        unsafe { _mm256_maskstore_ps(dst, first(len), value) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, src: *const Bf16) -> __m256 {
        unsafe { widen(_mm_loadu_si128(src.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, dst: *mut Bf16, value: __m256) {
        unsafe { _mm_storeu_si128(dst.cast(), narrow(value)) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial_or(self, src: *const Bf16, len: usize, fill: __m256) -> __m256 {
        let mut halves = [Bf16::ZERO; 8];
        unsafe {
            src.copy_to_nonoverlapping(halves.as_mut_ptr(), len);
            let values = self.load_bf16(halves.as_ptr());
            _mm256_blendv_ps(fill, values, _mm256_castsi256_ps(first(len)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_partial(self, dst: *mut Bf16, value: __m256, len: usize) {
        let mut halves = [Bf16::ZERO; 8];
        unsafe {
            self.store_bf16(halves.as_mut_ptr(), value);
            halves.as_ptr().copy_to_nonoverlapping(dst, len);
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, dst: *mut u8, value: __m256, len: usize) {
        unsafe {
            let lanes = _mm256_cvtps_epi32(value);
            let pairs = _mm_packus_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs)).to_le_bytes();
            if len == 8 {
                dst.cast::<[u8; 8]>().write_unaligned(bytes);
            } else {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), dst, len);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, src: *const u8, len: usize) -> __m256 {
        let mut bytes = [0; 8];
        unsafe {
            if len == 8 {
                bytes = src.cast::<[u8; 8]>().read_unaligned();
            } else {
                std::ptr::copy_nonoverlapping(src, bytes.as_mut_ptr(), len);
            }
            let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn low_bf16(self, a: __m256) -> __m256 {
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(a))) }
    }
    #[inline(always)]
    fn high_bf16(self, a: __m256) -> __m256 {
        unsafe {
            let upper = _mm256_set1_epi32(0xFFFF_0000_u32 as i32);
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a), upper))
        }
    }
    #[inline(always)]
    fn pair_bf16(self, low: __m256, high: __m256) -> __m256 {
        unsafe {
            let low = _mm256_srli_epi32::<16>(_mm256_castps_si256(low));
            _mm256_castsi256_ps(_mm256_or_si256(low, _mm256_castps_si256(high)))
        }
    }
    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
    #[inline(always)]
    fn prefetch_to_write(self, address: *const f32) {
        // Not `_mm_prefetch`, which becomes this instruction only where the whole program may assume it. Processors
        // without it do nothing.
        unsafe { asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) }
    }
    #[inline(always)]
    unsafe fn transpose8(self, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        unsafe { transpose8(src, src_ld, dst, dst_ld) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn select_gt(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn select_gt_or_nan(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        unsafe {
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_blendv_ps(y, x, _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)))
        }
    }
    #[inline(always)]
    fn select_eq(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)) }
    }
    #[inline(always)]
    fn exp2_int(self, a: __m256) -> __m256 {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), a) };
        super::portable::sum_pairwise(lanes)
    }
    #[inline(always)]
    fn max_lane(self, a: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), a) };
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
