//! A window sliding along one axis: what convolution and pooling have in common.

use crate::error::{MAX_SIDE, Problem};

/// Zeros (or other values) around a map, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// None.
    pub const NONE: Padding = Padding { top: 0, bottom: 0, left: 0, right: 0 };

    /// The same on all four sides.
    pub const fn all(pad: usize) -> Self {
        Self { top: pad, bottom: pad, left: pad, right: pad }
    }

    /// The padding of an axis (0 = rows, 1 = columns): before and after.
    pub fn axis(&self, axis: usize) -> [usize; 2] {
        if axis == 0 { [self.top, self.bottom] } else { [self.left, self.right] }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// The names of the axes in messages.
pub const AXES: [&str; 2] = ["row", "column"];

/// A window of `size` taps, `dilation` apart, moving by `stride` over an axis padded before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub size: usize,
    /// Step between neighbouring outputs.
    pub stride: usize,
    /// Distance between taps; 1 = dense.
    pub dilation: usize,
    /// Padding before and after.
    pub pad: [usize; 2],
    /// Round the number of outputs up instead of down (the last window may hang over the edge, but must start
    /// inside the input or the padding before it).
    pub ceil: bool,
}

impl Window {
    /// Inputs from the first tap to the last.
    pub fn span(&self) -> usize {
        (self.size.saturating_sub(1)).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Number of outputs: ⌊(in + pads − dilation·(size−1) − 1)/stride⌋ + 1 (⌈⌉ with `ceil`); `None` where the
    /// window does not fit.
    pub fn output(&self, input: usize) -> Option<usize> {
        let padded = input.checked_add(self.pad[0])?.checked_add(self.pad[1])?;
        let room = padded.checked_sub(self.span())?;
        if !self.ceil {
            return Some(room / self.stride + 1);
        }
        let outputs = room.div_ceil(self.stride) + 1;
        let last_start = (outputs - 1) * self.stride;
        Some(if last_start >= input + self.pad[0] { outputs - 1 } else { outputs })
    }

    /// How many of the `input` positions no output reads.
    pub fn unread(&self, input: usize) -> usize {
        let Some(outputs) = self.output(input) else { return input };
        let reach = (outputs - 1) * self.stride + self.span();
        if self.dilation == 1 && self.stride <= self.size {
            return input.saturating_sub(reach.saturating_sub(self.pad[0]));
        }
        // Tap t reads the positions t·dilation − pad + o·stride: runs of steps of one stride, which begin and end here.
        let (input, stride, pad) = (input as i64, self.stride as i64, self.pad[0] as i64);
        let mut begins = vec![0i32; input as usize];
        for first in (0..self.size as i64).map(|tap| tap * self.dilation as i64 - pad) {
            let behind = first + outputs as i64 * stride;
            let start = if first < 0 { first.rem_euclid(stride) } else { first };
            if start < behind.min(input) {
                begins[start as usize] += 1;
                if (0..input).contains(&behind) {
                    begins[behind as usize] -= 1;
                }
            }
        }
        let mut unread = 0;
        for position in 0..input as usize {
            if position >= self.stride {
                begins[position] += begins[position - self.stride];
            }
            unread += usize::from(begins[position] == 0);
        }
        unread
    }

    /// The number of outputs along `axis`, or the problem.
    pub(crate) fn check(&self, axis: usize, input: usize, problems: &mut Vec<Problem>) -> Option<usize> {
        let before = problems.len();
        for (what, value) in [("kernel", self.size), ("stride", self.stride), ("dilation", self.dilation)] {
            super::expect::positive(what, value, problems);
        }
        if [self.size, self.stride, self.dilation, self.pad[0], self.pad[1]].iter().any(|n| *n > MAX_SIDE) {
            problems.push(Problem::TooLarge);
        }
        if problems.len() > before {
            return None;
        }
        let output = self.output(input).filter(|outputs| *outputs > 0);
        if output.is_none() {
            problems.push(Problem::WindowTooLarge {
                axis: AXES[axis],
                window: self.span(),
                input,
                padding: self.pad[0].saturating_add(self.pad[1]),
            });
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Window = Window { size: 3, stride: 1, dilation: 1, pad: [0, 0], ceil: false };

    #[test]
    fn output_sizes_of_the_lecture() {
        for (input, size, stride, pad, dilation, output) in [
            (32, 5, 1, 0, 1, 28),
            (227, 11, 4, 0, 1, 55),
            (55, 3, 2, 0, 1, 27),
            (7, 3, 2, 1, 1, 4),
            (224, 7, 2, 3, 1, 112),
            (7, 3, 1, 0, 2, 3),
        ] {
            let window = Window { size, stride, dilation, pad: [pad; 2], ceil: false };
            assert_eq!(window.output(input), Some(output));
        }
        assert_eq!(Window { size: 9, ..PLAIN }.output(8), None);
    }

    #[test]
    fn ceil_mode_drops_windows_that_start_in_the_padding_behind() {
        let pool = Window { size: 3, stride: 2, ceil: true, ..PLAIN };
        assert_eq!(pool.output(112), Some(56));
        assert_eq!(Window { size: 2, stride: 2, pad: [1, 1], ..pool }.output(3), Some(2));
    }

    #[test]
    fn unread_positions() {
        assert_eq!(Window { size: 3, stride: 2, ..PLAIN }.unread(8), 1);
        assert_eq!(Window { size: 1, stride: 2, ..PLAIN }.unread(8), 4);
        assert_eq!(Window { size: 3, stride: 1, dilation: 2, ..PLAIN }.unread(7), 0);
        assert_eq!(Window { size: 11, stride: 4, ..PLAIN }.unread(227), 0);
        assert_eq!(Window { size: 7, stride: 2, pad: [3, 3], ..PLAIN }.unread(224), 0);
    }

    #[test]
    fn unread_positions_are_those_that_no_tap_touches() {
        for (input, size, stride, dilation, before, after) in (1..12).flat_map(|input| {
            (0..400).map(move |n| (input, 1 + n % 4, 1 + n / 4 % 5, 1 + n / 20 % 3, n % 5, n % 3))
        }) {
            let window = Window { size, stride, dilation, pad: [before, after], ceil: input % 2 == 0 };
            let Some(outputs) = window.output(input) else { continue };
            let touched = |position: usize| {
                (0..outputs).any(|o| (0..size).any(|tap| o * stride + tap * dilation == position + before))
            };
            let expected = (0..input).filter(|position| !touched(*position)).count();
            assert_eq!(window.unread(input), expected, "{window:?} on {input}");
        }
    }
}
