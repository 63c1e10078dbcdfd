//! Weights as the tile reads them: panels of a few vectors of written channels, one step of the reduction after
//! the other.

use super::depthwise;
use super::geometry::Conv2dGeometry;
use super::tile::Machine;
use crate::Context;
use crate::exec::SharedMut;
use std::ops::Range;

/// Channels packed together: so many read and as many written ones stay in the L1 cache in both layouts.
pub(super) const BLOCK: usize = 16;

/// How written channels depend on read ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// Every written channel takes all read channels of its group.
    Dense,
    /// Every written channel takes the channel of its own index.
    Depthwise,
}

impl Product {
    /// That of a convolution.
    pub(super) fn of(g: &Conv2dGeometry) -> Self {
        if g.groups > 1 && g.groups == g.ic && g.groups == g.oc { Self::Depthwise } else { Self::Dense }
    }

    /// Vectors of the widest panel.
    fn max_vectors(self, machine: Machine) -> usize {
        match self {
            Product::Dense => machine.max_vectors(),
            Product::Depthwise => depthwise::VECTORS,
        }
    }
}

/// A run of written channels that one tile computes, all of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// First channel read.
    pub(super) src_channel: usize,
    /// First channel written.
    pub(super) dst_channel: usize,
    /// Channels written.
    pub(super) channels: usize,
    /// Vectors that hold them.
    pub(super) vectors: usize,
    /// Where the panel's weights begin.
    pub(super) packed: usize,
}

impl Panel {
    /// Lanes of the last vector that hold a channel.
    pub(super) fn tail(&self, lanes: usize) -> usize {
        self.channels - (self.vectors - 1) * lanes
    }
}

/// How the elements of the weights (oc, ic / groups, kh, kw) are reached from a pass's point of view.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightStrides {
    /// From group to group.
    pub(super) group: usize,
    /// From one written channel to the next.
    pub(super) written: usize,
    /// From one read channel to the next.
    pub(super) read: usize,
}

impl WeightStrides {
    /// Those of a pass that reads source channels and writes destination channels.
    pub(super) fn forward(g: &Conv2dGeometry) -> Self {
        let kernel = g.kh * g.kw;
        let written = g.group_ic() * kernel;
        Self { group: g.group_oc() * written, written, read: kernel }
    }

    /// Those of a pass in the opposite direction.
    pub(super) fn transposed(self) -> Self {
        Self { written: self.read, read: self.written, ..self }
    }
}

/// The panels of a pass, in the order of their channels.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    pub(super) list: Vec<Panel>,
    /// How many pixels are written as one, each with all channels: the lanes are those of the first, then those of
    /// the second, and so on.
    fold: usize,
    /// `elements[tap · fold + j]`: the kernel element (ky · kw + kx) that a tap of the j-th pixel multiplies with.
    elements: Vec<Option<usize>>,
    strides: WeightStrides,
    /// Written channels, of all groups.
    dst: usize,
    /// Read channels of a group.
    pub(super) group_src: usize,
    /// Lanes of a group: written channels, of all folded pixels.
    group_dst: usize,
    lanes: usize,
    /// Floats of all panels.
    pub(super) len: usize,
}

impl Panels {
    /// Panels for `groups` groups of the channels read (`src`) and written (`dst`), as wide as the machine's tiles
    /// or nearly so: a group's vectors are spread evenly. To depthwise panels all channels are one group, of
    /// which each written channel reads one.
    pub(super) fn new(
        machine: Machine,
        product: Product,
        groups: usize,
        (src, dst): (usize, usize),
        (fold, elements): (usize, Vec<Option<usize>>),
        strides: WeightStrides,
    ) -> Self {
        let (groups, group_src, group_dst, strides) = match product {
            Product::Dense => (groups, src / groups, fold * dst / groups, strides),
            Product::Depthwise => (1, 1, dst, WeightStrides { group: 0, written: strides.group, read: 0 }),
        };
        let vectors = group_dst.div_ceil(machine.lanes);
        let count = vectors.div_ceil(product.max_vectors(machine));
        let mut list = Vec::with_capacity(groups * count);
        let mut packed = 0;
        for group in 0..groups {
            let mut first = 0;
            for index in 0..count {
                let vectors = (vectors + count - 1 - index) / count;
                let channels = (vectors * machine.lanes).min(group_dst - first);
                let dst_channel = group * group_dst + first;
                let src_channel = match product {
                    Product::Dense => group * group_src,
                    Product::Depthwise => dst_channel,
                };
                list.push(Panel { src_channel, dst_channel, channels, vectors, packed });
                packed += elements.len() / fold * group_src * vectors * machine.lanes;
                first += channels;
            }
        }
        Self { list, fold, elements, strides, dst, group_src, group_dst, lanes: machine.lanes, len: packed }
    }

    /// Vectors of the widest panel.
    pub(super) fn vectors(&self) -> usize {
        self.list.first().map_or(1, |panel| panel.vectors)
    }

    fn taps(&self) -> usize {
        self.elements.len() / self.fold
    }

    /// Steps of the reduction: taps × read channels.
    pub(super) fn steps(&self) -> usize {
        self.taps() * self.group_src
    }

    /// Where the weights of a panel's step `step` begin.
    pub(super) fn step(&self, panel: &Panel, step: usize) -> usize {
        panel.packed + step * panel.vectors * self.lanes
    }

    /// The first element of the weights (oc, ic / groups, kh, kw) in a panel, of kernel element 0.
    fn origin(&self, panel: &Panel) -> usize {
        let (group, channel) = (panel.dst_channel / self.group_dst, panel.dst_channel % self.group_dst);
        group * self.strides.group + channel * self.strides.written
    }

    /// Packs `weights`, those of each written channel times its `scale`.
    pub(super) fn pack(&self, cx: &Context, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.len, "packed weights");
        if let Some(scale) = scale {
            assert_eq!(scale.len(), self.dst, "one scale for each channel written");
        }
        let packed = SharedMut::new(packed);
        cx.exec.run(self.list.len(), &|index, _| {
            let panel = &self.list[index];
            let len = self.steps() * panel.vectors * self.lanes;
            // SAFETY: panels do not overlap, and each is one task's.
            let packed = unsafe { packed.range(panel.packed, len) };
            self.pack_panel(panel, weights, scale, packed);
        });
    }

    fn pack_panel(&self, panel: &Panel, weights: &[f32], scale: Option<&[f32]>, packed: &mut [f32]) {
        let width = panel.vectors * self.lanes;
        if panel.channels < width || self.fold > 1 {
            packed.fill(0.0);
        }
        let (origin, strides) = (self.origin(panel), self.strides);
        for block in self.blocks(panel) {
            for first in (0..self.group_src).step_by(BLOCK) {
                for (lane, written) in block.lanes() {
                    let scale = scale.map_or(1.0, |scale| scale[panel.dst_channel + written]);
                    for channel in first..self.group_src.min(first + BLOCK) {
                        let origin = origin + written * strides.written + channel * strides.read;
                        for tap in 0..self.taps() {
                            if let Some(element) = self.elements[tap * self.fold + block.pixel] {
                                packed[(tap * self.group_src + channel) * width + lane] =
                                    scale * weights[origin + element];
                            }
                        }
                    }
                }
            }
        }
    }

    /// The inverse of packing for some read channels of a panel, from `packed`, which begins with the first panel,
    /// to `weights`: an element that folded pixels share becomes the sum of its copies.
    ///
    /// # Safety
    /// No other task may touch those channels of the panel, neither in `packed` nor in `weights`.
    pub(super) unsafe fn unpack(
        &self,
        panel: &Panel,
        channels: Range<usize>,
        packed: &SharedMut<f32>,
        weights: &SharedMut<f32>,
    ) {
        let (origin, strides) = (self.origin(panel), self.strides);
        for block in self.blocks(panel) {
            for channel in channels.clone() {
                for tap in 0..self.taps() {
                    let Some(element) = self.elements[tap * self.fold + block.pixel] else { continue };
                    let row = self.step(panel, tap * self.group_src + channel);
                    // SAFETY: this task's own, by the caller's contract.
                    let row = unsafe { packed.range(row, panel.channels) };
                    for (lane, written) in block.lanes() {
                        let index = origin + written * strides.written + channel * strides.read + element;
                        // SAFETY: an element of the weights, this task's own by the caller's contract.
                        let weight = unsafe { &mut *weights.ptr_at(index) };
                        // The first pixel's taps are the whole kernel, so that none is read before it is written.
                        *weight = if block.pixel == 0 { row[lane] } else { *weight + row[lane] };
                    }
                }
            }
        }
    }

    /// A panel's lanes, by folded pixel and in blocks.
    fn blocks(&self, panel: &Panel) -> impl Iterator<Item = LaneBlock> {
        // Folded pixels lie in one panel, all their channels.
        let channels = panel.channels / self.fold;
        (0..self.fold).flat_map(move |pixel| {
            (0..channels).step_by(BLOCK).map(move |first| {
                let last = channels.min(first + BLOCK);
                LaneBlock { pixel, written: first..last, first_lane: pixel * channels }
            })
        })
    }
}

/// Some lanes of a panel, all of one folded pixel.
struct LaneBlock {
    pixel: usize,
    /// Channels, from the panel's first.
    written: Range<usize>,
    /// The lane of the pixel's first channel.
    first_lane: usize,
}

impl LaneBlock {
    /// (lane, written channel from the panel's first)
    fn lanes(&self) -> impl Iterator<Item = (usize, usize)> {
        let first = self.first_lane;
        self.written.clone().map(move |written| (first + written, written))
    }
}
