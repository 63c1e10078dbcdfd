//! Local response normalisation (Krizhevsky et al. 2012, section 3.3): each element divided by a power of the
//! squares in neighbouring channels.
//!
//! y = x · D^−β with D = k + α/size · Σ x², the sum over `size` channels around x's own.

use crate::channelwise::for_each_vector;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{assert_fits, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::{Pixels, PixelsMut};
use std::ops::Range;

/// The parameters, in PyTorch's meaning: α is divided by the size. (The paper's α = 10⁻⁴ with size 5 is not,
/// and corresponds to 5·10⁻⁴ here.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNorm {
    /// Channels in the window, at least 1.
    pub size: usize,
    /// α
    pub alpha: f32,
    /// β
    pub beta: f32,
    /// k
    pub k: f32,
}

impl LocalResponseNorm {
    /// Channels of the window before the centre; one more than after it where the size is even.
    fn before(&self) -> usize {
        self.size / 2
    }

    /// Channels of the window after the centre.
    fn after(&self) -> usize {
        (self.size - 1) / 2
    }

    /// The channels, of `channels`, in the window around `channel`.
    pub fn window(&self, channel: usize, channels: usize) -> Range<usize> {
        channel.saturating_sub(self.before())..channels.min(channel + self.after() + 1)
    }

    /// A row of channels with zeros for what windows reach beyond it.
    fn padded(&self, channels: usize) -> usize {
        channels + self.size - 1
    }

    /// Floats of workspace that a pass over pixels of `channels` needs with this many workers.
    pub fn workspace_len(&self, channels: usize, workers: usize) -> usize {
        workers * (2 * self.padded(channels) + channels)
    }

    /// `dst` = y, for `pixels` × `channels`.
    pub fn forward(
        &self,
        cx: &Context,
        [pixels, channels]: [usize; 2],
        src: Pixels,
        dst: PixelsMut,
        workspace: &mut [f32],
    ) {
        self.run(cx, [pixels, channels], src, None, dst, workspace);
    }

    /// `d_src` = ∂x, from x and `d_dst` = ∂y. The divisors are computed again.
    ///
    /// ∂xᵢ = ∂yᵢ·Dᵢ^−β − 2αβ/size · xᵢ · Σⱼ ∂yⱼ·xⱼ·Dⱼ^(−β−1), over the channels j whose window has i.
    pub fn backward(
        &self,
        cx: &Context,
        [pixels, channels]: [usize; 2],
        [src, d_dst]: [Pixels; 2],
        d_src: PixelsMut,
        workspace: &mut [f32],
    ) {
        self.run(cx, [pixels, channels], src, Some(d_dst), d_src, workspace);
    }

    fn run(
        &self,
        cx: &Context,
        [pixels, channels]: [usize; 2],
        src: Pixels,
        d_dst: Option<Pixels>,
        dst: PixelsMut,
        workspace: &mut [f32],
    ) {
        assert!(self.size > 0, "the window has at least its centre");
        assert_fits("src", src.data, pixels, channels, src.ld);
        assert_fits("dst", dst.data, pixels, channels, dst.ld);
        if let Some(d_dst) = d_dst {
            assert_fits("d_dst", d_dst.data, pixels, channels, d_dst.ld);
        }
        let (ld, dst) = (dst.ld, SharedMut::new(dst.data));
        let scratch_len = self.workspace_len(channels, 1);
        let workspace = SharedMut::new(workspace);
        for_each_piece(cx.exec, pixels, rows_per_task(channels), |start, len, worker| {
            // SAFETY: no two tasks run on one worker at the same time.
            let scratch = unsafe { workspace.range(worker * scratch_len, scratch_len) };
            scratch.fill(0.0);
            let (squares, rest) = scratch.split_at_mut(self.padded(channels));
            let (ratios, passed) = rest.split_at_mut(self.padded(channels));
            let pixels = start..start + len;
            dispatch(
                cx.isa,
                Piece { op: *self, channels, pixels, src, d_dst, dst, ld, squares, ratios, passed },
            );
        });
    }
}

/// The forward pass of some pixels, or the backward pass where there is a gradient.
struct Piece<'a> {
    op: LocalResponseNorm,
    channels: usize,
    pixels: Range<usize>,
    src: Pixels<'a>,
    d_dst: Option<Pixels<'a>>,
    dst: SharedMut<'a, f32>,
    ld: usize,
    /// Scratch for x², `before` zeros before it and `after` after it.
    squares: &'a mut [f32],
    /// For ∂y·x·D^(−β−1), `after` zeros before it and `before` after it.
    ratios: &'a mut [f32],
    /// For ∂y·D^−β.
    passed: &'a mut [f32],
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for pixel in self.pixels.clone() {
            let x = self.src.row(pixel, self.channels);
            // SAFETY: rows are their task's own.
            let dst = unsafe { self.dst.range(pixel * self.ld, self.channels) };
            match self.d_dst {
                None => self.forward(s, x, dst),
                Some(d_dst) => self.backward(s, x, d_dst.row(pixel, self.channels), dst),
            }
        }
    }
}

impl Piece<'_> {
    /// Sets the squares of a row.
    #[inline(always)]
    fn square(&mut self, x: &[f32]) {
        for (square, x) in self.squares[self.op.before()..][..self.channels].iter_mut().zip(x) {
            *square = x * x;
        }
    }

    /// D, for `lanes` channels from `at` on.
    #[inline(always)]
    fn base<S: Simd>(&self, s: S, at: usize, lanes: usize) -> S::F {
        let alpha = s.splat(self.op.alpha / self.op.size as f32);
        s.mul_add(alpha, window_sum(s, self.squares, at, lanes, self.op.size), s.splat(self.op.k))
    }

    #[inline(always)]
    fn forward<S: Simd>(&mut self, s: S, x: &[f32], dst: &mut [f32]) {
        self.square(x);
        let dst = dst.as_mut_ptr();
        for_each_vector(
            s,
            self.channels,
            #[inline(always)]
            |at, lanes| {
                let power = negative_power(s, self.base(s, at, lanes), self.op.beta);
                // SAFETY: the rows hold the channels.
                unsafe {
                    s.store_up_to(dst.add(at), s.mul(s.load_up_to(x.as_ptr().add(at), lanes), power), lanes)
                };
            },
        );
    }

    #[inline(always)]
    fn backward<S: Simd>(&mut self, s: S, x: &[f32], d_dst: &[f32], d_src: &mut [f32]) {
        self.square(x);
        let (channels, op) = (self.channels, self.op);
        for_each_vector(
            s,
            channels,
            #[inline(always)]
            |at, lanes| {
                let base = self.base(s, at, lanes);
                // SAFETY: the rows hold the channels, `ratios` behind `after` zeros.
                unsafe {
                    let gradient = s.load_up_to(d_dst.as_ptr().add(at), lanes);
                    let passed = s.mul(gradient, negative_power(s, base, op.beta));
                    s.store_up_to(self.passed.as_mut_ptr().add(at), passed, lanes);
                    let ratio = s.div(s.mul(passed, s.load_up_to(x.as_ptr().add(at), lanes)), base);
                    s.store_up_to(self.ratios.as_mut_ptr().add(op.after() + at), ratio, lanes);
                }
            },
        );
        let factor = s.splat(-2.0 * op.alpha * op.beta / op.size as f32);
        let d_src = d_src.as_mut_ptr();
        for_each_vector(
            s,
            channels,
            #[inline(always)]
            |at, lanes| {
                let sum = s.mul(factor, window_sum(s, self.ratios, at, lanes, op.size));
                // SAFETY: as above.
                unsafe {
                    let x = s.load_up_to(x.as_ptr().add(at), lanes);
                    let passed = s.load_up_to(self.passed.as_ptr().add(at), lanes);
                    s.store_up_to(d_src.add(at), s.mul_add(x, sum, passed), lanes);
                }
            },
        );
    }
}

/// In each of `lanes` from `at` on the sum of `size` neighbours, starting with its own element.
#[inline(always)]
fn window_sum<S: Simd>(s: S, row: &[f32], at: usize, lanes: usize, size: usize) -> S::F {
    let reach = &row[at..][..lanes + size - 1];
    let mut sum = s.zero();
    for tap in 0..size {
        // SAFETY: `tap + lanes` stays within `reach`.
        sum = s.add(sum, unsafe { s.load_up_to(reach.as_ptr().add(tap), lanes) });
    }
    sum
}

/// x^−β for x > 0.
#[inline(always)]
fn negative_power<S: Simd>(s: S, x: S::F, beta: f32) -> S::F {
    if beta == 0.75 {
        let root = s.sqrt(x);
        return s.div(s.splat(1.0), s.mul(root, s.sqrt(root)));
    }
    let mut lanes = [0.0; 64];
    assert!(S::LANES <= lanes.len());
    // SAFETY: the buffer holds a vector.
    unsafe { s.store(lanes.as_mut_ptr(), x) };
    lanes[..S::LANES].iter_mut().for_each(|x| *x = x.powf(-beta));
    // SAFETY: as above.
    unsafe { s.load(lanes.as_ptr()) }
}
