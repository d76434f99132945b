//! `explain_volume` on whole worlds, against the text that people read (`tests/explain/*.txt`).
//! `TERRACE_BLESS=1` writes the texts anew; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "what builds a test's world may end the test")]

use std::{env, fs, path::Path, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, from_value, json};
use terrace_crds::StorageVolume;
use terrace_plan::explain::explain_volume;
use terrace_plan::explain_claim::explain_claim;
use terrace_plan::world::{Host, HostState, World};

const UUID: &str = "11111111-1111-4111-8111-111111111111";
const POOL_UUID: &str = "22222222-2222-4222-8222-222222222222";
const CREATED: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-01T00:12:30Z".parse().unwrap()
}

fn world(pool_size: &str) -> World {
    world_with(pool_size, json!([]))
}

fn world_with(pool_size: &str, listed: Value) -> World {
    let pool = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StoragePool", "metadata": {"name": "local", "uid": "p"},
        "spec": {"tier": "ssd", "file": {"directory": "/var/lib/terrace/pools/local"}},
    });
    let node = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageNode", "metadata": {"name": "node-a", "uid": "n"},
        "status": {
            "pools": [{"name": "local", "uuid": POOL_UUID, "tier": "ssd", "backend": "file", "state": "Ready", "capacity": pool_size, "free": pool_size}],
            "volumes": listed,
            "conditions": [ready("True", "AsExpected", "2 devices, 1 pool")],
        },
    });
    World {
        pools: vec![Arc::new(from_value(pool).unwrap())].into(),
        nodes: vec![Arc::new(from_value(node).unwrap())].into(),
        hosts: [Host { name: "node-a".into(), state: HostState::Ready }].into_iter().collect(),
        ..World::default()
    }
}

fn ready(status: &str, reason: &str, message: &str) -> Value {
    condition("Ready", status, reason, message)
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": CREATED, "observedGeneration": 1,
    })
}

fn volume(capacity: &str, status: Value) -> StorageVolume {
    let volume = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {"name": "pvc-0b7d", "uid": "v", "generation": 1, "creationTimestamp": CREATED, "finalizers": ["terrace.storage/node"]},
        "spec": {
            "volumeUUID": UUID, "origin": "CSI", "claimRef": {"namespace": "default", "name": "data"},
            "capacity": capacity, "volumeMode": "Filesystem", "fsType": "xfs", "pool": "local",
        },
        "status": status,
    });
    from_value(volume).unwrap()
}

/// The volume's bytes, as its node lists them.
fn listed() -> Value {
    json!([{"uuid": UUID, "name": "pvc-0b7d", "poolUUID": POOL_UUID, "size": "1Gi", "state": "Ready"}])
}

fn assigned(mut volume: StorageVolume, world: &mut World) -> StorageVolume {
    volume.spec.assignment =
        Some(from_value(json!({"node": "node-a", "poolUUID": POOL_UUID})).unwrap());
    world.volumes.edit().push(Arc::new(volume.clone()));
    volume
}

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain").join(name);
    if env::var_os("TERRACE_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(want == text, "{} differs from:\n{text}", path.display());
}

#[test]
fn a_healthy_volume_is_told_from_claim_to_disk() {
    let mut world = world_with("10Gi", listed());
    let status = json!({
        "phase": "InUse", "claim": "default/data", "pool": "local", "tier": "ssd", "backend": "file",
        "device": "/var/lib/terrace/pools/local/t-11111111", "capacity": "1Gi",
        "usage": {"totalBytes": "960Mi", "usedBytes": "40Mi", "totalInodes": 524288, "usedInodes": 5},
        "conditions": [
            condition("LatencyHigh", "Unknown", "NoProbe", ""),
            ready("True", "AsExpected", "made, formatted and mounted"),
            condition("Missing", "False", "Found", "node node-a lists its host object"),
            condition("CapacityPressure", "False", "BelowThreshold", "4% of bytes in use, reported from 85%"),
        ],
    });
    let volume = assigned(volume("1Gi", status), &mut world);
    assert_golden("healthy.txt", &explain_volume(&world, &volume, now()));
}

#[test]
fn a_volume_whose_pool_is_full_names_the_pool_and_what_is_free() {
    let mut world = world("2Gi");
    let message = "node-a/local: 5Gi asked, 2Gi free";
    let status =
        json!({"claim": "default/data", "conditions": [ready("False", "NoCapacity", message)]});
    let volume = volume("5Gi", status);
    world.volumes.edit().push(Arc::new(volume.clone()));
    assert_golden("pool-full.txt", &explain_volume(&world, &volume, now()));
}

#[test]
fn a_volume_that_was_just_asked_for_shows_where_it_will_go() {
    let mut world = world("10Gi");
    let volume = volume("1Gi", json!({}));
    world.volumes.edit().push(Arc::new(volume.clone()));
    assert_golden("new.txt", &explain_volume(&world, &volume, now()));
}

#[test]
fn a_deletion_that_waits_for_a_pod_says_so() {
    let mut world = world_with("10Gi", listed());
    let status = json!({
        "claim": "default/data", "device": "/var/lib/terrace/pools/local/t-11111111", "capacity": "1Gi",
        "operation": {"id": "o1", "kind": "delete", "step": "wait until nothing has it open", "since": CREATED, "attempts": 3},
        "conditions": [ready("False", "InUse", "staged on node-a since 12:00:00")],
    });
    let mut volume = volume("1Gi", status);
    volume.metadata.deletion_timestamp = Some(from_value(json!(CREATED)).unwrap());
    let volume = assigned(volume, &mut world);
    assert_golden("deleting.txt", &explain_volume(&world, &volume, now()));
}

fn claim(spec: Value) -> PersistentVolumeClaim {
    let metadata = json!({"namespace": "default", "name": "data", "uid": "u"});
    from_value(json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})).unwrap()
}

fn class(parameters: Value) -> StorageClass {
    let class = json!({
        "metadata": {"name": "terrace-local"}, "provisioner": "csi.terrace.storage",
        "volumeBindingMode": "WaitForFirstConsumer", "parameters": parameters,
    });
    from_value(class).unwrap()
}

fn asking(size: &str) -> Value {
    json!({"storageClassName": "terrace-local", "resources": {"requests": {"storage": size}}})
}

#[test]
fn a_claim_that_fits_nowhere_names_the_pool_and_what_is_free() {
    let class = class(json!({"terrace.storage/pool": "local"}));
    let text = explain_claim(&world("2Gi"), &claim(asking("5Gi")), Some(&class));
    assert_golden("claim-too-large.txt", &text);
}

#[test]
fn a_claim_that_terrace_would_refuse_says_what_to_change() {
    let class = class(json!({"terrace.storage/pool": "local", "terrace.storage/fstype": "xfs"}));
    let text = explain_claim(&world("2Gi"), &claim(asking("1Gi")), Some(&class));
    assert_golden("claim-refused.txt", &text);
}

#[test]
fn a_claim_without_a_class_of_ours_is_sent_elsewhere() {
    let claim = claim(asking("1Gi"));
    let none = explain_claim(&world("2Gi"), &claim, None);
    assert!(none.contains("There is no StorageClass \"terrace-local\": make it"), "{none}");
    let mut other = class(json!({}));
    other.provisioner = "example.com/other".into();
    let other = explain_claim(&world("2Gi"), &claim, Some(&other));
    assert!(other.contains("provisioner example.com/other: not Terrace's"), "{other}");
}
