//! StoragePools: sum them up, keep them while they have volumes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use terrace_crds::StoragePool;
use terrace_plan::plan::Next;
use terrace_plan::pool::plan_pool;

use super::{Context, Kind, run as run_controller};
use crate::error::Error;
use crate::queue::{Pick, on_change};

/// Sums of a pool are written at most this often.
const GATHER: Duration = Duration::from_millis(500);

/// Runs the controller until dropped.
pub(super) async fn run(context: Arc<Context>) {
    let caches = &context.caches;
    let cache = caches.pools.clone();
    let signals = vec![caches.pools.changed(), caches.volumes.changed(), caches.nodes.changed()];
    let queue = on_change(signals, cache.clone(), GATHER, |_| Pick::Take);
    run_controller(Kind::StoragePool, context.clone(), cache, queue, reconcile).await;
}

async fn reconcile(pool: Arc<StoragePool>, context: Arc<Context>) -> Result<Next, Error> {
    let world = context.promises.overlay(context.caches.world());
    let plan = plan_pool(&world, &pool, Timestamp::now());
    context.apply(&plan).await
}
