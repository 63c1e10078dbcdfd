//! Numeric kernels of Striate: on slices, with explicit geometry, knowing nothing of graphs.
//!
//! Activations are channels-last (NHWC) with a pixel distance (`ld`), weights arrive as
//! (out, in, kh, kw). Each kernel has a naive twin in [`mod@reference`], written to be read and never optimised,
//! against which it is tested on every instruction set the processor has.

pub mod activation;
pub mod axes;
pub mod bandwidth;
pub mod batch_norm;
pub mod broadcast;
pub mod cast;
mod channelwise;
pub mod conv;
pub mod copy;
pub mod dropout;
pub mod element;
pub mod elementwise;
pub mod exec;
pub mod fold;
pub mod layout;
pub mod linear;
pub mod local;
pub mod loss;
pub mod lrn;
pub mod matmul;
pub mod optim;
pub mod pad;
pub mod peak;
mod pixelwise;
pub mod pool;
pub mod rearrange;
pub mod reduce;
pub mod reference;
pub mod resample;
pub mod rng;
pub mod simd;
pub mod softmax;
mod strided;
pub mod survey;
pub mod upsample;
pub mod view;

pub use element::{Bf16, Element, ElementType};
pub use exec::{Context, Executor, Serial};
pub use simd::Isa;
pub use view::{Pixels, PixelsMut};
