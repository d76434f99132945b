//! Groups: made on what is blank, grown by what is blank, found again, and nothing else touched.

use terrace_device_types::lvm::GroupRef;
use terrace_device_types::{Bytes, PoolFileReading, StepDone};
use terrace_devices::DeviceError;
use terrace_devices::lvm::observe_labels;

use crate::rig::{Rig, read_at, sh, soon, write_at};

#[test]
fn a_group_is_made_once_says_whose_it_is_and_its_labels_tell_every_change() {
    let Some(rig) = Rig::new() else { return };
    let new = rig.new_group("tank", &rig.disks[..2]);
    let made = rig.lvm.make_group(&new, soon()).unwrap();
    assert_eq!(made.done, StepDone::Changed);
    assert_eq!(made.group.pool, PoolFileReading::Read(rig.pool_file()));
    assert_eq!((made.group.pvs.len(), made.group.missing), (2, 0));
    assert_eq!(made.group.pvs[0].uuid, new.devices[0].uuid);
    assert_eq!(made.group.size, made.group.free);

    let again = rig.lvm.make_group(&new, soon()).unwrap();
    assert_eq!((again.done, &again.group), (StepDone::Already, &made.group));

    let group = GroupRef { uuid: made.group.uuid.clone(), devices: rig.disks[..2].to_vec() };
    let more = [rig.new_pv(&rig.disks[2])];
    let grown = rig.lvm.extend_group(&group, &more, soon()).unwrap();
    assert_eq!((grown.done, grown.group.pvs.len()), (StepDone::Changed, 3));
    assert_eq!(rig.lvm.extend_group(&group, &more, soon()).unwrap().done, StepDone::Already);

    for (device, label) in observe_labels(&rig.disks[..3]) {
        let mark = label.unwrap().unwrap().group.unwrap();
        assert_eq!((&mark.uuid, mark.name.as_str()), (&group.uuid, "tank"), "{device:?}");
        assert_eq!(mark.seqno, grown.group.seqno, "{device:?}");
    }
    assert!(grown.group.seqno > made.group.seqno);
}

#[test]
fn a_group_left_half_made_is_finished() {
    let Some(rig) = Rig::new() else { return };
    let new = rig.new_group("tank", &rig.disks[..2]);
    // Killed between pvcreate and vgcreate.
    let (uuid, disk) = (&new.devices[0].uuid, rig.disks[0].display());
    sh(&format!("lvm pvcreate -qq --norestorefile --uuid {uuid} --metadatasize 16m {disk} 2>&1"));
    let made = rig.lvm.make_group(&new, soon()).unwrap();
    assert_eq!((made.done, made.group.pvs.len()), (StepDone::Changed, 2));
}

#[test]
fn only_what_is_blank_and_nobodys_becomes_part_of_a_group() {
    let Some(rig) = Rig::new() else { return };
    let refused = |name: &str| {
        let new = rig.new_group(name, &rig.disks[..2]);
        let head = || read_at(&rig.disks[0], 0, 32 << 20);
        let before = head();
        let error = rig.lvm.make_group(&new, soon()).unwrap_err();
        assert!(head() == before, "{name}: it was written to");
        error
    };
    let disk = rig.disks[1].display().to_string();
    sh(&format!("mkfs.ext4 -q {disk}"));
    assert!(matches!(refused("ext4"), DeviceError::Changed { .. }));
    sh(&format!("mount {disk} /mnt"));
    let mounted = refused("mounted");
    sh("umount /mnt");
    assert!(matches!(mounted, DeviceError::Busy { .. }), "{mounted}");
    sh(&format!("wipefs -qa {disk}; head -c 2000000 /dev/zero > {disk}"));
    write_at(&rig.disks[1], 700_000, 7, 1);
    assert!(matches!(refused("data"), DeviceError::Changed { .. }));
    write_at(&rig.disks[1], 700_000, 0, 1);
    sh(&format!("lvm pvcreate -qq {disk} 2>&1"));
    assert!(matches!(refused("pv"), DeviceError::Changed { .. }));
    let mut new = rig.new_group("number", &rig.disks[..1]);
    new.devices[0].dev_t.minor += 1;
    let number = rig.lvm.make_group(&new, soon()).unwrap_err();
    assert!(matches!(number, DeviceError::Changed { .. }));
}

#[test]
fn a_device_that_grew_and_one_that_lvm_does_not_know_yet_are_told_by_their_sizes() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    let pv = &seen.pvs[0];
    assert_eq!(pv.device.as_deref(), Some(rig.disks[0].as_path()));
    assert!(pv.device_size > pv.size && pv.device_size.minus(pv.size) < Bytes::mib(32));
    assert_eq!(pv.free, seen.free);
}
