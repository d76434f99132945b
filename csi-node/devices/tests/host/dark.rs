//! Volumes whose filesystem has shut itself down, as it does when its device fails: every look into it is an error, and it must be
//! taken away and checked all the same.

use std::fs;
use std::io::Write;

use terrace_device_types::{Access, FsType, VolumeMode};

use crate::rig::{Rig, create, publish, run, stage, unpublish, unstage, volume};

fn shut_down_and_stage_again(fs: FsType) {
    let (rig, ours, mode) = (Rig::new(), volume(), VolumeMode::Filesystem { fs });
    let (staging, target) = (rig.path("staging"), rig.path("pod/volume"));
    rig.fulfil(ours, &create(ours, mode.least(), mode)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
    rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadWrite)).unwrap();
    let mut file = fs::File::create(target.join("file")).unwrap();
    file.write_all(b"durable").unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::File::open(&target).unwrap().sync_all().unwrap();

    run("xfs_io", &["-x", "-c", "shutdown", target.to_str().unwrap()]);
    let dark = fs::File::create(target.join("other")).unwrap_err();
    assert_eq!(dark.raw_os_error(), Some(libc::EIO));
    rig.fulfil(ours, &unpublish(&target)).unwrap();
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
    assert_eq!(fs::read(staging.join("data/file")).unwrap(), b"durable");
}

#[test]
fn an_ext4_that_has_shut_down_is_taken_away_checked_and_staged_again() {
    shut_down_and_stage_again(FsType::Ext4);
}

#[test]
fn an_xfs_that_has_shut_down_is_taken_away_and_staged_again() {
    shut_down_and_stage_again(FsType::Xfs);
}
