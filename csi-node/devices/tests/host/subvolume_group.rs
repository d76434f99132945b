//! A group of subvolumes shows one moment, under writers who force every write to the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use terrace_backends::group::plan_group;
use terrace_device_types::{Bytes, FsType, HostObject, Step, VolumeMode, VolumeUuid};
use terrace_devices::execute;

use crate::rig::{Rig, copy, create, deadline, run, stage, volume};

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

/// Who writes besides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Nobody,
    /// To every volume, a MiB at a time, each time until it is durable.
    Everybody,
}

fn write_much(file: &File, stop: &AtomicBool) {
    let chunk = vec![5u8; 1 << 20];
    for number in 0u64.. {
        file.write_all_at(&chunk, (number % 32) << 20).unwrap();
        file.sync_data().unwrap();
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// The highest id of a subvolume so far: every try of every member took one.
fn last_id(rig: &Rig) -> u64 {
    let shown = run("btrfs", &["subvolume", "list", rig.path("host").to_str().unwrap()]);
    let ids = shown.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    ids.max().unwrap_or_default()
}

fn keeps_the_order_of_writes(volumes: usize, load: Load) {
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
    let (stop, before) = (AtomicBool::new(false), last_id(&rig));
    let others: Vec<File> = match load {
        Load::Nobody => Vec::new(),
        Load::Everybody => volumes
            .iter()
            .map(|ours| rig.path(&format!("staging-{ours}/data/much")))
            .map(|path| File::create(path).unwrap())
            .collect(),
    };
    let (shown, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_in_order(&files, &stop));
        for file in &others {
            scope.spawn(|| write_much(file, &stop));
        }
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..ROUNDS).map(|_| take(&rig, &volumes)).collect::<Vec<_>>()
        }));
        stop.store(true, Ordering::SeqCst);
        let last = writer.join().unwrap();
        (rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), last)
    });
    let tries = (last_id(&rig) - before) / u64::try_from(volumes.len()).unwrap();
    println!("{ROUNDS} groups of {} took {tries} tries", volumes.len());
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
    keeps_the_order_of_writes(2, Load::Nobody);
}

#[test]
fn a_group_of_six_shows_one_moment() {
    keeps_the_order_of_writes(6, Load::Nobody);
}

#[test]
fn a_group_of_four_shows_one_moment_while_every_member_is_written_much() {
    keeps_the_order_of_writes(4, Load::Everybody);
}
