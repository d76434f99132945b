//! The end of a StorageVolume, as far as it is the operator's: one that no node ever had, and one whose node is gone.
//! Pure. Every other end is the node's.

use jiff::Timestamp;
use terrace_crds::condition::{Reason, Verdict};
use terrace_crds::names::FINALIZER_NODE;
use terrace_crds::node::HostVolume;
use terrace_crds::volume::Assignment;
use terrace_crds::{StorageNode, StorageVolume};

use crate::delete::until_forsaken;
use crate::effect::{Effect, ObjectRef, Tone, finalizers_without};
use crate::gone::{Leaving, Waits, judge_leaving, let_go};
use crate::plan::{Next, Plan};
use crate::volume::{adopt, claim_of, conditions_of, is_news, report};
use crate::world::World;

/// Its deletion was asked for, it is still there, and its PersistentVolume is not: whoever asked died between the stamp and
/// the deletion, and nobody asks again. The node proves the rest itself, as ever.
pub(crate) fn plan_forsaken(world: &World, volume: &StorageVolume, now: Timestamp) -> Option<Plan> {
    let stamp = volume.spec.deletion.as_ref()?;
    if volume.metadata.deletion_timestamp.is_some() || world.persistent_of(volume).is_some() {
        return None;
    }
    Some(match until_forsaken(&stamp.requested_at, now) {
        Some(left) => quiet(Vec::new(), Next::After(left)),
        None => {
            let delete = Effect::DeleteVolume { volume: ObjectRef::of(&volume.metadata) };
            let why = "its deletion was asked for, and who asked is gone".to_owned();
            Plan { said: vec![why], ..quiet(vec![delete], Next::Change) }
        }
    })
}

/// It lies nowhere: it is let go, unless a node lists its bytes after all.
pub(crate) fn plan_unplaced_end(
    world: &World,
    volume: &StorageVolume,
    found: &[(&StorageNode, &HostVolume)],
) -> Plan {
    let finalizers = volume.metadata.finalizers.as_deref().unwrap_or_default();
    let held = finalizers.iter().any(|finalizer| finalizer == FINALIZER_NODE);
    let effects = match found.first() {
        Some((node, host)) => vec![adopt(world, volume, node, host)],
        None if held => {
            let finalizers = finalizers_without(&volume.metadata, FINALIZER_NODE);
            vec![Effect::ReleaseVolume { volume: ObjectRef::of(&volume.metadata), finalizers }]
        }
        None => Vec::new(),
    };
    quiet(effects, Next::Change)
}

/// It lies on a node, which removes or keeps the bytes; of one that does not act it is said, and of one that is gone
/// it is let go.
pub(crate) fn plan_placed_end(
    world: &World,
    volume: &StorageVolume,
    place: &Assignment,
    now: Timestamp,
) -> Plan {
    let (metadata, conditions) = (&volume.metadata, conditions_of(volume));
    let leaving = Leaving { what: "volume", metadata, place, conditions };
    match judge_leaving(world, leaving, now) {
        Waits::Quietly => quiet(Vec::new(), Next::Change),
        Waits::Until(left) => quiet(Vec::new(), Next::After(left)),
        Waits::Look => {
            let said = vec![format!("the API server is asked for node {} first", place.node)];
            Plan { said, ..quiet(Vec::new(), Next::Change) }
        }
        Waits::Said(verdict, next) => {
            let told = told(world, volume, &verdict);
            let mut plan = report(world, volume, vec![verdict], now);
            plan.effects.extend(told);
            Plan { next: next.map_or(Next::Change, Next::After), ..plan }
        }
        Waits::LetGo(finalizers) => quiet(abandon(world, volume, place, finalizers), Next::Change),
    }
}

fn quiet(effects: Vec<Effect>, next: Next) -> Plan {
    Plan { effects, verdicts: Vec::new(), said: Vec::new(), next }
}

/// Its claim is gone as a rule: the PersistentVolume is where somebody looks.
fn told(world: &World, volume: &StorageVolume, verdict: &Verdict) -> Option<Effect> {
    let Verdict { reason, message, .. } = verdict;
    let news = *reason != Reason::Found && is_news(conditions_of(volume), verdict);
    news.then(|| tell_persistent(world, volume, *reason, message))?
}

fn tell_persistent(
    world: &World,
    volume: &StorageVolume,
    reason: Reason,
    note: &str,
) -> Option<Effect> {
    let pv = world.persistent_of(volume)?;
    let (uid, resource_version) = (pv.uid.clone(), pv.resource_version.clone());
    let persistent = ObjectRef { namespace: None, name: pv.name.clone(), uid, resource_version };
    let (tone, note) = (Tone::Warning, note.to_owned());
    Some(Effect::TellPersistent { persistent, tone, reason, note })
}

/// First the deed, then the word about it: where another writer was quicker nothing false was told.
fn abandon(
    world: &World,
    volume: &StorageVolume,
    place: &Assignment,
    finalizers: Vec<String>,
) -> Vec<Effect> {
    let at = ObjectRef::of(&volume.metadata);
    let uuid = volume.spec.volume_uuid.clone().unwrap_or_default();
    let node = place.node.clone();
    let note = let_go(&format!("StorageVolume {}", at.name), &node, &uuid);
    let reason = Reason::NodeGone;
    let claim = claim_of(world, volume);
    let to_claim =
        claim.map(|claim| Effect::Tell { claim, tone: Tone::Warning, reason, note: note.clone() });
    let to_pv = tell_persistent(world, volume, reason, &note);
    let abandon = Effect::AbandonVolume { volume: at, uuid, node, finalizers };
    std::iter::once(abandon).chain(to_claim).chain(to_pv).collect()
}
