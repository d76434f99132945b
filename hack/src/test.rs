//! Every test in order of cost: checks, tests without a cluster, stories on the real node. Counts and times of each rung.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::check;
use crate::guest;
use crate::paths::Paths;
use crate::run::{Progress, command, output, run};
use crate::tools::Tools;

/// Arguments of `hack/test`.
#[derive(Args)]
pub(crate) struct Test {
    /// Leave out what needs the cluster.
    #[arg(long)]
    quick: bool,
    /// Leave the cluster running afterwards.
    #[arg(long)]
    keep: bool,
    /// Run the stories whose name contains this, or one of several words, and nothing else.
    #[arg(long, value_name = "NAME")]
    story: Option<String>,
    /// Build nothing: nextest's lists of what is built are in this folder. For a guest, where building takes too long.
    #[arg(long, value_name = "DIR", hide = true, requires = "story")]
    built: Option<PathBuf>,
}

/// Integration tests of e2e that need no cluster, by the beginning of their names: simulations, power cuts and the oracle on this host.
const WITHOUT_CLUSTER: [&str; 3] = ["sim", "power", "oracle"];

/// So many tests share the cluster at a time; `.config/nextest.toml` says which of them run alone.
const THREADS: &str = "3";

/// Which tests need the cluster: the integration tests of e2e but for [`WITHOUT_CLUSTER`]. nextest refuses a filter that
/// names a test file that is not there.
struct Filter {
    without_cluster: String,
    on_cluster: String,
}

impl Filter {
    fn of(without_cluster: &[String]) -> Self {
        let ids: Vec<String> = without_cluster
            .iter()
            .map(|name| format!(" or binary_id(=terrace-e2e::{name})"))
            .collect();
        let without_cluster = format!("not (package(terrace-e2e) and kind(test)){}", ids.concat());
        Self { on_cluster: format!("not ({without_cluster})"), without_cluster }
    }
}

/// Names of those of [`WITHOUT_CLUSTER`] below `e2e/tests`, each a file or a folder.
fn without_cluster(paths: &Paths) -> Vec<String> {
    let files = fs::read_dir(paths.repo.join("e2e/tests")).into_iter().flatten().flatten();
    let names = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        Some(name.strip_suffix(".rs").unwrap_or(&name).to_owned())
    });
    let is_one = |name: &String| WITHOUT_CLUSTER.iter().any(|begin| name.starts_with(begin));
    let mut found: Vec<String> = names.filter(is_one).collect();
    found.sort();
    found.dedup();
    found
}

/// What one rung showed.
struct Rung {
    name: &'static str,
    passed: usize,
    failed: usize,
    seconds: f64,
}

/// What all rungs need.
struct Runner<'a> {
    paths: &'a Paths,
    progress: &'a Progress,
    tools: Tools,
    filter: Filter,
    built: Option<PathBuf>,
}

impl Test {
    /// Fails if anything failed; the last line has the totals.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { quick, keep, story, built } = self;
        let filter = Filter::of(&without_cluster(paths));
        let runner = Runner { paths, progress, tools: Tools::locate(paths)?, filter, built };
        let mut rungs = Vec::new();
        if story.is_none() {
            rungs.push(runner.checks()?);
            let name = "tests without a cluster";
            rungs.push(runner.nextest(
                name,
                &["--workspace"],
                &runner.filter.without_cluster,
                &[],
            )?);
        }
        if !quick && story.is_none() {
            rungs.push(runner.guest("emulated guest", guest::emulated));
            rungs.push(runner.guest("user mode guest", guest::user_mode));
            rungs.push(runner.guest("volumes on disks of a guest", guest::logical_volumes));
        }
        if !quick {
            let after = if keep { After::Keep } else { After::Clean };
            rungs.extend(runner.on_cluster(after, story.as_deref())?);
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

/// What becomes of the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Clean,
    Keep,
}

impl Rung {
    /// A rung of one step.
    fn of_step(name: &'static str, start: Instant, went_well: bool) -> Self {
        let (passed, failed) = if went_well { (1, 0) } else { (0, 1) };
        Self { name, passed, failed, seconds: start.elapsed().as_secs_f64() }
    }
}

impl Runner<'_> {
    fn checks(&self) -> Result<Rung> {
        let start = Instant::now();
        let failed = check::failures(self.paths, self.progress)?;
        let passed = check::count() - failed;
        Ok(Rung { name: "checks", passed, failed, seconds: start.elapsed().as_secs_f64() })
    }

    /// A guest boots, runs commands and dies.
    fn guest(&self, name: &'static str, smoke: fn(&Paths, &Progress) -> Result<()>) -> Rung {
        let start = Instant::now();
        let ended = smoke(self.paths, self.progress);
        if let Err(error) = &ended {
            self.progress.say(format!("{name}: {error:#}"));
        }
        Rung::of_step(name, start, ended.is_ok())
    }

    /// The cluster up, the stories, the cluster down: a guard takes it down however this process ends.
    fn on_cluster(&self, after: After, story: Option<&str>) -> Result<Vec<Rung>> {
        let program = std::env::current_exe()?;
        let mut start = Instant::now();
        let guard = match after {
            After::Clean => {
                run(&mut command(&program, ["down"]))?;
                Some(guard_rig(&program)?)
            }
            After::Keep => None,
        };
        let build: &[&str] = if self.built.is_some() { &["--no-build"] } else { &[] };
        let up = run(command(&program, ["up", "--no-example"]).args(build));
        let mut rungs = vec![Rung::of_step("cluster with Terrace", start, up.is_ok())];
        match up {
            Ok(()) => rungs.push(self.stories(&program, story)?),
            Err(error) => self.progress.say(format!("no cluster, so no stories: {error:#}")),
        }
        if let Some(mut guard) = guard {
            start = Instant::now();
            drop(guard.stdin.take());
            let clean = guard.wait()?.success();
            rungs.push(Rung::of_step("nothing left behind", start, clean));
        }
        Ok(rungs)
    }

    fn stories(&self, program: &Path, story: Option<&str>) -> Result<Rung> {
        let kubeconfig = self.paths.kubeconfig().display().to_string();
        let env = [
            ("TERRACE_RIG", "1".to_owned()),
            ("TERRACE_KUBECONFIG", kubeconfig),
            ("TERRACE_XTASK", program.display().to_string()),
        ];
        // Built as for the tests without a cluster: alone, e2e's dependencies have fewer features and would be compiled once more.
        let mut words = match (story, &self.built) {
            (Some(names), Some(_)) => names.split_whitespace().collect(),
            (Some(names), None) => {
                ["--package", STORIES].into_iter().chain(names.split_whitespace()).collect()
            }
            (None, _) => vec!["--workspace"],
        };
        words.extend(["--test-threads", THREADS]);
        self.nextest("stories on the real node", &words, &self.filter.on_cluster, &env)
    }

    /// nextest by cargo, which builds first, or by itself with lists of what is built.
    fn start_nextest(&self) -> Result<Command> {
        let Some(built) = &self.built else {
            return Ok(command("cargo", ["nextest", "run", "--cargo-profile", "ci"]));
        };
        let [tests, workspace] = LISTS.map(|list| built.join(list));
        let mut nextest = command(self.tools.path("cargo-nextest")?, ["nextest", "run"]);
        nextest.arg("--binaries-metadata").arg(tests).arg("--cargo-metadata").arg(workspace);
        Ok(nextest)
    }

    /// Runs cargo-nextest, shows what it says and counts by its last line.
    fn nextest(
        &self,
        name: &'static str,
        words: &[&str],
        filter: &str,
        env: &[(&str, String)],
    ) -> Result<Rung> {
        let start = Instant::now();
        self.progress.say(name);
        let mut cargo = self.start_nextest()?;
        cargo.args(["--no-fail-fast", "--color", "never", "--filterset", filter]).args(words);
        cargo.current_dir(&self.paths.repo);
        cargo.env("CARGO_TARGET_DIR", &self.paths.target).env("PATH", search_path(&self.tools));
        let mut child = cargo
            .envs(env.iter().cloned())
            .stderr(Stdio::piped())
            .spawn()
            .context("start nextest")?;
        let stderr = child.stderr.take().context("nextest has no error stream")?;
        let (mut passed, mut failed) = (0, 0);
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            if let Some(counts) = parse_summary(&line) {
                (passed, failed) = counts;
            }
            eprintln!("{line}");
        }
        // A build that fails, or no test at all, is one failure.
        if !child.wait()?.success() && failed == 0 {
            failed = 1;
        }
        Ok(Rung { name, passed, failed, seconds: start.elapsed().as_secs_f64() })
    }
}

/// The crate of the stories.
const STORIES: &str = "terrace-e2e";
/// nextest's list of test programs, and cargo's description of the workspace.
const LISTS: [&str; 2] = ["tests.json", "workspace.json"];

/// Builds the stories and writes into the folder what a run with `--built` wants.
pub(crate) fn list_stories(paths: &Paths, progress: &Progress, dir: &Path) -> Result<()> {
    progress.say("building the stories");
    let build = ["nextest", "list", "--cargo-profile", "ci", "--package", STORIES];
    let form = ["--list-type", "binaries-only", "--message-format", "json"];
    let describe = ["metadata", "--format-version", "1", "--locked"];
    for (words, file) in [[&build[..], &form].concat(), describe.to_vec()].into_iter().zip(LISTS) {
        let mut cargo = command("cargo", words);
        cargo.current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target);
        cargo.env("PATH", search_path(&Tools::locate(paths)?));
        fs::write(dir.join(file), output(&mut cargo)?)?;
    }
    Ok(())
}

/// Runs `down` when its standard input ends. A session of its own: an interrupt from the keyboard does not reach it.
pub(crate) fn guard_rig(program: &Path) -> Result<Child> {
    let mut guard = command("setsid", ["--wait"]);
    guard.arg(program).args(["down", "--after-stdin"]).stdin(Stdio::piped());
    guard.spawn().context("start the guard")
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

/// The rig's programs before those of the machine: a fresh one has no kubectl.
pub(crate) fn search_path(tools: &Tools) -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{}:{own}", tools.search_path())
}

#[cfg(test)]
mod tests {
    use super::{Filter, parse_summary};

    #[test]
    fn a_simulation_needs_no_cluster() {
        let filter = Filter::of(&["sim_life".to_owned()]);
        assert_eq!(
            filter.without_cluster,
            "not (package(terrace-e2e) and kind(test)) or binary_id(=terrace-e2e::sim_life)"
        );
        assert_eq!(
            filter.on_cluster,
            "not (not (package(terrace-e2e) and kind(test)) or binary_id(=terrace-e2e::sim_life))"
        );
    }

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
