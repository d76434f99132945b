//! One pass over one StorageSnapshot: validate, observe, plan, apply, report. How the bytes are shared is planned in
//! terrace-backends; whose turn it is in a group, in [`group`].
//!
//! # Invariants
//! - I1: it ends like a volume, in [`super::deletion`].
//! - What was taken once is never taken again: it would show another moment under the same name.

pub mod desired;
pub mod group;
pub(super) mod report;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use terrace_crds::node::{HostObjectKind, HostVolume, HostVolumeState};
use terrace_crds::{Reason, Size, StorageNodeStatus, StorageSnapshot, names};
use terrace_device_types::{
    HostObject, HostState, Intent, OperationId, Step, TagReading, View, VolumeUuid,
};
use tracing::Instrument;

use super::copy::{self, Copy};
use super::desired::{Fate, is_held};
use super::owner::Owner;
use super::report::Outlook;
use super::verdict::Standing;
use super::volume::{Error, HELD_UP, again, no_pool, observe, validate_there};
use super::{Agent, deletion};
use crate::context::observe_and_plan;
use crate::fault::ApiWrite;
use crate::host::{Host, Probe};
use crate::journal::KnownPool;
use crate::operation::OpKind;
use crate::runner;
use desired::{ValidSnapshot, validate_snapshot};
use group::{Turn, plan_turn};

/// How long the members of a group may take to come together before their owner is told (I10).
const GATHERS: SignedDuration = SignedDuration::from_secs(10);
/// How long until a snapshot that waits for others looks again; a change of theirs wakes it at once.
const WAITS: Duration = Duration::from_secs(5);

/// What a pass over a snapshot needs: the agent, and every snapshot of this node.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// The agent.
    pub agent: Arc<Agent>,
    /// The cache of the watch.
    pub all: Store<StorageSnapshot>,
}

/// One pass.
///
/// # Errors
/// [`Error`]: the caller tries again with backoff.
pub async fn reconcile(
    snapshot: Arc<StorageSnapshot>,
    here: Arc<Snapshots>,
) -> Result<Action, Error> {
    let name = snapshot.metadata.name.clone().unwrap_or_default();
    let span = tracing::info_span!("snapshot", name);
    let parent = snapshot.metadata.annotations.as_ref();
    let parent = parent.and_then(|notes| notes.get(names::ANNOTATION_TRACEPARENT));
    terrace_telemetry::with_parent(&span, parent.map(String::as_str));
    let action = pass(&snapshot, &here).instrument(span).await?;
    here.agent.tries().remove(&tried(&name));
    Ok(action)
}

/// How long to wait after a failed pass.
pub fn error_policy(snapshot: Arc<StorageSnapshot>, error: &Error, here: Arc<Snapshots>) -> Action {
    again(&here.agent, tried(&snapshot.metadata.name.clone().unwrap_or_default()), error)
}

/// A snapshot may have the name of a volume.
fn tried(name: &str) -> String {
    format!("snapshot/{name}")
}

/// Whether its status says that it was taken.
pub(super) fn is_made(snapshot: &StorageSnapshot) -> bool {
    let status = snapshot.status.as_ref();
    status.is_some_and(|status| status.created_at.is_some() || status.reserved.is_some())
}

async fn pass(snapshot: &StorageSnapshot, here: &Snapshots) -> Result<Action, Error> {
    let agent = &*here.agent;
    let valid = match validate_snapshot(snapshot) {
        Ok(valid) => valid,
        Err(invalid) => {
            let name = snapshot.metadata.name.as_deref();
            tracing::error!(%invalid, node = agent.node, name, "a snapshot cannot be read");
            return Ok(Action::await_change());
        }
    };
    match &valid.fate {
        Fate::Deleted(stamp) => {
            deletion::pass(agent, Owner::Snapshot(snapshot, &valid), stamp.as_ref()).await
        }
        Fate::Kept if !is_held(snapshot) => {
            // The write wakes the next pass; nothing is made before it is held.
            agent.api.write_finalizer(snapshot, ApiWrite::AddFinalizer).await?;
            Ok(Action::await_change())
        }
        Fate::Kept => keep(here, snapshot, &valid).await,
    }
}

async fn keep(
    here: &Snapshots,
    snapshot: &StorageSnapshot,
    valid: &ValidSnapshot,
) -> Result<Action, Error> {
    let agent = &*here.agent;
    let Some(pool) = agent.context.pools.get(valid.pool) else {
        let message = no_pool(valid.pool);
        let standing = Standing::NotMade { reason: Reason::NotFound, message };
        report::report(agent, snapshot, valid, &Outlook::without_host(standing), None).await?;
        return Ok(Action::requeue(HELD_UP));
    };
    let view = observe(agent, valid.uuid, &pool).await?;
    if let Err(message) = validate_there(agent, &pool, &view) {
        // An empty directory says nothing of the snapshot: it is neither taken nor called gone.
        let standing = Standing::NotMade { reason: Reason::NotFound, message };
        let outlook = Outlook { standing, view: None, pool: Some(pool) };
        report::report(agent, snapshot, valid, &outlook, None).await?;
        return Ok(Action::requeue(HELD_UP));
    }
    let (standing, size_before) = match apply(here, snapshot, valid, &pool, &view).await? {
        Applied::Waits => return Ok(Action::requeue(WAITS)),
        Applied::Ended(standing) => (standing, None),
        Applied::Gone { size } => (lost(valid), size),
    };
    let action = match &standing {
        Standing::Made => Action::await_change(),
        Standing::NotGrown { .. } | Standing::NotMade { .. } | Standing::Lingers { .. } => {
            Action::requeue(HELD_UP)
        }
    };
    let view = Some(observe(agent, valid.uuid, &pool).await?);
    let outlook = Outlook { standing, view, pool: Some(pool) };
    report::report(agent, snapshot, valid, &outlook, size_before).await?;
    Ok(action)
}

/// What came of a pass.
enum Applied {
    /// Nothing to report yet: others come first.
    Waits,
    /// It was taken once and is not there any more.
    Gone {
        /// What the StorageNode last said of its size, where the status says nothing: written, so that it is not forgotten.
        size: Option<Size>,
    },
    /// This.
    Ended(Standing),
}

async fn apply(
    here: &Snapshots,
    snapshot: &StorageSnapshot,
    valid: &ValidSnapshot,
    pool: &KnownPool,
    view: &View,
) -> Result<Applied, Error> {
    let agent = &*here.agent;
    let image = view.volume.image.as_ref();
    let state = image.and_then(|image| match &image.tag {
        TagReading::Read(tag) => Some(&tag.state),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    });
    let is_whole = state == Some(&HostState::Ready);
    if is_whole && (is_made(snapshot) || valid.group.is_none()) {
        return Ok(Applied::Ended(Standing::Made));
    }
    if state == Some(&HostState::Retained) {
        return Ok(Applied::Ended(adopt(agent, Owner::Snapshot(snapshot, valid), pool).await));
    }
    let is_gone = image.is_none() || state == Some(&HostState::Creating);
    if is_gone && is_made(snapshot) {
        return Ok(Applied::Gone { size: None });
    }
    if is_gone && snapshot.spec.deletion.is_some() {
        let message = "its deletion is asked for: it is not taken any more".to_owned();
        let reason = Reason::NotFound;
        return Ok(Applied::Ended(Standing::NotMade { reason, message }));
    }
    match plan_turn(valid, |name| here.all.get(&ObjectRef::new(name))) {
        // One is in service, so all were taken; whoever is away was deleted since.
        Turn::Complete(_) | Turn::Gather(_) if is_whole => Ok(Applied::Ended(Standing::Made)),
        Turn::Take(members) | Turn::Complete(members) => take(here, valid, &members).await,
        Turn::Gather(absent) => Ok(gathering(snapshot, valid, &absent)),
        Turn::Follow => Ok(Applied::Waits),
        Turn::Fail { reason, message } => Ok(Applied::Ended(Standing::NotMade { reason, message })),
    }
}

/// Takes all members, or what is missing of them to be one moment; refuses where one was taken before and is gone.
async fn take(
    here: &Snapshots,
    own: &ValidSnapshot,
    members: &[ValidSnapshot],
) -> Result<Applied, Error> {
    let agent = &*here.agent;
    if let Some((gone, size)) = observe_gone(here, members).await? {
        let is_own = gone.uuid == own.uuid;
        return Ok(if is_own { Applied::Gone { size } } else { Applied::Ended(torn(&gone)) });
    }
    let mut copies = Vec::new();
    for member in members {
        let Some(pool) = agent.context.pools.get(member.pool) else {
            let message = no_pool(member.pool);
            let reason = Reason::NotFound;
            return Ok(Applied::Ended(Standing::NotMade { reason, message }));
        };
        let ValidSnapshot { name, uuid, pool: _, source, size, mode, group: _, fate: _ } =
            member.clone();
        let object = HostObject::Snapshot;
        copies.push(Copy { pool, object, uuid, name, source, size, mode });
    }
    let standing = copy::standing(copy::run(agent, &copies).await, &copies);
    if standing == Standing::Made {
        agent.removed().retain(|uuid| members.iter().all(|member| member.uuid != *uuid));
    }
    Ok(Applied::Ended(standing))
}

/// The member that was taken before, as its status or the StorageNode says, and is not on the host; and its size there.
async fn observe_gone(
    here: &Snapshots,
    members: &[ValidSnapshot],
) -> Result<Option<(ValidSnapshot, Option<Size>)>, Error> {
    let agent = &*here.agent;
    let node = agent.api.node_status(&agent.node).await?.unwrap_or_default();
    for member in members {
        let reported = here.all.get(&ObjectRef::new(&member.name));
        let reported = reported.is_some_and(|snapshot| is_made(&snapshot));
        // What we let go the StorageNode may still list.
        let was_let_go = agent.removed().contains(&member.uuid);
        let listed = listed_size(&node, member.uuid).filter(|_| !was_let_go);
        if !reported && listed.is_none() {
            continue;
        }
        let Some(pool) = agent.context.pools.get(member.pool) else { continue };
        if observe(agent, member.uuid, &pool).await?.volume.image.is_none() {
            return Ok(Some((member.clone(), listed)));
        }
    }
    Ok(None)
}

/// The size that the StorageNode lists for a snapshot that was whole.
fn listed_size(node: &StorageNodeStatus, uuid: VolumeUuid) -> Option<Size> {
    let uuid = uuid.to_string();
    let is_it = |listed: &&HostVolume| {
        let whole = match listed.state {
            HostVolumeState::Ready | HostVolumeState::Retained => true,
            HostVolumeState::Creating
            | HostVolumeState::Quarantined
            | HostVolumeState::Unreadable => false,
        };
        whole && listed.kind == HostObjectKind::Snapshot && listed.uuid == uuid
    };
    node.volumes.iter().find(is_it).map(|listed| listed.size.clone())
}

fn lost(valid: &ValidSnapshot) -> Standing {
    let source = &valid.source.name;
    let message = format!(
        "the host object is gone: a copy of volume {source} taken now would show another moment; delete this snapshot"
    );
    Standing::NotMade { reason: Reason::NotFound, message }
}

fn torn(gone: &ValidSnapshot) -> Standing {
    let message = format!(
        "snapshot {} of the group was taken and is gone: delete the group's snapshots and take it anew",
        gone.name
    );
    Standing::NotMade { reason: Reason::Inconsistent, message }
}

/// Says whom the group waits for, once that takes too long.
fn gathering(snapshot: &StorageSnapshot, valid: &ValidSnapshot, absent: &[String]) -> Applied {
    let born = snapshot.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let waited = born.map_or(GATHERS, |born| Timestamp::now().duration_since(born));
    if waited < GATHERS {
        return Applied::Waits;
    }
    let group = valid.group.as_ref().map_or("", |group| group.name.as_str());
    let message = format!(
        "group {group} is taken at one moment, and these snapshots of it are not here or on their way out: {}; delete the group and take it anew",
        absent.join(", ")
    );
    Applied::Ended(Standing::NotMade { reason: Reason::WaitingForNode, message })
}

/// Takes a kept snapshot back into service.
async fn adopt(agent: &Agent, owner: Owner<'_>, pool: &KnownPool) -> Standing {
    let Some(cluster) = agent.context.cluster() else { return Standing::Made };
    let (dir, volume) = (pool.dir.clone(), owner.uuid());
    let intent = Intent::Adopt { volume, cluster };
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        observe_and_plan(host, &dir, volume, Probe::Skip, &intent)
    };
    let outcome = agent.context.runner.run(owner.job(OpKind::Adopt), plan).await;
    agent.dirty.notify_one();
    copy::standing(outcome, &[])
}
