//! Delete, and everything else that ends or changes a host object's life, on every backend. Destroys only with a proof in hand or in the tag (I1).

use std::path::Path;

use terrace_device_types::lvm::LvmStep;
use terrace_device_types::{
    ClusterUid, DeletionId, DeletionProof, Erase, Form, HostState, InUse, Opened, ProofRefusal,
    Refusal, StageState, Step, TagRefusal, UseRefusal, View, VolumeUuid, quarantine_name,
};

use crate::check::{self, OurImage};
use crate::lvm::require_group;
use crate::object::{self, OurLv};

/// Quarantine, erase, remove. Nothing there is nothing to do.
pub(crate) fn plan_delete(
    volume: VolumeUuid,
    proof: &DeletionProof,
    erase: Erase,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    if proof.volume() != volume {
        return Err(ProofRefusal::OfAnother { volume, proven: proof.volume() }.into());
    }
    let Some(ours) = find_in_own_pool(volume, view)? else { return Ok(Vec::new()) };
    let mut steps = Vec::new();
    match &ours.tag.state {
        HostState::Quarantined { deletion } if deletion == proof.id() => {}
        HostState::Quarantined { .. } => {
            let tag = Box::new(ours.tag.clone());
            return Err(ProofRefusal::OtherDeletion { volume, tag }.into());
        }
        HostState::Creating | HostState::Ready | HostState::Retained => {
            refuse_if_used(ours, view)?;
            let image = ours.image.path.clone();
            if view.volume.attached.is_some() {
                steps.push(Step::DetachLoop { image: image.clone() });
            }
            steps.push(Step::MarkQuarantined { image, proof: proof.clone() });
        }
    }
    steps.extend(plan_removal(ours, proof.id(), erase, view)?);
    Ok(steps)
}

/// From the mark in the tag to the last entry of the directory.
pub(crate) fn plan_removal(
    ours: OurImage<'_>,
    deletion: &DeletionId,
    erase: Erase,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    check::validate_erase(&ours.image.form, erase)?;
    match &ours.image.form {
        Form::Lv(_) => drop(require_group(&view.pool)?),
        Form::Image | Form::Subvolume(_) => {}
    }
    let dir = view.pool.dir.clone();
    let to = dir.join(quarantine_name(deletion));
    let mut steps = Vec::new();
    if ours.image.path != to {
        let (image, to, deletion) = (ours.image.path.clone(), to.clone(), deletion.clone());
        steps.push(Step::RenameToQuarantine { image, to, deletion });
        steps.push(Step::SyncDir { dir: dir.clone() });
    }
    steps.extend(remove_bytes(ours, &to, deletion, erase)?);
    let deletion = deletion.clone();
    steps.push(match ours.image.form {
        Form::Image | Form::Lv(_) => Step::RemoveImage { image: to, deletion },
        Form::Subvolume(_) => Step::RemoveSubvolume { object: to, deletion },
    });
    steps.push(Step::SyncDir { dir });
    Ok(steps)
}

/// What goes before the object itself does, and is erased where that was asked for.
fn remove_bytes(
    ours: OurImage<'_>,
    at: &Path,
    deletion: &DeletionId,
    erase: Erase,
) -> Result<Vec<Step>, Refusal> {
    let (object, deletion) = (at.to_owned(), deletion.clone());
    let lv = object::find_lv(ours)?;
    let mut steps = Vec::new();
    match (erase, &lv, &ours.image.form) {
        (Erase::No, _, _) | (Erase::Zeros, None, Form::Lv(_) | Form::Subvolume(_)) => {}
        (Erase::Zeros, _, Form::Image) | (Erase::Zeros, Some(_), Form::Subvolume(_)) => {
            let (image, deletion) = (object.clone(), deletion.clone());
            steps.push(Step::EraseImage { image, deletion, erase });
        }
        (Erase::Zeros, Some(_), Form::Lv(_)) => {
            let (object, deletion) = (object.clone(), deletion.clone());
            let device = object::device_of(ours)?;
            steps.push(Step::Lvm(LvmStep::EraseLv { object, deletion, device, erase }));
        }
    }
    steps.extend(lv.map(|OurLv { group, lv: _, named }| {
        Step::Lvm(LvmStep::RemoveLv { object, deletion, group: group.clone(), lv: named })
    }));
    Ok(steps)
}

/// The image, in a pool whose cluster is the tag's.
fn find_in_own_pool(volume: VolumeUuid, view: &View) -> Result<Option<OurImage<'_>>, Refusal> {
    let Some(image) = &view.volume.image else { return Ok(None) };
    let cluster = &check::validate_tag(image)?.tag.cluster;
    check::validate_pool(&view.pool, cluster)?;
    check::find_object(&view.volume, volume, cluster)
}

/// Mounted, staged under this boot, or open: somebody would lose it under his hands. So would somebody of whom we do not know.
pub(crate) fn refuse_if_used(ours: OurImage<'_>, view: &View) -> Result<(), Refusal> {
    let by = match (&ours.tag.stage, view.volume_mounts().next(), view.volume.opened) {
        (_, Some(mount), _) => InUse::Mounted { at: mount.at.clone() },
        (StageState::At { boot, target }, None, _) if *boot == view.boot => {
            InUse::Staged { target: target.clone() }
        }
        (_, None, Opened::BySomebody) => InUse::Open,
        (_, None, Opened::NotLooked) => InUse::NotLooked,
        (_, None, Opened::ByNobody) => return Ok(()),
    };
    Err(UseRefusal::StillInUse { volume: ours.tag.volume, by }.into())
}

/// The steps that take a host object back of which nobody has seen anything yet.
pub(crate) fn remove_unfinished(ours: OurImage<'_>) -> Result<Vec<Step>, Refusal> {
    let (path, volume) = (ours.image.path.clone(), ours.tag.volume);
    let lv = object::find_lv(ours)?.map(|OurLv { group, lv: _, named: lv }| {
        let (object, group) = (path.clone(), group.clone());
        Step::Lvm(LvmStep::RemoveUnfinishedLv { object, group, lv })
    });
    let last = match ours.image.form {
        Form::Image | Form::Lv(_) => Step::RemoveUnfinished { image: path, volume },
        Form::Subvolume(_) => Step::RemoveUnfinishedSubvolume { object: path, volume },
    };
    Ok(lv.into_iter().chain([last]).collect())
}

/// Keeps it, marked. Whoever uses it goes on using it.
pub(crate) fn plan_retain(
    volume: VolumeUuid,
    cluster: &ClusterUid,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    check::validate_pool(&view.pool, cluster)?;
    let Some(ours) = check::find_image(view, volume, cluster)? else { return Ok(Vec::new()) };
    match &ours.tag.state {
        HostState::Creating | HostState::Ready => Ok(vec![retag(ours, HostState::Retained)]),
        HostState::Retained => Ok(Vec::new()),
        HostState::Quarantined { .. } => Err(ours.wrong_state("retain")),
    }
}

/// Takes a retained image into service again.
pub(crate) fn plan_adopt(
    volume: VolumeUuid,
    cluster: &ClusterUid,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    check::validate_pool(&view.pool, cluster)?;
    let found = check::find_image(view, volume, cluster)?;
    let ours = found.ok_or(TagRefusal::NoImage { volume })?;
    match &ours.tag.state {
        HostState::Retained => Ok(vec![retag(ours, HostState::Ready)]),
        HostState::Ready => Ok(Vec::new()),
        HostState::Creating | HostState::Quarantined { .. } => Err(ours.wrong_state("adopt")),
    }
}

fn retag(ours: OurImage<'_>, state: HostState) -> Step {
    Step::WriteState { image: ours.image.path.clone(), volume: ours.tag.volume, state }
}
