//! Kernels over arrays of any rank and layout against their references, on every instruction set.

mod maps;

use maps::*;
use striate_kernels::axes::{Array, ArrayMut, Axes};
use striate_kernels::elementwise::{self, Binary};
use striate_kernels::fold::{ArgMax, Fold, fold};
use striate_kernels::matmul::MatMul;
use striate_kernels::pad::PadMode;
use striate_kernels::rearrange::{PadAxis, copy};
use striate_kernels::reference;
use striate_kernels::resample::{Coordinates, Interpolation, Resize, Rounding};
use striate_kernels::{Context, Isa, Serial};

const EPS: f64 = f32::EPSILON as f64;

/// Where an array of these extents lies: its axes in any order of memory, perhaps with gaps.
fn layout(random: &mut Random, shape: &[usize]) -> Axes {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    if random.int(0, 1) == 1 {
        for i in 1..order.len() {
            order.swap(i, random.int(0, i));
        }
    }
    let mut strides = vec![0; shape.len()];
    let mut span = 1;
    for axis in order.into_iter().rev() {
        strides[axis] = span;
        span = span * shape[axis] + [0, 0, 3][random.int(0, 2)];
    }
    Axes::new(shape, &strides)
}

/// Elements that an array of this layout spans.
fn span(axes: Axes, shape: &[usize]) -> usize {
    places(axes, shape).into_iter().max().unwrap_or(0) + 1
}

/// The places of all elements in row-major order: a copy of their numbers tells them.
fn places(axes: Axes, shape: &[usize]) -> Vec<usize> {
    // Numbers of up to 20 dimensions' places are exact in 64 bits, and a copy moves them as they are.
    let most = 1 << 20;
    let numbers: Vec<u32> = (0..most).collect();
    let mut found = vec![0; shape.iter().product()];
    let dense = Axes::dense(shape);
    copy(&Context::new(&Serial), Array::new(&numbers, axes), ArrayMut::new(&mut found, dense));
    found.into_iter().map(|place| place as usize).collect()
}

/// An array in memory.
fn stored(values: &[f64], axes: Axes, shape: &[usize]) -> Vec<f32> {
    let mut memory = vec![f32::NAN; span(axes, shape)];
    for (place, value) in places(axes, shape).into_iter().zip(values) {
        memory[place] = *value as f32;
    }
    memory
}

/// What `kernel` writes to an array of this layout, in row-major order; all else stays as it was.
fn filled<T: Copy + PartialEq + std::fmt::Debug>(
    axes: Axes,
    shape: &[usize],
    untouched: T,
    kernel: impl FnOnce(ArrayMut<T>),
) -> Vec<T> {
    let mut memory = vec![untouched; span(axes, shape) + 5];
    kernel(ArrayMut::new(&mut memory, axes));
    let places = places(axes, shape);
    let values = places.iter().map(|place| memory[*place]).collect();
    let written: std::collections::HashSet<usize> = places.into_iter().collect();
    for (place, value) in memory.iter().enumerate().filter(|(place, _)| !written.contains(place)) {
        assert_eq!(*value, untouched, "beside the array, at {place}");
    }
    values
}

/// Extents of up to `most` axes: of one element, of vectors' tails, and of several tasks.
fn shape(random: &mut Random, most: usize) -> Vec<usize> {
    let rank = random.int(0, most);
    (0..rank).map(|_| [1, 2, 3, 5, 8, 17][random.int(0, 5)]).collect()
}

/// The same with some extents 1, and perhaps without the first.
fn repeating(random: &mut Random, shape: &[usize]) -> Vec<usize> {
    let first = if random.int(0, 3) == 0 { random.int(0, shape.len()) } else { 0 };
    shape[first..].iter().map(|extent| if random.int(0, 2) == 0 { 1 } else { *extent }).collect()
}

fn drawn(random: &mut Random, shape: &[usize]) -> Vec<f64> {
    random.vec(shape.iter().product(), 2.0, 0.0)
}

const BINARIES: [Binary; 13] = [
    Binary::Add,
    Binary::Multiply,
    Binary::AddRelu,
    Binary::MultiplyRelu,
    Binary::Subtract,
    Binary::Divide,
    Binary::Power,
    Binary::Minimum,
    Binary::Maximum,
    Binary::Equal,
    Binary::Less,
    Binary::Greater,
    Binary::Prelu,
];

#[test]
fn functions_of_two_elements_repeat_either() {
    let mut random = Random::new(1);
    for op in BINARIES {
        for round in 0..16 {
            let shape = if round == 0 { vec![3, 9001] } else { shape(&mut random, 5) };
            let shapes = [repeating(&mut random, &shape), repeating(&mut random, &shape)];
            let [mut a, mut b] = shapes.each_ref().map(|shape| drawn(&mut random, shape));
            match op {
                // Away from the poles.
                Binary::Divide => b.iter_mut().for_each(|b| *b = b.signum() * (b.abs() + 0.5)),
                Binary::Power => a.iter_mut().for_each(|a| *a = f64::from((a.abs() + 0.1) as f32)),
                Binary::Equal => [&mut a, &mut b].into_iter().flatten().for_each(|x| *x = x.round()),
                _ => {}
            }
            let b: Vec<f64> = b.iter().map(|b| f64::from(*b as f32)).collect();
            let dst_shape = reference::elementwise::common(&[&shapes[0], &shapes[1]]);
            let expected = reference::elementwise::map(
                |x| reference::elementwise::binary(op, x[0], x[1]),
                &[(&shapes[0], &a), (&shapes[1], &b)],
            );
            let [a_axes, b_axes] = shapes.each_ref().map(|shape| layout(&mut random, shape));
            let dst_axes = layout(&mut random, &dst_shape);
            let (a, b) = (stored(&a, a_axes, &shapes[0]), stored(&b, b_axes, &shapes[1]));
            let (a, b) = (Array::new(&a, a_axes), Array::new(&b, b_axes));
            let compute = |cx: &Context| {
                let apart = filled(dst_axes, &dst_shape, -7.0, |dst| {
                    elementwise::binary(cx, op, [Some(a), Some(b)], dst);
                });
                let mut results = vec![apart];
                if shapes[0] == dst_shape {
                    results.push(filled(dst_axes, &dst_shape, -7.0, |dst| {
                        copy(cx, a, ArrayMut::new(dst.data, dst.axes));
                        elementwise::binary(cx, op, [None, Some(b)], dst);
                    }));
                }
                results
            };
            for_each_context(compute, |isa, results| {
                let what = format!("{op:?} of {shapes:?} {isa}");
                assert_close(&what, &results[0], &expected, 2.0 * EPS);
                assert!(results.iter().all(|result| *result == results[0]), "{what}, in place");
            });
        }
    }
}

#[test]
fn extremes_and_comparisons_know_nan() {
    let nan = f32::NAN;
    let (a, b) = ([nan, 1.0, nan, 2.0, -2.0], [1.0, nan, nan, 1.0, 1.0]);
    let axes = Axes::dense(&[5]);
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        let run = |op| {
            let mut dst = [0.0; 5];
            let operands = [Some(Array::new(&a, axes)), Some(Array::new(&b, axes))];
            elementwise::binary(&cx, op, operands, ArrayMut::new(&mut dst, axes));
            dst
        };
        for op in [Binary::Minimum, Binary::Maximum] {
            assert_eq!(run(op).map(f32::is_nan), [true, true, true, false, false], "{op:?} {isa}");
        }
        for (op, last) in
            [(Binary::Equal, [0.0, 0.0]), (Binary::Less, [0.0, 1.0]), (Binary::Greater, [1.0, 0.0])]
        {
            assert_eq!(run(op)[..3], [0.0; 3], "{op:?} {isa}");
            assert_eq!(run(op)[3..], last, "{op:?} {isa}");
        }
    }
}

#[test]
fn choices_repeat_all_three() {
    let mut random = Random::new(2);
    for _ in 0..40 {
        let shape = shape(&mut random, 5);
        let shapes: [Vec<usize>; 3] = std::array::from_fn(|_| repeating(&mut random, &shape));
        let mut values = shapes.each_ref().map(|shape| drawn(&mut random, shape));
        values[0].iter_mut().for_each(|x| *x = x.round());
        let dst_shape = reference::elementwise::common(&shapes.each_ref().map(|shape| &shape[..]));
        let arrays: Vec<(&[usize], &[f64])> =
            shapes.iter().zip(&values).map(|(shape, values)| (&shape[..], &values[..])).collect();
        let expected = reference::elementwise::map(|x| if x[0] != 0.0 { x[1] } else { x[2] }, &arrays);
        let axes = shapes.each_ref().map(|shape| layout(&mut random, shape));
        let memory: [Vec<f32>; 3] = std::array::from_fn(|i| stored(&values[i], axes[i], &shapes[i]));
        let dst_axes = layout(&mut random, &dst_shape);
        let arrays = std::array::from_fn(|i| Array::new(&memory[i], axes[i]));
        let compute = |cx: &Context| {
            vec![filled(dst_axes, &dst_shape, -7.0, |dst| elementwise::choose(cx, arrays, dst))]
        };
        for_each_context(compute, |isa, results| {
            assert_close(&format!("{shapes:?} {isa}"), &results[0], &expected, 0.0);
        });
    }
}

#[test]
fn elements_arrive_in_any_order() {
    let mut random = Random::new(3);
    for round in 0..120 {
        let shape = match round {
            0 => vec![300, 70],
            1 => vec![7, 40, 33, 5],
            2 => vec![20_000],
            _ => shape(&mut random, 5),
        };
        let values = drawn(&mut random, &shape);
        let mut order: Vec<usize> = (0..shape.len()).collect();
        for i in 1..order.len() {
            order.swap(i, random.int(0, i));
        }
        let expected = reference::rearrange::permute(&shape, &order, &values);
        let dst_shape: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
        let (src_axes, dst_axes) = (layout(&mut random, &shape), layout(&mut random, &dst_shape));
        let src = stored(&values, src_axes, &shape);
        let compute = |cx: &Context| {
            vec![filled(dst_axes, &dst_shape, -7.0, |dst| {
                copy(cx, Array { data: &src, axes: src_axes.permuted(&order) }, dst);
            })]
        };
        for_each_context(compute, |isa, results| {
            assert_close(&format!("{shape:?} by {order:?} {isa}"), &results[0], &expected, 0.0);
        });
    }
}

#[test]
fn slices_flips_and_repetitions_are_copies() {
    let mut random = Random::new(4);
    for _ in 0..80 {
        let mut shape = shape(&mut random, 4);
        shape.push(random.int(1, 9));
        let axis = random.int(0, shape.len() - 1);
        let size = shape[axis];
        let values = drawn(&mut random, &shape);
        let src_axes = layout(&mut random, &shape);
        let src = stored(&values, src_axes, &shape);
        let (start, step, times) = (random.int(0, size - 1), random.int(1, 3), random.int(1, 3));
        let len = random.int(1, (size - start).div_ceil(step));
        let views = [
            (
                "slice",
                src_axes.sliced(axis, start, len, step),
                len,
                Box::new(|i| start + i * step) as Box<dyn Fn(usize) -> usize>,
            ),
            ("flip", src_axes.flipped(axis), size, Box::new(|i| size - 1 - i)),
            (
                "slice of flip",
                src_axes.flipped(axis).sliced(axis, start, len, step),
                len,
                Box::new(|i| size - 1 - start - i * step),
            ),
            ("tile", src_axes.repeated(axis, times), size * times, Box::new(|i| i % size)),
        ];
        for (what, view, extent, from) in views {
            let dst_shape = reference::rearrange::resized(&shape, axis, extent);
            let expected = reference::rearrange::along(&shape, axis, extent, |i| Ok(from(i)), &values);
            let dst_axes = layout(&mut random, &dst_shape);
            let found = filled(dst_axes, &dst_shape, -7.0, |dst| {
                let axes = if what == "tile" { dst.axes.split(axis, size) } else { dst.axes };
                copy(&Context::new(&Serial), Array { data: &src, axes: view }, ArrayMut::new(dst.data, axes));
            });
            assert_close(&format!("{what} of {shape:?}"), &found, &expected, 0.0);
        }
    }
}

#[test]
fn paddings_and_their_gradients_agree_with_the_reference() {
    let mut random = Random::new(5);
    for mode in [PadMode::Constant(1.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular] {
        for _ in 0..24 {
            let mut shape = shape(&mut random, 3);
            shape.push(random.int(1, 9));
            let axis = random.int(0, shape.len() - 1);
            let size = shape[axis];
            let most = match mode {
                PadMode::Reflect => size - 1,
                PadMode::Circular => size,
                _ => 6,
            };
            let pads = [random.int(0, most), random.int(0, most)];
            let op = PadAxis { axis, pads, mode };
            let padded = reference::rearrange::resized(&shape, axis, pads[0] + size + pads[1]);
            let (values, d_dst) = (drawn(&mut random, &shape), drawn(&mut random, &padded));
            let expected = reference::rearrange::pad(&shape, axis, pads, mode, &values);
            let gradient = reference::rearrange::pad_backward(&shape, axis, pads, mode, &d_dst);
            let (src_axes, dst_axes) = (layout(&mut random, &shape), layout(&mut random, &padded));
            let (src, d_dst) = (stored(&values, src_axes, &shape), stored(&d_dst, dst_axes, &padded));
            let (src, d_dst) = (Array::new(&src, src_axes), Array::new(&d_dst, dst_axes));
            let compute = |cx: &Context| {
                vec![
                    filled(dst_axes, &padded, -7.0, |dst| op.forward(cx, src, dst)),
                    filled(src_axes, &shape, -7.0, |d_src| op.backward(cx, d_dst, d_src)),
                ]
            };
            for_each_context(compute, |isa, results| {
                let what = format!("{op:?} of {shape:?} {isa}");
                assert_close(&what, &results[0], &expected, 0.0);
                assert_close(&what, &results[1], &gradient, 8.0 * EPS);
            });
        }
    }
}

#[test]
fn folds_agree_with_the_reference() {
    let mut random = Random::new(6);
    let ops = [Fold::Sum, Fold::SumOfSquares, Fold::SumOfProducts, Fold::Product, Fold::Max, Fold::Min];
    for op in ops {
        for round in 0..30 {
            let shape = match round {
                0 => vec![2, 300, 20],
                1 => vec![3, 5001],
                2 => vec![2, 3, 150, 33],
                _ => shape(&mut random, 5),
            };
            let dst_shape: Vec<usize> =
                shape.iter().map(|extent| if random.int(0, 1) == 0 { 1 } else { *extent }).collect();
            // Products stay near 1.
            let (width, middle) = if op == Fold::Product { (0.01, 1.0) } else { (2.0, 0.5) };
            let count: usize = shape.iter().product();
            let values = [random.vec(count, width, middle), random.vec(count, width, middle)];
            let expected = reference::fold::fold(op, &shape, &dst_shape, &values[0], &values[1]);
            let expected: Vec<f64> = expected.iter().map(|x| 0.5 * x).collect();
            let axes = [layout(&mut random, &shape), layout(&mut random, &shape)];
            let dst_axes = layout(&mut random, &dst_shape);
            let memory: [Vec<f32>; 2] = std::array::from_fn(|i| stored(&values[i], axes[i], &shape));
            let [src, by]: [Array; 2] = std::array::from_fn(|i| Array::new(&memory[i], axes[i]));
            let by = (op == Fold::SumOfProducts).then_some(by);
            let compute = |cx: &Context| {
                vec![filled(dst_axes, &dst_shape, -7.0, |dst| fold(cx, op, src, by, 0.5, dst))]
            };
            // Segments of 64 are summed in float32, their sums in float64; products lose with each factor.
            let terms = count / dst_shape.iter().product::<usize>().max(1);
            let off = match op {
                Fold::Product => terms as f64,
                Fold::Max | Fold::Min => 0.5,
                _ => 64.0f64.min(terms as f64) * 6.25 * (terms as f64 / 64.0).max(1.0),
            };
            for_each_context(compute, |isa, results| {
                assert_close(&format!("{op:?} {shape:?} {isa}"), &results[0], &expected, off * EPS);
            });
        }
    }
}

#[test]
fn extremes_of_nan_are_nan() {
    let mut values = vec![1.0f32; 200];
    values[77] = f32::NAN;
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        for (shape, dst_shape) in
            [([1, 200], [1, 1]), ([200, 1], [1, 1]), ([20, 10], [1, 10]), ([10, 20], [10, 1])]
        {
            for op in [Fold::Max, Fold::Min] {
                let src = Array::new(&values, Axes::dense(&shape));
                let dst_axes = Axes::dense(&dst_shape);
                let found = filled(dst_axes, &dst_shape, -7.0, |dst| fold(&cx, op, src, None, 1.0, dst));
                assert_eq!(found.iter().filter(|x| x.is_nan()).count(), 1, "{op:?} {shape:?} {isa}");
            }
        }
    }
}

#[test]
fn the_places_of_extremes_agree_with_the_reference() {
    let mut random = Random::new(7);
    for round in 0..80 {
        let mut shape = shape(&mut random, 4);
        shape.push(random.int(1, 9));
        let axis = random.int(0, shape.len() - 1);
        let op = ArgMax { axis, least: round % 2 == 1, last: round % 4 > 1 };
        // Whole numbers, so that there are equals.
        let values: Vec<f64> = drawn(&mut random, &shape).into_iter().map(f64::round).collect();
        let expected = reference::fold::arg_max(op, &shape, &values);
        let mut dst_shape = shape.clone();
        dst_shape.remove(axis);
        let (src_axes, dst_axes) = (layout(&mut random, &shape), layout(&mut random, &dst_shape));
        let src = stored(&values, src_axes, &shape);
        let found = filled(dst_axes, &dst_shape, 1000, |dst| {
            op.run(&Context::new(&Serial), Array::new(&src, src_axes), dst);
        });
        let found: Vec<usize> = found.into_iter().map(|index| index as usize).collect();
        assert_eq!(found, expected, "{op:?} of {shape:?}");
    }
    let nan = [1.0, f32::NAN, 3.0];
    for least in [false, true] {
        let op = ArgMax { axis: 0, least, last: false };
        let mut dst = [9];
        let src = Array::new(&nan, Axes::dense(&[3]));
        op.run(&Context::new(&Serial), src, ArrayMut::new(&mut dst, Axes::dense(&[])));
        assert_eq!(dst, [1]);
    }
}

#[test]
fn products_of_matrices_agree_with_the_reference() {
    let mut random = Random::new(8);
    for round in 0..60 {
        let [m, k, n] = match round {
            0 => [70, 33, 300],
            1 => [1, 500, 1],
            _ => std::array::from_fn(|_| random.int(1, 40)),
        };
        let stack: Vec<usize> = (0..random.int(0, 3)).map(|_| random.int(1, 3)).collect();
        let shapes = [[m, k], [k, n]].map(|matrix| {
            let mut shape = repeating(&mut random, &stack);
            shape.extend(matrix);
            shape
        });
        let [a, b] = shapes.each_ref().map(|shape| drawn(&mut random, shape));
        let expected = reference::matmul::matmul((&shapes[0], &a), (&shapes[1], &b));
        let stacks = shapes.each_ref().map(|shape| shape[..shape.len() - 2].to_vec());
        let mut dst_shape = reference::elementwise::common(&[&stacks[0], &stacks[1]]);
        dst_shape.extend([m, n]);
        let [a_axes, b_axes] = shapes.each_ref().map(|shape| layout(&mut random, shape));
        let dst_axes = layout(&mut random, &dst_shape);
        let (a, b) = (stored(&a, a_axes, &shapes[0]), stored(&b, b_axes, &shapes[1]));
        let product = MatMul::new(a_axes, b_axes, dst_axes);
        let compute = |cx: &Context| {
            let mut workspace = vec![f32::NAN; product.workspace_len()];
            vec![filled(dst_axes, &dst_shape, -7.0, |dst| product.run(cx, &a, &b, dst.data, &mut workspace))]
        };
        for_each_context(compute, |isa, results| {
            let off = 4.0 * k as f64 * EPS;
            assert_within(&format!("{shapes:?} {isa}"), &results[0], &expected, |_| off);
        });
    }
}

#[test]
fn resizing_and_its_gradient_agree_with_the_reference() {
    let mut random = Random::new(9);
    let roundings = [Rounding::HalfDown, Rounding::HalfUp, Rounding::Down, Rounding::Up];
    let mut interpolations: Vec<Interpolation> = roundings.map(Interpolation::Nearest).to_vec();
    interpolations.push(Interpolation::Linear);
    for exclude_outside in [false, true] {
        interpolations.push(Interpolation::Cubic { a: -0.75, exclude_outside });
    }
    let coordinates = [
        Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel,
        Coordinates::HalfPixelSymmetric,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ];
    for interpolation in interpolations {
        for coordinates in coordinates {
            for _ in 0..6 {
                let mut shape = shape(&mut random, 3);
                shape.push(random.int(1, 9));
                let axis = random.int(0, shape.len() - 1);
                let (input, output) = (shape[axis], random.int(1, 21));
                let scale = (random.int(0, 1) == 1).then_some((output as f32 + 0.4) / input as f32);
                let resize = Resize { input, output, scale, interpolation, coordinates };
                let dst_shape = reference::rearrange::resized(&shape, axis, output);
                let (values, d_dst) = (drawn(&mut random, &shape), drawn(&mut random, &dst_shape));
                let expected = reference::resample::forward(&resize, &shape, axis, &values);
                let gradient = reference::resample::backward(&resize, &shape, axis, &d_dst);
                let (src_axes, dst_axes) = (layout(&mut random, &shape), layout(&mut random, &dst_shape));
                let (src, d_dst) = (stored(&values, src_axes, &shape), stored(&d_dst, dst_axes, &dst_shape));
                let (src, d_dst) = (Array::new(&src, src_axes), Array::new(&d_dst, dst_axes));
                let (table, turned) = (resize.table(), resize.table().transposed());
                let compute = |cx: &Context| {
                    vec![
                        filled(dst_axes, &dst_shape, -7.0, |dst| table.apply(cx, axis, src, dst)),
                        filled(src_axes, &shape, -7.0, |d_src| turned.apply(cx, axis, d_dst, d_src)),
                    ]
                };
                for_each_context(compute, |isa, results| {
                    let what = format!("{resize:?} along {axis} of {shape:?} {isa}");
                    assert_close(&what, &results[0], &expected, 8.0 * EPS);
                    assert_close(&what, &results[1], &gradient, 64.0 * EPS);
                });
            }
        }
    }
}

/// What ONNX's standard computes.
#[test]
fn resizing_gives_the_published_numbers() {
    let run = |resize: Resize, src: &[f32]| {
        let mut dst = vec![0.0; resize.output];
        let (from, to) = (Axes::dense(&[resize.input]), Axes::dense(&[resize.output]));
        let dst_array = ArrayMut::new(&mut dst, to);
        resize.table().apply(&Context::new(&Serial), 0, Array::new(src, from), dst_array);
        dst
    };
    let close = |found: Vec<f32>, expected: &[f32]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} for {expected:?}");
    };
    let linear = Interpolation::Linear;
    let coordinates = Coordinates::AlignCorners;
    let resize = Resize { input: 4, output: 2, scale: Some(0.6), interpolation: linear, coordinates };
    close(run(resize, &[1.0, 2.0, 3.0, 4.0]), &[1.0, 3.142857]);
    let coordinates = Coordinates::HalfPixel;
    close(run(Resize { coordinates, ..resize }, &[1.0, 2.0, 3.0, 4.0]), &[1.333_333, 3.0]);
    let double = Resize { input: 2, output: 4, scale: None, interpolation: linear, coordinates };
    close(run(double, &[1.0, 2.0]), &[1.0, 1.25, 1.75, 2.0]);
    let interpolation = Interpolation::Cubic { a: -0.75, exclude_outside: false };
    let double = Resize { input: 4, output: 8, interpolation, ..double };
    // The first row of a map of rows 1 2 3 4, 5 6 7 8, …, whose rows add 4 times what its columns do.
    let columns = run(double, &[1.0, 2.0, 3.0, 4.0]);
    let found = columns.iter().map(|x| x + 4.0 * (columns[0] - 1.0)).collect();
    close(
        found,
        &[0.472_656_25, 0.769_531_25, 1.246_093_8, 1.875, 2.281_25, 2.910_156_3, 3.386_718_8, 3.683_593_8],
    );
}
