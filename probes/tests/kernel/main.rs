//! The probe on the running kernel: what was done is what was counted, exactly, and where. Needs root. By raw tracepoints, which
//! every kernel has; `TERRACE_TIER=fentry` or `kprobe` proves another tier where the kernel has it (`hack/verify-bpf`). What a tier
//! cannot follow (fsync, where fdatasync(2) does not pass its function) is left to system calls.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod block;
mod calls;
mod directories;
mod ground;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use calls::{BYTES, WAYS, copy, ring, send};
use ground::{Ground, counts, find, mount_id, name, open, run, sight};
use terrace_probe::aya_loader::{AyaLoader, Loaded, remove_pins};
use terrace_probe::loader::{Attached, Changed, FunctionReport, Loader, Plan, Thing};
use terrace_probe_abi::layout::{
    ErrorKind, Operation, Path, SharedClass, SizeClass, SlotKind, Tier,
};

fn tier() -> Tier {
    match std::env::var("TERRACE_TIER").as_deref() {
        Ok("fentry") => Tier::Fentry,
        Ok("kprobe") => Tier::Kprobe,
        Ok(other) => panic!("TERRACE_TIER={other}"),
        Err(_) => Tier::RawTracepoint,
    }
}

fn plan() -> Plan {
    Plan { forced: Some(tier()), ..Plan::default() }
}

fn attach(plan: &Plan) -> Loaded {
    let probe = AyaLoader.attach(plan).unwrap();
    for function in &probe.functions()[..10] {
        let reasons =
            ["(2) goes past vfs_fsync_range on this kernel", "as the probe before this one chose"];
        let is_left_to_calls = function.function == "vfs_fsync_range"
            && function.tier == Tier::RawTracepoint
            && reasons.iter().any(|reason| function.reason.ends_with(reason));
        assert!(function.tier == tier() || is_left_to_calls, "{function:?}");
    }
    probe
}

#[test]
fn every_way_is_counted_once_and_on_the_mount_it_took() {
    let probe = attach(&plan());
    let (mut first, second) = (Ground::new("xfs"), Ground::new("ext4"));
    let bound = first.bind();
    let roots = [first.root().to_owned(), second.root().to_owned(), bound];
    for (slot, root) in roots.iter().enumerate() {
        fs::write(root.join("file"), [0; 4096]).unwrap();
        name(&probe, root, slot as u16);
    }
    for (times, (what, operation, path, once)) in (3_u64..).zip(WAYS) {
        for (slot, root) in roots.iter().enumerate() {
            let mut file = open(&root.join("file"));
            let before = probe.figures(slot as u16);
            let times = times + slot as u64;
            (0..times).for_each(|_| once(&mut file));
            let after = probe.figures(slot as u16);
            let (old, new) = (&before[operation.index()], &after[operation.index()]);
            assert_eq!(new.count() - old.count(), times, "{what} in {slot}");
            assert_eq!(new.by_path(path) - old.by_path(path), times, "{what} came as {path:?}");
            let moved = if operation == Operation::Fsync { 0 } else { times * BYTES as u64 };
            assert_eq!(new.bytes - old.bytes, moved, "bytes of {what}");
            let others = |at: &terrace_probe_abi::layout::Figures| -> u64 {
                counts(at).iter().sum::<u64>() - at[operation.index()].count()
            };
            assert_eq!(others(&after), others(&before), "{what} is nothing else");
        }
    }
}

#[test]
fn both_ends_of_a_copy_are_operations_of_their_own_volumes() {
    let probe = attach(&plan());
    let (first, second) = (Ground::new("xfs"), Ground::new("xfs"));
    let (from, to) = (open(&first.root().join("from")), open(&second.root().join("to")));
    from.write_at(&[1; 4096], 0).unwrap();
    name(&probe, first.root(), 10);
    name(&probe, second.root(), 11);
    let (source, target) = (probe.figures(10), probe.figures(11));
    (0..7).for_each(|_| send(&from, &to));
    let within = open(&first.root().join("within"));
    (0..5).for_each(|_| copy(&from, &within));
    let read = &probe.figures(10)[Operation::Read.index()];
    let written = &probe.figures(11)[Operation::Write.index()];
    assert_eq!(read.count() - source[Operation::Read.index()].count(), 12);
    assert_eq!(written.count() - target[Operation::Write.index()].count(), 7);
    assert_eq!(written.by_path(Path::Splice), 7);
    let copied = probe.figures(10)[Operation::Write.index()].by_path(Path::Splice);
    assert_eq!(copied, 5);
}

#[test]
fn io_uring_is_counted_by_request() {
    let probe = attach(&plan());
    let ground = Ground::new("xfs");
    let file = open(&ground.root().join("file"));
    file.write_at(&[1; 4096], 0).unwrap();
    name(&probe, ground.root(), 20);
    let before = probe.figures(20);
    ring(&file, 100, 50, 10);
    let after = probe.figures(20);
    let by_ring = |operation: Operation| after[operation.index()].by_path(Path::IoUring);
    assert_eq!(
        [by_ring(Operation::Read), by_ring(Operation::Write), by_ring(Operation::Fsync)],
        [100, 50, 10]
    );
    assert_eq!(after[0].count() - before[0].count(), 100, "reads, by whatever way");
    assert_eq!(after[1].bytes - before[1].bytes, 50 * BYTES as u64);
    // libaio's fsync is a function's alone.
    let is_left =
        |one: &FunctionReport| one.function == "vfs_fsync_range" && one.tier == Tier::RawTracepoint;
    let unseen: &[Path] = match tier() {
        Tier::RawTracepoint => &[Path::Aio, Path::Mmap],
        Tier::Fentry | Tier::Kprobe | Tier::None => {
            let is_left = probe.functions().iter().any(is_left);
            if is_left { &[Path::Aio] } else { &[] }
        }
    };
    assert_eq!(probe.unobservable(), unseen);
}

#[test]
fn a_mount_that_gets_the_id_of_another_is_another() {
    let probe = attach(&plan());
    let (mut first, mut second) = (Ground::new("xfs"), Ground::new("ext4"));
    second.leave();
    // Whoever else mounts something at that moment gets the id.
    let reused = (0..50).find_map(|_| {
        let id = mount_id(first.root());
        let old = name(&probe, first.root(), 30);
        first.leave();
        second.enter();
        let is_reused = mount_id(second.root()) == id;
        if !is_reused {
            second.leave();
            first.enter();
        }
        is_reused.then_some(old)
    });
    let old = reused.expect("the kernel gave no mount id twice");
    let before = counts(&probe.figures(30));
    let new = sight(&probe, second.root());
    assert_eq!(counts(&probe.figures(30)), before, "counted for the one that is gone");
    assert_eq!(new.thing, old.thing);
    assert!(new.generation > old.generation);
    assert_ne!((new.s_dev, new.slot), (old.s_dev, 30));
    assert_eq!(probe.set_slot(old.thing, old.generation, 31).unwrap(), Changed::No);
}

#[test]
fn what_nobody_named_is_counted_from_its_first_operation() {
    let probe = attach(&plan());
    let ground = Ground::new("xfs");
    let sighting = sight(&probe, ground.root());
    assert_eq!(SlotKind::of(sighting.slot), SlotKind::Provisional, "a slot was free");
    assert!(probe.figures(sighting.slot)[Operation::Readdir.index()].count() >= 1);
    assert_eq!(probe.forget(sighting.thing, sighting.generation).unwrap(), Changed::Yes);
    assert_eq!(find(&probe, sighting.thing), None);
    probe.release(sighting.slot).unwrap();
    assert_eq!(sight(&probe, ground.root()).generation, sighting.generation + 1);
}

#[test]
fn a_tenth_of_what_is_no_volume_is_counted() {
    let probe = attach(&plan());
    let ground = Ground::new("xfs");
    let file = open(&ground.root().join("file"));
    let slot = SharedClass::Host.slot();
    name(&probe, ground.root(), slot);
    (0..100_000).for_each(|_| assert_eq!(file.read_at(&mut [0; 1], 0).unwrap(), 0));
    let seen = probe.figures(slot)[Operation::Read.index()].count();
    assert!((9_500..=10_500).contains(&seen), "{seen} of 100,000");
}

#[test]
fn errors_are_told_apart() {
    let probe = attach(&plan());
    let ground = Ground::new("xfs");
    let full = Ground::new("ext4");
    let file = open(&ground.root().join("file"));
    let large = open(&full.root().join("large"));
    file.write_at(&[1; 4096], 0).unwrap();
    name(&probe, ground.root(), 40);
    name(&probe, full.root(), 41);
    let chunk = vec![1; 2 << 20];
    let (mut end, mut huge) = (0, 0);
    while let Ok(written) = large.write_at(&chunk, end) {
        end += written as u64;
        huge += u64::from(written > 1 << 20);
    }
    let writes = probe.figures(41)[Operation::Write.index()].clone();
    assert_eq!(writes.errors[ErrorKind::Enospc.index()], 1);
    assert_eq!(writes.sizes[SizeClass::Huge.index()], huge);
    let root = ground.root().to_str().unwrap();
    run("xfs_io", &["-x", "-c", "shutdown", root]);
    (0..3).for_each(|_| assert!(file.read_at(&mut [0; 512], 0).is_err()));
    assert!(file.sync_all().is_err());
    let after = probe.figures(40);
    let failed = |operation: Operation| after[operation.index()].errors[ErrorKind::Eio.index()];
    assert_eq!((failed(Operation::Read), failed(Operation::Fsync)), (3, 1));
}

#[test]
fn slow_operations_are_told_up_to_an_allowance_and_the_rest_counted() {
    let plan = Plan { slow_burst: 70, slow_per_second: 1, ..plan() };
    let mut probe = attach(&plan);
    let ground = Ground::new("xfs");
    fs::create_dir_all(ground.root().join("a/b")).unwrap();
    let file = open(&ground.root().join("a/b/wal"));
    name(&probe, ground.root(), 50);
    let others = probe.slow_events(usize::MAX).len();
    let dropped = probe.counters().unwrap().slow_dropped;
    probe.set_threshold(50, 1);
    (0..100).for_each(|_| assert_eq!(file.write_at(&[1; 9], 0).unwrap(), 9));
    let told: Vec<_> =
        probe.slow_events(usize::MAX).into_iter().filter(|slow| slow.slot == 50).collect();
    assert_eq!(probe.figures(50)[Operation::Write.index()].slow, 100);
    assert!((69..=75).contains(&told.len()), "{} told, {others} of others before", told.len());
    let dropped = probe.counters().unwrap().slow_dropped - dropped;
    assert!(dropped >= 100 - told.len() as u64, "{dropped} dropped");
    let slow = &told[0];
    assert_eq!((slow.operation, slow.result, slow.depth, slow.deeper), (1, 9, 3, 0));
    assert_eq!((slow.tgid, slow.mount), (std::process::id(), mount_id(ground.root())));
    let names: Vec<&[u8]> =
        slow.names.iter().map(|name| name.split(|b| *b == 0).next().unwrap()).collect();
    assert_eq!(names[..3], [b"wal".as_slice(), b"b", b"a"]);
}

#[test]
fn synchronous_writes_are_told_apart_and_sync_nothing_twice() {
    let probe = attach(&plan());
    let ground = Ground::new("ext4");
    let path = ground.root().join("file");
    let flags = libc::O_DSYNC;
    let file =
        OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(path).unwrap();
    name(&probe, ground.root(), 60);
    (0..12).for_each(|_| assert_eq!(file.write_at(&[1; 512], 0).unwrap(), 512));
    let figures = probe.figures(60);
    assert_eq!((figures[1].count(), figures[1].synced, figures[2].count()), (12, 12, 0));
    let [_, longest, ..] = probe.take_longest(60);
    assert!(longest > 0 && longest <= figures[1].sum_ns);
    assert_eq!(probe.take_longest(60)[1], 0, "taken");
}

#[test]
fn a_block_device_is_a_volume_of_its_own() {
    let probe = attach(&plan());
    let ground = Ground::new("xfs");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = ground.root().to_str().unwrap();
    let line = table.lines().find(|line| line.contains(root)).unwrap();
    let (major, minor) = line.split(' ').nth(2).unwrap().split_once(':').unwrap();
    let device = fs::File::open(format!("/dev/loop{minor}")).unwrap();
    assert_eq!(device.read_at(&mut [0; 512], 0).unwrap(), 512);
    let thing = Thing::Device { major: major.parse().unwrap(), minor: minor.parse().unwrap() };
    let sighting = find(&probe, thing).unwrap();
    assert_eq!(probe.set_slot(thing, sighting.generation, 70).unwrap(), Changed::Yes);
    (0..25).for_each(|_| assert_eq!(device.read_at(&mut [0; 512], 0).unwrap(), 512));
    assert_eq!(counts(&probe.figures(70)), [25, 0, 0, 0]);
}

#[test]
fn i6_a_device_number_that_is_handed_on_is_another_device() {
    let probe = attach(&plan());
    let folder = tempfile::tempdir().unwrap();
    let images = ["one", "two"].map(|name| folder.path().join(name));
    images.iter().for_each(|image| fs::File::create(image).unwrap().set_len(1 << 20).unwrap());
    assert!((71..79).any(|slot| number_is_handed_on(&probe, &images, slot)), "always taken");
}

/// Whether the number went from one image to the other, and to nobody else in between.
fn number_is_handed_on(probe: &Loaded, images: &[std::path::PathBuf; 2], slot: u16) -> bool {
    let attach_to = |device: &str, image: &std::path::Path| {
        let mut losetup = std::process::Command::new("losetup");
        losetup.args(["--show", device]).arg(image);
        String::from_utf8(losetup.output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let device = attach_to("--find", &images[0]);
    let read = |times| {
        let file = fs::File::open(&device).unwrap();
        (0..times).for_each(|_| assert_eq!(file.read_at(&mut [0; 512], 0).unwrap(), 512));
    };
    read(1);
    let minor = device.trim_start_matches("/dev/loop").parse().unwrap();
    let thing = Thing::Device { major: 7, minor };
    let first = find(probe, thing).unwrap();
    assert_eq!(probe.set_slot(thing, first.generation, slot).unwrap(), Changed::Yes);
    read(5);
    run("losetup", &["--detach", &device]);
    if attach_to(&device, &images[1]) != device {
        return false;
    }
    read(7);
    let second = find(probe, thing).unwrap();
    assert_ne!(second.generation, first.generation);
    run("losetup", &["--detach", &device]);
    assert_eq!(counts(&probe.figures(slot)), [5, 0, 0, 0]);
    assert_eq!(counts(&probe.figures(second.slot)), [7, 0, 0, 0], "{second:?}");
    assert_eq!(probe.set_slot(thing, first.generation, slot).unwrap(), Changed::Yes, "still here");
    let _ = probe.sightings().unwrap();
    assert_eq!(probe.set_slot(thing, first.generation, slot).unwrap(), Changed::No);
    true
}

#[test]
fn a_probe_that_is_gone_keeps_counting_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    run("mount", &["-t", "bpf", "bpf", folder.path().to_str().unwrap()]);
    let plan = Plan { pins: Some(folder.path().to_owned()), ..plan() };
    let ground = Ground::new("xfs");
    let file = open(&ground.root().join("file"));
    let first = attach(&plan);
    name(&first, ground.root(), 80);
    let write = |times| (0..times).for_each(|_| assert_eq!(file.write_at(&[1; 8], 0).unwrap(), 8));
    write(100);
    let [name, longest] = ["pv-1".to_owned(), "n".repeat(511)];
    first.remember(80, b"something longer");
    first.remember(80, name.as_bytes());
    first.remember(81, longest.as_bytes());
    first.remember(82, "n".repeat(512).as_bytes());
    drop(first);
    write(1_000);
    let second = attach(&plan);
    let noted = [(80, name.into_bytes()), (81, longest.into_bytes())];
    assert_eq!(second.remembered(), noted, "what is too long is not noted");
    write(10);
    assert_eq!(counts(&second.figures(80)), [0, 1_110, 0, 0]);
    let of_another_plan = Plan { slow_per_second: 7, ..plan.clone() };
    let third = attach(&of_another_plan);
    write(5);
    assert_eq!(counts(&third.figures(80)), [0, 1_115, 0, 0], "once, by one of the two");
    drop((second, third));
    remove_pins(folder.path()).unwrap();
    let left = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(left.count(), 0);
    run("umount", &[folder.path().to_str().unwrap()]);
}
