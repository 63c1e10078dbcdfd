//! The system's allocator, counting: how much is held, and how much has been held at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts what it hands out. A program makes it its `#[global_allocator]`.
pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Beyond this no memory is given, so that a bomb ends in an error and not in swapping.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Bytes held at most since [`reset`], above what was held then.
pub fn peak_since(reset: usize) -> usize {
    PEAK.load(Relaxed).saturating_sub(reset)
}

/// Begins a new count; returns the bytes held now, above which at most `limit` more are given.
pub fn reset(limit: usize) -> usize {
    let held = HELD.load(Relaxed);
    PEAK.store(held, Relaxed);
    LIMIT.store(held.saturating_add(limit), Relaxed);
    held
}

fn take(size: usize) -> bool {
    let held = HELD.fetch_add(size, Relaxed) + size;
    if held > LIMIT.load(Relaxed) {
        HELD.fetch_sub(size, Relaxed);
        // What was asked for counts even where it was not given.
        PEAK.fetch_max(held, Relaxed);
        return false;
    }
    PEAK.fetch_max(held, Relaxed);
    true
}

// SAFETY: every call is passed on to the system's allocator as it came; counting touches no memory of the program's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // For a moment both may exist.
        if !take(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        HELD.fetch_sub(if moved.is_null() { size } else { layout.size() }, Relaxed);
        moved
    }
}
