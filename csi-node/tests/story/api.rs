//! A fake API server for what the agent reads and writes: it answers from a few values and remembers what
//! was written. It knows no rules; those are proven on a real one.
use std::sync::{Arc, Mutex};

use axum::body::Body as Answer;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What is there, and what was written.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The PersistentVolume, or the status code of an error; `None`: there is none.
    pub(crate) pv: Option<Result<Value, u16>>,
    /// The status of the StorageNode; `None`: there is none.
    pub(crate) node: Option<Value>,
    /// Every write: method, path, body.
    pub(crate) writes: Vec<(Method, String, Value)>,
    /// What lists say, where a story needs them.
    pub(crate) cluster: Option<Cluster>,
    /// The paths of everything read, with their queries.
    pub(crate) reads: Vec<String>,
}

/// A cluster as lists show it, one object a page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    /// UID of kube-system.
    pub(crate) uid: String,
    pub(crate) volumes: Vec<Value>,
    pub(crate) snapshots: Vec<Value>,
    pub(crate) persistent: Vec<Value>,
    /// Pods, whose watch never says anything.
    pub(crate) pods: Vec<Value>,
    /// Claims of any namespace, read by name.
    pub(crate) claims: Vec<Value>,
    /// The kind that is being deleted.
    pub(crate) terminating: Option<&'static str>,
    /// What of a path is answered with which code instead.
    pub(crate) failing: Option<(&'static str, u16)>,
}

impl Cluster {
    /// Answers what it knows.
    fn answer(&self, path: &str, query: &str) -> Option<Response<Answer>> {
        let Self { uid, volumes, snapshots, persistent, pods, claims, terminating, failing } = self;
        if let Some((part, code)) = failing
            && path.contains(part)
        {
            return Some(reply(*code, &failure(*code)));
        }
        if query.contains("watch=true") {
            return Some(silence());
        }
        if let Some(found) = named(path, "persistentvolumeclaims", claims) {
            return Some(reply(200, found));
        }
        if let Some(found) = named(path, "persistentvolumes", persistent) {
            return Some(reply(200, found));
        }
        let terrace = "terrace.storage/v1alpha1";
        let (api, kind, all) = match path.rsplit('/').next()? {
            "storagevolumes" => (terrace, "StorageVolume", volumes),
            "storagesnapshots" => (terrace, "StorageSnapshot", snapshots),
            "persistentvolumes" => ("v1", "PersistentVolume", persistent),
            "pods" => ("v1", "Pod", pods),
            "kube-system" => {
                let metadata = json!({ "name": "kube-system", "uid": uid });
                let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
                return Some(reply(200, &body));
            }
            name if path.contains("/customresourcedefinitions/") => {
                let gone = *terminating == Some(name);
                let metadata = json!({ "name": name,
                    "deletionTimestamp": gone.then_some("2026-11-22T10:00:00Z") });
                let (api, kind) = ("meta.k8s.io/v1", "PartialObjectMetadata");
                let body = json!({ "apiVersion": api, "kind": kind, "metadata": metadata });
                return Some(reply(200, &body));
            }
            _ => return None,
        };
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let from = pairs.find(|(key, _)| *key == "continue").map_or("0", |(_, value)| value);
        let from: usize = from.parse().expect("our own token");
        let token = (from + 1 < all.len()).then(|| (from + 1).to_string());
        let items: Vec<&Value> = all.iter().skip(from).take(1).collect();
        let metadata = json!({ "resourceVersion": "7", "continue": token });
        let list = format!("{kind}List");
        let body = json!({ "apiVersion": api, "kind": list, "metadata": metadata, "items": items });
        Some(reply(200, &body))
    }
}

/// The server.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeApi {
    known: Arc<Mutex<Known>>,
}

impl FakeApi {
    pub(crate) fn with_pv(pv: Result<Value, u16>) -> Self {
        let fake = Self::default();
        fake.known.lock().expect("unpoisoned").pv = Some(pv);
        fake
    }

    pub(crate) fn set_pv(&self, pv: Option<Result<Value, u16>>) {
        self.known.lock().expect("unpoisoned").pv = pv;
    }

    pub(crate) fn set_node(&self, status: Value) {
        self.known.lock().expect("unpoisoned").node = Some(status);
    }

    pub(crate) fn set_cluster(&self, cluster: Cluster) {
        self.known.lock().expect("unpoisoned").cluster = Some(cluster);
    }

    /// What was read since the last call.
    pub(crate) fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut self.known.lock().expect("unpoisoned").reads)
    }

    pub(crate) fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Answer>>();
        let fake = self.clone();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                send.send_response(fake.answer(request).await);
            }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = parts.uri.path().to_owned();
        let mut known = self.known.lock().expect("unpoisoned");
        if parts.method != Method::GET {
            known.writes.push((parts.method, path.clone(), body.clone()));
            return reply(200, &written(&path, body));
        }
        known.reads.push(parts.uri.to_string());
        let (pv, node, cluster) = (known.pv.clone(), known.node.clone(), known.cluster.clone());
        drop(known);
        let query = parts.uri.query().unwrap_or_default();
        if let Some(answer) = cluster.and_then(|cluster| cluster.answer(&path, query)) {
            return answer;
        }
        if let (true, Some(status)) = (path.contains("/storagenodes/"), node) {
            return reply(200, &storage_node(&status));
        }
        match (path.contains("/persistentvolumes/"), pv) {
            (true, Some(Ok(pv))) => reply(200, &pv),
            (true, Some(Err(code))) => reply(code, &failure(code)),
            (true, None) => reply(404, &failure(404)),
            (false, _) => reply(404, &failure(404)),
        }
    }

    /// What was written since the last call.
    pub(crate) fn take_writes(&self) -> Vec<(Method, String, Value)> {
        std::mem::take(&mut self.known.lock().expect("unpoisoned").writes)
    }
}

/// What a server would answer to a write: the object, whole enough to be read back.
fn written(path: &str, mut body: Value) -> Value {
    if path.contains("/storagevolumes/") {
        body["apiVersion"] = json!("terrace.storage/v1alpha1");
        body["kind"] = json!("StorageVolume");
        let spec =
            json!({ "origin": "CSI", "capacity": "1Gi", "volumeMode": "Block", "pool": "p" });
        body["spec"] = spec;
    }
    if path.contains("/storagesnapshots/") {
        body["apiVersion"] = json!("terrace.storage/v1alpha1");
        body["kind"] = json!("StorageSnapshot");
        body["spec"] = json!({
            "snapshotUUID": "", "sourceVolume": "", "sourceVolumeUUID": "", "capacity": "1Gi",
            "volumeMode": "Block",
        });
    }
    body
}

fn storage_node(status: &Value) -> Value {
    json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageNode",
        "metadata": { "name": "node-1" }, "spec": {}, "status": status,
    })
}

/// The object that the path names.
fn named<'a>(path: &str, resource: &str, all: &'a [Value]) -> Option<&'a Value> {
    let (front, name) = path.rsplit_once('/')?;
    let found = all.iter().find(|object| object["metadata"]["name"] == name);
    found.filter(|_| front.ends_with(&format!("/{resource}")))
}

/// A watch without news.
fn silence() -> Response<Answer> {
    let nothing = futures::stream::pending::<Result<String, std::io::Error>>();
    let body = Answer::from_stream(nothing);
    Response::builder().status(200).body(body).expect("a response")
}

fn failure(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": if code == 404 { "NotFound" } else { "Unknown" }, "code": code })
}

fn reply(code: u16, body: &Value) -> Response<Answer> {
    let body = Answer::from(serde_json::to_vec(body).expect("JSON"));
    Response::builder().status(code).body(body).expect("a response")
}

pub(crate) fn pv(phase: &str, reclaim: &str) -> Result<Value, u16> {
    Ok(json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "vol" },
        "spec": { "persistentVolumeReclaimPolicy": reclaim }, "status": { "phase": phase },
    }))
}
