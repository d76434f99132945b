//! Volumes mounted and unmounted some hundred times beside work: no slot may be left with what is gone, and none may run out. It
//! measures no time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use terrace_probe_abi::wire::Names;

use crate::field::{CHURNED, Field, Phase};
use crate::probe::Counting;
use crate::socket::{self, Socket};
use crate::tally::{Tallies, Verdict, add_all, grown, judge};
use crate::way::Way;

const VOLUMES: usize = 40;
/// Operations a volume and phase.
const OPERATIONS: u64 = 30;
/// How long a mount stays at least.
const LIFE: Duration = Duration::from_millis(500);
/// A slot is kept for a minute, should its volume come back.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);
/// How many volumes have a slot.
const USED: &str = "terrace_probe_volume_slots_used";

/// Arguments of `hack/oracle mounts`.
#[derive(Args)]
pub(crate) struct Turnover {
    /// How often a volume is unmounted and mounted anew, all volumes together; each is two to four mounts.
    #[arg(long, default_value_t = 500)]
    times: usize,
    /// How the probe hooks the kernel: auto, fentry, kprobe, raw-tracepoint.
    #[arg(long, default_value = "auto")]
    tier: String,
    /// The probe's program; that beside this one if not said.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

impl Turnover {
    pub(crate) fn run(self, root: &Path) -> Result<ExitCode> {
        let Self { times, tier, probe } = self;
        let program = probe.map_or_else(crate::beside, Ok)?;
        socket::stand_in()?;
        let field = Field::lay_out(root, VOLUMES)?;
        field.mount_all()?;
        let words = [format!("--tier={tier}"), format!("--pins={}", socket::pins(root)?.display())];
        let mut probe = Socket::start(&program, root, &field.ground().kubelet, &words)?;
        probe.tell(field.names()?)?;
        let before = probe.look()?;
        let (done, most) = turn(&field, &mut probe, times)?;
        let verdict = settle(&mut probe, &done, &before.tallies)?;
        let missed: u64 = {
            let now = probe.look()?.missed;
            let since = |(why, count): (&String, &u64)| {
                count.saturating_sub(before.missed.get(why).copied().unwrap_or(0))
            };
            now.iter().map(since).sum()
        };
        field.unmount_all()?;
        // As csi-node would: no Pod has any of them.
        probe.tell(Names::default())?;
        let (left, after) = emptied(&probe)?;
        let Verdict { expected, counted, misattributed, missing, fell: _ } = verdict;
        println!(
            "{} times a volume was mounted anew: {expected} operations done, {counted} counted, {misattributed} misattributed, {missing} \
             missing ({missed} told as missed on the whole machine); {most} slots used, {left} of them {after:.0?} after the last was unmounted",
            field.remounts()
        );
        let well = misattributed == 0 && missing <= missed && left == 0;
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Works and mounts anew so often; what was done, and how many slots were in use at most.
fn turn(field: &Field, probe: &mut Socket, times: usize) -> Result<(Tallies, u64)> {
    let (mut all, mut most) = (Tallies::new(), 0);
    for number in 0.. {
        let phase = Phase {
            way: Way::Pwrite,
            count: OPERATIONS,
            life: LIFE,
            churn: Some(number % CHURNED),
        };
        let shared = std::sync::Mutex::new(&mut *probe);
        let changed = || {
            let mut probe = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            probe.tell(field.names()?)
        };
        add_all(&mut all, &field.work(phase, &changed)?.tallies);
        most = most.max(used(probe)?);
        if field.remounts() >= times {
            break;
        }
    }
    Ok((all, most))
}

fn used(probe: &Socket) -> Result<u64> {
    Ok(probe.page()?.figure(USED).unwrap_or(0.0) as u64)
}

/// Looks until all is counted or time is up.
fn settle(probe: &mut Socket, done: &Tallies, before: &Tallies) -> Result<Verdict> {
    let end = Instant::now() + PATIENCE;
    loop {
        let verdict = judge(done, &grown(&probe.look()?.tallies, before));
        if verdict.missing == 0 || Instant::now() > end {
            return Ok(verdict);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until no volume has a slot, or time is up; how many still have one, and after how long.
fn emptied(probe: &Socket) -> Result<(u64, Duration)> {
    let start = Instant::now();
    loop {
        let left = used(probe)?;
        if left == 0 || start.elapsed() > PATIENCE {
            return Ok((left, start.elapsed()));
        }
        std::thread::sleep(PAUSE);
    }
}
