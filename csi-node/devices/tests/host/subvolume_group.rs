//! A group of subvolumes shows one moment, under writers who force every write to the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use terrace_backends::group::plan_group;
use terrace_device_types::{Bytes, FsType, HostObject, Step, VolumeMode, VolumeUuid};
use terrace_devices::execute;

use crate::rig::{Rig, copy, create, deadline, stage, volume};

const MODE: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };
const SIZE: Bytes = Bytes::mib(128);
const ROUNDS: usize = 10;

/// Writes each number to one file after the other, each time until it is durable.
fn write_in_order(files: &[File], stop: &AtomicBool) -> u64 {
    for number in 1u64.. {
        for file in files {
            file.write_all_at(&number.to_le_bytes(), 0).unwrap();
            file.sync_data().unwrap();
        }
        if stop.load(Ordering::SeqCst) {
            return number;
        }
    }
    0
}

fn number_in(volume: &Path) -> u64 {
    let mut bytes = [0; 8];
    File::open(volume.join("data/number")).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

/// Snapshots of all, by one woven plan; the numbers they show.
fn take(rig: &Rig, of: &[VolumeUuid]) -> Vec<u64> {
    let members: Vec<_> = of.iter().map(|source| (*source, volume())).collect();
    let plans = members.iter().map(|(source, snapshot)| {
        let intent = copy(HostObject::Snapshot, *source, *snapshot, SIZE, MODE);
        rig.plan(*snapshot, &intent).unwrap()
    });
    let steps = plan_group(plans.collect()).unwrap();
    let takes = steps.iter().filter(|step| matches!(step, Step::SnapshotSubvolumes { .. }));
    assert_eq!(takes.count(), 1, "{steps:?}");
    for step in &steps {
        execute(step, deadline()).unwrap();
    }
    let path = |snapshot| rig.pool.join(format!("s-{snapshot}/volume"));
    members.iter().map(|(_, snapshot)| number_in(&path(*snapshot))).collect()
}

fn keeps_the_order_of_writes(volumes: usize) {
    let rig = Rig::on_btrfs();
    let volumes: Vec<VolumeUuid> = (0..volumes).map(|_| volume()).collect();
    let files: Vec<File> = volumes
        .iter()
        .map(|ours| {
            let at = rig.path(&format!("staging-{ours}"));
            rig.fulfil(*ours, &create(*ours, SIZE, MODE)).unwrap();
            rig.fulfil(*ours, &stage(*ours, MODE, &at)).unwrap();
            let file = File::create(at.join("data/number")).unwrap();
            file.write_all_at(&[0; 8], 0).unwrap();
            file.sync_all().unwrap();
            file
        })
        .collect();
    let stop = AtomicBool::new(false);
    let (shown, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_in_order(&files, &stop));
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..ROUNDS).map(|_| take(&rig, &volumes)).collect::<Vec<_>>()
        }));
        stop.store(true, Ordering::SeqCst);
        let last = writer.join().unwrap();
        (rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), last)
    });
    for numbers in &shown {
        let ordered = numbers.windows(2).all(|pair| pair[0] >= pair[1]);
        let close = numbers[0] - numbers[numbers.len() - 1] <= 1;
        assert!(ordered && close, "no one moment: {numbers:?}");
    }
    assert!(shown.windows(2).any(|pair| pair[0] != pair[1]), "nobody wrote: {shown:?}");
    assert!(last >= shown[ROUNDS - 1][0]);
}

#[test]
fn a_group_of_two_shows_one_moment() {
    keeps_the_order_of_writes(2);
}

#[test]
fn a_group_of_six_shows_one_moment() {
    keeps_the_order_of_writes(6);
}
