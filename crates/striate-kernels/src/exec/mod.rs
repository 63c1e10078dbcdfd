//! How a kernel spreads its work over threads, without knowing what a thread pool is.
//!
//! A kernel cuts its work into tasks by the size of the problem, never by the number of threads, and hands
//! them to an [`Executor`]. Which worker runs which task is open, so a task's result must not depend on it:
//! that is what makes results the same bits for any number of threads.

#[cfg(feature = "threads")]
mod threads;

#[cfg(feature = "threads")]
pub use threads::Threads;

use std::marker::PhantomData;

/// Runs the tasks of a kernel, on one thread or many.
///
/// # Safety
/// Kernels hand out exclusive parts of their memory by task and by worker, so they rely on this:
/// - [`workers`](Self::workers) is the same for every call.
/// - [`run`](Self::run) calls the task once for each index below `tasks` and for no other, each time with a
///   worker below `workers()`; only where a task panics may indices be left out.
/// - Within one call, no two tasks run on the same worker at the same time.
/// - When `run` returns or unwinds, no task is running or will be run any more.
pub unsafe trait Executor: Sync {
    /// How many workers can run tasks at the same time; at least 1.
    fn workers(&self) -> usize;

    /// Calls `task(index, worker)` once for each `index < tasks`, in any order, and returns when all are done.
    ///
    /// `worker < self.workers()`; within one call no two tasks run on the same worker at the same time, so
    /// `worker` may select scratch memory that the call owns.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync));
}

/// Runs every task on the calling thread, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: a loop on one thread, as worker 0.
unsafe impl Executor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        for index in 0..tasks {
            task(index, 0);
        }
    }
}

/// What every kernel call needs besides its data: the instruction set to use and who runs the tasks.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The instruction set the kernels may use.
    pub isa: crate::Isa,
    /// Runs the tasks.
    pub exec: &'a dyn Executor,
}

impl<'a> Context<'a> {
    /// A context with the best instruction set present, its tasks run by `exec`.
    pub fn new(exec: &'a dyn Executor) -> Self {
        Self { isa: crate::Isa::best(), exec }
    }
}

/// A mutable slice that several tasks write at once, each its own part.
#[derive(Clone, Copy)]
pub struct SharedMut<'a, T> {
    ptr: *mut T,
    len: usize,
    _slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the parts handed out are disjoint (the contract of `range` and `ptr_at`), so sharing the handle
// between threads is no more than sending each part to one of them.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Wraps `slice` for the time its borrow lasts.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), _slice: PhantomData }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the slice has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the slice begins.
    pub fn start(&self) -> *const T {
        self.ptr
    }

    /// The part `start .. start + len`; panics when it lies outside the slice.
    ///
    /// # Safety
    /// No other live reference or concurrent task may touch that part.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "{start}+{len} lies outside {}", self.len);
        // SAFETY: in bounds by the assertion; exclusive by the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }

    /// A pointer to element `index`; checked in debug builds.
    ///
    /// # Safety
    /// `index <= len`, and whatever is written through the pointer is written by no other task.
    pub unsafe fn ptr_at(&self, index: usize) -> *mut T {
        debug_assert!(index <= self.len);
        // SAFETY: in bounds by the caller's contract.
        unsafe { self.ptr.add(index) }
    }
}

/// Cuts `total` units into pieces of at most `grain` and runs `body(start, len, worker)` for each.
pub fn for_each_piece(
    exec: &dyn Executor,
    total: usize,
    grain: usize,
    body: impl Fn(usize, usize, usize) + Sync,
) {
    let grain = grain.max(1);
    exec.run(total.div_ceil(grain), &|index, worker| {
        let start = index * grain;
        body(start, grain.min(total - start), worker);
    });
}
