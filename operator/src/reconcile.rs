//! The controllers: observe, plan, apply. Each kind has its own file; the loop around them is here.

pub mod direct;
pub mod heal;
pub mod policy;
pub mod pool;
pub mod snapshot;
pub mod volume;

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Future, Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::applier;
use kube::runtime::controller::{self, Action};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource};
use terrace_plan::plan::{Next, Plan};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::apply::Effects;
use crate::cache::Caches;
use crate::error::Error;
use crate::leader::{Leading, holds};
use crate::metrics::{Kind, Metrics};
use crate::promises::Promises;

/// Objects of one kind that are reconciled at once.
const AT_ONCE: u16 = 16;

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
    store: Store<K>,
    queue: impl Stream<Item = Result<ObjectRef<K>, Infallible>>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let metrics = context.metrics.clone();
    let queue = queue.inspect_ok(move |_| metrics.queued(kind));
    let timed = move |object: Arc<K>, context: Arc<Context>| {
        let meta = object.meta();
        let (name, generation) = (meta.name.as_deref().unwrap_or_default(), meta.generation);
        let span =
            tracing::info_span!("reconcile", ?kind, namespace = meta.namespace, name, generation);
        let metrics = context.metrics.clone();
        Box::pin(
            async move {
                let began = Instant::now();
                let done = timeout(LONGEST, reconcile(object, context)).await;
                let late = |_| Err(Error::Deadline { waiting: "the API server".into() });
                let done = done.unwrap_or_else(late);
                metrics.reconciled(kind, done.as_ref().map(drop), began.elapsed());
                done
            }
            .instrument(span),
        )
    };
    let on_error = |_: Arc<K>, error: &Error, _: Arc<Context>| error.requeue();
    let config = controller::Config::default().concurrency(AT_ONCE);
    applier(timed, on_error, context, store, Box::pin(queue), config)
        .for_each(|done| async move {
            match done {
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
                Err(controller::Error::ReconcilerFailed(Error::Changed { .. }, object)) => {
                    tracing::debug!(name = %object.name, "changed meanwhile, looked at again");
                }
                Err(error) => {
                    tracing::warn!(%error, cause = cause(&error), ?kind, "reconciliation failed")
                }
            }
        })
        .await;
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
    async fn apply(&self, plan: &Plan) -> Result<Action, Error> {
        for effect in &plan.effects {
            if !holds(*self.leading.borrow()) {
                return Err(Error::NotLeading);
            }
            self.effects.apply(effect).await?;
            tracing::info!("{effect}");
        }
        Ok(match plan.next {
            Next::Change => Action::await_change(),
            Next::After(time) => Action::requeue(time),
        })
    }
}
