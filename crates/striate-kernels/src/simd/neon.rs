//! NEON, with fused multiply-add: what every 64-bit ARM processor has.

use super::{Isa, Simd};
use crate::element::Bf16;
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// Proof that the processor has NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// All bits set in the first `len` lanes.
#[inline(always)]
fn first(len: usize) -> uint32x4_t {
    debug_assert!(len < 4);
    const ONES_THEN_ZEROS: [u32; 8] = [u32::MAX, u32::MAX, u32::MAX, u32::MAX, 0, 0, 0, 0];
    // SAFETY: 4 - len + 4 <= 8 elements; callers hold the token.
    unsafe { vld1q_u32(ONES_THEN_ZEROS.as_ptr().add(4 - len)) }
}

/// Transposes a block of 4 × 4; see [`Simd::transpose8`].
///
/// # Safety
/// The processor must have NEON; pointers as in the trait, for 4 rows of 4 floats.
#[inline(always)]
unsafe fn transpose4(src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| vld1q_f32(src.add(i * src_ld)));
        // Pairs of rows, columns 0 and 2, then 1 and 3; then pairs of pairs.
        let [ab02, cd02] = [vtrn1q_f32(a, b), vtrn1q_f32(c, d)].map(|x| vreinterpretq_f64_f32(x));
        let [ab13, cd13] = [vtrn2q_f32(a, b), vtrn2q_f32(c, d)].map(|x| vreinterpretq_f64_f32(x));
        let columns =
            [vtrn1q_f64(ab02, cd02), vtrn1q_f64(ab13, cd13), vtrn2q_f64(ab02, cd02), vtrn2q_f64(ab13, cd13)];
        for j in 0..4 {
            vst1q_f32(dst.add(j * dst_ld), vreinterpretq_f32_f64(columns[j]));
        }
    }
}

/// 4 bfloat16 as floats.
///
/// # Safety
/// The processor must have NEON.
#[inline(always)]
unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(halves))) }
}

/// The inverse of [`widen`], rounding as [`Bf16::from_f32`].
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn narrow(value: float32x4_t) -> uint16x4_t {
    // SAFETY: the caller's contract.
    unsafe {
        let bits = vreinterpretq_u32_f32(value);
        let cut = vshrq_n_u32::<16>(bits);
        let half = vaddq_u32(vandq_u32(cut, vdupq_n_u32(1)), vdupq_n_u32(0x7FFF));
        // The sum's upper halves.
        let rounded = vaddhn_u32(bits, half);
        let quiet = vorr_u16(vmovn_u32(cut), vdup_n_u16(0x40));
        let number = vmovn_u32(vceqq_f32(value, value));
        vbsl_u16(number, rounded, quiet)
    }
}

// SAFETY of every block below: `self` exists only where `detect` found the instructions; pointers are valid
// by the trait's contracts.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    const ISA: Isa = Isa::Neon;
    type F = float32x4_t;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "neon")]
        #[inline]
        unsafe fn enabled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        unsafe { enabled(f) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load_f32(self, src: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(src) }
    }
    #[inline(always)]
    unsafe fn store_f32(self, dst: *mut f32, value: float32x4_t) {
        unsafe { vst1q_f32(dst, value) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, src: *const f32, len: usize) -> float32x4_t {
        unsafe { self.load_f32_partial_or(src, len, self.zero()) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial_or(self, src: *const f32, len: usize, fill: float32x4_t) -> float32x4_t {
        debug_assert!(len < 4);
        unsafe {
            match len {
                0 => fill,
                1 => vld1q_lane_f32::<0>(src, fill),
                2 => vcombine_f32(vld1_f32(src), vget_high_f32(fill)),
                _ => vld1q_lane_f32::<2>(src.add(2), vcombine_f32(vld1_f32(src), vget_high_f32(fill))),
            }
        }
    }
    #[inline(always)]
    unsafe fn store_f32_partial(self, dst: *mut f32, value: float32x4_t, len: usize) {
        debug_assert!(len < 4);
        unsafe {
            if len >= 2 {
                vst1_f32(dst, vget_low_f32(value));
            }
            match len {
                1 => vst1q_lane_f32::<0>(dst, value),
                3 => vst1q_lane_f32::<2>(dst.add(2), value),
                _ => {}
            }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, src: *const Bf16) -> float32x4_t {
        unsafe { widen(vld1_u16(src.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, dst: *mut Bf16, value: float32x4_t) {
        unsafe { vst1_u16(dst.cast(), narrow(value)) }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial_or(self, src: *const Bf16, len: usize, fill: float32x4_t) -> float32x4_t {
        unsafe {
            let src = src.cast::<u16>();
            let mut halves = vdup_n_u16(0);
            if len > 0 {
                halves = vld1_lane_u16::<0>(src, halves);
            }
            if len > 1 {
                halves = vld1_lane_u16::<1>(src.add(1), halves);
            }
            if len > 2 {
                halves = vld1_lane_u16::<2>(src.add(2), halves);
            }
            vbslq_f32(first(len), widen(halves), fill)
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_partial(self, dst: *mut Bf16, value: float32x4_t, len: usize) {
        debug_assert!(len < 4);
        unsafe {
            let (dst, halves) = (dst.cast::<u16>(), narrow(value));
            if len > 0 {
                vst1_lane_u16::<0>(dst, halves);
            }
            if len > 1 {
                vst1_lane_u16::<1>(dst.add(1), halves);
            }
            if len > 2 {
                vst1_lane_u16::<2>(dst.add(2), halves);
            }
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, dst: *mut u8, value: float32x4_t, len: usize) {
        unsafe {
            let halves = vqmovun_s32(vcvtnq_s32_f32(value));
            let bytes = vqmovn_u16(vcombine_u16(halves, halves));
            let bytes = vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)).to_le_bytes();
            if len == 4 {
                dst.cast::<[u8; 4]>().write_unaligned(bytes);
            } else {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), dst, len);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, src: *const u8, len: usize) -> float32x4_t {
        let mut bytes = [0; 4];
        unsafe {
            if len == 4 {
                bytes = src.cast::<[u8; 4]>().read_unaligned();
            } else {
                std::ptr::copy_nonoverlapping(src, bytes.as_mut_ptr(), len);
            }
            let bytes = vreinterpret_u8_u32(vdup_n_u32(u32::from_le_bytes(bytes)));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
        }
    }
    #[inline(always)]
    fn low_bf16(self, a: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(a))) }
    }
    #[inline(always)]
    fn high_bf16(self, a: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0xFFFF_0000))) }
    }
    #[inline(always)]
    fn pair_bf16(self, low: float32x4_t, high: float32x4_t) -> float32x4_t {
        unsafe {
            let low = vshrq_n_u32::<16>(vreinterpretq_u32_f32(low));
            vreinterpretq_f32_u32(vorrq_u32(low, vreinterpretq_u32_f32(high)))
        }
    }
    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        unsafe {
            asm!("prfm pldl2keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
        }
    }
    #[inline(always)]
    unsafe fn transpose8(self, src: *const f32, src_ld: usize, dst: *mut f32, dst_ld: usize) {
        for (i, j) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            unsafe { transpose4(src.add(i * src_ld + j), src_ld, dst.add(j * dst_ld + i), dst_ld) }
        }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    // The instructions for the greater and the lesser treat NaN otherwise than the trait.
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_gt(a, b, a, b)
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_gt(b, a, a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn select_gt(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn select_gt_or_nan(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vornq_u32(vcgtq_f32(a, b), vceqq_f32(a, a)), x, y) }
    }
    #[inline(always)]
    fn select_eq(self, a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vceqq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn exp2_int(self, a: float32x4_t) -> float32x4_t {
        unsafe {
            let exponent = vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        }
    }
    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn sum(self, a: float32x4_t) -> f32 {
        unsafe { vaddv_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a))) }
    }
    #[inline(always)]
    fn max_lane(self, a: float32x4_t) -> f32 {
        unsafe { vmaxnmvq_f32(a) }.max(f32::NEG_INFINITY)
    }
}
