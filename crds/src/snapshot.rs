//! StorageSnapshot: one point-in-time copy of a volume, on the same node.
//! No engine makes snapshots yet, so an admission policy refuses new objects; the kind is here so that its name and identity are fixed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Identity of a snapshot and of the volume it is a copy of.
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
    doc = "A point-in-time copy of a StorageVolume, on the same node.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.sourceVolume"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec cannot change"))]
pub struct StorageSnapshotSpec {
    /// Identity of the copy.
    #[serde(rename = "snapshotUUID")]
    #[schemars(length(min = 36, max = 36))]
    pub snapshot_uuid: String,
    /// Name of the StorageVolume copied.
    #[schemars(length(min = 1, max = 63))]
    pub source_volume: String,
    /// UUID of the StorageVolume copied.
    #[serde(rename = "sourceVolumeUUID")]
    #[schemars(length(min = 36, max = 36))]
    pub source_volume_uuid: String,
}

/// How a snapshot fares.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageSnapshotStatus {
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
