//! LifecyclePolicies and TieringPolicies: say whether their text is sound. Nothing is carried out yet.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use terrace_crds::{LifecyclePolicy, TieringPolicy};
use terrace_plan::lifecycle::plan_lifecycle;
use terrace_plan::plan::Next;
use terrace_plan::tiering::plan_tiering;

use super::{Context, Kind, run as run_controller};
use crate::error::Error;
use crate::queue::{Pick, on_change};

/// A policy is looked at this soon after it changed.
const GATHER: Duration = Duration::from_millis(50);

/// Runs the controller of LifecyclePolicies until dropped.
pub(super) async fn run_lifecycle(context: Arc<Context>) {
    let (cache, changed) = (context.caches.lifecycle.clone(), context.caches.lifecycle.changed());
    let queue = on_change(vec![changed], cache.clone(), GATHER, |_| Pick::Take);
    run_controller(Kind::LifecyclePolicy, context, cache, queue, reconcile_lifecycle).await;
}

/// Runs the controller of TieringPolicies until dropped.
pub(super) async fn run_tiering(context: Arc<Context>) {
    let (cache, changed) = (context.caches.tiering.clone(), context.caches.tiering.changed());
    let queue = on_change(vec![changed], cache.clone(), GATHER, |_| Pick::Take);
    run_controller(Kind::TieringPolicy, context, cache, queue, reconcile_tiering).await;
}

async fn reconcile_lifecycle(
    policy: Arc<LifecyclePolicy>,
    context: Arc<Context>,
) -> Result<Next, Error> {
    context.apply(&plan_lifecycle(&policy, Timestamp::now())).await
}

async fn reconcile_tiering(
    policy: Arc<TieringPolicy>,
    context: Arc<Context>,
) -> Result<Next, Error> {
    context.apply(&plan_tiering(&policy, Timestamp::now())).await
}
