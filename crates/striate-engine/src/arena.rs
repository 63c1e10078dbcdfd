//! One block of memory for everything a session computes with.
//!
//! The plan decides where each value lies and checks that no step writes what it reads, or the same place twice; that
//! check is what makes handing out mutable parts sound.

use crate::buffer::Pages;
use bytemuck::Pod;

/// Alignment of every place in the block, in bytes: a cache line and an AVX-512 vector.
pub(crate) const ALIGN: usize = 64;

/// Zeroed bytes, the first of them aligned to at least [`ALIGN`].
pub(crate) struct Arena(Pages);

impl Arena {
    /// So many zeros; `None` where the system has not that much memory.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        Pages::new(bytes).map(Self)
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// `len` elements from byte `start` on.
    ///
    /// # Safety
    /// No mutable reference to any of them may be alive.
    pub(crate) unsafe fn read<T: Pod>(&self, start: usize, len: usize) -> &[T] {
        let first = self.element::<T>(start, len);
        // SAFETY: in bounds and aligned; initialised when allocated, and any bits are a `T`; aliasing by the contract.
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
        let (bytes, size) = (self.0.bytes(), size_of::<T>());
        let fits = start <= bytes && len <= (bytes - start) / size && start.is_multiple_of(align_of::<T>());
        assert!(fits, "{len} elements of {size} bytes at {start} lie outside {bytes}");
        self.0.as_mut_ptr().wrapping_add(start).cast()
    }
}
