//! What was seen of a volume group. Facts only.

use std::path::PathBuf;

use serde::Serialize;

use super::{LvUuid, PvUuid, VgUuid};
use crate::{Bytes, DevT, PoolFileReading, TagReading};

/// What a device says in LVM's own place on it; read without a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelView {
    /// The physical volume it is.
    pub pv: PvUuid,
    /// The group it is part of; none, if it is not, or keeps no metadata.
    pub group: Option<VgMark>,
}

/// A group as one of its devices knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VgMark {
    /// Which.
    pub uuid: VgUuid,
    /// Its name.
    pub name: String,
    /// It goes up with every change of the metadata: what was seen under a number holds for as long as the number stays.
    pub seqno: u64,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VgView {
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
    /// See [`VgMark::seqno`].
    pub seqno: u64,
    /// Physical volumes that are not there.
    pub missing: u64,
    /// What it says about the pool it is.
    pub pool: PoolFileReading,
    /// Its physical volumes.
    pub pvs: Vec<PvView>,
    /// Its logical volumes, LVM's own parts of them too.
    pub lvs: Vec<LvView>,
}

impl VgView {
    /// The logical volume of that name.
    #[must_use]
    pub fn lv(&self, name: &str) -> Option<&LvView> {
        self.lvs.iter().find(|lv| lv.name == name)
    }
}

/// A physical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PvView {
    /// Which.
    pub uuid: PvUuid,
    /// Its device, if it is there.
    pub device: Option<PathBuf>,
    /// What the group has of it.
    pub size: Bytes,
    /// Not given to any volume.
    pub free: Bytes,
    /// The size of the device; more than `size` by more than an extent where the device grew.
    pub device_size: Bytes,
    /// Whether it is not there, or was not there once and has not been taken back.
    pub missing: bool,
}

/// How a logical volume keeps its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum LvKind {
    /// One after the other.
    Linear,
    /// Spread over devices.
    Striped,
    /// In copies.
    Raid1,
    /// In a thin pool.
    Thin,
    /// A thin pool.
    ThinPool,
    /// Another way.
    Other {
        /// As LVM names its layout.
        layout: String,
    },
}

/// What LVM says of a logical volume that lies partly on a device that is missing.
pub const PARTIAL: &str = "partial";

/// Whether a logical volume is for use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LvScope {
    /// It stands for itself.
    Public,
    /// It is a part of another, or a pool of others.
    Private,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LvView {
    /// Which.
    pub uuid: LvUuid,
    /// Its name.
    pub name: String,
    /// Its size; a thin pool's is that for data.
    pub size: Bytes,
    /// How it keeps its bytes.
    pub kind: LvKind,
    /// Whether it is for use.
    pub scope: LvScope,
    /// The thin pool it is in.
    pub pool: Option<String>,
    /// What it was a copy of, for as long as that is there.
    pub origin: Option<String>,
    /// A thin pool's: the size of its metadata.
    pub metadata_size: Option<Bytes>,
    /// A thin pool's: what it gives out at a time.
    pub chunk: Option<Bytes>,
    /// A thin volume's number in its pool.
    pub thin_id: Option<u64>,
    /// A thin pool's: the number of the last change that LVM knows of.
    pub transaction: Option<u64>,
    /// Part of a thin pool or volume that holds data, in hundredths of a percent: at the moment of the look.
    pub data_used: Option<u32>,
    /// Part of a thin pool's metadata that is in use, in hundredths of a percent: at the moment of the look.
    pub metadata_used: Option<u32>,
    /// Part of the copies that are alike, in hundredths of a percent: at the moment of the look.
    pub synced: Option<u32>,
    /// What LVM says is wrong with it, such as `partial` or `refresh needed`.
    pub health: Option<String>,
    /// Whether only reading is allowed.
    pub read_only: bool,
    /// Whether activation passes it by if it is not told otherwise.
    pub skips_activation: bool,
    /// Its device, while it is active here.
    pub dev_t: Option<DevT>,
    /// Its LVM tags.
    pub tags: Vec<String>,
    /// What it says about itself.
    pub tag: TagReading,
}

impl LvView {
    /// Whether bytes of it are on a device that is missing. Copies go on with what is left of them.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.kind != LvKind::Raid1 && self.health.as_deref() == Some(PARTIAL)
    }
}
