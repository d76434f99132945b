//! Thin pools: what they say of their room, what a snapshot holds, what a full one does.

use std::fs::File;
use std::os::unix::fs::FileExt;

use terrace_device_types::lvm::{
    DmTarget, GroupRef, LvKind, PoolMode, PoolSize, ThinPoolStatus, VgView, VolumeKind,
};
use terrace_device_types::{Access, Bytes, StepDone};
use terrace_devices::DeviceError;

use crate::rig::{
    Rig, linear, lv, lv_name, new_thin_pool, node, read_at, sh, soon, thin, write_at,
};

pub(crate) fn pool_status(rig: &Rig, seen: &VgView) -> ThinPoolStatus {
    let uuid = &seen.lv("pool").unwrap().uuid;
    let status = rig.lvm.observe_status(&seen.uuid, uuid, &LvKind::ThinPool).unwrap().unwrap();
    let [DmTarget::ThinPool(pool)] = &status.targets[..] else { panic!("{status:?}") };
    *pool
}

fn snapshot(rig: &Rig, group: &GroupRef, name: &str, of: &str, access: Access) -> VgView {
    let mut new = rig.volume(name, VolumeKind::ThinSnapshot { of: lv(of), access });
    new.tag.source = Some(lv(of).volume);
    rig.create(group, &new)
}

#[test]
fn a_pool_is_made_once_and_tells_its_room_without_a_command() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    let made = rig.thin_pool(&group, 64);
    let pool = made.lv("pool").unwrap();
    assert_eq!((pool.chunk, pool.metadata_size), (Some(Bytes::kib(64)), Some(Bytes::mib(8))));
    let again = rig.lvm.create_thin_pool(&group, &new_thin_pool(64), soon()).unwrap();
    assert_eq!((again.done, again.group.seqno), (StepDone::Already, made.seqno));
    let seen = rig.create(&group, &rig.volume("v", thin(256)));
    let empty = pool_status(&rig, &seen);
    assert_eq!((empty.mode, empty.data.used, empty.data.total), (PoolMode::Writable, 0, 1024));
    assert!(empty.fails_when_full && !empty.needs_check);
    assert!(empty.metadata.used > 0 && empty.metadata.total == 2048);
    write_at(&node(&seen, "v"), 0, 1, 16 << 20);
    let used = pool_status(&rig, &seen);
    assert_eq!((used.data.used, used.data.percent()), (256, 25));
    let seen = rig.lvm.observe_group(&group, soon()).unwrap();
    assert_eq!(seen.lv("pool").unwrap().data_used, Some(2500));
    assert_eq!(seen.lv("pool").unwrap().transaction, Some(used.transaction));
    assert_eq!(seen.lv("v").unwrap().thin_id, Some(1));
    assert_eq!(seen.lv("v").unwrap().pool.as_deref(), Some("pool"));
}

#[test]
fn i4_a_volume_of_the_pools_name_is_no_pool_of_ours() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    rig.create(&group, &rig.volume("pool", linear(8)));
    let error = rig.lvm.create_thin_pool(&group, &new_thin_pool(64), soon()).unwrap_err();
    assert!(matches!(error, DeviceError::Changed { .. }), "{error}");
    let size = new_thin_pool(64).size;
    let error = rig.lvm.extend_thin_pool(&group, &lv_name("pool"), size, soon()).unwrap_err();
    assert!(matches!(error, DeviceError::Changed { .. }), "{error}");
}

#[test]
fn a_snapshot_holds_its_moment_and_a_larger_copy_grows_on_its_own() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    rig.thin_pool(&group, 128);
    let seen = rig.create(&group, &rig.volume("v", thin(32)));
    write_at(&node(&seen, "v"), 0, 1, 1 << 20);
    let seen = snapshot(&rig, &group, "s", "v", Access::ReadOnly);
    write_at(&node(&seen, "v"), 0, 2, 1 << 20);
    assert_eq!(read_at(&node(&seen, "s"), 0, 4096), vec![1; 4096]);
    let kept = seen.lv("s").unwrap();
    assert!(kept.read_only && !kept.skips_activation);
    assert_eq!(kept.origin.as_deref(), Some("v"));
    assert!(write_fails(&node(&seen, "s")));

    snapshot(&rig, &group, "copy", "s", Access::ReadWrite);
    let grown = rig.lvm.extend_volume(&group, &lv("copy"), Bytes::mib(64), soon()).unwrap();
    write_at(&node(&grown.group, "copy"), 60 << 20, 3, 4096);
    assert_eq!(read_at(&node(&grown.group, "copy"), 0, 4096), vec![1; 4096]);
    assert_eq!(read_at(&node(&grown.group, "copy"), 1 << 20, 4096), vec![0; 4096]);
    assert_eq!(grown.group.lv("s").unwrap().size, Bytes::mib(32));
}

fn write_fails(device: &std::path::Path) -> bool {
    // Refused when it is opened, or when it is written to: that depends on the kernel.
    let Ok(file) = File::options().write(true).open(device) else { return true };
    file.write_all_at(&[9; 4096], 0).and_then(|()| file.sync_all()).is_err()
}

#[test]
fn a_full_pool_fails_what_needs_room_keeps_what_it_has_and_goes_on_when_it_grows() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(2);
    rig.thin_pool(&group, 16);
    let seen = rig.create(&group, &rig.volume("v", thin(64)));
    let device = node(&seen, "v");
    write_at(&device, 0, 1, 16 << 20);
    let file = File::options().write(true).open(&device).unwrap();
    let beyond = file.write_all_at(&[2; 65536], 32 << 20).and_then(|()| file.sync_all());
    beyond.unwrap_err();
    drop(file);
    let full = pool_status(&rig, &seen);
    assert_eq!((full.mode, full.data.percent()), (PoolMode::OutOfData, 100));
    write_at(&device, 0, 3, 65536);
    assert_eq!(read_at(&device, 0, 65536), vec![3; 65536]);

    let to = PoolSize { data: Bytes::mib(40), metadata: Bytes::mib(12) };
    let extend = || rig.lvm.extend_thin_pool(&group, &lv_name("pool"), to, soon()).unwrap();
    let grown = extend();
    let pool = grown.group.lv("pool").unwrap();
    assert_eq!((pool.size, pool.metadata_size), (Bytes::mib(40), Some(Bytes::mib(12))));
    assert_eq!(extend().done, StepDone::Already);
    assert_eq!(pool_status(&rig, &grown.group).mode, PoolMode::Writable);
    write_at(&device, 32 << 20, 2, 65536);
    assert_eq!(read_at(&device, 32 << 20, 65536), vec![2; 65536]);
}

#[test]
fn a_pool_that_the_group_has_no_room_for_is_no_space() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    let error = rig.lvm.create_thin_pool(&group, &new_thin_pool(1 << 20), soon()).unwrap_err();
    assert!(matches!(error, DeviceError::NoSpace { .. }), "{error}");
    rig.thin_pool(&group, 16);
    let to = PoolSize { data: Bytes::gib(1 << 10), metadata: Bytes::mib(8) };
    let error = rig.lvm.extend_thin_pool(&group, &lv_name("pool"), to, soon()).unwrap_err();
    assert!(matches!(error, DeviceError::NoSpace { .. }), "{error}");
}

#[test]
fn bytes_of_a_removed_thin_volume_are_in_no_other() {
    let Some(rig) = Rig::new() else { return };
    let group = rig.tank(1);
    rig.thin_pool(&group, 16);
    let seen = rig.create(&group, &rig.volume("a", thin(16)));
    write_at(&node(&seen, "a"), 0, 7, 16 << 20);
    rig.lvm.remove_unfinished_volume(&group, &lv("a"), soon()).unwrap();
    let seen = rig.create(&group, &rig.volume("b", thin(16)));
    let device = node(&seen, "b");
    // One sector of each chunk: the rest of it is what the chunk held, or zeros.
    for chunk in 0..256 {
        write_at(&device, chunk * 65536, 1, 512);
    }
    sh("echo 3 > /proc/sys/vm/drop_caches");
    let bytes = read_at(&device, 0, 16 << 20);
    assert!(!bytes.contains(&7), "another volume's bytes");
}
