//! Erasing an image's bytes, for `eraseOnDelete`: zeros over everything that was ever written, around the page cache.
//!
//! Holes and unwritten extents hold nothing of this volume and are skipped (`SEEK_DATA`; pools are xfs, ext4 and btrfs only, where it can be trusted).
//! `FALLOC_FL_ZERO_RANGE` would only forget the blocks, not overwrite them. What cannot be reached from here: old blocks on a filesystem that never
//! overwrites in place (btrfs, a reflinked image), blocks given back by earlier discards, and what flash keeps behind its translation layer. Those who need that encrypt.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use terrace_device_types::{DeletionId, Erase, MIB, StepDone};

use crate::image::expect_quarantined;
use crate::{Deadline, DeviceError};

const CHUNK: usize = MIB as usize;
const ALIGN: u64 = 4096;

#[repr(align(4096))]
struct Zeros([u8; CHUNK]);

static ZEROS: Zeros = Zeros([0; CHUNK]);

/// Erases a quarantined image. Begins anew after a crash; zeros are written over zeros then.
pub(crate) fn erase_image(
    image: &Path,
    deletion: &DeletionId,
    erase: Erase,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let Some(file) = expect_quarantined(image, deletion)? else { return Ok(StepDone::Already) };
    match erase {
        Erase::No => Ok(StepDone::Already),
        Erase::Zeros => write_zeros(&file, image, deadline),
    }
}

fn write_zeros(file: &File, image: &Path, deadline: Deadline) -> Result<StepDone, DeviceError> {
    let fail = |source| DeviceError::io("erase", image, source);
    let length = file.metadata().map_err(fail)?.len();
    let around = open_around_cache(image)?;
    let mut at = 0;
    while let Some((from, to)) = next_data(file, at, length).map_err(|e| fail(e.into()))? {
        let (next, end) = (from / ALIGN * ALIGN, to.next_multiple_of(ALIGN).min(length));
        write_over(&around, image, next..end, deadline)?;
        at = end;
    }
    around.sync_all().map_err(fail)?;
    Ok(StepDone::Changed)
}

/// Zeros over a stretch of a file or device, which begins where `O_DIRECT` may.
pub(crate) fn write_over(
    file: &File,
    path: &Path,
    stretch: Range<u64>,
    deadline: Deadline,
) -> Result<(), DeviceError> {
    let Range { start: mut at, end } = stretch;
    while at < end {
        deadline.check("erase")?;
        let size = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
        let written = file.write_all_at(&ZEROS.0[..size], at);
        written.map_err(|source| DeviceError::io("erase", path, source))?;
        at += size as u64;
    }
    Ok(())
}

/// `O_DIRECT` where the filesystem has it.
fn open_around_cache(image: &Path) -> Result<File, DeviceError> {
    let open =
        |flags| File::options().write(true).custom_flags(flags | libc::O_NOFOLLOW).open(image);
    match open(libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(0),
        other => other,
    }
    .map_err(|source| DeviceError::io("open", image, source))
}

/// The next stretch that holds data.
fn next_data(file: &File, at: u64, length: u64) -> Result<Option<(u64, u64)>, Errno> {
    if at >= length {
        return Ok(None);
    }
    let from = match seek(file, SeekFrom::Data(at)) {
        Ok(from) => from,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let to = seek(file, SeekFrom::Hole(from))?;
    Ok(Some((from, to)))
}
