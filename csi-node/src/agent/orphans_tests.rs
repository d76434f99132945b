//! A listing in, prose out.
use terrace_device_types::{
    Allocation, Bytes, FileId, Form, ImageView, Latch, PoolUuid, Tag, TagReading, VolumeMode,
    VolumeUuid,
};
use uuid::Uuid;

use super::*;
use crate::journal::KnownPool;
use crate::presence::Absence;

const AFTER: Duration = Duration::from_secs(600);

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
    let path = known().dir.join(name);
    let (id, size) = (FileId { dev: 1, ino: 1 }, Bytes::mib(16));
    ImageView { path, id, apparent: size, allocated: size, form: Form::Image, tag }
}

fn located(number: u128, state: HostState) -> Located {
    let volume = VolumeUuid(Uuid::from_u128(number));
    let tag = Tag {
        object: HostObject::Volume,
        source: None,
        volume,
        cluster: "c".parse().expect("a token"),
        pool: known().uuid,
        name: format!("pvc-{number}"),
        mode: VolumeMode::Block,
        allocation: Allocation::Reserved,
        state,
        latch: Latch::None,
        stage: StageState::Never,
    };
    let image = image(&format!("t-{volume}"), TagReading::Read(tag.clone()));
    Located { pool: known(), image, tag }
}

fn quarantined(number: u128) -> Located {
    located(number, HostState::Quarantined { deletion: "d-1".parse().expect("an id") })
}

fn claims(numbers: &[u128]) -> Claims {
    numbers.iter().map(|number| VolumeUuid(Uuid::from_u128(*number))).collect()
}

fn told(listing: &Listing, claims: &Claims, before: &[Orphan]) -> Vec<String> {
    let orphans = plan_orphans(listing, claims, before, AFTER);
    let line = |orphan: &Orphan| {
        let number = orphan.uuid.trim_start_matches(['0', '-']);
        format!("{number} {:?} {}: {}", orphan.kind, orphan.reason.as_str(), orphan.message)
    };
    orphans.iter().map(line).collect()
}

#[test]
fn every_state_has_its_reason_and_its_verb() {
    let mut snapshot = located(6, HostState::Retained);
    snapshot.tag.object = HostObject::Snapshot;
    let mut staged = located(4, HostState::Creating);
    staged.tag.stage = StageState::Past;
    let ours = vec![
        located(1, HostState::Retained),
        located(2, HostState::Ready),
        located(3, HostState::Creating),
        staged,
        quarantined(5),
        snapshot,
        located(7, HostState::Ready),
    ];
    let lost = image(&format!("t-{}", Uuid::from_u128(8)), TagReading::Absent);
    let listing = Listing { ours, unreadable: vec![(known(), lost)], failed: Vec::new() };
    let verbs = "`kubectl terrace orphan adopt` takes it into service, `kubectl terrace orphan delete` destroys it";
    let expected = [
        format!("1 Volume Retained: kept when its StorageVolume went; {verbs}"),
        format!("2 Volume NoObject: in service, and no StorageVolume names it; {verbs}"),
        "3 Volume Unfinished: begun and never finished: removed when nothing has named it for 10 min".into(),
        format!("4 Volume Unfinished: never finished, yet it was staged, so it is kept; {verbs}"),
        "5 Volume Quarantined: its deletion is proven: removed when nothing has named it for 10 min".into(),
        "6 Snapshot Retained: kept when its StorageSnapshot went; `kubectl terrace orphan delete` destroys it".into(),
        "8 Volume Unreadable: the tag of /pools/fast/t-00000000-0000-0000-0000-000000000008 cannot be read, so nothing touches it: look at it on the node".into(),
    ];
    assert_eq!(told(&listing, &claims(&[7]), &[]), expected, "what is claimed is none");
}

#[test]
fn of_two_with_one_uuid_the_one_a_person_can_do_something_about_is_listed() {
    let listing = Listing {
        ours: vec![quarantined(1), located(1, HostState::Retained)],
        ..Listing::default()
    };
    let told = told(&listing, &claims(&[]), &[]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("1 Volume Retained"), "{told:?}");
}

#[test]
fn what_lies_on_a_pool_out_of_sight_is_not_gone() {
    let ours = vec![located(1, HostState::Retained)];
    let seen = Listing { ours, ..Listing::default() };
    let before = plan_orphans(&seen, &claims(&[]), &[], AFTER);
    let absence = Absence::Unmarked { dir: known().dir, pool: known().uuid };
    let away = Listing { failed: vec![(known(), absence)], ..Listing::default() };
    assert_eq!(plan_orphans(&away, &claims(&[]), &before, AFTER), before);
    assert_eq!(plan_orphans(&Listing::default(), &claims(&[]), &before, AFTER), []);
}

#[test]
fn i1_only_what_was_never_staged_or_is_proven_to_go_may_be_swept() {
    let mut staged = located(4, HostState::Creating);
    staged.tag.stage = StageState::Past;
    let ours = vec![
        located(1, HostState::Retained),
        located(2, HostState::Ready),
        located(3, HostState::Creating),
        staged,
        quarantined(5),
        quarantined(6),
    ];
    let listing = Listing { ours, ..Listing::default() };
    let candidates = plan_candidates(&listing, &claims(&[6]));
    let told: Vec<_> = candidates.iter().map(ToString::to_string).collect();
    let expected = [
        "volume pvc-3 (00000000-0000-0000-0000-000000000003), never finished",
        "volume pvc-5 (00000000-0000-0000-0000-000000000005), quarantined by deletion d-1",
    ];
    assert_eq!(told, expected);
    assert_eq!(in_service(&listing), (1, 0));
}
