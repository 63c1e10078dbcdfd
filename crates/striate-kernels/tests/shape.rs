//! Kernels that repeat, sum, pad, resize and rearrange maps, against their references.

mod maps;

use maps::*;
use striate_kernels::broadcast::{self, Binary, Operand};
use striate_kernels::conv::Conv2dGeometry;
use striate_kernels::pad::{Margins, Pad2d, PadError, PadMode};
use striate_kernels::reduce::{self, Reduction};
use striate_kernels::upsample::{Interpolation, Resize2d};
use striate_kernels::{Context, PixelsMut, layout, local, reference};

const EPS: f64 = f32::EPSILON as f64;

/// (n, c, h, w) as the kernels' (n, h, w, c).
fn nhwc<T: Copy>([n, c, h, w]: [T; 4]) -> [T; 4] {
    [n, h, w, c]
}

/// All subsets of the four axes.
fn subsets() -> impl Iterator<Item = [bool; 4]> {
    (0..16).map(|bits| std::array::from_fn(|dim| bits >> dim & 1 == 1))
}

/// `shape` with extent 1 along `axes`.
fn shrink(shape: [usize; 4], axes: [bool; 4]) -> [usize; 4] {
    std::array::from_fn(|dim| if axes[dim] { 1 } else { shape[dim] })
}

#[test]
fn broadcasts_agree_with_the_reference() {
    let mut random = Random::new(1);
    for shape in [[2, 5, 3, 4], [3, 19, 2, 1], [1, 1, 7, 9], [2, 64, 17, 9], [3, 1, 1, 1]] {
        for (case, axes) in subsets().enumerate() {
            // One operand is full, or both repeat along different axes.
            let other = if case % 3 == 0 { axes.map(|repeats| !repeats) } else { [false; 4] };
            let (a_shape, b_shape) = (shrink(shape, other), shrink(shape, axes));
            let [a, b] = [a_shape, b_shape].map(|s| random.vec(s.iter().product(), 1.0, 0.0));
            let op = [Binary::Add, Binary::Mul][case % 2];
            let relu = case % 4 < 2;
            let f = |a: f64, b: f64| {
                let y = if op == Binary::Add { a + b } else { a * b };
                if relu { y.max(0.0) } else { y }
            };
            let expected = reference::broadcast::binary(f, (a_shape, &a), (b_shape, &b));
            for (flip, gap) in [(false, 0), (true, 0), (false, 3)] {
                let operands =
                    if flip { [(b_shape, &b), (a_shape, &a)] } else { [(a_shape, &a), (b_shape, &b)] };
                let memory = operands.map(|(s, x)| to_nhwc(s, x, s[1] + gap));
                let view = |k: usize| Operand {
                    shape: nhwc(operands[k].0),
                    pixels: view(&memory[k], operands[k].0[1] + gap),
                };
                let ld = shape[1] + gap;
                let compute = |cx: &Context| {
                    let binary = |dst: PixelsMut| {
                        broadcast::binary(cx, op, [view(0), view(1)], relu, nhwc(shape), dst);
                    };
                    let mut results = vec![written(shape, ld, binary)];
                    if operands[0].0 == shape {
                        let mut dst = memory[0].clone();
                        let own = PixelsMut::new(&mut dst, ld);
                        broadcast::binary_in_place(cx, op, view(1), relu, nhwc(shape), own);
                        results.push(to_nchw(shape, &dst, ld));
                    }
                    results
                };
                for_each_context(compute, |isa, got| {
                    for got in got {
                        let what =
                            format!("{shape:?} {a_shape:?} {op:?} {b_shape:?} flip {flip} gap {gap} {isa}");
                        assert_close(&what, &got, &expected, EPS / 2.0);
                    }
                });
            }
        }
    }
}

#[test]
fn sums_over_any_axes_agree_with_the_reference() {
    let mut random = Random::new(2);
    let shapes = [
        [2, 5, 3, 4],
        [3, 19, 2, 1],
        [1, 1, 7, 9],
        [2, 64, 17, 9],
        [37, 3, 5, 1],
        [2, 1, 300, 70],
        [70, 130, 2, 2],
        [1, 3, 150, 150],
    ];
    for shape in shapes {
        let src = random.vec(shape.iter().product(), 1.0, 0.5);
        for axes in subsets() {
            let expected = reference::reduce::sum(shape, axes, &src);
            let terms = src.len() / expected.len();
            let dst_shape = shrink(shape, axes);
            for gap in [0, 2] {
                let ld = [shape[1] + gap, dst_shape[1] + gap];
                let memory = to_nhwc(shape, &src, ld[0]);
                let op = Reduction { shape: nhwc(shape), axes: nhwc(axes), ld };
                assert_eq!(op.dst_shape(), nhwc(dst_shape));
                let compute = |cx: &Context| {
                    let mut workspace = vec![f32::NAN; op.workspace_len()];
                    vec![written(dst_shape, ld[1], |dst| {
                        op.run(cx, view(&memory, ld[0]), 0.5, dst, &mut workspace);
                    })]
                };
                for_each_context(compute, |isa, got| {
                    let expected: Vec<f64> = expected.iter().map(|x| x * 0.5).collect();
                    // Roundings grow like the root of their number; a chunk's longest chain is 4096.
                    let tolerance = EPS * (4.0 + (terms.min(4096) as f64).sqrt());
                    assert_close(
                        &format!("{shape:?} over {axes:?} gap {gap} {isa}"),
                        &got[0],
                        &expected,
                        tolerance,
                    );
                });
            }
        }
    }
}

#[test]
fn a_sum_over_nothing_is_zero() {
    let cx = Context::new(&striate_kernels::Serial);
    assert_eq!(reduce::sum_all(&cx, &[], &mut []), 0.0);
    let op = Reduction { shape: [0, 2, 2, 3], axes: [true, true, true, false], ld: [3, 3] };
    let mut dst = [7.0; 3];
    op.run(&cx, view(&[], 3), 1.0, PixelsMut::new(&mut dst, 3), &mut []);
    assert_eq!(dst, [0.0; 3]);
    // The sums' places count through a source that has none of them.
    for channels in [1, 3] {
        let shape = [0, 2, 2, channels];
        let op = Reduction { shape, axes: [true, false, false, false], ld: [5, 4] };
        let dst_shape = [1, channels, 2, 2];
        let dst = written(dst_shape, 4, |dst| op.run(&cx, view(&[], 5), 1.0, dst, &mut []));
        assert_eq!(dst, vec![0.0; 4 * channels]);
    }
}

#[test]
fn sums_of_everything() {
    let mut random = Random::new(3);
    for len in [1, 15, 16, 17, 1000, 16_384, 50_001, 200_000] {
        let src = random.vec(len, 1.0, 0.0);
        let memory = single(&src);
        let compute = |cx: &Context| {
            vec![vec![reduce::sum_all(cx, &memory, &mut vec![f32::NAN; reduce::sum_all_workspace_len(len)])]]
        };
        for_each_context(compute, |isa, got| {
            let tolerance = EPS * (len as f64).sqrt();
            assert_close(&format!("{len} {isa}"), &got[0], &[src.iter().sum()], tolerance);
        });
    }
}

#[test]
fn paddings_agree_with_the_reference() {
    let mut random = Random::new(4);
    let modes = [PadMode::Constant(-1.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular];
    for case in 0..60 {
        let shape = [random.int(1, 3), random.int(1, 20), random.int(2, 9), random.int(2, 30)];
        let [_, c, h, w] = shape;
        let mode = modes[case % 4];
        let channels = if case % 3 == 0 { 5 } else { 0 };
        let margins = Margins {
            top: random.int(0, h - 1),
            bottom: random.int(0, h - 1),
            left: random.int(0, w - 1),
            right: random.int(0, w - 1),
            channels_before: random.int(0, channels),
            channels_after: random.int(0, channels),
        };
        let op = Pad2d::new(nhwc(shape), margins, mode).unwrap();
        let [n, oh, ow, oc] = op.dst_shape();
        let dst_shape = [n, oc, oh, ow];
        let src = random.vec(shape.iter().product(), 1.0, 0.0);
        let d_dst = random.vec(dst_shape.iter().product(), 1.0, 0.0);
        let expected = [
            reference::pad::forward(shape, margins, mode, &src),
            reference::pad::backward(shape, margins, mode, &d_dst),
        ];
        for gap in [0, 3] {
            let (src, d_dst) = (to_nhwc(shape, &src, c + gap), to_nhwc(dst_shape, &d_dst, oc + gap));
            let compute = |cx: &Context| {
                vec![
                    written(dst_shape, oc + gap, |dst| op.forward(cx, view(&src, c + gap), dst)),
                    written(shape, c + gap, |d_src| op.backward(cx, view(&d_dst, oc + gap), d_src)),
                ]
            };
            for_each_context(compute, |isa, got| {
                let what = format!("{shape:?} {margins:?} {mode:?} gap {gap} {isa}");
                assert_close(&what, &got[0], &expected[0], 0.0);
                // A corner is copied to its margin's area; k terms sum up to √k, and round off as much √k times.
                let copies = (1 + margins.top.max(margins.bottom)) * (1 + margins.left.max(margins.right));
                assert_close(&what, &got[1], &expected[1], EPS * copies as f64);
            });
        }
    }
}

#[test]
fn impossible_paddings_are_refused_with_their_numbers() {
    let shape = [1, 4, 6, 3];
    let refused = |margins, mode| Pad2d::new(shape, margins, mode).unwrap_err().to_string();
    let bottom = |bottom| Margins { bottom, ..Margins::default() };
    assert!(Pad2d::new(shape, bottom(3), PadMode::Reflect).is_ok());
    assert_eq!(
        refused(bottom(4), PadMode::Reflect),
        "a margin of 4 rows cannot reflect 4: it must be smaller than the map"
    );
    assert!(Pad2d::new(shape, bottom(4), PadMode::Circular).is_ok());
    assert_eq!(refused(bottom(5), PadMode::Circular), "a circular margin of 5 rows exceeds the 4 of the map");
    assert!(Pad2d::new(shape, bottom(50), PadMode::Replicate).is_ok());
    let left = Margins { left: 1, ..Margins::default() };
    let empty = Pad2d::new([1, 4, 0, 3], left, PadMode::Replicate);
    assert_eq!(empty, Err(PadError::Empty { lines: "columns", margin: 1 }));
    assert!(refused(bottom(usize::MAX), PadMode::Constant(0.0)).contains("too large"));
}

#[test]
fn resizing_agrees_with_the_reference() {
    let mut random = Random::new(5);
    let modes = [
        Interpolation::Nearest,
        Interpolation::Bilinear { align_corners: false },
        Interpolation::Bilinear { align_corners: true },
    ];
    for case in 0..48 {
        let interpolation = modes[case % 3];
        let (n, c, ih, iw) = (random.int(1, 2), random.int(1, 40), random.int(1, 9), random.int(1, 9));
        let (oh, ow) = match case % 4 {
            0 => (2 * ih, 2 * iw),
            1 => (3 * ih, iw),
            _ => (random.int(1, 19), random.int(1, 19)),
        };
        let op = Resize2d { n, c, ih, iw, oh, ow, interpolation };
        let (shape, dst_shape) = ([n, c, ih, iw], [n, c, oh, ow]);
        let src = random.vec(shape.iter().product(), 1.0, 0.0);
        let d_dst = random.vec(dst_shape.iter().product(), 1.0, 0.0);
        let expected = [reference::upsample::forward(&op, &src), reference::upsample::backward(&op, &d_dst)];
        let ld = c + case % 2;
        let (src, d_dst) = (to_nhwc(shape, &src, ld), to_nhwc(dst_shape, &d_dst, ld));
        let compute = |cx: &Context| {
            vec![
                written(dst_shape, ld, |dst| op.forward(cx, view(&src, ld), dst)),
                written(shape, ld, |d_src| op.backward(cx, view(&d_dst, ld), d_src)),
            ]
        };
        for_each_context(compute, |isa, got| {
            assert_close(&format!("{op:?} ld {ld} {isa}"), &got[0], &expected[0], 4.0 * EPS);
            // All of the destination may read one pixel.
            let tolerance = 2.0 * EPS * ((oh * ow) as f64).sqrt();
            assert_close(&format!("{op:?} ld {ld} {isa}, backward"), &got[1], &expected[1], tolerance);
        });
    }
}

#[test]
fn bilinear_positions_are_those_of_pytorch() {
    // torch.nn.functional.interpolate(torch.tensor([[[[0., 1.]]]]), (1, 4), mode='bilinear', …)
    let along = |align_corners| {
        let taps = |at| Interpolation::Bilinear { align_corners }.taps(at, 2, 4);
        [0, 1, 2, 3].map(|at| taps(at).iter().map(|(from, weight)| *from as f32 * weight).sum::<f32>())
    };
    assert_eq!(along(false), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(along(true), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
}

#[test]
fn layouts_change_and_change_back() {
    let mut random = Random::new(6);
    for shape in [[1, 3, 5, 7], [2, 16, 4, 8], [3, 35, 9, 5], [2, 64, 14, 14], [1, 1, 3, 3], [0, 3, 2, 2]] {
        let [n, c, h, w] = shape;
        let src = random.vec(shape.iter().product(), 1.0, 0.0);
        let image = c * h * w;
        for gap in [0, 5] {
            let map = to_nhwc(shape, &src, c + gap);
            let flat = to_nhwc([n, image, 1, 1], &src, image + gap);
            let compute = |cx: &Context| {
                vec![
                    written(shape, c + gap, |dst| {
                        layout::nchw_to_nhwc(cx, nhwc(shape), view(&flat, image + gap), dst);
                    }),
                    written([n, image, 1, 1], image + gap, |dst| {
                        layout::nhwc_to_nchw(cx, nhwc(shape), view(&map, c + gap), dst);
                    }),
                ]
            };
            for_each_context(compute, |isa, got| {
                for got in got {
                    assert_close(&format!("{shape:?} gap {gap} {isa}"), &got, &src, 0.0);
                }
            });
        }
    }
}

#[test]
fn a_transpose_swaps_rows_and_columns() {
    for [rows, columns] in [[1, 1], [16, 16], [17, 31], [100, 3], [3, 100], [300, 70]] {
        let src: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let compute = |cx: &Context| {
            let mut dst = vec![f32::NAN; rows * columns];
            layout::transpose(cx, [rows, columns], view(&src, columns), PixelsMut::new(&mut dst, rows));
            vec![dst]
        };
        for_each_context(compute, |_, got| {
            for (at, x) in got[0].iter().enumerate() {
                assert_eq!(*x, src[at % rows * columns + at / rows], "{rows}×{columns}, element {at}");
            }
        });
    }
}

#[test]
fn bytes_become_normalised_floats() {
    let mean_std = [[0.485f32, 0.456, 0.406, 0.5, 0.1], [0.229f32, 0.224, 0.225, 0.5, 0.3]];
    for (channels, pixels, gap) in [(1, 17, 0), (3, 5000, 0), (3, 40, 1), (4, 100, 0), (5, 33, 0)] {
        let src: Vec<u8> = (0..pixels * channels).map(|i| (i * 37 % 256) as u8).collect();
        let norm = mean_std.each_ref().map(|x| &x[..channels]);
        let shape = [1, channels, 1, pixels];
        // The pixels as (c, pixels).
        let expected: Vec<f64> = (0..channels * pixels)
            .map(|i| {
                let c = i / pixels;
                (src[i % pixels * channels + c] as f64 / 255.0 - norm[0][c] as f64) / norm[1][c] as f64
            })
            .collect();
        let compute = |cx: &Context| {
            vec![written(shape, channels + gap, |dst| layout::normalize_bytes(cx, pixels, &src, norm, dst))]
        };
        for_each_context(compute, |isa, got| {
            // The term, up to 2.2, is rounded before the sum cancels.
            assert_close(&format!("{channels} channels {isa}"), &got[0], &expected, 3.0 * EPS);
        });
    }
}

#[test]
fn locally_connected_layers_agree_with_the_reference() {
    let mut random = Random::new(7);
    let problems = [
        "n1 ic1 ih5 iw5 oc1 kh3 kw3",
        "n5 ic3 ih7 iw6 oc5 kh3 kw3 ph1 pw1",
        "n9 ic6 ih8 iw9 oc67 kh3 kw2 sh2 sw2 ph1 pw1",
        "n2 ic17 ih6 iw7 oc16 kh2 kw3 dh2 dw2 pt1 pb0 pl2 pr1",
        "n4 ic4 ih9 iw9 oc130 kh1 kw1 sh3",
        "n3 ic5 ih2 iw2 oc33 kh5 kw5 ph3 pw3",
    ];
    for problem in problems {
        let g: Conv2dGeometry = problem.parse().unwrap();
        let (shape, dst_shape) = ([g.n, g.ic, g.ih, g.iw], [g.n, g.oc, g.oh(), g.ow()]);
        let src = random.vec(shape.iter().product(), 1.0, 0.0);
        let d_dst = random.vec(dst_shape.iter().product(), 1.0, 0.0);
        let weights = random.vec(local::weights_len(&g), 1.0, 0.0);
        let bias_shape = [1, g.oc, g.oh(), g.ow()];
        let bias = random.vec(local::bias_len(&g), 1.0, 0.0);
        let (d_weights, d_bias) = reference::local::backward_weights(&g, &src, &d_dst);
        let expected = [
            reference::local::forward(&g, &src, &weights, Some(&bias)),
            reference::local::forward(&g, &src, &weights, None),
            reference::local::backward_data(&g, &d_dst, &weights),
            d_weights,
            d_bias,
        ];
        let mut packed = vec![0.0; weights.len()];
        local::pack(&g, &single(&weights), &mut packed);
        let packed_bias = to_nhwc(bias_shape, &bias, g.oc);
        for gap in [0, 2] {
            let (ic, oc) = (g.ic + gap, g.oc + gap);
            let (src, d_dst) = (to_nhwc(shape, &src, ic), to_nhwc(dst_shape, &d_dst, oc));
            let compute = |cx: &Context| {
                let [with, without] = [Some(&packed_bias[..]), None].map(|bias| {
                    written(dst_shape, oc, |dst| local::forward(cx, &g, view(&src, ic), &packed, bias, dst))
                });
                let d_src = written(shape, ic, |d_src| {
                    local::backward_data(cx, &g, view(&d_dst, oc), &packed, d_src)
                });
                let (mut d_packed, mut d_weights) = (vec![f32::NAN; packed.len()], vec![0.0; packed.len()]);
                local::backward_weights(cx, &g, view(&src, ic), view(&d_dst, oc), &mut d_packed);
                local::unpack(&g, &d_packed, &mut d_weights);
                let d_bias = written(bias_shape, g.oc, |d_bias| {
                    local::backward_bias(cx, &g, view(&d_dst, oc), d_bias.data);
                });
                vec![with, without, d_src, d_weights, d_bias]
            };
            for_each_context(compute, |isa, got| {
                let terms = [g.kh * g.kw * g.ic, g.kh * g.kw * g.ic, g.kh * g.kw * g.oc, g.n, g.n];
                for (k, terms) in terms.into_iter().enumerate() {
                    // Sums of k terms are near √k, and round off as much √k times.
                    let tolerance = EPS * terms as f64;
                    assert_close(
                        &format!("{problem} result {k} gap {gap} {isa}"),
                        &got[k],
                        &expected[k],
                        tolerance,
                    );
                }
            });
        }
    }
}
