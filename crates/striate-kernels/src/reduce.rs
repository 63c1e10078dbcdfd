//! Sums of maps over any of their axes.
//!
//! The tree of additions is fixed by the problem: chunks of a set size are summed on their own, and their
//! sums, in order, in double precision.

use crate::channelwise::{self, AddSums, Maps, Source, Sum, rows_per_sum};
use crate::element::Element;
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::{GRAIN, assert_fits};
use crate::simd::{Kernel, Simd, dispatch};
use crate::strided::{Nest, strides};
use crate::view::{Pixels, PixelsMut, volume};
use std::ops::Range;

/// A sum of a map over some of its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// (n, h, w, c) of the source.
    pub shape: [usize; 4],
    /// The axes to sum over, as (n, h, w, c); in the destination their extent is 1.
    pub axes: [bool; 4],
    /// Pixel distances of source and destination.
    pub ld: [usize; 2],
}

/// Elements of a line that are summed as one.
const SEGMENT: usize = 2 * GRAIN;

/// How a reduction is cut: outputs × chunks of source lines, each chunk one partial sum.
struct Tree {
    /// Source and destination; a loop that does not move the destination is summed over.
    nest: Nest<2>,
    /// Extents of the outer loops that are kept, and of those that are summed over; else 1.
    kept: [usize; 3],
    summed: [usize; 3],
    /// Iterations of the kept and of the summed outer loops.
    outputs: usize,
    lines: usize,
    /// Whether the inner loop is kept, and its length.
    columns: bool,
    inner: usize,
    /// The inner loop is cut into blocks of this length.
    block: usize,
    /// Lines (of blocks, where the inner loop is summed over) in a chunk, and chunks of an output.
    chunk: usize,
    chunks: usize,
}

impl Reduction {
    /// (n, h, w, c) of the destination.
    pub fn dst_shape(&self) -> [usize; 4] {
        std::array::from_fn(|dim| if self.axes[dim] { 1 } else { self.shape[dim] })
    }

    fn tree(&self) -> Tree {
        let [src, dst] = [strides(self.shape, self.ld[0]), strides(self.dst_shape(), self.ld[1])];
        let nest = Nest::new(self.shape, std::array::from_fn(|dim| [src[dim], dst[dim]]));
        let is_kept = |dim: usize| nest.strides[dim][1] != 0;
        let kept: [usize; 3] = std::array::from_fn(|dim| if is_kept(dim) { nest.extents[dim] } else { 1 });
        let summed: [usize; 3] = std::array::from_fn(|dim| if is_kept(dim) { 1 } else { nest.extents[dim] });
        let (outputs, lines): (usize, usize) = (kept.iter().product(), summed.iter().product());
        let (columns, inner) = (is_kept(3), nest.extents[3]);
        let (block, chunk) = if columns {
            let block = inner.clamp(1, GRAIN / 2);
            (block, rows_per_sum(block))
        } else {
            let block = inner.clamp(1, SEGMENT);
            (block, SEGMENT / block)
        };
        let mut tree = Tree { nest, kept, summed, outputs, lines, columns, inner, block, chunk, chunks: 0 };
        tree.chunks = tree.units().div_ceil(chunk);
        tree
    }

    /// Floats of workspace that [`Reduction::run`] needs.
    pub fn workspace_len(&self) -> usize {
        let tree = self.tree();
        if tree.chunks > 1 { tree.chunks * tree.width() } else { 0 }
    }

    /// `dst` = `scale` · the sum of `src` over the axes; their pixel distances must be those of `ld`.
    pub fn run(&self, cx: &Context, src: Pixels, scale: f32, dst: PixelsMut, workspace: &mut [f32]) {
        self.sum(cx, src, scale, dst, workspace);
    }

    /// As [`run`](Self::run), of elements of either type.
    pub(crate) fn sum<E: Element>(
        &self,
        cx: &Context,
        src: Pixels<E>,
        scale: f32,
        dst: PixelsMut,
        workspace: &mut [f32],
    ) {
        let [n, h, w, c] = self.shape;
        assert_fits("src", src.data, volume([n, h, w]), c, src.ld);
        let [dn, dh, dw, dc] = self.dst_shape();
        assert_fits("dst", dst.data, volume([dn, dh, dw]), dc, dst.ld);
        assert_eq!([src.ld, dst.ld], self.ld, "pixel distances");
        let tree = self.tree();
        if tree.width() == 0 {
            return;
        }
        let dst = SharedMut::new(dst.data);
        if tree.chunks <= 1 {
            let place = |_, output| tree.nest.offsets(output, tree.kept)[1];
            tree.partial_sums(cx, src.data, scale, dst, place);
            return;
        }
        let workspace = &mut workspace[..tree.chunks * tree.width()];
        let partials = SharedMut::new(workspace);
        let place = |chunk, output| (chunk * tree.outputs + output) * tree.line();
        tree.partial_sums(cx, src.data, 1.0, partials, place);
        channelwise::combine(cx, workspace, tree.width(), |start, totals| {
            for (at, total) in (start..).zip(totals) {
                let [_, offset] = tree.nest.offsets(at / tree.line(), tree.kept);
                // SAFETY: each element of the destination is one task's own.
                unsafe { dst.range(offset + at % tree.line(), 1)[0] = (total * scale as f64) as f32 };
            }
        });
    }
}

impl Tree {
    /// Elements that a line of the source leaves in the destination.
    fn line(&self) -> usize {
        if self.columns { self.inner } else { 1 }
    }

    /// Elements of the destination.
    fn width(&self) -> usize {
        self.outputs * self.line()
    }

    /// Writes `scale` · the sum of each chunk to `dst` at `place(chunk, output)`.
    fn partial_sums<E: Element>(
        &self,
        cx: &Context,
        src: &[E],
        scale: f32,
        dst: SharedMut<f32>,
        place: impl Fn(usize, usize) -> usize + Sync,
    ) {
        // A sum over nothing is a chunk too: zero.
        let chunks = self.chunks.max(1);
        let blocks = if self.columns { self.inner.div_ceil(self.block) } else { 1 };
        let grain = (2 * GRAIN / (self.block * self.chunk.min(self.units()).max(1))).max(1);
        for_each_piece(cx.exec, self.outputs * blocks * chunks, grain, |start, len, _| {
            let tasks = start..start + len;
            dispatch(cx.isa, Partial { tree: self, tasks, blocks, src, scale, dst, place: &place });
        });
    }

    /// What an output sums: lines, in blocks where the inner loop is summed over.
    fn units(&self) -> usize {
        if self.columns { self.lines } else { self.lines * self.inner.div_ceil(self.block) }
    }

    /// Calls `body(offset, count, stride)` for the runs of equally distant lines that make up `lines`.
    #[inline(always)]
    fn for_each_run(&self, lines: Range<usize>, mut body: impl FnMut(usize, usize, usize)) {
        let loops = (0..3).rev().find(|dim| self.summed[*dim] > 1);
        let (extent, stride) = loops.map_or((1, 0), |dim| (self.summed[dim], self.nest.strides[dim][0]));
        let mut line = lines.start;
        while line < lines.end {
            let count = (extent - line % extent).min(lines.end - line);
            body(self.nest.offsets(line, self.summed)[0], count, stride);
            line += count;
        }
    }
}

/// Some of the (chunk, output, block) of a tree, each one partial sum.
struct Partial<'a, E, P> {
    tree: &'a Tree,
    tasks: Range<usize>,
    /// Blocks of columns.
    blocks: usize,
    src: &'a [E],
    scale: f32,
    dst: SharedMut<'a, f32>,
    place: &'a P,
}

impl<E: Element, P: Fn(usize, usize) -> usize> Kernel for Partial<'_, E, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tree { outputs, columns, inner, block, chunk, .. } = *self.tree;
        for task in self.tasks.clone() {
            let (part, at) = (task / (outputs * self.blocks), task % self.blocks * block);
            let output = task / self.blocks % outputs;
            let units = part * chunk..self.tree.units().min((part + 1) * chunk);
            // Where there is nothing to sum, an output's place may lie outside.
            let src = self.src.get(self.tree.nest.offsets(output, self.tree.kept)[0]..).unwrap_or_default();
            let width = if columns { block.min(inner - at) } else { 1 };
            // SAFETY: chunks, outputs and blocks are written to places of their own.
            let dst = unsafe { self.dst.range((self.place)(part, output) + at, width) };
            if columns {
                dst.fill(0.0);
                self.tree.for_each_run(
                    units,
                    #[inline(always)]
                    |offset, lines, ld| {
                        let operands = [Source::Of(Pixels::new(&src[offset + at..], ld))];
                        let maps = Maps::new(operands, [], [lines, width]);
                        let sums = [&mut *dst];
                        AddSums { f: &Sum, rows: 0..lines, maps: &maps, params: [], sums }.run(s);
                    },
                );
                dst.iter_mut().for_each(|x| *x *= self.scale);
            } else {
                dst[0] = self.sum_lines(s, src, units) * self.scale;
            }
        }
    }
}

impl<E: Element, P> Partial<'_, E, P> {
    /// The sum of blocks of lines: unit `u` is block `u % blocks` of line `u / blocks`.
    #[inline(always)]
    fn sum_lines<S: Simd>(&self, s: S, src: &[E], units: Range<usize>) -> f32 {
        let Tree { nest, summed, inner, block, .. } = self.tree;
        let blocks = inner.div_ceil(*block);
        // Four sums in flight hide the latency of additions.
        let mut sums = [s.zero(); 4];
        for unit in units {
            let (line, at) = if blocks == 1 { (unit, 0) } else { (unit / blocks, unit % blocks * block) };
            let line = &src[nest.offsets(line, *summed)[0] + at..][..(*block).min(inner - at)];
            let mut quads = line.chunks_exact(4 * S::LANES);
            for quad in &mut quads {
                for k in 0..4 {
                    // SAFETY: within the four vectors of `quad`.
                    sums[k] = s.add(sums[k], unsafe { s.load(quad.as_ptr().add(k * S::LANES)) });
                }
            }
            let rest = quads.remainder();
            for k in 0..4 {
                let lanes = S::LANES.min(rest.len().saturating_sub(k * S::LANES));
                if lanes > 0 {
                    // SAFETY: within `rest`.
                    let x = unsafe { s.load_up_to(rest.as_ptr().add(k * S::LANES), lanes) };
                    sums[k] = s.add(sums[k], x);
                }
            }
        }
        s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
    }
}

fn all(len: usize) -> Reduction {
    Reduction { shape: [1, 1, 1, len], axes: [true; 4], ld: [len, 1] }
}

/// Floats of workspace that [`sum_all`] needs for `len` elements.
pub fn sum_all_workspace_len(len: usize) -> usize {
    all(len).workspace_len()
}

/// The sum of all of `src`.
pub fn sum_all(cx: &Context, src: &[f32], workspace: &mut [f32]) -> f32 {
    let mut sum = [0.0];
    let dst = PixelsMut::new(&mut sum, 1);
    all(src.len()).run(cx, Pixels::new(src, src.len()), 1.0, dst, workspace);
    sum[0]
}
