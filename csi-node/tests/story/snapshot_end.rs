//! The end of a snapshot (I1): by its own stamp and tag, and by nothing else.
use serde_json::json;
use terrace_crds::StorageSnapshot;
use terrace_device_types::HostState;

use crate::agent::pass;
use crate::snapshots::{Node, deleted, dropped, host_name, snapshot, stamp};

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_snapshot_outlives_its_source_and_still_restores() {
    let mut node = Node::start().await;
    node.source("vol").await;
    node.snapshot("snap", "vol").await;
    let service = &mut node.running.node;
    service.node_unpublish_volume(node.bench.unpublish("vol", "vol")).await.expect("unpublished");
    service.node_unstage_volume(node.bench.unstage("vol")).await.expect("unstaged");
    let gone = crate::agent::deleted(&node.bench, crate::agent::stamp(&node.bench));
    pass(&node.agent, &node.fake, &gone).await;
    assert!(node.tag("vol").is_none() && node.tag(&host_name("snap")).is_some());
    node.copy("restored", "16Mi", "Snapshot", "snap").await;
    let restored = node.publish("restored").await;
    assert_eq!(std::fs::read_to_string(restored.join("file")).expect("there"), "vol");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_with_its_stamp_a_snapshot_goes_and_then_its_object() {
    let mut node = Node::start().await;
    node.source("vol").await;
    let one = node.snapshot("snap", "vol").await;
    let stamped = stamp(&one);
    let writes = node.pass(&mut deleted(one, stamped), &[]).await;
    assert!(dropped(&writes), "{writes:?}");
    assert!(node.tag(&host_name("snap")).is_none() && node.tag("vol").is_some());
    // The same name again, while the StorageNode still lists the old one.
    let uuid = node.bench.uuid(&host_name("snap"));
    node.fake.set_node(json!({ "volumes": [{ "uuid": uuid, "kind": "Snapshot", "name": "snap",
        "poolUUID": node.bench.pool.uuid, "size": "16Mi", "state": "Ready" }] }));
    node.snapshot("snap", "vol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_without_its_stamp_a_snapshot_is_kept_and_can_be_taken_back() {
    let mut node = Node::start().await;
    node.source("vol").await;
    let one = node.snapshot("snap", "vol").await;
    let mut other = stamp(&one).expect("a stamp");
    other["snapshotUUID"] = json!(node.bench.uuid("vol"));
    let writes = node.pass(&mut deleted(one.clone(), Some(other)), &[]).await;
    assert!(!dropped(&writes), "a stamp of its source proves nothing");
    assert_eq!(node.tag(&host_name("snap")).expect("there").state, HostState::Ready);
    let writes = node.pass(&mut deleted(one.clone(), None), &[]).await;
    assert!(dropped(&writes), "the object may go, the bytes stay");
    assert_eq!(node.tag(&host_name("snap")).expect("there").state, HostState::Retained);
    let again = node.snapshot("snap", "vol").await;
    assert_eq!(node.tag(&host_name("snap")).expect("there").state, HostState::Ready, "adopted");
    let moment = |one: &StorageSnapshot| one.status.as_ref().expect("a status").created_at.clone();
    assert_eq!(moment(&again), moment(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_the_stamp_of_a_snapshot_never_ends_a_volume() {
    let mut node = Node::start().await;
    node.source("vol").await;
    let mut forged = snapshot(&node.bench, "snap", "vol");
    forged.spec.snapshot_uuid = node.bench.uuid("vol").to_string();
    let stamped = stamp(&forged);
    let writes = node.pass(&mut deleted(forged, stamped), &[]).await;
    assert!(!dropped(&writes), "{writes:?}");
    assert_eq!(node.tag("vol").expect("there").state, HostState::Ready);
}
