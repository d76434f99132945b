//! The node's block devices, from /sys, /proc and /dev alone: no command, nothing opened. [`probe_device`] looks harder at one of them.

mod facts;
mod identity;
mod listed;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use terrace_device_types::{
    Bytes, DevT, DeviceFacts, DeviceKind, DeviceUse, DeviceView, MountPoint, Signature,
};

use crate::host::Host;
use crate::looped::{backing_file, is_unclaimed};
use crate::lvm::is_of_pool;
use crate::mountinfo::{observe_mounts, observe_swaps, parse_dev_t};
use crate::signature;
use crate::sysfs::{attribute, number};
use crate::{Deadline, DeviceError};

use self::identity::Identity;
pub(crate) use self::identity::KnownDisks;
use self::listed::{Listed, observe_listed};

/// What all devices of one look share.
struct Surroundings {
    mounts: Arc<Vec<MountPoint>>,
    swaps: Vec<PathBuf>,
    /// Link names of /dev/disk/by-id, each with the node it leads to.
    by_id: Vec<(String, PathBuf)>,
}

/// Disks, their partitions, and loop devices that are not our volumes; sorted by kernel name. Without medium or size: left out.
///
/// # Errors
/// When /sys or /proc can't be read.
pub fn observe_devices(host: &Host) -> Result<Vec<DeviceView>, DeviceError> {
    let around = observe_surroundings(host, host.mounts.observe(host)?)?;
    let mut devices = Vec::new();
    for disk in observe_listed(host)? {
        devices.extend(observe_disk_and_partitions(host, &around, &disk));
    }
    Ok(devices)
}

fn observe_surroundings(
    host: &Host,
    mounts: Arc<Vec<MountPoint>>,
) -> Result<Surroundings, DeviceError> {
    Ok(Surroundings {
        mounts,
        swaps: observe_swaps(host)?.iter().map(|swap| node_of(host, swap)).collect(),
        by_id: observe_by_id(host),
    })
}

fn observe_disk_and_partitions(
    host: &Host,
    around: &Surroundings,
    listed: &Listed,
) -> Vec<DeviceView> {
    let Listed { name, partitions } = listed;
    let disk = host.sys.join("block").join(name);
    let mut devices: Vec<DeviceView> =
        observe_disk(host, around, name, partitions).into_iter().collect();
    for name in partitions {
        let node = Node { dir: disk.join(name), disk: disk.clone(), name: name.clone() };
        devices.extend(observe_node(host, around, &node, DeviceKind::Partition, Vec::new()));
    }
    devices
}

/// The disk that a device is, or is a partition of.
fn disk_of(host: &Host, device: &DeviceView) -> Option<String> {
    let number = format!("{}:{}", device.dev_t.major, device.dev_t.minor);
    let dir = fs::canonicalize(host.sys.join("dev/block").join(number)).ok()?;
    let disk = if dir.join("partition").exists() { dir.parent()? } else { &dir };
    Some(disk.file_name()?.to_string_lossy().into_owned())
}

/// The same device with its signature and with the word of `O_EXCL`.
///
/// # Errors
/// When it can't be read, or the number behind its node has changed.
pub fn probe_device(
    host: &Host,
    device: DeviceView,
    deadline: Deadline,
) -> Result<DeviceView, DeviceError> {
    let around = observe_surroundings(host, Arc::new(observe_mounts(host)?))?;
    let disk = disk_of(host, &device);
    let listed =
        observe_listed(host)?.into_iter().find(|listed| Some(&listed.name) == disk.as_ref());
    let all = listed.map(|listed| observe_disk_and_partitions(host, &around, &listed));
    let now = all.into_iter().flatten().find(|found| found.dev_t == device.dev_t);
    let Some(mut found) =
        now.filter(|found| found.path == device.path && found.size == device.size)
    else {
        let (expected, found) = (device.dev_t.to_string(), "another device".to_owned());
        return Err(DeviceError::Changed { path: device.path, expected, found });
    };
    if found.uses.is_empty() && !is_unclaimed(&found.path)? {
        found.uses.push(DeviceUse::Claimed);
    }
    let (signature, entry) = signature::probe(&found.path, deadline)?;
    found.signature = signature;
    if let Some(partition) = &mut found.facts.partition {
        partition.entry = entry;
    }
    Ok(found)
}

/// Where sysfs shows a device.
struct Node {
    name: String,
    dir: PathBuf,
    /// The disk it is, or is a partition of.
    disk: PathBuf,
}

fn observe_disk(
    host: &Host,
    around: &Surroundings,
    name: &str,
    partitions: &[String],
) -> Option<DeviceView> {
    let dir = host.sys.join("block").join(name);
    let node = Node { name: name.to_owned(), disk: dir.clone(), dir };
    let mut uses: Vec<DeviceUse> =
        partitions.iter().map(|name| DeviceUse::Partition { name: name.clone() }).collect();
    if is_of_pool(host, name) {
        return None;
    }
    if !name.starts_with("loop") {
        uses.extend(holders(host, &node));
        return observe_node(host, around, &node, DeviceKind::Disk, uses);
    }
    let file = backing_file(host, name)?;
    let volume = file.file_name()?.to_string_lossy().into_owned();
    if volume.starts_with("t-") || volume.starts_with("q-") {
        return None;
    }
    uses.extend(holders(host, &node));
    let view = observe_node(host, around, &node, DeviceKind::Loop, uses)?;
    Some(DeviceView { id: format!("loop:{}", file.display()), ..view })
}

fn observe_node(
    host: &Host,
    around: &Surroundings,
    node: &Node,
    kind: DeviceKind,
    uses: Vec<DeviceUse>,
) -> Option<DeviceView> {
    let Node { name, dir, disk } = node;
    let size = number(&dir.join("size")).filter(|sectors| *sectors > 0)?;
    let dev_t = parse_dev_t(&attribute(&dir.join("dev"))?)?;
    // sysfs writes '!' for the '/' in names such as cciss/c0d0.
    let path = host.dev.join(name.replace('!', "/"));
    let facts = facts::observe_facts(node, kind);
    let Identity { model, serial, wwn, transport, removable } =
        host.known.identity(disk, facts.sequence);
    let mut uses = uses;
    if kind == DeviceKind::Partition {
        uses.extend(holders(host, node));
    }
    uses.extend(used_by_system(around, &path, dev_t));
    let view = DeviceView {
        kind,
        id: device_id(around, &path, kind, name, wwn.as_deref(), serial.as_deref()),
        path,
        dev_t,
        // sysfs counts in 512-byte units whatever the sector size.
        size: Bytes(size * 512),
        model,
        serial,
        wwn,
        rotational: number(&disk.join("queue/rotational")) == Some(1),
        logical_sector: sector(&disk.join("queue/logical_block_size")),
        physical_sector: sector(&disk.join("queue/physical_block_size")),
        read_only: number(&dir.join("ro")) == Some(1),
        removable,
        signature: Signature::NotProbed,
        uses,
        facts: DeviceFacts { transport, ..facts },
    };
    Some(view)
}

fn device_id(
    around: &Surroundings,
    path: &Path,
    kind: DeviceKind,
    name: &str,
    wwn: Option<&str>,
    serial: Option<&str>,
) -> String {
    let link = around.by_id.iter().find(|(_, node)| node == path).map(|(link, _)| link.clone());
    let whole = kind == DeviceKind::Disk;
    link.or_else(|| wwn.filter(|_| whole).map(|wwn| format!("wwn-{wwn}")))
        .or_else(|| serial.filter(|_| whole).map(|serial| format!("serial-{serial}")))
        .unwrap_or_else(|| name.to_owned())
}

fn used_by_system(around: &Surroundings, path: &Path, dev_t: DevT) -> Vec<DeviceUse> {
    // btrfs shows a number of its own, so the source counts too.
    let name = path.file_name().and_then(|name| name.to_str());
    let mounted = around
        .mounts
        .iter()
        .filter(|mount| mount.dev_t == dev_t || mount.source.strip_prefix("/dev/") == name)
        .map(|mount| DeviceUse::Mounted { at: mount.at.clone() });
    let swap = around.swaps.iter().filter(|swap| *swap == path).map(|_| DeviceUse::Swap);
    mounted.chain(swap).collect()
}

fn holders(host: &Host, node: &Node) -> Vec<DeviceUse> {
    let names = sorted_names(&node.dir.join("holders")).unwrap_or_default();
    let holder = |name: String| {
        let as_what = facts::observe_stack(&host.sys.join("block").join(&name), &name);
        DeviceUse::Holder { name, as_what }
    };
    names.into_iter().map(holder).collect()
}

/// The device node behind a path such as /dev/mapper/swap, in this host's /dev.
fn node_of(host: &Host, path: &Path) -> PathBuf {
    let inside =
        path.strip_prefix("/dev").map_or_else(|_| path.to_owned(), |rest| host.dev.join(rest));
    match fs::canonicalize(&inside) {
        Ok(node) if path.starts_with("/dev") => host.dev.join(node.file_name().unwrap_or_default()),
        Ok(_) | Err(_) => inside,
    }
}

/// By-id links, sorted, so that "the first" is always the same one.
fn observe_by_id(host: &Host) -> Vec<(String, PathBuf)> {
    let dir = host.dev.join("disk/by-id");
    let names = sorted_names(&dir).unwrap_or_default();
    let leads_to = |name: String| {
        let node = fs::canonicalize(dir.join(&name)).ok()?;
        Some((name, host.dev.join(node.file_name()?)))
    };
    names.into_iter().filter_map(leads_to).collect()
}

fn sorted_names(dir: &Path) -> Result<Vec<String>, DeviceError> {
    let fail = |source| DeviceError::io("list", dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        names.extend(entry.map_err(fail)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn sector(path: &Path) -> u32 {
    number(path).and_then(|size| u32::try_from(size).ok()).unwrap_or(512)
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
