//! Stage: format latch, stage record, mount, layout, on a logical volume that has its device all along. The way back is [`crate::staging`]'s.

use terrace_device_types::lvm::LvmStep;
use terrace_device_types::{Access, Refusal, StageState, Step, UseRefusal, View, VolumeMode};

use super::grow::plan_refresh;
use crate::check::OurImage;
use crate::mounting::{self, Ground};
use crate::object::{OurLv, device_of, find_lv};
use crate::planner::Staging;
use crate::staging::stage_record;

pub(super) fn plan_stage(wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    let ours = mounting::require_stageable(wanted, view)?;
    let mut before: Vec<Step> = plan_access(wanted, ours, view)?.into_iter().collect();
    before.extend(plan_refresh(ours)?);
    let VolumeMode::Filesystem { fs } = wanted.mode else {
        let record = stage_record(wanted.target, ours, view);
        return Ok(record.into_iter().chain(before).collect());
    };
    let (device, size) = (device_of(ours)?, ours.image.apparent);
    let ground = Ground { device, size, before, mounted: Vec::new() };
    match view.mount_at(wanted.target) {
        Some(mount) => mounting::plan_again(wanted, ours, fs, mount, ground, view),
        None => mounting::plan_mount(wanted, ours, fs, ground, view),
    }
}

/// The device takes writes exactly if they are asked for. What is staged already keeps what it was staged with.
fn plan_access(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    view: &View,
) -> Result<Option<Step>, Refusal> {
    let access = match wanted.mode {
        VolumeMode::Filesystem { .. } => Access::ReadWrite,
        VolumeMode::Block => wanted.access,
    };
    let device = device_of(ours)?;
    let now = find_lv(ours)?.and_then(|OurLv { lv, .. }| lv.device.as_ref());
    let differs = now.is_some_and(|now| now.read_only != (access == Access::ReadOnly));
    let published = view.volume_mounts().next().is_some();
    let staged = matches!(&ours.tag.stage, StageState::At { boot, .. } if *boot == view.boot);
    if differs && staged && published {
        return Err(UseRefusal::OtherAccess { target: wanted.target.to_owned() }.into());
    }
    Ok(differs.then_some(Step::Lvm(LvmStep::SetAccess { device, access })))
}
