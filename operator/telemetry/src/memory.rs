//! The process's own memory.

/// Gives free pages of the heap back to the kernel. Milliseconds; for the end of a burst, whose holes the heap keeps otherwise.
#[expect(unsafe_code, reason = "malloc_trim")]
pub fn give_memory_back() {
    // SAFETY: takes no pointer, and what is allocated stays where it is.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
