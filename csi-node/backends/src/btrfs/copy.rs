//! Copy: a snapshot of a volume, a volume from a snapshot, a clone of a volume. Each is a snapshot of a subvolume; a volume's can be written and gets a limit.

use terrace_device_types::{
    BackendKind, Bytes, HostObject, HostState, Refusal, Step, SubvolumeCopy, TagRefusal, View,
    image_name,
};

use super::create::plan_limit;
use super::{LEAST, subvolume_of, validate_mode, validate_quota};
use crate::check::{self, OurImage};
use crate::copying::{self, Wanted};
use crate::end;

/// A copy in service is left as it is, or made larger; one that was only begun is made anew, since nobody was told of it.
pub(super) fn plan_copy(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    validate_mode(wanted.mode)?;
    check::validate_pool(&view.pool, wanted.cluster)?;
    validate_quota(&view.pool)?;
    let Some(ours) = copying::find_copy(wanted, view)? else { return plan_make(wanted, view) };
    if ours.tag.state == HostState::Ready {
        return plan_larger(wanted, ours, view);
    }
    if view.source.as_ref().is_none_or(|source| source.image.is_none()) {
        return plan_complete(wanted, ours, view);
    }
    let mut steps = end::remove_unfinished(ours)?;
    steps.extend(plan_make(wanted, view)?);
    Ok(steps)
}

/// Its source is gone, so it can't be made anew. It need not: a copy gets its name only once it is whole.
fn plan_complete(
    wanted: &Wanted<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let (image, volume) = (ours.image.path.clone(), wanted.volume);
    if subvolume_of(ours).is_none() {
        return Err(TagRefusal::NoImage { volume: wanted.source }.into());
    }
    let mut steps = vec![Step::SyncDir { dir: view.pool.dir.clone() }];
    steps.extend(plan_larger(wanted, ours, view)?);
    steps.push(Step::WriteState { image, volume, state: HostState::Ready });
    Ok(steps)
}

/// A snapshot is never written, so it needs no limit.
fn plan_larger(wanted: &Wanted<'_>, ours: OurImage<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    match wanted.object {
        HostObject::Volume => plan_limit(ours, wanted.size, view),
        HostObject::Snapshot => Ok(Vec::new()),
    }
}

fn plan_make(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let from = copying::require_source(BackendKind::Btrfs, wanted, view)?;
    if subvolume_of(from).is_none() {
        return Err(TagRefusal::NoImage { volume: wanted.source }.into());
    }
    let (dir, volume) = (view.pool.dir.clone(), wanted.volume);
    let object = dir.join(image_name(wanted.object, volume));
    let limit = match wanted.object {
        HostObject::Volume => {
            check::validate_size(wanted.size, wanted.mode, LEAST)?;
            check::validate_room(&view.pool, wanted.size.minus(from.image.allocated))?;
            Some(Step::LimitSubvolume { object: object.clone(), volume, to: wanted.size })
        }
        HostObject::Snapshot => {
            check::validate_room(&view.pool, Bytes::ZERO)?;
            None
        }
    };
    let copy = SubvolumeCopy {
        from: from.image.path.clone(),
        source: wanted.source,
        object: object.clone(),
        tag: Box::new(copying::tag_of_copy(wanted, Some(from), view)?),
    };
    let mut steps = vec![Step::SnapshotSubvolumes { members: vec![copy] }, Step::SyncDir { dir }];
    steps.extend(limit);
    steps.push(Step::WriteState { image: object, volume, state: HostState::Ready });
    Ok(steps)
}
