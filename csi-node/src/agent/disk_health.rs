//! Which disks fail, and which pools that hurts: from what the kernel logged of them, what they say of themselves and which are not there. Pure: no
//! clock, no host.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use terrace_crds::Reason;
use terrace_device_types::{
    DeviceFacts, DeviceKind, DeviceUse, DeviceView, Logged, PartitionView, PoolUuid, SmartView,
};

use super::health::{Ailment, second};
use crate::journal::KnownPool;

/// How long after its last error a disk counts as failing: a bad sector is met again only when it is read again.
pub const DWELL: SignedDuration = SignedDuration::from_hours(24);

/// Bits of an NVMe disk's critical warning that speak against keeping data on it: no spare left, unreliable, read-only, memory without backup.
const NVME_GRAVE: u64 = 0b1_1101;

/// What to do about a disk that fails.
const REMEDY: &str = "copy what is on it away, check its cable, and replace it";

/// Failed reads and writes of one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errors {
    /// How many since the boot, as far as the kernel's log reaches.
    pub count: u64,
    /// When the first one was, of those with less than [`DWELL`] between them.
    pub first: Timestamp,
    /// When the last one was.
    pub last: Timestamp,
}

/// What is known for and against the disks.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// By the kernel's name.
    errors: BTreeMap<String, Errors>,
    /// By the lasting id.
    smart: BTreeMap<String, SmartView>,
}

impl Signs {
    /// Takes in what the kernel logged; `booted` is when its clock began.
    pub fn log(&mut self, logged: Logged, booted: Timestamp) {
        match logged {
            Logged::Attached { disk } => drop(self.errors.remove(&disk)),
            Logged::Failed { disk, at } => {
                let last = SignedDuration::try_from(at).ok();
                let last = last.and_then(|at| booted.checked_add(at).ok()).unwrap_or(booted);
                let last = second(last);
                let before = self.errors.get(&disk);
                let recent = before.filter(|errors| last.duration_since(errors.last) < DWELL);
                let first = recent.map_or(last, |errors| errors.first);
                let count = before.map_or(0, |errors| errors.count) + 1;
                self.errors.insert(disk, Errors { count, first, last });
            }
        }
    }

    /// Takes in what a disk says of itself; one that says nothing now said it before.
    pub fn say(&mut self, id: &str, smart: Option<SmartView>) {
        if let Some(smart) = smart {
            self.smart.insert(id.to_owned(), smart);
        }
    }

    /// Of this disk.
    fn errors(&self, disk: &DeviceView) -> Option<Errors> {
        self.errors.get(&kernel_name(disk)).copied()
    }

    /// How many failed reads and writes of this disk to show: the exact number of a few, then the power of two below it, so that not every one is
    /// a write to the API server.
    #[must_use]
    pub fn shown_errors(&self, disk: &DeviceView) -> Option<u32> {
        let count = self.errors(disk)?.count;
        let shown = if count < 8 { count } else { 1 << count.ilog2() };
        Some(u32::try_from(shown).unwrap_or(u32::MAX))
    }

    /// Of this disk.
    #[must_use]
    pub fn smart(&self, disk: &DeviceView) -> Option<SmartView> {
        self.smart.get(&disk.id).copied()
    }
}

/// A disk that something speaks against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailing {
    /// Its lasting id.
    pub id: String,
    /// The kernel's name of it.
    pub name: String,
    /// What, and what to do.
    pub ailment: Ailment,
}

/// Every disk that fails, in the order of `devices`.
#[must_use]
pub fn plan_ailing(devices: &[DeviceView], signs: &Signs, now: Timestamp) -> Vec<Ailing> {
    let disks = devices.iter().filter(|device| is_hardware(device));
    let ailing = disks.filter_map(|disk| {
        let why = ailment(disk, signs, now)?;
        let message = format!("disk {} ({}) {why}", disk.id, disk.path.display());
        let ailment = Ailment { reason: Reason::DiskFailing, message };
        Some(Ailing { id: disk.id.clone(), name: kernel_name(disk), ailment })
    });
    ailing.collect()
}

/// A disk that another device does not carry.
fn is_hardware(device: &DeviceView) -> bool {
    device.kind == DeviceKind::Disk && device.facts.stack.is_none()
}

/// Worst first.
fn ailment(disk: &DeviceView, signs: &Signs, now: Timestamp) -> Option<String> {
    let smart = signs.smart(disk).unwrap_or_default();
    let SmartView { passed, unreadable, warning, worn: _ } = smart;
    let state = disk.facts.state.as_deref();
    if let Some(state) = state.filter(|state| is_out_of_service(state)) {
        return Some(format!("is {state}: the kernel has given it up; {REMEDY}"));
    }
    if passed == Some(false) || warning.is_some_and(|bits| bits & NVME_GRAVE != 0) {
        return Some(format!("says itself that it fails (SMART); {REMEDY}"));
    }
    let errors = signs.errors(disk).filter(|errors| now.duration_since(errors.last) < DWELL);
    // Neither how many nor the last: a disk that fails all the time would have every volume written anew as often.
    if let Some(Errors { count: _, first, last: _ }) = errors {
        return Some(format!("has failed to read or write since {first}; {REMEDY}"));
    }
    let unreadable = unreadable.filter(|count| *count > 0)?;
    Some(format!("has {unreadable} sectors that it cannot read (SMART); {REMEDY}"))
}

/// SCSI's and NVMe's words for a disk that answers nothing any more.
fn is_out_of_service(state: &str) -> bool {
    matches!(state, "offline" | "transport-offline" | "dead")
}

/// What speaks against the disks of each pool; those whose disks are well are left out.
#[must_use]
pub fn plan_pool_ailments(
    pools: &[KnownPool],
    devices: &[DeviceView],
    ailing: &[Ailing],
) -> BTreeMap<PoolUuid, Ailment> {
    let told = |pool: &KnownPool| Some((pool.uuid, plan_pool_ailment(pool, devices, ailing)?));
    pools.iter().filter_map(told).collect()
}

/// What speaks against the disks of a pool: those that are not there, and those that fail.
fn plan_pool_ailment(
    pool: &KnownPool,
    devices: &[DeviceView],
    ailing: &[Ailing],
) -> Option<Ailment> {
    let absent = absent_disks(std::slice::from_ref(pool), devices);
    let below = carriers(pool, devices);
    let failing = ailing.iter().filter(|disk| below.contains(&disk.name));
    let failing: Vec<&str> = failing.map(|disk| disk.ailment.message.as_str()).collect();
    let gone = (!absent.is_empty()).then(|| {
        format!(
            "disk {} is not there: attach it again; what lies on it cannot be read until then",
            absent.join(" and ")
        )
    });
    let reason = if gone.is_some() { Reason::DiskMissing } else { Reason::DiskFailing };
    let said: Vec<String> =
        gone.into_iter().chain(failing.into_iter().map(str::to_owned)).collect();
    (!said.is_empty()).then(|| Ailment { reason, message: said.join("; ") })
}

/// Ids of the disks that these pools have and that are not there.
#[must_use]
pub fn absent_disks(pools: &[KnownPool], devices: &[DeviceView]) -> Vec<String> {
    let named = pools.iter().flat_map(|pool| pool.devices.iter().chain(&pool.device));
    named.filter(|id| !devices.iter().any(|device| device.id == **id)).cloned().collect()
}

/// Kernel names of all that a pool lies on, down to the disks.
fn carriers(pool: &KnownPool, devices: &[DeviceView]) -> Vec<String> {
    let is_own = |device: &&DeviceView| {
        pool.devices.contains(&device.id) || pool.device.as_ref() == Some(&device.id)
    };
    let mut names: Vec<String> = devices.iter().filter(is_own).map(kernel_name).collect();
    if names.is_empty() {
        names.extend(mounted_above(pool, devices).map(kernel_name));
    }
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        let device = devices.iter().find(|device| kernel_name(device) == name);
        let DeviceFacts { partition, stands_on, .. } = match device {
            Some(device) => &device.facts,
            None => continue,
        };
        let disk = partition.as_ref().map(|PartitionView { disk, .. }| disk);
        let below = stands_on.iter().chain(disk).filter(|name| !names.contains(name));
        let below: Vec<String> = below.cloned().collect();
        names.extend(below);
    }
    names
}

/// The device whose mount holds a pool's folder: the one mounted nearest to it.
fn mounted_above<'a>(pool: &KnownPool, devices: &'a [DeviceView]) -> Option<&'a DeviceView> {
    let depth = |device: &DeviceView| {
        let mounts = device.uses.iter().filter_map(|by| match by {
            DeviceUse::Mounted { at } => pool.dir.starts_with(at).then(|| at.components().count()),
            DeviceUse::Holder { .. }
            | DeviceUse::Partition { .. }
            | DeviceUse::Swap
            | DeviceUse::Claimed => None,
        });
        mounts.max()
    };
    devices.iter().filter(|device| depth(device).is_some()).max_by_key(|device| depth(device))
}

/// `sda` of `/dev/sda`.
fn kernel_name(device: &DeviceView) -> String {
    device.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
#[path = "disk_health/tests.rs"]
mod tests;
