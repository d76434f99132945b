//! Whole lives of volumes on a real btrfs, with a second volume beside them that nothing may touch.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use terrace_device_types::{
    Access, Bytes, Erase, Form, FsType, HostObject, Intent, Latch, PoolPlace, PoolRefusal,
    QuotaView, Refusal, RequestRefusal, StageState, Step, SubvolumeView, TagReading, UseRefusal,
    VolumeMode, VolumeUuid, image_name,
};
use terrace_devices::{
    DeviceError, Host, execute, observe_images, observe_mounts, observe_pool, observe_usage,
};

use crate::rig::{
    Failed, Rig, copy, create, deadline, delete, grow, publish, run, stage, unpublish, unstage,
    volume,
};

const MODE: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };
const SMALL: Bytes = Bytes::mib(128);
const LARGE: Bytes = Bytes::mib(256);

pub(crate) fn subvolume(rig: &Rig, object: VolumeUuid) -> SubvolumeView {
    match rig.observe(object).volume.image.unwrap().form {
        Form::Subvolume(view) => view,
        Form::Image | Form::Lv(_) => panic!("no subvolume in a btrfs pool"),
    }
}

/// Writes until an error; how much went in, and the error.
fn fill(file: &Path, at_most: Bytes) -> (u64, Option<io::Error>) {
    let chunk = vec![7u8; 1 << 20];
    let mut written = 0;
    let mut open = match fs::File::create(file) {
        Ok(open) => open,
        Err(error) => return (written, Some(error)),
    };
    while written < at_most.0 {
        if let Err(error) = open.write_all(&chunk).and_then(|()| open.sync_data()) {
            return (written, Some(error));
        }
        written += 1 << 20;
    }
    (written, None)
}

fn assert_over_quota(error: Option<io::Error>) {
    let errno = error.and_then(|error| error.raw_os_error());
    assert!(matches!(errno, Some(libc::EDQUOT | libc::ENOSPC)), "{errno:?}");
}

#[test]
fn a_volume_lives_grows_and_goes_and_its_neighbour_sees_nothing_of_it() {
    let rig = Rig::on_btrfs();
    let (ours, other) = (volume(), volume());
    let (staging, target) = (rig.path("staging"), rig.path("pod/volume"));
    for (volume, at) in [(ours, &staging), (other, &rig.path("other"))] {
        rig.fulfil(volume, &create(volume, SMALL, MODE)).unwrap();
        rig.fulfil(volume, &stage(volume, MODE, at)).unwrap();
    }
    fs::write(rig.path("other/data/witness"), "untouched").unwrap();
    rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadWrite)).unwrap();
    let mode_of = |dir: &str| fs::metadata(staging.join(dir)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode_of("data"), mode_of(".terrace")), (0o755, 0o700));

    let (written, error) = fill(&target.join("big"), LARGE);
    assert_over_quota(error);
    assert!((100 << 20..=SMALL.0).contains(&written), "{written} of {SMALL} went in");
    assert_eq!(fill(&rig.path("other/data/big"), Bytes::mib(64)).0, 64 << 20);
    assert_over_quota(fill(&target.join("more"), SMALL).1);

    rig.fulfil(ours, &grow(ours, LARGE)).unwrap();
    assert_eq!(subvolume(&rig, ours).limit, Some(LARGE));
    assert_eq!(fill(&target.join("more"), Bytes::mib(100)).1.map(|error| error.to_string()), None);

    rig.fulfil(ours, &unpublish(&target)).unwrap();
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    rig.fulfil(ours, &stage(ours, MODE, &staging)).unwrap();
    assert_eq!(fs::metadata(staging.join("data/big")).unwrap().len() >> 20, written >> 20);
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No)).unwrap();
    let left = observe_images(&rig.pool).unwrap();
    let paths: Vec<_> = left.iter().map(|image| image.path.clone()).collect();
    assert_eq!(paths, [rig.pool.join(image_name(HostObject::Volume, other))]);
    assert_eq!(fs::read_to_string(rig.path("other/data/witness")).unwrap(), "untouched");
}

#[test]
fn the_figures_of_a_volume_are_its_quota_groups_and_not_the_pools() {
    let rig = Rig::on_btrfs();
    let (ours, staging, target) = (volume(), rig.path("staging"), rig.path("pod"));
    rig.fulfil(ours, &create(ours, SMALL, MODE)).unwrap();
    rig.fulfil(ours, &stage(ours, MODE, &staging)).unwrap();
    rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadWrite)).unwrap();
    fill(&target.join("file"), Bytes::mib(20));
    run("sync", &["--file-system", target.to_str().unwrap()]);
    for path in [&staging, &target] {
        let usage = observe_usage(path).unwrap();
        assert_eq!(usage.total, SMALL, "{usage:?}");
        assert!((20 << 20..24 << 20).contains(&usage.used.0), "{usage:?}");
        assert_eq!(usage.available, usage.total.minus(usage.used));
        assert_eq!((usage.inodes, usage.inodes_used), (0, 0));
    }
    let image = rig.observe(ours).volume.image.unwrap();
    assert_eq!(image.apparent, SMALL);
    assert!(image.allocated.0 > 20 << 20);
}

#[test]
fn a_pools_own_mount_options_do_not_reach_its_volumes_and_a_volumes_own_do() {
    let rig = Rig::on_btrfs();
    let host = rig.path("host");
    run("mount", &["-o", "remount,bind,nodev,nosuid,noexec,noatime", host.to_str().unwrap()]);
    let (plain, strict) = (volume(), volume());
    for volume in [plain, strict] {
        rig.fulfil(volume, &create(volume, SMALL, MODE)).unwrap();
    }
    rig.fulfil(plain, &stage(plain, MODE, &rig.path("plain"))).unwrap();
    let asked = with_options(&stage(strict, MODE, &rig.path("strict")), &["nosuid", "noatime"]);
    rig.fulfil(strict, &asked).unwrap();
    let options = |at: &str| {
        let mounts = observe_mounts(&Host::real()).unwrap();
        let mount = mounts.into_iter().find(|mount| mount.at == rig.path(at)).unwrap();
        mount.options
    };
    assert_eq!(options("plain"), ["rw", "relatime"]);
    assert_eq!(options("strict"), ["rw", "nosuid", "noatime"]);
    let refused =
        rig.plan(plain, &with_options(&stage(plain, MODE, &rig.path("x")), &["compress=zstd"]));
    assert!(matches!(
        refused,
        Err(Refusal::Request(RequestRefusal::MountOption { option })) if option == "compress=zstd"
    ));
}

fn with_options(intent: &Intent, asked: &[&str]) -> Intent {
    let Intent::Stage { volume, cluster, mode, target, options: _, access, operation } =
        intent.clone()
    else {
        panic!("{intent:?}")
    };
    let options = asked.iter().map(|option| (*option).to_owned()).collect();
    Intent::Stage { volume, cluster, mode, target, options, access, operation }
}

#[test]
fn a_snapshot_is_restored_larger_and_cloned_and_outlives_its_source() {
    let rig = Rig::on_btrfs();
    let [source, snapshot, restored, clone] = [(); 4].map(|()| volume());
    let at = |name: &str| rig.path(name);
    rig.fulfil(source, &create(source, SMALL, MODE)).unwrap();
    rig.fulfil(source, &stage(source, MODE, &at("source"))).unwrap();
    fill(&at("source/data/file"), Bytes::mib(40));
    fs::write(at("source/data/when"), "before").unwrap();
    rig.fulfil(snapshot, &copy(HostObject::Snapshot, source, snapshot, SMALL, MODE)).unwrap();
    assert!(subvolume(&rig, snapshot).read_only);
    assert!(matches!(
        rig.fulfil(snapshot, &stage(snapshot, MODE, &at("x"))),
        Err(Failed::Refused(_))
    ));
    fs::write(at("source/data/when"), "after").unwrap();
    rig.fulfil(clone, &copy(HostObject::Volume, source, clone, SMALL, MODE)).unwrap();

    let small = copy(HostObject::Volume, snapshot, restored, Bytes::mib(20), MODE);
    assert!(matches!(rig.plan(restored, &small), Err(Refusal::Request(_))), "it would not fit");
    rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, LARGE, MODE)).unwrap();
    rig.fulfil(restored, &stage(restored, MODE, &at("restored"))).unwrap();
    rig.fulfil(clone, &stage(clone, MODE, &at("clone"))).unwrap();
    let when = |name: &str| fs::read_to_string(at(name).join("data/when")).unwrap();
    assert_eq!(
        (when("source"), when("clone"), when("restored")),
        ("after".into(), "after".into(), "before".into())
    );
    assert_eq!(subvolume(&rig, restored).limit, Some(LARGE));
    // What it shares with its source counts towards its own limit too.
    assert_over_quota(fill(&at("clone/data/more"), Bytes::mib(120)).1);
    assert_eq!(fill(&at("restored/data/more"), Bytes::mib(150)).0, 150 << 20);

    rig.fulfil(source, &unstage(source, &at("source"))).unwrap();
    rig.fulfil(source, &delete(&rig.proof(source), Erase::No)).unwrap();
    let again = volume();
    rig.fulfil(again, &copy(HostObject::Volume, snapshot, again, SMALL, MODE)).unwrap();
    rig.fulfil(again, &stage(again, MODE, &at("again"))).unwrap();
    assert_eq!(when("again"), "before");
    rig.fulfil(snapshot, &delete(&rig.proof(snapshot), Erase::No)).unwrap();
    assert_eq!(when("again"), "before");
}

#[test]
fn i1_a_subvolume_that_is_staged_or_mounted_anywhere_is_not_destroyed() {
    let rig = Rig::on_btrfs();
    let (ours, staging, aside) = (volume(), rig.path("staging"), rig.path("aside"));
    rig.fulfil(ours, &create(ours, SMALL, MODE)).unwrap();
    rig.fulfil(ours, &stage(ours, MODE, &staging)).unwrap();
    fs::write(staging.join("data/file"), "kept").unwrap();
    let deletion = delete(&rig.proof(ours), Erase::No);
    let refused = rig.fulfil(ours, &deletion);
    assert!(matches!(refused, Err(Failed::Refused(Refusal::Use(UseRefusal::StillInUse { .. })))));

    // Somebody binds a part of it aside; the record says nothing of that.
    fs::create_dir(&aside).unwrap();
    let data = staging.join("data");
    run("mount", &["--bind", data.to_str().unwrap(), aside.to_str().unwrap()]);
    run("umount", &[staging.to_str().unwrap()]);
    let image = rig.observe(ours).volume.image.unwrap().path;
    let past = Step::WriteStage { image: image.clone(), volume: ours, stage: StageState::Past };
    execute(&past, deadline()).unwrap();
    let refused = rig.fulfil(ours, &deletion);
    assert!(
        matches!(refused, Err(Failed::Refused(Refusal::Use(UseRefusal::StillInUse { .. })))),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(aside.join("file")).unwrap(), "kept");
    // Nor does a step do it whose plan was made before.
    let mark = Step::MarkQuarantined { image, proof: rig.proof(ours) };
    let busy = execute(&mark, deadline());
    assert!(matches!(busy, Err(DeviceError::Busy { .. })), "{busy:?}");
    run("umount", &[aside.to_str().unwrap()]);
    rig.fulfil(ours, &deletion).unwrap();
}

#[test]
fn i2_no_subvolume_is_ever_formatted_and_one_that_is_lost_is_not_made_anew() {
    let rig = Rig::on_btrfs();
    let ours = volume();
    rig.fulfil(ours, &create(ours, SMALL, MODE)).unwrap();
    let image = rig.observe(ours).volume.image.unwrap();
    let TagReading::Read(tag) = image.tag else { panic!() };
    assert_eq!(tag.latch, Latch::Formatted { filesystem: ours.filesystem_uuid() });
    let inside = image.path.join("volume");
    run("btrfs", &["subvolume", "delete", inside.to_str().unwrap()]);
    for intent in [stage(ours, MODE, &rig.path("staging")), create(ours, SMALL, MODE)] {
        let made = rig.plan(ours, &intent);
        let steps = made.as_deref().unwrap_or_default();
        assert!(
            steps.iter().all(|step| !step.to_string().contains("create subvolume")),
            "{steps:?}"
        );
    }
    assert!(matches!(
        rig.plan(ours, &stage(ours, MODE, &rig.path("staging"))),
        Err(Refusal::Format(_))
    ));
}

#[test]
fn i4_a_directory_of_our_name_without_our_tag_is_not_touched() {
    let rig = Rig::on_btrfs();
    let ours = volume();
    let taken = rig.pool.join(image_name(HostObject::Volume, ours));
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("theirs"), "x").unwrap();
    assert!(matches!(
        rig.fulfil(ours, &create(ours, SMALL, MODE)),
        Err(Failed::Refused(Refusal::Tag(_)))
    ));
    let begun = rig.pool.join(format!(".n-{ours}"));
    fs::rename(&taken, &begun).unwrap();
    assert!(matches!(rig.fulfil(ours, &create(ours, SMALL, MODE)), Err(Failed::Device(_))));
    assert_eq!(fs::read_to_string(begun.join("theirs")).unwrap(), "x");
}

#[test]
fn subvolumes_that_a_pod_made_in_its_volume_go_with_it() {
    let rig = Rig::on_btrfs();
    let (ours, staging) = (volume(), rig.path("staging"));
    rig.fulfil(ours, &create(ours, SMALL, MODE)).unwrap();
    rig.fulfil(ours, &stage(ours, MODE, &staging)).unwrap();
    for path in ["data/own", "data/own/deeper", "data/other"] {
        run("btrfs", &["subvolume", "create", staging.join(path).to_str().unwrap()]);
        fs::write(staging.join(path).join("file"), "x").unwrap();
    }
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No)).unwrap();
    let host = rig.path("host");
    let left = run("btrfs", &["subvolume", "list", host.to_str().unwrap()]);
    assert_eq!(left.lines().count(), 1, "{left}");
}

#[test]
fn a_deletion_gives_back_its_space_and_its_quota_group() {
    let rig = Rig::on_btrfs();
    let (ours, staging) = (volume(), rig.path("staging"));
    let free = || observe_pool(&Host::real(), &rig.pool).unwrap().free.0 >> 20;
    let groups = || {
        let shown = run("btrfs", &["qgroup", "show", "--raw", rig.pool.to_str().unwrap()]);
        shown.lines().filter(|line| line.starts_with("0/")).count()
    };
    let before = (free(), groups());
    rig.fulfil(ours, &create(ours, LARGE, MODE)).unwrap();
    rig.fulfil(ours, &stage(ours, MODE, &staging)).unwrap();
    fill(&staging.join("data/file"), Bytes::mib(200));
    run("sync", &["--file-system", staging.to_str().unwrap()]);
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    let taken = (free(), groups());
    assert!(taken.0 + 190 < before.0, "{taken:?} after {before:?}");
    assert_eq!(taken.1, before.1 + 1);
    rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No)).unwrap();
    // On a busy machine the kernel cleans up later than a deletion waits for it.
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until && (free() + 10 < before.0 || groups() != before.1) {
        thread::sleep(Duration::from_millis(50));
    }
    assert!(free() + 10 >= before.0, "{} MiB free of {}", free(), before.0);
    assert_eq!(groups(), before.1);
}

#[test]
fn quota_groups_are_switched_on_counted_and_kept_in_step() {
    let rig = Rig::beside_btrfs(&[]);
    fs::create_dir(&rig.pool).unwrap();
    let quota = || observe_pool(&Host::real(), &rig.pool).unwrap().quota;
    assert_eq!(quota(), QuotaView::Off);
    rig.make_pool(&PoolPlace::Directory).unwrap();
    assert_eq!(quota(), QuotaView::Classic);
    // As after a reboot: what the kernel was told is forgotten.
    let uuid = run("findmnt", &["-n", "-o", "UUID", rig.path("host").to_str().unwrap()]);
    let knob = format!("/sys/fs/btrfs/{}/qgroups/drop_subtree_threshold", uuid.trim());
    if Path::new(&knob).exists() {
        fs::write(&knob, "3").unwrap();
        assert_eq!(quota(), QuotaView::Careless);
        rig.make_pool(&PoolPlace::Directory).unwrap();
        assert_eq!(quota(), QuotaView::Classic);
    }
    // Switched off behind our back: volumes wait, and the next pass switches it on again.
    run("btrfs", &["quota", "disable", rig.pool.to_str().unwrap()]);
    let ours = volume();
    let refused = rig.plan(ours, &create(ours, SMALL, MODE));
    assert!(matches!(refused, Err(Refusal::Pool(PoolRefusal::QuotaOff { .. }))), "{refused:?}");
    rig.make_pool(&PoolPlace::Directory).unwrap();
    rig.fulfil(ours, &create(ours, SMALL, MODE)).unwrap();
}

#[test]
fn a_folder_that_is_no_btrfs_and_one_with_simple_quotas_are_refused() {
    let mut rig = Rig::beside_btrfs(&[]);
    fs::create_dir(&rig.pool).unwrap();
    if simple_quotas(&rig.pool) {
        let refused = rig.make_pool(&PoolPlace::Directory);
        let Err(Failed::Refused(refusal @ Refusal::Pool(PoolRefusal::SimpleQuota { .. }))) =
            refused
        else {
            panic!("{refused:?}")
        };
        assert!(refusal.to_string().contains("btrfs quota disable"), "{refusal}");
    }
    rig.pool = rig.path("plain");
    fs::create_dir(&rig.pool).unwrap();
    run("mount", &["-t", "tmpfs", "none", rig.pool.to_str().unwrap()]);
    let refused = rig.make_pool(&PoolPlace::Directory);
    assert!(matches!(refused, Err(Failed::Refused(Refusal::Pool(_)))), "{refused:?}");
}

/// Switches them on as btrfs-progs 6.7 and later do; the one here is older. Kernels before 6.7 have none.
#[expect(unsafe_code, reason = "BTRFS_IOC_QUOTA_CTL")]
fn simple_quotas(dir: &Path) -> bool {
    use std::os::fd::AsRawFd;
    let mut control = [4u64, 0];
    let root = fs::File::open(dir).unwrap();
    // SAFETY: BTRFS_IOC_QUOTA_CTL takes two u64, which live for the whole call.
    unsafe { libc::ioctl(root.as_raw_fd(), 0xC010_9428, control.as_mut_ptr()) == 0 }
}

#[test]
fn what_a_subvolume_cannot_be_is_refused_with_what_to_do_instead() {
    let rig = Rig::on_btrfs();
    let ours = volume();
    for mode in [
        VolumeMode::Block,
        VolumeMode::Filesystem { fs: FsType::Xfs },
        VolumeMode::Filesystem { fs: FsType::Ext4 },
    ] {
        let Err(refusal) = rig.plan(ours, &create(ours, Bytes::gib(1), mode)) else { panic!() };
        assert!(refusal.to_string().contains("use a file pool"), "{refusal}");
    }
    rig.fulfil(ours, &create(ours, SMALL, MODE)).unwrap();
    let Err(refusal) = rig.plan(ours, &delete(&rig.proof(ours), Erase::Zeros)) else { panic!() };
    assert!(refusal.to_string().contains("eraseOnDelete"), "{refusal}");
}
