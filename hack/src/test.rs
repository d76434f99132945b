//! Every test in order of cost: checks, tests without a cluster, stories on the real node. Counts and times of each rung.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::check;
use crate::paths::Paths;
use crate::run::{Progress, command, run};
use crate::tools::Tools;

/// What needs no cluster: all but the integration tests of e2e, whose simulation (files `sim*`) needs none either.
const WITHOUT_CLUSTER: &str =
    "not (package(terrace-e2e) and kind(test)) or (package(terrace-e2e) and binary(/^sim/))";
/// Integration tests of e2e on the real node. They share it, so one runs at a time.
const ON_CLUSTER: &str = "package(terrace-e2e) and kind(test) and not binary(/^sim/)";

/// Arguments of `hack/test`.
#[derive(Args)]
pub(crate) struct Test {
    /// Leave out what needs the cluster.
    #[arg(long)]
    quick: bool,
    /// Leave the cluster running afterwards.
    #[arg(long)]
    keep: bool,
    /// Run the stories whose name contains this, and nothing else.
    #[arg(long, value_name = "NAME")]
    story: Option<String>,
}

/// What one rung showed.
struct Rung {
    name: &'static str,
    passed: usize,
    failed: usize,
    seconds: f64,
}

impl Test {
    /// Fails if anything failed; the last line has the totals.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { quick, keep, story } = self;
        let tools = Tools::locate(paths)?;
        let mut rungs = Vec::new();
        if story.is_none() {
            rungs.push(checks(paths, progress)?);
            rungs.push(nextest(
                "tests without a cluster",
                paths,
                &tools,
                progress,
                &[],
                |cargo| {
                    cargo.args(["--workspace", "--filterset", WITHOUT_CLUSTER]);
                },
            )?);
        }
        if !quick {
            rungs.extend(stories(paths, &tools, progress, keep.then_some(()), story.as_deref())?);
        }
        for Rung { name, passed, failed, seconds } in &rungs {
            println!("{name:28} {passed:5} passed {failed:4} failed {seconds:8.1} s");
        }
        let passed: usize = rungs.iter().map(|rung| rung.passed).sum();
        let failed: usize = rungs.iter().map(|rung| rung.failed).sum();
        println!("wall time {:.1} s", progress.seconds());
        println!("{passed} passed, {failed} failed");
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn checks(paths: &Paths, progress: &Progress) -> Result<Rung> {
    let start = Instant::now();
    let failed = check::failures(paths, progress)?;
    Ok(Rung {
        name: "checks",
        passed: check::count() - failed,
        failed,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The cluster up, the stories, the cluster down: a guard process takes it down however this one ends.
fn stories(
    paths: &Paths,
    tools: &Tools,
    progress: &Progress,
    keep: Option<()>,
    story: Option<&str>,
) -> Result<Vec<Rung>> {
    let program = std::env::current_exe()?;
    let start = Instant::now();
    let mut guard = None;
    if keep.is_none() {
        run(&mut command(&program, ["down"]))?;
        guard = Some(guard_rig(&program)?);
    }
    let up = run(&mut command(&program, ["up", "--no-example"]));
    let cluster = Rung {
        name: "cluster with Terrace",
        passed: usize::from(up.is_ok()),
        failed: usize::from(up.is_err()),
        seconds: start.elapsed().as_secs_f64(),
    };
    let mut rungs = vec![cluster];
    match up {
        Ok(()) => {
            let kubeconfig = paths.kubeconfig().display().to_string();
            let env = [
                ("TERRACE_RIG", "1".to_owned()),
                ("TERRACE_KUBECONFIG", kubeconfig),
                ("TERRACE_XTASK", program.display().to_string()),
            ];
            rungs.push(nextest(
                "stories on the real node",
                paths,
                tools,
                progress,
                &env,
                |cargo| {
                    cargo
                        .args([
                            "--package",
                            "terrace-e2e",
                            "--test-threads",
                            "1",
                            "--filterset",
                            ON_CLUSTER,
                        ])
                        .args(story);
                },
            )?);
        }
        Err(error) => progress.say(format!("no cluster, so no stories: {error:#}")),
    }
    if let Some(mut guard) = guard {
        let start = Instant::now();
        drop(guard.stdin.take());
        let clean = guard.wait()?.success();
        rungs.push(Rung {
            name: "nothing left behind",
            passed: usize::from(clean),
            failed: usize::from(!clean),
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    Ok(rungs)
}

/// Runs `down` when its standard input ends. A session of its own: an interrupt from the keyboard does not reach it.
fn guard_rig(program: &std::path::Path) -> Result<Child> {
    let mut guard = command("setsid", ["--wait"]);
    guard.arg(program).args(["down", "--after-stdin"]).stdin(Stdio::piped());
    guard.spawn().context("start the guard")
}

/// Runs cargo-nextest, shows what it says and counts by its last line.
fn nextest(
    name: &'static str,
    paths: &Paths,
    tools: &Tools,
    progress: &Progress,
    env: &[(&str, String)],
    choose: impl FnOnce(&mut Command),
) -> Result<Rung> {
    let start = Instant::now();
    progress.say(name);
    let mut cargo = command(
        "cargo",
        ["nextest", "run", "--cargo-profile", "ci", "--no-fail-fast", "--color", "never"],
    );
    choose(&mut cargo);
    cargo
        .current_dir(&paths.repo)
        .env("CARGO_TARGET_DIR", &paths.target)
        .env("PATH", search_path(tools))
        .envs(env.iter().cloned());
    let mut child = cargo.stderr(Stdio::piped()).spawn().context("start cargo nextest")?;
    let stderr = child.stderr.take().context("nextest has no error stream")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        if let Some(counts) = parse_summary(&line) {
            (passed, failed) = counts;
        }
        if !line.trim_start().starts_with("PASS") {
            eprintln!("{line}");
        }
    }
    let ended_well = child.wait()?.success();
    // A build that fails, or no test at all, is one failure.
    if !ended_well && failed == 0 {
        failed = 1;
    }
    Ok(Rung { name, passed, failed, seconds: start.elapsed().as_secs_f64() })
}

/// Counts of a line such as `Summary [ 0.5s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 3 skipped`.
fn parse_summary(line: &str) -> Option<(usize, usize)> {
    let (_, counts) = line.trim_start().strip_prefix("Summary ")?.split_once(" run: ")?;
    let (mut passed, mut failed) = (0, 0);
    for part in counts.split(", ") {
        let (count, what) = part.split_once(' ')?;
        let count: usize = count.parse().ok()?;
        match what {
            "skipped" => {}
            other if other.starts_with("passed") => passed += count,
            _ => failed += count,
        }
    }
    Some((passed, failed))
}

fn search_path(tools: &Tools) -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{}:{own}", tools.search_path())
}

#[cfg(test)]
mod tests {
    use super::parse_summary;

    #[test]
    fn a_timed_out_test_counts_as_failed() {
        let line = "     Summary [   0.512s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 3 skipped";
        assert_eq!(parse_summary(line), Some((9, 3)));
    }

    #[test]
    fn other_lines_are_not_summaries() {
        assert_eq!(parse_summary("        PASS [   0.004s] xtask test::tests::x"), None);
    }
}
