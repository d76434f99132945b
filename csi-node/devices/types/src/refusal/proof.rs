//! Why a deletion is not proven (I1). Values and sentences only.

use crate::{Class, ClusterUid, HostObject, Tag, VolumeUuid};

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
    /// A snapshot where a volume was asked for, or the other way round.
    #[error("the host object of {volume} is a {found}, not a {wanted}: nothing is destroyed")]
    OtherObject {
        /// The UUID.
        volume: VolumeUuid,
        /// What the tag says.
        found: HostObject,
        /// What the deletion is about.
        wanted: HostObject,
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
    /// A person named it by another name than its tag does.
    #[error(
        "the host object {volume} was made for {tagged}, not for {said:?}: nothing is destroyed"
    )]
    OtherName {
        /// The UUID.
        volume: VolumeUuid,
        /// The name in its tag.
        tagged: String,
        /// The name given.
        said: String,
    },
    /// It is no orphan.
    #[error("{by} still names the host object {volume}: nothing is destroyed")]
    StillClaimed {
        /// The UUID.
        volume: VolumeUuid,
        /// What does.
        by: String,
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

impl ProofRefusal {
    pub(crate) const fn class(&self) -> Class {
        match self {
            Self::OfAnother { .. } => Class::Bug,
            Self::NoStamp { .. }
            | Self::StampOfAnother { .. }
            | Self::TagOfAnother { .. }
            | Self::OtherCluster { .. }
            | Self::PvStillThere { .. }
            | Self::OtherObject { .. }
            | Self::OtherName { .. }
            | Self::StillClaimed { .. }
            | Self::OtherDeletion { .. } => Class::Wait,
        }
    }
}
