//! Images that share their blocks with another. A clone has no name before its bytes are known to be of one moment: found by its name, it is whole.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FallocateFlags, XattrFlags, fallocate, ioctl_ficlone};
use rustix::io::Errno;
use terrace_device_types::{Allocation, Bytes, HostObject, StepDone, Tag, VolumeUuid};

use crate::DeviceError;
use crate::durable::{name_file, parent, unnamed_file};
use crate::freeze;
use crate::tagged::{Tagged, changed, open_volume, write_tag};

/// Makes `image` out of the blocks of `from`, which must be of volume `source`. If we froze that, it must be frozen still when the blocks are shared.
pub(crate) fn clone_image(
    from: &Path,
    source: VolumeUuid,
    image: &Path,
    tag: &Tag,
) -> Result<StepDone, DeviceError> {
    if image.exists() {
        open_volume(image, tag.volume)?;
        return Ok(StepDone::Already);
    }
    let Tagged { file: original, tag: _ } = open_volume(from, source)?;
    let stillness = freeze::stillness_of(from);
    stillness.check(from)?;
    let file = unnamed_file(parent(image)?, 0o600)?;
    share_blocks(&original, &file, image)?;
    stillness.check(from)?;
    reserve(&file, image, tag)?;
    write_tag(&file, image, tag, XattrFlags::CREATE)?;
    name_file(&file, image).map_err(|source| DeviceError::io("name", image, source))?;
    Ok(StepDone::Changed)
}

/// One system call, and for the filesystem below one operation: whoever writes to `original` waits. It takes what is in the page cache along.
fn share_blocks(original: &File, file: &File, image: &Path) -> Result<(), DeviceError> {
    let length = |file: &File| {
        let status = file.metadata().map_err(|source| DeviceError::io("stat", image, source))?;
        Ok::<_, DeviceError>(Bytes(status.len()))
    };
    let whole = length(original)?;
    ioctl_ficlone(file, original).map_err(|errno| match errno {
        Errno::NOSPC | Errno::DQUOT => DeviceError::NoSpace { path: image.to_owned(), need: whole },
        errno => DeviceError::io("share blocks with", image, errno),
    })?;
    let shared = length(file)?;
    if shared == whole {
        return Ok(());
    }
    Err(changed(image, whole.to_string(), shared.to_string()))
}

/// xfs does not share what was never written: a volume with its space reserved gets that anew. A snapshot is never written.
fn reserve(file: &File, image: &Path, tag: &Tag) -> Result<(), DeviceError> {
    match (tag.object, tag.allocation) {
        (HostObject::Snapshot, _) | (HostObject::Volume, Allocation::Sparse) => return Ok(()),
        (HostObject::Volume, Allocation::Reserved) => {}
    }
    let status = file.metadata().map_err(|source| DeviceError::io("stat", image, source))?;
    let need = Bytes(status.len());
    fallocate(file, FallocateFlags::empty(), 0, need.0).map_err(|errno| match errno {
        Errno::NOSPC | Errno::DQUOT => DeviceError::NoSpace { path: image.to_owned(), need },
        errno => DeviceError::io("allocate", image, errno),
    })
}
