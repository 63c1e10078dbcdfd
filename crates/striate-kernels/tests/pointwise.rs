//! Activations, softmax, dropout, losses and optimisers against their references, on every instruction set.

mod maps;

use maps::*;
use striate_kernels::activation::{self, Activation};
use striate_kernels::loss::{self, LossError, Size};
use striate_kernels::optim::{self, Adam, RmsProp, Sgd};
use striate_kernels::softmax::{self, Space};
use striate_kernels::survey;
use striate_kernels::{Context, Isa, Pixels, PixelsMut, Serial, reference};

const EPS: f64 = f32::EPSILON as f64;

/// Rows and channels: tails of all vector widths, several tasks, and the distances of rows to try.
const SIZES: [[usize; 2]; 10] =
    [[1, 1], [3, 2], [7, 10], [5, 16], [4, 17], [33, 31], [9, 1000], [1, 9001], [300, 64], [3, 5003]];

/// A dense layout and one with gaps, of rows as pixels of one image.
fn layouts() -> impl Iterator<Item = ([usize; 4], usize)> {
    SIZES.into_iter().flat_map(|[rows, channels]| [0, 3].map(|gap| ([rows, channels, 1, 1], channels + gap)))
}

/// Runs `kernel` on a map that holds `values`, in place, and returns what it made of them.
fn changed(shape: [usize; 4], values: &[f64], ld: usize, kernel: impl FnOnce(PixelsMut)) -> Vec<f32> {
    let mut map = to_nhwc(shape, values, ld);
    kernel(PixelsMut::new(&mut map, ld));
    to_nchw(shape, &map, ld)
}

/// f32 values as f64.
fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

const FUNCTIONS: [Activation; 27] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clip { min: -1.5, max: 2.5 },
    Activation::Clip { min: 0.0, max: f32::INFINITY },
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::HardSwish,
    Activation::Swish { alpha: 1.0 },
    Activation::Swish { alpha: 1.7 },
    Activation::Elu { alpha: 1.3, gamma: 1.05, rate: 0.75 },
    Activation::Softplus,
    Activation::Softsign,
    Activation::Mish,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::ThresholdedRelu { alpha: 0.75 },
    Activation::Exp,
    Activation::Log,
    Activation::Sqrt,
    Activation::Reciprocal,
    Activation::Abs,
    Activation::Erf,
    Activation::Sign,
    Activation::Floor,
    Activation::Ceil,
    Activation::Round,
];

#[test]
fn activations_agree_with_their_formulas() {
    for (f, (shape, ld)) in FUNCTIONS.into_iter().flat_map(|f| layouts().map(move |layout| (f, layout))) {
        let [rows, channels, ..] = shape;
        let mut random = Random::new(ld as u64);
        // Where logarithms and roots are, and reciprocals are no larger than the operands.
        let positive = matches!(f, Activation::Log | Activation::Sqrt | Activation::Reciprocal);
        let (width, middle) = if positive { (2.0, 2.5) } else { (5.0, 0.0) };
        let (src, d_dst) =
            (random.vec(rows * channels, width, middle), random.vec(rows * channels, 1.0, 0.0));
        // As f32 has them: the gradient takes the one or the other as given.
        let src = double(&single(&src));
        // The output as f32 has it, for the gradient takes it as given.
        let expected = reference::activation::forward(f, &src);
        let dst = double(&single(&expected));
        let of = if f.slopes_from_input() { &src } else { &dst };
        let maps = [&src, of, &d_dst].map(|values| to_nhwc(shape, values, ld));
        let [src_map, of_map, d_map] = maps.each_ref().map(|map| view(map, ld));
        let compute = |cx: &Context| {
            vec![
                written(shape, ld, |dst| activation::forward(cx, f, src_map, dst, rows, channels)),
                changed(shape, &src, ld, |data| activation::forward_in_place(cx, f, data, rows, channels)),
                written(shape, ld, |to| activation::backward(cx, f, of_map, d_map, to, rows, channels)),
                changed(shape, &d_dst, ld, |gradient| {
                    activation::backward_in_place(cx, f, of_map, gradient, rows, channels);
                }),
            ]
        };
        let expected_gradient = reference::activation::backward(f, of, &d_dst);
        for_each_context(compute, |isa, results| {
            // Three units in the last place, or six of what products and sums of such functions are made of.
            assert_close(&format!("{f:?} {isa}"), &results[0], &expected, 3.0 * EPS);
            assert_close(&format!("{f:?} gradient {isa}"), &results[2], &expected_gradient, 6.0 * EPS);
            assert_eq!(results[0], results[1], "{f:?} in place {isa}");
            assert_eq!(results[2], results[3], "{f:?} gradient in place {isa}");
        });
    }
}

#[test]
fn activations_let_nan_through() {
    let nan = [f32::NAN; 19];
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        for f in FUNCTIONS {
            let mut dst = [0.0; 19];
            activation::forward(&cx, f, Pixels::new(&nan, 19), PixelsMut::new(&mut dst, 19), 1, 19);
            assert!(dst.iter().all(|y| y.is_nan()), "{f:?} {isa}");
        }
    }
}

/// What part of a sum of `terms` positive f32 is lost at worst: lanes sum a fourth of them at least, each within
/// a few units in the last place, and lanes are summed last.
fn sum_error(terms: usize) -> f64 {
    (terms as f64 / 4.0 + 8.0) * EPS
}

#[test]
fn softmax_agrees_with_its_formula() {
    // The reference's gradient takes the whole Jacobian.
    let short = || layouts().filter(|([_, channels, ..], _)| *channels <= 1000);
    for (space, (shape, ld)) in
        [Space::Linear, Space::Log].into_iter().flat_map(|space| short().map(move |layout| (space, layout)))
    {
        let [rows, channels, ..] = shape;
        let mut random = Random::new(ld as u64);
        // Far from 0, where the exponential of the element itself would vanish.
        let src = random.vec(rows * channels, 10.0, -1000.0);
        let d_dst = random.vec(rows * channels, 1.0, 0.0);
        let expected = reference::softmax::forward(space, &src, channels);
        let dst = double(&single(&expected));
        let maps = [&src, &dst, &d_dst].map(|values| to_nhwc(shape, values, ld));
        let [src_map, dst_map, d_map] = maps.each_ref().map(|map| view(map, ld));
        let compute = |cx: &Context| {
            vec![
                written(shape, ld, |dst| softmax::forward(cx, space, src_map, dst, rows, channels)),
                written(shape, ld, |to| softmax::backward(cx, space, dst_map, d_map, to, rows, channels)),
            ]
        };
        let expected_gradient = reference::softmax::backward(space, &dst, &d_dst, channels);
        for_each_context(compute, |isa, results| {
            let what = format!("{space:?} {rows}×{channels} {isa}");
            // The differences of logits (up to 20) are exact. What is off in the sum of exponentials is a
            // factor of each probability, and a term of its logarithm.
            let off = sum_error(channels);
            let probability = |i: usize| if space == Space::Log { dst[i].exp() } else { dst[i] };
            match space {
                Space::Linear => assert_within(&what, &results[0], &expected, |i| off * expected[i]),
                Space::Log => assert_within(&what, &results[0], &expected, |i| off - 2.0 * EPS * expected[i]),
            }
            // A mean of gradients, or for the logarithm their sum, is weighted with the probability.
            let (own, weighted) = match space {
                Space::Linear => (0.0, 2.0 * off),
                Space::Log => (2.0 * EPS, off * (channels as f64).sqrt()),
            };
            assert_within(&what, &results[1], &expected_gradient, |i| {
                own * (d_dst[i].abs() + expected_gradient[i].abs()) + weighted * probability(i)
            });
        });
    }
}

#[test]
fn cross_entropy_agrees_with_its_formula() {
    for ((shape, ld), smoothing) in
        layouts().flat_map(|layout| [0.0f32, 0.1].map(|smoothing| (layout, smoothing)))
    {
        let [rows, classes, ..] = shape;
        let size = Size { rows, channels: classes };
        let mut random = Random::new(ld as u64);
        let logits = random.vec(rows * classes, 10.0, 300.0);
        let labels: Vec<u32> = (0..rows).map(|_| random.int(0, classes - 1) as u32).collect();
        let (map, d_loss) = (to_nhwc(shape, &logits, ld), 3.0);
        let compute = |cx: &Context| {
            let mut value = f32::NAN;
            let probs = written(shape, ld, |probs| {
                value = loss::cross_entropy(cx, size, view(&map, ld), &labels, smoothing, probs).unwrap();
            });
            let saved = to_nhwc(shape, &double(&probs), ld);
            let d_logits = written(shape, ld, |to| {
                let probs = view(&saved, ld);
                loss::cross_entropy_backward(cx, size, probs, &labels, smoothing, d_loss, to).unwrap();
            });
            vec![vec![value], probs, d_logits]
        };
        let smoothing = f64::from(smoothing);
        let expected = reference::loss::cross_entropy(&logits, &labels, classes, smoothing);
        let probs = reference::softmax::forward(Space::Linear, &logits, classes);
        let gradient: Vec<f64> =
            reference::loss::cross_entropy_backward(&logits, &labels, classes, smoothing)
                .iter()
                .map(|slope| slope * f64::from(d_loss))
                .collect();
        for_each_context(compute, |isa, results| {
            let what = format!("{rows}×{classes} {smoothing} {isa}");
            let (off, factor) = (sum_error(classes), f64::from(d_loss) / rows as f64);
            assert_within(&what, &results[0], &[expected], |_| off + 2.0 * EPS * expected);
            assert_within(&what, &results[1], &probs, |i| off * probs[i]);
            assert_within(&what, &results[2], &gradient, |i| {
                let target = probs[i] - gradient[i] / factor;
                factor * (off * probs[i] + 4.0 * EPS * target.abs())
            });
        });
    }
}

#[test]
fn a_label_out_of_range_is_named() {
    let cx = Context::new(&Serial);
    let (size, logits, labels) = (Size { rows: 3, channels: 4 }, [0.0; 12], [3, 4, 9]);
    let mut out = [7.0; 12];
    let error = LossError::LabelOutOfRange { row: 1, label: 4, classes: 4 };
    let view = Pixels::new(&logits, 4);
    assert_eq!(
        loss::cross_entropy(&cx, size, view, &labels, 0.0, PixelsMut::new(&mut out, 4)),
        Err(error.clone())
    );
    assert_eq!(
        loss::cross_entropy_backward(&cx, size, view, &labels, 0.0, 1.0, PixelsMut::new(&mut out, 4)),
        Err(error.clone())
    );
    assert_eq!(out, [7.0; 12]);
    assert_eq!(error.to_string(), "row 1 has label 4, but there are 4 classes");
}

#[test]
fn element_losses_agree_with_their_formulas() {
    for (shape, ld) in layouts() {
        let [rows, channels, ..] = shape;
        let size = Size { rows, channels };
        let mut random = Random::new(ld as u64);
        let src = random.vec(rows * channels, 20.0, 0.0);
        let targets = random.vec(rows * channels, 0.5, 0.5);
        let (src_map, target_map, d_loss) = (to_nhwc(shape, &src, ld), to_nhwc(shape, &targets, ld), 3.0);
        let (x, t) = (view(&src_map, ld), view(&target_map, ld));
        let compute = |cx: &Context| {
            vec![
                vec![loss::bce_with_logits(cx, size, x, t), loss::mse(cx, size, x, t)],
                written(shape, ld, |to| loss::bce_with_logits_backward(cx, size, x, t, d_loss, to)),
                written(shape, ld, |to| loss::mse_backward(cx, size, x, t, d_loss, to)),
            ]
        };
        let values = [reference::loss::bce_with_logits(&src, &targets), reference::loss::mse(&src, &targets)];
        let scaled = |slopes: Vec<f64>| slopes.iter().map(|x| x * f64::from(d_loss)).collect::<Vec<f64>>();
        let bce = scaled(reference::loss::bce_with_logits_backward(&src, &targets));
        let mse = scaled(reference::loss::mse_backward(&src, &targets));
        for_each_context(compute, |isa, results| {
            let what = format!("{rows}×{channels} {isa}");
            // Lanes add 32 elements, each within 8 ulp, before f64 takes over.
            assert_close(&what, &results[0], &values, 40.0 * EPS);
            let step = f64::from(d_loss) / (rows * channels) as f64;
            assert_close(&what, &results[1], &bce, 4.0 * step * EPS);
            assert_close(&what, &results[2], &mse, 40.0 * step * EPS);
        });
    }
}

/// Three steps with other gradients each, so that state carries over.
const STEPS: usize = 3;

#[test]
fn sgd_agrees_with_its_formula() {
    for ((n, momentum), nesterov) in [1, 17, 20_011]
        .into_iter()
        .flat_map(|n| [(n, 0.0), (n, 0.9)])
        .flat_map(|case| [(case, false), (case, true)])
    {
        let hyper = Sgd { lr: 0.1, momentum, weight_decay: 5e-4, nesterov };
        let mut random = Random::new(n as u64);
        let start = random.vec(n, 1.0, 0.0);
        let grads: Vec<Vec<f64>> = (0..STEPS).map(|_| random.vec(n, 1.0, 0.0)).collect();
        let compute = |cx: &Context| {
            let (mut param, mut velocity) = (single(&start), vec![0.0; n]);
            for grad in &grads {
                let velocity = (momentum != 0.0).then_some(velocity.as_mut_slice());
                optim::sgd(cx, hyper, &mut param, &single(grad), velocity);
            }
            vec![param]
        };
        let (mut param, mut velocity) = (start.clone(), vec![0.0; n]);
        grads.iter().for_each(|grad| reference::optim::sgd(hyper, &mut param, grad, &mut velocity));
        for_each_context(compute, |isa, results| {
            assert_close(&format!("{hyper:?} {isa}"), &results[0], &param, 4.0 * STEPS as f64 * EPS);
        });
    }
}

#[test]
fn adam_agrees_with_its_formula() {
    for (n, decoupled) in [1, 17, 20_011].into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let hyper = Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.05, decoupled };
        let mut random = Random::new(n as u64);
        let start = random.vec(n, 1.0, 0.0);
        let grads: Vec<Vec<f64>> = (0..STEPS).map(|_| random.vec(n, 1.0, 0.0)).collect();
        let compute = |cx: &Context| {
            let (mut param, mut mean, mut variance) = (single(&start), vec![0.0; n], vec![0.0; n]);
            for (step, grad) in grads.iter().enumerate() {
                let step = step as u64 + 1;
                optim::adam(cx, hyper, step, &mut param, &single(grad), &mut mean, &mut variance);
            }
            vec![param, mean, variance]
        };
        let (mut param, mut mean, mut variance) = (start.clone(), vec![0.0; n], vec![0.0; n]);
        for (step, grad) in grads.iter().enumerate() {
            reference::optim::adam(hyper, step as i32 + 1, &mut param, grad, &mut mean, &mut variance);
        }
        for_each_context(compute, |isa, results| {
            let what = format!("{hyper:?} {isa}");
            let tolerance = 4.0 * STEPS as f64 * EPS;
            assert_close(&what, &results[0], &param, tolerance);
            assert_close(&what, &results[1], &mean, tolerance);
            assert_within(&what, &results[2], &variance, |i| tolerance * variance[i]);
        });
    }
}

#[test]
fn rmsprop_agrees_with_its_formula() {
    for (n, momentum) in [1, 17, 20_011].into_iter().flat_map(|n| [(n, 0.0), (n, 0.9)]) {
        let hyper = RmsProp { lr: 0.01, alpha: 0.99, eps: 1e-3, weight_decay: 0.05, momentum };
        let mut random = Random::new(n as u64);
        let start = random.vec(n, 1.0, 0.0);
        let grads: Vec<Vec<f64>> = (0..STEPS).map(|_| random.vec(n, 1.0, 0.0)).collect();
        let compute = |cx: &Context| {
            let (mut param, mut square, mut velocity) = (single(&start), vec![0.0; n], vec![0.0; n]);
            for grad in &grads {
                let velocity = (momentum != 0.0).then_some(velocity.as_mut_slice());
                optim::rmsprop(cx, hyper, &mut param, &single(grad), &mut square, velocity);
            }
            vec![param, square]
        };
        let (mut param, mut square, mut velocity) = (start.clone(), vec![0.0; n], vec![0.0; n]);
        for grad in &grads {
            reference::optim::rmsprop(hyper, &mut param, grad, &mut square, &mut velocity);
        }
        for_each_context(compute, |isa, results| {
            let what = format!("{hyper:?} {isa}");
            // A step is up to 10·lr long, and there are up to 1 + 1.9 + 2.7 of them.
            assert_close(&what, &results[0], &param, 8.0 * STEPS as f64 * EPS);
            assert_within(&what, &results[1], &square, |i| 4.0 * STEPS as f64 * EPS * square[i]);
        });
    }
}

#[test]
fn what_is_blended_in_replaces_all_where_nothing_is_kept() {
    for (n, keep) in [1, 17, 20_011].into_iter().flat_map(|n| [(n, 0.0), (n, 1.0), (n, 0.75)]) {
        let mut random = Random::new(n as u64);
        let (start, src) = (random.vec(n, 1.0, 0.0), random.vec(n, 1.0, 0.0));
        let mut expected = start.clone();
        reference::optim::blend(keep, 0.25, &mut expected, &src);
        let compute = |cx: &Context| {
            let mut dst = if keep == 0.0 { vec![f32::NAN; n] } else { single(&start) };
            optim::blend(cx, keep as f32, 0.25, &mut dst, &single(&src));
            vec![dst]
        };
        for_each_context(compute, |isa, results| {
            assert_close(&format!("{n}, keep {keep}, {isa}"), &results[0], &expected, 2.0 * EPS);
        });
    }
}

#[test]
fn squares_are_summed_to_the_same_bits_by_any_number_of_threads() {
    for n in [0, 1, 17, 8192, 20_011, 600_001] {
        let values = Random::new(n as u64).vec(n, 1.0, 0.3);
        let expected = reference::optim::square_sum(&values);
        let compute = |cx: &Context| {
            let sum = survey::square_sum(cx, &single(&values));
            // All of its bits.
            vec![vec![sum as f32, (sum - f64::from(sum as f32)) as f32]]
        };
        for_each_context(compute, |isa, results| {
            let error = (f64::from(results[0][0]) - expected).abs();
            // A block's sum is of at most 8192 terms on one lane.
            assert!(error <= 8192.0 * EPS * expected, "{n}, {isa}: off by {error:.1e} of {expected}");
        });
    }
}

#[test]
fn one_element_that_is_no_number_is_found_anywhere() {
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        for (shape @ [rows, channels, ..], ld) in layouts() {
            // Infinite between the rows.
            let values = Random::new(ld as u64).vec(rows * channels, 1e38, 0.0);
            let map = to_nhwc(shape, &values, ld);
            assert!(survey::all_finite(&cx, Pixels::new(&map, ld), rows, channels), "{shape:?} {isa}");
            for (row, channel) in [(0, 0), (rows / 2, channels / 2), (rows - 1, channels - 1)] {
                for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut map = map.clone();
                    map[row * ld + channel] = broken;
                    let src = Pixels::new(&map, ld);
                    assert!(!survey::all_finite(&cx, src, rows, channels), "{shape:?} {isa} {broken}");
                }
            }
        }
    }
}
