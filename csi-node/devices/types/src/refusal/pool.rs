//! Why a pool, or a device that should become one, is refused. Values and sentences only.

use std::path::PathBuf;

use crate::{BackendKind, Bytes, Class, ClusterUid, DeviceUse, PoolFileError, PoolUuid};

/// The pool can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolRefusal {
    /// No such directory.
    #[error("pool directory {dir} does not exist")]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory has no pool file: it is no pool (yet), or what held it is not mounted.
    #[error("{dir} is not marked as a pool: terrace-pool.json is missing; is its disk mounted?")]
    Unmarked {
        /// The directory.
        dir: PathBuf,
    },
    /// Another cluster's.
    #[error(
        "{dir} belongs to cluster {cluster}: it is left alone; give this pool another directory"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose.
        cluster: ClusterUid,
    },
    /// Another pool's.
    #[error("{dir} is pool {found}, not {wanted}: it is left alone")]
    OtherPool {
        /// The directory.
        dir: PathBuf,
        /// Which.
        found: PoolUuid,
        /// Which was asked for.
        wanted: PoolUuid,
    },
    /// The pool file can't be read.
    #[error("{dir} can't be told for ours: {why}")]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// Why.
        why: PoolFileError,
    },
    /// The folder can't be written.
    #[error("pool directory {dir} is not writable: mount it read-write, or fix its permissions")]
    NotWritable {
        /// The directory.
        dir: PathBuf,
    },
    /// The filesystem below can't hold a pool.
    #[error("pool directory {dir} is on {fs}, which can't hold a pool: use xfs, ext4 or btrfs")]
    Unsuitable {
        /// The directory.
        dir: PathBuf,
        /// The filesystem.
        fs: String,
    },
    /// A btrfs pool somewhere else.
    #[error(
        "pool directory {dir} is on {fs}, and a btrfs pool needs btrfs: name a folder of a btrfs filesystem, a device, or use spec.file"
    )]
    NotBtrfs {
        /// The directory.
        dir: PathBuf,
        /// The filesystem.
        fs: String,
    },
    /// Simple quotas: they charge whoever wrote first, so what a volume references has no limit.
    #[error(
        "{dir} has simple quotas, which can't limit what a volume references: run `btrfs quota disable {dir}`, then classic ones are switched on"
    )]
    SimpleQuota {
        /// The directory.
        dir: PathBuf,
    },
    /// No quota groups, so no limits.
    #[error(
        "quota groups are switched off in {dir}: run `btrfs quota enable {dir}`, or wait for the pool's next pass"
    )]
    QuotaOff {
        /// The directory.
        dir: PathBuf,
    },
    /// It keeps volumes in another way.
    #[error("{dir} is a pool of backend {found}, not {wanted}: give this pool another directory")]
    OtherBackend {
        /// The directory.
        dir: PathBuf,
        /// Which it is.
        found: BackendKind,
        /// Which was asked for.
        wanted: BackendKind,
    },
    /// The directory is not empty, and nothing in it says that it is ours.
    #[error(
        "{dir} holds {first:?} and is not marked as a pool: empty it or choose another directory"
    )]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// The first strange name.
        first: String,
    },
    /// No room.
    #[error("pool {dir} has {free} free and {need} more are needed: delete volumes or add storage")]
    Full {
        /// The directory.
        dir: PathBuf,
        /// Free now.
        free: Bytes,
        /// Needed.
        need: Bytes,
    },
    /// The device is in use.
    #[error("device {device} is {by}: it can't become a pool")]
    DeviceInUse {
        /// The device's id.
        device: String,
        /// By whom.
        by: DeviceUse,
    },
    /// The device is read-only.
    #[error("device {device} is read-only: it can't become a pool")]
    DeviceReadOnly {
        /// The device's id.
        device: String,
    },
    /// The device holds data.
    #[error(
        "device {device} holds data ({found}): to destroy it, list it in the pool's erase with found: {found:?}"
    )]
    DeviceHoldsData {
        /// The device's id.
        device: String,
        /// What was found.
        found: String,
    },
    /// Nobody looked at the device; a plan may not be made from that.
    #[error("device {device} was not probed")]
    DeviceNotProbed {
        /// The device's id.
        device: String,
    },
    /// None of the pool's devices is there.
    #[error("pool {pool} has no device on this node: attach one that spec.devices names")]
    NoDevice {
        /// The pool.
        pool: String,
    },
    /// What LVM is never let see.
    #[error(
        "device {device} is a loop or device-mapper device: it can't become part of a volume group; name a disk or a partition"
    )]
    NotForGroup {
        /// The device's id.
        device: String,
    },
    /// Another cluster's group, under our pool's name.
    #[error("volume group {group} belongs to cluster {cluster}: it is left alone")]
    GroupForeign {
        /// The group's name.
        group: String,
        /// Whose.
        cluster: ClusterUid,
    },
    /// Somebody's group, under our pool's name.
    #[error(
        "volume group {group} has the pool's name and not its tag: it is left alone; rename it (vgrename) or take its devices away"
    )]
    GroupUntagged {
        /// The group's name.
        group: String,
    },
    /// Not all of it is there.
    #[error(
        "volume group {group} lacks {missing} of its devices, and nothing of it is changed meanwhile: attach them; what is missing is never given up"
    )]
    GroupIncomplete {
        /// The group's name.
        group: String,
        /// How many.
        missing: u64,
    },
    /// The pool's folder can't be read, and there are volumes.
    #[error(
        "the folder of volume group {group} shows {found}, and the group has volumes: it is never formatted again; restore it (terrace-folder in it)"
    )]
    FolderLost {
        /// The group's name.
        group: String,
        /// What is on it.
        found: String,
    },
    /// The pool's view shows no group.
    #[error("pool {dir} is not on its volume group: is the group's folder mounted there?")]
    NoGroup {
        /// The directory.
        dir: PathBuf,
    },
    /// What the pool gives out is nearly given out.
    #[error(
        "pool {dir} has {used} % of its {what} in use, past the {at} % up to which new volumes, snapshots and growth are taken, and its volume group has no more to give: delete volumes or snapshots, or add a device to the pool"
    )]
    ThinFull {
        /// The directory.
        dir: PathBuf,
        /// Data or metadata.
        what: &'static str,
        /// In percent, rounded up, of all that the volume group can give.
        used: u64,
        /// In percent.
        at: u64,
    },
    /// Its thin pool can't take anything.
    #[error("the thin pool of pool {dir} {why}")]
    ThinUnfit {
        /// The directory.
        dir: PathBuf,
        /// What is wrong, and what mends it.
        why: &'static str,
    },
    /// Something else is mounted at the pool's mount point.
    #[error("{dir} is already a mount of {source_device}, not of the pool's device")]
    MountedByAnother {
        /// The directory.
        dir: PathBuf,
        /// The source.
        source_device: String,
    },
}

impl PoolRefusal {
    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::Full { .. } | Self::ThinFull { .. } => Class::Exhausted,
            Self::DeviceNotProbed { .. } => Class::Bug,
            Self::Missing { .. }
            | Self::Unmarked { .. }
            | Self::Foreign { .. }
            | Self::OtherPool { .. }
            | Self::OtherBackend { .. }
            | Self::NotBtrfs { .. }
            | Self::SimpleQuota { .. }
            | Self::QuotaOff { .. }
            | Self::Unreadable { .. }
            | Self::NotWritable { .. }
            | Self::Unsuitable { .. }
            | Self::NotEmpty { .. }
            | Self::DeviceInUse { .. }
            | Self::DeviceReadOnly { .. }
            | Self::DeviceHoldsData { .. }
            | Self::NoDevice { .. }
            | Self::NotForGroup { .. }
            | Self::GroupForeign { .. }
            | Self::GroupUntagged { .. }
            | Self::GroupIncomplete { .. }
            | Self::FolderLost { .. }
            | Self::NoGroup { .. }
            | Self::ThinUnfit { .. }
            | Self::MountedByAnother { .. } => Class::Wait,
        }
    }
}
