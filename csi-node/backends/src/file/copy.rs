//! Copy: a snapshot of a volume, a volume from a snapshot, a clone of a volume. Blocks are shared (reflink); a mounted source stands still meanwhile.
//!
//! ```text
//!   freeze -> share the blocks, tag, name -> thaw -> name durable -> larger -> ready
//! ```
//! Between freeze and thaw nothing runs but the sharing of blocks. The journal's own writes lie between the steps, so it may never lie on a
//! volume: it is on the host's disk, below the node's state directory.

use terrace_device_types::{
    Allocation, BackendKind, Bytes, DeviceRef, HostObject, HostState, Refusal, RequestRefusal,
    Step, View, image_name,
};

use super::grow;
use crate::check::{self, OurImage};
use crate::copying::{self, Wanted};

/// A copy in service is left as it is, or made larger; one that was only begun is made anew, since nobody was told of it.
pub(super) fn plan_copy(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_size(wanted.size, wanted.mode, wanted.mode.least())?;
    check::validate_pool(&view.pool, wanted.cluster)?;
    let Some(ours) = copying::find_copy(wanted, view)? else { return plan_make(wanted, view) };
    if ours.tag.state == HostState::Ready {
        return plan_larger(wanted, ours, view);
    }
    if view.source.as_ref().is_none_or(|source| source.image.is_none()) {
        return plan_complete(wanted, ours, view);
    }
    let (image, volume) = (ours.image.path.clone(), wanted.volume);
    let mut steps = vec![Step::RemoveUnfinished { image, volume }];
    steps.extend(plan_make(wanted, view)?);
    Ok(steps)
}

/// Its source is gone, so it can't be made anew. It need not: an image gets its name only once its bytes are whole.
fn plan_complete(
    wanted: &Wanted<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let mut steps = vec![Step::SyncDir { dir: view.pool.dir.clone() }];
    steps.extend(plan_larger(wanted, ours, view)?);
    let (image, volume) = (ours.image.path.clone(), wanted.volume);
    steps.push(Step::WriteState { image, volume, state: HostState::Ready });
    Ok(steps)
}

fn plan_larger(wanted: &Wanted<'_>, ours: OurImage<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    match wanted.object {
        HostObject::Volume => grow::plan_image(ours, wanted.size, view),
        HostObject::Snapshot => Ok(Vec::new()),
    }
}

fn plan_make(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let source = copying::require_source(BackendKind::File, wanted, view)?;
    let bytes = if copying::holds_bytes(source) {
        validate_reflink(wanted, view)?;
        plan_clone(wanted, source, view)?
    } else {
        plan_empty(wanted, view)?
    };
    let (image, volume) =
        (view.pool.dir.join(image_name(wanted.object, wanted.volume)), wanted.volume);
    let mut steps = bytes;
    steps.push(Step::SyncDir { dir: view.pool.dir.clone() });
    let larger = wanted.object == HostObject::Volume && wanted.size > source.image.apparent;
    if larger && copying::holds_bytes(source) {
        let (image, to, allocation) = (image.clone(), wanted.size, wanted.allocation);
        steps.push(Step::GrowImage { image, volume, to, allocation });
    }
    steps.push(Step::WriteState { image, volume, state: HostState::Ready });
    Ok(steps)
}

/// A snapshot of nothing takes no space; a volume of nothing is a new volume.
fn plan_empty(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let allocation = match wanted.object {
        HostObject::Volume => wanted.allocation,
        HostObject::Snapshot => Allocation::Sparse,
    };
    check::validate_room(&view.pool, room(wanted.size, allocation))?;
    let mut tag = copying::tag_of_copy(wanted, None, view)?;
    tag.allocation = allocation;
    let image = view.pool.dir.join(image_name(wanted.object, wanted.volume));
    Ok(vec![Step::AllocateImage { image, size: wanted.size, tag: Box::new(tag) }])
}

/// Shared blocks cost nothing today, but a source that is written over needs them all again: a reserved copy is reserved in full.
fn plan_clone(
    wanted: &Wanted<'_>,
    source: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let size = match wanted.object {
        HostObject::Volume => wanted.size,
        HostObject::Snapshot => source.image.apparent,
    };
    check::validate_room(&view.pool, room(size, wanted.allocation))?;
    let tag = Box::new(copying::tag_of_copy(wanted, Some(source), view)?);
    let image = view.pool.dir.join(image_name(wanted.object, wanted.volume));
    let from = source.image.path.clone();
    let device = DeviceRef::LoopOf { image: source.image.path.clone() };
    let still = copying::plan_stillness(source, device, view)?;
    let clone = Step::CloneImage { from, source: wanted.source, image, tag };
    Ok(still.before.into_iter().chain([clone]).chain(still.after).collect())
}

const fn room(size: Bytes, allocation: Allocation) -> Bytes {
    match allocation {
        Allocation::Reserved => size,
        Allocation::Sparse => Bytes::ZERO,
    }
}

fn validate_reflink(wanted: &Wanted<'_>, view: &View) -> Result<(), Refusal> {
    if !view.pool.reflink {
        let what = "snapshots and clones in this directory";
        let remedy = "it needs a pool on xfs or btrfs with reflink";
        let backend = BackendKind::File;
        return Err(RequestRefusal::NotSupported { backend, what, remedy }.into());
    }
    copying::validate_twins(BackendKind::File, wanted, view)
}
