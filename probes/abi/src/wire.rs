//! What `terrace-probe` and csi-node say to each other: one JSON object a line over a unix socket. csi-node listens, the probe
//! connects; either may restart at any time, and then all is said anew. Pure: bytes in, values out; it may not do I/O.
//!
//! A field that a reader does not know is passed over, a kind of message that it does not know is [`ToProbe::Unknown`] or
//! [`ToNode::Unknown`]; only a line of another [`VERSION`] or a broken one ends the connection.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::layout::{Operation, Tier};

#[path = "wire_line.rs"]
mod line;

pub use line::{LINE_MAX, Lines, VERSION, WireError, from_line, to_line};

/// A device number, as mountinfo and `stat` show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    /// The driver's.
    pub major: u32,
    /// The device's, or of a filesystem without one (btrfs, tmpfs, NFS) an anonymous number.
    pub minor: u32,
}

impl Device {
    /// From the kernel's own `dev_t` (12 bits of major above 20 of minor), as `super_block.s_dev` and `inode.i_rdev` hold it.
    #[must_use]
    pub const fn from_kernel(dev: u32) -> Self {
        Self { major: dev >> 20, minor: dev & 0xf_ffff }
    }

    /// The kernel's own `dev_t`. Numbers that don't fit are cut: no kernel hands such out.
    #[must_use]
    pub const fn to_kernel(self) -> u32 {
        self.major << 20 | (self.minor & 0xf_ffff)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.major, self.minor)
    }
}

/// What csi-node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum ToProbe {
    /// Whose volumes these are. The whole list, at connect and whenever it changed.
    Names(Names),
    /// Asks for one volume's buckets. The answer is [`ToNode::HistogramOf`].
    #[serde(rename_all = "camelCase")]
    Histogram {
        /// The PersistentVolume.
        pv_name: String,
    },
    /// Of a later csi-node.
    #[serde(other)]
    Unknown,
}

/// What the probe says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum ToNode {
    /// What it can see. First at connect, and again when a function changed its tier.
    Hello(Hello),
    /// Figures of volumes with operations since the last ones. As many lines as they need; what was lost is never sent again.
    Figures(Figures),
    /// A volume's latency crossed its target, one way or the other. At connect: one for each that is high.
    Turned(Turned),
    /// The answer to [`ToProbe::Histogram`].
    HistogramOf(HistogramOf),
    /// Of a later probe.
    #[serde(other)]
    Unknown,
}

/// Who is who on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    /// The node's Pods.
    pub pods: Vec<PodName>,
    /// The PersistentVolumes they use, of any CSI driver.
    pub volumes: Vec<VolumeName>,
    /// CSI volumes written into Pods themselves. They have no PersistentVolume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inline_volumes: Vec<InlineVolume>,
    /// Folders of the host that are no mounts but have a class of their own, such as `/var/lib/etcd`; those that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryName>,
}

/// A CSI volume that is part of a Pod's own text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InlineVolume {
    /// The Pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// What the Pod calls it.
    pub name: String,
}

/// A folder of the host. The probe, which has none of the host's folders, can't look itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryName {
    /// Its path on the host.
    pub path: String,
    /// What `stat` says of its device. (Of a btrfs it is no use: a subvolume's number is not its superblock's.)
    pub device: Device,
    /// Its inode number.
    pub inode: u64,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodName {
    /// Its UID; of a static Pod the one its folder bears (the kubelet's hash, not the mirror Pod's).
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A PersistentVolume and its claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeName {
    /// The PersistentVolume.
    pub pv_name: String,
    /// The Pods on this node that use it.
    #[serde(rename = "podUIDs", default)]
    pub pod_uids: Vec<String>,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The CSI driver.
    pub driver: String,
    /// The claim's class, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The StorageVolume, if it is one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Which p99 it should stay below, in nanoseconds.
    #[serde(default, rename = "targetP99Ns", skip_serializing_if = "Option::is_none")]
    pub target_p99_ns: Option<u64>,
    /// The block device whose node its Pods open, where it is a raw block volume and the number is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// SHA-256 of the CSI volume handle in hexadecimal: the name of the kubelet's folder that it is staged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle_sha256: Option<String>,
}

/// What a probe is and sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The probe's version.
    pub version: String,
    /// The running kernel's release.
    pub kernel: String,
    /// Each hooked function.
    pub functions: Vec<FunctionTier>,
    /// Ways to a volume that no hook of these tiers sees (`mmap`, `splice`, ...).
    pub unobservable: Vec<String>,
}

/// How a kernel function is hooked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionTier {
    /// The function, or what stands for it on that tier.
    pub function: String,
    /// By what.
    pub tier: Tier,
    /// Why not by something better, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Figures of some volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Those with operations since the last figures.
    pub volumes: Vec<VolumeFigures>,
    /// Operations of the whole node that were seen and not counted, since the probe attached; no entry where there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<MissedCount>,
}

/// Operations that were seen and not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedCount {
    /// Why, as the metrics name it.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Figures of a volume over a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeFigures {
    /// The PersistentVolume.
    pub pv_name: String,
    /// The claim's namespace, once csi-node has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The claim, once csi-node has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// How long the window was.
    pub window_seconds: u64,
    /// Each operation that happened in it.
    pub operations: OperationsSummary,
    /// When the last read or write ended, in seconds since 1970. A scan of directories is no access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_access: Option<u64>,
    /// Accesses a day, averaged since the probe first saw the volume (at most over the last day).
    pub accesses_per_day: f64,
    /// Errors since the volume was first seen.
    pub errors: ErrorTotals,
}

/// A summary an operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationsSummary {
    /// Reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<OperationSummary>,
    /// Writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<OperationSummary>,
    /// Synchronisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync: Option<OperationSummary>,
    /// Listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readdir: Option<OperationSummary>,
}

impl OperationsSummary {
    /// That of one operation.
    #[must_use]
    pub const fn of(&self, operation: Operation) -> Option<&OperationSummary> {
        match operation {
            Operation::Read => self.read.as_ref(),
            Operation::Write => self.write.as_ref(),
            Operation::Fsync => self.fsync.as_ref(),
            Operation::Readdir => self.readdir.as_ref(),
        }
    }
}

/// One operation of a volume over a window. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationSummary {
    /// Operations a second.
    pub ops_per_second: f64,
    /// Bytes a second that they moved.
    #[serde(default)]
    pub bytes_per_second: f64,
    /// Their mean.
    pub average_ns: u64,
    /// Their median.
    pub p50_ns: u64,
    /// 95 of 100 were at most as slow.
    pub p95_ns: u64,
    /// 99 of 100 were at most as slow.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// How many were slow.
    pub slow: u64,
    /// Their share, from 0 to 1.
    pub slow_share: f64,
}

/// Errors by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorTotals {
    /// EIO.
    pub eio: u64,
    /// EROFS.
    pub erofs: u64,
    /// ENOSPC.
    pub enospc: u64,
    /// EDQUOT.
    pub edquot: u64,
    /// Any other that is the storage's.
    pub other: u64,
}

/// A volume's latency turned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turned {
    /// The PersistentVolume.
    pub pv_name: String,
    /// Whether it is high now.
    pub high: bool,
    /// The operation that was worst.
    pub operation: Operation,
    /// Its p99 in the window that decided.
    pub measured_p99_ns: u64,
    /// What it is held to.
    pub target_ns: u64,
    /// Since when it is as it is, in seconds since 1970.
    pub since_unix: u64,
    /// Share of that operation above the target, from 0 to 1.
    pub slow_share: f64,
}

/// A volume's buckets since its slot began, in the geometry of [`crate::layout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistogramOf {
    /// The PersistentVolume.
    pub pv_name: String,
    /// An entry an operation that ever happened; none at all: the probe does not know the volume.
    pub operations: Vec<OperationBuckets>,
}

/// The buckets of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationBuckets {
    /// Which.
    pub operation: Operation,
    /// Sum of all latencies, in nanoseconds.
    pub sum_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// Operations a bucket.
    pub buckets: Vec<u64>,
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
