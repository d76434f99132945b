//! Writes what a pass found: the node's part of the status, if it differs from what is there, and an
//! Event where a person would want one. May not change the host.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use terrace_crds::volume::{Operation, StorageVolumeStatus};
use terrace_crds::{ConditionType, Reason, StorageVolume, condition};
use terrace_device_types::{PoolFileReading, View};

use super::desired::ValidVolume;
use super::events::Notice;
use super::health::{DWELL, FilesystemState, Health, Watched};
use super::verdict::{Facts, Patience, Place, Standing, owned, plan_status};
use super::volume::{Error, was_ready};
use super::{Agent, PoolFacts};
use crate::journal::KnownPool;
use crate::runner::{self, Outcome, Progress};

/// An operation that takes longer is shown in the status while it runs.
const SHOWN_AFTER: Duration = Duration::from_secs(2);

/// What a pass came to.
#[derive(Debug)]
pub struct Outlook {
    /// How the latest operation ended.
    pub standing: Standing,
    /// What the host shows.
    pub view: Option<View>,
    /// The pool.
    pub pool: Option<KnownPool>,
}

impl Outlook {
    /// Of a volume whose pool cannot be looked at.
    #[must_use]
    pub fn without_host(standing: Standing) -> Self {
        Self { standing, view: None, pool: None }
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // `transparent` layers repeat the text of their cause.
    texts.dedup();
    texts.join(": ")
}

/// Writes the status if it differs, and tells the claim what changed.
///
/// # Errors
/// If the API server does not take the status.
pub async fn report(
    agent: &Agent,
    volume: &StorageVolume,
    valid: &ValidVolume,
    outlook: &Outlook,
) -> Result<(), Error> {
    let there = volume.status.clone().unwrap_or_default();
    let place = place(agent, valid, outlook, &there);
    let seen = agent.seen().get(&valid.name).cloned().unwrap_or_default();
    let reported = seen.reported.map(|reported| reported.usage);
    let usage = reported.or_else(|| there.usage.as_deref().cloned());
    let facts = Facts {
        volume: valid,
        generation: volume.metadata.generation.unwrap_or_default(),
        standing: &outlook.standing,
        view: outlook.view.as_ref(),
        place: &place,
        usage: usage.as_ref(),
        pressure: &seen.pressure,
        health: health(agent, valid, seen.filesystem),
        operation: None,
    };
    let status = plan_status(&facts, &there, Timestamp::now());
    if status == owned(&there) {
        return Ok(());
    }
    agent.api.apply_volume_status(&valid.name, &status).await?;
    for notice in notices(volume, &there, &status, &outlook.standing) {
        agent.events.tell(volume, None, &notice).await;
    }
    Ok(())
}

/// All that is known against the volume.
fn health(agent: &Agent, valid: &ValidVolume, filesystem: FilesystemState) -> Health {
    let now = Timestamp::now();
    let watched = now.duration_since(agent.probe.began());
    // What lies on a disk that is gone says so itself; the rest of the pool is served.
    let failing = agent.pool_ailments().get(&valid.pool).cloned();
    let disks = failing.filter(|ailment| ailment.reason == Reason::DiskFailing);
    Health {
        disks,
        filesystem,
        failing: agent.probe.failing(&valid.pv_name, now),
        watched: if watched < DWELL { Watched::Briefly } else { Watched::Enough },
    }
}

fn place(
    agent: &Agent,
    valid: &ValidVolume,
    outlook: &Outlook,
    there: &StorageVolumeStatus,
) -> Place {
    let facts = agent.facts().get(&valid.pool).cloned();
    let known = outlook.pool.as_ref().map(|pool| pool.name.clone());
    Place {
        pool: known.or_else(|| there.pool.clone()).unwrap_or_else(|| valid.pool.to_string()),
        backend: backend(facts.as_ref(), outlook, there),
        tier: facts.map(|facts| facts.tier),
    }
}

/// As the pool says itself; while it is out of sight, as was said before.
fn backend(facts: Option<&PoolFacts>, outlook: &Outlook, there: &StorageVolumeStatus) -> String {
    let said = outlook.view.as_ref().and_then(|view| match &view.pool.file {
        PoolFileReading::Read(file) => Some(file.backend),
        PoolFileReading::Absent | PoolFileReading::Unreadable(_) => None,
    });
    let known = said.or_else(|| facts.map(|facts| facts.backend));
    let known = known.map(|kind| kind.as_str().to_owned());
    known.or_else(|| there.backend.clone()).unwrap_or_default()
}

fn notices(
    volume: &StorageVolume,
    there: &StorageVolumeStatus,
    now: &StorageVolumeStatus,
    standing: &Standing,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let node = volume.spec.assignment.as_ref().map_or("", |assignment| assignment.node.as_str());
    match standing {
        Standing::Made if !was_ready(volume) && there.capacity.is_none() => {
            let size = now.capacity.as_ref().map(ToString::to_string).unwrap_or_default();
            let pool = now.pool.clone().unwrap_or_default();
            notices.push(Notice::Created(format!("{size} on node {node}, pool {pool}")));
        }
        Standing::Made if there.capacity.is_some() && there.capacity != now.capacity => {
            let size = now.capacity.as_ref().map(ToString::to_string).unwrap_or_default();
            notices.push(Notice::Grown(format!("it has {size} on node {node} now")));
        }
        Standing::Made => {}
        Standing::Lingers { patience: Patience::InTime, .. } => {}
        Standing::NotMade { message, .. }
        | Standing::Lingers { message, patience: Patience::Overdue, .. } => {
            let changed = message_of(there, ConditionType::Ready) != Some(message);
            notices.extend(changed.then(|| Notice::Failed(message.clone())));
        }
        Standing::NotGrown { message, .. } => {
            let changed = message_of(there, ConditionType::Resizing) != Some(message);
            notices.extend(changed.then(|| Notice::Failed(message.clone())));
        }
    }
    notices.extend(health_notice(there, now));
    let pressed = ConditionType::CapacityPressure;
    if condition::is_true(&now.conditions, pressed)
        && !condition::is_true(&there.conditions, pressed)
    {
        let message = message_of(now, pressed).cloned().unwrap_or_default();
        notices.push(Notice::CapacityPressure(message));
    }
    notices
}

/// Of the filesystem; of errors the claim is told where they are counted.
fn health_notice(there: &StorageVolumeStatus, now: &StorageVolumeStatus) -> Option<Notice> {
    let of = |status: &StorageVolumeStatus| {
        let condition = condition::find(&status.conditions, ConditionType::Healthy)?;
        let known = [Reason::FilesystemShutDown, Reason::ReadOnlyFilesystem];
        let is_one = known.iter().any(|reason| reason.as_str() == condition.reason);
        is_one.then(|| (condition.reason.clone(), condition.message.clone()))
    };
    match (of(there), of(now)) {
        (before, Some((reason, message))) => {
            let is_news = before.is_none_or(|(before, _)| before != reason);
            is_news.then_some(Notice::Unhealthy(message))
        }
        (Some(_), None) => Some(Notice::Healed("its filesystem serves again".to_owned())),
        (None, None) => None,
    }
}

fn message_of(status: &StorageVolumeStatus, kind: ConditionType) -> Option<&String> {
    condition::find(&status.conditions, kind).map(|condition| &condition.message)
}

/// Waits for an operation, and shows it in the status if it takes its time.
///
/// # Errors
/// Those of the operation.
pub async fn while_running(
    agent: &Agent,
    volume: &StorageVolume,
    running: impl Future<Output = Result<Outcome, runner::Error>>,
) -> Result<Outcome, runner::Error> {
    tokio::pin!(running);
    tokio::select! {
        outcome = &mut running => return outcome,
        () = tokio::time::sleep(SHOWN_AFTER) => {}
    }
    let name = volume.metadata.name.clone().unwrap_or_default();
    let progress = agent.context.runner.progress();
    if let Some(progress) = progress.iter().find(|progress| progress.subject.name == name) {
        let there = volume.status.clone().unwrap_or_default();
        let operation = Some(Box::new(operation(progress)));
        let status = StorageVolumeStatus { operation, ..owned(&there) };
        // The operation itself does not depend on it.
        if let Err(error) = agent.api.apply_volume_status(&name, &status).await {
            tracing::warn!(error = chain(&error), "progress was not written");
        }
    }
    running.await
}

fn operation(progress: &Progress) -> Operation {
    let Progress { id, kind, subject: _, step, since, attempts } = progress;
    Operation {
        id: id.to_string(),
        kind: kind.as_str().to_owned(),
        step: step.clone(),
        since: Time(*since),
        attempts: *attempts,
    }
}
