//! Memory as kernels like it: on the bounds of cache lines, in huge pages where the system grants them.

use bytemuck::Pod;
use memmap2::{MmapMut, MmapRaw};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A huge page of the usual processors. Where the system grants them, a working set needs few translations of addresses.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed bytes, aligned to a page. Those never touched are never taken from the system.
pub(crate) struct Pages {
    memory: MmapRaw,
    /// Where the bytes begin in `memory`.
    first: usize,
    bytes: usize,
}

impl Pages {
    /// So many zeros; `None` where the system has not that much memory.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let huge = bytes >= HUGE_PAGE;
        let slack = if huge { HUGE_PAGE } else { 0 };
        let memory = MmapMut::map_anon(bytes.max(1).checked_add(slack)?).ok()?;
        let first = if huge { memory.as_ptr().align_offset(HUGE_PAGE) } else { 0 };
        #[cfg(target_os = "linux")]
        if huge {
            // Without huge pages all works as well, only slower.
            let _ = memory.advise_range(memmap2::Advice::HugePage, first, bytes);
        }
        Some(Self { memory: memory.into(), first, bytes })
    }

    /// How many.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first of them.
    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.memory.as_mut_ptr().wrapping_add(self.first)
    }
}

/// So many elements in memory of their own, zeros at first: for kernels that are called without a session.
pub struct Buffer<T> {
    pages: Pages,
    len: usize,
    elements: PhantomData<Vec<T>>,
}

impl<T: Pod> Buffer<T> {
    /// `len` zeros; `None` where the system has not that much memory.
    pub fn zeros(len: usize) -> Option<Self> {
        let pages = Pages::new(len.checked_mul(size_of::<T>())?)?;
        Some(Self { pages, len, elements: PhantomData })
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: so many elements lie in the pages, aligned, initialised (any bits are a `T`), and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.pages.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_aligned_and_written() {
        for len in [0, 1, 1000, 3 << 20] {
            let mut buffer = Buffer::<f32>::zeros(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|value| *value == 0.0));
            assert!(buffer.as_ptr().addr().is_multiple_of(64));
            buffer.fill(1.5);
            assert_eq!(buffer.iter().sum::<f32>(), 1.5 * len as f32);
        }
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        assert!(Buffer::<f32>::zeros(usize::MAX / 4).is_none());
        assert!(Buffer::<f32>::zeros(usize::MAX / 2).is_none());
    }
}
