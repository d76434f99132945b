//! Naming a block device in a step: by what it is of, or by its number where that is all it is.

use std::fmt;
use std::path::PathBuf;

use crate::DevT;
use crate::lvm::{LvUuid, VgUuid};

/// A block device, named so that a re-used number can't be mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceRef {
    /// The loop device whose backing file this image is.
    LoopOf {
        /// The image.
        image: PathBuf,
    },
    /// A disk.
    Disk {
        /// Its node.
        path: PathBuf,
        /// The number the node must have.
        dev_t: DevT,
    },
    /// A logical volume that is active. Found by both UUIDs; which number it got is looked up as with a loop device.
    Lv {
        /// Its group.
        group: VgUuid,
        /// Which.
        lv: LvUuid,
        /// Its name, for people.
        name: String,
    },
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoopOf { image } => write!(f, "the loop device of {}", image.display()),
            Self::Disk { path, dev_t } => write!(f, "{} ({dev_t})", path.display()),
            Self::Lv { group, lv: _, name } => {
                write!(f, "logical volume {name} of volume group {group}")
            }
        }
    }
}
