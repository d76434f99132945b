//! An array map of the kernel, read and written in place. The only code of the probe that touches memory by address.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The words of an array map made with `BPF_F_MMAPABLE` (Linux 5.5). Each value is a whole number of 64-bit words, which is how
/// the kernel lays values out too.
#[derive(Debug)]
pub(crate) struct Mapped {
    start: NonNull<AtomicU64>,
    /// Words before the first: mappings begin at a page.
    skipped: usize,
    words: usize,
    bytes: usize,
}

/// The same, mapped piece by piece for as long as it is looked at: what is mapped is all resident at once, and large where there
/// are many processors.
#[derive(Debug)]
pub(crate) struct Windows {
    map: OwnedFd,
    values: usize,
    words_each: usize,
}

impl Windows {
    /// Over `values` values of `words_each` words.
    pub(crate) fn new(map: impl AsFd, values: usize, words_each: usize) -> std::io::Result<Self> {
        let map = map.as_fd().try_clone_to_owned()?;
        Ok(Self { map, values, words_each })
    }

    /// Does something with `count` values from the `first` on; `None` if they are not there, or the process may map no more.
    pub(crate) fn over<T>(
        &self,
        first: usize,
        count: usize,
        with: impl FnOnce(&[AtomicU64]) -> T,
    ) -> Option<T> {
        if first + count > self.values {
            return None;
        }
        let mapped = Mapped::range(&self.map, first * self.words_each, count * self.words_each);
        let mapped = mapped.inspect_err(|error| tracing::error!(%error, "map a part of an array"));
        mapped.ok().map(|mapped| with(mapped.words()))
    }
}

// SAFETY: the memory is reached through atomics alone, and is unmapped only when the last reference is gone.
#[expect(unsafe_code, reason = "a mapping belongs to no thread")]
unsafe impl Send for Mapped {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a mapping belongs to no thread")]
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `values` values of `words_each` words.
    pub(crate) fn new(
        map: impl AsFd,
        values: usize,
        words_each: usize,
    ) -> rustix::io::Result<Self> {
        Self::range(map, 0, values * words_each)
    }

    /// Maps `words` words from `first` on.
    #[expect(unsafe_code, reason = "mmap")]
    fn range(map: impl AsFd, first: usize, words: usize) -> rustix::io::Result<Self> {
        let page = rustix::param::page_size();
        let (begin, end) = (first * size_of::<u64>(), (first + words) * size_of::<u64>());
        let offset = begin / page * page;
        let bytes = end.next_multiple_of(page) - offset;
        // SAFETY: the kernel chooses where; nothing that exists is replaced. The map has at least that many bytes, or it refuses.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map,
                offset as u64,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, skipped: (begin - offset) / size_of::<u64>(), words, bytes })
    }

    /// All words. Others change them at any time.
    #[expect(unsafe_code, reason = "the mapping as a slice")]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped for as long as `self` lives, `skipped` and then `words` long from a page's start; atomics may be changed
        // by others.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(self.skipped), self.words) }
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
        Some(unsafe { &*self.words().as_ptr().cast::<AtomicU32>().add(index) })
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
