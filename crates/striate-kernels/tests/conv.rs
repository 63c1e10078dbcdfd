//! Every pass of the convolution against the naive reference, on every instruction set present.

mod maps;

use maps::Pool;
use proptest::prelude::*;
use striate_kernels::conv::*;
use striate_kernels::view::extent;
use striate_kernels::{Bf16, Context, Element, ElementType, Executor, Isa, Pixels, Serial, reference};

/// Repeatable numbers in −1 .. 1 with few bits, so that the reference rounds none of its products.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| *x as f64).collect()
}

/// `values` as they are multiplied.
fn rounded(mut values: Vec<f32>, element: ElementType) -> Vec<f32> {
    if element == ElementType::Bf16 {
        values.iter_mut().for_each(|x| *x = Bf16::from_f32(*x).to_f32());
    }
    values
}

/// What lies between pixels in every buffer of these tests: a NaN that arithmetic does not make, of either type, so that
/// it spoils what reads it and misses where it is overwritten.
const BETWEEN: f32 = f32::from_bits(0x7FC5_0000);

/// A map with `ld` elements per pixel in channels-last order, from (n, c, h, w), that ends with its last element.
fn spread<E: Element>(map: &[f32], (n, channels, plane): (usize, usize, usize), ld: usize) -> Vec<E> {
    let mut out = vec![E::from_f32(BETWEEN); extent(n * plane, channels, ld)];
    for (i, value) in map.iter().enumerate() {
        let (image, channel, pixel) = (i / plane / channels, i / plane % channels, i % plane);
        out[(image * plane + pixel) * ld + channel] = E::from_f32(*value);
    }
    out
}

/// The inverse of [`spread`]; fails where memory between pixels was touched.
fn collect(map: &[f32], (n, channels, plane): (usize, usize, usize), ld: usize) -> Vec<f32> {
    for pixel in map.chunks(ld) {
        let touched = pixel[channels..].iter().any(|x| x.to_bits() != BETWEEN.to_bits());
        assert!(!touched, "memory between pixels was touched");
    }
    let value = |i: usize| {
        let (image, channel, pixel) = (i / plane / channels, i / plane % channels, i % plane);
        map[(image * plane + pixel) * ld + channel]
    };
    (0..n * channels * plane).map(value).collect()
}

/// The bits of `values`, which tell NaN from NaN too.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Fails where `values` are further from `expected` than the rounding of sums of `terms` products explains: a
/// partial sum is about √terms in size, and about √terms roundings of that size remain in the end.
fn assert_close(what: &str, values: &[f32], expected: &[f64], terms: usize) {
    assert_eq!(values.len(), expected.len());
    let tolerance = 3.0 * f32::EPSILON as f64 * (terms + 4) as f64;
    for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
        let error = (*value as f64 - expected).abs();
        assert!(error <= tolerance, "{what}[{i}]: {value}, expected {expected}, tolerance {tolerance:.1e}");
    }
}

/// As [`assert_close`], of values rounded to bfloat16; with a residual of up to 1, which may have been added to a value
/// rounded already.
fn assert_close_rounded(what: &str, values: &[f32], expected: &[f64], terms: usize, residual: bool) {
    assert_eq!(values.len(), expected.len());
    let rounding = Bf16::EPSILON as f64 / 2.0;
    for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
        let sum = 3.0 * f32::EPSILON as f64 * (terms + 4) as f64;
        let size = expected.abs() + if residual { expected.abs() + 1.0 } else { 0.0 };
        let (error, tolerance) = ((*value as f64 - expected).abs(), sum + rounding * size);
        assert!(error <= tolerance, "{what}[{i}]: {value}, expected {expected}, tolerance {tolerance:.1e}");
    }
}

/// The greatest absolute value, at least 1.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()))
}

/// Fails where `values` are further from `expected` than `tolerance` times `largest`.
fn assert_close_to_largest(what: &str, values: &[f32], expected: &[f64], largest: f64, tolerance: f64) {
    assert_eq!(values.len(), expected.len());
    for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
        let error = (*value as f64 - expected).abs() / largest;
        assert!(error <= tolerance, "{what}[{i}]: {value}, expected {expected}, of {largest} at most");
    }
}

/// Bounds on both sides of most sums.
const CLIP: Activation = Activation::Clip { min: -0.25, max: 0.5 };

/// How a case is run, beside its geometry.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    /// Elements between the pixels of source and destination.
    gap: (usize, usize),
    bias: bool,
    scale: bool,
    residual: bool,
    activation: Activation,
    /// What source and destination consist of.
    elements: (ElementType, ElementType),
}

impl Setting {
    const ALL: Setting = Setting {
        gap: (3, 5),
        bias: true,
        scale: true,
        residual: true,
        activation: CLIP,
        elements: (ElementType::F32, ElementType::F32),
    };

    fn options(self, algorithm: Algorithm) -> Options {
        Options { algorithm, src: self.elements.0, dst: self.elements.1 }
    }

    /// What is multiplied.
    fn factors(self) -> ElementType {
        if self.elements == Self::ALL.elements { ElementType::F32 } else { ElementType::Bf16 }
    }
}

/// Source and destination, where one of them at least is bfloat16.
const MIXED: [(ElementType, ElementType); 3] = [
    (ElementType::Bf16, ElementType::Bf16),
    (ElementType::Bf16, ElementType::F32),
    (ElementType::F32, ElementType::Bf16),
];

/// Calls a function, generic over source and destination, with the elements of a setting.
macro_rules! with_elements {
    ($setting:expr, $function:ident($($argument:expr),*)) => {
        match $setting.elements {
            (ElementType::F32, ElementType::F32) => $function::<f32, f32>($($argument),*),
            (ElementType::F32, ElementType::Bf16) => $function::<f32, Bf16>($($argument),*),
            (ElementType::Bf16, ElementType::F32) => $function::<Bf16, f32>($($argument),*),
            (ElementType::Bf16, ElementType::Bf16) => $function::<Bf16, Bf16>($($argument),*),
        }
    };
}

/// Which gather is tested.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Forward,
    BackwardData,
}

/// Runs a gather on `isa`; returns what it wrote, as it lies in memory.
fn run_gather(
    cx: &Context,
    g: &Conv2dGeometry,
    pass: Pass,
    algorithm: Algorithm,
    setting: Setting,
) -> Vec<f32> {
    with_elements!(setting, run_gather_of(cx, g, pass, algorithm, setting))
}

/// As [`run_gather`], of a convolution whose source consists of `A` and its destination of `B`.
fn run_gather_of<A: Element, B: Element>(
    cx: &Context,
    g: &Conv2dGeometry,
    pass: Pass,
    algorithm: Algorithm,
    setting: Setting,
) -> Vec<f32> {
    let src_shape = (g.n, g.ic, g.ih * g.iw);
    let dst_shape = (g.n, g.oc, g.oh() * g.ow());
    let (src_ld, dst_ld) = (g.ic + setting.gap.0, g.oc + setting.gap.1);
    let weights = noise(g.weights_len(), 2);
    let options = setting.options(algorithm);
    macro_rules! run {
        ($pass:ident, $from:ty, $from_shape:expr, $from_ld:expr, $to:ty, $to_shape:expr, $to_ld:expr) => {{
            let (from, to): ((usize, usize, usize), (usize, usize, usize)) = ($from_shape, $to_shape);
            let src: Vec<$from> = spread(&noise(from.0 * from.1 * from.2, 1), from, $from_ld);
            let (bias, scale) = (noise(to.1, 3), noise(to.1, 4));
            let residual_ld = to.1 + 2;
            let residual: Vec<$to> = spread(&noise(to.0 * to.1 * to.2, 5), to, residual_ld);
            let epilogue = Epilogue {
                bias: setting.bias.then_some(&bias),
                residual: setting.residual.then_some(Pixels::new(&residual, residual_ld)),
                activation: setting.activation,
            };
            let mut dst: Vec<$to> = spread(&vec![f32::NAN; to.0 * to.1 * to.2], to, $to_ld);
            let pass = $pass::with(cx.isa, g, src_ld, dst_ld, options).unwrap();
            let mut packed = vec![f32::NAN; pass.packed_len()];
            pass.pack(cx, &weights, setting.scale.then_some(&scale[..]), &mut packed);
            let mut workspace = vec![f32::NAN; pass.workspace_len(cx.exec.workers())];
            pass.run(cx, &src, &packed, &epilogue, &mut dst, &mut workspace);
            dst.into_iter().map(Element::to_f32).collect()
        }};
    }
    match pass {
        Pass::Forward => run!(Forward, A, src_shape, src_ld, B, dst_shape, dst_ld),
        Pass::BackwardData => run!(BackwardData, B, dst_shape, dst_ld, A, src_shape, src_ld),
    }
}

/// What [`run_gather`] should write, (n, c, h, w), with weights as the algorithm multiplies them; and the greatest of its
/// sums, whatever they are held within.
fn expect_gather(g: &Conv2dGeometry, pass: Pass, algorithm: Algorithm, setting: Setting) -> (Vec<f64>, f64) {
    let (channels, plane, read, [from, written]) = match pass {
        Pass::Forward => {
            (g.oc, g.oh() * g.ow(), g.n * g.ic * g.ih * g.iw, [setting.elements.0, setting.elements.1])
        }
        Pass::BackwardData => {
            (g.ic, g.ih * g.iw, g.n * g.oc * g.oh() * g.ow(), [setting.elements.1, setting.elements.0])
        }
    };
    let (bias, scale) = (noise(channels, 3), noise(channels, 4));
    let scaled = |(i, weight): (usize, f32)| {
        let (group_ic, kernel) = (g.ic / g.groups, g.kh * g.kw);
        let (o, c) = (i / kernel / group_ic, i / kernel % group_ic);
        let channel = match pass {
            Pass::Forward => o,
            Pass::BackwardData => o / (g.oc / g.groups) * group_ic + c,
        };
        if setting.scale { weight * scale[channel] } else { weight }
    };
    let weights: Vec<f32> = noise(g.weights_len(), 2).into_iter().enumerate().map(scaled).collect();
    let depthwise = g.groups > 1 && g.groups == g.ic && g.groups == g.oc;
    let winograd = algorithm == Algorithm::Winograd;
    let exact = depthwise || winograd;
    let weights = widen(&rounded(weights, if exact { ElementType::F32 } else { setting.factors() }));
    let src = widen(&rounded(noise(read, 1), if winograd { from } else { setting.factors() }));
    let sums = match pass {
        Pass::Forward => reference::conv::forward(g, &src, &weights, None),
        Pass::BackwardData => reference::conv::backward_data(g, &src, &weights),
    };
    let residual = rounded(noise(sums.len(), 5), written);
    let finish = |(i, sum): (usize, &f64)| {
        let mut value = *sum;
        if setting.bias {
            value += bias[i / plane % channels] as f64;
        }
        if setting.residual {
            value += residual[i] as f64;
        }
        value
    };
    let sums: Vec<f64> = sums.iter().enumerate().map(finish).collect();
    let bounded = sums.iter().map(|value| match setting.activation {
        Activation::None => *value,
        Activation::Relu => value.max(0.0),
        Activation::Clip { min, max } => value.max(min.into()).min(max.into()),
    });
    (bounded.collect(), largest(&sums))
}

fn check_gather(g: &Conv2dGeometry, pass: Pass, algorithm: Algorithm, setting: Setting) {
    let (expected, largest) = expect_gather(g, pass, algorithm, setting);
    let (src, dst) = setting.elements;
    let (shape, ld, terms, written) = match pass {
        Pass::Forward => {
            ((g.n, g.oc, g.oh() * g.ow()), g.oc + setting.gap.1, g.ic / g.groups * g.kh * g.kw, dst)
        }
        Pass::BackwardData => {
            ((g.n, g.ic, g.ih * g.iw), g.ic + setting.gap.0, g.oc / g.groups * g.kh * g.kw, src)
        }
    };
    for isa in Isa::present() {
        let dst = run_gather(&Context { isa, exec: &Serial }, g, pass, algorithm, setting);
        let what = format!("{pass:?} {algorithm} {isa} {src}->{} {g}", setting.elements.1);
        let values = collect(&dst, shape, ld);
        match (algorithm, written) {
            (Algorithm::Winograd, ElementType::F32) => {
                assert_close_to_largest(&what, &values, &expected, largest, 1e-5)
            }
            (Algorithm::Winograd, ElementType::Bf16) => {
                assert_close_to_largest(&what, &values, &expected, largest, 1e-5 + Bf16::EPSILON as f64 / 2.0)
            }
            (_, ElementType::F32) => assert_close(&what, &values, &expected, terms),
            (_, ElementType::Bf16) => {
                assert_close_rounded(&what, &values, &expected, terms, setting.residual)
            }
        }
    }
}

/// The gradients of weights and bias.
fn run_weights(
    cx: &Context,
    g: &Conv2dGeometry,
    algorithm: Algorithm,
    setting: Setting,
) -> (Vec<f32>, Vec<f32>) {
    with_elements!(setting, run_weights_of(cx, g, algorithm, setting))
}

/// As [`run_weights`], of a convolution whose source consists of `A` and its destination of `B`.
fn run_weights_of<A: Element, B: Element>(
    cx: &Context,
    g: &Conv2dGeometry,
    algorithm: Algorithm,
    setting: Setting,
) -> (Vec<f32>, Vec<f32>) {
    let (src_shape, dst_shape) = ((g.n, g.ic, g.ih * g.iw), (g.n, g.oc, g.oh() * g.ow()));
    let (src_ld, dst_ld) = (g.ic + setting.gap.0, g.oc + setting.gap.1);
    let src: Vec<A> = spread(&noise(g.n * g.ic * g.ih * g.iw, 1), src_shape, src_ld);
    let d_dst: Vec<B> = spread(&noise(g.n * g.oc * g.oh() * g.ow(), 2), dst_shape, dst_ld);
    let pass = BackwardWeights::with(cx.isa, g, src_ld, dst_ld, setting.options(algorithm)).unwrap();
    let mut workspace = vec![f32::NAN; pass.workspace_len(cx.exec.workers())];
    let (mut d_weights, mut d_bias) = (vec![f32::NAN; g.weights_len()], vec![f32::NAN; g.oc]);
    let bias = setting.bias.then_some(&mut d_bias[..]);
    pass.run(cx, &src, &d_dst, &mut d_weights, bias, &mut workspace);
    (d_weights, d_bias)
}

fn check_weights(g: &Conv2dGeometry, algorithm: Algorithm, setting: Setting) {
    let (src, dst) = match algorithm {
        Algorithm::Winograd => setting.elements,
        _ => (setting.factors(), setting.factors()),
    };
    let src = rounded(noise(g.n * g.ic * g.ih * g.iw, 1), src);
    let d_dst = rounded(noise(g.n * g.oc * g.oh() * g.ow(), 2), dst);
    let (weights, bias) = reference::conv::backward_weights(g, &widen(&src), &widen(&d_dst));
    let terms = g.n * g.oh() * g.ow();
    for isa in Isa::present() {
        let (d_weights, d_bias) = run_weights(&Context { isa, exec: &Serial }, g, algorithm, setting);
        let what = format!("d_weights {algorithm} {isa} {:?} {g}", setting.elements);
        match algorithm {
            Algorithm::Winograd => {
                assert_close_to_largest(&what, &d_weights, &weights, largest(&weights), 1e-5)
            }
            _ => assert_close(&what, &d_weights, &weights, terms),
        }
        if setting.bias {
            assert_close(&format!("d_bias {isa} {g}"), &d_bias, &bias, terms);
        }
    }
}

fn check_all(g: &Conv2dGeometry, setting: Setting) {
    check_gather(g, Pass::Forward, Algorithm::Direct, setting);
    check_gather(g, Pass::BackwardData, Algorithm::Direct, setting);
    check_weights(g, Algorithm::Direct, setting);
}

/// Geometries at the edges of tiles, panels, blocks and orders.
const EDGES: [&str; 40] = [
    // One number.
    "ic1 ih1 oc1 kh1",
    // One channel to several and back.
    "n3 ic1 ih2 oc5 kh1",
    "n3 ic5 ih2 oc1 kh1",
    // Fully connected, alone and in a batch.
    "ic120 ih1 oc84 kh1",
    "n128 ic84 ih1 oc10 kh1",
    "n5 ic2600 ih1 oc65 kh1",
    // LeNet-5's layers.
    "n2 ic1 ih28 oc6 kh5 ph2",
    "n2 ic6 ih14 oc16 kh5",
    "n13 ic16 ih5 oc120 kh5",
    // Few channels written, so that neighbouring pixels are folded: all of a row, some, with stride.
    "n2 ic5 ih8 oc1 kh3 ph1",
    "n3 ic3 ih9 iw12 oc4 kh3 kw5 ph1 pw2",
    "n17 ic4 ih6 oc6 kh5 sh2 ph2",
    "n2 ic3 ih9 oc2 kh3 kw4 sh1 sw3 ph1",
    // Panels of one to five vectors, full and not.
    "ic3 ih6 oc15 kh3 ph1",
    "ic3 ih6 oc17 kh3 ph1",
    "ic5 ih6 oc48 kh3 ph1",
    "ic5 ih7 oc64 kh3 ph1",
    "ic5 ih6 oc65 kh3 ph1",
    "ic5 ih6 oc80 kh3 ph1",
    "ic5 ih6 oc130 kh1",
    // A reduction cut into blocks, of several taps and within one.
    "n3 ic200 ih4 oc66 kh3 ph1",
    "n2 ic1400 ih3 oc64 kh1",
    "n2 ic1400 ih3 oc64 kh2 ph1",
    // More taps than a table of rows holds.
    "ic2 ih12 iw9 oc3 kh11 kw7 ph5 pw3",
    "ic40 ih10 oc3 kh9 ph4",
    // Taps that mostly fall on padding.
    "n16 ic24 ih3 oc20 kh3 ph1",
    "n9 ic40 ih2 oc33 kh5 ph2",
    "ic4 ih2 oc4 kh1 ph3",
    // Strides, with and without remainder, larger than the kernel, and asymmetric padding.
    "n2 ic3 ih15 oc8 kh7 sh2 ph3",
    "n2 ic8 ih9 oc12 kh1 sh2",
    "ic8 ih10 oc12 kh2 sh3",
    "ic7 ih11 iw8 oc9 kh3 sh2 sw3 pt0 pb1 pl2 pr0",
    "ic35 ih11 iw8 oc9 kh4 kw3 sh2 sw1 pt3 pb1 pl2 pr0",
    // Dilation, with stride.
    "ic6 ih13 oc7 kh3 dh2 ph2",
    "ic6 ih13 oc7 kh3 sh2 dh3 dw2 ph3 pw1",
    // Groups, and depthwise.
    "n2 g2 ic6 ih7 oc10 kh3 ph1",
    "g3 ic51 ih5 oc204 kh3 sh2 ph1",
    "n2 g37 ic37 ih7 oc37 kh3 ph1",
    "g64 ic64 ih9 oc64 kh5 sh2 dh2 ph2",
    "g4 ic4 ih7 oc8 kh3 ph1",
];

#[test]
fn passes_agree_with_the_reference_at_the_edges() {
    for text in EDGES {
        let g: Conv2dGeometry = text.parse().unwrap();
        check_all(&g, Setting::default());
        check_all(&g, Setting::ALL);
        check_all(&g, Setting { gap: (0, 0), ..Setting::ALL });
        for elements in MIXED {
            for gap in [Setting::ALL.gap, (0, 0)] {
                let setting = Setting { gap, elements, ..Setting::ALL };
                check_all(&g, setting);
            }
        }
    }
}

prop_compose! {
    fn axis()(kernel in 1usize..5, stride in 1usize..4, dilation in 1usize..4)
        (kernel in Just(kernel), stride in Just(stride), dilation in Just(dilation),
         before in 0usize..4, after in 0usize..4, room in 0usize..9)
        -> [usize; 6] {
        let span = (kernel - 1) * dilation + 1;
        let lines = (span + room).saturating_sub(before + after).max(1);
        [lines, kernel, stride, dilation, before, after]
    }
}

prop_compose! {
    fn geometry()(
        n in 1usize..9,
        groups in prop_oneof![3 => Just(1usize), 1 => 2usize..5],
        (icg, ocg) in prop_oneof![3 => (1usize..40, 1usize..70), 1 => Just((1, 1))],
        [ih, kh, sh, dh, pt, pb] in axis(),
        [iw, kw, sw, dw, pl, pr] in axis(),
    ) -> Conv2dGeometry {
        let (ic, oc) = (groups * icg, groups * ocg);
        Conv2dGeometry { n, groups, ic, ih, iw, oc, kh, kw, sh, sw, dh, dw, pt, pb, pl, pr }
    }
}

prop_compose! {
    fn setting()(
        gap in (0usize..4, 0usize..4),
        [bias, scale, residual] in prop::array::uniform3(any::<bool>()),
        activation in prop::sample::select(vec![Activation::None, Activation::Relu, CLIP]),
    ) -> Setting {
        Setting { gap, bias, scale, residual, activation, elements: Setting::ALL.elements }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn passes_agree_with_the_reference(g in geometry(), setting in setting()) {
        prop_assume!(g.validate().is_ok());
        check_all(&g, setting);
    }

    #[test]
    fn passes_over_bfloat16_agree_with_the_reference(
        g in geometry(),
        setting in setting(),
        elements in prop::sample::select(&MIXED[..]),
    ) {
        prop_assume!(g.validate().is_ok());
        check_all(&g, Setting { elements, ..setting });
    }

    #[test]
    fn problem_strings_round_trip(g in geometry()) {
        prop_assume!(g.validate().is_ok());
        prop_assert_eq!(g.to_string().parse::<Conv2dGeometry>(), Ok(g));
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_workers() {
    let problems = [
        "n20 ic1 ih28 oc6 kh5 ph2",
        "n8 ic32 ih14 oc64 kh3 ph1",
        "n3 ic64 ih17 oc130 kh3 sh2 ph1",
        "n300 ic400 ih1 oc120 kh1",
        "n4 g48 ic48 ih20 oc48 kh3 ph1",
    ];
    for text in problems {
        let g: Conv2dGeometry = text.parse().unwrap();
        for pass in [Pass::Forward, Pass::BackwardData] {
            for elements in [Setting::ALL.elements].into_iter().chain(MIXED) {
                let run = |exec: &dyn Executor| {
                    let setting = Setting { elements, ..Setting::ALL };
                    bits(&run_gather(&Context::new(exec), &g, pass, Algorithm::Direct, setting))
                };
                let alone = run(&Serial);
                for workers in 1..=3 {
                    assert!(alone == run(&Pool::new(workers)), "{pass:?} {g} differs with {workers} workers");
                }
            }
        }
        for elements in [Setting::ALL.elements].into_iter().chain(MIXED) {
            let setting = Setting { elements, ..Setting::ALL };
            let alone = run_weights(&Context::new(&Serial), &g, Algorithm::Direct, setting);
            for workers in 1..=3 {
                let spread = run_weights(&Context::new(&Pool::new(workers)), &g, Algorithm::Direct, setting);
                assert!(alone == spread, "gradients of weights of {g} differ with {workers} workers");
            }
        }
    }
}

/// Geometries at the edges of Winograd's tiles, panels, blocks and ways of working.
const WINOGRAD_EDGES: [&str; 19] = [
    // Fewer lines than a tile has, and one channel.
    "ic1 ih3 oc1 kh3",
    "ic1 ih1 oc2 kh3 ph1",
    "n3 ic2 ih2 iw5 oc3 kh3 ph1",
    // Padding less, more and asymmetric; backward-data begins inside its source.
    "n2 ic5 ih9 iw6 oc7 kh3",
    "ic3 ih6 oc4 kh3 ph5",
    "n2 ic6 ih7 iw10 oc9 kh3 pt0 pb3 pl2 pr1",
    // Whole tiles, whole vectors; rows as far apart as the L1 cache is long.
    "ic16 ih8 oc16 kh3 ph1",
    "ic256 ih6 oc64 kh3 ph1",
    // Panels of several widths, full and not; several blocks, one worker's each.
    "n4 ic33 ih14 oc130 kh3 ph1",
    "ic40 ih29 iw31 oc80 kh3 ph1",
    // Phases: few tiles, and several blocks.
    "n2 ic20 ih7 oc72 kh3 ph1",
    "ic1 ih24 oc3300 kh3",
    // The same of 5×5 kernels.
    "ic1 ih5 oc1 kh5",
    "ic1 ih1 oc2 kh5 ph2",
    "n3 ic2 ih2 iw7 oc3 kh5 ph2",
    "n2 ic6 ih7 iw10 oc9 kh5 pt0 pb3 pl6 pr1",
    "n4 ic33 ih14 oc130 kh5 ph2",
    "n2 ic20 ih4 oc72 kh5 ph2",
    "ic1 ih24 oc3300 kh5",
];

#[test]
fn winograd_agrees_with_the_reference_at_the_edges() {
    for text in WINOGRAD_EDGES {
        let g: Conv2dGeometry = text.parse().unwrap();
        for setting in [Setting::default(), Setting::ALL] {
            check_gather(&g, Pass::Forward, Algorithm::Winograd, setting);
            check_gather(&g, Pass::BackwardData, Algorithm::Winograd, setting);
            check_weights(&g, Algorithm::Winograd, setting);
        }
        for elements in MIXED {
            let setting = Setting { elements, ..Setting::ALL };
            check_gather(&g, Pass::Forward, Algorithm::Winograd, setting);
            check_gather(&g, Pass::BackwardData, Algorithm::Winograd, setting);
            check_weights(&g, Algorithm::Winograd, setting);
        }
    }
}

prop_compose! {
    fn winograd_geometry()(
        (n, ic, oc) in (1usize..5, 1usize..40, 1usize..90),
        kernel in prop_oneof![Just(3usize), Just(5)],
        (ih, iw) in (5usize..17, 5usize..17),
        [pt, pb, pl, pr] in prop::array::uniform4(0usize..7),
    ) -> Conv2dGeometry {
        let (kh, kw, sh, sw, dh, dw) = (kernel, kernel, 1, 1, 1, 1);
        Conv2dGeometry { n, groups: 1, ic, ih, iw, oc, kh, kw, sh, sw, dh, dw, pt, pb, pl, pr }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn winograd_agrees_with_the_reference(g in winograd_geometry(), setting in setting()) {
        check_gather(&g, Pass::Forward, Algorithm::Winograd, setting);
        check_gather(&g, Pass::BackwardData, Algorithm::Winograd, setting);
        check_weights(&g, Algorithm::Winograd, setting);
    }
}

#[test]
fn bits_of_winograd_do_not_depend_on_the_number_of_workers() {
    for text in [
        "n4 ic33 ih14 oc130 kh3 ph1",
        "n2 ic20 ih7 oc72 kh3 ph1",
        "n3 ic130 ih19 oc40 kh3 ph1",
        "n4 ic33 ih14 oc130 kh5 ph2",
    ] {
        let g: Conv2dGeometry = text.parse().unwrap();
        for pass in [Pass::Forward, Pass::BackwardData] {
            let run = |exec: &dyn Executor| {
                let cx = Context::new(exec);
                bits(&run_gather(&cx, &g, pass, Algorithm::Winograd, Setting::ALL))
            };
            let alone = run(&Serial);
            for workers in 1..=3 {
                assert!(alone == run(&Pool::new(workers)), "{pass:?} {g} differs with {workers} workers");
            }
        }
        let run =
            |exec: &dyn Executor| run_weights(&Context::new(exec), &g, Algorithm::Winograd, Setting::ALL);
        let alone = run(&Serial);
        for workers in 1..=3 {
            let spread = run(&Pool::new(workers));
            assert!(alone == spread, "gradients of weights of {g} differ with {workers} workers");
        }
    }
}

#[test]
fn algorithms_that_do_not_fit_are_refused_with_their_reason() {
    for (text, reason) in [
        ("ic8 ih9 oc8 kh7", "the kernel is 7x7, not 3x3 or 5x5"),
        ("ic8 ih9 oc8 kh3 kw5", "the kernel is 3x5, not 3x3 or 5x5"),
        ("ic8 ih9 oc8 kh3 sh1 sw2", "the stride is 1x2, not 1"),
        ("ic8 ih9 oc8 kh3 dh2", "the dilation is 2x2, not 1"),
        ("g2 ic8 ih9 oc8 kh3", "there are 2 groups, not 1"),
    ] {
        let g: Conv2dGeometry = text.parse().unwrap();
        let refused = Forward::with_algorithm(Isa::best(), &g, 8, 8, Algorithm::Winograd).unwrap_err();
        assert_eq!(refused.to_string(), format!("winograd does not fit: {reason}"));
        let candidates = Forward::new(Isa::best(), &g, 8, 8).unwrap().candidates().to_vec();
        let reasons: Vec<_> = candidates.iter().filter_map(|c| c.cycles.err()).collect();
        assert_eq!(reasons.iter().map(Refusal::to_string).collect::<Vec<_>>(), [reason]);
    }
}

#[test]
fn the_algorithm_estimated_to_be_fastest_is_taken() {
    for (text, least) in [
        ("n16 ic64 ih56 oc64 kh3 ph1", Algorithm::Winograd),
        ("ic128 ih28 oc128 kh3 ph1", Algorithm::Winograd),
        ("n32 ic64 ih27 oc192 kh5 ph2", Algorithm::Winograd),
        // Few channels to multiply with, or weights that are read for a few tiles alone.
        ("ic3 ih224 oc64 kh3 ph1", Algorithm::Direct),
        ("n128 ic6 ih14 oc16 kh5", Algorithm::Direct),
        ("ic512 ih3 oc512 kh3 ph1", Algorithm::Direct),
    ] {
        let g: Conv2dGeometry = text.parse().unwrap();
        for isa in Isa::present() {
            let auto = Forward::new(isa, &g, g.ic, g.oc).unwrap();
            let named = Forward::with_algorithm(isa, &g, g.ic, g.oc, least).unwrap();
            assert_eq!(auto.describe(), named.describe(), "{isa} {g}: {:?}", auto.candidates());
            let [asked, other] = match least {
                Algorithm::Winograd => [1, 0],
                _ => [0, 1],
            };
            assert!(named.candidates()[asked].cycles.is_ok());
            assert_eq!(named.candidates()[other].cycles, Err(Refusal::Asked { asked: least }));
        }
    }
}

#[test]
fn nan_passes_through_the_rectifier() {
    let g: Conv2dGeometry = "ic1 ih1 oc2 kh1".parse().unwrap();
    for isa in Isa::present() {
        let cx = Context { isa, exec: &Serial };
        let pass = Forward::new(isa, &g, 1, 2).unwrap();
        let mut packed = vec![0.0; pass.packed_len()];
        pass.pack(&cx, &[1.0, f32::NAN], None, &mut packed);
        let mut dst = [0.0; 2];
        for (activation, least) in [(Activation::Relu, 0.0), (CLIP, -0.25)] {
            let epilogue = Epilogue { activation, ..Epilogue::default() };
            pass.run(&cx, &[-1.0], &packed, &epilogue, &mut dst, &mut vec![0.0; pass.workspace_len(1)]);
            assert!(dst[0] == least && dst[1].is_nan(), "{isa}: {dst:?}");
        }
    }
}

#[test]
#[should_panic(expected = "(Bf16, F32)")]
fn elements_other_than_planned_are_refused() {
    let g: Conv2dGeometry = "ic2 ih1 oc2 kh1".parse().unwrap();
    let pass = Forward::new(Isa::best(), &g, 2, 2).unwrap();
    let (packed, mut workspace) = (vec![0.0; pass.packed_len()], vec![0.0; pass.workspace_len(1)]);
    let cx = Context::new(&Serial);
    pass.run(&cx, &[Bf16::ZERO; 2], &packed, &Epilogue::default(), &mut [0.0; 2], &mut workspace);
}

#[test]
fn problem_strings_print_what_the_defaults_do_not_restore() {
    for (text, printed) in [
        ("n16 ic64 ih56 iw56 oc64 kh3 kw3 sh1 sw1 ph1 pw1", "n16 ic64 ih56 oc64 kh3 ph1"),
        ("kh1 oc5 ih1 ic3", "ic3 ih1 oc5 kh1"),
        ("ic8 ih9 iw7 oc8 kh3 kw1 sh2 sw1 ph1 pw0 g8", "g8 ic8 ih9 iw7 oc8 kh3 kw1 sh2 sw1 ph1 pw0"),
        ("ic1 ih9 oc1 kh3 pt1 pb2 pl0 pr3", "ic1 ih9 oc1 kh3 pt1 pb2 pr3"),
        ("ic1 ih9 oc1 kh3 ph1 pl1 pr2", "ic1 ih9 oc1 kh3 ph1 pl1 pr2"),
    ] {
        let g: Conv2dGeometry = text.parse().unwrap();
        assert_eq!(g.to_string(), printed);
        assert_eq!(printed.parse(), Ok(g));
    }
}

#[test]
fn sizes_follow_from_the_problem_string() {
    let g: Conv2dGeometry = "n2 ic3 ih224 oc64 kh7 sh2 ph3".parse().unwrap();
    assert_eq!((g.oh(), g.ow(), g.weights_len()), (112, 112, 9408));
    assert_eq!(g.macs(), 2 * 118_013_952);
}

#[test]
fn broken_geometries_are_refused_with_their_numbers() {
    for (text, message) in [
        ("ic64 ih8 oc64", "kh is missing: ic, ih, oc and kh have no default"),
        (
            "ic64 ih8 oc64 kh3 stride2",
            "'stride2' is not a field with a number: write for example n16 ic64 ih56 oc64 kh3 sh1 ph1",
        ),
        (
            "ic64 ih8 oc64 kh3 sh",
            "'sh' is not a field with a number: write for example n16 ic64 ih56 oc64 kh3 sh1 ph1",
        ),
        ("ic64 ih8 oc64 kh3 ph1 pt2", "'pt2' sets pt a second time"),
        ("ic64 ih8 oc64 kh3 sh0", "sh is 0: it must be at least 1"),
        ("ic64 ih8 oc64 kh99999999", "kh is 99999999: it must not exceed 16777216"),
        (
            "g3 ic64 ih8 oc66 kh3",
            "groups 3 does not divide 64 source channels: choose a common divisor of ic and oc",
        ),
        (
            "g2 ic64 ih8 oc33 kh3",
            "groups 2 does not divide 33 destination channels: choose a common divisor of ic and oc",
        ),
        ("ic1 ih8 oc1 kh5 dh3 ph2", "the kernel spans 13 rows, the padded source has only 12: pad by 1 more"),
        (
            "n1000000 ic1000 ih1000 oc1 kh1",
            "the source would have 1000000000000000 elements, of at most 2147483648: reduce the batch, the channels or the extent",
        ),
    ] {
        assert_eq!(text.parse::<Conv2dGeometry>().unwrap_err().to_string(), message);
    }
    let g: Conv2dGeometry = "ic64 ih8 oc32 kh3".parse().unwrap();
    assert_eq!(
        Forward::new(Isa::Scalar, &g, 63, 32).unwrap_err().to_string(),
        "source pixels lie 63 elements apart, but each has 64 channels: the distance must not be less"
    );
}

#[test]
fn strides_of_absurd_size_are_refused() {
    let g: Conv2dGeometry = "ic1 ih4096 oc1 kh1 sh4096 sw4096".parse().unwrap();
    let refused = BackwardData::new(Isa::best(), &g, 1, 1).unwrap_err().to_string();
    assert!(refused.contains("16777216 phases"), "{refused}");
    // Many phases, most of them without a tap: zeros.
    check_gather(
        &"ic3 ih64 oc4 kh2 sh64 sw64".parse().unwrap(),
        Pass::BackwardData,
        Algorithm::Direct,
        Setting::ALL,
    );
}
