//! Stage: loop device, format latch, stage record, mount, layout. The way back is [`crate::staging`]'s.

use terrace_device_types::{
    Access, DeviceRef, FsType, LoopView, MountPoint, Refusal, Step, UseRefusal, View, VolumeMode,
};

use super::grow;
use crate::check::OurImage;
use crate::mounting::{self, Ground};
use crate::planner::Staging;
use crate::staging::stage_record;

/// Mounted at the target, or attached.
pub(super) fn plan_stage(wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let ours = mounting::require_stageable(wanted, view)?;
    match wanted.mode {
        VolumeMode::Block => plan_stage_block(wanted, ours, view),
        VolumeMode::Filesystem { fs } => match view.mount_at(wanted.target) {
            Some(mount) => plan_stage_again(wanted, ours, fs, mount, view),
            None => plan_stage_filesystem(wanted, ours, fs, view),
        },
    }
}

/// Loop device first, and it detaches itself once the filesystem holds it.
fn plan_stage_filesystem(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    fs: FsType,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let ground = Ground {
        device: loop_of(ours),
        size: ours.image.apparent,
        before: plan_attach(ours, Access::ReadWrite, view)?,
        mounted: vec![Step::SetAutoclear { image: ours.image.path.clone() }],
    };
    mounting::plan_mount(wanted, ours, fs, ground, view)
}

/// The target is a mount already: finish what a crash may have left undone.
fn plan_stage_again(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    fs: FsType,
    mount: &MountPoint,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let autoclear = view.volume.attached.as_ref().is_some_and(|attached| !attached.autoclear);
    let set = autoclear.then(|| Step::SetAutoclear { image: ours.image.path.clone() });
    let ground = Ground {
        device: loop_of(ours),
        size: ours.image.apparent,
        before: grow::plan_loop(ours, ours.image.apparent, view).into_iter().collect(),
        mounted: set.into_iter().collect(),
    };
    mounting::plan_again(wanted, ours, fs, mount, ground, view)
}

fn plan_stage_block(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let mut steps: Vec<Step> = stage_record(wanted.target, ours, view).into_iter().collect();
    steps.extend(plan_attach(ours, wanted.access, view)?);
    Ok(steps)
}

/// A loop device over the whole image, in the asked mode.
fn plan_attach(ours: OurImage<'_>, access: Access, view: &View) -> Result<Vec<Step>, Refusal> {
    let image = ours.image.path.clone();
    let (volume, allocation) = (ours.tag.volume, ours.tag.allocation);
    let Some(attached) = &view.volume.attached else {
        let sector = ours.tag.mode.sector();
        return Ok(vec![Step::AttachLoop { image, volume, sector, access, allocation }]);
    };
    let LoopView { device, dev_t: _, size: _, offset, autoclear: _, read_only, direct_io: _ } =
        attached;
    if offset.0 != 0 || *read_only != (access == Access::ReadOnly) {
        return Err(UseRefusal::StrangeLoop { device: device.clone(), image }.into());
    }
    Ok(grow::plan_loop(ours, ours.image.apparent, view).into_iter().collect())
}

fn loop_of(ours: OurImage<'_>) -> DeviceRef {
    DeviceRef::LoopOf { image: ours.image.path.clone() }
}
