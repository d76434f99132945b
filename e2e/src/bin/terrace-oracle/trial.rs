//! One trial: volumes, Pods and a probe, way after way, and what the probe counted against what was done.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::field::{CHURNED, Done, Field, Phase};
use crate::probe::{Counting, Look};
use crate::report::Row;
use crate::tally::{Tallies, Verdict, Wrong, add_all, fell, grown, judge, misattributed};
use crate::volume::Kind;
use crate::way::Way;

/// How long counts may lag behind.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many looks in a row without change, and nothing more is to come.
const STILL: u32 = 80;
/// So many where the probe says it cannot see the way.
const STILL_UNSEEN: u32 = 5;
/// So many after the last phase: until then all that was ever seen has its name, or none any more.
const LAST_STILL: u32 = 150;
const PAUSE: Duration = Duration::from_millis(100);

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// In all.
    pub(crate) operations: u64,
    /// How often all ways are gone.
    pub(crate) rounds: u64,
    /// How long what is mounted anew stays at least.
    pub(crate) life: Duration,
    /// In every phase some volumes are mounted anew, and the probe is killed now and then.
    pub(crate) churn: Churn,
}

/// Whether anything but operations goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Churn {
    /// Nothing.
    None,
    /// Volumes are unmounted and mounted, Pods change.
    Mounts,
    /// And the probe is killed and started again.
    All,
}

/// Every how many phases the probe is killed.
const KILL_EVERY: usize = 7;

/// Runs it; rows in the order of the ways.
///
/// What is named late is counted late: a phase may show as missing what the next one shows as too many. The verdict on all
/// phases together, after nothing moves any more, is the one that counts.
pub(crate) fn run(
    field: &Field,
    mut probe: Box<dyn Counting>,
    extent: Extent,
    ways: &[Way],
) -> Result<(Vec<Row>, Verdict)> {
    probe.tell(field.names()?)?;
    field.mount_all()?;
    probe.tell(field.names()?)?;
    println!("{}", probe.title());
    let unobservable = probe.unobservable();
    let probe = Mutex::new(probe);
    let weight: u64 = ways.iter().map(|way| way.share() * field.width(*way)).sum();
    let mut rows: Vec<Row> = ways.iter().map(|way| Row::of(*way)).collect();
    let mut number = 0;
    let first = with(&probe, |probe| probe.look())?;
    let mut all = Tallies::new();
    let rows_in_all = ways.len() as u64 * extent.rounds;
    for round in 0..extent.rounds {
        for row in &mut rows {
            let churn =
                (extent.churn != Churn::None).then_some((number + round as usize) % CHURNED);
            let share = extent.operations * row.way.share() / weight.max(1) / extent.rounds.max(1);
            let phase = Phase { way: row.way, count: share.max(1), churn, life: extent.life };
            let killed = extent.churn == Churn::All && number % KILL_EVERY == KILL_EVERY - 1;
            let fate = if killed { Fate::IsKilled } else { Fate::Lives };
            row.unobservable = unobservable.contains(&row.way.path());
            let start = Instant::now();
            let done = measure(field, &probe, phase, fate, row)?;
            add_all(&mut all, &done);
            number += 1;
            let (took, many) = (start.elapsed().as_secs_f64(), rows_in_all);
            eprintln!("{number} of {many}: {} {fate:?}, {took:.1} s", row.way.name());
        }
    }
    let (last, verdict) = settle(&probe, &all, &first, LAST_STILL)?;
    for wrong in misattributed(&all, &grown(&last.tallies, &first.tallies)) {
        let Wrong { number, operation, done, counted, bytes } = wrong;
        let kind = Kind::of(number);
        println!(
            "wrong: volume {number}, {kind:?}, {operation:?}: {done} done, {counted} counted, bytes {bytes:?}"
        );
    }
    field.unmount_all()?;
    Ok((rows, verdict))
}

/// What becomes of the probe in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lives,
    /// In the midst of it, and it is started again.
    IsKilled,
}

type Shared = Mutex<Box<dyn Counting>>;

fn measure(
    field: &Field,
    probe: &Shared,
    phase: Phase,
    fate: Fate,
    row: &mut Row,
) -> Result<Tallies> {
    let before = with(probe, |probe| probe.look())?;
    let changed = || with(probe, |probe| probe.tell(field.names()?));
    let done = std::thread::scope(|scope| -> Result<Done> {
        let work = scope.spawn(|| field.work(phase, &changed));
        // By this thread, not by one that ends: the probe is killed with the thread that started it.
        if fate == Fate::IsKilled {
            std::thread::sleep(PAUSE);
            with(probe, |probe| {
                probe.restart()?;
                probe.tell(field.names()?)
            })?;
        }
        work.join().ok().context("the thread that works panicked")?
    })?;
    let Done { tallies: expected, durations } = done;
    let limit = if row.unobservable { STILL_UNSEEN } else { STILL };
    let (look, mut verdict) = settle(probe, &expected, &before, limit)?;
    verdict.fell = fell(&look.tallies, &before.tallies);
    for (why, count) in &look.missed {
        let since = count.saturating_sub(before.missed.get(why).copied().unwrap_or(0));
        if since > 0 {
            *row.missed.entry(why.clone()).or_default() += since;
        }
    }
    for counted in grown(&look.tallies, &before.tallies).values() {
        row.counted.add(&counted[phase.way.operation().index()]);
    }
    row.verdict.add(verdict);
    row.durations.extend(durations);
    Ok(expected)
}

/// Looks until all is counted, or nothing changes any more.
fn settle(
    probe: &Shared,
    expected: &Tallies,
    before: &Look,
    limit: u32,
) -> Result<(Look, Verdict)> {
    let start = Instant::now();
    let (mut last, mut still) = (Tallies::new(), 0);
    loop {
        let look = with(probe, |probe| probe.look())?;
        let verdict = judge(expected, &grown(&look.tallies, &before.tallies));
        still = if last == look.tallies { still + 1 } else { 0 };
        let all = verdict.missing == 0 && verdict.misattributed == 0;
        if still > 0 && all || still >= limit || start.elapsed() > PATIENCE {
            return Ok((look, verdict));
        }
        last.clone_from(&look.tallies);
        std::thread::sleep(PAUSE);
    }
}

fn with<T>(probe: &Shared, act: impl FnOnce(&mut Box<dyn Counting>) -> Result<T>) -> Result<T> {
    act(&mut probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}
