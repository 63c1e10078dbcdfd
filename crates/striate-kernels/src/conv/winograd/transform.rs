//! The transforms of F(4×4, 3×3) and F(2×2, 5×5), a line at a time; a tile is transformed along its columns, then its
//! rows.
//!
//! A line of m pixels of the destination takes m + r − 1 of the source where a line of the kernel has r taps, and as many
//! points at which polynomials are evaluated: both filterings have six, and the transform of the source in common. The
//! points are 0, ±[`NEAR`], ±[`FAR`] and ∞. With these, rather than the usual 0, ±1, ±2, ∞, the matrices' entries differ
//! less in size and the error is about a quarter; being short binary fractions, their powers are exact.

use crate::simd::Simd;

/// Lines of a tile of the source, which are as many as the points.
pub(super) const POINTS: usize = 6;
/// Lines of the largest kernel.
pub(super) const MAX_TAPS: usize = 5;

const NEAR: f32 = 11.0 / 16.0;
const FAR: f32 = 11.0 / 8.0;
const NEAR2: f32 = NEAR * NEAR;
const FAR2: f32 = FAR * FAR;

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

/// A line's elements as a polynomial's coefficients: its values at the points. `WEIGHTED` by one over the product of a
/// point's distances from the other finite ones.
pub(super) enum Evaluate<const WEIGHTED: bool> {}

/// The transpose of [`Evaluate`].
pub(super) enum Transposed<const WEIGHTED: bool> {}

/// G·g: what the products take of a kernel.
pub(super) type Weights = Evaluate<true>;
/// A·d: what the products take of the destination's gradient.
pub(super) type DestinationGradient = Evaluate<false>;
/// Aᵀ·m: the destination from the products.
pub(super) type Destination = Transposed<false>;
/// Gᵀ·m: the gradient of a kernel from the products.
pub(super) type WeightsGradient = Transposed<true>;

/// The matrix of [`Evaluate`]: the first entry of the row of 0, the other entries of which are 0, and the rows of `NEAR`
/// and `FAR`, whose odd entries change their sign in those of the negative points. The row of ∞ has a 1 in the end.
struct Matrix {
    zero: f32,
    near: [f32; MAX_TAPS],
    far: [f32; MAX_TAPS],
}

impl Matrix {
    const fn new(weighted: bool) -> Self {
        let (near2, far2) = (NEAR2 as f64, FAR2 as f64);
        let [zero, near, far] = if weighted {
            [near2 * far2, 2.0 * near2 * (near2 - far2), 2.0 * far2 * (far2 - near2)]
        } else {
            [1.0; 3]
        };
        Self {
            zero: (1.0 / zero) as f32,
            near: powers(1.0 / near, NEAR as f64),
            far: powers(1.0 / far, FAR as f64),
        }
    }
}

/// The powers of `point`, times `scale`.
const fn powers(scale: f64, point: f64) -> [f32; MAX_TAPS] {
    let square = point * point;
    [
        scale as f32,
        (scale * point) as f32,
        (scale * square) as f32,
        (scale * square * point) as f32,
        (scale * square * square) as f32,
    ]
}

impl<const WEIGHTED: bool, const N: usize> Transform<N, POINTS> for Evaluate<WEIGHTED> {
    #[inline(always)]
    fn line<S: Simd>(s: S, line: [S::F; N]) -> [S::F; POINTS] {
        let Matrix { zero, near, far } = const { Matrix::new(WEIGHTED) };
        let [near, minus_near] = evaluate_pair(s, line, near, NEAR2);
        let [far, minus_far] = evaluate_pair(s, line, far, FAR2);
        [s.mul(s.splat(zero), line[0]), near, minus_near, far, minus_far, line[N - 1]]
    }
}

/// The values at a point, whose row is given, and at its negative.
#[inline(always)]
fn evaluate_pair<S: Simd, const N: usize>(
    s: S,
    line: [S::F; N],
    row: [f32; MAX_TAPS],
    square: f32,
) -> [S::F; 2] {
    let (mut even, mut odd) = (s.mul(s.splat(row[0]), line[0]), line[1]);
    if N > 2 {
        even = s.mul_add(s.splat(row[2]), line[2], even);
    }
    if N > 3 {
        odd = s.mul_add(s.splat(square), line[3], odd);
    }
    if N > 4 {
        even = s.mul_add(s.splat(row[4]), line[4], even);
    }
    [s.mul_add(s.splat(row[1]), odd, even), s.mul_add(s.splat(-row[1]), odd, even)]
}

impl<const WEIGHTED: bool, const N: usize> Transform<POINTS, N> for Transposed<WEIGHTED> {
    #[inline(always)]
    fn line<S: Simd>(s: S, line: [S::F; POINTS]) -> [S::F; N] {
        let Matrix { zero, near, far } = const { Matrix::new(WEIGHTED) };
        let even = [s.add(line[1], line[2]), s.add(line[3], line[4])];
        let odd = [s.sub(line[1], line[2]), s.sub(line[3], line[4])];
        let mut sums = [s.zero(); N];
        for i in 0..N {
            let [at_near, at_far] = if i % 2 == 0 { even } else { odd };
            let far = s.splat(far[i]);
            let rest = if i == 0 {
                s.mul_add(far, at_far, s.mul(s.splat(zero), line[0]))
            } else if i == N - 1 {
                s.mul_add(far, at_far, line[POINTS - 1])
            } else {
                s.mul(far, at_far)
            };
            sums[i] = s.mul_add(s.splat(near[i]), at_near, rest);
        }
        sums
    }
}
