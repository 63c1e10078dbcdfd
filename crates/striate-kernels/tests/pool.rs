//! Pooling against its reference, on every instruction set, for windows, strides, paddings, layouts and
//! numbers of channels of all kinds.

mod maps;

use maps::*;
use striate_kernels::pool::{self, Index, Pool2dGeometry};
use striate_kernels::{Context, Isa, Pixels, PixelsMut, Serial, reference};

const EPSILON: f64 = f32::EPSILON as f64;

/// Any geometry: padding up to the window's size, gaps, overlap, ceil mode, windows off the map.
fn random_geometry(random: &mut Random) -> Pool2dGeometry {
    let mut axis = || {
        let (input, kernel, stride) = (random.int(1, 9), random.int(1, 4), random.int(1, 3));
        let (before, after) = (random.int(0, kernel), random.int(0, kernel));
        let room = (before + input + after).saturating_sub(kernel);
        let output = if random.int(0, 1) == 0 { room / stride } else { room.div_ceil(stride) } + 1;
        (input, kernel, stride, before, after, output)
    };
    let (ih, kh, sh, pt, pb, oh) = axis();
    let (iw, kw, sw, pl, pr, ow) = axis();
    let channels = [1, 2, 3, 6, 7, 8, 15, 16, 17, 20, 31, 33, 64, 70, 130];
    let (n, c) = (random.int(1, 3), channels[random.int(0, channels.len() - 1)]);
    Pool2dGeometry { n, c, ih, iw, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr }
}

/// Random geometries, and those of well-known networks.
fn geometries(random: &mut Random) -> Vec<Pool2dGeometry> {
    let map = Pool2dGeometry::global(2, 6, 28, 28);
    let three = Pool2dGeometry { kh: 3, kw: 3, pt: 1, pl: 1, pb: 1, pr: 1, ..map };
    let known = [
        Pool2dGeometry { n: 5, oh: 14, ow: 14, kh: 2, kw: 2, sh: 2, sw: 2, ..map },
        Pool2dGeometry { c: 64, oh: 14, ow: 14, sh: 2, sw: 2, ..three },
        Pool2dGeometry { c: 20, oh: 28, ow: 28, ..three },
        Pool2dGeometry::global(2, 512, 7, 7),
        Pool2dGeometry::global(1, 1001, 7, 7),
    ];
    (0..60).map(|_| random_geometry(random)).chain(known).collect()
}

fn src_shape(g: &Pool2dGeometry) -> [usize; 4] {
    [g.n, g.c, g.ih, g.iw]
}

fn dst_shape(g: &Pool2dGeometry) -> [usize; 4] {
    [g.n, g.c, g.oh, g.ow]
}

fn len(shape: [usize; 4]) -> usize {
    shape.into_iter().product()
}

/// Dense maps, and maps that are slices of wider ones.
fn distances(g: &Pool2dGeometry) -> [(usize, usize); 3] {
    [(g.c, g.c), (g.c + 5, g.c), (g.c, g.c + 1)]
}

/// f32 values as f64.
fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// (n, oh, ow, c) in memory as (n, c, oh, ow).
fn planes<I: Index>(g: &Pool2dGeometry, indices: &[I]) -> Vec<f32> {
    let taps: Vec<f32> = indices.iter().map(|index| index.tap()).collect();
    to_nchw(dst_shape(g), &taps, g.c)
}

fn max_agrees<I: Index + Default>(seed: u64) {
    let mut random = Random::new(seed);
    for g in geometries(&mut random) {
        for (src_ld, dst_ld) in distances(&g) {
            // Few values, so that windows have several greatest elements; −∞ among them.
            let values = [f64::NEG_INFINITY, -2.0, -1.0, 0.5, 3.0];
            let src: Vec<f64> = (0..len(src_shape(&g))).map(|_| values[random.int(0, 4)]).collect();
            let d_dst = random.vec(len(dst_shape(&g)), 1.0, 0.0);
            let (map, d_map) = (to_nhwc(src_shape(&g), &src, src_ld), to_nhwc(dst_shape(&g), &d_dst, dst_ld));
            let compute = |cx: &Context| {
                let mut indices = vec![I::default(); d_dst.len()];
                let dst = written(dst_shape(&g), dst_ld, |dst| {
                    pool::max_forward_indexed(cx, &g, view(&map, src_ld), dst, &mut indices);
                });
                let plain =
                    written(dst_shape(&g), dst_ld, |dst| pool::max_forward(cx, &g, view(&map, src_ld), dst));
                let d_src = written(src_shape(&g), src_ld, |d_src| {
                    pool::max_backward(cx, &g, view(&d_map, dst_ld), &indices, d_src);
                });
                vec![dst, plain, planes(&g, &indices), d_src]
            };
            let (expected, taps) = reference::pool::max(&g, &src);
            let expected_d_src = reference::pool::max_backward(&g, &src, &d_dst);
            for_each_context(compute, |isa, results| {
                let what = format!("{g:?} {isa}");
                assert_eq!(double(&results[0]), expected, "{what}");
                assert_eq!(double(&results[1]), expected, "{what}, without indices");
                // The index of a window off the map means nothing.
                let inside = |window: usize| taps[window].is_some();
                for window in (0..taps.len()).filter(|window| inside(*window)) {
                    assert_eq!(Some(results[2][window] as usize), taps[window], "{what}, window {window}");
                }
                // Up to kh·kw windows add up, each term below 1, each sum rounding once.
                let terms = (g.kh * g.kw) as f64;
                assert_close(&what, &results[3], &expected_d_src, terms * EPSILON);
            });
        }
    }
}

#[test]
fn max_agrees_with_the_reference_by_u8() {
    max_agrees::<u8>(1);
}

#[test]
fn max_agrees_with_the_reference_by_u32() {
    max_agrees::<u32>(2);
}

#[test]
fn average_agrees_with_the_reference() {
    let mut random = Random::new(3);
    for (case, g) in geometries(&mut random).into_iter().enumerate() {
        for (src_ld, dst_ld) in distances(&g) {
            let count_include_pad = case % 2 == 0;
            let src = random.vec(len(src_shape(&g)), 1.0, 0.0);
            let d_dst = random.vec(len(dst_shape(&g)), 1.0, 0.0);
            let (map, d_map) = (to_nhwc(src_shape(&g), &src, src_ld), to_nhwc(dst_shape(&g), &d_dst, dst_ld));
            let compute = |cx: &Context| {
                let dst = written(dst_shape(&g), dst_ld, |dst| {
                    pool::average_forward(cx, &g, count_include_pad, view(&map, src_ld), dst);
                });
                let d_src = written(src_shape(&g), src_ld, |d_src| {
                    pool::average_backward(cx, &g, count_include_pad, view(&d_map, dst_ld), d_src);
                });
                vec![dst, d_src]
            };
            let expected = reference::pool::average(&g, count_include_pad, &src);
            let expected_d_src = reference::pool::average_backward(&g, count_include_pad, &d_dst);
            for_each_context(compute, |isa, results| {
                let what = format!("{g:?} {count_include_pad} {isa}");
                // Sums of up to kh·kw terms below 1, each rounding once; then a reciprocal and a product.
                let tolerance = ((g.kh * g.kw) as f64 + 2.0) * EPSILON;
                assert_close(&what, &results[0], &expected, tolerance);
                assert_close(&what, &results[1], &expected_d_src, tolerance);
            });
        }
    }
}

/// A row of four, window 3, stride 2, padding 1, with ceil mode's third window: one element, one column of
/// padding, one beyond it, which is not counted.
#[test]
fn windows_are_clipped_at_the_padding_before_counting() {
    let row = Pool2dGeometry::global(1, 1, 1, 4);
    let g = Pool2dGeometry { ow: 3, kw: 3, sw: 2, pl: 1, pr: 1, ..row };
    for (count_include_pad, expected) in [(true, [1.0, 3.0, 2.0]), (false, [1.5, 3.0, 4.0])] {
        let mut dst = [0.0; 3];
        let src = Pixels::new(&[1.0, 2.0, 3.0, 4.0], 1);
        pool::average_forward(
            &Context::new(&Serial),
            &g,
            count_include_pad,
            src,
            PixelsMut::new(&mut dst, 1),
        );
        assert_eq!(dst, expected);
    }
}

#[test]
fn indices_hold_every_tap() {
    fn check<I: Index>(taps: impl Iterator<Item = usize>) {
        for tap in taps.map(|tap| tap as f32) {
            assert_eq!(I::from_tap(tap).tap(), tap);
        }
    }
    check::<u8>(0..u8::MAX_TAPS);
    check::<u32>((0..u32::MAX_TAPS).step_by(4097).chain([u32::MAX_TAPS - 1]));
}

#[test]
fn nan_wins() {
    let map = Pool2dGeometry::global(1, 19, 4, 4);
    let g = Pool2dGeometry { oh: 2, ow: 2, kh: 2, kw: 2, sh: 2, sw: 2, ..map };
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        for tap in 0..4 {
            let mut src = vec![1.0; 16 * g.c];
            let (y, x) = (2 + tap / 2, tap % 2);
            src[(y * 4 + x) * g.c + 18] = f32::NAN;
            let (mut dst, mut indices) = (vec![0.0; 4 * g.c], vec![0u8; 4 * g.c]);
            let (from, to) = (Pixels::new(&src, g.c), PixelsMut::new(&mut dst, g.c));
            pool::max_forward_indexed(&cx, &g, from, to, &mut indices);
            let nan = 2 * g.c + 18;
            for output in 0..dst.len() {
                let (value, expected) = (dst[output], usize::from(output == nan) * tap);
                assert!(if output == nan { value.is_nan() } else { value == 1.0 }, "{output}: {value}");
                assert_eq!(usize::from(indices[output]), expected, "{output}");
            }
            pool::max_forward(&cx, &g, from, PixelsMut::new(&mut dst, g.c));
            assert!(dst[nan].is_nan());
        }
    }
}
