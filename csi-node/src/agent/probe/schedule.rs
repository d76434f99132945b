//! Which volume's status is written next. Pure: at most one is chosen, a condition that turned before all figures, and nothing for
//! a volume on which nothing was done (I8).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use terrace_crds::ConditionType;
use terrace_crds::condition::{self, Truth, Verdict};
use terrace_crds::measured::{OperationLatency, VolumeLatency};
use terrace_crds::volume::StorageVolumeStatus;
use terrace_probe_abi::wire::VolumeFigures;

use super::status::{plan_access, plan_latency};

/// Figures that moved less are written after so long.
pub const STALE: SignedDuration = SignedDuration::from_mins(10);
/// A p99 that moved by one part in so many is written at once.
const MOVED: u64 = 4;

/// The figures of a volume, and which of them were written.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// The last ones.
    pub figures: &'a VolumeFigures,
    /// When they came.
    pub at: Timestamp,
    /// When this process last wrote figures of the volume.
    pub written: Option<Timestamp>,
}

/// A volume whose status may be written.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Name of the StorageVolume.
    pub name: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Its status now.
    pub there: &'a StorageVolumeStatus,
    /// LatencyHigh, where something can be said.
    pub verdict: Option<Verdict>,
    /// Its figures, if there are any.
    pub measured: Option<Measured<'a>>,
}

/// Why it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It became slow.
    High,
    /// The condition turned in another way.
    Turned,
    /// The condition says the same in other words.
    Reworded,
    /// Figures.
    Figures,
}

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Name of the StorageVolume.
    pub name: String,
    /// Why.
    pub urgency: Urgency,
    /// All that the probe says in the status: latency, access, LatencyHigh. The rest is empty.
    pub status: StorageVolumeStatus,
    /// When the figures in it came, if they are new.
    pub figures_at: Option<Timestamp>,
}

/// The most urgent write; of those alike, the one of which nothing was written for longest.
#[must_use]
pub fn plan_write(candidates: &[Candidate<'_>], now: Timestamp) -> Option<Write> {
    let wanted = candidates.iter().filter_map(|candidate| {
        let urgency = urgency(candidate, now)?;
        let written = candidate.measured.and_then(|measured| measured.written);
        Some(((urgency, written, candidate.name), candidate))
    });
    let ((urgency, _, _), candidate) = wanted.min_by(|(one, _), (two, _)| one.cmp(two))?;
    Some(plan(candidate, urgency, now))
}

fn urgency(candidate: &Candidate<'_>, now: Timestamp) -> Option<Urgency> {
    let there = condition::find(&candidate.there.conditions, ConditionType::LatencyHigh);
    if let Some(verdict) = &candidate.verdict {
        let status = there.map(|there| there.status.as_str());
        if status != Some(verdict.truth.as_str()) {
            let is_high = verdict.truth == Truth::True;
            return Some(if is_high { Urgency::High } else { Urgency::Turned });
        }
        let said = there.map(|there| (there.reason.as_str(), there.message.as_str()));
        if said != Some((verdict.reason.as_str(), verdict.message.as_str())) {
            return Some(Urgency::Reworded);
        }
    }
    let measured = candidate.measured.as_ref()?;
    is_worth_writing(measured, candidate.there, now).then_some(Urgency::Figures)
}

/// Whether figures are worth a write: something was done since the last one, and a p99 moved by a quarter or much time passed.
#[must_use]
pub fn is_worth_writing(
    measured: &Measured<'_>,
    there: &StorageVolumeStatus,
    now: Timestamp,
) -> bool {
    let Measured { figures, at, written } = measured;
    if written.is_some_and(|written| *at <= written) {
        return false;
    }
    let Some(fresh) = plan_latency(figures) else { return false };
    let (Some(written), Some(there)) = (written, &there.latency) else { return true };
    now.duration_since(*written) >= STALE || has_moved(&fresh, there)
}

fn has_moved(fresh: &VolumeLatency, there: &VolumeLatency) -> bool {
    let pairs = [
        (&fresh.read, &there.read),
        (&fresh.write, &there.write),
        (&fresh.fsync, &there.fsync),
        (&fresh.readdir, &there.readdir),
    ];
    pairs.into_iter().any(|(fresh, there)| match (fresh, there) {
        (Some(fresh), Some(there)) => has_p99_moved(fresh, there),
        (Some(_), None) => true,
        (None, _) => false,
    })
}

fn has_p99_moved(fresh: &OperationLatency, there: &OperationLatency) -> bool {
    match (fresh.p99.nanos(), there.p99.nanos()) {
        (Ok(fresh), Ok(there)) => fresh.abs_diff(there).saturating_mul(MOVED) >= there.max(1),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => true,
    }
}

/// One write carries both: the condition, and figures if there are fresh ones.
fn plan(candidate: &Candidate<'_>, urgency: Urgency, now: Timestamp) -> Write {
    let Candidate { name, generation, there, verdict, measured } = candidate;
    let fresh = measured.filter(|measured| measured.written.is_none_or(|at| measured.at > at));
    let latency = fresh.and_then(|fresh| plan_latency(fresh.figures));
    let access = fresh.and_then(|fresh| plan_access(fresh.figures));
    let condition: Option<Condition> = match verdict {
        Some(verdict) => Some(verdict.against(&there.conditions, *generation, now)),
        None => condition::find(&there.conditions, ConditionType::LatencyHigh).cloned(),
    };
    Write {
        name: (*name).to_owned(),
        urgency,
        figures_at: fresh.filter(|_| latency.is_some()).map(|fresh| fresh.at),
        status: StorageVolumeStatus {
            latency: latency.map(Box::new).or_else(|| there.latency.clone()),
            access: access.map(Box::new).or_else(|| there.access.clone()),
            conditions: condition.into_iter().collect(),
            ..StorageVolumeStatus::default()
        },
    }
}

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
