//! What a step answers, and the tools a backend needs. Facts only.

use std::fmt;

use serde::Serialize;

/// What executing a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum StepDone {
    /// The host was changed.
    Changed,
    /// It was already so; nothing was touched.
    Already,
}

/// A program of its own that a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Tool {
    /// `blkid` (util-linux): the only judge of "blank".
    Blkid,
    /// `wipefs` (util-linux).
    Wipefs,
    /// `mkfs.ext4` (e2fsprogs).
    MkfsExt4,
    /// `mkfs.xfs` (xfsprogs).
    MkfsXfs,
    /// `mkfs.btrfs` (btrfs-progs).
    MkfsBtrfs,
    /// `e2fsck` (e2fsprogs).
    E2fsck,
    /// `resize2fs` (e2fsprogs): ext4 offline only.
    Resize2fs,
    /// `lvm` (lvm2): whatever LVM keeps in its own metadata.
    Lvm,
    /// `smartctl` (smartmontools): the only one who knows what disks say of their health.
    Smartctl,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Blkid,
        Self::Wipefs,
        Self::MkfsExt4,
        Self::MkfsXfs,
        Self::MkfsBtrfs,
        Self::E2fsck,
        Self::Resize2fs,
        Self::Lvm,
        Self::Smartctl,
    ];

    /// The program's name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Blkid => "blkid",
            Self::Wipefs => "wipefs",
            Self::MkfsExt4 => "mkfs.ext4",
            Self::MkfsXfs => "mkfs.xfs",
            Self::MkfsBtrfs => "mkfs.btrfs",
            Self::E2fsck => "e2fsck",
            Self::Resize2fs => "resize2fs",
            Self::Lvm => "lvm",
            Self::Smartctl => "smartctl",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}
