//! The records that lie in maps, field by field as `bpf/abi.h` has them.

use super::{BUCKETS, ERRORS, OPERATIONS, PATHS, Path, SIZES, Slot};

/// What is known of one operation in one slot. Every field but `max_ns` only grows while the slot belongs to the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C)]
pub struct OperationFigures {
    /// Nanoseconds, all operations added up.
    pub sum_ns: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Operations at or above the slot's threshold.
    pub slow: u64,
    /// Operations during which the thread never slept: answered from memory.
    pub cached: u64,
    /// Writes to files opened with O_DSYNC or O_SYNC.
    pub synced: u64,
    /// The longest since it was last taken, in nanoseconds.
    pub max_ns: u64,
    /// Failed ones, by [`super::ErrorKind`].
    pub errors: [u64; ERRORS],
    /// Those that moved bytes, by [`super::SizeClass`].
    pub sizes: [u64; SIZES],
    /// By [`Path`]; the kernel leaves that of system calls at 0, see [`OperationFigures::by_path`].
    pub paths: [u64; PATHS],
    /// How many took how long; failed ones too.
    pub buckets: [u64; BUCKETS],
}

/// The figures of a slot, by [`super::Operation`].
pub type Figures = [OperationFigures; OPERATIONS];

impl OperationFigures {
    /// Nothing has happened.
    pub const ZERO: Self = Self {
        sum_ns: 0,
        bytes: 0,
        slow: 0,
        cached: 0,
        synced: 0,
        max_ns: 0,
        errors: [0; ERRORS],
        sizes: [0; SIZES],
        paths: [0; PATHS],
        buckets: [0; BUCKETS],
    };

    /// How many operations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many came a certain way.
    #[must_use]
    pub fn by_path(&self, path: Path) -> u64 {
        let known = self.paths[path.index()];
        match path {
            Path::Syscall => self.count().saturating_sub(self.paths.iter().sum()),
            Path::IoUring | Path::Aio | Path::Mmap | Path::Splice | Path::Nested => known,
        }
    }

    /// Adds another's figures; the longest of both is kept.
    pub fn add(&mut self, other: &Self) {
        let Self { sum_ns, bytes, slow, cached, synced, max_ns, errors, sizes, paths, buckets } =
            other;
        self.sum_ns += sum_ns;
        self.bytes += bytes;
        self.slow += slow;
        self.cached += cached;
        self.synced += synced;
        self.max_ns = self.max_ns.max(*max_ns);
        add_each(&mut self.errors, errors);
        add_each(&mut self.sizes, sizes);
        add_each(&mut self.paths, paths);
        add_each(&mut self.buckets, buckets);
    }
}

impl Default for OperationFigures {
    fn default() -> Self {
        Self::ZERO
    }
}

fn add_each(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// One word of the table of mounts: which slot, since when, and for which mount. All 0: nobody has been seen there. In the map the
/// slot has 14 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountWord {
    /// Where its operations are counted.
    pub slot: Slot,
    /// Whether folders on it have classes of their own, and each open file is looked at for that.
    pub has_directories: bool,
    /// Raised by the kernel's side each time the id is seen with another tag.
    pub generation: u16,
    /// A hash of what the mount is; never 0 for one that was seen.
    pub tag: u32,
}

impl MountWord {
    /// As it lies in the map.
    #[must_use]
    pub const fn packed(self) -> u64 {
        let slot = (self.slot & SLOT_BITS) as u64 | ((self.has_directories as u64) << 14);
        slot | ((self.generation as u64) << 16) | ((self.tag as u64) << 32)
    }

    /// From how it lies in the map.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the word")]
    pub const fn unpacked(word: u64) -> Self {
        let has_directories = word & (1 << 14) != 0;
        let slot = word as u16 & SLOT_BITS;
        Self { slot, has_directories, generation: (word >> 16) as u16, tag: (word >> 32) as u32 }
    }
}

/// The bits of a word that are the slot.
const SLOT_BITS: u16 = 0x3fff;

/// A folder that is no mount and has a class of its own, as the kernel tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct DirectoryKey {
    /// Its inode number.
    pub inode: u64,
    /// The superblock's device as the kernel has it (major << 20 | minor).
    pub s_dev: u32,
    /// Nothing.
    pub unused: u32,
}

/// What user space sets for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SlotSetting {
    /// From how many nanoseconds on an operation is slow; 0: none is.
    pub threshold_ns: u64,
    /// An operation is counted if a random 32-bit number is not above this.
    pub keep: u32,
    /// The block device below as the kernel numbers it, or 0.
    pub device: u32,
}

/// What was seen: a mount, or a block device that was opened as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ThingKey {
    /// Mount id, or device number as the kernel has it (major << 20 | minor).
    pub id: u32,
    /// Tells it from others that have or had this id.
    pub tag: u32,
}

/// What was known of it at first sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct ThingRecord {
    /// Hash of the path of the mount's root ([`root_hash`]); 0 for a device.
    pub root_hash: u64,
    /// When, by the monotonic clock.
    pub seen_ns: u64,
    /// The superblock's device as the kernel has it (major << 20 | minor); for a device the one its node lies on.
    pub s_dev: u32,
    /// The filesystem's magic number.
    pub magic: u32,
    /// The process that used it first, as the host numbers it.
    pub tgid: u32,
    /// Nothing.
    pub unused: u32,
}

/// How many names of a mount's root are hashed, the innermost first.
pub const ROOT_NAMES: usize = 6;
/// Bytes of each, a final 0 included.
pub const ROOT_NAME_BYTES: usize = 48;

/// The hash of a mount's root as the kernel's side computes it: FNV-1a over the last names, innermost first, each cut and ended by
/// `/`. Never 0.
#[must_use]
pub fn root_hash(root: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let names = root.rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let hash = names.take(ROOT_NAMES).fold(0xcbf2_9ce4_8422_2325, |hash, name| {
        let cut = &name[..name.len().min(ROOT_NAME_BYTES - 1)];
        step(cut.iter().fold(hash, step), &b'/')
    });
    hash.max(1)
}

/// How many names of a path a slow operation brings along, the file's own first.
pub const NAMES: usize = 8;
/// Bytes of each name; a longer one is cut and has no final 0.
pub const NAME_BYTES: usize = 37;

/// A slow operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C)]
pub struct SlowRecord {
    /// When it began, by the monotonic clock.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// How much of that the thread ran, to the kernel's last bookkeeping of it.
    pub cpu_ns: u64,
    /// How long block requests waited in a queue that its device took up meanwhile.
    pub queue_ns: u64,
    /// How long block requests were with its device that this answered meanwhile.
    pub block_ns: u64,
    /// The cgroup (v2) id of the process.
    pub cgroup: u64,
    /// The file's inode number.
    pub inode: u64,
    /// Bytes moved, or an errno below 0.
    pub result: i64,
    /// The process as the host numbers it.
    pub tgid: u32,
    /// The thread as the host numbers it.
    pub tid: u32,
    /// The superblock's device as the kernel has it.
    pub s_dev: u32,
    /// The filesystem's magic number.
    pub magic: u32,
    /// The mount, or 0 for a block device.
    pub mount: u32,
    /// Where it was counted.
    pub slot: Slot,
    /// Which generation of the mount.
    pub generation: u16,
    /// As [`super::Operation`].
    pub operation: u8,
    /// As [`Path`].
    pub path: u8,
    /// Whether the thread slept: 0 or 1.
    pub blocked: u8,
    /// How many of `names` are filled.
    pub depth: u8,
    /// 1 if the path has more names than that.
    pub deeper: u8,
    /// Nothing.
    pub unused: [u8; 3],
    /// The thread's name.
    pub command: [u8; 16],
    /// The file's name, its folder's, and so on.
    pub names: [[u8; NAME_BYTES]; NAMES],
}

const _: () = {
    assert!(size_of::<OperationFigures>() == 8 * (6 + ERRORS + SIZES + PATHS + BUCKETS));
    assert!(size_of::<OperationFigures>() == 1720);
    assert!(size_of::<SlotSetting>() == 16);
    assert!(size_of::<DirectoryKey>() == 16);
    assert!(size_of::<ThingKey>() == 8);
    assert!(size_of::<ThingRecord>() == 32);
    assert!(size_of::<SlowRecord>() == 408);
};

#[cfg(test)]
mod tests {
    use super::super::{SLOT_IGNORED, SLOT_NONE};
    use super::{MountWord, OperationFigures, Path, root_hash};

    #[test]
    fn a_word_comes_back_as_it_went() {
        let word = |slot, has_directories| MountWord {
            slot,
            has_directories,
            generation: 65_535,
            tag: 0xdead_beef,
        };
        for word in
            [word(577, false), word(577, true), word(SLOT_NONE, false), word(SLOT_IGNORED, true)]
        {
            assert_eq!(MountWord::unpacked(word.packed()), word);
        }
        assert_eq!(MountWord::default().packed(), 0);
    }

    #[test]
    fn a_root_is_known_by_its_last_names_each_cut() {
        assert_eq!(root_hash(b"/"), 0xcbf2_9ce4_8422_2325);
        assert_ne!(root_hash(b"/a/b"), root_hash(b"/b/a"));
        assert_ne!(root_hash(b"/ab"), root_hash(b"/a/b"));
        assert_eq!(root_hash(b"/x/1/2/3/4/5/6"), root_hash(b"/y/1/2/3/4/5/6"));
        let [long, longer] = [[b'n'; 47].as_slice(), &[b'n'; 60]].map(root_hash);
        assert_eq!(long, longer);
    }

    #[test]
    fn what_came_no_other_way_was_a_system_call() {
        let mut figures = OperationFigures::ZERO;
        figures.buckets[7] = 10;
        figures.paths[Path::IoUring.index()] = 4;
        assert_eq!((figures.by_path(Path::Syscall), figures.by_path(Path::IoUring)), (6, 4));
    }
}
