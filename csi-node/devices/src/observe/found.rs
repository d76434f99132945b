//! Which host objects a pool has, and which of them is a volume's: by name, by tag among the renamed, by the logical volumes of its group.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use terrace_device_types::lvm::LvSeen;
use terrace_device_types::{
    Bytes, FileId, Form, HostObject, ImageView, TagReading, UNFINISHED_PREFIX, VolumeUuid,
    image_name, unfinished_name,
};

use crate::host::Host;
use crate::lvm::{PoolGroup, observe_pool_group};
use crate::tagged::read_tag;
use crate::{DeviceError, subvolume};

/// Every host object of a pool: `t-…`, `s-…` and `q-…`, sorted by path, each with what its tag says; and what a crash left of one that was only begun, as soon
/// as it has its tag.
///
/// # Errors
/// When the directory or an image can't be read.
pub fn observe_images(pool_dir: &Path) -> Result<Vec<ImageView>, DeviceError> {
    let group = observe_pool_group(&Host::real(), pool_dir)?;
    list_images(pool_dir, group.as_ref())
}

fn list_images(pool_dir: &Path, group: Option<&PoolGroup>) -> Result<Vec<ImageView>, DeviceError> {
    let fail = |source| DeviceError::io("list", pool_dir, source);
    let mut images = Vec::new();
    for entry in fs::read_dir(pool_dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if ["t-", "s-", "q-"].iter().any(|prefix| name.starts_with(prefix)) {
            images.extend(observe_image(&entry.path(), group)?);
        } else if name.starts_with(UNFINISHED_PREFIX) {
            let begun = observe_image(&entry.path(), group)?;
            images.extend(begun.filter(|begun| matches!(begun.tag, TagReading::Read(_))));
        }
    }
    if let Some(group) = group {
        let known: BTreeSet<String> = images.iter().filter_map(lv_name_of).collect();
        let strays = group.without_entry(|name| known.contains(name))?;
        images.extend(strays.into_iter().filter_map(|seen| observe_stray(pool_dir, seen)));
    }
    images.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(images)
}

/// The name of an entry's logical volume, where it has one.
fn lv_name_of(image: &ImageView) -> Option<String> {
    match &image.form {
        Form::Lv(seen) => seen.lv.as_ref().map(|lv| lv.name.clone()),
        Form::Image | Form::Subvolume(_) => None,
    }
}

/// A logical volume with a name as ours have and without an entry: nothing says what may be done to it, so nothing is.
fn observe_stray(pool_dir: &Path, seen: LvSeen) -> Option<ImageView> {
    let lv = seen.lv.as_ref()?;
    let (path, size) = (pool_dir.join(&lv.name), lv.size);
    Some(ImageView {
        path,
        id: FileId { dev: 0, ino: 0 },
        apparent: size,
        allocated: size,
        form: Form::Lv(Box::new(seen)),
        tag: TagReading::Absent,
    })
}

/// The image by its name; else, since a deletion may have renamed it, by its tag among the quarantined.
pub(super) fn find_image(
    pool_dir: &Path,
    group: Option<&PoolGroup>,
    volume: VolumeUuid,
) -> Result<Option<ImageView>, DeviceError> {
    for object in [HostObject::Volume, HostObject::Snapshot] {
        if let Some(image) = observe_image(&pool_dir.join(image_name(object, volume)), group)? {
            return Ok(Some(image));
        }
    }
    if !pool_dir.is_dir() {
        return Ok(None);
    }
    let is_ours =
        |image: &ImageView| matches!(&image.tag, TagReading::Read(tag) if tag.volume == volume);
    let renamed = |image: &ImageView| {
        image.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("q-"))
    };
    let images = list_images(pool_dir, group)?;
    let stray = |image: &ImageView| {
        let names = [HostObject::Volume, HostObject::Snapshot].map(|of| image_name(of, volume));
        lv_name_of(image).is_some_and(|name| names.contains(&name))
    };
    let is_it = |image: &ImageView| (renamed(image) && is_ours(image)) || stray(image);
    match images.into_iter().find(is_it) {
        Some(image) => Ok(Some(image)),
        None => {
            let begun = observe_image(&pool_dir.join(unfinished_name(volume)), group)?;
            Ok(begun.filter(is_ours))
        }
    }
}

pub(super) fn observe_image(
    path: &Path,
    group: Option<&PoolGroup>,
) -> Result<Option<ImageView>, DeviceError> {
    let status = match fs::symlink_metadata(path) {
        Ok(status) if status.is_file() => status,
        Ok(status) if status.is_dir() => return subvolume::observe_object(path),
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DeviceError::io("stat", path, source)),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        // Removed since: others are deleted while a pool is listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DeviceError::io("open", path, source)),
    };
    let (id, tag) = (FileId { dev: status.dev(), ino: status.ino() }, read_tag(&file, path)?);
    let path = path.to_owned();
    let Some(group) = group else {
        let (apparent, allocated) = (Bytes(status.len()), Bytes(status.blocks() * 512));
        return Ok(Some(ImageView { path, id, apparent, allocated, form: Form::Image, tag }));
    };
    let said = match &tag {
        TagReading::Read(tag) => Some(tag),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    };
    let seen = group.of_entry(&path, said)?;
    let apparent = seen.lv.as_ref().map_or(Bytes::ZERO, |lv| lv.size);
    let mapped = seen.lv.as_ref().and_then(|lv| lv.device.as_ref()?.mapped);
    let (allocated, form) = (mapped.unwrap_or(apparent), Form::Lv(Box::new(seen)));
    Ok(Some(ImageView { path, id, apparent, allocated, form, tag }))
}
