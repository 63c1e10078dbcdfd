//! The gradients of weights and bias: sums over pixels.
//!
//! The pixels are cut into slices and the weights into parts whose sums stay in the L2 cache; each slice of each
//! part is a task with sums of its own, in the layout of packed weights. At the end slices are added up in a
//! fixed tree and written as (oc, ic / groups, kh, kw).
//!
//! Of bfloat16, the same pixel of two neighbouring images is one: tasks weave both sides' values of the two into words
//! as they take them up, and tiles sum the words' dot products.

use super::axis::{Axis, kernel_elements};
use super::depthwise;
use super::geometry::Conv2dGeometry;
use super::outer::{self, Pair, Products};
use super::panels::{BLOCK, Panel, Panels, Product, WeightStrides};
use super::pass::Map;
use super::tile::{Factor, MAX_LANES, MAX_PIXELS, Machine};
use super::window::{Image, Window};
use crate::cast::cast;
use crate::element::Element;
use crate::exec::SharedMut;
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Context, Pixels, PixelsMut};
use std::ops::Range;

/// Floats of a part's sums, which stay in the L2 cache.
const CACHED_SUMS: usize = 64 * 1024;
/// The most pixels that tiles are summed over at once: their destination channels stay in the L1 cache.
const CHUNK: usize = 160;
/// The most source channels for which a padded copy makes the taps of a row one run.
const MERGED_CHANNELS: usize = 16;
/// The most source values that are woven at once: they stay in the L2 cache beside the sums.
const WOVEN: usize = 256;
/// Cycles to weave the source of a tile's pixel.
const WEAVE_CYCLES: f64 = 2.5;
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
    src: Map,
    dst: Map,
    /// From one destination pixel to the next, or from one folded few to the next.
    dst_ld: usize,
    panels: Panels,
    /// Images whose values are woven into one word.
    pack: usize,
    /// Source values of a tap: the channels of a group, times the merged taps.
    run: usize,
    /// Whether tiles read a padded copy of the source.
    padded: bool,
    /// Whether tiles read a copy of the destination's gradient, where a panel's channels of neighbouring pixels
    /// lie side by side: at their distance in memory they would crowd a few sets of the L1 cache.
    packed: bool,
    parts: Vec<Part>,
    slices: usize,
    /// Floats of a slice's sums: the panels, then a vector for each panel's vectors of bias.
    slice_len: usize,
    /// What the last image is woven with where their number is odd.
    zeros: Vec<f32>,
}

/// Panels × taps × values of a tap that one task sums.
#[derive(Clone, Debug)]
struct Part {
    panels: Range<usize>,
    taps: Range<usize>,
    values: Range<usize>,
}

/// `0..total`, cut into `pieces` as even as can be.
fn cut(total: usize, pieces: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..pieces).map(move |piece| piece * total / pieces..(piece + 1) * total / pieces)
}

impl OuterProducts {
    /// Plans the pass for maps of source and destination.
    pub(super) fn new(machine: Machine, g: &Conv2dGeometry, src: Map, dst: Map) -> Self {
        let product = Product::of(g);
        let (rows, mut cols) = Axis::forward_pair(g);
        if g.groups == 1 && dst.ld == g.oc && g.oc < machine.lanes {
            cols = cols.folded(machine.lanes, g.oc);
        }
        let elements = (cols.fold, kernel_elements(&rows, &cols, g.kw));
        let panels =
            Panels::new(machine, product, g.groups, (g.ic, g.oc), elements, WeightStrides::forward(g));
        let mut run = panels.group_src;
        let mergeable = product == Product::Dense && g.groups == 1 && cols.is_run();
        let in_place = src.ld == g.ic && cols.is_inside();
        // A copy must not cost more than the source's few channels gain, nor chunks be of only a few pixels.
        let padded = mergeable && !in_place && run <= MERGED_CHANNELS && g.oh() * g.ow() >= 16;
        if mergeable && (in_place || padded) {
            run *= cols.taps.len();
            cols.taps.truncate(1);
        }

        let width = panels.vectors() * machine.lanes;
        let taps = rows.taps.len() * cols.taps.len();
        let pack = match product {
            Product::Dense => machine.pack(),
            Product::Depthwise => 1,
        };
        let count = panels.list.len();
        // What is woven serves all panels of a part; else a part's taps share the destination's channels first.
        let pieces = if pack > 1 { run.div_ceil(WOVEN) } else { 1 };
        let tap_len = run.div_ceil(pieces) * width;
        let together = CACHED_SUMS / if pack > 1 { tap_len } else { taps * tap_len };
        let together = together.clamp(1, count);
        let tap_pieces = (taps * tap_len * together).div_ceil(CACHED_SUMS).min(taps);
        let mut parts = Vec::new();
        for panels in cut(count, count.div_ceil(together)) {
            for taps in cut(taps, tap_pieces) {
                let part = |values| Part { panels: panels.clone(), taps: taps.clone(), values };
                parts.extend(cut(run, pieces).map(part));
            }
        }
        let pixels = g.n.div_ceil(pack) * rows.lines * cols.lines;
        let slice_len = panels.len + count * width;
        let slices = TASKS
            .div_ceil(parts.len())
            .min((pixels as u128 * panels.len as u128 / (TASK_MACS * parts.len()) as u128) as usize)
            .min(MAX_SUMS / slice_len)
            .clamp(1, if padded { g.n.div_ceil(pack) * rows.lines } else { pixels });
        let crowded = dst.ld >= 128 && panels.steps() >= 128;
        let packed = pack > 1 || product == Product::Dense && g.groups == 1 && crowded;
        let zeros = vec![0.0; if pack > 1 { run.max(width) } else { 0 }];
        let (g, dst_ld) = (*g, dst.ld * cols.fold);
        Self {
            machine,
            product,
            g,
            rows,
            cols,
            src,
            dst,
            dst_ld,
            panels,
            pack,
            run,
            padded,
            packed,
            parts,
            slices,
            slice_len,
            zeros,
        }
    }

    /// Images, or pairs of images that are woven together.
    fn images(&self) -> usize {
        self.g.n.div_ceil(self.pack)
    }

    /// Estimated cycles of one thread.
    pub(super) fn cycles(&self) -> f64 {
        /// Cycles of a multiply-add of vectors, and what else tiles take.
        const PRODUCT_CYCLES: f64 = 0.6;
        let vectors: usize = self.panels.list.iter().map(|panel| panel.vectors).sum();
        let pixels = (self.images() * self.rows.lines * self.cols.lines) as f64;
        let steps = self.panels.steps() as f64;
        let weave = if self.pack > 1 {
            let times: usize = self.parts.iter().map(|part| part.taps.len() * part.values.len()).sum();
            pixels * times as f64 / self.machine.max_pixels(self.panels.vectors()) as f64 * WEAVE_CYCLES
        } else {
            0.0
        };
        pixels * steps * (vectors * self.machine.parts) as f64 * PRODUCT_CYCLES + weave
    }

    /// Floats of the copies of source and destination as what tiles multiply, where they consist of something else.
    fn cast_lens(&self) -> [usize; 2] {
        [&self.src, &self.dst].map(|map| {
            let foreign = map.element != self.machine.factors;
            if foreign { self.machine.factors.words(map.pixels * map.ld).next_multiple_of(16) } else { 0 }
        })
    }

    /// Floats of workspace.
    pub(super) fn workspace_len(&self, workers: usize) -> usize {
        self.cast_lens().iter().sum::<usize>() + self.sums_len() + workers * self.scratch_len()
    }

    /// Algorithm and tile (source channels × destination channels), in words.
    pub(super) fn describe(&self) -> String {
        let (vectors, lanes) = (self.panels.vectors(), self.machine.lanes);
        let name = match self.product {
            Product::Depthwise => return format!("depthwise 1x{}, {} slices", vectors * lanes, self.slices),
            Product::Dense if self.padded => "outer products of padded rows",
            Product::Dense => "outer products",
        };
        let woven = if self.pack > 1 { " of pairs of images" } else { "" };
        let rows = self.machine.max_pixels(vectors);
        let fold = match self.cols.fold {
            1 => String::new(),
            fold => format!(", {fold} pixels folded"),
        };
        format!("{name}{woven} {rows}x{}{fold}, {} slices", vectors * lanes, self.slices)
    }

    fn sums_len(&self) -> usize {
        (self.slices * self.slice_len).next_multiple_of(16)
    }

    /// Floats of scratch memory a worker needs: for the copy of the source, for that of the destination, and for woven
    /// values of the source.
    fn scratch_lens(&self) -> [usize; 3] {
        let src = if self.padded {
            let window = self.window(0..self.band_rows().min(self.rows.lines), 0..self.band_cols());
            window.rows * window.cols * self.g.ic
        } else {
            0
        };
        let panels = self.parts.iter().map(|part| part.panels.len()).max().unwrap_or(0);
        let dst = if self.packed { panels * CHUNK * self.width() } else { 0 };
        // The last tile need not be full, and each is followed by room for a vector.
        let values = self.run.min(WOVEN);
        let woven = if self.pack > 1 { CHUNK * (values + MAX_PIXELS) + MAX_LANES * values } else { 0 };
        [src, dst, woven].map(|len| len.next_multiple_of(16))
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

    /// Computes `d_weights` and `d_bias`, all sizes checked, by products of `T`.
    pub(super) fn run<A: Element, B: Element, T: Factor>(
        &self,
        cx: &Context,
        src: &[A],
        d_dst: &[B],
        d_weights: &mut [f32],
        d_bias: Option<&mut [f32]>,
        workspace: &mut [f32],
    ) {
        let [src_len, dst_len] = self.cast_lens();
        let (src_copy, workspace) = workspace.split_at_mut(src_len);
        let (dst_copy, workspace) = workspace.split_at_mut(dst_len);
        let src = as_factors::<A, T>(cx, src, &self.src, src_copy);
        let d_dst = as_factors::<B, T>(cx, d_dst, &self.dst, dst_copy);
        let (sums, scratch) = workspace.split_at_mut(self.sums_len());
        let (sums, scratch) = (SharedMut::new(sums), SharedMut::new(scratch));
        let bias = d_bias.is_some();
        cx.exec.run(self.slices * self.parts.len(), &|index, worker| {
            let (slice, part) = (index / self.parts.len(), &self.parts[index % self.parts.len()]);
            let len = self.scratch_len();
            // SAFETY: no two tasks run on a worker at the same time.
            let scratch = unsafe { scratch.range(worker * len, len) };
            let [src_len, dst_len, _] = self.scratch_lens();
            let (src_copy, scratch) = scratch.split_at_mut(src_len);
            let (dst_copy, woven) = scratch.split_at_mut(dst_len);
            let src_copy = bytemuck::cast_slice_mut::<f32, T>(src_copy);
            let first = slice * self.slice_len;
            T::dispatch(
                self.machine.isa,
                Task { plan: self, src, d_dst, sums, first, slice, part, bias, src_copy, dst_copy, woven },
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

/// `map` as what tiles multiply: where it lies, or cast to `copy`.
fn as_factors<'a, A: Element, T: Factor>(
    cx: &Context,
    data: &'a [A],
    map: &Map,
    copy: &'a mut [f32],
) -> &'a [T] {
    if A::TYPE == T::TYPE {
        return bytemuck::cast_slice(data);
    }
    let copy = bytemuck::cast_slice_mut::<f32, T>(copy);
    cast(cx, Pixels::new(data, map.ld), PixelsMut::new(copy, map.ld), map.pixels, map.channels);
    copy
}

/// The sums of one slice of pixels for one part of the weights.
struct Task<'a, T> {
    plan: &'a OuterProducts,
    src: &'a [T],
    d_dst: &'a [T],
    sums: SharedMut<'a, f32>,
    /// Where the slice's sums begin.
    first: usize,
    slice: usize,
    part: &'a Part,
    bias: bool,
    src_copy: &'a mut [T],
    dst_copy: &'a mut [f32],
    woven: &'a mut [f32],
}

/// Some pixels of the destination, in reading order, and where their source lies.
#[derive(Clone, Copy)]
struct Chunk<T> {
    /// First image (or pair of images), row and column.
    at: [usize; 3],
    len: usize,
    /// First column of each row, and the column after the last.
    cols: (usize, usize),
    /// The source of image 0, row 0, column 0, which need not be inside.
    src: *const T,
    image_len: usize,
    /// From an image of a pair to the other.
    second: usize,
    row_len: usize,
    ld: usize,
    /// The destination's gradient at the first pixel; the others follow at distance `dst_ld`.
    dst: *const T,
    dst_ld: usize,
}

impl<T: Factor> Kernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let plan = self.plan;
        let lines = plan.images() * plan.rows.lines;
        let units = if plan.padded { lines } else { lines * plan.cols.lines };
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
            let row_len = cols.src_lines * plan.src.ld;
            let second = rows.src_lines * row_len;
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
                    image_len: plan.pack * second,
                    second,
                    row_len,
                    ld: plan.src.ld,
                    dst: self.dst_at([row / rows.lines, row % rows.lines, col]),
                    dst_ld: plan.dst_ld,
                };
                self.sum(s, chunk, resume);
                resume = true;
            }
        }
    }
}

impl<T: Factor> Task<'_, T> {
    /// The pixels of some rows and columns of an image, their source copied.
    #[inline(always)]
    fn copy_src<S: Simd>(&mut self, s: S, image: usize, rows: Range<usize>, cols: Range<usize>) -> Chunk<T> {
        let (plan, g) = (self.plan, &self.plan.g);
        let window = plan.window(rows.clone(), cols.clone());
        let second = window.rows * window.cols * g.ic;
        let images = image * plan.pack..g.n.min((image + 1) * plan.pack);
        for (image, copy) in images.zip(self.src_copy.chunks_exact_mut(second)) {
            let data = &self.src[image * g.ih * g.iw * plan.src.ld..];
            let source = Image { data, rows: g.ih, cols: g.iw, channels: g.ic, ld: plan.src.ld };
            window.copy(s, &source, copy);
        }
        let (row_len, ld) = (window.cols * g.ic, g.ic);
        let origin = -(window.first_row * row_len as isize + window.first_col * ld as isize);
        Chunk {
            at: [image, rows.start, cols.start],
            len: rows.len() * cols.len(),
            cols: (cols.start, cols.end),
            src: self.src_copy.as_ptr().wrapping_offset(origin),
            image_len: 0,
            second,
            row_len,
            ld,
            dst: self.dst_at([image, rows.start, cols.start]),
            dst_ld: plan.dst_ld,
        }
    }

    /// The destination's gradient at a pixel of an image, or of the first of a pair.
    #[inline(always)]
    fn dst_at(&self, [image, row, col]: [usize; 3]) -> *const T {
        let (rows, cols) = (self.plan.rows.lines, self.plan.cols.lines);
        let pixel = (image * self.plan.pack * rows + row) * cols + col;
        self.d_dst[pixel * self.plan.dst_ld..].as_ptr()
    }

    /// The second image's value for one of the first, `distance` on; zeros where there is no second image.
    #[inline(always)]
    fn second(&self, there: bool, value: *const T, distance: usize) -> *const T {
        if there { value.wrapping_add(distance) } else { self.plan.zeros.as_ptr().cast() }
    }

    /// Whether a pair of images is one.
    #[inline(always)]
    fn is_pair(&self, image: usize) -> bool {
        (image + 1) * self.plan.pack <= self.plan.g.n
    }

    /// Copies the destination channels of the part's panels as words; each panel's pixels follow each other.
    #[inline(always)]
    fn copy_dst<S: Simd>(&mut self, s: S, chunk: &mut Chunk<T>) {
        let plan = self.plan;
        let (width, plane) = (plan.width(), plan.rows.lines * plan.cols.lines);
        let [image, row, col] = chunk.at;
        let place = row * plan.cols.lines + col;
        let mut done = 0;
        // Of one image, pixels follow each other.
        for image in image.. {
            let first = if done == 0 { place } else { 0 };
            let len = (plane - first).min(chunk.len - done);
            let data = self.dst_at([image, 0, first]);
            let there = self.is_pair(image);
            for index in 0..self.part.panels.len() {
                let panel = &plan.panels.list[self.part.panels.start + index];
                let copy = (index * CHUNK + done) * width;
                for pixel in 0..len {
                    for v in 0..panel.vectors {
                        let lanes = S::LANES.min(panel.channels - v * S::LANES);
                        let value = pixel * plan.dst_ld + panel.dst_channel + v * S::LANES;
                        // SAFETY: the pixel has the panel's channels in each image, the copy the panel's vectors.
                        unsafe {
                            let value = data.add(value);
                            let other = self.second(there, value, plane * plan.dst_ld);
                            let words = T::weave(s, value, other, lanes);
                            let copy = copy + pixel * width + v * S::LANES;
                            s.store(self.dst_copy[copy..][..S::LANES].as_mut_ptr(), words);
                        }
                    }
                }
            }
            done += len;
            if done == chunk.len {
                break;
            }
        }
        (chunk.dst, chunk.dst_ld) =
            (self.dst_copy.as_ptr().cast(), width * size_of::<f32>() / size_of::<T>());
    }

    /// Adds a chunk's products to the sums.
    #[inline(always)]
    fn sum<S: Simd>(&mut self, s: S, mut chunk: Chunk<T>, resume: bool) {
        let (plan, part) = (self.plan, self.part);
        if plan.packed {
            self.copy_dst(s, &mut chunk);
        }
        let inside = plan.padded || plan.rows.is_inside() && plan.cols.is_inside();
        let mut list = List { pairs: [[std::ptr::null(); 2]; CHUNK], seconds: [false; CHUNK], len: 0 };
        for tap in part.taps.clone() {
            let (row, col) = (tap / plan.cols.taps.len(), tap % plan.cols.taps.len());
            let (dy, dx) = (plan.rows.taps[row], plan.cols.taps[col]);
            if plan.pack == 1 && (!inside || tap == part.taps.start) {
                self.list(&chunk, (!inside).then_some((dy, dx)), &mut list);
            }
            let offset = dy * chunk.row_len as isize + dx * chunk.ld as isize;
            let mut woven = None;
            for index in part.panels.clone() {
                let panel = &plan.panels.list[index];
                let src = offset + panel.src_channel as isize;
                if plan.pack > 1 && woven != Some(panel.src_channel) {
                    self.list(&chunk, (!inside).then_some((dy, dx)), &mut list);
                    self.weave(s, &mut list, src, chunk.second, self.tile(panel));
                    woven = Some(panel.src_channel);
                }
                self.rows(s, panel, tap, self.products(S::LANES, index, &list, src, resume));
            }
        }
        if self.bias && part.taps.start == 0 && part.values.start == 0 {
            let ones = [T::ONES; depthwise::VECTORS * MAX_LANES];
            self.list(&chunk, None, &mut list);
            list.pairs[..list.len].iter_mut().for_each(|pair| pair[0] = ones.as_ptr().cast());
            for index in part.panels.clone() {
                let mut products = self.products(S::LANES, index, &list, 0, resume);
                let vectors = plan.panels.list[index].vectors;
                let kernel = match plan.product {
                    Product::Dense => outer::tile_fn::<S, T>(1, vectors),
                    Product::Depthwise => depthwise::gradient_fn::<S, T>(vectors),
                };
                // SAFETY: the sums hold the panel's vectors, which this part of the slice alone writes; each pair
                // is a word, or as many as a depthwise panel has lanes, and a pixel of the destination.
                unsafe {
                    products.sums = self.sums.ptr_at(self.first + plan.bias_sums(index));
                    kernel(s, &products);
                }
            }
        }
    }

    /// The products of some pixels for panel `index`, without a place for their sums.
    #[inline(always)]
    fn products(&self, lanes: usize, index: usize, list: &List<T>, src: isize, resume: bool) -> Products<T> {
        let plan = self.plan;
        let panel = &plan.panels.list[index];
        let (dst, tail) = if plan.packed {
            ((index - self.part.panels.start) * CHUNK * plan.width(), lanes)
        } else {
            (panel.dst_channel, panel.tail(lanes))
        };
        let (pairs, len) = (list.pairs.as_ptr(), list.len);
        Products { pairs, len, src, dst, tail, sums: std::ptr::null_mut(), resume }
    }

    /// Source values of a tile for panel `panel`: of woven ones, of a tile that fits all panels.
    #[inline(always)]
    fn tile(&self, panel: &Panel) -> usize {
        let woven = self.plan.pack > 1;
        self.plan.machine.max_pixels(if woven { self.plan.panels.vectors() } else { panel.vectors })
    }

    /// From tile to tile, in the words woven of so many pixels: there is room for a vector after each.
    #[inline(always)]
    fn woven_tile<S: Simd>(&self, pixels: usize, tile: usize) -> usize {
        pixels * tile + S::LANES
    }

    /// Weaves the part's values of the listed pixels, `src` on from where they are: for each tile the words of each
    /// pixel, which take the place of the pixels in the list.
    #[inline(always)]
    fn weave<S: Simd>(&mut self, s: S, list: &mut List<T>, src: isize, second: usize, tile: usize) {
        let values = &self.part.values;
        let far = self.woven_tile::<S>(list.len, tile);
        assert!(values.len().div_ceil(tile) * far <= self.woven.len());
        let whole = values.len() / tile;
        for pixel in 0..list.len {
            let first = list.pairs[pixel][0].wrapping_offset(src + values.start as isize);
            let other = self.second(list.seconds[pixel], first, second);
            let words = self.woven[pixel * tile..].as_mut_ptr();
            // SAFETY: source pixels under a tap hold the values, and there are as many zeros; the words were checked
            // to have room, and those after a tile's are woven later or belong to none.
            unsafe {
                for index in 0..whole {
                    let at = index * tile;
                    weave_tile(
                        s,
                        first.wrapping_add(at),
                        other.wrapping_add(at),
                        words.add(index * far),
                        tile,
                    );
                }
                let at = whole * tile;
                let (first, other) = (first.wrapping_add(at), other.wrapping_add(at));
                weave_tile(s, first, other, words.add(whole * far), values.len() - at);
            }
        }
        for (pixel, pair) in list.pairs[..list.len].iter_mut().enumerate() {
            pair[0] = self.woven[pixel * tile..].as_ptr().cast();
        }
    }

    /// Sums `products` for the part's values of a tap, tile by tile.
    #[inline(always)]
    fn rows<S: Simd>(&self, s: S, panel: &Panel, tap: usize, mut products: Products<T>) {
        let (plan, values, src) = (self.plan, &self.part.values, products.src);
        let tile = self.tile(panel);
        let tiles = values.len().div_ceil(tile);
        // Woven tiles are all full but the last; else they are as even as can be.
        let cut = |index: usize| {
            if plan.pack > 1 { (index * tile).min(values.len()) } else { index * values.len() / tiles }
        };
        for index in 0..tiles {
            let (from, to) = (cut(index), cut(index + 1));
            let kernel = match plan.product {
                Product::Dense => outer::tile_fn::<S, T>(to - from, panel.vectors),
                Product::Depthwise => depthwise::gradient_fn::<S, T>(panel.vectors),
            };
            let step = plan.panels.step(panel, tap * plan.run + values.start + from);
            products.src = match plan.pack {
                1 => src + (values.start + from) as isize,
                _ => (index * self.woven_tile::<S>(products.len, tile)) as isize,
            };
            // SAFETY: the pairs' source pixels, offset by the tap, lie inside the source or its padded copy and
            // hold the values, or are the words woven of them; their destination pixels hold the panel's channels; the
            // sums have a row for each step, which this task alone writes.
            unsafe {
                products.sums = self.sums.ptr_at(self.first + step);
                kernel(s, &products);
            }
        }
    }

    /// Lists a chunk's pixels, only those inside the source under tap (dy, dx) if given.
    #[inline(always)]
    fn list(&self, chunk: &Chunk<T>, tap: Option<(isize, isize)>, list: &mut List<T>) {
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
            for (index, pair) in list.pairs[len..len + inside].iter_mut().enumerate() {
                *pair = [src.wrapping_add(index * src_step), dst.wrapping_add(index * chunk.dst_ld)];
            }
            if self.plan.pack > 1 {
                list.seconds[len..len + inside].fill(self.is_pair(image));
            }
            len += inside;
            rest -= count;
            (row, col) = (row + 1, chunk.cols.0);
            if row == rows.lines {
                (image, row) = (image + 1, 0);
            }
        }
        list.len = len;
    }
}

/// Words of `len` values of each of two images.
///
/// # Safety
/// The values must be readable, and the words writable in whole vectors.
#[inline(always)]
unsafe fn weave_tile<S: Simd, T: Factor>(
    s: S,
    first: *const T,
    other: *const T,
    words: *mut f32,
    len: usize,
) {
    for at in (0..len).step_by(S::LANES) {
        // SAFETY: the caller's contract.
        unsafe {
            let lanes = S::LANES.min(len - at);
            s.store(words.add(at), T::weave(s, first.wrapping_add(at), other.wrapping_add(at), lanes));
        }
    }
}

/// Pixels whose products are summed.
struct List<T> {
    pairs: [Pair<T>; CHUNK],
    /// Whether a pixel's image has a second one.
    seconds: [bool; CHUNK],
    len: usize,
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
