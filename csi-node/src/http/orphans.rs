//! Orphans over HTTP: their list, and the end of one on a person's word. Served on the Pod's loopback alone; whether it may
//! go is decided in the agent.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use terrace_crds::Reason;
use terrace_device_types::{Class, VolumeUuid};

use crate::agent::deletion::orphan::{self, Error};
use crate::agent::orphans::plan_orphans;
use crate::agent::volume::reason_of;
use crate::agent::{Agent, report, stock};

/// A person's word.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    /// The name in the tag.
    name: String,
    /// Who says so, for the log.
    by: String,
}

/// Both pages.
pub fn pages(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/orphans", get(list))
        .route("/v1/orphans/{uuid}/delete", post(delete))
        .with_state(agent)
}

async fn list(State(agent): State<Arc<Agent>>) -> Response {
    let stock = match stock::take(&agent).await {
        Ok(stock) => stock,
        Err(error) => return said(StatusCode::GATEWAY_TIMEOUT, &error),
    };
    let Some(claims) = &stock.claims else {
        return said(StatusCode::SERVICE_UNAVAILABLE, &Error::Starting);
    };
    let orphans = plan_orphans(&stock.listing, claims, &[], agent.sweep_after);
    let failed: Vec<&str> =
        stock.listing.failed.iter().map(|(pool, _)| pool.name.as_str()).collect();
    Json(json!({ "orphans": orphans, "failedPools": failed })).into_response()
}

async fn delete(
    State(agent): State<Arc<Agent>>,
    Path(uuid): Path<String>,
    word: Result<Json<Word>, JsonRejection>,
) -> Response {
    let Json(Word { name, by }) = match word {
        Ok(word) => word,
        Err(rejection) => return (rejection.status(), rejection.body_text()).into_response(),
    };
    let uuid: VolumeUuid = match uuid.parse() {
        Ok(uuid) => uuid,
        Err(error) => return said(StatusCode::BAD_REQUEST, &error),
    };
    // It goes on when the caller goes away, and is told in the log either way.
    let done = tokio::spawn(async move {
        let done = orphan::delete(&agent, uuid, &name, &by).await;
        match &done {
            Ok(()) => tracing::info!(%uuid, name, by, "an orphan was deleted on a person's word"),
            Err(error) => {
                let error = report::chain(error);
                tracing::warn!(%uuid, name, by, error, "an orphan is not deleted");
            }
        }
        done.map(|()| Json(json!({ "uuid": uuid, "name": name })))
    });
    match done.await {
        Ok(Ok(gone)) => gone.into_response(),
        Ok(Err(error)) => said(status(&error), &error),
        Err(panic) => said(StatusCode::INTERNAL_SERVER_ERROR, &panic),
    }
}

fn said(status: StatusCode, error: &dyn std::error::Error) -> Response {
    (status, report::chain(error)).into_response()
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::NotHere { .. } => StatusCode::NOT_FOUND,
        Error::Starting | Error::Look(_) | Error::Unseen { .. } | Error::Unread(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Unreadable { .. } | Error::Twice { .. } | Error::Doubtful(_) | Error::Refused(_) => {
            StatusCode::CONFLICT
        }
        // Somebody's use of it is no fault of the node, however soon it may end.
        Error::Operation(error) if reason_of(error) == Reason::InUse => StatusCode::CONFLICT,
        Error::Operation(error) => match error.class() {
            Class::Wait | Class::Invalid => StatusCode::CONFLICT,
            Class::Retry | Class::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
            Class::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}
