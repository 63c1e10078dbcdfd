//! The naive twin of every kernel: loops that read like the formula, over logical (NCHW) arrays, generic over
//! f32 and f64. Never optimised; the measure of correctness for everything else.

pub mod activation;
pub mod batch_norm;
pub mod broadcast;
pub mod conv;
pub mod elementwise;
pub mod fold;
pub mod local;
pub mod loss;
pub mod lrn;
pub mod matmul;
pub mod optim;
pub mod pad;
pub mod pool;
pub mod rearrange;
pub mod reduce;
pub mod resample;
pub mod softmax;
pub mod upsample;
