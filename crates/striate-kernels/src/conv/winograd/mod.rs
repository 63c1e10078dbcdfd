//! Winograd's minimal filterings F(4×4, 3×3) and F(2×2, 5×5) (Lavin and Gray, *Fast Algorithms for Convolutional Neural
//! Networks*, 2015): 36 multiply-adds where 16 pixels of a 3×3 convolution take 144, and 4 of a 5×5 convolution 100.
//!
//! The destination is cut into tiles. For each the 6 × 6 source pixels it sees are transformed; then at each
//! of the 36 points, products over the channels, tiles × read channels times read × written channels, run on the
//! register tile; and their transform is the destination. Few weights: a worker takes a block of tiles through all
//! three steps, the transformed data stay in its L2 cache. Many weights: the steps are phases of a large block, in
//! which the weights of a point are read once.
//!
//! The gradient of the weights is the transpose: at every point, products of the transformed source and gradient of the
//! destination are summed over all tiles, and transformed to kernels at the end.
//!
//! Maps of bfloat16 are widened as they are transformed, and rounded as they are written: what lies between is float32.
//!
//! A value that is not finite spreads over its tile.

mod gradient;
mod lift;
mod transform;

pub(super) use gradient::Gradient;

use super::Bounds;
use super::algorithm::Refusal;
use super::axis::{Axis, kernel_elements};
use super::gather::Call;
use super::geometry::Conv2dGeometry;
use super::panels::{BLOCK, Panel, Panels, Product, WeightStrides, transpose};
use super::tile::{MAX_PIXELS, Machine, Reduction, Sink, tile_fn};
use crate::Context;
use crate::element::Element;
use crate::exec::{SharedMut, for_each_piece};
use crate::simd::{Kernel, Simd, dispatch};
use lift::{Grid, LINE, Side, point_len, tile_len};
use std::ops::Range;
use transform::{Destination, MAX_TAPS, POINTS, Source, Transform, Weights};

/// Points of a tile: products of each pair of channels.
const POSITIONS: usize = POINTS * POINTS;
/// The most floats of weights for which blocks take their own way: they come from the L3 cache for each block.
const STREAMED_WEIGHTS: usize = POSITIONS * 384 * 384;
/// Tiles of a worker's own block: the most, and the fewest that make loading its weights worthwhile.
const FUSED_TILES: [usize; 2] = [24, 12];
/// Fewer blocks than this keep too few workers busy.
const FUSED_BLOCKS: usize = 4;
/// Floats of the transformed data of a block shared by all, which stay in the L3 cache.
const SHARED_BLOCK: usize = 4 << 20;
/// Channels of tiles worth a task of transforming.
const TASK_CHANNELS: usize = 2048;
/// Cycles to transform a vector of channels of a tile of the source, or of the destination.
const TRANSFORM_CYCLES: f64 = 300.0;

/// The tile for a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filtering {
    /// F(4×4, 3×3).
    F4x3,
    /// F(2×2, 5×5).
    F2x5,
}

impl Filtering {
    /// That of a convolution, or why there is none.
    pub(super) fn of(g: &Conv2dGeometry) -> Result<Self, Refusal> {
        let &Conv2dGeometry { groups, kh, kw, sh, sw, dh, dw, .. } = g;
        let filtering = match (kh, kw) {
            (3, 3) => Self::F4x3,
            (5, 5) => Self::F2x5,
            _ => return Err(Refusal::Kernel { kh, kw }),
        };
        if (sh, sw) != (1, 1) {
            return Err(Refusal::Stride { sh, sw });
        }
        if (dh, dw) != (1, 1) {
            return Err(Refusal::Dilation { dh, dw });
        }
        if groups != 1 {
            return Err(Refusal::Groups { groups });
        }
        Ok(filtering)
    }

    /// Lines of the kernel.
    fn taps(self) -> usize {
        match self {
            Self::F4x3 => 3,
            Self::F2x5 => 5,
        }
    }

    /// Lines of a tile of the destination.
    fn out(self) -> usize {
        POINTS + 1 - self.taps()
    }
}

/// Calls a method generic over the lines of a kernel and of a tile of the destination.
macro_rules! sized {
    ($filtering:expr, $this:ident.$method:ident::<$s:ident>($($argument:expr),*)) => {
        match $filtering {
            Filtering::F4x3 => $this.$method::<$s, 3, 4>($($argument),*),
            Filtering::F2x5 => $this.$method::<$s, 5, 2>($($argument),*),
        }
    };
}
use sized;

/// The plan of a convolution of stride and dilation 1.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    machine: Machine,
    filtering: Filtering,
    src: Side,
    /// Destination rows and columns.
    dst_lines: [usize; 2],
    /// Where the convolution's own weights are, and the element of a kernel that each tap multiplies with.
    weights: WeightStrides,
    elements: Vec<usize>,
    /// Of the transformed weights: points take the place of taps.
    panels: Panels,
    /// Tiles of all images.
    tiles: usize,
    blocks: usize,
    /// Whether blocks belong to one worker each.
    fused: bool,
}

impl Winograd {
    /// Plans a convolution over `n` images from `src` channels to `dst`, source pixels `src_ld` apart, along axes
    /// that fit.
    pub(super) fn new(
        machine: Machine,
        filtering: Filtering,
        n: usize,
        (rows, cols): (Axis, Axis),
        src_ld: usize,
        (src, dst): (usize, usize),
        weights: WeightStrides,
    ) -> Self {
        let points = (1, (0..POSITIONS).map(Some).collect());
        let strides = WeightStrides { kernel: POSITIONS, ..weights };
        let panels = Panels::new(machine, Product::Dense, 1, (src, dst), points, strides);
        let grid = Grid::new(rows.lines, cols.lines, filtering.out());
        let side = |axis: &Axis| (axis.taps[0], axis.src_lines);
        let tiles = n * grid.tiles();
        let fused = panels.len <= STREAMED_WEIGHTS && tiles >= FUSED_BLOCKS * FUSED_TILES[1];
        let elements = kernel_elements(&rows, &cols, filtering.taps()).into_iter().flatten().collect();
        let mut plan = Self {
            machine,
            filtering,
            src: Side { grid, rows: side(&rows), cols: side(&cols), ld: src_ld, zeros: vec![0.0; src] },
            dst_lines: [rows.lines, cols.lines],
            weights,
            elements,
            panels,
            tiles,
            blocks: 1,
            fused,
        };
        plan.blocks = if fused {
            tiles.div_ceil(FUSED_TILES[0]).next_multiple_of(FUSED_BLOCKS)
        } else {
            plan.block_len().div_ceil(SHARED_BLOCK)
        };
        plan.blocks = plan.blocks.min(tiles);
        plan
    }

    /// The tiles of a block.
    fn block(&self, index: usize) -> Range<usize> {
        let cut = |index| index * self.tiles / self.blocks;
        cut(index)..cut(index + 1)
    }

    /// Tiles of the largest block.
    fn block_tiles(&self) -> usize {
        self.tiles.div_ceil(self.blocks)
    }

    /// From point to point, in the transformed source.
    fn src_point(&self) -> usize {
        point_len(self.block_tiles(), self.src.channels())
    }

    /// From tile to tile, in a panel's products.
    fn width(&self) -> usize {
        self.panels.vectors() * self.machine.lanes
    }

    /// From point to point, in a panel's products.
    fn dst_point(&self) -> usize {
        (self.block_tiles() * self.width()).next_multiple_of(LINE) + LINE
    }

    /// Where in a block the products of panel `index` begin: each block of a worker has room for one panel's.
    fn products(&self, index: usize) -> usize {
        POSITIONS * (self.src_point() + if self.fused { 0 } else { index * self.dst_point() })
    }

    /// Floats of a block's transformed data.
    fn block_len(&self) -> usize {
        let panels = if self.fused { 1 } else { self.panels.list.len() };
        self.products(panels - 1) + POSITIONS * self.dst_point()
    }

    /// Floats of workspace.
    pub(super) fn workspace_len(&self, workers: usize) -> usize {
        LINE + self.block_len() * if self.fused { workers } else { 1 }
    }

    /// Floats of the transformed weights.
    pub(super) fn packed_len(&self) -> usize {
        self.panels.len
    }

    /// Algorithm and tile, in words.
    pub(super) fn describe(&self) -> String {
        let tile = self.machine.max_pixels(self.panels.vectors());
        let way = if self.fused { "blocks" } else { "phases" };
        let (out, taps) = (self.filtering.out(), self.filtering.taps());
        let (width, tiles) = (self.width(), self.block_tiles());
        format!("winograd {out}x{out} of {taps}x{taps} {tile}x{width}, {way} of {tiles} tiles")
    }

    /// Estimated cycles of one thread, as those of a gather.
    pub(super) fn cycles(&self) -> f64 {
        let tiles = self.tiles as f64;
        let vectors: usize = self.panels.list.iter().map(|panel| panel.vectors).sum();
        let src_vectors = self.panels.group_src.div_ceil(self.machine.lanes);
        let pieces =
            self.blocks * self.block_tiles().div_ceil(self.machine.max_pixels(self.panels.vectors()));
        // Two multiply-adds a cycle, and one more cycle to load what they need.
        let steps = (POSITIONS * self.panels.group_src) as f64;
        let products = steps * (tiles * vectors as f64 / 2.0 + (pieces * self.panels.list.len()) as f64);
        let transforms = tiles * TRANSFORM_CYCLES * (src_vectors + vectors) as f64;
        products + transforms
    }

    /// Transforms `weights`, those of each written channel times its `scale`.
    pub(super) fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        let blocks = self.panels.group_src.div_ceil(BLOCK);
        let packed = SharedMut::new(packed);
        cx.exec.run(self.panels.list.len() * blocks, &|task, _| {
            let (panel, first) = (&self.panels.list[task / blocks], task % blocks * BLOCK);
            let channels = first..self.panels.group_src.min(first + BLOCK);
            dispatch(self.machine.isa, Pack { plan: self, panel, channels, weights, scale, packed });
        });
    }

    /// Computes the destination, all sizes checked.
    pub(super) fn run<A: Element, D: Element>(&self, cx: &Context, call: &Call<A, D>, workspace: &mut [f32]) {
        let aligned = workspace.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let data = SharedMut::new(&mut workspace[aligned..]);
        let (isa, panels, packed) = (self.machine.isa, self.panels.list.len(), call.packed);
        let (src, call) = (call.src, &call.with_source::<()>(&[]));
        if self.fused {
            cx.exec.run(self.blocks, &|index, worker| {
                let block = &Block { tiles: self.block(index), data, first: worker * self.block_len() };
                let (step, tiles) = (Step { plan: self, block }, 0..block.tiles.len());
                dispatch(isa, TransformSrc { step, src, tiles: tiles.clone() });
                for panel in 0..panels {
                    dispatch(isa, Multiply { step, packed, points: 0..POSITIONS, panel });
                    dispatch(
                        isa,
                        TransformDst { step, call, tiles: tiles.clone(), panels: panel..panel + 1 },
                    );
                }
            });
            return;
        }
        for index in 0..self.blocks {
            let block = &Block { tiles: self.block(index), data, first: 0 };
            let (step, tiles) = (Step { plan: self, block }, block.tiles.len());
            let grain = |channels: usize| (TASK_CHANNELS / channels).max(1);
            for_each_piece(cx.exec, tiles, grain(self.panels.group_src), |first, count, _| {
                dispatch(isa, TransformSrc { step, src, tiles: first..first + count });
            });
            cx.exec.run(POSITIONS * panels, &|task, _| {
                let (point, panel) = (task / panels, task % panels);
                dispatch(isa, Multiply { step, packed, points: point..point + 1, panel });
            });
            for_each_piece(cx.exec, tiles, grain(panels * self.width()), |first, count, _| {
                dispatch(isa, TransformDst { step, call, tiles: first..first + count, panels: 0..panels });
            });
        }
    }
}

/// Some tiles and where their transformed data are: the source, `[point][tile][channel]`, then for each panel the
/// products, `[point][tile][lane]`.
struct Block<'a> {
    tiles: Range<usize>,
    data: SharedMut<'a, f32>,
    first: usize,
}

/// What the steps of a run have in common.
#[derive(Clone, Copy)]
struct Step<'a> {
    plan: &'a Winograd,
    block: &'a Block<'a>,
}

impl Step<'_> {
    /// A place in the block's data.
    ///
    /// # Safety
    /// As [`SharedMut::ptr_at`]'s: steps write parts of the block that no other task uses.
    #[inline(always)]
    unsafe fn data(&self, offset: usize) -> *mut f32 {
        // SAFETY: the workspace was checked to hold the block; the rest is the caller's contract.
        unsafe { self.block.data.ptr_at(self.block.first + offset) }
    }
}

/// Transforms the source of some tiles.
struct TransformSrc<'a, A> {
    step: Step<'a>,
    src: &'a [A],
    tiles: Range<usize>,
}

impl<A: Element> Kernel for TransformSrc<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.step.plan.filtering, self.transform::<S>(s))
    }
}

impl<A: Element> TransformSrc<'_, A> {
    #[inline(always)]
    fn transform<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let Self { step, src, tiles } = self;
        let plan = step.plan;
        let channels = plan.src.channels();
        for tile in tiles {
            let first = step.block.tiles.start;
            // SAFETY: the source was checked to hold its map; the tile's part of the block belongs to this task.
            unsafe {
                let points = step.data(tile * tile_len(channels));
                let points = (points, plan.src_point());
                plan.src.lift::<S, A, Source, POINTS, OUT>(s, src, first + tile, 0..channels, points);
            }
        }
    }
}

/// The products of a block at some points, for one panel.
struct Multiply<'a> {
    step: Step<'a>,
    packed: &'a [f32],
    points: Range<usize>,
    panel: usize,
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for point in self.points.clone() {
            self.at(s, point);
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn at<S: Simd>(&self, s: S, point: usize) {
        let &Self { step, packed, panel: index, .. } = self;
        let plan = step.plan;
        let panel = &plan.panels.list[index];
        let run = plan.panels.group_src;
        let pixels: [usize; MAX_PIXELS] = std::array::from_fn(|pixel| pixel);
        let width = panel.vectors * S::LANES;
        let tiles = step.block.tiles.len();
        let pieces = tiles.div_ceil(plan.machine.max_pixels(panel.vectors));
        for piece in 0..pieces {
            let (from, to) = (piece * tiles / pieces, (piece + 1) * tiles / pieces);
            // SAFETY: rows are the block's transformed source, whole since an earlier step; the weights have a
            // step for each channel; the products of this point and panel are this task's own.
            unsafe {
                let src = step.data(point * plan.src_point() + from * tile_len(run));
                let mut rows = [std::ptr::null(); MAX_PIXELS];
                for pixel in 0..to - from {
                    rows[pixel] = src.add(pixel * tile_len(run)).cast_const();
                }
                let reduction = Reduction {
                    rows: rows.as_ptr(),
                    next_tap: 0,
                    offsets: &0,
                    steps: &0,
                    taps: 1,
                    first: 0,
                    run,
                    weights: packed[plan.panels.step(panel, point * run)..].as_ptr(),
                    ahead: std::ptr::null(),
                };
                let sink = Sink {
                    pixels: pixels.as_ptr(),
                    dst: step.data(plan.products(index) + point * plan.dst_point() + from * width),
                    dst_ld: width,
                    tail: S::LANES,
                    before: std::ptr::null(),
                    bias: std::ptr::null(),
                    residual: std::ptr::null(),
                    residual_ld: 0,
                    bounds: Bounds::NONE,
                    fetch: false,
                };
                tile_fn::<S, f32, f32>(to - from, panel.vectors)(s, &reduction, &sink);
            }
        }
    }
}

/// The destination of some tiles, the channels of some panels.
struct TransformDst<'a, D> {
    step: Step<'a>,
    call: &'a Call<'a, (), D>,
    tiles: Range<usize>,
    panels: Range<usize>,
}

impl<D: Element> Kernel for TransformDst<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.step.plan.filtering, self.transform::<S>(s))
    }
}

impl<D: Element> TransformDst<'_, D> {
    #[inline(always)]
    fn transform<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let Self { step, call, tiles, panels } = self;
        for tile in tiles {
            for index in panels.clone() {
                transform_dst::<S, D, OUT>(s, step, call, tile, index);
            }
        }
    }
}

/// The destination of one tile, the channels of one panel.
#[inline(always)]
fn transform_dst<S: Simd, D: Element, const OUT: usize>(
    s: S,
    step: Step,
    call: &Call<(), D>,
    tile: usize,
    index: usize,
) {
    let plan = step.plan;
    let panel = &plan.panels.list[index];
    let [rows, cols] = plan.dst_lines;
    let [image, row, col] = plan.src.grid.place(step.block.tiles.start + tile);
    let (height, width) = (OUT.min(rows - row), OUT.min(cols - col));
    let first = (image * rows + row) * cols + col;
    let (bounds, far) = (call.bounds, plan.dst_point());
    for v in 0..panel.vectors {
        let channel = panel.dst_channel + v * S::LANES;
        let len = S::LANES.min(panel.channels - v * S::LANES);
        // SAFETY: the products of the tile are whole since an earlier step; the destination, the residual and the
        // bias hold the channels of the tile's pixels, the first of which this task alone writes.
        unsafe {
            let mut point =
                step.data(plan.products(index) + (tile * panel.vectors + v) * S::LANES).cast_const();
            let mut points = [[s.zero(); POINTS]; POINTS];
            for y in 0..POINTS {
                for x in 0..POINTS {
                    points[y][x] = s.load(point.wrapping_add(x * far));
                }
                point = point.wrapping_add(POINTS * far);
            }
            let columns: [_; OUT] = Destination::columns(s, points);
            let bias = call.bias.map_or(s.zero(), |bias| s.load_up_to(bias[channel..].as_ptr(), len));
            for y in 0..OUT {
                if y >= height {
                    break;
                }
                let line: [_; OUT] = Destination::line(s, columns[y]);
                for x in 0..OUT {
                    if x >= width {
                        break;
                    }
                    let pixel = first + y * cols + x;
                    let mut value = s.add(line[x], bias);
                    if let Some(residual) = call.residual {
                        let residual = residual.data.as_ptr().add(pixel * residual.ld + channel);
                        value = s.add(value, s.load_up_to(residual, len));
                    }
                    let value = bounds.hold(s, value);
                    s.store_up_to(call.dst.ptr_at(pixel * call.dst_ld + channel), value, len);
                }
            }
        }
    }
}

/// Transforms the weights of some read channels of a panel.
struct Pack<'a> {
    plan: &'a Winograd,
    panel: &'a Panel,
    channels: Range<usize>,
    weights: &'a [f32],
    scale: Option<&'a [f32]>,
    packed: SharedMut<'a, f32>,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        sized!(self.plan.filtering, self.transform::<S>(s))
    }
}

impl Pack<'_> {
    #[inline(always)]
    fn transform<S: Simd, const TAPS: usize, const OUT: usize>(self, s: S) {
        let Self { plan, panel, ref channels, weights, scale, packed } = self;
        let strides = plan.weights;
        let mut buffer = [0.0f32; MAX_TAPS * MAX_TAPS * BLOCK];
        for v in 0..panel.vectors {
            let written = panel.dst_channel + v * S::LANES;
            let lanes = S::LANES.min(panel.channels - v * S::LANES);
            if lanes < S::LANES {
                buffer.fill(0.0);
            }
            for channel in channels.clone() {
                let kernels = &weights[written * strides.written + channel * strides.read..];
                // SAFETY: each of the written channels has a kernel for the read one; the buffer has a row for each
                // element, long enough for a vector; the step's part of the packed weights is this task's own.
                unsafe {
                    transpose(
                        s,
                        [lanes, TAPS * TAPS],
                        kernels.as_ptr(),
                        strides.written,
                        buffer.as_mut_ptr(),
                        BLOCK,
                    );
                    let scale =
                        scale.map_or(s.splat(1.0), |scale| s.load_up_to(scale[written..].as_ptr(), lanes));
                    let mut kernel = [[s.zero(); TAPS]; TAPS];
                    for (tap, element) in plan.elements.iter().enumerate() {
                        let element = s.load(buffer.as_ptr().add(element * BLOCK));
                        kernel[tap / TAPS][tap % TAPS] = s.mul(scale, element);
                    }
                    let columns = Weights::columns(s, kernel);
                    for y in 0..POINTS {
                        let line = Weights::line(s, columns[y]);
                        for x in 0..POINTS {
                            let point = y * POINTS + x;
                            let step = plan.panels.step(panel, point * plan.panels.group_src + channel);
                            s.store(packed.ptr_at(step + v * S::LANES), line[x]);
                        }
                    }
                }
            }
        }
    }
}
