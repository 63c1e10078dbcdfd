//! What a plan is made for.

use crate::threads;
use striate_kernels::Isa;

/// What a plan is made for, besides the graph.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// Images of a run.
    pub batch: usize,
    /// Threads that will run it; decides scratch memory alone, never results.
    pub threads: usize,
    /// The strongest instruction set to use.
    pub isa: Isa,
}

impl PlanOptions {
    /// For a batch size, with all processors and the best instruction set.
    pub fn new(batch: usize) -> Self {
        Self { batch, threads: threads::available(), isa: Isa::best() }
    }
}
