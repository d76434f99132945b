//! The journal on a real file.
use std::path::{Path, PathBuf};

use proptest::prelude::{any, prop, proptest};
use terrace_device_types::{
    Access, Allocation, DeviceRef, HostObject, HostState, Latch, PoolUuid, StageState, Step, Tag,
    VolumeMode, VolumeUuid,
};
use uuid::Uuid;

use super::record::{Record, Resume, Subject, Undo};
use super::{Found, Journal, KnownPool};
use crate::operation::OpKind;
use crate::queue::schedule::OpId;

fn open(path: &Path) -> (Journal, Found) {
    Journal::open(path, jiff::Timestamp::UNIX_EPOCH).expect("the disk is fine")
}

fn record(number: u128, next: usize) -> Record {
    let target = PathBuf::from("/target");
    let steps = [
        Step::MakeTarget { target: target.clone(), mode: VolumeMode::Block },
        Step::BindDevice {
            device: DeviceRef::LoopOf { image: "/pool/t-1".into() },
            to: target.clone(),
            access: Access::ReadWrite,
        },
        Step::SetAutoclear { image: "/pool/t-1".into() },
    ];
    let volume = Some(VolumeUuid(Uuid::from_u128(number)));
    let subject = Subject { volume, target: Some(target), ..Subject::default() };
    let begun = jiff::Timestamp::UNIX_EPOCH;
    let id = OpId(Uuid::from_u128(number));
    Record { next, ..Record::new(id, OpKind::Publish, subject, &steps, begun) }
}

#[test]
fn what_was_begun_is_known_after_a_restart_until_it_is_over() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("journal.redb");
    let (journal, found) = open(&path);
    assert_eq!(found, Found::New);
    journal.put(&record(1, 0)).expect("written");
    journal.put(&record(1, 2)).expect("written");
    journal.put(&record(2, 0)).expect("written");
    drop(journal);
    let (journal, found) = open(&path);
    assert_eq!(found, Found::Read);
    journal.remove(OpId(Uuid::from_u128(2))).expect("written");
    assert_eq!(journal.open_operations().expect("read"), [record(1, 2)]);
}

#[test]
fn a_new_operation_on_a_volume_replaces_what_was_left_of_an_older_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (journal, _) = open(&dir.path().join("journal.redb"));
    journal.begin(&record(1, 2)).expect("written");
    journal.begin(&record(2, 0)).expect("written");
    let again = Record { id: OpId(Uuid::from_u128(77)), ..record(1, 0) };
    journal.begin(&again).expect("written");
    let mut ids: Vec<_> = journal.open_operations().expect("read").iter().map(|r| r.id).collect();
    ids.sort();
    assert_eq!(ids, [OpId(Uuid::from_u128(2)), again.id]);
}

#[test]
fn pools_are_known_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("journal.redb");
    let uuid = PoolUuid(Uuid::from_u128(9));
    let pool = KnownPool {
        uuid,
        name: "fast".into(),
        dir: "/pools/fast".into(),
        device: None,
        devices: Vec::new(),
    };
    open(&path).0.put_pool(&pool).expect("written");
    let (journal, _) = open(&path);
    assert_eq!(journal.pools().expect("read"), [pool]);
    journal.remove_pool(uuid).expect("written");
    assert_eq!(journal.pools().expect("read"), []);
}

#[test]
fn garbage_is_set_aside_and_a_new_journal_begun() {
    for garbage in [&b"not a database"[..], &[0_u8; 8192], &[0xff_u8; 100_000], b""] {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("journal.redb");
        std::fs::write(&path, garbage).expect("written");
        let (journal, found) = open(&path);
        if let Found::SetAside(aside) = &found {
            assert_eq!(std::fs::read(aside).expect("kept"), garbage);
        } else {
            assert!(garbage.is_empty(), "{} bytes were taken for a journal", garbage.len());
        }
        journal.put(&record(1, 0)).expect("a usable journal");
        assert_eq!(journal.open_operations().expect("read").len(), 1);
    }
}

#[test]
fn a_record_that_cannot_be_read_does_not_hide_the_others() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("journal.redb");
    let (journal, _) = open(&path);
    journal.put(&record(1, 0)).expect("written");
    let odd = serde_json::json!({ "not": "a record" });
    journal.insert(super::OPERATIONS, "odd", &odd).expect("written");
    assert_eq!(journal.open_operations().expect("read"), [record(1, 0)]);
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn a_damaged_journal_never_stops_a_start(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("journal.redb");
        let (journal, _) = open(&path);
        for number in 0..8 {
            journal.put(&record(number, 1)).expect("written");
        }
        drop(journal);
        let mut bytes = std::fs::read(&path).expect("read");
        for (index, byte) in damage {
            let at = index.index(bytes.len().min(16_384));
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, bytes).expect("written");
        let (journal, _) = open(&path);
        journal.put(&record(99, 0)).expect("a usable journal");
        assert!(journal.open_operations().expect("read").contains(&record(99, 0)));
    }
}

#[test]
fn rollback_takes_back_what_may_have_happened_last_first() {
    let target = || PathBuf::from("/target");
    let all = [Step::Unmount { target: target() }, Step::RemoveTarget { target: target() }];
    assert_eq!(record(1, 1).rollback(), all);
    assert_eq!(record(1, 2).rollback(), all, "the third step has no undo");
    assert_eq!(record(1, 0).rollback(), all[1..]);
}

/// What copies one volume: freeze, copy, thaw, ready.
fn copying(next: usize) -> Record {
    let (mount, image) = (PathBuf::from("/staging"), PathBuf::from("/pool/t-1"));
    let (copy, volume) = (PathBuf::from("/pool/s-2"), VolumeUuid(Uuid::from_u128(2)));
    let device = DeviceRef::LoopOf { image: image.clone() };
    let steps = [
        Step::FreezeFilesystem { mount: mount.clone(), device: device.clone() },
        Step::CloneImage {
            from: image,
            source: VolumeUuid(Uuid::from_u128(1)),
            image: copy.clone(),
            tag: Box::new(tag(volume)),
        },
        Step::ThawFilesystem { mount, device },
        Step::WriteState { image: copy, volume, state: HostState::Ready },
    ];
    let (id, begun) = (OpId(Uuid::from_u128(9)), jiff::Timestamp::UNIX_EPOCH);
    Record { next, ..Record::new(id, OpKind::Copy, Subject::default(), &steps, begun) }
}

fn tag(volume: VolumeUuid) -> Tag {
    Tag {
        object: HostObject::Snapshot,
        volume,
        cluster: "c".parse().expect("a token"),
        pool: PoolUuid(Uuid::from_u128(3)),
        name: "snap".into(),
        mode: VolumeMode::Block,
        allocation: Allocation::Reserved,
        state: HostState::Creating,
        latch: Latch::None,
        stage: StageState::Never,
        source: None,
    }
}

#[test]
fn i10_a_rollback_thaws_before_all_else() {
    let back = copying(1).rollback();
    assert!(
        matches!(back.as_slice(), [Step::EndFreeze { .. }, Step::RemoveUnfinished { .. }]),
        "{back:?}"
    );
    assert!(matches!(copying(0).rollback().as_slice(), [Step::EndFreeze { .. }]));
}

/// The journal is all that the next start knows of it.
#[test]
fn i10_a_freeze_on_any_device_is_taken_back_by_the_next_start() {
    let lv = DeviceRef::Lv {
        group: "fY3zWk-6dpC-2l4H-Xb0N-RtQe-9aUs-JmV1oL".parse().expect("a UUID of lvm"),
        lv: "Zk1pQw-8rTy-4uIo-Pa5S-dFgH-jKl7-zXcV0b".parse().expect("a UUID of lvm"),
        name: "t-1".into(),
    };
    for device in [DeviceRef::LoopOf { image: PathBuf::from("/pool/t-1") }, lv] {
        let freeze = Step::FreezeFilesystem { mount: PathBuf::from("/staging"), device };
        let undo = Undo::of(OpKind::Copy, &freeze).expect("a freeze outlives its process");
        let text = serde_json::to_string(&undo).expect("json");
        let again: Undo = serde_json::from_str(&text).expect("json");
        assert_eq!(again, undo);
        assert_eq!(again.step(), terrace_device_types::undo(&freeze));
    }
}

#[test]
fn i3_copies_of_which_one_may_be_in_service_are_not_taken_back() {
    let back = copying(3).rollback();
    assert!(matches!(back.as_slice(), [Step::EndFreeze { .. }]), "{back:?}");
    let text = serde_json::to_string(&copying(3)).expect("json");
    assert_eq!(serde_json::from_str::<Record>(&text).expect("json"), copying(3));
}

#[test]
fn an_undo_is_the_step_it_was_made_of() {
    for undo in record(1, 0).undo.into_iter().flatten() {
        let again: Undo =
            serde_json::from_str(&serde_json::to_string(&undo).expect("json")).expect("json");
        assert_eq!(again.step(), undo.step());
    }
}

#[test]
fn what_destroys_is_never_run_from_the_journal() {
    assert_eq!(OpKind::Delete.resume(), Resume::NextPass);
    assert_eq!(OpKind::Stage.resume(), Resume::Undo);
}
