//! The histogram of `bpf/abi.h` and the one of Rust put every duration into the same bucket: both are run over all edges.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use terrace_probe_abi::layout::{BUCKETS, bucket_of, edges};

const PROGRAM: &str = r#"
#include <stdio.h>
#include "abi.h"
int main(void)
{
	u64 ns;
	while (scanf("%llu", &ns) == 1)
		printf("%u\n", bucket_of(ns));
	return 0;
}
"#;

/// Both sides of every edge, and the middle.
fn durations() -> Vec<u64> {
    let of = |bucket| {
        let (low, high) = edges(bucket);
        [low.saturating_sub(1), low, low + 1, u64::midpoint(low, high), high - 1, high]
    };
    (0..BUCKETS).flat_map(of).collect()
}

fn compiler() -> &'static str {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    ["cc", "clang", "clang-14"].into_iter().find(works).unwrap()
}

#[test]
fn the_kernels_side_and_this_one_agree_on_every_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("twin.c"), folder.path().join("twin"));
    fs::write(&source, PROGRAM).unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/bpf");
    let status = Command::new(compiler()).args([include, "-o"]).args([&program, &source]).status();
    assert!(status.unwrap().success());
    let mut twin = Command::new(&program);
    let mut twin = twin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input: String = durations().iter().map(|ns| format!("{ns}\n")).collect();
    twin.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = String::from_utf8(twin.wait_with_output().unwrap().stdout).unwrap();
    let told: Vec<usize> = output.lines().map(|line| line.parse().unwrap()).collect();
    let expected: Vec<usize> = durations().into_iter().map(bucket_of).collect();
    assert_eq!(told, expected);
}
