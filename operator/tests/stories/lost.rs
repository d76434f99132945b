//! What is lost: the object of a volume whose bytes are there, and the node of a volume that is being deleted.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonic::Code;

use crate::api::Api;
use crate::cluster::{Cluster, GIB, Node, POOL_UUID, asks, deletes, within};
use crate::{SHORT, is_placed};

fn volume(api: &Api, name: &str) -> Option<Value> {
    api.get("storagevolumes", name)
}

/// The object goes as it does with its kind: nobody is asked.
fn lose(api: &Api, kind: &str, name: &str) {
    api.edit(kind, name, |object| {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
        object["metadata"]["finalizers"] = json!([]);
    });
}

/// As the provisioner makes it, bound to `shop/data`.
fn persistent(api: &Api, name: &str, uuid: &Value) {
    let csi = json!({
        "driver": "csi.terrace.storage", "volumeHandle": name, "fsType": "xfs",
        "volumeAttributes": {"terrace.storage/volume-uuid": uuid, "terrace.storage/pool": "fast"},
    });
    let claim = json!({"namespace": "shop", "name": "data"});
    let spec = json!({
        "csi": csi, "claimRef": claim, "capacity": {"storage": "1Gi"}, "volumeMode": "Filesystem",
        "storageClassName": "fast", "persistentVolumeReclaimPolicy": "Delete",
    });
    let pv = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "Bound"}});
    api.put("persistentvolumes", pv);
    let metadata = json!({"namespace": "shop", "name": "data"});
    api.put("persistentvolumeclaims", json!({"metadata": metadata}));
}

fn lists(api: &Api, volumes: &[(&str, &Value)]) {
    let listed = |(name, uuid): &(&str, &Value)| {
        json!({
            "uuid": uuid, "name": name, "poolUUID": POOL_UUID, "size": "1Gi", "state": "Retained",
            "volumeMode": "Filesystem", "fsType": "xfs",
        })
    };
    let listed: Vec<Value> = volumes.iter().map(listed).collect();
    api.edit("storagenodes", "node-a", |node| node["status"]["volumes"] = json!(listed));
}

fn said(api: &Api, words: &str) -> bool {
    let notes = api.history("events");
    notes.iter().any(|event| event.object["note"].as_str().is_some_and(|it| it.contains(words)))
}

#[tokio::test]
async fn a_volume_whose_object_was_lost_is_made_again_for_the_bytes_that_a_node_has() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let api = &cluster.api;
    let before = volume(api, "pvc-1").unwrap();
    let uuid = &before["spec"]["volumeUUID"];
    persistent(api, "pvc-1", uuid);
    // Lost too, but of these bytes no node tells.
    persistent(api, "pvc-2", &json!("aaaaaaaa-0000-5000-8000-000000000002"));
    lists(api, &[("pvc-1", uuid)]);
    lose(api, "storagevolumes", "pvc-1");
    assert_eq!(volume(api, "pvc-1"), None);
    cluster.until("healed", |api| is_placed(&volume(api, "pvc-1"))).await;
    let healed = volume(api, "pvc-1").unwrap();
    assert_ne!(healed["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(healed["spec"]["assignment"], before["spec"]["assignment"]);
    assert_eq!(healed["spec"]["claimRef"], json!({"namespace": "shop", "name": "data"}));
    for field in ["volumeUUID", "origin", "capacity", "fsType", "volumeMode"] {
        assert_eq!(healed["spec"][field], before["spec"][field], "{field}");
    }
    cluster.until("told", |api| said(api, "StorageVolume pvc-1 was lost: made again")).await;
    assert_eq!(volume(api, "pvc-2"), None, "nothing is made without its bytes");
    let uuid = json!("aaaaaaaa-0000-5000-8000-000000000002");
    lists(api, &[("pvc-1", &before["spec"]["volumeUUID"]), ("pvc-2", &uuid)]);
    cluster.until("its node came back", |api| is_placed(&volume(api, "pvc-2"))).await;
}

#[tokio::test]
async fn what_its_claim_let_go_is_not_made_again() {
    let cluster = Cluster::new(Node::Obeys);
    let api = &cluster.api;
    let uuids = [1, 2].map(|number| json!(format!("aaaaaaaa-0000-5000-8000-{number:012}")));
    for (name, uuid) in ["pvc-1", "pvc-2"].iter().zip(&uuids) {
        persistent(api, name, uuid);
    }
    api.edit("persistentvolumes", "pvc-1", |pv| pv["status"]["phase"] = json!("Released"));
    lists(api, &[("pvc-1", &uuids[0]), ("pvc-2", &uuids[1])]);
    let _operator = cluster.operator("one").await;
    cluster.until("the other is healed", |api| is_placed(&volume(api, "pvc-2"))).await;
    assert_eq!(volume(api, "pvc-1"), None);
}

fn ago(minutes: i64) -> String {
    (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string()
}

/// It is to go for 10 minutes, and its node is missed for so many.
fn leaves(api: &Api, name: &str, missed: Option<i64>) {
    api.edit("storagevolumes", name, |volume| {
        volume["metadata"]["deletionTimestamp"] = json!(ago(10));
        let Some(missed) = missed else { return };
        volume["status"]["conditions"] = json!([{
            "type": "Missing", "status": "Unknown", "reason": "NodeGone", "message": "said before",
            "lastTransitionTime": ago(missed),
        }]);
    });
}

#[tokio::test]
async fn i10_a_deletion_whose_node_is_gone_is_let_go_in_time_and_told() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    for name in ["pvc-1", "pvc-2"] {
        csi.create_volume(asks(name, GIB)).await.unwrap();
    }
    cluster.node(Node::IsSilent);
    let api = &cluster.api;
    let uuid = volume(api, "pvc-1").unwrap()["spec"]["volumeUUID"].clone();
    persistent(api, "pvc-1", &uuid);
    api.edit("persistentvolumes", "pvc-1", |pv| pv["status"]["phase"] = json!("Released"));
    lose(api, "nodes", "node-a");
    leaves(api, "pvc-1", Some(6));
    leaves(api, "pvc-2", None);
    cluster.until("let go", |api| volume(api, "pvc-1").is_none()).await;
    let note = format!("Bytes {} stay on the disks of that node", uuid.as_str().unwrap());
    cluster.until("told", |api| said(api, &note)).await;
    let about = |event: &Value| event["regarding"]["kind"].clone();
    let kinds: Vec<Value> = api.history("events").iter().map(|it| about(&it.object)).collect();
    assert!(kinds.contains(&json!("PersistentVolume")), "{kinds:?}");
    let waits = |volume: &Value| {
        let mut all = volume["status"]["conditions"].as_array().into_iter().flatten();
        all.any(|one| one["type"] == "Missing" && one["reason"] == "NodeGone")
    };
    cluster.until("said first", |api| volume(api, "pvc-2").is_some_and(|it| waits(&it))).await;
    let held = volume(api, "pvc-2").unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(held, json!(["terrace.storage/node"]), "its node has 5 minutes to come back");
}

#[tokio::test]
async fn what_a_node_has_just_removed_and_still_lists_gets_no_object() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    let api = &cluster.api;
    let uuid = json!("aaaaaaaa-0000-5000-8000-000000000001");
    lists(api, &[("pvc-1", &uuid)]);
    let deleting = tokio::spawn(async move { csi.delete_volume(deletes("pvc-1")).await });
    // The next word of the node comes while the call waits for it.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    lists(api, &[]);
    deleting.await.unwrap().expect("it is gone");
    assert!(api.history("storagevolumes").is_empty(), "no object came and went");
}

#[tokio::test]
async fn i1_what_a_node_keeps_without_an_object_gets_one_that_is_stamped_from_the_first() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let api = &cluster.api;
    let uuid = json!("aaaaaaaa-0000-5000-8000-000000000001");
    lists(api, &[("pvc-1", &uuid)]);
    operator.caller().await.delete_volume(deletes("pvc-1")).await.unwrap();
    let first = api.history("storagevolumes").into_iter().next().expect("it was made").object;
    assert_eq!(first["spec"]["deletion"]["volumeUUID"], uuid);
}

#[tokio::test]
async fn a_stamped_volume_that_nobody_asks_for_any_more_is_deleted() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let api = &cluster.api;
    let uuid = volume(api, "pvc-1").unwrap()["spec"]["volumeUUID"].clone();
    api.edit("storagevolumes", "pvc-1", |volume| {
        volume["spec"]["deletion"] = json!({
            "volumeUUID": uuid, "id": "cccccccc-0000-4000-8000-000000000001", "requestedAt": ago(1),
        });
    });
    cluster.until("it is gone", |api| volume(api, "pvc-1").is_none()).await;
}

#[tokio::test]
async fn a_volume_that_is_still_leaving_is_waited_for_and_made_anew() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let before = volume(&cluster.api, "pvc-1").unwrap()["metadata"]["uid"].clone();
    cluster.node(Node::IsSilent);
    cluster.api.edit("storagevolumes", "pvc-1", |volume| {
        volume["metadata"]["deletionTimestamp"] = json!(ago(0));
    });
    let late = csi.create_volume(within(SHORT, asks("pvc-1", GIB))).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted);
    let words = "an earlier volume of this name is being deleted, which waits for node node-a";
    assert!(late.message().contains(words), "{}", late.message());
    let mut other = operator.caller().await;
    let making = tokio::spawn(async move { other.create_volume(asks("pvc-1", GIB)).await });
    cluster.node(Node::Obeys);
    making.await.unwrap().expect("made once the earlier one is gone");
    let now = volume(&cluster.api, "pvc-1").unwrap()["metadata"]["uid"].clone();
    assert_ne!(now, before);
}
