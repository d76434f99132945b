//! Direct volumes, from the object that a person applies to the claim that has them, grown and deleted. Kubernetes'
//! binding of PersistentVolume and claim is played here.

use csi_proto_rs::csi::v1::{ListVolumesRequest, ValidateVolumeCapabilitiesRequest};
use serde_json::{Value, json};

use crate::api::Api;
use crate::cluster::{Cluster, GIB, Node, POOL_UUID, asks, deletes, grows};

/// UUIDv5 of the namespace's UID and the name `db`.
fn uuid(api: &Api) -> String {
    let cluster =
        api.get("namespaces", "kube-system").expect("it is there")["metadata"]["uid"].clone();
    let cluster: uuid::Uuid = cluster.as_str().expect("a UID").parse().expect("a UID");
    uuid::Uuid::new_v5(&cluster, b"db").to_string()
}

fn apply(cluster: &Cluster, more: Value) {
    let mut spec = json!({
        "origin": "Direct", "claimRef": {"namespace": "shop", "name": "data"}, "capacity": "1Gi",
        "volumeMode": "Filesystem", "pool": "fast",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    cluster.api.put("namespaces", json!({"metadata": {"name": "shop"}}));
    let metadata = json!({"name": "db", "generation": 1});
    cluster.api.put("storagevolumes", json!({"metadata": metadata, "spec": spec}));
}

fn there(api: &Api) -> Value {
    api.get("storagevolumes", "db").unwrap_or_default()
}

fn claim(api: &Api) -> Option<Value> {
    api.history("persistentvolumeclaims").pop().map(|change| change.object)
}

fn condition(api: &Api, kind: &str) -> (String, String, String) {
    let volume = there(api);
    let mut all = volume["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// As Kubernetes' controller of PersistentVolumes writes it.
fn phase(api: &Api, phase: &str) {
    api.edit("persistentvolumes", "db", |pv| pv["status"] = json!({"phase": phase}));
}

async fn made(cluster: &Cluster) {
    cluster.until("PersistentVolume and claim", |api| claim(api).is_some()).await;
    phase(&cluster.api, "Bound");
    cluster.until("bound", |api| condition(api, "Bound").0 == "True").await;
}

#[tokio::test]
async fn a_direct_volume_is_made_and_then_its_claim() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    made(&cluster).await;
    let api = &cluster.api;
    let spec = &there(api)["spec"];
    assert_eq!(spec["volumeUUID"], uuid(api), "by its name, so that a lost object finds its bytes");
    assert_eq!(spec["fsType"], "xfs");
    let place = json!({"node": "node-a", "poolUUID": POOL_UUID, "capacity": "1Gi"});
    assert_eq!(spec["assignment"], place);
    let pv = api.get("persistentvolumes", "db").unwrap();
    assert_eq!(pv["spec"]["csi"]["volumeAttributes"]["terrace.storage/volume-uuid"], uuid(api));
    assert_eq!(pv["spec"]["csi"]["volumeAttributes"]["terrace.storage/pool"], "fast");
    assert_eq!(pv["spec"]["claimRef"]["name"], "data");
    assert_eq!(pv["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    let claim = claim(api).unwrap();
    assert_eq!(claim["spec"]["volumeName"], "db");
    assert_eq!(claim["spec"]["storageClassName"], "terrace-direct");
    operator.end().await;
}

#[tokio::test]
async fn a_direct_volume_grows_by_its_object_and_the_claim_follows() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    made(&cluster).await;
    cluster.api.edit("storagevolumes", "db", |volume| volume["spec"]["capacity"] = json!("5Gi"));
    cluster
        .until("the claim asks for it", |api| {
            claim(api).unwrap()["spec"]["resources"]["requests"]["storage"] == "5Gi"
        })
        .await;
    assert_eq!(there(&cluster.api)["spec"]["assignment"]["capacity"], "5Gi", "reserved first");
    // As the resizer does next.
    let mut csi = operator.caller().await;
    let grown = csi.controller_expand_volume(grows("db", 5 * GIB)).await.unwrap().into_inner();
    assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (5 * GIB, true));
    // A person may grow the claim too: the volume follows.
    let grown = csi.controller_expand_volume(grows("db", 6 * GIB)).await.unwrap().into_inner();
    assert_eq!(grown.capacity_bytes, 6 * GIB);
    cluster.until("granted", |api| there(api)["spec"]["assignment"]["capacity"] == "6Gi").await;
    assert_eq!(there(&cluster.api)["spec"]["capacity"], "6Gi");
}

#[tokio::test]
async fn more_than_the_pool_has_is_not_granted_and_said() {
    let cluster = Cluster::new(Node::Obeys);
    let _operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    made(&cluster).await;
    cluster.api.edit("storagevolumes", "db", |volume| volume["spec"]["capacity"] = json!("500Gi"));
    cluster.until("said", |api| condition(api, "Bound").1 == "NoCapacity").await;
    let (status, _, message) = condition(&cluster.api, "Bound");
    assert_eq!(status, "True");
    assert_eq!(
        message,
        "claim shop/data has it; it stays at 1Gi: node-a/fast: 499Gi more asked, 99Gi free"
    );
    assert_eq!(there(&cluster.api)["spec"]["assignment"]["capacity"], "1Gi");
}

#[tokio::test]
async fn the_csi_calls_know_a_direct_volume() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    made(&cluster).await;
    let mut csi = operator.caller().await;
    let listed = csi.list_volumes(ListVolumesRequest::default()).await.unwrap().into_inner();
    let listed = listed.entries[0].volume.clone().unwrap();
    assert_eq!((listed.volume_id.as_str(), listed.capacity_bytes), ("db", GIB));
    let asked = ValidateVolumeCapabilitiesRequest {
        volume_id: "db".into(),
        volume_context: listed.volume_context,
        volume_capabilities: asks("db", GIB).volume_capabilities,
        ..ValidateVolumeCapabilitiesRequest::default()
    };
    let valid = csi.validate_volume_capabilities(asked).await.unwrap().into_inner();
    assert!(valid.confirmed.is_some(), "{}", valid.message);
    csi.delete_volume(deletes("db")).await.unwrap();
    assert_eq!(cluster.api.get("storagevolumes", "db"), None);
    let history = cluster.api.history("storagevolumes");
    let leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    let first = history.iter().find(|change| leaving(&change.object)).unwrap();
    assert_eq!(first.object["spec"]["deletion"]["volumeUUID"], uuid(&cluster.api));
}

#[tokio::test]
async fn a_claim_that_has_another_volume_is_left_alone_and_told() {
    let cluster = Cluster::new(Node::Obeys);
    let _operator = cluster.operator("one").await;
    let spec = json!({
        "storageClassName": "terrace-direct", "volumeName": "pvc-1", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    });
    let metadata = json!({"namespace": "shop", "name": "data"});
    cluster.api.put("persistentvolumeclaims", json!({"metadata": metadata, "spec": spec}));
    apply(&cluster, json!({}));
    cluster.until("refused", |api| condition(api, "Ready").1 == "Conflict").await;
    let said = "claim shop/data is bound to volume pvc-1: name another claim in spec.claimRef";
    assert_eq!(condition(&cluster.api, "Ready").2, said);
    let api = &cluster.api;
    assert!(
        there(api)["spec"]["assignment"].is_null() && there(api)["spec"]["volumeUUID"].is_null()
    );
    assert_eq!(api.get("persistentvolumes", "db"), None);
    cluster
        .until("told", |api| api.history("events").iter().any(|e| e.object["note"] == said))
        .await;
}

#[tokio::test]
async fn a_direct_volume_whose_namespace_is_not_there_makes_nothing() {
    let cluster = Cluster::new(Node::Obeys);
    let _operator = cluster.operator("one").await;
    apply(&cluster, json!({"claimRef": {"namespace": "nowhere", "name": "data"}}));
    cluster.until("refused", |api| condition(api, "Ready").1 == "Invalid").await;
    let (_, _, said) = condition(&cluster.api, "Ready");
    assert_eq!(said, "there is no namespace nowhere: make it, or name another in spec.claimRef");
    assert!(there(&cluster.api)["spec"]["assignment"].is_null());
}

#[tokio::test]
async fn what_a_claim_let_go_has_another_claim_only_where_adopt_says_so() {
    let cluster = Cluster::new(Node::Obeys);
    let _operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    made(&cluster).await;
    let api = &cluster.api;
    phase(api, "Released");
    cluster.until("said", |api| condition(api, "Bound").1 == "Released").await;
    let claims = api.history("persistentvolumeclaims").len();
    let next = json!({"namespace": "shop", "name": "next"});
    api.edit("storagevolumes", "db", |volume| volume["spec"]["claimRef"] = next);
    api.edit("storagevolumes", "db", |volume| {
        volume["metadata"]["annotations"] = json!({"looked": "again"});
    });
    assert_eq!(api.history("persistentvolumeclaims").len(), claims, "not handed out by itself");
    let own = uuid(api);
    api.edit("storagevolumes", "db", |volume| volume["spec"]["adopt"] = json!(own));
    cluster.until("the next claim", |api| claim(api).unwrap()["metadata"]["name"] == "next").await;
    let pv = api.get("persistentvolumes", "db").unwrap();
    assert_eq!(pv["spec"]["claimRef"]["name"], "next");
    assert!(pv["spec"]["claimRef"]["uid"].is_null());
}

#[tokio::test]
async fn old_data_is_adopted_where_it_lies_and_never_by_chance() {
    let cluster = Cluster::new(Node::Obeys);
    let api = &cluster.api;
    let own = uuid(api);
    let host = json!({"uuid": own, "name": "db", "poolUUID": POOL_UUID, "size": "2Gi", "state": "Retained"});
    api.edit("storagenodes", "node-a", |node| node["status"]["volumes"] = json!([host]));
    let _operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    cluster.until("refused", |api| condition(api, "Ready").1 == "AdoptionNeeded").await;
    assert!(condition(api, "Ready").2.contains(&format!("adopt: {own}")));
    assert!(there(api)["spec"]["assignment"].is_null());
    api.edit("storagevolumes", "db", |volume| volume["spec"]["adopt"] = json!(own));
    cluster.until("assigned", |api| there(api)["spec"]["assignment"].is_object()).await;
    assert_eq!(there(api)["spec"]["assignment"]["capacity"], "2Gi", "as large as it is");
    made(&cluster).await;
}

#[tokio::test]
async fn a_direct_volume_whose_object_was_lost_adopts_its_own_bytes() {
    let cluster = Cluster::new(Node::Obeys);
    let _operator = cluster.operator("one").await;
    apply(&cluster, json!({}));
    made(&cluster).await;
    let api = &cluster.api;
    let host = json!({"uuid": uuid(api), "name": "db", "poolUUID": POOL_UUID, "size": "1Gi", "state": "Retained"});
    api.edit("storagenodes", "node-a", |node| node["status"]["volumes"] = json!([host]));
    let claims = api.history("persistentvolumeclaims").len();
    // As when its kind is deleted.
    api.edit("storagevolumes", "db", |volume| {
        volume["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
        volume["metadata"]["finalizers"] = json!([]);
    });
    assert_eq!(there(api), Value::Null);
    cluster.until("bound again", |api| condition(api, "Bound").0 == "True").await;
    let spec = there(api)["spec"].clone();
    assert_eq!((&spec["origin"], &spec["adopt"]), (&json!("Direct"), &json!(uuid(api))));
    assert_eq!(spec["assignment"]["node"], "node-a");
    assert_eq!(api.history("persistentvolumeclaims").len(), claims, "its claim stays as it is");
}
