//! One short word for each kind of step: the label of its metrics.

use terrace_device_types::Step;

/// The label of `step`.
pub(super) const fn of(step: &Step) -> &'static str {
    match step {
        Step::AllocateImage { .. } => "allocate-image",
        Step::SyncDir { .. } => "sync-dir",
        Step::WriteState { .. } => "write-state",
        Step::WriteLatch { .. } => "write-latch",
        Step::WriteStage { .. } => "write-stage",
        Step::GrowImage { .. } => "grow-image",
        Step::AttachLoop { .. } => "attach-loop",
        Step::SetAutoclear { .. } => "set-autoclear",
        Step::ResizeLoop { .. } => "resize-loop",
        Step::MakeFilesystem { .. } => "make-filesystem",
        Step::CheckFilesystem { .. } => "check-filesystem",
        Step::GrowOffline { .. } => "grow-offline",
        Step::MountFilesystem { .. } => "mount-filesystem",
        Step::MakeLayout { .. } => "make-layout",
        Step::MakeTarget { .. } => "make-target",
        Step::BindMount { .. } => "bind-mount",
        Step::BindDevice { .. } => "bind-device",
        Step::GrowFilesystem { .. } => "grow-filesystem",
        Step::ProveSize { .. } => "prove-size",
        Step::Unmount { .. } => "unmount",
        Step::RemoveTarget { .. } => "remove-target",
        Step::DetachLoop { .. } => "detach-loop",
        Step::MarkQuarantined { .. } => "mark-quarantined",
        Step::RenameToQuarantine { .. } => "rename-to-quarantine",
        Step::EraseImage { .. } => "erase-image",
        Step::RemoveImage { .. } => "remove-image",
        Step::RemoveUnfinished { .. } => "remove-unfinished",
        Step::WipeSignatures { .. } => "wipe-signatures",
        Step::MakePoolDirectory { .. } => "make-pool-directory",
        Step::WritePoolFile { .. } => "write-pool-file",
    }
}
