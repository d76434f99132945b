//! mkfs, fsck, resize2fs and wipefs: other people's tools, each behind a guard that looks again, each proven by looking afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use terrace_device_types::{
    FormatGuard, FsType, FsUuid, Latch, MIB, Signature, StageState, StepDone, Tool,
};

use crate::looped::is_unclaimed;
use crate::signature::probe_signature;
use crate::superblock::read_superblock;
use crate::tagged::{changed, open_volume};
use crate::tool::{failure, run_tool, succeed};
use crate::{Deadline, DeviceError};

/// Formats, if what the guard demands holds at this moment (I2). Finds its own work of before a crash.
pub(crate) fn make_filesystem(
    device: &Path,
    fs: FsType,
    uuid: FsUuid,
    guard: &FormatGuard,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let ours = Signature::Filesystem { fs, uuid };
    let found = probe_signature(device, deadline)?;
    if found == ours {
        return Ok(StepDone::Already);
    }
    expect_formattable(device, &found, &Signature::Unfinished { fs, uuid }, guard)?;
    if !is_unclaimed(device)? {
        return Err(DeviceError::Busy { path: device.to_owned(), by: "somebody has claimed it" });
    }
    let (tool, arguments) = mkfs_command(fs, uuid);
    let device_argument = device.as_os_str().to_owned();
    let arguments: Vec<OsString> = arguments.into_iter().chain([device_argument]).collect();
    succeed(tool, &arguments, deadline)?;
    let made = probe_signature(device, deadline)?;
    if made == ours {
        Ok(StepDone::Changed)
    } else {
        Err(changed(device, ours.to_string(), made.to_string()))
    }
}

fn expect_formattable(
    device: &Path,
    found: &Signature,
    unfinished: &Signature,
    guard: &FormatGuard,
) -> Result<(), DeviceError> {
    let half_made = match guard {
        FormatGuard::Latch { image, volume } => {
            let tag = open_volume(image, *volume)?.tag;
            let latched = matches!(tag.latch, Latch::Formatting { .. });
            if !latched || tag.stage != StageState::Never {
                let found = format!("latch {}, stage record {}", tag.latch, tag.stage);
                return Err(changed(image, "formatting and never staged".to_owned(), found));
            }
            if let Some(from) = tag.source {
                let found = format!("a copy of {from}");
                return Err(changed(image, "an image of its own".to_owned(), found));
            }
            *found == Signature::Unrecognized
        }
        FormatGuard::Blank { pool: _ } => false,
    };
    if *found == Signature::Blank || found == unfinished || half_made {
        Ok(())
    } else {
        Err(changed(device, "blank".to_owned(), found.to_string()))
    }
}

/// No discards: they would take a reserved image its space. Forced: our own look above is the judge, and what mkfs would complain about is our own half-made work.
fn mkfs_command(fs: FsType, uuid: FsUuid) -> (Tool, Vec<OsString>) {
    let (tool, arguments) = match fs {
        // 4096-byte blocks always: growth then goes by 128 MiB groups, which FsType::reachable counts on. No blocks kept for root: a Pod is no system.
        FsType::Ext4 => {
            let arguments =
                format!("-q -F -b 4096 -m 0 -O 64bit,metadata_csum -E nodiscard -U {uuid}");
            (Tool::MkfsExt4, arguments)
        }
        FsType::Xfs => (Tool::MkfsXfs, format!("-q -f -K -m crc=1,reflink=1,uuid={uuid}")),
        FsType::Btrfs => (Tool::MkfsBtrfs, format!("-q -f -K -U {uuid}")),
    };
    (tool, arguments.split(' ').map(OsString::from).collect())
}

/// Preens an unmounted ext4. The others replay their log when they are mounted.
pub(crate) fn check_filesystem(
    device: &Path,
    fs: FsType,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    match fs {
        FsType::Xfs | FsType::Btrfs => Ok(StepDone::Already),
        FsType::Ext4 => e2fsck(device, &["-p"], deadline),
    }
}

/// Exit code 0: clean; 1: repaired. Everything else is for a person to look at.
fn e2fsck(device: &Path, flags: &[&str], deadline: Deadline) -> Result<StepDone, DeviceError> {
    let arguments: Vec<&OsStr> = flags.iter().map(OsStr::new).chain([device.as_os_str()]).collect();
    let ended = run_tool(Tool::E2fsck, &arguments, deadline)?;
    match ended.status.code() {
        Some(0) => Ok(StepDone::Already),
        Some(1) => Ok(StepDone::Changed),
        Some(_) | None => Err(failure(Tool::E2fsck, &ended)),
    }
}

/// Grows an unmounted ext4 to its device. Needs no capability, unlike the ioctl on a mounted one.
pub(crate) fn grow_offline(device: &Path, deadline: Deadline) -> Result<StepDone, DeviceError> {
    let spans = || -> Result<u64, DeviceError> {
        let file = File::open(device).map_err(|source| DeviceError::io("open", device, source))?;
        let found = read_superblock(&file, device)?;
        Ok(found.filter(|sb| sb.fs == FsType::Ext4).map_or(0, |sb| sb.spans.0))
    };
    let before = spans()?;
    e2fsck(device, &["-f", "-p"], deadline)?;
    succeed(Tool::Resize2fs, &[device], deadline)?;
    Ok(if spans()? > before { StepDone::Changed } else { StepDone::Already })
}

/// Wipes what was permitted, word for word, from a disk nobody uses: its signatures, and its first and last MiB.
pub(crate) fn wipe_signatures(
    device: &Path,
    permitted: &str,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let found = probe_signature(device, deadline)?;
    if found == Signature::Blank {
        return Ok(StepDone::Already);
    }
    if found.to_string() != permitted {
        return Err(changed(device, permitted.to_owned(), found.to_string()));
    }
    if !is_unclaimed(device)? {
        return Err(DeviceError::Busy { path: device.to_owned(), by: "somebody has claimed it" });
    }
    let arguments = [OsStr::new("--all"), OsStr::new("--quiet"), device.as_os_str()];
    succeed(Tool::Wipefs, &arguments, deadline)?;
    let disk = File::options().write(true).custom_flags(libc::O_EXCL).open(device);
    let disk = disk.map_err(|source| DeviceError::io("wipe", device, source))?;
    zero_ends(&disk, device)?;
    Ok(StepDone::Changed)
}

/// Writes zeros over the first and last MiB, which is where signatures are.
pub(crate) fn zero_ends(disk: &File, device: &Path) -> Result<(), DeviceError> {
    let fail = |source| DeviceError::io("wipe", device, source);
    let length = seek(disk, SeekFrom::End(0)).map_err(|errno| fail(errno.into()))?;
    let zeros = vec![0u8; usize::try_from(length.min(MIB)).unwrap_or_default()];
    disk.write_all_at(&zeros, 0).map_err(fail)?;
    disk.write_all_at(&zeros, length.saturating_sub(MIB)).map_err(fail)?;
    disk.sync_all().map_err(fail)
}
