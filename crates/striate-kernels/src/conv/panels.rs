//! Weights as the tile reads them: panels of a few vectors of written channels, one step of the reduction after
//! the other. A step multiplies a word of the source: one float, or two neighbouring bfloat16 of a run, whose weights
//! are then a pair in the place of a float.

use super::depthwise;
use super::geometry::Conv2dGeometry;
use super::tile::Machine;
use crate::Context;
use crate::element::Bf16;
use crate::exec::{SharedMut, for_each_piece};
use crate::simd::{Kernel, Simd, dispatch};
use crate::view::extent;
use std::ops::Range;

/// Lanes packed together, and read channels unpacked together.
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
    /// Elements of a kernel, kh · kw, which lie side by side.
    pub(super) kernel: usize,
}

impl WeightStrides {
    /// Those of a pass that reads source channels and writes destination channels.
    pub(super) fn forward(g: &Conv2dGeometry) -> Self {
        let kernel = g.kh * g.kw;
        let written = g.group_ic() * kernel;
        Self { group: g.group_oc() * written, written, read: kernel, kernel }
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
    /// `taps[j · kernel + ky · kw + kx]`: the tap that multiplies with that element of the kernel for the j-th pixel.
    taps: Vec<Option<usize>>,
    tap_count: usize,
    pub(super) strides: WeightStrides,
    /// Written channels, of all groups.
    pub(super) dst: usize,
    /// Read channels of a group.
    pub(super) group_src: usize,
    /// Lanes of a group: written channels, of all folded pixels.
    group_dst: usize,
    machine: Machine,
    /// Source values that lie side by side: the read channels of a tap, or of merged taps.
    run: usize,
    /// How many of them a word holds; runs begin with a word of their own.
    pack: usize,
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
            Product::Depthwise => {
                (1, 1, dst, WeightStrides { group: 0, written: strides.group, read: 0, ..strides })
            }
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
        let tap_count = elements.len() / fold;
        let mut taps = vec![None; fold * strides.kernel];
        for (index, element) in elements.iter().enumerate() {
            if let Some(element) = element {
                taps[index % fold * strides.kernel + element] = Some(index / fold);
            }
        }
        let (run, pack) = (group_src, 1);
        Self {
            list,
            fold,
            taps,
            tap_count,
            strides,
            dst,
            group_src,
            group_dst,
            machine,
            run,
            pack,
            len: packed,
        }
    }

    /// The panels for words of `pack` values, of runs of `run`.
    pub(super) fn in_words(self, run: usize, pack: usize) -> Self {
        let mut panels = Self { run, pack, ..self };
        let steps = panels.steps();
        panels.len = 0;
        for panel in &mut panels.list {
            panel.packed = panels.len;
            panels.len += steps * panel.vectors * panels.machine.lanes;
        }
        panels
    }

    /// Vectors of the widest panel.
    pub(super) fn vectors(&self) -> usize {
        self.list.first().map_or(1, |panel| panel.vectors)
    }

    /// Steps of the reduction: words of all runs, which are together taps × read channels.
    pub(super) fn steps(&self) -> usize {
        (self.tap_count * self.group_src).checked_div(self.run).unwrap_or(0) * self.run.div_ceil(self.pack)
    }

    /// Where the weights of a panel's step `step` begin.
    pub(super) fn step(&self, panel: &Panel, step: usize) -> usize {
        panel.packed + step * panel.vectors * self.machine.lanes
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
        let (panels, channels, count) = (&self.list[..], self.group_src, self.list.len());
        if self.pack > 1 {
            // Words are shared by values of different tasks, and not all have a second one.
            cx.exec.run(count, &|index, _| {
                let (first, len) = (panels[index].packed, self.step(&panels[index], self.steps()));
                // SAFETY: each panel is one task's.
                unsafe { packed.range(first, len - first) }.fill(0.0);
            });
        }
        let pack = |panels, channels| {
            dispatch(self.machine.isa, Pack { plan: self, panels, channels, weights, scale, packed });
        };
        // Weights are read in the order in which they lie: panel by panel, or by read channel for all panels.
        if self.is_by_written() {
            cx.exec.run(count, &|index, _| pack(&panels[index..index + 1], 0..channels));
        } else {
            let groups = panels.chunk_by(|a, b| a.src_channel == b.src_channel || self.group_src == 1);
            for group in groups {
                for_each_piece(cx.exec, channels, BLOCK, |first, count, _| pack(group, first..first + count));
            }
        }
    }

    /// Whether all elements of a written channel lie side by side; else only those of each of its read channels.
    fn is_by_written(&self) -> bool {
        self.strides.read == self.strides.kernel
    }

    /// The inverse of packing for some read channels of a panel, from `packed`, which begins with the first panel,
    /// to `weights`: an element that folded pixels share becomes the sum of its copies. Read channels must lie
    /// side by side.
    ///
    /// # Safety
    /// No other task may touch those channels of the panel, neither in `packed` nor in `weights`.
    pub(super) unsafe fn unpack<S: Simd>(
        &self,
        s: S,
        panel: &Panel,
        channels: Range<usize>,
        packed: &SharedMut<f32>,
        weights: &SharedMut<f32>,
    ) {
        let strides = self.strides;
        for block in self.blocks(panel) {
            let lanes = block.written.len();
            let origin = self.origin(panel) + block.written.start * strides.written;
            for columns in pieces(channels.start * strides.kernel..channels.end * strides.kernel) {
                let mut buffer = [0.0; PIECE * BLOCK];
                for (row, step) in buffer.chunks_exact_mut(BLOCK).zip(self.steps_of(&block, columns.clone()))
                {
                    if let Some(step) = step {
                        // SAFETY: this task's own, by the caller's contract.
                        let sums = unsafe { packed.range(self.step(panel, step) + block.lane, lanes) };
                        row[..lanes].copy_from_slice(sums);
                    }
                }
                if block.pixel > 0 {
                    for lane in 0..lanes {
                        let first = origin + lane * strides.written + columns.start;
                        // SAFETY: this task's own, by the caller's contract.
                        let weights = unsafe { weights.range(first, columns.len()) };
                        for (weight, row) in weights.iter_mut().zip(buffer.chunks_exact(BLOCK)) {
                            *weight += row[lane];
                        }
                    }
                    continue;
                }
                // SAFETY: each lane's columns lie in the weights and are this task's own, by the caller's contract.
                unsafe {
                    let weights = weights.ptr_at(origin + columns.start);
                    transpose(s, [columns.len(), lanes], buffer.as_ptr(), BLOCK, weights, strides.written);
                }
            }
        }
    }

    /// The step of the reduction that each column (read channel · kernel + kernel element) belongs to.
    #[inline(always)]
    fn steps_of(&self, block: &LaneBlock, columns: Range<usize>) -> impl Iterator<Item = Option<usize>> {
        let kernel = self.strides.kernel;
        let taps = &self.taps[block.pixel * kernel..][..kernel];
        let (mut channel, mut element) = (columns.start / kernel, columns.start % kernel);
        columns.map(move |_| {
            let step = taps[element].map(|tap| tap * self.group_src + channel);
            element += 1;
            if element == kernel {
                (channel, element) = (channel + 1, 0);
            }
            step
        })
    }

    /// A panel's lanes, by folded pixel and in blocks.
    fn blocks(&self, panel: &Panel) -> impl Iterator<Item = LaneBlock> {
        // Folded pixels lie in one panel, all their channels.
        let channels = panel.channels / self.fold;
        (0..self.fold).flat_map(move |pixel| {
            (0..channels).step_by(BLOCK).map(move |first| LaneBlock {
                pixel,
                written: first..channels.min(first + BLOCK),
                lane: pixel * channels + first,
            })
        })
    }
}

/// Some lanes of a panel, all of one folded pixel.
struct LaneBlock {
    pixel: usize,
    /// Channels, from the panel's first.
    written: Range<usize>,
    /// The lane of the first of them.
    lane: usize,
}

/// Columns transposed together.
const PIECE: usize = 128;

/// `range` in pieces of at most [`PIECE`].
fn pieces(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(PIECE).map(move |first| first..range.end.min(first + PIECE))
}

/// Packs some read channels of some panels of a group.
struct Pack<'a> {
    plan: &'a Panels,
    panels: &'a [Panel],
    channels: Range<usize>,
    weights: &'a [f32],
    scale: Option<&'a [f32]>,
    packed: SharedMut<'a, f32>,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (plan, channels) = (self.plan, self.channels.clone());
        let partial = |panel: &&Panel| plan.fold > 1 || panel.tail(S::LANES) < S::LANES;
        for panel in self.panels.iter().filter(|panel| plan.pack == 1 && partial(panel)) {
            for tap in 0..plan.tap_count {
                let first = plan.step(panel, tap * plan.group_src + channels.start);
                // SAFETY: these read channels of the panel are this task's own.
                unsafe { self.packed.range(first, channels.len() * panel.vectors * S::LANES) }.fill(0.0);
            }
        }
        let mut buffer = [0.0; PIECE * BLOCK];
        let together = if plan.is_by_written() { channels.len() } else { 1 };
        for panel in self.panels {
            for first in channels.clone().step_by(together) {
                for block in plan.blocks(panel) {
                    let kernel = plan.strides.kernel;
                    for columns in pieces(first * kernel..(first + together) * kernel) {
                        self.columns(s, panel, &block, columns, &mut buffer);
                    }
                }
            }
        }
    }
}

impl Pack<'_> {
    /// Packs some columns (read channel · kernel + kernel element) that lie side by side.
    #[inline(always)]
    fn columns<S: Simd>(
        &self,
        s: S,
        panel: &Panel,
        block: &LaneBlock,
        columns: Range<usize>,
        buffer: &mut [f32; PIECE * BLOCK],
    ) {
        let (plan, lanes, strides) = (self.plan, block.written.len(), self.plan.strides);
        let (channel, element) = (columns.start / strides.kernel, columns.start % strides.kernel);
        let first =
            plan.origin(panel) + block.written.start * strides.written + channel * strides.read + element;
        let weights = &self.weights[first..][..extent(lanes, columns.len(), strides.written)];
        if strides.written == 1 && columns.len() == 1 {
            buffer[..lanes].copy_from_slice(weights);
        } else {
            let size = [lanes, columns.len()];
            // SAFETY: the weights as sliced; the buffer has a row for each column, long enough for the lanes.
            unsafe { transpose(s, size, weights.as_ptr(), strides.written, buffer.as_mut_ptr(), BLOCK) };
        }
        for (row, step) in buffer.chunks_exact(BLOCK).zip(plan.steps_of(block, columns)) {
            let Some(step) = step else { continue };
            if plan.pack > 1 {
                let scale = self.scale.map(|scale| &scale[panel.dst_channel + block.written.start..]);
                self.halves(panel, block, step, &row[..lanes], scale);
                continue;
            }
            // SAFETY: a row of these read channels of the panel, this task's own.
            let packed = unsafe { self.packed.range(plan.step(panel, step) + block.lane, lanes) };
            match self.scale {
                // Of a known length, whole blocks are copied without a call.
                None if lanes == BLOCK => packed.copy_from_slice(&row[..BLOCK]),
                None => packed.copy_from_slice(&row[..lanes]),
                Some(scale) => {
                    let scale = &scale[panel.dst_channel + block.written.start..];
                    for ((packed, value), scale) in packed.iter_mut().zip(row).zip(scale) {
                        *packed = value * scale;
                    }
                }
            }
        }
    }
}

impl Pack<'_> {
    /// Packs the weights of value `index` of the reduction for some lanes, rounded: halves of words.
    #[inline(always)]
    fn halves(&self, panel: &Panel, block: &LaneBlock, index: usize, row: &[f32], scale: Option<&[f32]>) {
        let Panels { run, pack, .. } = *self.plan;
        let step = index / run * run.div_ceil(pack) + index % run / pack;
        let first = self.plan.step(panel, step) + block.lane;
        for (lane, value) in row.iter().enumerate() {
            let value = scale.map_or(*value, |scale| value * scale[lane]);
            // SAFETY: the words lie in the panel, and this half of each belongs to one read channel, this task's own.
            unsafe {
                let word = self.packed.ptr_at(first + lane).cast::<Bf16>();
                *word.add(index % run % pack) = Bf16::from_f32(value);
            }
        }
    }
}

/// `dst[j · dst_ld + i]` = `src[i · src_ld + j]` for i < rows, j < columns.
///
/// # Safety
/// Both must be valid for all of these elements.
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd>(
    s: S,
    [rows, columns]: [usize; 2],
    src: *const f32,
    src_ld: usize,
    dst: *mut f32,
    dst_ld: usize,
) {
    for i in (0..rows).step_by(8) {
        for j in (0..columns).step_by(8) {
            // SAFETY: i < rows and j < columns throughout.
            unsafe {
                let (src, dst) = (src.add(i * src_ld + j), dst.add(j * dst_ld + i));
                if i + 8 <= rows && j + 8 <= columns {
                    s.transpose8(src, src_ld, dst, dst_ld);
                    continue;
                }
                for j in 0..8.min(columns - j) {
                    for i in 0..8.min(rows - i) {
                        *dst.add(j * dst_ld + i) = *src.add(i * src_ld + j);
                    }
                }
            }
        }
    }
}
