//! What this node destroyed, over HTTP: the newest lines of its audit. Served on the Pod's loopback alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Pages;
use crate::agent::report::chain;
use crate::audit::Wanted;

pub(super) async fn page(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let wanted = match parse_query(&query.unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let audit = Arc::clone(&pages.context.runner.audit);
    match tokio::task::spawn_blocking(move || audit.read(&wanted)).await {
        Ok(Ok(found)) => Json(found).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, chain(&error)).into_response(),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()).into_response(),
    }
}

/// `volume=UUID&since=TIME`, either left out. Neither has a character that would have to be escaped.
fn parse_query(query: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("volume", uuid)) => {
                let parsed = uuid.parse().map_err(|_| format!("{uuid:?} is no UUID"))?;
                wanted.volume = Some(parsed);
            }
            Some(("since", time)) => {
                let parsed = time.parse().map_err(|_| format!("{time:?} is no RFC 3339 time"))?;
                wanted.since = Some(parsed);
            }
            Some(_) | None => return Err(format!("{pair:?} is neither volume= nor since=")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, parse_query};

    #[test]
    fn what_is_asked_for_is_read_and_all_else_refused() {
        let uuid = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11";
        let both = parse_query(&format!("volume={uuid}&since=2026-11-23T14:00:00Z")).unwrap();
        assert_eq!(both.volume.map(|uuid| uuid.to_string()).as_deref(), Some(uuid));
        assert_eq!(both.since, "2026-11-23T14:00:00Z".parse().ok());
        assert_eq!(parse_query(""), Ok(Wanted::default()));
        for odd in ["volume", "volume=x", "since=soon", "limit=1"] {
            assert!(parse_query(odd).is_err(), "{odd}");
        }
    }
}
