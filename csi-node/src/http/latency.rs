//! Latency over HTTP, for `kubectl terrace top` and `kubectl terrace latency`. Served on the Pod's loopback alone; it shows what
//! the probe said last and measures nothing.
//!
//! `GET /v1/latency` is a [`Table`]: every volume that a Pod of this node uses, of whatever CSI driver, also one on which nothing
//! is done. `GET /v1/latency/{pv}` is a [`Drawing`]: the volume's whole histograms. Times are nanoseconds, moments RFC 3339.
//! Where there is no answer, the body is a sentence: 404 no Pod here uses the volume, 503 no probe is connected, 504 the probe
//! did not answer in time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use terrace_probe_abi::layout::{Operation, edges};
use terrace_probe_abi::wire::{
    ErrorTotals, Hello, HistogramOf, OperationBuckets, OperationSummary, VolumeFigures, VolumeName,
};

use crate::agent::Agent;
use crate::agent::probe::board::{AskError, Board, Link, Reading, moment};
use crate::agent::probe::known::Known;
use crate::agent::probe::status::{is_settled, operation_name};

/// `GET /v1/latency`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Name of this node.
    pub node: String,
    /// The probe.
    pub probe: ProbeRow,
    /// Volumes, by namespace and claim.
    pub volumes: Vec<VolumeRow>,
}

/// Whether the figures are fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeRow {
    /// Whether a probe is connected now.
    pub connected: bool,
    /// Its version, once it has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The kernel it watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Ways to a volume that it cannot see.
    pub unobservable: Vec<String>,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRow {
    /// The PersistentVolume.
    pub pv_name: String,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The CSI driver.
    pub driver: String,
    /// The claim's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The StorageVolume, where it is one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Names of the Pods of this node that use it; all are of the claim's namespace.
    pub pods: Vec<String>,
    /// What its p99 is to stay below.
    #[serde(rename = "targetP99Ns", skip_serializing_if = "Option::is_none")]
    pub target_p99_ns: Option<u64>,
    /// Whether it is above that; absent while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<bool>,
    /// The last window with operations; absent where there was none since this node's agent began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
}

/// Figures of one window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latest {
    /// When the window ended: older than twice its length means that nothing is done on the volume.
    pub at: Timestamp,
    /// Its length.
    pub window_seconds: u64,
    /// Operations that happened in it, in the order read, write, fsync, readdir.
    pub operations: Vec<OperationRow>,
    /// The last read or write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_access: Option<Timestamp>,
    /// Reads and writes a day.
    pub accesses_per_day: f64,
    /// Errors since the probe first saw the volume.
    pub errors: Errors,
}

/// One operation within a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationRow {
    /// `read`, `write`, `fsync` or `readdir`.
    pub operation: &'static str,
    /// Operations a second.
    pub ops_per_second: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Mean.
    pub average_ns: u64,
    /// Median.
    #[serde(rename = "p50Ns")]
    pub p50_ns: u64,
    /// 95 of 100 were at most as slow.
    #[serde(rename = "p95Ns")]
    pub p95_ns: u64,
    /// 99 of 100 were at most as slow.
    #[serde(rename = "p99Ns")]
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// How many were slow.
    pub slow: u64,
    /// Their share, from 0 to 1.
    pub slow_share: f64,
}

/// Errors by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// EIO.
    pub eio: u64,
    /// EROFS.
    pub erofs: u64,
    /// ENOSPC.
    pub enospc: u64,
    /// EDQUOT.
    pub edquot: u64,
    /// Any other.
    pub other: u64,
}

/// `GET /v1/latency/{pv}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawing {
    /// The volume as in the table.
    pub volume: VolumeRow,
    /// Its histograms since the probe first saw it: one for each operation that ever happened, in the order of the table.
    pub histograms: Vec<Histogram>,
}

/// All of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// `read`, `write`, `fsync` or `readdir`.
    pub operation: &'static str,
    /// Operations.
    pub count: u64,
    /// Sum of all latencies.
    pub sum_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// Buckets with operations in them, fastest first.
    pub buckets: Vec<Bucket>,
}

/// Operations that took from `from_ns` to less than `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// From.
    pub from_ns: u64,
    /// To; absent of the last bucket, which has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_ns: Option<u64>,
    /// How many.
    pub count: u64,
}

/// How long the probe may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Both pages.
pub fn pages(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/latency", get(table))
        .route("/v1/latency/{pv}", get(drawing))
        .with_state(agent)
}

async fn table(State(agent): State<Arc<Agent>>) -> Json<Table> {
    let known = agent.probe.knows();
    let mut volumes: Vec<VolumeRow> =
        known.names.volumes.iter().map(|volume| row(&agent.probe, &known, volume)).collect();
    volumes.sort_by(|one, two| (&one.namespace, &one.claim).cmp(&(&two.namespace, &two.claim)));
    Json(Table { node: agent.node.clone(), probe: probe(&agent.probe), volumes })
}

async fn drawing(State(agent): State<Arc<Agent>>, Path(pv): Path<String>) -> Response {
    let known = agent.probe.knows();
    let Some(volume) = known.volume(&pv) else {
        let sentence = format!("no Pod of node {} uses PersistentVolume {pv}", agent.node);
        return (StatusCode::NOT_FOUND, sentence).into_response();
    };
    match tokio::time::timeout(ANSWER, agent.probe.ask(&pv)).await {
        Ok(Ok(HistogramOf { pv_name: _, operations })) => {
            let volume = row(&agent.probe, &known, volume);
            let histograms = operations.iter().map(histogram).collect();
            Json(Drawing { volume, histograms }).into_response()
        }
        Ok(Err(error @ AskError::NoProbe)) => {
            (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
        }
        Ok(Err(AskError::NoAnswer)) | Err(_) => {
            (StatusCode::GATEWAY_TIMEOUT, AskError::NoAnswer.to_string()).into_response()
        }
    }
}

fn probe(board: &Board) -> ProbeRow {
    let connected = matches!(board.link(), Link::Up { .. });
    let hello = board.hello();
    let (version, kernel, unobservable) = match hello {
        Some(Hello { version, kernel, functions: _, unobservable }) => {
            (Some(version), Some(kernel), unobservable)
        }
        None => (None, None, Vec::new()),
    };
    ProbeRow { connected, version, kernel, unobservable }
}

fn row(board: &Board, known: &Known, volume: &VolumeName) -> VolumeRow {
    let reading = board.reading(&volume.pv_name).unwrap_or_default();
    let Reading { figures, turned, errors: _ } = reading;
    let link = board.link();
    // Silence means that it is not high once the probe has had its time to find out.
    let silent = is_settled(link, Timestamp::now()).then_some(false);
    let high = turned.map(|turned| turned.high).or(silent);
    let owners = known.owners.get(&volume.pv_name);
    let pods = owners.map(|owners| owners.pods.iter().map(|pod| pod.name.clone()).collect());
    VolumeRow {
        pv_name: volume.pv_name.clone(),
        namespace: volume.namespace.clone(),
        claim: volume.claim.clone(),
        driver: volume.driver.clone(),
        storage_class: volume.storage_class.clone(),
        volume: volume.volume.clone(),
        pods: pods.unwrap_or_default(),
        target_p99_ns: volume.target_p99_ns,
        high: high.filter(|_| matches!(link, Link::Up { .. })),
        latest: figures.map(|(at, figures)| latest(at, &figures)),
    }
}

fn latest(at: Timestamp, figures: &VolumeFigures) -> Latest {
    let all = Operation::ALL.iter();
    let operations = all.filter_map(|one| Some(operation(*one, figures.operations.of(*one)?)));
    let ErrorTotals { eio, erofs, enospc, edquot, other } = figures.errors;
    Latest {
        at,
        window_seconds: figures.window_seconds,
        operations: operations.collect(),
        last_access: figures.last_access.map(moment),
        accesses_per_day: figures.accesses_per_day,
        errors: Errors { eio, erofs, enospc, edquot, other },
    }
}

fn operation(operation: Operation, summary: &OperationSummary) -> OperationRow {
    let OperationSummary {
        ops_per_second,
        bytes_per_second,
        average_ns,
        p50_ns,
        p95_ns,
        p99_ns,
        max_ns,
        slow,
        slow_share,
    } = *summary;
    OperationRow {
        operation: operation_name(operation),
        ops_per_second,
        bytes_per_second,
        average_ns,
        p50_ns,
        p95_ns,
        p99_ns,
        max_ns,
        slow,
        slow_share,
    }
}

fn histogram(told: &OperationBuckets) -> Histogram {
    let counted = told.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
    let buckets = counted.map(|(bucket, count)| {
        let (from_ns, to_ns) = edges(bucket);
        Bucket { from_ns, to_ns: (to_ns != u64::MAX).then_some(to_ns), count: *count }
    });
    Histogram {
        operation: operation_name(told.operation),
        count: told.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count)),
        sum_ns: told.sum_ns,
        max_ns: told.max_ns,
        buckets: buckets.collect(),
    }
}
