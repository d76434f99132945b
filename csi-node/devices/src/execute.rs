//! The one match over [`Step`]. Each arm is a call of one small function; none decides anything, and each may be run twice.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use terrace_device_types::{BindOptions, DevT, DeviceRef, Step, StepDone};

use crate::deadline::within;
use crate::host::Host;
use crate::looped::{self, Attachment};
use crate::mount::{self, Mounting};
use crate::tagged::{self, changed};
use crate::{
    Deadline, DeviceError, clone, durable, erase, freeze, growth, image, lvm, mkfs, pool, subvolume,
};

/// Carries out one step on this host, here: a system call that hangs is waited for, so that whoever holds the locks holds them until it is back. What has
/// parts (tools, erasing) ends at the deadline by itself.
///
/// # Errors
/// What went wrong. The step may have been done in part: observe and plan again.
pub fn execute_here(step: &Step, deadline: Deadline) -> Result<StepDone, DeviceError> {
    apply(&Host::real(), step, deadline)
}

/// As [`execute_here`], on a thread that is given up at the deadline: for callers without locks.
///
/// # Errors
/// As [`execute_here`].
pub fn execute(step: &Step, deadline: Deadline) -> Result<StepDone, DeviceError> {
    let step = step.clone();
    within(deadline, "carry out a step", move || execute_here(&step, deadline))
}

fn apply(host: &Host, step: &Step, deadline: Deadline) -> Result<StepDone, DeviceError> {
    let node = |device: &DeviceRef| Node::of(host, device);
    match step {
        Step::AllocateImage { image, size, tag } => image::allocate_image(image, *size, tag),
        Step::CloneImage { from, source, image, tag } => {
            clone::clone_image(from, *source, image, tag)
        }
        Step::FreezeFilesystem { mount, device } => {
            freeze::freeze_filesystem(host, mount, device, deadline)
        }
        Step::ThawFilesystem { mount, device } => freeze::thaw_filesystem(mount, device),
        Step::EndFreeze { mount, device } => freeze::end_freeze(host, mount, device),
        Step::SyncDevice { device } => node(device)?.sync(),
        Step::CreateSubvolume { object, tag } => subvolume::create_subvolume(host, object, tag),
        Step::SnapshotSubvolumes { members } => {
            subvolume::snapshot_subvolumes(host, members, deadline)
        }
        Step::LimitSubvolume { object, volume, to } => {
            subvolume::limit_subvolume(object, *volume, *to)
        }
        Step::RemoveSubvolume { object, deletion } => {
            subvolume::remove_subvolume(host, object, deletion, deadline)
        }
        Step::RemoveUnfinishedSubvolume { object, volume } => {
            subvolume::remove_unfinished_subvolume(host, object, *volume)
        }
        Step::EnableQuota { dir } => subvolume::enable_quota(host, dir, deadline),
        Step::SyncDir { dir } => durable::sync_dir(dir),
        Step::WriteState { image, volume, state } => tagged::write_state(image, *volume, state),
        Step::WriteLatch { image, volume, latch } => tagged::write_latch(image, *volume, latch),
        Step::WriteStage { image, volume, stage } => tagged::write_stage(image, *volume, stage),
        Step::GrowImage { image, volume, to, allocation } => {
            image::grow_image(image, *volume, *to, *allocation)
        }
        Step::AttachLoop { image, volume, sector, access, allocation } => {
            let how = Attachment { sector: *sector, access: *access, allocation: *allocation };
            tagged::open_volume(image, *volume)?;
            looped::attach_loop(host, image, how, deadline)
        }
        Step::SetAutoclear { image } => looped::set_autoclear(host, image),
        Step::ResizeLoop { image } => looped::resize_loop(host, image),
        Step::DetachLoop { image } => looped::detach_loop(host, image),
        Step::MakeFilesystem { device, fs, uuid, guard } => {
            mkfs::make_filesystem(&node(device)?, *fs, *uuid, guard, deadline)
        }
        Step::CheckFilesystem { device, fs } => {
            mkfs::check_filesystem(&node(device)?, *fs, deadline)
        }
        Step::GrowOffline { device } => mkfs::grow_offline(&node(device)?, deadline),
        Step::MountFilesystem { device, fs, uuid, target, options } => {
            let held = node(device)?;
            let (device, fs, uuid) = (held.to_path_buf(), *fs, *uuid);
            mount::mount_filesystem(host, &Mounting { device, fs, uuid, target, options })
        }
        Step::MakeLayout { mount } => mount::make_layout(mount),
        Step::MakeTarget { target, mode } => mount::make_target(target, *mode),
        Step::BindMount { from, to, access, options } => {
            mount::bind(host, from, to, *access, options)
        }
        Step::BindDevice { device, to, access } => {
            mount::bind(host, &node(device)?, to, *access, &BindOptions::Inherited)
        }
        Step::Unmount { target } => mount::unmount_all(target),
        Step::RemoveTarget { target } => mount::remove_target(host, target),
        Step::GrowFilesystem { mount, fs, device } => {
            growth::grow_filesystem(mount, *fs, &node(device)?)
        }
        Step::ProveSize { mount, device, grown } => {
            growth::prove_size(mount, &node(device)?, *grown)
        }
        Step::MarkQuarantined { image, proof } => image::mark_quarantined(host, image, proof),
        Step::RenameToQuarantine { image, to, deletion } => {
            image::rename_to_quarantine(image, to, deletion)
        }
        Step::EraseImage { image, deletion, erase } => {
            erase::erase_image(image, deletion, *erase, deadline)
        }
        Step::RemoveImage { image, deletion } => image::remove_image(image, deletion),
        Step::RemoveUnfinished { image, volume } => image::remove_unfinished(host, image, *volume),
        Step::WipeSignatures { device, found } => {
            mkfs::wipe_signatures(&node(device)?, found, deadline)
        }
        Step::Lvm(step) => lvm::apply(host, step, deadline),
        Step::MakePoolDirectory { dir } => durable::make_directory(dir, 0o700),
        Step::WritePoolFile { dir, file } => pool::write_pool_file(dir, file),
    }
}

/// The node of a device, held open for as long as a step uses its path: its number can't go to another meanwhile (I4).
pub(crate) enum Node {
    Loop(looped::HeldLoop),
    Open { path: PathBuf, open: File },
}

impl Deref for Node {
    type Target = Path;

    fn deref(&self) -> &Path {
        match self {
            Self::Loop(held) => &held.view.device,
            Self::Open { path, open: _ } => path,
        }
    }
}

impl Node {
    pub(crate) fn of(host: &Host, device: &DeviceRef) -> Result<Self, DeviceError> {
        match device {
            DeviceRef::LoopOf { image } => Ok(Self::Loop(looped::require_loop(host, image)?)),
            DeviceRef::Disk { path, dev_t } => {
                let open =
                    File::open(path).map_err(|source| DeviceError::io("open", path, source))?;
                let found = looped::dev_t_of(&open, path)?;
                if found == *dev_t {
                    Ok(Self::Open { path: path.clone(), open })
                } else {
                    Err(changed(path, dev_t.to_string(), found.to_string()))
                }
            }
            DeviceRef::Lv { group, lv, name: _ } => {
                let lvm::OpenLv { file: open, path } =
                    lvm::Lvm::here(host)?.open_held(group, lv)?;
                Ok(Self::Open { path, open })
            }
        }
    }

    /// As [`Self::of`]; `None`, where the image, or the device, is gone.
    pub(crate) fn find(host: &Host, device: &DeviceRef) -> Result<Option<Self>, DeviceError> {
        match device {
            DeviceRef::LoopOf { image } => Ok(looped::find_held(host, image)?.map(Self::Loop)),
            DeviceRef::Lv { group, lv, name: _ } => {
                let open = lvm::Lvm::here(host)?.find_held(group, lv)?;
                Ok(open.map(|lvm::OpenLv { file: open, path }| Self::Open { path, open }))
            }
            DeviceRef::Disk { .. } => Self::of(host, device).map(Some),
        }
    }

    pub(crate) fn dev_t(&self) -> Result<DevT, DeviceError> {
        match self {
            Self::Loop(held) => Ok(held.view.dev_t),
            Self::Open { path, open } => looped::dev_t_of(open, path),
        }
    }

    /// Writes out what the page cache holds of the device, and what the device below holds back.
    fn sync(&self) -> Result<StepDone, DeviceError> {
        match self {
            Self::Loop(held) => held.sync()?,
            Self::Open { path, open } => {
                open.sync_all().map_err(|source| DeviceError::io("sync", path, source))?;
            }
        }
        Ok(StepDone::Changed)
    }
}
