//! What is not ours (I4): a group of the same name, a volume of our name, a copy of our disk. It is refused or not seen, and stays as it was.

use terrace_device_types::lvm::GroupRef;
use terrace_device_types::{Class, DeletionId, TagReading};
use terrace_devices::DeviceError;

use crate::rig::{Rig, linear, lv, lv_name, sh, soon, volume_of};

#[test]
fn i4_a_foreign_group_of_the_same_name_is_not_there_for_us() {
    let Some(rig) = Rig::new() else { return };
    let foreign = rig.disks[2].display().to_string();
    sh(&format!(
        "lvm vgcreate -qq --config 'backup/backup=0 backup/archive=0' tank {foreign} 2>&1"
    ));
    let before = sh(&format!("head -c 67108864 {foreign} | sha256sum"));
    let group = rig.tank(2);
    let seen = rig.create(&group, &rig.volume("v", linear(8)));
    assert_eq!(seen.uuid, group.uuid);
    rig.lvm.extend_volume(&group, &lv("v"), terrace_device_types::Bytes::mib(16), soon()).unwrap();
    rig.lvm.remove_unfinished_volume(&group, &lv("v"), soon()).unwrap();
    assert_eq!(
        sh(&format!("head -c 67108864 {foreign} | sha256sum")),
        before,
        "the foreign group was written to"
    );

    // Its disk named for our group, alone or beside ours, is refused.
    for devices in [vec![rig.disks[2].clone()], rig.disks[..3].to_vec()] {
        let named = GroupRef { uuid: group.uuid.clone(), devices };
        let error = rig.lvm.observe_group(&named, soon()).unwrap_err();
        assert!(matches!(error, DeviceError::Changed { .. }), "{error}");
    }
    assert_eq!(
        sh(&format!("head -c 67108864 {foreign} | sha256sum")),
        before,
        "the foreign group was written to"
    );
}

#[test]
fn i4_a_group_that_others_have_open_is_still_chosen_by_its_uuid() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let renamed = rig.disks[0].display().to_string();
    sh(&format!("lvm vgrename -qq --devices {renamed} tank other 2>&1"));
    let seen = rig.create(&group, &rig.volume("v", linear(8)));
    assert_eq!((seen.name.as_str(), seen.uuid), ("other", group.uuid));
}

#[test]
fn i4_a_volume_of_our_name_without_our_tag_is_refused_and_stays() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let disk = rig.disks[0].display();
    sh(&format!("lvm lvcreate -qq --devices {disk} -L 8m -n v --addtag mine tank 2>&1"));
    let error = rig.create_fails(&group, &rig.volume("v", linear(8)));
    assert!(matches!(error, DeviceError::Changed { .. }), "{error}");
    let deletion: DeletionId = "d-1".parse().unwrap();
    let refused = [
        rig.lvm.extend_volume(&group, &lv("v"), terrace_device_types::Bytes::mib(16), soon()),
        rig.lvm.write_tag(&group, &lv("v"), &rig.tag(volume_of("v")), soon()),
        rig.lvm.rename_volume(&group, &lv("v"), &lv_name("w"), soon()),
        rig.lvm.deactivate_volumes(&group, &[lv("v")], soon()),
        rig.lvm.remove_volume(&group, &lv("v"), &deletion, soon()),
        rig.lvm.remove_unfinished_volume(&group, &lv("v"), soon()),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert!(matches!(error, DeviceError::Changed { .. }), "{error}");
    }
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    let found = seen.lv("v").unwrap();
    assert_eq!((&found.tags[..], &found.tag), (&["mine".to_owned()][..], &TagReading::Absent));
    assert_eq!(found.size, terrace_device_types::Bytes::mib(8));
}

#[test]
fn i4_two_devices_that_are_the_same_physical_volume_are_told_and_nothing_is_chosen() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let (one, copy) = (rig.disks[0].display(), rig.disks[1].display());
    sh(&format!("dd if={one} of={copy} bs=1M count=64 status=none"));
    let both = GroupRef { uuid: group.uuid.clone(), devices: rig.disks[..2].to_vec() };
    let error = rig.lvm.create_volumes(&both, &[rig.volume("v", linear(8))], soon()).unwrap_err();
    assert!(matches!(error, DeviceError::DuplicatePv { .. }), "{error}");
    assert_eq!((error.class(), error.reason()), (Class::Wait, "DuplicatePhysicalVolume"));
    // With only one of them named, the other is not there.
    rig.create(&group, &rig.volume("v", linear(8)));
}
