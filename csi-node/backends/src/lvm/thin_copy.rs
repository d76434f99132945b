//! Copy: a snapshot of a volume, a volume from a snapshot, a clone of a volume. Each is a thin snapshot in the same pool; a mounted source stands still meanwhile.
//!
//! ```text
//!   entry, durable -> freeze -> thin snapshot -> thaw -> larger -> ready
//! ```

use terrace_device_types::lvm::{Gains, LvRef, LvmStep, NewVolume, VolumeKind};
use terrace_device_types::{
    Access, Allocation, BackendKind, Bytes, HostObject, HostState, Kernel, Refusal, Step, Tag,
    TagRefusal, View, VolumeMode, image_name,
};

use super::create::parse_name;
use super::grow::{self, require_lv};
use super::{Way, require_group, thin_pool};
use crate::check::{self, OurImage};
use crate::copying::{self, Stillness, Wanted};
use crate::end;
use crate::object::{device_of, find_lv};

/// The first kernel on which lvm can suspend a device whose filesystem somebody else has frozen. Before, its own freeze is the only one.
const FREEZES_NEST: Kernel = Kernel { major: 6, minor: 8 };

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
    let mut steps = end::remove_unfinished(ours)?;
    steps.extend(plan_make(wanted, view)?);
    Ok(steps)
}

/// Its source is gone, so it can't be made anew. It need not, if its device is there: a thin snapshot is whole from the moment that the pool has it.
fn plan_complete(
    wanted: &Wanted<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    if find_lv(ours)?.is_none() {
        return Err(TagRefusal::NoImage { volume: wanted.source }.into());
    }
    device_of(ours)?;
    let mut steps = vec![Step::SyncDir { dir: view.pool.dir.clone() }];
    steps.extend(plan_larger(wanted, ours, view)?);
    steps.push(ready(wanted, view));
    Ok(steps)
}

fn plan_larger(wanted: &Wanted<'_>, ours: OurImage<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    match wanted.object {
        HostObject::Volume => grow::plan_lv(Way::Thin, ours, wanted.size, view),
        HostObject::Snapshot => Ok(Vec::new()),
    }
}

fn ready(wanted: &Wanted<'_>, view: &View) -> Step {
    let image = view.pool.dir.join(image_name(wanted.object, wanted.volume));
    Step::WriteState { image, volume: wanted.volume, state: HostState::Ready }
}

fn plan_make(wanted: &Wanted<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let source = copying::require_source(BackendKind::LvmThin, wanted, view)?;
    copying::validate_twins(BackendKind::LvmThin, wanted, view)?;
    thin_pool::validate_room(&view.pool)?;
    let shares = copying::holds_bytes(source);
    let mut tag = copying::tag_of_copy(wanted, shares.then_some(source), view)?;
    tag.allocation = Allocation::Sparse;
    let (dir, text) = (view.pool.dir.clone(), image_name(wanted.object, wanted.volume));
    let object = dir.join(&text);
    let mut steps = vec![
        Step::Lvm(LvmStep::CreateEntry { object, tag: Box::new(tag.clone()) }),
        Step::SyncDir { dir },
    ];
    let lv = LvRef { name: parse_name(&text, view)?, volume: wanted.volume };
    if shares {
        let Stillness { before, after } = plan_stillness(source, view)?;
        let of = require_lv(source)?.named;
        let kind = VolumeKind::ThinSnapshot { of, access: access_of(wanted.object) };
        steps.extend(before);
        steps.push(create(kind, &lv, tag, view)?);
        steps.extend(after);
        steps.extend(plan_gain(wanted, source, lv, view)?);
    } else {
        steps.push(create(Way::Thin.kind(wanted.size)?, &lv, tag, view)?);
    }
    steps.push(ready(wanted, view));
    Ok(steps)
}

const fn access_of(object: HostObject) -> Access {
    match object {
        HostObject::Volume => Access::ReadWrite,
        HostObject::Snapshot => Access::ReadOnly,
    }
}

fn create(kind: VolumeKind, lv: &LvRef, tag: Tag, view: &View) -> Result<Step, Refusal> {
    let object = view.pool.dir.join(lv.name.as_str());
    let group = require_group(&view.pool)?.uuid.clone();
    let new = Box::new(NewVolume { name: lv.name.clone(), kind, tag });
    Ok(Step::Lvm(LvmStep::CreateLv { object, group, new }))
}

/// A snapshot's device has its source's size.
fn plan_gain(
    wanted: &Wanted<'_>,
    source: OurImage<'_>,
    lv: LvRef,
    view: &View,
) -> Result<Option<Step>, Refusal> {
    let (has, to): (Bytes, Bytes) = (source.image.apparent, wanted.size);
    if wanted.object == HostObject::Snapshot || to <= has {
        return Ok(None);
    }
    let group = require_group(&view.pool)?.uuid.clone();
    Ok(Some(Step::Lvm(LvmStep::GrowLv { group, lv, to, gains: Gains::AsFound })))
}

/// Lvm freezes a mounted source itself, for the moment in which the pool takes the snapshot. Ours, around it, lets several stand still together.
fn plan_stillness(source: OurImage<'_>, view: &View) -> Result<Stillness, Refusal> {
    let still = copying::plan_stillness(source, device_of(source)?, view)?;
    match (source.tag.mode, &still.after) {
        (VolumeMode::Filesystem { .. }, Some(_)) if view.kernel < FREEZES_NEST => {
            Ok(Stillness { before: None, after: None })
        }
        (VolumeMode::Filesystem { .. } | VolumeMode::Block, _) => Ok(still),
    }
}
