//! Making a pool that is a volume group: the group on blank devices, the logical volume of its folder, and then what any pool on a device of its own gets. Each look
//! shows how far it has come, and the next plan goes on from there; a group that was deactivated, by a reboot say, is found again in the same way.
//!
//! ```text
//!   blank devices -> group -> folder's logical volume -> (active) -> ext4 -> mounted -> marked
//! ```
//! A group that lacks a device is served as far as it is there, and nothing of it is changed: what LVM wrote down without that device would keep it out when it is back.

use std::path::Path;

use terrace_device_types::lvm::{
    FOLDER_LV, FolderView, GroupDevice, GroupPlace, LabelView, LvmStep, NewGroup, NewPv, PvUuid,
    VgName, VgView,
};
use terrace_device_types::{
    DeviceKind, DeviceRef, DeviceUse, FormatGuard, MountPoint, PoolFile, PoolFileReading,
    PoolRefusal, PoolView, Refusal, Signature, Step, TagReading, Wipe,
};

use super::{Furnish, Ground, plan_mark, validate_unused};

/// The group's own tag decides whose it is, and the pool's file after it.
pub(super) fn plan_group(
    ground: Ground,
    furnish: Furnish,
    file: &PoolFile,
    place: &GroupPlace,
    view: &PoolView,
    mounts: &[MountPoint],
) -> Result<Vec<Step>, Refusal> {
    let GroupPlace { devices, group, folder, inactive, leftovers } = place;
    let Some(group) = group else { return plan_new(file, devices) };
    validate_group(file, group)?;
    let step = |step| Ok(vec![Step::Lvm(step)]);
    if *leftovers > 0 {
        return step(LvmStep::ClearLeftovers { group: group.uuid.clone() });
    }
    if !inactive.is_empty() {
        return step(LvmStep::ActivateGroup { group: group.uuid.clone() });
    }
    let Some(folder) = folder else {
        refuse_incomplete(group)?;
        let (group, pool) = (group.uuid.clone(), Box::new(file.clone()));
        return step(LvmStep::MakeFolder { group, pool });
    };
    let mut steps = Vec::new();
    if group.missing == 0 {
        steps.extend(plan_more(file, devices, group)?);
        steps.extend(furnish(group, view)?);
    }
    steps.extend(plan_folder(ground, file, group, folder, view, mounts)?);
    Ok(steps)
}

fn refuse_incomplete(group: &VgView) -> Result<(), Refusal> {
    match group.missing {
        0 => Ok(()),
        missing => Err(PoolRefusal::GroupIncomplete { group: group.name.clone(), missing }.into()),
    }
}

/// Ours, and of this backend.
fn validate_group(file: &PoolFile, group: &VgView) -> Result<(), Refusal> {
    let name = group.name.clone();
    let refusal = match &group.pool {
        PoolFileReading::Read(found) if found.cluster_uid != file.cluster_uid => {
            PoolRefusal::GroupForeign { group: name, cluster: found.cluster_uid.clone() }
        }
        PoolFileReading::Read(found) if found.pool_uuid != file.pool_uuid => {
            let (found, wanted) = (found.pool_uuid, file.pool_uuid);
            PoolRefusal::OtherPool { dir: Path::new("/dev").join(name), found, wanted }
        }
        PoolFileReading::Read(found) if found.backend != file.backend => {
            let (found, wanted) = (found.backend, file.backend);
            PoolRefusal::OtherBackend { dir: Path::new("/dev").join(name), found, wanted }
        }
        PoolFileReading::Absent => PoolRefusal::GroupUntagged { group: name },
        PoolFileReading::Unreadable(why) => {
            let dir = Path::new("/dev").join(name);
            PoolRefusal::Unreadable { dir, why: why.clone() }
        }
        PoolFileReading::Read(_) => return Ok(()),
    };
    Err(refusal.into())
}

fn plan_new(file: &PoolFile, devices: &[GroupDevice]) -> Result<Vec<Step>, Refusal> {
    let mut steps = Vec::new();
    let mut new = Vec::new();
    for device in devices {
        steps.extend(plan_blank(file, device)?);
        new.push(new_pv(file, device));
    }
    if new.is_empty() {
        return Err(PoolRefusal::NoDevice { pool: file.pool.clone() }.into());
    }
    let (name, pool) = (VgName::of_pool(file.pool_uuid), file.clone());
    let group = NewGroup { name, pool, devices: new };
    steps.push(Step::Lvm(LvmStep::MakeGroup { new: Box::new(group) }));
    Ok(steps)
}

/// Devices that were named since the group was made.
fn plan_more(
    file: &PoolFile,
    devices: &[GroupDevice],
    group: &VgView,
) -> Result<Vec<Step>, Refusal> {
    let is_member = |device: &&GroupDevice| {
        let mark = device.label.as_ref().and_then(|label| label.group.as_ref());
        mark.is_some_and(|mark| mark.uuid == group.uuid)
    };
    let (mut steps, mut new) = (Vec::new(), Vec::new());
    for device in devices.iter().filter(|device| !is_member(device)) {
        steps.extend(plan_blank(file, device)?);
        new.push(new_pv(file, device));
    }
    if !new.is_empty() {
        let group = group.uuid.clone();
        steps.push(Step::Lvm(LvmStep::ExtendGroup { group, devices: new }));
    }
    Ok(steps)
}

fn new_pv(file: &PoolFile, device: &GroupDevice) -> NewPv {
    let device = &device.device;
    let uuid = PvUuid::derived(file.pool_uuid, &device.id);
    NewPv { path: device.path.clone(), dev_t: device.dev_t, uuid }
}

/// Blank, half made by us before a crash, or permitted to be wiped; anything else is refused.
fn plan_blank(file: &PoolFile, device: &GroupDevice) -> Result<Option<Step>, Refusal> {
    let GroupDevice { device, wipe, label } = device;
    let id = device.id.clone();
    let mapped =
        device.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dm-"));
    if mapped || device.kind == DeviceKind::Loop {
        return Err(PoolRefusal::NotForGroup { device: id }.into());
    }
    validate_unused(device)?;
    let prepared = LabelView { pv: PvUuid::derived(file.pool_uuid, &device.id), group: None };
    if label.as_ref() == Some(&prepared) {
        return Ok(None);
    }
    match (&device.signature, wipe) {
        (Signature::Blank, _) => Ok(None),
        (Signature::NotProbed, _) => Err(PoolRefusal::DeviceNotProbed { device: id }.into()),
        (found, Wipe::IfFound { found: permitted }) if found.to_string() == *permitted => {
            let disk = DeviceRef::Disk { path: device.path.clone(), dev_t: device.dev_t };
            Ok(Some(Step::WipeSignatures { device: disk, found: permitted.clone() }))
        }
        (found, Wipe::Never | Wipe::IfFound { .. }) => {
            Err(PoolRefusal::DeviceHoldsData { device: id, found: found.to_string() }.into())
        }
    }
}

fn plan_folder(
    ground: Ground,
    file: &PoolFile,
    group: &VgView,
    folder: &FolderView,
    view: &PoolView,
    mounts: &[MountPoint],
) -> Result<Vec<Step>, Refusal> {
    let Some(device) = &folder.device else {
        refuse_incomplete(group)?;
        return Ok(vec![Step::Lvm(LvmStep::ActivateGroup { group: group.uuid.clone() })]);
    };
    match mounts.iter().rev().find(|mount| mount.at == view.dir) {
        Some(mount) if mount.dev_t == device.dev_t => plan_mark(ground, file, view),
        Some(mount) => {
            let (dir, source_device) = (view.dir.clone(), mount.source.clone());
            Err(PoolRefusal::MountedByAnother { dir, source_device }.into())
        }
        None => plan_mount(ground, file, group, folder, view),
    }
}

fn plan_mount(
    ground: Ground,
    file: &PoolFile,
    group: &VgView,
    folder: &FolderView,
    view: &PoolView,
) -> Result<Vec<Step>, Refusal> {
    let (fs, uuid, dir) = (ground.fs, file.pool_uuid.filesystem_uuid(), view.dir.clone());
    let name = FOLDER_LV.to_owned();
    let device = DeviceRef::Lv { group: group.uuid.clone(), lv: folder.uuid.clone(), name };
    let options = ["nodev", "nosuid", "noexec"].map(str::to_owned).to_vec();
    let (target, guard) = (dir.clone(), FormatGuard::Blank { pool: file.pool_uuid });
    let mount = Step::MountFilesystem { device: device.clone(), fs, uuid, target, options };
    let holds_volumes = group.lvs.iter().any(|lv| lv.tag != TagReading::Absent);
    let mut steps = Vec::new();
    if !view.exists {
        steps.push(Step::MakePoolDirectory { dir: dir.clone() });
    }
    match &folder.signature {
        found if *found == (Signature::Filesystem { fs, uuid }) => {
            steps.extend([Step::CheckFilesystem { device, fs }, mount]);
        }
        Signature::NotProbed => {
            let device = format!("{}/{FOLDER_LV}", group.name);
            return Err(PoolRefusal::DeviceInUse { device, by: DeviceUse::Claimed }.into());
        }
        _other if group.missing > 0 => refuse_incomplete(group)?,
        found if holds_volumes => {
            let (group, found) = (group.name.clone(), found.to_string());
            return Err(PoolRefusal::FolderLost { group, found }.into());
        }
        found if *found == Signature::Blank || *found == (Signature::Unfinished { fs, uuid }) => {
            steps.extend([Step::MakeFilesystem { device, fs, uuid, guard }, mount]);
            steps.push(Step::WritePoolFile { dir, file: file.clone() });
        }
        // What the devices held in their midst, or a killed mkfs: nothing of anybody's.
        _other => {
            let (group, pool) = (group.uuid.clone(), Box::new(file.clone()));
            return Ok(vec![Step::Lvm(LvmStep::MakeFolder { group, pool })]);
        }
    }
    Ok(steps)
}
