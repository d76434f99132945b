//! What counts as an ailment, and when it is over.
use terrace_device_types::DevT;

use super::*;

fn mount(options: &[&str], superblock: &[&str]) -> MountPoint {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    MountPoint {
        id: 1,
        parent: 0,
        dev_t: DevT { major: 7, minor: 0 },
        root: "/".into(),
        at: "/stage".into(),
        options: texts(options),
        fs: "ext4".into(),
        source: "/dev/loop0".into(),
        super_options: texts(superblock),
    }
}

fn io_error(errno: rustix::io::Errno) -> DeviceError {
    DeviceError::Io { doing: "look at", path: "/stage".into(), source: errno.into() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn totals(eio: u64) -> ErrorTotals {
    ErrorTotals { eio, enospc: 9, ..ErrorTotals::default() }
}

#[test]
fn a_filesystem_that_shut_itself_down_or_turned_read_only_is_told_from_one_that_serves() {
    let serves = mount(&["rw", "relatime"], &["rw"]);
    assert_eq!(filesystem_state(&serves, None), FilesystemState::Serves);
    let dead = io_error(rustix::io::Errno::IO);
    assert_eq!(filesystem_state(&serves, Some(&dead)), FilesystemState::ShutDown, "XFS");
    let gone = io_error(rustix::io::Errno::NOENT);
    assert_eq!(filesystem_state(&serves, Some(&gone)), FilesystemState::Serves);
    let ext4 = mount(&["rw"], &["rw", "shutdown"]);
    assert_eq!(filesystem_state(&ext4, None), FilesystemState::ShutDown);
    for superblock in [&["ro"][..], &["rw", "emergency_ro"][..]] {
        assert_eq!(filesystem_state(&mount(&["rw"], superblock), None), FilesystemState::ReadOnly);
    }
    assert_eq!(filesystem_state(&mount(&["ro"], &["ro"]), None), FilesystemState::Serves, "asked");
}

#[test]
fn errors_of_unknown_age_prove_nothing_and_new_ones_do_until_they_end() {
    let first = ErrorTrack::default().after(totals(7), at(0));
    assert_eq!(first.failing, None, "they may be a week old");
    let second = first.after(totals(9), at(5)).after(totals(10), at(10));
    let failing = second.failing.expect("two, then one more");
    assert_eq!((failing.eio, failing.since, failing.last), (3, at(5), at(10)));
    assert!(failing.message().contains("3 with EIO"), "{}", failing.message());
    assert!(!failing.is_over(at(309)) && failing.is_over(at(310)));
    assert_eq!(second.after(totals(10), at(310)).failing, None, "it heals");
}

#[test]
fn a_count_that_begins_anew_is_no_relief_and_enospc_is_no_fault() {
    let before = ErrorTrack::default().after(totals(7), at(0));
    assert_eq!(before.after(totals(2), at(5)).failing.expect("two new ones").eio, 2);
    assert_eq!(before.after(ErrorTotals { enospc: 99, ..totals(7) }, at(5)).failing, None);
}

#[test]
fn the_worst_is_told_first() {
    let failing = ErrorTrack::default().after(totals(0), at(0)).after(totals(1), at(1)).failing;
    let disk = Ailment { reason: Reason::DiskFailing, message: "disk sda fails".into() };
    let health = Health {
        disks: Some(disk),
        filesystem: FilesystemState::ShutDown,
        failing,
        watched: Watched::Enough,
    };
    let reasons: Vec<Reason> = health.ailments().iter().map(|ailment| ailment.reason).collect();
    assert_eq!(reasons, [Reason::FilesystemShutDown, Reason::IoErrors, Reason::DiskFailing]);
    assert_eq!(Health::default().ailments(), []);
}
