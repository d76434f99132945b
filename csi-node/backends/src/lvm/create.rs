//! Create: the entry, its logical volume, then `ready`. What was begun is gone on with, never made a second time.

use terrace_device_types::lvm::{Gains, LvName, LvRef, LvmStep, NewVolume};
use terrace_device_types::{
    Bytes, HostObject, HostState, Latch, Refusal, RequestRefusal, Step, Tag, TagRefusal, View,
    VolumeMode, image_name,
};

use super::{Way, grow, require_group};
use crate::check::{self, OurImage};
use crate::object::{OurLv, find_lv};
use crate::planner::Creation;

pub(super) fn plan_create(
    way: Way,
    wanted: &Creation<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    check::validate_size(wanted.size, wanted.mode, wanted.mode.least())?;
    check::validate_pool(&view.pool, wanted.cluster)?;
    let ours = check::find_image(view, wanted.volume, wanted.cluster)?;
    let Some(ours) = ours else { return plan_make(way, wanted, view) };
    ours.require_volume("create")?;
    if ours.tag.mode != wanted.mode {
        let (tagged, asked) = (ours.tag.mode, wanted.mode);
        return Err(RequestRefusal::OtherMode { tagged, asked }.into());
    }
    match &ours.tag.state {
        HostState::Creating => plan_finish(way, wanted, ours, view),
        HostState::Ready => grow::plan_lv(way, ours, wanted.size, view),
        HostState::Retained | HostState::Quarantined { .. } => Err(ours.wrong_state("create")),
    }
}

fn plan_make(way: Way, wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let pool = &view.pool;
    way.validate_room(view, wanted.size.round_up(require_group(pool)?.extent))?;
    let tag = Tag { allocation: way.allocation(), ..wanted.tag(pool, Latch::None)? };
    let object = pool.dir.join(image_name(HostObject::Volume, wanted.volume));
    let mut steps = vec![
        Step::Lvm(LvmStep::CreateEntry { object: object.clone(), tag: Box::new(tag.clone()) }),
        Step::SyncDir { dir: pool.dir.clone() },
    ];
    steps.extend(bytes_and_ready(way, wanted, &tag, wanted.size, view)?);
    Ok(steps)
}

/// The crash may have come before the entry's name was durable, before its logical volume, or before that was blank.
fn plan_finish(
    way: Way,
    wanted: &Creation<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let group = require_group(&view.pool)?;
    let mut steps = vec![Step::SyncDir { dir: view.pool.dir.clone() }];
    let has = match find_lv(ours)? {
        Some(OurLv { lv, .. }) => lv.size,
        None => {
            way.validate_room(view, wanted.size.round_up(group.extent))?;
            wanted.size
        }
    };
    let size = has.min(wanted.size);
    let mut rest = bytes_and_ready(way, wanted, ours.tag, size, view)?;
    if size < wanted.size {
        let need = wanted.size.round_up(group.extent).minus(has);
        way.validate_room(view, need)?;
        rest.insert(1, grow_step(wanted, view)?);
    }
    steps.append(&mut rest);
    Ok(steps)
}

fn bytes_and_ready(
    way: Way,
    wanted: &Creation<'_>,
    tag: &Tag,
    size: Bytes,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let text = image_name(HostObject::Volume, wanted.volume);
    let object = view.pool.dir.join(&text);
    let name = parse_name(&text, view)?;
    let tag = Tag { state: HostState::Creating, ..tag.clone() };
    let new = Box::new(NewVolume { name, kind: way.kind(size)?, tag });
    let group = require_group(&view.pool)?.uuid.clone();
    let lv = LvRef { name: new.name.clone(), volume: wanted.volume };
    let create = LvmStep::CreateLv { object: object.clone(), group: group.clone(), new };
    let mut steps = vec![Step::Lvm(create)];
    if wanted.mode == VolumeMode::Block && !way.begins_as_zeros() {
        steps.push(Step::Lvm(LvmStep::ZeroLv { object: object.clone(), group, lv }));
    }
    let (image, volume) = (object, wanted.volume);
    steps.push(Step::WriteState { image, volume, state: HostState::Ready });
    Ok(steps)
}

fn grow_step(wanted: &Creation<'_>, view: &View) -> Result<Step, Refusal> {
    let name = parse_name(&image_name(HostObject::Volume, wanted.volume), view)?;
    let lv = LvRef { name, volume: wanted.volume };
    let group = require_group(&view.pool)?.uuid.clone();
    // Whatever it gains is written over before it is ready, or is a filesystem's.
    Ok(Step::Lvm(LvmStep::GrowLv { group, lv, to: wanted.size, gains: Gains::AsFound }))
}

/// Every name of ours is one that LVM takes.
pub(super) fn parse_name(text: &str, view: &View) -> Result<LvName, Refusal> {
    text.parse().map_err(|_| TagRefusal::Untagged { image: view.pool.dir.join(text) }.into())
}
