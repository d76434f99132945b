//! Latency over HTTP, for `kubectl terrace top` and `kubectl terrace latency`. Served on the Pod's loopback alone; it shows what
//! the probe said last and measures nothing.
//!
//! `GET /v1/latency` is a [`Table`]: every volume that a Pod of this node uses, of whatever CSI driver, also one on which nothing
//! is done. `GET /v1/latency/{pv}` is a [`Drawing`]: the volume's whole histograms. Times are nanoseconds, moments RFC 3339.
//! Where there is no answer, the body is a sentence: 404 no Pod here uses the volume, 503 no probe is connected, 504 the probe
//! did not answer in time.

use jiff::Timestamp;
use serde::Serialize;

/// `GET /v1/latency`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Name of this node.
    pub node: String,
    /// The probe.
    pub probe: ProbeRow,
    /// Volumes, by namespace and claim.
    pub volumes: Vec<VolumeRow>,
}

/// Whether the figures are fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeRow {
    /// Whether a probe is connected now.
    pub connected: bool,
    /// Its version, once it has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The kernel it watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Ways to a volume that it cannot see.
    pub unobservable: Vec<String>,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRow {
    /// The PersistentVolume.
    pub pv_name: String,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The CSI driver.
    pub driver: String,
    /// The claim's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The StorageVolume, where it is one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Names of the Pods of this node that use it; all are of the claim's namespace.
    pub pods: Vec<String>,
    /// What its p99 is to stay below.
    #[serde(rename = "targetP99Ns", skip_serializing_if = "Option::is_none")]
    pub target_p99_ns: Option<u64>,
    /// Whether it is above that; absent while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<bool>,
    /// The last window with operations; absent where there was none since this node's agent began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
}

/// Figures of one window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latest {
    /// When the window ended: older than twice its length means that nothing is done on the volume.
    pub at: Timestamp,
    /// Its length.
    pub window_seconds: u64,
    /// Operations that happened in it, in the order read, write, fsync, readdir.
    pub operations: Vec<OperationRow>,
    /// The last read or write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_access: Option<Timestamp>,
    /// Reads and writes a day.
    pub accesses_per_day: f64,
    /// Errors since the probe first saw the volume.
    pub errors: Errors,
}

/// One operation within a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationRow {
    /// `read`, `write`, `fsync` or `readdir`.
    pub operation: &'static str,
    /// Operations a second.
    pub ops_per_second: f64,
    /// Bytes a second.
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
    pub slow: u64,
    /// Their share, from 0 to 1.
    pub slow_share: f64,
}

/// Errors by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// `GET /v1/latency/{pv}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawing {
    /// The volume as in the table.
    pub volume: VolumeRow,
    /// Its histograms since the probe first saw it: one for each operation that ever happened, in the order of the table.
    pub histograms: Vec<Histogram>,
}

/// All of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// `read`, `write`, `fsync` or `readdir`.
    pub operation: &'static str,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// From.
    pub from_ns: u64,
    /// To; absent of the last bucket, which has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ns: Option<u64>,
    /// How many.
    pub count: u64,
}
