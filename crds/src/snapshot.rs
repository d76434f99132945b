//! StorageSnapshot: one point-in-time copy of a volume, on the same node and pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Size;
use crate::volume::{Assignment, FsType, VolumeMode};

/// Identity of a snapshot, of the volume it is a copy of, and of the group it was taken with.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "terrace.storage",
    version = "v1alpha1",
    kind = "StorageSnapshot",
    plural = "storagesnapshots",
    shortname = "ssnap",
    category = "storage",
    status = "StorageSnapshotStatus",
    derive = "PartialEq",
    doc = "A point-in-time copy of a StorageVolume, on the same node. Made for a VolumeSnapshot by the CSI driver; deleted by deleting that.",
    selectable = ".spec.assignment.node",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.sourceVolume"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.assignment.node"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".status.pool"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.capacity"),
    printcolumn(name = "Reserved", type_ = "string", json_path = ".status.reserved"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group.name", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.snapshotUUID == oldSelf.snapshotUUID && self.sourceVolume == oldSelf.sourceVolume && self.sourceVolumeUUID == oldSelf.sourceVolumeUUID && self.capacity == oldSelf.capacity && self.volumeMode == oldSelf.volumeMode && has(self.fsType) == has(oldSelf.fsType) && (!has(self.fsType) || self.fsType == oldSelf.fsType) && has(self.csiName) == has(oldSelf.csiName) && (!has(self.csiName) || self.csiName == oldSelf.csiName) && has(self.group) == has(oldSelf.group) && (!has(self.group) || self.group == oldSelf.group)").message("what a snapshot is a copy of cannot change"),
    validation = Rule::new("!has(oldSelf.assignment) || (has(self.assignment) && self.assignment == oldSelf.assignment)").message("spec.assignment cannot change once it is set: a snapshot lies where its source lies"),
    validation = Rule::new("!has(oldSelf.deletion) || (has(self.deletion) && self.deletion == oldSelf.deletion)").message("spec.deletion cannot change"),
    validation = Rule::new("!has(self.deletion) || self.deletion.snapshotUUID == self.snapshotUUID").message("spec.deletion.snapshotUUID must be the snapshot's own UUID"),
    validation = Rule::new("(self.volumeMode == 'Filesystem') == has(self.fsType)").message("spec.fsType belongs to a Filesystem volume, and only to that")
)]
pub struct StorageSnapshotSpec {
    /// Identity of the copy: on the host object and here.
    #[serde(rename = "snapshotUUID")]
    #[schemars(length(min = 36, max = 36), regex(pattern = r"^[0-9a-f-]{36}$"))]
    pub snapshot_uuid: String,
    /// The name that the CSI caller gave, where it is not the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub csi_name: Option<String>,
    /// Name of the StorageVolume copied.
    #[schemars(length(min = 1, max = 63))]
    pub source_volume: String,
    /// UUID of the StorageVolume copied.
    #[serde(rename = "sourceVolumeUUID")]
    #[schemars(length(min = 36, max = 36), regex(pattern = r"^[0-9a-f-]{36}$"))]
    pub source_volume_uuid: String,
    /// Size of the volume copied: the least that a volume made from the snapshot can have.
    pub capacity: Size,
    /// Filesystem or raw block device.
    pub volume_mode: VolumeMode,
    /// Filesystem of a Filesystem volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<FsType>,
    /// The group that shows one moment, for a snapshot that was taken with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<SnapshotGroup>,
    /// Proof that the bytes may go: written by the CSI controller only, before it deletes this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<SnapshotDeletion>,
    /// Where the snapshot lies, as its source does: written by the operator only, its space reserved from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
}

/// Snapshots taken at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotGroup {
    /// Identity of the group.
    #[schemars(length(min = 36, max = 36), regex(pattern = r"^[0-9a-f-]{36}$"))]
    pub uuid: String,
    /// Name of the group: the CSI group snapshot id.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Names of all its StorageSnapshots, sorted: the node acts when it sees every one.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub members: Vec<String>,
}

/// The stamp that precedes destruction (I1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDeletion {
    /// UUID of the snapshot whose bytes may go.
    #[serde(rename = "snapshotUUID")]
    #[schemars(length(min = 36, max = 36))]
    pub snapshot_uuid: String,
    /// UUID of this deletion; names the quarantined host object.
    #[schemars(length(min = 36, max = 36))]
    pub id: String,
    /// When DeleteSnapshot asked.
    pub requested_at: Time,
}

/// How a snapshot fares. Written by its node; before it has one, by the operator.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageSnapshotStatus {
    /// Name of the pool that the snapshot lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Backend of that pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Host object: the path of the image, the subvolume or the logical volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The moment that the copy shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// Space of the pool that the copy may come to take, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Size>,
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
