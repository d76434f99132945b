//! The few superblock fields Terrace reads itself, without a command: which filesystem, its UUID, how much of its device it spans. Never a reason to destroy: that is blkid's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use terrace_device_types::{Bytes, FsType, FsUuid};

use crate::DeviceError;

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) fs: FsType,
    pub(crate) uuid: FsUuid,
    pub(crate) spans: Bytes,
    /// xfs, btrfs: mkfs did not come to its end.
    pub(crate) unfinished: bool,
}

const BTRFS_AT: usize = 64 * 1024;
const EXT4_AT: usize = 1024;

/// The superblock of one of our filesystems, if there is one.
pub(crate) fn read_superblock(file: &File, path: &Path) -> Result<Option<Superblock>, DeviceError> {
    let mut head = vec![0u8; BTRFS_AT + 4096];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(parse_superblock(&head)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(DeviceError::io("read", path, source)),
    }
}

fn parse_superblock(head: &[u8]) -> Option<Superblock> {
    parse_xfs(head)
        .or_else(|| parse_ext4(head.get(EXT4_AT..)?))
        .or_else(|| parse_btrfs(head.get(BTRFS_AT..)?))
}

fn array<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

fn uuid(from: &[u8], at: usize) -> Option<FsUuid> {
    Some(FsUuid(uuid::Uuid::from_bytes(array(from, at)?)))
}

/// `struct xfs_dsb`, big endian.
fn parse_xfs(sb: &[u8]) -> Option<Superblock> {
    if array(sb, 0)? != *b"XFSB" {
        return None;
    }
    let block = u64::from(u32::from_be_bytes(array(sb, 4)?));
    let blocks = u64::from_be_bytes(array(sb, 8)?);
    let unfinished = array::<1>(sb, 126)? != [0];
    let spans = Bytes(block.checked_mul(blocks)?);
    Some(Superblock { fs: FsType::Xfs, uuid: uuid(sb, 32)?, spans, unfinished })
}

/// `struct ext4_super_block`, little endian; with an extents feature, so that an ext2 or ext3 is not taken for ours.
fn parse_ext4(sb: &[u8]) -> Option<Superblock> {
    const EXTENTS: u32 = 0x40;
    let incompat = u32::from_le_bytes(array(sb, 0x60)?);
    if array(sb, 0x38)? != [0x53, 0xEF] || incompat & EXTENTS == 0 {
        return None;
    }
    let low = u64::from(u32::from_le_bytes(array(sb, 4)?));
    let high = u64::from(u32::from_le_bytes(array(sb, 0x150)?));
    let block = 1024u64.checked_shl(u32::from_le_bytes(array(sb, 24)?))?;
    let spans = Bytes((high << 32 | low).checked_mul(block)?);
    Some(Superblock { fs: FsType::Ext4, uuid: uuid(sb, 0x68)?, spans, unfinished: false })
}

/// `struct btrfs_super_block`, little endian. mkfs.btrfs writes another magic first (`BTRFS_MAGIC_TEMPORARY`), and the true one when it
/// is done; before either, the disk's ends are zeros.
fn parse_btrfs(sb: &[u8]) -> Option<Superblock> {
    let unfinished = match &array(sb, 64)? {
        b"_BHRfS_M" => false,
        b"!BHRfS_M" => true,
        _ => return None,
    };
    let spans = Bytes(u64::from_le_bytes(array(sb, 112)?));
    Some(Superblock { fs: FsType::Btrfs, uuid: uuid(sb, 32)?, spans, unfinished })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn zeros_are_no_superblock() {
        assert_eq!(parse_superblock(&[0; BTRFS_AT + 4096]), None);
    }

    #[test]
    fn an_xfs_in_progress_says_so() {
        let mut head = vec![0u8; BTRFS_AT + 4096];
        head[..4].copy_from_slice(b"XFSB");
        head[4..8].copy_from_slice(&4096u32.to_be_bytes());
        head[8..16].copy_from_slice(&100u64.to_be_bytes());
        head[126] = 1;
        let found = parse_superblock(&head).unwrap();
        assert_eq!((found.fs, found.spans, found.unfinished), (FsType::Xfs, Bytes(409_600), true));
    }

    proptest! {
        #[test]
        fn garbage_behind_a_magic_never_panics(
            noise in prop::collection::vec(any::<u8>(), 512),
            length in 0usize..512,
        ) {
            let mut xfs = noise.clone();
            xfs[..4].copy_from_slice(b"XFSB");
            let mut ext4 = noise.clone();
            ext4[0x38..0x3a].copy_from_slice(&[0x53, 0xEF]);
            let mut btrfs = noise;
            btrfs[64..72].copy_from_slice(b"_BHRfS_M");
            let _ = (parse_xfs(&xfs[..length]), parse_ext4(&ext4[..length]), parse_btrfs(&btrfs[..length]));
            let _ = (parse_xfs(&xfs), parse_ext4(&ext4), parse_btrfs(&btrfs));
        }
    }
}
