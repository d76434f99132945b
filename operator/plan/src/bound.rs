//! Whether a claim has a volume that lies somewhere, and, for a Direct volume, what is made so that it does. Pure.
//! The PersistentVolume is the authority: what it says is followed. What was let go is handed out again only
//! where `spec.adopt` says so, and nothing here lets a byte go.

use std::time::Duration;

use jiff::Timestamp;
use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict, find, is_true};
use terrace_crds::volume::{Assignment, ClaimRef, Origin};

use crate::direct_claim::{Fit, claim as claim_object, judge_claim, named, persistent};
use crate::direct_error::{DirectError, text};
use crate::effect::{Effect, ObjectRef};
use crate::plan::Next;
use crate::size::words;
use crate::space::{bytes, bytes_of, granted, observe_spaces, wanted};
use crate::volume::conditions_of;
use crate::world::{Looked, Persistent, PersistentPhase, Reclaim, World, name_of};

/// A claim that stands in the way is looked at again after this time: nothing tells when it goes.
const AGAIN: Duration = Duration::from_secs(30);
/// The provisioner makes a PersistentVolume at the latest this long after its volume was ready; its own retries
/// are never further apart.
const MADE_WITHIN: Duration = Duration::from_secs(900);

/// What is done about the claim, and what holds.
pub(crate) struct Claimed {
    /// In this order.
    pub(crate) effects: Vec<Effect>,
    /// Of the condition Bound; `None` leaves what was said.
    pub(crate) verdict: Option<Verdict>,
    /// Why, for people.
    pub(crate) said: Option<String>,
    /// When to look again.
    pub(crate) next: Next,
    /// Whether the claim must be read first.
    pub(crate) sight: Sight,
}

/// Whether what was read will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It will.
    Clear,
    /// The claim, and who has the PersistentVolume's name, must be read past every cache.
    Needed,
}

impl Claimed {
    fn nothing() -> Self {
        let (effects, next) = (Vec::new(), Next::Change);
        Self { effects, verdict: None, said: None, next, sight: Sight::Clear }
    }

    fn say(truth: Truth, reason: Reason, message: String) -> Self {
        let verdict = Verdict::new(ConditionType::Bound, truth, reason, message);
        Self { verdict: Some(verdict), ..Self::nothing() }
    }

    fn unseen(claim: &ClaimRef) -> Self {
        let said = Some(DirectError::NotLooked { claim: claim.clone() }.to_string());
        Self { said, sight: Sight::Needed, ..Self::nothing() }
    }

    fn refuse(error: &DirectError) -> Self {
        let said = Self::say(Truth::False, error.reason(), error.to_string());
        Self { next: Next::After(AGAIN), ..said }
    }
}

/// Whether the volume's claim was deleted and its bytes kept: it asks for no claim any more.
#[must_use]
pub fn is_let_go(volume: &StorageVolume) -> bool {
    let bound = find(conditions_of(volume), ConditionType::Bound);
    let kept = [Reason::Released.as_str(), Reason::Retained.as_str()];
    bound.is_some_and(|bound| {
        bound.status == Truth::False.as_str() && kept.contains(&bound.reason.as_str())
    })
}

/// What to do about the claim of a volume that has its place.
pub(crate) fn plan_bound(
    world: &World,
    volume: &StorageVolume,
    place: &Assignment,
    now: Timestamp,
) -> Claimed {
    if volume.metadata.deletion_timestamp.is_some() {
        return Claimed::nothing();
    }
    match (volume.spec.origin, &volume.spec.claim_ref) {
        (Origin::Direct, Some(claim)) => plan_direct(world, volume, place, claim),
        (Origin::Csi, _) | (Origin::Direct, None) => plan_csi(world, volume, now),
    }
}

/// Its PersistentVolume is the provisioner's: only what nobody will tidy up is said.
fn plan_csi(world: &World, volume: &StorageVolume, now: Timestamp) -> Claimed {
    let said = find(conditions_of(volume), ConditionType::Bound);
    let Some(pv) = world.persistent_of(volume) else {
        return match (said, since_ready(volume, now)) {
            (Some(_), _) => retained(volume),
            (None, None) => Claimed::nothing(),
            (None, Some(waited)) => match MADE_WITHIN.checked_sub(waited) {
                Some(left) if !left.is_zero() => {
                    Claimed { next: Next::After(left), ..Claimed::nothing() }
                }
                Some(_) | None => retained(volume),
            },
        };
    };
    match (pv.phase, pv.reclaim) {
        (PersistentPhase::Released, Reclaim::Retain) => released(volume, pv),
        (PersistentPhase::Bound, _) if said.is_some() => has_it(pv),
        _ => Claimed::nothing(),
    }
}

fn since_ready(volume: &StorageVolume, now: Timestamp) -> Option<Duration> {
    let ready = find(conditions_of(volume), ConditionType::Ready)?;
    let is_ready = ready.status == Truth::True.as_str();
    is_ready.then(|| now.duration_since(ready.last_transition_time.0).unsigned_abs())
}

fn plan_direct(
    world: &World,
    volume: &StorageVolume,
    place: &Assignment,
    claim: &ClaimRef,
) -> Claimed {
    let full = match plan_room(world, volume, place) {
        Ok(Some(effect)) => return Claimed { effects: vec![effect], ..Claimed::nothing() },
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let name = name_of(&volume.metadata);
    let looked = world.looked.get(name);
    let pv = world.persistent_at(name);
    let done = match pv {
        None => plan_make(world, volume, place, claim, looked),
        Some(pv) => match pv.phase {
            PersistentPhase::Bound if pv.claim.as_ref() == Some(claim) => {
                plan_claim_growth(volume, pv, claim, looked)
            }
            PersistentPhase::Bound => Claimed::say(Truth::True, Reason::Conflict, other(pv, claim)),
            PersistentPhase::Available | PersistentPhase::Pending => {
                plan_binding(volume, pv, claim, looked)
            }
            PersistentPhase::Released => plan_released(volume, pv, claim, looked),
            PersistentPhase::Failed => {
                let message = format!("PersistentVolume {name} is Failed: see kubectl describe pv");
                Claimed::say(Truth::False, Reason::Failed, message)
            }
        },
    };
    match (full, &done.verdict) {
        (Some(error), Some(verdict)) if verdict.truth == Truth::True => {
            let message =
                format!("{}; it stays at {}: {error}", verdict.message, words(granted(volume)));
            let verdict = Some(Verdict { reason: error.reason(), message, ..verdict.clone() });
            Claimed { verdict, ..done }
        }
        _ => done,
    }
}

/// The promise for what a person asks beyond what was granted, before the node grows it.
fn plan_room(
    world: &World,
    volume: &StorageVolume,
    place: &Assignment,
) -> Result<Option<Effect>, DirectError> {
    let to = wanted(volume);
    if to <= granted(volume) {
        return Ok(None);
    }
    let spaces = observe_spaces(world);
    let uuid = |pool: Option<&String>| pool == Some(&place.pool_uuid);
    let space = spaces.iter().find(|space| uuid(space.pool.uuid.as_ref()));
    let more = to.saturating_sub(bytes_of(volume));
    let (at, pool, free) = match space {
        Some(space) => {
            (format!("{}/{}", space.node, space.pool.name), space.pool.name.clone(), space.free())
        }
        // What its node does not list has no room that we know of.
        None => (place.node.clone(), String::new(), 0),
    };
    if more > free {
        return Err(DirectError::NoSpace { place: at, more, free });
    }
    let capacity = Some(terrace_crds::Size::from_bytes(to));
    let assignment = Assignment { capacity, ..place.clone() };
    let volume = ObjectRef::of(&volume.metadata);
    Ok(Some(Effect::AssignVolume { volume, assignment, pool, bytes: to }))
}

/// No PersistentVolume is there: it was not made yet, or somebody deleted it.
fn plan_make(
    world: &World,
    volume: &StorageVolume,
    place: &Assignment,
    claim: &ClaimRef,
    looked: Option<&Looked>,
) -> Claimed {
    let conditions = conditions_of(volume);
    let had = is_true(conditions, ConditionType::Bound) || is_let_go(volume);
    let last = volume.status.as_ref().and_then(|status| status.claim.clone());
    if had && !(adopts(volume) && last.is_some_and(|last| last != text(claim))) {
        return retained(volume);
    }
    let made = volume.status.as_ref().is_some_and(|status| status.capacity.is_some());
    if !made || !is_true(conditions, ConditionType::Ready) {
        return Claimed::nothing();
    }
    let Some(looked) = looked else { return Claimed::unseen(claim) };
    if let Some(what) = looked.stranger.clone() {
        let name = name_of(&volume.metadata).to_owned();
        return Claimed::refuse(&DirectError::Stranger { name, what });
    }
    let fit = match judge_claim(volume, claim, looked) {
        Ok(fit) => fit,
        Err(error) => return Claimed::refuse(&error),
    };
    let pool = volume.status.as_ref().and_then(|status| status.pool.clone());
    let pool = pool.or_else(|| volume.spec.pool.clone());
    debug_assert!(world.persistent_of(volume).is_none());
    let persistent = Box::new(persistent(volume, place, pool, claim, fit));
    let mut effects = vec![Effect::MakePersistent { persistent }];
    effects.extend(plan_claim(volume, claim, fit));
    Claimed { effects, ..Claimed::nothing() }
}

fn plan_claim(volume: &StorageVolume, claim: &ClaimRef, fit: Fit<'_>) -> Option<Effect> {
    match fit {
        Fit::Make => Some(Effect::MakeClaim { claim: Box::new(claim_object(volume, claim)) }),
        Fit::There(_) => None,
    }
}

/// The PersistentVolume waits for its claim.
fn plan_binding(
    volume: &StorageVolume,
    pv: &Persistent,
    claim: &ClaimRef,
    looked: Option<&Looked>,
) -> Claimed {
    let Some(looked) = looked else { return Claimed::unseen(claim) };
    let fit = match judge_claim(volume, claim, looked) {
        Ok(fit) => fit,
        Err(error) => return Claimed::refuse(&error),
    };
    let mut effects = Vec::new();
    if pv.claim.as_ref() != Some(claim) {
        effects.push(Effect::PointPersistent { persistent: at(pv), claim: claim.clone() });
    }
    effects.extend(plan_claim(volume, claim, fit));
    if !effects.is_empty() {
        return Claimed { effects, ..Claimed::nothing() };
    }
    let message =
        format!("PersistentVolume {} and {} wait to be bound", pv.name, named(Some(claim)));
    let waits = Claimed::say(Truth::False, Reason::WaitingForClaim, message);
    Claimed { next: Next::After(AGAIN), ..waits }
}

/// Its claim was deleted. Another one has it only where that is asked for anew.
fn plan_released(
    volume: &StorageVolume,
    pv: &Persistent,
    claim: &ClaimRef,
    looked: Option<&Looked>,
) -> Claimed {
    if pv.reclaim == Reclaim::Delete {
        let message = format!(
            "{} was deleted and PersistentVolume {} says Delete: the bytes go",
            named(pv.claim.as_ref()),
            pv.name
        );
        return Claimed::say(Truth::False, Reason::Deleting, message);
    }
    let first = find(conditions_of(volume), ConditionType::Bound).is_none();
    if adopts(volume) && (first || pv.claim.as_ref() != Some(claim)) {
        return plan_binding(volume, &Persistent { claim: None, ..pv.clone() }, claim, looked);
    }
    released(volume, pv)
}

/// The claim has it; it follows where the volume has grown.
fn plan_claim_growth(
    volume: &StorageVolume,
    pv: &Persistent,
    claim: &ClaimRef,
    looked: Option<&Looked>,
) -> Claimed {
    let done = has_it(pv);
    if pv.capacity.as_ref().is_none_or(|size| bytes(size) >= granted(volume)) {
        return done;
    }
    let Some(looked) = looked else {
        return Claimed { verdict: done.verdict, ..Claimed::unseen(claim) };
    };
    let Ok(Fit::There(there)) = judge_claim(volume, claim, looked) else { return done };
    let asks = there.request.as_ref().map_or(0, bytes);
    if asks >= bytes(&volume.spec.capacity) {
        return done;
    }
    let claim = ObjectRef {
        namespace: Some(claim.namespace.clone()),
        name: claim.name.clone(),
        uid: there.uid.clone(),
        resource_version: there.resource_version.clone(),
    };
    let grow = Effect::GrowClaim { claim, to: volume.spec.capacity.clone() };
    Claimed { effects: vec![grow], ..done }
}

fn adopts(volume: &StorageVolume) -> bool {
    volume.spec.adopt.is_some() && volume.spec.adopt == volume.spec.volume_uuid
}

fn at(pv: &Persistent) -> ObjectRef {
    let (uid, resource_version) = (pv.uid.clone(), pv.resource_version.clone());
    ObjectRef { namespace: None, name: pv.name.clone(), uid, resource_version }
}

fn has_it(pv: &Persistent) -> Claimed {
    let message = format!("{} has it", named(pv.claim.as_ref()));
    Claimed::say(Truth::True, Reason::AsExpected, message)
}

fn other(pv: &Persistent, claim: &ClaimRef) -> String {
    format!(
        "{} has it: delete that claim before {} can have it",
        named(pv.claim.as_ref()),
        named(Some(claim))
    )
}

/// How its bytes are used again, in words.
fn again(volume: &StorageVolume) -> String {
    let uuid = volume.spec.volume_uuid.as_deref().unwrap_or_default();
    match volume.spec.origin {
        Origin::Direct => format!("name another claim in spec.claimRef and set spec.adopt: {uuid}"),
        Origin::Csi => format!(
            "delete what is left of PersistentVolume and StorageVolume, and apply a StorageVolume {} of origin Direct with adopt: {uuid}",
            name_of(&volume.metadata)
        ),
    }
}

fn released(volume: &StorageVolume, pv: &Persistent) -> Claimed {
    let message = format!(
        "{} was deleted; PersistentVolume {} says Retain and keeps the bytes. To use them again, {}. To let them go, set its persistentVolumeReclaimPolicy to Delete",
        named(pv.claim.as_ref()),
        pv.name,
        again(volume)
    );
    Claimed::say(Truth::False, Reason::Released, message)
}

fn retained(volume: &StorageVolume) -> Claimed {
    let message = format!(
        "no PersistentVolume is left and the bytes are kept. To use them again, {}. Deleted now, this object leaves them marked Retained on its node",
        again(volume)
    );
    Claimed::say(Truth::False, Reason::Retained, message)
}
