//! Sums over axes by definition, over logical (NCHW) arrays.

/// The sum of `src` (n, c, h, w) over `axes`; their extent is 1 in the result.
pub fn sum([n, c, h, w]: [usize; 4], axes: [bool; 4], src: &[f64]) -> Vec<f64> {
    let kept: [usize; 4] = std::array::from_fn(|dim| if axes[dim] { 1 } else { [n, c, h, w][dim] });
    let mut dst = vec![0.0; kept.iter().product()];
    let mut elements = src.iter();
    for i in 0..n {
        for o in 0..c {
            for y in 0..h {
                for x in 0..w {
                    let at = (0..4).fold(0, |at, dim| at * kept[dim] + [i, o, y, x][dim] % kept[dim]);
                    dst[at] += elements.next().expect("n·c·h·w elements");
                }
            }
        }
    }
    dst
}
