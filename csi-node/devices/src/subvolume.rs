//! Host objects of a btrfs pool: a directory with the tag, and in it the subvolume. Made whole under another name first, removed only by what their own tag says.

mod moment;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};
use terrace_device_types::{
    Bytes, DeletionId, DevT, FileId, FilesystemView, Form, FsType, HostObject, HostState,
    ImageView, LayoutView, MountPoint, QuotaView, SUBVOLUME_NAME, StageState, StepDone,
    SubvolumeView, Tag, TagReading, VolumeUuid, unfinished_name,
};

pub(crate) use moment::snapshot_subvolumes;

use crate::btrfs::{
    NEVER_SKIP, Nested, SUBVOLUME_ROOT, is_cleaned, list_nested, observe_quota, open, read_qgroup,
    threshold_path,
};
use crate::deadline::within;
use crate::durable::parent;
use crate::host::Host;
use crate::image::open_quarantined;
use crate::kernel::btrfs::{self as ioctl, Subvolume};
use crate::mountinfo::observe_mounts;
use crate::tagged::{Tagged, changed, expect_volume, open_volume, read_tag, write_tag};
use crate::{Deadline, DeviceError};

/// How long a removal waits for its space.
const CLEANED_WITHIN: Duration = Duration::from_secs(5);

/// A host object of a btrfs pool, if that is one.
pub(crate) fn observe_object(object: &Path) -> Result<Option<ImageView>, DeviceError> {
    let dir = match File::open(object) {
        Ok(dir) => dir,
        // Removed since: others are deleted while a pool is listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DeviceError::io("open", object, source)),
    };
    let status = dir.metadata().map_err(|source| DeviceError::io("stat", object, source))?;
    let (tag, subvolume) = (read_tag(&dir, object)?, observe_subvolume(object)?);
    let is_snapshot = matches!(&tag, TagReading::Read(tag) if tag.object == HostObject::Snapshot);
    let apparent = match subvolume.limit {
        Some(limit) if !is_snapshot => limit,
        None if !is_snapshot => Bytes::ZERO,
        Some(_) | None => subvolume.referenced,
    };
    Ok(Some(ImageView {
        path: object.to_owned(),
        id: FileId { dev: status.dev(), ino: status.ino() },
        apparent,
        allocated: subvolume.referenced,
        form: Form::Subvolume(subvolume),
        tag,
    }))
}

fn observe_subvolume(object: &Path) -> Result<SubvolumeView, DeviceError> {
    let path = object.join(SUBVOLUME_NAME);
    let Some((root, Subvolume { id, read_only, made_in: _ })) = open_subvolume(&path)? else {
        return Ok(SubvolumeView {
            id: None,
            read_only: false,
            limit: None,
            referenced: Bytes::ZERO,
            exclusive: Bytes::ZERO,
        });
    };
    let group = read_qgroup(&root, &path, id)?;
    let (referenced, exclusive) = (group.referenced, group.exclusive);
    Ok(SubvolumeView { id: Some(id), read_only, limit: group.limit, referenced, exclusive })
}

/// The subvolume at that very path; a plain directory is none.
fn open_subvolume(path: &Path) -> Result<Option<(File, Subvolume)>, DeviceError> {
    let status = match fs::symlink_metadata(path) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DeviceError::io("stat", path, source)),
    };
    if !status.is_dir() || status.ino() != SUBVOLUME_ROOT {
        return Ok(None);
    }
    let root = open(path)?;
    let info = ioctl::subvolume_info(&root)
        .map_err(|source| DeviceError::io("look at the subvolume", path, source))?;
    Ok(Some((root, info)))
}

fn require_subvolume(object: &Path) -> Result<(File, Subvolume), DeviceError> {
    let path = object.join(SUBVOLUME_NAME);
    open_subvolume(&path)?
        .ok_or_else(|| changed(&path, "a subvolume".to_owned(), "none".to_owned()))
}

/// Mounts of an object's subvolume, or of what lies in it: on the same filesystem, by the subvolume's id (mountinfo has had it since Linux 4.2) or by where
/// the mount's root lies, which sees what a Pod made a subvolume of its own.
pub(crate) fn mounts_of(
    object: &Path,
    subvolume: &SubvolumeView,
    mounts: &[MountPoint],
) -> Result<Vec<u64>, DeviceError> {
    let Some(id) = subvolume.id else { return Ok(Vec::new()) };
    let real = fs::canonicalize(object)
        .map_err(|source| DeviceError::io("resolve", object, source))?
        .join(SUBVOLUME_NAME);
    let Some((filesystem, root)) = place_of(&real, mounts) else { return Ok(Vec::new()) };
    let own = format!("subvolid={id}");
    let is_of = |mount: &&MountPoint| {
        mount.dev_t == filesystem
            && (mount.super_options.contains(&own) || mount.root.starts_with(&root))
    };
    Ok(mounts.iter().filter(is_of).map(|mount| mount.id).collect())
}

/// The filesystem a path lies on and the path within it: from the longest mount point above, the last of equals.
fn place_of(real: &Path, mounts: &[MountPoint]) -> Option<(DevT, PathBuf)> {
    let above = mounts.iter().filter(|mount| real.starts_with(&mount.at));
    let mount = above.max_by_key(|mount| mount.at.as_os_str().len())?;
    let below = real.strip_prefix(&mount.at).ok()?;
    Some((mount.dev_t, mount.root.join(below)))
}

/// What a subvolume shows of itself as a filesystem: its limit is what it spans.
pub(crate) fn observe_filesystem(
    image: &ImageView,
    mounts: &[MountPoint],
    of_volume: &[u64],
) -> Option<FilesystemView> {
    let path = image.path.join(SUBVOLUME_NAME);
    let data = path.join("data");
    if !path.is_dir() {
        return None;
    }
    let layout = if data.is_dir() && path.join(".terrace").is_dir() {
        LayoutView::Present
    } else {
        LayoutView::Missing
    };
    let whole = |mount: &&MountPoint| {
        of_volume.contains(&mount.id) && mount.root.file_name() == Some(OsStr::new(SUBVOLUME_NAME))
    };
    let mounted = mounts.iter().rev().find(whole).map(|mount| mount.at.clone());
    Some(FilesystemView { fs: FsType::Btrfs, mounted, spans: image.apparent, layout })
}

/// Refuses while it is mounted anywhere.
pub(crate) fn refuse_if_mounted(host: &Host, object: &Path) -> Result<(), DeviceError> {
    let subvolume = observe_subvolume(object)?;
    if mounts_of(object, &subvolume, &observe_mounts(host)?)?.is_empty() {
        return Ok(());
    }
    Err(DeviceError::Busy { path: object.to_owned(), by: "its subvolume is mounted" })
}

/// Makes a volume: all of it under another name, so that what has the final name is whole and tagged.
pub(crate) fn create_subvolume(
    host: &Host,
    object: &Path,
    tag: &Tag,
) -> Result<StepDone, DeviceError> {
    if object.exists() {
        open_volume(object, tag.volume)?;
        return require_subvolume(object).map(|_| StepDone::Already);
    }
    let begun = begin(host, object, tag)?;
    let dir = open(&begun)?;
    ioctl::subvolume_create(&dir, SUBVOLUME_NAME.as_bytes())
        .map_err(|source| DeviceError::io("make a subvolume in", &begun, source))?;
    // The kernel commits the transaction where a new subvolume is in it.
    dir.sync_all().map_err(|source| DeviceError::io("sync", &begun, source))?;
    name(&begun, object)?;
    Ok(StepDone::Changed)
}

/// A tagged, empty directory under the unfinished name; what an earlier attempt left there is removed.
fn begin(host: &Host, object: &Path, tag: &Tag) -> Result<PathBuf, DeviceError> {
    let begun = parent(object)?.join(unfinished_name(tag.volume));
    clear(host, &begun, tag.volume)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&begun)
        .map_err(|source| DeviceError::io("make directory", &begun, source))?;
    write_tag(&open(&begun)?, &begun, tag, XattrFlags::CREATE)?;
    Ok(begun)
}

/// Gives it its final name.
fn name(begun: &Path, object: &Path) -> Result<(), DeviceError> {
    renameat_with(CWD, begun, CWD, object, RenameFlags::NOREPLACE)
        .map_err(|errno| DeviceError::io("name", object, errno))
}

/// Limits what a subvolume may reference. A limit that is higher already stays. Proven by reading it back, and durable.
pub(crate) fn limit_subvolume(
    object: &Path,
    volume: VolumeUuid,
    to: Bytes,
) -> Result<StepDone, DeviceError> {
    open_volume(object, volume)?;
    let (root, Subvolume { id, .. }) = require_subvolume(object)?;
    let limit = || read_qgroup(&root, object, id).map(|group| group.limit);
    if limit()?.is_some_and(|limit| limit >= to) {
        return Ok(StepDone::Already);
    }
    let fail = |source| DeviceError::io("limit", object, source);
    ioctl::qgroup_limit(&root, id, to.0).map_err(fail)?;
    ioctl::commit(&root).map_err(fail)?;
    match limit()? {
        Some(found) if found == to => Ok(StepDone::Changed),
        found => {
            let found = found.map_or_else(|| "no limit".to_owned(), |found| found.to_string());
            Err(changed(object, format!("a limit of {to}"), found))
        }
    }
}

/// Switches quota groups on and waits for the first count; has them counted anew where they are out of step; and has the kernel never give counting up.
pub(crate) fn enable_quota(
    host: &Host,
    dir: &Path,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let root = open(dir)?;
    let fail = |source| DeviceError::io("switch quota groups on in", dir, source);
    let done = match observe_quota(host, dir)? {
        QuotaView::Off => {
            ioctl::quota_enable(&root).map_err(fail)?;
            let (root, dir) = (root.try_clone().map_err(fail)?, dir.to_owned());
            within(deadline, "count what each subvolume references", move || {
                ioctl::quota_rescan_wait(&root)
                    .map_err(|source| DeviceError::io("wait for the count in", &dir, source))
            })?;
            StepDone::Changed
        }
        QuotaView::Counting => match ioctl::quota_rescan(&root) {
            Ok(()) => StepDone::Changed,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => StepDone::Already,
            Err(source) => return Err(DeviceError::io("count anew in", dir, source)),
        },
        QuotaView::Classic | QuotaView::Careless => StepDone::Already,
        found @ (QuotaView::Simple | QuotaView::NotBtrfs) => {
            return Err(changed(dir, "classic quota groups".to_owned(), format!("{found:?}")));
        }
    };
    let careful = set_threshold(host, &root, dir)?;
    Ok(if careful == StepDone::Changed { careful } else { done })
}

fn set_threshold(host: &Host, root: &File, dir: &Path) -> Result<StepDone, DeviceError> {
    let path = threshold_path(host, root, dir)?;
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == NEVER_SKIP => return Ok(StepDone::Already),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StepDone::Already),
        Err(source) => return Err(DeviceError::io("read", &path, source)),
    }
    fs::write(&path, NEVER_SKIP).map_err(|source| DeviceError::io("write", &path, source))?;
    Ok(StepDone::Changed)
}

/// Removes a quarantined object.
pub(crate) fn remove_subvolume(
    host: &Host,
    object: &Path,
    deletion: &DeletionId,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    if open_quarantined(object, deletion)?.is_none() {
        return Ok(StepDone::Already);
    }
    let id = observe_subvolume(object)?.id;
    let done = remove(host, object)?;
    if let Some(id) = id {
        see_cleaned(parent(object)?, id, deadline)?;
    }
    Ok(done)
}

/// The kernel frees the space of what is removed after the next commit. A moment is waited for that, so that the pool's figures are true when the deletion is
/// reported; a large subvolume takes longer, and nobody need wait for it.
fn see_cleaned(pool: &Path, id: u64, deadline: Deadline) -> Result<(), DeviceError> {
    let root = open(pool)?;
    let until = Instant::now() + CLEANED_WITHIN.min(deadline.left());
    ioctl::commit(&root).map_err(|source| DeviceError::io("commit", pool, source))?;
    while !(is_cleaned(&root, pool, id)? && without_group(&root, id)) && Instant::now() < until {
        thread::sleep(CLEANED_WITHIN / 100);
    }
    Ok(())
}

/// Newer kernels refuse a removal as busy while they count for the last time, and remove the group themselves then.
fn without_group(root: &File, id: u64) -> bool {
    ioctl::qgroup_remove(root, id)
        .map_or_else(|error| error.raw_os_error() != Some(libc::EBUSY), |()| true)
}

/// Removes what nobody ever used: still `creating`, stage record `never`, not mounted; and what its making left under the unfinished name.
pub(crate) fn remove_unfinished_subvolume(
    host: &Host,
    object: &Path,
    volume: VolumeUuid,
) -> Result<StepDone, DeviceError> {
    let begun = parent(object)?.join(unfinished_name(volume));
    let mut done = clear(host, &begun, volume)?;
    if object != begun && clear(host, object, volume)? == StepDone::Changed {
        done = StepDone::Changed;
    }
    Ok(done)
}

fn clear(host: &Host, path: &Path, volume: VolumeUuid) -> Result<StepDone, DeviceError> {
    let dir = match File::open(path) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StepDone::Already),
        Err(source) => return Err(DeviceError::io("open", path, source)),
    };
    let tag = match read_tag(&dir, path)? {
        TagReading::Read(tag) => tag,
        // The crash came before the tag: then it is empty, or it is not ours and stays.
        TagReading::Absent | TagReading::Unreadable(_) => return remove_directory(path),
    };
    expect_volume(&tag, path, volume)?;
    if (&tag.state, &tag.stage) != (&HostState::Creating, &StageState::Never) {
        let found = format!("{}, stage record {}", tag.state, tag.stage);
        return Err(changed(path, "creating and never used".to_owned(), found));
    }
    remove(host, path)
}

fn remove(host: &Host, object: &Path) -> Result<StepDone, DeviceError> {
    refuse_if_mounted(host, object)?;
    if open_subvolume(&object.join(SUBVOLUME_NAME))?.is_some() {
        destroy(object, SUBVOLUME_NAME.as_bytes())?;
    }
    remove_directory(object)
}

fn remove_directory(path: &Path) -> Result<StepDone, DeviceError> {
    fs::remove_dir(path).map_err(|source| DeviceError::io("remove", path, source))?;
    Ok(StepDone::Changed)
}

/// Removes a subvolume, those first that a Pod made in it.
fn destroy(dir: &Path, name: &[u8]) -> Result<(), DeviceError> {
    let path = dir.join(OsStr::from_bytes(name));
    let Some((root, Subvolume { id, .. })) = open_subvolume(&path)? else {
        return Err(changed(&path, "a subvolume".to_owned(), "none".to_owned()));
    };
    loop {
        let nested = list_nested(&root, &path, id)?;
        if nested.is_empty() {
            break;
        }
        for Nested { dir, name } in nested {
            destroy(&path.join(OsStr::from_bytes(&dir)), &name)?;
        }
    }
    drop(root);
    let above = open(dir)?;
    ioctl::subvolume_destroy(&above, name)
        .map_err(|source| DeviceError::io("remove subvolume", &path, source))?;
    // Left alone a group costs a few bytes. Newer kernels refuse this as long as they clean up, and do it themselves afterwards.
    let _by_the_kernel_then = ioctl::qgroup_remove(&above, id);
    Ok(())
}

/// Opens the subvolume of an object that must be that volume's.
fn open_source(object: &Path, volume: VolumeUuid) -> Result<File, DeviceError> {
    let Tagged { file: _, tag: _ } = open_volume(object, volume)?;
    require_subvolume(object).map(|(root, _)| root)
}

#[cfg(test)]
#[path = "subvolume_tests.rs"]
mod tests;
