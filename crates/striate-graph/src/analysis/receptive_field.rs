//! Receptive fields: the region of the input image that an element of a value depends on.

use crate::Graph;
use crate::ops::{Operation, Reach, Window};

/// The receptive field of a value, per axis (rows, columns), in pixels of the input image.
///
/// Element `i` along an axis sees the pixels `offset + i·stride` … `offset + i·stride + size − 1`; those outside
/// the image are padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// Pixels seen.
    pub size: [usize; 2],
    /// Distance between the fields of neighbouring elements.
    pub stride: [usize; 2],
    /// Where the field of element 0 begins; negative inside the padding.
    pub offset: [i64; 2],
}

impl ReceptiveField {
    const PIXEL: Self = Self { size: [1; 2], stride: [1; 2], offset: [0; 2] };

    /// The field behind a sliding window on a value with this field.
    fn through(self, windows: &[Window; 2]) -> Self {
        let mut field = self;
        for (axis, window) in windows.iter().enumerate() {
            let jump = self.stride[axis];
            field.size[axis] = self.size[axis].saturating_add((window.span() - 1).saturating_mul(jump));
            field.stride[axis] = jump.saturating_mul(window.stride);
            field.offset[axis] =
                self.offset[axis].saturating_sub_unsigned((window.pad[0] as u64).saturating_mul(jump as u64));
        }
        field
    }

    /// The smallest field that covers both; `None` where their grids differ.
    fn union(self, other: Self) -> Option<Self> {
        if self.stride != other.stride {
            return None;
        }
        let mut field = self;
        for axis in 0..2 {
            let end = |f: &Self| f.offset[axis].saturating_add_unsigned(f.size[axis] as u64);
            field.offset[axis] = self.offset[axis].min(other.offset[axis]);
            field.size[axis] = (end(&self).max(end(&other)) - field.offset[axis]) as usize;
        }
        Some(field)
    }
}

/// The field of each value, by index; `None` for parameters and for what follows no grid.
pub(super) fn receptive_fields(graph: &Graph) -> Vec<Option<ReceptiveField>> {
    let mut fields = vec![None; graph.value_count()];
    for (_, node) in graph.nodes() {
        let batched = node.inputs.iter().filter(|value| graph.ty(**value).batched);
        let mut seen: Option<ReceptiveField> = match node.inputs.is_empty() {
            true => node.outputs.first().filter(|v| graph.ty(**v).batched).map(|_| ReceptiveField::PIXEL),
            false => None,
        };
        let mut tracked = true;
        for (index, input) in batched.enumerate() {
            match (seen, fields[input.index()]) {
                (None, field) if index == 0 => seen = field,
                (Some(a), Some(b)) => seen = a.union(b),
                _ => seen = None,
            }
            tracked &= seen.is_some();
        }
        if !node.inputs.is_empty() {
            let src = graph.ty(node.inputs[0]);
            seen = seen.filter(|_| tracked).and_then(|field| match node.op.reach(src) {
                Reach::Point => Some(field),
                Reach::Window(windows) => Some(field.through(&windows)),
                Reach::Everything => Some(match src.chw() {
                    Some([_, height, width]) => field.through(&[height, width].map(whole)),
                    None => field,
                }),
                Reach::Irregular => None,
            });
        }
        for output in &node.outputs {
            fields[output.index()] = seen;
        }
    }
    fields
}

fn whole(size: usize) -> Window {
    Window { size, stride: 1, dilation: 1, pad: [0; 2], ceil: false }
}
