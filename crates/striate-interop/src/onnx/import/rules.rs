//! The table of operators: from which version on a rule holds, what becomes of it in a network, and how it is computed
//! where all its inputs are known.

use super::super::fold::{self, Fold, Folded};
use super::call::{Call, Read};
use super::{elementwise as e, layers as l, pooling as p, resizing as r, shapes as s};

/// The oldest version of ONNX's operators that is read.
pub const OLDEST: i64 = 6;
/// The newest that is known.
pub const NEWEST: i64 = 28;

/// What becomes of a node in a network.
pub(super) type Rule = fn(&mut Call<'_, '_>) -> Read;
/// How a node is computed while the file is read.
pub(super) type FoldRule = fn(&Fold<'_>) -> Folded;

/// An operator from a version on.
pub(super) struct Row {
    op: &'static str,
    since: i64,
    pub(super) rule: Option<Rule>,
    pub(super) fold: Option<FoldRule>,
}

/// An operator of a network.
const fn layer(op: &'static str, since: i64, rule: Rule) -> Row {
    Row { op, since, rule: Some(rule), fold: None }
}

/// One that is also computed while reading.
const fn both(op: &'static str, since: i64, rule: Rule, fold: FoldRule) -> Row {
    Row { op, since, rule: Some(rule), fold: Some(fold) }
}

/// One that must be known while reading.
const fn known(op: &'static str, since: i64, fold: FoldRule) -> Row {
    Row { op, since, rule: None, fold: Some(fold) }
}

/// The operators; of several rows of one, the last that is not newer than the file holds.
const ROWS: &[Row] = &[
    // layers
    layer("Conv", 1, l::conv),
    layer("ConvTranspose", 1, l::conv_transpose),
    layer("Gemm", 1, l::gemm),
    layer("MatMul", 1, l::mat_mul),
    layer("BatchNormalization", 1, l::batch_norm),
    layer("InstanceNormalization", 1, l::instance_norm),
    layer("LayerNormalization", 17, l::layer_norm),
    layer("LRN", 1, l::lrn),
    layer("Dropout", 1, l::dropout),
    // pooling
    layer("MaxPool", 1, p::max_pool),
    layer("AveragePool", 1, p::average_pool),
    layer("LpPool", 2, p::lp_pool),
    layer("GlobalAveragePool", 1, p::global_average_pool),
    layer("GlobalMaxPool", 1, p::global_max_pool),
    // functions of one element
    both("Relu", 1, e::relu, fold::relu),
    layer("LeakyRelu", 1, e::leaky_relu),
    both("Clip", 1, e::clip, fold::clip),
    layer("Sigmoid", 1, e::sigmoid),
    layer("HardSigmoid", 1, e::hard_sigmoid),
    layer("HardSwish", 14, e::hard_swish),
    layer("Swish", 24, e::swish),
    layer("Tanh", 1, e::tanh),
    layer("Elu", 1, e::elu),
    layer("Selu", 1, e::selu),
    layer("Celu", 12, e::celu),
    layer("Softplus", 1, e::softplus),
    layer("Softsign", 1, e::softsign),
    layer("Mish", 18, e::mish),
    layer("Gelu", 20, e::gelu),
    layer("ThresholdedRelu", 1, e::thresholded_relu),
    both("Exp", 1, e::exp, fold::exp),
    layer("Log", 1, e::log),
    both("Sqrt", 1, e::sqrt, fold::sqrt),
    both("Reciprocal", 1, e::reciprocal, fold::reciprocal),
    both("Abs", 1, e::abs, fold::abs),
    both("Neg", 1, e::neg, fold::neg),
    layer("Erf", 9, e::erf),
    layer("Sign", 9, e::sign),
    both("Floor", 1, e::floor, fold::floor),
    both("Ceil", 1, e::ceil, fold::ceil),
    layer("Round", 11, e::round),
    both("Not", 1, e::not, fold::not),
    both("Identity", 1, e::identity, fold::identity),
    both("Cast", 1, e::cast, fold::cast),
    // functions of several
    both("Add", 1, e::add, fold::add),
    both("Sub", 1, e::sub, fold::sub),
    both("Mul", 1, e::mul, fold::mul),
    both("Div", 1, e::div, fold::div),
    both("Pow", 1, e::pow, fold::pow),
    layer("PRelu", 1, e::prelu),
    both("Equal", 1, e::equal, fold::equal),
    both("Less", 1, e::less, fold::less),
    both("Greater", 1, e::greater, fold::greater),
    both("And", 1, e::and, fold::and),
    both("Or", 1, e::or, fold::or),
    both("Min", 1, e::minimum, fold::minimum),
    both("Max", 1, e::maximum, fold::maximum),
    layer("Sum", 1, e::sum),
    layer("Mean", 1, e::mean),
    both("Where", 9, e::select, fold::select),
    // softmax: over all axes from one on, later over one
    layer("Softmax", 1, s::softmax_from),
    layer("Softmax", 13, s::softmax),
    layer("LogSoftmax", 1, s::log_softmax_from),
    layer("LogSoftmax", 13, s::log_softmax),
    // shapes
    both("Shape", 1, s::shape, fold::shape),
    both("Size", 1, s::size, fold::size),
    known("Constant", 1, fold::constant),
    known("ConstantOfShape", 9, fold::constant_of_shape),
    known("Range", 11, fold::range),
    both("Reshape", 1, s::reshape, fold::reshape),
    both("Flatten", 1, s::flatten, fold::flatten),
    both("Transpose", 1, s::transpose, fold::transpose),
    both("Squeeze", 1, s::squeeze, fold::squeeze),
    both("Unsqueeze", 1, s::unsqueeze, fold::unsqueeze),
    both("Concat", 1, s::concat, fold::concat),
    both("Split", 1, s::split, fold::split),
    both("Slice", 1, s::slice, fold::slice),
    both("Gather", 1, s::gather, fold::gather),
    both("Expand", 8, s::expand, fold::expand_to),
    layer("Tile", 6, s::tile),
    both("Pad", 1, s::pad, fold::pad),
    layer("DepthToSpace", 1, s::depth_to_space),
    layer("SpaceToDepth", 1, s::space_to_depth),
    layer("Upsample", 7, r::upsample),
    layer("Resize", 10, r::resize),
    // sums and extremes along axes
    both("ReduceSum", 1, s::reduce_sum, fold::reduce_sum),
    both("ReduceMean", 1, s::reduce_mean, fold::reduce_mean),
    both("ReduceMax", 1, s::reduce_max, fold::reduce_max),
    both("ReduceMin", 1, s::reduce_min, fold::reduce_min),
    both("ReduceProd", 1, s::reduce_prod, fold::reduce_prod),
    layer("ArgMax", 1, s::arg_max),
    layer("ArgMin", 1, s::arg_min),
];

/// The row of an operator for a file of this version.
pub(super) fn find(op: &str, version: i64) -> Option<&'static Row> {
    ROWS.iter().rev().find(|row| row.op == op && row.since <= version)
}
