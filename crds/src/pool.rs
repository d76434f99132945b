//! StoragePool: which disks or folders of which nodes volumes may lie on, and how.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Size;

/// Disks or a folder on each matching node, the backend that divides them, and the tier they count as.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "terrace.storage",
    version = "v1alpha1",
    kind = "StoragePool",
    plural = "storagepools",
    shortname = "spool",
    category = "storage",
    status = "StoragePoolStatus",
    derive = "PartialEq",
    doc = "Disks or a folder on each matching node, divided into volumes by one backend.",
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
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.backend"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodesReady"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.capacity"),
    printcolumn(name = "Free", type_ = "string", json_path = ".status.available"),
    printcolumn(name = "Volumes", type_ = "integer", json_path = ".status.volumes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.file), has(self.btrfs), has(self.lvm), has(self.lvmThin)].exists_one(named, named)").message("name exactly one backend: spec.file, spec.btrfs, spec.lvm or spec.lvmThin"),
    validation = Rule::new("!has(self.lvm) || (has(self.devices) && size(self.devices) > 0)").message("an lvm pool is a volume group on devices of its own: name them in spec.devices"),
    validation = Rule::new("!has(self.lvmThin) || (has(self.devices) && size(self.devices) > 0)").message("an lvmThin pool is a volume group on devices of its own: name them in spec.devices"),
    validation = Rule::new("!has(self.lvmThin) || !has(self.watermarks) || !has(self.watermarks.data) || self.watermarks.data <= 85").message("an lvmThin pool takes nothing new from 85 % on: spec.watermarks.data can only be lower"),
    validation = Rule::new("!has(self.watermarks) || !has(self.watermarks.metadata) || has(self.lvmThin)").message("spec.watermarks.metadata is for spec.lvmThin: other pools have no metadata of their own"),
    validation = Rule::new("!has(self.erase) || (has(self.devices) && size(self.devices) > 0)").message("spec.erase permits to wipe devices of the pool: name them in spec.devices"),
    validation = Rule::new("!has(self.btrfs) || has(self.btrfs.directory) != (has(self.devices) && size(self.devices) > 0)").message("a btrfs pool lies either in spec.btrfs.directory or on spec.devices: name exactly one"),
    validation = Rule::new("!has(self.btrfs) || !has(self.devices) || size(self.devices) <= 1").message("a btrfs pool takes one device for each node: make one pool for each device"),
    validation = Rule::new("!has(self.btrfs) || !has(oldSelf.btrfs) || has(self.btrfs.directory) == has(oldSelf.btrfs.directory)").message("a pool cannot change between spec.btrfs.directory and spec.devices"),
    validation = Rule::new("!has(self.file) || has(self.file.directory) != (has(self.devices) && size(self.devices) > 0)").message("a file pool lies either in spec.file.directory or on spec.devices: name exactly one"),
    validation = Rule::new("!has(self.file) || !has(self.devices) || size(self.devices) <= 1").message("a file pool takes one device for each node: make one pool for each device"),
    validation = Rule::new("has(self.file) == has(oldSelf.file) && has(self.btrfs) == has(oldSelf.btrfs) && has(self.lvm) == has(oldSelf.lvm)").message("the backend of a pool cannot change"),
    validation = Rule::new("!has(self.file) || !has(oldSelf.file) || has(self.file.directory) == has(oldSelf.file.directory)").message("a pool cannot change between spec.file.directory and spec.devices"),
    validation = Rule::new("!has(self.file) || !has(self.file.overprovision) || self.file.overprovision <= 1.0 || (has(self.watermarks) && has(self.watermarks.data))").message("spec.file.overprovision above 1 needs spec.watermarks.data: the share of the pool at which new volumes are refused")
)]
pub struct StoragePoolSpec {
    /// Labels of the nodes that take part; empty: every node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// The tier that the pool counts as, such as `ssd` or `hdd`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.tier cannot change"))]
    pub tier: String,
    /// Devices to take, as StorageNode lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub devices: Vec<DeviceChoice>,
    /// Backend: image files in a folder, or on a filesystem made on a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileBackend>,
    /// Backend: subvolumes of a btrfs folder, or of a btrfs made on a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btrfs: Option<BtrfsBackend>,
    /// Backend: logical volumes of a volume group that is made on all the devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lvm: Option<LvmBackend>,
    /// Backend: thin volumes of a volume group that is made on all the devices; with snapshots and clones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lvm_thin: Option<LvmThinBackend>,
    /// Devices with something on them that may be wiped, once: a device that is not blank is refused otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["device".into()]))]
    pub erase: Vec<Erasure>,
    /// Shares of the pool at which new volumes are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermarks: Option<Watermarks>,
}

/// Permission to wipe one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Id as StorageNode shows it.
    #[schemars(length(min = 1, max = 253))]
    pub device: String,
    /// What is on it, word for word as StorageNode shows it; if anything else is, nothing is wiped.
    #[schemars(length(min = 1, max = 253))]
    pub found: String,
}

/// A device by its id, or by what it is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.id) != has(self.selector)").message("a device is named by exactly one of id and selector"))]
pub struct DeviceChoice {
    /// Id as StorageNode shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub id: Option<String>,
    /// Properties that the device must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<DeviceSelector>,
}

/// Properties of a device; all that are named must hold.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.model) || has(self.rotational) || has(self.minSize)").message("a device selector names at least one of model, rotational and minSize"))]
pub struct DeviceSelector {
    /// Model as StorageNode shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub model: Option<String>,
    /// Spinning or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// Least size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
}

/// Image files behind loop devices.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileBackend {
    /// Folder on the node, below one of the chart's `node.poolDirectories`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/"))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("spec.file.directory cannot change"),
        validation = Rule::new("!self.contains('/../') && !self.endsWith('/..')").message("spec.file.directory may not contain '..'")
    )]
    pub directory: Option<String>,
    /// Sum of volume sizes over the pool's size; above 1 images are sparse. Default 1: every byte is allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub overprovision: Option<f64>,
}

/// Subvolumes with a quota group each.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BtrfsBackend {
    /// Folder of a btrfs filesystem on the node, below one of the chart's `node.poolDirectories`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/"))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("spec.btrfs.directory cannot change"),
        validation = Rule::new("!self.contains('/../') && !self.endsWith('/..')").message("spec.btrfs.directory may not contain '..'")
    )]
    pub directory: Option<String>,
}

/// Logical volumes, each with all of its space from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LvmBackend {}

/// Thin volumes: each takes of the pool what was written to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LvmThinBackend {
    /// Sum of the sizes of volumes and snapshots over the pool's size. Default 1: all of them fit, whatever is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub overprovision: Option<f64>,
}

/// Shares in percent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watermarks {
    /// Share of the pool's bytes in use at which new volumes are refused. Default with lvmThin: 85, from which on it takes no snapshot and lets no volume grow either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub data: Option<u8>,
    /// Share of a thin pool's metadata in use at which new volumes are refused. Default 70, from which on it takes no snapshot and lets no volume grow either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 70))]
    pub metadata: Option<u8>,
}

/// How a pool fares on all its nodes. Written by the operator, summed from the StorageNodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoragePoolStatus {
    /// Backend in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// `ready/matching` nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_ready: Option<String>,
    /// Size on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Size>,
    /// What new volumes can still take, on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<Size>,
    /// Volumes assigned to the pool.
    #[serde(default)]
    pub volumes: u32,
    /// The pool on each node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["node".into()]))]
    pub nodes: Vec<PoolOnNode>,
    /// What holds and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A pool on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolOnNode {
    /// The node.
    pub node: String,
    /// State there.
    pub state: PoolState,
    /// Size there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Size>,
    /// What new volumes can still take there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<Size>,
    /// Cause and remedy, where it is not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// State of a pool on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PoolState {
    /// Takes volumes.
    Ready,
    /// Not usable as asked for: the message says what was found.
    Refused,
    /// Belongs to another cluster; untouched.
    Foreign,
    /// Was there and cannot be found now.
    Missing,
}
