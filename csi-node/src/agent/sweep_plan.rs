//! What the sweeper removes. Pure: what was found, for how long, and what the API server said go in; for each candidate
//! what becomes of it comes out, or why the whole pass is void.
//!
//! # Invariants
//! - I1: only what is proven to go, or was never used, and nothing names; absence of an object proves nothing by itself.
//! - Anything that makes the API server's word doubtful voids the pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use terrace_crds::Reason;
use terrace_device_types::{ClusterUid, HostObject, Leftover, OrphanReading, PoolUuid, VolumeUuid};

use super::evidence::Evidence;

/// What the sweeper may come to remove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Its UUID.
    pub uuid: VolumeUuid,
    /// Volume or snapshot.
    pub object: HostObject,
    /// The name in its tag.
    pub name: String,
    /// Where it lies.
    pub pool: PoolUuid,
    /// What it was left as.
    pub leftover: Leftover,
}

/// Since when each candidate has been one without a break, by this process's monotonic clock.
#[derive(Debug, Default)]
pub struct FirstSeen(BTreeMap<Candidate, Instant>);

impl FirstSeen {
    /// Takes note of what is there now: what was not there before begins anew, what is not there now is forgotten.
    /// Says whether anything changed.
    pub fn note(&mut self, there: &BTreeSet<Candidate>, now: Instant) -> Noted {
        let before = self.0.len();
        self.0.retain(|candidate, _| there.contains(candidate));
        let kept = self.0.len();
        for candidate in there {
            self.0.entry(candidate.clone()).or_insert(now);
        }
        if before == kept && kept == self.0.len() { Noted::Same } else { Noted::Changed }
    }

    /// Each with its age.
    #[must_use]
    pub fn ages(&self, now: Instant) -> Vec<(Candidate, Duration)> {
        let age = |since: &Instant| now.saturating_duration_since(*since);
        self.0.iter().map(|(candidate, since)| (candidate.clone(), age(since))).collect()
    }

    /// How long until the oldest is `after` old; `None` without a candidate.
    #[must_use]
    pub fn next(&self, after: Duration, now: Instant) -> Option<Duration> {
        let oldest = self.0.values().min()?;
        Some(after.saturating_sub(now.saturating_duration_since(*oldest)))
    }
}

/// Whether a look showed other candidates than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The same.
    Same,
    /// Others.
    Changed,
}

/// What a pass goes by.
#[derive(Debug)]
pub struct World<'a> {
    /// Whose host objects these are.
    pub cluster: &'a ClusterUid,
    /// How long a candidate must have been one.
    pub after: Duration,
    /// The candidates, each with its age.
    pub candidates: &'a [(Candidate, Duration)],
    /// Volumes and snapshots in service here.
    pub in_service: (usize, usize),
    /// What an operation is at work on, or was when the process died.
    pub journal: &'a BTreeSet<VolumeUuid>,
    /// What the API server said; the error of the first question it did not answer.
    pub evidence: Result<&'a Evidence, &'a str>,
}

/// Why nothing is swept at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Voided {
    /// A question was not answered.
    #[error("the API server did not say what names these host objects ({why}): nothing is swept")]
    Unread {
        /// The first error.
        why: String,
    },
    /// It is the API server of another cluster.
    #[error("the API server is of cluster {now}, the host objects are of {ours}: nothing is swept")]
    OtherCluster {
        /// Whose objects are here.
        ours: ClusterUid,
        /// Whose API server it is.
        now: ClusterUid,
    },
    /// A kind goes, and its objects with it.
    #[error("{kind} is being deleted, and every object of it: nothing is swept")]
    Terminating {
        /// The kind.
        kind: String,
    },
    /// All objects of a kind are gone.
    #[error(
        "the API server has no {kind} at all, yet {count} are in service here: nothing is swept"
    )]
    NoObjects {
        /// The kind.
        kind: &'static str,
        /// How many are in service.
        count: usize,
    },
}

impl Voided {
    /// The reason for a condition.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unread { .. } => Reason::ReadFailed,
            Self::OtherCluster { .. } => Reason::OtherCluster,
            Self::Terminating { .. } => Reason::DefinitionTerminating,
            Self::NoObjects { .. } => Reason::NoObjects,
        }
    }
}

/// What becomes of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is removed.
    Removed,
    /// It has not been left long enough.
    TooYoung,
    /// An operation is not over.
    AtWork,
    /// Something names it.
    Claimed {
        /// What.
        by: String,
    },
}

/// What becomes of every candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<(Candidate, Fate)>);

impl Plan {
    /// What is to be removed.
    pub fn removed(&self) -> impl Iterator<Item = &Candidate> {
        let removed = self.0.iter().filter(|(_, fate)| *fate == Fate::Removed);
        removed.map(|(candidate, _)| candidate)
    }
}

/// The kinds of the API server can be believed in.
///
/// # Errors
/// [`Voided`].
pub fn validate_evidence(cluster: &ClusterUid, evidence: &Evidence) -> Result<(), Voided> {
    if evidence.cluster != *cluster {
        let (ours, now) = (cluster.clone(), evidence.cluster.clone());
        return Err(Voided::OtherCluster { ours, now });
    }
    match evidence.terminating.first() {
        Some(kind) => Err(Voided::Terminating { kind: kind.clone() }),
        None => Ok(()),
    }
}

/// What to remove.
///
/// # Errors
/// [`Voided`]: nothing.
pub fn plan_sweep(world: &World<'_>) -> Result<Plan, Voided> {
    let World { cluster, after, candidates, in_service: (volumes, snapshots), journal, evidence } =
        world;
    let evidence = evidence.map_err(|why| Voided::Unread { why: why.to_owned() })?;
    validate_evidence(cluster, evidence)?;
    if evidence.volumes.is_empty() && *volumes > 0 {
        return Err(Voided::NoObjects { kind: "StorageVolume", count: *volumes });
    }
    if evidence.snapshots.is_empty() && *snapshots > 0 {
        return Err(Voided::NoObjects { kind: "StorageSnapshot", count: *snapshots });
    }
    let fate = |candidate: &Candidate, age: Duration| {
        let Candidate { uuid, object, name, pool: _, leftover: _ } = candidate;
        match evidence.reading(*object, *uuid, name) {
            OrphanReading::Claimed { by } => Fate::Claimed { by },
            OrphanReading::Unclaimed if journal.contains(uuid) => Fate::AtWork,
            OrphanReading::Unclaimed if age < *after => Fate::TooYoung,
            OrphanReading::Unclaimed => Fate::Removed,
        }
    };
    let fates =
        candidates.iter().map(|(candidate, age)| (candidate.clone(), fate(candidate, *age)));
    Ok(Plan(fates.collect()))
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uuid, object, name, pool: _, leftover } = self;
        match leftover {
            Leftover::Quarantined { deletion } => {
                write!(f, "{object} {name} ({uuid}), quarantined by deletion {deletion}")
            }
            Leftover::Unfinished => write!(f, "{object} {name} ({uuid}), never finished"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (candidate, fate)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "\n" };
            match fate {
                Fate::Removed => write!(f, "{comma}remove {candidate}")?,
                Fate::TooYoung => write!(f, "{comma}leave {candidate}: not for long enough")?,
                Fate::AtWork => write!(f, "{comma}leave {candidate}: an operation is not over")?,
                Fate::Claimed { by } => write!(f, "{comma}leave {candidate}: {by} names it")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "sweep_plan/tests.rs"]
mod tests;
