//! What a look shows of a pool on a volume group, and of a volume in one. Facts only.

use std::path::PathBuf;

use serde::Serialize;

use super::{LabelView, LvKind, LvUuid, ThinPoolStatus, VgUuid, VgView};
use crate::{Bytes, DevT, DeviceView, Signature, TagReading, Wipe};

/// The group that a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Which.
    pub uuid: VgUuid,
    /// Its name.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// Not given to any volume.
    pub free: Bytes,
    /// What it gives out at a time.
    pub extent: Bytes,
    /// Physical volumes that are not there.
    pub missing: u64,
    /// The thin pool in it, if there is one.
    pub thin: Option<ThinView>,
}

/// A group's thin pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThinView {
    /// Its size for data.
    pub size: Bytes,
    /// Its size for metadata.
    pub metadata_size: Bytes,
    /// The size of what the group keeps back for a repair of the metadata.
    pub spare: Bytes,
    /// What it gives out at a time.
    pub chunk: Bytes,
    /// The number of the last change that LVM knows of.
    pub transaction: Option<u64>,
    /// The sum of the sizes of its volumes and snapshots.
    pub promised: Bytes,
    /// What the kernel says of it at this moment; none: it is not active.
    pub status: Option<ThinPoolStatus>,
}

/// A logical volume beside an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LvSeen {
    /// The pool's group.
    pub group: VgUuid,
    /// Its name, for people.
    pub group_name: String,
    /// The logical volume of the entry's name; `None`: the group has none (a crash came before it, or after it had gone).
    pub lv: Option<LvObject>,
}

/// A logical volume and its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LvObject {
    /// Which.
    pub uuid: LvUuid,
    /// Its name.
    pub name: String,
    /// Its size, as LVM has written it down.
    pub size: Bytes,
    /// How it keeps its bytes.
    pub kind: LvKind,
    /// What LVM keeps of its tag: that of the moment it was made.
    pub tag: TagReading,
    /// What LVM says is wrong with it, such as `partial`.
    pub health: Option<String>,
    /// Its device, while it is active.
    pub device: Option<LvDevice>,
}

/// The device of an active logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LvDevice {
    /// Its node.
    pub path: PathBuf,
    /// Its number, good for as long as it stays active.
    pub dev_t: DevT,
    /// Its size.
    pub size: Bytes,
    /// How many have it open: mounts, programs, other devices.
    pub open: u32,
    /// Whether whoever uses it waits.
    pub suspended: bool,
    /// Whether it takes no writes.
    pub read_only: bool,
    /// Bytes of its thin pool that it holds.
    pub mapped: Option<Bytes>,
}

/// The devices that a pool names, and what is on them of LVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlace {
    /// Those named, as far as they are there.
    pub devices: Vec<GroupDevice>,
    /// The group on any of them that has the pool's name; what it says about itself is in it.
    pub group: Option<VgView>,
    /// The logical volume of the pool's folder, if the group has one with the group's tag.
    pub folder: Option<FolderView>,
    /// Logical volumes of ours without a device, by name.
    pub inactive: Vec<String>,
    /// How many devices a killed lvm left suspended, or of no volume.
    pub leftovers: usize,
}

/// One device that a pool names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDevice {
    /// The device.
    pub device: DeviceView,
    /// Permission to wipe what is on it.
    pub wipe: Wipe,
    /// What it says in LVM's own place on it.
    pub label: Option<LabelView>,
}

/// The logical volume of a pool's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderView {
    /// Which.
    pub uuid: LvUuid,
    /// Its device, while it is active.
    pub device: Option<LvDevice>,
    /// What is on it.
    pub signature: Signature,
}
