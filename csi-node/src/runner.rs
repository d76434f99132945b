//! Runs one operation from its turn in the queue to its end: observe, plan, journal, step by step. The
//! only caller of [`Host::execute`]. An operation goes on when its caller goes away, and its locks are
//! held until the last of its system calls has come back, however late.

mod backoff;
pub mod deadline;
mod error;
mod job;
pub mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use terrace_device_types::{Class, OperationId, Step, StepDone};
use terrace_devices::DeviceError;
use tracing::Instrument;
use uuid::Uuid;

use crate::audit::{Audit, Cause};
use crate::fault::{Edge, Faults, Point, pass_blocking};
use crate::host::Host;
use crate::journal::record::{Record, Resume, Subject};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::queue::schedule::{OpId, Request};
use crate::queue::{At, Permit, Queue, Task};

use crate::agent::report::chain;
pub use error::{Error, class_label};
pub use job::{AGENT_PATIENCE, CALL_PATIENCE, Job, Outcome, Progress};

/// The parts that every operation needs.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The host.
    pub host: Arc<dyn Host>,
    /// Who may act.
    pub queue: Queue,
    /// What has begun.
    pub journal: Arc<Journal>,
    /// What was destroyed.
    pub audit: Arc<Audit>,
    /// Where it may be made to die or fail.
    pub faults: Arc<dyn Faults<Point>>,
    /// What is counted.
    pub metrics: Metrics,
    progress: Arc<Mutex<BTreeMap<OpId, Progress>>>,
}

/// The steps an operation needs now; called once, when the operation has its locks.
pub trait Plan:
    FnOnce(&dyn Host, &OperationId) -> Result<Vec<Step>, Error> + Send + 'static
{
}
impl<F: FnOnce(&dyn Host, &OperationId) -> Result<Vec<Step>, Error> + Send + 'static> Plan for F {}

impl Runner {
    /// A runner of these parts.
    #[must_use]
    pub fn new(
        host: Arc<dyn Host>,
        queue: Queue,
        journal: Arc<Journal>,
        audit: Arc<Audit>,
        faults: Arc<dyn Faults<Point>>,
        metrics: Metrics,
    ) -> Self {
        Self { host, queue, journal, audit, faults, metrics, progress: Arc::default() }
    }

    /// Runs `job` with the steps that `plan` makes once it has its locks.
    ///
    /// # Guarantees
    /// Nothing acts on the host before the journal knows of it. On failure what `kind` says is undone is
    /// undone. Dropping the future does not stop the operation.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, job: Job, plan: impl Plan) -> Result<Outcome, Error> {
        let (runner, kind) = (self.clone(), job.kind);
        let id = OpId(Uuid::new_v4());
        let span = tracing::info_span!("operation", %kind, name = job.subject.name, %id);
        let task =
            tokio::spawn(async move { runner.run_here(id, job, plan).await }.instrument(span));
        let result = task.await.unwrap_or(Err(Error::Panicked(id)));
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) => class_label(error.class()),
        };
        self.metrics.operation(kind, outcome);
        result
    }

    async fn run_here(&self, id: OpId, job: Job, plan: impl Plan) -> Result<Outcome, Error> {
        let Job { kind, subject, locks, priority, patience, asked } = job;
        let task = Task { kind, subject: subject.clone() };
        let request = Request { id, task, locks, priority, after: BTreeSet::new() };
        let permit = self.queue.acquire(request, patience).await?;
        let host = Arc::clone(&self.host);
        let name = OperationId::from(id);
        let (permit, steps) = self.plan(permit, move || plan(&*host, &name)).await?;
        if steps.is_empty() {
            // What an earlier operation left in the journal is true now: a later start must not take it back.
            let settle = |journal: &Journal, subject: &Subject| journal.settle(subject);
            self.journaled(id, move |edge| Point::JournalSettle(kind, edge), settle, &subject)
                .await?;
            return Ok(Outcome::Already);
        }
        let record = Record::new(id, kind, subject, &steps, jiff::Timestamp::now());
        let cause = Arc::new(Cause::of(&record, asked));
        let result = self.run_steps(permit, record, &cause, steps).await;
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        result
    }

    /// The steps, unless the look at the host hangs: then the locks are held until it comes back (I10).
    async fn plan(
        &self,
        permit: Permit,
        plan: impl FnOnce() -> Result<Vec<Step>, Error> + Send + 'static,
    ) -> Result<(Permit, Vec<Step>), Error> {
        let (id, after) = (permit.id(), deadline::PLAN + deadline::GRACE);
        let work = tokio::spawn(holding(permit, plan));
        match tokio::time::timeout(after, work).await {
            Ok(Ok((permit, Some(steps)))) => Ok((permit, steps?)),
            Ok(Ok((_, None)) | Err(_)) => Err(Error::Panicked(id)),
            Err(_) => {
                self.queue.hangs(id);
                let step = "look at the host".to_owned();
                Err(Error::Hangs { step, after_s: deadline::PLAN.as_secs() })
            }
        }
    }

    async fn run_steps(
        &self,
        mut permit: Permit,
        mut record: Record,
        cause: &Arc<Cause>,
        steps: Vec<Step>,
    ) -> Result<Outcome, Error> {
        let kind = record.kind;
        let begin = move |edge| Point::JournalBegin(kind, edge);
        let write = |journal: &Journal, record: &Record| journal.begin(record);
        self.journaled(record.id, begin, write, &record).await?;
        for (number, step) in steps.into_iter().enumerate() {
            record.next = number;
            self.show(&record, 1);
            let which = step.kind();
            let (back, done) = self.run_step(permit, &record, cause, step).await;
            permit = match (back, done) {
                (Some(permit), Ok(_)) => permit,
                (Some(permit), Err(error)) => {
                    return Err(self.fail(permit, &record, cause, error).await);
                }
                (None, Ok(_)) => return Err(Error::Panicked(record.id)),
                (None, Err(error)) => return Err(error),
            };
            record.next = number + 1;
            let advance = move |edge| Point::JournalAdvance(kind, which, edge);
            let write = |journal: &Journal, record: &Record| journal.put(record);
            self.journaled(record.id, advance, write, &record).await?;
        }
        self.forget(&record).await?;
        drop(permit);
        Ok(Outcome::Changed)
    }

    /// One step, tried again while that may help. No permit comes back if a system call hangs: it
    /// keeps the locks until it returns.
    async fn run_step(
        &self,
        mut permit: Permit,
        record: &Record,
        cause: &Arc<Cause>,
        step: Step,
    ) -> (Option<Permit>, Result<StepDone, Error>) {
        let mut delays = backoff::delays();
        for attempt in 1_u32.. {
            self.show(record, attempt);
            let (back, done) = self.execute(permit, cause, step.clone()).await;
            permit = match back {
                Some(permit) => permit,
                None => return (None, done),
            };
            let again = match &done {
                // What hung may still be at work, and a freeze that ended can't be had back: that takes a new plan. What is
                // injected is to fail the operation.
                Err(
                    Error::Step {
                        source: DeviceError::Deadline { .. } | DeviceError::NotStill { .. },
                        ..
                    }
                    | Error::Fault(_),
                ) => None,
                Err(error) if error.class() == Class::Retry => delays.next(),
                Err(_) | Ok(_) => None,
            };
            let Some(delay) = again else {
                return (Some(permit), done);
            };
            self.metrics.retry(step.kind().as_str());
            tokio::time::sleep(delay).await;
        }
        (Some(permit), Err(Error::Panicked(record.id)))
    }

    async fn execute(
        &self,
        permit: Permit,
        cause: &Arc<Cause>,
        step: Step,
    ) -> (Option<Permit>, Result<StepDone, Error>) {
        let (prose, which) = (step.to_string(), step.kind());
        let deadline = deadline::of(&step);
        let id = permit.id();
        let began = Instant::now();
        let span = tracing::info_span!("step", step = prose);
        let (host, faults, said) =
            (Arc::clone(&self.host), Arc::clone(&self.faults), prose.clone());
        // The points lie where the system call does: what hangs there hangs as the kernel would.
        let (audit, cause, kind) = (Arc::clone(&self.audit), Arc::clone(cause), cause.kind);
        let execute = move || -> Result<StepDone, Error> {
            pass_blocking(&*faults, Point::Step(kind, which, Edge::Before))?;
            let done = audited(&audit, &cause, &step, || host.execute(&step, deadline))?;
            let done = done.map_err(|source| Error::Step { step: said, source })?;
            pass_blocking(&*faults, Point::Step(kind, which, Edge::After))?;
            Ok(done)
        };
        let work = tokio::spawn(holding(permit, move || span.in_scope(execute)));
        // The executor keeps the deadline itself where it can; this one is for system calls that hang.
        let answer = tokio::time::timeout(deadline + deadline::GRACE, work).await;
        self.metrics.step(which.as_str(), began.elapsed());
        match answer {
            Ok(Ok((permit, Some(done)))) => (Some(permit), done),
            Ok(Ok((permit, None))) => (Some(permit), Err(Error::Panicked(id))),
            Ok(Err(_)) => (None, Err(Error::Panicked(id))),
            Err(_) => {
                self.queue.hangs(id);
                tracing::error!(
                    step = prose,
                    "a system call hangs; the volume stays locked until it returns"
                );
                (None, Err(Error::Hangs { step: prose, after_s: deadline.as_secs() }))
            }
        }
    }

    /// Takes back what this kind takes back, and forgets the operation: whoever asked asks again.
    async fn fail(
        &self,
        mut permit: Permit,
        record: &Record,
        cause: &Arc<Cause>,
        error: Error,
    ) -> Error {
        if error.is_death() {
            return error;
        }
        tracing::warn!(error = error.chain(), "operation failed");
        let undo = match record.kind.resume() {
            Resume::Undo => record.rollback(),
            Resume::Again | Resume::NextPass => Vec::new(),
        };
        for step in undo {
            let prose = step.to_string();
            let (back, done) = self.execute(permit, cause, step).await;
            if let Err(error) = done {
                tracing::error!(
                    step = prose,
                    error = error.chain(),
                    "undo failed; the next plan will meet it"
                );
            }
            permit = match back {
                Some(permit) => permit,
                None => return error,
            };
        }
        if let Err(late) = self.forget(record).await {
            tracing::error!(
                error = late.chain(),
                "the journal still knows an operation that is over"
            );
        }
        error
    }

    /// The journal forgets an operation that is over.
    async fn forget(&self, record: &Record) -> Result<(), Error> {
        let kind = record.kind;
        let write = |journal: &Journal, record: &Record| journal.remove(record.id);
        let end = move |edge| Point::JournalFinish(kind, edge);
        self.journaled(record.id, end, write, record).await
    }

    /// One write to the journal, between its two fault points. A write whose code panics is a write that did not happen.
    async fn journaled<T: Clone + Send + 'static>(
        &self,
        id: OpId,
        point: impl Fn(Edge) -> Point + Send + 'static,
        write: impl FnOnce(&Journal, &T) -> Result<(), journal::Error> + Send + 'static,
        value: &T,
    ) -> Result<(), Error> {
        let (journal, faults, value) =
            (Arc::clone(&self.journal), Arc::clone(&self.faults), value.clone());
        let written = tokio::task::spawn_blocking(move || -> Result<(), Error> {
            pass_blocking(&*faults, point(Edge::Before))?;
            write(&journal, &value)?;
            pass_blocking(&*faults, point(Edge::After))?;
            Ok(())
        });
        written.await.unwrap_or(Err(Error::Panicked(id)))
    }

    fn show(&self, record: &Record, attempts: u32) {
        let Record { id, kind, subject, steps, next, undo: _, begun } = record;
        let step = steps.get(*next).cloned().unwrap_or_default();
        let at = At { step: next + 1, of: steps.len(), prose: step.clone(), attempts };
        self.queue.stands(*id, at);
        let progress = Progress {
            id: *id,
            kind: *kind,
            subject: subject.clone(),
            step,
            since: *begun,
            attempts,
        };
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, progress);
    }

    /// Where every running operation stands.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Takes a step between the two lines that the audit has of it, if it destroys. The outer error: it was not taken.
fn audited(
    audit: &Audit,
    cause: &Cause,
    step: &Step,
    take: impl FnOnce() -> Result<StepDone, DeviceError>,
) -> Result<Result<StepDone, DeviceError>, Error> {
    let intent = audit.intend(cause, step)?;
    let done = take();
    if let Some(intent) = intent {
        let result = match &done {
            Ok(done) => Ok(*done),
            Err(error) => Err(chain(error)),
        };
        // What is done is done: the intent stays without a result, which says as much.
        if let Err(error) = audit.conclude(intent, result) {
            tracing::error!(error = chain(&error), "the audit lacks the result of a step");
        }
    }
    Ok(done)
}

/// Runs blocking `work` while holding `permit`; both come back together, or neither. `None`: it panicked.
async fn holding<T: Send + 'static>(
    permit: Permit,
    work: impl FnOnce() -> T + Send + 'static,
) -> (Permit, Option<T>) {
    (permit, tokio::task::spawn_blocking(work).await.ok())
}

#[cfg(test)]
mod tests;
