//! Max and average pooling over (n, c, h, w) arrays, window by window.

use crate::pool::Pool2dGeometry;

/// One window: its place in the output array, and the (tap, place in the input array) of its elements.
struct Window {
    dst: usize,
    taps: Vec<(usize, usize)>,
    /// Positions on the input or its padding.
    padded: usize,
}

fn windows(g: &Pool2dGeometry) -> Vec<Window> {
    let mut windows = Vec::new();
    for plane in 0..g.n * g.c {
        for oy in 0..g.oh {
            for ox in 0..g.ow {
                let mut window = Window { dst: windows.len(), taps: Vec::new(), padded: 0 };
                for ky in 0..g.kh {
                    for kx in 0..g.kw {
                        // In the padded map.
                        let (y, x) = (oy * g.sh + ky, ox * g.sw + kx);
                        if y < g.pt + g.ih + g.pb && x < g.pl + g.iw + g.pr {
                            window.padded += 1;
                        }
                        if (g.pt..g.pt + g.ih).contains(&y) && (g.pl..g.pl + g.iw).contains(&x) {
                            let src = (plane * g.ih + y - g.pt) * g.iw + x - g.pl;
                            window.taps.push((ky * g.kw + kx, src));
                        }
                    }
                }
                windows.push(window);
            }
        }
    }
    windows
}

/// The (tap, place in the input array) that a window takes: the first greatest, or the last NaN.
fn greatest(window: &Window, src: &[f64]) -> Option<(usize, usize)> {
    let nan = window.taps.iter().rev().find(|tap| src[tap.1].is_nan());
    let first =
        || window.taps.iter().copied().reduce(|best, tap| if src[tap.1] > src[best.1] { tap } else { best });
    nan.copied().or_else(first)
}

/// The greatest element of each window, −∞ of none, and its tap.
pub fn max(g: &Pool2dGeometry, src: &[f64]) -> (Vec<f64>, Vec<Option<usize>>) {
    let pool = |window: &Window| match greatest(window, src) {
        Some((tap, place)) => (src[place], Some(tap)),
        None => (f64::NEG_INFINITY, None),
    };
    windows(g).iter().map(pool).unzip()
}

/// The gradient of [`max`] by its input.
pub fn max_backward(g: &Pool2dGeometry, src: &[f64], d_dst: &[f64]) -> Vec<f64> {
    let mut d_src = vec![0.0; src.len()];
    for window in windows(g) {
        if let Some((_, taken)) = greatest(&window, src) {
            d_src[taken] += d_dst[window.dst];
        }
    }
    d_src
}

fn divisor(window: &Window, count_include_pad: bool) -> f64 {
    if count_include_pad { window.padded as f64 } else { window.taps.len() as f64 }
}

/// The mean of each window (0 of none), with or without the padding's zeros.
pub fn average(g: &Pool2dGeometry, count_include_pad: bool, src: &[f64]) -> Vec<f64> {
    let pool = |window: &Window| match window.taps.len() {
        0 => 0.0,
        _ => window.taps.iter().map(|tap| src[tap.1]).sum::<f64>() / divisor(window, count_include_pad),
    };
    windows(g).iter().map(pool).collect()
}

/// The gradient of [`average`] by its input.
pub fn average_backward(g: &Pool2dGeometry, count_include_pad: bool, d_dst: &[f64]) -> Vec<f64> {
    let mut d_src = vec![0.0; g.n * g.c * g.ih * g.iw];
    for window in windows(g) {
        for tap in &window.taps {
            d_src[tap.1] += d_dst[window.dst] / divisor(&window, count_include_pad);
        }
    }
    d_src
}
