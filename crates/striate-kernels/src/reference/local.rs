//! Locally connected layers by definition, over logical (NCHW) arrays; weights (oh·ow, oc, ic, kh, kw).

use crate::conv::Conv2dGeometry;

/// Calls `visit(src, weight, dst)` with the indices of every multiply-accumulate that does not fall on padding.
fn for_each_mac(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let (oh, ow) = (g.oh(), g.ow());
    for n in 0..g.n {
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            for (o, i) in (0..g.oc).flat_map(|o| (0..g.ic).map(move |i| (o, i))) {
                for (ky, kx) in (0..g.kh).flat_map(|ky| (0..g.kw).map(move |kx| (ky, kx))) {
                    let (sy, sx) = (y * g.sh + ky * g.dh, x * g.sw + kx * g.dw);
                    if sy < g.pt || sx < g.pl || sy - g.pt >= g.ih || sx - g.pl >= g.iw {
                        continue;
                    }
                    visit(
                        ((n * g.ic + i) * g.ih + sy - g.pt) * g.iw + sx - g.pl,
                        ((((y * ow + x) * g.oc + o) * g.ic + i) * g.kh + ky) * g.kw + kx,
                        ((n * g.oc + o) * oh + y) * ow + x,
                    );
                }
            }
        }
    }
}

/// dst\[n, o, y, x\] = bias\[o, y, x\] + Σ weights\[y, x, o, i, ky, kx\] · src\[n, i, …\].
///
/// # Shapes
/// `src` (n, ic, ih, iw), `weights` (oh·ow, oc, ic, kh, kw), `bias` (oc, oh, ow); returns (n, oc, oh, ow).
pub fn forward(g: &Conv2dGeometry, src: &[f64], weights: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let map = g.oc * g.oh() * g.ow();
    let mut dst: Vec<f64> = (0..g.n * map).map(|i| bias.map_or(0.0, |bias| bias[i % map])).collect();
    for_each_mac(g, |s, w, d| dst[d] += weights[w] * src[s]);
    dst
}

/// The gradient of the source, (n, ic, ih, iw).
pub fn backward_data(g: &Conv2dGeometry, d_dst: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut d_src = vec![0.0; g.n * g.ic * g.ih * g.iw];
    for_each_mac(g, |s, w, d| d_src[s] += weights[w] * d_dst[d]);
    d_src
}

/// The gradient of the weights, (oh·ow, oc, ic, kh, kw), and of the bias, (oc, oh, ow).
pub fn backward_weights(g: &Conv2dGeometry, src: &[f64], d_dst: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let map = g.oc * g.oh() * g.ow();
    let (mut d_weights, mut d_bias) = (vec![0.0; map * g.ic * g.kh * g.kw], vec![0.0; map]);
    for_each_mac(g, |s, w, d| d_weights[w] += src[s] * d_dst[d]);
    d_dst.iter().enumerate().for_each(|(i, d)| d_bias[i % map] += d);
    (d_weights, d_bias)
}
