//! The oracle: does a known number of operations on many volumes by every way there is, and compares what the probe says with what was
//! done. Called by `hack/oracle`. It takes part in nothing: volumes and Pods are its own, in a mount namespace of its own.

mod cost;
mod errors;
mod field;
mod kernel;
mod kills;
mod labour;
mod mounts;
mod page;
mod pod;
mod probe;
#[path = "../terrace-bench/ratios.rs"]
#[expect(dead_code, reason = "its turns are those of another pair")]
mod ratios;
mod report;
mod socket;
mod tally;
mod trial;
mod turnover;
mod volume;
mod way;
mod within;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use terrace_probe::aya_loader::AyaLoader;
use terrace_probe::loader::Plan;
use terrace_probe_abi::layout::Tier;

use crate::field::Field;
use crate::mounts::Key;
use crate::probe::Counting;
use crate::socket::Socket;
use crate::trial::{Churn, Extent};
use crate::way::Way;
use crate::within::Within;

/// Do known operations and compare them with what the probe counts.
#[derive(Parser)]
#[command(name = "hack/oracle")]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Subcommand)]
enum Inner {
    /// The process in a Pod; started by this program.
    #[command(hide = true)]
    Inside(pod::Inside),
    /// What the probe costs an operation: the same calls with and without it, in turns.
    Cost(cost::Cost),
    /// Operations that fail, by errno: each counted for its volume and as that error.
    Errors(errors::Errors),
    /// The probe killed in the midst of operations: none is lost, no series goes backwards.
    Kills(kills::Kills),
    /// Volumes mounted and unmounted some hundred times: no slot is left with what is gone.
    Mounts(turnover::Turnover),
}

#[derive(Args)]
struct Ask {
    /// Operations in all.
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Volumes: filesystems of their own, folders and subvolumes of shared ones, subPaths, raw devices.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=500))]
    volumes: u64,
    /// How often all ways are gone.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// How long a mount lives at least that is one of the churn's; what is gone sooner may go unnamed.
    #[arg(long, default_value_t = 500, value_name = "MILLISECONDS")]
    life: u64,
    /// What goes on besides operations.
    #[arg(long, value_enum, default_value = "all")]
    churn: Churn,
    /// Attribute by less than the mount; that must fail.
    #[arg(long, value_enum)]
    naive: Option<Key>,
    /// The programs in the kernel alone, with mounts named by this program.
    #[arg(long, conflicts_with = "naive")]
    kernel_only: bool,
    /// The probe's program; that beside this one if not said.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// How it hooks the kernel: auto, fentry, kprobe, raw-tracepoint.
    #[arg(long, default_value = "auto")]
    tier: String,
    /// Only ways whose names contain this.
    #[arg(long, default_value = "")]
    way: String,
}

/// Set where the mount namespace is its own already: where everything lies.
const ROOT: &str = "TERRACE_ORACLE_ROOT";
/// Folders of runs, each named by the process that supervises it.
const RUNS: &str = "/run/terrace-oracle";

fn main() -> ExitCode {
    let Cli { inner, ask } = Cli::parse();
    let worked = match (inner, std::env::var_os(ROOT)) {
        (Some(Inner::Inside(inside)), _) => inside.live().map(|()| ExitCode::SUCCESS),
        (_, None) => supervise(),
        (Some(Inner::Errors(errors)), Some(root)) => errors.run(Path::new(&root)),
        (Some(Inner::Cost(cost)), Some(root)) => cost.run(Path::new(&root)),
        (Some(Inner::Kills(kills)), Some(root)) => kills.run(Path::new(&root)),
        (Some(Inner::Mounts(mounts)), Some(root)) => mounts.run(Path::new(&root)),
        (None, Some(root)) => ask.run(Path::new(&root)),
    };
    worked.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// The same in a mount namespace of its own: whatever becomes of it, no mount, loop device or process is left.
fn supervise() -> Result<ExitCode> {
    for old in std::fs::read_dir(RUNS).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(old.file_name()).exists() {
            std::fs::remove_dir_all(old.path())?;
        }
    }
    let root = Path::new(RUNS).join(std::process::id().to_string());
    std::fs::create_dir_all(&root)?;
    let mut own = Command::new("setpriv");
    own.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--"]);
    own.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(ROOT, &root);
    let status = own.status().context("start setpriv")?;
    // The Pods' mount namespaces end a moment after the last of them.
    std::fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(2)))
}

impl Ask {
    fn run(self, root: &Path) -> Result<ExitCode> {
        let Self { operations, volumes, rounds, life, churn, naive, kernel_only, .. } = self;
        let Self { probe, tier, way, .. } = self;
        let ways: Vec<Way> =
            Way::ALL.iter().copied().filter(|one| one.name().contains(&way)).collect();
        ensure!(!ways.is_empty(), "no way is called {way}");
        let field = Field::lay_out(root, usize::try_from(volumes)?)?;
        let kubelet = &field.ground().kubelet;
        let counting: Box<dyn Counting> = match naive.or(kernel_only.then_some(Key::Mount)) {
            Some(key) => Box::new(Within::start(AyaLoader, plan(&tier)?, key, kubelet)?),
            None => {
                let program = probe.map_or_else(beside, Ok)?;
                socket::stand_in()?;
                let pins = format!("--pins={}", socket::pins(root)?.display());
                let words = [format!("--tier={tier}"), pins];
                Box::new(Socket::start(&program, root, kubelet, &words)?)
            }
        };
        let life = Duration::from_millis(life);
        let extent = Extent { operations, rounds, life, churn };
        let (rows, verdict) = trial::run(&field, counting, extent, &ways)?;
        let well = report::print(&rows, verdict);
        println!("{} times a volume was mounted anew", field.remounts());
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The probe that was built with this program.
pub(crate) fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a program without a folder")?.join("terrace-probe"))
}

fn plan(tier: &str) -> Result<Plan> {
    let forced = match tier {
        "auto" => None,
        "fentry" => Some(Tier::Fentry),
        "kprobe" => Some(Tier::Kprobe),
        "raw-tracepoint" => Some(Tier::RawTracepoint),
        other => bail!("no tier is called {other}"),
    };
    Ok(Plan { forced, sampling: 0.0, ..Plan::default() })
}
