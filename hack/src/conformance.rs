//! `hack/conformance`: Kubernetes' own External.Storage suite against each class, on the rig. It cuts the specs into
//! shards, runs what is not known yet and tells what came of each. It judges nothing: the suite does.

mod class;
mod images;
mod ledger;
mod report;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::conformance::class::{Choice, Class};
use crate::conformance::ledger::{Kind, Outcomes, Shard, Verdict};
use crate::conformance::report::Counts;
use crate::conformance::suite::Suite;
use crate::holder::Holder;
use crate::paths::Paths;
use crate::run::{Progress, command, run, wait_for};
use crate::test::guard_rig;
use crate::tools::{self, Tools};

/// Quick specs that touch every part: a volume, its capacity, its growth, the node's limit.
const SMOKE: &str = r"Dynamic PV .default fs.. (volumes should store data|capacity provides)|default fs..allowExpansion.. volume-expand should resize volume when PVC is edited while pod is using it|filesystem volmode.. volumeLimits should verify";
/// Volumes on the node while the specs run that fill it up.
const FEW_VOLUMES: &str = "8";

/// Arguments of `hack/conformance`.
#[derive(Args)]
pub(crate) struct Conformance {
    /// Which class.
    #[arg(long, value_enum, default_value = "all")]
    class: Choice,
    /// Into how many shards the specs of a class are cut; those that run one at a time make further ones.
    #[arg(long, default_value_t = 8)]
    shards: usize,
    /// Specs that run at once.
    #[arg(long, default_value_t = 4)]
    procs: usize,
    /// Only specs whose name matches this regular expression.
    #[arg(long, value_name = "RE", conflicts_with = "smoke")]
    focus: Option<String>,
    /// A few quick specs.
    #[arg(long)]
    smoke: bool,
    /// Go on with the run before: what is known stays known.
    #[arg(long)]
    resume: bool,
    /// With --resume: run again what failed.
    #[arg(long, requires = "resume")]
    failed: bool,
    /// Start no further shard after so many minutes.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Print the specs, and what is known of each.
    #[arg(long)]
    list: bool,
    /// Use the rig that runs, if any, and leave it running.
    #[arg(long)]
    keep: bool,
    /// Take our programs as they were last built.
    #[arg(long)]
    no_build: bool,
}

/// The specs of one class and what is known of them.
struct Work {
    class: Class,
    specs: Vec<String>,
    known: Outcomes,
}

impl Conformance {
    /// Fails if a spec failed or did not run.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        tools::ensure_cluster_tools(paths, progress)?;
        tools::ensure_suite(paths, progress)?;
        let tools = Tools::locate(paths)?;
        let suite = Suite { paths, tools: &tools, progress, procs: self.procs };
        let mut works = Vec::new();
        for class in self.class.classes() {
            works.push(self.work(&suite, *class)?);
        }
        if self.list {
            for Work { class, specs, known } in &works {
                print!("{}:\n{}", class.name(), report::every_line(specs, known));
            }
            return Ok(ExitCode::SUCCESS);
        }
        self.carry_out(&suite, &mut works)?;
        tell(&suite, &works)
    }

    fn work(&self, suite: &Suite<'_>, class: Class) -> Result<Work> {
        let dir = suite.dir(class);
        if !self.resume && !self.list && dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        let focus = if self.smoke { Some(SMOKE) } else { self.focus.as_deref() };
        let specs = suite.list(class, focus)?;
        let mut known = ledger::read_outcomes(&dir)?;
        if self.failed {
            known.retain(|_, outcome| outcome.verdict != Verdict::Failed);
        }
        Ok(Work { class, specs, known })
    }

    /// The rig, the pools, the shards; then pools and rig are taken away, however this process ends.
    fn carry_out(&self, suite: &Suite<'_>, works: &mut [Work]) -> Result<()> {
        let Suite { paths, tools, progress, procs: _ } = suite;
        let program = std::env::current_exe()?;
        let guard = self.rig(&program)?;
        let holder = Holder::find(paths)?.context("the rig is not there")?;
        images::provide(paths, tools, &holder, progress)?;
        for work in works.iter() {
            work.class.prepare(paths, tools, &holder)?;
        }
        let done = self.shards(suite, works, &program);
        for work in works.iter() {
            if let Err(error) = work.class.remove(paths, tools, &holder) {
                progress.say(format!("{}: {error:#}", work.class.name()));
            }
        }
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            guard.wait()?;
        }
        done
    }

    fn rig(&self, program: &Path) -> Result<Option<Child>> {
        let guard = if self.keep {
            None
        } else {
            run(&mut command(program, ["down"]))?;
            Some(guard_rig(program)?)
        };
        let mut up = command(program, ["up", "--no-example"]);
        if self.no_build {
            up.arg("--no-build");
        }
        run(&mut up)?;
        Ok(guard)
    }

    fn shards(&self, suite: &Suite<'_>, works: &mut [Work], program: &Path) -> Result<()> {
        let count = if self.smoke { 1 } else { self.shards };
        let plans: Vec<Vec<Shard>> =
            works.iter().map(|work| ledger::plan_shards(&work.specs, &work.known, count)).collect();
        for kind in [Kind::Together, Kind::Alone] {
            let is_due = |shard: &&Shard| shard.kind == kind;
            if kind == Kind::Alone && plans.iter().flatten().any(|shard| is_due(&shard)) {
                if self.is_late(suite) {
                    break;
                }
                limit_volumes(suite, program)?;
            }
            for (work, plan) in works.iter_mut().zip(&plans) {
                for shard in plan.iter().filter(is_due) {
                    if self.is_late(suite) {
                        break;
                    }
                    suite.run(work.class, shard, plan.len())?;
                    work.known = ledger::read_outcomes(&suite.dir(work.class))?;
                }
            }
        }
        Ok(())
    }

    fn is_late(&self, suite: &Suite<'_>) -> bool {
        self.minutes.is_some_and(|minutes| suite.progress.seconds() > minutes as f64 * 60.0)
    }
}

/// Tells the kubelet of few volumes, and waits until it has understood.
fn limit_volumes(suite: &Suite<'_>, program: &Path) -> Result<()> {
    let Suite { paths, tools, progress, procs: _ } = suite;
    progress.say(format!("limiting the node to {FEW_VOLUMES} volumes"));
    let set = format!("node.maxVolumes={FEW_VOLUMES}");
    run(&mut command(program, ["up", "--no-example", "--no-build", "--", "--set", &set]))?;
    wait_for("the node's volume limit", Duration::from_secs(120), &paths.log(), || {
        class::volume_limit(paths, tools).is_ok_and(|limit| limit == FEW_VOLUMES)
    })
}

/// Builds what a run needs and has no time to build in a guest.
pub(crate) fn provide(paths: &Paths, progress: &Progress) -> Result<()> {
    tools::ensure_cluster_tools(paths, progress)?;
    tools::ensure_suite(paths, progress)?;
    images::build(paths, &Tools::locate(paths)?, progress).map(drop)
}

/// The table on standard output; every spec in `result.txt` of its class.
fn tell(suite: &Suite<'_>, works: &[Work]) -> Result<ExitCode> {
    let (mut rows, mut files): (Vec<(&str, Counts)>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for Work { class, specs, known } in works {
        let file = suite.dir(*class).join("result.txt");
        fs::write(&file, report::every_line(specs, known))?;
        print!("{}", report::not_passed(class.name(), specs, known));
        rows.push((class.name(), Counts::of(specs, known)));
        files.push(file);
    }
    print!("{}", report::table(&rows));
    for file in files {
        println!("each spec: {}", file.display());
    }
    let is_clean = rows.iter().all(|(_, counts)| counts.is_clean());
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
