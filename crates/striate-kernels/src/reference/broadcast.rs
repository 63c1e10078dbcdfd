//! Element-wise operations of maps that repeat, by definition, over logical (NCHW) arrays.

/// f(a, b) for each element of the smallest shape (n, c, h, w) that both shapes repeat to.
pub fn binary(
    f: impl Fn(f64, f64) -> f64,
    (a_shape, a): ([usize; 4], &[f64]),
    (b_shape, b): ([usize; 4], &[f64]),
) -> Vec<f64> {
    let [n, c, h, w]: [usize; 4] = std::array::from_fn(|dim| a_shape[dim].max(b_shape[dim]));
    let at = |shape: [usize; 4], index: [usize; 4]| {
        (0..4).fold(0, |at, dim| at * shape[dim] + index[dim] % shape[dim])
    };
    let mut dst = Vec::new();
    for i in 0..n {
        for o in 0..c {
            for y in 0..h {
                for x in 0..w {
                    let index = [i, o, y, x];
                    dst.push(f(a[at(a_shape, index)], b[at(b_shape, index)]));
                }
            }
        }
    }
    dst
}
