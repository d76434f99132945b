//! The node's HTTP pages: one listener on the Pod's loopback for people (`kubectl terrace` reaches it by
//! port-forward), one with health and metrics only for the kubelet and Prometheus. It changes nothing but what a person
//! asks for in [`orphans`].

mod audit;
pub mod latency;
pub mod orphans;

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use terrace_device_types::{HostState, Latch, StageState};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::context::Context;
use crate::inventory::{self, Listing, Located};

/// Why a page is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server ended.
    #[error("serve {address}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the pages look at.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The node.
    pub context: Context,
    /// Whether calls are served.
    pub ready: watch::Receiver<bool>,
}

/// Health and metrics: no names of volumes.
pub fn health(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

/// Everything, for the loopback.
pub fn all(pages: Pages) -> Router {
    let api = Router::new()
        .route("/v1/volumes", get(volumes))
        .route("/v1/operations", get(operations))
        .route("/v1/pools", get(pools))
        .route("/v1/audit", get(audit::page))
        .with_state(pages.clone());
    health(pages).merge(api)
}

/// Serves `router` until `end` turns true.
///
/// # Errors
/// [`Error`].
pub async fn serve(
    address: SocketAddr,
    router: Router,
    mut end: watch::Receiver<bool>,
) -> Result<(), Error> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    let ended = async move {
        // An error means that the sender is gone: the process ends either way.
        let _ = end.wait_for(|end| *end).await;
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(ended).await;
    served.map_err(|source| Error::Serve { address, source })
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if *pages.ready.borrow() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting: the cluster or the journal is not known yet")
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let runner = &pages.context.runner;
    let open = runner.journal.open_operations().map_or(0, |records| records.len());
    match runner.metrics.encode(&runner.queue.snapshot(), open) {
        Ok(page) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], page).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn operations(State(pages): State<Pages>) -> Json<Value> {
    let runner = &pages.context.runner;
    let journal = runner.journal.open_operations().unwrap_or_default();
    Json(json!({
        "queue": runner.queue.snapshot(),
        "running": runner.progress(),
        "journal": journal,
    }))
}

async fn volumes(State(pages): State<Pages>) -> Response {
    let Some(cluster) = pages.context.cluster() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the cluster is not known yet").into_response();
    };
    let known = pages.context.pools.clone();
    match pages.context.look(move |host| inventory::list(host, &known, &cluster)).await {
        Err(error) => (StatusCode::GATEWAY_TIMEOUT, error.to_string()).into_response(),
        Ok(Listing { ours, unreadable, failed }) => Json(json!({
            "volumes": ours.iter().map(volume).collect::<Vec<_>>(),
            "unreadable": unreadable.iter().map(|(_, image)| &image.path).collect::<Vec<_>>(),
            "failedPools": failed.iter().map(|(pool, error)| json!({
                "pool": pool.name, "error": error.to_string(),
            })).collect::<Vec<_>>(),
        }))
        .into_response(),
    }
}

fn volume(located: &Located) -> Value {
    let Located { pool, image, tag } = located;
    let state = match &tag.state {
        HostState::Creating => "creating".to_owned(),
        HostState::Ready => "ready".to_owned(),
        HostState::Retained => "retained".to_owned(),
        HostState::Quarantined { deletion } => format!("quarantined:{deletion}"),
    };
    let formatted = match &tag.latch {
        Latch::None | Latch::Formatting { .. } => None,
        Latch::Formatted { filesystem } => Some(filesystem.to_string()),
    };
    let staged = match &tag.stage {
        StageState::Never | StageState::Past => None,
        StageState::At { boot: _, target } => Some(target),
    };
    json!({
        "kind": tag.object.as_str(), "name": tag.name, "uuid": tag.volume, "source": tag.source,
        "pool": pool.name, "image": image.path,
        "sizeBytes": image.apparent, "allocatedBytes": image.allocated, "mode": tag.mode.to_string(),
        "state": state, "filesystemUuid": formatted, "stagedAt": staged,
    })
}

async fn pools(State(pages): State<Pages>) -> Response {
    let known = pages.context.pools.all();
    let look = move |host: &dyn crate::host::Host| {
        let views = known.into_iter().map(|pool| {
            let view = host.pool(&pool.dir).map_err(|error| error.to_string());
            json!({ "pool": pool, "view": view })
        });
        views.collect::<Vec<_>>()
    };
    match pages.context.look(look).await {
        Ok(pools) => Json(json!({ "pools": pools })).into_response(),
        Err(error) => (StatusCode::GATEWAY_TIMEOUT, error.to_string()).into_response(),
    }
}
