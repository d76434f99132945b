//! What a volume is made of: filesystem or raw block, reserved or sparse, and the size rules of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Bytes, KIB, MIB};

/// The filesystems Terrace makes and grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsType {
    /// ext4: grows offline anywhere, online only with `CAP_SYS_RESOURCE`.
    Ext4,
    /// XFS: the default of the file backend.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl FsType {
    /// Every filesystem, in the order they are listed to people.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// The name the kernel, mkfs and blkid use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest device its mkfs accepts: xfs since xfsprogs 5.19 refuses less than 300 MiB; btrfs 109 MiB measured with btrfs-progs 6.2.
    #[must_use]
    pub const fn least(self) -> Bytes {
        match self {
            Self::Ext4 => Bytes::mib(16),
            Self::Xfs => Bytes::mib(300),
            Self::Btrfs => Bytes::mib(109),
        }
    }

    /// The least that a filesystem spans when it has been grown as far as a device of that size lets it.
    ///
    /// The kernel drops a last allocation group that is too small to be one: xfs below 64 blocks; ext4 below a group's own tables (under 8 MiB with
    /// the 128 MiB groups our mkfs makes); btrfs rounds down to 64 KiB. Compared with the geometry, never with what statvfs leaves to users.
    #[must_use]
    pub const fn reachable(self, device: Bytes) -> Bytes {
        match self {
            Self::Ext4 => {
                let last_group = device.0 % (128 * MIB);
                let dropped = if last_group < 8 * MIB { last_group } else { 0 };
                Bytes((device.0 - dropped) / 4096 * 4096)
            }
            Self::Xfs => Bytes(device.0.saturating_sub(256 * KIB)),
            Self::Btrfs => Bytes(device.0 / (64 * KIB) * (64 * KIB)),
        }
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FsType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|fs| fs.as_str() == text).ok_or(())
    }
}

/// How the volume is handed to a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VolumeMode {
    /// A directory of a filesystem that Terrace makes.
    Filesystem {
        /// Which one.
        fs: FsType,
    },
    /// The bare block device. Never formatted.
    Block,
}

impl VolumeMode {
    /// The smallest image.
    #[must_use]
    pub const fn least(self) -> Bytes {
        match self {
            Self::Filesystem { fs } => fs.least(),
            Self::Block => Bytes::mib(1),
        }
    }

    /// The sector size its loop device shows. 4096 for a filesystem: direct I/O then works on every disk, and the same image mounts after a move to a 4Kn one.
    /// 512 for raw block: disk images with a partition table are made for it.
    #[must_use]
    pub const fn sector(self) -> SectorSize {
        match self {
            Self::Filesystem { .. } => SectorSize::B4096,
            Self::Block => SectorSize::B512,
        }
    }
}

impl fmt::Display for VolumeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filesystem { fs } => write!(f, "filesystem:{fs}"),
            Self::Block => f.write_str("block"),
        }
    }
}

impl FromStr for VolumeMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("filesystem", fs)) => Ok(Self::Filesystem { fs: fs.parse()? }),
            Some(_) => Err(()),
            None if text == "block" => Ok(Self::Block),
            None => Err(()),
        }
    }
}

/// Whether the image's space is taken from the pool at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// `fallocate`d: the pool can never run out under it. Its loop device takes no discards, which would give space back.
    Reserved,
    /// Grows as it is written; only in a pool with overprovisioning.
    Sparse,
}

impl Allocation {
    /// The word in the tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Sparse => "sparse",
        }
    }
}

/// Whether writing is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Reads and writes.
    ReadWrite,
    /// Reads only.
    ReadOnly,
}

/// What happens to the bytes before an image is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Erase {
    /// The file is unlinked.
    No,
    /// Zeros are written over every byte, around the page cache, then the file is unlinked. On a filesystem that never overwrites in place
    /// (btrfs, a reflinked image, most flash behind its translation layer) the old blocks may live on until they are reused.
    Zeros,
}

/// The logical sector size of a loop device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SectorSize {
    /// 512 bytes.
    B512,
    /// 4096 bytes.
    B4096,
}

impl SectorSize {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_filesystem_may_miss_only_what_cannot_be_a_group() {
        let size = Bytes::mib(128 * 3 + 5);
        assert_eq!(FsType::Ext4.reachable(size), Bytes::mib(128 * 3));
        assert_eq!(FsType::Ext4.reachable(Bytes::mib(400)), Bytes::mib(400));
        assert_eq!(FsType::Xfs.reachable(Bytes::mib(300)), Bytes(300 * MIB - 256 * KIB));
        for fs in FsType::ALL {
            assert!(fs.reachable(Bytes::gib(2)) > Bytes::mib(2047), "{fs}");
        }
    }

    #[test]
    fn modes_are_read_back_as_they_are_written() {
        for mode in [
            VolumeMode::Block,
            VolumeMode::Filesystem { fs: FsType::Ext4 },
            VolumeMode::Filesystem { fs: FsType::Xfs },
            VolumeMode::Filesystem { fs: FsType::Btrfs },
        ] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for text in ["", "filesystem", "filesystem:", "filesystem:zfs", "block:", "Block"] {
            assert_eq!(text.parse::<VolumeMode>(), Err(()), "{text}");
        }
    }
}
