//! One block of memory for everything a session computes with.
//!
//! The plan decides where each value lies and checks that no step writes what it reads, or the same place twice; that
//! check is what makes handing out mutable parts sound.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of the block and of every place in it, in bytes: a cache line and an AVX-512 vector.
pub(crate) const ALIGN: usize = 64;

/// Zeroed floats, aligned to [`ALIGN`].
pub(crate) struct Arena {
    ptr: NonNull<f32>,
    len: usize,
}

// SAFETY: the arena owns its memory; what is shared between threads is governed by `read` and `write`.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// `len` zeros; `None` where the system has not that much memory.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) }.cast())?;
        Some(Self { ptr, len })
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len.max(1).checked_mul(size_of::<f32>())?, ALIGN).ok()
    }

    /// Its size in floats.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The floats `start .. start + len`.
    ///
    /// # Safety
    /// No mutable reference to any of them may be alive.
    pub(crate) unsafe fn read(&self, start: usize, len: usize) -> &[f32] {
        assert!(start <= self.len && len <= self.len - start, "{start}+{len} lies outside {}", self.len);
        // SAFETY: in bounds; initialised by `alloc_zeroed`; aliasing by the contract.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().add(start), len) }
    }

    /// The floats `start .. start + len`, to write.
    ///
    /// # Safety
    /// No other reference to any of them may be alive.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn write(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start <= self.len && len <= self.len - start, "{start}+{len} lies outside {}", self.len);
        // SAFETY: as in `read`.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().add(start), len) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let layout = Self::layout(self.len).expect("it was allocated with this layout");
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.ptr.as_ptr().cast(), layout) };
    }
}
