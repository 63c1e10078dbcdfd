//! Which tap of a window held the maximum, as numbers of a byte or more.

use crate::simd::Simd;

/// Remembers which tap of a window held the maximum: tap kh·KW + kw, in reading order.
pub trait Index: Copy + Send + Sync + 'static {
    /// The largest window, in taps, whose taps it can tell apart.
    const MAX_TAPS: usize;
    /// From a tap number below `MAX_TAPS`; any other number becomes some tap.
    fn from_tap(tap: f32) -> Self;
    /// The tap number.
    fn tap(self) -> f32;

    /// Writes the first `len <= LANES` tap numbers.
    ///
    /// # Safety
    /// `dst` must be writable for `len` indices.
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, dst: *mut Self, taps: S::F, len: usize) {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: a vector fits the lanes; else the caller's contract.
        unsafe {
            s.store(lanes.as_mut_ptr(), taps);
            for lane in 0..len {
                *dst.add(lane) = Self::from_tap(lanes[lane]);
            }
        }
    }

    /// Reads `len <= LANES` tap numbers; what the other lanes hold is open.
    ///
    /// # Safety
    /// `src` must be readable for `len` indices.
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, src: *const Self, len: usize) -> S::F {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: as in `store`.
        unsafe {
            for lane in 0..len {
                lanes[lane] = (*src.add(lane)).tap();
            }
            s.load(lanes.as_ptr())
        }
    }
}

/// Lanes of the widest instruction set.
const MAX_LANES: usize = 16;

impl Index for u8 {
    const MAX_TAPS: usize = 1 << 8;
    #[inline(always)]
    fn from_tap(tap: f32) -> Self {
        tap as u8
    }
    #[inline(always)]
    fn tap(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, dst: *mut u8, taps: S::F, len: usize) {
        // SAFETY: the caller's contract.
        unsafe { s.store_u8(dst, taps, len) }
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, src: *const u8, len: usize) -> S::F {
        // SAFETY: the caller's contract.
        unsafe { s.load_u8(src, len) }
    }
}

impl Index for u32 {
    /// As many as the mantissa of f32, in which vector lanes count, tells apart.
    const MAX_TAPS: usize = 1 << 23;
    #[inline(always)]
    fn from_tap(tap: f32) -> Self {
        // The mantissa, beside 2²³; `as`, which must check its range, takes a third of the time of small windows.
        (tap + Self::MAX_TAPS as f32).to_bits() & (Self::MAX_TAPS as u32 - 1)
    }
    #[inline(always)]
    fn tap(self) -> f32 {
        self as i32 as f32
    }
}
