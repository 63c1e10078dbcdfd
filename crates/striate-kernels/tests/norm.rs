//! Batch and local response normalisation against their references.

mod maps;

use maps::*;
use striate_kernels::batch_norm::{self, BatchNorm, Epilogue, Gate, Gradients, Normalizer, Running};
use striate_kernels::lrn::LocalResponseNorm;
use striate_kernels::{Context, PixelsMut, reference};

const EPS: f64 = f32::EPSILON as f64;

/// Maps whose channels straddle vector widths and whose pixels straddle chunks.
const SHAPES: [[usize; 4]; 8] = [
    [1, 1, 1, 2],
    [3, 3, 5, 4],
    [2, 16, 9, 7],
    [2, 17, 8, 3],
    [1, 64, 11, 13],
    [2, 83, 3, 5],
    [3, 200, 6, 7],
    [2, 5, 57, 71],
];

#[test]
fn batch_norm_statistics_are_accurate_however_far_the_mean() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [n, channels, h, w] = shape;
        for offset in [0.0, 3.0, 1e4] {
            let mut random = Random::new(seed as u64);
            let src = random.vec(n * channels * h * w, 1.0, offset);
            let (mean, variance) = reference::batch_norm::statistics(shape, &src);
            let old = [random.vec(channels, 1.0, 0.0), random.vec(channels, 0.5, 1.0)];
            let expected_running =
                reference::batch_norm::update_running([&old[0], &old[1]], [&mean, &variance], n * h * w, 0.1);
            let inv_std: Vec<f64> = variance.iter().map(|v| 1.0 / (v + 1e-5).sqrt()).collect();
            let op = BatchNorm { pixels: n * h * w, channels, epsilon: 1e-5 };
            for ld in [channels, channels + 3] {
                let map = to_nhwc(shape, &src, ld);
                let compute = |cx: &Context| {
                    let (mut mean, mut inv_std) = (vec![0.0; channels], vec![0.0; channels]);
                    let [mut running_mean, mut running_variance] = [single(&old[0]), single(&old[1])];
                    let running =
                        Running { mean: &mut running_mean, variance: &mut running_variance, momentum: 0.1 };
                    let mut workspace = vec![f32::NAN; op.workspace_len()];
                    let src = view(&map, ld);
                    op.statistics(cx, src, &mut mean, &mut inv_std, Some(running), &mut workspace);
                    vec![mean, inv_std, running_mean, running_variance]
                };
                for_each_context(compute, |isa, got| {
                    let what = |name: &str| format!("{name} {shape:?} ld {ld} offset {offset} {isa}");
                    // Sums of up to 4096 terms in segments of 64 round off some 64 + 64 times at worst.
                    assert_close(&what("mean"), &got[0], &mean, 2.0 * EPS);
                    assert_close(&what("inv_std"), &got[1], &inv_std, 64.0 * EPS);
                    assert_close(&what("running mean"), &got[2], &expected_running.0, 4.0 * EPS);
                    assert_close(&what("running variance"), &got[3], &expected_running.1, 64.0 * EPS);
                });
            }
        }
    }
}

/// What followed the normalisation, in each of its forms.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Follow {
    Nothing,
    Relu,
    AddRelu,
}

#[test]
fn batch_norm_and_its_gradients_agree_with_the_reference() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for follow in [Follow::Nothing, Follow::Relu, Follow::AddRelu] {
            for in_place in [false, true] {
                check_batch_norm(seed as u64, shape, follow, in_place);
            }
        }
    }
}

fn check_batch_norm(seed: u64, shape: [usize; 4], follow: Follow, in_place: bool) {
    let [n, channels, h, w] = shape;
    let epsilon = 1e-3f32;
    let mut random = Random::new(seed + 100);
    let len = n * channels * h * w;
    let [src, residual, d_dst] = [2.0, 0.5, 0.0].map(|offset| random.vec(len, 1.0, offset));
    let [scale, bias] = [1.0, 0.0].map(|offset| random.vec(channels, 0.5, offset));

    let (mean, variance) = reference::batch_norm::statistics(shape, &src);
    let affine = [&mean[..], &variance, &scale, &bias];
    let mut dst = reference::batch_norm::normalize(shape, &src, affine, epsilon as f64);
    if follow == Follow::AddRelu {
        dst.iter_mut().zip(&residual).for_each(|(y, r)| *y += r);
    }
    let mut gradient = d_dst.clone();
    if follow != Follow::Nothing {
        // An output this near zero may fall on the other side of the ReLU by rounding.
        assert!(dst.iter().all(|y| y.abs() > 1e-6), "unlucky seed");
        gradient.iter_mut().zip(&dst).for_each(|(g, y)| *g *= f64::from(*y > 0.0));
        dst.iter_mut().for_each(|y| *y = y.max(0.0));
    }
    let expected = reference::batch_norm::backward(shape, &src, &gradient, &scale, epsilon as f64);

    let op = BatchNorm { pixels: n * h * w, channels, epsilon };
    for ld in [channels, channels + 5] {
        let [src, residual, d_dst] = [&src, &residual, &d_dst].map(|x| to_nhwc(shape, x, ld));
        let [scale, bias] = [&scale, &bias].map(|x| single(x));
        let compute = |cx: &Context| {
            let (mut mean, mut inv_std) = (vec![0.0; channels], vec![0.0; channels]);
            let mut workspace = vec![f32::NAN; op.workspace_len()];
            op.statistics(cx, view(&src, ld), &mut mean, &mut inv_std, None, &mut workspace);
            let norm = Normalizer { mean: &mean, inv_std: &inv_std, scale: &scale, bias: &bias };
            let add = (follow == Follow::AddRelu).then_some(view(&residual, ld));
            let epilogue = Epilogue { residual: add, relu: follow != Follow::Nothing };
            let mut dst = blank(shape, ld);
            let into = PixelsMut::new(&mut dst, ld);
            op.normalize(cx, view(&src, ld), norm, epilogue, into, &mut workspace);
            let gate = match follow {
                Follow::Nothing => Gate::Open,
                Follow::Relu => Gate::Relu,
                Follow::AddRelu => Gate::ReluOf(view(&dst, ld)),
            };
            let [mut d_scale, mut d_bias] = [0.0; 2].map(|x| vec![x; channels]);
            // Whatever may be overwritten is, where `in_place`.
            let mut d_residual = if in_place { d_dst.clone() } else { blank(shape, ld) };
            let mut d_src = if in_place { src.clone() } else { blank(shape, ld) };
            workspace.fill(f32::NAN);
            let has_residual = follow == Follow::AddRelu;
            let grads = Gradients {
                d_src: PixelsMut::new(&mut d_src, ld),
                d_residual: has_residual.then(|| PixelsMut::new(&mut d_residual, ld)),
                d_scale: &mut d_scale,
                d_bias: &mut d_bias,
            };
            let maps =
                [(!in_place).then(|| view(&src, ld)), (!in_place || !has_residual).then(|| view(&d_dst, ld))];
            op.backward(cx, maps, gate, norm, grads, &mut workspace);
            let d_src = to_nchw(shape, &d_src, ld);
            vec![to_nchw(shape, &dst, ld), d_src, d_scale, d_bias, to_nchw(shape, &d_residual, ld)]
        };
        for_each_context(compute, |isa, got| {
            let what = |name: &str| format!("{name} {shape:?} {follow:?} in place {in_place} ld {ld} {isa}");
            // Two pixels can lie so near that x̂ magnifies an error in x − μ by up to 1/√ε.
            let steep = variance.iter().map(|v| 1.0 / (v + epsilon as f64).sqrt()).fold(1.0, f64::max);
            assert_close(&what("dst"), &got[0], &dst, 16.0 * EPS * steep);
            assert_close(&what("d_src"), &got[1], &expected.0, 64.0 * EPS * steep * steep);
            // Sums over the pixels, of terms up to 2.
            let sums = 4.0 * EPS * ((n * h * w) as f64).sqrt() * steep;
            assert_close(&what("d_scale"), &got[2], &expected.1, 16.0 * sums);
            assert_close(&what("d_bias"), &got[3], &expected.2, sums);
            if follow == Follow::AddRelu {
                assert_close(&what("d_residual"), &got[4], &gradient, 0.0);
            }
        });
    }
}

#[test]
fn batch_norm_statistics_show_divergence() {
    let (pixels, channels) = (500, 20);
    let op = BatchNorm { pixels, channels, epsilon: 1e-5 };
    let one_element = |value: f32| {
        let mut src = vec![1.0; pixels * channels];
        src[321 * channels + 7] = value;
        src
    };
    // The square of 1e30 is infinite.
    let diverged = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30].map(one_element);
    for src in diverged {
        let compute = |cx: &Context| {
            let [mut mean, mut inv_std, mut running_mean, mut running_variance] =
                [0.0, 0.0, 0.0, 1.0].map(|x| vec![x; channels]);
            let running = Running { mean: &mut running_mean, variance: &mut running_variance, momentum: 0.1 };
            let mut workspace = vec![f32::NAN; op.workspace_len()];
            let src = view(&src, channels);
            op.statistics(cx, src, &mut mean, &mut inv_std, Some(running), &mut workspace);
            vec![inv_std, running_variance]
        };
        for_each_context(compute, |isa, got| {
            for (c, (inv_std, variance)) in got[0].iter().zip(&got[1]).enumerate() {
                assert_eq!([inv_std.is_nan(), variance.is_nan()], [c == 7; 2], "channel {c}, {isa}");
            }
        });
    }
}

#[test]
fn gates_let_gradients_of_nan_through() {
    let (pixels, channels) = (3, 19);
    let op = BatchNorm { pixels, channels, epsilon: 1e-5 };
    let mut bias = vec![-1.0; channels];
    bias[18] = f32::NAN;
    let [src, d_dst, mean, one] =
        [(0.0, pixels), (2.0, pixels), (0.0, 1), (1.0, 1)].map(|(x, rows)| vec![x; rows * channels]);
    let norm = Normalizer { mean: &mean, inv_std: &one, scale: &one, bias: &bias };
    for is_given in [false, true] {
        let compute = |cx: &Context| {
            let mut workspace = vec![0.0; op.workspace_len()];
            let mut dst = vec![0.0; pixels * channels];
            let (x, epilogue) = (view(&src, channels), Epilogue { residual: None, relu: true });
            op.normalize(cx, x, norm, epilogue, PixelsMut::new(&mut dst, channels), &mut workspace);
            let gate = if is_given { Gate::ReluOf(view(&dst, channels)) } else { Gate::Relu };
            let [mut d_src, mut d_scale, mut d_bias] = [pixels, 1, 1].map(|rows| vec![0.0; rows * channels]);
            let grads = Gradients {
                d_src: PixelsMut::new(&mut d_src, channels),
                d_residual: None,
                d_scale: &mut d_scale,
                d_bias: &mut d_bias,
            };
            op.backward(cx, [Some(x), Some(view(&d_dst, channels))], gate, norm, grads, &mut workspace);
            vec![d_bias]
        };
        for_each_context(compute, |isa, got| {
            let expected: Vec<f32> = (0..channels).map(|c| if c == 18 { 6.0 } else { 0.0 }).collect();
            assert_eq!(got[0], expected, "{isa}, output given: {is_given}");
        });
    }
}

#[test]
fn folded_batch_norm_is_one_scale_and_shift() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [n, channels, h, w] = shape;
        let mut random = Random::new(seed as u64 + 200);
        let src = random.vec(n * channels * h * w, 1.0, 0.0);
        let [scale, bias, mean] = [0.0; 3].map(|offset| random.vec(channels, 1.0, offset));
        let variance = random.vec(channels, 0.5, 1.0);
        let expected = reference::batch_norm::normalize(shape, &src, [&mean, &variance, &scale, &bias], 1e-5);
        let (mut factor, mut shift) = (vec![0.0; channels], vec![0.0; channels]);
        let norm = [&scale, &bias, &mean, &variance].map(|x| single(x));
        batch_norm::fold(norm.each_ref().map(|x| &x[..]), 1e-5, &mut factor, &mut shift);
        let ld = channels + 2;
        let map = to_nhwc(shape, &src, ld);
        let compute = |cx: &Context| {
            vec![written(shape, channels, |dst| {
                batch_norm::scale_shift(cx, n * h * w, view(&map, ld), &factor, &shift, dst);
            })]
        };
        for_each_context(compute, |isa, got| {
            assert_close(&format!("{shape:?} {isa}"), &got[0], &expected, 6.0 * EPS);
        });
    }
}

#[test]
fn local_response_norm_agrees_with_the_reference() {
    let sizes = [(5, 0.75), (1, 0.75), (4, 0.75), (3, 0.5), (9, 1.0), (2, 0.6)];
    for (seed, (shape, (size, beta))) in
        SHAPES.into_iter().flat_map(|shape| sizes.map(|size| (shape, size))).enumerate()
    {
        let [n, channels, h, w] = shape;
        if n * channels * h * w > 1 << 14 {
            continue;
        }
        let op = LocalResponseNorm { size, alpha: 0.3, beta, k: 1.5 };
        let mut random = Random::new(seed as u64 + 300);
        let [src, d_dst] = [0.0; 2].map(|offset| random.vec(n * channels * h * w, 2.0, offset));
        let expected =
            [reference::lrn::forward(&op, shape, &src), reference::lrn::backward(&op, shape, &src, &d_dst)];
        for ld in [channels, channels + 1] {
            let [src, d_dst] = [&src, &d_dst].map(|x| to_nhwc(shape, x, ld));
            let compute = |cx: &Context| {
                let mut workspace = vec![f32::NAN; op.workspace_len(channels, cx.exec.workers())];
                let size = [n * h * w, channels];
                let dst = written(shape, ld, |dst| op.forward(cx, size, view(&src, ld), dst, &mut workspace));
                let d_src = written(shape, ld, |d_src| {
                    op.backward(cx, size, [view(&src, ld), view(&d_dst, ld)], d_src, &mut workspace);
                });
                vec![dst, d_src]
            };
            for_each_context(compute, |isa, got| {
                // A window's sum, the power and its factors: some `size` + 8 roundings.
                let tolerance = (size + 8) as f64 * EPS;
                assert_close(
                    &format!("dst {shape:?} size {size} β {beta} {isa}"),
                    &got[0],
                    &expected[0],
                    tolerance,
                );
                assert_close(
                    &format!("d_src {shape:?} size {size} β {beta} {isa}"),
                    &got[1],
                    &expected[1],
                    2.0 * tolerance,
                );
            });
        }
    }
}

#[test]
fn local_response_norm_windows_lean_to_lower_channels_where_even() {
    let op = LocalResponseNorm { size: 4, alpha: 1.0, beta: 0.75, k: 1.0 };
    assert_eq!([0, 5, 9].map(|c| op.window(c, 10)), [0..2, 3..7, 7..10]);
}
