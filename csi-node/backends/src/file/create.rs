//! Create: an image with its tag, in one piece, then `ready`. Formatting is not done here but at the first stage.

use terrace_device_types::{
    Allocation, Bytes, HostObject, HostState, Latch, Refusal, RequestRefusal, Step, View,
    image_name,
};

use super::grow;
use crate::check::{self, OurImage};
use crate::planner::Creation;

/// An image that is there already is completed, never made a second time.
pub(super) fn plan_create(wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_size(wanted.size, wanted.mode, wanted.mode.least())?;
    check::validate_pool(&view.pool, wanted.cluster)?;
    match check::find_image(view, wanted.volume, wanted.cluster)? {
        Some(ours) => plan_complete(wanted, ours, view),
        None => plan_allocate(wanted, view),
    }
}

fn plan_allocate(wanted: &Creation<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let pool = &view.pool;
    let need = match wanted.allocation {
        Allocation::Reserved => wanted.size,
        Allocation::Sparse => Bytes::ZERO,
    };
    check::validate_room(pool, need)?;
    let tag = wanted.tag(pool, Latch::None)?;
    let image = pool.dir.join(image_name(HostObject::Volume, wanted.volume));
    Ok(vec![
        Step::AllocateImage { image: image.clone(), size: wanted.size, tag: Box::new(tag) },
        Step::SyncDir { dir: pool.dir.clone() },
        Step::WriteState { image, volume: wanted.volume, state: HostState::Ready },
    ])
}

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
    let mut steps = match &ours.tag.state {
        HostState::Creating | HostState::Ready => grow::plan_image(ours, wanted.size, view)?,
        HostState::Retained | HostState::Quarantined { .. } => {
            return Err(ours.wrong_state("create"));
        }
    };
    if ours.tag.state == HostState::Creating {
        let image = ours.image.path.clone();
        // The crash may have come before its name was durable.
        steps.push(Step::SyncDir { dir: view.pool.dir.clone() });
        steps.push(Step::WriteState { image, volume: wanted.volume, state: HostState::Ready });
    }
    Ok(steps)
}
