//! Pools on the real host: a directory, a blank disk, and everything that is not blank.

use std::fs;
use std::path::Path;

use terrace_device_types::{
    DeviceUse, DeviceView, PoolFileReading, PoolPlace, PoolRefusal, Refusal, Signature, Wipe,
};
use terrace_devices::{DeviceError, Host, observe_devices, observe_pool, probe_device};

use crate::rig::{Failed, Rig, cluster, create, deadline, pool_file, run, volume};

/// A disk: a loop device on a file of the rig, found as the node finds it.
fn disk(rig: &Rig, prepare: impl Fn(&Path)) -> DeviceView {
    let file = rig.path("disk");
    fs::File::create(&file).unwrap().set_len(400 << 20).unwrap();
    prepare(&file);
    run("losetup", &["--find", file.to_str().unwrap()]);
    let devices = observe_devices(&Host::real()).unwrap();
    let id = format!("loop:{}", file.display());
    let device = devices.into_iter().find(|device| device.id == id).unwrap();
    probe_device(&Host::real(), device, deadline()).unwrap()
}

/// As a reboot does; other tests' children may hold our descriptors for a moment.
fn unmount(path: &Path) {
    let umount = || std::process::Command::new("umount").arg(path).status().unwrap();
    assert!((0..100).any(|_| umount().success()), "{} stays mounted", path.display());
}

fn place(device: &DeviceView, wipe: Wipe) -> PoolPlace {
    PoolPlace::Device { device: Box::new(device.clone()), wipe }
}

fn refusal(result: Result<usize, Failed>) -> PoolRefusal {
    match result {
        Err(Failed::Refused(Refusal::Pool(why))) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mount_that_came_or_went_shows_at_the_next_look() {
    let rig = Rig::bare();
    let device = disk(&rig, |file| {
        run("mkfs.ext4", &["-q", file.to_str().unwrap()]);
    });
    let at = rig.path("at");
    fs::create_dir(&at).unwrap();
    let host = Host::real();
    let uses = || {
        let now = observe_devices(&host).unwrap().into_iter().find(|now| now.id == device.id);
        now.unwrap().uses
    };
    assert_eq!(uses(), []);
    run("mount", &[device.path.to_str().unwrap(), at.to_str().unwrap()]);
    assert_eq!(uses(), [DeviceUse::Mounted { at: at.clone() }]);
    unmount(&at);
    assert_eq!(uses(), []);
}

#[test]
fn a_blank_disk_becomes_a_pool_and_comes_back_after_a_reboot() {
    let rig = Rig::bare();
    let device = disk(&rig, |_| {});
    assert_eq!(device.signature, Signature::Blank);
    rig.make_pool(&place(&device, Wipe::Never)).unwrap();
    let view = observe_pool(&Host::real(), &rig.pool).unwrap();
    assert_eq!((view.file, view.fs.as_str()), (PoolFileReading::Read(pool_file()), "xfs"));
    assert!(view.reflink && view.xattrs);

    unmount(&rig.pool);
    let device = probe_device(&Host::real(), device, deadline()).unwrap();
    let ours = volume();
    let intent =
        create(ours, terrace_device_types::Bytes::mib(4), terrace_device_types::VolumeMode::Block);
    let unmounted = rig.fulfil(ours, &intent);
    assert!(matches!(unmounted, Err(Failed::Refused(_))), "a volume beside the missing disk");
    rig.make_pool(&place(&device, Wipe::Never)).unwrap();
    rig.fulfil(ours, &intent).unwrap();
}

#[test]
fn i4_a_disk_with_data_is_refused_and_says_what_was_found() {
    let rig = Rig::bare();
    let device = disk(&rig, |file| {
        run("mkfs.ext4", &["-q", "-F", file.to_str().unwrap()]);
    });
    let why = refusal(rig.make_pool(&place(&device, Wipe::Never)));
    let PoolRefusal::DeviceHoldsData { found, .. } = &why else { panic!("{why}") };
    assert!(found.starts_with("ext4 "), "{found}");
    let other = Wipe::IfFound { found: "ext4 something-else".into() };
    assert_eq!(refusal(rig.make_pool(&place(&device, other))), why);
    rig.make_pool(&place(&device, Wipe::IfFound { found: found.clone() })).unwrap();
}

#[test]
fn i4_a_disk_with_data_nobody_can_name_is_not_blank() {
    let rig = Rig::bare();
    let device = disk(&rig, |file| {
        let content = vec![0xA5; 4096];
        let file = fs::File::options().write(true).open(file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &content, 512 * 1024).unwrap();
    });
    assert_eq!(device.signature, Signature::Unrecognized);
    assert!(matches!(
        refusal(rig.make_pool(&place(&device, Wipe::Never))),
        PoolRefusal::DeviceHoldsData { .. }
    ));
}

#[test]
fn i4_a_mounted_disk_is_refused_whatever_is_permitted() {
    let rig = Rig::bare();
    let device = disk(&rig, |file| {
        run("mkfs.ext4", &["-q", "-F", file.to_str().unwrap()]);
    });
    let elsewhere = rig.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    run("mount", &[device.path.to_str().unwrap(), elsewhere.to_str().unwrap()]);
    let found = device.signature.to_string();
    let device = probe_device(&Host::real(), device, deadline()).unwrap();
    let why = refusal(rig.make_pool(&place(&device, Wipe::IfFound { found })));
    assert!(matches!(why, PoolRefusal::DeviceInUse { .. }), "{why}");
}

#[test]
fn i4_a_directory_with_somebodys_files_or_another_clusters_mark_is_left_alone() {
    let rig = Rig::bare();
    fs::create_dir(&rig.pool).unwrap();
    fs::write(rig.pool.join("letter"), "dear").unwrap();
    let why = refusal(rig.make_pool(&PoolPlace::Directory));
    assert!(matches!(why, PoolRefusal::NotEmpty { .. }), "{why}");
    fs::remove_file(rig.pool.join("letter")).unwrap();
    let mut theirs = pool_file();
    theirs.cluster_uid = "another-cluster".parse().unwrap();
    let mark = serde_json::to_string(&theirs).unwrap();
    fs::write(rig.pool.join("terrace-pool.json"), &mark).unwrap();
    let why = refusal(rig.make_pool(&PoolPlace::Directory));
    assert!(matches!(why, PoolRefusal::Foreign { .. }), "{why}");
    assert_eq!(fs::read_to_string(rig.pool.join("terrace-pool.json")).unwrap(), mark);
    assert_ne!(theirs.cluster_uid, cluster());
}

#[test]
fn a_pool_on_tmpfs_is_refused() {
    let rig = Rig::bare();
    fs::create_dir(&rig.pool).unwrap();
    run("mount", &["-t", "tmpfs", "scratch", rig.pool.to_str().unwrap()]);
    let why = refusal(rig.make_pool(&PoolPlace::Directory));
    let PoolRefusal::Unsuitable { fs, .. } = why else { panic!("{why}") };
    assert_eq!(fs, "tmpfs");
}

#[test]
fn a_read_only_pool_directory_is_refused() {
    let rig = Rig::bare();
    fs::create_dir(&rig.pool).unwrap();
    let pool = rig.pool.to_str().unwrap();
    run("mount", &["--bind", pool, pool]);
    run("mount", &["-o", "remount,bind,ro", pool]);
    let why = refusal(rig.make_pool(&PoolPlace::Directory));
    assert!(matches!(why, PoolRefusal::NotWritable { .. }), "{why}");
}

#[test]
fn i2_a_disk_that_is_no_longer_blank_is_not_formatted_whatever_the_plan_saw() {
    let rig = Rig::bare();
    let device = disk(&rig, |_| {});
    let path = device.path.to_str().unwrap().to_owned();
    let other = uuid::Uuid::new_v4().to_string();
    run("mkfs.ext4", &["-q", "-U", &other, &path]);
    // `device` still says blank, as a plan of yesterday would.
    match rig.make_pool(&place(&device, Wipe::Never)) {
        Err(Failed::Device(DeviceError::Changed { .. })) => {}
        done => panic!("{done:?}"),
    }
    assert_eq!(run("blkid", &["-p", "-s", "UUID", "-o", "value", &path]).trim(), other);
}
