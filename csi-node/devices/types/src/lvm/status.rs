//! What device-mapper says of a device, without a command: the usage and health that LVM would only pass on.

use serde::Serialize;

use crate::{Bytes, DevT};

/// A device of device-mapper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DmStatus {
    /// Its number.
    pub dev_t: DevT,
    /// Its name.
    pub name: String,
    /// Its UUID; one of LVM's begins with `LVM-` and those of group and volume.
    pub uuid: String,
    /// How many have it open: mounts, programs, other devices.
    pub open: u32,
    /// Whether whoever uses it waits.
    pub suspended: bool,
    /// Whether nobody can write.
    pub read_only: bool,
    /// Goes up with every event, such as a watermark that was passed.
    pub event: u32,
    /// What it is made of, in order.
    pub targets: Vec<DmTarget>,
}

/// One piece of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum DmTarget {
    /// A piece of one other device.
    Linear,
    /// Pieces of several.
    Striped,
    /// Copies.
    Raid(RaidStatus),
    /// A thin pool.
    ThinPool(ThinPoolStatus),
    /// A thin volume, with what it holds of its pool; none when the pool has failed.
    Thin {
        /// What it holds.
        mapped: Option<Bytes>,
    },
    /// Every request is an error.
    Error,
    /// Another, or a status that can't be read.
    Other {
        /// Its type.
        kind: String,
        /// Its status.
        status: String,
    },
}

/// How much of something is in use, in units of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Used {
    /// In use.
    pub used: u64,
    /// Of so many.
    pub total: u64,
}

impl Used {
    /// In percent, rounded up: what has passed a watermark by anything has passed it.
    #[must_use]
    pub fn percent(self) -> u32 {
        let hundredfold = u128::from(self.used) * 100;
        let percent = hundredfold.div_ceil(u128::from(self.total.max(1)));
        u32::try_from(percent).unwrap_or(u32::MAX)
    }
}

/// What a thin pool lets happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum PoolMode {
    /// Everything.
    Writable,
    /// No room for data is left: what needs a new block fails.
    OutOfData,
    /// It can only be read: its metadata is full or damaged.
    ReadOnly,
    /// Nothing.
    Failed,
}

/// A thin pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ThinPoolStatus {
    /// What it lets happen. The rest is all zeros where it failed.
    pub mode: PoolMode,
    /// The number of the last change that the pool itself knows of.
    pub transaction: u64,
    /// Blocks of metadata, 4 KiB each.
    pub metadata: Used,
    /// Chunks of data.
    pub data: Used,
    /// Whether its metadata has to be checked before it is used again.
    pub needs_check: bool,
    /// Whether a write that needs a chunk fails where there is none, and does not wait.
    pub fails_when_full: bool,
}

/// The state of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RaidLeg {
    /// Whole.
    Whole,
    /// There, and not yet like the others.
    Behind,
    /// Failed or missing.
    Failed,
}

/// Copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RaidStatus {
    /// Each copy.
    pub legs: Vec<RaidLeg>,
    /// How far they are alike, in sectors.
    pub synced: Used,
    /// What is being done, such as `idle`, `resync` or `recover`.
    pub action: String,
}
