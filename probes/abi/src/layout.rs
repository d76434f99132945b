//! Types and numbers shared with the programs in the kernel (`probes/bpf/abi.h` is the same in C). Whoever changes one changes
//! the other: sizes are asserted on both sides, and the folder of pinned maps is named after a hash of both.

mod geometry;
mod records;
mod slots;

pub use geometry::{BUCKETS, bucket_of, edges};
pub use records::{
    DirectoryKey, Figures, MountWord, NAME_BYTES, NAMES, OperationFigures, ROOT_NAME_BYTES,
    ROOT_NAMES, SlotSetting, SlowRecord, ThingKey, ThingRecord, root_hash,
};
pub use slots::{
    CLASS_SLOTS, FIRST_CLASS, FIRST_PROVISIONAL, PROVISIONAL_SLOTS, RETIRED_VOLUMES,
    SHARED_CLASSES, SLOT_IGNORED, SLOT_NONE, SLOTS, SharedClass, Slot, SlotKind, VOLUME_SLOTS,
};

use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are also the indices of an array shared with the kernel.
macro_rules! indexed {
    ($(#[$doc:meta])* $name:ident, $count:ident { $($(#[$variant_doc:meta])* $variant:ident = $index:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $index),+ }

        /// How many there are.
        pub const $count: usize = $name::ALL.len();

        impl $name {
            /// All, in the order of their indices.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its place in arrays shared with the kernel.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The one at a place, if there is one.
            #[must_use]
            pub fn at(index: usize) -> Option<Self> {
                Self::ALL.get(index).copied()
            }
        }
    };
}
pub(crate) use indexed;

indexed! {
    /// How the kernel calls the probe when a function runs. The first that works is taken, function by function.
    Tier, TIERS {
        /// fentry and fexit: Linux 5.5 on x86-64 (5.11 for what is counted here), 6.0 on arm64.
        Fentry = 0,
        /// kprobe and kretprobe.
        Kprobe = 1,
        /// Raw tracepoints of system calls, which a locked-down kernel allows too.
        RawTracepoint = 2,
        /// Not at all.
        None = 3,
    }
}

indexed! {
    /// What a program did to a volume.
    Operation, OPERATIONS {
        /// read, pread, readv, preadv, preadv2, and what counts as such.
        Read = 0,
        /// write, pwrite, writev, pwritev, pwritev2, and what counts as such.
        Write = 1,
        /// fsync, fdatasync, sync_file_range.
        Fsync = 2,
        /// getdents, getdents64.
        Readdir = 3,
    }
}

indexed! {
    /// How an operation came to the volume.
    Path, PATHS {
        /// A system call of its own.
        Syscall = 0,
        /// io_uring.
        IoUring = 1,
        /// libaio.
        Aio = 2,
        /// A page fault in a mapped file.
        Mmap = 3,
        /// splice, sendfile, copy_file_range.
        Splice = 4,
        /// Within another operation of the same thread; never counted.
        Nested = 5,
    }
}

indexed! {
    /// Why an operation failed.
    ErrorKind, ERRORS {
        /// EIO.
        Eio = 0,
        /// EROFS.
        Erofs = 1,
        /// ENOSPC.
        Enospc = 2,
        /// EDQUOT.
        Edquot = 3,
        /// Any other.
        Other = 4,
    }
}

indexed! {
    /// How much an operation moved; failed ones, fsync and readdir are in none.
    SizeClass, SIZES {
        /// Up to 4 KiB.
        Small = 0,
        /// Up to 64 KiB.
        Medium = 1,
        /// Up to 1 MiB.
        Large = 2,
        /// More.
        Huge = 3,
    }
}

indexed! {
    /// Why an operation on something that is counted was not.
    Missed, MISSED {
        /// No slot was free for its mount.
        NoSlot = 0,
        /// The caller was a 32-bit program.
        Compat = 1,
        /// Its place in the table of operations under way was another thread's.
        Collision = 2,
        /// It began and was never seen to end, or the other way round.
        Unmatched = 3,
        /// The kernel did not run the program, so as not to nest it.
        Recursion = 4,
        /// Its file descriptor led to no file.
        NoFile = 5,
    }
}

/// The abi of the layout: part of the name of the folder for pins. Raised with every change of a shared type.
pub const LAYOUT: u32 = 2;

/// Mount ids below this are looked up directly; others are `missed{noSlot}`.
pub const MOUNTS: u32 = 131_072;
