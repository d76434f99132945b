//! Which steps destroy: a pure function, matched over every step, so that a new one can't be forgotten. What it says of a step is what the audit keeps.

use std::fmt::Display;

use crate::lvm::{LvmStep, NewPv};
use crate::{Erase, FormatGuard, Step, VolumeUuid};

/// What is destroyed by a step, or can't be had back after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A filesystem, or LVM's label, is written over what was there.
    Format,
    /// Signatures are wiped.
    Wipe,
    /// Every byte is written over.
    Erase,
    /// It is called deleted; from then on it may be removed.
    Condemn,
    /// It is removed.
    Remove,
    /// A check may repair, and so change what it finds damaged.
    Repair,
}

impl Act {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Wipe => "wipe",
            Self::Erase => "erase",
            Self::Condemn => "condemn",
            Self::Remove => "remove",
            Self::Repair => "repair",
        }
    }
}

/// One destructive step, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destruction {
    /// What it does.
    pub act: Act,
    /// To what: a path or a device.
    pub object: String,
    /// Whose it must be, where the step says so.
    pub volume: Option<VolumeUuid>,
    /// What the executor proves of it in the moment before.
    pub proven: String,
}

impl Destruction {
    fn of(act: Act, object: impl Display, proven: impl Into<String>) -> Self {
        Self { act, object: object.to_string(), volume: None, proven: proven.into() }
    }

    fn on(self, volume: VolumeUuid) -> Self {
        Self { volume: Some(volume), ..self }
    }
}

const UNFINISHED: &str = "its tag is of this volume, creating and never staged";

fn in_deletion(id: &crate::DeletionId) -> String {
    format!("its tag is quarantined in deletion {id}")
}

fn blank(devices: &[NewPv]) -> Destruction {
    let paths: Vec<String> = devices.iter().map(|pv| pv.path.display().to_string()).collect();
    Destruction::of(Act::Format, paths.join(", "), "each is blank and used by nobody")
}

impl Step {
    /// What it destroys, if it destroys. What only writes where nothing was, or can be taken back, is none.
    #[must_use]
    pub fn destruction(&self) -> Option<Destruction> {
        Some(match self {
            Self::MakeFilesystem { device, fs: _, uuid: _, guard } => match guard {
                FormatGuard::Latch { image: _, volume } => {
                    let proven = "its latch is formatting, it was never staged, it is blank";
                    Destruction::of(Act::Format, device, proven).on(*volume)
                }
                FormatGuard::Blank { pool: _ } => {
                    Destruction::of(Act::Format, device, "it is blank and used by nobody")
                }
            },
            Self::WipeSignatures { device, found } => Destruction::of(
                Act::Wipe,
                device,
                format!("what is found on it is word for word {found:?}"),
            ),
            Self::EraseImage { image, deletion, erase } => match erase {
                Erase::Zeros => Destruction::of(Act::Erase, image.display(), in_deletion(deletion)),
                Erase::No => return None,
            },
            Self::MarkQuarantined { image, proof } => {
                let proven = format!("nobody has it open; deletion {}", proof.id());
                Destruction::of(Act::Condemn, image.display(), proven).on(proof.volume())
            }
            Self::RemoveImage { image: object, deletion }
            | Self::RemoveSubvolume { object, deletion } => {
                Destruction::of(Act::Remove, object.display(), in_deletion(deletion))
            }
            Self::RemoveUnfinished { image: object, volume }
            | Self::RemoveUnfinishedSubvolume { object, volume } => {
                Destruction::of(Act::Remove, object.display(), UNFINISHED).on(*volume)
            }
            Self::CheckFilesystem { device, fs: _ } | Self::GrowOffline { device } => {
                Destruction::of(
                    Act::Repair,
                    device,
                    "it is not mounted; only what the tool may repair unasked",
                )
            }
            Self::Lvm(step) => return step.destruction(),
            Self::AllocateImage { .. }
            | Self::CloneImage { .. }
            | Self::FreezeFilesystem { .. }
            | Self::ThawFilesystem { .. }
            | Self::EndFreeze { .. }
            | Self::SyncDevice { .. }
            | Self::CreateSubvolume { .. }
            | Self::SnapshotSubvolumes { .. }
            | Self::LimitSubvolume { .. }
            | Self::EnableQuota { .. }
            | Self::SyncDir { .. }
            | Self::WriteState { .. }
            | Self::WriteLatch { .. }
            | Self::WriteStage { .. }
            | Self::GrowImage { .. }
            | Self::AttachLoop { .. }
            | Self::SetAutoclear { .. }
            | Self::ResizeLoop { .. }
            | Self::MountFilesystem { .. }
            | Self::MakeLayout { .. }
            | Self::MakeTarget { .. }
            | Self::BindMount { .. }
            | Self::BindDevice { .. }
            | Self::GrowFilesystem { .. }
            | Self::ProveSize { .. }
            | Self::Unmount { .. }
            | Self::RemoveTarget { .. }
            | Self::DetachLoop { .. }
            | Self::RenameToQuarantine { .. }
            | Self::MakePoolDirectory { .. }
            | Self::WritePoolFile { .. } => return None,
        })
    }
}

impl LvmStep {
    fn destruction(&self) -> Option<Destruction> {
        Some(match self {
            Self::MakeGroup { new } => blank(&new.devices),
            Self::ExtendGroup { group: _, devices } => blank(devices),
            Self::ZeroLv { object: _, group, lv } => {
                let object = format!("logical volume {} of {group}", lv.name);
                Destruction::of(Act::Erase, object, UNFINISHED).on(lv.volume)
            }
            Self::EraseLv { object: _, deletion, device, erase } => match erase {
                Erase::Zeros => Destruction::of(Act::Erase, device, in_deletion(deletion)),
                Erase::No => return None,
            },
            Self::RemoveLv { object: _, deletion, group, lv } => {
                let object = format!("logical volume {} of {group}", lv.name);
                Destruction::of(Act::Remove, object, in_deletion(deletion)).on(lv.volume)
            }
            Self::RemoveUnfinishedLv { object: _, group, lv } => {
                let object = format!("logical volume {} of {group}", lv.name);
                Destruction::of(Act::Remove, object, UNFINISHED).on(lv.volume)
            }
            // What they write over are extents that nobody has: the group's own free space.
            Self::MakeFolder { .. }
            | Self::MakeThinPool { .. }
            | Self::GrowThinPool { .. }
            | Self::CreateLv { .. }
            | Self::GrowLv { .. }
            | Self::ActivateGroup { .. }
            | Self::ClearLeftovers { .. }
            | Self::CreateEntry { .. }
            | Self::RefreshLv { .. }
            | Self::SetAccess { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceRef, FsType, StepKind};

    #[test]
    fn what_removes_erases_wipes_or_formats_by_its_name_destroys() {
        let named = |kind: &&StepKind| {
            let word = kind.as_str();
            ["remove-", "erase-", "wipe-", "make-filesystem", "zero-", "mark-quarantined"]
                .iter()
                .any(|start| word.starts_with(start))
        };
        let words: Vec<&str> =
            StepKind::ALL.iter().filter(named).map(|kind| kind.as_str()).collect();
        // A path that a mount covered holds nothing.
        let known = "make-filesystem remove-subvolume remove-unfinished-subvolume remove-target mark-quarantined \
                     erase-image remove-image remove-unfinished wipe-signatures zero-lv erase-lv remove-lv remove-unfinished-lv";
        let mut known: Vec<&str> = known.split_whitespace().collect();
        let mut words = words;
        known.sort_unstable();
        words.sort_unstable();
        assert_eq!(words, known, "decide whether it destroys, then name it here");
    }

    #[test]
    fn a_destructive_step_says_to_what_whose_and_on_what_proof() {
        let volume: VolumeUuid = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11".parse().unwrap();
        let device = DeviceRef::LoopOf { image: "/pool/t-1".into() };
        let guard = FormatGuard::Latch { image: "/pool/t-1".into(), volume };
        let uuid = "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap();
        let step = Step::MakeFilesystem { device, fs: FsType::Ext4, uuid, guard };
        let told = step.destruction().unwrap();
        assert_eq!((told.act, told.volume), (Act::Format, Some(volume)));
        assert!(told.object.contains("/pool/t-1"), "{told:?}");
        let wipe = Step::WipeSignatures {
            device: DeviceRef::LoopOf { image: "/x".into() },
            found: "ext4 on it".into(),
        };
        assert!(wipe.destruction().unwrap().proven.contains("\"ext4 on it\""));
        let none = Step::EraseImage {
            image: "/x".into(),
            deletion: "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap(),
            erase: Erase::No,
        };
        assert_eq!(none.destruction(), None);
    }
}
