//! The gradients of weights and bias: sums over pixels.
//!
//! The pixels are cut into slices and the weights into parts whose sums stay in the L2 cache; each slice of each
//! part is a task with sums of its own, in the layout of packed weights. At the end slices are added up in a
//! fixed tree and written as (oc, ic / groups, kh, kw).

use super::axis::{Axis, kernel_elements};
use super::depthwise;
use super::geometry::Conv2dGeometry;
use super::outer::{self, Pair, Products};
use super::panels::{BLOCK, Panel, Panels, Product, WeightStrides};
use super::tile::Machine;
use super::window::{Image, Window};
use crate::Context;
use crate::exec::SharedMut;
use crate::simd::{Kernel, Simd, dispatch};
use std::ops::Range;

/// Floats of a part's sums, which stay in the L2 cache.
const CACHED_SUMS: usize = 64 * 1024;
/// The most pixels that tiles are summed over at once: their destination channels stay in the L1 cache.
const CHUNK: usize = 160;
/// The most source channels for which a padded copy makes the taps of a row one run.
const MERGED_CHANNELS: usize = 16;
/// Multiply-accumulates (in whole vectors) worth a task of its own.
const TASK_MACS: usize = 2 << 20;
/// Tasks wanted where the problem is large enough.
const TASKS: usize = 48;
/// The most floats of all slices together.
const MAX_SUMS: usize = 8 << 20;

/// Outer products of source and destination pixels, summed.
#[derive(Clone, Debug)]
pub(super) struct OuterProducts {
    machine: Machine,
    product: Product,
    g: Conv2dGeometry,
    rows: Axis,
    cols: Axis,
    src_ld: usize,
    /// From one destination pixel to the next, or from one folded few to the next.
    dst_ld: usize,
    panels: Panels,
    /// Source values of a tap: the channels of a group, times the merged taps.
    run: usize,
    /// Whether tiles read a padded copy of the source.
    padded: bool,
    /// Whether tiles read a copy of the destination's gradient, where a panel's channels of neighbouring pixels
    /// lie side by side: at their distance in memory they would crowd a few sets of the L1 cache.
    packed: bool,
    /// Panels × taps that one task sums.
    parts: Vec<(Range<usize>, Range<usize>)>,
    slices: usize,
    /// Floats of a slice's sums: the panels, then a vector for each panel's vectors of bias.
    slice_len: usize,
}

impl OuterProducts {
    /// Plans the pass for source pixels `src_ld` and destination pixels `dst_ld` elements apart.
    pub(super) fn new(machine: Machine, g: &Conv2dGeometry, src_ld: usize, dst_ld: usize) -> Self {
        let product = Product::of(g);
        let (rows, mut cols) = Axis::forward_pair(g);
        if g.groups == 1 && dst_ld == g.oc && g.oc < machine.lanes {
            cols = cols.folded(machine.lanes, g.oc);
        }
        let elements = (cols.fold, kernel_elements(&rows, &cols, g.kw));
        let panels =
            Panels::new(machine, product, g.groups, (g.ic, g.oc), elements, WeightStrides::forward(g));
        let mut run = panels.group_src;
        let mergeable = product == Product::Dense && g.groups == 1 && cols.is_run();
        let in_place = src_ld == g.ic && cols.is_inside();
        // A copy must not cost more than the source's few channels gain, nor chunks be of only a few pixels.
        let padded = mergeable && !in_place && run <= MERGED_CHANNELS && g.oh() * g.ow() >= 16;
        if mergeable && (in_place || padded) {
            run *= cols.taps.len();
            cols.taps.truncate(1);
        }

        let width = panels.vectors() * machine.lanes;
        let taps = rows.taps.len() * cols.taps.len();
        let panel_len = panels.steps() * width;
        let count = panels.list.len();
        let parts: Vec<_> = if panel_len <= CACHED_SUMS {
            let together = CACHED_SUMS / panel_len;
            (0..count).step_by(together).map(|first| (first..count.min(first + together), 0..taps)).collect()
        } else {
            let pieces = panel_len.div_ceil(CACHED_SUMS).min(taps);
            let cut = |piece: usize| piece * taps / pieces;
            let ranges = |panel| (0..pieces).map(move |piece| (panel..panel + 1, cut(piece)..cut(piece + 1)));
            (0..count).flat_map(ranges).collect()
        };
        let pixels = g.n * rows.lines * cols.lines;
        let slice_len = panels.len + count * width;
        let slices = TASKS
            .div_ceil(parts.len())
            .min((pixels as u128 * panels.len as u128 / (TASK_MACS * parts.len()) as u128) as usize)
            .min(MAX_SUMS / slice_len)
            .clamp(1, if padded { g.n * rows.lines } else { pixels });
        let packed = product == Product::Dense && g.groups == 1 && dst_ld >= 128 && panels.steps() >= 128;
        let (g, dst_ld) = (*g, dst_ld * cols.fold);
        Self {
            machine,
            product,
            g,
            rows,
            cols,
            src_ld,
            dst_ld,
            panels,
            run,
            padded,
            packed,
            parts,
            slices,
            slice_len,
        }
    }

    /// Estimated cycles of one thread.
    pub(super) fn cycles(&self) -> f64 {
        /// Cycles of a multiply-add of vectors, and what else tiles take.
        const PRODUCT_CYCLES: f64 = 0.6;
        let vectors: usize = self.panels.list.iter().map(|panel| panel.vectors).sum();
        let pixels = self.g.n * self.rows.lines * self.cols.lines;
        pixels as f64 * (self.panels.steps() * vectors) as f64 * PRODUCT_CYCLES
    }

    /// Floats of workspace.
    pub(super) fn workspace_len(&self, workers: usize) -> usize {
        self.sums_len() + workers * self.scratch_len()
    }

    /// Algorithm and tile (source channels × destination channels), in words.
    pub(super) fn describe(&self) -> String {
        let (vectors, lanes) = (self.panels.vectors(), self.machine.lanes);
        let name = match self.product {
            Product::Depthwise => return format!("depthwise 1x{}, {} slices", vectors * lanes, self.slices),
            Product::Dense if self.padded => "outer products of padded rows",
            Product::Dense => "outer products",
        };
        let rows = self.machine.max_pixels(vectors);
        let fold = match self.cols.fold {
            1 => String::new(),
            fold => format!(", {fold} pixels folded"),
        };
        format!("{name} {rows}x{}{fold}, {} slices", vectors * lanes, self.slices)
    }

    fn sums_len(&self) -> usize {
        (self.slices * self.slice_len).next_multiple_of(16)
    }

    /// Floats of scratch memory a worker needs: for the copy of the source, and for that of the destination.
    fn scratch_lens(&self) -> [usize; 2] {
        let src = if self.padded {
            let window = self.window(0..self.band_rows().min(self.rows.lines), 0..self.band_cols());
            window.rows * window.cols * self.g.ic
        } else {
            0
        };
        let panels = self.parts.iter().map(|(panels, _)| panels.len()).max().unwrap_or(0);
        let dst = if self.packed { panels * CHUNK * self.width() } else { 0 };
        [src.next_multiple_of(16), dst.next_multiple_of(16)]
    }

    fn scratch_len(&self) -> usize {
        self.scratch_lens().iter().sum()
    }

    /// Lanes of the widest panel.
    fn width(&self) -> usize {
        self.panels.vectors() * self.machine.lanes
    }

    /// Destination rows and columns whose padded source is copied at a time.
    fn band_rows(&self) -> usize {
        (CHUNK / self.cols.lines).max(1)
    }

    fn band_cols(&self) -> usize {
        self.cols.lines.min(CHUNK)
    }

    /// The source under the taps of some rows and columns of the destination.
    fn window(&self, rows: Range<usize>, cols: Range<usize>) -> Window {
        let ((row, row_count), (col, col_count)) = (self.rows.span(rows.len()), self.cols.span(cols.len()));
        let merged = self.run / self.g.ic;
        Window {
            first_row: (rows.start * self.rows.stride) as isize + row,
            rows: row_count,
            first_col: (cols.start * self.cols.stride) as isize + col,
            cols: col_count + merged - 1,
        }
    }

    /// Computes `d_weights` and `d_bias`, all sizes checked.
    pub(super) fn run(
        &self,
        cx: &Context,
        src: &[f32],
        d_dst: &[f32],
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        let (sums, scratch) = workspace.split_at_mut(self.sums_len());
        let (sums, scratch) = (SharedMut::new(sums), SharedMut::new(scratch));
        let bias = d_bias.is_some();
        cx.exec.run(self.slices * self.parts.len(), &|index, worker| {
            let (slice, part) = (index / self.parts.len(), index % self.parts.len());
            let len = self.scratch_len();
            // SAFETY: no two tasks run on a worker at the same time.
            let scratch = unsafe { scratch.range(worker * len, len) };
            let (src_copy, dst_copy) = scratch.split_at_mut(self.scratch_lens()[0]);
            let (panels, taps) = self.parts[part].clone();
            let first = slice * self.slice_len;
            dispatch(
                self.machine.isa,
                Task { plan: self, src, d_dst, sums, first, slice, panels, taps, bias, src_copy, dst_copy },
            );
        });

        let blocks = self.panels.group_src.div_ceil(BLOCK);
        let (d_weights, d_bias) = (SharedMut::new(d_weights), d_bias.map(SharedMut::new));
        cx.exec.run(self.panels.list.len() * blocks, &|index, _| {
            let (index, block) = (index / blocks, index % blocks);
            let first = block * BLOCK;
            let channels = first..self.panels.group_src.min(first + BLOCK);
            let d_bias = d_bias.filter(|_| block == 0);
            dispatch(self.machine.isa, Finish { plan: self, sums, index, channels, d_weights, d_bias });
        });
    }

    /// Where a slice keeps the bias sums of panel `index`.
    fn bias_sums(&self, index: usize) -> usize {
        self.panels.len + index * self.width()
    }
}

/// The sums of one slice of pixels for one part of the weights.
struct Task<'a> {
    plan: &'a OuterProducts,
    src: &'a [f32],
    d_dst: &'a [f32],
    sums: SharedMut<'a, f32>,
    /// Where the slice's sums begin.
    first: usize,
    slice: usize,
    panels: Range<usize>,
    taps: Range<usize>,
    bias: bool,
    src_copy: &'a mut [f32],
    dst_copy: &'a mut [f32],
}

/// Some pixels of the destination, in reading order, and where their source lies.
#[derive(Clone, Copy)]
struct Chunk {
    /// First image, row and column.
    at: [usize; 3],
    len: usize,
    /// First column of each row, and the column after the last.
    cols: (usize, usize),
    /// The source of image 0, row 0, column 0, which need not be inside.
    src: *const f32,
    image_len: usize,
    row_len: usize,
    ld: usize,
    /// The destination's gradient at the first pixel; the others follow at distance `dst_ld`.
    dst: *const f32,
    dst_ld: usize,
}

/// The source that stands for the bias: always one.
static ONE: f32 = 1.0;

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let plan = self.plan;
        let units = if plan.padded {
            plan.g.n * plan.rows.lines
        } else {
            plan.g.n * plan.rows.lines * plan.cols.lines
        };
        let slice = self.slice * units / plan.slices..(self.slice + 1) * units / plan.slices;
        let mut resume = false;
        if plan.padded {
            let mut unit = slice.start;
            while unit < slice.end {
                let (image, row) = (unit / plan.rows.lines, unit % plan.rows.lines);
                let count = plan.band_rows().min(plan.rows.lines - row).min(slice.end - unit);
                for col in (0..plan.cols.lines).step_by(plan.band_cols()) {
                    let cols = col..plan.cols.lines.min(col + plan.band_cols());
                    let chunk = self.copy_src(s, image, row..row + count, cols);
                    self.sum(s, chunk, resume);
                    resume = true;
                }
                unit += count;
            }
        } else {
            let (rows, cols) = (&plan.rows, &plan.cols);
            let row_len = cols.src_lines * plan.src_ld;
            let chunks = slice.len().div_ceil(CHUNK);
            for chunk in 0..chunks {
                let cut = |chunk: usize| slice.start + chunk * slice.len() / chunks;
                let (first, len) = (cut(chunk), cut(chunk + 1) - cut(chunk));
                let (row, col) = (first / cols.lines, first % cols.lines);
                let chunk = Chunk {
                    at: [row / rows.lines, row % rows.lines, col],
                    len,
                    cols: (0, cols.lines),
                    src: self.src.as_ptr(),
                    image_len: rows.src_lines * row_len,
                    row_len,
                    ld: plan.src_ld,
                    dst: self.dst_at(first),
                    dst_ld: plan.dst_ld,
                };
                self.sum(s, chunk, resume);
                resume = true;
            }
        }
    }
}

impl Task<'_> {
    /// The pixels of some rows and columns of an image, their source copied.
    #[inline(always)]
    fn copy_src<S: Simd>(&mut self, s: S, image: usize, rows: Range<usize>, cols: Range<usize>) -> Chunk {
        let (plan, g) = (self.plan, &self.plan.g);
        let window = plan.window(rows.clone(), cols.clone());
        let data = &self.src[image * g.ih * g.iw * plan.src_ld..];
        let source = Image { data, rows: g.ih, cols: g.iw, channels: g.ic, ld: plan.src_ld };
        window.copy(s, &source, self.src_copy);
        let (row_len, ld) = (window.cols * g.ic, g.ic);
        let origin = -(window.first_row * row_len as isize + window.first_col * ld as isize);
        Chunk {
            at: [image, rows.start, cols.start],
            len: rows.len() * cols.len(),
            cols: (cols.start, cols.end),
            src: self.src_copy.as_ptr().wrapping_offset(origin),
            image_len: 0,
            row_len,
            ld,
            dst: self.dst_at((image * plan.rows.lines + rows.start) * plan.cols.lines + cols.start),
            dst_ld: plan.dst_ld,
        }
    }

    /// The destination's gradient at a pixel.
    #[inline(always)]
    fn dst_at(&self, pixel: usize) -> *const f32 {
        self.d_dst[pixel * self.plan.dst_ld..].as_ptr()
    }

    /// Copies the destination channels of the part's panels; each panel's pixels follow each other.
    #[inline(always)]
    fn copy_dst<S: Simd>(&mut self, s: S, chunk: &mut Chunk) {
        let width = self.plan.width();
        for (index, panel) in self.plan.panels.list[self.panels.clone()].iter().enumerate() {
            let copy = &mut self.dst_copy[index * CHUNK * width..][..chunk.len * width];
            for (pixel, copy) in copy.chunks_exact_mut(width).enumerate() {
                let dst = chunk.dst.wrapping_add(pixel * chunk.dst_ld + panel.dst_channel);
                for v in 0..panel.vectors {
                    let len = S::LANES.min(panel.channels - v * S::LANES);
                    // SAFETY: the pixel has the panel's channels, the copy the panel's vectors.
                    unsafe {
                        let src = dst.add(v * S::LANES);
                        let values = if len == S::LANES { s.load(src) } else { s.load_partial(src, len) };
                        s.store(copy[v * S::LANES..].as_mut_ptr(), values);
                    }
                }
            }
        }
        (chunk.dst, chunk.dst_ld) = (self.dst_copy.as_ptr(), width);
    }

    /// Adds a chunk's products to the sums.
    #[inline(always)]
    fn sum<S: Simd>(&mut self, s: S, mut chunk: Chunk, resume: bool) {
        let plan = self.plan;
        if plan.packed {
            self.copy_dst(s, &mut chunk);
        }
        let inside = plan.padded || plan.rows.is_inside() && plan.cols.is_inside();
        let mut pairs = [[std::ptr::null(); 2]; CHUNK];
        let mut len = 0;
        for tap in self.taps.clone() {
            let (row, col) = (tap / plan.cols.taps.len(), tap % plan.cols.taps.len());
            let (dy, dx) = (plan.rows.taps[row], plan.cols.taps[col]);
            if !inside || tap == self.taps.start {
                len = self.pair(&chunk, (!inside).then_some((dy, dx)), &mut pairs);
            }
            let offset = dy * chunk.row_len as isize + dx * chunk.ld as isize;
            for index in self.panels.clone() {
                let panel = &plan.panels.list[index];
                let src = offset + panel.src_channel as isize;
                self.rows(s, panel, tap, self.products(S::LANES, index, &pairs[..len], src, resume));
            }
        }
        if self.bias && self.taps.start == 0 {
            let len = self.pair(&chunk, None, &mut pairs);
            pairs[..len].iter_mut().for_each(|pair| pair[0] = &ONE);
            for index in self.panels.clone() {
                let mut products = self.products(S::LANES, index, &pairs[..len], 0, resume);
                // SAFETY: the sums hold the panel's vectors, which this part of the slice alone writes; each pair
                // is a number and a pixel of the destination.
                unsafe {
                    products.sums = self.sums.ptr_at(self.first + plan.bias_sums(index));
                    outer::tile_fn::<S>(1, plan.panels.list[index].vectors)(s, &products);
                }
            }
        }
    }

    /// The products of some pixels for panel `index`, without a place for their sums.
    #[inline(always)]
    fn products(&self, lanes: usize, index: usize, pairs: &[Pair], src: isize, resume: bool) -> Products {
        let plan = self.plan;
        let panel = &plan.panels.list[index];
        let (dst, tail) = if plan.packed {
            ((index - self.panels.start) * CHUNK * plan.width(), lanes)
        } else {
            (panel.dst_channel, panel.tail(lanes))
        };
        Products {
            pairs: pairs.as_ptr(),
            len: pairs.len(),
            src,
            dst,
            tail,
            sums: std::ptr::null_mut(),
            resume,
        }
    }

    /// Sums `products` for all source values of a tap, tile by tile.
    #[inline(always)]
    fn rows<S: Simd>(&self, s: S, panel: &Panel, tap: usize, mut products: Products) {
        let (plan, src) = (self.plan, products.src);
        let tiles = plan.run.div_ceil(plan.machine.max_pixels(panel.vectors));
        for tile in 0..tiles {
            let (from, to) = (tile * plan.run / tiles, (tile + 1) * plan.run / tiles);
            let kernel = match plan.product {
                Product::Dense => outer::tile_fn::<S>(to - from, panel.vectors),
                Product::Depthwise => depthwise::gradient_fn::<S>(panel.vectors),
            };
            let step = plan.panels.step(panel, tap * plan.run + from);
            products.src = src + from as isize;
            // SAFETY: the pairs' source pixels, offset by the tap, lie inside the source or its padded copy and
            // hold the run; their destination pixels hold the panel's channels; the sums have a row for each
            // step, which this task alone writes.
            unsafe {
                products.sums = self.sums.ptr_at(self.first + step);
                kernel(s, &products);
            }
        }
    }

    /// Lists a chunk's pixels, only those inside the source under tap (dy, dx) if given.
    #[inline(always)]
    fn pair(&self, chunk: &Chunk, tap: Option<(isize, isize)>, pairs: &mut [Pair; CHUNK]) -> usize {
        let (rows, cols) = (&self.plan.rows, &self.plan.cols);
        let [mut image, mut row, mut col] = chunk.at;
        let mut len = 0;
        let mut rest = chunk.len;
        while rest > 0 {
            let count = rest.min(chunk.cols.1 - col);
            let y = (row * rows.stride) as isize;
            // Pixels of this row from `first`, `inside` of them.
            let (mut first, mut inside) = (col, count);
            if let Some((dy, dx)) = tap {
                // col · stride + dx must lie in 0 .. src_lines.
                let stride = cols.stride as isize;
                let from = (-dx).max(0) as usize;
                let low = from.div_ceil(cols.stride);
                let high = (cols.src_lines as isize - dx + stride - 1).max(0) as usize / cols.stride;
                first = low.clamp(col, col + count);
                inside = high.clamp(first, col + count) - first;
                if !(0..rows.src_lines as isize).contains(&(y + dy)) {
                    inside = 0;
                }
            }
            let offset = (image * chunk.image_len) as isize
                + y * chunk.row_len as isize
                + (first * cols.stride * chunk.ld) as isize;
            let src = chunk.src.wrapping_offset(offset);
            let dst = chunk.dst.wrapping_add((chunk.len - rest + first - col) * chunk.dst_ld);
            let src_step = cols.stride * chunk.ld;
            for (index, pair) in pairs[len..len + inside].iter_mut().enumerate() {
                *pair = [src.wrapping_add(index * src_step), dst.wrapping_add(index * chunk.dst_ld)];
            }
            len += inside;
            rest -= count;
            (row, col) = (row + 1, chunk.cols.0);
            if row == rows.lines {
                (image, row) = (image + 1, 0);
            }
        }
        len
    }
}

/// Adds up the slices of some source channels of a panel and writes the gradients.
struct Finish<'a> {
    plan: &'a OuterProducts,
    sums: SharedMut<'a, f32>,
    index: usize,
    channels: Range<usize>,
    d_weights: SharedMut<'a, f32>,
    d_bias: Option<SharedMut<'a, f32>>,
}

impl Finish<'_> {
    /// The sums over all slices of `len` floats at `first`.
    #[inline(always)]
    fn total(&self, first: usize, len: usize) -> &[f32] {
        // SAFETY: the parts that this task totals are its own, and those of different slices disjoint.
        let part = |slice: usize| unsafe { self.sums.range(slice * self.plan.slice_len + first, len) };
        let mut distance = 1;
        while distance < self.plan.slices {
            for slice in (0..self.plan.slices - distance).step_by(2 * distance) {
                for (sum, other) in part(slice).iter_mut().zip(&*part(slice + distance)) {
                    *sum += *other;
                }
            }
            distance *= 2;
        }
        part(0)
    }
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let panels = &self.plan.panels;
        let panel = &panels.list[self.index];
        let width = panel.vectors * S::LANES;
        for tap in 0..panels.steps() / panels.group_src {
            let first = panels.step(panel, tap * panels.group_src + self.channels.start);
            self.total(first, self.channels.len() * width);
        }
        // SAFETY: what is read was totalled above and what is written belongs to the same channels of the same
        // panel: this task's own.
        unsafe { panels.unpack(s, panel, self.channels.clone(), &self.sums, &self.d_weights) };
        if let Some(d_bias) = self.d_bias {
            let total = self.total(self.plan.bias_sums(self.index), width);
            // SAFETY: the panel's channels, written by the task of its first source channels alone.
            let d_bias = unsafe { d_bias.range(panel.dst_channel, panel.channels / self.plan.cols.fold) };
            d_bias.fill(0.0);
            for pixel in total[..panel.channels].chunks_exact(d_bias.len()) {
                for (sum, value) in d_bias.iter_mut().zip(pixel) {
                    *sum += value;
                }
            }
        }
    }
}
