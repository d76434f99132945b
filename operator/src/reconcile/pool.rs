//! StoragePools: sum them up, keep them while they have volumes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use terrace_crds::StoragePool;
use terrace_plan::pool::plan_pool;

use super::{Context, Kind, run as run_controller};
use crate::error::Error;
use crate::queue::{Pick, on_change};

/// Sums of a pool are written at most this often.
const GATHER: Duration = Duration::from_millis(500);

/// Runs the controller until dropped.
pub(super) async fn run(context: Arc<Context>) {
    let caches = &context.caches;
    let store = caches.pools.store();
    let signals = vec![caches.pools.changed(), caches.volumes.changed(), caches.nodes.changed()];
    let queue = on_change(signals, store.clone(), GATHER, |_| Pick::Take);
    run_controller(Kind::StoragePool, context.clone(), store, queue, reconcile).await;
}

async fn reconcile(pool: Arc<StoragePool>, context: Arc<Context>) -> Result<Action, Error> {
    let world = context.promises.overlay(context.caches.world());
    let plan = plan_pool(&world, &pool, Timestamp::now());
    context.apply(&plan).await
}
