//! Stage: loop device, format latch, stage record, mount, layout. The way back is [`crate::staging`]'s.

use terrace_device_types::{
    Access, DeviceRef, FilesystemView, FsType, Grown, LayoutView, LoopView, MountPoint, Refusal,
    RequestRefusal, Step, UseRefusal, View, VolumeMode,
};

use super::format::{self, Age, Formatting};
use super::grow;
use crate::check::{self, OurImage};
use crate::planner::Staging;
use crate::staging::{refuse_second_stage, stage_record};

/// Mounted at the target, or attached.
pub(super) fn plan_stage(wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_path(wanted.target)?;
    let ours = check::require_image(view, wanted.volume, wanted.cluster)?;
    ours.require_volume("stage")?;
    ours.require_ready("stage")?;
    if ours.tag.mode != wanted.mode {
        let (tagged, asked) = (ours.tag.mode, wanted.mode);
        return Err(RequestRefusal::OtherMode { tagged, asked }.into());
    }
    refuse_second_stage(wanted.target, ours, view)?;
    match wanted.mode {
        VolumeMode::Block => plan_stage_block(wanted, ours, view),
        VolumeMode::Filesystem { fs } => match view.mount_at(wanted.target) {
            Some(mount) => plan_stage_again(wanted, ours, fs, mount, view),
            None => plan_stage_filesystem(wanted, ours, fs, view),
        },
    }
}

fn plan_stage_filesystem(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    fs: FsType,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let options = mount_options(fs, wanted.options)?;
    let Formatting { steps: format, uuid, age } =
        format::plan_format(ours, fs, &view.volume.signature, wanted.operation)?;
    let (image, device) = (ours.image.path.clone(), loop_of(ours));
    let mount = wanted.target.to_owned();
    let spans = match (age, &view.volume.filesystem) {
        (Age::Old, Some(FilesystemView { spans, .. })) => Some(*spans),
        (Age::Fresh, _) | (Age::Old, None) => None,
    };
    let short = spans.is_some_and(|spans| spans < fs.reachable(ours.image.apparent));

    let mut steps = plan_attach(ours, Access::ReadWrite, view)?;
    steps.extend(format);
    if age == Age::Old && fs == FsType::Ext4 {
        steps.push(Step::CheckFilesystem { device: device.clone(), fs });
        steps.extend(short.then(|| Step::GrowOffline { device: device.clone() }));
    }
    steps.extend(stage_record(wanted.target, ours, view));
    steps.push(Step::MountFilesystem { device, fs, uuid, target: mount.clone(), options });
    steps.push(Step::SetAutoclear { image });
    steps.push(Step::MakeLayout { mount: mount.clone() });
    if short && fs != FsType::Ext4 {
        let grown = Grown { fs, device_size: ours.image.apparent };
        steps.extend(grow::grow_steps(ours, &mount, grown));
    }
    Ok(steps)
}

/// The target is a mount already: finish what a crash may have left undone. An ext4 is not grown here, since that could fail for want of a capability.
fn plan_stage_again(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    fs: FsType,
    mount: &MountPoint,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    if !view.is_of_volume(mount) {
        let (target, found) = (wanted.target.to_owned(), mount.source.clone());
        return Err(UseRefusal::TargetOccupied { target, found }.into());
    }
    if mount.fs != fs.as_str() {
        let (mount, found) = (mount.at.clone(), mount.fs.clone());
        return Err(UseRefusal::OtherFilesystem { mount, found, wanted: fs }.into());
    }
    let mut steps: Vec<Step> = stage_record(wanted.target, ours, view).into_iter().collect();
    if view.volume.attached.as_ref().is_some_and(|attached| !attached.autoclear) {
        steps.push(Step::SetAutoclear { image: ours.image.path.clone() });
    }
    let layout = view.volume.filesystem.as_ref().map(|filesystem| filesystem.layout);
    if layout == Some(LayoutView::Missing) {
        steps.push(Step::MakeLayout { mount: wanted.target.to_owned() });
    }
    steps.extend(grow::plan_loop(ours, ours.image.apparent, view));
    if fs != FsType::Ext4 {
        steps.extend(grow::plan_filesystem(ours, ours.image.apparent, view));
    }
    Ok(steps)
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

/// What is asked, less `ro` and `rw` (they belong to publishing), plus relatime, plus `nouuid` for xfs (a restored copy on the same node has the same UUID).
fn mount_options(fs: FsType, asked: &[String]) -> Result<Vec<String>, Refusal> {
    let asked = asked.iter().map(String::as_str);
    let asked = asked.filter(|option| !option.is_empty() && *option != "ro" && *option != "rw");
    let mut options: Vec<String> = Vec::new();
    for option in asked {
        if !may_pass(option) {
            return Err(RequestRefusal::MountOption { option: option.to_owned() }.into());
        }
        if !options.iter().any(|known| known == option) {
            options.push(option.to_owned());
        }
    }
    let atime = ["noatime", "relatime", "strictatime"];
    if !options.iter().any(|option| atime.contains(&option.as_str())) {
        options.push("relatime".to_owned());
    }
    if fs == FsType::Xfs && !options.iter().any(|option| option == "nouuid") {
        options.push("nouuid".to_owned());
    }
    Ok(options)
}

/// Options that change what is mounted, or where, are not the user's to give.
fn may_pass(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or(option);
    let barred = [
        "bind",
        "rbind",
        "move",
        "remount",
        "loop",
        "offset",
        "sizelimit",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "private",
        "rprivate",
        "unbindable",
        "runbindable",
        "device",
        "subvol",
        "subvolid",
        "logdev",
        "rtdev",
        "journal_dev",
        "journal_path",
        "norecovery",
        "noload",
        "sb",
        "rescue",
        "usebackuproot",
    ];
    !barred.contains(&name) && !option.contains(',') && !option.chars().any(char::is_control)
}
