//! A small pool of threads for kernels: tasks of microseconds, one call after another.
//!
//! The calling thread works too, as worker 0. The others look out for a call for a moment before they sleep, so that the
//! kernels of one step follow each other without a wake-up; and a call never waits for a worker that has not
//! arrived, so that a slow wake-up costs nothing but its help.
//!
//! Each worker begins with its own share of the tasks, the same part of every call: as kernels number their tasks from
//! the first image and row to the last, a worker then reads what it wrote itself in the call before, which lies in the
//! caches of its core. Who has done his share takes from the shares of others.

use super::Executor;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a worker looks for a call before it sleeps: some tens of microseconds.
const LOOKS: usize = 4000;
/// How often the caller looks whether the last worker is done before it lets others have the processor.
const PATIENCE: usize = 20_000;

/// The state of the pool in one word: the number of the call, whether it is open to workers, and how many are in it.
const WORKERS: u64 = (1 << 16) - 1;
const OPEN: u64 = 1 << 16;
const CLOSING: u64 = 1 << 17;
const CALL: u64 = 1 << 18;

/// A call's task, its lifetime forgotten: a worker uses it between entering and leaving the call alone.
type Task = *const (dyn Fn(usize, usize) + Sync);

struct Shared {
    state: AtomicU64,
    /// Written by the caller while no call is open.
    task: UnsafeCell<Option<Task>>,
    shares: Box<[Share]>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: Mutex<usize>,
    wake: Condvar,
}

/// Which end of a share a task is taken from.
#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
}

/// The tasks of a call that a worker begins with and that nobody has taken yet: `from..to`, in one word, as
/// `from << 32 | to`; in cache lines of its own, which the processor fetches by two.
///
/// Its owner takes from the front, in the order that the next call will read; thieves from the back.
#[repr(align(128))]
#[derive(Default)]
struct Share(AtomicU64);

impl Share {
    fn set(&self, tasks: Range<usize>) {
        self.0.store((tasks.start as u64) << 32 | tasks.end as u64, Ordering::Relaxed);
    }

    fn take(&self, side: Side) -> Option<usize> {
        let mut share = self.0.load(Ordering::Relaxed);
        loop {
            let (from, to) = (share >> 32, share & u64::from(u32::MAX));
            if from >= to {
                return None;
            }
            let (index, rest) = match side {
                Side::Front => (from, share + (1 << 32)),
                Side::Back => (to - 1, share - 1),
            };
            match self.0.compare_exchange_weak(share, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(index as usize),
                Err(now) => share = now,
            }
        }
    }
}

// SAFETY: `task` is written only by the one caller (`Threads::calling`) while no call is open, and read only by workers
// that have entered an open call.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `task` is followed within a call alone, whose task is `Sync`.
unsafe impl Send for Shared {}

/// Threads that run kernels' tasks; they end when it is dropped.
pub struct Threads {
    shared: Arc<Shared>,
    calling: Mutex<()>,
    handles: Vec<JoinHandle<()>>,
}

thread_local! {
    /// Whether this thread is running a pool's task: a call from within one runs on this thread alone.
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

impl Threads {
    /// A pool of `workers`, the calling thread among them; returns when all are at their posts, so that no call pays for
    /// a thread that is still starting.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn new(workers: usize) -> std::io::Result<Self> {
        let workers = workers.clamp(1, WORKERS as usize);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            task: UnsafeCell::new(None),
            shares: (0..workers).map(|_| Share::default()).collect(),
            panic: Mutex::new(None),
            sleepers: Mutex::new(0),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared, calling: Mutex::new(()), handles: Vec::new() };
        let (arrived, arrivals) = std::sync::mpsc::channel::<()>();
        for worker in 1..workers {
            let (shared, arrived) = (pool.shared.clone(), arrived.clone());
            let thread = std::thread::Builder::new().name(format!("striate-{worker}"));
            pool.handles.push(thread.spawn(move || {
                drop(arrived);
                shared.serve(worker);
            })?);
        }
        drop(arrived);
        // Ends when every worker has dropped its sender.
        let _ = arrivals.recv();
        Ok(pool)
    }
}

// SAFETY: indices come from shares that do not overlap, each to one taker; a worker takes its next when its last is done; and a call
// waits, unwinding or not, until no worker is in it (`Open`). A call from within a task has but one worker, itself.
unsafe impl Executor for Threads {
    fn workers(&self) -> usize {
        self.handles.len() + 1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        if tasks <= 1 || self.handles.is_empty() || WORKING.get() {
            return (0..tasks).for_each(|index| task(index, 0));
        }
        let _one_call_at_a_time = locked(&self.calling);
        // A share counts in 32 bits.
        for first in (0..tasks).step_by(u32::MAX as usize) {
            let count = (tasks - first).min(u32::MAX as usize);
            self.shared.call(count, &|index, worker| task(first + index, worker));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.state.fetch_or(CLOSING, Ordering::Release);
        self.shared.wake_all();
        for handle in self.handles.drain(..) {
            // A worker's panic has been handed to its caller.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// Runs all tasks, with whatever workers arrive in time.
    fn call(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: only the lifetime is dropped; this function returns when no worker is in the call any more.
        let task: Task = unsafe { std::mem::transmute(task as *const (dyn Fn(usize, usize) + Sync + '_)) };
        // SAFETY: no call is open, so no worker reads it.
        unsafe { *self.task.get() = Some(task) };
        let workers = self.shares.len();
        for (worker, share) in self.shares.iter().enumerate() {
            share.set(worker * tasks / workers..(worker + 1) * tasks / workers);
        }
        self.state.fetch_add(CALL | OPEN, Ordering::SeqCst);
        let open = Open(self);
        if *locked(&self.sleepers) > 0 {
            self.wake.notify_all();
        }
        self.work(task, 0);
        drop(open);
        if let Some(panic) = locked(&self.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Takes tasks until none is left; a panic ends the call's other tasks and is kept for the caller.
    fn work(&self, task: Task, worker: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            WORKING.set(true);
            while let Some(index) = self.next_task(worker) {
                // SAFETY: the caller keeps the task alive as long as this worker is in the call.
                unsafe { (*task)(index, worker) };
            }
        }));
        WORKING.set(false);
        if let Err(panic) = outcome {
            self.shares.iter().for_each(|share| share.set(0..0));
            match &mut *locked(&self.panic) {
                first @ None => *first = Some(panic),
                // Dropping it might panic again, outside of what is caught.
                Some(_) => std::mem::forget(panic),
            }
        }
    }

    /// A task of the worker's share, or else of another's.
    fn next_task(&self, worker: usize) -> Option<usize> {
        self.shares[worker].take(Side::Front).or_else(|| {
            let workers = self.shares.len();
            (1..workers).find_map(|far| self.shares[(worker + far) % workers].take(Side::Back))
        })
    }

    /// A worker's life.
    fn serve(&self, worker: usize) {
        let mut done = 0;
        while let Some(call) = self.next_call(done) {
            done = call;
            let _entered = Entered(self);
            // SAFETY: this worker has entered the call, so the caller waits for it and writes nothing.
            if let Some(task) = unsafe { *self.task.get() } {
                self.work(task, worker);
            }
        }
    }

    /// Enters the next call after number `done` and returns its number; `None` when the pool closes.
    fn next_call(&self, done: u64) -> Option<u64> {
        let mut looks = 0;
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state & CLOSING != 0 {
                return None;
            }
            let call = state / CALL;
            if state & OPEN != 0 && call != done {
                let entered =
                    self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
                if entered.is_ok() {
                    return Some(call);
                }
                continue;
            }
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
                continue;
            }
            looks = 0;
            let mut sleepers = locked(&self.sleepers);
            // Looked at again under the lock that the caller takes after it has opened a call: none is slept through.
            let state = self.state.load(Ordering::SeqCst);
            if state & CLOSING == 0 && (state & OPEN == 0 || state / CALL == done) {
                *sleepers += 1;
                sleepers = self.wake.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
                *sleepers -= 1;
            }
        }
    }

    fn wake_all(&self) {
        let _sleepers = locked(&self.sleepers);
        self.wake.notify_all();
    }
}

/// A call that workers may enter; when dropped it closes and waits until they have left.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0usize;
        while state & WORKERS != 0 {
            looks += 1;
            if looks.is_multiple_of(PATIENCE) {
                std::thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
            state = self.0.state.load(Ordering::Acquire);
        }
    }
}

/// A worker's presence in a call; when dropped it has left.
struct Entered<'a>(&'a Shared);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::Release);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn every_task_runs_once() {
        for workers in 1..5 {
            let pool = Threads::new(workers).unwrap();
            assert_eq!(pool.workers(), workers);
            for tasks in [0, 1, 2, 3, 17, 1000] {
                for _ in 0..50 {
                    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(tasks, &|index, worker| {
                        assert!(worker < workers);
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn workers_are_exclusive_and_wake_from_sleep() {
        let pool = Threads::new(3).unwrap();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            let busy: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
            pool.run(60, &|_, worker| {
                assert_eq!(
                    busy[worker].fetch_add(1, Ordering::SeqCst),
                    0,
                    "worker {worker} runs two tasks at once"
                );
                std::thread::sleep(Duration::from_micros(50));
                busy[worker].fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    #[test]
    fn a_share_is_taken_from_both_ends_until_it_is_empty() {
        let share = Share::default();
        assert_eq!(share.take(Side::Front), None);
        share.set(3..7);
        use Side::{Back, Front};
        let taken = [Front, Back, Back, Front, Front, Back].map(|side| share.take(side));
        assert_eq!(taken, [Some(3), Some(6), Some(5), Some(4), None, None]);
    }

    #[test]
    fn workers_that_keep_pace_do_their_own_shares() {
        let pool = Threads::new(2).unwrap();
        let both = std::sync::Barrier::new(2);
        let by: Vec<AtomicUsize> = (0..8).map(|_| AtomicUsize::new(9)).collect();
        pool.run(8, &|index, worker| {
            both.wait();
            by[index].store(worker, Ordering::Relaxed);
        });
        let by: Vec<usize> = by.into_iter().map(AtomicUsize::into_inner).collect();
        assert_eq!(by, [0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn calls_from_several_threads_and_from_tasks() {
        let pool = Threads::new(2).unwrap();
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(4, &|_, _| {
                            pool.run(2, &|index, _| {
                                sum.fetch_add(index, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 4 * 100 * 4);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Threads::new(2).unwrap();
        for bad in [0, 7] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|index, _| assert_ne!(index, bad, "task fails"));
            }));
            assert!(outcome.is_err());
            let done = AtomicUsize::new(0);
            pool.run(8, &|_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 8);
        }
    }

    #[test]
    fn payloads_that_panic_when_dropped_do_no_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let pool = Threads::new(2).unwrap();
        for _ in 0..4 {
            // Both workers are in a task before either panics, so that there are two payloads.
            let both = std::sync::Barrier::new(2);
            let run = || {
                pool.run(2, &|_, _| {
                    both.wait();
                    std::panic::panic_any(Bomb);
                });
            };
            std::mem::forget(catch_unwind(AssertUnwindSafe(run)).unwrap_err());
            let done = AtomicUsize::new(0);
            pool.run(8, &|_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 8);
        }
    }
}
