//! d_src = d_dst · weights: rows of the weights, each times a number, added up.

use super::{CACHED, LINE, Layer, cut, tile};
use crate::conv::GeometryError;
use crate::conv::outer::{self, Pair, Products};
use crate::conv::panels::transpose;
use crate::conv::tile::{MAX_LANES, MAX_VECTORS, Machine};
use crate::exec::{SharedMut, for_each_piece};
use crate::simd::{Kernel, Simd, dispatch};
use crate::{Context, Isa, view::extent};
use std::ops::Range;

/// Rows of the weights that are added up in registers.
const ROWS: usize = 32;
/// The fewest features of the source that one task computes: what it reads of a row.
const LEAST_RUN: usize = 512;
/// The fewest rows of the weights that one task adds up.
const LEAST_ROWS: usize = 256;
/// Tasks wanted where the layer is large enough.
const TASKS: usize = 32;

/// The gradient of a fully connected layer's source from that of its destination.
#[derive(Clone, Debug)]
pub struct BackwardData {
    layer: Layer,
    machine: Machine,
    /// Images and vectors of features that are summed in registers.
    tile: [usize; 2],
    /// Features of a panel: the vectors of a tile.
    width: usize,
    /// Tasks: runs of panels whose sums stay in the cache × slices of the weights' rows.
    runs: usize,
    slices: usize,
}

impl BackwardData {
    /// Plans the pass on the strongest instruction set present that does not exceed `isa`.
    ///
    /// # Errors
    /// Where the sizes make no layer.
    pub fn new(isa: Isa, layer: &Layer) -> Result<Self, GeometryError> {
        layer.validate()?;
        let machine = Machine::up_to(isa);
        let tile = tile(machine, layer.n, MAX_VECTORS);
        let width = tile[1] * machine.lanes;
        let longest = (CACHED / layer.n).max(width);
        let runs = (layer.ic / LEAST_RUN).clamp(1, TASKS / 4).max(layer.ic.div_ceil(longest));
        let slices = (TASKS / runs).clamp(1, (layer.oc / LEAST_ROWS).max(1));
        let runs = runs.min(layer.ic.div_ceil(width));
        Ok(Self { layer: *layer, machine, tile, width, runs, slices })
    }

    /// Length of the workspace, in floats. What it holds before and after a run means nothing.
    pub fn workspace_len(&self, _workers: usize) -> usize {
        self.transposed_len() + self.slices * self.slice_len()
    }

    /// Algorithm and tile (images × features of the source), in words.
    pub fn describe(&self) -> String {
        format!("sums of rows {}x{}, {} slices", self.tile[0], self.width, self.slices)
    }

    /// Floats of the destination's gradient, transposed.
    fn transposed_len(&self) -> usize {
        (self.layer.n * self.layer.oc).next_multiple_of(LINE)
    }

    fn panels(&self) -> usize {
        self.layer.ic.div_ceil(self.width)
    }

    /// Floats of a slice's sums: for each panel its features of all images.
    fn slice_len(&self) -> usize {
        self.panels() * self.layer.n * self.width
    }

    /// First feature of a panel, how many there are, and the vectors that hold them.
    fn panel(&self, index: usize) -> (usize, usize, usize) {
        let first = index * self.width;
        let channels = self.width.min(self.layer.ic - first);
        (first, channels, channels.div_ceil(self.machine.lanes))
    }

    /// Computes `d_src` from `d_dst` and `weights`, (oc, ic).
    ///
    /// # Panics
    /// Where a slice's length does not fit the layer.
    pub fn run(
        &self,
        cx: &Context,
        d_dst: &[f32],
        weights: &[f32],
        d_src: &mut [f32],
        workspace: &mut [f32],
    ) {
        let Layer { n, ic, oc, src_ld, dst_ld } = self.layer;
        assert!(d_dst.len() >= extent(n, oc, dst_ld), "destination gradient");
        assert_eq!(weights.len(), oc * ic, "weights");
        assert!(d_src.len() >= extent(n, ic, src_ld), "source gradient");
        assert!(workspace.len() >= self.workspace_len(cx.exec.workers()), "workspace");
        let (transposed, sums) = workspace.split_at_mut(self.transposed_len());
        let isa = self.machine.isa;
        let columns = SharedMut::new(transposed);
        for_each_piece(cx.exec, oc, LEAST_ROWS, |first, count, _| {
            dispatch(isa, Transpose { n, d_dst: &d_dst[first..], dst_ld, count, columns, first });
        });
        let d_dst = &*transposed;
        let sums = SharedMut::new(sums);
        cx.exec.run(self.runs * self.slices, &|task, _| {
            let (run, slice) = (task / self.slices, task % self.slices);
            let panels = cut(self.panels(), self.runs, run);
            let rows = cut(oc, self.slices, slice);
            let first = slice * self.slice_len();
            dispatch(isa, Task { plan: self, d_dst, weights, sums, first, panels, rows });
        });
        let d_src = SharedMut::new(d_src);
        for_each_piece(cx.exec, self.panels(), (CACHED / (n * self.width)).max(1), |first, count, _| {
            dispatch(isa, Finish { plan: self, sums, d_src, panels: first..first + count });
        });
    }
}

/// Some features of the destination's gradient, transposed: those of all images side by side.
struct Transpose<'a> {
    n: usize,
    d_dst: &'a [f32],
    dst_ld: usize,
    count: usize,
    columns: SharedMut<'a, f32>,
    first: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: these features' columns, this task's own; `d_dst` holds `count` features of every image.
        unsafe {
            let columns = self.columns.range(self.first * self.n, self.count * self.n);
            transpose(
                s,
                [self.n, self.count],
                self.d_dst.as_ptr(),
                self.dst_ld,
                columns.as_mut_ptr(),
                self.n,
            );
        }
    }
}

/// The sums of some rows of the weights for some panels.
struct Task<'a> {
    plan: &'a BackwardData,
    d_dst: &'a [f32],
    weights: &'a [f32],
    sums: SharedMut<'a, f32>,
    /// Where the slice's sums begin.
    first: usize,
    panels: Range<usize>,
    rows: Range<usize>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardData { layer: Layer { n, ic, .. }, tile: [images, _], width, .. } = *self.plan;
        let tiles = n.div_ceil(images);
        // Several tiles read a copy: rows at their distance in memory would crowd a few sets of the L1 cache.
        let copies = tiles > 1;
        let mut copy = [0.0; ROWS * MAX_VECTORS * MAX_LANES];
        let mut pairs: [Pair; ROWS] = [[std::ptr::null(); 2]; ROWS];
        for first in self.rows.clone().step_by(ROWS) {
            let rows = first..self.rows.end.min(first + ROWS);
            for panel in self.panels.clone() {
                let (channel, channels, vectors) = self.plan.panel(panel);
                for (row, copy) in rows.clone().zip(copy.chunks_exact_mut(width)) {
                    let row = &self.weights[row * ic + channel..][..channels];
                    for at in (0..channels).step_by(LINE) {
                        s.prefetch(row.as_ptr().wrapping_add(ROWS * ic + at));
                    }
                    if copies {
                        copy[..channels].copy_from_slice(row);
                    }
                }
                for (index, row) in rows.clone().enumerate() {
                    let weights =
                        if copies { &copy[index * width..] } else { &self.weights[row * ic + channel..] };
                    pairs[index] = [self.d_dst[row * n..].as_ptr(), weights.as_ptr()];
                }
                for tile in 0..tiles {
                    let images = cut(n, tiles, tile);
                    let sums = self.first + panel * n * width + images.start * vectors * S::LANES;
                    // SAFETY: the pairs are a column of numbers for all images and the panel's features of a row
                    // of the weights; the sums of the panel are this task's own.
                    unsafe {
                        let products = Products {
                            pairs: pairs.as_ptr(),
                            len: rows.len(),
                            src: images.start as isize,
                            dst: 0,
                            tail: channels - (vectors - 1) * S::LANES,
                            sums: self.sums.ptr_at(sums),
                            resume: first > self.rows.start,
                        };
                        outer::tile_fn::<S, f32>(images.len(), vectors)(s, &products);
                    }
                }
            }
        }
    }
}

/// Adds up the slices of some panels and writes them.
struct Finish<'a> {
    plan: &'a BackwardData,
    sums: SharedMut<'a, f32>,
    d_src: SharedMut<'a, f32>,
    panels: Range<usize>,
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardData { layer: Layer { n, src_ld, .. }, width, slices, .. } = *self.plan;
        for panel in self.panels {
            let (first, channels, vectors) = self.plan.panel(panel);
            for image in 0..n {
                for at in (0..channels).step_by(S::LANES) {
                    let place = (panel * n * width) + image * vectors * S::LANES + at;
                    // SAFETY: whole vectors of each slice's sums, which no task writes any more; the features of
                    // the source, which this task alone writes.
                    unsafe {
                        let mut sum = s.load(self.sums.ptr_at(place));
                        for slice in 1..slices {
                            sum = s.add(sum, s.load(self.sums.ptr_at(slice * self.plan.slice_len() + place)));
                        }
                        let d_src = self.d_src.ptr_at(image * src_ld + first + at);
                        s.store_up_to(d_src, sum, S::LANES.min(channels - at));
                    }
                }
            }
        }
    }
}
