//! The controllers: observe, plan, apply. Each kind has its own file; the loop around them is here.

pub mod direct;
pub mod heal;
pub mod policy;
pub mod pool;
pub mod snapshot;
pub mod volume;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Future, Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource};
use terrace_plan::plan::{Next, Plan};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::apply::Effects;
use crate::cache::Caches;
use crate::cache::observed::Observed;
use crate::controller;
use crate::error::Error;
use crate::leader::{Leading, holds};
use crate::metrics::{Kind, Metrics};
use crate::promises::Promises;

/// Objects of one kind that are reconciled at once.
const AT_ONCE: usize = 16;

/// Longest reconciliation (I10): an API server that takes a request and never answers must not keep an object
/// from being looked at again, and no write may outlive the lease by much.
const LONGEST: Duration = Duration::from_secs(10);

/// What controllers share.
pub struct Context {
    /// To read PVs without a cache.
    pub client: kube::Client,
    /// What was last told.
    pub caches: Arc<Caches>,
    /// The only way to change anything.
    pub effects: Effects,
    /// UID of the namespace kube-system.
    pub cluster: Uuid,
    /// Space promised and not yet told.
    pub promises: Arc<Promises>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<Leading>,
    /// What happened.
    pub metrics: Arc<Metrics>,
}

/// Runs every controller until the future is dropped.
pub async fn run_all(context: Arc<Context>) {
    futures::join!(
        volume::run(context.clone()),
        snapshot::run(context.clone()),
        heal::run(context.clone()),
        pool::run(context.clone()),
        policy::run_lifecycle(context.clone()),
        policy::run_tiering(context)
    );
}

/// The loop of one controller.
async fn run<K, F>(
    kind: Kind,
    context: Arc<Context>,
    cache: Observed<K>,
    queue: impl Stream<Item = ObjectRef<K>>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Resource<DynamicType = ()>,
    F: Future<Output = Result<Next, Error>> + Send,
{
    let metrics = context.metrics.clone();
    let queue = queue.inspect(move |_| metrics.queued(kind));
    controller::run(queue, AT_ONCE, |object| {
        let found = cache.find(object)?;
        let meta = found.meta();
        let (name, generation) = (meta.name.as_deref().unwrap_or_default(), meta.generation);
        let span =
            tracing::info_span!("reconcile", ?kind, namespace = meta.namespace, name, generation);
        let (metrics, context) = (context.metrics.clone(), context.clone());
        Some(Box::pin(
            async move {
                let began = Instant::now();
                let done = timeout(LONGEST, reconcile(found, context)).await;
                let late = |_| Err(Error::Deadline { waiting: "the API server".into() });
                let done = done.unwrap_or_else(late);
                metrics.reconciled(kind, done.as_ref().map(drop), began.elapsed());
                done.unwrap_or_else(|error| look_again(&error))
            }
            .instrument(span),
        ))
    })
    .await;
}

/// When an object is looked at again whose reconciliation failed.
fn look_again(error: &Error) -> Next {
    match error {
        Error::Changed { .. } => tracing::debug!("changed meanwhile, looked at again"),
        error => tracing::warn!(%error, cause = cause(error), "reconciliation failed"),
    }
    error.requeue()
}

/// The innermost reason of an error, which the outer ones do not repeat.
fn cause(error: &dyn std::error::Error) -> Option<String> {
    let mut innermost = error.source()?;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    Some(innermost.to_string())
}

/// Whether the API server itself says that there is no such node, of one that no cache shows and that a plan
/// depends on.
async fn find_gone(context: &Context, node: Option<&str>) -> Result<Option<String>, Error> {
    let Some(node) = node else { return Ok(None) };
    let found = Api::<Node>::all(context.client.clone()).get_metadata_opt(node).await;
    let found = found.map_err(|error| Error::api("get Node", node, error))?;
    Ok(found.is_none().then(|| node.to_owned()))
}

impl Context {
    /// Carries a plan out, in its order; the first failure ends it, and the next plan starts from what is there.
    async fn apply(&self, plan: &Plan) -> Result<Next, Error> {
        for effect in &plan.effects {
            if !holds(*self.leading.borrow()) {
                return Err(Error::NotLeading);
            }
            self.effects.apply(effect).await?;
            tracing::info!("{effect}");
        }
        Ok(plan.next)
    }
}
