use super::*;

/// A block, its rows further apart than they are long, against its definition.
struct Transpose;

impl Kernel for Transpose {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (src_ld, dst_ld) = (11, 9);
        let src: Vec<f32> = (0..8 * src_ld).map(|i| i as f32).collect();
        let mut dst = vec![-1.0; 8 * dst_ld];
        // SAFETY: both hold 8 rows.
        unsafe { s.transpose8(src.as_ptr(), src_ld, dst.as_mut_ptr(), dst_ld) };
        for (at, x) in dst.iter().enumerate() {
            let (j, i) = (at / dst_ld, at % dst_ld);
            let expected = if i < 8 { src[i * src_ld + j] } else { -1.0 };
            assert_eq!(*x, expected, "row {j}, column {i}, {}", S::ISA);
        }
    }
}

#[test]
fn a_block_is_transposed() {
    for isa in Isa::present() {
        dispatch(isa, Transpose);
    }
}

/// Every vector operation against plain arithmetic, lane by lane.
struct Check;

impl Kernel for Check {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let a: Vec<f32> = (0..S::LANES).map(|i| i as f32 * 0.75 - 2.0).collect();
        let b: Vec<f32> = (0..S::LANES).map(|i| 3.0 - i as f32 * 0.5).collect();
        // SAFETY: `a`, `b` and `out` hold `LANES` floats.
        let (va, vb) = unsafe { (s.load(a.as_ptr()), s.load(b.as_ptr())) };
        let check = |name: &str, value: S::F, expected: &dyn Fn(usize) -> f32| {
            let mut out = vec![0.0; S::LANES];
            // SAFETY: as above.
            unsafe { s.store(out.as_mut_ptr(), value) };
            for lane in 0..S::LANES {
                assert_eq!(out[lane], expected(lane), "{name}, lane {lane}, {}", S::ISA);
            }
        };
        check("add", s.add(va, vb), &|i| a[i] + b[i]);
        check("sub", s.sub(va, vb), &|i| a[i] - b[i]);
        check("mul", s.mul(va, vb), &|i| a[i] * b[i]);
        check("div", s.div(va, s.splat(3.0)), &|i| a[i] / 3.0);
        check("mul_add", s.mul_add(va, vb, va), &|i| a[i].mul_add(b[i], a[i]));
        for len in 0..=S::LANES {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 % 251) as u8 + 4).collect();
            let mut copy = vec![0; S::LANES + 1];
            // SAFETY: there are `len` bytes, and place for more.
            unsafe {
                let read = s.load_u8(bytes.as_ptr(), len);
                check("load_u8", read, &|i| bytes.get(i).map_or(0.0, |byte| f32::from(*byte)));
                s.store_u8(copy.as_mut_ptr(), read, len);
            }
            assert!(
                copy[..len] == bytes && copy[len..].iter().all(|byte| *byte == 0),
                "store_u8, {len} lanes"
            );
        }
        check("max", s.max(va, vb), &|i| a[i].max(b[i]));
        check("min", s.min(va, vb), &|i| a[i].min(b[i]));
        check("sqrt", s.sqrt(s.mul(va, va)), &|i| a[i].abs());
        check("select_gt", s.select_gt(va, vb, va, s.zero()), &|i| if a[i] > b[i] { a[i] } else { 0.0 });
        let (two, nan) = (s.splat(a[2]), s.splat(f32::NAN));
        check("select_eq", s.select_eq(va, two, vb, s.zero()), &|i| if i == 2 { b[i] } else { 0.0 });
        check("select_eq NaN", s.select_eq(nan, nan, va, vb), &|i| b[i]);
        check("select_gt NaN", s.select_gt(nan, va, va, vb), &|i| b[i]);
        check("select_gt_or_nan", s.select_gt_or_nan(va, vb, va, vb), &|i| a[i].max(b[i]));
        check("select_gt_or_nan NaN first", s.select_gt_or_nan(nan, va, va, vb), &|i| a[i]);
        check("select_gt_or_nan NaN second", s.select_gt_or_nan(va, nan, va, vb), &|i| b[i]);
        check("max NaN", s.max(nan, va), &|i| a[i]);
        check("round", s.round(va), &|i| a[i].round_ties_even());
        check("exp2_int", s.exp2_int(s.round(va)), &|i| a[i].round_ties_even().exp2());
        assert_eq!(s.sum(va), a.iter().sum::<f32>(), "sum of exact values");
        assert_eq!(s.max_lane(va), a[S::LANES - 1]);
        for len in 0..S::LANES {
            let mut out = vec![7.0; S::LANES];
            // SAFETY: as above.
            unsafe { s.store_partial(out.as_mut_ptr(), s.load_partial(a.as_ptr(), len), len) };
            assert_eq!(out[..len], a[..len]);
            assert!(out[len..].iter().all(|x| *x == 7.0));
            // SAFETY: as above.
            unsafe { s.store(out.as_mut_ptr(), s.load_partial_or(a.as_ptr(), len, vb)) };
            assert_eq!((&out[..len], &out[len..]), (&a[..len], &b[len..]));
        }
    }
}

#[test]
fn operations_agree_with_plain_arithmetic() {
    for isa in Isa::present() {
        dispatch(isa, Check);
    }
}

#[test]
fn names_round_trip() {
    for isa in Isa::ALL {
        assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
    }
    assert!("sse9".parse::<Isa>().unwrap_err().contains("avx512"));
}

/// Reading, writing and multiplying bfloat16 against the definitions.
struct CheckBf16;

impl Kernel for CheckBf16 {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Numbers of all sizes, ties, infinities and NaN.
        let specials =
            [0x3F80_8000, 0x3F81_8000, 0x3F80_7FFF, 0x0000_8001, 0x7F7F_FFFF, 0xFF80_0000, 0x7F80_0001];
        let bits = |i: usize| (i as u32).wrapping_mul(0x9E37_79B9) ^ 0x3F00_0000;
        let values: Vec<f32> = specials.into_iter().chain((0..1000).map(bits)).map(f32::from_bits).collect();
        for values in values.chunks(S::LANES) {
            let expected: Vec<u16> = values.iter().map(|x| Bf16::from_f32(*x).to_bits()).collect();
            let mut out = [Bf16::from_bits(7); 16];
            let mut wide = [0.0f32; 16];
            let len = values.len();
            // SAFETY: `values` holds `len` floats, `out` and `wide` a vector.
            unsafe {
                s.store_up_to(out.as_mut_ptr(), s.load_up_to(values.as_ptr(), len), len);
                s.store(wide.as_mut_ptr(), s.load(out.as_ptr()));
            }
            let (written, kept) = out.split_at(len);
            assert_eq!(written.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected, "{}", S::ISA);
            assert!(kept.iter().all(|x| x.to_bits() == 7));
            for (wide, half) in wide.iter().zip(&out).take(S::LANES) {
                assert_eq!(wide.to_bits(), half.to_f32().to_bits());
            }
        }
        let halves: Vec<Bf16> = (0..2 * S::LANES).map(|i| Bf16::from_f32(i as f32 * 0.75 - 5.0)).collect();
        let others: Vec<Bf16> = (0..2 * S::LANES).map(|i| Bf16::from_f32(3.0 - i as f32 * 0.5)).collect();
        let mut sums = [0.0f32; 16];
        // SAFETY: as many pairs as lanes; the sums hold a vector.
        unsafe {
            let (a, b) = (s.load(halves.as_ptr().cast::<f32>()), s.load(others.as_ptr().cast::<f32>()));
            s.store(sums.as_mut_ptr(), s.dot_bf16(s.splat(0.5), a, b));
            let mut pairs = [Bf16::ZERO; 32];
            s.store(pairs.as_mut_ptr().cast::<f32>(), s.pair_bf16(s.low_bf16(a), s.high_bf16(a)));
            assert_eq!(pairs[..2 * S::LANES], halves);
        }
        for lane in 0..S::LANES {
            let product = |i: usize| halves[i].to_f32() * others[i].to_f32();
            assert_eq!(
                sums[lane],
                0.5 + product(2 * lane) + product(2 * lane + 1),
                "lane {lane}, {}",
                S::ISA
            );
        }
        for len in 0..S::LANES {
            let mut out = [0.0f32; 16];
            // SAFETY: as above.
            unsafe { s.store(out.as_mut_ptr(), s.load_partial_or(halves.as_ptr(), len, s.splat(9.0))) };
            for lane in 0..S::LANES {
                assert_eq!(out[lane], if lane < len { halves[lane].to_f32() } else { 9.0 });
            }
        }
    }
}

#[test]
fn bfloat16_is_read_written_and_multiplied() {
    for isa in Isa::present() {
        dispatch_dot(isa, CheckBf16);
    }
}
