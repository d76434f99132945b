//! Lets thin pools grow before anybody meets a full one. Between the passes over the node, which wait for the API server, the kernel is asked every second what
//! each has in use: two system calls a pool, no command, nothing read off a disk and no write (I8). What it grows to is planned in terrace-backends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use terrace_backends::{is_past_watermark, plan_growth};
use terrace_device_types::lvm::ThinPoolStatus;
use terrace_device_types::{OperationId, PoolUuid};

use super::Agent;
use crate::audit::Asked;
use crate::host::Host;
use crate::journal::KnownPool;
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::{LockKey, LockMode, Priority};
use crate::runner::{self, AGENT_PATIENCE, Job, Outcome};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// After one that could not grow, or has all that its group can give.
const PAUSE: Duration = Duration::from_secs(10);

/// Looks until the end.
pub async fn watch(agent: Arc<Agent>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut paused: BTreeMap<PoolUuid, Instant> = BTreeMap::new();
    let mut told: BTreeMap<PoolUuid, [u32; 2]> = BTreeMap::new();
    loop {
        ticks.tick().await;
        paused.retain(|_, until| *until > Instant::now());
        for pool in agent.context.pools.all() {
            let uuid = pool.uuid;
            let Some(status) = in_use(&agent, &pool).await else { continue };
            let percent = [status.data.percent(), status.metadata.percent()];
            // New volumes are placed by what StorageNode shows.
            if told.insert(uuid, percent).is_some_and(|before| before != percent) {
                agent.dirty.notify_one();
            }
            if !paused.contains_key(&uuid)
                && is_past_watermark(&status)
                && !has_grown(&agent, pool).await
            {
                paused.insert(uuid, Instant::now() + PAUSE);
            }
        }
    }
}

/// Of a pool that is a thin one.
async fn in_use(agent: &Agent, pool: &KnownPool) -> Option<ThinPoolStatus> {
    if pool.devices.is_empty() {
        return None;
    }
    let dir = pool.dir.clone();
    let seen = agent.context.look(move |host| host.thin_use(&dir)).await;
    // One that can't be asked is told by the pass over the node.
    seen.ok()?.ok()?
}

/// Whether it grew.
async fn has_grown(agent: &Agent, pool: KnownPool) -> bool {
    let name = pool.name.clone();
    match grow(agent, pool).await {
        Ok(Outcome::Already) => false,
        Ok(_grown) => {
            tracing::info!(pool = name, "the thin pool passed a watermark and grew");
            agent.dirty.notify_one();
            true
        }
        Err(error) => {
            let error = super::report::chain(&error);
            tracing::warn!(error, pool = name, "a thin pool passed a watermark and can't grow");
            false
        }
    }
}

/// Gives a thin pool what it should have by now.
///
/// # Errors
/// [`runner::Error`]: the next second tries again.
pub async fn grow(agent: &Agent, pool: KnownPool) -> Result<Outcome, runner::Error> {
    let dir = pool.dir.clone();
    let plan = move |host: &dyn Host| {
        let view = host.pool(&dir).map_err(runner::Error::Observe)?;
        Ok(plan_growth(&view)?)
    };
    let subject = Subject { pool: Some(pool.uuid), name: pool.name, ..Subject::default() };
    let job = Job {
        kind: OpKind::PreparePool,
        subject,
        // Beside what is done to volumes: a long mkfs must not keep the pool from growing. LVM's own lock orders the two.
        locks: BTreeMap::from([(LockKey::Pool(pool.uuid.0), LockMode::Shared)]),
        priority: Priority::Agent,
        patience: AGENT_PATIENCE,
        asked: Asked::Pool,
    };
    agent.context.runner.run(job, move |host: &dyn Host, _: &OperationId| plan(host)).await
}
