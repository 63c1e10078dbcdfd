//! Fully connected layers with weights as they lie against the reference, on every instruction set.

mod maps;

use maps::*;
use striate_kernels::conv::{Activation, Epilogue};
use striate_kernels::linear::{BackwardData, BackwardWeights, Forward, Layer};
use striate_kernels::optim::{self, Sgd, Target};
use striate_kernels::{Context, Isa, Serial, reference};

/// Images and features: single ones, tails of tiles and vectors, and more than one piece, slice, run or chunk of each.
const SIZES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [2, 3, 5],
    [1, 4100, 70],
    [3, 40, 600],
    [5, 130, 67],
    [7, 65, 64],
    [8, 513, 33],
    [9, 2100, 129],
    [13, 64, 1],
    [70, 2000, 10],
    [33, 17, 700],
    [170, 90, 30],
];

/// The sizes above and random ones, dense and with gaps between images.
fn layers() -> impl Iterator<Item = Layer> {
    let mut random = Random::new(5);
    let some = (0..20).map(|_| [random.int(1, 70), random.int(1, 200), random.int(1, 150)]);
    let sizes: Vec<[usize; 3]> = SIZES.into_iter().chain(some).collect();
    let dense = |[n, ic, oc]: [usize; 3]| Layer { n, ic, oc, src_ld: ic, dst_ld: oc };
    sizes.into_iter().map(dense).enumerate().map(|(index, layer)| match index % 2 {
        0 => layer,
        _ => Layer { src_ld: layer.ic + 3, dst_ld: layer.oc + 5, ..layer },
    })
}

/// A layer's numbers, and the shapes of source and destination.
struct Data {
    shapes: [[usize; 4]; 2],
    src: Vec<f64>,
    weights: Vec<f64>,
    bias: Vec<f64>,
    d_dst: Vec<f64>,
}

impl Data {
    fn new(layer: &Layer) -> Self {
        let Layer { n, ic, oc, .. } = *layer;
        let mut random = Random::new((n * ic * oc) as u64);
        let mut vec = |len| random.vec(len, 1.0, 0.0);
        let shapes = [[n, ic, 1, 1], [n, oc, 1, 1]];
        Self { shapes, src: vec(n * ic), weights: vec(oc * ic), bias: vec(oc), d_dst: vec(n * oc) }
    }
}

/// What the rounding of sums of `terms` products explains: a partial sum is about √terms in size, and about √terms
/// roundings of that size remain in the end.
fn tolerance(terms: usize) -> f64 {
    3.0 * f64::from(f32::EPSILON) * (terms + 4) as f64
}

fn scratch(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

#[test]
fn forward_agrees_with_the_reference() {
    for (index, layer) in layers().enumerate() {
        let clip = Activation::Clip { min: -0.25, max: 0.5 };
        let activation = [Activation::None, Activation::Relu, clip][index % 3];
        let data = Data::new(&layer);
        let [from, to] = data.shapes;
        let src = to_nhwc(from, &data.src, layer.src_ld);
        let (weights, bias) = (single(&data.weights), single(&data.bias));
        let residual_ld = layer.oc + 2;
        let residual = to_nhwc(to, &data.d_dst, residual_ld);
        let epilogue = Epilogue {
            bias: (index % 4 != 1).then_some(&bias[..]),
            residual: (index % 4 > 1).then_some(view(&residual, residual_ld)),
            activation,
        };
        let expected_bias = epilogue.bias.map(|_| data.bias.as_slice());
        let mut expected =
            reference::conv::forward(&layer.geometry(), &data.src, &data.weights, expected_bias);
        for (value, residual) in expected.iter_mut().zip(&data.d_dst) {
            *value += if epilogue.residual.is_some() { *residual } else { 0.0 };
            *value = match activation {
                Activation::None => *value,
                Activation::Relu => value.max(0.0),
                Activation::Clip { min, max } => value.max(min.into()).min(max.into()),
            };
        }
        let compute = |cx: &Context| {
            let pass = Forward::new(cx.isa, &layer).unwrap();
            let mut workspace = scratch(pass.workspace_len(cx.exec.workers()));
            vec![written(to, layer.dst_ld, |dst| {
                pass.run(cx, &src, &weights, &epilogue, dst.data, &mut workspace);
            })]
        };
        for_each_context(compute, |isa, results| {
            let what = format!("{layer:?} {isa}");
            assert_within(&what, &results[0], &expected, |_| tolerance(layer.ic));
        });
    }
}

#[test]
fn backward_data_agrees_with_the_reference() {
    for layer in layers() {
        let data = Data::new(&layer);
        let [from, to] = data.shapes;
        let (weights, d_dst) = (single(&data.weights), to_nhwc(to, &data.d_dst, layer.dst_ld));
        let expected = reference::conv::backward_data(&layer.geometry(), &data.d_dst, &data.weights);
        let compute = |cx: &Context| {
            let pass = BackwardData::new(cx.isa, &layer).unwrap();
            let mut workspace = scratch(pass.workspace_len(cx.exec.workers()));
            vec![written(from, layer.src_ld, |d_src| {
                pass.run(cx, &d_dst, &weights, d_src.data, &mut workspace);
            })]
        };
        for_each_context(compute, |isa, results| {
            let what = format!("{layer:?} {isa}");
            assert_within(&what, &results[0], &expected, |_| tolerance(layer.oc));
        });
    }
}

/// The gradients of weights and bias.
fn gradients(cx: &Context, layer: &Layer, data: &Data) -> [Vec<f32>; 2] {
    let pass = BackwardWeights::new(cx.isa, layer).unwrap();
    let mut workspace = scratch(pass.workspace_len(cx.exec.workers()));
    let (mut d_weights, mut d_bias) = (scratch(layer.oc * layer.ic), scratch(layer.oc));
    let (src, d_dst) = operands(layer, data);
    let bias = Some(Target::Gradient(&mut d_bias));
    pass.run(cx, &src, &d_dst, Target::Gradient(&mut d_weights), bias, &mut workspace);
    [d_weights, d_bias]
}

/// The source and the destination's gradient as they lie.
fn operands(layer: &Layer, data: &Data) -> (Vec<f32>, Vec<f32>) {
    let [from, to] = data.shapes;
    (to_nhwc(from, &data.src, layer.src_ld), to_nhwc(to, &data.d_dst, layer.dst_ld))
}

#[test]
fn backward_weights_agrees_with_the_reference() {
    for layer in layers() {
        let data = Data::new(&layer);
        let (d_weights, d_bias) =
            reference::conv::backward_weights(&layer.geometry(), &data.src, &data.d_dst);
        for_each_context(
            |cx| gradients(cx, &layer, &data).to_vec(),
            |isa, results| {
                let what = format!("{layer:?} {isa}");
                assert_within(&what, &results[0], &d_weights, |_| tolerance(layer.n));
                assert_within(&what, &results[1], &d_bias, |_| tolerance(layer.n));
            },
        );
    }
}

#[test]
fn a_step_within_the_pass_is_the_step_after_it_bit_by_bit() {
    for (index, layer) in layers().enumerate() {
        let data = Data::new(&layer);
        let momentum = if index % 3 > 0 { 0.9 } else { 0.0 };
        let hyper = Sgd { lr: 0.1, momentum, weight_decay: 5e-4, nesterov: index % 3 > 1 };
        let plain = Sgd { weight_decay: 0.0, ..hyper };
        let start = [single(&data.weights), single(&data.bias)];
        // Velocities that are not zero: what the parameters are will do.
        let fresh = || [(start[0].clone(), start[0].clone()), (start[1].clone(), start[1].clone())];
        for isa in Isa::present() {
            let cx = &Context { isa, exec: &Serial };
            let mut apart = fresh();
            let steps = [hyper, plain].into_iter().zip(gradients(cx, &layer, &data));
            for ((param, velocity), (hyper, grad)) in apart.iter_mut().zip(steps) {
                let velocity = (momentum != 0.0).then_some(velocity.as_mut_slice());
                optim::sgd(cx, hyper, param, &grad, velocity);
            }
            let mut within = fresh();
            let [weights, bias] = within.each_mut().map(|(param, velocity)| Target::Sgd {
                hyper,
                param,
                velocity: (momentum != 0.0).then_some(velocity),
            });
            let Target::Sgd { param, velocity, .. } = bias else { unreachable!() };
            let bias = Target::Sgd { hyper: plain, param, velocity };
            let pass = BackwardWeights::new(isa, &layer).unwrap();
            let mut workspace = scratch(pass.workspace_len(1));
            let (src, d_dst) = operands(&layer, &data);
            pass.run(cx, &src, &d_dst, weights, Some(bias), &mut workspace);
            assert!(within == apart, "{layer:?} {hyper:?} {isa}");
        }
    }
}

#[test]
fn sizes_that_make_no_layer_are_refused() {
    let layer = Layer { n: 2, ic: 3, oc: 4, src_ld: 3, dst_ld: 4 };
    assert!(layer.validate().is_ok());
    let wrong = Layer { src_ld: 2, ..layer };
    assert!(Forward::new(Isa::Scalar, &wrong).unwrap_err().to_string().contains("2"));
    assert!(BackwardData::new(Isa::Scalar, &Layer { oc: 0, ..layer }).is_err());
    assert!(BackwardWeights::new(Isa::Scalar, &Layer { n: usize::MAX, ..layer }).is_err());
}
