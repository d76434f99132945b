//! What was measured, as tables. Pure.

use std::fmt;
use std::time::Duration;

use crate::footprint::mib;
use crate::peers;
use crate::process::Process;
use crate::times::{Summary, seconds};

/// The goal for the operator at 10,000 volumes.
const GOAL_KIB: u64 = 40 << 10;

/// Volumes that the operator placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placements {
    pub(super) count: usize,
    /// From the operator's start to the first.
    pub(super) until_first: Duration,
    /// From the first to the last.
    pub(super) took: Duration,
}

/// Claims that csi-provisioner made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims {
    pub(super) count: usize,
    pub(super) summary: Summary,
}

/// A process that had nothing to do.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    pub(super) seconds: u64,
    pub(super) cpu: Duration,
    pub(super) process: Process,
}

/// A new operator.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// Until it said that it is ready.
    pub(super) ready: Duration,
    /// Until it was at rest.
    pub(super) steady: Duration,
    /// Processor time until then.
    pub(super) cpu: Duration,
    pub(super) idle: Idle,
}

/// All of it.
pub(super) struct Report {
    pub(super) nodes: usize,
    pub(super) volumes: usize,
    pub(super) settled: usize,
    pub(super) placements: Placements,
    pub(super) claims: Claims,
    /// The first operator, which placed the volumes.
    pub(super) first: Idle,
    pub(super) sidecar: Process,
    pub(super) start: Start,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, volumes, settled, placements, claims, first, sidecar, start } = self;
        let Placements { count, until_first, took } = *placements;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = count.saturating_sub(1) as f64 / took.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{nodes} simulated nodes, {volumes} StorageVolumes: {settled} written with their places, {count} placed by the operator, {} made by CreateVolume through csi-provisioner\n",
            claims.count
        )?;
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(
            f,
            "| placements a second | {rate:.0} ({count} in {}, the first {} after the start) |",
            seconds(took),
            seconds(until_first)
        )?;
        let Summary { average, p50, p99, maximum, failed } = claims.summary;
        writeln!(
            f,
            "| {} claims at once to Bound | average {}, p50 {}, p99 {}, maximum {}, failed {failed} |",
            claims.count,
            seconds(average),
            seconds(p50),
            seconds(p99),
            seconds(maximum)
        )?;
        row(f, "operator that placed them", first)?;
        writeln!(
            f,
            "| a new operator: ready, at rest | {}, {}, with {} of processor time |",
            seconds(start.ready),
            seconds(start.steady),
            seconds(start.cpu)
        )?;
        row(f, "the new operator", &start.idle)?;
        writeln!(
            f,
            "| csi-provisioner: RSS, peak | {} MiB, {} MiB |",
            mib(sidecar.rss_kib),
            mib(sidecar.peak_kib)
        )?;
        let verdict = if start.idle.process.rss_kib <= GOAL_KIB { "reached" } else { "missed" };
        writeln!(f, "\nGoal: operator <= {} MiB RSS at 10,000 volumes: {verdict}", mib(GOAL_KIB))?;
        f.write_str(&peers::table(&peers::SCALE))
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, idle: &Idle) -> fmt::Result {
    let Idle { seconds: over, cpu, process } = idle;
    writeln!(
        f,
        "| {what}: RSS, Pss, peak; processor time at rest | {} MiB, {} MiB, {} MiB; {} in {over} s |",
        mib(process.rss_kib),
        mib(process.pss_kib),
        mib(process.peak_kib),
        seconds(*cpu)
    )
}
