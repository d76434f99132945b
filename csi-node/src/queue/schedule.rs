//! Which operation may run now: a pure state machine over locks, priorities and dependencies. It
//! knows no clock, no task and no host; [`super::Queue`] turns its answers into waiting and waking.
//!
//! # Invariants
//! 1. No two running operations hold one lock, unless both share it
//!    (`no_two_running_operations_hold_one_lock`).
//! 2. Of two that want one lock, the one of higher priority goes first, then the one that came first
//!    (`operations_on_one_volume_start_in_the_order_they_came`).
//! 3. What is asked for is started in the end: no set of requests is stuck (`every_request_is_started_in_the_end`), and what [`PASSED`] later ones have come
//!    after goes before all that is newer, whatever its priority (`no_stream_of_calls_keeps_the_background_waiting_for_ever`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use terrace_device_types::OperationId;
use uuid::Uuid;

/// Requests that may come after one before its priority no longer holds it back.
pub const PASSED: u64 = 128;

/// What an operation may not share with others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LockKey {
    /// One volume, by its UUID.
    Volume(Uuid),
    /// One pool of this node, by its UUID.
    Pool(Uuid),
    /// One block device, by the id `StorageNode` shows.
    Device(String),
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(uuid) => write!(f, "volume {uuid}"),
            Self::Pool(uuid) => write!(f, "pool {uuid}"),
            Self::Device(id) => write!(f, "device {id}"),
        }
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LockMode {
    /// Any number at once, but none beside an exclusive one.
    Shared,
    /// Alone.
    Exclusive,
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Priority {
    /// Work nobody waits for.
    Background,
    /// What the desired state asks for.
    Agent,
    /// A Pod waits for it.
    Call,
    /// What an earlier run left half done.
    Recovery,
}

/// The name of one operation, the same in queue, journal, log and API.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct OpId(pub Uuid);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<OpId> for OperationId {
    fn from(OpId(uuid): OpId) -> Self {
        uuid.to_string().parse().expect("a UUID has only characters that an operation id may have")
    }
}

/// One operation that wants to run.
#[derive(Clone, Debug)]
pub struct Request<K> {
    /// Its name; unique among the waiting and running.
    pub id: OpId,
    /// What it is, for whoever finds it in the way.
    pub task: K,
    /// What it needs for itself.
    pub locks: BTreeMap<LockKey, LockMode>,
    /// Who goes first.
    pub priority: Priority,
    /// Operations that must be over before; those not known are taken as over.
    pub after: BTreeSet<OpId>,
}

/// Why a request has not been started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// That operation runs, or is in front, and needs the lock.
    Lock {
        /// The lock.
        key: LockKey,
        /// The operation.
        by: OpId,
    },
    /// That operation must be over before.
    After(OpId),
    /// As many run as may.
    Turn,
}

/// Why a request is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would wait for itself.
    #[error("operation {0} would wait for itself")]
    Cycle(OpId),
    /// The name is in use.
    #[error("operation {0} is already known")]
    Known(OpId),
}

/// The waiting and the running.
#[derive(Debug)]
pub struct Schedule<K> {
    limit: usize,
    arrivals: u64,
    waiting: BTreeMap<OpId, (u64, Request<K>)>,
    running: BTreeMap<OpId, Request<K>>,
    hung: BTreeSet<OpId>,
}

impl<K: Clone> Schedule<K> {
    /// An empty schedule that runs at most `limit` operations at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            arrivals: 0,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            hung: BTreeSet::new(),
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// [`Refusal::Cycle`], [`Refusal::Known`]; the schedule is as before.
    pub fn submit(&mut self, request: Request<K>) -> Result<(), Refusal> {
        let id = request.id;
        if self.is_known(id) {
            return Err(Refusal::Known(id));
        }
        if self.waits_for(&request.after, id) {
            return Err(Refusal::Cycle(id));
        }
        self.arrivals += 1;
        self.waiting.insert(id, (self.arrivals, request));
        Ok(())
    }

    /// Moves everything that may run now from waiting to running and names it.
    pub fn start_ready(&mut self) -> Vec<OpId> {
        let mut claimed: Vec<(LockKey, LockMode)> = Vec::new();
        let mut started = Vec::new();
        for id in self.in_order() {
            let Some((_, request)) = self.waiting.get(&id) else { continue };
            if self.running.len() - self.hung.len() >= self.limit || self.waits_for_others(request)
            {
                continue;
            }
            let free = self.holder_of(&request.locks).is_none()
                && !request.locks.iter().any(|lock| conflicts_any(lock, claimed.iter()));
            if !free {
                // Keeps later ones from overtaking it for ever.
                claimed.extend(request.locks.iter().map(|(key, mode)| (key.clone(), *mode)));
                continue;
            }
            if let Some((_, request)) = self.waiting.remove(&id) {
                self.running.insert(id, request);
                started.push(id);
            }
        }
        started
    }

    /// Forgets an operation, running or waiting.
    pub fn finish(&mut self, id: OpId) {
        self.waiting.remove(&id);
        self.running.remove(&id);
        self.hung.remove(&id);
    }

    /// A running operation no longer counts against the limit; its locks stay.
    pub fn hangs(&mut self, id: OpId) {
        if self.running.contains_key(&id) {
            self.hung.insert(id);
        }
    }

    /// A running operation that stands in the way of these locks, and the lock it holds.
    #[must_use]
    pub fn holder_of(&self, locks: &BTreeMap<LockKey, LockMode>) -> Option<(&Request<K>, LockKey)> {
        self.running.values().find_map(|running| {
            let lock = locks.iter().find(|lock| conflicts_any(*lock, running.locks.iter()))?;
            Some((running, lock.0.clone()))
        })
    }

    /// Why a request still waits; none, if it does not.
    #[must_use]
    pub fn wait_of(&self, id: OpId) -> Option<Wait> {
        let (_, request) = self.waiting.get(&id)?;
        if let Some(first) = request.after.iter().find(|id| self.is_known(**id)) {
            return Some(Wait::After(*first));
        }
        if let Some((holder, key)) = self.holder_of(&request.locks) {
            return Some(Wait::Lock { key, by: holder.id });
        }
        let order = self.in_order();
        let in_front = order.iter().take_while(|other| **other != id);
        let in_front = in_front.filter_map(|other| self.waiting.get(other));
        let blocking = in_front.filter(|(_, other)| !self.waits_for_others(other));
        let claimed = blocking.into_iter().find_map(|(_, other)| {
            let mut locks = request.locks.iter();
            let lock = locks.find(|lock| conflicts_any(*lock, other.locks.iter()))?;
            Some(Wait::Lock { key: lock.0.clone(), by: other.id })
        });
        Some(claimed.unwrap_or(Wait::Turn))
    }

    /// Whether a running operation is taken to hang.
    #[must_use]
    pub fn is_hung(&self, id: OpId) -> bool {
        self.hung.contains(&id)
    }

    /// Everything waiting (in the order it would start) and running.
    #[must_use]
    pub fn snapshot(&self) -> (Vec<Request<K>>, Vec<Request<K>>) {
        let waiting = self.in_order();
        let waiting = waiting.iter().filter_map(|id| self.waiting.get(id)).map(|(_, r)| r.clone());
        (waiting.collect(), self.running.values().cloned().collect())
    }

    fn in_order(&self) -> Vec<OpId> {
        let mut order: Vec<_> = self.waiting.iter().collect();
        order.sort_by_key(|(_, (arrival, request))| {
            let passed = self.arrivals - arrival > PASSED;
            let priority = if passed { Priority::Recovery } else { request.priority };
            (Reverse(passed), Reverse(priority), *arrival)
        });
        order.into_iter().map(|(id, _)| *id).collect()
    }

    fn waits_for_others(&self, request: &Request<K>) -> bool {
        request.after.iter().any(|id| self.is_known(*id))
    }

    fn is_known(&self, id: OpId) -> bool {
        self.waiting.contains_key(&id) || self.running.contains_key(&id)
    }

    /// Whether anything in `from`, or what that waits for, is `target`.
    fn waits_for(&self, from: &BTreeSet<OpId>, target: OpId) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<OpId> = from.iter().copied().collect();
        while let Some(id) = open.pop() {
            if id == target {
                return true;
            }
            if let Some((_, request)) = self.waiting.get(&id).filter(|_| seen.insert(id)) {
                open.extend(request.after.iter().copied());
            }
        }
        false
    }
}

fn conflicts_any<'a>(
    (key, mode): (&LockKey, &LockMode),
    mut others: impl Iterator<Item = impl Into<LockRef<'a>>>,
) -> bool {
    others.any(|other| {
        let LockRef(other_key, other_mode) = other.into();
        other_key == key && (*mode == LockMode::Exclusive || *other_mode == LockMode::Exclusive)
    })
}

struct LockRef<'a>(&'a LockKey, &'a LockMode);

impl<'a> From<(&'a LockKey, &'a LockMode)> for LockRef<'a> {
    fn from((key, mode): (&'a LockKey, &'a LockMode)) -> Self {
        Self(key, mode)
    }
}

impl<'a> From<&'a (LockKey, LockMode)> for LockRef<'a> {
    fn from((key, mode): &'a (LockKey, LockMode)) -> Self {
        Self(key, mode)
    }
}

#[cfg(test)]
mod tests;
