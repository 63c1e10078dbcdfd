//! Kernels that repeat, sum, pad, resize and rearrange maps, against their references.

mod maps;

use maps::*;
use striate_kernels::broadcast::{self, Binary, Operand};
use striate_kernels::reduce::{self, Reduction};
use striate_kernels::{Context, PixelsMut, reference};

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
