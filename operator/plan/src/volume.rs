//! What the operator does about one StorageVolume: choose its place, say why it waits, notice that it is gone.
//! Pure. It never makes a second host object for a UUID that some node lists (I2), and never touches bytes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict, find};
use terrace_crds::names::ANNOTATION_TOPOLOGY;
use terrace_crds::node::{HostObjectKind, HostVolume, HostVolumeState};
use terrace_crds::volume::{Assignment, ClaimRef, Origin, SourceKind, VolumeMode, VolumeSource};
use terrace_crds::{Size, StorageNode, StorageVolume};

use crate::bound::{Claimed, Sight, is_let_go, plan_bound};
use crate::direct::{New, plan_new};
use crate::direct_error::{DirectError, text};
use crate::effect::{Effect, ObjectRef, Tone};
use crate::listed::Key;
use crate::noticed::{Noticed, notice};
use crate::parameters::{Erase, Target};
use crate::placement::{Ask, plan_placement};
use crate::plan::{Next, Plan};
use crate::size::about;
use crate::space::bytes_of;
use crate::topology::{Topology, TopologyError};
use crate::volume_end::{plan_forsaken, plan_placed_end, plan_unplaced_end};
use crate::world::{World, name_of};

/// A Direct volume that is refused looks again after this time.
const LOOKED_AGAIN: Duration = Duration::from_secs(30);
/// What to do about this volume, and what to say about it.
#[must_use]
pub fn plan_volume(world: &World, volume: &StorageVolume, now: Timestamp) -> Plan {
    if let Some(plan) = plan_forsaken(world, volume, now) {
        return plan;
    }
    let found = listings(world, volume);
    match (&volume.metadata.deletion_timestamp, &volume.spec.assignment) {
        (Some(_), None) => plan_unplaced_end(world, volume, &found),
        (None, None) => plan_unassigned(world, volume, &found, now),
        (Some(_), Some(assignment)) => plan_placed_end(world, volume, assignment, now),
        (None, Some(assignment)) => plan_assigned(world, volume, assignment, &found, now),
    }
}

/// What is asked of the placement.
///
/// # Errors
/// [`TopologyError`] where somebody else wrote the annotation.
pub fn ask_of(volume: &StorageVolume) -> Result<Ask, TopologyError> {
    let notes = volume.metadata.annotations.as_ref();
    let kept = notes.and_then(|notes| notes.get(ANNOTATION_TOPOLOGY));
    Ok(Ask {
        bytes: bytes_of(volume),
        target: target_of(volume),
        topology: Topology::from_annotation(kept.map(String::as_str))?,
        fs_type: match volume.spec.volume_mode {
            VolumeMode::Filesystem => volume.spec.fs_type,
            VolumeMode::Block => None,
        },
        erase: match volume.spec.erase_on_delete {
            Some(true) => Erase::Overwrite,
            Some(false) | None => Erase::Leave,
        },
        at: None,
    })
}

/// The claim that the volume is for: what the PV says, else what it was made for.
#[must_use]
pub fn claim_of(world: &World, volume: &StorageVolume) -> Option<ClaimRef> {
    let bound = world.persistent_of(volume).and_then(|pv| pv.claim.clone());
    bound.or_else(|| volume.spec.claim_ref.clone())
}

pub(crate) fn target_of(volume: &StorageVolume) -> Target {
    // The schema demands exactly one of the two.
    match (&volume.spec.pool, &volume.spec.tier) {
        (Some(pool), _) => Target::Pool(pool.clone()),
        (None, tier) => Target::Tier(tier.clone().unwrap_or_default()),
    }
}

/// Where the source of a copy lies; nothing for a volume that is no copy.
fn place_of_source(world: &World, volume: &StorageVolume) -> Result<Option<Assignment>, String> {
    let Some(source) = volume.spec.source.as_deref() else { return Ok(None) };
    let VolumeSource { kind, name, uuid } = source;
    let found = match kind {
        SourceKind::Volume => {
            let mut named = world
                .volumes
                .candidates(Key::Name(name))
                .map(|volume| (&volume.metadata, &volume.spec));
            named
                .find(|(meta, spec)| {
                    name_of(meta) == name && spec.volume_uuid.as_ref() == Some(uuid)
                })
                .and_then(|(_, spec)| spec.assignment.clone())
        }
        SourceKind::Snapshot => {
            let mut named = world
                .snapshots
                .candidates(Key::Name(name))
                .map(|snapshot| (&snapshot.metadata, &snapshot.spec));
            named
                .find(|(meta, spec)| name_of(meta) == name && spec.snapshot_uuid == *uuid)
                .and_then(|(_, spec)| spec.assignment.clone())
        }
    };
    let what = match kind {
        SourceKind::Volume => "volume",
        SourceKind::Snapshot => "snapshot",
    };
    let gone =
        || format!("{what} {name}, of which it is to be a copy, is gone: make the claim anew");
    found.ok_or_else(gone).map(|at| Some(Assignment { capacity: None, ..at }))
}

/// Nodes that list a host object with the volume's UUID which is not on its way out.
fn listings<'a>(
    world: &'a World,
    volume: &StorageVolume,
) -> Vec<(&'a StorageNode, &'a HostVolume)> {
    volume.spec.volume_uuid.as_deref().map_or_else(Vec::new, |uuid| listings_of(world, uuid))
}

/// Nodes that list a host object with this UUID which is not on its way out.
pub(crate) fn listings_of<'a>(
    world: &'a World,
    uuid: &str,
) -> Vec<(&'a StorageNode, &'a HostVolume)> {
    let mut found: Vec<_> = world
        .nodes
        .candidates(Key::Bytes(uuid))
        .flat_map(|node| node.status.iter().map(move |status| (node.as_ref(), status)))
        .flat_map(|(node, status)| status.volumes.iter().map(move |host| (node, host)))
        .filter(|(_, host)| host.kind == HostObjectKind::Volume)
        .filter(|(_, host)| host.uuid == uuid && is_staying(host.state))
        .collect();
    found.sort_by_key(|(node, _)| name_of(&node.metadata));
    found
}

fn is_staying(state: HostVolumeState) -> bool {
    match state {
        HostVolumeState::Creating
        | HostVolumeState::Ready
        | HostVolumeState::Retained
        | HostVolumeState::Unreadable => true,
        HostVolumeState::Quarantined => false,
    }
}

fn plan_unassigned(
    world: &World,
    volume: &StorageVolume,
    found: &[(&StorageNode, &HostVolume)],
    now: Timestamp,
) -> Plan {
    let wait = |reason, message: String| {
        let verdict = Verdict::new(ConditionType::Ready, Truth::False, reason, message);
        report(world, volume, vec![verdict], now)
    };
    match (volume.spec.origin, found) {
        (Origin::Direct, _) => match plan_new(world, volume) {
            Ok(New::Do(effect, why)) => return assigned(*effect, why),
            Ok(New::Place) => {}
            Err(error @ DirectError::NotLooked { .. }) => {
                let (effects, verdicts, said) = (Vec::new(), Vec::new(), vec![error.to_string()]);
                return Plan { effects, verdicts, said, next: Next::Change };
            }
            // Nothing tells when a claim that stands in the way goes.
            Err(error) => {
                let told = wait(error.reason(), error.to_string());
                return Plan { next: Next::After(LOOKED_AGAIN), ..told };
            }
        },
        (Origin::Csi, [(node, host)]) => {
            return assigned(adopt(world, volume, node, host), "adopted: its host object is there");
        }
        (Origin::Csi, []) => {}
        (Origin::Csi, [_, _, ..]) => return wait(Reason::Inconsistent, several(volume, found)),
    }
    if let Some(pv) = world.persistent_of(volume) {
        return report(world, volume, vec![not_found(&pv.name), missing(&pv.name)], now);
    }
    let ask = match ask_of(volume) {
        Ok(ask) => ask,
        Err(error) => return wait(Reason::Invalid, error.to_string()),
    };
    let at = match place_of_source(world, volume) {
        Ok(at) => at,
        Err(message) => return wait(Reason::Invalid, message),
    };
    let ask = Ask { at, ..ask };
    match plan_placement(world, &ask) {
        Ok(place) => {
            let why = format!("{} free before", about(place.free));
            let capacity = match volume.spec.origin {
                Origin::Csi => None,
                Origin::Direct => Some(Size::from_bytes(ask.bytes)),
            };
            let assignment = Assignment { node: place.node, pool_uuid: place.pool_uuid, capacity };
            let volume = ObjectRef::of(&volume.metadata);
            let (pool, bytes) = (place.pool, ask.bytes);
            assigned(Effect::AssignVolume { volume, assignment, pool, bytes }, &why)
        }
        Err(none) => wait(none.reason, none.to_string()),
    }
}

/// Words for a volume whose bytes more than one node claims to have.
pub(crate) fn several(volume: &StorageVolume, found: &[(&StorageNode, &HostVolume)]) -> String {
    let nodes: Vec<&str> = found.iter().map(|(node, _)| name_of(&node.metadata)).collect();
    let uuid = volume.spec.volume_uuid.as_deref().unwrap_or_default();
    format!(
        "{} list volume {uuid}: only one of the host objects can be the volume; see the orphans of these nodes",
        nodes.join(", ")
    )
}

fn not_found(pv: &str) -> Verdict {
    let message = format!(
        "PersistentVolume {pv} exists and no node lists its bytes: not made anew; bring the node back, or delete the claim"
    );
    Verdict::new(ConditionType::Ready, Truth::False, Reason::NotFound, message)
}

fn missing(pv: &str) -> Verdict {
    let message = format!("PersistentVolume {pv} exists and no node lists its bytes");
    Verdict::new(ConditionType::Missing, Truth::True, Reason::NotFound, message)
}

fn assigned(effect: Effect, why: &str) -> Plan {
    Plan {
        effects: vec![effect],
        verdicts: Vec::new(),
        said: vec![why.to_owned()],
        next: Next::Change,
    }
}

/// Its place is where its bytes are.
pub(crate) fn adopt(
    world: &World,
    volume: &StorageVolume,
    node: &StorageNode,
    host: &HostVolume,
) -> Effect {
    let pools = node.status.iter().flat_map(|status| &status.pools);
    let mut named = pools.filter(|pool| pool.uuid.as_deref() == Some(&host.pool_uuid));
    let pool = named.next().map_or_else(|| host.pool_uuid.clone(), |pool| pool.name.clone());
    let node = name_of(&node.metadata).to_owned();
    debug_assert!(world.node(&node).is_some());
    Effect::AssignVolume {
        volume: ObjectRef::of(&volume.metadata),
        assignment: Assignment { node, pool_uuid: host.pool_uuid.clone(), capacity: None },
        pool,
        bytes: bytes_of(volume),
    }
}

fn plan_assigned(
    world: &World,
    volume: &StorageVolume,
    assignment: &Assignment,
    found: &[(&StorageNode, &HostVolume)],
    now: Timestamp,
) -> Plan {
    let there = conditions_of(volume);
    let node = &assignment.node;
    let Some(ready) = find(there, ConditionType::Ready) else {
        // Nothing is written between the assignment and the node's first word: it would only cost time.
        let said = vec![format!("waiting for node {node} to report")];
        let (effects, verdicts, next) = (Vec::new(), Vec::new(), Next::Change);
        return Plan { effects, verdicts, said, next };
    };
    let waited = now.duration_since(ready.last_transition_time.0).unsigned_abs();
    let (missing, told) = match notice(world, volume, node, found, waited) {
        Noticed::Nothing => (None, Next::Change),
        Noticed::Later(left) => (None, Next::After(left)),
        Noticed::Says(truth, reason, message) => {
            let verdict = Verdict::new(ConditionType::Missing, truth, reason, message);
            (Some(verdict), Next::Change)
        }
    };
    let claimed = plan_bound(world, volume, assignment, now);
    let Claimed { mut effects, verdict, said, next, sight: _ } = claimed;
    // Of bytes that are not seen nobody says that they are kept.
    let unseen = missing.as_ref().is_some_and(|missing| missing.truth != Truth::False);
    let verdict = verdict.filter(|verdict| !(unseen && verdict.reason == Reason::Retained));
    let plan = report(world, volume, missing.into_iter().chain(verdict).collect(), now);
    effects.extend(plan.effects);
    Plan { effects, said: said.into_iter().collect(), next: sooner(told, next), ..plan }
}

fn sooner(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::Change, next) | (next, Next::Change) => next,
        (Next::After(one), Next::After(other)) => Next::After(one.min(other)),
    }
}

/// Whether the claim of a Direct volume, and who has the name of its PersistentVolume, must be read before it is
/// planned for.
#[must_use]
pub fn needs_look(world: &World, volume: &StorageVolume, now: Timestamp) -> bool {
    if volume.metadata.deletion_timestamp.is_some() || volume.spec.origin == Origin::Csi {
        return false;
    }
    let Some(place) = &volume.spec.assignment else { return true };
    plan_bound(world, volume, place, now).sight == Sight::Needed
}

/// The volume's conditions.
#[must_use]
pub fn conditions_of(volume: &StorageVolume) -> &[Condition] {
    volume.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// Says what is new, and nothing that was said before.
pub(crate) fn report(
    world: &World,
    volume: &StorageVolume,
    verdicts: Vec<Verdict>,
    now: Timestamp,
) -> Plan {
    let there = conditions_of(volume);
    let claim = claim_of(world, volume);
    let generation = volume.metadata.generation.unwrap_or(0);
    let conditions: Vec<Condition> =
        verdicts.iter().map(|verdict| verdict.against(there, generation, now)).collect();
    let mut effects = Vec::new();
    for verdict in
        verdicts.iter().filter(|verdict| is_news(there, verdict) && asks_for_help(verdict))
    {
        let Verdict { reason, message, .. } = verdict.clone();
        let told = claim.clone();
        effects.extend(told.map(|claim| Effect::Tell {
            claim,
            tone: Tone::Warning,
            reason,
            note: message,
        }));
    }
    // Of a volume that was let go its last claim is remembered: another one has it only where that is asked for.
    let last = volume.status.as_ref().and_then(|status| status.claim.clone());
    let kept = last.filter(|_| is_let_go(volume) && world.persistent_of(volume).is_none());
    let words = kept.or_else(|| claim.as_ref().map(text));
    let known = volume.status.as_ref().and_then(|status| status.claim.as_ref());
    if words.as_ref() != known || verdicts.iter().any(|verdict| is_news(there, verdict)) {
        let volume = ObjectRef::of(&volume.metadata);
        let conditions = keep(there, conditions);
        effects.push(Effect::ReportVolume { volume, claim: words, conditions });
    }
    Plan { effects, verdicts, said: Vec::new(), next: Next::Change }
}

/// A report names every condition of its writer: what was said about these stays said.
fn keep(there: &[Condition], mut conditions: Vec<Condition>) -> Vec<Condition> {
    for kind in [ConditionType::Missing, ConditionType::Bound] {
        if find(&conditions, kind).is_none() {
            conditions.extend(find(there, kind).cloned());
        }
    }
    conditions
}

pub(crate) fn is_news(there: &[Condition], verdict: &Verdict) -> bool {
    find(there, verdict.kind).is_none_or(|old| {
        old.status != verdict.truth.as_str()
            || old.reason != verdict.reason.as_str()
            || old.message != verdict.message
    })
}

/// A volume that is not ready, missing or not bound waits for somebody; one that is not ready and missing is
/// told of once, and nobody has the claim of one that was let go.
fn asks_for_help(verdict: &Verdict) -> bool {
    if verdict.kind == ConditionType::Bound {
        let quiet = [
            Reason::AsExpected,
            Reason::WaitingForClaim,
            Reason::Deleting,
            Reason::Released,
            Reason::Retained,
        ];
        return !quiet.contains(&verdict.reason);
    }
    match verdict.truth {
        Truth::True => verdict.kind == ConditionType::Missing,
        Truth::False => verdict.kind == ConditionType::Ready && verdict.reason != Reason::NotFound,
        Truth::Unknown => true,
    }
}
