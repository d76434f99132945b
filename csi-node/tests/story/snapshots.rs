//! Snapshots, restores, clones and groups as the agent keeps them: real host objects on a pool with reflink, a fake API
//! server.
use std::path::PathBuf;
use std::sync::Arc;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::{reflector, watcher};
use serde_json::{Value, json};
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_device_types::{Bytes, HostObject, HostState, Latch, Tag, TagReading};
use terrace_node::agent::Agent;
use terrace_node::agent::snapshot::{Snapshots, reconcile};
use terrace_node::agent::volume::Error;

use crate::agent::{agent, condition, pass, status};
use crate::api::FakeApi;
use crate::bench::{Bench, EXT4, Running, XFS, mounted};

const DELETION: &str = "5c1d3f00-0000-4000-8000-000000000002";
const GROUP: &str = "7b1e2a3c-0000-4000-8000-000000000001";

/// A node with its API server.
pub(crate) struct Node {
    pub(crate) bench: Arc<Bench>,
    pub(crate) running: Running,
    pub(crate) fake: FakeApi,
    pub(crate) agent: Arc<Agent>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_on(Bench::on_xfs()).await
    }

    pub(crate) async fn start_on(bench: Bench) -> Self {
        let bench = Arc::new(bench);
        let (running, fake) = (bench.start().await, FakeApi::default());
        let agent = agent(&running, &fake);
        Self { bench, running, fake, agent }
    }

    /// A volume on a Pod, and the folder that the Pod sees.
    pub(crate) async fn publish(&mut self, name: &str) -> PathBuf {
        let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
        let node = &mut self.running.node;
        node.node_stage_volume(self.bench.stage(name, capability())).await.expect("staged");
        let publish = self.bench.publish(name, name, capability());
        node.node_publish_volume(publish).await.expect("published");
        self.bench.target(name)
    }

    /// A volume on a Pod with a file in it.
    pub(crate) async fn source(&mut self, name: &str) -> PathBuf {
        self.bench.create(&self.running, name, EXT4).await;
        let dir = self.publish(name).await;
        std::fs::write(dir.join("file"), name).expect("written");
        dir
    }

    /// One pass over `one` of `all`; its status afterwards, and what was written.
    pub(crate) async fn pass(
        &self,
        one: &mut StorageSnapshot,
        all: &[StorageSnapshot],
    ) -> Vec<(String, Value)> {
        loop {
            let passed = try_pass(&self.agent, &self.fake, one, all).await;
            let writes = passed.expect("a pass that ends");
            if !ended_too_soon(&json!(one.status)) {
                return writes;
            }
        }
    }

    /// Takes a snapshot that must succeed.
    pub(crate) async fn snapshot(&self, name: &str, source: &str) -> StorageSnapshot {
        let mut one = snapshot(&self.bench, name, source);
        self.pass(&mut one, &[]).await;
        assert_eq!(ready(&one).0, "True", "{:?}", ready(&one));
        one
    }

    /// Makes a copy that must succeed.
    pub(crate) async fn copy(&self, name: &str, capacity: &str, kind: &str, source: &str) {
        self.make(&copy(&self.bench, name, capacity, kind, source)).await;
    }

    async fn make(&self, wanted: &StorageVolume) {
        let writes = loop {
            let writes = pass(&self.agent, &self.fake, wanted).await;
            if !ended_too_soon(status(&writes)) {
                break writes;
            }
        };
        assert_eq!(condition(status(&writes), "Ready").0, "True", "{writes:?}");
    }

    pub(crate) fn tag(&self, name: &str) -> Option<Tag> {
        match self.bench.view(name).volume.image?.tag {
            TagReading::Read(tag) => Some(tag),
            TagReading::Absent | TagReading::Unreadable(_) => None,
        }
    }
}

/// One pass over `one` of `all`, whatever came of it.
pub(crate) async fn try_pass(
    agent: &Arc<Agent>,
    fake: &FakeApi,
    one: &mut StorageSnapshot,
    all: &[StorageSnapshot],
) -> Result<Vec<(String, Value)>, Error> {
    let (store, mut writer) = reflector::store();
    for snapshot in all.iter().chain([&*one]) {
        writer.apply_watcher_event(&watcher::Event::Apply(snapshot.clone()));
    }
    let here = Arc::new(Snapshots { agent: Arc::clone(agent), all: store });
    reconcile(Arc::new(one.clone()), here).await?;
    let writes = fake.take_writes().into_iter().map(|(_, path, body)| (path, body));
    let writes: Vec<_> = writes.collect();
    if let Some((_, body)) = writes.iter().find(|(path, _)| path.ends_with("/status")) {
        one.status = Some(serde_json::from_value(body["status"].clone()).expect("a status"));
    }
    Ok(writes)
}

/// On a machine so busy that the watchdog ends a freeze, the agent tries again after a while; so do these stories.
fn ended_too_soon(status: &Value) -> bool {
    status.to_string().contains("did not stand still")
}

/// The name under which the bench knows a snapshot: a volume may be called the same.
pub(crate) fn host_name(name: &str) -> String {
    format!("snapshot/{name}")
}

pub(crate) fn snapshot(bench: &Bench, name: &str, source: &str) -> StorageSnapshot {
    let object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageSnapshot",
        "metadata": {
            "name": name, "uid": "u", "resourceVersion": "7", "generation": 3,
            "finalizers": ["terrace.storage/node", "somebody/else"],
        },
        "spec": {
            "snapshotUUID": bench.uuid(&host_name(name)), "sourceVolume": source,
            "sourceVolumeUUID": bench.uuid(source), "capacity": "16Mi",
            "volumeMode": "Filesystem", "fsType": "ext4",
            "assignment": { "node": "node-1", "poolUUID": bench.pool.uuid },
        },
    });
    serde_json::from_value(object).expect("a StorageSnapshot")
}

/// The members of one group, each of the volume of its own name.
pub(crate) fn group(bench: &Bench, names: &[&str]) -> Vec<StorageSnapshot> {
    let group = json!({ "uuid": GROUP, "name": "group", "members": names });
    let member = |name: &&str| {
        let mut one = snapshot(bench, name, name);
        one.spec.group = Some(serde_json::from_value(group.clone()).expect("a group"));
        one
    };
    names.iter().map(member).collect()
}

pub(crate) fn copy(
    bench: &Bench,
    name: &str,
    capacity: &str,
    kind: &str,
    source: &str,
) -> StorageVolume {
    let host = if kind == "Snapshot" { host_name(source) } else { source.to_owned() };
    let object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": { "name": name, "uid": "u", "resourceVersion": "7", "generation": 3,
            "finalizers": ["terrace.storage/node", "somebody/else"] },
        "spec": {
            "volumeUUID": bench.uuid(name), "origin": "CSI", "capacity": capacity,
            "volumeMode": "Filesystem", "fsType": "ext4", "pool": "pool",
            "source": { "kind": kind, "name": source, "uuid": bench.uuid(&host) },
            "assignment": { "node": "node-1", "poolUUID": bench.pool.uuid },
        },
    });
    serde_json::from_value(object).expect("a StorageVolume")
}

pub(crate) fn deleted(mut one: StorageSnapshot, stamp: Option<Value>) -> StorageSnapshot {
    one.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
    one.spec.deletion = stamp.map(|stamp| serde_json::from_value(stamp).expect("a stamp"));
    one
}

pub(crate) fn stamp(one: &StorageSnapshot) -> Option<Value> {
    let uuid = &one.spec.snapshot_uuid;
    Some(json!({ "snapshotUUID": uuid, "id": DELETION, "requestedAt": "2026-11-22T10:00:00Z" }))
}

pub(crate) fn ready(one: &StorageSnapshot) -> (String, String, String) {
    let conditions = one.status.as_ref().map(|status| status.conditions.as_slice());
    let found = conditions.unwrap_or_default().iter().find(|one| one.type_ == "Ready");
    let found = found.expect("a condition");
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

pub(crate) fn dropped(writes: &[(String, Value)]) -> bool {
    writes.iter().any(|(path, body)| {
        path.contains("/storagesnapshots/")
            && body["metadata"]["finalizers"] == json!(["somebody/else"])
            && body["metadata"]["resourceVersion"] == "7"
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_once_reported_once_and_then_left_alone() {
    let mut node = Node::start().await;
    node.source("vol").await;
    let before = Timestamp::now().as_second();
    // Of the same name as its volume: they are two objects.
    let mut one = snapshot(&node.bench, "vol", "vol");
    let writes = node.pass(&mut one, &[]).await;
    assert_eq!(ready(&one).0, "True", "{:?}", ready(&one));
    let said = one.status.clone().expect("a status");
    let taken = said.created_at.clone().expect("a moment").0.as_second();
    assert!((before..=Timestamp::now().as_second()).contains(&taken), "{taken}");
    assert_eq!(said.reserved.expect("reserved").bytes(), Ok(16 << 20));
    assert_eq!((said.pool.as_deref(), said.backend.as_deref()), (Some("pool"), Some("file")));
    assert_eq!(said.conditions[0].observed_generation, Some(3));
    let told = |(path, body): &(String, Value)| {
        path.contains("/events") && body["reason"] == "SnapshotTaken"
    };
    assert!(writes.iter().any(told), "{writes:?}");
    assert_eq!(node.pass(&mut one, &[]).await, [], "I8: nothing changed, nothing is written");

    // What is not known to the API is read from the host, the same after a restart.
    let mut forgotten = snapshot(&node.bench, "vol", "vol");
    node.pass(&mut forgotten, &[]).await;
    assert_eq!(forgotten.status.expect("a status").created_at, one.status.expect("one").created_at);
    let tag = node.tag(&host_name("vol")).expect("a tag");
    assert_eq!((tag.object, tag.state), (HostObject::Snapshot, HostState::Ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_call_of_the_kubelet_never_means_a_snapshot() {
    let mut node = Node::start().await;
    node.source("vol").await;
    node.snapshot("vol", "vol").await;
    node.snapshot("snap", "vol").await;
    let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
    let service = &mut node.running.node;
    service.node_stage_volume(node.bench.stage("vol", capability())).await.expect("the volume");
    let refused = service.node_stage_volume(node.bench.stage("snap", capability())).await;
    assert_eq!(refused.expect_err("a snapshot").code(), tonic::Code::NotFound);
    service.node_unpublish_volume(node.bench.unpublish("vol", "vol")).await.expect("unpublished");
    service.node_unstage_volume(node.bench.unstage("vol")).await.expect("unstaged");
    assert!(node.tag(&host_name("vol")).is_some() && node.tag("vol").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_original_restore_and_clone_stand_side_by_side_each_with_its_bytes() {
    let mut node = Node::start().await;
    let original = node.source("vol").await;
    node.snapshot("snap", "vol").await;
    std::fs::write(original.join("file"), "changed").expect("written");
    node.copy("restored", "32Mi", "Snapshot", "snap").await;
    node.copy("clone", "16Mi", "Volume", "vol").await;
    let (restored, clone) = (node.publish("restored").await, node.publish("clone").await);
    let read = |dir: &PathBuf| std::fs::read_to_string(dir.join("file")).expect("there");
    assert_eq!(
        (read(&original).as_str(), read(&restored).as_str(), read(&clone).as_str()),
        ("changed", "vol", "changed")
    );
    std::fs::write(restored.join("file"), "mine").expect("written");
    assert_eq!((read(&original).as_str(), read(&clone).as_str()), ("changed", "changed"));
    let view = node.bench.view("restored");
    let (image, filesystem) = (view.volume.image.expect("made"), view.volume.filesystem);
    assert_eq!(image.apparent, Bytes::mib(32));
    let filesystem = filesystem.expect("mounted");
    assert!(filesystem.spans >= filesystem.fs.reachable(Bytes::mib(32)), "the filesystem grew");
    let of_source = node.bench.uuid("vol").filesystem_uuid();
    let latch = node.tag("restored").expect("a tag").latch;
    assert_eq!(latch, Latch::Formatted { filesystem: of_source }, "never formatted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_there_is_named_and_nothing_is_made() {
    let node = Node::start().await;
    let mut one = snapshot(&node.bench, "snap", "vol");
    node.pass(&mut one, &[]).await;
    let (truth, reason, message) = ready(&one);
    assert_eq!((truth.as_str(), reason.as_str()), ("False", "NotFound"));
    assert!(message.contains("volume vol") && message.contains("nothing to copy"), "{message}");
    assert!(one.status.expect("a status").created_at.is_none());
    let restored = copy(&node.bench, "restored", "16Mi", "Snapshot", "snap");
    let writes = pass(&node.agent, &node.fake, &restored).await;
    let (truth, reason, message) = condition(status(&writes), "Ready");
    assert_eq!((truth, reason), ("False", "NotFound"));
    assert!(message.contains("snapshot snap"), "{message}");
    assert!(node.tag("restored").is_none() && node.tag(&host_name("snap")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_snapshot_that_is_gone_is_never_taken_a_second_time() {
    let mut node = Node::start().await;
    node.source("vol").await;
    let mut one = node.snapshot("snap", "vol").await;
    let image = node.bench.view(&host_name("snap")).volume.image.expect("made").path;
    std::fs::remove_file(image).expect("lost");
    let created = one.status.clone().expect("a status").created_at;
    for _ in 0..2 {
        node.pass(&mut one, &[]).await;
        let (truth, reason, message) = ready(&one);
        assert_eq!((truth.as_str(), reason.as_str()), ("False", "NotFound"));
        assert!(message.contains("another moment"), "{message}");
        assert!(node.tag(&host_name("snap")).is_none());
    }
    assert_eq!(one.status.expect("a status").created_at, created, "that it was is not forgotten");

    // Its status is lost too, but the StorageNode still lists it; and then that forgets it.
    let mut restored = snapshot(&node.bench, "snap", "vol");
    let uuid = &restored.spec.snapshot_uuid;
    node.fake.set_node(json!({ "volumes": [{ "uuid": uuid, "kind": "Snapshot", "name": "snap",
        "poolUUID": node.bench.pool.uuid, "size": "16Mi", "state": "Ready" }] }));
    node.pass(&mut restored, &[]).await;
    assert_eq!(ready(&restored).1, "NotFound");
    node.fake.set_node(json!({}));
    node.pass(&mut restored, &[]).await;
    assert_eq!(ready(&restored).1, "NotFound");
    assert!(node.tag(&host_name("snap")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn xfs_mounts_beside_its_own_copy() {
    let mut node = Node::start().await;
    node.bench.create(&node.running, "vol", XFS).await;
    let original = node.publish("vol").await;
    std::fs::write(original.join("file"), "vol").expect("written");
    let mut clone = copy(&node.bench, "clone", "300Mi", "Volume", "vol");
    clone.spec.fs_type = Some(terrace_crds::volume::FsType::Xfs);
    node.make(&clone).await;
    let clone = node.publish("clone").await;
    assert_eq!(std::fs::read_to_string(clone.join("file")).expect("there"), "vol");
}
