//! Changes of layout: between NCHW and NHWC, from bytes to floats.

use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut, extent, volume};

/// `dst` (n, h·w pixels of c) = `src`, whose row i is image i in (c, h, w) order. `shape` is (n, h, w, c).
///
/// Also the way back from the flattening before a fully connected layer.
pub fn nchw_to_nhwc(cx: &Context, [n, h, w, c]: [usize; 4], src: Pixels, dst: PixelsMut) {
    let plane = volume([h, w]);
    assert_fits("src", src.data, n, volume([c, plane]), src.ld);
    assert_fits("dst", dst.data, volume([n, plane]), c, dst.ld);
    let (src_matrix, dst_matrix) = ([src.ld, plane], [plane * dst.ld, dst.ld]);
    transpose_all(cx, [n, c, plane], src.data, src_matrix, dst.data, dst_matrix);
}

/// `dst`, whose row i is image i in (c, h, w) order, = `src` (n, h·w pixels of c). `shape` is (n, h, w, c).
///
/// This is also the flattening before a fully connected layer whose weights expect (c, h, w) order.
pub fn nhwc_to_nchw(cx: &Context, [n, h, w, c]: [usize; 4], src: Pixels, dst: PixelsMut) {
    let plane = volume([h, w]);
    assert_fits("src", src.data, volume([n, plane]), c, src.ld);
    assert_fits("dst", dst.data, n, volume([c, plane]), dst.ld);
    let (src_matrix, dst_matrix) = ([plane * src.ld, src.ld], [dst.ld, plane]);
    transpose_all(cx, [n, plane, c], src.data, src_matrix, dst.data, dst_matrix);
}

/// `dst` (columns × rows) = the transpose of `src` (rows × columns).
pub fn transpose(cx: &Context, [rows, columns]: [usize; 2], src: Pixels, dst: PixelsMut) {
    assert_fits("src", src.data, rows, columns, src.ld);
    assert_fits("dst", dst.data, columns, rows, dst.ld);
    transpose_all(cx, [1, rows, columns], src.data, [0, src.ld], dst.data, [0, dst.ld]);
}

/// Transposes `count` matrices of `rows` × `columns`; `src` and `dst` lie as [from matrix to matrix, from row
/// to row], each having what the callers checked.
fn transpose_all(
    cx: &Context,
    [count, rows, columns]: [usize; 3],
    src: &[f32],
    [src_step, src_ld]: [usize; 2],
    dst: &mut [f32],
    [dst_step, dst_ld]: [usize; 2],
) {
    let dst = SharedMut::new(dst);
    // Strips of columns, wide so that rows are read in long runs, but no wider than 16 KiB of destination:
    // its rows are written in parts, which the nearest cache must collect.
    let width = (GRAIN / 2 / rows.max(1)).clamp(16, 64) / 16 * 16;
    let strips = columns.div_ceil(width);
    let grain = (GRAIN / (width * rows.max(1))).max(1);
    for_each_piece(cx.exec, count * strips, grain, |start, len, _| {
        for strip in start..start + len {
            let (matrix, column) = (strip / strips, strip % strips * width);
            let width = width.min(columns - column);
            let src = &src[matrix * src_step + column..];
            let start = matrix * dst_step + column * dst_ld;
            assert!(start + extent(width, rows, dst_ld) <= dst.len());
            dispatch(cx.isa, Strip { src, src_ld, rows, width, dst, start, dst_ld });
        }
    });
}

/// `width` columns of the source, as rows of the destination.
struct Strip<'a> {
    src: &'a [f32],
    src_ld: usize,
    rows: usize,
    width: usize,
    dst: SharedMut<'a, f32>,
    start: usize,
    dst_ld: usize,
}

impl Kernel for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { src, src_ld, rows, width, dst, start, dst_ld } = self;
        for row in (0..rows).step_by(8) {
            for column in (0..width).step_by(8) {
                let (height, width) = (8.min(rows - row), 8.min(width - column));
                let src = &src[row * src_ld + column..];
                if height == 8 && width == 8 {
                    assert!(src.len() >= extent(8, 8, src_ld));
                    // SAFETY: as asserted; the strip's rows of the destination are its task's own.
                    unsafe {
                        let dst = dst.ptr_at(start + column * dst_ld + row);
                        s.transpose8(src.as_ptr(), src_ld, dst, dst_ld);
                    }
                    continue;
                }
                for j in 0..width {
                    // SAFETY: the strip's rows of the destination are its task's own.
                    let line = unsafe { dst.range(start + (column + j) * dst_ld + row, height) };
                    for (i, element) in line.iter_mut().enumerate() {
                        *element = src[i * src_ld + j];
                    }
                }
            }
        }
    }
}

/// `dst` = (`src`/255 − mean) / std, with a mean and a deviation a channel; `src` is packed (pixels, channels).
pub fn normalize_bytes(cx: &Context, pixels: usize, src: &[u8], [mean, std]: [&[f32]; 2], dst: PixelsMut) {
    let channels = mean.len();
    assert_eq!(std.len(), channels, "deviations, one a channel");
    assert!(src.len() >= volume([pixels, channels]), "{} bytes for {pixels}×{channels}", src.len());
    assert_fits("dst", dst.data, pixels, channels, dst.ld);
    let (ld, dst) = (dst.ld, SharedMut::new(dst.data));
    for_each_piece(cx.exec, pixels, rows_per_task(channels), |start, len, _| {
        let src = &src[start * channels..][..len * channels];
        dispatch(cx.isa, Bytes { src, mean, std, start, dst, ld });
    });
}

/// Pixels that are normalised as one where they are packed: a whole number of vectors, whatever the channels.
const PACK: usize = 16;
/// Channels up to which they are.
const FEW: usize = 4;

struct Bytes<'a> {
    src: &'a [u8],
    mean: &'a [f32],
    std: &'a [f32],
    start: usize,
    dst: SharedMut<'a, f32>,
    ld: usize,
}

impl Kernel for Bytes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { src, mean, std, start, dst, ld } = self;
        let channels = mean.len();
        if ld == channels && channels <= FEW {
            // Factors and terms repeated over `PACK` pixels make this one loop without remainders.
            let (mut factor, mut term) = ([0.0; PACK * FEW], [0.0; PACK * FEW]);
            for i in 0..PACK * channels {
                (factor[i], term[i]) = affine(mean[i % channels], std[i % channels]);
            }
            // SAFETY: these pixels are this task's own.
            let dst = unsafe { dst.range(start * ld, src.len()) };
            let pack = PACK * channels;
            for (dst, src) in dst.chunks_mut(pack).zip(src.chunks(pack)) {
                for (((dst, src), factor), term) in dst.iter_mut().zip(src).zip(&factor).zip(&term) {
                    *dst = *src as f32 * factor + term;
                }
            }
            return;
        }
        for (pixel, src) in (start..).zip(src.chunks_exact(channels)) {
            // SAFETY: as above.
            let dst = unsafe { dst.range(pixel * ld, channels) };
            for c in 0..channels {
                let (factor, term) = affine(mean[c], std[c]);
                dst[c] = src[c] as f32 * factor + term;
            }
        }
    }
}

/// (x/255 − mean) / std as x · factor + term.
#[inline(always)]
fn affine(mean: f32, std: f32) -> (f32, f32) {
    let std = std as f64;
    ((1.0 / (255.0 * std)) as f32, (-(mean as f64) / std) as f32)
}
