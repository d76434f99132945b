//! The end of a volume (I1). The only place where a [`DeletionProof`] is made: from the stamp in the
//! object, our own quorum read of the PersistentVolume, and the tag on the host object. Without proof the
//! bytes stay, marked `retained`; while somebody has them open, they stay and the object waits.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use terrace_crds::{Reason, StorageVolume};
use terrace_device_types::{
    Claimed, DeletionProof, DeletionStamp, Intent, OperationId, ProofRefusal, Refusal, Step,
    TagReading, View,
};

use super::Agent;
use super::desired::{ValidVolume, is_held};
use super::events::Notice;
use super::report::{self, Outlook};
use super::verdict::{Patience, Standing};
use super::volume::{Error, job, observe, reason_of, retain, validate_there};
use crate::context::observe_and_plan;
use crate::fault::ApiWrite;
use crate::host::{Host, Probe};
use crate::journal::KnownPool;
use crate::operation::OpKind;
use crate::runner;

/// How long a deletion may wait before its owner is told how to end the wait.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);
/// How long until a deletion that waits looks again; an unstage wakes it at once.
const WAITS: Duration = Duration::from_secs(5);

/// One pass over a volume that is being deleted.
///
/// # Errors
/// [`Error`]: the caller tries again with backoff.
pub async fn pass(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    stamp: Option<&DeletionStamp>,
) -> Result<Action, Error> {
    if !is_held(volume) {
        return Ok(Action::await_change());
    }
    let Some(pool) = agent.context.pools.get(valid.pool) else {
        // Not seeing the pool is no proof that nothing is in it.
        let message =
            format!("pool {} is not in service on this node: deletion waits for it", valid.pool);
        return linger(agent, volume, valid, None, Reason::NotFound, message).await;
    };
    let view = observe(agent, valid, &pool).await?;
    if let Err(absence) = validate_there(agent, &pool, &view) {
        // Not seeing the image where its disk is not mounted is no proof that it is gone either.
        let message = format!("{absence} deletion waits for it");
        return linger(agent, volume, valid, None, Reason::NotFound, message).await;
    }
    let removed = match stamp {
        None => retain(agent, volume, valid, &pool).await.map(|_| None),
        Some(stamp) => destroy(agent, volume, valid, &pool, stamp, &view).await?,
    };
    match removed {
        Ok(None) => {}
        Ok(Some(refusal)) => {
            let reason = reason_of(&runner::Error::Refused(refusal.clone()));
            return linger(agent, volume, valid, Some((pool, view)), reason, refusal.to_string())
                .await;
        }
        Err(error) => {
            let (reason, message) = (reason_of(&error), error.chain());
            return linger(agent, volume, valid, Some((pool, view)), reason, message).await;
        }
    }
    if stamp.is_none() && view.volume.image.is_some() {
        let text =
            format!("kept on node {} as {}: deleted without a CSI call", agent.node, valid.uuid);
        agent.events.tell(volume, None, &Notice::Retained(text)).await;
    }
    agent.api.write_finalizer(volume, ApiWrite::DropFinalizer).await?;
    agent.seen().remove(&valid.name);
    agent.context.pools.forget_home(&valid.name);
    agent.dirty.notify_one();
    Ok(Action::await_change())
}

/// Gathers the proof and, with it, destroys. The inner error is the operation's; the refusal is a piece of
/// proof that is missing.
async fn destroy(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    pool: &KnownPool,
    stamp: &DeletionStamp,
    view: &View,
) -> Result<Result<Option<Refusal>, runner::Error>, Error> {
    let Some(image) = &view.volume.image else { return Ok(Ok(None)) };
    let tag = match &image.tag {
        TagReading::Read(tag) => tag,
        TagReading::Absent | TagReading::Unreadable(_) => {
            // Not known for ours: it is left where it is, and so is the object.
            let volume = valid.uuid;
            return Ok(Ok(Some(Refusal::Proof(ProofRefusal::NoStamp { volume }))));
        }
    };
    let Some(cluster) = agent.context.cluster() else {
        let volume = valid.uuid;
        return Ok(Ok(Some(Refusal::Proof(ProofRefusal::NoStamp { volume }))));
    };
    let (reading, _) = agent.api.persistent_volume(&valid.pv_name).await?;
    let claimed = Claimed::Volume(reading);
    let proof = match DeletionProof::check(Some(stamp), valid.uuid, &cluster, &claimed, tag) {
        Ok(proof) => proof,
        Err(refusal) => return Ok(Ok(Some(Refusal::Proof(refusal)))),
    };
    let (dir, uuid, erase) = (pool.dir.clone(), valid.uuid, valid.erase);
    let intent = Intent::Delete { volume: uuid, proof, erase };
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        observe_and_plan(host, &dir, uuid, Probe::Look, &intent)
    };
    let run = agent.context.runner.run(job(valid, OpKind::Delete), plan);
    Ok(report::while_running(agent, volume, run).await.map(|_| None))
}

/// The reason, and from the deadline on the way out (I10). The text changes once, so it is written once.
fn waiting_text(volume: &StorageVolume, message: String, now: Timestamp) -> (Patience, String) {
    let asked = volume.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let waited = asked.map_or(SignedDuration::ZERO, |asked| now.duration_since(asked));
    if waited < OVERDUE {
        return (Patience::InTime, message);
    }
    let text = format!(
        "{message}; it was to be deleted more than {} s ago: end the Pods that use it, then deletion goes on by itself",
        OVERDUE.as_secs()
    );
    (Patience::Overdue, text)
}

/// Says why it cannot go yet, and comes back. The claim's owner hears of it only when it takes too long:
/// a Pod that is still ending is no news.
async fn linger(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    seen: Option<(KnownPool, View)>,
    reason: Reason,
    message: String,
) -> Result<Action, Error> {
    let (patience, message) = waiting_text(volume, message, Timestamp::now());
    tracing::debug!(name = valid.name, %reason, message, "deletion waits");
    let (pool, view) = seen.unzip();
    let outlook = Outlook { standing: Standing::Lingers { reason, message, patience }, view, pool };
    report::report(agent, volume, valid, &outlook).await?;
    Ok(Action::requeue(WAITS))
}
