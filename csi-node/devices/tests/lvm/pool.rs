//! Pools on volume groups and their volumes, by plans that are carried out on real devices: made, found again, cut short anywhere, refused where they are not ours.

use std::fs;
use std::path::Path;

use terrace_device_types::lvm::LvmTag;
use terrace_device_types::{
    Allocation, BackendKind, Bytes, Erase, FsType, Intent, Refusal, Tag, TagReading, VolumeMode,
};
use terrace_devices::{execute, observe_images};

use crate::made::{Failed, LARGE, Pool, SMALL, fs_of};
use crate::rig::{clear_mapper, sh, soon, volume_of};
use crate::vanish::Scsi;

fn span(mount: &Path) -> u64 {
    let seen = rustix::fs::statvfs(mount).unwrap();
    seen.f_blocks * seen.f_frsize
}

#[test]
fn a_pool_is_made_of_blank_disks_and_found_again_when_everything_was_deactivated() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 2) else { return };
    let (volume, mode) = (volume_of("v"), fs_of(FsType::Ext4));
    pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    fs::write(pool.path("staging/data/kept"), "kept").unwrap();
    let free = pool.free();
    pool.unmount_all();
    clear_mapper();
    assert!(observe_images(&pool.dir).unwrap().is_empty(), "an unmounted folder shows none");
    pool.make().unwrap();
    assert_eq!((observe_images(&pool.dir).unwrap().len(), pool.free()), (1, free));
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    assert_eq!(fs::read_to_string(pool.path("staging/data/kept")).unwrap(), "kept");
}

#[test]
fn a_volume_lives_from_its_making_to_its_end_on_each_filesystem() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 2) else { return };
    let free = pool.free();
    for fs_type in [FsType::Ext4, FsType::Xfs] {
        let (volume, mode) = (volume_of(fs_type.as_str()), fs_of(fs_type));
        pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
        pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
        pool.fulfil(volume, &pool.publish(volume)).unwrap();
        fs::write(pool.path("pod/kept"), "kept").unwrap();
        let before = span(&pool.path("staging"));
        let grow = Intent::Grow { volume, cluster: pool.file().cluster_uid, to: LARGE };
        pool.fulfil(volume, &grow).unwrap();
        assert!(span(&pool.path("staging")) > before + (60 << 20), "{fs_type} did not grow");
        let staged = pool.plan(volume, &pool.delete(volume, Erase::No)).unwrap_err();
        assert!(matches!(staged, Failed::Refused(Refusal::Use(_))), "{staged:?}");
        let unpublish = Intent::Unpublish { target: pool.path("pod") };
        for step in pool.plan(volume, &unpublish).unwrap() {
            execute(&step, soon()).unwrap();
        }
        pool.fulfil(volume, &pool.unstage(volume)).unwrap();
        pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
        assert_eq!(fs::read_to_string(pool.path("staging/data/kept")).unwrap(), "kept");
        pool.fulfil(volume, &pool.unstage(volume)).unwrap();
        pool.fulfil(volume, &pool.delete(volume, Erase::Zeros)).unwrap();
        assert_eq!(observe_images(&pool.dir).unwrap(), []);
        assert_eq!(pool.free(), free, "{fs_type} left something of the group");
    }
}

#[test]
fn i3_what_is_cut_short_between_any_two_steps_is_whole_in_the_end() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 1) else { return };
    let (mode, free) = (fs_of(FsType::Ext4), pool.free());
    for step in 0..9 {
        let volume = volume_of(&format!("v{step}"));
        let create = pool.create(volume, mode);
        assert_eq!(pool.run_until(volume, &create, step), 4);
        pool.fulfil(volume, &create).unwrap();
        let stage = pool.stage(volume, mode);
        assert_eq!(pool.run_until(volume, &stage, step), 6);
        pool.fulfil(volume, &stage).unwrap();
        fs::write(pool.path("staging/data/kept"), "kept").unwrap();
        pool.fulfil(volume, &pool.unstage(volume)).unwrap();
        let delete = pool.delete(volume, Erase::No);
        assert_eq!(pool.run_until(volume, &delete, step), 6);
        pool.fulfil(volume, &delete).unwrap();
        assert_eq!(observe_images(&pool.dir).unwrap(), [], "after step {step}");
        assert_eq!(pool.free(), free, "after step {step}");
    }
}

#[test]
fn a_raw_block_volume_is_its_logical_volumes_node() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 1) else { return };
    let (volume, mode) = (volume_of("raw"), VolumeMode::Block);
    pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    pool.fulfil(volume, &pool.publish(volume)).unwrap();
    crate::rig::write_at(&pool.path("pod"), 4096, 7, 4096);
    let device = pool.look(volume).volume.image.unwrap();
    let terrace_device_types::Form::Lv(seen) = device.form else { panic!("no logical volume") };
    let node = seen.lv.unwrap().device.unwrap();
    assert_eq!(crate::rig::read_at(&node.path, 4096, 4096), vec![7; 4096]);
    assert_eq!(node.size, SMALL);
}

/// Something in each MiB of a device.
fn soil(node: &Path, size: Bytes) {
    for at in (0..size.0).step_by(1 << 20) {
        crate::rig::write_at(node, at, 7, 4096);
    }
}

fn is_clean(node: &Path, size: Bytes) -> bool {
    (0..size.0).step_by(1 << 20).all(|at| crate::rig::read_at(node, at, 4096) == vec![0; 4096])
}

#[test]
fn what_a_removed_volume_held_is_read_neither_in_a_raw_block_volume_nor_in_what_it_gains() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 2) else { return };
    let (free, mode, node) = (pool.free(), VolumeMode::Block, pool.path("pod"));
    let grow = |volume, to| Intent::Grow { volume, cluster: pool.file().cluster_uid, to };
    let serve = |volume| {
        pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
        pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
        pool.fulfil(volume, &pool.publish(volume)).unwrap();
    };
    let end = |volume| {
        for intent in [Intent::Unpublish { target: node.clone() }, pool.unstage(volume)] {
            for step in pool.plan(volume, &intent).unwrap() {
                execute(&step, soon()).unwrap();
            }
        }
        pool.fulfil(volume, &pool.delete(volume, Erase::No)).unwrap();
        assert_eq!(pool.free(), free, "something is left of the group");
    };
    // A part that a crash left, which holds what it held.
    let leave_part = |volume| {
        let (devices, group) = (pool.disks[0].display(), format!("terrace-{}", pool.rig.pool));
        let tag = LvmTag::of_volume(&Tag { volume, ..pool.rig.tag(volume) }).unwrap();
        let more = pool.disks[1].display();
        sh(&format!(
            "lvm lvcreate -qq --yes --devices {devices},{more} -Wn -Zn -L 8m --addtag '{tag}' -n g-{volume} {group}"
        ));
    };
    let (old, new) = (volume_of("old"), volume_of("new"));
    serve(old);
    pool.fulfil(old, &grow(old, LARGE)).unwrap();
    soil(&node, LARGE);
    end(old);
    serve(new);
    assert!(is_clean(&node, SMALL), "a new volume shows an old one's bytes");
    let open = fs::File::open(&node).unwrap();
    crate::rig::write_at(&node, 4096, 9, 4096);
    leave_part(new);
    pool.fulfil(new, &grow(new, LARGE)).unwrap();
    let gained = crate::rig::read_at(&node, SMALL.0, usize::try_from(LARGE.0 - SMALL.0).unwrap());
    assert!(gained.iter().all(|byte| *byte == 0), "what it gained shows an old one's bytes");
    assert_eq!(crate::rig::read_at(&node, 4096, 4096), vec![9; 4096]);
    drop(open);
    leave_part(new);
    end(new);
}

#[test]
fn i4_a_logical_volume_of_our_name_without_our_tag_is_not_touched() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 1) else { return };
    let volume = volume_of("v");
    let group = format!("terrace-{}", pool.rig.pool);
    let name = format!("t-{volume}");
    let devices = pool.disks[0].display();
    sh(&format!("lvm lvcreate -qq --yes --devices {devices} -Wn -Zn -L 8m -n {name} {group}"));
    let refused = pool.plan(volume, &pool.create(volume, VolumeMode::Block)).unwrap_err();
    assert!(matches!(refused, Failed::Refused(Refusal::Tag(_))), "{refused:?}");
    let listed = observe_images(&pool.dir).unwrap();
    assert!(listed.len() == 1 && listed[0].tag == TagReading::Absent, "{listed:?}");
}

#[test]
fn i4_a_group_with_the_pools_name_and_not_its_tag_is_refused() {
    let Some(pool) = Pool::unmade(BackendKind::Lvm, 1) else { return };
    let device = pool.disks[0].display();
    sh(&format!("lvm vgcreate -qq --devices {device} terrace-{} {device}", pool.rig.pool));
    let refused = pool.make().unwrap_err();
    let refused = match refused {
        Failed::Refused(refused) => refused,
        Failed::Device(error) => panic!("{error}"),
    };
    assert!(refused.to_string().contains("not its tag"), "{refused}");
}

#[test]
fn i1_a_group_without_one_of_its_disks_serves_what_is_on_the_others_and_stays_as_it_is() {
    // The folder is on the disk that stays.
    let Some(mut pool) = Pool::new(BackendKind::Lvm, 1) else { return };
    let mut scsi = Scsi::load("");
    pool.disks.push(scsi.disk.clone());
    pool.make().unwrap();
    let (here, there) = (volume_of("here"), volume_of("there"));
    pool.fulfil(here, &pool.create(here, VolumeMode::Block)).unwrap();
    let group = format!("terrace-{}", pool.rig.pool);
    // With the first disk full, the next volume is on the other.
    sh(&format!(
        "lvm lvcreate -qq -an -Zn -Wn -l 100%PVS -n full {group} {}",
        pool.disks[0].display()
    ));
    let small = Intent::Create {
        volume: there,
        cluster: pool.file().cluster_uid,
        name: "pvc-2".to_owned(),
        size: Bytes::mib(16),
        mode: VolumeMode::Block,
        allocation: Allocation::Reserved,
    };
    pool.fulfil(there, &small).unwrap();
    pool.unmount_all();
    clear_mapper();
    scsi.pull();
    pool.make().unwrap();
    pool.fulfil(here, &pool.stage(here, VolumeMode::Block)).unwrap();
    let refused = |volume, intent: &Intent| match pool.plan(volume, intent) {
        Err(Failed::Refused(refusal)) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    let stage = refused(there, &pool.stage(there, VolumeMode::Block));
    assert!(stage.contains("lies partly on a device that is missing"), "{stage}");
    let new = volume_of("new");
    let changes = [
        refused(new, &pool.create(new, VolumeMode::Block)),
        refused(there, &pool.delete(there, Erase::No)),
    ];
    assert!(changes.iter().all(|said| said.contains("lacks 1 of its devices")), "{changes:?}");
    scsi.put_back();
    pool.disks[1] = scsi.disk.clone();
    pool.make().unwrap();
    pool.fulfil(there, &pool.stage(there, VolumeMode::Block)).unwrap();
    pool.unmount_all();
}
