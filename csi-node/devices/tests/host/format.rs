//! Invariant I2 on real devices: formatted once, whatever crashed in between.

use std::fs;
use std::os::unix::fs::FileExt;

use terrace_device_types::{
    Bytes, FormatRefusal, FsType, Intent, Latch, Refusal, Signature, Step, TagReading, TagRefusal,
    VolumeMode, VolumeUuid,
};
use terrace_devices::{DeviceError, execute};

use crate::rig::{Failed, Rig, create, deadline, run, stage, unstage, volume};

const SIZE: Bytes = Bytes::mib(320);

fn prepared(fs: FsType) -> (Rig, VolumeUuid, Intent) {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Filesystem { fs });
    rig.fulfil(ours, &create(ours, SIZE, mode)).unwrap();
    let intent = stage(ours, mode, &rig.path("staging"));
    (rig, ours, intent)
}

fn latch(rig: &Rig, ours: VolumeUuid) -> Latch {
    match rig.observe(ours).volume.image.map(|image| image.tag) {
        Some(TagReading::Read(tag)) => tag.latch,
        other => panic!("{other:?}"),
    }
}

fn is_mkfs(step: &Step) -> bool {
    matches!(step, Step::MakeFilesystem { .. })
}

fn is_formatted_latch(step: &Step) -> bool {
    matches!(step, Step::WriteLatch { latch: Latch::Formatted { .. }, .. })
}

#[test]
fn i2_a_crash_between_mkfs_and_its_latch_is_finished_without_a_second_mkfs() {
    for fs in FsType::ALL {
        let (rig, ours, intent) = prepared(fs);
        rig.crash_before(ours, &intent, is_formatted_latch);
        assert!(matches!(latch(&rig, ours), Latch::Formatting { .. }));
        let steps = rig.plan(ours, &intent).unwrap();
        assert!(!steps.iter().any(is_mkfs), "{fs}: {steps:?}");
        rig.fulfil(ours, &intent).unwrap();
        assert_eq!(latch(&rig, ours), Latch::Formatted { filesystem: ours.filesystem_uuid() });
    }
}

#[test]
fn i2_a_half_made_filesystem_that_was_never_staged_is_made_again() {
    for fs in FsType::ALL {
        let (rig, ours, intent) = prepared(fs);
        rig.crash_before(ours, &intent, is_formatted_latch);
        let device = rig.observe(ours).volume.attached.unwrap().device;
        // What a killed mkfs leaves: no superblock any more (or not yet), other things all over the place.
        run("wipefs", &["--all", "--quiet", device.to_str().unwrap()]);
        let found = rig.observe(ours).volume.signature;
        assert_eq!(found, Signature::Unrecognized, "{fs}");
        assert!(rig.plan(ours, &intent).unwrap().iter().any(is_mkfs));
        rig.fulfil(ours, &intent).unwrap();
    }
}

#[test]
fn i2_an_xfs_whose_mkfs_was_killed_is_not_taken_for_a_whole_one() {
    let (rig, ours, intent) = prepared(FsType::Xfs);
    rig.crash_before(ours, &intent, is_formatted_latch);
    let device = rig.observe(ours).volume.attached.unwrap().device;
    let disk = fs::File::options().write(true).open(device).unwrap();
    disk.write_all_at(&[1], 126).unwrap();
    disk.sync_all().unwrap();
    drop(disk);
    let found = rig.observe(ours).volume.signature;
    let uuid = ours.filesystem_uuid();
    let half = matches!(found, Signature::Unfinished { uuid: u, .. } if u == uuid);
    assert!(half || found == Signature::Unrecognized, "{found}");
    assert!(rig.plan(ours, &intent).unwrap().iter().any(is_mkfs));
    rig.fulfil(ours, &intent).unwrap();
}

#[test]
fn i2_a_formatted_latch_over_a_blank_image_refuses() {
    let (rig, ours, intent) = prepared(FsType::Xfs);
    rig.fulfil(ours, &intent).unwrap();
    rig.fulfil(ours, &unstage(ours, &rig.path("staging"))).unwrap();
    let image = rig.observe(ours).volume.image.unwrap().path;
    let file = fs::File::options().write(true).open(&image).unwrap();
    for mib in [0, SIZE.0 - (1 << 20)] {
        file.write_all_at(&vec![0; 1 << 20], mib).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    let refused = rig.fulfil(ours, &intent);
    let Err(Failed::Refused(Refusal::Format(FormatRefusal::Lost { .. }))) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn i2_another_filesystem_on_a_new_image_refuses() {
    let (rig, ours, intent) = prepared(FsType::Xfs);
    let image = rig.observe(ours).volume.image.unwrap().path;
    run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    let refused = rig.fulfil(ours, &intent);
    let Err(Failed::Refused(Refusal::Format(FormatRefusal::NotBlank { found, .. }))) = refused
    else {
        panic!("{refused:?}")
    };
    assert!(found.starts_with("ext4 "), "{found}");
}

#[test]
fn i2_an_unreadable_latch_refuses() {
    let (rig, ours, intent) = prepared(FsType::Xfs);
    let image = rig.observe(ours).volume.image.unwrap().path;
    let image = image.to_str().unwrap();
    let tag = run("getfattr", &["--only-values", "-n", "trusted.terrace.tag", image]);
    let spoilt = tag.replace("latch=none", "latch=nnoe");
    run("setfattr", &["-n", "trusted.terrace.tag", "-v", &spoilt, image]);
    let refused = rig.fulfil(ours, &intent);
    let Err(Failed::Refused(Refusal::Tag(TagRefusal::Unreadable { .. }))) = refused else {
        panic!("{refused:?}")
    };
    run("setfattr", &["-x", "trusted.terrace.tag", image]);
    let refused = rig.fulfil(ours, &intent);
    let Err(Failed::Refused(Refusal::Tag(TagRefusal::Untagged { .. }))) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn i2_yesterdays_plan_replayed_never_formats_what_was_staged_since() {
    let (rig, ours, intent) = prepared(FsType::Xfs);
    let old = rig.plan(ours, &intent).unwrap();
    rig.fulfil(ours, &intent).unwrap();
    fs::write(rig.path("staging/data/file"), "kept").unwrap();
    rig.fulfil(ours, &unstage(ours, &rig.path("staging"))).unwrap();
    // The superblocks go, so that nothing but the guards stands between the old plan and the data.
    let image = rig.observe(ours).volume.image.unwrap().path;
    let whole = fs::read(&image).unwrap();
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    file.write_all_at(&vec![0; 1 << 20], SIZE.0 - (1 << 20)).unwrap();
    file.sync_all().unwrap();
    for step in &old {
        let is_format = is_mkfs(step) || matches!(step, Step::WriteLatch { .. });
        let done = execute(step, deadline());
        assert!(!is_format || is_formatted_latch(step) || done.is_err(), "{step} was done again");
    }
    file.write_all_at(&whole[..1 << 20], 0).unwrap();
    file.write_all_at(&whole[whole.len() - (1 << 20)..], SIZE.0 - (1 << 20)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    rig.fulfil(ours, &intent).unwrap();
    assert_eq!(fs::read_to_string(rig.path("staging/data/file")).unwrap(), "kept");
}

/// The plan saw a blank device; by the time mkfs is to run somebody else's filesystem is on it. The step looks again.
#[test]
fn i2_a_device_that_is_no_longer_blank_is_not_formatted_whatever_the_plan_saw() {
    let (rig, ours, intent) = prepared(FsType::Xfs);
    let plan = rig.plan(ours, &intent).unwrap();
    let format = plan.iter().find(|step| is_mkfs(step)).unwrap();
    rig.crash_before(ours, &intent, is_mkfs);
    let device = rig.observe(ours).volume.attached.unwrap().device;
    let other = uuid::Uuid::new_v4().to_string();
    run("mkfs.ext4", &["-q", "-U", &other, device.to_str().unwrap()]);
    let done = execute(format, deadline());
    assert!(matches!(done, Err(DeviceError::Changed { .. })), "{done:?}");
    assert_eq!(
        run("blkid", &["-p", "-s", "UUID", "-o", "value", device.to_str().unwrap()]).trim(),
        other
    );
}
