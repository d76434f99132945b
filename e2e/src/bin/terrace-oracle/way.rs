//! The ways to a volume that the generator goes, and what is to be counted for each. A table: it does nothing.

use serde::{Deserialize, Serialize};
use terrace_probe_abi::layout::{Operation, Path};

use crate::volume::Kind;

/// How large an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Bytes that no other volume's operations have, so that one that went astray is seen.
    Tagged,
    /// As much as takes long enough for a clock around the call not to count.
    Large,
    /// A page: what the kernel moves at least here, or what alignment demands.
    Page,
    /// It moves nothing.
    None,
}

macro_rules! ways {
    ($($(#[$doc:meta])* $name:ident: $text:literal, $operation:ident, $path:ident, $size:ident, $share:literal, $errand:ident;)+) => {
        /// One way.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub(crate) enum Way { $($(#[$doc])* $name),+ }

        impl Way {
            /// All of them, in the order of the report.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// What one of it is.
            pub(crate) const fn operation(self) -> Operation {
                match self { $(Self::$name => Operation::$operation),+ }
            }

            /// How the probe calls the way there.
            pub(crate) const fn path(self) -> Path {
                match self { $(Self::$name => Path::$path),+ }
            }

            pub(crate) const fn size(self) -> Size {
                match self { $(Self::$name => Size::$size),+ }
            }

            /// How many of these there are for a hundred of the common ones: slow ways are gone less often.
            pub(crate) const fn share(self) -> u64 {
                match self { $(Self::$name => $share),+ }
            }

            const fn needs(self) -> Needs {
                match self { $(Self::$name => Needs::$errand),+ }
            }
        }
    };
}

/// Where a way leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Anything,
    /// A folder or a file of a filesystem.
    Filesystem,
}

ways! {
    /// read(2), from where the last one ended.
    Read: "read", Read, Syscall, Tagged, 100, Anything;
    Pread: "pread", Read, Syscall, Tagged, 100, Anything;
    Readv: "readv", Read, Syscall, Tagged, 100, Anything;
    Preadv: "preadv", Read, Syscall, Tagged, 100, Anything;
    Preadv2: "preadv2", Read, Syscall, Tagged, 100, Anything;
    /// pread(2) of what is not in memory.
    Direct: "pread O_DIRECT", Read, Syscall, Page, 40, Anything;
    /// Long ones: their quantiles are what the probe's are compared with.
    LargeRead: "pread 512 KiB", Read, Syscall, Large, 20, Anything;
    LargeWrite: "pwrite 512 KiB", Write, Syscall, Large, 20, Anything;
    Write: "write", Write, Syscall, Tagged, 100, Anything;
    Pwrite: "pwrite", Write, Syscall, Tagged, 100, Anything;
    Writev: "writev", Write, Syscall, Tagged, 100, Anything;
    Pwritev: "pwritev", Write, Syscall, Tagged, 100, Anything;
    Pwritev2: "pwritev2", Write, Syscall, Tagged, 100, Anything;
    /// pwrite(2) to a file opened with O_DSYNC: one write, and no fsync besides.
    Dsync: "pwrite O_DSYNC", Write, Syscall, Tagged, 10, Anything;
    /// pwritev2(2) with RWF_DSYNC.
    DsyncFlag: "pwritev2 RWF_DSYNC", Write, Syscall, Tagged, 10, Anything;
    Fsync: "fsync", Fsync, Syscall, None, 20, Anything;
    Fdatasync: "fdatasync", Fsync, Syscall, None, 20, Anything;
    SyncFileRange: "sync_file_range", Fsync, Syscall, None, 40, Anything;
    /// getdents64(2).
    Getdents: "getdents64", Readdir, Syscall, None, 60, Filesystem;
    /// getdents(2), which old programs call.
    OldGetdents: "getdents", Readdir, Syscall, None, 20, Filesystem;
    UringRead: "io_uring read", Read, IoUring, Tagged, 60, Anything;
    /// Done by a worker thread of the kernel.
    UringReadWorker: "io_uring read, worker", Read, IoUring, Tagged, 30, Anything;
    /// From the device: it ends in an interrupt.
    UringDirect: "io_uring read O_DIRECT", Read, IoUring, Page, 30, Anything;
    UringWrite: "io_uring write", Write, IoUring, Tagged, 60, Anything;
    UringFsync: "io_uring fsync", Fsync, IoUring, None, 10, Anything;
    /// libaio, buffered: done while it is handed in.
    AioRead: "aio pread", Read, Aio, Tagged, 60, Anything;
    /// libaio as it is meant: it ends in an interrupt.
    AioDirect: "aio pread O_DIRECT", Read, Aio, Page, 30, Anything;
    AioWrite: "aio pwrite", Write, Aio, Tagged, 60, Anything;
    AioFsync: "aio fsync", Fsync, Aio, None, 10, Anything;
    /// A page of a mapped file that is not in memory.
    Mmap: "mmap fault", Read, Mmap, Page, 10, Filesystem;
    Splice: "splice", Read, Splice, Page, 40, Anything;
    Sendfile: "sendfile", Read, Splice, Page, 40, Anything;
    /// From a pipe into the file.
    SpliceTo: "splice to", Write, Splice, Page, 40, Anything;
    /// A read and a write of one volume.
    CopyFileRange: "copy_file_range", Read, Splice, Page, 10, Filesystem;
    /// pread64 by int 0x80, the door of 32-bit programs.
    Compat: "pread64 of i386", Read, Syscall, Tagged, 40, Anything;
}

impl Way {
    /// What it is besides.
    pub(crate) const fn also(self) -> Option<Operation> {
        match self {
            Self::CopyFileRange => Some(Operation::Write),
            _ => None,
        }
    }

    /// Whether a volume of this kind can be gone to so.
    pub(crate) fn leads_to(self, kind: Kind) -> bool {
        match self.needs() {
            Needs::Anything => true,
            Needs::Filesystem => kind != Kind::Block,
        }
    }

    /// Bytes of one operation on the volume of this number.
    pub(crate) const fn bytes(self, number: usize) -> usize {
        match self.size() {
            Size::Tagged => 512 + 8 * number,
            Size::Large => 512 << 10,
            Size::Page => 4096,
            Size::None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Way;

    #[test]
    fn no_two_volumes_are_read_in_equal_portions() {
        let sizes: BTreeSet<usize> = (0..250).map(|number| Way::Pread.bytes(number)).collect();
        assert_eq!(sizes.len(), 250);
        assert!(sizes.iter().all(|size| *size <= 4096));
    }
}
