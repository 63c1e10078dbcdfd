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
    /// The line of the kernel that each tap is.
    pub(super) kernel: Vec<usize>,
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
            kernel: (0..kernel).collect(),
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
                kernel,
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
            kernel: vec![0],
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
        let inside = |line: usize, tap: isize| {
            (0..self.src_lines as isize).contains(&((line * self.stride) as isize + tap))
        };
        (0..self.lines).map(|line| self.taps.iter().filter(|tap| inside(line, **tap)).count()).sum()
    }
}

/// The kernel element (ky · kw + kx) of every tap of two axes, in reading order.
pub(super) fn kernel_elements(rows: &Axis, cols: &Axis, kw: usize) -> Vec<usize> {
    rows.kernel.iter().flat_map(|ky| cols.kernel.iter().map(move |kx| ky * kw + kx)).collect()
}
