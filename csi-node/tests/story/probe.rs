//! The node's half of the probe: a probe that is a few lines of this test, a fake API server, a real socket and real filesystems.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use terrace_crds::StorageVolume;
use terrace_node::agent::Agent;
use terrace_node::agent::probe::board::Board;
use terrace_node::agent::probe::names::Settings;
use terrace_node::agent::probe::{events, names, serve, write};
use terrace_probe_abi::layout::{Operation, Tier};
use terrace_probe_abi::wire::{
    ErrorTotals, Figures, FunctionTier, Hello, HistogramOf, MissedCount, Names, OperationBuckets,
    OperationSummary, OperationsSummary, ToNode, ToProbe, Turned, VolumeFigures, from_line,
    to_line,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use crate::agent::{condition, new_agent, volume};
use crate::api::{Cluster, FakeApi};
use crate::bench::{Bench, Running};

/// One of another CSI driver, and ours.
fn cluster() -> Cluster {
    let uses =
        |claim: &str| json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "namespace": "shop", "uid": "pod-uid" },
        "spec": { "containers": [], "nodeName": "node-1", "volumes": [uses("data"), uses("logs")] } });
    let claim = |name: &str, pv: &str| {
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": "shop", "uid": format!("{name}-uid") },
            "spec": { "volumeName": pv, "storageClassName": "fast" } })
    };
    let persistent = |name: &str, driver: &str| {
        json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
            "spec": { "csi": { "driver": driver, "volumeHandle": name } } })
    };
    Cluster {
        uid: "cluster".into(),
        pods: vec![pod],
        claims: vec![claim("data", "vol"), claim("logs", "pvc-other")],
        persistent: vec![
            persistent("vol", "csi.terrace.storage"),
            persistent("pvc-other", "ebs.csi.aws.com"),
        ],
        ..Cluster::default()
    }
}

pub(crate) fn figures(p99_ns: u64, eio: u64) -> ToNode {
    let summary = OperationSummary {
        ops_per_second: 120.0,
        bytes_per_second: 491_520.0,
        p50_ns: 80_000,
        p99_ns,
        max_ns: p99_ns * 2,
        ..OperationSummary::default()
    };
    let volume = |pv: &str| VolumeFigures {
        pv_name: pv.into(),
        window_seconds: 5,
        operations: OperationsSummary { write: Some(summary), ..OperationsSummary::default() },
        last_access: Some(1_795_000_000),
        accesses_per_day: 3.0,
        errors: ErrorTotals { eio, ..ErrorTotals::default() },
        ..VolumeFigures::default()
    };
    let missed = vec![MissedCount { reason: "compat".into(), count: 3 }];
    ToNode::Figures(Figures { volumes: vec![volume("vol"), volume("pvc-other")], missed })
}

pub(crate) fn turned(pv: &str, high: bool) -> ToNode {
    ToNode::Turned(Turned {
        pv_name: pv.into(),
        high,
        operation: Operation::Fsync,
        measured_p99_ns: 41_000_000,
        target_ns: 10_000_000,
        since_unix: 1_795_000_000,
        slow_share: 0.31,
    })
}

pub(crate) fn hello(tier: Tier, reason: Option<&str>) -> ToNode {
    let function =
        FunctionTier { function: "vfs_write".into(), tier, reason: reason.map(str::to_owned) };
    ToNode::Hello(Hello {
        version: "0.1.0".into(),
        kernel: "6.18.0".into(),
        functions: vec![function],
        unobservable: vec!["mmap".into()],
    })
}

/// An agent with one volume, that runs its half of the probe.
struct Node {
    agent: Arc<Agent>,
    fake: FakeApi,
    end: watch::Sender<bool>,
    socket: std::path::PathBuf,
    /// All that was written so far.
    log: Mutex<Vec<(String, Value)>>,
    writer: reflector::store::Writer<StorageVolume>,
}

/// One that has not run for long enough to say that nobody measures.
fn young(agent: Agent) -> Agent {
    agent
}

/// One that began a minute ago.
fn old(mut agent: Agent) -> Agent {
    agent.probe = Arc::new(Board::new(Timestamp::now() - SignedDuration::from_mins(1)));
    agent
}

impl Node {
    fn start(bench: &Bench, running: &Running, aged: impl Fn(Agent) -> Agent) -> Self {
        let fake = FakeApi::default();
        fake.set_cluster(cluster());
        let agent = Arc::new(aged(new_agent(running, &fake)));
        let (store, mut writer) = reflector::store();
        agent.objects.watch_volumes(store);
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitApply(volume(bench, "16Mi")));
        writer.apply_watcher_event(&Event::InitDone);
        let (end, ended) = watch::channel(false);
        let socket = bench.path("probe/probe.sock");
        let (turned, turns) = mpsc::unbounded_channel();
        tokio::spawn(serve::run(Arc::clone(&agent.probe), socket.clone(), turned, ended.clone()));
        let settings = Settings {
            default_target_ns: Some(10_000_000),
            directories: Vec::new(),
            host_root: bench.path("host"),
        };
        tokio::spawn(names::run(Arc::clone(&agent), settings, ended.clone()));
        tokio::spawn(events::run(Arc::clone(&agent), turns, ended.clone()));
        tokio::spawn(write::run(Arc::clone(&agent), Some(10_000_000), ended));
        Self { agent, fake, end, socket, log: Mutex::default(), writer }
    }

    async fn connect(&self) -> Probe {
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Probe(BufReader::new(stream)),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Waits until this holds of a write after the first `from` of them; that one.
    async fn until(&self, from: usize, holds: impl Fn(&str, &Value) -> bool) -> Value {
        let wait = async {
            loop {
                let more = self.fake.take_writes().into_iter();
                {
                    let mut log = self.log.lock().expect("unpoisoned");
                    log.extend(more.map(|(_, path, body)| (path, body)));
                    if let Some((_, body)) =
                        log[from..].iter().find(|(path, body)| holds(path, body))
                    {
                        return body.clone();
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("written in time")
    }

    fn written(&self) -> usize {
        self.log.lock().expect("unpoisoned").len()
    }

    /// The status of the volume once LatencyHigh says so; it is seen by the watch from then on.
    async fn latency_high(&mut self, bench: &Bench, truth: &str) -> Value {
        let is_it = |path: &str, body: &Value| {
            path.ends_with("/storagevolumes/vol/status")
                && body["status"]["conditions"][0]["status"] == truth
        };
        let body = self.until(self.written(), is_it).await;
        assert_eq!(body["metadata"], json!({ "name": "vol", "uid": "u" }), "of this object alone");
        let mut object = volume(bench, "16Mi");
        object.metadata.resource_version = Some(Timestamp::now().as_nanosecond().to_string());
        let there = serde_json::from_value(body["status"].clone()).expect("a status");
        object.status = Some(there);
        self.writer.apply_watcher_event(&Event::Apply(object));
        body["status"].clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end.send_replace(true);
    }
}

struct Probe(BufReader<UnixStream>);

impl Probe {
    async fn say(&mut self, message: &ToNode) {
        self.0.write_all(&to_line(message).expect("a line")).await.expect("written");
    }

    async fn hear(&mut self) -> ToProbe {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).await.expect("read");
        from_line(&line).expect("a message")
    }

    /// The first names that are not empty.
    async fn names(&mut self) -> Names {
        loop {
            if let ToProbe::Names(names) = self.hear().await
                && !names.volumes.is_empty()
            {
                return names;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_pods_and_claims_of_any_driver_reach_the_probe_and_no_list_of_all_volumes_is_read()
{
    let bench = Bench::new();
    let running = bench.start().await;
    let node = Node::start(&bench, &running, young);
    let names = node.connect().await.names().await;
    let said: Vec<_> = names
        .volumes
        .iter()
        .map(|volume| (volume.pv_name.as_str(), volume.claim.as_str(), volume.driver.as_str()))
        .collect();
    assert_eq!(
        said,
        [("pvc-other", "logs", "ebs.csi.aws.com"), ("vol", "data", "csi.terrace.storage")]
    );
    assert_eq!(names.volumes[1].volume.as_deref(), Some("vol"));
    assert_eq!(names.volumes[0].target_p99_ns, Some(10_000_000));
    assert_eq!(names.pods[0].name, "web");
    let reads = node.fake.take_reads();
    let lists = reads.iter().filter(|uri| uri.contains("/persistentvolumes?"));
    assert_eq!(lists.count(), 0, "{reads:?}");
    assert!(reads.iter().any(|uri| uri.contains("/pods?") && uri.contains("nodeName")));
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_that_turns_is_told_in_status_and_events_and_an_idle_volume_is_left_alone() {
    let bench = Bench::new();
    let running = bench.start().await;
    let mut node = Node::start(&bench, &running, old);
    let unknown = node.latency_high(&bench, "Unknown").await;
    assert_eq!(condition(&unknown, "LatencyHigh").1, "NoProbe");

    let mut probe = node.connect().await;
    probe.say(&hello(Tier::Fentry, None)).await;
    probe.names().await;
    let low = node.latency_high(&bench, "False").await;
    assert_eq!(condition(&low, "LatencyHigh").1, "BelowTarget");
    assert!(low["latency"].is_null(), "nothing was done on it");

    probe.say(&figures(41_000_000, 0)).await;
    probe.say(&turned("vol", true)).await;
    probe.say(&turned("pvc-other", true)).await;
    let told = |name: &'static str, kind: &'static str| {
        move |path: &str, body: &Value| {
            path.ends_with("/events")
                && body["regarding"]["kind"] == kind
                && body["reason"] == "LatencyHigh"
                && (kind == "Pod" || body["regarding"]["name"] == name)
        }
    };
    let high = node.latency_high(&bench, "True").await;
    let (_, reason, message) = condition(&high, "LatencyHigh");
    assert_eq!(reason, "AboveTarget");
    for part in ["fsync", "41ms", "10ms", "31 %", "check I/O patterns and scaling"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(high["latency"]["p99"], "41ms");
    assert_eq!(high["latency"]["write"]["opsPerSecond"], 120.0);
    assert_eq!(high["access"]["perDay"], 3.0);
    for about in [told("logs", "PersistentVolumeClaim"), told("data", "PersistentVolumeClaim")] {
        node.until(0, about).await;
    }
    let event = node.until(0, told("", "Pod")).await;
    assert_eq!(event["regarding"]["uid"], "pod-uid");
    assert!(event["note"].as_str().expect("text").contains("check I/O patterns"), "{event}");

    let before = running.context.runner.metrics.api_writes();
    node.agent.probe.changed.notify_one();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(running.context.runner.metrics.api_writes(), before, "I8");

    probe.say(&turned("vol", false)).await;
    let low = node.latency_high(&bench, "False").await;
    assert_eq!(condition(&low, "LatencyHigh").1, "BelowTarget");
    assert_eq!(low["latency"]["p99"], "41ms", "what was measured stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_can_attach_nothing_is_believed_and_quoted() {
    let bench = Bench::new();
    let running = bench.start().await;
    let mut node = Node::start(&bench, &running, young);
    let mut probe = node.connect().await;
    probe.say(&hello(Tier::None, Some("the kernel is older than 5.8"))).await;
    let unknown = node.latency_high(&bench, "Unknown").await;
    let (_, reason, message) = condition(&unknown, "LatencyHigh");
    assert_eq!(reason, "NotObservable");
    assert!(message.contains("the kernel is older than 5.8"), "{message}");
    let shown = node.agent.probe.node_status(None, Timestamp::now()).expect("shown");
    assert_eq!(shown.unobservable, ["mmap"]);
}

async fn get(router: axum::Router, path: &str) -> (u16, Value) {
    let request = http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_every_volume_and_the_whole_histogram_of_one() {
    let bench = Bench::new();
    let running = bench.start().await;
    let node = Node::start(&bench, &running, young);
    let pages = terrace_node::http::latency::pages(Arc::clone(&node.agent));
    assert_eq!(get(pages.clone(), "/v1/latency").await.1["probe"]["connected"], false);
    let mut probe = node.connect().await;
    probe.names().await;
    assert_eq!(get(pages.clone(), "/v1/latency/pvc-nobodys").await.0, 404);
    probe.say(&hello(Tier::Fentry, None)).await;
    probe.say(&turned("vol", true)).await;
    probe.say(&figures(2_000_000, 0)).await;
    while node.agent.probe.reading("vol").is_none_or(|reading| reading.figures.is_none()) {
        tokio::task::yield_now().await;
    }
    let (_, table) = get(pages.clone(), "/v1/latency").await;
    assert_eq!(table["node"], "node-1");
    assert_eq!(table["probe"]["version"], "0.1.0");
    let row = &table["volumes"][0];
    assert_eq!((&row["claim"], &row["pods"]), (&json!("data"), &json!(["web"])));
    assert_eq!((&row["high"], &row["targetP99Ns"]), (&json!(true), &json!(10_000_000)));
    let operation = &row["latest"]["operations"][0];
    assert_eq!(
        (&operation["operation"], &operation["p99Ns"]),
        (&json!("write"), &json!(2_000_000))
    );
    assert_eq!(operation["bytesPerSecond"], 491_520.0);

    let answer = async {
        assert_eq!(probe.hear().await, ToProbe::Histogram { pv_name: "vol".into() });
        let mut buckets = vec![0; 194];
        (buckets[1], buckets[193]) = (7, 1);
        let operation = Operation::Read;
        let operations = vec![OperationBuckets { operation, sum_ns: 9, max_ns: 8, buckets }];
        let histogram = HistogramOf { pv_name: "vol".into(), operations };
        probe.say(&ToNode::HistogramOf(histogram)).await;
    };
    let ((code, drawing), ()) = tokio::join!(get(pages.clone(), "/v1/latency/vol"), answer);
    assert_eq!(code, 200, "{drawing}");
    let want = json!([{ "operation": "read", "count": 8, "sumNs": 9, "maxNs": 8, "buckets": [
        { "fromNs": 1024, "toNs": 1152, "count": 7 }, { "fromNs": 17_179_869_184_u64, "count": 1 },
    ] }]);
    assert_eq!(drawing["histograms"], want);
    drop(probe);
    while get(pages.clone(), "/v1/latency").await.1["probe"]["connected"] == true {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(pages, "/v1/latency/vol").await.0, 503);
}
