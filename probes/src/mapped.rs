//! An array map of the kernel, read and written in place. The only code of the probe that touches memory by address.

use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The words of an array map made with `BPF_F_MMAPABLE` (Linux 5.5). Each value is a whole number of 64-bit words, which is how
/// the kernel lays values out too.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: NonNull<AtomicU64>,
    words: usize,
    bytes: usize,
}

// SAFETY: the memory is reached through atomics alone, and is unmapped only when the last reference is gone.
#[expect(unsafe_code, reason = "a mapping belongs to no thread")]
unsafe impl Send for Mapped {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a mapping belongs to no thread")]
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `values` values of `words_each` words.
    #[expect(unsafe_code, reason = "mmap")]
    pub(crate) fn new(
        map: impl AsFd,
        values: usize,
        words_each: usize,
    ) -> rustix::io::Result<Self> {
        let words = values * words_each;
        let bytes = (words * size_of::<u64>()).next_multiple_of(rustix::param::page_size());
        // SAFETY: the kernel chooses where; nothing that exists is replaced. The map has at least that many bytes, or it refuses.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, words, bytes })
    }

    /// All words. Others change them at any time.
    #[expect(unsafe_code, reason = "the mapping as a slice")]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped for as long as `self` lives, at a page's start, `words` long; atomics may be changed by others.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// One word, if there is one.
    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.words().get(index)
    }

    /// Half a word, if there is one: 2 * word for its lower half.
    #[expect(unsafe_code, reason = "fields of 32 bits")]
    pub(crate) fn half(&self, index: usize) -> Option<&AtomicU32> {
        if index / 2 >= self.words {
            return None;
        }
        // SAFETY: within the mapping as just checked, and aligned to 4; the kernel's side writes such fields whole.
        Some(unsafe { &*self.start.as_ptr().cast::<AtomicU32>().add(index) })
    }

    /// One word's value; 0 beyond the end.
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.word(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl Drop for Mapped {
    #[expect(unsafe_code, reason = "munmap")]
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody has a reference any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
