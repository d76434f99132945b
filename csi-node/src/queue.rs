//! The operation queue: turns [`schedule::Schedule`] into waiting and waking. It runs nothing itself
//! and touches no host; whoever holds a [`Permit`] may act on what the permit locks, nobody else may.

pub mod schedule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::operation::OpKind;
use schedule::{LockKey, OpId, Refusal, Request, Schedule};

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

/// One line of [`Queue::snapshot`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name.
    pub id: OpId,
    /// What it is.
    pub kind: OpKind,
    /// Whether it runs.
    pub state: EntryState,
    /// What it holds or wants.
    pub locks: Vec<String>,
    /// Since when it waits or runs, in milliseconds.
    pub for_ms: u128,
}

/// Waiting or running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EntryState {
    /// Its turn has not come.
    Waiting,
    /// It holds its locks.
    Running,
}

#[derive(Debug)]
struct Inner {
    schedule: Schedule<OpKind>,
    wake: BTreeMap<OpId, oneshot::Sender<()>>,
    since: BTreeMap<OpId, Instant>,
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

    fn busy(&self, locks: &BTreeMap<LockKey, schedule::LockMode>) -> Option<(Error, OpKind)> {
        let (holder, key) = self.schedule.holder_of(locks)?;
        let held_s = self.since.get(&holder.id).map_or(0, |since| since.elapsed().as_secs());
        let kind = holder.kind;
        Some((Error::ResourceBusy { key, holder: holder.id, kind, held_s }, kind))
    }
}

impl Queue {
    /// A queue that runs at most `limit` operations at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let schedule = Schedule::new(limit);
        let inner = Inner { schedule, wake: BTreeMap::new(), since: BTreeMap::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for the turn of `request`. Dropping the future withdraws it.
    ///
    /// # Errors
    /// [`Error::ResourceBusy`] names the holder; [`Error::Full`] and [`Error::Refused`] as they say.
    pub async fn acquire(
        &self,
        request: Request<OpKind>,
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
        request: Request<OpKind>,
        patience: Patience,
    ) -> Result<(Permit, oneshot::Receiver<()>), Error> {
        let mut inner = self.lock();
        match (patience, inner.busy(&request.locks)) {
            (Patience::Call(_), Some((error, kind))) if kind == request.kind => return Err(error),
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
        let entry = |state: EntryState, request: Request<OpKind>| Entry {
            id: request.id,
            kind: request.kind,
            state,
            locks: request.locks.keys().map(ToString::to_string).collect(),
            for_ms: inner.since.get(&request.id).map_or(0, |since| since.elapsed().as_millis()),
        };
        let running = running.into_iter().map(|request| entry(EntryState::Running, request));
        let waiting = waiting.into_iter().map(|request| entry(EntryState::Waiting, request));
        running.chain(waiting).collect()
    }

    /// A panic of one operation must not stop the others, and the schedule is never half changed.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
