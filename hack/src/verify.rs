//! `hack/verify-bpf`: loads the probe's programs through the verifiers of two kernels, and prints how large each is: those of system
//! calls on this host, all of them in the guest. With `--test` the tests of the kernel's side run by fentry and kprobe there, too.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::paths::Paths;
use crate::run::{Progress, command, output, run};
use crate::tools;

const PROGRAM: &str = "terrace-verify-bpf";
/// How long the guest may take: its processors are emulated.
const SECONDS: &str = "1500";

/// Arguments of `hack/verify-bpf`.
#[derive(Args)]
pub(crate) struct Verify {
    /// On this host only.
    #[arg(long)]
    host_only: bool,
    /// Run the tests of the kernel's side in the guest, too: each tier counts what was done.
    #[arg(long)]
    test: bool,
}

impl Verify {
    /// Fails if a kernel refuses a program it has the function for.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<()> {
        let Self { host_only, test } = self;
        tools::ensure_host_tools(progress)?;
        let program = build(paths)?;
        progress.say("on this host");
        run(&mut command(&program, ["raw-tracepoint"]))?;
        if host_only {
            return Ok(());
        }
        progress.say("in the guest");
        in_guest(&program, &[], &["fentry", "kprobe", "raw-tracepoint"])?;
        if test {
            let tests = build_tests(paths)?;
            for tier in ["TERRACE_TIER=fentry", "TERRACE_TIER=kprobe"] {
                progress.say(format!("the tests in the guest, {tier}"));
                in_guest(&tests, &[tier], &["--test-threads", "1"])?;
            }
        }
        Ok(())
    }
}

fn cargo(paths: &Paths, verb: &str) -> std::process::Command {
    let mut cargo = command("cargo", [verb, "--quiet", "--profile", "ci"]);
    cargo.args(["--package", "terrace-probe"]);
    cargo.current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target);
    cargo
}

fn build(paths: &Paths) -> Result<PathBuf> {
    run(cargo(paths, "build").args(["--bin", PROGRAM]))?;
    Ok(paths.ours(PROGRAM))
}

/// Cargo tells where it puts the program of a test.
fn build_tests(paths: &Paths) -> Result<PathBuf> {
    let mut build = cargo(paths, "test");
    let told = output(build.args(["--test", "kernel", "--no-run", "--message-format", "json"]))?;
    let of = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "kernel";
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    };
    told.lines().find_map(of).context("cargo told of no program of the tests")
}

/// The guest sees this host's files, so the program is where it is.
fn in_guest(program: &Path, environment: &[&str], words: &[&str]) -> Result<()> {
    let own = env::current_exe().context("find xtask")?;
    let how = ["guest", "run", "--memory", "3072", "--seconds", SECONDS];
    let mut guest = command(own, how);
    guest
        .args(["--load", "loop", "--load", "zram", "--load", "xfs", "--load", "ext4", "--", "env"]);
    run(guest.args(environment).arg(program).args(words))
}
