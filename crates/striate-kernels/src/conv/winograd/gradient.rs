//! The gradient of the weights: the transpose of the algorithm, with sums over tiles at every point.
//!
//! The tiles are cut into slices and the panels of written channels into groups; each slice of each group is a task with
//! sums of its own, which lifts what it sums a block of tiles at a time. No core reads what another has just written: on
//! processors whose cores do not all share a cache that would take several times as long as the sums. The price is that
//! each group lifts the source anew, which is little beside the products of its many channels.

use super::super::axis::Axis;
use super::super::geometry::Conv2dGeometry;
use super::super::outer::{Products, tile_fn};
use super::super::panels::{BLOCK, Panels, Product, WeightStrides};
use super::super::tile::Machine;
use super::lift::{Grid, LINE, Side, point_len, tile_len};
use super::transform::{DestinationGradient, POINTS, Source, Transform, WeightsGradient};
use super::{Filtering, POSITIONS, TRANSFORM_CYCLES, sized};
use crate::element::Element;
use crate::exec::SharedMut;
use crate::reduce::Reduction;
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Context, Pixels, PixelsMut};
use std::ops::Range;

/// Tasks wanted where the problem is large enough.
const TASKS: usize = 16;
/// The most floats of all slices' sums together.
const MAX_SUMS: usize = 8 << 20;
/// Tiles that make sums of their own worthwhile.
const SLICE_TILES: usize = 64;
/// Floats of a task's sums that stay in the L2 cache from block to block.
const CACHED_SUMS: usize = 160 << 10;
/// Floats of a block's transformed data beside such sums. Larger sums come from further away for each block, which then
/// had better be large.
const CACHED_BLOCK: usize = 1 << 18;
/// Tiles of a block: the fewest, and the most, whose destination channels stay in the L1 cache.
const BLOCK_TILES: [usize; 2] = [32, 128];
/// Cycles of a multiply-add of vectors, and what else tiles take.
const PRODUCT_CYCLES: f64 = 0.6;
/// Cycles to load and store a vector of sums for a block, to add it up for a slice, and to transform it in the end.
const SUM_CYCLES: [f64; 3] = [4.0, 2.0, 18.0];

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
    slices: usize,
    /// Runs of panels that are summed by a task.
    groups: Vec<Range<usize>>,
    bias: Reduction,
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
        let sums = panels(POSITIONS);
        let tiles = g.n * grid.tiles();
        let slices = TASKS.min(MAX_SUMS / sums.len.max(1)).min(tiles / SLICE_TILES).max(1);
        let groups = cut(sums.list.len(), (TASKS / slices).min(sums.list.len())).collect();
        Self {
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
            sums,
            kernels: panels(filtering.taps() * filtering.taps()),
            tiles,
            slices,
            groups,
            bias: Reduction {
                shape: [g.n, g.oh(), g.ow(), g.oc],
                axes: [true, true, true, false],
                ld: [dst_ld, g.oc],
            },
        }
    }

    /// The written channels of a group.
    fn channels(&self, group: &Range<usize>) -> Range<usize> {
        let [first, last] = [group.start, group.end - 1].map(|index| &self.sums.list[index]);
        first.dst_channel..last.dst_channel + last.channels
    }

    /// The most written channels of a group.
    fn group_channels(&self) -> usize {
        self.groups.iter().map(|group| self.channels(group).len()).max().unwrap_or(0)
    }

    /// Blocks of a slice.
    fn blocks(&self) -> usize {
        let (values, channels) = (self.src.channels(), self.group_channels());
        let tile = POSITIONS * (tile_len(values) + tile_len(channels));
        let [fewest, most] = BLOCK_TILES;
        let stays = POSITIONS * values * channels <= CACHED_SUMS;
        let tiles = if stays { (CACHED_BLOCK / tile).clamp(fewest, most) } else { most };
        self.tiles.div_ceil(self.slices).div_ceil(tiles)
    }

    /// Tiles of the largest block.
    fn block_tiles(&self) -> usize {
        self.tiles.div_ceil(self.slices).div_ceil(self.blocks())
    }

    /// Floats of a block's transformed source, and of that and its destination.
    fn block_lens(&self) -> [usize; 2] {
        let len = |channels| POSITIONS * point_len(self.block_tiles(), channels);
        let src = len(self.src.channels());
        [src, src + len(self.group_channels())]
    }

    /// Floats of a slice's sums: whole lines.
    fn slice_len(&self) -> usize {
        self.sums.len.next_multiple_of(LINE)
    }

    /// Floats of workspace.
    pub(in crate::conv) fn workspace_len(&self, workers: usize) -> usize {
        let [_, block] = self.block_lens();
        let len = self.slices * self.slice_len() + (workers * block).max(self.kernels.len);
        LINE + len.max(self.bias.workspace_len())
    }

    /// Algorithm and tile, in words.
    pub(in crate::conv) fn describe(&self) -> String {
        let (vectors, lanes) = (self.sums.vectors(), self.machine.lanes);
        let rows = self.machine.max_pixels(vectors);
        let (out, taps) = (self.filtering.out(), self.filtering.taps());
        let (width, slices, tiles) = (vectors * lanes, self.slices, self.block_tiles());
        format!(
            "winograd {taps}x{taps} of {out}x{out} {rows}x{width}, {slices} slices of blocks of {tiles} tiles"
        )
    }

    /// Estimated cycles of one thread.
    pub(in crate::conv) fn cycles(&self) -> f64 {
        let (lanes, tiles) = (self.machine.lanes, self.tiles as f64);
        let vectors: usize = self.sums.list.iter().map(|panel| panel.vectors).sum();
        let values = self.src.channels();
        let products = tiles * (POSITIONS * values * vectors) as f64 * PRODUCT_CYCLES;
        let lifted = self.groups.len() * values.div_ceil(lanes) + vectors;
        let transforms = tiles * TRANSFORM_CYCLES * lifted as f64;
        let [block, slice, end] = SUM_CYCLES;
        let slices = self.slices as f64;
        let sum = slices * (self.blocks() as f64 * block + slice) + end;
        products + transforms + (POSITIONS * values * vectors) as f64 * sum
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
        let (sums, rest) = workspace[aligned..].split_at_mut(self.slices * self.slice_len());
        let (sums, rest) = (SharedMut::new(sums), SharedMut::new(rest));
        let (groups, [_, block_len]) = (self.groups.len(), self.block_lens());
        cx.exec.run(self.slices * groups, &|task, worker| {
            let (slice, group) = (task / groups, &self.groups[task % groups]);
            let first = slice * self.slice_len();
            let block = worker * block_len;
            dispatch(
                self.machine.isa,
                Sum { plan: self, src, d_dst, slice, group, sums, first, rest, block },
            );
        });
        let d_weights = SharedMut::new(d_weights);
        let blocks = self.src.channels().div_ceil(BLOCK);
        cx.exec.run(self.sums.list.len() * blocks, &|task, _| {
            let (panel, first) = (task / blocks, task % blocks * BLOCK);
            let channels = first..self.src.channels().min(first + BLOCK);
            dispatch(
                self.machine.isa,
                Finish { plan: self, sums, kernels: rest, panel, channels, d_weights },
            );
        });
    }
}

/// `0..total`, cut into `pieces` as even as can be.
fn cut(total: usize, pieces: usize) -> impl Iterator<Item = Range<usize>> {
    (0..pieces).map(move |piece| piece * total / pieces..(piece + 1) * total / pieces)
}

/// Sums a slice of the tiles for a group of panels.
struct Sum<'a, A, B> {
    plan: &'a Gradient,
    src: &'a [A],
    d_dst: &'a [B],
    slice: usize,
    group: &'a Range<usize>,
    sums: SharedMut<'a, f32>,
    /// Where the slice's sums begin.
    first: usize,
    rest: SharedMut<'a, f32>,
    /// Where the worker's block begins.
    block: usize,
}

impl<A: Element, B: Element> Kernel for Sum<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.plan.filtering, self.slice::<S>(s))
    }
}

impl<A: Element, B: Element> Sum<'_, A, B> {
    #[inline(always)]
    fn slice<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let plan = self.plan;
        let slice = self.slice * plan.tiles / plan.slices..(self.slice + 1) * plan.tiles / plan.slices;
        for (index, block) in cut(slice.len(), plan.blocks()).enumerate() {
            let tiles = slice.start + block.start..slice.start + block.end;
            self.lift::<S, OUT>(s, tiles.clone());
            for panel in self.group.clone() {
                for point in 0..POSITIONS {
                    self.add(s, tiles.len(), point, panel, index > 0);
                }
            }
        }
    }

    /// Transforms source and destination of some tiles.
    #[inline(always)]
    fn lift<S: Simd, const OUT: usize>(&self, s: S, tiles: Range<usize>) {
        let (src, dst) = (&self.plan.src, &self.plan.dst);
        let (channels, [src_len, _]) = (self.plan.channels(self.group), self.plan.block_lens());
        let far =
            [src.channels(), self.plan.group_channels()].map(|len| point_len(self.plan.block_tiles(), len));
        let step = [src.channels(), self.plan.group_channels()].map(tile_len);
        for (index, tile) in tiles.enumerate() {
            // SAFETY: the maps were checked to be held; the block is the worker's own, and large enough.
            unsafe {
                let points = (self.rest.ptr_at(self.block + index * step[0]), far[0]);
                src.lift::<S, A, Source, POINTS, OUT>(s, self.src, tile, 0..src.channels(), points);
                let points = (self.rest.ptr_at(self.block + src_len + index * step[1]), far[1]);
                dst.lift::<S, B, DestinationGradient, OUT, OUT>(
                    s,
                    self.d_dst,
                    tile,
                    channels.clone(),
                    points,
                );
            }
        }
    }

    /// Adds the products of a block of `tiles` tiles at one point to the sums of panel `index`.
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, tiles: usize, point: usize, index: usize, resume: bool) {
        let (plan, panel) = (self.plan, &self.plan.sums.list[index]);
        let (values, [src_len, _]) = (plan.src.channels(), plan.block_lens());
        let far = [values, plan.group_channels()].map(|len| point * point_len(plan.block_tiles(), len));
        let step = [values, plan.group_channels()].map(tile_len);
        let mut pairs = [[std::ptr::null(); 2]; BLOCK_TILES[1]];
        // SAFETY: the block's transformed tiles are whole and lie in it with whole vectors of the group's channels; the
        // sums of this slice and panel are this task's own.
        unsafe {
            for (tile, pair) in pairs[..tiles].iter_mut().enumerate() {
                *pair = [
                    self.rest.ptr_at(self.block + far[0] + tile * step[0]).cast_const(),
                    self.rest.ptr_at(self.block + src_len + far[1] + tile * step[1]).cast_const(),
                ];
            }
            let pieces = values.div_ceil(plan.machine.max_pixels(panel.vectors));
            for values_of_piece in cut(values, pieces) {
                let Range { start: from, end: to } = values_of_piece;
                let products = Products {
                    pairs: pairs.as_ptr(),
                    len: tiles,
                    src: from as isize,
                    dst: panel.dst_channel - plan.channels(self.group).start,
                    tail: S::LANES,
                    sums: self.sums.ptr_at(self.first + plan.sums.step(panel, point * values + from)),
                    resume,
                };
                tile_fn::<S, f32>(to - from, panel.vectors)(s, &products);
            }
        }
    }
}

/// The gradients of some source channels of a panel, from its sums.
struct Finish<'a> {
    plan: &'a Gradient,
    sums: SharedMut<'a, f32>,
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
        let Self { plan, sums, kernels, panel, channels, d_weights } = self;
        let values = plan.src.channels();
        let (of_points, panel) = (&plan.sums.list[panel], &plan.kernels.list[panel]);
        for channel in channels.clone() {
            for v in 0..of_points.vectors {
                // SAFETY: the sums are whole since an earlier step; the channels' kernels are this task's own.
                unsafe {
                    let mut points = [[s.zero(); POINTS]; POINTS];
                    for slice in 0..plan.slices {
                        let first = slice * plan.slice_len() + v * S::LANES;
                        for y in 0..POINTS {
                            for x in 0..POINTS {
                                let step = plan.sums.step(of_points, (y * POINTS + x) * values + channel);
                                let sum = s.load(sums.ptr_at(first + step).cast_const());
                                points[y][x] = s.add(points[y][x], sum);
                            }
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
