//! Forward and backward-data: one gather, or one for each phase of the stride.

use super::Epilogue;
use super::axis::{Axis, kernel_elements};
use super::gather::{Call, Gather};
use super::geometry::{Conv2dGeometry, GeometryError};
use super::panels::{Panels, Product, WeightStrides};
use super::tile::{MAX_LANES, Machine};
use crate::exec::{SharedMut, for_each_piece};
use crate::{Context, Isa, Pixels, view::extent};

/// One side of a pass: a map of pixels.
#[derive(Clone, Copy, Debug)]
struct Map {
    pixels: usize,
    channels: usize,
    ld: usize,
}

/// Gathers that together write every destination pixel once.
#[derive(Clone, Debug)]
struct Pass {
    phases: Vec<Gather>,
    src: Map,
    dst: Map,
    weights_len: usize,
    zeros: Vec<f32>,
    /// Neighbouring destination pixels that are written as one.
    fold: usize,
}

impl Pass {
    /// Every pair of `rows` and `cols` is a phase.
    fn new(
        isa: Isa,
        g: &Conv2dGeometry,
        (src, dst): (Map, Map),
        (rows, mut cols): (Vec<Axis>, Vec<Axis>),
        strides: WeightStrides,
    ) -> Self {
        let machine = Machine::up_to(isa);
        let product = Product::of(g);
        if g.groups == 1 && dst.ld == dst.channels && dst.channels < machine.lanes {
            cols = cols.into_iter().map(|axis| axis.folded(machine.lanes, dst.channels)).collect();
        }
        let mut phases = Vec::with_capacity(rows.len() * cols.len());
        for rows in &rows {
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
        Self { phases, src, dst, weights_len: g.weights_len(), zeros, fold }
    }

    fn packed_len(&self) -> usize {
        self.phases.iter().map(|phase| phase.panels.len).sum()
    }

    fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(weights.len(), self.weights_len, "weights");
        assert_eq!(packed.len(), self.packed_len(), "packed weights");
        let mut rest = packed;
        for phase in &self.phases {
            let (packed, after) = rest.split_at_mut(phase.panels.len);
            phase.panels.pack(cx, weights, scale, packed);
            rest = after;
        }
    }

    fn scratch_len(&self) -> usize {
        // Whole cache lines, so that workers do not share one.
        self.phases.iter().map(Gather::scratch_len).max().unwrap_or(0).next_multiple_of(16)
    }

    fn run(
        &self,
        cx: &Context,
        src: &[f32],
        packed: &[f32],
        epilogue: &Epilogue,
        dst: &mut [f32],
        workspace: &mut [f32],
    ) {
        let (from, to) = (self.src, self.dst);
        let scratch_len = self.scratch_len();
        assert!(src.len() >= extent(from.pixels, from.channels, from.ld), "source");
        assert!(dst.len() >= extent(to.pixels, to.channels, to.ld), "destination");
        assert!(workspace.len() >= scratch_len * cx.exec.workers(), "workspace");
        assert_eq!(packed.len(), self.packed_len(), "packed weights");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), to.channels, "bias");
        }
        if let Some(residual) = epilogue.residual {
            assert!(residual.ld >= to.channels, "residual pixel distance");
            assert!(residual.data.len() >= extent(to.pixels, to.channels, residual.ld), "residual");
        }
        let fold = self.fold;
        // Folded pixels are written together: they take the bias each, and the residual if it lies as they do.
        let mut bias = [0.0; MAX_LANES];
        let bias = epilogue.bias.map(|values| {
            if fold == 1 {
                return values;
            }
            bias.chunks_exact_mut(to.channels).take(fold).for_each(|pixel| pixel.copy_from_slice(values));
            &bias[..fold * to.channels]
        });
        let (fused, apart) = match epilogue.residual {
            Some(residual) if fold > 1 && residual.ld != to.ld => (None, Some(residual)),
            fused => (fused, None),
        };
        let floor = epilogue.activation.floor();
        let call = Call {
            src,
            packed,
            bias,
            residual: fused.map(|residual| Pixels::new(residual.data, fold * residual.ld)),
            floor: if apart.is_some() { f32::NEG_INFINITY } else { floor },
            dst: SharedMut::new(dst),
            dst_ld: fold * to.ld,
            zeros: &self.zeros,
        };
        let scratch = SharedMut::new(workspace);
        let tasks = self.phases.iter().map(Gather::tasks).sum();
        cx.exec.run(tasks, &|task, worker| {
            let (mut task, mut packed) = (task, 0);
            for phase in &self.phases {
                if task < phase.tasks() {
                    // SAFETY: no two tasks run on a worker at the same time.
                    let scratch = unsafe { scratch.range(worker * scratch_len, scratch_len) };
                    let packed = &call.packed[packed..packed + phase.panels.len];
                    return phase.run_task(&Call { packed, ..call }, task, scratch);
                }
                task -= phase.tasks();
                packed += phase.panels.len;
            }
        });
        if let Some(residual) = apart {
            add_residual(cx, residual, floor, &call.dst, to);
        }
    }

    fn describe(&self) -> String {
        let mut names: Vec<String> = self.phases.iter().map(Gather::describe).collect();
        names.dedup();
        let mut names = names.join(" / ");
        if self.fold > 1 {
            names += &format!(", {} pixels folded", self.fold);
        }
        if self.phases.len() > 1 { format!("{names}, {} phases", self.phases.len()) } else { names }
    }
}

/// dst = max(dst + residual, floor), where tiles could not do it.
fn add_residual(cx: &Context, residual: Pixels, floor: f32, dst: &SharedMut<f32>, map: Map) {
    for_each_piece(cx.exec, map.pixels, 1024, |first, count, _| {
        for pixel in first..first + count {
            // SAFETY: a pixel of the destination, in this piece alone.
            let dst = unsafe { dst.range(pixel * map.ld, map.channels) };
            for (value, residual) in dst.iter_mut().zip(&residual.data[pixel * residual.ld..]) {
                let sum = *value + residual;
                // Keeps NaN, as tiles do.
                *value = if sum < floor { floor } else { sum };
            }
        }
    });
}

/// The pass's public face, once for each.
macro_rules! pass {
    ($(#[$doc:meta])* $name:ident: $src:literal -> $dst:literal, $new:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Pass);

        impl $name {
            /// Plans the pass for source pixels `src_ld` and destination pixels `dst_ld` elements apart, on the
            /// strongest instruction set present that does not exceed `isa`. All that is ever allocated is
            /// allocated here.
            pub fn new(
                isa: Isa,
                g: &Conv2dGeometry,
                src_ld: usize,
                dst_ld: usize,
            ) -> Result<Self, GeometryError> {
                g.validate_views(src_ld, dst_ld)?;
                let src = Map { pixels: g.n * g.ih * g.iw, channels: g.ic, ld: src_ld };
                let dst = Map { pixels: g.n * g.oh() * g.ow(), channels: g.oc, ld: dst_ld };
                let new: fn(Isa, &Conv2dGeometry, Map, Map) -> Pass = $new;
                Ok(Self(new(isa, g, src, dst)))
            }

            /// Length of the packed weights, in floats.
            pub fn packed_len(&self) -> usize {
                self.0.packed_len()
            }

            /// Packs `weights`, (oc, ic / groups, kh, kw), for [`run`](Self::run). With `scale`, one number for
            /// each channel that the pass writes, those of a channel are multiplied with it: so a batch
            /// normalisation is folded in.
            ///
            /// # Panics
            /// Where a length differs from the geometry's.
            pub fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
                self.0.pack(cx, weights, scale, packed);
            }

            /// Length of the workspace, in floats. What it holds before and after a run means nothing.
            pub fn workspace_len(&self, workers: usize) -> usize {
                self.0.scratch_len() * workers
            }

            #[doc = concat!("Computes `", $dst, "` from `", $src, "`.")]
            #[doc = ""]
            #[doc = "Both are views that begin with pixel 0's first channel; every channel of every written pixel"]
            #[doc = "is overwritten, what lies between pixels is left alone."]
            #[doc = ""]
            #[doc = "# Panics"]
            #[doc = "Where a slice is too short for the geometry."]
            pub fn run(
                &self,
                cx: &Context,
                src: &[f32],
                packed: &[f32],
                epilogue: &Epilogue,
                dst: &mut [f32],
                workspace: &mut [f32],
            ) {
                self.0.run(cx, src, packed, epilogue, dst, workspace);
            }

            /// Algorithm and tile (pixels × channels), in words.
            pub fn describe(&self) -> String {
                self.0.describe()
            }
        }
    };
}

pass! {
    /// The forward pass of a convolution: (n, ic, ih, iw) to (n, oc, oh, ow).
    Forward: "src" -> "dst",
    |isa, g, src, dst| {
        let (rows, cols) = Axis::forward_pair(g);
        Pass::new(isa, g, (src, dst), (vec![rows], vec![cols]), WeightStrides::forward(g))
    }
}

pass! {
    /// The gradient of a convolution's source from that of its destination, (n, oc, oh, ow) to (n, ic, ih, iw);
    /// as a forward pass of its own, the transposed convolution.
    ///
    /// Source lines that are congruent modulo the stride see the same taps: each such phase is a convolution of
    /// stride 1. `src_ld` and `dst_ld` are those of the convolution's source and destination, though the pass
    /// reads the latter and writes the former.
    BackwardData: "d_dst" -> "d_src",
    |isa, g, src, dst| {
        let axes = (
            Axis::backward_phases((g.ih, g.oh()), g.kh, g.sh, g.dh, g.pt),
            Axis::backward_phases((g.iw, g.ow()), g.kw, g.sw, g.dw, g.pl),
        );
        Pass::new(isa, g, (dst, src), axes, WeightStrides::forward(g).transposed())
    }
}
