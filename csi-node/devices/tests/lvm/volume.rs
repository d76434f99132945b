//! A volume's life: made in each way, grown, tagged, renamed, switched, removed; each twice, since each may be done again after a crash.

use terrace_device_types::lvm::{DmTarget, LvKind, RaidLeg, VolumeKind};
use terrace_device_types::{
    Bytes, Claimed, DeletionProof, DeletionStamp, HostState, Latch, PvReading, StageState,
    StepDone, Tag, TagReading,
};
use terrace_devices::DeviceError;
use terrace_devices::observe_boot;

use crate::rig::{Rig, linear, lv, lv_name, node, read_at, sh, soon, thin, volume_of, write_at};

#[test]
fn each_kind_is_made_with_its_tag_and_found_again() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(3);
    rig.thin_pool(&group, 64);
    let (size, stripes, piece) = (Bytes::mib(24), 2, Bytes::kib(64));
    let kinds = [
        ("linear", LvKind::Linear, linear(24)),
        ("striped", LvKind::Striped, VolumeKind::Striped { size, stripes, piece }),
        ("raid", LvKind::Raid1, VolumeKind::Raid1 { size, mirrors: 1 }),
        ("thin", LvKind::Thin, thin(24)),
    ];
    for (name, kind, how) in kinds {
        let new = rig.volume(name, how);
        let seen = rig.create(&group, &new);
        let found = seen.lv(name).unwrap();
        assert_eq!((&found.kind, found.size), (&kind, size), "{name}");
        assert_eq!(found.tag, TagReading::Read(new.tag.clone()), "{name}");
        assert!(found.dev_t.is_some() && !found.skips_activation, "{name}");
        let again = rig.lvm.create_volumes(&group, &[new], soon()).unwrap();
        assert_eq!(again.each.into_iter().next().unwrap().unwrap(), StepDone::Already, "{name}");
        assert_eq!(again.group.lvs.len(), seen.lvs.len());
        let status = rig.lvm.observe_status(&seen.uuid, &found.uuid, &kind).unwrap().unwrap();
        assert_eq!(Some(status.dev_t), found.dev_t);
        let target = &status.targets[0];
        match kind {
            LvKind::Linear => assert_eq!(*target, DmTarget::Linear),
            LvKind::Striped => assert_eq!(*target, DmTarget::Striped),
            LvKind::Thin => assert_eq!(*target, DmTarget::Thin { mapped: Some(Bytes::ZERO) }),
            LvKind::Raid1 => assert!(matches!(target, DmTarget::Raid(_)), "{target:?}"),
            LvKind::ThinPool | LvKind::Other { .. } => panic!("{kind:?}"),
        }
    }
}

#[test]
fn a_raid_tells_when_its_copies_are_alike() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    let kind = VolumeKind::Raid1 { size: Bytes::mib(16), mirrors: 1 };
    let seen = rig.create(&group, &rig.volume("raid", kind));
    let uuid = &seen.lv("raid").unwrap().uuid;
    loop {
        let status = rig.lvm.observe_status(&seen.uuid, uuid, &LvKind::Raid1).unwrap().unwrap();
        let DmTarget::Raid(raid) = &status.targets[0] else { panic!("{status:?}") };
        if raid.synced.used == raid.synced.total && raid.action == "idle" {
            assert_eq!(raid.legs, [RaidLeg::Whole, RaidLeg::Whole]);
            break;
        }
        assert!(!soon().left().is_zero());
        std::thread::yield_now();
    }
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    assert_eq!(seen.lv("raid").unwrap().synced, Some(10_000));
}

#[test]
fn what_a_removed_volume_left_is_no_signature_of_a_new_one() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let seen = rig.create(&group, &rig.volume("old", linear(64)));
    sh(&format!("mkfs.ext4 -q {}", node(&seen, "old").display()));
    write_at(&node(&seen, "old"), (64 << 20) - 4096, 9, 4096);
    rig.lvm.remove_unfinished_volume(&group, &lv("old"), soon()).unwrap();
    let seen = rig.create(&group, &rig.volume("new", linear(64)));
    let device = node(&seen, "new");
    assert_eq!(read_at(&device, 0, 1 << 20), vec![0; 1 << 20]);
    assert_eq!(read_at(&device, 63 << 20, 1 << 20), vec![0; 1 << 20]);
}

#[test]
fn i2_a_volume_that_may_hold_data_is_not_wiped_by_a_second_create() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let new = rig.volume("v", linear(8));
    let seen = rig.create(&group, &new);
    let ready = Tag { state: HostState::Ready, ..new.tag.clone() };
    rig.lvm.write_tag(&group, &lv("v"), &ready, soon()).unwrap();
    write_at(&node(&seen, "v"), 0, 5, 4096);
    let again = rig.lvm.create_volumes(&group, &[new], soon()).unwrap();
    assert_eq!(again.each.into_iter().next().unwrap().unwrap(), StepDone::Already);
    assert_eq!(read_at(&node(&again.group, "v"), 0, 4096), vec![5; 4096]);
}

#[test]
fn a_volume_grows_and_never_shrinks_and_too_much_is_no_space() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    rig.create(&group, &rig.volume("v", linear(8)));
    let to = |size| rig.lvm.extend_volume(&group, &lv("v"), Bytes::mib(size), soon());
    let grown = to(30).unwrap();
    assert_eq!(
        (grown.done, grown.group.lv("v").unwrap().size),
        (StepDone::Changed, Bytes::mib(30))
    );
    assert_eq!(to(30).unwrap().done, StepDone::Already);
    assert_eq!(to(8).unwrap().done, StepDone::Already);
    let error = to(100_000).unwrap_err();
    assert!(matches!(error, DeviceError::NoSpace { .. }), "{error}");
    let error = rig.create_fails(&group, &rig.volume("large", linear(100_000)));
    assert!(matches!(error, DeviceError::NoSpace { .. }), "{error}");
    assert!(rig.lvm.observe_group(&group, soon()).unwrap().lv("large").is_none());
}

#[test]
fn a_tag_is_replaced_as_a_whole_and_the_latch_only_moves_forward() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let new = rig.volume("v", linear(8));
    let seen = rig.create(&group, &new);
    let filesystem = volume_of("v").filesystem_uuid();
    let stage = StageState::At { boot: "b-1".parse().unwrap(), target: "/var/lib/a b/c,d".into() };
    let latch = Latch::Formatting { operation: "op-1".parse().unwrap() };
    let staged = Tag { state: HostState::Ready, latch, stage, ..new.tag.clone() };
    let write = |tag: &Tag| rig.lvm.write_tag(&group, &lv("v"), tag, soon());
    let written = write(&staged).unwrap();
    assert_eq!(written.group.lv("v").unwrap().tag, TagReading::Read(staged.clone()));
    assert_eq!(written.group.seqno, seen.seqno + 1, "not one commit");
    assert_eq!(write(&staged).unwrap().done, StepDone::Already);
    let formatted = Tag { latch: Latch::Formatted { filesystem }, ..staged.clone() };
    write(&formatted).unwrap();
    let back = write(&staged).unwrap_err();
    assert!(matches!(back, DeviceError::Changed { .. }), "{back}");
    let deletion = "d-1".parse().unwrap();
    let doomed = Tag { state: HostState::Quarantined { deletion }, ..formatted };
    assert!(matches!(write(&doomed), Err(DeviceError::Bug { .. })));
}

#[test]
fn i1_a_volume_goes_only_with_the_tag_of_its_own_deletion_and_unopened() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let new = rig.volume("v", linear(8));
    let seen = rig.create(&group, &new);
    let host = terrace_devices::Host::real();
    let stage = StageState::At { boot: observe_boot(&host).unwrap(), target: "/t".into() };
    let ready = Tag { state: HostState::Ready, stage, ..new.tag.clone() };
    rig.lvm.write_tag(&group, &lv("v"), &ready, soon()).unwrap();
    let (volume, id) = (volume_of("v"), "d-1".parse().unwrap());
    let stamp = DeletionStamp { volume, id };
    let claimed = Claimed::Volume(PvReading::NotFound);
    let proof =
        DeletionProof::check(Some(&stamp), volume, &ready.cluster, &claimed, &ready).unwrap();
    let quarantine = || rig.lvm.quarantine_volume(&group, &lv_name("v"), &proof, soon());
    let remove = |name: &str, id: &str| {
        let wanted = terrace_device_types::lvm::LvRef { name: lv_name(name), volume };
        rig.lvm.remove_volume(&group, &wanted, &id.parse().unwrap(), soon())
    };
    assert!(matches!(quarantine(), Err(DeviceError::Busy { by: "it is staged", .. })));
    let past = Tag { stage: StageState::Past, ..ready };
    rig.lvm.write_tag(&group, &lv("v"), &past, soon()).unwrap();
    let open = std::fs::File::open(node(&seen, "v")).unwrap();
    assert!(matches!(quarantine(), Err(DeviceError::Busy { .. })));
    drop(open);
    assert!(matches!(remove("v", "d-1"), Err(DeviceError::Changed { .. })));
    let unfinished = rig.lvm.remove_unfinished_volume(&group, &lv("v"), soon());
    assert!(matches!(unfinished, Err(DeviceError::Changed { .. })));
    assert_eq!(quarantine().unwrap().done, StepDone::Changed);
    assert_eq!(quarantine().unwrap().done, StepDone::Already);
    let rename = || rig.lvm.rename_volume(&group, &lv("v"), &lv_name("q-d-1"), soon());
    assert_eq!(rename().unwrap().done, StepDone::Changed);
    assert_eq!(rename().unwrap().done, StepDone::Already);
    assert!(matches!(remove("q-d-1", "d-2"), Err(DeviceError::Changed { .. })));
    let open = std::fs::File::open(node(&seen, "v")).unwrap();
    assert!(matches!(remove("q-d-1", "d-1"), Err(DeviceError::Busy { .. })));
    drop(open);
    let removed = remove("q-d-1", "d-1").unwrap();
    assert_eq!((removed.done, removed.group.lvs.len()), (StepDone::Changed, 0));
    assert_eq!(remove("q-d-1", "d-1").unwrap().done, StepDone::Already);
    assert_eq!(removed.group.free, removed.group.size);
}

#[test]
fn a_volume_is_switched_off_and_on_and_not_while_it_is_open() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let seen = rig.create(&group, &rig.volume("v", linear(8)));
    let off = || rig.lvm.deactivate_volumes(&group, &[lv("v")], soon());
    let open = std::fs::File::open(node(&seen, "v")).unwrap();
    assert!(matches!(off(), Err(DeviceError::Busy { .. })));
    drop(open);
    let gone = off().unwrap();
    assert_eq!((gone.done, gone.group.lv("v").unwrap().dev_t), (StepDone::Changed, None));
    let uuid = &gone.group.lv("v").unwrap().uuid;
    assert_eq!(rig.lvm.observe_status(&seen.uuid, uuid, &LvKind::Linear).unwrap(), None);
    assert_eq!(off().unwrap().done, StepDone::Already);
    let on = || rig.lvm.activate_volumes(&group, &[lv("v")], soon()).unwrap();
    assert_eq!(on().done, StepDone::Changed);
    assert_eq!(on().done, StepDone::Already);
}
