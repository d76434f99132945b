//! Undo as data: for each step the step that takes it back, where one exists. What destroys or proves has none, and what grew stays grown.

use crate::Step;

/// The step that takes `step` back.
#[must_use]
pub fn undo(step: &Step) -> Option<Step> {
    match step {
        Step::AllocateImage { image, size: _, tag } => {
            Some(Step::RemoveUnfinished { image: image.clone(), volume: tag.volume })
        }
        Step::CloneImage { from: _, source: _, image, tag } => {
            Some(Step::RemoveUnfinished { image: image.clone(), volume: tag.volume })
        }
        Step::CreateSubvolume { object, tag } => {
            Some(Step::RemoveUnfinishedSubvolume { object: object.clone(), volume: tag.volume })
        }
        Step::FreezeFilesystem { mount, device } => {
            Some(Step::EndFreeze { mount: mount.clone(), device: device.clone() })
        }
        Step::AttachLoop { image, volume: _, sector: _, access: _, allocation: _ } => {
            Some(Step::DetachLoop { image: image.clone() })
        }
        Step::MountFilesystem { device: _, fs: _, uuid: _, target, options: _ }
        | Step::BindMount { from: _, to: target, access: _, options: _ }
        | Step::BindDevice { device: _, to: target, access: _ } => {
            Some(Step::Unmount { target: target.clone() })
        }
        Step::MakeTarget { target, mode: _ } => Some(Step::RemoveTarget { target: target.clone() }),
        Step::Lvm(step) => step.undo(),
        // Its members stay `creating`, and the next plan completes or abandons each.
        Step::SnapshotSubvolumes { .. }
        | Step::ThawFilesystem { .. }
        | Step::EndFreeze { .. }
        | Step::SyncDevice { .. }
        | Step::LimitSubvolume { .. }
        | Step::RemoveSubvolume { .. }
        | Step::RemoveUnfinishedSubvolume { .. }
        | Step::EnableQuota { .. }
        | Step::SyncDir { .. }
        | Step::WriteState { .. }
        | Step::WriteLatch { .. }
        | Step::WriteStage { .. }
        | Step::GrowImage { .. }
        | Step::SetAutoclear { .. }
        | Step::ResizeLoop { .. }
        | Step::MakeFilesystem { .. }
        | Step::CheckFilesystem { .. }
        | Step::GrowOffline { .. }
        | Step::MakeLayout { .. }
        | Step::GrowFilesystem { .. }
        | Step::ProveSize { .. }
        | Step::Unmount { .. }
        | Step::RemoveTarget { .. }
        | Step::DetachLoop { .. }
        | Step::MarkQuarantined { .. }
        | Step::RenameToQuarantine { .. }
        | Step::EraseImage { .. }
        | Step::RemoveImage { .. }
        | Step::RemoveUnfinished { .. }
        | Step::WipeSignatures { .. }
        | Step::MakePoolDirectory { .. }
        | Step::WritePoolFile { .. } => None,
    }
}
