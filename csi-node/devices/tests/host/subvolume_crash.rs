//! A death between any two system calls of making, copying or removing a subvolume: the same request again ends well, and taking it back leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};

use terrace_device_types::{
    Bytes, Erase, FsType, HostObject, HostState, Intent, Leftover, Step, TagReading, VolumeMode,
    VolumeUuid, image_name, quarantine_name, unfinished_name,
};
use terrace_devices::{execute, observe_images};

use crate::rig::{Rig, copy, create, deadline, delete, run, stage, sweep, volume};

const MODE: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };
const SIZE: Bytes = Bytes::mib(128);

/// The steps of the plan up to one.
fn run_until(rig: &Rig, ours: VolumeUuid, intent: &Intent, steps: usize) -> usize {
    let plan = rig.plan(ours, intent).unwrap();
    for step in plan.iter().take(steps) {
        execute(step, deadline()).unwrap();
    }
    plan.len()
}

fn abandon(ours: VolumeUuid) -> Intent {
    sweep(ours, Leftover::Unfinished)
}

fn is_ready(rig: &Rig, ours: VolumeUuid) -> bool {
    let tag = rig.observe(ours).volume.image.map(|image| image.tag);
    matches!(tag, Some(TagReading::Read(tag)) if tag.state == HostState::Ready)
}

fn assert_gone(rig: &Rig, ours: VolumeUuid) {
    let names: Vec<_> =
        fs::read_dir(&rig.pool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let of = names.iter().filter(|name| name.to_string_lossy().contains(&ours.to_string()));
    assert_eq!(of.count(), 0, "{names:?}");
}

/// A directory under the unfinished name as a death inside the step leaves it: without a tag, with it, with its subvolume too.
fn begun(rig: &Rig, ours: VolumeUuid, stage: usize) -> PathBuf {
    let whole = rig.pool.join(image_name(HostObject::Volume, ours));
    let path = rig.pool.join(unfinished_name(ours));
    if stage == 0 {
        fs::create_dir(&path).unwrap();
        return path;
    }
    run_until(rig, ours, &create(ours, SIZE, MODE), 1);
    fs::rename(&whole, &path).unwrap();
    if stage == 1 {
        delete_inside(&path);
    }
    path
}

fn delete_inside(object: &Path) {
    run("btrfs", &["subvolume", "delete", object.join("volume").to_str().unwrap()]);
}

#[test]
fn i3_a_volume_whose_making_was_cut_short_anywhere_is_made_by_the_next_try() {
    let rig = Rig::on_btrfs();
    for cut in 0..3 {
        let ours = volume();
        begun(&rig, ours, cut);
        rig.fulfil(ours, &create(ours, SIZE, MODE)).unwrap();
        assert!(is_ready(&rig, ours));
    }
    for step in 0..4 {
        let ours = volume();
        assert_eq!(run_until(&rig, ours, &create(ours, SIZE, MODE), step), 4);
        rig.fulfil(ours, &create(ours, SIZE, MODE)).unwrap();
        assert!(is_ready(&rig, ours));
        let limit = crate::subvolume::subvolume(&rig, ours).limit;
        assert_eq!(limit, Some(SIZE), "after step {step}");
    }
}

#[test]
fn i3_a_volume_whose_making_was_cut_short_anywhere_can_be_taken_back() {
    let rig = Rig::on_btrfs();
    for cut in 1..3 {
        let ours = volume();
        begun(&rig, ours, cut);
        assert_eq!(observe_images(&rig.pool).unwrap().len(), 1, "a list shows it");
        rig.fulfil(ours, &abandon(ours)).unwrap();
        assert_gone(&rig, ours);
    }
    for step in 0..4 {
        let ours = volume();
        run_until(&rig, ours, &create(ours, SIZE, MODE), step);
        rig.fulfil(ours, &abandon(ours)).unwrap();
        assert_gone(&rig, ours);
    }
    // Before the tag nothing shows it, and the journal's undo takes it away.
    let ours = volume();
    begun(&rig, ours, 0);
    assert_eq!(observe_images(&rig.pool).unwrap(), []);
    let object = rig.pool.join(image_name(HostObject::Volume, ours));
    execute(&Step::RemoveUnfinishedSubvolume { object, volume: ours }, deadline()).unwrap();
    assert_gone(&rig, ours);
}

#[test]
fn i3_a_taking_back_that_was_cut_short_is_finished_or_begun_anew() {
    let rig = Rig::on_btrfs();
    for again in [create as fn(VolumeUuid, Bytes, VolumeMode) -> Intent, |ours, _, _| abandon(ours)]
    {
        let ours = volume();
        run_until(&rig, ours, &create(ours, SIZE, MODE), 1);
        delete_inside(&rig.pool.join(image_name(HostObject::Volume, ours)));
        rig.fulfil(ours, &again(ours, SIZE, MODE)).unwrap();
        assert!(is_ready(&rig, ours) || rig.observe(ours).volume.image.is_none());
    }
}

#[test]
fn i3_a_copy_that_was_cut_short_anywhere_is_made_of_one_moment_by_the_next_try() {
    let rig = Rig::on_btrfs();
    let (source, at) = (volume(), rig.path("staging"));
    rig.fulfil(source, &create(source, SIZE, MODE)).unwrap();
    rig.fulfil(source, &stage(source, MODE, &at)).unwrap();
    for (object, steps) in [(HostObject::Snapshot, 3), (HostObject::Volume, 4)] {
        for step in 0..steps {
            let ours = volume();
            let intent = copy(object, source, ours, SIZE, MODE);
            fs::write(at.join("data/when"), "first").unwrap();
            assert_eq!(run_until(&rig, ours, &intent, step), steps);
            fs::write(at.join("data/when"), "second").unwrap();
            rig.fulfil(ours, &intent).unwrap();
            let inside = rig.observe(ours).volume.image.unwrap().path.join("volume/data/when");
            assert_eq!(fs::read_to_string(inside).unwrap(), "second", "after step {step}");
            let leftover = rig.pool.join(unfinished_name(ours));
            assert!(!leftover.exists());
        }
    }
    // Half done under the unfinished name.
    for cut in 1..3 {
        let ours = volume();
        begun(&rig, ours, cut);
        rig.fulfil(ours, &copy(HostObject::Snapshot, source, ours, SIZE, MODE)).unwrap();
        assert!(crate::subvolume::subvolume(&rig, ours).read_only);
    }
}

#[test]
fn i3_a_deletion_that_was_cut_short_anywhere_ends_with_nothing_left() {
    let rig = Rig::on_btrfs();
    for step in 0..5 {
        let ours = volume();
        rig.fulfil(ours, &create(ours, SIZE, MODE)).unwrap();
        let deletion = delete(&rig.proof(ours), Erase::No);
        assert_eq!(run_until(&rig, ours, &deletion, step), 5);
        rig.fulfil(ours, &deletion).unwrap();
        assert_eq!(observe_images(&rig.pool).unwrap(), [], "after step {step}");
    }
    // Between the subvolume and its directory.
    let ours = volume();
    rig.fulfil(ours, &create(ours, SIZE, MODE)).unwrap();
    let deletion = delete(&rig.proof(ours), Erase::No);
    run_until(&rig, ours, &deletion, 3);
    delete_inside(&rig.pool.join(quarantine_name(&"deletion-1".parse().unwrap())));
    rig.fulfil(ours, &deletion).unwrap();
    assert_eq!(observe_images(&rig.pool).unwrap(), []);
}
