//! Pool directories: what they say about themselves, what they can do, and the mark that makes one ours.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{XattrFlags, fsetxattr, ioctl_ficlone, statvfs};
use terrace_device_types::{
    Bytes, FileId, MountPoint, POOL_FILE_NAME, PoolFile, PoolFileError, PoolFileReading, PoolView,
    QuotaView, StepDone,
};

use crate::DeviceError;
use crate::btrfs::observe_quota;
use crate::durable::{name_file, sync_dir, unnamed_file};
use crate::host::Host;
use crate::looped::split_dev;
use crate::lvm::{PoolGroup, observe_pool_group};
use crate::mountinfo::observe_mounts;
use crate::tagged::changed;

/// How many strange names are worth telling.
const STRANGERS: usize = 16;

/// A pool directory as it is. What it can do is tried on files that never get a name, so nothing is left of the look.
///
/// # Errors
/// When the directory is there and can't be looked at. A missing one is a view with `exists: false`.
pub fn observe_pool(host: &Host, dir: &Path) -> Result<PoolView, DeviceError> {
    let status = match fs::metadata(dir) {
        Ok(status) if status.is_dir() => status,
        Ok(_) => return Ok(absent(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(absent(dir)),
        Err(source) => return Err(DeviceError::io("stat", dir, source)),
    };
    let room = statvfs(dir).map_err(|errno| DeviceError::io("statvfs", dir, errno))?;
    let file = read_pool_file(dir);
    let strangers = match &file {
        PoolFileReading::Absent => strangers(dir)?,
        PoolFileReading::Read(_) | PoolFileReading::Unreadable(_) => Vec::new(),
    };
    let Abilities { writable, xattrs, reflink } = try_abilities(dir);
    let fs = filesystem_of(dir, &observe_mounts(host)?);
    let quota = match fs.as_str() {
        "btrfs" => observe_quota(host, dir)?,
        _ => QuotaView::NotBtrfs,
    };
    let group = observe_pool_group(host, dir)?;
    let of_folder = (Bytes(room.f_blocks * room.f_frsize), Bytes(room.f_bavail * room.f_frsize));
    let (total, free) = group.as_ref().map_or(Ok(of_folder), PoolGroup::room)?;
    Ok(PoolView {
        dir: dir.to_owned(),
        exists: true,
        id: Some(FileId { dev: status.dev(), ino: status.ino() }),
        dev_t: Some(split_dev(status.dev())),
        fs,
        total,
        free,
        inodes_total: room.f_files,
        inodes_free: room.f_ffree,
        file,
        writable,
        xattrs,
        reflink,
        quota,
        group: group.as_ref().map(PoolGroup::view).transpose()?,
        strangers,
    })
}

/// The view of a pool that is not there.
pub(crate) fn absent(dir: &Path) -> PoolView {
    PoolView {
        dir: dir.to_owned(),
        exists: false,
        id: None,
        dev_t: None,
        fs: String::new(),
        total: Bytes::ZERO,
        free: Bytes::ZERO,
        inodes_total: 0,
        inodes_free: 0,
        file: PoolFileReading::Absent,
        writable: false,
        xattrs: false,
        reflink: false,
        quota: QuotaView::NotBtrfs,
        group: None,
        strangers: Vec::new(),
    }
}

/// The type of the filesystem a path lies on: the longest mount point above it, the last of equals.
fn filesystem_of(dir: &Path, mounts: &[MountPoint]) -> String {
    let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let above = mounts.iter().filter(|mount| real.starts_with(&mount.at));
    above.max_by_key(|mount| mount.at.as_os_str().len()).map_or_else(String::new, |m| m.fs.clone())
}

fn read_pool_file(dir: &Path) -> PoolFileReading {
    match fs::read(dir.join(POOL_FILE_NAME)) {
        Ok(content) => match serde_json::from_slice(&content) {
            Ok(file) => PoolFileReading::Read(file),
            Err(error) => {
                PoolFileReading::Unreadable(PoolFileError::Malformed { why: error.to_string() })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => PoolFileReading::Absent,
        Err(error) => PoolFileReading::Unreadable(PoolFileError::Unreadable {
            errno: error.raw_os_error().unwrap_or_default(),
        }),
    }
}

fn strangers(dir: &Path) -> Result<Vec<String>, DeviceError> {
    let fail = |source| DeviceError::io("list", dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
        if name != POOL_FILE_NAME && name != "lost+found" {
            names.push(name);
        }
    }
    names.sort();
    names.truncate(STRANGERS);
    Ok(names)
}

struct Abilities {
    writable: bool,
    xattrs: bool,
    reflink: bool,
}

fn try_abilities(dir: &Path) -> Abilities {
    let none = Abilities { writable: false, xattrs: false, reflink: false };
    let Ok(file) = unnamed_file(dir, 0o600) else { return none };
    let xattrs = fsetxattr(&file, "trusted.terrace.try", b"1", XattrFlags::CREATE).is_ok();
    let reflink = unnamed_file(dir, 0o600).is_ok_and(|other| ioctl_ficlone(&other, &file).is_ok());
    Abilities { writable: true, xattrs, reflink }
}

/// Marks a directory as a pool. Whole and durable or not at all; an existing mark is never replaced.
pub(crate) fn write_pool_file(dir: &Path, pool: &PoolFile) -> Result<StepDone, DeviceError> {
    let path = dir.join(POOL_FILE_NAME);
    let fail = |source| DeviceError::io("write", &path, source);
    let mut content = serde_json::to_vec_pretty(pool).map_err(|error| fail(error.into()))?;
    content.push(b'\n');
    let mut file: File = unnamed_file(dir, 0o644)?;
    file.write_all(&content).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    match name_file(&file, &path) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if read_pool_file(dir) == PoolFileReading::Read(pool.clone()) {
                return Ok(StepDone::Already);
            }
            Err(changed(&path, "no pool file".to_owned(), "another pool's".to_owned()))
        }
        Err(source) => Err(fail(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cluster: &str) -> PoolFile {
        PoolFile {
            pool_uuid: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
            cluster_uid: cluster.parse().unwrap(),
            pool: "fast".into(),
            backend: terrace_device_types::BackendKind::File,
        }
    }

    #[test]
    fn a_mark_is_written_once_and_read_back() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(write_pool_file(scratch.path(), &pool("c-1")).unwrap(), StepDone::Changed);
        assert_eq!(write_pool_file(scratch.path(), &pool("c-1")).unwrap(), StepDone::Already);
        let view = observe_pool(&Host::real(), scratch.path()).unwrap();
        assert_eq!(view.file, PoolFileReading::Read(pool("c-1")));
        assert!(view.exists && view.writable && view.total > view.free);
    }

    #[test]
    fn i4_another_clusters_mark_is_never_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        write_pool_file(scratch.path(), &pool("c-1")).unwrap();
        assert!(write_pool_file(scratch.path(), &pool("c-2")).is_err());
        assert_eq!(read_pool_file(scratch.path()), PoolFileReading::Read(pool("c-1")));
    }

    #[test]
    fn a_mark_with_a_key_too_many_is_unreadable_not_absent() {
        let scratch = tempfile::tempdir().unwrap();
        let text = r#"{"poolUUID":"8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10","clusterUID":"c","pool":"p","x":1}"#;
        fs::write(scratch.path().join(POOL_FILE_NAME), text).unwrap();
        assert!(matches!(read_pool_file(scratch.path()), PoolFileReading::Unreadable(_)));
    }

    #[test]
    fn a_missing_directory_is_a_view_not_an_error() {
        let view = observe_pool(&Host::real(), "/terrace/no/such".as_ref()).unwrap();
        assert!(!view.exists);
    }
}
