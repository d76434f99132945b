//! /healthz, /readyz and /metrics. Tells how the process fares, and nothing about volumes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cache::Caches;
use crate::metrics::Metrics;

/// The format of /metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the answers are made of.
#[derive(Clone, Debug)]
pub struct Health {
    /// Ready once these have arrived.
    pub caches: Arc<Caches>,
    /// Shown at /metrics.
    pub metrics: Arc<Metrics>,
}

/// Serves until told to stop.
///
/// # Errors
/// An address that cannot be bound.
pub async fn run(
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    serve(listener, router(health)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// Ready is: a CSI call would be answered from full caches.
async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    use futures::FutureExt;
    match health.caches.synced().now_or_never() {
        Some(()) => (StatusCode::OK, "ok"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the API server"),
    }
}

async fn metrics(State(health): State<Health>) -> Result<impl IntoResponse, StatusCode> {
    let text = health.metrics.text().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use axum::body::Body;
    use axum::http::Request;
    use futures::{FutureExt, StreamExt, stream};
    use k8s_openapi::api::core::v1::{Node, PersistentVolume};
    use kube::Resource;
    use kube::runtime::watcher::Event;
    use terrace_plan::world::{Host, Persistent};
    use tokio::sync::oneshot;
    use tower::ServiceExt;

    use super::{Arc, Caches, Health, Metrics, StatusCode, router};
    use crate::cache::observed::{Look, Observed, observe};
    use crate::cache::{Last, fill};

    /// A cache whose first list, an empty one, arrives as soon as `told` ends.
    fn cache<K>(told: impl Future<Output = ()> + Send + 'static) -> Observed<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + PartialEq + Send + Sync + 'static,
    {
        let list = told.map(|()| stream::iter([Ok(Event::Init), Ok(Event::InitDone)]));
        fill(list.flatten_stream().chain(stream::pending()))
    }

    /// What is seen of an empty list that is there at once.
    fn seen<K, T>() -> Observed<T>
    where
        K: Resource<DynamicType = ()> + Debug + Send + 'static,
        T: PartialEq + Send + Sync + 'static,
    {
        let list = stream::iter([Ok(Event::Init), Ok(Event::InitDone)]);
        observe(list.chain(stream::pending()), Look { see: |_: &K| None, key: |_| ("", "") })
    }

    async fn answer(health: &Health, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router(health.clone()).oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn ready_is_said_only_when_the_last_of_the_caches_is_full() {
        let (tell, told) = oneshot::channel::<()>();
        let now = std::future::ready;
        let caches = Caches {
            volumes: cache(now(())),
            snapshots: cache(now(())),
            pools: cache(now(())),
            nodes: cache(told.map(drop)),
            lifecycle: cache(now(())),
            tiering: cache(now(())),
            hosts: seen::<Node, Host>(),
            persistent: seen::<PersistentVolume, Persistent>(),
            last: Last::default(),
        };
        let caches = Arc::new(caches);
        let metrics = Arc::new(Metrics::default());
        let health = Health { caches: Arc::clone(&caches), metrics };
        let Caches { volumes, snapshots, pools, lifecycle, tiering, hosts, persistent, .. } =
            &*caches;
        futures::join!(volumes.synced(), snapshots.synced(), pools.synced(), hosts.synced());
        futures::join!(lifecycle.synced(), tiering.synced(), persistent.synced());
        assert_eq!(answer(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(&health, "/healthz").await, StatusCode::OK, "it lives, it is not ready");
        tell.send(()).unwrap();
        caches.synced().await;
        assert_eq!(answer(&health, "/readyz").await, StatusCode::OK);
    }
}
