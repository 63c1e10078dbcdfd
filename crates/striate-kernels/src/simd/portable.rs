//! Plain Rust, for every processor: four floats at a time, which compilers turn into baseline vector code.

use super::{Isa, Simd};
use crate::element::Bf16;

/// The instruction set every processor has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

const LANES: usize = 4;
type F = [f32; LANES];

#[inline(always)]
fn map2(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

/// The sum of `lanes`, upper half onto lower half until one is left.
#[inline(always)]
pub(super) fn sum_pairwise<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

// SAFETY of the blocks below: pointers are valid by the trait's contracts.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Portable {
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;
    const ISA: Isa = Isa::Scalar;
    type F = F;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn splat(self, value: f32) -> F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load_f32(self, src: *const f32) -> F {
        unsafe { src.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_f32(self, dst: *mut f32, value: F) {
        unsafe { dst.cast::<F>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_f32_partial(self, src: *const f32, len: usize) -> F {
        std::array::from_fn(|lane| if lane < len { unsafe { *src.add(lane) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn load_f32_partial_or(self, src: *const f32, len: usize, fill: F) -> F {
        std::array::from_fn(|lane| if lane < len { unsafe { *src.add(lane) } } else { fill[lane] })
    }
    #[inline(always)]
    unsafe fn store_f32_partial(self, dst: *mut f32, value: F, len: usize) {
        for lane in 0..len {
            unsafe { *dst.add(lane) = value[lane] };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, src: *const Bf16) -> F {
        std::array::from_fn(|lane| unsafe { *src.add(lane) }.to_f32())
    }
    #[inline(always)]
    unsafe fn store_bf16(self, dst: *mut Bf16, value: F) {
        for lane in 0..LANES {
            unsafe { *dst.add(lane) = Bf16::from_f32(value[lane]) };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_partial_or(self, src: *const Bf16, len: usize, fill: F) -> F {
        std::array::from_fn(|lane| if lane < len { unsafe { *src.add(lane) }.to_f32() } else { fill[lane] })
    }
    #[inline(always)]
    unsafe fn store_bf16_partial(self, dst: *mut Bf16, value: F, len: usize) {
        for lane in 0..len {
            unsafe { *dst.add(lane) = Bf16::from_f32(value[lane]) };
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, dst: *mut u8, value: F, len: usize) {
        for lane in 0..len {
            unsafe { *dst.add(lane) = value[lane] as u8 };
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, src: *const u8, len: usize) -> F {
        std::array::from_fn(|lane| if lane < len { f32::from(unsafe { *src.add(lane) }) } else { 0.0 })
    }
    #[inline(always)]
    fn low_bf16(self, a: F) -> F {
        a.map(|x| f32::from_bits(x.to_bits() << 16))
    }
    #[inline(always)]
    fn high_bf16(self, a: F) -> F {
        a.map(|x| f32::from_bits(x.to_bits() & 0xFFFF_0000))
    }
    #[inline(always)]
    fn pair_bf16(self, low: F, high: F) -> F {
        std::array::from_fn(|lane| f32::from_bits(low[lane].to_bits() >> 16 | high[lane].to_bits()))
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        map2(a, b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        map2(a, b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        map2(a, b, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        map2(a, b, |x, y| x / y)
    }
    #[inline(always)]
    fn mul_add(self, a: F, b: F, c: F) -> F {
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            return std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]));
        }
        // A fused multiply-add without the instruction is a slow library call; products of two f32 are
        // exact in f64, so this rounds the sum once to f64 and once to f32: within half an ulp + 2^-53.
        std::array::from_fn(|lane| (a[lane] as f64 * b[lane] as f64 + c[lane] as f64) as f32)
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        map2(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        map2(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn sqrt(self, a: F) -> F {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn select_gt(self, a: F, b: F, x: F, y: F) -> F {
        std::array::from_fn(|lane| if a[lane] > b[lane] { x[lane] } else { y[lane] })
    }
    #[inline(always)]
    fn select_gt_or_nan(self, a: F, b: F, x: F, y: F) -> F {
        std::array::from_fn(|lane| if a[lane] > b[lane] || a[lane].is_nan() { x[lane] } else { y[lane] })
    }
    #[inline(always)]
    fn select_eq(self, a: F, b: F, x: F, y: F) -> F {
        std::array::from_fn(|lane| if a[lane] == b[lane] { x[lane] } else { y[lane] })
    }
    #[inline(always)]
    fn exp2_int(self, a: F) -> F {
        a.map(|x| f32::from_bits(((x.round_ties_even() as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn round(self, a: F) -> F {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn sum(self, a: F) -> f32 {
        sum_pairwise(a)
    }
    #[inline(always)]
    fn max_lane(self, a: F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
