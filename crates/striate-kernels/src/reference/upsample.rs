//! Resizing by definition, over logical (NCHW) arrays.

use crate::upsample::{Interpolation, Resize2d};

/// The weight of source position `from` in destination position `at`, along an axis: for bilinear a tent of
/// width 2 around the position, which the borders of the source hold in.
fn weight(interpolation: Interpolation, at: usize, from: usize, size: usize, out: usize) -> f64 {
    let position = match interpolation {
        Interpolation::Nearest => return f64::from(u8::from(at * size / out == from)),
        Interpolation::Bilinear { align_corners: true } if out == 1 => 0.0,
        Interpolation::Bilinear { align_corners: true } => {
            at as f64 * (size as f64 - 1.0) / (out as f64 - 1.0)
        }
        Interpolation::Bilinear { align_corners: false } => {
            (at as f64 + 0.5) * size as f64 / out as f64 - 0.5
        }
    };
    let held = position.clamp(0.0, size as f64 - 1.0);
    (1.0 - (held - from as f64).abs()).max(0.0)
}

/// Calls `visit(src, dst, weight)` for every pair of elements.
fn for_each_pair(g: &Resize2d, mut visit: impl FnMut(usize, usize, f64)) {
    for plane in 0..g.n * g.c {
        for (oy, ox) in (0..g.oh).flat_map(|y| (0..g.ow).map(move |x| (y, x))) {
            for (iy, ix) in (0..g.ih).flat_map(|y| (0..g.iw).map(move |x| (y, x))) {
                let down = weight(g.interpolation, oy, iy, g.ih, g.oh);
                let across = weight(g.interpolation, ox, ix, g.iw, g.ow);
                visit((plane * g.ih + iy) * g.iw + ix, (plane * g.oh + oy) * g.ow + ox, down * across);
            }
        }
    }
}

/// `src` (n, c, ih, iw) resized to (n, c, oh, ow).
pub fn forward(g: &Resize2d, src: &[f64]) -> Vec<f64> {
    let mut dst = vec![0.0; g.n * g.c * g.oh * g.ow];
    for_each_pair(g, |s, d, weight| dst[d] += weight * src[s]);
    dst
}

/// The gradient of the source, (n, c, ih, iw).
pub fn backward(g: &Resize2d, d_dst: &[f64]) -> Vec<f64> {
    let mut d_src = vec![0.0; g.n * g.c * g.ih * g.iw];
    for_each_pair(g, |s, d, weight| d_src[s] += weight * d_dst[d]);
    d_src
}
