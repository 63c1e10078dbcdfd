//! Maps from one type of element to the other.

use crate::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{assert_fits, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut};

/// `dst` = `src`, `rows` × `channels`: widened, rounded to the nearest (see [`Bf16::from_f32`](crate::Bf16::from_f32)), or copied.
///
/// # Panics
/// Where a view is too short.
pub fn cast<A: Element, B: Element>(
    cx: &Context,
    src: Pixels<A>,
    dst: PixelsMut<B>,
    rows: usize,
    channels: usize,
) {
    assert_fits("src", src.data, rows, channels, src.ld);
    assert_fits("dst", dst.data, rows, channels, dst.ld);
    // Dense maps are rows of any length.
    let dense = rows > 1 && [src.ld, dst.ld] == [channels; 2];
    let (units, grain) =
        if dense { (rows * channels, rows_per_task(1)) } else { (rows, rows_per_task(channels)) };
    let (src_ld, dst_ld) = if dense { (1, 1) } else { (src.ld, dst.ld) };
    let data = SharedMut::new(dst.data);
    for_each_piece(cx.exec, units, grain, |start, count, _| {
        let (rows, len) = if dense { (1, count) } else { (count, channels) };
        let src = Pixels::new(&src.data[start * src_ld..], src_ld);
        dispatch(cx.isa, Strip { src, dst: data, start: start * dst_ld, dst_ld, rows, len });
    });
}

/// `rows` runs of `len` elements, from `src` on, and from `start` of `dst` on.
struct Strip<'a, A, B> {
    src: Pixels<'a, A>,
    dst: SharedMut<'a, B>,
    start: usize,
    dst_ld: usize,
    rows: usize,
    len: usize,
}

impl<A: Element, B: Element> Kernel for Strip<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in 0..self.rows {
            let src = self.src.row(row, self.len);
            // SAFETY: the rows were checked to lie inside, and are this strip's own.
            let dst = unsafe { self.dst.range(self.start + row * self.dst_ld, self.len) };
            convert(s, src, dst);
        }
    }
}

/// `dst` = `src`, of the same length.
#[inline(always)]
pub(crate) fn convert<S: Simd, A: Element, B: Element>(s: S, src: &[A], dst: &mut [B]) {
    assert_eq!(src.len(), dst.len());
    if A::TYPE == B::TYPE {
        dst.copy_from_slice(bytemuck::cast_slice(src));
        return;
    }
    let whole = src.len() - src.len() % S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: a vector from `at` on lies inside both.
        unsafe { s.store(dst.as_mut_ptr().add(at), s.load(src.as_ptr().add(at))) };
    }
    if whole < src.len() {
        let rest = src.len() - whole;
        // SAFETY: as above, the elements that are left.
        unsafe {
            s.store_partial(dst.as_mut_ptr().add(whole), s.load_partial(src.as_ptr().add(whole), rest), rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bf16, Isa, Serial};

    /// What lies between rows.
    const BETWEEN: Bf16 = Bf16::ZERO;

    #[test]
    fn maps_are_rounded_and_widened_row_by_row() {
        for isa in Isa::present() {
            let cx = Context { isa, exec: &Serial };
            for (rows, channels, src_ld, dst_ld) in
                [(7, 21, 23, 22), (700, 33, 33, 33), (1, 5, 5, 5), (0, 3, 3, 3)]
            {
                let src: Vec<f32> = (0..rows * src_ld).map(|i| (i as f32 * 0.37).sin() * 1e3).collect();
                let mut half = vec![BETWEEN; rows * dst_ld];
                cast(&cx, Pixels::new(&src, src_ld), PixelsMut::new(&mut half, dst_ld), rows, channels);
                let mut back = vec![-1.0f32; rows * src_ld];
                cast(&cx, Pixels::new(&half, dst_ld), PixelsMut::new(&mut back, src_ld), rows, channels);
                for (at, value) in back.iter().enumerate() {
                    let inside = at % src_ld < channels;
                    let expected = if inside { Bf16::from_f32(src[at]).to_f32() } else { -1.0 };
                    assert_eq!(*value, expected, "{isa}, element {at} of {rows}×{channels}");
                }
                assert!(half.iter().enumerate().all(|(at, x)| at % dst_ld < channels || *x == BETWEEN));
            }
        }
    }
}
