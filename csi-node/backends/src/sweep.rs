//! What an earlier operation left behind: the end of a deletion that was proven, or what was begun and never finished. Nothing else is swept, on any backend.

use terrace_device_types::{
    ClusterUid, Erase, Form, HostState, InUse, Latch, Leftover, Refusal, StageState, Step,
    UseRefusal, View, VolumeUuid,
};

use crate::check::{self, OurImage};
use crate::end::{plan_removal, refuse_if_used, remove_unfinished};

/// Removes it, if it is still what it was found as. Nothing there is nothing to do.
pub(crate) fn plan_sweep(
    volume: VolumeUuid,
    cluster: &ClusterUid,
    leftover: &Leftover,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    check::validate_pool(&view.pool, cluster)?;
    let Some(ours) = check::find_object(&view.volume, volume, cluster)? else {
        return Ok(Vec::new());
    };
    match (leftover, &ours.tag.state) {
        // Whether erasing was asked for was known to its object alone, and that is gone.
        (Leftover::Quarantined { deletion }, HostState::Quarantined { deletion: tagged })
            if deletion == tagged =>
        {
            refuse_if_touched(ours, view)?;
            plan_removal(ours, deletion, Erase::No, view)
        }
        (Leftover::Unfinished, HostState::Creating) if is_unused(ours) => {
            refuse_if_touched(ours, view)?;
            let mut steps = remove_unfinished(ours)?;
            steps.push(Step::SyncDir { dir: view.pool.dir.clone() });
            Ok(steps)
        }
        (Leftover::Quarantined { .. } | Leftover::Unfinished, _) => Err(ours.wrong_state("sweep")),
    }
}

/// A copy has its source's latch from the start, a subvolume its own.
fn is_unused(ours: OurImage<'_>) -> bool {
    let unformatted = match ours.image.form {
        Form::Image | Form::Lv(_) => ours.tag.latch == Latch::None || ours.tag.source.is_some(),
        Form::Subvolume(_) => true,
    };
    unformatted && ours.tag.stage == StageState::Never
}

/// Neither has a loop device when it is left: somebody gave it one.
fn refuse_if_touched(ours: OurImage<'_>, view: &View) -> Result<(), Refusal> {
    if view.volume.attached.is_some() {
        return Err(UseRefusal::StillInUse { volume: ours.tag.volume, by: InUse::Open }.into());
    }
    refuse_if_used(ours, view)
}
