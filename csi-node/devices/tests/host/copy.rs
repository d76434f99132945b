//! Copies on a real xfs pool: whole, of one moment, and to be mounted beside what they were copied from.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use terrace_device_types::{
    Access, Allocation, Bytes, DeviceRef, Erase, FormatGuard, FsType, HostObject, HostState,
    Intent, Latch, Leftover, PoolFileReading, Refusal, RequestRefusal, SectorSize, StageState,
    Step, Tag, TagReading, TagRefusal, VolumeMode, VolumeUuid,
};
use terrace_devices::{DeviceError, execute, observe_images, observe_usage};

use crate::rig::{Failed, Rig, copy, create, deadline, delete, run, stage, sweep, unstage, volume};

const SIZE: Bytes = Bytes::mib(320);
const LARGER: Bytes = Bytes::mib(512);

fn tag(rig: &Rig, object: VolumeUuid) -> Tag {
    match rig.observe(object).volume.image.map(|image| image.tag) {
        Some(TagReading::Read(tag)) => tag,
        other => panic!("{other:?}"),
    }
}

fn read(dir: &Path, name: &str) -> Option<String> {
    fs::read_to_string(dir.join("data").join(name)).ok()
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join("data").join(name), text).unwrap();
}

/// The filesystem's own checker finds nothing to complain about.
fn assert_clean(rig: &Rig, fs: FsType, object: VolumeUuid) {
    let image = rig.observe(object).volume.image.unwrap().path;
    let image = image.to_str().unwrap();
    match fs {
        FsType::Ext4 => run("e2fsck", &["-f", "-n", image]),
        FsType::Xfs => run("xfs_repair", &["-n", image]),
        FsType::Btrfs => run("btrfs", &["check", "--readonly", image]),
    };
}

/// A volume, its snapshot restored larger, and its clone, all mounted at once; then the volume goes before its snapshot.
fn side_by_side(fs: FsType) {
    let (rig, mode) = (Rig::on_xfs(), VolumeMode::Filesystem { fs });
    let [original, snapshot, restored, clone, late] = [(); 5].map(|()| volume());
    let at = |name: &str| rig.path(name);
    rig.fulfil(original, &create(original, SIZE, mode)).unwrap();
    rig.fulfil(original, &stage(original, mode, &at("original"))).unwrap();
    write(&at("original"), "one", "1");
    rig.fulfil(snapshot, &copy(HostObject::Snapshot, original, snapshot, SIZE, mode)).unwrap();
    write(&at("original"), "two", "2");
    rig.fulfil(clone, &copy(HostObject::Volume, original, clone, SIZE, mode)).unwrap();
    rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, LARGER, mode)).unwrap();
    let kept = tag(&rig, snapshot);
    assert_eq!((kept.object, kept.source), (HostObject::Snapshot, Some(original)));
    assert_eq!(kept.latch, tag(&rig, original).latch);
    assert_eq!(tag(&rig, restored).stage, StageState::Never);
    // What a volume has reserved it has at once; a snapshot only shares.
    let allocated = |object| rig.observe(object).volume.image.unwrap().allocated;
    assert!(allocated(clone) >= SIZE && allocated(restored) >= LARGER);
    assert!(allocated(snapshot) < SIZE);

    rig.fulfil(clone, &stage(clone, mode, &at("clone"))).unwrap();
    rig.fulfil(restored, &stage(restored, mode, &at("restored"))).unwrap();
    write(&at("original"), "three", "3");
    write(&at("clone"), "mine", "clone");
    let seen =
        |dir: &str| ["one", "two", "three", "mine"].map(|name| read(&at(dir), name).is_some());
    assert_eq!(seen("original"), [true, true, true, false]);
    assert_eq!(seen("clone"), [true, true, false, true]);
    assert_eq!(seen("restored"), [true, false, false, false]);
    let total = |dir: &str| observe_usage(&at(dir)).unwrap().total;
    assert!(total("restored") > Bytes(total("original").0 + 150 * 1024 * 1024), "not grown");

    rig.fulfil(original, &unstage(original, &at("original"))).unwrap();
    rig.fulfil(original, &delete(&rig.proof(original), Erase::No)).unwrap();
    rig.fulfil(late, &copy(HostObject::Volume, snapshot, late, SIZE, mode)).unwrap();
    rig.fulfil(late, &stage(late, mode, &at("late"))).unwrap();
    assert_eq!(seen("late"), [true, false, false, false]);
    for (object, dir) in [(clone, "clone"), (restored, "restored"), (late, "late")] {
        rig.fulfil(object, &unstage(object, &at(dir))).unwrap();
        assert_clean(&rig, fs, object);
    }
    rig.fulfil(snapshot, &delete(&rig.proof(snapshot), Erase::No)).unwrap();
    assert_eq!(observe_images(&rig.pool).unwrap().len(), 3);
}

#[test]
fn original_snapshot_and_clone_are_mounted_side_by_side_on_xfs() {
    side_by_side(FsType::Xfs);
}

#[test]
fn original_snapshot_and_clone_are_mounted_side_by_side_on_ext4() {
    side_by_side(FsType::Ext4);
}

#[test]
fn original_snapshot_and_clone_are_mounted_side_by_side_on_btrfs() {
    side_by_side(FsType::Btrfs);
}

/// Appends numbers, each durable before the next, until told to stop; counts those that are.
fn write_numbers(file: &Path, acknowledged: &AtomicU64, stop: &AtomicBool) {
    let mut file = File::create(file).unwrap();
    for number in 1u64.. {
        file.write_all(&number.to_le_bytes()).unwrap();
        file.sync_data().unwrap();
        acknowledged.store(number, Ordering::SeqCst);
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Every number from 1 on, without a gap; the last.
fn last_number(file: &Path) -> u64 {
    let bytes = fs::read(file).unwrap();
    let numbers = bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()));
    let mut last = 0;
    for number in numbers {
        assert_eq!(number, last + 1, "a gap");
        last = number;
    }
    last
}

fn consistent_under_a_writer(fs: FsType) {
    let (rig, mode) = (Rig::on_xfs(), VolumeMode::Filesystem { fs });
    let (original, at) = (volume(), rig.path("original"));
    rig.fulfil(original, &create(original, SIZE, mode)).unwrap();
    rig.fulfil(original, &stage(original, mode, &at)).unwrap();
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| write_numbers(&at.join("data/numbers"), &acknowledged, &stop));
        for _ in 0..3 {
            let before = acknowledged.load(Ordering::SeqCst);
            let snapshot = volume();
            let intent = copy(HostObject::Snapshot, original, snapshot, SIZE, mode);
            let copied = rig.fulfil(snapshot, &intent);
            taken.push((snapshot, before, acknowledged.load(Ordering::SeqCst)));
            if copied.is_err() {
                stop.store(true, Ordering::SeqCst);
            }
            copied.unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(acknowledged.load(Ordering::SeqCst) > 3, "nobody wrote");
    for (snapshot, before, after) in taken {
        let (restored, at) = (volume(), rig.path(&format!("restored-{snapshot}")));
        rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, SIZE, mode)).unwrap();
        rig.fulfil(restored, &stage(restored, mode, &at)).unwrap();
        let last = last_number(&at.join("data/numbers"));
        // One more may have been written without its answer having come back.
        assert!((before..=after + 1).contains(&last), "{fs}: {last} of {before} to {after}");
        rig.fulfil(restored, &unstage(restored, &at)).unwrap();
        assert_clean(&rig, fs, restored);
        rig.fulfil(restored, &delete(&rig.proof(restored), Erase::No)).unwrap();
    }
}

#[test]
fn a_snapshot_under_a_writer_holds_all_that_was_acknowledged_before_on_xfs() {
    consistent_under_a_writer(FsType::Xfs);
}

#[test]
fn a_snapshot_under_a_writer_holds_all_that_was_acknowledged_before_on_ext4() {
    consistent_under_a_writer(FsType::Ext4);
}

#[test]
fn a_snapshot_under_a_writer_holds_all_that_was_acknowledged_before_on_btrfs() {
    consistent_under_a_writer(FsType::Btrfs);
}

#[test]
fn a_block_copy_holds_what_was_written_to_the_device_and_never_synced() {
    let (rig, mode, size) = (Rig::on_xfs(), VolumeMode::Block, Bytes::mib(8));
    let [original, snapshot, restored] = [(); 3].map(|()| volume());
    rig.fulfil(original, &create(original, size, mode)).unwrap();
    rig.fulfil(original, &stage(original, mode, &rig.path("staging"))).unwrap();
    let device = rig.observe(original).volume.attached.unwrap().device;
    let open = File::options().write(true).open(device).unwrap();
    open.write_all_at(b"buffered", 4 << 20).unwrap();
    rig.fulfil(snapshot, &copy(HostObject::Snapshot, original, snapshot, size, mode)).unwrap();
    open.write_all_at(b"later on", 4 << 20).unwrap();
    open.sync_all().unwrap();
    let larger = Bytes::mib(16);
    rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, larger, mode)).unwrap();
    rig.fulfil(restored, &stage(restored, mode, &rig.path("restored"))).unwrap();
    let attached = rig.observe(restored).volume.attached.unwrap();
    assert_eq!(attached.size, larger);
    let mut bytes = [0; 8];
    File::open(attached.device).unwrap().read_exact_at(&mut bytes, 4 << 20).unwrap();
    assert_eq!(&bytes, b"buffered");
}

#[test]
fn a_snapshot_is_not_staged_not_grown_and_not_copied_to_a_snapshot() {
    let (rig, mode) = (Rig::on_xfs(), VolumeMode::Block);
    let [original, snapshot, second] = [(); 3].map(|()| volume());
    rig.fulfil(original, &create(original, Bytes::mib(4), mode)).unwrap();
    let intent = copy(HostObject::Snapshot, original, snapshot, Bytes::mib(4), mode);
    rig.fulfil(snapshot, &intent).unwrap();
    let staged = rig.fulfil(snapshot, &stage(snapshot, mode, &rig.path("staging")));
    let Err(Failed::Refused(Refusal::Tag(TagRefusal::Snapshot { .. }))) = staged else {
        panic!("{staged:?}")
    };
    let grown = rig.fulfil(snapshot, &crate::rig::grow(snapshot, Bytes::mib(8)));
    assert!(matches!(grown, Err(Failed::Refused(_))), "{grown:?}");
    let intent = copy(HostObject::Snapshot, snapshot, second, Bytes::mib(4), mode);
    assert!(matches!(rig.fulfil(second, &intent), Err(Failed::Refused(Refusal::Request(_)))));
    let retain = Intent::Retain { volume: snapshot, cluster: crate::rig::cluster() };
    rig.fulfil(snapshot, &retain).unwrap();
    assert_eq!(tag(&rig, snapshot).state, HostState::Retained);
    let intent = copy(HostObject::Volume, snapshot, second, Bytes::mib(4), mode);
    assert!(matches!(rig.fulfil(second, &intent), Err(Failed::Refused(Refusal::Tag(_)))));
    rig.fulfil(snapshot, &Intent::Adopt { volume: snapshot, cluster: crate::rig::cluster() })
        .unwrap();
    rig.fulfil(second, &intent).unwrap();
}

/// A volume that was never formatted holds nothing: its copies are empty, and are formatted when they are staged.
#[test]
fn a_copy_of_an_unformatted_volume_is_a_new_volume() {
    let (rig, mode) = (Rig::on_xfs(), VolumeMode::Filesystem { fs: FsType::Xfs });
    let [original, snapshot, restored] = [(); 3].map(|()| volume());
    rig.fulfil(original, &create(original, SIZE, mode)).unwrap();
    rig.fulfil(snapshot, &copy(HostObject::Snapshot, original, snapshot, SIZE, mode)).unwrap();
    let image = rig.observe(snapshot).volume.image.unwrap();
    assert!(image.allocated < Bytes::mib(1), "{image:?}");
    rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, LARGER, mode)).unwrap();
    assert_eq!(tag(&rig, restored).source, None);
    rig.fulfil(restored, &stage(restored, mode, &rig.path("restored"))).unwrap();
    let own = Latch::Formatted { filesystem: restored.filesystem_uuid() };
    assert_eq!(tag(&rig, restored).latch, own);
}

#[test]
fn a_pool_without_reflink_refuses_copies_and_leaves_nothing() {
    let (rig, mode) = (Rig::new(), VolumeMode::Block);
    let [original, snapshot] = [(); 2].map(|()| volume());
    if terrace_devices::observe_pool(&terrace_devices::Host::real(), &rig.pool).unwrap().reflink {
        panic!("this test needs /tmp on a filesystem without reflink")
    }
    rig.fulfil(original, &create(original, Bytes::mib(4), mode)).unwrap();
    let intent = copy(HostObject::Snapshot, original, snapshot, Bytes::mib(4), mode);
    let refused = rig.fulfil(snapshot, &intent);
    let Err(Failed::Refused(Refusal::Request(RequestRefusal::NotSupported { .. }))) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(observe_images(&rig.pool).unwrap().len(), 1);
}

/// Whatever a latch says, what began with another's bytes is never formatted: neither by plan nor by an old plan's step.
#[test]
fn i2_i4_mkfs_never_runs_on_a_copy_and_only_the_source_is_copied() {
    let rig = Rig::on_xfs();
    let [original, copied] = [(); 2].map(|()| volume());
    let (fs, mode) = (FsType::Xfs, VolumeMode::Filesystem { fs: FsType::Xfs });
    rig.fulfil(original, &create(original, SIZE, mode)).unwrap();
    let view = rig.observe(original);
    let PoolFileReading::Read(pool) = &view.pool.file else { panic!() };
    let from = view.volume.image.as_ref().unwrap().path.clone();
    let image = rig.pool.join(format!("t-{copied}"));
    let forged = Tag {
        object: HostObject::Volume,
        volume: copied,
        cluster: crate::rig::cluster(),
        pool: pool.pool_uuid,
        name: "copy-1".into(),
        mode,
        allocation: Allocation::Reserved,
        state: HostState::Ready,
        latch: Latch::Formatting { operation: "op-1".parse().unwrap() },
        stage: StageState::Never,
        source: Some(original),
    };
    let clone = |source: VolumeUuid| {
        let (from, image, tag) = (from.clone(), image.clone(), Box::new(forged.clone()));
        execute(&Step::CloneImage { from, source, image, tag }, deadline())
    };
    // The path may have been re-used: whose image it is its tag says (I4).
    let strange = clone(copied);
    assert!(matches!(strange, Err(DeviceError::Changed { .. })), "{strange:?}");
    assert!(!image.exists());
    clone(original).unwrap();
    let planned = rig.fulfil(copied, &stage(copied, mode, &rig.path("staging")));
    assert!(matches!(planned, Err(Failed::Refused(Refusal::Format(_)))), "{planned:?}");
    let (access, allocation) = (Access::ReadWrite, Allocation::Reserved);
    let (volume, sector) = (copied, SectorSize::B4096);
    let attach = Step::AttachLoop { image: image.clone(), volume, sector, access, allocation };
    execute(&attach, deadline()).unwrap();
    let guard = FormatGuard::Latch { image: image.clone(), volume };
    let device = DeviceRef::LoopOf { image };
    let uuid = copied.filesystem_uuid();
    let made = execute(&Step::MakeFilesystem { device, fs, uuid, guard }, deadline());
    assert!(matches!(made, Err(DeviceError::Changed { .. })), "{made:?}");
}

/// What an attempt left behind is made anew, from the source as it is now.
#[test]
fn i3_a_copy_that_was_only_begun_is_made_anew() {
    let (rig, mode) = (Rig::on_xfs(), VolumeMode::Filesystem { fs: FsType::Xfs });
    let [original, snapshot, restored] = [(); 3].map(|()| volume());
    let at = rig.path("original");
    rig.fulfil(original, &create(original, SIZE, mode)).unwrap();
    rig.fulfil(original, &stage(original, mode, &at)).unwrap();
    write(&at, "one", "1");
    let intent = copy(HostObject::Snapshot, original, snapshot, SIZE, mode);
    rig.crash_before(snapshot, &intent, |step| matches!(step, Step::WriteState { .. }));
    write(&at, "two", "2");
    rig.fulfil(snapshot, &intent).unwrap();
    rig.fulfil(restored, &copy(HostObject::Volume, snapshot, restored, SIZE, mode)).unwrap();
    rig.fulfil(restored, &stage(restored, mode, &rig.path("restored"))).unwrap();
    assert_eq!(read(&rig.path("restored"), "two").as_deref(), Some("2"));
    let abandoned = sweep(snapshot, Leftover::Unfinished);
    assert!(matches!(rig.fulfil(snapshot, &abandoned), Err(Failed::Refused(_))));
}
