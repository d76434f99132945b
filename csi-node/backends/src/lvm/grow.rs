//! Grow: the logical volume, then the filesystem, then the proof; never another order, never smaller.

use terrace_device_types::lvm::{Gains, LvObject, LvmStep};
use terrace_device_types::{
    Bytes, ClusterUid, Form, Refusal, Step, TagRefusal, View, VolumeMode, VolumeUuid,
};

use super::{Way, require_group};
use crate::check::{self, OurImage};
use crate::growth;
use crate::object::{OurLv, device_of, find_lv};

/// The logical volume and, where it is mounted, its filesystem.
pub(super) fn plan_grow(
    way: Way,
    volume: VolumeUuid,
    cluster: &ClusterUid,
    to: Bytes,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let ours = check::require_image(view, volume, cluster)?;
    ours.require_volume("grow")?;
    ours.require_ready("grow")?;
    check::validate_size(to, ours.tag.mode, ours.tag.mode.least())?;
    let mut steps = plan_lv(way, ours, to, view)?;
    let Some(extent) = view.pool.group.as_ref().map(|group| group.extent) else {
        return Ok(steps);
    };
    let (device, size) = (device_of(ours)?, to.round_up(extent).max(ours.image.apparent));
    steps.extend(growth::plan_filesystem(&device, ours.tag.mode, size, view));
    Ok(steps)
}

/// The logical volume and its device. One that is larger already stays.
pub(super) fn plan_lv(
    way: Way,
    ours: OurImage<'_>,
    to: Bytes,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let OurLv { group, lv, named } = require_lv(ours)?;
    if lv.size < to {
        let need = to.round_up(require_group(&view.pool)?.extent).minus(lv.size);
        way.validate_room(view, need)?;
        let group = group.clone();
        let gains = match ours.tag.mode {
            VolumeMode::Filesystem { .. } => Gains::AsFound,
            VolumeMode::Block if way.begins_as_zeros() => Gains::AsFound,
            VolumeMode::Block => Gains::Zeros,
        };
        return Ok(vec![Step::Lvm(LvmStep::GrowLv { group, lv: named, to, gains })]);
    }
    Ok(plan_refresh(ours)?.into_iter().collect())
}

/// The device, where it is not as large as LVM has written down: a crash came between the two.
pub(super) fn plan_refresh(ours: OurImage<'_>) -> Result<Option<Step>, Refusal> {
    let OurLv { group, lv, named } = require_lv(ours)?;
    Ok(lags_behind(lv).then(|| Step::Lvm(LvmStep::RefreshLv { group: group.clone(), lv: named })))
}

fn lags_behind(lv: &LvObject) -> bool {
    lv.device.as_ref().is_some_and(|device| device.size < lv.size)
}

pub(super) fn require_lv(ours: OurImage<'_>) -> Result<OurLv<'_>, Refusal> {
    let image = ours.image.path.clone();
    let group = match &ours.image.form {
        Form::Lv(seen) => seen.group_name.clone(),
        Form::Image | Form::Subvolume(_) => {
            return Err(TagRefusal::Untagged { image }.into());
        }
    };
    find_lv(ours)?.ok_or_else(|| TagRefusal::NoLogicalVolume { image, group }.into())
}
