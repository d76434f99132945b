//! Weaves the plans of a group's members into one: all of them stand still before the first is copied, and none goes on before the last is.
//! Pure. Knows no backend: it sorts steps by what they are.
//!
//! ```text
//!   what comes before | all freezes | all copies | all thaws | what comes after | all `ready`
//! ```
//! No member becomes ready before every member's name is durable, so a crash leaves none ready or all of them there.

use terrace_device_types::lvm::{LvmStep, VolumeKind};
use terrace_device_types::{
    BackendKind, HostState, Refusal, RequestRefusal, Step, SubvolumeCopy, TagRefusal,
};

/// One plan out of the plans of all members, which were made from one look each. Of one member: its plan.
///
/// # Errors
/// [`TagRefusal::TornGroup`], when a member is in service from an earlier moment and another one is yet to be copied. [`RequestRefusal::NotSupported`], when this kernel
/// can't let them stand still together.
pub fn plan_group(plans: Vec<Vec<Step>>) -> Result<Vec<Step>, Refusal> {
    refuse_apart(&plans)?;
    let plans = if plans.iter().all(|plan| makes(plan)) { plans } else { complete(plans)? };
    Ok(weave(plans))
}

/// All members that are there were made at one moment. If no other is missing, those not in service yet only need to become so.
fn complete(plans: Vec<Vec<Step>>) -> Result<Vec<Vec<Step>>, Refusal> {
    let missing = |plan: &Vec<Step>| makes(plan) && !takes_back(plan);
    if plans.iter().any(missing) {
        return Err(TagRefusal::TornGroup.into());
    }
    let finish = |plan: Vec<Step>| -> Vec<Step> {
        let rest = plan.into_iter().filter(|step| phase(step) == Phase::Any);
        rest.filter(|step| !is_removal(step)).collect()
    };
    Ok(plans.into_iter().map(finish).collect())
}

fn makes(plan: &[Step]) -> bool {
    plan.iter().any(|step| matches!(phase(step), Phase::Copy | Phase::Make))
}

/// Whether it removes what an earlier attempt left, before it makes it anew. An entry without its logical volume is nothing yet.
fn takes_back(plan: &[Step]) -> bool {
    let has_entry = |step: &Step| matches!(step, Step::Lvm(LvmStep::CreateEntry { .. }));
    let of_lv = |step: &Step| matches!(step, Step::Lvm(LvmStep::RemoveUnfinishedLv { .. }));
    if plan.iter().any(has_entry) { plan.iter().any(of_lv) } else { plan.iter().any(is_removal) }
}

/// Lvm freezes each source by itself where its freeze can't stand within ours (before Linux 6.8), so several would show several moments.
fn refuse_apart(plans: &[Vec<Step>]) -> Result<(), Refusal> {
    let is_copy = |step: &Step| matches!(step, Step::Lvm(LvmStep::CreateLv { new, .. }) if matches!(new.kind, VolumeKind::ThinSnapshot { .. }));
    let stands = |step: &Step| matches!(phase(step), Phase::Freeze | Phase::Sync);
    let apart = |plan: &Vec<Step>| plan.iter().any(is_copy) && !plan.iter().any(stands);
    if plans.len() < 2 || !plans.iter().any(apart) {
        return Ok(());
    }
    let what = "a group snapshot of mounted volumes on this kernel";
    let remedy = "it needs Linux 6.8; take a snapshot of each";
    Err(RequestRefusal::NotSupported { backend: BackendKind::LvmThin, what, remedy }.into())
}

fn is_removal(step: &Step) -> bool {
    matches!(
        step,
        Step::RemoveUnfinished { .. }
            | Step::RemoveUnfinishedSubvolume { .. }
            | Step::Lvm(LvmStep::RemoveUnfinishedLv { .. })
    )
}

/// When in a group a step has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Freeze,
    /// What shows the moment.
    Copy,
    Thaw,
    /// Makes an object that shows no moment, since it is empty.
    Make,
    /// Only part of standing still, not of completing.
    Sync,
    /// As its place in its own plan says.
    Any,
}

fn phase(step: &Step) -> Phase {
    match step {
        Step::FreezeFilesystem { .. } => Phase::Freeze,
        Step::CloneImage { .. } | Step::SnapshotSubvolumes { .. } => Phase::Copy,
        Step::ThawFilesystem { .. } => Phase::Thaw,
        Step::AllocateImage { .. } | Step::CreateSubvolume { .. } => Phase::Make,
        Step::SyncDevice { .. } => Phase::Sync,
        Step::Lvm(step) => phase_of_lvm(step),
        Step::EndFreeze { .. }
        | Step::LimitSubvolume { .. }
        | Step::RemoveSubvolume { .. }
        | Step::RemoveUnfinishedSubvolume { .. }
        | Step::EnableQuota { .. }
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
        | Step::WritePoolFile { .. } => Phase::Any,
    }
}

fn phase_of_lvm(step: &LvmStep) -> Phase {
    match step {
        LvmStep::CreateEntry { .. } => Phase::Make,
        LvmStep::CreateLv { object: _, group: _, new } => match new.kind {
            VolumeKind::ThinSnapshot { .. } => Phase::Copy,
            VolumeKind::Linear { .. }
            | VolumeKind::Striped { .. }
            | VolumeKind::Raid1 { .. }
            | VolumeKind::Thin { .. } => Phase::Make,
        },
        LvmStep::MakeGroup { .. }
        | LvmStep::ExtendGroup { .. }
        | LvmStep::MakeFolder { .. }
        | LvmStep::ActivateGroup { .. }
        | LvmStep::ClearLeftovers { .. }
        | LvmStep::MakeThinPool { .. }
        | LvmStep::GrowThinPool { .. }
        | LvmStep::GrowLv { .. }
        | LvmStep::ZeroLv { .. }
        | LvmStep::RefreshLv { .. }
        | LvmStep::SetAccess { .. }
        | LvmStep::EraseLv { .. }
        | LvmStep::RemoveLv { .. }
        | LvmStep::RemoveUnfinishedLv { .. } => Phase::Any,
    }
}

/// The phases of all members.
#[derive(Default)]
struct Woven {
    before: Vec<Step>,
    freezes: Vec<Step>,
    clones: Vec<Step>,
    subvolumes: Vec<SubvolumeCopy>,
    thaws: Vec<Step>,
    after: Vec<Step>,
    ready: Vec<Step>,
}

fn weave(plans: Vec<Vec<Step>>) -> Vec<Step> {
    let mut woven = Woven::default();
    for plan in plans {
        // What writes out a device comes before the freezes, so that no frozen writer waits for it.
        let moment = |step: &Step| matches!(phase(step), Phase::Freeze | Phase::Copy);
        let first = plan.iter().position(moment).unwrap_or(0);
        for (at, step) in plan.into_iter().enumerate() {
            woven.add(step, at < first);
        }
    }
    woven.into_steps()
}

impl Woven {
    fn add(&mut self, step: Step, comes_before: bool) {
        match (phase(&step), step) {
            (_, Step::SnapshotSubvolumes { members }) => self.subvolumes.extend(members),
            (_, step @ Step::WriteState { state: HostState::Ready, .. }) => self.ready.push(step),
            (Phase::Freeze, step) => self.freezes.push(step),
            (Phase::Copy, step) => self.clones.push(step),
            (Phase::Thaw, step) => self.thaws.push(step),
            (Phase::Make | Phase::Sync | Phase::Any, step) if comes_before => {
                self.before.push(step);
            }
            (Phase::Make | Phase::Sync | Phase::Any, step) => self.after.push(step),
        }
    }

    fn into_steps(self) -> Vec<Step> {
        let Self { before, freezes, mut clones, subvolumes, thaws, after, ready } = self;
        if !subvolumes.is_empty() {
            clones.push(Step::SnapshotSubvolumes { members: subvolumes });
        }
        let once = |steps: Vec<Step>| -> Vec<Step> {
            let again = |at: usize| steps[at + 1..].contains(&steps[at]);
            let sync = |step: &Step| matches!(step, Step::SyncDir { .. });
            let kept = (0..steps.len()).filter(|at| !(sync(&steps[*at]) && again(*at)));
            kept.map(|at| steps[at].clone()).collect()
        };
        [once(before), freezes, clones, thaws, once(after), ready].concat()
    }
}
