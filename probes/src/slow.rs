//! A slow operation as an event: every field that was asked for, out of the kernel's record and what is known of its mount and
//! process. Pure. What is not known is absent, and the event says why; nothing is made up.

use crate::class::operation_name;
use serde::Serialize;
use terrace_probe_abi::layout::{NAME_BYTES, Operation, SlowRecord};

use crate::cgroup::Container;
use crate::class::{Bounds, LatencyClass};

/// What is known of where an operation went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    /// Where it is mounted, as the first process to use it sees it.
    pub mount_point: Option<String>,
    /// `pvc`, `configmap`, ...: see [`crate::metrics_view::Group`].
    pub volume_type: Option<&'static str>,
    /// The PersistentVolume.
    pub persistent_volume: Option<String>,
    /// The claim's namespace.
    pub namespace: Option<String>,
    /// The claim.
    pub claim: Option<String>,
}

/// A slow operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowEvent {
    /// Always `slowOperation`: other lines may come to stand beside these.
    pub kind: &'static str,
    /// When it began, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// read, write, fsync, readdir.
    pub operation: &'static str,
    /// The file below its filesystem's root; beginning with `...` where more folders are above than the kernel tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why there is no whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_note: Option<&'static str>,
    /// Bytes that were moved.
    pub size: u64,
    /// The errno of one that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i64>,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// fast, normal, slow, critical: by the same bounds, whatever the volume's own target.
    pub latency_class: &'static str,
    /// At or above its volume's target: always, for what is told.
    pub slow: bool,
    /// Whether the thread slept.
    pub blocked: bool,
    /// Major and minor number of the filesystem's device.
    pub device: String,
    /// The file's inode.
    pub inode: u64,
    /// The filesystem's type, or its magic number.
    pub filesystem: String,
    /// Where it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_point: Option<String>,
    /// pvc, configmap, secret, ...; absent for a mount that has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<&'static str>,
    /// The PersistentVolume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume: Option<String>,
    /// The claim's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<String>,
    /// The container of the process; absent for the host's, for a process that is gone, or with the look-up switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Its Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The process, as the host numbers it.
    pub pid: u32,
    /// The thread, as the host numbers it.
    pub tid: u32,
    /// The thread's name.
    pub command: String,
    /// The cgroup (v2); 1 where the host has only v1.
    pub cgroup_id: u64,
    /// Processor time of it, in nanoseconds.
    pub cpu_ns: u64,
    /// Time that requests to the volume's device waited in its queue, of all that the device took up while this operation ran: its
    /// own and, in a busy volume, others'. To 1,024 ns; more than the duration where several waited at once. 0 where the device is not
    /// the volume's own, for io_uring and libaio, and in the queue of devices that have none (device-mapper).
    pub queue_ns: u64,
    /// Time that requests were with the device, of all that it answered meanwhile; likewise.
    pub block_ns: u64,
    /// syscall, io_uring, aio, mmap, splice.
    pub via: &'static str,
}

/// Puts an event together. `clock_offset_ns`: what to add to the monotonic clock for the time since 1970.
#[must_use]
pub fn event(
    record: &SlowRecord,
    place: Where,
    container: Container,
    clock_offset_ns: u64,
    bounds: Bounds,
) -> SlowEvent {
    let Where { mount_point, volume_type, persistent_volume, namespace, claim } = place;
    let Container { pod_uid, id: container_id } = container;
    let (path, path_note) = path_of(record);
    let operation = Operation::at(usize::from(record.operation)).map_or("unknown", operation_name);
    let via = terrace_probe_abi::layout::Path::at(usize::from(record.path));
    SlowEvent {
        kind: "slowOperation",
        time_unix_nano: record.start_ns.saturating_add(clock_offset_ns),
        operation,
        path,
        path_note,
        size: u64::try_from(record.result).unwrap_or(0),
        errno: (record.result < 0).then(|| record.result.saturating_neg()),
        duration_ns: record.duration_ns,
        latency_class: LatencyClass::of(record.duration_ns, bounds).as_str(),
        slow: true,
        blocked: record.blocked != 0,
        device: format!("{}:{}", record.s_dev >> 20, record.s_dev & 0xf_ffff),
        inode: record.inode,
        filesystem: filesystem(record.magic),
        mount_point,
        volume_type,
        persistent_volume,
        namespace,
        persistent_volume_claim: claim,
        container_id,
        pod_uid,
        pid: record.tgid,
        tid: record.tid,
        command: text(&record.command),
        cgroup_id: record.cgroup,
        cpu_ns: record.cpu_ns,
        queue_ns: record.queue_ns,
        block_ns: record.block_ns,
        via: via.map_or("unknown", crate::metrics_node::path_name),
    }
}

/// The names of a record from the root down.
fn path_of(record: &SlowRecord) -> (Option<String>, Option<&'static str>) {
    let known = usize::from(record.depth).min(record.names.len());
    if known == 0 {
        let note = if record.mount == 0 {
            "a block device has no path"
        } else {
            "the kernel gave no name"
        };
        return (None, Some(note));
    }
    let names: Vec<String> = record.names[..known].iter().rev().map(|name| text(name)).collect();
    let is_cut = record.names[..known].iter().any(|name| !name.contains(&0));
    let (above, note) = match (record.deeper != 0, is_cut) {
        (true, _) => ("...", Some("more folders are above than the kernel tells")),
        (false, true) => ("", Some("a name is longer than the kernel tells")),
        (false, false) => ("", None),
    };
    (Some(format!("{above}/{}", names.join("/"))), note)
}

/// Up to the first 0. Bytes that are no UTF-8 are shown as U+FFFD.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

const _: () = assert!(NAME_BYTES > 16);

/// A filesystem's name by its magic number (`linux/magic.h`, or the filesystem's own).
#[must_use]
pub fn filesystem(magic: u32) -> String {
    let name = match magic {
        0x5846_5342 => "xfs",
        0xef53 => "ext4",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x6573_5546 => "fuse",
        0xf2f5_2010 => "f2fs",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x7366_746e => "ntfs3",
        0x9660 => "iso9660",
        0x7371_7368 => "squashfs",
        0xe0f5_e1e2 => "erofs",
        0x00c3_6400 => "ceph",
        0x2fc1_2fc1 => "zfs",
        0x0102_1997 => "9p",
        0xca45_1a4e => "bcachefs",
        0x6264_6576 => "block device",
        other => return format!("0x{other:x}"),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "slow_tests.rs"]
pub(crate) mod tests;
