//! The end of a volume or snapshot (I1). The only place where a [`DeletionProof`] is made: from the stamp in the
//! object, of a volume our own quorum read of the PersistentVolume, and the tag on the host object. Without proof the
//! bytes stay, marked `retained`; while somebody has them open, they stay and the object waits. What has no object any
//! more ends in [`orphan`].

pub mod orphan;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use terrace_crds::Reason;
use terrace_device_types::{
    DeletionProof, DeletionStamp, Intent, OperationId, ProofRefusal, Refusal, Step, TagReading,
    View,
};

use super::Agent;
use super::owner::Owner;
use super::report::Outlook;
use super::verdict::{Patience, Standing};
use super::volume::{Error, observe, reason_of, validate_there};
use crate::audit::Asked;
use crate::context::observe_and_plan;
use crate::host::{Host, Probe};
use crate::journal::KnownPool;
use crate::operation::OpKind;
use crate::runner::{self, Job, Outcome};

/// How long a deletion may wait before its owner is told how to end the wait.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);
/// How long until a deletion that waits looks again; an unstage wakes it at once.
const WAITS: Duration = Duration::from_secs(5);

/// One pass over a volume or snapshot that is being deleted.
///
/// # Errors
/// [`Error`]: the caller tries again with backoff.
pub(super) async fn pass(
    agent: &Agent,
    owner: Owner<'_>,
    stamp: Option<&DeletionStamp>,
) -> Result<Action, Error> {
    if !owner.is_held() {
        return Ok(Action::await_change());
    }
    let Some(pool) = agent.context.pools.get(owner.pool()) else {
        // Not seeing the pool is no proof that nothing is in it.
        let message =
            format!("pool {} is not in service on this node: deletion waits for it", owner.pool());
        return linger(agent, owner, None, Reason::NotFound, message).await;
    };
    let view = observe(agent, owner.uuid(), &pool).await?;
    if let Err(absence) = validate_there(agent, &pool, &view) {
        // Not seeing the image where its disk is not mounted is no proof that it is gone either.
        let message = format!("{absence} deletion waits for it");
        return linger(agent, owner, None, Reason::NotFound, message).await;
    }
    let removed = match stamp {
        None => retain(agent, owner, &pool).await.map(|_| None),
        Some(stamp) => destroy(agent, owner, &pool, stamp, &view).await?,
    };
    match removed {
        Ok(None) => {}
        Ok(Some(refusal)) => {
            let reason = reason_of(&runner::Error::Refused(refusal.clone()));
            return linger(agent, owner, Some((pool, view)), reason, refusal.to_string()).await;
        }
        Err(error) => {
            let (reason, message) = (reason_of(&error), error.chain());
            return linger(agent, owner, Some((pool, view)), reason, message).await;
        }
    }
    if stamp.is_none() && view.volume.image.is_some() {
        let (node, uuid) = (&agent.node, owner.uuid());
        let text = format!("kept on node {node} as {uuid}: deleted without a CSI call");
        owner.tell_retained(agent, text).await;
    }
    owner.let_go(agent).await?;
    Ok(Action::await_change())
}

/// Keeps the host object without its object in the API.
async fn retain(
    agent: &Agent,
    owner: Owner<'_>,
    pool: &KnownPool,
) -> Result<Outcome, runner::Error> {
    let Some(cluster) = agent.context.cluster() else { return Ok(Outcome::Already) };
    let intent = Intent::Retain { volume: owner.uuid(), cluster };
    run(agent, owner, pool, owner.job(OpKind::Retain), intent).await
}

async fn run(
    agent: &Agent,
    owner: Owner<'_>,
    pool: &KnownPool,
    job: Job,
    intent: Intent,
) -> Result<Outcome, runner::Error> {
    let (dir, uuid) = (pool.dir.clone(), owner.uuid());
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        observe_and_plan(host, &dir, uuid, Probe::Look, &intent)
    };
    let outcome = owner.while_running(agent, agent.context.runner.run(job, plan)).await;
    agent.dirty.notify_one();
    outcome
}

/// Gathers the proof and, with it, destroys. The inner error is the operation's; the refusal is a piece of
/// proof that is missing.
async fn destroy(
    agent: &Agent,
    owner: Owner<'_>,
    pool: &KnownPool,
    stamp: &DeletionStamp,
    view: &View,
) -> Result<Result<Option<Refusal>, runner::Error>, Error> {
    let Some(image) = &view.volume.image else { return Ok(Ok(None)) };
    let volume = owner.uuid();
    let no_stamp = || Ok(Ok(Some(Refusal::Proof(ProofRefusal::NoStamp { volume }))));
    let tag = match &image.tag {
        TagReading::Read(tag) => tag,
        // Not known for ours: it is left where it is, and so is the object.
        TagReading::Absent | TagReading::Unreadable(_) => return no_stamp(),
    };
    let Some(cluster) = agent.context.cluster() else { return no_stamp() };
    let claimed = owner.observe_claimed(agent).await?;
    let proof = match DeletionProof::check(Some(stamp), volume, &cluster, &claimed, tag) {
        Ok(proof) => proof,
        Err(refusal) => return Ok(Ok(Some(Refusal::Proof(refusal)))),
    };
    let intent = Intent::Delete { volume, proof, erase: owner.erase() };
    let asked = Asked::Deletion { id: stamp.id.clone(), read: claimed };
    let job = owner.job(OpKind::Delete).asked_by(asked);
    Ok(run(agent, owner, pool, job, intent).await.map(|_| None))
}

/// The reason, and from the deadline on the way out (I10). The text changes once, so it is written once.
fn waiting_text(owner: Owner<'_>, message: String, now: Timestamp) -> (Patience, String) {
    let asked = owner.deleted_at();
    let waited = asked.map_or(SignedDuration::ZERO, |asked| now.duration_since(asked));
    if waited < OVERDUE {
        return (Patience::InTime, message);
    }
    let text = format!(
        "{message}; it was to be deleted more than {} s ago: {}",
        OVERDUE.as_secs(),
        owner.way_out()
    );
    (Patience::Overdue, text)
}

/// Says why it cannot go yet, and comes back. The claim's owner hears of it only when it takes too long:
/// a Pod that is still ending is no news.
async fn linger(
    agent: &Agent,
    owner: Owner<'_>,
    seen: Option<(KnownPool, View)>,
    reason: Reason,
    message: String,
) -> Result<Action, Error> {
    let (patience, message) = waiting_text(owner, message, Timestamp::now());
    tracing::debug!(name = owner.name(), %reason, message, "deletion waits");
    let (pool, view) = seen.unzip();
    let outlook = Outlook { standing: Standing::Lingers { reason, message, patience }, view, pool };
    owner.report(agent, &outlook).await?;
    Ok(Action::requeue(WAITS))
}
