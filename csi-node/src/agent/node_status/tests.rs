//! What a StorageNode shows.
use std::path::PathBuf;

use terrace_device_types::{
    Allocation, Bytes, DevT, DeviceKind, DeviceUse, FileId, Form, FsType, HostObject, Latch,
    PoolUuid, StageState, Tag, TagError, TagReading, VolumeMode, VolumeUuid,
};
use uuid::Uuid;

use super::*;
use crate::agent::health::Ailment;
use crate::presence::Absence;

fn nothing() -> Facilities {
    Facilities {
        kernel: "6.18".into(),
        capabilities: vec![(Capability::SysResource, false)],
        filesystems: vec![(FsType::Xfs, true)],
        tools: Vec::new(),
        loop_control: true,
    }
}

fn pool() -> NodePool {
    NodePool {
        name: "fast".into(),
        uuid: Some(PoolUuid(Uuid::from_u128(2)).to_string()),
        tier: "ssd".into(),
        backend: "file".into(),
        state: PoolState::Ready,
        capacity: None,
        free: None,
        metadata_used: None,
        unhealthy: None,
        message: None,
    }
}

fn known() -> KnownPool {
    let uuid = PoolUuid(Uuid::from_u128(2));
    KnownPool {
        uuid,
        name: "fast".into(),
        dir: "/pools/fast".into(),
        device: None,
        devices: Vec::new(),
    }
}

fn image(name: &str, tag: TagReading) -> ImageView {
    let path = PathBuf::from("/pools/fast").join(name);
    let id = FileId { dev: 1, ino: 1 };
    ImageView {
        path,
        id,
        apparent: Bytes::mib(16),
        allocated: Bytes::mib(16),
        form: Form::Image,
        tag,
    }
}

fn located(number: u128, state: HostState) -> Located {
    let volume = VolumeUuid(Uuid::from_u128(number));
    let tag = Tag {
        object: HostObject::Volume,
        source: None,
        volume,
        cluster: "c".parse().expect("a token"),
        pool: PoolUuid(Uuid::from_u128(2)),
        name: format!("vol-{number}"),
        mode: VolumeMode::Block,
        allocation: Allocation::Reserved,
        state,
        latch: Latch::None,
        stage: StageState::Never,
    };
    let image = image(&format!("t-{volume}"), TagReading::Read(tag.clone()));
    Located { pool: known(), image, tag }
}

/// What is there, claimed as `claims` says.
fn stock(listing: Listing, claims: Option<&[u128]>) -> Stock {
    let uuid = |number: &u128| VolumeUuid(Uuid::from_u128(*number));
    Stock { listing, claims: claims.map(|claims| claims.iter().map(uuid).collect()) }
}

/// The status after `there`, `second` seconds later.
fn status_after(
    stock: &Stock,
    devices: &[DeviceView],
    swept: Option<Verdict>,
    there: &StorageNodeStatus,
    second: i64,
) -> StorageNodeStatus {
    let facilities = nothing();
    let cluster = "c".parse().expect("a token");
    let facts = Facts {
        cluster: &cluster,
        facilities: &facilities,
        devices,
        signs: &Signs::default(),
        ailing: &[],
        absent: &[],
        pools: vec![pool()],
        stock,
        sweep_after: Duration::from_secs(600),
        swept,
        probe: None,
        journal_aside: None,
    };
    plan_node_status(&facts, there, Timestamp::from_second(second).expect("in range"))
}

fn status(listing: Listing, devices: &[DeviceView]) -> StorageNodeStatus {
    status_after(&stock(listing, Some(&[])), devices, None, &StorageNodeStatus::default(), 0)
}

#[test]
fn every_host_object_is_listed_by_uuid_whatever_its_state() {
    let deletion = "d-1".parse().expect("an id");
    let ours = vec![
        located(9, HostState::Quarantined { deletion }),
        located(8, HostState::Retained),
        located(7, HostState::Ready),
    ];
    let lost = format!("t-{}", Uuid::from_u128(1));
    let unreadable = vec![
        (known(), image(&lost, TagReading::Unreadable(TagError::NotText))),
        (known(), image("t-not-a-uuid", TagReading::Absent)),
    ];
    let status = status(Listing { ours, unreadable, failed: Vec::new() }, &[]);
    let states: Vec<_> = status.volumes.iter().map(|volume| volume.state).collect();
    let expected = [
        HostVolumeState::Unreadable,
        HostVolumeState::Ready,
        HostVolumeState::Retained,
        HostVolumeState::Quarantined,
    ];
    assert_eq!(states, expected, "sorted by UUID; a file that is none of ours is not listed");
    assert_eq!(status.counts.expect("counts").volumes, 4);
    assert_eq!(status.volumes[1].name, "vol-7");
}

#[test]
fn a_snapshot_is_listed_as_one_though_a_volume_has_its_name() {
    let mut snapshot = located(8, HostState::Ready);
    snapshot.tag.object = HostObject::Snapshot;
    snapshot.tag.name = "vol-7".into();
    let lost = (known(), image(&format!("s-{}", Uuid::from_u128(9)), TagReading::Absent));
    let ours = vec![located(7, HostState::Ready), snapshot];
    let status = status(Listing { ours, unreadable: vec![lost], failed: Vec::new() }, &[]);
    let seen = status.volumes.iter().map(|volume| (volume.kind, volume.state));
    let expected = [
        (HostObjectKind::Volume, HostVolumeState::Ready),
        (HostObjectKind::Snapshot, HostVolumeState::Ready),
        (HostObjectKind::Snapshot, HostVolumeState::Unreadable),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(status.volumes[1].name, "vol-7");
}

#[test]
fn a_disk_says_what_is_on_it_and_who_uses_it() {
    let uuid = PoolUuid(Uuid::from_u128(2));
    let disk = |id: &str, signature, uses| DeviceView {
        id: id.into(),
        kind: DeviceKind::Disk,
        path: "/dev/sda".into(),
        dev_t: DevT { major: 8, minor: 0 },
        size: Bytes::gib(1),
        model: None,
        serial: None,
        wwn: None,
        rotational: false,
        logical_sector: 512,
        physical_sector: 512,
        read_only: false,
        removable: false,
        facts: terrace_device_types::DeviceFacts::default(),
        signature,
        uses,
    };
    let at = PathBuf::from("/var/lib/terrace/mnt").join(uuid.to_string());
    let other = Signature::Other { kind: "ntfs".into(), uuid: None };
    let disks = [
        disk("blank", Signature::Blank, Vec::new()),
        disk("ours", Signature::NotProbed, vec![DeviceUse::Mounted { at }]),
        disk("theirs", other, vec![DeviceUse::Swap]),
    ];
    let status = status(Listing::default(), &disks);
    let seen: Vec<_> = status
        .devices
        .iter()
        .map(|device| (device.signature.as_deref(), device.in_use_by.as_deref()))
        .collect();
    let expected = [(None, None), (None, Some("pool fast")), (Some("ntfs"), Some("used as swap"))];
    assert_eq!(seen, expected);
}

#[test]
fn a_disk_that_fails_and_one_that_is_gone_are_named_for_the_eye_and_said_what_to_do() {
    let facilities = nothing();
    let (cluster, stock) = ("c".parse().expect("a token"), stock(Listing::default(), Some(&[])));
    let message = "disk wwn-1 (/dev/sda) is offline".to_owned();
    let ailment = Ailment { reason: Reason::DiskFailing, message: message.clone() };
    let ailing = [Ailing { id: "wwn-1".into(), name: "sda".into(), ailment }];
    let hurt = NodePool { unhealthy: Some("disk wwn-2 is not there".into()), ..pool() };
    let signs = Signs::default();
    let facts = |ailing, absent, pools| Facts {
        cluster: &cluster,
        facilities: &facilities,
        devices: &[],
        signs: &signs,
        ailing,
        absent,
        pools,
        stock: &stock,
        sweep_after: Duration::from_secs(600),
        swept: None,
        probe: None,
        journal_aside: None,
    };
    let said = |facts: &Facts<'_>| {
        let status = plan_node_status(facts, &StorageNodeStatus::default(), Timestamp::UNIX_EPOCH);
        let healthy = condition::find(&status.conditions, ConditionType::DisksHealthy).cloned();
        let healthy = healthy.expect("always said");
        (status.failing_disks, healthy.status, healthy.message)
    };
    let absent = ["wwn-2".to_owned()];
    let (failing, truth, told) = said(&facts(&ailing, &absent, vec![hurt]));
    assert_eq!((failing.as_deref(), truth.as_str()), (Some("wwn-1, wwn-2 (missing)"), "False"));
    assert_eq!(told, format!("pool fast: disk wwn-2 is not there; {message}"));
    let (failing, truth, _) = said(&facts(&[], &[], vec![pool()]));
    assert_eq!((failing, truth.as_str()), (None, "True"));
}

#[test]
fn a_missing_capability_says_what_follows() {
    let status = status(Listing::default(), &[]);
    let found = status.facilities.iter().find(|facility| facility.name == "CAP_SYS_RESOURCE");
    let found = found.expect("listed");
    assert!(!found.available);
    assert!(found.detail.as_ref().expect("said").contains("ext4 cannot be grown"));
}

#[test]
fn i8_the_same_facts_give_the_same_status() {
    let listing = Listing { ours: vec![located(1, HostState::Ready)], ..Listing::default() };
    let stock = stock(listing, Some(&[]));
    let swept =
        || Some(Verdict::new(ConditionType::Swept, Truth::True, Reason::AsExpected, "in its time"));
    let first = status_after(&stock, &[], swept(), &StorageNodeStatus::default(), 0);
    assert_eq!(status_after(&stock, &[], swept(), &first, 1_000_000), first);
    let restarted = status_after(&stock, &[], None, &first, 1_000_000);
    assert_eq!(restarted, first, "what an earlier run's sweeper said stays until it says more");
}

#[test]
fn what_a_pool_holds_that_cannot_be_seen_stays_listed_as_it_was_last_seen() {
    let ours = vec![located(1, HostState::Ready)];
    let seen = status(Listing { ours, ..Listing::default() }, &[]);
    assert_eq!((seen.volumes.len(), seen.orphans.len()), (1, 1));
    let absence = Absence::Unmarked { dir: known().dir, pool: known().uuid };
    let listing = Listing { failed: vec![(known(), absence)], ..Listing::default() };
    let unseen = status_after(&stock(listing, Some(&[])), &[], None, &seen, 0);
    assert_eq!(unseen.volumes, seen.volumes, "not seeing them is not their end");
    assert_eq!(unseen.orphans, seen.orphans);
    assert!(unseen.conditions[0].message.contains("is its disk mounted?"));
}

#[test]
fn nothing_is_called_an_orphan_before_the_watches_have_listed_everything() {
    let listing = || Listing { ours: vec![located(1, HostState::Ready)], ..Listing::default() };
    let there = StorageNodeStatus::default();
    let starting = status_after(&stock(listing(), None), &[], None, &there, 0);
    assert_eq!((starting.orphans.len(), starting.counts.expect("counts").orphans), (0, 0));
    let before = status(listing(), &[]);
    let restarted = status_after(&stock(listing(), None), &[], None, &before, 0);
    assert_eq!(restarted, before, "nor is one forgotten");
    let claimed = status_after(&stock(listing(), Some(&[1])), &[], None, &before, 0);
    assert!(claimed.orphans.is_empty());
}

#[test]
fn of_more_orphans_than_fit_the_number_is_told() {
    let ours = (1..=300).map(|number| located(number, HostState::Retained)).collect();
    let status = status(Listing { ours, ..Listing::default() }, &[]);
    assert_eq!((status.orphans.len(), status.counts.expect("counts").orphans), (256, 300));
}
