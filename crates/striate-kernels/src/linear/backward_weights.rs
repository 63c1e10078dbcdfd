//! d_weights = d_dstᵀ · src: outer products of the images, summed in registers.

use super::{CACHED, Layer, cut};
use crate::conv::GeometryError;
use crate::conv::outer::{self, Pair, Products};
use crate::conv::tile::{MAX_LANES, MAX_PIXELS, MAX_VECTORS, Machine};
use crate::exec::{SharedMut, for_each_piece};
use crate::optim::{SharedTarget, Target};
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Context, Isa, Pixels, view::extent};
use std::ops::Range;

/// Features of a panel of the destination.
const BLOCK: usize = 64;
/// The most images that tiles are summed over at once.
const CHUNK: usize = 160;

/// The gradients of a fully connected layer's weights and bias from its source and the gradient of its destination.
#[derive(Clone, Debug)]
pub struct BackwardWeights {
    layer: Layer,
    machine: Machine,
    /// Features of a panel of the source: the vectors of a tile.
    width: usize,
    /// Runs of panels of the source that stay in the cache.
    runs: usize,
}

impl BackwardWeights {
    /// Plans the pass on the strongest instruction set present that does not exceed `isa`.
    ///
    /// # Errors
    /// Where the sizes make no layer.
    pub fn new(isa: Isa, layer: &Layer) -> Result<Self, GeometryError> {
        layer.validate()?;
        let machine = Machine::up_to(isa);
        let width = machine.max_vectors() * machine.lanes;
        let runs = layer.ic.div_ceil((CACHED / layer.n).max(width)).min(layer.ic.div_ceil(width));
        Ok(Self { layer: *layer, machine, width, runs })
    }

    /// Length of the workspace, in floats. What it holds before and after a run means nothing.
    pub fn workspace_len(&self, _workers: usize) -> usize {
        let [src, dst] = self.packed_lens();
        src + dst
    }

    /// Algorithm and tile (features of the destination × of the source), in words.
    pub fn describe(&self) -> String {
        format!("outer products {}x{}", self.tile_rows(), self.width)
    }

    fn tile_rows(&self) -> usize {
        self.machine.max_pixels(self.machine.max_vectors())
    }

    /// Floats of the packed source, and of the packed gradient of the destination.
    fn packed_lens(&self) -> [usize; 2] {
        let Layer { n, ic, oc, .. } = self.layer;
        [n * ic.next_multiple_of(self.width), n * oc.next_multiple_of(BLOCK)]
    }

    /// Computes the gradients of the weights, (oc, ic), and of the bias, (oc), to where they are wanted.
    ///
    /// # Panics
    /// Where a slice's length does not fit the layer.
    pub fn run(
        &self,
        cx: &Context,
        src: &[f32],
        d_dst: &[f32],
        weights: Target,
        bias: Option<Target>,
        workspace: &mut [f32],
    ) {
        let Layer { n, ic, oc, src_ld, dst_ld } = self.layer;
        assert!(src.len() >= extent(n, ic, src_ld), "source");
        assert!(d_dst.len() >= extent(n, oc, dst_ld), "destination gradient");
        assert!(workspace.len() >= self.workspace_len(cx.exec.workers()), "workspace");
        let (weights, bias) = (weights.share(oc * ic), bias.map(|bias| bias.share(oc)));
        let [src_len, dst_len] = self.packed_lens();
        let (packed_src, packed_dst) = workspace.split_at_mut(src_len);
        let packed_dst = &mut packed_dst[..dst_len];
        pack(cx, Pixels::new(src, src_ld), [n, ic], self.width, packed_src);
        pack(cx, Pixels::new(d_dst, dst_ld), [n, oc], BLOCK, packed_dst);
        let (src, d_dst) = (&*packed_src, &*packed_dst);
        let (panels, blocks) = (ic.div_ceil(self.width), oc.div_ceil(BLOCK));
        cx.exec.run(self.runs * blocks, &|task, _| {
            let (run, block) = (task / blocks, task % blocks);
            let bias = bias.filter(|_| run == 0);
            let panels = cut(panels, self.runs, run);
            dispatch(self.machine.isa, Task { plan: self, src, d_dst, weights, bias, panels, block });
        });
    }
}

/// Packs `src`, n × channels, into panels of `width` channels, those of one image after another; channels beyond the
/// last are zeros.
fn pack(cx: &Context, src: Pixels, [n, channels]: [usize; 2], width: usize, packed: &mut [f32]) {
    let packed = SharedMut::new(packed);
    let grain = (CACHED / 4 / (n * width)).max(1);
    for_each_piece(cx.exec, channels.div_ceil(width), grain, |first, count, _| {
        for panel in first..first + count {
            let (channel, len) = (panel * width, width.min(channels - panel * width));
            // SAFETY: this task's own panel.
            let packed = unsafe { packed.range(panel * n * width, n * width) };
            for (image, packed) in packed.chunks_exact_mut(width).enumerate() {
                let (values, beyond) = packed.split_at_mut(len);
                values.copy_from_slice(&src.data[image * src.ld + channel..][..len]);
                beyond.fill(0.0);
            }
        }
    });
}

/// The gradient for some panels of the source and one of the destination.
struct Task<'a> {
    plan: &'a BackwardWeights,
    src: &'a [f32],
    d_dst: &'a [f32],
    weights: SharedTarget<'a>,
    bias: Option<SharedTarget<'a>>,
    panels: Range<usize>,
    block: usize,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardWeights { layer: Layer { n, ic, oc, .. }, width, .. } = *self.plan;
        let first = self.block * BLOCK;
        let channels = BLOCK.min(oc - first);
        let d_dst = &self.d_dst[first * n..][..BLOCK * n];
        if let Some(bias) = self.bias {
            let mut sums = [0.0; BLOCK];
            for image in d_dst.chunks_exact(BLOCK) {
                sums.iter_mut().zip(image).for_each(|(sum, value)| *sum += value);
            }
            // SAFETY: the tasks of the first run take the bias, each its own features.
            unsafe { bias.take(s, first, &sums[..channels]) };
        }
        let mut pairs: [Pair; CHUNK] = [[std::ptr::null(); 2]; CHUNK];
        for (image, pair) in pairs.iter_mut().take(n).enumerate() {
            *pair = [d_dst[image * BLOCK..].as_ptr(), self.src[image * width..].as_ptr()];
        }
        let mut sums = [0.0; MAX_PIXELS * MAX_VECTORS * MAX_LANES];
        let groups = channels.div_ceil(self.plan.tile_rows());
        for group in 0..groups {
            let rows = cut(channels, groups, group);
            for panel in self.panels.clone() {
                let columns = panel * width..ic.min((panel + 1) * width);
                let vectors = columns.len().div_ceil(S::LANES);
                for row in rows.clone() {
                    self.weights.prefetch(s, (first + row) * ic + columns.start, width);
                }
                for image in (0..n).step_by(CHUNK) {
                    let products = Products {
                        pairs: pairs.as_ptr(),
                        len: CHUNK.min(n - image),
                        src: (image * BLOCK + rows.start) as isize,
                        dst: (panel * n + image) * width,
                        tail: S::LANES,
                        sums: sums.as_mut_ptr(),
                        resume: image > 0,
                    };
                    // SAFETY: each pair, so many images on, is an image of both panels, which hold whole vectors.
                    unsafe { outer::tile_fn::<S, f32>(rows.len(), vectors)(s, &products) };
                }
                for (row, sums) in rows.clone().zip(sums.chunks_exact(vectors * S::LANES)) {
                    // SAFETY: these rows and columns of the weights are this task's own.
                    unsafe {
                        self.weights.take(s, (first + row) * ic + columns.start, &sums[..columns.len()])
                    };
                }
            }
        }
    }
}
