//! One dimension of a convolution at a time: lines, strides and taps.

use super::geometry::Conv2dGeometry;

/// One axis of a pass: which lines of its source each computed line sees.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Lines computed.
    pub(super) lines: usize,
    /// Source lines from one computed line to the next.
    pub(super) stride: usize,
    /// Source line of each tap for line 0, ascending.
    pub(super) taps: Vec<isize>,
    /// How many destination lines are computed as one, with the channels of all.
    pub(super) fold: usize,
    /// `kernel[tap · fold + j]`: the line of the kernel that a tap is to the j-th of the folded lines, if any.
    pub(super) kernel: Vec<Option<usize>>,
    /// Lines of the source; those outside hold zeros.
    pub(super) src_lines: usize,
    /// Line 0's place in the destination.
    pub(super) dst_first: usize,
    /// From one computed line's place to the next one's.
    pub(super) dst_step: usize,
    /// Lines of the destination.
    pub(super) dst_lines: usize,
}

impl Axis {
    /// The axis of a forward pass.
    pub(super) fn forward(
        (src_lines, dst_lines): (usize, usize),
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: usize,
    ) -> Self {
        Self {
            lines: dst_lines,
            stride,
            taps: (0..kernel).map(|k| (k * dilation) as isize - padding as isize).collect(),
            fold: 1,
            kernel: (0..kernel).map(Some).collect(),
            src_lines,
            dst_first: 0,
            dst_step: 1,
            dst_lines,
        }
    }

    /// Those of the forward pass of `g`, rows and columns.
    pub(super) fn forward_pair(g: &Conv2dGeometry) -> (Self, Self) {
        (
            Self::forward((g.ih, g.oh()), g.kh, g.sh, g.dh, g.pt),
            Self::forward((g.iw, g.ow()), g.kw, g.sw, g.dw, g.pl),
        )
    }

    /// The phases of the axis of the backward-data pass, whose computed lines are those of the forward source.
    ///
    /// Lines congruent modulo the stride see the same taps: line first + stride · i met tap k in the forward
    /// destination's line i + (first + padding − k · dilation) / stride, where that is whole.
    pub(super) fn backward_phases(
        (src_lines, dst_lines): (usize, usize),
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: usize,
    ) -> Vec<Self> {
        let phase = |first: usize| {
            let distance = |k: &usize| (first + padding) as isize - (k * dilation) as isize;
            let kernel: Vec<usize> =
                (0..kernel).rev().filter(|k| distance(k) % stride as isize == 0).collect();
            Self {
                lines: (src_lines - first).div_ceil(stride),
                stride: 1,
                taps: kernel.iter().map(|k| distance(k) / stride as isize).collect(),
                fold: 1,
                kernel: kernel.into_iter().map(Some).collect(),
                src_lines: dst_lines,
                dst_first: first,
                dst_step: stride,
                dst_lines: src_lines,
            }
        };
        (0..stride.min(src_lines)).map(phase).collect()
    }

    /// The one line of a problem without extent.
    pub(super) fn point() -> Self {
        Self {
            lines: 1,
            stride: 1,
            taps: vec![0],
            fold: 1,
            kernel: vec![Some(0)],
            src_lines: 1,
            dst_first: 0,
            dst_step: 1,
            dst_lines: 1,
        }
    }

    /// Whether each line is computed from the same line of the source alone.
    pub(super) fn is_identity(&self) -> bool {
        self.taps == [0]
            && (self.stride, self.dst_first, self.dst_step) == (1, 0, 1)
            && self.lines == self.src_lines
            && self.lines == self.dst_lines
    }

    /// The axis with neighbouring destination lines folded into one, where a pixel of `channels` would fill only
    /// part of a vector of `lanes`: as many as save most multiply-adds.
    ///
    /// The folded lines must lie side by side in memory. They share the taps that neighbours share, which takes
    /// neighbouring taps and a stride that does not exceed them.
    pub(super) fn folded(self, lanes: usize, channels: usize) -> Self {
        /// The least that folding must save to be worth its irregularity.
        const LEAST_GAIN: f64 = 1.25;
        let taps = self.taps.len();
        let contiguous = self.dst_step == 1 && self.lines == self.dst_lines;
        if !contiguous || !self.is_run() || self.stride > taps {
            return self;
        }
        let taps_of = |fold: usize| taps + (fold - 1) * self.stride;
        let gain = |fold: usize| (fold * taps) as f64 / taps_of(fold) as f64;
        let fold = (1..=lanes / channels).rev().find(|fold| self.lines.is_multiple_of(*fold)).unwrap_or(1);
        if gain(fold) < LEAST_GAIN {
            return self;
        }
        let kernel = |tap: usize, j: usize| {
            tap.checked_sub(j * self.stride).and_then(|tap| self.kernel.get(tap)).copied().flatten()
        };
        Self {
            lines: self.lines / fold,
            stride: self.stride * fold,
            taps: (0..taps_of(fold) as isize).map(|tap| self.taps[0] + tap).collect(),
            fold,
            kernel: (0..taps_of(fold)).flat_map(|tap| (0..fold).map(move |j| kernel(tap, j))).collect(),
            dst_lines: self.dst_lines / fold,
            ..self
        }
    }

    /// First source line any tap reads, and how many from there to the last for `lines` computed lines.
    pub(super) fn span(&self, lines: usize) -> (isize, usize) {
        let (first, last) = (self.taps.first().map_or(0, |t| *t), self.taps.last().map_or(0, |t| *t));
        (first, (lines - 1) * self.stride + (last - first) as usize + 1)
    }

    /// Whether the taps are neighbours and their source lines merge into a run.
    pub(super) fn is_run(&self) -> bool {
        self.taps.len() > 1 && self.taps.windows(2).all(|pair| pair[1] == pair[0] + 1)
    }

    /// Whether no tap leaves the source.
    pub(super) fn is_inside(&self) -> bool {
        let (first, count) = self.span(self.lines);
        first >= 0 && first as usize + count <= self.src_lines
    }

    /// How many (line, tap) pairs lie in the source.
    pub(super) fn live(&self) -> usize {
        // Lines before the one whose tap first reaches source line `line`.
        let before = |tap: isize, line: usize| {
            let distance = (line as isize - tap).max(0) as usize;
            distance.div_ceil(self.stride).min(self.lines)
        };
        self.taps.iter().map(|tap| before(*tap, self.src_lines) - before(*tap, 0)).sum()
    }
}

/// The kernel element (ky · kw + kx) of every tap of two axes, in reading order, for each of the folded columns.
pub(super) fn kernel_elements(rows: &Axis, cols: &Axis, kw: usize) -> Vec<Option<usize>> {
    let element = |ky: &Option<usize>, kx: &Option<usize>| Some((*ky)? * kw + (*kx)?);
    rows.kernel.iter().flat_map(|ky| cols.kernel.iter().map(move |kx| element(ky, kx))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_pairs_are_those_inside_the_source() {
        for (src_lines, kernel, stride, dilation, padding) in [
            (7, 3, 1, 1, 1),
            (7, 3, 2, 1, 1),
            (5, 5, 3, 2, 4),
            (1, 5, 1, 1, 2),
            (9, 4, 2, 3, 7),
            (2, 1, 1, 1, 3),
        ] {
            let dst_lines = (src_lines + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
            let forward = Axis::forward((src_lines, dst_lines), kernel, stride, dilation, padding);
            let backward = Axis::backward_phases((src_lines, dst_lines), kernel, stride, dilation, padding);
            let inside = |axis: &Axis| {
                let lines = (0..axis.lines).flat_map(|line| axis.taps.iter().map(move |tap| (line, *tap)));
                let lines = lines.map(|(line, tap)| (line * axis.stride) as isize + tap);
                lines.filter(|line| (0..axis.src_lines as isize).contains(line)).count()
            };
            assert_eq!(forward.live(), inside(&forward));
            // Every pair of the forward pass is met once backward.
            assert_eq!(backward.iter().map(inside).sum::<usize>(), inside(&forward));
            assert_eq!(backward.iter().map(Axis::live).sum::<usize>(), inside(&forward));
        }
    }
}
