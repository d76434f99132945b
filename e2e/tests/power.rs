//! A slice of what `hack/crash power` and `hack/crash images` do in full: as root, on this host, without a cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

use std::process::{Command, Output};

fn crash(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_terrace-crash")).args(words).output().unwrap()
}

/// Its tables; what it was asked for went well.
fn survive(words: &[&str]) -> String {
    let ended = crash(words);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{words:?}: {said}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

#[test]
fn what_ext4_acknowledged_outlives_power_cuts() {
    let table = survive(&["power", "--filesystem", "ext4", "--cuts", "10"]);
    assert!(table.contains("| ext4 | 10 |"), "{table}");
}

#[test]
fn what_xfs_acknowledged_outlives_power_cuts() {
    let table = survive(&["power", "--filesystem", "xfs", "--cuts", "10"]);
    assert!(table.contains("| xfs | 10 |"), "{table}");
}

#[test]
fn what_every_backend_acknowledged_is_in_a_crash_image() {
    let table = survive(&["images", "--images", "3"]);
    for pool in [
        "| file on xfs: xfs, ext4 | 3 |",
        "| file on ext4: ext4, xfs | 3 |",
        "| btrfs: two subvolumes | 3 |",
    ] {
        assert!(table.contains(pool), "{table}");
    }
}

#[test]
fn a_write_that_was_not_durable_is_found_to_be_lost() {
    let ended = crash(&["power", "--filesystem", "ext4", "--cuts", "40", "--lie"]);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("acknowledged and lost"), "{said}");
}
