//! Batch normalisation (Ioffe and Szegedy 2015): each channel to the mean and variance it has in the batch,
//! then to a learned scale and bias.
//!
//! y = γ(x − μ)/√(σ² + ε) + β, with μ and σ² over the pixels of all images; for inference μ and σ² are running
//! averages and the whole is one scale and one shift a channel.

use crate::channelwise::{self, AddSums, COMBINE, ChannelMap, ChannelSum, Sum, rows_per_sum};
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::assert_fits;
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
pub struct Epilogue<'a> {
    /// A map to add, as a residual block does.
    pub residual: Option<Pixels<'a>>,
    /// Whether a ReLU follows, after the addition.
    pub relu: bool,
}

/// How the gradient reaches the normalisation.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'a> {
    /// As it is: no ReLU followed.
    Open,
    /// Through the ReLU that followed directly; which elements it passed, NaN among them, is computed again from
    /// the source.
    Relu,
    /// Through a ReLU that followed an addition; it passed the elements where its result, given, is positive or
    /// NaN.
    ReluOf(Pixels<'a>),
}

/// What the backward pass writes.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// ∂/∂x
    pub d_src: PixelsMut<'a>,
    /// ∂/∂ of the residual that was added: the gradient behind the ReLU, where wanted.
    pub d_residual: Option<PixelsMut<'a>>,
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
    pub fn statistics(
        &self,
        cx: &Context,
        src: Pixels,
        mean: &mut [f32],
        inv_std: &mut [f32],
        running: Option<Running>,
        workspace: &mut [f32],
    ) {
        let Self { pixels, channels, epsilon } = *self;
        assert_fits("src", src.data, pixels, channels, src.ld);
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
            dispatch(cx.isa, AddSums { f: &Sum, rows, operands: [src], params: [], sums: [shift] });
            shift.iter_mut().for_each(|x| *x /= near as f32);
            let (rows, params) = (start..start + len, [&*shift]);
            dispatch(cx.isa, AddSums { f: &Moments, rows, operands: [src], params, sums: [sum, square] });
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
    pub fn normalize(
        &self,
        cx: &Context,
        src: Pixels,
        norm: Normalizer,
        epilogue: Epilogue,
        dst: PixelsMut,
        workspace: &mut [f32],
    ) {
        let shape = [self.pixels, self.channels];
        let params = [norm.mean, norm.slope(&mut workspace[..self.channels]), norm.bias];
        let relu = Normalize { relu: epilogue.relu };
        match epilogue.residual {
            None => channelwise::map(cx, &relu, [src], params, [dst], shape),
            Some(residual) => channelwise::map(cx, &relu, [src, residual], params, [dst], shape),
        }
    }

    /// The gradients, from the source `src`, the gradient `d_dst` of the result, and what normalised it.
    pub fn backward(
        &self,
        cx: &Context,
        [src, d_dst]: [Pixels; 2],
        gate: Gate,
        norm: Normalizer,
        grads: Gradients,
        workspace: &mut [f32],
    ) {
        match gate {
            Gate::Open => self.backward_through(cx, &Open, [src, d_dst], norm, grads, workspace),
            Gate::Relu => self.backward_through(cx, &Relu, [src, d_dst], norm, grads, workspace),
            Gate::ReluOf(dst) => {
                self.backward_through(cx, &ReluOf, [src, d_dst, dst], norm, grads, workspace)
            }
        }
    }

    /// With g the gradient behind the gate and x̂ = (x − μ)/σ: ∂β = Σg, ∂γ = Σg·x̂, and
    /// ∂x = γ/σ · (g − ∂β/pixels − x̂·∂γ/pixels).
    fn backward_through<const N: usize, G: Gating<N>>(
        &self,
        cx: &Context,
        gate: &G,
        operands: [Pixels; N],
        norm: Normalizer,
        grads: Gradients,
        workspace: &mut [f32],
    ) {
        let Self { pixels, channels, .. } = *self;
        operands.iter().for_each(|src| assert_fits("src", src.data, pixels, channels, src.ld));
        let Gradients { d_src, d_residual, d_scale, d_bias } = grads;
        let (chunk_rows, chunks) = (rows_per_sum(channels), self.chunks());
        let (slope, partials) = workspace.split_at_mut(channels);
        let slope = norm.slope(slope);
        {
            let partials = SharedMut::new(&mut partials[..2 * chunks * channels]);
            let params = [norm.mean, slope, norm.bias];
            for_each_piece(cx.exec, pixels, chunk_rows, |start, len, _| {
                // SAFETY: a chunk's partial sums are its task's own.
                let sums = unsafe { partials.range(start / chunk_rows * 2 * channels, 2 * channels) };
                sums.fill(0.0);
                let (sum, product) = sums.split_at_mut(channels);
                let rows = start..start + len;
                dispatch(
                    cx.isa,
                    AddSums { f: &GateSums(gate), rows, operands, params, sums: [sum, product] },
                );
            });
        }
        {
            let (d_scale, d_bias) = (SharedMut::new(&mut *d_scale), SharedMut::new(&mut *d_bias));
            let partials = &partials[..2 * chunks * channels];
            channelwise::combine(cx, partials, 2 * channels, |start, totals| {
                for (at, total) in (start..).zip(totals) {
                    let (d, c, scale) = if at < channels {
                        (d_bias, at, 1.0)
                    } else {
                        (d_scale, at - channels, norm.inv_std[at - channels])
                    };
                    // SAFETY: each sum is one task's own.
                    unsafe { d.range(c, 1)[0] = (total * scale as f64) as f32 };
                }
            });
        }
        // ∂x = slope·g + tilt·(x − μ) + offset
        let (tilt, offset) = partials.split_at_mut(channels);
        let offset = &mut offset[..channels];
        for c in 0..channels {
            let scale = -slope[c] / pixels as f32;
            tilt[c] = scale * norm.inv_std[c] * d_scale[c];
            offset[c] = scale * d_bias[c];
        }
        let (params, shape) = ([norm.mean, slope, norm.bias, tilt, offset], [pixels, channels]);
        match d_residual {
            None => channelwise::map(cx, &GateMap(gate), operands, params, [d_src], shape),
            Some(d_residual) => {
                channelwise::map(cx, &GateMap(gate), operands, params, [d_src, d_residual], shape);
            }
        }
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

impl ChannelSum<2, 1, 1> for Moments {
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, [sum, square]: [S::F; 2], [x]: [S::F; 1], [shift]: [S::F; 1]) -> [S::F; 2] {
        let d = s.sub(x, shift);
        [s.add(sum, d), s.mul_add(d, d, square)]
    }
}

/// (x − μ)·slope + β, exactly alike in the forward pass and in the gate computed again.
#[inline(always)]
fn normalized<S: Simd>(s: S, x: S::F, [mean, slope, bias]: [S::F; 3]) -> S::F {
    s.mul_add(s.sub(x, mean), slope, bias)
}

struct Normalize {
    relu: bool,
}

impl Normalize {
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, y: S::F) -> [S::F; 1] {
        [if self.relu { s.select_gt(s.zero(), y, s.zero(), y) } else { y }]
    }
}

impl ChannelMap<1, 1, 3> for Normalize {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, [x]: [S::F; 1], params: [S::F; 3]) -> [S::F; 1] {
        self.finish(s, normalized(s, x, params))
    }
}

impl ChannelMap<1, 2, 3> for Normalize {
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
        (s.select_gt_or_nan(normalized(s, x, norm), s.zero(), d, s.zero()), s.sub(x, norm[0]))
    }
}

impl Gating<3> for ReluOf {
    #[inline(always)]
    fn pass<S: Simd>(&self, s: S, [x, d, y]: [S::F; 3], [mean, ..]: [S::F; 3]) -> (S::F, S::F) {
        (s.select_gt_or_nan(y, s.zero(), d, s.zero()), s.sub(x, mean))
    }
}

/// Σg and Σg·(x − μ)
struct GateSums<'a, G>(&'a G);

impl<const N: usize, G: Gating<N>> ChannelSum<2, N, 3> for GateSums<'_, G> {
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        s: S,
        [sum, product]: [S::F; 2],
        operands: [S::F; N],
        norm: [S::F; 3],
    ) -> [S::F; 2] {
        let (g, centred) = self.0.pass(s, operands, norm);
        [s.add(sum, g), s.mul_add(g, centred, product)]
    }
}

/// ∂x, and g.
struct GateMap<'a, G>(&'a G);

impl<const N: usize, G: Gating<N>> ChannelMap<2, N, 5> for GateMap<'_, G> {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, operands: [S::F; N], params: [S::F; 5]) -> [S::F; 2] {
        let [mean, slope, bias, tilt, offset] = params;
        let (g, centred) = self.0.pass(s, operands, [mean, slope, bias]);
        [s.mul_add(slope, g, s.mul_add(tilt, centred, offset)), g]
    }
}

impl<const N: usize, G: Gating<N>> ChannelMap<1, N, 5> for GateMap<'_, G> {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, operands: [S::F; N], params: [S::F; 5]) -> [S::F; 1] {
        let [d_src, _]: [S::F; 2] = self.map(s, operands, params);
        [d_src]
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
pub fn scale_shift(cx: &Context, pixels: usize, src: Pixels, scale: &[f32], shift: &[f32], dst: PixelsMut) {
    channelwise::map(cx, &ScaleShift, [src], [scale, shift], [dst], [pixels, scale.len()]);
}

struct ScaleShift;

impl ChannelMap<1, 1, 2> for ScaleShift {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, [x]: [S::F; 1], [scale, shift]: [S::F; 2]) -> [S::F; 1] {
        [s.mul_add(x, scale, shift)]
    }
}
