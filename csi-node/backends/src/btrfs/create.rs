//! Create and grow: a subvolume in a directory with the tag, its limit, then `ready`.

use terrace_device_types::{
    Bytes, ClusterUid, HostState, Latch, Refusal, RequestRefusal, Step, Tag, View, VolumeUuid,
    image_name,
};

use super::{LEAST, limit_of, subvolume_of, validate_mode, validate_quota};
use crate::check::{self, OurImage};
use crate::end;
use crate::planner::Creation;

/// What is there already is completed, never made a second time.
pub(super) fn plan_create(wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    validate_mode(wanted.mode)?;
    check::validate_size(wanted.size, wanted.mode, LEAST)?;
    check::validate_pool(&view.pool, wanted.cluster)?;
    validate_quota(&view.pool)?;
    match check::find_image(view, wanted.volume, wanted.cluster)? {
        Some(ours) => plan_complete(wanted, ours, view),
        None => {
            check::validate_room(&view.pool, wanted.size)?;
            // Its latch says from the start that nothing is ever to be formatted (I2).
            let latch = Latch::Formatted { filesystem: wanted.volume.filesystem_uuid() };
            plan_new(wanted, wanted.tag(&view.pool, latch)?, view)
        }
    }
}

fn plan_new(wanted: &Creation<'_>, tag: Tag, view: &View) -> Result<Vec<Step>, Refusal> {
    let object = view.pool.dir.join(image_name(tag.object, wanted.volume));
    let create = Step::CreateSubvolume { object: object.clone(), tag: Box::new(tag) };
    let limit =
        Step::LimitSubvolume { object: object.clone(), volume: wanted.volume, to: wanted.size };
    let ready = Step::WriteState { image: object, volume: wanted.volume, state: HostState::Ready };
    Ok(vec![create, Step::SyncDir { dir: view.pool.dir.clone() }, limit, ready])
}

/// Finishes what a crash left, or grows what is there.
fn plan_complete(
    wanted: &Creation<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    ours.require_volume("create")?;
    if ours.tag.mode != wanted.mode {
        let (tagged, asked) = (ours.tag.mode, wanted.mode);
        return Err(RequestRefusal::OtherMode { tagged, asked }.into());
    }
    match &ours.tag.state {
        HostState::Creating if subvolume_of(ours).is_none() => {
            // Its removal was cut short: it is taken away and made anew.
            let mut steps = end::remove_unfinished(ours)?;
            steps.extend(plan_new(wanted, ours.tag.clone(), view)?);
            Ok(steps)
        }
        HostState::Creating => {
            let (image, volume) = (ours.image.path.clone(), ours.tag.volume);
            // The crash may have come before its name was durable.
            let mut steps = vec![Step::SyncDir { dir: view.pool.dir.clone() }];
            steps.extend(plan_limit(ours, wanted.size, view)?);
            steps.push(Step::WriteState { image, volume, state: HostState::Ready });
            Ok(steps)
        }
        HostState::Ready => plan_limit(ours, wanted.size, view),
        HostState::Retained | HostState::Quarantined { .. } => Err(ours.wrong_state("create")),
    }
}

/// A higher limit; one that is higher already stays.
pub(super) fn plan_limit(ours: OurImage<'_>, to: Bytes, view: &View) -> Result<Vec<Step>, Refusal> {
    let limit = limit_of(ours);
    if limit >= to {
        return Ok(Vec::new());
    }
    validate_quota(&view.pool)?;
    check::validate_room(&view.pool, to.minus(limit.max(ours.image.allocated)))?;
    let (object, volume) = (ours.image.path.clone(), ours.tag.volume);
    Ok(vec![Step::LimitSubvolume { object, volume, to }])
}

/// Grow is a higher limit, whoever uses it.
pub(super) fn plan_grow(
    volume: VolumeUuid,
    cluster: &ClusterUid,
    to: Bytes,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let ours = check::require_image(view, volume, cluster)?;
    ours.require_volume("grow")?;
    ours.require_ready("grow")?;
    check::validate_size(to, ours.tag.mode, LEAST)?;
    plan_limit(ours, to, view)
}
