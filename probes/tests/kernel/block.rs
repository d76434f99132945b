//! Where a slow operation's time went: in the queue and at the device, as far as its device is the volume's own.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Duration;

use terrace_probe::loader::{Attached, Plan};
use terrace_probe_abi::layout::{Operation, SlowRecord};

use crate::ground::{Ground, device, name, open, run};
use crate::{attach, plan};

const BYTES: usize = 64 << 10;
const TIMES: u64 = 40;

/// On a page's start, as direct I/O wants it.
#[repr(align(4096))]
struct Aligned([u8; BYTES]);

fn slow_reads(probe: &mut impl Attached, slot: u16) -> Vec<SlowRecord> {
    let told = probe.slow_events(usize::MAX).into_iter();
    let is_ours = |slow: &SlowRecord| {
        slow.slot == slot && usize::from(slow.operation) == Operation::Read.index()
    };
    told.filter(is_ours).collect()
}

#[test]
fn a_slow_operation_says_how_long_its_device_took() {
    let mut probe = attach(&Plan { slow_per_second: 1_000_000, ..plan() });
    let ground = Ground::new("ext4");
    let path = ground.root().join("file");
    open(&path).write_at(&vec![7; BYTES * 16], 0).unwrap();
    open(&path).sync_all().unwrap();
    name(&probe, ground.root(), 95);
    probe.set_threshold(95, 1);
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
    let mut buffer = Box::new(Aligned([0; BYTES]));
    let mut read = |at: u64| {
        assert_eq!(direct.read_at(&mut buffer.0, at % 16 * BYTES as u64).unwrap(), BYTES);
    };
    slow_reads(&mut probe, 95);
    (0..TIMES).for_each(&mut read);
    let told = slow_reads(&mut probe, 95);
    assert_eq!(told.len() as u64, TIMES);
    assert!(told.iter().all(|slow| (slow.queue_ns, slow.block_ns) == (0, 0)), "no device is known");

    probe.set_device(95, Some(device(ground.root()))).unwrap();
    (0..TIMES).for_each(&mut read);
    let told = slow_reads(&mut probe, 95);
    assert_eq!(told.len() as u64, TIMES);
    for slow in &told {
        // One request each; times are told to 1,024 ns.
        let device = slow.queue_ns + slow.block_ns;
        assert!(slow.block_ns > 0 && device <= slow.duration_ns + 4096, "{slow:?}");
    }
    let times = probe.block_figures(95).device;
    assert_eq!((times.count(), times.bytes), (TIMES, TIMES * BYTES as u64));

    let cached = open(&path);
    (0..TIMES).for_each(|_| assert_eq!(cached.read_at(&mut [0; 512], 0).unwrap(), 512));
    let told = slow_reads(&mut probe, 95);
    assert!(told[1..].iter().all(|slow| (slow.queue_ns, slow.block_ns) == (0, 0)), "from memory");
}

#[test]
fn a_device_that_takes_no_requests_is_timed_all_the_same() {
    let mut probe = attach(&Plan { slow_per_second: 1_000_000, ..plan() });
    let ground = Ground::without_requests();
    let path = ground.root().join("file");
    open(&path).write_at(&vec![7; BYTES], 0).unwrap();
    open(&path).sync_all().unwrap();
    name(&probe, ground.root(), 97);
    probe.set_threshold(97, 1);
    probe.set_device(97, Some(device(ground.root()))).unwrap();
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
    let mut buffer = Box::new(Aligned([0; BYTES]));
    (0..TIMES).for_each(|_| assert_eq!(direct.read_at(&mut buffer.0, 0).unwrap(), BYTES));
    let told = slow_reads(&mut probe, 97);
    assert_eq!(told.len() as u64, TIMES);
    for slow in &told {
        assert!(slow.block_ns > 0 && slow.block_ns <= slow.duration_ns + 2048, "{slow:?}");
        assert_eq!(slow.queue_ns, 0, "it has no queue");
    }
    let times = probe.block_figures(97);
    assert_eq!((times.device.count(), times.device.bytes), (TIMES, TIMES * BYTES as u64));
    assert_eq!(times.queue.count(), 0);
}

/// A write that a device below it holds up, since what that lies on takes no writes for a while.
#[test]
fn a_device_that_is_slow_is_what_is_told_to_be_slow() {
    let mut probe = attach(&plan());
    let below = Ground::new("ext4");
    let ground = Ground::within(below.root(), "ext4");
    let path = ground.root().join("file");
    open(&path).write_at(&vec![7; BYTES], 0).unwrap();
    open(&path).sync_all().unwrap();
    name(&probe, ground.root(), 96);
    probe.set_device(96, Some(device(ground.root()))).unwrap();
    probe.set_threshold(96, 100_000_000);
    let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
    let at = below.root().to_str().unwrap().to_owned();
    run("fsfreeze", &["-f", &at]);
    let thaw = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        run("fsfreeze", &["-u", &at]);
    });
    let written = direct.write_at(&Box::new(Aligned([1; BYTES])).0, 0);
    thaw.join().unwrap();
    assert_eq!(written.unwrap(), BYTES);
    let told: Vec<_> =
        probe.slow_events(usize::MAX).into_iter().filter(|slow| slow.slot == 96).collect();
    let [slow] = told.as_slice() else { panic!("{told:?}") };
    assert!(slow.duration_ns > 200_000_000 && slow.blocked == 1, "{slow:?}");
    assert!(slow.block_ns * 10 > slow.duration_ns * 9, "{slow:?}");
    assert!(slow.queue_ns * 10 < slow.duration_ns, "{slow:?}");
}
