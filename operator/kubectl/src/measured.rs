//! What a node's agent tells of latencies (`/v1/latency`), as this plugin reads it, and passes it on as JSON. A field that it
//! does not know is passed over. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/latency`: the volumes that Pods of a node use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTable {
    /// Name of the node.
    pub node: String,
    /// Its probe.
    pub probe: Probe,
    /// Volumes of every CSI driver, whether anything is done on them or not.
    pub volumes: Vec<Volume>,
}

/// Whether the figures are fresh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Whether a probe is connected now.
    pub connected: bool,
    /// Its version, once it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The kernel it watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Ways to a volume that it cannot see.
    #[serde(default)]
    pub unobservable: Vec<String>,
}

/// A volume on a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The PersistentVolume.
    pub pv_name: String,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The CSI driver.
    pub driver: String,
    /// The claim's class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The StorageVolume, where it is one of Terrace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Names of the Pods of the node that use it, in the claim's namespace.
    #[serde(default)]
    pub pods: Vec<String>,
    /// What its p99 is to stay below, in nanoseconds.
    #[serde(default, rename = "targetP99Ns", skip_serializing_if = "Option::is_none")]
    pub target_p99_ns: Option<u64>,
    /// Whether it is above that; absent while nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<bool>,
    /// The last window with operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
}

/// Figures of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latest {
    /// When it ended.
    pub at: Timestamp,
    /// Its length in seconds.
    pub window_seconds: u64,
    /// The operations that happened in it.
    pub operations: Vec<Operation>,
    /// The last read or write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_access: Option<Timestamp>,
    /// Reads and writes a day.
    #[serde(default)]
    pub accesses_per_day: f64,
    /// Errors since the probe first saw the volume.
    #[serde(default)]
    pub errors: Errors,
}

/// One operation within a window; times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// `read`, `write`, `fsync` or `readdir`.
    pub operation: String,
    /// Operations a second.
    pub ops_per_second: f64,
    /// Bytes a second.
    #[serde(default)]
    pub bytes_per_second: f64,
    /// Mean.
    pub average_ns: u64,
    /// Median.
    #[serde(rename = "p50Ns")]
    pub p50_ns: u64,
    /// 95 of 100 were at most as slow.
    #[serde(rename = "p95Ns")]
    pub p95_ns: u64,
    /// 99 of 100 were at most as slow.
    #[serde(rename = "p99Ns")]
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// How many were slow.
    #[serde(default)]
    pub slow: u64,
    /// Their share, from 0 to 1.
    #[serde(default)]
    pub slow_share: f64,
}

/// Errors by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    /// EIO.
    pub eio: u64,
    /// EROFS.
    pub erofs: u64,
    /// ENOSPC.
    pub enospc: u64,
    /// EDQUOT.
    pub edquot: u64,
    /// Any other.
    pub other: u64,
}

/// `GET /v1/latency/{pv}`: all of a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// The volume as in the table.
    pub volume: Volume,
    /// One for each operation that ever happened.
    pub histograms: Vec<Histogram>,
}

/// Every latency of an operation since the probe first saw the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// `read`, `write`, `fsync` or `readdir`.
    pub operation: String,
    /// Operations.
    pub count: u64,
    /// Sum of all latencies.
    pub sum_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// Buckets with operations in them, fastest first.
    pub buckets: Vec<Bucket>,
}

/// Operations that took from `from_ns` to less than `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// From.
    pub from_ns: u64,
    /// To; the last bucket has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ns: Option<u64>,
    /// How many.
    pub count: u64,
}
