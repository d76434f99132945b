//! What is asked of the host. A plan turns it into steps, or refuses it.

use std::path::PathBuf;

use crate::lvm::GroupPlace;
use crate::{
    Access, Allocation, Bytes, ClusterUid, DeletionId, DeletionProof, DeviceView, Erase,
    HostObject, OperationId, PoolFile, VolumeMode, VolumeUuid,
};

/// What is asked for one volume. The volume and the cluster are those of [`Intent`]'s caller; a host object of another is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Let there be an image of at least `size`.
    Create {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// The StorageVolume's name.
        name: String,
        /// The size; a multiple of 1 MiB.
        size: Bytes,
        /// Filesystem or raw block.
        mode: VolumeMode,
        /// Reserved or sparse.
        allocation: Allocation,
    },
    /// Let there be a host object that began with the bytes of another one on the same pool: a snapshot of a volume, a volume from a
    /// snapshot, or a clone of a volume. The view must show the source ([`View::source`](crate::View::source)).
    Copy {
        /// What it becomes.
        object: HostObject,
        /// The new object.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// The name of its StorageVolume or StorageSnapshot.
        name: String,
        /// Whose bytes.
        source: VolumeUuid,
        /// The size it gets, at least the source's (a snapshot: exactly the source's); a multiple of 1 MiB.
        size: Bytes,
        /// What the caller takes it for; must be what the source's tag says.
        mode: VolumeMode,
        /// Reserved or sparse.
        allocation: Allocation,
    },
    /// Let the image, its loop device and, if it is mounted, its filesystem have at least `to`.
    Grow {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// The size; a multiple of 1 MiB.
        to: Bytes,
    },
    /// Let it be mounted at `target` (raw block: attached), formatted on the way if it never was.
    Stage {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// What the caller takes it for; must be what the tag says.
        mode: VolumeMode,
        /// The kubelet's staging path.
        target: PathBuf,
        /// Mount options as asked. `ro` belongs to [`Intent::Publish`]; staging is always writable, for the log and the layout.
        options: Vec<String>,
        /// Raw block only: a read-only stage gives a read-only loop device.
        access: Access,
        /// Who asks; written into the latch while formatting.
        operation: OperationId,
    },
    /// Let it no longer be mounted at `target`. Succeeds when nothing is left of it.
    Unstage {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// The kubelet's staging path.
        target: PathBuf,
    },
    /// Let the Pod see it at `target`.
    Publish {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// Where it is staged.
        staging: PathBuf,
        /// The Pod's path.
        target: PathBuf,
        /// Read-write or read-only.
        access: Access,
        /// Whether another Pod's path may have it at the same time.
        sharing: Sharing,
    },
    /// Let nothing be at `target`. Does not look at the volume: it works when that has vanished.
    Unpublish {
        /// The Pod's path.
        target: PathBuf,
    },
    /// Destroy it (I1).
    Delete {
        /// The volume.
        volume: VolumeUuid,
        /// The proof.
        proof: DeletionProof,
        /// What happens to the bytes.
        erase: Erase,
    },
    /// Remove what an earlier operation left behind.
    Sweep {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
        /// What it was found as, and must still be.
        leftover: Leftover,
    },
    /// Its StorageVolume went without proof: keep it, marked `retained`.
    Retain {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
    },
    /// Take a retained image into service again.
    Adopt {
        /// The volume.
        volume: VolumeUuid,
        /// The cluster.
        cluster: ClusterUid,
    },
}

/// What an earlier operation left behind. Nothing else is ever swept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// Its proof is already written in its tag (`quarantined`): only its removal is left.
    Quarantined {
        /// The deletion its tag names.
        deletion: DeletionId,
    },
    /// It is still `creating`, and was never formatted nor staged.
    Unfinished,
}

/// How many Pods' paths a volume may be published at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One (`SINGLE_NODE_SINGLE_WRITER`).
    Exclusive,
    /// As many as the node has.
    Shared,
}

/// What is asked for a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolIntent {
    /// Let the directory be a pool of ours: made if missing, marked if unmarked and free of strangers, left alone if another's.
    Make {
        /// What its pool file must say.
        file: PoolFile,
        /// Where it lies.
        place: PoolPlace,
    },
}

/// Where a pool lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolPlace {
    /// A directory of a filesystem that is already mounted.
    Directory,
    /// A device of its own, formatted with what the backend needs and mounted at the pool directory.
    Device {
        /// The device.
        device: Box<DeviceView>,
        /// Permission to wipe what is on it.
        wipe: Wipe,
    },
    /// Devices of its own that become a volume group, with a logical volume in it mounted at the pool directory.
    Group(Box<GroupPlace>),
}

/// Permission to wipe a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wipe {
    /// None: only a blank device is taken.
    Never,
    /// `erase[].found`: allowed if this is, word for word, what is found on it.
    IfFound {
        /// The text of the signature.
        found: String,
    },
}

impl Intent {
    /// The host object whose bytes are wanted, where another one is looked at too.
    #[must_use]
    pub fn source(&self) -> Option<VolumeUuid> {
        match self {
            Self::Copy { source, .. } => Some(*source),
            Self::Create { .. }
            | Self::Grow { .. }
            | Self::Stage { .. }
            | Self::Unstage { .. }
            | Self::Publish { .. }
            | Self::Unpublish { .. }
            | Self::Delete { .. }
            | Self::Sweep { .. }
            | Self::Retain { .. }
            | Self::Adopt { .. } => None,
        }
    }

    /// The path the intent is about, when there is one.
    #[must_use]
    pub fn target(&self) -> Option<&std::path::Path> {
        match self {
            Self::Stage { target, .. }
            | Self::Unstage { target, .. }
            | Self::Publish { target, .. }
            | Self::Unpublish { target } => Some(target),
            Self::Create { .. }
            | Self::Copy { .. }
            | Self::Grow { .. }
            | Self::Delete { .. }
            | Self::Sweep { .. }
            | Self::Retain { .. }
            | Self::Adopt { .. } => None,
        }
    }
}
