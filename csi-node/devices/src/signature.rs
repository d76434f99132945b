//! What is on a device or an image. blkid is the judge (all probers, no cache); our own reading only makes its "nothing" stricter:
//! blank means blkid knows nothing *and* the first and last MiB are zeros *and* both could be read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use terrace_device_types::{FsType, FsUuid, MIB, PartitionEntry, Signature, Tool};

use crate::superblock::{self, Superblock};
use crate::tool::{failure, run_tool};
use crate::{Deadline, DeviceError};

/// Looks at a device, or at an image file that is not attached.
pub(crate) fn probe_signature(path: &Path, deadline: Deadline) -> Result<Signature, DeviceError> {
    probe(path, deadline).map(|(signature, _)| signature)
}

/// As [`probe_signature`], with what the table of its disk says of a partition.
pub(crate) fn probe(
    path: &Path,
    deadline: Deadline,
) -> Result<(Signature, Option<PartitionEntry>), DeviceError> {
    let file = File::open(path).map_err(|source| DeviceError::io("open", path, source))?;
    let zeros = ends_are_zeros(&file, path)?;
    let arguments = [Path::new("-p"), Path::new("-o"), Path::new("export"), path];
    let ended = run_tool(Tool::Blkid, &arguments, deadline)?;
    let entry = parse_entry(&ended.stdout);
    let signature = match ended.status.code() {
        Some(0) if !tells_only_of_the_table(&ended.stdout) => {
            refine(parse_blkid(&ended.stdout), &file, path)?
        }
        // 2 is also what blkid says when it can't read; then it complains, and above we could not have read either.
        Some(0 | 2) if ended.stderr.trim().is_empty() && zeros => Signature::Blank,
        Some(0 | 2) if ended.stderr.trim().is_empty() => unfinished_or_unknown(&file, path)?,
        Some(8) => Signature::Ambivalent,
        Some(_) | None => return Err(failure(Tool::Blkid, &ended)),
    };
    Ok((signature, entry))
}

/// Of a partition blkid tells what its disk's table says of it, also where nothing lies on the partition itself.
fn tells_only_of_the_table(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.all(|line| line.starts_with("DEVNAME=") || line.starts_with("PART_ENTRY_"))
}

fn parse_entry(text: &str) -> Option<PartitionEntry> {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    };
    Some(PartitionEntry { table: value("PART_ENTRY_SCHEME")?, kind: value("PART_ENTRY_TYPE")? })
}

/// blkid takes an xfs whose mkfs was killed for a whole one.
fn refine(found: Signature, file: &File, path: &Path) -> Result<Signature, DeviceError> {
    match found {
        Signature::Filesystem { fs: FsType::Xfs, uuid } => {
            match superblock::read_superblock(file, path)? {
                Some(Superblock { unfinished: true, .. }) => {
                    Ok(Signature::Unfinished { fs: FsType::Xfs, uuid })
                }
                Some(_) | None => Ok(found),
            }
        }
        Signature::NotProbed
        | Signature::Blank
        | Signature::Unrecognized
        | Signature::Filesystem { .. }
        | Signature::Unfinished { .. }
        | Signature::Other { .. }
        | Signature::Ambivalent => Ok(found),
    }
}

fn unfinished_or_unknown(file: &File, path: &Path) -> Result<Signature, DeviceError> {
    Ok(match superblock::read_superblock(file, path)? {
        Some(Superblock { fs, uuid, unfinished: true, .. }) => Signature::Unfinished { fs, uuid },
        Some(_) | None => Signature::Unrecognized,
    })
}

fn ends_are_zeros(file: &File, path: &Path) -> Result<bool, DeviceError> {
    let length = seek(file, SeekFrom::End(0))
        .map_err(|errno| DeviceError::io("find the end of", path, errno))?;
    let mut buffer = vec![0u8; usize::try_from(length.min(MIB)).unwrap_or_default()];
    for at in [0, length.saturating_sub(MIB)] {
        file.read_exact_at(&mut buffer, at)
            .map_err(|source| DeviceError::io("read", path, source))?;
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `KEY=value` lines of `blkid -o export`.
fn parse_blkid(text: &str) -> Signature {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    };
    let uuid = value("UUID").or_else(|| value("PTUUID"));
    let fs = value("TYPE").and_then(|kind| kind.parse::<FsType>().ok());
    let fs_uuid = uuid.as_ref().and_then(|uuid| uuid.parse::<FsUuid>().ok());
    if let (Some(fs), Some(uuid)) = (fs, fs_uuid) {
        return Signature::Filesystem { fs, uuid };
    }
    let kind =
        value("TYPE").or_else(|| value("PTTYPE").map(|kind| format!("{kind} partition table")));
    Signature::Other { kind: kind.unwrap_or_else(|| "unnamed signature".to_owned()), uuid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_blkid_exports_is_read() {
        let text = "DEVNAME=/dev/loop0\nUUID=0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c\nBLOCK_SIZE=4096\nTYPE=xfs\nUSAGE=filesystem\n";
        let uuid: FsUuid = "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap();
        assert_eq!(parse_blkid(text), Signature::Filesystem { fs: FsType::Xfs, uuid });
        let lvm = parse_blkid("UUID=ab-cd\nTYPE=LVM2_member\n");
        assert_eq!(lvm.to_string(), "LVM2_member ab-cd");
        let table = parse_blkid("PTUUID=77\nPTTYPE=gpt\n");
        assert_eq!(table.to_string(), "gpt partition table 77");
        assert_eq!(
            parse_blkid("TYPE=xfs\n").to_string(),
            "xfs",
            "a filesystem of ours needs a UUID"
        );
    }

    #[test]
    fn what_the_table_says_of_a_partition_is_nothing_that_lies_on_it() {
        let table = "DEVNAME=/dev/sda1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_TYPE=0fc63daf-8483-4772-8e79-3d69d8477de4\nPART_ENTRY_NUMBER=1\n";
        assert!(tells_only_of_the_table(table));
        assert!(!tells_only_of_the_table(&format!("{table}TYPE=ext4\n")));
        assert!(!tells_only_of_the_table(&format!("{table}PTTYPE=dos\n")));
        let entry = parse_entry(table).unwrap();
        assert_eq!(entry.table, "gpt");
        assert_eq!(entry.kind, "0fc63daf-8483-4772-8e79-3d69d8477de4");
        assert_eq!(parse_entry("TYPE=ext4\n"), None);
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_not_blank() {
        let deadline = Deadline::after(std::time::Duration::from_secs(60));
        assert!(probe_signature(Path::new("/dev/terrace-no-such"), deadline).is_err());
    }
}
