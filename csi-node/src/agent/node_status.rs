//! What `StorageNode.status` says. Pure: what was found goes in, the whole status comes out.

use std::time::Duration;

use jiff::Timestamp;
use terrace_crds::condition::{Truth, Verdict};
use terrace_crds::measured::ProbeStatus;
use terrace_crds::node::{
    Counts, Device, DeviceHealth, Facility, HostObjectKind, HostVolume, HostVolumeState, NodePool,
    ORPHANS_LISTED, Orphan, Partition, SectorSizes, StorageNodeStatus,
};
use terrace_crds::pool::PoolState;
use terrace_crds::volume::{FsType as WireFs, VolumeMode as WireMode};
use terrace_crds::{ConditionType, Reason, Size, condition};
use terrace_device_types::{
    ClusterUid, DeviceFacts, DeviceView, FsType, HostObject, HostState, ImageView, PartitionEntry,
    PartitionView, Signature, SmartView, VolumeMode,
};

use super::disk_health::{Ailing, Signs};
use super::orphans::plan_orphans;
use super::stock::Stock;
use crate::host::{Capability, Facilities};
use crate::inventory::{Listing, Located};
use crate::journal::KnownPool;

/// Everything the status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The cluster.
    pub cluster: &'a ClusterUid,
    /// What kernel and tools can do.
    pub facilities: &'a Facilities,
    /// The disks.
    pub devices: &'a [DeviceView],
    /// What is known for and against them.
    pub signs: &'a Signs,
    /// Those that fail.
    pub ailing: &'a [Ailing],
    /// Ids of those that pools have and that are not there.
    pub absent: &'a [String],
    /// What came of the pools.
    pub pools: Vec<NodePool>,
    /// The host objects, and which are claimed.
    pub stock: &'a Stock,
    /// When the sweeper takes what is left behind.
    pub sweep_after: Duration,
    /// What its last pass came to, if there was one in this run.
    pub swept: Option<Verdict>,
    /// The probe, while one is there.
    pub probe: Option<ProbeStatus>,
    /// Where an unreadable journal was put aside in this run.
    pub journal_aside: Option<&'a str>,
}

/// The whole status, beside what is there.
#[must_use]
pub fn plan_node_status(
    facts: &Facts<'_>,
    there: &StorageNodeStatus,
    now: Timestamp,
) -> StorageNodeStatus {
    let devices: Vec<Device> = facts.devices.iter().map(|view| device(view, facts)).collect();
    let volumes = volumes(&facts.stock.listing, &there.volumes);
    let ready = facts.pools.iter().filter(|pool| pool.state == PoolState::Ready).count();
    let (orphans, orphan_count) = orphans(facts, there);
    let counts = Counts {
        pools: count(ready),
        volumes: count(volumes.len()),
        devices: count(devices.len()),
        orphans: orphan_count,
    };
    let generation = there.conditions.iter().find_map(|condition| condition.observed_generation);
    let against =
        |verdict: &Verdict| verdict.against(&there.conditions, generation.unwrap_or(1), now);
    let swept = match &facts.swept {
        Some(verdict) => Some(against(verdict)),
        // Until its first pass in this run, what the last one of an earlier run came to.
        None => condition::find(&there.conditions, ConditionType::Swept).cloned(),
    };
    StorageNodeStatus {
        cluster_uid: Some(facts.cluster.to_string()),
        kernel: Some(facts.facilities.kernel.clone()),
        counts: Some(counts),
        devices,
        pools: facts.pools.clone(),
        volumes,
        orphans,
        facilities: facilities(facts.facilities),
        probe: facts.probe.clone(),
        failing_disks: failing_disks(facts),
        conditions: [against(&verdict(facts)), against(&disks_healthy(facts))]
            .into_iter()
            .chain(swept)
            .collect(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// As many as there is place for, and how many there are. While the watches have not listed everything, as it was.
fn orphans(facts: &Facts<'_>, there: &StorageNodeStatus) -> (Vec<Orphan>, u32) {
    let Stock { listing, claims } = facts.stock;
    let Some(claims) = claims else {
        return (there.orphans.clone(), there.counts.map_or(0, |counts| counts.orphans));
    };
    let mut all = plan_orphans(listing, claims, &there.orphans, facts.sweep_after);
    let number = count(all.len());
    all.truncate(ORPHANS_LISTED);
    (all, number)
}

fn verdict(facts: &Facts<'_>) -> Verdict {
    let kind = ConditionType::Ready;
    if let Some((pool, error)) = facts.stock.listing.failed.first() {
        let message =
            format!("pool {} cannot be looked at: {}", pool.name, super::report::chain(error));
        return Verdict::new(kind, Truth::False, Reason::Failed, message);
    }
    let aside = facts.journal_aside.map(|path| {
        format!("the journal could not be read and lies at {path}; a new one was begun, no volume is touched")
    });
    match aside {
        Some(message) => Verdict::new(kind, Truth::True, Reason::Inconsistent, message),
        None => Verdict::new(kind, Truth::True, Reason::AsExpected, "the node serves its volumes"),
    }
}

fn device(view: &DeviceView, facts: &Facts<'_>) -> Device {
    let pools = &facts.pools;
    let at = view.uses.first().map(ToString::to_string);
    let of_pool = view.uses.iter().find_map(|by| match by {
        terrace_device_types::DeviceUse::Mounted { at } => {
            let uuid = at.file_name()?.to_string_lossy().into_owned();
            let pool = pools.iter().find(|pool| pool.uuid.as_deref() == Some(&uuid))?;
            Some(format!("pool {}", pool.name))
        }
        terrace_device_types::DeviceUse::Holder { .. }
        | terrace_device_types::DeviceUse::Partition { .. }
        | terrace_device_types::DeviceUse::Swap
        | terrace_device_types::DeviceUse::Claimed => None,
    });
    let DeviceFacts {
        sequence: _,
        transport,
        discard,
        write_cache,
        partition,
        stack,
        stands_on,
        state: _,
    } = &view.facts;
    Device {
        id: view.id.clone(),
        path: view.path.display().to_string(),
        size: Size::from_bytes(view.size.0),
        model: view.model.clone(),
        serial: view.serial.clone(),
        wwn: view.wwn.clone(),
        transport: transport.map(|transport| transport.as_str().to_owned()),
        rotational: view.rotational,
        sectors: Some(SectorSizes { logical: view.logical_sector, physical: view.physical_sector }),
        discard: discard.map(|discard| Size::from_bytes(discard.0)),
        write_cache: write_cache.as_str().map(str::to_owned),
        partition: partition.as_ref().map(partition_of),
        made_of: stack.as_ref().map(|stack| format!("{stack} of {}", stands_on.join(", "))),
        signature: match &view.signature {
            Signature::NotProbed | Signature::Blank => None,
            found => Some(found.to_string()),
        },
        in_use_by: of_pool.or(at),
        health: device_health(view, facts),
    }
}

/// Nothing of a disk of which nothing is known and against which nothing speaks.
fn device_health(view: &DeviceView, facts: &Facts<'_>) -> Option<DeviceHealth> {
    let smart = facts.signs.smart(view).unwrap_or_default();
    let SmartView { passed, unreadable, warning: _, worn } = smart;
    let fault = facts.ailing.iter().find(|disk| disk.id == view.id);
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let health = DeviceHealth {
        read_only: view.read_only,
        io_errors: facts.signs.shown_errors(view),
        smart_passed: passed,
        unreadable_sectors: unreadable.map(narrow),
        worn_percent: worn.map(narrow),
        fault: fault.map(|disk| disk.ailment.message.clone()),
    };
    (health != DeviceHealth::default()).then_some(health)
}

/// The ids of disks that fail and of those that pools lack, for the eye.
fn failing_disks(facts: &Facts<'_>) -> Option<String> {
    let failing = facts.ailing.iter().map(|disk| disk.id.clone());
    let absent = facts.absent.iter().map(|id| format!("{id} (missing)"));
    let failing: Vec<String> = failing.chain(absent).collect();
    (!failing.is_empty()).then(|| failing.join(", "))
}

fn disks_healthy(facts: &Facts<'_>) -> Verdict {
    let kind = ConditionType::DisksHealthy;
    let hurt = |pool: &NodePool| {
        let unhealthy = pool.unhealthy.as_ref()?;
        Some(format!("pool {}: {unhealthy}", pool.name))
    };
    let pools: Vec<String> = facts.pools.iter().filter_map(hurt).collect();
    let told = |disk: &&Ailing| !pools.iter().any(|pool| pool.contains(&disk.ailment.message));
    let others = facts.ailing.iter().filter(told).map(|disk| disk.ailment.message.clone());
    let others: Vec<String> = others.collect();
    let reason = if facts.ailing.is_empty() { Reason::DiskMissing } else { Reason::DiskFailing };
    let all: Vec<String> = pools.into_iter().chain(others).collect();
    if all.is_empty() {
        return Verdict::new(kind, Truth::True, Reason::AsExpected, "no fault of a disk is known");
    }
    Verdict::new(kind, Truth::False, reason, all.join("; "))
}

fn partition_of(view: &PartitionView) -> Partition {
    let PartitionView { disk, number, start: _, entry } = view;
    let entry = entry.clone().map(|PartitionEntry { table, kind }| (table, kind));
    let (table, kind) = entry.unzip();
    Partition { disk: disk.clone(), number: *number, table, kind }
}

/// What a pool that is not there holds is not gone: it stays listed as it was last seen.
fn volumes(listing: &Listing, before: &[HostVolume]) -> Vec<HostVolume> {
    let unseen: Vec<String> =
        listing.failed.iter().map(|(pool, _)| pool.uuid.to_string()).collect();
    let unseen = before.iter().filter(|volume| unseen.contains(&volume.pool_uuid)).cloned();
    let ours = listing.ours.iter().map(readable);
    let unreadable = listing.unreadable.iter().filter_map(|(pool, image)| unreadable(pool, image));
    let mut volumes: Vec<HostVolume> = ours.chain(unreadable).chain(unseen).collect();
    volumes.sort_by(|one, two| (&one.uuid, &one.name).cmp(&(&two.uuid, &two.name)));
    volumes
}

/// A host object as it is listed.
pub(super) fn readable(located: &Located) -> HostVolume {
    let Located { pool, image, tag } = located;
    HostVolume {
        uuid: tag.volume.to_string(),
        kind: match tag.object {
            HostObject::Volume => HostObjectKind::Volume,
            HostObject::Snapshot => HostObjectKind::Snapshot,
        },
        name: tag.name.clone(),
        pool_uuid: pool.uuid.to_string(),
        size: Size::from_bytes(image.apparent.0),
        state: match tag.state {
            HostState::Creating => HostVolumeState::Creating,
            HostState::Ready => HostVolumeState::Ready,
            HostState::Retained => HostVolumeState::Retained,
            HostState::Quarantined { .. } => HostVolumeState::Quarantined,
        },
        volume_mode: Some(mode(tag.mode).0),
        fs_type: mode(tag.mode).1,
    }
}

/// What it is made of, in the words of the API.
const fn mode(mode: VolumeMode) -> (WireMode, Option<WireFs>) {
    match mode {
        VolumeMode::Block => (WireMode::Block, None),
        VolumeMode::Filesystem { fs: FsType::Ext4 } => (WireMode::Filesystem, Some(WireFs::Ext4)),
        VolumeMode::Filesystem { fs: FsType::Xfs } => (WireMode::Filesystem, Some(WireFs::Xfs)),
        VolumeMode::Filesystem { fs: FsType::Btrfs } => (WireMode::Filesystem, Some(WireFs::Btrfs)),
    }
}

/// A file of our name without a readable tag: listed by the UUID in its name, never touched.
pub(super) fn unreadable(pool: &KnownPool, image: &ImageView) -> Option<HostVolume> {
    let name = image.path.file_name()?.to_string_lossy().into_owned();
    let (kind, uuid) = match (name.strip_prefix("t-"), name.strip_prefix("s-")) {
        (Some(uuid), _) => (HostObjectKind::Volume, uuid),
        (None, snapshot) => (HostObjectKind::Snapshot, snapshot?),
    };
    uuid.parse::<terrace_device_types::VolumeUuid>().ok()?;
    Some(HostVolume {
        uuid: uuid.to_owned(),
        kind,
        name: name.clone(),
        pool_uuid: pool.uuid.to_string(),
        size: Size::from_bytes(image.apparent.0),
        state: HostVolumeState::Unreadable,
        volume_mode: None,
        fs_type: None,
    })
}

fn facilities(found: &Facilities) -> Vec<Facility> {
    let Facilities { kernel: _, capabilities, filesystems, tools, loop_control } = found;
    let filesystems = filesystems.iter().map(|(fs, loaded)| Facility {
        name: fs.as_str().to_owned(),
        available: *loaded,
        detail: (!loaded)
            .then(|| "not loaded; the kernel may load it at the first mount".to_owned()),
    });
    let capabilities = capabilities.iter().map(|(capability, there)| Facility {
        name: capability.as_str().to_owned(),
        available: *there,
        detail: (!there).then(|| without(*capability).to_owned()),
    });
    let tools = tools.iter().map(|(tool, version)| Facility {
        name: tool.program().to_owned(),
        available: version.is_some(),
        detail: version.clone(),
    });
    let loops = Facility { name: "loop".to_owned(), available: *loop_control, detail: None };
    filesystems.chain(capabilities).chain(tools).chain([loops]).collect()
}

const fn without(capability: Capability) -> &'static str {
    match capability {
        Capability::SysAdmin => "nothing can be mounted",
        Capability::SysResource => {
            "a mounted ext4 cannot be grown: it grows when it is staged again"
        }
        Capability::Lease => {
            "whether somebody has an image open cannot be told: nothing is deleted"
        }
    }
}

#[cfg(test)]
#[path = "node_status/tests.rs"]
mod tests;
