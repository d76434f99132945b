//! Growing a mounted filesystem by its own ioctl, and proving it by its own geometry: an exit code or a 0 proves nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{ext4_ioc_resize_fs, statvfs};
use terrace_device_types::{Bytes, FsType, Grown, StepDone};

use crate::DeviceError;
use crate::kernel;
use crate::superblock::read_superblock;

/// Grows to the device. A filesystem that spans it already is left alone.
pub(crate) fn grow_filesystem(
    mount: &Path,
    fs: FsType,
    device: &Path,
) -> Result<StepDone, DeviceError> {
    let open =
        |path: &Path| File::open(path).map_err(|source| DeviceError::io("open", path, source));
    let (root, disk) = (open(mount)?, open(device)?);
    let size = kernel::block_device_size(&disk)
        .map_err(|source| DeviceError::io("read the size of", device, source))?;
    let before = filesystem_span(mount, fs, device)?;
    if before.0 >= fs.reachable(Bytes(size)).0 {
        return Ok(StepDone::Already);
    }
    match fs {
        FsType::Ext4 => grow_ext4(&root, mount, size)?,
        FsType::Xfs => {
            grow_xfs(&root, size).map_err(|source| DeviceError::io("grow xfs at", mount, source))?
        }
        FsType::Btrfs => kernel::btrfs_grow(&root)
            .map_err(|source| DeviceError::io("grow btrfs at", mount, source))?,
    }
    Ok(StepDone::Changed)
}

/// EPERM here means one thing: `EXT4_IOC_RESIZE_FS` asks for `CAP_SYS_RESOURCE`.
fn grow_ext4(root: &File, mount: &Path, size: u64) -> Result<(), DeviceError> {
    let fail = |source: io::Error| match source.raw_os_error() {
        Some(libc::EPERM) => DeviceError::CapabilityMissing {
            capability: "CAP_SYS_RESOURCE",
            doing: "growing a mounted ext4 (unmounted it grows at the next stage)",
        },
        Some(_) | None => DeviceError::io("grow ext4 at", mount, source),
    };
    let block = statvfs(mount).map_err(|errno| fail(errno.into()))?.f_frsize;
    ext4_ioc_resize_fs(root, size / block).map_err(|errno| fail(errno.into()))
}

fn grow_xfs(root: &File, size: u64) -> io::Result<()> {
    let geometry = kernel::xfs_geometry(root)?;
    kernel::xfs_grow(root, size / u64::from(geometry.block_size), geometry.inode_percent)
}

/// How much of its device a mounted filesystem spans.
pub(crate) fn filesystem_span(
    mount: &Path,
    fs: FsType,
    device: &Path,
) -> Result<Bytes, DeviceError> {
    let fail = |source| DeviceError::io("read the geometry of", mount, source);
    let open =
        |path: &Path| File::open(path).map_err(|source| DeviceError::io("open", path, source));
    let spans = match fs {
        FsType::Xfs => {
            let geometry = kernel::xfs_geometry(&open(mount)?).map_err(fail)?;
            geometry.data_blocks * u64::from(geometry.block_size)
        }
        FsType::Btrfs => kernel::btrfs_device_size(&open(mount)?).map_err(fail)?,
        // ext4 tells only through its superblock, which it keeps in the device's page cache: this reads what is true now.
        FsType::Ext4 => {
            let found = read_superblock(&open(device)?, device)?;
            found.filter(|sb| sb.fs == fs).map_or(0, |sb| sb.spans.0)
        }
    };
    Ok(Bytes(spans))
}

/// The proof: the geometry spans what it can of the device, and statvfs, which is what users see, does not contradict it.
pub(crate) fn prove_size(
    mount: &Path,
    device: &Path,
    grown: Grown,
) -> Result<StepDone, DeviceError> {
    let Grown { fs, device_size } = grown;
    let least = fs.reachable(device_size);
    let spans = filesystem_span(mount, fs, device)?;
    let seen = statvfs(mount).map_err(|errno| DeviceError::io("statvfs", mount, errno))?;
    // Filesystems keep at most this much to themselves: xfs its log and headers, ext4 tables and journal, btrfs nothing here.
    let overhead = Bytes(least.0 / 8).max(Bytes::mib(160));
    let visible = Bytes(seen.f_blocks * seen.f_frsize);
    if spans < least || visible < least.minus(overhead) {
        return Err(DeviceError::NotGrown {
            mount: mount.to_owned(),
            spans: spans.min(visible),
            least,
        });
    }
    Ok(StepDone::Already)
}
