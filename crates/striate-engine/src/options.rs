//! What a plan is made for.

use crate::threads;
use striate_kernels::conv::Algorithm;
use striate_kernels::{ElementType, Isa};

/// What a plan is made for, besides the graph.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// Images of a run.
    pub batch: usize,
    /// Threads that will run it; decides scratch memory alone, never results.
    pub threads: usize,
    /// The strongest instruction set to use.
    pub isa: Isa,
    /// What activations and their gradients are stored and multiplied in. Sums, parameters, their gradients and updates,
    /// statistics, inputs, outputs and losses are float32 in any case.
    pub precision: ElementType,
    /// The algorithm of convolutions that it fits; the others are direct.
    pub algorithm: Algorithm,
}

impl PlanOptions {
    /// For a batch size, with all processors and the best instruction set, in float32, algorithms as estimated.
    pub fn new(batch: usize) -> Self {
        Self {
            batch,
            threads: threads::available(),
            isa: Isa::best(),
            precision: ElementType::F32,
            algorithm: Algorithm::Auto,
        }
    }
}
