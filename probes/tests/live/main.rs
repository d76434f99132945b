//! The probe itself, on this machine's kernel: what was done to a volume is what its page says, and killing it loses nothing. Needs
//! root, loop devices, and `promtool` (package prometheus).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

mod rig;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rig::{Node, Probe, write_and_sync};
use terrace_probe_abi::wire::ToNode;

fn row(name: &str, operation: &str) -> String {
    format!(
        "{name}{{namespace=\"bank\",persistentvolumeclaim=\"data\",operation=\"{operation}\"}} "
    )
}

fn count(operation: &str) -> String {
    row("terrace_volume_operation_duration_seconds_count", operation)
}

fn bytes(direction: &str) -> String {
    let row = row("terrace_volume_io_bytes_total", direction);
    row.replace("operation=", "direction=")
}

/// The names that were asked for say milliseconds, which promtool would not: that is all it may say.
const ASKED: &str = "storage_io_latency_ms ";

fn validate(probe: &Probe) {
    let page = probe.page("/metrics").unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
    assert!(said.lines().all(|line| line.starts_with(ASKED)), "{said}");
    let has_asked = page.contains("\nstorage_io_latency_ms_count");
    assert_eq!(said.is_empty(), !has_asked, "{said}");
}

#[test]
fn what_was_done_is_what_the_page_says_and_kill_9_loses_nothing() {
    let node = Node::new();
    let _hears = node.serve_names();
    let probe = node.start(&[]);
    probe.wait();
    write_and_sync(&node.volume(), 100, 0);
    probe.wait_for(&count("write"), 100.0);
    // Named by now, so held to its target.
    write_and_sync(&node.volume(), 900, 20);
    let mut file = File::open(node.volume().join("file")).unwrap();
    (0..500).for_each(|_| file.read_exact(&mut [0; 4096]).unwrap());
    assert_eq!(fs::read_dir(node.volume()).unwrap().count(), 2);
    probe.wait_for(&count("write"), 1000.0);
    probe.wait_for(&count("fsync"), 20.0);
    probe.wait_for(&count("read"), 500.0);
    probe.wait_for(&count("readdir"), 2.0);
    probe.wait_for(&bytes("write"), 4_096_000.0);
    probe.wait_for(&bytes("read"), 2_048_000.0);
    validate(&probe);

    // What is mapped for good, the ring twice and the table of mounts, is the same with 2 processors and with 200.
    let (all, maps) = probe.resident_kib();
    println!("{all} KiB resident, {maps} of them maps");
    assert!(all <= 30 << 10 && maps <= 10 << 10, "{all} KiB, {maps} of them maps");
    assert_eq!(probe.status("CapEff"), "0000000000000000");
    assert_eq!(probe.page("/healthz").as_deref(), Some("ok"));
    assert_eq!(probe.page("/readyz").as_deref(), Some("ok"));

    let events = fs::read_to_string(node.path("events")).unwrap();
    let of_ours =
        events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let of_ours: Vec<_> =
        of_ours.filter(|event| event["persistentVolumeClaim"] == "data").collect();
    let write = of_ours.iter().find(|event| event["operation"] == "write").unwrap();
    assert_eq!((&write["size"], &write["filesystem"]), (&4096.into(), &"ext4".into()), "{write}");
    assert!(write["path"].as_str().is_some_and(|path| path.ends_with("/file")), "{write}");

    probe.kill();
    for round in 1..=5_usize {
        probe_is_killed_and_comes_back(&node, round);
    }
    let probe = node.start(&[]);
    probe.wait_for(&count("write"), 1000.0 + 5.0 * 300.0);
    assert!(probe.end());
}

/// Killed, used while nobody looks, and started again.
fn probe_is_killed_and_comes_back(node: &Node, round: usize) {
    let before = 1000 + (round - 1) * 300;
    let probe = node.start(&[]);
    probe.wait_for(&count("write"), f64::from(u32::try_from(before).unwrap()));
    write_and_sync(&node.volume(), 100, 0);
    probe.kill();
    write_and_sync(&node.volume(), 200, 0);
}

/// How long until what is told is what is waited for; writes go on meanwhile, or nothing does.
fn told_after(hears: &Receiver<ToNode>, high: bool, mut meanwhile: impl FnMut()) -> Duration {
    let begun = Instant::now();
    loop {
        meanwhile();
        while let Ok(said) = hears.recv_timeout(Duration::from_millis(50)) {
            if let ToNode::Turned(turned) = said {
                assert_eq!((turned.high, turned.pv_name.as_str()), (high, "pv-1"), "{turned:?}");
                return begun.elapsed();
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was told");
    }
}

#[test]
fn a_volume_above_its_target_is_told_within_two_windows_and_over_after_four() {
    let node = Node::new();
    let hears = node.serve_names();
    let probe = node.start(&["--asked-names"]);
    probe.wait();
    write_and_sync(&node.volume(), 1, 0);
    probe.wait_for(&count("write"), 1.0);
    let high = told_after(&hears, true, || write_and_sync(&node.volume(), 20, 0));
    let over = told_after(&hears, false, || {});
    validate(&probe);
    println!("high after {high:?}, over after {over:?}");
    assert!(high <= Duration::from_secs(16), "high after {high:?}");
    assert!(
        over >= Duration::from_secs(14) && over <= Duration::from_secs(27),
        "over after {over:?}"
    );
    assert!(probe.end());
}
