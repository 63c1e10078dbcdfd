//! Kernels on maps of bfloat16 compute what they compute on the same numbers in float32, rounded once: to the bit.

mod maps;

use maps::Random;
use striate_kernels::activation::{self, Activation};
use striate_kernels::batch_norm::{self, BatchNorm, Epilogue, Gate, Gradients, Normalizer};
use striate_kernels::broadcast::{self, Binary, Operand};
use striate_kernels::pad::{Margins, Pad2d, PadMode};
use striate_kernels::pool::{self, Pool2dGeometry};
use striate_kernels::{Bf16, Context, Element, Isa, Pixels, PixelsMut, Serial, copy};

/// What lies between pixels.
const GAP: f32 = -7.0;

/// Maps of `pixels` × `channels`, pixels `ld` apart, that kernels read and write.
#[derive(Clone, Copy)]
struct Layout {
    pixels: usize,
    channels: usize,
    ld: usize,
}

impl Layout {
    fn new(random: &mut Random, pixels: usize, channels: usize) -> Self {
        Self { pixels, channels, ld: channels + [0, 0, 3][random.int(0, 2)] }
    }

    /// Numbers that bfloat16 holds, some of them zeros.
    fn draw(&self, random: &mut Random) -> Vec<f32> {
        let number = |random: &mut Random| {
            let zero = random.int(0, 5) == 0;
            Bf16::from_f32(if zero { 0.0 } else { 2.0 * random.unit() as f32 }).to_f32()
        };
        (0..self.pixels.max(1) * self.ld)
            .map(|at| if at % self.ld < self.channels { number(random) } else { GAP })
            .collect()
    }

    fn view<'a, E>(&self, map: &'a [E]) -> Pixels<'a, E> {
        Pixels::new(map, self.ld)
    }

    fn view_mut<'a, E>(&self, map: &'a mut [E]) -> PixelsMut<'a, E> {
        PixelsMut::new(map, self.ld)
    }
}

/// The maps and numbers that a kernel leaves.
#[derive(Default)]
struct Results {
    maps: Vec<Vec<f32>>,
    numbers: Vec<f32>,
}

/// A kernel on maps of any element, which gets the maps it reads or overwrites.
trait Compute {
    fn compute<E: Element>(&self, cx: &Context, maps: Vec<Vec<E>>) -> Results;
}

fn cast<E: Element>(map: &[f32]) -> Vec<E> {
    map.iter().map(|x| E::from_f32(*x)).collect()
}

fn widened<E: Element>(map: &[E]) -> Vec<f32> {
    map.iter().map(|x| x.to_f32()).collect()
}

/// Compares both elements on every instruction set.
fn same_but_rounded(what: &str, kernel: &impl Compute, maps: &[Vec<f32>]) {
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        let wide = kernel.compute::<f32>(&cx, maps.iter().map(|map| cast(map)).collect());
        let narrow = kernel.compute::<Bf16>(&cx, maps.iter().map(|map| cast(map)).collect());
        assert!(!wide.maps.is_empty() && wide.maps.len() == narrow.maps.len());
        for (index, (wide, narrow)) in wide.maps.iter().zip(&narrow.maps).enumerate() {
            let rounded: Vec<f32> = wide.iter().map(|x| Bf16::from_f32(*x).to_f32()).collect();
            assert!(rounded == *narrow, "{what}, map {index}, {isa}");
        }
        assert!(wide.numbers == narrow.numbers, "{what}, {isa}");
    }
}

/// Layouts whose channels straddle vector widths.
fn layouts(random: &mut Random) -> Vec<Layout> {
    [(1, 1), (7, 3), (60, 16), (33, 17), (130, 64), (9, 70), (40, 200)]
        .map(|(pixels, channels)| Layout::new(random, pixels, channels))
        .to_vec()
}

struct Normalization {
    layout: Layout,
    follow: usize,
}

impl Compute for Normalization {
    fn compute<E: Element>(&self, cx: &Context, maps: Vec<Vec<E>>) -> Results {
        let Layout { pixels, channels, .. } = self.layout;
        let view = |map| self.layout.view::<E>(map);
        let [src, residual, mut d_dst] = <[Vec<E>; 3]>::try_from(maps).unwrap();
        let op = BatchNorm { pixels, channels, epsilon: 1e-3 };
        let mut workspace = vec![0.0; op.workspace_len()];
        let [mut mean, mut inv_std, mut d_scale, mut d_bias] = [0.0; 4].map(|x| vec![x; channels]);
        let (scale, bias) = (vec![0.75; channels], vec![0.125; channels]);
        op.statistics(cx, view(&src), &mut mean, &mut inv_std, None, &mut workspace);
        let norm = Normalizer { mean: &mean, inv_std: &inv_std, scale: &scale, bias: &bias };
        let mut dst = vec![E::from_f32(GAP); src.len()];
        let (adds, relu) = (self.follow == 2, self.follow > 0);
        let epilogue = Epilogue { residual: adds.then(|| view(&residual)), relu };
        op.normalize(cx, view(&src), norm, epilogue, self.layout.view_mut(&mut dst), &mut workspace);
        let gate = [Gate::Open, Gate::Relu, Gate::ReluOf(view(&dst))][self.follow];
        let (before, mut d_src) = (d_dst.clone(), src.clone());
        let grads = Gradients {
            d_src: self.layout.view_mut(&mut d_src),
            d_residual: adds.then(|| self.layout.view_mut(&mut d_dst)),
            d_scale: &mut d_scale,
            d_bias: &mut d_bias,
        };
        let d = (!adds).then(|| view(&before));
        op.backward(cx, [None, d], gate, norm, grads, &mut workspace);
        let mut scaled = vec![E::from_f32(GAP); dst.len()];
        let map = self.layout.view_mut(&mut scaled);
        batch_norm::scale_shift(cx, pixels, view(&src), &mean, &scale, map);
        let maps = [&dst, &d_src, &d_dst, &scaled].map(|map| widened(map)).to_vec();
        Results { maps, numbers: [mean, inv_std, d_scale, d_bias].concat() }
    }
}

#[test]
fn batch_norm_rounds_maps_alone() {
    let mut random = Random::new(1);
    for layout in layouts(&mut random) {
        for follow in 0..3 {
            let maps: Vec<_> = (0..3).map(|_| layout.draw(&mut random)).collect();
            let what = format!("{}×{}, {follow}", layout.pixels, layout.channels);
            same_but_rounded(&what, &Normalization { layout, follow }, &maps);
        }
    }
}

struct Pooling(Pool2dGeometry, [Layout; 2]);

impl Compute for Pooling {
    fn compute<E: Element>(&self, cx: &Context, maps: Vec<Vec<E>>) -> Results {
        let Self(g, [from, to]) = self;
        let [src, d_dst] = <[Vec<E>; 2]>::try_from(maps).unwrap();
        let mut indices = vec![0u8; g.n * g.oh * g.ow * g.c];
        let mut results = Vec::new();
        let mut run = |len: usize, layout: &Layout, kernel: &mut dyn FnMut(PixelsMut<E>)| {
            let mut map = vec![E::from_f32(GAP); len];
            kernel(layout.view_mut(&mut map));
            results.push(widened(&map));
        };
        let (x, d) = (from.view(&src), to.view(&d_dst));
        run(d_dst.len(), to, &mut |dst| pool::max_forward(cx, g, x, dst));
        run(d_dst.len(), to, &mut |dst| pool::max_forward_indexed(cx, g, x, dst, &mut indices));
        run(src.len(), from, &mut |d_src| pool::max_backward(cx, g, d, &indices, d_src));
        run(d_dst.len(), to, &mut |dst| pool::average_forward(cx, g, true, x, dst));
        run(src.len(), from, &mut |d_src| pool::average_backward(cx, g, true, d, d_src));
        Results { maps: results, numbers: indices.iter().map(|tap| f32::from(*tap)).collect() }
    }
}

#[test]
fn pools_round_what_they_write() {
    let mut random = Random::new(2);
    for (k, s, p, h, c) in
        [(3, 1, 1, 6, 20), (3, 2, 0, 7, 70), (2, 2, 0, 6, 6), (5, 3, 2, 8, 17), (4, 4, 0, 4, 300)]
    {
        let o = (h + 2 * p - k) / s + 1;
        let [pt, pl, pb, pr] = [p; 4];
        let g = Pool2dGeometry {
            n: 2,
            c,
            ih: h,
            iw: h,
            oh: o,
            ow: o,
            kh: k,
            kw: k,
            sh: s,
            sw: s,
            pt,
            pl,
            pb,
            pr,
        };
        let layouts = [h, o].map(|side| Layout::new(&mut random, 2 * side * side, c));
        let maps = layouts.map(|layout| layout.draw(&mut random));
        same_but_rounded(&format!("{g:?}"), &Pooling(g, layouts), &maps);
    }
}

struct Pointwise(Layout);

impl Compute for Pointwise {
    fn compute<E: Element>(&self, cx: &Context, maps: Vec<Vec<E>>) -> Results {
        let layout @ Layout { pixels, channels, .. } = self.0;
        let mut results = Vec::new();
        let mut run = |kernel: &mut dyn FnMut(PixelsMut<E>)| {
            // What is overwritten in place.
            let mut map = maps[2].clone();
            kernel(layout.view_mut(&mut map));
            results.push(widened(&map));
        };
        let [x, y] = [0, 1].map(|index| layout.view(&maps[index]));
        let functions =
            [Activation::Relu, Activation::LeakyRelu { slope: 0.3 }, Activation::Sigmoid, Activation::Tanh];
        for f in functions {
            run(&mut |dst| activation::forward(cx, f, x, dst, pixels, channels));
            run(&mut |dst| activation::forward_in_place(cx, f, dst, pixels, channels));
            run(&mut |dst| activation::backward(cx, f, x, y, dst, pixels, channels));
            run(&mut |dst| activation::backward_in_place(cx, f, x, dst, pixels, channels));
        }
        let shape = [1, 1, pixels, channels];
        let whole = |pixels| Operand { shape, pixels };
        let row = Operand { shape: [1, 1, 1, channels], pixels: y };
        let column = Operand { shape: [1, 1, pixels, 1], pixels: y };
        for (op, relu) in [(Binary::Add, true), (Binary::Mul, false)] {
            for other in [whole(y), row, column] {
                run(&mut |dst| broadcast::binary(cx, op, [other, whole(x)], relu, shape, dst));
                run(&mut |dst| broadcast::binary_in_place(cx, op, other, relu, shape, dst));
            }
        }
        run(&mut |dst| copy::fill(cx, 0.3, dst, pixels, channels));
        run(&mut |dst| {
            let strides = [0, 0, layout.ld, 1];
            copy::copy_box(cx, shape, x.data, strides, dst.data, strides);
        });
        Results { maps: results, numbers: Vec::new() }
    }
}

#[test]
fn elementwise_operations_round_what_they_write() {
    let mut random = Random::new(3);
    for layout in layouts(&mut random) {
        let maps: Vec<_> = (0..3).map(|_| layout.draw(&mut random)).collect();
        same_but_rounded(&format!("{}×{}", layout.pixels, layout.channels), &Pointwise(layout), &maps);
    }
}

struct Padding(Pad2d, [Layout; 2]);

impl Compute for Padding {
    fn compute<E: Element>(&self, cx: &Context, maps: Vec<Vec<E>>) -> Results {
        let Self(pad, [from, to]) = self;
        let [mut src, mut dst] = <[Vec<E>; 2]>::try_from(maps).unwrap();
        let (x, d) = (src.clone(), dst.clone());
        pad.forward(cx, from.view(&x), to.view_mut(&mut dst));
        pad.backward(cx, to.view(&d), from.view_mut(&mut src));
        Results { maps: vec![widened(&dst), widened(&src)], numbers: Vec::new() }
    }
}

#[test]
fn padding_moves_elements_as_they_are() {
    let mut random = Random::new(4);
    for channels in [1, 16, 19] {
        let margins = Margins { top: 1, bottom: 2, left: 3, channels_before: 2, ..Margins::default() };
        let pad = Pad2d::new([2, 3, 4, channels], margins, PadMode::Constant(0.5)).unwrap();
        let [n, h, w, c] = pad.dst_shape();
        let layouts = [(2 * 3 * 4, channels), (n * h * w, c)].map(|(p, c)| Layout::new(&mut random, p, c));
        let maps = layouts.map(|layout| layout.draw(&mut random));
        same_but_rounded(&format!("{channels} channels"), &Padding(pad, layouts), &maps);
    }
}
