//! Whole lives of volumes on each filesystem and as raw block, with a second volume beside them that nothing may touch.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use terrace_device_types::{
    Access, Bytes, Erase, FsType, HostState, TagReading, VolumeMode, VolumeUuid,
};
use terrace_devices::{
    Capability, DeviceError, Host, block_size, observe_facilities, observe_images, observe_usage,
};

use crate::rig::{
    Failed, Rig, create, deadline, delete, grow, loops_below, publish, run, stage, unpublish,
    unstage, volume,
};

const SMALL: Bytes = Bytes::mib(320);
const LARGE: Bytes = Bytes::mib(512);

/// A published volume with a file in it, and how to see that it is whole.
struct Neighbour {
    image: PathBuf,
    file: PathBuf,
}

impl Neighbour {
    fn new(rig: &Rig) -> Self {
        let (other, mode) = (volume(), VolumeMode::Filesystem { fs: FsType::Xfs });
        let (staging, target) = (rig.path("other-staging"), rig.path("other-target"));
        rig.fulfil(other, &create(other, SMALL, mode)).unwrap();
        rig.fulfil(other, &stage(other, mode, &staging)).unwrap();
        rig.fulfil(other, &publish(other, &staging, &target, Access::ReadWrite)).unwrap();
        let file = target.join("witness");
        fs::write(&file, "untouched").unwrap();
        Self { image: rig.pool.join(format!("t-{other}")), file }
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(&self.file).unwrap(), "untouched");
        assert_eq!(fs::metadata(&self.image).unwrap().len(), SMALL.0);
    }
}

fn live(fs: FsType) {
    let rig = Rig::new();
    let neighbour = Neighbour::new(&rig);
    let (ours, mode) = (volume(), VolumeMode::Filesystem { fs });
    let (staging, target) = (rig.path("staging"), rig.path("pod/volume"));
    rig.fulfil(ours, &create(ours, SMALL, mode)).unwrap();
    let stage_it = stage(ours, mode, &staging);
    rig.fulfil(ours, &stage_it).unwrap();
    rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadWrite)).unwrap();
    fs::write(target.join("file"), "kept").unwrap();
    let mode_of = |dir: &str| fs::metadata(staging.join(dir)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode_of("data"), mode_of(".terrace")), (0o755, 0o700));
    let attached = rig.observe(ours).volume.attached.unwrap();
    assert!(attached.autoclear && attached.direct_io, "{attached:?}");

    let before = observe_usage(&target).unwrap().total;
    grow_it(&rig, ours, fs, &target);
    assert!(observe_usage(&target).unwrap().total > Bytes(before.0 + 150 * 1024 * 1024));
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept");

    rig.fulfil(ours, &unpublish(&target)).unwrap();
    assert!(!target.exists());
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    assert!(rig.observe(ours).volume.attached.is_none());
    rig.fulfil(ours, &stage_it).unwrap();
    assert_eq!(fs::read_to_string(staging.join("data/file")).unwrap(), "kept");
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();

    rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No)).unwrap();
    let left = observe_images(&rig.pool).unwrap();
    assert_eq!(left.iter().map(|image| &image.path).collect::<Vec<_>>(), [&neighbour.image]);
    assert_eq!(loops_below(&rig.root).len(), 1, "only the neighbour's loop device is left");
    neighbour.assert_untouched();
}

/// Grows while published; a mounted ext4 only where the kernel lets us, else at the next stage.
fn grow_it(rig: &Rig, ours: VolumeUuid, fs: FsType, target: &std::path::Path) {
    let staging = rig.path("staging");
    let may = observe_facilities(&Host::real(), deadline()).has(Capability::SysResource);
    match (rig.fulfil(ours, &grow(ours, LARGE)), fs) {
        (Ok(()), FsType::Xfs | FsType::Btrfs) => {}
        (Ok(()), FsType::Ext4) => assert!(may, "it grew without the capability it needs"),
        (Err(Failed::Device(DeviceError::CapabilityMissing { capability, .. })), FsType::Ext4) => {
            assert!(!may && capability == "CAP_SYS_RESOURCE");
            let mode = VolumeMode::Filesystem { fs };
            rig.fulfil(ours, &unpublish(target)).unwrap();
            rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
            rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
            rig.fulfil(ours, &publish(ours, &staging, target, Access::ReadWrite)).unwrap();
            rig.fulfil(ours, &grow(ours, LARGE)).unwrap();
        }
        (other, fs) => panic!("grow {fs}: {other:?}"),
    }
    let seen = rig.observe(ours).volume;
    assert_eq!(seen.attached.unwrap().size, LARGE);
    assert!(seen.filesystem.unwrap().spans >= fs.reachable(LARGE));
}

#[test]
fn a_volume_lives_on_xfs() {
    live(FsType::Xfs);
}

#[test]
fn a_volume_lives_on_btrfs() {
    live(FsType::Btrfs);
}

#[test]
fn a_volume_lives_on_ext4() {
    live(FsType::Ext4);
}

#[test]
fn a_raw_block_volume_keeps_its_bytes_grows_and_is_never_formatted() {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Block);
    let (staging, target) = (rig.path("staging"), rig.path("pod/device"));
    rig.fulfil(ours, &create(ours, Bytes::mib(8), mode)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
    rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadWrite)).unwrap();
    let device = fs::File::options().read(true).write(true).open(&target).unwrap();
    device.write_all_at(b"raw bytes", 4096).unwrap();
    device.sync_all().unwrap();
    drop(device);
    rig.fulfil(ours, &grow(ours, Bytes::mib(16))).unwrap();
    assert_eq!(block_size(&target).unwrap(), Bytes::mib(16));
    rig.fulfil(ours, &unpublish(&target)).unwrap();
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();

    // Whatever number it gets now, it is the same bytes.
    rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
    let device = fs::File::open(rig.observe(ours).volume.attached.unwrap().device).unwrap();
    let mut bytes = [0; 9];
    device.read_exact_at(&mut bytes, 4096).unwrap();
    assert_eq!(&bytes, b"raw bytes");
    drop(device);
    rig.fulfil(ours, &unstage(ours, &staging)).unwrap();
    let asked = stage(ours, VolumeMode::Filesystem { fs: FsType::Xfs }, &staging);
    assert!(matches!(rig.fulfil(ours, &asked), Err(Failed::Refused(_))));
}

/// That very number; or, when another test was quicker to re-use it, any.
fn take_number(device: &str, file: &std::path::Path) -> String {
    let taken = std::process::Command::new("losetup").args([device.as_ref(), file]).output();
    if taken.unwrap().status.success() {
        return device.to_owned();
    }
    run("losetup", &["--find", "--show", file.to_str().unwrap()]).trim().to_owned()
}

#[test]
fn i4_a_loop_device_is_found_by_its_file_when_numbers_and_names_are_reused() {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Block);
    rig.fulfil(ours, &create(ours, Bytes::mib(4), mode)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &rig.path("staging"))).unwrap();
    let device = rig.observe(ours).volume.attached.unwrap().device;
    let device = device.to_str().unwrap();
    // Somebody detaches it and takes the number for a file of the same name elsewhere.
    run("losetup", &["--detach", device]);
    let stranger = rig.path(&format!("t-{ours}"));
    fs::write(&stranger, vec![7; 1 << 20]).unwrap();
    let device = take_number(device, &stranger);
    assert!(rig.observe(ours).volume.attached.is_none(), "a stranger was taken for ours");
    rig.fulfil(ours, &unstage(ours, &rig.path("staging"))).unwrap();
    assert_eq!(loops_below(&stranger), [device.as_str()], "the stranger's device was touched");
    assert_eq!(fs::read(&stranger).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn a_read_only_publish_cannot_be_written_and_a_foreign_target_is_not_touched() {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Filesystem { fs: FsType::Btrfs });
    let (staging, target) = (rig.path("staging"), rig.path("pod/read-only"));
    rig.fulfil(ours, &create(ours, SMALL, mode)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
    rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadOnly)).unwrap();
    let refused = fs::write(target.join("file"), "x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    let writable = rig.fulfil(ours, &publish(ours, &staging, &target, Access::ReadWrite));
    assert!(matches!(writable, Err(Failed::Refused(_))));

    let taken = rig.path("taken");
    fs::create_dir(&taken).unwrap();
    run("mount", &["-t", "tmpfs", "users-own", taken.to_str().unwrap()]);
    fs::write(taken.join("theirs"), "x").unwrap();
    let onto = rig.fulfil(ours, &publish(ours, &staging, &taken, Access::ReadWrite));
    assert!(matches!(onto, Err(Failed::Refused(_))));
    assert!(taken.join("theirs").exists());
}

#[test]
fn a_bad_mount_option_fails_with_the_filesystems_own_words() {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Filesystem { fs: FsType::Xfs });
    let staging = rig.path("staging");
    rig.fulfil(ours, &create(ours, SMALL, mode)).unwrap();
    let terrace_device_types::Intent::Stage {
        volume: v, cluster, target, access, operation, ..
    } = stage(ours, mode, &staging)
    else {
        panic!()
    };
    let options = vec!["no-such-option".to_owned()];
    let asked = terrace_device_types::Intent::Stage {
        volume: v,
        cluster,
        mode,
        target,
        options,
        access,
        operation,
    };
    let Err(Failed::Device(DeviceError::Mount { said, .. })) = rig.fulfil(ours, &asked) else {
        panic!("it mounted")
    };
    assert!(said.contains("no-such-option"), "{said}");
    rig.fulfil(ours, &stage(ours, mode, &staging)).unwrap();
}

#[test]
fn a_retained_image_serves_nobody_until_it_is_adopted() {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Block);
    let cluster = crate::rig::cluster();
    rig.fulfil(ours, &create(ours, Bytes::mib(4), mode)).unwrap();
    let retain = terrace_device_types::Intent::Retain { volume: ours, cluster: cluster.clone() };
    rig.fulfil(ours, &retain).unwrap();
    let Some(TagReading::Read(tag)) = rig.observe(ours).volume.image.map(|image| image.tag) else {
        panic!()
    };
    assert_eq!(tag.state, HostState::Retained);
    let staged = rig.fulfil(ours, &stage(ours, mode, &rig.path("staging")));
    assert!(matches!(staged, Err(Failed::Refused(_))));
    rig.fulfil(ours, &terrace_device_types::Intent::Adopt { volume: ours, cluster }).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &rig.path("staging"))).unwrap();
}
