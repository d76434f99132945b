//! What can be followed in the kernel: hooks, the functions that serve each (names change between versions), the system calls
//! that lead there, and the programs of `bpf/` by name. Values alone.

use terrace_probe_abi::layout::{Operation, Path};

/// One thing that is followed, by whatever means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// read, pread64.
    Read,
    /// readv, preadv, preadv2.
    Readv,
    /// write, pwrite64.
    Write,
    /// writev, pwritev, pwritev2.
    Writev,
    /// fsync, fdatasync.
    Fsync,
    /// sync_file_range.
    SyncRange,
    /// getdents, getdents64.
    Iterate,
    /// copy_file_range.
    Copy,
    /// splice.
    Splice,
    /// sendfile.
    Sendfile,
    /// sendfile to a pipe, which takes a way of its own since Linux 5.12.
    SendToPipe,
    /// Page faults in mapped files.
    Fault,
    /// libaio, reads.
    AioRead,
    /// libaio, writes.
    AioWrite,
    /// io_uring: tracepoints of its own, in every tier.
    Uring,
    /// The block layer's requests: tracepoints of its own, in every tier.
    Block,
    /// rename and its like: what is known of an open file's folder may be wrong then.
    Rename,
}

/// What is known of a hook.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Which.
    pub hook: Hook,
    /// Whose figures it feeds; switched off if none of these is asked for.
    pub operations: &'static [Operation],
    /// How what it sees came.
    pub path: Path,
    /// Functions that serve it, best first; each has programs of its name.
    pub functions: &'static [&'static str],
    /// Another function that must be there, too: where it ends.
    pub ends: Option<&'static str>,
    /// Its system calls are seen by the raw tracepoints.
    pub by_calls: Visibility,
    /// Tracepoints (kernel's name, program), attached in every tier.
    pub tracepoints: &'static [(&'static str, &'static str)],
}

/// Whether a tier can see something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It can.
    Seen,
    /// It cannot.
    Unseen,
}

use Operation::{Fsync, Read, Readdir, Write};
use Visibility::{Seen, Unseen};

const fn by_function(
    hook: Hook,
    operations: &'static [Operation],
    path: Path,
    functions: &'static [&'static str],
) -> Target {
    Target { hook, operations, path, functions, ends: None, by_calls: Seen, tracepoints: &[] }
}

const fn aio(
    hook: Hook,
    operations: &'static [Operation],
    functions: &'static [&'static str],
) -> Target {
    Target {
        hook,
        operations,
        path: Path::Aio,
        functions,
        ends: Some("aio_complete_rw"),
        by_calls: Unseen,
        tracepoints: &[],
    }
}

/// The submission was renamed in 6.3; the first name that attaches is taken.
pub const URING_SUBMISSIONS: [&str; 2] = ["io_uring_submit_req", "io_uring_submit_sqe"];

/// All of them.
pub const TARGETS: [Target; 17] = [
    by_function(Hook::Read, &[Read], Path::Syscall, &["vfs_read"]),
    // `do_iter_read` is gone since 6.8; `vfs_readv` is static and may be inlined.
    by_function(Hook::Readv, &[Read], Path::Syscall, &["vfs_readv", "do_iter_read"]),
    by_function(Hook::Write, &[Write], Path::Syscall, &["vfs_write"]),
    by_function(Hook::Writev, &[Write], Path::Syscall, &["vfs_writev", "do_iter_write"]),
    // fsync(2) never reaches `vfs_fsync`.
    by_function(Hook::Fsync, &[Fsync], Path::Syscall, &["vfs_fsync_range"]),
    by_function(Hook::SyncRange, &[Fsync], Path::Syscall, &["sync_file_range"]),
    by_function(Hook::Iterate, &[Readdir], Path::Syscall, &["iterate_dir"]),
    by_function(Hook::Copy, &[Read, Write], Path::Splice, &["vfs_copy_file_range"]),
    by_function(Hook::Splice, &[Read, Write], Path::Splice, &["do_splice"]),
    by_function(Hook::Sendfile, &[Read, Write], Path::Splice, &["do_splice_direct"]),
    by_function(Hook::SendToPipe, &[Read], Path::Splice, &["splice_file_to_pipe"]),
    Target {
        hook: Hook::Fault,
        operations: &[Read],
        path: Path::Mmap,
        functions: &["filemap_fault"],
        ends: None,
        by_calls: Unseen,
        tracepoints: &[],
    },
    aio(Hook::AioRead, &[Read], &["aio_read"]),
    aio(Hook::AioWrite, &[Write], &["aio_write"]),
    Target {
        hook: Hook::Uring,
        operations: &[Read, Write, Fsync],
        path: Path::IoUring,
        functions: &[],
        ends: None,
        by_calls: Unseen,
        tracepoints: &[
            ("io_uring_complete", "uring_ends"),
            ("io_uring_submit_req", "uring_begins"),
        ],
    },
    Target {
        hook: Hook::Block,
        operations: &[Read, Write, Fsync],
        path: Path::Nested,
        functions: &[],
        ends: None,
        by_calls: Unseen,
        tracepoints: &[
            ("block_rq_complete", "block_ends"),
            ("block_rq_issue", "block_begins"),
            ("block_bio_complete", "bio_ends"),
            ("block_bio_queue", "bio_begins"),
        ],
    },
    // No operation of its own: `Nested` is no way that could go unseen.
    by_function(Hook::Rename, &[Read, Write, Fsync, Readdir], Path::Nested, &["vfs_rename"]),
];

/// The target of a hook.
#[must_use]
pub fn target(hook: Hook) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.hook == hook);
    found.unwrap_or(&TARGETS[0])
}

/// The tracepoints of the tier of system calls (kernel's name, program): ends before beginnings, so that nothing begins unseen to end.
pub const CALL_TRACEPOINTS: [(&str, &str); 3] = [
    ("sched_process_exit", "thread_ends"),
    ("sys_exit", "call_ends"),
    ("sys_enter", "call_begins"),
];

#[cfg(test)]
mod tests {
    use super::{TARGETS, target};

    #[test]
    fn every_hook_is_a_target_of_its_own() {
        for known in &TARGETS {
            assert_eq!(target(known.hook).hook, known.hook);
            assert!(!known.functions.is_empty() || !known.tracepoints.is_empty());
        }
    }
}
