//! The direct algorithm: one gather, or one for each phase of the stride.

use super::Bounds;
use super::axis::{Axis, kernel_elements};
use super::gather::{Call, Gather};
use super::geometry::Conv2dGeometry;
use super::panels::{Panels, Product, WeightStrides};
use super::pass::Map;
use super::tile::{Factor, MAX_LANES, Machine};
use crate::cast::cast;
use crate::element::Element;
use crate::exec::{SharedMut, for_each_piece};
use crate::{Context, Pixels, PixelsMut};

/// Gathers that together write every destination pixel once.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    phases: Vec<Gather>,
    /// Before each phase: the tasks and the floats of packed weights of those before it.
    starts: Vec<[usize; 2]>,
    src: Map,
    dst: Map,
    /// Floats of a copy of the source as what tiles multiply, where they cannot read it as it lies.
    cast_len: usize,
    zeros: Vec<f32>,
    /// Neighbouring destination pixels that are written as one.
    fold: usize,
}

impl Direct {
    /// Every pair of `rows` and `cols` is a phase.
    pub(super) fn new(
        machine: Machine,
        g: &Conv2dGeometry,
        (src, dst): (Map, Map),
        (rows, cols): (&[Axis], &[Axis]),
        strides: WeightStrides,
    ) -> Self {
        let product = Product::of(g);
        let folds = g.groups == 1 && dst.ld == dst.channels && dst.channels < machine.lanes;
        let fold = |axis: &Axis| {
            if folds { axis.clone().folded(machine.lanes, dst.channels) } else { axis.clone() }
        };
        let cols: Vec<Axis> = cols.iter().map(fold).collect();
        let mut phases = Vec::with_capacity(rows.len() * cols.len());
        for rows in rows {
            for cols in &cols {
                let elements = kernel_elements(rows, cols, g.kw);
                let channels = (src.channels, dst.channels);
                let elements = (cols.fold, elements);
                let panels = Panels::new(machine, product, g.groups, channels, elements, strides);
                phases.push(Gather::new(machine, product, g.n, (rows.clone(), cols.clone()), src.ld, panels));
            }
        }
        let zeros = vec![0.0; phases.iter().map(Gather::row_len).max().unwrap_or(0)];
        let fold = cols.iter().map(|axis| axis.fold).max().unwrap_or(1);
        let mut end = [0; 2];
        let starts = phases.iter().map(|phase| {
            let start = end;
            end = [start[0] + phase.tasks(), start[1] + phase.panels.len];
            start
        });
        let starts = starts.collect();
        let foreign = src.element != machine.factors;
        let cast_len = if foreign && !phases.iter().all(Gather::is_padded) {
            machine.factors.words(src.pixels * src.ld).next_multiple_of(LINE)
        } else {
            0
        };
        Self { phases, starts, src, dst, cast_len, zeros, fold }
    }

    /// Floats of the packed weights.
    pub(super) fn packed_len(&self) -> usize {
        self.phases.iter().map(|phase| phase.panels.len).sum()
    }

    /// Packs `weights`, those of each written channel times its `scale`.
    pub(super) fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        let mut rest = packed;
        for phase in &self.phases {
            let (packed, after) = rest.split_at_mut(phase.panels.len);
            phase.panels.pack(cx, weights, scale, packed);
            rest = after;
        }
    }

    fn scratch_len(&self) -> usize {
        // Whole cache lines, so that workers do not share one.
        self.phases.iter().map(Gather::scratch_len).max().unwrap_or(0).next_multiple_of(LINE)
    }

    /// Floats of workspace.
    pub(super) fn workspace_len(&self, workers: usize) -> usize {
        self.cast_len + self.scratch_len() * workers
    }

    /// Estimated cycles of one thread.
    pub(super) fn cycles(&self) -> f64 {
        self.phases.iter().map(Gather::cycles).sum()
    }

    /// Computes the destination, all sizes checked, by products of `T`.
    pub(super) fn run<A: Element, T: Factor, D: Element>(
        &self,
        cx: &Context,
        call: &Call<A, D>,
        workspace: &mut [f32],
    ) {
        let (copy, workspace) = workspace.split_at_mut(self.cast_len);
        if copy.is_empty() {
            return self.gather::<A, T, D>(cx, call, workspace);
        }
        let (from, copy) = (self.src, bytemuck::cast_slice_mut::<f32, T>(copy));
        cast(cx, Pixels::new(call.src, from.ld), PixelsMut::new(copy, from.ld), from.pixels, from.channels);
        self.gather::<T, T, D>(cx, &call.with_source(copy), workspace);
    }

    /// As [`run`](Self::run), of a source that tiles can read.
    fn gather<A: Element, T: Factor, D: Element>(
        &self,
        cx: &Context,
        call: &Call<A, D>,
        workspace: &mut [f32],
    ) {
        let (to, fold, scratch_len) = (self.dst, self.fold, self.scratch_len());
        // Folded pixels are written together: they take the bias each, and the residual if it lies as they do.
        let mut bias = [0.0; MAX_LANES];
        let bias = call.bias.map(|values| {
            if fold == 1 {
                return values;
            }
            bias.chunks_exact_mut(to.channels).take(fold).for_each(|pixel| pixel.copy_from_slice(values));
            &bias[..fold * to.channels]
        });
        let (fused, apart) = match call.residual {
            Some(residual) if fold > 1 && residual.ld != to.ld => (None, Some(residual)),
            fused => (fused, None),
        };
        let bounds = call.bounds;
        let call = Call {
            bias,
            residual: fused.map(|residual| Pixels::new(residual.data, fold * residual.ld)),
            bounds: if apart.is_some() { Bounds::NONE } else { bounds },
            dst_ld: fold * to.ld,
            zeros: &self.zeros,
            ..*call
        };
        let scratch = SharedMut::new(workspace);
        let tasks = self.phases.iter().map(Gather::tasks).sum();
        cx.exec.run(tasks, &|task, worker| {
            let index = self.starts.partition_point(|[first, _]| *first <= task) - 1;
            let (phase, [first, packed]) = (&self.phases[index], self.starts[index]);
            // SAFETY: no two tasks run on a worker at the same time.
            let scratch = unsafe { scratch.range(worker * scratch_len, scratch_len) };
            let packed = &call.packed[packed..packed + phase.panels.len];
            phase.run_task::<A, T, D>(&Call { packed, ..call }, task - first, scratch);
        });
        if let Some(residual) = apart {
            add_residual(cx, residual, bounds, &call.dst, to);
        }
    }

    /// Algorithm and tile, in words.
    pub(super) fn describe(&self) -> String {
        let mut names: Vec<String> = self.phases.iter().map(Gather::describe).collect();
        names.dedup();
        let mut names = names.join(" / ");
        if self.fold > 1 {
            names += &format!(", {} pixels folded", self.fold);
        }
        if self.phases.len() > 1 { format!("{names}, {} phases", self.phases.len()) } else { names }
    }
}

/// Floats of a cache line.
const LINE: usize = 16;

/// dst = dst + residual, held within the bounds, where tiles could not do it.
fn add_residual<D: Element>(cx: &Context, residual: Pixels<D>, bounds: Bounds, dst: &SharedMut<D>, map: Map) {
    for_each_piece(cx.exec, map.pixels, 1024, |first, count, _| {
        for pixel in first..first + count {
            // SAFETY: a pixel of the destination, in this piece alone.
            let dst = unsafe { dst.range(pixel * map.ld, map.channels) };
            for (value, residual) in dst.iter_mut().zip(&residual.data[pixel * residual.ld..]) {
                let sum = value.to_f32() + residual.to_f32();
                // Keeps NaN, as tiles do.
                let sum = if sum < bounds.floor { bounds.floor } else { sum };
                *value = D::from_f32(if sum > bounds.ceiling { bounds.ceiling } else { sum });
            }
        }
    });
}
