//! What `kubectl terrace` prints, from objects to text, against `tests/tables/*.txt`.
//! `TERRACE_BLESS=1` writes the texts anew; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "what builds a test's world may end the test")]

use std::{env, fs, path::Path};

use jiff::Timestamp;
use kubectl_terrace::volumes::{Only, Width, table};
use kubectl_terrace::{find::find, find::parse_name, nodes::report};
use serde_json::{Value, from_value, json};
use terrace_crds::{StorageNode, StorageVolume};

const CREATED: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-01T05:04:00Z".parse().unwrap()
}

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name);
    if env::var_os("TERRACE_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(want == text, "{} differs from:\n{text}", path.display());
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": CREATED})
}

fn volume(name: &str, spec: Value, status: Value) -> StorageVolume {
    let mut whole = json!({"origin": "CSI", "capacity": "1Gi", "volumeMode": "Filesystem", "fsType": "xfs", "pool": "local"});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let volume = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": {"name": name, "creationTimestamp": CREATED}, "spec": whole, "status": status,
    });
    from_value(volume).unwrap()
}

fn lies(node: &str) -> Value {
    json!({"node": node, "poolUUID": "22222222-2222-4222-8222-222222222222"})
}

fn volumes() -> Vec<StorageVolume> {
    let ready = || condition("Ready", "True", "AsExpected", "made");
    let there = |used: &str, more: Value| {
        json!({
            "phase": "InUse", "claim": "apps/web", "pool": "local", "tier": "ssd", "backend": "file",
            "device": "/var/lib/terrace/pools/local/t-1", "conditions": [ready(), more],
            "usage": {"totalBytes": "1000Mi", "usedBytes": used, "totalInodes": 0, "usedInodes": 3},
        })
    };
    let full = condition(
        "CapacityPressure",
        "True",
        "BytesAboveThreshold",
        "resize the volume or clean up data",
    );
    let fine = condition("CapacityPressure", "False", "BelowThreshold", "");
    let waiting = json!({"conditions": [condition("Ready", "False", "NoCapacity", "node-a/local: 5Gi asked, 2Gi free")]});
    let claim = |name: &str| json!({"namespace": "apps", "name": name});
    vec![
        volume(
            "pvc-web",
            json!({"claimRef": claim("web"), "assignment": lies("node-a")}),
            there("34Mi", fine),
        ),
        volume("pvc-logs", json!({"assignment": lies("node-b")}), {
            let mut status = there("970Mi", full);
            status["claim"] = json!("apps/logs");
            status
        }),
        volume("pvc-big", json!({"claimRef": claim("big"), "capacity": "5Gi"}), waiting),
        volume(
            "pvc-raw",
            json!({"volumeMode": "Block", "fsType": null, "pool": null, "tier": "hdd"}),
            json!({}),
        ),
    ]
}

#[test]
fn volumes_fit_a_terminal_and_name_what_needs_attention() {
    assert_golden("volumes.txt", &table(&volumes(), Width::Narrow, now()).render());
}

#[test]
fn wide_volumes_carry_the_message() {
    assert_golden("volumes-wide.txt", &table(&volumes(), Width::Wide, now()).render());
}

#[test]
fn volumes_are_chosen_by_node_and_by_pool() {
    let chosen = |node: Option<&str>, pool: Option<&str>| {
        let only = Only { node: node.map(str::to_owned), pool: pool.map(str::to_owned) };
        let all = volumes();
        let named = all.iter().filter(|volume| only.admits(volume));
        named.filter_map(|volume| volume.metadata.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(Some("node-a"), None), ["pvc-web"]);
    assert_eq!(chosen(None, Some("local")), ["pvc-web", "pvc-logs", "pvc-big"]);
    assert_eq!(chosen(Some("node-b"), Some("other")), Vec::<String>::new());
}

#[test]
fn a_claim_leads_to_its_volume_in_the_whole_table() {
    let all = volumes();
    let found = find(&all, &parse_name("apps/logs", "default")).unwrap();
    assert_eq!(found.metadata.name.as_deref(), Some("pvc-logs"));
}

fn nodes() -> Vec<StorageNode> {
    let head = |name: &str| json!({"name": name, "creationTimestamp": CREATED});
    let (api, kind) = ("terrace.storage/v1alpha1", "StorageNode");
    let device = |id: &str, path: &str, more: Value| {
        let mut device = json!({"id": id, "path": path, "size": "10Gi", "rotational": false});
        for (key, value) in more.as_object().unwrap() {
            device[key] = value.clone();
        }
        device
    };
    let status = json!({
        "kernel": "6.18.0", "counts": {"pools": 1, "volumes": 2, "devices": 2},
        "conditions": [condition("Ready", "True", "AsExpected", "")],
        "devices": [
            device("nvme-A1", "/dev/nvme0n1", json!({"model": "Fast 1", "signature": "ext4", "inUseBy": "/"})),
            device("wwn-0x5", "/dev/sdb", json!({"rotational": true})),
        ],
        "pools": [
            {"name": "local", "uuid": "22222222-2222-4222-8222-222222222222", "tier": "ssd", "backend": "file", "state": "Ready", "capacity": "10Gi", "free": "9Gi"},
            {"name": "old", "tier": "hdd", "backend": "file", "state": "Foreign", "message": "belongs to cluster 9c1e"},
        ],
        "volumes": [
            {"uuid": "11111111-1111-4111-8111-111111111111", "name": "pvc-web", "poolUUID": "p", "size": "1Gi", "state": "Ready"},
            {"uuid": "33333333-3333-4333-8333-333333333333", "name": "pvc-gone", "poolUUID": "p", "size": "2Gi", "state": "Retained"},
        ],
        "facilities": [
            {"name": "xfs", "available": true, "detail": "kernel"},
            {"name": "ext4-online-grow", "available": false, "detail": "CAP_SYS_RESOURCE is withheld: ext4 grows when next mounted"},
        ],
    });
    let silent = json!({"apiVersion": api, "kind": kind, "metadata": head("node-b")});
    let bare = json!({"apiVersion": api, "kind": kind, "metadata": head("node-c"), "status": {}});
    let whole =
        json!({"apiVersion": api, "kind": kind, "metadata": head("node-a"), "status": status});
    [bare, silent, whole].map(|node| from_value(node).unwrap()).to_vec()
}

#[test]
fn nodes_tell_what_is_free_and_what_they_lack() {
    assert_golden("nodes.txt", &report(&nodes(), Width::Narrow, now()));
}

#[test]
fn wide_nodes_tell_everything() {
    assert_golden("nodes-wide.txt", &report(&nodes(), Width::Wide, now()));
}
