//! Mounting by the new mount API (fsopen, fsmount, open_tree, move_mount: Linux 5.2; mount_setattr: 5.12), because it says what is wrong. Unmounting, tolerant of what has gone.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};
use terrace_device_types::{Access, BindOptions, FsType, FsUuid, StepDone, VolumeMode};

use crate::deadline::settle;
use crate::durable::make_directory;
use crate::host::Host;
use crate::mountinfo::observe_mounts;
use crate::superblock::read_superblock;
use crate::tagged::changed;
use crate::{DeviceError, kernel};

/// A filesystem to be mounted.
pub(crate) struct Mounting<'a> {
    pub(crate) device: PathBuf,
    pub(crate) fs: FsType,
    pub(crate) uuid: FsUuid,
    pub(crate) target: &'a Path,
    pub(crate) options: &'a [String],
}

/// Mounts; the filesystem must have the UUID that was planned.
pub(crate) fn mount_filesystem(
    host: &Host,
    mounting: &Mounting<'_>,
) -> Result<StepDone, DeviceError> {
    let Mounting { device, fs, uuid, target, options } = mounting;
    if let Some(mount) = observe_mounts(host)?.into_iter().rev().find(|mount| mount.at == **target)
    {
        if Path::new(&mount.source) == device && mount.fs == fs.as_str() {
            return Ok(StepDone::Already);
        }
        return Err(changed(target, "no mount".to_owned(), format!("a mount of {}", mount.source)));
    }
    let open = File::open(device).map_err(|source| DeviceError::io("open", device, source))?;
    let found = read_superblock(&open, device)?.filter(|sb| sb.fs == *fs && sb.uuid == *uuid);
    if found.is_none() {
        return Err(changed(device, format!("{fs} {uuid}"), "another or none".to_owned()));
    }
    drop(open);
    let Sorted { attributes, filesystem } = sort_options(options);
    let context = fsopen(fs.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| DeviceError::io("open a context for", Path::new(fs.as_str()), errno))?;
    let mounted = configure(&context, device, &filesystem)
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
        .and_then(|mount| attach(&mount, target));
    mounted.map_err(|errno| DeviceError::Mount {
        device: device.clone(),
        target: target.to_path_buf(),
        said: read_log(&context),
        source: errno.into(),
    })?;
    Ok(StepDone::Changed)
}

fn configure(context: &OwnedFd, device: &Path, options: &[String]) -> rustix::io::Result<()> {
    fsconfig_set_string(context.as_fd(), "source", device)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), option.as_str())?,
        }
    }
    fsconfig_create(context.as_fd())
}

fn attach(mount: &OwnedFd, target: &Path) -> rustix::io::Result<()> {
    move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The filesystem's own words: one message a read, `e ` for errors, ENODATA at the end.
fn read_log(context: &OwnedFd) -> String {
    let mut said = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer[..]) {
        if length == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        said.push(line.trim_start_matches(['e', 'w', 'i']).trim_start().to_owned());
    }
    said.join("; ")
}

/// Options as the kernel wants them: those of the mount point, and those of the filesystem.
#[derive(Debug, PartialEq, Eq)]
struct Sorted {
    attributes: MountAttrFlags,
    filesystem: Vec<String>,
}

fn sort_options(options: &[String]) -> Sorted {
    let mut sorted = Sorted { attributes: MountAttrFlags::empty(), filesystem: Vec::new() };
    for option in options {
        match option.as_str() {
            "nodev" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_NODEV,
            "nosuid" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID,
            "noexec" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            "noatime" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME,
            "strictatime" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_STRICTATIME,
            "nodiratime" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_NODIRATIME,
            "nosymfollow" => sorted.attributes |= MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
            // The defaults, and words meant for mount(8) and init.
            "defaults" | "relatime" | "dev" | "suid" | "exec" | "diratime" | "async" | "auto"
            | "noauto" | "nofail" | "_netdev" | "rw" => {}
            other if other.starts_with("x-") => {}
            other => sorted.filesystem.push(other.to_owned()),
        }
    }
    sorted
}

/// Binds a directory, or a device node over a file. A read-only bind never was writable: it gets its attributes before it is attached.
pub(crate) fn bind(
    host: &Host,
    from: &Path,
    to: &Path,
    access: Access,
    options: &BindOptions,
) -> Result<StepDone, DeviceError> {
    if observe_mounts(host)?.iter().any(|mount| mount.at == to) {
        return expect_bound(from, to);
    }
    let fail = |source: io::Error| DeviceError::io("bind", from, source);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, from, flags).map_err(|errno| fail(errno.into()))?;
    let Attributes { set, clear } = bind_attributes(access, options);
    if !(set | clear).is_empty() {
        kernel::set_mount_attributes(&tree, set.bits().into(), clear.bits().into())
            .map_err(fail)?;
    }
    attach(&tree, to).map_err(|errno| DeviceError::io("bind to", to, errno))?;
    Ok(StepDone::Changed)
}

/// What a bind mount gets, and what it loses of the mount it is taken from.
#[derive(Debug, PartialEq, Eq)]
struct Attributes {
    set: MountAttrFlags,
    clear: MountAttrFlags,
}

fn bind_attributes(access: Access, options: &BindOptions) -> Attributes {
    let read_only = match access {
        Access::ReadWrite => MountAttrFlags::empty(),
        Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    match options {
        BindOptions::Inherited => Attributes { set: read_only, clear: MountAttrFlags::empty() },
        BindOptions::Only { options } => Attributes {
            set: read_only | sort_options(options).attributes,
            clear: MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NOEXEC
                | MountAttrFlags::MOUNT_ATTR_NODIRATIME
                | MountAttrFlags::MOUNT_ATTR__ATIME,
        },
    }
}

/// A mount at the target is ours if it shows the same file.
fn expect_bound(from: &Path, to: &Path) -> Result<StepDone, DeviceError> {
    let stat = |path: &Path| {
        fs::symlink_metadata(path).map_err(|source| DeviceError::io("stat", path, source))
    };
    let (from_status, to_status) = (stat(from)?, stat(to)?);
    if (from_status.dev(), from_status.ino()) == (to_status.dev(), to_status.ino()) {
        Ok(StepDone::Already)
    } else {
        Err(changed(to, format!("a bind of {}", from.display()), "another mount".to_owned()))
    }
}

/// Unmounts everything at the path. Not mounted, gone, or stale is what was wanted.
pub(crate) fn unmount_all(target: &Path) -> Result<StepDone, DeviceError> {
    let mut done = StepDone::Already;
    let gone = settle(|| {
        loop {
            match unmount(target, UnmountFlags::NOFOLLOW) {
                Ok(()) => done = StepDone::Changed,
                Err(Errno::INVAL | Errno::NOENT | Errno::STALE | Errno::NOTDIR) => return Ok(true),
                Err(Errno::BUSY) => return Ok(false),
                Err(errno) => return Err(DeviceError::io("unmount", target, errno)),
            }
        }
    })?;
    if gone {
        return Ok(done);
    }
    let by = "files on it are open, or something is mounted below";
    Err(DeviceError::Busy { path: target.to_owned(), by })
}

/// Makes the path a mount will cover.
pub(crate) fn make_target(target: &Path, mode: VolumeMode) -> Result<StepDone, DeviceError> {
    match mode {
        VolumeMode::Filesystem { fs: _ } => make_directory(target, 0o750),
        VolumeMode::Block => {
            make_directory(crate::durable::parent(target)?, 0o750)?;
            let mut options = File::options();
            options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            match options.open(target) {
                Ok(_) => Ok(StepDone::Changed),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(StepDone::Already),
                Err(source) => Err(DeviceError::io("make file", target, source)),
            }
        }
    }
}

/// Removes an empty directory or an empty file; a full one stays, and that is an error.
pub(crate) fn remove_target(host: &Host, target: &Path) -> Result<StepDone, DeviceError> {
    let status = match fs::symlink_metadata(target) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StepDone::Already),
        Err(source) => return Err(DeviceError::io("stat", target, source)),
    };
    if observe_mounts(host)?.iter().any(|mount| mount.at == target) {
        return Err(DeviceError::Busy {
            path: target.to_owned(),
            by: "something is mounted there",
        });
    }
    let removed = if status.is_dir() {
        fs::remove_dir(target)
    } else if status.is_file() && status.len() == 0 {
        fs::remove_file(target)
    } else {
        return Err(changed(target, "empty".to_owned(), "a file with content".to_owned()));
    };
    removed.map_err(|source| DeviceError::io("remove", target, source))?;
    Ok(StepDone::Changed)
}

/// `/data` as mkfs leaves a root directory (0755 root: ownership is the kubelet's fsGroup), `/.terrace` for nobody but us. What exists keeps its mode.
pub(crate) fn make_layout(mount: &Path) -> Result<StepDone, DeviceError> {
    let mut done = StepDone::Already;
    for (name, mode) in [("data", 0o755), (".terrace", 0o700)] {
        let dir = mount.join(name);
        if make_directory(&dir, mode)? == StepDone::Changed {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(&dir, permissions)
                .map_err(|source| DeviceError::io("set the mode of", &dir, source))?;
            done = StepDone::Changed;
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_to_the_mount_point_or_to_the_filesystem() {
        let options =
            ["nodev", "noatime", "relatime", "x-foo=1", "_netdev", "nouuid", "logbsize=64k"];
        let sorted = sort_options(&options.map(str::to_owned));
        let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOATIME;
        assert_eq!(sorted.attributes, attributes);
        assert_eq!(sorted.filesystem, ["nouuid", "logbsize=64k"]);
    }

    #[test]
    fn what_is_not_mounted_or_not_there_is_unmounted_already() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(unmount_all(scratch.path()).unwrap(), StepDone::Already);
        assert_eq!(unmount_all(&scratch.path().join("gone")).unwrap(), StepDone::Already);
    }

    #[test]
    fn a_target_with_content_is_never_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, file) = (scratch.path().join("d"), scratch.path().join("f"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("kept"), "x").unwrap();
        fs::write(&file, "x").unwrap();
        assert!(remove_target(&Host::real(), &dir).is_err());
        assert!(remove_target(&Host::real(), &file).is_err());
        assert!(dir.join("kept").exists() && file.exists());
    }
}
