//! The threads that run kernels' tasks.

use striate_kernels::Executor;
use striate_kernels::Serial;

/// An executor with `count` workers; 1 runs everything on the calling thread.
///
/// # Errors
/// Where the system cannot start the threads.
pub fn executor(count: usize) -> Result<Box<dyn Executor + Send>, String> {
    if count <= 1 {
        return Ok(Box::new(Serial));
    }
    #[cfg(feature = "threads")]
    {
        Ok(Box::new(pool::Pool::new(count)?))
    }
    #[cfg(not(feature = "threads"))]
    {
        Err(format!("this build has no threads; use 1 instead of {count}"))
    }
}

/// The number of processors available to this process.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

#[cfg(feature = "threads")]
mod pool {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use striate_kernels::Executor;

    /// Workers that take a kernel's tasks one after another from a shared counter, so that a slow or busy
    /// core delays the others by one task at most.
    pub(super) struct Pool(rayon::ThreadPool);

    impl Pool {
        pub(super) fn new(count: usize) -> Result<Self, String> {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .thread_name(|index| format!("striate-{index}"))
                .build()
                .map(Self)
                .map_err(|error| format!("cannot start {count} threads: {error}"))
        }
    }

    impl Executor for Pool {
        fn workers(&self) -> usize {
            self.0.current_num_threads()
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
            if tasks <= 1 {
                if tasks == 1 {
                    task(0, 0);
                }
                return;
            }
            let next = AtomicUsize::new(0);
            self.0.broadcast(|cx| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= tasks {
                        break;
                    }
                    task(index, cx.index());
                }
            });
        }
    }
}
