//! Batch normalisation (Ioffe and Szegedy 2015): each channel to the mean and variance it has in the batch,
//! then to a learned scale and bias.
//!
//! y = γ(x − μ)/√(σ² + ε) + β, with μ and σ² over the pixels of all images; for inference μ and σ² are running
//! averages and the whole is one scale and one shift a channel.

use crate::channelwise::{self, AddSums, COMBINE, ChannelMap, ChannelSum, Maps, Source, Sum, rows_per_sum};
use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::simd::{Simd, dispatch};
use crate::view::{Pixels, PixelsMut};

/// The geometry of a training step's batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Pixels of the whole batch: n·h·w.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// ε, added to the variance.
    pub epsilon: f32,
}

/// Running averages, updated towards each batch: new = (1 − momentum)·old + momentum·batch.
#[derive(Debug)]
pub struct Running<'a> {
    /// Of the mean, a channel each.
    pub mean: &'a mut [f32],
    /// Of the unbiased variance (divided by pixels − 1), a channel each.
    pub variance: &'a mut [f32],
    /// The weight of the new batch; PyTorch's default is 0.1.
    pub momentum: f32,
}

/// The batch's statistics and the learned affine map: what turns x into y, a channel each.
#[derive(Clone, Copy, Debug)]
pub struct Normalizer<'a> {
    /// μ
    pub mean: &'a [f32],
    /// 1/√(σ² + ε), with the biased variance (divided by pixels).
    pub inv_std: &'a [f32],
    /// γ
    pub scale: &'a [f32],
    /// β
    pub bias: &'a [f32],
}

/// What follows the normalisation in the same pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a, E = f32> {
    /// A map to add, as a residual block does.
    pub residual: Option<Pixels<'a, E>>,
    /// Whether a ReLU follows, after the addition.
    pub relu: bool,
}

/// How the gradient reaches the normalisation.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'a, E = f32> {
    /// As it is: no ReLU followed.
    Open,
    /// Through the ReLU that followed directly; which elements it passed, NaN among them, is computed again from
    /// the source.
    Relu,
    /// Through a ReLU that followed an addition; it passed the elements where its result, given, is positive or
    /// NaN.
    ReluOf(Pixels<'a, E>),
}

/// What the backward pass writes.
#[derive(Debug)]
pub struct Gradients<'a, E = f32> {
    /// ∂/∂x
    pub d_src: PixelsMut<'a, E>,
    /// ∂/∂ of the residual that was added: the gradient behind the gate, where wanted.
    pub d_residual: Option<PixelsMut<'a, E>>,
    /// ∂/∂γ, a channel each.
    pub d_scale: &'a mut [f32],
    /// ∂/∂β, a channel each.
    pub d_bias: &'a mut [f32],
}

impl BatchNorm {
    fn chunks(&self) -> usize {
        self.pixels.div_ceil(rows_per_sum(self.channels))
    }

    /// Floats of workspace that each of the methods needs.
    pub fn workspace_len(&self) -> usize {
        (3 * self.chunks()).max(3) * self.channels
    }

    /// The batch's mean and 1/√(biased variance + ε) of each channel; updates the running averages. Where an
    /// element is not finite, or the variance overflows, the deviation and the running variance become NaN.
    ///
    /// Accurate where the mean is large beside the deviation: sums are of differences to the mean of at least
    /// each chunk's first 64th. (Then the sum of squares cannot be more than 64 times the true one, so no more
    /// than that is lost to cancellation.)
    pub fn statistics<E: Element>(
        &self,
        cx: &Context,
        src: Pixels<E>,
        mean: &mut [f32],
        inv_std: &mut [f32],
        running: Option<Running>,
        workspace: &mut [f32],
    ) {
        let Self { pixels, channels, epsilon } = *self;
        let maps = Maps::new([Source::Of(src)], [], [pixels, channels]);
        assert_eq!([mean.len(), inv_std.len()], [channels; 2], "statistics, one a channel");
        let chunk_rows = rows_per_sum(channels);
        let partials = SharedMut::new(&mut workspace[..3 * self.chunks() * channels]);
        for_each_piece(cx.exec, pixels, chunk_rows, |start, len, _| {
            // SAFETY: a chunk's partial sums are its task's own.
            let sums = unsafe { partials.range(start / chunk_rows * 3 * channels, 3 * channels) };
            sums.fill(0.0);
            let (shift, sums) = sums.split_at_mut(channels);
            let (sum, square) = sums.split_at_mut(channels);
            let near = (len / 8).clamp(1, 64);
            let rows = start..start + near;
            dispatch(cx.isa, AddSums { f: &Sum, rows, maps: &maps, params: [], sums: [shift] });
            shift.iter_mut().for_each(|x| *x /= near as f32);
            let (rows, params) = (start..start + len, [&*shift]);
            dispatch(cx.isa, AddSums { f: &Moments, rows, maps: &maps, params, sums: [sum, square] });
        });

        let partials = &workspace[..3 * self.chunks() * channels];
        let (mean, inv_std) = (SharedMut::new(mean), SharedMut::new(inv_std));
        let running = running.map(|Running { mean, variance, momentum }| {
            assert_eq!([mean.len(), variance.len()], [channels; 2], "running averages, one a channel");
            (SharedMut::new(mean), SharedMut::new(variance), momentum)
        });
        for_each_piece(cx.exec, channels, COMBINE, |start, len, _| {
            let chunk = |index: usize| {
                let row = |k: usize| &partials[(3 * index + k) * channels + start..][..len];
                let count = (pixels - index * chunk_rows).min(chunk_rows) as f64;
                (count, row(0), row(1), row(2))
            };
            let (mut means, mut squares) = ([0.0f64; COMBINE], [0.0f64; COMBINE]);
            for (count, shift, sum, _) in (0..self.chunks()).map(chunk) {
                for c in 0..len {
                    means[c] += count * shift[c] as f64 + sum[c] as f64;
                }
            }
            means.iter_mut().for_each(|mean| *mean /= pixels as f64);
            for (count, shift, sum, square) in (0..self.chunks()).map(chunk) {
                for c in 0..len {
                    // Σ(x − μ)² with x − μ = (x − shift) + e
                    let e = shift[c] as f64 - means[c];
                    squares[c] += square[c] as f64 + e * (2.0 * sum[c] as f64 + count * e);
                }
            }
            // Rounding may have gone below 0; what overflowed has no variance, and 1/∞ must not pass for one.
            let valid = |square: f64| if square.is_finite() { square.max(0.0) } else { f64::NAN };
            squares.iter_mut().for_each(|square| *square = valid(*square));
            // SAFETY: these channels are this task's own.
            let (mean, inv_std) = unsafe { (mean.range(start, len), inv_std.range(start, len)) };
            for c in 0..len {
                mean[c] = means[c] as f32;
                inv_std[c] = (1.0 / (squares[c] / pixels as f64 + epsilon as f64).sqrt()) as f32;
            }
            if let Some((running_mean, running_variance, momentum)) = running {
                let unbiased = (pixels as f64 - 1.0).max(1.0);
                // SAFETY: as above.
                let (old_mean, old_variance) =
                    unsafe { (running_mean.range(start, len), running_variance.range(start, len)) };
                let blend = |old: &mut f32, new: f64| *old += momentum * (new as f32 - *old);
                for c in 0..len {
                    blend(&mut old_mean[c], means[c]);
                    blend(&mut old_variance[c], squares[c] / unbiased);
                }
            }
        });
    }

    /// `dst` = γ(x − μ)/√(σ² + ε) + β, and what `epilogue` adds to it.
    pub fn normalize<E: Element>(
        &self,
        cx: &Context,
        src: Pixels<E>,
        norm: Normalizer,
        epilogue: Epilogue<E>,
        dst: PixelsMut<E>,
        workspace: &mut [f32],
    ) {
        let shape = [self.pixels, self.channels];
        let params = [norm.mean, norm.slope(&mut workspace[..self.channels]), norm.bias];
        let Epilogue { residual, relu } = epilogue;
        let src = Source::Of(src);
        match (residual.map(Source::Of), relu) {
            (None, false) => {
                channelwise::map(cx, &Normalize::<false>, Maps::new([src], [dst], shape), params)
            }
            (None, true) => channelwise::map(cx, &Normalize::<true>, Maps::new([src], [dst], shape), params),
            (Some(residual), false) => {
                let maps = Maps::new([src, residual], [dst], shape);
                channelwise::map(cx, &Normalize::<false>, maps, params);
            }
            (Some(residual), true) => {
                let maps = Maps::new([src, residual], [dst], shape);
                channelwise::map(cx, &Normalize::<true>, maps, params);
            }
        }
    }

    /// The gradients, from the source `src`, the gradient `d_dst` of the result, and what normalised it.
    ///
    /// Both may be overwritten: where `src` is `None`, the source is what `d_src` holds; where `d_dst` is `None`, it is
    /// what `d_residual` holds.
    ///
    /// # Panics
    /// When neither `d_dst` nor `d_residual` is given.
    pub fn backward<E: Element>(
        &self,
        cx: &Context,
        [src, d_dst]: [Option<Pixels<E>>; 2],
        gate: Gate<E>,
        norm: Normalizer,
        grads: Gradients<E>,
        workspace: &mut [f32],
    ) {
        let channels = self.channels;
        let Gradients { d_src, mut d_residual, d_scale, d_bias } = grads;
        let (slope, sums) = workspace.split_at_mut(channels);
        let params = [norm.mean, norm.slope(slope), norm.bias];
        {
            let x = Source::Of(src.unwrap_or(Pixels::new(d_src.data, d_src.ld)));
            let d = d_dst.map_or(Source::Dst(0), Source::Of);
            let kept = d_residual.as_mut().map(|kept| PixelsMut::new(&mut *kept.data, kept.ld));
            match gate {
                Gate::Open => self.sums(cx, &Open, [x, d], kept, params, sums),
                Gate::Relu => self.sums(cx, &Relu, [x, d], kept, params, sums),
                Gate::ReluOf(y) => self.sums(cx, &ReluOf, [x, d, Source::Of(y)], kept, params, sums),
            }
        }
        self.parameter_gradients(cx, sums, norm.inv_std, d_scale, d_bias);
        // ∂x = slope·g + tilt·(x − μ) + offset
        let (tilt, offset) = sums.split_at_mut(channels);
        let offset = &mut offset[..channels];
        for c in 0..channels {
            let scale = -params[1][c] / self.pixels as f32;
            tilt[c] = scale * norm.inv_std[c] * d_scale[c];
            offset[c] = scale * d_bias[c];
        }
        // What was kept is behind the gate already.
        let (gate, d) = match &d_residual {
            Some(kept) => (Gate::Open, Pixels::new(&*kept.data, kept.ld)),
            None => (gate, d_dst.expect("checked with the sums: there is a gradient")),
        };
        let (x, d) = (src.map_or(Source::Dst(0), Source::Of), Source::Of(d));
        let params = [params[0], params[1], params[2], tilt, offset];
        match gate {
            Gate::Open => self.map(cx, &Open, [x, d], d_src, params),
            Gate::Relu => self.map(cx, &Relu, [x, d], d_src, params),
            Gate::ReluOf(y) => self.map(cx, &ReluOf, [x, d, Source::Of(y)], d_src, params),
        }
    }

    /// With g the gradient behind the gate: Σg and Σg·(x − μ) of each chunk of pixels, two rows of channels each, into
    /// `sums`; g into `kept`.
    fn sums<E: Element, const N: usize, G: Gating<N>>(
        &self,
        cx: &Context,
        gate: &G,
        operands: [Source<E>; N],
        kept: Option<PixelsMut<E>>,
        params: [&[f32]; 3],
        sums: &mut [f32],
    ) {
        let (f, shape) = (&GateSums(gate), [self.pixels, self.channels]);
        match kept {
            None => self.chunk_sums(cx, f, &Maps::new(operands, [], shape), params, sums),
            Some(kept) => self.chunk_sums(cx, f, &Maps::new(operands, [kept], shape), params, sums),
        }
    }

    fn chunk_sums<E: Element, const N: usize, const D: usize>(
        &self,
        cx: &Context,
        f: &impl ChannelSum<2, N, 3, D>,
        maps: &Maps<E, N, D>,
        params: [&[f32]; 3],
        sums: &mut [f32],
    ) {
        let (channels, chunk_rows) = (self.channels, rows_per_sum(self.channels));
        let sums = SharedMut::new(&mut sums[..2 * self.chunks() * channels]);
        for_each_piece(cx.exec, self.pixels, chunk_rows, |start, len, _| {
            // SAFETY: a chunk's sums are its task's own.
            let sums = unsafe { sums.range(start / chunk_rows * 2 * channels, 2 * channels) };
            sums.fill(0.0);
            let (sum, product) = sums.split_at_mut(channels);
            let (rows, sums) = (start..start + len, [sum, product]);
            dispatch(cx.isa, AddSums { f, rows, maps, params, sums });
        });
    }

    /// ∂β = Σg and ∂γ = Σg·x̂, with x̂ = (x − μ)/σ, from the chunks' `sums`.
    fn parameter_gradients(
        &self,
        cx: &Context,
        sums: &[f32],
        inv_std: &[f32],
        d_scale: &mut [f32],
        d_bias: &mut [f32],
    ) {
        let channels = self.channels;
        let (d_scale, d_bias) = (SharedMut::new(d_scale), SharedMut::new(d_bias));
        let sums = &sums[..2 * self.chunks() * channels];
        channelwise::combine(cx, sums, 2 * channels, |start, totals| {
            for (at, total) in (start..).zip(totals) {
                let (d, c, scale) = if at < channels {
                    (d_bias, at, 1.0)
                } else {
                    (d_scale, at - channels, inv_std[at - channels])
                };
                // SAFETY: each sum is one task's own.
                unsafe { d.range(c, 1)[0] = (total * scale as f64) as f32 };
            }
        });
    }

    /// ∂x = γ/σ · (g − ∂β/pixels − x̂·∂γ/pixels), of which `params` hold all but g and x.
    fn map<E: Element, const N: usize, G: Gating<N>>(
        &self,
        cx: &Context,
        gate: &G,
        operands: [Source<E>; N],
        d_src: PixelsMut<E>,
        params: [&[f32]; 5],
    ) {
        let maps = Maps::new(operands, [d_src], [self.pixels, self.channels]);
        channelwise::map(cx, &GateMap(gate), maps, params);
    }
}

impl Normalizer<'_> {
    /// γ/√(σ² + ε), into `slope`.
    fn slope<'w>(&self, slope: &'w mut [f32]) -> &'w [f32] {
        for c in 0..slope.len() {
            slope[c] = self.scale[c] * self.inv_std[c];
        }
        slope
    }
}

/// Σ(x − shift) and Σ(x − shift)²
struct Moments;

impl ChannelSum<2, 1, 1, 0> for Moments {
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        s: S,
        [sum, square]: [S::F; 2],
        [x]: [S::F; 1],
        [shift]: [S::F; 1],
    ) -> ([S::F; 2], [S::F; 0]) {
        let d = s.sub(x, shift);
        ([s.add(sum, d), s.mul_add(d, d, square)], [])
    }
}

/// (x − μ)·slope + β, exactly alike in the forward pass and in the gate computed again.
#[inline(always)]
fn normalized<S: Simd>(s: S, x: S::F, [mean, slope, bias]: [S::F; 3]) -> S::F {
    s.mul_add(s.sub(x, mean), slope, bias)
}

/// The normalisation, and a ReLU where `RELU`.
struct Normalize<const RELU: bool>;

impl<const RELU: bool> Normalize<RELU> {
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, y: S::F) -> [S::F; 1] {
        [if RELU { s.select_gt(s.zero(), y, s.zero(), y) } else { y }]
    }
}

impl<const RELU: bool> ChannelMap<1, 1, 3> for Normalize<RELU> {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, [x]: [S::F; 1], params: [S::F; 3]) -> [S::F; 1] {
        self.finish(s, normalized(s, x, params))
    }
}

impl<const RELU: bool> ChannelMap<1, 2, 3> for Normalize<RELU> {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, [x, residual]: [S::F; 2], params: [S::F; 3]) -> [S::F; 1] {
        self.finish(s, s.add(normalized(s, x, params), residual))
    }
}

/// A [`Gate`], as a type.
trait Gating<const N: usize>: Sync {
    /// From (x, ∂y, …) and (μ, slope, β) the gradient behind the gate, and x − μ.
    fn pass<S: Simd>(&self, s: S, operands: [S::F; N], norm: [S::F; 3]) -> (S::F, S::F);
}

struct Open;
struct Relu;
struct ReluOf;

impl Gating<2> for Open {
    #[inline(always)]
    fn pass<S: Simd>(&self, s: S, [x, d]: [S::F; 2], [mean, ..]: [S::F; 3]) -> (S::F, S::F) {
        (d, s.sub(x, mean))
    }
}

impl Gating<2> for Relu {
    #[inline(always)]
    fn pass<S: Simd>(&self, s: S, [x, d]: [S::F; 2], norm: [S::F; 3]) -> (S::F, S::F) {
        let g = s.select_gt_or_nan(normalized(s, x, norm), s.zero(), s.loaded(d), s.zero());
        (g, s.sub(x, norm[0]))
    }
}

impl Gating<3> for ReluOf {
    #[inline(always)]
    fn pass<S: Simd>(&self, s: S, [x, d, y]: [S::F; 3], [mean, ..]: [S::F; 3]) -> (S::F, S::F) {
        (s.select_gt_or_nan(y, s.zero(), s.loaded(d), s.zero()), s.sub(x, mean))
    }
}

/// Σg and Σg·(x − μ), and g where it is wanted.
struct GateSums<'a, G>(&'a G);

impl<const N: usize, G: Gating<N>> ChannelSum<2, N, 3, 1> for GateSums<'_, G> {
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        s: S,
        [sum, product]: [S::F; 2],
        operands: [S::F; N],
        norm: [S::F; 3],
    ) -> ([S::F; 2], [S::F; 1]) {
        let (g, centred) = self.0.pass(s, operands, norm);
        ([s.add(sum, g), s.mul_add(g, centred, product)], [g])
    }
}

impl<const N: usize, G: Gating<N>> ChannelSum<2, N, 3, 0> for GateSums<'_, G> {
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        s: S,
        sums: [S::F; 2],
        operands: [S::F; N],
        norm: [S::F; 3],
    ) -> ([S::F; 2], [S::F; 0]) {
        let (sums, [_]): (_, [S::F; 1]) = self.add(s, sums, operands, norm);
        (sums, [])
    }
}

/// ∂x
struct GateMap<'a, G>(&'a G);

impl<const N: usize, G: Gating<N>> ChannelMap<1, N, 5> for GateMap<'_, G> {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, operands: [S::F; N], params: [S::F; 5]) -> [S::F; 1] {
        let [mean, slope, bias, tilt, offset] = params;
        let (g, centred) = self.0.pass(s, operands, [mean, slope, bias]);
        [s.mul_add(slope, g, s.mul_add(tilt, centred, offset))]
    }
}

/// Normalisation by fixed statistics as one multiplication and one addition: y = scale·x + shift.
///
/// `norm` has (γ, β, mean, variance), a channel each; `scale` and `shift` receive a channel each.
pub fn fold(norm: [&[f32]; 4], epsilon: f32, scale: &mut [f32], shift: &mut [f32]) {
    let [gamma, beta, mean, variance] = norm;
    for (c, (scale, shift)) in scale.iter_mut().zip(shift).enumerate() {
        let slope = gamma[c] as f64 / (variance[c] as f64 + epsilon as f64).sqrt();
        *scale = slope as f32;
        *shift = (beta[c] as f64 - slope * mean[c] as f64) as f32;
    }
}

/// `dst` = `scale`·`src` + `shift`, a factor and a term a channel, for `pixels` pixels.
pub fn scale_shift<E: Element>(
    cx: &Context,
    pixels: usize,
    src: Pixels<E>,
    scale: &[f32],
    shift: &[f32],
    dst: PixelsMut<E>,
) {
    let maps = Maps::new([Source::Of(src)], [dst], [pixels, scale.len()]);
    channelwise::map(cx, &ScaleShift, maps, [scale, shift]);
}

struct ScaleShift;

impl ChannelMap<1, 1, 2> for ScaleShift {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, [x]: [S::F; 1], [scale, shift]: [S::F; 2]) -> [S::F; 1] {
        [s.mul_add(x, scale, shift)]
    }
}
