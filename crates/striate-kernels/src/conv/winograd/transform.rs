//! The transforms of F(4×4, 3×3), a line at a time; a tile is transformed along its columns, then its rows.
//!
//! Polynomials are evaluated at 0, ±[`NEAR`], ±[`FAR`] and ∞. With these points, rather than the usual 0, ±1, ±2, ∞,
//! the matrices' entries differ less in size and the error is about a quarter; being short binary fractions, their
//! powers are exact.

use crate::simd::Simd;

/// Lines of a tile of the source, which are as many as the points.
pub(super) const POINTS: usize = 6;
/// Lines of a tile of the destination.
pub(super) const OUT: usize = 4;
/// Lines of a kernel.
pub(super) const TAPS: usize = 3;

const NEAR: f32 = 11.0 / 16.0;
const FAR: f32 = 11.0 / 8.0;
const NEAR2: f32 = NEAR * NEAR;
const FAR2: f32 = FAR * FAR;
/// One over the product of a point's distances from the other finite ones.
const AT_ZERO: f64 = 1.0 / (NEAR2 as f64 * FAR2 as f64);
const AT_NEAR: f64 = 1.0 / (2.0 * NEAR2 as f64 * (NEAR2 as f64 - FAR2 as f64));
const AT_FAR: f64 = 1.0 / (2.0 * FAR2 as f64 * (FAR2 as f64 - NEAR2 as f64));

/// A transform of N lines to M. A tile takes it along its columns, then along its rows.
pub(super) trait Transform<const N: usize, const M: usize> {
    /// That of a line.
    fn line<S: Simd>(s: S, line: [S::F; N]) -> [S::F; M];

    /// That of a tile's columns.
    #[inline(always)]
    fn columns<S: Simd>(s: S, tile: [[S::F; N]; N]) -> [[S::F; N]; M] {
        let mut columns = [[s.zero(); N]; M];
        for x in 0..N {
            let mut column = [s.zero(); N];
            for y in 0..N {
                column[y] = tile[y][x];
            }
            let column = Self::line(s, column);
            for y in 0..M {
                columns[y][x] = column[y];
            }
        }
        columns
    }
}

/// Bᵀ·d: what the products take of the source.
pub(super) enum Source {}

impl Transform<POINTS, POINTS> for Source {
    #[inline(always)]
    fn line<S: Simd>(s: S, d: [S::F; POINTS]) -> [S::F; POINTS] {
        let (near2, far2) = (s.splat(-NEAR2), s.splat(-FAR2));
        let (sum, product) = (s.splat(-NEAR2 - FAR2), s.splat(NEAR2 * FAR2));
        let even = [s.mul_add(far2, d[2], d[4]), s.mul_add(near2, d[2], d[4])];
        let odd = [s.mul_add(far2, d[1], d[3]), s.mul_add(near2, d[1], d[3])];
        [
            s.mul_add(product, d[0], s.mul_add(sum, d[2], d[4])),
            s.mul_add(s.splat(NEAR), odd[0], even[0]),
            s.mul_add(s.splat(-NEAR), odd[0], even[0]),
            s.mul_add(s.splat(FAR), odd[1], even[1]),
            s.mul_add(s.splat(-FAR), odd[1], even[1]),
            s.mul_add(product, d[1], s.mul_add(sum, d[3], d[5])),
        ]
    }
}

/// G·g: what the products take of a kernel.
pub(super) enum Weights {}

impl Transform<TAPS, POINTS> for Weights {
    #[inline(always)]
    fn line<S: Simd>(s: S, g: [S::F; TAPS]) -> [S::F; POINTS] {
        let [near, minus_near] = weights_pair(s, g, AT_NEAR, NEAR as f64);
        let [far, minus_far] = weights_pair(s, g, AT_FAR, FAR as f64);
        [s.mul(s.splat(AT_ZERO as f32), g[0]), near, minus_near, far, minus_far, g[2]]
    }
}

/// A row of G: the powers of `point`, times `scale`.
const fn scaled(scale: f64, point: f64) -> [f32; TAPS] {
    [scale as f32, (scale * point) as f32, (scale * point * point) as f32]
}

/// A kernel at ±`point`, times `scale`.
#[inline(always)]
fn weights_pair<S: Simd>(s: S, g: [S::F; TAPS], scale: f64, point: f64) -> [S::F; 2] {
    let [one, odd, square] = scaled(scale, point);
    let even = s.mul_add(s.splat(square), g[2], s.mul(s.splat(one), g[0]));
    [s.mul_add(s.splat(odd), g[1], even), s.mul_add(s.splat(-odd), g[1], even)]
}

/// Aᵀ·m: the destination from the products.
pub(super) enum Destination {}

impl Transform<POINTS, OUT> for Destination {
    #[inline(always)]
    fn line<S: Simd>(s: S, m: [S::F; POINTS]) -> [S::F; OUT] {
        let (near, far) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
        let (near_odd, far_odd) = (s.sub(m[1], m[2]), s.sub(m[3], m[4]));
        let near_cubed = s.mul_add(s.splat(NEAR2 * NEAR), near_odd, m[5]);
        [
            s.add(m[0], s.add(near, far)),
            s.mul_add(s.splat(NEAR), near_odd, s.mul(s.splat(FAR), far_odd)),
            s.mul_add(s.splat(NEAR2), near, s.mul(s.splat(FAR2), far)),
            s.mul_add(s.splat(FAR2 * FAR), far_odd, near_cubed),
        ]
    }
}

/// A·d: what the products take of the destination's gradient.
pub(super) enum DestinationGradient {}

impl Transform<OUT, POINTS> for DestinationGradient {
    #[inline(always)]
    fn line<S: Simd>(s: S, d: [S::F; OUT]) -> [S::F; POINTS] {
        let (near2, far2) = (s.splat(NEAR2), s.splat(FAR2));
        let even = [s.mul_add(near2, d[2], d[0]), s.mul_add(far2, d[2], d[0])];
        let odd = [s.mul_add(near2, d[3], d[1]), s.mul_add(far2, d[3], d[1])];
        [
            d[0],
            s.mul_add(s.splat(NEAR), odd[0], even[0]),
            s.mul_add(s.splat(-NEAR), odd[0], even[0]),
            s.mul_add(s.splat(FAR), odd[1], even[1]),
            s.mul_add(s.splat(-FAR), odd[1], even[1]),
            d[3],
        ]
    }
}

/// Gᵀ·m: the gradient of a kernel from the products.
pub(super) enum WeightsGradient {}

impl Transform<POINTS, TAPS> for WeightsGradient {
    #[inline(always)]
    fn line<S: Simd>(s: S, m: [S::F; POINTS]) -> [S::F; TAPS] {
        let (near, far) = (s.add(m[1], m[2]), s.add(m[3], m[4]));
        let (near_odd, far_odd) = (s.sub(m[1], m[2]), s.sub(m[3], m[4]));
        let [near1, near_point, near_square] = scaled(AT_NEAR, NEAR as f64);
        let [far1, far_point, far_square] = scaled(AT_FAR, FAR as f64);
        let zero = s.mul(s.splat(AT_ZERO as f32), m[0]);
        [
            s.mul_add(s.splat(near1), near, s.mul_add(s.splat(far1), far, zero)),
            s.mul_add(s.splat(near_point), near_odd, s.mul(s.splat(far_point), far_odd)),
            s.mul_add(s.splat(near_square), near, s.mul_add(s.splat(far_square), far, m[5])),
        ]
    }
}
