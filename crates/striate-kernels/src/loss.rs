//! Losses: means over rows or elements, with their gradients.
//!
//! Sums are taken in f64 over pieces cut by the size of the problem and added in a fixed tree.

use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{self, Map, Rows, SharedRows, assert_fits, for_each_row, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch, math};
use crate::softmax::{Normaliser, exponentials, load_or, scale, store};
use crate::view::{Pixels, PixelsMut};

/// What a loss cannot be computed from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LossError {
    /// A label names no class.
    #[error("row {row} has label {label}, but there are {classes} classes")]
    LabelOutOfRange {
        /// The row.
        row: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
}

/// The size of what a loss compares: `rows` × `channels` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows (samples, or pixels of samples).
    pub rows: usize,
    /// Elements of a row: classes, channels.
    pub channels: usize,
}

/// The mean over rows of the cross-entropy between softmax(`logits`) and the labels, and in `probs` that
/// softmax, which [`cross_entropy_backward`] takes.
///
/// With `smoothing` ε (Szegedy et al. 2016, section 7) the target is 1 − ε on the label plus ε / classes on
/// every class. `labels` has one class for each row; without rows the loss is NaN, as a mean of nothing is.
///
/// # Errors
/// [`LossError::LabelOutOfRange`], before anything is computed.
pub fn cross_entropy(
    cx: &Context,
    size: Size,
    logits: Pixels,
    labels: &[u32],
    smoothing: f32,
    probs: PixelsMut,
) -> Result<f32, LossError> {
    let Size { rows, channels: classes } = size;
    assert_fits("logits", logits.data, rows, classes, logits.ld);
    assert_fits("probs", probs.data, rows, classes, probs.ld);
    check_labels(labels, size)?;
    let f = CrossEntropy { logits, labels, smoothing, probs: SharedRows::new(probs), classes };
    Ok((sum_of(cx, rows, rows_per_task(classes), &f) / rows as f64) as f32)
}

/// `d_logits` = `d_loss` · (`probs` − target) / rows, the gradient of [`cross_entropy`].
///
/// # Errors
/// [`LossError::LabelOutOfRange`], before anything is computed.
pub fn cross_entropy_backward(
    cx: &Context,
    size: Size,
    probs: Pixels,
    labels: &[u32],
    smoothing: f32,
    d_loss: f32,
    d_logits: PixelsMut,
) -> Result<(), LossError> {
    let Size { rows, channels: classes } = size;
    assert_fits("probs", probs.data, rows, classes, probs.ld);
    assert_fits("d_logits", d_logits.data, rows, classes, d_logits.ld);
    check_labels(labels, size)?;
    let d_logits = SharedRows::new(d_logits);
    let factor = d_loss / rows as f32;
    for_each_row(
        cx,
        rows,
        classes,
        &CrossEntropyBackward { probs, labels, smoothing, factor, d_logits, classes },
    );
    Ok(())
}

fn check_labels(labels: &[u32], Size { rows, channels: classes }: Size) -> Result<(), LossError> {
    assert_eq!(labels.len(), rows, "one label for each row");
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(row) => Err(LossError::LabelOutOfRange { row, label: labels[row], classes }),
        None => Ok(()),
    }
}

/// The mean over all elements of the binary cross-entropy between sigmoid(`logits`) and `targets` in 0 ..= 1:
/// max(x, 0) − x·t + ln(1 + e^−|x|), which overflows nowhere.
pub fn bce_with_logits(cx: &Context, size: Size, logits: Pixels, targets: Pixels) -> f32 {
    mean(cx, size, BceWithLogits, logits, targets)
}

/// `d_logits` = `d_loss` · (sigmoid(`logits`) − `targets`) / elements, the gradient of [`bce_with_logits`].
pub fn bce_with_logits_backward(
    cx: &Context,
    size: Size,
    logits: Pixels,
    targets: Pixels,
    d_loss: f32,
    d_logits: PixelsMut,
) {
    mean_backward(cx, size, BceWithLogits, logits, targets, d_loss, d_logits);
}

/// The mean over all elements of (`src` − `targets`)².
pub fn mse(cx: &Context, size: Size, src: Pixels, targets: Pixels) -> f32 {
    mean(cx, size, SquaredError, src, targets)
}

/// `d_src` = `d_loss` · 2 (`src` − `targets`) / elements, the gradient of [`mse`].
pub fn mse_backward(cx: &Context, size: Size, src: Pixels, targets: Pixels, d_loss: f32, d_src: PixelsMut) {
    mean_backward(cx, size, SquaredError, src, targets, d_loss, d_src);
}

/// A function of units (rows or elements) that is summed.
trait Sum: Sync {
    /// The sum over the units `start .. start + count`. Implementations are `#[inline(always)]`.
    fn sum<S: Simd>(&self, s: S, start: usize, count: usize) -> f64;
}

/// The sum of `f` over `units`: at most 64 pieces of at least `grain` units, added in a binary tree.
fn sum_of(cx: &Context, units: usize, grain: usize, f: &impl Sum) -> f64 {
    const PIECES: usize = 64;
    let mut sums = [0.0; PIECES];
    let shared = SharedMut::new(&mut sums);
    let grain = grain.max(units.div_ceil(PIECES));
    for_each_piece(cx.exec, units, grain, |start, count, _worker| {
        // SAFETY: each piece writes its own sum; there are at most `PIECES`.
        let sum = unsafe { shared.range(start / grain, 1) };
        sum[0] = dispatch(cx.isa, Piece { f, start, count });
    });
    let mut half = PIECES / 2;
    while half > 0 {
        for index in 0..half {
            sums[index] += sums[index + half];
        }
        half /= 2;
    }
    sums[0]
}

struct Piece<'a, T> {
    f: &'a T,
    start: usize,
    count: usize,
}

impl<T: Sum> Kernel for Piece<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        self.f.sum(s, self.start, self.count)
    }
}

struct CrossEntropy<'a> {
    logits: Pixels<'a>,
    labels: &'a [u32],
    smoothing: f32,
    probs: SharedRows<'a>,
    classes: usize,
}

impl Sum for CrossEntropy<'_> {
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, start: usize, count: usize) -> f64 {
        let smoothing = f64::from(self.smoothing);
        let mut total = 0.0;
        for row in start..start + count {
            let logits = self.logits.row(row, self.classes);
            // SAFETY: each row belongs to one piece, and is no longer than the rows' distance (asserted).
            let probs = unsafe { self.probs.row(row, self.classes) };
            let Normaliser { max, sum } = exponentials(s, logits, probs);
            scale(s, probs, 1.0 / sum);
            let max = f64::from(max);
            let above = |logit: f32| f64::from(logit) - max;
            let expected = if smoothing == 0.0 {
                above(logits[self.labels[row] as usize])
            } else {
                let mean = logits.iter().map(|&x| above(x)).sum::<f64>() / self.classes as f64;
                (1.0 - smoothing) * above(logits[self.labels[row] as usize]) + smoothing * mean
            };
            total += f64::from(sum).ln() - expected;
        }
        total
    }
}

struct CrossEntropyBackward<'a> {
    probs: Pixels<'a>,
    labels: &'a [u32],
    smoothing: f32,
    factor: f32,
    d_logits: SharedRows<'a>,
    classes: usize,
}

impl Rows for CrossEntropyBackward<'_> {
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: usize) {
        let probs = self.probs.row(row, self.classes);
        // SAFETY: each row is computed once, and is no longer than the rows' distance (asserted).
        let d_logits = unsafe { self.d_logits.row(row, self.classes) };
        let elsewhere = self.smoothing / self.classes as f32;
        let (target, factor) = (s.splat(elsewhere), s.splat(self.factor));
        for (p, dx) in probs.chunks(S::LANES).zip(d_logits.chunks_mut(S::LANES)) {
            store(s, dx, s.mul(factor, s.sub(load_or(s, p, s.zero()), target)));
        }
        let label = self.labels[row] as usize;
        d_logits[label] = self.factor * (probs[label] - (elsewhere + (1.0 - self.smoothing)));
    }
}

/// A loss that is a mean over elements, each a function of a value and its target.
trait ElementLoss: Copy + Sync {
    /// An x whose loss against the target 0 is 0: what lanes beyond the data hold.
    const NEUTRAL: f32;
    fn loss<S: Simd>(self, s: S, x: S::F, target: S::F) -> S::F;
    /// The derivative by x.
    fn slope<S: Simd>(self, s: S, x: S::F, target: S::F) -> S::F;
}

#[derive(Clone, Copy)]
struct BceWithLogits;

impl ElementLoss for BceWithLogits {
    const NEUTRAL: f32 = -200.0;

    #[inline(always)]
    fn loss<S: Simd>(self, s: S, x: S::F, target: S::F) -> S::F {
        let tail = math::ln_1p_unit(s, math::exp(s, s.sub(s.zero(), math::abs(s, x))));
        s.add(s.sub(s.max(s.zero(), x), s.mul(x, target)), tail)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, target: S::F) -> S::F {
        s.sub(math::sigmoid(s, x), target)
    }
}

#[derive(Clone, Copy)]
struct SquaredError;

impl ElementLoss for SquaredError {
    const NEUTRAL: f32 = 0.0;

    #[inline(always)]
    fn loss<S: Simd>(self, s: S, x: S::F, target: S::F) -> S::F {
        let error = s.sub(x, target);
        s.mul(error, error)
    }
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::F, target: S::F) -> S::F {
        s.mul(s.splat(2.0), s.sub(x, target))
    }
}

fn mean(cx: &Context, size: Size, loss: impl ElementLoss, src: Pixels, targets: Pixels) -> f32 {
    let Size { rows, channels } = size;
    assert_fits("src", src.data, rows, channels, src.ld);
    assert_fits("targets", targets.data, rows, channels, targets.ld);
    let sum = sum_of(cx, rows, rows_per_task(channels), &ElementSum { loss, src, targets, channels });
    (sum / (rows * channels) as f64) as f32
}

fn mean_backward(
    cx: &Context,
    size: Size,
    loss: impl ElementLoss,
    src: Pixels,
    targets: Pixels,
    d_loss: f32,
    d_src: PixelsMut,
) {
    let Size { rows, channels } = size;
    let slope = Slope { loss, factor: d_loss / (rows * channels) as f32 };
    pixelwise::map(cx, slope, [Some(src), Some(targets)], d_src, rows, channels);
}

struct ElementSum<'a, L> {
    loss: L,
    src: Pixels<'a>,
    targets: Pixels<'a>,
    channels: usize,
}

impl<L: ElementLoss> Sum for ElementSum<'_, L> {
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, start: usize, count: usize) -> f64 {
        let mut total = 0.0;
        for row in start..start + count {
            let (src, targets) = (self.src.row(row, self.channels), self.targets.row(row, self.channels));
            // A run is short enough that its f32 lanes lose nothing that matters beside the mean.
            for (src, targets) in src.chunks(32 * S::LANES).zip(targets.chunks(32 * S::LANES)) {
                let mut run = s.zero();
                for (x, t) in src.chunks(S::LANES).zip(targets.chunks(S::LANES)) {
                    let (x, t) = (load_or(s, x, s.splat(L::NEUTRAL)), load_or(s, t, s.zero()));
                    run = s.add(run, self.loss.loss(s, x, t));
                }
                total += f64::from(s.sum(run));
            }
        }
        total
    }
}

#[derive(Clone, Copy)]
struct Slope<L> {
    loss: L,
    factor: f32,
}

impl<L: ElementLoss> Map<2> for Slope<L> {
    #[inline(always)]
    fn map<S: Simd>(self, s: S, [x, target]: [S::F; 2]) -> S::F {
        s.mul(s.splat(self.factor), self.loss.slope(s, x, target))
    }
}
