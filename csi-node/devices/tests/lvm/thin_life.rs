//! Thin volumes and their copies, by plans that are carried out on real devices: a life, a snapshot of a volume in use, and what comes back to the pool.

use std::fs;

use terrace_device_types::lvm::ThinPoolStatus;
use terrace_device_types::{
    BackendKind, Bytes, DeviceRef, Erase, FsType, HostObject, Intent, Step, StepDone, VolumeMode,
};
use terrace_devices::{Host, execute, observe_images, observe_mounts, observe_pool};

use crate::made::{Failed, LARGE, Pool, SMALL, fs_of};
use crate::rig::{read_at, sh, soon, volume_of, write_at};

/// What the pool has in use at this moment.
pub(crate) fn status(pool: &Pool) -> ThinPoolStatus {
    let view = observe_pool(&Host::real(), &pool.dir).unwrap();
    view.group.unwrap().thin.unwrap().status.unwrap()
}

fn kept(pool: &Pool, at: &str) -> String {
    fs::read_to_string(pool.path(at).join("data/kept")).unwrap()
}

#[test]
fn a_thin_volume_lives_with_a_snapshot_a_clone_and_a_larger_restore_beside_it() {
    let Some(pool) = Pool::new(BackendKind::LvmThin, 2) else { return };
    let empty = status(&pool).data.used;
    for fs_type in FsType::ALL {
        let named = |what: &str| volume_of(&format!("{what}-{fs_type}"));
        let (volume, snapshot) = (named("v"), named("s"));
        let (restored, clone, mode) = (named("r"), named("c"), fs_of(fs_type));
        pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
        pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
        let file = pool.path("staging/data/kept");
        // Not written out: that is for who takes the snapshot.
        fs::write(&file, "one").unwrap();
        let take = pool.copy(HostObject::Snapshot, (volume, snapshot), SMALL, mode);
        pool.fulfil(snapshot, &take).unwrap();
        fs::write(&file, "two").unwrap();
        let twin = pool.copy(HostObject::Volume, (volume, clone), SMALL, mode);
        pool.fulfil(clone, &twin).unwrap();
        fs::write(&file, "three").unwrap();
        let restore = pool.copy(HostObject::Volume, (snapshot, restored), LARGE, mode);
        pool.fulfil(restored, &restore).unwrap();
        pool.fulfil(clone, &pool.stage_at(clone, mode, "clone")).unwrap();
        pool.fulfil(restored, &pool.stage_at(restored, mode, "restored")).unwrap();
        let seen = ["restored", "clone", "staging"].map(|at| kept(&pool, at));
        assert_eq!(seen, ["one", "two", "three"], "{fs_type}");
        let span = rustix::fs::statvfs(pool.path("restored")).unwrap();
        assert!(span.f_blocks * span.f_frsize > SMALL.0, "{fs_type} is no larger");
        let grow = Intent::Grow { volume, cluster: pool.file().cluster_uid, to: LARGE };
        pool.fulfil(volume, &grow).unwrap();
        for (object, at) in [(restored, "restored"), (clone, "clone"), (volume, "staging")] {
            pool.fulfil(object, &pool.unstage_at(object, at)).unwrap();
        }
        // The source first: its copies do not need it.
        for object in [volume, snapshot, clone, restored] {
            let erased = pool.plan(object, &pool.delete(object, Erase::Zeros)).unwrap_err();
            assert!(matches!(erased, Failed::Refused(_)), "{erased:?}");
            pool.fulfil(object, &pool.delete(object, Erase::No)).unwrap();
        }
        assert_eq!(observe_images(&pool.dir).unwrap(), []);
        assert_eq!(status(&pool).data.used, empty, "{fs_type} left something in the pool");
    }
}

#[test]
fn a_raw_block_volume_begins_as_zeros_and_its_snapshot_takes_no_writes() {
    let Some(pool) = Pool::new(BackendKind::LvmThin, 1) else { return };
    let (volume, snapshot, mode) = (volume_of("raw"), volume_of("raw-s"), VolumeMode::Block);
    pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    pool.fulfil(volume, &pool.publish(volume)).unwrap();
    let node = pool.path("pod");
    assert_eq!(read_at(&node, 1 << 20, 4096), vec![0; 4096]);
    let open = fs::File::options().write(true).open(&node).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&open, &[7; 4096], 4096).unwrap();
    // In the page cache alone until the snapshot is taken.
    let take = pool.copy(HostObject::Snapshot, (volume, snapshot), SMALL, mode);
    pool.fulfil(snapshot, &take).unwrap();
    write_at(&node, 4096, 9, 4096);
    let image = pool.look(snapshot).volume.image.unwrap();
    let terrace_device_types::Form::Lv(seen) = image.form else { panic!("no logical volume") };
    let device = seen.lv.unwrap().device.unwrap();
    assert!(device.read_only && device.size == SMALL, "{device:?}");
    assert_eq!(read_at(&device.path, 4096, 4096), vec![7; 4096]);
    drop(open);
}

#[test]
fn what_a_filesystem_frees_goes_back_to_the_pool() {
    let Some(pool) = Pool::new(BackendKind::LvmThin, 1) else { return };
    for fs_type in [FsType::Ext4, FsType::Xfs] {
        let (volume, mode) = (volume_of(fs_type.as_str()), fs_of(fs_type));
        pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
        pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
        let file = pool.path("staging/data/large");
        let made = fs::File::create(&file).unwrap();
        std::io::Write::write_all(&mut &made, &vec![1; 64 << 20]).unwrap();
        made.sync_all().unwrap();
        drop(made);
        let full = status(&pool).data.used;
        fs::remove_file(&file).unwrap();
        // Unmounting waits for what is being discarded.
        pool.fulfil(volume, &pool.unstage(volume)).unwrap();
        let freed = full - status(&pool).data.used;
        assert!(
            Bytes(freed << 16) > Bytes::mib(56),
            "{fs_type} gave back {freed} of {full} chunks"
        );
        pool.fulfil(volume, &pool.delete(volume, Erase::No)).unwrap();
    }
}

/// Whether a second freeze finds one: then it is answered with EBUSY.
fn is_frozen(pool: &Pool) -> bool {
    let at = pool.path("staging");
    let at = at.display();
    sh(&format!(
        "if fsfreeze -f {at} 2>/dev/null; then fsfreeze -u {at}; echo no; else echo yes; fi"
    )) == "yes\n"
}

#[test]
fn i10_a_mounted_volume_stands_still_for_its_snapshot_and_goes_on_whatever_becomes_of_it() {
    let Some(pool) = Pool::new(BackendKind::LvmThin, 1) else { return };
    let (volume, snapshot, mode) = (volume_of("v"), volume_of("s"), fs_of(FsType::Xfs));
    pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    let take = pool.copy(HostObject::Snapshot, (volume, snapshot), SMALL, mode);
    let steps = pool.plan(snapshot, &take).unwrap();
    let of = |step: &Step| terrace_device_types::undo(step);
    let at = steps.iter().position(|step| matches!(step, Step::FreezeFilesystem { .. })).unwrap();
    for step in &steps[..at] {
        execute(step, soon()).unwrap();
    }
    let (freeze, create, thaw) = (&steps[at], &steps[at + 1], &steps[at + 2]);
    assert!(matches!(freeze, Step::FreezeFilesystem { device: DeviceRef::Lv { .. }, .. }));
    execute(freeze, soon()).unwrap();
    assert!(is_frozen(&pool));
    // Given up: what is undone lets the writers go on.
    execute(&of(freeze).unwrap(), soon()).unwrap();
    assert!(!is_frozen(&pool));
    assert_eq!(execute(thaw, soon()).unwrap(), StepDone::Already);
    execute(freeze, soon()).unwrap();
    execute(create, soon()).unwrap();
    assert!(is_frozen(&pool), "lvm's own freeze ended ours");
    assert_eq!(execute(thaw, soon()).unwrap(), StepDone::Changed);
    assert!(!is_frozen(&pool));
    // The snapshot was begun, and nobody knows of it: it is made anew.
    fs::write(pool.path("staging/data/kept"), "kept").unwrap();
    pool.fulfil(snapshot, &take).unwrap();
    let restored = volume_of("r");
    let restore = pool.copy(HostObject::Volume, (snapshot, restored), SMALL, mode);
    pool.fulfil(restored, &restore).unwrap();
    pool.fulfil(restored, &pool.stage_at(restored, mode, "restored")).unwrap();
    assert_eq!(kept(&pool, "restored"), "kept");
    let mounts = observe_mounts(&Host::real()).unwrap();
    let mount = mounts.iter().find(|mount| mount.at == pool.path("restored")).unwrap();
    assert_eq!(mount.fs, "xfs");
}
