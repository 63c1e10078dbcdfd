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
        let pool = striate_kernels::exec::Threads::new(count);
        Ok(Box::new(pool.map_err(|error| format!("cannot start {count} threads: {error}"))?))
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
