//! From operations to kernels: the one place that knows both.

mod array;
mod conv;
mod float32;
mod linear;
mod loss;
mod norm;
mod pointwise;
mod pool;
mod shape;
mod update;

use crate::arena::Arena;
use crate::convolution::{Convolution, Tuning};
use crate::error::RunError;
use crate::options::PlanOptions;
use crate::parameters::Parameters;
use crate::place::{Place, Storage};
use crate::units::Unit;
use bytemuck::Pod;
use std::cell::Cell;
use striate_graph::ops::{BinaryKind, Op, PadMode, Softmax};
use striate_graph::{DType, Graph, Node, Type, Value};
use striate_kernels::conv::Activation;
use striate_kernels::{Bf16, Context, Pixels, PixelsMut, cast};

/// What a step runs.
pub(crate) type Kernel = Box<dyn Fn(&Frame) -> Result<(), RunError> + Send + Sync>;

/// Memory derived from parameters when they are loaded: `len` floats that `fill` writes.
pub(crate) struct Prepare {
    pub len: usize,
    #[allow(clippy::type_complexity)]
    pub fill: Box<dyn Fn(&Parameters, &Context, &mut [f32]) + Send + Sync>,
}

/// What an operation is lowered for.
pub(crate) struct Site<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub unit: &'a Unit,
    pub options: PlanOptions,
    pub tuning: &'a Tuning,
    pub place: &'a dyn Fn(Value) -> Place,
    /// The byte at which the unit's scratch memory will begin.
    pub workspace: usize,
}

/// An operation as a kernel call.
pub(crate) struct Lowered {
    pub reads: Vec<Place>,
    pub writes: Vec<Place>,
    /// Floats of scratch memory.
    pub workspace: usize,
    pub prepare: Option<Prepare>,
    pub describe: String,
    /// What there was to choose, where it is a convolution.
    pub convolution: Option<Convolution>,
    pub kernel: Kernel,
}

impl Lowered {
    pub(crate) fn new(
        describe: impl Into<String>,
        reads: Vec<Place>,
        writes: Vec<Place>,
        kernel: impl Fn(&Frame) + Send + Sync + 'static,
    ) -> Self {
        Self::fallible(describe, reads, writes, move |frame| {
            kernel(frame);
            Ok(())
        })
    }

    pub(crate) fn fallible(
        describe: impl Into<String>,
        reads: Vec<Place>,
        writes: Vec<Place>,
        kernel: impl Fn(&Frame) -> Result<(), RunError> + Send + Sync + 'static,
    ) -> Self {
        let (describe, kernel) = (describe.into(), Box::new(kernel));
        Self { reads, writes, workspace: 0, prepare: None, describe, convolution: None, kernel }
    }

    pub(crate) fn with_workspace(self, workspace: usize) -> Self {
        Self { workspace, ..self }
    }
}

impl Site<'_> {
    pub(crate) fn input(&self, index: usize) -> Place {
        (self.place)(self.node.inputs[index])
    }

    pub(crate) fn inputs(&self) -> Vec<Place> {
        self.node.inputs.iter().map(|value| (self.place)(*value)).collect()
    }

    /// The place of one of the root's own outputs.
    pub(crate) fn output(&self, index: usize) -> Place {
        (self.place)(self.node.outputs[index])
    }

    /// The place of the unit's result: output 0 of the last node it takes along.
    pub(crate) fn result(&self) -> Place {
        (self.place)(self.unit.output.expect("the operation has a result"))
    }

    /// The nonlinearity that the unit takes along.
    pub(crate) fn activation(&self) -> Activation {
        match (self.unit.chain.relu, self.unit.chain.clip) {
            (true, _) => Activation::Relu,
            (false, Some([min, max])) => Activation::Clip { min, max },
            (false, None) => Activation::None,
        }
    }

    /// A kernel in words, with what the unit takes along.
    pub(crate) fn with_chain(&self, mut describe: String) -> String {
        let chain = &self.unit.chain;
        for (part, there) in [
            (" + batch norm", chain.norm.is_some()),
            (" + add", chain.residual.is_some()),
            (" + relu", chain.relu),
            (" + clip", chain.clip.is_some()),
        ] {
            describe += if there { part } else { "" };
        }
        describe
    }

    pub(crate) fn ty(&self, value: Value) -> &Type {
        self.graph.ty(value)
    }

    pub(crate) fn input_ty(&self, index: usize) -> &Type {
        self.ty(self.node.inputs[index])
    }

    /// The published name of the parameter at an input.
    pub(crate) fn parameter_name(&self, value: Value) -> String {
        self.graph.node(self.graph.producer(value)).name.clone()
    }
}

/// What a kernel sees while it runs: the places its lowering named, in the same order.
pub(crate) struct Frame<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) cx: Context<'a>,
    pub(crate) seed: u64,
    pub(crate) reads: &'a [Place],
    pub(crate) writes: &'a [Place],
    pub(crate) workspace: [usize; 2],
    pub(crate) prepared: [usize; 2],
    /// Which destinations have been taken, a bit each; the highest is the workspace.
    pub(crate) taken: Cell<u64>,
}

impl<'a> Frame<'a> {
    /// Marks a destination as taken: a second mutable reference to it is never made.
    fn take(&self, bit: usize) {
        let taken = self.taken.get();
        assert!(taken & (1 << bit) == 0, "destination {bit} is taken twice");
        self.taken.set(taken | 1 << bit);
    }

    /// All elements of a source, from its first to its last, stored as `T`s.
    pub(crate) fn read<T: Pod>(&self, index: usize) -> &'a [T] {
        let place = &self.reads[index];
        debug_assert_eq!(size_of::<T>(), place.storage.bytes());
        // SAFETY: the plan checked that nothing this step writes overlaps what it reads, and steps run one at a
        // time.
        unsafe { self.arena.read(place.offset, place.span()) }
    }

    /// All elements of a destination, from its first to its last, stored as `T`s; to be taken once in a run.
    pub(crate) fn write<T: Pod>(&self, index: usize) -> &'a mut [T] {
        self.take(index);
        let place = &self.writes[index];
        debug_assert_eq!(size_of::<T>(), place.storage.bytes());
        // SAFETY: the plan checked that what this step writes is disjoint from all else it touches, and each
        // destination is taken once.
        unsafe { self.arena.write(place.offset, place.span()) }
    }

    /// The pixels of a source.
    pub(crate) fn src<E: Pod>(&self, index: usize) -> Pixels<'a, E> {
        Pixels::new(self.read(index), self.reads[index].ld)
    }

    /// All floats of a source, from its first element to its last.
    pub(crate) fn src_slice(&self, index: usize) -> &'a [f32] {
        self.read(index)
    }

    /// A scalar source.
    pub(crate) fn scalar(&self, index: usize) -> f32 {
        self.src_slice(index)[0]
    }

    /// The pixels of a destination; to be taken once in a run.
    pub(crate) fn dst<E: Pod>(&self, index: usize) -> PixelsMut<'a, E> {
        PixelsMut::new(self.write(index), self.writes[index].ld)
    }

    /// All floats of a destination; to be taken once in a run.
    pub(crate) fn dst_slice(&self, index: usize) -> &'a mut [f32] {
        self.write(index)
    }

    /// The scratch memory; to be taken once in a run.
    pub(crate) fn workspace(&self) -> &'a mut [f32] {
        self.take(u64::BITS as usize - 1);
        let [start, len] = self.workspace;
        // SAFETY: as in `write`.
        unsafe { self.arena.write(start, len) }
    }

    /// Widens a value into scratch memory of this step.
    fn widen(&self, narrow: Place, wide: Place) {
        // SAFETY: the step touches the value, and scratch memory is its alone; they do not overlap, and no other
        // reference is alive between kernels.
        let (src, dst): (&[Bf16], &mut [f32]) = unsafe {
            (self.arena.read(narrow.offset, narrow.span()), self.arena.write(wide.offset, wide.span()))
        };
        let (src, dst) = (Pixels::new(src, narrow.ld), PixelsMut::new(dst, wide.ld));
        cast::cast(&self.cx, src, dst, narrow.rows(), narrow.channels());
    }

    /// Rounds what lies in scratch memory of this step to a value that it writes.
    fn narrow(&self, wide: Place, narrow: Place) {
        // SAFETY: as in `widen`; the value is the step's alone, since it writes it.
        let (src, dst): (&[f32], &mut [Bf16]) = unsafe {
            (self.arena.read(wide.offset, wide.span()), self.arena.write(narrow.offset, narrow.span()))
        };
        let (src, dst) = (Pixels::new(src, wide.ld), PixelsMut::new(dst, narrow.ld));
        cast::cast(&self.cx, src, dst, wide.rows(), wide.channels());
    }

    /// What was prepared from the parameters.
    pub(crate) fn prepared(&self) -> &'a [f32] {
        let [start, len] = self.prepared;
        // SAFETY: as in `read`.
        unsafe { self.arena.read(start, len) }
    }
}

/// Whether the operation is one on pixels of channels: values that are no map, vector or scalar lie as one long pixel,
/// whose dimensions those kernels cannot tell apart.
fn is_of_pixels(site: &Site) -> bool {
    let output = site.node.outputs.first().map(|value| site.ty(*value));
    let types = || site.node.inputs.iter().map(|value| site.ty(*value)).chain(output);
    let are_plain = || types().all(|ty| matches!(ty.dims.len(), 0 | 1 | 3));
    let are_equal = || {
        let mut shapes = types().filter(|ty| ty.elements() != 1).map(|ty| &ty.dims);
        let first = shapes.next();
        shapes.all(|dims| Some(dims) == first)
    };
    match &site.node.op {
        Op::Slice(_) | Op::SliceBackward(_) => are_plain(),
        Op::Reduce(_) | Op::Expand(_) => are_plain() || are_equal(),
        Op::Binary(op) => {
            let are_maps = types().all(|ty| ty.dims.len() == 3);
            matches!(op.kind, BinaryKind::Add | BinaryKind::Multiply) && (are_maps || are_equal())
        }
        Op::Concat(op) => op.axis == 0,
        _ => true,
    }
}

/// Lowers the unit's root with what it takes along.
pub(crate) fn lower(site: &Site) -> Result<Lowered, String> {
    if knows(site) { kernel(site) } else { float32::lower(site) }
}

/// Whether the operation's kernel knows how the unit's values are stored; all know float32.
fn knows(site: &Site) -> bool {
    if !is_narrow(site) {
        return true;
    }
    if !is_of_pixels(site) {
        return false;
    }
    let storage = |value: Value| (site.place)(value).storage;
    let is_float = |value: &&Value| site.ty(**value).dtype == DType::F32;
    let all_narrow = |values: &mut dyn Iterator<Item = &Value>| {
        values.filter(is_float).all(|value| storage(*value) == Storage::Bf16)
    };
    match &site.node.op {
        Op::Linear(_) | Op::LinearBackwardData(_) if !site.unit.prepared => false,
        Op::Conv2d(_)
        | Op::ConvTranspose2d(_)
        | Op::Linear(_)
        | Op::Conv2dBackwardData(_)
        | Op::LinearBackwardData(_) => {
            site.unit.chain.residual.is_none_or(|value| storage(value) == site.result().storage)
        }
        Op::Conv2dBackwardWeights(_) => true,
        // Other modes add up.
        Op::PadBackward(op) if op.pad.mode != PadMode::Zeros => false,
        Op::BatchNorm(_)
        | Op::Normalize(_)
        | Op::BatchNormBackward(_)
        | Op::MaxPool2d(_)
        | Op::MaxPool2dBackward(_)
        | Op::AvgPool2d(_)
        | Op::AvgPool2dBackward(_)
        | Op::GlobalPool(_)
        | Op::GlobalPoolBackward(_)
        | Op::Activation(_)
        | Op::ActivationBackward(_)
        | Op::Binary(_)
        | Op::Concat(_)
        | Op::Slice(_)
        | Op::SliceBackward(_)
        | Op::Pad(_)
        | Op::PadBackward(_) => {
            // Parameters and statistics of channels apart, all are maps.
            let of_channels =
                matches!(site.node.op, Op::BatchNorm(_) | Op::Normalize(_) | Op::BatchNormBackward(_));
            let values = site.unit.reads.iter().chain(&site.unit.writes);
            all_narrow(&mut values.filter(|value| !of_channels || site.ty(**value).batched))
        }
        _ => false,
    }
}

/// Calls a lowering that is generic over what the unit's maps consist of.
macro_rules! of_maps {
    ($module:ident::$lowering:ident, $site:expr $(, $argument:expr)*) => {
        if is_narrow($site) {
            $module::$lowering::<Bf16>($site $(, $argument)*)
        } else {
            $module::$lowering::<f32>($site $(, $argument)*)
        }
    };
}

/// Whether the unit touches values stored in bfloat16.
fn is_narrow(site: &Site) -> bool {
    let mut values = site.unit.reads.iter().chain(&site.unit.writes);
    values.any(|value| (site.place)(*value).storage == Storage::Bf16)
}

/// The operation's kernel.
fn kernel(site: &Site) -> Result<Lowered, String> {
    let of_pixels = is_of_pixels(site);
    match &site.node.op {
        Op::Conv2d(op) => conv::conv2d(site, op),
        Op::Linear(op) => linear::forward(site, op),
        Op::ConvTranspose2d(op) => conv::conv_transpose2d(site, op),
        Op::Conv2dBackwardData(op) => conv::conv2d_backward_data(site, op),
        Op::Conv2dBackwardWeights(op) => conv::conv2d_backward_weights(site, op),
        Op::LinearBackwardData(_) => linear::backward_data(site),
        Op::LinearBackwardWeights(op) => linear::backward_weights(site, op),
        Op::LocallyConnected2d(op) => conv::local(site, op),
        Op::LocallyConnected2dBackwardData(op) => conv::local_backward_data(site, op),
        Op::LocallyConnected2dBackwardWeights(op) => conv::local_backward_weights(site, op),

        Op::MaxPool2d(op) => of_maps!(pool::max, site, op),
        Op::MaxPool2dBackward(op) => of_maps!(pool::max_backward, site, op),
        Op::AvgPool2d(op) => of_maps!(pool::avg, site, op),
        Op::AvgPool2dBackward(op) => of_maps!(pool::avg_backward, site, op),
        Op::GlobalPool(op) => of_maps!(pool::global, site, op),
        Op::GlobalPoolBackward(op) => of_maps!(pool::global_backward, site, op),

        Op::BatchNorm(op) if op.training => of_maps!(norm::batch_norm_training, site, op),
        Op::BatchNorm(op) => of_maps!(norm::batch_norm, site, op),
        Op::Normalize(_) => of_maps!(norm::normalize, site),
        Op::BatchNormBackward(_) => of_maps!(norm::batch_norm_backward, site),
        Op::LocalResponseNorm(op) => norm::lrn(site, op),
        Op::LocalResponseNormBackward(op) => norm::lrn_backward(site, &op.norm),

        Op::Activation(op) => of_maps!(pointwise::activation, site, op.kind),
        Op::ActivationBackward(op) => of_maps!(pointwise::activation_backward, site, op.kind),
        Op::Softmax(op) => pointwise::softmax(site, *op),
        Op::SoftmaxBackward(op) => pointwise::softmax(site, Softmax { log: op.log, axis: op.axis }),
        Op::Dropout(op) => pointwise::dropout(site, op),
        Op::Binary(op) if of_pixels => of_maps!(pointwise::binary, site, op.kind),
        Op::Binary(op) => array::binary(site, op),
        Op::Where(_) => array::choose(site),
        Op::MatMul(op) => array::matmul(site, op),
        Op::Standardize(op) => array::standardize(site, op),
        Op::StandardizeBackward(_) => array::standardize_backward(site),
        Op::Scale(op) => pointwise::scale(site, op.factor),

        Op::Reshape(_) => shape::reshape(site),
        Op::Concat(_) if of_pixels => of_maps!(shape::concat, site),
        Op::Concat(op) => array::concat(site, op.axis),
        Op::Slice(op) if of_pixels => of_maps!(shape::slice, site, op),
        Op::Slice(op) => array::slice(site, op),
        Op::SliceBackward(op) if of_pixels => of_maps!(shape::slice_backward, site, &op.slice),
        Op::SliceBackward(op) => array::slice_backward(site, &op.slice),
        Op::Permute(op) => array::permute(site, op),
        Op::Flip(op) => array::flip(site, op),
        Op::Tile(op) => array::tile(site, op),
        Op::DepthToSpace(op) => array::depth_to_space(site, op),
        Op::SpaceToDepth(op) => array::space_to_depth(site, op),
        Op::PadAxis(op) => array::pad_axis(site, op),
        Op::PadAxisBackward(op) => array::pad_axis_backward(site, &op.pad),
        Op::Pad(op) => of_maps!(shape::pad, site, op),
        Op::PadBackward(op) => of_maps!(shape::pad_backward, site, &op.pad),
        Op::Upsample(op) => shape::upsample(site, op.mode),
        Op::UpsampleBackward(op) => shape::upsample_backward(site, op.mode),
        Op::Resize(op) => array::resize(site, op, site.input_ty(0).dims[op.axis], false),
        Op::ResizeBackward(op) => array::resize(site, &op.resize, op.input, true),
        Op::Reduce(op) if of_pixels => shape::reduce(site, op),
        Op::Reduce(op) => array::reduce(site, op),
        Op::Expand(op) if of_pixels => shape::expand(site, op),
        Op::Expand(op) => array::expand(site, op),
        Op::Fold(op) => array::folding(site, op),
        Op::ArgMax(op) => array::arg_max(site, op),

        Op::CrossEntropy(op) => loss::cross_entropy(site, op.smoothing),
        Op::CrossEntropyBackward(op) => loss::cross_entropy_backward(site, op.smoothing),
        Op::BceWithLogits(_) => loss::bce(site),
        Op::BceWithLogitsBackward(_) => loss::bce_backward(site),
        Op::MeanSquaredError(_) => loss::mse(site),
        Op::MeanSquaredErrorBackward(_) => loss::mse_backward(site),

        Op::SgdUpdate(op) => update::sgd(site, op),
        Op::AdamUpdate(op) => update::adam(site, op),
        Op::RmsPropUpdate(op) => update::rmsprop(site, op),
        Op::AverageUpdate(_) => update::average(site),
        Op::Accumulate(op) => update::accumulate(site, op),
        Op::ClipFactor(op) => update::clip_factor(site, op),

        Op::Input(_) | Op::Parameter(_) | Op::Constant(_) => unreachable!("leaves have no kernel"),
    }
}
