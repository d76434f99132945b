//! Staging a filesystem that is on a block device, whichever that is: formatted once, checked, grown where it lags behind, recorded, mounted, laid out. The order is
//! the rule; what comes before and what holds the device afterwards is the backend's.

use terrace_device_types::{
    DeviceRef, FilesystemView, FsType, Grown, LayoutView, MountPoint, Refusal, RequestRefusal,
    Step, UseRefusal, View, VolumeMode,
};

use crate::check::{self, OurImage};
use crate::format::{self, Age, Formatting};
use crate::growth;
use crate::options::mount_options;
use crate::planner::Staging;
use crate::staging::{refuse_second_stage, stage_record};

/// What the filesystem is on.
pub(crate) struct Ground {
    pub(crate) device: DeviceRef,
    /// How large the device is once `before` is done.
    pub(crate) size: terrace_device_types::Bytes,
    /// What makes it a device of that size.
    pub(crate) before: Vec<Step>,
    /// What comes as soon as it is mounted.
    pub(crate) mounted: Vec<Step>,
}

/// Ours, a volume, in service, of the asked mode, and staged nowhere else.
pub(crate) fn require_stageable<'a>(
    wanted: &Staging<'_>,
    view: &'a View,
) -> Result<OurImage<'a>, Refusal> {
    check::validate_path(wanted.target)?;
    let ours = check::require_image(view, wanted.volume, wanted.cluster)?;
    ours.require_volume("stage")?;
    ours.require_ready("stage")?;
    if ours.tag.mode != wanted.mode {
        let (tagged, asked) = (ours.tag.mode, wanted.mode);
        return Err(RequestRefusal::OtherMode { tagged, asked }.into());
    }
    refuse_second_stage(wanted.target, ours, view)?;
    Ok(ours)
}

/// Nothing is mounted at the target yet.
pub(crate) fn plan_mount(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    fs: FsType,
    ground: Ground,
    view: &View,
) -> Result<Vec<Step>, Refusal> {
    let options = mount_options(fs, wanted.options)?;
    let Ground { device, size, before, mounted } = ground;
    let Formatting { steps: format, uuid, age } =
        format::plan_format(ours, &device, fs, &view.volume.signature, wanted.operation)?;
    let target = wanted.target.to_owned();
    let spans = match (age, &view.volume.filesystem) {
        (Age::Old, Some(FilesystemView { spans, .. })) => Some(*spans),
        (Age::Fresh, _) | (Age::Old, None) => None,
    };
    let short = spans.is_some_and(|spans| spans < fs.reachable(size));

    let mut steps = before;
    steps.extend(format);
    if age == Age::Old && fs == FsType::Ext4 {
        steps.push(Step::CheckFilesystem { device: device.clone(), fs });
        steps.extend(short.then(|| Step::GrowOffline { device: device.clone() }));
    }
    steps.extend(stage_record(wanted.target, ours, view));
    let (on, at) = (device.clone(), target.clone());
    steps.push(Step::MountFilesystem { device: on, fs, uuid, target: at, options });
    steps.extend(mounted);
    steps.push(Step::MakeLayout { mount: target.clone() });
    if short && fs != FsType::Ext4 {
        let grown = Grown { fs, device_size: size };
        steps.extend(growth::grow_steps(&device, &target, grown));
    }
    Ok(steps)
}

/// The target is a mount already: finish what a crash may have left undone. An ext4 is not grown here, since that could fail for want of a capability.
pub(crate) fn plan_again(
    wanted: &Staging<'_>,
    ours: OurImage<'_>,
    fs: FsType,
    mount: &MountPoint,
    ground: Ground,
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
    let Ground { device, size, before, mounted } = ground;
    let mut steps: Vec<Step> = stage_record(wanted.target, ours, view).into_iter().collect();
    steps.extend(mounted);
    let layout = view.volume.filesystem.as_ref().map(|filesystem| filesystem.layout);
    if layout == Some(LayoutView::Missing) {
        steps.push(Step::MakeLayout { mount: wanted.target.to_owned() });
    }
    steps.extend(before);
    if fs != FsType::Ext4 {
        let mode = VolumeMode::Filesystem { fs };
        steps.extend(growth::plan_filesystem(&device, mode, size, view));
    }
    Ok(steps)
}
