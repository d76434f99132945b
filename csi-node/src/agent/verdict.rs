//! What a volume's status is to say, from what was asked and what was seen. Pure: it takes values and
//! gives the whole of the node's part of `StorageVolume.status`.

use jiff::Timestamp;
use terrace_crds::condition::{Truth, Verdict, find};
use terrace_crds::volume::{Operation, Phase, StorageVolumeStatus, Usage};
use terrace_crds::{ConditionType, Reason, Size};
use terrace_device_types::{Bytes, Latch, StageState, View, VolumeMode};

use super::desired::ValidVolume;
use super::health::{Ailment, Health, Watched};
use super::usage::Pressure;

/// The conditions that the node writes; the rest of the list is somebody else's.
pub const OWNED: [ConditionType; 4] = [
    ConditionType::Ready,
    ConditionType::Healthy,
    ConditionType::Resizing,
    ConditionType::CapacityPressure,
];

/// How the latest operation on a volume ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The host object is as asked for.
    Made,
    /// It is there, but could not be grown.
    NotGrown {
        /// Why, from the closed list.
        reason: Reason,
        /// Cause and remedy.
        message: String,
    },
    /// It could not be made.
    NotMade {
        /// Why, from the closed list.
        reason: Reason,
        /// Cause and remedy.
        message: String,
    },
    /// It is on its way out and cannot go yet.
    Lingers {
        /// Why, from the closed list.
        reason: Reason,
        /// Cause and remedy.
        message: String,
        /// Whether it takes too long.
        patience: Patience,
    },
}

/// Whether a wait takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not yet.
    InTime,
    /// Somebody should do something.
    Overdue,
}

/// Where the volume lies, as its status names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the pool.
    pub pool: String,
    /// Its tier, once the StoragePool was seen.
    pub tier: Option<String>,
    /// Its backend.
    pub backend: String,
}

/// Everything a status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What was asked.
    pub volume: &'a ValidVolume,
    /// Its generation.
    pub generation: i64,
    /// How the latest operation ended.
    pub standing: &'a Standing,
    /// What the host shows, if it could be looked at.
    pub view: Option<&'a View>,
    /// Where it lies.
    pub place: &'a Place,
    /// Use of its filesystem, if that is known.
    pub usage: Option<&'a Usage>,
    /// Whether it is nearly full.
    pub pressure: &'a Pressure,
    /// What is known against it.
    pub health: Health,
    /// What is going on.
    pub operation: Option<Operation>,
}

/// The node's part of the status, beside what is there now.
#[must_use]
pub fn plan_status(
    facts: &Facts<'_>,
    there: &StorageVolumeStatus,
    now: Timestamp,
) -> StorageVolumeStatus {
    let image = facts.view.and_then(|view| view.volume.image.as_ref());
    let verdicts = [ready(facts), healthy(facts, there), resizing(facts), facts.pressure.verdict()];
    let against = |verdict: &Verdict| verdict.against(&there.conditions, facts.generation, now);
    StorageVolumeStatus {
        phase: Some(phase(facts)),
        claim: None,
        pool: Some(facts.place.pool.clone()),
        tier: facts.place.tier.clone().or_else(|| there.tier.clone()),
        backend: Some(facts.place.backend.clone()),
        device: image.map(|image| image.place().display().to_string()),
        // Kept when the image is out of sight: that it was there once forbids making it again (I2).
        capacity: image.map(|image| size(image.apparent)).or_else(|| there.capacity.clone()),
        formatted: formatted(facts).or_else(|| there.formatted.clone()),
        usage: facts.usage.cloned().map(Box::new),
        latency: None,
        access: None,
        operation: facts.operation.clone().map(Box::new),
        conditions: verdicts.iter().map(against).collect(),
    }
}

/// The node's part of a status that is there.
#[must_use]
pub fn owned(there: &StorageVolumeStatus) -> StorageVolumeStatus {
    let is_ours = |kind: &str| OWNED.iter().any(|owned| owned.as_str() == kind);
    let mut conditions = there.conditions.clone();
    conditions.retain(|condition| is_ours(&condition.type_));
    conditions
        .sort_by_key(|condition| OWNED.iter().position(|owned| owned.as_str() == condition.type_));
    StorageVolumeStatus { claim: None, latency: None, access: None, conditions, ..there.clone() }
}

fn size(bytes: Bytes) -> Size {
    Size::from_bytes(bytes.0)
}

fn formatted(facts: &Facts<'_>) -> Option<String> {
    match tag(facts)?.latch {
        Latch::Formatted { filesystem } => Some(filesystem.to_string()),
        Latch::None | Latch::Formatting { .. } => None,
    }
}

fn tag<'a>(facts: &Facts<'a>) -> Option<&'a terrace_device_types::Tag> {
    match &facts.view?.volume.image.as_ref()?.tag {
        terrace_device_types::TagReading::Read(tag) => Some(tag),
        terrace_device_types::TagReading::Absent
        | terrace_device_types::TagReading::Unreadable(_) => None,
    }
}

/// Whether a Pod has it, or is about to.
#[must_use]
pub fn is_staged(view: &View) -> bool {
    let Some(image) = &view.volume.image else { return false };
    let terrace_device_types::TagReading::Read(tag) = &image.tag else { return false };
    match (&tag.stage, tag.mode) {
        (StageState::Never | StageState::Past, _) => false,
        (StageState::At { boot, target: _ }, VolumeMode::Block) => {
            *boot == view.boot && view.volume.has_device()
        }
        (StageState::At { boot, target }, VolumeMode::Filesystem { .. }) => {
            *boot == view.boot && view.volume_mounts().any(|mount| mount.at == *target)
        }
    }
}

fn phase(facts: &Facts<'_>) -> Phase {
    match facts.standing {
        Standing::Lingers { .. } => Phase::Deleting,
        Standing::NotMade { reason: Reason::Inconsistent | Reason::Invalid, .. } => Phase::Failed,
        Standing::NotMade { .. } => Phase::Pending,
        Standing::Made | Standing::NotGrown { .. } => {
            if facts.view.is_some_and(is_staged) {
                Phase::InUse
            } else {
                Phase::Ready
            }
        }
    }
}

fn ready(facts: &Facts<'_>) -> Verdict {
    let kind = ConditionType::Ready;
    match facts.standing {
        Standing::Made | Standing::NotGrown { .. } => {
            let pool = &facts.place.pool;
            let message = format!("volume lies in pool {pool} on this node");
            Verdict::new(kind, Truth::True, Reason::AsExpected, message)
        }
        Standing::NotMade { reason, message } | Standing::Lingers { reason, message, .. } => {
            Verdict::new(kind, Truth::False, *reason, message.clone())
        }
    }
}

fn healthy(facts: &Facts<'_>, there: &StorageVolumeStatus) -> Verdict {
    let kind = ConditionType::Healthy;
    match (facts.standing, facts.view) {
        (Standing::NotMade { reason: Reason::Inconsistent, message }, _) => {
            Verdict::new(kind, Truth::False, Reason::Inconsistent, message.clone())
        }
        (_, Some(view)) if view.volume.image.is_some() => {
            let ailment = facts.health.ailments().into_iter().next();
            let ailment = ailment.or_else(|| remembered(facts.health.watched, there));
            match ailment {
                Some(Ailment { reason, message }) => {
                    Verdict::new(kind, Truth::False, reason, message)
                }
                None => Verdict::new(kind, Truth::True, Reason::AsExpected, "no fault is reported"),
            }
        }
        (_, Some(_) | None) => {
            let message = "the host object is not there to be looked at";
            Verdict::new(kind, Truth::Unknown, Reason::WaitingForNode, message)
        }
    }
}

/// Errors that an earlier process told of, until this one has watched as long as it takes to know that they ended.
fn remembered(watched: Watched, there: &StorageVolumeStatus) -> Option<Ailment> {
    let reason = Reason::IoErrors;
    let said = find(&there.conditions, ConditionType::Healthy);
    let said = said.filter(|said| said.reason == reason.as_str() && watched == Watched::Briefly);
    said.map(|said| Ailment { reason, message: said.message.clone() })
}

fn resizing(facts: &Facts<'_>) -> Verdict {
    let kind = ConditionType::Resizing;
    if let Standing::NotGrown { reason, message } = facts.standing {
        return Verdict::new(kind, Truth::True, *reason, message.clone());
    }
    let image = facts.view.and_then(|view| view.volume.image.as_ref());
    let filesystem = facts.view.and_then(|view| view.volume.filesystem.as_ref());
    match (image, filesystem) {
        (Some(image), _) if image.apparent < facts.volume.size => {
            let message = format!("image has {} of {}", image.apparent, facts.volume.size);
            Verdict::new(kind, Truth::True, Reason::GrowingImage, message)
        }
        (Some(image), Some(filesystem))
            if filesystem.spans < filesystem.fs.reachable(image.apparent) =>
        {
            let message = format!(
                "the filesystem spans {} of {}: the kubelet has it grown on its next NodeExpandVolume",
                filesystem.spans, image.apparent
            );
            Verdict::new(kind, Truth::True, Reason::FilesystemGrowPending, message)
        }
        (Some(_) | None, Some(_) | None) => {
            Verdict::new(kind, Truth::False, Reason::AsExpected, "the size is as asked for")
        }
    }
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
mod tests;
