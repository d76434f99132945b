//! A disk that appears, fails to read and goes (`scsi_debug`): the kernel tells of all three without being asked.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use terrace_device_types::Logged;
use terrace_devices::{Host, KernelLog, Uevents};

use crate::rig::{Rig, sh, soon};
use crate::vanish::Scsi;

/// Where `scsi_debug` has its bad sectors, and the option that makes them bad.
const BAD_SECTOR: u32 = 0x1234;
const MEDIUM_ERRORS: &str = "2";

/// What happens soon, though not at once.
fn awaits(what: &str, mut happened: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_disk_that_appears_fails_to_read_and_goes_is_told_of() {
    let Some(_rig) = Rig::new() else { return };
    let mut events = Uevents::open().unwrap();
    let mut log = KernelLog::open(&Host::real()).unwrap();
    log.read().unwrap();
    assert!(!events.read().unwrap(), "nothing happened yet");
    let scsi = Scsi::load("");
    let name = scsi.disk.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(events.read().unwrap(), "a disk appeared");
    let mut told = Vec::new();
    awaits("the kernel tells that the disk is attached", || {
        told.extend(log.read().unwrap());
        told.contains(&Logged::Attached { disk: name.clone() })
    });
    assert!(!told.iter().any(|told| matches!(told, Logged::Failed { .. })), "{told:?}");
    fs::write("/sys/bus/pseudo/drivers/scsi_debug/opts", MEDIUM_ERRORS).unwrap();
    let disk = scsi.disk.display();
    let read = format!("dd if={disk} of=/dev/null iflag=direct bs=512 count=1 skip={BAD_SECTOR}");
    assert!(!Command::new("sh").args(["-c", &read]).status().unwrap().success());
    awaits("the kernel tells of the read that failed", || {
        let is_it = |told: &Logged| matches!(told, Logged::Failed { disk, .. } if *disk == name);
        log.read().unwrap().iter().any(is_it)
    });
    if sh("command -v smartctl || true").contains("smartctl") {
        let smart = terrace_devices::observe_smart(&scsi.disk, soon()).unwrap().unwrap();
        assert_eq!(smart.passed, Some(true), "the disk itself does not complain");
    }
    events.read().unwrap();
    scsi.pull();
    awaits("the kernel tells that the disk went", || events.read().unwrap());
}
