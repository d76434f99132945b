//! What staging is on every backend: a record on the host object, one place at a time, and the way back.

use std::path::Path;

use terrace_device_types::{
    ClusterUid, Refusal, StageState, Step, UseRefusal, View, VolumeMode, VolumeUuid,
};

use crate::check::{self, OurImage};

/// One place at a time, as long as something is there.
pub(crate) fn refuse_second_stage(
    target: &Path,
    ours: OurImage<'_>,
    view: &View,
) -> Result<(), Refusal> {
    let StageState::At { boot, target: at } = &ours.tag.stage else { return Ok(()) };
    let lives = view.volume_mounts().any(|mount| mount.at == *at)
        || (ours.tag.mode == VolumeMode::Block && view.volume.has_device());
    if at != target && *boot == view.boot && lives {
        let (volume, at, target) = (ours.tag.volume, at.clone(), target.to_owned());
        return Err(UseRefusal::StagedElsewhere { volume, at, target }.into());
    }
    Ok(())
}

/// The stage record, where it does not say so yet. It is written before anything is mounted.
pub(crate) fn stage_record(target: &Path, ours: OurImage<'_>, view: &View) -> Option<Step> {
    let stage = StageState::At { boot: view.boot.clone(), target: target.to_owned() };
    let image = ours.image.path.clone();
    (ours.tag.stage != stage).then_some(Step::WriteStage { image, volume: ours.tag.volume, stage })
}

/// No longer mounted, no longer attached. Works on what is left of a volume.
pub(crate) fn plan_unstage(
    volume: VolumeUuid,
    cluster: &ClusterUid,
    target: &Path,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    check::validate_path(target)?;
    let ours = check::find_image(view, volume, cluster)?;
    let mut steps = Vec::new();
    if let Some(mount) = view.mount_at(target) {
        if ours.is_some() && !view.is_of_volume(mount) {
            let (target, found) = (target.to_owned(), mount.source.clone());
            return Err(UseRefusal::TargetOccupied { target, found }.into());
        }
        steps.push(Step::Unmount { target: target.to_owned() });
    }
    let Some(ours) = ours else { return Ok(steps) };
    let elsewhere = match &ours.tag.stage {
        StageState::At { boot, target: at } => *boot == view.boot && at != target,
        StageState::Never | StageState::Past => false,
    };
    if elsewhere {
        return Ok(steps);
    }
    if let Some(mount) = view.volume_mounts().find(|mount| mount.at != target) {
        return Err(UseRefusal::StillPublished { volume, at: mount.at.clone() }.into());
    }
    let image = ours.image.path.clone();
    if view.volume.attached.is_some() {
        steps.push(Step::DetachLoop { image: image.clone() });
    }
    if matches!(ours.tag.stage, StageState::At { .. }) {
        steps.push(Step::WriteStage { image, volume, stage: StageState::Past });
    }
    Ok(steps)
}
