//! The pass over the node itself: pools, devices, host objects, and the StorageNode that shows them. Runs
//! when a StoragePool or a volume changed, when a disk came or went, and now and then to look at figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::runtime::reflector::Store;
use terrace_crds::node::NodePool;
use terrace_crds::{StorageNodeStatus, StoragePool};
use terrace_device_types::{DeviceView, PoolUuid};
use tokio::sync::watch;

use super::disk_health::{Ailing, absent_disks, plan_ailing, plan_pool_ailments};
use super::disks::Disks;
use super::node_status::{Facts, plan_node_status};
use super::pool::{self, Allowed};
use super::{Agent, report, stock};
use crate::host::Facilities;

/// Changes that come together are taken together.
const SETTLE: Duration = Duration::from_millis(150);
/// After a pass that failed, such as while the API server is away.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Figures are looked at so often; nothing is written unless they moved.
const EVERY: Duration = Duration::from_secs(60);

/// What stays between passes.
struct State {
    facilities: Facilities,
    disks: Disks,
    labels: BTreeMap<String, String>,
    written: Option<StorageNodeStatus>,
    journal_aside: Option<String>,
    revision: u64,
}

/// The API server's store has gone back to an earlier revision: its etcd was restored. A watch that goes on
/// from a later revision is silent until the store has caught up, so every watch must be begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server went back from revision {seen} to {now}: it was restored; watching anew")]
pub struct Restored {
    /// The latest revision seen before.
    pub seen: u64,
    /// The revision now.
    pub now: u64,
}

/// Runs passes until `end` turns true.
///
/// # Errors
/// [`Restored`]: the process is to start again.
pub async fn run(
    agent: Arc<Agent>,
    pools: (Store<StoragePool>, impl Stream<Item = ()> + Send + 'static),
    allowed: Allowed,
    journal_aside: Option<String>,
    mut end: watch::Receiver<bool>,
) -> Result<(), Restored> {
    let (store, changes) = pools;
    // Driven by a task of its own: the store fills only while somebody polls the watch.
    let told = Arc::clone(&agent);
    let driven = tokio::spawn(changes.for_each(move |()| {
        told.dirty.notify_one();
        std::future::ready(())
    }));
    let host = Arc::clone(&agent.context.runner.host);
    let facilities = tokio::task::spawn_blocking(move || host.facilities()).await;
    let Ok(facilities) = facilities else { return Ok(()) };
    let mut state = State {
        facilities,
        disks: Disks::default(),
        labels: BTreeMap::new(),
        written: None,
        journal_aside,
        revision: 0,
    };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            () = agent.dirty.notified() => {}
            _ = ticks.tick() => {}
        }
        tokio::time::sleep(SETTLE).await;
        // Before the first list every pool would look deleted.
        if tokio::time::timeout(EVERY, store.wait_until_ready()).await.is_err() {
            continue;
        }
        if let Ok(Some(now)) = agent.api.revision().await {
            state.revision = validate_revision(state.revision, now)?;
        }
        if let Err(error) = pass(&agent, &store, &allowed, &mut state).await {
            let error = report::chain(&error);
            tracing::warn!(error, "a pass over the node failed; it is tried again");
            tokio::time::sleep(AFTER_FAILURE).await;
            agent.dirty.notify_one();
        }
    }
    driven.abort();
    Ok(())
}

/// The latest revision, unless it went back.
const fn validate_revision(seen: u64, now: u64) -> Result<u64, Restored> {
    if now < seen { Err(Restored { seen, now }) } else { Ok(now) }
}

async fn pass(
    agent: &Agent,
    store: &Store<StoragePool>,
    allowed: &Allowed,
    state: &mut State,
) -> Result<(), super::volume::Error> {
    if state.written.is_none() {
        let there = agent.api.node_status(&agent.node).await?;
        state.written = Some(there.unwrap_or_default());
    } else if !agent.api.has_node(&agent.node).await? {
        // It went with its kind, or by a person's hand, and nothing told: what was written is written anew.
        state.written = Some(StorageNodeStatus::default());
    }
    state.labels = agent.api.labels(&agent.node).await?;
    let devices = state.disks.look(&agent.context).await?;
    let there = state.written.clone().unwrap_or_default();
    let pools = store.state();
    let pools: Vec<&StoragePool> = pools.iter().map(|pool| &**pool).collect();
    let mut reports =
        pool::pass(agent, &pools, &state.labels, allowed, &devices, &there.pools).await;
    let signs = agent.disk_signs().clone();
    let ailing = plan_ailing(&devices, &signs, Timestamp::now());
    note_ailing(agent, &devices, &ailing, &mut reports);
    let Some(cluster) = agent.context.cluster() else { return Ok(()) };
    let stock = stock::take(agent).await?;
    stock::note(agent, &stock);
    let (swept, now) = (agent.swept().clone(), Timestamp::now());
    let listing = &stock.listing;
    let facts = Facts {
        cluster: &cluster,
        facilities: &state.facilities,
        devices: &devices,
        signs: &signs,
        ailing: &ailing,
        absent: &absent_disks(&agent.context.pools.all(), &devices),
        pools: reports,
        stock: &stock,
        sweep_after: agent.sweep_after,
        swept,
        probe: agent.probe.node_status(there.probe.as_ref(), now),
        journal_aside: state.journal_aside.as_deref(),
    };
    let status = plan_node_status(&facts, &there, now);
    if status == there {
        forget_removed(agent, &status);
        return Ok(());
    }
    let ready_before = ready_pools(&there);
    agent.api.apply_node_status(&agent.node, &status).await?;
    forget_removed(agent, &status);
    if ready_pools(&status) != ready_before {
        agent.pools_turned.notify_one();
        // Volumes that waited for a pool need not wait for their timer.
        listing.ours.iter().for_each(|located| agent.context.tell_changed(&located.tag.name));
        // Those of a pool that is gone must say so.
        there.volumes.iter().for_each(|volume| agent.context.tell_changed(&volume.name));
    }
    state.written = Some(status);
    Ok(())
}

/// Says of every pool what speaks against its disks; its volumes say it too.
fn note_ailing(agent: &Agent, devices: &[DeviceView], ailing: &[Ailing], reports: &mut [NodePool]) {
    agent.disks().clear();
    agent.disks().extend_from_slice(devices);
    let ailments = plan_pool_ailments(&agent.context.pools.all(), devices, ailing);
    for report in reports {
        let uuid = report.uuid.as_ref().and_then(|uuid| uuid.parse().ok());
        let named = uuid.and_then(|uuid: PoolUuid| ailments.get(&uuid));
        report.unhealthy = named.map(|named| named.message.clone()).or(report.unhealthy.take());
    }
    if *agent.pool_ailments() != ailments {
        *agent.pool_ailments() = ailments;
        let volumes = agent.objects.volumes();
        let names = volumes.iter().filter_map(|volume| volume.metadata.name.as_deref());
        names.for_each(|name| agent.context.tell_changed(name));
    }
}

/// What is not listed any more needs not be remembered as let go.
fn forget_removed(agent: &Agent, status: &StorageNodeStatus) {
    let is_listed = |uuid: &String| status.volumes.iter().any(|listed| listed.uuid == *uuid);
    agent.removed().retain(|uuid| is_listed(&uuid.to_string()));
}

fn ready_pools(status: &StorageNodeStatus) -> Vec<String> {
    use terrace_crds::pool::PoolState;
    let ready = status.pools.iter().filter(|pool| pool.state == PoolState::Ready);
    ready.map(|pool| pool.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Restored, validate_revision};

    #[test]
    fn a_store_that_goes_back_was_restored() {
        assert_eq!(validate_revision(0, 7), Ok(7));
        assert_eq!(validate_revision(7, 7), Ok(7));
        assert_eq!(validate_revision(9, 7), Err(Restored { seen: 9, now: 7 }));
    }
}
