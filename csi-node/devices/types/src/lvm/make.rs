//! What is to be made, chosen and changed.

use std::path::PathBuf;

use super::{LvName, PvUuid, VgName, VgUuid};
use crate::{Access, Bytes, DevT, PoolFile, Tag, VolumeUuid};

/// A volume group, chosen so that another of its name can't be mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRef {
    /// Which.
    pub uuid: VgUuid,
    /// The nodes of the devices it may be on; LVM sees these and no other. One that is gone counts as missing, one of another group is an error.
    pub devices: Vec<PathBuf>,
}

/// A logical volume of a group, as it must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LvRef {
    /// Its name.
    pub name: LvName,
    /// Whose it must be, by its tag.
    pub volume: VolumeUuid,
}

/// A device that becomes part of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPv {
    /// Its node.
    pub path: PathBuf,
    /// The number the node must have.
    pub dev_t: DevT,
    /// The UUID it gets; see [`PvUuid::derived`].
    pub uuid: PvUuid,
}

/// A volume group that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// Its name.
    pub name: VgName,
    /// What it says about itself.
    pub pool: PoolFile,
    /// On what.
    pub devices: Vec<NewPv>,
}

/// How large a thin pool is, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// For data.
    pub data: Bytes,
    /// For metadata: at most what LVM allows, 15.8 GiB.
    pub metadata: Bytes,
}

/// A thin pool that is to be. It answers a write with an error once it is full, and gives out no block that it did not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewThinPool {
    /// Its name.
    pub name: LvName,
    /// Its size.
    pub size: PoolSize,
    /// What it gives out at a time: 64 KiB to 1 GiB, a multiple of 64 KiB.
    pub chunk: Bytes,
}

/// How a volume keeps its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// One after the other, wherever there is room.
    Linear {
        /// Its size.
        size: Bytes,
    },
    /// Spread over devices.
    Striped {
        /// Its size.
        size: Bytes,
        /// Over how many.
        stripes: u32,
        /// In pieces of so much.
        piece: Bytes,
    },
    /// Twice or more, each copy on a device of its own.
    Raid1 {
        /// Its size.
        size: Bytes,
        /// How many copies beside the first.
        mirrors: u32,
    },
    /// As much of a thin pool as was written.
    Thin {
        /// Its size.
        size: Bytes,
        /// The pool.
        pool: LvName,
    },
    /// What a thin volume holds at this moment, in the same pool.
    ThinSnapshot {
        /// Of which.
        of: LvRef,
        /// Whether it can be written.
        access: Access,
    },
}

/// A logical volume that is to be. It is active afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name.
    pub name: LvName,
    /// How.
    pub kind: VolumeKind,
    /// What it says about itself.
    pub tag: Tag,
}

/// What is read of the part that a logical volume gains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gains {
    /// Whatever lies there: a filesystem shows nobody what it has not written.
    AsFound,
    /// Zeros, from the moment on at which it is there.
    Zeros,
}
