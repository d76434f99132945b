//! The tag on an image: read whole, replaced whole, compared before it is replaced, durable when the call returns.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Errno;
use terrace_device_types::tag::XATTR;
use terrace_device_types::{
    HostState, Latch, StageState, StepDone, Tag, TagError, TagReading, VolumeUuid,
};

use crate::DeviceError;

/// More than any tag is long; a longer one is not ours.
const LONGEST: usize = 8192;

/// What the image says about itself.
pub(crate) fn read_tag(file: &File, image: &Path) -> Result<TagReading, DeviceError> {
    let mut buffer = [0u8; LONGEST];
    match fgetxattr(file, XATTR, &mut buffer[..]) {
        Ok(length) => Ok(match Tag::parse(&buffer[..length]) {
            Ok(tag) => TagReading::Read(tag),
            Err(why) => TagReading::Unreadable(why),
        }),
        Err(Errno::NODATA) => Ok(TagReading::Absent),
        Err(Errno::RANGE) => Ok(TagReading::Unreadable(TagError::NotText)),
        Err(errno) => Err(DeviceError::io("read the tag of", image, errno)),
    }
}

/// An image open for a change, with the tag it had a moment ago.
pub(crate) struct Tagged {
    pub(crate) file: File,
    pub(crate) tag: Tag,
}

/// Opens an image and reads its tag; anything but a readable tag is an error.
pub(crate) fn open_tagged(image: &Path) -> Result<Tagged, DeviceError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let opened = match options.open(image) {
        // A directory is opened for reading, and its attributes are written all the same.
        Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {
            options.write(false).open(image)
        }
        other => other,
    };
    let file = opened.map_err(|source| DeviceError::io("open", image, source))?;
    match read_tag(&file, image)? {
        TagReading::Read(tag) => Ok(Tagged { file, tag }),
        TagReading::Unreadable(source) => Err(DeviceError::Tag { image: image.to_owned(), source }),
        TagReading::Absent => {
            let source = TagError::NotATag { first: String::new() };
            Err(DeviceError::Tag { image: image.to_owned(), source })
        }
    }
}

/// As [`open_tagged`], and the tag must be of that volume.
pub(crate) fn open_volume(image: &Path, volume: VolumeUuid) -> Result<Tagged, DeviceError> {
    let tagged = open_tagged(image)?;
    expect_volume(&tagged.tag, image, volume)?;
    Ok(tagged)
}

/// The tag is of that volume.
pub(crate) fn expect_volume(
    tag: &Tag,
    image: &Path,
    volume: VolumeUuid,
) -> Result<(), DeviceError> {
    if tag.volume == volume {
        return Ok(());
    }
    Err(changed(image, format!("volume {volume}"), format!("volume {}", tag.volume)))
}

/// "It is not as planned."
pub(crate) fn changed(path: &Path, expected: String, found: String) -> DeviceError {
    DeviceError::Changed { path: path.to_owned(), expected, found }
}

/// Writes the tag and waits until it is on the disk.
pub(crate) fn write_tag(
    file: &File,
    image: &Path,
    tag: &Tag,
    flags: XattrFlags,
) -> Result<(), DeviceError> {
    let text = tag.to_string();
    if Tag::parse(text.as_bytes()).as_ref() != Ok(tag) {
        return Err(DeviceError::Bug { why: "the tag would not read back as it was written" });
    }
    fsetxattr(file, XATTR, text.as_bytes(), flags)
        .map_err(|errno| DeviceError::io("write the tag of", image, errno))?;
    file.sync_all().map_err(|source| DeviceError::io("sync", image, source))
}

/// Replaces the tag, unless it says so already.
fn replace_tag(tagged: &Tagged, image: &Path, next: &Tag) -> Result<StepDone, DeviceError> {
    if tagged.tag == *next {
        return Ok(StepDone::Already);
    }
    write_tag(&tagged.file, image, next, XattrFlags::REPLACE)?;
    Ok(StepDone::Changed)
}

/// Rewrites the state. Into and out of quarantine no way leads through here.
pub(crate) fn write_state(
    image: &Path,
    volume: VolumeUuid,
    state: &HostState,
) -> Result<StepDone, DeviceError> {
    let tagged = open_volume(image, volume)?;
    let barred = |state: &HostState| matches!(state, HostState::Quarantined { .. });
    if barred(state) || (barred(&tagged.tag.state) && tagged.tag.state != *state) {
        return Err(changed(image, format!("may become {state}"), tagged.tag.state.to_string()));
    }
    let next = Tag { state: state.clone(), ..tagged.tag.clone() };
    replace_tag(&tagged, image, &next)
}

/// Moves the latch forward; never back (I2).
pub(crate) fn write_latch(
    image: &Path,
    volume: VolumeUuid,
    latch: &Latch,
) -> Result<StepDone, DeviceError> {
    let tagged = open_volume(image, volume)?;
    if !tagged.tag.latch.may_become(latch) {
        let found = format!("latch {}", tagged.tag.latch);
        return Err(changed(image, format!("a latch that may become {latch}"), found));
    }
    let next = Tag { latch: latch.clone(), ..tagged.tag.clone() };
    replace_tag(&tagged, image, &next)
}

/// Writes the stage record. Once staged, `never` is history.
pub(crate) fn write_stage(
    image: &Path,
    volume: VolumeUuid,
    stage: &StageState,
) -> Result<StepDone, DeviceError> {
    let tagged = open_volume(image, volume)?;
    if *stage == StageState::Never && tagged.tag.stage != StageState::Never {
        return Err(changed(image, "never staged".to_owned(), tagged.tag.stage.to_string()));
    }
    let next = Tag { stage: stage.clone(), ..tagged.tag.clone() };
    replace_tag(&tagged, image, &next)
}
