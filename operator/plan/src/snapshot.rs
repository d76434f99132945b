//! Snapshots: from what the CSI caller asked to the StorageSnapshot that is written, where it lies, and its end. Pure.
//! A snapshot lies where its source lies; its space is promised before the node acts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict, find};
use terrace_crds::names::{
    ANNOTATION_TRACEPARENT, FINALIZER_NODE, VolumeName, snapshot_name, snapshot_uuid,
};
use terrace_crds::node::{HostObjectKind, HostVolume, HostVolumeState};
use terrace_crds::snapshot::{SnapshotDeletion, SnapshotGroup};
use terrace_crds::volume::{Assignment, VolumeMode};
use terrace_crds::{Size, StorageSnapshot, StorageSnapshotSpec, StorageVolume};
use uuid::Uuid;

use crate::class::Class;
use crate::delete::until_forsaken;
use crate::effect::{Effect, ObjectRef, Tone, finalizers_without};
use crate::gone::{Leaving, Waits, judge_leaving, let_go};
use crate::listed::Key;
use crate::plan::{Next, Plan};
use crate::size::{about, words};
use crate::space::{granted, observe_spaces, reserved};
use crate::volume::claim_of;
use crate::world::{World, name_of};

/// Longest name, in bytes, as CSI demands of every driver.
const NAME_MAX: usize = 128;
/// Prefix of what Kubernetes' sidecars add by themselves.
const KUBERNETES_PREFIX: &str = "csi.storage.k8s.io/";

/// Why a snapshot cannot be taken as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Empty, too long, or with characters that nobody can read.
    #[error("a snapshot's name has 1 to {NAME_MAX} bytes and no control characters")]
    Name,
    /// A parameter that nobody knows.
    #[error("parameter {name:?} of the snapshot class is unknown: remove it")]
    Parameter {
        /// The first of them.
        name: String,
    },
    /// The source lies nowhere yet.
    #[error("volume {source_volume} was not made yet: take the snapshot once it is ready")]
    SourceUnmade {
        /// Its handle.
        source_volume: String,
    },
    /// The source is on its way out.
    #[error("volume {source_volume} is being deleted: a snapshot of it can't be taken any more")]
    SourceLeaving {
        /// Its handle.
        source_volume: String,
    },
    /// A snapshot of this name is there, and is another one.
    #[error("snapshot {name} exists and is a copy of volume {has}, asked for is one of {asked}")]
    Exists {
        /// Its CSI name.
        name: String,
        /// What it is a copy of.
        has: String,
        /// What was asked for.
        asked: String,
    },
}

impl SnapshotError {
    /// Whether it may work later.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::SourceUnmade { .. } => Class::Retry,
            Self::Name
            | Self::Parameter { .. }
            | Self::SourceLeaving { .. }
            | Self::Exists { .. } => Class::Invalid,
        }
    }
}

/// Checks a name as CSI gives it.
///
/// # Errors
/// [`SnapshotError::Name`].
pub fn validate_name(name: &str) -> Result<(), SnapshotError> {
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(SnapshotError::Name);
    }
    Ok(())
}

/// Refuses every parameter but what Kubernetes adds itself.
///
/// # Errors
/// [`SnapshotError::Parameter`], naming the first.
pub fn validate_parameters(given: &BTreeMap<String, String>) -> Result<(), SnapshotError> {
    let mut names = given.keys();
    match names.find(|name| !name.starts_with(KUBERNETES_PREFIX)) {
        None => Ok(()),
        Some(name) => Err(SnapshotError::Parameter { name: name.clone() }),
    }
}

/// The StorageSnapshot of `csi_name`, a copy of `source`. It has no place yet: the operator gives it one.
///
/// # Errors
/// [`SnapshotError`] where the source can't be copied now.
pub fn snapshot_of(
    csi_name: &str,
    source: &StorageVolume,
    group: Option<SnapshotGroup>,
    cluster: Uuid,
    traceparent: Option<String>,
) -> Result<StorageSnapshot, SnapshotError> {
    let source_volume = || name_of(&source.metadata).to_owned();
    if source.metadata.deletion_timestamp.is_some() {
        return Err(SnapshotError::SourceLeaving { source_volume: source_volume() });
    }
    let made = source.status.as_ref().is_some_and(|status| status.capacity.is_some());
    let (Some(uuid), true) = (&source.spec.volume_uuid, made) else {
        return Err(SnapshotError::SourceUnmade { source_volume: source_volume() });
    };
    let VolumeName { name, csi_name: kept } = snapshot_name(csi_name);
    let notes = traceparent.map(|trace| (ANNOTATION_TRACEPARENT.to_owned(), trace));
    let metadata = ObjectMeta {
        name: Some(name),
        annotations: notes.map(|note| BTreeMap::from([note])),
        finalizers: Some(vec![FINALIZER_NODE.to_owned()]),
        ..ObjectMeta::default()
    };
    let spec = StorageSnapshotSpec {
        snapshot_uuid: snapshot_uuid(cluster, csi_name).to_string(),
        csi_name: kept,
        source_volume: source_volume(),
        source_volume_uuid: uuid.clone(),
        capacity: Size::from_bytes(granted(source)),
        volume_mode: source.spec.volume_mode,
        fs_type: source.spec.fs_type,
        group,
        deletion: None,
        assignment: None,
    };
    Ok(StorageSnapshot { metadata, spec, status: None })
}

/// Whether the snapshot that is there is the one asked for.
///
/// # Errors
/// [`SnapshotError::Exists`], naming both sources.
pub fn check_same(
    there: &StorageSnapshot,
    csi_name: &str,
    source_volume: &str,
) -> Result<(), SnapshotError> {
    if csi_name_of(there) == csi_name && there.spec.source_volume == source_volume {
        return Ok(());
    }
    let (name, has) = (csi_name_of(there).to_owned(), there.spec.source_volume.clone());
    Err(SnapshotError::Exists { name, has, asked: source_volume.to_owned() })
}

/// The name by which the CSI caller knows the snapshot.
#[must_use]
pub fn csi_name_of(snapshot: &StorageSnapshot) -> &str {
    snapshot.spec.csi_name.as_deref().unwrap_or_else(|| name_of(&snapshot.metadata))
}

/// The snapshot's conditions.
#[must_use]
pub fn conditions_of(snapshot: &StorageSnapshot) -> &[Condition] {
    snapshot.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// What to do about this snapshot, and what to say about it.
#[must_use]
pub fn plan_snapshot(world: &World, snapshot: &StorageSnapshot, now: Timestamp) -> Plan {
    let quiet =
        |effects| Plan { effects, verdicts: Vec::new(), said: Vec::new(), next: Next::Change };
    if let (Some(stamp), None) = (&snapshot.spec.deletion, &snapshot.metadata.deletion_timestamp) {
        // Who stamps it deletes it in the same breath; where that died, nobody may ask again.
        return match until_forsaken(&stamp.requested_at, now) {
            Some(left) => Plan { next: Next::After(left), ..quiet(Vec::new()) },
            None => {
                quiet(vec![Effect::DeleteSnapshot { snapshot: ObjectRef::of(&snapshot.metadata) }])
            }
        };
    }
    if let Some(place) = &snapshot.spec.assignment {
        return plan_placed(world, snapshot, place, now);
    }
    let listed = listed_by_uuid(world, &snapshot.spec.snapshot_uuid);
    if let Some((node, host)) = listed {
        return quiet(vec![assign(snapshot, node, &host.pool_uuid, "", bytes_of(host))]);
    }
    if snapshot.metadata.deletion_timestamp.is_some() {
        return quiet(release(snapshot));
    }
    match place(world, snapshot) {
        Ok(effect) => quiet(vec![effect]),
        Err((reason, message)) => {
            let verdict = Verdict::new(ConditionType::Ready, Truth::False, reason, message);
            wait(snapshot, verdict, now)
        }
    }
}

/// It is its node's; of one that does not act at its end it is said, and of one that is gone it is let go.
fn plan_placed(
    world: &World,
    snapshot: &StorageSnapshot,
    place: &Assignment,
    now: Timestamp,
) -> Plan {
    let (metadata, conditions) = (&snapshot.metadata, conditions_of(snapshot));
    let leaving = Leaving { what: "snapshot", metadata, place, conditions };
    let (effects, said, next) = match judge_leaving(world, leaving, now) {
        Waits::Quietly => (Vec::new(), Vec::new(), Next::Change),
        Waits::Until(left) => (Vec::new(), Vec::new(), Next::After(left)),
        Waits::Look => {
            let said = vec![format!("the API server is asked for node {} first", place.node)];
            (Vec::new(), said, Next::Change)
        }
        Waits::Said(verdict, next) => {
            let plan = wait(snapshot, verdict, now);
            return Plan { next: next.map_or(Next::Change, Next::After), ..plan };
        }
        Waits::LetGo(finalizers) => {
            let at = ObjectRef::of(metadata);
            let (uuid, node) = (snapshot.spec.snapshot_uuid.clone(), place.node.clone());
            let note = let_go(&format!("StorageSnapshot {}", at.name), &node, &uuid);
            let source = world.volume(&snapshot.spec.source_volume);
            let claim = source.and_then(|source| claim_of(world, source));
            let (tone, reason) = (Tone::Warning, Reason::NodeGone);
            let told = claim.map(|claim| Effect::Tell { claim, tone, reason, note });
            let abandon = Effect::AbandonSnapshot { snapshot: at, uuid, node, finalizers };
            (std::iter::once(abandon).chain(told).collect(), Vec::new(), Next::Change)
        }
    };
    Plan { effects, verdicts: Vec::new(), said, next }
}

fn bytes_of(host: &HostVolume) -> u64 {
    crate::space::bytes(&host.size)
}

/// Its source's place, if there is room.
fn place(world: &World, snapshot: &StorageSnapshot) -> Result<Effect, (Reason, String)> {
    let StorageSnapshotSpec { source_volume, source_volume_uuid, .. } = &snapshot.spec;
    let is_source = |volume: &&std::sync::Arc<StorageVolume>| {
        volume.spec.volume_uuid.as_ref() == Some(source_volume_uuid)
    };
    let gone = || {
        let message =
            format!("volume {source_volume} is gone: a copy of it can't be made any more");
        (Reason::NotFound, message)
    };
    let mut named = world.volumes.candidates(Key::Bytes(source_volume_uuid));
    let source = named.find(is_source).ok_or_else(gone)?;
    let at = source.spec.assignment.as_ref().ok_or_else(gone)?;
    let spaces = observe_spaces(world);
    let space = spaces.iter().find(|space| space.pool.uuid.as_deref() == Some(&at.pool_uuid));
    let Some(space) = space else {
        let message = format!("node {} does not list the pool of {source_volume} now", at.node);
        return Err((Reason::WaitingForNode, message));
    };
    let need = reserved(snapshot);
    if need > space.free() {
        let (need, free) = (words(need), about(space.free()));
        let place = format!("{}/{}", space.node, space.pool.name);
        let message = format!(
            "{place}: a copy of {source_volume} may come to take {need}, {free} free: delete snapshots or volumes there, or enlarge the pool"
        );
        return Err((Reason::NoCapacity, message));
    }
    Ok(assign(snapshot, &at.node, &at.pool_uuid, &space.pool.name, need))
}

fn assign(
    snapshot: &StorageSnapshot,
    node: &str,
    pool_uuid: &str,
    pool: &str,
    bytes: u64,
) -> Effect {
    let pool_uuid = pool_uuid.to_owned();
    let assignment = Assignment { node: node.to_owned(), pool_uuid, capacity: None };
    let snapshot = ObjectRef::of(&snapshot.metadata);
    Effect::AssignSnapshot { snapshot, assignment, pool: pool.to_owned(), bytes }
}

fn release(snapshot: &StorageSnapshot) -> Vec<Effect> {
    let held = snapshot.metadata.finalizers.iter().flatten().any(|held| held == FINALIZER_NODE);
    let finalizers = finalizers_without(&snapshot.metadata, FINALIZER_NODE);
    let snapshot = ObjectRef::of(&snapshot.metadata);
    held.then_some(Effect::ReleaseSnapshot { snapshot, finalizers }).into_iter().collect()
}

fn wait(snapshot: &StorageSnapshot, verdict: Verdict, now: Timestamp) -> Plan {
    let there = conditions_of(snapshot);
    let generation = snapshot.metadata.generation.unwrap_or(0);
    let condition = verdict.against(there, generation, now);
    let known = find(there, verdict.kind).is_some_and(|old| {
        (&old.reason, &old.message, old.observed_generation)
            == (&condition.reason, &condition.message, condition.observed_generation)
    });
    let snapshot = ObjectRef::of(&snapshot.metadata);
    let report = Effect::ReportSnapshot { snapshot, conditions: vec![condition] };
    let effects = if known { Vec::new() } else { vec![report] };
    Plan { effects, verdicts: vec![verdict], said: Vec::new(), next: Next::Change }
}

/// What is left to do so that the snapshot goes, one effect at a time: the stamp first, then the deletion.
#[must_use]
pub fn plan_delete(snapshot: &StorageSnapshot, id: Uuid, now: Timestamp) -> Option<Effect> {
    let at = ObjectRef::of(&snapshot.metadata);
    if snapshot.metadata.deletion_timestamp.is_some() && snapshot.spec.deletion.is_some() {
        return None;
    }
    if snapshot.spec.deletion.is_some() {
        return Some(Effect::DeleteSnapshot { snapshot: at });
    }
    let deletion = stamp(&snapshot.spec.snapshot_uuid, id, now);
    Some(Effect::StampSnapshot { snapshot: at, deletion })
}

fn stamp(uuid: &str, id: Uuid, now: Timestamp) -> SnapshotDeletion {
    SnapshotDeletion { snapshot_uuid: uuid.to_owned(), id: id.to_string(), requested_at: Time(now) }
}

/// The object for a snapshot that has lost its own, made only so that its node can delete it with proof, and stamped from
/// its first moment as that of a volume. `None` where no node lists a snapshot of that name.
#[must_use]
pub fn plan_adopt_for_deletion(
    world: &World,
    handle: &str,
    id: Uuid,
    now: Timestamp,
) -> Option<Effect> {
    let host = listings(world)
        .map(|(_, host)| host)
        .find(|host| host.name == handle && host.state != HostVolumeState::Unreadable)?;
    let spec = StorageSnapshotSpec {
        snapshot_uuid: host.uuid.clone(),
        csi_name: None,
        source_volume: "unknown".to_owned(),
        source_volume_uuid: Uuid::nil().to_string(),
        capacity: host.size.clone(),
        // What it held is on the host object; nothing is made from it any more.
        volume_mode: VolumeMode::Block,
        fs_type: None,
        group: None,
        deletion: Some(stamp(&host.uuid, id, now)),
        assignment: None,
    };
    let metadata = ObjectMeta {
        name: Some(handle.to_owned()),
        finalizers: Some(vec![FINALIZER_NODE.to_owned()]),
        ..ObjectMeta::default()
    };
    let snapshot = Box::new(StorageSnapshot { metadata, spec, status: None });
    Some(Effect::CreateSnapshot { snapshot })
}

/// Snapshots on nodes that are not on their way out.
fn listings(world: &World) -> impl Iterator<Item = (&str, &HostVolume)> {
    let nodes = world.nodes.iter().filter_map(|node| Some((node, node.status.as_ref()?)));
    let all = nodes.flat_map(|(node, status)| {
        status.volumes.iter().map(move |host| (name_of(&node.metadata), host))
    });
    all.filter(|(_, host)| {
        host.kind == HostObjectKind::Snapshot && host.state != HostVolumeState::Quarantined
    })
}

fn listed_by_uuid<'a>(world: &'a World, uuid: &str) -> Option<(&'a str, &'a HostVolume)> {
    listings(world).find(|(_, host)| host.uuid == uuid)
}
