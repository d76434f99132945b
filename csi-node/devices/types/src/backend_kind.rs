//! The backends there are, as a value: what a pool says of itself and what a planner answers to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a pool keeps volumes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum BackendKind {
    /// An image file behind a loop device.
    #[default]
    File,
    /// A btrfs subvolume.
    Btrfs,
    /// A logical volume of LVM's.
    Lvm,
    /// A logical volume that takes of a thin pool of LVM's what is written to it.
    LvmThin,
}

impl BackendKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::File, Self::Btrfs, Self::Lvm, Self::LvmThin];

    /// The word in StoragePool.spec, pool file and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Btrfs => "btrfs",
            Self::Lvm => "lvm",
            Self::LvmThin => "lvmThin",
        }
    }

    /// What is meant where nothing is said.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File)
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BackendKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}
