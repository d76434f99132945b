//! What is kept of an object, and that a world is made once a change.

use futures::{Stream, StreamExt, stream};
use serde_json::{from_value, json};

use super::{
    Arc, Caches, Event, Last, StorageNode, StorageVolume, fill, trim_node, trim_volume, watcher,
};
use crate::cache::observed::{Look, observe};
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use terrace_plan::health::ailments;
use terrace_plan::volume::{conditions_of, plan_volume};
use terrace_plan::world::World;

fn volume(spec: serde_json::Value) -> StorageVolume {
    let condition = |kind: &str, status: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": "AsExpected", "message": message,
            "lastTransitionTime": "2026-11-22T10:00:00Z", "observedGeneration": 1,
        })
    };
    from_value(json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {
            "name": "pvc-1", "uid": "u", "labels": {"a": "b"}, "managedFields": [{"manager": "x"}],
            "annotations": {"terrace.storage/topology": "{}", "terrace.storage/traceparent": "00-1-2-01"},
        },
        "spec": spec,
        "status": {
            "device": "/x", "pool": "local", "tier": "ssd", "capacity": "1Gi", "claim": "a/b",
            "conditions": [
                condition("Ready", "True", "made"), condition("Healthy", "True", "no error"),
                condition("Missing", "False", "node node-a lists its host object"),
            ],
        },
    }))
    .unwrap()
}

fn placed() -> StorageVolume {
    volume(json!({
        "origin": "CSI", "volumeUUID": "v", "capacity": "1Gi", "pool": "local", "fsType": "xfs",
        "assignment": {"node": "node-a", "poolUUID": "p"}, "claimRef": {"namespace": "a", "name": "b"},
    }))
}

#[test]
fn a_volume_without_a_place_keeps_how_it_was_asked_for() {
    let asked = json!({"origin": "CSI", "volumeUUID": "v", "capacity": "1Gi", "pool": "local", "fsType": "xfs"});
    let mut trimmed = volume(asked);
    let whole = trimmed.clone();
    trim_volume(&mut trimmed);
    assert_eq!(trimmed.metadata.managed_fields, None);
    assert_eq!(trimmed.metadata.annotations, whole.metadata.annotations);
    assert_eq!(trimmed.status, whole.status);
}

#[test]
fn of_a_trimmed_volume_the_same_is_planned() {
    let whole = placed();
    let mut trimmed = whole.clone();
    trim_volume(&mut trimmed);
    let kinds: Vec<&str> = conditions_of(&trimmed).iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(kinds, ["Ready", "Missing"]);
    let notes = trimmed.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(notes.keys().collect::<Vec<_>>(), ["terrace.storage/traceparent"]);
    let now = "2026-11-22T11:00:00Z".parse().unwrap();
    let plan = |of: &StorageVolume| {
        let world = World { volumes: [of.clone()].into_iter().collect(), ..World::default() };
        plan_volume(&world, of, now)
    };
    assert_eq!(plan(&trimmed), plan(&whole));
}

#[test]
fn of_a_trimmed_volume_the_same_ailments_are_told() {
    let mut volume = placed();
    let status = volume.status.as_mut().unwrap();
    let mut high = status.conditions[1].clone();
    (high.type_, high.status) = ("LatencyHigh".into(), "True".into());
    (high.reason, high.message) = ("AboveTarget".into(), "slow".into());
    status.conditions[1].status = "False".into();
    status.conditions.push(high);
    let told = ailments(&volume);
    assert_eq!(told.len(), 2);
    trim_volume(&mut volume);
    assert_eq!(ailments(&volume), told);
}

#[test]
fn a_trimmed_node_lacks_what_it_lacked() {
    let mut node: StorageNode = from_value(json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageNode", "metadata": {"name": "node-a"},
        "status": {"facilities": [
            {"name": "mkfs.xfs", "available": true}, {"name": "mkfs.btrfs", "available": false},
        ]},
    }))
    .unwrap();
    trim_node(&mut node);
    let left = node.status.map(|status| status.facilities).unwrap_or_default();
    assert_eq!(left.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["mkfs.btrfs"]);
}

fn empty<K: Send + 'static>() -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    stream::iter([Ok(Event::Init), Ok(Event::InitDone)]).chain(stream::pending())
}

#[tokio::test]
async fn one_world_is_made_for_all_who_ask_between_two_changes() {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let later = tokio_stream::wrappers::UnboundedReceiverStream::new(told);
    let caches = Caches {
        volumes: fill(stream::iter([Ok(Event::Init), Ok(Event::InitDone)]).chain(later)),
        snapshots: fill(empty()),
        pools: fill(empty()),
        nodes: fill(empty()),
        lifecycle: fill(empty()),
        tiering: fill(empty()),
        hosts: observe(empty(), Look { see: |_: &Node| None, key: |_| ("", "") }),
        persistent: observe(empty(), Look { see: |_: &PersistentVolume| None, key: |_| ("", "") }),
        last: Last::default(),
    };
    caches.synced().await;
    let first = caches.world();
    assert!(Arc::ptr_eq(&first, &caches.world()));
    let mut changed = caches.volumes.changed();
    changed.borrow_and_update();
    tell.send(Ok(Event::Apply(placed()))).unwrap();
    changed.changed().await.unwrap();
    let second = caches.world();
    assert_eq!((first.volumes.len(), second.volumes.len()), (0, 1));
    assert!(second.nodes.is_same(&first.nodes), "what did not change is not listed anew");
}
