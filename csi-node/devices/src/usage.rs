//! How full a published volume is, and how large a published device. System calls of microseconds, no command (I8).

use std::fs::File;
use std::path::Path;

use rustix::fs::{statfs, statvfs};
use serde::Serialize;
use terrace_device_types::Bytes;

use crate::kernel::btrfs as ioctl;
use crate::{DeviceError, btrfs, kernel};

/// How full a filesystem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// What it can hold.
    pub total: Bytes,
    /// What is taken.
    pub used: Bytes,
    /// What an unprivileged writer can still take.
    pub available: Bytes,
    /// Inodes there are (0: no limit, as on btrfs).
    pub inodes: u64,
    /// Inodes taken.
    pub inodes_used: u64,
    /// Inodes free.
    pub inodes_free: u64,
}

/// Usage of the volume at that path: of its filesystem; of a btrfs subvolume with a limit, what its quota group counts, since statvfs shows the pool.
/// That count is of the last transaction, at most some 30 s old.
///
/// # Errors
/// When the path is gone or the filesystem is shut down.
pub fn observe_usage(path: &Path) -> Result<Usage, DeviceError> {
    // An XFS that shut itself down still counts its blocks; its root alone is an error.
    std::fs::symlink_metadata(path).map_err(|source| DeviceError::io("look at", path, source))?;
    if let Some(usage) = subvolume_usage(path)? {
        return Ok(usage);
    }
    let seen = statvfs(path).map_err(|errno| DeviceError::io("statvfs", path, errno))?;
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(seen.f_frsize));
    Ok(Usage {
        total: bytes(seen.f_blocks),
        used: bytes(seen.f_blocks.saturating_sub(seen.f_bfree)),
        available: bytes(seen.f_bavail),
        inodes: seen.f_files,
        inodes_used: seen.f_files.saturating_sub(seen.f_ffree),
        inodes_free: seen.f_ffree,
    })
}

/// What a subvolume with a limit has taken of it. Nothing limits its inodes, and nothing counts them.
fn subvolume_usage(path: &Path) -> Result<Option<Usage>, DeviceError> {
    const BTRFS: i64 = 0x9123_683E;
    let seen = statfs(path).map_err(|errno| DeviceError::io("statfs", path, errno))?;
    if seen.f_type != BTRFS {
        return Ok(None);
    }
    let root = btrfs::open(path)?;
    let info = ioctl::subvolume_info(&root)
        .map_err(|source| DeviceError::io("look at the subvolume", path, source))?;
    let group = btrfs::read_qgroup(&root, path, info.id)?;
    // The pool may be fuller than the volume.
    let free = statvfs(path).map_err(|errno| DeviceError::io("statvfs", path, errno))?;
    let free = Bytes(free.f_bavail.saturating_mul(free.f_frsize));
    Ok(group.limit.map(|total| Usage {
        total,
        used: group.referenced,
        available: total.minus(group.referenced).min(free),
        inodes: 0,
        inodes_used: 0,
        inodes_free: 0,
    }))
}

/// The size of the block device at that path.
///
/// # Errors
/// When it is no block device.
pub fn block_size(path: &Path) -> Result<Bytes, DeviceError> {
    let fail = |source| DeviceError::io("read the size of", path, source);
    let device = File::open(path).map_err(fail)?;
    kernel::block_device_size(&device).map(Bytes).map_err(fail)
}
