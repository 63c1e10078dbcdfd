//! What maps are made of in memory: float32, or bfloat16 that is widened when read and rounded when written.
//! Arithmetic is float32's in either case.

use crate::simd::Simd;
use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::str::FromStr;

/// A bfloat16: the upper half of a float32, with its range and 8 significant bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Bf16(u16);

// SAFETY: a transparent u16, of which all bit patterns are valid.
unsafe impl Zeroable for Bf16 {}
// SAFETY: as above.
unsafe impl Pod for Bf16 {}

impl Bf16 {
    /// Positive zero.
    pub const ZERO: Self = Self(0);
    /// The relative distance of 1 from the next number: rounding errs by half of it at most.
    pub const EPSILON: f32 = 1.0 / 128.0;

    /// The nearest to `value`, of two equally near the one whose last bit is 0; NaN stays NaN and becomes quiet.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        // Half of what is cut off, less one where the last bit that stays is 0. The sum cannot overflow: NaN apart,
        // the greatest bits are those of −∞.
        let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        Self(if value.is_nan() { quiet } else { rounded } as u16)
    }

    /// The same number as a float32.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits((self.0 as u32) << 16)
    }

    /// The number with these bits: sign, 8 of exponent, 7 of fraction.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub fn to_bits(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Bf16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_f32(), f)
    }
}

/// The types of elements, as values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// `f32`.
    #[default]
    F32,
    /// [`Bf16`].
    Bf16,
}

impl ElementType {
    /// All types.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Floats of memory that hold so many elements.
    pub fn words(self, elements: usize) -> usize {
        elements.div_ceil(size_of::<f32>() / self.size())
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ElementType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|element| element.name() == text)
            .ok_or_else(|| format!("unknown precision '{text}': choose f32 or bf16"))
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::Bf16 {}
}

/// An element in memory: `f32` or [`Bf16`]. Vectors of them are read and written through [`Simd`].
pub trait Element: Pod + Default + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed {
    /// Which one.
    const TYPE: ElementType;

    /// The nearest to `value`.
    fn from_f32(value: f32) -> Self;
    /// The same number as a float32.
    fn to_f32(self) -> f32;

    /// See [`Simd::load`].
    ///
    /// # Safety
    /// As there.
    unsafe fn load<S: Simd>(s: S, src: *const Self) -> S::F;
    /// See [`Simd::store`].
    ///
    /// # Safety
    /// As there.
    unsafe fn store<S: Simd>(s: S, dst: *mut Self, value: S::F);
    /// See [`Simd::load_partial`].
    ///
    /// # Safety
    /// As there.
    unsafe fn load_partial<S: Simd>(s: S, src: *const Self, len: usize) -> S::F;
    /// See [`Simd::load_partial_or`].
    ///
    /// # Safety
    /// As there.
    unsafe fn load_partial_or<S: Simd>(s: S, src: *const Self, len: usize, fill: S::F) -> S::F;
    /// See [`Simd::store_partial`].
    ///
    /// # Safety
    /// As there.
    unsafe fn store_partial<S: Simd>(s: S, dst: *mut Self, value: S::F, len: usize);
}

/// The element `$type`, with its own loads and stores.
macro_rules! element {
    ($type:ty, $variant:ident, $from:expr, $to:expr, $load:ident, $store:ident, $partial:ident, $partial_or:ident,
     $store_partial:ident) => {
        // SAFETY of the blocks below: the caller's contract.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Element for $type {
            const TYPE: ElementType = ElementType::$variant;

            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                $from(value)
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                $to(self)
            }
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, src: *const Self) -> S::F {
                unsafe { s.$load(src) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(s: S, dst: *mut Self, value: S::F) {
                unsafe { s.$store(dst, value) }
            }
            #[inline(always)]
            unsafe fn load_partial<S: Simd>(s: S, src: *const Self, len: usize) -> S::F {
                unsafe { s.$partial(src, len) }
            }
            #[inline(always)]
            unsafe fn load_partial_or<S: Simd>(s: S, src: *const Self, len: usize, fill: S::F) -> S::F {
                unsafe { s.$partial_or(src, len, fill) }
            }
            #[inline(always)]
            unsafe fn store_partial<S: Simd>(s: S, dst: *mut Self, value: S::F, len: usize) {
                unsafe { s.$store_partial(dst, value, len) }
            }
        }
    };
}

element! {
    f32, F32, std::convert::identity, std::convert::identity,
    load_f32, store_f32, load_f32_partial, load_f32_partial_or, store_f32_partial
}
element! {
    Bf16, Bf16, Bf16::from_f32, Bf16::to_f32,
    load_bf16, store_bf16, load_bf16_partial, load_bf16_partial_or, store_bf16_partial
}

/// Elements of a type known when it runs.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [Bf16]),
}

impl<'a> Elements<'a> {
    pub(crate) fn of<E: Element>(elements: &'a [E]) -> Self {
        match E::TYPE {
            ElementType::F32 => Self::F32(bytemuck::cast_slice(elements)),
            ElementType::Bf16 => Self::Bf16(bytemuck::cast_slice(elements)),
        }
    }

    /// The elements, which must be of this type.
    pub(crate) fn get<E: Element>(self) -> &'a [E] {
        match self {
            Self::F32(elements) if E::TYPE == ElementType::F32 => bytemuck::cast_slice(elements),
            Self::Bf16(elements) if E::TYPE == ElementType::Bf16 => bytemuck::cast_slice(elements),
            _ => panic!("elements are not {}", E::TYPE),
        }
    }
}

/// Elements of a type known when it runs, to write.
pub(crate) enum ElementsMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [Bf16]),
}

impl<'a> ElementsMut<'a> {
    pub(crate) fn of<E: Element>(elements: &'a mut [E]) -> Self {
        match E::TYPE {
            ElementType::F32 => Self::F32(bytemuck::cast_slice_mut(elements)),
            ElementType::Bf16 => Self::Bf16(bytemuck::cast_slice_mut(elements)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_takes_the_nearest_and_of_two_the_even() {
        for (value, expected) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 2.0 / 128.0),
            (1.0 + 1.0 / 256.0 + 1e-6, 1.0 + 1.0 / 128.0),
            (-0.0, -0.0),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (1e-40, Bf16(1).to_f32()),
        ] {
            let rounded = Bf16::from_f32(value).to_f32();
            assert_eq!(rounded.to_bits(), f32::to_bits(expected), "{value}: {rounded}");
        }
    }

    #[test]
    fn every_number_is_its_own_nearest_and_nan_stays_nan() {
        for bits in 0..=u16::MAX {
            let (value, round_trip) = (Bf16(bits), Bf16::from_f32(Bf16(bits).to_f32()));
            if value.to_f32().is_nan() {
                assert_eq!(round_trip.to_bits(), bits | 0x40);
            } else {
                assert_eq!(round_trip, value);
            }
        }
        // Its fraction in the half that is cut off alone.
        assert!(Bf16::from_f32(f32::from_bits(0x7F80_0001)).to_f32().is_nan());
    }

    #[test]
    fn names_round_trip() {
        for element in ElementType::ALL {
            assert_eq!(element.name().parse::<ElementType>().unwrap(), element);
        }
        assert_eq!([ElementType::F32.words(5), ElementType::Bf16.words(5)], [5, 3]);
    }
}
