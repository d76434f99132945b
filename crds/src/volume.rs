//! StorageVolume: one volume on the disks of one node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measured::{Access, VolumeLatency};
use crate::{Latency, Size};

/// One volume: what was asked for, where it lies, and how it fares.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "terrace.storage",
    version = "v1alpha1",
    kind = "StorageVolume",
    plural = "storagevolumes",
    shortname = "sv",
    category = "storage",
    status = "StorageVolumeStatus",
    derive = "PartialEq",
    doc = "A volume on the disks of a node. Made for a PVC by the CSI driver, or by a person who names the PVC to make; deleted by deleting the PVC.",
    selectable = ".spec.assignment.node",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Healthy",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Healthy\")].status"
    ),
    printcolumn(name = "Claim", type_ = "string", json_path = ".status.claim"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.assignment.node"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".status.pool"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".status.tier"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.capacity"),
    printcolumn(name = "Used", type_ = "string", json_path = ".status.usage.usedBytes"),
    printcolumn(name = "P99", type_ = "string", json_path = ".status.latency.p99"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.backend", priority = 1),
    printcolumn(name = "FSType", type_ = "string", json_path = ".spec.fsType", priority = 1),
    printcolumn(
        name = "Latency",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"LatencyHigh\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.pool) != has(self.tier)").message("name exactly one of spec.pool and spec.tier"),
    validation = Rule::new("!has(oldSelf.volumeUUID) || (has(self.volumeUUID) && self.volumeUUID == oldSelf.volumeUUID)").message("spec.volumeUUID cannot change"),
    validation = Rule::new("has(self.pool) == has(oldSelf.pool) && (!has(self.pool) || self.pool == oldSelf.pool)").message("spec.pool cannot change"),
    validation = Rule::new("has(self.tier) == has(oldSelf.tier) && (!has(self.tier) || self.tier == oldSelf.tier)").message("spec.tier cannot change"),
    validation = Rule::new("quantity(self.capacity).compareTo(quantity(oldSelf.capacity)) >= 0").message("spec.capacity cannot shrink"),
    validation = Rule::new("has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source)").message("spec.source cannot change"),
    validation = Rule::new("!has(oldSelf.assignment) || has(self.assignment)").message("spec.assignment cannot be taken back"),
    validation = Rule::new("!has(oldSelf.deletion) || (has(self.deletion) && self.deletion == oldSelf.deletion)").message("spec.deletion cannot change"),
    validation = Rule::new("!has(self.deletion) || (has(self.volumeUUID) && self.deletion.volumeUUID == self.volumeUUID)").message("spec.deletion.volumeUUID must be the volume's own UUID"),
    validation = Rule::new("self.volumeMode != 'Block' || !has(self.fsType)").message("a Block volume has no spec.fsType"),
    validation = Rule::new("self.volumeMode != 'Filesystem' || has(self.fsType) || (self.origin == 'Direct' && !has(self.assignment))").message("a Filesystem volume needs spec.fsType"),
    validation = Rule::new("self.origin != 'CSI' || has(self.volumeUUID)").message("a volume of origin CSI needs spec.volumeUUID"),
    validation = Rule::new("self.origin != 'Direct' || has(self.claimRef)").message("a volume of origin Direct needs spec.claimRef: the PersistentVolumeClaim to make for it"),
    validation = Rule::new("self.origin != 'Direct' || !has(self.csiName)").message("a volume of origin Direct has no spec.csiName"),
    validation = Rule::new("self.origin != 'Direct' || !has(self.source)").message("a volume of origin Direct has no spec.source: restore or clone with a PersistentVolumeClaim"),
    validation = Rule::new("!has(self.adopt) || self.origin == 'Direct'").message("spec.adopt is for a volume of origin Direct"),
    validation = Rule::new("!has(self.adopt) || !has(self.volumeUUID) || self.adopt == self.volumeUUID").message("spec.adopt must be the volume's own UUID")
)]
pub struct StorageVolumeSpec {
    /// Identity of the bytes: on the host object, in the PV's attributes, and here.
    #[serde(rename = "volumeUUID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36), regex(pattern = r"^[0-9a-f-]{36}$"))]
    pub volume_uuid: Option<String>,
    /// The name that the CSI caller gave, where it is not the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.csiName cannot change"))]
    pub csi_name: Option<String>,
    /// Who asked for the volume.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.origin cannot change"))]
    pub origin: Origin,
    /// The PersistentVolumeClaim that the volume is for. Of a Direct volume: the one to make, or one that is
    /// there, unbound and of class `terrace-direct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<ClaimRef>,
    /// Size of the volume's device; grows only.
    pub capacity: Size,
    /// Filesystem or raw block device.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.volumeMode cannot change"))]
    pub volume_mode: VolumeMode,
    /// Filesystem of a Filesystem volume. Left out of a Direct volume: the pool's own (xfs, btrfs on btrfs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.fsType cannot change"))]
    pub fs_type: Option<FsType>,
    /// Mount options beside those that Terrace sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub mount_options: Vec<String>,
    /// The StoragePool to lie on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pool: Option<String>,
    /// The tier to lie on: any pool of that tier will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub tier: Option<String>,
    /// Direct only: take into service the bytes that a node keeps under this volume UUID, instead of making a
    /// volume. The object must have the name they were made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36), regex(pattern = r"^[0-9a-f-]{36}$"))]
    pub adopt: Option<String>,
    /// What the volume began as a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<VolumeSource>>,
    /// Overwrite the bytes before they are given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase_on_delete: Option<bool>,
    /// The latency that the volume is to stay below. Above it the condition LatencyHigh turns True. Left out: the
    /// default of the probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_target: Option<LatencyTarget>,
    /// Proof that the bytes may go: written by the CSI controller only, before it deletes this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Box<Deletion>>,
    /// Where the volume lies: written by the operator only, its capacity reserved from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
}

/// Who asked for a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    /// The CSI controller, for a PVC.
    #[serde(rename = "CSI")]
    Csi,
    /// A person, by applying this object.
    Direct,
}

/// How a volume is given to a Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeMode {
    /// A mounted filesystem.
    #[default]
    Filesystem,
    /// A raw block device.
    Block,
}

/// Filesystems that a volume can carry.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum FsType {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs on the volume's device.
    Btrfs,
}

impl FsType {
    /// Every filesystem.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// The name on the wire and for mount(2).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// The latency that a volume is to stay below.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LatencyTarget {
    /// The 99th percentile, of any operation.
    pub p99: Latency,
}

impl From<Latency> for LatencyTarget {
    fn from(p99: Latency) -> Self {
        Self { p99 }
    }
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ClaimRef {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A snapshot or volume whose bytes another volume begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeSource {
    /// Which of the two.
    pub kind: SourceKind,
    /// Name of the StorageSnapshot or StorageVolume.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its UUID.
    #[schemars(length(min = 36, max = 36), regex(pattern = r"^[0-9a-f-]{36}$"))]
    pub uuid: String,
}

/// What a volume can be a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SourceKind {
    /// A StorageSnapshot.
    Snapshot,
    /// A StorageVolume.
    Volume,
}

/// The stamp that precedes destruction (I1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// UUID of the volume whose bytes may go.
    #[serde(rename = "volumeUUID")]
    #[schemars(length(min = 36, max = 36))]
    pub volume_uuid: String,
    /// UUID of this deletion; names the quarantined host object.
    #[schemars(length(min = 36, max = 36))]
    pub id: String,
    /// When DeleteVolume asked.
    pub requested_at: Time,
}

/// Where a volume lies.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.node == oldSelf.node").message("spec.assignment.node cannot change"))]
pub struct Assignment {
    /// The node.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The pool on that node, by its UUID in StorageNode.
    #[serde(rename = "poolUUID")]
    #[schemars(length(min = 36, max = 36))]
    pub pool_uuid: String,
    /// Bytes reserved there, where that is not `capacity`: of a Direct volume, whose `capacity` a person writes, and of
    /// one of origin CSI after a growth that its node had no room for. Its node makes and grows it to this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Size>,
}

/// How a volume fares. Each field has one writer: see `DESIGN` in the README.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageVolumeStatus {
    /// For people only: programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// `namespace/name` of the claim (operator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Name of the pool that the volume lies on (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Tier of that pool (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Backend of that pool (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Host object: the path of the image, the subvolume or the logical volume (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Size of the host object now (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Size>,
    /// UUID of the filesystem, once made: a mirror of the latch on the host (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<String>,
    /// Use of the filesystem when last looked at (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<Usage>>,
    /// What its operations take, as the probe measured it last (probe).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Box<VolumeLatency>>,
    /// When and how often it is used (probe).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Box<Access>>,
    /// What is going on now (node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Box<Operation>>,
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where a volume stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not made yet.
    Pending,
    /// Made, on no Pod.
    Ready,
    /// Mounted for a Pod.
    InUse,
    /// On its way out.
    Deleting,
    /// Kept on the host without its claim.
    Retained,
    /// Not to be repaired without a person.
    Failed,
}

/// Use of a filesystem, or of a sparse image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Bytes that the filesystem offers in all.
    pub total_bytes: Size,
    /// Bytes used.
    pub used_bytes: Size,
    /// Inodes that the filesystem offers in all; 0 where it makes them as needed.
    pub total_inodes: u64,
    /// Inodes used.
    pub used_inodes: u64,
}

/// An operation of the node on a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its id in the node's journal.
    pub id: String,
    /// What is being done: `create`, `grow`, `stage`, `delete` ...
    pub kind: String,
    /// The step it stands at, in prose.
    pub step: String,
    /// When it began.
    pub since: Time,
    /// How often it was tried.
    pub attempts: u32,
}
