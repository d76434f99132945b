//! What the journal remembers of one operation: enough to undo it or to plan it again, and prose for
//! people. It is not a list of commands to be replayed: a plan is made anew from what the host shows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use terrace_device_types::lvm::{LvRef, LvUuid, LvmStep, VgUuid};
use terrace_device_types::{
    self as types, Bytes, DeviceRef, HostState, PoolUuid, Step, VolumeUuid,
};

use crate::operation::OpKind;
use crate::queue::schedule::OpId;

/// What an operation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// The volume.
    pub volume: Option<VolumeUuid>,
    /// The pool it lies on, or the pool itself.
    pub pool: Option<PoolUuid>,
    /// Name of the StorageVolume or StoragePool, for people.
    pub name: String,
    /// The kubelet's path.
    pub target: Option<PathBuf>,
    /// The size it is to reach.
    pub to: Option<Bytes>,
}

impl Subject {
    /// Whether both are about one volume, or about one pool and no volume.
    #[must_use]
    pub fn is_same_object(&self, other: &Self) -> bool {
        let known = self.volume.is_some() || self.pool.is_some();
        match (self.volume, other.volume) {
            (None, None) => known && self.pool == other.pool,
            (one, two) => one == two,
        }
    }
}

/// One operation that has begun and is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Its name.
    pub id: OpId,
    /// What it does.
    pub kind: OpKind,
    /// To what.
    pub subject: Subject,
    /// Its steps in prose.
    pub steps: Vec<String>,
    /// The first step not known to be done.
    pub next: usize,
    /// For each step what takes it back, where anything does.
    pub undo: Vec<Option<Undo>>,
    /// When it began.
    pub begun: jiff::Timestamp,
}

/// A step that takes another back. Only what destroys nothing but an unfinished image is in the list,
/// so that a forged or damaged journal cannot destroy a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Undo {
    /// [`Step::RemoveUnfinished`].
    RemoveUnfinished {
        /// The image.
        image: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
    },
    /// [`Step::RemoveUnfinishedSubvolume`].
    RemoveUnfinishedSubvolume {
        /// The object.
        object: PathBuf,
        /// Whose it must be.
        volume: VolumeUuid,
    },
    /// [`LvmStep::RemoveUnfinishedLv`].
    RemoveUnfinishedLv {
        /// The entry.
        object: PathBuf,
        /// Its group.
        group: VgUuid,
        /// The logical volume's name.
        name: String,
        /// Whose it must be.
        volume: VolumeUuid,
    },
    /// [`Step::EndFreeze`].
    EndFreeze {
        /// Where it is mounted.
        mount: PathBuf,
        /// The image of its loop device.
        image: PathBuf,
    },
    /// [`Step::EndFreeze`], on a logical volume.
    EndFreezeLv {
        /// Where it is mounted.
        mount: PathBuf,
        /// Its group.
        group: VgUuid,
        /// Which.
        lv: LvUuid,
        /// Its name.
        name: String,
    },
    /// [`Step::DetachLoop`].
    DetachLoop {
        /// The image.
        image: PathBuf,
    },
    /// [`Step::Unmount`].
    Unmount {
        /// The path.
        target: PathBuf,
    },
    /// [`Step::RemoveTarget`].
    RemoveTarget {
        /// The path.
        target: PathBuf,
    },
    /// Nothing, and no removal of what was made before: copies taken together stay together from the moment on
    /// at which the first of them may be in service. What is left to do the next plan does.
    KeepCopies,
}

impl Undo {
    /// What takes `step` back, as the journal keeps it.
    #[must_use]
    pub fn of(kind: OpKind, step: &Step) -> Option<Self> {
        if let (OpKind::Copy, Step::WriteState { state: HostState::Ready, .. }) = (kind, step) {
            return Some(Self::KeepCopies);
        }
        match types::undo(step)? {
            Step::RemoveUnfinished { image, volume } => {
                Some(Self::RemoveUnfinished { image, volume })
            }
            Step::RemoveUnfinishedSubvolume { object, volume } => {
                Some(Self::RemoveUnfinishedSubvolume { object, volume })
            }
            Step::EndFreeze { mount, device: DeviceRef::LoopOf { image } } => {
                Some(Self::EndFreeze { mount, image })
            }
            Step::EndFreeze { mount, device: DeviceRef::Lv { group, lv, name } } => {
                Some(Self::EndFreezeLv { mount, group, lv, name })
            }
            Step::Lvm(LvmStep::RemoveUnfinishedLv { object, group, lv }) => {
                let (name, volume) = (lv.name.to_string(), lv.volume);
                Some(Self::RemoveUnfinishedLv { object, group, name, volume })
            }
            Step::DetachLoop { image } => Some(Self::DetachLoop { image }),
            Step::Unmount { target } => Some(Self::Unmount { target }),
            Step::RemoveTarget { target } => Some(Self::RemoveTarget { target }),
            // Nothing else is an undo; were it one day, forgetting it here must not run it.
            Step::EndFreeze { mount: _, device: DeviceRef::Disk { .. } }
            | Step::Lvm(
                LvmStep::MakeGroup { .. }
                | LvmStep::ExtendGroup { .. }
                | LvmStep::MakeFolder { .. }
                | LvmStep::ActivateGroup { .. }
                | LvmStep::ClearLeftovers { .. }
                | LvmStep::MakeThinPool { .. }
                | LvmStep::GrowThinPool { .. }
                | LvmStep::CreateEntry { .. }
                | LvmStep::CreateLv { .. }
                | LvmStep::GrowLv { .. }
                | LvmStep::ZeroLv { .. }
                | LvmStep::RefreshLv { .. }
                | LvmStep::SetAccess { .. }
                | LvmStep::EraseLv { .. }
                | LvmStep::RemoveLv { .. },
            )
            | Step::CloneImage { .. }
            | Step::FreezeFilesystem { .. }
            | Step::ThawFilesystem { .. }
            | Step::SyncDevice { .. }
            | Step::CreateSubvolume { .. }
            | Step::SnapshotSubvolumes { .. }
            | Step::LimitSubvolume { .. }
            | Step::RemoveSubvolume { .. }
            | Step::EnableQuota { .. }
            | Step::AllocateImage { .. }
            | Step::SyncDir { .. }
            | Step::WriteState { .. }
            | Step::WriteLatch { .. }
            | Step::WriteStage { .. }
            | Step::GrowImage { .. }
            | Step::AttachLoop { .. }
            | Step::SetAutoclear { .. }
            | Step::ResizeLoop { .. }
            | Step::MakeFilesystem { .. }
            | Step::CheckFilesystem { .. }
            | Step::GrowOffline { .. }
            | Step::MountFilesystem { .. }
            | Step::MakeLayout { .. }
            | Step::MakeTarget { .. }
            | Step::BindMount { .. }
            | Step::BindDevice { .. }
            | Step::GrowFilesystem { .. }
            | Step::ProveSize { .. }
            | Step::MarkQuarantined { .. }
            | Step::RenameToQuarantine { .. }
            | Step::EraseImage { .. }
            | Step::RemoveImage { .. }
            | Step::WipeSignatures { .. }
            | Step::MakePoolDirectory { .. }
            | Step::WritePoolFile { .. } => None,
        }
    }

    /// The step it stands for, if it is one.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        Some(match self.clone() {
            Self::KeepCopies => return None,
            Self::RemoveUnfinished { image, volume } => Step::RemoveUnfinished { image, volume },
            Self::RemoveUnfinishedSubvolume { object, volume } => {
                Step::RemoveUnfinishedSubvolume { object, volume }
            }
            Self::RemoveUnfinishedLv { object, group, name, volume } => {
                let lv = LvRef { name: name.parse().ok()?, volume };
                Step::Lvm(LvmStep::RemoveUnfinishedLv { object, group, lv })
            }
            Self::EndFreeze { mount, image } => {
                Step::EndFreeze { mount, device: DeviceRef::LoopOf { image } }
            }
            Self::EndFreezeLv { mount, group, lv, name } => {
                Step::EndFreeze { mount, device: DeviceRef::Lv { group, lv, name } }
            }
            Self::DetachLoop { image } => Step::DetachLoop { image },
            Self::Unmount { target } => Step::Unmount { target },
            Self::RemoveTarget { target } => Step::RemoveTarget { target },
        })
    }

    const fn is_thaw(&self) -> bool {
        matches!(self, Self::EndFreeze { .. } | Self::EndFreezeLv { .. })
    }

    const fn is_removal(&self) -> bool {
        matches!(
            self,
            Self::RemoveUnfinished { .. }
                | Self::RemoveUnfinishedSubvolume { .. }
                | Self::RemoveUnfinishedLv { .. }
        )
    }
}

impl Record {
    /// A record of an operation about to begin.
    #[must_use]
    pub fn new(
        id: OpId,
        kind: OpKind,
        subject: Subject,
        steps: &[Step],
        begun: jiff::Timestamp,
    ) -> Self {
        let undo = steps.iter().map(|step| Undo::of(kind, step)).collect();
        let steps = steps.iter().map(ToString::to_string).collect();
        Self { id, kind, subject, steps, next: 0, undo, begun }
    }

    /// What takes back everything that may have happened, last first, but thaws before all else: writers wait.
    /// The step at `next` is included: it may have acted without the journal knowing.
    #[must_use]
    pub fn rollback(&self) -> Vec<Step> {
        let begun: Vec<&Undo> = self.undo.iter().take(self.next + 1).rev().flatten().collect();
        let kept = begun.contains(&&Undo::KeepCopies);
        let (thaws, rest): (Vec<_>, Vec<_>) = begun.into_iter().partition(|undo| undo.is_thaw());
        let rest = rest.into_iter().filter(|undo| !(kept && undo.is_removal()));
        thaws.into_iter().chain(rest).filter_map(Undo::step).collect()
    }
}

/// How the next start deals with an operation that an earlier run left half done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Takes it back; whoever wanted it asks again.
    Undo,
    /// Plans and runs it again.
    Again,
    /// Leaves it to the next pass over the object, which must first prove that it may.
    NextPass,
}

impl OpKind {
    /// How an interrupted operation of this kind is dealt with.
    #[must_use]
    pub const fn resume(self) -> Resume {
        match self {
            // The kubelet, or the next pass, asks again from the start.
            Self::Create | Self::Copy | Self::Stage | Self::Publish => Resume::Undo,
            Self::Grow
            | Self::Expand
            | Self::Adopt
            | Self::Retain
            | Self::Unstage
            | Self::Unpublish => Resume::Again,
            // What destroys is proven anew, what takes a device is looked at anew.
            Self::Delete | Self::Sweep | Self::PreparePool => Resume::NextPass,
        }
    }
}
