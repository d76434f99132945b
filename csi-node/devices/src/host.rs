//! Where the host is looked at: the real one, or a tree of files that was taken from one.

use std::fs;
use std::path::{Path, PathBuf};

use terrace_device_types::BootId;

use crate::DeviceError;
use crate::block::KnownDisks;
use crate::mountinfo::KnownMounts;

/// The roots of the host's own files.
#[derive(Debug, Clone)]
pub struct Host {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// What disks said of themselves, which they are asked once.
    pub(crate) known: KnownDisks,
    /// Mounts as last read.
    pub(crate) mounts: KnownMounts,
}

impl Host {
    /// The host this process runs on.
    #[must_use]
    pub fn real() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
            known: KnownDisks::default(),
            mounts: KnownMounts::default(),
        }
    }

    /// A tree of files with `sys`, `proc` and `dev` in it.
    #[must_use]
    pub fn fixture(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            proc: root.join("proc"),
            dev: root.join("dev"),
            known: KnownDisks::default(),
            mounts: KnownMounts::default(),
        }
    }
}

/// The kernel boot this is.
///
/// # Errors
/// When `/proc` can't be read.
pub fn observe_boot(host: &Host) -> Result<BootId, DeviceError> {
    let path = host.proc.join("sys/kernel/random/boot_id");
    let text = read_text(&path)?;
    text.trim().parse().map_err(|_| DeviceError::Parse { path, text })
}

/// The whole of a small text file.
pub(crate) fn read_text(path: &Path) -> Result<String, DeviceError> {
    fs::read_to_string(path).map_err(|source| DeviceError::io("read", path, source))
}
