//! Grow: first the file, then its loop device, then the filesystem, then the proof; never another order, never smaller.

use terrace_device_types::{
    Allocation, Bytes, ClusterUid, DeviceRef, Refusal, Step, View, VolumeUuid,
};

use crate::check::{self, OurImage};
use crate::growth;

/// The image, its loop device and, where it is mounted, its filesystem.
pub(super) fn plan_grow(
    volume: VolumeUuid,
    cluster: &ClusterUid,
    to: Bytes,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let ours = check::require_image(view, volume, cluster)?;
    ours.require_volume("grow")?;
    ours.require_ready("grow")?;
    check::validate_size(to, ours.tag.mode, ours.tag.mode.least())?;
    let mut steps = plan_image(ours, to, view)?;
    let device = DeviceRef::LoopOf { image: ours.image.path.clone() };
    let size = to.max(ours.image.apparent);
    steps.extend(growth::plan_filesystem(&device, ours.tag.mode, size, view));
    Ok(steps)
}

/// The image and its loop device. An image that is larger already stays.
pub(super) fn plan_image(ours: OurImage<'_>, to: Bytes, view: &View) -> Result<Vec<Step>, Refusal> {
    let (image, volume, allocation) = (&ours.image.path, ours.tag.volume, ours.tag.allocation);
    let mut steps = Vec::new();
    if ours.image.apparent < to {
        let need = match allocation {
            Allocation::Reserved => to.minus(ours.image.apparent),
            Allocation::Sparse => Bytes::ZERO,
        };
        check::validate_room(&view.pool, need)?;
        steps.push(Step::GrowImage { image: image.clone(), volume, to, allocation });
    }
    steps.extend(plan_loop(ours, to.max(ours.image.apparent), view));
    Ok(steps)
}

/// The loop device, where it does not see `size` yet.
pub(super) fn plan_loop(ours: OurImage<'_>, size: Bytes, view: &View) -> Option<Step> {
    let attached = view.volume.attached.as_ref()?;
    let image = ours.image.path.clone();
    (attached.size < size).then_some(Step::ResizeLoop { image })
}
