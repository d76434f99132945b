//! What must hold before any test runs, and the writing of generated files. Each check is one line of the report.

use std::process::Command;

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::run::{Progress, command, run};
use crate::tools::{Tools, ensure_cargo_tools, ensure_check_tools};
use crate::{edges, layout, rules};

/// Runs all of them, also after one failed, so that one run shows everything.
pub(crate) fn main(paths: &Paths, progress: &Progress) -> Result<()> {
    let failed = failures(paths, progress)?;
    if failed > 0 {
        bail!("{failed} of {} checks failed", count());
    }
    progress.say(format!("{} checks passed", count()));
    Ok(())
}

/// How many checks there are.
pub(crate) const fn count() -> usize {
    CHECKS.len()
}

/// Runs all and counts the failed ones.
pub(crate) fn failures(paths: &Paths, progress: &Progress) -> Result<usize> {
    ensure_cargo_tools(paths, progress)?;
    ensure_check_tools(progress)?;
    let mut failed = 0;
    for (name, check) in CHECKS {
        match check(paths) {
            Ok(()) => progress.say(format!("ok      {name}")),
            Err(error) => {
                failed += 1;
                progress.say(format!("FAILED  {name}: {error:#}"));
            }
        }
    }
    Ok(failed)
}

/// Writes what is generated from the types.
pub(crate) fn generate(paths: &Paths) -> Result<()> {
    run(&mut cargo(
        paths,
        &["run", "--quiet", "--profile", "ci", "--package", "terrace-crds", "--", "all"],
    ))
}

type Check = fn(&Paths) -> Result<()>;

const CHECKS: [(&str, Check); 7] = [
    ("layout of files", |paths| layout::check(paths).map(drop)),
    ("alerts and their tests", |paths| rules::check(paths).map(drop)),
    ("direction of dependencies", |paths| edges::check(paths).map(drop)),
    ("formatting", |paths| run(&mut cargo(paths, &["fmt", "--all", "--check"]))),
    ("licences, bans, sources", deny),
    ("generated files", |paths| {
        run(&mut cargo(
            paths,
            &[
                "run",
                "--quiet",
                "--profile",
                "ci",
                "--package",
                "terrace-crds",
                "--",
                "all",
                "--check",
            ],
        ))
    }),
    ("lints", lints),
];

fn lints(paths: &Paths) -> Result<()> {
    run(&mut cargo(
        paths,
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--features",
            "terrace-node/faults,terrace-operator/faults",
            "--profile",
            "ci",
            "--",
            "--deny",
            "warnings",
        ],
    ))
}

/// Not the advisories: their database is fetched from the network, and a test may not hang on that.
fn deny(paths: &Paths) -> Result<()> {
    let program = Tools::locate(paths)?.path("cargo-deny")?;
    let mut deny =
        command(program, ["--log-level", "error", "check", "licenses", "bans", "sources"]);
    run(deny.current_dir(&paths.repo))
}

fn cargo(paths: &Paths, args: &[&str]) -> Command {
    let mut cargo = command("cargo", args);
    cargo.current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target);
    cargo
}
