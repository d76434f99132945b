//! What `kubectl terrace` prints, from objects to text, against `tests/tables/*.txt`.
//! `TERRACE_BLESS=1` writes the texts anew; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "what builds a test's world may end the test")]

use std::{env, fs, path::Path};

use jiff::Timestamp;
use kubectl_terrace::volumes::{Only, Width, table};
use kubectl_terrace::{find::find, find::parse_name, nodes::report, orphans};
use serde_json::{Value, from_value, json};
use terrace_crds::volume::ClaimRef;
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
        "probe": {
            "version": "0.1.0", "kernel": "6.18.0", "unobservable": ["mmap", "aio"],
            "functions": [
                {"name": "sys_enter", "tier": "RawTracepoint", "reason": "fentry: the kernel is locked down"},
                {"name": "io_uring_complete", "tier": "RawTracepoint"},
                {"name": "filemap_fault", "tier": "None", "reason": "no tracepoint tells of it"},
            ],
            "missed": [{"reason": "compat", "count": 3}],
        },
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

fn uuid(number: u32) -> String {
    format!("aaaaaaaa-0000-5000-8000-{number:012}")
}

fn orphaned() -> Vec<StorageNode> {
    let orphan = |number: u32, kind: &str, name: &str, size: &str, reason: &str, message: &str| {
        json!({
            "uuid": uuid(number), "kind": kind, "name": name, "poolUUID": "p", "size": size,
            "reason": reason, "message": message,
        })
    };
    let node = |name: &str, more: Vec<Value>, all: u32, volumes: Value| {
        let pool = json!({"name": "local", "uuid": "p", "tier": "ssd", "backend": "file", "state": "Ready"});
        let status = json!({
            "pools": [pool], "orphans": more, "volumes": volumes,
            "counts": {"pools": 1, "volumes": 2, "devices": 0, "orphans": all},
        });
        let (api, kind) = ("terrace.storage/v1alpha1", "StorageNode");
        from_value(
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "status": status}),
        )
        .unwrap()
    };
    let host = |number: u32, name: &str, more: Value| {
        let mut host = json!({"uuid": uuid(number), "name": name, "poolUUID": "p", "size": "2Gi", "state": "Retained"});
        for (key, value) in more.as_object().unwrap() {
            host[key] = value.clone();
        }
        host
    };
    let kept =
        "kept when its StorageVolume went; `kubectl terrace orphan adopt` takes it into service";
    let a = vec![
        orphan(1, "Volume", "pvc-kept", "2Gi", "Retained", kept),
        orphan(
            2,
            "Volume",
            "pvc-raw",
            "1Gi",
            "NoObject",
            "in service, and no StorageVolume names it",
        ),
        orphan(
            3,
            "Snapshot",
            "snapshot-1",
            "2Gi",
            "NoObject",
            "`kubectl terrace orphan delete` destroys it",
        ),
        orphan(
            4,
            "Volume",
            "pvc-half",
            "1Gi",
            "Unfinished",
            "begun and never finished: removed when nothing has named it for 10 min",
        ),
    ];
    let mut odd =
        orphan(5, "Volume", "t-odd", "1Gi", "Unreadable", "the tag of /pools/t-odd cannot be read");
    odd["poolUUID"] = json!("q");
    let b = vec![odd, orphan(2, "Volume", "pvc-raw", "1Gi", "NoObject", "a copy of a disk")];
    let there = json!([
        host(1, "pvc-kept", json!({"volumeMode": "Filesystem", "fsType": "ext4"})),
        host(2, "pvc-raw", json!({"volumeMode": "Block"})),
    ]);
    vec![node("node-b", b, 5, json!([])), node("node-a", a, 4, there)]
}

#[test]
fn orphans_are_listed_by_node_with_the_reason() {
    let nodes = orphaned();
    let found = orphans::all(&nodes);
    assert_golden("orphans.txt", &orphans::table(&found, Width::Narrow).render());
    assert_eq!(orphans::unlisted(&nodes), 3, "what a list has no place for is counted");
    let items = orphans::items(&found);
    assert_eq!((&items[1]["node"], &items[1]["pool"]), (&json!("node-a"), &json!("local")));
}

#[test]
fn wide_orphans_carry_the_message() {
    let nodes = orphaned();
    let table = orphans::table(&orphans::all(&nodes), Width::Wide);
    assert_golden("orphans-wide.txt", &table.render());
}

/// What `orphan adopt` would make, or why not; what `orphan delete` would show, or why not.
fn asked(number: u32, volume: Option<&str>) -> String {
    let nodes = orphaned();
    let found = match orphans::find(&nodes, &uuid(number)) {
        Ok(Some(found)) => found,
        Ok(None) => return "no such orphan\n".into(),
        Err(refused) => return format!("{refused}\n"),
    };
    let claim = ClaimRef { namespace: "shop".into(), name: "data".into() };
    let adopted = match orphans::plan_adopt(&found, &claim, volume) {
        Ok(object) => terrace_crds::yaml::to_yaml(&object).unwrap(),
        Err(refused) => format!("{refused}\n"),
    };
    let source = json!({"kind": "Snapshot", "name": "snapshot-1", "uuid": uuid(3)});
    let copy = copy_of("pvc-copy", source);
    let deleted = match orphans::validate_delete(&found, &[copy]) {
        Ok(()) => orphans::describe(&found),
        Err(refused) => format!("{refused}\n"),
    };
    format!("adopt: {adopted}delete: {deleted}")
}

/// A volume that is still being made from this.
fn copy_of(name: &str, source: Value) -> StorageVolume {
    volume(name, json!({"source": source}), json!({}))
}

#[test]
fn what_is_adopted_and_what_is_deleted_is_shown_and_the_rest_is_refused() {
    let cases =
        [(1, None), (1, Some("other")), (3, None), (4, None), (5, None), (2, None), (9, None)];
    let text: String = cases
        .iter()
        .map(|(number, volume)| format!("# {number} {volume:?}\n{}", asked(*number, *volume)))
        .collect();
    assert_golden("orphan-asked.txt", &text);
}

#[test]
fn a_snapshot_without_copies_under_way_may_be_deleted() {
    let nodes = orphaned();
    let found = orphans::find(&nodes, &uuid(3)).unwrap().unwrap();
    assert_eq!(orphans::validate_delete(&found, &[]), Ok(()));
    let mut done =
        copy_of("pvc-copy", json!({"kind": "Snapshot", "name": "snapshot-1", "uuid": uuid(3)}));
    let ready = json!({"conditions": [condition("Ready", "True", "AsExpected", "made")]});
    done.status = Some(from_value(ready).unwrap());
    assert_eq!(orphans::validate_delete(&found, &[done]), Ok(()));
}
