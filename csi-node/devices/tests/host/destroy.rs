//! Invariant I1 on the real host: what is used, or not proven, is not destroyed; what is, is gone.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use terrace_device_types::{
    Allocation, Bytes, Erase, FsType, HostState, InUse, Leftover, Refusal, Step, TagReading,
    UseRefusal, VolumeMode, VolumeUuid,
};
use terrace_devices::{DeviceError, execute, observe_images};

use crate::rig::{Failed, Rig, create, deadline, delete, run, stage, sweep, volume};

const SIZE: Bytes = Bytes::mib(320);

fn with_block_volume() -> (Rig, VolumeUuid) {
    let (rig, ours) = (Rig::new(), volume());
    rig.fulfil(ours, &create(ours, Bytes::mib(4), VolumeMode::Block)).unwrap();
    (rig, ours)
}

fn refused_use(rig: &Rig, ours: VolumeUuid) -> InUse {
    match rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No)) {
        Err(Failed::Refused(Refusal::Use(UseRefusal::StillInUse { by, .. }))) => by,
        other => panic!("{other:?}"),
    }
}

#[test]
fn i1_a_mounted_volume_is_not_deleted() {
    let rig = Rig::new();
    let (ours, mode) = (volume(), VolumeMode::Filesystem { fs: FsType::Xfs });
    rig.fulfil(ours, &create(ours, SIZE, mode)).unwrap();
    rig.fulfil(ours, &stage(ours, mode, &rig.path("staging"))).unwrap();
    assert!(matches!(refused_use(&rig, ours), InUse::Mounted { .. }));
    // Even with the plan of a moment when it was free.
    let (image, proof) = (rig.observe(ours).volume.image.unwrap().path, rig.proof(ours));
    let late = execute(&Step::MarkQuarantined { image, proof }, deadline());
    assert!(matches!(late, Err(DeviceError::Busy { .. })), "{late:?}");
}

#[test]
fn i1_a_claimed_loop_device_and_an_open_image_are_not_deleted() {
    use std::os::unix::fs::OpenOptionsExt;
    let (rig, ours) = with_block_volume();
    rig.fulfil(ours, &stage(ours, VolumeMode::Block, &rig.path("staging"))).unwrap();
    assert!(matches!(refused_use(&rig, ours), InUse::Staged { .. }));

    // Its record is lost, but a program holds the device.
    let device = rig.observe(ours).volume.attached.unwrap().device;
    let past = terrace_device_types::StageState::Past;
    let image = rig.observe(ours).volume.image.unwrap().path;
    let lose = Step::WriteStage { image: image.clone(), volume: ours, stage: past };
    execute(&lose, deadline()).unwrap();
    let claim = fs::File::options().read(true).custom_flags(libc::O_EXCL).open(&device).unwrap();
    assert_eq!(refused_use(&rig, ours), InUse::Open);
    drop(claim);

    // Not claimed, only open: no plan can see that, so the step must.
    let holder = fs::File::open(&device).unwrap();
    let held = rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No));
    assert!(matches!(held, Err(Failed::Device(DeviceError::Busy { .. }))), "{held:?}");
    drop(holder);

    let reader = fs::File::open(&image).unwrap();
    assert_eq!(refused_use(&rig, ours), InUse::Open);
    // Opened just after the plan was made: the step looks again.
    let mark = Step::MarkQuarantined { image: image.clone(), proof: rig.proof(ours) };
    let late = execute(&mark, deadline());
    assert!(matches!(late, Err(DeviceError::Busy { .. })), "{late:?}");
    drop(reader);
    rig.fulfil(ours, &delete(&rig.proof(ours), Erase::No)).unwrap();
    assert!(observe_images(&rig.pool).unwrap().is_empty());
}

#[test]
fn i1_nothing_is_erased_or_removed_that_is_not_quarantined_by_that_deletion() {
    let (rig, ours) = with_block_volume();
    let image = rig.observe(ours).volume.image.unwrap().path;
    let wrong: terrace_device_types::DeletionId = "another".parse().unwrap();
    let (erase, deletion) = (Erase::Zeros, wrong.clone());
    let steps = [
        Step::RemoveImage { image: image.clone(), deletion: wrong.clone() },
        Step::EraseImage { image: image.clone(), deletion, erase },
        Step::RenameToQuarantine {
            image: image.clone(),
            to: rig.pool.join("q-x"),
            deletion: wrong,
        },
        Step::RemoveUnfinished { image: image.clone(), volume: ours },
    ];
    for ready in [true, false] {
        for step in &steps {
            assert!(execute(step, deadline()).is_err(), "{step}");
        }
        assert!(image.exists());
        if ready {
            let mark = Step::MarkQuarantined { image: image.clone(), proof: rig.proof(ours) };
            execute(&mark, deadline()).unwrap();
        }
    }
}

#[test]
fn a_deletion_that_crashed_anywhere_is_finished() {
    for crash in 0..6 {
        let (rig, ours) = with_block_volume();
        let intent = delete(&rig.proof(ours), Erase::Zeros);
        let steps = rig.plan(ours, &intent).unwrap();
        assert_eq!(steps.len(), 6, "{steps:?}");
        for step in &steps[..crash] {
            execute(step, deadline()).unwrap();
        }
        let view = rig.observe(ours);
        if let Some(image) = &view.volume.image
            && let TagReading::Read(tag) = &image.tag
            && let HostState::Quarantined { deletion } = &tag.state
        {
            let leftover = Leftover::Quarantined { deletion: deletion.clone() };
            rig.fulfil(ours, &sweep(ours, leftover)).unwrap();
        }
        rig.fulfil(ours, &intent).unwrap();
        assert!(observe_images(&rig.pool).unwrap().is_empty(), "crash before step {crash}");
    }
}

#[test]
fn an_erased_image_is_all_zeros_before_its_name_goes() {
    let (rig, ours) = with_block_volume();
    let image = rig.observe(ours).volume.image.unwrap().path;
    let file = fs::File::options().write(true).open(&image).unwrap();
    for at in [0, 1_000_003, (4 << 20) - 7] {
        file.write_all_at(b"secret!", at).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    let second_name = rig.path("second-name");
    fs::hard_link(&image, &second_name).unwrap();
    rig.fulfil(ours, &delete(&rig.proof(ours), Erase::Zeros)).unwrap();
    let bytes = fs::read(&second_name).unwrap();
    assert_eq!(bytes.len(), 4 << 20);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn what_was_begun_and_never_used_is_taken_back_and_nothing_else() {
    let (rig, ours) = (Rig::new(), volume());
    let intent = create(ours, Bytes::mib(4), VolumeMode::Block);
    rig.crash_before(ours, &intent, |step| matches!(step, Step::WriteState { .. }));
    let abandon = sweep(ours, Leftover::Unfinished);
    rig.fulfil(ours, &abandon).unwrap();
    assert!(observe_images(&rig.pool).unwrap().is_empty());
    rig.fulfil(ours, &intent).unwrap();
    assert!(matches!(rig.fulfil(ours, &abandon), Err(Failed::Refused(_))));
}

#[test]
fn an_image_that_cannot_grow_keeps_its_length_and_its_blocks() {
    let rig = Rig::bare();
    let disk = rig.path("disk");
    fs::File::create(&disk).unwrap().set_len(400 << 20).unwrap();
    // ext4 allocates piece by piece: a fallocate that fails has taken everything there was.
    run("mkfs.ext4", &["-q", disk.to_str().unwrap()]);
    fs::create_dir(&rig.pool).unwrap();
    run("mount", &["-o", "loop", disk.to_str().unwrap(), rig.pool.to_str().unwrap()]);
    rig.make_pool(&terrace_device_types::PoolPlace::Directory).unwrap();
    let ours = volume();
    rig.fulfil(ours, &create(ours, Bytes::mib(64), VolumeMode::Block)).unwrap();
    let image = rig.observe(ours).volume.image.unwrap().path;
    let shape = || {
        let status = fs::metadata(&image).unwrap();
        (status.len(), status.blocks())
    };
    let before = shape();
    let (to, allocation) = (Bytes::gib(1), Allocation::Reserved);
    let step = Step::GrowImage { image: image.clone(), volume: ours, to, allocation };
    let full = execute(&step, deadline());
    assert!(matches!(full, Err(DeviceError::NoSpace { .. })), "{full:?}");
    assert_eq!(shape(), before);
    let planned = rig.fulfil(ours, &crate::rig::grow(ours, to));
    assert!(matches!(planned, Err(Failed::Refused(Refusal::Pool(_)))), "{planned:?}");
    let other = volume();
    let create_too_large = create(other, to, VolumeMode::Block);
    assert!(matches!(rig.fulfil(other, &create_too_large), Err(Failed::Refused(_))));
    assert_eq!(observe_images(&rig.pool).unwrap().len(), 1);
}
