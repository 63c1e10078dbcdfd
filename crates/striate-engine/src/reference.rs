//! The measure of the engine: graphs interpreted node by node in float64, on arrays in logical order.
//!
//! Each operation is computed by the naive twin of its kernel, or spelled out here where it only moves elements.
//! Nothing is planned, fused or shared, and nothing of the lowering is used: what a plan computes can be held against
//! it value by value. Gradients and updates are not interpreted; gradients are checked by differences of the forward
//! pass, whose error float64 keeps small.

use crate::functions;
use std::collections::BTreeMap;
use std::ops::Index;
use striate_graph::ops::reduce::aligned_dims;
use striate_graph::ops::{self, Op, Operation, Padding, PoolKind, UpsampleMode};
use striate_graph::{Graph, Node, Type, Value};
use striate_kernels::conv::Conv2dGeometry;
use striate_kernels::fold::{ArgMax, Fold};
use striate_kernels::lrn::LocalResponseNorm;
use striate_kernels::pad::Margins;
use striate_kernels::pool::Pool2dGeometry;
use striate_kernels::reference as naive;
use striate_kernels::softmax::Space;
use striate_kernels::upsample::{Interpolation, Resize2d};
use striate_kernels::{Context, Pixels, PixelsMut, Serial, dropout};

/// Arrays by name: elements in row-major logical order, the batch first. Labels and counters are numbers too.
pub type Arrays = BTreeMap<String, Vec<f64>>;

/// Why a graph cannot be interpreted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReferenceError {
    /// An input or a parameter is not given.
    #[error("the {what} '{name}' is missing; it has {expected} elements")]
    Missing {
        /// `input`, `parameter`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Elements it has.
        expected: usize,
    },
    /// An array of the wrong size.
    #[error("the {what} '{name}' has {expected} elements, but {found} are given")]
    Size {
        /// `input`, `parameter`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Elements it has.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// A gradient or an update.
    #[error("{node} ({op}) is not interpreted: differentiate the forward pass numerically")]
    NotInterpreted {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
    },
    /// A value of more dimensions than the naive loops have.
    #[error("{node} ({op}): {found} has more dimensions than are interpreted")]
    Rank {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// The value's type.
        found: Type,
    },
}

/// Every value of a run, in row-major logical order with the batch first: feature maps are (N, C, H, W).
///
/// Running statistics are as the run leaves them.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(Vec<Vec<f64>>);

impl Index<Value> for Values {
    type Output = [f64];

    fn index(&self, value: Value) -> &[f64] {
        &self.0[value.index()]
    }
}

/// Computes every value of `graph` for a batch. Dropout drops what a session with seed 0 drops.
///
/// # Errors
/// [`ReferenceError`]: arrays that are missing or of the wrong size, and operations that are not interpreted.
pub fn run(
    graph: &Graph,
    batch: usize,
    inputs: &Arrays,
    parameters: &Arrays,
) -> Result<Values, ReferenceError> {
    let mut values = Values(vec![Vec::new(); graph.value_count()]);
    for (_, node) in graph.nodes() {
        let results = Site { graph, node, batch, values: &values, inputs, parameters }.compute()?;
        let updated = node.op.updates().map(|index| node.inputs[index]);
        for (value, result) in node.outputs.iter().copied().chain(updated).zip(results) {
            values.0[value.index()] = result;
        }
    }
    Ok(values)
}

/// A node and what it is computed from.
struct Site<'a> {
    graph: &'a Graph,
    node: &'a Node,
    batch: usize,
    values: &'a Values,
    inputs: &'a Arrays,
    parameters: &'a Arrays,
}

/// The outputs of a node, and behind them the new values of what it changes in place.
type Results = Result<Vec<Vec<f64>>, ReferenceError>;

impl<'a> Site<'a> {
    fn src(&self, index: usize) -> &'a [f64] {
        &self.values[self.node.inputs[index]]
    }

    fn ty(&self, index: usize) -> &'a Type {
        self.graph.ty(self.node.inputs[index])
    }

    fn output_ty(&self) -> &'a Type {
        self.graph.ty(self.node.outputs[0])
    }

    /// The shape (n, c, h, w) of an input; a feature vector has one pixel.
    fn shape(&self, index: usize) -> Result<[usize; 4], ReferenceError> {
        self.shape_of(self.ty(index), &self.ty(index).dims)
    }

    fn output_shape(&self) -> Result<[usize; 4], ReferenceError> {
        self.shape_of(self.output_ty(), &self.output_ty().dims)
    }

    /// `dims` behind the batch, in four dimensions; weights have no batch and need all four themselves.
    fn shape_of(&self, ty: &Type, dims: &[usize]) -> Result<[usize; 4], ReferenceError> {
        match *dims {
            [a, b, c, d] if !ty.batched => Ok([a, b, c, d]),
            _ if dims.len() <= 3 => {
                let mut shape = [1; 4];
                shape[0] = if ty.batched { self.batch } else { 1 };
                shape[1..=dims.len()].copy_from_slice(dims);
                Ok(shape)
            }
            _ => {
                let (node, op) = self.name();
                Err(ReferenceError::Rank { node, op, found: ty.clone() })
            }
        }
    }

    fn name(&self) -> (String, &'static str) {
        (self.node.name.clone(), self.node.op.kind())
    }

    fn given(&self, what: &'static str, arrays: &Arrays) -> Results {
        let (name, ty) = (self.node.name.clone(), self.output_ty());
        let expected = ty.elements() * if ty.batched { self.batch } else { 1 };
        match arrays.get(&name) {
            None => Err(ReferenceError::Missing { what, name, expected }),
            Some(data) if data.len() != expected => {
                Err(ReferenceError::Size { what, name, expected, found: data.len() })
            }
            Some(data) => Ok(vec![data.clone()]),
        }
    }

    fn compute(&self) -> Results {
        let one = |result: Vec<f64>| Ok(vec![result]);
        match &self.node.op {
            Op::Input(_) => self.given("input", self.inputs),
            Op::Parameter(_) => self.given("parameter", self.parameters),
            Op::Constant(op) => one(vec![f64::from(op.value)]),

            Op::Conv2d(op) => self.conv2d(op),
            Op::ConvTranspose2d(op) => self.conv_transpose2d(op),
            Op::LocallyConnected2d(op) => {
                let g = geometry(&op.conv, self.shape(0)?, op.conv.out);
                one(naive::local::forward(&g, self.src(0), self.src(1), self.bias(op.conv.bias)))
            }
            Op::Linear(op) => {
                let g = geometry(&ops::Conv2d::new(op.out, 1), self.shape(0)?, op.out);
                one(naive::conv::forward(&g, self.src(0), self.src(1), self.bias(op.bias)))
            }

            Op::MaxPool2d(op) => self.max_pool(&self.pool(op.kernel, op.stride, op.padding)?),
            Op::AvgPool2d(op) => {
                let g = self.pool(op.kernel, op.stride, op.padding)?;
                one(naive::pool::average(&g, op.count_include_pad, self.src(0)))
            }
            Op::GlobalPool(op) => {
                let [n, c, h, w] = self.shape(0)?;
                let g = Pool2dGeometry::global(n, c, h, w);
                match op.kind {
                    PoolKind::Max => self.max_pool(&g),
                    PoolKind::Avg => one(naive::pool::average(&g, true, self.src(0))),
                }
            }

            Op::Activation(op) => {
                one(naive::activation::forward(functions::activation(op.kind), self.src(0)))
            }
            Op::Softmax(op) => {
                let space = if op.log { Space::Log } else { Space::Linear };
                one(self.softmax(space, op.axis))
            }
            Op::BatchNorm(op) => self.batch_norm(op),
            Op::Normalize(_) => self.normalize(),
            Op::LocalResponseNorm(op) => {
                let norm = LocalResponseNorm { size: op.size, alpha: op.alpha, beta: op.beta, k: op.k };
                one(naive::lrn::forward(&norm, self.shape(0)?, self.src(0)))
            }
            Op::Dropout(op) => self.dropout(op),

            Op::Reshape(_) => one(self.src(0).to_vec()),
            Op::Binary(op) => {
                let f = functions::binary(op.kind);
                one(self.elementwise(|x| naive::elementwise::binary(f, x[0], x[1])))
            }
            Op::Where(_) => one(self.elementwise(|x| if x[0] != 0.0 { x[1] } else { x[2] })),
            Op::MatMul(op) => one(self.matmul(op)),
            Op::Standardize(op) => Ok(self.standardize(op)),
            Op::Scale(op) => one(self.src(0).iter().map(|x| x * f64::from(op.factor)).collect()),
            Op::Concat(op) => one(self.concat(op.axis)),
            Op::Slice(op) => one(self.along(op.axis, op.len(), |i| op.start + i * op.step)),
            Op::Flip(op) => {
                let size = self.ty(0).dims[op.axis];
                one(self.along(op.axis, size, |i| size - 1 - i))
            }
            Op::Tile(op) => {
                let size = self.ty(0).dims[op.axis];
                one(self.along(op.axis, size * op.times, |i| i % size))
            }
            Op::Permute(op) => {
                let axes: Vec<usize> = [0].into_iter().chain(op.axes.iter().map(|axis| axis + 1)).collect();
                one(naive::rearrange::permute(&self.extents(0), &axes, self.src(0)))
            }
            Op::PadAxis(op) => {
                let mode = functions::pad_mode(op.mode, op.value);
                one(naive::rearrange::pad(&self.extents(0), op.axis + 1, op.pads, mode, self.src(0)))
            }
            Op::Resize(op) => {
                let resize = functions::resize(op, self.ty(0).dims[op.axis]);
                one(naive::resample::forward(&resize, &self.extents(0), op.axis + 1, self.src(0)))
            }
            Op::DepthToSpace(op) => one(self.blocks(op.block, |y, x, c, channels| {
                if op.crd { (c * op.block + y) * op.block + x } else { (y * op.block + x) * channels + c }
            })),
            Op::SpaceToDepth(op) => one(self.depths(op)),
            Op::Fold(op) => {
                let (from, to) = (self.extents(0), self.extents_of(self.output_ty()));
                one(naive::fold::fold(functions::fold(op.kind), &from, &to, self.src(0), &[]))
            }
            Op::ArgMax(op) => {
                let ops::ArgMax { axis, least, last } = *op;
                let op = ArgMax { axis: axis + 1, least, last };
                let places = naive::fold::arg_max(op, &self.extents(0), self.src(0));
                one(places.into_iter().map(|place| place as f64).collect())
            }
            Op::Pad(op) => {
                let (margins, mode) = (margins(op.padding, op.channels), functions::pad_mode(op.mode, 0.0));
                one(naive::pad::forward(self.shape(0)?, margins, mode, self.src(0)))
            }
            Op::Upsample(op) => {
                let ([n, c, ih, iw], [oh, ow]) = (self.shape(0)?, op.size);
                let interpolation = match op.mode {
                    UpsampleMode::Nearest => Interpolation::Nearest,
                    UpsampleMode::Bilinear { align_corners } => Interpolation::Bilinear { align_corners },
                };
                one(naive::upsample::forward(&Resize2d { n, c, ih, iw, oh, ow, interpolation }, self.src(0)))
            }
            Op::Reduce(op) => one(self.reduce(op)),
            Op::Expand(op) => one(self.expand(op)),

            Op::CrossEntropy(op) => {
                let (logits, classes) = (self.src(0), self.ty(0).elements());
                let labels: Vec<u32> = self.src(1).iter().map(|label| *label as u32).collect();
                let loss = naive::loss::cross_entropy(logits, &labels, classes, f64::from(op.smoothing));
                Ok(vec![vec![loss], naive::softmax::forward(Space::Linear, logits, classes)])
            }
            Op::BceWithLogits(_) => one(vec![naive::loss::bce_with_logits(self.src(0), self.src(1))]),
            Op::MeanSquaredError(_) => one(vec![naive::loss::mse(self.src(0), self.src(1))]),

            Op::Conv2dBackwardData(_)
            | Op::Conv2dBackwardWeights(_)
            | Op::LocallyConnected2dBackwardData(_)
            | Op::LocallyConnected2dBackwardWeights(_)
            | Op::LinearBackwardData(_)
            | Op::LinearBackwardWeights(_)
            | Op::MaxPool2dBackward(_)
            | Op::AvgPool2dBackward(_)
            | Op::GlobalPoolBackward(_)
            | Op::ActivationBackward(_)
            | Op::SoftmaxBackward(_)
            | Op::BatchNormBackward(_)
            | Op::LocalResponseNormBackward(_)
            | Op::SliceBackward(_)
            | Op::PadBackward(_)
            | Op::UpsampleBackward(_)
            | Op::PadAxisBackward(_)
            | Op::ResizeBackward(_)
            | Op::StandardizeBackward(_)
            | Op::CrossEntropyBackward(_)
            | Op::BceWithLogitsBackward(_)
            | Op::MeanSquaredErrorBackward(_)
            | Op::SgdUpdate(_)
            | Op::AdamUpdate(_)
            | Op::RmsPropUpdate(_)
            | Op::AverageUpdate(_)
            | Op::Accumulate(_)
            | Op::ClipFactor(_) => {
                let (node, op) = self.name();
                Err(ReferenceError::NotInterpreted { node, op })
            }
        }
    }

    fn bias(&self, present: bool) -> Option<&'a [f64]> {
        present.then(|| self.src(2))
    }

    /// Padding first, whatever its mode, then a convolution without any.
    fn conv2d(&self, op: &ops::Conv2d) -> Results {
        let [n, c, h, w] = self.shape(0)?;
        let Padding { top, bottom, left, right } = op.padding;
        let padded = naive::pad::forward(
            [n, c, h, w],
            margins(op.padding, [0; 2]),
            functions::pad_mode(op.padding_mode, 0.0),
            self.src(0),
        );
        let unpadded = ops::Conv2d { padding: Padding::NONE, ..*op };
        let g = geometry(&unpadded, [n, c, top + h + bottom, left + w + right], op.out);
        Ok(vec![naive::conv::forward(&g, &padded, self.src(1), self.bias(op.bias))])
    }

    /// The gradient of the convolution from this output to this input, and the bias.
    fn conv_transpose2d(&self, op: &ops::ConvTranspose2d) -> Results {
        let [_, channels, ..] = self.shape(0)?;
        let dst_shape = self.output_shape()?;
        let g = geometry(&op.adjoint(channels), dst_shape, channels);
        let mut dst = naive::conv::backward_data(&g, self.src(0), self.src(1));
        if let Some(bias) = self.bias(op.bias) {
            let plane = dst_shape[2] * dst_shape[3];
            dst.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i / plane % op.out]);
        }
        Ok(vec![dst])
    }

    fn pool(
        &self,
        [kh, kw]: [usize; 2],
        [sh, sw]: [usize; 2],
        padding: Padding,
    ) -> Result<Pool2dGeometry, ReferenceError> {
        let ([n, c, ih, iw], [_, _, oh, ow]) = (self.shape(0)?, self.output_shape()?);
        let Padding { top: pt, bottom: pb, left: pl, right: pr } = padding;
        Ok(Pool2dGeometry { n, c, ih, iw, oh, ow, kh, kw, sh, sw, pt, pl, pb, pr })
    }

    /// The maxima, and the tap of each; no window lies on padding alone.
    fn max_pool(&self, g: &Pool2dGeometry) -> Results {
        let (dst, taps) = naive::pool::max(g, self.src(0));
        Ok(vec![dst, taps.into_iter().map(|tap| tap.map_or(f64::NAN, |tap| tap as f64)).collect()])
    }

    fn batch_norm(&self, op: &ops::BatchNorm) -> Results {
        let (shape, src, epsilon) = (self.shape(0)?, self.src(0), f64::from(op.eps));
        let [scale, shift, running_mean, running_variance] = [1, 2, 3, 4].map(|index| self.src(index));
        if !op.training {
            let by = [running_mean, running_variance, scale, shift];
            return Ok(vec![naive::batch_norm::normalize(shape, src, by, epsilon)]);
        }
        let (mean, variance) = naive::batch_norm::statistics(shape, src);
        let dst = naive::batch_norm::normalize(shape, src, [&mean, &variance, scale, shift], epsilon);
        let (new_mean, new_variance) = naive::batch_norm::update_running(
            [running_mean, running_variance],
            [&mean, &variance],
            shape[0] * shape[2] * shape[3],
            f64::from(op.momentum),
        );
        let inv_std = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
        Ok(vec![dst, mean, inv_std, new_mean, new_variance])
    }

    fn normalize(&self) -> Results {
        let [scale, shift, mean, inv_std] = [1, 2, 3, 4].map(|index| self.src(index));
        let slope: Vec<f64> = scale.iter().zip(inv_std).map(|(scale, inv_std)| scale * inv_std).collect();
        let by = [mean, &vec![1.0; mean.len()], &slope, shift];
        Ok(vec![naive::batch_norm::normalize(self.shape(0)?, self.src(0), by, 0.0)])
    }

    /// The mask is the kernel's own: applied to ones, it shows itself. It counts elements as they lie in memory,
    /// channels last.
    fn dropout(&self, op: &ops::Dropout) -> Results {
        let src = self.src(0);
        let Some(stream) = op.stream else { return Ok(vec![src.to_vec()]) };
        let [n, c, h, w] = match self.ty(0).dims.len() {
            3 => self.shape(0)?,
            _ => [src.len() / self.ty(0).elements(), self.ty(0).elements(), 1, 1],
        };
        let (plane, ones) = (h * w, vec![1.0; src.len()]);
        let mut mask = ones.clone();
        let which = dropout::Dropout { seed: 0, step: self.src(1)[0] as u64, node: stream.into(), p: op.p };
        let (from, to) = (Pixels::new(&ones, c), PixelsMut::new(&mut mask, c));
        dropout::apply(&Context::new(&Serial), which, from, to, n * plane, c);
        let there = |i: usize| (i / (c * plane) * plane + i % plane) * c + i / plane % c;
        Ok(vec![src.iter().enumerate().map(|(i, x)| x * f64::from(mask[there(i)])).collect()])
    }

    /// The batch and the dimensions of a type.
    fn extents_of(&self, ty: &Type) -> Vec<usize> {
        let n = if ty.batched { self.batch } else { 1 };
        [n].into_iter().chain(ty.dims.iter().copied()).collect()
    }

    /// The batch and the dimensions of an input.
    fn extents(&self, index: usize) -> Vec<usize> {
        self.extents_of(self.ty(index))
    }

    /// The same, with dimensions of 1 behind the batch, as many as the result has.
    fn aligned_extents(&self, index: usize) -> Vec<usize> {
        let mut extents = self.extents(index);
        while extents.len() <= self.output_ty().dims.len() {
            extents.insert(1, 1);
        }
        extents
    }

    /// f of an element of each input, repeated to one shape.
    fn elementwise(&self, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let shapes: Vec<Vec<usize>> =
            (0..self.node.inputs.len()).map(|index| self.aligned_extents(index)).collect();
        let arrays: Vec<(&[usize], &[f64])> =
            shapes.iter().enumerate().map(|(index, shape)| (&shape[..], self.src(index))).collect();
        naive::elementwise::map(f, &arrays)
    }

    fn matmul(&self, op: &ops::MatMul) -> Vec<f64> {
        let side = |index: usize| {
            let (mut shape, src) = (self.aligned_extents(index), self.src(index));
            if !op.transposed[index] {
                return (shape, src.to_vec());
            }
            let mut order: Vec<usize> = (0..shape.len()).collect();
            let last = shape.len() - 1;
            order.swap(last - 1, last);
            let turned = naive::rearrange::permute(&shape, &order, src);
            shape.swap(last - 1, last);
            (shape, turned)
        };
        let ((a_shape, a), (b_shape, b)) = (side(0), side(1));
        naive::matmul::matmul((&a_shape, &a), (&b_shape, &b))
    }

    fn standardize(&self, op: &ops::Standardize) -> Vec<Vec<f64>> {
        let (src, shape) = (self.src(0), self.extents(0));
        let mut small = shape.clone();
        op.axes.iter().for_each(|axis| small[axis + 1] = 1);
        let count = (shape.iter().product::<usize>() / small.iter().product::<usize>()) as f64;
        let mean = |values: &[f64]| -> Vec<f64> {
            let sums = naive::fold::fold(Fold::Sum, &shape, &small, values, &[]);
            sums.into_iter().map(|sum| sum / count).collect()
        };
        let means = mean(src);
        let differences = naive::elementwise::map(|x| x[0] - x[1], &[(&shape, src), (&small, &means)]);
        let squares: Vec<f64> = differences.iter().map(|x| x * x).collect();
        let inv_std: Vec<f64> =
            mean(&squares).into_iter().map(|variance| 1.0 / (variance + f64::from(op.eps)).sqrt()).collect();
        let dst = naive::elementwise::map(|x| x[0] * x[1], &[(&shape, &differences), (&small, &inv_std)]);
        vec![dst, inv_std]
    }

    /// Softmax of rows, to which the axis is brought and from which it is taken back.
    fn softmax(&self, space: Space, axis: usize) -> Vec<f64> {
        let shape = self.extents(0);
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.remove(axis + 1);
        order.push(axis + 1);
        let rows = naive::rearrange::permute(&shape, &order, self.src(0));
        let rows = naive::softmax::forward(space, &rows, shape[axis + 1]);
        let turned: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
        let back = ops::Permute { axes: order }.inverse();
        naive::rearrange::permute(&turned, &back.axes, &rows)
    }

    /// The input with `size` elements along an axis, of which each is the one that `from` says.
    fn along(&self, axis: usize, size: usize, from: impl Fn(usize) -> usize) -> Vec<f64> {
        naive::rearrange::along(&self.extents(0), axis + 1, size, |i| Ok(from(i)), self.src(0))
    }

    fn concat(&self, axis: usize) -> Vec<f64> {
        let shape = self.extents_of(self.output_ty());
        let elements = 0..shape.iter().product();
        let value = |at: usize| {
            let mut place = naive::elementwise::index(&shape, at);
            let mut part = 0;
            while place[axis + 1] >= self.ty(part).dims[axis] {
                place[axis + 1] -= self.ty(part).dims[axis];
                part += 1;
            }
            self.src(part)[naive::elementwise::element(&self.extents(part), &place)]
        };
        elements.map(value).collect()
    }

    /// Blocks of pixels: that of (row, column, channel) within a block lies in the channel that `from` says, among so many.
    fn blocks(&self, block: usize, from: impl Fn(usize, usize, usize, usize) -> usize) -> Vec<f64> {
        let (src, dst) = (self.extents(0), self.extents_of(self.output_ty()));
        let place = |to: &[usize]| {
            let channel = from(to[2] % block, to[3] % block, to[1], dst[1]);
            Ok(naive::elementwise::element(&src, &[to[0], channel, to[2] / block, to[3] / block]))
        };
        naive::rearrange::gather(&dst, place, self.src(0))
    }

    fn depths(&self, op: &ops::SpaceToDepth) -> Vec<f64> {
        let (src, dst, block) = (self.extents(0), self.extents_of(self.output_ty()), op.block);
        let place = |to: &[usize]| {
            let area = block * block;
            let (channel, pixel) =
                if op.crd { (to[1] / area, to[1] % area) } else { (to[1] % src[1], to[1] / src[1]) };
            let (row, column) = (to[2] * block + pixel / block, to[3] * block + pixel % block);
            Ok(naive::elementwise::element(&src, &[to[0], channel, row, column]))
        };
        naive::rearrange::gather(&dst, place, self.src(0))
    }

    /// The extents of `small` and of `large` with equal ranks, and how many elements of the one there are for each of the
    /// other.
    fn repeated(&self, small: &Type, large: &Type) -> (Vec<usize>, Vec<usize>, f64) {
        let dims = aligned_dims(small, large).expect("the shape rule compared the types");
        let (small, large) = (self.extents_of(&small.with_dims(dims)), self.extents_of(large));
        let count = large.iter().product::<usize>() as f64 / small.iter().product::<usize>() as f64;
        (small, large, count)
    }

    fn reduce(&self, op: &ops::Reduce) -> Vec<f64> {
        let (to, from, count) = self.repeated(self.output_ty(), self.ty(0));
        let factor = f64::from(op.scale) / if op.mean { count } else { 1.0 };
        let sums = naive::fold::fold(Fold::Sum, &from, &to, self.src(0), &[]);
        sums.into_iter().map(|sum| sum * factor).collect()
    }

    fn expand(&self, op: &ops::Expand) -> Vec<f64> {
        let (from, to, count) = self.repeated(self.ty(0), self.output_ty());
        let factor = f64::from(op.scale) / if op.mean { count } else { 1.0 };
        let zeros = vec![0.0; to.iter().product()];
        naive::elementwise::map(|x| x[0] * factor, &[(&from, self.src(0)), (&to, &zeros)])
    }
}

/// The geometry of a convolution with zero padding on a source (n, c, h, w).
fn geometry(conv: &ops::Conv2d, [n, ic, ih, iw]: [usize; 4], oc: usize) -> Conv2dGeometry {
    let ([kh, kw], [sh, sw], [dh, dw]) = (conv.kernel, conv.stride, conv.dilation);
    let Padding { top: pt, bottom: pb, left: pl, right: pr } = conv.padding;
    Conv2dGeometry { n, groups: conv.groups, ic, ih, iw, oc, kh, kw, sh, sw, dh, dw, pt, pb, pl, pr }
}

fn margins(padding: Padding, [channels_before, channels_after]: [usize; 2]) -> Margins {
    let Padding { top, bottom, left, right } = padding;
    Margins { top, bottom, left, right, channels_before, channels_after }
}
