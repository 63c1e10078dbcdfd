//! The problem that forward and backward-data share: every written pixel gathers source pixels at fixed
//! distances, its taps, and multiplies them with the tap's weights.
//!
//! Cut into tasks of some pixels × a group of weight panels that stays in the L2 cache; within a task pixel tile
//! by pixel tile, panel by panel. Where the panels of a task exceed the cache, the reduction is cut as well and
//! the partial sums wait in scratch memory, in float32.

use super::Bounds;
use super::axis::Axis;
use super::depthwise;
use super::panels::{Panel, Panels, Product};
use super::tile::{Factor, MAX_PIXELS, Machine, Reduction, Sink, TileFn, tile_fn};
use super::window::{Image, Window};
use crate::Pixels;
use crate::element::Element;
use crate::exec::SharedMut;
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// Floats of weights that stay in the L2 cache beside what streams through it.
const CACHED_WEIGHTS: usize = 80 * 1024;
/// Words of a source that may still be in the L3 cache when it is read.
const CACHED_SOURCE: usize = 4 << 20;
/// The most taps of one reduction: bounds the table of row pointers.
const MAX_TAPS: usize = 64;
/// The most source channels for which a padded copy is considered, so that the taps of a row merge into a run.
const MERGED_CHANNELS: usize = 32;
/// Multiply-accumulates (in whole vectors) worth a task of its own.
const TASK_MACS: usize = 2 << 20;
/// Pixels that make loading a group of weights into the cache worthwhile.
const TASK_PIXELS: usize = 96;
/// The most tasks worth making.
const MAX_TASKS: usize = 512;
/// Parts of the destination that are done one after the other, each group of weights coming to each part anew: so the
/// first tasks are those of the first pixels, and a worker that does as much of each layer reads what it wrote itself.
const PARTS: usize = 8;

/// The order in which pixels come to tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Neighbours of one image, in reading order.
    Scan,
    /// The same pixel of neighbouring images: taps outside the source are outside for all and cost nothing.
    Batch,
}

/// A part of the reduction whose weights stay in the cache: of some taps, a part of the run that begins with a word.
#[derive(Clone, Debug)]
struct Block {
    taps: Range<usize>,
    first: usize,
    run: usize,
}

/// A gather with its plan.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    machine: Machine,
    product: Product,
    n: usize,
    rows: Axis,
    cols: Axis,
    src_ld: usize,
    pub(super) panels: Panels,
    order: Order,
    /// Whether tiles read a padded copy of the source.
    padded: bool,
    /// Values of a tap: the read channels of a group, times the merged taps.
    run: usize,
    /// How many of them a word holds.
    pack: usize,
    /// Pixels of a full tile.
    tile: usize,
    blocks: Vec<Block>,
    /// Runs of panels whose weights stay in the cache together.
    groups: Vec<Range<usize>>,
    /// Whether the next tile's source is fetched ahead: one tap of a source beyond the caches. With more taps most of
    /// it is at hand.
    prefetch: bool,
    /// Whether destination and residual are fetched while the sums are made: where they lie beyond the caches.
    fetch: bool,
    /// Units (rows of an image in scan order, images of a pixel in batch order) of a task.
    grain: usize,
}

/// The data of one call, whose source consists of `A`, its destination of `D`.
#[derive(Clone, Copy)]
pub(super) struct Call<'a, A = f32, D = f32> {
    pub(super) src: &'a [A],
    pub(super) packed: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) residual: Option<Pixels<'a, D>>,
    pub(super) bounds: Bounds,
    pub(super) dst: SharedMut<'a, D>,
    pub(super) dst_ld: usize,
    /// As many zeros as the longest [`row_len`](Gather::row_len), of whatever element.
    pub(super) zeros: &'a [f32],
}

impl<'a, A, D: Copy> Call<'a, A, D> {
    /// The call with another source.
    pub(super) fn with_source<B>(&self, src: &'a [B]) -> Call<'a, B, D> {
        let Self { packed, bias, residual, bounds, dst, dst_ld, zeros, .. } = *self;
        Call { src, packed, bias, residual, bounds, dst, dst_ld, zeros }
    }
}

impl Gather {
    /// Plans a gather over `n` images, its pixels `src_ld` apart.
    pub(super) fn new(
        machine: Machine,
        product: Product,
        n: usize,
        (mut rows, mut cols): (Axis, Axis),
        src_ld: usize,
        panels: Panels,
    ) -> Self {
        let mut n = n;
        if rows.is_identity() && cols.is_identity() {
            n *= rows.lines * cols.lines;
            (rows, cols) = (Axis::point(), Axis::point());
        }
        let one_group = panels.list.iter().all(|panel| panel.src_channel == 0);
        let mergeable = product == Product::Dense && one_group && cols.is_run();
        let run = panels.group_src;
        let (tile, pack) = match product {
            Product::Dense => (machine.max_pixels(panels.vectors()), machine.pack()),
            Product::Depthwise => (depthwise::PIXELS, 1),
        };
        let mut gather = Self {
            machine,
            product,
            n,
            rows,
            cols,
            src_ld,
            panels,
            order: Order::Scan,
            padded: false,
            run,
            pack,
            tile,
            blocks: Vec::new(),
            groups: Vec::new(),
            prefetch: false,
            fetch: false,
            grain: 0,
        };
        if mergeable && src_ld == run && gather.cols.is_inside() {
            gather.merge_taps();
        }
        let mut candidates = vec![gather.clone()];
        if mergeable && run <= MERGED_CHANNELS && gather.cols.taps.len() > 1 {
            let mut padded = gather.clone();
            padded.padded = true;
            padded.merge_taps();
            candidates.push(padded);
        }
        let mut batch = gather;
        batch.order = Order::Batch;
        candidates.push(batch);
        let costs: Vec<f64> = candidates.iter().map(Self::cycles).collect();
        let best = (0..costs.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b])).unwrap_or(0);
        let mut gather = candidates.swap_remove(best);
        gather.panels = gather.panels.in_words(gather.run, gather.pack);
        gather.cut();
        gather
    }

    /// Makes the taps of a row one run.
    fn merge_taps(&mut self) {
        self.run *= self.cols.taps.len();
        self.cols.taps.truncate(1);
    }

    /// Words of a run.
    fn words(&self) -> usize {
        self.run.div_ceil(self.pack)
    }

    /// Whether tiles read a padded copy of the source, whatever that consists of.
    pub(super) fn is_padded(&self) -> bool {
        self.padded
    }

    /// Estimated cycles of one thread, to compare orders by.
    pub(super) fn cycles(&self) -> f64 {
        let positions = self.rows.lines * self.cols.lines;
        let (outer, inner) = match self.order {
            Order::Scan => (self.n, positions),
            Order::Batch => (positions, self.n),
        };
        let tiles = inner.div_ceil(self.tile);
        let pixels = inner as f64 / tiles as f64;
        let live = match self.order {
            Order::Scan => self.rows.live() as f64 / self.rows.lines as f64 * self.cols.taps.len() as f64,
            Order::Batch => (self.rows.live() * self.cols.live()) as f64 / positions as f64,
        };
        let vectors: f64 = self.panels.list.iter().map(|panel| panel.vectors as f64).sum();
        let panels = self.panels.list.len() as f64;
        // Two multiply-adds a cycle, and one more cycle to load what they need.
        let step = pixels * vectors * self.machine.parts as f64 / 2.0 + panels;
        let pointers = pixels * (2.0 + panels);
        let copy = if self.padded {
            let (_, width) = self.span_cols();
            (self.n * self.rows.span(self.rows.lines).1 * (width * self.panels.group_src + 64)) as f64 / 8.0
        } else {
            0.0
        };
        // Images lie further apart than caches like.
        let scattered = if self.order == Order::Batch { 1.02 } else { 1.0 };
        scattered * (outer * tiles) as f64 * (live * (step * self.words() as f64 + pointers) + 40.0 * panels)
            + copy
    }

    /// First column of the padded copy in source columns, and its columns.
    fn span_cols(&self) -> (isize, usize) {
        let merged = (self.run / self.panels.group_src.max(1)).max(1) - 1;
        let (first, count) = self.cols.span(self.cols.lines);
        (first, count + merged)
    }

    /// Cuts the reduction into blocks, the panels into groups and the pixels into tasks.
    fn cut(&mut self) {
        let width = self.panels.vectors() * self.machine.lanes;
        let taps = self.rows.taps.len() * self.cols.taps.len();
        let cached_steps = (CACHED_WEIGHTS / width).max(1);
        let words = self.words();
        self.blocks = if taps == 0 {
            vec![Block { taps: 0..0, first: 0, run: 0 }]
        } else if words <= cached_steps {
            let blocks = (taps * words).div_ceil(cached_steps).max(taps.div_ceil(MAX_TAPS)).min(taps);
            let cut = |block: usize| block * taps / blocks;
            (0..blocks).map(|b| Block { taps: cut(b)..cut(b + 1), first: 0, run: self.run }).collect()
        } else {
            let pieces = words.div_ceil(cached_steps);
            let cut = |piece: usize| (piece * words / pieces * self.pack).min(self.run);
            let block = |tap: usize, piece: usize| Block {
                taps: tap..tap + 1,
                first: cut(piece),
                run: cut(piece + 1) - cut(piece),
            };
            (0..taps).flat_map(|tap| (0..pieces).map(move |piece| block(tap, piece))).collect()
        };

        let source = self.n * self.rows.src_lines * self.cols.src_lines * self.src_ld;
        self.prefetch = taps == 1 && source / self.pack > CACHED_SOURCE;
        let written = self.n * self.rows.dst_lines * self.cols.dst_lines * self.panels.dst;
        self.fetch = written / self.pack > CACHED_SOURCE;

        let panel_len = self.panels.steps() * width;
        let together = (CACHED_WEIGHTS / panel_len.max(1)).max(1);
        let panels = self.panels.list.len();
        self.groups =
            (0..panels).step_by(together).map(|first| first..panels.min(first + together)).collect();

        let (outer, inner) = self.units();
        let pixels = self.n * self.rows.lines * self.cols.lines;
        let pixels_of_unit = pixels / (outer * inner);
        let macs_of_pixel = (self.panels.len * together.min(panels) / panels).max(64);
        let task_pixels =
            TASK_PIXELS.max(TASK_MACS / macs_of_pixel).max(pixels * self.groups.len() / MAX_TASKS);
        // Tasks as even as can be: a small last one would load its weights for a few pixels.
        let (units, grain) = (outer * inner, task_pixels.div_ceil(pixels_of_unit));
        let grain = units.div_ceil(((units + grain / 2) / grain).max(1));
        // Whole images, or whole tiles, where a task is large enough for them.
        let round = if grain >= inner {
            inner
        } else if self.order == Order::Batch {
            self.tile
        } else {
            1
        };
        self.grain = grain.next_multiple_of(round);
    }

    /// Distance of tap `index` in source rows and columns.
    #[inline(always)]
    fn tap(&self, index: usize) -> [isize; 2] {
        [self.rows.taps[index / self.cols.taps.len()], self.cols.taps[index % self.cols.taps.len()]]
    }

    /// Whether all taps of the pixels at source row `y` and from column `left` to `right` are inside the source.
    #[inline(always)]
    fn holds(&self, y: isize, left: isize, right: isize) -> bool {
        let inside = |axis: &Axis, from: isize, to: isize| match (axis.taps.first(), axis.taps.last()) {
            (Some(first), Some(last)) => from + first >= 0 && to + last < axis.src_lines as isize,
            _ => true,
        };
        inside(&self.rows, y, y) && inside(&self.cols, left, right)
    }

    /// Where the taps of a block are, of pixels that have all of them inside.
    #[inline(always)]
    fn taps_inside(&self, block: &Block) -> Taps {
        let mut taps = Taps::NONE;
        let (cols, ld) = if self.padded {
            (self.span_cols().1, self.panels.group_src)
        } else {
            (self.cols.src_lines, self.src_ld)
        };
        for (index, tap) in block.taps.clone().enumerate() {
            let [dy, dx] = self.tap(tap);
            taps.steps[index] = tap * self.words();
            taps.offsets[index] = distance([dy, dx], cols, ld);
        }
        taps
    }

    /// Units as (outer, inner): images × rows in scan order, pixels × images in batch order.
    fn units(&self) -> (usize, usize) {
        match self.order {
            Order::Scan => (self.n, self.rows.lines),
            Order::Batch => (self.rows.lines * self.cols.lines, self.n),
        }
    }

    fn chunks(&self) -> usize {
        let (outer, inner) = self.units();
        (outer * inner).div_ceil(self.grain)
    }

    /// Tasks of a run.
    pub(super) fn tasks(&self) -> usize {
        self.groups.len() * self.chunks()
    }

    /// Group and chunk of task `index`: part by part of the chunks, in each group by group.
    fn place_of(&self, index: usize) -> (usize, usize) {
        let (groups, chunks) = (self.groups.len(), self.chunks());
        let first = |part: usize| part * chunks / PARTS;
        let part = (0..PARTS).rev().find(|part| first(*part) * groups <= index).unwrap_or(0);
        let (start, end) = (first(part), first(part + 1));
        let within = index - start * groups;
        (within / (end - start), start + within % (end - start))
    }

    /// Values that a row of zeros must have to stand for any pixel outside the source.
    pub(super) fn row_len(&self) -> usize {
        let first = self.panels.list.last().map_or(0, |panel| panel.src_channel);
        match self.product {
            Product::Dense => first + self.run,
            Product::Depthwise => first + depthwise::VECTORS * self.machine.lanes,
        }
    }

    /// From panel to panel, in a task's partial sums: those of its pixels.
    fn partial_len(&self) -> usize {
        let (outer, inner) = self.units();
        let pixels_of_unit = self.n * self.rows.lines * self.cols.lines / (outer * inner);
        self.grain.min(outer * inner) * pixels_of_unit * self.panels.vectors() * self.machine.lanes
    }

    /// Floats of scratch memory a worker needs: for partial sums, and for a padded copy.
    fn scratch_lens(&self) -> [usize; 2] {
        let panels = self.groups.iter().map(Range::len).max().unwrap_or(0);
        let partial = if self.blocks.len() > 1 { panels * self.partial_len() } else { 0 };
        let copy = if self.padded {
            let (_, rows) = self.rows.span(self.grain.min(self.rows.lines));
            (rows * self.span_cols().1 * self.panels.group_src).div_ceil(self.machine.pack())
        } else {
            0
        };
        [partial, copy]
    }

    /// Floats of scratch memory a worker needs.
    pub(super) fn scratch_len(&self) -> usize {
        self.scratch_lens().iter().sum()
    }

    /// Algorithm and tile, in words.
    pub(super) fn describe(&self) -> String {
        let name = match self.product {
            Product::Depthwise => "depthwise",
            Product::Dense
                if self.rows.lines * self.cols.lines == 1 && self.words() == self.panels.steps() =>
            {
                "gemm"
            }
            Product::Dense if self.padded => "padded rows",
            Product::Dense if self.order == Order::Batch => "indirect over batch",
            Product::Dense => "indirect",
        };
        let cut =
            if self.blocks.len() > 1 { format!(", {} blocks", self.blocks.len()) } else { String::new() };
        format!("{name} {}x{}{cut}", self.tile, self.panels.vectors() * self.machine.lanes)
    }

    /// Runs task `index` of [`tasks`](Self::tasks), multiplying values of `T`: those of the source, unless tiles read a
    /// padded copy.
    pub(super) fn run_task<A: Element, T: Factor, D: Element>(
        &self,
        call: &Call<A, D>,
        index: usize,
        scratch: &mut [f32],
    ) {
        let (group, chunk) = self.place_of(index);
        let (outer, inner) = self.units();
        let first = chunk * self.grain;
        let units = first..(outer * inner).min(first + self.grain);
        let panels = &self.panels.list[self.groups[group].clone()];
        let (partial, copy) = scratch.split_at_mut(self.scratch_lens()[0]);
        let copy = bytemuck::cast_slice_mut::<f32, T>(copy);
        T::dispatch(self.machine.isa, Task { gather: self, call, panels, units, partial, copy });
    }
}

/// Some pixels × some panels.
struct Task<'a, A, T, D> {
    gather: &'a Gather,
    call: &'a Call<'a, A, D>,
    panels: &'a [Panel],
    units: Range<usize>,
    /// Sums over earlier blocks, `[panel][pixel][lane]`.
    partial: &'a mut [f32],
    copy: &'a mut [T],
}

/// Where a block stands in the reduction.
#[derive(Clone, Copy)]
struct Stage {
    /// There are sums of blocks before it.
    resume: bool,
    /// There is none after it.
    finish: bool,
}

/// Where source pixels are: `base` is that of row `first_row`, column `first_col`.
#[derive(Clone, Copy)]
struct Source<T> {
    base: *const T,
    image_len: usize,
    first_row: isize,
    first_col: isize,
    cols: usize,
    ld: usize,
}

/// Elements of a source, `cols` pixels a row and each `ld` elements from the next, over some rows and columns.
#[inline(always)]
fn distance([rows, cols]: [isize; 2], width: usize, ld: usize) -> isize {
    (rows * width as isize + cols) * ld as isize
}

/// The pixels of a tile in a row of their own.
static IN_ORDER: [usize; MAX_PIXELS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

impl<A: Element, T: Factor, D: Element> Kernel for Task<'_, A, T, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let gather = self.gather;
        let mut table = Table::new();
        for (index, block) in gather.blocks.iter().enumerate() {
            table.inside = gather.taps_inside(block);
            let stage = Stage { resume: index > 0, finish: index + 1 == gather.blocks.len() };
            let (mut unit, mut done) = (self.units.start, 0);
            while unit < self.units.end {
                let (_, inner) = gather.units();
                let (outer, first) = (unit / inner, unit % inner);
                let count = (inner - first).min(self.units.end - unit);
                unit += count;
                let source = self.source(s, outer, first..first + count);
                let (start, pixels) = match gather.order {
                    Order::Scan => (first * gather.cols.lines, count * gather.cols.lines),
                    Order::Batch => (first, count),
                };
                let tiles = pixels.div_ceil(gather.tile);
                for tile in 0..tiles {
                    let (from, to) = (tile * pixels / tiles, (tile + 1) * pixels / tiles);
                    table.place(gather, outer, start + from, to - from, &source);
                    table.lay(gather, block, &source, self.call.zeros.as_ptr().cast());
                    if gather.prefetch && tile + 1 < tiles {
                        table.look_ahead();
                    }
                    for panel in 0..self.panels.len() {
                        self.tile(s, &table, block, panel, done + from, stage);
                    }
                }
                done += pixels;
            }
        }
    }
}

impl<A: Element, T: Factor, D: Element> Task<'_, A, T, D> {
    /// The source of a segment; for padded rows, after copying them.
    #[inline(always)]
    fn source<S: Simd>(&mut self, s: S, outer: usize, inner: Range<usize>) -> Source<T> {
        let gather = self.gather;
        let (rows, cols, ld) = (&gather.rows, &gather.cols, gather.src_ld);
        let image_len = rows.src_lines * cols.src_lines * ld;
        if !gather.padded {
            assert_eq!(A::TYPE, T::TYPE, "values are read where they lie");
            let image = if gather.order == Order::Scan { outer * image_len } else { 0 };
            let base = self.call.src[image..].as_ptr().cast();
            return Source { base, image_len, first_row: 0, first_col: 0, cols: cols.src_lines, ld };
        }
        let channels = gather.panels.group_src;
        let (first_tap, count) = rows.span(inner.len());
        let first_row = (inner.start * rows.stride) as isize + first_tap;
        let (first_col, width) = gather.span_cols();
        let image = Image {
            data: &self.call.src[outer * image_len..],
            rows: rows.src_lines,
            cols: cols.src_lines,
            channels,
            ld,
        };
        Window { first_row, rows: count, first_col, cols: width }.copy(s, &image, self.copy);
        Source { base: self.copy.as_ptr(), image_len: 0, first_row, first_col, cols: width, ld: channels }
    }

    /// The tile of the table's pixels, which are those from `pixel` on of the task, for panel `index` of it.
    #[inline(always)]
    fn tile<S: Simd>(
        &mut self,
        s: S,
        table: &Table<T>,
        block: &Block,
        index: usize,
        pixel: usize,
        stage: Stage,
    ) {
        let (gather, call, panel) = (self.gather, self.call, &self.panels[index]);
        let weights = gather.panels.step(panel, block.first / gather.pack);
        let reduction = Reduction {
            rows: table.rows.as_ptr(),
            next_tap: table.next_tap,
            offsets: table.taps_at().offsets.as_ptr(),
            steps: table.taps_at().steps.as_ptr(),
            taps: table.taps,
            first: block.first + panel.src_channel,
            run: block.run,
            weights: call.packed[weights..].as_ptr(),
            ahead: if index == 0 { table.ahead() } else { std::ptr::null() },
        };
        let (width, tail) = (panel.vectors * S::LANES, panel.tail(S::LANES));
        let bias = call.bias.map_or(std::ptr::null(), |bias| bias[panel.dst_channel..].as_ptr());
        let partial = if stage.resume || !stage.finish {
            self.partial[index * gather.partial_len() + pixel * width..][..table.pixels * width].as_mut_ptr()
        } else {
            std::ptr::null_mut()
        };
        let before = if stage.resume { partial.cast_const() } else { std::ptr::null() };
        // SAFETY: rows come from the source or the zeros, each valid for all channels of a pixel (or, merged,
        // for all of a row's taps); the panel has weights for every step; the destination's pixels were
        // checked against its length at the start of the run, as those of the residual, and no other task writes the
        // pixels of this task's channels; the partial sums hold the tile.
        unsafe {
            if stage.finish {
                let residual = call.residual;
                let sink = Sink {
                    pixels: table.dst.as_ptr(),
                    dst: call.dst.ptr_at(panel.dst_channel),
                    dst_ld: call.dst_ld,
                    tail,
                    before,
                    bias,
                    residual: residual.map_or(std::ptr::null(), |map| map.data[panel.dst_channel..].as_ptr()),
                    residual_ld: residual.map_or(0, |map| map.ld),
                    bounds: call.bounds,
                    fetch: gather.fetch,
                };
                gather.product.tile_fn::<S, T, D>(table.pixels, panel.vectors)(s, &reduction, &sink);
            } else {
                let sink = Sink {
                    pixels: IN_ORDER.as_ptr(),
                    dst: partial,
                    dst_ld: width,
                    tail,
                    before,
                    bias,
                    residual: std::ptr::null(),
                    residual_ld: 0,
                    bounds: Bounds::NONE,
                    fetch: false,
                };
                gather.product.tile_fn::<S, T, f32>(table.pixels, panel.vectors)(s, &reduction, &sink);
            }
        }
    }
}

impl Product {
    /// The kernel of a tile.
    #[inline(always)]
    fn tile_fn<S: Simd, T: Factor, D: Element>(self, pixels: usize, vectors: usize) -> TileFn<S, T, D> {
        match self {
            Product::Dense => tile_fn::<S, T, D>(pixels, vectors),
            Product::Depthwise => depthwise::tile_fn::<S, T, D>(pixels, vectors),
        }
    }
}

/// Pixels of a tile that follow each other at fixed distances: of one row, or of several images.
#[derive(Clone, Copy)]
struct Run<T> {
    len: usize,
    /// Source row and column under a tap at 0, and from pixel to pixel the columns.
    y: isize,
    x: isize,
    x_step: isize,
    /// The source there, inside or not, and from pixel to pixel the elements.
    src: *const T,
    src_step: usize,
}

/// A tile's pixels and where their taps are.
///
/// All entries are written [`MAX_PIXELS`] at a time, beyond the pixels of a run, which is faster than counting; the
/// next run or tap overwrites what is too much.
struct Table<T> {
    pixels: usize,
    runs: [Run<T>; MAX_PIXELS],
    run_count: usize,
    /// Index of each pixel in the destination.
    dst: [usize; 2 * MAX_PIXELS],
    /// Taps with a pixel inside the source.
    taps: usize,
    /// From the row pointers of a tap to those of the next; 0 where they serve all taps, as each is inside the source.
    next_tap: usize,
    /// The taps of such a tile, of a block, and those of another.
    inside: Taps,
    apart: Taps,
    rows: [*const T; (MAX_TAPS + 1) * MAX_PIXELS],
    /// Where the next tile's pixels are, if it is known.
    ahead: Option<[*const T; MAX_PIXELS]>,
}

/// Where taps are.
#[derive(Clone, Copy)]
struct Taps {
    /// The step of the reduction that each begins at, of the block's first run.
    steps: [usize; MAX_TAPS],
    /// The source elements from a pixel's row pointer to its values.
    offsets: [isize; MAX_TAPS],
}

impl Taps {
    const NONE: Self = Self { steps: [0; MAX_TAPS], offsets: [0; MAX_TAPS] };
}

/// Writes `first`, `first + step`, … to `MAX_PIXELS` entries from `at`.
#[inline(always)]
fn write_pointers<T>(entries: &mut [*const T], at: usize, first: *const T, step: usize) {
    for (index, entry) in entries[at..at + MAX_PIXELS].iter_mut().enumerate() {
        *entry = first.wrapping_add(index * step);
    }
}

impl<T: Factor> Table<T> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            pixels: 0,
            runs: [Run { len: 0, y: 0, x: 0, x_step: 0, src: std::ptr::null(), src_step: 0 }; MAX_PIXELS],
            run_count: 0,
            dst: [0; 2 * MAX_PIXELS],
            taps: 0,
            next_tap: 0,
            inside: Taps::NONE,
            apart: Taps::NONE,
            rows: [std::ptr::null(); (MAX_TAPS + 1) * MAX_PIXELS],
            ahead: None,
        }
    }

    /// Takes `pixels` pixels: from position `first` of image `outer`, or position `outer` of the images from `first`.
    #[inline(always)]
    fn place(&mut self, gather: &Gather, outer: usize, first: usize, pixels: usize, source: &Source<T>) {
        let (rows, cols) = (&gather.rows, &gather.cols);
        let (image, position) = match gather.order {
            Order::Scan => (outer, first),
            Order::Batch => (first, outer),
        };
        let (mut line, mut col) = (position / cols.lines, position % cols.lines);
        self.pixels = pixels;
        self.ahead = None;
        self.run_count = 0;
        let mut placed = 0;
        while placed < pixels {
            let (y, x) = ((line * rows.stride) as isize, (col * cols.stride) as isize);
            let offset =
                ((y - source.first_row) * source.cols as isize + x - source.first_col) * source.ld as isize;
            let (len, x_step, src_step, dst_step) = match gather.order {
                Order::Scan => {
                    let step = cols.stride * source.ld;
                    ((cols.lines - col).min(pixels - placed), cols.stride as isize, step, cols.dst_step)
                }
                Order::Batch => (pixels, 0, source.image_len, rows.dst_lines * cols.dst_lines),
            };
            let src_image = if gather.order == Order::Batch { image * source.image_len } else { 0 };
            let src = source.base.wrapping_offset(offset + src_image as isize);
            self.runs[self.run_count] = Run { len, y, x, x_step, src, src_step };
            self.run_count += 1;
            let dst = (image * rows.dst_lines + rows.dst_first + line * rows.dst_step) * cols.dst_lines
                + cols.dst_first
                + col * cols.dst_step;
            for (index, entry) in self.dst[placed..placed + MAX_PIXELS].iter_mut().enumerate() {
                *entry = dst + index * dst_step;
            }
            placed += len;
            (line, col) = (line + 1, 0);
        }
    }

    /// Where the tile's taps are.
    #[inline(always)]
    fn taps_at(&self) -> &Taps {
        if self.next_tap == 0 { &self.inside } else { &self.apart }
    }

    /// Notes where the pixels after these read under the last tap: rows are too short for the processor to see by
    /// itself where the next ones begin.
    #[inline(always)]
    fn look_ahead(&mut self) {
        let (Some(taps), Some(run)) = (self.taps.checked_sub(1), self.runs[..self.run_count].last()) else {
            return;
        };
        let last = self.rows[taps * self.next_tap + self.pixels - 1];
        let last = last.wrapping_offset(self.taps_at().offsets[taps]);
        self.ahead = Some(std::array::from_fn(|index| last.wrapping_add((index + 1) * run.src_step)));
    }

    /// Where the next tile's pixels are, null if that is unknown.
    #[inline(always)]
    fn ahead(&self) -> *const *const T {
        self.ahead.as_ref().map_or(std::ptr::null(), |pointers| pointers.as_ptr())
    }

    /// Lays out the rows of the block's taps.
    ///
    /// Where every tap of every pixel is inside the source, the rows of one serve all, moved by each tap's distance:
    /// most tiles are like that, and a table of all rows for each of them took a fifth of LeNet-5's time.
    #[inline(always)]
    fn lay(&mut self, gather: &Gather, block: &Block, source: &Source<T>, zeros: *const T) {
        let mut at = 0;
        let mut all_inside = true;
        for run in &self.runs[..self.run_count] {
            all_inside &=
                gather.padded || gather.holds(run.y, run.x, run.x + (run.len as isize - 1) * run.x_step);
            write_pointers(&mut self.rows, at, run.src, run.src_step);
            at += run.len;
        }
        if all_inside {
            (self.taps, self.next_tap) = (block.taps.len(), 0);
        } else {
            self.lay_each(gather, block, source, zeros);
        }
    }

    /// Lays out the rows of each tap, those outside the source as zeros, and leaves out taps that are outside for all.
    #[inline(always)]
    fn lay_each(&mut self, gather: &Gather, block: &Block, source: &Source<T>, zeros: *const T) {
        let (rows, cols) = (&gather.rows, &gather.cols);
        let in_rows = |y: isize| (y as usize) < rows.src_lines;
        let in_cols = |x: isize| (x as usize) < cols.src_lines;
        let words = gather.words();
        (self.taps, self.next_tap) = (0, self.pixels);
        for tap in block.taps.clone() {
            let [dy, dx] = gather.tap(tap);
            let offset = distance([dy, dx], source.cols, source.ld);
            let mut at = self.taps * self.pixels;
            let mut live = false;
            for run in &self.runs[..self.run_count] {
                let src = run.src.wrapping_offset(offset);
                let (left, right) = (run.x + dx, run.x + dx + (run.len as isize - 1) * run.x_step);
                if !in_rows(run.y + dy) {
                    write_pointers(&mut self.rows, at, zeros, 0);
                } else if in_cols(left) && in_cols(right) {
                    live = true;
                    write_pointers(&mut self.rows, at, src, run.src_step);
                } else {
                    for index in 0..run.len {
                        let inside = in_cols(left + index as isize * run.x_step);
                        let src = src.wrapping_add(index * run.src_step);
                        self.rows[at + index] = if inside { src } else { zeros };
                        live |= inside;
                    }
                }
                at += run.len;
            }
            if live {
                self.apart.steps[self.taps] = tap * words;
                self.taps += 1;
            }
        }
    }
}
