//! The edge between the kernel's side of the probe and everything above it, which works on plain values. Nothing here names
//! volumes or knows Kubernetes.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use terrace_probe_abi::layout::{Figures, MISSED, Missed, Operation, Path, Slot, SlowRecord, Tier};

use crate::place_directory::DirectoryClass;

/// What to attach, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to count; the functions of any other operation are not attached.
    pub operations: Vec<Operation>,
    /// Take this tier or none, whatever the kernel offers.
    pub forced: Option<Tier>,
    /// A folder on a bpffs for maps and links, so that a killed probe loses no count. `None`: nothing outlives the process.
    pub pins: Option<PathBuf>,
    /// Share of operations counted where a sample is enough, 0.0 to 1.0.
    pub sampling: f64,
    /// From when on an operation is slow, where no volume says otherwise.
    pub threshold: Duration,
    /// Slow operations told at most, a second; beyond that they are dropped and counted.
    pub slow_per_second: u32,
    /// Slow operations told at once at most, and room for as many until they are read.
    pub slow_burst: u32,
    /// Whether to take queue and device times from the block layer.
    pub block: Switch,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Do it.
    On,
    /// Leave it.
    Off,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            operations: Operation::ALL.to_vec(),
            forced: None,
            pins: None,
            sampling: 0.1,
            threshold: Duration::from_millis(10),
            slow_per_second: 200,
            slow_burst: 10_000,
            block: Switch::On,
        }
    }
}

/// How one function of the kernel is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionReport {
    /// The function or tracepoint, as the kernel calls it.
    pub function: String,
    /// How.
    pub tier: Tier,
    /// Why not better, as a sentence; empty for the best tier.
    pub reason: String,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// A mount, by the id that mountinfo shows.
    Mount(u32),
    /// A block device that was opened as such.
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// A mount or device that was used and has not been named yet, or whose id has come to mean another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// What.
    pub thing: Thing,
    /// Which of those that had this id.
    pub generation: u16,
    /// The provisional slot that counts it, [`SLOT_NONE`](terrace_probe_abi::layout::SLOT_NONE) if none was free.
    pub slot: Slot,
    /// Major and minor number of the superblock's device, as the third field of mountinfo has it.
    pub s_dev: (u32, u32),
    /// Hash of the path of the mount's root, as [`root_hash`](terrace_probe_abi::layout::root_hash) has it of mountinfo's fourth field;
    /// 0 where it is not known.
    pub root_hash: u64,
    /// The filesystem's magic number.
    pub magic: u32,
    /// The process that used it first, as the host numbers it.
    pub tgid: u32,
    /// When, in nanoseconds of the monotonic clock.
    pub seen_ns: u64,
}

/// How often and how long a program ran. Zero where the kernel does not keep count (`kernel.bpf_stats_enabled`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFigures {
    /// Its name.
    pub name: String,
    /// Runs.
    pub runs: u64,
    /// Nanoseconds, all runs added up.
    pub nanoseconds: u64,
    /// How often the kernel did not run it, so as not to nest it. Linux 5.12.
    pub recursion_misses: u64,
    /// Instructions that the verifier went through. Linux 5.16, else 0.
    pub verified_instructions: u32,
    /// Size in the kernel's own form, in bytes.
    pub translated_bytes: u32,
    /// Size as machine code, in bytes.
    pub jited_bytes: u32,
}

/// What the probe says of itself. Monotone as long as the maps live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// By [`Missed`].
    pub missed: [u64; MISSED],
    /// Slow operations that were not told: too many, or no room.
    pub slow_dropped: u64,
    /// Every attached program.
    pub programs: Vec<ProgramFigures>,
    /// Memory of all maps in the kernel, in bytes.
    pub map_bytes: u64,
}

impl Counters {
    /// How often one reason applied.
    #[must_use]
    pub fn missed(&self, reason: Missed) -> u64 {
        self.missed[reason.index()]
    }
}

/// Times from the block layer for a slot's device; buckets are those of [`edges`](terrace_probe_abi::layout::edges).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockFigures {
    /// From handing in to starting.
    pub queue: terrace_probe_abi::layout::OperationFigures,
    /// From starting to the device's answer.
    pub device: terrace_probe_abi::layout::OperationFigures,
}

/// Brings the probe into the kernel.
pub trait Loader {
    /// What it gives.
    type Attached: Attached;

    /// Chooses a tier for each function, loads, attaches, and believes nothing that its self-test does not show. That no tier
    /// works is no error: see [`Attached::functions`].
    ///
    /// # Errors
    /// What cannot be helped by another tier: no room for maps, a bpffs that is none.
    fn attach(&self, plan: &Plan) -> Result<Self::Attached, LoadError>;
}

/// The probe in the kernel. Dropping it detaches, unless it is pinned.
pub trait Attached {
    /// How each function is followed.
    fn functions(&self) -> &[FunctionReport];

    /// The ways to a volume that go unseen with these functions.
    fn unobservable(&self) -> &[Path];

    /// The figures of a slot, all stripes added up.
    fn figures(&self, slot: Slot) -> Box<Figures>;

    /// Takes the longest operation of each kind since this was asked last, and begins anew.
    fn take_longest(&self, slot: Slot) -> [u64; terrace_probe_abi::layout::OPERATIONS];

    /// Queue and device times of a slot.
    fn block_figures(&self, slot: Slot) -> BlockFigures;

    /// Sets all figures of a slot to 0. Only for one that nothing points to any more.
    fn clear(&self, slot: Slot);

    /// All that was seen and not forgotten; a process that starts over sees them again.
    ///
    /// # Errors
    /// As the kernel says.
    fn sightings(&self) -> Result<Vec<Sighting>, LoadError>;

    /// Provisional slots that nothing points to and that are not free: an earlier process was killed before it folded them.
    ///
    /// # Errors
    /// As the kernel says.
    fn orphans(&self) -> Result<Vec<Slot>, LoadError> {
        Ok(Vec::new())
    }

    /// Slow operations since this was asked last, oldest first, at most `limit`.
    fn slow_events(&mut self, limit: usize) -> Vec<SlowRecord>;

    /// Readable when there is a new sighting or slow operation.
    fn wake(&self) -> BorrowedFd<'_>;

    /// What it says of itself.
    ///
    /// # Errors
    /// As the kernel says.
    fn counters(&self) -> Result<Counters, LoadError>;

    /// From now on counts a thing in a slot. `Changed::No`: the id means another thing by now, look at the sightings again.
    ///
    /// # Errors
    /// As the kernel says.
    fn set_slot(&self, thing: Thing, generation: u16, slot: Slot) -> Result<Changed, LoadError>;

    /// Which folders that are no mounts have a class of their own, the whole list. Looked for on mounts that
    /// [`Attached::set_has_directories`] names alone.
    ///
    /// # Errors
    /// As the kernel says.
    fn set_directories(&self, directories: &[DirectoryClass]) -> Result<(), LoadError>;

    /// Whether such folders are looked for on a mount. Each operation on it costs more then.
    ///
    /// # Errors
    /// As the kernel says.
    fn set_has_directories(
        &self,
        thing: Thing,
        generation: u16,
        has: Switch,
    ) -> Result<Changed, LoadError>;

    /// Forgets a thing that is gone: its sighting is told no more, and its next use is a first one.
    ///
    /// # Errors
    /// As the kernel says.
    fn forget(&self, thing: Thing, generation: u16) -> Result<Changed, LoadError>;

    /// Notes whose a volume's slot is, for a process that starts over; nobody's: empty.
    fn remember(&self, volume: Slot, owner: &[u8]);

    /// What was noted, where the maps outlived whoever did.
    fn remembered(&self) -> Vec<(Slot, Vec<u8>)>;

    /// Moves all figures of a provisional slot to another and gives it back. Word by word: what the kernel counts meanwhile is in
    /// one of them, and nothing is in both, even if this process is killed half-way.
    ///
    /// # Errors
    /// As the kernel says.
    fn fold(&self, from: Slot, to: Slot) -> Result<(), LoadError>;

    /// Moves all figures of a volume that is gone to where those of all such are, so that sums over all volumes only grow.
    fn retire(&self, volume: Slot, to: Slot);

    /// Gives a provisional slot back after its figures were folded; it is cleared first.
    ///
    /// # Errors
    /// As the kernel says.
    fn release(&self, provisional: Slot) -> Result<(), LoadError>;

    /// From when on an operation in this slot is slow; 0: none is.
    fn set_threshold(&self, slot: Slot, ns: u64);

    /// The block device below a slot, for [`Attached::block_figures`].
    ///
    /// # Errors
    /// As the kernel says.
    fn set_device(&self, slot: Slot, device: Option<(u32, u32)>) -> Result<(), LoadError>;
}

/// Whether something still was as the caller thought, and so was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It was.
    Yes,
    /// It was not, and nothing was changed.
    No,
}

/// What no other tier helps against.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object does not load: another kernel, or one that allows less.
    #[error("{doing}")]
    Object {
        /// What was being done.
        doing: &'static str,
        /// What aya says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A system call failed.
    #[error("{doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A map or program that the object should have is not in it.
    #[error("{name} is not in the probe's object")]
    Absent {
        /// Which.
        name: &'static str,
    },
    /// A pinned map is of another shape than this version's.
    #[error("{path} is a map of another shape; take it away")]
    OtherShape {
        /// The pin.
        path: PathBuf,
    },
}
