//! A filesystem for pinned BPF objects (Linux 4.4), so that they outlive the process that made them. It holds no volume.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, statfs};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::DeviceError;

/// What statfs says of one.
const MAGIC: i64 = 0xcafe_4a11;
/// Root alone may look into it.
const MODE: &str = "700";

/// Mounts one at `at` unless one is there. It stays when this process ends: what is pinned in it goes with the mount.
///
/// # Errors
/// When the kernel has none, or the folder cannot be made.
pub fn mount_bpffs(at: &Path) -> Result<(), DeviceError> {
    fs::create_dir_all(at).map_err(|source| DeviceError::io("make", at, source))?;
    let there = statfs(at).map_err(|errno| DeviceError::io("look at", at, errno))?;
    if there.f_type == MAGIC {
        return Ok(());
    }
    // A reader of the folder below has no business there either.
    let closed = fs::set_permissions(at, fs::Permissions::from_mode(0o700));
    closed.map_err(|source| DeviceError::io("close", at, source))?;
    mount(at).map_err(|errno| DeviceError::io("mount a bpffs on", at, errno))
}

fn mount(at: &Path) -> rustix::io::Result<()> {
    let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "terrace")?;
    fsconfig_set_string(&context, "mode", MODE)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&mounted, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
