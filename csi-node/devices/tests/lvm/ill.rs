//! Volumes on devices that are slow, or that fail what is written: device-mapper's own targets stand for the disk, below a logical volume that is there.

use std::fs;

use terrace_device_types::{BackendKind, Erase, FsType, StepKind, VolumeMode, VolumeUuid};
use terrace_devices::{DeviceError, execute};

use crate::made::{Failed, Pool, fs_of};
use crate::rig::{sh, soon, volume_of};

/// Gives the volume's device another target, with these words after what it has.
fn retarget(volume: VolumeUuid, target: &str, more: &str) {
    let named = volume.to_string().replace('-', "--");
    let name = sh(&format!("dmsetup ls | cut -f1 | grep -e {named}"));
    let name = name.trim();
    let table = sh(&format!("dmsetup table {name}"));
    let [start, length, _, on, at] = table.split_whitespace().take(5).collect::<Vec<_>>()[..]
    else {
        panic!("{table}")
    };
    sh(&format!(
        "dmsetup suspend {name} && dmsetup load {name} --table '{start} {length} {target} {on} {at} {more}' && dmsetup resume {name}"
    ));
}

#[test]
fn i2_a_disk_that_fails_in_the_middle_of_mkfs_leaves_a_volume_that_is_formatted_once_it_works() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 1) else { return };
    for fs_type in [FsType::Ext4, FsType::Xfs] {
        let (volume, mode) = (volume_of(fs_type.as_str()), fs_of(fs_type));
        pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
        retarget(volume, "flakey", "0 1 1 error_writes");
        let stage = pool.stage(volume, mode);
        let steps = pool.plan(volume, &stage).unwrap();
        let failed =
            steps.iter().find_map(|step| Some((step.kind(), execute(step, soon()).err()?)));
        let (kind, error) = failed.unwrap();
        assert_eq!(kind, StepKind::MakeFilesystem, "{error}");
        assert!(matches!(error, DeviceError::Tool { .. }), "{error}");
        retarget(volume, "linear", "");
        pool.fulfil(volume, &stage).unwrap();
        fs::write(pool.path("staging/data/kept"), "kept").unwrap();
        pool.fulfil(volume, &pool.unstage(volume)).unwrap();
        // Now it holds data: what can't be read is not taken for blank.
        retarget(volume, "flakey", "0 1");
        let refused = pool.fulfil(volume, &stage).unwrap_err();
        assert!(matches!(refused, Failed::Device(DeviceError::Io { .. })), "{refused:?}");
        retarget(volume, "linear", "");
        pool.fulfil(volume, &stage).unwrap();
        assert_eq!(fs::read_to_string(pool.path("staging/data/kept")).unwrap(), "kept");
        pool.fulfil(volume, &pool.unstage(volume)).unwrap();
    }
}

#[test]
fn a_slow_disk_only_makes_a_volume_slow() {
    let Some(pool) = Pool::new(BackendKind::Lvm, 1) else { return };
    let volume = volume_of("slow");
    let mode: VolumeMode = fs_of(FsType::Ext4);
    pool.fulfil(volume, &pool.create(volume, mode)).unwrap();
    retarget(volume, "delay", "20");
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    fs::write(pool.path("staging/data/kept"), "kept").unwrap();
    pool.fulfil(volume, &pool.unstage(volume)).unwrap();
    pool.fulfil(volume, &pool.stage(volume, mode)).unwrap();
    assert_eq!(fs::read_to_string(pool.path("staging/data/kept")).unwrap(), "kept");
    pool.fulfil(volume, &pool.unstage(volume)).unwrap();
    pool.fulfil(volume, &pool.delete(volume, Erase::No)).unwrap();
}
