//! What a StorageSnapshot's status says, from what was asked and what was seen; written only where it differs (I8).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use terrace_crds::condition::{Truth, Verdict};
use terrace_crds::snapshot::StorageSnapshotStatus;
use terrace_crds::{ConditionType, Reason, Size, StorageSnapshot, condition};
use terrace_device_types::{BackendKind, PoolFileReading, View};

use super::desired::ValidSnapshot;
use super::is_made;
use crate::agent::Agent;
use crate::agent::events::Notice;
use crate::agent::report::Outlook;
use crate::agent::verdict::{Patience, Standing};
use crate::agent::volume::Error;
use crate::host::Host;

/// Writes the status if it differs, and tells what changed. `size_before` is of a snapshot that was there before its
/// status could say so.
///
/// # Errors
/// If the host does not say when the snapshot was taken, or the API server does not take the status.
pub(in crate::agent) async fn report(
    agent: &Agent,
    snapshot: &StorageSnapshot,
    valid: &ValidSnapshot,
    outlook: &Outlook,
    size_before: Option<Size>,
) -> Result<(), Error> {
    let there = snapshot.status.clone().unwrap_or_default();
    let facts = Facts {
        generation: snapshot.metadata.generation.unwrap_or_default(),
        standing: &outlook.standing,
        view: outlook.view.as_ref(),
        pool: outlook.pool.as_ref().map(|pool| pool.name.as_str()),
        taken: taken(agent, &there, outlook).await?,
        size_before,
    };
    let status = plan_status(&facts, &there, Timestamp::now());
    if status == owned(&there) {
        return Ok(());
    }
    agent.api.apply_snapshot_status(&valid.name, &status).await?;
    if let Some(notice) = notice(agent, snapshot, valid, &outlook.standing) {
        agent.events.tell_snapshot(snapshot, &notice).await;
    }
    Ok(())
}

/// Everything a status is made of.
#[derive(Debug)]
struct Facts<'a> {
    generation: i64,
    standing: &'a Standing,
    view: Option<&'a View>,
    pool: Option<&'a str>,
    taken: Option<Timestamp>,
    size_before: Option<Size>,
}

/// The moment it shows, as the host keeps it: the same after a restart.
async fn taken(
    agent: &Agent,
    there: &StorageSnapshotStatus,
    outlook: &Outlook,
) -> Result<Option<Timestamp>, Error> {
    let image = outlook.view.as_ref().and_then(|view| view.volume.image.as_ref());
    let (Standing::Made, Some(image), None) = (&outlook.standing, image, &there.created_at) else {
        return Ok(None);
    };
    let path = image.path.clone();
    let taken = agent.context.look(move |host: &dyn Host| host.taken_at(&path)).await?;
    Ok(Timestamp::try_from(taken.map_err(Error::Observe)?).ok())
}

fn plan_status(
    facts: &Facts<'_>,
    there: &StorageSnapshotStatus,
    now: Timestamp,
) -> StorageSnapshotStatus {
    let Facts { generation, standing, view, pool, taken, size_before } = facts;
    let image = view.and_then(|view| view.volume.image.as_ref());
    let made = image.filter(|_| **standing == Standing::Made);
    let (pool, there_pool) = (pool.map(str::to_owned), there.pool.clone());
    let path = image.map(|image| image.place().display().to_string());
    StorageSnapshotStatus {
        pool: pool.or(there_pool),
        backend: backend(*view).map(|kind| kind.to_string()).or_else(|| there.backend.clone()),
        device: path.or_else(|| there.device.clone()),
        // Kept when the image is out of sight: that it was there once forbids taking it again.
        created_at: there.created_at.clone().or_else(|| taken.and_then(whole_second).map(Time)),
        reserved: made
            .map(|image| Size::from_bytes(image.apparent.0))
            .or_else(|| there.reserved.clone())
            .or_else(|| size_before.clone()),
        conditions: vec![ready(standing).against(&there.conditions, *generation, now)],
    }
}

/// As the API keeps times, so that what is written reads the same.
fn whole_second(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(time.as_second()).ok()
}

fn backend(view: Option<&View>) -> Option<BackendKind> {
    match &view?.pool.file {
        PoolFileReading::Read(file) => Some(file.backend),
        PoolFileReading::Absent | PoolFileReading::Unreadable(_) => None,
    }
}

fn ready(standing: &Standing) -> Verdict {
    let kind = ConditionType::Ready;
    match standing {
        Standing::Made => {
            let message = "the copy lies beside its source on this node";
            Verdict::new(kind, Truth::True, Reason::AsExpected, message)
        }
        Standing::NotMade { reason, message }
        | Standing::NotGrown { reason, message }
        | Standing::Lingers { reason, message, patience: _ } => {
            Verdict::new(kind, Truth::False, *reason, message.clone())
        }
    }
}

/// The node's part of a status that is there.
fn owned(there: &StorageSnapshotStatus) -> StorageSnapshotStatus {
    let mut conditions = there.conditions.clone();
    conditions.retain(|condition| condition.type_ == ConditionType::Ready.as_str());
    StorageSnapshotStatus { conditions, ..there.clone() }
}

fn notice(
    agent: &Agent,
    snapshot: &StorageSnapshot,
    valid: &ValidSnapshot,
    standing: &Standing,
) -> Option<Notice> {
    match standing {
        Standing::Made if is_made(snapshot) => None,
        Standing::Made => {
            let text = format!("copy of volume {} on node {}", valid.source.name, agent.node);
            Some(Notice::SnapshotTaken(text))
        }
        Standing::Lingers { patience: Patience::InTime, .. } => None,
        Standing::NotMade { message, .. }
        | Standing::NotGrown { message, .. }
        | Standing::Lingers { message, patience: Patience::Overdue, .. } => {
            let conditions = snapshot.status.as_ref().map(|status| status.conditions.as_slice());
            let before = condition::find(conditions.unwrap_or_default(), ConditionType::Ready);
            let is_news = before.is_none_or(|before| before.message != *message);
            is_news.then(|| Notice::SnapshotFailed(message.clone()))
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
