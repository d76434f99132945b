//! Loop devices of images. A device is found by its backing file's device and inode, never by number or name: numbers are re-used, names are renamed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use terrace_device_types::{
    Access, Allocation, Bytes, DevT, FileId, LoopView, SectorSize, StepDone,
};

use crate::deadline::settle;
use crate::host::Host;
use crate::kernel;
use crate::{Deadline, DeviceError};

/// How a loop device is to be attached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment {
    pub(crate) sector: SectorSize,
    pub(crate) access: Access,
    pub(crate) allocation: Allocation,
}

/// Which file it is.
pub(crate) fn file_id(path: &Path) -> Result<FileId, DeviceError> {
    let status = fs::metadata(path).map_err(|source| DeviceError::io("stat", path, source))?;
    Ok(FileId { dev: status.dev(), ino: status.ino() })
}

/// A loop device, open since its backing file was compared: while it is open the kernel can't give its number to another file. What is done to a
/// loop device is done through this descriptor, or while it is held (I4).
pub(crate) struct HeldLoop {
    pub(crate) view: LoopView,
    pub(crate) open: File,
}

impl HeldLoop {
    /// Writes out what the page cache holds of the device, whoever wrote it there.
    pub(crate) fn sync(&self) -> Result<(), DeviceError> {
        let path = &self.view.device;
        self.open.sync_all().map_err(|source| DeviceError::io("sync", path, source))
    }
}

/// The loop device on that image, if there is one, as it was a moment ago.
pub(crate) fn find_loop(
    host: &Host,
    image: &Path,
    file: FileId,
) -> Result<Option<LoopView>, DeviceError> {
    Ok(hold_loop(host, image, file)?.map(|held| held.view))
}

/// The loop device on that image, if there is one. Device and inode decide. The file's name, which sysfs follows through renames, only spares
/// opening the devices of others: an open one can't be detached.
pub(crate) fn hold_loop(
    host: &Host,
    image: &Path,
    file: FileId,
) -> Result<Option<HeldLoop>, DeviceError> {
    for name in bound_loops(host)? {
        let backing = backing_file(host, &name);
        if backing.is_none_or(|backing| !has_name_of(&backing, image)) {
            continue;
        }
        let device = host.dev.join(&name);
        let Some(held) = observe_loop(host, &name, &device, file)? else { continue };
        return Ok(Some(held));
    }
    Ok(None)
}

/// The kernel marks an unlinked file by a suffix.
fn has_name_of(backing: &Path, image: &Path) -> bool {
    let (Some(backing), Some(image)) = (backing.file_name(), image.file_name()) else {
        return false;
    };
    let backing = backing.as_encoded_bytes();
    backing.strip_suffix(b" (deleted)").unwrap_or(backing) == image.as_encoded_bytes()
}

/// The loop device on that image, which must be attached.
pub(crate) fn require_loop(host: &Host, image: &Path) -> Result<HeldLoop, DeviceError> {
    let found = hold_loop(host, image, file_id(image)?)?;
    found.ok_or_else(|| DeviceError::NotAttached { image: image.to_owned() })
}

/// Names of the loop devices that have a backing file. `/sys/block/loopN/loop` is there exactly while one is attached.
fn bound_loops(host: &Host) -> Result<Vec<String>, DeviceError> {
    let dir = host.sys.join("block");
    let entries = fs::read_dir(&dir).map_err(|source| DeviceError::io("list", &dir, source))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| DeviceError::io("list", &dir, source))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with("loop") && entry.path().join("loop/backing_file").exists() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `None`: detached meanwhile, or another's.
pub(crate) fn observe_loop(
    host: &Host,
    name: &str,
    device: &Path,
    file: FileId,
) -> Result<Option<HeldLoop>, DeviceError> {
    let gone = |error: &io::Error| {
        matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT | libc::ENODEV))
    };
    let open = match File::open(device) {
        Ok(open) => open,
        Err(error) if gone(&error) => return Ok(None),
        Err(source) => return Err(DeviceError::io("open", device, source)),
    };
    let status = kernel::get_status(&open)
        .map_err(|source| DeviceError::io("read the loop status of", device, source))?;
    let Some(status) = status else { return Ok(None) };
    if (status.device, status.inode) != (file.dev, file.ino) {
        return Ok(None);
    }
    let size = kernel::block_device_size(&open)
        .map_err(|source| DeviceError::io("read the size of", device, source))?;
    let dev_t = dev_t_of(&open, device)?;
    let direct = host.sys.join("block").join(name).join("loop/dio");
    let direct_io = fs::read_to_string(direct).is_ok_and(|text| text.trim() == "1");
    let view = LoopView {
        device: device.to_owned(),
        dev_t,
        size: Bytes(size),
        offset: Bytes(status.offset),
        autoclear: status.flags & kernel::AUTOCLEAR != 0,
        read_only: status.flags & kernel::READ_ONLY != 0,
        direct_io,
    };
    Ok(Some(HeldLoop { view, open }))
}

/// The number of an open block device.
pub(crate) fn dev_t_of(open: &File, path: &Path) -> Result<DevT, DeviceError> {
    let status = open.metadata().map_err(|source| DeviceError::io("stat", path, source))?;
    if !status.file_type().is_block_device() {
        return Err(DeviceError::Parse {
            path: path.to_owned(),
            text: "no block device".to_owned(),
        });
    }
    Ok(split_dev(status.rdev()))
}

/// `st_dev` or `st_rdev` as two numbers.
pub(crate) fn split_dev(dev: u64) -> DevT {
    DevT { major: rustix::fs::major(dev), minor: rustix::fs::minor(dev) }
}

/// Attaches a loop device to the whole image. Of two that try at once, the kernel lets one have a number: the other takes the next.
pub(crate) fn attach_loop(
    host: &Host,
    image: &Path,
    attachment: Attachment,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    if find_loop(host, image, file_id(image)?)?.is_some() {
        return Ok(StepDone::Already);
    }
    let Attachment { sector, access, allocation } = attachment;
    let writable = access == Access::ReadWrite;
    let open = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(writable).custom_flags(libc::O_NOFOLLOW);
        options.open(path).map_err(|source| DeviceError::io("open", path, source))
    };
    let file = open(image)?;
    let flags = kernel::DIRECT_IO | if writable { 0 } else { kernel::READ_ONLY };
    let backing = kernel::Backing { file: &file, block_size: sector.bytes(), flags };
    let control_path = host.dev.join("loop-control");
    let control = File::open(&control_path)
        .map_err(|source| DeviceError::io("open", &control_path, source))?;
    loop {
        deadline.check("attach a loop device")?;
        let number = kernel::free_number(&control).map_err(|source| {
            DeviceError::io("find a free loop device in", &control_path, source)
        })?;
        let device = host.dev.join(format!("loop{number}"));
        let bound = open(&device)?;
        match kernel::configure(&bound, &backing) {
            Ok(()) => return finish_attach(host, number, &bound, allocation),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(source) => return Err(DeviceError::io("attach a loop device to", image, source)),
        }
    }
}

/// A reserved image takes no discards: each would punch a hole into it and give its space back to the pool.
fn finish_attach(
    host: &Host,
    number: u32,
    bound: &File,
    allocation: Allocation,
) -> Result<StepDone, DeviceError> {
    match allocation {
        Allocation::Sparse => {}
        Allocation::Reserved => {
            let queue = host.sys.join(format!("block/loop{number}/queue/discard_max_bytes"));
            let set = fs::write(&queue, "0");
            if let Err(source) = set {
                kernel::clear_fd(bound)
                    .map_err(|source| DeviceError::io("detach", &queue, source))?;
                return Err(DeviceError::io("switch discards off in", &queue, source));
            }
        }
    }
    Ok(StepDone::Changed)
}

/// Lets the device see the image's length.
pub(crate) fn resize_loop(host: &Host, image: &Path) -> Result<StepDone, DeviceError> {
    let HeldLoop { view, open } = require_loop(host, image)?;
    let length = fs::metadata(image).map_err(|source| DeviceError::io("stat", image, source))?;
    if view.size.0 >= length.len() {
        return Ok(StepDone::Already);
    }
    kernel::set_capacity(&open)
        .map_err(|source| DeviceError::io("resize", &view.device, source))?;
    Ok(StepDone::Changed)
}

/// Lets the device detach itself at its last close.
pub(crate) fn set_autoclear(host: &Host, image: &Path) -> Result<StepDone, DeviceError> {
    let HeldLoop { view, open } = require_loop(host, image)?;
    if view.autoclear {
        return Ok(StepDone::Already);
    }
    let fail = |source| DeviceError::io("set autoclear on", &view.device, source);
    let Some(mut status) = kernel::get_status(&open).map_err(fail)? else {
        return Err(DeviceError::NotAttached { image: image.to_owned() });
    };
    status.flags |= kernel::AUTOCLEAR;
    kernel::set_status(&open, &status).map_err(fail)?;
    Ok(StepDone::Changed)
}

/// The image's loop device; `None`, where either is gone.
pub(crate) fn find_held(host: &Host, image: &Path) -> Result<Option<HeldLoop>, DeviceError> {
    match file_id(image) {
        Err(DeviceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(file) => hold_loop(host, image, file),
    }
}

/// Detaches, and looks whether it is: while somebody has it open, the kernel only promises.
pub(crate) fn detach_loop(host: &Host, image: &Path) -> Result<StepDone, DeviceError> {
    let file = match fs::metadata(image) {
        Ok(status) => FileId { dev: status.dev(), ino: status.ino() },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StepDone::Already),
        Err(source) => return Err(DeviceError::io("stat", image, source)),
    };
    let Some(HeldLoop { view, open }) = hold_loop(host, image, file)? else {
        return Ok(StepDone::Already);
    };
    // Through the descriptor that was compared: opened anew, the number could be another file's by now, set free by our own last close.
    kernel::clear_fd(&open).map_err(|source| DeviceError::io("detach", &view.device, source))?;
    drop(open);
    if settle(|| Ok(find_loop(host, image, file)?.is_none()))? {
        Ok(StepDone::Changed)
    } else {
        Err(DeviceError::Busy { path: view.device, by: "it is open or mounted" })
    }
}

/// Whether nobody has claimed the block device: neither a mount nor another exclusive opener, on any path, in any namespace.
pub(crate) fn is_unclaimed(device: &Path) -> Result<bool, DeviceError> {
    settle(|| open_exclusively(device))
}

fn open_exclusively(device: &Path) -> Result<bool, DeviceError> {
    match OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(device) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(source) => Err(DeviceError::io("open exclusively", device, source)),
    }
}

/// The sysfs path of a loop device's backing file, as text.
pub(crate) fn backing_file(host: &Host, name: &str) -> Option<PathBuf> {
    let path = host.sys.join("block").join(name).join("loop/backing_file");
    let text = fs::read_to_string(path).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n')))
}

#[cfg(test)]
#[path = "looped_tests.rs"]
mod tests;
