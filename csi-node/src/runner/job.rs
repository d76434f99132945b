//! One operation to run, what it comes to, and where it stands meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use terrace_device_types::{PoolUuid, VolumeUuid};

use crate::audit::Asked;
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::Patience;
use crate::queue::schedule::{LockKey, LockMode, OpId, Priority};

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host was changed.
    Changed,
    /// It was already as asked for; nothing was journaled.
    Already,
}

/// One operation to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it does.
    pub kind: OpKind,
    /// To what.
    pub subject: Subject,
    /// What it needs for itself.
    pub locks: BTreeMap<LockKey, LockMode>,
    /// Who goes first.
    pub priority: Priority,
    /// How long it waits for its turn.
    pub patience: Patience,
    /// Who asks, for the audit.
    pub asked: Asked,
}

impl Job {
    /// A job on one volume: the volume alone, its pool shared.
    #[must_use]
    pub fn on_volume(
        kind: OpKind,
        subject: Subject,
        priority: Priority,
        patience: Patience,
    ) -> Self {
        let volume = subject.volume.map(|volume| (LockKey::Volume(volume.0), LockMode::Exclusive));
        let pool = subject.pool.map(|pool| (LockKey::Pool(pool.0), LockMode::Shared));
        let locks = volume.into_iter().chain(pool).collect();
        Self { kind, subject, locks, priority, patience, asked: Asked::usually(priority) }
    }

    /// The same job, asked for by somebody else than is usual.
    #[must_use]
    pub fn asked_by(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    /// The same job with more host objects, each for itself alone: all are taken at once.
    #[must_use]
    pub fn with_others(mut self, others: impl IntoIterator<Item = VolumeUuid>) -> Self {
        let keys = others.into_iter().map(|uuid| LockKey::Volume(uuid.0));
        self.locks.extend(keys.map(|key| (key, LockMode::Exclusive)));
        self
    }

    /// The same job with more pools, each shared.
    #[must_use]
    pub fn with_pools(mut self, pools: impl IntoIterator<Item = PoolUuid>) -> Self {
        let keys = pools.into_iter().map(|uuid| LockKey::Pool(uuid.0));
        self.locks.extend(keys.map(|key| (key, LockMode::Shared)));
        self
    }
}

/// Where a running operation stands, for status and API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Its name.
    pub id: OpId,
    /// What it does.
    pub kind: OpKind,
    /// To what.
    pub subject: Subject,
    /// The step it is at, in prose.
    pub step: String,
    /// When it began.
    pub since: jiff::Timestamp,
    /// How often this step was tried.
    pub attempts: u32,
}

/// The longest that an operation may wait for its turn when a Pod waits for it: shorter than the
/// kubelet's own patience, so that the holder is named while somebody listens.
pub const CALL_PATIENCE: Patience = Patience::Call(Duration::from_secs(10));
/// The same when nobody waits.
pub const AGENT_PATIENCE: Patience = Patience::Agent(Duration::from_secs(60));
