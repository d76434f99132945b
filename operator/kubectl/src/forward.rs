//! One HTTP request to a port on a Pod's loopback, through the API server (`pods/portforward`). It knows no Terrace.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::time::timeout;

/// Longest request: the node removes bytes before it answers.
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
    #[error("Pod {pod} did not answer within {} s; what was asked may still be under way", LONGEST.as_secs())]
    Late {
        /// The Pod.
        pod: String,
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

/// Sends JSON and gives the answer: its code and its text.
///
/// # Errors
/// [`ForwardError`]; a refusal of the server is an answer.
pub async fn post(
    pods: &Api<Pod>,
    at: Port<'_>,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, String), ForwardError> {
    let late = |_| ForwardError::Late { pod: at.pod.to_owned() };
    timeout(LONGEST, ask(pods, at, path, body)).await.map_err(late)?
}

async fn ask(
    pods: &Api<Pod>,
    Port { pod, port }: Port<'_>,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, String), ForwardError> {
    let broken = |source| ForwardError::Http { pod: pod.to_owned(), port, source };
    let refused =
        |source| ForwardError::Forward { pod: pod.to_owned(), port, source: Box::new(source) };
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(refused)?;
    // One port was asked for, so it has one stream.
    let Some(stream) = forwarder.take_stream(port) else {
        return Err(ForwardError::Late { pod: pod.to_owned() });
    };
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driven = tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let code = answer.status();
    let text = answer.into_body().collect().await.map_err(broken)?.to_bytes();
    driven.abort();
    Ok((code, String::from_utf8_lossy(&text).into_owned()))
}
