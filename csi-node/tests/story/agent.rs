//! The agent's passes over a volume: real host objects, a fake API server.
use std::sync::Arc;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use terrace_crds::StorageVolume;
use terrace_device_types::{Bytes, HostState, Latch, Tag, TagReading};
use terrace_node::agent::api::ApiServer;
use terrace_node::agent::events::Events;
use terrace_node::agent::volume::reconcile;
use terrace_node::agent::{Agent, usage_watch};

use crate::api::{FakeApi, pv};
use crate::bench::{Bench, EXT4, Running, mounted};

const DELETION: &str = "5c1d3f00-0000-4000-8000-000000000001";

pub(crate) fn agent(running: &Running, fake: &FakeApi) -> Arc<Agent> {
    Arc::new(new_agent(running, fake))
}

pub(crate) fn new_agent(running: &Running, fake: &FakeApi) -> Agent {
    let context = running.context.clone();
    let client = fake.client();
    let runner = &context.runner;
    let api = ApiServer::new(client.clone(), Arc::clone(&runner.faults), runner.metrics.clone());
    let events = Events::new(client, "node-1", Arc::clone(&runner.faults));
    Agent::new(context, api, events, "node-1".into(), 85)
}

pub(crate) fn volume(bench: &Bench, capacity: &str) -> StorageVolume {
    let object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {
            "name": "vol", "uid": "u", "resourceVersion": "7", "generation": 3,
            "finalizers": ["terrace.storage/node", "somebody/else"],
        },
        "spec": {
            "volumeUUID": bench.uuid("vol"), "origin": "CSI", "capacity": capacity,
            "volumeMode": "Filesystem", "fsType": "ext4", "pool": "pool",
            "claimRef": { "namespace": "shop", "name": "data" },
            "assignment": { "node": "node-1", "poolUUID": bench.pool.uuid },
        },
    });
    serde_json::from_value(object).expect("a StorageVolume")
}

pub(crate) fn deleted(bench: &Bench, stamp: Option<Value>) -> StorageVolume {
    let mut volume = volume(bench, "16Mi");
    volume.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
    volume.spec.deletion = stamp.map(|stamp| serde_json::from_value(stamp).expect("a stamp"));
    volume
}

pub(crate) fn stamp(bench: &Bench) -> Option<Value> {
    Some(json!({
        "volumeUUID": bench.uuid("vol"), "id": DELETION, "requestedAt": "2026-11-22T10:00:00Z",
    }))
}

pub(crate) fn tag(bench: &Bench) -> Option<Tag> {
    match bench.view("vol").volume.image?.tag {
        TagReading::Read(tag) => Some(tag),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    }
}

/// One pass; what it wrote.
pub(crate) async fn pass(
    agent: &Arc<Agent>,
    fake: &FakeApi,
    volume: &StorageVolume,
) -> Vec<(String, Value)> {
    let passed = reconcile(Arc::new(volume.clone()), Arc::clone(agent)).await;
    passed.expect("a pass that ends");
    fake.take_writes().into_iter().map(|(_, path, body)| (path, body)).collect()
}

pub(crate) fn status(writes: &[(String, Value)]) -> &Value {
    let written = writes.iter().find(|(path, _)| path.ends_with("/status"));
    &written.expect("a status").1["status"]
}

pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let all = status["conditions"].as_array().expect("conditions");
    let found = all.iter().find(|one| one["type"] == kind).expect("the condition");
    let text = |key: &str| found[key].as_str().expect("text");
    (text("status"), text("reason"), text("message"))
}

pub(crate) fn dropped(writes: &[(String, Value)]) -> bool {
    writes.iter().any(|(path, body)| {
        path.ends_with("/storagevolumes/vol")
            && body["metadata"]["finalizers"] == json!(["somebody/else"])
            && body["metadata"]["resourceVersion"] == "7"
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_volume_is_made_reported_once_and_then_left_alone() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    let agent = agent(&running, &fake);
    let mut volume = volume(&bench, "16Mi");
    let writes = pass(&agent, &fake, &volume).await;
    let status = status(&writes).clone();
    assert_eq!(condition(&status, "Ready").0, "True");
    let kinds = status["conditions"].as_array().expect("conditions").iter();
    assert_eq!(kinds.filter(|one| one["type"] == "LatencyHigh").count(), 0, "the probe's");
    assert_eq!((&status["capacity"], &status["phase"]), (&json!("16Mi"), &json!("Ready")));
    assert!(status["claim"].is_null(), "the operator's field");
    let event = writes.iter().find(|(path, _)| path.contains("/namespaces/shop/events"));
    assert_eq!(event.expect("told").1["reason"], "VolumeCreated");

    volume.status = Some(serde_json::from_value(status).expect("a status"));
    let before = running.context.runner.metrics.api_writes();
    assert_eq!(pass(&agent, &fake, &volume).await, [], "I8: nothing changed, nothing is written");
    assert_eq!(running.context.runner.metrics.api_writes(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_before_the_object_is_held() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    let mut volume = volume(&bench, "16Mi");
    volume.metadata.finalizers = Some(vec!["somebody/else".into()]);
    let writes = pass(&agent(&running, &fake), &fake, &volume).await;
    assert_eq!(writes.len(), 1);
    let held = json!(["somebody/else", "terrace.storage/node"]);
    assert_eq!(writes[0].1["metadata"]["finalizers"], held);
    assert!(tag(&bench).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_there_once_is_never_made_again() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::with_pv(pv("Bound", "Delete")));
    let agent = agent(&running, &fake);
    let fresh = volume(&bench, "16Mi");
    let writes = pass(&agent, &fake, &fresh).await;
    let (truth, reason, message) = condition(status(&writes), "Ready");
    assert_eq!(
        (truth, reason),
        ("False", "NotFound"),
        "its PV exists (API server restored): {message}"
    );
    assert!(message.contains("not made again"), "{message}");
    fake.set_pv(None);
    let mut known = volume(&bench, "16Mi");
    let there = json!({ "capacity": "16Mi" });
    known.status = Some(serde_json::from_value(there).expect("a status"));
    pass(&agent, &fake, &known).await;
    assert!(tag(&bench).is_none(), "I2: nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_for_what_is_stamped() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    let mut stamped = volume(&bench, "16Mi");
    stamped.spec.deletion = deleted(&bench, stamp(&bench)).spec.deletion;
    let writes = pass(&agent(&running, &fake), &fake, &stamped).await;
    let (truth, _, message) = condition(status(&writes), "Ready");
    assert_eq!(truth, "False");
    assert!(message.contains("deletion is asked for"), "{message}");
    assert!(tag(&bench).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_an_object_from_last_week_finds_its_bytes_by_the_host_tag() {
    let bench = Bench::new();
    let fake = FakeApi::with_pv(pv("Bound", "Delete"));
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    running
        .node
        .node_publish_volume(bench.publish("vol", "pod", capability()))
        .await
        .expect("published");
    std::fs::write(bench.target("pod").join("file"), b"bytes").expect("written");
    // The object that etcd gives back knows nothing of it.
    let writes = pass(&agent(&running, &fake), &fake, &volume(&bench, "16Mi")).await;
    let status = status(&writes);
    assert_eq!(condition(status, "Ready").0, "True");
    let filesystem = bench.uuid("vol").filesystem_uuid();
    assert_eq!(status["formatted"], json!(filesystem.to_string()), "the latch is mirrored");
    assert_eq!(status["phase"], "InUse");
    assert_eq!(std::fs::read(bench.target("pod").join("file")).expect("there"), b"bytes");
    assert_eq!(tag(&bench).expect("a tag").latch, Latch::Formatted { filesystem });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grown_capacity_grows_the_image_and_a_pool_that_is_full_is_said() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let agent = agent(&running, &fake);
    let writes = pass(&agent, &fake, &volume(&bench, "32Mi")).await;
    assert_eq!(status(&writes)["capacity"], "32Mi");
    assert_eq!(bench.view("vol").volume.image.expect("there").apparent, Bytes::mib(32));
    let writes = pass(&agent, &fake, &volume(&bench, "512Ti")).await;
    let (truth, reason, message) = condition(status(&writes), "Resizing");
    assert_eq!((truth, reason), ("True", "PoolFull"), "{message}");
    assert_eq!(condition(status(&writes), "Ready").0, "True", "what is there still serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_with_stamp_and_released_pv_the_bytes_go_and_then_the_object() {
    for reading in [None, Some(pv("Released", "Delete"))] {
        let bench = Bench::new();
        let (running, fake) = (bench.start().await, FakeApi::default());
        fake.set_pv(reading);
        bench.create(&running, "vol", EXT4).await;
        let writes = pass(&agent(&running, &fake), &fake, &deleted(&bench, stamp(&bench))).await;
        assert!(dropped(&writes), "{writes:?}");
        let left = std::fs::read_dir(&bench.pool.dir).expect("listed").flatten();
        assert_eq!(left.count(), 1, "the pool file alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_without_proof_the_bytes_stay() {
    let alive =
        [pv("Bound", "Delete"), pv("Released", "Retain"), pv("Available", "Delete"), pv("", "")];
    for reading in alive {
        let bench = Bench::new();
        let (running, fake) = (bench.start().await, FakeApi::with_pv(reading.clone()));
        bench.create(&running, "vol", EXT4).await;
        let writes = pass(&agent(&running, &fake), &fake, &deleted(&bench, stamp(&bench))).await;
        assert!(!dropped(&writes), "{reading:?}");
        assert_eq!(condition(status(&writes), "Ready").1, "NoProof", "{reading:?}");
        assert_eq!(tag(&bench).expect("there").state, HostState::Ready, "{reading:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_an_api_server_that_fails_proves_nothing() {
    for code in [500, 403, 429] {
        let bench = Bench::new();
        let (running, fake) = (bench.start().await, FakeApi::with_pv(Err(code)));
        bench.create(&running, "vol", EXT4).await;
        let agent = agent(&running, &fake);
        let volume = Arc::new(deleted(&bench, stamp(&bench)));
        reconcile(volume, agent).await.expect_err("no reading of the PV");
        assert_eq!(fake.take_writes(), []);
        assert_eq!(tag(&bench).expect("there").state, HostState::Ready, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_stamp_of_another_volume_proves_nothing() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let mut other = stamp(&bench).expect("a stamp");
    other["volumeUUID"] = json!(bench.uuid("other"));
    let writes = pass(&agent(&running, &fake), &fake, &deleted(&bench, Some(other))).await;
    assert!(!dropped(&writes));
    assert_eq!(tag(&bench).expect("there").state, HostState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_without_a_stamp_the_bytes_are_kept_and_marked_and_can_be_taken_back() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let agent = agent(&running, &fake);
    let writes = pass(&agent, &fake, &deleted(&bench, None)).await;
    assert!(dropped(&writes), "the object may go, the bytes stay");
    assert_eq!(tag(&bench).expect("there").state, HostState::Retained);
    let writes = pass(&agent, &fake, &volume(&bench, "16Mi")).await;
    assert_eq!(condition(status(&writes), "Ready").0, "True");
    assert_eq!(tag(&bench).expect("there").state, HostState::Ready, "adopted");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_is_staged_waits_and_goes_when_it_is_free() {
    let bench = Bench::new();
    let (mut running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let capability = mounted(Mode::SingleNodeWriter, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability)).await.expect("staged");
    let agent = agent(&running, &fake);
    let volume = deleted(&bench, stamp(&bench));
    let writes = pass(&agent, &fake, &volume).await;
    let (truth, reason, message) = condition(status(&writes), "Ready");
    assert_eq!((truth, reason), ("False", "InUse"), "{message}");
    assert!(!dropped(&writes) && tag(&bench).is_some());
    let told = |writes: &[(String, Value)]| writes.iter().any(|(path, _)| path.contains("/events"));
    assert!(!told(&writes), "a Pod that is still ending is no news");

    let mut overdue = volume.clone();
    let long_ago = Timestamp::now() - jiff::SignedDuration::from_mins(5);
    overdue.metadata.deletion_timestamp = Some(Time(long_ago));
    let writes = pass(&agent, &fake, &overdue).await;
    assert!(condition(status(&writes), "Ready").2.contains("end the Pods that use it"), "I10");
    assert!(told(&writes), "now it is");

    running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    let writes = pass(&agent, &fake, &volume).await;
    assert!(dropped(&writes) && tag(&bench).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_whose_pool_is_not_seen_is_neither_made_nor_let_go() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    let mut elsewhere = deleted(&bench, stamp(&bench));
    let assignment = elsewhere.spec.assignment.as_mut().expect("assigned");
    assignment.pool_uuid = "99999999-0000-4000-8000-000000000001".into();
    let writes = pass(&agent(&running, &fake), &fake, &elsewhere).await;
    assert!(!dropped(&writes), "not seeing is no proof");
    elsewhere.metadata.deletion_timestamp = None;
    let writes = pass(&agent(&running, &fake), &fake, &elsewhere).await;
    assert_eq!(condition(status(&writes), "Ready").1, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_is_under_pressure_and_says_what_helps() {
    let bench = Bench::new();
    let (mut running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    running
        .node
        .node_publish_volume(bench.publish("vol", "pod", capability()))
        .await
        .expect("published");
    let agent = agent(&running, &fake);
    let look = async || {
        usage_watch::look(&agent).await;
        let writes = pass(&agent, &fake, &volume(&bench, "16Mi")).await;
        let (truth, _, message) = condition(status(&writes), "CapacityPressure");
        (truth.to_owned(), message.to_owned())
    };
    assert_eq!(look().await.0, "False");
    let file = bench.target("pod").join("file");
    let full = std::fs::write(&file, vec![1_u8; 32 << 20]).expect_err("ENOSPC to this Pod alone");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let (truth, message) = look().await;
    assert_eq!(truth, "True");
    assert!(message.ends_with("resize the volume or clean up data"), "{message}");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(look().await.0, "False");
}
