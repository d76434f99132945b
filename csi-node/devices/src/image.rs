//! Images: made in one piece, grown without half measures, removed only by what their own tag says.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{
    CWD, FallocateFlags, RenameFlags, XattrFlags, fallocate, ftruncate, renameat_with,
};
use rustix::io::Errno;
use terrace_device_types::{
    Allocation, Bytes, DeletionId, DeletionProof, HostState, StageState, StepDone, Tag, VolumeUuid,
};

use crate::deadline::settle;
use crate::durable::{name_file, parent, unnamed_file};
use crate::host::{Host, observe_boot};
use crate::looped::{file_id, find_loop};
use crate::lvm::observe_pool_group;
use crate::subvolume::refuse_if_mounted;
use crate::tagged::{self, Tagged, changed, expect_volume, open_tagged, open_volume, write_tag};
use crate::{DeviceError, kernel};

/// Makes an image. It has no name until it has its space and its tag, so a crash leaves either nothing or a whole, tagged image.
pub(crate) fn allocate_image(
    image: &Path,
    size: Bytes,
    tag: &Tag,
) -> Result<StepDone, DeviceError> {
    if image.exists() {
        open_volume(image, tag.volume)?;
        return Ok(StepDone::Already);
    }
    let file = unnamed_file(parent(image)?, 0o600)?;
    lengthen(&file, image, size, tag.allocation)?;
    name_tagged(&file, image, tag)
}

/// Makes the entry of a logical volume, as [`allocate_image`] makes an image.
pub(crate) fn create_entry(entry: &Path, tag: &Tag) -> Result<StepDone, DeviceError> {
    if entry.exists() {
        open_volume(entry, tag.volume)?;
        return Ok(StepDone::Already);
    }
    name_tagged(&unnamed_file(parent(entry)?, 0o600)?, entry, tag)
}

fn name_tagged(file: &File, image: &Path, tag: &Tag) -> Result<StepDone, DeviceError> {
    write_tag(file, image, tag, XattrFlags::CREATE)?;
    name_file(file, image).map_err(|source| DeviceError::io("name", image, source))?;
    Ok(StepDone::Changed)
}

/// Lengthens an image; one that can't get its space keeps the length and the blocks it had.
pub(crate) fn grow_image(
    image: &Path,
    volume: VolumeUuid,
    to: Bytes,
    allocation: Allocation,
) -> Result<StepDone, DeviceError> {
    let Tagged { file, tag: _ } = open_volume(image, volume)?;
    let fail = |source| DeviceError::io("grow", image, source);
    let before = file.metadata().map_err(fail)?.len();
    if before >= to.0 {
        return Ok(StepDone::Already);
    }
    if let Err(error) = lengthen(&file, image, to, allocation) {
        // Longer and back again: that frees blocks beyond the old end which a failed fallocate may have left there.
        let back = ftruncate(&file, to.0).and_then(|()| ftruncate(&file, before));
        back.map_err(|errno| DeviceError::io("shorten to its old length", image, errno))?;
        return Err(error);
    }
    file.sync_all().map_err(fail)?;
    Ok(StepDone::Changed)
}

fn lengthen(
    file: &File,
    image: &Path,
    size: Bytes,
    allocation: Allocation,
) -> Result<(), DeviceError> {
    let done = match allocation {
        Allocation::Reserved => fallocate(file, FallocateFlags::empty(), 0, size.0),
        Allocation::Sparse => ftruncate(file, size.0),
    };
    match done {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => {
            Err(DeviceError::NoSpace { path: image.to_owned(), need: size })
        }
        Err(errno) => Err(DeviceError::io("allocate", image, errno)),
    }
}

/// The point of no return of a deletion (I1). Everything the proof could not know is looked at again, here and now.
pub(crate) fn mark_quarantined(
    host: &Host,
    image: &Path,
    proof: &DeletionProof,
) -> Result<StepDone, DeviceError> {
    let boot = observe_boot(host)?;
    let state = HostState::Quarantined { deletion: proof.id().clone() };
    let tagged = open_volume(image, proof.volume())?;
    match &tagged.tag.state {
        found if *found == state => return Ok(StepDone::Already),
        HostState::Quarantined { .. } => {
            return Err(changed(image, state.to_string(), tagged.tag.state.to_string()));
        }
        HostState::Creating | HostState::Ready | HostState::Retained => {}
    }
    if matches!(&tagged.tag.stage, StageState::At { boot: then, target: _ } if *then == boot) {
        return Err(DeviceError::Busy { path: image.to_owned(), by: "it is staged" });
    }
    refuse_if_open(host, image, &tagged)?;
    let next = Tag { state, ..tagged.tag.clone() };
    write_tag(&tagged.file, image, &next, XattrFlags::REPLACE)?;
    Ok(StepDone::Changed)
}

fn refuse_if_open(host: &Host, image: &Path, tagged: &Tagged) -> Result<(), DeviceError> {
    let status = tagged.file.metadata();
    if status.map_err(|source| DeviceError::io("stat", image, source))?.is_dir() {
        return refuse_if_mounted(host, image);
    }
    if find_loop(host, image, file_id(image)?)?.is_some() {
        return Err(DeviceError::Busy { path: image.to_owned(), by: "a loop device is attached" });
    }
    if let Some(group) = observe_pool_group(host, parent(image)?)? {
        let seen = || group.of_entry(image, Some(&tagged.tag));
        let free = settle(|| {
            let device = seen()?.lv.and_then(|lv| lv.device);
            Ok(device.is_none_or(|device| device.open == 0))
        });
        if !free? {
            let by = "its logical volume is open or mounted";
            return Err(DeviceError::Busy { path: image.to_owned(), by });
        }
    }
    let alone = is_open_only_here(&tagged.file, image)?;
    if alone {
        Ok(())
    } else {
        Err(DeviceError::Busy { path: image.to_owned(), by: "some program has it open" })
    }
}

/// Whether this is the only open description of the image.
pub(crate) fn is_open_only_here(file: &File, image: &Path) -> Result<bool, DeviceError> {
    let fail = |source| DeviceError::io("take a lease on", image, source);
    settle(|| kernel::is_open_only_here(file).map_err(fail))
}

/// Opens an image that is quarantined by that deletion. `None`: it is gone.
pub(crate) fn open_quarantined(
    image: &Path,
    deletion: &DeletionId,
) -> Result<Option<Tagged>, DeviceError> {
    let tagged = match open_tagged(image) {
        Err(DeviceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let state = HostState::Quarantined { deletion: deletion.clone() };
    if tagged.tag.state != state {
        return Err(changed(image, state.to_string(), tagged.tag.state.to_string()));
    }
    Ok(Some(tagged))
}

/// Gives a quarantined image its quarantine name.
pub(crate) fn rename_to_quarantine(
    image: &Path,
    to: &Path,
    deletion: &DeletionId,
) -> Result<StepDone, DeviceError> {
    if open_quarantined(image, deletion)?.is_none() {
        return match open_quarantined(to, deletion)? {
            Some(_) => Ok(StepDone::Already),
            None => Err(changed(image, "an image".to_owned(), "nothing".to_owned())),
        };
    }
    renameat_with(CWD, image, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|errno| DeviceError::io("rename", image, errno))?;
    Ok(StepDone::Changed)
}

/// Opens a quarantined image for erasing.
pub(crate) fn expect_quarantined(
    image: &Path,
    deletion: &DeletionId,
) -> Result<Option<File>, DeviceError> {
    Ok(open_quarantined(image, deletion)?.map(|tagged| tagged.file))
}

/// Unlinks a quarantined image.
pub(crate) fn remove_image(image: &Path, deletion: &DeletionId) -> Result<StepDone, DeviceError> {
    match open_quarantined(image, deletion)? {
        None => Ok(StepDone::Already),
        Some(_) => unlink(image),
    }
}

/// Unlinks an image that nobody ever used: still `creating`, stage record `never`, not open. (A copy has its source's latch from the start.)
pub(crate) fn remove_unfinished(
    host: &Host,
    image: &Path,
    volume: VolumeUuid,
) -> Result<StepDone, DeviceError> {
    let tagged = match tagged::open_tagged(image) {
        Err(DeviceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(StepDone::Already);
        }
        other => other?,
    };
    expect_volume(&tagged.tag, image, volume)?;
    let Tag { state, stage, .. } = &tagged.tag;
    let unused = (state, stage) == (&HostState::Creating, &StageState::Never);
    if !unused {
        let found = format!("{state}, stage record {stage}");
        return Err(changed(image, "creating and never used".to_owned(), found));
    }
    refuse_if_open(host, image, &tagged)?;
    unlink(image)
}

fn unlink(image: &Path) -> Result<StepDone, DeviceError> {
    fs::remove_file(image).map_err(|source| DeviceError::io("remove", image, source))?;
    Ok(StepDone::Changed)
}
