//! StorageNode: what one node has, written by its agent only. It has no spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Size;
use crate::measured::ProbeStatus;
use crate::pool::PoolState;
use crate::volume::{FsType, VolumeMode};

/// Nothing is asked of a node.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "terrace.storage",
    version = "v1alpha1",
    kind = "StorageNode",
    plural = "storagenodes",
    shortname = "snode",
    category = "storage",
    status = "StorageNodeStatus",
    derive = "PartialEq",
    no_spec,
    doc = "Devices, pools and volumes of one node, named like the node; written by the node's agent.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Disks-Healthy",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"DisksHealthy\")].status"
    ),
    printcolumn(name = "Failing", type_ = "string", json_path = ".status.failingDisks"),
    printcolumn(name = "Pools", type_ = "integer", json_path = ".status.counts.pools"),
    printcolumn(name = "Volumes", type_ = "integer", json_path = ".status.counts.volumes"),
    printcolumn(name = "Devices", type_ = "integer", json_path = ".status.counts.devices"),
    printcolumn(name = "Orphans", type_ = "integer", json_path = ".status.counts.orphans"),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".status.kernel"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
pub struct StorageNodeSpec {}

/// What a node has.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageNodeStatus {
    /// UID of the namespace kube-system: marks what belongs to this cluster.
    #[serde(rename = "clusterUID", default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Kernel release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Lengths of the lists below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Block devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub devices: Vec<Device>,
    /// Ids of the disks that fail or that a pool lacks; `DisksHealthy` says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_disks: Option<String>,
    /// Pools on this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<NodePool>,
    /// Host objects that carry Terrace's tag, by volume UUID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uuid".into(), "state".into()]))]
    pub volumes: Vec<HostVolume>,
    /// Host objects that no StorageVolume or StorageSnapshot claims, or whose tag cannot be read, by UUID; the first
    /// of them where there are more than fit, `counts.orphans` has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uuid".into()]))]
    pub orphans: Vec<Orphan>,
    /// What the kernel and the tools here can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub facilities: Vec<Facility>,
    /// The probe that measures here; absent while none is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeStatus>,
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Lengths of a StorageNode's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Pools that are Ready.
    pub pools: u32,
    /// Host objects.
    pub volumes: u32,
    /// Block devices.
    pub devices: u32,
    /// Orphans, also those that the list has no place for.
    #[serde(default)]
    pub orphans: u32,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Lasting id: by-id name, else WWN or serial, else the kernel's name.
    pub id: String,
    /// Path now; may change at the next boot.
    pub path: String,
    /// Size.
    pub size: Size,
    /// Model, where the device tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number, where the device tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name, where the device tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// How it is connected: `nvme`, `nvme-of`, `ata`, `sas`, `fc`, `iscsi`, `usb`, `mmc`, `virtio`, `scsi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Spinning or not.
    pub rotational: bool,
    /// Bytes of its sectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sectors: Option<SectorSizes>,
    /// What a discard frees at least; absent where it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard: Option<Size>,
    /// `write back`: a write is on the medium after a flush; `write through`: when it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<String>,
    /// The part of a disk that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// What it is made of: `multipath mpatha of sdb, sdc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<String>,
    /// Signature found on it, as `erase[].found` would name it; absent on a blank device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Who uses it: a mount point, a holder, swap, or a pool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use_by: Option<String>,
    /// What is known for and against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<DeviceHealth>,
}

/// How a disk fares, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceHealth {
    /// Whether the kernel lets nobody write to it.
    #[serde(default)]
    pub read_only: bool,
    /// Failed reads and writes since the boot, as far as the kernel's log reaches; at least so many from eight on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_errors: Option<u32>,
    /// Its own verdict (SMART).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart_passed: Option<bool>,
    /// Sectors that it cannot read, or pieces that an NVMe disk lost (SMART).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable_sectors: Option<u32>,
    /// Percent of its life that is used up; may pass 100 (SMART).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worn_percent: Option<u32>,
    /// What speaks against it, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Bytes of a device's sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SectorSizes {
    /// Smallest piece that it reads and writes.
    pub logical: u32,
    /// Piece that its medium writes.
    pub physical: u32,
}

/// The part of a disk that a partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Partition {
    /// The disk's name now.
    pub disk: String,
    /// Number in the table.
    pub number: u32,
    /// Kind of table: `gpt`, `dos`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Its type: a GUID, or a number such as `0x83`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A pool on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// Name of the StoragePool.
    pub name: String,
    /// UUID of the pool on this node; absent until it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Tier it counts as.
    pub tier: String,
    /// Backend.
    pub backend: String,
    /// State.
    pub state: PoolState,
    /// Bytes that volumes may take in all, overprovision apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Size>,
    /// Bytes free on the disk below now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Size>,
    /// Percent of a thin pool's metadata in use, of all that its volume group can give to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_used: Option<u32>,
    /// What speaks against its disks, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<String>,
    /// Cause and remedy, where it is not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A host object that carries Terrace's tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostVolume {
    /// UUID of the volume or snapshot.
    pub uuid: String,
    /// Which of the two.
    #[serde(default, skip_serializing_if = "HostObjectKind::is_volume")]
    pub kind: HostObjectKind,
    /// Name of the StorageVolume or StorageSnapshot it was made for.
    pub name: String,
    /// UUID of the pool it lies on.
    #[serde(rename = "poolUUID")]
    pub pool_uuid: String,
    /// Space it may come to take: a volume's size, a snapshot's reservation.
    pub size: Size,
    /// State of the host object.
    pub state: HostVolumeState,
    /// What it is made of, where its tag can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<VolumeMode>,
    /// Filesystem of a Filesystem volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<FsType>,
}

/// What a host object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HostObjectKind {
    /// A volume.
    #[default]
    Volume,
    /// A snapshot.
    Snapshot,
}

impl HostObjectKind {
    /// What is meant where nothing is said.
    #[must_use]
    pub fn is_volume(&self) -> bool {
        matches!(self, Self::Volume)
    }
}

/// State of a host object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HostVolumeState {
    /// Being made.
    Creating,
    /// In service.
    Ready,
    /// Kept without a StorageVolume.
    Retained,
    /// On its way out, with proof.
    Quarantined,
    /// Its tag cannot be read; untouched.
    Unreadable,
}

/// How many orphans the list has place for.
pub const ORPHANS_LISTED: usize = 256;

/// A host object that no StorageVolume or StorageSnapshot claims, or whose tag cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// UUID of the volume or snapshot.
    pub uuid: String,
    /// Which of the two.
    pub kind: HostObjectKind,
    /// Name of the StorageVolume or StorageSnapshot it was made for; of an unreadable one the name of its file.
    pub name: String,
    /// UUID of the pool it lies on.
    #[serde(rename = "poolUUID")]
    pub pool_uuid: String,
    /// Space it may come to take: a volume's size, a snapshot's reservation.
    pub size: Size,
    /// Why it is listed.
    pub reason: OrphanReason,
    /// What it is, and what can be done about it.
    pub message: String,
}

/// Why a host object is an orphan.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum OrphanReason {
    /// Kept when its object went away without proof, or because that was asked for.
    Retained,
    /// In service, and no object names it.
    NoObject,
    /// Its tag cannot be read; untouched.
    Unreadable,
    /// Begun and never finished: the sweeper removes it when it may.
    Unfinished,
    /// On its way out, with proof: the sweeper removes it when it may.
    Quarantined,
}

impl OrphanReason {
    /// Every reason, in order.
    pub const ALL: [Self; 5] =
        [Self::Retained, Self::NoObject, Self::Unreadable, Self::Unfinished, Self::Quarantined];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retained => "Retained",
            Self::NoObject => "NoObject",
            Self::Unreadable => "Unreadable",
            Self::Unfinished => "Unfinished",
            Self::Quarantined => "Quarantined",
        }
    }
}

/// Something that the kernel or a tool here can or cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facility {
    /// Name: `xfs`, `mkfs.xfs`, `ext4-online-grow` ...
    pub name: String,
    /// Whether it is there.
    pub available: bool,
    /// Version, or what is missing and what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
