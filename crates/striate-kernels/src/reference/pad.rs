//! Padding by definition, over logical (NCHW) arrays.

use crate::pad::{Margins, PadMode};

/// The coordinate of the source, along an axis of `size`, that position `at` (negative before it) shows.
fn origin(mode: PadMode, at: isize, size: isize) -> Option<isize> {
    match mode {
        PadMode::Constant(_) => (0..size).contains(&at).then_some(at),
        PadMode::Reflect => Some(if at < 0 {
            -at
        } else if at >= size {
            2 * (size - 1) - at
        } else {
            at
        }),
        PadMode::Replicate => Some(at.clamp(0, size - 1)),
        PadMode::Circular => Some(at.rem_euclid(size)),
    }
}

/// For each element of the padded map, in order, the index of the source (n, c, h, w) it shows.
fn origins([n, c, h, w]: [usize; 4], m: Margins, mode: PadMode) -> Vec<Option<usize>> {
    let mut origins = Vec::new();
    for i in 0..n {
        for channel in 0..m.channels_before + c + m.channels_after {
            for y in 0..m.top + h + m.bottom {
                for x in 0..m.left + w + m.right {
                    let y = origin(mode, y as isize - m.top as isize, h as isize);
                    let x = origin(mode, x as isize - m.left as isize, w as isize);
                    let channel = channel.checked_sub(m.channels_before).filter(|channel| *channel < c);
                    origins.push(match (channel, y, x) {
                        (Some(channel), Some(y), Some(x)) => {
                            Some(((i * c + channel) * h + y as usize) * w + x as usize)
                        }
                        _ => None,
                    });
                }
            }
        }
    }
    origins
}

/// The padded `src` (n, c, h, w).
pub fn forward(shape: [usize; 4], margins: Margins, mode: PadMode, src: &[f64]) -> Vec<f64> {
    let constant = if let PadMode::Constant(value) = mode { value as f64 } else { 0.0 };
    origins(shape, margins, mode).into_iter().map(|origin| origin.map_or(constant, |i| src[i])).collect()
}

/// The gradient of the source (n, c, h, w).
pub fn backward(shape: [usize; 4], margins: Margins, mode: PadMode, d_dst: &[f64]) -> Vec<f64> {
    let mut d_src = vec![0.0; shape.iter().product()];
    for (d, origin) in d_dst.iter().zip(origins(shape, margins, mode)) {
        if let Some(i) = origin {
            d_src[i] += d;
        }
    }
    d_src
}
