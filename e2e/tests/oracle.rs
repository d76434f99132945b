//! A slice of what `hack/oracle` does in full: as root, on this host's kernel, without a cluster.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::process::{Command, Output};

fn oracle(words: &[&str]) -> Output {
    let mut oracle = Command::new(env!("CARGO_BIN_EXE_terrace-oracle"));
    oracle.args(words).output().unwrap()
}

fn said(ended: &Output) -> String {
    [&ended.stdout, &ended.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat()
}

/// The probe itself, each volume of another kind, some of them mounted anew in the midst of it.
#[test]
fn i6_an_operation_is_counted_once_and_for_its_volume() {
    let words = ["--operations", "3000", "--volumes", "10", "--rounds", "1", "--churn", "mounts"];
    let ended = oracle(&[&words[..], &["--way", "writev"]].concat());
    assert!(ended.status.success(), "{}", said(&ended));
}

#[test]
fn i6_an_attribution_by_path_alone_is_found_out() {
    let words = ["--operations", "1000", "--volumes", "10", "--rounds", "1", "--naive", "path-key"];
    let ended = oracle(&[&words[..], &["--churn", "none", "--way", "readv"]].concat());
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
}

#[test]
fn i6_a_failure_is_counted_as_what_it_was() {
    let ended = oracle(&["errors", "--failures", "50"]);
    assert!(ended.status.success(), "{}", said(&ended));
}

#[test]
fn a_probe_that_is_killed_under_load_loses_no_count_and_no_series_goes_backwards() {
    let ended = oracle(&["kills", "--times", "6"]);
    assert!(ended.status.success(), "{}", said(&ended));
}
