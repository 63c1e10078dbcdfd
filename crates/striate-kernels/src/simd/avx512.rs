//! AVX-512 F, BW, DQ and VL, with and without the dot product of bfloat16.

use super::{Isa, Simd};
use crate::element::Bf16;
use std::arch::asm;
use std::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ and VL, and with `DOT` also BF16.
#[derive(Clone, Copy, Debug)]
pub struct Avx512<const DOT: bool>(());

impl<const DOT: bool> Avx512<DOT> {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (cfg!(not(feature = "cap-avx2"))
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && (!DOT || is_x86_feature_detected!("avx512bf16"))
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma"))
        .then_some(Self(()))
    }
}

/// The mask of the first `len` lanes.
#[inline(always)]
fn first(len: usize) -> __mmask16 {
    debug_assert!(len < 16);
    (1u16 << len) - 1
}

/// 16 bfloat16 as floats.
///
/// # Safety
/// The processor must have AVX-512 F.
#[inline(always)]
unsafe fn widen(halves: __m256i) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) }
}

/// The inverse of [`widen`], rounding as [`Bf16::from_f32`]: the conversion instruction flushes subnormal numbers.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn narrow(value: __m512) -> __m256i {
    // SAFETY: the caller's contract.
    unsafe {
        let bits = _mm512_castps_si512(value);
        let cut = _mm512_srli_epi32::<16>(bits);
        let half = _mm512_add_epi32(_mm512_and_si512(cut, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7FFF));
        let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
        _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, cut, _mm512_set1_epi32(0x40)))
    }
}

/// The bits of a vector, as pairs of bfloat16.
#[inline(always)]
fn pairs(vector: __m512) -> __m512bh {
    // SAFETY: of the same size, and valid whatever the bits.
    unsafe { std::mem::transmute::<__m512, __m512bh>(vector) }
}

/// See [`Simd::loaded`]: nothing, in a place that a compiler does not look into.
#[inline]
#[target_feature(enable = "avx512f")]
fn loaded(mut x: __m512) -> __m512 {
    // SAFETY: no instruction.
    unsafe { asm!("/* {} */", inout(zmm_reg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}

// SAFETY of every block below: `self` exists only where `detect` found the instructions; pointers are valid
// by the trait's contracts.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const DOT: bool> Simd for Avx512<DOT> {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const ISA: Isa = if DOT { Isa::Avx512Bf16 } else { Isa::Avx512 };
    const HAS_DOT: bool = DOT;
    type F = __m512;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline]
        unsafe fn enabled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        #[inline]
        unsafe fn enabled_dot<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        unsafe { if DOT { enabled_dot(f) } else { enabled(f) } }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_f32(self, src: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(src) }
    }
    #[inline(always)]
    unsafe fn store_f32(self, dst: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(dst, value) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, src: *const f32, len: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(len), src) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial_or(self, src: *const f32, len: usize, fill: __m512) -> __m512 {
        unsafe { _mm512_mask_loadu_ps(fill, first(len), src) }
    }
    #[inline(always)]
    unsafe fn store_f32_partial(self, dst: *mut f32, value: __m512, len: usize) {
        unsafe { _mm512_mask_storeu_ps(dst, first(len), value) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, src: *const Bf16) -> __m512 {
        unsafe { widen(_mm256_loadu_si256(src.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, dst: *mut Bf16, value: __m512) {
        unsafe { _mm256_storeu_si256(dst.cast(), narrow(value)) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial(self, src: *const Bf16, len: usize) -> __m512 {
        unsafe { widen(_mm256_maskz_loadu_epi16(first(len), src.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial_or(self, src: *const Bf16, len: usize, fill: __m512) -> __m512 {
        unsafe { _mm512_mask_mov_ps(fill, first(len), self.load_bf16_partial(src, len)) }
    }
    #[inline(always)]
    unsafe fn store_bf16_partial(self, dst: *mut Bf16, value: __m512, len: usize) {
        unsafe { _mm256_mask_storeu_epi16(dst.cast(), first(len), narrow(value)) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, dst: *mut u8, value: __m512, len: usize) {
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value));
            if len == 16 {
                _mm_storeu_si128(dst.cast(), bytes);
            } else {
                _mm_mask_storeu_epi8(dst.cast(), first(len), bytes);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, src: *const u8, len: usize) -> __m512 {
        unsafe {
            let bytes = if len == 16 {
                _mm_loadu_si128(src.cast())
            } else {
                _mm_maskz_loadu_epi8(first(len), src.cast())
            };
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn loaded(self, x: __m512) -> __m512 {
        unsafe { loaded(x) }
    }
    #[inline(always)]
    fn low_bf16(self, a: __m512) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(a))) }
    }
    #[inline(always)]
    fn high_bf16(self, a: __m512) -> __m512 {
        unsafe {
            let upper = _mm512_set1_epi32(0xFFFF_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), upper))
        }
    }
    #[inline(always)]
    fn pair_bf16(self, low: __m512, high: __m512) -> __m512 {
        unsafe {
            let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(low));
            _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_castps_si512(high)))
        }
    }
    #[inline(always)]
    fn dot_bf16(self, sum: __m512, a: __m512, b: __m512) -> __m512 {
        if DOT {
            return unsafe { _mm512_dpbf16_ps(sum, pairs(a), pairs(b)) };
        }
        super::dot_of_halves(self, sum, a, b)
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
        unsafe { super::avx2::transpose8(src, src_ld, dst, dst_ld) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn select_gt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn select_gt_or_nan(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_blend_ps(nan | _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x)
        }
    }
    #[inline(always)]
    fn select_eq(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn exp2_int(self, a: __m512) -> __m512 {
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
