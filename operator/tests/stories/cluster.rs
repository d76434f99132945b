//! A cluster of one or more operators, a node that behaves as told, and a CSI caller on a real unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csi_proto_rs::csi::v1::controller_client::ControllerClient;
use csi_proto_rs::csi::v1::group_controller_client::GroupControllerClient;
use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume};
use csi_proto_rs::csi::v1::{
    CapacityRange, ControllerExpandVolumeRequest, CreateVolumeRequest, DeleteVolumeRequest,
    VolumeCapability,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use terrace_operator::args::Args;
use terrace_operator::run::run_with;
use terrace_telemetry::LogFormat;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::api::Api;

pub(crate) const POOL_UUID: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const GIB: i64 = 1 << 30;

/// How the node answers what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// It makes, grows and removes at once.
    Obeys,
    /// It says nothing.
    IsSilent,
    /// It makes nothing, for this reason, and removes at once.
    Refuses(&'static str),
    /// It makes and removes at once, and grows no volume beyond this.
    GrowsTo(&'static str),
}

/// A CSI caller.
pub(crate) type Caller = ControllerClient<Channel>;

/// An operator that runs.
pub(crate) struct Operator {
    stop: CancellationToken,
    done: JoinHandle<()>,
    socket: PathBuf,
}

/// The stage of a story.
pub(crate) struct Cluster {
    pub(crate) api: Api,
    folder: TempDir,
    node: JoinHandle<()>,
}

impl Cluster {
    /// A node with one pool of 100Gi, and no operator yet.
    pub(crate) fn new(node: Node) -> Self {
        let api = Api::new();
        let ready = json!([{"type": "Ready", "status": "True"}]);
        api.put("nodes", json!({"metadata": {"name": "node-a"}, "status": {"conditions": ready}}));
        let spec = json!({"tier": "ssd", "file": {"directory": "/pools/fast"}});
        api.put(
            "storagepools",
            json!({"metadata": {"name": "fast", "generation": 1}, "spec": spec}),
        );
        let pool = json!({
            "name": "fast", "uuid": POOL_UUID, "tier": "ssd", "backend": "file", "state": "Ready",
            "capacity": "100Gi", "free": "100Gi",
        });
        let status = json!({"pools": [pool]});
        api.put("storagenodes", json!({"metadata": {"name": "node-a"}, "status": status}));
        let acts = tokio::spawn(act(api.clone(), node));
        Self { api, folder: TempDir::new().expect("a folder for sockets"), node: acts }
    }

    /// Lets the node behave otherwise from now on.
    pub(crate) fn node(&mut self, node: Node) {
        self.node.abort();
        self.node = tokio::spawn(act(self.api.clone(), node));
    }

    /// Starts an operator and waits for its socket.
    pub(crate) async fn operator(&self, identity: &str) -> Operator {
        let socket = self.folder.path().join(format!("{identity}.sock"));
        let args = Args {
            csi_endpoint: socket.clone(),
            http: ([127, 0, 0, 1], 0).into(),
            log_format: LogFormat::Text,
            namespace: "terrace-system".into(),
            lease: "terrace-operator".into(),
            identity: identity.into(),
        };
        let stop = CancellationToken::new();
        let run = run_with(self.api.client(), args, stop.clone());
        let done = tokio::spawn(async move { run.await.expect("the operator runs") });
        while UnixStream::connect(&socket).await.is_err() {
            assert!(!done.is_finished(), "the operator ended");
            tokio::task::yield_now().await;
        }
        Operator { stop, done, socket }
    }

    /// Waits until the volumes' objects are as wanted.
    pub(crate) async fn until(&self, what: &str, mut is: impl FnMut(&Api) -> bool) {
        let mut changed = self.api.changes();
        let looking = async {
            while !is(&self.api) {
                changed.changed().await.expect("the server lives");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looking).await.expect(what);
    }
}

impl Operator {
    /// A CSI caller.
    pub(crate) async fn caller(&self) -> Caller {
        ControllerClient::new(connect(&self.socket).await)
    }

    /// A caller of the group service.
    pub(crate) async fn group_caller(&self) -> GroupControllerClient<Channel> {
        GroupControllerClient::new(connect(&self.socket).await)
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.done.await.expect("a clean end");
    }
}

async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://socket");
    endpoint.connect_with_connector(connector).await.expect("the socket answers")
}

/// The node agent, as far as the operator can tell: looks at every volume after every change.
async fn act(api: Api, node: Node) {
    let mut changed = api.changes();
    loop {
        changed.borrow_and_update();
        for name in names(&api, "storagevolumes") {
            let Some(volume) = api.get("storagevolumes", &name) else { continue };
            if volume["spec"]["assignment"].is_object() {
                act_on(&api, node, &name, &volume);
            }
        }
        for name in names(&api, "storagesnapshots") {
            let Some(snapshot) = api.get("storagesnapshots", &name) else { continue };
            if snapshot["spec"]["assignment"].is_object() {
                act_on_snapshot(&api, node, &name, &snapshot);
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

fn names(api: &Api, kind: &str) -> std::collections::BTreeSet<String> {
    let name = |object: &Value| object["metadata"]["name"].as_str().map(ToOwned::to_owned);
    api.history(kind).iter().filter_map(|change| name(&change.object)).collect()
}

fn act_on_snapshot(api: &Api, node: Node, name: &str, snapshot: &Value) {
    let generation = snapshot["metadata"]["generation"].clone();
    let ready = |status: &str, reason: &str| {
        json!([{
            "type": "Ready", "status": status, "reason": reason, "message": "so says the node",
            "lastTransitionTime": "2026-11-22T12:00:00Z", "observedGeneration": generation,
        }])
    };
    let status = match (node, snapshot["metadata"]["deletionTimestamp"].is_null()) {
        (Node::IsSilent, _) => return,
        (_, false) => {
            return api
                .edit("storagesnapshots", name, |it| it["metadata"]["finalizers"] = json!([]));
        }
        (Node::Obeys | Node::GrowsTo(_), true) => json!({
            "pool": "fast", "createdAt": "2026-11-22T12:00:00Z", "reserved": snapshot["spec"]["capacity"],
            "conditions": ready("True", "AsExpected"),
        }),
        (Node::Refuses(reason), true) => json!({"conditions": ready("False", reason)}),
    };
    if snapshot["status"]["conditions"].is_null() {
        api.edit("storagesnapshots", name, |snapshot| snapshot["status"] = status);
    }
}

fn act_on(api: &Api, node: Node, name: &str, volume: &Value) {
    let leaving = !volume["metadata"]["deletionTimestamp"].is_null();
    let generation = volume["metadata"]["generation"].clone();
    let condition_of = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "so says the node",
            "lastTransitionTime": "2026-11-22T12:00:00Z", "observedGeneration": generation,
        })
    };
    let condition = |status: &str, reason: &str| json!([condition_of("Ready", status, reason)]);
    let granted = &volume["spec"]["assignment"]["capacity"];
    let wanted = if granted.is_null() { &volume["spec"]["capacity"] } else { granted };
    let status = match (node, leaving) {
        (Node::IsSilent, _) => return,
        // What it made before, it has.
        (Node::Refuses(_), false) if !volume["status"]["capacity"].is_null() => return,
        (_, true) => {
            return api.edit("storagevolumes", name, |v| v["metadata"]["finalizers"] = json!([]));
        }
        (Node::GrowsTo(most), false) if bytes(wanted) > bytes(&json!(most)) => json!({
            "capacity": volume["status"]["capacity"], "pool": "fast",
            "conditions": [
                condition_of("Ready", "True", "AsExpected"),
                condition_of("Resizing", "False", "PoolFull"),
            ],
        }),
        (Node::Obeys | Node::GrowsTo(_), false) => json!({
            "capacity": wanted, "pool": "fast", "conditions": condition("True", "AsExpected"),
        }),
        (Node::Refuses(reason), false) => json!({"conditions": condition("False", reason)}),
    };
    let said = |status: &Value| (status["capacity"].clone(), resizing(status));
    if volume["status"]["conditions"].is_null() || said(&volume["status"]) != said(&status) {
        api.edit("storagevolumes", name, |volume| volume["status"] = status);
    }
}

fn resizing(status: &Value) -> Option<Value> {
    let mut all = status["conditions"].as_array()?.iter();
    all.find(|condition| condition["type"] == "Resizing").cloned()
}

fn bytes(size: &Value) -> u64 {
    let size: terrace_crds::Size = size.as_str().expect("a size").parse().expect("a size");
    size.bytes().expect("a size")
}

/// A request for `bytes` of xfs on tier ssd.
pub(crate) fn asks(name: &str, bytes: i64) -> CreateVolumeRequest {
    let mount = MountVolume::default();
    let capability = VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    };
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
        volume_capabilities: vec![capability],
        parameters: [("terrace.storage/tier".to_owned(), "ssd".to_owned())].into(),
        ..CreateVolumeRequest::default()
    }
}

pub(crate) fn deletes(name: &str) -> DeleteVolumeRequest {
    DeleteVolumeRequest { volume_id: name.into(), ..DeleteVolumeRequest::default() }
}

pub(crate) fn grows(name: &str, bytes: i64) -> ControllerExpandVolumeRequest {
    ControllerExpandVolumeRequest {
        volume_id: name.into(),
        capacity_range: Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
        ..ControllerExpandVolumeRequest::default()
    }
}

/// A request that its caller gives up after this time.
pub(crate) fn within<T>(time: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(time);
    request
}
