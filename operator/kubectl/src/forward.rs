//! One HTTP request to a port on a Pod's loopback, through the API server (`pods/portforward`). It knows no Terrace.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, DATE, HOST};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::time::timeout;

/// Longest request that changes something: the node removes bytes before it answers.
const LONGEST: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The API server, the kubelet or RBAC.
    #[error("forward port {port} of Pod {pod}")]
    Forward {
        /// The Pod.
        pod: String,
        /// The port.
        port: u16,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// Nobody listens there, or the connection broke.
    #[error("talk to port {port} of Pod {pod}")]
    Http {
        /// The Pod.
        pod: String,
        /// The port.
        port: u16,
        /// Why not.
        #[source]
        source: hyper::Error,
    },
    /// A request that cannot be written.
    #[error("write the request")]
    Request(#[from] hyper::http::Error),
    /// It took too long.
    #[error("Pod {pod} did not answer within {seconds} s; what was asked may still be under way")]
    Late {
        /// The Pod.
        pod: String,
        /// How long it had.
        seconds: u64,
    },
}

/// Where to ask.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// The Pod's name.
    pub pod: &'a str,
    /// The port.
    pub port: u16,
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its code.
    pub code: StatusCode,
    /// Its clock, where it tells.
    pub date: Option<Timestamp>,
    /// Its text.
    pub text: String,
}

/// Sends JSON and gives the answer.
///
/// # Errors
/// [`ForwardError`]; a refusal of the server is an answer.
pub async fn post(
    pods: &Api<Pod>,
    at: Port<'_>,
    path: &str,
    body: &Value,
) -> Result<Answer, ForwardError> {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    send(pods, at, LONGEST, request, body.to_string()).await
}

/// Reads a page, within `longest`.
///
/// # Errors
/// As [`post`].
pub async fn get(
    pods: &Api<Pod>,
    at: Port<'_>,
    path: &str,
    longest: Duration,
) -> Result<Answer, ForwardError> {
    send(pods, at, longest, Request::get(path), String::new()).await
}

async fn send(
    pods: &Api<Pod>,
    at: Port<'_>,
    longest: Duration,
    request: Builder,
    body: String,
) -> Result<Answer, ForwardError> {
    let request = request.header(HOST, "localhost").body(Full::new(Bytes::from(body)))?;
    let late = |_| ForwardError::Late { pod: at.pod.to_owned(), seconds: longest.as_secs() };
    timeout(longest, ask(pods, at, request)).await.map_err(late)?
}

async fn ask(
    pods: &Api<Pod>,
    Port { pod, port }: Port<'_>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, ForwardError> {
    let broken = |source| ForwardError::Http { pod: pod.to_owned(), port, source };
    let refused =
        |source| ForwardError::Forward { pod: pod.to_owned(), port, source: Box::new(source) };
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(refused)?;
    // One port was asked for, so it has one stream.
    let Some(stream) = forwarder.take_stream(port) else {
        return Err(ForwardError::Late { pod: pod.to_owned(), seconds: 0 });
    };
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driven = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(broken)?;
    let code = answer.status();
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).and_then(parse_date);
    let text = answer.into_body().collect().await.map_err(broken)?.to_bytes();
    driven.abort();
    Ok(Answer { code, date, text: String::from_utf8_lossy(&text).into_owned() })
}

/// HTTP's own way to write a moment: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_date;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let want = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(want));
        assert_eq!(parse_date("yesterday"), None);
    }
}
