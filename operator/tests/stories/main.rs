//! Stories of the operator: CSI calls over a real unix socket, against an API server in memory and a node that
//! behaves as told. Nothing is slept for: every wait is for a change.

mod access;
mod api;
mod cluster;
mod direct;
mod dropped;
mod health;
mod lost;
mod snapshots;

use std::time::Duration;

use api::Health;
use cluster::{Cluster, GIB, Node, POOL_UUID, asks, deletes, grows, within};
use csi_proto_rs::csi::v1::{GetCapacityRequest, ListVolumesRequest};
use serde_json::{Value, json};
use tonic::Code;

pub(crate) const SHORT: Duration = Duration::from_millis(700);

pub(crate) fn is_placed(volume: &Option<Value>) -> bool {
    volume.as_ref().is_some_and(|volume| volume["spec"]["assignment"].is_object())
}

fn capacity(api: &api::Api, name: &str) -> Value {
    api.get("storagevolumes", name).expect("it is there")["spec"]["capacity"].clone()
}

#[tokio::test]
async fn a_volume_is_answered_for_once_its_node_has_made_it() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let made = csi.create_volume(asks("pvc-1", GIB)).await.unwrap().into_inner().volume.unwrap();
    assert_eq!((made.volume_id.as_str(), made.capacity_bytes), ("pvc-1", GIB));
    assert_eq!(made.volume_context["terrace.storage/pool"], "fast");
    let node = &made.accessible_topology[0].segments["topology.terrace.storage/node"];
    assert_eq!(node, "node-a");
    let there = cluster.api.get("storagevolumes", "pvc-1").unwrap();
    assert_eq!(there["spec"]["assignment"], json!({"node": "node-a", "poolUUID": POOL_UUID}));
    assert_eq!(made.volume_context["terrace.storage/volume-uuid"], there["spec"]["volumeUUID"]);
    operator.end().await;
}

#[tokio::test]
async fn asking_again_finds_the_same_volume_and_another_size_is_refused() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let first = csi.create_volume(asks("pvc-1", GIB)).await.unwrap().into_inner();
    let again = csi.create_volume(asks("pvc-1", GIB)).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = csi.create_volume(asks("pvc-1", 2 * GIB)).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{}", other.message());
}

#[tokio::test]
async fn a_call_ends_before_its_caller_gives_up_and_a_retry_resumes() {
    let mut cluster = Cluster::new(Node::IsSilent);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let late = csi.create_volume(within(SHORT, asks("pvc-1", GIB))).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted, "{}", late.message());
    assert!(late.message().contains("pvc-1"), "{}", late.message());
    let uid = cluster.api.get("storagevolumes", "pvc-1").unwrap()["metadata"]["uid"].clone();
    cluster.node(Node::Obeys);
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let there = cluster.api.get("storagevolumes", "pvc-1").unwrap();
    assert_eq!(there["metadata"]["uid"], uid, "the same object, not a second one");
}

#[tokio::test]
async fn two_calls_at_once_for_one_volume_name_the_holder() {
    let cluster = Cluster::new(Node::IsSilent);
    let operator = cluster.operator("one").await;
    let mut first = operator.caller().await;
    let holding =
        tokio::spawn(
            async move { first.create_volume(within(SHORT * 3, asks("pvc-1", GIB))).await },
        );
    cluster.until("its place", |api| is_placed(&api.get("storagevolumes", "pvc-1"))).await;
    let mut second = operator.caller().await;
    let refused = second.create_volume(asks("pvc-1", GIB)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(refused.message(), "CreateVolume for pvc-1 is under way");
    holding.abort();
    // Dropped, the call lets go of the volume; its intent stays, and a deletion finds it.
    let told = loop {
        let told = second.delete_volume(within(SHORT, deletes("pvc-1"))).await.unwrap_err();
        if !told.message().ends_with("is under way") {
            break told;
        }
    };
    assert_eq!(told.code(), Code::Aborted);
    let said = "still waiting for pvc-1: node node-a to remove it; the work goes on, call again";
    assert_eq!(told.message(), said);
}

#[tokio::test]
async fn without_capacity_the_intent_is_taken_back_and_the_scheduler_may_go_elsewhere() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let full = csi.create_volume(asks("pvc-1", 101 * GIB)).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    let said = "volume pvc-1 cannot be made: node-a/fast: 101Gi asked, 100Gi free";
    assert_eq!(full.message(), said);
    cluster.until("taken back", |api| api.get("storagevolumes", "pvc-1").is_none()).await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
}

#[tokio::test]
async fn what_a_node_refuses_before_it_made_anything_is_taken_back_with_a_stamp() {
    let cluster = Cluster::new(Node::Refuses("PoolFull"));
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let full = csi.create_volume(asks("pvc-1", GIB)).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{}", full.message());
    cluster.until("taken back", |api| api.get("storagevolumes", "pvc-1").is_none()).await;
    let last = cluster.api.history("storagevolumes").pop().unwrap().object;
    assert_eq!(last["spec"]["deletion"]["volumeUUID"], last["spec"]["volumeUUID"]);
}

#[tokio::test]
async fn space_is_promised_once_even_to_many_at_once() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20 {
        let mut csi = operator.caller().await;
        calls
            .spawn(async move { csi.create_volume(asks(&format!("pvc-{number}"), 9 * GIB)).await });
    }
    let answers = calls.join_all().await;
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(made, 11, "11 times 9Gi fit into 100Gi");
    let refused = answers.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|status| status.code() == Code::ResourceExhausted));
}

#[tokio::test]
async fn a_volume_is_stamped_before_it_is_deleted() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    csi.delete_volume(deletes("pvc-1")).await.unwrap();
    assert_eq!(cluster.api.get("storagevolumes", "pvc-1"), None);
    let history = cluster.api.history("storagevolumes");
    let leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    let first = history.iter().find(|change| leaving(&change.object)).unwrap();
    let spec = &first.object["spec"];
    assert_eq!(spec["deletion"]["volumeUUID"], spec["volumeUUID"], "stamped with its own UUID");
    // Deleting what is gone, or never was, is done.
    csi.delete_volume(deletes("pvc-1")).await.unwrap();
    csi.delete_volume(deletes("never/was")).await.unwrap();
}

#[tokio::test]
async fn a_volume_deleted_before_it_had_a_place_is_let_go() {
    let cluster = Cluster::new(Node::Obeys);
    cluster.api.edit("nodes", "node-a", |node| node["status"]["conditions"] = json!([]));
    let operator = cluster.operator("one").await;
    let metadata =
        json!({"name": "pvc-1", "generation": 1, "finalizers": ["terrace.storage/node"]});
    let spec = json!({
        "volumeUUID": "aaaaaaaa-0000-5000-8000-000000000001", "origin": "CSI", "capacity": "1Gi",
        "volumeMode": "Filesystem", "fsType": "xfs", "tier": "ssd",
    });
    cluster.api.put("storagevolumes", json!({"metadata": metadata, "spec": spec}));
    operator.caller().await.delete_volume(deletes("pvc-1")).await.unwrap();
    assert_eq!(cluster.api.get("storagevolumes", "pvc-1"), None);
}

#[tokio::test]
async fn a_volume_whose_object_was_lost_is_found_again_where_its_bytes_are() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let uuid = cluster.api.get("storagevolumes", "pvc-1").unwrap()["spec"]["volumeUUID"].clone();
    csi.delete_volume(deletes("pvc-1")).await.unwrap();
    // As after a restore: no object, but another node has the bytes, and has less space than node-a.
    let pool = "22222222-2222-4222-8222-222222222222";
    let host =
        json!({"uuid": uuid, "name": "pvc-1", "poolUUID": pool, "size": "1Gi", "state": "Ready"});
    let listed = json!({"name": "fast", "uuid": pool, "tier": "ssd", "backend": "file", "state": "Ready", "capacity": "2Gi"});
    let status = json!({"pools": [listed], "volumes": [host]});
    cluster.api.put("storagenodes", json!({"metadata": {"name": "node-b"}, "status": status}));
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let there = cluster.api.get("storagevolumes", "pvc-1").unwrap();
    assert_eq!(there["spec"]["assignment"], json!({"node": "node-b", "poolUUID": pool}));
}

#[tokio::test]
async fn a_volume_with_a_pv_and_no_bytes_is_missing_and_never_made_anew() {
    let cluster = Cluster::new(Node::Obeys);
    let csi = json!({"driver": "csi.terrace.storage", "volumeHandle": "pvc-1"});
    cluster
        .api
        .put("persistentvolumes", json!({"metadata": {"name": "pvc-1"}, "spec": {"csi": csi}}));
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let waits = csi.create_volume(within(SHORT * 2, asks("pvc-1", GIB))).await.unwrap_err();
    assert_eq!(waits.code(), Code::Aborted, "{}", waits.message());
    cluster
        .until("said", |api| {
            let conditions =
                api.get("storagevolumes", "pvc-1").unwrap()["status"]["conditions"].clone();
            conditions.as_array().is_some_and(|all| {
                all.iter().any(|c| c["type"] == "Missing" && c["status"] == "True")
            })
        })
        .await;
    assert!(!is_placed(&cluster.api.get("storagevolumes", "pvc-1")));
}

#[tokio::test]
async fn a_volume_grows_once_its_pool_has_promised_and_its_node_has_grown_it() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let grown = csi.controller_expand_volume(grows("pvc-1", 5 * GIB)).await.unwrap().into_inner();
    assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (5 * GIB, true));
    let smaller = csi.controller_expand_volume(grows("pvc-1", 2 * GIB)).await.unwrap().into_inner();
    assert_eq!(smaller.capacity_bytes, 5 * GIB, "large enough already");
    let much = csi.controller_expand_volume(grows("pvc-1", 200 * GIB)).await.unwrap_err();
    assert_eq!(much.code(), Code::ResourceExhausted);
    assert_eq!(much.message(), "node-a/fast: 195Gi more asked, 95Gi free");
    let unknown = csi.controller_expand_volume(grows("pvc-2", GIB)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn calls_that_wait_for_a_volume_that_is_deleted_meanwhile_end_at_once() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    cluster.node(Node::IsSilent);
    let (mut grower, mut maker) = (operator.caller().await, operator.caller().await);
    let growing =
        tokio::spawn(async move { grower.controller_expand_volume(grows("pvc-1", 2 * GIB)).await });
    let making = tokio::spawn(async move { maker.create_volume(asks("pvc-2", GIB)).await });
    cluster.until("grown", |api| capacity(api, "pvc-1") == "2Gi").await;
    cluster.until("placed", |api| is_placed(&api.get("storagevolumes", "pvc-2"))).await;
    let leaves = |volume: &mut Value| {
        volume["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
    };
    for name in ["pvc-1", "pvc-2"] {
        cluster.api.edit("storagevolumes", name, leaves);
    }
    let (grown, made) = (growing.await.unwrap().map(drop), making.await.unwrap().map(drop));
    for (name, ended) in [("pvc-1", grown), ("pvc-2", made)] {
        let told = ended.expect_err("it is on its way out");
        assert_eq!(told.code(), Code::Aborted);
        let said = format!("{name} is being deleted: try again");
        assert!(told.message().ends_with(&said), "{}", told.message());
    }
}

#[tokio::test]
async fn while_the_api_server_is_away_calls_say_so_and_afterwards_they_work() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    cluster.api.set_health(Health::Down);
    let away = csi.create_volume(asks("pvc-2", GIB)).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{}", away.message());
    cluster.api.set_health(Health::Up);
    csi.create_volume(asks("pvc-2", GIB)).await.unwrap();
}

#[tokio::test]
async fn the_next_replica_leads_as_soon_as_the_first_has_ended() {
    let cluster = Cluster::new(Node::Obeys);
    let holder = |api: &api::Api| {
        let leases = api.history("leases");
        leases.last().map(|change| change.object["spec"]["holderIdentity"].clone())
    };
    let first = cluster.operator("one").await;
    cluster.until("one leads", |api| holder(api) == Some(json!("one"))).await;
    let second = cluster.operator("two").await;
    let mut csi = second.caller().await;
    csi.create_volume(asks("pvc-1", GIB))
        .await
        .expect("any replica takes calls, the leader places");
    first.end().await;
    cluster.until("two leads", |api| holder(api) == Some(json!("two"))).await;
    csi.create_volume(asks("pvc-2", GIB)).await.unwrap();
}

#[tokio::test]
async fn capacity_and_lists_tell_what_is_there() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    for name in ["pvc-1", "pvc-2", "pvc-3"] {
        csi.create_volume(asks(name, 10 * GIB)).await.unwrap();
    }
    let asked =
        GetCapacityRequest { parameters: asks("", 0).parameters, ..GetCapacityRequest::default() };
    let capacity = csi.get_capacity(asked).await.unwrap().into_inner();
    assert_eq!(
        (capacity.available_capacity, capacity.maximum_volume_size),
        (70 * GIB, Some(70 * GIB))
    );
    let page = |token: &str| ListVolumesRequest { max_entries: 2, starting_token: token.into() };
    let first = csi.list_volumes(page("")).await.unwrap().into_inner();
    let rest = csi.list_volumes(page(&first.next_token)).await.unwrap().into_inner();
    assert_eq!((first.entries.len(), rest.entries.len(), rest.next_token.as_str()), (2, 1, ""));
    let bad = csi.list_volumes(page("not-ours")).await.unwrap_err();
    assert_eq!(bad.code(), Code::Aborted);
}
