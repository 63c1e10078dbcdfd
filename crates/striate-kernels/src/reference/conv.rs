//! Convolution by definition: one multiply-accumulate at a time, over logical (NCHW) arrays.

use crate::conv::Conv2dGeometry;

/// Calls `visit(src, weight, dst)` with the indices of every multiply-accumulate that does not fall on padding.
fn for_each_mac(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let (oh, ow, icg, ocg) = (g.oh(), g.ow(), g.ic / g.groups, g.oc / g.groups);
    for n in 0..g.n {
        for o in 0..g.oc {
            for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                for c in 0..icg {
                    for (ky, kx) in (0..g.kh).flat_map(|ky| (0..g.kw).map(move |kx| (ky, kx))) {
                        let (sy, sx) = (y * g.sh + ky * g.dh, x * g.sw + kx * g.dw);
                        if sy < g.pt || sx < g.pl || sy - g.pt >= g.ih || sx - g.pl >= g.iw {
                            continue;
                        }
                        let channel = o / ocg * icg + c;
                        visit(
                            ((n * g.ic + channel) * g.ih + sy - g.pt) * g.iw + sx - g.pl,
                            ((o * icg + c) * g.kh + ky) * g.kw + kx,
                            ((n * g.oc + o) * oh + y) * ow + x,
                        );
                    }
                }
            }
        }
    }
}

/// dst\[n, o, y, x\] = bias\[o\] + Σ weights\[o, c, ky, kx\] · src\[n, c, y·sh + ky·dh − pt, x·sw + kx·dw − pl\].
///
/// # Shapes
/// `src` (n, ic, ih, iw), `weights` (oc, ic / groups, kh, kw), `bias` (oc); returns (n, oc, oh, ow).
pub fn forward(g: &Conv2dGeometry, src: &[f64], weights: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let plane = g.oh() * g.ow();
    let mut dst: Vec<f64> =
        (0..g.n * g.oc * plane).map(|i| bias.map_or(0.0, |bias| bias[i / plane % g.oc])).collect();
    for_each_mac(g, |s, w, d| dst[d] += weights[w] * src[s]);
    dst
}

/// The gradient of the source, (n, ic, ih, iw), from `d_dst` (n, oc, oh, ow).
pub fn backward_data(g: &Conv2dGeometry, d_dst: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut d_src = vec![0.0; g.n * g.ic * g.ih * g.iw];
    for_each_mac(g, |s, w, d| d_src[s] += weights[w] * d_dst[d]);
    d_src
}

/// The gradient of the weights, (oc, ic / groups, kh, kw), and of the bias, (oc), from `src` and `d_dst`.
pub fn backward_weights(g: &Conv2dGeometry, src: &[f64], d_dst: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut d_weights = vec![0.0; g.oc * (g.ic / g.groups) * g.kh * g.kw];
    for_each_mac(g, |s, w, d| d_weights[w] += src[s] * d_dst[d]);
    let plane = g.oh() * g.ow();
    let mut d_bias = vec![0.0; g.oc];
    for (i, gradient) in d_dst.iter().enumerate() {
        d_bias[i / plane % g.oc] += gradient;
    }
    (d_weights, d_bias)
}
