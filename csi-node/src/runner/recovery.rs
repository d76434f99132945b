//! The start after a crash: what the journal knows as not over is taken back, done again, or left to a
//! pass that must first prove that it may. Runs before anything is served.

use std::sync::Arc;

use terrace_device_types::{ClusterUid, Intent, OperationId, Step};

use super::{AGENT_PATIENCE, Error, Job, Runner, deadline};
use crate::context::observe_and_plan;
use crate::fault::{Edge, Point, pass_blocking};
use crate::host::{Host, Probe};
use crate::journal;
use crate::journal::record::{Record, Resume, Subject};
use crate::operation::OpKind;
use crate::pools::Pools;
use crate::queue::schedule::Priority;

/// How one unfinished operation ended.
#[derive(Debug)]
pub struct Recovered {
    /// What the journal knew.
    pub record: Record,
    /// What was done about it.
    pub resume: Resume,
    /// Why that failed, if it did: the next plan for the object meets what is left.
    pub error: Option<Error>,
}

/// Ends what freezes an earlier run left standing, before anything else is known, be it the cluster: somebody's writers
/// wait. Nothing else is touched; the records stay for [`recover`].
///
/// # Errors
/// Only if the journal cannot be read.
pub async fn thaw(runner: &Runner) -> Result<(), journal::Error> {
    let records = runner.journal.open_operations()?;
    let steps = records.iter().flat_map(|record| {
        let thaws = record.rollback().into_iter();
        thaws.map(|step| (record.kind, step))
    });
    let thaws: Vec<(OpKind, Step)> =
        steps.filter(|(_, step)| matches!(step, Step::EndFreeze { .. })).collect();
    for (kind, step) in thaws {
        let (host, prose, limit) =
            (Arc::clone(&runner.host), step.to_string(), deadline::of(&step));
        let (faults, which, said) = (Arc::clone(&runner.faults), step.kind(), prose.clone());
        let work = tokio::task::spawn_blocking(move || {
            pass_blocking(&*faults, Point::Step(kind, which, Edge::Before))?;
            let done = host.execute(&step, limit);
            let done = done.map_err(|source| Error::Step { step: said, source })?;
            pass_blocking(&*faults, Point::Step(kind, which, Edge::After))?;
            Ok::<_, Error>(done)
        });
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(Ok(done))) => {
                tracing::info!(step = prose, ?done, "an earlier run may have left it")
            }
            Ok(Ok(Err(error))) => {
                tracing::error!(step = prose, error = error.chain(), "it may still be frozen");
            }
            Ok(Err(_)) | Err(_) => tracing::error!(step = prose, "it may still be frozen"),
        }
    }
    Ok(())
}

/// Deals with every unfinished operation, oldest first.
///
/// # Errors
/// Only if the journal cannot be read or written.
pub async fn recover(
    runner: &Runner,
    pools: &Pools,
    cluster: &ClusterUid,
) -> Result<Vec<Recovered>, Error> {
    let mut records = runner.journal.open_operations()?;
    records.sort_by_key(|record| record.begun);
    let mut recovered = Vec::new();
    for record in records {
        let resume = record.kind.resume();
        let result = match resume {
            Resume::NextPass => Ok(()),
            Resume::Undo => undo(runner, &record).await,
            Resume::Again => again(runner, pools, cluster, &record).await,
        };
        let mut error = result.err();
        if !error.as_ref().is_some_and(Error::is_death) {
            match runner.forget(&record).await {
                Err(death) if death.is_death() => error = Some(death),
                forgotten => forgotten?,
            }
        }
        if error.as_ref().is_some_and(Error::is_death) {
            recovered.push(Recovered { record, resume, error });
            return Ok(recovered);
        }
        tracing::info!(
            kind = %record.kind,
            name = record.subject.name,
            ?resume,
            step = record.steps.get(record.next).map_or("", String::as_str),
            error = error.as_ref().map(Error::chain),
            "an operation was interrupted"
        );
        recovered.push(Recovered { record, resume, error });
    }
    Ok(recovered)
}

fn job(record: &Record) -> Job {
    let (kind, subject) = (record.kind, record.subject.clone());
    Job::on_volume(kind, subject, Priority::Recovery, AGENT_PATIENCE)
}

/// The record stays until all is taken back: the undo's own record names no volume, so it does not replace it,
/// and a second death in the middle begins the undo anew.
async fn undo(runner: &Runner, record: &Record) -> Result<(), Error> {
    let (steps, mut job) = (record.rollback(), job(record));
    job.subject = Subject { volume: None, pool: None, ..job.subject };
    runner.run(job, move |_: &dyn Host, _: &OperationId| Ok(steps)).await.map(|_| ())
}

async fn again(
    runner: &Runner,
    pools: &Pools,
    cluster: &ClusterUid,
    record: &Record,
) -> Result<(), Error> {
    let Subject { volume, pool, name: _, target, to } = record.subject.clone();
    let known = pool.and_then(|uuid| pools.get(uuid));
    let (Some(volume), Some(known)) = (volume, known) else { return Ok(()) };
    let cluster = cluster.clone();
    let intent = match (record.kind, target, to) {
        (OpKind::Grow | OpKind::Expand, _, Some(to)) => Intent::Grow { volume, cluster, to },
        (OpKind::Adopt, _, _) => Intent::Adopt { volume, cluster },
        (OpKind::Retain, _, _) => Intent::Retain { volume, cluster },
        (OpKind::Unstage, Some(target), _) => Intent::Unstage { volume, cluster, target },
        (OpKind::Unpublish, Some(target), _) => Intent::Unpublish { target },
        (
            OpKind::PreparePool
            | OpKind::Create
            | OpKind::Copy
            | OpKind::Grow
            | OpKind::Delete
            | OpKind::Sweep
            | OpKind::Stage
            | OpKind::Unstage
            | OpKind::Publish
            | OpKind::Unpublish
            | OpKind::Expand,
            _,
            _,
        ) => return Ok(()),
    };
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, Error> {
        observe_and_plan(host, &known.dir, volume, Probe::Skip, &intent)
    };
    runner.run(job(record), plan).await.map(|_| ())
}
