//! Why a plan refuses. Each text names what is wrong and what mends it; [`Refusal::class`] decides what the caller does with it.

use std::path::PathBuf;

use crate::{
    Bytes, ClusterUid, DeviceUse, FsType, FsUuid, HostState, PoolFileError, PoolUuid, Tag,
    TagError, VolumeMode, VolumeUuid,
};

/// What to do about a refusal or an error; decides requeue, condition reason, gRPC code and metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It may be better in a moment: try again with backoff. (gRPC Unavailable / Aborted)
    Retry,
    /// Something else must change first: a person, another object, the end of a use. (FailedPrecondition)
    Wait,
    /// It was asked wrongly, and asking again is no use. (InvalidArgument)
    Invalid,
    /// There is no room. (ResourceExhausted)
    Exhausted,
    /// Terrace is wrong. (Internal)
    Bug,
}

/// Why a plan refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request.
    #[error(transparent)]
    Request(#[from] RequestRefusal),
    /// The pool.
    #[error(transparent)]
    Pool(#[from] PoolRefusal),
    /// The host object's tag.
    #[error(transparent)]
    Tag(#[from] TagRefusal),
    /// Formatting (I2).
    #[error(transparent)]
    Format(#[from] FormatRefusal),
    /// A use, or a missing one.
    #[error(transparent)]
    Use(#[from] UseRefusal),
    /// The proof of deletion (I1).
    #[error(transparent)]
    Proof(#[from] ProofRefusal),
}

/// The request makes no sense on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// Below the filesystem's minimum.
    #[error("capacity {size} is too small for {mode}: it needs at least {least}")]
    TooSmall {
        /// Asked.
        size: Bytes,
        /// For this.
        mode: VolumeMode,
        /// The minimum.
        least: Bytes,
    },
    /// Not a multiple of 1 MiB.
    #[error("capacity {size} is not a multiple of 1Mi: round it up")]
    NotAligned {
        /// Asked.
        size: Bytes,
    },
    /// The tag says another mode.
    #[error(
        "the volume is {tagged} on the host but was asked for as {asked}: volumeMode and fsType can't change"
    )]
    OtherMode {
        /// What it is.
        tagged: VolumeMode,
        /// What was asked.
        asked: VolumeMode,
    },
    /// A mount option Terrace does not pass on.
    #[error("mount option {option:?} is not allowed: remove it from mountOptions")]
    MountOption {
        /// The option.
        option: String,
    },
    /// A path that is not absolute.
    #[error("path {path} is not absolute")]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
}

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
    /// Something else is mounted at the pool's mount point.
    #[error("{dir} is already a mount of {source_device}, not of the pool's device")]
    MountedByAnother {
        /// The directory.
        dir: PathBuf,
        /// The source.
        source_device: String,
    },
}

/// The host object is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagRefusal {
    /// Nothing there.
    #[error("volume {volume} has no image on this node")]
    NoImage {
        /// The volume.
        volume: VolumeUuid,
    },
    /// A file of our name without a tag.
    #[error("{image} has no Terrace tag: it is not touched")]
    Untagged {
        /// The image.
        image: PathBuf,
    },
    /// A tag that can't be read.
    #[error("the tag of {image} can't be read: {why}; it is not touched")]
    Unreadable {
        /// The image.
        image: PathBuf,
        /// Why.
        why: TagError,
    },
    /// Another volume's.
    #[error("{image} is tagged for volume {found}, not {wanted}: it is not touched")]
    OtherVolume {
        /// The image.
        image: PathBuf,
        /// Whose.
        found: VolumeUuid,
        /// Who was asked for.
        wanted: VolumeUuid,
    },
    /// Another cluster's.
    #[error("{image} belongs to cluster {cluster}: it is not touched")]
    OtherCluster {
        /// The image.
        image: PathBuf,
        /// Whose.
        cluster: ClusterUid,
    },
    /// Wrong point of its life.
    #[error("{image} is {state}, and that does not allow to {verb} it")]
    WrongState {
        /// The image.
        image: PathBuf,
        /// Where it is.
        state: HostState,
        /// What was asked.
        verb: &'static str,
    },
}

/// Formatting is refused (I2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatRefusal {
    /// The latch says formatted; the filesystem is not there.
    #[error(
        "{image} was formatted as {expected}, but {found} is found on it: it is neither mounted nor formatted again; restore it or delete the volume"
    )]
    Lost {
        /// The image.
        image: PathBuf,
        /// What the latch says.
        expected: FsUuid,
        /// What is there.
        found: String,
    },
    /// The latch says not formatted; something is there.
    #[error(
        "{image} was never formatted by Terrace, but {found} is found on it: it is not formatted"
    )]
    NotBlank {
        /// The image.
        image: PathBuf,
        /// What is there.
        found: String,
    },
    /// It was staged before it was formatted: somebody may have written to it.
    #[error("{image} was staged before its format latch was set: it is never formatted now")]
    EverStaged {
        /// The image.
        image: PathBuf,
    },
    /// Nobody looked; a plan may not be made from that.
    #[error("{image} was not probed")]
    NotProbed {
        /// The image.
        image: PathBuf,
    },
}

/// In what way something is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// The stage record says so.
    #[error("it is staged at {target}")]
    Staged {
        /// Where.
        target: PathBuf,
    },
    /// It is mounted.
    #[error("it is mounted at {at}")]
    Mounted {
        /// Where.
        at: PathBuf,
    },
    /// It is open.
    #[error("its image or device is open in some program")]
    Open,
    /// Nobody looked whether it is open.
    #[error("nobody looked whether it is open")]
    NotLooked,
}

/// A use stands in the way, or is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseRefusal {
    /// Delete or abandon while in use.
    #[error("volume {volume} is still in use: {by}")]
    StillInUse {
        /// The volume.
        volume: VolumeUuid,
        /// How.
        by: InUse,
    },
    /// Publish before stage.
    #[error("volume {volume} is not staged at {staging}: stage it first")]
    NotStaged {
        /// The volume.
        volume: VolumeUuid,
        /// Where it should be.
        staging: PathBuf,
    },
    /// Staged at another path.
    #[error("volume {volume} is already staged at {at}, not at {target}: unstage it there first")]
    StagedElsewhere {
        /// The volume.
        volume: VolumeUuid,
        /// Where.
        at: PathBuf,
        /// Where it was asked.
        target: PathBuf,
    },
    /// Single writer, published already.
    #[error(
        "volume {volume} is already published at {at}, and its access mode allows one place only"
    )]
    PublishedElsewhere {
        /// The volume.
        volume: VolumeUuid,
        /// Where.
        at: PathBuf,
    },
    /// Something else is mounted at the target.
    #[error("{target} is already a mount of {found}: it is not touched")]
    TargetOccupied {
        /// The path.
        target: PathBuf,
        /// What is mounted there.
        found: String,
    },
    /// The target is mounted, read-only where read-write was asked or the other way round.
    #[error("{target} is already published with another access mode: unpublish it first")]
    OtherAccess {
        /// The path.
        target: PathBuf,
    },
    /// Unstage while Pods still have it.
    #[error("volume {volume} is still published at {at}: unpublish it first")]
    StillPublished {
        /// The volume.
        volume: VolumeUuid,
        /// Where.
        at: PathBuf,
    },
    /// A loop device on our image that we would not have made.
    #[error(
        "{device} is attached to {image} in a way Terrace does not use: detach it (losetup -d)"
    )]
    StrangeLoop {
        /// The device.
        device: PathBuf,
        /// The image.
        image: PathBuf,
    },
    /// The mounted filesystem is not of the type the tag says.
    #[error("{mount} is {found}, but the volume is {wanted}")]
    OtherFilesystem {
        /// Where.
        mount: PathBuf,
        /// What is mounted.
        found: String,
        /// What the tag says.
        wanted: FsType,
    },
}

/// The proof of deletion is incomplete (I1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// No `spec.deletion`.
    #[error(
        "volume {volume} was not deleted through CSI (no deletion stamp): its data is retained"
    )]
    NoStamp {
        /// The volume.
        volume: VolumeUuid,
    },
    /// The stamp is of another.
    #[error("the deletion stamp names volume {stamped}, not {volume}: nothing is destroyed")]
    StampOfAnother {
        /// The volume.
        volume: VolumeUuid,
        /// Whose stamp.
        stamped: VolumeUuid,
    },
    /// The tag is of another.
    #[error("the host object is tagged for volume {tagged}, not {volume}: nothing is destroyed")]
    TagOfAnother {
        /// The volume.
        volume: VolumeUuid,
        /// Whose tag.
        tagged: VolumeUuid,
    },
    /// The tag is of another cluster.
    #[error(
        "the host object of volume {volume} belongs to cluster {cluster}: nothing is destroyed"
    )]
    OtherCluster {
        /// The volume.
        volume: VolumeUuid,
        /// Whose.
        cluster: ClusterUid,
    },
    /// The PV is alive.
    #[error(
        "the PersistentVolume of volume {volume} is {phase} with reclaim policy {reclaim}: nothing is destroyed until it is gone, or Released with Delete"
    )]
    PvStillThere {
        /// The volume.
        volume: VolumeUuid,
        /// Its phase.
        phase: String,
        /// Its reclaim policy.
        reclaim: String,
    },
    /// A proof for another volume was handed in.
    #[error("the proof is for volume {proven}, not {volume}")]
    OfAnother {
        /// The volume.
        volume: VolumeUuid,
        /// Whose proof.
        proven: VolumeUuid,
    },
    /// The image is quarantined under another deletion.
    #[error("the image of volume {volume} is quarantined by another deletion ({tag})", tag = .tag.state)]
    OtherDeletion {
        /// The volume.
        volume: VolumeUuid,
        /// Its tag.
        tag: Box<Tag>,
    },
}

impl Refusal {
    /// What the caller does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Request(_) => Class::Invalid,
            Self::Pool(why) => why.class(),
            Self::Tag(why) => why.class(),
            Self::Format(why) => why.class(),
            Self::Use(_) => Class::Wait,
            Self::Proof(why) => why.class(),
        }
    }

    /// A CamelCase word for a condition's reason and a metric's label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "InvalidRequest",
            Self::Pool(PoolRefusal::Foreign { .. }) => "PoolForeign",
            Self::Pool(PoolRefusal::Full { .. }) => "PoolFull",
            Self::Pool(PoolRefusal::NotWritable { .. }) => "PoolNotWritable",
            Self::Pool(PoolRefusal::DeviceHoldsData { .. }) => "DeviceHoldsData",
            Self::Pool(PoolRefusal::DeviceInUse { .. }) => "DeviceInUse",
            Self::Pool(_) => "PoolRefused",
            Self::Tag(TagRefusal::NoImage { .. }) => "NotOnNode",
            Self::Tag(_) => "HostObjectRefused",
            Self::Format(_) => "FormatRefused",
            Self::Use(_) => "InUse",
            Self::Proof(_) => "ProofMissing",
        }
    }
}

impl PoolRefusal {
    const fn class(&self) -> Class {
        match self {
            Self::Full { .. } => Class::Exhausted,
            Self::DeviceNotProbed { .. } => Class::Bug,
            Self::Missing { .. }
            | Self::Unmarked { .. }
            | Self::Foreign { .. }
            | Self::OtherPool { .. }
            | Self::Unreadable { .. }
            | Self::NotWritable { .. }
            | Self::Unsuitable { .. }
            | Self::NotEmpty { .. }
            | Self::DeviceInUse { .. }
            | Self::DeviceReadOnly { .. }
            | Self::DeviceHoldsData { .. }
            | Self::MountedByAnother { .. } => Class::Wait,
        }
    }
}

impl TagRefusal {
    const fn class(&self) -> Class {
        match self {
            Self::NoImage { .. }
            | Self::Untagged { .. }
            | Self::Unreadable { .. }
            | Self::OtherVolume { .. }
            | Self::OtherCluster { .. }
            | Self::WrongState { .. } => Class::Wait,
        }
    }
}

impl FormatRefusal {
    const fn class(&self) -> Class {
        match self {
            Self::Lost { .. } | Self::NotBlank { .. } | Self::EverStaged { .. } => Class::Wait,
            Self::NotProbed { .. } => Class::Bug,
        }
    }
}

impl ProofRefusal {
    const fn class(&self) -> Class {
        match self {
            Self::OfAnother { .. } => Class::Bug,
            Self::NoStamp { .. }
            | Self::StampOfAnother { .. }
            | Self::TagOfAnother { .. }
            | Self::OtherCluster { .. }
            | Self::PvStillThere { .. }
            | Self::OtherDeletion { .. } => Class::Wait,
        }
    }
}
