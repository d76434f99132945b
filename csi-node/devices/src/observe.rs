//! One look at a volume: its image, tag, loop device, mounts, filesystem, and whether it is open. Changes nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use terrace_device_types::lvm::LvDevice;
use terrace_device_types::{
    DevT, FileId, FilesystemView, Form, FsType, HostObject, ImageView, Kernel, LayoutView,
    LoopView, MountPoint, Opened, Signature, StageState, Tag, TagReading, View, VolumeUuid,
    VolumeView, image_name,
};

use crate::growth::filesystem_span;
use crate::host::{Host, observe_boot};
use crate::image::is_open_only_here;
use crate::looped::{find_loop, is_unclaimed, observe_loop, split_dev};
use crate::lvm::observe_pool_group;
use crate::mountinfo::observe_mounts;
use crate::pool::{absent, observe_pool};
use crate::signature::probe_signature;
use crate::superblock::read_superblock;
use crate::{Deadline, DeviceError, subvolume};

mod found;

pub use found::observe_images;
use found::{find_image, observe_image};

/// How hard to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// No command is run and nothing is opened exclusively: for lists and figures (I8).
    Skip,
    /// blkid, the exclusive open and the lease too: before a plan that may format or destroy.
    Look,
}

/// Everything a plan for that volume looks at.
///
/// # Errors
/// When the host can't be read. That something is missing is no error but part of the view.
pub fn observe_volume(
    host: &Host,
    pool_dir: &Path,
    volume: VolumeUuid,
    source: Option<VolumeUuid>,
    probe: Probe,
    deadline: Deadline,
) -> Result<View, DeviceError> {
    let pool = observe_pool(host, pool_dir)?;
    let boot = observe_boot(host)?;
    let mounts = observe_mounts(host)?;
    let look = |uuid| observe_object(host, pool_dir, uuid, &mounts, probe, deadline);
    let source = source.map(look).transpose()?;
    let volume = look(volume)?;
    Ok(View { pool, volume, source, kernel: observe_kernel(), boot, mounts })
}

fn observe_kernel() -> Kernel {
    Kernel::parse(&rustix::system::uname().release().to_string_lossy())
}

fn observe_object(
    host: &Host,
    pool_dir: &Path,
    uuid: VolumeUuid,
    mounts: &[MountPoint],
    probe: Probe,
    deadline: Deadline,
) -> Result<VolumeView, DeviceError> {
    let group = observe_pool_group(host, pool_dir)?;
    let Some(image) = find_image(pool_dir, group.as_ref(), uuid)? else {
        return Ok(VolumeView::default());
    };
    match &image.form {
        Form::Subvolume(subvolume) => {
            let of_volume = subvolume::mounts_of(&image.path, subvolume, mounts)?;
            return observe_subvolume(host, image, of_volume, mounts, probe);
        }
        Form::Lv(seen) => {
            let device = seen.lv.as_ref().and_then(|lv| lv.device.clone());
            return observe_lv(image, device.as_ref(), mounts, probe, deadline);
        }
        Form::Image => {}
    }
    let attached = find_loop(host, &image.path, image.id)?;
    let of_volume = match &attached {
        Some(attached) => mounts_of(&attached.device, attached.dev_t, mounts),
        None => Vec::new(),
    };
    let device = attached.as_ref().map_or(&image.path, |attached| &attached.device);
    let (signature, opened) = match probe {
        Probe::Skip => (Signature::NotProbed, Opened::NotLooked),
        Probe::Look => (
            probe_signature(device, deadline)?,
            observe_opened(&image, attached.as_ref(), &of_volume)?,
        ),
    };
    let filesystem = observe_filesystem(device, mounts, &of_volume)?;
    Ok(VolumeView {
        image: Some(image),
        attached,
        signature,
        mounts: of_volume,
        filesystem,
        opened,
    })
}

/// A subvolume has no device and no signature. It is in use while it is mounted, or staged under this boot.
fn observe_subvolume(
    host: &Host,
    image: ImageView,
    of_volume: Vec<u64>,
    mounts: &[MountPoint],
    probe: Probe,
) -> Result<VolumeView, DeviceError> {
    let boot = observe_boot(host)?;
    let is_staged = matches!(&image.tag, TagReading::Read(Tag { stage: StageState::At { boot: at, .. }, .. }) if *at == boot);
    let opened = match probe {
        Probe::Skip => Opened::NotLooked,
        Probe::Look if is_staged || !of_volume.is_empty() => Opened::BySomebody,
        Probe::Look => Opened::ByNobody,
    };
    let filesystem = subvolume::observe_filesystem(&image, mounts, &of_volume);
    Ok(VolumeView {
        image: Some(image),
        mounts: of_volume,
        filesystem,
        opened,
        ..VolumeView::default()
    })
}

/// A logical volume is looked at through its device. A suspended one would let whoever reads it wait, so nothing is read then.
fn observe_lv(
    image: ImageView,
    device: Option<&LvDevice>,
    mounts: &[MountPoint],
    probe: Probe,
    deadline: Deadline,
) -> Result<VolumeView, DeviceError> {
    let Some(device) = device else {
        let opened = match probe {
            Probe::Skip => Opened::NotLooked,
            Probe::Look => Opened::ByNobody,
        };
        return Ok(VolumeView { image: Some(image), opened, ..VolumeView::default() });
    };
    let of_volume = mounts_of(&device.path, device.dev_t, mounts);
    let (signature, opened) = match probe {
        Probe::Skip => (Signature::NotProbed, Opened::NotLooked),
        Probe::Look if device.suspended => (Signature::NotProbed, Opened::BySomebody),
        Probe::Look => {
            let signature = probe_signature(&device.path, deadline)?;
            let alone = of_volume.is_empty() && is_unclaimed(&device.path)?;
            (signature, if alone { Opened::ByNobody } else { Opened::BySomebody })
        }
    };
    let filesystem = match device.suspended {
        true => None,
        false => observe_filesystem(&device.path, mounts, &of_volume)?,
    };
    let image = Some(image);
    Ok(VolumeView { image, attached: None, signature, mounts: of_volume, filesystem, opened })
}

/// The node's mounts only: enough for [`Intent::Unpublish`](terrace_device_types::Intent::Unpublish), and for unstaging what has no pool any more.
///
/// # Errors
/// When `/proc` can't be read.
pub fn observe_unpublish(host: &Host) -> Result<View, DeviceError> {
    let pool = absent(Path::new(""));
    let (boot, mounts) = (observe_boot(host)?, observe_mounts(host)?);
    let (volume, kernel) = (VolumeView::default(), observe_kernel());
    Ok(View { pool, volume, source: None, kernel, boot, mounts })
}

/// The image of a volume, if what is mounted at `path` is its filesystem, or a bind of its device. One image, one device and
/// the mounts are looked at, however much else there is. `None`: that cannot be told from these, or it is not so.
///
/// # Errors
/// When `/proc`, the image or its device can't be read.
pub fn observe_mounted(
    host: &Host,
    pool_dir: &Path,
    volume: VolumeUuid,
    path: &Path,
) -> Result<Option<ImageView>, DeviceError> {
    let group = observe_pool_group(host, pool_dir)?;
    let name = pool_dir.join(image_name(HostObject::Volume, volume));
    let image = observe_image(&name, group.as_ref())?;
    let mounts = observe_mounts(host)?;
    let mount = mounts.iter().rev().find(|mount| mount.at == path);
    let (Some(image), Some(mount)) = (image, mount) else { return Ok(None) };
    let is_mounted = match &image.form {
        Form::Subvolume(of) => subvolume::mounts_of(&image.path, of, &mounts)?.contains(&mount.id),
        Form::Image => is_on_loop(host, mount, image.id)?,
        Form::Lv(seen) => {
            let device = seen.lv.as_ref().and_then(|lv| lv.device.as_ref());
            let is_of = |device: &LvDevice| {
                !mounts_of(&device.path, device.dev_t, std::slice::from_ref(mount)).is_empty()
            };
            device.is_some_and(is_of)
        }
    };
    Ok(is_mounted.then_some(image))
}

/// Mounts of the filesystem on that device (btrfs hides it behind a number of its own: then by source), and binds of its node.
fn mounts_of(device: &Path, dev_t: DevT, mounts: &[MountPoint]) -> Vec<u64> {
    let node = device.file_name();
    let is_filesystem = |mount: &MountPoint| {
        mount.dev_t == dev_t || (mount.fs == "btrfs" && Path::new(&mount.source) == device)
    };
    let is_node = |mount: &MountPoint| {
        mount.root.file_name() == node
            && fs::metadata(&mount.at).is_ok_and(|status| {
                status.file_type().is_block_device() && split_dev(status.rdev()) == dev_t
            })
    };
    let ours = mounts.iter().filter(|mount| is_filesystem(mount) || is_node(mount));
    ours.map(|mount| mount.id).collect()
}

/// As [`mounts_of`], from the mount's side: its device is the loop device on that image.
fn is_on_loop(host: &Host, mount: &MountPoint, image: FileId) -> Result<bool, DeviceError> {
    let of_btrfs = || (mount.fs == "btrfs").then(|| Path::new(&mount.source).file_name());
    // A bind of a device has the device's name as its root.
    let names = [of_btrfs().flatten(), mount.root.file_name(), loop_of(host, mount).as_deref()]
        .map(|name| name.map(OsStr::to_owned));
    for name in names.into_iter().flatten() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("loop")) else { continue };
        let found = observe_loop(host, name, &host.dev.join(name), image)?;
        let is_of = |view: &LoopView| {
            !mounts_of(&view.device, view.dev_t, std::slice::from_ref(mount)).is_empty()
        };
        if found.is_some_and(|held| is_of(&held.view)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The device that a filesystem is on, by its number.
fn loop_of(host: &Host, mount: &MountPoint) -> Option<OsString> {
    let number = format!("{}:{}", mount.dev_t.major, mount.dev_t.minor);
    let device = fs::read_link(host.sys.join("dev/block").join(number)).ok()?;
    device.file_name().map(OsStr::to_owned)
}

/// A mounted volume is in use, and needs no second look.
fn observe_opened(
    image: &ImageView,
    attached: Option<&LoopView>,
    of_volume: &[u64],
) -> Result<Opened, DeviceError> {
    if !of_volume.is_empty() {
        return Ok(Opened::BySomebody);
    }
    let alone = match attached {
        Some(attached) => is_unclaimed(&attached.device)?,
        None => {
            let path = &image.path;
            let file = File::open(path).map_err(|source| DeviceError::io("open", path, source))?;
            is_open_only_here(&file, path)?
        }
    };
    Ok(if alone { Opened::ByNobody } else { Opened::BySomebody })
}

/// Figures of the filesystem where its root is mounted, else of the superblock on the device or image.
fn observe_filesystem(
    device: &Path,
    mounts: &[MountPoint],
    of_volume: &[u64],
) -> Result<Option<FilesystemView>, DeviceError> {
    let root = mounts
        .iter()
        .rev()
        .find(|mount| of_volume.contains(&mount.id) && mount.root == Path::new("/"));
    if let Some(mount) = root
        && let Ok(fs) = mount.fs.parse::<FsType>()
    {
        let spans = match filesystem_span(&mount.at, fs, device) {
            // It has shut itself down. It has no figures any more, and must be unmounted all the same.
            Err(DeviceError::Io { source, .. }) if source.raw_os_error() == Some(libc::EIO) => {
                return Ok(None);
            }
            other => other?,
        };
        let layout = observe_layout(&mount.at);
        return Ok(Some(FilesystemView { fs, mounted: Some(mount.at.clone()), spans, layout }));
    }
    let file = File::open(device).map_err(|source| DeviceError::io("open", device, source))?;
    let found = read_superblock(&file, device)?.filter(|superblock| !superblock.unfinished);
    Ok(found.map(|superblock| FilesystemView {
        fs: superblock.fs,
        mounted: None,
        spans: superblock.spans,
        layout: LayoutView::Unknown,
    }))
}

fn observe_layout(mount: &Path) -> LayoutView {
    let laid_out = mount.join("data").is_dir() && mount.join(".terrace").is_dir();
    if laid_out { LayoutView::Present } else { LayoutView::Missing }
}
