//! What works on values of any rank, axis by axis: the batch is axis 0 of each, its dimensions follow.

use super::{Frame, Lowered, Site};
use crate::functions;
use crate::place::{Place, Storage};
use striate_graph::ops::reduce::aligned_dims;
use striate_graph::ops::{
    self, Binary, BinaryKind, DepthToSpace, Expand, Flip, Fold, MatMul, PadAxis, Permute, Reduce, Resize,
    Slice, SpaceToDepth, Standardize, Tile,
};
use striate_graph::{Type, Value};
use striate_kernels::axes::{Array, ArrayMut, Axes};
use striate_kernels::elementwise;
use striate_kernels::fold::{self, fold};
use striate_kernels::rearrange::{self, copy};
use striate_kernels::softmax::{self, Space};
use striate_kernels::{Pixels, PixelsMut, matmul};

/// Where the elements of a value lie, along the batch and the dimensions: channels last of maps, else in row-major order.
fn axes(place: Place, dims: &[usize]) -> Axes {
    let [n, h, w, _] = place.shape;
    if let [c, ..] = *dims
        && dims.len() == 3
    {
        return Axes::new(&[n, c, h, w], &[h * w * place.ld, 1, w * place.ld, place.ld]);
    }
    let mut extents = vec![n];
    extents.extend(dims);
    let mut strides = vec![place.ld; extents.len()];
    let mut inside = 1;
    for axis in (1..extents.len()).rev() {
        strides[axis] = inside;
        inside *= extents[axis];
    }
    Axes::new(&extents, &strides)
}

/// The same with dimensions of 1 behind the batch, up to `rank` dimensions.
fn padded(mut axes: Axes, rank: usize) -> Axes {
    while axes.extents().len() <= rank {
        axes = axes.repeated(1, 1);
    }
    axes
}

impl Site<'_> {
    /// The axes of a value that consists of floats.
    fn floats(&self, value: Value) -> Result<Axes, String> {
        let (place, ty) = ((self.place)(value), self.ty(value));
        match place.storage {
            Storage::F32 => Ok(axes(place, &ty.dims)),
            _ => Err(format!("{ty} holds {:?}, but it works on floats alone", ty.dtype)),
        }
    }

    fn input_axes(&self, index: usize) -> Result<Axes, String> {
        self.floats(self.node.inputs[index])
    }

    fn output_axes(&self, index: usize) -> Result<Axes, String> {
        self.floats(self.node.outputs[index])
    }

    /// The axes of an input, seen with as many dimensions as the result has.
    fn operand(&self, index: usize) -> Result<Axes, String> {
        let rank = self.ty(self.node.outputs[0]).dims.len();
        Ok(padded(self.input_axes(index)?, rank))
    }
}

impl<'a> Frame<'a> {
    fn array(&self, index: usize, axes: Axes) -> Array<'a> {
        Array::new(self.src_slice(index), axes)
    }

    fn array_mut(&self, index: usize, axes: Axes) -> ArrayMut<'a> {
        ArrayMut::new(self.dst_slice(index), axes)
    }
}

/// A copy of the source, seen one way, to the destination, seen another.
fn moved(site: &Site, view: impl Fn(Axes, Axes) -> (Axes, Axes)) -> Result<Lowered, String> {
    let (from, to) = view(site.input_axes(0)?, site.output_axes(0)?);
    Ok(Lowered::new("copy", site.inputs(), vec![site.output(0)], move |f| {
        copy(&f.cx, f.array(0, from), f.array_mut(0, to));
    }))
}

pub(super) fn permute(site: &Site, op: &Permute) -> Result<Lowered, String> {
    let order: Vec<usize> = [0].into_iter().chain(op.axes.iter().map(|axis| axis + 1)).collect();
    moved(site, |from, to| (from.permuted(&order), to))
}

pub(super) fn flip(site: &Site, op: &Flip) -> Result<Lowered, String> {
    moved(site, |from, to| (from.flipped(op.axis + 1), to))
}

pub(super) fn tile(site: &Site, op: &Tile) -> Result<Lowered, String> {
    let axis = op.axis + 1;
    moved(site, |from, to| (from.repeated(axis, op.times), to.split(axis, from.extents()[axis])))
}

pub(super) fn slice(site: &Site, op: &Slice) -> Result<Lowered, String> {
    moved(site, |from, to| (from.sliced(op.axis + 1, op.start, op.len(), op.step), to))
}

pub(super) fn slice_backward(site: &Site, op: &Slice) -> Result<Lowered, String> {
    let (from, to) = (site.input_axes(0)?, site.output_axes(0)?);
    let part = to.sliced(op.axis + 1, op.start, op.len(), op.step);
    Ok(Lowered::new("copy into zeros", site.inputs(), vec![site.output(0)], move |f| {
        let whole = f.dst_slice(0);
        rearrange::fill(&f.cx, 0.0, ArrayMut::new(whole, to));
        copy(&f.cx, f.array(0, from), ArrayMut::new(whole, part));
    }))
}

/// Channels and blocks of pixels as the same axes: batch, channels, rows, rows of a block, columns, columns of a block.
fn blocks(depth: Axes, space: Axes, block: usize, crd: bool) -> (Axes, Axes) {
    let channels = space.extents()[1];
    let depth = if crd {
        depth.split(1, block * block).split(2, block).permuted(&[0, 1, 4, 2, 5, 3])
    } else {
        depth.split(1, channels).split(1, block).permuted(&[0, 3, 4, 1, 5, 2])
    };
    (depth, space.split(2, block).split(4, block))
}

pub(super) fn depth_to_space(site: &Site, op: &DepthToSpace) -> Result<Lowered, String> {
    moved(site, |from, to| blocks(from, to, op.block, op.crd))
}

pub(super) fn space_to_depth(site: &Site, op: &SpaceToDepth) -> Result<Lowered, String> {
    moved(site, |from, to| {
        let (to, from) = blocks(to, from, op.block, op.crd);
        (from, to)
    })
}

/// A concatenation along another axis than the first.
pub(super) fn concat(site: &Site, axis: usize) -> Result<Lowered, String> {
    let (axis, whole) = (axis + 1, site.output_axes(0)?);
    let mut start = 0;
    let mut parts = Vec::new();
    for index in 0..site.node.inputs.len() {
        let part = site.input_axes(index)?;
        let len = part.extents()[axis];
        parts.push((part, whole.sliced(axis, start, len, 1)));
        start += len;
    }
    let describe = format!("{} copied", parts.len());
    Ok(Lowered::new(describe, site.inputs(), vec![site.output(0)], move |f| {
        let whole = f.dst_slice(0);
        for (index, (from, to)) in parts.iter().enumerate() {
            copy(&f.cx, f.array(index, *from), ArrayMut::new(whole, *to));
        }
    }))
}

fn padding(op: &PadAxis) -> rearrange::PadAxis {
    let mode = functions::pad_mode(op.mode, op.value);
    rearrange::PadAxis { axis: op.axis + 1, pads: op.pads, mode }
}

pub(super) fn pad_axis(site: &Site, op: &PadAxis) -> Result<Lowered, String> {
    let (from, to, pad) = (site.input_axes(0)?, site.output_axes(0)?, padding(op));
    Ok(Lowered::new("copy", site.inputs(), vec![site.output(0)], move |f| {
        pad.forward(&f.cx, f.array(0, from), f.array_mut(0, to));
    }))
}

pub(super) fn pad_axis_backward(site: &Site, op: &PadAxis) -> Result<Lowered, String> {
    let (from, to, pad) = (site.input_axes(0)?, site.output_axes(0)?, padding(op));
    Ok(Lowered::new("gather", site.inputs(), vec![site.output(0)], move |f| {
        pad.backward(&f.cx, f.array(0, from), f.array_mut(0, to));
    }))
}

/// A resizing from `input` elements, or its gradient.
pub(super) fn resize(site: &Site, op: &Resize, input: usize, backward: bool) -> Result<Lowered, String> {
    let (from, to, axis) = (site.input_axes(0)?, site.output_axes(0)?, op.axis + 1);
    let table = functions::resize(op, input).table();
    let table = if backward { table.transposed() } else { table };
    Ok(Lowered::new("weighted sums", site.inputs(), vec![site.output(0)], move |f| {
        table.apply(&f.cx, axis, f.array(0, from), f.array_mut(0, to));
    }))
}

pub(super) fn binary(site: &Site, op: &Binary) -> Result<Lowered, String> {
    let (a, b, to) = (site.operand(0)?, site.operand(1)?, site.floats(site.unit.output.expect("a result"))?);
    let (a_place, b_place, dst) = (site.input(0), site.input(1), site.result());
    let relu = site.unit.chain.relu;
    let kind = match (op.kind, relu) {
        (BinaryKind::Add, true) => elementwise::Binary::AddRelu,
        (BinaryKind::Multiply, true) => elementwise::Binary::MultiplyRelu,
        (kind, _) => functions::binary(kind),
    };
    let describe = site.with_chain("elementwise".into());
    Ok(if a_place == dst {
        Lowered::new(describe + ", in place", vec![b_place], vec![dst], move |f| {
            elementwise::binary(&f.cx, kind, [None, Some(f.array(0, b))], f.array_mut(0, to));
        })
    } else {
        Lowered::new(describe, vec![a_place, b_place], vec![dst], move |f| {
            let operands = [Some(f.array(0, a)), Some(f.array(1, b))];
            elementwise::binary(&f.cx, kind, operands, f.array_mut(0, to));
        })
    })
}

pub(super) fn choose(site: &Site) -> Result<Lowered, String> {
    let operands = [site.operand(0)?, site.operand(1)?, site.operand(2)?];
    let to = site.output_axes(0)?;
    Ok(Lowered::new("elementwise", site.inputs(), vec![site.output(0)], move |f| {
        let operands = [0, 1, 2].map(|index| f.array(index, operands[index]));
        elementwise::choose(&f.cx, operands, f.array_mut(0, to));
    }))
}

pub(super) fn matmul(site: &Site, op: &MatMul) -> Result<Lowered, String> {
    let operand = |index: usize| {
        let axes = site.operand(index)?;
        let mut order: Vec<usize> = (0..axes.extents().len()).collect();
        if op.transposed[index] {
            let last = order.len() - 1;
            order.swap(last - 1, last);
        }
        Ok::<_, String>(axes.permuted(&order))
    };
    let product = matmul::MatMul::new(operand(0)?, operand(1)?, site.output_axes(0)?);
    Ok(Lowered::new("register tiles", site.inputs(), vec![site.output(0)], move |f| {
        product.run(&f.cx, f.src_slice(0), f.src_slice(1), f.dst_slice(0), f.workspace());
    })
    .with_workspace(product.workspace_len()))
}

/// The axes of the smaller of two values, seen with the dimensions of the larger, and how many elements of the larger
/// there are for each of its own.
fn aligned(site: &Site, [small, large]: [Value; 2]) -> Result<(Axes, f32), String> {
    let (small_ty, large_ty) = (site.ty(small), site.ty(large));
    site.floats(small)?;
    let dims = aligned_dims(small_ty, large_ty).expect("the shape rule compared the types");
    let (axes, full) = (axes((site.place)(small), &dims), site.floats(large)?);
    Ok((axes, full.elements() as f32 / axes.elements() as f32))
}

pub(super) fn reduce(site: &Site, op: &Reduce) -> Result<Lowered, String> {
    let from = site.input_axes(0)?;
    let (to, count) = aligned(site, [site.node.outputs[0], site.node.inputs[0]])?;
    let factor = if op.mean { op.scale / count } else { op.scale };
    Ok(Lowered::new("sums", site.inputs(), vec![site.output(0)], move |f| {
        fold(&f.cx, fold::Fold::Sum, f.array(0, from), None, factor, f.array_mut(0, to));
    }))
}

pub(super) fn expand(site: &Site, op: &Expand) -> Result<Lowered, String> {
    let to = site.output_axes(0)?;
    let (from, count) = aligned(site, [site.node.inputs[0], site.node.outputs[0]])?;
    let factor = if op.mean { op.scale / count } else { op.scale };
    Ok(Lowered::new("repetition", site.inputs(), vec![site.output(0)], move |f| {
        elementwise::scale(&f.cx, factor, f.array(0, from), f.array_mut(0, to));
    }))
}

pub(super) fn folding(site: &Site, op: &Fold) -> Result<Lowered, String> {
    let (from, to, kind) = (site.input_axes(0)?, site.output_axes(0)?, functions::fold(op.kind));
    Ok(Lowered::new("along axes", site.inputs(), vec![site.output(0)], move |f| {
        fold(&f.cx, kind, f.array(0, from), None, 1.0, f.array_mut(0, to));
    }))
}

pub(super) fn arg_max(site: &Site, op: &ops::ArgMax) -> Result<Lowered, String> {
    let ops::ArgMax { axis, least, last } = *op;
    let (from, dst) = (site.input_axes(0)?, site.output(0));
    let to = axes(dst, &site.ty(site.node.outputs[0]).dims);
    let op = fold::ArgMax { axis: axis + 1, least, last };
    Ok(Lowered::new("along an axis", site.inputs(), vec![dst], move |f| {
        op.run(&f.cx, f.array(0, from), ArrayMut::new(f.write(0), to));
    }))
}

/// Means, differences from them, the roots of the differences' squares: a pass each.
pub(super) fn standardize(site: &Site, op: &Standardize) -> Result<Lowered, String> {
    let (from, to, roots) = (site.input_axes(0)?, site.output_axes(0)?, site.output_axes(1)?);
    let eps = op.eps;
    let means = Axes::dense(roots.extents());
    let share = roots.elements() as f32 / to.elements() as f32;
    let writes = vec![site.output(0), site.output(1)];
    Ok(Lowered::new("three passes", site.inputs(), writes, move |f| {
        let (mean, dst, inv_std) = (f.workspace(), f.dst_slice(0), f.dst_slice(1));
        fold(&f.cx, fold::Fold::Sum, f.array(0, from), None, share, ArrayMut::new(mean, means));
        let differences = [Some(f.array(0, from)), Some(Array::new(mean, means))];
        elementwise::binary(&f.cx, elementwise::Binary::Subtract, differences, ArrayMut::new(dst, to));
        let differences = Array::new(dst, to);
        fold(&f.cx, fold::Fold::SumOfSquares, differences, None, share, ArrayMut::new(inv_std, roots));
        elementwise::inverse_roots(&f.cx, 1.0, eps, ArrayMut::new(inv_std, roots));
        let factors = [None, Some(Array::new(inv_std, roots))];
        elementwise::binary(&f.cx, elementwise::Binary::Multiply, factors, ArrayMut::new(dst, to));
    })
    .with_workspace(means.elements()))
}

/// (d_y − (mean(d_y) + y·mean(d_y·y)))/√(σ² + ε), by a pass for each mean and each product.
pub(super) fn standardize_backward(site: &Site) -> Result<Lowered, String> {
    let (y, roots, d_y) = (site.input_axes(0)?, site.input_axes(1)?, site.input_axes(2)?);
    let to = site.output_axes(0)?;
    let means = Axes::dense(roots.extents());
    let share = roots.elements() as f32 / to.elements() as f32;
    Ok(Lowered::new("five passes", site.inputs(), vec![site.output(0)], move |f| {
        let (mean, slope) = f.workspace().split_at_mut(means.elements());
        let dst = f.dst_slice(0);
        let [y, inv_std, d_y] = [(0, y), (1, roots), (2, d_y)].map(|(index, axes)| f.array(index, axes));
        fold(&f.cx, fold::Fold::Sum, d_y, None, share, ArrayMut::new(mean, means));
        fold(&f.cx, fold::Fold::SumOfProducts, d_y, Some(y), share, ArrayMut::new(slope, means));
        let (mean, slope) = (Array::new(mean, means), Array::new(slope, means));
        let product = [Some(y), Some(slope)];
        elementwise::binary(&f.cx, elementwise::Binary::Multiply, product, ArrayMut::new(dst, to));
        elementwise::binary(&f.cx, elementwise::Binary::Add, [None, Some(mean)], ArrayMut::new(dst, to));
        let rest = [Some(d_y), None, Some(inv_std)];
        elementwise::add_scaled_times(&f.cx, -1.0, rest, ArrayMut::new(dst, to));
    })
    .with_workspace(2 * means.elements()))
}

/// Softmax, or with two inputs its gradient, along any axis: rows where the axis lies dense, else by way of them.
pub(super) fn softmax(site: &Site, space: Space, axis: usize) -> Result<Lowered, String> {
    let inputs: Vec<Axes> =
        (0..site.node.inputs.len()).map(|index| site.input_axes(index)).collect::<Result<_, _>>()?;
    let to = site.output_axes(0)?;
    let mut order: Vec<usize> = (0..to.extents().len()).collect();
    order.remove(axis + 1);
    order.push(axis + 1);
    let turned = |axes: Axes| axes.permuted(&order);
    let inputs: Vec<Axes> = inputs.into_iter().map(turned).collect();
    let to = turned(to);
    let rows = Axes::dense(to.extents());
    let (elements, channels) = (to.elements(), *to.extents().last().expect("an axis at least"));
    let count = elements / channels;
    let parts = inputs.len() + 1;
    Ok(Lowered::new("by way of rows", site.inputs(), vec![site.output(0)], move |f| {
        let (read, written) = f.workspace().split_at_mut(inputs.len() * elements);
        for (index, axes) in inputs.iter().enumerate() {
            let part = &mut read[index * elements..][..elements];
            copy(&f.cx, f.array(index, *axes), ArrayMut::new(part, rows));
        }
        let dst = PixelsMut::new(&mut *written, channels);
        let part = |index: usize| Pixels::new(&read[index * elements..][..elements], channels);
        if inputs.len() == 1 {
            softmax::forward(&f.cx, space, part(0), dst, count, channels);
        } else {
            softmax::backward(&f.cx, space, part(0), part(1), dst, count, channels);
        }
        copy(&f.cx, Array::new(written, rows), f.array_mut(0, to));
    })
    .with_workspace(parts * elements))
}

/// Whether the softmax kernel's rows are what softmax along `axis` goes over: channels of maps, or the last dimension of
/// what lies dense.
pub(super) fn rows_of(place: Place, ty: &Type, axis: usize) -> Option<[usize; 2]> {
    let is_map = ty.dims.len() == 3;
    let channels = ty.dims[axis];
    let is_last = axis + 1 == ty.dims.len();
    if is_map && axis == 0 || ty.dims.len() == 1 {
        return Some([place.rows(), channels]);
    }
    (!is_map && is_last && place.ld == place.channels()).then(|| [place.elements() / channels, channels])
}
