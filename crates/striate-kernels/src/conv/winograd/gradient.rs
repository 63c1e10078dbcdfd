//! The gradient of the weights: the transpose of the algorithm, with sums over tiles at every point.

use super::super::axis::Axis;
use super::super::geometry::Conv2dGeometry;
use super::super::outer::{Products, tile_fn};
use super::super::panels::{BLOCK, Panels, Product, WeightStrides};
use super::super::tile::Machine;
use super::lift::{Grid, LINE, Side};
use super::transform::{DestinationGradient, POINTS, Source, Transform, WeightsGradient};
use super::{Filtering, POSITIONS, SHARED_BLOCK, TASK_CHANNELS, TRANSFORM_CYCLES, sized};
use crate::element::Element;
use crate::exec::{SharedMut, for_each_piece};
use crate::reduce::Reduction;
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Context, Pixels, PixelsMut};
use std::ops::Range;

/// The most tiles that sums run over at once: their destination channels stay in the L1 cache.
const CHUNK: usize = 128;
/// Cycles of a multiply-add of vectors, and what else tiles take.
const PRODUCT_CYCLES: f64 = 0.6;
/// Cycles to load and store a vector of sums for a block, and to transform it in the end.
const SUM_CYCLES: [f64; 2] = [4.0, 20.0];
/// The least floats of a block's transformed data; where there are more sums than that, as many as sums.
const CACHED_BLOCK: usize = 1 << 19;

/// The plan of the gradient of the weights of a convolution of stride and dilation 1.
#[derive(Clone, Debug)]
pub(in crate::conv) struct Gradient {
    machine: Machine,
    filtering: Filtering,
    src: Side,
    dst: Side,
    /// Of the sums at every point, and of the weights: points, and elements of the kernel, take the place of taps.
    sums: Panels,
    kernels: Panels,
    tiles: usize,
    blocks: usize,
    bias: Reduction,
}

/// Where in the workspace the parts begin.
#[derive(Clone, Copy)]
struct Parts {
    dst: usize,
    sums: usize,
    kernels: usize,
    len: usize,
}

impl Gradient {
    /// Plans the gradient for source pixels `src_ld` and destination pixels `dst_ld` apart.
    pub(in crate::conv) fn new(
        machine: Machine,
        filtering: Filtering,
        g: &Conv2dGeometry,
        src_ld: usize,
        dst_ld: usize,
    ) -> Self {
        let (rows, cols) = Axis::forward_pair(g);
        let grid = Grid::new(g.oh(), g.ow(), filtering.out());
        let strides = WeightStrides::forward(g);
        let panels = |taps: usize| {
            let elements = (1, (0..taps).map(Some).collect());
            let strides = WeightStrides { kernel: taps, ..strides };
            Panels::new(machine, Product::Dense, 1, (g.ic, g.oc), elements, strides)
        };
        let mut plan = Self {
            machine,
            filtering,
            src: Side {
                grid,
                rows: (rows.taps[0], g.ih),
                cols: (cols.taps[0], g.iw),
                ld: src_ld,
                zeros: vec![0.0; g.ic],
            },
            dst: Side { grid, rows: (0, g.oh()), cols: (0, g.ow()), ld: dst_ld, zeros: vec![0.0; g.oc] },
            sums: panels(POSITIONS),
            kernels: panels(filtering.taps() * filtering.taps()),
            tiles: g.n * grid.tiles(),
            blocks: 1,
            bias: Reduction {
                shape: [g.n, g.oh(), g.ow(), g.oc],
                axes: [true, true, true, false],
                ld: [dst_ld, g.oc],
            },
        };
        plan.blocks =
            plan.parts().sums.div_ceil(plan.sums.len.clamp(CACHED_BLOCK, SHARED_BLOCK)).min(plan.tiles);
        plan
    }

    fn block_tiles(&self) -> usize {
        self.tiles.div_ceil(self.blocks)
    }

    fn parts(&self) -> Parts {
        let dst = POSITIONS * self.src.point_len(self.block_tiles());
        let sums = dst + POSITIONS * self.dst.point_len(self.block_tiles());
        let kernels = sums + self.sums.len.next_multiple_of(LINE);
        Parts { dst, sums, kernels, len: kernels + self.kernels.len }
    }

    /// Floats of workspace.
    pub(in crate::conv) fn workspace_len(&self) -> usize {
        LINE + self.parts().len.max(self.bias.workspace_len())
    }

    /// Algorithm and tile, in words.
    pub(in crate::conv) fn describe(&self) -> String {
        let (vectors, lanes) = (self.sums.vectors(), self.machine.lanes);
        let rows = self.machine.max_pixels(vectors);
        let (out, taps) = (self.filtering.out(), self.filtering.taps());
        let (width, tiles) = (vectors * lanes, self.block_tiles());
        format!("winograd {taps}x{taps} of {out}x{out} {rows}x{width}, blocks of {tiles} tiles")
    }

    /// Estimated cycles of one thread.
    pub(in crate::conv) fn cycles(&self) -> f64 {
        let (lanes, tiles) = (self.machine.lanes, self.tiles as f64);
        let vectors: usize = self.sums.list.iter().map(|panel| panel.vectors).sum();
        let values = self.src.channels();
        let products = tiles * (POSITIONS * values * vectors) as f64 * PRODUCT_CYCLES;
        let transforms = tiles * TRANSFORM_CYCLES * (values.div_ceil(lanes) + vectors) as f64;
        let [block, end] = SUM_CYCLES;
        let sums = (POSITIONS * values * vectors) as f64 * (self.blocks as f64 * block + end);
        products + transforms + sums
    }

    /// Computes `d_weights` and `d_bias`, all sizes checked.
    pub(in crate::conv) fn run<A: Element, B: Element>(
        &self,
        cx: &Context,
        src: &[A],
        d_dst: &[B],
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        if let Some(d_bias) = d_bias {
            let [src_ld, dst_ld] = self.bias.ld;
            let (d_dst, d_bias) = (Pixels::new(d_dst, src_ld), PixelsMut::new(d_bias, dst_ld));
            self.bias.sum(cx, d_dst, 1.0, d_bias, workspace);
        }
        let aligned = workspace.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let (data, kernels) = workspace[aligned..].split_at_mut(self.parts().kernels);
        let (data, kernels) = (SharedMut::new(data), SharedMut::new(kernels));
        let panels = self.sums.list.len();
        for index in 0..self.blocks {
            let cut = |index| index * self.tiles / self.blocks;
            let block = cut(index)..cut(index + 1);
            let step = Step { plan: self, data, first: block.start, resume: index > 0 };
            let grain = (TASK_CHANNELS / (self.src.channels() + self.dst.channels())).max(1);
            for_each_piece(cx.exec, block.len(), grain, |first, count, _| {
                let tiles = first..first + count;
                dispatch(self.machine.isa, LiftSrc { step, src, tiles: tiles.clone() });
                dispatch(self.machine.isa, LiftDst { step, d_dst, tiles });
            });
            cx.exec.run(POSITIONS * panels, &|task, _| {
                let (point, panel) = (task / panels, task % panels);
                dispatch(self.machine.isa, Sum { step, tiles: block.len(), point, panel });
            });
        }
        let d_weights = SharedMut::new(d_weights);
        let blocks = self.src.channels().div_ceil(BLOCK);
        cx.exec.run(panels * blocks, &|task, _| {
            let (panel, first) = (task / blocks, task % blocks * BLOCK);
            let channels = first..self.src.channels().min(first + BLOCK);
            dispatch(self.machine.isa, Finish { plan: self, data, kernels, panel, channels, d_weights });
        });
    }
}

/// What the steps of a block have in common.
#[derive(Clone, Copy)]
struct Step<'a> {
    plan: &'a Gradient,
    data: SharedMut<'a, f32>,
    /// The block's first tile.
    first: usize,
    /// Whether sums begin with those of earlier blocks.
    resume: bool,
}

/// Transforms the source of some tiles.
struct LiftSrc<'a, A> {
    step: Step<'a>,
    src: &'a [A],
    tiles: Range<usize>,
}

impl<A: Element> Kernel for LiftSrc<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.step.plan.filtering, self.lift::<S>(s))
    }
}

impl<A: Element> LiftSrc<'_, A> {
    #[inline(always)]
    fn lift<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let Self { step, src: data, tiles } = self;
        let src = &step.plan.src;
        let far = src.point_len(step.plan.block_tiles());
        for tile in tiles {
            // SAFETY: the map was checked to be held; the tile's part of the workspace is this task's own.
            unsafe {
                let points = step.data.ptr_at(tile * src.tile_len());
                src.lift::<S, A, Source, POINTS, OUT>(s, data, step.first + tile, points, far);
            }
        }
    }
}

/// Transforms the destination's gradient of some tiles.
struct LiftDst<'a, B> {
    step: Step<'a>,
    d_dst: &'a [B],
    tiles: Range<usize>,
}

impl<B: Element> Kernel for LiftDst<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.step.plan.filtering, self.lift::<S>(s))
    }
}

impl<B: Element> LiftDst<'_, B> {
    #[inline(always)]
    fn lift<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let Self { step, d_dst: data, tiles } = self;
        let (dst, parts) = (&step.plan.dst, step.plan.parts());
        let far = dst.point_len(step.plan.block_tiles());
        for tile in tiles {
            // SAFETY: as in `LiftSrc`.
            unsafe {
                let points = step.data.ptr_at(parts.dst + tile * dst.tile_len());
                dst.lift::<S, B, DestinationGradient, OUT, OUT>(s, data, step.first + tile, points, far);
            }
        }
    }
}

/// Adds a block's products at one point to the sums of one panel.
struct Sum<'a> {
    step: Step<'a>,
    tiles: usize,
    point: usize,
    panel: usize,
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { step, tiles, point, panel } = self;
        let (plan, parts) = (step.plan, step.plan.parts());
        let panel = &plan.sums.list[panel];
        let (block_tiles, values) = (plan.block_tiles(), plan.src.channels());
        let mut pairs = [[std::ptr::null(); 2]; CHUNK];
        let pieces = values.div_ceil(plan.machine.max_pixels(panel.vectors));
        for chunk in (0..tiles).step_by(CHUNK) {
            let len = CHUNK.min(tiles - chunk);
            // SAFETY: the block's transformed tiles are whole since an earlier step and lie in the workspace with
            // whole vectors of the panel's channels; the sums of this point and panel are this task's own.
            unsafe {
                let (src, dst) =
                    (point * plan.src.point_len(block_tiles), point * plan.dst.point_len(block_tiles));
                for (tile, pair) in (chunk..).zip(&mut pairs[..len]) {
                    *pair = [
                        step.data.ptr_at(src + tile * plan.src.tile_len()).cast_const(),
                        step.data.ptr_at(parts.dst + dst + tile * plan.dst.tile_len()).cast_const(),
                    ];
                }
                for piece in 0..pieces {
                    let (from, to) = (piece * values / pieces, (piece + 1) * values / pieces);
                    let products = Products {
                        pairs: pairs.as_ptr(),
                        len,
                        src: from as isize,
                        dst: panel.dst_channel,
                        tail: S::LANES,
                        sums: step.data.ptr_at(parts.sums + plan.sums.step(panel, point * values + from)),
                        resume: step.resume || chunk > 0,
                    };
                    tile_fn::<S, f32>(to - from, panel.vectors)(s, &products);
                }
            }
        }
    }
}

/// The gradients of some source channels of a panel, from its sums.
struct Finish<'a> {
    plan: &'a Gradient,
    data: SharedMut<'a, f32>,
    kernels: SharedMut<'a, f32>,
    panel: usize,
    channels: Range<usize>,
    d_weights: SharedMut<'a, f32>,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.plan.filtering, self.transform::<S>(s))
    }
}

impl Finish<'_> {
    #[inline(always)]
    fn transform<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let Self { plan, data, kernels, panel, channels, d_weights } = self;
        let (parts, values) = (plan.parts(), plan.src.channels());
        let (sums, panel) = (&plan.sums.list[panel], &plan.kernels.list[panel]);
        for channel in channels.clone() {
            for v in 0..sums.vectors {
                // SAFETY: the sums are whole since an earlier step; the channels' kernels are this task's own.
                unsafe {
                    let mut points = [[s.zero(); POINTS]; POINTS];
                    for y in 0..POINTS {
                        for x in 0..POINTS {
                            let step = plan.sums.step(sums, (y * POINTS + x) * values + channel);
                            points[y][x] = s.load(data.ptr_at(parts.sums + step + v * S::LANES));
                        }
                    }
                    let columns: [_; TAPS] = WeightsGradient::columns(s, points);
                    for y in 0..TAPS {
                        let line: [_; TAPS] = WeightsGradient::line(s, columns[y]);
                        for x in 0..TAPS {
                            let step = plan.kernels.step(panel, (y * TAPS + x) * values + channel);
                            s.store(kernels.ptr_at(step + v * S::LANES), line[x]);
                        }
                    }
                }
            }
        }
        // SAFETY: the channels of the panel's kernels, and of the weights, are this task's own.
        unsafe { plan.kernels.unpack(s, panel, channels, &kernels, &d_weights) };
    }
}
