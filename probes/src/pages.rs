//! The probe's pages: /healthz, /readyz and /metrics on one port. They change nothing; the moment they show is asked of the loop.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::families;
use crate::metrics_page::{Format, encode};
use crate::metrics_view::View;

/// Asks the loop for a moment.
pub type Ask = mpsc::Sender<oneshot::Sender<Box<View>>>;

/// What the pages look at.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The loop.
    pub ask: Ask,
    /// Why the probe is not ready, as a sentence; empty: it is.
    pub unready: watch::Receiver<String>,
}

/// The routes.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

/// Healthy: the loop answers.
async fn healthz(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    match pages.ask.is_closed() {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the loop has ended"),
    }
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    let unready = pages.unready.borrow().clone();
    match unready.is_empty() {
        true => (StatusCode::OK, "ok".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, unready),
    }
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::wanted(accept.unwrap_or_default());
    let (answer, answered) = oneshot::channel();
    if pages.ask.send(answer).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Ok(view) = answered.await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match encode(families(&view), format) {
        Ok(page) => ([(header::CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
