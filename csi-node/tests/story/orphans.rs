//! Orphans over the node's HTTP API: listed with their verbs, and destroyed on a person's word alone, while nothing names
//! them, nobody has them open, and they are ours.
use std::sync::Arc;
use std::time::Duration;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use terrace_device_types::HostState;
use terrace_node::agent::Agent;
use terrace_node::agent::orphans::plan_candidates;
use terrace_node::agent::stock;
use terrace_node::context::Context;
use terrace_node::http::orphans::pages;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::api::FakeApi;
use crate::bench::{Bench, raw};
use crate::sweep::{
    Left, Node, leave_quarantined, leave_unfinished, make, persistent, retag, tag, volume,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn ask(agent: &Arc<Agent>, request: http::Request<axum::body::Body>) -> (u16, String) {
    let response = pages(Arc::clone(agent)).oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn get(agent: &Arc<Agent>) -> (u16, Value) {
    let request = http::Request::get("/v1/orphans").body(axum::body::Body::empty());
    let (status, body) = ask(agent, request.expect("a request")).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

async fn post(agent: &Arc<Agent>, uuid: impl ToString, word: &Value) -> (u16, String) {
    let path = format!("/v1/orphans/{}/delete", uuid.to_string());
    let request = http::Request::post(path).header("content-type", "application/json");
    ask(agent, request.body(axum::body::Body::from(word.to_string())).expect("a request")).await
}

fn word(name: &str) -> Value {
    json!({ "name": name, "by": "ann" })
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_an_orphan_goes_on_the_word_of_who_knows_its_name() {
    for make_bench in [Bench::new as fn() -> Bench, Bench::on_btrfs] {
        let bench = make_bench();
        for name in ["kept", "vol", "in-service"] {
            make(&bench, name).await;
        }
        retag(&bench, "vol", HostState::Retained);
        leave_unfinished(&bench, "begun").await;
        leave_quarantined(&bench, "gone", Left::Marked).await;
        let node = Node::start(&bench, HOUR, &["kept"]).await;
        let (status, listed) = get(&node.agent).await;
        let mut names: Vec<_> = listed["orphans"].as_array().expect("a list").iter().collect();
        names.sort_by_key(|orphan| orphan["name"].as_str());
        let names: Vec<_> = names.iter().map(|one| (&one["name"], &one["reason"])).collect();
        let expected = [
            (&json!("begun"), &json!("Unfinished")),
            (&json!("gone"), &json!("Quarantined")),
            (&json!("in-service"), &json!("NoObject")),
            (&json!("vol"), &json!("Retained")),
        ];
        assert_eq!((status, names.as_slice()), (200, expected.as_slice()));

        let uuid = bench.uuid("vol");
        let (status, said) = post(&node.agent, uuid, &word("in-service")).await;
        assert_eq!(status, 409);
        let expected = format!(
            "the host object {uuid} was made for vol, not for \"in-service\": nothing is destroyed"
        );
        assert_eq!(said, expected);
        assert!(tag(&bench, "vol").is_some());
        for name in ["vol", "in-service", "begun", "gone"] {
            let (status, said) = post(&node.agent, bench.uuid(name), &word(name)).await;
            assert_eq!(status, 200, "{name}: {said}");
            assert!(bench.view(name).volume.image.is_none(), "{name}");
            let (status, said) = post(&node.agent, bench.uuid(name), &word(name)).await;
            assert_eq!((status, said.contains("has no host object")), (404, true), "{said}");
        }
        assert_eq!(tag(&bench, "kept").expect("there").state, HostState::Ready);
        let left = std::fs::read_dir(&bench.pool.dir).expect("listed").flatten();
        assert_eq!(left.count(), 2, "the volume in service and the pool file");
        assert_eq!(get(&node.agent).await.1["orphans"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_anything_names_is_refused_with_a_sentence() {
    let bench = Bench::new();
    for name in ["kept", "vol"] {
        make(&bench, name).await;
    }
    retag(&bench, "vol", HostState::Retained);
    let mut node = Node::start(&bench, HOUR, &["kept"]).await;
    let uuid = bench.uuid("vol");
    let other = || volume("other", uuid::Uuid::nil());
    let refused = async |agent: &Arc<Agent>, by: &str| {
        let (status, said) = post(agent, uuid, &word("vol")).await;
        assert_eq!(status, 409, "{said}");
        assert!(said.contains(&format!("{by} still names the host object {uuid}")), "{said}");
        assert!(tag(&bench, "vol").is_some(), "{by}");
    };
    node.with(|cluster| cluster.volumes = vec![other(), volume("far", uuid)]);
    refused(&node.agent, "StorageVolume far").await;
    node.with(|cluster| cluster.volumes = vec![volume("vol", uuid::Uuid::nil())]);
    refused(&node.agent, "StorageVolume vol").await;
    node.with(|cluster| cluster.persistent = vec![persistent("pv-1", "x", uuid)]);
    refused(&node.agent, "PersistentVolume pv-1").await;
    node.with(|cluster| cluster.persistent = vec![persistent("pv-1", "vol", "")]);
    refused(&node.agent, "PersistentVolume pv-1").await;
    let mut copy = volume("restored", uuid::Uuid::nil());
    copy["spec"]["source"] = json!({ "kind": "Snapshot", "name": "snap", "uuid": uuid });
    node.with(|cluster| cluster.volumes = vec![copy]);
    refused(&node.agent, "StorageVolume restored, which is still to be copied from it,").await;
    // In service by its object, which the API server's list has not, but our watch has.
    node.with(|cluster| cluster.volumes.clear());
    node.watch(volume("vol", uuid));
    refused(&node.agent, "an object of this node").await;
    let (status, said) = post(&node.agent, bench.uuid("kept"), &word("kept")).await;
    assert_eq!(status, 409, "{said}");
    assert_eq!(tag(&bench, "kept").expect("there").state, HostState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_doubtful_api_server_destroys_nothing() {
    let bench = Bench::new();
    make(&bench, "vol").await;
    let node = Node::start(&bench, HOUR, &[]).await;
    for part in ["storagevolumes", "storagesnapshots", "persistentvolumes", "kube-system"] {
        node.with(|cluster| cluster.failing = Some((part, 500)));
        let (status, said) = post(&node.agent, bench.uuid("vol"), &word("vol")).await;
        assert_eq!(status, 503, "{said}");
        assert!(said.contains("nothing is destroyed"), "{said}");
    }
    node.with(|cluster| cluster.uid = "another".into());
    assert_eq!(post(&node.agent, bench.uuid("vol"), &word("vol")).await.0, 409);
    let kind = "storagesnapshots.terrace.storage";
    node.with(|cluster| cluster.terminating = Some(kind));
    let (status, said) = post(&node.agent, bench.uuid("vol"), &word("vol")).await;
    assert_eq!((status, said.contains(kind)), (409, true), "{said}");
    assert_eq!(tag(&bench, "vol").expect("there").state, HostState::Ready);
    for (uuid, word, code) in [
        ("x".to_owned(), word("vol"), 400),
        (bench.uuid("vol").to_string(), json!({ "name": "vol" }), 422),
        (bench.uuid("vol").to_string(), json!({ "name": "vol", "by": "ann", "force": true }), 422),
    ] {
        assert_eq!(post(&node.agent, uuid, &word).await.0, code);
    }
    assert!(tag(&bench, "vol").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_somebody_has_open_is_refused_until_it_is_free() {
    let bench = Bench::new();
    make(&bench, "vol").await;
    let mut node = Node::start(&bench, HOUR, &[]).await;
    let image = bench.view("vol").volume.image.expect("there").path;
    let held = std::fs::File::open(&image).expect("opened");
    let (status, said) = post(&node.agent, bench.uuid("vol"), &word("vol")).await;
    assert_eq!((status, said.contains("is still in use")), (409, true), "{said}");
    drop(held);
    let service = &mut node.running.node;
    let stage = bench.stage("vol", raw(Mode::SingleNodeWriter));
    service.node_stage_volume(stage).await.expect("staged");
    let (status, said) = post(&node.agent, bench.uuid("vol"), &word("vol")).await;
    assert_eq!((status, said.contains("is still in use")), (409, true), "{said}");
    assert_eq!(tag(&bench, "vol").expect("there").state, HostState::Ready);
    let service = &mut node.running.node;
    service.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    assert_eq!(post(&node.agent, bench.uuid("vol"), &word("vol")).await.0, 200);
    assert!(!image.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_has_no_tag_is_listed_and_never_destroyed() {
    let bench = Bench::new();
    make(&bench, "vol").await;
    let image = bench.view("vol").volume.image.expect("there").path;
    let ended = std::process::Command::new("setfattr")
        .args(["-x", "trusted.terrace.tag"])
        .arg(&image)
        .output();
    assert!(ended.expect("setfattr").status.success());
    let node = Node::start(&bench, Duration::ZERO, &[]).await;
    let (_, listed) = get(&node.agent).await;
    assert_eq!(listed["orphans"][0]["reason"], "Unreadable");
    assert_eq!(listed["orphans"][0]["uuid"], json!(bench.uuid("vol")));
    let (status, said) = post(&node.agent, bench.uuid("vol"), &word("vol")).await;
    assert_eq!((status, said.contains("cannot be read")), (409, true), "{said}");
    node.sweep().await.expect("a pass");
    assert!(image.exists());
}

/// The same node, taken for one of another cluster.
fn of_another(node: &Node) -> Arc<Agent> {
    let (_, cluster) = watch::channel(Some("another".parse().expect("a token")));
    let context = Context { cluster, ..node.running.context.clone() };
    let fake: &FakeApi = &node.fake;
    let runner = &context.runner;
    let api = terrace_node::agent::api::ApiServer::new(
        fake.client(),
        Arc::clone(&runner.faults),
        runner.metrics.clone(),
    );
    let events = terrace_node::agent::events::Events::new(
        fake.client(),
        "node-1",
        Arc::clone(&runner.faults),
    );
    let agent = Agent::new(context, api, events, "node-1".into(), 85);
    let mut agent = agent.sweeping_after(Duration::ZERO);
    agent.objects = Arc::clone(&node.agent.objects);
    Arc::new(agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_another_clusters_objects_are_neither_listed_nor_touched() {
    let bench = Bench::new();
    make(&bench, "vol").await;
    leave_unfinished(&bench, "begun").await;
    leave_quarantined(&bench, "gone", Left::Marked).await;
    let node = Node::start(&bench, Duration::ZERO, &[]).await;
    let other = of_another(&node);
    node.with(|cluster| cluster.uid = "another".into());
    let mark = bench.pool.dir.join("terrace-pool.json");
    let text = std::fs::read_to_string(&mark).expect("marked");
    // First a pool of theirs; then their images in a pool of ours, put there by hand.
    for (marked, code) in
        [(text.clone(), 503), (text.replace(bench.cluster.as_str(), "another"), 404)]
    {
        std::fs::write(&mark, marked).expect("written");
        assert_eq!(get(&other).await.1["orphans"], json!([]));
        let stock = stock::take(&other).await.expect("a look");
        let claims = stock.claims.as_ref().expect("listed");
        assert!(plan_candidates(&stock.listing, claims).is_empty());
        for name in ["vol", "begun", "gone"] {
            let (status, said) = post(&other, bench.uuid(name), &word(name)).await;
            assert_eq!(status, code, "{said}");
        }
    }
    std::fs::write(&mark, text).expect("written");
    for name in ["vol", "begun", "gone"] {
        assert!(tag(&bench, name).is_some(), "{name}");
    }
}
