//! The operation queue: turns [`schedule::Schedule`] into waiting and waking. It runs nothing itself
//! and touches no host; whoever holds a [`Permit`] may act on what the permit locks, nobody else may.

pub mod schedule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use terrace_device_types::{PoolUuid, VolumeUuid};
use tokio::sync::oneshot;

use crate::journal::record::Subject;
use crate::operation::OpKind;
use schedule::{LockKey, OpId, Priority, Refusal, Request, Schedule, Wait};

/// How long an operation waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// At most so long; an operation of the same kind on the same locks is not waited for.
    Call(Duration),
    /// At most so long, for whatever is in the way.
    Agent(Duration),
}

/// Why an operation did not get its turn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another operation holds what it needs.
    #[error("{key} is busy: {kind} {holder} has held it for {held_s} s")]
    ResourceBusy {
        /// What is held.
        key: LockKey,
        /// Who holds it.
        holder: OpId,
        /// What the holder does.
        kind: OpKind,
        /// For how long, in seconds.
        held_s: u64,
    },
    /// Its turn did not come in time, though nobody holds its locks: the node is at its limit.
    #[error("{waiting} operations are in front")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// The request itself is wrong.
    #[error("operation cannot be queued")]
    Refused(#[source] Refusal),
}

/// What is to be done, to what.
#[derive(Clone, Debug)]
pub struct Task {
    /// The operation.
    pub kind: OpKind,
    /// Its object.
    pub subject: Subject,
}

/// Where a running operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// Which step, from 1.
    pub step: usize,
    /// How many it has.
    pub of: usize,
    /// The step in prose.
    pub prose: String,
    /// How often this step was tried.
    pub attempts: u32,
}

/// One line of [`Queue::snapshot`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name.
    pub id: OpId,
    /// What it is.
    pub kind: OpKind,
    /// Name of the StorageVolume, StorageSnapshot or StoragePool.
    pub name: String,
    /// The volume or snapshot.
    pub volume: Option<VolumeUuid>,
    /// The pool.
    pub pool: Option<PoolUuid>,
    /// Whether it runs.
    pub state: EntryState,
    /// Who goes first.
    pub priority: Priority,
    /// What it holds or wants.
    pub locks: Vec<String>,
    /// Since when it waits or runs, in milliseconds.
    pub for_ms: u64,
    /// Where it stands, once it has its steps.
    pub at: Option<At>,
    /// Why it does not run.
    pub waits_for: Option<WaitsFor>,
}

/// Waiting or running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EntryState {
    /// Its turn has not come.
    Waiting,
    /// It holds its locks.
    Running,
    /// It holds its locks, and a system call of it does not come back.
    Hangs,
}

/// Why an operation does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WaitsFor {
    /// Another one has a lock that it needs, or has it next.
    Lock {
        /// The lock, in prose.
        key: String,
        /// Who has it.
        operation: OpId,
        /// What that does.
        kind: OpKind,
        /// Since when that waits or runs, in milliseconds.
        for_ms: u64,
    },
    /// Another one must be over before.
    After {
        /// That one.
        operation: OpId,
    },
    /// As many run as may at once.
    Turn,
}

#[derive(Debug)]
struct Inner {
    schedule: Schedule<Task>,
    wake: BTreeMap<OpId, oneshot::Sender<()>>,
    since: BTreeMap<OpId, Instant>,
    at: BTreeMap<OpId, At>,
}

/// Orders the operations of one node.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Mutex<Inner>>,
}

/// The right to act on what was asked for; ends when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the locks back"]
pub struct Permit {
    queue: Queue,
    id: OpId,
}

impl Permit {
    /// The operation it was given to.
    #[must_use]
    pub fn id(&self) -> OpId {
        self.id
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        inner.schedule.finish(self.id);
        inner.wake.remove(&self.id);
        inner.since.remove(&self.id);
        inner.at.remove(&self.id);
        inner.start();
    }
}

impl Inner {
    fn start(&mut self) {
        for id in self.schedule.start_ready() {
            self.since.insert(id, Instant::now());
            if let Some(wake) = self.wake.remove(&id) {
                // A waiter that has gone gives its permit back by itself.
                let _ = wake.send(());
            }
        }
    }

    fn for_ms(&self, id: OpId) -> u64 {
        let since = self.since.get(&id).map(|since| since.elapsed().as_millis());
        since.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX))
    }

    fn entry(&self, request: Request<Task>, kinds: &BTreeMap<OpId, OpKind>) -> Entry {
        let Request { id, task, locks, priority, after: _ } = request;
        let Task { kind, subject } = task;
        let Subject { volume, pool, name, target: _, to: _ } = subject;
        let wait = self.schedule.wait_of(id);
        let state = match &wait {
            Some(_) => EntryState::Waiting,
            None if self.schedule.is_hung(id) => EntryState::Hangs,
            None => EntryState::Running,
        };
        let waits_for = wait.map(|wait| match wait {
            Wait::Lock { key, by } => WaitsFor::Lock {
                key: key.to_string(),
                operation: by,
                kind: kinds.get(&by).copied().unwrap_or(kind),
                for_ms: self.for_ms(by),
            },
            Wait::After(operation) => WaitsFor::After { operation },
            Wait::Turn => WaitsFor::Turn,
        });
        let locks = locks.keys().map(ToString::to_string).collect();
        let (for_ms, at) = (self.for_ms(id), self.at.get(&id).cloned());
        Entry { id, kind, name, volume, pool, state, priority, locks, for_ms, at, waits_for }
    }

    fn busy(&self, locks: &BTreeMap<LockKey, schedule::LockMode>) -> Option<(Error, OpKind)> {
        let (holder, key) = self.schedule.holder_of(locks)?;
        let held_s = self.since.get(&holder.id).map_or(0, |since| since.elapsed().as_secs());
        let kind = holder.task.kind;
        Some((Error::ResourceBusy { key, holder: holder.id, kind, held_s }, kind))
    }
}

impl Queue {
    /// A queue that runs at most `limit` operations at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let schedule = Schedule::new(limit);
        let inner =
            Inner { schedule, wake: BTreeMap::new(), since: BTreeMap::new(), at: BTreeMap::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for the turn of `request`. Dropping the future withdraws it.
    ///
    /// # Errors
    /// [`Error::ResourceBusy`] names the holder; [`Error::Full`] and [`Error::Refused`] as they say.
    pub async fn acquire(
        &self,
        request: Request<Task>,
        patience: Patience,
    ) -> Result<Permit, Error> {
        let locks = request.locks.clone();
        let (permit, turn) = self.enter(request, patience)?;
        let wait = match patience {
            Patience::Call(wait) | Patience::Agent(wait) => wait,
        };
        match tokio::time::timeout(wait, turn).await {
            Ok(Ok(())) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.why_not(&locks)),
        }
    }

    /// A running operation hangs in the kernel: it keeps its locks, but no longer counts against the limit, so
    /// that a few dead disks do not stop the node.
    pub fn hangs(&self, id: OpId) {
        let mut inner = self.lock();
        inner.schedule.hangs(id);
        inner.start();
    }

    fn enter(
        &self,
        request: Request<Task>,
        patience: Patience,
    ) -> Result<(Permit, oneshot::Receiver<()>), Error> {
        let mut inner = self.lock();
        match (patience, inner.busy(&request.locks)) {
            (Patience::Call(_), Some((error, kind))) if kind == request.task.kind => {
                return Err(error);
            }
            (Patience::Call(_), Some(_) | None) | (Patience::Agent(_), _) => {}
        }
        let id = request.id;
        inner.schedule.submit(request).map_err(Error::Refused)?;
        let (wake, turn) = oneshot::channel();
        inner.wake.insert(id, wake);
        inner.since.insert(id, Instant::now());
        let permit = Permit { queue: self.clone(), id };
        inner.start();
        Ok((permit, turn))
    }

    fn why_not(&self, locks: &BTreeMap<LockKey, schedule::LockMode>) -> Error {
        let inner = self.lock();
        let full = || Error::Full { waiting: inner.schedule.snapshot().0.len() };
        inner.busy(locks).map_or_else(full, |(error, _)| error)
    }

    /// Everything waiting and running, for people and metrics.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Entry> {
        let inner = self.lock();
        let (waiting, running) = inner.schedule.snapshot();
        let kinds: BTreeMap<OpId, OpKind> =
            running.iter().chain(&waiting).map(|request| (request.id, request.task.kind)).collect();
        running.into_iter().chain(waiting).map(|request| inner.entry(request, &kinds)).collect()
    }

    /// A running operation is at that step now.
    pub fn stands(&self, id: OpId, at: At) {
        self.lock().at.insert(id, at);
    }

    /// A panic of one operation must not stop the others, and the schedule is never half changed.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
