//! How long each step may take (I10). Generous for what the size of a volume decides, short for what
//! is one system call.

use std::time::Duration;

use terrace_device_types::Step;
use terrace_device_types::lvm::{Gains, LvmStep};

/// What a step may overrun its own deadline before it is taken to hang.
pub const GRACE: Duration = Duration::from_secs(5);

/// A look at the host and the plan made of it, blkid included.
pub const PLAN: Duration = Duration::from_secs(60);

/// System calls that touch a few blocks.
const CALL: Duration = Duration::from_secs(30);
/// Allocating, formatting, growing, unmounting: bounded by metadata or write-back.
const WORK: Duration = Duration::from_secs(180);
/// Reading or writing every block.
const WHOLE: Duration = Duration::from_secs(6 * 3600);

/// The deadline of `step`.
#[must_use]
pub const fn of(step: &Step) -> Duration {
    match step {
        Step::ThawFilesystem { .. }
        | Step::EndFreeze { .. }
        | Step::CreateSubvolume { .. }
        | Step::LimitSubvolume { .. }
        | Step::SyncDir { .. }
        | Step::WriteState { .. }
        | Step::WriteLatch { .. }
        | Step::WriteStage { .. }
        | Step::AttachLoop { .. }
        | Step::SetAutoclear { .. }
        | Step::ResizeLoop { .. }
        | Step::MakeLayout { .. }
        | Step::MakeTarget { .. }
        | Step::BindMount { .. }
        | Step::BindDevice { .. }
        | Step::ProveSize { .. }
        | Step::RemoveTarget { .. }
        | Step::DetachLoop { .. }
        | Step::MarkQuarantined { .. }
        | Step::RenameToQuarantine { .. }
        | Step::MakePoolDirectory { .. }
        | Step::WritePoolFile { .. } => CALL,
        Step::AllocateImage { .. }
        | Step::CloneImage { .. }
        | Step::FreezeFilesystem { .. }
        | Step::SyncDevice { .. }
        | Step::SnapshotSubvolumes { .. }
        | Step::RemoveSubvolume { .. }
        | Step::RemoveUnfinishedSubvolume { .. }
        | Step::EnableQuota { .. }
        | Step::GrowImage { .. }
        | Step::MakeFilesystem { .. }
        | Step::MountFilesystem { .. }
        | Step::GrowFilesystem { .. }
        | Step::Unmount { .. }
        | Step::RemoveImage { .. }
        | Step::RemoveUnfinished { .. }
        | Step::WipeSignatures { .. } => WORK,
        Step::Lvm(step) => of_lvm(step),
        Step::CheckFilesystem { .. } | Step::GrowOffline { .. } | Step::EraseImage { .. } => WHOLE,
    }
}

/// A command of lvm's waits for others of its group.
const fn of_lvm(step: &LvmStep) -> Duration {
    match step {
        LvmStep::CreateEntry { .. } | LvmStep::SetAccess { .. } => CALL,
        LvmStep::MakeGroup { .. }
        | LvmStep::ExtendGroup { .. }
        | LvmStep::MakeFolder { .. }
        | LvmStep::ActivateGroup { .. }
        | LvmStep::ClearLeftovers { .. }
        | LvmStep::MakeThinPool { .. }
        | LvmStep::GrowThinPool { .. }
        | LvmStep::CreateLv { .. }
        | LvmStep::GrowLv { gains: Gains::AsFound, .. }
        | LvmStep::RefreshLv { .. }
        | LvmStep::RemoveLv { .. }
        | LvmStep::RemoveUnfinishedLv { .. } => WORK,
        LvmStep::EraseLv { .. }
        | LvmStep::ZeroLv { .. }
        | LvmStep::GrowLv { gains: Gains::Zeros, .. } => WHOLE,
    }
}
