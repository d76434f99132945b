//! One pass over one StorageVolume: validate, observe, plan, apply, report. What the host should do is
//! planned in terrace-backends; what the status should say, in [`super::verdict`].

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use terrace_crds::{ConditionType, Reason, StorageVolume, condition, names};
use terrace_device_types::{
    Allocation, Class, HostObject, HostState, Intent, OperationId, PoolRefusal, PoolUuid,
    PvReading, Refusal, Step, TagReading, View, VolumeUuid,
};
use terrace_devices::DeviceError;
use tracing::Instrument;

use super::copy::{self, Copy};
use super::desired::{Fate, Invalid, ValidVolume, is_held, validate_volume};
use super::owner::Owner;
use super::report::{self, Outlook};
use super::verdict::Standing;
use super::{Agent, api, deletion};
use crate::context::{LookError, observe_and_plan};
use crate::fault::ApiWrite;
use crate::host::{Host, Probe};
use crate::journal::KnownPool;
use crate::operation::OpKind;
use crate::pools::Home;
use crate::presence;
use crate::runner::{self, Outcome};

/// Why a pass did not come to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Api(#[from] api::Error),
    /// The host does not answer.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The host cannot be looked at.
    #[error("look at the host")]
    Observe(#[source] DeviceError),
}

/// How long until a pass that something else holds up looks again by itself.
pub(super) const HELD_UP: Duration = Duration::from_secs(15);

/// One pass.
///
/// # Errors
/// [`Error`]: the caller tries again with backoff.
pub async fn reconcile(volume: Arc<StorageVolume>, agent: Arc<Agent>) -> Result<Action, Error> {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let span = tracing::info_span!("volume", name);
    let parent = volume.metadata.annotations.as_ref();
    let parent = parent.and_then(|notes| notes.get(names::ANNOTATION_TRACEPARENT));
    terrace_telemetry::with_parent(&span, parent.map(String::as_str));
    let action = pass(&volume, &agent).instrument(span).await?;
    agent.tries().remove(&name);
    Ok(action)
}

async fn pass(volume: &StorageVolume, agent: &Agent) -> Result<Action, Error> {
    let valid = match validate_volume(volume) {
        Ok(valid) => valid,
        Err(invalid) => return report_invalid(agent, volume, &invalid),
    };
    let home = Home { pool: valid.pool, volume: valid.uuid };
    agent.context.pools.set_home(&valid.name, home);
    match &valid.fate {
        Fate::Deleted(stamp) => {
            deletion::pass(agent, Owner::Volume(volume, &valid), stamp.as_ref()).await
        }
        Fate::Kept if !is_held(volume) => {
            // The write wakes the next pass; nothing is made before it is held.
            agent.api.write_finalizer(volume, ApiWrite::AddFinalizer).await?;
            Ok(Action::await_change())
        }
        Fate::Kept => keep(agent, volume, &valid).await,
    }
}

/// What cannot be read cannot be acted on; the API server's rules let only a hand-made object get here.
fn report_invalid(
    agent: &Agent,
    volume: &StorageVolume,
    invalid: &Invalid,
) -> Result<Action, Error> {
    tracing::error!(%invalid, node = agent.node, name = volume.metadata.name, "a volume cannot be read");
    Ok(Action::await_change())
}

async fn keep(agent: &Agent, volume: &StorageVolume, valid: &ValidVolume) -> Result<Action, Error> {
    let Some(pool) = agent.context.pools.get(valid.pool) else {
        let standing = Standing::NotMade { reason: Reason::NotFound, message: no_pool(valid.pool) };
        report::report(agent, volume, valid, &Outlook::without_host(standing)).await?;
        return Ok(Action::requeue(HELD_UP));
    };
    let view = observe(agent, valid.uuid, &pool).await?;
    if let Err(absence) = validate_there(agent, &pool, &view) {
        // An empty directory says nothing of the volume: it is neither made nor called gone.
        let standing = Standing::NotMade { reason: Reason::NotFound, message: absence };
        let outlook = Outlook { standing, view: None, pool: Some(pool) };
        report::report(agent, volume, valid, &outlook).await?;
        return Ok(Action::requeue(HELD_UP));
    }
    let standing = apply(agent, volume, valid, &pool, &view).await?;
    let view = observe(agent, valid.uuid, &pool).await?;
    let action = match &standing {
        Standing::Made => Action::await_change(),
        Standing::NotGrown { .. } | Standing::NotMade { .. } | Standing::Lingers { .. } => {
            Action::requeue(HELD_UP)
        }
    };
    report::report(agent, volume, valid, &Outlook { standing, view: Some(view), pool: Some(pool) })
        .await?;
    Ok(action)
}

/// The pool is where it was, or words that say what is there instead.
pub(super) fn validate_there(agent: &Agent, pool: &KnownPool, view: &View) -> Result<(), String> {
    let Some(cluster) = agent.context.cluster() else {
        return Err("the node does not know its cluster yet".to_owned());
    };
    presence::validate_there(pool, &view.pool, &cluster).map_err(|absence| report::chain(&absence))
}

/// That its pool is not known here.
pub(super) fn no_pool(pool: PoolUuid) -> String {
    format!("pool {pool} is not in service on this node: see its StoragePool and StorageNode")
}

/// What the host shows of a volume or snapshot.
///
/// # Errors
/// [`Error`].
pub(super) async fn observe(
    agent: &Agent,
    uuid: VolumeUuid,
    pool: &KnownPool,
) -> Result<View, Error> {
    let dir = pool.dir.clone();
    let look = move |host: &dyn Host| {
        let first = host.volume(&dir, uuid, None, Probe::Skip);
        // No lock is held: a mount may go between two system calls of one look.
        first.or_else(|_| host.volume(&dir, uuid, None, Probe::Skip))
    };
    agent.context.look(look).await?.map_err(Error::Observe)
}

/// What to do, in the order in which it is asked: make, adopt, grow, nothing.
async fn apply(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    pool: &KnownPool,
    view: &View,
) -> Result<Standing, Error> {
    let Some(image) = &view.volume.image else {
        if let Some(message) = forbids_making(agent, volume, valid).await? {
            return Ok(Standing::NotMade { reason: Reason::NotFound, message });
        }
        return Ok(make(agent, volume, valid, pool).await);
    };
    let cluster = agent.context.cluster();
    let state = match &image.tag {
        TagReading::Read(tag)
            if tag.volume == valid.uuid && cluster.as_ref() == Some(&tag.cluster) =>
        {
            Some(&tag.state)
        }
        TagReading::Read(_) | TagReading::Absent | TagReading::Unreadable(_) => None,
    };
    match state {
        Some(HostState::Ready) if image.apparent < valid.size => {
            Ok(grown(run(agent, volume, valid, pool, OpKind::Grow).await))
        }
        Some(HostState::Ready) => Ok(Standing::Made),
        Some(HostState::Retained) => Ok(made(run(agent, volume, valid, pool, OpKind::Adopt).await)),
        // A tag that is unreadable, or another's under this name (I4), is for the plan to refuse, in its words.
        Some(HostState::Creating | HostState::Quarantined { .. }) | None => {
            Ok(make(agent, volume, valid, pool).await)
        }
    }
}

/// A volume that was there once is never made a second time (I2): an empty one in its place would look
/// like the data is gone for good.
async fn forbids_making(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
) -> Result<Option<String>, Error> {
    let status = volume.status.as_ref();
    let was_made =
        status.is_some_and(|status| status.capacity.is_some() || status.formatted.is_some());
    let gone = "the host object is gone: it is not made again; restore it, or delete the claim";
    if was_made {
        return Ok(Some(gone.to_owned()));
    }
    if volume.spec.deletion.is_some() {
        return Ok(Some("its deletion is asked for: nothing is made for it any more".to_owned()));
    }
    if volume.spec.adopt.is_some() {
        return Ok(Some(format!("spec.adopt asks for what is there, but {gone}")));
    }
    // That of a Direct volume is made only after its bytes.
    match agent.api.persistent_volume(&valid.pv_name).await?.0 {
        PvReading::NotFound => Ok(None),
        PvReading::Found { .. } => Ok(Some(format!("its PersistentVolume exists, but {gone}"))),
    }
}

/// Makes it, empty or with the bytes of its source.
async fn make(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    pool: &KnownPool,
) -> Standing {
    let Some(source) = valid.source.clone() else {
        return made(run(agent, volume, valid, pool, OpKind::Create).await);
    };
    let copies = [Copy {
        pool: pool.clone(),
        object: HostObject::Volume,
        uuid: valid.uuid,
        name: valid.name.clone(),
        source,
        size: valid.size,
        mode: valid.mode,
    }];
    let running = copy::run(agent, &copies);
    copy::standing(report::while_running(agent, volume, running).await, &copies)
}

async fn run(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    pool: &KnownPool,
    kind: OpKind,
) -> Result<Outcome, runner::Error> {
    let Some(intent) = intent(agent, valid, kind) else { return Ok(Outcome::Already) };
    let (dir, uuid) = (pool.dir.clone(), valid.uuid);
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        observe_and_plan(host, &dir, uuid, Probe::Look, &intent)
    };
    let job = Owner::Volume(volume, valid).job(kind);
    let running = agent.context.runner.run(job, plan);
    let outcome = report::while_running(agent, volume, running).await;
    agent.dirty.notify_one();
    outcome
}

fn intent(agent: &Agent, valid: &ValidVolume, kind: OpKind) -> Option<Intent> {
    let (volume, cluster) = (valid.uuid, agent.context.cluster()?);
    let allocation = agent.facts().get(&valid.pool).map(|facts| facts.allocation);
    match kind {
        OpKind::Create => Some(Intent::Create {
            volume,
            cluster,
            name: valid.name.clone(),
            size: valid.size,
            mode: valid.mode,
            allocation: allocation.unwrap_or(Allocation::Reserved),
        }),
        OpKind::Grow => Some(Intent::Grow { volume, cluster, to: valid.size }),
        OpKind::Adopt => Some(Intent::Adopt { volume, cluster }),
        OpKind::PreparePool
        | OpKind::Copy
        | OpKind::Retain
        | OpKind::Delete
        | OpKind::Sweep
        | OpKind::Stage
        | OpKind::Unstage
        | OpKind::Publish
        | OpKind::Unpublish
        | OpKind::Expand => None,
    }
}

fn made(result: Result<Outcome, runner::Error>) -> Standing {
    match result {
        Ok(Outcome::Changed | Outcome::Already) => Standing::Made,
        Err(error) => Standing::NotMade { reason: reason_of(&error), message: error.chain() },
    }
}

fn grown(result: Result<Outcome, runner::Error>) -> Standing {
    match result {
        Ok(Outcome::Changed | Outcome::Already) => Standing::Made,
        Err(error) => Standing::NotGrown { reason: reason_of(&error), message: error.chain() },
    }
}

/// The reason, from the closed list, for a failed operation.
#[must_use]
pub fn reason_of(error: &runner::Error) -> Reason {
    if error.class() == Class::Exhausted {
        return Reason::PoolFull;
    }
    match error {
        runner::Error::Refused(refusal) => reason_of_refusal(refusal),
        runner::Error::Step { source, .. } | runner::Error::Observe(source) => match source {
            DeviceError::CapabilityMissing { .. } | DeviceError::ToolMissing { .. } => {
                Reason::FacilityMissing
            }
            DeviceError::Busy { .. } => Reason::InUse,
            DeviceError::Tag { .. } | DeviceError::DuplicatePv { .. } => Reason::Inconsistent,
            DeviceError::Io { .. }
            | DeviceError::NoSpace { .. }
            | DeviceError::Changed { .. }
            | DeviceError::Parse { .. }
            | DeviceError::NotAttached { .. }
            | DeviceError::Mount { .. }
            | DeviceError::NotGrown { .. }
            | DeviceError::Tool { .. }
            | DeviceError::Deadline { .. }
            | DeviceError::Silent { .. }
            | DeviceError::NotStill { .. }
            | DeviceError::Torn { .. }
            | DeviceError::Bug { .. } => Reason::Failed,
        },
        runner::Error::Busy(_)
        | runner::Error::Hangs { .. }
        | runner::Error::Journal(_)
        | runner::Error::Audit(_)
        | runner::Error::Fault(_)
        | runner::Error::Panicked(_) => Reason::Failed,
    }
}

fn reason_of_refusal(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Request(_) => Reason::Invalid,
        Refusal::Pool(PoolRefusal::Foreign { .. }) => Reason::Foreign,
        Refusal::Pool(PoolRefusal::Full { .. }) => Reason::PoolFull,
        Refusal::Pool(PoolRefusal::DeviceHoldsData { .. }) => Reason::DeviceNotBlank,
        Refusal::Pool(_) => Reason::Failed,
        Refusal::Tag(_) | Refusal::Format(_) => Reason::Inconsistent,
        Refusal::Use(_) => Reason::InUse,
        Refusal::Proof(_) => Reason::NoProof,
    }
}

/// How long to wait after a failed pass.
pub fn error_policy(volume: Arc<StorageVolume>, error: &Error, agent: Arc<Agent>) -> Action {
    again(&agent, volume.metadata.name.clone().unwrap_or_default(), error)
}

/// How long to wait after a failed pass: 1 s, twice as long each time, at most a minute.
pub(super) fn again(agent: &Agent, name: String, error: &Error) -> Action {
    let mut tries = agent.tries();
    let tried = tries.entry(name.clone()).or_default();
    *tried = tried.saturating_add(1);
    let seconds = 1_u64.checked_shl(*tried - 1).unwrap_or(60).min(60);
    let stale = matches!(error, Error::Api(error) if error.is_stale());
    if !stale {
        let chain = report::chain(error);
        tracing::warn!(name, error = chain, again_s = seconds, "a pass failed");
    }
    Action::requeue(Duration::from_secs(seconds))
}

/// Whether the status says that the volume was ready before.
pub(super) fn was_ready(volume: &StorageVolume) -> bool {
    let conditions = volume.status.as_ref().map(|status| status.conditions.as_slice());
    condition::is_true(conditions.unwrap_or_default(), ConditionType::Ready)
}
