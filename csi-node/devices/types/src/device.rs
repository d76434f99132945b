//! A block device as the node sees it, and what was found on it. Facts only: whether it may be used is for a plan to say.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::{Bytes, DevT, DeviceFacts, FsType, FsUuid, Stack};

/// What a device or image carries, as `blkid -p` (all probers, no cache) says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Signature {
    /// Nobody looked.
    NotProbed,
    /// Nothing blkid knows, and the first and last MiB are zeros.
    Blank,
    /// Nothing blkid knows, but not zeros: an interrupted mkfs, or data in a form nobody here can name.
    Unrecognized,
    /// One of our filesystems, whole.
    Filesystem {
        /// Which.
        fs: FsType,
        /// Its UUID.
        uuid: FsUuid,
    },
    /// A filesystem of ours whose mkfs did not come to its end (xfs: `sb_inprogress`; btrfs: its temporary magic).
    Unfinished {
        /// Which.
        fs: FsType,
        /// The UUID it was to have.
        uuid: FsUuid,
    },
    /// Anything else: another filesystem, a partition table, LVM, RAID, LUKS, swap.
    Other {
        /// What blkid calls it (`TYPE`, else `PTTYPE`).
        kind: String,
        /// Its UUID as text, when it has one.
        uuid: Option<String>,
    },
    /// blkid found more than one and would not choose.
    Ambivalent,
}

/// The words StorageNode shows and `erase[].found` must repeat exactly.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotProbed => f.write_str("not probed"),
            Self::Blank => f.write_str("blank"),
            Self::Unrecognized => f.write_str("unrecognized data"),
            Self::Filesystem { fs, uuid } => write!(f, "{fs} {uuid}"),
            Self::Unfinished { fs, uuid } => write!(f, "unfinished {fs} {uuid}"),
            Self::Other { kind, uuid: Some(uuid) } => write!(f, "{kind} {uuid}"),
            Self::Other { kind, uuid: None } => f.write_str(kind),
            Self::Ambivalent => f.write_str("several signatures"),
        }
    }
}

/// One way in which a device is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum DeviceUse {
    /// Another block device stands on it (`/sys/block/*/holders`: dm, md, bcache).
    Holder {
        /// That device's kernel name.
        name: String,
        /// What it makes of it, where the kernel says.
        as_what: Option<Stack>,
    },
    /// It has partitions.
    Partition {
        /// The partition's kernel name.
        name: String,
    },
    /// It is mounted.
    Mounted {
        /// Where.
        at: PathBuf,
    },
    /// It is swap.
    Swap,
    /// Somebody holds it exclusively (`O_EXCL` says EBUSY).
    Claimed,
}

impl fmt::Display for DeviceUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder { name, as_what: Some(stack) } => write!(f, "held by {name} ({stack})"),
            Self::Holder { name, as_what: None } => write!(f, "held by {name}"),
            Self::Partition { name } => write!(f, "partitioned ({name})"),
            Self::Mounted { at } => write!(f, "mounted at {}", at.display()),
            Self::Swap => f.write_str("used as swap"),
            Self::Claimed => f.write_str("claimed by another program"),
        }
    }
}

/// What sort of block device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DeviceKind {
    /// A whole disk (also dm and md devices).
    Disk,
    /// A partition.
    Partition,
    /// A loop device that is not a volume of ours. Only an explicit id may choose it, never a selector.
    Loop,
}

/// A whole disk, a partition, or somebody's loop device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceView {
    /// What sort it is.
    pub kind: DeviceKind,
    /// What StoragePool.spec.devices names it by: the first of its `/dev/disk/by-id` names, else `wwn-…`, else `serial-…`, else the kernel name;
    /// a loop device by its file (`loop:/path`), since its number is re-used.
    pub id: String,
    /// The device node, such as `/dev/sdb`.
    pub path: PathBuf,
    /// Its number: what is re-checked before anything is written.
    pub dev_t: DevT,
    /// Its size.
    pub size: Bytes,
    /// The model, when the driver says.
    pub model: Option<String>,
    /// The serial number, when the driver says.
    pub serial: Option<String>,
    /// The world-wide name, when the driver says.
    pub wwn: Option<String>,
    /// Whether it turns.
    pub rotational: bool,
    /// Logical sector size in bytes.
    pub logical_sector: u32,
    /// Physical sector size in bytes.
    pub physical_sector: u32,
    /// Whether the kernel lets nobody write.
    pub read_only: bool,
    /// Whether it can be pulled out.
    pub removable: bool,
    /// What else the kernel tells.
    pub facts: DeviceFacts,
    /// What is on it.
    pub signature: Signature,
    /// Who uses it. Empty: nobody.
    pub uses: Vec<DeviceUse>,
}
