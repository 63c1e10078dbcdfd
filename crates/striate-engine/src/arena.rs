//! One block of memory for everything a session computes with.
//!
//! The plan decides where each value lies and checks that no step writes what it reads, or the same place twice; that
//! check is what makes handing out mutable parts sound.

use bytemuck::Pod;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of the block and of every place in it, in bytes: a cache line and an AVX-512 vector.
pub(crate) const ALIGN: usize = 64;

/// Zeroed bytes, aligned to [`ALIGN`].
pub(crate) struct Arena {
    ptr: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the arena owns its memory; what is shared between threads is governed by `read` and `write`.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// So many zeros; `None` where the system has not that much memory.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let layout = Self::layout(bytes)?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { ptr, bytes })
    }

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.max(1), ALIGN).ok()
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `len` elements from byte `start` on.
    ///
    /// # Safety
    /// No mutable reference to any of them may be alive.
    pub(crate) unsafe fn read<T: Pod>(&self, start: usize, len: usize) -> &[T] {
        let first = self.element::<T>(start, len);
        // SAFETY: in bounds and aligned; initialised by `alloc_zeroed`, and any bits are a `T`; aliasing by the contract.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// `len` elements from byte `start` on, to write.
    ///
    /// # Safety
    /// No other reference to any of them may be alive.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn write<T: Pod>(&self, start: usize, len: usize) -> &mut [T] {
        let first = self.element::<T>(start, len);
        // SAFETY: as in `read`.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }

    /// The element at byte `start`, behind which `len` lie in the arena.
    fn element<T: Pod>(&self, start: usize, len: usize) -> *mut T {
        let (bytes, size) = (self.bytes, size_of::<T>());
        let fits = start <= bytes && len <= (bytes - start) / size && start.is_multiple_of(align_of::<T>());
        assert!(fits, "{len} elements of {size} bytes at {start} lie outside {bytes}");
        self.ptr.as_ptr().wrapping_add(start).cast()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes).expect("it was allocated with this layout");
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.ptr.as_ptr(), layout) };
    }
}
