//! Which steps an operation of each kind may take, those that take one back included. The plans are made elsewhere; stories
//! and simulation fail where one of them takes a step that is not here, so that each has its fault points.

use terrace_device_types::StepKind;

use super::OpKind;

impl OpKind {
    /// Its steps, on any backend, in the order of [`StepKind::ALL`].
    #[must_use]
    pub const fn steps(self) -> &'static [StepKind] {
        use StepKind as S;
        match self {
            Self::PreparePool => &[
                S::EnableQuota,
                S::MakeFilesystem,
                S::MountFilesystem,
                S::WipeSignatures,
                S::MakePoolDirectory,
                S::WritePoolFile,
                S::MakeGroup,
                S::ExtendGroup,
                S::MakeFolder,
                S::ActivateGroup,
                S::ClearLeftovers,
                S::MakeThinPool,
                S::GrowThinPool,
            ],
            Self::Create => &[
                S::AllocateImage,
                S::CreateSubvolume,
                S::LimitSubvolume,
                S::RemoveUnfinishedSubvolume,
                S::SyncDir,
                S::WriteState,
                S::GrowImage,
                S::ResizeLoop,
                S::RemoveUnfinished,
                S::CreateEntry,
                S::CreateLv,
                S::GrowLv,
                S::ZeroLv,
                S::RefreshLv,
                S::RemoveUnfinishedLv,
            ],
            Self::Copy => &[
                S::AllocateImage,
                S::CloneImage,
                S::FreezeFilesystem,
                S::ThawFilesystem,
                S::EndFreeze,
                S::SyncDevice,
                S::SnapshotSubvolumes,
                S::LimitSubvolume,
                S::RemoveUnfinishedSubvolume,
                S::SyncDir,
                S::WriteState,
                S::GrowImage,
                S::ResizeLoop,
                S::RemoveUnfinished,
                S::CreateEntry,
                S::CreateLv,
                S::GrowLv,
                S::RefreshLv,
                S::RemoveUnfinishedLv,
            ],
            Self::Grow | Self::Expand => &[
                S::LimitSubvolume,
                S::GrowImage,
                S::ResizeLoop,
                S::GrowFilesystem,
                S::ProveSize,
                S::GrowLv,
                S::RefreshLv,
            ],
            Self::Adopt | Self::Retain => &[S::WriteState],
            Self::Delete => &[
                S::RemoveSubvolume,
                S::SyncDir,
                S::DetachLoop,
                S::MarkQuarantined,
                S::RenameToQuarantine,
                S::EraseImage,
                S::RemoveImage,
                S::EraseLv,
                S::RemoveLv,
            ],
            Self::Sweep => &[
                S::RemoveSubvolume,
                S::RemoveUnfinishedSubvolume,
                S::SyncDir,
                S::RenameToQuarantine,
                S::RemoveImage,
                S::RemoveUnfinished,
                S::RemoveLv,
                S::RemoveUnfinishedLv,
            ],
            Self::Stage => &[
                S::WriteLatch,
                S::WriteStage,
                S::AttachLoop,
                S::SetAutoclear,
                S::ResizeLoop,
                S::MakeFilesystem,
                S::CheckFilesystem,
                S::GrowOffline,
                S::MountFilesystem,
                S::MakeLayout,
                S::BindMount,
                S::GrowFilesystem,
                S::ProveSize,
                S::Unmount,
                S::DetachLoop,
                S::RefreshLv,
                S::SetAccess,
            ],
            Self::Unstage => &[S::WriteStage, S::Unmount, S::DetachLoop],
            Self::Publish => {
                &[S::MakeTarget, S::BindMount, S::BindDevice, S::Unmount, S::RemoveTarget]
            }
            Self::Unpublish => &[S::Unmount, S::RemoveTarget],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OpKind, StepKind};

    #[test]
    fn every_step_belongs_to_an_operation() {
        let is_known = |step: &StepKind| OpKind::ALL.iter().any(|kind| kind.steps().contains(step));
        let strays: Vec<_> = StepKind::ALL.iter().filter(|step| !is_known(step)).collect();
        assert_eq!(strays, Vec::<&StepKind>::new(), "name the operations that take them");
    }

    #[test]
    fn steps_are_listed_once_and_in_order() {
        for kind in OpKind::ALL {
            assert!(kind.steps().is_sorted_by(|one, two| one < two), "{kind}");
        }
    }
}
