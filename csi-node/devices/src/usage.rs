//! How full a published volume is, and how large a published device. System calls of microseconds, no command (I8).

use std::fs::File;
use std::path::Path;

use rustix::fs::statvfs;
use serde::Serialize;
use terrace_device_types::Bytes;

use crate::{DeviceError, kernel};

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

/// Usage of the filesystem at that path.
///
/// # Errors
/// When the path is gone or the filesystem is shut down.
pub fn observe_usage(path: &Path) -> Result<Usage, DeviceError> {
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

/// The size of the block device at that path.
///
/// # Errors
/// When it is no block device.
pub fn block_size(path: &Path) -> Result<Bytes, DeviceError> {
    let fail = |source| DeviceError::io("read the size of", path, source);
    let device = File::open(path).map_err(fail)?;
    kernel::block_device_size(&device).map(Bytes).map_err(fail)
}
