//! Snapshots, copies and groups as CSI callers meet them.

use csi_proto_rs::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};
use csi_proto_rs::csi::v1::{
    CreateSnapshotRequest, CreateVolumeGroupSnapshotRequest, CreateVolumeRequest,
    DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetSnapshotRequest,
    GetVolumeGroupSnapshotRequest, ListSnapshotsRequest, VolumeContentSource,
};
use serde_json::json;
use tonic::Code;

use crate::SHORT;
use crate::cluster::{Cluster, GIB, Node, POOL_UUID, asks, within};

fn snaps(name: &str, source: &str) -> CreateSnapshotRequest {
    let (name, source_volume_id) = (name.to_owned(), source.to_owned());
    CreateSnapshotRequest { name, source_volume_id, ..CreateSnapshotRequest::default() }
}

fn gone(name: &str) -> DeleteSnapshotRequest {
    DeleteSnapshotRequest { snapshot_id: name.to_owned(), ..DeleteSnapshotRequest::default() }
}

fn copies(name: &str, bytes: i64, source: Type) -> CreateVolumeRequest {
    let source = VolumeContentSource { r#type: Some(source) };
    CreateVolumeRequest { volume_content_source: Some(source), ..asks(name, bytes) }
}

fn of_snapshot(name: &str) -> Type {
    Type::Snapshot(SnapshotSource { snapshot_id: name.to_owned() })
}

fn of_volume(name: &str) -> Type {
    Type::Volume(VolumeSource { volume_id: name.to_owned() })
}

#[tokio::test]
async fn a_snapshot_lies_where_its_source_lies_and_says_when_it_was_taken() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    let taken = csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap().into_inner();
    let taken = taken.snapshot.unwrap();
    assert_eq!((taken.snapshot_id.as_str(), taken.size_bytes), ("snap-1", GIB));
    assert!(taken.ready_to_use && taken.creation_time.is_some(), "{taken:?}");
    let there = cluster.api.get("storagesnapshots", "snap-1").unwrap();
    assert_eq!(there["spec"]["assignment"], json!({"node": "node-a", "poolUUID": POOL_UUID}));
    let again = csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap().into_inner();
    assert_eq!(again.snapshot.unwrap(), taken);
    let get = GetSnapshotRequest { snapshot_id: "snap-1".into(), ..GetSnapshotRequest::default() };
    assert_eq!(csi.get_snapshot(get).await.unwrap().into_inner().snapshot.unwrap(), taken);
    let of = |source: &str| ListSnapshotsRequest {
        source_volume_id: source.into(),
        ..ListSnapshotsRequest::default()
    };
    assert_eq!(csi.list_snapshots(of("pvc-1")).await.unwrap().into_inner().entries.len(), 1);
    assert_eq!(csi.list_snapshots(of("pvc-2")).await.unwrap().into_inner().entries.len(), 0);
    operator.end().await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_with_its_code() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    csi.create_volume(asks("pvc-2", GIB)).await.unwrap();
    csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap();
    let mut code = async |request| csi.create_snapshot(request).await.unwrap_err().code();
    assert_eq!(code(snaps("snap-1", "pvc-2")).await, Code::AlreadyExists);
    assert_eq!(code(snaps("snap-2", "nothing")).await, Code::NotFound);
    assert_eq!(code(snaps("", "pvc-1")).await, Code::InvalidArgument);
    assert_eq!(code(snaps("snap-2", "")).await, Code::InvalidArgument);
    let mut odd = snaps("snap-2", "pvc-1");
    odd.parameters.insert("colour".into(), "red".into());
    assert_eq!(code(odd).await, Code::InvalidArgument);
    let get = GetSnapshotRequest { snapshot_id: "none".into(), ..GetSnapshotRequest::default() };
    assert_eq!(csi.get_snapshot(get).await.unwrap_err().code(), Code::NotFound);
    let lost = csi.create_volume(copies("pvc-3", GIB, of_snapshot("none"))).await.unwrap_err();
    assert_eq!(lost.code(), Code::NotFound);
    let small = copies("pvc-3", GIB, of_snapshot("snap-1"));
    let mut small = CreateVolumeRequest { ..small };
    small.capacity_range.as_mut().unwrap().required_bytes = 1;
    small.capacity_range.as_mut().unwrap().limit_bytes = GIB / 2;
    assert_eq!(csi.create_volume(small).await.unwrap_err().code(), Code::OutOfRange);
    operator.end().await;
}

#[tokio::test]
async fn a_copy_names_its_source_and_is_as_large_as_asked() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap();
    for (name, source) in [("pvc-2", of_snapshot("snap-1")), ("pvc-3", of_volume("pvc-1"))] {
        let made = csi.create_volume(copies(name, 2 * GIB, source.clone())).await.unwrap();
        let made = made.into_inner().volume.unwrap();
        assert_eq!(made.capacity_bytes, 2 * GIB);
        assert_eq!(made.content_source.unwrap().r#type, Some(source));
        let other = csi.create_volume(asks(name, 2 * GIB)).await.unwrap_err();
        assert_eq!(other.code(), Code::AlreadyExists, "an empty volume is not that copy");
    }
    operator.end().await;
}

#[tokio::test]
async fn i1_a_snapshot_is_stamped_before_it_is_deleted_and_deleted_twice_is_deleted() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap();
    csi.delete_snapshot(gone("snap-1")).await.unwrap();
    csi.delete_snapshot(gone("snap-1")).await.unwrap();
    assert!(cluster.api.get("storagesnapshots", "snap-1").is_none());
    let history = cluster.api.history("storagesnapshots");
    let stamped = |object: &serde_json::Value| {
        object["spec"]["deletion"]["snapshotUUID"] == object["spec"]["snapshotUUID"]
    };
    let mut leaving =
        history.iter().filter(|change| !change.object["metadata"]["deletionTimestamp"].is_null());
    assert!(leaving.all(|change| stamped(&change.object)), "deleted without its stamp");
    operator.end().await;
}

#[tokio::test]
async fn a_refused_snapshot_is_taken_back_and_a_silent_node_leaves_it_for_the_retry() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", GIB)).await.unwrap();
    cluster.node(Node::Refuses("PoolFull"));
    let refused = csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{}", refused.message());
    cluster.until("taken back", |api| api.get("storagesnapshots", "snap-1").is_none()).await;
    cluster.node(Node::IsSilent);
    let late = csi.create_snapshot(within(SHORT, snaps("snap-2", "pvc-1"))).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted, "{}", late.message());
    cluster.node(Node::Obeys);
    csi.create_snapshot(snaps("snap-2", "pvc-1")).await.unwrap();
    operator.end().await;
}

#[tokio::test]
async fn a_snapshot_without_room_is_refused_and_leaves_nothing_behind() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let mut csi = operator.caller().await;
    csi.create_volume(asks("pvc-1", 60 * GIB)).await.unwrap();
    let refused = csi.create_snapshot(snaps("snap-1", "pvc-1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{}", refused.message());
    assert!(refused.message().contains("may come to take 60Gi"), "{}", refused.message());
    cluster.until("taken back", |api| api.get("storagesnapshots", "snap-1").is_none()).await;
    operator.end().await;
}

#[tokio::test]
async fn a_group_is_its_members_and_all_of_it_goes_at_once() {
    let cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let (mut csi, mut groups) = (operator.caller().await, operator.group_caller().await);
    for name in ["pvc-1", "pvc-2", "pvc-3"] {
        csi.create_volume(asks(name, GIB)).await.unwrap();
    }
    let group = |names: &[&str]| CreateVolumeGroupSnapshotRequest {
        name: "group-1".into(),
        source_volume_ids: names.iter().map(|&name| name.to_owned()).collect(),
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let taken = groups.create_volume_group_snapshot(group(&["pvc-1", "pvc-2"])).await.unwrap();
    let taken = taken.into_inner().group_snapshot.unwrap();
    assert!(taken.ready_to_use && taken.snapshots.len() == 2, "{taken:?}");
    assert!(taken.snapshots.iter().all(|member| member.group_snapshot_id == "group-1"));
    let again = groups.create_volume_group_snapshot(group(&["pvc-2", "pvc-1"])).await.unwrap();
    assert_eq!(again.into_inner().group_snapshot.unwrap(), taken);
    let other = groups.create_volume_group_snapshot(group(&["pvc-1", "pvc-3"])).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{}", other.message());
    let ids: Vec<String> = taken.snapshots.iter().map(|it| it.snapshot_id.clone()).collect();
    let get = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: "group-1".into(),
        snapshot_ids: ids.clone(),
        ..GetVolumeGroupSnapshotRequest::default()
    };
    let got = groups.get_volume_group_snapshot(get).await.unwrap().into_inner();
    assert_eq!(got.group_snapshot.unwrap(), taken);
    let delete = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: "group-1".into(),
        snapshot_ids: ids.clone(),
        ..DeleteVolumeGroupSnapshotRequest::default()
    };
    groups.delete_volume_group_snapshot(delete).await.unwrap();
    for id in ids {
        assert!(cluster.api.get("storagesnapshots", &id).is_none(), "{id} is left");
    }
    operator.end().await;
}

#[tokio::test]
async fn a_group_of_which_one_member_comes_to_nothing_is_taken_back_whole() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let (mut csi, mut groups) = (operator.caller().await, operator.group_caller().await);
    for name in ["pvc-1", "pvc-2"] {
        csi.create_volume(asks(name, GIB)).await.unwrap();
    }
    cluster.node(Node::Refuses("Inconsistent"));
    let request = CreateVolumeGroupSnapshotRequest {
        name: "group-1".into(),
        source_volume_ids: vec!["pvc-1".into(), "pvc-2".into()],
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let failed = groups.create_volume_group_snapshot(request.clone()).await.unwrap_err();
    assert_eq!(failed.code(), Code::Aborted, "{}", failed.message());
    let none = |api: &crate::api::Api| {
        api.history("storagesnapshots").iter().all(|change| {
            let name = change.object["metadata"]["name"].as_str().unwrap_or_default();
            api.get("storagesnapshots", name).is_none()
        })
    };
    cluster.until("all members are gone", none).await;
    cluster.node(Node::Obeys);
    groups.create_volume_group_snapshot(request).await.unwrap();
    operator.end().await;
}

#[tokio::test]
async fn i1_a_group_that_was_whole_is_never_taken_back_when_a_member_is_lost() {
    let mut cluster = Cluster::new(Node::Obeys);
    let operator = cluster.operator("one").await;
    let (mut csi, mut groups) = (operator.caller().await, operator.group_caller().await);
    for name in ["pvc-1", "pvc-2"] {
        csi.create_volume(asks(name, GIB)).await.unwrap();
    }
    let request = CreateVolumeGroupSnapshotRequest {
        name: "group-1".into(),
        source_volume_ids: vec!["pvc-1".into(), "pvc-2".into()],
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let taken = groups.create_volume_group_snapshot(request.clone()).await.unwrap().into_inner();
    let members = taken.group_snapshot.unwrap().snapshots;
    cluster.node(Node::IsSilent);
    cluster.api.edit("storagesnapshots", &members[0].snapshot_id, |lost| {
        lost["status"]["conditions"][0]["status"] = json!("False");
        lost["status"]["conditions"][0]["reason"] = json!("Inconsistent");
    });
    let asked = within(SHORT, request);
    let refused = groups.create_volume_group_snapshot(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{}", refused.message());
    for member in members {
        let there = cluster.api.get("storagesnapshots", &member.snapshot_id).expect("it is left");
        assert!(there["spec"]["deletion"].is_null(), "{there:#}");
    }
    operator.end().await;
}
