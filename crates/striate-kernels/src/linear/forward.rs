//! dst = src · weightsᵀ: dot products of rows.

use super::{LINE, Layer, cut, dot, tile};
use crate::conv::tile::Machine;
use crate::conv::{Epilogue, GeometryError};
use crate::exec::SharedMut;
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Context, Isa, view::extent};
use std::ops::Range;

/// The most features of the destination that one task computes.
const BLOCK: usize = 32;
/// The most features of the source in a piece: a tile's images stay in the L1 cache, the task's weights in the L2.
const PIECE: usize = 1024;
/// The most rows of the weights in a tile: with four, compilers keep sums of 16 lanes in memory.
const MOST_ROWS: usize = 3;

/// The forward pass of a fully connected layer.
#[derive(Clone, Debug)]
pub struct Forward {
    layer: Layer,
    machine: Machine,
    /// Rows of the source and of the weights that are multiplied in registers.
    tile: [usize; 2],
    /// Pieces of the source's features.
    pieces: usize,
}

impl Forward {
    /// Plans the pass on the strongest instruction set present that does not exceed `isa`.
    ///
    /// # Errors
    /// Where the sizes make no layer.
    pub fn new(isa: Isa, layer: &Layer) -> Result<Self, GeometryError> {
        layer.validate()?;
        let machine = Machine::up_to(isa);
        let tile = tile(machine, layer.n, MOST_ROWS);
        Ok(Self { layer: *layer, machine, tile, pieces: layer.ic.div_ceil(PIECE) })
    }

    /// Length of the workspace, in floats. What it holds before and after a run means nothing.
    pub fn workspace_len(&self, workers: usize) -> usize {
        workers * self.layer.n * BLOCK
    }

    /// Algorithm and tile (images × features of the destination), in words.
    pub fn describe(&self) -> String {
        format!("dot products {}x{}", self.tile[0], self.tile[1])
    }

    /// Computes `dst` from `src` and `weights`, (oc, ic).
    ///
    /// # Panics
    /// Where a slice's length does not fit the layer.
    pub fn run(
        &self,
        cx: &Context,
        src: &[f32],
        weights: &[f32],
        epilogue: &Epilogue,
        dst: &mut [f32],
        workspace: &mut [f32],
    ) {
        let Layer { n, ic, oc, src_ld, dst_ld } = self.layer;
        assert!(src.len() >= extent(n, ic, src_ld), "source");
        assert_eq!(weights.len(), oc * ic, "weights");
        assert!(dst.len() >= extent(n, oc, dst_ld), "destination");
        assert!(workspace.len() >= self.workspace_len(cx.exec.workers()), "workspace");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == oc), "bias");
        if let Some(residual) = epilogue.residual {
            assert!(residual.ld >= oc && residual.data.len() >= extent(n, oc, residual.ld), "residual");
        }
        let (dst, sums) = (SharedMut::new(dst), SharedMut::new(workspace));
        let blocks = oc.div_ceil(BLOCK);
        cx.exec.run(blocks, &|block, worker| {
            // SAFETY: no two tasks run on a worker at the same time.
            let sums = unsafe { sums.range(worker * n * BLOCK, n * BLOCK) };
            let channels = cut(oc, blocks, block);
            dispatch(self.machine.isa, Task { plan: self, src, weights, epilogue, dst, sums, channels });
        });
    }
}

/// Some features of the destination, for all images.
struct Task<'a> {
    plan: &'a Forward,
    src: &'a [f32],
    weights: &'a [f32],
    epilogue: &'a Epilogue<'a>,
    dst: SharedMut<'a, f32>,
    sums: &'a mut [f32],
    channels: Range<usize>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Forward { layer: Layer { n, ic, src_ld, .. }, tile: [images, rows], pieces, .. } = *self.plan;
        let (tiles, groups) = (n.div_ceil(images), self.channels.len().div_ceil(rows));
        for piece in 0..pieces {
            let columns = cut(ic.div_ceil(LINE), pieces, piece);
            let (from, to) = (columns.start * LINE, ic.min(columns.end * LINE));
            for tile in 0..tiles {
                let images = cut(n, tiles, tile);
                for group in 0..groups {
                    let rows = cut(self.channels.len(), groups, group);
                    let dots = dot::Dots {
                        src: self.src[images.start * src_ld + from..].as_ptr(),
                        src_ld,
                        weights: self.weights[(self.channels.start + rows.start) * ic + from..].as_ptr(),
                        weights_ld: ic,
                        len: to - from,
                        sums: self.sums[images.start * BLOCK + rows.start..].as_mut_ptr(),
                        sums_ld: BLOCK,
                        resume: piece > 0,
                        ahead: if piece + 1 < pieces { to - from } else { 0 },
                    };
                    // SAFETY: the rows lie inside the source and the weights, whose lengths were checked, the sums
                    // inside this task's own.
                    unsafe { dot::tile_fn::<S>(images.len(), rows.len())(s, &dots) };
                }
            }
        }
        self.finish(s);
    }
}

impl Task<'_> {
    /// Writes the sums: `activation(sums + bias + residual)`.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S) {
        let Layer { n, dst_ld, .. } = self.plan.layer;
        let Epilogue { bias, residual, activation } = *self.epilogue;
        let (bounds, first, count) = (activation.bounds(), self.channels.start, self.channels.len());
        for image in 0..n {
            for at in (0..count).step_by(S::LANES) {
                let len = S::LANES.min(count - at);
                let channel = first + at;
                // SAFETY: `len` channels of the image in each, by the lengths checked at the start of the run; no
                // other task writes them.
                unsafe {
                    let mut sum = s.load_up_to(self.sums[image * BLOCK + at..].as_ptr(), len);
                    if let Some(bias) = bias {
                        sum = s.add(sum, s.load_up_to(bias[channel..].as_ptr(), len));
                    }
                    if let Some(residual) = residual {
                        let residual = &residual.data[image * residual.ld + channel..];
                        sum = s.add(sum, s.load_up_to(residual.as_ptr(), len));
                    }
                    let held = bounds.hold(s, sum);
                    s.store_up_to(self.dst.ptr_at(image * dst_ld + channel), held, len);
                }
            }
        }
    }
}
