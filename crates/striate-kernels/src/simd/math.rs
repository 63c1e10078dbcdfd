//! Elementary functions on vectors. NaN in, NaN out; infinities give the limits.

use super::Simd;

/// c₀ + c₁x + c₂x² + … by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, coefficients: [f32; N]) -> S::F {
    let mut sum = s.splat(coefficients[N - 1]);
    for k in (0..N - 1).rev() {
        sum = s.mul_add(sum, x, s.splat(coefficients[k]));
    }
    sum
}

/// |x|
#[inline(always)]
pub fn abs<S: Simd>(s: S, x: S::F) -> S::F {
    s.max(x, s.sub(s.zero(), x))
}

/// eˣ within 1.1 ulp; subnormal results included.
///
/// x = k·ln 2 + r with |r| ≤ ln 2 / 2, and eʳ by the polynomial of Cephes' `expf`.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Outside these bounds the result is 0 or infinity. NaN passes: min and max return their second operand.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (k, part) = exp_parts(s, x);
    let e = s.add(part, s.splat(1.0));
    // 2ᵏ in two factors: k reaches −150 and 128, beyond the exponents of normal numbers.
    let half = s.round(s.mul(k, s.splat(0.5)));
    s.mul(s.mul(e, s.exp2_int(half)), s.exp2_int(s.sub(k, half)))
}

/// k and eʳ − 1 with x = k·ln 2 + r, |r| ≤ ln 2 / 2.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let k = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, so that k times the first is exact and r keeps full precision.
    let r = s.mul_add(k, s.splat(-355.0 / 512.0), x);
    let r = s.mul_add(k, s.splat(2.121_944_4e-4), r);
    let q =
        polynomial(s, r, [0.5, 1.666_666_5e-1, 4.166_579_6e-2, 8.333_452e-3, 1.398_199_9e-3, 1.987_569_2e-4]);
    (k, s.mul_add(q, s.mul(r, r), r))
}

/// eˣ − 1 within 2 ulp, for small x too; infinite from 88 on.
#[inline(always)]
pub fn exp_m1<S: Simd>(s: S, x: S::F) -> S::F {
    let bounded = s.max(s.splat(-30.0), s.min(s.splat(88.0), x));
    let (k, part) = exp_parts(s, bounded);
    let power = s.exp2_int(k);
    let y = s.mul_add(part, power, s.sub(power, s.splat(1.0)));
    s.select_gt(x, s.splat(88.0), s.splat(f32::INFINITY), y)
}

/// The error function within 2 ulp.
///
/// Up to 1 an odd polynomial; beyond it 1 − e^(−x·p(x)) with a polynomial p, which from 4 on rounds to 1. The
/// coefficients interpolate erf(x)/x − 1 in x² and −ln(1 − erf x)/x in the zeros of Chebyshev polynomials.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let square = s.mul(x, x);
    let near = polynomial(
        s,
        square,
        [
            0.128_379_17,
            -0.376_126_26,
            0.112_835_94,
            -0.026_854_211,
            0.005_189_087,
            -8.016_864_3e-4,
            7.875_875e-5,
        ],
    );
    let near = s.mul_add(near, x, x);
    let size = s.min(s.splat(4.0), abs(s, x));
    let p = polynomial(
        s,
        size,
        [
            1.128_645_8,
            0.635_079_2,
            0.106_475_14,
            -0.024_052_113,
            0.003_811_216,
            -3.701_316_3e-4,
            1.637_180_5e-5,
        ],
    );
    let far = s.sub(one, exp(s, s.sub(s.zero(), s.mul(size, p))));
    let far = s.select_gt(s.zero(), x, s.sub(s.zero(), far), far);
    s.select_gt(size, one, far, near)
}

/// ln(1 + eˣ), for x of any size.
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let small = exp(s, s.sub(s.zero(), abs(s, x)));
    s.add(s.max(s.zero(), x), ln_1p_unit(s, small))
}

/// The greatest integer that is not greater.
#[inline(always)]
pub fn floor<S: Simd>(s: S, x: S::F) -> S::F {
    let rounded = s.round(x);
    s.select_gt(rounded, x, s.sub(rounded, s.splat(1.0)), rounded)
}

/// `f` of each lane: for functions that are not written in vectors.
#[inline(always)]
pub fn by_lanes<S: Simd, const N: usize>(s: S, x: [S::F; N], f: impl Fn([f32; N]) -> f32) -> S::F {
    const MOST: usize = 16;
    const { assert!(S::LANES <= MOST) };
    let mut lanes = [[0.0; MOST]; N];
    let mut values = [0.0; MOST];
    for n in 0..N {
        // SAFETY: there is room for all lanes.
        unsafe { s.store_f32(lanes[n].as_mut_ptr(), x[n]) };
    }
    for lane in 0..S::LANES {
        let mut operands = [0.0; N];
        for n in 0..N {
            operands[n] = lanes[n][lane];
        }
        values[lane] = f(operands);
    }
    // SAFETY: as above.
    unsafe { s.load_f32(values.as_ptr()) }
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.zero(), x))))
}

/// tanh x within 3 ulp, for small x too.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let (one, two) = (s.splat(1.0), s.splat(2.0));
    // Near 0 an odd polynomial (Cephes' `tanhf`): 1 − 2/(e²ˣ + 1) would cancel.
    let square = s.mul(x, x);
    let near =
        polynomial(s, square, [-0.333_332_8, 0.133_314_42, -0.053_739_715, 2.063_909e-2, -5.704_988_7e-3]);
    let near = s.mul_add(s.mul(near, square), x, x);
    let size = abs(s, x);
    let far = s.sub(one, s.div(two, s.add(exp(s, s.mul(two, size)), one)));
    let far = s.select_gt(s.zero(), x, s.sub(s.zero(), far), far);
    s.select_gt(size, s.splat(0.625), far, near)
}

/// ln(1 + x) for 0 ≤ x ≤ 1, within 3 ulp.
///
/// ln(1 + x) = 2 artanh t = 2(t + t³/3 + t⁵/5 + …) with t = x / (2 + x) ≤ 1/3, so eight terms suffice.
#[inline(always)]
pub fn ln_1p_unit<S: Simd>(s: S, x: S::F) -> S::F {
    let two = s.splat(2.0);
    let t = s.div(x, s.add(two, x));
    let terms: [f32; 7] = std::array::from_fn(|k| 2.0 / (2 * k + 3) as f32);
    let square = s.mul(t, t);
    s.mul_add(s.mul(polynomial(s, square, terms), square), t, s.mul(two, t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel, dispatch};

    /// `values`, a function of each lane.
    struct Apply<'a>(Function, &'a mut [f32]);

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        Sigmoid,
        Tanh,
        Ln1p,
        ExpM1,
        Erf,
        Softplus,
        Floor,
        Log,
    }

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for chunk in self.1.chunks_mut(S::LANES) {
                let (data, len) = (chunk.as_mut_ptr(), chunk.len());
                // SAFETY: `chunk` holds `len` floats.
                let x = unsafe { s.load_up_to(data, len) };
                let y = match self.0 {
                    Function::Exp => exp(s, x),
                    Function::Sigmoid => sigmoid(s, x),
                    Function::Tanh => tanh(s, x),
                    Function::Ln1p => ln_1p_unit(s, x),
                    Function::ExpM1 => exp_m1(s, x),
                    Function::Erf => erf(s, x),
                    Function::Softplus => softplus(s, x),
                    Function::Floor => floor(s, x),
                    Function::Log => by_lanes(s, [x], |[x]| x.ln()),
                };
                // SAFETY: as above.
                unsafe { s.store_up_to(data, y, len) };
            }
        }
    }

    fn evaluate(isa: Isa, function: Function, arguments: &[f32]) -> Vec<f32> {
        let mut values = arguments.to_vec();
        dispatch(isa, Apply(function, &mut values));
        values
    }

    /// The distance between neighbouring floats at `x`.
    fn ulp(x: f64) -> f64 {
        let exponent = x.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
        2f64.powi(exponent - 23)
    }

    #[test]
    fn functions_are_accurate_over_their_ranges() {
        let sweep = |from: f32, to: f32| -> Vec<f32> {
            (0..=200_003).map(|i| from + (to - from) * i as f32 / 200_003.0).collect()
        };
        let small = |range: Vec<f32>| -> Vec<f32> {
            range.into_iter().chain((1..120).flat_map(|e| [1.37 * 0.5f32.powi(e), -0.5f32.powi(e)])).collect()
        };
        type Case = (Function, Vec<f32>, fn(f64) -> f64, f64);
        /// The error function by its series, or the continued fraction of its complement.
        fn exact_erf(x: f64) -> f64 {
            if x.abs() > 2.5 {
                let t = x.abs();
                let fraction = (1..=60).rev().fold(t, |f, k| t + k as f64 / 2.0 / f);
                return x.signum() * (1.0 - (-t * t).exp() / (std::f64::consts::PI.sqrt() * fraction));
            }
            let (mut term, mut sum) = (x, x);
            for k in 1..60 {
                term *= -x * x / k as f64;
                sum += term / (2 * k + 1) as f64;
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        }
        let cases: [Case; 9] = [
            (Function::ExpM1, small(sweep(-35.0, 87.9)), f64::exp_m1, 2.0),
            (Function::Erf, small(sweep(-4.5, 4.5)), exact_erf, 2.5),
            (Function::Softplus, small(sweep(-80.0, 80.0)), |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 4.0),
            (Function::Floor, sweep(-1000.0, 1000.0), f64::floor, 0.0),
            (Function::Log, sweep(1e-3, 1000.0), f64::ln, 1.5),
            (Function::Exp, sweep(-104.0, 88.7), f64::exp, 1.1),
            (Function::Sigmoid, sweep(-80.0, 30.0), |x| 1.0 / (1.0 + (-x).exp()), 2.6),
            (Function::Tanh, small(sweep(-10.0, 10.0)), f64::tanh, 3.0),
            (Function::Ln1p, sweep(0.0, 1.0), f64::ln_1p, 3.0),
        ];
        for isa in Isa::present() {
            for (function, arguments, exact, tolerance) in &cases {
                for (x, y) in arguments.iter().zip(evaluate(isa, *function, arguments)) {
                    let expected = exact(f64::from(*x));
                    let error = (f64::from(y) - expected).abs() / ulp(expected);
                    assert!(error <= *tolerance, "{function:?}({x}) = {y}, off by {error} ulp ({isa})");
                }
            }
        }
    }

    #[test]
    fn limits_and_nan() {
        let arguments = [f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, f32::NAN, 0.0, 88.8];
        for isa in Isa::present() {
            let expect = |function, expected: [f32; 7]| {
                for (index, y) in evaluate(isa, function, &arguments).into_iter().enumerate() {
                    let same = y == expected[index] || y.is_nan() && expected[index].is_nan();
                    assert!(same, "{function:?}({}) = {y} ({isa})", arguments[index]);
                }
            };
            let (infinity, nan) = (f32::INFINITY, f32::NAN);
            expect(Function::Exp, [infinity, 0.0, infinity, 0.0, nan, 1.0, infinity]);
            expect(Function::Sigmoid, [1.0, 0.0, 1.0, 0.0, nan, 0.5, 1.0]);
            expect(Function::Tanh, [1.0, -1.0, 1.0, -1.0, nan, 0.0, 1.0]);
            expect(Function::ExpM1, [infinity, -1.0, infinity, -1.0, nan, 0.0, infinity]);
            expect(Function::Erf, [1.0, -1.0, 1.0, -1.0, nan, 0.0, 1.0]);
            expect(Function::Softplus, [infinity, 0.0, 1e30, 0.0, nan, std::f32::consts::LN_2, 88.8]);
            expect(Function::Floor, [infinity, -infinity, 1e30, -1e30, nan, 0.0, 88.0]);
        }
    }
}
