//! Why a host object is refused: its tag, its format (I2), its use. Values and sentences only.

use std::path::PathBuf;

use crate::{Class, ClusterUid, FsType, FsUuid, HostObject, HostState, TagError, VolumeUuid};

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
    /// A snapshot where a volume is wanted, or the other way round.
    #[error("{image} is a {found}, not a {wanted}: it is not touched")]
    OtherObject {
        /// The host object.
        image: PathBuf,
        /// What it is.
        found: HostObject,
        /// What was asked for.
        wanted: HostObject,
    },
    /// A snapshot is kept, not used.
    #[error("{image} is a snapshot, and that does not allow to {verb} it: make a volume from it")]
    Snapshot {
        /// The host object.
        image: PathBuf,
        /// What was asked.
        verb: &'static str,
    },
    /// It began with the bytes of another one than was asked for.
    #[error("{image} is a copy of {found}, not of {wanted}: it is not touched")]
    OtherSource {
        /// The host object.
        image: PathBuf,
        /// Of what it is a copy.
        found: VolumeUuid,
        /// Of what it should be.
        wanted: VolumeUuid,
    },
    /// Some members of a group are there from an earlier moment, others not at all.
    #[error(
        "some snapshots of the group are there already and others are not: together they would show no one moment; delete the group's snapshots and take it again"
    )]
    TornGroup,
    /// An entry whose logical volume has gone, and not by us.
    #[error(
        "{image} has no logical volume in volume group {group}: nobody but Terrace may remove one; restore it (vgcfgrestore) or delete the volume"
    )]
    NoLogicalVolume {
        /// The entry.
        image: PathBuf,
        /// The group's name.
        group: String,
    },
    /// A logical volume without a device.
    #[error("logical volume {volume} is not active: the pool's next pass activates it")]
    Inactive {
        /// Its path.
        volume: PathBuf,
    },
    /// A logical volume of which a part is not there.
    #[error(
        "logical volume {volume} lies partly on a device that is missing: attach it; nothing of the volume is given up meanwhile"
    )]
    Partial {
        /// Its path.
        volume: PathBuf,
    },
    /// A logical volume whose device waits: a change of it was cut short.
    #[error("logical volume {volume} is suspended: the pool's next pass lets it go on")]
    Suspended {
        /// Its path.
        volume: PathBuf,
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
        "{image} was formatted as {expected}, but blkid shows {found}: it is neither mounted nor formatted again; restore it or delete the volume"
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
    #[error("{image} was never formatted by Terrace, but blkid shows {found}: it is not formatted")]
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
    /// Its bytes are another's: whatever blkid makes of them, they are not to be lost.
    #[error(
        "{image} is a copy of {from} and its latch says it is not formatted: it is never formatted"
    )]
    HasSource {
        /// The image.
        image: PathBuf,
        /// Of what it is a copy.
        from: VolumeUuid,
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

impl TagRefusal {
    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::NoImage { .. }
            | Self::Untagged { .. }
            | Self::Unreadable { .. }
            | Self::OtherVolume { .. }
            | Self::OtherCluster { .. }
            | Self::OtherObject { .. }
            | Self::Snapshot { .. }
            | Self::OtherSource { .. }
            | Self::TornGroup
            | Self::NoLogicalVolume { .. }
            | Self::WrongState { .. } => Class::Wait,
            Self::Inactive { .. } | Self::Partial { .. } | Self::Suspended { .. } => Class::Retry,
        }
    }
}

impl FormatRefusal {
    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::Lost { .. }
            | Self::NotBlank { .. }
            | Self::EverStaged { .. }
            | Self::HasSource { .. } => Class::Wait,
            Self::NotProbed { .. } => Class::Bug,
        }
    }
}

impl UseRefusal {
    /// An open file ends without anybody being told, so it is tried again; everything else shows in some watch.
    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::StillInUse { volume: _, by: InUse::Open } => Class::Retry,
            Self::StillInUse { volume: _, by: InUse::NotLooked } => Class::Bug,
            Self::StillInUse { volume: _, by: InUse::Staged { .. } | InUse::Mounted { .. } }
            | Self::NotStaged { .. }
            | Self::StagedElsewhere { .. }
            | Self::PublishedElsewhere { .. }
            | Self::TargetOccupied { .. }
            | Self::OtherAccess { .. }
            | Self::StillPublished { .. }
            | Self::StrangeLoop { .. }
            | Self::OtherFilesystem { .. } => Class::Wait,
        }
    }
}
