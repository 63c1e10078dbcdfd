//! The naive twin of every kernel: loops that read like the formula, over logical (NCHW) arrays, generic over
//! f32 and f64. Never optimised; the measure of correctness for everything else.

pub mod conv;
pub mod activation;
pub mod softmax;
pub mod batch_norm;
pub mod loss;
pub mod optim;
pub mod broadcast;
pub mod reduce;
pub mod lrn;
pub mod pool;
pub mod pad;
pub mod upsample;
pub mod local;
